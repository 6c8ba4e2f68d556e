package keyring

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

// A paperRoot is a root key that only wraps, as a recovery recipient does, until its
// sheet is found.
type paperRoot struct {
	*fakeRoot
	sheet bool
}

func newPaperRoot(name string) *paperRoot { return &paperRoot{fakeRoot: newFakeRoot(name)} }

func (r *paperRoot) Offline() bool { return true }

func (r *paperRoot) Unwrap(ctx context.Context, wrapped []byte, ec Context) (*Secret, error) {
	if !r.sheet {
		return nil, errors.Join(ErrKeyUnreachable, ErrKeyOffline)
	}
	return r.fakeRoot.Unwrap(ctx, wrapped, ec)
}

// A rootsOp is a change of root keys, of a table's key or of the store key.
type rootsOp func(ctx context.Context, k *Keyring, id ID) (*Rotation, error)

func addRoot(root RootKey) rootsOp {
	return func(ctx context.Context, k *Keyring, id ID) (*Rotation, error) {
		return k.PrepareAddRoot(ctx, id, nil, root)
	}
}

func removeRoot(uris ...string) rootsOp {
	return func(ctx context.Context, k *Keyring, id ID) (*Rotation, error) {
		return k.PrepareRemoveRoot(ctx, id, nil, uris...)
	}
}

func replaceRoot(from string, root RootKey) rootsOp {
	return func(ctx context.Context, k *Keyring, id ID) (*Rotation, error) {
		return k.PrepareReplaceRoot(ctx, id, nil, from, root)
	}
}

func toRoot(root RootKey) rootsOp {
	return func(ctx context.Context, k *Keyring, id ID) (*Rotation, error) {
		return k.PrepareRoot(ctx, id, nil, root)
	}
}

func newVersion(ctx context.Context, k *Keyring, id ID) (*Rotation, error) {
	return k.PrepareTableKey(ctx, id, nil)
}

// do prepares and commits. live are the table's keys in use, if the change is of them.
func (op rootsOp) do(t testing.TB, k *Keyring, id ID, live *TableKeys) error {
	t.Helper()
	if id.IsZero() {
		live = nil
	}
	r, err := op(t.Context(), k, id)
	return commitRotation(t.Context(), r, err, live)
}

// rootsOf are the root keys of a table's key, or of the store key.
func rootsOf(t testing.TB, k *Keyring, id ID) []string {
	t.Helper()
	e, err := k.cur.Load().entry(id)
	require.NoError(t, err)
	return (*e).roots()
}

func versionOf(t testing.TB, k *Keyring, id ID) int {
	t.Helper()
	e, err := k.cur.Load().entry(id)
	require.NoError(t, err)
	return int((*e).newest().number)
}

// severalRoots makes a keyring of one table under the root a, and opens it with all
// roots.
func severalRoots(t testing.TB, mem *vfs.MemFS, a RootKey, others ...RootKey) (*Keyring, *TableKeys) {
	t.Helper()
	k := mustCreate(t, mem, a)
	require.NoError(t, k.Close())
	k = mustOpen(t, mem, append([]RootKey{a}, others...)...)
	return k, mustTable(t, k, "shop.orders", a, "metadata")
}

// opens tells whether the roots open the keyring and its table, with the data keys
// that were made.
func opens(t testing.TB, mem vfs.FS, made []*DataKey, roots ...RootKey) error {
	t.Helper()
	k, err := Open(t.Context(), testDir, roots, true, Options{FS: mem})
	if err != nil {
		return err
	}
	defer k.Close()
	tk, err := k.OpenTable(t.Context(), k.Tables()[0].ID)
	if err != nil {
		return err
	}
	defer tk.Wipe()
	require.Equal(t, "metadata", string(tk.Metadata()))
	for n, dk := range made {
		key, err := tk.DataKey(ID{byte(n)}, dk.Version, dk.Wrapped[:])
		require.NoError(t, err)
		require.True(t, key.Equal(dk.Key))
	}
	return nil
}

