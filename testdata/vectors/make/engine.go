package main

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/internal/vectors"
)

func encodeNote(n vectors.ManifestNoteOut) []byte {
	var flags uint8
	if n.Whole {
		flags |= 1
	}
	if len(n.Gone) > 0 {
		flags |= 2
	}
	if len(n.Replacing) > 0 {
		flags |= 4
	}
	b := cat(flags, encodeEntries(n.Entries), segment(n.Log))
	if len(n.Gone) > 0 {
		b = cat(b, uint32(len(n.Gone)))
		for _, k := range n.Gone {
			b = cat(b, k.Number, k.Kind)
		}
	}
	if len(n.Replacing) > 0 {
		b = cat(b, encodeEntries(n.Replacing))
	}
	return b
}

func encodeEntries(entries []vectors.MapEntry) []byte {
	b := cat(uint32(len(entries)))
	for _, e := range entries {
		b = cat(b, e.Number, e.Kind, []byte(e.FileID), e.Length)
	}
	return b
}

func manifestNotes(s *set) {
	g := s.group("manifest-note", "docs/format.md#the-file-map")
	valid := func(name, rule string, change func(*vectors.ManifestNoteOut)) {
		n := vectors.ManifestNoteOut{Entries: []vectors.MapEntry{}, Log: noSegment, Gone: []vectors.MapKey{}, Replacing: []vectors.MapEntry{}}
		change(&n)
		g.valid(name, rule, vectors.ManifestNoteIn{Note: encodeNote(n)}, n)
	}
	sst := vectors.MapEntry{MapKey: vectors.MapKey{Number: 7, Kind: 1}, FileID: id("000007.sst"), Length: 4096}
	blob := vectors.MapEntry{MapKey: vectors.MapKey{Number: 8, Kind: 2}, FileID: id("000008.blob"), Length: 1 << 40}
	log := vectors.Segment{Number: 9, FileID: id("000009.log"), Frames: 3}
	typical := func(n *vectors.ManifestNoteOut) {
		n.Whole, n.Entries, n.Log = true, []vectors.MapEntry{sst, blob}, log
		n.Gone = []vectors.MapKey{{Number: 5, Kind: 1}, {Number: 6, Kind: 2}}
	}
	valid("empty", "A note may name no file and no log.", func(n *vectors.ManifestNoteOut) {})
	valid("whole-empty", "Bit 0: the entries are the whole map, here of no file.", func(n *vectors.ManifestNoteOut) { n.Whole = true })
	valid("one", "A file that was finished since the frame before.", func(n *vectors.ManifestNoteOut) { n.Entries = []vectors.MapEntry{sst} })
	valid("blob", "A blob file has an entry as an SSTable has.", func(n *vectors.ManifestNoteOut) { n.Entries = []vectors.MapEntry{blob} })
	valid("empty-file", "A file's plaintext may be empty.", func(n *vectors.ManifestNoteOut) {
		e := sst
		e.Length = 0
		n.Entries = []vectors.MapEntry{e}
	})
	valid("same-number", "Number and kind name a file together.", func(n *vectors.ManifestNoteOut) {
		e := blob
		e.Number = 7
		n.Entries = []vectors.MapEntry{sst, e}
	})
	valid("log", "A note names the current log and how many of its frames are durable.", func(n *vectors.ManifestNoteOut) { n.Log = log })
	valid("gone", "Bit 1: some files are gone.", func(n *vectors.ManifestNoteOut) { n.Gone = []vectors.MapKey{{Number: 7, Kind: 1}} })
	valid("come-and-gone", "What is gone leaves the map after the note's entries have entered it.", func(n *vectors.ManifestNoteOut) {
		n.Entries, n.Gone = []vectors.MapEntry{sst}, []vectors.MapKey{sst.MapKey}
	})
	again := sst
	again.FileID = id("000007.sst, sealed anew")
	valid("replaced", "Bit 2: a file may have been replaced.", func(n *vectors.ManifestNoteOut) { n.Replacing = []vectors.MapEntry{again} })
	valid("replaced-all", "What may be replaced follows what is gone.", func(n *vectors.ManifestNoteOut) {
		typical(n)
		n.Replacing = []vectors.MapEntry{again}
	})
	valid("typical", "A note may have entries, a log and what is gone at once.", typical)
	g.valid("gone-none", "Bit 1 may be set with a count of 0.", vectors.ManifestNoteIn{Note: cat(uint8(2), uint32(0), segment(noSegment), uint32(0))},
		vectors.ManifestNoteOut{Entries: []vectors.MapEntry{}, Log: noSegment, Gone: []vectors.MapKey{}, Replacing: []vectors.MapEntry{}})

	var n vectors.ManifestNoteOut
	typical(&n)
	b := encodeNote(n)
	goneAt := len(b) - 2*9 - 4
	bad := func(name, rule string, b []byte) {
		g.invalid(name, rule, "ErrFormat", -1, vectors.ManifestNoteIn{Note: b})
	}
	bad("nothing", "A note of a MANIFEST's frame, from frame 1 on, is not empty.", nil)
	bad("cut-count", "The count is whole.", b[:4])
	bad("cut-entry", "An entry is whole.", b[:5+32])
	bad("cut-log", "The log is whole.", b[:5+2*33+31])
	bad("no-log", "The log is there, or zeros.", b[:5+2*33])
	bad("no-gone", "What bit 1 announces is there.", b[:goneAt])
	bad("cut-gone", "What is gone is whole.", b[:len(b)-1])
	bad("appended", "No byte is left over.", cat(b, uint8(0)))
	bad("gone-without-bit", "What is gone is there only where bit 1 says so.", put(b, 0, uint8(1)))
	bad("no-replaced", "What bit 2 announces is there.", put(b, 0, uint8(1|2|4)))
	bad("flag-3", "Other bits of the flags are 0.", put(b, 0, uint8(1|2|8)))
	bad("flag-7", "Other bits of the flags are 0, up to the highest.", put(b, 0, uint8(1|2|128)))
	bad("count-huge", "A count is no more than fits into what is left.", put(b, 1, uint32(1<<32-1)))
	bad("count-more", "A count of one too many takes the log for an entry.", put(b, 1, uint32(3)))
	bad("count-less", "A count of one too few leaves an entry over.", put(b, 1, uint32(1)))
	bad("gone-huge", "A count of what is gone is no more than fits.", put(b, goneAt, uint32(1<<31)))
	bad("gone-more", "A count of what is gone is not one too many.", put(b, goneAt, uint32(3)))
	bad("gone-less", "A count of what is gone is not one too few.", put(b, goneAt, uint32(1)))
}

