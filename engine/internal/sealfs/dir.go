package sealfs

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/wal"
)

// A fileKey names a table within its directory.
type fileKey struct {
	number uint64
	kind   keyring.FileKind
}

// A fileEntry is a line of the file map: which file a number stands for.
type fileEntry struct {
	fileKey
	fileID keyring.ID
	length uint64 // plaintext bytes
}

// An expectation is what other files say of a log.
type expectation struct {
	fileID   keyring.ID
	attested uint64 // at least so many frames
	final    uint64 // exactly so many frames; 0: unknown
}

// dir is the state of one directory: what its files are and how they hang
// together.
type dir struct {
	path string

	// placing is held for writing while a table's file is replaced by one that is
	// sealed anew; for reading by those to whom file and map must agree. It is
	// taken before mu.
	placing sync.RWMutex

	// moving is held for writing while a log leaves for another directory, for reading
	// while this one is synced, and by who looks for a log. It is taken before mu.
	moving sync.RWMutex

	mu      sync.Mutex // guards all below
	files   map[fileKey]fileEntry
	pending []fileEntry // finished since the last MANIFEST frame
	gone    []fileKey   // removed since then
	// replacing are files that may take the place of those in the map: a note has
	// said so, or will.
	replacing map[fileKey]fileEntry
	markers   map[string]marker
	// moved is the MANIFEST of a marker whose directory entry is not synced
	// yet, named the last whose marker is: the one that logs may name.
	moved *wal.Segment
	named wal.Segment
	// logs are the .log files here: those that are open for writing, those
	// closed in this session, those that Preflight met.
	logs      map[uint64]End
	closed    map[keyring.ID]*LogSegment // those of them whose frames were counted
	manifests map[uint64]End
	manifest  wal.Segment            // of the MANIFEST last written or read
	floor     wal.Segment            // the MANIFEST that was once in force
	previous  wal.Segment            // the log that the next one follows
	live      map[string]*logFile    // by base name
	expect    map[uint64]expectation // of logs, by number
	expectM   map[uint64]expectation // of MANIFESTs, by number
	// handle is the one descriptor that all of Pebble's handles on this
	// directory share; refs counts them.
	handle vfs.File
	refs   int
}

func newDir(path string) *dir {
	return &dir{
		path:      path,
		files:     make(map[fileKey]fileEntry),
		replacing: make(map[fileKey]fileEntry),
		markers:   make(map[string]marker),
		logs:      make(map[uint64]End),
		closed:    make(map[keyring.ID]*LogSegment),
		manifests: make(map[uint64]End),
		live:      make(map[string]*logFile),
		expect:    make(map[uint64]expectation),
		expectM:   make(map[uint64]expectation),
	}
}

func (d *dir) lookup(fn fileName) (fileEntry, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.files[fileKey{fn.number, fn.kind}]
	return e, ok
}

// finish enters a complete table into the map and queues it for the next
// frame of the MANIFEST.
func (d *dir) finish(e fileEntry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[e.fileKey] == e {
		return
	}
	d.files[e.fileKey] = e
	d.pending = append(d.pending, e)
}

// removed forgets a file that is gone.
func (d *dir) removed(fn fileName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch fn.class {
	case classTable:
		d.forget(fileKey{fn.number, fn.kind})
	case classLog, classManifest:
		ends := d.ends(fn.class)
		delete(d.closed, ends[fn.number].FileID)
		delete(ends, fn.number)
	}
}

// forget takes a table out of the map; d.mu is held.
func (d *dir) forget(k fileKey) {
	if _, ok := d.files[k]; ok {
		delete(d.files, k)
		d.gone = append(d.gone, k)
	}
}

