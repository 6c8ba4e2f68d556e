package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// The page is what its template and its script are given.
type page struct {
	Report    *Report
	Headline  Headline
	Subject   string // title
	Baseline  string
	Eyebrow   string
	Tiles     []tile
	Main      []mainRow
	Workloads []pageWorkload
	Systems   []pageSystem
	Facts     []fact
	Targets   []string
	Data      pageData
}

type tile struct{ Name, Value, Note, Class string }

type pageSystem struct {
	System
	Slot  int
	Notes string
}

// mainRow is a line of the table below the main chart.
type mainRow struct {
	Label, Subject, Baseline, Ratio, Spread, Quartiles, Bound, Verdict string
	CPU, P50, P99, Written, Space, Memory                              string
}

// pageWorkload is the part of the page that has every figure of a workload.
type pageWorkload struct {
	Label, Value, Class, Summary string
	Rows                         []pageRow
	Rounds                       []pageRow
}

type pageRow struct {
	System, Note string
	Slot, Round  int
	Cells        []string
}

// pageMetrics are those that the charts can show, with what readers are told.
var pageMetrics = []struct {
	M           Metric
	Title, Unit string
	More        bool // more is better
}{
	{Throughput, "Throughput", "operations a second", true},
	{CPU, "CPU an operation", "processor time an operation", false},
	{P50, "Latency p50", "median latency", false},
	{P99, "Latency p99", "latency of the slowest hundredth", false},
	{Written, "Bytes written", "bytes written to disk for a byte of the user's", false},
	{Space, "Space", "bytes on disk after the turn", false},
	{Memory, "Peak memory", "resident memory, at most", false},
}

// pageData is what the charts are drawn from.
type pageData struct {
	Systems   []dataSystem   `json:"systems"`
	Subject   int            `json:"subject"`
	Baseline  int            `json:"baseline"`
	Metrics   []dataMetric   `json:"metrics"`
	Workloads []string       `json:"workloads"`
	Latency   []dataCurves   `json:"latency"`
	Timelines []dataTimeline `json:"timelines"`
}

type dataSystem struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Slot  int    `json:"slot"`
}

type dataMetric struct {
	Title string `json:"title"`
	Unit  string `json:"unit"`
	More  bool   `json:"more"`
	// Ratios holds for each workload the subject's figure divided by that of each
	// system: median, lowest, highest. It is nil where one of them has none.
	Ratios [][]*[3]float64 `json:"ratios"`
	Bounds []float64       `json:"bounds"` // 0: none
	Marks  []string        `json:"marks"`  // met, missed, free
}

type dataCurves struct {
	Label  string         `json:"label"`
	Curves [][][2]float64 `json:"curves"` // by system: quantile, nanoseconds
}

type dataTimeline struct {
	Label string     `json:"label"`
	Lines []dataLine `json:"lines"`
}

type dataLine struct {
	System int          `json:"system"`
	Points [][3]float64 `json:"points"` // seconds, operations a second, p99 in nanoseconds
	Events []Event      `json:"events"`
}

// pageColumns are the figures of the tables, in this order. Those of a round
// are the same, without ratio and spread.
var pageColumns = []struct {
	Title string
	M     Metric
}{
	{"ops/s", Throughput}, {"CPU/op", CPU}, {"mean", Mean}, {"p50", P50}, {"p95", P95}, {"p99", P99}, {"p99.9", P999}, {"max", Max},
	{"written/user", Written}, {"space", Space}, {"peak memory", Memory}, {"allocs/op", Allocs}, {"alloc/op", AllocBytes},
}

