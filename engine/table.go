package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cofredb/cofre/engine/internal/hole"
	"github.com/cofredb/cofre/engine/internal/sealfs"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// A Table is a handle on a table: a sorted map from keys to values, in byte
// order. It is cheap; the table itself opens on first use, closes when idle,
// and opens again. A Table is safe for concurrent use.
//
// Reads see every write that has returned. A write is durable when it returns,
// unless it was made with WriteOptions.NoSync.
type Table struct {
	store *Store
	name  string
	id    keyring.ID
	dir   string

	// inst is the open instance, or nil. It is set and cleared with mu held.
	inst atomic.Pointer[instance]
	// unsure: a snapshot may be recorded on disk that memory does not know.
	unsure atomic.Bool

	rotating chan struct{} // of capacity 1; full during a change of the table's key
	// confirmed is when the key service last allowed the use of the keys that are in
	// memory; nil if none are.
	confirmed atomic.Pointer[time.Time]
	// locked is why the table is locked; nil unless it is. It is set before mu is
	// taken, for who has mu may wait for the key service, and cleared with mu held.
	locked atomic.Pointer[LockedError]
	// attempts counts the openings that were tried.
	attempts     atomic.Uint64
	reencrypting atomic.Bool // by a call in this process
	progress     atomic.Pointer[ReencryptProgress]
	// schedule is that of the metadata; nil until the table was opened, or its
	// metadata read.
	schedule   atomic.Pointer[Schedule]
	making     atomic.Pointer[keyring.ID] // the overlay that is being made
	scheduling atomic.Bool
	looked     time.Time // when its data's age was last looked at; whoever set scheduling has it
	unread     time.Time // when its schedule could not be read last; whoever set scheduling has it
	holds      sync.Map  // directories of those that are held, to their *Held
	// overdue is why what the schedule asks for could not be done; nil if it was.
	overdue atomic.Pointer[string]
	// lossTrouble is why a step of the policy for lost keys could not be done; nil if
	// it was, or none was due.
	lossTrouble atomic.Pointer[string]

	mu      sync.Mutex // guards opening, closing and all below
	dropped bool
	lost    error     // sticky: a drop failed so late that it may have happened
	fault   error     // sticky, until Reopen
	missing error     // a failure that took unsynced writes, until it is told
	full    bool      // the disk was full: the instance only reads
	tried   time.Time // when a full table was last tried for writing
	snaps   map[keyring.ID]*instance
	refused error // why the key service let the last opening fail
	// endLease stops the goroutine that keeps the lease; nil if none does.
	endLease context.CancelFunc
}

func (s *Store) newTable(name string, id keyring.ID) *Table {
	return &Table{store: s, name: name, id: id, dir: s.path(tablesDir, id.String()),
		rotating: make(chan struct{}, 1), snaps: make(map[keyring.ID]*instance)}
}

// Name is the table's name, keyspace.table.
func (t *Table) Name() string { return t.name }

// ID is the table's random id, which names its directory. It is no secret.
func (t *Table) ID() keyring.ID { return t.id }

// use returns the open instance with the caller entered, opening it if need
// be.
func (t *Table) use() (*instance, error) {
	if locked := t.locked.Load(); locked != nil {
		return nil, locked
	}
	if i := t.inst.Load(); i != nil && i.enter() {
		if i.hole.Err() == nil {
			return i, nil
		}
		i.leave()
	}
	tried := t.attempts.Load()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused != nil && t.attempts.Load() != tried {
		return nil, t.refused // somebody has asked the key service while we waited
	}
	if err := t.openLocked(t.store.life); err != nil {
		return nil, err
	}
	i := t.inst.Load()
	if !i.enter() {
		return nil, ErrClosed // cannot be: closing takes mu
	}
	return i, nil
}

// useForWriting is use for an instance that can be written to.
func (t *Table) useForWriting() (*instance, error) {
	if t.store.opts.Mode == ReadOnly {
		return nil, ErrReadOnly
	}
	i, err := t.use()
	if err != nil || !i.readOnly {
		return i, err
	}
	i.leave()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.tryWritable(); err != nil {
		return nil, err
	}
	i = t.inst.Load()
	if !i.enter() {
		return nil, ErrClosed
	}
	return i, nil
}

