package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// lockboxName is where a lockbox lies: the newest is the last in order.
func lockboxName(table keyring.ID, at time.Time, box []byte) string {
	return lockboxPrefix + table.String() + "/" + at.UTC().Format(nameTime) + "-" + sum(box).String()
}

// parseLockbox tells which digest a lockbox's name says it has.
func lockboxDigest(name string) (d digest, ok bool) {
	_, hex, ok := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], "-")
	return d, ok && d.UnmarshalText([]byte(hex)) == nil
}

// lockboxes are the names of a table's lockboxes, newest first.
func (r *Repository) lockboxes(ctx context.Context, table keyring.ID) (names []string, err error) {
	for o, err := range r.st.List(ctx, lockboxPrefix+table.String()+"/") {
		if err != nil {
			return nil, err
		}
		names = append(names, o.Name)
	}
	slices.Reverse(names)
	return names, nil
}

// putLockbox keeps a lockbox, unless the newest is the same, and returns its name.
func (r *Repository) putLockbox(ctx context.Context, table keyring.ID, box []byte) (name string, added bool, err error) {
	names, err := r.lockboxes(ctx, table)
	if err != nil {
		return "", false, err
	}
	if len(names) > 0 {
		if d, ok := lockboxDigest(names[0]); ok && d == sum(box) {
			return names[0], false, r.mend(ctx, names[0], box)
		}
	}
	name = lockboxName(table, r.opts.Now(), box)
	err = r.st.Put(ctx, name, storage.Bytes(box))
	if errors.Is(err, storage.ErrExists) {
		err = r.mend(ctx, name, box)
	}
	return name, true, err
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
	info, err := keyring.InspectLockbox(box)
	if err != nil {
		return nil, corrupt.At(name, err)
	}
	if info.Entry.ID != table {
		return nil, corrupt.New(corrupt.ErrForeign, name, -1, "is of table %s", info.Entry.ID)
	}
	for _, v := range need {
		if !slices.ContainsFunc(info.Entry.Versions, func(e keyring.EntryVersion) bool { return e.Number == v && e.State != "retired" }) {
			return nil, fmt.Errorf("%s: %w: the table's key has no version %d there", name, keyring.ErrVersionUnknown, v)
		}
	}
	keys, err := keyring.OpenLockbox(ctx, box, roots, keyring.Options{Logger: r.opts.Logger, Suite: r.opts.suite})
	return keys, corrupt.At(name, err)
}
