package sealfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// canary is in everything that the tests write.
var canary = []byte("canary-5f1c77aa90e34bd2")

// A twin does everything twice: on a plain FS in memory, and on the sealing FS
// over another one.
type twin struct {
	t             *testing.T
	rng           *rand.Rand
	plain, base   *vfs.MemFS
	sealed        *FS
	next          uint64
	tables, logs  []string // closed ones
	markers       uint64
	snapshots     int
	ops           map[string]int
	handlesWithFd int
}

const twinDir = "db"

// TestSameAsPlain does what Pebble does with files, at random, on the sealing
// FS and on a plain one, and compares all that a caller can see.
func TestSameAsPlain(t *testing.T) {
	t.Parallel()
	for _, unit := range []uint32{64, 100, 256, 1000, 2048, 4096} {
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("unit %d, seed %d", unit, seed), func(t *testing.T) {
				t.Parallel()
				w := &twin{t: t, rng: rand.New(rand.NewPCG(seed, uint64(unit))), plain: vfs.NewMem(), base: vfs.NewMem(), next: 1, ops: map[string]int{}}
				w.sealed = newTable(t, unit).over(w.base)
				require.NoError(t, w.plain.MkdirAll(twinDir, 0o755))
				require.NoError(t, w.sealed.MkdirAll(twinDir, 0o755))
				for range 250 {
					w.step()
				}
				w.compareAll()
				require.NotEmpty(t, canaries(t, w.plain, twinDir), "the search finds nothing where there is something")
				require.Empty(t, canaries(t, w.base, twinDir), "plaintext below the sealing FS")
				require.NotZero(t, w.handlesWithFd)
				for _, op := range []string{"table", "log", "recycle", "link", "remove", "marker", "options", "refuse"} {
					require.NotZero(t, w.ops[op], "%s was never tried", op)
				}
			})
		}
	}
}

func (w *twin) step() {
	switch n := w.rng.IntN(100); {
	case n < 25:
		w.writeTable()
	case n < 40:
		w.writeLog()
	case n < 50:
		w.recycle()
	case n < 60:
		w.link()
	case n < 67:
		w.remove()
	case n < 72:
		w.moveMarker()
	case n < 76:
		w.writeOptions()
	case n < 80:
		w.refused()
	case n < 90:
		w.readBack()
	default:
		w.list(twinDir)
	}
}

func (w *twin) path(base string) string { return w.plain.PathJoin(twinDir, base) }

func (w *twin) number() uint64 { w.next++; return w.next }

// bytes are up to n bytes, with the canary if there is room.
func (w *twin) bytes(n int) []byte {
	b := make([]byte, w.rng.IntN(n+1))
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	if len(b) > len(canary) {
		copy(b[w.rng.IntN(len(b)-len(canary)+1):], canary)
	}
	return b
}

// both writes the same to a file of each FS, with syncs between.
func (w *twin) both(p, s vfs.File, writes, most int) {
	require.NotEqual(w.t, vfs.InvalidFd, s.Fd())
	w.handlesWithFd++
	for range writes {
		b := w.bytes(most)
		n, err := p.Write(slices.Clone(b))
		require.NoError(w.t, err)
		m, err := s.Write(slices.Clone(b))
		require.NoError(w.t, err)
		require.Equal(w.t, n, m)
		if w.rng.IntN(4) == 0 {
			full, err := s.SyncTo(int64(w.rng.IntN(most + 1)))
			require.NoError(w.t, err)
			require.False(w.t, full)
		}
	}
}

func (w *twin) create(name string) (p, s vfs.File) {
	p, err := w.plain.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(w.t, err)
	s, err = w.sealed.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(w.t, err)
	return p, s
}

func (w *twin) close(p, s vfs.File) {
	require.NoError(w.t, errors.Join(p.Close(), s.Close()))
}

func (w *twin) writeTable() {
	w.ops["table"]++
	name := w.path(fmt.Sprintf("%06d.%s", w.number(), []string{"sst", "blob"}[w.rng.IntN(2)]))
	p, s := w.create(name)
	w.both(p, s, w.rng.IntN(12), []int{10, 300, 5000, 40000}[w.rng.IntN(4)])
	w.sameSize(p, s)
	if w.rng.IntN(4) > 0 {
		require.NoError(w.t, errors.Join(p.Sync(), s.Sync()))
	}
	w.sameSize(p, s)
	w.close(p, s)
	w.tables = append(w.tables, name)
}

func (w *twin) sameSize(p, s vfs.File) {
	pi, err := p.Stat()
	require.NoError(w.t, err)
	si, err := s.Stat()
	require.NoError(w.t, err)
	require.Equal(w.t, pi.Size(), si.Size())
}

