package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/rpc"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/cofredb/cofre/bench/internal/pagecache"
	"github.com/cofredb/cofre/bench/report"
	"github.com/cofredb/cofre/bench/system"
	"github.com/cofredb/cofre/bench/workload"
)

// Serve is the process of one turn: it does what the run asks of it over conn,
// and returns when the run hangs up. Systems are found among kinds.
func Serve(conn io.ReadWriteCloser, kinds []system.Kind) error {
	s := rpc.NewServer()
	if err := s.RegisterName("Agent", &Agent{kinds: kinds}); err != nil {
		return err
	}
	s.ServeConn(conn)
	return nil
}

// An Agent runs one turn. Its exported methods are those of net/rpc, called one
// at a time.
type Agent struct {
	kinds  []system.Kind
	job    Job
	kind   system.Kind
	turn   *workload.Turn
	system system.System
	round  report.Round
}

// A Job is a turn, or the loading of a table.
type Job struct {
	System   string
	Workload string
	Value    string
	Rows     int
	Round    int
	Seed     uint64
	Cache    int64
	MaxTurn  time.Duration
	Dir      string
}

// prepare makes the turn and opens the system.
func (a *Agent) prepare(job Job, durable bool) (w workload.Workload, err error) {
	a.job = job
	found := false
	for _, k := range a.kinds {
		if k.Name == job.System {
			a.kind, found = k, true
		}
	}
	if !found {
		return w, fmt.Errorf("unknown system %q", job.System)
	}
	if w, err = workload.Find(job.Workload); err != nil {
		return w, err
	}
	size, err := workload.ParseSize(job.Value)
	if err != nil {
		return w, err
	}
	a.turn = workload.NewTurn(w, workload.Options{
		Rows: job.Rows, Seed: job.Seed, Round: job.Round, Size: size, Cache: job.Cache, Reopen: a.reopen,
	})
	a.system, err = a.open(durable || w.Durable)
	return w, err
}

func (a *Agent) open(durable bool) (system.System, error) {
	return a.kind.Open(system.Config{Dir: a.job.Dir, Durable: durable, Cache: a.job.Cache})
}

func (a *Agent) reopen(s system.System) (system.System, error) {
	if err := s.Close(); err != nil {
		return nil, err
	}
	return a.open(false)
}

// Load fills a table and closes it.
func (a *Agent) Load(job Job, _ *struct{}) error {
	if _, err := a.prepare(job, false); err != nil {
		return err
	}
	return errors.Join(a.turn.Load(context.Background(), a.system), a.system.Close())
}

// Prove has a system write durably, and looks whether it is on disk.
func (a *Agent) Prove(job Job, proven *bool) error {
	tells, err := pagecache.Tells(job.Dir)
	if errors.Is(err, errors.ErrUnsupported) || err == nil && !tells {
		return nil
	}
	if err != nil {
		return err
	}
	job.Cache = max(job.Cache, 64<<20) // all of it fits a memtable: nothing else is written
	if _, err := a.prepare(job, true); err != nil {
		return err
	}
	// The operating system may write pages out by itself before we look, for
	// another process that syncs; hardly each time.
	value := make([]byte, 64<<10)
	for range 40 {
		if _, err := rand.Read(value); err != nil { // so that no compression makes it small
			return err
		}
		if err = a.system.Put([]byte("proof"), value); err != nil {
			break
		}
		var dirty int64
		dirty, err = pagecache.Dirty(job.Dir)
		if pages := int64(len(value) / os.Getpagesize()); err == nil && dirty >= pages {
			err = fmt.Errorf("%s does not sync: a durable write of %d pages has returned, and %d pages are not on disk", job.System, pages, dirty)
		}
		if err != nil {
			break
		}
	}
	*proven = err == nil
	return errors.Join(err, a.system.Close())
}

// Begin opens the system and brings it to the state in which the workload
// begins. It returns how many slices there are.
func (a *Agent) Begin(job Job, slices *int) error {
	w, err := a.prepare(job, false)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := a.turn.Warm(ctx, a.system); err != nil {
		return err
	}
	if w.Loaded || w.Call == workload.Compact {
		if err := a.system.Settle(ctx); err != nil {
			return err
		}
	}
	a.round = report.Round{Number: job.Round, DiskWritten: -1, PeakMemory: -1}
	*slices = a.turn.Slices()
	if w.Caches == workload.BlockCold {
		if err := readAll(job.Dir); err != nil {
			return err
		}
	}
	a.turn.Draw(0)
	debug.FreeOSMemory() // and collects what Warm has left
	resetPeakMemory()
	return nil
}

// settle has the system finish what it has left to the background. What only a
// close flushes is flushed by one, and the system opened again by reopen.
func (a *Agent) settle(ctx context.Context) (reopen func() error, err error) {
	if !a.kind.FlushesAtClose {
		return func() error { return nil }, a.system.Settle(ctx)
	}
	err = errors.Join(a.system.Settle(ctx), a.system.Close())
	return func() (err error) {
		a.system, err = a.open(false)
		return err
	}, err
}

// chill takes a system's files out of all memory but that of the disk: what the
// store has mapped goes with a close.
func (a *Agent) chill() (err error) {
	if err := a.system.Close(); err != nil {
		return err
	}
	if err := pagecache.Drop(a.job.Dir); err != nil {
		return fmt.Errorf("%s: the operating system's cache cannot be emptied: %w", skipped, err)
	}
	if a.system, err = a.open(false); err != nil {
		return err
	}
	if err := pagecache.Drop(a.job.Dir); err != nil {
		return err
	}
	cached, err := pagecache.Cached(a.job.Dir)
	if err != nil {
		return err
	}
	bytes, err := space(a.job.Dir)
	if pages := bytes / int64(os.Getpagesize()); err == nil && cached > pages/10 {
		err = fmt.Errorf("%s: %d of %d pages stay in memory when the operating system's cache is emptied", skipped, cached, pages)
	}
	return err
}

