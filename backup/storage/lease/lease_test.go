package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
)

// A memory is a storage of one register, that can fail.
type memory struct {
	storage.Storage // nil: nothing else is used

	mu      sync.Mutex
	content []byte
	version int
	swaps   int
	ignore  bool                 // ignores versions
	fault   func() (bool, error) // tells whether a swap is done, and what it returns
}

func (m *memory) Location() string { return "memory" }

func (m *memory) err(class error) error {
	return &storage.Error{Op: "swap", Location: "memory", Name: "lock", Class: class}
}

func (m *memory) Load(ctx context.Context, _ string) ([]byte, storage.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return nil, "", storage.Ended(ctx)
	case m.version == 0:
		return nil, "", m.err(storage.ErrNotFound)
	}
	return m.content, storage.Version(fmt.Sprint(m.version)), nil
}

func (m *memory) Swap(ctx context.Context, _ string, old storage.Version, b []byte) (storage.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.swaps++
	have := storage.NoVersion
	if m.version > 0 {
		have = storage.Version(fmt.Sprint(m.version))
	}
	if ctx.Err() != nil {
		return "", storage.Ended(ctx)
	}
	if old != have && !m.ignore {
		return "", m.err(storage.ErrConflict)
	}
	done, err := true, error(nil)
	if m.fault != nil {
		done, err = m.fault()
	}
	if done {
		m.content, m.version = b, m.version+1
	}
	if err != nil {
		return "", err
	}
	return storage.Version(fmt.Sprint(m.version)), nil
}

func (m *memory) set(fault func() (bool, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

func (m *memory) put(t testing.TB, r record) {
	b, err := r.encode()
	require.NoError(t, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.content, m.version = b, m.version+1
}

func (m *memory) record(t testing.TB) record {
	b, _, err := m.Load(t.Context(), "lock")
	require.NoError(t, err)
	r, err := parse(b)
	require.NoError(t, err)
	return *r
}

// elsewhere is a record of a holder on another machine.
func elsewhere(ttl time.Duration) record {
	return record{Version: recordVersion, Host: "elsewhere", PID: 1, Boot: "another", Operation: "prune", ID: "other",
		Since: time.Now().Add(-20 * time.Hour), TTL: ttl.Milliseconds()}
}

func acquire(t testing.TB, s storage.Storage, o Options) *Lease {
	t.Helper()
	l, err := Acquire(t.Context(), s, "lock", o)
	require.NoError(t, err)
	return l
}

func release(t testing.TB, l *Lease) {
	t.Helper()
	require.NoError(t, l.Release(context.WithoutCancel(t.Context())))
}

func TestAcquireRelease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		h, err := Inspect(t.Context(), m, "lock")
		require.NoError(t, err)
		require.Nil(t, h)
		for range 3 {
			l := acquire(t, m, Options{Operation: "backup create"})
			require.NoError(t, l.Err())
			h, err = Inspect(t.Context(), m, "lock")
			require.NoError(t, err)
			require.Equal(t, l.Holder(), *h)
			require.Equal(t, "backup create", h.Operation)

			_, err = Acquire(t.Context(), m, "lock", Options{Operation: "prune"})
			var locked *LockedError
			require.ErrorAs(t, err, &locked)
			require.ErrorIs(t, err, ErrLocked)
			require.Equal(t, l.Holder(), locked.Holder)
			require.Contains(t, err.Error(), `"backup create"`)
			require.Contains(t, err.Error(), "memory")

			release(t, l)
			require.ErrorIs(t, l.Err(), ErrReleased)
			release(t, l)
			h, err = Inspect(t.Context(), m, "lock")
			require.NoError(t, err)
			require.Nil(t, h)
		}
	})
}

