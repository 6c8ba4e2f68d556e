package main

import (
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/cofredb/cofre/internal/vectors"
)

// keyFileBody is the key service's file without its checksum.
func keyFileBody(f vectors.KeyServiceOut) []byte {
	b := cat("\x93COFRL\r\n", uint16(1), uint8(0), uint8(0), f.Revision, uint32(len(f.Keys)))
	for _, k := range f.Keys {
		b = cat(b, prefixed(k.Name), []byte(k.ID), k.State, uint64(k.CreatedAt), uint32(len(k.Versions)))
		for _, v := range k.Versions {
			b = cat(b, v.Number, uint64(v.CreatedAt), []byte(v.Key))
		}
	}
	b = cat(b, uint32(len(f.Notes)))
	for _, n := range f.Notes {
		b = cat(b, []byte(n.StoreID), n.Generation, []byte(n.Digest))
	}
	return b
}

// summed is a body with its checksum.
func summed(body []byte) []byte {
	sum := sha256.Sum256(body)
	return cat(body, sum[:])
}

func encodeKeyFile(f vectors.KeyServiceOut) []byte { return summed(keyFileBody(f)) }

func keyServices(s *set) {
	g := s.group("key-service", "docs/keyring-format.md#the-local-key-service")
	valid := func(name, rule string, f vectors.KeyServiceOut) {
		if f.Keys == nil {
			f.Keys = []vectors.RootKey{}
		}
		if f.Notes == nil {
			f.Notes = []vectors.Note{}
		}
		g.valid(name, rule, vectors.KeyServiceIn{File: encodeKeyFile(f)}, f)
	}
	a, b := rootA, rootB
	b.State = 2
	b.Versions = []vectors.KeyVersion{{Number: 1, CreatedAt: createdAt, Key: random("b1", 32)}, {Number: 7, CreatedAt: createdAt + 1, Key: random("b7", 32)}}
	n1, n2 := vectors.Note{StoreID: tableID(1), Generation: 7, Digest: random("digest 1", 32)}, vectors.Note{StoreID: tableID(2), Generation: 1 << 40, Digest: random("digest 2", 32)}
	f := vectors.KeyServiceOut{Revision: 5, Keys: []vectors.RootKey{a, b}, Notes: []vectors.Note{n1, n2}}
	body := keyFileBody(f)
	keyAt, noteAt := 24, len(body)-2*56

	valid("empty", "A file may hold no key and no note.", vectors.KeyServiceOut{})
	valid("one", "A key with one version.", vectors.KeyServiceOut{Revision: 1, Keys: []vectors.RootKey{a}})
	valid("typical", "Keys ascend by name, versions by number, notes by store.", f)
	deleted := a
	deleted.State = 3
	valid("pending-deletion", "State 3 is pending deletion.", vectors.KeyServiceOut{Revision: 2, Keys: []vectors.RootKey{deleted}})
	named := func(name string) vectors.KeyServiceOut {
		k := a
		k.Name = name
		return vectors.KeyServiceOut{Revision: 1, Keys: []vectors.RootKey{k}}
	}
	valid("name-all", "A name has letters, digits, dots, hyphens and underscores.", named("aZ0._-"))
	valid("name-digit", "A name may begin with a digit.", named("0"))
	valid("name-longest", "A name has up to 64 bytes.", named(strings.Repeat("n", 64)))
	upper, lower := a, a
	upper.Name, upper.ID, lower.Name = "B", id("B"), "a"
	valid("name-order", "Names ascend by their bytes: capitals first.", vectors.KeyServiceOut{Revision: 1, Keys: []vectors.RootKey{upper, lower}})
	valid("notes-alone", "Notes do not need keys.", vectors.KeyServiceOut{Revision: 1, Notes: []vectors.Note{n1}})
	valid("revision-largest", "The revision has 64 bits.", vectors.KeyServiceOut{Revision: 1<<64 - 1})

	in := func(b []byte) vectors.KeyServiceIn { return vectors.KeyServiceIn{File: b} }
	bad := func(name, rule, class string, offset int, body []byte) {
		g.invalid(name, rule, class, offset, in(summed(body)))
	}
	g.invalid("nothing", "A file of no bytes is none.", "ErrFormat", -1, in(nil))
	g.invalid("short", "A file has at least 60 bytes.", "ErrFormat", -1, in(encodeKeyFile(vectors.KeyServiceOut{})[:59]))
	g.invalid("checksum", "The checksum is compared.", "ErrFormat", len(body), in(flip(summed(body), len(body))))
	g.invalid("checksum-end", "The checksum is compared whole.", "ErrFormat", len(body), in(flip(summed(body), len(body)+31)))
	g.invalid("flipped-key", "A key that was damaged is found.", "ErrFormat", len(body), in(flip(summed(body), keyAt+60)))
	g.invalid("cut", "A file that was cut is found.", "ErrFormat", len(body)-1, in(summed(body)[:len(body)+31]))
	g.invalid("appended", "A file that has grown is found.", "ErrFormat", len(body)+1, in(cat(summed(body), uint8(0))))
	bad("magic", "The magic is 93 43 4f 46 52 4c 0d 0a.", "ErrFormat", 0, put(body, 5, "K"))
	bad("version-0", "There is no file version 0.", "ErrVersion", 8, put(body, 8, uint16(0)))
	bad("version-2", "An unknown file version is refused as an unknown version.", "ErrVersion", 8, put(body, 8, uint16(2)))
	bad("sealing-1", "An unknown sealing is refused as an unknown version.", "ErrVersion", 10, put(body, 10, uint8(1)))
	g.invalid("version-before-checksum", "A version that is not known is told before the checksum, which may be another there.", "ErrVersion", 8, in(put(summed(body), 8, uint16(2))))
	bad("reserved", "Byte 11 is zero.", "ErrFormat", 11, put(body, 11, uint8(1)))
	bad("count-huge", "A count is no more than fits into what is left.", "ErrFormat", -1, put(body, 20, uint32(1024)))
	bad("count-above", "There are at most 1024 keys.", "ErrFormat", -1, put(body, 20, uint32(1025)))
	bad("count-less", "A count of one too few leaves a key over.", "ErrFormat", -1, put(body, 20, uint32(1)))
	bad("count-more", "A count of one too many takes the notes for a key.", "ErrFormat", noteAt-4, put(body, 20, uint32(3)))
	bad("notes-huge", "A count of notes is no more than fits.", "ErrFormat", noteAt-4, put(body, noteAt-4, uint32(3)))
	bad("notes-less", "A count of notes of one too few leaves one over.", "ErrFormat", noteAt-4, put(body, noteAt-4, uint32(1)))
	bad("trailing", "No byte is left over before the checksum.", "ErrFormat", noteAt-4, cat(body, uint8(0)))
	bad("name-length", "The length of a name is within the file.", "ErrFormat", keyAt, put(body, keyAt, uint32(1<<32-1)))
	wrong := func(name, rule string, offset int, change func(*vectors.KeyServiceOut)) {
		c := f
		c.Keys, c.Notes = slices.Clone(f.Keys), slices.Clone(f.Notes)
		for i := range c.Keys {
			c.Keys[i].Versions = slices.Clone(c.Keys[i].Versions)
		}
		change(&c)
		bad(name, rule, "ErrFormat", offset, keyFileBody(c))
	}
	wrong("key-order", "Keys ascend by name.", -1, func(f *vectors.KeyServiceOut) { f.Keys[0], f.Keys[1] = f.Keys[1], f.Keys[0] })
	wrong("key-twice", "No two keys have one name.", -1, func(f *vectors.KeyServiceOut) { f.Keys[1].Name = f.Keys[0].Name })
	wrong("name-empty", "A name has at least one byte.", keyAt, func(f *vectors.KeyServiceOut) { f.Keys[0].Name = "" })
	wrong("name-long", "A name has at most 64 bytes.", keyAt, func(f *vectors.KeyServiceOut) { f.Keys[0].Name = strings.Repeat("a", 65) })
	wrong("name-dot", "A name begins with a letter or digit.", keyAt, func(f *vectors.KeyServiceOut) { f.Keys[0].Name = ".a" })
	wrong("name-slash", "A name has no other signs.", keyAt, func(f *vectors.KeyServiceOut) { f.Keys[0].Name = "a/b" })
	wrong("name-not-ascii", "A name is ASCII.", keyAt, func(f *vectors.KeyServiceOut) { f.Keys[0].Name = "a\u00e9" })
	wrong("id-zero", "A key's id is not zeros.", keyAt, func(f *vectors.KeyServiceOut) { f.Keys[0].ID = zeros16 })
	wrong("state-0", "There is no state 0.", keyAt, func(f *vectors.KeyServiceOut) { f.Keys[0].State = 0 })
	wrong("state-4", "There is no state 4.", keyAt, func(f *vectors.KeyServiceOut) { f.Keys[0].State = 4 })
	wrong("no-version", "A key has at least one version.", keyAt, func(f *vectors.KeyServiceOut) { f.Keys[0].Versions = nil })
	wrong("version-number-0", "Versions count from 1.", keyAt, func(f *vectors.KeyServiceOut) { f.Keys[0].Versions[0].Number = 0 })
	wrong("version-order", "Versions ascend.", -1, func(f *vectors.KeyServiceOut) {
		v := f.Keys[1].Versions
		v[0], v[1] = v[1], v[0]
	})
	wrong("version-twice", "No version comes twice.", -1, func(f *vectors.KeyServiceOut) { f.Keys[1].Versions[1].Number = 1 })
	wrong("note-order", "Notes ascend by store.", noteAt-4, func(f *vectors.KeyServiceOut) { f.Notes[0], f.Notes[1] = f.Notes[1], f.Notes[0] })
	wrong("note-twice", "No store has two notes.", noteAt-4, func(f *vectors.KeyServiceOut) { f.Notes[1].StoreID = f.Notes[0].StoreID })
}

