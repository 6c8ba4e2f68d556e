package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/engine/internal/sealfs"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// A Held is the ciphertext of a table as it was at one moment: links to its sorted
// files and copies of its logs, in a directory of its own. It costs no more than a
// snapshot and no key to read. It is what a backup copies. A Held is safe for
// concurrent use.
type Held struct {
	table *Table
	dir   string
	id    keyring.ID

	// What was acknowledged before At is held, and nothing that was issued after Until.
	At, Until time.Time
	// Incarnation is the table's life; zero where the table's key was not to be had.
	Incarnation keyring.ID
	// Sealed: the table's key was there, and has attested what is here told. Else
	// what is told are hints, taken from names and headers, and Why says why.
	Sealed bool
	Why    error
	// Files are the files, by name.
	Files []HeldFile
	// Seal describes how MANIFEST, markers and logs hang together, for
	// Store.RestoreTable; nil unless Sealed.
	Seal []byte
	// Overlay wraps data keys of the files; nil if there is none.
	Overlay []byte

	closing sync.Once
	err     error // of Close; set by closing
}

// A HeldFile is one file of a Held.
type HeldFile struct {
	Name   string           // base name, of Pebble's
	Size   int64            // bytes on disk
	Kind   keyring.FileKind // 0 for an empty file, whose content is its name
	Number uint64
	FileID keyring.ID
	// Keys are the file's data keys, wrapped as they are in force: the first is the
	// header's, others those that its log goes on under.
	Keys []keyring.WrappedDataKey
	// Smallest and Largest bound the keys in a sorted file; nil where that is not
	// known.
	Smallest, Largest []byte
}

// Hold takes hold of the table as it is now, until Close. Writes go on meanwhile; those
// that returned before the call are in it. If the process ends before Close, the next
// opening of the table removes what is left.
//
// A table whose key is not to be had, or that is locked, can be held if it was closed
// cleanly, as a table is that locks.
//
// Errors: ErrReadOnly, ErrClosed, ErrTableNotFound, ErrKeyInaccessible.
func (t *Table) Hold(ctx context.Context) (*Held, error) {
	if t.store.opts.Mode == ReadOnly {
		return nil, ErrReadOnly
	}
	return t.holdAs(ctx, keyring.NewID())
}

// holdAs is Hold in the directory of an id.
func (t *Table) holdAs(ctx context.Context, id keyring.ID) (*Held, error) {
	err := t.wake()
	t.store.ringMu.Lock()
	defer t.store.ringMu.Unlock()
	h := &Held{table: t, id: id, At: time.Now().UTC()}
	h.dir = t.snapshotDir(h.id)
	t.holds.Store(h.id.String(), h) // before there is a directory: an opening leaves it
	if err == nil {
		err = t.hold(ctx, h)
	}
	if errors.Is(err, ErrKeyInaccessible) {
		err = t.holdLocked(ctx, h, err)
	}
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	h.Until = time.Now().UTC()
	slices.SortFunc(h.Files, func(a, b HeldFile) int { return strings.Compare(a.Name, b.Name) })
	return h, nil
}

// hold is Hold with the table's key; ringMu is held.
func (t *Table) hold(ctx context.Context, h *Held) error {
	i, keys, m, err := t.ownKeys()
	if err != nil {
		return err
	}
	defer i.leave()
	defer keys.Wipe()
	seal, err := t.checkpoint(i, h.dir)
	defer i.fs.Drop(h.dir)
	if err != nil {
		return err
	}
	h.Sealed, h.Seal, h.Incarnation = true, seal.Encode(), keys.Incarnation()
	if err := t.loadOverlay(keys, m); err != nil { // no rotation goes on
		return err
	}
	if o := keys.Overlay(); o != nil {
		h.Overlay = o.Bytes()
	}
	ranges, err := i.keyRanges()
	if err != nil {
		return err
	}
	if err := h.list(); err != nil {
		return err
	}
	byName := make(map[string]*HeldFile, len(h.Files))
	for n := range h.Files {
		byName[h.Files[n].Name] = &h.Files[n]
	}
	return i.fs.Keys(h.dir, func(u sealfs.KeyUse) error {
		f := byName[u.Name]
		if f == nil {
			return corrupt.New(corrupt.ErrForeign, t.store.rel(h.dir), -1, "has a file %s that was not held", u.Name)
		}
		f.Keys = append(f.Keys, keys.Current(keyring.WrappedDataKey{File: u.ID, Version: u.Version, Wrapped: u.Wrapped}))
		if r, ok := ranges[f.Number]; ok && f.Kind == keyring.KindSSTable {
			f.Smallest, f.Largest = r[0], r[1]
		}
		return ctx.Err()
	})
}

// keyRanges bounds the keys of the sorted files by number. A file may be newer than
// what is held.
func (i *instance) keyRanges() (map[uint64][2][]byte, error) {
	levels, err := i.db.SSTables()
	if err = i.result(err); err != nil {
		return nil, err
	}
	ranges := make(map[uint64][2][]byte)
	for _, level := range levels {
		for _, f := range level {
			ranges[uint64(f.FileNum)] = [2][]byte{f.Smallest.UserKey, f.Largest.UserKey}
		}
	}
	return ranges, nil
}

