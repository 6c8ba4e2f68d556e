package keyring_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/vectors"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// TestLockboxVectors opens testdata/vectors/lockbox at the module's root. What has no key is
// refused without one as well.
func TestLockboxVectors(t *testing.T) {
	t.Parallel()
	classes := map[string]error{"ErrRootNotPinned": keyring.ErrRootNotPinned, "ErrWrongContext": keyring.ErrWrongContext}
	for _, v := range vectors.Load[vectors.LockboxIn, vectors.LockboxOut](t, "lockbox") {
		info, err := keyring.InspectLockbox(v.In.File)
		if v.Error != nil && (v.Error.Class == "ErrFormat" || v.Error.Class == "ErrVersion") {
			v.Check(t, err, nil)
		} else {
			require.NoError(t, err, v.Name)
		}
		keys, err := keyring.OpenLockbox(t.Context(), v.In.File, vectorRoots(t, v.In), keyring.Options{})
		v.Check(t, err, classes)
		if err != nil || v.Out == nil {
			continue
		}
		require.Equal(t, keyring.ID(v.Out.StoreID), info.Store, v.Name)
		require.Equal(t, keyring.ID(v.Out.StoreID), keys.StoreID(), v.Name)
		require.Equal(t, keyring.ID(v.Out.Opened.ID), keys.ID(), v.Name)
		require.Equal(t, string(v.Out.Opened.Metadata), string(keys.Metadata()), v.Name)
		require.NotEmpty(t, v.Out.Opened.DataKeys, v.Name)
		for _, dk := range v.Out.Opened.DataKeys {
			got, err := keys.DataKey(keyring.ID(dk.FileID), dk.Version, dk.Wrapped)
			require.NoError(t, err, v.Name)
			require.Equal(t, []byte(dk.Key), got.Expose(), v.Name)
		}
		keys.Wipe()
	}
}

// vectorRoots are the root keys that a vector pins.
func vectorRoots(t *testing.T, in vectors.LockboxIn) (roots []keyring.RootKey) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.cofre")
	require.NoError(t, os.WriteFile(path, in.KeyService, 0o600))
	svc, err := local.Open(path, local.Options{MustExist: true})
	require.NoError(t, err)
	t.Cleanup(func() { svc.Close() })
	for _, uri := range in.Roots {
		root, err := svc.Key(uri[len("cofre-local:"):])
		require.NoError(t, err)
		roots = append(roots, root)
	}
	return roots
}
