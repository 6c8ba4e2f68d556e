package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
)

// Tables lists the tables, sorted by name. No key service is called.
func (k *Keyring) Tables() []TableRecord {
	s := k.cur.Load()
	rs := make([]TableRecord, 0, len(s.tables))
	for i := range s.tables {
		rs = append(rs, s.tables[i].record())
	}
	return sortedByName(rs)
}

// Tombstones lists what is left of dropped tables, in the order of dropping;
// of the last MaxTombstones of them.
func (k *Keyring) Tombstones() []Tombstone {
	ts := slices.Clone(k.cur.Load().tombstones)
	for i := range ts {
		ts[i] = ts[i].clone()
	}
	return ts
}

// State returns a copy of the clean-close record of a table; nil if there is
// none.
func (k *Keyring) State(id ID) []byte {
	s := k.cur.Load()
	if i, ok := s.find(id); ok && len(s.tables[i].closed) > 0 {
		return bytes.Clone(s.tables[i].closed)
	}
	return nil
}

// Journal is the id of the journal that supersedes the clean-close records;
// zero if there is none.
func (k *Keyring) Journal() ID { return k.cur.Load().journal }

// CreateTable makes a table in state TableCreating: an id, an incarnation and
// a table key that is wrapped by root, which must be pinned, and by those root
// keys of the store key that are Offline and pinned: what recovers the store
// recovers its tables. The metadata is sealed under the table key. The engine
// makes the directory next, and calls FinishCreate when that is complete. The
// caller wipes the TableKeys.
//
// Errors are ErrTableExists, *LimitError, *KeyError (ErrRootNotPinned,
// ErrLastRoot, and those of root), and those of a change.
func (k *Keyring) CreateTable(ctx context.Context, name string, root RootKey, metadata []byte) (*TableKeys, error) {
	switch {
	case name == "":
		return nil, errors.New("keyring: a table without a name")
	case len(name) > MaxNameLen:
		return nil, &LimitError{What: "table name", Len: len(name), Max: MaxNameLen}
	case len(metadata) > MaxMetadataLen:
		return nil, &LimitError{What: "table metadata", Len: len(metadata), Max: MaxMetadataLen}
	case root == nil:
		return nil, errors.New("keyring: a root key is nil")
	}
	pinned, ok := k.pins[root.URI()]
	if !ok {
		return nil, &KeyError{Op: "wrap table key", URI: root.URI(), Err: ErrRootNotPinned}
	}
	// Asked again under the lock; here it saves the call to the key service.
	if k.cur.Load().named(name) {
		return nil, fmt.Errorf("%w: %s", ErrTableExists, name)
	}
	if err := k.changeable(); err != nil {
		return nil, err
	}
	ec := Context{Store: k.storeID, Table: NewID(), Purpose: PurposeTableKey, Version: 1}
	if metadata == nil {
		metadata = []byte{}
	}
	roots := append([]RootKey{pinned}, k.recipients(pinned)...)
	entry, key, err := k.newEntry(ctx, roots, ec, "wrap table key", metadata)
	if err != nil {
		return nil, err
	}
	row := tableRow{
		id: ec.Table, name: name, state: TableCreating, createdAt: k.now(), incarnation: NewID(), entry: entry,
	}
	err = k.change(ctx, func(s *state) error {
		if s.named(name) {
			return fmt.Errorf("%w: %s", ErrTableExists, name)
		}
		if len(s.tables) >= MaxTables {
			return &LimitError{What: "tables", Len: len(s.tables) + 1, Max: MaxTables}
		}
		i, _ := s.find(row.id)
		s.tables = slices.Insert(s.tables, i, row)
		return nil
	})
	if err != nil {
		key.Wipe()
		return nil, err
	}
	return k.tableKeys(&row, map[uint32]*Secret{1: key}, bytes.Clone(metadata)), nil
}

// FinishCreate makes a table live.
func (k *Keyring) FinishCreate(ctx context.Context, id ID) error {
	return k.changeTable(ctx, id, func(s *state, i int) error {
		s.tables[i].state = TableLive
		return nil
	})
}

