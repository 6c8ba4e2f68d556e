package engine

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestRestAfterFailure wants a table whose compaction has failed to rest, and
// other tables not to.
func TestRestAfterFailure(t *testing.T) {
	t.Parallel()
	_, s, tab := newHooked(t)
	other, err := s.CreateTable(t.Context(), "clinic.wards", TableOptions{})
	require.NoError(t, err)
	may := func(tab *Table) bool {
		ok, grant := tab.inst.Load().scheduler.TrySchedule()
		if ok {
			grant.Done()
		}
		return ok
	}
	i := tab.inst.Load()
	ended := i.listener().CompactionEnd
	require.True(t, may(tab))
	ended(pebble.CompactionInfo{Err: pebble.ErrCancelledCompaction})
	require.True(t, may(tab), "it was only cancelled")
	ended(pebble.CompactionInfo{Err: errors.New("a block does not open")})
	require.False(t, may(tab))
	require.True(t, may(other))
	i.scheduler.awake() // somebody asks for a compaction
	require.True(t, may(tab))
}

// A fakeDB wants a compaction, and takes or declines the permission.
type fakeDB struct {
	waiting, declines bool
	asked             int
}

func (f *fakeDB) GetAllowedWithoutPermission() int { return 1 }

func (f *fakeDB) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	return f.waiting, pebble.WaitingCompaction{}
}

func (f *fakeDB) Schedule(pebble.CompactionGrantHandle) bool {
	f.asked++
	f.waiting = f.declines
	return !f.declines
}

// TestGrantGoesOn has a table decline the permission that it was waiting for:
// the others get it all the same, and nobody is asked for ever.
func TestGrantGoesOn(t *testing.T) {
	t.Parallel()
	s := &scheduler{limit: 8, tables: make(map[*tableScheduler]struct{}), poke: make(chan struct{}, 1)}
	s.idle = sync.NewCond(&s.mu)
	var all []*fakeDB
	for n := range 6 {
		f := &fakeDB{waiting: true, declines: n%2 == 0}
		all = append(all, f)
		s.instance(nil).Register(1, f)
	}
	s.grant()
	for n, f := range all {
		require.Equal(t, 1, f.asked, "table %d", n)
	}
	require.Equal(t, 3, s.running)
}

// TestCancelledCompactionIsForgotten cancels a compaction that Pebble has picked
// and waits to run: Pebble v2.1.7 panics when it gets the permission.
func TestCancelledCompactionIsForgotten(t *testing.T) {
	t.Parallel()
	opts := crashOptions(newMemRoot("scheduler"), vfs.NewCrashableMem())
	opts.tune.noCompactions = true
	s, err := Open(t.Context(), crashDir, opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	tab, err := s.CreateTable(t.Context(), "clinic.patients", TableOptions{})
	require.NoError(t, err)
	for _, v := range []string{"1", "2"} { // two sorted runs that overlap
		require.NoError(t, tab.Put([]byte("a"), []byte(v), nil))
		require.NoError(t, tab.Flush())
	}
	i := tab.inst.Load()

	busy := func(by int) {
		s.scheduler.mu.Lock()
		defer s.scheduler.mu.Unlock()
		s.scheduler.running += by
	}
	busy(s.scheduler.limit)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tab.Compact(ctx, nil, nil) }()
	waits := func() bool {
		waiting, _ := i.scheduler.db.GetWaitingCompaction()
		return waiting
	}
	require.Eventually(t, waits, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.True(t, waits(), "Pebble has forgotten it by itself")
	busy(-s.scheduler.limit)
	s.scheduler.grant()

	require.NoError(t, tab.Compact(t.Context(), nil, nil), "and the next one runs")
	v, err := tab.Get([]byte("a"))
	require.NoError(t, err)
	require.Equal(t, "2", string(v))
}

// TestPanicEndsTheTable has Pebble panic where it is given a permission, and
// where it is asked whether it needs one.
func TestPanicEndsTheTable(t *testing.T) {
	t.Parallel()
	_, s, tab := newHooked(t)
	for _, asked := range []bool{false, true} {
		_, err := tab.Get([]byte("a"))
		require.ErrorIs(t, err, ErrNotFound)
		broken := s.scheduler.instance(tab.inst.Load().hole.Trip)
		broken.Register(1, panickingDB{asked})
		s.scheduler.grant()
		broken.Unregister()
		_, err = tab.Get([]byte("a"))
		require.ErrorIs(t, err, ErrPoisoned)
		require.NoError(t, tab.Reopen(t.Context()))
	}
}

type panickingDB struct{ asked bool }

func (panickingDB) GetAllowedWithoutPermission() int { return 1 }

func (db panickingDB) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	if db.asked {
		panic("an assertion")
	}
	return true, pebble.WaitingCompaction{}
}

func (panickingDB) Schedule(pebble.CompactionGrantHandle) bool { panic("an assertion") }
