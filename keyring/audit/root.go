package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cofredb/cofre/keyring"
)

// Root returns root with every call recorded in l, with its context and its
// outcome, and counted (Log.Calls). It is a keyring.Anchor where root is one, and a
// keyring.Destroyer; a keyring.Granter in any case, whose grants are those of root.
//
// A record of Wrap is durable before the wrap is handed out, or Wrap fails with
// ErrUnwritable: what it wraps may outlive everything else. An Unwrap is recorded
// durably too, before the key is handed out; where the log cannot be written its
// record waits in memory and the key is handed out, as told at Log.
func Root(root keyring.RootKey, l *Log) keyring.RootKey {
	r := recorded{root, l}
	a, takesNotes := root.(keyring.Anchor)
	d, destroys := root.(keyring.Destroyer)
	switch {
	case takesNotes && destroys:
		return &destroyingAnchor{anchor{r, a}, destroyer{r, d}}
	case takesNotes:
		return &anchor{r, a}
	case destroys:
		return &destroyer{r, d}
	}
	return &r
}

// recorded is a root key whose calls are recorded.
type recorded struct {
	inner keyring.RootKey
	log   *Log
}

func (r *recorded) URI() string { return r.inner.URI() }

// Offline passes on what the root key says of itself: one that unwraps by hand, from
// paper, is treated so by the keyring.
func (r *recorded) Offline() bool {
	o, ok := r.inner.(keyring.Offline)
	return ok && o.Offline()
}

// Format shows the URI, whatever the verb.
func (r *recorded) Format(f fmt.State, _ rune) { io.WriteString(f, r.URI()) }

func (r *recorded) request(ec keyring.Context) Request {
	return Request{Key: r.URI(), Context: ec.Map()}
}

func (r *recorded) Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	begun := time.Now()
	blob, err := r.inner.Wrap(ctx, key, ec)
	r.log.calls.add(r.URI(), EventWrap, begun, err)
	if lerr := r.log.Record(EventWrap, r.request(ec), err); err == nil && lerr != nil {
		return nil, lerr
	}
	return blob, err
}

func (r *recorded) Unwrap(ctx context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	begun := time.Now()
	key, err := r.inner.Unwrap(ctx, wrapped, ec)
	r.log.calls.add(r.URI(), EventUnwrap, begun, err)
	if lerr := r.log.Note(EventUnwrap, r.request(ec), err); err == nil && lerr != nil {
		key.Wipe()
		return nil, lerr
	}
	return key, err
}

func (r *recorded) Describe(ctx context.Context) (keyring.Description, error) {
	begun := time.Now()
	d, err := r.inner.Describe(ctx)
	r.log.calls.add(r.URI(), EventDescribe, begun, err)
	if lerr := r.log.Note(EventDescribe, Request{Key: r.URI()}, err); err == nil && lerr != nil {
		return keyring.Description{}, lerr
	}
	return d, err
}

// CreateGrant is recorded when the service has answered. That it could not be recorded
// is an error beside the id: the grant is made.
func (r *recorded) CreateGrant(ctx context.Context, g keyring.Grant) (string, error) {
	inner, ok := r.inner.(keyring.Granter)
	if !ok {
		return "", keyring.ErrNoGrants
	}
	begun := time.Now()
	id, err := inner.CreateGrant(ctx, g)
	if errors.Is(err, keyring.ErrNoGrants) {
		return "", err // nothing was asked for that the service could grant
	}
	r.log.calls.add(r.URI(), EventCreateGrant, begun, err)
	g.ID = id
	return id, errors.Join(err, r.log.Record(EventCreateGrant, r.grantRequest(g), err))
}

// Grants uses no key, and is not recorded.
func (r *recorded) Grants(ctx context.Context, store keyring.ID) ([]keyring.Grant, error) {
	if inner, ok := r.inner.(keyring.Granter); ok {
		return inner.Grants(ctx, store)
	}
	return nil, keyring.ErrNoGrants
}

// RetireGrant is recorded when the service has answered.
func (r *recorded) RetireGrant(ctx context.Context, id string) error {
	inner, ok := r.inner.(keyring.Granter)
	if !ok {
		return keyring.ErrNoGrants
	}
	begun := time.Now()
	err := inner.RetireGrant(ctx, id)
	r.log.calls.add(r.URI(), EventRetireGrant, begun, err)
	return errors.Join(err, r.log.Record(EventRetireGrant, Request{Key: r.URI(), Grant: id}, err))
}

func (r *recorded) grantRequest(g keyring.Grant) Request {
	return Request{Key: r.URI(), Context: g.Context, Grant: g.ID, Grantee: g.Grantee, Operations: g.Operations.Names()}
}

// anchor is a recorded root key that takes notes.
type anchor struct {
	recorded
	notes keyring.Anchor
}

// NewestGeneration uses no key, and is not recorded.
func (a *anchor) NewestGeneration(ctx context.Context, store keyring.ID) (uint64, [32]byte, bool, error) {
	return a.notes.NewestGeneration(ctx, store)
}

// NoteGeneration is recorded with the next record that is: what it notes is
// durable, and names a record before its own.
func (a *anchor) NoteGeneration(ctx context.Context, store keyring.ID, gen uint64, digest [32]byte) error {
	begun := time.Now()
	err := a.notes.NoteGeneration(ctx, store, gen, digest)
	a.log.calls.add(a.URI(), EventNote, begun, err)
	a.log.Later(EventNote, Request{Key: a.URI(), Generation: gen, Digest: hex.EncodeToString(digest[:])}, err)
	return err
}

// destroyer is a recorded root key that its service can destroy.
type destroyer struct {
	recorded
	service keyring.Destroyer
}

// ScheduleDeletion is recorded when the service has answered. That it could not be
// recorded is an error beside the date: the service goes on.
func (d *destroyer) ScheduleDeletion(ctx context.Context, days int) (time.Time, error) {
	begun := time.Now()
	at, err := d.service.ScheduleDeletion(ctx, days)
	d.log.calls.add(d.URI(), EventScheduleDeletion, begun, err)
	return at, errors.Join(err, d.log.Record(EventScheduleDeletion, Request{Key: d.URI(), Days: days}, err))
}

// destroyingAnchor is both.
type destroyingAnchor struct {
	anchor
	destroyer destroyer
}

// ScheduleDeletion is the destroyer's.
func (d *destroyingAnchor) ScheduleDeletion(ctx context.Context, days int) (time.Time, error) {
	return d.destroyer.ScheduleDeletion(ctx, days)
}
