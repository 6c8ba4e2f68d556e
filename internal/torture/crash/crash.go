// Package crash cuts the power under a busy store, at moments of every kind,
// and holds what each crash may leave against the oracle: it must open, hold
// what it must and nothing else, take writes, close, and verify. Recoveries
// are cut off in turn. The store has several lives; between them its process is
// killed, or ends well: what a killed one has not synced, the next one sees,
// and a power cut may still take.
package crash

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/torture/crashfs"
	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/seals"
	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
	"github.com/cofredb/cofre/keyring"
)

// A Run is a round: a workload, and the crashes it is put through.
type Run struct {
	Seed  uint64
	Ops   int // of each of two writers
	Every int // a crash after each so many mutations; a quarter as many more at random
	Again int // crashes in recoveries, for a hundred crashes
	Most  int // crashes that are looked at, by chance; 0 is all
	// Disk, if not nil, stands between the store and the disk; a test lies
	// with it.
	Disk func(*crashfs.FS) vfs.FS
	// Spoil, if not nil, changes what is told to the oracle; a test lies with it.
	Spoil func(*oracle.World)

	seals seals.Ledger
}

// callLimit is how long an open, a close or a check may take.
const callLimit = 2 * time.Minute

// A moment is when the power went, and what may then be there.
type moment struct {
	at    *crashfs.Moment
	op    string
	world *oracle.World
	style crashfs.Style
	seed  uint64
	again bool // in a recovery: files may be torn
}

// A recorder takes moments of a file system while a world happens on it.
type recorder struct {
	fs    *crashfs.FS
	world *oracle.World
	every int
	on    atomic.Bool

	mu      sync.Mutex // guards all below
	rng     *rand.Rand
	moments []moment
	// unsynced counts writes since the last sync, by path.
	unsynced map[string]int
	// renamed counts renames into a directory since it was last synced, by path.
	renamed map[string]int
	// kill is called after so many more changes of names; nil is none.
	kill func()
	left int
}

// killAfter has kill called after n more changes of names: there most goes
// wrong.
func (r *recorder) killAfter(n int, kill func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left, r.kill = n, kill
}

func record(fs *crashfs.FS, w *oracle.World, seed uint64, every int) *recorder {
	r := &recorder{fs: fs, world: w, every: every, rng: rand.New(rand.NewPCG(seed, 2)), unsynced: make(map[string]int), renamed: make(map[string]int)}
	r.on.Store(true)
	fs.OnOp(r.after)
	return r
}

// after runs while no other mutation does.
func (r *recorder) after(n int, op crashfs.Op) {
	if !r.on.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch op.Kind {
	case crashfs.OpWrite:
		// Of several frames that are not synced a crash may keep the later ones.
		if r.unsynced[op.Path]++; r.unsynced[op.Path] > 1 && strings.HasSuffix(op.Path, ".log") && r.rng.IntN(3) == 0 {
			r.take(op.String(), crashfs.Reordered, crashfs.Sectors, crashfs.Torn, crashfs.Random)
			return
		}
	case crashfs.OpSync, crashfs.OpSyncData:
		delete(r.unsynced, op.Path)
		// What is durable of a MANIFEST must not count on a name that is not.
		if strings.Contains(op.Path, "MANIFEST-") && r.renamed[path.Dir(op.Path)] > 0 {
			r.take(op.String(), crashfs.Names, crashfs.SyncedOnly)
			return
		}
	case crashfs.OpSyncDir:
		delete(r.renamed, op.Path)
	case crashfs.OpPreallocate, crashfs.OpSyncTo:
	default:
		if op.Kind == crashfs.OpRename {
			r.renamed[path.Dir(op.To)]++
		}
		// What the keyring names must be there until it names something else.
		if op.Kind == crashfs.OpRemove && strings.Contains(op.Path, "/overlay/") {
			r.take(op.String(), crashfs.AllKept, crashfs.Names)
		}
		if r.left--; r.left == 0 && r.kill != nil {
			r.kill()
		}
		// What changes names is rare, and where most goes wrong; most of all where a
		// marker says which MANIFEST counts.
		if op.Kind == crashfs.OpCreate && strings.Contains(op.Path, "/marker.manifest.") {
			for range 3 {
				r.take(op.String(), crashfs.Names)
			}
		}
		if r.rng.IntN(4) == 0 {
			r.take(op.String(), crashfs.Names, crashfs.Reordered, crashfs.Ordered, crashfs.Random)
			return
		}
	}
	if n%r.every == 0 || r.rng.IntN(4*r.every) == 0 {
		r.take(op.String(), crashfs.Styles()...)
	}
}

