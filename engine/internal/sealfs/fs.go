// Package sealfs is the file system that Pebble sees: one of files in the
// clear, over one of sealed files.
//
//	.sst .blob            sstable   written once, read at random
//	.log MANIFEST OPTIONS wal       appended and synced
//	marker.* LOCK         empty     their content is their name
//	anything else         refused   there is no plaintext path
//
// Beside sealing, it holds what binds the files of a directory together, so
// that a set of files each of which opens is also the set that was written:
//
//   - The file map. Every frame of a MANIFEST names the tables finished since
//     the last (number, kind, file id, length), and a new MANIFEST begins with
//     all of them. A table that the map does not name does not open.
//   - The chain. Frame 0 of every log names the log before it, with its final
//     count of frames, and the MANIFEST with its durable count.
//   - The seal. After a clean close, [FS.Seal] describes MANIFEST, markers and
//     logs exactly; whoever keeps it hands it to [FS.Preflight] before the
//     next open.
//
// Order of durability. A log or MANIFEST: key and header are written and
// synced under a hidden name ("new-…"), then renamed, then Pebble syncs the
// directory. So a bad header under a real name is tampering, never a crash. A
// marker: the directory is synced first, or a crash could keep the marker and
// lose the MANIFEST it names. A table: Pebble syncs it before the version edit
// that makes it live, and the file map rides on that edit's frame.
package sealfs

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/engine/internal/hole"
	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// Config describes the table whose files are sealed.
type Config struct {
	Base        vfs.FS
	StoreID     keyring.ID
	TableID     keyring.ID
	Incarnation keyring.ID // of files made from now on
	Keys        keyring.DataKeys
	// Origins are the tables whose sorted files may lie here: this one was restored
	// from theirs, and its own key wraps the data keys.
	Origins   []Origin
	UnitSize  uint32     // of new tables; 0 is sstable.DefaultUnitSize
	Suite     aead.Suite // nil outside tests
	MaxFormat uint64     // the highest of Pebble's format versions that may be found; 0 is any
	Logger    *slog.Logger
	// Rel turns a path into the one that errors show. nil: as it is.
	Rel func(path string) string
}

// An Origin is a table that a file was made for.
type Origin struct{ Store, Table keyring.ID }

// FS seals the files of one table: those of its directory and of its
// snapshots' directories. It is safe for concurrent use.
type FS struct {
	cfg Config
	vfs.FS
	os    bool // Base is the operating system's
	lstat func(string) (os.FileInfo, error)
	parse func(string) fileName // parseName; widened by a test for foreign suites

	walks walks

	keyChanges atomic.Uint64 // calls of Rekey
	archive    atomic.Pointer[archive]

	mu        sync.Mutex
	dirs      map[string]*dir
	writing   map[uint32]int     // files being made, by the version that wraps their keys
	notBefore time.Time          // no new file is older; see NotBefore
	readers   map[keyring.ID]int // of logs' ciphertext
}

// New makes the sealing FS of a table.
func New(cfg Config) *FS {
	fs := &FS{
		cfg: cfg, FS: cfg.Base, parse: parseName,
		dirs: make(map[string]*dir), writing: make(map[uint32]int), readers: make(map[keyring.ID]int),
	}
	if fs.os = vfs.Root(cfg.Base) == vfs.Default; fs.os {
		fs.lstat = os.Lstat
	} else {
		fs.lstat = func(name string) (os.FileInfo, error) { return cfg.Base.Stat(name) }
	}
	if fs.cfg.Logger == nil {
		fs.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return fs
}

// Unwrap gives the FS below, for vfs.Root.
func (fs *FS) Unwrap() vfs.FS { return fs.cfg.Base }

func (fs *FS) rel(path string) string {
	if fs.cfg.Rel != nil {
		return fs.cfg.Rel(path)
	}
	return path
}

// dir returns the state of a directory, by its path.
func (fs *FS) dir(path string) *dir {
	path = filepath.Clean(path)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	d := fs.dirs[path]
	if d == nil {
		d = newDir(path)
		fs.dirs[path] = d
	}
	return d
}

// Drop forgets a directory's state, after the directory was removed.
func (fs *FS) Drop(path string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.dirs, filepath.Clean(path))
}

func (fs *FS) split(name string) (*dir, fileName) {
	return fs.dir(fs.PathDir(name)), fs.parse(fs.PathBase(name))
}

func (fs *FS) unknown(op, name string) error {
	return fmt.Errorf("%s %s: not a name of Pebble's: %w", op, fs.rel(name), errors.ErrUnsupported)
}

// regular refuses whatever is not a plain file, before it is opened: a link is
// not followed and a FIFO does not hang.
func (fs *FS) regular(name string) (os.FileInfo, error) {
	fi, err := fs.lstat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, corrupt.New(corrupt.ErrForeign, fs.rel(name), -1, "is a %s, not a regular file", fi.Mode().Type())
	}
	return fi, nil
}

