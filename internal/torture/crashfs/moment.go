package crashfs

import "math/rand/v2"

// A Moment is a FS as it was after a mutation: what is on the disk, what is
// only in memory, and so every state that a crash then may leave. It does not
// change, and is safe for concurrent use.
type Moment struct {
	opts     Options
	op       int
	capacity int64
	root     *inode
	nodes    map[*inode]*node
	pending  []*node // directories with names that are not durable
	freed    []grave
	oldest   int // the first mutation that is not durable; op+1 if all are
}

// Moment captures the FS as it is. It takes time for each file, and none for
// what is in them.
func (fs *FS) Moment() *Moment {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.moment()
}

// CaptureAt has the FS captured right after the mutations of the given numbers,
// while the run goes on. Captured returns the Moments.
func (fs *FS) CaptureAt(ops ...int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.capture == nil {
		fs.capture = make(map[int]bool)
	}
	for _, n := range ops {
		fs.capture[n] = true
	}
}

// Captured returns what CaptureAt has captured so far, in order.
func (fs *FS) Captured() []*Moment {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	return append([]*Moment(nil), fs.captured...)
}

// Crash is Moment().Crash(rng, s).
func (fs *FS) Crash(rng *rand.Rand, s Style) *FS { return fs.Moment().Crash(rng, s) }

// Op is the number of mutations before the Moment.
func (m *Moment) Op() int { return m.op }

func (fs *FS) moment() *Moment {
	m := &Moment{
		opts: fs.opts, op: fs.ops, capacity: fs.capacity, root: fs.root, freed: fs.freed,
		nodes: make(map[*inode]*node), oldest: fs.ops + 1,
	}
	m.visit(fs.root)
	return m
}

// visit captures an inode and all that a crash may find below it.
func (m *Moment) visit(ino *inode) {
	if m.nodes[ino] != nil {
		return
	}
	n := ino.freeze()
	m.nodes[ino] = n
	if n.content.since > 0 {
		m.oldest = min(m.oldest, n.content.since)
	}
	if n.pending {
		m.pending = append(m.pending, n)
	}
	for i := range n.ents {
		e := &n.ents[i]
		e.versions(func(l *link) {
			if l != e.dur {
				m.oldest = min(m.oldest, l.op)
			}
			if l != nil && l.ino != nil {
				m.visit(l.ino)
			}
		})
	}
}
