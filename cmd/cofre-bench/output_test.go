//go:build unix

package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/bench/report"
)

// TestOutputs writes reports to files that are there, by way of links, and to a
// pipe: what was there keeps its permissions, a link stays one, a pipe is written
// to, and a report that is not written leaves everything as it was.
func TestOutputs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	text := func(w io.Writer, _ *report.Report) error { _, err := io.WriteString(w, "new"); return err }
	put := func(path string, form form) error {
		var all outputs
		err := all.add(path, form)
		if err == nil {
			err = all.write(nil)
		}
		return errors.Join(err, all.close())
	}
	require.NoError(t, os.WriteFile(at("old"), []byte("old"), 0o600))
	require.NoError(t, os.Symlink("old", at("link")))

	broken := errors.New("broken")
	require.ErrorIs(t, put(at("link"), func(io.Writer, *report.Report) error { return broken }), broken)
	b, err := os.ReadFile(at("old"))
	require.NoError(t, err)
	require.Equal(t, "old", string(b))

	require.NoError(t, put(at("link"), text))
	fi, err := os.Lstat(at("link"))
	require.NoError(t, err)
	require.Equal(t, os.ModeSymlink, fi.Mode().Type())
	fi, err = os.Lstat(at("old"))
	require.NoError(t, err)
	require.EqualValues(t, 0o600, fi.Mode().Perm())
	b, err = os.ReadFile(at("old"))
	require.NoError(t, err)
	require.Equal(t, "new", string(b))

	require.NoError(t, syscall.Mkfifo(at("pipe"), 0o600))
	read := make(chan string)
	go func() {
		b, _ := os.ReadFile(at("pipe"))
		read <- string(b)
	}()
	require.NoError(t, put(at("pipe"), text))
	require.Equal(t, "new", <-read)
	fi, err = os.Lstat(at("pipe"))
	require.NoError(t, err)
	require.Equal(t, os.ModeNamedPipe, fi.Mode().Type())

	require.NoError(t, os.Symlink("nothing", at("dangling")))
	require.ErrorContains(t, put(at("dangling"), text), "link to what is not there")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 4, "something temporary stays")
}
