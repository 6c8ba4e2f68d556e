package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cofredb/cofre/keyring"
)

// Where the service of a root key has grants (keyring.Granter), each table has two on
// each of its root keys, as a table of Amazon Keyspaces has: one for its use, to wrap
// and to unwrap, and one for its last archive, to unwrap. Both are for the table's own
// encryption context and no other. They let a program open the table that is not the
// owner of the root key.
//
// No file of the store names them. The service lists them, and whom they are for and
// their context say what they are. So a grant that a crash or a silent service has left
// behind is found again: the store gives back what nothing needs when it opens, and
// each hour.
//
//	creation, a root key added    both are made, before the table lives or has it
//	creation failed               both go
//	a root key removed            both go
//	drop                          the first goes, the second 42 days later
const (
	archiveGrantLife = 42 * 24 * time.Hour

	grantTick     = time.Hour       // between two looks at what can go
	grantRetry    = time.Minute     // the first, after a service that did not answer
	grantPatience = 5 * time.Second // how long others wait for grants to go
)

// Grantee is whom the grants of a table's use are for, as its key service sees it: a
// program that is to use the store and is not the owner of its root keys says that it
// is this one. It needs a grant for the store's own key besides, which the owner makes.
func Grantee(store keyring.ID) string { return "cofre:" + store.String() }

// ArchiveGrantee is whom the grants of the tables' archives are for.
func ArchiveGrantee(store keyring.ID) string { return "cofre-archive:" + store.String() }

// grantsOf are the two grants of a table.
func (s *Store) grantsOf(table keyring.ID) []keyring.Grant {
	use, archive, pairs := Grantee(s.ID()), ArchiveGrantee(s.ID()), keyring.TablePairs(s.ID(), table)
	return []keyring.Grant{
		{Grantee: use, Operations: keyring.GrantWrap | keyring.GrantUnwrap | keyring.GrantDescribe, Context: pairs},
		{Grantee: archive, Retiring: use, Operations: keyring.GrantUnwrap | keyring.GrantDescribe, Context: pairs},
	}
}

// makeGrants makes both grants of a table on each of the root keys that have grants to
// give. What an error leaves behind is for dropGrants.
func (s *Store) makeGrants(ctx context.Context, table keyring.ID, uris []string) error {
	for _, uri := range uris {
		service, ok := s.root(uri).(keyring.Granter)
		if !ok {
			continue
		}
		for _, g := range s.grantsOf(table) {
			_, err := service.CreateGrant(ctx, g)
			if errors.Is(err, keyring.ErrNoGrants) {
				break
			}
			if err != nil {
				return &keyring.KeyError{Op: "grant a table the use of the root key", URI: uri, Err: err}
			}
		}
	}
	return nil
}

// dropGrants gives back the grants of a table on root keys, but for those to keep. It
// waits for the services for a while; what they do not answer to, sweepGrants is for.
func (s *Store) dropGrants(ctx context.Context, table keyring.ID, uris []string, keep func(*keyring.Grant) bool) (kept int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grantPatience)
	defer cancel()
	for _, uri := range uris {
		if root := s.root(uri); root != nil {
			err := s.eachGrant(ctx, root, func(of keyring.ID, g *keyring.Grant) bool {
				if of != table {
					return true
				}
				if keep(g) {
					kept++
					return true
				}
				return false
			})
			if err != nil {
				s.log.Warn("grants of a table stay for now", "table", table, "root", uri, "error", err)
			}
		}
	}
	return kept
}

func keepNone(*keyring.Grant) bool { return false }

// forArchive tells whether a grant is the second of a table.
func (s *Store) forArchive(g *keyring.Grant) bool { return g.Grantee == ArchiveGrantee(s.ID()) }

// eachGrant gives back those of the store's grants on a root key that need not stay.
func (s *Store) eachGrant(ctx context.Context, root keyring.RootKey, stays func(table keyring.ID, g *keyring.Grant) bool) error {
	service, ok := root.(keyring.Granter)
	if !ok {
		return nil
	}
	list, err := service.Grants(ctx, s.ID())
	switch {
	case errors.Is(err, keyring.ErrNoGrants), errors.Is(err, keyring.ErrKeyNotFound):
		return nil // they have gone with the key
	case err != nil:
		return &keyring.KeyError{Op: "list the grants", URI: root.URI(), Err: err}
	}
	var errs []error
	for i := range list {
		g := &list[i]
		table, ok := s.grantOf(g)
		if !ok || stays(table, g) {
			continue
		}
		if err := service.RetireGrant(ctx, g.ID); err != nil {
			errs = append(errs, &keyring.KeyError{Op: "retire a grant", URI: root.URI(), Err: err})
		}
	}
	return errors.Join(errs...)
}

