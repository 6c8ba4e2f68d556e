package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/engine/internal/sealfs"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/wal"
)

// archiveDir is where closed log segments of tables wait that are archived, in a
// directory a table.
const archiveDir = "archive"

// DefaultArchiveLimit is Options.ArchiveLimit unless it is set.
const DefaultArchiveLimit = 1 << 30

var (
	// ErrNotArchiving: the table does not keep its log segments; see
	// Table.SetArchiving.
	ErrNotArchiving = sealfs.ErrNotArchived
	// ErrSegmentOpen: a log segment is still written to.
	ErrSegmentOpen = sealfs.ErrLogOpen
	// ErrSegmentGone: the table has no such log segment any more: it is done, or
	// went because too much waited, or archiving was turned off.
	ErrSegmentGone = errors.New("the log segment is gone")
)

// An ArchiveSegment is a piece of a table's log, as a point-in-time archive takes
// it. Its bytes are ciphertext and stay so: a reader with the table's keys opens
// them (OpenArchived).
type ArchiveSegment struct {
	// Number and FileID name the segment. Numbers rise along the log; they recur in
	// another life of the table, file ids never do.
	Number      uint64     `json:"number"`
	FileID      keyring.ID `json:"file_id"`
	Incarnation keyring.ID `json:"incarnation"` // the table's life
	CreatedAt   time.Time  `json:"created_at"`
	// Closed: nothing follows in this segment. One that is not closed grows, and has
	// been shipped up to Length.
	Closed bool `json:"closed"`
	// Length is how many of the file's bytes, from its first, may be taken: up to the
	// end of the last frame that is durable. No power cut takes any of them away.
	Length int64 `json:"length"`
	// Frames is the number of frames in them; 0 where they were not counted, for want
	// of a key (Table.WaitingSegments).
	Frames uint64 `json:"frames"`
	// First and Last are when the first and the last of these frames were sealed, by
	// the clock of this machine. Within a segment times never fall; from one to the
	// next they may, if the clock was set back.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Previous is the segment before this one, with its final number of frames; zero
	// for the first of the table. Where it is not the one that was taken last, or
	// has another number of frames, something is missing between them.
	Previous wal.Segment `json:"previous"`
	// Keys are the data keys of its frames, as the segment itself carries them;
	// Rewrapped are those of them that the table's overlay has under a newer version
	// of its key. All versions named here, or those of Rewrapped in place of theirs,
	// are needed to open it.
	Keys      []keyring.WrappedDataKey `json:"-"`
	Rewrapped []keyring.WrappedDataKey `json:"-"`
	// Damage is why a segment that waits cannot be read: somebody has changed its
	// bytes. ArchiveDone gives it up; what follows then shows the gap.
	Damage error `json:"-"`
}

// ArchiveStats are figures of a table's archive since the table was opened.
type ArchiveStats struct {
	Waiting int   `json:"waiting"` // closed segments that Pebble no longer needs and nobody has taken
	Bytes   int64 `json:"bytes"`   // of those, on disk
	// Dropped segments went since the table was opened, because more than
	// Options.ArchiveLimit bytes waited. Each leaves a gap in the archive.
	Dropped      int   `json:"dropped"`
	DroppedBytes int64 `json:"dropped_bytes"`
}

func (t *Table) archiveDir() string { return t.store.path(archiveDir, t.id.String()) }

