package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/bench/report"
	"github.com/cofredb/cofre/bench/system"
)

// ErrUnfit says that a plan cannot be run where it should.
var ErrUnfit = errors.New("the benchmark cannot run here")

// A Progress tells how far a run is. Turns that fail count as done.
type Progress struct {
	Done, Turns int
	Doing       string // what runs now, in words
}

// Run measures a plan. It calls tell, if not nil, when it goes on to something
// else. When ctx ends, the report of the rounds that are whole is returned with
// the error, and says that it is partial. Systems that fail do not end a run:
// their results say how. Nothing is left in the plan's directory.
//
// It fails with ErrUnfit before it writes anything where the directory holds
// something, or has less room than the plan needs.
func Run(ctx context.Context, p Plan, tell func(Progress)) (*report.Report, error) {
	return run(ctx, p, tell, spawnSelf)
}

func run(ctx context.Context, p Plan, tell func(Progress), spawn spawner) (_ *report.Report, err error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if tell == nil {
		tell = func(Progress) {}
	}
	dir, remove, err := claimDir(p.Dir, p.Disk())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	r := &runner{plan: p, dir: dir, spawn: spawn, tell: tell, failed: make(map[string]string)}
	started := time.Now()
	rep := &report.Report{Format: report.Format, Started: started.UTC().Truncate(time.Second), Command: p.Command, Baseline: p.Baseline}
	for _, k := range p.Systems {
		rep.Systems = append(rep.Systems, report.System{
			Name: k.Name, Title: k.Title, Version: moduleVersion(k.Module),
			Encrypted: k.Encrypted, Authenticated: k.Authenticated, Options: k.Options,
		})
	}
	rep.Settings = report.Settings{
		Rows: p.Rows, Value: p.Value.String(), Data: p.data(p.Value), Rounds: p.Rounds, Cache: p.Cache, Seed: p.Seed, MaxSeconds: p.MaxTurn.Seconds(),
		Durable: "a write may be lost until the store has settled, up to 32 KiB of them with the process in Cofre and Pebble; in fillsync1 and fillsync8 each survives a power cut",
	}
	if rep.Machine, err = machine(dir); err != nil {
		return nil, err
	}
	err = r.all(ctx, rep)
	rep.Seconds = time.Since(started).Seconds()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		rep.Partial = fmt.Sprintf("stopped after %d of %d turns", r.done, p.Turns())
		if ctx.Err() == nil {
			rep.Partial += ": " + err.Error()
		}
	}
	return rep, err
}

// claimDir makes sure that a run's directory is its own, and has room. remove
// takes away what the run has made there.
func claimDir(dir string, need int64) (_ string, remove func() error, err error) {
	where := dir
	if dir == "" {
		where = os.TempDir()
	} else if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return "", nil, fmt.Errorf("%w: %s is not empty: name an empty or a new directory", ErrUnfit, dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	made := false
	if dir != "" {
		if err := os.Mkdir(dir, 0o700); err == nil {
			made = true
		} else if !errors.Is(err, fs.ErrExist) {
			return "", nil, fmt.Errorf("%w: %w", ErrUnfit, err)
		}
	}
	undo := func() error {
		if made {
			return os.Remove(dir)
		}
		return nil
	}
	usage, err := vfs.Default.GetDiskUsage(where)
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("%w: the free space of %s: %w", ErrUnfit, where, err), undo())
	}
	if usage.AvailBytes < uint64(need) {
		err := fmt.Errorf("%w: %s has %d MiB free, this run may need %d MiB: choose fewer rows, systems or workloads, or another directory",
			ErrUnfit, where, usage.AvailBytes>>20, need>>20)
		return "", nil, errors.Join(err, undo())
	}
	work, err := os.MkdirTemp(where, "cofre-bench-")
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("%w: %w", ErrUnfit, err), undo())
	}
	return work, func() error { return errors.Join(os.RemoveAll(work), undo()) }, nil
}

// A runner is a run under way.
type runner struct {
	plan   Plan
	dir    string
	spawn  spawner
	tell   func(Progress)
	done   int               // turns
	failed map[string]string // by system: why it is out
	loaded map[string]string // by system: the directory with the loaded table of this size
	unable map[string]string // by system: why it has none
}

func (r *runner) progress(format string, args ...any) {
	r.tell(Progress{Done: r.done, Turns: r.plan.Turns(), Doing: fmt.Sprintf(format, args...)})
}

