package main

import (
	"bytes"
	"io"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFailedImport: an import whose acknowledgements cannot be written ends,
// although its input stays open and silent. What was committed is there.
func TestFailedImport(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	cmd := s.command("import", "--ack", "/dev/full", "--batch", "1", "--format", "jsonl", "--key-path", "k", "app.kv", "-")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	key, line := row(0, 1)
	_, err = io.WriteString(in, line+"\n")
	require.NoError(t, err)
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit) // in is still open
	require.Equal(t, exitFailure, exit.ExitCode(), "%s", &stderr)
	require.Contains(t, stderr.String(), "no space left on device")
	require.Contains(t, s.entries(), key)
}
