package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/cofredb/cofre/bench/system"
)

// A client does one operation after another. A row is written by one client
// only, so that what it acknowledged last is what must be there.
type client struct {
	turn       *Turn
	number, of int // this one, of how many
	rng        *rand.Rand
	newest     uint64 // the next row that it inserts; they are of apart
	list       []op   // of the slice that was drawn last
	drawn      int
	apart      []uint64 // rows that are still to be read, where no block is read twice

	latency *hdrhistogram.Histogram
	phases  [phases + 1]*hdrhistogram.Histogram // nil where nothing happens beside
	trace   *trace
	ops     int64 // of the last slice, as all below
	bytes   int64
	stopped bool
	err     error

	key, value []byte // buffers
}

type opKind uint8

const (
	opRead opKind = iota
	opScan
	opUpdate
	opInsert
	opModify
)

type op struct {
	kind opKind
	n    uint8 // rows of a scan
	row  uint64
}

// draw chooses the operations of slice k.
func (c *client) draw(t *Turn, k int) {
	m, z := t.w.Mix, newZipf(zipfConstant)
	if m.Apart && c.drawn < 0 {
		c.apart = t.apart()
	}
	c.drawn, c.list = k, c.list[:0]
	for range t.ops / t.w.slices() / c.of {
		c.list = append(c.list, c.next(m, z))
	}
}

func (c *client) next(m *Mix, z *zipf) op {
	p := c.rng.Float64()
	if m.Split { // the first half of the clients writes
		if p *= m.Read; c.number < c.of/2 {
			p += m.Read
		}
	}
	is := func(share float64) bool {
		p -= share
		return p < 0
	}
	switch {
	case is(m.Read):
		return op{kind: opRead, row: c.choose(m, z)}
	case is(m.Missing):
		return op{kind: opRead, row: uint64(len(c.turn.model.versions)) + c.rng.Uint64N(1<<40)}
	case is(m.Seek):
		return op{kind: opScan, n: SeekLen, row: c.choose(m, z)}
	case is(m.Scan):
		return op{kind: opScan, n: uint8(1 + c.rng.IntN(MaxScan)), row: c.choose(m, z)}
	case is(m.Update):
		return op{kind: opUpdate, row: c.own(c.choose(m, z))}
	case is(m.Modify):
		return op{kind: opModify, row: c.own(c.choose(m, z))}
	}
	row := c.newest
	c.newest += uint64(c.of)
	return op{kind: opInsert, row: row}
}

// choose draws a row that is there when its operation comes.
func (c *client) choose(m *Mix, z *zipf) uint64 {
	rows := c.turn.rows
	switch {
	case m.Apart:
		row := c.apart[0]
		c.apart = c.apart[1:]
		return row
	case m.Keys == Zipfian:
		return z.rank(c.rng, rows)
	case m.Keys == Latest:
		// The newest are those that this client inserted: of the others' it is not
		// known whether they are there yet.
		own := (c.newest - rows) / uint64(c.of)
		if r := z.rank(c.rng, rows+own); r < own {
			return c.newest - (r+1)*uint64(c.of)
		} else {
			return rows - 1 - (r - own)
		}
	}
	end := c.turn.warmEnd()
	for {
		if row := c.rng.Uint64N(rows); c.turn.data.hash(row) <= end {
			return row
		}
	}
}

// own is a row near the given one that this client may write.
func (c *client) own(row uint64) uint64 {
	of := uint64(c.of)
	if row += uint64(c.number) - row%of; row >= c.turn.rows {
		row -= of
	}
	return row
}

// apart are rows that lie evenly over the order of keys, in random order.
func (t *Turn) apart() []uint64 {
	first := make([]uint64, t.ops) // by place; row+1
	for i := range t.rows {
		if p := int(t.data.hash(i) / (^uint64(0)/uint64(t.ops) + 1)); first[p] == 0 {
			first[p] = i + 1
		}
	}
	rows := first[:0]
	for _, r := range first {
		if r > 0 {
			rows = append(rows, r-1)
		}
	}
	rng := rand.New(rand.NewPCG(t.seed, 1))
	rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	for len(rows) < t.ops { // places without a row: the last ones are read twice
		rows = append(rows, rows[len(rows)-1])
	}
	return rows
}

// run does the operations that were drawn. The end of one is the start of the
// next: what the client itself does in between, to make and to check a value, is
// in the latency, and the same for every system.
func (c *client) run(s system.System, began, deadline time.Time, stop *atomic.Bool) {
	t := c.turn
	last, moment := time.Now(), t.moment.Load()
	for n, o := range c.list {
		if c.err = c.do(s, o); c.err != nil {
			stop.Store(true)
			return
		}
		c.ops++
		now := time.Now()
		d := now.Sub(last)
		record(c.latency, d)
		if c.trace != nil {
			c.trace.add(now.Sub(began), d)
		}
		if t.w.Events != 0 {
			before := moment
			moment = t.moment.Load()
			c.phase(n, d, before, moment)
		}
		last = now
		if n%16 == 0 && (stop.Load() || now.After(deadline)) {
			c.stopped = true
			return
		}
	}
}

