package sstable

import (
	"errors"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

func TestNewReaderRefuses(t *testing.T) {
	t.Parallel()
	s := seal(t, randomBytes(500), Options{UnitSize: 64})

	other := s.clone()
	other.key = keyring.RandomSecret()
	_, _, err := other.open()
	e := requireCorrupt(t, err, corrupt.ErrAuth)
	require.Equal(t, "000042.sst", e.Path)
	require.Contains(t, e.Error(), "header tag does not match")

	wiped := s.clone()
	wiped.key = s.key.Clone()
	wiped.key.Wipe()
	_, _, err = wiped.open()
	require.ErrorContains(t, err, "wiped")
	require.NotErrorIs(t, err, corrupt.ErrCorrupt)

	// A header that ParseHeader would not have let through.
	h, err := keyring.ParseHeader(s.b)
	require.NoError(t, err)
	for _, unit := range []uint32{0, 1, 31, 32, 33, 1 << 31, 1<<32 - 1} {
		forged := *h
		forged.Identity.UnitSize = unit
		_, err = NewReader(newMemFile(s.b), int64(len(s.b)), &forged, s.key, Options{})
		requireCorrupt(t, err, corrupt.ErrAuth)
	}
	forged := *h
	forged.Identity.Kind = keyring.KindWAL
	_, err = NewReader(newMemFile(s.b), int64(len(s.b)), &forged, s.key, Options{})
	requireCorrupt(t, err, corrupt.ErrFormat)
}

// TestReadAtIsExact counts the bytes and segments that reads touch.
func TestReadAtIsExact(t *testing.T) {
	t.Parallel()
	var opened atomic.Int64
	s := seal(t, randomBytes(1_000_000), Options{Suite: countingSuite(&opened)})
	r, f := s.mustOpen(t)
	const full = DefaultUnitSize - floe.SegmentOverhead
	for _, tc := range []struct{ off, n, segments, reads int64 }{
		{0, 1, 1, 1},
		{0, full, 1, 1},
		{full - 1, 1, 1, 1},
		{full - 1, 2, 2, 1},
		{full, 2 * full, 2, 1},
		{100, 4096, 3, 1},
		{10 * full, 4096, 3, 1},
		{10*full + 2015, 4096, 4, 1},
		{0, 0, 0, 0},
		{s.size() - 1, 1, 1, 1},
		{0, runLen / DefaultUnitSize * full, runLen / DefaultUnitSize, 1},
		{1, runLen / DefaultUnitSize * full, runLen/DefaultUnitSize + 1, 2},
	} {
		opened.Store(0)
		f.reads, f.got = 0, 0
		p := make([]byte, tc.n)
		_, err := r.ReadAt(p, tc.off)
		require.NoError(t, err)
		requireSame(t, s.plain[tc.off:tc.off+tc.n], p)
		require.Equal(t, tc.segments, opened.Load(), "%+v", tc)
		require.EqualValues(t, tc.reads, f.reads, "%+v", tc)
		if tc.off+tc.n < s.size() {
			require.Equal(t, tc.segments*DefaultUnitSize, f.got, "%+v", tc)
		}
	}
}

func (s *sealed) size() int64 { return int64(len(s.plain)) }

// TestReadAtOpensInPlace: whole segments are opened where the caller wants
// them, by both readers.
func TestReadAtOpensInPlace(t *testing.T) {
	t.Parallel()
	const unit, full = 64, 32
	var opened [][]byte
	s := seal(t, randomBytes(1000), Options{UnitSize: unit, Suite: func(key []byte) (aead.Sealer, error) {
		s, err := aead.Suite(nil).New(key)
		return &notingSealer{s, &opened}, err
	}})
	r, _ := s.mustOpen(t)
	for _, at := range []io.ReaderAt{r, r.NewSequential()} {
		opened = nil
		p := make([]byte, 20+5*full+20)
		_, err := at.ReadAt(p, 2*full+12)
		require.NoError(t, err)
		require.Len(t, opened, 7)
		for i, dst := range opened {
			require.Equal(t, full, cap(dst))
			if i > 0 && i < 6 {
				require.Same(t, &p[20+(i-1)*full], &dst[:1][0])
			}
		}
	}
}

// A notingSealer notes where it opens to.
type notingSealer struct {
	aead.Sealer
	opened *[][]byte
}

func (s *notingSealer) Open(dst, sealed, additional []byte) ([]byte, error) {
	*s.opened = append(*s.opened, dst)
	return s.Sealer.Open(dst, sealed, additional)
}

// TestFaultIsFinal: after one segment has failed, nothing of the handle reads;
// another handle still reads what is whole.
func TestFaultIsFinal(t *testing.T) {
	t.Parallel()
	s := seal(t, randomBytes(2000), Options{UnitSize: 64})
	s.b[s.offset(30)+40] ^= 1
	s.b[s.offset(50)+40] ^= 1
	for _, sequential := range []bool{false, true} {
		r, _ := s.mustOpen(t)
		var at io.ReaderAt = r
		if sequential {
			at = r.NewSequential()
		}
		p := make([]byte, 32)
		_, err := at.ReadAt(p, 0)
		require.NoError(t, err)
		requireSame(t, s.plain[:32], p)

		p = randomBytes(1200)
		n, err := at.ReadAt(p, 100)
		require.Zero(t, n)
		e := requireCorrupt(t, err, corrupt.ErrAuth)
		require.EqualValues(t, s.offset(30), e.Offset)
		require.Equal(t, "000042.sst", e.Path)
		requireSame(t, make([]byte, len(p)), p)

		for _, off := range []int64{0, 51 * 32, 50 * 32, 1 << 40} {
			for _, again := range []io.ReaderAt{at, r, r.NewSequential()} {
				n, err = again.ReadAt(p[:1], off)
				require.Zero(t, n)
				require.Equal(t, error(e), err)
			}
		}
		_, err = r.NewSequential().Read(p)
		require.Equal(t, error(e), err)
		// io.ReadFull drops an error that comes with a full buffer; so a fault
		// comes with none of it.
		_, err = io.ReadFull(io.NewSectionReader(at, 0, 10), p[:10])
		require.Equal(t, error(e), err)

		// Verify goes on, finds both, and each offset once.
		var offsets []int64
		checked, err := r.Verify(func(off int64, err error) bool {
			requireCorrupt(t, err, corrupt.ErrAuth)
			offsets = append(offsets, off)
			return true
		})
		require.NoError(t, err)
		require.EqualValues(t, len(s.b), checked)
		require.Equal(t, []int64{int64(s.offset(30)), int64(s.offset(50))}, offsets)
	}
}

func TestVerifyStops(t *testing.T) {
	t.Parallel()
	s := seal(t, randomBytes(2000), Options{UnitSize: 64})
	for _, i := range []int{3, 4, 5} {
		s.b[s.offset(i)+40] ^= 1
	}
	r, _ := s.mustOpen(t)
	calls := 0
	checked, err := r.Verify(func(int64, error) bool { calls++; return calls < 2 })
	require.NoError(t, err)
	require.Equal(t, 2, calls)
	require.EqualValues(t, s.offset(5), checked)

	// What Verify finds is not held against reads of other segments.
	_, err = r.ReadAt(make([]byte, 1), 0)
	require.NoError(t, err)
}

// TestFileEndsEarly cuts the file below an open Reader. That is never the end
// of the plaintext.
func TestFileEndsEarly(t *testing.T) {
	t.Parallel()
	for _, ending := range []error{io.EOF, io.ErrUnexpectedEOF, nil} {
		for _, sequential := range []bool{false, true} {
			s := seal(t, randomBytes(2000), Options{UnitSize: 64})
			r, f := s.mustOpen(t)
			var at io.ReaderAt = r
			if sequential {
				at = r.NewSequential()
			}
			f.b = f.b[:s.offset(20)+10]
			f.readFn = func(p []byte, off int64) (int, error) {
				n, err := f.readAt(p, off)
				if err != nil {
					err = ending
				}
				return n, err
			}
			var found []int64
			checked, err := r.Verify(func(off int64, err error) bool {
				requireCorrupt(t, err, corrupt.ErrMissing)
				found = append(found, off)
				return true
			})
			require.NoError(t, err)
			require.Equal(t, []int64{int64(len(f.b))}, found)
			require.Equal(t, found[0], checked)

			_, err = r.ReadAt(make([]byte, 20*32), 0)
			require.NoError(t, err)
			n, err := at.ReadAt(make([]byte, 500), 500)
			require.Zero(t, n)
			e := requireCorrupt(t, err, corrupt.ErrMissing)
			require.Contains(t, e.Error(), "file ends early")
			require.EqualValues(t, len(f.b), e.Offset)
			_, err = r.ReadAt(make([]byte, 1), 0)
			require.Equal(t, error(e), err)
		}
	}
}

// TestInputErrors: other errors of the file below pass as they are, and may
// pass by.
func TestInputErrors(t *testing.T) {
	t.Parallel()
	s := seal(t, randomBytes(3*runLen), Options{UnitSize: 4096})
	r, f := s.mustOpen(t)
	q := r.NewSequential()
	fail := func(p []byte, off int64) (int, error) {
		if off > runLen {
			return 0, errInjected
		}
		return f.readAt(p, off)
	}
	f.readFn = fail
	p := make([]byte, len(s.plain))
	for _, at := range []io.ReaderAt{r, q} {
		n, err := at.ReadAt(p, 0)
		require.Equal(t, errInjected, err)
		requireSame(t, s.plain[:n], p[:n]) // what it did return is right
	}
	_, err := r.Verify(func(int64, error) bool { t.Error("no fault"); return true })
	require.Equal(t, errInjected, err)

	f.readFn = nil
	for _, at := range []io.ReaderAt{r, q} {
		_, err = at.ReadAt(p, 0)
		require.NoError(t, err)
		requireSame(t, s.plain, p)
	}
	f.readFn = fail
	n, err := io.Copy(io.Discard, q)
	require.Equal(t, errInjected, err)
	require.Positive(t, n)
}

func TestReadAtRanges(t *testing.T) {
	t.Parallel()
	s := seal(t, randomBytes(100), Options{})
	r, f := s.mustOpen(t)
	for _, at := range []io.ReaderAt{r, r.NewSequential()} {
		_, err := at.ReadAt(make([]byte, 1), -1)
		require.ErrorContains(t, err, "negative")
		n, err := at.ReadAt(make([]byte, 10), 95)
		require.Equal(t, 5, n)
		require.Equal(t, io.EOF, err)
		for _, off := range []int64{100, 101, 1<<63 - 1} {
			n, err = at.ReadAt(make([]byte, 10), off)
			require.Zero(t, n)
			require.Equal(t, io.EOF, err)
		}
		n, err = at.ReadAt(nil, 50)
		require.Zero(t, n)
		require.NoError(t, err)
	}
	require.Equal(t, 2, f.reads, "the end was known after the first read of it")

	empty, f := seal(t, nil, Options{}).mustOpen(t)
	for range 3 {
		n, err := empty.ReadAt(make([]byte, 1), 0)
		require.Zero(t, n)
		require.Equal(t, io.EOF, err)
		require.Equal(t, 1, f.reads, "the end is read once before it is believed")
	}
}

func TestReaderClose(t *testing.T) {
	t.Parallel()
	s := seal(t, randomBytes(100), Options{})
	r, f := s.mustOpen(t)
	q := r.NewSequential()
	_, err := q.ReadAt(make([]byte, 10), 0)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	require.Equal(t, []string{"close"}, f.ops)
	for _, at := range []io.ReaderAt{r, q} {
		_, err = at.ReadAt(make([]byte, 10), 0)
		require.ErrorIs(t, err, fs.ErrClosed)
	}
	_, err = r.Verify(nil)
	require.ErrorIs(t, err, fs.ErrClosed)
	require.NoError(t, q.Close())
	require.NoError(t, q.Close())
}

// TestCloseWhileReading closes Readers below running reads. None of them may
// take the wiped keys for tampering.
func TestCloseWhileReading(t *testing.T) {
	t.Parallel()
	s := seal(t, randomBytes(20_000), Options{UnitSize: 64})
	for range 10 {
		r, _ := s.mustOpen(t)
		var wg sync.WaitGroup
		started := make(chan struct{}, 4)
		for range 4 {
			wg.Go(func() {
				p := make([]byte, 3000)
				for i := int64(0); ; i++ {
					_, err := r.ReadAt(p, i*100%15_000)
					if err != nil {
						if !errors.Is(err, fs.ErrClosed) {
							t.Errorf("closed while reading: %v", err)
						}
						return
					}
					select {
					case started <- struct{}{}:
					default:
					}
				}
			})
		}
		<-started
		require.NoError(t, r.Close())
		wg.Wait()
	}
}

func TestConcurrentReads(t *testing.T) {
	t.Parallel()
	s := seal(t, randomBytes(300_000), Options{UnitSize: 256})
	r, _ := s.mustOpen(t)
	q := r.NewSequential()
	var wg sync.WaitGroup
	for i := range 4 {
		rng := newRand(t)
		at := io.ReaderAt(r)
		if i == 3 {
			at = q
		}
		wg.Go(func() {
			for range 300 {
				p := make([]byte, rng.IntN(5000))
				off := rng.IntN(len(s.plain) - len(p))
				_, err := at.ReadAt(p, int64(off))
				if err != nil || string(p) != string(s.plain[off:off+len(p)]) {
					t.Errorf("read of %d at %d: %v", len(p), off, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestRotation reads and writes across the border of two segment keys. The
// 2^20 segments before it are left out of the file: nobody reads them.
func TestRotation(t *testing.T) {
	t.Parallel()
	const unit, full, from = 64, 32, 1<<20 - 12
	plain := randomBytes(30*full + 5)
	keys := map[string]bool{}
	opts := Options{UnitSize: unit, Suite: func(key []byte) (aead.Sealer, error) {
		keys[string(key)] = true
		return aead.Suite(nil).New(key)
	}}
	f, key := newMemFile(nil), testKey()
	w, err := NewWriter(f, testIdentity(), key, opts)
	require.NoError(t, err)
	w.position = from
	_, err = w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())

	h, err := keyring.ParseHeader(f.b)
	require.NoError(t, err)
	f.readFn = func(p []byte, off int64) (int, error) { return f.readAt(p, off-from*unit) }
	r, err := NewReader(f, int64(len(f.b))+from*unit, h, key.Key, opts)
	require.NoError(t, err)
	for _, at := range []io.ReaderAt{r, r.NewSequential()} {
		p := make([]byte, 25*full)
		_, err = at.ReadAt(p, from*full+7)
		require.NoError(t, err)
		requireSame(t, plain[7:][:len(p)], p)
	}
	require.Len(t, keys, 2, "one key an epoch")
}
