package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/storagetest"
)

func open(t testing.TB, path string) *Storage {
	t.Helper()
	s, err := Open(path, Options{Create: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, storagetest.Config{
		New: func(t testing.TB) storage.Storage { return open(t, filepath.Join(t.TempDir(), "x", "repository")) },
		Reopen: func(t testing.TB, s storage.Storage) storage.Storage {
			return open(t, s.Location())
		},
	})
}

// TestConformanceNoLinks runs the suite as on a file system without hard links.
func TestConformanceNoLinks(t *testing.T) {
	t.Parallel()
	without := func(t testing.TB, path string) storage.Storage {
		s := open(t, path)
		s.link = func(string, string) error { return &os.LinkError{Op: "link", Err: errors.ErrUnsupported} }
		return s
	}
	storagetest.Run(t, storagetest.Config{
		New:    func(t testing.TB) storage.Storage { return without(t, t.TempDir()) },
		Reopen: func(t testing.TB, s storage.Storage) storage.Storage { return without(t, s.Location()) },
	})
}

func TestOpen(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	_, err := Open(filepath.Join(path, "none"), Options{})
	require.ErrorIs(t, err, storage.ErrNotFound)
	file := filepath.Join(path, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, create := range []bool{false, true} {
		_, err = Open(file, Options{Create: create})
		require.ErrorIs(t, err, storage.ErrLocation)
		_, err = Open(filepath.Join(file, "below"), Options{Create: create})
		require.Error(t, err)
	}
}

// TestFaults fails each step of a Put, as a disk does: the error has the class,
// the object is not there, nothing else is left, and the next Put works.
func TestFaults(t *testing.T) {
	t.Parallel()
	for errno, class := range map[error]error{
		syscall.ENOSPC: storage.ErrFull,
		syscall.EIO:    storage.ErrUnreachable,
		syscall.EACCES: storage.ErrDenied,
		syscall.EROFS:  storage.ErrDenied,
	} {
		for _, step := range []string{"create", "write", "sync", "publish"} {
			s := open(t, t.TempDir())
			s.step = func(at string) error {
				if at == step {
					return &os.PathError{Op: at, Path: "x", Err: errno}
				}
				return nil
			}
			for op, f := range map[string]func() error{
				"put": func() error { return s.Put(t.Context(), "a", storage.Bytes([]byte("x"))) },
				"put named": func() error {
					_, err := s.PutNamed(t.Context(), storage.Bytes([]byte("x")), func([32]byte) string { return "a" })
					return err
				},
				"replace": func() error { return s.Replace(t.Context(), "a", storage.Bytes([]byte("x"))) },
				"swap": func() error {
					_, err := s.Swap(t.Context(), "a", storage.NoVersion, []byte("x"))
					return err
				},
			} {
				err := f()
				require.ErrorIs(t, err, class, "%s: %s", op, step)
				require.ErrorIs(t, err, errno)
				require.Empty(t, storagetest.Names(t, s, ""))
				left, err := os.ReadDir(filepath.Join(s.Location(), tempFolder))
				require.True(t, err == nil || errors.Is(err, os.ErrNotExist))
				require.Empty(t, left, "%s: %s", op, step)
			}
			s.step = nil
			storagetest.MustPut(t, s, "a", []byte("y"))
		}
	}
}

// TestFolderSync: a Put whose folder cannot be synced is not acknowledged, nor
// is one that finds the name taken by it.
func TestFolderSync(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	s.step = func(at string) error {
		if at == "sync folder" {
			return syscall.EIO
		}
		return nil
	}
	require.ErrorIs(t, s.Put(t.Context(), "a", storage.Bytes(nil)), storage.ErrUnreachable)
	require.ErrorIs(t, s.Put(t.Context(), "a", storage.Bytes(nil)), storage.ErrUnreachable)
	require.ErrorIs(t, s.Delete(t.Context(), "a"), storage.ErrUnreachable)
	require.ErrorIs(t, s.Delete(t.Context(), "a"), storage.ErrUnreachable, "gone, and nobody knows for how long")
	s.step = nil
	storagetest.MustPut(t, s, "a", nil)
}

// TestNewFolders: a Put is acknowledged when the names of the folders that it is in are
// durable too, whoever has made them; that costs a Storage one sync each.
func TestNewFolders(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	runs, failed := 0, 0
	count := func(at string) error {
		if at != "sync folder" {
			return nil
		}
		if runs++; runs == failed {
			return syscall.EIO
		}
		return nil
	}
	s.step = count
	for failed = 1; failed <= 3; failed++ { // the folder's, that of the one in it, and that of the object
		runs = 0
		require.ErrorIs(t, s.Put(t.Context(), fmt.Sprintf("%d/y/a", failed), storage.Bytes(nil)), storage.ErrUnreachable)
		require.Equal(t, failed, runs)
	}
	runs, failed = 0, 0
	storagetest.MustPut(t, s, "x/y/a", nil)
	require.Equal(t, 3, runs)
	storagetest.MustPut(t, s, "x/y/b", nil)
	require.Equal(t, 4, runs)
	other := open(t, s.Location())
	other.step = count
	runs = 0
	storagetest.MustPut(t, other, "x/y/c", nil)
	require.Equal(t, 3, runs, "another process may have made them, and not have synced them yet")
}

// TestCut: a file that is cut while it is read is an error, and no shorter object.
func TestCut(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	storagetest.MustPut(t, s, "a", storagetest.Random(1, 1000))
	for _, length := range []int64{-1, 1000, 501} {
		require.NoError(t, os.Truncate(filepath.Join(s.Location(), "a"), 1000))
		r, err := s.Get(t.Context(), "a", 0, length)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(filepath.Join(s.Location(), "a"), 500))
		b, err := io.ReadAll(r)
		require.ErrorIs(t, err, storage.ErrRange)
		require.Len(t, b, 500)
		require.NoError(t, r.Close())
	}
}

// TestSwapContentChanged: what a Swap writes, and the version that it returns, are of the
// bytes that it was called with, whatever becomes of them.
func TestSwapContentChanged(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	content := []byte("one")
	s.step = func(at string) error {
		if at == "publish" {
			copy(content, "two")
		}
		return nil
	}
	v, err := s.Swap(t.Context(), "r", storage.NoVersion, content)
	require.NoError(t, err)
	b, have, err := s.Load(t.Context(), "r")
	require.NoError(t, err)
	require.Equal(t, "one", string(b))
	require.Equal(t, have, v)
}

// TestFolderSyncShared: callers that wait while a folder is synced share the next sync,
// and none is content with the one that had begun before it came.
func TestFolderSyncShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(t.TempDir(), Options{})
		require.NoError(t, err)
		defer s.Close()
		runs, hold := 0, make(chan struct{})
		s.step = func(at string) error {
			if runs++; runs == 2 {
				return syscall.EIO
			}
			<-hold
			return nil
		}
		var first error
		var wg sync.WaitGroup
		wg.Go(func() { first = s.syncFolder(".") })
		synctest.Wait() // it syncs
		var shared [5]error
		for i := range shared {
			wg.Go(func() { shared[i] = s.syncFolder(".") })
		}
		synctest.Wait() // they wait
		close(hold)
		wg.Wait()
		require.Equal(t, 2, runs)
		require.NoError(t, first)
		for _, err := range shared {
			require.ErrorIs(t, err, syscall.EIO)
		}
		require.NoError(t, s.syncFolder("."))
		require.Empty(t, s.syncs)
	})
}

