// Package meta runs the same random operations on a plain map and on stores of
// several configurations, which must all find the same. A history that tells
// them apart is made as short as it goes.
package meta

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
	"github.com/cofredb/cofre/keyring"
)

// A Config is a configuration of stores.
type Config struct {
	Name    string
	Options engine.Options
	Table   engine.TableOptions
	// Subject, if not nil, stands between the store and the operations; a test
	// lies with it.
	Subject func(work.Subject) work.Subject
}

// Configs are those that are compared.
func Configs() []Config {
	return []Config{
		{Name: "unit-64", Options: engine.Options{UnitSize: 64, MemoryBudget: 8 << 20}},
		{Name: "unit-256-small", Options: engine.Options{UnitSize: 256, MemoryBudget: 1 << 20, MaxOpenFiles: 16}},
		{Name: "unit-2048", Options: engine.Options{}},
		{Name: "unit-4096-blobs", Options: engine.Options{UnitSize: 4096, MemoryBudget: 1 << 20},
			Table: engine.TableOptions{SeparateValuesFrom: 100, NoCompression: true}},
		{Name: "unit-64-blobs", Options: engine.Options{UnitSize: 64, MemoryBudget: 1 << 20},
			Table: engine.TableOptions{SeparateValuesFrom: 600}},
	}
}

// callLimit is how long an operation may take.
const callLimit = 2 * time.Minute

// A Run is a round: operations, and the configurations that run them.
type Run struct {
	Seed    uint64
	Ops     int
	Large   int // bytes; the longest value
	Configs []Config
	// ShrinkFor is how long a failing history is shrunk; 0 is a minute.
	ShrinkFor time.Duration
}

// Do does the round.
func (r Run) Do(ctx context.Context) (verdict.Counts, error) {
	counts := verdict.Counts{Rounds: 1}
	rng := rand.New(rand.NewPCG(r.Seed, 1))
	model := work.NewModel()
	g := work.NewGen(rng, model, work.Mix{Large: r.Large, NoSync: 60})
	var ops []work.Op
	var want []string
	for range r.Ops {
		op := g.Next()
		ops, want = append(ops, op), append(want, op.Run(model))
	}
	var eg errgroup.Group
	eg.SetLimit(2)
	for _, c := range r.Configs {
		eg.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			at, err := replay(c, ops, want)
			if err == nil {
				return nil
			}
			v := *verdict.Of(err)
			if v.Kind != verdict.Hang {
				ops, short := r.shrink(ctx, c, ops[:min(at+1, len(ops))], v.Kind)
				if short != nil {
					v = *short
				}
				v.Transcript = "# " + c.Name + "\n" + work.Format(ops)
			}
			return verdict.In(&v, "meta, %s", c.Name)
		})
	}
	err := eg.Wait()
	counts.Operations = int64(len(ops) * len(r.Configs))
	return counts, err
}

// Replay runs a transcript on a configuration against the model.
func Replay(c Config, ops []work.Op) error {
	model := work.NewModel()
	var want []string
	for _, op := range ops {
		want = append(want, op.Run(model))
	}
	_, err := replay(c, ops, want)
	return err
}

// replay runs ops on a store and compares with what a model has found. At is
// the op that told them apart.
func replay(c Config, ops []work.Op, want []string) (at int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = verdict.New(verdict.Exit, "%s panics: %v\n%s", line(ops, at), r, debug.Stack())
		}
	}()
	mem := vfs.NewCrashableMem()
	e := &work.Engine{Options: c.Options, Table: c.Table}
	e.Options.RootKey = work.NewRoot("meta")
	e.Options.Roots = []keyring.RootKey{work.NewRoot("meta-other")}
	e.Options.IdleTimeout = -1
	e.Options.FS = mem
	e.Restart = func(o *engine.Options) {
		mem = mem.CrashClone(vfs.CrashCloneCfg{})
		o.FS = mem
	}
	if err := e.Open(); err != nil {
		return 0, verdict.New(verdict.FalseAlarm, "open: %v", err)
	}
	defer func() { _ = e.Close() }()
	var s work.Subject = e
	if c.Subject != nil {
		s = c.Subject(e)
	}
	for i, op := range ops {
		at = i
		var got string
		if err := within(op.String(), func() error { got = op.Run(s); return nil }); err != nil {
			return at, err
		}
		if got != want[i] {
			return at, judge(op, got, want[i])
		}
	}
	at = len(ops)
	return at, finish(e, s, ops)
}

// finish reads all, verifies, closes, and reads again.
func finish(e *work.Engine, s work.Subject, ops []work.Op) error {
	model := work.NewModel()
	for _, op := range ops {
		op.Run(model)
	}
	for _, after := range []string{"at the end", "after closing and opening"} {
		for _, l := range model.List() {
			got, gerr := all(s, l.Name)
			want, _ := all(model, l.Name)
			if gerr != nil {
				return verdict.New(verdict.FalseAlarm, "%s: table %s: %v", after, l.Name, gerr)
			}
			for k, v := range want {
				if g, ok := got[k]; !ok {
					return verdict.New(verdict.Lost, "%s: table %s: %q", after, l.Name, k)
				} else if g != v {
					return verdict.New(verdict.Wrong, "%s: table %s: %q", after, l.Name, k)
				}
				delete(got, k)
			}
			for k := range got {
				return verdict.New(verdict.Phantom, "%s: table %s: %q", after, l.Name, k)
			}
		}
		if err := e.Verified(); err != nil {
			return verdict.In(err, "%s", after)
		}
		if err := within("reopen", e.Reopen); err != nil {
			return verdict.New(verdict.FalseAlarm, "reopen: %v", err)
		}
	}
	return nil
}

func all(s work.Subject, table string) (oracle.State, error) {
	state := make(oracle.State)
	err := s.Scan(work.Source{Table: table}, engine.ScanOptions{}, func(k, v string) bool { state[k] = v; return true })
	return state, err
}

// within runs f in time, and hands a panic of it to the caller.
func within(what string, f func() error) error {
	var panicked any
	var stack []byte
	err := verdict.Within(callLimit, what, func() (err error) {
		defer func() {
			if panicked = recover(); panicked != nil {
				stack = debug.Stack()
			}
		}()
		return f()
	})
	if err == nil && panicked != nil {
		return verdict.New(verdict.Exit, "%s panics: %v\n%s", what, panicked, stack)
	}
	return err
}

// judge names the difference between what a store and the model have found.
func judge(op work.Op, got, want string) error {
	kind := verdict.Wrong
	switch {
	case want == "ok" || errorLike(got):
		kind = verdict.FalseAlarm
	case op.Verb == "get" && got == "none":
		kind = verdict.Lost
	case op.Verb == "get" && want == "none":
		kind = verdict.Phantom
	}
	return verdict.New(kind, "%.200s: found %s, must be %s", op, got, want)
}

// errorLike tells whether an answer is an error that no model gives.
func errorLike(s string) bool {
	return len(s) > 0 && errorWords.MatchString(s)
}

func line(ops []work.Op, at int) string {
	if at < len(ops) {
		return fmt.Sprintf("%.200s", ops[at])
	}
	return "the end"
}
