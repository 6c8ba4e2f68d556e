package main

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/cofredb/cofre/internal/vectors"
)

// canonical is the canonical form of an encryption context.
func canonical(c vectors.Context) []byte {
	return cat(
		prefixed("cofre:purpose"), prefixed(c.Purpose),
		prefixed("cofre:store"), prefixed(fmt.Sprintf("%x", []byte(c.StoreID))),
		prefixed("cofre:table"), prefixed(fmt.Sprintf("%x", []byte(c.TableID))),
		prefixed("cofre:version"), prefixed(fmt.Sprint(c.Version)))
}

func contextOf(table []byte, version uint32) vectors.Context {
	c := vectors.Context{StoreID: id("store"), TableID: table, Purpose: "table-key", Version: version}
	if string(table) == string(zeros16) {
		c.Purpose = "store-key"
	}
	return c
}

// A rootWrap is a wrap of a version, with the URI of the root key.
type rootWrap struct {
	uri  string
	wrap []byte
}

// A keyVersion is a version of a key in its entry.
type keyVersion struct {
	number     uint32
	state      uint8
	key        []byte
	commitment []byte // nil: the right one
	wraps      []rootWrap
	older      []byte
}

// An entry of a keyring file. Its last version authenticates it.
type entry struct {
	table    []byte
	versions []keyVersion
	metadata []byte // sealed
	store    []byte // of the MAC
}

func (e entry) encode() []byte {
	b := cat(e.table, uint32(len(e.versions)))
	for _, v := range e.versions {
		c := v.commitment
		if c == nil {
			c = derive(v.key, "cofre/v1/commitment", canonical(contextOf(e.table, v.number)), 32)
		}
		b = cat(b, v.number, uint64(createdAt), v.state, c, uint32(len(v.wraps)))
		for _, w := range v.wraps {
			b = cat(b, prefixed(w.uri), prefixed(w.wrap))
		}
		b = cat(b, prefixed(v.older))
	}
	b = cat(b, prefixed(e.metadata))
	key := make([]byte, 32)
	if n := len(e.versions); n > 0 {
		key = e.versions[n-1].key
	}
	return cat(b, mac(key, "cofre/v1/entry-mac", e.store, b))
}

// A ring is a keyring file. What a vector wants wrong is set before encode.
type ring struct {
	generation uint64
	storeKey   entry
	entries    []entry
	list       []byte // plaintext
	listAAD    []byte // nil: the right one
	listSealed []byte // in place of list, where it is not nil
	count      int    // of entries, in place of their number, where it is not 0
}

func (r *ring) head() []byte {
	return cat("\x93COFRK\r\n", uint16(1), uint8(1), uint8(0), id("store"), r.generation)
}

func (r *ring) key() []byte { return r.storeKey.versions[len(r.storeKey.versions)-1].key }

// sealed is the sealed list.
func (r *ring) sealed() []byte {
	if r.listSealed != nil {
		return r.listSealed
	}
	aad := r.listAAD
	if aad == nil {
		aad = r.head()
	}
	return sealSalted(r.key(), "cofre/v1/list", r.list, aad)
}

// body is the file up to its MAC.
func (r *ring) body() []byte {
	n := r.count
	if n == 0 {
		n = len(r.entries)
	}
	b := cat(r.head(), prefixed(r.storeKey.encode()), prefixed(r.sealed()), uint32(n))
	for _, e := range r.entries {
		b = cat(b, prefixed(e.encode()))
	}
	return b
}

func (r *ring) encode() []byte { return closed(r.key(), r.body()) }

// closed is a body with its MAC.
func closed(storeKey, body []byte) []byte {
	return cat(body, mac(storeKey, "cofre/v1/keyring-mac", body))
}

func (r *ring) with(change func(*ring)) *ring {
	c := *r
	c.storeKey.versions = cloneVersions(r.storeKey.versions)
	c.entries = slices.Clone(r.entries)
	for i := range c.entries {
		c.entries[i].versions = cloneVersions(r.entries[i].versions)
	}
	change(&c)
	return &c
}

func cloneVersions(vs []keyVersion) []keyVersion {
	vs = slices.Clone(vs)
	for i := range vs {
		vs[i].wraps = slices.Clone(vs[i].wraps)
	}
	return vs
}