func newPage(r *Report) *page {
	p := &page{
		Report: r, Headline: r.Headline(), Subject: r.Title(r.Subject()), Baseline: r.Title(r.Baseline),
		Facts: r.facts(), Tiles: r.tiles(), Data: r.data(),
	}
	eyebrow := []string{"cofre-bench"}
	if !r.Started.IsZero() {
		eyebrow = append(eyebrow, r.Started.UTC().Format("2 January 2006"))
	}
	for _, s := range []string{r.Machine.CPU, r.Machine.Go} {
		if s != "" {
			eyebrow = append(eyebrow, s)
		}
	}
	p.Eyebrow = strings.Join(eyebrow, " · ")
	slots := r.colours()
	for i, s := range r.Systems {
		notes := "not encrypted"
		if s.Encrypted {
			notes = "encrypted, not authenticated"
		}
		if s.Encrypted && s.Authenticated {
			notes = "encrypted and authenticated"
		}
		p.Systems = append(p.Systems, pageSystem{s, slots[i], notes})
	}
	for _, g := range r.Groups() {
		p.Main = append(p.Main, r.mainRow(g))
		p.Workloads = append(p.Workloads, r.pageWorkload(g, slots))
	}
	if r.Subject() == subject && r.Baseline == baseline {
		for _, t := range Targets() {
			where := strings.Join(t.Workloads, ", ")
			if where == "" {
				where = "every workload"
			}
			sign := "≥"
			if t.AtMost > 0 {
				sign = "≤"
			}
			if t.Data > 0 {
				where += fmt.Sprintf(" of a table of %s or more", size(float64(t.Data)))
			}
			p.Targets = append(p.Targets, fmt.Sprintf("%s %s %.2f: %s", t.Metric, sign, t.Bound(), where))
		}
		p.Targets = append(p.Targets, fmt.Sprintf("p99 of reads and writes while a key is rotated ≤ %.2f of before", calmRotation))
		if d, ok := r.Duel(); ok {
			p.Targets = append(p.Targets, "ahead of "+d.Title+" everywhere, and twice as fast in half: "+d.String())
		}
	}
	return p
}

func (r *Report) mainRow(g Group) mainRow {
	x, y := g.of(r, r.Subject()), g.of(r, r.Baseline)
	s := x.Ratio(y, Throughput)
	row := mainRow{
		Label: g.Label(r.Settings.Value), Subject: starred(x), Baseline: starred(y),
		Ratio: printRatio(s), Spread: spread(s), Quartiles: spread(Stat{Low: s.Q1, High: s.Q3, N: s.N}),
	}
	if t, ok := r.Target(g.Workload, r.Subject(), Throughput); ok && s.N > 0 {
		row.Bound, row.Verdict = fmt.Sprintf("%.2f", t.Bound()), "missed"
		if t.Met(s) {
			row.Verdict = "met"
		}
	}
	for _, c := range []struct {
		cell *string
		m    Metric
	}{{&row.CPU, CPU}, {&row.P50, P50}, {&row.P99, P99}, {&row.Written, Written}, {&row.Space, Space}, {&row.Memory, Memory}} {
		s := x.Ratio(y, c.m)
		*c.cell = printRatio(s)
		if t, ok := r.Target(g.Workload, r.Subject(), c.m); ok && s.N > 0 && !t.Met(s) {
			*c.cell += " ✗"
		}
	}
	return row
}

func starred(x *Result) string {
	s := Throughput.Print(x.Stat(Throughput))
	if x.Stopped() {
		s += " *"
	}
	return s
}

func (r *Report) pageWorkload(g Group, slots []int) pageWorkload {
	w := pageWorkload{Label: g.Workload, Value: g.Value, Class: g.Class}
	base := g.of(r, r.Baseline)
	for i, x := range g.Results {
		name := r.Title(r.Systems[i].Name)
		s := x.Ratio(base, Throughput)
		row := pageRow{System: name, Slot: slots[i], Cells: []string{printRatio(s), spread(s)}}
		if x.Stopped() {
			row.Note = "stopped at the time limit"
		}
		for _, c := range pageColumns {
			row.Cells = append(row.Cells, c.M.Print(x.Stat(c.M)))
		}
		w.Rows = append(w.Rows, row)
		if r.Systems[i].Name == r.Subject() && s.N > 0 {
			w.Summary = printRatio(s)
		}
		if x == nil {
			continue
		}
		for _, round := range x.Rounds {
			row := pageRow{System: name, Slot: slots[i], Round: round.Number, Cells: []string{
				thousands(int(round.Ops)), three(round.Seconds) + "s", three(round.Front) + "s", thousands(int(round.Checked)),
			}}
			if round.Stopped {
				row.Note = "stopped at the time limit"
			}
			for _, c := range pageColumns {
				v, ok := c.M.Of(round)
				cell := none
				if ok {
					cell = c.M.print(v)
				}
				row.Cells = append(row.Cells, cell)
			}
			w.Rounds = append(w.Rounds, row)
		}
	}
	slices.SortStableFunc(w.Rounds, func(a, b pageRow) int { return a.Round - b.Round })
	return w
}

