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

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/wal"
)

// A tableState says how a table was last left. Its bytes, in the journal and
// in the keyring:
//
//	1  open, followed by nothing or by the MANIFEST that was in force when it
//	   opened: number (8), file id (16), frames (8)
//	2  closed cleanly, followed by the seal
//	3  as 1, and 4 as 2, with a list in between: snapshots that were made while the
//	   table was locked
//	5  to 8 are as 1 to 4, with a record behind the list, if any, and before what
//	   follows: of the loss of the table's key
//
// So the kind less one is three bits: clean, snapshots, loss.
type tableState struct {
	clean bool
	seal  []byte // of sealfs; nil unless clean
	// floor is what a table that was open has had at least: what is older was
	// put back. Zero unless open, and in stores of before there was one.
	floor     wal.Segment
	snapshots []snapshot // each of them unsealed
	loss      *keyLoss   // of the table's key; nil unless it is lost. Never changed in place
}

const (
	stateOpen     = 1
	stateClean    = 2
	withSnapshots = 2 // is added to either
	withLoss      = 4 // is added to any of these
)

func (s tableState) encode() []byte {
	var w codec.Writer
	kind := uint8(stateOpen)
	if s.clean {
		kind = stateClean
	}
	if len(s.snapshots) > 0 {
		kind += withSnapshots
	}
	if s.loss != nil {
		kind += withLoss
	}
	w.U8(kind)
	if len(s.snapshots) > 0 {
		putSnapshots(&w, s.snapshots)
	}
	if s.loss != nil {
		s.loss.put(&w)
	}
	if s.clean {
		w.Raw(s.seal)
		return w.B
	}
	if !s.floor.FileID.IsZero() {
		w.U64(s.floor.Number)
		w.Raw(s.floor.FileID[:])
		w.U64(s.floor.Frames)
	}
	return w.B
}

func decodeState(b []byte) (s tableState, err error) {
	r := codec.NewReader(b)
	kind := r.U8()
	lost := kind > withLoss && kind <= stateClean+withSnapshots+withLoss
	if lost {
		kind -= withLoss
	}
	if kind == stateOpen+withSnapshots || kind == stateClean+withSnapshots {
		kind -= withSnapshots
		s.snapshots = readSnapshots(r, maxLockedSnapshots)
		for i := range s.snapshots {
			s.snapshots[i].unsealed = true
		}
		if len(s.snapshots) == 0 || r.Err() != nil {
			kind = 0 // there is one encoding of each
		}
	}
	if lost {
		if s.loss = readLoss(r); s.loss == nil {
			kind = 0
		}
	}
	switch {
	case kind == stateOpen && r.Len() == 0:
		return s, nil
	case kind == stateOpen:
		s.floor.Number = r.U64()
		r.Fill(s.floor.FileID[:])
		s.floor.Frames = r.U64()
		if r.Done() == nil {
			return s, nil
		}
	case kind == stateClean && r.Len() > 0:
		s.clean, s.seal = true, r.Rest()
		return s, nil
	}
	return tableState{}, corrupt.New(corrupt.ErrFormat, "", -1, "a table state of %d bytes", len(b))
}

// The journal records when tables open and when they close cleanly:
//
//	frame data = table id (16) ‖ state
//
// A table's "open" is durable before Pebble touches its directory, its "clean"
// after Pebble has closed and the directory is synced. The journal is a wal
// file under the store key; the keyring names its file id, so neither is any
// use without the other. It is folded into the keyring when the store opens
// and when it closes.
type journal struct {
	fs   vfs.FS
	dir  string // the keyring's
	ring *keyring.Keyring
	opts wal.Options

	turn int64 // journalTurn, or what a test sets

	mu     sync.Mutex
	states map[keyring.ID]tableState // newest, of every table
	file   vfs.File                  // nil if the store is read-only or closed
	w      *wal.Writer
	id     keyring.ID
}

const journalPrefix = "JOURNAL-"

// A journal longer than journalTurn bytes is followed by a new one before the
// next record, so none is as long as maxJournal. Longer ones are malformed: a
// file can be made longer at no cost, and all of it would be searched for the
// log's end.
const (
	journalTurn = 16 << 20
	maxJournal  = 1 << 30
)

