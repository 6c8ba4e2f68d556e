package keyring

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

// aged makes a keyring of three generations and returns the file of each.
func aged(t *testing.T, root RootKey) (files [][]byte, k *Keyring) {
	t.Helper()
	mem := newTestFS(t)
	k = mustCreate(t, mem, root)
	keep := func() {
		_, b := readFile(t, mem)
		files = append(files, b)
	}
	keep()
	tk, err := k.CreateTable(t.Context(), "t", root, []byte("m"))
	require.NoError(t, err)
	keep()
	require.NoError(t, k.FinishCreate(t.Context(), tk.ID()))
	keep()
	return files, k
}

// TestRollback puts each older keyring back, under its name and the newest's.
func TestRollback(t *testing.T) {
	t.Parallel()
	root := newAnchoredRoot("a")
	files, _ := aged(t, root)
	for gen, b := range files[:2] {
		_, err := tryOpen(t, withFile(t, fileName(uint64(gen+1)), b), root)
		require.ErrorIs(t, err, ErrRollback)
		require.ErrorIs(t, err, corrupt.ErrCorrupt)
		require.ErrorContains(t, err, "keyring/"+fileName(uint64(gen+1)))

		_, err = tryOpen(t, withFile(t, fileName(3), b), root)
		require.ErrorIs(t, err, corrupt.ErrForeign)
		_, err = tryOpen(t, withFile(t, fileName(4), b), root)
		require.ErrorIs(t, err, corrupt.ErrForeign)
	}
	// The newest opens, and an older one beside it does not matter.
	mem := withFile(t, fileName(3), files[2])
	writeFile(t, mem, fileName(2), files[1])
	mustOpen(t, mem, root)
	name, _ := readFile(t, mem)
	require.Equal(t, fileName(3), name)

	// Without an anchor nothing can tell.
	mustOpen(t, withFile(t, fileName(2), files[1]), root.fakeRoot)
}

// TestRollbackBeforeAnchor puts back a keyring of before the store key had the root key
// that remembers generations.
func TestRollbackBeforeAnchor(t *testing.T) {
	t.Parallel()
	mem, plain, anchor := newTestFS(t), newFakeRoot("plain"), newAnchoredRoot("a")
	k := mustCreate(t, mem, plain)
	require.NoError(t, k.Close())
	_, older := readFile(t, mem)
	k = mustOpen(t, mem, plain, anchor)
	require.NoError(t, addRoot(anchor).do(t, k, ID{}, nil))
	require.NoError(t, k.Close())
	mustOpen(t, mem, plain, anchor)

	back := withFile(t, fileName(1), older)
	_, err := tryOpen(t, back, plain, anchor)
	require.ErrorIs(t, err, ErrRollback)
	mustOpen(t, back, plain) // nobody tells

	// It is accepted where the caller says so, and opens then.
	k, err = Open(t.Context(), testDir, []RootKey{plain, anchor}, false, Options{FS: back, AcceptOlder: true})
	require.NoError(t, err)
	require.NoError(t, k.Close())
	require.EqualValues(t, 3, mustOpen(t, back, plain, anchor).Generation())

	// One that is silent, and never had to do with the store key, keeps nothing closed.
	stranger := newAnchoredRoot("b")
	stranger.fault = ErrKeyUnreachable
	mustOpen(t, mem, plain, anchor, stranger)
}

// TestFork: the same number with another content.
func TestFork(t *testing.T) {
	t.Parallel()
	root := newAnchoredRoot("a")
	files, k := aged(t, root)
	fork := withFile(t, fileName(2), files[1])
	f := mustOpen(t, fork, root.fakeRoot)
	require.NoError(t, f.SetStates(t.Context(), NewID(), nil))
	require.Equal(t, k.Generation(), f.Generation())
	_, err := tryOpen(t, fork, root)
	require.ErrorIs(t, err, ErrRollback)
	require.ErrorContains(t, err, "its content differs")
	_, err = Open(t.Context(), testDir, []RootKey{root}, true, Options{FS: fork})
	require.ErrorIs(t, err, ErrRollback, "read-only")

	r, err := Open(t.Context(), testDir, []RootKey{root}, false, Options{FS: fork, AcceptOlder: true})
	require.NoError(t, err)
	require.EqualValues(t, 4, r.Generation())
	mustOpen(t, fork, root)
	// Now it is the other line that is behind.
	_, err = tryOpen(t, k.opts.FS, root)
	require.ErrorIs(t, err, ErrRollback)
}

func TestAcceptOlder(t *testing.T) {
	t.Parallel()
	root := newAnchoredRoot("a")
	files, k := aged(t, root)
	mem := withFile(t, fileName(1), files[0])
	var log bytes.Buffer
	opts := Options{FS: mem, AcceptOlder: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}

	r, err := Open(t.Context(), testDir, []RootKey{root}, true, opts)
	require.NoError(t, err)
	require.EqualValues(t, 1, r.Generation(), "read-only changes nothing")
	_, err = tryOpen(t, mem, root)
	require.ErrorIs(t, err, ErrRollback)
	require.Empty(t, log.String())

	r, err = Open(t.Context(), testDir, []RootKey{root}, false, opts)
	require.NoError(t, err)
	require.EqualValues(t, 4, r.Generation())
	require.Contains(t, log.String(), "generation=1 as=4")
	require.EqualValues(t, 4, root.notes[k.StoreID()].gen)
	name, _ := readFile(t, mem)
	require.Equal(t, fileName(4), name)
	require.Empty(t, mustOpen(t, mem, root).Tables())
}

