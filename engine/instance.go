package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/cofredb/cofre/engine/internal/hole"
	"github.com/cofredb/cofre/engine/internal/sealfs"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// pebbleFormat is Pebble's format major version for every table. It rises by a
// step of Cofre's own format version, never by an upgrade of the library.
const pebbleFormat = pebble.FormatValueSeparation

// tuning is what Pebble is told about sizes. The zero value is what is used;
// tests make them small.
type tuning struct {
	memTableSize   uint64 // bytes; 0 is 32 MiB, or an eighth of the budget
	targetFileSize int64  // bytes, of L0; 0 is Pebble's 2 MiB
	blockSize      int    // bytes; 0 is Pebble's 4 KiB
	stallSublevels int32  // L0 sublevels at which writes wait; 0 is 24
	stallWait      time.Duration
	noCompactions  bool          // but those that are asked for
	scheduleTick   time.Duration // 0 is a minute
}

// An instance is one open Pebble database: a table, or one of its snapshots.
//
// Users enter and leave; close waits for them. What lives longer than a call
// (scans, views) is registered, and close ends it before Pebble closes, which
// would panic in an iterator's next step otherwise.
type instance struct {
	table    *Table
	db       *pebble.DB
	hole     *hole.FS
	fs       *sealfs.FS
	keys     *keyring.TableKeys
	dir      string
	readOnly bool

	// refs counts users; closing is added to it when the instance closes.
	refs      atomic.Int64
	drained   chan struct{}
	drainOnce sync.Once

	life    context.Context // until the instance closes
	endLife context.CancelFunc

	used     atomic.Bool // since the janitor last looked
	dirty    atomic.Bool // written to since it was opened
	unsynced atomic.Bool // and not always with a sync
	pending  atomic.Bool // and since SyncLog

	mu     sync.Mutex // guards what follows
	closed bool       // it closes: no scan or view begins
	views  map[*View]struct{}
	scans  *cursor // the first of a list

	stall     stall
	scheduler *tableScheduler

	compacting compacting

	// renewed: the table closes it to open another at once.
	renewed atomic.Bool
	// leaving is why the table gives up the instance at once, without a flush; nil
	// unless it does.
	leaving atomic.Pointer[LockedError]
}

// compacting lets those who asked for a compaction hear of failed ones.
type compacting struct {
	mu      sync.Mutex
	waiting map[chan error]struct{} // each of capacity 1; guarded by mu
	stopped bool                    // the instance closes; guarded by mu
}

func (c *compacting) begin() chan error {
	ch := make(chan error, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		ch <- ErrClosed
	}
	if c.waiting == nil {
		c.waiting = make(map[chan error]struct{})
	}
	c.waiting[ch] = struct{}{}
	return ch
}

// stop ends the wait of those who asked: a close, and all who wait for it, must
// not wait for a long compaction.
func (c *compacting) stop() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.failed(ErrClosed)
}

func (c *compacting) end(ch chan error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, ch)
}

func (c *compacting) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ch := range c.waiting {
		select {
		case ch <- err:
		default:
		}
	}
}

// closing is far below zero: no number of users lifts it above.
const closing = -1 << 62

// enter announces a user; false means that the instance is closing.
func (i *instance) enter() bool {
	if i.refs.Add(1) > 0 {
		if !i.used.Load() {
			i.used.Store(true)
		}
		return true
	}
	i.leave()
	return false
}

func (i *instance) leave() {
	if i.refs.Add(-1) == closing {
		i.drainOnce.Do(func() { close(i.drained) })
	}
}

// addView registers a view; false means that the instance is closing.
func (i *instance) addView(v *View) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.closed {
		i.views[v] = struct{}{}
	}
	return !i.closed
}

func (i *instance) removeView(v *View) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.views, v)
}

// addScan registers a scan; false means that the instance is closing. It is a
// list because a map would cost a short scan more than a row does.
func (i *instance) addScan(c *cursor) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return false
	}
	if c.next = i.scans; c.next != nil {
		c.next.prev = c
	}
	i.scans = c
	return true
}

