package keyring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/corrupt"
)

const (
	filePrefix = "KEYRING-"
	tempName   = "KEYRING.tmp"
)

// fileName is the name of a generation's file.
func fileName(generation uint64) string { return fmt.Sprintf("%s%06d", filePrefix, generation) }

// parseFileName reads what fileName writes, and nothing else.
func parseFileName(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, filePrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || fileName(n) != name {
		return 0, false
	}
	return n, true
}

// A directory holds keyring files. There is no marker that names the current
// one: a rename to a rising number is atomic by itself, so the highest number
// counts. Its content was synced before the rename; if it does not verify,
// somebody changed it, and falling back to a lower number would be the
// rollback he wanted.
type directory struct {
	fs     vfs.FS
	path   string
	logger *slog.Logger
}

// where is a file's path as errors give it, relative to the store.
func (d *directory) where(name string) string { return d.fs.PathJoin(d.fs.PathBase(d.path), name) }

func (d *directory) join(name string) string { return d.fs.PathJoin(d.path, name) }

// lstat does not follow a symbolic link, which only the operating system's
// file system has.
func (d *directory) lstat(path string) (fs.FileInfo, error) {
	if vfs.Root(d.fs) == vfs.Default {
		return os.Lstat(path)
	}
	return d.fs.Stat(path)
}

// generations lists the numbers of the keyring files, in no order.
func (d *directory) generations() ([]uint64, error) {
	fi, err := d.lstat(d.path)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		// Never opened: a FIFO would hang.
		return nil, corrupt.New(corrupt.ErrFormat, d.fs.PathBase(d.path), -1, "not a directory: %s", fi.Mode().Type())
	}
	names, err := d.fs.List(d.path)
	if err != nil {
		return nil, err
	}
	var gens []uint64
	for _, name := range names {
		if g, ok := parseFileName(name); ok {
			gens = append(gens, g)
		}
	}
	return gens, nil
}

// read returns the bytes of a generation's file.
func (d *directory) read(generation uint64) ([]byte, error) {
	name := fileName(generation)
	fi, err := d.lstat(d.join(name))
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, corrupt.New(corrupt.ErrFormat, d.where(name), -1, "not a regular file: %s", fi.Mode().Type())
	}
	if fi.Size() > MaxFileLen {
		return nil, corrupt.New(corrupt.ErrFormat, d.where(name), -1, "%d bytes are more than a keyring may have, %d", fi.Size(), MaxFileLen)
	}
	f, err := d.fs.Open(d.join(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, min(fi.Size(), fileHeaderLen))
	if err := d.readFull(f, name, head); err != nil {
		return nil, err
	}
	// The rest is allocated only where the file claims to be a keyring.
	if err := checkFileHeader(head); err != nil {
		return nil, corrupt.At(d.where(name), err)
	}
	b := make([]byte, fi.Size())
	if err := d.readFull(f, name, b[copy(b, head):]); err != nil {
		return nil, err
	}
	return b, nil
}

func (d *directory) readFull(f vfs.File, name string, b []byte) error {
	_, err := io.ReadFull(f, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		// An end of file is tampering here, and must not look like an end of log.
		return corrupt.New(corrupt.ErrFormat, d.where(name), -1, "shorter than its size says")
	}
	return err
}

// An uncertain error is one of a change that may have reached the disk.
type uncertain struct{ err error }

func (u *uncertain) Error() string { return u.err.Error() }
func (u *uncertain) Unwrap() error { return u.err }

// replace makes b the file of a new generation. If we crash before the rename
// is durable the older generation counts; after it, this one. An error is
// *uncertain from the rename on.
func (d *directory) replace(generation uint64, b []byte) error {
	temp := d.join(tempName)
	if err := d.writeSynced(temp, b); err != nil {
		d.remove(tempName)
		return err
	}
	if err := d.fs.Rename(temp, d.join(fileName(generation))); err != nil {
		return &uncertain{err}
	}
	if err := d.sync(d.path); err != nil {
		return &uncertain{err}
	}
	return nil
}

// writeSynced creates a file; Create takes away what a crash has left there.
func (d *directory) writeSynced(path string, b []byte) error {
	switch fi, err := d.lstat(path); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err == nil && fi.IsDir(): // it would not go
		return corrupt.New(corrupt.ErrForeign, d.where(d.fs.PathBase(path)), -1, "is a directory")
	}
	f, err := d.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	// Write may change what it is given; nobody looks at b afterwards.
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

func (d *directory) sync(path string) error {
	f, err := d.fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// remove takes away a file that no longer counts. Failing costs space only,
// until the next open tries again.
func (d *directory) remove(name string) {
	if err := d.fs.Remove(d.join(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.logger.Warn("keyring: cannot remove a superseded file", "file", d.where(name), "err", err)
	}
}

// tidy removes what the given generation supersedes.
func (d *directory) tidy(generation uint64, all []uint64) {
	for _, g := range all {
		if g < generation {
			d.remove(fileName(g))
		}
	}
	d.remove(tempName)
}
