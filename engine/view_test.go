package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestViewClosesBesideRead closes a view while another goroutine is about to
// read by it: Pebble panics where that read comes too late.
func TestViewClosesBesideRead(t *testing.T) {
	t.Parallel()
	_, _, tab := newHooked(t)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	v, err := tab.View()
	require.NoError(t, err)
	r, err := v.use()
	require.NoError(t, err)
	closed := make(chan error, 1)
	go func() { closed <- v.Close() }()
	// Close waits now, or it is through.
	require.Eventually(t, func() bool {
		if !v.mu.TryRLock() {
			return true
		}
		defer v.mu.RUnlock()
		return v.closed
	}, 10*time.Second, time.Millisecond)
	func() {
		defer v.leave()
		require.NotPanics(t, func() { _, err = v.inst.get(r, nil, key) })
	}()
	require.NoError(t, errors.Join(err, <-closed))
	_, err = v.Get(key)
	require.ErrorIs(t, err, ErrClosed)
}
