package main

import (
	"bytes"

	"github.com/cofredb/cofre/internal/vectors"
)

const lockboxMagic = "\x93COFRB\r\n"

// A lockbox is the entry of one table, taken out of a keyring.
type lockbox struct {
	version uint16
	suite   uint8
	store   []byte
	entry   []byte
}

func (l lockbox) encode() []byte {
	return cat(lockboxMagic, l.version, l.suite, uint8(0), l.store, prefixed(l.entry))
}

func newLockbox(e entry) lockbox {
	return lockbox{version: 1, suite: 1, store: id("store"), entry: e.encode()}
}

// backedUp is the entry of the table whose backups are in these vectors: version 3 wraps
// the keys of files, version 4 is the current one.
func backedUp() entry {
	key4 := random("table key 4", 32)
	return newEntry(id("table"), "metadata", keyVersion{number: 2, state: 3, key: random("table key 2", 32)},
		older(3, random("table key", 32), key4, id("table")), current(4, key4, id("table"), rootA, rootB))
}

// boxed is what a reader of the lockbox has.
func boxed(b []byte) vectors.LockboxIn {
	return vectors.LockboxIn{File: b, KeyService: encodeKeyFile(vectors.KeyServiceOut{Revision: 3, Keys: []vectors.RootKey{rootA, rootB}}),
		Roots: []string{"cofre-local:a", "cofre-local:b"}}
}

// lockboxes are table keys as a backup has them.
func lockboxes(s *set) {
	g := s.group("lockbox", "docs/keyring-format.md#the-lockbox")
	e := backedUp()
	box := newLockbox(e)
	b := box.encode()
	valid := func(name, rule string, e entry, metadata string, change func(*vectors.LockboxIn)) {
		in := boxed(newLockbox(e).encode())
		change(&in)
		g.valid(name, rule, in, vectors.LockboxOut{StoreID: id("store"), Opened: e.open(metadata)})
	}
	same := func(*vectors.LockboxIn) {}
	valid("typical", "A lockbox has every version of a table's key that was not retired, and the metadata.", e, "metadata", same)
	valid("one-root", "Any one root key that the entry names is enough.", e, "metadata", func(in *vectors.LockboxIn) { in.Roots = in.Roots[1:] })
	first := newEntry(id("table"), "", current(1, random("table key 1", 32), id("table"), rootA))
	valid("first", "A key may have one version.", first, "", same)
	lost := backedUp()
	lost.versions[2].wraps[0].wrap = flip(lost.versions[2].wraps[0].wrap, 50)
	valid("second-root", "A wrap that does not open does not keep the other from it.", lost, "metadata", same)

	bad := func(name, rule, class string, offset int, b []byte) { g.invalid(name, rule, class, offset, boxed(b)) }
	bad("empty", "A lockbox begins with its magic.", "ErrFormat", 0, nil)
	bad("cut-head", "What stands before the entry is 28 bytes long.", "ErrFormat", 0, b[:27])
	bad("cut-length", "The length of the entry is whole.", "ErrFormat", 28, b[:31])
	bad("cut", "The entry is as long as it says.", "ErrFormat", 28, b[:len(b)-1])
	bad("appended", "No byte is left over.", "ErrFormat", 28, cat(b, uint8(0)))
	bad("length-huge", "The length of the entry is bounded before it is used.", "ErrFormat", 28, put(b, 28, uint32(1<<32-1)))
	bad("magic", "The magic is 93 43 4f 46 52 42 0d 0a.", "ErrFormat", 0, flip(b, 5))
	bad("magic-key-service", "The magic of a key-service file is another.", "ErrFormat", 0, put(b, 0, "\x93COFRL\r\n"))
	bad("version-0", "There is no version 0.", "ErrVersion", 8, put(b, 8, uint16(0)))
	bad("version-2", "An unknown version is refused as such, not as tampering.", "ErrVersion", 8, put(b, 8, uint16(2)))
	bad("suite-2", "An unknown suite is refused as an unknown version.", "ErrVersion", 10, put(b, 10, uint8(2)))
	bad("reserved", "The byte behind the suite is zero.", "ErrFormat", 11, put(b, 11, uint8(1)))
	bad("other-store", "The store's id is in the context of every wrap.", "ErrWrongContext", -1, put(b, 12, id("another store")))
	bad("other-table", "The table's id is in the context of every wrap.", "ErrWrongContext", -1, put(b, 32, id("another table")))
	bad("metadata", "The entry has a MAC under the key that it wraps: over the metadata.", "ErrAuth", 32, flip(b, len(b)-48-5))
	bad("mac", "The entry has a MAC under the key that it wraps: the MAC itself.", "ErrAuth", 32, flip(b, len(b)-1))
	g.invalid("not-pinned", "A root key that the configuration does not name is not called.", "ErrRootNotPinned", -1,
		vectors.LockboxIn{File: b, Roots: []string{"cofre-local:c"},
			KeyService: encodeKeyFile(vectors.KeyServiceOut{Revision: 3, Keys: []vectors.RootKey{rootA, rootKey("c", random("root c", 32))}})})

	malformed := func(name, rule string, change func(*entry)) {
		c := e
		c.versions = cloneVersions(e.versions)
		change(&c)
		bad(name, rule, "ErrFormat", 32, newLockbox(c).encode())
	}
	bad("entry-of-store", "The entry is of a table, not of the store key.", "ErrFormat", 32,
		newLockbox(newEntry(zeros16, "", current(1, random("store key", 32), zeros16, rootA))).encode())
	bad("entry-empty", "There is an entry.", "ErrFormat", 32, lockbox{version: 1, suite: 1, store: id("store")}.encode())
	bad("entry-cut", "The entry is whole.", "ErrFormat", 32, lockbox{version: 1, suite: 1, store: id("store"), entry: box.entry[:len(box.entry)-1]}.encode())
	bad("entry-appended", "Nothing follows the entry's MAC.", "ErrFormat", 32, lockbox{version: 1, suite: 1, store: id("store"), entry: cat(box.entry, uint8(0))}.encode())
	malformed("no-version", "A key has at least one version.", func(e *entry) { e.versions = nil })
	malformed("version-0-of-key", "Versions of a key count from 1.", func(e *entry) { e.versions[0].number = 0 })
	malformed("version-order", "Versions of a key ascend.", func(e *entry) { e.versions[0], e.versions[1] = e.versions[1], e.versions[0] })
	malformed("no-wrap", "The current version has at least one wrap.", func(e *entry) { e.versions[2].wraps = nil })
	malformed("not-current", "The last version is current.", func(e *entry) { e.versions = e.versions[:2] })
	bad("versions-huge", "The count of versions is bounded before it is used.", "ErrFormat", 32, put(b, 48, uint32(1<<32-1)))
	swapped := backedUp()
	swapped.versions[1].older = flip(swapped.versions[1].older, 20)
	bad("older", "What wraps an older version opens.", "ErrAuth", 32, newLockbox(swapped).encode())
	committed := backedUp()
	committed.versions[2].commitment = bytes.Repeat([]byte{1}, 32)
	bad("commitment", "What a root key unwraps is the key that the commitment is of.", "ErrWrongContext", -1, newLockbox(committed).encode())
}
