package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// RestoreOptions say what to restore, and as what.
type RestoreOptions struct {
	// Backup is a name that Find knows; "" is the newest, or with At the newest before it
	// that was made with all its tables' keys.
	Backup string
	// Store is the store whose backups count, where no backup is named; zero is the one
	// that is restored into, if it has some, else the only one that has. Where there are
	// several, and none is named, the error is ErrOtherStore.
	Store keyring.ID
	// At is the time to restore to, to the frame of a log; zero is the moment of the
	// backup. It takes an archive of the tables' logs.
	At time.Time
	// ToEnd restores to the end of the archive.
	ToEnd bool
	// Unsealed restores tables too that were backed up without their key: what is
	// restored was the table's at some time, and nothing attests which.
	Unsealed bool
	// Tables are those to restore, by name; nil is all of the backup.
	Tables []string
	// As gives tables other names.
	As map[string]string
	// From and To bound the keys that are restored, and all of them begin with Prefix;
	// nil is a table's end.
	From, To, Prefix []byte
	// Roots open the lockboxes: those of the tables that were backed up.
	Roots []keyring.RootKey
	// RootKey wraps the keys of the new tables; nil is the store's.
	RootKey keyring.RootKey
	// DryRun does all that comes before data is moved.
	DryRun bool
	// Concurrency is how many files are fetched at once; 0 is 4.
	Concurrency int
	// BytesPerSecond bounds what is fetched; 0 does not.
	BytesPerSecond int64
	Progress       func(Progress)
}

// wants tells whether a table is to be restored.
func (o *RestoreOptions) wants(name string) bool {
	return o.Tables == nil || slices.Contains(o.Tables, name)
}

// A RestoreReport says what was restored, or with DryRun would be.
type RestoreReport struct {
	Backup  string          `json:"backup"`
	DryRun  bool            `json:"dry_run,omitempty"`
	Tables  []RestoredTable `json:"tables"`
	Fetched int64           `json:"fetched_bytes"`
	Reused  int64           `json:"reused_bytes"` // fetched by a call that was stopped
	Elapsed time.Duration   `json:"elapsed_ns"`
}

// A RestoredTable is one table of a restore.
type RestoredTable struct {
	Name   string     `json:"name"`
	As     string     `json:"as"`
	Source keyring.ID `json:"source"`
	ID     keyring.ID `json:"id"` // of the new table
	Sealed bool       `json:"sealed"`
	Files  int        `json:"files"`
	Bytes  int64      `json:"bytes"`
	// At is the moment that the table is restored to; with an archive, of the last frame.
	At          time.Time `json:"at"`
	Segments    int       `json:"segments,omitempty"` // archived logs applied
	KeyVersions []uint32  `json:"key_versions"`       // of the source's key, that were needed
	RootKeys    []string  `json:"root_keys"`          // of the new table
}

// Restore makes tables out of a backup, in an open store: that of the backup, or any
// other; with DryRun the store may be nil, for one that is not there yet. It never overwrites: a name that is taken is an error, before anything is
// fetched. So is a key that does not open. What is fetched is compared with the sealed
// index, a byte at a time; of a backup that is unsealed every seal is opened instead.
//
// A call that was stopped is continued by the same call, which fetches what is missing.
// A table is there when it is whole; those that come before one that fails stay.
//
// Errors: ErrNotFound, ErrNoLockbox, ErrUnsealed, ErrOutOfRange, ErrCorruption,
// engine.ErrTableExists, engine.ErrInvalidName, engine.ErrStageBusy, and those of engine and storage.
func (r *Repository) Restore(ctx context.Context, s *engine.Store, o RestoreOptions) (*RestoreReport, error) {
	began := time.Now()
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	if s == nil && !o.DryRun {
		return nil, errors.New("backup: no store to restore into")
	}
	plan, err := r.plan(ctx, s, &o)
	if err != nil {
		return nil, err
	}
	defer plan.wipe()
	rep := &RestoreReport{Backup: plan.backup.Name, DryRun: o.DryRun}
	if !o.DryRun {
		err = plan.run(ctx, rep)
	}
	for _, t := range plan.tables {
		if o.DryRun || !t.done.ID.IsZero() {
			rep.Tables = append(rep.Tables, t.done)
		}
	}
	rep.Elapsed = time.Since(began)
	return rep, err
}

// A plan is a restore of which everything is known but whether the data is what it
// should be.
type plan struct {
	r      *Repository
	store  *engine.Store
	o      *RestoreOptions
	backup *Backup
	tables []*planned
}

