package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
)

// A Reader reads a log from its first frame to its end. One goroutine at a
// time uses it, by Next or by Read. Its first error is final.
type Reader struct {
	f      ReadFile
	win    window
	opts   ReaderOptions
	tag    [segmentTagLen]byte
	sealer aead.Sealer
	aad    []byte // of the header: keys that follow are bound to it too
	past   Past

	following aead.Sealer // named by a frame, not yet in use
	rekeyed   []KeyUse

	pos   int64  // of the next frame
	index uint64 // of the next frame
	last  int64  // time of the frame before
	begun int64  // time of frame 0
	own   KeyUse // of the header

	plain    []byte // the payload of the last frame; reused
	unpacked []byte // its data where it was compressed; reused
	rest     []byte // what Read has not delivered of its data

	opened  int64 // bytes that the search for later frames has opened
	dropped int64
	torn    bool
	ended   bool
	err     error
}

// NewReader checks the header's tag and opens frame 0 of the log in f, a file
// of physicalSize bytes that starts with h. key is the file's data key, which
// is not kept and may be wiped when NewReader has returned. The Reader owns f
// from here on, unless NewReader fails.
//
// It fails with a *corrupt.Error: class ErrAuth where header or frame 0 do not
// open, ErrMissing where the file ends before frame 0 does, ErrFormat and
// ErrVersion as ParsePast does.
func NewReader(f ReadFile, physicalSize int64, h *keyring.Header, key *keyring.Secret, opts ReaderOptions) (*Reader, error) {
	if h.Identity.Kind.Random() {
		return nil, corrupt.New(corrupt.ErrForeign, opts.Path, 10, "a %s where a log must be", h.Identity.Kind)
	}
	if key.Wiped() {
		return nil, errors.New("wal: the data key has been wiped")
	}
	msg, err := floe.Resume(floe.Params{Suite: opts.Suite}, key, h.Identity.AAD(), h.Floe[:])
	if errors.Is(err, floe.ErrHeader) {
		return nil, corrupt.New(corrupt.ErrAuth, opts.Path, 0, "the header's tag does not match")
	}
	if err != nil {
		return nil, err
	}
	defer msg.Wipe()
	r := &Reader{f: f, opts: opts, win: window{f: f, size: physicalSize}, pos: keyring.HeaderLen, aad: h.Identity.AAD()}
	if opts.Limit != 0 {
		r.win.size = opts.Limit // the file may have grown since it was measured
	}
	if r.tag, r.sealer, err = derive(msg); err != nil {
		return nil, err
	}
	frame0, err := r.next()
	if err != nil {
		return nil, err
	}
	if r.past, err = ParsePast(frame0.Data); err != nil {
		return nil, r.locate(err)
	}
	r.begun = r.last
	r.own = KeyUse{h.Identity.FileID, h.KeyVersion, h.WrappedKey}
	return r, nil
}

// locate fills in file and offset of frame 0.
func (r *Reader) locate(err error) error {
	var e *corrupt.Error
	if !errors.As(err, &e) {
		return err
	}
	return corrupt.New(e.Class, r.opts.Path, keyring.HeaderLen, "%s", e.Detail)
}

// Past is the content of frame 0.
func (r *Reader) Past() Past { return r.past }

// Next returns the next frame, from frame 1 on. It fails with io.EOF at the
// end of the log, with a *corrupt.Error where the package comment says so, and
// with the file's own errors.
func (r *Reader) Next() (Frame, error) {
	if r.err != nil {
		return Frame{}, r.err
	}
	r.rest = nil
	fr, err := r.next()
	for err == nil && fr.keyed { // it is ours, and not the caller's
		fr, err = r.next()
	}
	r.err = err
	return fr, err
}

// Read reads the data of the frames, one after the other. It fails as Next
// does, and never with bytes and an error at once.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.rest) == 0 {
		fr, err := r.Next()
		if err != nil {
			return 0, err
		}
		r.rest = fr.Data
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *Reader) next() (Frame, error) {
	if r.opts.Final != 0 && r.index == r.opts.Final {
		return Frame{}, r.stop(nil)
	}
	c, err := r.open(r.pos, MaxPayload+frameOverhead)
	if isFault(err) {
		return Frame{}, r.stop(err)
	}
	if err != nil {
		return Frame{}, err
	}
	if c.index != r.index {
		return Frame{}, r.misplaced(c, r.pos)
	}
	p, wrong := parsePayload(c.payload, c.index)
	if wrong == "" && p.time < r.last {
		wrong = "it is older than the frame before it"
	}
	if wrong == "" && p.flags&flagS2 != 0 {
		p.data, wrong = r.unpack(p.data)
	}
	if wrong != "" {
		return Frame{}, r.corrupt(corrupt.ErrFormat, r.pos, "frame %d: %s", c.index, wrong)
	}
	keyed := p.flags&(flagNextKey|flagSwitch) != 0
	if keyed {
		if err := r.changeKey(p); err != nil {
			return Frame{}, err
		}
	}
	r.pos, r.last = c.end, p.time
	r.index++
	return Frame{
		keyed:   keyed,
		Index:   c.index,
		Time:    time.Unix(0, p.time).UTC(),
		Durable: p.durable,
		Note:    p.note,
		Data:    p.data,
	}, nil
}

