package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// width is that of the text forms, in characters.
const width = 100

// column is one figure of the table.
type column struct {
	title string
	width int
	print func(x, base *Result) string
}

func statColumn(title string, width int, m Metric) column {
	return column{title, width, func(x, _ *Result) string { return m.Print(x.Stat(m)) }}
}

var columns = []column{
	statColumn("ops/s", 7, Throughput),
	{"ratio", 7, func(x, base *Result) string { return printRatio(x.Ratio(base, Throughput)) }},
	{"spread", 9, func(x, base *Result) string {
		if x != nil && x == base {
			return "" // it is 1 by definition
		}
		return spread(x.Ratio(base, Throughput))
	}},
	statColumn("CPU/op", 7, CPU),
	statColumn("p50", 7, P50),
	statColumn("p99", 7, P99),
	statColumn("p99.9", 7, P999),
	statColumn("w/u", 5, Written),
	statColumn("space", 8, Space),
	statColumn("memory", 8, Memory),
}

// WriteText writes the table for a terminal: a line a system for each workload.
func WriteText(w io.Writer, r *Report) error {
	b := bufio.NewWriter(w)
	writeHead(b, r)
	nameWidth := 16
	for _, s := range r.Systems {
		nameWidth = max(nameWidth, utf8.RuneCountInString(s.Name))
	}
	for _, g := range r.Groups() {
		title := g.Workload
		if g.Value != "" {
			title += " " + g.Value
		}
		title = plain(title)
		if utf8.RuneCountInString(title) > nameWidth+1 {
			title += "\n"
		}
		fmt.Fprintf(b, "\n%s", left(title, nameWidth+1))
		if strings.HasSuffix(title, "\n") {
			b.WriteString(left("", nameWidth+1))
		}
		for _, c := range columns {
			b.WriteString(right(c.title, c.width+1))
		}
		b.WriteByte('\n')
		base := g.of(r, r.Baseline)
		for i, x := range g.Results {
			mark := " "
			switch t, judged := r.Target(g.Workload, r.Systems[i].Name, Throughput); {
			case x.Stopped():
				mark = "*"
			case judged && x.Ratio(base, Throughput).N > 0 && !t.Met(x.Ratio(base, Throughput)):
				mark = "<"
			}
			b.WriteString(left(plain(r.Systems[i].Name), nameWidth) + mark)
			for _, c := range columns {
				b.WriteString(right(c.print(x, base), c.width+1))
			}
			b.WriteByte('\n')
		}
	}
	b.WriteByte('\n')
	for _, line := range []string{
		"ratio: throughput divided by that of " + plain(r.Title(r.Baseline)) + ", median of rounds; spread: its lowest and highest round",
		"CPU/op: processor time of the process; w/u: bytes written to disk for a byte of the user's",
		none + ": not measured   *: a turn was stopped at the time limit   <: below its target",
	} {
		fmt.Fprintln(b, line)
	}
	writeScores(b, r)
	return b.Flush()
}

func writeHead(b *bufio.Writer, r *Report) {
	h := r.Headline()
	for _, s := range append([]string{h.Claim, h.Detail}, h.Doubts...) {
		if s != "" {
			fmt.Fprintln(b, wrap(plain(s), width, ""))
		}
	}
	b.WriteByte('\n')
	for _, l := range r.facts() {
		fmt.Fprintf(b, "%-10s %s\n", l.Name, wrap(plain(l.Text), width-11, strings.Repeat(" ", 11)))
	}
}

func writeScores(b *bufio.Writer, r *Report) {
	for _, x := range []struct {
		m    Metric
		what string
	}{{Throughput, "throughput"}, {Space, "space"}, {Memory, "peak memory"}} {
		s := r.Score(x.m)
		if s.Judged == 0 {
			continue
		}
		line := fmt.Sprintf("targets of %s: %d of %d met", x.what, s.Met, s.Judged)
		if len(s.Missed) > 0 {
			line += "; missed: " + strings.Join(s.Missed, ", ")
		}
		fmt.Fprintln(b, wrap(plain(line), width, "  "))
	}
	if d, ok := r.Duel(); ok {
		fmt.Fprintln(b, wrap(plain(d.String()), width, "  "))
	}
}

// A fact is a line on where and how the run took place.
type fact struct{ Name, Text string }

