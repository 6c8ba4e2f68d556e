package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/record"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/wal"
)

// ArchivedOptions say which log segment OpenArchived is to find.
type ArchivedOptions struct {
	// Keys unwraps the segment's data keys: a table's keys, or what a backup has kept
	// of them.
	Keys keyring.DataKeys
	// StoreID and TableID are those that the segment must be of.
	StoreID, TableID keyring.ID
	// Number and FileID, if not zero, are those that it must have.
	Number uint64
	FileID keyring.ID
	// Frames, if not 0, is the exact number of frames that must be there: of a closed
	// segment, as the segment behind it names it, or as ArchiveSegment told.
	Frames uint64
	// Unsealed is for a segment of Table.WaitingSegments, whose end nobody knew: the
	// log may end before the bytes do, as it may after a crash.
	Unsealed bool
	// Path names the segment in errors.
	Path string

	suite aead.Suite // a test's cipher; nil outside tests
}

// An ArchivedLog is a log segment, or the beginning of one, that is read back from
// its ciphertext. It is for one goroutine.
type ArchivedLog struct {
	r        *wal.Reader
	identity keyring.Identity
	path     string
	torn     bool
}

// An ArchivedBatch is what was written to the table together: one Put, Delete or
// DeleteRange, or one Batch.
type ArchivedBatch struct {
	// Repr is the batch in Pebble's encoding, sequence number included; valid until
	// the next one is asked for.
	Repr []byte
	// SeqNum is the sequence number of its first operation, Count how many it has;
	// one that only makes others durable has none. Within a segment each batch begins
	// where the one before it ended. A later segment goes on with the same numbers, or,
	// where the table was opened in between, with higher ones: Pebble skips some. So it
	// is Previous that proves that nothing is missing, not these.
	SeqNum uint64
	Count  uint32
	// Time is when the last of its bytes were sealed, on their way to the disk, by
	// the clock of the machine: after it was issued, and before it was acknowledged
	// if it was synced. It never falls within a segment.
	Time time.Time
}

// OpenArchived opens a log segment: the size bytes of src, which are a whole segment
// or end at the end of a frame. It checks that the segment is the one that is asked
// for, its header, and its first frame.
//
// Errors are *CorruptionError: of class ErrForeign where it is another file, as
// wal.NewReader says where it does not open, and those of o.Keys.
func OpenArchived(src io.ReaderAt, size int64, o ArchivedOptions) (*ArchivedLog, error) {
	if o.Keys == nil {
		return nil, errors.New("engine: ArchivedOptions.Keys is missing")
	}
	h, err := archivedHeader(src, size, &o)
	if err != nil {
		return nil, corrupt.At(o.Path, err)
	}
	key, err := o.Keys.DataKey(h.Identity.FileID, h.KeyVersion, h.WrappedKey[:])
	if err != nil {
		return nil, corrupt.At(o.Path, err)
	}
	defer key.Wipe()
	ro := wal.ReaderOptions{Options: wal.Options{Suite: o.suite, Path: o.Path}, Key: o.Keys.DataKey, Final: o.Frames}
	if !o.Unsealed {
		ro.Limit = size
	}
	r, err := wal.NewReader(readOnlyFile{src}, size, h, key, ro)
	if err != nil {
		return nil, err
	}
	return &ArchivedLog{r: r, identity: h.Identity, path: o.Path}, nil
}

type readOnlyFile struct{ io.ReaderAt }

func (readOnlyFile) Close() error { return nil }

