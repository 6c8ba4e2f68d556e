package report

import (
	"fmt"
	"slices"
	"strings"
)

// The systems that targets speak of.
const (
	subject  = "cofre"
	baseline = "pebble"
	rival    = "badger-encrypted"
)

// calmRotation is how much longer reads and writes may take, at p99, while keys
// are rotated.
const calmRotation = 1.10

// A Target is a bound that Cofre sets itself for a ratio to plain Pebble with
// the same options. One of AtLeast and AtMost is zero.
type Target struct {
	Workloads []string // none: all
	But       []string // of these not
	Metric    Metric
	AtLeast   float64
	AtMost    float64
	Data      int64 // bytes of rows from which on it holds
}

var backups = []string{"backup", "backupagain", "restore"}

// targets are all that are judged. They hold at every value size, and for the
// median over rounds.
var targets = []Target{
	{Workloads: []string{"fillseq", "fillrandom", "overwrite", "compact"}, Metric: Throughput, AtLeast: 1.00},
	{Workloads: []string{"fillsync1", "fillsync8"}, Metric: Throughput, AtLeast: 0.97},
	{Workloads: []string{"readrandom", "ycsb-b", "ycsb-c"}, Metric: Throughput, AtLeast: 0.97},
	{Workloads: []string{"readcold"}, Metric: Throughput, AtLeast: 0.87},
	{Workloads: []string{"scan", "scanreverse"}, Metric: Throughput, AtLeast: 1.00},
	{Workloads: []string{"ycsb-a", "ycsb-d", "ycsb-e", "ycsb-f"}, Metric: Throughput, AtLeast: 0.97},
	// A small table opens in a few syncs, of which Cofre needs more.
	{Workloads: []string{"reopen"}, Metric: Throughput, AtLeast: 1 / 1.2, Data: 10e9},
	// Of small backups the syncs are what takes time.
	{Workloads: []string{"backup", "restore"}, Metric: Throughput, AtLeast: 0.8, Data: 1e9},
	// A repository keeps more than the newest backup, and hashes on the way there.
	{But: backups, Metric: Space, AtMost: 1.02},
	{But: backups, Metric: Memory, AtMost: 1.10},
}

// Targets returns the bounds that the report's figures are judged by.
func Targets() []Target {
	all := slices.Clone(targets)
	for i := range all {
		all[i].Workloads, all[i].But = slices.Clone(all[i].Workloads), slices.Clone(all[i].But)
	}
	return all
}

// Bound returns the bound itself.
func (t Target) Bound() float64 { return t.AtLeast + t.AtMost }

// Met tells whether a ratio is within the bound. Nothing is rounded in its
// favour: 0.9996 misses 1.
func (t Target) Met(r Ratio) bool {
	return r.N > 0 && (t.AtLeast == 0 || r.Median >= t.AtLeast) && (t.AtMost == 0 || r.Median <= t.AtMost)
}

// Target returns the bound of a workload's metric for a system. There is none
// but for Cofre against plain Pebble.
func (r *Report) Target(workload, system string, m Metric) (Target, bool) {
	if system != subject || r.Baseline != baseline {
		return Target{}, false
	}
	for _, t := range targets {
		if t.Metric == m && r.Settings.Data >= t.Data && (len(t.Workloads) == 0 || slices.Contains(t.Workloads, workload)) && !slices.Contains(t.But, workload) {
			return t, true
		}
	}
	return Target{}, false
}

// A Duel is how Cofre does against a system that it should be ahead of
// everywhere, and by twice in half of all.
type Duel struct {
	Title                string
	Ahead, Twice, Judged int      // workloads
	Behind               []string // labels of those where it is not ahead
}

// Duel counts the workloads that both have done; false means that there are none.
func (r *Report) Duel() (d Duel, ok bool) {
	if r.Subject() != subject || r.system(rival) < 0 {
		return d, false
	}
	d.Title = r.Title(rival)
	for _, g := range r.Groups() {
		s := g.of(r, subject).Ratio(g.of(r, rival), Throughput)
		if s.N == 0 {
			continue
		}
		d.Judged++
		if s.Median >= 2 {
			d.Twice++
		}
		if s.Median > 1 {
			d.Ahead++
		} else {
			d.Behind = append(d.Behind, g.Label(r.Settings.Value))
		}
	}
	return d, d.Judged > 0
}

func (d Duel) String() string {
	s := fmt.Sprintf("Cofre is ahead of %s in %d of %s, and at twice its throughput or more in %d", d.Title, d.Ahead, plural(d.Judged, "workload"), d.Twice)
	if len(d.Behind) > 0 {
		s += "; not in " + strings.Join(d.Behind, ", ")
	}
	return s
}

// A Score counts the targets of a metric.
type Score struct {
	Met, Judged int
	Missed      []string // labels of workloads
}

// Score judges all workloads that have a target and were measured.
func (r *Report) Score(m Metric) Score {
	var s Score
	for _, g := range r.Groups() {
		t, ok := r.Target(g.Workload, r.Subject(), m)
		ratio := g.of(r, r.Subject()).Ratio(g.of(r, r.Baseline), m)
		switch {
		case !ok || ratio.N == 0:
			continue
		case t.Met(ratio):
			s.Met++
		default:
			s.Missed = append(s.Missed, g.Label(r.Settings.Value))
		}
		s.Judged++
	}
	return s
}
