package engine

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestScanMemoryIsWiped keeps what a scan has given beyond its end: nothing of a
// row is in it any more. It is not parallel: another scan would use the memory.
func TestScanMemoryIsWiped(t *testing.T) {
	_, _, tab := newHooked(t)
	for i := range 300 {
		require.NoError(t, tab.Put(fmt.Appendf(nil, "key %04d", i), fmt.Appendf(nil, "value of row %04d", i), &WriteOptions{NoSync: true}))
	}
	for _, stop := range []int{1, 2, 7, 300} {
		var kept []Entry
		for e, err := range tab.Scan(ScanOptions{}) {
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("value of row %s", e.Key[4:]), string(e.Value))
			if kept = append(kept, e); len(kept) == stop {
				break
			}
		}
		last := kept[len(kept)-1]
		require.Equal(t, make([]byte, len(last.Key)), last.Key)
		require.Equal(t, make([]byte, len(last.Value)), last.Value)
	}
}

// TestScanLargeValues wants the memory of large values not to be pooled.
func TestScanLargeValues(t *testing.T) {
	t.Parallel()
	(&cursor{buf: make([]byte, pooledBytes+1)}).release()
	for range 100 {
		require.LessOrEqual(t, cap(cursors.Get().(*cursor).buf), pooledBytes)
	}
}
