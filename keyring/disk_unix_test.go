//go:build unix

package keyring

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

// TestNotAFile puts what is no file in the keyring's place, on a disk: a link
// is not followed, a FIFO does not hang, a hole of zeros is not read.
func TestNotAFile(t *testing.T) {
	t.Parallel()
	root := newFakeRoot("a")
	good := filepath.Join(t.TempDir(), "keyring")
	k, err := Create(t.Context(), good, root, Options{})
	require.NoError(t, err)
	fi, err := os.Stat(good)
	require.NoError(t, err)
	require.EqualValues(t, 0o700, fi.Mode().Perm())
	require.NoError(t, k.Close())
	_, err = Open(t.Context(), good, []RootKey{root}, false, Options{})
	require.NoError(t, err)
	file := filepath.Join(good, fileName(1))
	calls := root.calls()

	for name, make := range map[string]func(path string) error{
		"link":          func(path string) error { return os.Symlink(file, path) },
		"dangling link": func(path string) error { return os.Symlink(path+".absent", path) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o700) },
		"fifo":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"empty":         func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"hole": func(path string) error {
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			return os.Truncate(path, MaxFileLen)
		},
		"huge": func(path string) error {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, b, 0o600))
			return os.Truncate(path, MaxFileLen+1)
		},
	} {
		// In place of the file.
		dir := filepath.Join(t.TempDir(), "keyring")
		require.NoError(t, os.Mkdir(dir, 0o700))
		require.NoError(t, make(filepath.Join(dir, fileName(1))))
		_, err = Open(t.Context(), dir, []RootKey{root}, false, Options{})
		tampering(t, err, name)
		require.ErrorIs(t, err, corrupt.ErrFormat, name)
		_, err = Open(t.Context(), dir, []RootKey{root}, false, Options{FS: errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(errorfs.Op) error { return nil }))})
		require.ErrorIs(t, err, corrupt.ErrFormat, name)

		// In place of the directory.
		if name == "directory" {
			continue
		}
		dir = filepath.Join(t.TempDir(), "keyring")
		require.NoError(t, make(dir))
		_, err = Open(t.Context(), dir, []RootKey{root}, false, Options{})
		require.ErrorIs(t, err, corrupt.ErrFormat, name)
		_, err = Exists(vfs.Default, dir)
		require.ErrorIs(t, err, corrupt.ErrFormat, name)
	}
	require.Equal(t, calls, root.calls())

	// A link in place of the temporary file is replaced, not followed.
	target := filepath.Join(t.TempDir(), "target")
	require.NoError(t, os.WriteFile(target, []byte("mine"), 0o600))
	k, err = Open(t.Context(), good, []RootKey{root}, false, Options{})
	require.NoError(t, err)
	require.NoError(t, os.Symlink(target, filepath.Join(good, tempName)))
	require.NoError(t, k.SetStates(t.Context(), ID{1}, nil))
	b, err := os.ReadFile(target)
	require.NoError(t, err)
	require.Equal(t, "mine", string(b))
}
