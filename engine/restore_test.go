package engine

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// stage copies what is held to a stage of a store.
func stage(t *testing.T, s *Store, h *Held) *Stage {
	t.Helper()
	g, err := s.Stage(keyring.NewID())
	require.NoError(t, err)
	t.Cleanup(g.Close)
	for _, f := range h.Files {
		in, err := h.Open(f.Name)
		require.NoError(t, err)
		require.NoError(t, g.Put(f.Name, func(out vfs.File) error {
			_, err := io.Copy(struct{ io.Writer }{out}, io.NewSectionReader(in, 0, f.Size))
			return err
		}))
		require.NoError(t, in.Close())
	}
	return g
}

// source is what a backup would keep of what is held.
func source(t *testing.T, g *Stage, h *Held, roots ...keyring.RootKey) RestoreSource {
	t.Helper()
	box, err := h.Table().Lockbox()
	require.NoError(t, err)
	keys, err := keyring.OpenLockbox(context.Background(), box, roots, keyring.Options{})
	require.NoError(t, err)
	t.Cleanup(keys.Wipe)
	src := RestoreSource{Stage: g, Keys: keys, Seal: h.Seal, Overlay: h.Overlay}
	if h.Sealed {
		src.Wraps = []keyring.WrappedDataKey{}
		for _, f := range h.Files {
			src.Wraps = append(src.Wraps, f.Keys...)
		}
	}
	return src
}

