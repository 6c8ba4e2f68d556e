package backup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// CreateOptions say what to back up, and how. The zero value is all tables at full
// speed.
type CreateOptions struct {
	Tables []string // by name; nil is all
	Label  string   // at most 256 bytes of UTF-8, in the clear
	// OtherStore lets a repository that has backups of another store have this one's too.
	OtherStore bool
	// Concurrency is how many files are sent at once; 0 is 16 where the storage is a
	// storage.Namer, as a directory is: most of them wait for the disk. Else it is 4.
	Concurrency int
	// BytesPerSecond bounds what is sent; 0 does not.
	BytesPerSecond int64
	// BusyBytesPerSecond bounds what is sent while somebody writes to the tables, so that
	// he is slowed down little; 0 is DefaultBusyBytesPerSecond, negative does not.
	BusyBytesPerSecond int64
	Progress           func(Progress)
}

// DefaultBusyBytesPerSecond is a fraction of what a disk takes.
const DefaultBusyBytesPerSecond = 32 << 20

const (
	defaultConcurrency = 4
	namerConcurrency   = 16
	maxLabel           = 256
)

// A CreateReport says what a call of Create has done.
type CreateReport struct {
	Backup  *Backup       `json:"backup"`
	Sent    int64         `json:"sent_bytes"`   // to the repository
	Reused  int64         `json:"reused_bytes"` // there already
	Files   int           `json:"files"`
	New     int           `json:"new_files"`
	Elapsed time.Duration `json:"elapsed_ns"`
	// Unsealed are the tables that were backed up without their key.
	Unsealed []string `json:"unsealed,omitempty"`
	// Warnings are what does not make the backup less than it is.
	Warnings []string `json:"warnings,omitempty"`
}

// Create backs up tables of an open store, which is written to meanwhile. Each table is in
// the backup as it was at one moment behind the call, with everything acknowledged before
// the call. Only files that the repository has not are sent; so a Create after one that
// was stopped sends what was missing.
//
// A table whose key is not to be had is backed up without, and marked so.
//
// The backup exists when the call returns nil, and not before. Errors: ErrOtherStore,
// engine.ErrTableNotFound, lease.ErrLocked, and those of engine and storage.
func (r *Repository) Create(ctx context.Context, s *engine.Store, o CreateOptions) (*CreateReport, error) {
	if o.Concurrency <= 0 {
		o.Concurrency = r.concurrency()
	}
	if len(o.Label) > maxLabel {
		return nil, fmt.Errorf("backup: a label of %d bytes, the limit is %d", len(o.Label), maxLabel)
	}
	if !utf8.ValidString(o.Label) {
		return nil, errors.New("backup: a label that is not UTF-8") // a manifest would not be read as it is written
	}
	tables, err := chosen(s, o.Tables)
	if err != nil {
		return nil, err
	}
	c := &creation{r: r, store: s.ID(), o: o, began: time.Now()}
	err = r.write(ctx, "backup create", func(ctx context.Context) error {
		if err := r.belongs(ctx, c.store, o.OtherStore); err != nil {
			return err
		}
		if c.names, err = r.backupNames(ctx); err != nil {
			return err
		}
		return c.hold(ctx, tables)
	})
	if err != nil {
		return nil, err
	}
	return c.report(), nil
}

// concurrency is how many files are sent at once unless somebody says so.
func (r *Repository) concurrency() int {
	if _, ok := r.st.(storage.Namer); ok {
		return namerConcurrency
	}
	return defaultConcurrency
}

// chosen are the tables of the names, or all.
func chosen(s *engine.Store, names []string) (tables []*engine.Table, err error) {
	if names == nil {
		for _, t := range s.Tables() {
			names = append(names, t.Name)
		}
	}
	names = slices.Clone(names)
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		t, err := s.Table(n)
		if err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	if len(tables) == 0 {
		return nil, errors.New("backup: the store has no table to back up")
	}
	slices.SortFunc(tables, func(a, b *engine.Table) int { return compareIDs(a.ID(), b.ID()) })
	return tables, nil
}

type creation struct {
	r     *Repository
	store keyring.ID
	o     CreateOptions
	began time.Time
	names []string // of the backups that there are
	m     *meter

	backup   *Backup
	copies   []*tableCopy
	busy     func() bool // see writing
	warnings []string
}

