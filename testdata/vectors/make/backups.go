package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/cofredb/cofre/internal/vectors"
)

const (
	indexMagic = "\x93COFRI\r\n"
	backupTime = createdAt
	backupName = "20260102T030405Z-0badcafe"
)

// A heldFile is a file of a table in a backup.
type heldFile struct {
	name    string
	id      []byte
	size    uint64
	digest  []byte
	keys    []keptKey
	bounds  [2]string
	noteKey uint32 // count of data keys in place of theirs; 0 is theirs
}

// A keptKey is a wrapped data key that lies beside its file.
type keptKey struct {
	made    []byte // what it was made for
	version uint32
	wrapped []byte
	key     []byte
}

func (k keptKey) encode() []byte { return cat(k.made, k.version, k.wrapped) }

// kept is the data key of a label, under a version of the table's key.
func kept(label string, version uint32) keptKey {
	f := newFile(label, kindWAL, 0)
	if version == 4 {
		f.keyVersion, f.tableKey = 4, random("table key 4", 32)
	}
	return keptKey{f.file, f.keyVersion, f.wrapped(), f.dataKey}
}

func held(name, label string, size uint64, keys ...keptKey) heldFile {
	return heldFile{name: name, id: id("file " + label), size: size, digest: random("digest of "+label, 32), keys: keys}
}

func emptyFile(name string) heldFile {
	return heldFile{name: name, id: zeros16, digest: make([]byte, 32)}
}

// A backupIndex lists the files of a table in a backup.
type backupIndex struct {
	version     uint16
	suite       uint8
	flags       uint8
	store       []byte
	table       []byte
	incarnation []byte
	backup      string
	files       []heldFile
	count       int // in place of the number of files, where it is not 0

	keyVersion uint32
	key        []byte
	core       []byte
	name       string
	seal       []byte
	aadTable   []byte // of the seal; nil: table
}

func (x *backupIndex) head() []byte {
	n := x.count
	if n == 0 {
		n = len(x.files)
	}
	b := cat(indexMagic, x.version, x.suite, x.flags, x.store, x.table, x.incarnation, uint64(backupTime), uint64(backupTime+1),
		prefixed(x.backup), uint32(n))
	for _, f := range x.files {
		b = cat(b, prefixed(f.name), f.id, f.size, f.digest)
	}
	return b
}

func (x *backupIndex) text() []byte {
	b := cat(x.core, prefixed(x.name), prefixed(x.seal))
	for _, f := range x.files {
		n := f.noteKey
		if n == 0 {
			n = uint32(len(f.keys))
		}
		b = cat(b, n)
		for _, k := range f.keys {
			b = cat(b, k.encode())
		}
		b = cat(b, prefixed(f.bounds[0]), prefixed(f.bounds[1]))
	}
	return b
}

// zstdFrame is a zstd frame of blocks that are not compressed, which tells the size of its
// content.
func zstdFrame(text []byte) []byte { return cat(zstdHeader(uint64(len(text))), blocks(text)) }

func zstdHeader(size uint64) []byte {
	b := cat([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}) // single segment, size of 8 bytes
	for i := range 8 {
		b = append(b, byte(size>>(8*i)))
	}
	return b
}

const blockLen = 128 << 10

func blocks(text []byte) (b []byte) {
	for {
		n := min(len(text), blockLen)
		h := uint32(n) << 3
		if n == len(text) {
			h |= 1
		}
		b = cat(b, byte(h), byte(h>>8), byte(h>>16), text[:n])
		if text = text[n:]; len(text) == 0 {
			return b
		}
	}
}

// repeated are blocks of n zeros altogether, each of four bytes.
func repeated(n int) (b []byte) {
	for ; n > 0; n -= blockLen {
		h := uint32(min(n, blockLen))<<3 | 1<<1
		if n <= blockLen {
			h |= 1
		}
		b = cat(b, byte(h), byte(h>>8), byte(h>>16), byte(0))
	}
	return b
}

// sealed is the index with a body of this text.
func (x *backupIndex) sealed(text []byte) []byte {
	table := x.aadTable
	if table == nil {
		table = x.table
	}
	body := sealSalted(x.key, "cofre/v1/record", text, cat(x.store, table, x.keyVersion, x.head()))
	return cat(x.head(), x.keyVersion, prefixed(body))
}

func (x *backupIndex) encode() []byte {
	if x.flags&1 == 0 {
		return cat(x.head(), uint32(0), uint32(0))
	}
	return x.sealed(zstdFrame(x.text()))
}

func (x *backupIndex) with(change func(*backupIndex)) *backupIndex {
	c := *x
	c.files = slices.Clone(x.files)
	change(&c)
	return &c
}

func (x *backupIndex) out() vectors.BackupIndexOut {
	o := vectors.BackupIndexOut{
		Sealed: x.flags&1 != 0, StoreID: x.store, TableID: x.table, Incarnation: x.incarnation, Time: backupTime, At: backupTime + 1,
		Backup: x.backup, KeyVersion: x.keyVersion, Core: x.core, Table: vectors.Text(x.name), Seal: x.seal,
	}
	for _, f := range x.files {
		v := vectors.BackupFile{Name: vectors.Text(f.name), FileID: f.id, Size: int64(f.size), Digest: f.digest}
		if o.Sealed {
			v.Smallest, v.Largest = vectors.Hex(f.bounds[0]), vectors.Hex(f.bounds[1])
			for _, k := range f.keys {
				v.DataKeys = append(v.DataKeys, vectors.DataKey{FileID: k.made, Version: k.version, Wrapped: k.wrapped, Key: k.key})
			}
		}
		o.Files = append(o.Files, v)
	}
	if !o.Sealed {
		o.KeyVersion, o.Core, o.Table, o.Seal = 0, nil, nil, nil
	}
	return o
}

