// Package suites runs tests of the product's own, most of which can do more than
// they do by default, with their counts raised: the attacks on single files and on
// stores, Pebble's metamorphic suite over the sealing file system, tables rebuilt from
// their archived logs, the searches for leaks, and concurrency under the race detector. It needs the module's tree and
// the go command.
package suites

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/cofredb/cofre/internal/torture/verdict"
)

// A Suite is a set of tests.
type Suite struct {
	Package string // or several, with spaces between
	Run     string // as of go test
	Race    bool
	Kind    verdict.Kind // of what it finds
	Env     []string     // what raises the counts, in a long soak
	// counts finds in the tests' log how much was done: a line's number is
	// added to the count of its kind.
	counts map[*regexp.Regexp]func(*verdict.Counts, int64)
	// attacks: the log tells of each row of the matrix.
	attacks bool
}

var (
	tries = regexp.MustCompile(`(?m)\b([0-9]+) tries, must be\b`)
	ops   = regexp.MustCompile(`(?m)\b([0-9]+) (?:operations|ops)\b`)
	cuts  = regexp.MustCompile(`(?m)\b([0-9]+) crash(?:es)?\b`)
	hits  = regexp.MustCompile(`(?m)\b([0-9]+) read errors injected\b`)
)

func addTampers(c *verdict.Counts, n int64)    { c.Tampers += n }
func addOperations(c *verdict.Counts, n int64) { c.Operations += n }
func addCrashes(c *verdict.Counts, n int64)    { c.Crashes += n }
func addFaults(c *verdict.Counts, n int64)     { c.Faults += n }

// The suites there are.
var (
	// Formats attacks single files, below all that binds files together: what one
	// layer would miss another may find, and each has to.
	Formats = Suite{
		Package: "./sstable ./wal", Run: "Attacks$|EveryBit|HeaderBits|LegalCrashes|IllegalStates|Final$|Limit$", Kind: verdict.Wrong,
	}
	Attack = Suite{
		Package: "./engine", Run: "Attack", Kind: verdict.Wrong, Env: []string{"COFRE_ATTACK_TRIES=100"}, attacks: true,
		counts: map[*regexp.Regexp]func(*verdict.Counts, int64){tries: addTampers},
	}
	Pebble = Suite{
		Package: "./engine/internal/sealfs", Run: "Metamorphic|SameAsPlain", Kind: verdict.Wrong, Env: []string{"COFRE_META_SEEDS=12"},
		counts: map[*regexp.Regexp]func(*verdict.Counts, int64){ops: addOperations, cuts: addCrashes, hits: addFaults},
	}
	Archive = Suite{
		Package: "./engine", Run: "^Test(Apply)?Archive", Kind: verdict.Lost,
		counts: map[*regexp.Regexp]func(*verdict.Counts, int64){cuts: addCrashes},
	}
	Leak        = Suite{Package: "./engine", Run: "NoPlaintext|OneKeyOneUse", Kind: verdict.Leak}
	Concurrency = Suite{Package: "./engine", Run: "Concurren|During|AfterClose|TestBatches$", Kind: verdict.Wrong, Race: true}
)

// A Result is what a suite has found.
type Result struct {
	Counts  verdict.Counts
	Notes   []string
	Attacks []Attempts
	NotRun  string
	Err     error
}

// Attempts are the tries of a row of the attack matrix on a store.
type Attempts struct {
	Row   string         `json:"row"`
	Store string         `json:"store"` // closed cleanly, or crashed
	Must  string         `json:"must"`  // what must come of them
	Tries int            `json:"tries"`
	Came  map[string]int `json:"came"` // what came of them
}

var (
	rowLine = regexp.MustCompile(`row ("(?:[^"\\]|\\.)*"), (\w+): ([0-9]+) tries, must be (.*), came out as map\[(.*)\]`)
	word    = regexp.MustCompile(`([^:]+):([0-9]+) ?`)
)

func attempts(log string) (all []Attempts) {
	for _, m := range rowLine.FindAllStringSubmatch(log, -1) {
		row, err := strconv.Unquote(m[1])
		if err != nil {
			continue
		}
		a := Attempts{Row: row, Store: m[2], Must: m[4], Came: make(map[string]int)}
		a.Tries, _ = strconv.Atoi(m[3])
		for _, w := range word.FindAllStringSubmatch(m[5], -1) {
			a.Came[w[1]], _ = strconv.Atoi(w[2])
		}
		all = append(all, a)
	}
	return all
}

// tree is the directory of the module, or why there is none.
func tree() (dir, reason string) {
	if _, err := exec.LookPath("go"); err != nil {
		return "", "the go command is not at hand"
	}
	at, err := os.Getwd()
	if err != nil {
		return "", err.Error()
	}
	for {
		if _, err := os.Stat(filepath.Join(at, "engine", "doc.go")); err == nil {
			return at, ""
		}
		up := filepath.Dir(at)
		if up == at {
			return "", "the module's tree is not at hand: run it from there"
		}
		at = up
	}
}

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: |^panic: |^fatal error: `)

var ran = regexp.MustCompile(`(?m)^--- PASS: (\S+)`)

// Do runs the suite once; long is with its counts raised.
func (s Suite) Do(ctx context.Context, long bool) Result {
	dir, reason := tree()
	if reason != "" {
		return Result{NotRun: reason}
	}
	args := append([]string{"test"}, strings.Fields(s.Package)...)
	args = append(args, "-run", s.Run, "-count=1", "-v", "-timeout", "38m")
	if s.Race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	if long {
		cmd.Env = append(os.Environ(), s.Env...)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	r := Result{Counts: verdict.Counts{Rounds: 1}}
	s.count(&r.Counts, out.String())
	if s.attacks {
		r.Attacks = attempts(out.String())
	}
	passed := len(ran.FindAllString(out.String(), -1))
	switch {
	case err != nil:
		kind := s.Kind
		if !failed.Match(out.Bytes()) {
			kind = verdict.Broken
		}
		r.Err = verdict.New(kind, "go %q: %v\n%s", args, err, last(out.Bytes(), 6000))
	case passed == 0:
		return Result{NotRun: fmt.Sprintf("no test of %s is called %s", s.Package, s.Run)}
	default:
		r.Notes = []string{fmt.Sprintf("%d tests of %s (%s) pass", passed, s.Package, s.Run)}
	}
	return r
}

// count adds up what a log tells.
func (s Suite) count(c *verdict.Counts, log string) {
	for re, add := range s.counts {
		for _, m := range re.FindAllStringSubmatch(log, -1) {
			n, _ := strconv.ParseInt(m[1], 10, 64)
			add(c, n)
		}
	}
}

func last(b []byte, n int) []byte { return b[max(0, len(b)-n):] }
