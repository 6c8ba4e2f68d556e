package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/engine/internal/sealfs"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// overlayDir is where a table has the overlay of its data keys: one file, named
// by the overlay's id, which the table's metadata names with its digest.
const overlayDir = "overlay"

func (t *Table) overlayPath(id keyring.ID) string {
	return t.store.fs.PathJoin(t.dir, overlayDir, id.String())
}

// loadOverlay has keys use the overlay that the table's metadata names. Without it
// the table does not open, even where the files' own headers would do: somebody
// has taken it away.
func (t *Table) loadOverlay(keys *keyring.TableKeys, m *metadata) error {
	if m.overlay.id.IsZero() {
		return nil
	}
	if err := t.store.checkDir(t.store.fs.PathJoin(t.dir, overlayDir)); err != nil {
		return err
	}
	path := t.overlayPath(m.overlay.id)
	b, err := t.store.readSmall(path, keyring.MaxOverlayLen)
	if errors.Is(err, os.ErrNotExist) {
		return corrupt.New(corrupt.ErrMissing, t.store.rel(path), -1, "the table's metadata names it")
	}
	if err != nil {
		return err
	}
	o, err := keys.OpenOverlay(b, m.overlay.id)
	if err == nil && o.Digest() != m.overlay.digest {
		err = corrupt.New(corrupt.ErrRollback, "", -1, "is not the overlay that the table's metadata names")
	}
	if err != nil {
		return corrupt.At(t.store.rel(path), err)
	}
	keys.SetOverlay(o)
	return nil
}

// readSmall reads a regular file of at most limit bytes.
func (s *Store) readSmall(path string, limit int64) ([]byte, error) {
	fi, err := lstat(s.fs, path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > limit {
		return nil, corrupt.New(corrupt.ErrForeign, s.rel(path), -1, "is a %s of %d bytes, not a file of at most %d", fi.Mode().Type(), fi.Size(), limit)
	}
	f, err := s.fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, fi.Size())
	if n, err := f.ReadAt(b, 0); n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			return nil, corrupt.New(corrupt.ErrMissing, s.rel(path), int64(n), "the file has become shorter")
		}
		return nil, fmt.Errorf("read %s: %w", s.rel(path), err)
	}
	return b, nil
}

