package sstable

import (
	"math"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
)

// A shape is where the segments of a file lie. All lengths are in bytes.
type shape struct {
	unit     int64 // a sealed segment that is not the last
	full     int64 // its plaintext
	segments int64 // at least 1
	last     int64 // the last sealed segment
	plain    int64 // the whole plaintext
}

// shapeOf tells the shape of a file from its physical size. Errors are of
// class ErrFormat.
func shapeOf(physical int64, unitSize uint32) (shape, error) {
	if unitSize < keyring.MinUnitSize || unitSize > keyring.MaxUnitSize {
		return shape{}, corrupt.New(corrupt.ErrFormat, "", 12, "unit size %d", unitSize)
	}
	s := shape{unit: int64(unitSize), full: int64(unitSize) - floe.SegmentOverhead}
	body := physical - keyring.HeaderLen
	if body < floe.SegmentOverhead {
		return shape{}, corrupt.New(corrupt.ErrFormat, "", -1, "%d bytes are too short for a sealed file", physical)
	}
	s.segments = (body-1)/s.unit + 1
	s.last = body - (s.segments-1)*s.unit
	if s.segments > floe.MaxSegments {
		return shape{}, corrupt.New(corrupt.ErrFormat, "", -1, "%d segments", s.segments)
	}
	// An empty last segment behind others is a FLOE message, but none that a
	// Writer makes: two physical sizes would stand for one plaintext size.
	if s.last < floe.SegmentOverhead || s.last == floe.SegmentOverhead && s.segments > 1 {
		return shape{}, corrupt.New(corrupt.ErrFormat, "", s.offset(s.segments-1),
			"a last segment of %d bytes, in a file of %d", s.last, physical)
	}
	s.plain = (s.segments-1)*s.full + s.last - floe.SegmentOverhead
	return s, nil
}

// offset is where segment i begins in the file.
func (s *shape) offset(i int64) int64 { return keyring.HeaderLen + i*s.unit }

// sealedLen is the length of segment i.
func (s *shape) sealedLen(i int64) int64 {
	if s.final(i) {
		return s.last
	}
	return s.unit
}

// final tells whether segment i is the last one. The file's length says so,
// never the segment.
func (s *shape) final(i int64) bool { return i == s.segments-1 }

// run is how many segments are read in one piece, at least one. There are never
// more than of segments of the default size: so tests, whose segments and files
// are short, cross borders between runs too.
func (s *shape) run() int64 { return max(1, min(runLen/s.unit, runLen/DefaultUnitSize)) }

// PlainSize tells the size of the plaintext in a file of that physical size,
// header included. It needs no key, so it is a hint until the file has been
// opened. The error is a *corrupt.Error of class ErrFormat: no file has that
// size.
func PlainSize(physical int64, unitSize uint32) (int64, error) {
	s, err := shapeOf(physical, unitSize)
	return s.plain, err
}

// PhysicalSize tells the size of the file that holds that much plaintext, or
// math.MaxInt64 where no file can.
func PhysicalSize(plain int64, unitSize uint32) int64 {
	if unitSize < keyring.MinUnitSize || unitSize > keyring.MaxUnitSize || plain < 0 {
		return math.MaxInt64
	}
	segments := int64(1)
	if full := int64(unitSize) - floe.SegmentOverhead; plain > full {
		segments = (plain-1)/full + 1
	}
	if segments > floe.MaxSegments {
		return math.MaxInt64
	}
	return keyring.HeaderLen + plain + segments*floe.SegmentOverhead
}
