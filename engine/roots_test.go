package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/recovery"
)

// A rootsOp changes the root keys of a table or of the store.
type rootsOp struct {
	name string
	do   func(h rootsHolder) error
}

// A rootsHolder is a *Table or a *Store.
type rootsHolder interface {
	RotateRoot(ctx context.Context, root keyring.RootKey) error
	AddRoot(ctx context.Context, root keyring.RootKey) error
	ReplaceRoot(ctx context.Context, from string, root keyring.RootKey) error
	RemoveRoot(ctx context.Context, uris ...string) error
}

// rootsOps go from the root a to b and back.
func rootsOps(ctx context.Context, a, b, c keyring.RootKey) []rootsOp {
	return []rootsOp{
		{"add", func(h rootsHolder) error { return h.AddRoot(ctx, b) }},
		{"rotate", func(h rootsHolder) error { return h.RotateRoot(ctx, b) }},
		{"replace", func(h rootsHolder) error { return h.ReplaceRoot(ctx, a.URI(), c) }},
		{"remove", func(h rootsHolder) error { return h.RemoveRoot(ctx, b.URI()) }},
		{"move", func(h rootsHolder) error { return h.RotateRoot(ctx, a) }},
	}
}

// openWith opens the store of rotating with other root keys.
func openWith(t *testing.T, fs vfs.FS, roots ...keyring.RootKey) (*Store, *Table, error) {
	opts := crashOptions(roots[0], fs)
	opts.Roots, opts.Mode = roots[1:], MustExist
	s, err := Open(t.Context(), crashDir, opts)
	if err != nil {
		return nil, nil, err
	}
	tab, err := s.Table("clinic.patients")
	require.NoError(t, err)
	return s, tab, nil
}

// TestRootsTouchNoData: changes of roots read and write nothing but the keyring and its
// journal, and write to the log and the MANIFEST of a table that is open.
func TestRootsTouchNoData(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var touched []string
	counting := errorfs.Wrap(vfs.NewCrashableMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		log := strings.HasSuffix(op.Path, ".log") || strings.Contains(op.Path, "MANIFEST-")
		if !log || op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			touched = append(touched, op.Path)
		}
		return nil
	}))
	a, b, c := newMemRoot("a"), newMemRoot("b"), newMemRoot("c")
	opts := crashOptions(a, counting)
	opts.Roots = []keyring.RootKey{b, c}
	s, err := Open(t.Context(), crashDir, opts)
	require.NoError(t, err)
	tab := memTable(t, s, "clinic.patients")
	require.NoError(t, tab.Put([]byte("k"), []byte("v"), nil))
	for _, h := range []rootsHolder{s, tab} {
		for _, op := range rootsOps(t.Context(), a, b, c) {
			mu.Lock()
			touched = nil
			mu.Unlock()
			require.NoError(t, op.do(h), op.name)
			mu.Lock()
			require.NotEmpty(t, touched)
			for _, p := range touched {
				ours := strings.HasPrefix(p, crashDir+"/keyring") || strings.HasPrefix(p, crashDir+"/audit")
				require.True(t, ours, "%s touches %s", op.name, p)
			}
			mu.Unlock()
		}
	}
	require.Equal(t, []string{a.URI()}, s.RootKeys())
	require.Equal(t, []string{a.URI()}, s.Tables()[0].RootKeys)
	require.NoError(t, s.Close())
}

// TestRootsCrash crashes before each operation on the disk of each change of roots:
// store and table open with what is there, and all that was acknowledged.
func TestRootsCrash(t *testing.T) {
	t.Parallel()
	for _, ofStore := range []bool{false, true} {
		t.Run(fmt.Sprint("store key ", ofStore), func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewCrashableMem()
			a, b, c := newMemRoot("a"), newMemRoot("b"), newMemRoot("c")
			w := newCloner(mem)
			opts := crashOptions(a, w.fs())
			opts.Roots = []keyring.RootKey{b, c}
			s, err := Open(t.Context(), crashDir, opts)
			require.NoError(t, err)
			tab := memTable(t, s, "clinic.patients")
			want := 0
			put := func(tab *Table) {
				require.NoError(t, tab.Put(fmt.Appendf(nil, "k%d", want), nil, nil))
				want++
			}
			put(tab)
			var h rootsHolder = tab
			if ofStore {
				h = s
			}
			for _, op := range rootsOps(t.Context(), a, b, c) {
				clones, err := w.during(func() error { return op.do(h) })
				require.NoError(t, err, op.name)
				require.NotEmpty(t, clones)
				for _, clone := range clones {
					again, tab, err := openWith(t, clone, a, b, c)
					require.NoError(t, err, op.name)
					for i := range want {
						_, err := tab.Get(fmt.Appendf(nil, "k%d", i))
						require.NoError(t, err, op.name)
					}
					require.NoError(t, tab.Put([]byte("more"), nil, nil))
					requireVerified(t, again)
					require.NoError(t, again.Close())
				}
				put(tab)
			}
			require.NoError(t, s.Close())
		})
	}
}

