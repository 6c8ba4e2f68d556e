package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/keyring"
)

// A snapshot of a locked table is ciphertext linked and copied, and needs no key: the
// table was closed cleanly when it locked, and the record of that says what belongs to
// it. Its name cannot be sealed with the table's metadata, so it lies with the table's
// state in the journal, under the store key, for good.

// snapshotLocked makes a snapshot without the table's key, where why says that the key
// is not to be had; ringMu is held.
func (t *Table) snapshotLocked(ctx context.Context, name string, why error) (SnapshotInfo, error) {
	if !errors.Is(why, ErrKeyInaccessible) || t.store.opts.Mode == ReadOnly {
		return SnapshotInfo{}, why
	}
	if err := t.lockAfterRing(ctx); err != nil {
		return SnapshotInfo{}, why // it is closing still, or somebody asks for the key
	}
	defer t.mu.Unlock()
	st, err := t.closedCleanly(why)
	if err != nil {
		return SnapshotInfo{}, err
	}
	switch {
	case slices.ContainsFunc(st.snapshots, func(s snapshot) bool { return s.Name == name }):
		return SnapshotInfo{}, fmt.Errorf("%w: %s of %s", ErrSnapshotExists, name, t.name)
	case len(st.snapshots) >= maxLockedSnapshots:
		return SnapshotInfo{}, fmt.Errorf("engine: %s has %d snapshots that were made while it was locked, the most a table may have", t.name, maxLockedSnapshots)
	}
	s := snapshot{
		SnapshotInfo: SnapshotInfo{Name: name, ID: keyring.NewID(), CreatedAt: time.Now().UTC()},
		seal:         st.seal, unsealed: true,
	}
	dir := t.snapshotDir(s.ID)
	if err = t.linkLocked(dir); err == nil {
		walk(t.store.fs, dir, func(_ string, size int64) { s.Files++; s.Bytes += size })
		// The snapshot exists from here on.
		err = t.store.journal.editSnapshots(ctx, t.id, func(list []snapshot) []snapshot { return append(list, s) })
	}
	if err != nil {
		return SnapshotInfo{}, errors.Join(err, t.store.fs.RemoveAll(dir))
	}
	return s.SnapshotInfo, nil
}

// maxLockedSnapshots bounds them with their seals well below what a state may have.
const maxLockedSnapshots = 64

// closedCleanly is how the table was left, where that was a clean close and it is not
// open; mu is held. why says why its key is not to be had.
func (t *Table) closedCleanly(why error) (tableState, error) {
	st, ok := t.store.journal.state(t.id)
	switch {
	case t.dropped:
		return st, fmt.Errorf("%w: %s", ErrTableNotFound, t.name)
	case t.inst.Load() != nil || !ok || !st.clean:
		return st, fmt.Errorf("without its key only a table that was closed cleanly can be copied: %w", why)
	}
	return st, nil
}

// linkLocked fills a directory with the files of the closed table, durably.
func (t *Table) linkLocked(dir string) error {
	fs := t.store.fs
	parent := fs.PathDir(dir)
	if err := t.store.checkDir(parent); err != nil {
		return err
	}
	if err := t.store.mkdir(dir); err != nil {
		return err
	}
	names, err := fs.List(t.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		from, to := fs.PathJoin(t.dir, n), fs.PathJoin(dir, n)
		fi, err := lstat(fs, from)
		if err != nil {
			return err
		}
		if !fi.Mode().IsRegular() || strings.HasPrefix(n, "dropped-") {
			continue
		}
		// What is written once is shared. Logs are not: the table goes on in none of
		// them, but Pebble may write over them.
		if strings.HasSuffix(n, ".sst") || strings.HasSuffix(n, ".blob") {
			err = vfs.LinkOrCopy(fs, from, to)
		} else {
			err = vfs.Copy(fs, from, to)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(syncDir(fs, dir), syncDir(fs, parent))
}

// withLocked adds to metadata the snapshots that were made without the table's key.
// One whose name the table has already gets its id behind it.
func (t *Table) withLocked(m *metadata) {
	st, _ := t.store.journal.state(t.id)
	for _, s := range st.snapshots {
		if _, taken := m.find(s.Name); taken {
			s.Name = s.Name[:min(len(s.Name), MaxNameLen-9)] + "." + s.ID.String()[:8]
		}
		m.snapshots = append(m.snapshots, s)
	}
}

// putSnapshots and readSnapshots are the list in a table's state:
//
//	count (4) × { id (16) name created (8) files (8) bytes (8) seal }
func putSnapshots(w *codec.Writer, list []snapshot) {
	w.U32(uint32(len(list)))
	for _, s := range list {
		w.Raw(s.ID[:])
		w.Str(s.Name)
		w.U64(uint64(s.CreatedAt.UnixNano()))
		w.U64(uint64(s.Files))
		w.U64(uint64(s.Bytes))
		w.Bytes(s.seal)
	}
}

func readSnapshots(r *codec.Reader, most int) (list []snapshot) {
	for range r.Count(most, minSnapshotEncoded) {
		var s snapshot
		r.Fill(s.ID[:])
		s.Name = r.Str(MaxNameLen)
		s.CreatedAt = time.Unix(0, int64(r.U64())).UTC()
		s.Files = int(r.U64())
		s.Bytes = int64(r.U64())
		s.seal = slices.Clone(r.Bytes(1 << 20))
		list = append(list, s)
	}
	return list
}
