package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A stall is back-pressure: writes wait while level 0 holds more sublevels
// than compactions keep up with. Pebble's own stall has no deadline and would
// hold a writer for ever where compactions cannot run; so Pebble's is lifted
// and this one, which has a deadline, takes its place.
type stall struct {
	check atomic.Bool // a flush or compaction ended since a writer looked
	limit int32
	wait  time.Duration

	mu     sync.Mutex
	moved  chan struct{} // closed when a compaction ends, then replaced; guarded by mu
	closed bool          // the instance closes: nobody waits any more; guarded by mu
}

// stallSublevels is how many sublevels of level 0 make writers wait.
const stallSublevels = 24

func (s *stall) init(t tuning) {
	s.limit, s.wait, s.moved = t.stallSublevels, t.stallWait, make(chan struct{})
	if s.limit == 0 {
		s.limit = stallSublevels
	}
	if s.wait == 0 {
		s.wait = time.Minute
	}
}

// look tells writers that level 0 has changed.
func (s *stall) look() {
	s.check.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.moved)
	s.moved = make(chan struct{})
}

// release lets all waiting writers go.
func (s *stall) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.moved == nil {
		return // nobody writes yet
	}
	close(s.moved)
	s.moved = make(chan struct{})
}

// await returns when level 0 is low enough for another write, or with
// ErrStalled at the deadline.
func (s *stall) await(db *pebble.DB) error {
	if !s.check.Load() {
		return nil
	}
	deadline := time.NewTimer(s.wait)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		moved, closed := s.moved, s.closed
		s.mu.Unlock()
		s.check.Store(false)
		m := db.Metrics()
		sublevels := m.Levels[0].Sublevels
		if closed || sublevels < s.limit {
			return nil
		}
		s.check.Store(true)
		select {
		case <-moved:
		case <-deadline.C:
			return fmt.Errorf("%w: %d sublevels in level 0 after %v", ErrStalled, sublevels, s.wait)
		}
	}
}