// TestAnyRootOpens adds roots to a table's key and to the store key, and wants each
// one alone to open both, with the others lost; then it takes them away again.
func TestAnyRootOpens(t *testing.T) {
	t.Parallel()
	mem, a, b, c := newTestFS(t), newFakeRoot("a"), newFakeRoot("b"), newFakeRoot("c")
	k, live := severalRoots(t, mem, a, b, c)
	id := live.ID()
	var made []*DataKey
	sealed := func() {
		dk, err := live.NewDataKey(ID{byte(len(made))})
		require.NoError(t, err)
		made = append(made, dk)
	}
	sealed()
	journal, err := k.StoreKeys().NewDataKey(ID{9})
	require.NoError(t, err)

	calls := a.calls() + c.calls()
	for _, at := range []ID{{}, id} {
		generation := k.Generation()
		require.NoError(t, addRoot(b).do(t, k, at, live))
		require.Equal(t, []string{"fake:a", "fake:b"}, rootsOf(t, k, at))
		require.Equal(t, 1, versionOf(t, k, at), "no new version")
		require.Equal(t, generation+1, k.Generation())
	}
	require.Equal(t, calls+1, a.calls()+c.calls(), "one unwrap, of the table's key")
	require.Equal(t, []string{"fake:a", "fake:b"}, live.RootURIs())
	require.Equal(t, []string{"fake:a", "fake:b"}, k.Roots())
	sealed()
	for _, alone := range []RootKey{a, b} {
		require.NoError(t, opens(t, mem, made, alone), "the other is not even pinned")
	}
	require.ErrorIs(t, opens(t, mem, made, c), ErrRootNotPinned)
	a.fail(ErrKeyUnreachable)
	require.NoError(t, opens(t, mem, made, a, b))
	b.fail(ErrKeyDenied)
	err = opens(t, mem, made, a, b)
	require.ErrorIs(t, err, ErrKeyUnreachable)
	require.ErrorIs(t, err, ErrKeyDenied)
	a.fail(nil)
	b.fail(nil)

	// One of two is replaced, the other goes: each makes a new version.
	for _, at := range []ID{{}, id} {
		require.NoError(t, replaceRoot("fake:a", c).do(t, k, at, live))
		require.Equal(t, []string{"fake:c", "fake:b"}, rootsOf(t, k, at))
		require.Equal(t, 2, versionOf(t, k, at))
	}
	sealed()
	require.ErrorIs(t, opens(t, mem, made, a), ErrRootNotPinned)
	require.NoError(t, opens(t, mem, made, b))
	for _, at := range []ID{{}, id} {
		require.NoError(t, removeRoot("fake:b").do(t, k, at, live))
		require.Equal(t, []string{"fake:c"}, rootsOf(t, k, at))
		require.Equal(t, 3, versionOf(t, k, at))
		require.NoError(t, rootsOp(newVersion).do(t, k, at, live))
		require.Equal(t, 4, versionOf(t, k, at))
	}
	sealed()
	require.NoError(t, opens(t, mem, made, c))
	require.ErrorIs(t, opens(t, mem, made, a, b), ErrRootNotPinned)
	require.EqualValues(t, 4, live.Version())

	// What the store's own files were sealed with opens under every later version.
	for _, k := range []*Keyring{k, mustOpen(t, mem, c)} {
		key, err := k.StoreKeys().DataKey(ID{9}, journal.Version, journal.Wrapped[:])
		require.NoError(t, err)
		require.True(t, key.Equal(journal.Key))
		dk, err := k.StoreKeys().NewDataKey(ID{10})
		require.NoError(t, err)
		require.EqualValues(t, 4, dk.Version)
		require.NoError(t, k.SetStates(t.Context(), NewID(), nil))
	}
	require.NoError(t, opens(t, mem, made, c))
}

// TestRemovedRootReadsNothingNew keeps a root key, the store key of its time and the
// keyring of its time: none opens what was made after it was removed.
func TestRemovedRootReadsNothingNew(t *testing.T) {
	t.Parallel()
	mem, a, b := newTestFS(t), newFakeRoot("a"), newFakeRoot("b")
	k, live := severalRoots(t, mem, a, b)
	id := live.ID()
	for _, at := range []ID{{}, id} {
		require.NoError(t, addRoot(b).do(t, k, at, live))
	}
	old := mem.CrashClone(vfs.CrashCloneCfg{})
	before, err := live.NewDataKey(ID{1})
	require.NoError(t, err)
	for _, at := range []ID{{}, id} {
		require.NoError(t, removeRoot("fake:a").do(t, k, at, live))
	}
	after, err := live.NewDataKey(ID{2})
	require.NoError(t, err)
	own, err := k.StoreKeys().NewDataKey(ID{3})
	require.NoError(t, err)

	thief := mustOpen(t, old, a)
	keys, err := thief.OpenTable(t.Context(), id)
	require.NoError(t, err)
	_, err = keys.DataKey(ID{1}, before.Version, before.Wrapped[:])
	require.NoError(t, err)
	_, err = keys.DataKey(ID{2}, after.Version, after.Wrapped[:])
	require.ErrorIs(t, err, ErrVersionUnknown)
	_, err = thief.StoreKeys().DataKey(ID{3}, own.Version, own.Wrapped[:])
	require.ErrorIs(t, err, ErrVersionUnknown)

	// Nor does the old store key make a keyring that opens.
	name, file := readFile(t, mem)
	f, err := parseFile(file)
	require.NoError(t, err)
	_, err = f.authenticate(nil, thief.storeKey.open.keys[1])
	require.ErrorIs(t, err, corrupt.ErrAuth)
	require.NotEmpty(t, name)
}

