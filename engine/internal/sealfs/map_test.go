package sealfs

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

// session opens the database, as the engine does, and does something with it.
func session(t *testing.T, fs *FS, first bool, do func(*pebble.DB)) {
	if !first {
		require.NoError(t, fs.Preflight("db", nil, false))
	}
	db, err := pebble.Open("db", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatValueSeparation, Logger: quiet{}})
	require.NoError(t, err)
	fs.Prune("db")
	do(db)
	require.NoError(t, db.Close())
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// TestMapForgets makes files come and go over many sessions: the map must not
// name them for ever.
func TestMapForgets(t *testing.T) {
	t.Parallel()
	base, table := vfs.NewMem(), newTable(t, 0)
	const sessions = 12
	for i := range sessions {
		session(t, table.over(base), i == 0, func(db *pebble.DB) {
			for range 6 {
				for k := range 20 {
					require.NoError(t, db.Set([]byte{byte(k)}, make([]byte, 100), pebble.NoSync))
				}
				require.NoError(t, db.Flush())
			}
			require.NoError(t, db.Compact(context.Background(), []byte{0}, []byte{0xff}, false))
		})
	}
	fs := table.over(base)
	require.NoError(t, fs.Preflight("db", nil, true))
	names, err := base.List("db")
	require.NoError(t, err)
	there := 0
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") {
			there++
			_, ok := fs.dir("db").lookup(parseName(n))
			require.True(t, ok, n)
		}
	}
	require.NotZero(t, there)
	// What was removed after the last frame of the MANIFEST, it cannot tell.
	require.Less(t, len(fs.dir("db").files), there+10)
}

// TestMapRefuses opens tables that are not those of the map.
func TestMapRefuses(t *testing.T) {
	t.Parallel()
	base, table := vfs.NewMem(), newTable(t, 64)
	fs := table.over(base)
	require.NoError(t, fs.MkdirAll("db", 0o755))
	writeFile(t, fs, "db/000005.sst", []byte("five"))
	writeFile(t, fs, "db/000006.sst", []byte("six!"))
	require.Equal(t, "five", string(readFile(t, fs, "db/000005.sst")))

	// Another file of the same number and length, well sealed.
	other := vfs.NewMem()
	again := table.over(other)
	require.NoError(t, again.MkdirAll("db", 0o755))
	writeFile(t, again, "db/000005.sst", []byte("FIVE"))
	good := readFile(t, base, "db/000005.sst")
	writeFile(t, base, "db/000005.sst", readFile(t, other, "db/000005.sst"))
	_, err := fs.Open("db/000005.sst")
	require.ErrorIs(t, err, corrupt.ErrForeign)

	// The right one, under another number.
	writeFile(t, base, "db/000006.sst", good)
	_, err = fs.Open("db/000006.sst")
	require.ErrorIs(t, err, corrupt.ErrForeign)

	// One that the map does not name.
	_, err = table.over(base).Open("db/000005.sst")
	require.ErrorIs(t, err, corrupt.ErrForeign)

	// One of another length: Stat tells, before Pebble opens it.
	writeFile(t, base, "db/000005.sst", good[:len(good)-1])
	_, err = fs.Stat("db/000005.sst")
	require.ErrorIs(t, err, corrupt.ErrMissing)

	// One that is gone.
	require.NoError(t, base.Remove("db/000005.sst"))
	_, err = fs.Open("db/000005.sst")
	require.ErrorIs(t, err, corrupt.ErrMissing)
}