// take takes a moment, for a crash in one of the styles; r.mu is held.
func (r *recorder) take(op string, styles ...crashfs.Style) {
	m := moment{op: op, style: styles[r.rng.IntN(len(styles))], seed: r.rng.Uint64()}
	m.world = r.world.Clone(func() { m.at = r.fs.Moment() })
	r.moments = append(r.moments, m)
}

func (r *recorder) stop() []moment {
	r.on.Store(false)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moments
}

func (r *Run) options(fs *crashfs.FS) engine.Options {
	o := engine.Options{RootKey: work.NewRoot("crash"), Roots: []keyring.RootKey{work.NewRoot("crash-other")}, FS: fs, IdleTimeout: -1, UnitSize: 256, MemoryBudget: 1 << 20}
	if r.Disk != nil {
		o.FS = r.Disk(fs)
	}
	return o
}

var tables = []struct {
	name    string
	opts    engine.TableOptions
	archive bool
}{
	{"crash.plain", engine.TableOptions{}, false},
	{"crash.blobs", engine.TableOptions{SeparateValuesFrom: 400, NoCompression: true}, true},
}

// Do does the round.
func (r *Run) Do(ctx context.Context) (verdict.Counts, error) {
	counts := verdict.Counts{Rounds: 1}
	// Long keys have runs of one letter.
	r.seals.Canaries = [][]byte{[]byte("llllllllllllllll"), []byte(tables[0].name), []byte(tables[1].name)}
	world := &oracle.World{}
	fs := crashfs.New(crashfs.Options{})
	rec := record(fs, world, r.Seed, r.Every)
	for n := range lives {
		if err := r.live(ctx, fs, world, rec, n); err != nil {
			return counts, verdict.In(err, "crash, life %d", n)
		}
		counts.Operations += int64(len(tables) * (r.Ops / lives))
	}
	moments := rec.stop()
	for again := true; len(moments) > 0; again = false {
		if r.Most > 0 && len(moments) > r.Most {
			rng := rand.New(rand.NewPCG(r.Seed, 99))
			rng.Shuffle(len(moments), func(i, j int) { moments[i], moments[j] = moments[j], moments[i] })
			moments = moments[:r.Most]
		}
		counts.Crashes += int64(len(moments))
		more, err := r.checkAll(ctx, moments, again)
		if err != nil {
			return counts, err
		}
		moments = more
	}
	if faults := r.seals.Faults(); len(faults) > 0 {
		return counts, verdict.New(verdict.Leak, "%d faults, first: %s", len(faults), faults[0])
	}
	return counts, nil
}

// lives is how many the store has.
const lives = 3

