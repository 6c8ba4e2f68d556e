package sealfs

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/wal"
)

// logFile is a log or MANIFEST being written.
type logFile struct {
	vfs.File // the sealed file
	w        *wal.Writer
	d        *dir
	base     string
	name     fileName
	past     wal.Past
	placed   bool // its name is durable; guarded by d.mu

	noting sync.Mutex // of a MANIFEST: a note is taken and written by one at a time
	wrote  bool       // its first frame, with the whole map, is written; guarded by noting
}

// read tells whether somebody reads the ciphertext of a log.
func (d *dir) read(fs *FS, fn fileName) bool {
	d.mu.Lock()
	id := d.logs[fn.number].FileID
	d.mu.Unlock()
	return fs.reading(id, 0) > 0
}

func (f *logFile) segment(frames uint64) wal.Segment {
	id := f.w.Identity()
	return wal.Segment{Number: id.Number, FileID: id.FileID, Frames: frames}
}

func (fs *FS) walOptions(name string) wal.Options {
	return wal.Options{Suite: fs.cfg.Suite, Path: fs.rel(name)}
}

// createLog makes a log or MANIFEST: header and frame 0 are synced under a
// hidden name before the file gets its own. If we crash here, a hidden file is
// left, which the next open removes.
func (fs *FS) createLog(d *dir, name string, fn fileName, category vfs.DiskWriteCategory) (vfs.File, error) {
	hidden := fs.PathJoin(fs.PathDir(name), pendingPrefix+fs.PathBase(name))
	f, err := fs.cfg.Base.Create(hidden, category)
	if err != nil {
		return nil, err
	}
	return fs.startLog(d, f, hidden, name, fn)
}

// ReuseForWrite recycles a log: it is re-keyed under its old name, synced, and
// renamed. If we crash between, the old name holds a file of another number;
// Pebble recycles only logs that its MANIFEST no longer needs, so nobody opens
// it. What lies behind the new frames is sealed under a key that is gone.
//
// A log that is to be archived, or whose ciphertext somebody reads, is left alone, and
// the new one gets a file of its own, which syncs more slowly: so one that the archive
// has is used again.
func (fs *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	d, ofn := fs.split(oldname)
	nd, fn := fs.split(newname)
	if ofn.class != classLog || fn.class != classLog || d != nd {
		return nil, fs.unknown("recycle", oldname)
	}
	from := oldname
	switch a := fs.archiveOf(d); {
	case a != nil && a.spare(ofn) && !d.read(fs, ofn):
		hidden, err := fs.hide(d, oldname, newname)
		if err != nil {
			return nil, err
		}
		from = hidden
		a.reused(ofn)
	case a != nil, d.read(fs, ofn):
		if err := fs.Remove(oldname); err != nil {
			return nil, err
		}
		return fs.createLog(d, newname, fn, category)
	}
	if _, err := fs.regular(from); err != nil {
		return nil, err
	}
	f, err := fs.cfg.Base.OpenReadWrite(from, category)
	if err != nil {
		return nil, err
	}
	d.removed(ofn)
	return fs.startLog(d, f, from, newname, fn)
}

// hide takes a log's name away, durably, before the log's file is used again: so what
// a log's name stands for is never anything but that log, and the archive need not
// guess. If we crash from here on, a hidden file is left, which the next open removes.
func (fs *FS) hide(d *dir, oldname, newname string) (hidden string, err error) {
	if _, err := fs.regular(oldname); err != nil {
		return "", err
	}
	hidden = fs.PathJoin(fs.PathDir(newname), pendingPrefix+fs.PathBase(newname))
	if err := fs.cfg.Base.Rename(oldname, hidden); err != nil {
		return "", err
	}
	return hidden, fs.syncDir(d.path)
}

