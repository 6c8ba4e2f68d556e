package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/sstable"
	"github.com/cofredb/cofre/wal"
)

// VerifyOptions say what to verify.
type VerifyOptions struct {
	Backups []string // names that Find knows; nil is all
	// Roots open the lockboxes, so that indexes are authenticated, and with ReadData
	// every seal is opened. Without, only what needs no key is compared.
	Roots []keyring.RootKey
	// ReadData is the share of the data to read, 0 to 1: each object is among it by
	// chance.
	ReadData       float64
	Concurrency    int   // files read at once; 0 is 4
	BytesPerSecond int64 // 0 is unbounded
	// TempDir is where an object lies while its seals are opened, as ciphertext; "" is the
	// system's.
	TempDir  string
	Progress func(Progress)
}

// A VerifyReport says what was verified.
type VerifyReport struct {
	Backups       int      `json:"backups"`
	Tables        int      `json:"tables"`
	Authenticated int      `json:"authenticated"` // of the tables, whose index a key has opened
	Unsealed      int      `json:"unsealed"`      // of the tables, made without a key
	Objects       int      `json:"objects"`
	Bytes         int64    `json:"bytes"` // of the objects
	Read          int      `json:"objects_read"`
	ReadBytes     int64    `json:"bytes_read"`
	Opened        int      `json:"objects_opened"` // whose every seal was opened
	Parts         int      `json:"archive_parts"`  // of archived logs, behind the first of the backups
	Faults        []*Fault `json:"faults,omitempty"`
	// Warnings are what keeps something from being verified and is no fault.
	Warnings []string      `json:"warnings,omitempty"`
	Elapsed  time.Duration `json:"elapsed_ns"`
}

// A Fault is something that is not as it was put, and the backups that need it.
type Fault struct {
	Object  string   `json:"object"`
	Err     error    `json:"-"`
	Message string   `json:"error"`
	Backups []string `json:"backups"`
}

// Verify compares what the repository has with what it should have: manifests with
// indexes, indexes with lockboxes and with the objects that there are, and as many
// objects as asked for with their digests and seals; and in archived logs that lead on from
// the backups it finds that a part is missing or changed. Faults are in the report; the
// error is of what kept Verify from looking. It changes nothing and takes no lock.
func (r *Repository) Verify(ctx context.Context, o VerifyOptions) (*VerifyReport, error) {
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	if o.ReadData < 0 || o.ReadData > 1 {
		return nil, fmt.Errorf("backup: a share of %g of the data, not 0 to 1", o.ReadData)
	}
	v := newVerification(r, o)
	defer v.wipe()
	if err := v.backups(ctx); err != nil {
		return nil, err
	}
	if err := v.present(ctx); err != nil {
		return nil, err
	}
	if err := v.unlisted(ctx); err != nil {
		return nil, err
	}
	if err := v.archive(ctx); err != nil {
		return nil, err
	}
	if o.ReadData > 0 {
		if err := v.read(ctx); err != nil {
			return nil, err
		}
	}
	v.rep.Elapsed = time.Since(v.began)
	return &v.rep, nil
}

type verification struct {
	r     *Repository
	o     VerifyOptions
	began time.Time
	rep   VerifyReport
	keys  map[keyring.ID][]*keyring.TableKeys // by table; a lockbox may lack what another has

	faults  map[string]*Fault // by object and message
	warned  map[string]bool
	objects map[fileKey]*verified
	logs    map[string]uint64 // by line, the first segment that a backup needs
}

func newVerification(r *Repository, o VerifyOptions) *verification {
	return &verification{
		r: r, o: o, began: time.Now(), keys: make(map[keyring.ID][]*keyring.TableKeys), faults: make(map[string]*Fault),
		warned: make(map[string]bool), objects: make(map[fileKey]*verified), logs: make(map[string]uint64),
	}
}

