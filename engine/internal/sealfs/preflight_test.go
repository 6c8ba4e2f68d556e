package sealfs

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/wal"
)

// A handmade directory is made of what Pebble makes of it, one by one, in one
// session.
type handmade struct {
	t    testing.TB
	base *vfs.MemFS
	fs   *FS
}

func newHandmade(t testing.TB, tab *table) *handmade {
	h := &handmade{t: t, base: vfs.NewMem()}
	h.fs = tab.over(h.base)
	require.NoError(t, h.base.MkdirAll("db", 0o700))
	h.create("marker.format-version.000001.024")
	return h
}

// create makes a file, writes to it if it is no marker, and syncs the directory.
func (h *handmade) create(base string) {
	f, err := h.fs.Create(h.fs.PathJoin("db", base), vfs.WriteCategoryUnspecified)
	require.NoError(h.t, err)
	if h.fs.parse(base).class != classMarker {
		_, err = f.Write([]byte("frame"))
		require.NoError(h.t, err)
		require.NoError(h.t, f.Sync())
	}
	require.NoError(h.t, f.Close())
	require.NoError(h.t, h.fs.syncDir("db"))
}

// manifest puts a MANIFEST in force.
func (h *handmade) manifest(n int) {
	h.create(fmt.Sprintf("MANIFEST-%06d", n))
	h.create(fmt.Sprintf("marker.manifest.%06d.MANIFEST-%06d", n, n))
}

// found is what the next session finds.
func (h *handmade) found(tab *table, floor wal.Segment) (wal.Segment, error) {
	fs := tab.over(h.base)
	fs.Expect("db", floor)
	err := fs.Preflight("db", nil, false)
	return fs.Manifest("db"), err
}

// TestFloorNamesAFile puts a directory of the same table in the place of the one
// whose MANIFEST was noted: it has one of that number, and the log that goes
// with it.
func TestFloorNamesAFile(t *testing.T) {
	t.Parallel()
	tab := newTable(t, 0)
	was, other := newHandmade(t, tab), newHandmade(t, tab)
	for _, h := range []*handmade{was, other} {
		h.manifest(1)
		h.create("000002.log")
	}
	floor, err := was.found(tab, wal.Segment{})
	require.NoError(t, err)
	require.EqualValues(t, 1, floor.Number)
	again, err := was.found(tab, floor)
	require.NoError(t, err)
	require.Equal(t, floor, again)

	_, err = other.found(tab, wal.Segment{})
	require.NoError(t, err, "by itself it is whole")
	_, err = other.found(tab, floor)
	require.ErrorIs(t, err, corrupt.ErrForeign)
}

// TestLogsNameOneManifest has two logs name two files as the same MANIFEST.
func TestLogsNameOneManifest(t *testing.T) {
	t.Parallel()
	tab := newTable(t, 0)
	dirs := []*handmade{newHandmade(t, tab), newHandmade(t, tab)}
	for i, h := range dirs {
		h.manifest(1)
		h.create(fmt.Sprintf("%06d.log", i+2))
	}
	f, err := dirs[0].base.Open("db/000002.log")
	require.NoError(t, err)
	fi, err := f.Stat()
	require.NoError(t, err)
	b := make([]byte, fi.Size())
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	writeFile(t, dirs[1].base, "db/000002.log", b)
	_, err = dirs[1].found(tab, wal.Segment{})
	require.ErrorIs(t, err, corrupt.ErrForeign)
	require.ErrorContains(t, err, "as MANIFEST 1, which was")
}

// TestFloorIsFollowed puts a later MANIFEST of the same table in the place of
// one, which does not follow the one that was noted but another file of its
// number.
func TestFloorIsFollowed(t *testing.T) {
	t.Parallel()
	tab := newTable(t, 0)
	was, other := newHandmade(t, tab), newHandmade(t, tab)
	for _, h := range []*handmade{was, other} {
		h.manifest(1)
	}
	floor, err := was.found(tab, wal.Segment{})
	require.NoError(t, err)
	was.manifest(3)
	m, err := was.found(tab, floor)
	require.NoError(t, err)
	require.EqualValues(t, 3, m.Number)

	other.manifest(3)
	_, err = other.found(tab, wal.Segment{})
	require.NoError(t, err, "by itself it is whole")
	_, err = other.found(tab, floor)
	require.ErrorIs(t, err, corrupt.ErrForeign)
}

// TestTailBesideDirectory keeps a torn tail where a directory is called like
// one that was kept.
func TestTailBesideDirectory(t *testing.T) {
	t.Parallel()
	tab := newTable(t, 0)
	h := newHandmade(t, tab)
	h.create("000002.log")
	log := &peeked{name: "000002.log", fn: parseName("000002.log")}
	p := &preflight{fs: h.fs, path: "db", d: h.fs.dir("db")}
	for range 2 { // the second takes the place of the first
		require.NoError(t, p.keepTail(log, 0, 4))
		names, err := h.base.List("db")
		require.NoError(t, err)
		require.Contains(t, names, "dropped-000002.tail")
	}
	require.NoError(t, h.base.MkdirAll("db/dropped-x/below", 0o700))
	err := p.keepTail(log, 0, 4)
	var c *corrupt.Error
	require.ErrorAs(t, err, &c)
	require.ErrorIs(t, err, corrupt.ErrForeign)
	require.Equal(t, "db/dropped-x", c.Path)
}