// TestNoteAfterCrash: the rename was made, the note was not.
func TestNoteAfterCrash(t *testing.T) {
	t.Parallel()
	root := newAnchoredRoot("a")
	files, k := aged(t, root)
	for _, noted := range []uint64{0, 1, 2} {
		root.notes[k.StoreID()] = fakeNote{gen: noted}
		if noted == 0 {
			delete(root.notes, k.StoreID())
		}
		mem := withFile(t, fileName(3), files[2])
		mustOpen(t, mem, root)
		require.EqualValues(t, 3, root.notes[k.StoreID()].gen)
		_, err := tryOpen(t, withFile(t, fileName(2), files[1]), root)
		require.ErrorIs(t, err, ErrRollback)
	}
}

// TestAnchorFails: reading a note must work, writing one is tried again.
func TestAnchorFails(t *testing.T) {
	t.Parallel()
	mem, root := newTestFS(t), newAnchoredRoot("a")
	k := mustCreate(t, mem, root)
	var log bytes.Buffer
	k.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	root.fault = ErrKeyUnreachable
	require.NoError(t, k.SetStates(t.Context(), NewID(), nil))
	require.Contains(t, log.String(), "has not noted")
	require.EqualValues(t, 1, root.notes[k.StoreID()].gen)

	_, err := tryOpen(t, mem, root)
	var ke *KeyError
	require.ErrorAs(t, err, &ke)
	require.ErrorIs(t, err, ErrKeyUnreachable)
	require.Equal(t, "read the noted generation", ke.Op)

	root.fault = nil
	require.NoError(t, k.SetStates(t.Context(), NewID(), nil))
	require.EqualValues(t, 3, root.notes[k.StoreID()].gen)
	mustOpen(t, mem, root)
}

// TestSeveralRoots gives the store key and a table two wraps each: the first
// root that opens one is enough, and what both say is told.
func TestSeveralRoots(t *testing.T) {
	t.Parallel()
	mem, ra, rb, ctx := newTestFS(t), newAnchoredRoot("a"), newAnchoredRoot("b"), t.Context()
	mustCreate(t, mem, ra)
	k := mustOpen(t, mem, ra, rb)
	id := mustTable(t, k, "t", ra, "m").ID()
	name, b := reseal(t, k, func(s *state) {
		s.store = addWrap(t, k, s.store, k.storeKey.open.keys[1], rb, PurposeStoreKey)
		tk, err := k.OpenTable(ctx, id)
		require.NoError(t, err)
		s.tables[0].entry = addWrap(t, k, s.tables[0].entry, tk.open.keys[1], rb, PurposeTableKey)
	})
	writeFile(t, mem, name, b)
	delete(ra.notes, k.StoreID())

	open := func() error {
		k, err := tryOpen(t, mem, ra, rb)
		if err != nil {
			return err
		}
		require.Equal(t, []string{"fake:a", "fake:b"}, k.Roots())
		require.Equal(t, []string{"fake:a", "fake:b"}, k.Tables()[0].Roots)
		tk, err := k.OpenTable(ctx, id)
		if err == nil {
			require.Equal(t, "m", string(tk.Metadata()))
		}
		return err
	}
	require.NoError(t, open())
	require.EqualValues(t, 3, ra.notes[k.StoreID()].gen)
	require.EqualValues(t, 3, rb.notes[k.StoreID()].gen)
	ra.fail(ErrKeyDenied)
	require.NoError(t, open())
	rb.fail(ErrKeyUnreachable)
	err := open()
	require.ErrorIs(t, err, ErrKeyDenied)
	require.ErrorIs(t, err, ErrKeyUnreachable)
	ra.fail(nil)
	require.NoError(t, open())

	// Both anchors are asked; one that knows better is enough.
	rb.notes[k.StoreID()] = fakeNote{gen: 9}
	require.ErrorIs(t, open(), ErrRollback)

	// Either one alone opens both; the other is not called, as it is not pinned.
	delete(rb.notes, k.StoreID())
	ra.fail(nil)
	rb.fail(nil)
	for i, pins := range [][]RootKey{{ra}, {rb}} {
		calls := []int{rb.calls(), ra.calls()}[i]
		k, err := tryOpen(t, mem, pins...)
		require.NoError(t, err)
		_, err = k.OpenTable(ctx, id)
		require.NoError(t, err)
		require.Equal(t, calls, []int{rb.calls(), ra.calls()}[i])
	}
}

// addWrap makes the entry again, with one more wrap of its newest version.
func addWrap(t *testing.T, k *Keyring, e *keyEntry, key *Secret, root RootKey, purpose string) *keyEntry {
	t.Helper()
	c := &keyEntry{id: e.id, versions: append([]keyVersion(nil), e.versions...), metadata: e.metadata}
	v := c.newest()
	blob, err := root.Wrap(t.Context(), key, Context{Store: k.storeID, Table: e.id, Purpose: purpose, Version: v.number})
	require.NoError(t, err)
	v.wraps = append(append([]wrap(nil), v.wraps...), wrap{root.URI(), blob})
	require.NoError(t, c.finish(k.storeID, key))
	return c
}
