package local

import (
	"crypto/fips140"
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
	phrases := make(phraseSealings)
	for _, v := range fileVectors(t) {
		if v.Name == "2-argon2id" && fips140.Enforced() {
			continue
		}
		var sealings []*Sealing
		if len(v.In.Passphrase) > 0 {
			sealings = append(sealings, phrases.of(t, v.In.Passphrase))
		}
		if len(v.In.KeyFile) > 0 {
			sealings = append(sealings, &Sealing{byKeyFile, &keyFileKey{content: v.In.KeyFile}})
		}
		f, err := parse(t.Context(), v.In.File, sealings)
		v.Check(t, err, map[string]error{"ErrKeyDenied": keyring.ErrKeyDenied})
		if err != nil || v.Out == nil {
			continue
		}
		if again := encoded(t, f); f.version == fileVersion && f.seal.kind == unsealed {
			require.Equal(t, []byte(v.In.File), again, v.Name)
		} else {
			same, err := parse(t.Context(), again, sealings)
			require.NoError(t, err, v.Name)
			same.version = f.version
			require.Equal(t, f, same, v.Name)
		}
		require.Equal(t, v.Out.Revision, f.revision, v.Name)
		require.Len(t, f.keys, len(v.Out.Keys), v.Name)
		for i, want := range v.Out.Keys {
			got := f.keys[i]
			require.Equal(t, want.Name, got.name, v.Name)
			require.Equal(t, keyring.ID(want.ID), got.id, v.Name)
			require.Equal(t, keyring.State(want.State), got.state, v.Name)
			require.Equal(t, want.CreatedAt, got.createdAt.UnixNano(), v.Name)
			require.Equal(t, uint64(want.DeleteAt), orZero(got.deleteAt), v.Name)
			require.Equal(t, want.RotationDays, got.period, v.Name)
			require.Equal(t, uint64(want.RotateAt), orZero(got.rotateAt), v.Name)
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

// TestPartVectors looks at what only version 2 has.
func TestPartVectors(t *testing.T) {
	t.Parallel()
	for _, v := range fileVectors(t) {
		if v.Out == nil || len(v.In.Passphrase)+len(v.In.KeyFile) > 0 {
			continue
		}
		f, err := parse(t.Context(), v.In.File, nil)
		require.NoError(t, err, v.Name)
		require.Len(t, f.destroyed, len(v.Out.Destroyed), v.Name)
		for i, want := range v.Out.Destroyed {
			require.Equal(t, destroyed{keyring.ID(want.ID), want.Name, unixNano(uint64(want.At))}, f.destroyed[i], v.Name)
		}
		require.Len(t, f.aliases, len(v.Out.Aliases), v.Name)
		for i, want := range v.Out.Aliases {
			require.Equal(t, alias{want.Name, keyring.ID(want.Key)}, f.aliases[i], v.Name)
		}
		require.Len(t, f.grants, len(v.Out.Grants), v.Name)
		for i, want := range v.Out.Grants {
			require.Equal(t, grant{
				id: keyring.ID(want.ID), key: keyring.ID(want.Key), grantee: want.Grantee, retiring: want.Retiring,
				operations: Operations(want.Operations), createdAt: unixNano(uint64(want.CreatedAt)), constraint: want.Constraint, pairs: want.Pairs,
			}, f.grants[i], v.Name)
		}
	}
}

// phraseSealings remember what was derived from a passphrase.
type phraseSealings map[string]*Sealing

func (p phraseSealings) of(t testing.TB, phrase []byte) *Sealing {
	t.Helper()
	if p[string(phrase)] == nil {
		p[string(phrase)] = byPhrase(t, string(phrase))
	}
	return p[string(phrase)]
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
