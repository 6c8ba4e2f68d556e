package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

var (
	lifeRounds = flag.Int("life.rounds", 3, "rounds of TestKeyLife")
	lifeSeed   = flag.Uint64("life.seed", 0, "what the first of them is drawn from; 0 is random")
)

// A mood is how a key service answers.
type mood int32

const (
	fine   mood = iota // if late now and then, or twice
	denied             // the key is disabled
	down               // out of reach
	silent             // no answer, for as long as is waited for one
	wrong              // another key
	moods
)

// moodyService has two root keys, which it treats alike.
type moodyService struct {
	mood    atomic.Int32
	opening atomic.Bool // the table may be opened: but while nothing is done to it

	mu   sync.Mutex // guards what follows
	rng  *rand.Rand
	hung bool          // the last call that could was not answered
	back chan struct{} // closed when the mood changes
}

// set changes the mood. Who waits for an answer gets one.
func (s *moodyService) set(m mood) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mood.Store(int32(m))
	close(s.back)
	s.back = make(chan struct{})
}

// rotation marks the context of a call that the lease has not made.
type rotation struct{}

type moodyRoot struct {
	*memRoot
	s *moodyService
}

// answer waits as long as the service does. Only leases and rotations are kept waiting:
// who opens a table has its mutex meanwhile, and the fake clock stands still while
// others wait for that.
func (s *moodyService) answer(ctx context.Context) error {
	_, patient := ctx.Deadline()
	patient = patient && (!s.opening.Load() || ctx.Value(rotation{}) != nil)
	s.mu.Lock()
	back, late := s.back, time.Duration(s.rng.IntN(20))*time.Second
	s.hung = !s.hung && patient && ctx.Value(rotation{}) == nil && s.rng.IntN(5) == 0
	hangs := s.hung
	s.mu.Unlock()
	switch mood(s.mood.Load()) {
	case denied:
		return keyring.ErrKeyDenied
	case silent:
		if !patient {
			return keyring.ErrKeyUnreachable
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-back:
			return keyring.ErrKeyUnreachable
		}
	case down:
		return keyring.ErrKeyUnreachable
	}
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if patient && late < 10*time.Second && !wait(ctx, late) {
		return ctx.Err()
	}
	return nil
}

func (r *moodyRoot) Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	if err := r.s.answer(ctx); err != nil {
		return nil, err
	}
	if _, err := r.memRoot.Wrap(ctx, key, ec); err != nil { // done twice: the first answer is lost
		return nil, err
	}
	return r.memRoot.Wrap(ctx, key, ec)
}

func (r *moodyRoot) Unwrap(ctx context.Context, blob []byte, ec keyring.Context) (*keyring.Secret, error) {
	if err := r.s.answer(ctx); err != nil {
		return nil, err
	}
	if mood(r.s.mood.Load()) == wrong {
		return keyring.RandomSecret(), nil
	}
	return r.memRoot.Unwrap(ctx, blob, ec)
}

// A life is a table, what it must hold, and the keys that it has.
type life struct {
	t       *testing.T
	rng     *rand.Rand
	service *moodyService
	roots   [2]*moodyRoot
	store   *memRoot
	fs      *vfs.MemFS
	skew    atomic.Int64 // of the wall clock, as schedules and the keyring see it

	s     *Store
	tab   *Table
	rows  map[string]string
	snaps map[string]map[string]string
	n     int
	// since is when the service began to refuse; zero while it does not.
	since  time.Time
	locked bool // by Lock
	did    []string
}

func newLife(t *testing.T, seed uint64) *life {
	l := &life{
		t: t, rng: rand.New(rand.NewPCG(seed, 5)), store: newMemRoot("store"), fs: vfs.NewCrashableMem(),
		service: &moodyService{rng: rand.New(rand.NewPCG(seed, 6)), back: make(chan struct{})},
	}
	for i := range l.roots {
		l.roots[i] = &moodyRoot{newMemRoot(fmt.Sprint("root", i)), l.service}
	}
	l.service.opening.Store(true)
	l.open()
	t.Cleanup(func() { _ = l.s.Close() }) // in the bubble, which ends when all that it has begun has
	l.create()
	return l
}

func (l *life) open() {
	opts := crashOptions(l.store, l.fs)
	opts.Roots = []keyring.RootKey{l.roots[0], l.roots[1]}
	opts.clock = func() time.Time { return time.Now().Add(time.Duration(l.skew.Load())) }
	s, err := Open(l.t.Context(), crashDir, opts)
	l.must(err)
	l.s = s
	if tab, err := s.Table("clinic.patients"); err == nil {
		l.tab = tab
	}
}

