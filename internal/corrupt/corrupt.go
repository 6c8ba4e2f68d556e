// Package corrupt is the error that every layer returns for bytes on disk
// that are not what Cofre wrote there.
//
// Tampering is not an I/O error: an [Error] never wraps io.EOF or
// io.ErrUnexpectedEOF, because Pebble's replay takes those for the end of a
// log. Every Error satisfies errors.Is(err, ErrCorrupt) and one finer class.
package corrupt

import (
	"errors"
	"fmt"
)

// The classes. ErrCorrupt holds for all of them.
var (
	// ErrCorrupt: stored bytes are not what was written.
	ErrCorrupt = errors.New("corruption")
	// ErrAuth: a seal does not open; bytes were changed, moved or cut.
	ErrAuth = errors.New("authentication failed")
	// ErrForeign: a well-formed file that belongs elsewhere (another store,
	// table, kind, number or life of the table).
	ErrForeign = errors.New("foreign file")
	// ErrMissing: a file or part of one that must be there is not.
	ErrMissing = errors.New("missing")
	// ErrFormat: bytes that do not parse.
	ErrFormat = errors.New("malformed")
	// ErrVersion: a format version or cipher suite this build does not know.
	ErrVersion = errors.New("unknown format version")
	// ErrRollback: an older state was put back.
	ErrRollback = errors.New("rolled back")
)

// An Error says what is wrong, in which file and where.
type Error struct {
	Path   string // as the layer knows it; "" where only the caller does
	Offset int64  // physical byte offset of the fault's unit, or -1
	Class  error  // one of the classes above, never nil
	Detail string // facts; never keys, plaintext or row contents
}

// New makes an Error; offset -1 means that none applies.
func New(class error, path string, offset int64, format string, args ...any) *Error {
	return &Error{Path: path, Offset: offset, Class: class, Detail: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	s := e.Path
	if s == "" {
		s = "sealed file"
	}
	if e.Offset >= 0 {
		s += fmt.Sprintf(" at offset %d", e.Offset)
	}
	s += ": " + e.Class.Error()
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Is reports ErrCorrupt for every Error.
func (e *Error) Is(target error) bool { return target == ErrCorrupt }

// Unwrap gives the class.
func (e *Error) Unwrap() error { return e.Class }

// At returns err with path filled in where err is an Error without one.
func At(path string, err error) error {
	var e *Error
	if errors.As(err, &e) && e.Path == "" {
		c := *e
		c.Path = path
		return &c
	}
	return err
}
