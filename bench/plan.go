package bench

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cofredb/cofre/bench/system"
	"github.com/cofredb/cofre/bench/workload"
)

// A Plan says what a run measures.
type Plan struct {
	Systems   []system.Kind // in the order of the report
	Baseline  string        // the system that ratios refer to; must be among Systems
	Workloads []Measured    // in the order of the run
	Rows      int           // of a loaded table of the main value size
	Value     workload.Size // the main size
	Rounds    int
	Cache     int64 // bytes, each system
	Seed      uint64
	// MaxTurn bounds the measured part of a turn; a slower system is stopped
	// there, and has done fewer operations. One that is stopped twice in a
	// workload, and is neither the first nor the baseline, has no further rounds
	// of it.
	MaxTurn time.Duration
	// Dir is an empty or missing directory for the systems' files; "" is a new one
	// in the directory for temporary files. What a run makes there it removes.
	Dir string
	// Command is recorded in the report.
	Command []string
}

// Measured is a workload at a size of values.
type Measured struct {
	workload.Workload
	Value workload.Size
}

// Limits of a plan.
const (
	MinRows   = 1000
	MaxRows   = 1 << 30
	MaxRounds = 1000
	MinCache  = 16 << 20 // bytes
	MaxCache  = 1 << 40
)

// Quick returns the plan of a first answer: Cofre against plain Pebble, on the
// work that most programs do, in a minute.
func Quick() Plan {
	p := standard()
	p.Rows, p.Rounds = 100_000, 4
	p.mustSystems("cofre", "pebble")
	p.mustWorkloads("fillseq", "fillrandom", "fillsync1", "readrandom", "readcold", "scan", "ycsb-a", "ycsb-b")
	return p
}

// Full returns the plan of the whole report: all systems and workloads, and
// some of them at other sizes of values.
func Full() Plan {
	p := standard()
	p.Systems = system.All()
	for _, w := range workload.All() {
		p.Workloads = append(p.Workloads, Measured{w, p.Value})
	}
	for _, value := range []string{"100", "64KiB", "mixed"} {
		size, err := workload.ParseSize(value)
		if err != nil {
			panic(err)
		}
		for _, name := range []string{"fillrandom", "readrandom", "readcold", "scan", "ycsb-a"} {
			w, err := workload.Find(name)
			if err != nil {
				panic(err)
			}
			p.Workloads = append(p.Workloads, Measured{w, size})
		}
	}
	return p
}

// standard is what plans have in common.
func standard() Plan {
	value, err := workload.ParseSize("1KiB")
	if err != nil {
		panic(err)
	}
	return Plan{
		Baseline: "pebble", Rows: 200_000, Value: value, Rounds: 6, Cache: 512 << 20, Seed: 1, MaxTurn: 20 * time.Second,
	}
}

func (p *Plan) mustSystems(names ...string) {
	if err := p.SetSystems(names); err != nil {
		panic(err)
	}
}

func (p *Plan) mustWorkloads(names ...string) {
	if err := p.SetWorkloads(names); err != nil {
		panic(err)
	}
}

// SetSystems chooses systems by name. Where the baseline is not among them, the
// first of them becomes the baseline.
func (p *Plan) SetSystems(names []string) error {
	p.Systems = nil
	for _, name := range names {
		k, err := system.Find(name)
		if err != nil {
			return err
		}
		if p.has(name) {
			return fmt.Errorf("system %q is named twice", name)
		}
		p.Systems = append(p.Systems, k)
	}
	if len(p.Systems) > 0 && !p.has(p.Baseline) {
		p.Baseline = p.Systems[0].Name
	}
	return nil
}

func (p *Plan) has(name string) bool {
	return slices.ContainsFunc(p.Systems, func(k system.Kind) bool { return k.Name == name })
}

// SetWorkloads chooses workloads by name, at the main size of values.
func (p *Plan) SetWorkloads(names []string) error {
	p.Workloads = nil
	for _, name := range names {
		w, err := workload.Find(name)
		if err != nil {
			return err
		}
		m := Measured{w, p.Value}
		if slices.ContainsFunc(p.Workloads, func(o Measured) bool { return o.Name == m.Name }) {
			return fmt.Errorf("workload %q is named twice", name)
		}
		p.Workloads = append(p.Workloads, m)
	}
	return nil
}

