package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/keyring"
)

// A hookFS tells of every change that it has made to the FS below.
type hookFS struct {
	vfs.FS
	hook func(op, path string)
	dead atomic.Bool // the process was killed: nothing changes any more

	// links keeps clones away: MemFS.Link takes its clone lock twice.
	links sync.RWMutex

	mu   sync.Mutex
	gone map[string]string // paths removed or renamed, and to what; guarded by mu
}

var errDead = errors.New("the process is dead")

func (h *hookFS) Unwrap() vfs.FS { return h.FS }

// alive is an error once the process was killed.
func (h *hookFS) alive() error {
	if h.dead.Load() {
		return errDead
	}
	return nil
}

// moved notes that a path is no more, or what it is now called.
func (h *hookFS) moved(from, to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.gone, to)
	if from != "" {
		h.gone[from] = to
	}
}

// forget makes removals durable in a clone, each with even odds: MemFS brings
// all of them back that were not synced. A rename's old name goes only where
// its new one is there.
func (h *hookFS) forget(clone *vfs.MemFS, rng *mathrand.Rand) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for from, to := range h.gone {
		fi, err := clone.Stat(from)
		if err != nil {
			continue
		}
		if to != "" {
			if _, err := clone.Stat(to); err != nil {
				continue
			}
		}
		if to == "" && fi.IsDir() {
			forgetFiles(clone, from, rng)
		}
		if rng.IntN(2) == 0 {
			must(clone.RemoveAll(from))
			must(syncDir(clone, path.Dir(from)))
		}
	}
}

// forgetFiles removes some files of a directory whose removal was under way.
func forgetFiles(clone *vfs.MemFS, dir string, rng *mathrand.Rand) {
	walk(clone, dir, func(p string, _ int64) {
		if rng.IntN(2) == 0 {
			must(clone.Remove(p))
			must(syncDir(clone, path.Dir(p)))
		}
	})
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (h *hookFS) after(op, path string, err error) error {
	if err == nil {
		h.hook(op, path)
	}
	return err
}

func (h *hookFS) file(op, path string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	if op != "" {
		h.hook(op, path)
	}
	return &hookFile{File: f, h: h, path: path}, nil
}

func (h *hookFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := h.alive(); err != nil {
		return nil, err
	}
	f, err := h.FS.Create(name, c)
	h.moved("", name)
	return h.file("create", name, f, err)
}

func (h *hookFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := h.FS.OpenReadWrite(name, c, opts...)
	return h.file("", name, f, err)
}

func (h *hookFS) OpenDir(name string) (vfs.File, error) {
	f, err := h.FS.OpenDir(name)
	return h.file("", name, f, err)
}

func (h *hookFS) Link(oldname, newname string) error {
	if err := h.alive(); err != nil {
		return err
	}
	h.links.RLock()
	err := h.FS.Link(oldname, newname)
	h.links.RUnlock()
	h.moved("", newname)
	return h.after("link", newname, err)
}

func (h *hookFS) Rename(oldname, newname string) error {
	if err := h.alive(); err != nil {
		return err
	}
	err := h.FS.Rename(oldname, newname)
	h.moved(oldname, newname)
	return h.after("rename", newname, err)
}

func (h *hookFS) Remove(name string) error {
	if err := h.alive(); err != nil {
		return err
	}
	err := h.FS.Remove(name)
	h.moved(name, "")
	return h.after("remove", name, err)
}

func (h *hookFS) RemoveAll(name string) error {
	if err := h.alive(); err != nil {
		return err
	}
	err := h.FS.RemoveAll(name)
	h.moved(name, "")
	return h.after("remove", name, err)
}

func (h *hookFS) MkdirAll(name string, perm fs.FileMode) error {
	if err := h.alive(); err != nil {
		return err
	}
	return h.after("mkdir", name, h.FS.MkdirAll(name, perm))
}

type hookFile struct {
	vfs.File
	h    *hookFS
	path string
}

func (f *hookFile) Write(p []byte) (int, error) {
	if err := f.h.alive(); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	return n, f.h.after("write", f.path, err)
}

func (f *hookFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.h.alive(); err != nil {
		return 0, err
	}
	n, err := f.File.WriteAt(p, off)
	return n, f.h.after("write", f.path, err)
}

func (f *hookFile) SyncData() error { return f.Sync() }

func (f *hookFile) Sync() error {
	if err := f.h.alive(); err != nil {
		return err
	}
	return f.h.after("sync", f.path, f.File.Sync())
}

// A crash is the disk after a crash, and what may be on it.
type crash struct {
	fs    *vfs.MemFS
	world *world
	what  string
}

// A crasher takes crash clones of a FS while a world happens on it.
type crasher struct {
	mem   *vfs.MemFS
	fs    *hookFS
	world *world
	// odds of a clone, in percent: after a sync, removal or rename, and after
	// any other change.
	often, seldom int

	mu      sync.Mutex // guards all below
	rng     *mathrand.Rand
	crashes []crash
	seen    int // changes
	on      bool
}

func newCrasher(mem *vfs.MemFS, w *world, seed uint64, often, seldom int) *crasher {
	c := &crasher{mem: mem, world: w, often: often, seldom: seldom, on: true, rng: mathrand.New(mathrand.NewPCG(seed, 7))}
	c.fs = &hookFS{FS: mem, hook: c.after, gone: make(map[string]string)}
	return c
}

func (c *crasher) after(op, path string) {
	c.mu.Lock()
	odds := c.seldom
	if op == "sync" || op == "remove" || op == "rename" {
		odds = c.often
	}
	c.seen++
	hit := c.on && c.rng.IntN(100) < odds
	c.mu.Unlock()
	if hit {
		c.crash(op + " " + path)
	}
}

// crash takes a clone now.
func (c *crasher) crash(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fs.links.Lock()
	defer c.fs.links.Unlock()
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	percent := []int{0, 50, 100}[c.rng.IntN(3)]
	seed := c.rng.Uint64()
	rng := mathrand.New(mathrand.NewPCG(seed, 0))
	clone := c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	if percent > 0 {
		c.fs.forget(clone, rng)
	}
	c.crashes = append(c.crashes, crash{
		fs: clone, world: c.world.clone(),
		what: fmt.Sprintf("%s (change %d, %d %% of what was not synced)", what, c.seen, percent),
	})
}

// stop ends the taking of clones and returns those taken.
func (c *crasher) stop() []crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = false
	return c.crashes
}

