package keyring_test

import (
	"crypto/fips140"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
	"github.com/cofredb/cofre/keyring/passphrase"
)

// TestGolden opens the keyring of each format version, as it was made by
// testdata/golden/make.go of that time, with what its key-service file and a
// passphrase unwrap; and changes it.
func TestGolden(t *testing.T) {
	t.Parallel()
	dirs, err := filepath.Glob("testdata/golden/v*")
	require.NoError(t, err)
	require.Len(t, dirs, keyring.FileVersion)
	for _, golden := range dirs {
		t.Run(filepath.Base(golden), func(t *testing.T) {
			t.Parallel()
			// A copy: a checkout has other modes, and the test changes it.
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(golden)))
			keys := filepath.Join(dir, "keys.cofre")
			require.NoError(t, os.Chmod(keys, 0o600))
			svc, err := local.Open(keys, local.Options{MustExist: true})
			require.NoError(t, err)
			var roots []keyring.RootKey
			for _, name := range []string{"default", "second"} {
				k, err := svc.Key(name)
				require.NoError(t, err)
				roots = append(roots, k)
			}
			for _, label := range []string{"argon2id", "pbkdf2"} {
				k, err := passphrase.New([]byte("golden passphrase"), passphrase.Options{Label: label})
				require.NoError(t, err)
				roots = append(roots, k)
			}

			var want struct {
				Store, Journal keyring.ID
				Generation     uint64
				Tables         []struct {
					keyring.TableRecord
					Metadata, Closed string
					Key              goldenKey
				}
				Tombstones []keyring.Tombstone
				StoreKey   goldenKey
				Audit      keyring.AuditHead // from version 2 on
				AuditKey   string
			}
			b, err := os.ReadFile(filepath.Join(dir, "want.json"))
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(b, &want))

			path := filepath.Join(dir, "keyring")
			for _, readOnly := range []bool{true, false} {
				k, err := keyring.Open(t.Context(), path, roots, readOnly, keyring.Options{})
				require.NoError(t, err)
				require.Equal(t, want.Store, k.StoreID())
				require.Equal(t, want.Journal, k.Journal())
				require.Equal(t, want.Generation, k.Generation())
				require.Equal(t, want.Tombstones, k.Tombstones())
				want.StoreKey.open(t, k.StoreKeys())
				if a := k.Audit(); want.AuditKey == "" {
					require.Nil(t, a)
				} else {
					require.Equal(t, want.Audit, a.AuditHead)
					require.Equal(t, want.AuditKey, hex.EncodeToString(a.Key.Expose()))
				}
				require.Len(t, k.Tables(), len(want.Tables))
				for _, w := range want.Tables {
					require.Contains(t, k.Tables(), w.TableRecord)
					require.Equal(t, w.Closed, string(k.State(w.ID)))
					if fips140.Enforced() && strings.HasSuffix(w.Name, "argon2id") {
						_, err := k.OpenTable(t.Context(), w.ID)
						require.ErrorIs(t, err, passphrase.ErrNotApproved)
						continue
					}
					tk, err := k.OpenTable(t.Context(), w.ID)
					require.NoError(t, err)
					require.Equal(t, w.Metadata, string(tk.Metadata()))
					w.Key.open(t, tk)
				}
				if !readOnly {
					_, err = k.CreateTable(t.Context(), "golden.new", roots[0], nil)
					require.NoError(t, err)
				}
				require.NoError(t, k.Close())
			}
			// The key service has noted the change.
			require.NoError(t, os.RemoveAll(path))
			require.NoError(t, os.CopyFS(path, os.DirFS(filepath.Join(golden, "keyring"))))
			_, err = keyring.Open(t.Context(), path, roots, false, keyring.Options{})
			require.ErrorIs(t, err, keyring.ErrRollback)
		})
	}
}

type goldenKey struct {
	File         keyring.ID
	Wrapped, Key string
}

func (g goldenKey) open(t *testing.T, keys keyring.DataKeys) {
	t.Helper()
	wrapped, err := hex.DecodeString(g.Wrapped)
	require.NoError(t, err)
	key, err := keys.DataKey(g.File, 1, wrapped)
	require.NoError(t, err)
	require.Equal(t, g.Key, hex.EncodeToString(key.Expose()))
}
