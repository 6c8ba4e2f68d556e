package keyring_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
	"github.com/cofredb/cofre/keyring/passphrase"
)

// newLocal makes a local key service in a directory of its own.
func newLocal(t *testing.T) (*local.Service, *local.Key) {
	t.Helper()
	svc, err := local.Open(filepath.Join(t.TempDir(), "keys.cofre"), local.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { svc.Close() })
	root, err := svc.CreateKey(t.Context(), "default")
	require.NoError(t, err)
	return svc, root
}

func newKeyring(t *testing.T, root keyring.RootKey) (dir string, k *keyring.Keyring) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "keyring")
	k, err := keyring.Create(t.Context(), dir, root, keyring.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { k.Close() })
	return dir, k
}

// TestWrongRoot: each kind of wrong root key has its class.
func TestWrongRoot(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	svc, root := newLocal(t)
	dir, k := newKeyring(t, root)
	tk, err := k.CreateTable(ctx, "t", root, nil)
	require.NoError(t, err)
	open := func(root keyring.RootKey) error {
		k, err := keyring.Open(ctx, dir, []keyring.RootKey{root}, false, keyring.Options{})
		if err == nil {
			defer k.Close()
			_, err = k.OpenTable(ctx, tk.ID())
		}
		return err
	}
	require.NoError(t, open(root))

	// A copy of the store elsewhere: same name, another key.
	_, stranger := newLocal(t)
	require.ErrorIs(t, open(stranger), keyring.ErrKeyNotFound)
	require.NotErrorIs(t, open(stranger), corrupt.ErrCorrupt)
	// Another key of the same service.
	other, err := svc.CreateKey(ctx, "other")
	require.NoError(t, err)
	require.ErrorIs(t, open(other), keyring.ErrRootNotPinned)
	// Disabled, pending deletion.
	require.NoError(t, svc.Disable(ctx, "default"))
	require.ErrorIs(t, open(root), keyring.ErrKeyDenied)
	_, err = svc.ScheduleDeletion(ctx, "default", 7)
	require.NoError(t, err)
	require.ErrorIs(t, open(root), keyring.ErrKeyDenied)
	require.NoError(t, svc.CancelDeletion(ctx, "default"))
	require.NoError(t, svc.Enable(ctx, "default"))
	require.NoError(t, open(root))

	// Rotated: the older version still opens. Rotated out, as if the service
	// had dropped the version that wrapped: not found.
	before, err := os.ReadFile(svc.Path())
	require.NoError(t, err)
	_, err = svc.Rotate(ctx, "default")
	require.NoError(t, err)
	require.NoError(t, open(root))
	young, err := k.CreateTable(ctx, "young", root, nil)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(svc.Path(), before, 0o600))
	_, err = k.OpenTable(ctx, young.ID())
	require.ErrorIs(t, err, keyring.ErrKeyNotFound)
	require.NoError(t, open(root))
}

// TestRollbackLocal: the local key service notices an older keyring.
func TestRollbackLocal(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	_, root := newLocal(t)
	dir, k := newKeyring(t, root)
	old := filepath.Join(t.TempDir(), "old")
	require.NoError(t, os.CopyFS(old, os.DirFS(dir)))
	_, err := k.CreateTable(ctx, "t", root, nil)
	require.NoError(t, err)
	require.NoError(t, k.Close())

	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.CopyFS(dir, os.DirFS(old)))
	_, err = keyring.Open(ctx, dir, []keyring.RootKey{root}, false, keyring.Options{})
	require.ErrorIs(t, err, keyring.ErrRollback)
	k, err = keyring.Open(ctx, dir, []keyring.RootKey{root}, false, keyring.Options{AcceptOlder: true})
	require.NoError(t, err)
	require.EqualValues(t, 3, k.Generation())
	require.NoError(t, k.Close())
	k, err = keyring.Open(ctx, dir, []keyring.RootKey{root}, false, keyring.Options{})
	require.NoError(t, err)
	require.NoError(t, k.Close())
}

// TestPassphraseStore opens a store and ten tables, for one derivation at
// each end, and refuses an edited cost.
func TestPassphraseStore(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	newRoot := func(phrase string) *passphrase.Key {
		k, err := passphrase.New([]byte(phrase), passphrase.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { k.Close() })
		return k
	}
	root := newRoot("a passphrase")
	dir, k := newKeyring(t, root)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
		_, err := k.CreateTable(ctx, name, root, nil)
		require.NoError(t, err)
	}
	k, err := keyring.Open(ctx, dir, []keyring.RootKey{newRoot("a passphrase")}, true, keyring.Options{})
	require.NoError(t, err)
	for _, r := range k.Tables() {
		_, err := k.OpenTable(ctx, r.ID)
		require.NoError(t, err)
	}
	_, err = keyring.Open(ctx, dir, []keyring.RootKey{newRoot("another")}, true, keyring.Options{})
	require.ErrorIs(t, err, keyring.ErrKeyDenied)
	require.NotErrorIs(t, err, corrupt.ErrCorrupt)

	file := filepath.Join(dir, "KEYRING-000011")
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	uri := len("cofre-passphrase:default")
	at := 40 + 16 + 4 + 4 + 8 + 1 + 32 + 4 + 4 + uri + 4 + 2 // the wrap's time
	for _, edit := range [][]byte{{0, 0, 0, 1}, {0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0x40, 0, 0, 0}} {
		bad := append([]byte(nil), good...)
		copy(bad[at:], edit)
		require.NoError(t, os.WriteFile(file, bad, 0o600))
		_, err = keyring.Open(ctx, dir, []keyring.RootKey{root}, true, keyring.Options{})
		require.ErrorIs(t, err, passphrase.ErrCost)
		require.ErrorIs(t, err, corrupt.ErrCorrupt)
		require.ErrorContains(t, err, "keyring/KEYRING-000011 at offset 40")
	}
}
