package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// PrepareRoot has root, which must be pinned, wrap the table's key. Nothing of the
// table is read or written, whatever it holds. The caller commits the rotation or not,
// and wipes it. The zero ID is the store key, which the keyring holds: then no service
// is asked to unwrap it.
//
// live, if not nil, are the table's keys in use, which somebody may wipe meanwhile. With
// them it makes one call that wraps and one that unwraps what was wrapped: the present
// root key is not asked again within the lease of those keys. Without them, or where
// they are not the keyring's any more, a root key that wraps the key today is asked to
// unwrap it, and root to wrap it, and to unwrap that where it has to show that it can,
// as told below.
//
// A root key that wraps it today gets its new material to wrap the newest version
// once more, and so do all others that wrap it: a rotation renews every wrap, or it
// fails. Another root key takes the place of the one that wraps it today, not
// counting those that are Offline: see PrepareReplaceRoot. ErrRootChoice says that
// there are several.
//
// The root keys that wrap the newest version are all that opens it afterwards. So
// one that has unwrapped no table's key since the keyring was opened, or failed to,
// is asked to unwrap what it has wrapped: one that may only wrap, as key services
// can be told, would lock the table up.
//
// Errors are ErrTableUnknown, *KeyError (ErrRootNotPinned with the URI of each root
// key that is to wrap and is not pinned; ErrLastRoot), ErrRootChoice,
// *corrupt.Error, *LimitError at MaxVersions, and those of a change.
func (k *Keyring) PrepareRoot(ctx context.Context, id ID, live *TableKeys, root RootKey) (*Rotation, error) {
	if root == nil {
		return nil, errNilRoot
	}
	return k.prepare(ctx, id, live, func(now []string) (plan, error) {
		if slices.Contains(now, root.URI()) {
			return plan{uris: now}, nil
		}
		from, err := k.onlyRoot(now, id)
		if err != nil {
			return plan{}, err
		}
		return replaced(now, from, root.URI())
	})
}

// PrepareReplaceRoot has root wrap the table's key in place of the root key of the
// URI from, which need neither be pinned nor exist any more. The others renew their
// wraps. Otherwise it is like PrepareRoot.
//
// It makes a new version of the key, under which the older ones hang: who held the
// former root key and an old keyring opens the files that exist, what is appended to
// them included, and none that is made afterwards (Amazon Keyspaces also makes a new
// table key when a table's root key is changed). Where root is of the URI from, it
// makes none.
//
// Errors are those of PrepareRoot, ErrRootUnknown where from does not wrap the key,
// and ErrRootExists where root wraps it already.
func (k *Keyring) PrepareReplaceRoot(ctx context.Context, id ID, live *TableKeys, from string, root RootKey) (*Rotation, error) {
	if root == nil {
		return nil, errNilRoot
	}
	return k.prepare(ctx, id, live, func(now []string) (plan, error) { return replaced(now, from, root.URI()) })
}

// PrepareAddRoot has root, which must be pinned, wrap the table's key too. From then
// on any one of them opens the table, and all that it held before. The other wraps
// stay as they are, and so does the version of the key; no other service is asked to
// wrap. Otherwise it is like PrepareRoot.
//
// Errors are those of PrepareRoot, ErrRootExists where root wraps the key already,
// and *LimitError at MaxWraps.
func (k *Keyring) PrepareAddRoot(ctx context.Context, id ID, live *TableKeys, root RootKey) (*Rotation, error) {
	if root == nil {
		return nil, errNilRoot
	}
	return k.prepare(ctx, id, live, func(now []string) (plan, error) {
		if slices.Contains(now, root.URI()) {
			return plan{}, fmt.Errorf("%w: %s", ErrRootExists, root.URI())
		}
		return plan{uris: append(now, root.URI()), keep: true}, nil
	})
}

// PrepareRemoveRoot takes the root keys of the URIs away, which need neither be pinned
// nor exist any more; several that are lost can only go at once. It makes a new version
// of the table's key, wrapped by the root keys that stay: by all of them, or it fails.
// Who held one that goes, and an old keyring, opens the files that exist until they are
// encrypted anew, and none that is made afterwards. Otherwise it is like PrepareRoot.
//
// Errors are those of PrepareRoot, ErrRootUnknown where one of them does not wrap the
// key, and ErrLastRoot where none would be left, or only such as are Offline.
func (k *Keyring) PrepareRemoveRoot(ctx context.Context, id ID, live *TableKeys, uris ...string) (*Rotation, error) {
	return k.prepare(ctx, id, live, func(now []string) (plan, error) {
		if len(uris) == 0 {
			return plan{}, unknownRoot("", now)
		}
		stay := slices.Clone(now)
		for _, uri := range uris {
			i := slices.Index(stay, uri)
			if i < 0 {
				return plan{}, unknownRoot(uri, now)
			}
			stay = slices.Delete(stay, i, i+1)
		}
		if len(stay) == 0 {
			return plan{}, &KeyError{Op: "remove a root of the " + keyName(id), URI: strings.Join(uris, ", "), Err: ErrLastRoot}
		}
		return plan{uris: stay, add: true}, nil
	})
}

