package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
)

// makeTable makes a table of m's name: its key, its grants, then what fill makes, which
// takes over the keys. While the key service is asked, and while fill runs, nobody waits
// but for the name; fill's context ends with the store, and the error is ErrClosed then.
// If we crash before the end, the next open finds the table in the state "creating" and
// removes it.
func (s *Store) makeTable(ctx context.Context, event string, root keyring.RootKey, m *metadata, fill func(context.Context, *Table, *keyring.TableKeys) error) (_ *Table, err error) {
	if err := s.reserve(ctx, m.name); err != nil {
		return nil, err
	}
	defer s.makers.Done()
	defer s.unreserve(m.name)
	bound, cancel := context.WithCancel(ctx) // Close waits for no key service
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	defer func() {
		if err != nil && ctx.Err() == nil && s.life.Err() != nil && !errors.Is(err, ErrClosed) {
			err = fmt.Errorf("the store, while table %s was made: %w: %w", m.name, ErrClosed, err)
		}
	}()
	keys, err := s.ring.CreateTable(bound, m.name, root, m.encode())
	if err != nil {
		s.note(event, audit.Request{Roots: []string{root.URI()}}, err)
		return nil, keyError(err)
	}
	t := s.newTable(m.name, keys.ID())
	made := audit.Request{Table: t.id, Version: keys.Version(), Roots: keys.RootURIs()}
	if err = s.makeGrants(bound, t.id, made.Roots); err != nil {
		keys.Wipe()
		err = keyError(err)
	} else {
		err = fill(bound, t, keys)
	}
	if err = s.settleTable(ctx, t, event, made, err); err != nil {
		return nil, err
	}
	return t, nil
}

// reserve takes a name that no table has, and has Close wait.
func (s *Store) reserve(ctx context.Context, name string) error {
	s.ringMu.Lock()
	defer s.ringMu.Unlock()
	if err := s.free(ctx, name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.makers.Add(1)
	s.making[name] = true
	return nil
}

func (s *Store) unreserve(name string) {
	s.ringMu.Lock()
	defer s.ringMu.Unlock()
	delete(s.making, name)
}

// settleTable makes a table live, or removes what err has left of it.
func (s *Store) settleTable(ctx context.Context, t *Table, event string, made audit.Request, err error) error {
	s.ringMu.Lock()
	defer s.ringMu.Unlock()
	if err == nil {
		err = s.ring.FinishCreate(ctx, t.id)
		if errors.Is(err, keyring.ErrPoisoned) {
			// The next open of the store may find the table live: it stays.
			s.unsure[t.id] = err
			s.note(event, made, err)
			return errors.Join(err, t.Close())
		}
	}
	s.note(event, made, err)
	if err != nil {
		err = errors.Join(err, t.abandon(context.WithoutCancel(ctx)))
		s.dropGrants(ctx, t.id, made.Roots, keepNone)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables[t.name] = t
	return nil
}

// rootForTable is the root key of a new table; nil is the store's.
func (s *Store) rootForTable(root keyring.RootKey) (keyring.RootKey, error) {
	if root == nil {
		root = s.opts.RootKey
	}
	if !slices.ContainsFunc(s.opts.roots(), func(r keyring.RootKey) bool { return r.URI() == root.URI() }) {
		return nil, fmt.Errorf("%w: %s is neither Options.RootKey nor among Options.Roots", keyring.ErrRootNotPinned, root.URI())
	}
	return root, nil
}

// free sees to it that no table has a name; ringMu is held.
func (s *Store) free(ctx context.Context, name string) error {
	s.mu.Lock()
	_, taken := s.tables[name]
	closed := s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case taken:
		return fmt.Errorf("%w: %s", ErrTableExists, name)
	case s.making[name]:
		return fmt.Errorf("%w: %s is being made", ErrTableExists, name)
	}
	// What an earlier call that failed could not remove is in the way.
	for _, r := range s.ring.Tables() {
		if r.Name != name || r.State != keyring.TableCreating {
			continue
		}
		if err := s.unsure[r.ID]; err != nil {
			return fmt.Errorf("only the next open of the store tells whether %s was created: %w", name, err)
		}
		if err := s.forget(ctx, r.ID); err != nil {
			return err
		}
	}
	return nil
}
