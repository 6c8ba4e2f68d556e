package audit

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// CallBounds are the upper bounds of the buckets of CallStats.Buckets, but for the
// last, which has none.
var CallBounds = [...]time.Duration{
	time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond,
	300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second,
}

// CallStats count the calls of one operation to one root key with one outcome, since
// the store was opened: what a program hands to its metrics.
type CallStats struct {
	Key       string        `json:"key"`       // URI of the root key
	Event     string        `json:"event"`     // EventWrap, EventUnwrap, …
	ErrorCode string        `json:"errorCode"` // as in records; "" where the call succeeded
	Count     uint64        `json:"count"`
	Elapsed   time.Duration `json:"elapsed_ns"` // of all of them together, the service's own time
	// Buckets count the calls that took no longer than CallBounds, and longer than the
	// bound before; the last is of those that took longer than all.
	Buckets [len(CallBounds) + 1]uint64 `json:"buckets"`
}

type callKind struct{ key, event, code string }

// calls are the statistics of a Log. The zero value is ready.
type calls struct {
	mu sync.Mutex
	by map[callKind]*CallStats // guarded by mu
}

// add counts a call that began at a time.
func (c *calls) add(key, event string, begun time.Time, err error) {
	took := time.Since(begun)
	kind := callKind{key, event, ErrorCode(err)}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.by[kind]
	if s == nil {
		if c.by == nil {
			c.by = make(map[callKind]*CallStats)
		}
		s = &CallStats{Key: key, Event: event, ErrorCode: kind.code}
		c.by[kind] = s
	}
	s.Count++
	s.Elapsed += took
	at, _ := slices.BinarySearch(CallBounds[:], took)
	s.Buckets[at]++
}

// Calls are the statistics of the calls to all root keys, by key, event and code.
func (l *Log) Calls() []CallStats {
	l.calls.mu.Lock()
	defer l.calls.mu.Unlock()
	list := make([]CallStats, 0, len(l.calls.by))
	for _, s := range l.calls.by {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b CallStats) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Event, b.Event), cmp.Compare(a.ErrorCode, b.ErrorCode))
	})
	return list
}