// TestRootsFail fails each call of a key service and each operation on the disk of each
// change of roots: it is an error, or it is made; and what opens then has one or the
// other, and all rows.
func TestRootsFail(t *testing.T) {
	t.Parallel()
	boom := errors.New("a service that breaks")
	for _, ofStore := range []bool{false, true} {
		for i := range rootsOps(t.Context(), newMemRoot("a"), newMemRoot("b"), newMemRoot("c")) {
			failed := 0
			for n := 1; ; n++ {
				mem := vfs.NewCrashableMem()
				a, b, c := newMemRoot("a"), newMemRoot("b"), newMemRoot("c")
				var mu sync.Mutex
				armed, count := false, 0
				arm := func(on bool) { mu.Lock(); armed = on; mu.Unlock() }
				step := func(err error) error {
					mu.Lock()
					defer mu.Unlock()
					if !armed {
						return nil
					}
					if count++; count == n {
						return err
					}
					return nil
				}
				ra, rb, rc := &brittleRoot{a, step, boom}, &brittleRoot{b, step, boom}, &brittleRoot{c, step, boom}
				opts := crashOptions(ra, errorfs.Wrap(mem, errorfs.InjectorFunc(func(errorfs.Op) error { return step(errorfs.ErrInjected) })))
				opts.Roots = []keyring.RootKey{rb, rc}
				opts.DiskFullWait = -1
				s, err := Open(t.Context(), crashDir, opts)
				require.NoError(t, err)
				tab := memTable(t, s, "clinic.patients")
				require.NoError(t, tab.Put([]byte("k"), nil, nil))
				var h rootsHolder = tab
				if ofStore {
					h = s
				}
				ops := rootsOps(t.Context(), ra, rb, rc)
				for _, before := range ops[:i] {
					require.NoError(t, before.do(h))
				}
				where := fmt.Sprintf("%s, call %d", ops[i].name, n)
				arm(true)
				err = ops[i].do(h)
				arm(false)
				if err != nil {
					failed++
					require.True(t, errors.Is(err, boom) || errors.Is(err, errorfs.ErrInjected), "%s: %v", where, err)
					switch {
					case errors.Is(err, ErrPoisoned):
						// It is made, and the log could not go on under the new version.
						require.NoError(t, tab.Reopen(t.Context()), where)
					case !errors.Is(err, keyring.ErrPoisoned):
						require.NoError(t, ops[i].do(h), "%s: once more", where)
					}
				}
				_, err = tab.Get([]byte("k"))
				require.NoError(t, err, where)
				crashed := mem.CrashClone(vfs.CrashCloneCfg{})
				_ = s.Close()
				again, tab, err := openWith(t, crashed, a, b, c)
				require.NoError(t, err, where)
				_, err = tab.Get([]byte("k"))
				require.NoError(t, err, where)
				require.NoError(t, again.Close())
				if count < n {
					break
				}
			}
			require.Greater(t, failed, 4, "nothing has failed")
		}
	}
}

// A brittleRoot fails when it is told to.
type brittleRoot struct {
	*memRoot
	step func(error) error
	err  error
}

func (r *brittleRoot) Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	if err := r.step(r.err); err != nil {
		return nil, err
	}
	return r.memRoot.Wrap(ctx, key, ec)
}

func (r *brittleRoot) Unwrap(ctx context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	if err := r.step(r.err); err != nil {
		return nil, err
	}
	return r.memRoot.Unwrap(ctx, wrapped, ec)
}

