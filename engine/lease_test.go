package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// runLease keeps a lease of five minutes in fake time for at most d, with a key
// service that answers as told.
func runLease(t *testing.T, d time.Duration, answer func(ctx context.Context, n int) error) (calls []time.Duration, after time.Duration, locked error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	busy := false
	l := &lease{length: DefaultKeyLease, renewed: func(time.Time) {}, confirm: func(ctx context.Context) error {
		require.False(t, busy, "two calls at once")
		busy = true
		defer func() { busy = false }()
		calls = append(calls, time.Since(begun))
		return answer(ctx, len(calls)-1)
	}}
	err := l.keep(ctx, begun)
	return calls, time.Since(begun), err
}

func TestLease(t *testing.T) {
	t.Parallel()
	fine := func(context.Context, int) error { return nil }
	denied := func(context.Context, int) error { return keyring.ErrKeyDenied }
	down := func(context.Context, int) error { return keyring.ErrKeyUnreachable }
	hangs := func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
	late := func(ctx context.Context, _ int) error {
		if !wait(ctx, DefaultKeyLease/6) {
			return ctx.Err()
		}
		return nil
	}
	wrong := func(context.Context, int) error { return keyring.ErrWrongContext }

	synctest.Test(t, func(t *testing.T) {
		calls, _, err := runLease(t, 24*time.Hour, fine)
		require.NoError(t, err)
		// One between a half and three quarters of each lease.
		require.GreaterOrEqual(t, len(calls), 24*60/4)
		require.LessOrEqual(t, len(calls), 24*60*2/5+1)
		for n := 1; n < len(calls); n++ {
			gap := calls[n] - calls[n-1]
			require.GreaterOrEqual(t, gap, DefaultKeyLease/2)
			require.LessOrEqual(t, gap, DefaultKeyLease*3/4+time.Second)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		for name, answer := range map[string]func(context.Context, int) error{"denied": denied, "wrong": wrong} {
			calls, after, err := runLease(t, time.Hour, answer)
			require.Error(t, err, name)
			require.Len(t, calls, 1, name)
			require.Equal(t, calls[0], after, "%s: it locks at once", name)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		for name, answer := range map[string]func(context.Context, int) error{"down": down, "hangs": hangs} {
			calls, after, err := runLease(t, time.Hour, answer)
			require.ErrorIs(t, err, keyring.ErrKeyUnreachable, name)
			require.Equal(t, DefaultKeyLease, after, "%s: it locks at the end of the lease", name)
			require.Less(t, len(calls), 60, name)
		}
		calls, _, err := runLease(t, time.Hour, down)
		require.Error(t, err)
		require.Greater(t, len(calls), 4, "it is asked again")
	})
	synctest.Test(t, func(t *testing.T) {
		// What is confirmed counts from when it was asked.
		_, _, err := runLease(t, 24*time.Hour, late)
		require.NoError(t, err)
		calls, after, err := runLease(t, time.Hour, func(ctx context.Context, n int) error {
			if n == 0 {
				return late(ctx, n)
			}
			return keyring.ErrKeyUnreachable
		})
		require.ErrorIs(t, err, keyring.ErrKeyUnreachable)
		require.Equal(t, calls[0]+DefaultKeyLease, after)
		// A call that hangs is given up, and another is answered.
		_, _, err = runLease(t, 24*time.Hour, func(ctx context.Context, n int) error {
			if n%2 == 0 {
				return hangs(ctx, n)
			}
			return nil
		})
		require.NoError(t, err)
		// Down for a while, and back before the end.
		calls, _, err = runLease(t, 6*time.Hour, func(_ context.Context, n int) error {
			if n%5 != 4 {
				return keyring.ErrKeyThrottled
			}
			return nil
		})
		require.NoError(t, err)
		require.Greater(t, len(calls), 5*60)
	})
	synctest.Test(t, func(t *testing.T) {
		// An end of the table's use ends the call that is under way.
		calls, after, err := runLease(t, 4*time.Minute, hangs)
		require.NoError(t, err)
		require.NotEmpty(t, calls)
		require.Equal(t, 4*time.Minute, after)
	})
}

func TestRegain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		n := 0
		l := &lease{length: DefaultKeyLease, confirm: func(context.Context) error {
			if n++; time.Since(begun) < time.Hour {
				return keyring.ErrKeyDenied
			}
			return nil
		}}
		require.True(t, l.regain(t.Context()))
		require.Less(t, time.Since(begun), time.Hour+2*maxLeaseBackoff)
		require.Less(t, n, 200)
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		l := &lease{length: DefaultKeyLease, confirm: func(context.Context) error { return errors.New("no") }}
		require.False(t, l.regain(ctx))
		l.confirm = func(context.Context) error { return keyring.ErrTableUnknown }
		require.False(t, l.regain(t.Context()), "the table is dropped")
	})
}

// TestLeaseEndsBesideLock: a table whose lease has ended, since it was closed, does not lock
// for a refusal that comes late: nobody would unlock it.
func TestLeaseEndsBesideLock(t *testing.T) {
	t.Parallel()
	s, tab, _, _ := leased(t, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Nil(t, tab.lockFor(ctx, keyring.ErrKeyDenied))
	require.NoError(t, tab.Put(key, nil, nil))
	require.NoError(t, s.Close())
}

// TestLockHeard: what is in use when the table locks hears that it is locked, and so do keys
// that are asked for; who locks it twice does not unlock it.
func TestLockHeard(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, tab, _, _ := leased(t, time.Hour)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	v, err := tab.View()
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, tab.Lock(ctx))
		_, err = v.Get(key)
		require.ErrorIs(t, err, ErrKeyInaccessible)
		_, err = tab.Get(key)
		require.ErrorIs(t, err, ErrKeyInaccessible)
		require.NotNil(t, tab.locked.Load())
		err = tab.WithKeys(ctx, func(*keyring.TableKeys) error { return errors.New("called") })
		require.ErrorIs(t, err, ErrKeyInaccessible)
	}
	require.NoError(t, v.Close())
	require.NoError(t, tab.Unlock(ctx))
	_, err = tab.Get(key)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// TestLeaseOfSnapshot: the keys of a snapshot that is read are under the lease too, also
// where nothing else of the table is open.
func TestLeaseOfSnapshot(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, tab, root, _ := leased(t, 200*time.Millisecond)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	_, err := tab.Snapshot(ctx, "s")
	require.NoError(t, err)
	require.NoError(t, tab.Close())
	v, err := tab.OpenSnapshot(ctx, "s")
	require.NoError(t, err)
	keys := v.inst.keys
	require.Nil(t, tab.inst.Load())
	tab.closeIfIdle()
	_, err = v.Get(key)
	require.NoError(t, err)
	root.fail(keyring.ErrKeyDenied)
	require.Eventually(t, func() bool {
		_, err := keys.NewDataKey(keyring.NewID())
		return errors.Is(err, keyring.ErrKeysWiped)
	}, 10*time.Second, time.Millisecond)
	_, err = v.Get(key)
	require.ErrorIs(t, err, ErrKeyInaccessible)
	require.NoError(t, v.Close())
	require.NoError(t, s.Close())
}
