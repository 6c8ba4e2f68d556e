package keyring

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

// rotateRoot prepares a rotation and commits it.
func rotateRoot(k *Keyring, ctx context.Context, id ID, root RootKey, live *TableKeys) error {
	r, err := k.PrepareRoot(ctx, id, nil, root)
	return commitRotation(ctx, r, err, live)
}

// rotateKey is the same for the table's key.
func rotateKey(k *Keyring, ctx context.Context, id ID, live *TableKeys) error {
	r, err := k.PrepareTableKey(ctx, id, nil)
	return commitRotation(ctx, r, err, live)
}

// proven are the root keys that need not show that they can unwrap.
func proven(k *Keyring) (uris []string) {
	k.unwraps.Range(func(uri, _ any) bool { uris = append(uris, uri.(string)); return true })
	return uris
}

func commitRotation(ctx context.Context, r *Rotation, err error, live *TableKeys) error {
	if err != nil {
		return err
	}
	defer r.Wipe()
	return r.Commit(ctx, live)
}

// TestRotations rotates in random order and wants every data key of any time to
// open afterwards, by the keys in use and by those of another open.
func TestRotations(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem, a, b := newTestFS(t), newFakeRoot("a"), newFakeRoot("b")
	k := mustCreate(t, mem, a)
	require.NoError(t, k.Close())
	k = mustOpen(t, mem, a, b)
	live := mustTable(t, k, "shop.orders", a, "metadata")
	id := live.ID()
	require.NoError(t, k.FinishCreate(ctx, id))

	var made []*DataKey
	root, version := a, uint32(1)
	rng := rand.New(rand.NewPCG(1, 7))
	for range 40 {
		dk, err := live.NewDataKey(ID{byte(len(made))})
		require.NoError(t, err)
		require.Equal(t, version, dk.Version)
		made = append(made, dk)

		calls, generation, to := a.calls()+b.calls(), k.Generation(), root
		want := 2 // one unwrap, one wrap
		switch rng.IntN(3) {
		case 0:
			require.NoError(t, rotateKey(k, ctx, id, live))
			version++
		case 1: // new material of the same root key
			require.NoError(t, rotateRoot(k, ctx, id, root, live))
		case 2:
			if to = a; root == a {
				to = b
			}
			if _, ok := k.unwraps.Load(to.URI()); !ok {
				want++ // it has yet to show that it can unwrap
			}
			require.NoError(t, rotateRoot(k, ctx, id, to, live))
			version++
		}
		require.Equal(t, calls+want, a.calls()+b.calls())
		require.Equal(t, generation+1, k.Generation(), "one change")
		root = to
		require.Equal(t, version, live.Version())
		require.Equal(t, []string{root.URI()}, live.RootURIs())

		again := mustOpen(t, mem, a, b)
		tk, err := again.OpenTable(ctx, id)
		require.NoError(t, err)
		require.Equal(t, version, tk.Version())
		require.Equal(t, "metadata", string(tk.Metadata()))
		for n, dk := range made {
			for _, keys := range []*TableKeys{live, tk} {
				got, err := keys.DataKey(ID{byte(n)}, dk.Version, dk.Wrapped[:])
				require.NoError(t, err)
				require.True(t, got.Equal(dk.Key))
			}
		}
		tk.Wipe()
	}
	require.NoError(t, k.SetMetadata(ctx, live, []byte("by the keys in use")))
}