// tiles are the medians over workloads of what the subject's figures are to the
// baseline's, and how many targets were met.
func (r *Report) tiles() []tile {
	var tiles []tile
	met, judged := 0, 0
	for _, m := range pageMetrics {
		var ratios []float64
		for _, g := range r.Groups() {
			if s := g.of(r, r.Subject()).Ratio(g.of(r, r.Baseline), m.M); s.N > 0 {
				ratios = append(ratios, s.Median)
			}
		}
		score := r.Score(m.M)
		met, judged = met+score.Met, judged+score.Judged
		s := Summarize(ratios)
		if s.N == 0 || m.M == P50 || m.M == Written {
			continue
		}
		tiles = append(tiles, tile{Name: m.Title, Value: fmt.Sprintf("%.2f", s.Median), Note: "from " + three2(s.Low) + " to " + three2(s.High)})
	}
	if judged > 0 {
		t := tile{Name: "Targets met", Value: fmt.Sprint(met), Note: fmt.Sprintf("of %d", judged)}
		tiles = append(tiles, t)
	}
	return tiles
}

func (r *Report) data() pageData {
	d := pageData{Subject: r.system(r.Subject()), Baseline: r.system(r.Baseline)}
	slots := r.colours()
	for i, s := range r.Systems {
		d.Systems = append(d.Systems, dataSystem{s.Name, r.Title(s.Name), slots[i]})
	}
	groups := r.Groups()
	for _, g := range groups {
		d.Workloads = append(d.Workloads, g.Label(r.Settings.Value))
		if c := curves(g); c != nil {
			d.Latency = append(d.Latency, dataCurves{g.Label(r.Settings.Value), c})
		}
		if lines := timelines(g); lines != nil {
			d.Timelines = append(d.Timelines, dataTimeline{g.Label(r.Settings.Value), lines})
		}
	}
	for _, m := range pageMetrics {
		x := dataMetric{Title: m.Title, Unit: m.Unit, More: m.More}
		for _, g := range groups {
			ratios := make([]*[3]float64, len(r.Systems))
			mark, bound := "free", 0.0
			for i, y := range g.Results {
				s := g.of(r, r.Subject()).Ratio(y, m.M)
				if s.N == 0 {
					continue
				}
				ratios[i] = &[3]float64{round(s.Median), round(s.Low), round(s.High)}
				if t, ok := r.Target(g.Workload, r.Subject(), m.M); ok && i == d.Baseline {
					mark, bound = "missed", t.Bound()
					if t.Met(s) {
						mark = "met"
					}
				}
			}
			x.Ratios, x.Bounds, x.Marks = append(x.Ratios, ratios), append(x.Bounds, bound), append(x.Marks, mark)
		}
		d.Metrics = append(d.Metrics, x)
	}
	return d
}

// round keeps five significant digits: a chart shows no more.
func round(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	f := math.Pow(10, 4-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*f) / f
}

// curves returns the latency of the round whose p99 is the median one, for each
// system, or nil if no system has any.
func curves(g Group) [][][2]float64 {
	const most = 80
	all := make([][][2]float64, len(g.Results))
	some := false
	for i, x := range g.Results {
		if x == nil {
			continue
		}
		t, ok := x.typical(P99, func(r Round) bool { return r.Latency != nil && len(r.Latency.Curve) > 1 })
		if !ok {
			continue
		}
		some = true
		for _, q := range thin(t.Latency.Curve, most) {
			if q[0] >= 0 && q[0] < 1 && q[1] > 0 {
				all[i] = append(all[i], [2]float64{q[0], round(q[1])})
			}
		}
	}
	if !some {
		return nil
	}
	return all
}

// timelines returns the throughput over time of each system's median round.
func timelines(g Group) []dataLine {
	const most = 400
	var lines []dataLine
	for i, x := range g.Results {
		if x == nil {
			continue
		}
		t, ok := x.typical(Throughput, func(r Round) bool { return len(r.Timeline) > 1 })
		if !ok {
			continue
		}
		line := dataLine{System: i, Events: t.Events}
		before := 0.0
		// Neighbouring intervals are joined if there are more than can be seen.
		join := (len(t.Timeline) + most - 1) / most
		for part := range slices.Chunk(t.Timeline, join) {
			last, ops, p99 := part[len(part)-1].At, int64(0), int64(0)
			for _, p := range part {
				ops, p99 = ops+p.Ops, max(p99, p.P99)
			}
			if last > before {
				line.Points = append(line.Points, [3]float64{round(last), round(float64(ops) / (last - before)), round(float64(p99))})
				before = last
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// thin leaves at most n of the points, with the first and the last.
func thin[T any](points []T, n int) []T {
	if len(points) <= n {
		return points
	}
	thinned := make([]T, n)
	for i := range thinned {
		thinned[i] = points[i*(len(points)-1)/(n-1)]
	}
	return thinned
}
