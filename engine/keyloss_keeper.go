package engine

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
)

const (
	// lossLook is the least time between two looks at a root key that nobody uses.
	lossLook = time.Hour
	// maxCounted is the most that counts between two looks that found a key lost.
	maxCounted = 2 * lossLook
	// lossAsk bounds one question to a key service.
	lossAsk = time.Minute
)

// A lossKeeper keeps the store's KeyLossPolicy. One goroutine looks, and asks the key
// services one question at a time; one more, for each table whose step is due, does that,
// and one step is done at a time: an archive takes its time, and nobody is to wait for
// it who has lost another key. The methods that others call do nothing on a nil keeper.
type lossKeeper struct {
	s       *Store
	policy  *KeyLossPolicy
	poke    chan struct{} // of capacity 1
	working chan struct{} // of capacity 1; full while a step is done

	// seen is when this process last found a table's key lost, for the monotonic
	// clock; zero where it was asked later and did not find it so. The goroutine that
	// looks has it.
	seen map[keyring.ID]time.Time

	notifying sync.Mutex // one call of policy.Notify at a time

	mu       sync.Mutex // guards all below
	suspects map[*Table]bool
	events   []KeyLossEvent                // of others, to be told
	steps    map[*Table]context.CancelFunc // under way
	failed   map[*Table]failedStep
}

func newLossKeeper(s *Store) *lossKeeper {
	return &lossKeeper{
		s: s, policy: s.opts.KeyLoss, poke: make(chan struct{}, 1), working: make(chan struct{}, 1),
		seen: make(map[keyring.ID]time.Time), suspects: make(map[*Table]bool), steps: make(map[*Table]context.CancelFunc),
		failed: make(map[*Table]failedStep),
	}
}

// refused tells whether an error says that each root key that was asked is lost: its
// service answers, and refuses.
func refused(err error) bool {
	for err != nil {
		if ke, ok := err.(*keyring.KeyError); ok {
			return !unanswered(ke) && !away(ke) && (errors.Is(ke, keyring.ErrKeyDenied) || errors.Is(ke, keyring.ErrKeyNotFound))
		}
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			list := many.Unwrap()
			return len(list) > 0 && !slices.ContainsFunc(list, func(err error) bool { return !refused(err) })
		}
		err = errors.Unwrap(err)
	}
	return false
}

// away tells whether an error is of a file that is not there, or may not be read: the
// whole key service of a file may be on a disk that is not mounted. That says nothing of a
// key in it.
func away(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) }

// suspect has a table looked at now: its key was refused, or is back.
func (k *lossKeeper) suspect(t *Table) {
	if k == nil {
		return
	}
	k.mu.Lock()
	k.suspects[t] = true
	k.mu.Unlock()
	k.wake()
}

// later has an event told.
func (k *lossKeeper) later(e KeyLossEvent) {
	if k == nil {
		return
	}
	k.mu.Lock()
	k.events = append(k.events, e)
	k.mu.Unlock()
	k.wake()
}

func (k *lossKeeper) wake() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

// cancel ends a step of a table that is under way.
func (k *lossKeeper) cancel(t *Table) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.failed, t)
	if cancel := k.steps[t]; cancel != nil {
		cancel()
	}
}

// run looks until ctx ends.
func (k *lossKeeper) run(ctx context.Context) {
	for ctx.Err() == nil {
		k.lookAtAll(ctx)
		next := time.NewTimer(lossLook + rand.N(lossLook/4))
		for waiting := true; waiting; {
			k.tellOthers()
			select {
			case <-ctx.Done():
				waiting = false
			case <-next.C:
				waiting = false
			case <-k.poke:
				k.lookAtSuspects(ctx)
			}
		}
		next.Stop()
	}
	k.tellOthers()
}

// tellOthers tells the events that come from elsewhere.
func (k *lossKeeper) tellOthers() {
	k.mu.Lock()
	events := k.events
	k.events = nil
	k.mu.Unlock()
	for _, e := range events {
		k.tell(e)
	}
}

func (k *lossKeeper) tell(e KeyLossEvent) {
	if k.policy.Notify == nil {
		return
	}
	k.notifying.Lock()
	defer k.notifying.Unlock()
	k.policy.Notify(e)
}

func (k *lossKeeper) lookAtSuspects(ctx context.Context) {
	k.mu.Lock()
	suspects := slices.Collect(maps.Keys(k.suspects))
	clear(k.suspects)
	k.mu.Unlock()
	for _, t := range suspects {
		if ctx.Err() == nil {
			_ = k.look(ctx, t)
		}
	}
}