// A tableCopy is one table on its way into a backup.
type tableCopy struct {
	table *engine.Table
	held  *engine.Held
	index *index
	known map[keyring.ID]indexFile // of the newest index that opens
	// ours: the newest version of the table's key seals that index. One that an older
	// version seals may be of whoever had that: what it says of a file is compared with
	// the file.
	ours bool
	sent []int64 // by file; -1 where it was there
}

// hold makes a backup of tables as they are now.
func (c *creation) hold(ctx context.Context, tables []*engine.Table) (err error) {
	c.begin()
	defer func() {
		for _, t := range c.copies {
			err = errors.Join(err, t.held.Close())
		}
	}()
	// All of them first: the moments lie as near to each other as can be.
	for _, t := range tables {
		h, err := t.Hold(ctx)
		if err != nil {
			return fmt.Errorf("back up %s: %w", t.Name(), err)
		}
		c.copies = append(c.copies, &tableCopy{table: t, held: h})
	}
	return c.run(ctx)
}

func (c *creation) begin() {
	now := c.r.opts.Now().UTC()
	// Names are in order of time, to the second.
	if n := len(c.names); n > 0 && c.names[n-1] > now.Add(time.Minute).Format(nameTime) {
		c.warnings = append(c.warnings, fmt.Sprintf("the repository has backup %s, whose time is yet to come by the clock of this machine: set the clock right; until then neither the newest backup nor what a prune keeps is what it seems", c.names[n-1]))
	}
	c.backup = &Backup{
		Format: FormatVersion, Name: newName(now), Repository: c.r.id, Store: c.store,
		Time: now, Label: c.o.Label,
	}
}

// run makes a backup of what is held.
func (c *creation) run(ctx context.Context) error {
	c.busy = c.writing()
	c.busy() // so that the first byte is moved in the knowledge of who writes
	for _, t := range c.copies {
		if err := c.prepare(ctx, t); err != nil {
			return err
		}
	}
	if err := c.missing(ctx); err != nil {
		return err
	}
	if err := c.copyFiles(ctx); err != nil {
		return err
	}
	core, err := c.enter()
	if err != nil {
		return err
	}
	for i, t := range c.copies {
		if err := c.finish(ctx, t, core, &c.backup.Tables[i]); err != nil {
			return fmt.Errorf("back up %s: %w", t.table.Name(), err)
		}
	}
	return c.publish(ctx)
}

// belongs finds that a repository is another store's.
func (r *Repository) belongs(ctx context.Context, store keyring.ID, other bool) error {
	if other {
		return nil
	}
	list, err := r.backupNames(ctx)
	if err != nil {
		return err
	}
	for _, n := range slices.Backward(list) {
		b, err := r.manifest(ctx, n)
		if errors.Is(err, ErrCorruption) || errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if b.Store != store {
			return fmt.Errorf("%w: %s has backups of store %s, this is %s", ErrOtherStore, r.st.Location(), b.Store, store)
		}
		return nil // who let two in has been asked
	}
	return nil
}

// prepare learns what the repository has of a table.
func (c *creation) prepare(ctx context.Context, t *tableCopy) error {
	x := &index{
		sealed: t.held.Sealed, store: c.store, table: t.table.ID(), incarnation: t.held.Incarnation,
		time: c.backup.Time, at: t.held.At, backup: c.backup.Name, name: t.table.Name(), seal: t.held.Seal,
	}
	for _, f := range t.held.Files {
		x.files = append(x.files, indexFile{
			name: f.Name, size: f.Size, id: f.FileID, keys: f.Keys, smallest: f.Smallest, largest: f.Largest,
		})
	}
	if o := t.held.Overlay; !t.held.Sealed && o != nil {
		f := indexFile{name: overlayName, size: int64(len(o)), id: keyring.NewID()}
		if id, version, err := keyring.InspectOverlay(o); err == nil && !id.IsZero() { // else whoever restores it will say so
			f.id, f.keys = id, []keyring.WrappedDataKey{{File: id, Version: version}}
		}
		x.files = append(x.files, f)
		slices.SortFunc(x.files, func(a, b indexFile) int { return strings.Compare(a.name, b.name) })
	}
	t.index, t.sent = x, make([]int64, len(x.files))
	if !x.sealed {
		c.warnings = append(c.warnings, fmt.Sprintf("%s is backed up without its key: what belongs to it is checked when it is restored (%v)", t.table.Name(), t.held.Why))
		return t.forget()
	}
	if err := c.note(ctx, t); err != nil {
		return fmt.Errorf("back up %s: %w", t.table.Name(), err)
	}
	known, ours, err := c.r.newestIndex(ctx, t.table)
	if err != nil {
		return err
	}
	t.ours = ours
	t.known = make(map[keyring.ID]indexFile)
	for _, f := range known {
		if !f.empty() {
			t.known[f.id] = f
		}
	}
	return nil
}

