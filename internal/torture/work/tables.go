package work

import (
	"slices"
	"strings"
)

var createVerb = Verb{
	Name: "create", Weight: 6, Args: 1,
	Make: func(g *Gen) []string { return []string{g.mix.Tables[g.rng.IntN(len(g.mix.Tables))]} },
	Run:  func(s Subject, a []string) string { return answer(s.Create(a[0])) },
}

var dropVerb = Verb{
	Name: "drop", Weight: 2, Args: 2,
	Make: func(g *Gen) []string {
		return []string{g.table(), []string{"bare", "with-snapshots"}[g.rng.IntN(2)]}
	},
	Run: func(s Subject, a []string) string { return answer(s.Drop(a[0], a[1] == "with-snapshots")) },
}

var tablesVerb = Verb{
	Name: "tables", Weight: 4,
	Make: func(*Gen) []string { return []string{} },
	Run: func(s Subject, _ []string) string {
		var names []string
		for _, l := range s.List() {
			names = append(names, l.Name)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	},
}

var flushVerb = Verb{
	Name: "flush", Weight: 12, Args: 1,
	Make: func(g *Gen) []string { return []string{g.table()} },
	Run:  func(s Subject, a []string) string { return answer(s.Flush(a[0])) },
}

var compactVerb = Verb{
	Name: "compact", Weight: 5, Args: 3,
	Make: func(g *Gen) []string {
		if g.rng.IntN(2) == 0 {
			return []string{g.table(), "", ""}
		}
		from, to := g.key(), g.key()
		return []string{g.table(), min(from, to), max(from, to) + "x"}
	},
	Run: func(s Subject, a []string) string { return answer(s.Compact(a[0], a[1], a[2])) },
}

var closeVerb = Verb{
	Name: "close", Weight: 5, Args: 1,
	Make: func(g *Gen) []string { return []string{g.table()} },
	Run:  func(s Subject, a []string) string { return answer(s.CloseTable(a[0])) },
}

var reopenVerb = Verb{
	Name: "reopen", Weight: 2,
	Make: func(*Gen) []string { return []string{} },
	Run:  func(s Subject, _ []string) string { return answer(s.Reopen()) },
}

var crashVerb = Verb{
	Name: "crash", Weight: 2,
	Make: func(*Gen) []string { return []string{} },
	Run:  func(s Subject, _ []string) string { return answer(s.Crash()) },
}
