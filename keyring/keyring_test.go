package keyring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

// TestLifecycle walks a keyring through every change and compares what is in
// memory with what a new Open reads.
func TestLifecycle(t *testing.T) {
	t.Parallel()
	mem, root, other, ctx := newTestFS(t), newAnchoredRoot("a"), newFakeRoot("b"), t.Context()
	ok, err := Exists(mem, testDir)
	require.NoError(t, err)
	require.False(t, ok)
	_, err = tryOpen(t, mem, root)
	require.ErrorIs(t, err, corrupt.ErrMissing)

	k := mustCreate(t, mem, root)
	require.Equal(t, 1, root.calls())
	ok, err = Exists(mem, testDir)
	require.NoError(t, err)
	require.True(t, ok)
	_, err = Create(ctx, testDir, root, Options{FS: mem})
	require.ErrorIs(t, err, fs.ErrExist)

	k = mustOpen(t, mem, root, other)
	require.Equal(t, 2, root.calls())
	steps := 0
	same := func() {
		t.Helper()
		steps++
		require.EqualValues(t, 1+steps, k.Generation())
		name, _ := readFile(t, mem)
		require.Equal(t, fmt.Sprintf("KEYRING-%06d", 1+steps), name)
		r := mustOpen(t, mem, root, other)
		require.Equal(t, k.StoreID(), r.StoreID())
		require.Equal(t, k.Generation(), r.Generation())
		require.Equal(t, k.Roots(), r.Roots())
		require.Equal(t, k.Tables(), r.Tables())
		require.Equal(t, k.Tombstones(), r.Tombstones())
		require.Equal(t, k.Journal(), r.Journal())
		for _, rec := range k.Tables() {
			require.Equal(t, k.State(rec.ID), r.State(rec.ID))
			a, err := k.OpenTable(ctx, rec.ID)
			require.NoError(t, err)
			b, err := r.OpenTable(ctx, rec.ID)
			require.NoError(t, err)
			require.Equal(t, a.Metadata(), b.Metadata())
			dk, err := a.NewDataKey(ID{9})
			require.NoError(t, err)
			got, err := b.DataKey(ID{9}, dk.Version, dk.Wrapped[:])
			require.NoError(t, err)
			require.True(t, got.Equal(dk.Key))
		}
	}

	orders, err := k.CreateTable(ctx, "shop.orders", root, []byte("schema of orders"))
	require.NoError(t, err)
	same()
	require.Equal(t, TableCreating, k.Tables()[0].State)
	require.NoError(t, k.FinishCreate(ctx, orders.ID()))
	same()
	require.Equal(t, TableLive, k.Tables()[0].State)
	require.ErrorContains(t, k.Forget(ctx, orders.ID()), "live")

	failed, err := k.CreateTable(ctx, "shop.failed", other, nil)
	require.NoError(t, err)
	same()
	require.Empty(t, failed.Metadata())
	require.NoError(t, k.Forget(ctx, failed.ID()))
	same()
	require.Len(t, k.Tables(), 1)
	require.Empty(t, k.Tombstones())

	items, err := k.CreateTable(ctx, "shop.items", other, []byte("schema of items"))
	require.NoError(t, err)
	same()
	require.Equal(t, []string{"shop.items", "shop.orders"}, []string{k.Tables()[0].Name, k.Tables()[1].Name})
	rec := k.Tables()[0]
	require.Equal(t, items.ID(), rec.ID)
	require.Equal(t, items.Incarnation(), rec.Incarnation)
	require.Equal(t, items.Name(), rec.Name)
	require.Equal(t, items.RootURIs(), rec.Roots)
	require.Equal(t, []string{"fake:b"}, rec.Roots)
	require.EqualValues(t, 1, rec.Version)
	require.Equal(t, []uint32{1}, rec.Versions)
	require.WithinDuration(t, time.Now(), rec.CreatedAt, time.Minute)

	require.NoError(t, k.SetMetadata(ctx, items, []byte("another schema")))
	same()
	require.Equal(t, "another schema", string(items.Metadata()))
	journal := NewID()
	require.NoError(t, k.SetStates(ctx, journal, map[ID][]byte{items.ID(): []byte("closed at 7"), orders.ID(): []byte("closed at 8")}))
	same()
	require.Equal(t, journal, k.Journal())
	require.Equal(t, "closed at 7", string(k.State(items.ID())))
	require.NoError(t, k.SetStates(ctx, ID{}, map[ID][]byte{items.ID(): nil}))
	same()
	require.Empty(t, k.State(items.ID()))
	require.Equal(t, "closed at 8", string(k.State(orders.ID())))
	require.True(t, k.Journal().IsZero())
	require.Nil(t, k.State(NewID()))

	// A table whose root key is lost can be dropped.
	other.fail(ErrKeyNotFound)
	_, err = k.OpenTable(ctx, items.ID())
	require.ErrorIs(t, err, ErrKeyNotFound)
	tomb, err := k.DropTable(ctx, items.ID())
	require.NoError(t, err)
	same()
	require.Equal(t, []Tombstone{tomb}, k.Tombstones())
	require.Equal(t, Tombstone{ID: items.ID(), Name: "shop.items", DroppedAt: tomb.DroppedAt, Versions: []uint32{1}, Roots: []string{"fake:b"}}, tomb)
	_, err = k.OpenTable(ctx, items.ID())
	require.ErrorIs(t, err, ErrTableUnknown)

	// The name is free again, and means another table.
	again, err := k.CreateTable(ctx, "shop.items", root, nil)
	require.NoError(t, err)
	same()
	require.NotEqual(t, items.ID(), again.ID())
	require.NotEqual(t, items.Incarnation(), again.Incarnation())

	require.NoError(t, k.Close())
	require.NoError(t, k.Close())
}

