package sstable

import (
	"sync"
	"sync/atomic"
)

// An ahead loads and opens a run of segments in a goroutine of its own, while
// its owner reads the run before it. Where another core is idle, a caller that
// goes forward waits neither for the file below nor for the cipher.
//
// The owner begins a run and then takes it, by turns. Where no goroutine has
// come to it by then, take gives up on it: the owner is quicker. A run that
// fails is nobody's fault yet: the owner, if it comes to the same bytes, reads
// them itself and says what is wrong.
type ahead struct {
	work   func()      // open, bound once, so that a begin does not allocate
	coming atomic.Bool // a goroutine is on its way, and has not looked at state yet
	state  atomic.Uint32
	done   chan struct{} // one token for each run that a goroutine has claimed

	// All below is the owner's, but a goroutine's while it has claimed the run.
	r            *Reader
	first, count int64     // the run: its first segment, and how many; count 0 is none
	plain        [2][]byte // of the run, and of the one that was taken before
	size         int       // of the run's plaintext
	err          error
}

// The states of an ahead.
const (
	idle    = iota // there is nothing to open
	begun          // nobody has claimed the run
	claimed        // a goroutine has
)

// aheads holds no state: what comes out of it is scratch, and wiped.
var aheads = sync.Pool{New: func() any {
	a := &ahead{done: make(chan struct{}, 1)}
	a.work = a.open
	return a
}}

// begin begins the run of n segments of r from the first on. None is begun.
func (a *ahead) begin(r *Reader, first, n int64) {
	a.r, a.first, a.count = r, first, n
	a.state.Store(begun)
	// One that is too late for an earlier run is in time for this one.
	if !a.coming.Swap(true) {
		go a.work()
	}
}

func (a *ahead) open() {
	a.coming.Store(false)
	if a.state.CompareAndSwap(begun, claimed) {
		a.size, a.err = a.openRun()
		a.done <- struct{}{}
	}
}

func (a *ahead) openRun() (size int, err error) {
	s := &a.r.shape
	b := takeBuffer(a.count*s.unit, 0)
	defer b.release()
	sealed, err := a.r.load(b.sealed, a.first, a.count)
	if err != nil {
		return 0, err
	}
	if most := s.run() * s.full; int64(len(a.plain[0])) < most {
		clear(a.plain[0])
		a.plain[0] = make([]byte, max(most, runLen)) // one size for nearly all
	}
	for k := range a.count {
		n, err := a.r.openPart(b, a.plain[0][size:size+int(s.full)], sealed[k*s.unit:], a.first+k, 0)
		if err != nil {
			return 0, err
		}
		size += n
	}
	return size, nil
}

// take ends the run that was begun, if any, and returns its plaintext, which
// stays until another run is taken. It is nil where nobody has come to the run,
// or it has failed.
func (a *ahead) take() []byte {
	if a.count == 0 {
		return nil
	}
	unclaimed := a.state.CompareAndSwap(begun, idle)
	if !unclaimed {
		<-a.done
		a.state.Store(idle)
	}
	a.count = 0
	if unclaimed || a.err != nil {
		return nil
	}
	a.plain[0], a.plain[1] = a.plain[1], a.plain[0]
	return a.plain[1][:a.size]
}

// release ends what was begun, and gives a back. The plaintext of a table must
// not outlive the table's lock in a pool.
func (a *ahead) release() {
	a.take()
	for k, p := range a.plain {
		clear(p)
		if len(p) > runLen {
			a.plain[k] = nil // of a unit that is longer than most files
		}
	}
	a.r, a.err = nil, nil
	aheads.Put(a)
}
