package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// FormatVersion is the version of repositories that this build writes.
//
//	1  the first
const FormatVersion = 1

// maxManifest bounds a manifest, in bytes: 100,000 tables have 40 MB.
const maxManifest = 64 << 20

// A Backup is a backup of some tables of one store, as its manifest has it. The
// manifest is in the clear. The sealed index of each table has the digest of all of it
// but what the indexes themselves add: their digests, sizes, and versions of keys.
type Backup struct {
	Format     int        `json:"format"`
	Name       string     `json:"name"`
	Repository keyring.ID `json:"repository"` // in which it was made
	Store      keyring.ID `json:"store"`
	// Time: what was acknowledged before it is in the backup, in every table.
	Time     time.Time     `json:"time"`
	Finished time.Time     `json:"finished"`
	Label    string        `json:"label,omitempty"` // the user's; in the clear
	Tables   []BackupTable `json:"tables"`          // by id

	// Pinned: Prune leaves it.
	Pinned bool `json:"-"`
}

// A BackupTable is one table of a backup.
type BackupTable struct {
	Table    keyring.ID `json:"table"`
	At       time.Time  `json:"at"`    // what was acknowledged before is in it,
	Until    time.Time  `json:"until"` // and nothing that was issued after
	Sealed   bool       `json:"sealed"`
	Files    int        `json:"files"`
	Bytes    int64      `json:"bytes"`     // of ciphertext
	NewBytes int64      `json:"new_bytes"` // of these, sent for this backup
	// KeyVersions of the table's key wrap the data keys of its files.
	KeyVersions []uint32 `json:"key_versions"`
	// SealVersion of the table's key seals the index; 0 unless Sealed.
	SealVersion uint32 `json:"seal_version"`
	IndexSize   int64  `json:"index_size"`
	Index       digest `json:"index"`
}

// Needed are the versions of the table's key that it takes to restore it, ascending.
func (t *BackupTable) Needed() []uint32 {
	vs := slices.Clone(t.KeyVersions)
	if t.Sealed {
		vs = append(vs, t.SealVersion)
	}
	slices.Sort(vs)
	return slices.Compact(vs)
}

// Bytes is the size of the backup's files.
func (b *Backup) Bytes() (n int64) {
	for _, t := range b.Tables {
		n += t.Bytes
	}
	return n
}

// NewBytes is how many of them were sent for this backup.
func (b *Backup) NewBytes() (n int64) {
	for _, t := range b.Tables {
		n += t.NewBytes
	}
	return n
}

// Table finds a table by id.
func (b *Backup) Table(id keyring.ID) (*BackupTable, bool) {
	for i := range b.Tables {
		if b.Tables[i].Table == id {
			return &b.Tables[i], true
		}
	}
	return nil, false
}

// encode gives the bytes of the manifest. There is one encoding of each.
func (b *Backup) encode() ([]byte, error) { return json.MarshalIndent(b, "", "  ") }

// core is the digest of what the indexes attest.
func (b *Backup) core() (digest, error) {
	c := *b
	c.Tables = slices.Clone(b.Tables)
	for i := range c.Tables {
		t := &c.Tables[i]
		t.SealVersion, t.IndexSize, t.Index = 0, 0, digest{}
	}
	data, err := c.encode()
	return sum(data), err
}

func parseManifest(name string, data []byte) (*Backup, error) {
	object := backupsPrefix + name
	bad := func(class error, format string, args ...any) error {
		return corrupt.New(class, object, -1, format, args...)
	}
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, bad(corrupt.ErrFormat, "%v", err)
	}
	if version.Format != FormatVersion {
		return nil, bad(corrupt.ErrVersion, "format version %d, this build knows %d", version.Format, FormatVersion)
	}
	b := &Backup{}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(b); err != nil {
		return nil, bad(corrupt.ErrFormat, "%v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, bad(corrupt.ErrFormat, "something follows the manifest")
	}
	switch {
	case !canonical(b, data):
		return nil, bad(corrupt.ErrFormat, "it is not written as a manifest is")
	case b.Name != name:
		return nil, bad(corrupt.ErrForeign, "is the manifest of %q", clip(b.Name))
	case b.Store.IsZero() || b.Repository.IsZero():
		return nil, bad(corrupt.ErrFormat, "it names no store, or no repository")
	case !utc(b.Time) || !utc(b.Finished):
		return nil, bad(corrupt.ErrFormat, "a time that is not in UTC")
	case len(b.Label) > maxLabel:
		return nil, bad(corrupt.ErrFormat, "a label of %d bytes", len(b.Label))
	case len(b.Tables) == 0:
		return nil, bad(corrupt.ErrFormat, "it has no table")
	case !slices.IsSortedFunc(b.Tables, func(a, c BackupTable) int { return compareIDs(a.Table, c.Table) }):
		return nil, bad(corrupt.ErrFormat, "tables out of order")
	}
	for i := range b.Tables {
		t := &b.Tables[i]
		if i > 0 && t.Table == b.Tables[i-1].Table {
			return nil, bad(corrupt.ErrFormat, "table %s twice", t.Table)
		}
		if fault := t.check(); fault != "" {
			return nil, bad(corrupt.ErrFormat, "table %s: %s", t.Table, fault)
		}
	}
	return b, nil
}

