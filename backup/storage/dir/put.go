package dir

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"hash"
	"io/fs"
	"os"
	"path"
	"sync"

	"github.com/cofredb/cofre/backup/storage"
)

const bufferLen = 256 << 10

// buffers bound the memory of Puts: one each, while it runs.
var buffers = sync.Pool{New: func() any { return new([bufferLen]byte) }}

// Put makes an object, durably.
func (s *Storage) Put(ctx context.Context, name string, src storage.Source) error {
	return s.fail("put", name, s.put(ctx, name, src, false))
}

// Replace makes an object, durably, in the place of one that may be there.
func (s *Storage) Replace(ctx context.Context, name string, src storage.Source) error {
	return s.fail("replace", name, s.put(ctx, name, src, true))
}

func (s *Storage) put(ctx context.Context, name string, src storage.Source, replace bool) error {
	if err := s.check(ctx, name); err != nil {
		return err
	}
	if err := s.room(name, src, replace); err != nil {
		return err
	}
	temp, f, err := s.createTemp()
	if err != nil {
		return err
	}
	err = s.fill(ctx, f, src, nil)
	return s.finish(ctx, temp, f, name, src.Size(), replace, err)
}

// room makes the folder of a name, and finds that the name is taken before bytes are
// copied in vain.
func (s *Storage) room(name string, src storage.Source, replace bool) error {
	if err := fits(src); err != nil {
		return err
	}
	if err := s.makeFolder(path.Dir(name)); err != nil {
		return err
	}
	if err := s.vacant(name, replace); err != nil {
		return s.taken(name, err)
	}
	return nil
}

func fits(src storage.Source) error {
	if size := src.Size(); size < 0 || size > storage.MaxObject {
		return storage.ErrTooLarge
	}
	return nil
}

var _ storage.Namer = (*Storage)(nil)

// PutNamed makes an object that is named after its bytes, durably. They are hashed on
// their way to the temporary file, which has no need of a name.
func (s *Storage) PutNamed(ctx context.Context, src storage.Source, name func(sum [sha256.Size]byte) string) (sum [sha256.Size]byte, err error) {
	object, sum, err := s.putNamed(ctx, src, name)
	return sum, s.fail("put", object, err)
}

func (s *Storage) putNamed(ctx context.Context, src storage.Source, nameOf func(sum [sha256.Size]byte) string) (name string, sum [sha256.Size]byte, err error) {
	if err := errors.Join(storage.Ended(ctx), fits(src)); err != nil {
		return "", sum, err
	}
	temp, f, err := s.createTemp()
	if err != nil {
		return "", sum, err
	}
	h := sha256.New()
	if err = s.fill(ctx, f, src, h); err == nil {
		h.Sum(sum[:0])
		name = nameOf(sum)
		err = s.check(ctx, name)
	}
	if err == nil {
		err = s.room(name, src, false)
	}
	return name, sum, s.finish(ctx, temp, f, name, src.Size(), false, err)
}

// finish gives a temporary file its name, if err, of what was done to it so far, is nil.
func (s *Storage) finish(ctx context.Context, temp string, f *os.File, name string, size int64, replace bool, err error) error {
	if err == nil {
		err = s.sync(f, size)
	}
	if err == nil {
		err = s.publish(ctx, temp, name, replace)
	}
	if err == nil {
		err = s.syncFolder(path.Dir(name))
	}
	// Closed only now: the lock that it has keeps Clean away. If we crash before
	// the temporary name is removed, Clean removes it; an object stays.
	return s.taken(name, errors.Join(err, f.Close(), s.drop(temp)))
}

// vacant tells whether an object can have the name, or take it.
func (s *Storage) vacant(name string, replace bool) error {
	fi, err := s.root.Lstat(local(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return &notRegularError{fi.Mode()}
	case !replace:
		return fs.ErrExist
	}
	return nil
}

// taken makes sure, where the name of an object was found taken, that it stays
// so: whoever took it may not have synced the folder yet.
func (s *Storage) taken(name string, err error) error {
	if classify(err) != storage.ErrExists {
		return err
	}
	if serr := s.syncFolder(path.Dir(name)); serr != nil {
		return serr
	}
	return storage.ErrExists
}

// createTemp makes a file in the temporary folder and locks it, where the file
// system can, so that Clean sees that it is being written.
func (s *Storage) createTemp() (string, *os.File, error) {
	if err := s.at("create"); err != nil {
		return "", nil, err
	}
	name := tempFolder + "/" + rand.Text()
	f, err := s.root.OpenFile(local(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.root.Mkdir(tempFolder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", nil, err
		}
		f, err = s.root.OpenFile(local(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return "", nil, err
	}
	_, _ = tryLock(f) // where there are no locks, age alone tells
	return name, f, nil
}

// fill copies a source to a file, and to a hash that is not nil.
func (s *Storage) fill(ctx context.Context, f *os.File, src storage.Source, h hash.Hash) error {
	b := buffers.Get().(*[bufferLen]byte)
	defer buffers.Put(b)
	size := src.Size()
	for off := int64(0); off < size; {
		if ctx.Err() != nil {
			return storage.Ended(ctx)
		}
		n := min(bufferLen, size-off)
		if err := storage.ReadFullAt(src, b[:n], off); err != nil {
			return &sourceError{err}
		}
		if err := s.at("write"); err != nil {
			return err
		}
		if h != nil {
			h.Write(b[:n]) // never fails
		}
		if _, err := f.Write(b[:n]); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// sync makes the bytes of a file durable.
func (s *Storage) sync(f *os.File, size int64) error {
	if err := s.at("sync"); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() != size {
		err = errors.Join(storage.ErrDamaged, &storage.SizeError{Size: fi.Size(), Want: size})
	}
	return err
}

// publish gives a temporary file, which is written and synced, its name.
func (s *Storage) publish(ctx context.Context, temp, name string, replace bool) error {
	if err := s.at("publish"); err != nil {
		return err
	}
	if replace {
		return s.root.Rename(local(temp), local(name))
	}
	err := s.link(local(temp), local(name))
	if err == nil || !noLinks(err) {
		return err
	}
	// A rename replaces what is there. The lock keeps others from making it.
	return s.locked(ctx, func() error {
		if err := s.vacant(name, false); err != nil {
			return err
		}
		return s.root.Rename(local(temp), local(name))
	})
}

// drop removes a temporary name that may be gone.
func (s *Storage) drop(temp string) error {
	err := s.root.Remove(local(temp))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
