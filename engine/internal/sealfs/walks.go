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
// file that begins to be walked takes the place of one that has rested. Where
// more are walked at once, the first keep their places and the others are read
// piece by piece: taking turns, each would begin anew every time. Nobody waits
// for one that is in use.
type walks struct {
	clock atomic.Uint64 // counts the reads that wanted to walk
	slots [maxWalks]walkSlot
}

// restsAfter is after how many reads of others a walk rests: a level of which a
// merge takes a block for every dozen of another's is still walked.
const restsAfter = 16 * maxWalks

type walkSlot struct {
	of   atomic.Pointer[tableReader] // changed with mu held
	used atomic.Uint64               // the clock when it was last used
	mu   sync.Mutex
	w    sstable.Walk // guarded by mu
}

// readAt reads a piece that goes on from the last, which was from, to; false
// means that no walk is to be had.
func (ws *walks) readAt(t *tableReader, p []byte, off, from, to int64) (n int, err error, ok bool) {
	now := ws.clock.Add(1)
	s := ws.slot(t, now)
	if s == nil {
		return 0, nil, false
	}
	fresh := s.of.Load() != t
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
	s.used.Store(now)
	n, err = s.w.ReadAt(p, off)
	return n, err, true
}

// slot is the file's place, or else the one that has rested longest; nil if all
// are in use.
func (ws *walks) slot(t *tableReader, now uint64) *walkSlot {
	var rested *walkSlot
	for i := range ws.slots {
		s := &ws.slots[i]
		of, used := s.of.Load(), s.used.Load()
		switch {
		case of == t:
			return s
		case of != nil && used+restsAfter > now:
		case rested == nil || used < rested.used.Load():
			rested = s
		}
	}
	return rested
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
				s.used.Store(0) // free: the first to be taken
			}
			s.mu.Unlock()
		}
	}
}