// TestOneCall counts the calls to key services.
func TestOneCall(t *testing.T) {
	t.Parallel()
	mem, root, other := newTestFS(t), newFakeRoot("a"), newFakeRoot("b")
	k := mustCreate(t, mem, root)
	k.Close()
	k = mustOpen(t, mem, root, other)
	ids := make([]ID, 0, 3)
	for i := range 3 {
		ids = append(ids, mustTable(t, k, fmt.Sprint("t", i), other, "m").ID())
	}
	before := other.calls()
	k = mustOpen(t, mem, root, other)
	require.Len(t, k.Tables(), 3)
	require.NoError(t, k.SetStates(t.Context(), ID{}, map[ID][]byte{ids[0]: {1}}))
	_, err := k.DropTable(t.Context(), ids[1])
	require.NoError(t, err)
	require.Equal(t, before, other.calls(), "calls for tables that nobody opened")
	_, err = k.OpenTable(t.Context(), ids[0])
	require.NoError(t, err)
	require.Equal(t, before+1, other.calls())
	require.Equal(t, 3, root.calls())
}

func TestErrors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	long := strings.Repeat("x", 1<<20+1)
	mem, root := newTestFS(t), newFakeRoot("a")
	k := mustCreate(t, mem, root)
	live := mustTable(t, k, "live", root, "m")
	wiped := mustTable(t, k, "wiped", root, "m")
	wiped.Wipe()
	stale, err := k.OpenTable(ctx, live.ID())
	require.NoError(t, err)
	stale.version, stale.open.keys[2] = 2, RandomSecret()
	foreign, err := k.OpenTable(ctx, live.ID())
	require.NoError(t, err)
	foreign.open.keys[1] = RandomSecret()
	closed := mustOpen(t, mem, root)
	closed.Close()
	readOnly, err := Open(ctx, testDir, []RootKey{root}, true, Options{FS: mem})
	require.NoError(t, err)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()

	limit := errors.New("a *LimitError")
	for _, tc := range []struct {
		name string
		want error
		call func() error
	}{
		{"no name", nil, func() error { _, err := k.CreateTable(ctx, "", root, nil); return err }},
		{"long name", limit, func() error { _, err := k.CreateTable(ctx, long, root, nil); return err }},
		{"long metadata", limit, func() error { _, err := k.CreateTable(ctx, "n", root, []byte(long)); return err }},
		{"no root", nil, func() error { _, err := k.CreateTable(ctx, "n", nil, nil); return err }},
		{"root not pinned", ErrRootNotPinned, func() error { _, err := k.CreateTable(ctx, "n", newFakeRoot("z"), nil); return err }},
		{"name taken", ErrTableExists, func() error { _, err := k.CreateTable(ctx, "live", root, nil); return err }},
		{"unknown: open", ErrTableUnknown, func() error { _, err := k.OpenTable(ctx, NewID()); return err }},
		{"unknown: finish", ErrTableUnknown, func() error { return k.FinishCreate(ctx, NewID()) }},
		{"unknown: forget", ErrTableUnknown, func() error { return k.Forget(ctx, NewID()) }},
		{"unknown: drop", ErrTableUnknown, func() error { _, err := k.DropTable(ctx, NewID()); return err }},
		{"unknown: state", ErrTableUnknown, func() error { return k.SetStates(ctx, ID{}, map[ID][]byte{NewID(): nil}) }},
		{"long state", limit, func() error { return k.SetStates(ctx, ID{}, map[ID][]byte{live.ID(): []byte(long)}) }},
		{"metadata: long", limit, func() error { return k.SetMetadata(ctx, live, []byte(long)) }},
		{"metadata: wiped", ErrKeysWiped, func() error { return k.SetMetadata(ctx, wiped, nil) }},
		{"metadata: stale", ErrVersionUnknown, func() error { return k.SetMetadata(ctx, stale, nil) }},
		{"metadata: foreign", ErrWrongContext, func() error { return k.SetMetadata(ctx, foreign, nil) }},
		{"data key: wiped", ErrKeysWiped, func() error { _, err := wiped.NewDataKey(ID{1}); return err }},
		{"unwrap: wiped", ErrKeysWiped, func() error { _, err := wiped.DataKey(ID{1}, 1, nil); return err }},
		{"closed: change", ErrClosed, func() error { return closed.FinishCreate(ctx, live.ID()) }},
		{"closed: create", ErrClosed, func() error { _, err := closed.CreateTable(ctx, "n", root, nil); return err }},
		{"closed: open", ErrClosed, func() error { _, err := closed.OpenTable(ctx, live.ID()); return err }},
		{"closed: store keys", ErrKeysWiped, func() error { _, err := closed.StoreKeys().NewDataKey(ID{1}); return err }},
		{"read-only: create", ErrReadOnly, func() error { _, err := readOnly.CreateTable(ctx, "n", root, nil); return err }},
		{"read-only: drop", ErrReadOnly, func() error { _, err := readOnly.DropTable(ctx, live.ID()); return err }},
		{"cancelled: change", context.Canceled, func() error { return k.SetStates(cancelled, ID{}, nil) }},
		{"open: nil root", nil, func() error { _, err := tryOpen(t, mem, nil); return err }},
		{"open: no roots", ErrRootNotPinned, func() error { _, err := tryOpen(t, mem); return err }},
		{"open: malformed URI", nil, func() error { _, err := tryOpen(t, mem, &fakeRoot{uri: "no\nuri:"}); return err }},
		{"create: root denied", ErrKeyDenied, func() error {
			r := newFakeRoot("a")
			r.fail(ErrKeyDenied)
			_, err := Create(ctx, testDir, r, Options{FS: newTestFS(t)})
			return err
		}},
	} {
		before, gen, calls := k.Tables(), k.Generation(), root.calls()
		err := tc.call()
		require.Error(t, err, tc.name)
		switch tc.want {
		case nil:
		case limit:
			var le *LimitError
			require.ErrorAs(t, err, &le, tc.name)
		default:
			require.ErrorIs(t, err, tc.want, tc.name)
		}
		require.Equal(t, before, k.Tables(), tc.name)
		require.Equal(t, gen, k.Generation(), tc.name)
		require.Equal(t, calls, root.calls(), "%s: a key service was called in vain", tc.name)
	}
}

