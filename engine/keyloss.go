package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cofredb/cofre/keyring"
)

// ErrKeyNotLost: the store has no record that the table's key is lost.
var ErrKeyNotLost = errors.New("the table's key is not lost")

// A KeyLossPolicy says what becomes of a table whose key is lost. Amazon Keyspaces has
// one that cannot be changed: it archives a table whose key it could not use for seven
// days, and keeps the archive for 35. Here there is none unless Options.KeyLoss is set.
//
//	found lost ─── Grace ───► archived, verified ─── Keep ───► verified again, dropped
//	   │              │             │                  │              │
//	   └ event        └ event, a    └ event            └ event, a     └ event
//	                    day before                       day before
//
// Lost is a key that its service refuses: denied, disabled, pending deletion, not found;
// where several root keys wrap it, by each. A recovery key, which is on paper, is not
// asked, and does not count: it opens the archive too. A key service that cannot be
// reached never starts the clock and never moves it, nor does one whose file is not there
// or may not be read, as on a disk that is not mounted, nor a root key that the store was
// not opened with, nor Table.Lock: none of them says that the key is gone.
//
// The store looks when it opens, when a table locks or does not open for its key, and
// every hour: at one table of each set of root keys, unless one of them is in use, and
// where that is refused, or the key is lost already, at each. It opens no table for that.
//
// What counts is time between two looks that both found the key lost, and at most two
// hours of it, whatever the clocks say; the smaller of the wall clock's difference and
// the monotonic clock's where both looks are this process's. So neither a clock that
// jumps, nor a machine that sleeps, nor a store that is closed for weeks spends the
// grace: seven days take 84 looks at least. Dates that are told are the earliest; they
// move away while nobody looks. The periods are those that were told when the loss was
// found; a change of the policy counts for later losses.
//
// Each step finds the key lost once more before it begins and before it ends. Where an
// archive cannot be made, or verified, the clock stands there, says so, and the step is
// tried again, at first after an hour, later once a day. An unwrap that succeeds, by
// anybody, ends it all, up to the moment of the drop; Store.KeepTable stops the clock by
// hand. A crash at any point leaves the table with its record: an archive may be made
// twice, the table is dropped once, and never without an archive that was verified just
// before.
//
// The drop is Store.DropTable, without the destruction of root keys; log segments that
// wait for a point-in-time archive go too, since the archive has the table as it was last.
// The archive stays where it is: the policy never removes one. Its owner prunes it when
// nobody will bring the key back; until then it can be restored with the key (the drop's
// event and its audit record name it). Where the key's service has grants, the one for a
// table's last archive ends 42 days after the drop (DropReport.ArchiveGrantsUntil).
type KeyLossPolicy struct {
	// Grace is how long the key is lost before the table is archived; 0 is
	// DefaultKeyLossGrace, 7 days. At least two days, at most ten years.
	Grace time.Duration
	// Keep is how long the archive is kept before the table is dropped; 0 is
	// DefaultKeyLossKeep, 35 days. Bounds as those of Grace.
	Keep time.Duration
	// Archive keeps the ciphertext. It must be set.
	Archive KeyLossArchive
	// WithSnapshots drops the table's named snapshots too, which are not in the
	// archive. Without it a table that has some is archived, and is not dropped.
	WithSnapshots bool
	// Notify hears of each step; nil for nobody. It is called by one goroutine at a
	// time, holds the policy up until it returns, and may use the store, but must not
	// wait for its Close. An event that a crash may have kept from being heard is told
	// again: it comes at least once, but for those of a key that is back and of what
	// failed.
	Notify func(KeyLossEvent)
}

