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
	name string
	run  func(context.Context, task) outcome
}

// families are all there are.
func families() []family {
	return []family{
		{"meta", simple(func(ctx context.Context, t task) (verdict.Counts, error) {
			return meta.Run{Seed: t.seed, Ops: 3000, Large: 3 << 20, Configs: meta.Configs()}.Do(ctx)
		})},
		{"crash", simple(func(ctx context.Context, t task) (verdict.Counts, error) {
			return (&crash.Run{Seed: t.seed, Ops: 600, Every: 16, Again: 15}).Do(ctx)
		})},
		{"fault", simple(func(ctx context.Context, t task) (verdict.Counts, error) {
			return fault.Run{Seed: t.base, Round: t.round}.Do(ctx)
		})},
		{"kill", simple(func(ctx context.Context, t task) (verdict.Counts, error) {
			return kill.Run{Seed: t.seed, Kills: 12}.Do(ctx)
		})},
		{"syscall", func(ctx context.Context, t task) outcome {
			if reason := kill.NoTrace(); reason != "" {
				return outcome{NotRun: reason}
			}
			return simple(func(ctx context.Context, t task) (verdict.Counts, error) {
				return kill.Trace{Seed: t.seed, Round: t.round, Runs: 6}.Do(ctx)
			})(ctx, t)
		}},
		{"attack", suite(suites.Attack)},
		{"pebble", suite(suites.Pebble)},
		{"leak", suite(suites.Leak)},
		{"concurrency", func(ctx context.Context, t task) outcome {
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
		return outcome{Counts: r.Counts, Violation: verdict.Of(r.Err), Notes: r.Notes, NotRun: r.NotRun}
	}
}

// mix draws the seed of a round.
func mix(seed uint64, family string, round int) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strconv.FormatUint(seed, 10) + " " + family + " " + strconv.Itoa(round)))
	return h.Sum64()
}
