package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMutants holds that each fault can still be planted: a change to the
// product must take its mutants along.
func TestMutants(t *testing.T) {
	t.Chdir("../../..")
	names := map[string]bool{}
	for _, m := range mutants() {
		require.False(t, names[m.name], "two are called %s", m.name)
		names[m.name] = true
		dir := t.TempDir()
		path, err := m.overlay(dir)
		require.NoError(t, err, m.name)
		require.FileExists(t, path)
		for _, e := range m.edits {
			was, err := os.ReadFile(e.file)
			require.NoError(t, err)
			is, err := os.ReadFile(filepath.Join(dir, replaceSlashes(e.file)))
			require.NoError(t, err)
			require.NotEqual(t, string(was), string(is), m.name)
		}
	}
	require.GreaterOrEqual(t, len(names), 15)
}
