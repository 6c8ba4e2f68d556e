package backup

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

const (
	indexMagic = "\x93COFRI\r\n" // I: index

	// IndexVersion is the version of the index.
	//
	//	1  the first
	IndexVersion = 1

	// Bounds of what an index holds. maxIndex is in bytes.
	maxIndex    = 1 << 30
	maxBody     = 1 << 30 // of the body, in bytes, as it is before compression
	maxFiles    = 1 << 20
	maxName     = 255
	maxKeys     = 1 << 16 // of one file: a log goes on under another at each rotation
	maxSealSize = 8 << 20
	maxRangeKey = 64 << 10
	maxBytes    = 1 << 60 // of all files

	minFileLen = 4 + 16 + 8 + 32

	wrappedLen  = 16 + 4 + keyring.WrappedKeyLen
	flagSealed  = 1
	overlayName = "overlay" // the file of an unsealed index that is the table's overlay
)

// An index lists the files of one table in one backup:
//
//	off  len
//	  0    8  magic 93 43 4f 46 52 49 0d 0a
//	  8    2  format version
//	 10    1  suite
//	 11    1  flags: bit 0, the body is sealed
//	 12   16  store id
//	 28   16  table id
//	 44   16  incarnation; zeros unless sealed
//	 60    8  time of the backup, nanoseconds since 1970
//	 68    8  time of the table in it
//	 76  4+n  name of the backup
//	       4  count of files
//	          4+n  name, as Pebble has it
//	           16  file id; zeros of an empty file, whose content is its name
//	            8  size
//	           32  SHA-256 of the ciphertext; zeros of an empty file
//	       4  version of the table's key; 0 unless sealed
//	     4+n  body; not empty if sealed, and then alone
//
// All that stands before the version is the additional data of the seal. The body, sealed
// as a record of the table's, is one frame of zstd (RFC 8878), which tells its content's
// size, of
//
//	 32    SHA-256 of the manifest, but for what the indexes add to it
//	4+n    name of the table
//	4+n    how MANIFEST, markers and logs hang together, as the engine has it
//	       and for each file, in the order above,
//	  4    count of data keys; 0 of an empty file, and then alone
//	   16  what it was made for: the file's id the first, of others that of a change of
//	       its key
//	    4  version of the table's key that wraps it
//	   60  wrapped data key
//	4+n    smallest and
//	4+n    largest key in a sorted file, where that is known
type index struct {
	sealed      bool
	store       keyring.ID
	table       keyring.ID
	incarnation keyring.ID
	time, at    time.Time
	backup      string
	files       []indexFile

	// Of the body.
	core digest // of the manifest
	name string
	seal []byte

	version uint32 // of the table's key that seals the body
	body    []byte // as it lies there
	head    []byte // all that stands before it
}

type indexFile struct {
	name   string
	size   int64
	id     keyring.ID
	digest digest

	// Of the body.
	keys              []keyring.WrappedDataKey
	smallest, largest []byte
}

func (f *indexFile) key() fileKey { return fileKey{f.id, f.digest} }

// empty tells whether the file has no object.
func (f *indexFile) empty() bool { return f.size == 0 }

func (x *index) encodeHead() []byte {
	w := codec.Writer{B: make([]byte, 0, 256+len(x.files)*80)}
	w.Raw([]byte(indexMagic))
	w.U16(IndexVersion)
	w.U8(keyring.SuiteAES256GCM)
	var flags uint8
	if x.sealed {
		flags = flagSealed
	}
	w.U8(flags)
	w.Raw(x.store[:])
	w.Raw(x.table[:])
	w.Raw(x.incarnation[:])
	w.U64(uint64(x.time.UnixNano()))
	w.U64(uint64(x.at.UnixNano()))
	w.Str(x.backup)
	w.U32(uint32(len(x.files)))
	for i := range x.files {
		f := &x.files[i]
		w.Str(f.name)
		w.Raw(f.id[:])
		w.U64(uint64(f.size))
		w.Raw(f.digest[:])
	}
	return w.B
}

