package engine

import (
	"errors"
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
