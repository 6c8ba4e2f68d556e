package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

// withStore opens the store that --store names, hands it to fn and closes it.
// With engine.CreateIfMissing a store that is not there is made, and so is its
// root key if need be; an existing store's key is never made.
func (a *app) withStore(ctx context.Context, mode engine.Mode, fn func(s *engine.Store, roots *rootKeys) error) error {
	return a.withStoreAs(ctx, engine.Options{Mode: mode}, fn)
}

// withStoreAs is withStore with options besides the root keys.
func (a *app) withStoreAs(ctx context.Context, opts engine.Options, fn func(s *engine.Store, roots *rootKeys) error) (err error) {
	mode := opts.Mode
	if a.store == "" {
		return &usageError{errors.New("no store named: use --store DIR or COFRE_STORE")}
	}
	absent, err := storeAbsent(a.store)
	if err != nil {
		return err
	}
	if absent && mode != engine.CreateIfMissing {
		return fmt.Errorf("%w: %s", engine.ErrStoreNotFound, a.store)
	}
	roots, err := a.rootKeys(ctx, absent)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, roots.close()) }()
	opts.RootKey, opts.Roots = roots.RootKey, roots.others()
	s, err := engine.Open(ctx, a.store, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return fn(s, roots)
}

// storeAbsent tells whether a store could be made in dir: before a root key is
// looked for, or even made, it is clear that there is a store, or room for one.
// What looks like a store that was damaged is left to engine.Open to judge.
func storeAbsent(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case errors.Is(err, syscall.ENOTDIR):
		return false, fmt.Errorf("%w: %s is not a directory", engine.ErrStoreNotFound, dir)
	case err != nil:
		return false, err
	}
	strange := ""
	for _, e := range entries {
		switch e.Name() {
		case "tables", "audit":
			return false, nil
		case "LOCK", "keyring", "BALLAST": // a creation that did not finish leaves these
		default:
			strange = e.Name()
		}
	}
	exists, err := keyring.Exists(vfs.Default, filepath.Join(dir, "keyring"))
	if err == nil && !exists && strange != "" {
		err = fmt.Errorf("%w: %s holds other files (%s)", engine.ErrStoreNotFound, dir, strange)
	}
	return !exists, err
}

// tableName is the rule of package engine for names of tables. It is looked at
// before a store is opened, or even made, for a table that cannot be.
var tableName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,46}\.[a-z][a-z0-9_]{0,46}$`)

func checkTableName(name string) error {
	if !tableName.MatchString(name) {
		return fmt.Errorf("%w: table %q: a table is called keyspace.table, each part a lower-case letter and up to 46 letters, digits and underscores", engine.ErrInvalidName, name)
	}
	return nil
}

// withTable is withStore for one table of an existing store.
func (a *app) withTable(ctx context.Context, mode engine.Mode, name string, fn func(t *engine.Table) error) error {
	if err := checkTableName(name); err != nil {
		return err
	}
	return a.withStore(ctx, mode, func(s *engine.Store, _ *rootKeys) error {
		t, err := s.Table(name)
		if err == nil {
			err = fn(t)
		}
		return of(name, err)
	})
}

// of names the table where an error says that its root key is not named.
func of(table string, err error) error {
	if errors.Is(err, keyring.ErrRootNotPinned) {
		return fmt.Errorf("%s: %w", table, err)
	}
	return err
}
