package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/engine/internal/sealfs"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// A SnapshotInfo describes a named snapshot of a table.
type SnapshotInfo struct {
	Name      string     `json:"name"`
	ID        keyring.ID `json:"id"` // names its directory
	CreatedAt time.Time  `json:"created_at"`
	Files     int        `json:"files"`
	Bytes     int64      `json:"bytes"` // on disk, shared with the table while it has the same files
}

func (t *Table) snapshotDir(id keyring.ID) string {
	return t.store.fs.PathJoin(t.dir, snapshotsDir, id.String())
}

// Snapshot keeps the table as it is now under a name, until DropSnapshot. It
// links the table's files and copies its log, so its cost grows with what is
// not flushed, not with the table. Writes go on meanwhile; those that returned
// before the call are in it.
//
// The snapshot exists once its name is recorded, which is the last step: if we
// crash before, the next open removes its directory.
//
// A table whose key is not to be had, or that is locked, has snapshots too, if it was
// closed cleanly, as a table is that locks: they are links and copies of its files and
// need no key. Whether the table has a snapshot of that name is not known then; if it
// has, the new one's name gets its id behind it.
//
// Errors: ErrInvalidName, ErrSnapshotExists, ErrReadOnly, ErrKeyInaccessible.
func (t *Table) Snapshot(ctx context.Context, name string) (SnapshotInfo, error) {
	if err := checkSnapshotName(name); err != nil {
		return SnapshotInfo{}, err
	}
	if err := t.wake(); err != nil {
		return t.snapshotAsleep(ctx, name, err)
	}
	t.store.ringMu.Lock()
	defer t.store.ringMu.Unlock()
	// Until the name is recorded the instance may not close: its next opening would
	// remove the directory.
	i, keys, m, err := t.ownKeys()
	if err != nil {
		return t.snapshotLocked(ctx, name, err)
	}
	defer i.leave()
	defer keys.Wipe()
	if _, ok := m.find(name); ok {
		return SnapshotInfo{}, fmt.Errorf("%w: %s of %s", ErrSnapshotExists, name, t.name)
	}
	if len(m.snapshots) >= maxSnapshots {
		return SnapshotInfo{}, fmt.Errorf("engine: %s has %d snapshots, the most a table may have", t.name, maxSnapshots)
	}
	s := snapshot{SnapshotInfo: SnapshotInfo{Name: name, ID: keyring.NewID(), CreatedAt: time.Now().UTC()}}
	dir := t.snapshotDir(s.ID)
	if err := t.makeSnapshot(i, dir, &s); err != nil {
		return SnapshotInfo{}, errors.Join(err, t.store.fs.RemoveAll(dir))
	}
	m.snapshots = append(m.snapshots, s)
	err = t.store.ring.SetMetadata(ctx, keys, m.encode())
	switch {
	case errors.Is(err, keyring.ErrPoisoned):
		// The next open of the store may find it recorded: it stays.
		t.unsure.Store(true)
		return SnapshotInfo{}, err
	case err != nil:
		return SnapshotInfo{}, errors.Join(err, t.store.fs.RemoveAll(dir))
	}
	return s.SnapshotInfo, nil
}

// wake opens the table, before any lock is taken: it may have to ask the key service, for
// which nobody else is to wait.
func (t *Table) wake() error {
	i, err := t.useForWriting()
	if err == nil {
		i.leave()
	}
	return err
}

// snapshotAsleep is Snapshot of a table that does not open, and why says for what reason.
func (t *Table) snapshotAsleep(ctx context.Context, name string, why error) (SnapshotInfo, error) {
	m, err := t.metadata(ctx) // its key may be there, as where it is locked on request
	t.store.ringMu.Lock()
	defer t.store.ringMu.Unlock()
	if err == nil {
		if _, ok := m.find(name); ok {
			return SnapshotInfo{}, fmt.Errorf("%w: %s of %s", ErrSnapshotExists, name, t.name)
		}
	}
	return t.snapshotLocked(ctx, name, why)
}

