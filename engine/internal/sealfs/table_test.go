package sealfs

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/engine/internal/hole"
	"github.com/cofredb/cofre/sstable"
)

// TestAbortedTable aborts a table as the hole does: nothing more of it is
// written, and its writer has let go of keys and plaintext.
func TestAbortedTable(t *testing.T) {
	t.Parallel()
	base := vfs.NewMem()
	f, err := newTable(t, 0).over(base).Create("000001.sst", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte("row"))
	require.NoError(t, err)
	require.NoError(t, f.(hole.Aborter).Abort())
	_, err = f.Write([]byte("row"))
	require.ErrorIs(t, err, sstable.ErrFinished)
	require.ErrorIs(t, f.Sync(), sstable.ErrFinished)
	fi, err := base.Stat("000001.sst")
	require.NoError(t, err)
	require.Zero(t, fi.Size())
}
