package main

import (
	"context"
	"hash/fnv"
	"strconv"

	"github.com/cofredb/cofre/internal/torture/crash"
	"github.com/cofredb/cofre/internal/torture/fault"
	"github.com/cofredb/cofre/internal/torture/kill"
	"github.com/cofredb/cofre/internal/torture/linear"
	"github.com/cofredb/cofre/internal/torture/meta"
	"github.com/cofredb/cofre/internal/torture/suites"
	"github.com/cofredb/cofre/internal/torture/verdict"
)

// A task is a round to do: its own seed, and for families that go through a
// list the seed of the whole soak and the number of the round.
type task struct {
	seed  uint64
	base  uint64
	round int
	long  bool // a long soak: do all that a suite can
}

type family struct {
	name  string
	share int // of the time, against the others'
	cases int // how many there are to go through; 0 is without end
	run   func(context.Context, task) outcome
}

// families are all there are.
func families() []family {
	return []family{
		{name: "meta", share: 3, run: simple(func(ctx context.Context, t task) (verdict.Counts, error) {
			return meta.Run{Seed: t.seed, Ops: 3000, Large: 3 << 20, Configs: meta.Configs()}.Do(ctx)
		})},
		{name: "crash", share: 2, run: simple(func(ctx context.Context, t task) (verdict.Counts, error) {
			return (&crash.Run{Seed: t.seed, Ops: 600, Every: 16, Again: 15}).Do(ctx)
		})},
		{name: "fault", share: 4, cases: fault.Rounds(), run: func(ctx context.Context, t task) outcome {
			r := fault.Run{Seed: t.base, Round: t.round}
			if !t.long {
				r.Few = 60
			}
			counts, err := r.Do(ctx)
			return outcome{Counts: counts, Violation: verdict.Of(err), Case: r.Case()}
		}},
		{name: "kill", share: 2, run: simple(func(ctx context.Context, t task) (verdict.Counts, error) {
			return kill.Run{Seed: t.seed, Kills: 12}.Do(ctx)
		})},
		{name: "syscall", share: 1, run: func(ctx context.Context, t task) outcome {
			if reason := kill.NoTrace(); reason != "" {
				return outcome{NotRun: reason}
			}
			return simple(func(ctx context.Context, t task) (verdict.Counts, error) {
				return kill.Trace{Seed: t.seed, Round: t.round, Runs: 6}.Do(ctx)
			})(ctx, t)
		}},
		{name: "formats", share: 1, run: suite(suites.Formats)},
		{name: "attack", share: 2, run: suite(suites.Attack)},
		{name: "pebble", share: 1, run: suite(suites.Pebble)},
		{name: "archive", share: 1, run: suite(suites.Archive)},
		{name: "leak", share: 1, run: suite(suites.Leak)},
		{name: "concurrency", share: 1, run: func(ctx context.Context, t task) outcome {
			if t.round%8 == 7 {
				return suite(suites.Concurrency)(ctx, t)
			}
			return simple(func(ctx context.Context, t task) (verdict.Counts, error) {
				return linear.Run{Seed: t.seed, Ops: 3000}.Do(ctx)
			})(ctx, t)
		}},
	}
}

func simple(do func(context.Context, task) (verdict.Counts, error)) func(context.Context, task) outcome {
	return func(ctx context.Context, t task) outcome {
		counts, err := do(ctx, t)
		return outcome{Counts: counts, Violation: verdict.Of(err)}
	}
}

func suite(s suites.Suite) func(context.Context, task) outcome {
	return func(ctx context.Context, t task) outcome {
		r := s.Do(ctx, t.long)
		return outcome{Counts: r.Counts, Violation: verdict.Of(r.Err), Notes: r.Notes, Attacks: r.Attacks, NotRun: r.NotRun}
	}
}

// mix draws the seed of a round.
func mix(seed uint64, family string, round int) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strconv.FormatUint(seed, 10) + " " + family + " " + strconv.Itoa(round)))
	return h.Sum64()
}
