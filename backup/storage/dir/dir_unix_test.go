//go:build unix

package dir

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/storagetest"
)

// TestNotRegular puts what is no object in the place of one: each operation
// refuses it, in no time, and leaves it and what it leads to alone.
func TestNotRegular(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, []byte("secret"), 0o600))
	for kind, make := range map[string]func(path string) error{
		"link out":      func(path string) error { return os.Symlink(outside, path) },
		"link in":       func(path string) error { return os.Symlink("other", path) },
		"dangling link": func(path string) error { return os.Symlink("none", path) },
		"fifo":          func(path string) error { return unix.Mkfifo(path, 0o600) },
		"folder":        func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		s := open(t, t.TempDir())
		storagetest.MustPut(t, s, "d/other", []byte("other"))
		require.NoError(t, make(filepath.Join(s.Location(), "d", "a")), kind)
		began := time.Now()
		for op, f := range map[string]func() error{
			"put":     func() error { return s.Put(t.Context(), "d/a", storage.Bytes(nil)) },
			"replace": func() error { return s.Replace(t.Context(), "d/a", storage.Bytes(nil)) },
			"get":     func() error { _, err := s.Get(t.Context(), "d/a", 0, -1); return err },
			"stat":    func() error { _, err := s.Stat(t.Context(), "d/a"); return err },
			"delete":  func() error { return s.Delete(t.Context(), "d/a") },
			"load":    func() error { _, _, err := s.Load(t.Context(), "d/a"); return err },
			"swap":    func() error { _, err := s.Swap(t.Context(), "d/a", storage.NoVersion, nil); return err },
			"list": func() (err error) {
				for _, err = range s.List(t.Context(), "") {
					if err != nil {
						break
					}
				}
				if kind == "folder" {
					return storage.ErrNotRegular // an empty one has no objects, and is none
				}
				return err
			},
		} {
			require.ErrorIs(t, f(), storage.ErrNotRegular, "%s: %s", kind, op)
		}
		require.Less(t, time.Since(began), 10*time.Second)
		_, err := os.Lstat(filepath.Join(s.Location(), "d", "a"))
		require.NoError(t, err)
	}
	b, err := os.ReadFile(outside)
	require.NoError(t, err)
	require.Equal(t, "secret", string(b))
}

// TestFolderLink: a folder that is a link out of the directory is not followed.
func TestFolderLink(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "a"), []byte("secret"), 0o600))
	s := open(t, t.TempDir())
	require.NoError(t, os.Symlink(outside, filepath.Join(s.Location(), "d")))
	_, err := s.Get(t.Context(), "d/a", 0, -1)
	require.ErrorIs(t, err, storage.ErrNotRegular)
	require.ErrorIs(t, s.Put(t.Context(), "d/b", storage.Bytes(nil)), storage.ErrNotRegular)
	require.ErrorIs(t, s.Delete(t.Context(), "d/a"), storage.ErrNotRegular)
	require.NoFileExists(t, filepath.Join(outside, "b"))
	require.FileExists(t, filepath.Join(outside, "a"))
}

// TestLockNotRegular: what lies in the place of the lock file is refused.
func TestLockNotRegular(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	require.NoError(t, os.Symlink("none", filepath.Join(s.Location(), lockFile)))
	_, err := s.Swap(t.Context(), "r", storage.NoVersion, nil)
	require.ErrorIs(t, err, storage.ErrNotRegular)
	require.NoFileExists(t, filepath.Join(s.Location(), "none"))
	require.NoError(t, os.Remove(filepath.Join(s.Location(), lockFile)))
	require.NoError(t, unix.Mkfifo(filepath.Join(s.Location(), lockFile), 0o600))
	_, err = s.Swap(t.Context(), "r", storage.NoVersion, nil)
	require.ErrorIs(t, err, storage.ErrNotRegular)
}

func TestModes(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "new"))
	storagetest.MustPut(t, s, "d/a", []byte("1"))
	_, err := s.Swap(t.Context(), "d/r", storage.NoVersion, nil)
	require.NoError(t, err)
	for name, mode := range map[string]os.FileMode{
		"": 0o700, "d": 0o700, "d/a": 0o600, "d/r": 0o600, tempFolder: 0o700, lockFile: 0o600,
	} {
		fi, err := os.Stat(filepath.Join(s.Location(), name))
		require.NoError(t, err)
		require.Equal(t, mode, fi.Mode().Perm(), name)
	}
}

// TestSyncFails: a file that cannot be synced, as a pipe cannot, is not taken for durable.
func TestSyncFails(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	require.Error(t, s.sync(w, 0))
	require.Error(t, syncFolder(w))
}
