//go:build unix

package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

func TestMode(t *testing.T) {
	t.Parallel()
	s, k := newTestKey(t)
	for path, want := range map[string]fs.FileMode{s.path: 0o600, s.path + ".lock": 0o600, filepath.Dir(s.path): 0o700} {
		fi, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, want, fi.Mode().Perm(), path)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o644, 0o660, 0o602, 0o610, 0o601, 0o666, 0o777} {
		require.NoError(t, os.Chmod(s.path, mode))
		_, opened := Open(s.path, Options{})
		_, wrapped := k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
		_, created := s.CreateKey(t.Context(), "another")
		for _, err := range []error{opened, wrapped, created, s.Disable(t.Context(), "default")} {
			var pe *PermissionError
			require.True(t, errors.As(err, &pe), "mode %o: %v", mode, err)
			require.Equal(t, s.path, pe.Path)
			require.Equal(t, mode, pe.Mode.Perm())
			require.ErrorIs(t, err, ErrPermissions)
			require.ErrorIs(t, err, keyring.ErrKeyDenied)
			require.ErrorContains(t, err, "chmod 600")
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o400, 0o700} {
		require.NoError(t, os.Chmod(s.path, mode))
		_, err := Open(s.path, Options{MustExist: true})
		require.NoError(t, err)
	}
}

// TestNotAFile: a link is not followed, a FIFO does not hang.
func TestNotAFile(t *testing.T) {
	t.Parallel()
	s, _ := newTestKey(t)
	dir := t.TempDir()
	for name, make := range map[string]func(path string) error{
		"link":          func(path string) error { return os.Symlink(s.path, path) },
		"dangling link": func(path string) error { return os.Symlink(filepath.Join(dir, "absent"), path) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o700) },
		"fifo":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"empty":         func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"huge": func(path string) error {
			return errors.Join(os.WriteFile(path, []byte(fileMagic), 0o600), os.Truncate(path, maxFileLen+1))
		},
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, make(path))
		_, err := Open(path, Options{})
		require.ErrorIs(t, err, corrupt.ErrFormat, name)
		require.ErrorContains(t, err, path)
	}
	// A change refuses what a read refuses, and removes nothing.
	link := filepath.Join(dir, "link")
	require.ErrorIs(t, (&Service{path: link}).Disable(t.Context(), "default"), corrupt.ErrFormat)
	fi, err := os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, fs.ModeSymlink, fi.Mode().Type())

	// Nor is a link in the place of the temporary file followed.
	target := filepath.Join(dir, "target")
	require.NoError(t, os.WriteFile(target, []byte("mine"), 0o600))
	require.NoError(t, os.Symlink(target, s.path+".tmp"))
	require.NoError(t, s.Disable(t.Context(), "default"))
	b, err := os.ReadFile(target)
	require.NoError(t, err)
	require.Equal(t, "mine", string(b))
}
