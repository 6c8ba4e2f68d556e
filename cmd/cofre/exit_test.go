package main

import (
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// TestJudgeDenied: what the system refuses is no matter of passphrases, and files that
// others may read are.
func TestJudgeDenied(t *testing.T) {
	t.Parallel()
	code, hint := judge(t.Context(), fmt.Errorf("%w: %w", keyring.ErrKeyDenied, &fs.PathError{Op: "open", Path: "keys.lock", Err: fs.ErrPermission}))
	require.Equal(t, exitKey, code)
	require.Equal(t, "whose file is it, and what are its permissions, and its directory's?", hint)

	code, hint = judge(t.Context(), fmt.Errorf("%w: wrong passphrase", keyring.ErrKeyDenied))
	require.Equal(t, exitKey, code)
	require.Contains(t, hint, "is the passphrase right")

	code, hint = judge(t.Context(), &local.PermissionError{Path: "keys", Mode: 0o644})
	require.Equal(t, exitKey, code)
	require.Contains(t, hint, `"cofre kms create" makes a new key`)
}