// grantOf is the table that a grant was made for by the store; ok is false of any other.
func (s *Store) grantOf(g *keyring.Grant) (table keyring.ID, ok bool) {
	table, ok = g.TableOf(s.ID())
	return table, ok && (g.Grantee == Grantee(s.ID()) || s.forArchive(g))
}

// sweepGrants gives back what nothing needs any more of the grants on all root keys
// that the store was opened with.
func (s *Store) sweepGrants(ctx context.Context) error {
	var errs []error
	for _, root := range s.roots {
		// The list of grants is older than what it is compared with: a table has its
		// entry before it has a grant.
		errs = append(errs, s.eachGrant(ctx, root, func(table keyring.ID, g *keyring.Grant) bool {
			return s.needsGrant(table, root.URI(), g)
		}))
	}
	return errors.Join(errs...)
}

// needsGrant tells whether a grant of a table on a root key has to stay.
func (s *Store) needsGrant(table keyring.ID, uri string, g *keyring.Grant) bool {
	if r, ok := s.record(table); ok {
		if r.State == keyring.TableCreating || slices.Contains(r.Roots, uri) {
			return true
		}
		t, err := s.Table(r.Name)
		if err != nil {
			return true // which it is, the next open tells
		}
		select { // a rotation makes the grants before the table has the root key
		case t.rotating <- struct{}{}:
			defer t.endRotation()
			r, ok = s.record(table)
			return !ok || slices.Contains(r.Roots, uri)
		default:
			return true
		}
	}
	for _, t := range s.ring.Tombstones() {
		if t.ID == table {
			return s.forArchive(g) && s.opts.now().Sub(t.DroppedAt) < archiveGrantLife
		}
	}
	return false // of a creation that failed, or long dropped
}

// record is what the keyring tells of a table.
func (s *Store) record(id keyring.ID) (keyring.TableRecord, bool) {
	for _, r := range s.ring.Tables() {
		if r.ID == id {
			return r, true
		}
	}
	return keyring.TableRecord{}, false
}

// firstGrants is the look at the grants of an opening, which waits for it for a while.
func (s *Store) firstGrants(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, grantPatience)
	defer cancel()
	return s.sweepGrants(ctx)
}

// keepGrants looks at the grants until ctx ends. err is what came of the look before.
func (s *Store) keepGrants(ctx context.Context, err error) {
	for failed := 0; ; err = s.sweepGrants(ctx) {
		pause := grantTick
		if err == nil {
			failed = 0
		} else {
			if failed == 0 {
				s.log.Warn("grants that nothing needs could not be given back; it is tried again", "error", err)
			}
			pause = min(grantTick, grantRetry<<min(failed, 10))
			failed++
		}
		if !wait(ctx, jittered(pause)) {
			return
		}
	}
}

// withGrants is prepare, and makes the grants on root keys that the table gets.
// settle gives back those of root keys that it does not have in the end.
func (t *Table) withGrants(ctx context.Context, prepare func() (*keyring.Rotation, error)) (with func() (*keyring.Rotation, error), settle func(error)) {
	var before, added []string
	with = func() (*keyring.Rotation, error) {
		r, err := prepare()
		if err != nil {
			return nil, err
		}
		rec, _ := t.store.record(t.id)
		before = rec.Roots
		added = slices.DeleteFunc(r.Roots(), func(uri string) bool { return slices.Contains(before, uri) })
		if err := t.store.makeGrants(ctx, t.id, added); err != nil {
			r.Wipe()
			return nil, err
		}
		return r, nil
	}
	settle = func(err error) {
		if errors.Is(err, keyring.ErrPoisoned) {
			return // the next open knows which root keys the table has
		}
		rec, live := t.store.record(t.id)
		stray := slices.Clone(added)
		if live {
			stray = append(stray, before...)
		}
		stray = slices.DeleteFunc(stray, func(uri string) bool { return slices.Contains(rec.Roots, uri) })
		t.store.dropGrants(ctx, t.id, stray, keepNone)
	}
	return with, settle
}
