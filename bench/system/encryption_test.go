package system

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// shows tells whether any file below dir holds what.
func shows(t *testing.T, dir string, what []byte) (found bool) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		if !e.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		found = found || bytes.Contains(b, what)
		return err
	}))
	return found
}

// TestPlaintext looks for a key and a part of a value on disk. Those who do not
// encrypt have them there: so the test looks in the right place.
func TestPlaintext(t *testing.T) {
	each(t, func(t *testing.T, k Kind) {
		dir := t.TempDir()
		key, value := random(7, 40), random(8, 3000)
		for range 2 { // logs, and what a flush and a close make of them
			s := open(t, k, dir, true)
			require.NoError(t, s.Put(key, value))
			for i := range 300 {
				require.NoError(t, s.Load(func(yield func(k, v []byte) bool) { yield(testKey(i), value) }))
			}
			require.NoError(t, s.Settle(t.Context()))
			require.NoError(t, s.Close())
		}
		require.Equal(t, !k.Encrypted, shows(t, dir, value[500:532]), "a value on disk")
		require.Equal(t, !k.Encrypted, shows(t, dir, key), "a key on disk")
	})
}

// largest is the path and length of the longest file below dir.
func largest(t *testing.T, dir string) (path string, size int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		fi, err := e.Info()
		require.NoError(t, err)
		if fi.Mode().IsRegular() && fi.Size() > size && e.Name() != "BALLAST" { // which holds nothing
			path, size = p, fi.Size()
		}
		return nil
	}))
	return path, size
}

// TestFlip changes one byte of the largest file with data: those who say they
// authenticate never answer with another value, and tell.
func TestFlip(t *testing.T) {
	each(t, func(t *testing.T, k Kind) {
		if !k.Authenticated {
			return
		}
		dir, m := t.TempDir(), model{}
		s := open(t, k, dir, false)
		for i := range 4000 { // more than all there is besides rows
			m.put(t, s, testKey(i), random(uint64(i), 2000))
		}
		require.NoError(t, s.Compact(t.Context()))
		require.NoError(t, s.Close())
		for eighth := range int64(7) {
			bad := filepath.Join(t.TempDir(), "bad")
			copyDir(t, bad, dir)
			path, size := largest(t, bad)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			var b [1]byte
			at := size * (eighth + 1) / 8
			_, err = f.ReadAt(b[:], at)
			require.NoError(t, err)
			b[0] ^= 1
			_, err = f.WriteAt(b[:], at)
			require.NoError(t, err)
			require.NoError(t, f.Close())

			s, err := k.Open(Config{Dir: bad, Cache: testCache})
			if err != nil {
				continue
			}
			failed := s.Scan(nil, false, func(k, v []byte) bool {
				require.True(t, bytes.Equal(m[string(k)], v), "%s: byte %d: another value of %s", path, at, k)
				return true
			}) != nil
			for key, want := range m {
				v, found, err := s.AppendGet(nil, []byte(key))
				if err != nil {
					failed = true
					continue
				}
				require.True(t, found && bytes.Equal(want, v), "%s: byte %d: another value of %s", path, at, key)
			}
			require.True(t, failed, "%s: byte %d: nobody noticed", path, at)
			_ = s.Close() // it may tell too
		}
	})
}
