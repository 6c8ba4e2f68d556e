package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

func heldBytes(t *testing.T, h *Held) map[string]string {
	t.Helper()
	m := make(map[string]string)
	for _, f := range h.Files {
		in, err := h.Open(f.Name)
		require.NoError(t, err)
		b, err := io.ReadAll(io.NewSectionReader(in, 0, 1<<30))
		require.NoError(t, err)
		require.NoError(t, in.Close())
		require.Len(t, b, int(f.Size))
		m[f.Name] = string(b)
	}
	return m
}

// heldStore has a table with sorted files and a log.
func heldStore(t *testing.T) (*Store, *Table, Options, string) {
	opts := Options{RootKey: newRoot(t), tune: small}
	dir := filepath.Join(t.TempDir(), "store")
	s, err := Open(t.Context(), dir, opts)
	require.NoError(t, err)
	tab, err := s.CreateTable(t.Context(), "clinic.patients", TableOptions{})
	require.NoError(t, err)
	putRows(t, tab, 0, 1000)
	require.NoError(t, tab.Flush())
	putRows(t, tab, 1000, 2000)
	require.NoError(t, tab.Flush())
	putRows(t, tab, 500, 1500)
	return s, tab, opts, dir
}

func putRows(t *testing.T, tab *Table, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		require.NoError(t, tab.Put(fmt.Appendf(nil, "%06d", i), fmt.Appendf(nil, "%d of %d", i, to), &WriteOptions{NoSync: true}))
	}
}