// backupIndexes list the files of a table.
func backupIndexes(s *set) {
	g := s.group("backup-index", "docs/repository.md#the-index")
	table := held("000005.sst", "a", 5000, kept("a", 3))
	table.bounds = [2]string{"aaa", "zzz"}
	x := &backupIndex{
		version: 1, suite: 1, flags: 1, store: id("store"), table: id("table"), incarnation: id("incarnation"), backup: backupName,
		files: []heldFile{table, held("000007.log", "b", 700, kept("b", 3), kept("rekeyed b", 4)), held("MANIFEST-000006", "c", 600, kept("c", 4)),
			emptyFile("marker.manifest.000001.MANIFEST-000006")},
		keyVersion: 4, key: random("table key 4", 32), core: random("core", 32), name: "clinic.patients", seal: []byte("how they hang together"),
	}
	b, text := x.encode(), x.text()
	box := boxed(newLockbox(backedUp()).encode())
	in := func(b []byte) vectors.BackupIndexIn { return vectors.BackupIndexIn{LockboxIn: box, Index: b} }
	valid := func(name, rule string, x *backupIndex) { g.valid(name, rule, in(x.encode()), x.out()) }
	with := x.with
	valid("typical", "Files stand by name, each with its id, size and digest; sealed, with their data keys.", x)
	valid("older", "An index may be sealed under a version that is not the newest.", with(func(x *backupIndex) { x.keyVersion, x.key = 3, random("table key", 32) }))
	unsealed := with(func(x *backupIndex) {
		x.flags, x.incarnation = 0, zeros16
		x.files = append(x.files, held("overlay", "o", 100))
	})
	valid("unsealed", "An index without a seal has no body, no version and no incarnation; an overlay may be among its files.", unsealed)
	valid("no-file", "An index may have no file.", with(func(x *backupIndex) { x.files = nil }))
	valid("name-longest", "A name has up to 255 bytes.", with(func(x *backupIndex) { x.files = []heldFile{emptyFile(strings.Repeat("n", 255))} }))
	split := zstdHeader(uint64(len(text)))
	split = cat(split, byte(10<<3), byte(0), byte(0), text[:10], blocks(text[10:]))
	g.valid("blocks", "The frame may have any blocks.", in(x.sealed(split)), x.out())

	bad := func(name, rule, class string, offset int, b []byte) { g.invalid(name, rule, class, offset, in(b)) }
	bad("empty", "An index begins with its magic.", "ErrFormat", 0, nil)
	bad("cut-version", "What follows the magic is whole.", "ErrFormat", 8, b[:11])
	bad("cut-head", "What is in the clear is whole.", "ErrFormat", -1, b[:60])
	bad("cut-files", "The last file is whole.", "ErrFormat", -1, b[:len(x.head())-1])
	bad("cut-body-length", "The length of the body is whole.", "ErrFormat", -1, b[:len(x.head())+7])
	bad("cut", "The body is as long as it says.", "ErrFormat", -1, b[:len(b)-1])
	bad("appended", "No byte is left over.", "ErrFormat", -1, cat(b, uint8(0)))
	bad("magic", "The magic is 93 43 4f 46 52 49 0d 0a.", "ErrFormat", 0, flip(b, 5))
	bad("magic-lockbox", "The magic of a lockbox is another.", "ErrFormat", 0, put(b, 0, lockboxMagic))
	bad("version-0", "There is no version 0.", "ErrVersion", 8, put(b, 8, uint16(0)))
	bad("version-2", "An unknown version is refused as such, not as tampering.", "ErrVersion", 8, put(b, 8, uint16(2)))
	bad("suite-2", "An unknown suite is refused as an unknown version.", "ErrVersion", 10, put(b, 10, uint8(2)))
	bad("flags", "No flag but the first is known.", "ErrFormat", 11, with(func(x *backupIndex) { x.flags = 3 }).encode())
	bad("unsealed-body", "Without the flag there is no body.", "ErrFormat", -1, put(b, 11, uint8(0)))
	bad("sealed-no-body", "With the flag there is a body.", "ErrFormat", -1, cat(x.head(), uint32(4), uint32(0)))
	bad("sealed-no-version", "With the flag there is a version of the table's key.", "ErrFormat", -1, put(b, len(x.head()), uint32(0)))
	bad("unsealed-version", "Without the flag there is no version.", "ErrFormat", -1, cat(unsealed.head(), uint32(4), uint32(0)))
	bad("unsealed-incarnation", "Without the flag there is no incarnation.", "ErrFormat", 44,
		unsealed.with(func(x *backupIndex) { x.incarnation = id("incarnation") }).encode())
	bad("backup-long", "The name of a backup has at most 255 bytes.", "ErrFormat", -1, with(func(x *backupIndex) { x.backup = strings.Repeat("b", 256) }).encode())
	bad("count-huge", "The count of files is bounded before it is used.", "ErrFormat", -1, with(func(x *backupIndex) { x.count = 1<<32 - 1 }).encode())
	bad("count-more", "A count is no more than fits into what is left.", "ErrFormat", -1, with(func(x *backupIndex) { x.count = 1 << 20 }).encode())
	bad("body-huge", "The length of the body is bounded before it is used.", "ErrFormat", -1, put(b, len(x.head())+4, uint32(1<<32-1)))

	files := func(name, rule string, files ...heldFile) {
		bad(name, rule, "ErrFormat", -1, with(func(x *backupIndex) { x.files = files }).encode())
	}
	one := func(change func(*heldFile)) heldFile {
		f := table
		change(&f)
		return f
	}
	files("order", "Files ascend by name.", x.files[1], x.files[0])
	files("twice", "No name comes twice.", x.files[0], x.files[0])
	files("name-empty", "A file has a name.", one(func(f *heldFile) { f.name = "" }))
	files("name-long", "A name has at most 255 bytes.", one(func(f *heldFile) { f.name = strings.Repeat("n", 256) }))
	files("name-slash", "A name has no slash.", one(func(f *heldFile) { f.name = "a/b" }))
	files("name-backslash", "A name has no backslash.", one(func(f *heldFile) { f.name = `a\b` }))
	files("name-zero", "A name has no byte 0.", one(func(f *heldFile) { f.name = "a\x00" }))
	files("name-dot", "A name does not begin with a dot.", one(func(f *heldFile) { f.name = ".." }))
	files("size-negative", "A size is below 2^60: not of 64 bits.", one(func(f *heldFile) { f.size = 1 << 63 }))
	files("size-large", "A size is at most 2^60.", one(func(f *heldFile) { f.size = 1<<60 + 1 }))
	files("sizes-large", "All sizes together are at most 2^60.", one(func(f *heldFile) { f.size = 1 << 60 }), x.files[1])
	files("empty-with-id", "An empty file has no id.", one(func(f *heldFile) { f.size, f.digest, f.keys = 0, make([]byte, 32), nil }))
	files("empty-with-digest", "An empty file has no digest.", one(func(f *heldFile) { f.size, f.id, f.keys = 0, zeros16, nil }))
	files("no-id", "A file that is not empty has an id.", one(func(f *heldFile) { f.id = zeros16 }))
	files("no-digest", "A file that is not empty has a digest.", one(func(f *heldFile) { f.digest = make([]byte, 32) }))

	bad("other-store", "An index of another store is foreign.", "ErrForeign", 12, with(func(x *backupIndex) { x.store = id("another store") }).encode())
	bad("other-table", "An index of another table is foreign.", "ErrForeign", 12, with(func(x *backupIndex) { x.table = id("another table") }).encode())
	bad("sealed-for-other", "The table's id is additional data.", "ErrAuth", -1, with(func(x *backupIndex) { x.aadTable = id("another table") }).encode())
	bad("key-version-unknown", "A version that the lockbox has not is an unknown version of the key.", "ErrVersionUnknown", -1, put(b, len(x.head()), uint32(5)))
	bad("key-version-retired", "A version that was retired is an unknown version of the key.", "ErrVersionUnknown", -1, put(b, len(x.head()), uint32(2)))
	bad("key-version-other", "The version chooses the key, and is additional data.", "ErrAuth", -1, put(b, len(x.head()), uint32(3)))
	bad("incarnation", "All before the version is additional data: the incarnation.", "ErrAuth", -1, flip(b, 50))
	bad("time", "All before the version is additional data: the time of the backup.", "ErrAuth", -1, flip(b, 67))
	bad("at", "All before the version is additional data: the time of the table.", "ErrAuth", -1, flip(b, 75))
	bad("size", "All before the version is additional data: a size.", "ErrAuth", -1, flip(b, 76+4+len(backupName)+4+4+10+16+7))
	bad("digest", "All before the version is additional data: a digest.", "ErrAuth", -1, flip(b, 76+4+len(backupName)+4+4+10+16+8))
	bad("salt", "The salt derives the key.", "ErrAuth", -1, flip(b, len(x.head())+8))
	bad("text", "The body is sealed: its text.", "ErrAuth", -1, flip(b, len(b)-20))
	bad("tag", "The body is sealed: its tag.", "ErrAuth", -1, flip(b, len(b)-1))
	bad("body-short", "The body has a salt, a nonce and a tag.", "ErrAuth", -1, cat(x.head(), uint32(4), prefixed(b[len(x.head())+8:len(x.head())+8+43])))

	body := func(name, rule string, text []byte) { bad(name, rule, "ErrFormat", -1, x.sealed(text)) }
	body("body-plain", "The body is a frame of zstd.", text)
	body("body-nothing", "The body has a frame.", nil)
	body("frame-skippable", "The first frame is none to be skipped.", cat([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, zstdFrame(text)))
	body("frame-size-unknown", "The frame tells the size of its content.", cat([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58}, blocks(text)))
	body("frame-size-huge", "The content has at most 2^30 bytes, whatever little it takes.", cat(zstdHeader(1<<30+1), repeated(1<<30 + 1)[:4096]))
	body("frame-more", "The content is no longer than the frame says.", cat(zstdHeader(uint64(len(text))), repeated(1<<24)))
	body("frame-less", "The content is no shorter than the frame says.", cat(zstdHeader(uint64(len(text))+1), blocks(text)))
	body("frame-cut", "The frame is whole.", zstdFrame(text)[:len(zstdFrame(text))-1])
	body("frame-second", "There is one frame.", cat(zstdFrame(text), zstdFrame([]byte{0})))
	body("frame-garbage", "Nothing follows the frame.", cat(zstdFrame(text), uint8(0)))
	body("text-cut", "The last key of the last file is whole.", zstdFrame(text[:len(text)-1]))
	body("text-appended", "Nothing follows the last file.", zstdFrame(cat(text, uint8(0))))
	body("text-nothing", "The text has a digest of the manifest.", zstdFrame(text[:31]))
	inBody := func(name, rule string, change func(*backupIndex)) {
		body(name, rule, zstdFrame(x.with(change).text()))
	}
	inBody("table-long", "The name of a table has at most 255 bytes.", func(x *backupIndex) { x.name = strings.Repeat("n", 256) })
	seal := 32 + 4 + len(x.name)
	body("seal-huge", "What the engine has is at most 8 MiB long.", zstdFrame(put(text, seal, uint32(8<<20+1))))
	file := func(name, rule string, i int, change func(*heldFile)) {
		inBody(name, rule, func(x *backupIndex) { change(&x.files[i]) })
	}
	file("keys-huge", "The count of data keys is bounded before it is used.", 0, func(f *heldFile) { f.noteKey = 1<<32 - 1 })
	file("keys-more", "A count of data keys is no more than fits into what is left.", 0, func(f *heldFile) { f.noteKey = 60000 })
	file("no-key", "A file that is not empty has a data key.", 0, func(f *heldFile) { f.keys = nil })
	file("key-of-other", "The first data key was made for the file.", 1, func(f *heldFile) { f.keys = []keptKey{f.keys[1], f.keys[0]} })
	file("key-of-empty", "An empty file has no data key.", 3, func(f *heldFile) { f.keys = []keptKey{kept("b", 3)} })
	file("key-version-0", "Data keys are wrapped under versions from 1 on.", 0, func(f *heldFile) {
		k := f.keys[0]
		k.version = 0
		f.keys = []keptKey{k}
	})
	file("smallest-long", "The smallest key has at most 65536 bytes.", 0, func(f *heldFile) { f.bounds[0] = strings.Repeat("k", 1<<16+1) })
	file("largest-long", "The largest key has at most 65536 bytes.", 0, func(f *heldFile) { f.bounds[1] = strings.Repeat("k", 1<<16+1) })
	last := len(text) - 4
	body("largest-beyond", "A key is within the text.", zstdFrame(put(text, last, uint32(1))))
}

// A manifestTable is a table of a manifest, whose fields are JSON.
type manifestTable struct {
	table, at, until, sealed, files, size, sent, versions, sealVersion, indexSize, index string
}

func (t manifestTable) encode() string {
	return fmt.Sprintf(`    {
      "table": "%s",
      "at": "%s",
      "until": "%s",
      "sealed": %s,
      "files": %s,
      "bytes": %s,
      "new_bytes": %s,
      "key_versions": %s,
      "seal_version": %s,
      "index_size": %s,
      "index": "%s"
    }`, t.table, t.at, t.until, t.sealed, t.files, t.size, t.sent, t.versions, t.sealVersion, t.indexSize, t.index)
}

// A manifest makes a backup exist. Its fields are JSON.
type manifest struct {
	format, name, repository, store, time, finished, label string
	tables                                                 []manifestTable
}

func (m manifest) encode() string {
	label := ""
	if m.label != "" {
		label = "\n  \"label\": " + m.label + ","
	}
	tables := "[]"
	if len(m.tables) > 0 {
		var list []string
		for _, t := range m.tables {
			list = append(list, t.encode())
		}
		tables = "[\n" + strings.Join(list, ",\n") + "\n  ]"
	}
	return fmt.Sprintf(`{
  "format": %s,
  "name": "%s",
  "repository": "%s",
  "store": "%s",
  "time": "%s",
  "finished": "%s",%s
  "tables": %s
}`, m.format, m.name, m.repository, m.store, m.time, m.finished, label, tables)
}

func (m manifest) with(change func(*manifest)) manifest {
	m.tables = slices.Clone(m.tables)
	change(&m)
	return m
}

// core is the digest of the manifest without what the indexes add.
func (m manifest) core() []byte {
	c := m.with(func(m *manifest) {
		for i := range m.tables {
			t := &m.tables[i]
			t.sealVersion, t.indexSize, t.index = "0", "0", strings.Repeat("0", 64)
		}
	})
	sum := sha256.Sum256([]byte(c.encode()))
	return sum[:]
}

func hexOf(b []byte) string { return fmt.Sprintf("%x", b) }

func versionList(vs ...string) string {
	return "[\n        " + strings.Join(vs, ",\n        ") + "\n      ]"
}

// backupManifests are manifests.
func backupManifests(s *set) {
	g := s.group("backup-manifest", "docs/repository.md#the-manifest")
	table := func(n byte) manifestTable {
		return manifestTable{
			table: hexOf(tableID(n)), at: "2026-01-02T03:04:05.000000679Z", until: "2026-01-02T03:04:05.7Z", sealed: "true", files: "4", size: "6300", sent: "600",
			versions: versionList("3", "4"), sealVersion: "5", indexSize: "900", index: hexOf(random("index", 32)),
		}
	}
	m := manifest{
		format: "1", name: backupName, repository: hexOf(id("repository")), store: hexOf(id("store")), time: "2026-01-02T03:04:05.000000678Z",
		finished: "2026-01-02T03:04:09Z", label: `"before the upgrade"`, tables: []manifestTable{table(1), table(2)},
	}
	in := func(text string) vectors.BackupManifestIn {
		return vectors.BackupManifestIn{Name: backupName, Manifest: vectors.Text(text)}
	}
	valid := func(name, rule string, needed [][]uint32, change func(*manifest)) {
		m := m.with(change)
		g.valid(name, rule, in(m.encode()), vectors.BackupManifestOut{Core: m.core(), Needed: needed})
	}
	both := [][]uint32{{3, 4, 5}, {3, 4, 5}}
	valid("typical", "A manifest names tables by id, each with the digest of its index.", both, func(*manifest) {})
	valid("no-label", "A label that is empty is not there.", both, func(m *manifest) { m.label = "" })
	valid("label-escapes", "In a label, less, greater and ampersand are escaped, and so are line separators.", both,
		func(m *manifest) { m.label = `"\u003ca\u003e \u0026 \"b\" \\ / \n\u2028é"` })
	valid("label-longest", "A label has up to 256 bytes.", both, func(m *manifest) { m.label = `"` + strings.Repeat("l", 256) + `"` })
	valid("unsealed", "A table that is not sealed has no version that seals.", [][]uint32{{3, 4}, {3, 4, 5}}, func(m *manifest) {
		m.tables[0].sealed, m.tables[0].sealVersion = "false", "0"
	})
	valid("no-key-versions", "A table of which no key is known has none, written null.", [][]uint32{nil}, func(m *manifest) {
		m.tables = m.tables[:1]
		m.tables[0].sealed, m.tables[0].sealVersion, m.tables[0].versions = "false", "0", "null"
	})

	text := m.encode()
	bad := func(name, rule, class, text string) { g.invalid(name, rule, class, -1, in(text)) }
	written := func(name, rule, old, with string) {
		if strings.Count(text, old) < 1 {
			panic("make: " + name + " changes nothing")
		}
		bad(name, rule, "ErrFormat", strings.Replace(text, old, with, 1))
	}
	bad("empty", "A manifest is JSON.", "ErrFormat", "")
	bad("cut", "A manifest is whole.", "ErrFormat", text[:len(text)-1])
	bad("appended", "Nothing follows it.", "ErrFormat", text+"\n")
	bad("second", "There is one.", "ErrFormat", text+text)
	bad("array", "It is an object.", "ErrFormat", "["+text+"]")
	bad("version-0", "There is no format version 0.", "ErrVersion", m.with(func(m *manifest) { m.format = "0" }).encode())
	bad("version-2", "An unknown format version is refused as such, whatever else there is.", "ErrVersion", `{"format": 2, "of": "the future"}`)
	written("not-indented", "There is one way to write a manifest: two spaces a level.", "\n  \"name\"", "\n   \"name\"")
	written("space", "There is one way to write a manifest: one space behind a colon.", `"store": `, `"store":  `)
	written("order", "Members have an order.", `"files": 4,
      "bytes": 6300`, `"bytes": 6300,
      "files": 4`)
	written("twice", "No member comes twice.", `"files": 4,`, `"files": 4,
      "files": 4,`)
	written("unknown", "There is no other member.", `"files": 4,`, `"files": 4,
      "more": 4,`)
	written("missing", "No member is missing, but an empty label.", `      "files": 4,
`, "")
	written("case", "Members are written in lower case.", `"files"`, `"Files"`)
	written("number", "Numbers are integers without an exponent.", `"files": 4`, `"files": 4e0`)
	written("number-large", "Numbers have a bound.", `"bytes": 6300`, `"bytes": 9223372036854775808`)
	written("digits", "Hexadecimal digits are lower case.", hexOf(id("store")), strings.ToUpper(hexOf(id("store"))))
	written("id-short", "An id has 32 digits.", hexOf(id("store")), hexOf(id("store"))[1:])
	written("digest-short", "A digest has 64 digits.", hexOf(random("index", 32)), hexOf(random("index", 32))[2:])
	written("escape", "A character that need not be escaped is not.", "upgrade", `\u0075pgrade`)
	written("not-escaped", "A character that must be escaped is.", "before the", "before <the>")
	written("label-empty", "A label that is empty is not there: not as an empty one.", `"before the upgrade"`, `""`)
	bad("not-utf8", "Text is UTF-8.", "ErrFormat", strings.Replace(text, "before", "bef\xffre", 1))
	bad("byte-order-mark", "There is no mark of byte order.", "ErrFormat", "\ufeff"+text)
	with := func(name, rule string, change func(*manifest)) {
		bad(name, rule, "ErrFormat", m.with(change).encode())
	}
	one := func(name, rule string, change func(*manifestTable)) {
		with(name, rule, func(m *manifest) { change(&m.tables[0]) })
	}
	bad("other-name", "A manifest under another's name is foreign.", "ErrForeign", m.with(func(m *manifest) { m.name = "20260102T030405Z-00000000" }).encode())
	with("no-store", "The store's id is not zeros.", func(m *manifest) { m.store = hexOf(zeros16) })
	with("no-repository", "The repository's id is not zeros.", func(m *manifest) { m.repository = hexOf(zeros16) })
	with("time-zone", "Times are in UTC: that of the backup.", func(m *manifest) { m.time = "2026-01-02T04:04:05+01:00" })
	with("finished-zone", "Times are in UTC: that of its end.", func(m *manifest) { m.finished = "2026-01-02T04:04:09+01:00" })
	with("time-zeros", "Fractions of a second do not end in zeros.", func(m *manifest) { m.time = "2026-01-02T03:04:05.100Z" })
	with("label-long", "A label has at most 256 bytes.", func(m *manifest) { m.label = `"` + strings.Repeat("l", 257) + `"` })
	with("no-table", "There is at least one table.", func(m *manifest) { m.tables = nil })
	with("table-order", "Tables ascend by id.", func(m *manifest) { m.tables[0], m.tables[1] = m.tables[1], m.tables[0] })
	with("table-twice", "No table comes twice.", func(m *manifest) { m.tables[1] = m.tables[0] })
	one("table-zeros", "The id of a table is not zeros.", func(t *manifestTable) { t.table = hexOf(zeros16) })
	one("at-zone", "Times are in UTC: that from which on a table is in it.", func(t *manifestTable) { t.at = "2026-01-02T04:04:05+01:00" })
	one("until-zone", "Times are in UTC: that up to which a table is in it.", func(t *manifestTable) { t.until = "2026-01-02T04:04:05+01:00" })
	one("files-negative", "A count of files is not negative.", func(t *manifestTable) { t.files = "-1" })
	one("files-many", "There are at most 2^20 files.", func(t *manifestTable) { t.files = "1048577" })
	one("bytes-negative", "A number of bytes is not negative.", func(t *manifestTable) { t.size, t.sent = "-1", "0" })
	one("bytes-large", "A number of bytes is at most 2^60.", func(t *manifestTable) { t.size = "1152921504606846977" })
	one("sent-negative", "A number of new bytes is not negative.", func(t *manifestTable) { t.sent = "-1" })
	one("sent-more", "No more bytes are new than there are.", func(t *manifestTable) { t.sent = "6301" })
	one("index-size-0", "An index is not empty.", func(t *manifestTable) { t.indexSize = "0" })
	one("index-size-large", "An index has at most 2^30 bytes.", func(t *manifestTable) { t.indexSize = "1073741825" })
	one("sealed-no-version", "What is sealed has a version that seals.", func(t *manifestTable) { t.sealVersion = "0" })
	one("unsealed-version", "What is not sealed has no version that seals.", func(t *manifestTable) { t.sealed = "false" })
	one("seal-version-large", "A version has 32 bits.", func(t *manifestTable) { t.sealVersion = "4294967296" })
	one("versions-empty", "No key versions are written null.", func(t *manifestTable) { t.versions = "[]" })
	one("versions-order", "Key versions ascend.", func(t *manifestTable) { t.versions = versionList("4", "3") })
	one("versions-twice", "No key version comes twice.", func(t *manifestTable) { t.versions = versionList("3", "3") })
	one("version-0-of-key", "Key versions count from 1.", func(t *manifestTable) { t.versions = versionList("0", "3") })
}

// A logPart is a stretch of a log.
type logPart struct {
	version  uint16
	suite    uint8
	reserved uint8
	store    []byte
	number   uint64
	from     uint64
	frames   uint64
	first    uint64
	last     uint64
	keys     []keptKey
	count    uint32 // in place of the number of keys, where it is not 0
	stretch  []byte
}

const partMagic = "\x93COFRP\r\n"

func (p logPart) object() []byte {
	n := p.count
	if n == 0 {
		n = uint32(len(p.keys))
	}
	b := cat(partMagic, p.version, p.suite, p.reserved, p.store, id("table"), id("incarnation"), id("file log"), p.number, p.from, p.frames, p.first, p.last, n)
	for _, k := range p.keys {
		b = cat(b, k.encode())
	}
	return cat(b, p.stretch)
}

// name is the name of a part whose object is b.
func (p logPart) name(b []byte) string {
	var versions []string
	for _, k := range p.keys {
		if v := fmt.Sprint(k.version); !slices.Contains(versions, v) {
			versions = append(versions, v)
		}
	}
	return fmt.Sprintf("archive/%x/%x/%016x-%x/%016x-%016x-%x-%016x-%016x-%s-%x", id("table"), id("incarnation"), p.number, id("file log"),
		p.from, p.from+uint64(len(p.stretch)), p.frames, p.first, p.last, strings.Join(versions, "."), sha256.Sum256(b))
}

func (p logPart) with(change func(*logPart)) logPart {
	change(&p)
	return p
}

func newPart() logPart {
	return logPart{version: 1, suite: 1, store: id("store"), number: 7, from: 4096, frames: 12, first: createdAt, last: createdAt + 1e9,
		keys: []keptKey{kept("log", 3), kept("rekeyed log", 4)}, stretch: random("stretch", 100)}
}

// logParts are parts of archived logs.
func logParts(s *set) {
	g := s.group("log-part", "docs/repository.md#parts-of-logs")
	p := newPart()
	b := p.object()
	valid := func(name, rule string, change func(*logPart)) {
		p := p.with(change)
		b := p.object()
		out := vectors.LogPartOut{StoreID: p.store, TableID: id("table"), Incarnation: id("incarnation"), FileID: id("file log"), Number: p.number,
			From: int64(p.from), Frames: p.frames, First: int64(p.first), Last: int64(p.last), Stretch: p.stretch}
		for _, k := range p.keys {
			out.DataKeys = append(out.DataKeys, vectors.DataKey{FileID: k.made, Version: k.version, Wrapped: k.wrapped})
			if !slices.Contains(out.Versions, k.version) {
				out.Versions = append(out.Versions, k.version)
			}
		}
		g.valid(name, rule, vectors.LogPartIn{Name: p.name(b), Object: b}, out)
	}
	valid("typical", "A part says which stretch of which segment it has, and brings the data keys.", func(*logPart) {})
	valid("first", "The first part begins at 0.", func(p *logPart) { p.from = 0 })
	valid("no-frame", "A part may end within a frame, and then tells of none.", func(p *logPart) { p.frames = 0 })
	valid("one-byte", "A part has at least one byte.", func(p *logPart) { p.stretch = p.stretch[:1] })
	valid("one-version", "Data keys may be under one version.", func(p *logPart) { p.keys = []keptKey{p.keys[0], kept("again", 3)} })

	named := func(name, rule, class string, offset int, object string, b []byte) {
		g.invalid(name, rule, class, offset, vectors.LogPartIn{Name: object, Object: b})
	}
	bad := func(name, rule, class string, offset int, b []byte) { named(name, rule, class, offset, p.name(b), b) }
	bad("empty", "A part begins with its magic.", "ErrFormat", 0, nil)
	bad("cut-version", "What follows the magic is whole.", "ErrFormat", 8, b[:11])
	bad("cut-head", "The header is whole.", "ErrFormat", 12, b[:115])
	bad("cut-keys", "The data keys are whole.", "ErrFormat", 12, b[:120+80+79])
	bad("cut", "The stretch ends where the name says.", "ErrForeign", 12, b[:len(b)-1])
	bad("appended", "The stretch ends where the name says, and no later.", "ErrForeign", 12, cat(b, uint8(0)))
	bad("magic", "The magic is 93 43 4f 46 52 50 0d 0a.", "ErrFormat", 0, flip(b, 5))
	bad("magic-index", "The magic of an index is another.", "ErrFormat", 0, put(b, 0, indexMagic))
	bad("version-0", "There is no version 0.", "ErrVersion", 8, put(b, 8, uint16(0)))
	bad("version-2", "An unknown version is refused as such, not as tampering.", "ErrVersion", 8, put(b, 8, uint16(2)))
	bad("suite-2", "An unknown suite is refused as an unknown version.", "ErrVersion", 10, put(b, 10, uint8(2)))
	bad("reserved", "The byte behind the suite is zero.", "ErrFormat", 11, put(b, 11, uint8(1)))
	bad("count-huge", "The count of data keys is bounded before it is used.", "ErrFormat", 12, put(b, 116, uint32(1<<32-1)))
	bad("count-more", "A count of data keys is no more than fits into what is left.", "ErrFormat", 12, put(b, 116, uint32(4)))
	bad("no-key", "There is a data key.", "ErrFormat", 116, p.with(func(p *logPart) { p.keys = nil }).object())
	bad("key-version-0", "Data keys are wrapped under versions from 1 on.", "ErrFormat", 116, put(b, 120+16, uint32(0)))
	bad("no-stretch", "A part has at least one byte of the log.", "ErrFormat", len(b)-100, b[:len(b)-100])
	bad("offset-negative", "The offset is below 2^63.", "ErrFormat", 84, put(b, 84, uint64(1<<63)))
	bad("offset-beyond", "The end of the stretch is below 2^63.", "ErrFormat", 84, put(b, 84, uint64(1<<63-1)))
	bad("time-negative", "Times are not before 1970.", "ErrFormat", 100, put(b, 100, uint64(1<<63)))
	bad("other-table", "The header says what the name says: the table.", "ErrForeign", 12, put(b, 28, id("another table")))
	bad("other-incarnation", "The header says what the name says: the incarnation.", "ErrForeign", 12, put(b, 44, id("another")))
	bad("other-file", "The header says what the name says: the segment's file id.", "ErrForeign", 12, put(b, 60, id("another file")))
	bad("other-number", "The header says what the name says: the segment's number.", "ErrForeign", 12, put(b, 76, uint64(8)))
	bad("other-offset", "The header says what the name says: the offset.", "ErrForeign", 12, put(b, 84, uint64(0)))
	bad("other-frames", "The header says what the name says: the frames.", "ErrForeign", 12, put(b, 92, uint64(13)))
	bad("other-first", "The header says what the name says: the first time.", "ErrForeign", 12, put(b, 100, uint64(1)))
	bad("other-last", "The header says what the name says: the last time.", "ErrForeign", 12, put(b, 108, uint64(1)))
	bad("other-versions", "The header says what the name says: the key versions.", "ErrForeign", 12, put(b, 120+16, uint32(2)))
	named("digest", "The object has the SHA-256 that its name says.", "ErrAuth", -1, p.name(b), flip(b, len(b)-1))
}

// backupNames are names of objects.
func backupNames(s *set) {
	g := s.group("backup-names", "docs/repository.md#names")
	add := func(name, rule, object string, out vectors.BackupNameOut) {
		g.valid(name, rule, vectors.BackupNameIn{Name: object}, out)
	}
	other := func(name, rule, object string) { add(name, rule, object, vectors.BackupNameOut{Kind: "other"}) }
	digest := random("digest of a", 32)
	file := hexOf(id("file a"))
	data := fmt.Sprintf("data/%s/%s-%x", file[:2], file, digest)
	add("data", "The name of a file has its id and the digest of its ciphertext.", data, vectors.BackupNameOut{Kind: "data", Digest: digest, FileID: id("file a")})
	other("data-folder", "The folder of a file is the first two digits of its id.", strings.Replace(data, "/"+file[:2]+"/", "/xx/", 1))
	other("data-upper", "Digits of a file's name are lower case.", "data/"+file[:2]+"/"+strings.ToUpper(file)+"-"+hexOf(digest))
	other("data-digest-short", "A digest in a name has 64 digits.", data[:len(data)-2])
	other("data-digest-long", "A digest in a name has no more than 64 digits.", data+"00")
	other("data-deeper", "Nothing lies below a file.", data+"/a")
	add("backup", "A backup's name is its time and eight digits.", "backups/"+backupName, vectors.BackupNameOut{Kind: "backup"})
	other("backup-upper", "Digits of a backup's name are lower case.", "backups/20260102T030405Z-0BADCAFE")
	other("backup-long", "A backup's name has eight digits behind its time.", "backups/"+backupName+"0")
	other("backup-zone", "The time in a backup's name is of UTC.", "backups/20260102T030405-0badcafe")
	other("backup-deeper", "Nothing lies below a manifest.", "backups/"+backupName+"/a")
	box := newLockbox(backedUp()).encode()
	sum := sha256.Sum256(box)
	lock := fmt.Sprintf("lockboxes/%x/20260102T030405Z-%x", id("table"), sum)
	add("lockbox", "A lockbox's name has the time when it was put, and its digest.", lock, vectors.BackupNameOut{Kind: "lockbox", Digest: sum[:]})
	other("lockbox-no-digest", "A lockbox without its digest in its name is none.", lock[:len(lock)-65])
	other("lockbox-short", "The digest of a lockbox has 64 digits.", lock[:len(lock)-1])

	p := newPart()
	b := p.object()
	name := p.name(b)
	partSum := sha256.Sum256(b)
	add("part", "A part's name says which stretch of which segment it has.", name,
		vectors.BackupNameOut{Kind: "part", Digest: partSum[:], FileID: id("file log"), From: 4096, To: 4196})
	change := func(vector, rule, old, with string) {
		if !strings.Contains(name, old) {
			panic("make: " + vector + " changes nothing")
		}
		other(vector, rule, strings.Replace(name, old, with, 1))
	}
	change("part-digits", "Offsets have sixteen digits.", "0000000000001000-", "1000-")
	change("part-frames-zeros", "Frames have no zeros before them.", "-c-", "-0c-")
	change("part-negative", "Offsets are below 2^63.", "0000000000001000-0000000000001064", "8000000000001000-8000000000001064")
	change("part-backwards", "A part does not end before it begins.", "0000000000001000-0000000000001064", "0000000000001064-0000000000001000")
	change("part-empty", "A part does not end where it begins.", "0000000000001000-0000000000001064", "0000000000001000-0000000000001000")
	change("part-large", "A part has at most 64 MiB.", "0000000000001000-0000000000001064", "0000000000001000-0000000004001001")
	change("part-versions-order", "Key versions ascend.", "-3.4-", "-4.3-")
	change("part-versions-twice", "No key version comes twice.", "-3.4-", "-3.3-")
	change("part-versions-none", "There is a key version.", "-3.4-", "--")
	change("part-version-0", "Key versions count from 1.", "-3.4-", "-0.4-")
	change("part-version-zeros", "Key versions have no zeros before them.", "-3.4-", "-03.4-")
	change("part-version-large", "A key version has 32 bits.", "-3.4-", "-3.4294967296-")
	other("part-digest", "A part's name has the whole digest.", name[:len(name)-2])
	other("part-field", "A part's name has seven fields.", strings.Replace(name, "-3.4-", "-3.4-0-", 1))
	other("part-deeper", "Nothing lies below a part.", name+"/a")
	other("up-to", "The register of a line is no part.", fmt.Sprintf("archive/%x/%x/up-to", id("table"), id("incarnation")))
	other("traversal", "A name that leads elsewhere is none.", "data/../"+data)
	other("nothing", "A name has bytes.", string(bytes.TrimSpace(nil)))
}
