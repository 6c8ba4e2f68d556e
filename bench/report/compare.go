package report

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Threshold is the change of throughput below which two runs are the same.
const Threshold = 0.05

// sure is how many standard errors a change must have. A comparison has hundreds
// of figures, so that two or three are not enough: noise would show a regression
// in most pairs of equal runs.
const sure = 3.75

// A Verdict is what a change comes to.
type Verdict string

// The verdicts. A change counts if it is larger than the threshold, larger than
// what noise makes likely, and if no round of one run lies within the spread of
// the other.
const (
	Faster Verdict = "faster"
	Slower Verdict = "slower"
	Same   Verdict = "same"
	New    Verdict = "new"  // not in the old run
	Gone   Verdict = "gone" // not in the new run
)

// A Change is one workload on one system in two runs.
type Change struct {
	Workload, Value, System string
	// Old and New are ratios of throughput to the same baseline in each run, so
	// that a machine that was faster on one day cancels out. With Absolute they
	// are operations a second: there was no such baseline in both.
	Old, New Stat
	Absolute bool
	Change   float64 // of the median: 0.1 is 10 % more
	Needs    float64 // the change that would count, by threshold and noise
	Verdict  Verdict
	Noisy    bool // beyond the threshold, but not known to be a change
}

// A Comparison is what became of an old run.
type Comparison struct {
	Warnings  []string // what else differs
	Changes   []Change // as the new report, then what is gone
	Baseline  string   // of both runs, or ""
	Threshold float64
}

// Compare compares two runs by throughput.
func Compare(old, new *Report) Comparison { return CompareBeyond(old, new, Threshold) }

// CompareBeyond compares with another threshold, such as 0.1 for 10 %.
func CompareBeyond(old, new *Report, threshold float64) Comparison {
	c := Comparison{Threshold: threshold, Warnings: differences(old, new)}
	if old.Baseline == new.Baseline {
		c.Baseline = new.Baseline
	}
	for i := range new.Results {
		x := &new.Results[i]
		c.Changes = append(c.Changes, c.figures(old, new, x))
	}
	for i := range old.Results {
		x := &old.Results[i]
		if new.Result(x.Workload, x.Value, x.System) == nil {
			c.Changes = append(c.Changes, c.figures(old, new, x))
		}
	}
	needs := c.needs()
	for i := range c.Changes {
		c.Changes[i].judge(threshold, needs)
	}
	return c
}

// figures returns what a result is judged by in both reports: ratios, if all
// reports that have the result can tell one.
func (c Comparison) figures(old, new *Report, x *Result) Change {
	d := Change{Workload: x.Workload, Value: x.Value, System: x.System}
	d.Absolute = c.Baseline == "" || x.System == c.Baseline
	for _, r := range []*Report{old, new} {
		if r.Result(x.Workload, x.Value, x.System).Stat(Throughput).N > 0 && r.Compare(x.Workload, x.Value, x.System, Throughput).N == 0 {
			d.Absolute = true
		}
	}
	figure := func(r *Report) Stat {
		if d.Absolute {
			return r.Result(x.Workload, x.Value, x.System).Stat(Throughput)
		}
		return r.Compare(x.Workload, x.Value, x.System, Throughput)
	}
	d.Old, d.New = figure(old), figure(new)
	return d
}

// needs returns how large a change has to be to stand out of the noise, by
// workload and value. It counts in logarithms: a rate that noise may double it
// may also halve, and one that falls to a twentieth is no noise then. Five rounds of one figure say little about its noise, so
// it is estimated from all systems and both runs; a workload is taken as at
// least as noisy as the median one.
func (c Comparison) needs() func(Change) float64 {
	type key struct {
		workload, value string
		absolute        bool
	}
	of := func(d Change) key { return key{d.Workload, d.Value, d.Absolute} }
	one, all := make(map[key][]float64), make(map[bool][]float64)
	for _, d := range c.Changes {
		for _, s := range []Stat{d.Old, d.New} {
			if s.N > 1 && s.Low > 0 {
				deviation := math.Log(s.High/s.Low) / ranges[min(s.N, len(ranges)-1)]
				one[of(d)] = append(one[of(d)], deviation)
				all[d.Absolute] = append(all[d.Absolute], deviation)
			}
		}
	}
	return func(d Change) float64 {
		deviation := max(Summarize(one[of(d)]).Median, Summarize(all[d.Absolute]).Median)
		// The standard error of a median of n is 1.25 deviations over the root of n.
		return math.Expm1(sure * 1.25 * deviation * math.Sqrt(1/float64(d.Old.N)+1/float64(d.New.N)))
	}
}