// newIdentity makes the identity and the data key of a new file.
func (fs *FS) newIdentity(fn fileName) (keyring.Identity, *keyring.DataKey, error) {
	id := keyring.Identity{
		Kind:        fn.kind,
		StoreID:     fs.cfg.StoreID,
		TableID:     fs.cfg.TableID,
		FileID:      keyring.NewID(),
		Number:      fn.number,
		Incarnation: fs.cfg.Incarnation,
		CreatedAt:   time.Now().UTC(),
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if id.CreatedAt.Before(fs.notBefore) {
		id.CreatedAt = fs.notBefore
	}
	key, err := fs.cfg.Keys.NewDataKey(id.FileID)
	if err == nil {
		fs.writing[key.Version]++
	}
	return id, key, err
}

// written ends what newIdentity has begun: the file's header can be read, or
// there will be no such file.
func (fs *FS) written(version uint32) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.writing[version]--; fs.writing[version] == 0 {
		delete(fs.writing, version)
	}
}

// NotBefore says that files made from now on are no older than t, whatever the
// clock does: age decides which files are sealed again.
func (fs *FS) NotBefore(t time.Time) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.notBefore = t
}

// maxLog bounds a log, in bytes: twice what the largest batch takes, 4 GiB. A
// file can be made longer at no cost, and all of it would be searched for the
// log's end.
const maxLog = 8 << 30

// An opened file: its header checked against its name, its key unwrapped. The
// header's tag is not checked yet.
type opened struct {
	file   vfs.File
	size   int64 // physical
	header *keyring.Header
	key    *keyring.Secret
}

// open opens a sealed file and checks that it is what its name says.
func (fs *FS) open(name string, fn fileName, opts ...vfs.OpenOption) (*opened, error) {
	fi, err := fs.regular(name)
	if err != nil {
		return nil, err
	}
	if !fn.kind.Random() && fi.Size() > maxLog {
		return nil, corrupt.New(corrupt.ErrFormat, fs.rel(name), -1, "%d bytes are more than a log can have", fi.Size())
	}
	f, err := fs.cfg.Base.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	o := &opened{file: f, size: fi.Size()}
	if err := fs.identify(o, name, fn); err != nil {
		f.Close()
		return nil, corrupt.At(fs.rel(name), err)
	}
	return o, nil
}

func (fs *FS) identify(o *opened, name string, fn fileName) (err error) {
	var buf [keyring.HeaderLen]byte
	if o.size < keyring.HeaderLen {
		return corrupt.New(corrupt.ErrMissing, fs.rel(name), o.size, "file of %d bytes has no whole header", o.size)
	}
	if n, err := o.file.ReadAt(buf[:], 0); n < len(buf) {
		return fmt.Errorf("read header of %s: %w", fs.rel(name), notEOF(err))
	}
	if o.header, err = keyring.ParseHeader(buf[:]); err != nil {
		return err
	}
	if err := fs.checkIdentity(&o.header.Identity, fn); err != nil {
		return err
	}
	o.key, err = fs.cfg.Keys.DataKey(o.header.Identity.FileID, o.header.KeyVersion, o.header.WrappedKey[:])
	return err
}

func (fs *FS) checkIdentity(id *keyring.Identity, fn fileName) error {
	foreign := func(off int64, format string, args ...any) error {
		return corrupt.New(corrupt.ErrForeign, "", off, format, args...)
	}
	// That a file is of an origin makes it none of ours yet: our own key must wrap its
	// data key, and the file map name it.
	adopted := fn.class == classTable && slices.Contains(fs.cfg.Origins, Origin{id.StoreID, id.TableID})
	switch {
	case id.StoreID != fs.cfg.StoreID && !adopted:
		return foreign(16, "belongs to store %s", id.StoreID)
	case id.TableID != fs.cfg.TableID && !adopted:
		return foreign(32, "belongs to table %s", id.TableID)
	case id.Kind != fn.kind:
		return foreign(10, "is a %s, its name says %s", id.Kind, fn.kind)
	case id.Number != fn.number:
		return foreign(64, "is number %d, its name says %d", id.Number, fn.number)
	}
	return nil
}

// notEOF keeps an early end from looking like a log's end.
func notEOF(err error) error {
	if err == nil || isEOF(err) {
		return corrupt.New(corrupt.ErrMissing, "", -1, "file ends early")
	}
	return err
}