// localWrap wraps a key under the newest version of a root key.
func localWrap(root vectors.RootKey, key []byte, c vectors.Context) []byte {
	v := root.Versions[len(root.Versions)-1]
	salt := random("salt of "+root.Name+string(canonical(c))+string(key), 16)
	head := cat(uint8(1), []byte(root.ID), v.Number, salt)
	return cat(head, seal(derive(v.Key, "cofre/v1/local-wrap", salt, 32), key, cat(head, canonical(c))))
}

func localWraps(s *set) {
	g := s.group("local-wrap", "docs/keyring-format.md#a-wrap")
	two := rootA
	two.Versions = append(slices.Clone(rootA.Versions), vectors.KeyVersion{Number: 2, CreatedAt: createdAt, Key: random("root a 2", 32)})
	disabled, deleted := rootKey("off", random("root off", 32)), rootKey("old", random("root old", 32))
	disabled.State, deleted.State = 2, 3
	file := encodeKeyFile(vectors.KeyServiceOut{Revision: 9, Keys: []vectors.RootKey{two, rootB, disabled, deleted}})
	in := func(name string, wrap []byte, c vectors.Context) vectors.LocalWrapIn {
		return vectors.LocalWrapIn{KeyService: file, Name: name, Wrap: wrap, Context: c}
	}
	key, c := random("wrapped key", 32), contextOf(id("table"), 3)
	w := localWrap(two, key, c)
	valid := func(name, rule string, i vectors.LocalWrapIn) { g.valid(name, rule, i, vectors.WrapOut{Key: key}) }
	valid("table-key", "A wrap of a table key under the newest version.", in("a", w, c))
	valid("store-key", "A wrap of the store key: its purpose, and zeros for the table.", in("a", localWrap(two, key, contextOf(zeros16, 1)), contextOf(zeros16, 1)))
	valid("older-version", "A wrap names its version: an older one opens.", in("a", localWrap(rootA, key, c), c))
	large := contextOf(id("table"), 1<<32-1)
	valid("version-decimal", "The version stands in decimal in the context.", in("b", localWrap(rootB, key, large), large))

	bad := func(name, rule, class string, i vectors.LocalWrapIn) { g.invalid(name, rule, class, -1, i) }
	wrap := func(name, rule, class string, w []byte) { bad(name, rule, class, in("a", w, c)) }
	wrap("nothing", "A wrap is 97 bytes long.", "ErrFormat", nil)
	wrap("cut", "A wrap that was cut does not parse.", "ErrFormat", w[:96])
	wrap("appended", "No byte follows a wrap.", "ErrFormat", cat(w, uint8(0)))
	wrap("format-0", "There is no format 0.", "ErrVersion", put(w, 0, uint8(0)))
	wrap("format-2", "An unknown format is refused as an unknown version.", "ErrVersion", put(w, 0, uint8(2)))
	wrap("key-id", "An unknown key id is a key that is not found.", "ErrKeyNotFound", flip(w, 1))
	bad("other-key", "A wrap of one key does not go to another.", "ErrKeyNotFound", in("b", w, c))
	wrap("version-unknown", "A version that the key has not is not found.", "ErrKeyNotFound", put(w, 17, uint32(3)))
	wrap("version-0", "Versions count from 1.", "ErrKeyNotFound", put(w, 17, uint32(0)))
	wrap("version-other", "The version is additional data.", "ErrWrongContext", put(w, 17, uint32(1)))
	wrap("salt", "The salt enters the key.", "ErrWrongContext", flip(w, 21))
	wrap("nonce", "A changed nonce does not open.", "ErrWrongContext", flip(w, 37))
	wrap("text", "A changed text does not open.", "ErrWrongContext", flip(w, 49))
	wrap("tag", "A changed tag does not open.", "ErrWrongContext", flip(w, 96))
	context := func(name, rule string, change func(*vectors.Context)) {
		o := c
		change(&o)
		bad(name, rule, "ErrWrongContext", in("a", w, o))
	}
	context("other-store", "The store is in the context.", func(c *vectors.Context) { c.StoreID = id("another store") })
	context("other-table", "The table is in the context.", func(c *vectors.Context) { c.TableID = id("another table") })
	context("other-purpose", "The purpose is in the context.", func(c *vectors.Context) { c.Purpose = "store-key" })
	context("other-version", "The version of the wrapped key is in the context.", func(c *vectors.Context) { c.Version = 2 })
	wrap("other-salt-derivation", "The wrapping key is derived with the salt that the wrap shows.", "ErrWrongContext", func() []byte {
		head := cat(uint8(1), []byte(two.ID), uint32(2), random("a salt", 16))
		return cat(head, seal(derive(two.Versions[1].Key, "cofre/v1/local-wrap", nil, 32), key, cat(head, canonical(c))))
	}())
	wrap("head-not-additional", "Bytes 0 to 36 are additional data.", "ErrWrongContext", func() []byte {
		salt := random("another salt", 16)
		return cat(uint8(1), []byte(two.ID), uint32(2), salt, seal(derive(two.Versions[1].Key, "cofre/v1/local-wrap", salt, 32), key, canonical(c)))
	}())
	bad("disabled", "A disabled key is denied.", "ErrKeyDenied", in("off", localWrap(disabled, key, c), c))
	bad("pending-deletion", "A key that is pending deletion is denied.", "ErrKeyDenied", in("old", localWrap(deleted, key, c), c))
	bad("unknown-name", "A name that the file has not is not found.", "ErrKeyNotFound", in("none", w, c))
}
