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
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/internal/torture/crashfs"
	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
)

// callLimit is how long a call may take, on a disk that may stay full.
const callLimit = 30 * time.Second

// A Run is a round: one scenario and one way to fail, at every operation. The
// rounds go through all of them, in an order that the seed gives; the workloads
// of later passes differ.
type Run struct {
	Seed  uint64
	Round int
	// Few, if not 0, makes the round a short one: that many of the scenarios and
	// ways, each at one operation that is drawn, each read of a fill, and as many
	// times something late in a recovery; every third fills the disk.
	Few int
	// Lie, if not nil, is what a test plants between the harness and the store.
	Lie func(work.Subject) work.Subject
}

const (
	table = "fault.table"
	other = "fault.other"
	fresh = "fault.fresh"
)

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

// Case names what the round does whole; "" for a short one.
func (r Run) Case() string {
	if r.Few > 0 {
		return ""
	}
	sc, w, _, full := r.choose()
	if full {
		return "full disk"
	}
	return sc.name + ", " + w.String()
}

// Do does the round.
func (r Run) Do(ctx context.Context) (verdict.Counts, error) {
	if r.Few > 0 {
		return r.short(ctx)
	}
	sc, w, seed, full := r.choose()
	if full {
		return fill(ctx, seed, 6, r.Lie)
	}
	bs := bases{seed: seed, lie: r.Lie}
	kinds, err := bs.count(sc, w)
	if err != nil {
		return verdict.Counts{Rounds: 1}, err
	}
	var strikes []strike
	for at := 1; at <= len(kinds); at++ {
		strikes = append(strikes, strike{sc, w, at, len(kinds)})
	}
	return bs.strike(ctx, strikes)
}

// short does a little of many cases.
func (r Run) short(ctx context.Context) (verdict.Counts, error) {
	seed := r.Seed + uint64(r.Round)
	if r.Round%3 == 2 {
		return fill(ctx, seed, 2, r.Lie)
	}
	bs := bases{seed: seed, lie: r.Lie}
	rng := rand.New(rand.NewPCG(seed, 7))
	cases := rng.Perm(Rounds() - 1)
	var strikes []strike
	for _, n := range cases[:min(r.Few, len(cases))] {
		sc, w := scenarios()[n/len(ways())], ways()[n%len(ways())]
		kinds, err := bs.count(sc, w)
		if err != nil {
			return verdict.Counts{Rounds: 1}, err
		}
		at := rng.IntN(len(kinds))
		for tries := 0; tries < 100 && !w.fault.Hits(kinds[at]); tries++ {
			at = rng.IntN(len(kinds))
		}
		strikes = append(strikes, strike{sc, w, 1 + at, len(kinds)})
	}
	// A read that fails while a log changes places is one of a few dozen.
	sc, w := filling, way{fault: crashfs.ReadEIO}
	kinds, err := bs.count(sc, w)
	if err != nil {
		return verdict.Counts{Rounds: 1}, err
	}
	for at := range kinds {
		strikes = append(strikes, strike{sc, w, 1 + at, len(kinds)})
	}
	// What fails late in an opening meets the compaction that recovery has begun
	// beside it: a race, which takes as many tries to be seen.
	sc, w = recovery, way{fault: crashfs.EIO}
	if kinds, err = bs.count(sc, w); err != nil {
		return verdict.Counts{Rounds: 1}, err
	}
	for range r.Few {
		strikes = append(strikes, strike{sc, w, len(kinds) - rng.IntN(len(kinds)/3), len(kinds)})
	}
	return bs.strike(ctx, strikes)
}

// A strike is a fault in a scenario, at one of its operations.
type strike struct {
	sc        scenario
	way       way
	at, total int
}

// bases are the disks that a round's scenarios begin with, and which of their
// operations may fail. Each is made when it is needed.
type bases struct {
	seed          uint64
	lie           func(work.Subject) work.Subject
	closed, crash *base
	kinds         map[string][]crashfs.Kind
}

// of is the disk that a scenario begins with.
func (bs *bases) of(sc scenario) (*base, error) {
	b := &bs.closed
	if sc.crashed {
		b = &bs.crash
	}
	if *b != nil {
		return *b, nil
	}
	made, err := newBase(bs.seed)
	if err == nil && b == &bs.crash {
		err = made.crash()
	}
	if err != nil {
		return nil, err
	}
	*b = made
	return made, nil
}

// count tells the kinds of a scenario's operations that may fail in that way.
func (bs *bases) count(sc scenario, w way) ([]crashfs.Kind, error) {
	what := sc.name
	if w.fault == crashfs.ReadEIO {
		what += ", reads"
	}
	if kinds, ok := bs.kinds[what]; ok {
		return kinds, nil
	}
	b, err := bs.of(sc)
	if err != nil {
		return nil, err
	}
	kinds, err := b.count(sc, w)
	if err != nil {
		return nil, verdict.In(err, "fault, %s, no fault yet", sc.name)
	}
	if bs.kinds == nil {
		bs.kinds = make(map[string][]crashfs.Kind)
	}
	bs.kinds[what] = kinds
	return kinds, nil
}

// strike strikes, four at a time, until one finds a violation.
func (bs *bases) strike(ctx context.Context, strikes []strike) (verdict.Counts, error) {
	var faults, ops atomic.Int64
	var failed atomic.Bool
	var g errgroup.Group
	g.SetLimit(4)
	for _, s := range strikes {
		b, err := bs.of(s.sc)
		if err != nil {
			return verdict.Counts{Rounds: 1}, errors.Join(err, g.Wait())
		}
		g.Go(func() error {
			if failed.Load() || ctx.Err() != nil {
				return ctx.Err()
			}
			hits, err := b.strike(ctx, s.sc, s.way, s.at, bs.lie)
			faults.Add(int64(hits))
			ops.Add(1)
			if err != nil {
				failed.Store(true)
			}
			return verdict.In(err, "fault, %s, operation %d of %d, %s", s.sc.name, s.at, s.total, s.way)
		})
	}
	err := g.Wait()
	return verdict.Counts{Rounds: 1, Faults: faults.Load(), Operations: ops.Load()}, err
}
