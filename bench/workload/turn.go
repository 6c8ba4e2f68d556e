package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/cofredb/cofre/bench/system"
)

// A Turn runs one workload on one system. Its methods are called in the order
// Warm, then Draw and Slice for each slice, then Check; one at a time.
type Turn struct {
	w      Workload
	data   *Data
	model  *Model
	seed   uint64
	rows   uint64 // rows of the table when the turn begins
	ops    int    // operations of the whole turn
	reopen func(system.System) (system.System, error)

	clients []*client
	order   []uint64    // places of the loaded rows, ascending; for scans from the midst
	ranges  [][2]uint64 // deleted, as places in the order of keys
	calls   *hdrhistogram.Histogram
	events  []Happened
	started time.Time     // of the first slice
	phase   atomic.Int32  // of the first client
	moment  atomic.Uint64 // odd while an event runs
	warm    float64       // the share of the table that warm reads touch
}

// Options are a turn's sizes.
type Options struct {
	Rows   int    // rows of a loaded table
	Seed   uint64 // of the data: the same in every turn of a run
	Round  int    // orders of operations differ between rounds
	Size   Size
	Cache  int64 // bytes of the store's cache: what is read warm fits half of it
	Reopen func(system.System) (system.System, error)
}

// A Result is what one slice did.
type Result struct {
	Ops       int64
	UserBytes int64 // keys and values that were written
	Stopped   bool
}

// Happened is an event of a turn.
type Happened struct {
	At, Took time.Duration // since the turn's first operation
	Name     string
}

// NewTurn plans a turn. The operations follow from w, o.Seed and o.Round alone:
// they are the same for every system.
func NewTurn(w Workload, o Options) *Turn {
	t := &Turn{
		w: w, seed: mix64(o.Seed + uint64(o.Round)<<32), data: NewData(o.Seed, o.Size, w.Ordered), reopen: o.Reopen,
		calls: newHistogram(), ops: max(1, int(float64(o.Rows)*w.Rows)), warm: 1,
	}
	if w.Loaded {
		t.rows = uint64(o.Rows)
	}
	switch w.Call {
	case DeleteRange:
		t.ops = deleteRanges
	case Reopen, Snapshot:
		t.ops = w.slices()
	}
	if w.Mix != nil && w.Mix.Apart {
		// One row of a block of 4 KiB and its neighbour, at most.
		t.ops = min(t.ops, max(1, o.Rows*(KeyLen+o.Size.Mean())/(3*4096)), o.Rows)
	}
	if w.Mix != nil { // the same number for each client in each slice
		unit := w.slices() * w.threads()
		t.ops = (t.ops + unit - 1) / unit * unit
	}
	room := int(t.rows)
	if w.inserts() {
		room += t.ops
	}
	if w.Call == Compact {
		room = o.Rows
	}
	if w.Mix != nil && w.Mix.Seek+w.Mix.Scan > 0 {
		t.order = make([]uint64, t.rows)
		for i := range t.order {
			t.order[i] = t.data.hash(uint64(i))
		}
		slices.Sort(t.order)
	}
	t.model = NewModel(t.data, room)
	t.model.Loaded(int(t.rows))
	if size := int64(o.Rows) * int64(KeyLen+o.Size.Mean()); w.Caches == Warm && (w.Class == Read || w.Class == Scan) && size > o.Cache/2 {
		t.warm = float64(o.Cache/2) / float64(size)
	}
	return t
}

func (w Workload) slices() int  { return max(1, w.Slices) }
func (w Workload) threads() int { return max(1, w.Threads) }

// Slices is how many there are.
func (t *Turn) Slices() int { return t.w.slices() }

// Load writes the rows of a loaded table, and brings them to their best form.
func (t *Turn) Load(ctx context.Context, s system.System) error {
	if err := t.fill(ctx, s, t.rows); err != nil {
		return err
	}
	return s.Compact(ctx)
}

func (t *Turn) fill(ctx context.Context, s system.System, rows uint64) error {
	err := s.Load(func(yield func(k, v []byte) bool) {
		var key, value []byte
		for i := range rows {
			key, value = t.data.AppendKey(key[:0], i), t.data.AppendValue(value[:0], i, 1)
			if ctx.Err() != nil || !yield(key, value) {
				return
			}
		}
	})
	t.model.Loaded(int(rows))
	return errors.Join(err, ctx.Err())
}

