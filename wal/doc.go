// Package wal is the sealed file that is appended to and synced: write-ahead
// log segments, MANIFESTs, OPTIONS and the store's journal.
//
// A [Writer] seals each Write as one frame; a [Reader] hands the frames back
// and knows where the log ends:
//
//	w, err := wal.NewWriter(f, identity, dataKey, past, wal.Options{Path: name})
//	w.Write(p)
//	w.SyncData() // all frames before it are durable
//	w.Close()
//
//	h, err := keyring.ParseHeader(first234Bytes)
//	r, err := wal.NewReader(f, size, h, key, wal.ReaderOptions{})
//	for {
//		frame, err := r.Next() // io.EOF at the end of the log
//	}
//
// # Format
//
// The file is a sealed header, as package keyring draws it, and frames. The
// header's last 74 bytes are a FLOE header (c2sp.org/FLOE) of segment length 0,
// under the data key; its additional data is the identity, bytes 0 to 95.
// Frames are not FLOE's segments. From the message key are derived, as FLOE
// derives its own keys, the frame key (AES-256-GCM, purpose "WAL_FRAME:") and
// the segment tag (8 bytes, purpose "WAL_SEGMENT_TAG:"). Integers are
// big-endian.
//
//	off  len
//	  0  234  header
//	234       frame 0, frame 1, … with nothing between
//
//	frame
//	  0    8  segment tag          ─┐
//	  8    8  index, from 0         │ in the clear: the additional data
//	 16    4  length n of payload  ─┘
//	 20   12  nonce
//	 32    n  sealed payload
//	32+n  16  GCM tag
//
//	payload, n = 21 … MaxPayload bytes
//	  0    8  time, nanoseconds since 1970, never less than the frame's before
//	  8    8  durable: how many frames were known to be synced when this one
//	          was sealed, at most its index
//	 16    1  flags: bit 0, the data is S2-compressed; bits 1 and 2, below;
//	          the others are 0
//	 17    4  length of the note, m
//	 21    m  note, opaque to this package
//	21+m      data, to the end of the payload
//
//	data of frame 0: the past, 74 bytes
//	  0    2  format version
//	  2    8  Pebble's format version
//	 10   32  previous segment: number (8), file id (16), final frames (8)
//	 42   32  MANIFEST: number (8), file id (16), durable frames (8)
//
//	data of a frame with flag bit 1, which names the next key: 154 bytes, no note
//	  0   16  what the key was made for, in place of a file's id
//	 16    4  table-key version
//	 20   60  wrapped data key
//	 80   74  FLOE header under that key, of the same additional data
//
// A frame with flag bit 2 is empty; the frames behind it are sealed under the
// frame key of the key that was named last. Both frames are under the former
// key, and the first is synced before the second is written, the second before
// any behind it: so a log goes on under a new table key (or another root key's)
// from one frame to the next, and who holds the old one alone reads no further.
//
// A segment that does not exist is 32 zero bytes. The segment tag is random to
// all who lack the key, and another one in every file; it only marks where a
// frame may begin and proves nothing. It is never stored but in frames.
//
// Behind the last frame may lie anything: zeros that were allocated in
// advance, or the frames of the file that was recycled, under another key.
//
// # End of the log
//
// A power cut may leave any part of what was not synced: a frame may be short
// or torn, a later frame may be there and an earlier one not. So a frame that
// is short or does not open is corruption if, and only if, something attests
// that it was durable:
//
//   - a later frame of the file that opens and whose durable exceeds its index;
//   - the caller, by ReaderOptions.Attested, Final or Limit.
//
// Else the log ends before it, [Reader.End] tells what was dropped, and what
// the log holds is a prefix of what was written, with all that was synced. Not
// found, therefore, is a cut among the last frames of a log that no other file
// attests. (The rule "a good frame behind a bad one is corruption" would refuse
// almost every legal crash.)
//
// A frame that opens, and does not stand where the frame of its index must, is
// always corruption. No crash puts one there, for each place of the file is
// written once under its key. So are a frame 0 that does not open and frames
// behind the one that Final names as the last.
//
// Later frames are searched for by the segment tag, up to the end of the file.
// Each candidate that fits into the file is opened, until the search has opened
// 64 MiB and 16 times the length of what it searches; to exceed that is
// corruption. A legal tail takes about its own length. What makes it take more
// are frames whose header was torn inside the length field, with the bytes of a
// recycled file behind; the bound is above what those cost where half of all
// 512-byte sectors are lost.
//
// # Guarantees
//
// A changed, moved, repeated, removed or foreign frame is a [corrupt.Error]
// with file and physical offset, under the rule above; never io.EOF or
// io.ErrUnexpectedEOF, which Pebble's replay takes for the end of the log. The
// first error of a Writer or Reader is final: each later call returns it.
// ([io.ReadFull] drops an error that comes with a full buffer; so Read returns
// either bytes or an error, and the error again.)
//
// Lengths are bounded by the file's size before anything is allocated. Not
// hidden: when frames are written, and how long each is. Compression is off
// unless asked for, for the length of a compressed frame tells what a batch
// shares with a secret beside it (CRIME).
//
// # Durability
//
// A frame is durable when a Sync or SyncData that began after its Write has
// returned nil. One frame more or less is not known to Write: it may fail and
// the frame survive, whole, or not at all.
//
// The header cannot be torn by a crash if the caller makes a file in this
// order, and a bad header or frame 0 is then always tampering:
//
//  1. create the file under a name that the engine ignores, or open the file
//     to be recycled under its old one, which nothing needs any more;
//  2. NewWriter, which writes header and frame 0 in one Write. If we crash
//     here, the file is nobody's;
//  3. Sync;
//  4. rename it to its name; sync the directory.
//
// If we crash after 4, the file has its name, header and frame 0.
//
// A file is written once, by one Writer: a file that is opened again for
// writing is a new file, with a new data key.
//
// Beside a live Writer a Reader may read what [Writer.Committed] gives as
// Limit. Everything up to there has been written and must open.
//
// # Compatibility
//
// The header carries the format version. This package reads and writes version
// 1; testdata/golden holds files of every version it has to read.
package wal
