package main

import (
	"bytes"

	"github.com/cofredb/cofre/internal/vectors"
)

// content is plaintext that differs everywhere.
func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// segment seals one segment.
func (f *sealedFile) sealSegment(position uint64, final uint8, mark uint32, text []byte) []byte {
	key := f.kdf(f.messageKey(), cat("DEK:", position&^(1<<20-1)), 32)
	return cat(mark, seal(key, text, cat(position, final)))
}

// body seals a plaintext in segments.
func (f *sealedFile) body(text []byte) (segments [][]byte) {
	full := int(f.unit) - 32
	for position := uint64(0); ; position++ {
		if len(text) <= full {
			return append(segments, f.sealSegment(position, 1, uint32(len(text)+32), text))
		}
		segments = append(segments, f.sealSegment(position, 0, 1<<32-1, text[:full]))
		text = text[full:]
	}
}

func sstables(s *set) {
	g := s.group("sstable", "docs/format.md#files-written-once-sstable")
	valid := func(name, rule string, kind uint8, unit uint32, size int) {
		f := newFile("sstable "+name, kind, unit)
		g.valid(name, rule, vectors.SSTableIn{DataKey: f.dataKey, File: join(f.header(), join(f.body(content(size))...))},
			vectors.SSTableOut{Content: content(size)})
	}
	valid("empty", "An empty plaintext has one segment, which is final and empty.", kindSSTable, 2048, 0)
	valid("one-byte", "The final segment is as long as it needs to be.", kindSSTable, 2048, 1)
	valid("one-unit-less-1", "One byte less than a unit's plaintext is one segment.", kindSSTable, 64, 31)
	valid("one-unit", "Exactly a unit's plaintext is one segment, which is final: no empty one follows.", kindSSTable, 64, 32)
	valid("one-unit-plus-1", "One byte more than a unit's plaintext is two segments.", kindSSTable, 64, 33)
	valid("two-units", "Exactly two units' plaintext is two segments.", kindSSTable, 64, 64)
	valid("two-units-plus-1", "One byte more than two units' plaintext is three segments.", kindSSTable, 64, 65)
	valid("default-unit", "A file of the default unit size.", kindSSTable, 2048, 3*2016+77)
	valid("default-one-unit", "2016 bytes fill a unit of 2048.", kindSSTable, 2048, 2016)
	valid("default-one-unit-plus-1", "2017 bytes take two units of 2048.", kindSSTable, 2048, 2017)
	valid("odd-unit", "A unit size need not be a power of two.", kindSSTable, 100, 500)
	valid("largest-unit", "A unit of 2^20 bytes need not be full.", kindSSTable, 1<<20, 100)
	valid("blob", "A blob file has the same segments.", kindBlob, 512, 1500)
	valid("many-units", "Positions go beyond one byte.", kindSSTable, 64, 300*32)

	f := newFile("sstable base", kindSSTable, 64)
	h, segs := f.header(), f.body(content(5*32+20))
	whole := join(h, join(segs...))
	in := func(b []byte) vectors.SSTableIn { return vectors.SSTableIn{DataKey: f.dataKey, File: b} }
	g.valid("base", "Six segments of 64 bytes: the file that the invalid ones below are made of.", in(whole), vectors.SSTableOut{Content: content(5*32 + 20)})

	at := func(i int) int { return headerLen + 64*i }
	bad := func(name, rule, class string, offset int, b []byte) { g.invalid(name, rule, class, offset, in(b)) }
	bad("flipped-mark", "A segment that is not final begins with ff ff ff ff.", "ErrAuth", at(2), flip(whole, at(2)))
	bad("flipped-nonce", "A changed nonce does not open.", "ErrAuth", at(2), flip(whole, at(2)+4))
	bad("flipped-text", "A changed byte of the text does not open.", "ErrAuth", at(2), flip(whole, at(2)+16))
	bad("flipped-text-end", "A changed last byte of the text does not open.", "ErrAuth", at(2), flip(whole, at(2)+47))
	bad("flipped-tag", "A changed tag does not open.", "ErrAuth", at(2), flip(whole, at(2)+63))
	bad("flipped-first", "The first segment is authenticated as the others are.", "ErrAuth", at(0), flip(whole, at(0)+20))
	bad("flipped-final", "The final segment is authenticated as the others are.", "ErrAuth", at(5), flip(whole, len(whole)-1))
	bad("final-length-wrong", "The final segment begins with its own length.", "ErrAuth", at(5), flip(whole, at(5)+3))
	bad("final-marked-inner", "The final segment does not begin with ff ff ff ff.", "ErrAuth", at(5), put(whole, at(5), uint32(1<<32-1)))
	bad("inner-marked-final", "Whether a segment is final is not taken from the segment: one with a length in the middle does not open.",
		"ErrAuth", at(1), put(whole, at(1), uint32(64)))
	bad("swapped", "The position is additional data: two segments do not change places.", "ErrAuth", at(1),
		join(h, segs[0], segs[2], segs[1], segs[3], segs[4], segs[5]))
	bad("duplicated", "A segment in the place of another does not open.", "ErrAuth", at(2), join(h, segs[0], segs[1], segs[1], segs[3], segs[4], segs[5]))
	bad("inserted", "A segment repeated behind itself does not open.", "ErrAuth", at(2), join(h, segs[0], segs[1], segs[1], join(segs[2:]...)))
	bad("removed", "What follows a removed segment does not open.", "ErrAuth", at(2), join(h, segs[0], segs[1], join(segs[3:]...)))
	bad("zeroed", "A segment of zeros does not open.", "ErrAuth", at(3), put(whole, at(3), make([]byte, 64)))
	bad("of-other-file", "A segment of another file with the same data key does not open: the IV enters its key.", "ErrAuth", at(1),
		put(whole, at(1), f.with(func(f *sealedFile) { f.iv = random("another iv", 32) }).body(content(5*32 + 20))[1]))
	bad("of-other-identity", "A segment of a file with another number does not open: the identity enters its key.", "ErrAuth", at(1),
		put(whole, at(1), f.with(func(f *sealedFile) { f.number = 43 }).body(content(5*32 + 20))[1]))
	bad("of-other-data-key", "A segment under another data key does not open.", "ErrAuth", at(1),
		put(whole, at(1), f.with(func(f *sealedFile) { f.dataKey = random("another data key", 32) }).body(content(5*32 + 20))[1]))
	bad("cut-between", "A file cut between two segments does not open: its last one is not final.", "ErrAuth", at(4), whole[:at(5)])
	bad("cut-to-one", "A file cut behind its first segment does not open.", "ErrAuth", at(0), whole[:at(1)])
	bad("cut-inside", "A file cut inside a segment does not open there.", "ErrAuth", at(4), whole[:at(4)+40])
	bad("cut-inside-final", "A file cut inside its final segment does not open there.", "ErrAuth", at(5), whole[:len(whole)-1])
	bad("cut-to-mark", "No file ends with a part of a segment that cannot be one.", "ErrFormat", at(3), whole[:at(3)+31])
	bad("no-segment", "The final segment is never left out.", "ErrFormat", -1, h)
	bad("one-short-segment", "A segment is at least 32 bytes long.", "ErrFormat", -1, whole[:at(0)+31])
	bad("appended-byte", "A byte behind the final segment makes it another one, which does not open.", "ErrAuth", at(5), cat(whole, uint8(0)))
	bad("appended-segment", "A segment behind the final one does not open, and neither does the one that was final.", "ErrAuth", at(5), join(whole, segs[0]))
	bad("appended-zeros", "Zeros behind the final segment are no part of the file.", "ErrAuth", at(5), join(whole, make([]byte, 200)))
	bad("doubled", "The body twice is not the file twice.", "ErrAuth", at(5), join(whole, join(segs...)))
	// What a writer that does not keep the rules has sealed with the right key.
	bad("empty-final-behind-full", "The final segment is not empty unless the plaintext is, well sealed as it may be.", "ErrFormat", at(2),
		join(h, segs[0], segs[1], f.sealSegment(2, 1, 32, nil)))
	bad("sealed-not-final", "The last segment is sealed as final: final is additional data.", "ErrAuth", at(1),
		join(h, segs[0], f.sealSegment(1, 0, 52, content(20))))
	bad("sealed-final-inside", "A segment sealed as final does not stand before another.", "ErrAuth", at(1),
		join(h, segs[0], f.sealSegment(1, 1, 1<<32-1, content(32)), segs[2], segs[5]))
	bad("mark-not-length", "The final segment's mark is its length with the 4 bytes, not that of its plaintext.", "ErrAuth", at(1),
		join(h, segs[0], f.sealSegment(1, 1, 20, content(20))))
	bad("position-from-1", "Positions count from 0.", "ErrAuth", at(0), join(h, f.sealSegment(1, 1, 52, content(20))))
	bad("key-of-message", "Segments are sealed under the segment key, not the message key.", "ErrAuth", at(0),
		join(h, cat(uint32(52), seal(f.messageKey()[:32], content(20), cat(uint64(0), uint8(1))))))
	bad("key-per-segment", "The segment key changes every 2^20 segments, not with each.", "ErrAuth", at(1),
		join(h, segs[0], cat(uint32(52), seal(f.kdf(f.messageKey(), cat("DEK:", uint64(1)), 32), content(20), cat(uint64(1), uint8(1))))))
	bad("header-tag", "The header tag is checked before any segment.", "ErrAuth", 0, flip(whole, 233))
	log := newFile("log as sstable", kindWAL, 0)
	g.invalid("log", "A log is no file that is written once.", "ErrFormat", 10,
		vectors.SSTableIn{DataKey: log.dataKey, File: join(log.header(), bytes.Repeat([]byte{1}, 100))})
}
