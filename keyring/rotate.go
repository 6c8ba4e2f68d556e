package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// A Rotation is a change of a table's key that has been prepared: the key services
// have wrapped it, and nothing is changed before Commit. So one that takes its time
// over that holds up nobody but its caller.
type Rotation struct {
	k     *Keyring
	keys  map[uint32]*Secret // all versions, unwrapped
	from  keyVersion         // the newest version when it began
	ec    Context            // of the version that it makes current
	key   *Secret            // that version; one of keys
	wraps []wrap             // of it
	add   bool               // it is a new version
	roots []string           // that wrap it, once it is committed
}

// PrepareRoot has root, which must be pinned, wrap the table's key. It makes one
// call to the key service that wraps it today and one to root's, or two, as told
// below; nothing of the table is read or written, whatever it holds. The caller
// commits the rotation or not, and wipes it.
//
// The root key that wraps it today, under the same URI, gets its new material
// to wrap the newest version once more. Another root key gets a new version of
// the table key, under which the older ones hang: who held the former root key
// and an old keyring opens the files that exist, what is appended to them
// included, and none that is made afterwards (Amazon Keyspaces also makes a new
// table key when a table's root key is changed). All wraps of the former version
// by other root keys are gone then.
//
// The only wrap of the newest version is root's own afterwards. So one that has
// unwrapped no table's key since the keyring was opened, or failed to, is asked to
// unwrap what it has wrapped: one that may only wrap, as key services can be told,
// would lock the table up.
//
// Errors are ErrTableUnknown, *KeyError, *corrupt.Error, *LimitError at
// MaxVersions, and those of a change.
func (k *Keyring) PrepareRoot(ctx context.Context, id ID, root RootKey) (*Rotation, error) {
	if root == nil {
		return nil, errors.New("keyring: a root key is nil")
	}
	return k.prepare(ctx, id, func(now []string) (roots []RootKey, add bool) {
		return []RootKey{root}, len(now) != 1 || now[0] != root.URI()
	})
}

// PrepareTableKey makes a new version of the table's key, wrapped by the root keys
// that wrap the present one: by all of them, or it fails. Data keys that exist
// stay under the version that wraps them. Otherwise it is like PrepareRoot.
func (k *Keyring) PrepareTableKey(ctx context.Context, id ID) (*Rotation, error) {
	return k.prepare(ctx, id, func(now []string) (roots []RootKey, add bool) {
		for _, uri := range now {
			roots = append(roots, k.pins[uri])
		}
		return roots, true
	})
}

// prepare unwraps the table's key and wraps what plan says. plan hears the root
// keys that wrap the key now; it names those that will, and says whether there is
// to be a new version.
func (k *Keyring) prepare(ctx context.Context, id ID, plan func(now []string) (roots []RootKey, add bool)) (_ *Rotation, err error) {
	if err := k.changeable(); err != nil {
		return nil, err
	}
	row, keys, metadata, err := k.openRow(ctx, id)
	if err != nil {
		return nil, err
	}
	clear(metadata)
	roots, add := plan(row.entry.roots())
	newest := *row.entry.newest()
	r := &Rotation{
		k: k, keys: keys, from: newest, key: keys[newest.number], add: add,
		ec: Context{Store: k.storeID, Table: id, Purpose: PurposeTableKey, Version: newest.number},
	}
	defer func() {
		if err != nil {
			r.Wipe()
		}
	}()
	if add {
		if len(row.entry.versions) >= MaxVersions {
			return nil, &LimitError{What: "versions of a table key", Len: len(row.entry.versions) + 1, Max: MaxVersions}
		}
		r.ec.Version++
		r.key = RandomSecret()
		r.keys[r.ec.Version] = r.key
	}
	for _, root := range roots {
		pinned, ok := k.pins[root.URI()]
		if !ok {
			return nil, &KeyError{Op: "wrap table key", URI: root.URI(), Err: ErrRootNotPinned}
		}
		w, err := wrapBy(ctx, pinned, r.key, r.ec, "wrap table key")
		if err != nil {
			return nil, err
		}
		if _, ok := k.unwraps.Load(w.uri); !ok {
			if err := k.proveWrap(ctx, pinned, w, r); err != nil {
				return nil, err
			}
		}
		r.wraps = append(r.wraps, w)
	}
	return r, nil
}