// forget takes the hints of a table without its key back that cannot be: versions that
// headers name and the table has not any more. The overlay has those files' keys.
func (t *tableCopy) forget() error {
	box, err := t.table.Lockbox()
	if err != nil {
		return err
	}
	info, err := keyring.InspectLockbox(box)
	if err != nil {
		return err
	}
	have := liveVersions(info)
	for i := range t.index.files {
		f := &t.index.files[i]
		f.keys = slices.DeleteFunc(f.keys, func(k keyring.WrappedDataKey) bool { return !have[k.Version] })
	}
	return nil
}

// note tells the table what of its key the backup will need, before any of it is
// anywhere: no version is retired from here on that it needs.
func (c *creation) note(ctx context.Context, t *tableCopy) error {
	return c.r.addNeeded(ctx, t.table, t.index.versions())
}

// addNeeded tells a table which versions of its key the repository will need besides
// those that it needs.
func (r *Repository) addNeeded(ctx context.Context, t *engine.Table, versions []uint32) error {
	notes, err := t.Backups(ctx)
	if err != nil {
		return err
	}
	return r.noteBackups(ctx, t, func(v uint32) bool {
		return slices.Contains(versions, v) || slices.ContainsFunc(notes, func(n engine.BackupNote) bool {
			return n.Repository == r.id && slices.Contains(n.Versions, v)
		})
	})
}

// lookBack is how many backups are looked at for the newest of a table.
const lookBack = 64

// newestIndex are the files of the newest backup of a table whose index opens with the
// table's key; ours tells whether it does with the newest version.
func (r *Repository) newestIndex(ctx context.Context, t *engine.Table) (files []indexFile, ours bool, err error) {
	names, err := r.backupNames(ctx)
	if err != nil {
		return nil, false, err
	}
	slices.Reverse(names)
	for _, n := range names[:min(len(names), lookBack)] {
		b, err := r.manifest(ctx, n)
		if errors.Is(err, ErrCorruption) || errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		e, ok := b.Table(t.ID())
		if !ok || !e.Sealed {
			continue
		}
		err = t.WithKeys(ctx, func(keys *keyring.TableKeys) error {
			x, err := r.openIndex(ctx, b, e, keys)
			if err == nil {
				files, ours = x.files, x.version == keys.Version()
			}
			return err
		})
		if err == nil {
			return files, ours, nil
		}
		if !errors.Is(err, ErrCorruption) {
			return nil, false, err
		}
		r.opts.Logger.Warn("an index does not open; the backup before is looked at", "backup", n, "table", t.ID(), "error", err)
	}
	return nil, false, nil
}

// readIndex reads the index that a manifest names, and compares what both say.
func (r *Repository) readIndex(ctx context.Context, b *Backup, e *BackupTable) (*index, error) {
	name := indexName(b.Name, e.Table)
	data, err := storage.ReadAll(ctx, r.st, name, maxIndex)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, corrupt.New(corrupt.ErrMissing, name, -1, "the manifest names it")
	}
	if err != nil {
		return nil, damaged(name, err)
	}
	if int64(len(data)) != e.IndexSize || sum(data) != e.Index {
		return nil, corrupt.New(corrupt.ErrForeign, name, -1, "is not the index that the manifest names")
	}
	x, err := parseIndex(data)
	if err != nil {
		return nil, corrupt.At(name, err)
	}
	switch {
	case x.backup != b.Name || x.table != e.Table || x.store != b.Store:
		return nil, corrupt.New(corrupt.ErrForeign, name, -1, "is of table %s in backup %s of store %s", x.table, clip(x.backup), x.store)
	case !x.time.Equal(b.Time) || !x.at.Equal(e.At):
		return nil, corrupt.New(corrupt.ErrForeign, name, -1, "is of %s, the manifest says %s", stamp(x.at), stamp(e.At))
	case x.sealed != e.Sealed || x.version != e.SealVersion || len(x.files) != e.Files || x.bytes() != e.Bytes:
		return nil, corrupt.New(corrupt.ErrForeign, name, -1, "has %d files of %d bytes, sealed: %t; the manifest says %d, %d, %t",
			len(x.files), x.bytes(), x.sealed, e.Files, e.Bytes, e.Sealed)
	}
	return x, nil
}

