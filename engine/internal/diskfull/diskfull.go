// Package diskfull makes a full disk a wait, with a deadline, instead of a
// failure.
//
// A [FS] lies below the sealing FS. Where an operation fails for want of
// space, it frees the store's ballast file, tells its owner, and tries the
// operation again until it succeeds or the deadline has passed; a write goes
// on from the byte at which it stopped. What comes up after the deadline is
// an error that satisfies errors.Is(err, [ErrFull]), and the hole above takes
// it from there. The first operation to wait starts the deadline for all, so
// that a queue of operations waits once and not one after the other.
package diskfull

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrFull says that the disk stayed full past the deadline.
var ErrFull = errors.New("no space left on the disk")

// NoSpace tells whether an operation failed for want of space: the disk's, or
// what a quota leaves of it.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// retryEvery is how often an operation that waits for space tries again.
const retryEvery = 50 * time.Millisecond

// Options say how long to wait and whom to tell.
type Options struct {
	// Wait is how long operations wait for space; 0 means not at all.
	Wait time.Duration
	// OnFull, if not nil, is called when waiting begins, to free a ballast
	// and to log. It may be called from several goroutines.
	OnFull func(error)
}

// FS waits for space. It is safe for concurrent use as far as the FS below is.
type FS struct {
	vfs.FS
	opts Options

	full atomic.Bool // until is set

	mu    sync.Mutex
	until time.Time // end of the common wait; zero while there is space
}

// A write of a block's length that succeeds says that there is space again; a
// shorter one may have found room in a block that the file had.
const block = 4 << 10

// spaceFound ends the common wait: when the disk is full again, operations
// wait again.
func (fs *FS) spaceFound() {
	if fs.full.Load() {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		fs.until = time.Time{}
		fs.full.Store(false)
	}
}

// New wraps fs.
func New(fs vfs.FS, opts Options) *FS { return &FS{FS: fs, opts: opts} }

// Unwrap gives the wrapped FS, for vfs.Root.
func (fs *FS) Unwrap() vfs.FS { return fs.FS }

// retry runs op until it no longer fails for want of space.
func (fs *FS) retry(op func() error) error {
	err := op()
	if err == nil || !NoSpace(err) {
		return err
	}
	fs.mu.Lock()
	if fs.until.IsZero() {
		fs.until = time.Now().Add(fs.opts.Wait)
		fs.full.Store(true)
	}
	until := fs.until
	fs.mu.Unlock()
	if fs.opts.OnFull != nil {
		fs.opts.OnFull(err)
	}
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		err = op()
		switch {
		case err == nil:
			fs.spaceFound()
			return nil
		case !NoSpace(err):
			return err
		case !time.Now().Before(until):
			// The deadline stays: what comes after does not wait again.
			return fmt.Errorf("%w: waited %v: %w", ErrFull, fs.opts.Wait, err)
		}
		<-tick.C
	}
}

func (fs *FS) file(open func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	err := fs.retry(func() (err error) { f, err = open(); return err })
	if err != nil {
		return nil, err
	}
	return &file{File: f, fs: fs}, nil
}

func (fs *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.file(func() (vfs.File, error) { return fs.FS.Create(name, category) })
}

func (fs *FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.file(func() (vfs.File, error) { return fs.FS.OpenReadWrite(name, category, opts...) })
}

func (fs *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.file(func() (vfs.File, error) { return fs.FS.ReuseForWrite(oldname, newname, category) })
}

func (fs *FS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &file{File: f, fs: fs}, nil
}

func (fs *FS) Link(oldname, newname string) error {
	return fs.retry(func() error { return fs.FS.Link(oldname, newname) })
}

func (fs *FS) Rename(oldname, newname string) error {
	return fs.retry(func() error { return fs.FS.Rename(oldname, newname) })
}

func (fs *FS) MkdirAll(dir string, perm os.FileMode) error {
	return fs.retry(func() error { return fs.FS.MkdirAll(dir, perm) })
}

type file struct {
	vfs.File
	fs *FS
}

func (f *file) Write(p []byte) (n int, err error) {
	err = f.fs.retry(func() error {
		m, err := f.File.Write(p[n:])
		n += m
		return whole(n, len(p), err)
	})
	if err == nil && n >= block {
		f.fs.spaceFound()
	}
	return n, err
}

func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.fs.retry(func() error {
		m, err := f.File.WriteAt(p[n:], off+int64(n))
		n += m
		return whole(n, len(p), err)
	})
	return n, err
}

// whole makes an error of a write that stops early without one. The callers
// above need not look at the count then.
func whole(n, want int, err error) error {
	if err == nil && n < want {
		return io.ErrShortWrite
	}
	return err
}

// A failed sync is not tried again, whatever its error: the kernel may have
// marked the pages clean, and a second sync would then report success for
// bytes that never reached the disk. Delayed allocation aside, space is
// claimed by the write. So Sync and SyncData pass through.
