package engine

import (
	"errors"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
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
		s.instance().Register(1, f)
	}
	s.grant()
	for n, f := range all {
		require.Equal(t, 1, f.asked, "table %d", n)
	}
	require.Equal(t, 3, s.running)
}