// ranges is the mean distance of the lowest from the highest of n values with
// normal noise, in standard deviations.
var ranges = [...]float64{0, 0, 1.128, 1.693, 2.059, 2.326, 2.534, 2.704, 2.847, 2.970, 3.078}

func (d *Change) judge(threshold float64, needs func(Change) float64) {
	d.Verdict = Same
	switch {
	case d.Old.N == 0 && d.New.N == 0:
		return
	case d.Old.N == 0:
		d.Verdict = New
		return
	case d.New.N == 0:
		d.Verdict = Gone
		return
	}
	d.Change, d.Needs = d.New.Median/d.Old.Median-1, max(threshold, needs(*d))
	apart := d.New.Low > d.Old.High || d.New.High < d.Old.Low
	switch {
	case math.Abs(d.Change) <= threshold:
	case math.Abs(math.Log1p(d.Change)) <= math.Log1p(d.Needs) || !apart:
		d.Noisy = true
	case d.Change > 0:
		d.Verdict = Faster
	default:
		d.Verdict = Slower
	}
}

// Compared is how many figures both runs have.
func (c Comparison) Compared() (n int) {
	for _, d := range c.Changes {
		if d.Old.N > 0 && d.New.N > 0 {
			n++
		}
	}
	return n
}

// Regressions returns what became slower. The baseline is not among them: it
// can be judged by absolute figures alone, and those tell of the machine.
func (c Comparison) Regressions() []Change {
	return slices.DeleteFunc(slices.Clone(c.Changes), func(d Change) bool {
		return d.Verdict != Slower || d.System == c.Baseline
	})
}

// differences lists what makes two runs hard to compare.
func differences(old, new *Report) []string {
	var warnings []string
	differ := func(what string, was, is any) {
		if was != is {
			warnings = append(warnings, fmt.Sprintf("%s: was %v, is %v", what, was, is))
		}
	}
	for _, x := range []struct {
		name string
		r    *Report
	}{{"old", old}, {"new", new}} {
		if x.r.Partial != "" {
			warnings = append(warnings, fmt.Sprintf("the %s report is partial: %s", x.name, x.r.Partial))
		}
		if n := x.r.Settings.Rounds; n < few {
			warnings = append(warnings, fmt.Sprintf("the %s report has %s: its spread says little", x.name, plural(n, "round")))
		}
	}
	differ("baseline", old.Baseline, new.Baseline)
	a, b := old.Settings, new.Settings
	differ("rows", a.Rows, b.Rows)
	differ("value size", a.Value, b.Value)
	differ("cache", size(float64(a.Cache)), size(float64(b.Cache)))
	differ("seed", a.Seed, b.Seed)
	differ("durable writes", a.Durable, b.Durable)
	differ("time limit of a turn", seconds(a.MaxSeconds), seconds(b.MaxSeconds))
	m, n := old.Machine, new.Machine
	differ("processor", m.CPU, n.CPU)
	differ("cores", m.Cores, n.Cores)
	differ("AES instructions", m.AES, n.AES)
	differ("memory", size(float64(m.Memory)), size(float64(n.Memory)))
	differ("system", m.OS, n.OS)
	differ("file system", m.FileSystem, n.FileSystem)
	differ("Go", m.Go, n.Go)
	differ("options of Go", m.GoOptions, n.GoOptions)
	far := func(a, b float64) bool { return a > 0 && b > 0 && math.Abs(math.Log(b/a)) > math.Log(1.25) }
	if far(m.SyncMicros, n.SyncMicros) {
		differ("a synced write", micros(m.SyncMicros), micros(n.SyncMicros))
	}
	if far(m.GCMMicros, n.GCMMicros) {
		differ("opening 4 KiB", micros(m.GCMMicros), micros(n.GCMMicros))
	}
	for _, s := range new.Systems {
		if i := old.system(s.Name); i >= 0 {
			differ("version of "+s.Name, old.Systems[i].Version, s.Version)
			differ("options of "+s.Name, old.Systems[i].Options, s.Options)
		}
	}
	if old.Baseline == new.Baseline {
		var changes []float64
		for _, g := range new.Groups() {
			is, was := g.of(new, new.Baseline).Stat(Throughput), old.Result(g.Workload, g.Value, old.Baseline).Stat(Throughput)
			if is.N > 0 && was.N > 0 {
				changes = append(changes, is.Median/was.Median)
			}
		}
		if s := Summarize(changes); s.N > 0 && math.Abs(s.Median-1) > 0.1 {
			warnings = append(warnings, fmt.Sprintf("%s itself ran at %.2f of its former speed in the median workload: the machine was not the same, or was busy",
				new.Title(new.Baseline), s.Median))
		}
	}
	return warnings
}

