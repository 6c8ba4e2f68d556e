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
			_, err := Run{Seed: seed, Round: n, Stride: 40}.Do(context.Background())
			return err
		})
	}
	g.Go(func() error {
		_, err := Run{Seed: seed, Round: Rounds() - 1, Fulls: 1}.Do(context.Background())
		return err
	})
	require.NoError(t, g.Wait(), "seed %d", seed)
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
	r := Run{Seed: 1, Round: 1, Stride: 20, Lie: func(s work.Subject) work.Subject { return boaster{s} }}
	_, err := r.Do(context.Background())
	v := verdict.Of(err)
	require.NotNil(t, v)
	require.Contains(t, []verdict.Kind{verdict.Lost, verdict.Wrong, verdict.Phantom}, v.Kind, v.What)
}
