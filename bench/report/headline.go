package report

import (
	"fmt"
	"math"
	"strings"
)

// A Headline is what a report comes to.
type Headline struct {
	Claim  string   // one sentence
	Detail string   // the range behind it
	Doubts []string // why a reader should take care, if so
}

// few is the number of rounds below which a spread says little.
const few = 3

// noisy is how far rounds lie apart, the highest ratio divided by the lowest, where
// their median says little.
const noisy = 1.5

// Headline says what the run found about the subject's price, and how sure it is.
func (r *Report) Headline() Headline {
	var h Headline
	name, base := r.Title(r.Subject()), r.Title(r.Baseline)
	var ratios, apart []float64
	var low, high string
	var labels []string
	for _, g := range r.Groups() {
		x := g.of(r, r.Subject()).Ratio(g.of(r, r.Baseline), Throughput)
		if x.N == 0 {
			continue
		}
		label := fmt.Sprintf("%s %.2f", g.Label(r.Settings.Value), x.Median)
		s := Summarize(ratios)
		if s.N == 0 || x.Median < s.Low {
			low = label
		}
		if s.N == 0 || x.Median > s.High {
			high = label
		}
		ratios = append(ratios, x.Median)
		apart = append(apart, x.High/x.Low)
		labels = append(labels, g.Label(r.Settings.Value))
	}
	h.Doubts = r.doubts()
	s := Summarize(ratios)
	if s.N == 0 {
		h.Claim = "This run has no workload that could be compared with " + base + "."
		if r.Subject() == "" {
			h.Claim = "This run measured " + base + " alone."
		}
		return h
	}
	where := "the median workload"
	if s.N <= 2 {
		where = strings.Join(labels, " and ")
	}
	// 0.995 and 1.005 are both "as fast as": a median of medians is not better known.
	much := max(1, math.Abs(s.Median-1)*100)
	slower, faster, price := s.Median < 0.995, s.Median > 1.005, r.price()
	switch {
	case s.N > 0 && r.rounds() < few:
		h.Claim = fmt.Sprintf("A first look, of %s: too few for a claim.", plural(r.rounds(), "round"))
	case Summarize(apart).Median > noisy:
		h.Claim = fmt.Sprintf("Too noisy for a claim: rounds of the same work lie apart by a factor of %.1f.", Summarize(apart).Median)
	case price && slower:
		h.Claim = fmt.Sprintf("Encryption costs %.0f %% of throughput in %s.", much, where)
	case price && faster:
		h.Claim = fmt.Sprintf("Encryption costs nothing in %s: %s is %.0f %% faster than %s.", where, name, much, base)
	case price:
		h.Claim = fmt.Sprintf("Encryption costs nothing in %s.", where)
	case slower:
		h.Claim = fmt.Sprintf("In %s, %s is %.0f %% slower than %s.", where, name, much, base)
	case s.Median > 1.995:
		h.Claim = fmt.Sprintf("In %s, %s is %.1f times as fast as %s.", where, name, s.Median, base)
	case faster:
		h.Claim = fmt.Sprintf("In %s, %s is %.0f %% faster than %s.", where, name, much, base)
	default:
		h.Claim = fmt.Sprintf("In %s, %s is as fast as %s.", where, name, base)
	}
	h.Detail = fmt.Sprintf("Throughput of %s divided by that of %s: median %.2f of %s, lowest %s, highest %s.",
		name, base, s.Median, plural(s.N, "workload"), low, high)
	if s.N == 1 {
		h.Detail = fmt.Sprintf("Throughput of %s divided by that of %s: %s.", name, base, low)
	}
	if score := r.Score(Throughput); score.Judged > 0 {
		h.Detail += fmt.Sprintf(" %d of %s of throughput met", score.Met, plural(score.Judged, "target"))
		if len(score.Missed) > 0 {
			h.Detail += "; missed: " + strings.Join(score.Missed, ", ")
		}
		h.Detail += "."
	}
	return h
}

// price tells whether the ratio is that of encryption: Cofre and plain Pebble
// differ in nothing else.
func (r *Report) price() bool {
	return r.Subject() == subject && r.Baseline == baseline
}

// rounds is the least number of rounds that a figure has, but for those whose
// system was stopped too often to go on.
func (r *Report) rounds() int {
	least := math.MaxInt
	for i := range r.Results {
		if x := &r.Results[i]; x.Failed == "" && x.Skipped == "" && !r.satOut(x) {
			least = min(least, len(x.Rounds))
		}
	}
	return least
}

// satOut tells whether a system was stopped too often to go on.
func (r *Report) satOut(x *Result) bool {
	return x.Stopped() && len(x.Rounds) < r.Settings.Rounds && r.Partial == ""
}

func (r *Report) doubts() []string {
	var doubts []string
	if r.Partial != "" {
		doubts = append(doubts, "This report is partial: "+r.Partial+".")
	}
	least, stopped, satOut := r.rounds(), 0, 0
	for i := range r.Results {
		if x := &r.Results[i]; x.Failed != "" {
			doubts = append(doubts, fmt.Sprintf("%s failed in %s: %s", r.Title(x.System), x.Workload, x.Failed))
			continue
		} else if x.Skipped != "" {
			doubts = append(doubts, fmt.Sprintf("%s has no figures for %s: %s.", r.Title(x.System), x.Workload, x.Skipped))
			continue
		}
		if r.Results[i].Stopped() {
			stopped++
		}
		if r.satOut(&r.Results[i]) {
			satOut++
		}
	}
	if least < few {
		doubts = append(doubts, fmt.Sprintf("Some figures come from %s: a spread of so few says little.", plural(least, "round")))
	}
	if stopped > 0 {
		doubts = append(doubts, fmt.Sprintf("In %s, marked *, a turn was stopped after %s: rates hold for what was done until then.",
			plural(stopped, "figure"), seconds(r.Settings.MaxSeconds)))
	}
	if satOut > 0 {
		doubts = append(doubts, fmt.Sprintf("Of these, %s had no more rounds after two such turns.", plural(satOut, "figure")))
	}
	if !r.Machine.AES && r.Machine.CPU != "" {
		doubts = append(doubts, "The processor has no AES instructions: encryption costs more than it does elsewhere.")
	}
	switch r.Machine.FileSystem {
	case "tmpfs", "ramfs":
		doubts = append(doubts, "The files lay in memory: syncs cost nothing here. Name a directory on a disk.")
	}
	return doubts
}
