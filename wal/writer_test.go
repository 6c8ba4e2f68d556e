package wal

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

func newTestWriter(t testing.TB, f AppendFile, opts Options) (*Writer, *keyring.DataKey) {
	t.Helper()
	key := newKey()
	w, err := NewWriter(f, testIdentity(), key, testPast, opts)
	require.NoError(t, err)
	return w, key
}

func TestNewWriter(t *testing.T) {
	t.Parallel()
	f := &memFile{}
	id := testIdentity()
	w, err := NewWriter(f, id, newKey(), Past{}, Options{})
	require.NoError(t, err)
	require.Equal(t, 1, f.writes, "header and frame 0 are one Write")
	require.Equal(t, 0, f.syncs, "the caller syncs")
	require.Equal(t, id, w.Identity())
	require.EqualValues(t, 1, w.Frames())
	require.EqualValues(t, 0, w.Durable())
	require.EqualValues(t, 0, w.Size())
	frames, physical := w.Committed()
	require.EqualValues(t, 1, frames)
	require.EqualValues(t, len(f.b), physical)
	require.Len(t, f.b, keyring.HeaderLen+minFrameLen+pastLen)

	wiped := newKey()
	wiped.Key.Wipe()
	random, unit := id, id
	random.Kind, unit.UnitSize = keyring.KindSSTable, 2048
	for name, make := range map[string]func() (*Writer, error){
		"random kind":   func() (*Writer, error) { return NewWriter(&memFile{}, random, newKey(), Past{}, Options{}) },
		"unit size":     func() (*Writer, error) { return NewWriter(&memFile{}, unit, newKey(), Past{}, Options{}) },
		"wiped key":     func() (*Writer, error) { return NewWriter(&memFile{}, id, wiped, Past{}, Options{}) },
		"no key":        func() (*Writer, error) { return NewWriter(&memFile{}, id, nil, Past{}, Options{}) },
		"other version": func() (*Writer, error) { return NewWriter(&memFile{}, id, newKey(), Past{FormatVersion: 9}, Options{}) },
		"nameless frame": func() (*Writer, error) {
			return NewWriter(&memFile{}, id, newKey(), Past{Previous: Segment{Frames: 3}}, Options{})
		},
		"failing file": func() (*Writer, error) {
			return NewWriter(&memFile{failing: func(string) error { return errors.New("EIO") }}, id, newKey(), Past{}, Options{})
		},
	} {
		_, err := make()
		require.Error(t, err, name)
	}
}

func TestEmptyWrite(t *testing.T) {
	t.Parallel()
	f := &memFile{}
	w, key := newTestWriter(t, f, Options{})
	n, err := w.Write(nil)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = w.WriteNote([]byte{}, []byte{})
	require.NoError(t, err)
	require.Zero(t, n)
	require.EqualValues(t, 1, w.Frames())
	require.Equal(t, 1, f.writes)
	n, err = w.WriteNote([]byte("alone"), nil)
	require.NoError(t, err)
	require.Zero(t, n)
	frames, _, err := readAll(f.b, key, ReaderOptions{Final: 2})
	require.Equal(t, io.EOF, err)
	require.Len(t, frames, 1)
	require.Equal(t, "alone", string(frames[0].Note))
	require.Empty(t, frames[0].Data)
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	f := &memFile{}
	w, key := newTestWriter(t, f, Options{})
	huge := make([]byte, MaxPayload) // never touched: it costs address space only
	_, err := w.Write(huge)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = w.WriteNote(huge, nil)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = w.Write(huge[:MaxPayload-payloadHeaderLen+1])
	require.ErrorIs(t, err, ErrTooLarge)
	require.EqualValues(t, 1, w.Frames())
	_, err = w.Write([]byte("goes on"))
	require.NoError(t, err)
	frames, _, err := readAll(f.b, key, ReaderOptions{Final: 2})
	require.Equal(t, io.EOF, err)
	require.Equal(t, "goes on", string(frames[0].Data))
}

