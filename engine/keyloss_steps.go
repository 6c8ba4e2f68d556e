package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cofredb/cofre/keyring/audit"
)

// errStepOver says that a step is not to be done any more, or not now: the key is back,
// or not known to be lost, or somebody keeps the table.
var errStepOver = errors.New("the step is not due any more")

// begun has the step done that is due, unless it is under way.
func (k *lossKeeper) begun(ctx context.Context, t *Table, l *keyLoss) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.steps[t] != nil || time.Since(k.failed[t].at) < k.failed[t].wait {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	k.steps[t] = cancel
	k.s.janitor.Go(func() {
		defer func() {
			cancel()
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.steps, t)
		}()
		select {
		case k.working <- struct{}{}:
			defer func() { <-k.working }()
			k.doStep(ctx, t, l)
		case <-ctx.Done():
		}
	})
}

func (k *lossKeeper) doStep(ctx context.Context, t *Table, l *keyLoss) {
	do, event := k.archive, audit.EventArchiveTable
	if l.step == lossArchived {
		do, event = k.drop, audit.EventDropTable
	}
	done, err := do(ctx, t, l)
	switch {
	case err == nil:
		t.lossTrouble.Store(nil)
		k.retry(t, false)
		k.tell(done)
		if done.Step == KeyLossArchived {
			_ = k.mark(ctx, t, t.lossOr(l), func(l *keyLoss) { l.told = true })
		}
	case ctx.Err() != nil || errors.Is(err, errStepOver):
	default:
		k.retry(t, true)
		var r *recordedError
		if !errors.As(err, &r) {
			k.s.note(event, k.s.lossRequest(t), err)
		}
		why := err.Error()
		if had := t.lossTrouble.Swap(&why); had == nil || *had != why {
			k.s.log.Warn("the key of a table is lost, and the next step could not be done: the clock stands", "table", t.id, "error", err)
			e := k.event(t, l, KeyLossFailed)
			e.Err = err
			k.tell(e)
		}
	}
}

// A failedStep is tried again after a while.
type failedStep struct {
	at   time.Time
	wait time.Duration
}

// The least time between two attempts at a step, and the most: each may read all of an
// archive, or make another.
const (
	lossRetry    = lossLook / 2
	maxLossRetry = 24 * time.Hour
)

// retry notes that a step has failed, and is to be left alone for a while, longer each
// time; or that it has not.
func (k *lossKeeper) retry(t *Table, failed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !failed {
		delete(k.failed, t)
		return
	}
	k.failed[t] = failedStep{time.Now(), min(max(2*k.failed[t].wait, lossRetry), maxLossRetry)}
}

// A recordedError is in the audit log already.
type recordedError struct{ error }

func (e *recordedError) Unwrap() error { return e.error }

// lossOr is the record of the table's loss, or l where there is none.
func (t *Table) lossOr(l *keyLoss) *keyLoss {
	if now := t.loss(); now != nil {
		return now
	}
	return l
}

// stillLost asks for the key, at this moment: nil where it is refused, and the same loss
// goes on.
func (k *lossKeeper) stillLost(ctx context.Context, t *Table, l *keyLoss) error {
	now := t.loss()
	if !l.same(now) || now.left > 0 {
		return errStepOver
	}
	err := k.ask(ctx, t)
	switch {
	case err == nil:
		k.s.keyIsBack(ctx, t)
		return errStepOver
	case refused(err):
		return nil
	}
	return fmt.Errorf("%w: whether the key is lost is not known now: %w", errStepOver, err)
}

// archive has the table's ciphertext kept, and verified.
func (k *lossKeeper) archive(ctx context.Context, t *Table, l *keyLoss) (e KeyLossEvent, err error) {
	if err := k.stillLost(ctx, t, l); err != nil {
		return e, err
	}
	ref, err := k.makeArchive(ctx, t, l)
	if err != nil {
		return e, err
	}
	if err := k.policy.Archive.Verify(ctx, ref); err != nil {
		return e, fmt.Errorf("verify the archive that was just made: %w", err)
	}
	if err := k.stillLost(ctx, t, l); err != nil {
		return e, err
	}
	now := k.s.opts.now().UTC().Round(0)
	var done *keyLoss
	// If we crash before this is durable, the archive is made again.
	err = k.s.journal.editLoss(ctx, t.id, func(old *keyLoss) *keyLoss {
		if !l.same(old) {
			return old
		}
		done = &keyLoss{
			step: lossArchived, since: old.since, seen: old.seen, left: old.keep, id: old.id,
			archivedAt: now, verifiedAt: now, ref: ref,
		}
		return done
	})
	if err != nil {
		return e, err
	}
	if done == nil {
		return e, errStepOver
	}
	k.s.note(audit.EventArchiveTable, k.s.lossRequest(t), nil)
	k.s.log.Warn("a table whose key is lost is archived", "table", t.id, "archive", ref, "drop_at", done.status(now).DropAt)
	return k.event(t, done, KeyLossArchived), nil
}

