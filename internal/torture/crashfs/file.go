package crashfs

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A file is a handle. Writes and reads share its position.
type file struct {
	fs       *FS
	ino      *inode
	path     string
	writable bool
	pos      atomic.Int64
	closed   atomic.Bool
}

var _ vfs.File = (*file)(nil)

// handle opens an inode. The caller holds mu.
func (fs *FS) handle(ino *inode, name string, writable bool) *file {
	ino.opens++
	return &file{fs: fs, ino: ino, path: name, writable: writable}
}

func (f *file) Close() error {
	if f.closed.Swap(true) {
		return &os.PathError{Op: "close", Path: f.path, Err: os.ErrClosed}
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.ino.opens--
	f.fs.release(f.ino)
	return nil
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.readAt(p, f.pos.Load())
	f.pos.Add(int64(n))
	return n, err
}

// ReadAt reads all of p, or up to the end of the file.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.readAt(p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (f *file) readAt(p []byte, off int64) (int, error) {
	op := Op{Kind: OpRead, Path: f.path}
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	switch {
	case f.closed.Load():
		return 0, op.fail(os.ErrClosed)
	case f.ino.isDir():
		return 0, op.fail(syscall.EISDIR)
	case off < 0:
		return 0, op.fail(syscall.EINVAL)
	}
	if err := f.fs.read(op); err != nil {
		return 0, err
	}
	n := f.ino.readAt(p, off)
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.writeAt(p, f.pos.Load())
	f.pos.Add(int64(n))
	return n, err
}

func (f *file) WriteAt(p []byte, off int64) (int, error) { return f.writeAt(p, off) }

func (f *file) writeAt(p []byte, off int64) (n int, err error) {
	err = f.fs.mutate(Op{Kind: OpWrite, Path: f.path, Off: off, Len: int64(len(p))}, func(t *turn) error {
		if err := f.check(); err != nil {
			return err
		}
		if off < 0 {
			return syscall.EINVAL
		}
		if len(p) == 0 {
			return nil
		}
		err := t.begin()
		if errors.Is(err, io.ErrShortWrite) {
			p = p[:len(p)/2]
		} else if err != nil {
			return err
		}
		if fit := f.fs.fit(f.ino, off); fit < int64(len(p)) {
			p, err = p[:fit], syscall.ENOSPC
		}
		f.change(func() { f.ino.write(p, off, t.n) })
		f.ino.mtime = f.fs.now()
		n = len(p)
		return err
	})
	return n, err
}

// check tells whether the handle can change its file.
func (f *file) check() error {
	switch {
	case f.closed.Load():
		return os.ErrClosed
	case f.ino.isDir():
		return syscall.EISDIR
	case !f.writable:
		return syscall.EBADF
	}
	return nil
}

// change runs a change of the content and counts the space it takes.
func (f *file) change(do func()) {
	f.ino.thaw()
	before := f.ino.space()
	do()
	f.fs.used += f.ino.space() - before
}

// Preallocate takes space for part of a file. The size stays.
func (f *file) Preallocate(offset, length int64) error {
	return f.fs.mutate(Op{Kind: OpPreallocate, Path: f.path, Off: offset, Len: length}, func(t *turn) error {
		if err := f.check(); err != nil {
			return err
		}
		if offset < 0 || length <= 0 {
			return syscall.EINVAL
		}
		if err := t.begin(); err != nil {
			return err
		}
		if f.fs.fit(f.ino, offset) < length {
			return syscall.ENOSPC
		}
		f.change(func() { f.ino.reserve(offset+length, t.n) })
		return nil
	})
}

// Sync makes the content durable, or the names of a directory.
func (f *file) Sync() error { return f.sync(OpSync) }

// SyncData is Sync: the length belongs to what is needed to read the data.
func (f *file) SyncData() error { return f.sync(OpSyncData) }

func (f *file) sync(kind Kind) error {
	if f.ino.isDir() {
		kind = OpSyncDir
	}
	return f.fs.mutate(Op{Kind: kind, Path: f.path}, func(t *turn) error {
		if f.closed.Load() {
			return os.ErrClosed
		}
		err := t.begin()
		switch {
		case t.fault == FailedSyncPagesClean:
			f.ino.thaw()
			f.ino.lose()
		case err != nil:
		case f.ino.isDir():
			f.ino.syncDir()
		default:
			f.ino.thaw()
			f.ino.content.sync()
		}
		return err
	})
}

// SyncTo promises nothing, and does nothing.
func (f *file) SyncTo(length int64) (fullSync bool, err error) {
	if f.ino.isDir() {
		return false, nil
	}
	return false, f.fs.mutate(Op{Kind: OpSyncTo, Path: f.path, Len: length}, func(t *turn) error {
		if f.closed.Load() {
			return os.ErrClosed
		}
		return t.begin()
	})
}

func (f *file) Stat() (vfs.FileInfo, error) {
	op := Op{Kind: OpStat, Path: f.path}
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	if f.closed.Load() {
		return nil, op.fail(os.ErrClosed)
	}
	if err := f.fs.read(op); err != nil {
		return nil, err
	}
	return f.ino.info(f.path), nil
}

func (f *file) Prefetch(int64, int64) error { return nil }

func (f *file) Fd() uintptr { return vfs.InvalidFd }
