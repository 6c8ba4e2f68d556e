package main

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/cofredb/cofre/internal/vectors"
)

const overlayMagic = "\x93COFRO\r\n"

// An overlay wraps data keys once more, under a newer version of a table's key.
type overlay struct {
	version    uint16
	suite      uint8
	store      []byte
	table      []byte
	id         []byte
	keyVersion uint32
	tableKey   []byte
	files      []*sealedFile // wrapped under that version
}

func (o *overlay) head() []byte {
	return cat(overlayMagic, o.version, o.suite, uint8(0), o.store, o.table, o.id, o.keyVersion)
}

// wraps is the text that is sealed.
func (o *overlay) wraps() []byte {
	b := cat(uint32(len(o.files)))
	for _, f := range o.files {
		b = cat(b, f.file, o.wrapped(f))
	}
	return b
}

// wrapped is the data key of a file under the overlay's version of the table key.
func (o *overlay) wrapped(f *sealedFile) []byte {
	return f.with(func(c *sealedFile) { c.keyVersion, c.tableKey = o.keyVersion, o.tableKey }).wrapped()
}

func (o *overlay) seal(text []byte) []byte {
	return cat(o.head(), prefixed(sealSalted(o.tableKey, "cofre/v1/overlay", text, o.head())))
}

func (o *overlay) encode() []byte { return o.seal(o.wraps()) }

func (o *overlay) with(change func(*overlay)) *overlay {
	c := *o
	c.files = slices.Clone(o.files)
	change(&c)
	return &c
}