// A KeyLossArchive keeps the ciphertext of tables whose key is lost. It is called by one
// goroutine at a time. An error, of either, has the step tried again later. ctx ends when
// the store closes, which waits for the call, when the key is back, and with KeepTable.
type KeyLossArchive interface {
	// Archive keeps all of what is held, with its overlay and the table's lockbox
	// (Table.Lockbox), durably, verifies what it has kept, and returns a reference to
	// it: 1 to 1024 bytes of UTF-8 that hold no secret, such as a location and a
	// backup's id. It may be called again for the same table, where a crash came before
	// the reference was recorded. It does not close held, and may hold the table itself
	// for as long as it runs; while anybody holds the table it is not dropped.
	Archive(ctx context.Context, held *Held) (ref string, err error)
	// Verify reads back all that Archive has kept, and compares it with what was held
	// then. It is called after Archive, and again before the table is dropped.
	Verify(ctx context.Context, ref string) error
}

// The periods of a KeyLossPolicy, after those of Amazon Keyspaces.
const (
	DefaultKeyLossGrace = 7 * 24 * time.Hour
	DefaultKeyLossKeep  = 35 * 24 * time.Hour

	minLossPeriod = 48 * time.Hour
	maxLossPeriod = 10 * 365 * 24 * time.Hour

	// lossNotice is how long before a step it is announced.
	lossNotice = 24 * time.Hour
	// maxArchiveRef bounds a reference, in bytes.
	maxArchiveRef = 1024
)

// setDefaults checks the policy and completes a copy of it.
func (p *KeyLossPolicy) setDefaults() (*KeyLossPolicy, error) {
	if p == nil {
		return nil, nil
	}
	c := *p
	if c.Archive == nil {
		return nil, errors.New("engine: Options.KeyLoss.Archive is missing: no table is dropped without an archive")
	}
	if c.Grace == 0 {
		c.Grace = DefaultKeyLossGrace
	}
	if c.Keep == 0 {
		c.Keep = DefaultKeyLossKeep
	}
	for _, d := range []time.Duration{c.Grace, c.Keep} {
		if d < minLossPeriod || d > maxLossPeriod {
			return nil, fmt.Errorf("engine: a period of %s in Options.KeyLoss is outside %s to %s", d, minLossPeriod, maxLossPeriod)
		}
	}
	return &c, nil
}

// A KeyLossStep says what has come of a lost key.
type KeyLossStep string

const (
	KeyLost         KeyLossStep = "key lost"       // found just now
	KeyLossNoticed  KeyLossStep = "next step soon" // within a day, or at the first look after that
	KeyLossArchived KeyLossStep = "archived"       // and verified
	KeyLossDropped  KeyLossStep = "dropped"        // the table is no more; Report says what went
	KeyLossFailed   KeyLossStep = "step failed"    // Err says why; the clock stands
	KeyLossKept     KeyLossStep = "kept"           // stopped by KeepTable
	KeyLossResumed  KeyLossStep = "no longer kept" // by KeepTable
	KeyRestored     KeyLossStep = "key is back"    // the clock is cleared
)

// A KeyLossEvent is what KeyLossPolicy.Notify hears of.
type KeyLossEvent struct {
	Step   KeyLossStep
	Table  string
	ID     keyring.ID
	At     time.Time
	Loss   KeyLoss     // with the dates of what is to come
	Err    error       // of KeyLossFailed
	Report *DropReport // of KeyLossDropped
}

// A KeyLoss is the state of a table whose key is lost. It holds no secret.
type KeyLoss struct {
	Since time.Time `json:"since"`     // when it was found lost
	Seen  time.Time `json:"last_seen"` // when it was last found so
	// Next is "archive" or "drop".
	Next string `json:"next"`
	// ArchiveAt and DropAt are the earliest dates of the steps to come, which a store
	// that is open with a KeyLossPolicy keeps; nil for what has come, and while Kept.
	ArchiveAt *time.Time `json:"archive_at,omitempty"`
	DropAt    *time.Time `json:"drop_at,omitempty"`
	Kept      bool       `json:"kept"` // by KeepTable: no step comes
	// Archive is the archive's reference, "" until there is one; ArchivedAt when it was
	// made, VerifiedAt when it was last verified.
	Archive    string     `json:"archive,omitempty"`
	ArchivedAt *time.Time `json:"archived_at,omitempty"`
	VerifiedAt *time.Time `json:"archive_verified_at,omitempty"`
	// Trouble is why the next step could not be done; "" where it was not tried, or not
	// by this process.
	Trouble string `json:"trouble,omitempty"`
}

