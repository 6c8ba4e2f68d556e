package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/cofredb/cofre/keyring"
)

// RotateRoot has root wrap the table's key from now on: Options.RootKey or one
// of Options.Roots. It takes one call to the key service of the present root key
// and one to root's, and one write of the keyring; no file of the table is read
// or written, whatever its size. A root key that has unwrapped nothing since the
// store was opened is asked once to unwrap what it has wrapped. All else goes on
// while they are asked, however long they take; other rotations of the table wait.
// Then a service that notes the keyring's generations is told of the new one, and
// what changes the keyring or opens the table waits for that.
//
// The present root key again gets its new material, if it was rotated in its
// service, to wrap the table's key. Another root key also gets a new version of
// the table's key: files that are made from now on cannot be opened by who holds
// the former root key and an old copy of the keyring. What is in use goes on
// under the former version: the log until the next Flush, the MANIFEST, which
// has bounds of keys, until the table opens again. To cut a former holder off at
// once, Close the table after the rotation; it opens again on use. All snapshots
// stay readable, and the former root key is not called again for this table.
//
// It is durable when it returns; after a crash the table has either root key and
// opens. Errors: ErrKeyInaccessible, ErrTableNotFound, ErrReadOnly, ErrClosed;
// keyring.ErrRootNotPinned for a root key that the store was not opened with,
// keyring.ErrPoisoned where only the next open of the store will tell whether it
// happened, *keyring.LimitError where the table's key has too many versions.
func (t *Table) RotateRoot(ctx context.Context, root keyring.RootKey) error {
	return t.rotate(ctx, func() (*keyring.Rotation, error) { return t.store.ring.PrepareRoot(ctx, t.id, root) })
}

// RotateKey makes a new version of the table's key under the same root key. New
// files are sealed under it; what exists stays under the version that it was
// sealed with, which hangs below the new one. Cost, durability and errors are
// those of RotateRoot.
func (t *Table) RotateKey(ctx context.Context) error {
	return t.rotate(ctx, func() (*keyring.Rotation, error) { return t.store.ring.PrepareTableKey(ctx, t.id) })
}

// rotate changes the table's key. While it is wrapped, only other rotations of the
// table wait. No instance opens while the keyring is changed, with keys that do not
// hear of it; one that is open goes on.
func (t *Table) rotate(ctx context.Context, prepare func() (*keyring.Rotation, error)) error {
	select {
	case t.rotating <- struct{}{}:
		defer func() { <-t.rotating }()
	case <-ctx.Done():
		return ctx.Err()
	}
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
	return nil
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