// openIndex is readIndex with the table's key: what it returns is what was backed up.
func (r *Repository) openIndex(ctx context.Context, b *Backup, e *BackupTable, keys *keyring.TableKeys) (*index, error) {
	x, err := r.readIndex(ctx, b, e)
	if err != nil {
		return nil, err
	}
	name := indexName(b.Name, e.Table)
	if !x.sealed {
		return nil, corrupt.New(corrupt.ErrAuth, name, -1, "the backup was made without the table's key, and its index is not sealed")
	}
	if err := x.open(keys); err != nil {
		return nil, corrupt.At(name, err)
	}
	core, err := b.core()
	if err != nil {
		return nil, err
	}
	if x.core != core {
		return nil, corrupt.New(corrupt.ErrAuth, backupsPrefix+b.Name, -1, "is not the manifest of which the index of table %s has the digest", e.Table)
	}
	return x, nil
}

// missing forgets of what the repository should have what it has not, or not whole: somebody
// may have taken it away since. It lists the objects, and reads none.
func (c *creation) missing(ctx context.Context) error {
	want := make(map[string]int64) // sizes of objects that are not seen yet
	for _, t := range c.copies {
		for _, f := range t.known {
			want[f.key().object()] = f.size
		}
	}
	if len(want) == 0 {
		return nil
	}
	for o, err := range c.r.st.List(ctx, dataPrefix) {
		if err != nil {
			return err
		}
		if size, ok := want[o.Name]; ok && size == o.Size {
			delete(want, o.Name)
		}
	}
	for _, t := range c.copies {
		for id, f := range t.known {
			if _, lost := want[f.key().object()]; lost {
				c.r.opts.Logger.Warn("an object of an earlier backup is missing or cut, and is sent again if the table has it still", "object", f.key().object())
				delete(t.known, id)
			}
		}
	}
	return nil
}

// copyFiles sends what the repository has not.
func (c *creation) copyFiles(ctx context.Context) error {
	c.m = newMeter("copy", c.o.Progress, c.o.BytesPerSecond)
	if c.o.BusyBytesPerSecond >= 0 {
		c.m.giveWay(cmp.Or(c.o.BusyBytesPerSecond, DefaultBusyBytesPerSecond), c.busy)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.o.Concurrency)
	for _, t := range c.copies {
		for i := range t.index.files {
			f := &t.index.files[i]
			old, known := t.known[f.id]
			known = known && !f.empty() && old.size == f.size
			var claim *digest // to be compared
			if known && !t.ours {
				known, claim = false, &old.digest
			}
			c.m.change(func(p *Progress) {
				p.Files++
				if known || f.empty() {
					p.Done++
					p.Reused += f.size
				} else {
					p.Bytes += f.size
				}
			})
			if f.empty() {
				continue
			}
			if known {
				f.digest, t.sent[i] = old.digest, -1
				continue
			}
			g.Go(func() error {
				if err := c.copyFile(ctx, t, f, claim, &t.sent[i]); err != nil {
					return fmt.Errorf("back up %s: %s: %w", t.table.Name(), f.name, err)
				}
				return nil
			})
		}
	}
	err := g.Wait()
	c.m.end()
	return err
}

// writing returns a function that tells whether somebody has written to the tables since
// it was last called.
func (c *creation) writing() func() bool {
	last := make(map[*tableCopy]uint64)
	return func() (busy bool) {
		for _, t := range c.copies {
			if !t.held.Sealed {
				continue // it is locked
			}
			m, err := t.table.Metrics()
			if err != nil {
				continue
			}
			old, seen := last[t]
			busy = busy || seen && m.WALBytesWritten != old
			last[t] = m.WALBytesWritten
		}
		return busy
	}
}