func (j *journal) path(id keyring.ID) string { return j.fs.PathJoin(j.dir, journalPrefix+id.String()) }

// openJournal reads the states of all tables and, unless readOnly, starts a
// new journal.
func openJournal(ctx context.Context, fs vfs.FS, dir string, ring *keyring.Keyring, opts wal.Options, readOnly bool) (*journal, error) {
	j := &journal{fs: fs, dir: dir, ring: ring, opts: opts, turn: journalTurn, states: make(map[keyring.ID]tableState)}
	for _, t := range ring.Tables() {
		b := ring.State(t.ID)
		if len(b) == 0 {
			continue // it has never been opened
		}
		s, err := decodeState(b)
		if err != nil {
			return nil, err
		}
		j.states[t.ID] = s
	}
	if id := ring.Journal(); !id.IsZero() {
		if err := j.replay(id); err != nil {
			return nil, err
		}
	}
	if readOnly {
		return j, nil
	}
	return j, j.rotate(ctx)
}

// replay applies a journal that a crash left.
func (j *journal) replay(id keyring.ID) error {
	name := "keyring/" + journalPrefix + id.String()
	fi, err := lstat(j.fs, j.path(id))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return corrupt.New(corrupt.ErrMissing, name, -1, "the keyring names it")
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return corrupt.New(corrupt.ErrForeign, name, -1, "is not a regular file: %s", fi.Mode().Type())
	case fi.Size() > maxJournal:
		return corrupt.New(corrupt.ErrFormat, name, -1, "%d bytes are more than a journal can have", fi.Size())
	}
	f, err := j.fs.Open(j.path(id))
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, min(fi.Size(), keyring.HeaderLen))
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(len(buf))), buf); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	h, err := keyring.ParseHeader(buf)
	if err != nil {
		return corrupt.At(name, err)
	}
	hid := h.Identity
	if hid.Kind != keyring.KindJournal || hid.StoreID != j.ring.StoreID() || hid.FileID != id || !hid.TableID.IsZero() {
		return corrupt.New(corrupt.ErrForeign, name, 0, "is not the journal that the keyring names")
	}
	key, err := j.ring.StoreKeys().DataKey(hid.FileID, h.KeyVersion, h.WrappedKey[:])
	if err != nil {
		return corrupt.At(name, err)
	}
	defer key.Wipe()
	opts := j.opts
	opts.Path = name
	r, err := wal.NewReader(f, fi.Size(), h, key, wal.ReaderOptions{Options: opts})
	if err != nil {
		return err
	}
	for {
		fr, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		cr := codec.NewReader(fr.Data)
		var table keyring.ID
		cr.Fill(table[:])
		if cr.Err() != nil {
			return corrupt.New(corrupt.ErrFormat, name, -1, "frame %d is too short", fr.Index)
		}
		s, err := decodeState(append([]byte(nil), cr.Rest()...))
		if err != nil {
			return corrupt.At(name, err)
		}
		j.states[table] = s
	}
}