func (l *life) create() {
	tab, err := l.s.CreateTable(l.t.Context(), "clinic.patients", TableOptions{RootKey: l.roots[0]})
	l.must(err)
	l.tab, l.locked = tab, false
	l.rows, l.snaps = make(map[string]string), make(map[string]map[string]string)
}

func (l *life) must(err error) {
	l.t.Helper()
	require.NoError(l.t, err, "after %q", l.did)
}

// refused tells whether each use must be refused now.
func (l *life) refused() bool {
	return l.locked || !l.since.IsZero() && (time.Since(l.since) > DefaultKeyLease || l.tab.inst.Load() == nil)
}

// denial demands that an error is that of a refused key. A service that yields another
// key cannot be told from a wrap that was changed, while the table is not locked yet.
func (l *life) denial(what string, err error) {
	l.t.Helper()
	switch m := mood(l.service.mood.Load()); {
	case m == wrong && errors.Is(err, keyring.ErrWrongContext):
		return
	case m == silent && errors.Is(err, context.DeadlineExceeded):
		return // the caller's own
	}
	require.ErrorIs(l.t, err, ErrKeyInaccessible, "%s, after %q", what, l.did)
}

// use uses the table, holds the outcome against what it may be, and tells whether it was
// done.
func (l *life) use(what string, f func() error) bool {
	l.t.Helper()
	refused := l.refused()
	if l.locked && l.since.IsZero() && strings.HasPrefix(what, "rotate") {
		refused = false // Lock refuses what uses data; keys still change
	}
	err := f()
	switch {
	case refused, l.locked && err != nil:
		l.denial(what, err)
	case l.since.IsZero():
		require.NoError(l.t, err, "%s, after %q", what, l.did)
	case err != nil: // else it was done, within the lease
		l.denial(what, err)
	}
	return err == nil
}

// step does something at random.
func (l *life) step() {
	ctx := l.t.Context()
	patient, cancel := context.WithTimeout(context.WithValue(ctx, rotation{}, true), 2*time.Minute)
	defer cancel()
	l.n++
	row := func() string { return fmt.Sprintf("%03d", l.rng.IntN(60)) }
	steps := []struct {
		weight int
		what   string
		do     func()
	}{
		{8, "put", func() {
			k, v := row(), fmt.Sprint(l.n)
			if l.use("put", func() error { return l.tab.Put([]byte(k), []byte(v), nil) }) {
				l.rows[k] = v
			}
		}},
		{3, "delete", func() {
			k := row()
			if l.use("delete", func() error { return l.tab.Delete([]byte(k), nil) }) {
				delete(l.rows, k)
			}
		}},
		{2, "delete range", func() {
			from, to := row(), row()
			if from > to {
				from, to = to, from
			}
			if from != to && l.use("delete range", func() error { return l.tab.DeleteRange([]byte(from), []byte(to), nil) }) {
				maps.DeleteFunc(l.rows, func(k, _ string) bool { return from <= k && k < to })
			}
		}},
		{3, "flush", func() { l.use("flush", l.tab.Flush) }},
		{2, "compact", func() { l.use("compact", func() error { return l.tab.Compact(ctx, nil, nil) }) }},
		{3, "read", l.read},
		{3, "snapshot", func() {
			if len(l.snaps) >= 8 {
				return
			}
			// It needs no key, so a refusal does not keep it from being made.
			name := fmt.Sprint("s", l.n)
			if _, err := l.tab.Snapshot(ctx, name); err == nil {
				l.snaps[name] = maps.Clone(l.rows)
			} else if l.since.IsZero() && !l.locked {
				l.must(err)
			}
		}},
		{3, "rotate the root", func() {
			l.use("rotate the root", func() error { return l.tab.RotateRoot(patient, l.roots[l.rng.IntN(2)]) })
		}},
		{2, "rotate the key", func() { l.use("rotate the key", func() error { return l.tab.RotateKey(patient) }) }},
		{2, "re-encrypt", func() {
			l.use("re-encrypt", func() error { _, err := l.tab.Reencrypt(patient, ReencryptOptions{}); return err })
		}},
		{2, "retire", func() {
			l.use("retire", func() error {
				e, err := l.s.ring.Entry(l.tab.ID())
				if err != nil || len(e.Versions) < 2 || e.Versions[len(e.Versions)-2].State != "older" {
					return errors.Join(err, l.probe())
				}
				return l.tab.RetireKey(patient, e.Versions[len(e.Versions)-2].Number)
			})
		}},
		{2, "lock", func() {
			if !l.locked && l.use("lock", func() error { return l.tab.Lock(ctx) }) {
				l.locked = true
			}
		}},
		{5, "unlock", func() {
			err := l.tab.Unlock(ctx)
			if l.since.IsZero() {
				l.must(err)
				l.locked = false
			}
			if err == nil {
				l.locked = false
			}
		}},
		{4, "trouble", func() {
			if l.since.IsZero() {
				l.service.set(1 + mood(l.rng.IntN(int(moods)-1)))
				l.since = time.Now()
			}
		}},
		{5, "no trouble", l.enable},
		{5, "time goes by", func() {
			l.sleep(time.Duration(1+l.rng.IntN(60)) * 15 * time.Second)
		}},
		{2, "a jump of the clock", func() { l.skew.Store(int64(l.rng.IntN(2000)-1000) * int64(time.Hour)) }},
		{2, "close the table", func() { l.must(l.tab.Close()) }},
		{1, "reopen", func() { l.must(l.s.Close()); l.open() }},
		{1, "crash", func() {
			clone, old := l.fs.CrashClone(vfs.CrashCloneCfg{}), l.s
			l.fs = clone
			_ = old.Close()
			l.open()
		}},
		{1, "drop", func() {
			_, err := l.s.DropTable(ctx, "clinic.patients", DropOptions{WithSnapshots: true})
			l.must(err)
			l.service.set(fine)
			l.since = time.Time{}
			l.create()
		}},
	}
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	at := l.rng.IntN(total)
	for _, s := range steps {
		if at -= s.weight; at < 0 {
			l.did = append(l.did, s.what)
			s.do()
			break
		}
	}
	synctest.Wait()
}