// openLocked sees to it that there is a healthy instance; mu is held.
func (t *Table) openLocked(ctx context.Context) error {
	switch {
	case t.dropped:
		return fmt.Errorf("%w: %s", ErrTableNotFound, t.name)
	case t.store.isClosed():
		return ErrClosed
	case t.lost != nil:
		return t.lost
	}
	if locked := t.locked.Load(); locked != nil {
		return locked
	}
	if i := t.inst.Load(); i != nil && i.hole.Err() != nil {
		t.fail(ctx, i)
	}
	if t.fault != nil {
		return t.fault
	}
	if t.inst.Load() != nil {
		return nil
	}
	// A key service that never answers holds up who uses the table, and no longer than
	// this; and not the store's close.
	ctx, cancel := context.WithTimeout(ctx, t.store.opts.KeyLease)
	defer cancel()
	err := t.openInstance(ctx)
	t.attempts.Add(1)
	if err != nil && t.store.isClosed() {
		return ErrClosed
	}
	err = t.unanswered(t.store.life, err)
	if t.refused = nil; errors.Is(err, ErrKeyInaccessible) {
		t.refused = err
		if refused(err) && t.loss() == nil {
			t.store.loss.suspect(t)
		}
	}
	return err
}

// fail takes a tripped instance away; mu is held. For want of space the table
// becomes readable again, over an instance that writes nothing; after any
// other failure it stays poisoned.
func (t *Table) fail(ctx context.Context, i *instance) {
	cause := i.hole.Err()
	t.store.log.Error("a write to the disk failed", "table", t.id, "error", cause)
	t.inst.Store(nil)
	_ = i.close(nil) // inside the hole; its answer means nothing
	t.stopLease()
	t.failed(cause)
	t.lose(i, cause)
}

// lose remembers that writes of a failed instance are lost that were
// acknowledged without a sync; mu is held.
func (t *Table) lose(i *instance, cause error) {
	if !i.unsynced.Load() || t.missing != nil {
		return
	}
	why := error(&poisoned{cause: cause})
	if isFull(cause) {
		why = fmt.Errorf("%w: %w", ErrDiskFull, cause)
	}
	t.missing = fmt.Errorf("writes without a sync are lost: %w", why)
}

// failed remembers why the last instance failed; mu is held.
func (t *Table) failed(cause error) {
	if isFull(cause) {
		t.full, t.tried = true, time.Now()
		return
	}
	t.fault = &poisoned{cause: cause}
}

// retryFull is how often a table on a full disk is tried for writing.
const retryFull = time.Second

// enoughSpace is how much must be free for that, in bytes.
const enoughSpace = 16 << 20

// tryWritable opens a table for writing again if the disk has space; mu is
// held.
func (t *Table) tryWritable() error {
	full := fmt.Errorf("%w: the table is readable, and writable again when there is space", ErrDiskFull)
	if i := t.inst.Load(); i != nil && i.readOnly {
		if time.Since(t.tried) < retryFull {
			return full
		}
		t.tried = time.Now()
		if du, err := t.store.fs.GetDiskUsage(t.dir); err == nil && du.AvailBytes < enoughSpace {
			return full
		}
		t.inst.Store(nil)
		t.full = false
		if err := i.close(nil); err != nil {
			t.store.log.Warn("close before opening for writing", "table", t.id, "error", err)
		}
	}
	if err := t.openLocked(t.store.life); err != nil {
		return err
	}
	if t.inst.Load().readOnly {
		return full
	}
	return nil
}

