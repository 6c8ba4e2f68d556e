package kill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"

	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/verdict"
)

// A Trace is a round of children under strace, in each of which one system
// call fails.
type Trace struct {
	Seed  uint64
	Round int
	Runs  int
}

// calls are the system calls that fail, and how many of each a child makes, or
// so.
var calls = []struct {
	name string
	err  string
	many int
}{
	{"fdatasync", "EIO", 150}, {"fsync", "EIO", 60}, {"write", "ENOSPC", 500}, {"pwrite64", "EIO", 40},
	{"fallocate", "ENOSPC", 20}, {"renameat", "EIO", 40}, {"openat", "EIO", 300}, {"unlinkat", "EIO", 30}, {"linkat", "EIO", 10},
}

// NoTrace is why there is nothing to trace with; "" if there is.
func NoTrace() string {
	if _, err := exec.LookPath("strace"); err != nil {
		return "strace is not at hand"
	}
	if out, err := exec.Command("strace", "-f", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		return fmt.Sprintf("strace cannot trace here: %v: %.200s", err, out)
	}
	return ""
}

// Do does the round.
func (r Trace) Do(ctx context.Context) (counts verdict.Counts, err error) {
	counts.Rounds = 1
	rng := rand.New(rand.NewPCG(r.Seed, 4))
	for n := range r.Runs {
		call := calls[(r.Round*r.Runs+n)%len(calls)]
		at := 1 + rng.IntN(call.many)
		ops, err := r.one(ctx, rng.Uint64(), call.name, fmt.Sprintf(":error=%s:when=%d", call.err, at))
		counts.Operations += int64(ops)
		counts.Faults++
		if err != nil {
			return counts, verdict.In(err, "%s fails with %s, call %d", call.name, call.err, at)
		}
	}
	return counts, nil
}

func (r Trace) one(ctx context.Context, seed uint64, call, how string) (ops int, err error) {
	dir, err := os.MkdirTemp("", "torture-trace-")
	if err != nil {
		return 0, err
	}
	defer func() {
		if rerr := os.RemoveAll(dir); err == nil {
			err = rerr
		}
	}()
	world := &oracle.World{}
	plain := child{dir: dir, seed: seed, ops: 40, world: world}
	if ops, _, err = plain.run(ctx, time.Minute); err != nil {
		return ops, err
	}
	if err := inspect(ctx, dir, world); err != nil {
		return ops, verdict.In(err, "before the fault")
	}
	c := child{dir: dir, seed: seed + 1, ops: 150, world: world, refusals: true,
		trace: []string{"strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace=" + call, "-e", "inject=" + call + how}}
	n, killed, err := c.run(ctx, 2*time.Minute)
	ops += n
	if err != nil {
		return ops, err
	}
	if killed {
		return ops, verdict.New(verdict.Hang, "the child has not ended after two minutes")
	}
	return ops, inspect(ctx, dir, world)
}