// TestHold takes hold of a table that goes on: nothing that is held changes, with
// compactions, rotations, re-encryption and a close in between, and it goes when it is
// let go.
func TestHold(t *testing.T) {
	t.Parallel()
	s, tab, opts, _ := heldStore(t)
	defer func() { require.NoError(t, s.Close()) }()
	h, err := tab.Hold(t.Context())
	require.NoError(t, err)
	require.True(t, h.Sealed)
	require.NotEmpty(t, h.Seal)
	require.False(t, h.Incarnation.IsZero())
	before := heldBytes(t, h)
	kinds := make(map[keyring.FileKind]int)
	for _, f := range h.Files {
		kinds[f.Kind]++
		if f.Kind == 0 {
			require.Zero(t, f.Size)
			continue
		}
		require.NotEmpty(t, f.Keys, f.Name)
		if f.Kind == keyring.KindSSTable {
			require.NotEmpty(t, f.Smallest)
			require.NotEmpty(t, f.Largest)
		}
	}
	for _, k := range []keyring.FileKind{0, keyring.KindSSTable, keyring.KindWAL, keyring.KindManifest, keyring.KindOptions} {
		require.NotZero(t, kinds[k], k)
	}

	putRows(t, tab, 2000, 2500)
	require.NoError(t, tab.Compact(t.Context(), nil, nil))
	require.NoError(t, tab.RotateKey(t.Context()))
	_, err = tab.Reencrypt(t.Context(), ReencryptOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Close())
	_, err = tab.Get([]byte("000001"))
	require.NoError(t, err)
	require.Equal(t, before, heldBytes(t, h))

	box, err := tab.Lockbox()
	require.NoError(t, err)
	keys, err := keyring.OpenLockbox(t.Context(), box, []keyring.RootKey{opts.RootKey}, keyring.Options{})
	require.NoError(t, err)
	defer keys.Wipe()
	require.EqualValues(t, 2, keys.Version())

	dir := h.dir
	require.NoError(t, h.Close())
	require.NoError(t, h.Close())
	_, err = s.fs.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestHoldLeft finds that what a process held that ended goes when the table opens.
func TestHoldLeft(t *testing.T) {
	t.Parallel()
	s, tab, opts, dir := heldStore(t)
	h, err := tab.Hold(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s = openStore(t, dir, opts)
	tab, err = s.Table("clinic.patients")
	require.NoError(t, err)
	_, err = tab.Get([]byte("000001"))
	require.NoError(t, err)
	_, err = s.fs.Stat(h.dir)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestHoldLocked takes hold of a locked table, without its key.
func TestHoldLocked(t *testing.T) {
	t.Parallel()
	s, tab, root, _ := leased(t, DefaultKeyLease)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, tab.Put([]byte("a"), []byte("1"), nil))
	require.NoError(t, tab.RotateKey(t.Context()))
	sealed, err := tab.Hold(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, sealed.Overlay)
	require.NoError(t, sealed.Close())
	require.NoError(t, tab.Lock(t.Context()))
	root.fail(keyring.ErrKeyDenied)
	h, err := tab.Hold(t.Context())
	require.NoError(t, err)
	require.False(t, h.Sealed)
	require.Empty(t, h.Seal)
	require.NotEmpty(t, h.Overlay)
	require.NotEmpty(t, heldBytes(t, h))
	for _, f := range h.Files {
		require.Len(t, f.Keys, min(1, int(f.Size)), f.Name)
	}
	require.NoError(t, h.Close())
	root.fail(nil)
	require.NoError(t, tab.Unlock(t.Context()))
	v, err := tab.Get([]byte("a"))
	require.NoError(t, err)
	require.Equal(t, "1", string(v))
}

// TestHoldLocksMeanwhile takes hold of a table that locks in the middle of it: nothing of
// what was found with its key stays.
func TestHoldLocksMeanwhile(t *testing.T) {
	t.Parallel()
	s, tab, root, _ := leased(t, DefaultKeyLease)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, tab.Put([]byte("a"), []byte("1"), nil))
	require.NoError(t, tab.Flush())
	h, err := tab.Hold(t.Context())
	require.NoError(t, err)
	names := len(h.Files)
	require.NoError(t, tab.Lock(t.Context()))
	root.fail(keyring.ErrKeyDenied)
	s.ringMu.Lock()
	err = tab.holdLocked(t.Context(), h, ErrKeyInaccessible)
	s.ringMu.Unlock()
	require.NoError(t, err)
	require.False(t, h.Sealed)
	require.Empty(t, h.Seal)
	require.True(t, h.Incarnation.IsZero())
	require.LessOrEqual(t, len(h.Files), names)
	heldBytes(t, h)
	require.NoError(t, h.Close())
}

// TestHoldLockedRefused: a table whose key is not to be had is held where it is known to be
// whole, and no other: not behind a crash, and not with an overlay too many.
func TestHoldLockedRefused(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, tab, root, fs := leased(t, DefaultKeyLease)
	require.NoError(t, tab.Put([]byte("a"), []byte("1"), nil))
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	opts := s.opts
	opts.FS = crashed
	root.fail(keyring.ErrKeyDenied)
	left, err := Open(ctx, crashDir, opts)
	require.NoError(t, err)
	lost, err := left.Table("clinic.patients")
	require.NoError(t, err)
	_, err = lost.Hold(ctx)
	require.ErrorIs(t, err, ErrKeyInaccessible)
	names, err := crashed.List(crashed.PathDir(lost.snapshotDir(keyring.NewID())))
	require.True(t, errors.Is(err, os.ErrNotExist) || len(names) == 0, "%v", names)
	require.NoError(t, left.Close())

	root.fail(nil)
	require.NoError(t, tab.RotateKey(ctx))
	require.NoError(t, tab.Lock(ctx))
	root.fail(keyring.ErrKeyDenied)
	dir := fs.PathJoin(tab.dir, overlayDir)
	have, err := fs.List(dir)
	require.NoError(t, err)
	require.Len(t, have, 1)
	planted, err := fs.Create(fs.PathJoin(dir, keyring.NewID().String()), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.NoError(t, planted.Close())
	_, err = tab.Hold(ctx)
	require.ErrorIs(t, err, ErrCorruption)
	require.NoError(t, s.Close())
}