func encodeRecord(r vectors.CleanCloseOut) []byte {
	b := cat(uint32(len(r.Markers)))
	for _, m := range r.Markers {
		b = cat(b, prefixed(m))
	}
	for _, list := range [][]vectors.End{r.Manifests, r.Logs} {
		b = cat(b, uint32(len(list)))
		for _, e := range list {
			b = cat(b, segment(e.Segment), uint64(e.Size))
		}
	}
	return b
}

var typicalRecord = vectors.CleanCloseOut{
	Markers: []string{"marker.format-version.000011.024", "marker.manifest.000001.MANIFEST-000001"},
	Manifests: []vectors.End{
		{Segment: vectors.Segment{Number: 1, FileID: id("MANIFEST-000001"), Frames: 17}, Size: 5000},
		{Segment: vectors.Segment{Number: 10, FileID: id("MANIFEST-000010"), Frames: 2}, Size: 700},
	},
	Logs: []vectors.End{
		{Segment: vectors.Segment{Number: 11, FileID: id("000011.log"), Frames: 100}, Size: 1 << 20},
		{Segment: vectors.Segment{Number: 12, FileID: id("000012.log"), Frames: 1}, Size: 377},
	},
}

func cleanCloses(s *set) {
	g := s.group("clean-close", "docs/format.md#the-clean-close-record")
	valid := func(name, rule string, r vectors.CleanCloseOut) {
		g.valid(name, rule, vectors.CleanCloseIn{Record: encodeRecord(r)}, r)
	}
	with := func(change func(*vectors.CleanCloseOut)) vectors.CleanCloseOut {
		r := typicalRecord
		r.Manifests, r.Logs = slices.Clone(r.Manifests), slices.Clone(r.Logs)
		change(&r)
		return r
	}
	valid("typical", "Markers by name, MANIFESTs and logs by number.", typicalRecord)
	valid("smallest", "The least is one MANIFEST.", vectors.CleanCloseOut{Markers: []string{}, Manifests: typicalRecord.Manifests[:1], Logs: []vectors.End{}})
	valid("no-log", "There may be no log.", with(func(r *vectors.CleanCloseOut) { r.Logs = []vectors.End{} }))
	valid("unknown", "Frames or size 0 stand for unknown.", with(func(r *vectors.CleanCloseOut) { r.Logs[0].Frames, r.Logs[1].Size = 0, 0 }))
	valid("size-largest", "A size has 63 bits.", with(func(r *vectors.CleanCloseOut) { r.Logs[0].Size = math.MaxInt64 }))

	b := encodeRecord(typicalRecord)
	markers := 4 + 4 + len(typicalRecord.Markers[0]) + 4 + len(typicalRecord.Markers[1])
	bad := func(name, rule string, b []byte) {
		g.invalid(name, rule, "ErrFormat", -1, vectors.CleanCloseIn{Record: b})
	}
	bad("nothing", "A record has three counts.", nil)
	bad("no-manifest", "There is at least one MANIFEST.", encodeRecord(with(func(r *vectors.CleanCloseOut) { r.Manifests = nil })))
	bad("counts-alone", "A record of nothing names no MANIFEST.", make([]byte, 12))
	bad("cut-count", "The count of markers is whole.", b[:3])
	bad("cut-marker", "A marker's name is whole.", b[:20])
	bad("no-manifests", "The count of MANIFESTs is there.", b[:markers])
	bad("cut-manifest", "A MANIFEST's end is whole.", b[:markers+4+39])
	bad("no-logs", "The count of logs is there.", b[:markers+4+80])
	bad("cut", "A record that is cut does not parse.", b[:len(b)-1])
	bad("appended", "No byte is left over.", cat(b, uint8(0)))
	bad("markers-huge", "A count of markers is no more than fits into what is left.", put(b, 0, uint32(1<<32-1)))
	bad("marker-long", "The length of a marker's name is within the record.", put(b, 4, uint32(1<<31)))
	bad("manifests-huge", "A count of MANIFESTs is no more than fits.", put(b, markers, uint32(1<<30)))
	bad("manifests-less", "A count of MANIFESTs is not one too few.", put(b, markers, uint32(1)))
	bad("logs-huge", "A count of logs is no more than fits.", put(b, markers+4+80, uint32(3)))
	bad("logs-less", "A count of logs is not one too few.", put(b, markers+4+80, uint32(1)))
}

