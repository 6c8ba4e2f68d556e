package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// readTree reads all files below dir, by path relative to it.
func readTree(t testing.TB, dir string) map[string][]byte {
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil // removed meanwhile, for nothing needs it
		}
		files[filepath.ToSlash(rel)] = b
		return err
	})
	require.NoError(t, err)
	return files
}

// writeTree makes files below dir.
func writeTree(t testing.TB, base vfs.FS, dir string, files map[string][]byte) {
	require.NoError(t, base.MkdirAll(dir, 0o700))
	for name, b := range files {
		path := base.PathJoin(dir, name)
		require.NoError(t, base.MkdirAll(base.PathDir(path), 0o700))
		f, err := base.Create(path, vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		_, err = f.Write(slices.Clone(b)) // an FS in memory may keep it
		require.NoError(t, errors.Join(err, f.Close()))
	}
}

// attackFS is a file system without syncs, which no attack
// needs, with a gate that keeps sorted files from being made, and with ways to
// wait for what Pebble does by itself.
type attackFS struct {
	vfs.FS

	mu      sync.Mutex // guards all below
	gate    chan struct{}
	suffix  string // of the rename that is watched
	renamed chan struct{}
	log     string // whose writes are counted
	count   int
	wrote   chan struct{}
}

func newAttackFS(base vfs.FS) *attackFS { return &attackFS{FS: base} }

func (q *attackFS) Unwrap() vfs.FS { return q.FS }

// shut makes the creation of sorted files wait until open.
func (q *attackFS) shut() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gate = make(chan struct{})
}

func (q *attackFS) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.gate)
	q.gate = nil
}

// watch returns a channel that closes when a file gets a name that ends so.
func (q *attackFS) watch(suffix string) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.suffix, q.renamed = suffix, make(chan struct{})
	return q.renamed
}

// writes returns a channel that closes after n writes to a file.
func (q *attackFS) writes(path string, n int) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.log, q.count, q.wrote = filepath.Base(path), n, make(chan struct{})
	return q.wrote
}

func (q *attackFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	q.mu.Lock()
	gate := q.gate
	q.mu.Unlock()
	if ext := filepath.Ext(name); gate != nil && (ext == ".sst" || ext == ".blob") {
		<-gate
	}
	f, err := q.FS.Create(name, c)
	return q.wrap(f, name, err)
}

func (q *attackFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := q.FS.OpenReadWrite(name, c, opts...)
	return q.wrap(f, name, err)
}

func (q *attackFS) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errors.ErrUnsupported
}

func (q *attackFS) OpenDir(name string) (vfs.File, error) {
	f, err := q.FS.OpenDir(name)
	return q.wrap(f, name, err)
}

func (q *attackFS) Rename(oldname, newname string) error {
	if err := q.FS.Rename(oldname, newname); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.renamed != nil && strings.HasSuffix(newname, q.suffix) {
		close(q.renamed)
		q.renamed = nil
	}
	return nil
}

// GetDiskUsage says that the disk is small, so that no ballast is put down.
func (q *attackFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: ballastFree - 1, TotalBytes: ballastFree}, nil
}

func (q *attackFS) wrap(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &attackFile{File: f, q: q, base: strings.TrimPrefix(filepath.Base(name), "new-")}, nil
}

type attackFile struct {
	vfs.File
	q    *attackFS
	base string
}

func (f *attackFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.q.mu.Lock()
	defer f.q.mu.Unlock()
	if f.q.wrote != nil && f.q.log == f.base {
		if f.q.count--; f.q.count == 0 {
			close(f.q.wrote)
			f.q.wrote = nil
		}
	}
	return n, err
}

func (f *attackFile) Sync() error { return nil }

func (f *attackFile) SyncData() error { return nil }

func (f *attackFile) SyncTo(int64) (bool, error) { return false, nil }

func (f *attackFile) Preallocate(_ int64, _ int64) error { return nil }