// rotate starts a new journal and folds the states into the keyring, which
// then names it. If we crash before the keyring is written, the old journal
// still counts and the new file is a leftover.
func (j *journal) rotate(ctx context.Context) error {
	id := keyring.Identity{
		Kind: keyring.KindJournal, StoreID: j.ring.StoreID(), FileID: keyring.NewID(),
		Number: 1, CreatedAt: time.Now().UTC(),
	}
	key, err := j.ring.StoreKeys().NewDataKey(id.FileID)
	if err != nil {
		return err
	}
	defer key.Key.Wipe()
	f, err := j.fs.Create(j.path(id.FileID), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	opts := j.opts
	opts.Path = "keyring/" + journalPrefix + id.FileID.String()
	w, err := wal.NewWriter(f, id, key, wal.Past{FormatVersion: keyring.FormatVersion}, opts)
	if err == nil {
		err = w.Sync()
	}
	if err == nil {
		err = syncDir(j.fs, j.dir)
	}
	if err == nil {
		err = j.fold(ctx, id.FileID)
	}
	if err != nil {
		f.Close()
		return err
	}
	if j.w != nil {
		j.w.Close()
	}
	j.file, j.w, j.id = f, w, id.FileID
	j.removeOthers()
	return nil
}

// renew starts a new journal, under the newest version of the store key.
func (j *journal) renew(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.w == nil {
		return nil
	}
	return j.rotate(ctx)
}

// fold writes the states into the keyring, with the id of the journal that
// goes on from there.
func (j *journal) fold(ctx context.Context, id keyring.ID) error {
	states := make(map[keyring.ID][]byte, len(j.states))
	for _, t := range j.ring.Tables() {
		if s, ok := j.states[t.ID]; ok {
			states[t.ID] = s.encode()
		}
	}
	return j.ring.SetStates(ctx, id, states)
}

// removeOthers removes journals that the keyring no longer names. Failing to
// costs some bytes.
func (j *journal) removeOthers() {
	names, err := j.fs.List(j.dir)
	if err != nil {
		return
	}
	for _, n := range names {
		if strings.HasPrefix(n, journalPrefix) && n != journalPrefix+j.id.String() {
			_ = j.fs.Remove(j.fs.PathJoin(j.dir, n))
		}
	}
}

// state returns how a table was last left; ok is false if it was never opened.
func (j *journal) state(id keyring.ID) (s tableState, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s, ok = j.states[id]
	return s, ok
}

// errTurn says that a journal is long enough.
var errTurn = errors.New("the journal is full")

// record makes a table's state durable; its snapshots stay. The loss of its key is
// over when it opens: that takes the key. A journal that failed, or is long, is replaced
// by a new one; if that fails, the table does not open.
func (j *journal) record(ctx context.Context, id keyring.ID, s tableState) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.snapshots = j.states[id].snapshots
	if s.clean {
		s.loss = j.states[id].loss
	}
	return j.write(ctx, id, s)
}

// editSnapshots changes the snapshots in a table's state, durably.
func (j *journal) editSnapshots(ctx context.Context, id keyring.ID, edit func([]snapshot) []snapshot) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	s, ok := j.states[id]
	if !ok {
		return corrupt.New(corrupt.ErrMissing, keyringDir, -1, "table %s has no state", id)
	}
	s.snapshots = edit(slices.Clone(s.snapshots))
	return j.write(ctx, id, s)
}

// editLoss changes the record of the loss of a table's key, durably. edit gets what
// there is, nil for none, and returns what is to be; the same for no change.
func (j *journal) editLoss(ctx context.Context, id keyring.ID, edit func(*keyLoss) *keyLoss) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	s, ok := j.states[id]
	if !ok {
		return corrupt.New(corrupt.ErrMissing, keyringDir, -1, "table %s has no state", id)
	}
	loss := edit(s.loss)
	if loss == s.loss {
		return nil
	}
	s.loss = loss
	return j.write(ctx, id, s)
}

// write is record with mu held, and with the snapshots and the loss of s.
func (j *journal) write(ctx context.Context, id keyring.ID, s tableState) error {
	if j.w == nil {
		return ErrReadOnly
	}
	old, had := j.states[id]
	j.states[id] = s
	err := errTurn
	if _, length := j.w.Committed(); length < j.turn {
		data := append(id[:len(id):len(id)], s.encode()...)
		_, err = j.w.Write(data)
		if err == nil {
			err = j.w.Sync()
		}
	}
	if err != nil {
		if rerr := j.rotate(ctx); rerr != nil {
			delete(j.states, id)
			if had {
				j.states[id] = old
			}
			return fmt.Errorf("record the table's state: %w", errors.Join(err, rerr))
		}
	}
	return nil
}

// forget drops the state of a table that is gone.
func (j *journal) forget(id keyring.ID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.states, id)
}

// close folds the journal into the keyring and removes it.
func (j *journal) close(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.w == nil {
		return nil
	}
	err := j.w.Close()
	j.w, j.file = nil, nil
	if err = errors.Join(err, j.fold(ctx, keyring.ID{})); err != nil {
		return err
	}
	j.id = keyring.ID{}
	j.removeOthers()
	return nil
}

// abandon lets go of the file of a store whose opening failed.
func (j *journal) abandon() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.w != nil {
		_ = j.w.Close()
		j.w, j.file = nil, nil
	}
}

// syncDir makes a directory's entries durable.
func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
