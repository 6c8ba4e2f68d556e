package wal

import (
	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

const (
	segmentLen = 8 + 16 + 8
	pastLen    = 2 + 8 + 2*segmentLen
)

// A Segment names a log and a number of its frames, frame 0 included. The zero
// Segment names none.
type Segment struct {
	Number uint64
	FileID keyring.ID
	Frames uint64
}

// A Past is what came before a log: the content of frame 0. The package
// comment draws it.
type Past struct {
	FormatVersion uint16  // of the sealed files; keyring.FormatVersion
	PebbleFormat  uint64  // opaque here
	Previous      Segment // the segment before, with its final number of frames
	Manifest      Segment // with the number of its frames known to be durable
}

func (p *Past) encode() []byte {
	w := codec.Writer{B: make([]byte, 0, pastLen)}
	w.U16(p.FormatVersion)
	w.U64(p.PebbleFormat)
	for _, s := range []*Segment{&p.Previous, &p.Manifest} {
		w.U64(s.Number)
		w.Raw(s.FileID[:])
		w.U64(s.Frames)
	}
	return w.B
}

// ParsePast reads the data of a frame 0. Errors are *corrupt.Error values of
// class ErrFormat, or ErrVersion where a newer Cofre wrote it.
func ParsePast(b []byte) (Past, error) {
	var p Past
	r := codec.NewReader(b)
	p.FormatVersion = r.U16()
	if r.Err() == nil && p.FormatVersion != keyring.FormatVersion {
		return Past{}, corrupt.New(corrupt.ErrVersion, "", -1, "frame 0 is of format version %d, this build knows %d", p.FormatVersion, keyring.FormatVersion)
	}
	p.PebbleFormat = r.U64()
	for _, s := range []*Segment{&p.Previous, &p.Manifest} {
		s.Number = r.U64()
		r.Fill(s.FileID[:])
		s.Frames = r.U64()
	}
	if r.Done() != nil {
		return Past{}, corrupt.New(corrupt.ErrFormat, "", -1, "frame 0 holds %d bytes, not %d", len(b), pastLen)
	}
	if err := p.check(); err != "" {
		return Past{}, corrupt.New(corrupt.ErrFormat, "", -1, "frame 0: %s", err)
	}
	return p, nil
}

// check tells what is wrong with p, which a Writer refuses and a Reader does
// not accept.
func (p *Past) check() string {
	for _, s := range []*Segment{&p.Previous, &p.Manifest} {
		if s.FileID.IsZero() && *s != (Segment{}) {
			return "a segment without file id has a number or frames"
		}
	}
	return ""
}
