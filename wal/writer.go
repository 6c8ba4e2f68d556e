package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
)

// keepBuffer is how long a buffer may be, in bytes, to be kept for the next
// Write.
const keepBuffer = 1 << 20

// A Writer appends frames to a file. It is safe for concurrent use; writes are
// ordered, and so are syncs, but neither waits for the other, and nothing
// except another Write waits while a frame is sealed.
type Writer struct {
	f        AppendFile
	id       keyring.Identity
	path     string
	now      func() time.Time
	compress bool
	suite    aead.Suite
	tag      [segmentTagLen]byte
	sealer   aead.Sealer

	// writing is held by one Write at a time; it guards the fields below. It
	// may be taken before mu, never after.
	writing  sync.Mutex
	last     int64  // time of the last frame sealed
	plain    []byte // the payload; reused
	sealed   []byte // the frame; reused
	closeErr error  // what the first Close returned

	// syncing is held by one sync at a time: the system reports a failed
	// write-back to one sync only, and another beside it would succeed.
	syncing sync.Mutex

	mu       sync.Mutex // guards the fields below, for moments only
	frames   uint64     // written
	physical int64      // bytes written
	size     int64      // plaintext of them
	durable  uint64     // frames synced
	synced   int64      // bytes of them
	written  int64      // time of the last frame written
	attested int64      // time of the last frame synced
	begun    int64      // time of frame 0; set once
	keys     []KeyUse   // that frames are sealed under; only appended to
	err      error      // the first failure; final
	closed   bool
}

// NewWriter begins a log in f, which stands at its first byte: it writes
// header and frame 0 in one Write. They are not durable yet; the package
// comment tells in which order the caller gives the file its name. The Writer
// owns f from here on, unless NewWriter fails.
//
// The identity must be of a kind that is appended to. The key is used for this
// file alone, is not kept, and may be wiped when NewWriter has returned. A
// FormatVersion of 0 in past stands for this build's.
func NewWriter(f AppendFile, id keyring.Identity, key *keyring.DataKey, past Past, opts Options) (*Writer, error) {
	if past.FormatVersion == 0 {
		past.FormatVersion = keyring.FormatVersion
	}
	switch {
	case id.Kind.Random():
		return nil, fmt.Errorf("wal: a %s is no file that is appended to", id.Kind)
	case id.UnitSize != 0:
		return nil, fmt.Errorf("wal: a %s has no unit size", id.Kind)
	case key == nil || key.Key.Wiped():
		return nil, errors.New("wal: the data key has been wiped")
	case past.FormatVersion != keyring.FormatVersion:
		return nil, fmt.Errorf("wal: this build does not write format version %d", past.FormatVersion)
	}
	if err := past.check(); err != "" {
		return nil, errors.New("wal: " + err)
	}
	id.CreatedAt = time.Unix(0, id.CreatedAt.UnixNano()).UTC() // as a reader will see it
	msg, floeHeader, err := floe.Start(floe.Params{Suite: opts.Suite}, key.Key, id.AAD())
	if err != nil {
		return nil, err
	}
	defer msg.Wipe()
	w := &Writer{f: f, id: id, path: opts.Path, now: opts.Now, compress: opts.Compress, suite: opts.Suite}
	w.keys = []KeyUse{{id.FileID, key.Version, key.Wrapped}}
	if w.now == nil {
		w.now = time.Now
	}
	if w.tag, w.sealer, err = derive(msg); err != nil {
		return nil, err
	}
	data := past.encode()
	w.sealed = append(w.sealed, keyring.EncodeHeader(&id, key, floeHeader)...)
	w.fill(nil, data, 0, false)
	w.begun = w.last
	if err := w.seal(0); err != nil {
		return nil, err
	}
	if err := w.flush(0); err != nil {
		return nil, err
	}
	return w, nil
}

// derive makes the segment tag and the cipher of the frames.
func derive(msg *floe.Message) (tag [segmentTagLen]byte, sealer aead.Sealer, err error) {
	b, err := msg.DeriveBytes(purposeTag, segmentTagLen)
	if err != nil {
		return tag, nil, err
	}
	copy(tag[:], b)
	sealer, err = msg.Derive(purposeFrame)
	return tag, sealer, err
}

// Write appends p, which it does not keep, as one frame; an empty p appends
// none. All of p is written or an error is returned: ErrTooLarge, after which
// the Writer goes on, or that of the file below, which is final. Where that
// error comes, it is unknown whether the frame is in the file, but it is whole
// or not at all.
func (w *Writer) Write(p []byte) (int, error) { return w.WriteNote(nil, p) }

