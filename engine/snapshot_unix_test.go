//go:build unix

package engine

import (
	"os"
	"path/filepath"
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