// TestLosingOneKeyService loses one root key after the other: by any that is left, and
// in the end by the sheet alone, all rows are there and can be written.
func TestLosingOneKeyService(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem := vfs.NewCrashableMem()
	a, b := newMemRoot("a"), newMemRoot("b")
	id, err := recovery.Generate()
	require.NoError(t, err)
	sheet, err := id.Sheet(recovery.About{})
	require.NoError(t, err)
	public := id.Recipient()
	require.NoError(t, id.Close())

	opts := crashOptions(a, mem)
	opts.Roots = []keyring.RootKey{b, public}
	s, err := Open(ctx, crashDir, opts)
	require.NoError(t, err)
	tab := memTable(t, s, "clinic.patients")
	for _, root := range opts.Roots {
		require.NoError(t, s.AddRoot(ctx, root))
		require.NoError(t, tab.AddRoot(ctx, root))
	}
	require.NoError(t, tab.Put([]byte("k"), []byte("v"), nil))
	_, err = tab.Snapshot(ctx, "s")
	require.NoError(t, err)
	later, err := s.CreateTable(ctx, "clinic.later", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, later.Put([]byte("k"), []byte("v"), nil))
	require.NoError(t, s.Close())
	// Nothing on the disk unwraps: the public key alone opens nothing.
	_, _, err = openWith(t, mem, public)
	require.ErrorIs(t, err, keyring.ErrKeyOffline)
	require.ErrorIs(t, err, ErrKeyInaccessible)

	check := func(roots ...keyring.RootKey) {
		t.Helper()
		s, tab, err := openWith(t, mem, roots...)
		require.NoError(t, err)
		v, err := tab.Get([]byte("k"))
		require.NoError(t, err)
		require.Equal(t, "v", string(v))
		view, err := tab.OpenSnapshot(ctx, "s")
		require.NoError(t, err)
		require.NoError(t, view.Close())
		require.NoError(t, tab.Put([]byte("more"), nil, nil))
		require.NoError(t, s.Close())
	}
	check(a)
	check(b)
	a.fail(keyring.ErrKeyUnreachable)
	check(a, b)
	check(b)
	b.fail(keyring.ErrKeyNotFound) // destroyed
	_, _, err = openWith(t, mem, a, b)
	require.ErrorIs(t, err, ErrKeyInaccessible)

	// A machine that has the disk and the sheet, and a root key of its own.
	found, err := recovery.ParseSheet(sheet)
	require.NoError(t, err)
	defer found.Close()
	check(found)
	fresh := newMemRoot("fresh")
	s, tab, err = openWith(t, mem, fresh, found)
	require.NoError(t, err)
	for _, h := range []rootsHolder{s, tab} {
		require.ErrorIs(t, h.ReplaceRoot(ctx, "mem:a", fresh), keyring.ErrRootNotPinned, "the other is lost too")
		require.NoError(t, h.AddRoot(ctx, fresh))
		require.ErrorIs(t, h.RemoveRoot(ctx, "mem:a"), keyring.ErrRootNotPinned)
		require.NoError(t, h.RemoveRoot(ctx, "mem:a", "mem:b"))
	}
	require.Equal(t, []string{found.URI(), "mem:fresh"}, s.RootKeys())
	require.NoError(t, s.Close())
	check(fresh)
	check(found)
	s, _, err = openWith(t, mem, fresh, public)
	require.NoError(t, err)
	later, err = s.Table("clinic.later")
	require.NoError(t, err)
	_, err = later.Get([]byte("k"))
	require.ErrorIs(t, err, keyring.ErrKeyOffline, "its own root is lost, and it was wrapped for the sheet")
	require.NoError(t, s.Close())
	check(found)

	// A recovery key that somebody has planted in the configuration: it has another URI.
	planted, err := recovery.Generate()
	require.NoError(t, err)
	defer planted.Close()
	s, tab, err = openWith(t, mem, fresh, planted.Recipient())
	require.NoError(t, err)
	for _, h := range []rootsHolder{s, tab} {
		err = h.RotateRoot(ctx, fresh)
		require.ErrorIs(t, err, keyring.ErrRootNotPinned)
		require.ErrorContains(t, err, found.URI())
	}
	require.ErrorIs(t, tab.RotateKey(ctx), keyring.ErrRootNotPinned)
	require.NoError(t, s.Close())
	_, _, err = openWith(t, mem, planted)
	require.ErrorIs(t, err, keyring.ErrRootNotPinned)
}