// encode gives the bytes of the index; keys seal its body, or are nil where it is to be
// unsealed.
func (x *index) encode(keys *keyring.TableKeys) ([]byte, error) {
	x.sealed = keys != nil
	x.head = x.encodeHead()
	x.version, x.body = 0, nil
	if keys != nil {
		body := x.encodeBody()
		if err := x.checkBody(body); err != nil {
			return nil, fmt.Errorf("backup: the body of the index of table %s would not be one: %w", x.table, err)
		}
		plain, err := compress(body)
		if err != nil {
			return nil, err
		}
		if x.body, x.version, err = keys.SealRecord(plain, x.head); err != nil {
			return nil, err
		}
	}
	w := codec.Writer{B: slices.Clone(x.head)}
	w.U32(x.version)
	w.Bytes(x.body)
	if _, err := parseIndex(w.B); err != nil {
		return nil, fmt.Errorf("backup: the index of table %s would not be one: %w", x.table, err)
	}
	return w.B, nil
}

func (x *index) encodeBody() []byte {
	var w codec.Writer
	w.Raw(x.core[:])
	w.Str(x.name)
	w.Bytes(x.seal)
	for i := range x.files {
		f := &x.files[i]
		w.U32(uint32(len(f.keys)))
		for _, k := range f.keys {
			w.Raw(k.File[:])
			w.U32(k.Version)
			w.Raw(k.Wrapped[:])
		}
		w.Bytes(f.smallest)
		w.Bytes(f.largest)
	}
	return w.B
}

// checkBody finds that what is to be sealed would not be read.
func (x *index) checkBody(b []byte) error {
	if len(b) > maxBody {
		return codec.ErrBound
	}
	again := &index{files: make([]indexFile, len(x.files))}
	for i := range x.files {
		again.files[i] = indexFile{name: x.files[i].name, size: x.files[i].size, id: x.files[i].id}
	}
	return again.parseBody(codec.NewReader(b))
}

// parseIndex reads what is in the clear, strictly: there is one encoding of each.
func parseIndex(b []byte) (*index, error) {
	bad := func(off int64, format string, args ...any) (*index, error) {
		return nil, corrupt.New(corrupt.ErrFormat, "", off, format, args...)
	}
	if len(b) > maxIndex {
		return bad(0, "%d bytes are more than an index can have", len(b))
	}
	if !bytes.HasPrefix(b, []byte(indexMagic)) {
		return bad(0, "not an index: too short, or the wrong magic")
	}
	r := codec.NewReader(b[len(indexMagic):])
	version, suite, flags := r.U16(), r.U8(), r.U8()
	switch {
	case r.Err() != nil:
		return bad(8, "%v", r.Err())
	case version != IndexVersion:
		return nil, corrupt.New(corrupt.ErrVersion, "", 8, "index format version %d, this build knows %d", version, IndexVersion)
	case suite != keyring.SuiteAES256GCM:
		return nil, corrupt.New(corrupt.ErrVersion, "", 10, "cipher suite %d, this build knows %d", suite, keyring.SuiteAES256GCM)
	case flags&^flagSealed != 0:
		return bad(11, "unknown flags")
	}
	x := &index{sealed: flags&flagSealed != 0}
	r.Fill(x.store[:])
	r.Fill(x.table[:])
	r.Fill(x.incarnation[:])
	x.time = time.Unix(0, int64(r.U64())).UTC()
	x.at = time.Unix(0, int64(r.U64())).UTC()
	x.backup = r.Str(maxName)
	x.files = make([]indexFile, r.Count(maxFiles, minFileLen))
	var total int64
	for i := range x.files {
		f := &x.files[i]
		f.name = r.Str(maxName)
		r.Fill(f.id[:])
		f.size = int64(r.U64())
		r.Fill(f.digest[:])
		if r.Err() != nil {
			break
		}
		if fault := f.check(); fault != "" {
			return bad(-1, "file %q: %s", clip(f.name), fault)
		}
		if i > 0 && x.files[i-1].name >= f.name {
			return bad(-1, "file %q out of order", clip(f.name))
		}
		if total += f.size; total > maxBytes {
			return bad(-1, "its files have more bytes than there can be")
		}
	}
	x.head = b[:len(b)-r.Len()]
	x.version = r.U32()
	x.body = r.Bytes(maxIndex)
	if err := r.Done(); err != nil {
		return bad(-1, "%v", err)
	}
	if x.sealed != (x.version != 0) || x.sealed != (len(x.body) > 0) {
		return bad(-1, "the body is not what the flags say")
	}
	if !x.sealed && !x.incarnation.IsZero() {
		return bad(44, "an index without a seal attests no incarnation")
	}
	return x, nil
}

