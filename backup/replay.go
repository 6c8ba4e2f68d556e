package backup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/wal"
)

// newestLog is the number of the newest log in a backup; 0 if it has none.
func (x *index) newestLog() (n uint64) {
	for i := range x.files {
		n = max(n, logNumber(x.files[i].name))
	}
	return n
}

// logNumber is the number of a log; 0 of another file.
func logNumber(name string) uint64 {
	s, ok := strings.CutSuffix(name, ".log")
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// An archivedLog is the log of a table from a backup on, as far as it is to be applied.
type archivedLog struct {
	r           *Repository
	store       keyring.ID
	table       keyring.ID
	incarnation keyring.ID
	keys        *keyring.TableKeys
	at          time.Time // zero is the end
	segments    []archivedSegment
	first       uint64    // the segment that the backup ends in,
	batchCount  int       // how many batches it has of that,
	batchSum    digest    // and their digest
	reached     time.Time // what was sealed up to here is applied, when batches has ended
}

type archivedSegment struct {
	number uint64
	file   keyring.ID
	parts  []part
	hole   bool // more of it is there, and what comes between is missing
}

// openArchive finds the log that leads from a backup to a time; zero is as far as it
// goes. No data is read.
func (r *Repository) openArchive(ctx context.Context, t *planned, at time.Time, roots []keyring.RootKey) (*archivedLog, error) {
	name := t.done.Name
	if !t.index.sealed {
		return nil, fmt.Errorf("%w: nothing attests which logs follow the backup of %s", ErrUnsealed, name)
	}
	parts, err := r.parts(ctx, lineName(t.index.table, t.index.incarnation))
	if err != nil {
		return nil, err
	}
	upTo, err := r.upTo(ctx, t.index.table, t.index.incarnation)
	if err != nil {
		return nil, err
	}
	first := t.index.newestLog()
	l := &archivedLog{first: first, r: r, store: t.index.store, table: t.index.table, incarnation: t.index.incarnation, keys: t.keys, at: at, reached: t.entry.Until}
	end := t.entry.Until // of what can be reached
	for _, s := range segmentsOf(parts) {
		if s.number < first {
			continue
		}
		if len(l.segments) == 0 && s.number != first {
			if at.IsZero() {
				return nil, corrupt.New(corrupt.ErrMissing, lineName(t.index.table, t.index.incarnation)+segmentNumber(first), -1,
					"the backup ends in this segment, and the archive begins behind it: what comes between is missing")
			}
			break
		}
		l.segments = append(l.segments, s)
		if len(s.parts) == 0 {
			continue
		}
		if last := s.parts[len(s.parts)-1].last; last.After(end) {
			end = last
		}
	}
	if len(l.segments) > 0 && upTo.After(end) {
		end = upTo
	}
	if !at.IsZero() && (at.Before(t.entry.Until) || at.After(end)) {
		return nil, &RangeError{Table: name, At: at, Spans: []Span{{t.entry.Until, end}}}
	}
	return l, l.openKeys(ctx, t, roots)
}

// openKeys sees to it that the keys that are open have the versions that the log needs: the
// lockbox that opened the backup may be older than the log.
func (l *archivedLog) openKeys(ctx context.Context, t *planned, roots []keyring.RootKey) error {
	need := t.entry.Needed()
	for _, s := range l.segments {
		if len(s.parts) == 0 || !l.at.IsZero() && s.parts[0].first.After(l.at) {
			continue
		}
		// The last part has all data keys of the segment, as they are opened. A name may
		// stand for more than these two. Whichever lockbox has the last has all before it
		// that are not retired.
		need = append(need, s.parts[len(s.parts)-1].versions.list...)
	}
	slices.Sort(need)
	if need = slices.Compact(need); t.keys.Holds(need) {
		return nil
	}
	keys, err := l.r.Keys(ctx, t.entry.Table, need, roots)
	if err != nil {
		return fmt.Errorf("table %s: the keys of its logs: %w", t.entry.Table, err)
	}
	t.keys.Wipe()
	t.keys, l.keys = keys, keys
	return nil
}

// segmentsOf puts the parts of segments together: each from its beginning to the last
// part up to which none is missing and that ends with a frame. A segment of which the
// first is missing has none.
func segmentsOf(parts []part) (list []archivedSegment) {
	slices.SortStableFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.number, b.number), compareIDs(a.file, b.file), cmp.Compare(a.from, b.from), -cmp.Compare(a.to, b.to))
	})
	for len(parts) > 0 {
		s := archivedSegment{number: parts[0].number, file: parts[0].file}
		whole, at := 0, int64(0)
		for len(parts) > 0 && parts[0].number == s.number && parts[0].file == s.file {
			p := parts[0]
			parts = parts[1:]
			if p.from != at { // beside another that is longer, or behind a hole
				s.hole = s.hole || p.from > at
				continue
			}
			s.parts, at = append(s.parts, p), p.to
			if p.frames > 0 {
				whole = len(s.parts)
			}
		}
		if s.parts = s.parts[:whole]; whole > 0 || s.hole {
			list = append(list, s)
		}
	}
	return list
}

