// Package verdict holds what rounds of the harness report: counts of what was
// done to a store, and the violation that ended a round.
package verdict

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// A Kind is a way to break a promise.
type Kind string

const (
	Lost       Kind = "lost"        // what was acknowledged is gone
	Phantom    Kind = "phantom"     // what was removed, or never there, is there
	Wrong      Kind = "wrong"       // another value, half a batch, an answer that is not true
	FalseAlarm Kind = "false alarm" // an error where there is no fault
	Hang       Kind = "hang"        // a call past its deadline
	Exit       Kind = "exit"        // a process that ended by itself
	Leak       Kind = "leak"        // plaintext, or a key or nonce used twice
	Broken     Kind = "broken"      // the harness could not do its work
)

// A Violation is a broken promise. It ends the round that found it.
type Violation struct {
	Kind       Kind
	What       string
	Transcript string // operations that lead there, if they are known
}

func (v *Violation) Error() string { return string(v.Kind) + ": " + v.What }

// New makes a violation.
func New(kind Kind, format string, args ...any) *Violation {
	return &Violation{Kind: kind, What: fmt.Sprintf(format, args...)}
}

// In says where a violation was found. Any other error is the harness's own.
func In(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	where := fmt.Sprintf(format, args...)
	var v *Violation
	if errors.As(err, &v) {
		c := *v
		c.What = where + ": " + c.What
		return &c
	}
	return fmt.Errorf("%s: %w", where, err)
}

// Of is the violation in an error. An error that is none is the harness's own
// failure, which counts as much: what it did not do, it has not shown.
func Of(err error) *Violation {
	if err == nil {
		return nil
	}
	var v *Violation
	if errors.As(err, &v) {
		return v
	}
	return New(Broken, "%v", err)
}

// Counts are what was done.
type Counts struct {
	Rounds     int64 `json:"rounds"`
	Operations int64 `json:"operations"`
	Crashes    int64 `json:"crashes"`
	Kills      int64 `json:"kills"`
	Faults     int64 `json:"faults"`
	Tampers    int64 `json:"tampers"`
}

// Add adds the counts of another.
func (c *Counts) Add(d Counts) {
	c.Rounds += d.Rounds
	c.Operations += d.Operations
	c.Crashes += d.Crashes
	c.Kills += d.Kills
	c.Faults += d.Faults
	c.Tampers += d.Tampers
}

// Within runs f, which must return within d.
func Within(d time.Duration, what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		buf := make([]byte, 1<<20)
		return New(Hang, "%s has not returned after %v\n%s", what, d, buf[:runtime.Stack(buf, true)])
	}
}