// SetArchiving has the table keep its log segments, or ends that. While it is on, no
// segment goes before ArchiveDone has said that it is safe elsewhere: those that
// Pebble no longer needs wait in the store's directory archive, up to
// Options.ArchiveLimit bytes, and beyond that the oldest go, which is logged and
// counted (Table.ArchiveStats) and which the next segment shows. Writes never wait
// for whoever takes them. Logs are not used again for new ones meanwhile.
//
// All that is written after it has returned is in the archive's segments, and some
// of what was written before. A base for them is a snapshot or backup that is made
// after it has returned.
//
// What waits when archiving ends is removed; so it is when the table is dropped.
// Whether it is on is sealed with the table's metadata, and holds after any restart.
// It is durable when it returns. Errors: those of Table.SetSchedule, and
// ErrPoisoned, where the table has to be opened again.
func (t *Table) SetArchiving(ctx context.Context, on bool) error {
	if t.store.opts.Mode == ReadOnly {
		return ErrReadOnly
	}
	if err := t.beginRotation(ctx); err != nil {
		return err
	}
	defer t.endRotation()
	keys, _, err := t.openMetadata(ctx)
	if err != nil {
		return err
	}
	defer keys.Wipe()
	if on {
		// Before the mark: if we crash here, the next opening removes the directory.
		if err := t.makeArchiveDir(); err != nil {
			return err
		}
	}
	var told error
	err = t.editMetadata(ctx, keys, func(m *metadata) error {
		m.archiving = on
		return nil
	}, func(m *metadata) { told = t.applyArchiving(m) })
	return errors.Join(err, told)
}

// applyArchiving has the open instance do what the metadata says; t.mu is held.
func (t *Table) applyArchiving(m *metadata) error {
	i := t.inst.Load()
	if i != nil && !i.readOnly {
		if err := t.startArchive(i, m); err != nil {
			i.hole.Trip(err)
			return &poisoned{cause: err}
		}
	}
	if m.archiving {
		return nil
	}
	return t.removeArchive()
}

// Archiving tells whether the table keeps its log segments. It asks the key service
// for the table's key.
func (t *Table) Archiving(ctx context.Context) (bool, error) {
	m, err := t.metadata(ctx)
	if err != nil {
		return false, err
	}
	return m.archiving, nil
}