// copyFile sends a file, unless it has the digest that an index claims: then the
// repository has it.
func (c *creation) copyFile(ctx context.Context, t *tableCopy, f *indexFile, claim *digest, sent *int64) error {
	var src storage.Source
	if f.name == overlayName {
		src = storage.Bytes(t.held.Overlay)
	} else {
		in, err := t.held.Open(f.name)
		if err != nil {
			return err
		}
		defer in.Close()
		src = io.NewSectionReader(in, 0, f.size)
	}
	if claim != nil {
		d, err := digestOf(src, f.size)
		if err != nil {
			return err
		}
		if d == *claim {
			f.digest, *sent = d, -1
			c.m.change(func(p *Progress) { p.Done++; p.Bytes -= f.size; p.Reused += f.size })
			return nil
		}
	}
	var err error
	f.digest, err = c.put(ctx, f, src)
	name := f.key().object()
	switch {
	case err == nil:
		*sent = f.size
	case errors.Is(err, storage.ErrExists):
		// A call that was stopped has sent it, or somebody has put something there: no
		// index that opens says that it is whole.
		err = c.r.verifyOrReplace(ctx, name, f.digest, src)
		*sent = -1
		c.m.change(func(p *Progress) { p.Bytes -= f.size; p.Reused += f.size })
	}
	c.m.change(func(p *Progress) { p.Done++ })
	return err
}

// put sends a file and returns its digest, also with storage.ErrExists.
func (c *creation) put(ctx context.Context, f *indexFile, src storage.Source) (d digest, err error) {
	to := &paced{ctx: ctx, src: src, size: f.size, m: c.m}
	if n, ok := c.r.st.(storage.Namer); ok {
		// What a call that was stopped has sent is not copied again to find its name taken.
		there, err := c.r.hasFile(ctx, f.id)
		if err != nil {
			return d, err
		}
		if !there {
			return n.PutNamed(ctx, to, func(sum [sha256.Size]byte) string { return fileKey{f.id, sum}.object() })
		}
	}
	if d, err = digestOf(src, f.size); err != nil {
		return d, err
	}
	return d, c.r.st.Put(ctx, fileKey{f.id, d}.object(), to)
}

func digestOf(src io.ReaderAt, size int64) (d digest, err error) {
	h := sha256.New()
	_, err = io.CopyBuffer(h, struct{ io.Reader }{io.NewSectionReader(src, 0, size)}, make([]byte, chunk))
	h.Sum(d[:0])
	return d, err
}

// hasFile tells whether there is an object of a file, with whatever bytes.
func (r *Repository) hasFile(ctx context.Context, id keyring.ID) (bool, error) {
	for _, err := range r.st.List(ctx, fileKey{ID: id}.prefix()) {
		return err == nil, err
	}
	return false, nil
}

// verifyOrReplace reads an object whose name is taken.
func (r *Repository) verifyOrReplace(ctx context.Context, name string, want digest, src storage.Source) error {
	got, err := r.digest(ctx, name, nil)
	if err == nil && got == want {
		return nil
	}
	if err != nil && damaged(name, err) == err && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	r.opts.Logger.Warn("an object of the repository has other bytes than it should have, and is replaced", "object", name)
	return r.st.Replace(ctx, name, src)
}

// digest reads an object.
func (r *Repository) digest(ctx context.Context, name string, moved func(n int) error) (d digest, err error) {
	in, err := r.st.Get(ctx, name, 0, -1)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	h := sha256.New()
	buf := make([]byte, chunk)
	for {
		n, rerr := in.Read(buf)
		h.Write(buf[:n])
		if moved != nil && n > 0 {
			if err := moved(n); err != nil {
				return d, err
			}
		}
		if rerr == io.EOF {
			h.Sum(d[:0])
			return d, nil
		}
		if rerr != nil {
			return d, rerr
		}
	}
}

// enter puts the tables into the manifest, and returns the digest of what is known of it
// now: their files are all there.
func (c *creation) enter() (digest, error) {
	for _, t := range c.copies {
		e := BackupTable{
			Table: t.table.ID(), At: t.held.At, Until: t.held.Until, Sealed: t.index.sealed, Files: len(t.index.files), Bytes: t.index.bytes(),
			KeyVersions: t.index.versions(),
		}
		for _, n := range t.sent {
			e.NewBytes += max(0, n)
		}
		c.backup.Tables = append(c.backup.Tables, e)
	}
	c.backup.Finished = c.r.opts.Now().UTC()
	return c.backup.core()
}

