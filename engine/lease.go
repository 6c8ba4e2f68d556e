package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
)

// A lease says how long the plaintext keys of a table may lie in memory after its
// key service has last confirmed them: by an unwrap, for only that shows that the
// key may be used (a describe may be allowed where a decrypt is not).
//
//	confirmed ──── renew, with jitter ──── … unreachable: again, with backoff … ──── end
//	                  │                                                              │
//	                  └ denied: the table locks at once           still unreachable: it locks
//
// One goroutine a table asks, one call at a time, however many goroutines use the
// table; no operation waits for it. When the table has locked, the same goroutine
// asks until the service allows the key again.
//
// Time is the monotonic clock's, so that a wall clock that jumps ends no lease. A
// machine that slept is another matter, and only the wall clock shows it: then the
// lease is renewed at once, and the table locks if that fails.
type lease struct {
	length  time.Duration
	confirm func(context.Context) error // asks the key service
	renewed func(at time.Time)          // hears of each confirmation
}

const (
	// DefaultKeyLease is Options.KeyLease unless it is set.
	DefaultKeyLease = 5 * time.Minute
	minKeyLease     = 10 * time.Millisecond
	maxKeyLease     = 24 * time.Hour

	leaseBackoff    = 250 * time.Millisecond // the first, between two attempts
	maxLeaseBackoff = 30 * time.Second
)

// errLeaseOver says that the key service did not answer within the lease.
var errLeaseOver = fmt.Errorf("%w: it has not confirmed the key within the lease", keyring.ErrKeyUnreachable)

// wait sleeps; false means that ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// jittered is d give or take a fifth: tables that opened together do not ask
// together for ever.
func jittered(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1)
}

// backoff is the wait after the n-th failure in a row, from 0.
func backoff(n int, most time.Duration) time.Duration {
	return jittered(min(leaseBackoff<<min(n, 10), most))
}

// slept tells whether the machine slept since t, or its clock was set forward, for
// longer than d beyond what the monotonic clock knows of.
func slept(t time.Time, d time.Duration) bool {
	return time.Now().Round(0).Sub(t.Round(0))-time.Since(t) > d
}

// unanswered tells whether an error leaves it open that the key may be used.
func unanswered(err error) bool {
	for _, e := range []error{keyring.ErrKeyUnreachable, keyring.ErrKeyThrottled, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// keep renews the lease of keys that were confirmed at a time, and returns why the
// table is to lock, or nil when ctx ends.
func (l *lease) keep(ctx context.Context, confirmed time.Time) error {
	for {
		if !l.untilDue(ctx, confirmed) {
			return nil
		}
		for n := 0; ; n++ {
			left := l.length - time.Since(confirmed)
			if slept(confirmed, l.length/10) {
				left = min(left, l.length/10)
			}
			if left <= 0 {
				return errLeaseOver
			}
			begun := time.Now()
			// One call that hangs, as over a connection that is lost, leaves time for
			// another.
			call, cancel := context.WithTimeout(ctx, min(left, l.length/5))
			err := l.confirm(call)
			cancel()
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				confirmed = begun
				l.renewed(begun)
				break
			}
			if !unanswered(err) {
				return err
			}
			if left = l.length - time.Since(confirmed); left <= 0 || slept(confirmed, l.length/10) {
				return errors.Join(errLeaseOver, err)
			}
			if !wait(ctx, min(backoff(n, l.length/10), left)) {
				return nil
			}
		}
	}
}

// untilDue waits until a lease is to be renewed: between a half and three quarters
// of it, or after the machine slept.
func (l *lease) untilDue(ctx context.Context, confirmed time.Time) bool {
	due := l.length/2 + rand.N(l.length/4+1)
	for {
		left := due - time.Since(confirmed)
		if left <= 0 || slept(confirmed, l.length/10) {
			return ctx.Err() == nil
		}
		if !wait(ctx, min(left, max(l.length/10, time.Millisecond))) {
			return false
		}
	}
}

// regain asks until the key service allows the key again; false means that ctx has
// ended, or that nobody will ever need to know.
func (l *lease) regain(ctx context.Context) bool {
	for n := 0; ; n++ {
		if !wait(ctx, backoff(n, min(maxLeaseBackoff, l.length))) {
			return false
		}
		call, cancel := context.WithTimeout(ctx, l.length/5)
		err := l.confirm(call)
		cancel()
		switch {
		case ctx.Err() != nil, errors.Is(err, keyring.ErrTableUnknown), errors.Is(err, keyring.ErrClosed):
			return false
		case err == nil:
			return true
		}
	}
}

// A LockedError says why a table is locked: its key was denied, or not confirmed
// within the lease, or Table.Lock was called. It is ErrKeyInaccessible.
type LockedError struct {
	Table string
	Since time.Time
	Err   error // the key service's; nil after Table.Lock
}

func (e *LockedError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%v: table %s was locked on request; unlock it", ErrKeyInaccessible, e.Table)
	}
	return fmt.Sprintf("%v: table %s is locked since %s, and unlocks when its key service allows the key: %v",
		ErrKeyInaccessible, e.Table, e.Since.UTC().Format(time.RFC3339), e.Err)
}

