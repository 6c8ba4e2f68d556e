package engine

import (
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// A victim is a copy of a world that is tampered with.
type victim struct {
	t    testing.TB
	w    *attackWorld
	base vfs.FS // the operating system's or one in memory
	dir  string
	root *attackRoot
	rng  *rand.Rand

	table  string   // whose files were tampered with; "" for the store's own
	paths  []string // of what was tampered with, relative to the store
	offset int64    // of the tampering, or -1
	// thorough looks at snapshots, lets Pebble compact and goes on writing.
	thorough bool
	// kept is the content that must be found, where it is not the world's.
	kept *contentDigest
}

func (w *attackWorld) victim(t testing.TB, base vfs.FS, dir string, rng *rand.Rand) *victim {
	writeTree(t, base, dir, w.files)
	return &victim{t: t, w: w, base: base, dir: dir, root: w.root.clone(), rng: rng, offset: -1}
}

// mark notes what is tampered with. The table is known from the path.
func (v *victim) mark(paths ...string) {
	v.paths = append(v.paths, paths...)
	for name, id := range v.w.ids {
		if strings.HasPrefix(paths[0], tablesDir+"/"+id) {
			v.table = name
		}
	}
}

func (v *victim) path(rel string) string { return v.base.PathJoin(v.dir, rel) }

func (v *victim) read(rel string) []byte {
	f, err := v.base.Open(v.path(rel))
	require.NoError(v.t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	require.NoError(v.t, err)
	return b
}

func (v *victim) write(rel string, b []byte) {
	writeTree(v.t, v.base, v.dir, map[string][]byte{rel: b})
}

func (v *victim) remove(rel string) { require.NoError(v.t, v.base.Remove(v.path(rel))) }

func (v *victim) removeAll(rel string) { require.NoError(v.t, v.base.RemoveAll(v.path(rel))) }

func (v *victim) rename(from, to string) {
	require.NoError(v.t, v.base.Rename(v.path(from), v.path(to)))
}

// glob lists files and directories of the store, by a pattern relative to it.
func (v *victim) glob(pattern string) []string {
	found := []string{""}
	for _, part := range strings.Split(pattern, "/") {
		var next []string
		for _, dir := range found {
			names, err := v.base.List(v.path(dir))
			if err != nil {
				continue // not a directory
			}
			for _, n := range names {
				if ok, err := path.Match(part, n); ok {
					next = append(next, path.Join(dir, n))
				} else {
					require.NoError(v.t, err)
				}
			}
		}
		found = next
	}
	slices.Sort(found)
	return found
}

// tableDir is a table's directory.
func (v *victim) tableDir(name string) string { return tablesDir + "/" + v.w.ids[name] }

// anyTable chooses a table, other gives the other one.
func (v *victim) anyTable() string { return []string{rowsTable, twinsTable}[v.rng.IntN(2)] }

func theOther(name string) string {
	if name == rowsTable {
		return twinsTable
	}
	return rowsTable
}

// pick chooses one of the files that match, of either table, and marks it.
func (v *victim) pick(pattern string) string {
	names := v.glob(tablesDir + "/*/" + pattern)
	require.NotEmpty(v.t, names, pattern)
	name := names[v.rng.IntN(len(names))]
	v.mark(name)
	return name
}