// Warm brings the store to the state in which the workload begins.
func (t *Turn) Warm(ctx context.Context, s system.System) error {
	if t.w.Call == Compact {
		return t.fill(ctx, s, uint64(len(t.model.versions)))
	}
	if t.w.Call == BackupAgain || t.w.Call == Restore {
		return t.warmBackup(ctx, s)
	}
	if !t.w.Loaded || t.w.Caches != Warm || t.w.Call != 0 {
		return nil
	}
	end := t.warmEnd()
	var last error
	err := s.Scan(nil, false, func(key, _ []byte) bool {
		i, ok := t.data.Index(key)
		if !ok {
			last = fmt.Errorf("key %q was never written", key)
		}
		return ok && t.data.hash(i) <= end && ctx.Err() == nil
	})
	return errors.Join(err, last, ctx.Err())
}

// warmBackup makes the backup that the workload begins with, and writes some rows again as
// they are.
func (t *Turn) warmBackup(ctx context.Context, s system.System) error {
	if err := s.(system.Backer).Backup(ctx); err != nil || t.w.Call == Restore {
		return err
	}
	if err := s.Load(func(yield func(k, v []byte) bool) {
		var key, value []byte
		for i := range uint64(t.ops) {
			key, value = t.data.AppendKey(key[:0], i), t.data.AppendValue(value[:0], i, 1)
			if ctx.Err() != nil || !yield(key, value) {
				return
			}
		}
	}); err != nil {
		return err
	}
	return errors.Join(s.Settle(ctx), ctx.Err())
}

// whole tells whether a call is counted by its rows.
func (w Workload) whole() bool { return w.Call == Compact || w.backsUp() }

// warmEnd is the end of the part of the order of keys that warm reads touch.
func (t *Turn) warmEnd() uint64 {
	if t.warm >= 1 {
		return ^uint64(0)
	}
	return uint64(t.warm * (1 << 63) * 2)
}

// Slice runs slice k. It gives up at the deadline, after the operations that
// were under way; the operations left are never run.
func (t *Turn) Slice(ctx context.Context, s system.System, k int, deadline time.Time) (Result, system.System, error) {
	if t.started.IsZero() {
		t.started = time.Now()
	}
	switch {
	case t.w.Mix != nil:
		r, err := t.runMix(ctx, s, k, deadline)
		return r, s, err
	case t.w.Sweep != 0:
		r, err := t.sweep(ctx, s, deadline)
		return r, s, err
	}
	return t.call(ctx, s, k, deadline)
}

// share is how many of n things slice k has.
func (t *Turn) share(n, k int) int {
	return n*(k+1)/t.w.slices() - n*k/t.w.slices()
}

// runMix lets the clients loose. What they do is drawn before the slice, and
// outside of its time: see Draw.
func (t *Turn) runMix(ctx context.Context, s system.System, k int, deadline time.Time) (r Result, err error) {
	var wg sync.WaitGroup
	var stop atomic.Bool
	end := context.AfterFunc(ctx, func() { stop.Store(true) })
	defer end()
	for _, c := range t.clients {
		c.ops, c.bytes, c.err = 0, 0, nil
		wg.Go(func() { c.run(s, t.started, deadline, &stop) })
	}
	done := make(chan struct{})
	var events sync.WaitGroup
	if t.w.Events != 0 {
		events.Go(func() { err = t.rotate(ctx, s, done) })
	}
	wg.Wait()
	close(done)
	events.Wait()
	for _, c := range t.clients {
		r.Ops += c.ops
		r.UserBytes += c.bytes
		r.Stopped = r.Stopped || c.stopped
		err = errors.Join(err, c.err)
	}
	return r, errors.Join(err, ctx.Err())
}

// Draw chooses the operations of slice k, before it is run and outside of its
// time.
func (t *Turn) Draw(k int) {
	if t.w.Mix == nil {
		return
	}
	if t.clients == nil {
		t.clients = t.newClients()
	}
	for _, c := range t.clients {
		c.draw(t, k)
	}
}