// offset is where entry i begins.
func (r *ring) offset(i int) int {
	n := r.listOffset() + len(r.sealed()) + 4
	for _, e := range r.entries[:i] {
		n += 4 + len(e.encode())
	}
	return n + 4
}

func (r *ring) listOffset() int { return 36 + 4 + len(r.storeKey.encode()) + 4 }

// The root keys of the vectors, and the key service that has them.
var (
	rootA = rootKey("a", random("root a", 32))
	rootB = rootKey("b", random("root b", 32))
)

func rootKey(name string, key []byte) vectors.RootKey {
	return vectors.RootKey{Name: name, ID: id("root " + name), State: 1, CreatedAt: createdAt,
		Versions: []vectors.KeyVersion{{Number: 1, CreatedAt: createdAt, Key: key}}}
}

func current(number uint32, key, table []byte, roots ...vectors.RootKey) keyVersion {
	v := keyVersion{number: number, state: 1, key: key}
	for _, r := range roots {
		v.wraps = append(v.wraps, rootWrap{"cofre-local:" + r.Name, localWrap(r, key, contextOf(table, number))})
	}
	return v
}

func older(number uint32, key, newest, table []byte) keyVersion {
	w := seal(derive(newest, "cofre/v1/older-key", cat(number), 32), key, canonical(contextOf(table, number)))
	return keyVersion{number: number, state: 2, key: key, older: w}
}

func newEntry(table []byte, metadata string, versions ...keyVersion) entry {
	e := entry{table: table, versions: versions, store: id("store")}
	if metadata != "" {
		e.metadata = sealSalted(versions[len(versions)-1].key, "cofre/v1/metadata", []byte(metadata), cat(id("store"), table))
	}
	return e
}

// open is what an entry's keys must open.
func (e entry) open(metadata string) vectors.OpenTable {
	o := vectors.OpenTable{ID: e.table, Metadata: vectors.Hex(metadata), DataKeys: []vectors.DataKey{}}
	for _, v := range e.versions {
		if v.state == 3 {
			continue
		}
		file, key := id(fmt.Sprintf("file of %x %d", e.table, v.number)), random(fmt.Sprintf("data key of %x %d", e.table, v.number), 32)
		f := sealedFile{store: id("store"), table: e.table, file: file, keyVersion: v.number, tableKey: v.key, dataKey: key}
		o.DataKeys = append(o.DataKeys, vectors.DataKey{FileID: file, Version: v.number, Wrapped: f.wrapped(), Key: key})
	}
	return o
}

// encodeList is the plaintext of the list.
func encodeList(l vectors.List) []byte {
	b := cat([]byte(l.Journal), uint32(len(l.Tables)))
	for _, t := range l.Tables {
		b = cat(b, []byte(t.ID), prefixed(t.Name), t.State, uint64(t.CreatedAt), []byte(t.Incarnation), prefixed(t.Left))
	}
	b = cat(b, uint32(len(l.Tombstones)))
	for _, t := range l.Tombstones {
		b = cat(b, []byte(t.ID), prefixed(t.Name), uint64(t.DroppedAt), uint32(len(t.Versions)))
		for _, v := range t.Versions {
			b = cat(b, v)
		}
		b = cat(b, uint32(len(t.Roots)))
		for _, r := range t.Roots {
			b = cat(b, prefixed(r))
		}
	}
	return b
}

// tableID gives ids in ascending order.
func tableID(n byte) []byte { return put(id("table of a list"), 0, n) }

func listed(n byte, name string, state uint8, left string) vectors.Table {
	return vectors.Table{ID: tableID(n), Name: vectors.Text(name), State: state, CreatedAt: createdAt + int64(n),
		Incarnation: id(fmt.Sprintf("incarnation %d", n)), Left: vectors.Hex(left)}
}