var errNilRoot = errors.New("keyring: a root key is nil")

// replaced plans to have the root key to in place of from.
func replaced(now []string, from, to string) (plan, error) {
	i := slices.Index(now, from)
	switch {
	case i < 0:
		return plan{}, unknownRoot(from, now)
	case from == to:
		return plan{uris: now}, nil
	case slices.Contains(now, to):
		return plan{}, fmt.Errorf("%w: %s", ErrRootExists, to)
	}
	now[i] = to
	return plan{uris: now, add: true}, nil
}

func unknownRoot(uri string, now []string) error {
	return fmt.Errorf("%w: %s; what does: %s", ErrRootUnknown, uri, strings.Join(now, ", "))
}

// onlyRoot is the one root key that another replaces, if nobody has said which.
func (k *Keyring) onlyRoot(now []string, id ID) (string, error) {
	if len(now) == 1 {
		return now[0], nil
	}
	var online []string
	for _, uri := range now {
		root, ok := k.pins[uri]
		if !ok { // it could be either
			return "", &KeyError{Op: "wrap " + keyName(id), URI: uri, Err: ErrRootNotPinned}
		}
		if !isOffline(root) {
			online = append(online, uri)
		}
	}
	if len(online) != 1 {
		return "", fmt.Errorf("%w: %q", ErrRootChoice, now)
	}
	return online[0], nil
}

// recipients are the root keys of the store key that are offline and pinned, but for
// one.
func (k *Keyring) recipients(but RootKey) (roots []RootKey) {
	for _, uri := range k.cur.Load().store.roots() {
		if root, ok := k.pins[uri]; ok && isOffline(root) && uri != but.URI() {
			roots = append(roots, root)
		}
	}
	return roots
}

// entry finds the entry of a table's key, or that of the store key, whose id is zero.
func (s *state) entry(id ID) (**keyEntry, error) {
	if id.IsZero() {
		return &s.store, nil
	}
	i, ok := s.find(id)
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrTableUnknown, id)
	}
	return &s.tables[i].entry, nil
}

// entry is the same of the current state, with its place.
func (k *Keyring) entry(id ID) (*keyEntry, place, error) {
	s := k.cur.Load()
	e, err := s.entry(id)
	if err != nil {
		return nil, place{}, err
	}
	at := place{path: k.dir.where(fileName(s.generation)), offset: fileHeaderLen + 4}
	if i, ok := s.find(id); ok {
		at.offset = s.tables[i].offset
	}
	return *e, at, nil
}

// versionsOf are all versions of a key. Those of a table are unwrapped; those of the
// store key are at hand.
func (k *Keyring) versionsOf(ctx context.Context, e *keyEntry, at place) (map[uint32]*Secret, error) {
	if e.id.IsZero() {
		return k.storeKey.all()
	}
	ec := Context{Store: k.storeID, Table: e.id, Purpose: PurposeTableKey, Version: e.newest().number}
	key, err := k.unwrap(ctx, e, ec, "unwrap table key", at)
	if err != nil {
		return nil, err
	}
	keys, metadata, err := e.unlock(k.opts.Suite, key, ec)
	if err != nil {
		return nil, at.of(err)
	}
	clear(metadata)
	return keys, nil
}

// all returns copies of all versions. The caller wipes them.
func (t *TableKeys) all() (map[uint32]*Secret, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.open == nil {
		return nil, ErrKeysWiped
	}
	keys := make(map[uint32]*Secret, len(t.open.keys))
	for n, key := range t.open.keys {
		keys[n] = key.Clone()
	}
	return keys, nil
}

// wrapOf is the wrap by the root key of a URI.
func (v *keyVersion) wrapOf(uri string) (wrap, bool) {
	i := slices.IndexFunc(v.wraps, func(w wrap) bool { return w.uri == uri })
	if i < 0 {
		return wrap{}, false
	}
	return v.wraps[i], true
}

func purposeOf(id ID) string {
	if id.IsZero() {
		return PurposeStoreKey
	}
	return PurposeTableKey
}

// keyName is what errors call the key of an id.
func keyName(id ID) string {
	if id.IsZero() {
		return "store key"
	}
	return "table key"
}