// TestRootsRefused has every change of roots that cannot be, of a table's key and of
// the store key: nothing is changed, and no service is called that need not be.
func TestRootsRefused(t *testing.T) {
	t.Parallel()
	mem, a, b, c, paper := newTestFS(t), newFakeRoot("a"), newFakeRoot("b"), newFakeRoot("c"), newPaperRoot("paper")
	k, live := severalRoots(t, mem, a, b, paper)
	id := live.ID()
	refused := func(at ID, want error, op rootsOp, what string) {
		t.Helper()
		generation, calls := k.Generation(), a.calls()+b.calls()+c.calls()+paper.calls()
		require.ErrorIs(t, op.do(t, k, at, live), want, what)
		require.Equal(t, generation, k.Generation(), what)
		require.Equal(t, calls, a.calls()+b.calls()+c.calls()+paper.calls(), what)
	}
	for _, at := range []ID{{}, id} {
		refused(at, ErrRootExists, addRoot(a), "what is there")
		refused(at, ErrRootNotPinned, addRoot(c), "not pinned")
		refused(at, ErrRootUnknown, removeRoot("fake:b"), "not there")
		refused(at, ErrRootUnknown, removeRoot(""), "no name")
		refused(at, ErrRootUnknown, removeRoot(), "none")
		refused(at, ErrRootUnknown, removeRoot("fake:a", "fake:a"), "twice")
		refused(at, ErrRootUnknown, replaceRoot("fake:c", b), "not there")
		refused(at, ErrRootNotPinned, replaceRoot("fake:a", c), "by one not pinned")
		refused(at, ErrLastRoot, removeRoot("fake:a"), "the last")
		refused(at, ErrLastRoot, toRoot(paper), "a recovery key alone")
		refused(at, ErrLastRoot, replaceRoot("fake:a", paper), "a recovery key alone")
		for _, op := range []rootsOp{addRoot(nil), toRoot(nil), replaceRoot("fake:a", nil)} {
			_, err := op(t.Context(), k, at)
			require.ErrorContains(t, err, "nil")
		}
		require.NoError(t, addRoot(paper).do(t, k, at, live))
		refused(at, ErrLastRoot, removeRoot("fake:a"), "the last that is online")
		refused(at, ErrLastRoot, removeRoot("fake:paper", "fake:a"), "all")
		require.NoError(t, addRoot(b).do(t, k, at, live))
		refused(at, ErrRootExists, replaceRoot("fake:a", b), "both are there")
		require.NoError(t, toRoot(b).do(t, k, at, live), "renews all")
		require.NoError(t, removeRoot("fake:a").do(t, k, at, live))
		require.Equal(t, []string{"fake:paper", "fake:b"}, rootsOf(t, k, at))
		require.NoError(t, toRoot(a).do(t, k, at, live), "in place of b, not of the recovery key")
		require.Equal(t, []string{"fake:paper", "fake:a"}, rootsOf(t, k, at))
		require.NoError(t, addRoot(b).do(t, k, at, live))
	}
	refused(ID{1}, ErrTableUnknown, addRoot(b), "no such table")
	refused(ID{1}, ErrTableUnknown, removeRoot("fake:a"), "no such table")
	require.Zero(t, c.calls())
	require.Zero(t, paper.unwraps)
	r, err := newVersion(t.Context(), k, ID{})
	require.ErrorIs(t, commitRotation(t.Context(), r, err, live), ErrWrongContext, "keys in use of something else")

	// Two that are online: which one is replaced is to be said.
	k = mustOpen(t, mem, a, b, paper, c)
	for _, at := range []ID{{}, id} {
		refused(at, ErrRootChoice, toRoot(c), "of two")
		require.NoError(t, replaceRoot("fake:b", c).do(t, k, at, nil))
		require.Equal(t, []string{"fake:paper", "fake:a", "fake:c"}, rootsOf(t, k, at))
	}

	// Root keys that nobody has made: as many as there may be.
	var many []RootKey
	for i := range MaxWraps {
		many = append(many, newFakeRoot(string(rune('a'+i))+"+"))
	}
	k = mustOpen(t, mem, append([]RootKey{a, c, paper}, many...)...)
	for _, root := range many[:MaxWraps-3] {
		require.NoError(t, addRoot(root).do(t, k, id, nil))
	}
	var limit *LimitError
	require.ErrorAs(t, addRoot(many[MaxWraps-1]).do(t, k, id, nil), &limit)
	require.NoError(t, rootsOp(newVersion).do(t, k, id, nil))
	require.Len(t, rootsOf(t, mustOpen(t, mem, a), id), MaxWraps)
	reader, err := Open(t.Context(), testDir, []RootKey{a, b}, true, Options{FS: mem})
	require.NoError(t, err)
	require.ErrorIs(t, removeRoot("fake:a").do(t, reader, ID{}, nil), ErrReadOnly)
	require.NoError(t, k.Close())
	require.ErrorIs(t, removeRoot("fake:a").do(t, k, ID{}, nil), ErrClosed)
}