func TestClean(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	storagetest.MustPut(t, s, "a", []byte("1"))
	old := func(name string) string {
		path := filepath.Join(s.Location(), tempFolder, name)
		require.NoError(t, os.WriteFile(path, []byte("12345"), 0o600))
		ago := time.Now().Add(-48 * time.Hour)
		require.NoError(t, os.Chtimes(path, ago, ago))
		return path
	}
	dead := old("dead")
	young := old("young")
	require.NoError(t, os.Chtimes(young, time.Now(), time.Now()))
	// One that is being written, for a long time.
	temp, f, err := s.createTemp()
	require.NoError(t, err)
	living := filepath.Join(s.Location(), filepath.FromSlash(temp))
	ago := time.Now().Add(-48 * time.Hour)
	require.NoError(t, os.Chtimes(living, ago, ago))
	require.Equal(t, []string{"a"}, storagetest.Names(t, s, ""))

	other := open(t, s.Location())
	cleaned, err := other.Clean(t.Context(), 24*time.Hour)
	require.NoError(t, err)
	require.Equal(t, storage.Cleaned{Files: 1, Bytes: 5}, cleaned)
	require.NoFileExists(t, dead)
	require.FileExists(t, young)
	require.FileExists(t, living)

	require.NoError(t, f.Close()) // its writer ends
	cleaned, err = other.Clean(t.Context(), 24*time.Hour)
	require.NoError(t, err)
	require.Equal(t, 1, cleaned.Files)
	require.NoFileExists(t, living)
	require.Equal(t, []string{"a"}, storagetest.Names(t, s, ""))
}

// TestLockWait: a Swap waits for a lock that another process has, and no longer
// than its context.
func TestLockWait(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	f, err := s.openLock()
	require.NoError(t, err)
	free, err := tryLock(f)
	require.NoError(t, err)
	require.True(t, free)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = s.Swap(ctx, "r", storage.NoVersion, []byte("x"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, f.Close())
	_, err = s.Swap(t.Context(), "r", storage.NoVersion, []byte("x"))
	require.NoError(t, err)
}
