package sstable

import (
	"errors"
	"math"
	"testing"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

func TestSizes(t *testing.T) {
	t.Parallel()
	for _, unit := range []uint32{64, 100, 2048, 1 << 20} {
		sizes := map[int64]int64{} // physical → plain
		for plain := range int64(2500) {
			physical := PhysicalSize(plain, unit)
			sizes[physical] = plain
		}
		require.Len(t, sizes, 2500, "two plaintext sizes share a physical size")
		require.EqualValues(t, 266, PhysicalSize(0, unit))
		for physical := range PhysicalSize(2499, unit) {
			plain, err := PlainSize(physical, unit)
			want, ok := sizes[physical]
			if ok && (err != nil || plain != want) || !ok && !errors.Is(err, corrupt.ErrFormat) {
				t.Fatalf("unit %d, physical %d: %d, %v", unit, physical, plain, err)
			}
		}
	}
}

func TestSizesOutOfBounds(t *testing.T) {
	t.Parallel()
	for _, physical := range []int64{math.MinInt64, -1, 0, 1, keyring.HeaderLen, keyring.HeaderLen + 31, math.MaxInt64, 1 << 62} {
		_, err := PlainSize(physical, 64)
		require.ErrorIs(t, err, corrupt.ErrFormat, "%d", physical)
	}
	for _, unit := range []uint32{0, 1, 63, 1<<20 + 1, math.MaxUint32} {
		_, err := PlainSize(1<<20, unit)
		require.ErrorIs(t, err, corrupt.ErrFormat)
		require.EqualValues(t, math.MaxInt64, PhysicalSize(1, unit))
	}
	for _, plain := range []int64{-1, math.MinInt64, math.MaxInt64, 32<<40 + 1} {
		require.EqualValues(t, math.MaxInt64, PhysicalSize(plain, 64))
	}
	plain, err := PlainSize(PhysicalSize(32<<40, 64), 64)
	require.NoError(t, err)
	require.EqualValues(t, 32<<40, plain)
}
