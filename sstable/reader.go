package sstable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
)

// A Reader opens ranges of a sealed file. Its methods are safe for concurrent
// use.
//
// Errors about stored bytes are *corrupt.Error values: ErrAuth where a segment
// does not open, ErrMissing where the file below ends before its size. They
// are final. Other errors of the file below pass as they are and are not, for
// they may pass by.
type Reader struct {
	f      ReadFile
	id     keyring.Identity
	msg    *floe.Message
	path   string
	shape  shape
	failed atomic.Pointer[corrupt.Error] // the first fault
	ended  atomic.Bool                   // the final segment has been opened
	closed atomic.Bool                   // set before the keys are wiped
}

// NewReader opens the file f, of that physical size, whose header has been
// parsed and whose key has been unwrapped. The key is not kept. Which file it
// should be (kind, number, table) is for the caller to compare with
// [Reader.Identity]; that the header has not been changed is checked here.
//
// Errors are *corrupt.Error values: ErrAuth where the header tag does not
// match key and identity, ErrFormat where no sealed file has that size or
// kind. On error f stays open.
func NewReader(f ReadFile, physicalSize int64, h *keyring.Header, key *keyring.Secret, opts Options) (*Reader, error) {
	id := h.Identity
	if !id.Kind.Random() {
		return nil, corrupt.New(corrupt.ErrFormat, opts.Path, 10, "a %s is no file that is written once", id.Kind)
	}
	if key.Wiped() {
		return nil, errors.New("sstable: the data key has been wiped")
	}
	// The tag first: the size is measured with a unit size that counts only
	// when the tag has been checked.
	msg, err := floe.Resume(floe.Params{SegmentLen: id.UnitSize, Suite: opts.Suite}, key, id.AAD(), h.Floe[:])
	if errors.Is(err, floe.ErrHeader) {
		return nil, corrupt.New(corrupt.ErrAuth, opts.Path, 0, "header tag does not match")
	}
	if err != nil {
		return nil, err
	}
	s, err := shapeOf(physicalSize, id.UnitSize)
	if err != nil {
		msg.Wipe()
		return nil, corrupt.At(opts.Path, err)
	}
	return &Reader{f: f, id: id, msg: msg, path: opts.Path, shape: s}, nil
}

// ReadAt reads as [io.ReaderAt] does. It opens no segment that it does not
// need. Where it fails because of stored bytes, p holds zeros.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.clip(len(p), off)
	if n == 0 {
		return 0, err
	}
	s := &r.shape
	segments := (off+int64(n)-1)/s.full - off/s.full + 1
	b := takeBuffer(min(segments, s.run())*s.unit, s.full)
	done, failure := r.readInto(b, p[:n], off)
	b.release()
	if failure != nil {
		return r.giveUp(p[:n], done, failure)
	}
	return n, err
}

// clip checks a range and cuts it to the file. Where it returns more than 0,
// the error is nil, or io.EOF if something was cut off.
func (r *Reader) clip(n int, off int64) (int, error) {
	if r.closed.Load() {
		return 0, fs.ErrClosed
	}
	if e := r.failed.Load(); e != nil {
		return 0, e
	}
	if off < 0 {
		return 0, fmt.Errorf("sstable: read at negative offset %d", off)
	}
	switch left := r.shape.plain - off; {
	case left <= 0:
		return 0, r.end()
	case int64(n) > left:
		return int(left), io.EOF
	}
	return n, nil
}

// end returns io.EOF where the file ends where its length says. Until the
// final segment has been opened that is not known: a file that has been cut
// between two segments has a fitting length. A read up to the end opens that
// segment anyway, one behind it does so here.
func (r *Reader) end() error {
	if r.ended.Load() {
		return io.EOF
	}
	s := &r.shape
	b := takeBuffer(s.unit, s.full)
	defer b.release()
	i := s.segments - 1
	sealed, err := r.load(b.sealed, i, 1)
	if err == nil {
		err = r.openEdge(b, sealed, i)
	}
	if err != nil {
		_, err = r.giveUp(nil, 0, err)
		return err
	}
	return io.EOF
}

