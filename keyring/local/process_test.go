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
	var by *Sealing
	if key := os.Getenv("COFRE_TEST_KEY_FILE"); key != "" {
		by = byFile(t, key)
	}
	s, err := Open(path, Options{MustExist: true, Sealing: by})
	require.NoError(t, err)
	for i := range 20 {
		_, err := s.CreateKey(t.Context(), fmt.Sprintf("%s.%d", name, i))
		require.NoError(t, err)
		require.NoError(t, s.CreateAlias(t.Context(), fmt.Sprintf("%s.%d", name, i), "default"))
	}
	require.NoError(t, s.Disable(t.Context(), "default"))
}

// TestProcesses has processes change the file at once. A disable in one takes
// hold in this one.
func TestProcesses(t *testing.T) {
	t.Parallel()
	key := newKeyFile(t)
	for name, by := range map[string]*Sealing{"unsealed": nil, "sealed": byFile(t, key)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := []string{}
			if by != nil {
				env = append(env, "COFRE_TEST_KEY_FILE="+key)
			}
			processes(t, by, env)
		})
	}
}

func processes(t *testing.T, by *Sealing, env []string) {
	s, k := newSealedKey(t, by)
	blob, err := k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	children := make([]*exec.Cmd, 3)
	for i := range children {
		c := exec.CommandContext(t.Context(), self, "-test.run=^TestChild$")
		c.Env = append(append(os.Environ(), env...), "COFRE_TEST_KEYS="+s.path, fmt.Sprintf("COFRE_TEST_NAME=p%d", i))
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
	aliases, err := s.Aliases()
	require.NoError(t, err)
	require.Len(t, aliases, 3*20)
	_, err = k.Unwrap(t.Context(), blob, testContext())
	require.ErrorIs(t, err, keyring.ErrKeyDenied)
}
