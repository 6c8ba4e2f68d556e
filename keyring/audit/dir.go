package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/corrupt"
)

const (
	filePrefix = "audit-"
	fileSuffix = ".jsonl"
	// tempName is a file that is being begun; a crash may leave it.
	tempName = "audit.tmp"
	// provisionalName holds records of attempts to open a store without its key.
	provisionalName = "provisional.jsonl"
)

// fileName is the name of file n.
func fileName(n uint64) string { return fmt.Sprintf("%s%06d%s", filePrefix, n, fileSuffix) }

// parseFileName reads what fileName writes, and nothing else.
func parseFileName(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, filePrefix)
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, fileSuffix); !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 || fileName(n) != name {
		return 0, false
	}
	return n, true
}

// IsFile tells whether a name is that of a file of an audit log.
func IsFile(name string) bool {
	_, ok := parseFileName(name)
	return ok || name == tempName || name == provisionalName
}

// A directory holds the files of a log.
type directory struct {
	fs   vfs.FS
	path string
}

func (d directory) join(name string) string { return d.fs.PathJoin(d.path, name) }

// where is a file's path as errors give it, relative to the store.
func (d directory) where(name string) string { return d.fs.PathJoin(d.fs.PathBase(d.path), name) }

// lstat does not follow a symbolic link, which only the operating system's file
// system has.
func (d directory) lstat(path string) (fs.FileInfo, error) {
	if vfs.Root(d.fs) == vfs.Default {
		return os.Lstat(path)
	}
	return d.fs.Stat(path)
}

// list gives the names in the directory, sorted; none where it is not there.
func (d directory) list() ([]string, error) {
	fi, err := d.lstat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, corrupt.New(corrupt.ErrForeign, d.fs.PathBase(d.path), -1, "is no directory: %s", fi.Mode().Type())
	}
	names, err := d.fs.List(d.path)
	slices.Sort(names)
	return names, err
}

// numbers gives those of the log's files, ascending.
func (d directory) numbers() ([]uint64, error) {
	names, err := d.list()
	var ns []uint64
	for _, name := range names {
		if n, ok := parseFileName(name); ok {
			ns = append(ns, n)
		}
	}
	slices.Sort(ns) // by number: names of more digits sort elsewhere
	return ns, err
}

// open opens a regular file for reading, without following a link, and tells its
// length.
func (d directory) open(name string) (vfs.File, int64, error) {
	fi, err := d.lstat(d.join(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, corrupt.New(corrupt.ErrMissing, d.where(name), -1, "a file of the audit log is not there")
	}
	if err != nil {
		return nil, 0, err
	}
	if !fi.Mode().IsRegular() {
		return nil, 0, corrupt.New(corrupt.ErrForeign, d.where(name), -1, "is not a regular file: %s", fi.Mode().Type())
	}
	f, err := d.fs.Open(d.join(name))
	return f, fi.Size(), err
}

// first parses the first line of file n. A file gets its name when that is durable,
// so whatever else is there was changed.
func (d directory) first(n uint64) (*parsed, error) {
	f, size, err := d.open(fileName(n))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, _, whole, err := newLines(f, 0, size).next()
	if err != nil && err != io.EOF {
		return nil, err
	}
	if err == nil && whole {
		if p, err := parseLine(slices.Clone(b)); err == nil {
			return p, nil
		}
	}
	return nil, corrupt.New(corrupt.ErrFormat, d.where(fileName(n)), 0, "does not begin with a record")
}

// sync makes the names in a directory durable.
func (d directory) sync(path string) error {
	f, err := d.fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// lines reads a file line by line.
type lines struct {
	r   *bufio.Reader
	off int64
	buf []byte
}

// newLines reads f from one offset to another.
func newLines(f io.ReaderAt, from, to int64) *lines {
	return &lines{r: bufio.NewReaderSize(io.NewSectionReader(f, from, max(0, to-from)), 32<<10), off: from}
}

// next returns a line without its newline, which is valid until the next call,
// and its offset. whole is false where no newline ends it within MaxLineLen: then
// it is the last, and only its beginning. At the end the error is io.EOF.
func (l *lines) next() (b []byte, at int64, whole bool, err error) {
	l.buf, at = l.buf[:0], l.off
	for {
		part, err := l.r.ReadSlice('\n')
		l.buf = append(l.buf, part...)
		l.off += int64(len(part))
		switch {
		case err == nil && len(l.buf) <= MaxLineLen:
			return l.buf[:len(l.buf)-1], at, true, nil
		case err == nil, err == bufio.ErrBufferFull && len(l.buf) > MaxLineLen:
			l.r.Reset(strings.NewReader("")) // nobody wrote that
			return l.buf, at, false, nil
		case err == bufio.ErrBufferFull:
		case err == io.EOF && len(l.buf) > 0:
			return l.buf, at, false, nil
		default:
			return nil, at, false, err
		}
	}
}
