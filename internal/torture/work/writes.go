package work

import "github.com/cofredb/cofre/internal/torture/oracle"

var putVerb = Verb{
	Name: "put", Weight: 260, Args: 4,
	Make: func(g *Gen) []string { return []string{g.table(), g.key(), g.value(), g.sync()} },
	Run: func(s Subject, a []string) string {
		return answer(s.Write(a[0], []oracle.Effect{{Kind: oracle.Put, A: a[1], B: parseValue(a[2])}}, a[3] == "sync"))
	},
}

var deleteVerb = Verb{
	Name: "delete", Weight: 80, Args: 3,
	Make: func(g *Gen) []string { return []string{g.table(), g.key(), g.sync()} },
	Run: func(s Subject, a []string) string {
		return answer(s.Write(a[0], []oracle.Effect{{Kind: oracle.Delete, A: a[1]}}, a[2] == "sync"))
	},
}

var deleteRangeVerb = Verb{
	Name: "deleterange", Weight: 15, Args: 4,
	Make: func(g *Gen) []string {
		from, to := g.span()
		return []string{g.table(), from, to, g.sync()}
	},
	Run: func(s Subject, a []string) string {
		return answer(s.Write(a[0], []oracle.Effect{{Kind: oracle.DeleteRange, A: a[1], B: a[2]}}, a[3] == "sync"))
	},
}

// batch table sync|nosync {p key value | d key - | r from to}…
var batchVerb = Verb{
	Name: "batch", Weight: 80, Args: 5,
	Make: func(g *Gen) []string {
		a := []string{g.table(), g.sync()}
		for range 1 + g.rng.IntN(12) {
			switch n := g.rng.IntN(20); {
			case n < 14:
				a = append(a, "p", g.key(), g.value())
			case n < 18:
				a = append(a, "d", g.key(), "-")
			default:
				from, to := g.span()
				a = append(a, "r", from, to)
			}
		}
		return a
	},
	Run: func(s Subject, a []string) string {
		var w []oracle.Effect
		for rest := a[2:]; len(rest) >= 3; rest = rest[3:] {
			switch rest[0] {
			case "p":
				w = append(w, oracle.Effect{Kind: oracle.Put, A: rest[1], B: parseValue(rest[2])})
			case "d":
				w = append(w, oracle.Effect{Kind: oracle.Delete, A: rest[1]})
			default:
				w = append(w, oracle.Effect{Kind: oracle.DeleteRange, A: rest[1], B: rest[2]})
			}
		}
		return answer(s.Write(a[0], w, a[1] == "sync"))
	},
}
