package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

func openReader(t testing.TB, b []byte, key *keyring.DataKey, opts ReaderOptions) *Reader {
	t.Helper()
	h, err := keyring.ParseHeader(b)
	require.NoError(t, err)
	r, err := NewReader(&memFile{b: b}, int64(len(b)), h, key.Key, opts)
	require.NoError(t, err)
	return r
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, compress := range []bool{false, true} {
		t.Run(fmt.Sprintf("compress=%t", compress), func(t *testing.T) {
			t.Parallel()
			rng := rngFor(1)
			random := make([]byte, 2<<20)
			for i := range random {
				random[i] = byte(rng.Uint32())
			}
			var all []byte
			var want []Frame
			f := &memFile{}
			opts := Options{Compress: compress, Path: "000007.log"}
			w, key := newTestWriter(t, f, opts)
			for i, n := range []int{1, 21, 100, 428, 428, 4096, 32 << 10, 32 << 10, 255 << 10, 256 << 10, 300 << 10, 2 << 20, 1, 0, 428} {
				fr := Frame{Index: uint64(i + 1), Data: random[:n]}
				if i%2 == 1 {
					fr.Data = bytes.Repeat([]byte("compressible "), n)[:n]
				}
				if i%3 == 0 || n == 0 {
					fr.Note = random[n/2 : n/2+17*i+1]
				}
				c, err := w.WriteNote(fr.Note, fr.Data)
				require.NoError(t, err)
				require.Equal(t, n, c)
				want = append(want, fr)
				all = append(all, fr.Data...)
			}
			require.EqualValues(t, len(all), w.Size())
			frames, physical := w.Committed()
			require.EqualValues(t, len(f.b), physical)
			require.EqualValues(t, len(want)+1, frames)

			got, r, err := readAll(f.b, key, ReaderOptions{Options: opts, Final: frames})
			require.Equal(t, io.EOF, err)
			require.Len(t, got, len(want))
			for i := range want {
				require.Equal(t, want[i].Index, got[i].Index)
				require.True(t, bytes.Equal(want[i].Note, got[i].Note))
				require.True(t, bytes.Equal(want[i].Data, got[i].Data))
			}
			require.Equal(t, testPast, r.Past())
			require.Equal(t, frames, r.Frames())
			offset, dropped, reached := r.End()
			require.True(t, reached)
			require.Equal(t, physical, offset)
			require.Zero(t, dropped)

			if compress {
				require.Less(t, len(f.b), len(all))
			} else {
				require.Len(t, f.b, keyring.HeaderLen+minFrameLen+pastLen+len(all)+minFrameLen*len(want)+notes(want))
			}

			// Read gives the same in any pieces.
			require.NoError(t, iotest.TestReader(openReader(t, f.b, key, ReaderOptions{}), all))
			piecewise := openReader(t, f.b, key, ReaderOptions{})
			var back []byte
			for {
				p := make([]byte, rng.IntN(100<<10))
				n, err := io.ReadFull(piecewise, p)
				back = append(back, p[:n]...)
				if err != nil {
					require.True(t, err == io.EOF || err == io.ErrUnexpectedEOF)
					break
				}
			}
			require.True(t, bytes.Equal(all, back))
		})
	}
}

func notes(frames []Frame) (n int) {
	for _, fr := range frames {
		n += len(fr.Note)
	}
	return n
}