func (t *Turn) newClients() []*client {
	n := t.w.threads()
	clients := make([]*client, n)
	for i := range clients {
		c := &client{
			turn: t, number: i, of: n, rng: rand.New(rand.NewPCG(t.seed, uint64(i))),
			latency: newHistogram(), newest: t.rows + uint64(i), drawn: -1,
		}
		if t.w.Trace {
			c.trace = &trace{}
		}
		clients[i] = c
	}
	return clients
}

// sweep reads the whole table.
func (t *Turn) sweep(ctx context.Context, s system.System, deadline time.Time) (r Result, err error) {
	var fault error
	var last uint64
	err = s.Scan(nil, t.w.Sweep == Reverse, func(key, value []byte) bool {
		i, ok := t.data.Index(key)
		h := t.data.hash(i)
		if !ok || r.Ops > 0 && (h == last || (h > last) == (t.w.Sweep == Reverse)) {
			fault = fmt.Errorf("key %q is out of order, or was never written", key)
			return false
		}
		last = h
		fault = t.model.checkRead(i, t.model.acknowledged(i), value, true)
		r.Ops++
		if r.Ops%1024 == 0 && (ctx.Err() != nil || time.Now().After(deadline)) {
			r.Stopped = true
			return false
		}
		return fault == nil
	})
	if err = errors.Join(err, fault, ctx.Err()); err == nil && !r.Stopped && r.Ops != int64(t.rows) {
		err = fmt.Errorf("the scan found %d rows, there are %d", r.Ops, t.rows)
	}
	return r, err
}

const deleteRanges = 200

// call runs the operations on the whole store that fall into slice k.
func (t *Turn) call(ctx context.Context, s system.System, k int, deadline time.Time) (r Result, _ system.System, err error) {
	var buf []byte
	for n := range t.share(t.ops, k) {
		if time.Now().After(deadline) {
			r.Stopped = true
			break
		}
		start := time.Now()
		switch t.w.Call {
		case DeleteRange:
			width := ^uint64(0) / (5 * deleteRanges)
			from := uint64(n)*5*width + mix64(t.seed+uint64(n))%(4*width)
			err = s.DeleteRange(t.data.appendHash(nil, from), t.data.appendHash(nil, from+width))
			t.ranges = append(t.ranges, [2]uint64{from, from + width})
		case Compact:
			err = s.Compact(ctx)
		case Snapshot:
			err = s.(system.Snapshotter).Snapshot(ctx, fmt.Sprintf("snapshot-%d-%d", k, n))
		case Backup, BackupAgain:
			err = s.(system.Backer).Backup(ctx)
		case Restore:
			err = s.(system.Backer).Restore(ctx)
		case Reopen:
			if s, err = t.reopen(s); err != nil {
				return r, s, err
			}
			i := mix64(t.seed+uint64(k)) % max(t.rows, 1)
			var found bool
			buf, found, err = s.AppendGet(buf[:0], t.data.AppendKey(nil, i))
			err = errors.Join(err, t.model.checkRead(i, 1, buf, found))
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return r, s, err
		}
		r.Ops++
		if t.w.whole() {
			r.Ops = int64(t.ops)
			r.UserBytes = r.Ops * int64(KeyLen+t.data.size.Mean())
			break
		}
		record(t.calls, time.Since(start))
	}
	return r, s, nil
}

// Settles tells whether the time until the background is done belongs to the
// workload.
func (t *Turn) Settles() bool { return t.w.Class == Write || t.w.Class == Mixed }

// Check compares all that the store holds with what was acknowledged.
func (t *Turn) Check(s system.System) (rows int64, err error) {
	t.model.deleted(t.ranges)
	return t.model.Check(s)
}

// Latency is that of single operations; nil where an operation is not a call.
func (t *Turn) Latency() *hdrhistogram.Histogram {
	if t.w.Sweep != 0 || t.w.whole() {
		return nil
	}
	h := newHistogram()
	h.Merge(t.calls)
	for _, c := range t.clients {
		h.Merge(c.latency)
	}
	return h
}

// Events are what happened beside the operations.
func (t *Turn) Events() []Happened { return t.events }

// newHistogram counts from a nanosecond to a minute, to three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(time.Minute), 3) }

// record counts a time; one beyond the histogram's end counts as that.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(int64(d), h.HighestTrackableValue()))
}