// crashOptions make much happen on little data.
func crashOptions(root keyring.RootKey, fs vfs.FS) Options {
	return Options{
		RootKey: root, FS: fs, IdleTimeout: -1, UnitSize: 256, MemoryBudget: 4 << 20,
		tune: tuning{memTableSize: 32 << 10, targetFileSize: 8 << 10, blockSize: 512},
	}
}

const crashDir = "var/lib/store"

// check opens the store that a crash has left and holds it against its world.
// Then it writes on, closes, and verifies. While it recovers it crashes again;
// those crashes are returned.
func (c *crash) check(root keyring.RootKey, seed uint64, again int) (more []crash, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("after a crash at %s: %w", c.what, err)
		}
	}()
	ctx := context.Background()
	w := c.world
	cr := newCrasher(c.fs, w, seed, again, again/2)
	opts := crashOptions(root, cr.fs)
	if w.made {
		opts.Mode = MustExist
	}
	s, err := Open(ctx, crashDir, opts)
	if err != nil {
		return nil, err
	}
	w.note(func() { w.made = true })
	live, err := w.match(s)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for i := range cr.crashes {
		cr.crashes[i].what += ", in the recovery from " + c.what
	}
	more = cr.stop()
	for _, h := range live {
		tab, err := s.Table(h.name)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		op := []effect{{'p', "later", "x"}, {'d', "k03", ""}}
		h.ops = append(slices.Clip(h.ops), op)
		b := tab.NewBatch()
		if err := errors.Join(b.Put([]byte("later"), []byte("x")), b.Delete([]byte("k03")), b.Commit(nil)); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		h.durable = len(h.ops)
	}
	if err := s.Close(); err != nil {
		return nil, fmt.Errorf("close: %w", err)
	}
	opts.Mode = MustExist
	if s, err = Open(ctx, crashDir, opts); err != nil {
		return nil, fmt.Errorf("after a clean close: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := w.match(s); err != nil {
		return nil, fmt.Errorf("after a clean close: %w", err)
	}
	return more, verified(s)
}

