package engine

import (
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// A fault is a way in which a change to the disk fails.
type fault struct {
	name  string
	err   error
	short bool   // half of a write is written
	ops   string // those that it hits; "" is all changes
}

var (
	faultEIO    = fault{name: "EIO", err: syscall.EIO}
	faultENOSPC = fault{name: "ENOSPC", err: syscall.ENOSPC, short: true, ops: "create write mkdir link rename"}
	faultEROFS  = fault{name: "EROFS", err: syscall.EROFS}
	faultShort  = fault{name: "short write", err: io.ErrShortWrite, short: true, ops: "write"}
	faultSilent = fault{name: "silent short write", short: true, ops: "write"}
	faultRead   = fault{name: "EIO on read", err: syscall.EIO, ops: "read"}
	faultSync   = fault{name: "failed sync", err: syscall.EIO, ops: "sync"}

	allFaults = []fault{faultEIO, faultENOSPC, faultEROFS, faultShort, faultSilent, faultSync}
)

// A faultFS fails changes to the FS below.
type faultFS struct {
	vfs.FS

	mu    sync.Mutex // guards all below
	fault fault
	at    int  // which change fails, from 1; 0: none
	on    bool // and all after it
	below string
	seen  int
	hits  int
}

func (q *faultFS) Unwrap() vfs.FS { return q.FS }

// arm makes the n-th change from now on fail, of files whose path begins with
// below, and with always all later ones too.
func (q *faultFS) arm(f fault, n int, always bool, below string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fault, q.at, q.on, q.below, q.seen, q.hits = f, n, always, below, 0, 0
}

// heal ends all faults and tells how many changes it saw, and how many failed.
func (q *faultFS) heal() (seen, hits int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.at = 0
	return q.seen, q.hits
}

// strike tells whether this change fails.
func (q *faultFS) strike(op, path string) (fault, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !strings.HasPrefix(path, q.below) || q.fault.ops == "" && op == "read" || q.fault.ops != "" && !strings.Contains(q.fault.ops, op) {
		return fault{}, false
	}
	q.seen++
	if q.at == 0 || q.seen < q.at || q.seen > q.at && !q.on {
		return fault{}, false
	}
	q.hits++
	return q.fault, true
}

func (q *faultFS) change(op, path string, do func() error) error {
	if f, hit := q.strike(op, path); hit {
		return &fs.PathError{Op: op, Path: path, Err: f.err}
	}
	return do()
}

func (q *faultFS) open(op, path string, do func() (vfs.File, error)) (f vfs.File, err error) {
	if op == "" {
		f, err = do()
	} else {
		err = q.change(op, path, func() error { f, err = do(); return err })
	}
	if err != nil {
		return nil, err
	}
	return &faultFile{File: f, q: q, path: path}, nil
}

func (q *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return q.open("create", name, func() (vfs.File, error) { return q.FS.Create(name, c) })
}

func (q *faultFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return q.open("open", name, func() (vfs.File, error) { return q.FS.OpenReadWrite(name, c, opts...) })
}

func (q *faultFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return q.open("", name, func() (vfs.File, error) { return q.FS.Open(name, opts...) })
}

func (q *faultFS) OpenDir(name string) (vfs.File, error) {
	return q.open("", name, func() (vfs.File, error) { return q.FS.OpenDir(name) })
}

func (q *faultFS) Link(oldname, newname string) error {
	return q.change("link", newname, func() error { return q.FS.Link(oldname, newname) })
}

func (q *faultFS) Rename(oldname, newname string) error {
	return q.change("rename", newname, func() error { return q.FS.Rename(oldname, newname) })
}

func (q *faultFS) Remove(name string) error {
	return q.change("remove", name, func() error { return q.FS.Remove(name) })
}

func (q *faultFS) RemoveAll(name string) error {
	return q.change("remove", name, func() error { return q.FS.RemoveAll(name) })
}

func (q *faultFS) MkdirAll(name string, perm fs.FileMode) error {
	return q.change("mkdir", name, func() error { return q.FS.MkdirAll(name, perm) })
}

type faultFile struct {
	vfs.File
	q    *faultFS
	path string
}

func (f *faultFile) Write(p []byte) (n int, err error) {
	x, hit := f.q.strike("write", f.path)
	if !hit {
		return f.File.Write(p)
	}
	if x.short {
		if n, err = f.File.Write(p[:len(p)/2]); err != nil {
			return n, err
		}
	}
	return n, x.err
}

func (f *faultFile) WriteAt(p []byte, off int64) (n int, err error) {
	x, hit := f.q.strike("write", f.path)
	if !hit {
		return f.File.WriteAt(p, off)
	}
	if x.short {
		if n, err = f.File.WriteAt(p[:len(p)/2], off); err != nil {
			return n, err
		}
	}
	return n, x.err
}

func (f *faultFile) Read(p []byte) (n int, err error) {
	err = f.q.change("read", f.path, func() error { n, err = f.File.Read(p); return err })
	return n, err
}

func (f *faultFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.q.change("read", f.path, func() error { n, err = f.File.ReadAt(p, off); return err })
	return n, err
}

func (f *faultFile) SyncData() error { return f.Sync() }
func (f *faultFile) Sync() error     { return f.q.change("sync", f.path, f.File.Sync) }

// within runs f, which must return in time.
func within(what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	select {
	case err := <-done:
		return err
	case <-deadline.C:
		buf := make([]byte, 1<<20)
		return fmt.Errorf("%s hangs\n%s", what, buf[:runtime.Stack(buf, true)])
	}
}

// TestQuota fails changes for a quota that is used up, which is a full disk to
// the table: it can be read. Where a sync failed, nobody knows what of the write
// is there.
func TestQuota(t *testing.T) {
	t.Parallel()
	for op, want := range map[string]error{"write": ErrDiskFull, "sync": ErrPoisoned} {
		q, s, tab := newFaulty(t, func(o *Options) { o.DiskFullWait = time.Millisecond })
		require.NoError(t, tab.Put(key, []byte("before"), nil))
		q.arm(fault{name: "EDQUOT", err: syscall.EDQUOT, ops: op}, 1, true, "")
		require.ErrorIs(t, tab.Put([]byte("refused"), nil, nil), want, op)
		v, err := tab.Get(key)
		require.NoError(t, err, op)
		require.Equal(t, "before", string(v))
		q.heal()
		require.NoError(t, tab.Reopen(t.Context()))
		require.NoError(t, tab.Put(key, []byte("after"), nil), op)
		requireVerified(t, s)
	}
}