// fill writes and syncs a log as a log writer does.
func (w *twin) fill(p, s vfs.File) {
	for range w.rng.IntN(5) {
		w.both(p, s, 1+w.rng.IntN(3), []int{0, 60, 500, 33000}[w.rng.IntN(4)])
		if w.rng.IntN(2) == 0 {
			require.NoError(w.t, errors.Join(p.SyncData(), s.SyncData()))
		} else {
			require.NoError(w.t, errors.Join(p.Sync(), s.Sync()))
		}
	}
	w.close(p, s)
}

func (w *twin) writeLog() {
	w.ops["log"]++
	name := w.path(fmt.Sprintf([]string{"%06d.log", "MANIFEST-%06d"}[w.rng.IntN(2)], w.number()))
	p, s := w.create(name)
	w.fill(p, s)
	w.logs = append(w.logs, name)
}

// recycle takes a log to begin another one. The plain FS makes a new file,
// which is what a reader of the new one must see.
func (w *twin) recycle() {
	i := slices.IndexFunc(w.logs, func(n string) bool { return strings.HasSuffix(n, ".log") })
	if i < 0 {
		return
	}
	w.ops["recycle"]++
	old := w.logs[i]
	w.logs = slices.Delete(w.logs, i, i+1)
	name := w.path(fmt.Sprintf("%06d.log", w.number()))
	s, err := w.sealed.ReuseForWrite(old, name, vfs.WriteCategoryUnspecified)
	require.NoError(w.t, err)
	require.NoError(w.t, w.plain.Remove(old))
	p, err := w.plain.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(w.t, err)
	w.fill(p, s)
	w.logs = append(w.logs, name)
}

// link puts a table into a snapshot, under its own number or, by a copy, under
// another one.
func (w *twin) link() {
	if len(w.tables) == 0 {
		return
	}
	w.ops["link"]++
	w.snapshots++
	dir := w.path(fmt.Sprintf("snapshot-%d", w.snapshots))
	require.NoError(w.t, errors.Join(w.plain.MkdirAll(dir, 0o755), w.sealed.MkdirAll(dir, 0o755)))
	old := w.tables[w.rng.IntN(len(w.tables))]
	name := w.plain.PathJoin(dir, w.plain.PathBase(old))
	if w.rng.IntN(2) == 0 {
		name = w.plain.PathJoin(dir, fmt.Sprintf("%06d%s", w.number(), old[strings.LastIndexByte(old, '.'):]))
		require.Error(w.t, w.sealed.Link(old, name), "a link under another number")
	}
	require.NoError(w.t, vfs.LinkOrCopy(w.plain, old, name))
	require.NoError(w.t, vfs.LinkOrCopy(w.sealed, old, name))
	w.tables = append(w.tables, name)
	w.list(dir)
}

func (w *twin) remove() {
	list := &w.tables
	if w.rng.IntN(2) == 0 {
		list = &w.logs
	}
	if len(*list) == 0 {
		return
	}
	w.ops["remove"]++
	i := w.rng.IntN(len(*list))
	name := (*list)[i]
	*list = slices.Delete(*list, i, i+1)
	require.NoError(w.t, errors.Join(w.plain.Remove(name), w.sealed.Remove(name)))
	_, err := w.sealed.Open(name)
	require.True(w.t, errors.Is(err, os.ErrNotExist), "%v", err)
	_, err = w.sealed.Stat(name)
	require.True(w.t, errors.Is(err, os.ErrNotExist), "%v", err)
}

func (w *twin) moveMarker() {
	w.ops["marker"]++
	w.markers++
	name := w.path(fmt.Sprintf("marker.manifest.%06d.MANIFEST-%06d", w.markers, w.number()))
	p, s := w.create(name)
	n, err := s.Write(nil)
	require.NoError(w.t, err)
	require.Zero(w.t, n)
	_, err = s.Write(canary)
	require.Error(w.t, err, "a marker took content")
	_, err = s.WriteAt(canary, 0)
	require.Error(w.t, err, "a marker took content")
	require.NoError(w.t, errors.Join(p.Sync(), s.Sync()))
	w.close(p, s)
	fi, err := w.base.Stat(name)
	require.NoError(w.t, err)
	require.Zero(w.t, fi.Size())
}

// writeOptions makes OPTIONS as Pebble does: a temporary, then its name.
func (w *twin) writeOptions() {
	w.ops["options"]++
	n := w.number()
	temp, name := w.path(fmt.Sprintf("temporary.%06d.dbtmp", n)), w.path(fmt.Sprintf("OPTIONS-%06d", n))
	p, s := w.create(temp)
	w.both(p, s, 1, 6000)
	require.NoError(w.t, errors.Join(p.Sync(), s.Sync()))
	w.close(p, s)
	require.NoError(w.t, errors.Join(w.plain.Rename(temp, name), w.sealed.Rename(temp, name)))
	require.Equal(w.t, readFile(w.t, w.plain, name), readFile(w.t, w.sealed, name))
}

