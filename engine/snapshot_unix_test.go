//go:build unix

package engine

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSnapshotsBehindLink puts a link in the place of the directory that
// snapshots are in: it is not followed.
func TestSnapshotsBehindLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, filepath.Join(dir, "store"), Options{RootKey: newRoot(t)})
	tab, err := s.CreateTable(t.Context(), "clinic.patients", TableOptions{})
	require.NoError(t, err)
	_, err = tab.Snapshot(t.Context(), "s")
	require.NoError(t, err)
	snapshots, aside := filepath.Join(tab.dir, snapshotsDir), filepath.Join(dir, "aside")
	require.NoError(t, os.Rename(snapshots, aside))
	require.NoError(t, os.Symlink(aside, snapshots))
	_, err = tab.OpenSnapshot(t.Context(), "s")
	require.ErrorIs(t, err, ErrCorruption)
	_, err = tab.Snapshot(t.Context(), "other")
	require.ErrorIs(t, err, ErrCorruption)
}

// TestSnapshotWithoutLinks takes a snapshot where the file system has no hard
// links, or no more of a file: its tables are copied.
func TestSnapshotWithoutLinks(t *testing.T) {
	t.Parallel()
	for _, e := range []error{syscall.EPERM, syscall.EXDEV, syscall.EMLINK, syscall.EOPNOTSUPP, syscall.ENOTSUP, syscall.ENOSYS} {
		q, s, tab := newFaulty(t, nil)
		require.NoError(t, tab.Put(key, []byte("v"), nil))
		require.NoError(t, tab.Flush())
		q.arm(fault{name: "no links", err: e, ops: "link"}, 1, true, "")
		_, err := tab.Snapshot(t.Context(), "s")
		require.NoError(t, err, "%v", e)
		_, hits := q.heal()
		require.NotZero(t, hits, "nothing was linked")
		require.NoError(t, tab.Put(key, []byte("later"), nil))
		v, err := tab.OpenSnapshot(t.Context(), "s")
		require.NoError(t, err)
		got, err := v.contents()
		require.NoError(t, err)
		require.Equal(t, state{"k": "v"}, got)
		require.NoError(t, v.Close())
		requireVerified(t, s)
	}
}
