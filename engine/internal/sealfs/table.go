package sealfs

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/sstable"
)

// tableWriter is a table being written.
type tableWriter struct {
	vfs.File // the sealed file
	w        *sstable.Writer
	d        *dir
	name     fileName
	done     func()    // it is written, or given up
	entered  sync.Once // into the map: by the time of the second call another may have its place
}

func (fs *FS) tableOptions(name string) sstable.Options {
	return sstable.Options{UnitSize: fs.cfg.UnitSize, Suite: fs.cfg.Suite, Path: fs.rel(name)}
}

// createTable makes a table. Nothing of it is on disk before its first chunk;
// a crash until it is synced leaves a file that no version edit names, which
// Pebble removes at the next open.
func (fs *FS) createTable(d *dir, name string, fn fileName, category vfs.DiskWriteCategory) (vfs.File, error) {
	id, key, err := fs.newIdentity(fn)
	if err != nil {
		return nil, err
	}
	defer key.Key.Wipe()
	f, err := fs.cfg.Base.Create(name, category)
	if err != nil {
		fs.written(key.Version)
		return nil, err
	}
	w, err := sstable.NewWriter(dataSync{f}, id, key, fs.tableOptions(name))
	if err != nil {
		fs.written(key.Version)
		f.Close()
		return nil, err
	}
	done := sync.OnceFunc(func() { fs.written(key.Version) })
	return &tableWriter{File: f, w: w, d: d, name: fn, done: done}, nil
}

// dataSync syncs a file's data and size; its times need not be durable.
type dataSync struct{ vfs.File }

func (f dataSync) Sync() error { return f.File.SyncData() }

func (t *tableWriter) Write(p []byte) (int, error) { return t.w.Write(p) }

func (t *tableWriter) Sync() error {
	if err := t.w.Sync(); err != nil {
		return err
	}
	t.finish()
	return nil
}

func (t *tableWriter) SyncData() error { return t.Sync() }

// SyncTo is a hint about a prefix. What lies in our buffer is not part of it.
// Pebble stays well behind what it writes, for the system waits for what is on
// its way to the disk already; so the prefix is translated, never lengthened.
func (t *tableWriter) SyncTo(length int64) (bool, error) {
	physical := sstable.PhysicalSize(length, t.w.Identity().UnitSize)
	_, err := t.File.SyncTo(min(physical, t.w.PhysicalSize()))
	return false, err
}

func (t *tableWriter) Close() error {
	defer t.done()
	if err := t.w.Close(); err != nil {
		return err
	}
	t.finish()
	return nil
}

// Abort closes the file, leaves it unfinished, and forgets its key.
func (t *tableWriter) Abort() error {
	defer t.done()
	return t.w.Abort()
}

func (t *tableWriter) finish() {
	t.entered.Do(func() {
		t.d.finish(fileEntry{
			fileKey: fileKey{t.name.number, t.name.kind},
			fileID:  t.w.Identity().FileID,
			length:  uint64(t.w.Size()),
		})
	})
}

func (t *tableWriter) Stat() (vfs.FileInfo, error) {
	fi, err := t.File.Stat()
	if err != nil {
		return nil, err
	}
	return sized{fi, t.w.Size()}, nil
}

func (t *tableWriter) Fd() uintptr { return validFd(t.File) }

// validFd hides that a file has no descriptor: Pebble would take that for a
// file that must be synced whole now and then, and a table cannot go on after
// its last segment is written.
func validFd(f vfs.File) uintptr {
	if fd := f.Fd(); fd != vfs.InvalidFd {
		return fd
	}
	return 0
}

// tableReader is a table open for reading.
type tableReader struct {
	vfs.File
	r   *sstable.Reader
	seq *sstable.Sequential // of a handle opened for sequential reads

	walks    *walks
	from, to atomic.Int64 // of the last ReadAt; readers beside each other mix them up

	mu  sync.Mutex
	pos int64 // of Read; guarded by mu
}

