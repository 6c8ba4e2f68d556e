package crashfs

import "maps"

// The content of a file: what is read, what is durable, and in between all
// that a crash may find. A sector is dirty where cur and dur hold different
// ones. A crash may find there the durable sector, or the current one, or any
// that the prev pointers lead to from it.
type content struct {
	cur, dur      vector
	size, durSize int64
	// grown is how the size came from durSize to size, oldest first. It is
	// only appended to or replaced, so copies may share it.
	grown []growth
	// reserved is up to where space was allocated in advance.
	reserved, durReserved int64
	// lost are the dirty sectors that a failed sync has marked clean: no later
	// sync writes them. It is never changed in place.
	lost map[int]bool
	// since is the first mutation that is not durable; 0 is none.
	since int
}

type growth struct {
	op   int
	size int64
}

// share copies the content. It changes c's owners only.
func (c *content) share() content {
	d := *c
	d.cur, d.dur = c.cur.share(), c.dur.share()
	d.grown = c.grown[:len(c.grown):len(c.grown)]
	return d
}

// sectors is the number of sectors that n bytes take.
func sectors(n int64) int { return int((n + sectorLen - 1) / sectorLen) }

func (c *content) readAt(p []byte, off int64) int {
	if off >= c.size {
		return 0
	}
	p = p[:min(int64(len(p)), c.size-off)]
	for n := 0; n < len(p); {
		at := off + int64(n)
		from := int(at % sectorLen)
		k := min(sectorLen-from, len(p)-n)
		if s := c.cur.at(int(at / sectorLen)); s != nil {
			copy(p[n:n+k], s.data[from:])
		} else {
			clear(p[n : n+k])
		}
		n += k
	}
	return len(p)
}

func (c *content) write(p []byte, off int64, op int) {
	if len(p) == 0 {
		return
	}
	end := off + int64(len(p))
	first := int(off / sectorLen)
	made := make([]sector, sectors(end)-first)
	for k := range made {
		i, s := first+k, &made[k]
		start := int64(i) * sectorLen
		lo, hi := max(off-start, 0), min(end-start, sectorLen)
		old := c.cur.at(i)
		if old != nil && (lo > 0 || hi < sectorLen) {
			s.data = old.data
		}
		copy(s.data[lo:hi], p[start+lo-off:])
		s.op = op
		if old != c.dur.at(i) {
			s.prev = old
		}
		c.cur.set(i, s)
		if c.lost[i] {
			c.lost = maps.Clone(c.lost)
			delete(c.lost, i)
		}
	}
	if end > c.size {
		c.size = end
		c.grown = append(c.grown, growth{op, end})
	}
	c.changed(op)
}

func (c *content) reserve(end int64, op int) {
	if end > c.reserved {
		c.reserved = end
		c.changed(op)
	}
}

func (c *content) changed(op int) {
	if c.since == 0 {
		c.since = op
	}
}

// sync makes all durable but what is lost.
func (c *content) sync() {
	if len(c.lost) == 0 {
		c.dur = c.cur.share()
	} else {
		// The loop reads both; so the changes go to a copy.
		dur := c.dur.share()
		c.cur.differ(&c.dur, func(i int) {
			if !c.lost[i] {
				dur.set(i, c.cur.at(i))
			}
		})
		c.dur = dur
	}
	c.durSize, c.durReserved = c.size, c.reserved
	c.grown, c.since = nil, 0
}

// lose is a sync that fails and leaves the pages clean: they can be read, and
// no later sync writes them.
func (c *content) lose() {
	lost := make(map[int]bool)
	c.cur.differ(&c.dur, func(i int) { lost[i] = true })
	c.lost = lost
}

// space is what the content takes on the disk, in bytes.
func (c *content) space() int64 { return int64(sectors(max(c.size, c.reserved))) * sectorLen }