// TestFormerRootReadsNothingNew keeps a root key and the keyring of its time: they
// open what was there, and nothing that was made after the rotation.
func TestFormerRootReadsNothingNew(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem, a, b := newTestFS(t), newFakeRoot("a"), newFakeRoot("b")
	k := mustCreate(t, mem, b)
	require.NoError(t, k.Close())
	k = mustOpen(t, mem, a, b)
	live := mustTable(t, k, "shop.orders", a, "")
	old := mem.CrashClone(vfs.CrashCloneCfg{})
	before, err := live.NewDataKey(ID{1})
	require.NoError(t, err)
	require.NoError(t, rotateRoot(k, ctx, live.ID(), b, live))
	after, err := live.NewDataKey(ID{2})
	require.NoError(t, err)

	calls := a.calls()
	_, err = k.OpenTable(ctx, live.ID())
	require.NoError(t, err)
	require.Equal(t, calls, a.calls(), "the former root key is called")

	thief := mustOpen(t, old, a, b)
	keys, err := thief.OpenTable(ctx, live.ID())
	require.NoError(t, err)
	_, err = keys.DataKey(ID{1}, before.Version, before.Wrapped[:])
	require.NoError(t, err)
	_, err = keys.DataKey(ID{2}, after.Version, after.Wrapped[:])
	require.ErrorIs(t, err, ErrVersionUnknown)
	_, err = keys.DataKey(ID{2}, before.Version, after.Wrapped[:])
	require.ErrorIs(t, err, corrupt.ErrAuth)
}

// A hookedRoot does something before it wraps, once, or after it has.
type hookedRoot struct {
	*fakeRoot
	hook, after func()
}

func (r *hookedRoot) Wrap(ctx context.Context, key *Secret, ec Context) ([]byte, error) {
	if h := r.hook; h != nil {
		r.hook = nil
		h()
	}
	if r.after != nil {
		defer r.after()
	}
	return r.fakeRoot.Wrap(ctx, key, ec)
}

// TestRotationFails fails rotations at each of their calls: nothing is changed.
func TestRotationFails(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem, a := newTestFS(t), newFakeRoot("a")
	b := &hookedRoot{fakeRoot: newFakeRoot("b")}
	k := mustCreate(t, mem, a)
	require.NoError(t, k.Close())
	k = mustOpen(t, mem, a, b)
	live := mustTable(t, k, "shop.orders", a, "metadata")
	id := live.ID()
	before := summary(t, k)
	unchanged := func() {
		t.Helper()
		require.Equal(t, before, summary(t, k))
		require.Equal(t, before, summary(t, mustOpen(t, mem, a, b)))
		require.EqualValues(t, 1, live.Version())
	}

	require.ErrorIs(t, rotateRoot(k, ctx, id, newFakeRoot("c"), live), ErrRootNotPinned)
	unchanged()
	require.ErrorContains(t, rotateRoot(k, ctx, id, nil, live), "nil")
	require.ErrorIs(t, rotateRoot(k, ctx, ID{1}, b, live), ErrTableUnknown)
	require.ErrorIs(t, rotateKey(k, ctx, ID{1}, nil), ErrTableUnknown)
	a.fail(ErrKeyDenied)
	require.ErrorIs(t, rotateRoot(k, ctx, id, b, live), ErrKeyDenied)
	require.ErrorIs(t, rotateKey(k, ctx, id, live), ErrKeyDenied)
	a.fail(nil)
	unchanged()
	b.fail(ErrKeyUnreachable)
	require.ErrorIs(t, rotateRoot(k, ctx, id, b, live), ErrKeyUnreachable)
	b.fail(nil)
	unchanged()
	// A root key that may wrap and not unwrap would lock the table up.
	b.after = func() { b.fail(ErrKeyDenied) }
	require.ErrorIs(t, rotateRoot(k, ctx, id, b, live), ErrKeyDenied)
	b.after = nil
	b.fail(nil)
	unchanged()
	b.garble = true
	require.ErrorIs(t, rotateRoot(k, ctx, id, b, live), ErrWrongContext)
	b.garble = false
	unchanged()
	// One that could unwrap once has to show it again when it has failed.
	k.unwraps.Store(a.URI(), nil)
	a.fail(ErrKeyDenied)
	_, err := k.OpenTable(ctx, id)
	require.ErrorIs(t, err, ErrKeyDenied)
	require.NotContains(t, proven(k), a.URI())
	a.fail(nil)
	_, err = k.OpenTable(ctx, id)
	require.NoError(t, err)
	require.Equal(t, []string{a.URI()}, proven(k))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, rotateKey(k, cancelled, id, live), context.Canceled)
	unchanged()

	// What another does while the key service is asked.
	b.hook = func() { require.NoError(t, k.SetMetadata(ctx, live, []byte("newer"))) }
	require.NoError(t, rotateRoot(k, ctx, id, b, live))
	tk, err := k.OpenTable(ctx, id)
	require.NoError(t, err)
	require.Equal(t, "newer", string(tk.Metadata()))
	b.hook = func() { require.NoError(t, rotateKey(k, ctx, id, nil)) }
	require.ErrorIs(t, rotateKey(k, ctx, id, live), ErrRotated)
	require.ErrorIs(t, k.SetMetadata(ctx, live, nil), ErrVersionUnknown, "keys that did not hear of it")
	b.hook = func() { require.NoError(t, rotateRoot(k, ctx, id, b, nil)) }
	require.ErrorIs(t, rotateRoot(k, ctx, id, b, live), ErrRotated, "the older wrap of the same version")
	b.hook = func() {
		_, err := k.DropTable(ctx, id)
		require.NoError(t, err)
	}
	require.ErrorIs(t, rotateKey(k, ctx, id, live), ErrTableUnknown)

	// Of two rotations, the one that ended first may be heard of last.
	live.adopt(9, RandomSecret(), nil)
	live.adopt(8, RandomSecret(), nil)
	require.EqualValues(t, 9, live.Version())
	require.Contains(t, live.open.keys, uint32(8), "files may have been made under it")
	live.Wipe()
	live.adopt(10, RandomSecret(), nil)
	_, err = live.NewDataKey(ID{3})
	require.ErrorIs(t, err, ErrKeysWiped)
	reader, err := Open(ctx, testDir, []RootKey{a, b}, true, Options{FS: mem})
	require.NoError(t, err)
	require.ErrorIs(t, rotateKey(reader, ctx, id, nil), ErrReadOnly)
	require.NoError(t, k.Close())
	require.ErrorIs(t, rotateKey(k, ctx, id, nil), ErrClosed)
}

