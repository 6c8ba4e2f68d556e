package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/keyring"
)

// Options of a Service. The zero value is ready for use.
type Options struct {
	// MustExist fails Open where there is no file. Otherwise the first key
	// makes it.
	MustExist bool
	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

// A Service is a key-service file. It is safe for concurrent use by
// goroutines and processes.
type Service struct {
	path  string
	now   func() time.Time
	suite aead.Suite // nil outside tests

	mu     sync.Mutex // guards what follows
	cached *keyFile
	print  *fingerprint // of cached
	closed bool
}

// A KeyInfo describes a key of the service.
type KeyInfo struct {
	Name      string
	URI       string
	State     keyring.State
	CreatedAt time.Time
	Versions  []keyring.VersionInfo // ascending
}

// DefaultPath is where root keys lie unless the user says otherwise:
// cofre/keys.cofre in the user's configuration directory.
func DefaultPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "cofre", "keys.cofre"), nil
}

// Open opens the service in the file at path, and reads the file where it
// exists. It makes nothing. Errors are *PermissionError, *corrupt.Error where
// the file is not what this package wrote, and those of the file system:
// keyring.ErrKeyNotFound with MustExist, keyring.ErrKeyDenied where the file
// may not be read, keyring.ErrKeyUnreachable.
func Open(path string, opts Options) (*Service, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	s := &Service{path: abs, now: opts.Now}
	if s.now == nil {
		s.now = time.Now
	}
	if err := s.view(func(*keyFile) error { return nil }); err != nil {
		if opts.MustExist || !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return s, nil
}

// Path is the absolute path of the file.
func (s *Service) Path() string { return s.path }

// CreateKey makes a key with one version. The file is durable when it
// returns. Errors are ErrKeyExists, ErrName, and those of a change.
func (s *Service) CreateKey(ctx context.Context, name string) (*Key, error) {
	key, created, err := s.Ensure(ctx, name)
	if err == nil && !created {
		return nil, fmt.Errorf("%w: %q", ErrKeyExists, name)
	}
	return key, err
}

// Ensure returns the key of a name, and makes it on first use.
func (s *Service) Ensure(ctx context.Context, name string) (key *Key, created bool, err error) {
	if !validName(name) {
		return nil, false, fmt.Errorf("%w: %q", ErrName, name)
	}
	if key, err := s.Key(name); err == nil || !errors.Is(err, keyring.ErrKeyNotFound) {
		return key, false, err
	}
	err = s.change(ctx, func(f *keyFile) (bool, error) {
		if _, ok := f.key(name); ok {
			return false, nil
		}
		if len(f.keys) >= maxKeys {
			return false, &keyring.LimitError{What: "root keys", Len: len(f.keys) + 1, Max: maxKeys}
		}
		now := s.clock()
		f.add(&rootKey{
			name: name, id: keyring.NewID(), state: keyring.StateEnabled, createdAt: now,
			versions: []version{{number: 1, createdAt: now, key: keyring.RandomSecret()}},
		})
		created = true
		return true, nil
	})
	if err != nil {
		return nil, false, err
	}
	return &Key{s: s, name: name}, created, nil
}

// Key returns the key of a name, or keyring.ErrKeyNotFound.
func (s *Service) Key(name string) (*Key, error) {
	err := s.view(func(f *keyFile) error {
		_, err := f.named(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Key{s: s, name: name}, nil
}

func (f *keyFile) named(name string) (*rootKey, error) {
	k, ok := f.key(name)
	if !ok {
		return nil, fmt.Errorf("%w: no key is named %q", keyring.ErrKeyNotFound, name)
	}
	return k, nil
}

// List describes the keys, sorted by name. Where there is no file there are
// none.
func (s *Service) List() ([]KeyInfo, error) {
	var infos []KeyInfo
	err := s.view(func(f *keyFile) error {
		for _, k := range f.keys {
			infos = append(infos, KeyInfo{Name: k.name, URI: uri(k.name), State: k.state, CreatedAt: k.createdAt, Versions: k.infos()})
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return infos, err
}

// Disable makes every use of a key fail with keyring.ErrKeyDenied.
func (s *Service) Disable(ctx context.Context, name string) error {
	return s.setState(ctx, name, keyring.StateDisabled)
}

// Enable takes back Disable and ScheduleDeletion.
func (s *Service) Enable(ctx context.Context, name string) error {
	return s.setState(ctx, name, keyring.StateEnabled)
}

// ScheduleDeletion marks a key for deletion: it is denied like a disabled one.
func (s *Service) ScheduleDeletion(ctx context.Context, name string) error {
	return s.setState(ctx, name, keyring.StatePendingDeletion)
}

func (s *Service) setState(ctx context.Context, name string, state keyring.State) error {
	return s.change(ctx, func(f *keyFile) (bool, error) {
		k, err := f.named(name)
		if err != nil || k.state == state {
			return false, err
		}
		k.state = state
		return true, nil
	})
}

// Rotate adds a version to a key, and returns its number. New wraps use it;
// what older versions have wrapped still unwraps.
func (s *Service) Rotate(ctx context.Context, name string) (number uint32, err error) {
	err = s.change(ctx, func(f *keyFile) (bool, error) {
		k, err := f.named(name)
		if err != nil {
			return false, err
		}
		if len(k.versions) >= maxVersions {
			return false, &keyring.LimitError{What: "versions of a root key", Len: len(k.versions) + 1, Max: maxVersions}
		}
		number = k.newest().number + 1
		k.versions = append(k.versions, version{number: number, createdAt: s.clock(), key: keyring.RandomSecret()})
		return true, nil
	})
	return number, err
}

// Close wipes the keys in memory. What is asked afterwards fails with
// keyring.ErrClosed. It is idempotent.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cached.wipe()
	s.cached, s.print, s.closed = nil, nil, true
	return nil
}

// Format shows the path, whatever the verb.
func (s *Service) Format(f fmt.State, _ rune) { io.WriteString(f, "local.Service("+s.path+")") }

func (s *Service) clock() time.Time { return s.now().UTC().Round(0) }

// view runs f on the file as it is now. f must not keep what it is given.
func (s *Service) view(f func(*keyFile) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return keyring.ErrClosed
	}
	kf, print, err := load(s.path, s.print)
	if err != nil {
		return err
	}
	if kf != nil {
		s.cached.wipe()
		s.cached, s.print = kf, print
	}
	return f(s.cached)
}

// change runs f on the file under the lock, and replaces the file if f says
// so. It is durable when change returns. Reads go on meanwhile.
func (s *Service) change(ctx context.Context, f func(*keyFile) (bool, error)) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return keyring.ErrClosed
	}
	if err := mkdirAll(filepath.Dir(s.path), syncDir); err != nil {
		return classify(err)
	}
	release, err := lock(s.path + ".lock")
	if err != nil {
		return classify(err)
	}
	defer func() { err = errors.Join(err, release()) }()

	kf, _, err := load(s.path, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		kf = new(keyFile)
	case err != nil:
		return err
	}
	defer kf.wipe()
	changed, err := f(kf)
	if err != nil || !changed {
		return err
	}
	kf.revision++
	if err := store(s.path, kf); err != nil {
		return classify(err)
	}
	return nil
}
