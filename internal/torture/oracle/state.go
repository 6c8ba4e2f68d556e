// Package oracle knows what a store may hold: after a crash, after a failed
// call, after both.
//
// A [World] is the history of all tables of a store. Whoever works on the store
// tells it what is about to be done and what has returned; [World.Match] holds
// a store against it. Each table has one writer, so its history is a line:
// operations that were issued, some of which are known to be durable. What is
// legal is every state between the last durable operation and the last issued
// one; an operation whose call failed may be in it or not, whole. What was
// once seen after a recovery stays.
package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cofredb/cofre/internal/torture/verdict"
)

// An Effect is a part of a write: a put, a delete, or a range delete.
type Effect struct {
	Kind byte // Put, Delete or DeleteRange
	A, B string
}

// The kinds of effects. A and B are key and value, or from and to.
const (
	Put         = 'p'
	Delete      = 'd'
	DeleteRange = 'r'
)

// A State is what a table holds.
type State map[string]string

// Apply applies a write.
func (s State) Apply(w []Effect) {
	for _, e := range w {
		switch e.Kind {
		case Put:
			s[e.A] = e.B
		case Delete:
			delete(s, e.A)
		case DeleteRange:
			maps.DeleteFunc(s, func(k, _ string) bool { return e.A <= k && k < e.B })
		}
	}
}

// A line is a history of writes: the states that it may have begun with, and
// what was issued since.
type line struct {
	bases   []State // never changed in place
	first   int     // number of writes before those in ops
	ops     []issued
	durable int // writes that cannot be lost, from the first of all
}

type issued struct {
	w []Effect
	// maybe: the call failed, or its answer is not known. The write may be
	// there or not.
	maybe bool
}

func newLine() line { return line{bases: []State{{}}} }

func (l *line) issue(w []Effect) {
	l.ops = append(l.ops[:len(l.ops):len(l.ops)], issued{w, true})
}

func (l *line) end() int { return l.first + len(l.ops) }

// answer says that the last write was acknowledged.
func (l *line) answer() {
	ops := slices.Clone(l.ops)
	ops[len(ops)-1].maybe = false
	l.ops = ops
}

// foldAfter is how many durable writes a line keeps apart.
const foldAfter = 256

func (l *line) sync() {
	l.durable = l.end()
	if len(l.ops) > foldAfter {
		l.fold()
	}
}

// fold puts the durable writes into the bases.
func (l *line) fold() {
	var last []State
	l.walk(func(n int, states []State) bool {
		last = states
		return n < l.durable
	})
	var bases []State
	for _, s := range last {
		bases = append(bases, maps.Clone(s))
	}
	l.bases, l.ops, l.first = bases, slices.Clone(l.ops[l.durable-l.first:]), l.durable
}

// walk visits the states after each number of writes, from the bases on; they
// are valid during the visit only. It ends when visit returns false.
func (l *line) walk(visit func(n int, states []State) bool) {
	states := make([]State, len(l.bases))
	for i, s := range l.bases {
		states[i] = maps.Clone(s)
	}
	for n := l.first; visit(n, states) && n < l.end(); n++ {
		op := l.ops[n-l.first]
		if op.maybe {
			for _, s := range states[:len(states):len(states)] {
				s = maps.Clone(s)
				s.Apply(op.w)
				if !slices.ContainsFunc(states, func(t State) bool { return maps.Equal(s, t) }) {
					states = append(states, s)
				}
			}
			continue
		}
		for _, s := range states {
			s.Apply(op.w)
		}
	}
}

// settle makes a state that was found the only one.
func (l *line) settle(found State) {
	end := l.end()
	l.bases, l.ops, l.first, l.durable = []State{found}, nil, end, end
}

// match finds the state among the legal ones.
func (l *line) match(found State) *verdict.Violation {
	ok := false
	legal := make(map[string]map[string]bool) // values by key; no value is ""
	l.walk(func(n int, states []State) bool {
		if n >= l.durable {
			ok = ok || slices.ContainsFunc(states, func(s State) bool { return maps.Equal(s, found) })
		}
		return !ok
	})
	if ok {
		return nil
	}
	keys := maps.Clone(found)
	l.walk(func(_ int, states []State) bool {
		for _, s := range states {
			maps.Copy(keys, s)
		}
		return true
	})
	ever := make(map[string]bool)
	l.walk(func(n int, states []State) bool {
		for _, s := range states {
			for k := range keys {
				v := value(s, k)
				ever[k+"\x00"+v] = true
				if n >= l.durable {
					if legal[k] == nil {
						legal[k] = make(map[string]bool)
					}
					legal[k][v] = true
				}
			}
		}
		return true
	})
	return judge(found, legal, ever, fmt.Sprintf("write %d, durable, and %d, issued", l.durable, l.end()))
}

// value tells a key without a value from one whose value is empty.
func value(s State, k string) string {
	if v, ok := s[k]; ok {
		return "=" + v
	}
	return ""
}

// judge says what is wrong with a state that is not legal.
func judge(found State, legal map[string]map[string]bool, ever map[string]bool, between string) *verdict.Violation {
	var diff []string
	kind := verdict.Kind("")
	for _, k := range slices.Sorted(maps.Keys(legal)) {
		v := value(found, k)
		if legal[k][v] {
			continue
		}
		of := verdict.Lost
		switch {
		case v == "":
		case !ever[k+"\x00"+v] && !legal[k][""]:
			of = verdict.Wrong
		case len(legal[k]) == 1 && legal[k][""]:
			of = verdict.Phantom
		case !ever[k+"\x00"+v]:
			of = verdict.Wrong
		}
		if kind == "" {
			kind = of
		}
		if len(diff) < 12 {
			diff = append(diff, fmt.Sprintf("%q is %s, legal is %s: %s", k, brief(v), briefs(legal[k]), of))
		}
	}
	if kind == "" {
		kind = verdict.Wrong
		diff = append(diff, "each key's value is legal, all together are not: half a batch, or a write without one before it")
	}
	return verdict.New(kind, "what is there is no state between %s:\n%s", between, strings.Join(diff, "\n"))
}

func brief(v string) string {
	if v == "" {
		return "none"
	}
	return fmt.Sprintf("%.24q (%d)", v[1:], len(v)-1)
}

func briefs(set map[string]bool) string {
	var list []string
	for _, v := range slices.Sorted(maps.Keys(set)) {
		if len(list) == 4 {
			list = append(list, "…")
			break
		}
		list = append(list, brief(v))
	}
	return strings.Join(list, " or ")
}
