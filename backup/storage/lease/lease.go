package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cofredb/cofre/backup/storage"
)

// DefaultTTL is how long a lock outlives its holder.
const DefaultTTL = time.Minute

// Options say how a lock is taken.
type Options struct {
	// Operation tells others what the lock is held for.
	Operation string
	// TTL is how long the lock outlives its holder; 0 is DefaultTTL. A second
	// to an hour; it should be many times what one request takes.
	TTL time.Duration
	// Wait waits until the lock is free. Without it Acquire takes no longer
	// than it takes to see whether the holder lives: a TTL at most.
	Wait bool
	// Waiting is called once, before Acquire begins to wait for a holder that it has
	// seen; nil calls nothing.
	Waiting func(Holder)
}

// A Lease is a lock that is held. Its methods may be used by several goroutines
// at once. A goroutine of its own renews it until it is lost or released.
type Lease struct {
	s    storage.Storage
	name string
	ttl  time.Duration
	lost context.Context // ends with the lease; its cause says why
	end  context.CancelCauseFunc
	stop context.CancelFunc // ends the renewal
	done chan struct{}      // closed when the renewal has ended

	mu      sync.Mutex
	record  record          // guarded by mu
	version storage.Version // guarded by mu
	since   time.Time       // before the last renewal began; guarded by mu

	once     sync.Once
	released error // of Release; guarded by once
}

// Acquire takes a lock. It fails with a [*LockedError] where another holds it,
// with [ErrRecord] where the register holds something else, with
// storage.ErrUnsupported where the storage has no compare-and-swap, and with
// what the storage fails with. A context that ends while a lock is waited for
// is a *LockedError too.
func Acquire(ctx context.Context, s storage.Storage, name string, o Options) (*Lease, error) {
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.TTL < minTTL || o.TTL > maxTTL {
		return nil, fmt.Errorf("lease: TTL of %v, not %v to %v", o.TTL, minTTL, maxTTL)
	}
	c := &contender{s: s, name: name, o: o}
	for {
		l, err := c.try(ctx)
		if l != nil || err != nil {
			return l, err
		}
		if o.Wait && o.Waiting != nil && c.seen != nil {
			o.Waiting(c.seen.holder())
			o.Waiting = nil
		}
		if err := pause(ctx, c.interval()); err != nil {
			return nil, c.locked(err)
		}
	}
}

// A contender wants a lock. It is used by one goroutine.
type contender struct {
	s    storage.Storage
	name string
	o    Options

	seen    *record         // whose lock it is; nil before the first look
	version storage.Version // of what was seen
	first   time.Time       // when this version was first seen, after it was loaded
}

// try looks once, and returns neither lease nor error where it is to look
// again.
func (c *contender) try(ctx context.Context) (*Lease, error) {
	b, version, err := c.s.Load(ctx, c.name)
	if errors.Is(err, storage.ErrNotFound) {
		return c.take(ctx, storage.NoVersion)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, c.locked(err)
		}
		return nil, err
	}
	r, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s at %s: %w", c.name, c.s.Location(), err)
	}
	state := r.state()
	if r.Released || state == dead {
		return c.take(ctx, version)
	}
	moved := c.seen != nil && c.version != version
	if c.seen == nil || moved {
		c.seen, c.version, c.first = r, version, time.Now()
	}
	switch {
	case time.Since(c.first) >= r.ttl():
		return c.take(ctx, version)
	case !c.o.Wait && (moved || state == alive):
		return nil, c.locked(nil)
	}
	return nil, nil
}

// locked is the error of one who waits no more, because of err.
func (c *contender) locked(err error) error {
	if c.seen == nil {
		return err // it is not known that anybody holds it
	}
	return &LockedError{Location: c.s.Location(), Name: c.name, Holder: c.seen.holder(), TTL: c.seen.ttl(), Err: err}
}

// interval is how long to wait before the next look: until the TTL of what was
// seen ends, if that is near.
func (c *contender) interval() time.Duration {
	if c.seen == nil {
		return 20 * time.Millisecond
	}
	ttl := c.seen.ttl()
	left := ttl - time.Since(c.first)
	return max(min(ttl/12, 5*time.Second, left), time.Millisecond)
}