func (fs *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	d, fn := fs.split(name)
	switch fn.class {
	case classTable:
		return fs.createTable(d, name, fn, category)
	case classLog, classManifest:
		return fs.createLog(d, name, fn, category)
	case classOptions:
		return fs.createOptions(d, name, fn, category)
	case classMarker:
		return fs.createMarker(d, name, category)
	}
	return nil, fs.unknown("create", name)
}

func (fs *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	d, fn := fs.split(name)
	switch fn.class {
	case classTable:
		return fs.openTable(d, name, fn, opts...)
	case classLog, classManifest:
		return fs.openLog(d, name, fn, opts...)
	case classOptions:
		return fs.openOptions(name, fn)
	}
	return nil, fs.unknown("open", name)
}

// OpenReadWrite is not used by Pebble for the files of a store; a file that is
// opened again for writing would be a new file with a new key.
func (fs *FS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, fs.unknown("open for writing", name)
}

// Link links a table under its own number, into a snapshot's directory. Under
// another number the file would not open, so the caller is told to copy; also
// where the file system has no links, for a copy is a file of its own.
func (fs *FS) Link(oldname, newname string) error {
	od, ofn := fs.split(oldname)
	nd, nfn := fs.split(newname)
	if ofn.class != classTable || ofn != nfn {
		return hole.ErrNoLink
	}
	od.placing.RLock()
	defer od.placing.RUnlock()
	e, ok := od.lookup(ofn)
	if !ok {
		return corrupt.New(corrupt.ErrForeign, fs.rel(oldname), -1, "the file map does not name it")
	}
	if err := fs.cfg.Base.Link(oldname, newname); err != nil {
		if noLinks(err) {
			return hole.ErrNoLink // bare: Pebble does not copy where permission is denied
		}
		return err
	}
	nd.finish(e)
	return nil
}

// noLinks tells whether a file system, or the system above it, refuses a hard
// link that it could never make: there are none, or no more of this file.
func noLinks(err error) bool {
	for _, e := range []error{
		errors.ErrUnsupported, syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.ENOTSUP,
		syscall.EPERM, syscall.EXDEV, syscall.EMLINK,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Remove removes a file; a log that is to be archived it moves. Before a marker goes, the directory is synced: Pebble
// makes the new marker, removes the old one, and syncs then; a crash that kept
// the removal alone would leave none.
func (fs *FS) Remove(name string) error {
	d, fn := fs.split(name)
	if a := fs.archiveOf(d); a != nil && fn.class == classLog {
		return a.take(name, fn)
	}
	if fn.class == classMarker {
		if err := fs.syncDir(d.path); err != nil {
			return err
		}
	}
	d.placing.RLock()
	defer d.placing.RUnlock()
	if err := fs.cfg.Base.Remove(name); err != nil {
		return err
	}
	d.removed(fn)
	return nil
}

// RemoveAll removes a snapshot's directory.
func (fs *FS) RemoveAll(name string) error {
	err := fs.cfg.Base.RemoveAll(name)
	fs.Drop(name)
	return err
}

// Rename gives the OPTIONS file its name; no other file of Pebble's moves.
func (fs *FS) Rename(oldname, newname string) error {
	_, ofn := fs.split(oldname)
	_, nfn := fs.split(newname)
	if ofn.class != classOptions || ofn != nfn {
		return fs.unknown("rename", oldname+" to "+newname)
	}
	return fs.cfg.Base.Rename(oldname, newname)
}

// Lock does nothing: the store's lock covers its tables.
func (fs *FS) Lock(string) (io.Closer, error) { return nopCloser{}, nil }

// List hides files that have no name yet.
func (fs *FS) List(path string) ([]string, error) {
	names, err := fs.cfg.Base.List(path)
	if err != nil {
		return nil, err
	}
	kept := names[:0]
	for _, n := range names {
		if !strings.HasPrefix(n, pendingPrefix) {
			kept = append(kept, n)
		}
	}
	return kept, nil
}

// Stat gives the plaintext size of tables, the physical size of all else:
// Pebble needs the one and only looks at the other.
func (fs *FS) Stat(name string) (vfs.FileInfo, error) {
	d, fn := fs.split(name)
	if fn.class != classTable {
		return fs.cfg.Base.Stat(name)
	}
	fi, err := fs.regular(name) // the one question: opening a table asks for each of its files
	if err != nil {
		return nil, err
	}
	size, err := fs.tableSize(d, name, fn, fi.Size())
	if err != nil {
		return nil, err
	}
	return sized{anywhere{fi}, size}, nil
}

// anywhere is a FileInfo that does not tell its device: Pebble asks for those of logs
// alone.
type anywhere struct{ os.FileInfo }

func (anywhere) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

// sized is a FileInfo with the plaintext size.
type sized struct {
	vfs.FileInfo
	size int64
}

func (s sized) Size() int64 { return s.size }

type nopCloser struct{}

func (nopCloser) Close() error { return nil }
