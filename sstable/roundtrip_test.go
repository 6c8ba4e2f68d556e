package sstable

import (
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

// TestRoundTrip writes files in random pieces and reads them in random
// pieces, against the plain bytes.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, unit := range []uint32{64, 65, 100, 256, 1000, 2048, 4096} {
		t.Run(fmt.Sprint(unit), func(t *testing.T) {
			t.Parallel()
			rng := newRand(t)
			full := int(unit) - floe.SegmentOverhead
			lengths := []int{
				0, 1, full - 1, full, full + 1, 2*full - 1, 2 * full, 2*full + 1, 7 * full,
				runLen / int(unit) * full, runLen/int(unit)*full + 1, 2*runLen - 3,
			}
			for range 12 {
				lengths = append(lengths, rng.IntN(20*full))
			}
			for _, n := range lengths {
				roundTrip(t, rng, unit, n)
			}
		})
	}
	t.Run("default", func(t *testing.T) {
		t.Parallel()
		rng := newRand(t)
		roundTrip(t, rng, 0, 100_000)
		roundTrip(t, rng, keyring.MaxUnitSize, 3<<20)
	})
}

func roundTrip(t *testing.T, rng *mathrand.Rand, unit uint32, n int) {
	t.Helper()
	plain := randomBytes(n)
	id, key := testIdentity(), testKey()
	f := newMemFile(nil)
	w, err := NewWriter(f, id, key, Options{UnitSize: unit})
	require.NoError(t, err)
	for rest := plain; len(rest) > 0; {
		p := append([]byte(nil), rest[:piece(rng, len(rest))]...)
		k, err := w.Write(p)
		require.NoError(t, err)
		require.Equal(t, len(p), k)
		clear(p) // the Writer has not kept it
		rest = rest[k:]
		if rng.IntN(10) == 0 {
			require.NoError(t, w.Flush())
			require.EqualValues(t, len(f.b), w.PhysicalSize())
		}
	}
	require.EqualValues(t, n, w.Size())
	require.NoError(t, w.Close())
	require.EqualValues(t, len(f.b), w.PhysicalSize())

	written := w.Identity()
	require.Equal(t, PhysicalSize(int64(n), written.UnitSize), int64(len(f.b)))
	size, err := PlainSize(int64(len(f.b)), written.UnitSize)
	require.NoError(t, err)
	require.EqualValues(t, n, size)

	s := &sealed{b: f.b, key: key.Key}
	r, _ := s.mustOpen(t)
	require.EqualValues(t, n, r.Size())
	require.Equal(t, written, r.Identity())
	require.Equal(t, id.FileID, r.Identity().FileID)
	got, err := readAll(r)
	require.NoError(t, err)
	requireSame(t, plain, got)

	q := r.NewSequential()
	for range 40 {
		for k := range 3 {
			off := rng.IntN(n + 2)
			p := randomBytes(rng.IntN(n+2) >> rng.IntN(12))
			at := []io.ReaderAt{r, q, walkDown(r, int64(off+len(p)))}[k]
			// What lies behind len(p) is not the reader's.
			backing := randomBytes(len(p) + 100)
			keep := append([]byte(nil), backing[len(p):]...)
			p = backing[:len(p)]
			k, err := at.ReadAt(p, int64(off))
			want := plain[min(off, n):min(off+len(p), n)]
			requireSame(t, want, p[:k])
			if off+len(p) <= n && off < n {
				require.NoError(t, err)
			} else {
				require.Equal(t, io.EOF, err)
			}
			requireSame(t, keep, backing[len(p):])
		}
	}
	checked, err := r.Verify(func(int64, error) bool { t.Error("a fault in a good file"); return true })
	require.NoError(t, err)
	require.EqualValues(t, len(f.b), checked)
	require.NoError(t, q.Close())
	require.NoError(t, r.Close())
}

// piece is a length up to n that is sometimes tiny and sometimes all.
func piece(rng *mathrand.Rand, n int) int {
	switch rng.IntN(8) {
	case 0:
		return 0
	case 1:
		return n
	case 2:
		return min(n, 4096)
	}
	return min(n, rng.IntN(1<<rng.IntN(17)+1))
}

// TestReaderContract holds both readers to what io.ReaderAt and io.Reader ask.
func TestReaderContract(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 32, 33, 64, 1000} {
		s := seal(t, randomBytes(n), Options{UnitSize: 64})
		r, _ := s.mustOpen(t)
		require.NoError(t, iotest.TestReader(io.NewSectionReader(r, 0, r.Size()), s.plain))
		require.NoError(t, iotest.TestReader(io.NewSectionReader(r.NewSequential(), 0, r.Size()), s.plain))
		require.NoError(t, iotest.TestReader(r.NewSequential(), s.plain))
	}
}

// TestFilesDiffer seals the same bytes under the same key and identity twice,
// which the engine never does: still nothing of the two is equal.
func TestFilesDiffer(t *testing.T) {
	t.Parallel()
	id, key, plain := testIdentity(), testKey(), make([]byte, 10_000)
	a := sealAs(t, plain, id, key, Options{UnitSize: 64})
	b := sealAs(t, plain, id, key, Options{UnitSize: 64})
	seen := map[string]bool{}
	for _, s := range []*sealed{a, b} {
		for i := range s.segments() {
			sealed := string(s.segment(i)[4:])
			require.False(t, seen[sealed] || seen[sealed[:12]] || seen[sealed[12:]], "segment %d", i)
			seen[sealed], seen[sealed[:12]], seen[sealed[12:]] = true, true, true
		}
	}
}
