package sealfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/wal"
)

// A LogSegment is a log of the table as a point-in-time archive takes it.
type LogSegment struct {
	wal.Extent // what may be read: all of it is durable
	Number     uint64
	FileID     keyring.ID
	CreatedAt  time.Time
	// Incarnation is the life of the table in which it was made.
	Incarnation keyring.ID
	Closed      bool        // no frame follows
	Waiting     bool        // it lies in the archive's directory
	Previous    wal.Segment // as its frame 0 names it
	// Damage is why the frames of one that waits cannot be read; then the extent has
	// the length of the file and nothing else.
	Damage error
}

// known tells whether its frames have been counted.
func (s *LogSegment) known() bool { return s.Frames > 0 || s.Damage != nil }

// archive keeps the logs that Pebble no longer needs until somebody has taken them.
//
// Pebble asks for the removal of a log, or to use its file again. Then the log is
// renamed into the archive's directory, under a name of its number and file id, for
// numbers recur. It is a rename and never a link: a file that is used again is
// sealed anew in place, and would take the bytes from under another name of it. A log
// that somebody has already is removed, or used again, as ever.
//
// Order of durability, of a log that is taken: its bytes, which are synced since it
// was closed; its new name; the loss of the old one. If we crash in between, the
// log has either name, or both: then Pebble asks for its removal once more, and
// the one in the archive stays.
type archive struct {
	fs    *FS
	of    *dir   // whose logs are taken
	dir   string // where they wait
	limit int64  // bytes that may wait

	// taking is held for reading while a log is taken. It guards ended, and is taken
	// before mu.
	taking sync.RWMutex
	ended  bool // none is taken any more

	mu      sync.Mutex // guards all below; before of.mu
	waiting map[keyring.ID]*LogSegment
	bytes   int64               // of those
	done    map[keyring.ID]bool // in of still, and somebody has them
	left    map[string]fileName // to be taken once a later log is there, by path
	lost    ArchiveStats        // what went for want of room
}

// ArchiveStats are figures of an archive.
type ArchiveStats struct {
	Waiting      int   // logs in its directory
	Bytes        int64 // of them
	Dropped      int   // logs that went for want of room, since SetArchive
	DroppedBytes int64
}

// ErrNotArchived says that the table's logs are not kept.
var ErrNotArchived = errors.New("the table's logs are not archived")

// ErrLogOpen says that a log is written to.
var ErrLogOpen = errors.New("the log is written to")

// SetArchive has the logs of the directory at path kept, from now on, in dir, which
// exists: as many as take limit bytes, and of more than that the newest. An empty
// dir ends that: when it returns, nothing comes into the former one any more. What waits there already is taken in; a file that has no name of a
// log's is left alone.
func (fs *FS) SetArchive(path, dir string, limit int64) error {
	before := fs.archive.Load()
	if before != nil && before.dir == dir {
		return nil
	}
	if before != nil {
		fs.archive.Store(nil)
		before.end()
	}
	if dir == "" {
		return nil
	}
	a := &archive{
		fs: fs, of: fs.dir(path), dir: dir, limit: limit,
		waiting: make(map[keyring.ID]*LogSegment), done: make(map[keyring.ID]bool), left: make(map[string]fileName),
	}
	names, err := fs.cfg.Base.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, n := range names {
		number, id, ok := ParseArchived(n)
		if !ok {
			continue
		}
		fi, err := fs.regular(fs.PathJoin(dir, n))
		if err != nil {
			return err
		}
		a.add(&LogSegment{Number: number, FileID: id, Closed: true, Waiting: true, Extent: wal.Extent{Bytes: fi.Size()}})
	}
	fs.archive.Store(a)
	return nil
}

// ArchivedName is the name of a log in an archive's directory.
func ArchivedName(number uint64, id keyring.ID) string {
	return fmt.Sprintf("%06d-%s.log", number, id)
}

// ParseArchived takes such a name apart.
func ParseArchived(base string) (n uint64, id keyring.ID, ok bool) {
	s, ok := strings.CutSuffix(base, ".log")
	if !ok {
		return 0, id, false
	}
	digits, hex, ok := strings.Cut(s, "-")
	if !ok {
		return 0, id, false
	}
	id, err := keyring.ParseID(hex)
	n, ok = number(digits, "", "")
	return n, id, ok && err == nil && n <= maxNumber && ArchivedName(n, id) == base
}

