package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

// A sorted file or blob that vanishes while its table is open is an error of
// the read that needs it, and no end of the process: Pebble panics where it is
// told that a blob does not exist.
func TestFileVanishes(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{".sst", ".blob"} {
		t.Run(suffix, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			dir := filepath.Join(t.TempDir(), "store")
			opts := Options{RootKey: newRoot(t)}
			s, err := Open(ctx, dir, opts)
			require.NoError(t, err)
			tab, err := s.CreateTable(ctx, "clinic.patients", TableOptions{SeparateValuesFrom: 100})
			require.NoError(t, err)
			for i := range 50 {
				require.NoError(t, tab.Put(fmt.Appendf(nil, "%03d", i), make([]byte, 1000), nil))
			}
			require.NoError(t, s.Close())
			s, err = Open(ctx, dir, opts)
			require.NoError(t, err)
			tab, err = s.Table("clinic.patients")
			require.NoError(t, err)
			if suffix == ".blob" {
				ok, err := tab.Has([]byte("zzz")) // opens the table and no blob
				require.NoError(t, err)
				require.False(t, ok)
			} else {
				_, err := tab.Metrics()
				require.NoError(t, err)
			}
			files, err := filepath.Glob(filepath.Join(tab.dir, "*"+suffix))
			require.NoError(t, err)
			require.NotEmpty(t, files)
			for _, f := range files {
				require.NoError(t, os.Remove(f))
			}
			v, err := tab.Get([]byte("007"))
			if err == nil {
				// What gathers statistics had the file open already.
				require.Equal(t, make([]byte, 1000), v)
			} else {
				require.ErrorIs(t, err, ErrCorruption)
				require.ErrorIs(t, err, corrupt.ErrMissing)
				require.ErrorContains(t, err, s.rel(files[0]))
			}
			require.NoError(t, s.Close())
		})
	}
}
