package system

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cofredb/cofre/bench/internal/pagecache"
)

const durableLen = 256 << 10 // of a value

// dirty counts the pages below dir that are not on disk.
func dirty(t *testing.T, dir string) int64 {
	t.Helper()
	n, err := pagecache.Dirty(dir)
	require.NoError(t, err)
	return n
}

// tells is pagecache.Tells for the directory of tests.
func tells(t *testing.T) bool {
	t.Helper()
	ok, err := pagecache.Tells(t.TempDir())
	require.NoError(t, err)
	if !ok {
		t.Logf("%s is on no disk: there is nothing to be seen", os.TempDir())
	}
	return ok
}

// roomy opens a system whose memtable takes all values of a test: the file that
// a flush writes is dirty until the flush syncs it, and none of a Put's business.
func roomy(t *testing.T, k Kind, dir string, durable bool) System {
	t.Helper()
	s, err := k.Open(Config{Dir: dir, Durable: durable, Cache: 64 << 20})
	require.NoError(t, err)
	return s
}

// TestDurable looks whether a value is on disk once Put has returned.
func TestDurable(t *testing.T) {
	each(t, func(t *testing.T, k Kind) {
		if !tells(t) {
			return
		}
		dir := t.TempDir()
		s := roomy(t, k, dir, true)
		for i := range 5 {
			require.NoError(t, s.Put(testKey(i), random(uint64(i), durableLen)))
			require.Less(t, dirty(t, dir), int64(durableLen/os.Getpagesize()), "put %d", i)
		}
		require.NoError(t, s.Close())
	})
}

// TestNotDurable is the control of TestDurable: who does not sync is seen. What
// is put may reach the file late, or the disk early, as when Pebble goes on to
// another log; but not each time.
func TestNotDurable(t *testing.T) {
	each(t, func(t *testing.T, k Kind) {
		if !tells(t) {
			return
		}
		dir := t.TempDir()
		s := roomy(t, k, dir, false)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		want := int64(durableLen / os.Getpagesize())
		seen := int64(0)
		for look := 0; look < 1000 && seen < want; look++ {
			if look%50 == 0 {
				require.NoError(t, s.Put(testKey(look), random(uint64(look), durableLen)))
			}
			seen = max(seen, dirty(t, dir))
			<-tick.C
		}
		require.GreaterOrEqual(t, seen, want)
		require.NoError(t, s.Close())
	})
}

// TestSettled looks whether everything is on disk once Settle has returned.
func TestSettled(t *testing.T) {
	each(t, func(t *testing.T, k Kind) {
		if !tells(t) {
			return
		}
		dir := t.TempDir()
		s := open(t, k, dir, false)
		for range 2 {
			require.NoError(t, s.Load(func(yield func(k, v []byte) bool) {
				for i := 0; i < 3000 && yield(testKey(i), random(uint64(i), 1000)); i++ {
				}
			}))
			require.NoError(t, s.Settle(t.Context()))
			require.Less(t, dirty(t, dir), int64(32))
		}
		require.NoError(t, s.Close())
	})
}

// copySparse copies a file's data and leaves its holes out.
func copySparse(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, fi.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Truncate(fi.Size()), out.Close()) }()
	for end := int64(0); ; {
		at, err := in.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		if end, err = in.Seek(at, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, at), io.NewSectionReader(in, at, end-at)); err != nil {
			return err
		}
	}
}

// crashImage copies a store that nothing writes to. A file may still go while
// it is copied, since what a compaction made obsolete is removed late; then the
// copy is made again.
func crashImage(t *testing.T, dir string) string {
	for {
		to := t.TempDir()
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			switch {
			case e.IsDir():
				return os.MkdirAll(filepath.Join(to, rel), 0o700)
			case e.Type().IsRegular():
				return copySparse(filepath.Join(to, rel), path)
			}
			return nil
		})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		return to
	}
}

// TestCrash opens what a process that ended leaves, after durable writes
// through several logs.
func TestCrash(t *testing.T) {
	each(t, func(t *testing.T, k Kind) {
		dir, m := t.TempDir(), model{}
		s := open(t, k, dir, true)
		for i := range 100 {
			m.put(t, s, testKey(i%60), random(uint64(i), 60_000))
		}
		require.NoError(t, s.Settle(t.Context())) // nothing moves
		for i := range 10 {
			m.put(t, s, testKey(i), random(uint64(i)+1000, 500))
		}
		left := crashImage(t, dir)
		c := open(t, k, left, true)
		m.check(t, c)
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
	})
}
