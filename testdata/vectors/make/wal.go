package main

import (
	"bytes"

	"github.com/cofredb/cofre/internal/vectors"
)

// frame is one frame before it is sealed. Its fields may be wrong.
type frame struct {
	time    uint64
	durable uint64
	flags   uint8
	note    string
	data    []byte
	noteLen uint32 // in place of the note's own where wrongLen is set
	wrong   bool
}

// plain is a frame without note.
func plain(time, durable uint64, data []byte) frame {
	return frame{time: time, durable: durable, data: data}
}

func (f frame) payload() []byte {
	n := uint32(len(f.note))
	if f.wrong {
		n = f.noteLen
	}
	return cat(f.time, f.durable, f.flags, n, f.note, f.data)
}

func (f *sealedFile) segmentTag() []byte { return f.kdf(f.messageKey(), "WAL_SEGMENT_TAG:", 8) }

// sealFrame seals a payload as a frame.
func (f *sealedFile) sealFrame(index uint64, payload []byte) []byte {
	head := cat(f.segmentTag(), index, uint32(len(payload)))
	return cat(head, seal(f.kdf(f.messageKey(), "WAL_FRAME:", 32), payload, head))
}

func segment(s vectors.Segment) []byte {
	if s.FileID == nil {
		s.FileID = zeros16
	}
	return cat(s.Number, []byte(s.FileID), s.Frames)
}

func past(p vectors.Past) []byte {
	return cat(p.FormatVersion, p.PebbleFormat, segment(p.Previous), segment(p.Manifest))
}

var (
	noSegment = vectors.Segment{FileID: zeros16}
	firstPast = vectors.Past{FormatVersion: 1, Previous: noSegment, Manifest: noSegment}
	laterPast = vectors.Past{
		FormatVersion: 1, PebbleFormat: 24,
		Previous: vectors.Segment{Number: 41, FileID: id("previous log"), Frames: 1234},
		Manifest: vectors.Segment{Number: 39, FileID: id("manifest"), Frames: 17},
	}
)

// A sealedLog is a log taken apart.
type sealedLog struct {
	f      *sealedFile
	past   vectors.Past
	frames []frame  // from frame 1 on
	sealed [][]byte // from frame 0 on
}

const second = 1_000_000_000

func newLog(label string, kind uint8, p vectors.Past, frames ...frame) *sealedLog {
	l := &sealedLog{f: newFile("log "+label, kind, 0), past: p, frames: frames}
	l.sealed = append(l.sealed, l.f.sealFrame(0, frame{time: createdAt, data: past(p)}.payload()))
	for i, fr := range frames {
		l.sealed = append(l.sealed, l.f.sealFrame(uint64(i+1), fr.payload()))
	}
	return l
}

// file is header, frames and what stands behind them.
func (l *sealedLog) file(behind ...[]byte) []byte {
	return join(l.f.header(), join(l.sealed...), join(behind...))
}

// offset is where frame i begins, or the end.
func (l *sealedLog) offset(i int) int { return headerLen + len(join(l.sealed[:i]...)) }

// out is what a reader finds in the first n frames, frame 0 not counted. data
// are their data where they are compressed.
func (l *sealedLog) out(n int, data ...[]byte) *vectors.WALOut {
	o := &vectors.WALOut{Past: l.past, Frames: []vectors.Frame{}, End: int64(l.offset(n + 1))}
	for i, fr := range l.frames[:n] {
		d := fr.data
		if fr.flags&1 != 0 {
			d = data[i]
		}
		o.Frames = append(o.Frames, vectors.Frame{Time: int64(fr.time), Durable: fr.durable, Note: vectors.Hex(fr.note), Data: d})
	}
	return o
}

// dropped is out with what lies behind the end of the file b, but for zeros at
// its end.
func dropped(o *vectors.WALOut, b []byte, torn bool) *vectors.WALOut {
	o.Dropped, o.Torn = int64(len(bytes.TrimRight(b[o.End:], "\x00"))), torn
	return o
}

