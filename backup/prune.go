package backup

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// A Retention says which backups to keep. A backup is kept if any of its rules wants
// it, for any of its tables: the rules count the backups of each table by themselves,
// so one of a single table never takes the place of one of the whole store. Hours, days,
// weeks (from Monday) and months are those of UTC; of each the newest backup is kept.
type Retention struct {
	Last    int           `json:"last,omitempty"`
	Hourly  int           `json:"hourly,omitempty"`
	Daily   int           `json:"daily,omitempty"`
	Weekly  int           `json:"weekly,omitempty"`
	Monthly int           `json:"monthly,omitempty"`
	Within  time.Duration `json:"within,omitempty"` // of the newest backup of the table
}

func (k Retention) check() error {
	if k == (Retention{}) {
		return errors.New("backup: nothing says which backups to keep, and none would be")
	}
	if min(k.Last, k.Hourly, k.Daily, k.Weekly, k.Monthly) < 0 || k.Within < 0 {
		return errors.New("backup: a negative number of backups to keep")
	}
	return nil
}

// PruneOptions say what to remove.
type PruneOptions struct {
	Keep   Retention
	DryRun bool
	// Grace is how long an object that no backup names stays; 0 is DefaultGrace,
	// negative is not at all: then nobody may be copying from the repository.
	Grace    time.Duration
	Progress func(Progress)
}

// DefaultGrace is how long Prune leaves an object that no backup names any more.
const DefaultGrace = 24 * time.Hour

// A PruneReport says what was removed, or with DryRun would be.
type PruneReport struct {
	DryRun  bool      `json:"dry_run,omitempty"`
	Kept    []Kept    `json:"kept"`
	Removed []*Backup `json:"removed"`
	// Condemned objects are named by no backup, and go with a Prune after the grace.
	Condemned      int   `json:"condemned"`
	CondemnedBytes int64 `json:"condemned_bytes"`
	// Deleted objects were condemned by an earlier Prune.
	Deleted      int       `json:"deleted"`
	DeletedBytes int64     `json:"deleted_bytes"`
	Due          time.Time `json:"due,omitzero"` // when the condemned may go
}

// Kept is a backup that stays, and why.
type Kept struct {
	Backup  *Backup  `json:"backup"`
	Reasons []string `json:"reasons"`
}

// Prune removes backups that the retention does not want, but for pinned ones, and then
// what no backup names: objects are condemned by one call and removed by a later one,
// when Grace is over, if no backup names them still. So a reader, or a Create that
// somebody takes for dead, loses nothing. If the call is stopped anywhere, what is
// listed is whole, and the next call goes on.
//
// Where a manifest or an index does not parse, nothing is removed: it might name what
// would go. Errors: ErrCorruption, lease.ErrLocked, and those of the storage.
func (r *Repository) Prune(ctx context.Context, o PruneOptions) (*PruneReport, error) {
	if err := o.Keep.check(); err != nil {
		return nil, err
	}
	switch {
	case o.Grace == 0:
		o.Grace = DefaultGrace
	case o.Grace < 0:
		o.Grace = 0
	}
	rep := &PruneReport{DryRun: o.DryRun}
	run := func(ctx context.Context) error { return r.prune(ctx, o, rep) }
	if o.DryRun {
		return rep, run(ctx)
	}
	return rep, r.write(ctx, "backup prune", run)
}

func (r *Repository) prune(ctx context.Context, o PruneOptions, rep *PruneReport) error {
	list, err := r.Backups(ctx)
	if err != nil {
		return err
	}
	var keep []*Backup
	rep.Kept, rep.Removed = o.Keep.choose(list)
	for _, k := range rep.Kept {
		keep = append(keep, k.Backup)
	}
	if len(keep) == 0 && len(list) > 0 {
		return errors.New("backup: no backup would be kept")
	}
	// Before anything goes: what is kept must be known whole.
	needed, err := r.named(ctx, keep)
	if err != nil {
		return err
	}
	// Before the backups go that are the last to name something.
	sentences, err := r.acquit(ctx, list, o.DryRun)
	if err != nil {
		return err
	}
	if !o.DryRun {
		for _, b := range rep.Removed {
			if err := r.remove(ctx, b); err != nil {
				return err
			}
		}
	}
	return r.sweep(ctx, o, needed, sentences, rep)
}

