package engine

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/engine/internal/hole"
	"github.com/cofredb/cofre/engine/internal/sealfs"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// A Finding is something that Verify found wrong, or worth knowing.
type Finding struct {
	Path    string `json:"path"`   // relative to the store
	Offset  int64  `json:"offset"` // physical byte of the fault, or -1
	Class   string `json:"class"`
	Detail  string `json:"detail"`
	Warning bool   `json:"warning"` // no fault: nothing that the store needs is wrong
	Err     error  `json:"-"`
}

// A VerifyReport sums up what Verify did.
type VerifyReport struct {
	Files    int   `json:"files"` // read whole
	Bytes    int64 `json:"bytes"`
	Faults   int   `json:"faults"`
	Warnings int   `json:"warnings"`
}

// Verify reads and opens every byte of every sealed file of the store,
// snapshots and log segments that wait for the archive included, and gives the faults of each table to report when it is
// through with the table. A table is closed while its files are read, and its
// operations wait meanwhile; report may use it. The error is ctx's, or says
// why Verify could not go on; faults are not errors of Verify.
func (s *Store) Verify(ctx context.Context, report func(Finding)) (*VerifyReport, error) {
	if s.isClosed() {
		return nil, ErrClosed
	}
	v := &verifier{s: s}
	tell := func() {
		found := v.found
		v.found = nil
		for _, f := range found {
			report(f)
		}
	}
	defer tell()
	v.keyring()
	v.audit(ctx)
	dirs := make(map[string]bool)
	for _, info := range s.Tables() {
		if err := ctx.Err(); err != nil {
			return &v.rep, err
		}
		dirs[info.ID.String()] = true
		if t, err := s.Table(info.Name); err == nil {
			v.table(ctx, t)
		}
		tell()
	}
	names, err := s.fs.List(s.path(tablesDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // of a table that is not there it is told above
		return &v.rep, err
	}
	for _, n := range names {
		if !dirs[n] {
			v.warn(s.path(tablesDir, n), "no table has this directory")
		}
	}
	if names, err = s.fs.List(s.path(archiveDir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return &v.rep, err
	}
	for _, n := range names {
		if !dirs[n] {
			v.warn(s.path(archiveDir, n), "no table has this directory")
		}
	}
	top, err := s.fs.List(s.dir)
	if err != nil {
		return &v.rep, err
	}
	for _, n := range top {
		if n == restoringDir {
			v.warn(s.path(n), "fetched by a restore that did not end: the same restore goes on with it, or it is discarded")
			continue
		}
		if !slices.Contains([]string{lockName, keyringDir, tablesDir, auditDir, archiveDir, ballastName, lostAndFound}, n) {
			v.warn(s.path(n), "not a file of the store")
		}
	}
	tell() // report may close the store, or cancel ctx
	if s.isClosed() {
		return &v.rep, ErrClosed
	}
	return &v.rep, ctx.Err()
}

type verifier struct {
	s     *Store
	found []Finding // not reported yet
	rep   VerifyReport
}

// keyring counts the keyring and the journal, which Open has read whole, and
// warns of what else is in their directory.
func (v *verifier) keyring() {
	s := v.s
	before := s.ring.FileName()
	walk(s.fs, s.path(keyringDir), func(path string, size int64) {
		switch s.fs.PathBase(path) {
		case before, s.ring.FileName(), journalPrefix + s.ring.Journal().String(): // it may change meanwhile
			v.rep.Files++
			v.rep.Bytes += size
		default:
			v.warn(path, "not the keyring in force, nor its journal")
		}
	})
}

func (v *verifier) fault(path string, err error) {
	f := Finding{Path: v.s.rel(path), Offset: -1, Class: "error", Detail: err.Error(), Err: err}
	var c *corrupt.Error
	if errors.As(err, &c) {
		f.Offset, f.Class, f.Detail = c.Offset, c.Class.Error(), c.Detail
		if c.Path != "" {
			f.Path = c.Path
		}
	} else if errors.Is(err, ErrKeyInaccessible) {
		f.Class = ErrKeyInaccessible.Error()
	}
	v.rep.Faults++
	v.found = append(v.found, f)
}

func (v *verifier) warn(path, detail string) {
	v.rep.Warnings++
	v.found = append(v.found, Finding{Path: v.s.rel(path), Offset: -1, Class: "leftover", Detail: detail, Warning: true})
}

// table verifies one table. The table is closed first: a clean close says
// exactly what must be there.
func (v *verifier) table(ctx context.Context, t *Table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropped || v.s.isClosed() {
		return
	}
	if err := t.closeLocked(ctx); err != nil {
		v.fault(t.dir, err)
	}
	keys, m, err := t.openMetadata(ctx)
	if err != nil {
		v.fault(t.dir, err)
		return
	}
	defer keys.Wipe()
	if m.locked {
		v.fault(t.dir, &LockedError{Table: t.name, Since: time.Now()})
		return
	}
	if err := t.loadOverlay(keys, m); err != nil {
		v.fault(t.dir, err)
		return
	}
	v.overlays(t, m)
	h, fs := t.newFS(keys, m, nil)
	seal, err := t.lastState(fs)
	if err != nil {
		v.fault(t.dir, err)
	}
	v.directory(ctx, t, keys, m, t.dir, seal, h, fs)
	v.archived(ctx, t, m, fs)
	for _, s := range m.snapshots {
		seal, err := sealfs.DecodeSeal(s.seal)
		if err != nil {
			v.fault(t.snapshotDir(s.ID), err)
			continue
		}
		h, fs := t.newFS(keys, m, nil)
		v.directory(ctx, t, keys, m, t.snapshotDir(s.ID), seal, h, fs)
	}
	ids, err := t.snapshotDirs()
	if err != nil {
		v.fault(t.dir, err)
	}
	for _, id := range ids {
		if !m.has(id) {
			v.warn(t.store.fs.PathJoin(t.dir, snapshotsDir, id), "a snapshot that was never completed; the next open removes it")
		}
	}
}

// archived reads the log segments that wait for the archive. One that is missing
// nobody here can tell: whoever has the next sees it.
func (v *verifier) archived(ctx context.Context, t *Table, m *metadata, fs *sealfs.FS) {
	dir := t.archiveDir()
	for _, d := range []string{v.s.path(archiveDir), dir} {
		if err := v.s.checkDir(d); err != nil {
			v.fault(d, err)
			return
		}
	}
	names, err := v.s.fs.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		v.fault(dir, err)
		return
	}
	slices.Sort(names)
	for _, n := range names {
		path := v.s.fs.PathJoin(dir, n)
		_, _, ok := sealfs.ParseArchived(n)
		switch {
		case ctx.Err() != nil:
			return
		case !ok:
			v.warn(path, "not a log segment")
			continue
		case !m.archiving:
			v.warn(path, "the table is not archived; the next open removes it")
			continue
		}
		if fi, err := v.s.fs.Stat(path); err == nil && fi.Mode().IsRegular() {
			v.rep.Files++
			v.rep.Bytes += fi.Size()
		}
		if err := fs.VerifyArchived(dir, n); err != nil {
			v.fault(path, err)
		}
	}
}

// overlays counts the overlay, which has been read, and warns of others.
func (v *verifier) overlays(t *Table, m *metadata) {
	walk(v.s.fs, v.s.fs.PathJoin(t.dir, overlayDir), func(path string, size int64) {
		if path != t.overlayPath(m.overlay.id) {
			v.warn(path, "not the overlay in force")
			return
		}
		v.rep.Files++
		v.rep.Bytes += size
	})
}

// directory verifies the files of a table's or a snapshot's directory: first
// how they hang together, then each byte, then that nothing is missing, which
// Pebble alone can tell.
func (v *verifier) directory(ctx context.Context, t *Table, keys *keyring.TableKeys, m *metadata, dir string, seal *sealfs.Seal, h *hole.FS, fs *sealfs.FS) {
	reported := make(map[string]bool)
	fault := func(path string, err error) {
		if k := err.Error(); !reported[k] {
			reported[k] = true
			v.fault(path, err)
		}
	}
	pre := fs.Preflight(dir, seal, true)
	if pre != nil {
		fault(dir, t.preflightError(pre))
	}
	if t.store.checkDir(dir) != nil {
		return // said by Preflight
	}
	names, err := t.store.fs.List(dir)
	if err != nil {
		return // said by Preflight
	}
	slices.Sort(names)
	for _, n := range names {
		if ctx.Err() != nil {
			return
		}
		path := t.store.fs.PathJoin(dir, n)
		if (n == snapshotsDir || n == overlayDir) && dir == t.dir {
			continue
		}
		if fi, err := t.store.fs.Stat(path); err == nil && fi.Mode().IsRegular() {
			v.rep.Files++
			v.rep.Bytes += fi.Size()
		}
		var faults []error
		verdict := fs.VerifyFile(path, func(err error) { faults = append(faults, err) })
		if verdict == sealfs.Orphan && pre == nil {
			// Whoever can write the disk can put a file here. Nothing reads it.
			v.warn(path, "nothing refers to it")
			continue
		}
		for _, err := range faults {
			fault(path, err)
		}
		switch verdict {
		case sealfs.Leftover:
			v.warn(path, "a crash left it; the next open removes it")
		case sealfs.Unknown:
			if !strings.HasPrefix(n, "dropped-") {
				v.warn(path, "not a file of the table")
			}
		}
	}
	if pre != nil {
		return
	}
	i := &instance{table: t, keys: keys, dir: dir, readOnly: true, hole: h, fs: fs, drained: make(chan struct{})}
	if err := i.openPebble(t.store.pebbleOptions(m)); err != nil {
		fault(dir, err)
		return
	}
	if err := i.db.Close(); err != nil {
		fault(dir, i.translate(err))
	}
}