// A failed Write or sync is final, whatever comes after it.
func TestWriterErrorIsFinal(t *testing.T) {
	t.Parallel()
	eio := errors.New("EIO")
	for _, op := range []string{"write", "sync", "syncdata"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			f := &memFile{}
			w, _ := newTestWriter(t, f, Options{Path: "000007.log"})
			_, err := w.Write([]byte("kept"))
			require.NoError(t, err)
			require.NoError(t, w.Sync())
			f.failing = func(o string) error {
				if o == op {
					return eio
				}
				return nil
			}
			switch op {
			case "write":
				_, err = w.Write([]byte("lost"))
			case "sync":
				err = w.Sync()
			case "syncdata":
				err = w.SyncData()
			}
			require.ErrorIs(t, err, eio)
			require.ErrorContains(t, err, "000007.log")
			f.failing = nil
			writes, syncs := f.writes, f.syncs
			_, err2 := w.Write([]byte("more"))
			require.Equal(t, err, err2)
			_, err2 = w.WriteNote([]byte("more"), nil)
			require.Equal(t, err, err2)
			require.Equal(t, err, w.Sync())
			require.Equal(t, err, w.SyncData())
			require.Equal(t, writes, f.writes, "nothing is written behind a failed Write")
			require.Equal(t, syncs, f.syncs)
			require.EqualValues(t, 2, w.Frames())
			require.EqualValues(t, 2, w.Durable())
			require.NoError(t, w.Close())
		})
	}
}

type shortFile struct{ memFile }

func (f *shortFile) Write(p []byte) (int, error) {
	if f.writes > 0 {
		p = p[:len(p)-1]
	}
	return f.memFile.Write(p)
}

func TestShortWrite(t *testing.T) {
	t.Parallel()
	f := &shortFile{}
	w, key := newTestWriter(t, f, Options{})
	_, err := w.Write([]byte("short"))
	require.ErrorIs(t, err, io.ErrShortWrite)
	require.EqualValues(t, 1, w.Frames())
	// A torn frame that nobody attests is the end of the log.
	frames, r, err := readAll(f.b, key, ReaderOptions{})
	require.Equal(t, io.EOF, err)
	require.Empty(t, frames)
	_, dropped, _ := r.End()
	require.Positive(t, dropped)
	// So is it where the file was closed with what was written.
	_, _, err = readAll(f.b, key, ReaderOptions{Final: 1})
	require.Equal(t, io.EOF, err)
}

func TestWriterClose(t *testing.T) {
	t.Parallel()
	f := &memFile{failing: func(op string) error {
		if op == "close" {
			return errors.New("EIO")
		}
		return nil
	}}
	w, _ := newTestWriter(t, f, Options{})
	err := w.Close()
	require.ErrorContains(t, err, "EIO")
	require.Equal(t, err, w.Close())
	require.Equal(t, 1, f.closes)
	require.Zero(t, f.syncs, "Close does not sync")
	_, err = w.Write([]byte("late"))
	require.ErrorIs(t, err, fs.ErrClosed)
	require.ErrorIs(t, w.Sync(), fs.ErrClosed)
	require.EqualValues(t, 1, w.Frames())
}

// The times of frames never go back, whatever the clock does.
func TestClockGoesBack(t *testing.T) {
	t.Parallel()
	now := []int64{-5, 100, 50, 200, 10}
	i := 0
	f := &memFile{}
	w, key := newTestWriter(t, f, Options{Now: func() time.Time {
		i++
		return time.Unix(0, now[i-1])
	}})
	for range len(now) - 1 {
		_, err := w.Write([]byte("x"))
		require.NoError(t, err)
	}
	frames, _, err := readAll(f.b, key, ReaderOptions{})
	require.Equal(t, io.EOF, err)
	var got []int64
	for _, fr := range frames {
		got = append(got, fr.Time.UnixNano())
	}
	require.Equal(t, []int64{100, 100, 200, 200}, got)
}

func TestDurableMark(t *testing.T) {
	t.Parallel()
	f := &memFile{}
	w, key := newTestWriter(t, f, Options{})
	var want []uint64
	for i := range 20 {
		want = append(want, w.Durable())
		_, err := w.Write([]byte{byte(i)})
		require.NoError(t, err)
		switch i % 5 {
		case 2:
			require.NoError(t, w.Sync())
			require.Equal(t, w.Frames(), w.Durable())
		case 4:
			require.NoError(t, w.SyncData())
			require.Equal(t, w.Frames(), w.Durable())
		}
	}
	frames, _, err := readAll(f.b, key, ReaderOptions{})
	require.Equal(t, io.EOF, err)
	var got []uint64
	for _, fr := range frames {
		got = append(got, fr.Durable)
	}
	require.Equal(t, want, got)
}

