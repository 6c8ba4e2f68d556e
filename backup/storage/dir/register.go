package dir

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cofredb/cofre/backup/storage"
)

// Load reads a register.
func (s *Storage) Load(ctx context.Context, name string) ([]byte, storage.Version, error) {
	b, err := s.load(ctx, name)
	if err != nil {
		return nil, "", s.fail("load", name, err)
	}
	return b, version(b), nil
}

func (s *Storage) load(ctx context.Context, name string) ([]byte, error) {
	f, size, err := s.open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > storage.MaxRegister {
		return nil, storage.ErrTooLarge
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, errors.Join(storage.ErrRange, err)
	}
	return b, nil
}

// version is a register's version: its contents' hash.
func version(b []byte) storage.Version {
	sum := sha256.Sum256(b)
	return storage.Version(hex.EncodeToString(sum[:]))
}

// Swap changes a register while it holds the lock of the directory, which the
// system lets go when the process ends.
func (s *Storage) Swap(ctx context.Context, name string, old storage.Version, content []byte) (storage.Version, error) {
	content = bytes.Clone(content) // what is hashed and what is written are one
	err := s.check(ctx, name)
	if err == nil && len(content) > storage.MaxRegister {
		err = storage.ErrTooLarge
	}
	if err == nil {
		err = s.locked(ctx, func() error {
			have, err := s.load(ctx, name)
			switch {
			case absent(err) && old == storage.NoVersion:
			case absent(err), err == nil && version(have) != old:
				return storage.ErrConflict
			case err != nil:
				return err
			}
			return s.put(ctx, name, storage.Bytes(content), true)
		})
	}
	if err != nil {
		return "", s.fail("swap", name, err)
	}
	return version(content), nil
}

// Bounds of the wait between two tries to get the lock. It is held for as long
// as one small file is written.
const (
	minWait = time.Millisecond
	maxWait = 50 * time.Millisecond
)

// locked runs f while no other process or goroutine runs it on the same
// directory. The lock file stays: removing it would let two holders in.
func (s *Storage) locked(ctx context.Context, f func() error) (err error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return storage.Ended(ctx)
	}
	file, err := s.openLock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for wait := minWait; ; wait = min(2*wait, maxWait) {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return storage.Ended(ctx)
		}
		switch free, err := tryLock(file); {
		case errors.Is(err, errors.ErrUnsupported):
			return fmt.Errorf("%w: locks of files: %w", storage.ErrUnsupported, err)
		case err != nil:
			return err
		case free:
			return f()
		}
		timer.Reset(wait)
	}
}

// openLock opens the lock file, and no FIFO or link in its place.
func (s *Storage) openLock() (*os.File, error) {
	if before, err := s.root.Lstat(lockFile); err == nil && !before.Mode().IsRegular() {
		return nil, &notRegularError{before.Mode()}
	}
	f, err := s.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE|openFlags, 0o600)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil {
		var at os.FileInfo
		if at, err = s.root.Lstat(lockFile); err == nil && !(fi.Mode().IsRegular() && os.SameFile(at, fi)) {
			err = &notRegularError{at.Mode()}
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