type planned struct {
	entry *BackupTable
	index *index
	keys  *keyring.TableKeys
	log   *archivedLog // nil where nothing of it is to be applied
	done  RestoredTable
}

func (p *plan) wipe() {
	for _, t := range p.tables {
		t.keys.Wipe()
	}
}

// plan finds what to restore, and opens every key that it takes.
func (r *Repository) plan(ctx context.Context, s *engine.Store, o *RestoreOptions) (*plan, error) {
	if s != nil && o.Store.IsZero() {
		own := *o
		own.Store = s.ID()
		if list, err := r.candidates(ctx, &own); err == nil && len(list) > 0 {
			o.Store = own.Store
		}
	}
	list, err := r.candidates(ctx, o)
	if err != nil {
		return nil, err
	}
	var first error
	for _, b := range list {
		p, err := r.planFrom(ctx, s, o, b)
		if err == nil {
			return p, nil
		}
		if first == nil {
			first = err
		}
		// One that was made without the key does for no moment behind it.
		if !errors.Is(err, ErrNotFound) && !(o.past() && errors.Is(err, ErrUnsealed)) {
			break
		}
	}
	return nil, first
}

// past tells whether archived logs are to be applied.
func (o *RestoreOptions) past() bool { return o.ToEnd || !o.At.IsZero() }

// planFrom is plan for one backup.
func (r *Repository) planFrom(ctx context.Context, s *engine.Store, o *RestoreOptions, b *Backup) (_ *plan, err error) {
	p := &plan{r: r, store: s, o: o, backup: b}
	defer func() {
		if err != nil {
			p.wipe()
		}
	}()
	missing := make(map[string]bool)
	for _, n := range o.Tables {
		missing[n] = true
	}
	var closed []error // of tables of which nobody can tell whether they are wanted
	var beyond []error // of tables whose logs do not reach
	for i := range b.Tables {
		t, err := r.planTable(ctx, b, &b.Tables[i], o)
		if errors.Is(err, ErrNoLockbox) && o.Tables != nil {
			closed = append(closed, err)
			continue
		}
		if errors.Is(err, ErrOutOfRange) {
			beyond = append(beyond, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		if t == nil {
			continue
		}
		delete(missing, t.done.Name)
		p.tables = append(p.tables, t)
	}
	if len(beyond) > 0 {
		return nil, errors.Join(beyond...)
	}
	for n := range missing {
		if len(closed) > 0 {
			return nil, fmt.Errorf("backup %s has no table %s that opens: %w", b.Name, clip(n), errors.Join(closed...))
		}
		return nil, fmt.Errorf("%w: backup %s has no table %s", ErrNotFound, b.Name, clip(n))
	}
	if len(p.tables) == 0 {
		return nil, fmt.Errorf("%w: backup %s has no table", ErrNotFound, b.Name)
	}
	return p, p.names()
}

// candidates are the backups that a restore may begin with, the best first: of tables that
// are named the newest may have none.
func (r *Repository) candidates(ctx context.Context, o *RestoreOptions) ([]*Backup, error) {
	if o.Backup != "" && o.Backup != Latest {
		b, err := r.Find(ctx, o.Backup)
		return []*Backup{b}, err
	}
	list, err := r.Backups(ctx)
	if err != nil && !(o.past() && errors.Is(err, ErrCorruption)) {
		return nil, err
	}
	if list, err = ofStore(list, o.Store, err); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.Join(fmt.Errorf("%w: %s has none", ErrNotFound, r.st.Location()), err)
	}
	e := &RangeError{Table: "the store", At: o.At}
	for _, b := range list {
		e.Spans = append(e.Spans, Span{b.Time, b.Time})
	}
	slices.Reverse(list)
	if !o.At.IsZero() {
		list = slices.DeleteFunc(list, func(b *Backup) bool {
			return slices.ContainsFunc(b.Tables, func(t BackupTable) bool { return t.Until.After(o.At) })
		})
	}
	if len(list) == 0 {
		return nil, e
	}
	if o.Tables == nil && !o.past() {
		return list[:1], nil
	}
	return list[:min(len(list), lookBack)], nil
}

// ofStore leaves those of one store. err is what else is wrong.
func ofStore(list []*Backup, store keyring.ID, err error) ([]*Backup, error) {
	var stores []string
	for _, b := range list {
		if id := b.Store.String(); !slices.Contains(stores, id) {
			stores = append(stores, id)
		}
	}
	switch {
	case !store.IsZero():
		list = slices.DeleteFunc(list, func(b *Backup) bool { return b.Store != store })
	case len(stores) > 1:
		return nil, fmt.Errorf("%w: it has some of the stores %s: say which, or name a backup", ErrOtherStore, strings.Join(stores, ", "))
	}
	if len(list) > 0 {
		return list, nil
	}
	if errors.Is(err, ErrCorruption) {
		return nil, err
	}
	if !store.IsZero() {
		return nil, fmt.Errorf("%w: a backup of store %s", ErrNotFound, store)
	}
	return nil, nil
}

// planTable is nil for a table that is not wanted.
func (r *Repository) planTable(ctx context.Context, b *Backup, e *BackupTable, o *RestoreOptions) (_ *planned, err error) {
	keys, err := r.Keys(ctx, e.Table, e.Needed(), o.Roots)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", e.Table, err)
	}
	t := &planned{entry: e, keys: keys}
	defer func() {
		if err != nil {
			keys.Wipe()
		}
	}()
	name, err := engine.TableName(keys)
	if err != nil {
		return nil, err
	}
	if !o.wants(name) { // what else is wrong with it is no matter
		keys.Wipe()
		return nil, nil
	}
	if e.Sealed {
		t.index, err = r.openIndex(ctx, b, e, keys)
	} else {
		t.index, err = r.readIndex(ctx, b, e)
	}
	if err != nil {
		return nil, err
	}
	if !e.Sealed && !o.Unsealed {
		return nil, fmt.Errorf("%w: %s in backup %s", ErrUnsealed, name, b.Name)
	}
	if t.index.sealed && t.index.name != name && name != "" {
		return nil, corrupt.New(corrupt.ErrForeign, indexName(b.Name, e.Table), -1, "is of a table of another name")
	}
	t.done = RestoredTable{
		Name: name, Source: e.Table, Sealed: e.Sealed, Files: e.Files, Bytes: e.Bytes, At: e.At, KeyVersions: e.Needed(),
	}
	if o.ToEnd || !o.At.IsZero() {
		if t.log, err = r.openArchive(ctx, t, o.At, o.Roots); err != nil {
			return nil, err
		}
		t.done.Segments = len(t.log.segments)
	}
	return t, nil
}