// acquit ends the sentences that name what backups name, which may have come after them:
// when these backups go, it has its grace anew. What else such a sentence names is
// condemned again by the next Prune. It returns the sentences that stand.
func (r *Repository) acquit(ctx context.Context, list []*Backup, dryRun bool) (map[string]sentence, error) {
	sentences, err := r.sentences(ctx)
	if err != nil || len(sentences) == 0 {
		return sentences, err
	}
	needed, err := r.named(ctx, list)
	unknown := errors.Is(err, ErrCorruption) // then it may be any
	if err != nil && !unknown {
		return nil, err
	}
	oldest := oldestLogs(needed)
	for name, s := range sentences {
		if !unknown && !slices.ContainsFunc(s.Objects, func(n string) bool { return isNeeded(needed, oldest, n) }) {
			continue
		}
		delete(sentences, name)
		if dryRun {
			continue
		}
		if err := r.st.Delete(ctx, name); err != nil {
			return nil, err
		}
	}
	return sentences, nil
}

// isNeeded tells whether an object is among those that named has found.
func isNeeded(needed map[string]bool, oldest map[string]string, name string) bool {
	if p, ok := parsePartName(name); ok {
		first, kept := oldest[lineName(p.table, p.incarnation)]
		return kept && segmentNumber(p.number) >= first
	}
	return needed[name] || strings.HasPrefix(name, lockboxPrefix) && needed[name[:strings.LastIndexByte(name, '/')+1]]
}

// remove makes a backup not exist, and then removes its indexes.
func (r *Repository) remove(ctx context.Context, b *Backup) error {
	if err := r.st.Delete(ctx, backupsPrefix+b.Name); err != nil {
		return err
	}
	for _, t := range b.Tables {
		if err := r.st.Delete(ctx, indexName(b.Name, t.Table)); err != nil {
			return err
		}
	}
	return nil
}

// Remove removes one backup at once; its data goes as Prune says. The error is ErrPinned, ErrNotFound, or lease.ErrLocked.
func (r *Repository) Remove(ctx context.Context, name string) (*Backup, error) {
	b, err := r.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	if b.Pinned {
		return nil, fmt.Errorf("%w: %s", ErrPinned, b.Name)
	}
	err = r.write(ctx, "backup remove", func(ctx context.Context) error {
		// As the one who writes: it may have been pinned, or removed, while we waited.
		now, err := r.Find(ctx, b.Name)
		if err != nil {
			return err
		}
		if now.Pinned {
			return fmt.Errorf("%w: %s", ErrPinned, b.Name)
		}
		if _, err := r.acquit(ctx, []*Backup{now}, false); err != nil {
			return err
		}
		return r.remove(ctx, now)
	})
	return b, err
}

// choose sorts backups, which are in order of time, into those that stay and those that
// go.
func (k Retention) choose(list []*Backup) (kept []Kept, removed []*Backup) {
	why := make(map[*Backup][]string)
	want := func(b *Backup, reason string) {
		if !slices.Contains(why[b], reason) {
			why[b] = append(why[b], reason)
		}
	}
	byTable := make(map[keyring.ID][]*Backup)
	for _, b := range list {
		if b.Pinned {
			want(b, "pinned")
		}
		for _, t := range b.Tables {
			byTable[t.Table] = append(byTable[t.Table], b)
		}
	}
	for _, l := range byTable {
		k.chooseTable(l, want)
	}
	for _, b := range list {
		if reasons := why[b]; len(reasons) > 0 {
			slices.Sort(reasons)
			kept = append(kept, Kept{b, reasons})
		} else {
			removed = append(removed, b)
		}
	}
	return kept, removed
}

// chooseTable applies the rules to the backups of one table.
func (k Retention) chooseTable(list []*Backup, want func(*Backup, string)) {
	newest := list[len(list)-1]
	for i, b := range list {
		if len(list)-i <= k.Last {
			want(b, "last")
		}
		if k.Within > 0 && newest.Time.Sub(b.Time) <= k.Within {
			want(b, "within")
		}
	}
	for _, rule := range []struct {
		name   string
		n      int
		period func(time.Time) string
	}{
		{"hourly", k.Hourly, func(t time.Time) string { return t.Format("2006010215") }},
		{"daily", k.Daily, func(t time.Time) string { return t.Format("20060102") }},
		{"weekly", k.Weekly, func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprintf("%d-%d", y, w) }},
		{"monthly", k.Monthly, func(t time.Time) string { return t.Format("200601") }},
	} {
		last := ""
		for n, i := rule.n, len(list)-1; n > 0 && i >= 0; i-- {
			if p := rule.period(list[i].Time.UTC()); p != last {
				want(list[i], rule.name)
				last = p
				n--
			}
		}
	}
}

