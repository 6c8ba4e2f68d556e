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
	Attack.count(&c, "    attacks_test.go:1: crashed  100 tries, must be O came out as map[]\n    x.go:2: closed   7 of 9 tries get through\n")
	Pebble.count(&c, "    pebble_test.go:1: seed 4: 5000 operations, 12 crashes, 9 logs recycled, 7 read errors injected (sst 7)\n")
	require.Equal(t, verdict.Counts{Tampers: 100, Operations: 5000, Crashes: 12, Faults: 7}, c)
}

func TestTree(t *testing.T) {
	t.Parallel()
	dir, reason := tree()
	require.Empty(t, reason)
	require.FileExists(t, dir+"/go.mod")
}
