package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReplaceFile: a file appears whole or not at all, and a failure leaves
// nothing behind.
func TestReplaceFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	write := func(text string, fail error) error {
		return replaceFile(path, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return errors.Join(err, fail)
		})
	}
	failed := errors.New("failed")
	require.ErrorIs(t, write("half", failed), failed)
	require.NoFileExists(t, path)
	require.NoError(t, write("first", nil))
	require.ErrorIs(t, write("half", failed), failed)
	require.NoError(t, write("second", nil))
	require.ErrorIs(t, write("half", failed), failed)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "second", string(b))
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 1)
	require.Error(t, replaceFile(dir, func(io.Writer) error { return nil }))
}
