package local

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/vectors"
	"github.com/cofredb/cofre/keyring"
)

func fileVectors(t testing.TB) []vectors.Vector[vectors.KeyServiceIn, vectors.KeyServiceOut] {
	return vectors.Load[vectors.KeyServiceIn, vectors.KeyServiceOut](t, "key-service")
}

func wrapVectors(t testing.TB) []vectors.Vector[vectors.LocalWrapIn, vectors.WrapOut] {
	return vectors.Load[vectors.LocalWrapIn, vectors.WrapOut](t, "local-wrap")
}

// TestFileVectors parses testdata/vectors/key-service at the module's root.
func TestFileVectors(t *testing.T) {
	t.Parallel()
	for _, v := range fileVectors(t) {
		f, err := parse(v.In.File)
		v.Check(t, err, nil)
		if err != nil || v.Out == nil {
			continue
		}
		require.Equal(t, []byte(v.In.File), f.encode(), v.Name)
		require.Equal(t, v.Out.Revision, f.revision, v.Name)
		require.Len(t, f.keys, len(v.Out.Keys), v.Name)
		for i, want := range v.Out.Keys {
			got := f.keys[i]
			require.Equal(t, want.Name, got.name, v.Name)
			require.Equal(t, keyring.ID(want.ID), got.id, v.Name)
			require.Equal(t, keyring.State(want.State), got.state, v.Name)
			require.Equal(t, want.CreatedAt, got.createdAt.UnixNano(), v.Name)
			require.Len(t, got.versions, len(want.Versions), v.Name)
			for j, want := range want.Versions {
				got := got.versions[j]
				require.Equal(t, want.Number, got.number, v.Name)
				require.Equal(t, want.CreatedAt, got.createdAt.UnixNano(), v.Name)
				require.Equal(t, []byte(want.Key), got.key.Expose(), v.Name)
			}
		}
		require.Len(t, f.notes, len(v.Out.Notes), v.Name)
		for i, want := range v.Out.Notes {
			require.Equal(t, note{keyring.ID(want.StoreID), want.Generation, [32]byte(want.Digest)}, f.notes[i], v.Name)
		}
	}
}

// TestWrapVectors unwraps testdata/vectors/local-wrap at the module's root.
func TestWrapVectors(t *testing.T) {
	t.Parallel()
	classes := map[string]error{
		"ErrKeyNotFound": keyring.ErrKeyNotFound, "ErrKeyDenied": keyring.ErrKeyDenied, "ErrWrongContext": keyring.ErrWrongContext,
	}
	for _, v := range wrapVectors(t) {
		path := filepath.Join(t.TempDir(), "keys.cofre")
		require.NoError(t, os.WriteFile(path, v.In.KeyService, 0o600))
		s, err := Open(path, Options{MustExist: true})
		require.NoError(t, err, v.Name)
		k := &Key{s: s, name: v.In.Name}
		got, err := k.Unwrap(t.Context(), v.In.Wrap, vectorContext(v.In.Context))
		v.Check(t, err, classes)
		if err == nil && v.Out != nil {
			require.Equal(t, []byte(v.Out.Key), got.Expose(), v.Name)
		}
	}
}

func vectorContext(c vectors.Context) keyring.Context {
	return keyring.Context{Store: keyring.ID(c.StoreID), Table: keyring.ID(c.TableID), Purpose: c.Purpose, Version: c.Version}
}