// What lies behind the end of a log is not the log's: zeros that were
// allocated in advance, and a recycled file's frames under another key.
func TestBehindTheEnd(t *testing.T) {
	t.Parallel()
	rng := rngFor(2)
	old := newLog(t, rng, nil, nil, 200, 1000, 0.5)
	for _, tc := range []struct {
		name string
		tail []byte
	}{
		{"nothing", nil},
		{"zeros", make([]byte, 300<<10)},
		{"seven zeros", make([]byte, 7)},
		{"recycled", old.b},
		{"recycled at a frame", old.b[old.offset[7]:]},
		{"recycled, then zeros", append(bytes.Clone(old.b), make([]byte, 600<<10)...)},
		{"one byte", []byte{1}},
		{"zeros, then one byte", append(make([]byte, 1<<20), 1)},
	} {
		l := newLog(t, rng, nil, nil, 20, 1000, 0.5)
		b := append(bytes.Clone(l.b), tc.tail...)
		for _, final := range []uint64{0, 20} {
			frames, r, err := readAll(b, l.key, ReaderOptions{Final: final, Attested: 20})
			require.Equal(t, io.EOF, err, tc.name)
			l.requirePrefix(t, frames, tc.name)
			require.Len(t, frames, 19, tc.name)
			offset, dropped, reached := r.End()
			require.True(t, reached)
			require.EqualValues(t, len(l.b), offset, tc.name)
			require.EqualValues(t, len(bytes.TrimRight(tc.tail, "\x00")), dropped, tc.name)
			require.Zero(t, r.opened, "a foreign frame is not even tried")
			require.False(t, r.Torn(), "nothing of this file is behind the end")
		}
	}
}

func TestEndIsNotReachedBefore(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(3), nil, nil, 5, 100, 0)
	r := openReader(t, l.b, l.key, ReaderOptions{})
	_, _, reached := r.End()
	require.False(t, reached)
	require.EqualValues(t, 1, r.Frames())
}

// Committed bytes read back while the Writer goes on.
func TestReaderBesideWriter(t *testing.T) {
	t.Parallel()
	f := &memFile{}
	w, key := newTestWriter(t, f, Options{})
	h, err := keyring.ParseHeader(f.b)
	require.NoError(t, err)
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; err == nil && !stop.Load(); i++ {
			if _, err = w.Write(bytes.Repeat([]byte{byte(i)}, 1+i%700)); err == nil && i%7 == 0 {
				err = w.SyncData()
			}
		}
		done <- err
	}()
	var seen uint64
	for seen < 2000 {
		// The size is taken before the limit, as one may: the file has grown.
		f.mu.Lock()
		size := int64(len(f.b))
		f.mu.Unlock()
		frames, limit := w.Committed()
		r, err := NewReader(f, size, h, key.Key, ReaderOptions{Limit: limit, Final: frames})
		require.NoError(t, err)
		var n uint64 = 1
		for {
			fr, err := r.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			require.Equal(t, bytes.Repeat([]byte{byte(n - 1)}, int(1+(n-1)%700)), fr.Data)
			n++
		}
		require.Equal(t, frames, n)
		offset, dropped, _ := r.End()
		require.Equal(t, limit, offset)
		require.Zero(t, dropped)
		seen = n
	}
	stop.Store(true)
	require.NoError(t, <-done)
}

// Up to Limit every byte was written: there is no crash to excuse anything.
func TestLimit(t *testing.T) {
	t.Parallel()
	rng := rngFor(4)
	l := newLog(t, rng, nil, nil, 30, 500, 0)
	for k := 1; k < 30; k++ {
		limit := int64(l.offset[k])
		frames, r, err := readAll(l.b, l.key, ReaderOptions{Limit: limit})
		require.Equal(t, io.EOF, err)
		l.requirePrefix(t, frames)
		require.EqualValues(t, k, r.Frames())

		opts := ReaderOptions{Options: Options{Path: "live"}, Limit: limit}
		b := bytes.Clone(l.b)
		b[l.offset[k]-1-rng.IntN(minFrameLen)] ^= 1
		_, _, err = readAll(b, l.key, opts)
		requireCorrupt(t, err, "live", "flipped")
		_, _, err = readAll(l.b[:limit-1], l.key, opts)
		require.ErrorIs(t, requireCorrupt(t, err, "live", "cut"), corrupt.ErrMissing)
		if k > 1 {
			_, _, err = readAll(l.b[:l.offset[k-1]], l.key, opts)
			requireCorrupt(t, err, "live", "cut at a frame")
			opts.Final = uint64(k - 1)
			_, _, err = readAll(l.b, l.key, opts)
			requireCorrupt(t, err, "live", "more frames than Final")
		}
	}
}

