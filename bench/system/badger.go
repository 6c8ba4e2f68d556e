package system

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"path/filepath"
	"runtime"

	"github.com/dgraph-io/badger/v4"
)

const badgerModule = "github.com/dgraph-io/badger/v4"

var badgerKind = Kind{
	Name: "badger", Title: "Badger", Module: badgerModule,
	Compacts: true, FlushesAtClose: true,
	Options: "defaults (Snappy, inline values below 1 MiB), block cache of the run, memtables like Cofre's but of at least 8 MiB, no conflict detection",
	Open:    func(c Config) (System, error) { return openBadger(c, "badger", false) },
}

var badgerEncryptedKind = Kind{
	Name: "badger-encrypted", Title: "Badger encrypted", Module: badgerModule,
	Compacts: true, FlushesAtClose: true,
	Encrypted: true,
	Options:   "as badger, with a 256-bit key (AES-CTR) and an eighth of the cache for indices, which are encrypted too",
	Open:      func(c Config) (System, error) { return openBadger(c, "badger-encrypted", true) },
}

// badgerDB is a Badger database. Rows are rows of one version.
type badgerDB struct{ db *badger.DB }

func openBadger(c Config, kind string, encrypted bool) (System, error) {
	if err := claim(c.Dir, kind); err != nil {
		return nil, err
	}
	o := badger.DefaultOptions(filepath.Join(c.Dir, storeName))
	o.Logger = nil
	o.SyncWrites = c.Durable
	o.BlockCacheSize = c.Cache
	// A transaction takes at most 15 % of a memtable, and must take a value of
	// a mebibyte.
	o.MemTableSize = max(8<<20, min(32<<20, c.Cache/8))
	o.DetectConflicts = false // every write is blind
	o.MetricsEnabled = false
	if encrypted {
		key, err := loadKey(c.Dir, 32)
		if err != nil {
			return nil, err
		}
		o.EncryptionKey = key
		// Without a cache for them Badger decrypts an index on each use.
		o.IndexCacheSize = c.Cache / 8
		o.BlockCacheSize = c.Cache - o.IndexCacheSize
	}
	db, err := badger.Open(o)
	if err != nil {
		return nil, err
	}
	return &badgerDB{db}, nil
}

func (s *badgerDB) Put(key, value []byte) error {
	return s.db.Update(func(t *badger.Txn) error { return t.Set(key, value) })
}

// Load copies rows: a WriteBatch keeps what it is given until it is written.
func (s *badgerDB) Load(rows iter.Seq2[[]byte, []byte]) error {
	b := s.db.NewWriteBatch()
	defer b.Cancel()
	for k, v := range rows {
		kv := append(append(make([]byte, 0, len(k)+len(v)), k...), v...)
		if err := b.Set(kv[:len(k):len(k)], kv[len(k):]); err != nil {
			return err
		}
	}
	return b.Flush()
}

// DeleteRange deletes key by key, for Badger has no deletion of a range: its
// DropPrefix takes prefixes alone, and stops all writes meanwhile.
func (s *badgerDB) DeleteRange(from, to []byte) error {
	b := s.db.NewWriteBatch()
	defer b.Cancel()
	err := s.db.View(func(t *badger.Txn) error {
		it := t.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Seek(from); it.Valid() && bytes.Compare(it.Item().Key(), to) < 0; it.Next() {
			if err := b.Delete(it.Item().KeyCopy(nil)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return b.Flush()
}

func (s *badgerDB) AppendGet(dst, key []byte) (value []byte, found bool, err error) {
	err = s.db.View(func(t *badger.Txn) error {
		item, err := t.Get(key)
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			dst = append(dst, v...)
			return nil
		})
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return dst, false, nil
	}
	return dst, err == nil, err
}

func (s *badgerDB) Scan(from []byte, reverse bool, visit func(key, value []byte) bool) error {
	return s.db.View(func(t *badger.Txn) error {
		o := badger.DefaultIteratorOptions // fetches values ahead
		o.Reverse = reverse
		it := t.NewIterator(o)
		defer it.Close()
		if from == nil {
			it.Rewind()
		} else {
			it.Seek(from)
		}
		for more := true; more && it.Valid(); it.Next() {
			item := it.Item()
			if err := item.Value(func(v []byte) error {
				more = visit(item.Key(), v)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Settle syncs the logs, and waits until no level wants a compaction. Badger
// has no call to flush a memtable: what is in the last ones stays there, in
// their logs, until they are full or Badger closes.
func (s *badgerDB) Settle(ctx context.Context) error {
	if err := s.db.Sync(); err != nil {
		return err
	}
	return untilQuiet(ctx, func() (bool, error) {
		for _, l := range s.db.Levels() {
			if l.Score >= 1 {
				return true, nil
			}
		}
		return false, nil
	})
}

// Compact moves all sorted files to one level. Memtables stay what they are.
func (s *badgerDB) Compact(ctx context.Context) error {
	if err := s.db.Flatten(max(1, runtime.GOMAXPROCS(0))); err != nil {
		return err
	}
	return s.Settle(ctx)
}

func (s *badgerDB) Close() error { return s.db.Close() }
