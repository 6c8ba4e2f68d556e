package system

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"

	"github.com/cofredb/cofre/backup"
	"github.com/cofredb/cofre/backup/storage/dir"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

const cofreTable = "bench.rows"

var cofreKind = Kind{
	Name: "cofre", Title: "Cofre", Module: "github.com/cofredb/cofre",
	Compacts:  true,
	Encrypted: true, Authenticated: true,
	Options:   "defaults; one table; root key in a local key-service file; never idle",
	Snapshots: true, RotatesRoot: true, RotatesTableKey: true, BacksUp: true,
	Open: openCofre,
}

// cofre is a store with one table, and its local key service in a file.
type cofre struct {
	service *local.Service
	roots   [2]keyring.RootKey // which the table has by turns
	turn    int
	store   *engine.Store
	table   *engine.Table
	write   *engine.WriteOptions
	dir     string
}

var (
	_ Snapshotter = (*cofre)(nil)
	_ RootRotator = (*cofre)(nil)
	_ KeyRotator  = (*cofre)(nil)
	_ Backer      = (*cofre)(nil)
)

func openCofre(c Config) (_ System, err error) {
	if err := claim(c.Dir, "cofre"); err != nil {
		return nil, err
	}
	s := &cofre{dir: c.Dir, write: &engine.WriteOptions{NoSync: !c.Durable}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	ctx := context.Background()
	if s.service, err = local.Open(filepath.Join(c.Dir, "keys.cofre"), local.Options{}); err != nil {
		return nil, err
	}
	for i, name := range []string{"bench", "bench-other"} {
		if s.roots[i], _, err = s.service.Ensure(ctx, name); err != nil {
			return nil, err
		}
	}
	s.store, err = engine.Open(ctx, filepath.Join(c.Dir, storeName), engine.Options{
		RootKey: s.roots[0], Roots: s.roots[1:], MemoryBudget: c.Cache, IdleTimeout: -1,
	})
	if err != nil {
		return nil, err
	}
	s.table, err = s.store.Table(cofreTable)
	if errors.Is(err, engine.ErrTableNotFound) {
		s.table, err = s.store.CreateTable(ctx, cofreTable, engine.TableOptions{})
	}
	if err != nil {
		return nil, err
	}
	// A table opens on first use; the others have opened by now.
	_, err = s.table.Has([]byte{0})
	return s, err
}

func (s *cofre) Put(key, value []byte) error { return s.table.Put(key, value, s.write) }

func (s *cofre) Load(rows iter.Seq2[[]byte, []byte]) error {
	b := s.table.NewBatch()
	noSync := &engine.WriteOptions{NoSync: true}
	for k, v := range rows {
		if err := b.Put(k, v); err != nil {
			return errors.Join(err, b.Close())
		}
		if b.Size() >= lsmBatch {
			if err := b.Commit(noSync); err != nil {
				return errors.Join(err, b.Close())
			}
		}
	}
	return errors.Join(b.Commit(noSync), b.Close())
}

func (s *cofre) DeleteRange(from, to []byte) error { return s.table.DeleteRange(from, to, s.write) }

func (s *cofre) AppendGet(dst, key []byte) ([]byte, bool, error) {
	v, err := s.table.AppendGet(dst, key)
	if errors.Is(err, engine.ErrNotFound) {
		return dst, false, nil
	}
	return v, err == nil, err
}

func (s *cofre) Scan(from []byte, reverse bool, visit func(key, value []byte) bool) error {
	o := engine.ScanOptions{Reverse: reverse}
	switch {
	case from == nil:
	case reverse:
		o.To = after(from)
	default:
		o.From = from
	}
	for e, err := range s.table.Scan(o) {
		if err != nil {
			return err
		}
		if !visit(e.Key, e.Value) {
			return nil
		}
	}
	return nil
}

func (s *cofre) Settle(ctx context.Context) error {
	if err := s.table.Flush(); err != nil {
		return err
	}
	return untilQuiet(ctx, func() (bool, error) {
		m, err := s.table.Metrics()
		if err != nil {
			return false, err
		}
		return m.CompactionsRunning > 0, nil
	})
}

func (s *cofre) Compact(ctx context.Context) error {
	if err := s.table.Compact(ctx, nil, nil); err != nil {
		return err
	}
	return s.Settle(ctx)
}

func (s *cofre) Snapshot(ctx context.Context, name string) error {
	_, err := s.table.Snapshot(ctx, name)
	return err
}

// RotateRoot is called by one goroutine.
func (s *cofre) RotateRoot(ctx context.Context) error {
	s.turn++
	return s.table.RotateRoot(ctx, s.roots[s.turn%2])
}

func (s *cofre) RotateTableKey(ctx context.Context) error { return s.table.RotateKey(ctx) }

// repository hands f the one in the system's directory.
func (s *cofre) repository(ctx context.Context, f func(*backup.Repository) error) (err error) {
	st, err := dir.Open(filepath.Join(s.dir, "repository"), dir.Options{Create: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	r, err := backup.Open(ctx, st, backup.Options{Create: true})
	if err != nil {
		return err
	}
	return f(r)
}

func (s *cofre) Backup(ctx context.Context) error {
	return s.repository(ctx, func(r *backup.Repository) error {
		_, err := r.Create(ctx, s.store, backup.CreateOptions{})
		return err
	})
}

func (s *cofre) Restore(ctx context.Context) error {
	return s.repository(ctx, func(r *backup.Repository) (err error) {
		path := filepath.Join(s.dir, "restored")
		to, err := engine.Open(ctx, path, engine.Options{RootKey: s.roots[0]})
		if err != nil {
			return err
		}
		_, err = r.Restore(ctx, to, backup.RestoreOptions{Roots: s.roots[:]})
		return errors.Join(err, to.Close(), os.RemoveAll(path))
	})
}

func (s *cofre) Close() error {
	var errs []error
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.service != nil {
		errs = append(errs, s.service.Close())
	}
	return errors.Join(errs...)
}
