package sealfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/sstable"
	"github.com/cofredb/cofre/wal"
)

// Rekey has the log and the MANIFEST that are open for writing go on under new
// data keys, which the table's newest key wraps: what is written from now on is
// not for those who hold an older one. It writes three frames to each, and
// returns the MANIFEST with what is durable of it, or a zero Segment where none
// is open.
//
// The MANIFEST attests the log's frames, behind the change; whoever keeps the
// Segment attests the MANIFEST's.
func (fs *FS) Rekey(path string) (m wal.Segment, err error) {
	d := fs.dir(path)
	fs.keyChanges.Add(1) // before the list: what is being made looks at it behind
	for _, c := range []class{classLog, classManifest} {
		for _, f := range d.writers(c) {
			err := fs.rekey(f)
			if errors.Is(err, os.ErrClosed) {
				continue // nothing more is written to it
			}
			if err != nil {
				return wal.Segment{}, err
			}
			if c == classManifest {
				m = f.segment(f.w.Durable())
			}
		}
	}
	return m, nil
}

// writers are the logs or MANIFESTs that are open for writing.
func (d *dir) writers(c class) (fs []*logFile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.live {
		if f.name.class == c {
			fs = append(fs, f)
		}
	}
	return fs
}

func (fs *FS) rekey(f *logFile) error {
	if f.name.class == classManifest {
		if err := f.attest(); err != nil {
			return err
		}
	}
	return fs.changeKey(f)
}

func (fs *FS) changeKey(f *logFile) error {
	id := keyring.NewID()
	key, err := fs.cfg.Keys.NewDataKey(id)
	if err != nil {
		return err
	}
	defer key.Key.Wipe()
	return f.w.Rekey(id, key)
}

// A KeyUse is a data key as a file names it: in its header, or in a frame.
type KeyUse struct {
	Name      string // of the file, in its directory
	Kind      keyring.FileKind
	ID        keyring.ID // what the key was made for: the file's id, or that of a change of its key
	Version   uint32     // of the table key that wraps it there
	Wrapped   [keyring.WrappedKeyLen]byte
	Bytes     int64 // of the file, on disk; 0 where another use has told them
	CreatedAt time.Time
}

