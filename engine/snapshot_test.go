package engine

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// idleSnapshot leaves a snapshot open that nobody uses: its last view was closed
// while a read was under way.
func idleSnapshot(t *testing.T, tab *Table) {
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	_, err := tab.Snapshot(t.Context(), "s")
	require.NoError(t, err)
	v, err := tab.OpenSnapshot(t.Context(), "s")
	require.NoError(t, err)
	require.True(t, v.inst.enter())
	require.NoError(t, v.Close())
	v.inst.leave()
	require.Len(t, tab.snaps, 1)
}

// TestDropIdleSnapshot drops a snapshot that is open and not in use.
func TestDropIdleSnapshot(t *testing.T) {
	t.Parallel()
	_, s, tab := newHooked(t)
	idleSnapshot(t, tab)
	require.NoError(t, tab.DropSnapshot(t.Context(), "s"))
	requireVerified(t, s)
}

// TestIdleSnapshotCloses wants the janitor to give its memory back.
func TestIdleSnapshotCloses(t *testing.T) {
	t.Parallel()
	_, _, tab := newHooked(t)
	idleSnapshot(t, tab)
	tab.closeIfIdle()
	require.Empty(t, tab.snaps)
}

// TestStuckSnapshot has a dropped snapshot whose directory cannot be removed: the
// table opens, says so, and removes it when it can.
func TestStuckSnapshot(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	q, s, tab := newFaulty(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	info, err := tab.Snapshot(t.Context(), "s")
	require.NoError(t, err)
	dir := tab.snapshotDir(info.ID)
	q.arm(faultImmutable, 1, true, dir)
	require.ErrorIs(t, tab.DropSnapshot(t.Context(), "s"), syscall.EPERM)
	require.NotContains(t, string(log.bytes()), dir)
	require.NoError(t, tab.Reopen(t.Context()))
	_, err = tab.Get(key)
	require.NoError(t, err)
	require.Contains(t, string(log.bytes()), dir)
	_, err = q.Stat(dir)
	require.NoError(t, err)
	requireVerified(t, s)
	q.heal()
	require.NoError(t, tab.Reopen(t.Context()))
	_, err = q.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestSnapshotOutlivesIdling looks for idle tables just before the name of a
// snapshot is recorded. A table that closed then would remove the snapshot's
// files when it opens again.
func TestSnapshotOutlivesIdling(t *testing.T) {
	t.Parallel()
	h, s, tab := newHooked(t)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	looked := false
	h.hook = func(op, p string) {
		if op != "create" || !strings.Contains(p, "/"+keyringDir+"/") || looked {
			return
		}
		looked = true
		tab.closeIfIdle() // it was used
		tab.closeIfIdle()
		_, err := tab.Get(key)
		require.NoError(t, err)
	}
	_, err := tab.Snapshot(t.Context(), "s")
	require.NoError(t, err)
	require.True(t, looked)
	requireSnapshot(t, tab, "s", state{"k": "v"})
	requireVerified(t, s)
}

// requireSnapshot wants a snapshot to hold what it must.
func requireSnapshot(t *testing.T, tab *Table, name string, want state) {
	t.Helper()
	v, err := tab.OpenSnapshot(t.Context(), name)
	require.NoError(t, err)
	got, err := v.contents()
	require.NoError(t, errors.Join(err, v.Close()))
	require.Equal(t, want, got)
}
