// Package fault fails the changes that scenarios make to the disk, one after
// another: each once, and all from it on, in every way that crashfs knows.
//
// Whatever fails, calls return within a stated time, and tell the truth; the
// process lives; the other table goes on where only one is hit; and when the
// disk is well again, Reopen in the same process and then a power cut find
// every acknowledged write, and each failed one whole or not at all.
package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/torture/crashfs"
	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
)

// callLimit is how long a call may take, on a disk that may stay full.
const callLimit = 30 * time.Second

// A Run is a round: one scenario and one way to fail, at every operation. The
// rounds go through all of them, in an order that the seed gives; the workloads
// of later passes differ.
type Run struct {
	Seed   uint64
	Round  int
	Stride int // only each so many operations, from a random one on; 0 is all
	Fulls  int // how often the disk is filled in such a round; 0 is 6
	// Lie, if not nil, is what a test plants between the harness and the store.
	Lie func(work.Subject) work.Subject
}

const (
	table = "fault.table"
	other = "fault.other"
	fresh = "fault.fresh"
)

// A way is how operations fail.
type way struct {
	fault  crashfs.Fault
	sticky bool
	below  bool // only in the directory of the first table
	waits  bool // the store waits for space, and there is some at once
}

func ways() []way {
	var all []way
	for _, f := range []crashfs.Fault{crashfs.EIO, crashfs.ENOSPC, crashfs.EROFS, crashfs.ShortWrite, crashfs.FailedSyncPagesClean, crashfs.ReadEIO} {
		all = append(all, way{fault: f}, way{fault: f, sticky: true}, way{fault: f, sticky: true, below: true})
	}
	return append(all, way{fault: crashfs.ENOSPC, waits: true})
}

func (w way) String() string {
	s := w.fault.String() + ", once"
	if w.sticky {
		s = w.fault.String() + ", from then on"
	}
	if w.below {
		s += ", in one table"
	}
	if w.waits {
		s += ", and the store waits"
	}
	return s
}

// Rounds is how many rounds one pass has: all scenarios, all ways, and the
// full disk.
func Rounds() int { return len(scenarios())*len(ways()) + 1 }

// choose tells what the round does: a scenario, a way; or none, to fill the disk.
// Every pass has each once.
func (r Run) choose() (sc scenario, w way, seed uint64, full bool) {
	pass, n := r.Round/Rounds(), r.Round%Rounds()
	seed = r.Seed + uint64(pass)
	n = rand.New(rand.NewPCG(seed, 6)).Perm(Rounds())[n]
	if n == Rounds()-1 {
		return sc, w, seed, true
	}
	return scenarios()[n/len(ways())], ways()[n%len(ways())], seed, false
}

// Case names what the round does.
func (r Run) Case() string {
	sc, w, _, full := r.choose()
	if full {
		return "full disk"
	}
	return sc.name + ", " + w.String()
}

// A base is the disk that scenarios begin with.
type base struct {
	at    *crashfs.Moment
	world *oracle.World
	seed  uint64
}

func options(fs *crashfs.FS) engine.Options {
	return engine.Options{RootKey: work.NewRoot("fault"), FS: fs, IdleTimeout: -1, UnitSize: 256, MemoryBudget: 1 << 20, DiskFullWait: -1}
}