// holdLocked is Hold where why says that the table's key is not to be had; ringMu is
// held.
func (t *Table) holdLocked(ctx context.Context, h *Held, why error) error {
	h.Why = why
	if err := t.lockAfterRing(ctx); err != nil {
		return why // it is closing still, or somebody asks for the key
	}
	defer t.mu.Unlock()
	if _, err := t.closedCleanly(why); err != nil {
		return err
	}
	// The table may have locked in the middle of hold.
	if err := t.store.fs.RemoveAll(h.dir); err != nil {
		return err
	}
	h.Sealed, h.Seal, h.Incarnation, h.Overlay, h.Files = false, nil, keyring.ID{}, nil, nil
	if err := t.linkLocked(h.dir); err != nil {
		return err
	}
	if err := h.list(); err != nil {
		return err
	}
	return h.addOverlay()
}

// addOverlay takes the one overlay of a table that is locked.
func (h *Held) addOverlay() error {
	t := h.table
	dir := t.store.fs.PathJoin(t.dir, overlayDir)
	if err := t.store.checkDir(dir); err != nil {
		return err
	}
	names, err := t.store.fs.List(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(names) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if len(names) > 1 {
		return corrupt.New(corrupt.ErrForeign, t.store.rel(dir), -1, "has %d overlays, and without the table's key nobody tells which is in force", len(names))
	}
	h.Overlay, err = t.store.readSmall(t.store.fs.PathJoin(dir, names[0]), keyring.MaxOverlayLen)
	return err
}

// list takes in the directory, by names and headers.
func (h *Held) list() error {
	fs := h.table.store.fs
	names, err := fs.List(h.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		f := HeldFile{Name: n}
		path := fs.PathJoin(h.dir, n)
		fi, err := lstat(fs, path)
		if err != nil {
			return err
		}
		if f.Size = fi.Size(); f.Size > 0 {
			hd, err := h.table.store.readHeader(path)
			if err != nil {
				return err
			}
			f.Kind, f.Number, f.FileID = hd.Identity.Kind, hd.Identity.Number, hd.Identity.FileID
			if !h.Sealed {
				f.Keys = []keyring.WrappedDataKey{{File: f.FileID, Version: hd.KeyVersion, Wrapped: hd.WrappedKey}}
			}
		}
		h.Files = append(h.Files, f)
	}
	return nil
}

// readHeader reads the header of a sealed file.
func (s *Store) readHeader(path string) (*keyring.Header, error) {
	f, err := s.fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var buf [keyring.HeaderLen]byte
	n, err := f.ReadAt(buf[:], 0)
	if n < len(buf) && err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	hd, err := keyring.ParseHeader(buf[:n])
	if err != nil {
		return nil, corrupt.At(s.rel(path), err)
	}
	return hd, nil
}

// Table is the table that is held.
func (h *Held) Table() *Table { return h.table }

// Open opens the ciphertext of a file, which does not change any more.
func (h *Held) Open(name string) (vfs.File, error) {
	if !slices.ContainsFunc(h.Files, func(f HeldFile) bool { return f.Name == name }) {
		return nil, fmt.Errorf("%s is not held: %w", clip(name), os.ErrNotExist)
	}
	return h.table.store.fs.Open(h.table.store.fs.PathJoin(h.dir, name))
}

// Close lets go: what is held may be removed from then on. It is idempotent.
func (h *Held) Close() error {
	h.closing.Do(func() {
		h.err = h.table.store.fs.RemoveAll(h.dir)
		h.table.holds.Delete(h.id.String())
	})
	return h.err
}

// WithKeys has a root key unwrap the table's key, calls f with it, and wipes it. f is
// called once, or not at all. Errors: ErrKeyInaccessible, ErrClosed, and f's.
func (t *Table) WithKeys(ctx context.Context, f func(*keyring.TableKeys) error) error {
	keys, m, err := t.openMetadata(ctx)
	if err != nil {
		return err
	}
	defer keys.Wipe()
	if m.locked {
		return &LockedError{Table: t.name, Since: time.Now()}
	}
	return f(keys)
}

// Lockbox holds the table's key, every version, wrapped by its root keys: what a backup
// needs beside the ciphertext. It takes no key. See keyring.OpenLockbox.
func (t *Table) Lockbox() ([]byte, error) {
	box, err := t.store.ring.Lockbox(t.id)
	return box, t.keyError(err)
}

// checkpoint fills a directory with the table's files, durably, and describes it. i is
// entered.
func (t *Table) checkpoint(i *instance, dir string) (*sealfs.Seal, error) {
	fs := t.store.fs
	parent := fs.PathDir(dir)
	if err := t.store.checkDir(parent); err != nil {
		return nil, err
	}
	if err := t.store.mkdir(parent); err != nil {
		return nil, err
	}
	if err := i.result(i.db.Checkpoint(dir, pebble.WithFlushedWAL())); err != nil {
		return nil, err
	}
	seal, err := i.fs.Seal(dir) // syncs the directory
	if err != nil {
		return nil, err
	}
	return seal, syncDir(fs, parent)
}

// StoreID is the id of the table's store.
func (t *Table) StoreID() keyring.ID { return t.store.ID() }