// checkAll checks crashes, and those in their recovery, in parallel.
func checkAll(t *testing.T, root keyring.RootKey, seed uint64, crashes []crash, again int) {
	var g errgroup.Group
	g.SetLimit(4)
	var mu sync.Mutex
	var more []crash
	for i := range crashes {
		g.Go(func() error {
			m, err := crashes[i].check(root, seed+uint64(i), again)
			mu.Lock()
			defer mu.Unlock()
			more = append(more, m...)
			return err
		})
	}
	require.NoError(t, g.Wait(), "seed %d", seed)
	t.Logf("%d crashes, %d more while recovering from them", len(crashes), len(more))
	if len(more) > 0 {
		checkAll(t, root, seed, more, 0)
	}
}

// TestCrash crashes a busy store at many moments, and recoveries too: what is
// left opens, and holds what it must and nothing else.
func TestCrash(t *testing.T) {
	t.Parallel()
	seeds := 2
	if testing.Short() {
		seeds = 1
	}
	for range seeds {
		seed := mathrand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			crashWorkload(t, seed, 3, 120)
		})
	}
}

func crashWorkload(t *testing.T, seed uint64, rounds, steps int) {
	ctx := context.Background()
	root := newMemRoot("crash")
	w := &world{}
	c := newCrasher(vfs.NewCrashableMem(), w, seed, 4, 1)
	workers := []*worker{
		{name: "crash.plain"},
		{name: "crash.blobs", opts: TableOptions{SeparateValuesFrom: 400, NoCompression: true}},
	}
	for i, k := range workers {
		k.w, k.rng = w, mathrand.New(mathrand.NewPCG(seed, uint64(i)))
	}
	for range rounds {
		s, err := Open(ctx, crashDir, crashOptions(root, c.fs))
		require.NoError(t, err, "seed %d", seed)
		w.note(func() { w.made = true })
		var g errgroup.Group
		for _, k := range workers {
			k.s = s
			g.Go(func() error {
				for range steps {
					if err := k.step(ctx); err != nil {
						return err
					}
				}
				return nil
			})
		}
		require.NoError(t, errors.Join(g.Wait(), s.Close()), "seed %d", seed)
		for _, k := range workers {
			if k.h != nil {
				k.durable()
			}
		}
	}
	c.crash("the end")
	checkAll(t, root, seed, c.stop(), 2)
}

// TestKill ends the process, not the machine: what was written and not synced
// is in the page cache, where the next process finds it. A power cut in that
// one's recovery may not take away what it has built on.
func TestKill(t *testing.T) {
	t.Parallel()
	seed := mathrand.Uint64()
	rng := mathrand.New(mathrand.NewPCG(seed, 2))
	for range 12 {
		ctx := context.Background()
		root, w := newMemRoot("kill"), &world{}
		c := newCrasher(vfs.NewCrashableMem(), w, seed, 0, 0)
		s, err := Open(ctx, crashDir, crashOptions(root, c.fs))
		require.NoError(t, err)
		w.made = true
		k := &worker{w: w, s: s, name: "kill.table", rng: rng}
		require.NoError(t, k.create(ctx))
		for range 20 + rng.IntN(100) {
			require.NoError(t, k.step(ctx))
		}
		c.fs.dead.Store(true)
		_ = s.Close() // only lets go of the memory
		killed := crash{fs: c.mem, world: w, what: "a kill"}
		more, err := killed.check(root, seed, 20)
		require.NoError(t, err, "seed %d", seed)
		checkAll(t, root, seed, more, 0)
	}
}

