package sstable

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
)

// A Writer seals one file. One goroutine at a time uses it. Its first error
// from the file below is final: Write, Flush and Sync return it from then on,
// since nobody knows what of the file is there.
type Writer struct {
	f     WriteFile
	id    keyring.Identity
	msg   *floe.Message
	unit  int
	full  int // plaintext of a segment that is not the last
	limit int // of len(buf.sealed)

	// buf.sealed is what has been sealed and not written: the header at
	// first, and whole segments. buf.plain is the segment being filled. Once
	// full it stays until more follows, for the last one is sealed as final.
	// nil once the file is finished, closed or aborted.
	buf      *buffer
	position uint64 // of the segment being filled

	size     int64 // plaintext accepted
	physical int64 // bytes that f has taken
	finished bool  // the final segment has been sealed and written
	closed   bool
	err      error // the first failure; final
	closeErr error
}

// NewWriter begins a sealed file in f, which must be empty. The identity's
// UnitSize is filled in from the options; its kind must be one that is written
// once. The key is used for this file alone, is not kept, and may be wiped
// when NewWriter has returned.
//
// Nothing is written before the first Flush or the first full buffer; the
// header goes out in front of the first segments. That the header exists on
// disk before the data is of no use to anybody: a file that is not finished is
// never opened.
func NewWriter(f WriteFile, id keyring.Identity, key *keyring.DataKey, opts Options) (*Writer, error) {
	unit, err := opts.unitSize()
	switch {
	case err != nil:
		return nil, err
	case !id.Kind.Random():
		return nil, fmt.Errorf("sstable: a %s is no file that is written once", id.Kind)
	case key == nil || key.Key.Wiped():
		return nil, errors.New("sstable: the data key has been wiped")
	}
	id.UnitSize = unit
	id.CreatedAt = time.Unix(0, id.CreatedAt.UnixNano()).UTC() // as a reader will see it
	msg, floeHeader, err := floe.Start(floe.Params{SegmentLen: unit, Suite: opts.Suite}, key.Key, id.AAD())
	if err != nil {
		return nil, err
	}
	w := &Writer{f: f, id: id, msg: msg, unit: int(unit), full: int(unit) - floe.SegmentOverhead}
	w.limit = max(runLen, keyring.HeaderLen+w.unit)
	w.buf = takeBuffer(int64(w.limit), int64(w.full))
	w.buf.sealed = append(w.buf.sealed, keyring.EncodeHeader(&id, key, floeHeader)...)
	return w, nil
}

// Write takes p, which it does not keep. It returns ErrFinished after Sync or
// Close.
func (w *Writer) Write(p []byte) (int, error) {
	if err := w.usable(); err != nil {
		return 0, err
	}
	n := len(p)
	if have := len(w.buf.plain); have > 0 {
		c := min(w.full-have, len(p))
		w.buf.plain = append(w.buf.plain, p[:c]...)
		p = p[c:]
		if len(p) > 0 {
			if err := w.seal(w.buf.plain, false); err != nil {
				return 0, err
			}
			w.buf.plain = w.buf.plain[:0]
		}
	}
	for len(p) > w.full {
		if err := w.seal(p[:w.full], false); err != nil {
			return 0, err
		}
		p = p[w.full:]
	}
	w.buf.plain = append(w.buf.plain, p...)
	w.size += int64(n)
	return n, nil
}

func (w *Writer) usable() error {
	switch {
	case w.err != nil:
		return w.err
	case w.finished || w.closed:
		return ErrFinished
	}
	return nil
}

// seal appends the next segment to the buffer, for which it makes room first:
// where append had to grow it, every segment would copy all before it.
func (w *Writer) seal(plain []byte, final bool) error {
	if len(w.buf.sealed)+w.unit > w.limit {
		if err := w.drain(); err != nil {
			return err
		}
	}
	var err error
	w.buf.sealed, err = w.msg.SealSegment(w.buf.sealed, plain, w.position, final, &w.buf.aad)
	if err != nil {
		w.err = err
		return err
	}
	w.position++
	return nil
}

// drain writes what has been sealed.
func (w *Writer) drain() error {
	if len(w.buf.sealed) == 0 {
		return nil
	}
	n, err := w.f.Write(w.buf.sealed)
	w.physical += int64(max(n, 0))
	if err == nil && n != len(w.buf.sealed) {
		err = io.ErrShortWrite
	}
	w.buf.sealed = w.buf.sealed[:0]
	if err != nil {
		w.err = err
	}
	return err
}

// Flush hands the file below the segments that are complete, so that it can
// start to write them back (SyncTo up to [Writer.PhysicalSize]). It finishes
// nothing and makes nothing durable: up to a segment of plaintext stays here.
// After Sync or Close it does nothing.
func (w *Writer) Flush() error {
	if w.err != nil || w.buf == nil {
		return w.err
	}
	return w.drain()
}

// finish seals and writes the final segment. From here on the file is whole
// for a reader, though not yet durable.
func (w *Writer) finish() error {
	if w.err != nil || w.finished {
		return w.err
	}
	if err := w.seal(w.buf.plain, true); err != nil {
		return err
	}
	if err := w.drain(); err != nil {
		return err
	}
	w.finished = true
	w.drop()
	return nil
}

// drop forgets keys and plaintext.
func (w *Writer) drop() {
	w.msg.Wipe()
	if w.buf != nil {
		w.buf.release()
		w.buf = nil
	}
}

// Sync finishes the file, then makes it durable: final segment first, then the
// sync. If we crash before Sync returns, the file may have any length and does
// not read as whole. If we crash after, every byte is there, as soon as the
// directory entry is. Further calls only sync. A failed sync is final: the
// system may have dropped the pages, and a later sync would report success.
func (w *Writer) Sync() error {
	if w.err == nil && w.closed {
		return ErrFinished
	}
	if err := w.finish(); err != nil {
		return err
	}
	if err := w.f.Sync(); err != nil {
		w.err = err
	}
	return w.err
}

// Close finishes the file where Sync has not, without making it durable, and
// closes the file below, also after an error. It returns the Writer's first
// error and that of closing; further calls return the same.
func (w *Writer) Close() error {
	if w.closed {
		return w.closeErr
	}
	err := w.finish()
	w.closed = true
	w.drop()
	w.closeErr = errors.Join(err, w.f.Close())
	return w.closeErr
}

// Abort closes the file below and leaves the file unfinished: nothing more is
// sealed or written, and keys and plaintext are forgotten. What was written does
// not read as whole, unless Sync had finished it. It returns the error of closing,
// as further calls and Close do; Write and Sync return the Writer's first error,
// or ErrFinished.
func (w *Writer) Abort() error {
	if w.closed {
		return w.closeErr
	}
	w.closed = true
	w.drop()
	w.closeErr = w.f.Close()
	return w.closeErr
}

// Size is the length of the plaintext taken so far.
func (w *Writer) Size() int64 { return w.size }

// PhysicalSize is how many bytes the file below has taken so far.
func (w *Writer) PhysicalSize() int64 { return w.physical }

// Identity is what the header says of the file.
func (w *Writer) Identity() keyring.Identity { return w.id }
