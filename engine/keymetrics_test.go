package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
)

// TestKeyMetrics counts what a root key was asked, by outcome, and tells of lease and
// lock.
func TestKeyMetrics(t *testing.T) {
	t.Parallel()
	s, tab, root, _ := leased(t, 10*time.Second)
	require.NoError(t, tab.Put(key, nil, nil))
	calls := func(event, code string) (n uint64) {
		for _, c := range s.KeyMetrics().Calls {
			if c.Key == root.URI() && c.Event == event && c.ErrorCode == code {
				sum := uint64(0)
				for _, b := range c.Buckets {
					sum += b
				}
				require.Equal(t, c.Count, sum)
				n += c.Count
			}
		}
		return n
	}
	require.EqualValues(t, 1, calls(audit.EventWrap, ""))
	before := calls(audit.EventUnwrap, "")
	m := s.KeyMetrics().Tables[0]
	require.Equal(t, "clinic.patients", m.Name)
	require.GreaterOrEqual(t, m.LeaseAge, time.Duration(0))
	require.False(t, m.Locked)
	require.NoError(t, tab.Close())
	require.Negative(t, s.KeyMetrics().Tables[0].LeaseAge)
	_, err := tab.Get(key)
	require.NoError(t, err)
	require.Equal(t, before+1, calls(audit.EventUnwrap, ""))
	require.NoError(t, tab.Close())
	root.fail(keyring.ErrKeyDenied)
	_, err = tab.Get(key)
	require.ErrorIs(t, err, ErrKeyInaccessible)
	require.EqualValues(t, 1, calls(audit.EventUnwrap, audit.ErrorCode(keyring.ErrKeyDenied)))
	root.fail(nil)
	require.NoError(t, tab.Lock(t.Context()))
	require.True(t, s.KeyMetrics().Tables[0].Locked)
	require.NoError(t, s.Close())
}
