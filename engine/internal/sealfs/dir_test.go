package sealfs

import (
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// A slowDirFS lets a sync of a directory take until it is let go, once it is
// armed: the first one.
type slowDirFS struct {
	vfs.FS
	armed  atomic.Bool
	began  chan struct{}
	finish chan struct{}
}

func (s *slowDirFS) Unwrap() vfs.FS { return s.FS }

func (s *slowDirFS) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	return &slowDir{f, s}, err
}

type slowDir struct {
	vfs.File
	s *slowDirFS
}

func (d *slowDir) Sync() error {
	err := d.File.Sync()
	if d.s.armed.CompareAndSwap(true, false) {
		close(d.s.began)
		<-d.s.finish
	}
	return err
}

// TestSyncNamesWhatItCovers moves the marker while a sync of the directory is
// under way, which may have begun too early for it: logs name the MANIFEST of
// before, until the next sync.
func TestSyncNamesWhatItCovers(t *testing.T) {
	t.Parallel()
	h := newHandmade(t, newTable(t, 0))
	slow := &slowDirFS{FS: h.base, began: make(chan struct{}), finish: make(chan struct{})}
	h.fs = New(func() Config { c := h.fs.cfg; c.Base = slow; return c }())
	h.manifest(1)
	h.create("MANIFEST-000002")
	named := func() uint64 { return h.fs.dir("db").past().Manifest.Number }
	require.EqualValues(t, 1, named())

	dir, err := h.fs.OpenDir("db")
	require.NoError(t, err)
	slow.armed.Store(true)
	done := make(chan error)
	go func() { done <- dir.Sync() }()
	<-slow.began
	f, err := h.fs.Create("db/marker.manifest.000002.MANIFEST-000002", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	close(slow.finish)
	require.NoError(t, <-done)
	require.EqualValues(t, 1, named())

	require.NoError(t, dir.Sync())
	require.EqualValues(t, 2, named())
	require.NoError(t, dir.Close())
}