// TestRenew: a lease is held for as long as it is wanted, and who does not wait
// sees that its holder lives.
func TestRenew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		ctx, cancel := context.WithCancel(t.Context())
		l, err := Acquire(ctx, m, "lock", Options{})
		require.NoError(t, err)
		cancel() // of the wait for it, and no more
		time.Sleep(time.Second)
		require.NoError(t, l.Err())
		before := m.record(t)
		time.Sleep(25 * time.Second)
		require.NotEqual(t, before, m.record(t), "a version may be no more than a digest, and others see by it that the holder lives")
		time.Sleep(10 * time.Hour) // to no moment of a renewal
		require.NoError(t, l.Err())
		swaps := m.swaps
		require.InDelta(t, 1800, swaps, 100, "renewed each third of a minute")
		release(t, l)
		time.Sleep(time.Hour)
		require.Equal(t, swaps+1, m.swaps, "a lease that was released is not renewed")
	})
}

// TestRemoteAlive: a holder elsewhere shows by its renewals that it lives. No
// clock of its own is believed.
func TestRemoteAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		r := elsewhere(time.Minute)
		m.put(t, r)
		ctx, cancel := context.WithCancel(t.Context())
		var renewing sync.WaitGroup
		renewing.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(20 * time.Second)
				r.Counter++
				m.put(t, r)
			}
		})
		began := time.Now()
		_, err := Acquire(t.Context(), m, "lock", Options{})
		require.ErrorIs(t, err, ErrLocked)
		require.LessOrEqual(t, time.Since(began), 30*time.Second)

		// Who waits, waits on.
		waited, stop := context.WithTimeout(t.Context(), 2*time.Hour)
		defer stop()
		var told []Holder
		_, err = Acquire(waited, m, "lock", Options{Wait: true, Waiting: func(h Holder) { told = append(told, h) }})
		require.ErrorIs(t, err, ErrLocked)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Len(t, told, 1)
		require.Equal(t, elsewhere(0).ID, told[0].ID)
		cancel()
		renewing.Wait()
	})
}

// TestRemoteDead: a holder elsewhere that shows nothing for a TTL has lost the
// lock, not earlier and not much later.
func TestRemoteDead(t *testing.T) {
	t.Parallel()
	for _, wait := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := new(memory)
			m.put(t, elsewhere(3*time.Minute))
			began := time.Now()
			l := acquire(t, m, Options{Wait: wait, TTL: 10 * time.Second})
			require.GreaterOrEqual(t, time.Since(began), 3*time.Minute)
			require.Less(t, time.Since(began), 3*time.Minute+time.Second)
			release(t, l)
		})
	}
}

// TestOneTakesOver: of many who see a lock end, one gets it at a time.
func TestOneTakesOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		m.put(t, elsewhere(time.Minute))
		var holders, most int
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				l := acquire(t, m, Options{Wait: true})
				mu.Lock()
				holders++
				most = max(most, holders)
				mu.Unlock()
				time.Sleep(2 * time.Minute)
				require.NoError(t, l.Err())
				mu.Lock()
				holders--
				mu.Unlock()
				release(t, l)
			})
		}
		all.Wait()
		require.Equal(t, 1, most)
	})
}

// TestLost: a holder that cannot renew stops before another begins, whatever
// the storage answers.
func TestLost(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(m *memory) (bool, error){
		"fails":          func(m *memory) (bool, error) { return false, m.err(storage.ErrUnreachable) },
		"fails silently": func(m *memory) (bool, error) { return true, m.err(storage.ErrUnreachable) },
	} {
		synctest.Test(t, func(t *testing.T) {
			m := new(memory)
			l := acquire(t, m, Options{})
			bound, cancel := l.Bind(t.Context())
			defer cancel()
			time.Sleep(15 * time.Minute)
			m.set(func() (bool, error) { return fault(m) })
			began := time.Now()
			if name == "fails silently" {
				// Each renewal comes through and its answer is lost: the next
				// finds its own name and goes on from there. With the third of a
				// TTL before the first of them it is less than a holder is sure of.
				time.Sleep(15 * time.Second)
				m.set(nil)
				time.Sleep(time.Hour)
				require.NoError(t, l.Err())
				release(t, l)
				return
			}
			var stopped, taken time.Duration
			var both sync.WaitGroup
			both.Go(func() {
				<-bound.Done()
				stopped = time.Since(began)
			})
			both.Go(func() {
				r := elsewhere(time.Minute)
				other := &contender{s: m, name: "lock", o: Options{Wait: true, TTL: time.Minute}}
				for {
					// What take would do, without the fault.
					_, v, err := m.Load(t.Context(), "lock")
					require.NoError(t, err)
					if other.version != v {
						other.version, other.first = v, time.Now()
					}
					if time.Since(other.first) >= time.Minute {
						m.put(t, r)
						taken = time.Since(began)
						return
					}
					time.Sleep(time.Second)
				}
			})
			both.Wait()
			require.Less(t, stopped, taken)
			require.Greater(t, stopped, 30*time.Second, "it was given up too early")
			require.ErrorIs(t, l.Err(), ErrLost)
			require.ErrorIs(t, context.Cause(bound), ErrLost)
			require.ErrorIs(t, l.Release(t.Context()), ErrLost)
			require.Equal(t, "elsewhere", m.record(t).Host, "a lost lease has been released for another")
		})
	}
}

