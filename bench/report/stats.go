package report

import (
	"math"
	"slices"
)

// A Metric is a figure that every round has, or may have.
type Metric string

// The metrics. Of Throughput more is better, of all others less.
const (
	Throughput Metric = "throughput" // operations a second, background work included
	CPU        Metric = "cpu"        // seconds of processor time an operation
	Mean       Metric = "mean"       // nanoseconds, as all latencies
	P50        Metric = "p50"
	P95        Metric = "p95"
	P99        Metric = "p99"
	P999       Metric = "p99.9"
	Max        Metric = "max"
	Written    Metric = "written" // bytes sent to disk for each byte of the user's
	Space      Metric = "space"   // bytes
	Memory     Metric = "memory"  // bytes
	Allocs     Metric = "allocs"  // objects an operation
	AllocBytes Metric = "alloc bytes"
)

// Of returns a round's figure, and whether the round has it: it has none where
// nothing was done, or where the machine did not tell.
func (m Metric) Of(r Round) (float64, bool) {
	perOp := func(v float64) (float64, bool) {
		if r.Ops <= 0 || v < 0 {
			return 0, false
		}
		return v / float64(r.Ops), true
	}
	known := func(v int64) (float64, bool) { return float64(v), v >= 0 }
	switch m {
	case Throughput:
		if r.Ops <= 0 || !(r.Seconds > 0) {
			return 0, false
		}
		return float64(r.Ops) / r.Seconds, true
	case CPU:
		return perOp(r.CPU)
	case Written:
		if r.DiskWritten < 0 || r.UserBytes <= 0 {
			return 0, false
		}
		return float64(r.DiskWritten) / float64(r.UserBytes), true
	case Space:
		return known(r.Space)
	case Memory:
		return known(r.PeakMemory)
	case Allocs:
		return perOp(float64(r.Allocs))
	case AllocBytes:
		return perOp(float64(r.AllocBytes))
	}
	l := r.Latency
	if l == nil {
		return 0, false
	}
	switch m {
	case Mean:
		return known(l.Mean)
	case P50:
		return known(l.P50)
	case P95:
		return known(l.P95)
	case P99:
		return known(l.P99)
	case P999:
		return known(l.P999)
	case Max:
		return known(l.Max)
	}
	return 0, false
}

// whole tells whether the metric depends on all operations having been done: the
// files of a turn that was stopped halfway are not smaller, they are fewer.
func (m Metric) whole() bool { return m == Space || m == Memory }

// A Stat is a figure over rounds. With N zero it was not measured, and the rest
// is zero.
type Stat struct {
	Median    float64
	Low, High float64 // of all rounds
	Q1, Q3    float64 // quartiles
	N         int     // rounds that had the figure
}

// A Ratio is a figure of one system divided by that of another, round by round.
type Ratio = Stat

// Summarize returns the median and the spread of values. It leaves out what is
// not a number.
func Summarize(values []float64) Stat {
	v := slices.DeleteFunc(slices.Clone(values), func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) })
	if len(v) == 0 {
		return Stat{}
	}
	slices.Sort(v)
	return Stat{
		Median: quantile(v, 0.5), Low: v[0], High: v[len(v)-1],
		Q1: quantile(v, 0.25), Q3: quantile(v, 0.75), N: len(v),
	}
}

// quantile interpolates between the two nearest of sorted values.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// Stat returns a figure of the result over its rounds.
func (r *Result) Stat(m Metric) Stat {
	if r == nil {
		return Stat{}
	}
	var values []float64
	for _, round := range r.Rounds {
		if v, ok := m.Of(round); ok {
			values = append(values, v)
		}
	}
	return Summarize(values)
}

// Stopped tells whether a turn was stopped before all its operations were done.
func (r *Result) Stopped() bool {
	return r != nil && slices.ContainsFunc(r.Rounds, func(r Round) bool { return r.Stopped })
}

// typical returns the round whose figure is nearest to the median.
func (r *Result) typical(m Metric, has func(Round) bool) (Round, bool) {
	var best Round
	found, distance, median := false, 0.0, r.Stat(m).Median
	for _, round := range r.Rounds {
		if !has(round) {
			continue
		}
		v, _ := m.Of(round)
		if d := math.Abs(v - median); !found || d < distance {
			best, found, distance = round, true, d
		}
	}
	return best, found
}

// Ratio divides, round by round, the figure of the result by that of another.
// Only rounds that both have count: they ran next to each other, so what else
// the machine did hit both. Rounds that were stopped early count for rates, not
// for space and memory.
func (r *Result) Ratio(to *Result, m Metric) Ratio {
	if r == nil || to == nil {
		return Ratio{}
	}
	var ratios []float64
	for _, a := range r.Rounds {
		i := slices.IndexFunc(to.Rounds, func(b Round) bool { return b.Number == a.Number })
		if i < 0 || m.whole() && (a.Stopped || to.Rounds[i].Stopped) {
			continue
		}
		x, okX := m.Of(a)
		y, okY := m.Of(to.Rounds[i])
		if okX && okY && y > 0 {
			ratios = append(ratios, x/y)
		}
	}
	return Summarize(ratios)
}

// Result returns one workload on one system, or nil.
func (r *Report) Result(workload, value, system string) *Result {
	for i := range r.Results {
		if x := &r.Results[i]; x.Workload == workload && x.Value == value && x.System == system {
			return x
		}
	}
	return nil
}

// Compare returns a system's figure divided by the baseline's.
func (r *Report) Compare(workload, value, system string, m Metric) Ratio {
	return r.CompareTo(workload, value, system, r.Baseline, m)
}

// CompareTo returns a system's figure divided by that of another.
func (r *Report) CompareTo(workload, value, system, to string, m Metric) Ratio {
	return r.Result(workload, value, system).Ratio(r.Result(workload, value, to), m)
}

// A Group is one workload at one value size, on all systems.
type Group struct {
	Workload, Value, Class string
	Results                []*Result // as the systems of the report; nil where one did not run it
}

// Label names the group: the value size is told where it is not the main one.
func (g Group) Label(main string) string {
	if g.Value == main || g.Value == "" {
		return g.Workload
	}
	return g.Workload + " " + g.Value
}

// Groups returns the results by workload and value, in the order of the run.
func (r *Report) Groups() []Group {
	var groups []Group
	for i := range r.Results {
		x := &r.Results[i]
		at := slices.IndexFunc(groups, func(g Group) bool { return g.Workload == x.Workload && g.Value == x.Value })
		if at < 0 {
			at = len(groups)
			groups = append(groups, Group{x.Workload, x.Value, x.Class, make([]*Result, len(r.Systems))})
		}
		if s := r.system(x.System); s >= 0 {
			groups[at].Results[s] = x
		}
	}
	return groups
}

// of returns the group's result of a system, or nil.
func (g Group) of(r *Report, system string) *Result {
	if i := r.system(system); i >= 0 {
		return g.Results[i]
	}
	return nil
}

func (r *Report) system(name string) int {
	return slices.IndexFunc(r.Systems, func(s System) bool { return s.Name == name })
}

// Title returns what readers are told of a system's name.
func (r *Report) Title(system string) string {
	if i := r.system(system); i >= 0 && r.Systems[i].Title != "" {
		return r.Systems[i].Title
	}
	return system
}

// Subject is the system that the report is about: Cofre, or the first one that
// is not the baseline. It is "" if there is only the baseline.
func (r *Report) Subject() string {
	if r.Baseline != subject && r.system(subject) >= 0 {
		return subject
	}
	for _, s := range r.Systems {
		if s.Name != r.Baseline {
			return s.Name
		}
	}
	return ""
}