func keyrings(s *set) {
	g := s.group("keyring", "docs/keyring-format.md#the-keyring-file")
	both := encodeKeyFile(vectors.KeyServiceOut{Revision: 3, Keys: []vectors.RootKey{rootA, rootB}})
	roots := []string{"cofre-local:a", "cofre-local:b"}
	in := func(r *ring, b []byte) vectors.KeyringIn {
		return vectors.KeyringIn{Name: fmt.Sprintf("KEYRING-%06d", r.generation), File: b, KeyService: both, Roots: roots}
	}
	valid := func(name, rule string, r *ring, l vectors.List, opened ...vectors.OpenTable) {
		r.list = encodeList(l)
		opened = append([]vectors.OpenTable{r.storeKey.open("")}, opened...)
		g.valid(name, rule, in(r, r.encode()), vectors.KeyringOut{StoreID: id("store"), Generation: r.generation, List: l, Opened: opened})
	}
	storeKey := newEntry(zeros16, "", current(1, random("store key", 32), zeros16, rootA))
	noTables := vectors.List{Journal: zeros16, Tables: []vectors.Table{}, Tombstones: []vectors.Tombstone{}}
	first := &ring{generation: 1, storeKey: storeKey}
	valid("first", "The keyring of a new store: generation 1, no table.", first, noTables)

	one, two := newEntry(tableID(1), "metadata of one", current(1, random("table one", 32), tableID(1), rootA)),
		newEntry(tableID(2), "", current(1, random("table two", 32), tableID(2), rootB))
	list := vectors.List{Journal: id("journal"), Tables: []vectors.Table{listed(1, "app.one", 2, "left"), listed(2, "app.two", 1, "")},
		Tombstones: []vectors.Tombstone{{ID: id("dropped"), Name: vectors.Text("app.gone"), DroppedAt: createdAt, Versions: []uint32{1, 2}, Roots: []string{"cofre-local:a"}}}}
	base := &ring{generation: 7, storeKey: storeKey, entries: []entry{one, two}}
	valid("typical", "Entries stand in ascending order of table id, and so does the list.", base, list, one.open("metadata of one"), two.open(""))
	b := base.encode()

	g = g.in("docs/keyring-format.md#an-entry")
	oneTable := vectors.List{Journal: zeros16, Tables: []vectors.Table{listed(1, "app.one", 2, "")}, Tombstones: []vectors.Tombstone{}}
	key4 := random("table key 4", 32)
	many := newEntry(tableID(1), "new metadata", keyVersion{number: 1, state: 3, key: random("table key 1 of four", 32)},
		older(2, random("table key 2", 32), key4, tableID(1)), older(3, random("table key 3", 32), key4, tableID(1)),
		current(4, key4, tableID(1), rootA, rootB))
	versions := &ring{generation: 9, storeKey: storeKey, entries: []entry{many}}
	valid("versions", "Older versions are wrapped by the current one, and a retired one is but a number.", versions, oneTable, many.open("new metadata"))
	storeVersions := newEntry(zeros16, "", older(1, random("store key", 32), random("store key 2", 32), zeros16), current(2, random("store key 2", 32), zeros16, rootA))
	valid("store-key-versions", "The store key has versions as a table key has.", &ring{generation: 2, storeKey: storeVersions}, noTables)
	lost := newEntry(zeros16, "", current(1, random("store key", 32), zeros16, rootA, rootB))
	lost.versions[0].wraps[0].wrap = flip(lost.versions[0].wraps[0].wrap, 50)
	valid("second-root", "One root key that opens is enough: the first wrap does not, the second does.", &ring{generation: 3, storeKey: lost}, noTables)
	gap := newEntry(tableID(1), "", older(5, random("table key 5", 32), key4, tableID(1)), current(1000, key4, tableID(1), rootA))
	valid("version-gap", "Numbers of versions ascend, and need not be without gaps.", &ring{generation: 9, storeKey: storeKey, entries: []entry{gap}}, oneTable, gap.open(""))
	g = g.in("docs/keyring-format.md#the-keyring-file")
	valid("generation-large", "A name has as many digits as the generation takes, six at least.", &ring{generation: 12345678, storeKey: storeKey}, noTables)

	bad := func(name, rule, class string, offset int, b []byte) {
		g.invalid(name, rule, class, offset, in(base, b))
	}
	bad("empty", "A file has at least a header.", "ErrFormat", 0, nil)
	bad("cut-header", "A file has a whole header.", "ErrFormat", 0, b[:35])
	bad("magic", "The magic is 93 43 4f 46 52 4b 0d 0a.", "ErrFormat", 0, put(b, 5, "E"))
	bad("version-0", "There is no file version 0.", "ErrVersion", 8, put(b, 8, uint16(0)))
	bad("version-2", "An unknown file version is refused as an unknown version.", "ErrVersion", 8, put(b, 8, uint16(2)))
	bad("suite", "An unknown suite is refused as an unknown version.", "ErrVersion", 10, put(b, 10, uint8(2)))
	bad("reserved", "Byte 11 is zero.", "ErrFormat", 11, put(b, 11, uint8(1)))
	bad("store-entry-length", "The length of the store key's entry is within the file.", "ErrFormat", 36, put(b, 36, uint32(1<<31)))
	bad("list-length", "The length of the list is within the file.", "ErrFormat", base.listOffset()-4, put(b, base.listOffset()-4, uint32(1<<32-1)))
	bad("count-huge", "A count is no more than fits into what is left.", "ErrFormat", base.listOffset()-4, put(b, base.offset(0)-8, uint32(1<<20)))
	bad("count-more", "A count of one too many takes the MAC for an entry.", "ErrFormat", -1, base.with(func(r *ring) { r.count = 3 }).encode())
	bad("count-less", "A count of one too few leaves an entry over.", "ErrFormat", -1, base.with(func(r *ring) { r.count = 1 }).encode())
	bad("entry-length", "The length of an entry is within the file.", "ErrFormat", base.offset(0)-4, put(b, base.offset(0)-4, uint32(1<<30)))
	bad("cut", "A file that is cut does not parse.", "ErrFormat", -1, b[:len(b)-1])
	bad("cut-mac", "A file without its MAC does not parse.", "ErrFormat", -1, b[:len(b)-48])
	bad("appended", "No byte is left over.", "ErrFormat", -1, cat(b, uint8(0)))
	bad("order", "Entries ascend by table id.", "ErrFormat", base.offset(0)+4+len(two.encode()),
		base.with(func(r *ring) { r.entries = []entry{two, one} }).encode())
	bad("twice", "No table has two entries.", "ErrFormat", base.offset(1), base.with(func(r *ring) { r.entries = []entry{one, one} }).encode())
	bad("store-entry-of-table", "The first entry has the table id of zeros.", "ErrFormat", 40,
		base.with(func(r *ring) { r.storeKey = one }).encode())
	bad("table-entry-of-store", "No other entry has the table id of zeros.", "ErrFormat", base.offset(0),
		base.with(func(r *ring) { r.entries = []entry{storeKey} }).encode())
	metadata := storeKey
	metadata.metadata = []byte("metadata")
	bad("store-metadata", "The store key has no metadata.", "ErrFormat", 40, base.with(func(r *ring) { r.storeKey = metadata }).encode())

	g = g.in("docs/keyring-format.md#an-entry")
	malformed := func(name, rule string, change func(*entry)) {
		r := versions.with(func(r *ring) { change(&r.entries[0]) })
		g.invalid(name, rule, "ErrFormat", r.offset(0), in(r, r.encode()))
	}
	malformed("no-version", "A key has at least one version.", func(e *entry) { e.versions = nil })
	malformed("version-number-0", "Versions count from 1.", func(e *entry) { e.versions[0].number = 0 })
	malformed("version-order", "Versions ascend.", func(e *entry) { e.versions[1], e.versions[2] = e.versions[2], e.versions[1] })
	malformed("version-twice", "No number of a version comes twice.", func(e *entry) { e.versions[2] = e.versions[1] })
	malformed("state-0", "There is no state 0.", func(e *entry) { e.versions[0].state = 0 })
	malformed("state-4", "There is no state 4.", func(e *entry) { e.versions[0].state = 4 })
	malformed("no-current", "The last version is current.", func(e *entry) { e.versions = e.versions[:3] })
	malformed("two-current", "No other version is current.", func(e *entry) {
		e.versions[2] = current(3, random("table key 3", 32), tableID(1), rootA)
	})
	malformed("current-without-wrap", "The current version has a wrap.", func(e *entry) { e.versions[3].wraps = nil })
	malformed("current-with-older", "The current version has an empty wrap under itself.", func(e *entry) { e.versions[3].older = make([]byte, 60) })
	malformed("older-with-wraps", "An older version has no wraps of root keys.", func(e *entry) { e.versions[2].wraps = e.versions[3].wraps })
	malformed("older-without-wrap", "An older version has a wrap under the current one.", func(e *entry) { e.versions[2].older = nil })
	malformed("older-short", "The wrap of an older version is 60 bytes long.", func(e *entry) { e.versions[2].older = e.versions[2].older[:59] })
	malformed("older-long", "The wrap of an older version is no longer than 60 bytes.", func(e *entry) { e.versions[2].older = make([]byte, 61) })
	malformed("retired-with-wrap", "A retired version has no wrap.", func(e *entry) { e.versions[0].older = make([]byte, 60) })
	malformed("seventeen-wraps", "A version has at most 16 wraps.", func(e *entry) {
		e.versions[3].wraps = nil
		for i := range 17 {
			e.versions[3].wraps = append(e.versions[3].wraps, rootWrap{fmt.Sprintf("x:%d", i), []byte{1}})
		}
	})
	malformed("uri-twice", "The wraps of a version have different URIs.", func(e *entry) {
		e.versions[3].wraps = []rootWrap{e.versions[3].wraps[0], e.versions[3].wraps[0]}
	})
	uri := func(name, rule, uri string) {
		malformed(name, rule, func(e *entry) { e.versions[3].wraps = []rootWrap{{uri, []byte{1}}} })
	}
	uri("uri-no-scheme", "A URI has a scheme and a colon.", "a")
	uri("uri-no-name", "A URI has a name.", "cofre-local:")
	uri("uri-space", "A URI has no space.", "cofre-local:a b")
	uri("uri-not-ascii", "A URI is printable ASCII.", "cofre-local:\xc3\xa9")
	uri("uri-long", "A URI is at most 1024 bytes long.", "x:"+string(slices.Repeat([]byte("y"), 1023)))
	malformed("wrap-empty", "A wrap has at least one byte.", func(e *entry) { e.versions[3].wraps[0].wrap = nil })
	malformed("wrap-long", "A wrap has at most 16384 bytes.", func(e *entry) { e.versions[3].wraps[0].wrap = make([]byte, 16385) })

	// Opening, in the order of the page.
	g = g.in("docs/keyring-format.md#opening")
	opening := func(name, rule, class string, offset int, r *ring) {
		g.invalid(name, rule, class, offset, in(r, r.encode()))
	}
	unpinned := in(base, b)
	unpinned.Roots = []string{"cofre-local:b"}
	g.invalid("root-not-pinned", "A root key that the configuration does not name is not called.", "ErrRootNotPinned", -1, unpinned)
	half := &ring{generation: 3, storeKey: newEntry(zeros16, "", current(1, random("store key", 32), zeros16, rootA, rootB)), list: encodeList(noTables)}
	partly := in(half, half.encode())
	partly.Roots = []string{"cofre-local:a"}
	g.invalid("root-partly-pinned", "One root key too many is refused, though another would open the store.", "ErrRootNotPinned", -1, partly)
	opening("store-wrap-flipped", "A wrap that was changed does not open.", "ErrWrongContext", 40, base.with(func(r *ring) {
		r.storeKey.versions[0].wraps = []rootWrap{{"cofre-local:a", flip(r.storeKey.versions[0].wraps[0].wrap, 60)}}
	}))
	opening("store-wrap-of-table", "A wrap of a table's key is none of the store's.", "ErrWrongContext", 40, base.with(func(r *ring) {
		r.storeKey.versions[0].wraps = []rootWrap{{"cofre-local:a", localWrap(rootA, r.storeKey.versions[0].key, contextOf(tableID(1), 1))}}
	}))
	opening("store-key-missing", "A root key that the service has not is not found.", "ErrKeyNotFound", -1, base.with(func(r *ring) {
		r.storeKey.versions[0].wraps = []rootWrap{{"cofre-local:a", localWrap(rootKey("c", random("root c", 32)), r.storeKey.versions[0].key, contextOf(zeros16, 1))}}
	}))
	opening("store-commitment", "The unwrapped key is the one committed to.", "ErrWrongContext", 40, base.with(func(r *ring) {
		r.storeKey.versions[0].commitment = make([]byte, 32)
	}))
	opening("store-entry-mac", "The MAC of the store key's entry covers the store id.", "ErrAuth", 40, base.with(func(r *ring) { r.storeKey.store = id("another store") }))
	bad = func(name, rule, class string, offset int, b []byte) {
		g.invalid(name, rule, class, offset, in(base, b))
	}
	bad("store-entry-flipped", "The entry's MAC covers created at.", "ErrAuth", 40, flip(b, 40+16+4+4+7))
	bad("mac-flipped", "The file's MAC is compared.", "ErrAuth", len(b)-48, flip(b, len(b)-48))
	bad("mac-end-flipped", "The file's MAC is compared whole.", "ErrAuth", len(b)-48, flip(b, len(b)-1))
	bad("list-flipped", "The file's MAC covers the sealed list.", "ErrAuth", len(b)-48, flip(b, base.listOffset()+20))
	bad("entry-flipped", "The file's MAC covers every entry.", "ErrAuth", len(b)-48, flip(b, base.offset(0)+30))
	bad("entry-replaced", "An older entry of a table, put back by one without the store key, is found.", "ErrAuth", len(b)-48,
		base.with(func(r *ring) {
			r.entries[0] = newEntry(tableID(1), "metadata before", one.versions...)
		}).underMAC(b))
	bad("store-id-flipped", "The file's store id is in the context of the wraps.", "ErrWrongContext", 40, flip(b, 12))
	bad("generation-flipped", "The file's MAC covers the generation.", "ErrAuth", len(b)-48, flip(b, 35))
	opening("list-sealed-elsewhere", "Bytes 0 to 35 are additional data of the list: one of another generation does not open.", "ErrAuth", base.listOffset(),
		base.with(func(r *ring) { r.listAAD = r.with(func(r *ring) { r.generation-- }).head() }))
	opening("list-short", "A sealed list has a salt, a nonce and a tag.", "ErrAuth", base.listOffset(), base.with(func(r *ring) { r.listSealed = make([]byte, 43) }))
	opening("list-malformed", "The list is parsed strictly once it is open.", "ErrFormat", -1, base.with(func(r *ring) { r.list = cat(r.list, uint8(0)) }))
	renamed := in(base, b)
	renamed.Name = "KEYRING-000008"
	g.invalid("name", "A file under the name of another generation is foreign.", "ErrForeign", 28, renamed)
	other := list
	other.Tables = []vectors.Table{list.Tables[0], listed(3, "app.two", 1, "")}
	opening("list-other-table", "The list names the tables of the entries.", "ErrForeign", base.offset(1), base.with(func(r *ring) { r.list = encodeList(other) }))
	opening("list-fewer", "The list names as many tables as there are entries.", "ErrFormat", base.listOffset(), base.with(func(r *ring) { r.list = encodeList(oneTable) }))
	noted := func(generation uint64, digest [32]byte) vectors.KeyringIn {
		i := in(base, b)
		i.KeyService = encodeKeyFile(vectors.KeyServiceOut{Revision: 4, Keys: []vectors.RootKey{rootA, rootB},
			Notes: []vectors.Note{{StoreID: id("store"), Generation: generation, Digest: digest[:]}}})
		return i
	}
	out := vectors.KeyringOut{StoreID: id("store"), Generation: 7, List: list, Opened: []vectors.OpenTable{storeKey.open(""), one.open("metadata of one"), two.open("")}}
	g.valid("noted", "The generation and digest that the key service has noted.", noted(7, sha256.Sum256(b)), out)
	g.valid("noted-lower", "A lower noted generation is what a crash leaves.", noted(6, [32]byte{}), out)
	g.invalid("noted-higher", "An older keyring than the noted one was put back.", "ErrRollback", 28, noted(8, [32]byte{}))
	g.invalid("noted-other", "Another keyring of the noted generation is one of another line.", "ErrRollback", 28, noted(7, [32]byte{1}))

	// Opening a table.
	table := func(name, rule, class string, change func(*entry)) {
		r := versions.with(func(r *ring) { change(&r.entries[0]) })
		i := in(r, r.encode())
		i.Table = tableID(1)
		at := r.offset(0)
		if class == "ErrRootNotPinned" || class == "ErrKeyNotFound" {
			at = -1
		}
		g.invalid(name, rule, class, at, i)
	}
	table("table-not-pinned", "A table's root key is pinned as the store's.", "ErrRootNotPinned", func(e *entry) { e.versions[3].wraps[1].uri = "cofre-local:c" })
	table("table-wrap-of-other", "The wrap of another table does not open.", "ErrWrongContext", func(e *entry) {
		e.versions[3] = current(4, key4, tableID(1), rootA)
		e.versions[3].wraps[0].wrap = localWrap(rootA, key4, contextOf(tableID(2), 4))
	})
	table("table-wrap-of-version", "The wrap of another version does not open.", "ErrWrongContext", func(e *entry) {
		e.versions[3] = current(4, key4, tableID(1), rootA)
		e.versions[3].wraps[0].wrap = localWrap(rootA, key4, contextOf(tableID(1), 3))
	})
	table("table-commitment", "A table's key is the one committed to.", "ErrWrongContext", func(e *entry) { e.versions[3].commitment = make([]byte, 32) })
	table("table-entry-mac", "Whoever holds the store key and not the table's can change no entry.", "ErrAuth", func(e *entry) { e.store = id("another store") })
	table("table-older-flipped", "An older version opens under the current one.", "ErrAuth", func(e *entry) { e.versions[1].older = flip(e.versions[1].older, 20) })
	table("table-older-swapped", "The wrap of an older version is bound to its number.", "ErrAuth", func(e *entry) {
		e.versions[1].older, e.versions[2].older = e.versions[2].older, e.versions[1].older
	})
	table("table-older-commitment", "An older version is the one committed to.", "ErrAuth", func(e *entry) { e.versions[1].commitment = make([]byte, 32) })
	table("table-metadata-flipped", "Metadata is sealed under the current version.", "ErrAuth", func(e *entry) { e.metadata = flip(e.metadata, 30) })
	table("table-metadata-of-other", "Metadata is bound to its table.", "ErrAuth", func(e *entry) {
		e.metadata = sealSalted(key4, "cofre/v1/metadata", []byte("x"), cat(id("store"), tableID(2)))
	})
	table("table-metadata-short", "Sealed metadata has a salt, a nonce and a tag.", "ErrAuth", func(e *entry) { e.metadata = make([]byte, 43) })
}