// refused are names and calls that have no sealed form.
func (w *twin) refused() {
	w.ops["refuse"]++
	before, err := w.base.List(twinDir)
	require.NoError(w.t, err)
	for _, base := range []string{"CURRENT", "x.sst", "000001.ldb", "000001.log.bak", "000001-001.log", "LOCK", "new-000001.log", "REMOTE-OBJ-CATALOG-000001", "MANIFEST-", "marker", "marker.x", "temporary.x.dbtmp", " 000001.sst", "-1.sst", "core"} {
		name := w.path(base)
		_, err := w.sealed.Create(name, vfs.WriteCategoryUnspecified)
		require.Error(w.t, err, base)
		_, err = w.sealed.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
		require.Error(w.t, err, base)
		require.Error(w.t, w.sealed.Rename(w.path("000001.sst"), name), base)
		require.Error(w.t, w.sealed.Link(w.path("000001.sst"), name), base)
		_, err = w.sealed.ReuseForWrite(w.path("000001.log"), name, vfs.WriteCategoryUnspecified)
		require.Error(w.t, err, base)
	}
	for _, name := range w.tables {
		_, err := w.sealed.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
		require.Error(w.t, err, "a finished table must not take writes")
	}
	after, err := w.base.List(twinDir)
	require.NoError(w.t, err)
	require.ElementsMatch(w.t, before, after)
}

func (w *twin) list(dir string) {
	p, err := w.plain.List(dir)
	require.NoError(w.t, err)
	s, err := w.sealed.List(dir)
	require.NoError(w.t, err)
	require.ElementsMatch(w.t, p, s)
}

func (w *twin) readBack() {
	if len(w.tables) > 0 {
		w.readTable(w.tables[w.rng.IntN(len(w.tables))])
	}
	if len(w.logs) > 0 {
		w.readLog(w.logs[w.rng.IntN(len(w.logs))])
	}
}

func (w *twin) readTable(name string) {
	want := readFile(w.t, w.plain, name)
	fi, err := w.sealed.Stat(name)
	require.NoError(w.t, err)
	require.EqualValues(w.t, len(want), fi.Size(), "%s", name)
	var opts []vfs.OpenOption
	if w.rng.IntN(2) == 0 {
		opts = append(opts, vfs.SequentialReadsOption)
	} else if w.rng.IntN(2) == 0 {
		opts = append(opts, vfs.RandomReadsOption)
	}
	f, err := w.sealed.Open(name, opts...)
	require.NoError(w.t, err)
	require.NotEqual(w.t, vfs.InvalidFd, f.Fd())
	fi, err = f.Stat()
	require.NoError(w.t, err)
	require.EqualValues(w.t, len(want), fi.Size())
	plain := bytes.NewReader(want)
	off := int64(0)
	for range 20 {
		if len(opts) == 0 || opts[0] != vfs.SequentialReadsOption || w.rng.IntN(5) == 0 {
			off = int64(w.rng.IntN(len(want) + 10))
		}
		a, b := make([]byte, w.rng.IntN(6000)), make([]byte, 6000)
		b = b[:len(a)]
		require.NoError(w.t, f.Prefetch(off, int64(len(a))))
		n, err := plain.ReadAt(a, off)
		m, serr := f.ReadAt(b, off)
		require.Equal(w.t, n, m)
		require.Equal(w.t, err == io.EOF, serr == io.EOF, "%v %v", err, serr)
		require.True(w.t, bytes.Equal(a[:n], b[:m]), "%s at %d", name, off)
		off += int64(m)
	}
	require.NoError(w.t, f.Close())
	w.readInTurn(name, want, 3000)
}

// readInTurn reads a file from its begin to its end, in pieces of any size up to
// most.
func (w *twin) readInTurn(name string, want []byte, most int) {
	f, err := w.sealed.Open(name)
	require.NoError(w.t, err)
	require.NotEqual(w.t, vfs.InvalidFd, f.Fd())
	var got []byte
	for {
		buf := make([]byte, 1+w.rng.IntN(most))
		n, err := f.Read(buf)
		got = append(got, buf[:n]...)
		if err == io.EOF {
			break
		}
		require.NoError(w.t, err)
	}
	require.NoError(w.t, f.Close())
	require.True(w.t, bytes.Equal(want, got), "%s, read in turn", name)
}

func (w *twin) readLog(name string) { w.readInTurn(name, readFile(w.t, w.plain, name), 3000) }

func (w *twin) compareAll() {
	w.list(twinDir)
	for _, name := range w.tables {
		w.readTable(name)
	}
	for _, name := range w.logs {
		w.readLog(name)
	}
}

// canaries are the files below dir that hold the canary.
func canaries(t *testing.T, fs vfs.FS, dir string) (found []string) {
	names, err := fs.List(dir)
	require.NoError(t, err)
	for _, n := range names {
		path := fs.PathJoin(dir, n)
		fi, err := fs.Stat(path)
		require.NoError(t, err)
		if fi.IsDir() {
			found = append(found, canaries(t, fs, path)...)
		} else if bytes.Contains(readFile(t, fs, path), canary) {
			found = append(found, path)
		}
	}
	return found
}
