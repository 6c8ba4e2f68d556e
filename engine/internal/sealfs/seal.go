package sealfs

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/wal"
)

// A Seal describes a directory that Pebble has closed cleanly: enough to tell
// at the next open that nothing was cut, removed or put back since. Pebble by
// itself takes a missing or shortened log for a crash.
type Seal struct {
	Manifest wal.Segment
	Markers  []string // base names, sorted
	Logs     []wal.Segment
}

const maxSealList = 1 << 16

// Encode gives the bytes that DecodeSeal reads.
func (s *Seal) Encode() []byte {
	var w codec.Writer
	segment := func(g wal.Segment) {
		w.U64(g.Number)
		w.Raw(g.FileID[:])
		w.U64(g.Frames)
	}
	segment(s.Manifest)
	w.U32(uint32(len(s.Markers)))
	for _, m := range s.Markers {
		w.Str(m)
	}
	w.U32(uint32(len(s.Logs)))
	for _, l := range s.Logs {
		segment(l)
	}
	return w.B
}

// DecodeSeal reads what Encode wrote.
func DecodeSeal(b []byte) (*Seal, error) {
	r := codec.NewReader(b)
	segment := func() (g wal.Segment) {
		g.Number = r.U64()
		r.Fill(g.FileID[:])
		g.Frames = r.U64()
		return g
	}
	s := &Seal{Manifest: segment()}
	for range r.Count(maxSealList, 4) {
		s.Markers = append(s.Markers, r.Str(4096))
	}
	for range r.Count(maxSealList, 32) {
		s.Logs = append(s.Logs, segment())
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("clean-close seal: %w", err)
	}
	return s, nil
}

// Seal describes the directory at path after Pebble has closed. It syncs the
// directory first: a removal that is not durable could be undone by a crash,
// and the description would then not hold.
func (fs *FS) Seal(path string) (*Seal, error) {
	h, err := fs.OpenDir(path)
	if err != nil {
		return nil, err
	}
	err = h.Sync()
	if cerr := h.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	names, err := fs.List(path)
	if err != nil {
		return nil, err
	}
	d := fs.dir(path)
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &Seal{Manifest: d.manifest}
	for _, n := range names {
		switch fn := fs.parse(n); fn.class {
		case classMarker:
			s.Markers = append(s.Markers, n)
		case classLog:
			l, ok := d.logs[fn.number]
			if !ok {
				return nil, fmt.Errorf("seal of %s: log %d was never opened or closed", fs.rel(path), fn.number)
			}
			s.Logs = append(s.Logs, l)
		}
	}
	slices.Sort(s.Markers)
	slices.SortFunc(s.Logs, func(a, b wal.Segment) int { return cmp.Compare(a.Number, b.Number) })
	return s, nil
}