// WriteNote is Write with a note in front, which may stand alone. The count
// that it returns is of p.
func (w *Writer) WriteNote(note, p []byte) (int, error) {
	w.writing.Lock()
	defer w.writing.Unlock()
	if len(note) > MaxPayload || len(p) > MaxPayload || payloadHeaderLen+len(note)+len(p) > MaxPayload {
		return 0, ErrTooLarge
	}
	if err := w.append(0, note, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// append writes a frame, unless it is empty; w.writing is held.
func (w *Writer) append(flags uint8, note, data []byte) error {
	w.mu.Lock()
	err, index, durable := w.err, w.frames, w.durable
	w.mu.Unlock()
	if err != nil || len(note)+len(data) == 0 && flags == 0 {
		return err
	}
	w.fill(note, data, durable, w.compress && flags == 0)
	w.plain[16] |= flags
	if err := w.seal(index); err != nil {
		return w.fail("sealing", index, err)
	}
	size := int64(len(data))
	if flags != 0 {
		size = 0 // no caller's data
	}
	if err := w.flush(size); err != nil {
		return w.fail("writing", index, err)
	}
	return nil
}

// fill builds the payload in w.plain.
func (w *Writer) fill(note, data []byte, durable uint64, compress bool) {
	w.last = max(w.last, w.now().UnixNano())
	need := payloadHeaderLen + len(note) + len(data)
	if compress {
		need = payloadHeaderLen + len(note) + max(len(data), s2.MaxEncodedLen(len(data)))
	}
	b := grown(w.plain[:0], need)
	b = appendPayloadHeader(b, w.last, durable, 0, len(note))
	b = append(b, note...)
	if compress {
		// It is encoded in place; grown has left the room.
		if c := s2.Encode(b[len(b):cap(b)], data); len(c) < len(data) {
			b[16] |= flagS2
			w.plain = b[:len(b)+len(c)]
			return
		}
	}
	w.plain = append(b, data...)
}

// seal appends w.plain to w.sealed as the frame with the given index.
func (w *Writer) seal(index uint64) (err error) {
	b := grown(w.sealed, frameOverhead+len(w.plain))
	at := len(b)
	b = appendFrameHeader(b, w.tag, index, len(w.plain))
	w.sealed, err = w.sealer.Seal(b, w.plain, b[at:at+frameHeaderLen])
	return err
}

// flush hands w.sealed to the file, and counts it as one frame.
func (w *Writer) flush(plaintext int64) error {
	n, err := w.f.Write(w.sealed)
	if err == nil && n != len(w.sealed) {
		err = io.ErrShortWrite
	}
	w.plain, w.sealed = kept(w.plain), kept(w.sealed)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.frames++
	w.physical += int64(n)
	w.size += plaintext
	w.written = w.last
	w.mu.Unlock()
	return nil
}

// grown returns b with room for n bytes more. It at least doubles what it has
// to replace: an append that grows to the exact size would copy each time.
func grown(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	return append(make([]byte, 0, max(len(b)+n, 2*cap(b))), b...)
}

// kept is b emptied for the next frame, or nil where one large frame would
// hold its memory for ever.
func kept(b []byte) []byte {
	if cap(b) > keepBuffer {
		return nil
	}
	return b[:0]
}

func (w *Writer) fail(doing string, index uint64, err error) error {
	return w.poison(fmt.Errorf("wal: %s frame %d of %s: %w", doing, index, w.path, err))
}

// poison keeps the first error.
func (w *Writer) poison(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	return w.err
}

// Sync makes the frames durable that were written before the call. An error is
// final: what a failed sync has left of them is unknown, and a second sync
// would report success.
func (w *Writer) Sync() error { return w.sync(AppendFile.Sync) }

// SyncData is Sync that leaves the file's times and the like alone.
func (w *Writer) SyncData() error { return w.sync(AppendFile.SyncData) }

func (w *Writer) sync(sync func(AppendFile) error) error {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	err, frames, physical, written := w.err, w.frames, w.physical, w.written
	w.mu.Unlock()
	if err != nil {
		return err
	}
	if err := sync(w.f); err != nil {
		return w.poison(fmt.Errorf("wal: syncing %s: %w", w.path, err))
	}
	w.mu.Lock()
	w.durable, w.synced, w.attested = frames, physical, written
	w.mu.Unlock()
	return nil
}

// An Extent is the beginning of a log up to the end of a frame.
type Extent struct {
	Frames      uint64 // in it, frame 0 included
	Bytes       int64  // of the file, header included
	First, Last time.Time
	// Keys are those that its frames are sealed under, the header's first. One may
	// be among them that no frame is sealed under yet.
	Keys []KeyUse
}

// Synced is the part of the log that is known to be durable: a power cut takes
// none of it. It is zero before the first sync.
func (w *Writer) Synced() Extent {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.durable == 0 {
		return Extent{}
	}
	return Extent{
		Frames: w.durable, Bytes: w.synced, Keys: slices.Clip(w.keys),
		First: time.Unix(0, w.begun).UTC(), Last: time.Unix(0, w.attested).UTC(),
	}
}

// Committed tells how many frames have been written, and in how many bytes of
// the file: what a Reader beside the Writer takes as its Limit.
func (w *Writer) Committed() (frames uint64, physical int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.frames, w.physical
}

// Frames is the number of frames written, frame 0 included.
func (w *Writer) Frames() uint64 {
	frames, _ := w.Committed()
	return frames
}

// Durable is the number of frames known to be synced.
func (w *Writer) Durable() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable
}

// Size is the length of all data written, without notes, in bytes.
func (w *Writer) Size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size
}

// Identity is what the header says of the file.
func (w *Writer) Identity() keyring.Identity { return w.id }

// Close closes the file without syncing it. It waits for a Write or sync that
// runs. Further calls return the same.
func (w *Writer) Close() error {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if !closed {
		w.poison(fmt.Errorf("wal: %s: %w", w.path, fs.ErrClosed))
		w.closeErr = w.f.Close()
		clear(w.plain[:cap(w.plain)])
		w.plain, w.sealed, w.sealer = nil, nil, nil
	}
	return w.closeErr
}
