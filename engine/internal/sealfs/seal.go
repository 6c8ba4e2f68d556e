package sealfs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/wal"
)

// An End is where a log or MANIFEST ends.
type End struct {
	wal.Segment       // Frames 0: unknown
	Size        int64 // physical bytes; 0: unknown
}

// A Seal describes a directory that Pebble has closed cleanly: enough to tell
// at the next open that nothing was cut, removed or put back since. Pebble by
// itself takes a missing or shortened log for a crash.
type Seal struct {
	Markers   []string // base names, sorted
	Manifests []End    // by number; the last is the one in force
	Logs      []End    // by number
}

const (
	maxSealList = 1 << 16
	endLen      = 8 + 16 + 8 + 8
)

// Encode gives the bytes that DecodeSeal reads.
func (s *Seal) Encode() []byte {
	var w codec.Writer
	w.U32(uint32(len(s.Markers)))
	for _, m := range s.Markers {
		w.Str(m)
	}
	for _, list := range [][]End{s.Manifests, s.Logs} {
		w.U32(uint32(len(list)))
		for _, e := range list {
			w.U64(e.Number)
			w.Raw(e.FileID[:])
			w.U64(e.Frames)
			w.U64(uint64(e.Size))
		}
	}
	return w.B
}

// DecodeSeal reads what Encode wrote.
func DecodeSeal(b []byte) (*Seal, error) {
	r := codec.NewReader(b)
	s := &Seal{}
	for range r.Count(maxSealList, 4) {
		s.Markers = append(s.Markers, r.Str(4096))
	}
	for _, list := range []*[]End{&s.Manifests, &s.Logs} {
		for range r.Count(maxSealList, endLen) {
			var e End
			e.Number = r.U64()
			r.Fill(e.FileID[:])
			e.Frames = r.U64()
			e.Size = int64(r.U64())
			*list = append(*list, e)
		}
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("clean-close seal: %w", err)
	}
	if len(s.Manifests) == 0 {
		return nil, errors.New("clean-close seal: it names no MANIFEST")
	}
	return s, nil
}

// Seal describes the directory at path after Pebble has closed. Logs that the
// MANIFEST no longer needs go first: Pebble keeps them to recycle while it
// runs, and would remove them at its next open. The directory is synced before
// it is described: a removal that is not durable could be undone by a crash,
// and the description would then not hold.
func (fs *FS) Seal(path string) (*Seal, error) {
	names, err := fs.List(path)
	if err != nil {
		return nil, err
	}
	oldest, err := fs.oldestNeeded(path, names)
	if err != nil {
		return nil, err
	}
	kept := names[:0]
	for _, n := range names {
		if fn := fs.parse(n); fn.class == classLog && fn.number < oldest {
			if err := fs.Remove(fs.PathJoin(path, n)); err != nil {
				return nil, err
			}
			continue
		}
		kept = append(kept, n)
	}
	names = kept
	h, err := fs.OpenDir(path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(h.Sync(), h.Close()); err != nil {
		return nil, err
	}
	s := &Seal{}
	for _, n := range names {
		fn := fs.parse(n)
		switch fn.class {
		case classMarker:
			s.Markers = append(s.Markers, n)
		case classLog, classManifest:
			e, err := fs.sealEnd(fs.dir(path), fs.PathJoin(path, n), fn)
			if err != nil {
				return nil, err
			}
			if fn.class == classLog {
				s.Logs = append(s.Logs, e)
			} else {
				s.Manifests = append(s.Manifests, e)
			}
		}
	}
	slices.Sort(s.Markers)
	byNumber := func(a, b End) int { return cmp.Compare(a.Number, b.Number) }
	slices.SortFunc(s.Logs, byNumber)
	slices.SortFunc(s.Manifests, byNumber)
	if len(s.Manifests) == 0 {
		return nil, fmt.Errorf("seal of %s: it has no MANIFEST", fs.rel(path))
	}
	return s, nil
}

// oldestNeeded reads from the MANIFEST which logs a recovery would replay.
func (fs *FS) oldestNeeded(path string, names []string) (uint64, error) {
	var m marker
	for _, n := range names {
		if k, ok := parseMarker(n); ok && k.name == markerManifest && k.iter >= m.iter {
			m = k
		}
	}
	fn := fs.parse(m.value)
	if fn.class != classManifest {
		return 0, fmt.Errorf("seal of %s: no marker names a MANIFEST", fs.rel(path))
	}
	_, r, err := fs.openReader(fs.dir(path), fs.PathJoin(path, m.value), fn)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	var edits []byte
	for {
		f, err := r.Next()
		if err == io.EOF {
			return minUnflushedLog(edits), nil
		}
		if err != nil {
			return 0, err
		}
		edits = append(edits, f.Data...)
	}
}

// sealEnd is the end of one file. What a recycled log still holds behind its
// end is cut off, so that every byte of a sealed directory is accounted for.
func (fs *FS) sealEnd(d *dir, name string, fn fileName) (End, error) {
	d.mu.Lock()
	e, ok := d.ends(fn.class)[fn.number]
	d.mu.Unlock()
	if !ok {
		return e, fmt.Errorf("seal of %s: it was never opened or closed", fs.rel(name))
	}
	if e.Size == 0 {
		return e, nil
	}
	fi, err := fs.cfg.Base.Stat(name)
	switch {
	case err != nil:
		return e, err
	case fi.Size() < e.Size:
		return e, corrupt.New(corrupt.ErrMissing, fs.rel(name), fi.Size(), "%d bytes were written", e.Size)
	case fi.Size() == e.Size:
		return e, nil
	case !fs.os:
		e.Size = 0 // this file system cannot cut
		return e, nil
	}
	return e, fs.cut(name, e.Size, 0)
}

// cut takes away all that a file has from end on, durably. Where the file
// system cannot, it writes zeros over as many bytes as the caller names.
func (fs *FS) cut(name string, end, used int64) error {
	if fs.os {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Truncate(end), f.Sync(), f.Close())
	}
	f, err := fs.cfg.Base.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	zeros := make([]byte, min(used, 1<<20))
	for used > 0 && err == nil {
		n := min(used, int64(len(zeros)))
		_, err = f.WriteAt(zeros[:n], end)
		end, used = end+n, used-n
	}
	return errors.Join(err, f.Sync(), f.Close())
}
