package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// A mortalRoot is destroyed on request.
type mortalRoot struct {
	*memRoot
	days int
	err  error
}

func (r *mortalRoot) ScheduleDeletion(_ context.Context, days int) (time.Time, error) {
	if r.err == nil {
		r.days = days
	}
	return time.Now().AddDate(0, 0, days), r.err
}

// TestDropDestroysRoots refuses to destroy a root key that something else needs, or
// that cannot be; and the table stays. Its own goes with it.
func TestDropDestroysRoots(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	store, shared, paper := newMemRoot("store"), &mortalRoot{memRoot: newMemRoot("shared")}, newMemRoot("paper")
	own, broken := &mortalRoot{memRoot: newMemRoot("own")}, &mortalRoot{memRoot: newMemRoot("broken"), err: errors.New("out of order")}
	opts := crashOptions(store, vfs.NewCrashableMem())
	opts.Roots = []keyring.RootKey{shared, paper, own, broken}
	s, err := Open(ctx, crashDir, opts)
	require.NoError(t, err)
	table := func(name string, root keyring.RootKey) *Table {
		tab, err := s.CreateTable(ctx, name, TableOptions{RootKey: root})
		require.NoError(t, err)
		require.NoError(t, tab.Put(key, nil, nil))
		return tab
	}
	drop := func(name string, days int) (*DropReport, error) {
		return s.DropTable(ctx, name, DropOptions{DestroyRootsAfter: days})
	}
	table("a.one", shared)
	table("a.two", shared)
	table("a.store", store)
	table("a.paper", paper)
	table("a.own", own)
	table("a.broken", broken)
	for name, class := range map[string]error{"a.one": ErrRootShared, "a.store": ErrRootShared, "a.paper": ErrRootStays} {
		_, err := drop(name, 7)
		require.ErrorIs(t, err, class, name)
	}
	for _, days := range []int{-1, 6, 31} {
		_, err := drop("a.own", days)
		require.Error(t, err)
	}
	require.Len(t, s.Tables(), 6, "nothing was dropped")
	require.Zero(t, own.days)

	rep, err := drop("a.own", 9)
	require.NoError(t, err)
	require.Equal(t, 9, own.days)
	require.Len(t, rep.Destroyed, 1)
	require.Equal(t, own.URI(), rep.Destroyed[0].URI)
	require.Contains(t, rep.StillOpenable, "nothing opens them")

	rep, err = drop("a.broken", 9)
	require.ErrorContains(t, err, "out of order")
	require.Empty(t, rep.Destroyed)
	require.NotContains(t, rep.StillOpenable, "nothing opens them")
	require.Len(t, s.Tables(), 4)
	rep, err = drop("a.two", 0)
	require.NoError(t, err)
	require.Empty(t, rep.Destroyed)
	require.Zero(t, shared.days)
	_, err = drop("a.one", 7)
	require.NoError(t, err, "it is the last one")
	require.Equal(t, 7, shared.days)
	require.NoError(t, s.Close())
}
