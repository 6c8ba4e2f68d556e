package crashfs

import (
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options configure a FS. The zero value of each field is its default.
type Options struct {
	// Capacity is the size of the disk, in bytes; 0 is 1 TiB.
	Capacity int64
	// TornRenames has a crash keep either half of a rename without the other,
	// so that a file may be under neither name. No journaling file system does
	// so. By default the old name goes only where the new one has come.
	TornRenames bool
}

// FS is a file system in memory that crashes. It is safe for concurrent use.
type FS struct {
	opts Options

	// turns is held for a whole mutation, with its hook.
	turns sync.Mutex

	// mu guards all below, and all inodes. It comes after turns.
	mu       sync.RWMutex
	root     *inode
	ops      int // mutations
	capacity int64
	used     int64
	freed    []grave
	locked   map[string]bool
	onOp     func(n int, op Op)
	inject   func(n int, op Op) Fault
	failures []failure
	capture  map[int]bool
	captured []*Moment

	armed  atomic.Bool  // failures and inject may be set
	reads  atomic.Int64 // operations that change nothing
	faults atomic.Int64 // operations that were made to fail
	slow   atomic.Int64 // how long a mutation waits first, in nanoseconds
}

var _ vfs.FS = (*FS)(nil)

// New makes a FS that is empty.
func New(opts Options) *FS {
	if opts.Capacity == 0 {
		opts.Capacity = 1 << 40
	}
	fs := &FS{opts: opts, capacity: opts.Capacity, locked: make(map[string]bool)}
	fs.root = fs.inode(os.ModeDir | 0o755)
	fs.root.links = 1
	return fs
}

// Ops is the number of mutations so far, those that failed included.
func (fs *FS) Ops() int {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	return fs.ops
}

// Reads is the number of operations so far that change nothing.
func (fs *FS) Reads() int { return int(fs.reads.Load()) }

// OnOp has f called after each mutation: n is its number, from 1. No other
// mutation runs meanwhile, so f must not make one itself, nor wait for one; all
// else, Moment and FailOp too, it may call. nil ends it.
func (fs *FS) OnOp(f func(n int, op Op)) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.onOp = f
}

// A turn is a mutation under way. Until begin is called it may turn out to be
// none: what cannot be done and has no effect is not counted.
type turn struct {
	fs    *FS
	op    Op
	n     int // 0 before begin
	fault Fault
}

// mutate runs a mutation: f checks, begins, and then changes what it must.
func (fs *FS) mutate(op Op, f func(t *turn) error) error {
	if d := fs.slow.Load(); d > 0 {
		time.Sleep(time.Duration(d))
	}
	fs.turns.Lock()
	defer fs.turns.Unlock()
	t := turn{fs: fs, op: op}
	hook := t.run(f)
	if hook != nil {
		hook(t.n, t.op)
	}
	return t.op.Err
}

func (t *turn) run(f func(t *turn) error) (hook func(n int, op Op)) {
	fs := t.fs
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := f(t); err != nil {
		t.op.Err = t.op.fail(err)
	}
	if t.n == 0 {
		return nil
	}
	if fs.capture[t.n] {
		fs.captured = append(fs.captured, fs.moment())
	}
	return fs.onOp
}

// begin counts the mutation and returns the error of a fault that hits it.
func (t *turn) begin() error {
	t.fs.ops++
	t.n = t.fs.ops
	t.fault = t.fs.fault(t.n, t.op)
	return t.fault.err()
}

// read counts an operation that changes nothing. The caller holds mu for
// reading.
func (fs *FS) read(op Op) error {
	if err := fs.fault(int(fs.reads.Add(1)), op).err(); err != nil {
		return op.fail(err)
	}
	return nil
}

// fail wraps the error of an operation as package os does.
func (op Op) fail(err error) error {
	switch op.Kind {
	case OpLink, OpRename:
		return &os.LinkError{Op: op.Kind.String(), Old: op.Path, New: op.To, Err: err}
	}
	return &os.PathError{Op: op.Kind.String(), Path: op.Path, Err: err}
}

func (fs *FS) inode(mode fs.FileMode) *inode {
	ino := &inode{mode: mode, mtime: fs.now()}
	fs.used += ino.space()
	return ino
}

// now is a clock that only mutations advance.
func (fs *FS) now() time.Time {
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(fs.ops) * time.Millisecond)
}

// parent finds the directory that holds a path, and the name in it.
func (fs *FS) parent(name string) (*inode, string, error) {
	name = path.Clean("/" + name)
	d := fs.root
	for {
		part, rest, more := strings.Cut(name[1:], "/")
		if !more {
			return d, part, nil
		}
		switch d = d.child(part); {
		case d == nil:
			return nil, "", os.ErrNotExist
		case !d.isDir():
			return nil, "", syscall.ENOTDIR
		}
		name = "/" + rest
	}
}

func (fs *FS) lookup(name string) (*inode, error) {
	d, base, err := fs.parent(name)
	if err != nil {
		return nil, err
	}
	if base == "" {
		return fs.root, nil
	}
	if ino := d.child(base); ino != nil {
		return ino, nil
	}
	return nil, os.ErrNotExist
}

// bind makes a name mean ino, or nothing if that is nil.
func (t *turn) bind(d *inode, name string, ino *inode, needs []need) {
	old := d.child(name)
	d.bind(name, ino, t.n, needs)
	d.mtime = t.fs.now()
	if ino != nil {
		ino.links++
		if ino.isDir() {
			ino.parent, ino.name = d, name
		}
	}
	if old != nil {
		old.links--
		if old.isDir() && old.parent == d && old.name == name {
			old.parent = nil
		}
		t.fs.release(old)
	}
}

// String lists all there is: names, lengths and checksums.
func (fs *FS) String() string {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	var b strings.Builder
	fs.list(&b, fs.root, "/")
	return b.String()
}

func (fs *FS) list(b *strings.Builder, ino *inode, name string) {
	if !ino.isDir() {
		p := make([]byte, ino.size)
		ino.readAt(p, 0)
		fmt.Fprintf(b, "%s %d %08x\n", name, ino.size, crc32.ChecksumIEEE(p))
		return
	}
	for _, child := range ino.names() {
		at := path.Join(name, child)
		c := ino.child(child)
		if c.isDir() {
			fmt.Fprintf(b, "%s/\n", at)
		}
		fs.list(b, c, at)
	}
}

// Unwrap returns nil: nothing is below.
func (fs *FS) Unwrap() vfs.FS { return nil }

// PathBase is path.Base: names have slashes on every operating system.
func (fs *FS) PathBase(name string) string { return path.Base(name) }

// PathJoin is path.Join.
func (fs *FS) PathJoin(elem ...string) string { return path.Join(elem...) }

// PathDir is path.Dir.
func (fs *FS) PathDir(name string) string { return path.Dir(name) }