// TestRotationRenewsAll: a rotation renews every wrap, of all root keys, or it fails
// and names the one that is not pinned or does not answer.
func TestRotationRenewsAll(t *testing.T) {
	t.Parallel()
	mem, a, b, c, paper := newTestFS(t), newFakeRoot("a"), newFakeRoot("b"), newFakeRoot("c"), newPaperRoot("paper")
	k, live := severalRoots(t, mem, a, b, c, paper)
	id := live.ID()
	for _, at := range []ID{{}, id} {
		require.NoError(t, addRoot(b).do(t, k, at, live))
		require.NoError(t, addRoot(paper).do(t, k, at, live))
	}
	rotations := map[string]rootsOp{
		"a new version": newVersion, "the same root": toRoot(a), "another": replaceRoot("fake:a", c),
	}
	for _, at := range []ID{{}, id} {
		for name, op := range rotations {
			before := append([]wrap(nil), (*must(k.cur.Load().entry(at))).newest().wraps...)
			for _, down := range []*fakeRoot{b, paper.fakeRoot} {
				down.fail(ErrKeyUnreachable)
				err := op.do(t, k, at, live)
				down.fail(nil)
				var ke *KeyError
				require.ErrorAs(t, err, &ke, name)
				require.Equal(t, down.uri, ke.URI, name)
				require.ErrorIs(t, err, ErrKeyUnreachable, name)
			}
			// Those that are pinned are known when the keyring is opened.
			partly := mustOpen(t, mem, a, c, paper)
			err := op.do(t, partly, at, nil)
			require.ErrorIs(t, err, ErrRootNotPinned, name)
			require.ErrorContains(t, err, "fake:b", name)
			k = mustOpen(t, mem, a, b, c, paper)
			now := (*must(k.cur.Load().entry(at))).newest().wraps
			require.True(t, slices.EqualFunc(before, now, wrap.equal), "%s: nothing is changed", name)

			require.NoError(t, op.do(t, k, at, nil), name)
			now = (*must(k.cur.Load().entry(at))).newest().wraps
			require.Len(t, now, len(before), name)
			for i := range now {
				require.NotEqual(t, before[i].blob, now[i].blob, "%s: the wrap of %s is the old one", name, now[i].uri)
			}
			if name == "another" {
				require.NoError(t, replaceRoot("fake:c", a).do(t, k, at, nil))
			}
		}
	}
	paper.sheet = true
	require.NoError(t, opens(t, mem, nil, paper), "with the sheet alone")
	paper.sheet = false
	err := opens(t, mem, nil, paper)
	require.ErrorIs(t, err, ErrKeyOffline)
	require.ErrorIs(t, err, ErrRootNotPinned)
	require.ErrorContains(t, err, "fake:b", "which others there are")
}

