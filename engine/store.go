package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/engine/internal/diskfull"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
	"github.com/cofredb/cofre/wal"
)

// The store's directory. See docs/format.md.
const (
	lockName     = "LOCK"
	keyringDir   = "keyring"
	tablesDir    = "tables"
	snapshotsDir = "snapshots"
	ballastName  = "BALLAST"
	auditDir     = "audit"
)

// A Store is an open store. It is safe for concurrent use.
type Store struct {
	dir       string
	opts      Options
	fs        vfs.FS // waits for space
	log       *slog.Logger
	lock      io.Closer
	ring      *keyring.Keyring
	audit     *audit.Log
	pruning   sync.RWMutex      // held while files of the audit log are removed, or read
	roots     []keyring.RootKey // those of opts, recorded in audit
	journal   *journal
	ballast   *ballast
	cache     *pebble.Cache
	fileCache *pebble.FileCache
	scheduler *scheduler
	stop      chan struct{} // ends the janitor
	janitor   sync.WaitGroup

	loss *lossKeeper // nil without a KeyLossPolicy

	life    context.Context // until the store closes
	endLife context.CancelFunc
	keepers sync.WaitGroup // of the tables' leases
	makers  sync.WaitGroup // of tables; added to with mu held and closed false

	// ringMu serializes what reads, changes and writes the keyring. It guards
	// unsure and making too.
	ringMu sync.Mutex
	// unsure are tables whose creation failed so late that it may have happened.
	unsure map[keyring.ID]error
	// making are the names of tables that are being made.
	making map[string]bool
	stages sync.Map // directories of those that are open

	rotating chan struct{} // of capacity 1; full during a rotation of the store key

	closing  sync.Once
	closeErr error // set by closing

	mu     sync.Mutex // guards all below
	closed bool
	tables map[string]*Table // by name
}

// Open opens the store in dir, or makes it (Options.Mode says which). A store
// is open in one process at a time. Opening asks the key service for the store
// key, and where it has grants for those of this store; each table's key is asked for
// when the table is first used.
//
// Errors: ErrStoreNotFound, ErrStoreLocked, ErrKeyInaccessible, ErrCorruption,
// ErrVersion, keyring.ErrRootNotPinned, keyring.ErrRollback.
func Open(ctx context.Context, dir string, opts Options) (_ *Store, err error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, opts: opts, log: opts.Logger, stop: make(chan struct{})}
	s.tables, s.unsure, s.making = make(map[string]*Table), make(map[keyring.ID]error), make(map[string]bool)
	s.life, s.endLife = context.WithCancel(context.Background())
	s.rotating = make(chan struct{}, 1)
	if opts.KeyLoss != nil && opts.Mode != ReadOnly {
		s.loss = newLossKeeper(s)
	}
	s.recordKeys()
	s.ballast = &ballast{fs: opts.FS, path: opts.FS.PathJoin(dir, ballastName), log: s.log}
	s.fs = diskfull.New(opts.FS, diskfull.Options{Wait: opts.DiskFullWait, OnFull: s.ballast.release})
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	exists, err := s.exists()
	if err != nil {
		return nil, err
	}
	switch {
	case !exists && opts.Mode != CreateIfMissing:
		return nil, fmt.Errorf("%w: %s", ErrStoreNotFound, dir)
	case !exists:
		if err := s.checkEmpty(); err != nil {
			return nil, err
		}
		if err := s.mkdir(dir); err != nil {
			return nil, err
		}
	}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	// Another process may have made the store while we waited to lock it.
	if exists, err = s.exists(); err != nil {
		return nil, err
	}
	if err := s.openKeyring(ctx, exists); err != nil {
		s.refused(exists, err)
		return nil, err
	}
	if err := s.openAudit(ctx); err != nil {
		s.refused(exists, err)
		return nil, err
	}
	if err := s.openJournal(ctx); err != nil {
		return nil, err
	}
	if err := s.loadTables(ctx); err != nil {
		return nil, err
	}
	if opts.Mode != ReadOnly {
		s.ballast.fill()
	}
	s.cache = pebble.NewCache(opts.MemoryBudget)
	s.fileCache = pebble.NewFileCache(fileCacheShards, opts.MaxOpenFiles)
	s.scheduler = newScheduler()
	if opts.IdleTimeout > 0 {
		s.janitor.Add(1)
		go s.closeIdle()
	}
	if opts.Mode != ReadOnly {
		s.janitor.Go(func() { s.keepSchedules(s.life) })
		err := s.firstGrants(ctx)
		s.janitor.Go(func() { s.keepGrants(s.life, err) })
		s.janitor.Go(func() { s.keepAudit(s.life) })
		for _, b := range opts.Background {
			s.janitor.Go(func() {
				if err := b.Run(s.life, s); err != nil && s.life.Err() == nil {
					s.log.Error("a job beside the store has ended", "job", fmt.Sprintf("%T", b), "error", err)
				}
			})
		}
	}
	if s.loss != nil {
		s.janitor.Go(func() { s.loss.run(s.life) })
	}
	return s, nil
}

