package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
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
	"github.com/cofredb/cofre/keyring"
)

// A attackWorld is a store in some state, as files to copy, with all that it must
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
	older map[string]map[string][]byte
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

// A attackHistory is what was done to a table, and its content after each step: what
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
	_, err = s.CreateTable(ctx, twinsTable, TableOptions{NoCompression: true})
	require.NoError(t, err)
	writers := func(s *Store) (rows, twins *attackWriter) {
		for name, p := range map[string]**attackWriter{rowsTable: &rows, twinsTable: &twins} {
			tab, err := s.Table(name)
			require.NoError(t, err)
			*p = &attackWriter{t, tab, w.tables[name], rng}
		}
		return rows, twins
	}

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
	require.NoError(t, s.Close())
	w.older["closed once"] = readTree(t, live)

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
	require.NoError(t, s.Close())
	clean = w.at(t, live, true)

	gate := opts.FS.(*attackFS)
	s, err = Open(ctx, live, opts)
	require.NoError(t, err)
	rows, twins = writers(s)
	for i := range 12 {
		rows.put(rowKey(400+i), 100, true)
	}
	twins.put("d/00001", 100, true)
	w.older["opened again"] = readTree(t, live)
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
	c := &attackWorld{files: readTree(t, live), clean: clean, root: w.root.clone(), suite: w.suite, tables: map[string]*attackHistory{}, ids: w.ids, older: cloneMap(w.older)}
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

// An attackRoot is a root key and its service in memory, with an anchor. A copy of
// a store goes with a copy of its service.
type attackRoot struct {
	uri string
	id  keyring.ID
	key *keyring.Secret

	mu    sync.Mutex
	notes map[keyring.ID]attackNote
	wraps int
}

type attackNote struct {
	gen    uint64
	digest [32]byte
}

func newAttackRoot(name string) *attackRoot {
	return &attackRoot{uri: "mem:" + name, id: keyring.NewID(), key: keyring.RandomSecret(), notes: map[keyring.ID]attackNote{}}
}

func (r *attackRoot) clone() *attackRoot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &attackRoot{uri: r.uri, id: r.id, key: r.key, notes: cloneMap(r.notes)}
}

func (r *attackRoot) URI() string { return r.uri }

func (r *attackRoot) Wrap(_ context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	r.mu.Lock()
	r.wraps++
	r.mu.Unlock()
	s, err := aead.Suite(nil).New(r.key.Expose())
	if err != nil {
		return nil, err
	}
	return s.Seal(slices.Clone(r.id[:]), key.Expose(), ec.Canonical())
}

func (r *attackRoot) Unwrap(_ context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	if len(wrapped) < 16 || keyring.ID(wrapped[:16]) != r.id {
		return nil, fmt.Errorf("%w: wrapped by another", keyring.ErrKeyNotFound)
	}
	s, err := aead.Suite(nil).New(r.key.Expose())
	if err != nil {
		return nil, err
	}
	b, err := s.Open(nil, wrapped[16:], ec.Canonical())
	if err != nil {
		return nil, keyring.ErrWrongContext
	}
	return keyring.NewSecret(b)
}

func (r *attackRoot) Describe(context.Context) (keyring.Description, error) {
	return keyring.Description{URI: r.uri, State: keyring.StateEnabled}, nil
}

func (r *attackRoot) NewestGeneration(_ context.Context, store keyring.ID) (uint64, [32]byte, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.notes[store]
	return n.gen, n.digest, ok, nil
}

func (r *attackRoot) NoteGeneration(_ context.Context, store keyring.ID, gen uint64, digest [32]byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.notes[store]; gen < n.gen || gen == n.gen && digest != n.digest {
		return keyring.ErrRollback
	}
	r.notes[store] = attackNote{gen, digest}
	return nil
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

func (f *attackFile) Sync() error                        { return nil }
func (f *attackFile) SyncData() error                    { return nil }
func (f *attackFile) SyncTo(int64) (bool, error)         { return false, nil }
func (f *attackFile) Preallocate(_ int64, _ int64) error { return nil }
