package backup

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cofredb/cofre/internal/corrupt"
)

// The errors of this package; errors.Is finds them. Errors of packages engine, keyring,
// storage and lease pass through with errors.Is intact.
var (
	// ErrNoRepository: the storage holds no repository.
	ErrNoRepository = errors.New("no backup repository here")
	// ErrNotEmpty: the storage holds other objects, and no repository is made among them.
	ErrNotEmpty = errors.New("other objects lie here")
	// ErrNotFound: the repository has no such backup, or the backup no such table.
	ErrNotFound = errors.New("not in the repository")
	// ErrOtherStore: the repository has backups of another store, and none of this.
	ErrOtherStore = errors.New("the repository has backups of other stores")
	// ErrOutOfRange: the backups and archived logs do not reach the time asked for. The
	// error is a *RangeError.
	ErrOutOfRange = errors.New("out of the reach of backups and archive")
	// ErrNoLockbox: no lockbox of the repository opens with the root keys given.
	ErrNoLockbox = errors.New("no lockbox opens with these root keys")
	// ErrUnsealed: the table was backed up without its key, and nothing attests what
	// belongs to it at which time.
	ErrUnsealed = errors.New("the backup is unsealed")
	// ErrPinned: the backup is pinned, and is not removed.
	ErrPinned = errors.New("the backup is pinned")
	// ErrVersion: the repository was made by a newer Cofre.
	ErrVersion = corrupt.ErrVersion
	// ErrCorruption: objects are not what was put. The error is a *CorruptionError.
	ErrCorruption = corrupt.ErrCorrupt
)

// A CorruptionError says what is wrong with which object, and at which byte of it.
type CorruptionError = corrupt.Error

// A RangeError says which times of a table can be restored.
type RangeError struct {
	Table string
	At    time.Time
	// Spans are the times that can be restored to, each to a moment within; where there
	// is no archive, From and To are the same.
	Spans []Span
}

// A Span is a stretch of time, both ends included.
type Span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

func (s Span) String() string {
	if s.From.Equal(s.To) {
		return stamp(s.From)
	}
	return stamp(s.From) + " to " + stamp(s.To)
}

func (e *RangeError) Error() string {
	var list []string
	for _, s := range e.Spans {
		list = append(list, s.String())
	}
	reach := strings.Join(list, "; ")
	if reach == "" {
		reach = "nothing"
	}
	return fmt.Sprintf("%v: %s at %s; within reach: %s", ErrOutOfRange, e.Table, stamp(e.At), reach)
}

// Unwrap gives ErrOutOfRange.
func (e *RangeError) Unwrap() error { return ErrOutOfRange }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
