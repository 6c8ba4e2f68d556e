package main

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/cofredb/cofre/internal/vectors"
)

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

	g = g.in("docs/keyring-format.md#the-state-of-the-audit-log")
	log := &vectors.AuditState{Chain: id("chain"), Seq: 1 << 40, MAC: random("mac of a record", 48), File: 3, End: 1<<40 - 1, Key: random("key of a record", 32)}
	audited := func(name, rule string, a *vectors.AuditState) {
		r := &ring{generation: 4, storeKey: storeKey, list: encodeList(noTables), audit: encodeAudit(a)}
		g.valid(name, rule, in(r, r.encode()), vectors.KeyringOut{StoreID: id("store"), Generation: 4, List: noTables, Audit: a, Opened: []vectors.OpenTable{storeKey.open("")}})
	}
	audited("audit-none", "Where there is no log yet, its state is zeros.", nil)
	audited("audit", "The state names the newest record, and has the key of the next.", log)
	notAudited := func(name, rule, class string, change func(*ring)) {
		r := &ring{generation: 4, storeKey: storeKey, list: encodeList(noTables), audit: encodeAudit(log)}
		change(r)
		g.invalid(name, rule, class, -1, in(r, r.encode()))
	}
	notAudited("audit-sealed-elsewhere", "The state is sealed for its generation.", "ErrAuth", func(r *ring) {
		r.auditAAD = (&ring{generation: 3, audit: r.audit}).head()
	})
	notAudited("audit-short", "The state has 120 bytes.", "ErrFormat", func(r *ring) { r.audit = r.audit[:119] })
	notAudited("audit-long", "The state has no more than 120 bytes.", "ErrFormat", func(r *ring) { r.audit = cat(r.audit, uint8(0)) })
	notAudited("audit-not-zeros", "Where there is no chain, there is nothing else.", "ErrFormat", func(r *ring) { copy(r.audit, zeros16) })
	notAudited("audit-record-0", "Records count from 1.", "ErrFormat", func(r *ring) { clear(r.audit[16:24]) })
	notAudited("audit-file-0", "Files count from 1.", "ErrFormat", func(r *ring) { clear(r.audit[72:80]) })
	notAudited("audit-file-large", "The number of a file is below 2^32.", "ErrFormat", func(r *ring) { r.audit = put(r.audit, 72, uint64(1<<32)) })
	notAudited("audit-end-0", "A record does not end where its file begins.", "ErrFormat", func(r *ring) { clear(r.audit[80:88]) })
	notAudited("audit-end-large", "A file is shorter than 2^40 bytes.", "ErrFormat", func(r *ring) { r.audit = put(r.audit, 80, uint64(1<<40)) })
	g = g.in("docs/keyring-format.md#the-keyring-file")

	bad := func(name, rule, class string, offset int, b []byte) {
		g.invalid(name, rule, class, offset, in(base, b))
	}
	bad("empty", "A file has at least a header.", "ErrFormat", 0, nil)
	bad("cut-header", "A file has a whole header.", "ErrFormat", 0, b[:35])
	bad("magic", "The magic is 93 43 4f 46 52 4b 0d 0a.", "ErrFormat", 0, put(b, 5, "E"))
	bad("version-0", "There is no file version 0.", "ErrVersion", 8, put(b, 8, uint16(0)))
	bad("version-3", "An unknown file version is refused as an unknown version.", "ErrVersion", 8, put(b, 8, uint16(3)))
	bad("version-1-as-2", "Version 2 has a state of the audit log, version 1 has none.", "ErrFormat", -1, closed(base.key(), put(base.body(), 8, uint16(2))))
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
	g.valid("root-partly-pinned", "One root key that the configuration does not name keeps another from nothing.", partly,
		vectors.KeyringOut{StoreID: id("store"), Generation: 3, List: noTables, Opened: []vectors.OpenTable{half.storeKey.open("")}})
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
	table("table-not-pinned", "A table's root key is pinned as the store's.", "ErrRootNotPinned", func(e *entry) {
		e.versions[3].wraps[0].uri, e.versions[3].wraps[1].uri = "cofre-local:c", "cofre-local:d"
	})
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
