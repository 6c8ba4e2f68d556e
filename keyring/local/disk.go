package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cofredb/cofre/internal/corrupt"
)

// A fingerprint tells two contents of the file apart without reading it
// whole: the bytes up to the revision, and the checksum. Times and inode
// numbers would not do: a file replaced twice within a tick of the clock can
// have both as they were.
type fingerprint [prefixLen + checksumLen]byte

// openChecked opens the file and refuses it if it is not a private regular
// file of tolerable size. The size is what fstat says of the open file, which
// changes replace and never edit.
func openChecked(path string) (*os.File, int64, error) {
	f, size, err := openPrivate(path, checkMode)
	switch {
	case err != nil:
		return nil, 0, classify(err)
	case size > maxFileLen:
		err = corrupt.New(corrupt.ErrFormat, path, -1, "%d bytes are more than a key-service file may have, %d", size, maxFileLen)
	case size < minFileLen:
		err = corrupt.New(corrupt.ErrFormat, path, -1, "%d bytes are too short for a key-service file", size)
	default:
		return f, size, nil
	}
	f.Close()
	return nil, 0, err
}

// openPrivate opens a regular file whose mode the check accepts.
func openPrivate(path string, check func(string, fs.FileMode) error) (*os.File, int64, error) {
	f, err := openNoFollow(path)
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	switch {
	case err != nil:
	case !fi.Mode().IsRegular():
		err = notRegular(path, fi.Mode())
	default:
		err = check(path, fi.Mode())
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

func notRegular(path string, mode fs.FileMode) error {
	return corrupt.New(corrupt.ErrFormat, path, -1, "not a regular file: %s", mode.Type())
}

func readAt(f *os.File, path string, b []byte, off int64) error {
	_, err := f.ReadAt(b, off)
	if errors.Is(err, io.EOF) {
		return corrupt.New(corrupt.ErrFormat, path, -1, "shorter than its size says")
	}
	if err != nil {
		return classify(err)
	}
	return nil
}

// load reads the file unless have is its fingerprint already: then it
// returns nil.
func load(ctx context.Context, path string, have *fingerprint, sealings []*Sealing) (*keyFile, *fingerprint, error) {
	f, size, err := openChecked(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	print := new(fingerprint)
	if err := readAt(f, path, print[:prefixLen], 0); err != nil {
		return nil, nil, err
	}
	if err := readAt(f, path, print[prefixLen:], size-checksumLen); err != nil {
		return nil, nil, err
	}
	if have != nil && *have == *print {
		return nil, have, nil
	}
	if !bytes.HasPrefix(print[:], []byte(fileMagic)) {
		return nil, nil, corrupt.New(corrupt.ErrFormat, path, 0, "not a key-service file: wrong magic")
	}
	b := make([]byte, size)
	defer clear(b)
	if err := readAt(f, path, b, 0); err != nil {
		return nil, nil, err
	}
	kf, err := parse(ctx, b, sealings)
	if err != nil {
		return nil, nil, at(path, err)
	}
	return kf, print, nil
}

// at names the file in an error of parse.
func at(path string, err error) error {
	var sealed *SealedError
	switch {
	case errors.Is(err, corrupt.ErrCorrupt):
		return corrupt.At(path, err)
	case errors.As(err, &sealed):
		sealed.Path = path
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// store replaces the file by kf. The caller holds the lock. If we crash before
// the rename is durable the old file stands, after it the new one; a temporary
// file that is left may hold keys in the clear, has mode 0600, and is removed
// by the next change. step is told what comes next; it is nil outside tests.
// renamed says that the new file stands, although the error may say that it
// need not last.
func store(path string, kf *keyFile, step func(string)) (renamed bool, err error) {
	if step == nil {
		step = func(string) {}
	}
	b, err := kf.encode()
	if err != nil {
		return false, err
	}
	defer clear(b)
	temp := path + ".tmp"
	step("remove")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	step("write")
	if err := writeSynced(temp, b, step); err != nil {
		return false, errors.Join(err, os.Remove(temp))
	}
	step("rename")
	if err := os.Rename(temp, path); err != nil {
		return false, errors.Join(err, os.Remove(temp))
	}
	step("sync directory")
	return true, syncDir(filepath.Dir(path))
}

// mkdirAll makes a directory and those above it that are missing, and makes
// their names durable: the keys are lost with any directory on the way to them.
func mkdirAll(dir string, sync func(string) error) error {
	var parents []string // each gets a new entry
	for p := dir; ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) || filepath.Dir(p) == p {
			break
		}
		parents = append(parents, filepath.Dir(p))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, p := range parents {
		if err := sync(p); err != nil {
			return err
		}
	}
	return nil
}

func writeSynced(path string, b []byte, step func(string)) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	step("sync")
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