func newBase(seed uint64) (*base, error) {
	b := &base{world: &oracle.World{}, seed: seed}
	fs := crashfs.New(crashfs.Options{})
	e := &work.Engine{Options: options(fs), World: b.world}
	if err := e.Open(); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, name := range []string{table, other} {
		if err := e.Create(name); err != nil {
			return nil, err
		}
		for range 40 {
			if err := e.Write(name, someWrite(rng), true); err != nil {
				return nil, err
			}
		}
		if err := e.Snapshot(name, "before"); err != nil {
			return nil, err
		}
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	b.at = fs.Moment()
	return b, nil
}

// someWrite is a random write on few keys.
func someWrite(rng *rand.Rand) []oracle.Effect {
	one := func() oracle.Effect {
		k := fmt.Sprintf("k%02d", rng.IntN(40))
		switch n := rng.IntN(10); {
		case n < 7:
			return oracle.Effect{Kind: oracle.Put, A: k, B: work.Value(rng.Uint64(), rng.IntN(1+rng.IntN(6000)))}
		case n < 9:
			return oracle.Effect{Kind: oracle.Delete, A: k}
		}
		return oracle.Effect{Kind: oracle.DeleteRange, A: k, B: k + "x"}
	}
	w := []oracle.Effect{one()}
	if rng.IntN(4) == 0 {
		w = append(w, one(), one(), one())
	}
	return w
}

// A try is a scenario under a fault.
type try struct {
	base *base
	fs   *crashfs.FS
	e    *work.Engine
	s    work.Subject
	rng  *rand.Rand
	errs []error
	// refused counts writes that failed: each leaves the oracle two states.
	refused int
	id      string
	// opened: the store was opened since the last fault.
	opened, healed bool
}

func (b *base) try(w way, lie func(work.Subject) work.Subject) *try {
	t := &try{base: b, fs: b.at.Crash(nil, crashfs.AllKept), rng: rand.New(rand.NewPCG(b.seed, 2))}
	t.e = &work.Engine{Options: options(t.fs), World: b.world.Clone(nil)}
	t.e.Options.Mode = engine.MustExist
	if w.waits {
		t.e.Options.DiskFullWait = callLimit
	}
	t.s = t.e
	if lie != nil {
		t.s = lie(t.e)
	}
	return t
}

// call makes a call, in time, and keeps what it fails with.
func (t *try) call(what string, f func() error) error {
	err := verdict.Within(callLimit, what, f)
	if err != nil && !work.IsAnswer(err) {
		t.errs = append(t.errs, fmt.Errorf("%s: %w", what, err))
	}
	var v *verdict.Violation
	if errors.As(err, &v) {
		panic(stop{err})
	}
	return err
}

// A stop ends a try at a violation.
type stop struct{ err error }

func (t *try) write(name string, n int) {
	for range n {
		if t.refused >= 4 {
			return // what comes after would only be refused too
		}
		w, sync := someWrite(t.rng), t.rng.IntN(3) > 0
		if t.call("write", func() error { return t.s.Write(name, w, sync) }) != nil {
			t.refused++
		}
	}
}

func (t *try) open() error {
	err := t.call("open", t.e.Open)
	t.opened = err == nil && t.healed
	return err
}

func (t *try) close() error { return t.call("close", t.e.Close) }

// A scenario is what happens while a fault lies in wait.
type scenario struct {
	name string
	shut bool // it opens the store itself
	run  func(t *try)
}

func scenarios() []scenario {
	return []scenario{
		{"fill", false, func(t *try) {
			t.write(table, 25)
			t.call("flush", func() error { return t.s.Flush(table) })
			t.write(table, 10)
		}},
		{"compaction", false, func(t *try) {
			t.write(table, 10)
			t.call("flush", func() error { return t.s.Flush(table) })
			t.call("compact", func() error { return t.s.Compact(table, "", "") })
			t.write(table, 3)
		}},
		{"snapshot", false, func(t *try) {
			t.write(table, 3)
			t.call("snapshot", func() error { return t.s.Snapshot(table, "meanwhile") })
			t.write(table, 2)
			t.call("drop snapshot", func() error { return t.s.DropSnapshot(table, "before") })
		}},
		{"create", false, func(t *try) {
			if t.call("create", func() error { return t.s.Create(fresh) }) == nil {
				t.write(fresh, 3)
			}
		}},
		{"drop", false, func(t *try) {
			t.write(table, 2)
			t.call("drop", func() error { return t.s.Drop(table, true) })
		}},
		{"open", true, func(t *try) {
			if t.open() == nil {
				t.write(table, 2)
			}
		}},
		{"recovery", true, func(t *try) {
			if t.open() == nil {
				t.call("read", func() error { _, err := t.e.Contents(table); return err })
				t.write(table, 2)
			}
		}},
		{"close", false, func(t *try) {
			t.write(table, 4)
			t.close()
		}},
	}
}

// Do does the round.
func (r Run) Do(ctx context.Context) (verdict.Counts, error) {
	counts := verdict.Counts{Rounds: 1}
	sc, w, seed, full := r.choose()
	if full {
		faults, err := r.full(ctx, seed)
		counts.Faults = faults
		return counts, err
	}
	b, err := newBase(seed)
	if err != nil {
		return counts, err
	}
	if sc.name == "recovery" {
		if err := b.crash(); err != nil {
			return counts, err
		}
	}
	total, err := b.count(sc, w)
	if err != nil {
		return counts, verdict.In(err, "fault, %s, no fault yet", sc.name)
	}
	var faults, ops atomic.Int64
	var g errgroup.Group
	g.SetLimit(2)
	var failed atomic.Bool
	stride := max(1, r.Stride)
	for at := 1 + rand.New(rand.NewPCG(seed, 7)).IntN(stride); at <= total; at += stride {
		g.Go(func() error {
			if failed.Load() || ctx.Err() != nil {
				return ctx.Err()
			}
			hits, err := b.strike(ctx, sc, w, at, r.Lie)
			faults.Add(int64(hits))
			ops.Add(1)
			if err != nil {
				failed.Store(true)
			}
			return verdict.In(err, "fault, %s, operation %d of %d, %s", sc.name, at, total, w)
		})
	}
	err = g.Wait()
	counts.Faults, counts.Operations = faults.Load(), ops.Load()
	return counts, err
}

// crash makes the base one that was not closed.
func (b *base) crash() error {
	t := b.try(way{}, nil)
	if err := t.e.Open(); err != nil {
		return err
	}
	for _, name := range []string{table, other} {
		for range 12 {
			if err := t.e.Write(name, someWrite(t.rng), true); err != nil {
				return err
			}
		}
	}
	b.world = t.e.World.Clone(func() { b.at = t.fs.Moment() })
	return t.e.Close()
}

// count runs a scenario without a fault: how many operations may fail.
func (b *base) count(sc scenario, w way) (int, error) {
	t := b.try(w, nil)
	if err := t.prepare(sc); err != nil {
		return 0, err
	}
	ops, reads := t.fs.Ops(), t.fs.Reads()
	sc.run(t)
	ops, reads = t.fs.Ops()-ops, t.fs.Reads()-reads
	if len(t.errs) > 0 {
		return 0, verdict.New(verdict.FalseAlarm, "%v", errors.Join(t.errs...))
	}
	if t.e.Store != nil {
		if err := t.close(); err != nil {
			return 0, verdict.New(verdict.FalseAlarm, "close: %v", err)
		}
	}
	if w.fault == crashfs.ReadEIO {
		return reads, nil
	}
	return ops, nil
}

// prepare opens the store and both tables, unless the scenario is to do so.
func (t *try) prepare(sc scenario) error {
	t.id = t.base.world.Table(table).ID().String()
	if sc.shut {
		return nil
	}
	if err := t.e.Open(); err != nil {
		return verdict.New(verdict.FalseAlarm, "open: %v", err)
	}
	for _, name := range []string{table, other} {
		if err := t.e.Write(name, []oracle.Effect{{Kind: oracle.Put, A: "open", B: "x"}}, true); err != nil {
			return verdict.New(verdict.FalseAlarm, "write: %v", err)
		}
	}
	return nil
}

// arm sets the fault to strike at the at-th operation from now on.
func (t *try) arm(w way, at int) {
	first := t.fs.Ops()
	if w.fault == crashfs.ReadEIO {
		first = t.fs.Reads()
	}
	first += at
	t.fs.Inject(func(n int, op crashfs.Op) crashfs.Fault {
		if op.Kind.Reads() != (w.fault == crashfs.ReadEIO) || n < first || n > first && !w.sticky ||
			w.below && !strings.Contains(op.Path, t.id) || w.waits && op.Kind.Syncs() {
			return crashfs.NoFault // nobody waits after a failed sync: it must not be tried again
		}
		return w.fault
	})
}

// strike runs a scenario under a fault, and what follows.
func (b *base) strike(ctx context.Context, sc scenario, w way, at int, lie func(work.Subject) work.Subject) (hits int, err error) {
	t := b.try(w, lie)
	defer func() {
		hits = t.fs.Faults()
		switch p := recover().(type) {
		case nil:
		case stop:
			err = p.err
		default:
			err = verdict.New(verdict.Exit, "panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err := t.prepare(sc); err != nil {
		return 0, err
	}
	t.arm(w, at)
	sc.run(t)
	struck := t.fs.Faults() > 0
	if (!struck || w.waits) && len(t.errs) > 0 {
		return 0, verdict.New(verdict.FalseAlarm, "nothing that calls may fail for has struck, and: %v", errors.Join(t.errs...))
	}
	if err := t.goOn(ctx, w); err != nil {
		return 0, err
	}
	return 0, t.powerCut(ctx)
}

// goOn lives with the fault, then on a disk that is well again, in the same
// process.
func (t *try) goOn(ctx context.Context, w way) error {
	if w.below && t.e.Store != nil {
		// The other table does not notice.
		for range 3 {
			if err := t.call("write to another table", func() error { return t.s.Write(other, someWrite(t.rng), true) }); err != nil {
				return verdict.New(verdict.FalseAlarm, "another table fails: %v", err)
			}
		}
	}
	t.fs.Heal()
	t.healed = true
	if t.e.Store == nil {
		if err := t.open(); err != nil {
			return verdict.New(verdict.FalseAlarm, "open on a healthy disk: %v", err)
		}
	}
	if err := t.reopen(ctx, w); err != nil {
		return err
	}
	if err := t.call("reading all", func() error { return t.match(ctx) }); err != nil {
		return err
	}
	for _, l := range t.e.List() {
		if err := t.call("write on", func() error { return t.s.Write(l.Name, someWrite(t.rng), true) }); err != nil {
			return verdict.New(verdict.FalseAlarm, "write to %s on a healthy disk: %v", l.Name, err)
		}
	}
	return nil
}

// reopen brings the tables back: by Reopen, or, where what all tables share was
// hit, by opening the store again. What a close says then is true either way.
func (t *try) reopen(ctx context.Context, w way) error {
	var failed error
	for _, l := range t.e.List() {
		if err := t.call("reopen a table", func() error { return t.e.ReopenTable(ctx, l.Name) }); err != nil {
			failed = fmt.Errorf("reopen %s: %w", l.Name, err)
		}
	}
	if failed == nil {
		return nil
	}
	if w.below {
		return verdict.New(verdict.FalseAlarm, "on a healthy disk: %v", failed)
	}
	_ = t.call("close", t.e.Close)
	if err := t.open(); err != nil {
		return verdict.New(verdict.FalseAlarm, "open on a healthy disk: %v; before: %v", err, failed)
	}
	return nil
}

// match holds the store as the harness sees it against the oracle.
func (t *try) match(ctx context.Context) error {
	if t.opened {
		return t.e.World.Match(ctx, reader{t.e, t.s})
	}
	return t.e.World.MatchOpen(ctx, reader{t.e, t.s})
}

// A reader reads contents by way of the subject, which may lie.
type reader struct {
	*work.Engine
	s work.Subject
}

func (r reader) Contents(name string) (oracle.State, error) {
	s := make(oracle.State)
	err := r.s.Scan(work.Source{Table: name}, engine.ScanOptions{}, func(k, v string) bool { s[k] = v; return true })
	return s, err
}

// powerCut loses what is not durable, and then closes and verifies.
func (t *try) powerCut(ctx context.Context) error {
	var m *crashfs.Moment
	world := t.e.World.Clone(func() { m = t.fs.Moment() })
	// A close may fail where the keyring did before: it is not read again.
	closed := t.call("close", t.e.Close)
	if closed != nil && len(t.errs) < 2 {
		return verdict.New(verdict.FalseAlarm, "close on a healthy disk: %v", closed)
	}
	if err := t.open(); err != nil {
		return verdict.New(verdict.FalseAlarm, "open on a healthy disk, after a close that said %v: %v", closed, err)
	}
	if err := t.call("reading all", func() error { return t.match(ctx) }); err != nil {
		return verdict.In(err, "opened again on a healthy disk")
	}
	if err := t.call("close", t.e.Close); err != nil {
		return verdict.New(verdict.FalseAlarm, "second close on a healthy disk: %v", err)
	}
	for i, style := range []crashfs.Style{crashfs.SyncedOnly, crashfs.Random} {
		fs := m.Crash(rand.New(rand.NewPCG(t.base.seed, uint64(m.Op()))), style)
		w := world.Clone(nil)
		e := &work.Engine{Options: options(fs), World: w}
		e.Options.Mode = engine.MustExist
		if err := t.call("open after a power cut", e.Open); err != nil {
			return verdict.New(verdict.FalseAlarm, "open after a power cut (%s): %v", style, err)
		}
		if err := t.call("reading all", func() error { return w.Match(ctx, e) }); err != nil {
			return verdict.In(err, "after a power cut (%s)", style)
		}
		if i == 0 {
			if err := e.Verified(); err != nil {
				return verdict.In(err, "after a power cut (%s)", style)
			}
		}
		if err := t.call("close", e.Close); err != nil {
			return verdict.New(verdict.FalseAlarm, "close after a power cut (%s): %v", style, err)
		}
	}
	return nil
}
