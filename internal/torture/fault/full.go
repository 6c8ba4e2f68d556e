package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
)

// fill fills the disk, so many times: the table stays readable, a write says that
// the disk is full, and when there is space it goes on, without a Reopen.
func fill(ctx context.Context, seed uint64, times int, lie func(work.Subject) work.Subject) (verdict.Counts, error) {
	counts := verdict.Counts{Rounds: 1}
	b, err := newBase(seed)
	if err != nil {
		return counts, err
	}
	rng := rand.New(rand.NewPCG(seed, 5))
	for range times {
		t := b.try(way{}, lie)
		t.e.Options.DiskFullWait = 100 * time.Millisecond
		if err := t.prepare(scenario{}); err != nil {
			return counts, err
		}
		if err := t.fill(ctx, rng); err != nil {
			return counts, verdict.In(err, "fault, full disk, seed %d", seed)
		}
		counts.Faults++
		if err := t.powerCut(ctx); err != nil {
			return counts, verdict.In(err, "fault, full disk, seed %d", seed)
		}
	}
	return counts, nil
}

// reopenFull closes the store and opens it while the disk is full. Both may
// say that it is; neither takes longer than a call may.
func (t *try) reopenFull(ctx context.Context) error {
	if err := t.close(); err != nil && !errors.Is(err, engine.ErrDiskFull) {
		return verdict.New(verdict.Wrong, "close on a full disk: %v", err)
	}
	if err := t.open(); err != nil {
		if !errors.Is(err, engine.ErrDiskFull) {
			return verdict.New(verdict.Wrong, "open on a full disk: %v", err)
		}
		return nil
	}
	err := t.call("reading all", func() error { return t.match(ctx) })
	if err != nil && !errors.Is(err, engine.ErrDiskFull) {
		return verdict.In(err, "opened on a full disk")
	}
	return nil
}

func (t *try) fill(ctx context.Context, rng *rand.Rand) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s, ok := p.(stop)
			if !ok {
				panic(p)
			}
			err = s.err
		}
	}()
	was := t.fs.Used()
	t.fs.SetCapacity(was + 100<<10 + rng.Int64N(2<<20))
	full := false
	for n := range 4000 {
		// New keys: what is overwritten, compactions give back.
		w := []oracle.Effect{{Kind: oracle.Put, A: fmt.Sprintf("full%04d", n), B: work.Value(rng.Uint64(), 4000)}}
		err := t.call("write", func() error { return t.s.Write(table, w, true) })
		if err == nil {
			continue
		}
		if !errors.Is(err, engine.ErrDiskFull) && !errors.Is(err, engine.ErrPoisoned) {
			return verdict.New(verdict.Wrong, "a write on a full disk: %v", err)
		}
		full = true
		break
	}
	if !full {
		return verdict.New(verdict.Wrong, "4000 writes of 4 kB went on a disk of 2 MiB")
	}
	for _, name := range []string{table, other} {
		if err := t.call("read", func() error { _, err := t.e.Contents(name); return err }); err != nil {
			return verdict.New(verdict.FalseAlarm, "%s is not readable on a full disk: %v", name, err)
		}
	}
	if err := t.call("reading all", func() error { return t.match(ctx) }); err != nil {
		return verdict.In(err, "on a full disk")
	}
	if err := t.call("write", func() error { return t.s.Write(table, someWrite(rng), true) }); err == nil {
		return verdict.In(t.match(ctx), "after a write that went on a full disk")
	}
	if rng.IntN(2) == 0 {
		if err := t.reopenFull(ctx); err != nil {
			return err
		}
	}
	t.fs.SetCapacity(was + 1<<30)
	if t.e.Store == nil {
		if err := t.open(); err != nil {
			return verdict.New(verdict.FalseAlarm, "open with space again: %v", err)
		}
	}
	deadline := time.Now().Add(callLimit)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		w := someWrite(rng)
		err := t.call("write with space again", func() error { return t.s.Write(table, w, true) })
		if err == nil {
			break
		}
		if time.Now().After(deadline) || !errors.Is(err, engine.ErrDiskFull) {
			return verdict.New(verdict.FalseAlarm, "a write with space again: %v", err)
		}
		// What is unknown is told apart by reading, or states would multiply.
		if err := t.match(ctx); err != nil {
			return verdict.In(err, "with space again")
		}
		<-tick.C
	}
	return verdict.In(t.match(ctx), "with space again")
}