// The file's own errors come through, stay, and are never the end of the log.
func TestReadErrors(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(5), nil, nil, 400, 4000, 0.1)
	h, err := keyring.ParseHeader(l.b)
	require.NoError(t, err)
	for _, below := range []error{errors.New("EIO"), fmt.Errorf("read: %w", io.EOF), io.ErrUnexpectedEOF} {
		for nth := range 4 {
			reads := 0
			f := &memFile{b: l.b, failing: func(op string) error {
				if reads++; op == "read" && reads > nth {
					return below
				}
				return nil
			}}
			r, err := NewReader(f, int64(len(l.b)), h, l.key.Key, ReaderOptions{Options: Options{Path: "000007.log"}})
			var frames []Frame
			for err == nil {
				var fr Frame
				if fr, err = r.Next(); err == nil {
					fr.Data = bytes.Clone(fr.Data)
					frames = append(frames, fr)
				}
			}
			l.requirePrefix(t, frames)
			require.ErrorContains(t, err, "000007.log")
			require.ErrorContains(t, err, below.Error())
			require.NotErrorIs(t, err, io.EOF)
			require.NotErrorIs(t, err, io.ErrUnexpectedEOF)
			require.NotErrorIs(t, err, corrupt.ErrCorrupt)
			if r != nil {
				f.failing = nil
				_, err2 := r.Next()
				require.Equal(t, err, err2)
				_, err2 = r.Read(make([]byte, 1))
				require.Equal(t, err, err2)
			}
		}
	}
}

// A full buffer does not swallow the error that stops the log.
func TestReadFullKeepsError(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(6), nil, nil, 50, 300, 1)
	b := bytes.Clone(l.b)
	b[l.offset[30]+40] ^= 1
	r := openReader(t, b, l.key, ReaderOptions{Options: Options{Path: "p"}})
	for i := 1; i < 30; i++ {
		p := make([]byte, len(l.data[i]))
		_, err := io.ReadFull(r, p)
		require.NoError(t, err)
		require.Equal(t, l.data[i], p)
	}
	_, err := io.ReadFull(r, make([]byte, 10))
	e := requireCorrupt(t, err, "p")
	require.EqualValues(t, l.offset[30], e.Offset)
	require.ErrorIs(t, e, corrupt.ErrAuth)
	for range 3 {
		n, err2 := r.Read(make([]byte, 10))
		require.Zero(t, n)
		require.Equal(t, err, err2)
		_, err2 = r.Next()
		require.Equal(t, err, err2)
	}
}

// A file that shrinks while it is read is judged by what is left.
func TestFileShrinks(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(7), nil, nil, 100, 10000, 0)
	h, err := keyring.ParseHeader(l.b)
	require.NoError(t, err)
	r, err := NewReader(&memFile{b: l.b[:l.offset[60]+5]}, int64(len(l.b)), h, l.key.Key, ReaderOptions{})
	require.NoError(t, err)
	for i := 1; i < 60; i++ {
		fr, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, l.data[i], fr.Data)
	}
	_, err = r.Next()
	require.Equal(t, io.EOF, err)
}

func TestReaderClose(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(8), nil, nil, 5, 100, 0)
	h, err := keyring.ParseHeader(l.b)
	require.NoError(t, err)
	f := &memFile{b: l.b}
	r, err := NewReader(f, int64(len(l.b)), h, l.key.Key, ReaderOptions{})
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	require.Equal(t, 1, f.closes)
	_, err = r.Next()
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, fs.ErrClosed)
}

func TestNewReaderRefuses(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(9), nil, nil, 5, 100, 1)
	opts := ReaderOptions{Options: Options{Path: "p"}}

	_, _, err := readAll(l.b, newKey(), opts)
	require.ErrorIs(t, requireCorrupt(t, err, "p", "wrong key"), corrupt.ErrAuth)

	h, err := keyring.ParseHeader(l.b)
	require.NoError(t, err)
	f := &memFile{b: l.b}
	wiped := keyring.RandomSecret()
	wiped.Wipe()
	_, err = NewReader(f, int64(len(l.b)), h, wiped, opts)
	require.Error(t, err)
	table := *h
	table.Identity.Kind = keyring.KindSSTable
	_, err = NewReader(f, int64(len(l.b)), &table, l.key.Key, opts)
	require.ErrorIs(t, requireCorrupt(t, err, "p", "another kind"), corrupt.ErrForeign)
	other := *h
	other.Identity.Kind = keyring.KindManifest
	_, err = NewReader(f, int64(len(l.b)), &other, l.key.Key, opts)
	require.ErrorIs(t, requireCorrupt(t, err, "p", "another log's kind"), corrupt.ErrAuth)
	require.Zero(t, f.closes, "a Reader that was not made owns nothing")
}