// check tells what is wrong with a line of an index.
func (f *indexFile) check() string {
	switch {
	case f.name == "" || bytes.ContainsAny([]byte(f.name), "/\\\x00") || f.name[0] == '.':
		return "no file of a table has this name"
	case f.size < 0 || f.size > maxBytes:
		return "a size that cannot be"
	case f.empty() != f.id.IsZero() || f.empty() != (f.digest == digest{}):
		return "an empty file has neither id nor digest, and any other has both"
	}
	return ""
}

// open opens the body of a sealed index. Errors are those of keyring.OpenRecord, and
// *corrupt.Error.
func (x *index) open(keys *keyring.TableKeys) error {
	if !x.sealed {
		return errors.New("backup: an index without a seal")
	}
	if keys.StoreID() != x.store || keys.ID() != x.table {
		return corrupt.New(corrupt.ErrForeign, "", 12, "belongs to table %s of store %s", x.table, x.store)
	}
	plain, err := keys.OpenRecord(x.version, x.body, x.head)
	if err != nil {
		return err
	}
	b, err := decompress(plain, maxBody)
	if err != nil {
		return corrupt.New(corrupt.ErrFormat, "", -1, "the body: %v", err)
	}
	if err := x.parseBody(codec.NewReader(b)); err != nil {
		return corrupt.New(corrupt.ErrFormat, "", -1, "the body: %v", err)
	}
	return nil
}

func (x *index) parseBody(r *codec.Reader) error {
	r.Fill(x.core[:])
	x.name = r.Str(maxName)
	x.seal = r.Bytes(maxSealSize)
	for i := range x.files {
		f := &x.files[i]
		f.keys = make([]keyring.WrappedDataKey, r.Count(maxKeys, wrappedLen))
		for j := range f.keys {
			k := &f.keys[j]
			r.Fill(k.File[:])
			k.Version = r.U32()
			r.Fill(k.Wrapped[:])
			if r.Err() == nil && k.Version == 0 {
				return fmt.Errorf("file %q: a data key under version 0", clip(f.name))
			}
		}
		if r.Err() == nil && (f.empty() != (len(f.keys) == 0) || !f.empty() && f.keys[0].File != f.id) {
			return fmt.Errorf("file %q: not the data keys that a file of its size has", clip(f.name))
		}
		f.smallest, f.largest = r.Bytes(maxRangeKey), r.Bytes(maxRangeKey)
		if r.Err() != nil {
			break
		}
	}
	return r.Done()
}

// versions are those of the table's key that wrap data keys.
func (x *index) versions() (vs []uint32) {
	for i := range x.files {
		for _, k := range x.files[i].keys {
			vs = append(vs, k.Version)
		}
	}
	slices.Sort(vs)
	return slices.Compact(vs)
}

func (x *index) bytes() (n int64) {
	for i := range x.files {
		n += x.files[i].size
	}
	return n
}

func compress(b []byte) ([]byte, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer enc.Close()
	return enc.EncodeAll(b, nil), nil
}

// decompress gives the content of a frame, which may have at most limit bytes. What the
// frame says is allocated, and what goes beyond is an error before it is there.
func decompress(b []byte, limit int) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(b); err != nil {
		return nil, err
	}
	if !h.HasFCS || h.Skippable || h.FrameContentSize > uint64(limit) {
		return nil, codec.ErrBound
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(limit)), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return dec.DecodeAll(b, make([]byte, 0, h.FrameContentSize))
}
