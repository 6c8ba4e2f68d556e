package sealfs

import (
	"sync"
	"sync/atomic"

	"github.com/cofredb/cofre/sstable"
)

// maxWalks is how many files of a table are walked at once: a scan walks one a
// level, and most tables have hardly more than one level that is not in memory.
const maxWalks = 4

// walks notices that reads of a file go on from each other, up or down, and
// reads ahead of them. Pebble asks the system to read ahead where it goes up;
// where it goes down nobody does, and each block costs a read of its own and
// opens again what it shares with the last.
//
// There are a few for all files of a table, so that their memory is bounded: a
// file that begins to be walked takes the place of another. Nobody waits for
// one that is in use.
type walks struct {
	next  atomic.Uint32
	slots [maxWalks]walkSlot
}

type walkSlot struct {
	of atomic.Pointer[tableReader] // changed with mu held
	mu sync.Mutex
	w  sstable.Walk // guarded by mu
}

// readAt reads a piece that goes on from the last, which was from, to; false
// means that no walk is to be had.
func (ws *walks) readAt(t *tableReader, p []byte, off, from, to int64) (n int, err error, ok bool) {
	var s *walkSlot
	for i := range ws.slots {
		if ws.slots[i].of.Load() == t {
			s = &ws.slots[i]
		}
	}
	fresh := s == nil
	if fresh {
		s = &ws.slots[ws.next.Add(1)%maxWalks]
	}
	if !s.mu.TryLock() {
		return 0, nil, false
	}
	defer s.mu.Unlock()
	if s.of.Load() != t {
		if !fresh {
			return 0, nil, false // another has taken it just now
		}
		s.of.Store(t)
		s.w.Begin(t.r, from, to)
	}
	n, err = s.w.ReadAt(p, off)
	return n, err, true
}

// end ends the walks of a file that closes.
func (ws *walks) end(t *tableReader) {
	for i := range ws.slots {
		s := &ws.slots[i]
		if s.of.Load() == t {
			s.mu.Lock()
			if s.of.Load() == t {
				s.w.End()
				s.of.Store(nil)
			}
			s.mu.Unlock()
		}
	}
}
