package passphrase

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/keyringtest"
)

// cheap are bounds that tests can afford.
func cheap() bounds {
	return bounds{
		Argon2id: {Cost{Argon2id, 1, 64, 4}, Cost{Argon2id, 2, 128, 8}},
		PBKDF2:   {Cost{PBKDF2, 1000, 0, 0}, Cost{PBKDF2, 2000, 0, 0}},
	}
}

func newTestKey(t testing.TB) *Key {
	t.Helper()
	phrase := rand.Text()
	k, err := newKey([]byte(phrase), Options{Label: "test"}, cheap())
	require.NoError(t, err)
	t.Cleanup(func() { k.Close() })
	return k
}

func TestConformance(t *testing.T) {
	t.Parallel()
	keyringtest.Run(t, keyringtest.Config{
		New: func(t testing.TB) keyring.RootKey { return newTestKey(t) },
		Reopen: func(t testing.TB, k keyring.RootKey) keyring.RootKey {
			again, err := newKey(k.(*Key).held.phrase, Options{Label: "test"}, cheap())
			require.NoError(t, err)
			t.Cleanup(func() { again.Close() })
			return again
		},
		Secrets: func(t testing.TB, k keyring.RootKey) [][]byte {
			p := k.(*Key)
			secrets := [][]byte{append([]byte(nil), p.held.phrase...)}
			for _, d := range p.held.derived {
				secrets = append(secrets, append([]byte(nil), d.Expose()...))
			}
			require.Len(t, secrets, 2)
			return secrets
		},
	})
}
