package sstable

import "sync"

// A Sequential reads a file forward, for one caller. It loads a large run of
// segments with one read of the file below and opens each when its bytes are
// asked for, straight into the caller's buffer; the segment on the border of
// two reads stays open for the second. So a caller that goes forward costs one
// load and one opening a segment, and a run that nobody goes on to read costs
// no opening at all. (To open whole runs ahead would cost a second copy.)
//
// A ReadAt elsewhere is exact, as of the Reader's own. Where the next one goes
// on from it, the run is loaded there.
//
// Methods exclude each other; there is nothing to gain from concurrent calls.
// Faults are those of the Reader and final for both.
type Sequential struct {
	r *Reader

	mu    sync.Mutex
	b     *buffer // nil until it is needed, and after Close
	run   []byte  // loaded segments, in b.sealed
	first int64   // index of the run's first segment
	count int64   // segments in the run
	edge  int64   // index of the segment in b.plain, or -1
	next  int64   // where the last ReadAt ended, or -1 before the first
	pos   int64   // where Read goes on
}

// NewSequential returns a forward reader of r. It works until r is closed; it
// has no file of its own.
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
		return q.r.giveUp(p[:n], done, failure)
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
			if err := q.loadRun(i); err != nil {
				return done, err
			}
		}
		c, err := q.openPart(p[done:], i, skip)
		if err != nil {
			return done, err
		}
		done += c
	}
	return done, nil
}

// loadRun loads the run that begins with segment i.
func (q *Sequential) loadRun(i int64) error {
	s := &q.r.shape
	q.count = 0 // a failed load leaves no run
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
	if q.b != nil {
		q.b.release()
	}
	q.b, q.run, q.count, q.edge, q.next = nil, nil, 0, -1, -1
	return nil
}
