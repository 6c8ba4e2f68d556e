package sstable

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

func TestNewWriterRefuses(t *testing.T) {
	t.Parallel()
	f, id, key := newMemFile(nil), testIdentity(), testKey()
	for _, unit := range []uint32{1, 63, 1<<20 + 1} {
		_, err := NewWriter(f, id, key, Options{UnitSize: unit})
		require.ErrorContains(t, err, "unit size")
	}
	for _, kind := range []keyring.FileKind{0, keyring.KindWAL, keyring.KindManifest, keyring.KindJournal, 99} {
		other := id
		other.Kind = kind
		_, err := NewWriter(f, other, key, Options{})
		require.ErrorContains(t, err, "written once")
	}
	key.Key.Wipe()
	for _, k := range []*keyring.DataKey{nil, {}, key} {
		_, err := NewWriter(f, id, k, Options{})
		require.ErrorContains(t, err, "wiped")
	}
	require.Empty(t, f.ops)
}

// TestWriterOrder shows what the file below sees: nothing before the first
// flush, large pieces, the final segment before the sync.
func TestWriterOrder(t *testing.T) {
	t.Parallel()
	f := newMemFile(nil)
	w, err := NewWriter(f, testIdentity(), testKey(), Options{})
	require.NoError(t, err)
	full := DefaultUnitSize - floe.SegmentOverhead

	_, err = w.Write(make([]byte, full))
	require.NoError(t, err)
	require.Empty(t, f.ops)
	require.Zero(t, w.PhysicalSize())

	// A full segment may be the last: it stays.
	require.NoError(t, w.Flush())
	require.Len(t, f.b, keyring.HeaderLen)
	_, err = w.Write(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	require.NoError(t, w.Flush())
	require.Len(t, f.b, keyring.HeaderLen+DefaultUnitSize)
	require.Equal(t, []string{"write", "write"}, f.ops)

	f.ops = nil
	for range 1000 {
		_, err = w.Write(make([]byte, 4096))
		require.NoError(t, err)
	}
	require.Len(t, f.ops, 4096*1000/(runLen/DefaultUnitSize*full))

	f.ops = nil
	require.NoError(t, w.Sync())
	require.Equal(t, []string{"write", "sync"}, f.ops)
	require.EqualValues(t, len(f.b), w.PhysicalSize())
	require.Equal(t, PhysicalSize(w.Size(), DefaultUnitSize), w.PhysicalSize())

	require.NoError(t, w.Sync())
	require.NoError(t, w.Flush())
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	require.Equal(t, []string{"write", "sync", "sync", "close"}, f.ops)
}

func TestWriterFinished(t *testing.T) {
	t.Parallel()
	f := newMemFile(nil)
	w, err := NewWriter(f, testIdentity(), testKey(), Options{})
	require.NoError(t, err)
	require.NoError(t, w.Sync())
	whole := len(f.b)
	for _, p := range [][]byte{nil, {1}} {
		_, err = w.Write(p)
		require.Equal(t, ErrFinished, err)
	}
	require.NoError(t, w.Sync(), "a late write must not poison the file")
	require.NoError(t, w.Close())
	_, err = w.Write([]byte{1})
	require.Equal(t, ErrFinished, err)
	require.Equal(t, ErrFinished, w.Sync())
	require.NoError(t, w.Flush())
	require.Len(t, f.b, whole)
	require.Zero(t, w.Size())
}

// TestWriterFaults fails every operation of the file below in turn. The error
// is what each call returns from then on, the file below is closed, and
// nothing reaches it after the failure.
func TestWriterFaults(t *testing.T) {
	t.Parallel()
	for _, short := range []bool{false, true} {
		for failAt := 0; ; failAt++ {
			want := errInjected
			f := newMemFile(nil)
			f.failAt, f.short = failAt, short
			w, err := NewWriter(f, testIdentity(), testKey(), Options{UnitSize: 64})
			require.NoError(t, err)
			var first error
			note := func(err error) {
				if first == nil {
					first = err
				}
				require.Equal(t, first, err, "the first error is final")
			}
			for i := range 40 {
				_, err := w.Write(make([]byte, 5000))
				note(err)
				if i%10 == 0 {
					note(w.Flush())
				}
			}
			note(w.Sync())
			note(w.Sync())
			if first != nil {
				require.Len(t, f.ops, failAt+1, "the file was used after a failure")
			}
			err = w.Close()
			require.Equal(t, "close", f.ops[len(f.ops)-1])
			if len(f.ops) <= failAt {
				require.NoError(t, err)
				break
			}
			if f.ops[failAt] == "write" && short {
				want = io.ErrShortWrite
			}
			require.ErrorIs(t, err, want)
			require.Equal(t, err, w.Close(), "Close is idempotent")
			require.EqualValues(t, len(f.b), w.PhysicalSize())
		}
	}
}

// TestWriterCloseJoins fails a write and the close after it.
func TestWriterCloseJoins(t *testing.T) {
	t.Parallel()
	f := newMemFile(nil)
	f.failAt = 0
	w, err := NewWriter(f, testIdentity(), testKey(), Options{})
	require.NoError(t, err)
	require.ErrorIs(t, w.Flush(), errInjected)
	f.failAt = 1
	require.EqualError(t, w.Close(), "injected\ninjected")
}

// TestUnfinished cuts a file at every length that a crash could leave.
// No prefix of it reads as a whole file.
func TestUnfinished(t *testing.T) {
	t.Parallel()
	whole := seal(t, randomBytes(200), Options{UnitSize: 64})
	for n := range len(whole.b) {
		s := whole.clone()
		s.b = s.b[:n]
		requireFault(t, s, fmt.Sprintf("cut to %d", n))
		if r, _, err := s.open(); err == nil {
			requireCorrupt(t, r.readPast(), corrupt.ErrAuth)
		}
	}
}

// TestBufferWipe fills a buffer's plaintext to different lengths and finds
// none of it after wipe.
func TestBufferWipe(t *testing.T) {
	t.Parallel()
	s := seal(t, bytes.Repeat([]byte{0xEE}, 100), Options{UnitSize: 64})
	r, _ := s.mustOpen(t)
	b := &buffer{plain: make([]byte, 0, 32)}
	for _, i := range []int64{0, 3, 2, 3} { // segment 3 is the short one
		require.NoError(t, r.openEdge(b, s.segment(int(i)), i))
	}
	require.Contains(t, string(b.plain), "\xEE")
	b.wipe()
	require.Equal(t, make([]byte, 32), b.plain[:32])
}

// TestWriterForgets: a finished Writer has no keys left to seal with.
func TestWriterForgets(t *testing.T) {
	t.Parallel()
	for _, finish := range []func(*Writer) error{(*Writer).Sync, (*Writer).Close} {
		w, err := NewWriter(newMemFile(nil), testIdentity(), testKey(), Options{})
		require.NoError(t, err)
		_, err = w.Write(make([]byte, 5000))
		require.NoError(t, err)
		require.NoError(t, finish(w))
		require.Nil(t, w.buf)
		_, err = w.msg.SealSegment(nil, nil, 0, true, new([floe.AADLen]byte))
		require.Equal(t, floe.ErrWiped, err)
	}
}

// TestWriterAbort leaves a file as it is, and nothing of it in memory. It does
// not run beside other tests, which would take the buffer from the pool.
func TestWriterAbort(t *testing.T) {
	f := newMemFile(nil)
	w, err := NewWriter(f, testIdentity(), testKey(), Options{UnitSize: 64})
	require.NoError(t, err)
	_, err = w.Write(bytes.Repeat([]byte("secret"), 20))
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	written, plain := len(f.b), w.buf.plain
	require.Contains(t, string(plain), "secret")
	for range 2 {
		require.NoError(t, w.Abort())
	}
	require.NoError(t, w.Close())
	require.Equal(t, []string{"write", "close"}, f.ops)
	require.Len(t, f.b, written)
	require.Equal(t, make([]byte, len(plain)), plain)
	require.Nil(t, w.buf)
	_, err = w.msg.SealSegment(nil, nil, 0, true, new([floe.AADLen]byte))
	require.ErrorIs(t, err, floe.ErrWiped)
	_, err = w.Write([]byte("x"))
	require.Equal(t, ErrFinished, err)
	require.Equal(t, ErrFinished, w.Sync())
	require.NoError(t, w.Flush())

	f = newMemFile(nil)
	f.failAt = 0
	w, err = NewWriter(f, testIdentity(), testKey(), Options{})
	require.NoError(t, err)
	require.ErrorIs(t, w.Abort(), errInjected)
	require.ErrorIs(t, w.Close(), errInjected)
	require.Equal(t, []string{"close"}, f.ops)
}