// TestManyVersions rotates a key with as many versions as there may be, and one
// with retired ones.
func TestManyVersions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem, a := newTestFS(t), newFakeRoot("a")
	k := mustCreate(t, mem, a)
	live := mustTable(t, k, "shop.orders", a, "metadata")
	id := live.ID()
	retired := func(n int) {
		require.NoError(t, k.changeTable(ctx, id, func(s *state, i int) error {
			old := s.tables[i].entry
			e := &keyEntry{id: id, metadata: old.metadata}
			for v := range n {
				e.versions = append(e.versions, keyVersion{
					number: uint32(v + 1), createdAt: k.now(), state: versionRetired, commitment: make([]byte, commitmentLen),
				})
			}
			newest := *old.newest()
			newest.number = uint32(n + 1)
			key, _ := live.newest()
			ec := Context{Store: k.storeID, Table: id, Purpose: PurposeTableKey, Version: newest.number}
			w, err := wrapBy(ctx, a, key, ec, "")
			if err != nil {
				return err
			}
			newest.wraps = []wrap{w}
			if newest.commitment, err = commit(key, ec); err != nil {
				return err
			}
			e.versions = append(e.versions, newest)
			s.tables[i].entry = e
			return e.finish(k.storeID, key)
		}))
	}
	retired(MaxVersions - 2)
	require.NoError(t, rotateKey(k, ctx, id, nil))
	var limit *LimitError
	err := rotateKey(k, ctx, id, nil)
	require.True(t, errors.As(err, &limit), "%v", err)
	require.NoError(t, rotateRoot(k, ctx, id, a, nil), "needs no version")
	tk, err := mustOpen(t, mem, a).OpenTable(ctx, id)
	require.NoError(t, err)
	require.EqualValues(t, MaxVersions, tk.Version())
}

// A keepingRoot remembers the secrets that it was given to wrap, and those that it has
// unwrapped.
type keepingRoot struct {
	*fakeRoot
	seen []*Secret
}

func (r *keepingRoot) Wrap(ctx context.Context, key *Secret, ec Context) ([]byte, error) {
	r.seen = append(r.seen, key)
	return r.fakeRoot.Wrap(ctx, key, ec)
}

