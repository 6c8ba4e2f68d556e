package engine

import (
	"iter"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// A View reads a table as it was at one point in time: when View was called,
// or when the snapshot was made. It is safe for concurrent use and must be
// closed: it keeps old versions of the data alive.
type View struct {
	inst  *instance
	close func() error // of what is below, once

	mu     sync.RWMutex // guards all below; held by reads, for Pebble panics where a snapshot closes under one
	reader pebble.Reader
	snap   *pebble.Snapshot // nil for a snapshot's own instance
	closed bool
}

// View returns a view of the table as it is now.
func (t *Table) View() (*View, error) {
	for {
		i, err := t.use()
		if err != nil {
			return nil, err
		}
		v, err := i.view()
		i.leave()
		if err != errLeft { // else the table closes, and opens again on this use
			return v, err
		}
	}
}

func (i *instance) view() (*View, error) {
	snap := i.db.NewSnapshot()
	v := &View{inst: i, reader: snap, snap: snap}
	if !i.addView(v) {
		v.interrupt()
		return nil, errLeft
	}
	return v, i.result(nil)
}

// interrupt ends the view because its table closes.
func (v *View) interrupt() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.end()
}

// end lets go of the snapshot; v.mu is held.
func (v *View) end() (err error) {
	if v.closed {
		return nil
	}
	v.closed = true
	if v.snap != nil {
		err = v.snap.Close()
	}
	return err
}

// Close ends the view. It is idempotent.
func (v *View) Close() error {
	v.mu.Lock()
	wasClosed := v.closed
	err := v.end()
	v.mu.Unlock()
	if wasClosed {
		return nil
	}
	v.inst.removeView(v)
	if v.close != nil {
		return v.close()
	}
	return err
}

// use enters the instance below for one call, and keeps the view open.
func (v *View) use() (pebble.Reader, error) {
	if locked := v.inst.table.locked.Load(); locked != nil {
		return nil, locked
	}
	if !v.inst.enter() {
		return nil, v.inst.over()
	}
	v.mu.RLock()
	if v.closed {
		v.leave()
		return nil, v.inst.over()
	}
	return v.reader, nil
}

func (v *View) leave() {
	v.mu.RUnlock()
	v.inst.leave()
}

// Get returns the value of key in a slice of its own, or ErrNotFound.
func (v *View) Get(key []byte) ([]byte, error) { return v.AppendGet(nil, key) }

// AppendGet appends the value of key to dst.
func (v *View) AppendGet(dst, key []byte) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return dst, err
	}
	r, err := v.use()
	if err != nil {
		return dst, err
	}
	defer v.leave()
	return v.inst.get(r, dst, key)
}

// Has tells whether the view has key.
func (v *View) Has(key []byte) (bool, error) {
	if err := checkKey(key); err != nil {
		return false, err
	}
	r, err := v.use()
	if err != nil {
		return false, err
	}
	defer v.leave()
	return v.inst.has(r, key)
}

// Scan is Table.Scan over the view.
func (v *View) Scan(opts ScanOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r, err := v.use()
		if err != nil {
			yield(Entry{}, err)
			return
		}
		c, err := v.inst.newCursor(r, opts)
		v.leave()
		if err == errLeft {
			err = v.inst.over()
		}
		v.inst.scan(c, err, yield)
	}
}