// names gives each table its name, and finds that one is taken.
func (p *plan) names() error {
	taken := make(map[string]bool)
	if p.store != nil {
		for _, t := range p.store.Tables() {
			taken[t.Name] = true
		}
	}
	for from := range p.o.As {
		if !slices.ContainsFunc(p.tables, func(t *planned) bool { return t.done.Name == from }) {
			return fmt.Errorf("%w: backup %s has no table %s to restore as %s", ErrNotFound, p.backup.Name, clip(from), clip(p.o.As[from]))
		}
	}
	for _, t := range p.tables {
		if t.done.As = p.o.As[t.done.Name]; t.done.As == "" {
			t.done.As = t.done.Name
		}
		if err := engine.CheckTableName(t.done.As); err != nil {
			return err
		}
		if taken[t.done.As] {
			return fmt.Errorf("%w: %s; restore it under another name", engine.ErrTableExists, t.done.As)
		}
		taken[t.done.As] = true
	}
	return nil
}

func (p *plan) run(ctx context.Context, rep *RestoreReport) error {
	m := newMeter("fetch", p.o.Progress, p.o.BytesPerSecond)
	for _, t := range p.tables {
		for i := range t.index.files {
			if f := &t.index.files[i]; !f.empty() {
				m.change(func(pr *Progress) { pr.Files++; pr.Bytes += f.size })
			}
		}
	}
	var err error
	for _, t := range p.tables {
		if err = p.restore(ctx, m, t); err != nil {
			err = fmt.Errorf("restore %s: %w", t.done.As, err)
			break
		}
	}
	done := m.end()
	rep.Fetched, rep.Reused = done.Moved, done.Reused
	return err
}

// stageID names the stage of one table of one backup, so that the same call finds it.
func (p *plan) stageID(t *planned) (id keyring.ID) {
	h := sha256.New()
	fmt.Fprintf(h, "cofre restore\n%s\n%s\n%s\n%s\n", p.r.id, p.backup.Name, t.entry.Table, t.done.As)
	copy(id[:], h.Sum(nil))
	return id
}