// live opens the store, holds it against the world, writes to it, and closes it
// or has its process killed, at a random change of names.
func (r *Run) live(ctx context.Context, fs *crashfs.FS, world *oracle.World, rec *recorder, n int) error {
	rng := rand.New(rand.NewPCG(r.Seed, uint64(100+n)))
	var killed atomic.Bool
	e := &work.Engine{Options: r.options(fs), World: world}
	if world.IsMade() {
		e.Options.Mode = engine.MustExist
	}
	// A process that was killed does nothing to the disk any more.
	e.Options.FS = errorfs.Wrap(e.Options.FS, errorfs.InjectorFunc(func(errorfs.Op) error {
		if killed.Load() {
			return errorfs.ErrInjected
		}
		return nil
	}))
	kill := n+1 < lives && rng.IntN(3) > 0
	if kill {
		rec.killAfter(1+rng.IntN(1+rng.IntN(150)), func() { killed.Store(true) })
	}
	err := verdict.Within(callLimit, "open", e.Open)
	if err != nil && !killed.Load() {
		return alarm("open", err)
	}
	if err == nil {
		if err := world.Match(ctx, e); err != nil && !killed.Load() {
			return err
		}
		var g errgroup.Group
		for i, t := range tables {
			g.Go(func() error {
				own := &work.Engine{Options: e.Options, Table: t.opts, Archive: t.archive, World: world}
				own.Attach(e.Store)
				err := write(own, t.name, rand.New(rand.NewPCG(r.Seed, uint64(10*n+i))), r.Ops/lives)
				if killed.Load() {
					return nil
				}
				return err
			})
		}
		err = g.Wait()
	}
	if kill {
		killed.Store(true)
		err = nil
	}
	cerr := verdict.Within(callLimit, "close", e.Close)
	if v := verdict.Of(cerr); v != nil && (!kill || v.Kind == verdict.Hang) {
		cerr = alarm("close", cerr)
	} else {
		cerr = nil
	}
	return cmp.Or(err, cerr)
}

// write runs random operations on one table.
func write(e *work.Engine, table string, rng *rand.Rand, n int) error {
	model := work.NewModel()
	run := func(op work.Op) error {
		op.Run(model)
		if err := e.Do(op); err != nil {
			return verdict.New(verdict.FalseAlarm, "%.200s: %v", op, err)
		}
		return nil
	}
	if e.World.Table(table) == nil {
		err := begin(e, table, func(line string, args ...any) error {
			op, err := work.Parse(fmt.Sprintf(line, args...))
			if err != nil {
				return err
			}
			return run(op)
		})
		if err != nil {
			return alarm("begin", err)
		}
	}
	if e.World.Table(table) != nil {
		_ = model.Create(table)
		names, err := e.Snapshots(table)
		if err != nil {
			return verdict.New(verdict.FalseAlarm, "snapshots: %v", err)
		}
		for _, name := range names {
			_ = model.Snapshot(table, name)
		}
	}
	// A batch of more than 32 KiB is several frames of a log, of which a crash
	// may keep any.
	g := work.NewGen(rng, model, work.Mix{
		Tables: []string{table}, NoSync: 65, Large: 200 << 10, Often: 40, Keys: 6,
		Without: []string{"reopen", "crash", "get", "scan", "view", "closeview", "opensnapshot", "tables"},
	})
	for range n {
		if err := run(g.Next()); err != nil {
			return err
		}
	}
	return nil
}

// begin begins a table's life: with files that are sealed anew, while others that are
// flushed and overlap none of them are moved to another level. So Pebble writes to the
// MANIFEST without making a file, and without a sync of the directory, just when a file
// has taken another's place.
func begin(e *work.Engine, table string, do func(line string, args ...any) error) error {
	if err := do("create %s", table); err != nil {
		return err
	}
	const files = 12
	flushed := func(from int) error {
		for n := range files {
			if err := do("put %s \"k%03d\" %dx400 no", table, from+n, from+n); err != nil {
				return err
			}
			if err := do("flush %s", table); err != nil {
				return err
			}
		}
		return nil
	}
	if err := flushed(0); err != nil {
		return err
	}
	var g errgroup.Group
	g.Go(func() error { return e.Reencrypt(table, true) })
	err := flushed(files)
	return cmp.Or(err, g.Wait())
}