func (c *client) do(s system.System, o op) (err error) {
	c.key = c.turn.data.AppendKey(c.key[:0], o.row)
	switch o.kind {
	case opRead:
		return c.read(s, o.row)
	case opScan:
		return c.scan(s, o.row, int(o.n))
	case opModify:
		if err := c.read(s, o.row); err != nil {
			return err
		}
	}
	m := c.turn.model
	version := m.acknowledged(o.row) + 1
	c.value = c.turn.data.AppendValue(c.value[:0], o.row, version)
	c.bytes += int64(len(c.key) + len(c.value))
	if err = s.Put(c.key, c.value); err == nil {
		m.versions[o.row].Store(version)
	}
	return err
}

func (c *client) read(s system.System, row uint64) error {
	before := c.turn.model.acknowledged(row)
	value, found, err := s.AppendGet(c.value[:0], c.key)
	if err != nil {
		return err
	}
	c.value = value
	return c.turn.model.checkRead(row, before, value, found)
}

// scan reads n rows from a row on, which is loaded. Of the loaded rows it must
// meet each; inserted ones may lie between them.
func (c *client) scan(s system.System, row uint64, n int) error {
	t := c.turn
	var fault error
	got, last := 0, uint64(0)
	next, _ := slices.BinarySearch(t.order, t.data.hash(row))
	err := s.Scan(c.key, false, func(key, value []byte) bool {
		i, ok := t.data.Index(key)
		h := t.data.hash(i)
		switch {
		case !ok || h < t.data.hash(row) || got > 0 && h <= last:
			fault = fmt.Errorf("a scan came to %q, out of order or never written", key)
			return false
		case i < t.rows && (next == len(t.order) || h != t.order[next]):
			fault = fmt.Errorf("a scan came to %q, and has left a row out", key)
			return false
		case i < t.rows:
			next++
		}
		fault = t.model.checkRead(i, t.model.acknowledged(i), value, true)
		got, last = got+1, h
		return fault == nil && got < n
	})
	if err = errors.Join(err, fault); err == nil && got < n && next < len(t.order) {
		err = fmt.Errorf("a scan of %d rows ended after %d, and there are more", n, got)
	}
	return err
}

// A turn in which something happens beside the operations has three phases of
// as many operations each; it happens in the second. Those operations of the second
// that an event ran beside are counted once more, as a fourth.
const (
	phases = 3
	beside = phases
)

// overlaps tells whether an event ran between two moments: they are odd while one does.
func overlaps(from, to uint64) bool { return from != to || from%2 == 1 }

// phase counts operation n in its phase.
func (c *client) phase(n int, d time.Duration, from, to uint64) {
	p := n * phases / len(c.list)
	if c.number == 0 {
		c.turn.phase.Store(int32(p))
	}
	c.count(p, d)
	if p == 1 && overlaps(from, to) {
		c.count(beside, d)
	}
}

func (c *client) count(p int, d time.Duration) {
	if c.phases[p] == nil {
		c.phases[p] = newHistogram()
	}
	record(c.phases[p], d)
}

// eventPause is the time from one event to the next, or what an event takes if that
// is longer.
const eventPause = time.Second

// rotate makes the events, until done is closed.
func (t *Turn) rotate(ctx context.Context, s system.System, done <-chan struct{}) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last time.Time
	for {
		select {
		case <-done:
			return nil
		case <-tick.C:
		}
		if t.phase.Load() != 1 || time.Since(last) < eventPause {
			continue
		}
		start, name := time.Now(), "root key rotated"
		t.moment.Add(1)
		var err error
		if t.w.Events == RotateRoot {
			err = s.(system.RootRotator).RotateRoot(ctx)
		} else {
			name = "table key rotated"
			err = s.(system.KeyRotator).RotateTableKey(ctx)
		}
		t.moment.Add(1)
		if err != nil {
			return err
		}
		last = start
		t.events = append(t.events, Happened{At: start.Sub(t.started), Took: time.Since(start), Name: name})
	}
}

// Phases are the latencies before, during and after the events, and of what an event
// ran beside; nil without.
func (t *Turn) Phases() []*hdrhistogram.Histogram {
	if t.w.Events == 0 {
		return nil
	}
	out := make([]*hdrhistogram.Histogram, phases+1)
	for p := range out {
		out[p] = newHistogram()
		for _, c := range t.clients {
			if c.phases[p] != nil {
				out[p].Merge(c.phases[p])
			}
		}
	}
	return out
}