// removeScan forgets a scan, which may not be registered. Nobody else refers to
// it from then on.
func (i *instance) removeScan(c *cursor) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case c.prev != nil:
		c.prev.next = c.next
	case i.scans == c:
		i.scans = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}

// interruptAll ends what would be below Pebble's feet when it closes. A scan is
// interrupted with mu held, so that it is this one still, and not another that
// has its memory by now.
func (i *instance) interruptAll() {
	for _, v := range i.interruptScans() {
		v.interrupt()
	}
}

// interruptScans interrupts the scans and returns the views.
func (i *instance) interruptScans() []*View {
	i.mu.Lock()
	defer i.mu.Unlock()
	for c := i.scans; c != nil; c = c.next {
		c.interrupt(i.over())
	}
	return slices.Collect(maps.Keys(i.views))
}

// idle tells whether nobody uses the instance or holds a view of it.
func (i *instance) idle() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.refs.Load() == 0 && len(i.views) == 0 && i.scans == nil
}

// over is why nothing can be done with an instance that closes.
func (i *instance) over() error {
	if why := i.leaving.Load(); why != nil {
		return why
	}
	return ErrClosed
}

// unwatched tells whether no scan and no view is open, and nobody waits for a
// compaction.
func (i *instance) unwatched() bool {
	i.compacting.mu.Lock()
	defer i.compacting.mu.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.views) == 0 && i.scans == nil && len(i.compacting.waiting) == 0
}

// err is the failure that tripped the instance's hole, if any.
func (i *instance) err() error {
	if err := i.hole.Err(); err != nil {
		return &poisoned{cause: err}
	}
	return nil
}

// wrote is result for a write that was made with wo.
func (i *instance) wrote(wo *pebble.WriteOptions, err error) error {
	if wo == pebble.NoSync && !i.pending.Load() {
		i.pending.Store(true) // behind the write: SyncLog would miss one that comes later
	}
	return i.result(err)
}

// result is what a call to Pebble means: nothing, once the hole is open.
func (i *instance) result(err error) error {
	if perr := i.err(); perr != nil {
		return perr
	}
	if err != nil {
		return i.translate(err)
	}
	return nil
}

// close ends the instance: users are waited for, scans and views are ended,
// Pebble is closed. Unless the instance failed, only read or is leaving, what is
// in the memtable is flushed first, so that the next open finds no log to replay.
// After a clean close of an instance that could write, seal is called, if not
// nil, while the keys are still there; then they are wiped.
func (i *instance) close(seal func() error) error {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.endLife()
	if i.refs.Add(closing) == closing {
		i.drainOnce.Do(func() { close(i.drained) })
	}
	i.stall.release()
	i.compacting.stop()
	<-i.drained
	i.interruptAll()
	var errs []error
	if !i.readOnly && i.dirty.Load() && i.err() == nil && i.leaving.Load() == nil {
		errs = append(errs, i.translate(i.db.Flush()))
	}
	errs = append(errs, i.db.Close(), i.err())
	err := errors.Join(errs...)
	if err == nil && seal != nil && !i.readOnly {
		err = seal()
	}
	i.keys.Wipe()
	return err
}

// pebbleOptions are the options of every instance. PebbleOptions gives them to
// those who compare with plain Pebble.
func (s *Store) pebbleOptions(m *metadata) *pebble.Options {
	t := s.opts.tune
	o := &pebble.Options{
		Cache:                       s.cache,
		FileCache:                   s.fileCache,
		MaxOpenFiles:                s.opts.MaxOpenFiles,
		FormatMajorVersion:          pebbleFormat,
		MemTableSize:                t.memTableSize,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       1 << 30, // the engine applies back-pressure, with a deadline
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		ErrorIfNotExists:            true,
	}
	if o.MemTableSize == 0 {
		o.MemTableSize = uint64(min(32<<20, s.opts.MemoryBudget/8))
	}
	o.DisableAutomaticCompactions = t.noCompactions
	o.TargetFileSizes[0] = t.targetFileSize
	for l := range o.Levels {
		o.Levels[l].BlockSize = t.blockSize
		o.Levels[l].FilterPolicy = bloom.FilterPolicy(10)
		if m.noCompression {
			o.Levels[l].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
		}
	}
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		if m.separateFrom == 0 {
			return pebble.ValueSeparationPolicy{}
		}
		return pebble.ValueSeparationPolicy{
			Enabled: true, MinimumSize: m.separateFrom, MaxBlobReferenceDepth: 10,
			// No blob is rewritten for its garbage alone. Where such a rewrite
			// meets a block that does not open, Pebble v2.1.7 panics in a
			// goroutine of its own and takes the process with it. Compactions
			// write values anew once a table refers to ten blobs.
			TargetGarbageRatio: 1,
		}
	}
	return o
}