func (r *keepingRoot) Unwrap(ctx context.Context, wrapped []byte, ec Context) (*Secret, error) {
	key, err := r.fakeRoot.Unwrap(ctx, wrapped, ec)
	if err == nil {
		r.seen = append(r.seen, key)
	}
	return key, err
}

// TestRotationLeavesNoKeys: whatever becomes of a rotation, the keys that came of it are
// wiped, and those in use are not.
func TestRotationLeavesNoKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem, root, second := newTestFS(t), &keepingRoot{fakeRoot: newFakeRoot("a")}, newFakeRoot("b")
	require.NoError(t, mustCreate(t, mem, root).Close())
	k := mustOpen(t, mem, root, second)
	live := mustTable(t, k, "shop.orders", root, "metadata")
	kept := func() (n int) {
		for _, key := range root.seen {
			if !key.Wiped() {
				n++
			}
		}
		root.seen = nil
		return n
	}
	kept()
	for what, keys := range map[string]*TableKeys{"by the keys in use": live, "by the service": nil} {
		for _, end := range []string{"committed", "given up", "failed"} {
			second.fail(nil)
			if end == "failed" {
				second.fail(ErrKeyDenied) // behind the first, which has wrapped it
			}
			k.unwraps.Clear() // so that each shows that it can unwrap
			r, err := k.PrepareTableKey(ctx, live.ID(), keys)
			if end == "failed" && len(live.RootURIs()) > 1 {
				require.ErrorIs(t, err, ErrKeyDenied)
			} else {
				require.NoError(t, err)
				if end == "committed" {
					require.NoError(t, r.Commit(ctx, live))
				}
				r.Wipe()
			}
			require.Zero(t, kept(), "%s: %s", what, end)
			if len(live.RootURIs()) == 1 {
				second.fail(nil)
				r, err = k.PrepareAddRoot(ctx, live.ID(), live, second)
				require.NoError(t, commitRotation(ctx, r, err, live))
				kept()
			}
		}
	}
	_, err := live.NewDataKey(ID{1})
	require.NoError(t, err)
}

// TestCommitOfWrongKeys: a rotation without its keys, or with others than the table's,
// changes nothing, for no root key would open what it makes.
func TestCommitOfWrongKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem, root := newTestFS(t), newFakeRoot("a")
	k := mustCreate(t, mem, root)
	live := mustTable(t, k, "shop.orders", root, "metadata")
	other := mustTable(t, k, "shop.other", root, "")
	for what, prepare := range map[string]func(*TableKeys) (*Rotation, error){
		"renewed": func(keys *TableKeys) (*Rotation, error) { return k.PrepareRoot(ctx, live.ID(), keys, root) },
		"rotated": func(keys *TableKeys) (*Rotation, error) { return k.PrepareTableKey(ctx, live.ID(), keys) },
	} {
		generation := k.Generation()
		r, err := prepare(live)
		require.NoError(t, err)
		r.Wipe()
		require.ErrorIs(t, r.Commit(ctx, live), ErrKeysWiped, what)

		r, err = prepare(live)
		require.NoError(t, err)
		require.ErrorIs(t, r.Commit(ctx, other), ErrWrongContext, what)
		wrong := RandomSecret()
		if r.keys[r.from.number] == r.key {
			r.key = wrong
		}
		r.keys[r.from.number] = wrong
		require.ErrorIs(t, r.Commit(ctx, live), ErrWrongContext, what)
		r.Wipe()
		require.Equal(t, generation, k.Generation(), what)

		// Those of another table are not taken for the table's: the service is asked.
		unwraps := root.unwraps
		r, err = prepare(other)
		require.NoError(t, err)
		require.Greater(t, root.unwraps, unwraps)
		require.NoError(t, r.Commit(ctx, live))
		r.Wipe()
		again := mustOpen(t, mem, root)
		tk, err := again.OpenTable(ctx, live.ID())
		require.NoError(t, err)
		require.Equal(t, "metadata", string(tk.Metadata()))
		tk.Wipe()
	}
}