func (s *Store) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// newFS makes the file systems of an instance, innermost last: hole, sealing,
// waiting for space.
func (t *Table) newFS(keys *keyring.TableKeys, m *metadata, onTrip func(error)) (*hole.FS, *sealfs.FS) {
	sealed := sealfs.New(sealfs.Config{
		Base: t.store.fs, StoreID: t.store.ID(), TableID: t.id, Incarnation: keys.Incarnation(),
		Keys: keys, Origins: m.origins, UnitSize: t.store.opts.UnitSize, MaxFormat: uint64(pebbleFormat), Suite: t.store.opts.suite,
		Logger: t.store.log, Rel: t.store.rel,
	})
	return hole.New(sealed, onTrip), sealed
}

func (t *Table) newInstance(keys *keyring.TableKeys, m *metadata, dir string, readOnly bool) *instance {
	i := &instance{
		table: t, keys: keys, dir: dir, readOnly: readOnly,
		drained: make(chan struct{}), views: make(map[*View]struct{}),
	}
	i.life, i.endLife = context.WithCancel(context.Background())
	// Writers that wait for compactions wait in vain once there are none.
	i.hole, i.fs = t.newFS(keys, m, func(error) { i.stall.release() })
	return i
}

// openInstance opens the table's Pebble instance; mu is held. Where the disk
// is full, it opens one that reads.
func (t *Table) openInstance(ctx context.Context) error {
	readOnly := t.store.opts.Mode == ReadOnly || t.full
	err := t.openInstanceAs(ctx, readOnly)
	if isFull(err) && !readOnly {
		t.failed(err)
		err = t.openInstanceAs(ctx, true)
	}
	return err
}

func (t *Table) openInstanceAs(ctx context.Context, readOnly bool) (err error) {
	asked := time.Now()
	keys, err := t.store.openKeys(ctx, t.id)
	if err != nil {
		return t.keyError(err)
	}
	defer func() {
		if err != nil {
			keys.Wipe()
		}
	}()
	m, err := t.decode(keys.Metadata())
	if err != nil {
		return err
	}
	if m.locked {
		return &LockedError{Table: t.name, Since: asked}
	}
	if err := t.loadOverlay(keys, m); err != nil {
		return err
	}
	i := t.newInstance(keys, m, t.dir, readOnly)
	i.fs.NotBefore(m.reencrypting)
	seal, err := t.lastState(i.fs)
	if err != nil {
		return err
	}
	if err := i.fs.Preflight(t.dir, seal, i.readOnly); err != nil {
		return t.preflightError(err)
	}
	if !i.readOnly {
		if err := t.removeUnlisted(m); err != nil {
			return err
		}
		t.removeOverlays(m)
	}
	if err := t.openArchive(i, m); err != nil {
		return err
	}
	if !i.readOnly {
		// If we crash after this, the next open knows that the table was open,
		// and from which MANIFEST on.
		if err := t.store.journal.record(ctx, t.id, tableState{floor: i.fs.Manifest(t.dir)}); err != nil {
			return err
		}
	}
	if seal == nil && !i.readOnly {
		err = i.replay(t.store.pebbleOptions(m))
	}
	if err == nil {
		err = i.openPebble(t.store.pebbleOptions(m))
	}
	if err != nil {
		return err
	}
	if !i.readOnly && !i.fs.WritesManifest(i.dir) {
		// A flush, of nothing, begins a MANIFEST: snapshots need one.
		if err := i.result(i.db.Flush()); err != nil {
			return errors.Join(err, i.db.Close())
		}
	}
	if !i.readOnly {
		i.fs.Prune(i.dir)
	}
	t.inst.Store(i)
	t.schedule.Store(&m.schedule)
	t.startLease(asked)
	return nil
}

// unanswered is keyError, where a key service may not have answered in time: ctx is
// without the limit.
func (t *Table) unanswered(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return inaccessible{fmt.Errorf("%w: %w", keyring.ErrKeyUnreachable, err)}
	}
	return t.keyError(err)
}

// keyError is keyError for errors of this table's keys.
func (t *Table) keyError(err error) error {
	if errors.Is(err, keyring.ErrTableUnknown) {
		return fmt.Errorf("%w: %s", ErrTableNotFound, t.name)
	}
	return keyError(err)
}

