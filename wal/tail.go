package wal

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/cofredb/cofre/internal/corrupt"
)

// The search for later frames opens at most searchBase + searchFactor × the
// bytes it searches. The package comment says why.
const (
	searchBase   = 64 << 20
	searchFactor = 16
)

// stop decides what it means that the log does not go on at r.pos: io.EOF, or
// corruption. fault is what is wrong with the frame there, or nil where
// ReaderOptions.Final says that there is none.
func (r *Reader) stop(fault error) error {
	k := r.index
	class := corrupt.ErrAuth
	if fault == nil || fault == errShort {
		class = corrupt.ErrMissing
	}
	why := "the log ends here"
	if fault != nil {
		why = fault.Error()
	}
	switch {
	case k == 0:
		return r.corrupt(class, r.pos, "frame 0, which was synced before the file got its name: %s", why)
	case k < r.opts.Final:
		return r.corrupt(class, r.pos, "frame %d of exactly %d: %s", k, r.opts.Final, why)
	case k < r.opts.Attested:
		return r.corrupt(class, r.pos, "frame %d, and %d are attested: %s", k, r.opts.Attested, why)
	case r.opts.Limit != 0 && r.pos != r.opts.Limit:
		return r.corrupt(class, r.pos, "frame %d, and the live writer has committed bytes up to %d: %s", k, r.opts.Limit, why)
	}
	end, err := r.trimZeros()
	if err != nil {
		return err
	}
	head, err := r.win.at(r.pos, segmentTagLen)
	if err != nil {
		return r.reading(r.pos, err)
	}
	r.torn = bytes.Equal(head, r.tag[:])
	if err := r.searchLater(end, fault); err != nil {
		return err
	}
	r.dropped, r.ended = end-r.pos, true
	return io.EOF
}

// trimZeros returns the offset behind the last byte, from r.pos on, that is
// not zero. It goes backward, since there is mostly one near the end or none.
func (r *Reader) trimZeros() (int64, error) {
	for end := r.win.size; end > r.pos; {
		from := max(r.pos, end-readAhead)
		b, err := r.win.at(from, int(end-from))
		if err != nil {
			return 0, r.reading(from, err)
		}
		if n := lenWithoutZeros(b); n > 0 {
			return from + int64(n), nil
		}
		end = from
	}
	return r.pos, nil
}

func lenWithoutZeros(b []byte) int {
	n := len(b)
	for n >= 8 && binary.NativeEndian.Uint64(b[n-8:]) == 0 {
		n -= 8
	}
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return n
}

// searchLater looks through the bytes from r.pos to end for a frame of this
// file that forbids the log to end at r.pos.
func (r *Reader) searchLater(end int64, fault error) error {
	off := r.pos
	if fault != nil {
		off++ // what stands at r.pos does not open
	}
	budget := searchBase + searchFactor*(r.win.size-r.pos)
	last := r.index // of the frame that is missing, then of the later ones found
	for off < end {
		b, err := r.win.from(off, minFrameLen)
		if err != nil {
			return r.reading(off, err)
		}
		if len(b) == 0 {
			return nil // the file has become shorter
		}
		i := bytes.Index(b, r.tag[:])
		if i < 0 {
			// The tag may begin in what has been read and end behind it.
			off += int64(max(1, len(b)-segmentTagLen+1))
			continue
		}
		off += int64(i)
		r.torn = true
		c, err := r.open(off, budget-r.opened)
		if c.end > 0 {
			r.opened += c.end - off
		}
		switch {
		case err == errBudget:
			return r.corrupt(corrupt.ErrAuth, off, "segment tags for more than %d bytes of frames: no crash leaves so many", budget)
		case isFault(err):
			off++
			continue
		case err != nil:
			return err
		case fault == nil && c.index >= r.index:
			return r.corrupt(corrupt.ErrRollback, off, "frame %d, of a log that ended with %d frames", c.index, r.index)
		case c.index <= last:
			return r.misplaced(c, off)
		}
		p, wrong := parsePayload(c.payload, c.index)
		if wrong != "" {
			return r.corrupt(corrupt.ErrFormat, off, "frame %d: %s", c.index, wrong)
		}
		if p.durable > r.index {
			return r.corrupt(corrupt.ErrAuth, r.pos, "frame %d, and frame %d says that %d were durable: %v", r.index, c.index, p.durable, fault)
		}
		last, off = c.index, c.end
	}
	return nil
}

// misplaced is the corruption of a frame that opens where it must not stand.
func (r *Reader) misplaced(c candidate, off int64) error {
	if off == r.pos {
		return r.corrupt(corrupt.ErrAuth, off, "frame %d of this file stands where frame %d must", c.index, r.index)
	}
	return r.corrupt(corrupt.ErrAuth, off, "frame %d of this file stands behind the place of frame %d", c.index, r.index)
}
