package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
)

// An attackWorld is a store in some state, as files to copy, with all that it must
// hold. Attacks are made on copies.
type attackWorld struct {
	files  map[string][]byte // by path
	clean  bool              // closed cleanly; else copied while it was open, as a crash leaves it
	root   *attackRoot
	suite  aead.Suite
	tables map[string]*attackHistory
	ids    map[string]string // of the tables, by name
	// unsynced is the log whose tail was written and not synced, and from
	// which byte on; "" if there is none.
	unsynced     string
	unsyncedFrom int64
	// older are files of earlier moments of the same store, by moment and path.
	older  map[string]map[string][]byte
	second *secondStore
	// forks are what became of an earlier copy of the store, by what was done.
	forks map[string]map[string][]byte
}

// worldTuning makes many small files of little data, worldUnit many units.
var worldTuning = tuning{memTableSize: 256 << 10, targetFileSize: 16 << 10, blockSize: 1 << 10}

const worldUnit = 512

func (w *attackWorld) options(base vfs.FS, mode Mode, root *attackRoot) Options {
	return Options{
		Mode: mode, RootKey: root, FS: newAttackFS(base), UnitSize: worldUnit, MemoryBudget: 8 << 20,
		MaxOpenFiles: 256, IdleTimeout: -1, suite: w.suite, tune: worldTuning,
	}
}

// A contentDigest tells two contents of a table apart, in whatever order they were
// made.
type contentDigest [sha256.Size]byte

func (d *contentDigest) toggle(key string, value []byte) {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(key))))
	h.Write([]byte(key))
	h.Write(value)
	for i, b := range h.Sum(nil) {
		d[i] ^= b
	}
}

// An attackHistory is what was done to a table, and its content after each step: what
// is found later must be one of these contents.
type attackHistory struct {
	now    map[string][]byte
	all    map[string]bool // every key that ever was
	sum    contentDigest
	states map[contentDigest]int // the last step after which it was so
	steps  int
	acked  int // steps whose writes were synced
	// snapshots are the contents that named snapshots must have.
	snapshots map[string]contentDigest
}

func newAttackHistory() *attackHistory {
	h := &attackHistory{now: map[string][]byte{}, all: map[string]bool{}, states: map[contentDigest]int{}, snapshots: map[string]contentDigest{}}
	h.states[h.sum] = 0
	return h
}

func (h *attackHistory) put(key string, value []byte) {
	h.drop(key)
	h.sum.toggle(key, value)
	h.now[key], h.all[key] = value, true
}

func (h *attackHistory) drop(key string) {
	if old, ok := h.now[key]; ok {
		h.sum.toggle(key, old)
		delete(h.now, key)
	}
}

func (h *attackHistory) step(synced bool) {
	h.steps++
	h.states[h.sum] = h.steps
	if synced {
		h.acked = h.steps
	}
}

// An attackWriter does the same to a table and to its attackHistory.
type attackWriter struct {
	t   testing.TB
	tab *Table
	h   *attackHistory
	rng *rand.Rand
}

func (w *attackWriter) put(key string, n int, sync bool) {
	v := value(w.rng, n)
	require.NoError(w.t, w.tab.Put([]byte(key), v, &WriteOptions{NoSync: !sync}))
	w.h.put(key, v)
	w.h.step(sync)
}

func (w *attackWriter) delete(key string) {
	require.NoError(w.t, w.tab.Delete([]byte(key), nil))
	w.h.drop(key)
	w.h.step(true)
}

func (w *attackWriter) deleteRange(from, to string) {
	require.NoError(w.t, w.tab.DeleteRange([]byte(from), []byte(to), nil))
	for k := range w.h.now {
		if k >= from && k < to {
			w.h.drop(k)
		}
	}
	w.h.step(true)
}

func (w *attackWriter) snapshot(name string) {
	_, err := w.tab.Snapshot(context.Background(), name)
	require.NoError(w.t, err)
	w.h.snapshots[name] = w.h.sum
}

func (w *attackWriter) flush() { require.NoError(w.t, w.tab.Flush()) }

func rowKey(i int) string { return fmt.Sprintf("row/%05d", i) }

// The tables of every attackWorld: rows has values of all sizes, blobs, snapshots
// and deletions; twins has no compression and sorted files of equal length.
const (
	rowsTable  = "attack.rows"
	twinsTable = "attack.twins"
)

