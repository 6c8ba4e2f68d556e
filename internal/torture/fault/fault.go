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
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

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
