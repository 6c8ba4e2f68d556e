package sstable

import (
	"io"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/stretchr/testify/require"
)

// TestSequentialReadsOnce reads forward in random pieces. Every segment is
// loaded once and opened once.
func TestSequentialReadsOnce(t *testing.T) {
	t.Parallel()
	rng := newRand(t)
	for _, unit := range []uint32{64, 2048, 1 << 19} {
		var opened atomic.Int64
		s := seal(t, randomBytes(1_300_000), Options{UnitSize: unit, Suite: countingSuite(&opened)})
		for _, start := range []int{0, 700_000} {
			for _, useRead := range []bool{false, true} {
				if useRead && start > 0 {
					continue
				}
				r, f := s.mustOpen(t)
				q := r.NewSequential()
				opened.Store(0)
				for off := start; off < len(s.plain); {
					p := make([]byte, 1+rng.IntN(1<<rng.IntN(17)))
					var n int
					var err error
					if useRead {
						n, err = q.Read(p)
					} else {
						n, err = q.ReadAt(p, int64(off))
					}
					if err != io.EOF || n == 0 {
						require.NoError(t, err)
					}
					requireSame(t, s.plain[off:off+n], p[:n])
					off += n
				}
				first := start / int(int64(unit)-floe.SegmentOverhead)
				require.EqualValues(t, s.segments()-first, opened.Load(), "unit %d", unit)
				require.EqualValues(t, len(s.b)-s.offset(first), f.got, "unit %d", unit)
				require.LessOrEqual(t, f.reads, 1+int(f.got)/int(r.shape.run()*r.shape.unit))
				require.NoError(t, q.Close())
			}
		}
	}
}

// TestSequentialElsewhere reads away from the run and back: exact reads, and
// the run stays.
func TestSequentialElsewhere(t *testing.T) {
	t.Parallel()
	s := seal(t, randomBytes(3_000_000), Options{})
	r, f := s.mustOpen(t)
	q := r.NewSequential()
	read := func(off, n int) (int, int64) {
		t.Helper()
		f.reads, f.got = 0, 0
		p := make([]byte, n)
		_, err := q.ReadAt(p, int64(off))
		require.NoError(t, err)
		requireSame(t, s.plain[off:off+n], p)
		return f.reads, f.got
	}
	const unit, full = DefaultUnitSize, DefaultUnitSize - floe.SegmentOverhead
	reads, got := read(1_000_000, 4096)
	require.Equal(t, 1, reads)
	require.EqualValues(t, runLen, got, "the first read loads a run, wherever it is")

	reads, _ = read(1_000_000+4096, 100_000)
	require.Zero(t, reads, "the run serves what lies in it")
	reads, _ = read(1_000_000+2000, 10)
	require.Zero(t, reads, "also backwards")

	reads, got = read(10*full, full)
	require.Equal(t, 1, reads)
	require.EqualValues(t, unit, got, "a read elsewhere is exact")
	reads, got = read(2_900_000/full*full, full)
	require.Equal(t, 1, reads)
	require.EqualValues(t, unit, got)
	reads, _ = read(1_000_000+4096, 1000)
	require.Zero(t, reads, "and leaves the run")

	read(20*full, full)
	_, got = read(21*full, full)
	require.EqualValues(t, runLen, got, "where a read goes on from it, the run is loaded anew")
	_, got = read(21*full+runLen+40_000, full)
	require.EqualValues(t, runLen, got, "a gap is not the end of reading forward")

	require.NoError(t, q.Close())
	_, got = read(2_000_000, 1)
	require.EqualValues(t, runLen, got, "after Close it begins anew")
	require.NoError(t, q.Close())
}

// TestSequentialAsks: what a run is loaded beyond what was asked for may fail,
// be gone or be broken; a read is none the worse for it.
func TestSequentialAsks(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(s *sealed, f *memFile, from int){
		"away": func(s *sealed, f *memFile, from int) {
			f.readFn = func(p []byte, off int64) (int, error) {
				if int(off)+len(p) > from {
					return 0, errInjected
				}
				return f.readAt(p, off)
			}
		},
		"gone":   func(s *sealed, f *memFile, from int) { f.b = f.b[:from] },
		"broken": func(s *sealed, f *memFile, from int) { f.b[from+100] ^= 1 },
	} {
		s := seal(t, randomBytes(4*bytesPerRun), Options{})
		r, f := s.mustOpen(t)
		f.b = slices.Clone(f.b)
		q := r.NewSequential()
		p := make([]byte, bytesPerRun)
		_, err := q.ReadAt(p, 0)
		require.NoError(t, err)
		const whole = segmentsPerRun + 32 // segments
		spoil(s, f, s.offset(whole))

		p = p[:whole*DefaultUnitSize-whole*floe.SegmentOverhead-bytesPerRun-10]
		_, err = q.ReadAt(p, bytesPerRun)
		require.NoError(t, err, name)
		requireSame(t, s.plain[bytesPerRun:bytesPerRun+len(p)], p)
		n, err := q.ReadAt(p, int64(bytesPerRun+len(p)))
		if name == "away" {
			require.ErrorIs(t, err, errInjected)
			require.Nil(t, r.failed.Load())
			require.Zero(t, n)
		} else {
			require.Same(t, r.failed.Load(), requireCorrupt(t, err, map[string]error{"gone": corrupt.ErrMissing, "broken": corrupt.ErrAuth}[name]))
		}
	}
}