func (t *Table) makeSnapshot(i *instance, dir string, s *snapshot) error {
	defer i.fs.Drop(dir)
	seal, err := t.checkpoint(i, dir)
	if err != nil {
		return err
	}
	s.seal = seal.Encode()
	walk(t.store.fs, dir, func(_ string, size int64) { s.Files++; s.Bytes += size })
	return nil
}

// Snapshots lists the table's snapshots by time.
func (t *Table) Snapshots(ctx context.Context) ([]SnapshotInfo, error) {
	m, err := t.metadata(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]SnapshotInfo, len(m.snapshots))
	for i, s := range m.snapshots {
		list[i] = s.SnapshotInfo
	}
	slices.SortFunc(list, func(a, b SnapshotInfo) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return list, nil
}

// openMetadata reads the table's metadata, without opening its files. The
// caller wipes the keys.
func (t *Table) openMetadata(ctx context.Context) (*keyring.TableKeys, *metadata, error) {
	if t.store.isClosed() {
		return nil, nil, ErrClosed
	}
	// The caller may have locks.
	ask, cancel := context.WithTimeout(ctx, t.store.opts.KeyLease)
	defer cancel()
	keys, err := t.store.openKeys(ask, t.id)
	if err != nil {
		return nil, nil, t.unanswered(ctx, err)
	}
	m, err := t.decode(keys.Metadata())
	if err != nil {
		keys.Wipe()
		return nil, nil, err
	}
	return keys, m, nil
}

// decode reads the table's metadata, with the snapshots that are not in it.
func (t *Table) decode(b []byte) (*metadata, error) {
	m, err := decodeMetadata(b)
	if err == nil {
		t.withLocked(m)
	}
	return m, err
}

func (t *Table) metadata(ctx context.Context) (*metadata, error) {
	keys, m, err := t.openMetadata(ctx)
	if err != nil {
		return nil, err
	}
	keys.Wipe()
	return m, nil
}

// OpenSnapshot returns a view of a snapshot. All views of one share an
// instance, which closes with the last of them.
//
// Errors: ErrSnapshotNotFound, ErrKeyInaccessible, ErrCorruption.
func (t *Table) OpenSnapshot(ctx context.Context, name string) (*View, error) {
	t.store.ringMu.Lock() // no DropSnapshot meanwhile
	defer t.store.ringMu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.dropped:
		return nil, fmt.Errorf("%w: %s", ErrTableNotFound, t.name)
	}
	if locked := t.locked.Load(); locked != nil {
		return nil, locked
	}
	asked := time.Now()
	keys, m, err := t.openMetadata(ctx)
	if err != nil {
		return nil, err
	}
	if m.locked {
		keys.Wipe()
		return nil, &LockedError{Table: t.name, Since: asked}
	}
	s, ok := m.find(name)
	if !ok {
		keys.Wipe()
		return nil, fmt.Errorf("%w: %s of %s", ErrSnapshotNotFound, clip(name), t.name)
	}
	i := t.snaps[s.ID]
	if i != nil {
		keys.Wipe()
	} else if i, err = t.openSnapshot(keys, m, s); err != nil {
		keys.Wipe()
		return nil, err
	} else {
		t.snaps[s.ID] = i
		t.startLease(asked)
	}
	v := &View{inst: i, reader: i.db}
	v.close = func() error { return t.releaseSnapshot(s.ID, i) }
	if !i.addView(v) {
		return nil, ErrClosed
	}
	return v, nil
}

func (t *Table) openSnapshot(keys *keyring.TableKeys, m *metadata, s *snapshot) (*instance, error) {
	seal, err := sealfs.DecodeSeal(s.seal)
	if err != nil {
		return nil, corrupt.New(corrupt.ErrFormat, keyringDir, -1, "snapshot %s: %v", s.ID, err)
	}
	if err := t.store.checkDir(t.store.fs.PathJoin(t.dir, snapshotsDir)); err != nil {
		return nil, err
	}
	if err := t.loadOverlay(keys, m); err != nil {
		return nil, err
	}
	i := t.newInstance(keys, m, t.snapshotDir(s.ID), true)
	if err := i.fs.Preflight(i.dir, seal, true); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, corrupt.New(corrupt.ErrMissing, t.store.rel(i.dir), -1, "the snapshot's directory is not there")
		}
		return nil, err
	}
	return i, i.openPebble(t.store.pebbleOptions(m))
}