// named are the objects that backups name: files; folders of lockboxes; and of each line of
// archived logs where the first needed segment is.
func (r *Repository) named(ctx context.Context, list []*Backup) (map[string]bool, error) {
	type part struct {
		b *Backup
		e *BackupTable
	}
	var parts []part
	for _, b := range list {
		for i := range b.Tables {
			parts = append(parts, part{b, &b.Tables[i]})
		}
	}
	found := make([][]string, len(parts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, p := range parts {
		g.Go(func() error {
			x, err := r.readIndex(ctx, p.b, p.e)
			if err != nil {
				return err
			}
			found[i] = append(found[i], lockboxPrefix+p.e.Table.String()+"/", lineName(x.table, x.incarnation)+segmentNumber(x.newestLog()))
			for j := range x.files {
				if f := &x.files[j]; !f.empty() {
					found[i] = append(found[i], f.key().object())
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("what backups need is not known: %w", err)
	}
	needed := make(map[string]bool)
	for _, names := range found {
		for _, n := range names {
			needed[n] = true
		}
	}
	return needed, nil
}

// A sentence condemns objects: they may be removed when it is old enough.
type sentence struct {
	Format  int       `json:"format"`
	Since   time.Time `json:"since"`
	Objects []string  `json:"objects"`
}

// maxSentence bounds a sentence, in bytes, so that maxSentenced objects fit, whatever their
// names.
const (
	maxSentence  = 1 << 30
	maxSentenced = 1 << 20
)

// sweep removes what was condemned long enough ago, and condemns what else nobody
// names.
func (r *Repository) sweep(ctx context.Context, o PruneOptions, needed map[string]bool, sentences map[string]sentence, rep *PruneReport) error {
	now := r.opts.Now().UTC()
	since := make(map[string]time.Time) // of what was condemned
	for _, s := range sentences {
		for _, n := range s.Objects {
			if old, ok := since[n]; !ok || s.Since.Before(old) {
				since[n] = s.Since
			}
		}
	}
	var fresh []string
	rep.Due = now.Add(o.Grace)
	err := r.unneeded(ctx, needed, func(info storage.Info) error {
		at, condemned := since[info.Name]
		if !condemned {
			at = now
		}
		if now.Sub(at) >= o.Grace && (condemned || o.Grace == 0) {
			rep.Deleted++
			rep.DeletedBytes += info.Size
			if o.DryRun {
				return nil
			}
			return r.st.Delete(ctx, info.Name)
		}
		rep.Condemned++
		rep.CondemnedBytes += info.Size
		if !condemned {
			fresh = append(fresh, info.Name)
		} else if due := at.Add(o.Grace); due.Before(rep.Due) {
			rep.Due = due
		}
		return nil
	})
	if rep.Condemned == 0 {
		rep.Due = time.Time{}
	}
	if err != nil || o.DryRun {
		return err
	}
	for objects := range slices.Chunk(fresh, maxSentenced) {
		data, err := json.Marshal(sentence{FormatVersion, now, objects})
		if err != nil {
			return err
		}
		if err := r.st.Put(ctx, condemnedPrefix+newName(now), storage.Bytes(data)); err != nil {
			return err
		}
	}
	// Behind the removals: a sentence that is served names nothing that is left.
	for name, s := range sentences {
		if now.Sub(s.Since) >= o.Grace {
			if err := r.st.Delete(ctx, name); err != nil {
				return err
			}
		}
	}
	_, err = r.st.Clean(ctx, max(o.Grace, time.Hour))
	if errors.Is(err, storage.ErrUnsupported) {
		return nil
	}
	return err
}

// unneeded visits what no backup needs: data, lockboxes of tables that have none, indexes
// without a manifest, and archived logs of before the oldest.
func (r *Repository) unneeded(ctx context.Context, needed map[string]bool, visit func(storage.Info) error) error {
	for info, err := range r.st.List(ctx, dataPrefix) {
		if err != nil {
			return err
		}
		if needed[info.Name] {
			continue
		}
		if err := visit(info); err != nil {
			return err
		}
	}
	for info, err := range r.st.List(ctx, lockboxPrefix) {
		if err != nil {
			return err
		}
		if needed[info.Name[:strings.LastIndexByte(info.Name, '/')+1]] {
			continue
		}
		if err := visit(info); err != nil {
			return err
		}
	}
	names, err := r.backupNames(ctx)
	if err != nil {
		return err
	}
	for info, err := range r.st.List(ctx, indexPrefix) {
		if err != nil {
			return err
		}
		backup, _, _ := strings.Cut(strings.TrimPrefix(info.Name, indexPrefix), "/")
		if _, listed := slices.BinarySearch(names, backup); listed {
			continue
		}
		if err := visit(info); err != nil {
			return err
		}
	}
	return r.unneededLogs(ctx, needed, visit)
}

func (r *Repository) sentences(ctx context.Context) (map[string]sentence, error) {
	all := make(map[string]sentence)
	for info, err := range r.st.List(ctx, condemnedPrefix) {
		if err != nil {
			return nil, err
		}
		b, err := storage.ReadAll(ctx, r.st, info.Name, maxSentence)
		if err != nil {
			return nil, damaged(info.Name, err)
		}
		s, err := parseSentence(b)
		if err != nil {
			return nil, corrupt.At(info.Name, err)
		}
		all[info.Name] = s
	}
	return all, nil
}

// parseSentence reads a sentence, strictly: there is one encoding of each. What it names is
// looked for among objects that nobody needs, and nowhere else.
func parseSentence(b []byte) (s sentence, err error) {
	bad := func(class error, format string, args ...any) (sentence, error) {
		return sentence{}, corrupt.New(class, "", -1, format, args...)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return bad(corrupt.ErrFormat, "%v", err)
	}
	if s.Format != FormatVersion {
		return bad(corrupt.ErrVersion, "format version %d, this build knows %d", s.Format, FormatVersion)
	}
	if again, err := json.Marshal(s); err != nil || !bytes.Equal(again, b) || !utc(s.Since) || len(s.Objects) == 0 {
		return bad(corrupt.ErrFormat, "it is not written as a sentence is")
	}
	return s, nil
}

// Pin keeps a backup from Prune and Remove, until Unpin.
func (r *Repository) Pin(ctx context.Context, name string) (*Backup, error) {
	b, err := r.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	b.Pinned = true
	// As the one who writes: a Prune that has chosen already would remove it.
	return b, r.write(ctx, "backup pin", func(ctx context.Context) error {
		if _, err := r.Find(ctx, b.Name); err != nil {
			return err
		}
		err := r.st.Put(ctx, pinsPrefix+b.Name, storage.Bytes([]byte("pinned\n")))
		if errors.Is(err, storage.ErrExists) {
			return nil
		}
		return err
	})
}

// Unpin ends what Pin has begun.
func (r *Repository) Unpin(ctx context.Context, name string) (*Backup, error) {
	b, err := r.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	b.Pinned = false
	return b, r.write(ctx, "backup unpin", func(ctx context.Context) error { return r.st.Delete(ctx, pinsPrefix+b.Name) })
}

func (r *Repository) pins(ctx context.Context) (map[string]bool, error) {
	pins := make(map[string]bool)
	for o, err := range r.st.List(ctx, pinsPrefix) {
		if err != nil {
			return nil, err
		}
		pins[strings.TrimPrefix(o.Name, pinsPrefix)] = true
	}
	return pins, nil
}

// A Difference is a file that one backup of a table has and another has not.
type Difference struct {
	Table keyring.ID `json:"table"`
	File  string     `json:"file"`
	Bytes int64      `json:"bytes"`
	Added bool       `json:"added"` // the second has it, else the first
}

// Diff compares the files of two backups, without keys: what is of the same ciphertext is
// the same.
func (r *Repository) Diff(ctx context.Context, from, to string) ([]Difference, error) {
	a, err := r.Find(ctx, from)
	if err != nil {
		return nil, err
	}
	b, err := r.Find(ctx, to)
	if err != nil {
		return nil, err
	}
	before, err := r.files(ctx, a)
	if err != nil {
		return nil, err
	}
	after, err := r.files(ctx, b)
	if err != nil {
		return nil, err
	}
	var list []Difference
	for k, d := range before {
		if _, ok := after[k]; !ok {
			list = append(list, d)
		}
	}
	for k, d := range after {
		if _, ok := before[k]; !ok {
			d.Added = true
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(x, y Difference) int {
		return cmp.Or(compareIDs(x.Table, y.Table), strings.Compare(x.File, y.File), -cmp.Compare(btoi(x.Added), btoi(y.Added)))
	})
	return list, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

type tableFile struct {
	table keyring.ID
	fileKey
}

func (r *Repository) files(ctx context.Context, b *Backup) (map[tableFile]Difference, error) {
	files := make(map[tableFile]Difference)
	for i := range b.Tables {
		x, err := r.readIndex(ctx, b, &b.Tables[i])
		if err != nil {
			return nil, err
		}
		for j := range x.files {
			if f := &x.files[j]; !f.empty() {
				files[tableFile{x.table, f.key()}] = Difference{Table: x.table, File: f.name, Bytes: f.size}
			}
		}
	}
	return files, nil
}
