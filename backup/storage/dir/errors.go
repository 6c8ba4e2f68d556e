package dir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/cofredb/cofre/backup/storage"
)

type notRegularError struct{ mode fs.FileMode }

func (e *notRegularError) Error() string { return "it is of type " + e.mode.Type().String() }

func (e *notRegularError) Is(target error) bool { return target == storage.ErrNotRegular }

// sourceError is what reading of a source has failed with.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// fail makes an error of an operation, nil of nil.
func (s *Storage) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	class := classify(err)
	if err == class {
		err = nil
	}
	return &storage.Error{Op: op, Location: s.location, Name: name, Class: class, Err: err}
}

func classify(err error) error {
	var source *sourceError
	if errors.As(err, &source) {
		return storage.ErrSource
	}
	for _, class := range []error{
		storage.ErrName, storage.ErrNotRegular, storage.ErrTooLarge, storage.ErrRange, storage.ErrDamaged,
		storage.ErrConflict, storage.ErrExists, storage.ErrNotFound, storage.ErrUnsupported,
	} {
		if errors.Is(err, class) {
			return class
		}
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil
	case errors.Is(err, os.ErrClosed):
		return storage.ErrClosed
	case full(err):
		return storage.ErrFull
	case errors.Is(err, fs.ErrNotExist):
		return storage.ErrNotFound
	case errors.Is(err, fs.ErrExist):
		return storage.ErrExists
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return storage.ErrDenied
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ELOOP):
		return storage.ErrNotRegular
	}
	return storage.ErrUnreachable
}

// absent tells whether err says that a file is not there. A name below a file
// is not there either.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
