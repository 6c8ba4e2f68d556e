package engine

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// TestSchedule moves the clock: the engine rotates and re-encrypts by itself, also
// a table that nobody has opened, and says so when it cannot.
func TestSchedule(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fs, root := vfs.NewCrashableMem(), newMemRoot("a")
	var ahead atomic.Int64
	opts := crashOptions(root, fs)
	opts.clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	opts.tune.scheduleTick = time.Millisecond
	s, err := Open(ctx, crashDir, opts)
	require.NoError(t, err)
	tab, err := s.CreateTable(ctx, "clinic.patients", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	require.NoError(t, tab.Flush())
	require.Error(t, tab.SetSchedule(ctx, Schedule{KeyAge: time.Minute}))
	require.NoError(t, tab.SetSchedule(ctx, Schedule{KeyAge: 10 * time.Hour, DataAge: 20 * time.Hour}))
	set, err := tab.Schedule(ctx)
	require.NoError(t, err)
	require.Equal(t, Schedule{KeyAge: 10 * time.Hour, DataAge: 20 * time.Hour}, set)
	require.NoError(t, s.Close())

	s, err = Open(ctx, crashDir, opts)
	require.NoError(t, err)
	tab, err = s.Table("clinic.patients")
	require.NoError(t, err)
	status := func() TableKeyStatus {
		st, err := s.KeyStatus(ctx)
		require.NoError(t, err)
		return st.Tables[0]
	}
	require.Len(t, status().Versions, 1)
	require.Equal(t, Schedule{KeyAge: 10 * time.Hour, DataAge: 20 * time.Hour}, status().Schedule)
	ahead.Store(int64(9*time.Hour + time.Minute))
	require.Eventually(t, func() bool { return len(s.ring.Tables()[0].Versions) == 2 }, 10*time.Second, time.Millisecond)
	require.NotZero(t, status().Versions[0].Files)

	root.fail(keyring.ErrKeyUnreachable)
	ahead.Store(int64(18*time.Hour + 20*time.Minute))
	require.Eventually(t, func() bool { return tab.overdue.Load() != nil }, 10*time.Second, time.Millisecond)
	root.fail(nil)
	require.Eventually(t, func() bool { return len(s.ring.Tables()[0].Versions) == 3 }, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool {
		st := status()
		return st.Versions[0].Files == 0 && st.Versions[1].Files == 0 && st.Overdue == ""
	}, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, map[string]string{string(key): "v"}, tableRows(t, tab))
	requireVerified(t, s)
	require.NoError(t, s.Close())
}
