package sealfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// An Adopter wraps data keys of another table's files for its own; a
// *keyring.TableKeys is one.
type Adopter interface {
	Adopt(file keyring.ID, key *keyring.Secret) (keyring.WrappedDataKey, error)
}

// adopters is how many files are adopted beside each other: each waits for the disk.
const adopters = 8

// Adopt fills the empty directory at path out of one of another table, at from, which
// Preflight has passed in other: it takes over what the file map there names. Sorted
// files are moved, with nothing changed but the wrap of their data key, which lies
// outside of their identity. MANIFEST and logs are sealed anew, for wraps of the other
// table's key lie inside of them; OPTIONS stay behind. What is left at from has no use.
//
// It is durable when it returns. The other table must be among the Origins of fs.
// Errors are *corrupt.Error where a file is missing or does not open, and those of the
// file system.
func (fs *FS) Adopt(ctx context.Context, path string, other *FS, from string, keys Adopter) error {
	d, od := fs.dir(path), other.dir(from)
	od.mu.Lock()
	files := sortedEntries(od.files)
	logs := slices.Sorted(maps.Keys(od.expect))
	markers := maps.Clone(od.markers)
	od.mu.Unlock()
	if err := fs.adoptTables(ctx, path, other, from, files, keys); err != nil {
		return err
	}
	for _, e := range files {
		d.finish(e)
	}
	manifest := markers[markerManifest].value
	if err := fs.adoptLog(path, other, from, manifest); err != nil {
		return err
	}
	for _, m := range markers {
		f, err := fs.Create(fs.PathJoin(path, fmt.Sprintf("marker.%s.%06d.%s", m.name, m.iter, m.value)), vfs.WriteCategoryUnspecified)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return err
		}
	}
	if err := fs.syncDir(path); err != nil {
		return err
	}
	for _, n := range logs {
		if err := fs.adoptLog(path, other, from, fileName{class: classLog, number: n}.String()); err != nil {
			return err
		}
	}
	return fs.syncDir(path)
}

func (fs *FS) adoptTables(ctx context.Context, path string, other *FS, from string, files []fileEntry, keys Adopter) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error // guarded by mu
	)
	next := make(chan fileEntry)
	for range adopters {
		wg.Go(func() {
			for e := range next {
				if err := fs.adoptTable(path, other, from, e, keys); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, e := range files {
		mu.Lock()
		stop := len(errs) > 0 || ctx.Err() != nil
		mu.Unlock()
		if stop {
			break
		}
		next <- e
	}
	close(next)
	wg.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

func (fs *FS) adoptTable(path string, other *FS, from string, e fileEntry, keys Adopter) error {
	fn := fileName{class: classTable, kind: e.kind, number: e.number}
	name := other.PathJoin(from, fn.String())
	o, err := other.open(name, fn)
	if err != nil {
		return err
	}
	key, id := o.key, o.header.Identity.FileID
	defer key.Wipe()
	if err := o.file.Close(); err != nil {
		return err
	}
	if id != e.fileID {
		return corrupt.New(corrupt.ErrForeign, other.rel(name), 48, "is file %s, the file map names %s", id, e.fileID)
	}
	w, err := keys.Adopt(e.fileID, key)
	if err != nil {
		return err
	}
	f, err := other.cfg.Base.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(keyring.EncodeWrap(w), keyring.WrapOffset)
	if err = errors.Join(err, f.SyncData(), f.Close()); err != nil {
		return err
	}
	return fs.cfg.Base.Rename(name, fs.PathJoin(path, fn.String()))
}

// adoptLog seals a log or MANIFEST anew.
func (fs *FS) adoptLog(path string, other *FS, from, base string) error {
	in, err := other.Open(other.PathJoin(from, base))
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := fs.Create(fs.PathJoin(path, base), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	defer clear(buf)
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, buf)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// Complete finds that a sorted file is missing which the file map of a directory names
// that Preflight has passed. Pebble would find it later, in one that it opens.
func (fs *FS) Complete(path string) error {
	names, err := fs.List(path)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(names))
	for _, n := range names {
		there[n] = true
	}
	d := fs.dir(path)
	d.mu.Lock()
	files := sortedEntries(d.files)
	d.mu.Unlock()
	for _, e := range files {
		if n := (fileName{class: classTable, kind: e.kind, number: e.number}).String(); !there[n] {
			return corrupt.New(corrupt.ErrMissing, fs.rel(fs.PathJoin(path, n)), -1, "the file map names it")
		}
	}
	return nil
}

// VerifyAll reads and opens every byte of the files in a directory that Preflight has
// passed, and returns the first faults.
func (fs *FS) VerifyAll(ctx context.Context, path string) error {
	names, err := fs.List(path)
	if err != nil {
		return err
	}
	var faults []error
	for _, n := range names {
		if strings.HasPrefix(n, tailPrefix) {
			continue
		}
		fs.VerifyFile(fs.PathJoin(path, n), func(err error) {
			if len(faults) < 16 {
				faults = append(faults, err)
			}
		})
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return errors.Join(faults...)
}
