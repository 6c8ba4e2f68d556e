package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
	"github.com/cofredb/cofre/wal"
)

// RotateRoot has root wrap the table's key from now on: Options.RootKey or one
// of Options.Roots. In a table that is open, with one root key before and after, it takes
// one call that wraps and one that unwraps what was wrapped, and one write of the
// keyring; no sorted file of the table is read or written, whatever its size. The
// present root key has confirmed the keys in use within their lease, and is not asked
// again. In a table that is closed it is asked to unwrap, and the one that is to wrap
// then has to show that it unwraps where it has unwrapped nothing since the store was
// opened. All else goes on while they are asked, however long they take; other
// rotations of the table wait. Then a service that notes the keyring's generations
// is told of the new one, and what changes the keyring or opens the table waits for
// that.
//
// A root key that wraps the table's key already gets its new material, if it was
// rotated in its service, to wrap it anew, and so do all others. Another root key
// takes the place of the present one, as ReplaceRoot says; recovery recipients
// stay.
//
// With a new version of the table's key, what is written from then on cannot be
// opened by who holds the former root key and an old copy of the keyring: the log and
// the MANIFEST of a table that is open go on under the new version too, after three
// frames more in each. What exists stays open to him until Reencrypt. All snapshots
// stay readable.
//
// It is durable when it returns; after a crash the table has either root key and
// opens. Errors: ErrKeyInaccessible, ErrTableNotFound, ErrReadOnly, ErrClosed;
// keyring.ErrRootNotPinned for a root key that is to wrap and that the store was
// not opened with, keyring.ErrRootChoice where the table has several root keys that
// root could replace, keyring.ErrPoisoned where only the next open of the store
// will tell whether it happened, *keyring.LimitError where the table's key has too
// many versions.
func (t *Table) RotateRoot(ctx context.Context, root keyring.RootKey) error {
	return t.recorded(audit.EventRotateRoot, t.changeRoots(ctx, func() (*keyring.Rotation, error) { return t.store.ring.PrepareRoot(ctx, t.id, t.liveKeys(), root) }))
}

// RotateKey makes a new version of the table's key under the same root keys. New
// files are sealed under it, and the log and the MANIFEST of an open table go on
// under it. Then the data keys of all files, the snapshots' too, are wrapped by it
// as well, in a file of the table (ten thousand in less than a second), so that no
// older version is needed and RetireKey may destroy them. Headers are read, data is
// not. Durability and errors are those of RotateRoot; where an error says so, or a
// crash came between, the key is rotated and the data keys have their turn with the
// next RotateKey or RetireKey.
func (t *Table) RotateKey(ctx context.Context) error {
	return t.recorded(audit.EventRotateTableKey, t.rotateKey(ctx))
}

func (t *Table) rotateKey(ctx context.Context) error {
	if err := t.beginRotation(ctx); err != nil {
		return err
	}
	defer t.endRotation()
	if err := t.rotate(ctx, func() (*keyring.Rotation, error) { return t.store.ring.PrepareTableKey(ctx, t.id, t.liveKeys()) }); err != nil {
		return err
	}
	if err := t.rewrap(ctx); err != nil {
		return fmt.Errorf("the table's key is rotated, and the older versions are needed until data keys are wrapped again, "+
			"which the next rotation does, or what retires one of them: %w", err)
	}
	return nil
}

// liveKeys are the keys of the table in use, or nil. Whoever closes the table wipes them.
func (t *Table) liveKeys() *keyring.TableKeys {
	if i := t.inst.Load(); i != nil && t.locked.Load() == nil {
		return i.keys
	}
	return nil
}

// beginRotation waits until no other change of the table's key is under way.
func (t *Table) beginRotation(ctx context.Context) error {
	select {
	case t.rotating <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *Table) endRotation() { <-t.rotating }

// rotate changes the table's key. While it is wrapped, only other rotations of the
// table wait. No instance opens while the keyring is changed, with keys that do not
// hear of it; one that is open goes on.
func (t *Table) rotate(ctx context.Context, prepare func() (*keyring.Rotation, error)) error {
	switch {
	case t.store.opts.Mode == ReadOnly:
		return ErrReadOnly
	case t.store.isClosed():
		return ErrClosed
	}
	r, err := prepare()
	if err != nil {
		if t.store.isClosed() {
			return ErrClosed // and with it the keyring
		}
		return t.keyError(err)
	}
	defer r.Wipe()
	if err := t.lockWithRing(ctx); err != nil {
		return err
	}
	defer t.store.ringMu.Unlock()
	defer t.mu.Unlock()
	switch {
	case t.store.isClosed():
		return ErrClosed
	case t.dropped:
		return fmt.Errorf("%w: %s", ErrTableNotFound, t.name)
	}
	var live *keyring.TableKeys
	if i := t.inst.Load(); i != nil {
		live = i.keys
	}
	if err := r.Commit(ctx, live); err != nil {
		return t.keyError(err)
	}
	for _, i := range t.snaps {
		r.Adopt(i.keys) // it may have to read an overlay that comes later
	}
	if r.NewVersion() && live != nil {
		return t.cutOver(ctx, t.inst.Load())
	}
	return nil
}

// cutOver has an open instance's log and MANIFEST go on under the newest version of
// the table's key; t.mu is held. What they hold from then on is on record: a later
// opening misses it if it is gone.
func (t *Table) cutOver(ctx context.Context, i *instance) error {
	m, err := i.fs.Rekey(t.dir)
	if err == nil && m != (wal.Segment{}) {
		err = t.store.journal.record(ctx, t.id, tableState{floor: m})
	}
	if err == nil {
		return nil
	}
	i.hole.Trip(err)
	return fmt.Errorf("the table's key is rotated, and its log does not go on under the new version: %w", &poisoned{cause: err})
}

// lockWithRing takes the locks of a change of this table's keys. It waits for
// neither while it holds the other: an open that waits for a key service has mu,
// and nobody else's table should wait for it.
func (t *Table) lockWithRing(ctx context.Context) error {
	for {
		if t.store.ringMu.TryLock() {
			if t.mu.TryLock() {
				return nil
			}
			t.store.ringMu.Unlock()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}
