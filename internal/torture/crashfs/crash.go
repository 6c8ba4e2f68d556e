package crashfs

import "math/rand/v2"

// A crash is the making of a state that a crash may leave.
type crash struct {
	m       *Moment
	rng     *rand.Rand
	style   Style
	plan    plan // of the style, unless that is Mixed
	picks   map[*node][]*link
	fs      *FS
	made    map[*inode]*inode
	garbage []*sector
}

// Crash returns a state that a crash at this Moment may leave, as a FS of its
// own with no operations yet, in which all is durable. Equal Moments and equal
// random sources make equal states; only SyncedOnly and AllKept take a nil
// source.
func (m *Moment) Crash(rng *rand.Rand, s Style) *FS {
	c := &crash{m: m, rng: rng, style: s, made: make(map[*inode]*inode, len(m.nodes))}
	if s != Mixed {
		c.plan = s.plan(rng, m)
	}
	c.pickNames()
	c.fs = New(m.opts)
	c.fs.capacity = m.capacity
	for _, g := range m.freed {
		if m.nodes[g.ino] == nil { // no crash brings it back
			c.fs.freed = append(c.fs.freed, g)
		}
	}
	c.dir(c.fs.root, m.nodes[m.root])
	return c.fs
}

// next is the plan for the next file or directory.
func (c *crash) next() plan {
	if c.style == Mixed {
		return c.style.plan(c.rng, c.m)
	}
	return c.plan
}

// pickNames decides what each name that is not durable means.
func (c *crash) pickNames() {
	if len(c.m.pending) == 0 || c.style == SyncedOnly {
		return
	}
	c.picks = make(map[*node][]*link, len(c.m.pending))
	for _, d := range c.m.pending {
		p := c.next()
		picks := make([]*link, len(d.ents))
		for i := range d.ents {
			picks[i] = c.pickName(&d.ents[i], &p)
		}
		c.picks[d] = picks
	}
	if p := &c.plan; c.style != Mixed && (p.names == current || p.names == durable || p.names == upTo) {
		return // what is needed is there
	}
	c.meetNeeds(c.rng.IntN(2) == 0)
}

func (c *crash) pickName(e *dirent, p *plan) *link {
	if !e.pending() {
		return e.cur
	}
	switch p.names {
	case current:
		return e.cur
	case from:
		if e.cur.op >= p.at {
			return e.cur
		}
	case upTo:
		for l := e.cur; l != e.dur && l != nil; l = l.prev {
			if l.op <= p.at {
				return l
			}
		}
	case anything:
		n := 0
		e.versions(func(*link) { n++ })
		pick, n := e.dur, c.rng.IntN(n)
		e.versions(func(l *link) {
			if n == 0 {
				pick = l
			}
			n--
		})
		return pick
	}
	return e.dur
}

// meetNeeds keeps more names, or fewer, until each that is kept has what it
// needs. Either way it comes to an end: at the latest when all are kept, or
// none.
func (c *crash) meetNeeds(more bool) {
	for again := true; again; {
		again = false
		for _, d := range c.m.pending {
			for i := range d.ents {
				e := &d.ents[i]
				for l := c.picks[d][i]; l != e.dur; l = e.before(l) {
					for _, n := range l.needs {
						if c.met(n, more) {
							continue
						}
						again = true
						if !more {
							c.picks[d][i] = e.before(l)
						}
					}
				}
			}
		}
	}
}

// met tells whether a need is met. If raise, it sees to it for the next time.
func (c *crash) met(n need, raise bool) bool {
	d := c.m.nodes[n.dir]
	if d == nil || c.picks[d] == nil {
		return true // no longer reached, or all durable
	}
	i, ok := findDirent(d.ents, n.name)
	if !ok {
		return true
	}
	e, pick := &d.ents[i], c.picks[d][i]
	to := e.reach(pick, n.op)
	if to == pick {
		return true
	}
	if raise {
		c.picks[d][i] = to
	}
	return false
}

// dir fills a directory with what was picked.
func (c *crash) dir(ino *inode, n *node) {
	ino.mode, ino.mtime = n.mode, n.mtime
	ino.ents = make([]dirent, 0, len(n.ents))
	picks := c.picks[n]
	for i := range n.ents {
		e := &n.ents[i]
		l := e.dur
		if picks != nil {
			l = picks[i]
		}
		if l == nil || l.ino == nil {
			continue
		}
		child := c.inode(l.ino)
		child.links++
		if child.isDir() {
			child.parent, child.name = ino, e.name
		}
		to := &link{ino: child}
		ino.ents = append(ino.ents, dirent{name: e.name, cur: to, dur: to})
	}
}

// inode makes an inode, once.
func (c *crash) inode(of *inode) *inode {
	if ino := c.made[of]; ino != nil {
		return ino
	}
	n := c.m.nodes[of]
	ino := &inode{mode: n.mode, mtime: n.mtime}
	c.made[of] = ino
	if n.isDir() {
		c.dir(ino, n)
	} else {
		ino.content = c.content(&n.content)
	}
	c.fs.used += ino.space()
	return ino
}

// content decides what is left of a file.
func (c *crash) content(of *content) content {
	p := c.next()
	if of.since == 0 && len(of.lost) == 0 {
		return content{cur: of.dur, dur: of.dur, size: of.size, durSize: of.size, reserved: of.reserved, durReserved: of.reserved}
	}
	var d content
	d.size, d.reserved = c.length(of, &p)
	d.cur = c.sectors(of, &p, sectors(d.size))
	d.cur.cut(sectors(d.size))
	clearTail(&d.cur, d.size)
	d.dur, d.durSize, d.durReserved = d.cur.share(), d.size, d.reserved
	return d
}

// length decides how long a file is, and what it has preallocated.
func (c *crash) length(of *content, p *plan) (size, reserved int64) {
	switch p.length {
	case current:
		return of.size, of.reserved
	case upTo:
		for i := len(of.grown) - 1; i >= 0; i-- {
			if of.grown[i].op <= p.at {
				return of.grown[i].size, of.durReserved
			}
		}
	case from:
		if n := len(of.grown); n > 0 && of.grown[n-1].op >= p.at {
			return of.size, of.durReserved
		}
	case anything:
		reserved = of.durReserved
		if c.rng.IntN(2) == 0 {
			reserved = of.reserved
		}
		if len(of.grown) == 0 {
			return of.size, reserved
		}
		switch c.rng.IntN(4) {
		case 0:
			return of.size, reserved
		case 1:
			return of.grown[c.rng.IntN(len(of.grown))].size, reserved
		case 2:
			// The disk may have been told of any sector in between.
			at := of.durSize/sectorLen + 1
			at += c.rng.Int64N(of.size/sectorLen - at + 2)
			return min(at*sectorLen, of.size), reserved
		}
		return of.durSize, reserved
	}
	return of.durSize, of.durReserved
}

// clearTail zeroes what is in the last sector beyond the end of the file.
func clearTail(v *vector, size int64) {
	end := int(size % sectorLen)
	if end == 0 {
		return
	}
	i := int(size / sectorLen)
	s := v.at(i)
	if s == nil || s.data == [sectorLen]byte{} {
		return
	}
	t := &sector{data: s.data}
	clear(t.data[end:])
	if t.data != s.data {
		v.set(i, t)
	}
}
