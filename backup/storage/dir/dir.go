package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"

	"github.com/cofredb/cofre/backup/storage"
)

const (
	tempFolder = "tmp~"
	lockFile   = "lock~"
)

// Options say how a directory is opened.
type Options struct {
	// Create makes the directory, and those above it, where they are missing.
	Create bool
}

// A Storage is a directory. It implements [storage.Storage].
type Storage struct {
	location string
	root     *os.Root
	turn     chan struct{} // holds a token while a goroutine has, or wants, the lock file

	mu     sync.Mutex
	synced map[string]bool        // folders whose names are known to be durable; guarded by mu
	syncs  map[string]*folderSync // the last of each folder; guarded by mu

	link func(old, new string) error // of root
	// step is told what comes next and may fail it; nil outside tests.
	step func(string) error
}

var _ storage.Storage = (*Storage)(nil)

// Open opens a directory. It fails with [storage.ErrNotFound] where there is
// none and Create is not set, with [storage.ErrLocation] where something else
// has its name, with [storage.ErrDenied], or with [storage.ErrFull].
func Open(name string, o Options) (*Storage, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, &storage.Error{Op: "open", Location: name, Class: storage.ErrLocation, Err: err}
	}
	s := &Storage{location: abs, turn: make(chan struct{}, 1), synced: map[string]bool{}, syncs: map[string]*folderSync{}}
	if fi, err := os.Stat(abs); err == nil && !fi.IsDir() {
		return nil, &storage.Error{Op: "open", Location: abs, Class: storage.ErrLocation, Err: errors.New("it is no directory")}
	}
	if o.Create {
		if err := makeAll(abs); err != nil {
			return nil, s.fail("open", "", err)
		}
	}
	if s.root, err = os.OpenRoot(abs); err != nil {
		return nil, s.fail("open", "", err)
	}
	s.link = s.root.Link
	return s, nil
}

// makeAll makes a directory and those above it that are missing, and makes
// their names durable.
func makeAll(dir string) error {
	var parents []string // each gets a new entry
	for p := dir; ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) || filepath.Dir(p) == p {
			break
		}
		parents = append(parents, filepath.Dir(p))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, p := range parents {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		if err := errors.Join(syncFolder(f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Location is the directory's absolute path.
func (s *Storage) Location() string { return s.location }

// Close closes the directory. Readers that are open stay usable.
func (s *Storage) Close() error { return s.root.Close() }

// Stat returns what is known of an object.
func (s *Storage) Stat(ctx context.Context, name string) (storage.Info, error) {
	fi, err := s.lookup(ctx, name)
	if err != nil {
		return storage.Info{}, s.fail("stat", name, err)
	}
	return info(name, fi), nil
}

// Delete removes an object, durably.
func (s *Storage) Delete(ctx context.Context, name string) error {
	_, err := s.lookup(ctx, name)
	if err == nil {
		err = s.at("remove")
	}
	if err == nil {
		err = s.root.Remove(local(name))
	}
	// Another's removal need not be durable yet.
	if err == nil || absent(err) {
		err = s.syncFolder(path.Dir(name))
	}
	if absent(err) {
		return nil
	}
	return s.fail("delete", name, err)
}

// lookup finds an object's file and refuses what is none.
func (s *Storage) lookup(ctx context.Context, name string) (fs.FileInfo, error) {
	if err := s.check(ctx, name); err != nil {
		return nil, err
	}
	fi, err := s.root.Lstat(local(name))
	switch {
	case err == nil && !fi.Mode().IsRegular():
		return nil, &notRegularError{fi.Mode()}
	case err == nil:
		return fi, nil
	case absent(err):
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return nil, errors.Join(s.straight(path.Dir(name)), err)
}

// straight tells whether a folder is reached without links, which may lead out
// of the directory.
func (s *Storage) straight(folder string) error {
	if folder == "." {
		return nil
	}
	if err := s.straight(path.Dir(folder)); err != nil {
		return err
	}
	fi, err := s.root.Lstat(local(folder))
	if err == nil && !fi.IsDir() {
		err = &notRegularError{fi.Mode()}
	}
	return err
}

func (s *Storage) check(ctx context.Context, name string) error {
	if err := storage.Ended(ctx); err != nil {
		return err
	}
	return storage.CheckName(name)
}

func (s *Storage) at(step string) error {
	if s.step == nil {
		return nil
	}
	return s.step(step)
}

// A folderSync is a sync of a folder. Who comes before it has begun waits for it, and
// needs none of his own.
type folderSync struct {
	begun bool // guarded by Storage.mu
	done  chan struct{}
	err   error // set before done is closed
}

// syncFolder makes durable which names a folder has. Of several callers that wait for a
// sync that runs, one syncs for all.
func (s *Storage) syncFolder(folder string) error {
	s.mu.Lock()
	last := s.syncs[folder]
	if last != nil && !last.begun {
		s.mu.Unlock()
		<-last.done
		return last.err
	}
	this := &folderSync{done: make(chan struct{})}
	s.syncs[folder] = this
	s.mu.Unlock()
	if last != nil {
		<-last.done
	}
	s.mu.Lock()
	this.begun = true // what is changed from here on may come too late for it
	s.mu.Unlock()
	this.err = s.syncFolderNow(folder)
	s.mu.Lock()
	if s.syncs[folder] == this {
		delete(s.syncs, folder)
	}
	s.mu.Unlock()
	close(this.done)
	return this.err
}

func (s *Storage) syncFolderNow(folder string) error {
	if err := s.at("sync folder"); err != nil {
		return err
	}
	f, err := s.root.Open(local(folder))
	if err != nil {
		return err
	}
	return errors.Join(syncFolder(f), f.Close())
}

// makeFolder makes a folder and those above it. A folder that is there may be
// another process's, which has not synced it yet: so each is synced once by
// each Storage.
func (s *Storage) makeFolder(folder string) error {
	if folder == "." {
		return nil
	}
	s.mu.Lock()
	done := s.synced[folder]
	s.mu.Unlock()
	if done {
		return nil
	}
	if err := s.makeFolder(path.Dir(folder)); err != nil {
		return err
	}
	if err := s.root.Mkdir(local(folder), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	fi, err := s.root.Lstat(local(folder))
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return &notRegularError{fi.Mode()}
	}
	if err := s.syncFolder(path.Dir(folder)); err != nil {
		return err
	}
	s.mu.Lock()
	s.synced[folder] = true
	s.mu.Unlock()
	return nil
}

func info(name string, fi fs.FileInfo) storage.Info {
	return storage.Info{Name: name, Size: fi.Size(), Modified: fi.ModTime()}
}

// local is an object's name as the system writes it.
func local(name string) string { return filepath.FromSlash(name) }