// makeArchive holds the table and has that archived.
func (k *lossKeeper) makeArchive(ctx context.Context, t *Table, l *keyLoss) (ref string, err error) {
	if err := k.removeHeld(t, l); err != nil {
		return "", err
	}
	h, err := t.holdAs(ctx, l.id)
	if err != nil {
		return "", fmt.Errorf("hold the table for its archive: %w", err)
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if h.Sealed {
		return "", errStepOver // the key is back
	}
	if ref, err = k.policy.Archive.Archive(ctx, h); err != nil {
		return "", fmt.Errorf("archive the table: %w", err)
	}
	if !isArchiveRef(ref) {
		return "", fmt.Errorf("archive the table: the reference to the archive has %d bytes, or is no UTF-8: it has 1 to %d", len(ref), maxArchiveRef)
	}
	return ref, nil
}

// removeHeld removes what a crash has left of a hold for an archive.
func (k *lossKeeper) removeHeld(t *Table, l *keyLoss) error {
	if err := k.s.fs.RemoveAll(t.snapshotDir(l.id)); err != nil {
		return fmt.Errorf("remove what is left of an earlier archiving: %w", err)
	}
	return nil
}

// drop verifies the archive, and drops the table.
func (k *lossKeeper) drop(ctx context.Context, t *Table, l *keyLoss) (e KeyLossEvent, err error) {
	if err := k.stillLost(ctx, t, l); err != nil {
		return e, err
	}
	if err := k.policy.Archive.Verify(ctx, l.ref); err != nil {
		return e, fmt.Errorf("verify the archive before the table is dropped: %w", err)
	}
	verified := k.s.opts.now().UTC().Round(0)
	if l = k.mark(ctx, t, l, func(l *keyLoss) { l.verifiedAt = verified }); l == nil {
		return e, errStepOver
	}
	if err := k.removeHeld(t, l); err != nil {
		return e, err
	}
	e = k.event(t, l, KeyLossDropped)
	begun := time.Now()
	rep, err := k.s.dropTable(ctx, t.name, DropOptions{WithSnapshots: k.policy.WithSnapshots}, lossDrop{
		archive: l.ref,
		check: func() error {
			if time.Since(begun) > lossLook {
				return errStepOver // the archive was verified long ago: again, at the next look
			}
			return k.mayDrop(ctx, t, l)
		},
	})
	if rep == nil {
		if errors.Is(err, ErrSnapshotsExist) {
			err = fmt.Errorf("%w; they are not in the archive: the policy drops them where KeyLossPolicy.WithSnapshots says so", err)
		}
		return e, err
	}
	if err != nil {
		k.s.log.Warn("a table whose key was lost is dropped, and something of it is left", "table", t.id, "error", err)
	}
	k.s.log.Warn("a table whose key was lost is dropped; its archive stays", "table", t.id, "archive", l.ref)
	e.At, e.Report, e.Err = k.s.opts.now(), rep, err
	return e, nil
}

// A lossDrop is what the policy adds to a drop: a last check, with all locks held, and the
// archive that the record of the drop names.
type lossDrop struct {
	archive string
	check   func() error
}

// mayDrop is the last moment at which the key may be back. The store's ringMu and the
// table's mu are held: nobody opens the table any more, and nobody keeps it.
func (k *lossKeeper) mayDrop(ctx context.Context, t *Table, l *keyLoss) error {
	switch {
	case t.lost != nil:
		return &recordedError{t.lost}
	case len(t.instances()) > 0:
		return errStepOver
	}
	held := false
	t.holds.Range(func(any, any) bool {
		held = true
		return false
	})
	if held {
		return errors.New("the table is held, as by a backup that is being made")
	}
	return k.stillLost(ctx, t, l)
}
