package backup

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

func lockboxFolder(table keyring.ID) string { return lockboxPrefix + table.String() + "/" }

// lockboxName is where a lockbox lies: the newest is the last in order.
func lockboxName(table keyring.ID, at time.Time, box []byte) string {
	return lockboxFolder(table) + at.UTC().Format(nameTime) + "-" + sum(box).String()
}

// parseLockbox tells which digest a lockbox's name says it has.
func lockboxDigest(name string) (d digest, ok bool) {
	_, hex, ok := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], "-")
	return d, ok && d.UnmarshalText([]byte(hex)) == nil
}

// lockboxBase is how the name of a lockbox goes on behind its table.
var lockboxBase = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{64}$`)

// lockboxes are the names of a table's lockboxes, newest first.
func (r *Repository) lockboxes(ctx context.Context, table keyring.ID) (names []string, err error) {
	names, err = r.besideLockboxes(ctx, table)
	return slices.DeleteFunc(names, func(n string) bool { return !lockboxBase.MatchString(n[len(lockboxFolder(table)):]) }), err
}

// besideLockboxes are these and what else lies there, under names that no reader takes.
func (r *Repository) besideLockboxes(ctx context.Context, table keyring.ID) (names []string, err error) {
	for o, err := range r.st.List(ctx, lockboxFolder(table)) {
		if err != nil {
			return nil, err
		}
		names = append(names, o.Name)
	}
	slices.Reverse(names)
	return names, nil
}

// putLockbox keeps a lockbox, unless the newest is the same, and returns its name.
func (r *Repository) putLockbox(ctx context.Context, table keyring.ID, box []byte) (name string, err error) {
	names, err := r.lockboxes(ctx, table)
	if err != nil {
		return "", err
	}
	if len(names) > 0 {
		if d, ok := lockboxDigest(names[0]); ok && d == sum(box) {
			return names[0], r.mend(ctx, names[0], box)
		}
	}
	name = lockboxName(table, r.opts.Now(), box)
	err = r.st.Put(ctx, name, storage.Bytes(box))
	if errors.Is(err, storage.ErrExists) {
		err = r.mend(ctx, name, box)
	}
	return name, err
}

// mend puts right bytes in the place of an object that has others.
func (r *Repository) mend(ctx context.Context, name string, b []byte) error {
	ok, err := storage.Equal(ctx, r.st, name, storage.Bytes(b))
	if err == nil && ok {
		return nil
	}
	if err != nil && damaged(name, err) == err {
		return err
	}
	r.opts.Logger.Warn("an object of the repository has other bytes than it should have, and is replaced", "object", name)
	return r.st.Replace(ctx, name, storage.Bytes(b))
}

func (r *Repository) readLockbox(ctx context.Context, name string) ([]byte, error) {
	b, err := storage.ReadAll(ctx, r.st, name, keyring.MaxLockboxLen)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, corrupt.New(corrupt.ErrMissing, name, -1, "no such object")
	}
	if err != nil {
		return nil, damaged(name, err)
	}
	if d, ok := lockboxDigest(name); !ok || d != sum(b) {
		return nil, corrupt.New(corrupt.ErrForeign, name, -1, "has other bytes than its name says")
	}
	return b, nil
}

// Keys opens the newest of a table's lockboxes that opens with one of the roots and has
// the versions of the table's key that are needed. The caller wipes the result. Errors:
// ErrNoLockbox with what each root key said, keyring.ErrRootNotPinned, and those of the
// storage.
func (r *Repository) Keys(ctx context.Context, table keyring.ID, need []uint32, roots []keyring.RootKey) (*keyring.TableKeys, error) {
	names, err := r.lockboxes(ctx, table)
	if err != nil {
		return nil, err
	}
	var faults []error
	for _, n := range names {
		keys, err := r.openLockbox(ctx, n, table, need, roots)
		if err == nil {
			return keys, nil
		}
		if cerr := ctx.Err(); cerr != nil {
			return nil, cerr
		}
		faults = append(faults, err)
	}
	if len(names) == 0 {
		faults = append(faults, corrupt.New(corrupt.ErrMissing, lockboxPrefix+table.String(), -1, "the table has no lockbox"))
	}
	return nil, fmt.Errorf("%w: %w", ErrNoLockbox, errors.Join(faults...))
}

func (r *Repository) openLockbox(ctx context.Context, name string, table keyring.ID, need []uint32, roots []keyring.RootKey) (*keyring.TableKeys, error) {
	box, err := r.readLockbox(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := checkLockbox(name, box, table, need); err != nil {
		return nil, err
	}
	keys, err := keyring.OpenLockbox(ctx, box, roots, keyring.Options{Suite: r.opts.suite})
	return keys, corrupt.At(name, err)
}

// checkLockbox finds that a lockbox is of another table, or has not the versions needed.
func checkLockbox(name string, box []byte, table keyring.ID, need []uint32) error {
	info, err := keyring.InspectLockbox(box)
	if err != nil {
		return corrupt.At(name, err)
	}
	if info.Entry.ID != table {
		return corrupt.New(corrupt.ErrForeign, name, -1, "is of table %s", info.Entry.ID)
	}
	have := liveVersions(info)
	for _, v := range need {
		if !have[v] {
			return fmt.Errorf("%s: %w: the table's key has no version %d there", name, keyring.ErrVersionUnknown, v)
		}
	}
	return nil
}

// liveVersions are the versions of a table's key that a lockbox has.
func liveVersions(info keyring.LockboxInfo) map[uint32]bool {
	have := make(map[uint32]bool)
	for _, e := range info.Entry.Versions {
		if e.State != "retired" {
			have[e.Number] = true
		}
	}
	return have
}

// haveLockbox finds that no lockbox of a table parses and has the versions needed.
func (r *Repository) haveLockbox(ctx context.Context, table keyring.ID, need []uint32) error {
	names, err := r.lockboxes(ctx, table)
	if err != nil {
		return err
	}
	faults := []error{corrupt.New(corrupt.ErrMissing, lockboxPrefix+table.String(), -1, "no lockbox there has versions %v of the table's key", need)}
	for _, n := range names {
		box, err := r.readLockbox(ctx, n)
		if err == nil {
			err = checkLockbox(n, box, table, need)
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrCorruption) && !errors.Is(err, keyring.ErrVersionUnknown) {
			return err
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// RewrapOptions configure Rewrap.
type RewrapOptions struct {
	Tables []string // by name; nil is all
	// RemoveOld removes the lockboxes of before: then the backups open with the root keys
	// of now alone, in this repository.
	RemoveOld bool
}

// A Rewrapped table has a lockbox of now, or is Gone.
type Rewrapped struct {
	ID       keyring.ID `json:"id"`
	Table    string     `json:"table,omitempty"`
	Gone     bool       `json:"gone,omitempty"`
	Lockbox  string     `json:"lockbox"`
	RootKeys []string   `json:"root_keys"` // that open it
	Removed  []string   `json:"removed,omitempty"`
}

// Rewrap puts the tables' keys, as they are wrapped now, beside their backups: after a
// rotation of root keys the backups open with the new ones, and the old ones can be
// destroyed. It sends a few hundred bytes a table and takes no key. A backup is wrapped
// as the table was when it was made; Create does what Rewrap does for the tables that it
// backs up.
//
// Where Tables is nil, tables that have backups and that the store has not any more are
// listed as Gone: those backups open with the root keys of their time, and no others.
// The error is keyring.ErrVersionUnknown where a backup, or an archived log, needs a
// version of the table's key that was retired: then it opens by the lockboxes of before,
// which stay, and their root keys.
func (r *Repository) Rewrap(ctx context.Context, s *engine.Store, o RewrapOptions) (list []Rewrapped, err error) {
	tables, err := chosen(s, o.Tables)
	if err != nil {
		return nil, err
	}
	err = r.write(ctx, "backup rewrap", func(ctx context.Context) error {
		backups, err := r.Backups(ctx)
		if err != nil {
			return err
		}
		for _, t := range tables {
			w, err := r.rewrap(ctx, t, backups, o.RemoveOld)
			if err != nil {
				return fmt.Errorf("rewrap %s: %w", t.Name(), err)
			}
			list = append(list, w)
		}
		if o.Tables == nil {
			list = append(list, gone(backups, tables)...)
		}
		return nil
	})
	return list, err
}

// gone are the tables that have backups and are not among those given.
func gone(backups []*Backup, tables []*engine.Table) (list []Rewrapped) {
	seen := make(map[keyring.ID]bool)
	for _, t := range tables {
		seen[t.ID()] = true
	}
	for _, b := range backups {
		for _, e := range b.Tables {
			if !seen[e.Table] {
				list = append(list, Rewrapped{ID: e.Table, Gone: true})
			}
			seen[e.Table] = true
		}
	}
	return list
}

func (r *Repository) rewrap(ctx context.Context, t *engine.Table, backups []*Backup, removeOld bool) (w Rewrapped, err error) {
	box, err := t.Lockbox()
	if err != nil {
		return w, err
	}
	info, err := keyring.InspectLockbox(box)
	if err != nil {
		return w, err
	}
	w.ID, w.Table = t.ID(), t.Name()
	for _, wrap := range info.Entry.Versions[len(info.Entry.Versions)-1].Wraps {
		w.RootKeys = append(w.RootKeys, wrap.URI)
	}
	if w.Lockbox, err = r.putLockbox(ctx, t.ID(), box); err != nil {
		return w, err
	}
	for _, b := range backups {
		if e, ok := b.Table(t.ID()); ok {
			if err := checkLockbox("backup "+b.Name, box, t.ID(), e.Needed()); err != nil {
				return w, err
			}
		}
	}
	parts, err := r.parts(ctx, archivePrefix+t.ID().String()+"/")
	if err != nil {
		return w, err
	}
	have := liveVersions(info)
	for _, p := range parts {
		if v := p.versions.lacking(have); v != 0 {
			return w, fmt.Errorf("%s: %w: the table's key has no version %d there", p.object(), keyring.ErrVersionUnknown, v)
		}
	}
	if !removeOld {
		return w, nil
	}
	names, err := r.besideLockboxes(ctx, t.ID())
	if err != nil {
		return w, err
	}
	for _, n := range names {
		if n == w.Lockbox {
			continue
		}
		if err := r.st.Delete(ctx, n); err != nil {
			return w, err
		}
		w.Removed = append(w.Removed, n)
	}
	return w, nil
}

// RootKeys are the URIs of the root keys that open a table's backups: those of its newest
// lockbox. No key is needed, and none of it is authentic.
func (r *Repository) RootKeys(ctx context.Context, table keyring.ID) (uris []string, err error) {
	names, err := r.lockboxes(ctx, table)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	box, err := r.readLockbox(ctx, names[0])
	if err != nil {
		return nil, err
	}
	info, err := keyring.InspectLockbox(box)
	if err != nil {
		return nil, corrupt.At(names[0], err)
	}
	for _, w := range info.Entry.Versions[len(info.Entry.Versions)-1].Wraps {
		uris = append(uris, w.URI)
	}
	return uris, nil
}
