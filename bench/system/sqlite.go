package system

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/vfs/adiantum" // registers the encrypting VFS
)

var sqliteKind = Kind{
	Name: "sqlite-encrypted", Title: "SQLite encrypted", Module: "github.com/ncruces/go-sqlite3",
	Compacts:  true,
	Encrypted: true,
	Options:   "pure Go; Adiantum, which is faster here than its AES-XTS; pages of 16 KiB, for rows of 1 KiB lie in the key's tree; WAL; synchronous FULL if durable, else OFF; the whole cache for each connection, of which there are as many as cores",
	Open:      openSQLite,
}

// sqliteDB is an SQLite database of one table. Connections have page caches of
// their own, and one that finds that another has written drops what it has: so
// the one that was used last is used next. Writers queue for a lock here, which
// is cheaper than SQLite's waits.
type sqliteDB struct {
	path  string
	write sync.Mutex // taken before a connection

	mu   sync.Mutex
	free []*sqliteConn // the last one is used next; guarded by mu
	some *sync.Cond    // signals that free has grown
	all  []*sqliteConn
}

// sqliteConn is a connection, for one goroutine at a time.
type sqliteConn struct {
	*sqlite3.Conn
	put, get, drop         *sqlite3.Stmt
	forward, back, fromEnd *sqlite3.Stmt
}

func openSQLite(c Config) (_ System, err error) {
	if err := claim(c.Dir, "sqlite-encrypted"); err != nil {
		return nil, err
	}
	key, err := loadKey(c.Dir, 32)
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(filepath.Join(c.Dir, storeName))
	if err != nil {
		return nil, err
	}
	s := &sqliteDB{path: path}
	s.some = sync.NewCond(&s.mu)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for range max(2, runtime.GOMAXPROCS(0)) {
		conn, err := openConn(path, key, c)
		if err != nil {
			return nil, err
		}
		s.all = append(s.all, conn)
	}
	s.free = append(s.free, s.all...)
	return s, nil
}

func openConn(path string, key []byte, c Config) (_ *sqliteConn, err error) {
	name := filepath.ToSlash(path)
	if !strings.HasPrefix(name, "/") {
		name = "/" + name // a drive
	}
	uri := url.URL{Scheme: "file", Path: name, RawQuery: url.Values{"vfs": {"adiantum"}, "hexkey": {hex.EncodeToString(key)}}.Encode()}
	// A connection's memory is of 32 bits.
	cache := min(c.Cache, 2<<30)
	ctx := sqlite3.WithMaxMemory(context.Background(), cache+1<<30)
	db, err := sqlite3.OpenContext(ctx, uri.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &sqliteConn{Conn: db}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	synchronous := "OFF"
	if c.Durable {
		synchronous = "FULL"
	}
	err = errors.Join(db.BusyTimeout(time.Minute), db.Exec(fmt.Sprintf(`
		PRAGMA page_size = 16384;
		PRAGMA journal_mode = WAL;
		PRAGMA synchronous = %s;
		PRAGMA cache_size = -%d;
		CREATE TABLE IF NOT EXISTS rows (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID`, synchronous, cache>>10)))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	for _, p := range []struct {
		stmt **sqlite3.Stmt
		sql  string
	}{
		{&s.put, `REPLACE INTO rows VALUES (?, ?)`},
		{&s.get, `SELECT v FROM rows WHERE k = ?`},
		{&s.drop, `DELETE FROM rows WHERE k >= ? AND k < ?`},
		{&s.forward, `SELECT k, v FROM rows WHERE k >= ? ORDER BY k`},
		{&s.back, `SELECT k, v FROM rows WHERE k <= ? ORDER BY k DESC`},
		{&s.fromEnd, `SELECT k, v FROM rows ORDER BY k DESC`},
	} {
		if *p.stmt, _, err = db.PrepareFlags(p.sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (c *sqliteConn) close() error {
	var errs []error
	for _, s := range []*sqlite3.Stmt{c.put, c.get, c.drop, c.forward, c.back, c.fromEnd} {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.Conn.Close())...)
}

// take returns a connection that nobody uses.
func (s *sqliteDB) take() *sqliteConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.free) == 0 {
		s.some.Wait()
	}
	c := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	return c
}

func (s *sqliteDB) give(c *sqliteConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, c)
	s.some.Signal()
}

func exec(stmt *sqlite3.Stmt, a, b []byte) error {
	return errors.Join(stmt.BindBlob(1, a), stmt.BindBlob(2, b), stmt.Exec())
}

func (s *sqliteDB) Put(key, value []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	c := s.take()
	defer s.give(c)
	return exec(c.put, key, value)
}

func (s *sqliteDB) Load(rows iter.Seq2[[]byte, []byte]) error {
	s.write.Lock()
	defer s.write.Unlock()
	c := s.take()
	defer s.give(c)
	return batches(rows, func(batch []row) (err error) {
		t, err := c.BeginImmediate()
		if err != nil {
			return err
		}
		defer t.End(&err)
		for _, r := range batch {
			if err := exec(c.put, r.key, r.value); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *sqliteDB) DeleteRange(from, to []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	c := s.take()
	defer s.give(c)
	return exec(c.drop, from, to)
}

func (s *sqliteDB) AppendGet(dst, key []byte) (value []byte, found bool, err error) {
	c := s.take()
	defer s.give(c)
	if err := c.get.BindBlob(1, key); err != nil {
		return dst, false, err
	}
	if found = c.get.Step(); found {
		dst = append(dst, c.get.ColumnRawBlob(0)...)
	}
	err = c.get.Err()
	return dst, found, errors.Join(err, c.get.Reset())
}

func (s *sqliteDB) Scan(from []byte, reverse bool, visit func(key, value []byte) bool) (err error) {
	c := s.take()
	defer s.give(c)
	stmt := c.forward
	switch {
	case reverse && from == nil:
		stmt = c.fromEnd
	case reverse:
		stmt = c.back
	}
	if stmt != c.fromEnd {
		if err := stmt.BindBlob(1, from); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, stmt.Reset()) }()
	for stmt.Step() {
		if !visit(stmt.ColumnRawBlob(0), stmt.ColumnRawBlob(1)) {
			return nil
		}
	}
	return stmt.Err()
}

// Settle moves the log into the database file. With synchronous = OFF nothing
// has been synced by then.
func (s *sqliteDB) Settle(context.Context) error {
	s.write.Lock()
	defer s.write.Unlock()
	c := s.take()
	defer s.give(c)
	if _, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Compact writes all rows anew, by way of a temporary file.
func (s *sqliteDB) Compact(ctx context.Context) error {
	s.write.Lock()
	c := s.take()
	err := c.Exec(`VACUUM`)
	s.give(c)
	s.write.Unlock()
	if err != nil {
		return err
	}
	return s.Settle(ctx)
}

func (s *sqliteDB) Close() error {
	var errs []error
	for _, c := range s.all {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}