// The values of KeyLoss.Next.
const (
	nextArchive = "archive"
	nextDrop    = "drop"
)

// status is what a record tells at a time. Time goes on from the last look, or, where
// that is long ago, from the most that the next one can count.
func (l *keyLoss) status(now time.Time) KeyLoss {
	st := KeyLoss{Since: l.since, Seen: l.seen, Next: nextArchive, Kept: l.kept}
	from := l.seen
	if early := now.Add(-maxCounted).UTC().Round(0); early.After(from) {
		from = early
	}
	due := from.Add(l.left)
	if l.step == lossArchived {
		archived, verified := l.archivedAt, l.verifiedAt
		st.Next, st.Archive, st.ArchivedAt, st.VerifiedAt = nextDrop, l.ref, &archived, &verified
	}
	switch {
	case l.kept:
	case l.step == lossArchived:
		st.DropAt = &due
	default:
		drop := due.Add(l.keep)
		st.ArchiveAt, st.DropAt = &due, &drop
	}
	return st
}

// lossStatus describes the loss of the table's key; nil where there is none.
func (t *Table) lossStatus() *KeyLoss {
	l := t.loss()
	if l == nil {
		return nil
	}
	st := l.status(t.store.opts.now())
	if why := t.lossTrouble.Load(); why != nil {
		st.Trouble = *why
	}
	return &st
}

// KeepTable stops the clock of a table whose key is lost: it is neither archived nor
// dropped until KeepTable is called with keep false, or the key is back and lost anew.
// Then the clock goes on where it stood, and a day before the next step at most. It is
// durable when it returns, needs no key, and binds a store that is opened with a
// KeyLossPolicy later, too.
//
// Errors: ErrTableNotFound, ErrReadOnly, ErrKeyNotLost, and those of the file system.
func (s *Store) KeepTable(ctx context.Context, name string, keep bool) error {
	if s.opts.Mode == ReadOnly {
		return ErrReadOnly
	}
	t, err := s.Table(name)
	if err != nil {
		return err
	}
	event, step := keepEvent(keep)
	err = t.keep(ctx, keep)
	if errors.Is(err, errNoChange) {
		return nil
	}
	if err = s.recordedAs(event, s.lossRequest(t), err); err != nil {
		return err
	}
	if l := t.loss(); l != nil {
		s.log.Info("the clock of a lost key", "table", t.id, "kept", keep)
		s.loss.later(KeyLossEvent{Step: step, Table: t.name, ID: t.id, At: s.opts.now(), Loss: l.status(s.opts.now())})
	}
	return nil
}

// errNoChange says that there was nothing to change.
var errNoChange = errors.New("no change")

// keep does KeepTable. It takes mu, as the drop does: one of the two comes first.
func (t *Table) keep(ctx context.Context, keep bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropped {
		return fmt.Errorf("%w: %s", ErrTableNotFound, t.name)
	}
	if t.store.isClosed() {
		return ErrClosed
	}
	result := fmt.Errorf("%w: %s", ErrKeyNotLost, t.name)
	err := t.store.journal.editLoss(ctx, t.id, func(l *keyLoss) *keyLoss {
		switch {
		case l == nil:
			return nil
		case l.kept == keep:
			result = errNoChange
			return l
		}
		result = nil
		c := *l
		if c.kept = keep; !keep {
			c.left, c.noticed = max(c.left, lossNotice), false
		}
		return &c
	})
	if err != nil {
		return err
	}
	if result == nil {
		t.store.loss.cancel(t)
	}
	return result
}