// Forget removes a table whose creation has failed.
func (k *Keyring) Forget(ctx context.Context, id ID) error {
	return k.changeTable(ctx, id, func(s *state, i int) error {
		if s.tables[i].state != TableCreating {
			return fmt.Errorf("keyring: table %s is %s: only one being created can be forgotten", id, s.tables[i].state)
		}
		s.tables = slices.Delete(s.tables, i, i+1)
		return nil
	})
}

// DropTable removes every wrap of a table's keys and leaves a tombstone. It
// takes no key: a table whose root key is denied or lost can be dropped. From
// then on nothing in this store opens the table's files; copies of older
// keyrings do, with a root key that still lives.
func (k *Keyring) DropTable(ctx context.Context, id ID) (Tombstone, error) {
	var t Tombstone
	err := k.changeTable(ctx, id, func(s *state, i int) error {
		row := &s.tables[i]
		t = Tombstone{
			ID: id, Name: row.name, DroppedAt: k.now(),
			Versions: row.entry.numbers(), Roots: row.entry.roots(),
		}
		s.tables = slices.Delete(s.tables, i, i+1)
		s.tombstones = append(s.tombstones, t)
		s.tombstones = s.tombstones[max(0, len(s.tombstones)-MaxTombstones):]
		return nil
	})
	if err != nil {
		return Tombstone{}, err
	}
	return t.clone(), nil
}

func (t Tombstone) clone() Tombstone {
	t.Versions, t.Roots = slices.Clone(t.Versions), slices.Clone(t.Roots)
	return t
}

// OpenTable unwraps the newest table key, by one call to a key service, and
// with it the older ones and the metadata. The caller wipes the result.
//
// Errors are ErrTableUnknown, *KeyError, and *corrupt.Error where the entry
// is not what the holder of the table key wrote.
func (k *Keyring) OpenTable(ctx context.Context, id ID) (*TableKeys, error) {
	row, keys, metadata, err := k.openRow(ctx, id)
	if err != nil {
		return nil, err
	}
	return k.tableKeys(row, keys, metadata), nil
}

// openRow unwraps a table's keys, all versions, and opens its metadata.
func (k *Keyring) openRow(ctx context.Context, id ID) (*tableRow, map[uint32]*Secret, []byte, error) {
	if k.closed.Load() {
		return nil, nil, nil, ErrClosed
	}
	s := k.cur.Load()
	i, ok := s.find(id)
	if !ok {
		return nil, nil, nil, fmt.Errorf("%w: %s", ErrTableUnknown, id)
	}
	row := &s.tables[i]
	ec := Context{Store: k.storeID, Table: id, Purpose: PurposeTableKey, Version: row.entry.newest().number}
	at := place{path: k.dir.where(fileName(s.generation)), offset: row.offset}
	key, err := k.unwrap(ctx, row.entry, ec, "unwrap table key", at)
	if err != nil {
		return nil, nil, nil, err
	}
	keys, metadata, err := row.entry.unlock(k.opts.Suite, key, ec)
	if err != nil {
		return nil, nil, nil, at.of(err)
	}
	return row, keys, metadata, nil
}

func (k *Keyring) tableKeys(row *tableRow, keys map[uint32]*Secret, metadata []byte) *TableKeys {
	open := &openKeys{keys: keys, metadata: metadata, retired: make(map[uint32]bool)}
	for _, v := range row.entry.versions {
		if v.state == versionRetired {
			open.retired[v.number] = true
		}
	}
	return &TableKeys{
		suite: k.opts.Suite, store: k.storeID, id: row.id, name: row.name, incarnation: row.incarnation,
		version: row.entry.newest().number, roots: row.entry.roots(), open: open,
	}
}

