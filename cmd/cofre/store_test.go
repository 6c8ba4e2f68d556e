package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring/local"
)

// TestTableNames holds the command's rule to that of package engine.
func TestTableNames(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	keys, err := local.Open(filepath.Join(dir, "keys"), local.Options{})
	require.NoError(t, err)
	defer keys.Close()
	root, _, err := keys.Ensure(ctx, "default")
	require.NoError(t, err)
	s, err := engine.Open(ctx, filepath.Join(dir, "store"), engine.Options{RootKey: root})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	long := strings.Repeat("a", 46)
	valid := 0
	for _, name := range []string{
		"", ".", "a", "a.", ".a", "a.b", "a.b.c", "A.b", "a_1.b2", "1a.b", "a.1", "_a.b", "a-b.c", "a.b\n", "é.b", " a.b",
		"a" + long + ".b", "aa" + long + ".b", "b.a" + long, "b.aa" + long,
	} {
		_, err := s.CreateTable(ctx, name, engine.TableOptions{})
		require.Equal(t, errors.Is(err, engine.ErrInvalidName), checkTableName(name) != nil, "%q: %v", name, err)
		if err == nil {
			valid++
		}
	}
	require.Equal(t, 4, valid)
}
