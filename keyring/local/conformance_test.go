package local

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/keyringtest"
	"github.com/cofredb/cofre/keyring/passphrase"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, sealing := range sealings(t) {
		if name == "passphrase" {
			continue // each key that is made pays a derivation, and the rest is as with a key file
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conform(t, sealing)
		})
	}
}

// sealings make what a file is sealed by, the same each time.
func sealings(t *testing.T) map[string]func(testing.TB) *Sealing {
	path := newKeyFile(t)
	return map[string]func(testing.TB) *Sealing{
		"unsealed": func(testing.TB) *Sealing { return nil },
		"passphrase": func(t testing.TB) *Sealing {
			by, err := ByPassphrase([]byte("correct horse"), passphrase.Cost{})
			require.NoError(t, err)
			return by
		},
		"key file": func(t testing.TB) *Sealing {
			by, err := ByKeyFile(path)
			require.NoError(t, err)
			return by
		},
	}
}

// newKeyFile makes a key file, and returns its path.
func newKeyFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, keyring.RandomSecret().Expose(), 0o600))
	return path
}

func conform(t *testing.T, sealing func(testing.TB) *Sealing) {
	keyringtest.Run(t, keyringtest.Config{
		New: func(t testing.TB) keyring.RootKey {
			_, k := newSealedKey(t, sealing(t))
			return k
		},
		Reopen: func(t testing.TB, k keyring.RootKey) keyring.RootKey {
			s, err := Open(k.(*Key).s.path, Options{MustExist: true, Sealing: sealing(t)})
			require.NoError(t, err)
			t.Cleanup(func() { s.Close() })
			again, err := s.Key(k.(*Key).name)
			require.NoError(t, err)
			return again
		},
		Secrets: func(t testing.TB, k keyring.RootKey) [][]byte {
			var secrets [][]byte
			require.NoError(t, k.(*Key).s.view(t.Context(), func(f *keyFile) error {
				for _, k := range f.keys {
					for _, v := range k.versions {
						secrets = append(secrets, append([]byte(nil), v.key.Expose()...))
					}
				}
				if f.seal.key != nil {
					secrets = append(secrets, append([]byte(nil), f.seal.key.Expose()...))
				}
				return nil
			}))
			require.NotEmpty(t, secrets)
			return secrets
		},
	})
}

// newTestKey makes a service in a new directory, with one key.
func newTestKey(t testing.TB) (*Service, *Key) {
	t.Helper()
	return newSealedKey(t, nil)
}

func newSealedKey(t testing.TB, by *Sealing) (*Service, *Key) {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "cofre", "keys.cofre"), Options{Sealing: by})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	k, err := s.CreateKey(t.Context(), "default")
	require.NoError(t, err)
	return s, k
}