// facts lists machine and settings.
func (r *Report) facts() []fact {
	m, s := r.Machine, r.Settings
	var facts []fact
	add := func(name, format string, args ...any) {
		facts = append(facts, fact{name, fmt.Sprintf(format, args...)})
	}
	if len(r.Command) > 0 {
		add("command", "cofre-bench %s", strings.Join(r.Command, " "))
	}
	when := seconds(r.Seconds)
	if !r.Started.IsZero() {
		when = r.Started.UTC().Format("2006-01-02 15:04 UTC") + ", " + when
	}
	add("run", "%s", when)
	aes := "no AES instructions"
	if m.AES {
		aes = "AES instructions"
	}
	add("machine", "%s, %s, %s, %s of memory, %s, %s", m.CPU, plural(m.Cores, "core"), aes, size(float64(m.Memory)), m.OS, m.FileSystem)
	add("floor", "AES-256-GCM opens 4 KiB in %s; a synced write of 4 KiB takes %s", micros(m.GCMMicros), micros(m.SyncMicros))
	revision := m.Revision
	if revision == "" {
		revision = "not known"
	}
	versions := fmt.Sprintf("%s, revision %s", strings.TrimSpace(m.Go+" "+m.GoOptions), revision)
	for _, s := range r.Systems {
		if s.Version != "" && s.Version != "(devel)" {
			versions += fmt.Sprintf("; %s %s", s.Title, s.Version)
		}
	}
	add("versions", "%s", versions)
	add("settings", "%s, values %s, %s, cache %s each, seed %d, at most %s a turn",
		plural(s.Rows, "row"), s.Value, plural(s.Rounds, "round"), size(float64(s.Cache)), s.Seed, seconds(s.MaxSeconds))
	if s.Durable != "" {
		add("durable", "%s", s.Durable)
	}
	for i := range r.Results {
		if x := &r.Results[i]; x.rotations() > 0 {
			p99 := x.phaseP99()
			verdict := ""
			if x.System == subject {
				verdict = fmt.Sprintf("; target %.2f", calmRotation)
				if p99[1] > calmRotation*p99[0] {
					verdict += " missed"
				}
			}
			running := ""
			if p99[3] > 0 {
				running = fmt.Sprintf(", %s while one runs", nanos(p99[3]))
			}
			add("rotations", "%s on %s: %s, %s each; p99 of reads and writes %s before, %s meanwhile (%.2f%s), %s after%s",
				x.Workload, r.Title(x.System), plural(x.rotations(), "rotation"), nanos(x.eventSeconds()*1e9),
				nanos(p99[0]), nanos(p99[1]), p99[1]/p99[0], verdict, nanos(p99[2]), running)
		}
	}
	return facts
}

func micros(v float64) string {
	if !(v > 0) {
		return none
	}
	return nanos(v * 1000)
}

// WritePrice writes the short form: a line a workload.
func WritePrice(w io.Writer, r *Report) error {
	b := bufio.NewWriter(w)
	groups, name, base := r.Groups(), r.Subject(), r.Baseline
	labelWidth := 14
	for _, g := range groups {
		labelWidth = max(labelWidth, utf8.RuneCountInString(g.Label(r.Settings.Value)))
	}
	nameWidth := max(8, utf8.RuneCountInString(name), utf8.RuneCountInString(base))
	fmt.Fprintf(b, "%s  %s  %s  %s  %s\n", left("", labelWidth), right(plain(name), nameWidth), right(plain(base), nameWidth), right("ratio", 6), "spread")
	for _, g := range groups {
		x, y := g.of(r, name), g.of(r, base)
		s := x.Ratio(y, Throughput)
		verdict := ""
		if t, ok := r.Target(g.Workload, name, Throughput); ok && s.N > 0 {
			verdict = fmt.Sprintf("target %.2f", t.Bound())
			if !t.Met(s) {
				verdict += " missed"
			}
		}
		if x.Stopped() || y.Stopped() {
			verdict = strings.TrimSpace("* " + verdict)
		}
		line := fmt.Sprintf("%s  %s  %s  %s  %s  %s  %s",
			left(plain(g.Label(r.Settings.Value)), labelWidth),
			right(Throughput.Print(x.Stat(Throughput)), nameWidth), right(Throughput.Print(y.Stat(Throughput)), nameWidth),
			right(printRatio(s), 6), left(spread(s), 9), bar(s), verdict)
		fmt.Fprintln(b, strings.TrimRight(line, " "))
	}
	b.WriteByte('\n')
	h := r.Headline()
	for _, s := range append([]string{h.Claim, h.Detail}, h.Doubts...) {
		if s != "" {
			fmt.Fprintln(b, wrap(plain(s), width, ""))
		}
	}
	return b.Flush()
}

// bar draws a ratio: half its width is the baseline, and an eighth of a
// character is the finest step.
func bar(s Ratio) string {
	const cells = 20
	if s.N == 0 {
		return strings.Repeat(" ", cells)
	}
	eighths := int(min(max(s.Median, 0), 2)*cells*8/2 + 0.5)
	b := []rune(strings.Repeat("█", eighths/8))
	if eighths%8 > 0 {
		b = append(b, []rune("▏▎▍▌▋▊▉")[eighths%8-1])
	}
	for len(b) < cells {
		if len(b) == cells/2 {
			b = append(b, '│') // here is the baseline
		} else {
			b = append(b, '·')
		}
	}
	return string(b)
}
