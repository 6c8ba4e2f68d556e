// Package work is what the harness does to a store: operations, how they are
// made up, written down, read back and run.
//
// An [Op] is a line of a transcript: a verb and its arguments. A [Verb] makes
// ops up at random and runs them on a [Subject]; to add one is a file with the
// verb and a line in the list of all. A Subject is a [Model], a plain map that
// is right by its plainness, or an [Engine], which may tell an oracle's World
// what it does. What an op finds is a string, equal on all subjects.
//
//	put ks.a "k017" 12x400 sync
//	scan ks.a "" "" "k0" reverse 5
//
// A value is written as number x length: its bytes follow from both.
package work

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/torture/oracle"
)

// The answers that are no faults. Subjects return them as they are.
var (
	ErrNoTable        = errors.New("no table")
	ErrTableExists    = errors.New("table exists")
	ErrNoSnapshot     = errors.New("no snapshot")
	ErrSnapshotExists = errors.New("snapshot exists")
	ErrSnapshotsExist = errors.New("has snapshots")
	ErrInUse          = errors.New("in use")
	ErrNoView         = errors.New("no view")
	ErrEnded          = errors.New("view ended")
)

// A Source is what is read: a table, or a view.
type Source struct{ Table, View string }

// A Subject is what ops run on. It has one user at a time.
type Subject interface {
	Create(table string) error
	Drop(table string, withSnapshots bool) error
	List() []oracle.Listed

	Write(table string, w []oracle.Effect, sync bool) error
	Get(from Source, key string) (value string, ok bool, err error)
	Scan(from Source, o engine.ScanOptions, visit func(key, value string) bool) error

	View(table, view string) error
	CloseView(view string) error
	Snapshot(table, name string) error
	DropSnapshot(table, name string) error
	Snapshots(table string) ([]string, error)
	OpenSnapshot(table, name, view string) error

	Flush(table string) error
	Compact(table, from, to string) error
	CloseTable(table string) error
	// Rotate gives a table a new key, or has another root key wrap it: the one of
	// that number among those of the store, counted round.
	Rotate(table string, root int) error
	// Reencrypt seals a table's data under new keys, or only its sorted files; Retire
	// destroys the version of its key before the newest.
	Reencrypt(table string, part bool) error
	Retire(table string) error
	// Reopen closes the store and opens it again; Crash does so without the
	// close, after a synced write to each table.
	Reopen() error
	Crash() error
}

// An Op is an operation.
type Op struct {
	Verb string
	Args []string
}

func (o Op) String() string {
	var b strings.Builder
	b.WriteString(o.Verb)
	for _, a := range o.Args {
		b.WriteByte(' ')
		if a == "" || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' || r == '#' }) {
			a = strconv.Quote(a)
		}
		b.WriteString(a)
	}
	return b.String()
}

// Parse reads an op.
func Parse(line string) (Op, error) {
	var words []string
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimLeft(rest, " ") {
		if rest[0] != '"' {
			word, tail, _ := strings.Cut(rest, " ")
			words, rest = append(words, word), tail
			continue
		}
		q, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return Op{}, fmt.Errorf("%q: %w", line, err)
		}
		word, err := strconv.Unquote(q)
		if err != nil {
			return Op{}, fmt.Errorf("%q: %w", line, err)
		}
		words, rest = append(words, word), rest[len(q):]
	}
	if len(words) == 0 {
		return Op{}, errors.New("no operation")
	}
	op := Op{words[0], words[1:]}
	v := find(op.Verb)
	if v == nil {
		return op, fmt.Errorf("%q: no such verb", line)
	}
	if len(op.Args) < v.Args {
		return op, fmt.Errorf("%q: %s takes %d arguments", line, v.Name, v.Args)
	}
	return op, nil
}

// ParseAll reads a transcript: an op a line; # begins a comment line.
func ParseAll(text string) ([]Op, error) {
	var ops []Op
	for n, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		op, err := Parse(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// Format writes a transcript.
func Format(ops []Op) string {
	var b strings.Builder
	for _, op := range ops {
		b.WriteString(op.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Run runs the op and returns what it found.
func (o Op) Run(s Subject) string {
	v := find(o.Verb)
	if v == nil || len(o.Args) < v.Args {
		return "no such op"
	}
	return v.Run(s, o.Args)
}

// A Verb is a kind of op.
type Verb struct {
	Name   string
	Weight int // how often it is made up, among all
	Args   int // how many it has, at least
	// Make makes up arguments; nil if it cannot be done now.
	Make func(g *Gen) []string
	Run  func(s Subject, args []string) string
}

// verbs are all there are.
func verbs() []*Verb {
	return []*Verb{
		&putVerb, &deleteVerb, &deleteRangeVerb, &batchVerb,
		&getVerb, &scanVerb,
		&viewVerb, &closeViewVerb,
		&snapshotVerb, &snapshotsVerb, &openSnapshotVerb, &dropSnapshotVerb,
		&createVerb, &dropVerb, &tablesVerb,
		&flushVerb, &compactVerb, &closeVerb, &reopenVerb, &crashVerb,
		&rotateVerb, &renewVerb,
	}
}

func find(name string) *Verb {
	for _, v := range verbs() {
		if v.Name == name {
			return v
		}
	}
	return nil
}

// answer is the outcome of a call as a string.
func answer(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}
