package keyring_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

func TestInspect(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	svc, err := local.Open(filepath.Join(t.TempDir(), "keys"), local.Options{})
	require.NoError(t, err)
	defer svc.Close()
	root, _, err := svc.Ensure(ctx, "default")
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "keyring")
	k, err := keyring.Create(ctx, dir, root, keyring.Options{})
	require.NoError(t, err)
	tk, err := k.CreateTable(ctx, "app.users", root, []byte("metadata"))
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(dir, "KEYRING-*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	b, err := os.ReadFile(files[0])
	require.NoError(t, err)

	require.True(t, keyring.IsKeyring(b))
	require.False(t, keyring.IsSealed(b))
	require.False(t, keyring.IsKeyring(nil))
	info, err := keyring.Inspect(b)
	require.NoError(t, err)
	require.Equal(t, k.StoreID(), info.StoreID)
	require.Equal(t, k.Generation(), info.Generation)
	require.True(t, info.StoreKey.ID.IsZero())
	require.Len(t, info.Tables, 1)
	entry := info.Tables[0]
	require.Equal(t, tk.ID(), entry.ID)
	require.NotZero(t, entry.MetadataLen)
	require.Len(t, entry.Versions, 1)
	require.EqualValues(t, 1, entry.Versions[0].Number)
	require.Equal(t, "current", entry.Versions[0].State)
	require.Len(t, entry.Versions[0].Wraps, 1)
	require.Equal(t, root.URI(), entry.Versions[0].Wraps[0].URI)
	require.NoError(t, k.Close())

	for cut := range len(b) {
		_, err := keyring.Inspect(b[:cut])
		require.ErrorIs(t, err, corrupt.ErrCorrupt, "cut at %d", cut)
	}
}
