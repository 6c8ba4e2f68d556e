package crashfs

import (
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Create makes a file of length 0. A file of that name is removed first, by
// an operation of its own.
func (fs *FS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	for {
		f, err := fs.create(name)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
		if err := fs.unlink(name, true); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
}

// create makes a file whose name is not there yet.
func (fs *FS) create(name string) (vfs.File, error) {
	var f *file
	err := fs.mutate(Op{Kind: OpCreate, Path: name}, func(t *turn) error {
		d, base, err := fs.parent(name)
		if err != nil {
			return err
		}
		if base == "" || d.child(base) != nil {
			return os.ErrExist
		}
		if err := t.begin(); err != nil {
			return err
		}
		if fs.avail() < inodeLen {
			return syscall.ENOSPC
		}
		ino := fs.inode(0o644)
		t.bind(d, base, ino, nil)
		f = fs.handle(ino, name, true)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Open opens a file or directory for reading.
func (fs *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.open(name, false, opts)
}

// OpenDir opens a directory for its Sync.
func (fs *FS) OpenDir(name string) (vfs.File, error) { return fs.open(name, false, nil) }

// OpenReadWrite opens a file, or makes it.
func (fs *FS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	for {
		f, err := fs.open(name, true, opts)
		if !errors.Is(err, os.ErrNotExist) {
			return f, err
		}
		f, err = fs.create(name)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
	}
}

func (fs *FS) open(name string, writable bool, opts []vfs.OpenOption) (vfs.File, error) {
	f, err := func() (*file, error) {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		op := Op{Kind: OpOpen, Path: name}
		ino, err := fs.lookup(name)
		if err != nil {
			return nil, op.fail(err)
		}
		if writable && ino.isDir() {
			return nil, op.fail(syscall.EISDIR)
		}
		if err := fs.read(op); err != nil {
			return nil, err
		}
		return fs.handle(ino, name, writable), nil
	}()
	if err != nil {
		return nil, err
	}
	for _, o := range opts {
		o.Apply(f)
	}
	return f, nil
}

// Link gives a file a further name.
func (fs *FS) Link(oldname, newname string) error {
	return fs.mutate(Op{Kind: OpLink, Path: oldname, To: newname}, func(t *turn) error {
		ino, err := fs.lookup(oldname)
		if err != nil {
			return err
		}
		if ino.isDir() {
			return syscall.EPERM
		}
		d, base, err := fs.parent(newname)
		if err != nil {
			return err
		}
		if base == "" || d.child(base) != nil {
			return os.ErrExist
		}
		if err := t.begin(); err != nil {
			return err
		}
		t.bind(d, base, ino, nil)
		return nil
	})
}

// Rename gives a file or directory another name. What had that name loses it.
func (fs *FS) Rename(oldname, newname string) error {
	return fs.mutate(Op{Kind: OpRename, Path: oldname, To: newname}, func(t *turn) error { return t.rename(oldname, newname) })
}

func (t *turn) rename(oldname, newname string) error {
	from, old, err := t.fs.parent(oldname)
	if err != nil {
		return err
	}
	if old == "" {
		return syscall.EBUSY
	}
	ino := from.child(old)
	if ino == nil {
		return os.ErrNotExist
	}
	to, base, err := t.fs.parent(newname)
	if err != nil {
		return err
	}
	if base == "" {
		return syscall.EBUSY
	}
	there := to.child(base)
	switch {
	case there == ino:
		return nil // two names of one file stay two
	case ino.isDir() && within(newname, oldname):
		return syscall.EINVAL
	case there == nil:
	case ino.isDir() && !there.isDir():
		return syscall.ENOTDIR
	case !ino.isDir() && there.isDir():
		return syscall.EISDIR
	case there.isDir() && !there.empty():
		return syscall.ENOTEMPTY
	}
	if err := t.begin(); err != nil {
		return err
	}
	// The new name must be durable, and all above it, before the old may go.
	var come, gone []need
	if !t.fs.opts.TornRenames {
		gone = to.path([]need{{to, base, t.n}})
	}
	if ino.isDir() {
		come = []need{{from, old, t.n}} // no directory has two names
	}
	if there != nil && there.isDir() {
		come = append(come, there.left()...)
	}
	t.bind(to, base, ino, come)
	t.bind(from, old, nil, gone)
	return nil
}

// within tells whether a path is below another.
func within(name, dir string) bool {
	return strings.HasPrefix(path.Clean("/"+name), path.Clean("/"+dir)+"/")
}

// ReuseForWrite renames a file and opens it as it is.
func (fs *FS) ReuseForWrite(oldname, newname string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	var f *file
	err := fs.mutate(Op{Kind: OpRename, Path: oldname, To: newname}, func(t *turn) error {
		ino, err := fs.lookup(oldname)
		if err != nil {
			return err
		}
		if ino.isDir() {
			return syscall.EISDIR
		}
		if err := t.rename(oldname, newname); err != nil {
			return err
		}
		f = fs.handle(ino, newname, true)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Remove removes a file, or a directory that is empty.
func (fs *FS) Remove(name string) error { return fs.unlink(name, false) }

func (fs *FS) unlink(name string, fileOnly bool) error {
	return fs.mutate(Op{Kind: OpRemove, Path: name}, func(t *turn) error {
		d, base, err := fs.parent(name)
		if err != nil {
			return err
		}
		if base == "" {
			return syscall.EBUSY
		}
		ino := d.child(base)
		switch {
		case ino == nil:
			return os.ErrNotExist
		case fileOnly && ino.isDir():
			return syscall.EISDIR
		case ino.isDir() && !ino.empty():
			return syscall.ENOTEMPTY
		}
		if err := t.begin(); err != nil {
			return err
		}
		var needs []need
		if ino.isDir() {
			needs = ino.left()
		}
		t.bind(d, base, nil, needs)
		return nil
	})
}

// RemoveAll removes what it can and returns the first error. Each name is an
// operation.
func (fs *FS) RemoveAll(name string) error {
	err := fs.unlink(name, false)
	switch {
	case err == nil || errors.Is(err, os.ErrNotExist):
		return nil
	case !errors.Is(err, syscall.ENOTEMPTY):
		return err
	}
	list, err := fs.List(name)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	var first error
	for _, child := range list {
		if err := fs.RemoveAll(path.Join(name, child)); err != nil && first == nil {
			first = err
		}
	}
	if err := fs.unlink(name, false); err != nil && !errors.Is(err, os.ErrNotExist) && first == nil {
		first = err
	}
	return first
}

// MkdirAll makes a directory and those above it that are not there. Each is an
// operation.
func (fs *FS) MkdirAll(name string, perm os.FileMode) error {
	name = path.Clean("/" + name)
	for i := 1; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' || i == 1 && len(name) == 1 {
			continue
		}
		if err := fs.mkdir(name[:i], perm); err != nil {
			return err
		}
	}
	return nil
}

func (fs *FS) mkdir(name string, perm os.FileMode) error {
	return fs.mutate(Op{Kind: OpMkdir, Path: name}, func(t *turn) error {
		d, base, err := fs.parent(name)
		if err != nil {
			return err
		}
		if ino := d.child(base); ino != nil {
			if !ino.isDir() {
				return syscall.ENOTDIR
			}
			return nil
		}
		if err := t.begin(); err != nil {
			return err
		}
		if fs.avail() < inodeLen {
			return syscall.ENOSPC
		}
		t.bind(d, base, fs.inode(os.ModeDir|perm.Perm()), nil)
		return nil
	})
}

// Lock locks a name within the process, and makes its file if there is none.
func (fs *FS) Lock(name string) (io.Closer, error) {
	l := &lock{fs: fs, name: path.Clean("/" + name)}
	if !fs.lock(l.name) {
		return nil, &os.PathError{Op: "lock", Path: name, Err: syscall.EAGAIN}
	}
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		fs.unlock(l.name)
		return nil, err
	}
	l.file = f
	return l, nil
}

func (fs *FS) lock(name string) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.locked[name] {
		return false
	}
	fs.locked[name] = true
	return true
}

func (fs *FS) unlock(name string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.locked, name)
}

type lock struct {
	fs   *FS
	name string
	file vfs.File
}

func (l *lock) Close() error {
	err := l.file.Close()
	if err == nil {
		l.fs.unlock(l.name)
	}
	return err
}

// List returns the names in a directory, sorted.
func (fs *FS) List(name string) ([]string, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	op := Op{Kind: OpList, Path: name}
	ino, err := fs.lookup(name)
	if err != nil {
		return nil, op.fail(err)
	}
	if !ino.isDir() {
		return nil, op.fail(syscall.ENOTDIR)
	}
	if err := fs.read(op); err != nil {
		return nil, err
	}
	return ino.names(), nil
}

// Stat describes a file or directory.
func (fs *FS) Stat(name string) (vfs.FileInfo, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	op := Op{Kind: OpStat, Path: name}
	ino, err := fs.lookup(name)
	if err != nil {
		return nil, op.fail(err)
	}
	if err := fs.read(op); err != nil {
		return nil, err
	}
	return ino.info(name), nil
}
