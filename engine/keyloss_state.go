package engine

import (
	"math"
	"time"
	"unicode/utf8"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/keyring"
)

// A keyLoss is the record of a lost key, in the table's state in the journal: under the
// store key, since the table's own is gone. Its bytes:
//
//	step (1) flags (1) since (8) seen (8) left (8) id (16)
//	step 1, grace:     time to keep the archive (8)
//	step 2, archived:  archived at (8) verified at (8) reference
//
// Times are nanoseconds since 1970, periods nanoseconds.
type keyLoss struct {
	step    uint8
	told    bool // this step was announced
	noticed bool // the next step was announced, a day before
	kept    bool // by Store.KeepTable
	since   time.Time
	seen    time.Time     // when the key was last found lost
	left    time.Duration // until the next step, of time that counts
	// id is random: a key that comes back and is lost anew has another. It names the
	// directory in which the table is held for its archive, so that what a crash leaves
	// of that is known.
	id   keyring.ID
	keep time.Duration // of lossGrace

	archivedAt, verifiedAt time.Time // of lossArchived, as ref
	ref                    string
}

// Steps and flags are wire constants.
const (
	lossGrace    = 1
	lossArchived = 2

	lossTold    = 1
	lossNoticed = 2
	lossKept    = 4
)

func (l *keyLoss) put(w *codec.Writer) {
	var flags uint8
	for flag, set := range map[uint8]bool{lossTold: l.told, lossNoticed: l.noticed, lossKept: l.kept} {
		if set {
			flags |= flag
		}
	}
	w.U8(l.step)
	w.U8(flags)
	w.U64(uint64(l.since.UnixNano()))
	w.U64(uint64(l.seen.UnixNano()))
	w.U64(uint64(l.left))
	w.Raw(l.id[:])
	if l.step == lossGrace {
		w.U64(uint64(l.keep))
		return
	}
	w.U64(uint64(l.archivedAt.UnixNano()))
	w.U64(uint64(l.verifiedAt.UnixNano()))
	w.Str(l.ref)
}

// readLoss returns nil for what put does not write.
func readLoss(r *codec.Reader) *keyLoss {
	at := func() time.Time { return time.Unix(0, int64(r.U64())).UTC() }
	period := func() time.Duration { return time.Duration(min(r.U64(), math.MaxInt64)) }
	l := &keyLoss{step: r.U8()}
	flags := r.U8()
	l.told, l.noticed, l.kept = flags&lossTold != 0, flags&lossNoticed != 0, flags&lossKept != 0
	l.since, l.seen, l.left = at(), at(), period()
	r.Fill(l.id[:])
	ok := flags <= lossTold|lossNoticed|lossKept && l.left <= maxLossPeriod && !l.id.IsZero()
	switch l.step {
	case lossGrace:
		l.keep = period()
		ok = ok && l.keep >= minLossPeriod && l.keep <= maxLossPeriod
	case lossArchived:
		l.archivedAt, l.verifiedAt, l.ref = at(), at(), r.Str(maxArchiveRef)
		ok = ok && isArchiveRef(l.ref)
	default:
		ok = false
	}
	if !ok || r.Err() != nil {
		return nil
	}
	return l
}

func isArchiveRef(ref string) bool {
	return ref != "" && len(ref) <= maxArchiveRef && utf8.ValidString(ref)
}

// same tells whether now is a later state of the same step of the same loss, which goes
// on.
func (l *keyLoss) same(now *keyLoss) bool {
	return now != nil && now.id == l.id && now.step == l.step && !now.kept
}

// loss is the record of the loss of the table's key; nil where there is none. Nobody
// changes it in place.
func (t *Table) loss() *keyLoss {
	st, _ := t.store.journal.state(t.id)
	return st.loss
}