func (t *Table) preflightError(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return corrupt.New(corrupt.ErrMissing, t.store.rel(t.dir), -1, "the table's directory is not there")
	}
	return err
}

// lastState returns the seal of the last clean close, or nil after a crash:
// then fs is told what the table has had at least.
func (t *Table) lastState(fs *sealfs.FS) (*sealfs.Seal, error) {
	s, ok := t.store.journal.state(t.id)
	switch {
	case !ok:
		return nil, nil
	case !s.clean:
		fs.Expect(t.dir, s.floor)
		return nil, nil
	}
	seal, err := sealfs.DecodeSeal(s.seal)
	if err != nil {
		return nil, corrupt.New(corrupt.ErrFormat, keyringDir, -1, "%v", err)
	}
	return seal, nil
}

// create makes the table's directory and its Pebble instance.
func (t *Table) create(ctx context.Context, keys *keyring.TableKeys) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, err := decodeMetadata(keys.Metadata())
	if err != nil {
		return err
	}
	if err := t.store.mkdir(t.dir); err != nil {
		return err
	}
	if err := t.store.journal.record(ctx, t.id, tableState{}); err != nil {
		return err
	}
	i := t.newInstance(keys, m, t.dir, false)
	o := t.store.pebbleOptions(m)
	o.ErrorIfNotExists = false
	o.ErrorIfExists = true
	if err := i.openPebble(o); err != nil {
		return err
	}
	t.inst.Store(i)
	t.startLease(time.Now())
	return nil
}

// abandon removes what a failed creation left. What it cannot remove, the next
// open does.
func (t *Table) abandon(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropped = true
	if i := t.inst.Swap(nil); i != nil {
		_ = i.close(nil)
	}
	t.stopLease()
	t.store.journal.forget(t.id)
	return t.store.forget(ctx, t.id)
}

// Reopen closes the table and opens it again in this process: the way out of
// ErrPoisoned. Recovery is the one that follows a crash: every acknowledged
// synced write is there, unsynced ones survive as a prefix, each failed one is
// whole or not at all. Views and scans that were open fail with ErrClosed.
func (t *Table) Reopen(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.closeLocked(ctx)
	if err != nil && !errors.Is(err, ErrPoisoned) {
		t.store.log.Warn("close before reopening", "table", t.id, "error", err)
	}
	t.fault, t.full, t.missing = nil, false, nil
	t.locked.Store(nil)
	return t.openLocked(ctx)
}

// Close closes the table's instance. The next use opens it again; closing is
// for those who want its memory back at once. Views and scans that are open
// fail with ErrClosed.
//
// Where Close returns nil, every acknowledged write is durable, those too that
// were made without a sync, unless Close or Reopen has told of their loss
// before. ErrPoisoned and ErrDiskFull say that such writes are lost, and why.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.closeLocked(context.Background())
	if err == nil {
		err = t.missing
	}
	t.missing = nil
	return err
}

func (t *Table) closeLocked(ctx context.Context) error {
	defer t.stopLease()
	var errs []error
	for id, i := range t.snaps {
		delete(t.snaps, id)
		errs = append(errs, i.close(nil))
	}
	i := t.inst.Swap(nil)
	if i == nil {
		return errors.Join(errs...)
	}
	err := i.close(func() error { return t.sealClean(ctx, i) })
	if cause := i.hole.Err(); cause != nil {
		t.failed(cause) // nobody may have been told yet
		t.lose(i, cause)
	}
	return errors.Join(append(errs, err)...)
}

// sealClean records a clean close, after the last change to the directory. If
// we crash before the record is durable, the table counts as crashed.
func (t *Table) sealClean(ctx context.Context, i *instance) error {
	seal, err := i.fs.Seal(t.dir)
	if err != nil {
		return err
	}
	return t.store.journal.record(ctx, t.id, tableState{clean: true, seal: seal.Encode()})
}

