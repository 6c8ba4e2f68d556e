package sealfs

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/wal"
)

// Preflight reads what binds a directory's files together and checks it,
// before Pebble opens the directory (Pebble writes at once). It loads the file
// map, and what it learns of each log is enforced when Pebble reads that log.
//
// With a seal, the directory was closed cleanly and must match it exactly.
// Without, it crashed, and what one file says of another must hold.
//
// Unless readOnly, it removes files that a crash left without a name, and
// syncs what recovery will build on: after a kill (as opposed to a power cut)
// the names and the tails of files may be in the page cache only, the next log
// will name their length, and the caller may record which MANIFEST is in force.
func (fs *FS) Preflight(path string, seal *Seal, readOnly bool) error {
	p := &preflight{fs: fs, path: path, d: fs.dir(path), seal: seal, readOnly: readOnly}
	if err := p.list(); err != nil {
		return err
	}
	switch {
	case seal != nil:
		// The directory was synced before it was sealed.
		if err := p.compare(); err != nil {
			return err
		}
	case !readOnly:
		// Behind the listing: what it has shown is durable from here on.
		if err := fs.syncDir(path); err != nil {
			return err
		}
	}
	p.peek()
	if err := p.manifest(); err != nil {
		return err
	}
	return p.chain()
}

// Expect says, before Preflight, which MANIFEST the directory has had in force
// at some moment: what Preflight finds must not be older. Zero expects nothing.
func (fs *FS) Expect(path string, m wal.Segment) {
	d := fs.dir(path)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.floor = m
}

// Manifest is the MANIFEST in force, as Preflight has found it.
func (fs *FS) Manifest(path string) wal.Segment {
	d := fs.dir(path)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.manifest
}

type preflight struct {
	fs       *FS
	path     string
	d        *dir
	seal     *Seal
	readOnly bool

	markerNames   []string
	markers       map[string]marker
	manifestNames map[uint64]string
	logs          []*peeked // by number

	minUnflushed uint64
	attested     map[uint64]wal.Segment // of logs, by MANIFEST notes
}

// A peeked log: its frame 0, or why it does not open.
type peeked struct {
	fn   fileName
	name string
	self wal.Segment // Frames unknown
	past wal.Past
	err  error
}

func (p *preflight) at(base string) string { return p.fs.PathJoin(p.path, base) }

func (p *preflight) fault(class error, base string, format string, args ...any) error {
	return corrupt.New(class, p.fs.rel(p.at(base)), -1, format, args...)
}

// list takes in the directory.
func (p *preflight) list() error {
	// A link is not followed and a FIFO does not hang.
	if fi, err := p.fs.lstat(p.path); err != nil {
		return err
	} else if !fi.IsDir() {
		return corrupt.New(corrupt.ErrForeign, p.fs.rel(p.path), -1, "is no directory: %s", fi.Mode().Type())
	}
	names, err := p.fs.cfg.Base.List(p.path)
	if err != nil {
		return err
	}
	p.markers = make(map[string]marker)
	p.manifestNames = make(map[uint64]string)
	plain := p.fs.regularTables(p.path)
	for _, n := range names {
		if fault := checkName(n); fault != "" {
			return p.fault(corrupt.ErrForeign, n, "%s", fault)
		}
		fn := p.fs.parse(n)
		if fn.class == classUnknown {
			continue
		}
		if plain[n] {
			continue
		}
		// Needed or not: Pebble removes what it does not need, and a directory
		// would not go.
		fi, err := p.fs.regular(p.at(n))
		if err != nil {
			return err
		}
		switch fn.class {
		case classPending:
			if !p.readOnly {
				if err := p.fs.cfg.Base.Remove(p.at(n)); err != nil {
					return err
				}
			}
			continue
		case classMarker:
			m, ok := parseMarker(n)
			if !ok {
				return p.fault(corrupt.ErrFormat, n, "not a marker's name")
			}
			if fi.Size() != 0 {
				return p.fault(corrupt.ErrFormat, n, "a marker of %d bytes: markers are empty", fi.Size())
			}
			p.markerNames = append(p.markerNames, n)
			if old, ok := p.markers[m.name]; !ok || old.iter < m.iter {
				p.markers[m.name] = m
			}
		case classManifest:
			p.manifestNames[fn.number] = n
		case classLog:
			p.logs = append(p.logs, &peeked{fn: fn, name: n})
		}
	}
	slices.Sort(p.markerNames)
	slices.SortFunc(p.logs, func(a, b *peeked) int { return cmp.Compare(a.fn.number, b.fn.number) })
	for _, m := range []string{markerManifest, markerFormat} {
		if _, ok := p.markers[m]; !ok {
			return p.fault(corrupt.ErrMissing, "marker."+m, "the %s marker of an existing table is gone", m)
		}
	}
	f := p.markers[markerFormat]
	if most := p.fs.cfg.MaxFormat; most != 0 && parseFormat(f.value) > most {
		return p.fault(corrupt.ErrVersion, "marker."+markerFormat, "format %s, this build knows %d", f.value, most)
	}
	return nil
}

