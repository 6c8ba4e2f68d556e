package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// ReadAll reads an object of at most limit bytes. A larger one is
// [ErrTooLarge], and is not read.
func ReadAll(ctx context.Context, s Storage, name string, limit int64) (b []byte, err error) {
	info, err := s.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	if info.Size > limit {
		return nil, &Error{Op: "read", Location: s.Location(), Name: name, Class: ErrTooLarge, Err: &SizeError{info.Size, limit}}
	}
	r, err := s.Get(ctx, name, 0, info.Size)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	b = make([]byte, info.Size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	return b, nil
}

// Equal tells whether an object holds exactly the bytes of src.
func Equal(ctx context.Context, s Storage, name string, src Source) (equal bool, err error) {
	info, err := s.Stat(ctx, name)
	if err != nil || info.Size != src.Size() {
		return false, err
	}
	r, err := s.Get(ctx, name, 0, info.Size)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	have, want := make([]byte, 256<<10), make([]byte, 256<<10)
	for off := int64(0); off < info.Size; {
		n := min(int64(len(have)), info.Size-off)
		if _, err := io.ReadFull(r, have[:n]); err != nil {
			return false, err
		}
		if err := ReadFullAt(src, want[:n], off); err != nil {
			return false, &Error{Op: "compare", Location: s.Location(), Name: name, Class: ErrSource, Err: err}
		}
		if !bytes.Equal(have[:n], want[:n]) {
			return false, nil
		}
		off += n
	}
	return true, nil
}

// ReadFullAt fills b from src at off. A source that ends before is
// io.ErrUnexpectedEOF.
func ReadFullAt(src io.ReaderAt, b []byte, off int64) error {
	n, err := src.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}
