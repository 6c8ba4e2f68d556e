package keyring

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A Rotation is a change of a table's key, of the store key, or of the root keys that
// wrap them, that has been prepared: the key services have wrapped it, and nothing is
// changed before Commit. So one that takes its time over that holds up nobody but its
// caller.
type Rotation struct {
	k     *Keyring
	keys  map[uint32]*Secret // all versions, unwrapped
	from  keyVersion         // the newest version when it began
	ec    Context            // of the version that it makes current
	key   *Secret            // that version; one of keys
	wraps []wrap             // of it
	add   bool               // it is a new version
	read  bool               // a root key has unwrapped what it wrapped for this rotation
	roots []string           // that wrap it, once it is committed
}

// NewVersion tells whether the rotation makes a new version of the key.
func (r *Rotation) NewVersion() bool { return r.add }

// Roots are the URIs of the root keys that wrap the key once it is committed.
func (r *Rotation) Roots() (uris []string) {
	for _, w := range r.wraps {
		uris = append(uris, w.uri)
	}
	return uris
}

// PrepareTableKey makes a new version of the table's key, wrapped by the root keys
// that wrap the present one: by all of them, or it fails. Data keys that exist
// stay under the version that wraps them. The zero ID is the store key. Otherwise
// it is like PrepareRoot.
func (k *Keyring) PrepareTableKey(ctx context.Context, id ID, live *TableKeys) (*Rotation, error) {
	return k.prepare(ctx, id, live, func(now []string) (plan, error) { return plan{uris: now, add: true}, nil })
}

// A plan says which root keys are to wrap a key, and in which order.
type plan struct {
	uris []string
	keep bool // the wraps that are there stay as they are, and only new ones are made
	add  bool // of a new version of the key
}