func tableStates(s *set) {
	g := s.group("table-state", "docs/format.md#table-states")
	m := vectors.Segment{Number: 10, FileID: id("MANIFEST-000010"), Frames: 7}
	record := encodeRecord(typicalRecord)
	valid := func(name, rule string, b []byte, out vectors.TableStateOut) {
		g.valid(name, rule, vectors.TableStateIn{State: b}, out)
	}
	valid("open", "1 is open; nothing need follow.", []byte{1}, vectors.TableStateOut{})
	valid("open-manifest", "An open table may name the MANIFEST that was in force.", cat(uint8(1), segment(m)), vectors.TableStateOut{Manifest: &m})
	valid("clean", "2 is closed cleanly, and the record follows.", cat(uint8(2), record), vectors.TableStateOut{Clean: true, Record: record})
	bad := func(name, rule string, b []byte) {
		g.invalid(name, rule, "ErrFormat", -1, vectors.TableStateIn{State: b})
	}
	bad("nothing", "A state has a kind.", nil)
	bad("kind-0", "There is no state 0.", []byte{0})
	bad("kind-9", "There is no state 9.", cat(uint8(9), record))
	bad("kind-5", "What follows 5 is the record of a lost key.", cat(uint8(5), record))
	snapshot := vectors.Snapshot{ID: id("locked snapshot"), Name: vectors.Text("locked"), CreatedAt: createdAt, Files: 5, Bytes: 1 << 20, Record: record}
	list := cat(uint32(1), encodeSnapshot(snapshot))
	snapshots := []vectors.Snapshot{snapshot}
	valid("open-snapshots", "3 is as 1, with snapshots that were made while the table was locked.", cat(uint8(3), list), vectors.TableStateOut{Snapshots: snapshots})
	valid("open-manifest-snapshots", "The MANIFEST that was in force follows the snapshots.", cat(uint8(3), list, segment(m)), vectors.TableStateOut{Manifest: &m, Snapshots: snapshots})
	valid("clean-snapshots", "4 is as 2, with such snapshots.", cat(uint8(4), list, record), vectors.TableStateOut{Clean: true, Record: record, Snapshots: snapshots})
	bad("no-snapshots", "3 and 4 have a snapshot at least.", cat(uint8(4), uint32(0), record))
	bad("snapshots-more", "There are no more than 64 of them.", cat(uint8(4), uint32(65), bytes.Repeat(encodeSnapshot(snapshot), 65), record))
	bad("snapshots-cut", "A snapshot is whole.", cat(uint8(3), list[:len(list)-1]))
	bad("snapshots-empty", "A clean close has a record behind its snapshots.", cat(uint8(4), list))
	bad("open-short", "The MANIFEST that was in force is whole.", cat(uint8(1), segment(m)[:31]))
	bad("open-long", "Nothing follows the MANIFEST that was in force.", cat(uint8(1), segment(m), uint8(0)))
	bad("clean-empty", "A clean close has a record.", []byte{2})
	lostKeys(g, m, record, snapshot)
}

