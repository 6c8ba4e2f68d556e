package main

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"maps"
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
	bad("version-3", "An unknown file version is refused as an unknown version.", "ErrVersion", 8, put(body, 8, uint16(3)))
	bad("sealing-1", "Version 1 has no sealing.", "ErrVersion", 10, put(body, 10, uint8(1)))
	g.invalid("version-before-checksum", "A version that is not known is told before the checksum, which may be another there.", "ErrVersion", 8, in(put(summed(body), 8, uint16(3))))
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

// keyFileParts is the body of version 2.
func keyFileParts(f vectors.KeyServiceOut) []byte {
	b := cat(uint32(len(f.Keys)))
	for _, k := range f.Keys {
		b = cat(b, prefixed(k.Name), []byte(k.ID), k.State, uint64(k.CreatedAt), uint64(k.DeleteAt), k.RotationDays, uint64(k.RotateAt), uint32(len(k.Versions)))
		for _, v := range k.Versions {
			b = cat(b, v.Number, uint64(v.CreatedAt), []byte(v.Key))
		}
	}
	b = cat(b, uint32(len(f.Destroyed)))
	for _, d := range f.Destroyed {
		b = cat(b, []byte(d.ID), prefixed(d.Name), uint64(d.At))
	}
	b = cat(b, uint32(len(f.Aliases)))
	for _, a := range f.Aliases {
		b = cat(b, prefixed(a.Name), []byte(a.Key))
	}
	b = cat(b, uint32(len(f.Grants)))
	for _, g := range f.Grants {
		b = cat(b, []byte(g.ID), []byte(g.Key), prefixed(g.Grantee), prefixed(g.Retiring), g.Operations, uint64(g.CreatedAt), g.Constraint, uint32(len(g.Pairs)))
		for _, k := range slices.Sorted(maps.Keys(g.Pairs)) {
			b = cat(b, prefixed(k), prefixed(g.Pairs[k]))
		}
	}
	b = cat(b, uint32(len(f.Notes)))
	for _, n := range f.Notes {
		b = cat(b, []byte(n.StoreID), n.Generation, []byte(n.Digest))
	}
	return b
}

// keyFileHeader is the header of version 2, with the wrap.
func keyFileHeader(revision uint64, sealing uint8, wrap []byte) []byte {
	return cat("\x93COFRL\r\n", uint16(2), sealing, uint8(0), revision, prefixed(wrap))
}

// sealContext is the context of the wrap of a file's key.
var sealContext = vectors.Context{StoreID: zeros16, TableID: zeros16, Purpose: "key-service", Version: 2}

// byKeyFile wraps the key of a file by a key file.
func byKeyFile(content, key []byte) []byte {
	salt := random("salt of a key file "+string(content), 16)
	k := must(hkdf.Key(sha512.New384, content, salt, "cofre/v1/key-file", 32))
	head := cat(uint8(1), salt, derive(k, "cofre/v1/key-file-check", nil, 16))
	return cat(head, seal(derive(k, "cofre/v1/key-file-wrap", salt, 32), key, cat(head, canonical(sealContext))))
}

// byPassphrase wraps the key of a file by a passphrase.
func byPassphrase(phrase string, c cost, key []byte) []byte {
	salt, wrapSalt := random("salt of a sealing passphrase", 16), random("salt of a sealing wrap", 16)
	k := make(passphraseKeys).key(phrase, c, salt)
	head := cat(uint8(1), c.kdf, c.t, c.m, c.p, salt, derive(k, "cofre/v1/passphrase-check", nil, 16), wrapSalt)
	return cat(head, seal(derive(k, "cofre/v1/passphrase-wrap", wrapSalt, 32), key, cat(head, canonical(sealContext))))
}