// Prune takes tables out of the map that are not in the directory: those that
// Pebble removed after its last write to the MANIFEST. It is for directories
// that Pebble has opened, which it does only if what it needs is there. What
// cannot be listed, stays.
func (fs *FS) Prune(path string) {
	d := fs.dir(path)
	d.mu.Lock()
	known := slices.Collect(maps.Keys(d.files)) // before the listing: later ones may not be in it
	d.mu.Unlock()
	names, err := fs.cfg.Base.List(path)
	if err != nil {
		return
	}
	there := make(map[fileKey]bool, len(names))
	for _, n := range names {
		fn := fs.parse(n)
		there[fileKey{fn.number, fn.kind}] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range known {
		if !there[k] {
			d.forget(k)
		}
	}
}

// ends are the logs or MANIFESTs of the directory; d.mu is held.
func (d *dir) ends(c class) map[uint64]End {
	if c == classManifest {
		return d.manifests
	}
	return d.logs
}

// A note rides on every frame of a MANIFEST:
//
//	flags (1)   bit 0: the entries are the whole map; bit 1: some are gone;
//	            bit 2: some may be replaced
//	count (4)   then count × { number (8) kind (1) file id (16) length (8) }
//	log (32)    number (8) file id (16) durable frames (8) of the current log
//	count (4)   if bit 1 is set; then count × { number (8) kind (1) }: removed,
//	            after the entries have been added
//	count (4)   if bit 2 is set; then count × { number (8) kind (1) file id (16)
//	            length (8) }: what may have taken the place of a file of the map,
//	            until a later entry of that number
type note struct {
	whole     bool
	entries   []fileEntry
	log       wal.Segment
	gone      []fileKey
	replacing []fileEntry
}

const (
	noteEntryLen = 8 + 1 + 16 + 8
	noteGoneLen  = 8 + 1
	noteWhole    = 1
	noteGone     = 2
	noteReplaced = 4
)

func (n *note) encode() []byte {
	w := codec.Writer{B: make([]byte, 0, 5+len(n.entries)*noteEntryLen+32)}
	var flags uint8
	if n.whole {
		flags |= noteWhole
	}
	if len(n.gone) > 0 {
		flags |= noteGone
	}
	if len(n.replacing) > 0 {
		flags |= noteReplaced
	}
	w.U8(flags)
	putEntries(&w, n.entries)
	w.U64(n.log.Number)
	w.Raw(n.log.FileID[:])
	w.U64(n.log.Frames)
	if len(n.gone) > 0 {
		w.U32(uint32(len(n.gone)))
		for _, k := range n.gone {
			w.U64(k.number)
			w.U8(uint8(k.kind))
		}
	}
	if len(n.replacing) > 0 {
		putEntries(&w, n.replacing)
	}
	return w.B
}

func putEntries(w *codec.Writer, entries []fileEntry) {
	w.U32(uint32(len(entries)))
	for _, e := range entries {
		w.U64(e.number)
		w.U8(uint8(e.kind))
		w.Raw(e.fileID[:])
		w.U64(e.length)
	}
}

func readEntries(r *codec.Reader, most int) []fileEntry {
	entries := make([]fileEntry, r.Count(most, noteEntryLen))
	for i := range entries {
		e := &entries[i]
		e.number = r.U64()
		e.kind = keyring.FileKind(r.U8())
		r.Fill(e.fileID[:])
		e.length = r.U64()
	}
	return entries
}

func decodeNote(b []byte) (note, error) {
	var n note
	r := codec.NewReader(b)
	flags := r.U8()
	n.whole = flags&noteWhole != 0
	n.entries = readEntries(r, len(b))
	n.log.Number = r.U64()
	r.Fill(n.log.FileID[:])
	n.log.Frames = r.U64()
	if flags&noteGone != 0 {
		n.gone = make([]fileKey, r.Count(len(b), noteGoneLen))
		for i := range n.gone {
			n.gone[i].number = r.U64()
			n.gone[i].kind = keyring.FileKind(r.U8())
		}
	}
	if flags&noteReplaced != 0 {
		n.replacing = readEntries(r, len(b))
	}
	if flags&^(noteWhole|noteGone|noteReplaced) != 0 {
		return n, errors.New("unknown flags")
	}
	return n, r.Done()
}

// takeNote builds the note of a MANIFEST's next frame.
func (d *dir) takeNote(whole bool) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := note{whole: whole, entries: d.pending, gone: d.gone}
	d.pending, d.gone = nil, nil
	if whole {
		n.gone = nil
		n.entries = sortedEntries(d.files)
	}
	return d.stand(n)
}

// standing is a note that takes nothing away from the next.
func (d *dir) standing() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stand(note{})
}

