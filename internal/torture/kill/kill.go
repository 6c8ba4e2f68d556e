// Package kill runs a child process that works on a store in a real directory,
// kills it at random moments, during its opens too, and opens what it has left.
// The child says on a pipe what it is about to do and what has returned; the
// parent keeps that as the oracle's World. The root key is that of a local key
// service in a file, which also notes the newest keyring.
//
// Package kill also runs the child under strace, which makes system calls fail.
package kill

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// The child's environment.
const (
	dirVar  = "COFRE_TORTURE_CHILD"
	seedVar = "COFRE_TORTURE_SEED"
	opsVar  = "COFRE_TORTURE_OPS"
)

// A Run is a round: so many kills of the same store.
type Run struct {
	Seed  uint64
	Kills int
	Dir   string // where to make a directory; "" is the system's for temporary files
}

func options(dir string) (engine.Options, error) {
	svc, err := local.Open(filepath.Join(dir, "keys"), local.Options{})
	if err != nil {
		return engine.Options{}, err
	}
	root, _, err := svc.Ensure(context.Background(), "torture")
	if err != nil {
		return engine.Options{}, err
	}
	other, _, err := svc.Ensure(context.Background(), "torture-other")
	return engine.Options{RootKey: root, Roots: []keyring.RootKey{other}, MemoryBudget: 1 << 20, UnitSize: 256, IdleTimeout: 20 * time.Millisecond, DiskFullWait: -1}, err
}

const table = "kill.table"

// refused is the status of a child that ends because a call has failed.
const refused = 3

// An event is a line of what the child says.
type event struct {
	Op      string     // an op of package work that is about to run, or "open"
	Table   keyring.ID `json:",omitzero"` // of a creation that has returned
	Done    bool       `json:",omitempty"`
	Err     string     `json:",omitempty"`
	Durable bool       `json:",omitempty"`
}

// Do does the round.
func (r Run) Do(ctx context.Context) (counts verdict.Counts, err error) {
	counts.Rounds = 1
	dir, err := os.MkdirTemp(r.Dir, "torture-kill-")
	if err != nil {
		return counts, err
	}
	defer func() {
		if rerr := os.RemoveAll(dir); err == nil {
			err = rerr
		}
	}()
	rng := rand.New(rand.NewPCG(r.Seed, 1))
	world := &oracle.World{}
	for n := range r.Kills {
		if ctx.Err() != nil {
			return counts, ctx.Err()
		}
		// Many die while they open.
		after := time.Duration(rng.Int64N(int64(time.Second)))
		if rng.IntN(3) == 0 {
			after /= 12
		}
		c := child{dir: dir, seed: rng.Uint64(), ops: 1 << 30, world: world}
		ops, killed, err := c.run(ctx, after)
		counts.Operations += int64(ops)
		if err != nil {
			return counts, verdict.In(err, "kill %d", n)
		}
		if killed {
			counts.Kills++
		}
		if err := inspect(ctx, dir, world); err != nil {
			return counts, verdict.In(err, "after kill %d", n)
		}
	}
	return counts, nil
}

// inspect opens the store, holds it against the world, and closes it.
func inspect(ctx context.Context, dir string, world *oracle.World) error {
	o, err := options(dir)
	if err != nil {
		return err
	}
	if world.IsMade() {
		o.Mode = engine.MustExist
	}
	e := &work.Engine{Dir: filepath.Join(dir, "store"), Options: o, World: world}
	if err := verdict.Within(time.Minute, "open", e.Open); err != nil {
		if v := new(verdict.Violation); errors.As(err, &v) {
			return err
		}
		return verdict.New(verdict.FalseAlarm, "open: %v", err)
	}
	defer func() { _ = e.Close() }()
	if err := world.Match(ctx, e); err != nil {
		return err
	}
	if err := e.Verified(); err != nil {
		return err
	}
	if err := verdict.Within(time.Minute, "close", e.Close); err != nil {
		return verdict.New(verdict.FalseAlarm, "close: %v", err)
	}
	return nil
}