// Frames that are sealed with the file's key and that no Writer makes.
func TestImpossibleFrames(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(10), nil, nil, 3, 100, 0)
	m := l.message(t)
	tag, sealer, err := derive(m)
	require.NoError(t, err)
	for name, payload := range map[string][]byte{
		"durable beyond the index": appendPayloadHeader(nil, 1<<62, 4, 0, 0),
		"unknown flag":             appendPayloadHeader(nil, 1<<62, 0, 2, 0),
		"note beyond the payload":  appendPayloadHeader(nil, 1<<62, 0, 0, 1),
		"huge note":                appendPayloadHeader(nil, 1<<62, 0, 0, -1),
		"time goes back":           appendPayloadHeader(nil, 1, 0, 0, 0),
		"no S2":                    append(appendPayloadHeader(nil, 1<<62, 0, flagS2, 0), 0xff),
		"huge S2":                  append(appendPayloadHeader(nil, 1<<62, 0, flagS2, 0), 0xff, 0xff, 0xff, 0xff, 0x0f, 0),
		"truncated S2":             append(appendPayloadHeader(nil, 1<<62, 0, flagS2, 0), 10, 0),
	} {
		head := appendFrameHeader(nil, tag, 3, len(payload))
		frame, err := sealer.Seal(bytes.Clone(head), payload, head)
		require.NoError(t, err)
		frames, r, err := readAll(append(bytes.Clone(l.b), frame...), l.key, ReaderOptions{Options: Options{Path: "p"}})
		require.Len(t, frames, 2, name)
		require.LessOrEqual(t, cap(r.unpacked), 1000, name)
		e := requireCorrupt(t, err, "p", name)
		require.ErrorIs(t, e, corrupt.ErrFormat, name)
		require.EqualValues(t, len(l.b), e.Offset)
	}
}

// A sealed frame without room for its own fields is no frame.
func TestShortPayload(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(14), nil, nil, 3, 100, 0)
	tag, sealer, err := derive(l.message(t))
	require.NoError(t, err)
	for n := range payloadHeaderLen {
		head := appendFrameHeader(nil, tag, 3, n)
		frame, err := sealer.Seal(bytes.Clone(head), make([]byte, n), head)
		require.NoError(t, err)
		frames, _, err := readAll(append(bytes.Clone(l.b), frame...), l.key, ReaderOptions{})
		require.Equal(t, io.EOF, err)
		require.Len(t, frames, 2)
	}
}

// A length above the bound is not read, however long the file is.
func TestPayloadBound(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(15), nil, nil, 3, 100, 0)
	b := append(bytes.Clone(l.b), appendFrameHeader(nil, l.tag, 3, MaxPayload+1)...)
	h, err := keyring.ParseHeader(b)
	require.NoError(t, err)
	r, err := NewReader(&sparseFile{memFile{b: b}}, 1<<40, h, l.key.Key, ReaderOptions{Options: Options{Path: "p"}, Final: 4})
	require.NoError(t, err)
	for err == nil {
		_, err = r.Next()
	}
	requireCorrupt(t, err, "p")
	require.EqualValues(t, 3, r.Frames())
	require.LessOrEqual(t, cap(r.win.buf), readAhead)
}

// sparseFile is a memFile with a terabyte of zeros behind it.
type sparseFile struct{ memFile }

func (f *sparseFile) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(f.b)) {
		copy(p, f.b[off:])
	}
	return len(p), nil
}

