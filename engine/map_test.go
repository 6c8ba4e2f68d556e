package engine

import (
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestMapIsPruned removes sorted files after the last write to the MANIFEST. The
// next opening knows them no more, or the file map would grow for ever.
func TestMapIsPruned(t *testing.T) {
	t.Parallel()
	_, s, tab := newFaulty(t, func(o *Options) { o.tune.noCompactions = true }) // but the one asked for
	sorted := func() (names []string) {
		all, err := s.fs.List(tab.dir)
		require.NoError(t, err)
		for _, n := range all {
			if strings.HasSuffix(n, ".sst") {
				names = append(names, n)
			}
		}
		return names
	}
	for range 3 {
		require.NoError(t, tab.Put(key, []byte("v"), nil))
		require.NoError(t, tab.Put([]byte("l"), []byte("v"), nil))
		require.NoError(t, tab.Flush())
	}
	before := sorted()
	require.NoError(t, tab.Compact(t.Context(), nil, nil))
	tab.inst.Load().dirty.Store(false) // to close, it writes no more
	require.NoError(t, tab.Close())
	after := sorted()
	_, err := tab.Get(key)
	require.NoError(t, err)
	gone := 0
	fs := tab.inst.Load().fs
	for _, n := range before {
		path := vfs.FS(fs).PathJoin(tab.dir, n)
		if f, err := fs.Open(path); err == nil {
			require.NoError(t, f.Close())
			require.Contains(t, after, n)
			continue
		}
		gone++
		_, err := fs.Open(path)
		require.ErrorIs(t, err, os.ErrNotExist, "the map still names it")
	}
	require.NotZero(t, gone)
}
