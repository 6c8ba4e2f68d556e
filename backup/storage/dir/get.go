package dir

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/cofredb/cofre/backup/storage"
)

// Get opens a range of an object.
func (s *Storage) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	r, err := s.get(ctx, name, offset, length)
	if err != nil {
		return nil, s.fail("get", name, err)
	}
	return r, nil
}

func (s *Storage) get(ctx context.Context, name string, offset, length int64) (*reader, error) {
	f, size, err := s.open(ctx, name)
	if err != nil {
		return nil, err
	}
	if length < 0 {
		length = size - offset
	}
	if offset < 0 || offset > size || length > size-offset {
		return nil, errors.Join(storage.ErrRange, f.Close())
	}
	return &reader{ctx: ctx, s: s, name: name, f: f, off: offset, left: length}, nil
}

// open opens an object's file. It was looked at before, so that no FIFO is
// opened, and is compared after, so that what was put in its place meanwhile is
// not taken for it.
func (s *Storage) open(ctx context.Context, name string) (*os.File, int64, error) {
	// Replace and Swap may put another file in its place between the two.
	for range 100 {
		before, err := s.lookup(ctx, name)
		if err != nil {
			return nil, 0, err
		}
		f, err := s.root.OpenFile(local(name), os.O_RDONLY|openFlags, 0)
		if err != nil {
			return nil, 0, err
		}
		fi, err := f.Stat()
		switch {
		case err != nil:
			return nil, 0, errors.Join(err, f.Close())
		case !fi.Mode().IsRegular():
			return nil, 0, errors.Join(&notRegularError{fi.Mode()}, f.Close())
		case os.SameFile(before, fi):
			return f, fi.Size(), nil
		}
		if err := f.Close(); err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, errors.New("the file is replaced again and again")
}

// A reader reads a range. It is used by one goroutine.
type reader struct {
	ctx       context.Context
	s         *Storage
	name      string
	f         *os.File
	off, left int64
}

func (r *reader) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if r.ctx.Err() != nil {
		return 0, r.s.fail("read", r.name, storage.Ended(r.ctx))
	}
	n, err := r.f.ReadAt(b[:min(int64(len(b)), r.left)], r.off)
	r.off += int64(n)
	r.left -= int64(n)
	if errors.Is(err, io.EOF) {
		// The file was cut since it was opened.
		err = storage.ErrRange
	}
	if r.left == 0 {
		err = nil
	}
	return n, r.s.fail("read", r.name, err)
}

func (r *reader) Close() error { return r.f.Close() }
