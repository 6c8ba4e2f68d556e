package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
)

// ErrVersionNeeded: something needs the version of a table's key that is to be
// retired. The error is a *NeededError.
var ErrVersionNeeded = errors.New("the key version is needed")

// A NeededError says what keeps a version of a table's key from being retired.
type NeededError struct {
	Table   string
	Version uint32
	By      []string // files, snapshots with a count of theirs, and repositories of backups
}

func (e *NeededError) Error() string {
	return fmt.Sprintf("%v: version %d of %s, by %s", ErrVersionNeeded, e.Version, e.Table, strings.Join(e.By, ", "))
}

// Unwrap gives ErrVersionNeeded.
func (e *NeededError) Unwrap() error { return ErrVersionNeeded }

// RetireKey destroys an older version of the table's key: its wrap goes from the
// keyring. Data keys that it wraps, of live files and of snapshots, are wrapped by
// the newest version first, so that nothing of this store needs it; data is not
// touched. It is refused with *NeededError while a file is being made under it, and
// where a repository has backups that need it (NoteBackups).
//
// What stays: who has an older copy of the keyring and a root key that lives then
// has the version; with it the data keys that it has wrapped, and what they seal.
// Only Reencrypt takes the live data from him.
//
// It is durable when it returns; if we crash before, the version is there or not,
// and the table opens. Errors: *NeededError, keyring.ErrVersionCurrent,
// keyring.ErrVersionUnknown, and those of RotateKey.
func (t *Table) RetireKey(ctx context.Context, version uint32) error {
	return t.store.recordedAs(audit.EventRetireKey, audit.Request{Table: t.id, Version: version}, t.retireKey(ctx, version))
}

func (t *Table) retireKey(ctx context.Context, version uint32) error {
	if err := t.beginRotation(ctx); err != nil {
		return err
	}
	defer t.endRotation()
	if err := t.mayRetire(version); err != nil {
		return err
	}
	return t.still(ctx, func(i *instance, keys *keyring.TableKeys, m *metadata) error {
		// Before the census: then each file of the version has its header, and no other
		// comes.
		if i.fs.Writing(version) {
			return &NeededError{Table: t.name, Version: version, By: []string{"a file that is being written"}}
		}
		if err := t.rewrapStill(ctx)(i, keys, m); err != nil {
			return err
		}
		files, err := t.fileKeys(ctx, i, keys, m)
		if err != nil {
			return err
		}
		by := append(neededBy(i.keys.Overlay(), files, version), m.neededByBackups(version)...)
		if len(by) > 0 {
			return &NeededError{Table: t.name, Version: version, By: by}
		}
		if err := t.lockAfterRing(ctx); err != nil {
			return err
		}
		defer t.mu.Unlock()
		if err := t.store.ring.Retire(ctx, keys, version); err != nil {
			return t.keyError(err)
		}
		for _, i := range t.instances() {
			i.keys.Forget(version)
		}
		return nil
	})
}

// mayRetire looks at the version alone.
func (t *Table) mayRetire(version uint32) error {
	e, err := t.store.ring.Entry(t.id)
	if err != nil {
		return t.keyError(err)
	}
	for _, v := range e.Versions {
		switch {
		case v.Number != version:
		case v.State == "current":
			return fmt.Errorf("%w: %d of %s; rotate the table's key first", keyring.ErrVersionCurrent, version, t.name)
		case v.State == "older":
			return nil
		}
	}
	return fmt.Errorf("%w: %s has no version %d to retire", keyring.ErrVersionUnknown, t.name, version)
}

// neededBy lists what needs a version of the table's key to be opened.
func neededBy(o *keyring.Overlay, files []fileKey, version uint32) (by []string) {
	if o != nil && o.Version() == version {
		by = append(by, "the overlay of data keys")
	}
	snapshots := make(map[string]int)
	archived := 0
	for _, f := range files {
		switch {
		case f.Version != version || o.Has(f.ID):
		case f.archived:
			archived++
		case f.snapshot == "":
			by = append(by, f.Name)
		default:
			snapshots[f.snapshot]++
		}
	}
	for name, n := range snapshots {
		by = append(by, fmt.Sprintf("snapshot %s (%d files)", name, n))
	}
	if archived > 0 {
		by = append(by, fmt.Sprintf("the archive (%d log segments that wait)", archived))
	}
	slices.Sort(by)
	return by
}