// lookAtAll looks at the tables, by the root keys that they have.
func (k *lossKeeper) lookAtAll(ctx context.Context) {
	groups := make(map[string][]*Table)
	for _, r := range k.s.ring.Tables() {
		if t, err := k.s.Table(r.Name); err == nil && t.id == r.ID {
			roots := strings.Join(slices.Sorted(slices.Values(r.Roots)), "\n")
			groups[roots] = append(groups[roots], t)
		}
	}
	for _, tables := range groups {
		k.lookAtGroup(ctx, tables)
	}
}

// lookAtGroup looks at tables that have the same root keys: at all that are lost, and at
// one of the others; at each of those where that one is refused, for a service may
// refuse what one table needs of a root key and allow another's. Once a service does not
// answer, no more is asked of it this time.
func (k *lossKeeper) lookAtGroup(ctx context.Context, tables []*Table) {
	rand.Shuffle(len(tables), func(i, j int) { tables[i], tables[j] = tables[j], tables[i] })
	var lost, fresh []*Table
	for _, t := range tables {
		if t.loss() != nil {
			lost = append(lost, t)
		} else {
			fresh = append(fresh, t)
		}
	}
	silent := false
	for _, t := range lost {
		if silent {
			k.seen[t.id] = time.Time{}
			continue
		}
		silent = unanswered(k.look(ctx, t))
	}
	if silent || slices.ContainsFunc(fresh, (*Table).justConfirmed) {
		return
	}
	for _, t := range fresh {
		if err := k.look(ctx, t); ctx.Err() != nil || !refused(err) {
			return
		}
	}
}

// justConfirmed tells whether the key service has allowed the table's key of late, as it
// has where the table is in use.
func (t *Table) justConfirmed() bool {
	at := t.confirmed.Load()
	return at != nil && time.Since(*at) < lossLook
}

// look asks for the table's key, does what follows from the answer, and returns it.
func (k *lossKeeper) look(ctx context.Context, t *Table) error {
	err := k.ask(ctx, t)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		delete(k.seen, t.id)
		k.s.keyIsBack(ctx, t)
	case refused(err):
		k.observed(ctx, t)
	default:
		k.seen[t.id] = time.Time{}
	}
	return err
}

// ask has the table's key unwrapped and forgotten. An error that is refused comes only
// where all root keys that wrap it were there to be asked, but for those on paper.
func (k *lossKeeper) ask(ctx context.Context, t *Table) error {
	e, err := k.s.ring.Entry(t.id)
	if err != nil {
		return err
	}
	for _, w := range e.Versions[len(e.Versions)-1].Wraps {
		if k.s.root(w.URI) == nil {
			return keyring.ErrRootNotPinned
		}
	}
	call, cancel := context.WithTimeout(ctx, min(lossAsk, k.s.opts.KeyLease))
	defer cancel()
	return k.s.ring.Confirm(call, t.id)
}

// observed notes that the key was found lost, just now.
func (k *lossKeeper) observed(ctx context.Context, t *Table) {
	now := k.s.opts.now().UTC().Round(0)
	l := t.loss()
	if l == nil {
		if l = k.begin(ctx, t, now); l == nil {
			return
		}
	} else if l = k.count(ctx, t, l, now); l == nil {
		return
	}
	if !l.told {
		step := KeyLost
		if l.step == lossArchived {
			step = KeyLossArchived
		}
		k.tell(k.event(t, l, step))
		l = k.mark(ctx, t, l, func(l *keyLoss) { l.told = true })
	}
	if l != nil && !l.kept && !l.noticed && l.left <= lossNotice {
		k.s.note(audit.EventKeyLossNotice, k.s.lossRequest(t), nil)
		st := l.status(now)
		k.s.log.Warn("the key of a table is lost: the next step is near", "table", t.id, "next", st.Next, "archive_at", st.ArchiveAt, "drop_at", st.DropAt)
		k.tell(k.event(t, l, KeyLossNoticed))
		l = k.mark(ctx, t, l, func(l *keyLoss) { l.noticed = true })
	}
	if l != nil && !l.kept && l.told && l.noticed && l.left == 0 {
		k.begun(ctx, t, l)
	}
}