// writeOverlay makes the file of an overlay, durably. If we crash before the
// metadata names it, the next opening of the table removes it.
func (t *Table) writeOverlay(o *keyring.Overlay) error {
	fs := t.store.fs
	dir := fs.PathJoin(t.dir, overlayDir)
	if err := t.store.checkDir(dir); err != nil {
		return err
	}
	if err := t.store.mkdir(dir); err != nil {
		return err
	}
	f, err := fs.Create(t.overlayPath(o.ID()), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := f.Write(bytes.Clone(o.Bytes())); err != nil { // a vfs.File may change what it is handed
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// removeOverlays removes overlays that the metadata does not name: a crash left
// them, or one could not be removed. A failure costs some bytes.
func (t *Table) removeOverlays(m *metadata) {
	if t.unsure.Load() {
		return
	}
	dir := t.store.fs.PathJoin(t.dir, overlayDir)
	names, err := t.store.fs.List(dir) // before we look what is being made
	if err != nil {
		return
	}
	making := t.making.Load()
	for _, n := range names {
		if n != m.overlay.id.String() && (making == nil || n != making.String()) {
			t.store.removeLeft(t.store.fs.PathJoin(dir, n))
		}
	}
}

// A fileKey is a data key that a file of the table is sealed under, and where.
type fileKey struct {
	sealfs.KeyUse
	snapshot string // "" for the table's own directory
	archived bool   // it waits for the archive
}

// fileKeys lists the data keys of the table's files, of its snapshots' and of the log
// segments that wait for the archive, by reading headers and logs. i is entered.
func (t *Table) fileKeys(ctx context.Context, i *instance, keys *keyring.TableKeys, m *metadata) ([]fileKey, error) {
	var list []fileKey
	collect := func(snapshot string) func(sealfs.KeyUse) error {
		return func(u sealfs.KeyUse) error {
			list = append(list, fileKey{KeyUse: u, snapshot: snapshot})
			return ctx.Err()
		}
	}
	if err := i.fs.Keys(t.dir, collect("")); err != nil {
		return nil, err
	}
	// Behind the table's own: a log leaves the one for the other.
	err := i.fs.ArchiveKeys(ctx, func(u sealfs.KeyUse) error {
		list = append(list, fileKey{KeyUse: u, archived: true})
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	for _, s := range m.snapshots {
		seal, err := sealfs.DecodeSeal(s.seal)
		if err != nil {
			return nil, corrupt.New(corrupt.ErrFormat, keyringDir, -1, "snapshot %s: %v", s.ID, err)
		}
		_, fs := t.newFS(keys, m, nil)
		dir := t.snapshotDir(s.ID)
		err = fs.Preflight(dir, seal, true)
		if err == nil {
			err = fs.Keys(dir, collect(s.Name))
		}
		if errors.Is(err, os.ErrNotExist) {
			err = corrupt.New(corrupt.ErrMissing, t.store.rel(dir), -1, "the snapshot's directory is not there")
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// ownKeys opens the table and returns a copy of its keys, which the caller wipes,
// and its metadata. While the caller has not left i, the instance does not close.
func (t *Table) ownKeys() (*instance, *keyring.TableKeys, *metadata, error) {
	i, err := t.useForWriting()
	if err != nil {
		return nil, nil, nil, err
	}
	keys := i.keys.Clone()
	m, err := t.readMetadata(keys)
	if err != nil {
		keys.Wipe()
		i.leave()
		return nil, nil, nil, err
	}
	return i, keys, m, nil
}

// readMetadata reads the metadata of now with keys in hand.
func (t *Table) readMetadata(keys *keyring.TableKeys) (*metadata, error) {
	b, err := t.store.ring.Metadata(keys)
	if err != nil {
		return nil, t.keyError(err)
	}
	return t.decode(b)
}

// editMetadata changes the metadata with keys in hand, and calls done, if not nil,
// when that is durable: no instance opens and no snapshot is taken meanwhile.
func (t *Table) editMetadata(ctx context.Context, keys *keyring.TableKeys, edit func(*metadata) error, done func(*metadata)) error {
	if err := t.lockWithRing(ctx); err != nil {
		return err
	}
	defer t.store.ringMu.Unlock()
	defer t.mu.Unlock()
	return t.editLocked(ctx, keys, edit, done)
}

// editLocked is editMetadata with ringMu and t.mu held.
func (t *Table) editLocked(ctx context.Context, keys *keyring.TableKeys, edit func(*metadata) error, done func(*metadata)) error {
	if t.dropped {
		return fmt.Errorf("%w: %s", ErrTableNotFound, t.name)
	}
	m, err := t.readMetadata(keys)
	if err != nil {
		return err
	}
	if err := edit(m); err != nil {
		return err
	}
	if err := t.store.ring.SetMetadata(ctx, keys, m.encode()); err != nil {
		if errors.Is(err, keyring.ErrPoisoned) {
			t.unsure.Store(true) // the next open of the store may find it made
		}
		return t.keyError(err)
	}
	if done != nil {
		done(m)
	}
	return nil
}

// errAgain says that somebody has a lock that another waits for: let go, and again.
var errAgain = errors.New("the table is busy")

// still runs f while the store's ring does not change: no snapshot is made or
// dropped. f has the table's open instance, entered, with a copy of its keys and the
// metadata of now. f may return errAgain.
func (t *Table) still(ctx context.Context, f func(i *instance, keys *keyring.TableKeys, m *metadata) error) error {
	for {
		// It may have to ask the key service, for which nobody else is to wait.
		i, keys, _, err := t.ownKeys()
		if err != nil {
			return err
		}
		i.leave() // before any lock: a close waits for us, and may have it
		err = t.stillWith(ctx, i, keys, f)
		keys.Wipe()
		if err != errAgain {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (t *Table) stillWith(ctx context.Context, i *instance, keys *keyring.TableKeys, f func(*instance, *keyring.TableKeys, *metadata) error) error {
	if err := t.store.lockRing(ctx); err != nil {
		return err
	}
	defer t.store.ringMu.Unlock()
	if !i.enter() {
		return errAgain // it has closed meanwhile
	}
	defer i.leave()
	m, err := t.readMetadata(keys)
	if err != nil {
		return err
	}
	return f(i, keys, m)
}

// lockAfterRing takes t.mu with ringMu held and the instance entered: not for long,
// for who has it may wait for a key service, or for us to leave.
func (t *Table) lockAfterRing(ctx context.Context) error {
	for range 100 {
		if t.mu.TryLock() {
			return nil
		}
		if !wait(ctx, time.Millisecond) {
			return ctx.Err()
		}
	}
	return errAgain
}

// instances are those that are open, of the table and of its snapshots; t.mu is
// held.
func (t *Table) instances() []*instance {
	list := slices.Collect(maps.Values(t.snaps))
	if i := t.inst.Load(); i != nil {
		list = append(list, i)
	}
	return list
}

// rewrap has the newest version of the table's key wrap the data keys of all files,
// the snapshots' too, by a new overlay. It reads headers, and logs for keys that
// have changed, and no data. Files that are made meanwhile are not in it: their
// keys are under the newest version.
//
// The overlay is durable before the metadata names it; it is used from then on, and
// the one before removed. If we crash anywhere, one of them is in force.
func (t *Table) rewrap(ctx context.Context) error { return t.still(ctx, t.rewrapStill(ctx)) }

func (t *Table) rewrapStill(ctx context.Context) func(*instance, *keyring.TableKeys, *metadata) error {
	return func(i *instance, keys *keyring.TableKeys, m *metadata) error {
		files, err := t.fileKeys(ctx, i, keys, m)
		if err != nil {
			return err
		}
		wrapped := make([]keyring.WrappedDataKey, len(files))
		for n, f := range files {
			wrapped[n] = keyring.WrappedDataKey{File: f.ID, Version: f.Version, Wrapped: f.Wrapped}
		}
		o, err := keys.Rewrap(wrapped)
		if err != nil {
			return err
		}
		if o.Len() == 0 && m.overlay.id.IsZero() {
			return nil
		}
		id := o.ID()
		t.making.Store(&id) // before there is a file: an opening leaves it
		defer t.making.Store(nil)
		if err := t.writeOverlay(o); err != nil {
			return errors.Join(err, t.removeOverlay(id))
		}
		err = t.useOverlay(ctx, keys, o)
		switch {
		case err == nil || errors.Is(err, keyring.ErrPoisoned): // either may be in force
			return err
		case err == errAgain:
			_ = t.removeOverlay(id)
			return err
		}
		return errors.Join(err, t.removeOverlay(id))
	}
}

// useOverlay has the metadata name an overlay, and all who have the table open use it.
func (t *Table) useOverlay(ctx context.Context, keys *keyring.TableKeys, o *keyring.Overlay) error {
	if err := t.lockAfterRing(ctx); err != nil {
		return err
	}
	defer t.mu.Unlock()
	var before keyring.ID
	err := t.editLocked(ctx, keys, func(m *metadata) error {
		before = m.overlay.id
		m.overlay = overlayRef{o.ID(), o.Digest()}
		return nil
	}, func(*metadata) {
		for _, i := range t.instances() {
			i.keys.SetOverlay(o)
		}
	})
	if err == nil && !before.IsZero() {
		t.store.removeLeft(t.overlayPath(before))
	}
	return err
}

func (t *Table) removeOverlay(id keyring.ID) error {
	err := t.store.fs.Remove(t.overlayPath(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