// underMAC is r's body under the MAC of another file.
func (r *ring) underMAC(file []byte) []byte { return cat(r.body(), file[len(file)-48:]) }

func lists(s *set) {
	g := s.group("keyring-list", "docs/keyring-format.md#the-list")
	empty := vectors.List{Journal: zeros16, Tables: []vectors.Table{}, Tombstones: []vectors.Tombstone{}}
	valid := func(name, rule string, change func(*vectors.List)) {
		l := empty
		change(&l)
		g.valid(name, rule, vectors.ListIn{List: encodeList(l)}, l)
	}
	long := string(slices.Repeat([]byte("n"), 255))
	gone := vectors.Tombstone{ID: id("dropped"), Name: vectors.Text("app.gone"), DroppedAt: createdAt, Versions: []uint32{1, 2}, Roots: []string{"cofre-local:a", "cofre-local:b"}}
	valid("empty", "A list of nothing: no journal, no table, no tombstone.", func(l *vectors.List) {})
	valid("journal", "A list names the journal that goes on from it.", func(l *vectors.List) { l.Journal = id("journal") })
	valid("creating", "State 1 is creating.", func(l *vectors.List) { l.Tables = []vectors.Table{listed(1, "a", 1, "")} })
	valid("live", "State 2 is live, and says how the table was left.", func(l *vectors.List) { l.Tables = []vectors.Table{listed(1, "a", 2, "\x01")} })
	valid("several", "Tables ascend by id, whatever their names.", func(l *vectors.List) {
		l.Tables = []vectors.Table{listed(1, "z", 2, ""), listed(2, "m", 2, ""), listed(3, "a", 2, "")}
	})
	valid("name-longest", "A name has up to 255 bytes.", func(l *vectors.List) { l.Tables = []vectors.Table{listed(1, long, 2, "")} })
	valid("name-bytes", "A name is bytes.", func(l *vectors.List) { l.Tables = []vectors.Table{listed(1, "\xff\x00", 2, "")} })
	valid("tombstone", "A tombstone keeps the versions and root keys of a dropped table.", func(l *vectors.List) { l.Tombstones = []vectors.Tombstone{gone} })
	valid("tombstones", "Tombstones stand in the order of dropping, also two of one name.", func(l *vectors.List) {
		other := gone
		other.ID, other.DroppedAt, other.Versions, other.Roots = tableID(0), 0, []uint32{}, []string{}
		l.Tombstones = []vectors.Tombstone{gone, other}
	})
	valid("name-again", "A table may have the name of a dropped one.", func(l *vectors.List) {
		l.Tables, l.Tombstones = []vectors.Table{listed(1, "app.gone", 2, "")}, []vectors.Tombstone{gone}
	})

	two := empty
	two.Tables, two.Tombstones = []vectors.Table{listed(1, "one", 2, "left"), listed(2, "two", 1, "")}, []vectors.Tombstone{gone}
	b := encodeList(two)
	bad := func(name, rule string, b []byte) { g.invalid(name, rule, "ErrFormat", -1, vectors.ListIn{List: b}) }
	with := func(name, rule string, change func(*vectors.List)) {
		l := two
		l.Tables, l.Tombstones = slices.Clone(two.Tables), slices.Clone(two.Tombstones)
		change(&l)
		bad(name, rule, encodeList(l))
	}
	bad("nothing", "A list has at least an id and two counts.", nil)
	bad("cut-journal", "The journal's id is whole.", b[:15])
	bad("cut-count", "The count of tables is whole.", b[:19])
	bad("cut", "A list that is cut does not parse.", b[:len(b)-1])
	bad("cut-between", "A list has a count of tombstones.", b[:len(b)-len(encodeList(two))+len(encodeList(vectors.List{Journal: zeros16, Tables: two.Tables}))-4])
	bad("appended", "No byte is left over.", cat(b, uint8(0)))
	bad("count-huge", "A count is no more than fits into what is left.", put(b, 16, uint32(1<<20)))
	bad("count-above", "There are at most 2^20 tables.", put(b, 16, uint32(1<<20+1)))
	with("order", "Tables ascend by id.", func(l *vectors.List) { l.Tables[0], l.Tables[1] = l.Tables[1], l.Tables[0] })
	with("twice", "No table comes twice.", func(l *vectors.List) { l.Tables[1].ID = l.Tables[0].ID })
	with("id-zero", "A table's id is not zeros.", func(l *vectors.List) { l.Tables[0].ID = zeros16 })
	with("name-empty", "A name has at least one byte.", func(l *vectors.List) { l.Tables[0].Name = nil })
	with("name-long", "A name has at most 255 bytes.", func(l *vectors.List) { l.Tables[0].Name = vectors.Text(long + "n") })
	with("name-taken", "No two tables have one name.", func(l *vectors.List) { l.Tables[1].Name = l.Tables[0].Name })
	with("state-0", "There is no state 0.", func(l *vectors.List) { l.Tables[0].State = 0 })
	with("state-3", "There is no state 3.", func(l *vectors.List) { l.Tables[0].State = 3 })
	with("tombstone-name-long", "The name of a tombstone has at most 255 bytes.", func(l *vectors.List) { l.Tombstones[0].Name = vectors.Text(long + "n") })
	with("tombstone-roots", "A tombstone has at most 16 root keys.", func(l *vectors.List) {
		l.Tombstones[0].Roots = slices.Repeat([]string{"x:y"}, 17)
	})
	with("tombstone-root-long", "A URI has at most 1024 bytes.", func(l *vectors.List) {
		l.Tombstones[0].Roots = []string{"x:" + string(slices.Repeat([]byte("y"), 1023))}
	})
	left := len(encodeList(vectors.List{Journal: zeros16, Tables: two.Tables[:1]})) - 4 - len("left") - 4
	bad("left-length", "How a table was left has at most 2^20 bytes.", put(b, left, uint32(1<<20+1)))
	bad("left-beyond", "How a table was left is within the list.", put(b, left, uint32(1<<20)))
}
