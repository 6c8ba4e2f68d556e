package main

// An edit replaces text that occurs once in a file.
type edit struct{ file, old, new string }

// A mutant is a fault that is planted.
type mutant struct {
	name  string // what goes wrong, in a line
	edits []edit
}

func one(name, file, old, new string) mutant { return mutant{name, []edit{{file, old, new}}} }

// mutants are all there are: of each kind of mistake that a change to the
// product may bring.
func mutants() []mutant {
	return []mutant{
		// Durability.
		one("a log is not synced", "wal/writer.go",
			"if err := sync(w.f); err != nil {", "if err := error(nil); err != nil {"),
		one("a sorted file is not synced", "sstable/writer.go",
			"if err := w.f.Sync(); err != nil {", "if err := error(nil); err != nil {"),
		one("synced writes are not", "engine/table.go",
			"return i, pebble.Sync, nil", "return i, pebble.NoSync, nil"),
		one("the keyring is replaced before it is synced", "keyring/disk.go",
			"if err := f.Sync(); err != nil {\n\t\treturn errors.Join(err, f.Close())\n\t}\n\treturn f.Close()", "return f.Close()"),
		one("the keyring's directory is not synced", "keyring/disk.go",
			"if err := d.sync(d.path); err != nil {\n\t\treturn &uncertain{err}\n\t}\n\treturn nil", "return nil"),
		one("the opening of a table is recorded without a sync", "engine/journal.go",
			"_, err = j.w.Write(data)\n\t\tif err == nil {\n\t\t\terr = j.w.Sync()\n\t\t}", "_, err = j.w.Write(data)"),
		one("the directory is not synced before its marker moves", "engine/internal/sealfs/dir.go",
			"if err := fs.syncDir(d.path); err != nil {\n\t\treturn nil, err\n\t}\n\tf, err := fs.cfg.Base.Create", "f, err := fs.cfg.Base.Create"),
		one("a snapshot leaves the log out", "engine/hold.go",
			"i.db.Checkpoint(dir, pebble.WithFlushedWAL())", "i.db.Checkpoint(dir, []pebble.CheckpointOption(nil)...)"),

		// Rotation.
		one("a rotation forgets the older versions of a key", "keyring/rotate.go",
			"v.state, v.wraps, v.older = versionOlder, nil, older", "v.state, v.wraps, v.older = versionRetired, nil, older[:0]"),

		one("an open table does not hear of a new table key", "keyring/rotate.go",
			"if live != nil {\n\t\t\tr.Adopt(live)", "if live != nil && !r.add {\n\t\t\tr.Adopt(live)"),
		{"a version is retired that data keys need", []edit{
			{"engine/retire.go", "if err := t.rewrapStill(ctx)(i, keys, m); err != nil {", "if err := error(nil); err != nil {"},
			{"engine/retire.go", "len(by) > 0 {", "len(by) > 0 && version == 0 {"},
			{"engine/rotate.go", "if err := t.rewrap(ctx); err != nil {", "if err := error(nil); err != nil {"},
		}},
		one("a file takes another's place before the MANIFEST knows", "engine/internal/sealfs/keys.go",
			"err := m.attest()\n\t\t\tif !errors.Is(err, os.ErrClosed) {", "err := error(nil)\n\t\t\tif !errors.Is(err, os.ErrClosed) {"),
		one("a file's place is in the map before it is durable", "engine/internal/sealfs/keys.go",
			"if err := fs.syncDir(d.path); err != nil {\n\t\treturn &Broken{err}\n\t}\n\td.finish(after)", "d.finish(after)"),
		one("a new overlay is not synced", "engine/overlay.go",
			"errors.Join(f.Sync(), f.Close())", "f.Close()"),
		one("the former overlay goes before the new one is named", "engine/overlay.go",
			"err := t.editLocked(ctx, keys, func(m *metadata) error {\n\t\tbefore = m.overlay.id",
			"err := t.editLocked(ctx, keys, func(m *metadata) error {\n\t\tif !m.overlay.id.IsZero() {\n\t\t\tt.store.removeLeft(t.overlayPath(m.overlay.id))\n\t\t}\n\t\tbefore = m.overlay.id"),

		// Recovery.
		one("a frame attests all before it, synced or not", "wal/writer.go",
			"w.fill(note, data, durable, w.compress && flags == 0)", "w.fill(note, data, max(durable, index), w.compress && flags == 0)"),
		one("a valid frame behind a torn one is always corruption", "wal/tail.go",
			"if p.durable > r.index {", "if p.durable > r.index || fault != nil {"),
		one("what later frames attest does not count", "wal/tail.go",
			"if p.durable > r.index {", "if p.durable > r.index && budget < 0 {"),
		one("a torn tail stays behind the end of a log", "engine/internal/sealfs/preflight.go",
			"return e, p.fs.cut(p.at(base), end, dropped)", "return e, nil"),
		one("how a log must end is not checked", "engine/internal/sealfs/log.go",
			"ro.Attested, ro.Final = e.attested, e.final", "ro.Attested, ro.Final = 0, 0"),
		one("the record of a clean close is not compared", "engine/internal/sealfs/preflight.go",
			"if err := p.compare(); err != nil {\n\t\t\treturn err\n\t\t}", "p.seal = nil"),
		one("a missing log in the middle is not missed", "engine/internal/sealfs/preflight.go",
			"case i > 0 && prev.Number > needed[i-1].fn.number && prev.Number < l.fn.number:\n\t\t\treturn p.missingLog(prev.Number, \"log %d follows it and the MANIFEST needs it\", l.fn.number)\n\t\tcase i > 0 && (prev.Number != needed[i-1].fn.number || prev.FileID != needed[i-1].self.FileID):\n\t\t\treturn p.fault(corrupt.ErrForeign, l.name, \"follows log %d (file %s), but before it lies log %d (file %s)\",\n\t\t\t\tprev.Number, prev.FileID, needed[i-1].fn.number, needed[i-1].self.FileID)\n\t\tcase i > 0:",
			"case i > 0 && prev.Number != needed[i-1].fn.number:\n\t\tcase i > 0:"),

		// The archive of the log.
		one("a log is removed that nobody has archived", "engine/internal/sealfs/archive.go",
			"if err := a.move(name, s); err != nil {", "if err := a.fs.cfg.Base.Remove(name); err != nil {"),
		one("a log is in no directory durably on its way to the archive", "engine/internal/sealfs/archive.go",
			"return a.fs.syncDir(a.dir)\n}\n\n// makeRoom", "return nil\n}\n\n// makeRoom"),
		one("frames are shipped that a power cut may take", "wal/writer.go",
			"Frames: w.durable, Bytes: w.synced,", "Frames: w.frames, Bytes: w.physical,"),
		one("a log's file is used again that nobody has archived", "engine/internal/sealfs/archive.go",
			"return a.done[a.of.logs[fn.number].FileID]", "return true"),
		one("a recovery that is cut off forgets which log came last", "engine/internal/sealfs/preflight.go",
			"if len(needed) == 0 {\n\t\treturn p.latest()\n\t}", "if len(needed) == 0 {\n\t\treturn nil\n\t}"),

		// Tampering.
		one("a failed authentication is ignored", "internal/aead/aead.go",
			"out, err := open(s.gcm, dst, sealed, additional)\n\tif err != nil {\n\t\treturn dst, ErrOpen\n\t}\n\treturn out, nil",
			"out, err := open(s.gcm, dst, sealed, additional)\n\tif err != nil {\n\t\treturn append(dst, make([]byte, len(sealed)-Overhead)...), nil\n\t}\n\treturn out, nil"),
		one("a unit's position is not authenticated", "internal/floe/floe.go",
			"binary.BigEndian.PutUint64(aad[:], position)", "binary.BigEndian.PutUint64(aad[:], 0)"),
		one("the end of a file is not authenticated", "internal/floe/floe.go",
			"case final && binary.BigEndian.Uint32(segment) != uint32(len(segment)):\n\t\treturn dst, ErrSegment\n\t}",
			"}\n\tif mark := binary.BigEndian.Uint32(segment); mark == internalMark {\n\t\tfinal = false\n\t}"),
		one("the file map does not bind file ids", "engine/internal/sealfs/table.go",
			"case e.fileID != id:", "case e.fileID != id && !ok:"),
		one("a log of another table opens", "engine/internal/sealfs/fs.go",
			"case id.Number != fn.number:\n\t\treturn foreign(64, \"is number %d, its name says %d\", id.Number, fn.number)\n\t}", "}"),
		one("a symbolic link is followed", "engine/internal/sealfs/fs.go",
			"fi, err := fs.lstat(name)\n\tif err != nil {\n\t\treturn nil, err\n\t}\n\tif !fi.Mode()", "fi, err := fs.cfg.Base.Stat(name)\n\tif err != nil {\n\t\treturn nil, err\n\t}\n\tif !fi.Mode()"),

		// Keys and nonces.
		one("all logs have one file id and data key", "engine/internal/sealfs/fs.go",
			"key, err := fs.cfg.Keys.NewDataKey(id.FileID)\n\tif err == nil {",
			"if !fn.kind.Random() {\n\t\tid.FileID = fs.cfg.TableID\n\t}\n\tkey, err := fs.cfg.Keys.NewDataKey(id.FileID)\n\tif err == nil {"),
		{"all messages have one nonce", []edit{
			{"internal/aead/aead.go", "return cipher.NewGCMWithRandomNonce(block)", "return cipher.NewGCM(block)"},
			{"internal/aead/gcm.go", "return gcm.Seal(dst, nil, plaintext, additional)", "return gcm.Seal(append(dst, make([]byte, NonceLen)...), make([]byte, NonceLen), plaintext, additional)"},
			{"internal/aead/gcm.go", "return gcm.Open(dst, nil, sealed, additional)", "return gcm.Open(dst, make([]byte, NonceLen), sealed[NonceLen:], additional)"},
		}},
		one("an error message shows a key", "engine/options.go",
			"%w: %d bytes, a key has 1 to %d\", ErrKeyTooLarge, len(key), MaxKeyLen)", "%w: %d bytes in %q, a key has 1 to %d\", ErrKeyTooLarge, len(key), key, MaxKeyLen)"),

		// Faults of the disk.
		one("a full disk is swallowed after the wait", "engine/internal/diskfull/diskfull.go",
			"return fmt.Errorf(\"%w: waited %v: %w\", ErrFull, fs.opts.Wait, err)", "fs.opts.OnFull(fmt.Errorf(\"waited %v\", fs.opts.Wait))\n\t\t\treturn nil"),
		one("a full disk is waited for without end", "engine/internal/diskfull/diskfull.go",
			"case !time.Now().Before(until):", "case !time.Now().Before(until) && fs.opts.OnFull == nil:"),
		one("a file that cannot be made is a sink, and nobody is told", "engine/internal/hole/hole.go",
			"return &file{File: f, fs: fs, made: fs.PathBase(name)}, nil\n\t\t}\n\t\tfs.Trip(err)\n\t}\n\treturn &sink", "return &file{File: f, fs: fs, made: fs.PathBase(name)}, nil\n\t\t}\n\t}\n\treturn &sink"),
		one("a failed sync does not trip the hole", "engine/internal/hole/hole.go",
			"func (f *file) SyncData() error { return f.fs.mutate(f.File.SyncData) }", "func (f *file) SyncData() error { _ = f.File.SyncData(); return nil }"),
		one("the hole is not looked at before an answer", "engine/instance.go",
			"if perr := i.err(); perr != nil {\n\t\treturn perr\n\t}\n\tif err != nil {\n\t\treturn i.translate(err)", "if err != nil {\n\t\treturn i.translate(err)"),
		one("a listing fails in the hole", "engine/internal/hole/hole.go",
			"fs.Trip(err)\n\t}\n\treturn nil, nil", "fs.Trip(err)\n\t\treturn nil, err\n\t}\n\treturn nil, fs.Err()"),
		one("the size of a log that is used again may not be known", "engine/internal/hole/hole.go",
			"if err == nil || f.made == \"\" {", "if true {"),
		one("a failed read is taken for damage", "sstable/reader.go",
			"case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):", "default:"),

		// Reads.
		one("a read that begins with a unit's last byte begins with the next", "sstable/reader.go",
			"first := (off + int64(done)) / s.full", "first := (off + int64(done) + 1) / s.full"),
		one("a partial unit is read from its beginning", "sstable/reader.go",
			"return copy(p, b.plain[skip:plain]), nil", "return copy(p, b.plain[:plain-int(skip)]), nil"),
		one("a run that is opened ahead is not waited for", "sstable/ahead.go",
			"<-a.done\n\t\ta.state.Store(idle)", "select {\n\t\tcase <-a.done:\n\t\tdefault:\n\t\t}\n\t\ta.state.Store(idle)"),
		one("a run that was opened ahead is taken for the one before it", "sstable/sequential.go",
			"q.plain, q.first, q.count = plain, first, count", "q.plain, q.first, q.count = plain, first-1, count"),
		one("a view sees later writes", "engine/view.go",
			"v := &View{inst: i, reader: snap, snap: snap}", "v := &View{inst: i, reader: i.db, snap: snap}"),
		one("a reverse scan skips its last entry", "engine/scan.go",
			"case first && c.opts.Reverse:\n\t\t\tok = c.it.Last()", "case first && c.opts.Reverse:\n\t\t\tok = c.it.Last() && c.it.Prev()"),
		one("a scan forgets an entry where its buffer ends", "engine/scan.go",
			"first = false\n\t\tif !ok {", "if first = false; k == n-1 && ok {\n\t\t\tok = c.it.Next()\n\t\t}\n\t\tif !ok {"),
	}
}
