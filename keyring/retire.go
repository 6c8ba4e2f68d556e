package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// ErrVersionCurrent: the newest version of a table's key cannot be retired.
var ErrVersionCurrent = errors.New("the version is the current one")

// Retire destroys a version of a table's key: its wrap goes from the keyring, and
// its number stays, so that it is never used again. tk must hold the newest
// version, and forgets the one that is retired; what else has opened the table's
// keys keeps it until it wipes them. The caller has made sure that nothing needs
// the version: what it alone wraps cannot be opened again, but with an older copy
// of the keyring and a root key that lives.
//
// Errors are ErrVersionCurrent, ErrVersionUnknown (never made, or retired
// before), ErrTableUnknown, ErrKeysWiped, ErrWrongContext where tk is not the
// table's, and those of a change.
func (k *Keyring) Retire(ctx context.Context, tk *TableKeys, version uint32) error {
	tk.changing.Lock()
	defer tk.changing.Unlock()
	key, newest := tk.newest()
	if key == nil {
		return ErrKeysWiped
	}
	defer key.Wipe()
	err := k.changeTable(ctx, tk.id, func(s *state, i int) error {
		old := s.tables[i].entry
		if now := old.newest().number; now != newest || version == now {
			if version == now {
				return fmt.Errorf("%w: %d of table %s", ErrVersionCurrent, version, tk.id)
			}
			return fmt.Errorf("%w: table %s is at version %d, the keys at %d", ErrVersionUnknown, tk.id, now, newest)
		}
		if ok, err := old.verify(k.storeID, key); err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("%w: not the key of table %s", ErrWrongContext, tk.id)
		}
		e := &keyEntry{id: old.id, versions: slices.Clone(old.versions), metadata: old.metadata}
		at := slices.IndexFunc(e.versions, func(v keyVersion) bool { return v.number == version && v.state == versionOlder })
		if at < 0 {
			return fmt.Errorf("%w: table %s has no version %d to retire", ErrVersionUnknown, tk.id, version)
		}
		e.versions[at].state, e.versions[at].older = versionRetired, nil
		s.tables[i].entry = e
		return e.finish(k.storeID, key)
	})
	if err == nil {
		tk.Forget(version)
	}
	return err
}

// Forget drops an older version that was retired, unless t was wiped.
func (t *TableKeys) Forget(version uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil || version == t.version {
		return
	}
	if key, ok := t.open.keys[version]; ok {
		key.Wipe()
		delete(t.open.keys, version)
	}
	t.open.retired[version] = true
}

// Entry tells what the keyring holds of a table's key. No key service is called.
func (k *Keyring) Entry(id ID) (EntryInfo, error) {
	s := k.cur.Load()
	i, ok := s.find(id)
	if !ok {
		return EntryInfo{}, fmt.Errorf("%w: %s", ErrTableUnknown, id)
	}
	return s.tables[i].entry.info(), nil
}

// Confirm has a root key unwrap the table's newest key, and forgets it: the
// service lets it be used still. It makes one call, or one to each root key until
// one unwraps. Errors are those of OpenTable.
func (k *Keyring) Confirm(ctx context.Context, id ID) error {
	if k.closed.Load() {
		return ErrClosed
	}
	s := k.cur.Load()
	i, ok := s.find(id)
	if !ok {
		return fmt.Errorf("%w: %s", ErrTableUnknown, id)
	}
	row := &s.tables[i]
	ec := Context{Store: k.storeID, Table: id, Purpose: PurposeTableKey, Version: row.entry.newest().number}
	key, err := k.unwrap(ctx, row.entry, ec, "unwrap table key", place{k.dir.where(fileName(s.generation)), row.offset})
	if err != nil {
		return err
	}
	key.Wipe()
	return nil
}