// day is one, in nanoseconds.
const day = 86400 * 1000000000

func encodeLoss(l vectors.KeyLoss) []byte {
	var flags uint8
	for n, set := range []bool{l.Told, l.Noticed, l.Kept} {
		if set {
			flags |= 1 << n
		}
	}
	step := uint8(1)
	rest := cat(uint64(l.Keep))
	if len(l.Reference) > 0 {
		step = 2
		rest = cat(uint64(l.ArchivedAt), uint64(l.VerifiedAt), prefixed(l.Reference))
	}
	return cat(step, flags, uint64(l.Since), uint64(l.Seen), uint64(l.Left), []byte(l.ID), rest)
}

func lostKeys(g *group, m vectors.Segment, record []byte, snapshot vectors.Snapshot) {
	list := cat(uint32(1), encodeSnapshot(snapshot))
	snapshots := []vectors.Snapshot{snapshot}
	grace := vectors.KeyLoss{
		ID: id("loss"), Told: true, Since: createdAt, Seen: createdAt + day, Left: 6 * day, Keep: 35 * day,
	}
	archived := vectors.KeyLoss{
		ID: id("loss"), Told: true, Noticed: true, Kept: true, Since: createdAt, Seen: createdAt + 40*day, Left: 2 * day,
		ArchivedAt: createdAt + 7*day, VerifiedAt: createdAt + 8*day, Reference: vectors.Text("s3://archive/clinic#17"),
	}
	with := func(l vectors.KeyLoss, change func(*vectors.KeyLoss)) *vectors.KeyLoss {
		change(&l)
		return &l
	}
	valid := func(name, rule string, b []byte, out vectors.TableStateOut) {
		g.valid(name, rule, vectors.TableStateIn{State: b}, out)
	}
	bad := func(name, rule string, b []byte) {
		g.invalid(name, rule, "ErrFormat", -1, vectors.TableStateIn{State: b})
	}
	valid("open-lost", "5 is as 1, with the record of a lost key.", cat(uint8(5), encodeLoss(grace)), vectors.TableStateOut{Loss: &grace})
	valid("open-manifest-lost", "The MANIFEST that was in force follows the loss.", cat(uint8(5), encodeLoss(grace), segment(m)), vectors.TableStateOut{Manifest: &m, Loss: &grace})
	valid("clean-lost", "6 is as 2, with a loss.", cat(uint8(6), encodeLoss(grace), record), vectors.TableStateOut{Clean: true, Record: record, Loss: &grace})
	valid("open-snapshots-lost", "7 is as 3, with a loss behind the snapshots.", cat(uint8(7), list, encodeLoss(archived), segment(m)), vectors.TableStateOut{Manifest: &m, Snapshots: snapshots, Loss: &archived})
	valid("clean-snapshots-lost", "8 is as 4, with a loss behind the snapshots.", cat(uint8(8), list, encodeLoss(archived), record), vectors.TableStateOut{Clean: true, Record: record, Snapshots: snapshots, Loss: &archived})
	due := with(grace, func(l *vectors.KeyLoss) { l.Left, l.Seen, l.Noticed = 0, createdAt-day, true })
	valid("lost-due", "Nothing may be left; a clock that was set back is no fault.", cat(uint8(6), encodeLoss(*due), record), vectors.TableStateOut{Clean: true, Record: record, Loss: due})
	long := with(archived, func(l *vectors.KeyLoss) { l.Reference = vectors.Text(strings.Repeat("r", 1024)) })
	valid("lost-reference-longest", "A reference has up to 1024 bytes.", cat(uint8(6), encodeLoss(*long), record), vectors.TableStateOut{Clean: true, Record: record, Loss: long})

	changed := func(l vectors.KeyLoss, at int, v any) []byte {
		return cat(uint8(6), put(encodeLoss(l), at, v), record)
	}
	const left, lossID, behind = 18, 26, 42
	bad("lost-step-0", "There is no step 0.", changed(grace, 0, uint8(0)))
	bad("lost-step-3", "There is no step 3.", changed(grace, 0, uint8(3)))
	bad("lost-flags", "Other flags are zero.", changed(grace, 1, uint8(8)))
	bad("lost-left-long", "No more than ten years are left.", changed(grace, left, uint64(3650*day+1)))
	bad("lost-left-negative", "What is left is not negative.", changed(grace, left, uint64(1<<63)))
	bad("lost-no-id", "A loss has an id.", changed(grace, lossID, make([]byte, 16)))
	bad("lost-keep-short", "An archive is kept for two days at least.", changed(grace, behind, uint64(2*day-1)))
	bad("lost-keep-long", "An archive is kept for ten years at most.", changed(grace, behind, uint64(3650*day+1)))
	bad("lost-no-reference", "An archive has a reference.", cat(uint8(6), put(encodeLoss(archived)[:behind+20], behind+16, uint32(0)), record))
	bad("lost-reference-long", "A reference has no more than 1024 bytes.", cat(uint8(6), encodeLoss(*with(archived, func(l *vectors.KeyLoss) {
		l.Reference = vectors.Text(strings.Repeat("r", 1025))
	})), record))
	bad("lost-reference-text", "A reference is UTF-8.", changed(archived, behind+20, uint8(0xff)))
	bad("lost-cut", "A loss is whole.", cat(uint8(5), encodeLoss(archived)[:behind+30]))
	bad("lost-empty", "A clean close has a record behind its loss.", cat(uint8(6), encodeLoss(grace)))
	bad("lost-no-snapshots", "7 and 8 have a snapshot at least.", cat(uint8(8), uint32(0), encodeLoss(grace), record))
	bad("lost-open-short", "The MANIFEST behind a loss is whole.", cat(uint8(5), encodeLoss(grace), segment(m)[:31]))
}

