package dir

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestNewParents: each directory that gets a new one in it is opened, as it is synced, and
// none above.
func TestNewParents(t *testing.T) {
	t.Parallel()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	require.NoError(t, err)
	defer unix.Close(fd)
	top := t.TempDir()
	have := filepath.Join(top, "have")
	require.NoError(t, os.Mkdir(have, 0o700))
	watched := make(map[int32]string)
	for _, dir := range []string{top, have} {
		wd, err := unix.InotifyAddWatch(fd, dir, unix.IN_OPEN)
		require.NoError(t, err)
		watched[int32(wd)] = dir
	}
	require.NoError(t, makeAll(filepath.Join(have, "new", "inner")))
	buf := make([]byte, 4096)
	n, err := unix.Read(fd, buf)
	require.NoError(t, err, "no directory was opened")
	opened := make(map[string]bool)
	for buf = buf[:n]; len(buf) > 0; {
		wd, name := int32(binary.NativeEndian.Uint32(buf)), binary.NativeEndian.Uint32(buf[12:])
		if buf = buf[unix.SizeofInotifyEvent:]; name == 0 { // itself, and nothing in it
			opened[watched[wd]] = true
		}
		buf = buf[name:]
	}
	require.Equal(t, map[string]bool{have: true}, opened)
}