func TestPast(t *testing.T) {
	t.Parallel()
	for _, p := range []Past{testPast, {FormatVersion: keyring.FormatVersion}} {
		b := p.encode()
		require.Len(t, b, pastLen)
		got, err := ParsePast(b)
		require.NoError(t, err)
		require.Equal(t, p, got)
		for n := range b {
			_, err := ParsePast(b[:n])
			require.ErrorIs(t, err, corrupt.ErrFormat)
		}
		_, err = ParsePast(append(b, 0))
		require.ErrorIs(t, err, corrupt.ErrFormat)
	}
	newer := testPast
	newer.FormatVersion++
	_, err := ParsePast(newer.encode())
	require.ErrorIs(t, err, corrupt.ErrVersion)
	nameless := testPast
	nameless.Manifest.FileID = keyring.ID{}
	_, err = ParsePast(nameless.encode())
	require.ErrorIs(t, err, corrupt.ErrFormat)
}

// A frame 0 that opens and does not parse names the file and its offset.
func TestBadPast(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(11), blindSuite, nil, 3, 100, 0)
	b := bytes.Clone(l.b)
	b[l.offset[1]-16-pastLen]++ // its format version
	opts := ReaderOptions{Options: Options{Path: "p", Suite: blindSuite}}
	_, _, err := readAll(b, l.key, opts)
	e := requireCorrupt(t, err, "p")
	require.ErrorIs(t, e, corrupt.ErrVersion)
	require.EqualValues(t, keyring.HeaderLen, e.Offset)
}

func TestReadDoesNotAllocate(t *testing.T) {
	// Not parallel: AllocsPerRun counts those of the whole process.
	l := newLog(t, rngFor(12), nil, nil, 3000, 500, 0.1)
	r := openReader(t, l.b, l.key, ReaderOptions{})
	for range 500 { // the largest frame has come
		_, err := r.Next()
		require.NoError(t, err)
	}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}))
	p := make([]byte, 100)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := r.Read(p); err != nil {
			t.Fatal(err)
		}
	}))
}

// Reads of the file below are large.
func TestReadsAreLarge(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(13), nil, nil, 10000, 500, 0)
	h, err := keyring.ParseHeader(l.b)
	require.NoError(t, err)
	reads := 0
	f := &memFile{b: l.b, failing: func(string) error { reads++; return nil }}
	r, err := NewReader(f, int64(len(l.b)), h, l.key.Key, ReaderOptions{})
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, r)
	require.NoError(t, err)
	require.Greater(t, n, int64(2<<20))
	require.LessOrEqual(t, reads, len(l.b)/(readAhead-1000)+2)
}

// A long tail is read twice at most: once for its end, once for later frames.
func TestTailIsReadTwice(t *testing.T) {
	t.Parallel()
	f := &memFile{}
	w, key := newTestWriter(t, f, Options{})
	_, err := w.Write(make([]byte, 4<<20)) // the window grows to this
	require.NoError(t, err)
	b := append(f.b, 1)
	b = append(b, make([]byte, 16<<20)...)
	h, err := keyring.ParseHeader(b)
	require.NoError(t, err)
	c := &countingFile{memFile: memFile{b: b}}
	r, err := NewReader(c, int64(len(b)), h, key.Key, ReaderOptions{})
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, r)
	require.NoError(t, err)
	_, dropped, _ := r.End()
	require.EqualValues(t, 1, dropped)
	require.LessOrEqual(t, c.read, 2*len(b))
}

// What a crash tears off is told from what a recycled file held before.
func TestTorn(t *testing.T) {
	t.Parallel()
	rng := rngFor(5)
	old := newLog(t, rng, nil, nil, 50, 1000, 0.5)
	l := newLog(t, rng, nil, nil, 20, 1000, 0.5)
	for _, cut := range []int{l.offset[18] + frameHeaderLen, l.offset[19] - 1} {
		b := append(bytes.Clone(l.b[:cut]), old.b[min(cut, len(old.b)):]...)
		if b[cut] == l.b[cut] { // the former file's byte, by chance the one cut off
			b[cut]++
		}
		_, r, err := readAll(b, l.key, ReaderOptions{})
		require.Equal(t, io.EOF, err)
		require.EqualValues(t, 18, r.Frames())
		require.True(t, r.Torn(), "cut at %d", cut)
	}
}

type countingFile struct {
	memFile
	read int
}

func (f *countingFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.memFile.ReadAt(p, off)
	f.read += n
	return n, err
}
