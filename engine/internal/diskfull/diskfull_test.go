package diskfull

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// A smallDisk has room for so many bytes.
type smallDisk struct {
	vfs.FS
	mu      sync.Mutex
	room    int
	refusal error // of a write that does not fit; nil: ENOSPC
	silent  bool  // a write that does not fit is short without an error
	tries   atomic.Int64
}

func (d *smallDisk) set(room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = room
}

func (d *smallDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return &smallFile{File: f, d: d}, err
}

type smallFile struct {
	vfs.File
	d *smallDisk
}

func (f *smallFile) Write(p []byte) (int, error) {
	f.d.tries.Add(1)
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	n := min(len(p), f.d.room)
	f.d.room -= n
	if _, err := f.File.Write(bytes.Clone(p[:n])); err != nil {
		return 0, err
	}
	if n < len(p) && !f.d.silent {
		return n, cmp.Or[error](f.d.refusal, syscall.ENOSPC)
	}
	return n, nil
}

func newSmall(t *testing.T, room int, opts Options) (*smallDisk, vfs.File) {
	d := &smallDisk{FS: vfs.NewMem(), room: room}
	f, err := New(d, opts).Create("f", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	return d, f
}

func content(t *testing.T, fs vfs.FS) string {
	f, err := fs.Open("f")
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	return string(b)
}

func TestWriteGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	var d *smallDisk
	told := 0
	d, f := newSmall(t, 5, Options{Wait: time.Minute, OnFull: func(err error) {
		require.ErrorIs(t, err, syscall.ENOSPC)
		told++
		d.set(100)
	}})
	n, err := f.Write([]byte("hello, world"))
	require.NoError(t, err)
	require.Equal(t, 12, n)
	require.Equal(t, "hello, world", content(t, d))
	require.Equal(t, 1, told)
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	const wait = 120 * time.Millisecond
	d, f := newSmall(t, 5, Options{Wait: wait})
	start := time.Now()
	n, err := f.Write([]byte("hello, world"))
	require.ErrorIs(t, err, ErrFull)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, 5, n)
	require.GreaterOrEqual(t, time.Since(start), wait)

	// What comes after does not wait again.
	tries := d.tries.Load()
	_, err = f.Write([]byte("x"))
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, tries+2, d.tries.Load())

	// Once there was space, a full disk is waited for again.
	d.set(2 * block)
	_, err = f.Write(make([]byte, block))
	require.NoError(t, err)
	d.set(0)
	tries, start = d.tries.Load(), time.Now()
	_, err = f.Write([]byte("x"))
	require.ErrorIs(t, err, ErrFull)
	require.GreaterOrEqual(t, time.Since(start), wait)
	require.Greater(t, d.tries.Load(), tries+2)
}

// TestOneWaitForAll lets many writes wait at once: they share a deadline.
func TestOneWaitForAll(t *testing.T) {
	t.Parallel()
	const wait = 200 * time.Millisecond
	d := &smallDisk{FS: vfs.NewMem()}
	fs := New(d, Options{Wait: wait})
	f, err := fs.Create("f", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	start := time.Now()
	for range 5 {
		_, err := f.Write([]byte("x"))
		require.ErrorIs(t, err, ErrFull)
	}
	require.Less(t, time.Since(start), 4*wait)
}

// TestQuota wants a quota that is used up to be waited for like a full disk.
func TestQuota(t *testing.T) {
	t.Parallel()
	var d *smallDisk
	told := 0
	d, f := newSmall(t, 5, Options{Wait: time.Minute, OnFull: func(err error) {
		require.ErrorIs(t, err, syscall.EDQUOT)
		told++
		d.set(100)
	}})
	d.refusal = syscall.EDQUOT
	n, err := f.Write([]byte("hello, world"))
	require.NoError(t, err)
	require.Equal(t, 12, n)
	require.Equal(t, "hello, world", content(t, d))
	require.Equal(t, 1, told)
}

func TestOtherErrorsPass(t *testing.T) {
	t.Parallel()
	fs := New(vfs.NewMem(), Options{Wait: time.Hour})
	err := fs.Rename("none", "other")
	require.Error(t, err)
	require.False(t, errors.Is(err, ErrFull))
}

// TestShortWrite wants an error of a write that stops early and says nothing.
func TestShortWrite(t *testing.T) {
	t.Parallel()
	d, f := newSmall(t, 5, Options{})
	d.silent = true
	n, err := f.Write([]byte("hello, world"))
	require.ErrorIs(t, err, io.ErrShortWrite)
	require.Equal(t, 5, n)
}