// fileCacheShards is small: the machine's cores, not its tables, contend.
const fileCacheShards = 8

func (s *Store) path(elem ...string) string {
	return s.fs.PathJoin(append([]string{s.dir}, elem...)...)
}

// rel is a path as errors show it: relative to the store.
func (s *Store) rel(path string) string {
	if r, err := filepath.Rel(s.dir, path); err == nil && !strings.HasPrefix(r, "..") {
		return filepath.ToSlash(r)
	}
	return path
}

// exists tells whether there is a keyring here. A directory of tables without
// one is a damaged store, not a missing one.
func (s *Store) exists() (bool, error) {
	fi, err := s.fs.Stat(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if errors.Is(err, syscall.ENOTDIR) {
		return false, fmt.Errorf("%w: %w", ErrStoreNotFound, err)
	}
	if err != nil {
		return false, fmt.Errorf("open store: %w", err)
	}
	if !fi.IsDir() {
		return false, fmt.Errorf("%w: %s is not a directory", ErrStoreNotFound, s.dir)
	}
	ok, err := keyring.Exists(s.fs, s.path(keyringDir))
	if err != nil || ok {
		return ok, err
	}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return false, err
	}
	if slices.Contains(names, tablesDir) {
		return false, corrupt.New(corrupt.ErrMissing, keyringDir, -1, "the store has tables and no keyring")
	}
	// What is made once there is a keyring says that there was one.
	for _, n := range []string{ballastName, auditDir, archiveDir} {
		if slices.Contains(names, n) {
			return false, corrupt.New(corrupt.ErrMissing, keyringDir, -1, "the store has %s and no keyring", n)
		}
	}
	names, err = s.fs.List(s.path(keyringDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	for _, n := range names {
		if strings.HasPrefix(n, journalPrefix) {
			return false, corrupt.New(corrupt.ErrMissing, keyringDir, -1, "the store has a file %s and no keyring", n)
		}
	}
	return false, nil
}

// lostAndFound is in the topmost directory of some file systems.
const lostAndFound = "lost+found"

// checkEmpty keeps Open from making a store among other people's files.
func (s *Store) checkEmpty() error {
	names, err := s.fs.List(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, n := range names {
		switch n {
		case lockName, keyringDir: // left by a creation that did not finish
		case lostAndFound:
		default:
			return fmt.Errorf("%w: %s holds other files (%s)", ErrStoreNotFound, s.dir, clip(n))
		}
	}
	return nil
}

// mkdir makes a directory, and those above it that are missing, and makes
// their names durable: a store is lost with any directory on the way to it.
func (s *Store) mkdir(path string) error {
	parents := []string{s.fs.PathDir(path)} // each gets a new entry
	for p := parents[0]; ; p = parents[len(parents)-1] {
		if _, err := s.fs.Stat(p); !errors.Is(err, os.ErrNotExist) || s.fs.PathDir(p) == p {
			break
		}
		parents = append(parents, s.fs.PathDir(p))
	}
	if err := s.fs.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for _, p := range parents {
		if err := syncDir(s.fs, p); err != nil {
			return err
		}
	}
	return nil
}

// takeLock takes the store's lock. A reader of a read-only disk goes without:
// nobody can write there.
func (s *Store) takeLock() error {
	path := s.path(lockName)
	if vfs.Root(s.opts.FS) == vfs.Default {
		// The lock is the process's: it must be one, however dir is spelled.
		// And taking it truncates the file, so it must be a file of ours.
		if abs, err := filepath.Abs(s.dir); err == nil {
			if abs, err = filepath.EvalSymlinks(abs); err == nil {
				path = filepath.Join(abs, lockName)
			}
		}
		if fi, err := os.Lstat(path); err == nil && (!fi.Mode().IsRegular() || fi.Size() != 0) {
			return corrupt.New(corrupt.ErrForeign, lockName, -1, "is not the empty file it must be")
		}
	}
	l, err := s.opts.FS.Lock(path)
	denied := errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS)
	switch {
	case err == nil:
		s.lock = l
		return nil
	case errors.Is(err, syscall.EAGAIN), strings.Contains(err.Error(), "lock held"):
		// The latter is how Pebble's FS says it of this very process.
		return fmt.Errorf("%w: %s", ErrStoreLocked, s.dir)
	case denied && s.opts.Mode == ReadOnly:
		return nil
	}
	return fmt.Errorf("lock store %s: %w", s.dir, err)
}

func (s *Store) openKeyring(ctx context.Context, exists bool) (err error) {
	ko := keyring.Options{
		FS: s.fs, Suite: s.opts.suite, Logger: s.log, AcceptOlder: s.opts.AcceptOlderKeyring, Audit: s.audit.State, Now: s.opts.now,
	}
	dir := s.path(keyringDir)
	if !exists {
		made, err := keyring.Create(ctx, dir, s.roots[0], ko)
		if err != nil {
			return keyError(err)
		}
		if err := errors.Join(made.Close(), syncDir(s.fs, s.dir)); err != nil {
			return err
		}
	}
	s.ring, err = keyring.Open(ctx, dir, s.roots, s.opts.Mode == ReadOnly, ko)
	return keyError(err)
}

func (s *Store) openJournal(ctx context.Context) (err error) {
	s.journal, err = openJournal(ctx, s.fs, s.path(keyringDir), s.ring, wal.Options{Suite: s.opts.suite}, s.opts.Mode == ReadOnly)
	return err
}

// loadTables makes the handles, and ends what a crash left half done: tables
// whose creation did not finish go, directories of dropped tables too. What
// cannot be removed keeps nobody from the other tables.
func (s *Store) loadTables(ctx context.Context) error {
	if err := s.checkDir(s.path(tablesDir)); err != nil {
		return err
	}
	for _, r := range s.ring.Tables() {
		if r.State == keyring.TableCreating {
			if s.opts.Mode == ReadOnly {
				continue
			}
			// While its files are there its entry stays, for the next open.
			if s.removeLeft(s.path(tablesDir, r.ID.String())) {
				if err := s.forget(ctx, r.ID); err != nil {
					return err
				}
			}
			continue
		}
		s.tables[r.Name] = s.newTable(r.Name, r.ID)
	}
	if s.opts.Mode == ReadOnly {
		return nil
	}
	if err := s.mkdir(s.path(tablesDir)); err != nil {
		return err
	}
	for _, t := range s.ring.Tombstones() {
		s.removeLeft(s.path(tablesDir, t.ID.String()))
		s.removeLeft(s.path(archiveDir, t.ID.String()))
	}
	return nil
}

// removeLeft removes a directory that nothing needs, and tells whether it is
// gone. A failure is worth a warning and no more: nobody reads what is left,
// and the next open tries again.
func (s *Store) removeLeft(dir string) bool {
	err := s.fs.RemoveAll(dir)
	if err != nil {
		s.log.Warn("a directory that nothing needs cannot be removed: "+
			"remove it, or let this process do so; the next open tries again", "dir", dir, "error", err)
	}
	return err == nil
}

// forget removes a table whose creation did not finish: its files, durably,
// and then its entry, without which nobody would look for them.
func (s *Store) forget(ctx context.Context, id keyring.ID) error {
	if err := s.fs.RemoveAll(s.path(tablesDir, id.String())); err != nil {
		return err
	}
	if err := syncDir(s.fs, s.path(tablesDir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err := s.ring.Forget(ctx, id)
	s.note(audit.EventForgetTable, audit.Request{Table: id}, err)
	return err
}

// ID is the store's random id. It is no secret.
func (s *Store) ID() keyring.ID { return s.ring.StoreID() }

// Dir is the store's directory, as given to Open.
func (s *Store) Dir() string { return s.dir }

// Table returns the handle of a table; it opens nothing yet.
//
// Errors: ErrInvalidName, ErrTableNotFound, ErrClosed.
func (s *Store) Table(name string) (*Table, error) {
	if err := checkTableName(name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if t := s.tables[name]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrTableNotFound, clip(name))
}

// TableInfo is what the store knows of a table without its key.
type TableInfo struct {
	Name       string     `json:"name"`
	ID         keyring.ID `json:"id"`
	CreatedAt  time.Time  `json:"created_at"`
	RootKeys   []string   `json:"root_keys"`   // URIs
	KeyVersion uint32     `json:"key_version"` // newest version of the table key
	Open       bool       `json:"open"`        // in memory at this moment
}

// Tables lists the tables by name. It makes no call to a key service.
func (s *Store) Tables() []TableInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []TableInfo
	for _, r := range s.ring.Tables() {
		if t := s.tables[r.Name]; t != nil && t.id == r.ID {
			list = append(list, TableInfo{
				Name: r.Name, ID: r.ID, CreatedAt: r.CreatedAt,
				RootKeys: r.Roots, KeyVersion: r.Version, Open: t.inst.Load() != nil,
			})
		}
	}
	slices.SortFunc(list, func(a, b TableInfo) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// CreateTable makes a table under a new table key, which its root key wraps. Where the
// root key's service has grants (keyring.Granter) the table gets two: see Grantee.
// The table is durable when the call returns; if it fails, nothing is left,
// or what is left goes at the next open. After keyring.ErrPoisoned the next
// open may find it made.
//
// Errors: ErrInvalidName, ErrTableExists, ErrReadOnly, ErrKeyInaccessible,
// keyring.ErrPoisoned.
func (s *Store) CreateTable(ctx context.Context, name string, opts TableOptions) (*Table, error) {
	if err := checkTableName(name); err != nil {
		return nil, err
	}
	if s.opts.Mode == ReadOnly {
		return nil, ErrReadOnly
	}
	if opts.SeparateValuesFrom < 0 {
		return nil, fmt.Errorf("engine: values cannot be separated from %d bytes on", opts.SeparateValuesFrom)
	}
	root, err := s.rootForTable(opts.RootKey)
	if err != nil {
		return nil, err
	}
	m := &metadata{name: name, createdAt: time.Now().UTC(), separateFrom: opts.SeparateValuesFrom, noCompression: opts.NoCompression}
	return s.makeTable(ctx, audit.EventCreateTable, root, m, func(_ context.Context, t *Table, keys *keyring.TableKeys) error {
		err := t.create(ctx, keys) // it takes no time: Close waits for it
		if err != nil {
			keys.Wipe() // no instance has them that would
		}
		return err
	})
}

// DropOptions configure DropTable.
type DropOptions struct {
	// WithSnapshots drops the table's snapshots too; without it a table that
	// has snapshots is not dropped.
	WithSnapshots bool
	// DestroyRootsAfter, in days, 7 to 30, also has the table's root keys destroyed by their
	// services, which makes the drop final: no copy of the store opens the table then.
	// 0 leaves them alone. It is refused, before anything is dropped, where another
	// table or the store itself has one of them (ErrRootShared), or where one cannot
	// be destroyed by its service (ErrRootStays), as a recovery key on paper.
	DestroyRootsAfter int
}

// A DropReport says what a drop removed, and what it could not.
type DropReport struct {
	Table       string     `json:"table"`
	ID          keyring.ID `json:"id"`
	KeyVersions []uint32   `json:"key_versions"` // whose wraps are gone
	RootKeys    []string   `json:"root_keys"`    // that wrapped them
	Snapshots   []string   `json:"snapshots"`    // dropped with the table
	Files       int        `json:"files"`
	Bytes       int64      `json:"bytes"`
	// Destroyed are the root keys whose services will destroy them, and when.
	Destroyed []RootDestruction `json:"destroyed,omitempty"`
	// ArchiveGrantsUntil is when the grants of the table's last archive are given back
	// to the services of its root keys; zero where they have no grants.
	ArchiveGrantsUntil time.Time `json:"archive_grants_until,omitzero"`
	// StillOpenable says in plain words which copies elsewhere a holder of the
	// root key could still open.
	StillOpenable string `json:"still_openable"`
}

// DropTable removes a table: its key wraps first, which makes every file of it
// unreadable, then the files, log segments that wait for the archive among them. If we
// crash between, the next open removes the files. Open views and scans of the table
// fail with ErrClosed.
//
// Errors: ErrTableNotFound, ErrSnapshotsExist, ErrReadOnly, ErrRootShared,
// ErrRootStays. With a report comes an error of what was left after the wraps had
// gone: files, or a root key that its service does not destroy.
func (s *Store) DropTable(ctx context.Context, name string, opts DropOptions) (*DropReport, error) {
	return s.dropTable(ctx, name, opts, lossDrop{})
}

// dropTable is DropTable, with what the policy for lost keys adds.
func (s *Store) dropTable(ctx context.Context, name string, opts DropOptions, loss lossDrop) (*DropReport, error) {
	if s.opts.Mode == ReadOnly {
		return nil, ErrReadOnly
	}
	t, err := s.Table(name)
	if err != nil {
		return nil, err
	}
	s.ringMu.Lock()
	defer s.ringMu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropped {
		return nil, fmt.Errorf("%w: %s", ErrTableNotFound, name)
	}
	snapshots, err := t.snapshotNames()
	if err != nil {
		return nil, err
	}
	if len(snapshots) > 0 && !opts.WithSnapshots {
		return nil, fmt.Errorf("%w: %s: %s", ErrSnapshotsExist, name, strings.Join(snapshots, ", "))
	}
	if opts.DestroyRootsAfter != 0 {
		if err := s.mayDestroyRoots(t, opts.DestroyRootsAfter); err != nil {
			return nil, err
		}
	}
	if loss.check != nil {
		if err := loss.check(); err != nil {
			return nil, err
		}
	}
	// Whatever closing says: the files go anyway.
	if err := t.closeLocked(ctx); err != nil {
		s.log.Warn("close before drop", "table", t.id, "error", err)
	}
	rep := &DropReport{Table: name, ID: t.id, Snapshots: snapshots}
	for _, dir := range []string{t.dir, t.archiveDir()} {
		walk(s.fs, dir, func(_ string, size int64) { rep.Files++; rep.Bytes += size })
	}
	tomb, err := s.ring.DropTable(ctx, t.id)
	if errors.Is(err, keyring.ErrPoisoned) {
		// What is written from now on, the next open of the store may remove.
		t.lost = fmt.Errorf("%w: only the next open of the store tells whether it was dropped: %w", ErrPoisoned, err)
	}
	s.note(audit.EventDropTable, audit.Request{Table: t.id, Roots: tomb.Roots, Archive: loss.archive}, err)
	if err != nil {
		if loss.check != nil {
			err = &recordedError{err}
		}
		return nil, err
	}
	rep.KeyVersions, rep.RootKeys = tomb.Versions, tomb.Roots
	rep.StillOpenable = stillOpenable(s.rel(t.dir), tomb.Roots)
	t.dropped = true
	if s.dropGrants(ctx, t.id, tomb.Roots, s.forArchive) > 0 {
		rep.ArchiveGrantsUntil = tomb.DroppedAt.Add(archiveGrantLife)
	}
	destroyErr := s.destroyRoots(ctx, rep, opts.DestroyRootsAfter)
	s.journal.forget(t.id)
	s.mu.Lock()
	delete(s.tables, name)
	s.mu.Unlock()
	if err := errors.Join(s.fs.RemoveAll(t.dir), t.removeArchive()); err != nil {
		return rep, errors.Join(destroyErr, fmt.Errorf("the table's keys are gone, its files not all: %w", err))
	}
	return rep, errors.Join(destroyErr, syncDir(s.fs, s.path(tablesDir)))
}

// Close closes all tables and the store. Views and scans that are still open
// fail with ErrClosed from then on. Close is idempotent: each call returns when
// the store is closed, and the same.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.endLife()
	s.janitor.Wait()
	s.makers.Wait()
	ctx := context.Background()
	s.ringMu.Lock() // waits for a CreateTable that has begun
	defer s.ringMu.Unlock()
	s.mu.Lock()
	tables := slices.Collect(maps.Values(s.tables))
	s.mu.Unlock()
	var errs []error
	for _, t := range tables {
		errs = append(errs, t.Close())
	}
	s.keepers.Wait() // no table opens any more
	errs = append(errs, s.journal.close(ctx), s.release())
	return errors.Join(errs...)
}

// release frees what Open took.
func (s *Store) release() error {
	var errs []error
	s.endLife()
	if s.scheduler != nil {
		s.scheduler.stop()
	}
	if s.fileCache != nil {
		s.fileCache.Unref()
		s.cache.Unref()
	}
	if s.journal != nil {
		s.journal.abandon()
	}
	if s.ring != nil {
		errs = append(errs, s.ring.Close())
	}
	errs = append(errs, s.audit.Close())
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// closeIdle closes tables that nobody has used for the idle timeout. It ends
// with the store.
func (s *Store) closeIdle() {
	defer s.janitor.Done()
	tick := time.NewTicker(max(s.opts.IdleTimeout/2, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		tables := make([]*Table, 0, len(s.tables))
		for _, t := range s.tables {
			tables = append(tables, t)
		}
		s.mu.Unlock()
		for _, t := range tables {
			t.closeIfIdle()
		}
	}
}

// lstat describes a file and does not follow a symbolic link, which only the
// operating system's file system has.
func lstat(fs vfs.FS, path string) (os.FileInfo, error) {
	if vfs.Root(fs) == vfs.Default {
		return os.Lstat(path)
	}
	return fs.Stat(path)
}

// checkDir refuses what is in the place of a directory of the store: a link
// would lead elsewhere, a FIFO would hang. What is not there is no error.
func (s *Store) checkDir(path string) error {
	fi, err := lstat(s.fs, path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !fi.IsDir():
		return corrupt.New(corrupt.ErrForeign, s.rel(path), -1, "is no directory: %s", fi.Mode().Type())
	}
	return nil
}

// walk visits the regular files at path and below. It follows no link. What
// vanishes meanwhile is skipped.
func walk(fs vfs.FS, path string, visit func(path string, size int64)) {
	fi, err := lstat(fs, path)
	switch {
	case err != nil:
	case fi.Mode().IsRegular():
		visit(path, fi.Size())
	case fi.IsDir():
		names, err := fs.List(path)
		if err != nil {
			return
		}
		slices.Sort(names)
		for _, n := range names {
			walk(fs, fs.PathJoin(path, n), visit)
		}
	}
}