func (a *archive) path(s *LogSegment) string {
	return a.fs.PathJoin(a.dir, ArchivedName(s.Number, s.FileID))
}

// add enters a log that waits; a.mu is held, or nobody else knows of a.
func (a *archive) add(s *LogSegment) {
	if old := a.waiting[s.FileID]; old != nil {
		a.bytes -= old.Bytes
	}
	a.waiting[s.FileID] = s
	a.bytes += s.Bytes
}

// drop takes a log out again; a.mu is held.
func (a *archive) drop(s *LogSegment) {
	delete(a.waiting, s.FileID)
	a.bytes -= s.Bytes
}

// archiveOf is the archive that takes the logs of a directory, or nil.
func (fs *FS) archiveOf(d *dir) *archive {
	if a := fs.archive.Load(); a != nil && a.of == d {
		return a
	}
	return nil
}

// end waits for those that take a log, and lets nobody take another.
func (a *archive) end() {
	a.taking.Lock()
	defer a.taking.Unlock()
	a.ended = true
}

// take moves a log into the archive, or removes it if somebody has it already.
func (a *archive) take(name string, fn fileName) error {
	fs, d := a.fs, a.of
	a.taking.RLock()
	defer a.taking.RUnlock()
	if a.ended {
		return a.remove(name, fn)
	}
	fi, err := fs.regular(name)
	if err != nil {
		return err
	}
	h, err := fs.header(name)
	if err == nil && h != nil {
		err = fs.checkIdentity(&h.Identity, fn)
	}
	switch {
	case errors.Is(err, corrupt.ErrCorrupt), err == nil && h == nil:
		// A crash has left it on its way to another name, under another key: what it
		// held before cannot be had. Or somebody has changed it; then the log behind
		// it names one that is not there.
		fs.cfg.Logger.Warn("a file in the place of a log cannot be archived", "file", fs.rel(name), "error", err)
		return a.remove(name, fn)
	case err != nil:
		return err
	}
	id := h.Identity.FileID
	if a.leave(name, fn, id) {
		return nil
	}
	a.mu.Lock()
	done, twice := a.done[id], a.waiting[id] != nil
	a.mu.Unlock()
	if done || twice {
		if err := a.remove(name, fn); err != nil {
			return err
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.done, id)
		return nil
	}
	s, err := a.settle(name, fn, fi.Size(), &h.Identity)
	if err != nil {
		return err
	}
	if err := a.move(name, s); err != nil {
		return err
	}
	a.mu.Lock()
	a.add(s)
	d.removed(fn)
	done = a.done[id] // meanwhile
	delete(a.done, id)
	a.mu.Unlock()
	if done {
		return a.segmentDone(s.Number, id)
	}
	return a.makeRoom()
}

// leave tells whether a log is the last that there is. A recovery gives it up before
// the next one has its name: if we crashed then, nothing in the directory would say
// what the next one follows. So it is left until that has its name durably.
func (a *archive) leave(name string, fn fileName, id keyring.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	if a.of.previous.FileID != id {
		return false
	}
	for _, f := range a.of.live {
		if f.name.class == classLog && f.placed {
			return false
		}
	}
	a.left[name] = fn
	return true
}

