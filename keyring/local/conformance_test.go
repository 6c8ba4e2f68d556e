package local

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/keyringtest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	keyringtest.Run(t, keyringtest.Config{
		New: func(t testing.TB) keyring.RootKey {
			_, k := newTestKey(t)
			return k
		},
		Reopen: func(t testing.TB, k keyring.RootKey) keyring.RootKey {
			s, err := Open(k.(*Key).s.path, Options{MustExist: true})
			require.NoError(t, err)
			t.Cleanup(func() { s.Close() })
			again, err := s.Key(k.(*Key).name)
			require.NoError(t, err)
			return again
		},
		Secrets: func(t testing.TB, k keyring.RootKey) [][]byte {
			var secrets [][]byte
			require.NoError(t, k.(*Key).s.view(func(f *keyFile) error {
				for _, k := range f.keys {
					for _, v := range k.versions {
						secrets = append(secrets, append([]byte(nil), v.key.Expose()...))
					}
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
	s, err := Open(filepath.Join(t.TempDir(), "cofre", "keys.cofre"), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	k, err := s.CreateKey(t.Context(), "default")
	require.NoError(t, err)
	return s, k
}