// begin records that a key is lost. A table that is open still has its key: its lease
// ends that, and has it looked at again.
func (k *lossKeeper) begin(ctx context.Context, t *Table, now time.Time) *keyLoss {
	l := &keyLoss{step: lossGrace, since: now, seen: now, left: k.policy.Grace, keep: k.policy.Keep, id: keyring.NewID()}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropped || t.lost != nil || len(t.instances()) > 0 || k.s.isClosed() {
		return nil
	}
	err := k.s.journal.editLoss(ctx, t.id, func(old *keyLoss) *keyLoss {
		if old != nil {
			l = nil
			return old
		}
		return l
	})
	if err != nil {
		k.s.log.Error("the loss of a key is not recorded; its clock does not begin", "table", t.id, "error", err)
		return nil
	}
	if l != nil {
		k.seen[t.id] = time.Now()
		st := l.status(now)
		k.s.note(audit.EventKeyLost, k.s.lossRequest(t), nil)
		k.s.log.Warn("the key of a table is lost: it will be archived and dropped", "table", t.id, "archive_at", st.ArchiveAt, "drop_at", st.DropAt)
	}
	return l
}

// count takes the time since the last look off what is left. See KeyLossPolicy for what
// counts.
func (k *lossKeeper) count(ctx context.Context, t *Table, l *keyLoss, now time.Time) *keyLoss {
	counted := min(max(now.Sub(l.seen), 0), maxCounted)
	if last, again := k.seen[t.id]; again {
		if last.IsZero() {
			counted = 0 // in between the service did not say so
		} else {
			counted = min(counted, time.Since(last))
		}
	}
	k.seen[t.id] = time.Now()
	return k.mark(ctx, t, l, func(l *keyLoss) {
		l.seen = now
		if !l.kept {
			l.left = max(l.left-counted, 0)
		}
	})
}

// mark changes the record of a loss, and returns what it is then; nil where the loss is
// over, or nothing was recorded.
func (k *lossKeeper) mark(ctx context.Context, t *Table, l *keyLoss, change func(*keyLoss)) (now *keyLoss) {
	if t.loss() == nil {
		return nil // it may be dropped
	}
	err := k.s.journal.editLoss(ctx, t.id, func(old *keyLoss) *keyLoss {
		if old == nil || old.id != l.id || old.step != l.step {
			now = nil
			return old
		}
		c := *old
		change(&c)
		now = &c
		return now
	})
	if err != nil {
		k.s.log.Error("the loss of a key is not recorded; its clock stands", "table", t.id, "error", err)
		return nil
	}
	return now
}

func (k *lossKeeper) event(t *Table, l *keyLoss, step KeyLossStep) KeyLossEvent {
	now := k.s.opts.now()
	e := KeyLossEvent{Step: step, Table: t.name, ID: t.id, At: now, Loss: l.status(now)}
	if why := t.lossTrouble.Load(); why != nil {
		e.Loss.Trouble = *why
	}
	return e
}

// lossRequest is what records of the audit log say of a lost key: when the next step is
// due, and the archive.
func (s *Store) lossRequest(t *Table) audit.Request {
	req := audit.Request{Table: t.id}
	if l := t.loss(); l != nil {
		req.Archive = l.ref
		if st := l.status(s.opts.now()); st.ArchiveAt != nil {
			req.Due = *st.ArchiveAt
		} else if st.DropAt != nil {
			req.Due = *st.DropAt
		}
	}
	return req
}

// keyIsBack ends the loss of a key that was unwrapped.
func (s *Store) keyIsBack(ctx context.Context, t *Table) {
	if s.opts.Mode == ReadOnly || t.loss() == nil {
		return
	}
	var was *keyLoss
	err := s.journal.editLoss(ctx, t.id, func(l *keyLoss) *keyLoss {
		was = l
		return nil
	})
	if err != nil {
		s.log.Error("that a key is back is not recorded; each step finds it out again", "table", t.id, "error", err)
		return
	}
	if was == nil {
		return
	}
	t.lossTrouble.Store(nil)
	s.loss.cancel(t)
	s.note(audit.EventKeyRestored, audit.Request{Table: t.id, Archive: was.ref}, nil)
	s.log.Info("the key of a table is back: the clock is cleared", "table", t.id, "lost", was.since)
	now := s.opts.now()
	s.loss.later(KeyLossEvent{Step: KeyRestored, Table: t.name, ID: t.id, At: now, Loss: was.status(now)})
}

// keepEvent is what KeepTable is called in the audit log and in events.
func keepEvent(keep bool) (string, KeyLossStep) {
	if keep {
		return audit.EventKeepTable, KeyLossKept
	}
	return audit.EventResumeKeyLoss, KeyLossResumed
}
