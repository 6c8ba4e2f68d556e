package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/torture/crashfs"
	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
)

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
	if sc.crashed {
		t.fs.Slow(time.Millisecond)
	}
	sc.run(t)
	struck := t.fs.Faults() > 0
	if (!struck || w.waits) && len(t.errs) > 0 {
		return 0, verdict.New(verdict.FalseAlarm, "nothing that calls may fail for has struck, and: %v", errors.Join(t.errs...))
	}
	// A power cut right here loses nothing that was acknowledged: what a failed
	// sync has left behind is seen now, or not at all, for a close writes anew.
	var m *crashfs.Moment
	world := t.e.World.Clone(func() { m = t.fs.Moment() })
	if err := t.afterCut(ctx, m, world, crashfs.SyncedOnly, false); err != nil {
		return 0, verdict.In(err, "right after the fault")
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
	if err := t.afterCut(ctx, m, world, crashfs.SyncedOnly, true); err != nil {
		return err
	}
	return t.afterCut(ctx, m, world, crashfs.Random, false)
}

// afterCut opens what a power cut at a moment leaves, and holds it against the
// world of that moment.
func (t *try) afterCut(ctx context.Context, m *crashfs.Moment, world *oracle.World, style crashfs.Style, verify bool) error {
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
	if verify {
		if err := e.Verified(); err != nil {
			return verdict.In(err, "after a power cut (%s)", style)
		}
	}
	if err := t.call("close", e.Close); err != nil {
		return verdict.New(verdict.FalseAlarm, "close after a power cut (%s): %v", style, err)
	}
	return nil
}
