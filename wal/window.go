package wal

import (
	"errors"
	"io"
)

// readAhead is how much is read in one piece, in bytes.
const readAhead = 256 << 10

// A window is what has been read of a file, moved forward over it. What it
// returns is valid until its next call.
type window struct {
	f    io.ReaderAt
	size int64 // of the file; falls where the file turns out to be shorter
	off  int64 // of buf[0]
	buf  []byte
}

// at returns the n bytes at off, or fewer if the file ends before.
func (w *window) at(off int64, n int) ([]byte, error) {
	b, err := w.from(off, n)
	return b[:min(n, len(b))], err
}

// from returns at least n bytes at off, or fewer if the file ends before, and
// more where they have been read already.
func (w *window) from(off int64, n int) ([]byte, error) {
	left := w.size - off
	if left <= 0 {
		return nil, nil
	}
	n = int(min(int64(n), left))
	var have []byte
	if off >= w.off && off-w.off < int64(len(w.buf)) {
		have = w.buf[off-w.off:]
	}
	if len(have) >= n {
		return have, nil
	}
	// What is there is kept: a pass forward reads each byte once. A pass
	// backward has nothing to gain from what lies ahead.
	want := n
	if off >= w.off {
		want = int(min(int64(max(n, readAhead, cap(w.buf))), left))
	}
	buf := w.buf[:cap(w.buf)]
	if want > len(buf) {
		buf = make([]byte, int(min(int64(max(want, 2*len(buf))), left)))
	}
	kept := copy(buf, have)
	got, err := w.f.ReadAt(buf[kept:want], off+int64(kept))
	w.off, w.buf = off, buf[:kept+max(got, 0)]
	switch {
	case err == io.EOF:
		w.size = min(w.size, off+int64(len(w.buf)))
	case err != nil && len(w.buf) < n:
		return nil, masked(err)
	}
	return w.buf, nil
}

// masked hides io.EOF and io.ErrUnexpectedEOF in an error of the file below:
// above they stand for the end of the log.
func masked(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New(err.Error())
	}
	return err
}
