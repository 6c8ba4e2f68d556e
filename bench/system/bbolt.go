package system

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

var bboltKind = Kind{
	Name: "bbolt", Title: "bbolt", Module: "go.etcd.io/bbolt",
	Options: "one bucket; free list in a map and not on disk; concurrent durable puts batched for 300 µs; no cache but the operating system's",
	Open:    openBolt,
}

var boltBucket = []byte("rows")

// boltDB is a bbolt database with one bucket.
type boltDB struct {
	db      *bbolt.DB
	durable bool
	writers atomic.Int32 // in Put
}

func openBolt(c Config) (System, error) {
	if err := claim(c.Dir, "bbolt"); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(filepath.Join(c.Dir, storeName), 0o600, &bbolt.Options{
		Timeout:        time.Second, // for the lock
		NoSync:         !c.Durable,
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
	})
	if err != nil {
		return nil, err
	}
	// How long a batch waits for others; bbolt's 10 ms are longer than a sync.
	db.MaxBatchDelay = 300 * time.Microsecond
	db.NoGrowSync = !c.Durable
	err = db.Update(func(t *bbolt.Tx) error {
		_, err := t.CreateBucketIfNotExists(boltBucket)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &boltDB{db: db, durable: c.Durable}, nil
}

// Put writes in a transaction of its own, or, where others wait for a sync too,
// in one with them: so a single writer waits for nobody, and eight are more than
// twice as fast as each on its own.
func (s *boltDB) Put(key, value []byte) error {
	put := func(t *bbolt.Tx) error { return t.Bucket(boltBucket).Put(key, value) }
	others := s.writers.Add(1) > 1
	defer s.writers.Add(-1)
	if s.durable && others {
		return s.db.Batch(put)
	}
	return s.db.Update(put)
}

func (s *boltDB) Load(rows iter.Seq2[[]byte, []byte]) error {
	return batches(rows, func(batch []row) error {
		return s.db.Update(func(t *bbolt.Tx) error {
			b := t.Bucket(boltBucket)
			for _, r := range batch {
				if err := b.Put(r.key, r.value); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func (s *boltDB) DeleteRange(from, to []byte) error {
	return s.db.Update(func(t *bbolt.Tx) error {
		c := t.Bucket(boltBucket).Cursor()
		for k, _ := c.Seek(from); k != nil && bytes.Compare(k, to) < 0; k, _ = c.Next() {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *boltDB) AppendGet(dst, key []byte) (value []byte, found bool, err error) {
	err = s.db.View(func(t *bbolt.Tx) error {
		v := t.Bucket(boltBucket).Get(key)
		found = v != nil
		dst = append(dst, v...)
		return nil
	})
	return dst, found, err
}

func (s *boltDB) Scan(from []byte, reverse bool, visit func(key, value []byte) bool) error {
	return s.db.View(func(t *bbolt.Tx) error {
		c := t.Bucket(boltBucket).Cursor()
		first, next := c.First, c.Next
		if reverse {
			first, next = c.Last, c.Prev
		}
		k, v := []byte(nil), []byte(nil)
		if from == nil {
			k, v = first()
		} else {
			k, v = c.Seek(from)
			switch {
			case reverse && k == nil:
				k, v = c.Last()
			case reverse && !bytes.Equal(k, from):
				k, v = c.Prev()
			}
		}
		for k != nil && visit(k, v) {
			k, v = next()
		}
		return nil
	})
}

func (s *boltDB) Settle(context.Context) error { return s.db.Sync() }

// Compact settles. bbolt compacts only by copying all rows to another file.
func (s *boltDB) Compact(ctx context.Context) error { return s.Settle(ctx) }

func (s *boltDB) Close() error { return errors.Join(s.db.Sync(), s.db.Close()) }
