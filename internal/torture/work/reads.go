package work

import (
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/cofredb/cofre/engine"
)

var getVerb = Verb{
	Name: "get", Weight: 200, Args: 3,
	Make: func(g *Gen) []string { return append(g.source().args(), g.key()) },
	Run: func(s Subject, a []string) string {
		v, ok, err := s.Get(parseSource(a[0], a[1]), a[2])
		switch {
		case err != nil:
			return answer(err)
		case !ok:
			return "none"
		}
		return digest(v)
	},
}

// scan table|view name prefix from to forward|reverse|keys|keys-reverse limit
var scanVerb = Verb{
	Name: "scan", Weight: 80, Args: 7,
	Make: func(g *Gen) []string {
		var prefix, from, to string
		if g.rng.IntN(3) == 0 {
			prefix = g.prefix()
		}
		if g.rng.IntN(3) == 0 {
			from, to = g.span()
		}
		limit := 0
		if g.rng.IntN(2) == 0 {
			limit = 1 + g.rng.IntN(40)
		}
		how := []string{"forward", "reverse", "keys", "keys-reverse"}[g.rng.IntN(4)]
		return append(g.source().args(), prefix, from, to, how, strconv.Itoa(limit))
	},
	Run: func(s Subject, a []string) string {
		limit, _ := strconv.Atoi(a[6])
		o := engine.ScanOptions{
			Prefix: bound(a[2]), From: bound(a[3]), To: bound(a[4]),
			Reverse: a[5] == "reverse" || a[5] == "keys-reverse", KeysOnly: a[5] == "keys" || a[5] == "keys-reverse",
			Limit: limit,
		}
		h := fnv.New64a()
		n, first, last := 0, "", ""
		err := s.Scan(parseSource(a[0], a[1]), o, func(k, v string) bool {
			if n++; n == 1 {
				first = k
			}
			last = k
			fmt.Fprintf(h, "%d %s %d %s", len(k), k, len(v), v)
			return true
		})
		if err != nil {
			return answer(err)
		}
		return fmt.Sprintf("%d entries, %.40q to %.40q, %x", n, first, last, h.Sum64())
	},
}

func bound(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}