// readPart reads a part's stretch of a segment.
func (r *Repository) readPart(ctx context.Context, p part) (stretch []byte, keys []keyring.WrappedDataKey, err error) {
	name := p.object()
	b, err := storage.ReadAll(ctx, r.st, name, maxPart+maxPartHeader)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil, corrupt.New(corrupt.ErrMissing, name, -1, "it was there")
	}
	if err != nil {
		return nil, nil, damaged(name, err)
	}
	return openPart(name, p, b)
}

// openPart takes a part out of its object: it is that which the name tells of.
func openPart(name string, p part, b []byte) (stretch []byte, keys []keyring.WrappedDataKey, err error) {
	if sha256.Sum256(b) != p.digest {
		return nil, nil, corrupt.New(corrupt.ErrAuth, name, -1, "its SHA-256 is not what its name says")
	}
	h, n, err := parsePart(b)
	if err != nil {
		return nil, nil, corrupt.At(name, err)
	}
	if h.digest = p.digest; h.object() != name {
		return nil, nil, corrupt.New(corrupt.ErrForeign, name, 12, "is another part than its name says")
	}
	return b[n:], h.keys, nil
}

// follow finds where the backup ends, by the newest of its own logs: what it has already is
// not applied again. The archive may end before the backup does, and so may a time in a
// log whose clock was set back; then nothing would follow that undoes what was undone.
func (l *archivedLog) follow(stage *engine.Stage, x *index) (err error) {
	at := slices.IndexFunc(x.files, func(f indexFile) bool { return logNumber(f.name) == l.first })
	if l.first == 0 || at < 0 {
		return nil
	}
	own := &x.files[at]
	f, err := stage.Open(own.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	a, err := engine.OpenArchived(f, own.size, engine.ArchivedOptions{
		Keys: segmentKeys{l.keys, own.keys}, StoreID: l.store, TableID: l.table, Number: l.first, FileID: own.id, Path: own.name,
	})
	if err != nil {
		return err
	}
	defer a.Close()
	h := sha256.New()
	for b, err := range a.Batches() {
		if err != nil {
			return err
		}
		addBatch(h, b)
		l.batchCount++
	}
	h.Sum(l.batchSum[:0])
	return nil
}

// addBatch adds a batch, with its sequence number, to a digest.
func addBatch(h hash.Hash, b engine.ArchivedBatch) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(b.Repr)))
	h.Write(n[:])
	h.Write(b.Repr)
}

// A beginning is what an archive has of the segment that a backup ends in, read up to where
// the backup ends. The backup has a copy of that log under an id of its own: so it is the
// batches that show whether it is the same. The logs of two copies of a store, or of one
// that was put back and went on, are all authentic and have the same numbers.
type beginning struct {
	l       *archivedLog
	h       hash.Hash
	batches int
	same    bool // it begins with all that the backup has
	foreign bool // it does not, and goes on otherwise
}

// has takes a batch in, and tells whether the backup has it; not of one behind the end.
func (n *beginning) has(b engine.ArchivedBatch) bool {
	if n.batches == n.l.batchCount {
		n.end()
		return false
	}
	addBatch(n.h, b)
	n.batches++
	return true
}

// end compares, where all is read that the backup has.
func (n *beginning) end() {
	if n.batches == n.l.batchCount && !n.same && !n.foreign {
		n.same = digest(n.h.Sum(nil)) == n.l.batchSum
		n.foreign = !n.same
	}
}

// batches reads the log. Memory is bounded by a part and the largest batch; a segment lies
// in a temporary file meanwhile, as ciphertext.
func (l *archivedLog) batches(ctx context.Context) iter.Seq2[engine.ArchivedBatch, error] {
	return func(yield func(engine.ArchivedBatch, error) bool) {
		err := l.visit(ctx, func(b engine.ArchivedBatch) bool { return yield(b, nil) })
		if err != nil {
			yield(engine.ArchivedBatch{}, err)
		}
	}
}

