package dir

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/storagetest"
)

// TestFullDisk fills a real file system: what does not fit fails, leaves
// nothing, and takes nothing with it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	if err := unix.Mount("none", path, "tmpfs", 0, "size=4m"); err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			t.Skipf("a file system of a few megabytes cannot be mounted here: %v", err)
		}
		require.NoError(t, err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(path, 0)) })
	s, err := Open(path, Options{})
	require.NoError(t, err)
	defer s.Close()
	small := storagetest.Random(1, 1<<20)
	storagetest.MustPut(t, s, "a", small)
	v, err := s.Swap(t.Context(), "lock", storage.NoVersion, []byte("one"))
	require.NoError(t, err)
	big := storage.Bytes(storagetest.Random(2, 8<<20))
	require.ErrorIs(t, s.Put(t.Context(), "b", big), storage.ErrFull)
	require.ErrorIs(t, s.Replace(t.Context(), "a", big), storage.ErrFull)
	left, err := os.ReadDir(filepath.Join(path, tempFolder))
	require.NoError(t, err)
	require.Empty(t, left)
	require.Equal(t, []string{"a", "lock"}, storagetest.Names(t, s, ""))
	require.True(t, bytes.Equal(small, storagetest.MustGet(t, s, "a")))

	// To the last byte.
	for n := 1 << 20; n > 0; n /= 2 {
		for err = nil; err == nil; {
			err = s.Put(t.Context(), "fill/"+rand.Text(), storage.Bytes(make([]byte, n)))
		}
		require.ErrorIs(t, err, storage.ErrFull)
	}
	_, err = s.Swap(t.Context(), "lock", v, []byte("two"))
	require.ErrorIs(t, err, storage.ErrFull)
	b, have, err := s.Load(t.Context(), "lock")
	require.NoError(t, err)
	require.Equal(t, "one", string(b))
	require.Equal(t, v, have)

	// Deleting needs no space, and makes some.
	for _, name := range storagetest.Names(t, s, "fill/") {
		require.NoError(t, s.Delete(t.Context(), name))
	}
	_, err = s.Swap(t.Context(), "lock", v, []byte("two"))
	require.NoError(t, err)
	storagetest.MustPut(t, s, "b", small)
}