// checkAll checks crashes on both cores.
func (r *Run) checkAll(ctx context.Context, moments []moment, again bool) (more []moment, err error) {
	var g errgroup.Group
	g.SetLimit(2)
	var mu sync.Mutex
	var failed atomic.Bool
	for i := range moments {
		g.Go(func() error {
			if failed.Load() || ctx.Err() != nil {
				return ctx.Err()
			}
			m, err := r.check(ctx, &moments[i], again)
			if err != nil {
				failed.Store(true)
			}
			mu.Lock()
			defer mu.Unlock()
			more = append(more, m...)
			return err
		})
	}
	err = g.Wait()
	return more, err
}

// check opens what a crash has left and holds it against the oracle. The
// moments of a crash in the recovery are returned.
func (r *Run) check(ctx context.Context, m *moment, again bool) (more []moment, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = verdict.New(verdict.Exit, "panic: %v\n%s", p, debug.Stack())
		}
		err = verdict.In(err, "crash after mutation %d (%s), %s, seed %d", m.at.Op(), m.op, m.style, m.seed)
	}()
	rng := rand.New(rand.NewPCG(m.seed, 3))
	fs := m.at.Crash(rng, m.style)
	w := m.world.Clone(nil)
	if r.Spoil != nil {
		r.Spoil(w)
	}
	before, err := r.count(m, fs)
	if err != nil {
		return nil, err
	}
	rec := &recorder{}
	if again && rng.IntN(100) < r.Again {
		rec = record(fs, w, m.seed, 7)
	}
	e := &work.Engine{Options: r.options(fs), World: w}
	if w.IsMade() {
		e.Options.Mode = engine.MustExist
	}
	if err := verdict.Within(callLimit, "open", e.Open); err != nil {
		return nil, alarm("open", err)
	}
	defer func() { _ = e.Close() }()
	if err := verdict.Within(callLimit, "reading all", func() error { return w.Match(ctx, e) }); err != nil {
		return nil, err
	}
	more = rec.stop()
	for i := range more {
		more[i].again = true
		more[i].op = fmt.Sprintf("%s, in the recovery from a crash after mutation %d (%s), %s, seed %d", more[i].op, m.at.Op(), m.op, m.style, m.seed)
	}
	if len(more) > 6 {
		rng.Shuffle(len(more), func(i, j int) { more[i], more[j] = more[j], more[i] })
		more = more[:6]
	}
	for _, t := range w.Tables() {
		op := []oracle.Effect{{Kind: oracle.Put, A: "later", B: "x"}, {Kind: oracle.Delete, A: "k003"}}
		if err := e.Write(t.Name, op, true); err != nil {
			return nil, alarm("write on", err)
		}
	}
	if err := verdict.Within(callLimit, "close", e.Close); err != nil {
		return nil, alarm("close", err)
	}
	e.Options.Mode = engine.MustExist
	if err := verdict.Within(callLimit, "open after a clean close", e.Open); err != nil {
		return nil, alarm("open after a clean close", err)
	}
	if err := w.Match(ctx, e); err != nil {
		return nil, verdict.In(err, "after a clean close")
	}
	if err := e.Verified(); err != nil {
		return nil, err
	}
	if err := e.Close(); err != nil {
		return nil, alarm("close", err)
	}
	after, err := seals.Tree(fs, "/")
	if err != nil {
		return nil, err
	}
	r.seals.Recovered(before, after)
	return more, nil
}

// count reads what a crash has left, and takes in what was there without it.
func (r *Run) count(m *moment, crashed *crashfs.FS) (map[string][]byte, error) {
	whole, err := seals.Tree(m.at.Crash(nil, crashfs.AllKept), "/")
	if err != nil {
		return nil, err
	}
	if !m.again {
		for name, b := range whole {
			r.seals.Take(name, b)
		}
	}
	return seals.Tree(crashed, "/")
}

// alarm is an error where there is no fault.
func alarm(what string, err error) error {
	if v := verdict.Of(err); v.Kind != verdict.Broken {
		return verdict.In(err, "%s", what)
	}
	return verdict.New(verdict.FalseAlarm, "%s: %v", what, err)
}
