// Package sstable is the sealed file that is written once and read at random:
// a sorted table of the engine, or its separated values.
//
// A [Writer] takes plaintext in any pieces and seals it; a [Reader] opens any
// range of it again:
//
//	w, err := sstable.NewWriter(f, identity, dataKey, sstable.Options{})
//	w.Write(p)
//	w.Sync() // seals the last segment: the file is whole
//	w.Close()
//
//	h, err := keyring.ParseHeader(first234Bytes)
//	r, err := sstable.NewReader(f, size, h, key, sstable.Options{Path: name})
//	r.ReadAt(p, off)
//
// # Format
//
// The file is a sealed header, as package keyring draws it, and a FLOE message
// (c2sp.org/FLOE): AES-256-GCM, HKDF-Expand-SHA-384, 32-byte IV. FLOE's key is
// the data key, its additional data the identity in the header (bytes 0 to
// 95), its segment length the unit size U of the header.
//
//	off          len
//	0            234  header; its last 74 bytes are FLOE's header
//	234          U    segment 0  ─┐
//	234 + U      U    segment 1   │ each U-32 bytes of plaintext
//	…                            ─┘
//	234 + (n-1)U 32…U segment n-1, the final one
//
//	segment      ff ff ff ff, or the length of the final segment (4)
//	             nonce (12) ‖ sealed text ‖ tag (16)
//
// A segment's additional data is its position (8) and whether it is final (1).
// The final segment is never left out. It is empty (32 bytes) only where the
// whole file is: so each plaintext size has one physical size, and
// [PlainSize] and [PhysicalSize] turn one into the other without a key.
// Other FLOE messages that end in an empty segment are refused.
//
// # Guarantees
//
// What a Reader returns without error is what the Writer was given, at that
// offset, in that file. A changed bit, a segment moved, doubled, zeroed or of
// another file, a cut and an appendix are a [corrupt.Error] that names file
// and physical offset. It stays: once a segment has failed, every read of that
// Reader fails. Not hidden: sizes, and which segments are read when.
//
// Reads are exact. [Reader.ReadAt] reads the segments that cover the range in
// one piece, opens whole ones straight into the caller's buffer, and allocates
// nothing. A [Sequential] loads large runs and opens every segment once; where
// it is read on and on, another goroutine opens the next run meanwhile. A [Walk]
// loads small runs, up or down, with memory that serves one file after another.
//
// # Durability
//
// A file is durable when [Writer.Sync] has returned nil, and its directory
// entry when the caller has synced the directory. A crash before that leaves a
// file without final segment, of any length: it does not open, or its reads
// fail; nothing may refer to it yet. There is no state of a file to which
// something can be added later: a data key belongs to one file, and a position
// of it is sealed once.
//
// # Compatibility
//
// The header carries the format version. This package reads and writes
// version 1; testdata/golden holds files of every version it has to read.
package sstable