// SetValue changes the main size of values.
func (p *Plan) SetValue(size workload.Size) {
	old := p.Value
	p.Value = size
	var kept []Measured
	for _, m := range p.Workloads {
		if m.Value == old {
			m.Value = size
		} else if m.Value == size {
			continue // it is the main size now
		}
		kept = append(kept, m)
	}
	p.Workloads = kept
}

// Check tells what is impossible in a plan.
func (p *Plan) Check() error {
	switch {
	case len(p.Systems) == 0:
		return errors.New("no system to measure")
	case len(p.Workloads) == 0:
		return errors.New("no workload to run")
	case !p.has(p.Baseline):
		return fmt.Errorf("the baseline %q is not among the systems: name it there too", p.Baseline)
	case p.Rows < MinRows || p.Rows > MaxRows:
		return fmt.Errorf("%d rows: a run has %d to %d", p.Rows, MinRows, MaxRows)
	case p.Rounds < 1 || p.Rounds > MaxRounds:
		return fmt.Errorf("%d rounds: a run has 1 to %d", p.Rounds, MaxRounds)
	case p.Cache < MinCache:
		return fmt.Errorf("a cache of %d MiB is below %d", p.Cache>>20, MinCache>>20)
	case p.Cache > MaxCache:
		return fmt.Errorf("a cache of %d MiB is above %d", p.Cache>>20, int64(MaxCache)>>20)
	case p.MaxTurn <= 0:
		return errors.New("a turn needs some time")
	case p.Turns() == 0:
		return errors.New("none of the systems can do any of the workloads")
	}
	return nil
}

// rows is how many rows a table of values of size has: as many as Rows, but not
// more bytes than they have at the main size.
func (p *Plan) rows(size workload.Size) int {
	n := int64(p.Rows) * int64(workload.KeyLen+p.Value.Mean()) / int64(workload.KeyLen+size.Mean())
	return int(min(int64(p.Rows), max(n, 100)))
}

// data is how many bytes the rows of such a table have.
func (p *Plan) data(size workload.Size) int64 {
	return int64(p.rows(size)) * int64(workload.KeyLen+size.Mean())
}

// sizes are the sizes of values, in the order of the workloads.
func (p *Plan) sizes() (sizes []workload.Size) {
	for _, m := range p.Workloads {
		if !slices.Contains(sizes, m.Value) {
			sizes = append(sizes, m.Value)
		}
	}
	return sizes
}

// takes tells whether a system can run a workload.
func takes(k system.Kind, w workload.Workload) bool {
	return w.Supported(workload.Abilities{Snapshot: k.Snapshots, RotateRoot: k.RotatesRoot, RotateTableKey: k.RotatesTableKey, Compact: k.Compacts, Backup: k.BacksUp})
}

// Turns is how many turns a run has.
func (p *Plan) Turns() (n int) {
	for _, m := range p.Workloads {
		for _, k := range p.Systems {
			if takes(k, m.Workload) {
				n += p.Rounds
			}
		}
	}
	return n
}

// How many times its rows a system's files take, at most, while it runs: seen
// with bbolt, whose pages are half empty after inserts in random order, and with
// LSM trees between the end of a compaction and the removal of its inputs.
const (
	loadedFactor = 3
	turnFactor   = 4
)

// Disk estimates how many bytes a run needs at once.
func (p *Plan) Disk() (bytes int64) {
	for _, size := range p.sizes() {
		data := p.data(size)
		need, loaded := int64(0), int64(0)
		for _, m := range p.Workloads {
			if m.Value != size {
				continue
			}
			if m.Loaded {
				loaded = loadedFactor * data
			}
			if m.Writes() || !m.Loaded {
				need = turnFactor * data
			}
		}
		bytes = max(bytes, (need+loaded)*int64(len(p.Systems)))
	}
	return bytes + 64<<20
}
