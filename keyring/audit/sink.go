package audit

import (
	"log/slog"
	"sync"
)

// maxQueued is how many records wait for a sink that is slow.
const maxQueued = 4096

// A queue hands records to a sink, in order, from a goroutine of its own: the sink
// may use the store, whose locks may be held where a record is made.
type queue struct {
	sink func(Record)
	log  *slog.Logger
	done chan struct{}

	mu      sync.Mutex // guards all below
	wake    *sync.Cond
	records []Record
	closed  bool
	lost    int
}

func newQueue(sink func(Record), log *slog.Logger) *queue {
	q := &queue{sink: sink, log: log, done: make(chan struct{})}
	q.wake = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// put adds a record. Where the sink is maxQueued records behind, it does not hear
// of this one.
func (q *queue) put(r Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if len(q.records) >= maxQueued {
		if q.lost++; q.lost == 1 {
			q.log.Warn("audit: the sink is too slow: it misses records, which the log has", "from", r.Seq)
		}
		return
	}
	q.lost = 0
	q.records = append(q.records, r)
	q.wake.Signal()
}

func (q *queue) run() {
	defer close(q.done)
	for {
		q.mu.Lock()
		for len(q.records) == 0 && !q.closed {
			q.wake.Wait()
		}
		rs := q.records
		q.records = nil
		q.mu.Unlock()
		if len(rs) == 0 {
			return
		}
		for _, r := range rs {
			q.sink(r)
		}
	}
}

// close returns when the sink has heard all that was put.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.wake.Signal()
	q.mu.Unlock()
	<-q.done
}
