package engine

import (
	"errors"
	"fmt"
	"os"
	"regexp"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cofredb/cofre/engine/internal/diskfull"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// The errors of this package; errors.Is finds them. Errors of package keyring
// pass through with errors.Is intact.
var (
	// ErrNotFound: the table has no such key.
	ErrNotFound = errors.New("key not found in the table")
	// ErrTableNotFound: the store has no table of that name.
	ErrTableNotFound = errors.New("no such table")
	// ErrTableExists: the store has a table of that name.
	ErrTableExists = errors.New("table exists")
	// ErrSnapshotNotFound: the table has no snapshot of that name.
	ErrSnapshotNotFound = errors.New("no such snapshot")
	// ErrSnapshotExists: the table has a snapshot of that name.
	ErrSnapshotExists = errors.New("snapshot exists")
	// ErrSnapshotsExist: the table has snapshots, and the call would lose them.
	ErrSnapshotsExist = errors.New("the table has snapshots")
	// ErrInUse: open views need what the call would remove.
	ErrInUse = errors.New("in use")
	// ErrStoreNotFound: the path holds no store.
	ErrStoreNotFound = errors.New("no store here")
	// ErrStoreLocked: another process has the store open.
	ErrStoreLocked = errors.New("the store is in use by another process")
	// ErrReadOnly: the store is open for reading only.
	ErrReadOnly = errors.New("the store is open for reading only")
	// ErrClosed: store, table, view or scan was closed.
	ErrClosed = errors.New("closed")
	// ErrPoisoned: a write to the disk failed, and what the table holds in
	// memory can no longer be trusted. Every use fails until Table.Reopen.
	// Whether the writes that failed survived is unknown, but each is there
	// whole or not at all; every acknowledged one is there.
	ErrPoisoned = errors.New("the table is poisoned by a failed write")
	// ErrDiskFull: no space was left within Options.DiskFullWait. The table is
	// readable, and writable again when there is space.
	ErrDiskFull = diskfull.ErrFull
	// ErrStalled: compactions did not catch up with writes within a minute.
	ErrStalled = errors.New("writes wait for compactions that do not end")
	// ErrKeyInaccessible: the root key of table or store cannot be used:
	// denied, missing or out of reach.
	ErrKeyInaccessible = errors.New("root key inaccessible")
	// ErrCorruption: stored bytes are not what was written. The error is a
	// *CorruptionError with file and offset.
	ErrCorruption = corrupt.ErrCorrupt
	// ErrVersion: made by a newer Cofre.
	ErrVersion = corrupt.ErrVersion
	// ErrKeyTooLarge: a key is longer than MaxKeyLen, or empty.
	ErrKeyTooLarge = errors.New("key length out of bounds")
	// ErrValueTooLarge: a value is longer than MaxValueLen.
	ErrValueTooLarge = errors.New("value too large")
	// ErrBatchTooLarge: a batch would hold more than 4 GiB.
	ErrBatchTooLarge = errors.New("batch too large")
	// ErrInvalidName: not a name for a table or snapshot.
	ErrInvalidName = errors.New("invalid name")
)

// A CorruptionError says what is wrong in which file (relative to the store)
// and at which byte of it.
type CorruptionError = corrupt.Error

// poisoned is the sticky error of a table whose instance fell into the hole.
type poisoned struct{ cause error }

func (p *poisoned) Error() string {
	return fmt.Sprintf("%v; reopen it: %v", ErrPoisoned, p.cause)
}
func (p *poisoned) Is(target error) bool { return target == ErrPoisoned }
func (p *poisoned) Unwrap() error        { return p.cause }

// isFull tells whether a failure was for want of space.
func isFull(err error) bool {
	return errors.Is(err, ErrDiskFull) || diskfull.NoSpace(err)
}

// inaccessible marks errors of root keys that lock a table.
type inaccessible struct{ error }

func (e inaccessible) Is(target error) bool { return target == ErrKeyInaccessible }
func (e inaccessible) Unwrap() error        { return e.error }

// keyError marks err if it says that a root key cannot be used.
func keyError(err error) error {
	for _, class := range []error{keyring.ErrKeyDenied, keyring.ErrKeyNotFound, keyring.ErrKeyUnreachable, keyring.ErrKeyThrottled} {
		if errors.Is(err, class) {
			return inaccessible{err}
		}
	}
	return err
}

// unknownFile is how Pebble speaks of a file that its directory does not hold.
var unknownFile = regexp.MustCompile(`file ([0-9]+) \(type (sstable|blob)`)

// translate turns Pebble's errors into this package's, once, at the boundary.
// Pebble's own corruption errors may quote keys; theirs is the class, ours the
// words.
func (i *instance) translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pebble.ErrNotFound):
		return ErrNotFound // first: it is the common one, and c below is allocated
	}
	var c *corrupt.Error
	switch {
	case errors.As(err, &c):
		return c
	case errors.Is(err, os.ErrNotExist):
		path := i.dir
		var pe *os.PathError
		if errors.As(err, &pe) {
			path = pe.Path
		} else if m := unknownFile.FindStringSubmatch(err.Error()); m != nil {
			path = i.table.store.fs.PathJoin(path, m[1]+map[string]string{"sstable": ".sst", "blob": ".blob"}[m[2]])
		}
		return corrupt.New(corrupt.ErrMissing, i.table.store.rel(path), -1, "the MANIFEST needs it")
	case pebble.IsCorruptionError(err):
		return corrupt.New(corrupt.ErrFormat, i.table.store.rel(i.dir), -1, "a structure inside does not parse")
	case errors.Is(err, pebble.ErrClosed):
		return ErrClosed
	}
	return err
}