func (fs *FS) startLog(d *dir, f vfs.File, from, name string, fn fileName) (vfs.File, error) {
	changes := fs.keyChanges.Load()
	id, key, err := fs.newIdentity(fn)
	if err != nil {
		f.Close()
		return nil, err
	}
	defer fs.written(key.Version) // it is among the live ones by then
	defer key.Key.Wipe()
	past := d.past()
	w, err := wal.NewWriter(f, id, key, past, fs.walOptions(name))
	if err == nil {
		err = w.Sync()
	}
	if err == nil {
		err = fs.cfg.Base.Rename(from, name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	l := &logFile{File: f, w: w, d: d, base: fs.PathBase(name), name: fn, past: past}
	d.enter(l)
	if fs.keyChanges.Load() != changes {
		// Rekey may have come between key and list, and missed it.
		if err := fs.changeKey(l); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// enter puts a log or MANIFEST among those that are open for writing.
func (d *dir) enter(l *logFile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live[l.base] = l
	d.ends(l.name.class)[l.name.number] = End{Segment: l.segment(0)}
	if l.name.class == classManifest {
		d.manifest = l.segment(l.w.Frames())
	}
}

func (f *logFile) Write(p []byte) (int, error) {
	if f.name.class == classLog || len(p) == 0 {
		return f.w.Write(p)
	}
	f.noting.Lock()
	defer f.noting.Unlock()
	whole := !f.wrote
	f.wrote = true
	return f.w.WriteNote(f.d.takeNote(whole), p)
}

// attest writes and syncs a note of a MANIFEST's by itself: how far the log is, and
// what may be replaced. Entries wait for a frame of Pebble's, which is the only one to
// know in which MANIFEST they belong.
func (f *logFile) attest() error {
	f.noting.Lock()
	defer f.noting.Unlock()
	if _, err := f.w.WriteNote(f.d.standing(), nil); err != nil {
		return err
	}
	return f.w.SyncData()
}

func (f *logFile) Sync() error     { return f.w.Sync() }
func (f *logFile) SyncData() error { return f.w.SyncData() }

// SyncTo is a hint about a prefix; sealed positions lie behind plain ones.
func (f *logFile) SyncTo(int64) (bool, error) {
	_, physical := f.w.Committed()
	_, err := f.File.SyncTo(physical)
	return false, err
}

func (f *logFile) Close() error {
	err := f.w.Close()
	f.retire()
	return err
}

// Abort closes the file as it is.
func (f *logFile) Abort() error {
	f.retire()
	return f.File.Close()
}

// WritesManifest tells whether the MANIFEST of a directory is open for
// writing. Pebble opens without writing one where a crash left no log to
// replay; then its Checkpoint copies nothing of the old one.
func (fs *FS) WritesManifest(path string) bool {
	d := fs.dir(path)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.live {
		if f.name.class == classManifest {
			return true
		}
	}
	return false
}

// retire notes how the file ended: what follows it names it so.
func (f *logFile) retire() {
	d := f.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live[f.base] != f {
		return
	}
	delete(d.live, f.base)
	frames, size := f.w.Committed()
	s := f.segment(frames)
	if ends := d.ends(f.name.class); ends[s.Number].FileID == s.FileID {
		ends[s.Number] = End{s, size}
	}
	if f.name.class == classLog {
		d.previous = s
		e := f.w.Synced()
		l := f.logSegment(e)
		l.Closed = e.Frames == frames
		d.closed[s.FileID] = l
		return
	}
	if d.manifest.FileID == s.FileID {
		d.manifest = s
	}
	if d.named.FileID == s.FileID {
		d.named.Frames = f.w.Durable()
	}
}

func (f *logFile) Fd() uintptr { return validFd(f.File) }

func (f *logFile) Stat() (vfs.FileInfo, error) { return f.File.Stat() }

// logReader is a log or MANIFEST open for reading.
type logReader struct {
	vfs.File
	r *wal.Reader
	d *dir
	n fileName
}

// openReader opens the frames of a log, with all that is known of it.
func (fs *FS) openReader(d *dir, name string, fn fileName, opts ...vfs.OpenOption) (*opened, *wal.Reader, error) {
	o, err := fs.open(name, fn, opts...)
	if err != nil {
		return nil, nil, err
	}
	defer o.key.Wipe()
	ro := wal.ReaderOptions{Options: fs.walOptions(name), Key: fs.cfg.Keys.DataKey}
	d.mu.Lock()
	if l := d.live[fs.PathBase(name)]; l != nil {
		_, ro.Limit = l.w.Committed()
	} else {
		e := d.expect[fn.number]
		if fn.class == classManifest {
			e = d.expectM[fn.number]
		}
		if !e.fileID.IsZero() && e.fileID != o.header.Identity.FileID {
			err = corrupt.New(corrupt.ErrForeign, fs.rel(name), 48, "is file %s, other files name %s", o.header.Identity.FileID, e.fileID)
		}
		ro.Attested, ro.Final = e.attested, e.final
	}
	d.mu.Unlock()
	var r *wal.Reader
	if err == nil {
		r, err = wal.NewReader(o.file, o.size, o.header, o.key, ro)
	}
	if err != nil {
		o.file.Close()
		return nil, nil, err
	}
	return o, r, nil
}

func (fs *FS) openLog(d *dir, name string, fn fileName, opts ...vfs.OpenOption) (vfs.File, error) {
	o, r, err := fs.openReader(d, name, fn, opts...)
	if err != nil {
		return nil, err
	}
	return &logReader{File: o.file, r: r, d: d, n: fn}, nil
}

func (f *logReader) Read(p []byte) (int, error) { return f.r.Read(p) }

func (f *logReader) ReadAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }

func (f *logReader) Close() error { return f.r.Close() }

func (f *logReader) Fd() uintptr { return validFd(f.File) }

// The OPTIONS file is written once and read whole. Its last frame carries an
// end mark: without it the file was cut.
var endMark = []byte("end")

type optionsWriter struct {
	*logFile
	done func() // it is written, or given up
}

func (fs *FS) createOptions(d *dir, name string, fn fileName, category vfs.DiskWriteCategory) (vfs.File, error) {
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
	w, err := wal.NewWriter(f, id, key, wal.Past{FormatVersion: keyring.FormatVersion}, fs.walOptions(name))
	if err != nil {
		fs.written(key.Version)
		f.Close()
		return nil, err
	}
	done := sync.OnceFunc(func() { fs.written(key.Version) })
	return optionsWriter{&logFile{File: f, w: w, d: d, base: fs.PathBase(name), name: fn}, done}, nil
}

func (f optionsWriter) Write(p []byte) (int, error) { return f.w.Write(p) }

func (f optionsWriter) Sync() error {
	if _, err := f.w.WriteNote(endMark, nil); err != nil {
		return err
	}
	return f.w.Sync()
}

func (f optionsWriter) SyncData() error { return f.Sync() }
func (f optionsWriter) Close() error {
	defer f.done()
	return f.w.Close()
}

func (f optionsWriter) Abort() error {
	defer f.done()
	return f.File.Close()
}

// optionsReader serves an OPTIONS file that was read and checked whole.
type optionsReader struct {
	vfs.File
	bytes.Reader
}

// maxOptions bounds an OPTIONS file, in bytes; Pebble's are about 5 KB.
const maxOptions = 1 << 20

func (fs *FS) openOptions(name string, fn fileName) (vfs.File, error) {
	o, err := fs.open(name, fn)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (vfs.File, error) {
		o.file.Close()
		return nil, err
	}
	defer o.key.Wipe()
	if o.size > maxOptions {
		return fail(corrupt.New(corrupt.ErrFormat, fs.rel(name), -1, "%d bytes are too many for OPTIONS", o.size))
	}
	r, err := wal.NewReader(o.file, o.size, o.header, o.key, wal.ReaderOptions{Options: fs.walOptions(name)})
	if err != nil {
		return fail(err)
	}
	var text []byte
	ended := false
	for {
		fr, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fail(err)
		}
		text = append(text, fr.Data...)
		ended = bytes.Equal(fr.Note, endMark)
	}
	if !ended {
		end, _, _ := r.End()
		return fail(corrupt.New(corrupt.ErrMissing, fs.rel(name), end, "from here on nothing opens, and the end mark is not there"))
	}
	f := &optionsReader{File: o.file}
	f.Reader.Reset(text)
	return f, nil
}

func (f *optionsReader) Read(p []byte) (int, error)              { return f.Reader.Read(p) }
func (f *optionsReader) ReadAt(p []byte, off int64) (int, error) { return f.Reader.ReadAt(p, off) }
func (f *optionsReader) WriteTo(w io.Writer) (int64, error)      { return f.Reader.WriteTo(w) }
func (f *optionsReader) Fd() uintptr                             { return validFd(f.File) }

// parseFormat reads the value of the format-version marker: Pebble's format
// major version in decimal.
func parseFormat(value string) uint64 {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