// A frame written while a sync runs is not durable when that ends.
func TestWriteDuringSync(t *testing.T) {
	t.Parallel()
	f := &blockingFile{begun: make(chan struct{}), end: make(chan struct{})}
	w, _ := newTestWriter(t, f, Options{})
	done := make(chan error)
	go func() { done <- w.Sync() }()
	<-f.begun
	_, err := w.Write([]byte("beside")) // does not wait for the sync
	require.NoError(t, err)
	close(f.end)
	require.NoError(t, <-done)
	require.EqualValues(t, 2, w.Frames())
	require.EqualValues(t, 1, w.Durable())
}

type blockingFile struct {
	memFile
	begun, end chan struct{}
}

func (f *blockingFile) Sync() error {
	close(f.begun)
	<-f.end
	return nil
}

// Writers, syncers and observers may run at once.
func TestWriterConcurrent(t *testing.T) {
	t.Parallel()
	f := &memFile{}
	w, key := newTestWriter(t, f, Options{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				if _, err := w.Write(bytes.Repeat([]byte{byte(g)}, i+1)); err != nil {
					t.Error(err)
				}
				if i%10 == 0 {
					if err := w.SyncData(); err != nil {
						t.Error(err)
					}
				}
				w.Committed()
				w.Durable()
				w.Size()
			}
		})
	}
	wg.Wait()
	require.NoError(t, w.Close())
	require.EqualValues(t, 4*100*101/2, w.Size())
	frames, _, err := readAll(f.b, key, ReaderOptions{Final: 401, Attested: w.Durable()})
	require.Equal(t, io.EOF, err)
	require.Len(t, frames, 400)
	for i, fr := range frames[1:] {
		require.GreaterOrEqual(t, fr.Durable, frames[i].Durable)
	}
}

// nullFile takes everything and keeps nothing.
type nullFile struct{}

func (nullFile) Write(p []byte) (int, error) { return len(p), nil }
func (nullFile) Sync() error                 { return nil }
func (nullFile) SyncData() error             { return nil }
func (nullFile) Close() error                { return nil }

func TestWriteDoesNotAllocate(t *testing.T) {
	// Not parallel: AllocsPerRun counts those of the whole process.
	for _, n := range []int{428, 32 << 10} {
		w, _ := newTestWriter(t, nullFile{}, Options{})
		p := make([]byte, n)
		w.Write(p)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			w.Write(p)
			w.SyncData()
			w.Committed()
		}), "%d bytes", n)
	}
}

// One large frame does not hold its memory for ever, and many that grow do not
// copy each time.
func TestWriterBuffers(t *testing.T) {
	t.Parallel()
	w, _ := newTestWriter(t, nullFile{}, Options{})
	grew, was := 0, 0
	for n := 1; n < 300<<10; n += 1000 {
		w.Write(make([]byte, n))
		if c := cap(w.sealed); c != was {
			grew, was = grew+1, c
		}
	}
	require.Less(t, grew, 15)
	w.Write(make([]byte, 3<<20))
	require.LessOrEqual(t, cap(w.sealed), keepBuffer)
	require.LessOrEqual(t, cap(w.plain), keepBuffer)
}

// Write keeps nothing of what it was handed, and writes nothing of it in the
// clear.
func TestWriteDoesNotRetain(t *testing.T) {
	t.Parallel()
	for _, compress := range []bool{false, true} {
		f := &memFile{}
		w, key := newTestWriter(t, f, Options{Compress: compress})
		note, p := []byte("the note of this frame"), []byte("a canary that must not be seen on the disk")
		_, err := w.WriteNote(note, p)
		require.NoError(t, err)
		require.NotContains(t, string(f.b), "canary")
		require.NotContains(t, string(f.b), "note")
		clear(note)
		clear(p)
		_, err = w.Write([]byte("second"))
		require.NoError(t, err)
		frames, _, err := readAll(f.b, key, ReaderOptions{})
		require.Equal(t, io.EOF, err)
		require.Equal(t, "the note of this frame", string(frames[0].Note))
		require.Equal(t, "a canary that must not be seen on the disk", string(frames[0].Data))
	}
}