// finish puts lockbox and index of a table.
func (c *creation) finish(ctx context.Context, t *tableCopy, core digest, e *BackupTable) error {
	t.index.core = core
	data, err := c.sealIndex(ctx, t)
	if err != nil {
		return err
	}
	// Behind the seal: it has the version that seals.
	box, err := t.table.Lockbox()
	if err != nil {
		return err
	}
	// A version may have been retired between the moment that is held and the note.
	need := slices.Clone(e.KeyVersions)
	if t.index.sealed {
		need = append(need, t.index.version)
	}
	if err := checkLockbox("the table's keyring entry", box, t.table.ID(), need); err != nil {
		return fmt.Errorf("a version of its key was retired meanwhile; back it up again: %w", err)
	}
	if _, err := c.r.putLockbox(ctx, t.table.ID(), box); err != nil {
		return err
	}
	if err := c.r.st.Put(ctx, indexName(c.backup.Name, t.table.ID()), storage.Bytes(data)); err != nil {
		return err
	}
	e.SealVersion, e.IndexSize, e.Index = t.index.version, int64(len(data)), sum(data)
	return nil
}

func (c *creation) sealIndex(ctx context.Context, t *tableCopy) (data []byte, err error) {
	if !t.index.sealed {
		return t.index.encode(nil)
	}
	// Where the key is not to be had any more, the call fails: the next one makes a backup
	// without.
	err = t.table.WithKeys(ctx, func(keys *keyring.TableKeys) error {
		data, err = t.index.encode(keys)
		return err
	})
	return data, err
}

// publish makes the backup exist.
func (c *creation) publish(ctx context.Context) error {
	data, err := c.backup.encode()
	if err != nil {
		return err
	}
	if err := c.r.st.Put(ctx, backupsPrefix+c.backup.Name, storage.Bytes(data)); err != nil {
		return err
	}
	for i, t := range c.copies {
		if !t.index.sealed {
			continue
		}
		if err := c.r.noteNeeded(ctx, t.table, c.backup.Tables[i].Needed()); err != nil {
			c.warnings = append(c.warnings, fmt.Sprintf("%s could not be told which versions of its key its backups need: %v", t.table.Name(), err))
		}
	}
	return nil
}

// noteNeeded tells a table which versions of its key the repository needs, where it may
// believe in more than those given.
func (r *Repository) noteNeeded(ctx context.Context, t *engine.Table, newest []uint32) error {
	r.noting.Lock()
	defer r.noting.Unlock()
	notes, err := t.Backups(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(notes, func(n engine.BackupNote) bool { return n.Repository == r.id })
	if at >= 0 && slices.Equal(notes[at].Versions, newest) {
		return nil
	}
	list, err := r.Backups(ctx)
	if err != nil {
		return err // one that does not parse may need any
	}
	parts, err := r.parts(ctx, archivePrefix+t.ID().String()+"/")
	if err != nil {
		return err
	}
	return r.noteBackups(ctx, t, func(v uint32) bool {
		return slices.ContainsFunc(list, func(b *Backup) bool {
			e, ok := b.Table(t.ID())
			return ok && (slices.Contains(e.KeyVersions, v) || e.Sealed && e.SealVersion == v)
		}) || slices.ContainsFunc(parts, func(p part) bool { return p.versions.has(v) })
	})
}

// noteBackups notes those of the versions that the table has: what manifests and names of
// parts say is not authentic, and no other can be kept from being retired.
func (r *Repository) noteBackups(ctx context.Context, t *engine.Table, needs func(version uint32) bool) error {
	box, err := t.Lockbox()
	if err != nil {
		return err
	}
	info, err := keyring.InspectLockbox(box)
	if err != nil {
		return err
	}
	n := engine.BackupNote{Repository: r.id, Location: r.st.Location(), At: r.opts.Now().UTC()}
	for v := range liveVersions(info) {
		if needs(v) {
			n.Versions = append(n.Versions, v)
		}
	}
	return t.NoteBackups(ctx, n)
}

func (c *creation) report() *CreateReport {
	rep := &CreateReport{Backup: c.backup, Elapsed: time.Since(c.began), Warnings: c.warnings}
	for _, t := range c.copies {
		if !t.index.sealed {
			rep.Unsealed = append(rep.Unsealed, t.table.Name())
		}
		for i, n := range t.sent {
			size := t.index.files[i].size
			rep.Files++
			switch {
			case n < 0:
				rep.Reused += size
			case n > 0:
				rep.New++
				rep.Sent += n
			}
		}
	}
	return rep
}