// probe is a use of the table that changes nothing.
func (l *life) probe() error {
	_, err := l.tab.Has([]byte("none"))
	return err
}

func (l *life) sleep(d time.Duration) {
	l.service.opening.Store(false)
	defer l.service.opening.Store(true)
	time.Sleep(d)
	synctest.Wait() // what the time has brought about is done
}

// enable has the service answer again. A table that has locked unlocks by itself, or
// when it is asked to.
func (l *life) enable() {
	if l.since.IsZero() {
		return
	}
	l.service.set(fine)
	l.since = time.Time{}
	switch {
	case l.locked: // Unlock ends that
	case l.rng.IntN(2) == 0:
		l.must(l.tab.Unlock(l.t.Context()))
	default:
		l.sleep(3*maxLeaseBackoff + DefaultKeyLease/5 + time.Minute)
	}
}

// read compares the table with what it must hold, and a snapshot.
func (l *life) read() {
	var got state
	if l.use("read", func() (err error) { got, err = contents(l.tab.scanAll); return err }) {
		require.Equal(l.t, state(l.rows), got, "after %q", l.did)
	}
	names := slices.Sorted(maps.Keys(l.snaps))
	if len(names) == 0 {
		return
	}
	l.readSnapshot(names[l.rng.IntN(len(names))])
}

func (l *life) readSnapshot(name string) {
	v, err := l.tab.OpenSnapshot(l.t.Context(), name)
	if err != nil {
		if l.since.IsZero() && !l.locked {
			l.must(err)
		}
		l.denial("open a snapshot", err)
		return
	}
	defer v.Close()
	got, err := contents(func(o ScanOptions) func(func(Entry, error) bool) { return v.Scan(o) })
	l.must(err)
	require.Equal(l.t, state(l.snaps[name]), got, "snapshot %s, after %q", name, l.did)
}

func (t *Table) scanAll(o ScanOptions) func(func(Entry, error) bool) { return t.Scan(o) }

// end has all that was acknowledged, and each snapshot, be what it was.
func (l *life) end() {
	l.did = append(l.did, "end")
	l.service.set(fine)
	l.since = time.Time{}
	l.must(l.tab.Unlock(l.t.Context()))
	l.locked = false
	l.read()
	for name := range l.snaps {
		l.readSnapshot(name)
	}
	l.must(verified(l.s))
	l.must(l.s.Close())
}

// TestKeyLife lives through random writes, changes of keys, locks, snapshots and
// crashes, under key services that deny, are late, silent or wrong, and answer again,
// in fake time, beside a plain map: while a key is refused every use is, once the lease
// is over; and when it is back nothing is lost, and each snapshot is what it was.
func TestKeyLife(t *testing.T) {
	t.Parallel()
	rounds, steps := *lifeRounds, 250
	if testing.Short() {
		rounds, steps = 1, 120
	}
	for n := range rounds {
		seed := *lifeSeed + uint64(n)
		if *lifeSeed == 0 {
			seed = rand.Uint64()
		}
		ok := false
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if !ok {
					t.Logf("again: go test ./engine -run TestKeyLife -life.rounds 1 -life.seed %d", seed)
				}
			}()
			l := newLife(t, seed)
			for range steps {
				l.step()
			}
			l.end()
			ok = true
		})
	}
}
