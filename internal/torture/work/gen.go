package work

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Mix says which ops a generator makes up.
type Mix struct {
	Without []string // verbs
	Large   int      // values up to so many bytes, now and then; 0 is 12 KiB
	Often   int      // how often, of a thousand; 0 is 10
	Tables  []string // names to use; nil is three
	NoSync  int      // percent of writes that are not synced
	Keys    int      // how many times as often as else keys are changed; 0 is once
}

// A Gen makes ops up, so that they make sense on a model on which all before
// have run.
type Gen struct {
	rng   *rand.Rand
	mix   Mix
	model *Model
	total int
	n     uint64 // values, views and snapshots made
	own   []*Verb
}

// NewGen makes a generator for a model.
func NewGen(rng *rand.Rand, m *Model, mix Mix) *Gen {
	if mix.Tables == nil {
		mix.Tables = []string{"ks.a", "ks.b", "ks.c"}
	}
	if mix.Large == 0 {
		mix.Large = 12 << 10
	}
	if mix.Often == 0 {
		mix.Often = 10
	}
	g := &Gen{rng: rng, mix: mix, model: m}
	for _, v := range verbs() {
		if v.Weight > 0 && !slices.Contains(mix.Without, v.Name) {
			if mix := g.mix; mix.Keys > 1 && (v.Name == rotateVerb.Name || v.Name == renewVerb.Name) {
				often := *v
				often.Weight *= mix.Keys
				v = &often
			}
			g.own = append(g.own, v)
			g.total += v.Weight
		}
	}
	return g
}

// Next makes up an op.
func (g *Gen) Next() Op {
	for {
		n := g.rng.IntN(g.total)
		for _, v := range g.own {
			if n -= v.Weight; n < 0 {
				if args := v.Make(g); args != nil {
					return Op{v.Name, args}
				}
				break
			}
		}
	}
}

// table picks a table, mostly one that is there.
func (g *Gen) table() string {
	if live := g.model.List(); len(live) > 0 && g.rng.IntN(50) > 0 {
		return live[g.rng.IntN(len(live))].Name
	}
	return g.mix.Tables[g.rng.IntN(len(g.mix.Tables))]
}

// source picks a table or a view.
func (g *Gen) source() Source {
	if views := g.model.viewNames(); len(views) > 0 && g.rng.IntN(4) == 0 {
		return Source{View: views[g.rng.IntN(len(views))]}
	}
	return Source{Table: g.table()}
}

func (s Source) args() []string {
	if s.View != "" {
		return []string{"view", s.View}
	}
	return []string{"table", s.Table}
}

func parseSource(kind, name string) Source {
	if kind == "view" {
		return Source{View: name}
	}
	return Source{Table: name}
}

// key picks a key: few enough to be met again, some with the bytes at which
// order and prefixes go wrong, a few long ones.
func (g *Gen) key() string {
	n := g.rng.IntN(100)
	switch {
	case n < 70:
		return fmt.Sprintf("k%03d", g.rng.IntN(150))
	case n < 85:
		return fmt.Sprintf("k0%02d/%c", g.rng.IntN(10), 'a'+rune(g.rng.IntN(8)))
	case n < 90:
		return strings.Repeat("\xff", 1+g.rng.IntN(4)) + string(rune('a'+g.rng.IntN(3)))
	case n < 94:
		return strings.Repeat("\x00", 1+g.rng.IntN(3))
	case n < 98:
		return fmt.Sprintf("long/%d/", g.rng.IntN(4)) + strings.Repeat("l", 100*g.rng.IntN(30))
	}
	return fmt.Sprintf("%c", rune('a'+g.rng.IntN(26)))
}

// prefix picks what keys begin with.
func (g *Gen) prefix() string {
	return []string{"k", "k0", "k00", "k01", "k00/", "\xff", "\xff\xff", "\x00", "long/", "z"}[g.rng.IntN(10)]
}

func (g *Gen) span() (from, to string) {
	from, to = g.key(), g.key()
	if from > to && g.rng.IntN(20) > 0 {
		from, to = to, from
	}
	return from, to
}

// value makes the argument for a value that never was.
func (g *Gen) value() string {
	g.n++
	length := 0
	switch n := g.rng.IntN(1000); {
	case n < 30:
	case n < 600:
		length = g.rng.IntN(100)
	case n < 900:
		length = g.rng.IntN(1500)
	case n < 1000-g.mix.Often:
		length = g.rng.IntN(12 << 10)
	default:
		length = g.rng.IntN(g.mix.Large)
	}
	return valueArg(g.n, length)
}

func (g *Gen) sync() string {
	if g.rng.IntN(100) < g.mix.NoSync {
		return "nosync"
	}
	return "sync"
}

func (g *Gen) name(kind string) string {
	g.n++
	return fmt.Sprintf("%s%d", kind, g.n)
}
