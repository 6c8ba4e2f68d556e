package fault

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
)

// TestShort does a short round, and fills the disk in another.
func TestShort(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	for _, round := range []int{0, 2} {
		counts, err := Run{Seed: seed, Round: round, Few: 12}.Do(context.Background())
		require.NoError(t, err, "seed %d", seed)
		require.Positive(t, counts.Faults)
	}
}

// TestWhole does one case whole: every operation is failed.
func TestWhole(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := Run{Seed: seed, Round: find(t, seed, "drop, EIO, once")}
	sc, w, seed, _ := r.choose()
	counts, err := r.Do(context.Background())
	require.NoError(t, err, "seed %d", seed)
	kinds, err := (&bases{seed: seed}).count(sc, w)
	require.NoError(t, err)
	// What Pebble does in the background is never quite the same.
	require.Greater(t, counts.Operations, int64(len(kinds)/2))
}

// find is the first round that does a case.
func find(t *testing.T, seed uint64, what string) int {
	for n := range Rounds() {
		if (Run{Seed: seed, Round: n}).Case() == what {
			return n
		}
	}
	t.Fatalf("no round does %s", what)
	return 0
}

// TestCases holds that a pass does every case once.
func TestCases(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for n := range Rounds() {
		seen[Run{Seed: 3, Round: Rounds() + n}.Case()] = true
	}
	require.Len(t, seen, Rounds())
}

// A boaster acknowledges what was refused.
type boaster struct{ work.Subject }

func (b boaster) Write(table string, w []oracle.Effect, sync bool) error {
	err := b.Subject.Write(table, w, sync)
	if e, ok := b.Subject.(*work.Engine); ok && err != nil && e.World.Table(table) != nil {
		e.World.Ack(e.World.Table(table), true)
	}
	return nil
}

// TestAcknowledgedRefusal plants a store that acknowledges what it has not
// written.
func TestAcknowledgedRefusal(t *testing.T) {
	t.Parallel()
	r := Run{Seed: 1, Round: find(t, 1, "fill, EIO, once"), Lie: func(s work.Subject) work.Subject { return boaster{s} }}
	_, err := r.Do(context.Background())
	v := verdict.Of(err)
	require.NotNil(t, v)
	require.Contains(t, []verdict.Kind{verdict.Lost, verdict.Wrong, verdict.Phantom}, v.Kind, v.What)
}