// closeIfIdle closes the instances that were not used since the last look.
func (t *Table) closeIfIdle() {
	if !t.mu.TryLock() {
		return // it opens or closes: it is not idle, and others may be
	}
	defer t.mu.Unlock()
	for id, i := range t.snaps {
		if i.idle() {
			delete(t.snaps, id)
			if err := i.close(nil); err != nil {
				t.store.log.Warn("close of an idle snapshot", "table", t.id, "error", err)
			}
		}
	}
	t.stopLease()
	i := t.inst.Load()
	if i == nil || i.used.Swap(false) || !i.idle() || len(t.snaps) > 0 {
		return
	}
	if err := t.closeLocked(context.Background()); err != nil {
		t.store.log.Warn("close of an idle table", "table", t.id, "error", err)
	}
}

// Get returns the value of key in a slice of its own, or ErrNotFound.
func (t *Table) Get(key []byte) ([]byte, error) { return t.AppendGet(nil, key) }

// AppendGet appends the value of key to dst and returns the longer slice. It
// is Get for a caller who has memory.
func (t *Table) AppendGet(dst, key []byte) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return dst, err
	}
	i, err := t.use()
	if err != nil {
		return dst, err
	}
	defer i.leave()
	return i.get(i.db, dst, key)
}

// get reads from the database or from a snapshot of it.
func (i *instance) get(r pebble.Reader, dst, key []byte) ([]byte, error) {
	v, c, err := r.Get(key)
	if err = i.result(err); err != nil {
		if c != nil {
			c.Close()
		}
		return dst, err
	}
	if dst == nil {
		dst = make([]byte, 0, len(v))
	}
	dst = append(dst, v...)
	return dst, i.result(c.Close())
}

// Has tells whether the table has key.
func (t *Table) Has(key []byte) (bool, error) {
	if err := checkKey(key); err != nil {
		return false, err
	}
	i, err := t.use()
	if err != nil {
		return false, err
	}
	defer i.leave()
	return i.has(i.db, key)
}

func (i *instance) has(r pebble.Reader, key []byte) (bool, error) {
	_, c, err := r.Get(key)
	if err = i.result(err); err != nil {
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return false, err
	}
	return true, i.result(c.Close())
}

// beginWrite returns the instance to write to, entered, once level 0 lets it.
func (t *Table) beginWrite(opts *WriteOptions) (*instance, *pebble.WriteOptions, error) {
	i, err := t.useForWriting()
	if err != nil {
		return nil, nil, err
	}
	if err := i.stall.await(i.db); err != nil {
		i.leave()
		return nil, nil, err
	}
	if !i.dirty.Load() {
		i.dirty.Store(true)
	}
	if opts != nil && opts.NoSync {
		if !i.unsynced.Load() {
			i.unsynced.Store(true)
		}
		return i, pebble.NoSync, nil
	}
	return i, pebble.Sync, nil
}

// Put sets the value of key.
func (t *Table) Put(key, value []byte, opts *WriteOptions) error {
	if err := errors.Join(checkKey(key), checkValue(value)); err != nil {
		return err
	}
	i, wo, err := t.beginWrite(opts)
	if err != nil {
		return err
	}
	defer i.leave()
	return i.wrote(wo, i.db.Set(key, value, wo))
}

// Delete removes key. Removing a key that is not there is no error.
func (t *Table) Delete(key []byte, opts *WriteOptions) error {
	if err := checkKey(key); err != nil {
		return err
	}
	i, wo, err := t.beginWrite(opts)
	if err != nil {
		return err
	}
	defer i.leave()
	return i.wrote(wo, i.db.Delete(key, wo))
}

// DeleteRange removes every key from from, inclusive, to to, exclusive.
func (t *Table) DeleteRange(from, to []byte, opts *WriteOptions) error {
	if err := errors.Join(checkKey(from), checkKey(to)); err != nil {
		return err
	}
	i, wo, err := t.beginWrite(opts)
	if err != nil {
		return err
	}
	defer i.leave()
	return i.wrote(wo, i.db.DeleteRange(from, to, wo))
}