// prepare has a key wrapped as planned, which it unwraps unless live has it. planned
// hears the root keys that wrap the key now.
func (k *Keyring) prepare(ctx context.Context, id ID, live *TableKeys, planned func(now []string) (plan, error)) (_ *Rotation, err error) {
	if err := k.changeable(); err != nil {
		return nil, err
	}
	e, at, err := k.entry(id)
	if err != nil {
		return nil, err
	}
	p, err := planned(e.roots())
	if err == nil {
		err = k.feasible(p, e)
	}
	if err != nil {
		return nil, err
	}
	newest := *e.newest()
	r := &Rotation{
		k: k, from: newest, add: p.add,
		ec: Context{Store: k.storeID, Table: id, Purpose: purposeOf(id), Version: newest.number},
	}
	// One call has to show that a service still answers for the key. That of the new
	// wrap is worth more than that of the present one: keys in use have been confirmed
	// within their lease, and what is wrapped now is all that opens the table later.
	atHand := k.proves(p, e) && r.take(live, e)
	if !atHand {
		if r.keys, err = k.versionsOf(ctx, e, at); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			r.Wipe()
		}
	}()
	if p.add {
		r.ec.Version++
		r.keys[r.ec.Version] = RandomSecret()
	}
	r.key = r.keys[r.ec.Version]
	for _, uri := range p.uris {
		w, kept := newest.wrapOf(uri)
		if !kept || !p.keep {
			if w, err = k.wrapAnew(ctx, uri, r); err != nil {
				return nil, err
			}
		}
		r.wraps = append(r.wraps, w)
	}
	if atHand && !r.read {
		if err = k.proveOne(ctx, p, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// proves tells whether a plan has a root key wrap that can be asked to unwrap it again.
func (k *Keyring) proves(p plan, e *keyEntry) bool {
	return slices.ContainsFunc(p.uris, func(uri string) bool { return k.provable(p, e.newest(), uri) })
}

func (k *Keyring) provable(p plan, newest *keyVersion, uri string) bool {
	_, there := newest.wrapOf(uri)
	return (!there || !p.keep) && !isOffline(k.pins[uri])
}

// take copies the versions of a key that is in use, if it is the entry's, with all that
// the entry has.
func (r *Rotation) take(live *TableKeys, e *keyEntry) bool {
	if live == nil || live.id != e.id || e.id.IsZero() || live.Version() != e.newest().number {
		return false
	}
	keys, err := live.all()
	if err != nil {
		return false // the table has closed meanwhile
	}
	for _, v := range e.versions {
		switch _, ok := keys[v.number]; {
		case v.state == versionRetired:
			keys[v.number].Wipe()
			delete(keys, v.number)
		case !ok:
			wipeAll(keys)
			return false
		}
	}
	r.keys = keys
	return true
}

// proveOne has the first root key that can do it unwrap what it has wrapped, where none
// has been asked to.
func (k *Keyring) proveOne(ctx context.Context, p plan, r *Rotation) error {
	for _, w := range r.wraps {
		if k.provable(p, &r.from, w.uri) {
			return k.proveWrap(ctx, k.pins[w.uri], w, r)
		}
	}
	return nil
}

// feasible tells what keeps a plan from being carried out, before any key service
// is called. A root key that is not pinned gets nothing to wrap.
func (k *Keyring) feasible(p plan, e *keyEntry) error {
	if p.add && len(e.versions) >= MaxVersions {
		return &LimitError{What: "versions of a " + keyName(e.id), Len: len(e.versions) + 1, Max: MaxVersions}
	}
	if len(p.uris) > MaxWraps {
		return &LimitError{What: "root keys of a " + keyName(e.id), Len: len(p.uris), Max: MaxWraps}
	}
	unwraps := p.keep // what could unwrap before stays
	for _, uri := range p.uris {
		if _, there := e.newest().wrapOf(uri); there && p.keep {
			continue
		}
		root, ok := k.pins[uri]
		if !ok {
			return &KeyError{Op: "wrap " + keyName(e.id), URI: uri, Err: ErrRootNotPinned}
		}
		unwraps = unwraps || !isOffline(root)
	}
	if !unwraps {
		return &KeyError{Op: "wrap " + keyName(e.id), URI: strings.Join(p.uris, ", "), Err: ErrLastRoot}
	}
	return nil
}

// wrapAnew has a root key wrap the key of a rotation. One that has not unwrapped the
// last table's key that it was asked for is asked to unwrap what it has wrapped: one
// that may only wrap, as key services can be told, would lock the table up. One that
// is offline cannot be asked.
func (k *Keyring) wrapAnew(ctx context.Context, uri string, r *Rotation) (wrap, error) {
	root := k.pins[uri]
	w, err := wrapBy(ctx, root, r.key, r.ec, "wrap "+keyName(r.ec.Table))
	if err != nil {
		return wrap{}, err
	}
	if _, ok := k.unwraps.Load(w.uri); !ok && !isOffline(root) {
		err = k.proveWrap(ctx, root, w, r)
	}
	return w, err
}

// Commit makes the rotation real, by one change of the keyring, and calls no key
// service but for notes. live, if not nil, are the table's keys in use: files made
// after Commit has returned have data keys under the newest version. The
// store's own keys hear of it in any case. If we crash
// before it returns, the keyring is that before or that after; either opens every
// file.
//
// Errors are ErrRotated, where another rotation was committed since this one was
// prepared, ErrTableUnknown, and those of a change.
func (r *Rotation) Commit(ctx context.Context, live *TableKeys) error {
	if r.key.Wiped() {
		return ErrKeysWiped
	}
	if live != nil && live.id != r.ec.Table {
		return fmt.Errorf("%w: the keys in use are of table %s, the rotation is of %s", ErrWrongContext, live.id, r.ec.Table)
	}
	var made *keyEntry
	err := r.k.change(ctx, func(s *state) error {
		at, err := s.entry(r.ec.Table)
		if err != nil {
			return err
		}
		now := *at
		if n := now.newest(); n.number != r.from.number || !slices.EqualFunc(n.wraps, r.from.wraps, wrap.equal) {
			return fmt.Errorf("%w: table %s is at version %d by now, wrapped by %q", ErrRotated, now.id, n.number, now.roots())
		}
		if made, err = r.k.rotated(r, now); err != nil {
			return err
		}
		*at = made
		if r.ec.Table.IsZero() {
			s.storeKey = r.key
		}
		return nil
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
	r.read = true
	if err != nil {
		return &KeyError{Op: "unwrap the " + keyName(r.ec.Table) + " that it has just wrapped", URI: w.uri, Err: err}
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
	if len(now.metadata) == 0 { // the store key's
		return e, e.finish(k.storeID, r.key)
	}
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
