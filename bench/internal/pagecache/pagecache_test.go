package pagecache

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ok, err := Tells(dir)
	if runtime.GOOS != "linux" {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		return
	}
	require.NoError(t, err)
	if !ok {
		t.Logf("%s is on no disk: there is nothing to be seen", dir)
		return
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	const pages = 64
	require.NoError(t, os.Mkdir(filepath.Join(dir, "below"), 0o700))
	path := filepath.Join(dir, "below", "file")
	require.NoError(t, os.Symlink(path, filepath.Join(dir, "link"))) // is not counted
	seen := int64(0)
	for i := 0; i < 20 && seen < pages; i++ { // the system may write pages out
		require.NoError(t, os.WriteFile(path, make([]byte, pages*os.Getpagesize()), 0o600))
		seen, err = Dirty(dir)
		require.NoError(t, err)
	}
	require.EqualValues(t, pages, seen)
	n, err := Cached(dir)
	require.NoError(t, err)
	require.EqualValues(t, pages, n)

	f, err := os.Open(path)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	n, err = Dirty(dir)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = Cached(dir)
	require.NoError(t, err)
	require.EqualValues(t, pages, n)

	require.NoError(t, os.WriteFile(path, make([]byte, pages*os.Getpagesize()), 0o600))
	require.NoError(t, Drop(dir)) // dirty pages too
	n, err = Cached(dir)
	require.NoError(t, err)
	require.Zero(t, n)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Len(t, b, pages*os.Getpagesize())
}

func TestMissing(t *testing.T) {
	t.Parallel()
	_, err := Dirty(filepath.Join(t.TempDir(), "missing"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