func hold(t *testing.T, tab *Table) *Held {
	t.Helper()
	h, err := tab.Hold(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// TestRestoreTable restores a table into its own store and into another, of another
// root key, again and again, after rotations of all kinds; what is restored is what
// was, and is a table like any.
func TestRestoreTable(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, tab, opts, _ := heldStore(t)
	defer func() { require.NoError(t, s.Close()) }()
	want := tableRows(t, tab)
	h := hold(t, tab)
	require.NoError(t, tab.RotateKey(ctx))
	rotated := hold(t, tab)
	require.NotEmpty(t, rotated.Overlay)
	require.NoError(t, tab.DeleteRange([]byte("0"), []byte("1"), nil))

	otherDir := filepath.Join(t.TempDir(), "other")
	otherOpts := Options{RootKey: newRoot(t), tune: small}
	other, err := Open(ctx, otherDir, otherOpts)
	require.NoError(t, err)
	for name, held := range map[string]*Held{"restored.one": h, "restored.two": rotated} {
		for _, into := range []*Store{s, other} {
			r, err := into.RestoreTable(ctx, name, RestoreOptions{}, source(t, stage(t, into, held), held, opts.RootKey))
			require.NoError(t, err)
			require.Equal(t, want, tableRows(t, r), name)
			_, err = into.RestoreTable(ctx, name, RestoreOptions{}, source(t, stage(t, into, held), held, opts.RootKey))
			require.ErrorIs(t, err, ErrTableExists)
			requireVerified(t, into)
		}
	}
	require.NoError(t, other.Close())
	other = openStore(t, otherDir, otherOpts)
	r, err := other.Table("restored.two")
	require.NoError(t, err)
	require.Equal(t, want, tableRows(t, r))
	// Again, from the backup of what was restored, with what has come since.
	putRows(t, r, 5000, 5100)
	want = tableRows(t, r)
	again := hold(t, r)
	src := source(t, stage(t, s, again), again, otherOpts.RootKey)
	require.NoError(t, r.RotateKey(ctx))
	require.NoError(t, r.RetireKey(ctx, 1))
	rr, err := s.RestoreTable(ctx, "restored.again", RestoreOptions{}, src)
	require.NoError(t, err)
	require.Equal(t, want, tableRows(t, rr))
	_, err = rr.Reencrypt(ctx, ReencryptOptions{})
	require.NoError(t, err)
	require.NoError(t, rr.Compact(ctx, nil, nil))
	require.NoError(t, rr.Close())
	require.Equal(t, want, tableRows(t, rr))
	requireVerified(t, s)
	ids, err := s.Stages()
	require.NoError(t, err)
	require.Len(t, ids, 2) // those of restores that were refused
	var left []string
	_, err = s.Verify(ctx, func(f Finding) { left = append(left, f.Path+": "+f.Detail) })
	require.NoError(t, err)
	require.Contains(t, left, "restoring: fetched by a restore that did not end: the same restore goes on with it, or it is discarded")
	for _, id := range ids {
		_, err := s.Stage(id)
		require.ErrorIs(t, err, ErrStageBusy)
		(&Stage{store: s, dir: s.path(restoringDir, id.String())}).Close()
		g, err := s.Stage(id)
		require.NoError(t, err)
		require.NoError(t, g.Discard())
	}
	_, err = s.fs.Stat(s.path(restoringDir))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestRestoreLocked restores what was held without the table's key.
func TestRestoreLocked(t *testing.T) {
	t.Parallel()
	s, tab, root, _ := leased(t, DefaultKeyLease)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, tab.Put([]byte("a"), []byte("1"), nil))
	require.NoError(t, tab.Flush())
	require.NoError(t, tab.RotateKey(t.Context()))
	require.NoError(t, tab.Put([]byte("b"), []byte("2"), &WriteOptions{NoSync: true}))
	want := tableRows(t, tab)
	require.NoError(t, tab.Lock(t.Context()))
	root.fail(keyring.ErrKeyDenied)
	h := hold(t, tab)
	require.False(t, h.Sealed)
	root.fail(nil)
	r, err := s.RestoreTable(t.Context(), "restored.one", RestoreOptions{}, source(t, stage(t, s, h), h, root))
	require.NoError(t, err)
	require.Equal(t, want, tableRows(t, r))
}

// TestRestoreRange restores the keys of a range alone.
func TestRestoreRange(t *testing.T) {
	t.Parallel()
	s, tab, opts, _ := heldStore(t)
	defer func() { require.NoError(t, s.Close()) }()
	h := hold(t, tab)
	src := source(t, stage(t, s, h), h, opts.RootKey)
	src.From, src.To = []byte("000500"), []byte("000600")
	r, err := s.RestoreTable(t.Context(), "restored.part", RestoreOptions{}, src)
	require.NoError(t, err)
	rows := tableRows(t, r)
	require.Len(t, rows, 100)
	for k := range rows {
		require.True(t, strings.HasPrefix(k, "0005"), k)
	}
	src.Stage = stage(t, s, h)
	src.From, src.To = []byte{0}, []byte("000600")
	r, err = s.RestoreTable(t.Context(), "restored.begin", RestoreOptions{}, src)
	require.NoError(t, err)
	require.Len(t, tableRows(t, r), 600)
	src.Stage = stage(t, s, h)
	src.From, src.To = []byte("2"), []byte("1")
	_, err = s.RestoreTable(t.Context(), "restored.none", RestoreOptions{}, src)
	require.Error(t, err)
}

// TestRestoreTampered changes, removes and exchanges each file: the restore fails, and
// nothing is left of it.
func TestRestoreTampered(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, tab, opts, _ := heldStore(t)
	defer func() { require.NoError(t, s.Close()) }()
	h := hold(t, tab)
	before := s.ring.Tables()
	var sst []string
	for _, f := range h.Files {
		if f.Kind == keyring.KindSSTable {
			sst = append(sst, f.Name)
		}
	}
	refused := func(what string, tamper func(dir string)) {
		t.Helper()
		g := stage(t, s, h)
		tamper(g.dir)
		_, err := s.RestoreTable(ctx, "restored.one", RestoreOptions{}, source(t, g, h, opts.RootKey))
		require.ErrorIs(t, err, ErrCorruption, what)
		require.Equal(t, before, s.ring.Tables(), what)
		names, err := s.fs.List(s.path(tablesDir))
		require.NoError(t, err)
		require.Len(t, names, 1, what)
		require.NoError(t, g.Discard())
	}
	for _, f := range h.Files {
		if f.Kind == keyring.KindOptions {
			continue // nobody reads it
		}
		refused(f.Name+" missing", func(dir string) { require.NoError(t, os.Remove(filepath.Join(dir, f.Name))) })
		if f.Size == 0 {
			continue
		}
		refused(f.Name+" flipped", func(dir string) {
			path := filepath.Join(dir, f.Name)
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			b[len(b)/2] ^= 1
			require.NoError(t, os.WriteFile(path, b, 0o600))
		})
		refused(f.Name+" cut", func(dir string) { require.NoError(t, os.Truncate(filepath.Join(dir, f.Name), f.Size-1)) })
	}
	require.GreaterOrEqual(t, len(sst), 2)
	refused("exchanged", func(dir string) {
		a, b := filepath.Join(dir, sst[0]), filepath.Join(dir, sst[1])
		require.NoError(t, os.Rename(a, a+".x"))
		require.NoError(t, os.Rename(b, a))
		require.NoError(t, os.Rename(a+".x", b))
	})
}