// openPebble opens a directory that Preflight has passed. A panic of Pebble's
// ends here: it may refuse a table, not end the process.
func (i *instance) openPebble(o *pebble.Options) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("open %s: Pebble panicked: %v", i.table.store.rel(i.dir), r)
			i.hole.Trip(err)
		}
	}()
	o.FS = i.hole
	o.ReadOnly = i.readOnly
	o.Logger = &logger{log: i.table.store.log, table: i.table.id, fatal: i.hole.Trip}
	i.stall.init(i.table.store.opts.tune)
	o.EventListener = i.listener()
	i.scheduler = i.table.store.scheduler.instance(i.hole.Trip)
	o.Experimental.CompactionScheduler = i.scheduler
	db, err := pebble.Open(i.dir, o)
	if err != nil {
		i.scheduler.Unregister() // Pebble leaves it to those that succeed
	}
	if herr := i.hole.Err(); herr != nil {
		if err == nil {
			_ = db.Close()
		}
		return &poisoned{cause: herr}
	}
	if err != nil {
		return i.translate(err)
	}
	i.db = db
	if o.Experimental.ValueSeparationPolicy().Enabled {
		if err := i.checkBlobs(); err != nil {
			_ = db.Close()
			return err
		}
	}
	return nil
}

// checkBlobs finds that a blob is gone. Pebble looks at open whether each
// sorted file is there; of a missing blob it would learn when it reads one of
// its values.
func (i *instance) checkBlobs() error {
	// A blob that is live before and after the listing was there meanwhile.
	before, err := i.liveBlobs()
	if err != nil || len(before) == 0 {
		return err
	}
	names, err := i.hole.List(i.dir)
	if err = i.result(err); err != nil {
		return err
	}
	after, err := i.liveBlobs()
	if err != nil {
		return err
	}
	for _, n := range names {
		delete(before, n)
	}
	for _, n := range slices.Sorted(maps.Keys(before)) {
		if after[n] {
			return corrupt.New(corrupt.ErrMissing, i.table.store.rel(i.table.store.fs.PathJoin(i.dir, n)), -1, "sorted files refer to it")
		}
	}
	return nil
}

// liveBlobs are the names of the blobs that sorted files refer to. A blob keeps
// the number that they know it by, since none is rewritten.
func (i *instance) liveBlobs() (map[string]bool, error) {
	levels, err := i.db.SSTables()
	if err != nil {
		return nil, i.result(err)
	}
	live := make(map[string]bool)
	for _, level := range levels {
		for _, f := range level {
			for _, id := range f.GetBlobReferenceFiles() {
				live[fmt.Sprintf("%06d.blob", uint64(id))] = true
			}
		}
	}
	return live, nil
}

// listener hears what Pebble does in the background. Without a handler of its
// own, one bad block would end the process.
func (i *instance) listener() *pebble.EventListener {
	log := i.table.store.log.With("table", i.table.id)
	return &pebble.EventListener{
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			log.Error("corruption", "path", i.table.store.rel(info.Path), "error", i.translate(info.Details))
		},
		BackgroundError: func(err error) {
			log.Error("background work failed", "error", i.translate(err))
		},
		FlushEnd: func(pebble.FlushInfo) { i.stall.look() },
		CompactionEnd: func(info pebble.CompactionInfo) {
			i.stall.look()
			switch {
			case info.Err == nil:
				i.scheduler.succeeded()
			case !errors.Is(info.Err, pebble.ErrCancelledCompaction):
				i.scheduler.failed()
				i.compacting.failed(info.Err)
			}
		},
	}
}
