//go:build unix

package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestArchiveDirectories puts what is no directory and no file of ours in their
// places, and takes the directory away.
func TestArchiveDirectories(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	opts := crashOptions(newMemRoot("archive"), nil)
	s, err := Open(ctx, dir, opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	tab, err := s.CreateTable(ctx, "clinic.patients", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.SetArchiving(ctx, true))
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	require.NoError(t, tab.Close())
	use := func() error {
		_, err := tab.Get(key)
		return errors.Join(err, tab.Close())
	}
	require.NoError(t, os.RemoveAll(tab.archiveDir()))
	require.NoError(t, use(), "it is made anew; who ships sees the gap")
	elsewhere := t.TempDir()
	link := filepath.Join(tab.archiveDir(), "000002-0123456789abcdef0123456789abcdef.log")
	require.NoError(t, os.Symlink(filepath.Join(elsewhere, "f"), link))
	require.ErrorIs(t, use(), ErrCorruption)
	_, err = tab.WaitingSegments(ctx)
	require.ErrorIs(t, err, ErrCorruption)
	require.NoError(t, os.Remove(link))
	require.NoError(t, use())
	require.NoError(t, os.RemoveAll(tab.archiveDir()))
	require.NoError(t, os.Symlink(elsewhere, tab.archiveDir()))
	require.ErrorIs(t, use(), ErrCorruption)
	require.ErrorIs(t, tab.SetArchiving(ctx, true), ErrCorruption)
	require.NoError(t, os.Remove(tab.archiveDir()))
	require.NoError(t, use())

	// While the table is open: the log is not lost, the table says so.
	_, err = tab.Get(key)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(tab.archiveDir()))
	for i := 0; err == nil && i < 500; i++ {
		err = tab.Put(fmt.Appendf(nil, "k%03d", i), make([]byte, 3000), nil)
	}
	require.ErrorIs(t, err, ErrPoisoned)
	require.ErrorContains(t, err, "archive")
	require.NoError(t, tab.Reopen(ctx))
	requireVerified(t, s)
}
