package main

import (
	"context"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/torture/verdict"
)

// TestMain lets the test be the process of a round, as the command is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-child" {
		os.Exit(fakeRound())
	}
	os.Exit(m.Run())
}

// fakeRound is a round whose number says how it ends.
func fakeRound() int {
	round, _ := strconv.Atoi(os.Args[len(os.Args)-1])
	switch round {
	case 3:
		panic("planted")
	case 4:
		_ = json.NewEncoder(os.Stdout).Encode(outcome{Violation: &verdict.Violation{Kind: verdict.Lost, What: "planted", Transcript: "put ks.a k 1x1 sync\n"}})
	default:
		_ = json.NewEncoder(os.Stdout).Encode(outcome{Counts: verdict.Counts{Rounds: 1, Operations: 5}})
	}
	return 0
}

// TestSoak runs rounds until one dies, and says which.
func TestSoak(t *testing.T) {
	t.Parallel()
	s := &soak{seed: 9, limit: time.Minute, parallel: 1, only: -1, families: []family{{name: "meta"}}}
	sum := s.run(context.Background())
	require.Len(t, sum.Violations, 1)
	require.Equal(t, verdict.Exit, sum.Violations[0].Kind)
	require.Equal(t, 3, sum.Violations[0].Round)
	require.Contains(t, sum.Violations[0].What, "panic: planted")
	require.EqualValues(t, 15, sum.Rows[0].Operations)
	require.Contains(t, sum.Violations[0].String(), "-only meta -seed 9 -round 3")
}

// TestSoakViolation does one round alone, and counts what it found.
func TestSoakViolation(t *testing.T) {
	t.Parallel()
	s := &soak{seed: 9, parallel: 2, only: 4, families: []family{{name: "crash"}}}
	sum := s.run(context.Background())
	require.Len(t, sum.Violations, 1)
	require.Equal(t, 1, sum.Rows[0].Found[verdict.Lost])
	require.Contains(t, sum.Violations[0].String(), "put ks.a k 1x1 sync")
	lines := strings.Split(sum.String(), "\n")
	require.Contains(t, lines[0], "false alarm")
	require.Contains(t, lines[1], "crash")
}

// TestReport adds up attempts of several rounds and writes a line for each.
func TestReport(t *testing.T) {
	t.Parallel()
	r := &row{Family: "attack"}
	for range 2 {
		r.attempted([]attempts{
			{Row: "b", Store: "clean", Must: "O", Tries: 60, Came: map[string]int{"open": 60}},
			{Row: "a", Store: "crashed", Must: "O/P", Tries: 7, Came: map[string]int{"open": 4, "P": 3}},
		})
	}
	require.Equal(t, "2 rows, 1 of them with 100 tries or more, the fewest with 14", r.fewest())
	page := (&summary{Seed: 4, Limit: "5m0s", Rows: []*row{r}}).markdown()
	require.Contains(t, page, "-for 5m0s -seed 4\n")
	require.Contains(t, page, "| a | crashed | 14 | O/P | P 6, open 8 |\n| b | clean | 120 | O | open 120 |\n")
}

func TestChoose(t *testing.T) {
	t.Parallel()
	list, err := choose("crash,leak")
	require.NoError(t, err)
	require.Len(t, list, 2)
	_, err = choose("crash,nothing")
	require.ErrorContains(t, err, `no family "nothing"`)
	list, err = choose("")
	require.NoError(t, err)
	require.Len(t, list, 11)
}
