package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

// ArchiveOptions say what to archive.
type ArchiveOptions struct {
	Tables []string // by name; nil is all that keep their logs (engine.Table.SetArchiving)
	// Every is how often logs are sent, and so how much may be missing where the store is
	// lost; 0 is DefaultArchiveEvery.
	Every time.Duration
	// Report is told what each round has done; nil is not.
	Report func([]ArchiveStatus)
}

// DefaultArchiveEvery is how often Archive sends logs.
const DefaultArchiveEvery = 10 * time.Second

// An ArchiveStatus is how far the archive of a table is.
type ArchiveStatus struct {
	Table string `json:"table"`
	// UpTo: what was acknowledged before can be restored, from a backup that was made after
	// archiving began. Zero where nothing was sent yet.
	UpTo time.Time     `json:"up_to,omitzero"`
	Lag  time.Duration `json:"lag_ns"` // since UpTo
	Sent int64         `json:"sent_bytes"`
	// Waiting bytes were not sent yet; Dropped segments went because too much waited, and
	// leave a gap: a backup closes it.
	Waiting int64  `json:"waiting_bytes"`
	Dropped int    `json:"dropped_segments"`
	Err     error  `json:"-"`
	Message string `json:"error,omitempty"` // why the round has failed; the next one tries again
}

// An Archiver sends the logs of a store's tables to a repository, so that a restore can
// go to any moment since the end of a backup. It is an engine.Background, and is for one
// goroutine. A table that is archived stays open.
type Archiver struct {
	r     *Repository
	o     ArchiveOptions
	lines map[keyring.ID]*line // by table
	// off are tables that keep no logs, as far as is known: to ask of one that is not open
	// would open it, or take a call to its key service.
	off map[keyring.ID]bool
}

// A line is one life of a table, as far as it is archived.
type line struct {
	incarnation keyring.ID
	sent        map[keyring.ID]int64 // by segment
	upTo        time.Time
	dropped     int
	versions    []uint32 // that the table knows to be needed
}

// Archiver makes an Archiver.
func (r *Repository) Archiver(o ArchiveOptions) *Archiver {
	if o.Every <= 0 {
		o.Every = DefaultArchiveEvery
	}
	return &Archiver{r: r, o: o, lines: make(map[keyring.ID]*line), off: make(map[keyring.ID]bool)}
}

var _ engine.Background = (*Archiver)(nil)