func (fs *FS) openTable(d *dir, name string, fn fileName, opts ...vfs.OpenOption) (vfs.File, error) {
	d.placing.RLock() // the file and what the map says of it change together
	defer d.placing.RUnlock()
	o, err := fs.open(name, fn, opts...)
	if errors.Is(err, os.ErrNotExist) {
		if _, named := d.lookup(fn); named {
			// Not as "not exist": Pebble would call that corruption in words of
			// its own, and of a missing blob it cannot without a panic.
			err = corrupt.New(corrupt.ErrMissing, fs.rel(name), -1, "the file map names it")
		}
	}
	if err != nil {
		return nil, err
	}
	defer o.key.Wipe()
	r, err := sstable.NewReader(o.file, o.size, o.header, o.key, fs.tableOptions(name))
	if err == nil {
		err = fs.checkMap(d, name, fn, o.header.Identity.FileID, r.Size())
	}
	if err != nil {
		o.file.Close()
		return nil, err
	}
	t := &tableReader{File: o.file, r: r, walks: &fs.walks}
	t.to.Store(-1)
	for _, opt := range opts {
		if opt == vfs.SequentialReadsOption {
			t.seq = r.NewSequential()
		}
	}
	return t, nil
}

// checkMap demands that a table is the one that the file map names.
func (fs *FS) checkMap(d *dir, name string, fn fileName, id keyring.ID, size int64) error {
	e, ok := d.lookup(fn)
	switch {
	case !ok:
		return corrupt.New(corrupt.ErrForeign, fs.rel(name), -1, "the file map does not name it")
	case e.fileID != id:
		return corrupt.New(corrupt.ErrForeign, fs.rel(name), 48, "is file %s, the file map names %s", id, e.fileID)
	case int64(e.length) != size:
		return corrupt.New(corrupt.ErrMissing, fs.rel(name), -1, "holds %d bytes, the file map says %d", size, e.length)
	}
	return nil
}

// tableSize is a table's plaintext size. For a file that the map names, the
// map's word is checked against the size on disk; others are leftovers that
// Pebble will remove.
func (fs *FS) tableSize(d *dir, name string, fn fileName, physical int64) (int64, error) {
	unit := fs.cfg.UnitSize
	if unit == 0 {
		unit = sstable.DefaultUnitSize
	}
	e, ok := d.lookup(fn)
	// Nearly all files have the unit size of new ones. Then the header need
	// not be read: opening a table asks for the size of each of its files.
	if ok && physical == sstable.PhysicalSize(int64(e.length), unit) {
		return int64(e.length), nil
	}
	f, err := fs.cfg.Base.Open(name)
	if err != nil {
		return 0, err
	}
	var buf [keyring.HeaderLen]byte
	n, err := f.ReadAt(buf[:], 0)
	f.Close()
	if err != nil && !isEOF(err) {
		return 0, err // the disk's failure: it tells nothing of the file
	}
	if n == len(buf) {
		if h, err := keyring.ParseHeader(buf[:]); err == nil && h.Identity.UnitSize != 0 {
			unit = h.Identity.UnitSize
		}
	}
	size, err := sstable.PlainSize(physical, unit)
	if !ok {
		if err != nil {
			return physical, nil
		}
		return size, nil
	}
	if err != nil || size != int64(e.length) {
		return 0, corrupt.New(corrupt.ErrMissing, fs.rel(name), physical,
			"%d bytes on disk do not hold the %d that the file map says", physical, e.length)
	}
	return size, nil
}

func (t *tableReader) ReadAt(p []byte, off int64) (int, error) {
	if t.seq != nil {
		return t.seq.ReadAt(p, off)
	}
	end := off + int64(len(p))
	from, to := t.from.Swap(off), t.to.Swap(end)
	if end == from || off == to {
		if n, err, ok := t.walks.readAt(t, p, off, from, to); ok {
			return n, err
		}
	}
	return t.r.ReadAt(p, off)
}

func (t *tableReader) Read(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.ReadAt(p, t.pos)
	t.pos += int64(n)
	if n > 0 && isEOF(err) {
		err = nil
	}
	return n, err
}

func (t *tableReader) Stat() (vfs.FileInfo, error) {
	fi, err := t.File.Stat()
	if err != nil {
		return nil, err
	}
	return sized{fi, t.r.Size()}, nil
}

// Prefetch asks for the segments that cover the range.
func (t *tableReader) Prefetch(offset, length int64) error {
	unit := t.r.Identity().UnitSize
	from := sstable.PhysicalSize(offset, unit) - int64(unit)
	to := sstable.PhysicalSize(offset+length, unit)
	return t.File.Prefetch(max(from, 0), to-max(from, 0))
}

func (t *tableReader) Close() error {
	if t.seq != nil {
		_ = t.seq.Close() // waits for what it has begun to read, and gives its memory back
	}
	t.walks.end(t)
	return t.r.Close()
}

func (t *tableReader) Fd() uintptr { return validFd(t.File) }
