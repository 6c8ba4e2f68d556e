package keyring

import (
	"errors"
	"fmt"

	"github.com/cofredb/cofre/internal/corrupt"
)

// The errors of root keys and of the keyring. Those of a RootKey tell apart
// what a caller does next: lock the table (denied), look for the key (not
// found), suspect the disk (wrong context), retry (unreachable, throttled).
var (
	// ErrKeyDenied: the service knows the key and refuses its use: disabled,
	// pending deletion, no permission, wrong passphrase.
	ErrKeyDenied = errors.New("root key denied")
	// ErrKeyNotFound: the service has no such key, or not the version that
	// wrapped.
	ErrKeyNotFound = errors.New("root key not found")
	// ErrWrongContext: the key is there and does not open this wrap in this
	// context: the wrap was changed, or belongs elsewhere.
	ErrWrongContext = errors.New("wrapped key was changed or does not belong here")
	// ErrKeyUnreachable: the service cannot be asked now.
	ErrKeyUnreachable = errors.New("key service unreachable")
	// ErrKeyOffline: the root key only wraps here; what unwraps is kept offline,
	// as that of a recovery recipient. It comes with ErrKeyUnreachable.
	ErrKeyOffline = errors.New("recovery key is offline")
	// ErrKeyThrottled: the service asks to slow down.
	ErrKeyThrottled = errors.New("key service throttles")
	// ErrRootNotPinned: the keyring names a root key that the configuration
	// does not. It has not been called.
	ErrRootNotPinned = errors.New("root key is not pinned by the configuration")
	// ErrVersionUnknown: a table has no key of this version. It is the class
	// of a *corrupt.Error.
	ErrVersionUnknown = errors.New("unknown table-key version")
	// ErrRollback: an older keyring was put back, or one of another line. It
	// is the class of a *corrupt.Error.
	ErrRollback = corrupt.ErrRollback
)

// The errors of a Keyring's methods.
var (
	// ErrClosed: the keyring, or a key service, has been closed.
	ErrClosed = errors.New("keyring is closed")
	// ErrReadOnly: the keyring was opened read-only.
	ErrReadOnly = errors.New("keyring is read-only")
	// ErrPoisoned: an earlier change failed so late that it may have reached
	// the disk. The keyring has to be opened again before the next.
	ErrPoisoned = errors.New("keyring is poisoned by a failed change")
	// ErrTableUnknown: the keyring has no table of this id.
	ErrTableUnknown = errors.New("keyring has no such table")
	// ErrTableExists: the keyring has a table of this name.
	ErrTableExists = errors.New("keyring has a table of this name")
	// ErrRotated: another rotation of the same key came first.
	ErrRotated = errors.New("the table's key was rotated meanwhile")
	// ErrRootExists: the root key that is to be added wraps the key already.
	ErrRootExists = errors.New("root key wraps it already")
	// ErrRootUnknown: the root key that is to go, or to be replaced, does not
	// wrap the key.
	ErrRootUnknown = errors.New("root key does not wrap it")
	// ErrRootChoice: several root keys wrap the key, and which of them is to be
	// replaced was not said.
	ErrRootChoice = errors.New("several root keys wrap it: say which one is replaced")
	// ErrLastRoot: no root key would be left that unwraps without a recovery
	// sheet. A recovery recipient is never the only root key.
	ErrLastRoot = errors.New("no root key would be left that can unwrap")
	// ErrKeysWiped: the TableKeys have been wiped.
	ErrKeysWiped = errors.New("table keys have been wiped")
)

// A KeyError says which operation failed on which root key.
type KeyError struct {
	Op  string // such as "unwrap table key"
	URI string // of the root key
	Err error
}

func (e *KeyError) Error() string { return e.Op + ": " + e.URI + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// A LimitError says that something is longer than the format allows.
type LimitError struct {
	What     string
	Len, Max int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %d is more than the limit of %d", e.What, e.Len, e.Max)
}