// readInto fills p, which lies within the file, a run of segments at a time.
// It returns how much of p it has filled.
func (r *Reader) readInto(b *buffer, p []byte, off int64) (done int, err error) {
	s := &r.shape
	last := (off + int64(len(p)) - 1) / s.full
	for done < len(p) {
		first := (off + int64(done)) / s.full
		n := min(last-first+1, s.run())
		run, err := r.load(b.sealed, first, n)
		if err != nil {
			return done, err
		}
		for i := range n {
			skip := off + int64(done) - (first+i)*s.full
			c, err := r.openPart(b, p[done:], run[i*s.unit:], first+i, skip)
			if err != nil {
				return done, err
			}
			done += c
		}
	}
	return done, nil
}

// giveUp ends a read that has failed after done bytes. A fault becomes the
// Reader's, and p is cleared, so that no caller goes on with half of what it
// asked for. After another error, what has been opened stands.
func (r *Reader) giveUp(p []byte, done int, err error) (int, error) {
	var fault *corrupt.Error
	if !errors.As(err, &fault) {
		return done, err
	}
	clear(p)
	r.failed.CompareAndSwap(nil, fault)
	return 0, r.failed.Load()
}

// openPart copies the plaintext of segment i, from skip on, to p: straight
// where p takes the whole segment, else by way of b.plain. It returns how much
// that was.
func (r *Reader) openPart(b *buffer, p, run []byte, i, skip int64) (int, error) {
	sealed := run[:r.shape.sealedLen(i)]
	plain := len(sealed) - floe.SegmentOverhead
	if skip == 0 && len(p) >= plain {
		// The capacity is cut too: nothing behind the segment is touched.
		return plain, r.open(b, p[:0:plain], sealed, i)
	}
	if err := r.openEdge(b, sealed, i); err != nil {
		return 0, err
	}
	return copy(p, b.plain[skip:plain]), nil
}

// openEdge opens segment i into b.plain.
func (r *Reader) openEdge(b *buffer, sealed []byte, i int64) error {
	plain := len(sealed) - floe.SegmentOverhead
	err := r.open(b, b.plain[:0:plain], sealed, i)
	b.plain = b.plain[:max(plain, len(b.plain))]
	return err
}

// open opens segment i to dst, which has exactly the capacity for it.
func (r *Reader) open(b *buffer, dst, sealed []byte, i int64) error {
	_, err := r.msg.OpenSegment(dst, sealed, uint64(i), r.shape.final(i), &b.aad)
	if err == nil {
		if r.shape.final(i) && !r.ended.Load() {
			r.ended.Store(true)
		}
		return nil
	}
	if r.closed.Load() {
		return fs.ErrClosed // the keys are gone: this says nothing about the segment
	}
	if err != floe.ErrSegment {
		return err
	}
	return corrupt.New(corrupt.ErrAuth, r.path, r.shape.offset(i), "segment %d of %d does not open", i, r.shape.segments)
}

// load reads n sealed segments from the first on into buf, which has room for
// them.
func (r *Reader) load(buf []byte, first, n int64) ([]byte, error) {
	s := &r.shape
	buf = buf[:(n-1)*s.unit+s.sealedLen(first+n-1)]
	got, err := r.f.ReadAt(buf, s.offset(first))
	switch {
	case got == len(buf) && (err == nil || errors.Is(err, io.EOF)):
		return buf, nil
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		// The file was longer when it was opened. To pass the end of file on
		// would be to say that the plaintext ends here.
		return nil, corrupt.New(corrupt.ErrMissing, r.path, s.offset(first)+int64(got), "file ends early")
	}
	return nil, err
}

// Size is the length of the plaintext, in bytes, as the length of the file
// tells it. Only a read of the file's end shows whether something was cut off.
func (r *Reader) Size() int64 { return r.shape.plain }

// Identity is what the header says of the file. Its tag has been checked.
func (r *Reader) Identity() keyring.Identity { return r.id }

// Close closes the file below and drops the keys. Reads under way may fail
// with fs.ErrClosed, later ones do. Further calls do nothing.
func (r *Reader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	r.msg.Wipe()
	return r.f.Close()
}
