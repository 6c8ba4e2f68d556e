package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes the main table for a document: a line a workload, with the
// throughput of the subject and of the baseline, their ratio with its spread, and
// the ratio of every other system.
func WriteMarkdown(w io.Writer, r *Report) error {
	b := bufio.NewWriter(w)
	name, base := r.Subject(), r.Baseline
	var others []System
	for _, s := range r.Systems {
		if s.Name != name && s.Name != base {
			others = append(others, s)
		}
	}
	row := func(cells []string) {
		for i := range cells {
			cells[i] = cell(cells[i])
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
	head := []string{"workload", r.Title(name), r.Title(base), "ratio", "lowest–highest", "target"}
	rule := "|---|--:|--:|--:|:-:|--:|"
	for _, s := range others {
		head = append(head, r.Title(s.Name))
		rule += "--:|"
	}
	row(head)
	fmt.Fprintln(b, rule)
	stopped := false
	for _, g := range r.Groups() {
		x, y := g.of(r, name), g.of(r, base)
		s := x.Ratio(y, Throughput)
		target := ""
		if t, ok := r.Target(g.Workload, name, Throughput); ok && s.N > 0 {
			target = fmt.Sprintf("%.2f", t.Bound())
			if !t.Met(s) {
				target += " missed"
			}
		}
		line := []string{g.Label(r.Settings.Value), marked(x), marked(y), printRatio(s), spread(s), target}
		stopped = stopped || x.Stopped() || y.Stopped()
		for _, o := range others {
			z := g.of(r, o.Name)
			v := none
			if s := z.Ratio(y, Throughput); s.N > 0 {
				v = three2(s.Median)
			}
			if z.Stopped() {
				v, stopped = v+"\\*", true
			}
			line = append(line, v)
		}
		row(line)
	}
	fmt.Fprintf(b, "\nOperations a second, medians of %s; ratios are to %s, round by round.",
		plural(r.Settings.Rounds, "interleaved round"), cell(r.Title(base)))
	if stopped {
		fmt.Fprintf(b, " \\*: a turn was stopped after %s.", seconds(r.Settings.MaxSeconds))
	}
	b.WriteByte('\n')
	return b.Flush()
}

func marked(x *Result) string {
	s := Throughput.Print(x.Stat(Throughput))
	if x.Stopped() {
		s += "\\*"
	}
	return s
}

// cell keeps a name from ending a cell or opening a tag. The mark of stopped
// turns has its backslash already.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "`", "'", "[", `\[`).Replace(plain(s))
}
