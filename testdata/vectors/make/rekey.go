package main

import "github.com/cofredb/cofre/internal/vectors"

// sealUnder seals a payload as a frame of f, under the frame key of next.
func (f *sealedFile) sealUnder(next *sealedFile, index uint64, payload []byte) []byte {
	head := cat(f.segmentTag(), index, uint32(len(payload)))
	return cat(head, seal(next.kdf(next.messageKey(), "WAL_FRAME:", 32), payload, head))
}

// rekeyed are logs that go on under another data key.
func rekeyed(s *set) {
	g := s.group("wal", "docs/format.md#a-change-of-the-key")
	keyID, at := id("next key"), uint64(createdAt)
	first := newLog("rekeyed", kindManifest, laterPast, plain(at+1, 1, []byte("before")))
	f := first.f
	// The same file, as its frames see it, with another key.
	next := f.with(func(c *sealedFile) {
		c.dataKey, c.iv, c.keyVersion = random("next data key", 32), random("next iv", 32), 4
	})
	wrapped := next.with(func(c *sealedFile) { c.file = keyID }).wrapped()
	floe := cat(next.params(), next.iv, next.kdf(next.dataKey, "HEADER_TAG:", 32))
	named := cat(keyID, uint32(4), wrapped, floe)
	announce := frame{time: at + 2, durable: 2, flags: 2, data: named}
	change := frame{time: at + 3, durable: 3, flags: 4}
	behind := frame{time: at + 4, durable: 4, data: []byte("behind")}

	log := func(announce, change frame) (b []byte, places [3]int) {
		parts := [][]byte{first.file(), f.sealFrame(2, announce.payload()), f.sealFrame(3, change.payload()), f.sealUnder(next, 4, behind.payload())}
		for i := range places {
			places[i] = len(join(parts[:i+1]...))
		}
		return join(parts...), places
	}
	in := func(b []byte) vectors.WALIn {
		return vectors.WALIn{DataKey: f.dataKey, File: b, NextKeys: []vectors.NextKey{{ID: keyID, Version: 4, DataKey: next.dataKey}}}
	}
	b, places := log(announce, change)
	whole := first.out(1)
	whole.Frames = append(whole.Frames, vectors.Frame{Index: 4, Time: int64(behind.time), Durable: 4, Data: behind.data})
	whole.End = int64(len(b))
	g.valid("rekeyed", "Two frames change the key, and what is behind them is sealed under the one that they name.", in(b), whole)

	bad := func(name, rule, class string, offset int, b []byte) {
		g.add(name, rule, in(b), first.out(1), fault(class, offset))
	}
	other := func(name, rule, class string, place int, a, c frame) {
		b, places := log(a, c)
		bad(name, rule, class, places[place], b)
	}
	g.add("rekeyed-no-key", "Who has not got the key that is named reads no further, and is told so.",
		vectors.WALIn{DataKey: f.dataKey, File: b}, first.out(1), fault("ErrAuth", places[0]))
	a := announce
	a.note = "a note"
	other("rekeyed-note", "A frame that names a key has no note.", "ErrFormat", 0, a, change)
	a = announce
	a.data = named[:len(named)-1]
	other("rekeyed-short", "What names a key is 154 bytes long.", "ErrFormat", 0, a, change)
	a = announce
	a.data = cat(named, uint8(0))
	other("rekeyed-long", "What names a key is 154 bytes long, and none is left over.", "ErrFormat", 0, a, change)
	a = announce
	a.flags = 2 | 4
	other("rekeyed-both", "One frame names the key, and another changes to it.", "ErrFormat", 0, a, change)
	a = announce
	a.flags = 2 | 1
	other("rekeyed-compressed", "A frame that names a key is not compressed.", "ErrFormat", 0, a, change)
	a = announce
	a.data = flip(named, len(named)-1)
	other("rekeyed-tag", "The FLOE header's tag is that of the key that is named.", "ErrAuth", 0, a, change)
	a = announce
	a.data = put(named, 80+2, uint32(64))
	other("rekeyed-segment", "The FLOE header of a log has segment length 0.", "ErrAuth", 0, a, change)
	c := change
	c.data = []byte("x")
	other("rekeyed-data", "A frame that changes the key is empty.", "ErrFormat", 1, announce, c)
	c = change
	c.note = "x"
	other("rekeyed-change-note", "A frame that changes the key has no note.", "ErrFormat", 1, announce, c)
	plainFirst := plain(at+2, 2, []byte("no key"))
	b2, places2 := log(plainFirst, change)
	out := first.out(1)
	out.Frames = append(out.Frames, vectors.Frame{Time: int64(plainFirst.time), Durable: 2, Data: plainFirst.data})
	g.add("rekeyed-alone", "No frame changes to a key that none has named.", in(b2), out, fault("ErrFormat", places2[1]))

	bad("rekeyed-flipped", "A changed frame that names a key is attested by the one that changes to it.", "ErrAuth", places[0], flip(b, places[1]-1))
	bad("rekeyed-change-flipped", "A changed frame that changes the key is attested by those behind it.", "ErrAuth", places[1], flip(b, places[2]-1))
	ends := func(name, rule string, n int) {
		o := first.out(1)
		o.End = int64(n)
		g.valid(name, rule, in(b[:n]), o)
	}
	ends("rekeyed-cut", "A log may end behind the frame that names a key.", places[1])
	ends("rekeyed-cut-behind", "A log may end behind the change of its key.", places[2])
}