// A slow is a memory that takes its time.
type slow struct {
	*memory
	before func(ctx context.Context, n int) error // fails the n-th swap, from 1; nil fails none
	behind time.Duration                          // that the answer to a swap takes

	mu   sync.Mutex
	n    int
	last time.Time // of the last swap that was done
}

func (s *slow) Swap(ctx context.Context, name string, old storage.Version, b []byte) (storage.Version, error) {
	s.mu.Lock()
	s.n++
	n := s.n
	s.mu.Unlock()
	if s.before != nil {
		if err := s.before(ctx, n); err != nil {
			return "", err
		}
	}
	v, err := s.memory.Swap(ctx, name, old, b)
	if err == nil {
		s.mu.Lock()
		s.last = time.Now()
		s.mu.Unlock()
	}
	time.Sleep(s.behind)
	return v, err
}

// attempts is how many swaps have begun.
func (s *slow) attempts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// done is when a swap was last done.
func (s *slow) done() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// TestSlowAnswers: a holder counts from before it asked. Others have counted since the
// storage did what it was asked, however late it said so; and their clocks may run a tenth
// faster.
func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	for _, held := range []time.Duration{0, 5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			m := &slow{memory: new(memory), behind: 10 * time.Second}
			l := acquire(t, m, Options{})
			time.Sleep(held)
			require.NoError(t, l.Err())
			m.set(func() (bool, error) { return false, m.err(storage.ErrUnreachable) })
			time.Sleep(20 * time.Second) // a renewal may be under way that came through
			time.Sleep(time.Until(m.done().Add(54 * time.Second)))
			if held > 0 { // who asks hears it at once
				require.ErrorIs(t, l.Err(), ErrLost)
			}
			m.set(nil)
			require.ErrorIs(t, l.Release(t.Context()), ErrLost) // and who releases
			require.False(t, m.record(t).Released)
		})
	}
}

// TestHangingRenewal: a renewal that is not answered leaves time for another.
func TestHangingRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &slow{memory: new(memory), before: func(ctx context.Context, n int) error {
			if n%3 == 0 {
				<-ctx.Done()
				return storage.Ended(ctx)
			}
			return nil
		}}
		l := acquire(t, m, Options{})
		time.Sleep(10 * time.Minute)
		require.NoError(t, l.Err())
		for m.attempts()%3 != 0 { // the next one is answered
			time.Sleep(time.Second)
		}
		release(t, l)
	})
}

// TestGivenUp: a lock that was taken by a call that fails all the same is free at once.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	m := &slow{memory: new(memory)}
	m.before = func(_ context.Context, n int) error {
		if n == 2 { // which tries whether the storage heeds conditions
			return m.err(storage.ErrUnreachable)
		}
		return nil
	}
	_, err := Acquire(t.Context(), m, "lock", Options{})
	require.ErrorIs(t, err, storage.ErrUnreachable)
	require.True(t, m.record(t).Released)
	release(t, acquire(t, m, Options{}))
}

