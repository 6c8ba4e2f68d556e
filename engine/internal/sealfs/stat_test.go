package sealfs

import (
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

// An unreadable FS fails all reads.
type unreadable struct{ vfs.FS }

func (u unreadable) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := u.FS.Open(name, opts...)
	return unreadableFile{f}, err
}

type unreadableFile struct{ vfs.File }

func (unreadableFile) ReadAt([]byte, int64) (int, error) { return 0, syscall.EIO }

// TestStatUnreadable asks for the size of a file whose header says how to tell
// it, and cannot be read: that is the disk's failure, and no damage.
func TestStatUnreadable(t *testing.T) {
	t.Parallel()
	base, table := vfs.NewMem(), newTable(t, 64)
	fs := table.over(base)
	require.NoError(t, fs.MkdirAll("db", 0o755))
	writeFile(t, fs, "db/000005.sst", make([]byte, 1000))
	fs.cfg.UnitSize = 256 // of new files
	info, err := fs.Stat("db/000005.sst")
	require.NoError(t, err)
	require.EqualValues(t, 1000, info.Size())
	fs.cfg.Base = unreadable{base}
	_, err = fs.Stat("db/000005.sst")
	require.ErrorIs(t, err, syscall.EIO)
	require.NotErrorIs(t, err, corrupt.ErrMissing)
}