// Run sends logs every so often until ctx ends. What cannot be sent waits, and is sent
// when it can be: writers never wait for it. It returns ctx's error.
func (a *Archiver) Run(ctx context.Context, s *engine.Store) error {
	tick := time.NewTicker(a.o.Every)
	defer tick.Stop()
	for {
		list, err := a.Ship(ctx, s)
		if cerr := ctx.Err(); cerr != nil {
			return cerr
		}
		if err != nil {
			a.r.opts.Logger.Warn("the archive of logs stands still; what is written waits in the store", "repository", a.r.st.Location(), "error", err)
		}
		if a.o.Report != nil {
			a.o.Report(list)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Ship sends all that is durable now, once. The error joins those of the tables.
func (a *Archiver) Ship(ctx context.Context, s *engine.Store) ([]ArchiveStatus, error) {
	var list []ArchiveStatus
	var errs []error
	for _, info := range s.Tables() {
		if a.o.Tables != nil && !slices.Contains(a.o.Tables, info.Name) || a.o.Tables == nil && a.off[info.ID] && !info.Open {
			continue
		}
		st := ArchiveStatus{Table: info.Name}
		t, err := s.Table(info.Name)
		if err == nil {
			err = a.table(ctx, t, &st)
		}
		if a.off[info.ID] = errors.Is(err, engine.ErrNotArchiving); a.off[info.ID] && a.o.Tables == nil {
			continue
		}
		if err != nil {
			err = fmt.Errorf("archive %s: %w", info.Name, err)
			st.Err, st.Message = err, err.Error()
			errs = append(errs, err)
		}
		if !st.UpTo.IsZero() {
			st.Lag = max(0, time.Since(st.UpTo))
		}
		list = append(list, st)
		if ctx.Err() != nil {
			break
		}
	}
	for _, n := range a.o.Tables {
		if _, err := s.Table(n); err != nil {
			errs = append(errs, err)
		}
	}
	return list, errors.Join(errs...)
}

// table sends what a table has. st is filled in also where it fails.
func (a *Archiver) table(ctx context.Context, t *engine.Table, st *ArchiveStatus) error {
	l := a.lines[t.ID()]
	if l != nil {
		st.UpTo, st.Dropped = l.upTo, l.dropped
	} else if _, err := t.ArchiveSegments(ctx); err != nil {
		return err // before a table is made to sync that is not archived
	}
	began := time.Now().UTC() // what was acknowledged before is durable behind SyncLog
	if err := t.SyncLog(ctx); err != nil {
		return err
	}
	segments, err := t.ArchiveSegments(ctx)
	if err != nil {
		return err
	}
	if stats, err := t.ArchiveStats(); err == nil {
		st.Dropped = stats.Dropped
	}
	if l == nil || len(segments) > 0 && l.incarnation != segments[0].Incarnation {
		if l, err = a.open(ctx, t, segments); err != nil {
			return err
		}
		a.lines[t.ID()] = l
	}
	l.dropped = st.Dropped
	for _, s := range segments {
		st.Waiting += s.Length - l.sent[s.FileID]
	}
	a.r.noting.Lock() // until there are parts that say what they need
	defer a.r.noting.Unlock()
	if err := a.need(ctx, t, l, segments); err != nil {
		return err
	}
	for _, s := range segments {
		if err := a.segment(ctx, t, l, s, st); err != nil {
			l.versions = nil // no part tells of them: a backup may have the table forget them
			return err
		}
	}
	l.upTo, st.UpTo = began, began
	return a.tell(ctx, t, l)
}

// open learns what the repository has of a table's present life, and compares it with
// what the store has of it: somebody may have put anything there.
func (a *Archiver) open(ctx context.Context, t *engine.Table, segments []engine.ArchiveSegment) (*line, error) {
	l := &line{sent: make(map[keyring.ID]int64)}
	if len(segments) == 0 {
		return l, nil
	}
	l.incarnation = segments[0].Incarnation
	for _, s := range segments {
		prefix := lineName(t.ID(), s.Incarnation) + segmentNumber(s.Number) + "-" + s.FileID.String() + "/"
		parts, err := a.r.parts(ctx, prefix)
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			if p.from != l.sent[s.FileID] {
				continue // beside another, or behind a hole
			}
			same, err := a.same(ctx, t, s, p)
			if err != nil {
				return nil, err
			}
			if !same {
				a.r.opts.Logger.Warn("a part of the archive is not what the log has, and is removed", "object", p.object())
				if err := a.r.st.Delete(ctx, p.object()); err != nil {
					return nil, err
				}
				continue
			}
			l.sent[s.FileID] = p.to
		}
	}
	return l, nil
}

// same tells whether a part has the bytes of the segment.
func (a *Archiver) same(ctx context.Context, t *engine.Table, s engine.ArchiveSegment, p part) (bool, error) {
	if p.to > s.Length {
		return false, nil
	}
	b, _, err := a.r.readPart(ctx, p)
	if errors.Is(err, ErrCorruption) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	in, err := t.OpenSegment(s)
	if err != nil {
		return false, err
	}
	defer in.Close()
	have := make([]byte, len(b))
	if _, err := io.ReadFull(io.NewSectionReader(in, p.from, int64(len(b))), have); err != nil {
		return false, err
	}
	return bytes.Equal(have, b), nil
}

// need tells the table which versions of its key the archive needs, before it does. The
// error is keyring.ErrVersionUnknown where one was retired since the segments were listed:
// the overlay has their keys by now, and another list tells.
func (a *Archiver) need(ctx context.Context, t *engine.Table, l *line, segments []engine.ArchiveSegment) error {
	var now []uint32
	for _, s := range segments {
		for _, k := range wraps(s) {
			now = append(now, k.Version)
		}
	}
	slices.Sort(now)
	now = slices.Compact(now)
	need := append(slices.Clone(l.versions), now...)
	slices.Sort(need)
	if need = slices.Compact(need); !slices.Equal(need, l.versions) {
		if err := a.r.addNeeded(ctx, t, need); err != nil {
			return err
		}
	}
	box, err := t.Lockbox()
	if err != nil {
		return err
	}
	if err := checkLockbox("the table's keyring entry", box, t.ID(), now); err != nil {
		l.versions = nil
		return fmt.Errorf("a version of its key was retired meanwhile; the next round sends its logs: %w", err)
	}
	l.versions = need
	return nil
}

// wraps are the segment's data keys as they are in force.
func wraps(s engine.ArchiveSegment) []keyring.WrappedDataKey {
	keys := slices.Clone(s.Keys)
	for i, k := range keys {
		for _, w := range s.Rewrapped {
			if w.File == k.File {
				keys[i] = w
			}
		}
	}
	return keys
}

// segment sends what is missing of a segment.
func (a *Archiver) segment(ctx context.Context, t *engine.Table, l *line, s engine.ArchiveSegment, st *ArchiveStatus) error {
	if s.Damage != nil {
		a.r.opts.Logger.Error("a log segment that waits is damaged, and is given up: the archive has a gap until the next backup", "table", t.ID(), "segment", s.Number, "error", s.Damage)
		return t.ArchiveDone(s)
	}
	keys := wraps(s)
	versions := newVersionSet(versionsOf(keys))
	for l.sent[s.FileID] < s.Length {
		from := l.sent[s.FileID]
		p := part{
			store: t.StoreID(), table: t.ID(), incarnation: s.Incarnation, file: s.FileID, number: s.Number,
			from: from, to: min(s.Length, from+maxPart), first: s.First, last: s.Last, keys: keys, versions: versions,
		}
		if p.to == s.Length {
			p.frames = s.Frames
		}
		if err := a.send(ctx, t, s, p); err != nil {
			return err
		}
		l.sent[s.FileID] = p.to
		st.Sent += p.to - p.from
		st.Waiting -= p.to - p.from
	}
	if !s.Closed {
		return nil
	}
	if err := t.ArchiveDone(s); err != nil {
		return err
	}
	delete(l.sent, s.FileID)
	return nil
}

func (a *Archiver) send(ctx context.Context, t *engine.Table, s engine.ArchiveSegment, p part) error {
	in, err := t.OpenSegment(s)
	if err != nil {
		return err
	}
	defer in.Close()
	b := p.header()
	n := len(b)
	b = append(b, make([]byte, p.to-p.from)...)
	if _, err := io.ReadFull(io.NewSectionReader(in, p.from, p.to-p.from), b[n:]); err != nil {
		return fmt.Errorf("log segment %d: %w", s.Number, err)
	}
	p.digest = sha256.Sum256(b)
	err = a.r.st.Put(ctx, p.object(), storage.Bytes(b))
	if errors.Is(err, storage.ErrExists) {
		err = a.r.mend(ctx, p.object(), b)
	}
	return err
}

// An upTo is the register that says how far a line is archived.
type upTo struct {
	UpTo time.Time `json:"up_to"`
}

func upToName(table, incarnation keyring.ID) string { return lineName(table, incarnation) + "up-to" }

// tell keeps in the repository up to when the line is archived. It is a hint: a restore to
// a moment behind the last frame needs it.
func (a *Archiver) tell(ctx context.Context, t *engine.Table, l *line) error {
	if l.incarnation.IsZero() {
		return nil
	}
	b, err := json.Marshal(upTo{l.upTo})
	if err != nil {
		return err
	}
	name := upToName(t.ID(), l.incarnation)
	for range tellTries {
		var version storage.Version
		_, version, err = a.r.st.Load(ctx, name)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		_, err = a.r.st.Swap(ctx, name, version, b)
		if !errors.Is(err, storage.ErrConflict) {
			return err
		}
		// somebody else archives the table too
	}
	return err
}

// tellTries bounds how often a register is tried that another has changed meanwhile: the
// storage may say so for ever.
const tellTries = 10

func (r *Repository) upTo(ctx context.Context, table, incarnation keyring.ID) (time.Time, error) {
	b, _, err := r.st.Load(ctx, upToName(table, incarnation))
	if errors.Is(err, storage.ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	var u upTo
	if err := json.Unmarshal(b, &u); err != nil {
		return time.Time{}, nil // a hint that says nothing
	}
	return u.UpTo, nil
}

// parts lists the parts below a prefix, by name: by segment, and by offset.
func (r *Repository) parts(ctx context.Context, prefix string) (list []part, err error) {
	for o, err := range r.st.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		if p, ok := parsePartName(o.Name); ok {
			p.size = o.Size
			list = append(list, p)
		}
	}
	return list, nil
}

// oldestLogs are the numbers of the first segments that backups need, by line.
func oldestLogs(needed map[string]bool) map[string]string {
	oldest := make(map[string]string)
	for n := range needed {
		if !strings.HasPrefix(n, archivePrefix) {
			continue
		}
		at := strings.LastIndexByte(n, '/') + 1
		if have, ok := oldest[n[:at]]; !ok || n[at:] < have {
			oldest[n[:at]] = n[at:]
		}
	}
	return oldest
}

// openFor is how long a line that says nothing may be written to still.
const openFor = 48 * time.Hour

// keepOpenLogs adds to the oldest logs needed the newest of each line that has no backup
// and is archived still: the log may be the one that the next backup ends in.
func (r *Repository) keepOpenLogs(ctx context.Context, oldest map[string]string) error {
	newest := make(map[string]part)
	for o, err := range r.st.List(ctx, archivePrefix) {
		if err != nil {
			return err
		}
		if p, ok := parsePartName(o.Name); ok {
			line := lineName(p.table, p.incarnation)
			if have, ok := newest[line]; !ok || p.number > have.number {
				newest[line] = p
			}
		}
	}
	for line, p := range newest {
		if _, ok := oldest[line]; ok {
			continue
		}
		upTo, err := r.upTo(ctx, p.table, p.incarnation)
		if err != nil {
			return err
		}
		if r.opts.Now().Sub(upTo) < openFor {
			oldest[line] = segmentNumber(p.number)
		}
	}
	return nil
}

// unneededLogs visits parts that lie before the newest log of the oldest backup of their
// line, or whose line has none.
func (r *Repository) unneededLogs(ctx context.Context, needed map[string]bool, visit func(storage.Info) error) error {
	oldest := oldestLogs(needed)
	if err := r.keepOpenLogs(ctx, oldest); err != nil {
		return err
	}
	for o, err := range r.st.List(ctx, archivePrefix) {
		if err != nil {
			return err
		}
		p, ok := parsePartName(o.Name)
		if !ok {
			continue
		}
		first, kept := oldest[lineName(p.table, p.incarnation)]
		if kept && segmentNumber(p.number) >= first {
			continue
		}
		if err := visit(o); err != nil {
			return err
		}
	}
	return nil
}
