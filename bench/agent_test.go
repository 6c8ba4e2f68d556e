package bench

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFilesThatGo looks at a directory from which a store removes a file: neither
// one that is gone before it is looked at nor one that goes meanwhile is an error;
// a directory that is not there is.
func TestFilesThatGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600))
	}
	var seen []string
	require.NoError(t, files(dir, func(path string, _ fs.FileInfo) error {
		seen = append(seen, filepath.Base(path))
		require.NoError(t, os.Remove(path))
		if filepath.Base(path) == "a" {
			require.NoError(t, os.Remove(filepath.Join(dir, "b")))
		}
		_, err := os.Open(path)
		return err
	}))
	require.Equal(t, []string{"a", "c"}, seen)
	require.ErrorIs(t, files(filepath.Join(dir, "none"), nil), fs.ErrNotExist)
}
