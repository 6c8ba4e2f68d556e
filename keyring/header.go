package keyring

import (
	"fmt"
	"time"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
)

// FormatVersion is the version of every sealed file this build writes.
//
//	1  the first
const FormatVersion = 1

// SuiteAES256GCM is the one cipher suite: AES-256-GCM with random nonces,
// HKDF-Expand-SHA-384.
const SuiteAES256GCM = 1

// A FileKind tells what a sealed file holds. Kinds are wire constants.
type FileKind uint8

const (
	KindSSTable  FileKind = 1 // a sorted table, written once
	KindBlob     FileKind = 2 // values separated from a table, written once
	KindWAL      FileKind = 3 // a write-ahead log segment
	KindManifest FileKind = 4 // Pebble's log of version edits
	KindOptions  FileKind = 5 // Pebble's OPTIONS
	KindJournal  FileKind = 6 // the store's journal of clean closes
)

var kindNames = map[FileKind]string{
	KindSSTable: "sstable", KindBlob: "blob", KindWAL: "wal",
	KindManifest: "manifest", KindOptions: "options", KindJournal: "journal",
}

func (k FileKind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Random tells whether files of the kind are written once and read at random
// (package sstable); the others are appended to (package wal).
func (k FileKind) Random() bool { return k == KindSSTable || k == KindBlob }

// An Identity is what a sealed file is, as opposed to what it holds. It is
// bound into the file's header tag and thereby into every key of the file: a
// file under another's name, kind, number, table or store does not open.
type Identity struct {
	Kind        FileKind
	UnitSize    uint32    // length of an encrypted segment in bytes; 0 for logs
	StoreID     ID        //
	TableID     ID        // zero for the store's own files
	FileID      ID        // random, one a data key
	Number      uint64    // Pebble's file number
	Incarnation ID        // the life of the table in which the file was made
	CreatedAt   time.Time // informative; nanoseconds, UTC
}

const (
	magic       = "\x93COFRE\r\n" // not UTF-8, damaged by newline translation
	identityLen = 96

	// WrappedKeyLen is the length of a wrapped 256-bit key: nonce, key, tag.
	WrappedKeyLen = 12 + 32 + 16

	// HeaderLen is the length of the header of every sealed file, in bytes.
	HeaderLen = identityLen + 4 + WrappedKeyLen + floe.HeaderLen

	// MinUnitSize and MaxUnitSize bound an SSTable's segments, in bytes.
	MinUnitSize = 64
	MaxUnitSize = 1 << 20
)

// A Header opens every sealed file:
//
//	off  len
//	  0    8  magic 93 43 4f 46 52 45 0d 0a
//	  8    2  format version
//	 10    1  kind
//	 11    1  suite
//	 12    4  unit size
//	 16   16  store id
//	 32   16  table id
//	 48   16  file id
//	 64    8  file number
//	 72   16  incarnation
//	 88    8  created at, nanoseconds since 1970
//	 96    4  table key version      ─┐ not part of the identity: the
//	100   60  wrapped data key       ─┘ overlay may replace them
//	160   74  FLOE header: parameters, IV, header tag
//
// Bytes 0 to 95 are the identity, FLOE's additional data. Everything here is
// a hint until the header tag has been checked, which takes the data key.
type Header struct {
	Version    uint16
	Suite      uint8
	Identity   Identity
	KeyVersion uint32
	WrappedKey [WrappedKeyLen]byte
	Floe       [floe.HeaderLen]byte
}

// AAD encodes the identity as it stands in the header.
func (id *Identity) AAD() []byte {
	w := codec.Writer{B: make([]byte, 0, HeaderLen)}
	w.Raw([]byte(magic))
	w.U16(FormatVersion)
	w.U8(uint8(id.Kind))
	w.U8(SuiteAES256GCM)
	w.U32(id.UnitSize)
	w.Raw(id.StoreID[:])
	w.Raw(id.TableID[:])
	w.Raw(id.FileID[:])
	w.U64(id.Number)
	w.Raw(id.Incarnation[:])
	w.U64(uint64(id.CreatedAt.UnixNano()))
	return w.B
}

// EncodeHeader builds the header of a new file.
func EncodeHeader(id *Identity, key *DataKey, floeHeader [floe.HeaderLen]byte) []byte {
	w := codec.Writer{B: id.AAD()}
	w.Raw(EncodeWrap(WrappedDataKey{Version: key.Version, Wrapped: key.Wrapped}))
	w.Raw(floeHeader[:])
	return w.B
}

// WrapOffset is where a header has the version of the table key and the wrapped data
// key. They are not part of the identity.
const WrapOffset = identityLen

// EncodeWrap encodes them as they stand there.
func EncodeWrap(k WrappedDataKey) []byte {
	var w codec.Writer
	w.U32(k.Version)
	w.Raw(k.Wrapped[:])
	return w.B
}

// ParseHeader reads the header at the start of b. Errors are *corrupt.Error
// values of class ErrFormat (too short, or not a sealed file) or ErrVersion
// (made by a newer Cofre).
func ParseHeader(b []byte) (*Header, error) {
	if len(b) < HeaderLen {
		return nil, corrupt.New(corrupt.ErrFormat, "", 0, "%d bytes are too short for a header of %d", len(b), HeaderLen)
	}
	r := codec.NewReader(b[:HeaderLen])
	if string(r.Raw(len(magic))) != magic {
		return nil, corrupt.New(corrupt.ErrFormat, "", 0, "not a sealed file: wrong magic")
	}
	h := &Header{Version: r.U16()}
	h.Identity.Kind = FileKind(r.U8())
	h.Suite = r.U8()
	if h.Version != FormatVersion {
		return nil, corrupt.New(corrupt.ErrVersion, "", 8, "format version %d, this build knows %d", h.Version, FormatVersion)
	}
	if h.Suite != SuiteAES256GCM {
		return nil, corrupt.New(corrupt.ErrVersion, "", 11, "cipher suite %d, this build knows %d", h.Suite, SuiteAES256GCM)
	}
	if _, ok := kindNames[h.Identity.Kind]; !ok {
		return nil, corrupt.New(corrupt.ErrFormat, "", 10, "unknown kind %d", uint8(h.Identity.Kind))
	}
	id := &h.Identity
	id.UnitSize = r.U32()
	r.Fill(id.StoreID[:])
	r.Fill(id.TableID[:])
	r.Fill(id.FileID[:])
	id.Number = r.U64()
	r.Fill(id.Incarnation[:])
	id.CreatedAt = time.Unix(0, int64(r.U64())).UTC()
	h.KeyVersion = r.U32()
	r.Fill(h.WrappedKey[:])
	r.Fill(h.Floe[:])
	if id.Kind.Random() && (id.UnitSize < MinUnitSize || id.UnitSize > MaxUnitSize) ||
		!id.Kind.Random() && id.UnitSize != 0 {
		return nil, corrupt.New(corrupt.ErrFormat, "", 12, "unit size %d is not possible for a %s", id.UnitSize, id.Kind)
	}
	return h, nil
}
