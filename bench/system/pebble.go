package system

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"path/filepath"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/engine"
)

const pebbleModule = "github.com/cockroachdb/pebble/v2"

var pebbleKind = Kind{
	Name: "pebble", Title: "Pebble", Module: pebbleModule,
	Compacts: true,
	Options:  "the options of a Cofre table; writers wait at 24 sublevels of level 0, as Cofre's do; a backup is a checkpoint that is copied",
	BacksUp:  true,
	Open: func(c Config) (System, error) {
		if err := claim(c.Dir, "pebble"); err != nil {
			return nil, err
		}
		s, err := openPebble(c, vfs.Default)
		if err != nil {
			return nil, err
		}
		return &copiedPebble{plainPebble: s.(*plainPebble), dir: c.Dir}, nil
	},
}

// lsmBatch is when a batch of Load is written, in bytes.
const lsmBatch = 1 << 20

// plainPebble is a Pebble database with the options of a Cofre table.
type plainPebble struct {
	db    *pebble.DB
	write *pebble.WriteOptions
	dirty atomic.Bool // written to since it was opened
}

func openPebble(c Config, fs vfs.FS) (System, error) {
	o, err := engine.PebbleOptions(engine.Options{MemoryBudget: c.Cache}, engine.TableOptions{})
	if err != nil {
		return nil, err
	}
	defer o.Cache.Unref()
	defer o.FileCache.Unref()
	o.FS = fs
	db, err := pebble.Open(filepath.Join(c.Dir, storeName), o)
	if err != nil {
		return nil, err
	}
	s := &plainPebble{db: db, write: pebble.NoSync}
	if c.Durable {
		s.write = pebble.Sync
	}
	return s, nil
}

func (s *plainPebble) Put(key, value []byte) error {
	s.touch()
	return s.db.Set(key, value, s.write)
}

func (s *plainPebble) touch() {
	if !s.dirty.Load() {
		s.dirty.Store(true)
	}
}

func (s *plainPebble) Load(rows iter.Seq2[[]byte, []byte]) error {
	s.touch()
	b := s.db.NewBatch()
	for k, v := range rows {
		if err := b.Set(k, v, nil); err != nil {
			return errors.Join(err, b.Close())
		}
		if b.Len() >= lsmBatch {
			if err := errors.Join(b.Commit(pebble.NoSync), b.Close()); err != nil {
				return err
			}
			b = s.db.NewBatch()
		}
	}
	return errors.Join(b.Commit(pebble.NoSync), b.Close())
}

func (s *plainPebble) DeleteRange(from, to []byte) error {
	s.touch()
	return s.db.DeleteRange(from, to, s.write)
}

func (s *plainPebble) AppendGet(dst, key []byte) ([]byte, bool, error) {
	v, c, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, false, nil
	}
	if err != nil {
		return dst, false, err
	}
	dst = append(dst, v...)
	return dst, true, c.Close()
}

// after is the first key after key.
func after(key []byte) []byte { return append(bytes.Clone(key), 0) }

func (s *plainPebble) Scan(from []byte, reverse bool, visit func(key, value []byte) bool) error {
	o := &pebble.IterOptions{}
	switch {
	case from == nil:
	case reverse:
		o.UpperBound = after(from)
	default:
		o.LowerBound = from
	}
	it, err := s.db.NewIter(o)
	if err != nil {
		return err
	}
	first, next := it.First, it.Next
	if reverse {
		first, next = it.Last, it.Prev
	}
	for ok := first(); ok; ok = next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !visit(it.Key(), v) {
			break
		}
	}
	return errors.Join(it.Error(), it.Close())
}

func (s *plainPebble) Settle(ctx context.Context) error {
	if err := s.db.Flush(); err != nil {
		return err
	}
	return untilQuiet(ctx, func() (bool, error) { return s.db.Metrics().Compact.NumInProgress > 0, nil })
}

func (s *plainPebble) Compact(ctx context.Context) error {
	end := bytes.Repeat([]byte{0xff}, engine.MaxKeyLen+1) // behind all keys
	if err := s.db.Compact(ctx, []byte{}, end, true); err != nil {
		return err
	}
	return s.Settle(ctx)
}

// Close flushes first what was written, as a Cofre table does: then an open need
// not replay.
func (s *plainPebble) Close() error {
	var err error
	if s.dirty.Load() {
		err = s.db.Flush()
	}
	return errors.Join(err, s.db.Close())
}