// check tells what is wrong with a table of a manifest.
func (t *BackupTable) check() string {
	switch {
	case t.Table.IsZero():
		return "no table has this id"
	case !utc(t.At) || !utc(t.Until):
		return "a time that is not in UTC"
	case t.Files < 0 || t.Files > maxFiles || t.Bytes < 0 || t.Bytes > maxBytes || t.NewBytes < 0 || t.NewBytes > t.Bytes:
		return "a number of files or bytes that cannot be"
	case t.IndexSize <= 0 || t.IndexSize > maxIndex:
		return "no index has this size"
	case t.Sealed != (t.SealVersion != 0):
		return "a seal and no version of a key, or the other way"
	case len(t.KeyVersions) > keyring.MaxVersions:
		return "more key versions than a key can have"
	case t.KeyVersions != nil && len(t.KeyVersions) == 0 || !ascending(t.KeyVersions):
		return "its key versions do not ascend from 1"
	}
	return ""
}

// utc tells whether a time was written in UTC: then it has one way to be written.
func utc(t time.Time) bool {
	_, offset := t.Zone()
	return offset == 0
}

// ascending tells whether versions of a key are above 0 and each above the one before.
func ascending(versions []uint32) bool {
	var last uint32
	for _, v := range versions {
		if v <= last {
			return false
		}
		last = v
	}
	return true
}

func canonical(b *Backup, data []byte) bool {
	again, err := b.encode()
	return err == nil && bytes.Equal(again, data)
}

func compareIDs(a, b keyring.ID) int { return bytes.Compare(a[:], b[:]) }

// clip keeps a hostile text from filling a message.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

// readers is how many small objects are read beside each other: each waits for the
// network.
const readers = 16

// Backups lists the backups, oldest first. It reads their manifests and no data, and
// needs no key. A manifest that does not parse is not in the list; the error, of which
// there may be one beside a list, says which and why.
func (r *Repository) Backups(ctx context.Context) ([]*Backup, error) {
	names, err := r.backupNames(ctx)
	if err != nil {
		return nil, err
	}
	pins, err := r.pins(ctx)
	if err != nil {
		return nil, err
	}
	list, faults := make([]*Backup, len(names)), make([]error, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, n := range names {
		g.Go(func() error {
			b, err := r.manifest(ctx, n)
			if errors.Is(err, storage.ErrNotFound) {
				return nil // removed meanwhile
			}
			if errors.Is(err, ErrCorruption) {
				faults[i] = err
				return nil
			}
			if err != nil {
				return err
			}
			b.Pinned = pins[n]
			list[i] = b
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(b *Backup) bool { return b == nil })
	slices.SortStableFunc(list, func(a, b *Backup) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Name, b.Name))
	})
	return list, errors.Join(faults...)
}

func (r *Repository) backupNames(ctx context.Context) (names []string, err error) {
	for o, err := range r.st.List(ctx, backupsPrefix) {
		if err != nil {
			return nil, err
		}
		if n := strings.TrimPrefix(o.Name, backupsPrefix); backupName.MatchString(n) {
			names = append(names, n)
		}
	}
	return names, nil
}

func (r *Repository) manifest(ctx context.Context, name string) (*Backup, error) {
	data, err := storage.ReadAll(ctx, r.st, backupsPrefix+name, maxManifest)
	if err != nil {
		return nil, damaged(backupsPrefix+name, err)
	}
	return parseManifest(name, data)
}

// damaged tells what is wrong with an object that cannot be what was put.
func damaged(object string, err error) error {
	for _, class := range []error{storage.ErrTooLarge, storage.ErrNotRegular, storage.ErrDamaged, storage.ErrRange} {
		if errors.Is(err, class) {
			return fmt.Errorf("%w: %w", corrupt.New(corrupt.ErrFormat, object, -1, "%v", class), err)
		}
	}
	return err
}

// Latest is the name by which Find knows the newest backup.
const Latest = "latest"

// Find returns a backup by name, by a beginning of a name that no other has, or the
// newest one for Latest. No name is no backup's: what is to be removed is never guessed.
// The error is ErrNotFound; ErrCorruption where the manifest of the one that is meant does
// not parse.
func (r *Repository) Find(ctx context.Context, name string) (*Backup, error) {
	if name == "" {
		return nil, fmt.Errorf("%w: a backup without a name", ErrNotFound)
	}
	if backupName.MatchString(name) {
		b, err := r.manifest(ctx, name)
		if errors.Is(err, storage.ErrNotFound) {
			return nil, fmt.Errorf("%w: %s in %s", ErrNotFound, name, r.st.Location())
		}
		if err != nil {
			return nil, err
		}
		pins, err := r.pins(ctx)
		if err != nil {
			return nil, err
		}
		b.Pinned = pins[name]
		return b, nil
	}
	list, err := r.Backups(ctx)
	if err != nil && !errors.Is(err, ErrCorruption) {
		return nil, err
	}
	if name == Latest {
		if len(list) == 0 {
			return nil, errors.Join(fmt.Errorf("%w: %s has none", ErrNotFound, r.st.Location()), err)
		}
		if err != nil {
			err = r.newestParses(ctx)
		}
		if err != nil {
			return nil, err
		}
		return list[len(list)-1], nil
	}
	list = slices.DeleteFunc(list, func(b *Backup) bool { return !strings.HasPrefix(b.Name, name) })
	switch len(list) {
	case 0:
		return nil, errors.Join(fmt.Errorf("%w: %s in %s", ErrNotFound, clip(name), r.st.Location()), err)
	case 1:
		return list[0], nil
	}
	return nil, fmt.Errorf("%w: %d backups begin with %s", ErrNotFound, len(list), clip(name))
}

// newestParses finds that the manifest of the newest backup is damaged: the one before it is
// not the newest one, and whoever wants it names it.
func (r *Repository) newestParses(ctx context.Context) error {
	names, err := r.backupNames(ctx)
	if err != nil || len(names) == 0 {
		return err
	}
	_, err = r.manifest(ctx, names[len(names)-1])
	if errors.Is(err, storage.ErrNotFound) {
		return nil // removed meanwhile
	}
	return err
}

func sum(b []byte) digest { return sha256.Sum256(b) }