func logs(s *set) {
	g := s.group("wal", "docs/format.md#files-appended-to-wal")
	in := func(l *sealedLog, b []byte) vectors.WALIn { return vectors.WALIn{DataKey: l.f.dataKey, File: b} }
	valid := func(name, rule string, l *sealedLog, data ...[]byte) {
		g.valid(name, rule, in(l, l.file()), l.out(len(l.frames), data...))
	}
	text := func(s string) []byte { return []byte(s) }

	valid("empty", "A log of frame 0 alone holds nothing.", newLog("empty", kindWAL, firstPast))
	valid("one", "One write is one frame.", newLog("one", kindWAL, firstPast, plain(createdAt, 1, text("a"))))
	valid("several", "Frames follow each other with nothing between them.", newLog("several", kindWAL, laterPast,
		plain(createdAt+1, 1, text("first")), plain(createdAt+2, 1, content(1000)), plain(createdAt+3, 3, text("third"))))
	valid("note", "A note stands before the data.", newLog("note", kindManifest, firstPast, frame{time: createdAt, durable: 1, note: "a note", data: text("and its data")}))
	valid("note-alone", "A note may stand alone.", newLog("note alone", kindManifest, firstPast, frame{time: createdAt, durable: 1, note: "a note"}))
	valid("nothing", "A frame may be empty: its payload has 21 bytes.", newLog("nothing", kindWAL, firstPast, plain(createdAt, 1, nil)))
	valid("same-time", "A time is never less than that of the frame before; it may be the same.",
		newLog("same time", kindWAL, firstPast, plain(createdAt, 1, text("a")), plain(createdAt, 1, text("b"))))
	valid("durable-0", "Durable may lag behind, as far as 0.", newLog("durable 0", kindWAL, firstPast, plain(createdAt, 0, text("a"))))
	valid("durable-index", "Durable is at most the index.", newLog("durable index", kindWAL, firstPast,
		plain(createdAt, 1, text("a")), plain(createdAt, 2, text("b"))))
	valid("journal", "The store's journal is such a log.", newLog("journal", kindJournal, firstPast, plain(createdAt, 1, cat(id("table"), uint8(1)))))
	valid("options", "An OPTIONS file ends with a frame whose note is end and which has no data.", newLog("options", kindOptions, firstPast,
		plain(createdAt, 0, text("[Version]\n")), frame{time: createdAt, durable: 0, note: "end"}))
	// S2: the length as a varint, then a literal, then a copy.
	repeat := bytes.Repeat(text("ab"), 20)
	packed := cat(uint8(40), uint8(1<<2), "ab", uint8(37<<2|2), uint8(2), uint8(0))
	valid("compressed", "Bit 0 of the flags says that the data is compressed, and the note is not.",
		newLog("compressed", kindWAL, firstPast, frame{time: createdAt, durable: 1, flags: 1, note: "note", data: packed}), repeat)
	valid("compressed-nothing", "Compressed data may be empty.", newLog("compressed nothing", kindWAL, firstPast, frame{time: createdAt, durable: 1, flags: 1, data: []byte{0}}), nil)

	base := newLog("base", kindWAL, laterPast,
		plain(createdAt+1*second, 1, text("the first write")),
		plain(createdAt+2*second, 1, content(300)),
		frame{time: createdAt + 3*second, durable: 1, note: "note", data: text("the third write")},
		plain(createdAt+4*second, 3, text("the fourth write")),
		plain(createdAt+5*second, 3, text("the fifth write")),
		plain(createdAt+6*second, 3, text("the last write")))
	f, b := base.f, base.file()
	at := base.offset
	valid("base", "Seven frames, of which the first three are attested by later ones: the log that most of those below are made of.", base)

	// A payload that no writer makes.
	broken := func(name, rule string, before []frame, payload []byte) {
		l := newLog(name, kindWAL, firstPast, before...)
		l.sealed = append(l.sealed, l.f.sealFrame(uint64(len(before)+1), payload))
		g.add(name, rule, in(l, l.file()), l.out(len(before)), fault("ErrFormat", l.offset(len(before)+1)))
	}
	broken("time-backward", "A time is never less than that of the frame before.", []frame{{createdAt + 5, 1, 0, "", text("a"), 0, false}},
		frame{time: createdAt + 4, data: text("b")}.payload())
	broken("durable-above-index", "Durable is at most the index.", nil, frame{time: createdAt, durable: 2, data: text("a")}.payload())
	broken("flags-unknown", "Other bits of the flags are 0.", nil, frame{time: createdAt, flags: 2, data: text("a")}.payload())
	broken("note-longer", "A note is no longer than the payload.", nil, frame{time: createdAt, data: text("abc"), noteLen: 4, wrong: true}.payload())
	broken("note-huge", "The length of a note is bounded before it is used.", nil, frame{time: createdAt, data: text("abc"), noteLen: 1<<32 - 1, wrong: true}.payload())
	broken("compressed-garbage", "Compressed data decompresses.", nil, frame{time: createdAt, flags: 1, data: []byte{4, 0xff, 0xff}}.payload())
	broken("compressed-shorter", "Compressed data has the length that it says.", nil, frame{time: createdAt, flags: 1, data: []byte{9, 1 << 2, 'a', 'b'}}.payload())
	broken("compressed-huge", "The length of decompressed data is at most 2^28.", nil,
		frame{time: createdAt, flags: 1, data: []byte{0x81, 0x80, 0x80, 0x80, 0x01, 0}}.payload())
	broken("compressed-no-length", "Compressed data begins with its length.", nil, frame{time: createdAt, flags: 1}.payload())

	// Frame 0.
	zero := func(name, rule, class string, data []byte) {
		l := newLog(name, kindWAL, firstPast)
		l.sealed[0] = l.f.sealFrame(0, frame{time: createdAt, data: data}.payload())
		g.invalid(name, rule, class, headerLen, in(l, l.file()))
	}
	p := past(laterPast)
	zero("past-short", "The past is 74 bytes long.", "ErrFormat", p[:73])
	zero("past-long", "The past is 74 bytes long, and none is left over.", "ErrFormat", cat(p, uint8(0)))
	zero("past-empty", "Frame 0 has a past.", "ErrFormat", nil)
	zero("past-version", "The past names the format version.", "ErrVersion", put(p, 0, uint16(2)))
	zero("past-no-id", "A segment that does not exist is 32 bytes of zero: a number without a file id is none.", "ErrFormat", put(p, 18, zeros16))
	zero("manifest-no-id", "A MANIFEST that does not exist is 32 bytes of zero.", "ErrFormat", put(p, 50, zeros16))

	g = g.in("docs/format.md#making-one")
	bad := func(name, rule, class string, offset int, b []byte) {
		g.invalid(name, rule, class, offset, in(base, b))
	}
	bad("header-tag", "The header is synced before the file has its name: a bad one is tampering.", "ErrAuth", 0, flip(b, 233))
	bad("frame-0-missing", "Frame 0 is synced before the file has its name.", "ErrMissing", headerLen, b[:headerLen])
	bad("frame-0-cut", "A cut inside frame 0 is tampering.", "ErrMissing", headerLen, b[:at(1)-1])
	bad("frame-0-flipped", "A changed frame 0 is tampering.", "ErrAuth", headerLen, flip(b, at(1)-1))
	bad("frame-0-tag", "Frame 0 has the segment tag of the file.", "ErrAuth", headerLen, flip(b, headerLen))
	bad("frame-0-removed", "Frame 0 comes first.", "ErrAuth", headerLen, join(b[:headerLen], b[at(1):]))
	bad("frame-0-of-other", "Frame 0 of another log does not open.", "ErrAuth", headerLen,
		join(b[:headerLen], newLog("several", kindWAL, laterPast).sealed[0], b[at(1):]))
	other := newLog("an older life", kindWAL, firstPast, plain(createdAt, 1, content(2000)), plain(createdAt, 2, content(700)))
	old := other.file()
	recycled := newLog("recycled", kindWAL, laterPast, base.frames[0])
	rest := recycled.file(old[recycled.offset(2):])
	g.valid("recycled", "What lies behind the last frame of a recycled file is sealed under another key, and no part of the log.",
		in(recycled, rest), dropped(recycled.out(1), rest, false))
	g.valid("preallocated", "Zeros behind the last frame are no part of the log.", in(base, base.file(make([]byte, 100))), base.out(6))

	// Where a log ends.
	g = g.in("docs/format.md#where-a-log-ends")
	ends := func(name, rule string, n int, b []byte, torn bool) {
		g.valid(name, rule, in(base, b), dropped(base.out(n), b, torn))
	}
	ends("torn-last", "A last frame that is cut off, and that nothing attests, ends the log before it.", 5, b[:at(7)-1], true)
	ends("torn-head", "A frame of which only a part of the head is there ends the log.", 5, b[:at(6)+19], true)
	ends("torn-tag", "A part of a segment tag ends the log.", 5, b[:at(6)+3], false)
	ends("cut-between", "A log that ends between two frames ends there: nothing attests the others.", 5, b[:at(6)], false)
	ends("cut-to-0", "A log cut behind frame 0 is an empty one, if nothing else attests its frames.", 0, b[:at(1)], false)
	ends("flipped-last", "A last frame that does not open, and that nothing attests, ends the log before it.", 5, flip(b, at(7)-1), true)
	ends("zeroed-last", "A last frame of zeros ends the log.", 5, put(b, at(6), make([]byte, at(7)-at(6))), false)
	ends("lost-earlier", "A frame that nothing attests may be lost although a later one is there: the log ends before it, and what follows is not part of it.",
		4, flip(b, at(6)-1), true)
	ends("lost-third", "Durable 3 in a later frame says nothing of the frame with index 3.", 2, flip(b, at(4)-1), true)
	ends("zeroed-middle", "Lost frames may be zeros with later frames behind.", 3, put(b, at(4), make([]byte, at(5)-at(4))), true)
	ends("garbage", "What does not begin with the segment tag is no frame.", 6, base.file(text("what an application left here")), false)
	ends("tag-alone", "A segment tag with an impossible length is no frame: too short.", 6,
		base.file(f.segmentTag(), cat(uint64(7), uint32(20)), content(60)), true)
	ends("length-huge", "A length above 2^28 is no frame's.", 6, base.file(f.segmentTag(), cat(uint64(7), uint32(1<<28+1)), content(60)), true)
	ends("length-beyond", "A length beyond the end of the file is that of a torn frame.", 6,
		base.file(f.segmentTag(), cat(uint64(7), uint32(1000)), content(60)), true)
	ends("tag-in-tail", "A segment tag inside a torn tail leads to no frame.", 5,
		join(b[:at(6)+30], f.segmentTag(), cat(uint64(6), uint32(30)), content(70)), true)

	g.add("attested-by-later", "A frame that is missing is corruption if a later frame of the file opens whose durable exceeds its index.",
		in(base, flip(b, at(3)-1)), base.out(1), fault("ErrAuth", at(2)))
	g.add("attested-zeroed", "A frame of zeros that a later one attests is corruption.",
		in(base, put(b, at(2), make([]byte, at(3)-at(2)))), base.out(1), fault("ErrAuth", at(2)))
	g.add("attested-length", "A frame with a changed length that a later one attests is corruption.",
		in(base, put(b, at(2)+16, uint32(21))), base.out(1), fault("ErrAuth", at(2)))
	g.add("attested-index", "The index is additional data: a frame that shows another one does not open.", in(base, put(b, at(2)+8, uint64(9))), base.out(1), fault("ErrAuth", at(2)))
	g.add("attested-nonce", "A frame with a changed nonce that a later one attests is corruption.", in(base, flip(b, at(2)+20)), base.out(1), fault("ErrAuth", at(2)))
	g.add("attested-tag", "A frame without the segment tag is missing, and corruption where a later one attests it.", in(base, flip(b, at(2))), base.out(1), fault("ErrAuth", at(2)))
	g.add("swapped", "Two frames in each other's place are corruption, attested or not: no crash moves a frame.",
		in(base, join(b[:at(5)], base.sealed[6], base.sealed[5])), base.out(4), fault("ErrAuth", at(5)))
	g.add("duplicated", "A frame that stands twice is corruption.", in(base, base.file(base.sealed[6])), base.out(6), fault("ErrAuth", at(7)))
	g.add("replayed", "An older frame in the place of the last is corruption.",
		in(base, join(b[:at(6)], base.sealed[5])), base.out(5), fault("ErrAuth", at(6)))
	g.add("removed", "What follows a removed frame stands where it must not.",
		in(base, join(b[:at(5)], b[at(6):])), base.out(4), fault("ErrAuth", at(5)))
	g.add("replayed-behind", "An earlier frame behind the place of a missing one is corruption.",
		in(base, join(b[:at(6)], content(40), base.sealed[4])), base.out(5), fault("ErrAuth", at(6)+40))
	late := f.sealFrame(9, frame{time: createdAt + 9*second, durable: 10, data: text("x")}.payload())
	g.add("malformed-behind", "A later frame that opens and whose payload is malformed is corruption.",
		in(base, base.file(content(10), late)), base.out(6), fault("ErrFormat", at(7)+10))
	ends("of-other-log", "A frame of another log, under its own tag, is none of this one's.", 6, base.file(other.sealed[1]), false)
	ends("other-key", "A frame under this log's tag and another's key does not open.", 6,
		base.file(put(other.sealed[1], 0, f.segmentTag(), uint64(7))), true)
	var stuffed []byte
	for range 30 {
		stuffed = cat(stuffed, f.segmentTag(), uint64(7), uint32(21), content(29))
	}
	ends("stuffed", "Many segment tags with possible lengths are opened, to no avail.", 6, base.file(stuffed), true)

	stuffed = nil
	for i := range 2700 {
		stuffed = cat(stuffed, f.segmentTag(), uint64(7), uint32((2700-i)*20-20-28))
	}
	g.add("stuffed-beyond-bound", "What is opened in search of later frames is bounded: tags for more than 64 MiB and 16 times the bytes searched are corruption.",
		in(base, base.file(stuffed)), base.out(6), fault("ErrAuth", -1))

	// What other files say.
	told := func(name, rule string, attested, final uint64, b []byte, out *vectors.WALOut, f *vectors.Fault) {
		i := in(base, b)
		i.Attested, i.Final = attested, final
		g.add(name, rule, i, out, f)
	}
	told("attested-met", "As many frames as another file attests are there.", 7, 0, b, base.out(6), nil)
	told("attested-fewer", "More frames than another file attests are none too many.", 2, 0, b, base.out(6), nil)
	told("attested-cut", "A log with fewer frames than another file attests is cut.", 7, 0, b[:at(6)], base.out(5), fault("ErrMissing", at(6)))
	told("attested-torn", "A frame that another file attests and that does not open is corruption.", 7, 0, flip(b, at(7)-1), base.out(5), fault("ErrAuth", at(6)))
	told("final-met", "The log ends at its final count.", 0, 7, b, base.out(6), nil)
	longer := base.file(old[at(7):])
	told("final-recycled", "What lies behind the final count may be what the file held before.", 0, 7, longer, dropped(base.out(6), longer, false), nil)
	told("final-cut", "A log that ends before its final count is cut.", 0, 7, b[:at(6)], base.out(5), fault("ErrMissing", at(6)))
	told("final-flipped", "A frame before the final count opens.", 0, 7, flip(b, at(7)-1), base.out(5), fault("ErrAuth", at(6)))
	told("final-more", "A frame of this file behind the final count is corruption.", 0, 6, b, base.out(5), fault("ErrRollback", at(6)))
	told("final-1", "A final count of 1 is an empty log.", 0, 1, b[:at(1)], base.out(0), nil)

	sst := newFile("sstable as log", kindSSTable, 64)
	g.in("docs/format.md#the-header").invalid("sstable", "An SSTable is no log.", "ErrForeign", 10,
		vectors.WALIn{DataKey: sst.dataKey, File: join(sst.header(), join(sst.body(content(100))...))})
}