func encodeMetadata(m vectors.TableMetadataOut) []byte {
	var flags uint8
	if m.NotCompressed {
		flags = 1
	}
	if m.Locked {
		flags |= 2
	}
	if m.Archiving {
		flags |= 4
	}
	b := cat(uint8(3), uint64(m.CreatedAt), uint64(m.SeparateFrom), flags, uint32(len(m.Snapshots)))
	for _, s := range m.Snapshots {
		b = cat(b, encodeSnapshot(s))
	}
	b = cat(b, []byte(m.OverlayID), []byte(m.OverlayDigest), uint64(m.Reencrypting), uint64(m.KeyAge), uint64(m.DataAge))
	return cat(b, behindSchedule(m))
}

// behindSchedule is what version 3 has that version 2 has not.
func behindSchedule(m vectors.TableMetadataOut) []byte {
	b := cat(prefixed(m.Table), uint32(len(m.Origins)))
	for _, o := range m.Origins {
		b = cat(b, []byte(o.StoreID), []byte(o.TableID))
	}
	b = cat(b, uint32(len(m.Repositories)))
	for _, r := range m.Repositories {
		b = cat(b, []byte(r.ID), prefixed(r.Location), uint64(r.At), uint32(len(r.Versions)))
		for _, v := range r.Versions {
			b = cat(b, v)
		}
	}
	return b
}

