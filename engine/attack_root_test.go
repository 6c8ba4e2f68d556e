package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/keyring"
)

// An attackRoot is a root key and its service in memory, with an anchor. A copy of
// a store goes with a copy of its service.
type attackRoot struct {
	uri string
	id  keyring.ID
	key *keyring.Secret

	mu    sync.Mutex
	notes map[keyring.ID]attackNote
	wraps int
}

type attackNote struct {
	gen    uint64
	digest [32]byte
}

func newAttackRoot(name string) *attackRoot {
	return &attackRoot{uri: "mem:" + name, id: keyring.NewID(), key: keyring.RandomSecret(), notes: map[keyring.ID]attackNote{}}
}

func (r *attackRoot) clone() *attackRoot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &attackRoot{uri: r.uri, id: r.id, key: r.key, notes: cloneMap(r.notes)}
}

func (r *attackRoot) URI() string { return r.uri }

func (r *attackRoot) Wrap(_ context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	r.mu.Lock()
	r.wraps++
	r.mu.Unlock()
	s, err := aead.Suite(nil).New(r.key.Expose())
	if err != nil {
		return nil, err
	}
	return s.Seal(slices.Clone(r.id[:]), key.Expose(), ec.Canonical())
}

func (r *attackRoot) Unwrap(_ context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	if len(wrapped) < 16 || keyring.ID(wrapped[:16]) != r.id {
		return nil, fmt.Errorf("%w: wrapped by another", keyring.ErrKeyNotFound)
	}
	s, err := aead.Suite(nil).New(r.key.Expose())
	if err != nil {
		return nil, err
	}
	b, err := s.Open(nil, wrapped[16:], ec.Canonical())
	if err != nil {
		return nil, keyring.ErrWrongContext
	}
	return keyring.NewSecret(b)
}

func (r *attackRoot) Describe(context.Context) (keyring.Description, error) {
	return keyring.Description{URI: r.uri, State: keyring.StateEnabled}, nil
}

func (r *attackRoot) NewestGeneration(_ context.Context, store keyring.ID) (uint64, [32]byte, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.notes[store]
	return n.gen, n.digest, ok, nil
}

func (r *attackRoot) NoteGeneration(_ context.Context, store keyring.ID, gen uint64, digest [32]byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.notes[store]; gen < n.gen || gen == n.gen && digest != n.digest {
		return keyring.ErrRollback
	}
	r.notes[store] = attackNote{gen, digest}
	return nil
}
