package storage

import (
	"context"
	"errors"
	"fmt"
)

// The classes of errors. They tell apart what a caller does next.
var (
	// ErrNotFound: there is no such object; or the directory or bucket of the
	// storage is not there.
	ErrNotFound = errors.New("not found")
	// ErrExists: the name is taken.
	ErrExists = errors.New("exists already")
	// ErrConflict: a register has another version than the one that was to be
	// swapped: load it again. Or an object was replaced while it was read.
	ErrConflict = errors.New("changed meanwhile")
	// ErrDenied: credentials are missing, wrong or lack a permission; or the
	// mode of a directory forbids it. Trying again does not help.
	ErrDenied = errors.New("access denied")
	// ErrUnreachable: the storage failed, refused, stalled or did not answer
	// as often as was tried. Whether a change was made is not known.
	ErrUnreachable = errors.New("storage unreachable")
	// ErrFull: the disk is full, or a quota is.
	ErrFull = errors.New("no space left")
	// ErrRange: the object ends before the range that was asked for does.
	ErrRange = errors.New("object is shorter than the range")
	// ErrDamaged: the storage holds, or delivers, other bytes than those that
	// were put, or another number of them. It cannot be trusted with backups.
	ErrDamaged = errors.New("stored bytes are not those that were put")
	// ErrAnswer: the storage gave an answer that is not one to the question, such
	// as another range, or a list out of order. It does not keep to its protocol.
	ErrAnswer = errors.New("storage gave a wrong answer")
	// ErrName: no object can have this name.
	ErrName = errors.New("malformed object name")
	// ErrNotRegular: a symbolic link, a FIFO, a device or a directory lies
	// where an object is expected. It has not been opened.
	ErrNotRegular = errors.New("not a regular file")
	// ErrSource: the source could not be read, or not as many bytes as it has.
	ErrSource = errors.New("source of the object cannot be read")
	// ErrTooLarge: an object or a register would be larger than it can be.
	ErrTooLarge = errors.New("too large")
	// ErrUnsupported: the storage does not have this function.
	ErrUnsupported = errors.New("not supported by this storage")
	// ErrLocation: a location cannot be understood.
	ErrLocation = errors.New("malformed location")
	// ErrClosed: the storage was closed.
	ErrClosed = errors.New("storage is closed")
)

// An Error says which operation failed on which object of which storage.
type Error struct {
	Op       string // such as "put"
	Location string // of the storage
	Name     string // of the object, or a prefix; "" where the storage itself is meant
	Class    error  // one of the classes above; nil where a context has ended
	Err      error  // the cause; nil where the class says it all
}

func (e *Error) Error() string {
	s := e.Op + " "
	if e.Name != "" {
		s += e.Name + " at "
	}
	s += e.Location
	if e.Class != nil {
		s += ": " + e.Class.Error()
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives class and cause.
func (e *Error) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Class, e.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// A SizeError says that an object, or a part of one, has another size than it
// should have.
type SizeError struct {
	Size, Want int64 // bytes
}

func (e *SizeError) Error() string { return fmt.Sprintf("%d bytes, not %d", e.Size, e.Want) }

// Ended is why a context has ended: its error, and its cause where that is
// another. It is nil while it has not.
func Ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
