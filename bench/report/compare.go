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

// A Verdict is what a change comes to.
type Verdict string

// The verdicts. A change counts if it is larger than the threshold and if no
// round of one run lies within the spread of the other.
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
	Verdict  Verdict
	Noisy    bool // beyond the threshold, but within the spread: not known to be a change
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
		if y := old.Result(x.Workload, x.Value, x.System); y != nil {
			c.Changes = append(c.Changes, c.judge(old, new, y, x))
			continue
		}
		s, absolute := c.figure(new, nil, x)
		c.Changes = append(c.Changes, Change{Workload: x.Workload, Value: x.Value, System: x.System, New: s, Absolute: absolute, Verdict: New})
	}
	for i := range old.Results {
		y := &old.Results[i]
		if new.Result(y.Workload, y.Value, y.System) == nil {
			s, absolute := c.figure(old, nil, y)
			c.Changes = append(c.Changes, Change{Workload: y.Workload, Value: y.Value, System: y.System, Old: s, Absolute: absolute, Verdict: Gone})
		}
	}
	return c
}

// figure returns what a result is judged by in one report. The other report, if
// given, must be able to tell the same.
func (c Comparison) figure(r, other *Report, x *Result) (s Stat, absolute bool) {
	usable := func(r *Report) bool {
		return r == nil || r.Compare(x.Workload, x.Value, x.System, Throughput).N > 0
	}
	if c.Baseline != "" && x.System != c.Baseline && usable(r) && usable(other) {
		return r.Compare(x.Workload, x.Value, x.System, Throughput), false
	}
	return x.Stat(Throughput), true
}

func (c Comparison) judge(old, new *Report, y, x *Result) Change {
	d := Change{Workload: x.Workload, Value: x.Value, System: x.System, Verdict: Same}
	d.New, d.Absolute = c.figure(new, old, x)
	d.Old, _ = c.figure(old, new, y)
	switch {
	case d.Old.N == 0 && d.New.N == 0:
		return d
	case d.Old.N == 0:
		d.Verdict = New
		return d
	case d.New.N == 0:
		d.Verdict = Gone
		return d
	}
	d.Change = d.New.Median/d.Old.Median - 1
	apart := d.New.Low > d.Old.High || d.New.High < d.Old.Low
	switch {
	case math.Abs(d.Change) <= c.Threshold:
	case !apart:
		d.Noisy = true
	case d.Change > 0:
		d.Verdict = Faster
	default:
		d.Verdict = Slower
	}
	return d
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
		fmt.Fprintf(b, "?: beyond %.0f %%, but the rounds of both runs overlap\n", c.Threshold*100)
	}
	return b.Flush()
}