// regularTables are the tables of a directory that its entries call regular files:
// there are thousands, and a look at each would take as long as all else. What the
// entries do not tell is looked at.
func (fs *FS) regularTables(path string) map[string]bool {
	if !fs.os {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil
	}
	plain := make(map[string]bool, len(entries))
	for _, e := range entries {
		if e.Type().IsRegular() && fs.parse(e.Name()).class == classTable {
			plain[e.Name()] = true
		}
	}
	return plain
}

// compare holds the listing against the seal; contents follow as they are
// read.
func (p *preflight) compare() error {
	if !slices.Equal(p.markerNames, p.seal.Markers) {
		return p.fault(corrupt.ErrRollback, "marker", "markers are %v, at the last close they were %v", p.markerNames, p.seal.Markers)
	}
	if err := p.compareEnds(p.manifestNames, p.seal.Manifests, classManifest); err != nil {
		return err
	}
	names := make(map[uint64]string)
	for _, l := range p.logs {
		names[l.fn.number] = l.name
	}
	return p.compareEnds(names, p.seal.Logs, classLog)
}

func (p *preflight) compareEnds(names map[uint64]string, ends []End, c class) error {
	sealed := make(map[uint64]bool)
	for _, e := range ends {
		sealed[e.Number] = true
		name, ok := names[e.Number]
		if !ok {
			return p.fault(corrupt.ErrMissing, fileName{class: c, number: e.Number}.String(), "was there at the last close")
		}
		fi, err := p.fs.regular(p.at(name))
		if err != nil {
			return err
		}
		if e.Size != 0 && fi.Size() != e.Size {
			return corrupt.New(corrupt.ErrMissing, p.fs.rel(p.at(name)), min(fi.Size(), e.Size), "%d bytes, at the last close it had %d", fi.Size(), e.Size)
		}
	}
	for n, name := range names {
		if !sealed[n] {
			return p.fault(corrupt.ErrForeign, name, "was not there at the last close")
		}
	}
	return nil
}

// peek opens frame 0 of every log. Logs that do not open are judged later:
// only those that the MANIFEST needs matter.
func (p *preflight) peek() {
	for _, l := range p.logs {
		o, r, err := p.fs.openReader(p.d, p.at(l.name), l.fn)
		if err != nil {
			l.err = err
			continue
		}
		l.past = r.Past()
		l.self = wal.Segment{Number: l.fn.number, FileID: o.header.Identity.FileID}
		r.Close()
	}
}

