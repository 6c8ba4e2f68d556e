// Command torture does to stores all that disks, power cuts, kills and attackers
// do, for as long as it is told, and holds what it finds against oracles that
// know what may be there.
//
//	go run ./internal/torture -for 10m -seed 1 -only crash,fault
//
// It works in rounds. A round is a fixed amount of work of one family, drawn
// from a seed, in a process of its own: a panic, an exit or a hang is one of
// that process, and is found. Two rounds run at a time; the family that has
// had the least of its share of the time is next. From five minutes on rounds
// do all they can; in a shorter soak they take samples. At the end a table says what was done and found.
// At the first violation the harness stops and prints the family, the seed and
// the round, with which -only, -seed and -round do it again, and the operations
// that lead there, if they are known. It then exits with 1.
//
// The families are below this directory, a package each; families in this
// package says what a round of each is.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/cofredb/cofre/internal/torture/kill"
	"github.com/cofredb/cofre/internal/torture/suites"
	"github.com/cofredb/cofre/internal/torture/verdict"
)

func main() {
	if code, ok := kill.Child(); ok {
		os.Exit(code)
	}
	var s soak
	var only, report string
	var child bool
	var round int
	flag.DurationVar(&s.limit, "for", time.Minute, "how long to go on")
	flag.Uint64Var(&s.seed, "seed", uint64(time.Now().UnixNano()), "what all rounds are drawn from")
	flag.StringVar(&only, "only", "", "families, separated by commas: "+familyNames())
	flag.BoolVar(&s.json, "json", false, "print the summary as JSON")
	flag.StringVar(&report, "report", "", "write the summary to a file too, in Markdown, with a line for each attack")
	flag.IntVar(&round, "round", -1, "do this round alone")
	flag.IntVar(&s.parallel, "parallel", 2, "rounds at a time")
	flag.BoolVar(&child, "child", false, "be the process of one round")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	var err error
	if s.families, err = choose(only); err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "torture:", err, flag.Args())
		os.Exit(2)
	}
	if child {
		os.Exit(runChild(ctx, s.families[0], s.seed, round, s.limit >= longSoak))
	}
	if report != "" { // before hours have passed
		f, err := os.OpenFile(report, os.O_WRONLY|os.O_CREATE, 0o644)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "torture: -report:", err)
			os.Exit(2)
		}
	}
	s.only = round
	sum := s.run(ctx)
	if s.json {
		_ = json.NewEncoder(os.Stdout).Encode(sum)
	} else {
		fmt.Print(sum)
	}
	if report != "" {
		if err := os.WriteFile(report, []byte(sum.markdown()), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "torture: the report is not written:", err)
			os.Exit(2)
		}
	}
	if len(sum.Violations) > 0 {
		os.Exit(1)
	}
}

func familyNames() string {
	var names []string
	for _, f := range families() {
		names = append(names, f.name)
	}
	return strings.Join(names, ", ")
}

func choose(only string) ([]family, error) {
	if only == "" {
		return families(), nil
	}
	var list []family
	for name := range strings.SplitSeq(only, ",") {
		found := false
		for _, f := range families() {
			if f.name == name {
				list, found = append(list, f), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no family %q: there are %s", name, familyNames())
		}
	}
	return list, nil
}

// An outcome is what the process of a round prints, as JSON.
type outcome struct {
	Counts    verdict.Counts     `json:"counts"`
	Violation *verdict.Violation `json:"violation,omitempty"`
	Notes     []string           `json:"notes,omitempty"`
	Attacks   []attempts         `json:"attacks,omitempty"`
	Case      string             `json:"case,omitempty"` // of the family's, which the round has done whole
	NotRun    string             `json:"not_run,omitempty"`
}

type attempts = suites.Attempts

// longSoak is from where on rounds of suites that take minutes do all they can.
const longSoak = 5 * time.Minute

// runChild does one round and prints its outcome.
func runChild(ctx context.Context, f family, seed uint64, round int, long bool) int {
	o := f.run(ctx, task{seed: mix(seed, f.name, round), base: seed, round: round, long: long})
	if err := json.NewEncoder(os.Stdout).Encode(o); err != nil {
		return 1
	}
	return 0
}