// Commit makes the rotation real, by one change of the keyring, and calls no key
// service but for notes. live, if not nil, are the table's keys in use: files made
// after Commit has returned have data keys under the newest version. If we crash
// before it returns, the keyring is that before or that after; either opens every
// file.
//
// Errors are ErrRotated, where another rotation was committed since this one was
// prepared, ErrTableUnknown, and those of a change.
func (r *Rotation) Commit(ctx context.Context, live *TableKeys) error {
	if r.key.Wiped() {
		return ErrKeysWiped
	}
	var made *keyEntry
	err := r.k.changeTable(ctx, r.ec.Table, func(s *state, i int) (err error) {
		now := s.tables[i].entry
		if n := now.newest(); n.number != r.from.number || !slices.EqualFunc(n.wraps, r.from.wraps, wrap.equal) {
			return fmt.Errorf("%w: table %s is at version %d by now, wrapped by %q", ErrRotated, now.id, n.number, now.roots())
		}
		made, err = r.k.rotated(r, now)
		s.tables[i].entry = made
		return err
	})
	if err == nil {
		r.roots = made.roots()
		if live != nil {
			r.Adopt(live)
		}
	}
	return err
}

// Adopt tells keys that are in use of a rotation that was committed.
func (r *Rotation) Adopt(keys *TableKeys) { keys.adopt(r.ec.Version, r.key, r.roots) }

// Adds tells whether the rotation makes a new version of the table's key.
func (r *Rotation) Adds() bool { return r.add }

// Wipe forgets the keys that the rotation holds.
func (r *Rotation) Wipe() { wipeAll(r.keys) }

// proveWrap has root unwrap what it has wrapped.
func (k *Keyring) proveWrap(ctx context.Context, root RootKey, w wrap, r *Rotation) error {
	key, err := root.Unwrap(ctx, w.blob, r.ec)
	if err == nil {
		if !key.Equal(r.key) {
			err = fmt.Errorf("%w: it is another key", ErrWrongContext)
		}
		key.Wipe()
	}
	if err != nil {
		return &KeyError{Op: "unwrap the table key that it has just wrapped", URI: w.uri, Err: err}
	}
	k.unwraps.Store(w.uri, nil)
	return nil
}

// rotated makes the entry that takes the place of now, whose newest version is
// still that which the rotation began with.
func (k *Keyring) rotated(r *Rotation, now *keyEntry) (*keyEntry, error) {
	before := r.keys[now.newest().number]
	// Metadata may have changed since, by whoever holds the table's key.
	if ok, err := now.verify(k.storeID, before); err != nil {
		return nil, err
	} else if !ok {
		return nil, fmt.Errorf("%w: not the key of table %s", ErrWrongContext, now.id)
	}
	e := &keyEntry{id: now.id, versions: slices.Clone(now.versions), metadata: now.metadata}
	if !r.add {
		e.newest().wraps = r.wraps
		return e, e.finish(k.storeID, r.key)
	}
	for i := range e.versions {
		v := &e.versions[i]
		if v.state == versionRetired {
			continue
		}
		ec := r.ec
		ec.Version = v.number
		older, err := wrapOlder(k.opts.Suite, r.key, r.keys[v.number], ec)
		if err != nil {
			return nil, err
		}
		v.state, v.wraps, v.older = versionOlder, nil, older
	}
	commitment, err := commit(r.key, r.ec)
	if err != nil {
		return nil, err
	}
	e.versions = append(e.versions, keyVersion{
		number: r.ec.Version, createdAt: k.now(), state: versionCurrent, commitment: commitment, wraps: r.wraps,
	})
	at := metadataAAD(k.storeID, now.id)
	metadata, err := openSalted(k.opts.Suite, before, labelMetadata, now.metadata, at)
	if err != nil {
		return nil, err
	}
	defer clear(metadata)
	if e.metadata, err = sealSalted(k.opts.Suite, r.key, labelMetadata, metadata, at); err != nil {
		return nil, err
	}
	return e, e.finish(k.storeID, r.key)
}

// adopt adds a version to keys that are in use, unless they were wiped, and makes
// it current, unless they have heard of a newer one.
func (t *TableKeys) adopt(version uint32, key *Secret, roots []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		return
	}
	// Needed in any case: files may have been made under it by those who opened the
	// table meanwhile.
	if _, ok := t.open.keys[version]; !ok {
		t.open.keys[version] = key.Clone()
	}
	if version >= t.version {
		t.version, t.roots = version, roots
	}
}