func encodeSnapshot(s vectors.Snapshot) []byte {
	return cat([]byte(s.ID), prefixed(s.Name), uint64(s.CreatedAt), uint64(s.Files), uint64(s.Bytes), prefixed(s.Record))
}

// behindSnapshots is what version 2 has that version 1 has not, in bytes.
const behindSnapshots = 16 + 32 + 3*8

// shortest is what version 3 has at least that version 2 has not, in bytes.
const shortest = 3 * 4

func tableMetadata(s *set) {
	g := s.group("table-metadata", "docs/format.md#table-metadata")
	snapshot := vectors.Snapshot{ID: id("snapshot"), Name: vectors.Text("daily"), CreatedAt: createdAt, Files: 12, Bytes: 1 << 33, Record: encodeRecord(typicalRecord)}
	base := vectors.TableMetadataOut{CreatedAt: createdAt, Snapshots: []vectors.Snapshot{}, OverlayID: make([]byte, 16), OverlayDigest: make([]byte, 32), Origins: []vectors.Origin{}, Repositories: []vectors.Repository{}}
	with := func(change func(*vectors.TableMetadataOut)) vectors.TableMetadataOut {
		m := base
		change(&m)
		return m
	}
	valid := func(name, rule string, m vectors.TableMetadataOut) {
		g.valid(name, rule, vectors.TableMetadataIn{Metadata: encodeMetadata(m)}, m)
	}
	named := func(name string) vectors.TableMetadataOut {
		return with(func(m *vectors.TableMetadataOut) {
			s := snapshot
			s.Name = vectors.Text(name)
			m.Snapshots = []vectors.Snapshot{s}
		})
	}
	valid("smallest", "A table without snapshots or options.", base)
	valid("separate", "Values of at least so many bytes go to blob files.", with(func(m *vectors.TableMetadataOut) { m.SeparateFrom = 4096 }))
	valid("not-compressed", "Bit 0 of the flags: blocks are not compressed.", with(func(m *vectors.TableMetadataOut) { m.NotCompressed = true }))
	valid("snapshot", "A snapshot exists when it is listed.", named("daily"))
	valid("name-longest", "A snapshot's name has up to 96 bytes.", named(strings.Repeat("n", 96)))
	valid("two-snapshots", "Snapshots follow each other.", with(func(m *vectors.TableMetadataOut) {
		other := snapshot
		other.ID, other.Name, other.Record = id("another snapshot"), vectors.Text("weekly"), vectors.Hex{}
		m.Snapshots = []vectors.Snapshot{snapshot, other}
	}))
	valid("locked", "Bit 1 of the flags: the table is locked on request.", with(func(m *vectors.TableMetadataOut) { m.Locked = true }))
	valid("archiving", "Bit 2 of the flags, from version 3 on: log segments are kept for an archive.", with(func(m *vectors.TableMetadataOut) { m.Archiving = true }))
	valid("overlay", "A table may have an overlay of data keys.", with(func(m *vectors.TableMetadataOut) {
		m.OverlayID, m.OverlayDigest = id("overlay"), random("overlay's digest", 32)
	}))
	valid("reencrypting", "A re-encryption may be under way.", with(func(m *vectors.TableMetadataOut) { m.Reencrypting = createdAt + 1 }))
	valid("schedule", "Keys and data may have a maximum age, of an hour at least.", with(func(m *vectors.TableMetadataOut) {
		m.KeyAge, m.DataAge = int64(time.Hour), int64(365*24*time.Hour)
	}))
	valid("name", "Metadata has the table's name, which no file in the clear has.", with(func(m *vectors.TableMetadataOut) { m.Table = vectors.Text("clinic.patients") }))
	valid("origins", "A restored table names those whose files it may have.", with(func(m *vectors.TableMetadataOut) {
		m.Origins = []vectors.Origin{{StoreID: id("another store"), TableID: id("another table")}, {StoreID: id("store"), TableID: id("third table")}}
	}))
	repositories := with(func(m *vectors.TableMetadataOut) {
		m.Repositories = []vectors.Repository{{ID: id("repository"), Location: vectors.Text("/backups"), At: createdAt + 5, Versions: []uint32{1, 3}}}
	})
	valid("repositories", "Repositories have backups that need versions of the table's key.", repositories)
	b := encodeMetadata(named("daily"))
	g.valid("version-2", "Version 2 ends behind the schedule.",
		vectors.TableMetadataIn{Metadata: put(b[:len(b)-shortest], 0, uint8(2))}, named("daily"))
	older := b[:len(b)-shortest]
	g.valid("version-1", "Version 1 ends behind the snapshots.",
		vectors.TableMetadataIn{Metadata: put(older[:len(older)-behindSnapshots], 0, uint8(1))}, named("daily"))
	bad := func(name, rule, class string, b []byte) {
		g.invalid(name, rule, class, -1, vectors.TableMetadataIn{Metadata: b})
	}
	bad("nothing", "There is no version 0, which a missing one reads as.", "ErrVersion", nil)
	bad("version-0", "There is no version 0.", "ErrVersion", put(b, 0, uint8(0)))
	bad("version-4", "An unknown version is refused as an unknown version.", "ErrVersion", put(b, 0, uint8(4)))
	bad("archiving-2", "Version 2 has no flag of archiving.", "ErrFormat", put(put(older, 0, uint8(2)), 17, uint8(4)))
	bad("version-2-more", "Version 2 has nothing behind the schedule.", "ErrFormat", put(b, 0, uint8(2)))
	bad("version-1-more", "Version 1 has nothing behind the snapshots.", "ErrFormat", put(b, 0, uint8(1)))
	bad("no-overlay", "From version 2 on the overlay's id is there, or zeros.", "ErrFormat", older[:len(older)-behindSnapshots])
	bad("no-name", "From version 3 on a name is there, or none.", "ErrFormat", older)
	bad("table-name-long", "A table's name has at most 96 bytes.", "ErrFormat", encodeMetadata(with(func(m *vectors.TableMetadataOut) { m.Table = vectors.Text(strings.Repeat("n", 97)) })))
	bad("origins-huge", "A table has at most 256 origins.", "ErrFormat", encodeMetadata(with(func(m *vectors.TableMetadataOut) {
		m.Origins = slices.Repeat([]vectors.Origin{{StoreID: id("store"), TableID: id("table")}}, 257)
	})))
	bad("versions-huge", "A count is no more than fits into what is left.", "ErrFormat", put(encodeMetadata(repositories), len(encodeMetadata(repositories))-12, uint32(1<<32-1)))
	bad("age-short", "A maximum age is no less than an hour.", "ErrFormat", put(b, len(b)-shortest-8, uint64(time.Hour-1)))
	bad("age-huge", "A maximum age has 63 bits.", "ErrFormat", put(b, len(b)-shortest-16, uint64(1<<63)))
	bad("cut", "Metadata that is cut does not parse.", "ErrFormat", b[:len(b)-1])
	bad("cut-head", "What stands before the snapshots is whole.", "ErrFormat", b[:21])
	bad("appended", "No byte is left over.", "ErrFormat", cat(b, uint8(0)))
	bad("flags", "Other bits of the flags are 0.", "ErrFormat", put(b, 17, uint8(8)))
	bad("separate-negative", "The size of separated values has 63 bits.", "ErrFormat", put(b, 9, uint64(1<<63)))
	bad("count-huge", "A count is no more than fits into what is left.", "ErrFormat", put(b, 18, uint32(1<<32-1)))
	bad("count-less", "A count of one too few leaves a snapshot over.", "ErrFormat", put(b, 18, uint32(0)))
	bad("name-long", "A snapshot's name has at most 96 bytes.", "ErrFormat", encodeMetadata(named(strings.Repeat("n", 97))))
	bad("record-beyond", "A record's length is within the metadata.", "ErrFormat", put(b, len(b)-shortest-behindSnapshots-len(snapshot.Record)-4, uint32(1<<20)))
}