// manifest reads the MANIFEST whole: the file map, and which logs are needed.
func (p *preflight) manifest() error {
	base := p.markers[markerManifest].value
	fn := p.fs.parse(base)
	if fn.class != classManifest {
		return p.fault(corrupt.ErrFormat, base, "the marker names no MANIFEST")
	}
	var e expectation
	p.d.mu.Lock()
	floor := p.d.floor
	p.d.mu.Unlock()
	switch {
	case fn.number < floor.Number:
		return p.fault(corrupt.ErrRollback, base, "MANIFEST %d was in force when the table was last opened", floor.Number)
	case fn.number == floor.Number:
		e.fileID, e.attested = floor.FileID, floor.Frames
	}
	for _, l := range p.logs {
		if l.err != nil || l.past.Manifest.FileID.IsZero() {
			continue
		}
		m := l.past.Manifest
		if m.Number > fn.number {
			return p.fault(corrupt.ErrRollback, base, "log %d names MANIFEST %d, the marker an older one", l.fn.number, m.Number)
		}
		if m.Number == fn.number {
			if !e.fileID.IsZero() && m.FileID != e.fileID {
				return p.fault(corrupt.ErrForeign, l.name, "names file %s as MANIFEST %d, which was file %s", m.FileID, m.Number, e.fileID)
			}
			e.fileID, e.attested = m.FileID, max(e.attested, m.Frames)
		}
		if f := l.past.PebbleFormat; f > parseFormat(p.markers[markerFormat].value) {
			return p.fault(corrupt.ErrRollback, "marker."+markerFormat, "log %d was written at format %d, the marker says %s",
				l.fn.number, f, p.markers[markerFormat].value)
		}
	}
	p.d.mu.Lock()
	p.d.expectM[fn.number] = e
	for n := range p.manifestNames {
		p.d.manifests[n] = End{Segment: wal.Segment{Number: n}}
	}
	if p.seal != nil {
		for _, m := range p.seal.Manifests {
			p.d.manifests[m.Number] = m
			p.d.expectM[m.Number] = expectation{fileID: m.FileID, final: m.Frames}
		}
	}
	p.d.mu.Unlock()
	if err := p.sync(base); err != nil {
		return err
	}
	o, r, err := p.fs.openReader(p.d, p.at(base), fn)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return p.fault(corrupt.ErrMissing, base, "the marker names it")
		}
		return err
	}
	defer r.Close()
	if m := r.Past().Manifest; m.Number == floor.Number && !m.FileID.IsZero() && !floor.FileID.IsZero() && m.FileID != floor.FileID {
		return p.fault(corrupt.ErrForeign, base, "follows file %s as MANIFEST %d, which was file %s", m.FileID, m.Number, floor.FileID)
	}
	edits, durable, err := p.readMap(r)
	if err != nil {
		return err
	}
	p.minUnflushed = minUnflushedLog(edits)
	self := wal.Segment{Number: fn.number, FileID: o.header.Identity.FileID, Frames: r.Frames()}
	end, dropped, _ := r.End()
	e = expectation{fileID: self.FileID, final: self.Frames}
	if r.Torn() {
		if e, err = p.dropTail(base, e, end, dropped); err != nil {
			return err
		}
	}
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	p.d.expectM[fn.number] = e
	p.d.manifests[fn.number] = End{self, end}
	p.d.manifest = self
	p.d.named = self
	if p.readOnly {
		p.d.named.Frames = durable
	}
	for k, m := range p.markers {
		p.d.markers[k] = m
	}
	return nil
}

// readMap collects the file map and the version edits of a MANIFEST.
func (p *preflight) readMap(r *wal.Reader) (edits []byte, durable uint64, err error) {
	files := make(map[fileKey]fileEntry)
	replacing := make(map[fileKey]fileEntry)
	p.attested = make(map[uint64]wal.Segment)
	for {
		f, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		durable = max(durable, f.Durable)
		edits = append(edits, f.Data...)
		if len(f.Note) == 0 {
			continue
		}
		n, err := decodeNote(f.Note)
		if err != nil {
			return nil, 0, p.fault(corrupt.ErrFormat, p.markers[markerManifest].value, "note of frame %d: %v", f.Index, err)
		}
		for _, e := range n.entries {
			files[e.fileKey] = e
			delete(replacing, e.fileKey)
		}
		for _, k := range n.gone {
			delete(files, k)
		}
		for _, e := range n.replacing {
			replacing[e.fileKey] = e
		}
		if s := n.log; s.Frames > p.attested[s.Number].Frames {
			p.attested[s.Number] = s
		}
	}
	for k, e := range replacing {
		if _, ok := files[k]; !ok {
			continue
		}
		// Both are authentic and hold the same; a crash came before the rename or
		// behind it.
		id, err := p.fs.fileID(p.at(fileName{class: classTable, kind: k.kind, number: k.number}.String()))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, 0, err
		}
		if err == nil && id == e.fileID {
			files[k] = e
		}
	}
	p.d.mu.Lock()
	p.d.files = files
	p.d.pending, p.d.gone = nil, nil
	clear(p.d.replacing)
	p.d.mu.Unlock()
	return edits, durable, nil
}

