package lease

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrLocked: another holds the lock. It is the class of every LockedError.
	ErrLocked = errors.New("locked by another")
	// ErrLost: the lease could not be renewed in time, or somebody has taken it
	// over. What was done under it has to stop.
	ErrLost = errors.New("lease was lost")
	// ErrReleased: the lease was released.
	ErrReleased = errors.New("lease was released")
)

// A LockedError says who holds a lock. It is ErrLocked.
type LockedError struct {
	Location string // of the storage
	Name     string // of the lock
	Holder   Holder
	TTL      time.Duration // how long a lock outlives its holder, at most
	Err      error         // why there was no more waiting; nil where none was asked for
}

func (e *LockedError) Error() string {
	s := fmt.Sprintf("%s at %s: %v: %v; wait for it, or end it: the lock goes %v after its holder", e.Name, e.Location, ErrLocked, e.Holder, e.TTL)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives ErrLocked, and why there was no more waiting.
func (e *LockedError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrLocked}
	}
	return []error{ErrLocked, e.Err}
}