func archivedHeader(src io.ReaderAt, size int64, o *ArchivedOptions) (*keyring.Header, error) {
	if size < keyring.HeaderLen {
		return nil, corrupt.New(corrupt.ErrMissing, "", size, "%d bytes have no whole header", size)
	}
	var buf [keyring.HeaderLen]byte
	if n, err := src.ReadAt(buf[:], 0); n < len(buf) {
		if err == nil || errors.Is(err, io.EOF) {
			return nil, corrupt.New(corrupt.ErrMissing, "", int64(n), "ends early")
		}
		return nil, fmt.Errorf("read header of %s: %w", o.Path, err)
	}
	h, err := keyring.ParseHeader(buf[:])
	if err != nil {
		return nil, err
	}
	id := &h.Identity
	foreign := func(off int64, format string, args ...any) (*keyring.Header, error) {
		return nil, corrupt.New(corrupt.ErrForeign, "", off, format, args...)
	}
	switch {
	case id.Kind != keyring.KindWAL:
		return foreign(10, "is a %s, not a log segment", id.Kind)
	case id.StoreID != o.StoreID:
		return foreign(16, "belongs to store %s", id.StoreID)
	case id.TableID != o.TableID:
		return foreign(32, "belongs to table %s", id.TableID)
	case !o.FileID.IsZero() && id.FileID != o.FileID:
		return foreign(48, "is file %s, not %s", id.FileID, o.FileID)
	case o.Number != 0 && id.Number != o.Number:
		return foreign(64, "is number %d, not %d", id.Number, o.Number)
	}
	return h, nil
}

// Identity is what the segment's header says of it.
func (l *ArchivedLog) Identity() keyring.Identity { return l.identity }

// Previous is the segment before this one, with its final number of frames; zero
// for the first of a table. A chain is whole where each segment's Previous is the one
// before it, with as many frames as were read of that.
func (l *ArchivedLog) Previous() wal.Segment { return l.r.Past().Previous }

// Segment is this one, with the frames that were read of it so far: what the next
// one's Previous must be once Batches has come to its end.
func (l *ArchivedLog) Segment() wal.Segment {
	return wal.Segment{Number: l.identity.Number, FileID: l.identity.FileID, Frames: l.r.Frames()}
}

// Extent is what was read so far: frames, bytes, times, and the data keys.
func (l *ArchivedLog) Extent() wal.Extent { return l.r.Extent() }

// Torn tells, behind the end of Batches, whether the bytes end within a batch: more
// of the segment is to come, or a crash came before the batch was whole, and then
// recovery has dropped it too.
func (l *ArchivedLog) Torn() bool { return l.torn }

// Close drops the segment's keys. Whoever opened the source closes it.
func (l *ArchivedLog) Close() error { return l.r.Close() }

// Batches gives the batches in order, once. Memory is bounded by the largest. An
// error ends it: a *CorruptionError where anything before the end does not open, or
// the source's own.
func (l *ArchivedLog) Batches() iter.Seq2[ArchivedBatch, error] {
	return func(yield func(ArchivedBatch, error) bool) {
		s := &frameStream{r: l.r}
		rr := newRecords(record.NewReader, s, l.identity.Number)
		var buf []byte
		for {
			b, err := l.next(s, rr, &buf)
			if err == io.EOF {
				return
			}
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// newRecords is record.NewReader, whose second parameter is of a type that has no
// name outside of Pebble.
func newRecords[N ~uint64](newReader func(io.Reader, N) *record.Reader, r io.Reader, number uint64) *record.Reader {
	return newReader(r, N(number))
}

// maxArchivedBatch bounds a batch, in bytes: Pebble's are below 4 GiB.
const maxArchivedBatch = 4 << 30

func (l *ArchivedLog) next(s *frameStream, rr *record.Reader, buf *[]byte) (b ArchivedBatch, err error) {
	one, err := rr.Next()
	if err == nil {
		*buf, err = readRecord(one, (*buf)[:0])
	}
	at := rr.Offset()
	switch {
	case s.err != nil && s.err != io.EOF:
		return b, s.err // the record reader takes some errors for the log's end
	case err == io.EOF:
		return b, io.EOF
	case record.IsInvalidRecord(err) && s.err == io.EOF:
		l.torn = true
		return b, io.EOF
	case err != nil:
		return b, corrupt.New(corrupt.ErrFormat, l.path, -1, "byte %d of the log's data begins no record: %v", at, err)
	}
	repr := *buf
	if len(repr) < batchHeaderLen {
		return b, corrupt.New(corrupt.ErrFormat, l.path, -1, "the record that ends with byte %d of the log's data is too short for a batch", at)
	}
	return ArchivedBatch{
		Repr: repr, SeqNum: binary.LittleEndian.Uint64(repr), Count: binary.LittleEndian.Uint32(repr[8:]),
		Time: s.timeOf(at),
	}, nil
}

// batchHeaderLen is the length of what stands before a batch's operations: sequence
// number (8) and count (4), little-endian.
const batchHeaderLen = 12

// readRecord appends a record to b, which grows as the record is read.
func readRecord(r io.Reader, b []byte) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		case len(b) >= maxArchivedBatch:
			return b, errors.New("a batch of more than 4 GiB")
		}
	}
}

