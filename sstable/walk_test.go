package sstable

import (
	"errors"
	"io"
	"io/fs"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
)

// walkDown is a walk at a place from which reads that end there go down.
func walkDown(r *Reader, from int64) *Walk {
	w := new(Walk)
	w.Begin(r, from, -1)
	return w
}

// TestWalkReadsOnce walks down and up in random pieces: what is read is what was
// written, every segment is loaded and opened once, and loads are few.
func TestWalkReadsOnce(t *testing.T) {
	t.Parallel()
	rng := newRand(t)
	var w Walk // keeps its memory from file to file
	for _, unit := range []uint32{64, 2048, 1 << 19} {
		var opened atomic.Int64
		s := seal(t, randomBytes(700_000), Options{UnitSize: unit, Suite: countingSuite(&opened)})
		for _, down := range []bool{true, false} {
			r, f := s.mustOpen(t)
			opened.Store(0)
			if down {
				w.Begin(r, s.size(), -1)
			} else {
				w.Begin(r, -1, 0)
			}
			for done := 0; done < len(s.plain); {
				n := min(1+rng.IntN(1<<rng.IntN(14)), len(s.plain)-done)
				off := done
				if down {
					off = len(s.plain) - done - n
				}
				// What lies behind len(p) is not the walk's.
				backing := randomBytes(n + 50)
				keep := append([]byte(nil), backing[n:]...)
				got, err := w.ReadAt(backing[:n], int64(off))
				require.NoError(t, err)
				requireSame(t, s.plain[off:off+n], backing[:got])
				requireSame(t, keep, backing[n:])
				done += n
			}
			require.EqualValues(t, s.segments(), opened.Load(), "unit %d", unit)
			require.EqualValues(t, len(s.b)-s.offset(0), f.got, "unit %d", unit)
			require.LessOrEqual(t, f.reads, 12+int(f.got)/min(walkLen, max(1, walkLen/int(unit))*int(unit)))
			w.End()
			require.NoError(t, r.Close())
		}
	}
}

// TestWalkElsewhere reads where the last read does not lead to: exactly.
func TestWalkElsewhere(t *testing.T) {
	t.Parallel()
	s := seal(t, randomBytes(3_000_000), Options{})
	r, f := s.mustOpen(t)
	const full = DefaultUnitSize - floe.SegmentOverhead
	w := walkDown(r, 500*full)
	read := func(off, n int) int64 {
		t.Helper()
		f.got = 0
		p := make([]byte, n)
		_, err := w.ReadAt(p, int64(off))
		require.NoError(t, err)
		requireSame(t, s.plain[off:off+n], p)
		return f.got
	}
	require.EqualValues(t, 2*DefaultUnitSize, read(499*full, full), "the first run is short")
	require.Zero(t, read(498*full, full))
	require.EqualValues(t, 4*DefaultUnitSize, read(497*full, full))
	require.EqualValues(t, DefaultUnitSize, read(10*full, full), "elsewhere")
	require.EqualValues(t, 8*DefaultUnitSize, read(11*full, full), "and upwards from there")
	require.Zero(t, read(12*full, 5*full))
	read(700*full, full)
	for i := 699; i > 600; i-- {
		require.LessOrEqual(t, read(i*full, full), int64(walkLen))
	}

	// The end, and what is behind it.
	p := make([]byte, 100)
	n, err := w.ReadAt(p, s.size()-40)
	require.Equal(t, io.EOF, err)
	requireSame(t, s.plain[len(s.plain)-40:], p[:n])
	n, err = w.ReadAt(p, s.size())
	require.Equal(t, io.EOF, err)
	require.Zero(t, n)
	_, err = w.ReadAt(p, -1)
	require.Error(t, err)

	w.End()
	_, err = w.ReadAt(p, 0)
	require.ErrorIs(t, err, fs.ErrClosed)
	require.Empty(t, w.b.plain)
	for _, b := range w.b.plain[:cap(w.b.plain)] {
		require.Zero(t, b, "an ended walk keeps plaintext")
	}
	w.Begin(r, 100, 200)
	require.NoError(t, r.Close())
	_, err = w.ReadAt(p, 0)
	require.ErrorIs(t, err, fs.ErrClosed)
}

// TestWalkFaults walks into damage, which is final, and into a failure of the
// disk, which is not.
func TestWalkFaults(t *testing.T) {
	t.Parallel()
	for _, down := range []bool{true, false} {
		s := seal(t, randomBytes(20_000), Options{UnitSize: 64})
		s.b[s.offset(300)+40] ^= 1
		r, f := s.mustOpen(t)
		const full = 64 - floe.SegmentOverhead
		begin := func() *Walk {
			if down {
				return walkDown(r, 320*full)
			}
			w := new(Walk)
			w.Begin(r, -1, 280*full)
			return w
		}
		w, off := begin(), int64(280*full)
		if down {
			off = 310 * full
		}
		failing := errors.New("the disk is away")
		f.readFn = func([]byte, int64) (int, error) { return 0, failing }
		p := randomBytes(10 * full)
		n, err := w.ReadAt(p, off)
		require.ErrorIs(t, err, failing)
		require.Zero(t, n)
		f.readFn = nil
		w = begin()
		n, err = w.ReadAt(p, off)
		require.NoError(t, err)
		requireSame(t, s.plain[off:off+int64(n)], p)

		next := off + int64(n)
		if down {
			next = off - 15*full
		}
		p = randomBytes(15 * full)
		n, err = w.ReadAt(p, next)
		require.Zero(t, n)
		e := requireCorrupt(t, err, corrupt.ErrAuth)
		require.EqualValues(t, s.offset(300), e.Offset)
		requireSame(t, make([]byte, len(p)), p)
		_, err = r.ReadAt(p[:1], 0)
		require.Equal(t, error(e), err)
	}
}

// TestWalkAsks loads what a read needs at once, however little it would read
// ahead, and is not harmed where only what lies ahead cannot be read.
func TestWalkAsks(t *testing.T) {
	t.Parallel()
	s := seal(t, randomBytes(20_000), Options{UnitSize: 64})
	for _, failure := range []error{errors.New("the disk is away"), io.EOF} { // io.EOF: cut off
		testWalkAsks(t, s, failure, true)
		testWalkAsks(t, s, failure, false)
	}
}

func testWalkAsks(t *testing.T, s *sealed, failure error, down bool) {
	const full = 64 - floe.SegmentOverhead
	r, f := s.mustOpen(t)
	w, off := new(Walk), int64(100*full)
	if down {
		w.Begin(r, 140*full, -1)
	} else {
		w.Begin(r, -1, off)
	}
	p := make([]byte, 40*full)
	_, err := w.ReadAt(p, off)
	require.NoError(t, err)
	requireSame(t, s.plain[off:off+40*full], p)
	require.Equal(t, 1, f.reads, "one read needs one load")

	// What is asked for can be read, but nothing on either side of it.
	off = 140 * full
	if down {
		off = 97 * full
	}
	p = p[:3*full]
	f.readFn = func(b []byte, at int64) (int, error) {
		if from := s.offset(int(off / full)); int(at) < from || int(at)+len(b) > from+3*64 {
			return 0, failure
		}
		return f.readAt(b, at)
	}
	n, err := w.ReadAt(p, off)
	require.NoError(t, err)
	requireSame(t, s.plain[off:off+3*full], p[:n])
}