// all proves the systems, then measures the workloads one after another.
func (r *runner) all(ctx context.Context, rep *report.Report) error {
	if err := r.prove(ctx, rep); err != nil {
		return err
	}
	for _, size := range r.plan.sizes() {
		r.loaded, r.unable = make(map[string]string), make(map[string]string)
		for _, m := range r.plan.Workloads {
			if m.Value != size {
				continue
			}
			results, err := r.workload(ctx, m)
			rep.Results = append(rep.Results, results...)
			if err != nil {
				return err
			}
		}
		for _, dir := range r.loaded {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// prove has each system show that it syncs, where the run will rely on it.
func (r *runner) prove(ctx context.Context, rep *report.Report) error {
	i := slices.IndexFunc(r.plan.Workloads, func(m Measured) bool { return m.Durable })
	if i < 0 {
		return nil
	}
	all := true
	for _, k := range r.plan.Systems {
		r.progress("whether %s syncs", k.Name)
		dir := filepath.Join(r.dir, "proof-"+k.Name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		a, err := r.spawn()
		if err != nil {
			return err
		}
		var proven bool
		err = a.call(ctx, "Prove", r.job(r.plan.Workloads[i], k, 0, dir), &proven)
		err = errors.Join(err, a.end())
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.failed[k.Name] = err.Error()
		}
		all = all && proven
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	switch {
	case all:
		rep.Settings.Durable += "; each system was seen to sync"
	case len(r.failed) == 0:
		rep.Settings.Durable += "; whether systems sync cannot be seen on this machine"
	}
	return nil
}

func (r *runner) job(m Measured, k system.Kind, round int, dir string) Job {
	return Job{
		System: k.Name, Workload: m.Name, Value: m.Value.String(), Rows: r.plan.rows(m.Value), Round: round,
		Seed: r.plan.Seed, Cache: r.plan.Cache, MaxTurn: r.plan.MaxTurn, Dir: dir,
	}
}

// workload measures one workload on all systems that can run it.
func (r *runner) workload(ctx context.Context, m Measured) ([]report.Result, error) {
	var kinds []system.Kind
	results := make(map[string]*report.Result)
	var out []report.Result
	for _, k := range r.plan.Systems {
		if takes(k, m.Workload) {
			kinds = append(kinds, k)
			results[k.Name] = &report.Result{
				Workload: m.Name, Value: m.Value.String(), Class: string(m.Class), System: k.Name, Failed: r.failed[k.Name],
			}
		}
	}
	var err error
	if m.Loaded {
		err = r.load(ctx, m, kinds, results)
	}
	for round := 0; round < r.plan.Rounds && err == nil; round++ {
		err = r.round(ctx, m, round, kinds, results)
	}
	for _, k := range kinds {
		out = append(out, *results[k.Name])
	}
	return out, err
}

// load makes the loaded tables that are not there yet.
func (r *runner) load(ctx context.Context, m Measured, kinds []system.Kind, results map[string]*report.Result) error {
	for _, k := range kinds {
		if results[k.Name].Failed == "" {
			results[k.Name].Failed = r.unable[k.Name]
		}
		if r.loaded[k.Name] != "" || results[k.Name].Failed != "" {
			continue
		}
		r.progress("loading %s, values of %s", k.Name, m.Value)
		dir := filepath.Join(r.dir, "loaded-"+k.Name+"-"+m.Value.String())
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		r.loaded[k.Name] = dir
		a, err := r.spawn()
		if err != nil {
			return err
		}
		err = a.call(ctx, "Load", r.job(m, k, 0, dir), &struct{}{})
		err = errors.Join(err, a.end())
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.unable[k.Name] = "load: " + err.Error()
			results[k.Name].Failed = r.unable[k.Name]
		}
	}
	return nil
}

// A turn is one system in a round.
type turn struct {
	kind   system.Kind
	result *report.Result
	agent  *agent
	dir    string
	slices int
}

// out tells whether a system is out of a workload.
func out(r *report.Result) bool { return r.Failed != "" || r.Skipped != "" }

// sitsOut tells whether a system has no more turns in a workload: it is out, or
// was stopped in two. Of those two, what it does in the time limit is known well
// enough. The first system and the baseline, of which the report speaks, go on.
func (r *runner) sitsOut(k system.Kind, res *report.Result) bool {
	stopped := 0
	for _, round := range res.Rounds {
		if round.Stopped {
			stopped++
		}
	}
	return out(res) || stopped >= 2 && k.Name != r.plan.Baseline && k.Name != r.plan.Systems[0].Name
}

// round runs the same turn of all systems. Turns that are cut into slices run by
// slices in turn, all systems open; others one after another, so that none runs
// beside what another has left to the background.
func (r *runner) round(ctx context.Context, m Measured, number int, kinds []system.Kind, results map[string]*report.Result) error {
	if m.Slices <= 1 {
		for n := range kinds {
			if err := r.turns(ctx, m, number, kinds[place(n, number, len(kinds)):][:1], results); err != nil {
				return err
			}
		}
		return nil
	}
	return r.turns(ctx, m, number, kinds, results)
}

// place is who has the n-th turn of a round: the order rotates, and every other
// round runs it backwards, so that nobody follows the same one always.
func place(n, round, of int) int {
	if round%2 == 1 {
		n = of - 1 - n
	}
	return (n + round/2) % of
}

// turns runs turns of several systems beside each other.
func (r *runner) turns(ctx context.Context, m Measured, number int, kinds []system.Kind, results map[string]*report.Result) (err error) {
	var turns []*turn
	defer func() {
		for _, t := range turns {
			_ = t.agent.end()
			if t.dir != r.loaded[t.kind.Name] {
				err = errors.Join(err, os.RemoveAll(t.dir))
			}
		}
	}()
	doing := func(format string, args ...any) {
		r.progress("%s, values of %s, round %d of %d: %s", m.Name, m.Value, number+1, r.plan.Rounds, fmt.Sprintf(format, args...))
	}
	for n := range kinds {
		k := kinds[place(n, number, len(kinds))]
		if r.sitsOut(k, results[k.Name]) {
			r.done++
			continue
		}
		doing("%s prepares", k.Name)
		t := &turn{kind: k, result: results[k.Name], dir: filepath.Join(r.dir, fmt.Sprintf("turn-%s", k.Name))}
		if m.Loaded && !m.Writes() {
			t.dir = r.loaded[k.Name]
		} else if err := r.place(ctx, t, m.Loaded); err != nil {
			return errors.Join(err, os.RemoveAll(t.dir))
		}
		if t.agent, err = r.spawn(); err != nil {
			return err
		}
		turns = append(turns, t)
		if err := r.step(ctx, t, "Begin", r.job(m, k, number, t.dir), &t.slices); err != nil {
			return err
		}
	}
	most := 0
	for _, t := range turns {
		most = max(most, t.slices)
	}
	for k := range most {
		for n := range turns {
			t := turns[place(n, k, len(turns))]
			doing("%s", t.kind.Name)
			if err := r.step(ctx, t, "Slice", k, &struct{}{}); err != nil {
				return err
			}
		}
	}
	for _, t := range turns {
		doing("%s is checked", t.kind.Name)
		var figures report.Round
		if err := r.step(ctx, t, "End", struct{}{}, &figures); err != nil {
			return err
		}
		if !out(t.result) {
			t.result.Rounds = append(t.result.Rounds, figures)
		}
		r.done++
	}
	return nil
}

// step has a turn do something. A system that fails is out of this workload;
// the error is for what ends the run.
func (r *runner) step(ctx context.Context, t *turn, method string, arg, reply any) error {
	if out(t.result) {
		return nil
	}
	err := t.agent.call(ctx, method, arg, reply)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		t.result.Rounds = nil
		if why, ok := strings.CutPrefix(err.Error(), skipped+": "); ok {
			t.result.Skipped = why
		} else {
			t.result.Failed = err.Error()
		}
	}
	return nil
}

// place makes the directory of a turn: empty, or a copy of the loaded table that
// is on disk before the clock runs.
func (r *runner) place(ctx context.Context, t *turn, loaded bool) error {
	if !loaded {
		return os.Mkdir(t.dir, 0o700)
	}
	from := r.loaded[t.kind.Name]
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		to := filepath.Join(t.dir, path[len(from):])
		switch {
		case d.IsDir():
			return os.Mkdir(to, 0o700)
		case d.Type().IsRegular():
			return copyFile(to, path)
		}
		return fmt.Errorf("%s is neither a file nor a directory", path)
	})
}

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fi.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
