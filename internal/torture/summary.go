package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/cofredb/cofre/internal/torture/verdict"
)

// A summary is what a soak did and found.
type summary struct {
	Seed       uint64      `json:"seed"`
	Limit      string      `json:"limit"` // what -for was
	For        string      `json:"for"`   // how long it took
	Rows       []*row      `json:"families"`
	Violations []violation `json:"violations"`
}

type row struct {
	Family  string  `json:"family"`
	Seconds float64 `json:"seconds"`
	verdict.Counts
	Found  map[verdict.Kind]int `json:"found,omitempty"`
	Notes  []string             `json:"notes,omitempty"`
	NotRun string               `json:"not_run,omitempty"`
	// Done is how often each case was done, Cases how many there are.
	Done    map[string]int `json:"done,omitempty"`
	Cases   int            `json:"cases,omitempty"`
	Attacks []attempts     `json:"attacks,omitempty"`
}

func (r *row) did(what string) {
	if what == "" {
		return
	}
	if r.Done == nil {
		r.Done = make(map[string]int)
	}
	r.Done[what]++
}

// attempted adds tries of attacks to those of earlier rounds.
func (r *row) attempted(all []attempts) {
	for _, a := range all {
		i := slices.IndexFunc(r.Attacks, func(b attempts) bool { return a.Row == b.Row && a.Store == b.Store })
		if i < 0 {
			r.Attacks = append(r.Attacks, a)
			continue
		}
		r.Attacks[i].Tries += a.Tries
		for w, n := range a.Came {
			r.Attacks[i].Came[w] += n
		}
	}
}

func (r *row) note(n string) {
	if !slices.Contains(r.Notes, n) {
		r.Notes = append(r.Notes, n)
	}
}

func (r *row) found(k verdict.Kind) {
	if r.Found == nil {
		r.Found = make(map[verdict.Kind]int)
	}
	r.Found[k]++
}

type violation struct {
	Family string `json:"family"`
	Seed   uint64 `json:"seed"`
	Round  int    `json:"round"`
	Long   bool   `json:"long"`
	verdict.Violation
}

func (v violation) String() string {
	long := ""
	if v.Long {
		long = " -for " + longSoak.String()
	}
	s := fmt.Sprintf("%s, %s\nagain: go run ./internal/torture%s -only %s -seed %d -round %d\n", v.Family, v.Violation.Error(), long, v.Family, v.Seed, v.Round)
	if v.Transcript != "" {
		s += "operations:\n" + v.Transcript
	}
	return s
}

var kinds = []verdict.Kind{verdict.Lost, verdict.Phantom, verdict.Wrong, verdict.FalseAlarm, verdict.Hang, verdict.Exit, verdict.Leak, verdict.Broken}

func (s *summary) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "family\tseconds\trounds\toperations\tcrashes\tkills\tfaults\ttampers\t")
	for _, k := range kinds {
		fmt.Fprintf(w, "%s\t", k)
	}
	fmt.Fprintln(w)
	all := row{Family: "all"}
	for _, r := range s.Rows {
		all.Add(r.Counts)
		all.Seconds += r.Seconds
		for k, n := range r.Found {
			for range n {
				all.found(k)
			}
		}
	}
	for _, r := range append(slices.Clip(s.Rows), &all) {
		fmt.Fprintf(w, "%s\t%.0f\t%d\t%d\t%d\t%d\t%d\t%d\t", r.Family, r.Seconds, r.Rounds, r.Operations, r.Crashes, r.Kills, r.Faults, r.Tampers)
		for _, k := range kinds {
			fmt.Fprintf(w, "%d\t", r.Found[k])
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
	for _, r := range s.Rows {
		if r.NotRun != "" {
			fmt.Fprintf(&b, "%s: not run: %s\n", r.Family, r.NotRun)
		}
		if r.Cases > 0 {
			fmt.Fprintf(&b, "%s: %d of %d cases whole\n", r.Family, len(r.Done), r.Cases)
		}
		if len(r.Attacks) > 0 {
			fmt.Fprintf(&b, "%s: %s\n", r.Family, r.fewest())
		}
		for _, n := range r.Notes {
			fmt.Fprintf(&b, "%s: %s\n", r.Family, n)
		}
	}
	fmt.Fprintf(&b, "seed %d, %s\n", s.Seed, s.For)
	return b.String()
}