// overlays are files of data keys that are wrapped again.
func overlays(s *set) {
	g := s.group("overlay", "docs/keyring-format.md#the-overlay")
	newest := random("table key 4", 32)
	keys := func() map[uint32]vectors.Hex {
		return map[uint32]vectors.Hex{3: random("table key", 32), 4: newest}
	}
	files := []*sealedFile{newFile("overlaid 1", kindSSTable, 2048), newFile("overlaid 2", kindWAL, 0), newFile("overlaid 3", kindBlob, 64)}
	slices.SortFunc(files, func(a, b *sealedFile) int { return cmp.Compare(string(a.file), string(b.file)) })
	o := &overlay{version: 1, suite: 1, store: id("store"), table: id("table"), id: id("overlay"), keyVersion: 4, tableKey: newest, files: files}
	b := o.encode()

	in := func(b []byte) vectors.OverlayIn {
		return vectors.OverlayIn{StoreID: id("store"), TableID: id("table"), OverlayID: id("overlay"), TableKeys: keys(), File: b}
	}
	out := func(o *overlay) *vectors.OverlayOut {
		out := &vectors.OverlayOut{KeyVersion: o.keyVersion}
		for _, f := range o.files {
			out.DataKeys = append(out.DataKeys, vectors.DataKey{FileID: f.file, Version: o.keyVersion, Wrapped: o.wrapped(f), Key: f.dataKey})
		}
		return out
	}
	g.valid("typical", "An overlay has data keys of files of any kind, wrapped as a header's are, under one version.", in(b), out(o))
	empty := o.with(func(o *overlay) { o.files = nil })
	g.valid("no-key", "An overlay may have no data key.", in(empty.encode()), out(empty))
	one := o.with(func(o *overlay) { o.keyVersion, o.tableKey, o.files = 3, random("table key", 32), files[:1] })
	g.valid("older", "An overlay may lie under a version that is not the newest.", in(one.encode()), out(one))

	bad := func(name, rule, class string, offset int, b []byte) { g.invalid(name, rule, class, offset, in(b)) }
	bad("empty", "An overlay begins with its magic.", "ErrFormat", 0, nil)
	bad("cut-head", "What is in the clear is 64 bytes long.", "ErrFormat", 0, b[:63])
	bad("cut-length", "The length of what is sealed is whole.", "ErrFormat", 64, b[:67])
	bad("cut", "What is sealed is as long as it says.", "ErrFormat", 64, b[:len(b)-1])
	bad("cut-sealed", "What is sealed has a salt, a nonce and a tag.", "ErrAuth", 64, cat(o.head(), prefixed(b[68:68+43])))
	bad("appended", "No byte is left over.", "ErrFormat", 64, cat(b, uint8(0)))
	bad("length-huge", "Lengths are bounded before they are used.", "ErrFormat", 64, put(b, 64, uint32(1<<32-1)))
	bad("magic", "The magic is 93 43 4f 46 52 4f 0d 0a.", "ErrFormat", 0, flip(b, 5))
	bad("magic-sealed-file", "The magic of a sealed file is another.", "ErrFormat", 0, put(b, 0, magic))
	bad("version-0", "There is no version 0.", "ErrVersion", 8, put(b, 8, uint16(0)))
	bad("version-2", "An unknown version is refused as such, not as tampering.", "ErrVersion", 8, put(b, 8, uint16(2)))
	bad("suite-2", "An unknown suite is refused as an unknown version.", "ErrVersion", 10, put(b, 10, uint8(2)))
	bad("reserved", "The byte behind the suite is zero.", "ErrFormat", 11, put(b, 11, uint8(1)))
	foreign := func(name, rule string, offset int, change func(*overlay)) {
		bad(name, rule, "ErrForeign", offset, o.with(change).encode())
	}
	foreign("other-store", "An overlay of another store is foreign.", 12, func(o *overlay) { o.store = id("another store") })
	foreign("other-table", "An overlay of another table is foreign.", 12, func(o *overlay) { o.table = id("another table") })
	foreign("other-overlay", "An overlay under another's id is foreign.", 44, func(o *overlay) { o.id = id("another overlay") })
	bad("key-version-other", "The key version is additional data, and chooses the key.", "ErrAuth", 64, put(b, 60, uint32(3)))
	bad("key-version-unknown", "A version that the table has not, as one that was retired, is an unknown version of its key.",
		"ErrVersionUnknown", 60, put(b, 60, uint32(2)))
	retired := in(b)
	delete(retired.TableKeys, 4)
	retired.Retired = []uint32{4}
	g.invalid("retired", "An overlay under a version that was retired does not open.", "ErrVersionUnknown", 60, retired)
	bad("salt", "The salt derives the key.", "ErrAuth", 64, flip(b, 68))
	bad("nonce", "The list is sealed: its nonce.", "ErrAuth", 64, flip(b, 84))
	bad("text", "The list is sealed: its text.", "ErrAuth", 64, flip(b, 96))
	bad("tag", "The list is sealed: its tag.", "ErrAuth", 64, flip(b, len(b)-1))
	bad("head-of-other", "Bytes 0 to 63 are additional data.", "ErrAuth", 64,
		cat(o.head(), o.with(func(o *overlay) { o.id = id("another overlay") }).encode()[64:]))

	text := o.wraps()
	sealed := func(name, rule string, text []byte) { bad(name, rule, "ErrFormat", 64, o.seal(text)) }
	sealed("count-none", "The list has a count.", nil)
	sealed("count-less", "No byte of the list is left over.", put(text, 0, uint32(2)))
	sealed("count-more", "A count is no more than fits into what is left.", put(text, 0, uint32(4)))
	sealed("count-above", "There are at most 2^20 data keys.", put(text, 0, uint32(1<<20+1)))
	sealed("count-huge", "A count is bounded before it is used.", put(text, 0, uint32(1<<32-1)))
	sealed("list-cut", "The last wrap is whole.", text[:len(text)-1])
	sealed("list-appended", "Nothing follows the list.", cat(text, uint8(0)))
	swapped := o.with(func(o *overlay) { o.files[0], o.files[1] = o.files[1], o.files[0] })
	sealed("order", "File ids ascend.", swapped.wraps())
	twice := o.with(func(o *overlay) { o.files[1] = o.files[0] })
	sealed("twice", "No file id comes twice.", twice.wraps())

	// What a header says, beside the overlay.
	use := func(f *sealedFile, version uint32, wrapped []byte) *vectors.DataKey {
		return &vectors.DataKey{FileID: f.file, Version: version, Wrapped: wrapped}
	}
	used := func(b []byte, u *vectors.DataKey, retired ...uint32) vectors.OverlayIn {
		i := in(b)
		i.Use, i.Retired = u, retired
		for _, v := range retired {
			delete(i.TableKeys, v)
		}
		return i
	}
	key := func(f *sealedFile) *vectors.OverlayOut {
		out := out(o)
		out.Key = f.dataKey
		return out
	}
	f := files[0]
	g.valid("used", "A data key is taken from the overlay, and what the header's version unwraps is the same.", used(b, use(f, 3, f.wrapped())), key(f))
	g.valid("used-retired", "A retired version is not asked for: whatever the header has, the overlay's key counts.",
		used(b, use(f, 3, bytes.Repeat([]byte{0xaa}, 60)), 3), key(f))
	other := newFile("not overlaid", kindSSTable, 2048)
	g.valid("used-not-there", "A data key that the overlay has not is the header's.", used(b, use(other, 3, other.wrapped())), key(other))
	g.invalid("used-other-key", "What the header unwraps to and the overlay has are the same key.", "ErrAuth", 100,
		used(b, use(f, 3, f.with(func(c *sealedFile) { c.dataKey = random("another data key", 32) }).wrapped())))
	g.invalid("used-header", "A header's wrap that does not open is found, though the overlay has the key.", "ErrAuth", 100,
		used(b, use(f, 3, flip(f.wrapped(), 20))))
	wrongFile := put(text, 4+16, o.wrapped(files[1]))
	g.invalid("used-wrap-of-other", "A wrap of the overlay is bound to its file, as a header's is.", "ErrAuth", 100,
		used(o.seal(wrongFile), use(f, 3, f.wrapped())))
}