// skipped begins the error of what cannot be measured, and is no fault of the
// system's.
const skipped = "cannot be measured here"

// Slice runs slice k. The last one counts the background's work too, where it
// belongs to the workload.
func (a *Agent) Slice(k int, _ *struct{}) error {
	w, err := workload.Find(a.job.Workload)
	if err != nil {
		return err
	}
	if k > 0 {
		a.turn.Draw(k)
	}
	if w.Caches == workload.AllCold {
		if err := a.chill(); err != nil {
			return err
		}
	}
	ctx := context.Background()
	before, start := measureUsage(), time.Now()
	deadline := start.Add(a.job.MaxTurn / time.Duration(a.turn.Slices()))
	r, s, err := a.turn.Slice(ctx, a.system, k, deadline)
	a.system = s
	if err != nil {
		return err
	}
	front := time.Since(start)
	reopen := func() error { return nil }
	if k == a.turn.Slices()-1 && a.turn.Settles() {
		if reopen, err = a.settle(ctx); err != nil {
			return err
		}
	}
	a.round.Seconds += time.Since(start).Seconds()
	measureUsage().since(before).addTo(&a.round)
	if err := reopen(); err != nil {
		return err
	}
	a.round.Front += front.Seconds()
	a.round.Ops += r.Ops
	a.round.UserBytes += r.UserBytes
	a.round.Stopped = a.round.Stopped || r.Stopped
	return nil
}

// End closes the system, opens it again if it was written to, compares what it
// holds with what was acknowledged, and returns all figures.
func (a *Agent) End(_ struct{}, out *report.Round) error {
	w, err := workload.Find(a.job.Workload)
	if err != nil {
		return err
	}
	a.round.PeakMemory = peakMemory()
	a.round.Checked = a.round.Ops // each read was compared
	if w.Writes() {
		if a.system, err = a.reopen(a.system); err != nil {
			return err
		}
		if a.round.Checked, err = a.turn.Check(a.system); err != nil {
			return errors.Join(err, a.system.Close())
		}
	}
	if err := a.system.Close(); err != nil {
		return err
	}
	if a.round.Space, err = space(a.job.Dir); err != nil {
		return err
	}
	if h := a.turn.Latency(); h != nil {
		a.round.Latency = latency(h)
	}
	for _, h := range a.turn.Phases() {
		a.round.Phases = append(a.round.Phases, *latency(h))
	}
	for _, b := range a.turn.Trace() {
		a.round.Timeline = append(a.round.Timeline, report.Point{At: b.End.Seconds(), Ops: b.Ops, P99: int64(b.P99)})
	}
	for _, e := range a.turn.Events() {
		a.round.Events = append(a.round.Events, report.Event{At: e.At.Seconds(), Seconds: e.Took.Seconds(), Name: e.Name})
	}
	*out = a.round
	return nil
}

func latency(h *hdrhistogram.Histogram) *report.Latency {
	at := h.ValueAtQuantile
	l := &report.Latency{
		Mean: int64(h.Mean()), P50: at(50), P95: at(95), P99: at(99), P999: at(99.9), Max: h.Max(),
	}
	for _, q := range []float64{1, 5, 10, 25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.75, 99.9, 99.95, 99.99, 99.999, 100} {
		l.Curve = append(l.Curve, [2]float64{q / 100, float64(at(q))})
	}
	return l
}

// space is how long the files below dir are; a file with several names counts
// once. Reserves behind the end of a file, such as Cofre's ballast for a full
// disk, are not counted: they are a constant.
func space(dir string) (bytes int64, err error) {
	var linked []fs.FileInfo
	err = files(dir, func(path string, fi fs.FileInfo) error {
		if links(fi) > 1 {
			if slices.ContainsFunc(linked, func(o fs.FileInfo) bool { return os.SameFile(o, fi) }) {
				return nil
			}
			linked = append(linked, fi)
		}
		bytes += fi.Size()
		return nil
	})
	return bytes, err
}

// readAll brings the files below dir into the operating system's cache.
func readAll(dir string) error {
	return files(dir, func(path string, _ fs.FileInfo) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, f)
		return errors.Join(err, f.Close())
	})
}

// files visits the regular files below dir. One that the store removes while we
// look is none.
func files(dir string, visit func(path string, fi fs.FileInfo) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var fi fs.FileInfo
			if fi, err = d.Info(); err == nil {
				err = visit(path, fi)
			}
		}
		if path != dir && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// A usage is what the process has used so far.
type usage struct {
	cpu     time.Duration
	written int64 // bytes; -1: not known
	allocs  uint64
	bytes   uint64
}

func measureUsage() usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{cpu: processTime(), written: diskWritten(), allocs: m.Mallocs, bytes: m.TotalAlloc}
}

func (u usage) since(before usage) usage {
	d := usage{cpu: u.cpu - before.cpu, written: -1, allocs: u.allocs - before.allocs, bytes: u.bytes - before.bytes}
	if u.written >= 0 && before.written >= 0 {
		d.written = u.written - before.written
	}
	return d
}

func (u usage) addTo(r *report.Round) {
	r.CPU += u.cpu.Seconds()
	r.Allocs += int64(u.allocs)
	r.AllocBytes += int64(u.bytes)
	if u.written >= 0 {
		r.DiskWritten = max(r.DiskWritten, 0) + u.written
	}
}
