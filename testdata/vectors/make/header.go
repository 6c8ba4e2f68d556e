package main

import (
	"fmt"

	"github.com/cofredb/cofre/internal/vectors"
)

const (
	magic     = "\x93COFRE\r\n"
	headerLen = 234

	kindSSTable  = 1
	kindBlob     = 2
	kindWAL      = 3
	kindManifest = 4
	kindOptions  = 5
	kindJournal  = 6
)

// A sealedFile is a file's identity and its keys. What is wrong with a file
// that a vector calls for is set before header is called.
type sealedFile struct {
	version     uint16
	kind        uint8
	suite       uint8
	unit        uint32
	store       []byte
	table       []byte
	file        []byte
	number      uint64
	incarnation []byte
	createdAt   uint64
	keyVersion  uint32
	tableKey    []byte
	dataKey     []byte
	segment     uint32 // of the FLOE header
	iv          []byte
}

// newFile makes a file whose keys depend on the label.
func newFile(label string, kind uint8, unit uint32) *sealedFile {
	return &sealedFile{
		version: 1, kind: kind, suite: 1, unit: unit, store: id("store"), table: id("table"), file: id("file " + label),
		number: 42, incarnation: id("incarnation"), createdAt: createdAt, keyVersion: 3,
		tableKey: random("table key", 32), dataKey: random("data key of "+label, 32), segment: unit, iv: random("iv of "+label, 32),
	}
}

func (f *sealedFile) identity() []byte {
	return cat(magic, f.version, f.kind, f.suite, f.unit, f.store, f.table, f.file, f.number, f.incarnation, f.createdAt)
}

func (f *sealedFile) wrapped() []byte {
	return seal(derive(f.tableKey, "cofre/v1/data-key", f.file, 32), f.dataKey, cat(f.store, f.table, f.file, f.keyVersion))
}

func (f *sealedFile) params() []byte { return cat(uint8(0), uint8(0), f.segment, uint32(32)) }

// kdf is KDF of the format's page.
func (f *sealedFile) kdf(key []byte, purpose any, n int) []byte {
	return expand(key, cat(f.params(), f.iv, purpose, f.identity()), n)
}

func (f *sealedFile) messageKey() []byte { return f.kdf(f.dataKey, "MESSAGE_KEY:", 48) }

func (f *sealedFile) header() []byte {
	return cat(f.identity(), f.keyVersion, f.wrapped(), f.params(), f.iv, f.kdf(f.dataKey, "HEADER_TAG:", 32))
}

// with is a copy of f, changed.
func (f *sealedFile) with(change func(*sealedFile)) *sealedFile {
	c := *f
	change(&c)
	return &c
}

var fileNames = map[uint8]string{
	kindSSTable: "%06d.sst", kindBlob: "%06d.blob", kindWAL: "%06d.log", kindManifest: "MANIFEST-%06d", kindOptions: "OPTIONS-%06d",
}

func (f *sealedFile) name() string { return fmt.Sprintf(fileNames[f.kind], f.number) }