func (l *archivedLog) visit(ctx context.Context, yield func(engine.ArchivedBatch) bool) error {
	foreign := func(what string) error {
		return corrupt.New(corrupt.ErrForeign, lineName(l.table, l.incarnation)+segmentNumber(l.first), -1, "%s", what)
	}
	if l.batchCount == 0 && len(l.segments) > 1 && l.segments[1].number == l.first {
		return foreign("is there twice, of a store and of a copy of it, and the backup has nothing of it that tells them apart")
	}
	var before wal.Segment
	var latest time.Time // no batch is older than the one before it, whatever the clock did
	whole, behind := false, false
	for _, s := range l.segments {
		n := &beginning{l: l, h: sha256.New()}
		begins := s.number == l.first
		if !begins && !whole {
			break
		}
		if begins && whole {
			continue // another of its number
		}
		more, err := l.segment(ctx, s, !begins, &before, func(b engine.ArchivedBatch) bool {
			if b.Time.After(latest) {
				latest = b.Time
			}
			if begins && (n.has(b) || n.foreign) {
				return !n.foreign
			}
			if !l.at.IsZero() && latest.After(l.at) {
				return false
			}
			if latest.After(l.reached) {
				l.reached = latest
			}
			return yield(b)
		})
		if err != nil {
			return err
		}
		if begins {
			n.end()
			whole, behind = n.same, behind || !n.same && !n.foreign
			if !whole {
				latest = time.Time{}
				continue
			}
		}
		if !more {
			return nil
		}
	}
	if len(l.segments) == 0 || whole || behind && l.segments[len(l.segments)-1].number == l.first {
		return nil
	}
	return foreign("is not the log that the backup ends in, but one of a copy of the store, or lacks what the backup has")
}

// segment reads one segment; more tells that visit wanted all of it.
func (l *archivedLog) segment(ctx context.Context, s archivedSegment, follows bool, before *wal.Segment, visit func(engine.ArchivedBatch) bool) (more bool, err error) {
	path := lineName(l.table, l.incarnation) + segmentNumber(s.number)
	missing := func() error {
		return corrupt.New(corrupt.ErrMissing, path, -1, "a part of the segment is missing, and others behind it are there")
	}
	if len(s.parts) == 0 {
		return false, missing()
	}
	f, err := newScratch("")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, keys, err := l.assemble(ctx, s, f)
	if err != nil {
		return false, err
	}
	a, err := engine.OpenArchived(f, size, engine.ArchivedOptions{
		Keys: segmentKeys{l.keys, keys}, StoreID: l.store, TableID: l.table, Number: s.number, FileID: s.file, Path: path,
	})
	if err != nil {
		return false, err
	}
	defer a.Close()
	if p := a.Previous(); follows && p != *before {
		return false, corrupt.New(corrupt.ErrMissing, path, -1, "follows segment %d with %d frames, and the archive has %d of segment %d: something between them is missing",
			p.Number, p.Frames, before.Frames, before.Number)
	}
	for b, err := range a.Batches() {
		if err != nil {
			return false, err
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if !visit(b) {
			return false, nil
		}
	}
	if s.hole {
		return false, missing()
	}
	*before = a.Segment()
	return true, nil
}

// assemble puts the parts of a segment together.
func (l *archivedLog) assemble(ctx context.Context, s archivedSegment, w io.Writer) (size int64, keys []keyring.WrappedDataKey, err error) {
	for _, p := range s.parts {
		b, wraps, err := l.r.readPart(ctx, p)
		if err != nil {
			return 0, nil, err
		}
		if _, err := w.Write(b); err != nil {
			return 0, nil, err
		}
		size += int64(len(b))
		keys = wraps // the last part has them all
	}
	return size, keys, nil
}

// segmentKeys open a segment's data keys by the wraps that its archive has.
type segmentKeys struct {
	*keyring.TableKeys
	wraps []keyring.WrappedDataKey
}

func (k segmentKeys) DataKey(file keyring.ID, version uint32, wrapped []byte) (*keyring.Secret, error) {
	for _, w := range k.wraps {
		if w.File == file {
			version, wrapped = w.Version, w.Wrapped[:]
		}
	}
	return k.TableKeys.DataKey(file, version, wrapped)
}