// makeArchiveDir makes the directory where the table's segments wait, durably.
func (t *Table) makeArchiveDir() error {
	for _, dir := range []string{t.store.path(archiveDir), t.archiveDir()} {
		if err := t.store.checkDir(dir); err != nil {
			return err
		}
		if _, err := t.store.fs.Stat(dir); errors.Is(err, os.ErrNotExist) {
			err = t.store.mkdir(dir)
			if err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// startArchive has an instance keep its logs, if the table is archived.
func (t *Table) startArchive(i *instance, m *metadata) error {
	if !m.archiving {
		return i.fs.SetArchive(t.dir, "", 0)
	}
	return i.fs.SetArchive(t.dir, t.archiveDir(), t.store.opts.ArchiveLimit)
}

// openArchive is startArchive for an instance that opens. What a crash has left of
// an archive that is off, it removes.
func (t *Table) openArchive(i *instance, m *metadata) error {
	if m.archiving {
		for _, dir := range []string{t.store.path(archiveDir), t.archiveDir()} {
			if err := t.store.checkDir(dir); err != nil {
				return err
			}
		}
		if !i.readOnly {
			if err := t.makeArchiveDir(); err != nil {
				return err
			}
		}
		return t.startArchive(i, m)
	}
	if !i.readOnly && !t.unsure.Load() {
		if _, err := t.store.fs.Stat(t.archiveDir()); err == nil {
			t.store.removeLeft(t.archiveDir())
		}
	}
	return nil
}

// removeArchive removes what waits, durably.
func (t *Table) removeArchive() error {
	err := t.store.fs.RemoveAll(t.archiveDir())
	if err == nil {
		err = syncDir(t.store.fs, t.store.path(archiveDir))
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// ArchiveStats are the figures of the table's archive; it opens the table. They are
// zero where the table is not archived.
func (t *Table) ArchiveStats() (ArchiveStats, error) {
	i, err := t.use()
	if err != nil {
		return ArchiveStats{}, err
	}
	defer i.leave()
	return ArchiveStats(i.fs.ArchiveStats()), i.result(nil)
}

// SyncLog makes all durable that was written without a sync and has returned. It is
// what an archive's timer calls before ArchiveSegments, which gives durable bytes
// alone. It does nothing where nothing is to be done, and does not open the table:
// one that was closed has made all durable.
func (t *Table) SyncLog(ctx context.Context) error {
	if t.store.opts.Mode == ReadOnly {
		return ErrReadOnly
	}
	i := t.inst.Load()
	if i == nil || i.readOnly || !i.enter() {
		return ctx.Err()
	}
	defer i.leave()
	if !i.pending.Swap(false) {
		return i.result(nil)
	}
	return i.result(i.db.LogData(nil, pebble.Sync))
}

// ArchiveSegments lists, in the order of the log, what can be shipped: segments that
// wait, closed ones that the table still needs, and the durable part of the open
// one, if it holds anything yet. Those that ArchiveDone was told of are not among
// them. Two lists in a row may have the same open segment with another Length; a
// segment that was open is closed in a later one, with all that came.
//
// The segments of a list follow each other, by Previous, but where
// Options.ArchiveLimit has taken some. The first time after an opening it reads
// segments that an earlier process has left, once.
//
// It opens the table. In a store that is open to read only, and on a full disk, it
// lists what waits and no more. Errors: ErrNotArchiving, and those of a read.
func (t *Table) ArchiveSegments(ctx context.Context) ([]ArchiveSegment, error) {
	i, err := t.use()
	if err != nil {
		return nil, err
	}
	defer i.leave()
	list, err := i.fs.LogSegments(ctx, i.readOnly)
	if err != nil {
		return nil, err
	}
	o := i.keys.Overlay()
	segments := make([]ArchiveSegment, len(list))
	for n, s := range list {
		segments[n] = archiveSegment(&s, o)
	}
	return segments, i.result(nil)
}

func archiveSegment(s *sealfs.LogSegment, o *keyring.Overlay) ArchiveSegment {
	a := ArchiveSegment{
		Number: s.Number, FileID: s.FileID, Incarnation: s.Incarnation, CreatedAt: s.CreatedAt,
		Closed: s.Closed, Length: s.Bytes, Frames: s.Frames, First: s.First, Last: s.Last,
		Previous: s.Previous, Damage: s.Damage,
	}
	for _, k := range s.Keys {
		a.Keys = append(a.Keys, keyring.WrappedDataKey{File: k.ID, Version: k.Version, Wrapped: k.Wrapped})
		if w, ok := o.Wrap(k.ID); ok {
			a.Rewrapped = append(a.Rewrapped, w)
		}
	}
	return a
}

// WaitingSegments lists the segments that wait, by number, without the table's key:
// for a table that is locked, or whose key is not to be had. Their headers say what
// they are, which nobody has checked: whoever ships them marks them as unsealed.
// Frames, times and Previous are not known, and Length is that of the file, which
// may have bytes of a former log behind the last frame (OpenArchived: Unsealed). Keys
// has that of the header alone. What the table still needs is not among them.
func (t *Table) WaitingSegments(ctx context.Context) ([]ArchiveSegment, error) {
	if t.store.isClosed() {
		return nil, ErrClosed
	}
	for _, dir := range []string{t.store.path(archiveDir), t.archiveDir()} {
		if err := t.store.checkDir(dir); err != nil {
			return nil, err
		}
	}
	names, err := t.store.fs.List(t.archiveDir())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []ArchiveSegment
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		number, id, ok := sealfs.ParseArchived(name)
		if !ok {
			continue
		}
		s, err := t.waitingSegment(t.store.fs.PathJoin(t.archiveDir(), name), number, id)
		if errors.Is(err, os.ErrNotExist) {
			continue // somebody has taken it meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b ArchiveSegment) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), slices.Compare(a.FileID[:], b.FileID[:]))
	})
	return list, nil
}

func (t *Table) waitingSegment(path string, number uint64, id keyring.ID) (ArchiveSegment, error) {
	s := ArchiveSegment{Number: number, FileID: id, Closed: true}
	fi, err := lstat(t.store.fs, path)
	if err != nil {
		return s, err
	}
	if !fi.Mode().IsRegular() {
		return s, corrupt.New(corrupt.ErrForeign, t.store.rel(path), -1, "is a %s, not a regular file", fi.Mode().Type())
	}
	s.Length = fi.Size()
	h := t.store.headerOf(path)
	switch {
	case h == nil:
		s.Damage = corrupt.New(corrupt.ErrFormat, t.store.rel(path), 0, "it has no header that parses")
	case h.Identity.FileID != id || h.Identity.Number != number:
		s.Damage = corrupt.New(corrupt.ErrForeign, t.store.rel(path), 48, "is file %s, its name says %s", h.Identity.FileID, id)
	default:
		s.Incarnation, s.CreatedAt = h.Identity.Incarnation, h.Identity.CreatedAt
		s.Keys = []keyring.WrappedDataKey{{File: id, Version: h.KeyVersion, Wrapped: h.WrappedKey}}
	}
	return s, nil
}

// An ArchiveReader reads the ciphertext of a segment: its first Length bytes, as
// they lie on disk. It is safe for concurrent use, and is closed by its owner. While
// it is open the segment's bytes do not change.
type ArchiveReader struct {
	*io.SectionReader
	file vfs.File
	shut sync.Once
	err  error // of the close
}

// Close lets go of the segment. It is idempotent.
func (r *ArchiveReader) Close() error {
	r.shut.Do(func() { r.err = r.file.Close() })
	return r.err
}

// OpenSegment opens a segment of ArchiveSegments or WaitingSegments for reading. It
// does not hold up the table: the segment may be written to, may be moved or be done
// meanwhile; the reader goes on. Of a table that is open it needs the table open
// still; where that is closed, or locked, only those that wait are to be had.
//
// Errors: ErrSegmentGone, ErrNotArchiving.
func (t *Table) OpenSegment(s ArchiveSegment) (*ArchiveReader, error) {
	f, err := t.openSegment(s)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %d (%s) of %s", ErrSegmentGone, s.Number, s.FileID, t.name)
	}
	if err != nil {
		return nil, err
	}
	return &ArchiveReader{SectionReader: io.NewSectionReader(f, 0, s.Length), file: f}, nil
}

func (t *Table) openSegment(s ArchiveSegment) (vfs.File, error) {
	if i := t.inst.Load(); i != nil && i.enter() {
		defer i.leave()
		return i.fs.OpenSegment(s.Number, s.FileID)
	}
	if t.store.isClosed() {
		return nil, ErrClosed
	}
	path := t.store.fs.PathJoin(t.archiveDir(), sealfs.ArchivedName(s.Number, s.FileID))
	if fi, err := lstat(t.store.fs, path); err != nil {
		return nil, err
	} else if !fi.Mode().IsRegular() {
		return nil, corrupt.New(corrupt.ErrForeign, t.store.rel(path), -1, "is a %s, not a regular file", fi.Mode().Type())
	}
	return t.store.fs.Open(path)
}

// ArchiveDone says that a closed segment is safe elsewhere, whole: the store need
// not keep it. One that waits is removed, durably, before ArchiveDone returns; one
// that the table still needs goes when the table has no more use for it. After a
// crash that comes before, it is listed again. A segment that is not there is done.
//
// The table need not be open, nor its key be at hand. Errors: ErrSegmentOpen where
// it is written to, ErrReadOnly, ErrNotArchiving.
func (t *Table) ArchiveDone(s ArchiveSegment) error {
	if t.store.opts.Mode == ReadOnly {
		return ErrReadOnly
	}
	if !s.Closed {
		return fmt.Errorf("%w: %d of %s", ErrSegmentOpen, s.Number, t.name)
	}
	if i := t.inst.Load(); i != nil && i.enter() {
		defer i.leave()
		return i.fs.SegmentDone(s.Number, s.FileID)
	}
	t.mu.Lock() // no instance opens meanwhile
	defer t.mu.Unlock()
	if i := t.inst.Load(); i != nil && i.enter() {
		defer i.leave()
		return i.fs.SegmentDone(s.Number, s.FileID)
	}
	if t.store.isClosed() {
		return ErrClosed
	}
	err := t.store.fs.Remove(t.store.fs.PathJoin(t.archiveDir(), sealfs.ArchivedName(s.Number, s.FileID)))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(t.store.fs, t.archiveDir())
}