// Flush writes what is in memory to sorted files.
func (t *Table) Flush() error {
	i, err := t.useForWriting()
	if err != nil {
		return err
	}
	defer i.leave()
	return i.result(i.db.Flush())
}

// Compact rewrites the range into as few files as it needs; nil bounds are the
// table's ends. It returns when it is done, with ctx's error, with that of any
// compaction of the table that fails meanwhile, or with ErrClosed where the
// table is closed before.
func (t *Table) Compact(ctx context.Context, from, to []byte) error {
	for {
		i, err := t.useForWriting()
		if err != nil {
			return err
		}
		err = i.compact(ctx, from, to)
		i.leave()
		if !errors.Is(err, ErrClosed) || !i.renewed.Load() {
			return err
		}
	}
}

func (i *instance) compact(ctx context.Context, from, to []byte) error {
	if from == nil {
		from = startOfKeys()
	}
	if to == nil {
		to = endOfKeys()
	}
	// Pebble's own compactions come first. While one of them fails, again and
	// again, it never comes to the one that is asked for.
	failed := i.compacting.begin()
	defer i.compacting.end(failed)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- i.db.Compact(ctx, from, to, true) }()
	i.scheduler.awake()
	var err error
	select {
	case err = <-done:
	case err = <-failed:
		cancel()
		<-done
	}
	return i.result(err)
}

// startOfKeys is the least key. The empty one, which is none of a table's, would not do:
// Pebble takes a span of keys that begins with nil for none, and in places makes nil of
// what is empty.
func startOfKeys() []byte { return []byte{0} }

// endOfKeys is greater than every key.
func endOfKeys() []byte { return bytes.Repeat([]byte{0xff}, MaxKeyLen+1) }

// ApproximateSize estimates the bytes on disk of a range; nil bounds are the
// table's ends. What is only in memory does not count.
func (t *Table) ApproximateSize(from, to []byte) (uint64, error) {
	i, err := t.use()
	if err != nil {
		return 0, err
	}
	defer i.leave()
	if from == nil {
		from = startOfKeys()
	}
	if to == nil {
		to = endOfKeys()
	}
	n, err := i.db.EstimateDiskUsage(from, to)
	return n, i.result(err)
}

// TableMetrics are the figures of one open table.
type TableMetrics struct {
	DiskBytes          uint64 // live files, plaintext bytes
	MemTableBytes      uint64
	WALBytes           uint64 // live log segments, plaintext bytes
	WALBytesWritten    uint64 // to logs, since the table was opened
	L0Sublevels        int32  // how far compactions are behind
	CompactionDebt     uint64 // bytes that compactions still want to rewrite
	Flushes            int64
	Compactions        int64
	CompactionsRunning int64
	BlockCacheBytes    int64 // of all tables
	BlockCacheHits     int64 // of all tables
	BlockCacheMiss     int64 // of all tables
	OpenScans          int64
	KeyVersion         uint32
	Archive            ArchiveStats
}

// Metrics returns the table's figures; it opens the table.
func (t *Table) Metrics() (*TableMetrics, error) {
	i, err := t.use()
	if err != nil {
		return nil, err
	}
	defer i.leave()
	m := i.db.Metrics()
	return &TableMetrics{
		DiskBytes:          m.DiskSpaceUsage(),
		MemTableBytes:      m.MemTable.Size,
		WALBytes:           m.WAL.Size,
		WALBytesWritten:    m.WAL.BytesWritten,
		L0Sublevels:        m.Levels[0].Sublevels,
		CompactionDebt:     m.Compact.EstimatedDebt,
		Flushes:            m.Flush.Count,
		Compactions:        m.Compact.Count,
		CompactionsRunning: m.Compact.NumInProgress,
		BlockCacheBytes:    m.BlockCache.Size,
		BlockCacheHits:     m.BlockCache.Hits,
		BlockCacheMiss:     m.BlockCache.Misses,
		OpenScans:          m.TableIters,
		KeyVersion:         i.keys.Version(),
		Archive:            ArchiveStats(i.fs.ArchiveStats()),
	}, i.result(nil)
}