// TestRootErrors hands through what a key service says.
func TestRootErrors(t *testing.T) {
	t.Parallel()
	mem, root, other := newTestFS(t), newFakeRoot("a"), newFakeRoot("b")
	mustCreate(t, mem, root)
	k := mustOpen(t, mem, root, other)
	id := mustTable(t, k, "t", other, "m").ID()
	for _, class := range []error{ErrKeyDenied, ErrKeyNotFound, ErrWrongContext, ErrKeyUnreachable, ErrKeyThrottled, context.DeadlineExceeded} {
		root.fail(fmt.Errorf("service: %w", class))
		other.fail(fmt.Errorf("service: %w", class))
		_, err := tryOpen(t, mem, root, other)
		var ke *KeyError
		require.ErrorAs(t, err, &ke)
		require.Equal(t, "unwrap store key", ke.Op)
		require.Equal(t, root.uri, ke.URI)
		require.ErrorIs(t, err, class)
		require.Equal(t, class == ErrWrongContext, errors.Is(err, corrupt.ErrCorrupt), "%v", err)
		require.ErrorContains(t, err, "keyring/KEYRING-000003 at offset 40")

		_, err = k.OpenTable(t.Context(), id)
		require.ErrorAs(t, err, &ke)
		require.Equal(t, "unwrap table key", ke.Op)
		require.Equal(t, other.uri, ke.URI)
		require.ErrorIs(t, err, class)

		_, err = k.CreateTable(t.Context(), "n", other, nil)
		require.ErrorAs(t, err, &ke)
		require.Equal(t, "wrap table key", ke.Op)
		require.ErrorIs(t, err, class)
	}
	require.Len(t, k.Tables(), 1)
}