// TestStoreRootsRefused has changes of the store's roots that cannot be.
func TestStoreRootsRefused(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem := vfs.NewCrashableMem()
	a, b := newMemRoot("a"), newMemRoot("b")
	s, tab := rotating(t, mem, a, b)
	for _, h := range []rootsHolder{s, tab} {
		require.ErrorIs(t, h.RemoveRoot(ctx, "mem:a"), keyring.ErrLastRoot)
		require.ErrorIs(t, h.RemoveRoot(ctx, "mem:b"), keyring.ErrRootUnknown)
		require.ErrorIs(t, h.AddRoot(ctx, a), keyring.ErrRootExists)
		require.ErrorIs(t, h.AddRoot(ctx, newMemRoot("c")), keyring.ErrRootNotPinned)
		b.fail(keyring.ErrKeyUnreachable)
		require.ErrorIs(t, h.AddRoot(ctx, b), ErrKeyInaccessible)
		b.fail(nil)
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		require.ErrorIs(t, h.AddRoot(cancelled, b), context.Canceled)
	}
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.AddRoot(ctx, b), ErrClosed)
	s, err := Open(ctx, crashDir, Options{Mode: ReadOnly, RootKey: a, Roots: []keyring.RootKey{b}, FS: mem})
	require.NoError(t, err)
	require.ErrorIs(t, s.AddRoot(ctx, b), ErrReadOnly)
	require.NoError(t, s.Close())
}

// TestRemovedStoreRootAndJournal: who held a root key of the store, and its keyring, does
// not open the journal that begins when that goes.
func TestRemovedStoreRootAndJournal(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem := vfs.NewCrashableMem()
	a, b := newMemRoot("a"), newMemRoot("b")
	s, tab := rotating(t, mem, a, b)
	old := mem.CrashClone(vfs.CrashCloneCfg{})
	thief, err := keyring.Open(ctx, crashDir+"/"+keyringDir, []keyring.RootKey{a}, true, keyring.Options{FS: old})
	require.NoError(t, err)
	for version, change := range []func() error{
		func() error { return s.AddRoot(ctx, b) },
		func() error { return s.RemoveRoot(ctx, "mem:a") },
	} {
		require.NoError(t, change())
		f, err := mem.Open(s.journal.path(s.ring.Journal()))
		require.NoError(t, err)
		head := make([]byte, keyring.HeaderLen)
		_, err = io.ReadFull(f, head)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		h, err := keyring.ParseHeader(head)
		require.NoError(t, err)
		require.EqualValues(t, version+1, h.KeyVersion)
		_, err = thief.StoreKeys().DataKey(h.Identity.FileID, h.KeyVersion, h.WrappedKey[:])
		if version == 0 {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, keyring.ErrVersionUnknown)
		}
	}
	require.NoError(t, tab.Put([]byte("k"), nil, nil))
	require.NoError(t, thief.Close())
	require.NoError(t, s.Close())
}

// TestStoreRotationWaitsAlone: whatever holds the keyring up, a rotation of the store
// key waits as long as its context says.
func TestStoreRotationWaitsAlone(t *testing.T) {
	t.Parallel()
	a := newMemRoot("a")
	slow := &slowRoot{newMemRoot("b"), make(chan struct{}), make(chan struct{})}
	s, tab := rotating(t, vfs.NewCrashableMem(), a, slow)
	done := make(chan error, 1)
	go func() { done <- s.ReplaceRoot(t.Context(), "mem:a", slow) }()
	<-slow.began
	require.NoError(t, tab.Put([]byte("a"), nil, nil))
	_, err := s.CreateTable(t.Context(), "clinic.visits", TableOptions{})
	require.NoError(t, err)
	expired, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	require.ErrorIs(t, s.RotateRoot(expired, a), context.DeadlineExceeded, "behind another rotation")
	close(slow.may)
	require.NoError(t, <-done)
	require.NoError(t, s.AddRoot(t.Context(), a))
	s.ringMu.Lock()
	expired, cancel = context.WithTimeout(t.Context(), 20_000_000)
	defer cancel()
	require.ErrorIs(t, s.RemoveRoot(expired, "mem:b"), context.DeadlineExceeded, "behind the keyring")
	s.ringMu.Unlock()
	require.NoError(t, s.Close())
}
