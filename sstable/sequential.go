package sstable

import "sync"

// A Sequential reads a file forward, for one caller. It loads a large run of
// segments with one read of the file below and opens each when its bytes are
// asked for, straight into the caller's buffer; the segment on the border of
// two reads stays open for the second. So a caller that goes forward costs one
// load and one opening a segment, and a run that nobody goes on to read costs
// no opening at all.
//
// A caller that goes from one run on to the next is taken at its word: the one
// behind that is loaded and opened by another goroutine meanwhile. That costs a
// copy more; where another core is idle it takes the file and the cipher out of
// the caller's way.
//
// A ReadAt elsewhere is exact, as of the Reader's own. Where the next one goes
// on from it, the run is loaded there.
//
// Methods exclude each other; there is nothing to gain from concurrent calls.
// Faults are those of the Reader and final for both; one that nobody has asked
// for is none yet.
type Sequential struct {
	r *Reader

	mu    sync.Mutex
	b     *buffer // nil until it is needed, and after Close
	run   []byte  // the run: sealed, in b.sealed, or nil
	plain []byte  // or its plaintext, opened by ahead, or nil
	first int64   // index of the run's first segment
	count int64   // segments in the run
	edge  int64   // index of the segment in b.plain, or -1
	ahead *ahead  // the next run; nil until it is needed, and after Close
	next  int64   // where the last ReadAt ended, or -1 before the first
	pos   int64   // where Read goes on
}

// NewSequential returns a forward reader of r. It works until r is closed, and
// is to be closed before; it has no file of its own.
func (r *Reader) NewSequential() *Sequential {
	return &Sequential{r: r, edge: -1, next: -1}
}

// ReadAt reads as [io.ReaderAt] does.
func (q *Sequential) ReadAt(p []byte, off int64) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.readAt(p, off)
}

// Read reads on from where the last Read ended, as [io.Reader] does. It fills
// p wherever the file has as much.
func (q *Sequential) Read(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, err := q.readAt(p, q.pos)
	q.pos += int64(n)
	if n > 0 {
		err = nil // the next Read tells
	}
	return n, err
}

func (q *Sequential) readAt(p []byte, off int64) (int, error) {
	n, err := q.r.clip(len(p), off)
	if n == 0 {
		return 0, err
	}
	ahead := q.follows(off)
	q.next = off + int64(n)
	if !ahead {
		return q.r.ReadAt(p, off)
	}
	done, failure := q.fill(p[:n], off)
	if failure != nil {
		// Perhaps for bytes that nobody has asked for: an exact read tells.
		m, failure := q.r.ReadAt(p[done:n], off+int64(done))
		if failure != nil {
			return q.r.giveUp(p[:n], done+m, failure)
		}
	}
	return n, err
}

// follows tells whether a read at off is one of the forward reads: the first,
// one that goes on from the last, or one at most a run behind the loaded one.
func (q *Sequential) follows(off int64) bool {
	s := &q.r.shape
	from, to := q.first*s.full, (q.first+q.count+s.run())*s.full
	return q.next < 0 || off == q.next || q.count > 0 && off >= from && off < to
}

func (q *Sequential) fill(p []byte, off int64) (done int, err error) {
	s := &q.r.shape
	if q.b == nil {
		q.b = takeBuffer(min(s.segments, s.run())*s.unit, s.full)
	}
	for done < len(p) {
		at := off + int64(done)
		i := at / s.full
		skip := at - i*s.full
		if i == q.edge {
			done += copy(p[done:], q.b.plain[skip:])
			continue
		}
		if i < q.first || i >= q.first+q.count {
			if err := q.nextRun(i); err != nil {
				return done, err
			}
		}
		if q.plain != nil {
			done += copy(p[done:], q.plain[at-q.first*s.full:])
			continue
		}
		c, err := q.openPart(p[done:], i, skip)
		if err != nil {
			return done, err
		}
		done += c
	}
	return done, nil
}

// nextRun makes the run current that begins with segment i, or that holds it
// and was opened ahead. Where that goes on from the run before, the one behind
// it is begun.
func (q *Sequential) nextRun(i int64) error {
	goesOn := q.count > 0 && i == q.first+q.count
	if !q.takeAhead(i) {
		if err := q.loadRun(i); err != nil {
			return err
		}
	}
	s := &q.r.shape
	first := q.first + q.count
	if n := min(s.segments-first, s.run()); goesOn && n > 0 {
		if q.ahead == nil {
			q.ahead = aheads.Get().(*ahead)
		}
		q.ahead.begin(q.r, first, n)
	}
	return nil
}

// takeAhead makes the run current that was begun, if it holds segment i and was
// opened; none is begun from then on.
func (q *Sequential) takeAhead(i int64) bool {
	if q.ahead == nil {
		return false
	}
	first, count := q.ahead.first, q.ahead.count
	q.plain, q.run, q.count = nil, nil, 0 // take invalidates it
	plain := q.ahead.take()
	if plain == nil || i < first || i >= first+count {
		return false
	}
	q.plain, q.first, q.count = plain, first, count
	return true
}

// loadRun loads the run that begins with segment i.
func (q *Sequential) loadRun(i int64) error {
	s := &q.r.shape
	q.plain, q.run, q.count = nil, nil, 0 // a failed load leaves no run
	n := min(s.segments-i, s.run())
	run, err := q.r.load(q.b.sealed, i, n)
	if err != nil {
		return err
	}
	q.run, q.first, q.count = run, i, n
	return nil
}

// openPart is the Reader's, but remembers which segment b.plain holds, and
// keeps b.plain at that segment's length.
func (q *Sequential) openPart(p []byte, i, skip int64) (int, error) {
	q.edge = -1
	q.b.wipe()
	c, err := q.r.openPart(q.b, p, q.run[(i-q.first)*q.r.shape.unit:], i, skip)
	if err == nil && len(q.b.plain) > 0 {
		q.edge = i
	}
	return c, err
}

// Close gives the memory of q back. The Reader stays open, and q too: its next
// read begins anew.
func (q *Sequential) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ahead != nil {
		q.ahead.release()
	}
	if q.b != nil {
		q.b.release()
	}
	q.b, q.ahead, q.run, q.plain, q.count, q.edge, q.next = nil, nil, nil, nil, 0, -1, -1
	return nil
}