func names(s *set) {
	g := s.group("names", "docs/format.md#the-directory")
	valid := func(name, rule, file string, out vectors.NameOut) {
		g.valid(name, rule, vectors.NameIn{Name: file}, out)
	}
	sealed := func(name, rule, file string, kind uint8, number uint64) {
		valid(name, rule, file, vectors.NameOut{Kind: kind, Number: number})
	}
	sealed("sstable", "An SSTable is n.sst, six digits at least.", "000007.sst", 1, 7)
	sealed("blob", "A blob file is n.blob.", "000007.blob", 2, 7)
	sealed("log", "A log is n.log.", "000012.log", 3, 12)
	sealed("manifest", "A MANIFEST is MANIFEST-n.", "MANIFEST-000001", 4, 1)
	sealed("options", "OPTIONS are OPTIONS-n.", "OPTIONS-000003", 5, 3)
	sealed("temporary", "OPTIONS that are not whole yet are temporary.n.dbtmp.", "temporary.000003.dbtmp", 5, 3)
	sealed("seven-digits", "A number has as many digits as it takes.", "1234567.sst", 1, 1234567)
	sealed("number-0", "A number may be 0.", "000000.log", 3, 0)
	sealed("number-largest", "A number is at most 2^56.", "72057594037927936.sst", 1, 1<<56)
	valid("lock", "LOCK is empty.", "LOCK", vectors.NameOut{Empty: true})
	valid("marker", "A marker is empty: its name is its content.", "marker.manifest.000001.MANIFEST-000001", vectors.NameOut{Empty: true})
	valid("pending-log", "A log that has no name yet begins with new-.", "new-000012.log", vectors.NameOut{Pending: true})
	valid("pending-manifest", "A MANIFEST that has no name yet begins with new-.", "new-MANIFEST-000001", vectors.NameOut{Pending: true})
	ignored := func(name, rule, file string) { valid(name, rule, file, vectors.NameOut{Ignored: true}) }
	ignored("other", "A file that Pebble does not know is ignored.", "notes.txt")
	ignored("dropped", "The end of a log that a crash left torn is ignored.", "dropped-000014.tail")
	ignored("snapshots", "The directory of snapshots is ignored.", "snapshots")
	ignored("capitals", "Names are as they are written.", "000001.SST")
	ignored("suffix", "Nothing follows a name.", "000001.sst.bak")
	ignored("no-number", "A name has a number.", ".sst")
	ignored("sign", "A number has no sign.", "+00001.sst")
	ignored("hexadecimal", "A number is decimal.", "0x0001.sst")
	ignored("space", "A number has no space.", " 00001.sst")
	ignored("beyond-64-bits", "A number that does not fit into 64 bits is none.", "99999999999999999999.sst")
	ignored("log-of-words", "A name with a hyphen is a part of a log only between numbers.", "x-1.log")
	bad := func(name, rule, file string) { g.invalid(name, rule, "ErrForeign", -1, vectors.NameIn{Name: file}) }
	bad("short", "A number has at least six digits: Pebble would read fewer too, so they are refused.", "7.sst")
	bad("long", "A number of six digits or more has no zeros before it: Pebble would read them too, so they are refused.", "0000007.sst")
	bad("short-blob", "A blob file has the one name that Pebble gives it: fewer digits are refused.", "7.blob")
	bad("short-log", "A log has the one name that Pebble gives it: fewer digits are refused.", "12.log")
	bad("short-manifest", "A MANIFEST has the one name that Pebble gives it: fewer digits are refused.", "MANIFEST-1")
	bad("short-options", "OPTIONS have the one name that Pebble gives them: fewer digits are refused.", "OPTIONS-3")
	bad("short-temporary", "Temporary OPTIONS have the one name that Pebble gives them: fewer digits are refused.", "temporary.3.dbtmp")
	bad("number-above", "A number above 2^56 is refused.", "72057594037927937.sst")
	bad("number-64-bits", "The highest number of 64 bits is refused.", "18446744073709551615.log")
	bad("part", "n-n.log, which Pebble would replay as a part of a log, is refused.", "000012-001.log")
	bad("part-short", "n-n.log is refused whatever the number of digits.", "12-1.log")
}
