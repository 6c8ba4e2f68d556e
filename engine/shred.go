package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/keyring"
)

// The errors of DropOptions.DestroyRootsAfter. Nothing is dropped where they come.
var (
	// ErrRootShared: another table, or the list of tables, is wrapped by a root key
	// that is to be destroyed.
	ErrRootShared = errors.New("the root key is not the table's own")
	// ErrRootStays: a root key cannot be destroyed by its service.
	ErrRootStays = errors.New("the root key cannot be destroyed by its service")
)

// A RootDestruction is a root key whose service will destroy it.
type RootDestruction struct {
	URI string    `json:"uri"`
	At  time.Time `json:"at"` // until then its service can call it off
}

// What key services allow, in days.
const (
	minDestroyDays = 7
	maxDestroyDays = 30
)

// mayDestroyRoots tells what keeps the root keys of a table from being destroyed.
func (s *Store) mayDestroyRoots(t *Table, days int) error {
	if days < minDestroyDays || days > maxDestroyDays {
		return fmt.Errorf("engine: a root key is destroyed after %d to %d days, not %d", minDestroyDays, maxDestroyDays, days)
	}
	var own []string
	used := map[string]string{} // by whom else
	for _, uri := range s.ring.Roots() {
		used[uri] = "the list of tables"
	}
	for _, r := range s.ring.Tables() {
		if r.ID == t.id {
			own = r.Roots
			continue
		}
		for _, uri := range r.Roots {
			used[uri] = r.Name
		}
	}
	for _, uri := range own {
		if by, ok := used[uri]; ok {
			return fmt.Errorf("%w: %s also wraps the key of %s", ErrRootShared, uri, by)
		}
		if _, ok := s.root(uri).(keyring.Destroyer); !ok {
			return fmt.Errorf("%w: %s", ErrRootStays, uri)
		}
	}
	return nil
}

// root is the root key of a URI, or nil where the store was not opened with it.
func (s *Store) root(uri string) keyring.RootKey {
	if at := slices.IndexFunc(s.roots, func(r keyring.RootKey) bool { return r.URI() == uri }); at >= 0 {
		return s.roots[at]
	}
	return nil
}

// destroyRoots has the services of a dropped table's root keys destroy them. The
// wraps in this store are gone by then, so an error leaves nothing half done here.
func (s *Store) destroyRoots(ctx context.Context, rep *DropReport, days int) error {
	if days == 0 {
		return nil
	}
	var errs []error
	for _, uri := range rep.RootKeys {
		d, ok := s.root(uri).(keyring.Destroyer)
		if !ok {
			errs = append(errs, fmt.Errorf("%w: %s", ErrRootStays, uri))
			continue
		}
		at, err := d.ScheduleDeletion(ctx, days)
		if err != nil {
			errs = append(errs, fmt.Errorf("the table is dropped, and its root key %s is not to be destroyed: %w", uri, err))
			continue
		}
		rep.Destroyed = append(rep.Destroyed, RootDestruction{uri, at})
	}
	if len(errs) == 0 && len(rep.Destroyed) == len(rep.RootKeys) {
		last := rep.Destroyed[0].At
		for _, d := range rep.Destroyed[1:] {
			if d.At.After(last) {
				last = d.At
			}
		}
		rep.StillOpenable += fmt.Sprintf(" From %s on nothing opens them, unless somebody has a copy of those keys.", last.UTC().Format(time.RFC3339))
	}
	return errors.Join(errs...)
}

// stillOpenable says what a drop could not reach.
func stillOpenable(dir string, roots []string) string {
	return fmt.Sprintf("Copies of this store made before the drop (its directory %s together with its keyring), "+
		"and older keyrings, open with %s as long as that key lives, a recovery sheet as long as somebody has it. "+
		"Destroying the key at its service ends that, for everything else it wraps too.",
		dir, strings.Join(roots, " or "))
}
