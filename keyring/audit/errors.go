package audit

import "errors"

var (
	// ErrUnwritable: a record could not be made durable, and what it records is
	// refused. The error wraps that of the disk.
	ErrUnwritable = errors.New("the audit log cannot be written")
	// ErrBroken: the log is not what the keyring says: records are missing or were
	// changed. The error is a *corrupt.Error as well, with file and offset.
	ErrBroken = errors.New("the audit log was changed or cut")
)
