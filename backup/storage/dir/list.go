package dir

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cofredb/cofre/backup/storage"
)

// List yields the objects whose names begin with prefix. It holds the names of
// one folder, and of those above it, in memory. A link, FIFO or device under
// a name that an object can have is [storage.ErrNotRegular].
func (s *Storage) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		err := storage.CheckPrefix(prefix)
		if err == nil {
			err = s.walk(ctx, path.Dir(prefix+"x"), prefix, func(i storage.Info) bool { return yield(i, nil) })
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(storage.Info{}, s.fail("list", prefix, err))
		}
	}
}

// errStop says that the caller wants no more.
var errStop = errors.New("stop")

// walk yields what lies below folder and has the prefix.
func (s *Storage) walk(ctx context.Context, folder, prefix string, yield func(storage.Info) bool) error {
	entries, err := s.readFolder(ctx, folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.name()
		if folder != "." {
			name = folder + "/" + name
		}
		if !strings.HasPrefix(name, prefix) && !strings.HasPrefix(prefix, name+"/") || storage.CheckName(name) != nil {
			continue
		}
		if e.IsDir() {
			if err := s.walk(ctx, name, prefix, yield); err != nil {
				return err
			}
			continue
		}
		if ctx.Err() != nil {
			return storage.Ended(ctx)
		}
		fi, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted since
			continue
		case err != nil:
			return err
		case !fi.Mode().IsRegular():
			return errors.Join(&notRegularError{fi.Mode()}, errors.New(name))
		case !yield(info(name, fi)):
			return errStop
		}
	}
	return nil
}

type entry struct{ fs.DirEntry }

func (e entry) name() string { return e.Name() }

// key is what the entry's names begin with in the order of whole names: "a-b"
// comes before "a/b", though "a" comes before "a-b".
func (e entry) key() string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

func (s *Storage) readFolder(ctx context.Context, folder string) ([]entry, error) {
	if ctx.Err() != nil {
		return nil, storage.Ended(ctx)
	}
	fi, err := s.root.Lstat(local(folder))
	switch {
	case absent(err) && folder != ".":
		return nil, nil
	case err != nil:
		return nil, err
	case !fi.IsDir() && fi.Mode().IsRegular():
		return nil, nil // an object, below which nothing lies
	case !fi.IsDir():
		return nil, &notRegularError{fi.Mode()}
	}
	f, err := s.root.OpenFile(local(folder), openFlags, 0)
	if err != nil {
		return nil, err
	}
	list, err := f.ReadDir(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	entries := make([]entry, len(list))
	for i, e := range list {
		entries[i] = entry{e}
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.key(), b.key()) })
	return entries, nil
}

// Clean removes temporary files that have not been written to for age, and
// that no process has locked.
func (s *Storage) Clean(ctx context.Context, age time.Duration) (storage.Cleaned, error) {
	cleaned, err := s.clean(ctx, age)
	return cleaned, s.fail("clean", "", err)
}

func (s *Storage) clean(ctx context.Context, age time.Duration) (cleaned storage.Cleaned, err error) {
	if err := s.check(ctx, "x"); err != nil {
		return cleaned, err
	}
	entries, err := s.readFolder(ctx, tempFolder)
	if err != nil {
		return cleaned, err
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return cleaned, storage.Ended(ctx)
		}
		name := tempFolder + "/" + e.Name()
		size, err := s.dead(name, age)
		if err == nil && size >= 0 {
			err = s.root.Remove(local(name))
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return cleaned, err
		case size >= 0:
			cleaned.Files++
			cleaned.Bytes += size
		}
	}
	return cleaned, nil
}

// dead returns the size of a temporary file that nobody writes, or -1. What is
// no regular file is left alone: no Put has made it.
func (s *Storage) dead(name string, age time.Duration) (int64, error) {
	fi, err := s.root.Lstat(local(name))
	if err != nil {
		return 0, err
	}
	if !fi.Mode().IsRegular() || time.Since(fi.ModTime()) < age {
		return -1, nil
	}
	f, err := s.root.OpenFile(local(name), openFlags, 0)
	if err != nil {
		return 0, err
	}
	free, err := tryLock(f)
	if errors.Is(err, errors.ErrUnsupported) {
		free, err = true, nil // age alone tells
	}
	if err = errors.Join(err, f.Close()); err != nil || !free {
		return -1, err
	}
	return fi.Size(), nil
}
