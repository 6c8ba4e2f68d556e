package engine

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A scheduler shares the permission to compact among all tables of a store:
// as many compactions as the machine has cores, at least two. Pebble's own
// scheduler serves one database and keeps a ticker for it; here an idle table
// costs nothing.
//
// Grants are made by one goroutine, which the store owns: it is poked when a
// compaction ends and when a flush lets a table run more. It calls into Pebble
// without holding mu; a table that unregisters waits for it.
type scheduler struct {
	limit int
	poke  chan struct{} // of capacity 1; closed by stop
	done  chan struct{} // closed when the granter has ended

	mu       sync.Mutex
	running  int                          // compactions of all tables
	tables   map[*tableScheduler]struct{} // registered
	granting bool
	idle     *sync.Cond // signals that granting ended
	stopped  bool
}

func newScheduler() *scheduler {
	s := &scheduler{
		limit:  max(2, runtime.GOMAXPROCS(0)),
		poke:   make(chan struct{}, 1),
		done:   make(chan struct{}),
		tables: make(map[*tableScheduler]struct{}),
	}
	s.idle = sync.NewCond(&s.mu)
	go func() {
		defer close(s.done)
		for range s.poke {
			s.grant()
		}
	}()
	return s
}

// stop ends the granter. All tables must be closed.
func (s *scheduler) stop() {
	s.mu.Lock()
	s.stopped = true
	close(s.poke)
	s.mu.Unlock()
	<-s.done
}

// wake pokes the granter; s.mu is held.
func (s *scheduler) wake() {
	if s.stopped {
		return
	}
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// instance returns the scheduler of one database; trip gets what makes it
// unfit for use.
func (s *scheduler) instance(trip func(error)) *tableScheduler {
	return &tableScheduler{s: s, trip: trip}
}

// tableScheduler implements pebble.CompactionScheduler and
// pebble.CompactionGrantHandle for one database.
type tableScheduler struct {
	s       *scheduler
	trip    func(error)
	db      pebble.DBForCompaction
	running int // guarded by s.mu, as all below
	gone    bool
	// A compaction that meets damage fails, and Pebble begins it again at once,
	// for ever. So a table rests after a failure, longer each time.
	failures int
	rest     *time.Timer // nil unless it rests
}

// The first rest after a failed compaction, and the longest.
const (
	firstRest = time.Second
	maxRest   = 5 * time.Minute
)

// failed lets the table rest.
func (t *tableScheduler) failed() {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.gone || t.rest != nil {
		return
	}
	t.rest = time.AfterFunc(min(firstRest<<min(t.failures, 16), maxRest), t.awake)
	t.failures++
}

// succeeded makes the next rest short again.
func (t *tableScheduler) succeeded() {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.failures = 0
}

// awake ends the rest, of which there may be none.
func (t *tableScheduler) awake() {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.rest != nil {
		t.rest.Stop()
		t.rest = nil
		t.s.wake()
	}
}

func (t *tableScheduler) Register(_ int, db pebble.DBForCompaction) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.db = db
	t.s.tables[t] = struct{}{}
}

func (t *tableScheduler) Unregister() {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	t.gone = true
	if t.rest != nil {
		t.rest.Stop()
		t.rest = nil
	}
	delete(s.tables, t)
	for s.granting {
		s.idle.Wait()
	}
}

func (t *tableScheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.gone || !t.allowed() {
		return false, nil
	}
	t.running++
	t.s.running++
	return true, t
}

// allowed tells whether t may start another compaction; s.mu is held.
func (t *tableScheduler) allowed() bool {
	return t.rest == nil && t.s.running < t.s.limit && t.running < t.db.GetAllowedWithoutPermission()
}

func (t *tableScheduler) UpdateGetAllowedWithoutPermission() {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.wake()
}

func (t *tableScheduler) Started()                                                {}
func (t *tableScheduler) MeasureCPU(pebble.CompactionGoroutineKind)               {}
func (t *tableScheduler) CumulativeStats(stats pebble.CompactionGrantHandleStats) {}

// Done ends a compaction and passes its permission on.
func (t *tableScheduler) Done() {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.running--
	t.s.running--
	t.s.wake()
}

// grant hands out permissions until none is left or no table waits.
func (s *scheduler) grant() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.granting = true
	declined := make(map[*tableScheduler]bool)
	for s.grantOne(declined) {
	}
	s.granting = false
	s.idle.Broadcast()
}

// grantOne gives one permission to the table that needs it most, and has not
// declined one; false means that nobody takes any. s.mu is held on entry and
// exit, not meanwhile.
func (s *scheduler) grantOne(declined map[*tableScheduler]bool) bool {
	var ask []*tableScheduler
	for t := range s.tables {
		if t.allowed() && !declined[t] {
			ask = append(ask, t)
		}
	}
	s.mu.Unlock()
	var best *tableScheduler
	var need pebble.WaitingCompaction
	for _, t := range ask {
		if waiting, w := t.waiting(); waiting && (best == nil || more(w, need)) {
			best, need = t, w
		}
	}
	s.mu.Lock()
	if best == nil || best.gone {
		return best != nil // another may wait
	}
	best.running++
	s.running++
	s.mu.Unlock()
	ok := best.schedule()
	s.mu.Lock()
	if !ok {
		best.running--
		s.running--
		declined[best] = true
	}
	return true
}

// schedule has the database run a compaction; false means that it has none.
//
// Pebble v2.1.7 remembers the compaction that it would run next. Where that was
// one that somebody asked for and has given up, by a context that ended or
// because another part of it failed, Pebble panics; it has let go of its locks
// and forgotten the compaction by then, and picks another when it is asked again.
// Any other panic that comes up here ends the table, and not the process; where
// Pebble had counted the compaction as begun by then, closing the table hangs. One
// that comes where Pebble picks by itself, or later, does not come by here.
func (t *tableScheduler) schedule() bool {
	ok, r := t.trySchedule()
	if r != nil && strings.Contains(fmt.Sprint(r), "did not find manual compaction") {
		ok, r = t.trySchedule()
	}
	if r != nil {
		t.trip(fmt.Errorf("compact: Pebble panicked: %v", r))
	}
	return ok
}

// waiting asks the database whether it wants to compact. A panic while it looks
// ends the table too.
func (t *tableScheduler) waiting() (waiting bool, w pebble.WaitingCompaction) {
	defer func() {
		if p := recover(); p != nil {
			waiting = false
			t.trip(fmt.Errorf("compact: Pebble panicked: %v", p))
		}
	}()
	return t.db.GetWaitingCompaction()
}

// trySchedule also returns what Pebble panicked with, if it did.
func (t *tableScheduler) trySchedule() (ok bool, panicked any) {
	defer func() {
		if panicked = recover(); panicked != nil {
			ok = false
		}
	}()
	return t.db.Schedule(t), nil
}

// more tells whether a needs to run before b.
func more(a, b pebble.WaitingCompaction) bool {
	switch {
	case a.Optional != b.Optional:
		return !a.Optional
	case a.Priority != b.Priority:
		return a.Priority > b.Priority
	}
	return a.Score > b.Score
}