func (p *plan) restore(ctx context.Context, m *meter, t *planned) error {
	stage, err := p.store.Stage(p.stageID(t))
	if err != nil {
		return err
	}
	defer stage.Close()
	if err := p.fetch(ctx, m, stage, t); err != nil {
		return err
	}
	src := engine.RestoreSource{Stage: stage, Keys: t.keys, From: p.o.From, To: p.o.To, Prefix: p.o.Prefix}
	if t.index.sealed {
		src.Compared, src.Seal = true, t.index.seal
		src.Wraps = []keyring.WrappedDataKey{}
		for i := range t.index.files {
			src.Wraps = append(src.Wraps, t.index.files[i].keys...)
		}
	} else if src.Overlay, err = takeOverlay(stage, t.index); err != nil {
		return err
	}
	if t.log != nil {
		if err := t.log.follow(stage, t.index); err != nil {
			return err
		}
		src.Log = t.log.batches(ctx)
	}
	tab, err := p.store.RestoreTable(ctx, t.done.As, engine.RestoreOptions{RootKey: p.o.RootKey}, src)
	if err != nil {
		return err
	}
	t.done.ID = tab.ID()
	if t.log != nil {
		t.done.At = t.log.reached
	}
	for _, info := range p.store.Tables() {
		if info.ID == t.done.ID {
			t.done.RootKeys = info.RootKeys
		}
	}
	return nil
}

// takeOverlay reads the overlay of an unsealed index, and takes it off the stage.
func takeOverlay(stage *engine.Stage, x *index) ([]byte, error) {
	at := slices.IndexFunc(x.files, func(f indexFile) bool { return f.name == overlayName })
	if at < 0 {
		return nil, nil
	}
	if x.files[at].size > keyring.MaxOverlayLen {
		return nil, corrupt.New(corrupt.ErrFormat, overlayName, -1, "%d bytes are more than an overlay can have", x.files[at].size)
	}
	f, err := stage.Open(overlayName)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, x.files[at].size)
	_, err = io.ReadFull(io.NewSectionReader(f, 0, int64(len(b))), b)
	return b, err
}

// fetch fills the stage with the files of the index, each of which is what the index
// says.
func (p *plan) fetch(ctx context.Context, m *meter, stage *engine.Stage, t *planned) error {
	names := make(map[string]bool)
	for i := range t.index.files {
		names[t.index.files[i].name] = true
	}
	if err := stage.Keep(names); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.o.Concurrency)
	for i := range t.index.files {
		f := &t.index.files[i]
		g.Go(func() error {
			if err := p.fetchFile(ctx, m, stage, f); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (p *plan) fetchFile(ctx context.Context, m *meter, stage *engine.Stage, f *indexFile) error {
	if f.empty() {
		return stage.Put(f.name, func(vfs.File) error { return nil })
	}
	defer m.change(func(pr *Progress) { pr.Done++ })
	if staged(ctx, stage, f) {
		m.change(func(pr *Progress) { pr.Reused += f.size; pr.Bytes -= f.size })
		return nil
	}
	name := f.key().object()
	return stage.Put(f.name, func(out vfs.File) error {
		in, err := p.r.st.Get(ctx, name, 0, f.size)
		if errors.Is(err, storage.ErrNotFound) {
			return corrupt.New(corrupt.ErrMissing, name, -1, "the index names it")
		}
		if err != nil {
			return damaged(name, err)
		}
		h := sha256.New()
		err = pour(ctx, out, io.TeeReader(in, h), m)
		if err = errors.Join(damaged(name, err), in.Close()); err != nil {
			return err
		}
		if got := digest(h.Sum(nil)); got != f.digest {
			return corrupt.New(corrupt.ErrAuth, name, -1, "its SHA-256 is %s, the index says %s", got, f.digest)
		}
		return nil
	})
}

// pour copies and counts.
func pour(ctx context.Context, out io.Writer, in io.Reader, m *meter) error {
	buf := make([]byte, chunk)
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 {
			if merr := m.moved(ctx, n); merr != nil {
				return merr
			}
			if _, werr := out.Write(buf[:n]); werr != nil {
				return werr
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil // the storage says that the object ends here
		}
		if err != nil {
			return err
		}
	}
}

// staged tells whether a call that was stopped has fetched a file.
func staged(ctx context.Context, stage *engine.Stage, f *indexFile) bool {
	in, err := stage.Open(f.name)
	if err != nil {
		return false
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil || fi.Size() != f.size {
		return false
	}
	h := sha256.New()
	for off := int64(0); off < f.size && ctx.Err() == nil; off += chunk {
		if _, err := io.Copy(h, io.NewSectionReader(in, off, min(chunk, f.size-off))); err != nil {
			return false
		}
	}
	return ctx.Err() == nil && digest(h.Sum(nil)) == f.digest
}