// take takes the lock by compare-and-swap. Where another was quicker it returns
// neither lease nor error.
func (c *contender) take(ctx context.Context, old storage.Version) (*Lease, error) {
	l := &Lease{s: c.s, name: c.name, ttl: c.o.TTL, done: make(chan struct{})}
	l.record = self()
	l.record.Version = recordVersion
	l.record.Operation = clip(c.o.Operation)
	l.record.Since = time.Now().UTC().Truncate(time.Millisecond)
	l.record.ID = rand.Text()
	l.record.TTL = int64(c.o.TTL / time.Millisecond)
	l.since = time.Now()
	b, err := l.record.encode()
	if err != nil {
		return nil, err
	}
	l.version, err = c.s.Swap(ctx, c.name, old, b)
	if errors.Is(err, storage.ErrConflict) {
		c.seen = nil // look anew
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// A storage that ignores conditions lets everybody in. It would let this in
	// too, which changes nothing.
	switch _, err := c.s.Swap(ctx, c.name, storage.NoVersion, b); {
	case err == nil:
		return nil, &storage.Error{Op: "lock", Location: c.s.Location(), Name: c.name, Class: storage.ErrUnsupported, Err: errConditions}
	case !errors.Is(err, storage.ErrConflict):
		return nil, errors.Join(err, l.giveUp(ctx))
	}
	l.lost, l.end = context.WithCancelCause(context.WithoutCancel(ctx))
	renewal, stop := context.WithCancel(l.lost)
	l.stop = stop
	go l.renew(renewal)
	return l, nil
}

var errConditions = errors.New("it ignores the conditions of conditional writes, so that two could hold a lock")

// Holder is what the lock says of this lease.
func (l *Lease) Holder() Holder {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.record.holder()
}

// Err is nil while the lease is held for certain, and then [ErrLost] or
// [ErrReleased].
func (l *Lease) Err() error {
	l.check()
	if l.lost.Err() == nil {
		return nil
	}
	return context.Cause(l.lost)
}

// Done is closed when the lease is lost or released.
func (l *Lease) Done() <-chan struct{} { return l.lost.Done() }

// Bind makes a context that ends, with Err as its cause, when the lease does.
func (l *Lease) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.lost, func() { cancel(context.Cause(l.lost)) })
	return ctx, func() { stop(); cancel(nil) }
}

// check ends the lease if it can no longer be sure.
func (l *Lease) check() {
	l.mu.Lock()
	since := l.since
	l.mu.Unlock()
	// The monotonic clock stands still while some machines sleep; the wall
	// clock may be set. Either may end the lease.
	now := time.Now()
	elapsed := max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
	if elapsed >= l.sure() {
		l.end(fmt.Errorf("%w: it was not renewed for %v", ErrLost, elapsed.Round(time.Millisecond)))
	}
}

// sure is how long the lease is held for certain after a renewal.
func (l *Lease) sure() time.Duration { return l.ttl / 10 * 9 }

// renew renews the lease each third of the TTL, and looks at the clock more
// often.
func (l *Lease) renew(ctx context.Context) {
	defer close(l.done)
	tick := time.NewTicker(l.ttl / 12)
	defer tick.Stop()
	renewal := make(chan error, 1)
	running := false
	for {
		select {
		case <-ctx.Done():
			if running {
				<-renewal
			}
			return
		case err := <-renewal:
			running = false
			if errors.Is(err, ErrLost) {
				l.end(err)
			}
			continue // what has failed is tried again at the next tick
		case <-tick.C:
		}
		l.check()
		l.mu.Lock()
		due := time.Since(l.since) >= l.ttl/3-l.ttl/24
		l.mu.Unlock()
		if due && !running && ctx.Err() == nil {
			running = true
			go func() { // ended by ctx, and waited for
				attempt, cancel := context.WithTimeout(ctx, l.ttl/4)
				defer cancel()
				renewal <- l.advance(attempt, false)
			}()
		}
	}
}

// advance writes the next record. It fails with ErrLost where the register
// says another's name.
func (l *Lease) advance(ctx context.Context, release bool) error {
	l.mu.Lock()
	next, version := l.record, l.version
	l.mu.Unlock()
	for range 3 {
		next.Counter++
		next.Released = release
		b, err := next.encode()
		if err != nil {
			return err
		}
		since := time.Now()
		made, err := l.s.Swap(ctx, l.name, version, b)
		if err == nil {
			l.mu.Lock()
			l.record, l.version, l.since = next, made, since
			l.mu.Unlock()
			return nil
		}
		if !errors.Is(err, storage.ErrConflict) {
			return err
		}
		// An earlier renewal of ours may have come through although it failed.
		have, loaded, err := l.s.Load(ctx, l.name)
		if errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("%w: the lock was deleted", ErrLost)
		}
		if err != nil {
			return err
		}
		r, err := parse(have)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
		if r.ID != next.ID || r.Released {
			return fmt.Errorf("%w: it was taken over: %v", ErrLost, r.holder())
		}
		version, next.Counter = loaded, r.Counter
	}
	return fmt.Errorf("%w: it changes and changes", storage.ErrConflict)
}

// giveUp releases a lease that nobody was given.
func (l *Lease) giveUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.ttl/2)
	defer cancel()
	return l.advance(ctx, true)
}

// Release lets go of the lock, so that others need not wait for its end. It
// fails with [ErrLost] where the lease was lost before, and with what the
// storage fails with: the lock then goes by itself, after the TTL. Further
// calls return what the first did.
func (l *Lease) Release(ctx context.Context) error {
	l.once.Do(func() {
		l.stop()
		<-l.done
		l.check()
		if l.lost.Err() != nil {
			l.released = context.Cause(l.lost)
			return
		}
		l.end(ErrReleased)
		l.released = l.advance(ctx, true)
	})
	return l.released
}

// Inspect tells who holds a lock, without wanting it; nil is nobody. Whether
// the holder still lives it does not tell.
func Inspect(ctx context.Context, s storage.Storage, name string) (*Holder, error) {
	b, _, err := s.Load(ctx, name)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s at %s: %w", name, s.Location(), err)
	}
	if r.Released || r.state() == dead {
		return nil, nil
	}
	h := r.holder()
	return &h, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return storage.Ended(ctx)
	}
}