// stand adds to a note what stands in each; d.mu is held.
func (d *dir) stand(n note) []byte {
	// Again and again, for a MANIFEST may begin at any moment.
	n.replacing = sortedEntries(d.replacing)
	// The current log is the live one. Frames 0 was synced before the log had
	// its name; only what came later says that the name is durable too.
	for _, f := range d.live {
		if f.name.class == classLog {
			if s := f.segment(f.w.Durable()); s.Frames > 1 && s.Number > n.log.Number {
				n.log = s
			}
		}
	}
	return n.encode()
}

func sortedEntries(m map[fileKey]fileEntry) []fileEntry {
	entries := slices.AppendSeq(make([]fileEntry, 0, len(m)), maps.Values(m))
	slices.SortFunc(entries, func(a, b fileEntry) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.kind, b.kind))
	})
	return entries
}

// past is frame 0 of a new log or MANIFEST.
func (d *dir) past() wal.Past {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := wal.Past{FormatVersion: keyring.FormatVersion, Previous: d.previous, Manifest: d.named}
	for _, f := range d.live {
		if f.name.class == classManifest && f.w.Identity().FileID == d.named.FileID {
			p.Manifest.Frames = f.w.Durable()
		}
	}
	if m, ok := d.markers[markerFormat]; ok {
		p.PebbleFormat = parseFormat(m.value)
	}
	return p
}

// unsynced is what a sync begun now makes durable: the MANIFEST of a marker, and the
// names of logs.
func (d *dir) unsynced() (m *wal.Segment, logs []*logFile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.live {
		if f.name.class == classLog && !f.placed {
			logs = append(logs, f)
		}
	}
	return d.moved, logs
}

// synced notes that the directory's entries are durable which were there when
// unsynced gave m and logs. A marker that was made since may not be.
func (d *dir) synced(m *wal.Segment, logs []*logFile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range logs {
		f.placed = true
	}
	if m != nil && d.moved == m {
		d.named = *m
		d.moved = nil
	}
}

// OpenDir shares one descriptor among all handles on a directory.
func (fs *FS) OpenDir(name string) (vfs.File, error) {
	d := fs.dir(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.handle == nil {
		f, err := fs.cfg.Base.OpenDir(name)
		if err != nil {
			return nil, err
		}
		d.handle = f
	}
	d.refs++
	return &dirFile{File: d.handle, fs: fs, d: d}, nil
}

type dirFile struct {
	vfs.File
	fs     *FS
	d      *dir
	closed bool // by its one owner
}

func (f *dirFile) Sync() error {
	logs, err := f.sync()
	if a := f.fs.archiveOf(f.d); err == nil && a != nil && len(logs) > 0 {
		return a.takeLeft()
	}
	return err
}

// sync returns the logs whose names it has made durable.
func (f *dirFile) sync() ([]*logFile, error) {
	f.d.moving.RLock()
	defer f.d.moving.RUnlock()
	m, logs := f.d.unsynced()
	if err := f.File.Sync(); err != nil {
		return nil, err
	}
	f.d.synced(m, logs)
	return logs, nil
}

func (f *dirFile) SyncData() error { return f.Sync() }

func (f *dirFile) Close() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	if f.d.refs--; f.d.refs > 0 {
		return nil
	}
	h := f.d.handle
	f.d.handle = nil
	return h.Close()
}

// syncDir makes a directory's entries durable.
func (fs *FS) syncDir(path string) error {
	h, err := fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(h.Sync(), h.Close())
}

// createMarker makes an empty file whose name is its content. The directory is
// synced first: Pebble moves the marker before the directory entry of the
// MANIFEST it names is durable, and a crash between would keep the one and
// lose the other.
func (fs *FS) createMarker(d *dir, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	base := fs.PathBase(name)
	m, ok := parseMarker(base)
	if !ok {
		return nil, fs.unknown("create", name)
	}
	if err := fs.syncDir(d.path); err != nil {
		return nil, err
	}
	f, err := fs.cfg.Base.Create(name, category)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.markers[m.name] = m
	if fn := fs.parse(m.value); m.name == markerManifest && fn.class == classManifest && fn.number == d.manifest.Number {
		s := d.manifest
		d.moved = &s
	}
	d.mu.Unlock()
	return emptyFile{f}, nil
}

// emptyFile refuses content: nothing may be written in the clear.
type emptyFile struct{ vfs.File }

var errEmpty = errors.New("a marker is empty by design")

func (emptyFile) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return 0, errEmpty
}
func (emptyFile) WriteAt([]byte, int64) (int, error) { return 0, errEmpty }

func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