// TestTakenOver: a holder that finds another's name has lost the lease at once.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		l := acquire(t, m, Options{})
		m.put(t, elsewhere(time.Minute))
		time.Sleep(21 * time.Second)
		require.ErrorIs(t, l.Err(), ErrLost)
		require.Contains(t, l.Err().Error(), "elsewhere")
		<-l.Done()
		require.ErrorIs(t, l.Release(t.Context()), ErrLost)
	})
}

// TestFlaky: failures that pass lose nothing.
func TestFlaky(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		l := acquire(t, m, Options{})
		rng := rand.New(rand.NewPCG(1, 2))
		m.set(func() (bool, error) {
			switch rng.IntN(10) {
			case 0:
				return false, m.err(storage.ErrUnreachable)
			case 1:
				return true, m.err(storage.ErrUnreachable)
			}
			return true, nil
		})
		time.Sleep(time.Hour)
		require.NoError(t, l.Err())
		m.set(nil)
		release(t, l)
	})
}

// TestIgnored: a storage on which all swaps succeed cannot hold a lock.
func TestIgnored(t *testing.T) {
	t.Parallel()
	m := &memory{ignore: true}
	_, err := Acquire(t.Context(), m, "lock", Options{})
	require.ErrorIs(t, err, storage.ErrUnsupported)
}

func TestWaitEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		l := acquire(t, m, Options{Operation: "prune"})
		why := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, why)
		defer cancel()
		_, err := Acquire(ctx, m, "lock", Options{Wait: true})
		require.ErrorIs(t, err, ErrLocked)
		require.ErrorIs(t, err, why)
		release(t, l)
		_, err = Acquire(ctx, m, "lock", Options{Wait: true})
		require.ErrorIs(t, err, why)
		require.NotErrorIs(t, err, ErrLocked)
	})
}

func TestTTL(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{time.Millisecond, -1, 2 * time.Hour} {
		_, err := Acquire(t.Context(), new(memory), "lock", Options{TTL: ttl})
		require.Error(t, err)
	}
}

// TestRecords: what is no record of a lock is refused, and left as it is.
func TestRecords(t *testing.T) {
	t.Parallel()
	good := elsewhere(time.Minute)
	change := func(f func(r *record)) string {
		r := good
		f(&r)
		b, err := json.Marshal(&r)
		require.NoError(t, err)
		return string(b)
	}
	for _, content := range []string{
		"", "{}", "null", "[]", "x", `{"version":1}`,
		change(func(r *record) { r.Version = 2 }),
		change(func(r *record) { r.Version = 0 }),
		change(func(r *record) { r.TTL = 0 }),
		change(func(r *record) { r.TTL = -1 }),
		change(func(r *record) { r.TTL = maxTTL.Milliseconds() + 1 }),
		change(func(r *record) { r.TTL = 1 << 62 }),
		change(func(r *record) { r.ID = "" }),
		change(func(r *record) { r.Host = strings.Repeat("x", maxText+1) }),
		change(func(*record) {}) + "{}",
		change(func(*record) {}) + strings.Repeat(" ", maxRecord),
	} {
		m := &memory{content: []byte(content), version: 1}
		_, err := Acquire(t.Context(), m, "lock", Options{})
		require.ErrorIs(t, err, ErrRecord, content)
		_, err = Inspect(t.Context(), m, "lock")
		require.ErrorIs(t, err, ErrRecord, content)
		require.Equal(t, 1, m.version)
	}
	require.NotContains(t, Holder{Host: "\x1b[31m", Operation: "a\nb"}.String(), "\x1b")
}

func FuzzParse(f *testing.F) {
	r := elsewhere(time.Minute)
	b, err := r.encode()
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte(`{"version":1,"ttl_ms":1000,"id":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parse(b)
		if err != nil {
			require.ErrorIs(t, err, ErrRecord)
			return
		}
		require.GreaterOrEqual(t, r.ttl(), minTTL)
		require.LessOrEqual(t, r.ttl(), maxTTL)
		_ = r.holder().String()
		_ = r.state()
	})
}
