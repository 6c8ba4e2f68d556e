package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring/local"
)

// TestGoldenStores opens the stores that each format version has left behind
// (testdata/makestore wrote them) and finds in them what was put there.
func TestGoldenStores(t *testing.T) {
	t.Parallel()
	versions, err := filepath.Glob("../testdata/stores/v*")
	require.NoError(t, err)
	require.NotEmpty(t, versions)
	for _, v := range versions {
		for _, state := range []string{"clean", "crashed"} {
			t.Run(filepath.Base(v)+"/"+state, func(t *testing.T) {
				t.Parallel()
				ctx := context.Background()
				dir := t.TempDir()
				require.NoError(t, os.CopyFS(filepath.Join(dir, "store"), os.DirFS(filepath.Join(v, state))))
				// The repository does not keep modes; the key service insists.
				keys, err := os.ReadFile(filepath.Join(v, "keys.cofre"))
				require.NoError(t, err)
				require.NoError(t, os.MkdirAll(filepath.Join(dir, "keys"), 0o700))
				require.NoError(t, os.WriteFile(filepath.Join(dir, "keys", "keys.cofre"), keys, 0o600))
				svc, err := local.Open(filepath.Join(dir, "keys", "keys.cofre"), local.Options{MustExist: true})
				require.NoError(t, err)
				root, err := svc.Key("golden")
				require.NoError(t, err)

				b, err := os.ReadFile(filepath.Join(v, "contents.json"))
				require.NoError(t, err)
				var held map[string]map[string]string
				require.NoError(t, json.Unmarshal(b, &held))
				// The copies were made before the store was closed; its key
				// service has seen the keyring of the close.
				s, err := Open(ctx, filepath.Join(dir, "store"), Options{RootKey: root, Mode: MustExist, AcceptOlderKeyring: state == "crashed"})
				require.NoError(t, err)
				require.Len(t, s.Tables(), 2)
				for name, want := range held {
					table, snapshot, ok := strings.Cut(name, "@")
					tab, err := s.Table(table)
					require.NoError(t, err)
					scan := tab.Scan(ScanOptions{})
					if ok {
						view, err := tab.OpenSnapshot(ctx, snapshot)
						require.NoError(t, err)
						defer view.Close()
						scan = view.Scan(ScanOptions{})
					}
					got := make(map[string]string)
					for e, err := range scan {
						require.NoError(t, err)
						got[base64.StdEncoding.EncodeToString(e.Key)] = base64.StdEncoding.EncodeToString(e.Value)
					}
					require.Equal(t, want, got, name)
				}
				rep, err := s.Verify(ctx, func(f Finding) { t.Errorf("%+v", f) })
				require.NoError(t, err)
				require.Zero(t, rep.Faults)
				require.NoError(t, s.Close())
			})
		}
	}
}