// TestLostRoot destroys the root key a: its keys open by another root or by the sheet,
// which replace it without its being pinned, and it goes from the store key even when
// every root key of that is lost while the keyring is open.
func TestLostRoot(t *testing.T) {
	t.Parallel()
	mem, a, b, paper := newTestFS(t), newFakeRoot("a"), newFakeRoot("b"), newPaperRoot("paper")
	k, live := severalRoots(t, mem, a, paper, b)
	id := live.ID()
	for _, at := range []ID{{}, id} {
		require.NoError(t, addRoot(paper).do(t, k, at, live))
	}
	require.NoError(t, k.Close())
	a.fail(ErrKeyNotFound)
	err := opens(t, mem, nil, a, b, paper)
	require.ErrorIs(t, err, ErrKeyNotFound)
	require.NotErrorIs(t, err, ErrKeyOffline, "that is not what is wrong")

	paper.sheet = true
	k = mustOpen(t, mem, paper, b)
	for _, at := range []ID{{}, id} {
		require.ErrorIs(t, toRoot(b).do(t, k, at, nil), ErrRootNotPinned, "what is lost is to be named")
		require.NoError(t, replaceRoot("fake:a", b).do(t, k, at, nil))
		require.Equal(t, []string{"fake:b", "fake:paper"}, rootsOf(t, k, at))
	}
	require.NoError(t, k.Close())
	paper.sheet = false
	require.NoError(t, opens(t, mem, nil, b))

	// All roots of the store key are lost, and it is still in memory.
	k = mustOpen(t, mem, b, paper, a)
	b.fail(ErrKeyNotFound)
	a.fail(nil)
	require.NoError(t, replaceRoot("fake:b", a).do(t, k, ID{}, nil))
	require.NoError(t, k.Close())
	mustOpen(t, mem, a)
}

// TestRecipientsOfNewTables: what recovers the store recovers tables that are created
// afterwards, if it is pinned.
func TestRecipientsOfNewTables(t *testing.T) {
	t.Parallel()
	mem, a, paper := newTestFS(t), newFakeRoot("a"), newPaperRoot("paper")
	k, _ := severalRoots(t, mem, a, paper)
	require.NoError(t, addRoot(paper).do(t, k, ID{}, nil))
	require.Equal(t, []string{"fake:a"}, k.Tables()[0].Roots, "it was there before")
	tk := mustTable(t, k, "shop.new", a, "")
	require.Equal(t, []string{"fake:a", "fake:paper"}, tk.RootURIs())
	k = mustOpen(t, mem, a)
	require.Equal(t, []string{"fake:a"}, mustTable(t, k, "shop.unpinned", a, "").RootURIs())
	k = mustOpen(t, mem, a, paper)
	_, err := k.CreateTable(t.Context(), "shop.none", paper, nil)
	require.ErrorIs(t, err, ErrLastRoot)
	_, err = Create(t.Context(), "store/other", paper, Options{FS: mem})
	require.ErrorIs(t, err, ErrLastRoot)
}

// TestRemovedAnchor: the root key that goes has noted that it went, so the keyring of
// before is an older one to it.
func TestRemovedAnchor(t *testing.T) {
	t.Parallel()
	mem, a, b := newTestFS(t), newAnchoredRoot("a"), newAnchoredRoot("b")
	k, _ := severalRoots(t, mem, a, b)
	require.NoError(t, addRoot(b).do(t, k, ID{}, nil))
	name, before := readFile(t, mem)
	require.NoError(t, removeRoot("fake:a").do(t, k, ID{}, nil))
	require.Equal(t, k.Generation(), a.notes[k.StoreID()].gen)
	for _, pins := range [][]RootKey{{a}, {b}, {a, b}} {
		_, err := tryOpen(t, withFile(t, name, before), pins...)
		require.ErrorIs(t, err, ErrRollback)
	}
}

// TestSilentAnchor: of several anchors those that answer count.
func TestSilentAnchor(t *testing.T) {
	t.Parallel()
	mem, a, b := newTestFS(t), newAnchoredRoot("a"), newAnchoredRoot("b")
	k, _ := severalRoots(t, mem, a, b)
	require.NoError(t, addRoot(b).do(t, k, ID{}, nil))
	two, twoFile := readFile(t, mem)
	require.NoError(t, k.SetStates(t.Context(), NewID(), nil))
	require.NoError(t, k.Close())

	a.fault = ErrKeyUnreachable
	require.NoError(t, must(tryOpen(t, mem, a, b)).Close())
	_, err := tryOpen(t, withFile(t, two, twoFile), a, b)
	require.ErrorIs(t, err, ErrRollback, "the other one knows better")
	b.fault = ErrKeyDenied
	_, err = tryOpen(t, mem, a, b)
	require.ErrorIs(t, err, ErrKeyUnreachable)
	require.ErrorIs(t, err, ErrKeyDenied)
	older := Options{FS: mem, AcceptOlder: true}
	r, err := Open(t.Context(), testDir, []RootKey{a, b}, false, older)
	require.NoError(t, err)
	require.NoError(t, r.Close())
}
