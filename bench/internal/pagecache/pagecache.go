// Package pagecache looks at the operating system's page cache through the
// files of a directory: how much of them it holds, how much of that is not on
// disk yet, and away with it.
//
// A benchmark uses it in two ways. After a write that is said to be durable no
// page of it may be dirty: whoever skips the sync is found out, with no need to
// trust a store's word or to cut the power. (Pages that a store writes in the
// background, where nobody waits for them, are dirty too: a check needs a store
// that has nothing to flush meanwhile.) And reads from a cold cache can be
// measured without the rights of an administrator.
//
// It works on Linux from 6.5 on. Elsewhere every function fails with
// errors.ErrUnsupported. Not every file system keeps count: one in memory has
// no disk to be behind of, and Tells says so.
//
// Files that a store makes or removes meanwhile are no error; files that
// others have removed and that the store still has open are not seen.
package pagecache

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Dirty counts the pages of all regular files below dir that are in memory and
// not on disk yet, or on their way to it.
func Dirty(dir string) (pages int64, err error) {
	err = each(dir, func(f *os.File) error {
		s, err := stat(f)
		pages += s.dirty
		return err
	})
	return pages, err
}

// Cached counts the pages of all regular files below dir that are in memory.
func Cached(dir string) (pages int64, err error) {
	err = each(dir, func(f *os.File) error {
		s, err := stat(f)
		pages += s.cached
		return err
	})
	return pages, err
}

// Drop writes all regular files below dir to disk and takes their pages out of
// memory. What a process has mapped stays.
func Drop(dir string) error { return each(dir, drop) }

// Tells finds out, with a file that it makes in dir and removes, whether Dirty
// tells what is on disk there: whether pages are dirty before a sync and not
// after it.
func Tells(dir string) (ok bool, err error) {
	const pages = 16
	f, err := os.CreateTemp(dir, "pagecache")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	b := make([]byte, pages*os.Getpagesize())
	if _, err := rand.Read(b); err != nil {
		return false, err
	}
	// The system may write pages out by itself before we look, if it is short
	// of memory; hardly each time.
	for range 10 {
		if _, err := f.WriteAt(b, 0); err != nil {
			return false, err
		}
		before, err := stat(f)
		if err != nil {
			return false, err
		}
		if err := f.Sync(); err != nil {
			return false, err
		}
		after, err := stat(f)
		if err != nil || after.dirty > 0 {
			return false, err
		}
		if before.dirty == pages {
			return true, nil
		}
	}
	return false, nil
}

// counts are pages of a file.
type counts struct{ cached, dirty int64 }

// each calls visit for every regular file below dir, open for reading.
func each(dir string, visit func(*os.File) error) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if path != dir && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(f); err != nil {
			return errors.Join(&fs.PathError{Op: "page cache", Path: path, Err: err}, f.Close())
		}
		return f.Close()
	})
}