// Unwrap gives ErrKeyInaccessible and the cause.
func (e *LockedError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrKeyInaccessible}
	}
	return []error{ErrKeyInaccessible, e.Err}
}

// startLease keeps the lease of a table whose keys were asked for at a time, unless
// it is kept already; t.mu is held.
func (t *Table) startLease(at time.Time) {
	t.confirmed.Store(&at)
	if t.endLease != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.endLease = cancel
	l := &lease{
		length:  t.store.opts.KeyLease,
		confirm: func(ctx context.Context) error { return t.store.ring.Confirm(ctx, t.id) },
		renewed: func(at time.Time) { t.confirmed.Store(&at) },
	}
	t.store.keepers.Go(func() {
		defer cancel()
		err := l.keep(ctx, at)
		if err == nil {
			return
		}
		locked := t.lockFor(ctx, err)
		if locked == nil || !l.regain(t.store.life) {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.locked.CompareAndSwap(locked, nil) {
			t.store.log.Info("the table's key is back", "table", t.id)
			t.store.loss.suspect(t)
		}
	})
}

// stopLease ends the lease when no instance has keys; t.mu is held.
func (t *Table) stopLease() {
	if t.endLease != nil && t.inst.Load() == nil && len(t.snaps) == 0 {
		t.endLease()
		t.endLease = nil
		t.confirmed.Store(nil)
	}
}

// lockFor closes the table and drops its keys, because of a key that may no longer
// be used. What was acknowledged without a sync is in the log, which is synced when
// it closes; nothing is flushed, for a flush takes its time. It returns nil where
// the lease has ended meanwhile.
func (t *Table) lockFor(ctx context.Context, cause error) *LockedError {
	locked := &LockedError{Table: t.name, Since: time.Now(), Err: cause}
	if !t.locked.CompareAndSwap(nil, locked) {
		return nil // on request, meanwhile
	}
	t.mu.Lock() // who has it may wait for the key service; nobody is served meanwhile
	defer t.mu.Unlock()
	if ctx.Err() != nil {
		t.locked.CompareAndSwap(locked, nil)
		return nil
	}
	t.store.log.Warn("the table locks: its key may no longer be used", "table", t.id, "error", cause)
	t.store.note(audit.EventLockTable, audit.Request{Table: t.id}, cause)
	t.closeLeaving(locked)
	if refused(cause) {
		t.store.loss.suspect(t)
	}
	return locked
}

// closeLeaving closes all instances at once, without a flush; t.mu is held. What
// was in use hears why.
func (t *Table) closeLeaving(why *LockedError) {
	for _, i := range t.instances() {
		i.leaving.Store(why)
	}
	if err := t.closeLocked(context.Background()); err != nil {
		t.store.log.Warn("close of a table that locks", "table", t.id, "error", err)
	}
}

// Lock closes the table, drops its keys, and refuses every use with a *LockedError
// until Unlock, in this process and others and after any restart. It waits for no
// scan and no view; they fail. Nothing that was acknowledged is lost. It is durable
// when it returns. The lock is a mark that is sealed with the table's metadata: it
// binds this library, and not who holds the keys.
//
// Errors: ErrReadOnly, ErrTableNotFound, ErrKeyInaccessible where the key is denied
// anyhow, and those of a change of the keyring.
func (t *Table) Lock(ctx context.Context) error {
	return t.recorded(audit.EventLockTable, t.setLocked(ctx, true))
}

// Unlock ends Lock. Where the table is locked because of its key, it asks the key
// service at once, and returns what that says.
func (t *Table) Unlock(ctx context.Context) error {
	return t.recorded(audit.EventUnlockTable, t.setLocked(ctx, false))
}

func (t *Table) setLocked(ctx context.Context, locked bool) error {
	if t.store.opts.Mode == ReadOnly {
		return ErrReadOnly
	}
	if err := t.beginRotation(ctx); err != nil {
		return err
	}
	defer t.endRotation()
	keys, m, err := t.openMetadata(ctx)
	if err != nil {
		return err
	}
	defer keys.Wipe()
	if m.locked == locked {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !locked {
			t.locked.Store(nil) // the key service has just allowed it
		}
		return nil
	}
	return t.editMetadata(ctx, keys, func(m *metadata) error {
		m.locked = locked
		return nil
	}, func(*metadata) {
		if !locked {
			t.locked.Store(nil)
			return
		}
		why := &LockedError{Table: t.name, Since: time.Now()}
		t.locked.Store(why)
		t.closeLeaving(why)
	})
}