// A verified object is a file that an index names.
type verified struct {
	file    indexFile
	table   keyring.ID
	store   keyring.ID
	sealed  bool
	backups []string
	fault   *Fault
}

func (v *verification) wipe() {
	for _, list := range v.keys {
		for _, k := range list {
			k.Wipe()
		}
	}
}

func (v *verification) fault(object string, err error, backups ...string) *Fault {
	// A repository may have a fault for each of a million objects that somebody made up.
	key := object + "\x00" + err.Error()
	f := v.faults[key]
	if f == nil {
		f = &Fault{Object: object, Err: err, Message: err.Error()}
		v.faults[key] = f
		v.rep.Faults = append(v.rep.Faults, f)
	}
	f.Backups = append(f.Backups, backups...)
	return f
}

// ours tells whether an error is about what the repository holds, and no other's.
func ours(err error) bool { return errors.Is(err, ErrCorruption) || errors.Is(err, ErrNoLockbox) }

func (v *verification) backups(ctx context.Context) error {
	names := v.o.Backups
	if names == nil {
		var err error
		if names, err = v.r.backupNames(ctx); err != nil {
			return err
		}
	}
	for _, n := range names {
		b, err := v.r.Find(ctx, n)
		switch {
		case ours(err):
			v.fault(backupsPrefix+n, err, n)
			continue
		case errors.Is(err, ErrNotFound) && v.o.Backups == nil:
			continue // removed meanwhile
		case err != nil:
			return err
		}
		v.rep.Backups++
		for i := range b.Tables {
			v.rep.Tables++
			err := v.table(ctx, b, &b.Tables[i])
			if ours(err) || errors.Is(err, storage.ErrNotFound) {
				v.fault(indexName(b.Name, b.Tables[i].Table), err, b.Name)
				continue
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// table verifies the index of a table, and collects its objects.
func (v *verification) table(ctx context.Context, b *Backup, e *BackupTable) error {
	if err := v.r.haveLockbox(ctx, e.Table, e.Needed()); errors.Is(err, ErrCorruption) {
		v.fault(lockboxPrefix+e.Table.String(), err, b.Name)
	} else if err != nil {
		return err
	}
	x, err := v.r.readIndex(ctx, b, e)
	if err != nil {
		return err
	}
	keys, err := v.openKeys(ctx, e)
	if err != nil {
		return err
	}
	switch {
	case !x.sealed:
		v.rep.Unsealed++
		v.warn("backup %s: table %s was backed up without its key: what belongs to it is checked when it is restored", b.Name, e.Table)
	case keys != nil:
		if x, err = v.r.openIndex(ctx, b, e, keys); err != nil {
			return err
		}
		v.rep.Authenticated++
	}
	if x.sealed {
		line := lineName(x.table, x.incarnation)
		if n, ok := v.logs[line]; !ok || x.newestLog() < n {
			v.logs[line] = x.newestLog()
		}
	}
	for _, f := range x.files {
		if f.empty() {
			continue
		}
		o := v.objects[f.key()]
		if o == nil {
			o = &verified{file: f, table: x.table, store: x.store, sealed: x.sealed}
			v.objects[f.key()] = o
		} else if x.sealed && (!o.sealed || len(o.file.keys) == 0) {
			o.file, o.sealed = f, true
		}
		o.backups = append(o.backups, b.Name)
	}
	return nil
}

// keysWith are keys of a table, of those that are open, that have some versions; nil where
// none has all of them.
func (v *verification) keysWith(table keyring.ID, versions []uint32) *keyring.TableKeys {
	for _, k := range v.keys[table] {
		if k.Holds(versions) {
			return k
		}
	}
	return nil
}

// openKeys opens the keys of a table, once; nil where there is no root key to do it.
func (v *verification) openKeys(ctx context.Context, e *BackupTable) (*keyring.TableKeys, error) {
	if len(v.o.Roots) == 0 {
		return nil, nil
	}
	if k := v.keysWith(e.Table, e.Needed()); k != nil {
		return k, nil
	}
	keys, err := v.r.Keys(ctx, e.Table, e.Needed(), v.o.Roots)
	if err != nil && !errors.Is(err, ErrCorruption) && errors.Is(err, ErrNoLockbox) {
		v.warn("table %s: %v", e.Table, err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v.keys[e.Table] = append(v.keys[e.Table], keys)
	return keys, nil
}

func (v *verification) warn(format string, args ...any) {
	w := fmt.Sprintf(format, args...)
	if !v.warned[w] {
		v.warned[w] = true
		v.rep.Warnings = append(v.rep.Warnings, w)
	}
}

// present looks which objects there are.
func (v *verification) present(ctx context.Context) error {
	missing := make(map[fileKey]bool, len(v.objects))
	for k, o := range v.objects {
		missing[k] = true
		v.rep.Objects++
		v.rep.Bytes += o.file.size
	}
	for info, err := range v.r.st.List(ctx, dataPrefix) {
		if err != nil {
			return err
		}
		k, ok := parseObject(info.Name)
		o := v.objects[k]
		if !ok || o == nil {
			continue
		}
		delete(missing, k)
		if info.Size != o.file.size {
			o.fault = v.fault(info.Name, corrupt.New(corrupt.ErrMissing, info.Name, -1, "has %d bytes, the index says %d", info.Size, o.file.size), o.backups...)
		}
	}
	for k := range missing {
		o := v.objects[k]
		o.fault = v.fault(k.object(), corrupt.New(corrupt.ErrMissing, k.object(), -1, "an index names it"), o.backups...)
	}
	return nil
}

// unlisted warns of indexes without a manifest.
func (v *verification) unlisted(ctx context.Context) error {
	if v.o.Backups != nil {
		return nil
	}
	names, err := v.r.backupNames(ctx)
	if err != nil {
		return err
	}
	last := ""
	for o, err := range v.r.st.List(ctx, indexPrefix) {
		if err != nil {
			return err
		}
		backup, _, _ := strings.Cut(strings.TrimPrefix(o.Name, indexPrefix), "/")
		if _, listed := slices.BinarySearch(names, backup); !listed && backup != last {
			v.warn("backup %s has an index and no manifest: it was not finished, or is being made, or somebody took it away", backup)
		}
		last = backup
	}
	return nil
}

// archive looks for holes in the archived logs that lead on from the backups, and compares
// parts with their digests. Whether one segment follows another is sealed in them, and found
// by a restore.
func (v *verification) archive(ctx context.Context) error {
	for line, first := range v.logs {
		parts, err := v.r.parts(ctx, line)
		if err != nil {
			return err
		}
		parts = slices.DeleteFunc(parts, func(p part) bool { return p.number < first })
		v.rep.Parts += len(parts)
		for _, s := range segmentsOf(slices.Clone(parts)) {
			if s.hole {
				name := line + segmentNumber(s.number)
				v.fault(name, corrupt.New(corrupt.ErrMissing, name, -1, "a part of the segment is missing, and others behind it are there"))
			}
		}
		for _, p := range parts {
			if v.o.ReadData < 1 && rand.Float64() >= v.o.ReadData {
				continue
			}
			_, _, err := v.r.readPart(ctx, p)
			if errors.Is(err, ErrCorruption) {
				v.fault(p.object(), err)
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// read reads objects whole.
func (v *verification) read(ctx context.Context) error {
	m := newMeter("read", v.o.Progress, v.o.BytesPerSecond)
	var chosen []*verified
	for _, o := range v.objects {
		if o.fault == nil && (v.o.ReadData >= 1 || rand.Float64() < v.o.ReadData) {
			chosen = append(chosen, o)
			m.change(func(p *Progress) { p.Files++; p.Bytes += o.file.size })
		}
	}
	faults := make([]error, len(chosen))
	opened := make([]bool, len(chosen))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(v.o.Concurrency)
	for i, o := range chosen {
		g.Go(func() error {
			var err error
			opened[i], err = v.object(ctx, o, m)
			m.change(func(p *Progress) { p.Done++ })
			if errors.Is(err, ErrCorruption) || errors.Is(err, storage.ErrNotFound) {
				faults[i] = err
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	m.end()
	for i, o := range chosen {
		v.rep.Read++
		v.rep.ReadBytes += o.file.size
		if opened[i] {
			v.rep.Opened++
		}
		if faults[i] != nil {
			v.fault(o.file.key().object(), faults[i], o.backups...)
		}
	}
	return nil
}

// object reads an object: its digest, and where there is a key every seal.
func (v *verification) object(ctx context.Context, o *verified, m *meter) (opened bool, err error) {
	name := o.file.key().object()
	// An index that no key has opened names no data keys.
	keys := v.keysWith(o.table, versionsOf(o.file.keys))
	if !o.sealed || keys == nil || len(o.file.keys) == 0 || o.file.name == overlayName {
		got, err := v.r.digest(ctx, name, func(n int) error { return m.moved(ctx, n) })
		if err == nil && got != o.file.digest {
			err = corrupt.New(corrupt.ErrAuth, name, -1, "its SHA-256 is %s, the index says %s", got, o.file.digest)
		}
		return false, damaged(name, err)
	}
	f, err := newScratch(v.o.TempDir)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	in, err := v.r.st.Get(ctx, name, 0, o.file.size)
	if err != nil {
		return false, damaged(name, err)
	}
	h := sha256.New()
	err = errors.Join(damaged(name, pour(ctx, f, io.TeeReader(in, h), m)), in.Close())
	if err != nil {
		return false, err
	}
	if got := digest(h.Sum(nil)); got != o.file.digest {
		return false, corrupt.New(corrupt.ErrAuth, name, -1, "its SHA-256 is %s, the index says %s", got, o.file.digest)
	}
	return true, v.open(f.File, name, o, keys)
}

// open opens every seal of a file.
func (v *verification) open(f *os.File, name string, o *verified, keys *keyring.TableKeys) error {
	buf := make([]byte, min(o.file.size, keyring.HeaderLen))
	if _, err := f.ReadAt(buf, 0); err != nil {
		return err
	}
	h, err := keyring.ParseHeader(buf)
	if err != nil {
		return corrupt.At(name, err)
	}
	if id := h.Identity; id.FileID != o.file.id {
		return corrupt.New(corrupt.ErrForeign, name, 48, "is file %s", id.FileID)
	}
	wraps := make(map[keyring.ID]keyring.WrappedDataKey)
	for _, k := range o.file.keys {
		wraps[k.File] = k
	}
	dataKey := func(id keyring.ID, version uint32, wrapped []byte) (*keyring.Secret, error) {
		if w, ok := wraps[id]; ok {
			version, wrapped = w.Version, w.Wrapped[:]
		}
		return keys.DataKey(id, version, wrapped)
	}
	key, err := dataKey(h.Identity.FileID, h.KeyVersion, h.WrappedKey[:])
	if err != nil {
		return corrupt.At(name, err)
	}
	defer key.Wipe()
	file := unclosed{f}
	if h.Identity.Kind.Random() {
		s, err := sstable.NewReader(file, o.file.size, h, key, sstable.Options{Path: name, Suite: v.r.opts.suite})
		if err != nil {
			return err
		}
		defer s.Close()
		var first error
		_, err = s.Verify(func(_ int64, err error) bool { first = err; return false })
		return errors.Join(first, err)
	}
	l, err := wal.NewReader(file, o.file.size, h, key, wal.ReaderOptions{Options: wal.Options{Path: name, Suite: v.r.opts.suite}, Key: dataKey})
	if err != nil {
		return err
	}
	defer l.Close()
	for {
		if _, err := l.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// unclosed is a file whose owner closes it.
type unclosed struct{ *os.File }

func (unclosed) Close() error { return nil }