// Metadata opens the metadata that the keyring has now for the table of tk, which
// must hold its newest version: else the error wraps ErrVersionUnknown. No key
// service is called.
func (k *Keyring) Metadata(tk *TableKeys) ([]byte, error) {
	key, version := tk.newest()
	if key == nil {
		return nil, ErrKeysWiped
	}
	defer key.Wipe()
	s := k.cur.Load()
	i, ok := s.find(tk.id)
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrTableUnknown, tk.id)
	}
	e := s.tables[i].entry
	if n := e.newest().number; n != version {
		return nil, fmt.Errorf("%w: table %s is at version %d, the keys at %d", ErrVersionUnknown, tk.id, n, version)
	}
	b, err := openSalted(k.opts.Suite, key, labelMetadata, e.metadata, metadataAAD(k.storeID, tk.id))
	if err != nil {
		return nil, fmt.Errorf("%w: not the key of table %s", ErrWrongContext, tk.id)
	}
	return b, nil
}

// SetMetadata seals new metadata under the table key, and authenticates the
// entry anew. tk must hold the table's newest version: else the error wraps
// ErrVersionUnknown, or ErrWrongContext where it is not the table's at all.
func (k *Keyring) SetMetadata(ctx context.Context, tk *TableKeys, metadata []byte) error {
	if len(metadata) > MaxMetadataLen {
		return &LimitError{What: "table metadata", Len: len(metadata), Max: MaxMetadataLen}
	}
	tk.changing.Lock()
	defer tk.changing.Unlock()
	key, version := tk.newest()
	if key == nil {
		return ErrKeysWiped
	}
	defer key.Wipe()
	err := k.changeTable(ctx, tk.id, func(s *state, i int) error {
		old := s.tables[i].entry
		if old.newest().number != version {
			return fmt.Errorf("%w: table %s is at version %d, the keys at %d", ErrVersionUnknown, tk.id, old.newest().number, version)
		}
		// Authenticating the entry under any other key would lose the table.
		if ok, err := old.verify(k.storeID, key); err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("%w: not the key of table %s", ErrWrongContext, tk.id)
		}
		sealed, err := sealSalted(k.opts.Suite, key, labelMetadata, metadata, metadataAAD(k.storeID, tk.id))
		if err != nil {
			return err
		}
		e := &keyEntry{id: old.id, versions: old.versions, metadata: sealed}
		s.tables[i].entry = e
		return e.finish(k.storeID, key)
	})
	if err == nil {
		tk.setMetadata(metadata)
	}
	return err
}

// SetStates sets the clean-close records of the tables named, which are the
// engine's business and sealed with the list of tables; an empty one removes
// the record, tables not named keep theirs. journal is the id of the journal
// that supersedes the records from now on; zero if none does.
func (k *Keyring) SetStates(ctx context.Context, journal ID, states map[ID][]byte) error {
	return k.change(ctx, func(s *state) error {
		s.journal = journal
		for id, b := range states {
			if len(b) > MaxStateLen {
				return &LimitError{What: "clean-close record", Len: len(b), Max: MaxStateLen}
			}
			i, ok := s.find(id)
			if !ok {
				return fmt.Errorf("%w: %s", ErrTableUnknown, id)
			}
			s.tables[i].closed = bytes.Clone(b)
		}
		return nil
	})
}

// Reissue makes a generation that differs in nothing but what Options.Audit tells: it
// names the newest record of the audit log. Errors are those of a change.
func (k *Keyring) Reissue(ctx context.Context) error {
	return k.change(ctx, func(*state) error { return nil })
}

// change makes the next generation: f edits a copy of the current one. Errors
// are f's, ErrClosed, ErrReadOnly, ErrPoisoned, and those of the file system.
func (k *Keyring) change(ctx context.Context, f func(*state) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.changeableLocked(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s := k.cur.Load().clone()
	if err := f(s); err != nil {
		return err
	}
	s.generation++
	return k.publish(ctx, s)
}

// changeTable is change for one table.
func (k *Keyring) changeTable(ctx context.Context, id ID, f func(s *state, i int) error) error {
	return k.change(ctx, func(s *state) error {
		i, ok := s.find(id)
		if !ok {
			return fmt.Errorf("%w: %s", ErrTableUnknown, id)
		}
		return f(s, i)
	})
}

func (k *Keyring) changeable() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changeableLocked()
}

func (k *Keyring) changeableLocked() error {
	switch {
	case k.closed.Load():
		return ErrClosed
	case k.readOnly:
		return ErrReadOnly
	}
	return k.poison
}