func headers(s *set) {
	g := s.group("header", "docs/format.md#the-header")
	in := func(f *sealedFile, b []byte) vectors.HeaderIn {
		return vectors.HeaderIn{
			Name: f.name(), StoreID: id("store"), TableID: id("table"), File: b,
			TableKeys: map[uint32]vectors.Hex{1: random("table key 1", 32), 3: random("table key", 32)},
		}
	}
	valid := func(name, rule string, f *sealedFile) {
		g.valid(name, rule, in(f, f.header()), vectors.HeaderOut{
			Kind: f.kind, UnitSize: f.unit, FileID: f.file, Number: f.number, Incarnation: f.incarnation,
			CreatedAt: int64(f.createdAt), KeyVersion: f.keyVersion, DataKey: f.dataKey,
		})
	}
	sst := newFile("header", kindSSTable, 2048)
	wal := newFile("header of a log", kindWAL, 0)
	b := sst.header()

	valid("sstable", "Kind 1 is an SSTable.", sst)
	valid("blob", "Kind 2 is a blob file.", newFile("blob header", kindBlob, 4096))
	valid("wal", "Kind 3 is a write-ahead log segment, and has unit size 0.", wal)
	valid("manifest", "Kind 4 is a MANIFEST.", newFile("manifest header", kindManifest, 0))
	valid("options", "Kind 5 is an OPTIONS file.", newFile("options header", kindOptions, 0))
	valid("unit-smallest", "The smallest unit size is 64.", newFile("smallest unit", kindSSTable, 64))
	valid("unit-largest", "The largest unit size is 2^20.", newFile("largest unit", kindSSTable, 1<<20))
	valid("number-largest", "File numbers go up to 2^56.", sst.with(func(f *sealedFile) { f.number = 1 << 56; f.file = id("largest number") }))
	valid("key-version-1", "The data key is wrapped under the version of the table key that the header names.",
		sst.with(func(f *sealedFile) {
			f.keyVersion, f.tableKey, f.file = 1, random("table key 1", 32), id("older version")
		}))
	valid("rewrapped", "Key version and wrapped key are not part of the identity: the tag holds with another wrap of the same data key.",
		sst.with(func(f *sealedFile) { f.keyVersion, f.tableKey = 1, random("table key 1", 32) }))
	valid("time-zero", "Created at is informative and may be anything, such as 0.", sst.with(func(f *sealedFile) { f.createdAt = 0; f.file = id("no time") }))
	valid("time-negative", "Created at is a signed number of nanoseconds as far as a reader shows it.",
		sst.with(func(f *sealedFile) { f.createdAt = 1<<64 - 1; f.file = id("before 1970") }))
	g.valid("followed", "The header is the first 234 bytes, whatever follows.", in(sst, cat(b, "what follows")), vectors.HeaderOut{
		Kind: 1, UnitSize: 2048, FileID: sst.file, Number: 42, Incarnation: sst.incarnation, CreatedAt: createdAt, KeyVersion: 3, DataKey: sst.dataKey,
	})

	bad := func(name, rule, class string, offset int, b []byte) { g.invalid(name, rule, class, offset, in(sst, b)) }
	bad("empty", "A file has a whole header.", "ErrMissing", 0, nil)
	bad("cut", "A file has a whole header, to its last byte.", "ErrMissing", 233, b[:233])
	bad("magic-first", "The magic is 93 43 4f 46 52 45 0d 0a: its first byte.", "ErrFormat", 0, flip(b, 0))
	bad("magic-newline", "The magic shows a file whose ends of line were translated.", "ErrFormat", 0, cat("\x93COFRE\n", b[8:], uint8(0)))
	bad("magic-keyring", "The magic of a keyring is another.", "ErrFormat", 0, put(b, 0, "\x93COFRK\r\n"))
	bad("version-0", "There is no format version 0.", "ErrVersion", 8, put(b, 8, uint16(0)))
	bad("version-2", "An unknown format version is refused as an unknown version, not as tampering.", "ErrVersion", 8, put(b, 8, uint16(2)))
	bad("version-256", "The version is big-endian.", "ErrVersion", 8, put(b, 8, uint16(256)))
	bad("suite-0", "An unknown suite is refused as an unknown version.", "ErrVersion", 11, put(b, 11, uint8(0)))
	bad("suite-2", "Suite 1 is the only one.", "ErrVersion", 11, put(b, 11, uint8(2)))
	bad("kind-0", "There is no kind 0.", "ErrFormat", 10, put(b, 10, uint8(0)))
	bad("kind-7", "There is no kind 7.", "ErrFormat", 10, put(b, 10, uint8(7)))
	bad("unit-0", "An SSTable has a unit size.", "ErrFormat", 12, put(b, 12, uint32(0)))
	bad("unit-63", "A unit size is at least 64.", "ErrFormat", 12, put(b, 12, uint32(63)))
	bad("unit-above", "A unit size is at most 2^20.", "ErrFormat", 12, put(b, 12, uint32(1<<20+1)))
	bad("unit-huge", "Lengths are bounded before they are used.", "ErrFormat", 12, put(b, 12, uint32(1<<32-1)))
	g.invalid("unit-of-log", "A log has unit size 0.", "ErrFormat", 12, in(wal, put(wal.header(), 12, uint32(2048))))

	foreign := func(name, rule string, offset int, f *sealedFile) { bad(name, rule, "ErrForeign", offset, f.header()) }
	foreign("other-store", "A file of another store is foreign.", 16, sst.with(func(f *sealedFile) { f.store = id("another store") }))
	foreign("other-table", "A file of another table is foreign.", 32, sst.with(func(f *sealedFile) { f.table = id("another table") }))
	foreign("other-kind", "A blob file under the name of an SSTable is foreign.", 10, sst.with(func(f *sealedFile) { f.kind = kindBlob }))
	foreign("other-number", "A file under another's number is foreign.", 64, sst.with(func(f *sealedFile) { f.number = 43 }))
	foreign("log-as-sstable", "A log under the name of an SSTable is foreign.", 10, wal)

	g = g.in("docs/format.md#data-keys")
	bad = func(name, rule, class string, offset int, b []byte) { g.invalid(name, rule, class, offset, in(sst, b)) }
	bad("file-id", "The file id enters the wrapping key and its additional data.", "ErrAuth", 100, flip(b, 48))
	bad("wrap-nonce", "The wrapped key is sealed: its nonce.", "ErrAuth", 100, flip(b, 100))
	bad("wrap-text", "The wrapped key is sealed: its text.", "ErrAuth", 100, flip(b, 112))
	bad("wrap-tag", "The wrapped key is sealed: its tag.", "ErrAuth", 100, flip(b, 159))
	bad("key-version-other", "The key version is additional data of the wrap.", "ErrAuth", 100, put(b, 96, uint32(1)))
	bad("key-version-unknown", "A version that the table has not is no tampering of a seal, but an unknown version of its key.",
		"ErrVersionUnknown", 96, put(b, 96, uint32(2)))
	bad("key-version-0", "Versions count from 1.", "ErrVersionUnknown", 96, put(b, 96, uint32(0)))
	bad("wrap-of-other-table", "The table id is additional data of the wrap.", "ErrAuth", 100,
		put(b, 100, sst.with(func(f *sealedFile) { f.table = id("another table") }).wrapped()))
	bad("wrap-of-other-store", "The store id is additional data of the wrap.", "ErrAuth", 100,
		put(b, 100, sst.with(func(f *sealedFile) { f.store = id("another store") }).wrapped()))
	bad("wrap-of-other-file", "A wrap moved from another file does not open.", "ErrAuth", 100, put(b, 100, newFile("another header", kindSSTable, 2048).wrapped()))

	g = g.in("docs/format.md#derivation-inside-a-file")
	tag := func(name, rule string, b []byte) { bad(name, rule, "ErrAuth", 0, b) }
	bad = func(name, rule, class string, offset int, b []byte) { g.invalid(name, rule, class, offset, in(sst, b)) }
	tag("unit-other", "The unit size enters the header tag.", put(b, 12, uint32(4096)))
	tag("incarnation", "The incarnation enters the header tag.", flip(b, 72))
	tag("created-at", "Created at enters the header tag, informative as it is.", flip(b, 95))
	tag("floe-aead", "The parameters begin with 00, AES-256-GCM.", flip(b, 160))
	tag("floe-kdf", "The second byte of the parameters is 00, HKDF-Expand-SHA-384.", flip(b, 161))
	tag("floe-segment-length", "The segment length of the parameters is the unit size.",
		sst.with(func(f *sealedFile) { f.segment = 4096 }).header())
	tag("floe-iv-length", "The IV is 32 bytes long.", flip(b, 169))
	tag("floe-iv", "The IV enters the header tag.", flip(b, 170))
	tag("floe-tag", "The header tag is compared.", flip(b, 202))
	tag("floe-tag-end", "The header tag is compared whole, to its last byte.", flip(b, 233))
	tag("floe-of-other-file", "The FLOE header of another file does not fit.", join(b[:160], newFile("another header", kindSSTable, 2048).header()[160:]))
	tag("data-key-other", "The header tag commits to the data key: a well-made wrap of another one does not open the file.",
		put(b, 100, sst.with(func(f *sealedFile) { f.dataKey = random("another data key", 32) }).wrapped()))
	g.invalid("log-segment-length", "The segment length is 0 in a log.", "ErrAuth", 0, in(wal, wal.with(func(f *sealedFile) { f.segment = 2048 }).header()))
}