// A child is a process that works on a store.
type child struct {
	dir   string
	seed  uint64
	ops   int
	world *oracle.World
	trace []string // what to run it under
	// refusals: calls may fail, and the child may then end.
	refusals bool
}

// run runs the child, for a time or until it ends, and tells the world. An end
// of its own with another status than 0 is a violation.
func (c *child) run(ctx context.Context, limit time.Duration) (ops int, killed bool, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, false, err
	}
	args := append(append([]string{}, c.trace...), self)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), dirVar+"="+c.dir, seedVar+"="+strconv.FormatUint(c.seed, 10), opsVar+"="+strconv.Itoa(c.ops))
	var errs tail
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, false, err
	}
	if err := cmd.Start(); err != nil {
		return 0, false, err
	}
	timer := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	ops, herr := c.hear(out)
	_, _ = io.Copy(io.Discard, out)
	werr := cmd.Wait()
	killed = !timer.Stop()
	switch {
	case herr != nil:
		return ops, killed, herr
	case c.refusals && cmd.ProcessState.ExitCode() == refused:
	case c.refusals && bytes.Contains(errs, ownWakeup):
	case werr != nil && !killed && ctx.Err() == nil:
		return ops, false, verdict.New(verdict.Exit, "the child has ended by itself: %v\n%s", werr, errs)
	}
	return ops, killed, nil
}

// ownWakeup is what Go's runtime says where it cannot wake itself by a write to
// a descriptor of its own, which no disk is behind: it ends the process. Where
// strace makes that write fail, it is no more than a kill. What it says before that may
// be missing: strace counts by thread.
var ownWakeup = []byte("runtime: netpollBreak write failed")

// A tail keeps the first of what is written.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	if len(*t) < 8000 {
		*t = append(*t, p...)
	}
	return len(p), nil
}

// hear tells the world what the child says, until it says no more.
func (c *child) hear(out io.Reader) (ops int, err error) {
	r := bufio.NewReaderSize(out, 1<<20)
	var last work.Op
	var h *oracle.Table
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return ops, nil // the last line may be torn: it began nothing
		}
		var ev event
		if err := json.Unmarshal(line, &ev); err != nil {
			return ops, fmt.Errorf("the child says %.100q: %w", line, err)
		}
		if ev.Op == "open" {
			c.world.Made()
			continue
		}
		if ev.Op != "" {
			if last, err = work.Parse(ev.Op); err != nil {
				return ops, err
			}
			ops++
			h = c.begin(last)
			continue
		}
		if ev.Err != "" && c.refusals {
			continue // it may be there or not
		}
		if ev.Err != "" {
			return ops, verdict.New(verdict.FalseAlarm, "the child's %.200s: %s", last, ev.Err)
		}
		c.end(last, h, ev)
	}
}

// begin tells the world of an op, by running it on a subject that only tells.
func (c *child) begin(op work.Op) *oracle.Table {
	h := c.world.Table(op.Args[0])
	switch op.Verb {
	case "create":
		return c.world.Creating(op.Args[0])
	case "drop":
		c.world.Dropping(h)
	case "snapshot":
		c.world.Snapshotting(h, op.Args[1])
	case "dropsnapshot":
		c.world.DroppingSnapshot(h, op.Args[1])
	default:
		if w := work.Effects(op); w != nil {
			c.world.Issue(h, w)
		}
	}
	return h
}

func (c *child) end(op work.Op, h *oracle.Table, ev event) {
	switch op.Verb {
	case "create":
		c.world.Created(h, ev.Table)
	case "drop":
		c.world.Dropped(h)
	case "snapshot":
		c.world.Snapshotted(h, op.Args[1])
	case "dropsnapshot":
		c.world.DroppedSnapshot(h, op.Args[1])
	case "flush", "close":
		c.world.Durable(h)
	default:
		if work.Effects(op) != nil {
			c.world.Ack(h, ev.Durable)
		}
	}
}