// TestCrashAtEveryChange crashes after each single change to the disk that
// making a store, a table, a snapshot and dropping them are made of.
func TestCrashAtEveryChange(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	root := newMemRoot("crash")
	seed := mathrand.Uint64()
	w := &world{}
	c := newCrasher(vfs.NewCrashableMem(), w, seed, 50, 25)
	s, err := Open(ctx, crashDir, crashOptions(root, c.fs))
	require.NoError(t, err)
	w.note(func() { w.made = true })
	k := &worker{w: w, s: s, name: "crash.steps", rng: mathrand.New(mathrand.NewPCG(seed, 1))}
	require.NoError(t, k.create(ctx))
	tab, err := s.Table(k.name)
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, k.mutate(tab, []effect{k.effect()}))
	}
	require.NoError(t, k.snapshot(ctx, tab))
	require.NoError(t, k.mutate(tab, []effect{k.effect(), k.effect()}))
	require.NoError(t, tab.Close())
	k.durable()
	require.NoError(t, k.dropSnapshot(ctx, tab))
	require.NoError(t, k.mutate(tab, []effect{k.effect()}))
	require.NoError(t, k.snapshot(ctx, tab))
	require.NoError(t, k.drop(ctx))
	require.NoError(t, k.create(ctx))
	require.NoError(t, s.Close())
	c.crash("the end")
	checkAll(t, root, seed, c.stop(), 3)
}

// TestNewParents makes a store in a directory whose parents are missing, and
// cuts the power: the store is there, with all directories on the way to it.
func TestNewParents(t *testing.T) {
	t.Parallel()
	mem, root := vfs.NewCrashableMem(), newMemRoot("parents")
	opts := crashOptions(root, mem)
	s, err := Open(t.Context(), crashDir, opts)
	require.NoError(t, err)
	tab, err := s.CreateTable(t.Context(), "clinic.patients", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Put([]byte("k"), []byte("v"), nil))
	opts.FS, opts.Mode = mem.CrashClone(vfs.CrashCloneCfg{}), MustExist
	require.NoError(t, s.Close())
	s, err = Open(t.Context(), crashDir, opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	tab, err = s.Table("clinic.patients")
	require.NoError(t, err)
	v, err := tab.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(v))
}

// TestKillBeforeMarkerIsDurable kills the process when Pebble has moved the
// marker to a new MANIFEST and not yet synced the directory. The next process
// finds that MANIFEST in force and records it; a power cut just then may not
// take the marker back.
func TestKillBeforeMarkerIsDurable(t *testing.T) {
	t.Parallel()
	mem, root := vfs.NewCrashableMem(), newMemRoot("kill")
	open := func(fs vfs.FS) (*Store, *Table) {
		s, err := Open(t.Context(), crashDir, crashOptions(root, fs))
		require.NoError(t, err)
		tab, err := s.Table(faultTable)
		require.NoError(t, err)
		return s, tab
	}
	s, err := Open(t.Context(), crashDir, crashOptions(root, mem))
	require.NoError(t, err)
	tab, err := s.CreateTable(t.Context(), faultTable, TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	require.NoError(t, s.Close())

	killed := &hookFS{FS: mem, gone: make(map[string]string)}
	killed.hook = func(op, p string) {
		if op == "create" && strings.HasPrefix(path.Base(p), "marker.manifest.") {
			killed.dead.Store(true)
		}
	}
	s, tab = open(killed)
	_, _ = tab.Get(key)
	_ = s.Close() // only lets go of the memory
	require.True(t, killed.dead.Load())

	var cut *vfs.MemFS
	var opening atomic.Bool
	h := &hookFS{FS: mem, gone: make(map[string]string)}
	h.hook = func(op, p string) {
		if opening.Load() && cut == nil && op == "sync" && strings.HasPrefix(path.Base(p), journalPrefix) {
			cut = mem.CrashClone(vfs.CrashCloneCfg{})
		}
	}
	s, tab = open(h)
	opening.Store(true)
	v, err := tab.Get(key)
	opening.Store(false)
	require.NoError(t, err)
	require.Equal(t, "v", string(v))
	require.NoError(t, s.Close())
	require.NotNil(t, cut, "the table's opening was never recorded")

	s, tab = open(cut)
	v, err = tab.Get(key)
	require.NoError(t, err)
	require.Equal(t, "v", string(v))
	requireVerified(t, s)
	require.NoError(t, s.Close())
}
