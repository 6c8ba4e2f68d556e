package engine

import (
	"context"
	"time"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
)

// AddRoot has root wrap the table's key too: Options.RootKey or one of
// Options.Roots. From then on any one of the table's root keys opens it, so that
// losing one key service loses no data. The others are not asked to wrap. Cost,
// durability and errors are those of RotateRoot, and keyring.ErrRootExists where it
// wraps the key already.
func (t *Table) AddRoot(ctx context.Context, root keyring.RootKey) error {
	return t.recorded(audit.EventAddRoot, t.changeRoots(ctx, func() (*keyring.Rotation, error) { return t.store.ring.PrepareAddRoot(ctx, t.id, t.liveKeys(), root) }))
}

// ReplaceRoot has root, Options.RootKey or one of Options.Roots, wrap the table's key
// in place of the root key of the URI from, which may be lost. The others wrap it
// anew, or it fails.
//
// Unless root is of that URI itself, the table's key gets a new version: what is
// written from now on cannot be opened by who holds the former root key and an old
// copy of the keyring. What exists can, until Reencrypt. All snapshots stay readable,
// and the former root key is not called again for this table.
//
// Cost, durability and errors are those of RotateRoot, keyring.ErrRootUnknown where
// from does not wrap the table's key, and keyring.ErrRootExists where root does.
func (t *Table) ReplaceRoot(ctx context.Context, from string, root keyring.RootKey) error {
	return t.recorded(audit.EventReplaceRoot, t.changeRoots(ctx, func() (*keyring.Rotation, error) {
		return t.store.ring.PrepareReplaceRoot(ctx, t.id, t.liveKeys(), from, root)
	}))
}

// RemoveRoot takes the root keys of the URIs away from the table, which may be lost;
// several lost ones go at once or not at all. The others wrap a new version of the
// table's key, all of them, or it fails. What it means for who held one that goes is said
// at ReplaceRoot: the data that exists stays open to him until Reencrypt.
//
// Cost, durability and errors are those of RotateRoot, keyring.ErrRootUnknown where one
// does not wrap the table's key, and keyring.ErrLastRoot where none would be left that
// unwraps without a recovery sheet.
func (t *Table) RemoveRoot(ctx context.Context, uris ...string) error {
	return t.recorded(audit.EventRemoveRoot, t.changeRoots(ctx, func() (*keyring.Rotation, error) {
		return t.store.ring.PrepareRemoveRoot(ctx, t.id, t.liveKeys(), uris...)
	}))
}

// changeRoots is rotate, when no other change of the table's key is under way.
func (t *Table) changeRoots(ctx context.Context, prepare func() (*keyring.Rotation, error)) error {
	if err := t.beginRotation(ctx); err != nil {
		return err
	}
	defer t.endRotation()
	prepare, settle := t.withGrants(ctx, prepare)
	err := t.rotate(ctx, prepare)
	settle(err)
	return err
}

// RootKeys are the URIs of the root keys of the store key, any one of which opens the
// store.
func (s *Store) RootKeys() []string { return s.ring.Roots() }

// RotateRoot is Table.RotateRoot for the store key, which seals the list of tables,
// the keyring and the journal. The store key is at hand, so no service is asked to
// unwrap it: while a store is open it can be saved from the loss of its only key
// service. Where the key gets a new version, a new journal begins under it. The
// tables keep their own root keys.
func (s *Store) RotateRoot(ctx context.Context, root keyring.RootKey) error {
	return s.recorded(audit.EventRotateRoot, s.rotate(ctx, func() (*keyring.Rotation, error) { return s.ring.PrepareRoot(ctx, keyring.ID{}, nil, root) }))
}

// AddRoot is Table.AddRoot for the store key. A root key that is keyring.Offline, such
// as a recovery recipient, also wraps the keys of tables that are created from then
// on; those that exist need an AddRoot each.
func (s *Store) AddRoot(ctx context.Context, root keyring.RootKey) error {
	return s.recorded(audit.EventAddRoot, s.rotate(ctx, func() (*keyring.Rotation, error) { return s.ring.PrepareAddRoot(ctx, keyring.ID{}, nil, root) }))
}

// ReplaceRoot is Table.ReplaceRoot for the store key.
func (s *Store) ReplaceRoot(ctx context.Context, from string, root keyring.RootKey) error {
	return s.recorded(audit.EventReplaceRoot, s.rotate(ctx, func() (*keyring.Rotation, error) {
		return s.ring.PrepareReplaceRoot(ctx, keyring.ID{}, nil, from, root)
	}))
}

// RemoveRoot is Table.RemoveRoot for the store key. Who held a root key that goes
// opens old copies of the keyring, with the list of tables of their time, and no
// later one.
func (s *Store) RemoveRoot(ctx context.Context, uris ...string) error {
	return s.recorded(audit.EventRemoveRoot, s.rotate(ctx, func() (*keyring.Rotation, error) {
		return s.ring.PrepareRemoveRoot(ctx, keyring.ID{}, nil, uris...)
	}))
}

// rotate changes the root keys of the store key, or its version. While services are
// asked to wrap it, only other rotations of it wait.
func (s *Store) rotate(ctx context.Context, prepare func() (*keyring.Rotation, error)) error {
	select {
	case s.rotating <- struct{}{}:
		defer func() { <-s.rotating }()
	case <-ctx.Done():
		return ctx.Err()
	}
	switch {
	case s.opts.Mode == ReadOnly:
		return ErrReadOnly
	case s.isClosed():
		return ErrClosed
	}
	r, err := prepare()
	if err != nil {
		if s.isClosed() {
			return ErrClosed // and with it the keyring
		}
		return keyError(err)
	}
	defer r.Wipe()
	if err := s.lockRing(ctx); err != nil {
		return err
	}
	defer s.ringMu.Unlock()
	if s.isClosed() {
		return ErrClosed
	}
	if err := r.Commit(ctx, nil); err != nil {
		return keyError(err)
	}
	if r.NewVersion() {
		// The rotation is made. If we crash here, or this fails, the journal goes on
		// under the former version, which hangs below the new one, until the store
		// opens again.
		if err := s.journal.renew(context.WithoutCancel(ctx)); err != nil {
			s.log.Warn("the journal goes on under the former store key", "error", err)
		}
	}
	return nil
}

// lockRing takes ringMu, unless ctx ends before.
func (s *Store) lockRing(ctx context.Context) error {
	for !s.ringMu.TryLock() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}
