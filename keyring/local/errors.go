package local

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

var (
	// ErrPermissions: the group or others have access to the key-service file,
	// or to a key file.
	ErrPermissions = errors.New("file is not private")
	// ErrSealed: the file is sealed, and what opens it was not given. It is
	// the class of every SealedError.
	ErrSealed = errors.New("key-service file is sealed")
	// ErrNotSealed: a Sealing was given, and the file is unsealed: whoever can
	// write where it lies may have put it there. It comes with
	// keyring.ErrKeyDenied.
	ErrNotSealed = errors.New("key-service file is not sealed, and a sealed one is asked for")
	// ErrSealingKey: a key file or credential cannot be used. It comes with
	// keyring.ErrKeyDenied.
	ErrSealingKey = errors.New("key file cannot be used")
	// ErrKeyExists: the service has a key of this name.
	ErrKeyExists = errors.New("root key exists")
	// ErrAliasExists: the service has an alias of this name.
	ErrAliasExists = errors.New("alias exists")
	// ErrName: a key, an alias or a principal cannot have this name.
	ErrName = errors.New("malformed name of a root key")
	// ErrKeyState: the key's state does not allow this change of it.
	ErrKeyState = errors.New("state of the root key does not allow it")
	// ErrDays: a number of days is out of bounds. It is the class of every
	// DaysError.
	ErrDays = errors.New("number of days out of bounds")
	// ErrContext: an encryption context, or a constraint, is malformed.
	ErrContext = errors.New("malformed encryption context")
	// ErrGrant: a grant cannot be as it is asked for.
	ErrGrant = errors.New("malformed grant")
	// ErrGrantNotFound: the service has no such grant.
	ErrGrantNotFound = errors.New("grant not found")
)

// A PermissionError says that a key-service file, or a key file, is refused
// because of its mode. It is ErrPermissions, and keyring.ErrKeyDenied.
type PermissionError struct {
	Path string
	Mode fs.FileMode
}

func (e *PermissionError) Error() string {
	return fmt.Sprintf("key-service %v: %s has mode %04o; run chmod 600 on it, and replace its keys if others may have read them",
		ErrPermissions, e.Path, e.Mode.Perm())
}

// Unwrap gives ErrPermissions and keyring.ErrKeyDenied.
func (e *PermissionError) Unwrap() []error { return []error{ErrPermissions, keyring.ErrKeyDenied} }

// A SealedError says by what a file is sealed that was not opened. It is
// ErrSealed, and keyring.ErrKeyDenied.
type SealedError struct {
	Path       string
	Passphrase bool // sealed by a passphrase, else by a key file
	Wrong      bool // a Sealing of the other kind was given
}

func (e *SealedError) Error() string {
	by := uint8(byKeyFile)
	if e.Passphrase {
		by = byPassphrase
	}
	s := e.Path + " is " + sealedBy(by)
	if e.Wrong {
		return s + ", and something else was given"
	}
	return s + ", which was not given"
}

// Unwrap gives ErrSealed and keyring.ErrKeyDenied.
func (e *SealedError) Unwrap() []error { return []error{ErrSealed, keyring.ErrKeyDenied} }

// A StateError says that a key is not used in the state that it is in: disabled, or
// pending deletion. It is keyring.ErrKeyDenied.
type StateError struct {
	Key   string
	State keyring.State
}

func (e *StateError) Error() string {
	return fmt.Sprintf("%v: %q is %s", keyring.ErrKeyDenied, e.Key, e.State)
}

// Unwrap gives keyring.ErrKeyDenied.
func (e *StateError) Unwrap() error { return keyring.ErrKeyDenied }

// A DaysError says which number of days is out of bounds. It is ErrDays.
type DaysError struct {
	What           string
	Days, Min, Max int
}

func (e *DaysError) Error() string {
	return fmt.Sprintf("%v: %s: %d, not %d to %d", ErrDays, e.What, e.Days, e.Min, e.Max)
}

// Unwrap gives ErrDays.
func (e *DaysError) Unwrap() error { return ErrDays }

// classify gives an error of the file system the class of a root key's. What
// has one keeps it.
func classify(err error) error {
	var limit *keyring.LimitError
	switch {
	case errors.As(err, &limit) || errors.Is(err, corrupt.ErrCorrupt) || errors.Is(err, ErrPermissions):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", keyring.ErrKeyNotFound, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", keyring.ErrKeyDenied, err)
	}
	return fmt.Errorf("%w: %w", keyring.ErrKeyUnreachable, err)
}
