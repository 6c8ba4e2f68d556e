// Package hole keeps Pebble alive through the failure of the disk below it.
//
// Pebble answers a failed write to its log or MANIFEST by ending the process,
// and some other failures by a panic or by retrying for ever. A [FS] stands
// between: the first mutation that fails *trips* it. From then on, that very
// call included, every mutation reports success and touches nothing: new
// files are sinks, removals and renames do nothing, reads fail. Pebble unwinds
// by itself, its goroutines end, Close returns, and the disk stays in the
// state that a crash at that moment would have left, which recovery knows.
//
// The price is that Pebble's own answers mean nothing any more: whoever calls
// Pebble must look at [FS.Err] after every call and before acknowledging
// anything. A close inside the hole is no clean close.
//
// Rejected: returning the error (dies in "unlock of unlocked mutex" inside
// WAL rotation, which no recover catches), parking the goroutine (callers and
// Close hang), a panic through Fatalf (leaves Pebble's locks held).
package hole

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS absorbs failures of the file system it wraps. It is safe for concurrent
// use as far as that is.
type FS struct {
	vfs.FS
	err  atomic.Pointer[error]
	trip func(error) // called once, from the goroutine that failed
}

// New wraps fs. onTrip, if not nil, is told of the failure, once; it must not
// block.
func New(fs vfs.FS, onTrip func(error)) *FS { return &FS{FS: fs, trip: onTrip} }

// Err is the failure that tripped the FS, or nil.
func (fs *FS) Err() error {
	if p := fs.err.Load(); p != nil {
		return *p
	}
	return nil
}

// Trip opens the hole from outside. Only the first error counts.
func (fs *FS) Trip(err error) {
	if err != nil {
		fs.fall(err)
	}
}

// fall is apart from Trip because its argument is moved to the heap, and Trip is
// called for every write.
func (fs *FS) fall(err error) {
	if fs.err.CompareAndSwap(nil, &err) && fs.trip != nil {
		fs.trip(err)
	}
}

// An Aborter is a file that can be closed without being finished: nothing
// buffered reaches the disk.
type Aborter interface{ Abort() error }

// ErrNoLink is what a wrapped FS returns from Link where it declines and wants
// the caller to copy; it is no fault.
var ErrNoLink = errors.New("a hard link is not possible here, copy instead")

func (fs *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.create(func() (vfs.File, error) { return fs.FS.Create(name, category) }, name)
}

func (fs *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.create(func() (vfs.File, error) { return fs.FS.ReuseForWrite(oldname, newname, category) }, newname)
}

func (fs *FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.create(func() (vfs.File, error) { return fs.FS.OpenReadWrite(name, category, opts...) }, name)
}

func (fs *FS) create(open func() (vfs.File, error), name string) (vfs.File, error) {
	if fs.Err() == nil {
		f, err := open()
		if err == nil {
			return &file{File: f, fs: fs, made: fs.PathBase(name)}, nil
		}
		fs.Trip(err)
	}
	return &sink{fs: fs, name: fs.PathBase(name)}, nil
}

func (fs *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := fs.Err(); err != nil {
		return nil, err
	}
	f, err := fs.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return &file{File: f, fs: fs}, nil
}

func (fs *FS) OpenDir(name string) (vfs.File, error) {
	if fs.Err() != nil {
		return &sink{fs: fs, name: fs.PathBase(name)}, nil
	}
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &file{File: f, fs: fs}, nil
}

// mutate runs op unless the FS has tripped, and trips it if op fails.
func (fs *FS) mutate(op func() error) error {
	if fs.Err() == nil {
		fs.Trip(op())
	}
	return nil
}

func (fs *FS) Link(oldname, newname string) error {
	if fs.Err() != nil {
		return nil
	}
	err := fs.FS.Link(oldname, newname)
	if errors.Is(err, ErrNoLink) {
		return err
	}
	fs.Trip(err)
	return nil
}

func (fs *FS) Remove(name string) error {
	if fs.Err() != nil {
		return nil
	}
	err := fs.FS.Remove(name)
	if errors.Is(err, os.ErrNotExist) {
		return err // Pebble expects it where it cleans up
	}
	fs.Trip(err)
	return nil
}

func (fs *FS) RemoveAll(name string) error {
	return fs.mutate(func() error { return fs.FS.RemoveAll(name) })
}