func keyServices2(s *set) {
	g := s.group("key-service", "docs/keyring-format.md#the-local-key-service")
	a, b := rootA, rootB
	a.RotationDays, a.RotateAt = 365, createdAt+7
	b.State, b.DeleteAt = 3, createdAt+8
	n := vectors.Note{StoreID: tableID(1), Generation: 7, Digest: random("digest 1", 32)}
	f := vectors.KeyServiceOut{
		Revision: 5, Keys: []vectors.RootKey{a, b}, Notes: []vectors.Note{n},
		Destroyed: []vectors.DestroyedKey{{ID: id("gone b"), Name: "gone", At: createdAt + 2}, {ID: id("gone a"), Name: "a", At: createdAt + 1}},
		Aliases:   []vectors.KeyAlias{{Name: "prod", Key: a.ID}, {Name: "test", Key: a.ID}},
		Grants: []vectors.KeyGrant{
			{ID: cat(uint8(1), random("grant 1", 15)), Key: a.ID, Grantee: "reports", Operations: 3, CreatedAt: createdAt},
			{ID: cat(uint8(2), random("grant 2", 15)), Key: b.ID, Grantee: "h\u00e9l\u00e8ne m.", Retiring: "operator", Operations: 255, CreatedAt: createdAt, Constraint: 2,
				Pairs: map[string]string{"cofre:store": "01", "b": ""}},
			{ID: cat(uint8(3), random("grant 3", 15)), Key: a.ID, Grantee: "r", Operations: 4, CreatedAt: createdAt, Constraint: 1, Pairs: map[string]string{"a": "1"}},
		},
	}
	clear := func(f vectors.KeyServiceOut) []byte { return cat(keyFileHeader(f.Revision, 0, nil), keyFileParts(f)) }
	valid := func(name, rule string, f vectors.KeyServiceOut) {
		if f.Keys == nil {
			f.Keys = []vectors.RootKey{}
		}
		if f.Notes == nil {
			f.Notes = []vectors.Note{}
		}
		g.valid(name, rule, vectors.KeyServiceIn{File: summed(clear(f))}, f)
	}
	valid("2-empty", "A file of version 2 may hold nothing.", vectors.KeyServiceOut{Revision: 1})
	valid("2-typical", "A file of version 2 with every part: destroyed keys in the order of destruction, all else ascending.", f)
	undated := b
	undated.DeleteAt = 0
	valid("2-undated", "A key that is pending deletion may have no date: version 1 has none.", vectors.KeyServiceOut{Revision: 1, Keys: []vectors.RootKey{undated}})
	body := clear(f)
	bad := func(name, rule, class string, offset int, body []byte) {
		g.invalid(name, rule, class, offset, vectors.KeyServiceIn{File: summed(body)})
	}
	wrong := func(name, rule string, change func(*vectors.KeyServiceOut)) {
		c := f
		c.Keys, c.Destroyed, c.Aliases, c.Grants = slices.Clone(f.Keys), slices.Clone(f.Destroyed), slices.Clone(f.Aliases), slices.Clone(f.Grants)
		change(&c)
		bad("2-"+name, rule, "ErrFormat", -1, clear(c))
	}
	bad("2-sealing-3", "An unknown sealing is refused as an unknown version.", "ErrVersion", 10, put(body, 10, uint8(3)))
	bad("2-unsealed-wrap", "An unsealed file has no wrap.", "ErrFormat", 20, cat(keyFileHeader(5, 0, []byte{1}), keyFileParts(f)))
	bad("2-wrap-length", "The wrap's length is within the file.", "ErrFormat", 20, put(body, 20, uint32(1<<32-1)))
	bad("2-trailing", "No byte is left over before the checksum.", "ErrFormat", -1, cat(body, uint8(0)))
	wrong("id-twice", "No two keys have one id.", func(f *vectors.KeyServiceOut) { f.Keys[1].ID = f.Keys[0].ID })
	wrong("date-enabled", "Only a key that is pending deletion has a date.", func(f *vectors.KeyServiceOut) { f.Keys[0].DeleteAt = 1 })
	wrong("days-89", "A period of rotation is at least 90 days.", func(f *vectors.KeyServiceOut) { f.Keys[0].RotationDays = 89 })
	wrong("days-2561", "A period of rotation is at most 2560 days.", func(f *vectors.KeyServiceOut) { f.Keys[0].RotationDays = 2561 })
	wrong("days-alone", "A period has a next rotation.", func(f *vectors.KeyServiceOut) { f.Keys[0].RotateAt = 0 })
	wrong("rotation-alone", "A next rotation has a period.", func(f *vectors.KeyServiceOut) { f.Keys[0].RotationDays = 0 })
	wrong("destroyed-there", "A destroyed key has not the id of one that is there.", func(f *vectors.KeyServiceOut) { f.Destroyed[0].ID = f.Keys[0].ID })
	wrong("destroyed-name", "A destroyed key had a name.", func(f *vectors.KeyServiceOut) { f.Destroyed[1].Name = "" })
	wrong("alias-order", "Aliases ascend by name.", func(f *vectors.KeyServiceOut) { f.Aliases[0], f.Aliases[1] = f.Aliases[1], f.Aliases[0] })
	wrong("alias-twice", "No two aliases have one name.", func(f *vectors.KeyServiceOut) { f.Aliases[1].Name = f.Aliases[0].Name })
	wrong("alias-name", "An alias is named as a key is.", func(f *vectors.KeyServiceOut) { f.Aliases[1].Name = "x/y" })
	wrong("alias-of-none", "An alias is of a key that is there.", func(f *vectors.KeyServiceOut) { f.Aliases[0].Key = f.Destroyed[0].ID })
	wrong("grant-order", "Grants ascend by id.", func(f *vectors.KeyServiceOut) { f.Grants[0], f.Grants[1] = f.Grants[1], f.Grants[0] })
	wrong("grant-of-none", "A grant is of a key that is there.", func(f *vectors.KeyServiceOut) { f.Grants[0].Key = f.Destroyed[0].ID })
	wrong("grant-id-zero", "A grant's id is not zeros.", func(f *vectors.KeyServiceOut) { f.Grants[0].ID = zeros16 })
	wrong("grantee-empty", "A grant has a grantee.", func(f *vectors.KeyServiceOut) { f.Grants[0].Grantee = "" })
	wrong("grantee-control", "A grantee's name is printable.", func(f *vectors.KeyServiceOut) { f.Grants[0].Grantee = "a\n" })
	wrong("grantee-long", "A grantee's name is at most 256 bytes long.", func(f *vectors.KeyServiceOut) { f.Grants[0].Grantee = strings.Repeat("g", 257) })
	wrong("retiring-control", "A retiring principal's name is printable.", func(f *vectors.KeyServiceOut) { f.Grants[1].Retiring = "\x7f" })
	wrong("operations-0", "A grant allows something.", func(f *vectors.KeyServiceOut) { f.Grants[0].Operations = 0 })
	wrong("operations-256", "There is no operation 256.", func(f *vectors.KeyServiceOut) { f.Grants[0].Operations = 256 })
	wrong("constraint-3", "There is no constraint 3.", func(f *vectors.KeyServiceOut) { f.Grants[1].Constraint = 3 })
	wrong("constraint-alone", "A constraint has pairs.", func(f *vectors.KeyServiceOut) { f.Grants[0].Constraint = 1 })
	wrong("pairs-alone", "Pairs belong to a constraint.", func(f *vectors.KeyServiceOut) { f.Grants[1].Constraint = 0 })
	wrong("pairs-key-empty", "The key of a pair is not empty.", func(f *vectors.KeyServiceOut) { f.Grants[1].Pairs = map[string]string{"": "1"} })
	wrong("pairs-not-text", "Pairs are UTF-8.", func(f *vectors.KeyServiceOut) { f.Grants[1].Pairs = map[string]string{"a": "\xff"} })
	wrong("pairs-long", "Pairs are at most 1024 bytes long, with their lengths.", func(f *vectors.KeyServiceOut) {
		f.Grants[1].Pairs = map[string]string{"a": strings.Repeat("x", 1016)}
	})

	g = g.in("docs/keyring-format.md#a-sealed-file")
	const phrase = "correct horse battery staple"
	key, content := random("key of a key-service file", 32), random("content of a key file", 40)
	wraps := map[uint8][]byte{1: byPassphrase(phrase, pbk, key), 2: byKeyFile(content, key)}
	sealed := func(kind uint8) []byte {
		header := keyFileHeader(f.Revision, kind, wraps[kind])
		return cat(header, sealSalted(key, "cofre/v1/key-service", keyFileParts(f), header))
	}
	in := func(kind uint8, body []byte) vectors.KeyServiceIn {
		i := vectors.KeyServiceIn{File: summed(body)}
		if kind == 1 {
			i.Passphrase = vectors.Text(phrase)
		} else {
			i.KeyFile = content
		}
		return i
	}
	p, k := sealed(1), sealed(2)
	wrapAt, saltAt := 24, 24+len(wraps[2])
	g.valid("2-passphrase", "Sealing 1 is by a passphrase.", in(1, p), f)
	g.valid("2-key-file", "Sealing 2 is by a key file.", in(2, k), f)
	argonHeader := keyFileHeader(f.Revision, 1, byPassphrase(phrase, argon, key))
	g.valid("2-argon2id", "The passphrase's derivation is that of a root key.",
		in(1, cat(argonHeader, sealSalted(key, "cofre/v1/key-service", keyFileParts(f), argonHeader))), f)
	denied := func(name, rule string, i vectors.KeyServiceIn) { g.invalid("2-"+name, rule, "ErrKeyDenied", -1, i) }
	denied("nothing-given", "A sealed file needs what seals it.", vectors.KeyServiceIn{File: summed(k)})
	denied("other-given", "A key file does not open what a passphrase has sealed.", vectors.KeyServiceIn{File: summed(p), KeyFile: content})
	denied("wrong-passphrase", "Another passphrase is denied.", vectors.KeyServiceIn{File: summed(p), Passphrase: vectors.Text("correct horse")})
	denied("wrong-key-file", "Another key file is denied.", vectors.KeyServiceIn{File: summed(k), KeyFile: flip(content, 39)})
	denied("longer-key-file", "All of a key file counts.", vectors.KeyServiceIn{File: summed(k), KeyFile: cat(content, uint8(0))})
	denied("downgraded", "An unsealed file in the place of a sealed one is denied.", vectors.KeyServiceIn{File: summed(body), KeyFile: content})
	denied("check", "A changed check value is as another key file.", in(2, flip(k, wrapAt+17)))
	auth := func(name, rule string, offset int, body []byte) {
		g.invalid("2-"+name, rule, "ErrAuth", offset, in(2, body))
	}
	auth("wrap", "A wrap that does not open was changed.", 20, flip(k, wrapAt+40))
	auth("revision", "The header is additional data.", saltAt, flip(k, 19))
	auth("salt", "The salt enters the key.", saltAt, flip(k, saltAt))
	auth("text", "A changed text does not open.", saltAt, flip(k, saltAt+40))
	auth("tag", "A changed tag does not open.", saltAt, flip(k, len(k)-1))
	auth("sealed-appended", "No byte follows the sealed part.", saltAt, cat(k, uint8(0)))
	g.invalid("2-sealed-short", "The sealed part has a salt, a nonce and a tag.", "ErrFormat", saltAt, in(2, k[:saltAt+43]))
	g.invalid("2-wrap-format", "An unknown format of the wrap is refused as an unknown version.", "ErrVersion", 20, in(2, put(k, wrapAt, uint8(2))))
	g.invalid("2-cost", "A cost below the floor is refused before anything is derived.", "ErrFormat", 20, in(1, put(p, wrapAt+2, uint32(1))))
	g.invalid("2-sealed-body", "What was sealed is parsed as strictly.", "ErrFormat", -1, in(2, func() []byte {
		header := keyFileHeader(f.Revision, 2, wraps[2])
		return cat(header, sealSalted(key, "cofre/v1/key-service", cat(keyFileParts(f), uint8(0)), header))
	}()))
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