// chain checks that every log from the oldest that the MANIFEST needs is
// there, and tells each how it must end: as the next one names it.
func (p *preflight) chain() error {
	var needed []*peeked
	for _, l := range p.logs {
		if l.fn.number >= p.minUnflushed {
			needed = append(needed, l)
		}
	}
	byNumber := make(map[uint64]*peeked)
	for _, l := range needed {
		if l.err != nil {
			return l.err
		}
		byNumber[l.fn.number] = l
	}
	expect := make(map[uint64]expectation)
	for i, l := range needed {
		e := expectation{fileID: l.self.FileID}
		if s, ok := p.attested[l.fn.number]; ok {
			e.fileID, e.attested = s.FileID, s.Frames
		}
		expect[l.fn.number] = e
		prev := l.past.Previous
		switch {
		case i > 0 && prev.Number > needed[i-1].fn.number && prev.Number < l.fn.number:
			return p.missingLog(prev.Number, "log %d follows it and the MANIFEST needs it", l.fn.number)
		case i > 0 && (prev.Number != needed[i-1].fn.number || prev.FileID != needed[i-1].self.FileID):
			return p.fault(corrupt.ErrForeign, l.name, "follows log %d (file %s), but before it lies log %d (file %s)",
				prev.Number, prev.FileID, needed[i-1].fn.number, needed[i-1].self.FileID)
		case i > 0:
			pe := expect[prev.Number]
			pe.final = prev.Frames
			expect[prev.Number] = pe
		case !prev.FileID.IsZero() && prev.Number >= p.minUnflushed:
			return p.missingLog(prev.Number, "log %d follows it and the MANIFEST needs it", l.fn.number)
		}
	}
	for n, s := range p.attested {
		if n >= p.minUnflushed && byNumber[n] == nil && s.Frames > 0 {
			return p.missingLog(n, "the MANIFEST needs it and names %d durable frames", s.Frames)
		}
	}
	if p.seal != nil {
		for _, s := range p.seal.Logs {
			l := p.byNumber(s.Number)
			if l.err == nil && l.self.FileID != s.FileID {
				return p.fault(corrupt.ErrRollback, l.name, "is file %s, at the last close it was %s", l.self.FileID, s.FileID)
			}
			if s.Frames > 0 {
				expect[s.Number] = expectation{fileID: s.FileID, final: s.Frames}
			}
		}
	}
	for _, l := range needed {
		if err := p.sync(l.name); err != nil {
			return err
		}
	}
	p.d.mu.Lock()
	p.d.expect = expect
	for _, l := range p.logs {
		p.d.logs[l.fn.number] = End{Segment: l.self}
	}
	if p.seal != nil {
		for _, s := range p.seal.Logs {
			p.d.logs[s.Number] = s
		}
	}
	p.d.mu.Unlock()
	if len(needed) == 0 {
		return p.latest()
	}
	return p.count(needed)
}

// latest learns where the newest log ends that is there, where recovery needs none:
// a crash came when a recovery had taken in what there was, and before it had a log
// of its own. The next log names it, for those who follow the chain.
func (p *preflight) latest() error {
	for _, l := range slices.Backward(p.logs) {
		if l.err != nil {
			continue
		}
		err := p.sync(l.name)
		if err == nil {
			err = p.count([]*peeked{l})
		}
		if errors.Is(err, corrupt.ErrCorrupt) {
			continue // nobody needs it
		}
		return err
	}
	return nil
}

func (p *preflight) missingLog(n uint64, format string, args ...any) error {
	return p.fault(corrupt.ErrMissing, fileName{class: classLog, number: n}.String(), format, args...)
}

func (p *preflight) byNumber(n uint64) *peeked {
	for _, l := range p.logs {
		if l.fn.number == n {
			return l
		}
	}
	return nil
}

