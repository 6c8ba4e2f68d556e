package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// fewest says how many rows of the attack matrix there are, and how often those
// were tried that were tried least.
func (r *row) fewest() string {
	tries := make(map[string]int)
	for _, a := range r.Attacks {
		tries[a.Row] += a.Tries
	}
	counts := slices.Sorted(maps.Values(tries))
	hundred, _ := slices.BinarySearch(counts, 100)
	return fmt.Sprintf("%d rows, %d of them with 100 tries or more, the fewest with %d", len(counts), len(counts)-hundred, counts[0])
}

const legend = `
A row of the attack matrix is made at random places of a store that was closed cleanly
(clean), of one that crashed with writes only in its log (crashed), and of one that
crashed after long use (deep).

What must come of it: O, an error when store or table opens; OR, an error there or when
what was hit is read; S, when the snapshot opens or is read; O/P, an error at open or an
exact prefix of the writes; -, no error and nothing lost; O/-, either; X, an error or an
older state, as the threat model says. What verify must find is checked beside it.

What came of it: where the error came, "unread" where verify alone sees what no read
touches, P and X as above, and "as must be" where the row says which state is right.
`

// markdown is a page with the summary and a table of what came of each attack.
func (s *summary) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# A soak\n\n    go run ./internal/torture -for %s -seed %d\n\n```\n%s```\n", s.Limit, s.Seed, s)
	for _, v := range s.Violations {
		fmt.Fprintf(&b, "\n%s", v)
	}
	for _, r := range s.Rows {
		if len(r.Attacks) == 0 {
			continue
		}
		b.WriteString(legend)
		b.WriteString("\n| attack | store | tries | must be | came out as |\n|---|---|---|---|---|\n")
		list := slices.SortedFunc(slices.Values(r.Attacks), func(x, y attempts) int {
			return strings.Compare(x.Row+" "+x.Store, y.Row+" "+y.Store)
		})
		for _, a := range list {
			var came []string
			for _, w := range slices.Sorted(maps.Keys(a.Came)) {
				came = append(came, fmt.Sprintf("%s %d", w, a.Came[w]))
			}
			fmt.Fprintf(&b, "| %s | %s | %d | %s | %s |\n", a.Row, a.Store, a.Tries, a.Must, strings.Join(came, ", "))
		}
	}
	return b.String()
}
