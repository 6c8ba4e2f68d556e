package engine

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// TestSnapshotOfLocked takes snapshots of a table whose key is denied: when the key is
// back they are what the table was, over restarts, rotations, retired versions and
// re-encryption; and they can be dropped.
func TestSnapshotOfLocked(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, lock := range map[string]func(*Table, *memRoot) (unlock func()){
		"denied": func(tab *Table, root *memRoot) func() {
			require.NoError(t, tab.Close())
			root.fail(keyring.ErrKeyDenied)
			return func() { root.fail(nil) }
		},
		"lease": func(tab *Table, root *memRoot) func() {
			root.fail(keyring.ErrKeyDenied)
			require.NotNil(t, tab.lockFor(ctx, keyring.ErrKeyDenied))
			return func() {
				root.fail(nil)
				require.NoError(t, tab.Unlock(ctx))
			}
		},
		"request": func(tab *Table, _ *memRoot) func() {
			require.NoError(t, tab.Lock(ctx))
			return func() { require.NoError(t, tab.Unlock(ctx)) }
		},
	} {
		s, tab, root, fs := leased(t, DefaultKeyLease)
		require.NoError(t, tab.Put([]byte("flushed"), []byte("1"), nil))
		require.NoError(t, tab.Flush())
		_, err := tab.Snapshot(ctx, "s")
		require.NoError(t, err)
		require.NoError(t, tab.Put([]byte("in the log"), []byte("2"), &WriteOptions{NoSync: true}))
		want := tableRows(t, tab)
		unlock := lock(tab, root)
		_, err = tab.Snapshot(ctx, "locked")
		require.NoError(t, err, name)
		_, err = tab.Snapshot(ctx, "locked")
		require.ErrorIs(t, err, ErrSnapshotExists, name)
		again := ""
		info, err := tab.Snapshot(ctx, "s")
		if name == "request" { // the key is there to look
			require.ErrorIs(t, err, ErrSnapshotExists)
			again = "locked-too"
			_, err = tab.Snapshot(ctx, again)
		} else {
			again = "s." + info.ID.String()[:8]
		}
		require.NoError(t, err, name)
		_, err = tab.OpenSnapshot(ctx, "locked")
		require.ErrorIs(t, err, ErrKeyInaccessible, name)

		unlock()
		check := func(tab *Table) {
			require.Equal(t, want, snapshotRows(t, tab, "locked"), name)
			require.Equal(t, want, snapshotRows(t, tab, again), name)
			require.Len(t, snapshotRows(t, tab, "s"), 1, name)
		}
		check(tab)
		require.NoError(t, tab.Put([]byte("later"), nil, nil))
		require.NoError(t, tab.RotateKey(ctx))
		require.NoError(t, tab.RetireKey(ctx, 1))
		_, err = tab.Reencrypt(ctx, ReencryptOptions{})
		require.NoError(t, err)
		check(tab)
		requireVerified(t, s)
		require.NoError(t, s.Close())

		opts := crashOptions(s.opts.RootKey, fs)
		opts.Roots = s.opts.Roots
		s, err = Open(ctx, crashDir, opts)
		require.NoError(t, err)
		tab, err = s.Table("clinic.patients")
		require.NoError(t, err)
		check(tab)
		list, err := tab.Snapshots(ctx)
		require.NoError(t, err)
		require.Len(t, list, 3)
		require.NoError(t, tab.DropSnapshot(ctx, "locked"))
		require.NoError(t, tab.Close())
		_, err = tab.OpenSnapshot(ctx, "locked")
		require.ErrorIs(t, err, ErrSnapshotNotFound)
		require.Equal(t, want, snapshotRows(t, tab, again), name)
		requireVerified(t, s)
		require.NoError(t, s.Close())
	}
}

// TestSnapshotOfLockedRefused: of a table that crashed nothing says what belongs to it.
func TestSnapshotOfLockedRefused(t *testing.T) {
	t.Parallel()
	s, tab, root, fs := leased(t, DefaultKeyLease)
	require.NoError(t, tab.Put(key, nil, nil))
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, s.Close())
	opts := crashOptions(s.opts.RootKey, crashed)
	opts.Roots = s.opts.Roots
	s, err := Open(t.Context(), crashDir, opts)
	require.NoError(t, err)
	tab, err = s.Table("clinic.patients")
	require.NoError(t, err)
	root.fail(keyring.ErrKeyDenied)
	_, err = tab.Snapshot(t.Context(), "s")
	require.ErrorIs(t, err, ErrKeyInaccessible)
	require.ErrorContains(t, err, "closed cleanly")
	root.fail(nil)
	_, err = tab.Snapshot(t.Context(), "s")
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