// TestCommitment stands for a key service that returns a key of its own making.
func TestCommitment(t *testing.T) {
	t.Parallel()
	mem, root := newTestFS(t), newFakeRoot("a")
	k := mustCreate(t, mem, root)
	id := mustTable(t, k, "t", root, "m").ID()
	root.garble = true
	_, err := k.OpenTable(t.Context(), id)
	require.ErrorIs(t, err, ErrWrongContext)
	require.ErrorIs(t, err, corrupt.ErrAuth)
	_, err = tryOpen(t, mem, root)
	require.ErrorIs(t, err, ErrWrongContext)
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	mem, root := newTestFS(t), newAnchoredRoot("a")
	k := mustCreate(t, mem, root)
	mustTable(t, k, "t", root, "m")
	store := k.StoreID()
	// What a crash may leave behind stays behind.
	_, b := readFile(t, mem)
	writeFile(t, mem, "KEYRING-000001", []byte("old"))
	writeFile(t, mem, tempName, []byte("cut"))
	root.notes[store] = fakeNote{gen: 2}
	r, err := Open(t.Context(), testDir, []RootKey{root}, true, Options{FS: mem})
	require.NoError(t, err)
	require.Equal(t, k.Tables(), r.Tables())
	_, err = r.OpenTable(t.Context(), r.Tables()[0].ID)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	names, err := mem.List(testDir)
	require.NoError(t, err)
	slices.Sort(names)
	require.Equal(t, []string{"KEYRING-000001", "KEYRING-000003", tempName}, names)
	require.EqualValues(t, 2, root.notes[store].gen)

	// An open for writing tidies, and notes.
	mustOpen(t, mem, root)
	name, b2 := readFile(t, mem)
	require.Equal(t, "KEYRING-000003", name)
	require.Equal(t, b, b2)
	require.EqualValues(t, 3, root.notes[store].gen)
	_, err = mem.Stat(mem.PathJoin(testDir, tempName))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestNames: only what fileName writes is a generation.
func TestNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]uint64{
		"KEYRING-000001":                       1,
		"KEYRING-1234567":                      1234567,
		"KEYRING-18446744073709551615":         1<<64 - 1,
		"KEYRING-18446744073709551616":         0,
		"KEYRING-000000":                       0,
		"KEYRING-1":                            0,
		"KEYRING-0000001":                      0,
		"KEYRING-00000a":                       0,
		"KEYRING-+00001":                       0,
		"KEYRING-":                             0,
		"KEYRING.tmp":                          0,
		"keyring-000001":                       0,
		"KEYRING-000001~":                      0,
		"KEYRING-" + strings.Repeat("9", 4096): 0,
	} {
		got, ok := parseFileName(name)
		require.Equal(t, want != 0, ok, name)
		require.Equal(t, want, got, name)
	}
}

