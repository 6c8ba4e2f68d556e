package engine

import (
	"fmt"
	"iter"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// An Entry is a key and its value. A scan's entries are valid until the loop's
// next step, or its end: then their memory is used again. What is kept longer is
// to be cloned.
type Entry struct{ Key, Value []byte }

// ScanOptions choose what a scan visits. The zero value is the whole table in
// key order.
type ScanOptions struct {
	Prefix   []byte // only keys that begin so
	From, To []byte // only keys from From, inclusive, to To, exclusive
	Reverse  bool   // from the last key to the first
	Limit    int    // at most so many entries; 0 is all
	KeysOnly bool   // Entry.Value stays nil, and values are not read
}

// bounds are the narrowest that the options name.
func (o *ScanOptions) bounds() (lower, upper []byte) {
	lower, upper = o.From, o.To
	if len(o.Prefix) > 0 {
		if string(o.Prefix) > string(lower) {
			lower = o.Prefix
		}
		if end := prefixEnd(o.Prefix); end != nil && (upper == nil || string(end) < string(upper)) {
			upper = end
		}
	}
	return lower, upper
}

// prefixEnd is the first key after all those that begin with prefix, or nil if
// there is none.
func prefixEnd(prefix []byte) []byte {
	for n := len(prefix); n > 0; n-- {
		if prefix[n-1] != 0xff {
			end := append([]byte(nil), prefix[:n]...)
			end[n-1]++
			return end
		}
	}
	return nil
}

// Scan visits the entries that opts choose, at the point in time at which the
// loop begins. An error is the last thing the loop gets. Leaving the loop
// frees what it holds.
//
//	for e, err := range table.Scan(engine.ScanOptions{Prefix: []byte("patient/")}) {
//		if err != nil {
//			return err
//		}
//		use(e.Key, e.Value)
//	}
func (t *Table) Scan(opts ScanOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			i, err := t.use()
			if err != nil {
				yield(Entry{}, err)
				return
			}
			c, err := i.newCursor(i.db, opts)
			i.leave() // the loop's body may run for ever, and a close must not wait for it
			if err == errLeft {
				continue // the table closes, and opens again on this use
			}
			i.scan(c, err, yield)
			return
		}
	}
}

// errLeft says that an instance closes, and nothing begins in it.
var errLeft = fmt.Errorf("%w: the instance has begun to close", ErrClosed)

// A cursor reads ahead of a scan, a run of entries at a time, into memory of
// its own. Between runs it holds no lock, so that closing the table can end a
// scan whose loop takes its time; and what the loop holds is never Pebble's
// memory, so that ending it is safe and what the loop does to it harms nobody. A
// run is a thirty-second of what was read before, and two entries more: a scan
// that stops early has read little in vain, and one that wants but one entry has
// a limit.
type cursor struct {
	opts ScanOptions
	iter pebble.IterOptions // in here, for they would be allocated elsewhere

	mu   sync.Mutex
	it   *pebble.Iterator // nil once ended; guarded by mu
	err  error            // why it ended; guarded by mu
	left int              // entries to Limit, or -1

	buf  []byte // of the run
	ends []int  // of keys and values in buf, in turn
	most int    // how much of buf has been used

	prev, next *cursor // in the instance's list, whose lock guards them
}

const (
	maxEntries = 256
	runBytes   = 64 << 10
	// pooledBytes is the largest buffer that is pooled: a scan of large values
	// does not leave its memory to scans of small ones.
	pooledBytes = 4 * runBytes
)

// cursors holds no state: what comes out of it is empty. Short scans would spend
// more on making one than on reading.
var cursors = sync.Pool{New: func() any { return new(cursor) }}

// release wipes what was read and gives the cursor back: no row stays in the
// pool. Memory that it has outgrown is left to the collector as it is.
func (c *cursor) release() {
	clear(c.buf[:max(c.most, len(c.buf))])
	if cap(c.buf) > pooledBytes {
		c.buf = nil
	}
	*c = cursor{buf: c.buf[:0], ends: c.ends[:0]}
	cursors.Put(c)
}

func (i *instance) newCursor(r pebble.Reader, opts ScanOptions) (*cursor, error) {
	c := cursors.Get().(*cursor)
	c.opts, c.left = opts, -1
	if opts.Limit > 0 {
		c.left = opts.Limit
	}
	lower, upper := opts.bounds()
	if upper != nil && string(lower) >= string(upper) {
		return c, nil
	}
	c.iter.LowerBound, c.iter.UpperBound = lower, upper
	it, err := r.NewIter(&c.iter) // which copies them
	if err != nil {
		c.release()
		return nil, i.result(err)
	}
	c.it = it
	if !i.addScan(c) {
		c.interrupt(nil)
		c.release()
		return nil, errLeft
	}
	return c, nil
}

// interrupt ends the scan, from outside.
func (c *cursor) interrupt(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(why)
}

// end closes the iterator; c.mu is held.
func (c *cursor) end(err error) {
	if c.it == nil {
		return
	}
	it := c.it
	c.it = nil
	cerr := it.Close()
	if c.err = err; c.err == nil {
		c.err = cerr
	}
}

// fill reads up to n entries; false means that the scan has ended, with c.err.
func (c *cursor) fill(n int, first bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.most = max(c.most, len(c.buf))
	c.buf, c.ends = c.buf[:0], c.ends[:0]
	if c.it == nil {
		return false
	}
	for k := 0; k < n && c.left != 0 && len(c.buf) < runBytes; k++ {
		var ok bool
		switch {
		case first && c.opts.Reverse:
			ok = c.it.Last()
		case first:
			ok = c.it.First()
		case c.opts.Reverse:
			ok = c.it.Prev()
		default:
			ok = c.it.Next()
		}
		first = false
		if !ok {
			c.end(c.it.Error())
			break
		}
		c.buf = append(c.buf, c.it.Key()...)
		c.ends = append(c.ends, len(c.buf))
		if !c.opts.KeysOnly {
			v, err := c.it.ValueAndErr()
			if err != nil {
				c.ends = c.ends[:len(c.ends)-1]
				c.end(err)
				break
			}
			c.buf = append(c.buf, v...)
		}
		c.ends = append(c.ends, len(c.buf))
		if c.left > 0 {
			c.left--
		}
	}
	if c.left == 0 {
		c.end(nil)
	}
	return len(c.ends) > 0
}

// scan runs a scan, unless its cursor could not be had. The caller has left the
// instance.
func (i *instance) scan(c *cursor, err error, yield func(Entry, error) bool) {
	if err != nil {
		yield(Entry{}, err)
		return
	}
	// From the last to the first: Pebble must not close below an open iterator, and
	// nobody may refer to a cursor that another scan has.
	defer c.release()
	defer i.removeScan(c)
	defer c.interrupt(nil)
	first := true
	for n, read := 2, 0; c.fill(n, first); n = min(2+read/32, maxEntries) {
		first = false
		read += n
		err := i.err()
		if locked := i.table.locked.Load(); locked != nil {
			err = locked // though the instance may not have closed yet
		}
		if err != nil {
			yield(Entry{}, err)
			return
		}
		start := 0
		for k := 0; k < len(c.ends); k += 2 {
			e := Entry{Key: c.buf[start:c.ends[k]:c.ends[k]]}
			if !c.opts.KeysOnly {
				e.Value = c.buf[c.ends[k]:c.ends[k+1]:c.ends[k+1]]
			}
			start = c.ends[k+1]
			if !yield(e, nil) {
				return
			}
		}
	}
	if err := i.result(c.err); err != nil {
		yield(Entry{}, err)
	}
}
