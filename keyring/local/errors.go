package local

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cofredb/cofre/keyring"
)

var (
	// ErrPermissions: the group or others have access to the key-service file.
	ErrPermissions = errors.New("key-service file is not private")
	// ErrKeyExists: the service has a key of this name.
	ErrKeyExists = errors.New("root key exists")
	// ErrName: a key cannot have this name.
	ErrName = errors.New("malformed name of a root key")
)

// A PermissionError says that a key-service file is refused because of its
// mode. It is ErrPermissions, and keyring.ErrKeyDenied.
type PermissionError struct {
	Path string
	Mode fs.FileMode
}

func (e *PermissionError) Error() string {
	return fmt.Sprintf("%v: %s has mode %04o; run chmod 600 on it, and replace its keys if others may have read them",
		ErrPermissions, e.Path, e.Mode.Perm())
}

// Unwrap gives ErrPermissions and keyring.ErrKeyDenied.
func (e *PermissionError) Unwrap() []error { return []error{ErrPermissions, keyring.ErrKeyDenied} }

// classify gives an error of the file system the class of a root key's.
func classify(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", keyring.ErrKeyNotFound, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", keyring.ErrKeyDenied, err)
	}
	return fmt.Errorf("%w: %w", keyring.ErrKeyUnreachable, err)
}