// TestConcurrent has readers beside writers, for the race detector.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	mem, root, ctx := newTestFS(t), newAnchoredRoot("a"), t.Context()
	k := mustCreate(t, mem, root)
	shared := mustTable(t, k, "shared", root, "m")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 5 {
				tk, err := k.CreateTable(ctx, fmt.Sprintf("t%d.%d", w, i), root, []byte("m"))
				if err == nil {
					err = k.FinishCreate(ctx, tk.ID())
				}
				if err == nil && i%2 == 0 {
					_, err = k.DropTable(ctx, tk.ID())
				}
				if err == nil {
					err = k.SetMetadata(ctx, shared, fmt.Append(nil, w, i))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				for _, rec := range k.Tables() {
					tk, err := k.OpenTable(ctx, rec.ID)
					if errors.Is(err, ErrTableUnknown) {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := tk.NewDataKey(NewID()); err != nil {
						t.Error(err)
					}
					tk.Wipe()
				}
				if _, err := k.StoreKeys().NewDataKey(NewID()); err != nil {
					t.Error(err)
				}
				shared.Metadata()
				k.Tombstones()
			}
		})
	}
	wg.Wait()
	require.Len(t, k.Tables(), 1+4*2)
	require.Len(t, k.Tombstones(), 4*3)
	r := mustOpen(t, mem, root)
	require.Equal(t, k.Tables(), r.Tables())
	tk, err := r.OpenTable(ctx, shared.ID())
	require.NoError(t, err)
	require.Equal(t, shared.Metadata(), tk.Metadata())
}

// TestTombstoneLimit keeps the youngest.
func TestTombstoneLimit(t *testing.T) {
	t.Parallel()
	mem, root := newTestFS(t), newFakeRoot("a")
	k := mustCreate(t, mem, root)
	s := k.cur.Load().clone()
	for i := range MaxTombstones {
		s.tombstones = append(s.tombstones, Tombstone{ID: ID{1}, Name: fmt.Sprint(i), DroppedAt: time.Unix(1, 0).UTC()})
	}
	k.cur.Store(s)
	id := mustTable(t, k, "last", root, "").ID()
	_, err := k.DropTable(t.Context(), id)
	require.NoError(t, err)
	for _, k := range []*Keyring{k, mustOpen(t, mem, root)} {
		ts := k.Tombstones()
		require.Len(t, ts, MaxTombstones)
		require.Equal(t, "1", ts[0].Name)
		require.Equal(t, "last", ts[len(ts)-1].Name)
	}
}

// TestOtherRoots: two root handles of one URI are one pin.
func TestOtherRoots(t *testing.T) {
	t.Parallel()
	mem, root := newTestFS(t), newFakeRoot("a")
	mustCreate(t, mem, root)
	impostor := newFakeRoot("a")
	k := mustOpen(t, mem, root, impostor)
	mustTable(t, k, "t", impostor, "")
	require.Zero(t, impostor.calls())
	_, err := tryOpen(t, mem, impostor)
	require.ErrorIs(t, err, ErrWrongContext)
	_, err = tryOpen(t, mem, newFakeRoot("b"))
	require.ErrorIs(t, err, ErrRootNotPinned)
}
