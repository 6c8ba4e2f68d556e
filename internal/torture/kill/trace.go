package kill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/verdict"
)

// A Trace is a round of children under strace, in each of which a system call
// on the store's files fails, once a thread or from then on.
type Trace struct {
	Seed  uint64
	Round int
	Runs  int
}

// A sysFault is a system call and what it may fail with. Architectures differ
// in which calls there are: strace passes over one with a question mark.
type sysFault struct {
	call   string
	errors []string
}

// sysFaults are what fails, in turn. pwrite64 is there for files that are
// written in their middle, which no store has today: a child that never makes
// a call cannot fail in it, and that is no fault.
var sysFaults = []sysFault{
	{"fdatasync", []string{"EIO", "ENOSPC"}},
	{"fsync", []string{"EIO"}},
	{"write", []string{"ENOSPC", "EIO"}},
	{"fallocate", []string{"ENOSPC", "EIO"}},
	{"?rename,?renameat,?renameat2", []string{"EIO", "ENOSPC"}},
	{"openat", []string{"EIO", "ENOSPC", "EMFILE"}},
	{"unlinkat", []string{"EIO"}},
	{"linkat", []string{"EIO", "ENOSPC"}},
	{"ftruncate", []string{"EIO"}},
	{"pwrite64", []string{"ENOSPC", "EIO"}},
	{"mkdirat", []string{"ENOSPC"}},
	{"sync_file_range", []string{"EIO"}},
	{"pread64", []string{"EIO"}},
}

// tracedOps is how many operations a child does, if nothing fails.
const tracedOps = 80

// tries is how often a child is run until the fault strikes: no two children
// make the same calls.
const tries = 4

// lastCall is the highest number of a call that strace takes.
const lastCall = 65535

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

// Do does the round. Faults are the children in which a call has failed. A
// round in which none has although the calls were made is a violation: it has
// shown nothing.
func (r Trace) Do(ctx context.Context) (counts verdict.Counts, err error) {
	counts.Rounds = 1
	rng := rand.New(rand.NewPCG(r.Seed, 4))
	made := 0
	for n := range r.Runs {
		t := &traced{fault: sysFaults[(r.Round*r.Runs+n)%len(sysFaults)], rng: rng}
		err := t.do(ctx)
		counts.Operations += int64(t.ops)
		counts.Faults += int64(t.struck)
		made += t.made
		if err != nil {
			return counts, verdict.In(err, "%s", t.how)
		}
	}
	if made > 0 && counts.Faults == 0 {
		return counts, verdict.New(verdict.Broken, "the children made %d calls that could fail, and none has", made)
	}
	return counts, nil
}

// A traced is a store with children under strace.
type traced struct {
	fault sysFault
	rng   *rand.Rand
	dir   string
	world *oracle.World

	ops    int
	made   int    // calls on the store's files, when none failed
	struck int    // children in which one has failed
	how    string // what fails, for messages
}

// do runs a child in which nothing fails, to see which calls it makes, and then
// children in which one fails, until it does.
func (t *traced) do(ctx context.Context) (err error) {
	if t.dir, err = os.MkdirTemp("", "torture-trace-"); err != nil {
		return err
	}
	defer func() {
		if rerr := os.RemoveAll(t.dir); err == nil {
			err = rerr
		}
	}()
	t.world = &oracle.World{}
	t.how = t.fault.call + ", before it fails"
	calls, err := t.child(ctx, "")
	if err != nil {
		return err
	}
	ours := onlyOurs(calls)
	if t.made = len(ours); t.made == 0 {
		return nil
	}
	first := startup(calls) + 1
	at := min(max(first, ours[t.rng.IntN(len(ours))].index), lastCall)
	for range tries {
		inject := fmt.Sprintf(":error=%s:when=%d", t.fault.errors[t.rng.IntN(len(t.fault.errors))], at)
		// From then on; but a process that can write no more, to a wakeup of its
		// own runtime either, ends without a word, and nobody knows why.
		if t.fault.call != "write" && t.rng.IntN(4) == 0 {
			inject += "+"
		}
		t.how = t.fault.call + inject
		if calls, err = t.child(ctx, inject); err != nil {
			return err
		}
		if failed := injected(calls); failed > 0 {
			t.struck++
			return nil
		}
		at = first + t.rng.IntN(at-first+1) // it was not reached
	}
	return nil
}

// child runs one under strace, and opens what it leaves. It returns the calls
// that it made.
func (t *traced) child(ctx context.Context, inject string) ([]sysCall, error) {
	log := filepath.Join(t.dir, "trace")
	trace := []string{"strace", "-f", "-qq", "-y", "-s", "0", "-o", log, "-e", "trace=" + t.fault.call}
	if inject != "" {
		trace = append(trace, "-e", "inject="+t.fault.call+inject)
	}
	c := child{dir: t.dir, seed: t.rng.Uint64(), ops: tracedOps, world: t.world, refusals: inject != "", trace: trace}
	n, killed, err := c.run(ctx, 2*time.Minute)
	t.ops += n
	if err != nil {
		return nil, err
	}
	if killed {
		return nil, verdict.New(verdict.Hang, "the child has not ended after two minutes")
	}
	calls, err := readTrace(log, t.dir)
	if err != nil {
		return nil, err
	}
	return calls, inspect(ctx, t.dir, t.world)
}