// unpack decompresses the data of a frame.
func (r *Reader) unpack(b []byte) (data []byte, wrong string) {
	n, err := s2.DecodedLen(b)
	if err != nil || n > MaxPayload {
		return nil, "the length of the compressed data is out of bounds"
	}
	if cap(r.unpacked) < n {
		r.unpacked = make([]byte, max(n, 2*cap(r.unpacked)))
	}
	data, err = s2.Decode(r.unpacked[:n], b)
	if err != nil {
		return nil, "the data does not decompress"
	}
	return data, ""
}

// What may be wrong with a place where a frame should be. These say nothing of
// why: a crash, the end of the log, or tampering.
var (
	errShort  = errors.New("the file ends before it does")
	errNone   = errors.New("no frame begins here")
	errLength = errors.New("its length is impossible")
	errBudget = errors.New("opening it would exceed the bound")
)

func isFault(err error) bool {
	switch err {
	case errShort, errNone, errLength, aead.ErrOpen:
		return true
	}
	return false
}

// A candidate is what opens as a frame of this file, under the index that it
// shows. Its payload is valid until the next one.
type candidate struct {
	index   uint64
	end     int64 // offset behind it; also set where it does not open
	payload []byte
}

// open opens what stands at off, if it is at most most bytes long. It fails
// with a fault, errBudget, or what reading fails with.
func (r *Reader) open(off, most int64) (c candidate, err error) {
	head, err := r.win.at(off, frameHeaderLen)
	switch {
	case err != nil:
		return c, r.reading(off, err)
	case len(head) < frameHeaderLen:
		return c, errShort
	case [segmentTagLen]byte(head) != r.tag:
		return c, errNone
	}
	var n uint32
	c.index, n = parseFrameHeader(head)
	if n < payloadHeaderLen || n > MaxPayload {
		return c, errLength
	}
	end := off + frameOverhead + int64(n)
	switch {
	case end > r.win.size:
		return c, errShort
	case end-off > most:
		return c, errBudget
	}
	c.end = end
	sealed, err := r.win.at(off, int(end-off))
	if err != nil {
		return c, r.reading(off, err)
	}
	if int64(len(sealed)) < end-off {
		return c, errShort
	}
	if cap(r.plain) < int(n) {
		r.plain = make([]byte, 0, max(int(n), 2*cap(r.plain)))
	}
	c.payload, err = r.sealer.Open(r.plain[:0], sealed[frameHeaderLen:], sealed[:frameHeaderLen])
	if err != nil && r.following != nil && c.index > r.index {
		// The search for later frames meets some behind the change of the key.
		c.payload, err = r.following.Open(r.plain[:0], sealed[frameHeaderLen:], sealed[:frameHeaderLen])
	}
	return c, err
}

func (r *Reader) reading(off int64, err error) error {
	return fmt.Errorf("wal: reading %s at offset %d: %w", r.opts.Path, off, err)
}

func (r *Reader) corrupt(class error, off int64, format string, args ...any) error {
	return corrupt.New(class, r.opts.Path, off, format, args...)
}

// Extent is what has been read so far.
func (r *Reader) Extent() Extent {
	return Extent{
		Frames: r.index, Bytes: r.pos, Keys: append([]KeyUse{r.own}, r.rekeyed...),
		First: time.Unix(0, r.begun).UTC(), Last: time.Unix(0, r.last).UTC(),
	}
}

// Frames is the number of frames read so far, frame 0 included.
func (r *Reader) Frames() uint64 { return r.index }

// End tells where the log ended, and for how many bytes behind it the file has
// anything but zeros: a torn tail, or what a recycled file held before. Both
// mean nothing until reached is true, when Next or Read has returned io.EOF.
func (r *Reader) End() (offset, dropped int64, reached bool) {
	return r.pos, r.dropped, r.ended
}

// Torn tells whether what End calls dropped has traces of frames of this very
// file: what was being written when the log ended, and not only what the file
// held before it was recycled.
func (r *Reader) Torn() bool { return r.torn }

// Close closes the file. Further calls do nothing.
func (r *Reader) Close() error {
	if r.f == nil {
		return nil
	}
	f := r.f
	r.f, r.win, r.rest, r.unpacked, r.sealer, r.following = nil, window{}, nil, nil, nil, nil
	clear(r.plain[:cap(r.plain)])
	r.plain = nil
	r.err = fmt.Errorf("wal: %s: %w", r.opts.Path, fs.ErrClosed)
	return f.Close()
}
