package local

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMkdirAll makes every name on the way to the keys durable: each directory
// that gets a new entry is synced.
func TestMkdirAll(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	var synced []string
	sync := func(dir string) error { synced = append(synced, dir); return syncDir(dir) }
	require.NoError(t, mkdirAll(filepath.Join(top, "a", "b", "c"), sync))
	require.ElementsMatch(t, []string{top, filepath.Join(top, "a"), filepath.Join(top, "a", "b")}, synced)
	require.DirExists(t, filepath.Join(top, "a", "b", "c"))
	synced = nil
	require.NoError(t, mkdirAll(filepath.Join(top, "a", "b", "c"), sync))
	require.Empty(t, synced)
}
