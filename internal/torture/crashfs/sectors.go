package crashfs

import "encoding/binary"

// sectors decides what is in the first n sectors of a file.
func (c *crash) sectors(of *content, p *plan, n int) vector {
	out := vector{top: of.dur.top}
	switch {
	case p.data == current && len(of.lost) == 0:
		return vector{top: of.cur.top}
	case p.data == durable && p.fill == zeros:
		return out
	}
	dirty, cut := 0, -1
	if p.cut {
		of.cur.differ(&of.dur, func(i int) {
			if i < n {
				dirty++
			}
		})
		if dirty > 0 {
			cut, dirty = c.rng.IntN(dirty), 0
		}
	}
	of.cur.differ(&of.dur, func(i int) {
		if i >= n {
			return
		}
		var s *sector
		switch {
		case cut < 0:
			s = c.sector(of, p, i)
		case of.lost[i] || dirty > cut:
			s = c.unkept(of, p, i)
		case dirty == cut:
			s = c.torn(of, p, i, of.cur.at(i))
		default:
			s = of.cur.at(i)
		}
		dirty++
		if s != out.at(i) {
			out.set(i, s)
		}
	})
	return out
}

// sector decides what is in a dirty sector.
func (c *crash) sector(of *content, p *plan, i int) *sector {
	last := of.cur.at(i)
	switch {
	case p.data == anything:
		if c.rng.IntN(100) >= p.keep {
			break
		}
		s := last
		if s.prev != nil && c.rng.IntN(3) == 0 {
			s = c.version(s)
		}
		if c.rng.IntN(100) < p.tear {
			s = c.torn(of, p, i, s)
		}
		return s
	case of.lost[i]: // what is clean is not written
	case p.data == current, p.data == from && last.op >= p.at:
		return last
	case p.data == upTo:
		for s := last; s != nil; s = s.prev {
			if s.op <= p.at {
				return s
			}
		}
	}
	return c.unkept(of, p, i)
}

// version draws a version of a sector that is not durable.
func (c *crash) version(last *sector) *sector {
	n := 0
	for s := last; s != nil; s = s.prev {
		n++
	}
	for range c.rng.IntN(n) {
		last = last.prev
	}
	return last
}

// unkept is what a dirty sector holds if none of its writes has reached the
// disk.
func (c *crash) unkept(of *content, p *plan, i int) *sector {
	if s := of.dur.at(i); s != nil {
		return s
	}
	fill := p.fill
	if fill == patchy {
		fill = filling(c.rng.IntN(int(patchy)))
	}
	switch fill {
	case garbage:
		return c.noise()
	case stale:
		return c.remnant()
	}
	return nil
}

// torn is a sector that begins as s and ends as a version before it.
func (c *crash) torn(of *content, p *plan, i int, s *sector) *sector {
	old := c.unkept(of, p, i)
	if s.prev != nil && c.rng.IntN(2) == 0 {
		old = c.version(s.prev)
	}
	if old == nil {
		old = new(sector)
	}
	first, last := 0, sectorLen-1
	for first < last && s.data[first] == old.data[first] {
		first++
	}
	for first < last && s.data[last] == old.data[last] {
		last--
	}
	if first == last {
		return s // a byte is written whole
	}
	t := &sector{data: old.data}
	copy(t.data[:first+1+c.rng.IntN(last-first)], s.data[:])
	return t
}

// noise is a sector of random bytes.
func (c *crash) noise() *sector {
	// A few do for a whole disk.
	if len(c.garbage) == 8 {
		return c.garbage[c.rng.IntN(len(c.garbage))]
	}
	s := new(sector)
	for i := 0; i < sectorLen; i += 8 {
		binary.LittleEndian.PutUint64(s.data[i:], c.rng.Uint64())
	}
	c.garbage = append(c.garbage, s)
	return s
}

// remnant is a sector of a file that is gone for good.
func (c *crash) remnant() *sector {
	if len(c.fs.freed) == 0 {
		return c.noise()
	}
	g := c.fs.freed[c.rng.IntN(len(c.fs.freed))]
	return g.sectors[c.rng.IntN(len(g.sectors))]
}
