package keyring

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/vectors"
)

// TestSeeds: a corpus that is not found is no corpus.
func TestSeeds(t *testing.T) {
	t.Parallel()
	for dir, n := range map[string]int{"FuzzFile": 6, "FuzzList": 4} {
		seeds, err := os.ReadDir("testdata/fuzz/" + dir)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(seeds), n, dir)
	}
}

// FuzzFile: whatever parses has one encoding; whatever does not is a
// *corrupt.Error.
func FuzzFile(f *testing.F) {
	golden, err := filepath.Glob("testdata/golden/v*/keyring/KEYRING-*")
	require.NoError(f, err)
	require.Len(f, golden, FileVersion)
	for _, name := range golden {
		b, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(b)
	}
	for _, v := range vectors.Load[vectors.KeyringIn, vectors.KeyringOut](f, "keyring") {
		f.Add([]byte(v.In.File))
	}
	key, err := NewSecret(make([]byte, 32)) // not random, or coverage is
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseFile(b)
		if err != nil {
			var ce *corrupt.Error
			require.True(t, errors.As(err, &ce), "%v", err)
			return
		}
		var n int
		for _, e := range append(p.entries, p.store) {
			require.Contains(t, string(b), string(e.raw))
			c := &keyEntry{id: e.id, versions: e.versions, metadata: e.metadata}
			require.NoError(t, c.finish(p.storeID, key))
			require.Equal(t, e.raw[:len(e.raw)-macLen], c.raw[:len(c.raw)-macLen])
			n += 4 + len(e.raw)
		}
		if p.version >= 2 {
			n += 4 + len(p.audit)
		}
		require.Equal(t, len(b), fileHeaderLen+n+4+len(p.list)+4+macLen)
		_, err = p.authenticate(nil, key)
		require.ErrorIs(t, err, corrupt.ErrAuth)
	})
}

// FuzzList is what the store key's holder, or a flaw in the cipher, could
// hand in.
func FuzzList(f *testing.F) {
	for _, v := range listVectors(f) {
		f.Add([]byte(v.In.List))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := new(state)
		if err := s.parseList(b); err != nil {
			require.ErrorIs(t, err, corrupt.ErrFormat)
			return
		}
		require.Equal(t, b, s.encodeList())
	})
}

// FuzzOverlay reads overlays of a table, once as a file, and once as a list that its key
// has sealed.
func FuzzOverlay(f *testing.F) {
	var tk *TableKeys
	for _, v := range overlayVectors(f) {
		f.Add([]byte(v.In.File))
		if len(v.In.TableKeys) == 2 {
			tk = overlayKeys(v.In)
		}
	}
	require.NotNil(f, tk)
	id := ID{1}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := slices.Clone(b)
		if o, err := tk.OpenOverlay(whole, id); err != nil {
			require.ErrorIs(t, err, corrupt.ErrCorrupt)
		} else {
			require.Equal(t, b, o.Bytes())
		}
		o := &Overlay{id: id, version: 4}
		if o.parse(b) != nil {
			return
		}
		require.NoError(t, tk.sealOverlay(o))
		again, err := tk.OpenOverlay(o.Bytes(), id)
		require.NoError(t, err)
		require.Equal(t, o.wraps, again.wraps)
	})
}

// FuzzLockbox: whatever parses has one encoding, and opens for nobody without its root key;
// whatever does not is a *corrupt.Error.
func FuzzLockbox(f *testing.F) {
	for _, v := range vectors.Load[vectors.LockboxIn, vectors.LockboxOut](f, "lockbox") {
		f.Add([]byte(v.In.File))
	}
	stranger := newFakeRoot("stranger")
	f.Fuzz(func(t *testing.T, b []byte) {
		store, e, err := parseLockbox(b)
		info, ierr := InspectLockbox(b)
		keys, oerr := OpenLockbox(t.Context(), b, []RootKey{stranger}, Options{})
		require.Nil(t, keys)
		require.Error(t, oerr)
		if err != nil {
			require.ErrorIs(t, err, corrupt.ErrCorrupt)
			require.Equal(t, err, ierr)
			require.Equal(t, err, oerr)
			return
		}
		require.NoError(t, ierr)
		require.Equal(t, store, info.Store)
		require.Equal(t, e.id, info.Entry.ID)
		require.Len(t, info.Entry.Versions, len(e.versions))
		require.Equal(t, b[lockboxHeaderLen+4:], e.raw)
	})
}
