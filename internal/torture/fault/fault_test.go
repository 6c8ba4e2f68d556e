package fault

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/internal/torture/oracle"
	"github.com/cofredb/cofre/internal/torture/verdict"
	"github.com/cofredb/cofre/internal/torture/work"
)

func TestRounds(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	var g errgroup.Group
	g.SetLimit(2)
	for n := int(seed % 29); n < Rounds(); n += 29 {
		g.Go(func() error {
			_, err := Run{Seed: seed, Round: n, Stride: 40, Fulls: 1}.Do(context.Background())
			return err
		})
	}
	require.NoError(t, g.Wait(), "seed %d", seed)
}

// TestFull fills the disk once.
func TestFull(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	_, err := Run{Seed: seed, Round: find(t, seed, "full disk"), Fulls: 1}.Do(context.Background())
	require.NoError(t, err, "seed %d", seed)
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
	r := Run{Seed: 1, Round: find(t, 1, "fill, EIO, once"), Stride: 20, Lie: func(s work.Subject) work.Subject { return boaster{s} }}
	_, err := r.Do(context.Background())
	v := verdict.Of(err)
	require.NotNil(t, v)
	require.Contains(t, []verdict.Kind{verdict.Lost, verdict.Wrong, verdict.Phantom}, v.Kind, v.What)
}