// takeLeft takes the logs that were left, where there is a later one by now.
func (a *archive) takeLeft() error {
	a.mu.Lock()
	left := maps.Clone(a.left)
	clear(a.left)
	a.mu.Unlock()
	for name, fn := range left {
		if err := a.take(name, fn); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (a *archive) remove(name string, fn fileName) error {
	if err := a.fs.cfg.Base.Remove(name); err != nil {
		return err
	}
	a.of.removed(fn)
	return nil
}

// settle sees to it that a log is durable and ends where its last frame does: what
// follows is of a file that was used again. Of one that nobody has counted it
// leaves all as it is.
func (a *archive) settle(name string, fn fileName, size int64, id *keyring.Identity) (*LogSegment, error) {
	a.of.mu.Lock()
	known := a.of.closed[id.FileID]
	a.of.mu.Unlock()
	if known == nil {
		s := newLogSegment(id)
		s.Closed, s.Waiting, s.Bytes = true, true, size
		return s, a.fs.syncFile(name)
	}
	s := *known
	s.Waiting = true
	if !s.Closed {
		// Its last frames were not synced: which is Pebble's to do when it closes a log.
		s.Extent, s.Closed = wal.Extent{Bytes: size}, true
		return &s, a.fs.syncFile(name)
	}
	if size > s.Bytes && a.fs.os {
		return &s, a.fs.cut(name, s.Bytes, 0)
	}
	return &s, nil
}

func newLogSegment(id *keyring.Identity) *LogSegment {
	return &LogSegment{Number: id.Number, FileID: id.FileID, CreatedAt: id.CreatedAt, Incarnation: id.Incarnation}
}

// syncFile makes what is in the page cache of a file durable.
func (fs *FS) syncFile(name string) error {
	f, err := fs.cfg.Base.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// move gives a log its name in the archive, durably.
func (a *archive) move(name string, s *LogSegment) error {
	if err := a.rename(name, s); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			// Not as "not exist", which Pebble takes for done.
			return corrupt.New(corrupt.ErrMissing, a.fs.rel(a.dir), -1, "the archive's directory is not there: log %d cannot be kept", s.Number)
		}
		return err
	}
	return a.fs.syncDir(a.of.path)
}

// rename is move but for the loss of the old name. Nobody syncs the table's
// directory between the rename and the sync of the archive's: a file system that
// makes directories durable one by one would have the log in neither.
func (a *archive) rename(name string, s *LogSegment) error {
	a.of.moving.Lock()
	defer a.of.moving.Unlock()
	if err := a.fs.cfg.Base.Rename(name, a.path(s)); err != nil {
		return err
	}
	return a.fs.syncDir(a.dir)
}

// makeRoom removes the oldest logs that wait while they take more than the limit.
// Who takes the archive's logs sees the gap: the next one names the one before it.
func (a *archive) makeRoom() error {
	for {
		s := a.excess()
		if s == nil {
			return nil
		}
		if err := a.fs.cfg.Base.Remove(a.path(s)); err != nil && !errors.Is(err, os.ErrNotExist) {
			a.mu.Lock()
			a.add(s)
			a.mu.Unlock()
			return err
		}
		a.mu.Lock()
		a.lost.Dropped++
		a.lost.DroppedBytes += s.Bytes
		a.mu.Unlock()
		a.fs.cfg.Logger.Error("a log segment is lost to the archive: too much waits to be shipped",
			"file", a.fs.rel(a.path(s)), "bytes", s.Bytes, "limit", a.limit)
	}
}

// excess takes the oldest log out that waits beyond the limit, or none.
func (a *archive) excess() *LogSegment {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bytes <= a.limit {
		return nil
	}
	s := slices.MinFunc(slices.Collect(maps.Values(a.waiting)), compareSegments)
	a.drop(s)
	return s
}

func compareSegments(a, b *LogSegment) int {
	return cmp.Or(cmp.Compare(a.Number, b.Number), slices.Compare(a.FileID[:], b.FileID[:]))
}

// ArchiveStats are the figures of the archive; zero without one.
func (fs *FS) ArchiveStats() ArchiveStats {
	a := fs.archive.Load()
	if a == nil {
		return ArchiveStats{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.lost
	s.Waiting, s.Bytes = len(a.waiting), a.bytes
	return s
}

// LogSegments are the logs that an archive can take, by number: those that wait,
// those that are closed and that Pebble has not given up yet, and the durable part
// of the one that is written to. Those that nobody has taken are complete: each
// log follows the one before it, unless ArchiveStats tells of a loss.
//
// waitingOnly leaves out what lies in the table's directory, for those who have not
// made it durable. A log that nobody has counted yet is read once, which takes as
// long as reading it takes.
func (fs *FS) LogSegments(ctx context.Context, waitingOnly bool) ([]LogSegment, error) {
	a := fs.archive.Load()
	if a == nil {
		return nil, ErrNotArchived
	}
	var list []LogSegment
	for _, s := range a.all(waitingOnly) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !s.known() {
			var err error
			if s, err = a.count(s); err != nil {
				return nil, err
			}
			if s == nil {
				continue
			}
		}
		list = append(list, *s)
	}
	return list, nil
}

// all are the logs that can be taken, counted or not.
func (a *archive) all(waitingOnly bool) []*LogSegment {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := slices.Collect(maps.Values(a.waiting))
	if !waitingOnly {
		list = append(list, a.inPlace()...)
	}
	slices.SortFunc(list, compareSegments)
	return list
}

// inPlace are those that lie in the table's directory; a.mu is held.
func (a *archive) inPlace() (list []*LogSegment) {
	d := a.of
	d.mu.Lock()
	defer d.mu.Unlock()
	live := make(map[uint64]bool)
	for _, f := range d.live {
		if f.name.class != classLog {
			continue
		}
		live[f.name.number] = true
		// Frame 0 is synced before the log has its name durably, and says nothing that
		// a later one does not.
		if e := f.w.Synced(); f.placed && e.Frames > 1 {
			list = append(list, f.logSegment(e))
		}
	}
	for n, e := range d.logs {
		if live[n] || e.FileID.IsZero() || a.done[e.FileID] || a.waiting[e.FileID] != nil {
			continue
		}
		s := d.closed[e.FileID]
		if s == nil {
			s = &LogSegment{Number: n, FileID: e.FileID, Closed: true}
		}
		list = append(list, s)
	}
	return list
}

func (f *logFile) logSegment(e wal.Extent) *LogSegment {
	id := f.w.Identity()
	s := newLogSegment(&id)
	s.Extent, s.Previous = e, f.past.Previous
	return s
}

// count reads a log to its end, and keeps what it finds. nil is one that is gone, or
// is none.
func (a *archive) count(s *LogSegment) (*LogSegment, error) {
	read, err := a.read(s)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil // somebody has taken it meanwhile
	case errors.Is(err, corrupt.ErrCorrupt) && !s.Waiting:
		return nil, nil // Pebble does not need it, and take will judge it
	case errors.Is(err, corrupt.ErrCorrupt):
		damaged := *s
		damaged.Damage = err
		read = &damaged
	case err != nil:
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.waiting[s.FileID]; now != nil {
		read.Waiting = true
		a.add(read)
	}
	return read, nil
}

func (a *archive) read(s *LogSegment) (*LogSegment, error) {
	f, err := a.open(s.Number, s.FileID)
	if err != nil {
		return nil, err
	}
	r, h, err := a.fs.readArchived(f, a.fs.rel(a.path(s)), s.Number)
	if err != nil {
		f.Close()
		return nil, err
	}
	defer r.Close()
	for err == nil {
		_, err = r.Next()
	}
	if err != io.EOF {
		return nil, err
	}
	read := newLogSegment(&h.Identity)
	read.Extent, read.Previous, read.Closed, read.Waiting = r.Extent(), r.Past().Previous, true, s.Waiting
	return read, nil
}

// readArchived opens the frames of a log that may lie in an archive.
func (fs *FS) readArchived(f vfs.File, path string, number uint64) (*wal.Reader, *keyring.Header, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	fn := fileName{class: classLog, kind: keyring.KindWAL, number: number}
	o := &opened{file: f, size: fi.Size()}
	if o.size > maxLog {
		return nil, nil, corrupt.New(corrupt.ErrFormat, path, -1, "%d bytes are more than a log can have", o.size)
	}
	if err := fs.identify(o, path, fn); err != nil {
		return nil, nil, corrupt.At(path, err)
	}
	defer o.key.Wipe()
	opts := wal.Options{Suite: fs.cfg.Suite, Path: path}
	r, err := wal.NewReader(f, o.size, o.header, o.key, wal.ReaderOptions{Options: opts, Key: fs.cfg.Keys.DataKey})
	return r, o.header, err
}

// open opens the file of a log, wherever it lies.
func (a *archive) open(number uint64, id keyring.ID) (vfs.File, error) {
	fn := fileName{class: classLog, kind: keyring.KindWAL, number: number}
	a.of.moving.RLock() // it does not move while we look
	defer a.of.moving.RUnlock()
	f, err := a.fs.openAs(a.fs.PathJoin(a.of.path, fn.String()), id)
	if errors.Is(err, os.ErrNotExist) {
		f, err = a.fs.openAs(a.fs.PathJoin(a.dir, ArchivedName(number, id)), id)
	}
	return f, err
}

// openAs opens a file whose header names an id; another file does not exist.
func (fs *FS) openAs(name string, id keyring.ID) (vfs.File, error) {
	if _, err := fs.regular(name); err != nil {
		return nil, err
	}
	f, err := fs.cfg.Base.Open(name)
	if err != nil {
		return nil, err
	}
	var buf [keyring.HeaderLen]byte
	n, err := f.ReadAt(buf[:], 0)
	if n < len(buf) && err != nil && !isEOF(err) {
		return nil, errors.Join(err, f.Close())
	}
	if h, err := keyring.ParseHeader(buf[:n]); err == nil && h.Identity.FileID != id {
		f.Close()
		return nil, &os.PathError{Op: "open", Path: fs.rel(name), Err: os.ErrNotExist}
	}
	return f, nil
}

// OpenSegment opens a log for its ciphertext. While it is open the log's file is not
// used again. os.ErrNotExist says that it is gone.
func (fs *FS) OpenSegment(number uint64, id keyring.ID) (vfs.File, error) {
	a := fs.archive.Load()
	if a == nil {
		return nil, ErrNotArchived
	}
	fs.reading(id, 1) // before it is looked for
	f, err := a.open(number, id)
	if err != nil {
		fs.reading(id, -1)
		return nil, err
	}
	return &segmentFile{File: f, done: sync.OnceFunc(func() { fs.reading(id, -1) })}, nil
}

type segmentFile struct {
	vfs.File
	done func()
}

func (f *segmentFile) Close() error {
	err := f.File.Close()
	f.done()
	return err
}

// reading counts who reads a log's ciphertext, and tells how many do.
func (fs *FS) reading(id keyring.ID, more int) int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.readers[id] += more
	n := fs.readers[id]
	if n == 0 {
		delete(fs.readers, id)
	}
	return n
}

// SegmentDone says that a closed log is safe elsewhere. One that waits is removed,
// durably; one that Pebble still has goes when Pebble gives it up. Of a log that is
// not there it says nothing: it is done.
//
// It fails with ErrLogOpen where the log is written to.
func (fs *FS) SegmentDone(number uint64, id keyring.ID) error {
	a := fs.archive.Load()
	if a == nil {
		return ErrNotArchived
	}
	return a.segmentDone(number, id)
}

func (a *archive) segmentDone(number uint64, id keyring.ID) error {
	a.mu.Lock()
	s := a.waiting[id]
	if s == nil {
		defer a.mu.Unlock()
		return a.doneInPlace(number, id)
	}
	a.drop(s)
	a.mu.Unlock()
	err := a.fs.cfg.Base.Remove(a.path(s))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.add(s)
		return err
	}
	return a.fs.syncDir(a.dir)
}