func (fs *FS) Rename(oldname, newname string) error {
	return fs.mutate(func() error { return fs.FS.Rename(oldname, newname) })
}

func (fs *FS) MkdirAll(dir string, perm os.FileMode) error {
	return fs.mutate(func() error { return fs.FS.MkdirAll(dir, perm) })
}

// List finds nothing once the FS has tripped, and its own failure trips it.
// Pebble lists the directory at the end of Open, when compactions may run; an
// Open that fails there would leave them running, on files and caches that are
// closed, and they would end the process.
func (fs *FS) List(dir string) ([]string, error) {
	if fs.Err() == nil {
		names, err := fs.FS.List(dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return names, err
		}
		fs.Trip(err)
	}
	return nil, nil
}

func (fs *FS) Stat(name string) (vfs.FileInfo, error) {
	if err := fs.Err(); err != nil {
		return nil, err
	}
	return fs.FS.Stat(name)
}

// Unwrap gives the wrapped FS, for vfs.Root.
func (fs *FS) Unwrap() vfs.FS { return fs.FS }

type file struct {
	vfs.File
	fs   *FS
	made string // its name, where it is open for writing
}

func (f *file) Write(p []byte) (int, error) {
	if f.fs.Err() == nil {
		_, err := f.File.Write(p)
		f.fs.Trip(err)
	}
	return len(p), nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if f.fs.Err() == nil {
		_, err := f.File.WriteAt(p, off)
		f.fs.Trip(err)
	}
	return len(p), nil
}

func (f *file) Sync() error     { return f.fs.mutate(f.File.Sync) }
func (f *file) SyncData() error { return f.fs.mutate(f.File.SyncData) }

func (f *file) SyncTo(length int64) (full bool, err error) {
	if f.fs.Err() != nil {
		return true, nil
	}
	full, err = f.File.SyncTo(length)
	f.fs.Trip(err)
	return full, nil
}

// Preallocate is a hint. Where the disk is full the write that follows says so.
func (f *file) Preallocate(offset, length int64) error {
	if f.fs.Err() == nil {
		_ = f.File.Preallocate(offset, length)
	}
	return nil
}

func (f *file) Read(p []byte) (int, error) {
	if err := f.fs.Err(); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.Err(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

// Stat does not fail for a file that is open for writing: of a log whose file it
// has used again Pebble must know the size, or it ends the process.
func (f *file) Stat() (vfs.FileInfo, error) {
	fi, err := f.File.Stat()
	if err == nil || f.made == "" {
		return fi, err
	}
	f.fs.Trip(err)
	return sinkInfo{&sink{fs: f.fs, name: f.made}}, nil
}

func (f *file) Close() error {
	if f.fs.Err() != nil {
		if a, ok := f.File.(Aborter); ok {
			_ = a.Abort()
		} else {
			_ = f.File.Close()
		}
		return nil
	}
	f.fs.Trip(f.File.Close())
	return nil
}

// A sink swallows what is written to a file that was never made.
type sink struct {
	fs   *FS
	name string
	size atomic.Int64
}

var _ vfs.File = (*sink)(nil)

func (s *sink) Write(p []byte) (int, error)            { s.size.Add(int64(len(p))); return len(p), nil }
func (s *sink) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (s *sink) Read([]byte) (int, error)               { return 0, s.fs.Err() }
func (s *sink) ReadAt([]byte, int64) (int, error)      { return 0, s.fs.Err() }
func (s *sink) Close() error                           { return nil }
func (s *sink) Sync() error                            { return nil }
func (s *sink) SyncData() error                        { return nil }
func (s *sink) SyncTo(int64) (bool, error)             { return true, nil }
func (s *sink) Preallocate(int64, int64) error         { return nil }
func (s *sink) Prefetch(int64, int64) error            { return nil }
func (s *sink) Fd() uintptr                            { return 0 }

func (s *sink) Stat() (vfs.FileInfo, error) { return sinkInfo{s}, nil }

type sinkInfo struct{ s *sink }

func (i sinkInfo) Name() string           { return i.s.name }
func (i sinkInfo) Size() int64            { return i.s.size.Load() }
func (i sinkInfo) Mode() os.FileMode      { return 0 }
func (i sinkInfo) IsDir() bool            { return false }
func (i sinkInfo) ModTime() time.Time     { return time.Time{} }
func (i sinkInfo) Sys() any               { return nil }
func (i sinkInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