// A frameStream is the data of a log's frames, one after the other, that remembers
// when each was sealed until what it holds is behind.
type frameStream struct {
	r    *wal.Reader
	rest []byte
	read int64 // bytes of all frames so far
	err  error // sticky

	ends []frameEnd // of frames that are not behind yet
}

type frameEnd struct {
	end  int64 // offset in the data
	time time.Time
}

func (s *frameStream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		f, err := s.r.Next()
		if err != nil {
			s.err = err
			return 0, err
		}
		s.rest = f.Data
		s.read += int64(len(f.Data))
		s.ends = append(s.ends, frameEnd{s.read, f.Time})
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// timeOf is when the frame was sealed that holds the byte before offset. It forgets
// those before it.
func (s *frameStream) timeOf(offset int64) time.Time {
	n := 0
	for n < len(s.ends)-1 && s.ends[n].end < offset {
		n++
	}
	if len(s.ends) == 0 {
		return time.Time{}
	}
	s.ends = append(s.ends[:0], s.ends[n:]...)
	return s.ends[0].time
}

// ErrUnknownOperation: an archived batch holds an operation that this build does not
// write and cannot apply.
var ErrUnknownOperation = errors.New("the batch holds an operation of an unknown kind")

// ApplyArchived writes a batch of an archived log to the table, under a sequence
// number of the table's own: all of it or nothing, as Batch.Commit does. It is for a
// table that is being restored, to which nobody else writes: the batches of all
// segments from the base on, in order, make it what its source was after the last
// of them. Those from before the base may be among them, as long as none between
// them and the base is missing: to apply a batch again, and all that follow, changes
// nothing in the end.
//
// Errors: ErrUnknownOperation, *CorruptionError where the batch does not parse, and
// those of Batch.Commit.
func (t *Table) ApplyArchived(b ArchivedBatch, opts *WriteOptions) error {
	if err := checkArchived(b.Repr); err != nil {
		return err
	}
	if b.Count == 0 {
		return nil
	}
	i, wo, err := t.beginWrite(opts)
	if err != nil {
		return err
	}
	defer i.leave()
	repr := append([]byte(nil), b.Repr...) // Pebble writes into it
	clear(repr[:8])
	pb := i.db.NewBatch()
	if err := pb.SetRepr(repr); err != nil {
		return errors.Join(i.translate(err), pb.Close())
	}
	if err := i.wrote(wo, pb.Commit(wo)); err != nil {
		return err
	}
	return i.result(pb.Close())
}

// checkArchived looks at each operation of a batch. What comes from a backup is
// authentic; a later version may know kinds that this one would apply as something
// else, or that name files of its own.
func checkArchived(repr []byte) error {
	if len(repr) < batchHeaderLen {
		return corrupt.New(corrupt.ErrFormat, "", -1, "a batch of %d bytes", len(repr))
	}
	header, _ := batchrepr.ReadHeader(repr)
	r := batchrepr.Read(repr)
	var have uint32
	for {
		kind, _, _, ok, err := r.Next()
		if err != nil {
			return corrupt.New(corrupt.ErrFormat, "", -1, "operation %d of a batch does not parse", have)
		}
		if !ok {
			break
		}
		switch kind {
		case pebble.InternalKeyKindSet, pebble.InternalKeyKindDelete, pebble.InternalKeyKindDeleteSized, pebble.InternalKeyKindRangeDelete:
			have++
		case pebble.InternalKeyKindLogData: // has no sequence number, and is not counted
		default:
			return fmt.Errorf("%w: %d", ErrUnknownOperation, kind)
		}
	}
	if have != header.Count {
		return corrupt.New(corrupt.ErrFormat, "", -1, "a batch of %d operations says it has %d", have, header.Count)
	}
	return nil
}
