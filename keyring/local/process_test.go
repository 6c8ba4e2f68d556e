package local

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// TestChild is what TestProcesses starts; by itself it does nothing.
func TestChild(t *testing.T) {
	path, name := os.Getenv("COFRE_TEST_KEYS"), os.Getenv("COFRE_TEST_NAME")
	if path == "" {
		return
	}
	s, err := Open(path, Options{MustExist: true})
	require.NoError(t, err)
	for i := range 20 {
		_, err := s.CreateKey(t.Context(), fmt.Sprintf("%s.%d", name, i))
		require.NoError(t, err)
	}
	require.NoError(t, s.Disable(t.Context(), "default"))
}

// TestProcesses has processes change the file at once. A disable in one takes
// hold in this one.
func TestProcesses(t *testing.T) {
	t.Parallel()
	s, k := newTestKey(t)
	blob, err := k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	children := make([]*exec.Cmd, 3)
	for i := range children {
		c := exec.CommandContext(t.Context(), self, "-test.run=^TestChild$")
		c.Env = append(os.Environ(), "COFRE_TEST_KEYS="+s.path, fmt.Sprintf("COFRE_TEST_NAME=p%d", i))
		c.Stdout, c.Stderr = os.Stderr, os.Stderr
		require.NoError(t, c.Start())
		children[i] = c
	}
	for _, c := range children {
		require.NoError(t, c.Wait())
	}
	infos, err := s.List()
	require.NoError(t, err)
	require.Len(t, infos, 1+3*20)
	_, err = k.Unwrap(t.Context(), blob, testContext())
	require.ErrorIs(t, err, keyring.ErrKeyDenied)
}