// count reads the logs that recovery will replay, to learn where each ends:
// the next log names the last one's end. What it finds wrong, it reports here,
// before Pebble writes anything.
func (p *preflight) count(needed []*peeked) error {
	for _, l := range needed {
		o, r, err := p.fs.openReader(p.d, p.at(l.name), l.fn)
		if err != nil {
			return err
		}
		for err == nil {
			_, err = r.Next()
		}
		end, dropped, _ := r.End()
		s := l.self
		s.Frames = r.Frames()
		torn := r.Torn()
		counted := &LogSegment{
			Extent: r.Extent(), Number: s.Number, FileID: s.FileID, Closed: true, Previous: r.Past().Previous,
			CreatedAt: o.header.Identity.CreatedAt, Incarnation: o.header.Identity.Incarnation,
		}
		r.Close()
		if err != io.EOF {
			return err
		}
		e := expectation{fileID: s.FileID, final: s.Frames}
		if torn {
			if err := p.keepTail(l, end, dropped); err != nil {
				return err
			}
			if e, err = p.dropTail(l.name, e, end, dropped); err != nil {
				return err
			}
		}
		p.d.mu.Lock()
		p.d.logs[s.Number] = End{s, end}
		p.d.closed[s.FileID] = counted
		p.d.expect[s.Number] = e
		p.d.previous = s
		p.d.mu.Unlock()
	}
	return nil
}

// tailPrefix names what is kept of a log's dropped tail.
const tailPrefix = "dropped-"

// maxTail bounds what is kept of it, in bytes.
const maxTail = 16 << 20

// keepTail reports a tail that a crash left unusable and keeps its ciphertext
// beside the log, for whoever wants to know what it was. One is kept.
func (p *preflight) keepTail(l *peeked, end, dropped int64) error {
	name := tailPrefix + strings.TrimSuffix(l.name, ".log") + ".tail"
	p.fs.cfg.Logger.Warn("the log ends in a torn tail, which was never acknowledged",
		"file", p.fs.rel(p.at(l.name)), "offset", end, "bytes", dropped, "kept", name)
	if p.readOnly {
		return nil
	}
	names, err := p.fs.cfg.Base.List(p.path)
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n, tailPrefix) {
			if _, err := p.fs.regular(p.at(n)); err != nil {
				return err
			}
			if err := p.fs.cfg.Base.Remove(p.at(n)); err != nil {
				return err
			}
		}
	}
	src, err := p.fs.cfg.Base.Open(p.at(l.name))
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := p.fs.cfg.Base.Create(p.at(name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, io.NewSectionReader(src, end, min(dropped, maxTail)))
	return errors.Join(err, dst.Close())
}

// dropTail takes away what a torn log or MANIFEST has behind its end, so that
// the end that others will name of it holds: a frame that was never synced,
// behind one that the power cut took, is no longer there to contradict it. If
// we crash here, less of the tail is left. A reader of the store leaves it, and
// does not demand that there is none.
func (p *preflight) dropTail(base string, e expectation, end, dropped int64) (expectation, error) {
	if p.readOnly {
		return expectation{fileID: e.fileID, attested: e.final}, nil
	}
	return e, p.fs.cut(p.at(base), end, dropped)
}

// sync makes what is in the page cache of a file durable.
func (p *preflight) sync(base string) error {
	if p.readOnly || p.seal != nil {
		return nil
	}
	if _, err := p.fs.regular(p.at(base)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return p.fault(corrupt.ErrMissing, base, "the marker or a log names it")
		}
		return err
	}
	f, err := p.fs.cfg.Base.OpenReadWrite(p.at(base), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// minUnflushedLog finds the oldest log that the version edits still need. Of
// each edit only the fields before the tables matter, and Pebble writes them
// in a fixed order: comparer (1), log number (2), previous log (9), next file
// (3). A torn last record is what a crash leaves; Pebble drops it too.
func minUnflushedLog(edits []byte) uint64 {
	var oldest uint64
	rr := record.NewReader(bytes.NewReader(edits), 0)
	for {
		r, err := rr.Next()
		if err != nil {
			return oldest
		}
		b, err := io.ReadAll(io.LimitReader(r, 1<<16))
		if err != nil {
			return oldest
		}
		if n, ok := editLogNumber(b); ok {
			oldest = max(oldest, n)
		}
	}
}

func editLogNumber(b []byte) (uint64, bool) {
	uvarint := func() (uint64, bool) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, false
		}
		b = b[n:]
		return v, true
	}
	for {
		tag, ok := uvarint()
		if !ok {
			return 0, false
		}
		v, ok := uvarint()
		if !ok {
			return 0, false
		}
		switch tag {
		case 1: // comparer: a string
			if v > uint64(len(b)) {
				return 0, false
			}
			b = b[v:]
		case 2: // the log number sought
			return v, true
		default: // written after it: this edit has none
			return 0, false
		}
	}
}