// WriteText writes the comparison for a terminal: what else differs first, then
// every change, then the sum.
func (c Comparison) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, s := range c.Warnings {
		fmt.Fprintln(b, wrap(plain("warning: "+s), width, "  "))
	}
	if len(c.Warnings) > 0 {
		b.WriteByte('\n')
	}
	label := func(d Change) string { return strings.TrimSpace(plain(d.Workload + " " + d.Value)) }
	labelWidth, nameWidth, absolute := 8, 6, false
	counts := make(map[Verdict]int)
	noisy := 0
	for _, d := range c.Changes {
		labelWidth = max(labelWidth, utf8.RuneCountInString(label(d)))
		nameWidth = max(nameWidth, utf8.RuneCountInString(plain(d.System)))
		absolute = absolute || d.Absolute
		counts[d.Verdict]++
		if d.Noisy {
			noisy++
		}
	}
	line := func(cells ...string) {
		fmt.Fprintln(b, strings.TrimRight(strings.Join(cells, "  "), " "))
	}
	line(left("workload", labelWidth), left("system", nameWidth), right("old", 7), left("spread", 11), right("new", 7), left("spread", 11), right("change", 9), "verdict")
	for _, d := range c.Changes {
		value, low := printRatio, spread
		mark := ""
		if d.Absolute {
			mark = " (absolute)"
			value = Throughput.Print
			low = func(s Stat) string {
				if s.N == 0 {
					return none
				}
				return rate(s.Low) + "–" + rate(s.High)
			}
		}
		if d.Noisy {
			mark = "?" + mark
		}
		change := none
		if d.Old.N > 0 && d.New.N > 0 {
			change = percent(d.Change)
		}
		line(left(label(d), labelWidth), left(plain(d.System), nameWidth), right(value(d.Old), 7), left(low(d.Old), 11),
			right(value(d.New), 7), left(low(d.New), 11), right(change, 9), string(d.Verdict)+mark)
	}
	b.WriteByte('\n')
	var parts []string
	for _, v := range []Verdict{Faster, Slower, Same, New, Gone} {
		if counts[v] > 0 || v == Faster || v == Slower {
			parts = append(parts, fmt.Sprintf("%d %s", counts[v], v))
		}
	}
	fmt.Fprintln(b, strings.Join(parts, ", "))
	if c.Baseline != "" {
		fmt.Fprintf(b, "ratios are of throughput to %s in each run\n", plain(c.Baseline))
	}
	if absolute {
		fmt.Fprintln(b, "absolute: operations a second, without a baseline in both runs; the machine's noise is in them")
	}
	if noisy > 0 {
		fmt.Fprintf(b, "?: more than %.0f %%, but within the noise: repeat it with more rounds\n", c.Threshold*100)
	}
	var needs []float64
	for _, d := range c.Changes {
		if d.Needs > 0 && d.System != c.Baseline {
			needs = append(needs, d.Needs)
		}
	}
	if s := Summarize(needs); s.N > 0 {
		if s.Median > 1 {
			fmt.Fprintln(b, "with the noise of these runs, hardly anything can be told: repeat them with more rounds")
		} else {
			fmt.Fprintf(b, "with the noise of these runs, a change counts from %.0f %% on, in the noisiest workload from %.0f %%\n", s.Median*100, s.High*100)
		}
	}
	return b.Flush()
}
