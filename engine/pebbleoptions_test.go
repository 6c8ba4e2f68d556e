package engine

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

// TestPebbleOptions compares the options for plain Pebble with those that
// Pebble has in a table, as Pebble writes them down itself.
func TestPebbleOptions(t *testing.T) {
	t.Parallel()
	opts := Options{MemoryBudget: 40 << 20, MaxOpenFiles: 77, IdleTimeout: -1}
	for _, table := range []TableOptions{{}, {NoCompression: true, SeparateValuesFrom: 1000}} {
		o, err := PebbleOptions(opts, table)
		require.NoError(t, err)
		dir := t.TempDir()
		db, err := pebble.Open(dir, o)
		require.NoError(t, err)
		o.Cache.Unref()
		o.FileCache.Unref()
		require.NoError(t, db.Set([]byte("key"), []byte("value"), pebble.Sync))

		withRoot := opts
		withRoot.RootKey = newRoot(t)
		s := openStore(t, t.TempDir(), withRoot)
		tab, err := s.CreateTable(t.Context(), "plain.pebble", table)
		require.NoError(t, err)
		m, err := decodeMetadata(tab.inst.Load().keys.Metadata())
		require.NoError(t, err)
		in := s.pebbleOptions(m)
		in.EnsureDefaults()

		o.EnsureDefaults()
		lines, stops := strings.Split(o.String(), "\n"), 0
		want := strings.Split(in.String(), "\n")
		require.Len(t, lines, len(want))
		for i, l := range lines {
			if strings.Contains(l, "l0_stop_writes_threshold") {
				require.Equal(t, "  l0_stop_writes_threshold=24", l)
				stops++
				continue
			}
			require.Equal(t, want[i], l)
		}
		require.Equal(t, 1, stops)
		require.EqualValues(t, 5<<20, o.MemTableSize)
		low, high := o.CompactionConcurrencyRange()
		wantLow, wantHigh := in.CompactionConcurrencyRange()
		require.Equal(t, []int{wantLow, wantHigh}, []int{low, high})
		require.NoError(t, db.Close())
	}
	_, err := PebbleOptions(Options{MemoryBudget: 5}, TableOptions{})
	require.ErrorContains(t, err, "below 1 MiB")
	_, err = PebbleOptions(Options{}, TableOptions{SeparateValuesFrom: -1})
	require.ErrorContains(t, err, "-1 bytes")
}