// newAttackWorlds builds a store and returns it in three states: closed cleanly,
// crashed with a single log, crashed with three of them and an unsynced tail.
func newAttackWorlds(t testing.TB, suite aead.Suite) (clean, crashed, deep *attackWorld) {
	ctx := context.Background()
	live := filepath.Join(t.TempDir(), "live")
	root := newAttackRoot("default")
	w := &attackWorld{root: root, suite: suite, ids: map[string]string{}, older: map[string]map[string][]byte{}}
	w.tables = map[string]*attackHistory{rowsTable: newAttackHistory(), twinsTable: newAttackHistory()}
	rng := rand.New(rand.NewPCG(7, 11))
	opts := w.options(vfs.Default, CreateIfMissing, root)
	opts.tune.noCompactions = true // a store that is copied while it is open must hold still
	s, err := Open(ctx, live, opts)
	require.NoError(t, err)
	_, err = s.CreateTable(ctx, rowsTable, TableOptions{SeparateValuesFrom: 1024})
	require.NoError(t, err)
	_, err = s.CreateTable(ctx, twinsTable, TableOptions{NoCompression: true, SeparateValuesFrom: 1024})
	require.NoError(t, err)
	writers := func(s *Store) (rows, twins *attackWriter) {
		for name, p := range map[string]**attackWriter{rowsTable: &rows, twinsTable: &twins} {
			tab, err := s.Table(name)
			require.NoError(t, err)
			*p = &attackWriter{t, tab, w.tables[name], rng}
		}
		return rows, twins
	}

	w.second = newSecondStore(t, w, opts.tune)
	for _, info := range s.Tables() {
		w.ids[info.Name] = info.ID.String()
	}
	rows, twins := writers(s)
	for i := range 120 {
		rows.put(rowKey(i), []int{0, 30, 300, 700}[i%4], false)
	}
	for i := range 10 {
		rows.put(rowKey(5+10*i), 1024+rng.IntN(2000), true)
	}
	rows.flush()
	for i := range 30 {
		rows.put(rowKey(4*i), 150, false)
	}
	rows.deleteRange(rowKey(30), rowKey(40))
	rows.delete(rowKey(55))
	rows.flush()
	rows.snapshot("early")
	w.older["early"] = readTree(t, live)
	require.NoError(t, rows.tab.Compact(ctx, nil, nil))
	for i := range 30 {
		rows.put(rowKey(250+i), 300, true)
	}
	for _, prefix := range []string{"a", "b", "c"} {
		for i := range 40 {
			twins.put(fmt.Sprintf("%s/%05d", prefix, i), 200, i%20 == 19)
		}
		twins.flush()
	}
	for i := range 2 { // two blobs of a size
		rows.put(rowKey(510+i), 2500, true)
		rows.flush()
		twins.put(fmt.Sprintf("e/%05d", i), 2500, true)
		twins.flush()
	}
	require.NoError(t, s.Close())
	w.older["closed once"] = readTree(t, live)
	w.forks = newForks(t, w, opts.tune)

	s, err = Open(ctx, live, opts)
	require.NoError(t, err)
	rows, twins = writers(s)
	for i := range 20 {
		rows.put(rowKey(300+i), 200, true)
	}
	rows.put(rowKey(500), 2500, true)
	rows.snapshot("late")
	rows.delete(rowKey(301))
	twins.put("d/00000", 100, true)
	w.older["opened again"] = readTree(t, live)
	twins.flush() // its MANIFEST goes on
	twins.put("d/00000", 150, true)
	require.NoError(t, s.Close())
	clean = w.at(t, live, true)

	gate := opts.FS.(*attackFS)
	s, err = Open(ctx, live, opts)
	require.NoError(t, err)
	w.older["no table open"] = readTree(t, live)
	rows, twins = writers(s)
	for i := range 12 {
		rows.put(rowKey(400+i), 100, true)
	}
	w.older["one table open"] = readTree(t, live)
	twins.put("d/00001", 100, true)
	w.older["opened again"] = readTree(t, live)
	twins.flush()
	for i := range 3 {
		twins.put(fmt.Sprintf("d/%05d", 2+i), 100, true)
	}
	for i := range 12 {
		rows.put(rowKey(420+i), 100+50*i, true)
	}
	rows.delete(rowKey(400))
	rows.deleteRange(rowKey(80), rowKey(90))
	crashed = w.at(t, live, false)

	// Two flushes that cannot end keep three logs alive.
	gate.shut()
	var flushes sync.WaitGroup
	for n := range 2 {
		rotated := gate.watch(".log")
		flushes.Go(func() { rows.flush() })
		<-rotated
		for i := range 10 {
			rows.put(rowKey(440+10*n+i), 150, true)
		}
	}
	names, err := filepath.Glob(filepath.Join(live, tablesDir, rows.tab.ID().String(), "*.log"))
	require.NoError(t, err)
	last := slices.Max(names)
	fi, err := os.Stat(last)
	require.NoError(t, err)
	acked := w.tables[rowsTable].acked
	// Pebble hands on full blocks of 32 KiB without a sync.
	written := gate.writes(last, 4)
	for i := range 160 {
		rows.put(rowKey(600+i), 1000, false)
	}
	<-written
	deep = w.at(t, live, false)
	deep.unsynced, deep.unsyncedFrom = strings.TrimPrefix(last, live+"/"), fi.Size()
	require.Equal(t, acked, deep.tables[rowsTable].acked)
	gate.open()
	flushes.Wait()
	require.NoError(t, s.Close())
	for _, w := range []*attackWorld{clean, crashed, deep} {
		w.settle(t)
	}
	return clean, crashed, deep
}

// settle opens a copy that nobody has tampered with. What of the unsynced
// writes is there, is what the world holds.
func (w *attackWorld) settle(t testing.TB) {
	v := w.victim(t, vfs.NewMem(), "store", rand.New(rand.NewPCG(0, 0)))
	o := v.probe(MustExist)
	require.Empty(t, o.broken)
	require.Empty(t, o.verify)
	require.NoError(t, o.store)
	for name, to := range o.tables {
		require.Empty(t, to.lies)
		require.Empty(t, v.whole(name, to), name)
		require.True(t, w.unsynced != "" || to.step == w.tables[name].steps)
		w.tables[name].now, w.tables[name].sum = to.got, to.sum
	}
}

// at copies the store as it is now, with all that is known of it.
func (w *attackWorld) at(t testing.TB, live string, clean bool) *attackWorld {
	c := &attackWorld{files: readTree(t, live), clean: clean, root: w.root.clone(), suite: w.suite, tables: map[string]*attackHistory{}, ids: w.ids, older: cloneMap(w.older), second: w.second, forks: w.forks}
	for name, h := range w.tables {
		n := *h
		n.now, n.all, n.states, n.snapshots = cloneMap(h.now), cloneMap(h.all), cloneMap(h.states), cloneMap(h.snapshots)
		if clean {
			n.acked = n.steps
		}
		c.tables[name] = &n
	}
	return c
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}