// Keys gives visit each data key of the files in a directory that Preflight has
// passed. Logs are read, for their keys may have changed; of all else only the
// header. Files may come and go meanwhile: those that are being made are not
// among them; see Writing.
func (fs *FS) Keys(path string, visit func(KeyUse) error) error {
	names, err := fs.List(path)
	if err != nil {
		return err
	}
	d := fs.dir(path)
	for _, n := range names {
		fn := fs.parse(n)
		switch fn.class {
		case classTable, classLog, classManifest, classOptions:
		default:
			continue
		}
		err := fs.fileKeys(d, fs.PathJoin(path, n), n, fn, visit)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (fs *FS) fileKeys(d *dir, name, base string, fn fileName, visit func(KeyUse) error) error {
	fi, err := fs.regular(name)
	if err != nil {
		return err
	}
	var r []wal.KeyUse
	var h *keyring.Header
	switch fn.class {
	case classTable:
		h, err = fs.tableHeader(d, name, fn)
	case classOptions:
		h, err = fs.header(name)
		if f, oerr := fs.openOptions(name, fn); oerr == nil {
			f.Close()
		} else {
			h = nil // Pebble reads the newest, and has; nobody needs others
		}
	default:
		h, r, err = fs.readThrough(d, name, fn)
	}
	if err != nil || h == nil {
		return err
	}
	u := KeyUse{
		Name: base, Kind: fn.kind, ID: h.Identity.FileID, Version: h.KeyVersion, Wrapped: h.WrappedKey,
		Bytes: fi.Size(), CreatedAt: h.Identity.CreatedAt,
	}
	if err := visit(u); err != nil {
		return err
	}
	for _, k := range r {
		u.ID, u.Version, u.Wrapped, u.Bytes = k.ID, k.Version, k.Wrapped, 0
		if err := visit(u); err != nil {
			return err
		}
	}
	return nil
}

// tableHeader reads the header of a table that the file map names; of another, which
// is nobody's, it gives nil.
func (fs *FS) tableHeader(d *dir, name string, fn fileName) (*keyring.Header, error) {
	d.placing.RLock()
	defer d.placing.RUnlock()
	h, err := fs.header(name)
	if err != nil || h == nil {
		return nil, err
	}
	e, ok := d.lookup(fn)
	switch {
	case !ok:
		return nil, nil
	case e.fileID != h.Identity.FileID:
		return nil, corrupt.New(corrupt.ErrForeign, fs.rel(name), 48, "is file %s, the file map names %s", h.Identity.FileID, e.fileID)
	}
	return h, nil
}

// Sealed checks that a table's header is what its writer wrote. It fails with ErrGone
// where Pebble removed the table meanwhile.
func (fs *FS) Sealed(path, base string) error {
	name := fs.PathJoin(path, base)
	d, fn := fs.split(name)
	f, err := fs.openTable(d, name, fn)
	if err != nil {
		return d.orGone(fn, err)
	}
	return f.Close()
}

// orGone is what err means of a table that was in the file map: ErrGone, where it is there
// no more and err says no more than that.
func (d *dir) orGone(fn fileName, err error) error {
	d.placing.Lock() // waits for a removal that has begun
	defer d.placing.Unlock()
	if _, still := d.lookup(fn); !still && (errors.Is(err, os.ErrNotExist) || errors.Is(err, corrupt.ErrMissing) || errors.Is(err, corrupt.ErrForeign)) {
		return ErrGone
	}
	return err
}

// readThrough reads a log for the keys that its frames name. A log that no
// recovery needs may be on its way to another name: what it holds does not
// matter.
func (fs *FS) readThrough(d *dir, name string, fn fileName) (*keyring.Header, []wal.KeyUse, error) {
	o, r, err := fs.openReader(d, name, fn)
	if err == nil {
		defer r.Close()
		for err == nil {
			_, err = r.Next()
		}
		if err == io.EOF {
			return o.header, r.Rekeyed(), nil
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, live := d.live[fs.PathBase(name)]
	_, needed := d.expect[fn.number]
	if fn.class == classManifest {
		needed = fn.number == d.manifest.Number
	}
	if !live && !needed {
		return nil, nil, nil
	}
	return nil, nil, err
}

// header reads a file's header; nil if the file has none yet.
func (fs *FS) header(name string) (*keyring.Header, error) {
	f, err := fs.cfg.Base.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var buf [keyring.HeaderLen]byte
	n, err := f.ReadAt(buf[:], 0)
	if n < len(buf) {
		if err == nil || isEOF(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("read header of %s: %w", fs.rel(name), err)
	}
	h, err := keyring.ParseHeader(buf[:])
	if err != nil {
		return nil, corrupt.At(fs.rel(name), err)
	}
	return h, nil
}

// fileID is what a file's header says of itself: a hint.
func (fs *FS) fileID(name string) (keyring.ID, error) {
	h, err := fs.header(name)
	if err != nil || h == nil {
		return keyring.ID{}, err
	}
	return h.Identity.FileID, nil
}

// Writing tells whether files are being made whose keys a version of the table
// key wraps.
func (fs *FS) Writing(version uint32) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.writing[version] > 0
}

// ErrGone says that a file is no longer the table's.
var ErrGone = errors.New("the file is gone")

// sealChunk is how much is sealed anew in one piece, in bytes.
const sealChunk = 256 << 10

// Reseal writes a table anew under a new data key, in place of the file that has
// its name: the same bytes, and Pebble does not notice. Handles that are open go
// on with the former file, and snapshots keep it. pace, if not nil, is called
// before each piece, with its length in bytes, and while it waits, with 0; its error
// ends the work, and leaves all as it was.
//
// Order of durability: the file, under a hidden name; a note in the MANIFEST that
// it may take the other's place; its name; the note that it has. If we crash
// anywhere, the file map names what is there. It needs a MANIFEST that is open
// for writing. Errors are ErrGone, where Pebble has removed the table meanwhile,
// *Broken, *corrupt.Error where the table does not open, and those of the file
// system and of pace, after which all is as it was.
func (fs *FS) Reseal(path, base string, pace func(bytes int) error) error {
	name := fs.PathJoin(path, base)
	d, fn := fs.split(name)
	if fn.class != classTable {
		return fs.unknown("seal again", name)
	}
	before, ok := d.lookup(fn)
	if !ok {
		return ErrGone
	}
	hidden := fs.PathJoin(path, pendingPrefix+base)
	id, key, err := fs.newIdentity(fn)
	if err != nil {
		return err
	}
	defer fs.written(key.Version)
	defer key.Key.Wipe()
	after, err := fs.sealAgain(d, name, hidden, fn, id, key, pace)
	if err == nil {
		err = fs.replace(d, before, after, hidden, name, pace)
	}
	if err == nil {
		return nil
	}
	if rerr := fs.cfg.Base.Remove(hidden); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return d.orGone(fn, err)
}

// sealAgain copies a table into a new file, durably.
func (fs *FS) sealAgain(d *dir, name, hidden string, fn fileName, id keyring.Identity, key *keyring.DataKey, pace func(int) error) (e fileEntry, err error) {
	src, err := fs.openTable(d, name, fn, vfs.SequentialReadsOption)
	if err != nil {
		return e, err
	}
	defer src.Close()
	f, err := fs.cfg.Base.Create(hidden, vfs.WriteCategoryUnspecified)
	if err != nil {
		return e, err
	}
	w, err := sstable.NewWriter(dataSync{f}, id, key, fs.tableOptions(name))
	if err != nil {
		return e, errors.Join(err, f.Close())
	}
	buf := make([]byte, sealChunk)
	defer clear(buf)
	for err == nil {
		var n int
		n, err = src.Read(buf)
		if n == 0 {
			continue
		}
		var perr error
		if pace != nil {
			perr = pace(n)
		}
		if perr == nil {
			_, perr = w.Write(buf[:n])
		}
		if perr != nil {
			err = perr
		}
	}
	if !errors.Is(err, io.EOF) {
		return e, errors.Join(err, w.Abort())
	}
	if err := w.Sync(); err != nil {
		return e, errors.Join(err, w.Abort())
	}
	e = fileEntry{fileKey: fileKey{fn.number, fn.kind}, fileID: id.FileID, length: uint64(w.Size())}
	return e, w.Close()
}

// replace gives a file that was sealed anew the name of the one before it.
func (fs *FS) replace(d *dir, before, after fileEntry, hidden, name string, pace func(int) error) error {
	if after.length != before.length {
		return corrupt.New(corrupt.ErrMissing, fs.rel(name), -1, "holds %d bytes, the file map says %d", after.length, before.length)
	}
	k := after.fileKey
	d.mu.Lock()
	d.replacing[k] = after
	d.mu.Unlock()
	if err := d.announce(pace); err != nil {
		var b *Broken
		if !errors.As(err, &b) {
			d.replaced(k)
		}
		return err
	}
	d.placing.Lock()
	defer d.placing.Unlock()
	if now, ok := d.lookup(fileName{classTable, k.kind, k.number}); !ok || now != before {
		d.replaced(k)
		return ErrGone
	}
	if err := fs.cfg.Base.Rename(hidden, name); err != nil {
		return &Broken{err}
	}
	// It may be either until the directory is synced; then no MANIFEST need name
	// the former one.
	if err := fs.syncDir(d.path); err != nil {
		return &Broken{err}
	}
	d.finish(after)
	d.replaced(k)
	return nil
}

// announce has the MANIFEST that is in force say what may be replaced. While Pebble
// begins another there is none: a crash could leave either, and the former is closed.
// So it waits, which takes milliseconds.
func (d *dir) announce(pace func(int) error) error {
	for {
		m, open := d.inForce()
		if !open {
			return fmt.Errorf("no MANIFEST of %s is open for writing", d.path)
		}
		if m != nil {
			err := m.attest()
			if !errors.Is(err, os.ErrClosed) {
				if err != nil {
					err = &Broken{err}
				}
				return err
			}
		}
		if pace != nil {
			if err := pace(0); err != nil {
				return err
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// inForce is the one MANIFEST that is open for writing, if its marker is durable, or
// nil. One that begins from now on has what stands in each note. open is false where
// none is open at all.
func (d *dir) inForce() (f *logFile, open bool) {
	fs := d.writers(classManifest)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(fs) != 1 || d.named.FileID != fs[0].w.Identity().FileID {
		return nil, len(fs) > 0
	}
	return fs[0], true
}

// replaced ends what a note has announced.
func (d *dir) replaced(k fileKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.replacing, k)
}

// A Broken error leaves it open what is on the disk: the instance cannot go on,
// and the next opening will find out.
type Broken struct{ error }

// Unwrap gives the cause.
func (b *Broken) Unwrap() error { return b.error }