// releaseSnapshot closes a snapshot's instance after its last view.
func (t *Table) releaseSnapshot(id keyring.ID, i *instance) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.snaps[id] != i || !i.idle() {
		return nil
	}
	delete(t.snaps, id)
	defer t.stopLease()
	return i.close(nil)
}

// DropSnapshot forgets a snapshot and removes its directory. If we crash
// between, the next open removes it.
//
// Errors: ErrSnapshotNotFound, ErrInUse (a view of it is open), ErrReadOnly.
func (t *Table) DropSnapshot(ctx context.Context, name string) error {
	if t.store.opts.Mode == ReadOnly {
		return ErrReadOnly
	}
	t.store.ringMu.Lock()
	defer t.store.ringMu.Unlock()
	keys, m, err := t.openMetadata(ctx)
	if err != nil {
		return err
	}
	defer keys.Wipe()
	s, ok := m.find(name)
	if !ok {
		return fmt.Errorf("%w: %s of %s", ErrSnapshotNotFound, clip(name), t.name)
	}
	id := s.ID
	if !t.closeIdleSnapshot(id) {
		return fmt.Errorf("%w: views of snapshot %s are open", ErrInUse, clip(name))
	}
	this := func(s snapshot) bool { return s.ID == id }
	if s.unsealed {
		err = t.store.journal.editSnapshots(ctx, t.id, func(list []snapshot) []snapshot { return slices.DeleteFunc(list, this) })
	} else {
		m.snapshots = slices.DeleteFunc(m.snapshots, this)
		err = t.store.ring.SetMetadata(ctx, keys, m.encode())
	}
	if err != nil {
		return err
	}
	return t.store.fs.RemoveAll(t.snapshotDir(id))
}

// closeIdleSnapshot closes a snapshot's instance; false means that it is in
// use.
func (t *Table) closeIdleSnapshot(id keyring.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.snaps[id]
	if i == nil {
		return true
	}
	if !i.idle() {
		return false
	}
	delete(t.snaps, id)
	defer t.stopLease()
	if err := i.close(nil); err != nil {
		t.store.log.Warn("close of an idle snapshot", "table", t.id, "error", err)
	}
	return true
}

// removeUnlisted removes directories of snapshots that were never completed or
// are dropped. One that it cannot remove keeps nobody from the table.
func (t *Table) removeUnlisted(m *metadata) error {
	if t.unsure.Load() {
		return nil
	}
	ids, err := t.snapshotDirs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, held := t.holds.Load(id); !held && !m.has(id) {
			t.store.removeLeft(t.store.fs.PathJoin(t.dir, snapshotsDir, id))
		}
	}
	return nil
}

// snapshotDirs are the directories below snapshots/, listed or not.
func (t *Table) snapshotDirs() ([]string, error) {
	dir := t.store.fs.PathJoin(t.dir, snapshotsDir)
	if err := t.store.checkDir(dir); err != nil {
		return nil, err
	}
	names, err := t.store.fs.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return slices.DeleteFunc(names, func(n string) bool {
		_, err := keyring.ParseID(n)
		return err != nil
	}), nil
}

// snapshotNames are the names of the table's snapshots; where nothing tells
// them, as without its key, the ids of what may be snapshots. Whatever the
// reason: a table that cannot be used can be dropped.
func (t *Table) snapshotNames() ([]string, error) {
	m, err := t.metadata(context.Background())
	if errors.Is(err, ErrClosed) {
		return nil, err
	}
	if err != nil {
		t.store.log.Warn("the names of the table's snapshots cannot be read", "table", t.id, "error", err)
		return t.snapshotDirs()
	}
	var names []string
	for _, s := range m.snapshots {
		names = append(names, s.Name)
	}
	slices.SortFunc(names, strings.Compare)
	return names, nil
}
