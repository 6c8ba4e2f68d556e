package engine

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/keyring"
)

// restoringDir is where the files of a table lie that is being restored.
const restoringDir = "restoring"

// partSuffix marks a file that is not whole.
const partSuffix = ".part"

// A Stage is a directory of the store for the files that a table is to be restored
// from. It survives a crash and the end of the process, so that what was fetched need
// not be fetched again, until Discard or a restore that succeeds. One at a time has it
// open, until Close; calls for different files may be made beside each other.
type Stage struct {
	store   *Store
	dir     string
	closing sync.Once
}

// ErrStageBusy: the stage is open already; the same is being restored.
var ErrStageBusy = errors.New("the stage is in use by another restore")

// Stage opens the stage with an id that the caller derives from what he restores, or
// makes it. Errors: ErrReadOnly, ErrClosed, ErrStageBusy.
func (s *Store) Stage(id keyring.ID) (*Stage, error) {
	switch {
	case s.opts.Mode == ReadOnly:
		return nil, ErrReadOnly
	case s.isClosed():
		return nil, ErrClosed
	}
	for _, d := range []string{s.path(restoringDir), s.path(restoringDir, id.String())} {
		if err := s.checkDir(d); err != nil {
			return nil, err
		}
	}
	g := &Stage{store: s, dir: s.path(restoringDir, id.String())}
	if _, busy := s.stages.LoadOrStore(g.dir, true); busy {
		return nil, fmt.Errorf("%w: %s", ErrStageBusy, id)
	}
	if err := s.mkdir(g.dir); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Close lets another open the stage. What is in it stays. It is idempotent.
func (g *Stage) Close() { g.closing.Do(func() { g.store.stages.Delete(g.dir) }) }

// Stages lists the stages that were not discarded.
func (s *Store) Stages() ([]keyring.ID, error) {
	names, err := s.fs.List(s.path(restoringDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var ids []keyring.ID
	for _, n := range names {
		if id, err := keyring.ParseID(n); err == nil {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (g *Stage) path(name string) (string, error) {
	if name == "" || strings.ContainsAny(name, "/\\") || strings.HasPrefix(name, ".") && strings.Trim(name, ".") == "" {
		return "", fmt.Errorf("engine: %q names no file of a stage", clip(name))
	}
	return g.store.fs.PathJoin(g.dir, name), nil
}

// Open opens a whole file; os.ErrNotExist where it is not there.
func (g *Stage) Open(name string) (vfs.File, error) {
	path, err := g.path(name)
	if err != nil {
		return nil, err
	}
	fi, err := lstat(g.store.fs, path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is a %s, not a regular file", g.store.rel(path), fi.Mode().Type())
	}
	return g.store.fs.Open(path)
}

// Put makes a file out of what write writes, and has the disk begin with it. It is
// durable when the table is restored, and not before: RestoreTable syncs each file that
// it takes over, with the wrap of its data key, and seals the others anew. A second sync
// here would double what a restore waits for. If the machine stops before, the file may
// be there and have other bytes: who goes on with a stage compares them. If write fails
// there is no such file.
func (g *Stage) Put(name string, write func(vfs.File) error) error {
	path, err := g.path(name)
	if err != nil {
		return err
	}
	fs := g.store.fs
	f, err := fs.Create(path+partSuffix, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		return errors.Join(err, f.Close(), fs.Remove(path+partSuffix))
	}
	if err := errors.Join(begin(f), f.Close()); err != nil {
		return errors.Join(err, fs.Remove(path+partSuffix))
	}
	return fs.Rename(path+partSuffix, path)
}

// begin has the disk write a file while we go on.
func begin(f vfs.File) error {
	fi, err := f.Stat()
	if err == nil {
		_, err = f.SyncTo(fi.Size())
	}
	return err
}

// Keep removes all files but those named.
func (g *Stage) Keep(names map[string]bool) error {
	have, err := g.store.fs.List(g.dir)
	if err != nil {
		return err
	}
	for _, n := range have {
		if !names[n] {
			if err := g.store.fs.RemoveAll(g.store.fs.PathJoin(g.dir, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Discard removes the stage with all that is in it, and closes it.
func (g *Stage) Discard() error {
	defer g.Close()
	if err := g.store.fs.RemoveAll(g.dir); err != nil {
		return err
	}
	parent := g.store.path(restoringDir)
	if names, err := g.store.fs.List(parent); err == nil && len(names) == 0 {
		return g.store.fs.Remove(parent)
	}
	return nil
}