// spare tells whether somebody has a log, so that its file may be used again.
func (a *archive) spare(fn fileName) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	return a.done[a.of.logs[fn.number].FileID]
}

// reused notes that a log's file is used again.
func (a *archive) reused(fn fileName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	delete(a.done, a.of.logs[fn.number].FileID)
}

// doneInPlace notes that a log need not wait; a.mu is held.
func (a *archive) doneInPlace(number uint64, id keyring.ID) error {
	d := a.of
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.live {
		if f.name.class == classLog && f.w.Identity().FileID == id {
			return fmt.Errorf("%w: %s", ErrLogOpen, f.name)
		}
	}
	if d.logs[number].FileID == id {
		a.done[id] = true
	}
	return nil
}

// ArchiveKeys gives visit the data keys of the logs that wait. Of one that is
// damaged it has none.
func (fs *FS) ArchiveKeys(ctx context.Context, visit func(KeyUse) error) error {
	list, err := fs.LogSegments(ctx, true)
	if errors.Is(err, ErrNotArchived) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range list {
		u := KeyUse{Name: ArchivedName(s.Number, s.FileID), Kind: keyring.KindWAL, Bytes: s.Bytes, CreatedAt: s.CreatedAt}
		for _, k := range s.Keys {
			u.ID, u.Version, u.Wrapped = k.ID, k.Version, k.Wrapped
			if err := visit(u); err != nil {
				return err
			}
			u.Bytes = 0
		}
	}
	return nil
}

// VerifyArchived reads a log in an archive to its end.
func (fs *FS) VerifyArchived(dir, base string) error {
	n, id, ok := ParseArchived(base)
	if !ok {
		return fs.unknown("verify", fs.PathJoin(dir, base))
	}
	name := fs.PathJoin(dir, base)
	if _, err := fs.regular(name); err != nil {
		return err
	}
	f, err := fs.cfg.Base.Open(name)
	if err != nil {
		return err
	}
	r, h, err := fs.readArchived(f, fs.rel(name), n)
	if err != nil {
		f.Close()
		return err
	}
	defer r.Close()
	if h.Identity.FileID != id {
		return corrupt.New(corrupt.ErrForeign, fs.rel(name), 48, "is file %s, its name says %s", h.Identity.FileID, id)
	}
	for err == nil {
		_, err = r.Next()
	}
	if err == io.EOF {
		return nil
	}
	return err
}
