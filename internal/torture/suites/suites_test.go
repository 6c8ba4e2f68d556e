package suites

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/torture/verdict"
)

// TestCounts reads the lines that the suites log.
func TestCounts(t *testing.T) {
	t.Parallel()
	var c verdict.Counts
	Attack.count(&c, "    attacks_test.go:1: row \"a\", crashed: 100 tries, must be O, came out as map[]\n    x.go:2: closed   7 of 9 tries get through\n")
	Pebble.count(&c, "    pebble_test.go:1: seed 4: 5000 operations, 12 crashes, 9 logs recycled, 7 read errors injected (sst 7)\n")
	require.Equal(t, verdict.Counts{Tampers: 100, Operations: 5000, Crashes: 12, Faults: 7}, c)
}

// TestAttempts reads what the attack tests say of each row.
func TestAttempts(t *testing.T) {
	t.Parallel()
	got := attempts(`    attacks_test.go:1: row "sst: bit \"flipped\"", clean: 9 tries, must be OR, came out as map[read:6 unread:3]
    attacks_test.go:1: row "cut", deep: 100 tries, must be O/P, came out as map[P:40 nothing lost:50 open:10]
    attacks_test.go:1: row "none", crashed: 2 tries, must be -, came out as map[]
`)
	require.Equal(t, []Attempts{
		{Row: `sst: bit "flipped"`, Store: "clean", Must: "OR", Tries: 9, Came: map[string]int{"read": 6, "unread": 3}},
		{Row: "cut", Store: "deep", Must: "O/P", Tries: 100, Came: map[string]int{"P": 40, "nothing lost": 50, "open": 10}},
		{Row: "none", Store: "crashed", Must: "-", Tries: 2, Came: map[string]int{}},
	}, got)
}

func TestTree(t *testing.T) {
	t.Parallel()
	dir, reason := tree()
	require.Empty(t, reason)
	require.FileExists(t, dir+"/go.mod")
}
