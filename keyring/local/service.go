package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/keyring"
)

// Options of a Service. The zero value is ready for use.
type Options struct {
	// MustExist fails Open where there is no file. Otherwise the first key
	// makes it.
	MustExist bool
	// Sealing opens the file, and seals a new one; nil is for a file that is
	// unsealed. With one, an unsealed file is refused (ErrNotSealed). Open
	// takes it over: it is closed with the Service, or where Open fails.
	Sealing *Sealing
	// Principal says who asks: "" is the owner, who may do all. Any other
	// name, of up to 256 bytes of printable text, may do what grants allow.
	Principal string
	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

// A Service is a key-service file. It is safe for concurrent use by
// goroutines and processes.
//
// Methods that change the file are durable when they return. Besides the
// errors that each names they fail with keyring.ErrKeyDenied for whoever is
// not the owner, keyring.ErrClosed, *keyring.LimitError, the error of ctx, and
// those of Open.
type Service struct {
	path      string
	principal string
	now       func() time.Time
	latest    atomic.Int64 // the latest time that clock has told
	suite     aead.Suite   // nil outside tests
	step      func(string) // told the steps of a change; nil outside tests

	sealing sync.Mutex // held while the file gets another seal

	mu     sync.Mutex // guards what follows
	seals  []*Sealing // what the file may be sealed by; none: unsealed
	cached *keyFile
	print  *fingerprint // of cached
	closed bool
}

// An Info describes the file of a service.
type Info struct {
	Path     string
	Version  int    // of the format
	Revision uint64 // one more with each change
	Sealed   bool
	SealedBy string // "unsealed", "sealed by a passphrase", "sealed by a key file"
}

// A KeyInfo describes a key of the service.
type KeyInfo struct {
	Name         string
	ID           keyring.ID
	URI          string
	State        keyring.State
	CreatedAt    time.Time
	DeletionDate time.Time             // zero unless the key is pending deletion
	RotationDays int                   // between automatic rotations; 0: none
	NextRotation time.Time             // zero without automatic rotation
	Aliases      []string              // ascending, with the prefix
	Versions     []keyring.VersionInfo // ascending
}

// A StoreNote is what the service has noted of a store: which generation of
// its keyring is the newest.
type StoreNote struct {
	Store      keyring.ID
	Generation uint64
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
// the file is not what this package wrote, *SealedError and ErrNotSealed where
// Options.Sealing does not go with it, keyring.ErrKeyDenied where it is the
// wrong one, ErrName of a malformed Principal, and those of the file system:
// keyring.ErrKeyNotFound with MustExist, keyring.ErrKeyDenied where the file
// may not be read, keyring.ErrKeyUnreachable.
func Open(path string, opts Options) (_ *Service, err error) {
	s := &Service{principal: opts.Principal, now: opts.Now}
	if opts.Sealing != nil {
		s.seals = []*Sealing{opts.Sealing}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if s.principal != "" && !validPrincipal(s.principal) {
		return nil, fmt.Errorf("%w: principal %q", ErrName, s.principal)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if err := s.view(context.Background(), func(*keyFile) error { return nil }); err != nil {
		if opts.MustExist || !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return s, nil
}

// Path is the absolute path of the file.
func (s *Service) Path() string { return s.path }

// Info describes the file, or fails with keyring.ErrKeyNotFound where there is
// none.
func (s *Service) Info() (Info, error) {
	info := Info{Path: s.path}
	err := s.view(context.Background(), func(f *keyFile) error {
		info.Version, info.Revision = int(f.version), f.revision
		info.Sealed, info.SealedBy = f.seal.kind != unsealed, sealedBy(f.seal.kind)
		return nil
	})
	return info, err
}

// CreateKey makes a key with one version. Errors are ErrKeyExists, ErrName,
// and those of a change.
func (s *Service) CreateKey(ctx context.Context, name string) (*Key, error) {
	if !validName(name) {
		return nil, fmt.Errorf("%w: %q", ErrName, name)
	}
	key, created, err := s.Ensure(ctx, name)
	if err == nil && !created {
		return nil, fmt.Errorf("%w: %q", ErrKeyExists, name)
	}
	return key, err
}

// Ensure returns the key of a name, and makes it on first use. An alias is
// never made.
func (s *Service) Ensure(ctx context.Context, name string) (key *Key, created bool, err error) {
	if !validRef(name) {
		return nil, false, fmt.Errorf("%w: %q", ErrName, name)
	}
	key, err = s.Key(name)
	if err == nil || !errors.Is(err, keyring.ErrKeyNotFound) || strings.HasPrefix(name, AliasPrefix) {
		return key, false, err
	}
	if err := s.owner(); err != nil {
		return nil, false, err
	}
	_, err = s.replace(ctx, true, func(f *keyFile) (bool, error) {
		if _, ok := f.key(name); ok {
			_, err := s.living(f, name)
			return false, err
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

// Key returns the key of a name, or of "alias/" and the name of an alias; or
// keyring.ErrKeyNotFound.
func (s *Service) Key(name string) (*Key, error) {
	key := &Key{s: s}
	err := s.view(context.Background(), func(f *keyFile) error {
		k, err := s.living(f, name)
		if err == nil {
			key.name = k.name
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return key, nil
}

// living is named for a key that is not past its date of deletion.
func (s *Service) living(f *keyFile, name string) (*rootKey, error) {
	k, err := f.named(name)
	if err == nil && k.doomed(s.clock()) {
		return nil, fmt.Errorf("%w: the time of %q ended at %s; the next change destroys it", keyring.ErrKeyNotFound, k.name, k.deleteAt.Format(time.RFC3339))
	}
	return k, err
}

// List describes the keys, sorted by name. Where there is no file there are
// none. Who is not the owner sees those that a grant of OpDescribeKey shows.
func (s *Service) List() ([]KeyInfo, error) {
	var infos []KeyInfo
	err := s.view(context.Background(), func(f *keyFile) error {
		for _, k := range f.keys {
			if f.permit(s.principal, k, OpDescribeKey, nil) == nil {
				infos = append(infos, f.info(k))
			}
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return infos, err
}

func (f *keyFile) info(k *rootKey) KeyInfo {
	return KeyInfo{
		Name: k.name, ID: k.id, URI: uri(k.name), State: k.state, CreatedAt: k.createdAt, DeletionDate: k.deleteAt,
		RotationDays: int(k.period), NextRotation: k.rotateAt, Aliases: f.aliasesOf(k.id), Versions: k.infos(),
	}
}

// Notes tells which stores the service has noted, ascending by id. It does not
// know which keys they use: any of them may have a wrap of any key.
func (s *Service) Notes() ([]StoreNote, error) {
	if err := s.owner(); err != nil {
		return nil, err
	}
	var notes []StoreNote
	err := s.view(context.Background(), func(f *keyFile) error {
		for _, n := range f.notes {
			notes = append(notes, StoreNote{n.store, n.generation})
		}
		return nil
	})
	return notes, err
}

// Close wipes the keys in memory, and what the file is sealed by. What is
// asked afterwards fails with keyring.ErrClosed. It is idempotent.
func (s *Service) Close() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cached.wipe()
	for _, by := range s.seals {
		err = errors.Join(err, by.Close())
	}
	s.cached, s.print, s.seals, s.closed = nil, nil, nil, true
	return err
}

// Format shows the path, whatever the verb.
func (s *Service) Format(f fmt.State, _ rune) { io.WriteString(f, "local.Service("+s.path+")") }

// clock tells the time. It does not go back while the Service is open.
func (s *Service) clock() time.Time {
	now := s.now().UnixNano()
	for {
		latest := s.latest.Load()
		if latest >= now && latest != 0 {
			return time.Unix(0, latest).UTC()
		}
		if s.latest.CompareAndSwap(latest, now) {
			return time.Unix(0, now).UTC()
		}
	}
}

// wall tells the time as it is told, back and forth.
func (s *Service) wall() time.Time { return s.now().UTC().Round(0) }

// owner refuses everybody else.
func (s *Service) owner() error {
	if s.principal != "" {
		return fmt.Errorf("%w: only the owner may do this, not %q", keyring.ErrKeyDenied, s.principal)
	}
	return nil
}

// view runs f on the file as it is now. f must not keep what it is given.
func (s *Service) view(ctx context.Context, f func(*keyFile) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return keyring.ErrClosed
	}
	kf, print, err := load(ctx, s.path, s.print, s.seals)
	if err != nil {
		return err
	}
	if kf != nil {
		s.cached.wipe()
		s.cached, s.print = kf, print
	}
	return f(s.cached)
}

// manage is change for the owner alone.
func (s *Service) manage(ctx context.Context, f func(*keyFile) (bool, error)) error {
	if err := s.owner(); err != nil {
		return err
	}
	return s.change(ctx, f)
}

// change runs f on the file under the lock, and replaces the file if f says
// so. It is durable when change returns. Reads go on meanwhile.
func (s *Service) change(ctx context.Context, f func(*keyFile) (bool, error)) error {
	_, err := s.replace(ctx, false, f)
	return err
}

// replace is change that may make the file, and tells whether it stands
// although the error may say that it need not last.
func (s *Service) replace(ctx context.Context, create bool, f func(*keyFile) (bool, error)) (renamed bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if _, err := s.sealings(); err != nil {
		return false, err
	}
	if create {
		if err := mkdirAll(filepath.Dir(s.path), syncDir); err != nil {
			return false, classify(err)
		}
	}
	release, err := lock(ctx, s.path+".lock")
	if err != nil {
		return false, classify(err)
	}
	defer func() { err = errors.Join(err, release()) }()

	// Under the lock: who held it before may have sealed the file anew.
	sealings, err := s.sealings()
	if err != nil {
		return false, err
	}
	kf, _, err := load(ctx, s.path, nil, sealings)
	if create && errors.Is(err, fs.ErrNotExist) {
		kf, err = newFile(ctx, sealings)
	}
	if err != nil {
		return false, err
	}
	defer kf.wipe()
	// What time has brought is written by itself, so that it does not wait
	// for a change that is not refused.
	if kf.upkeep(s.wall()) {
		if _, err := s.store(kf); err != nil {
			return false, err
		}
	}
	changed, err := f(kf)
	if err != nil || !changed {
		return false, err
	}
	return s.store(kf)
}

func (s *Service) sealings() ([]*Sealing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, keyring.ErrClosed
	}
	return slices.Clone(s.seals), nil
}

func newFile(ctx context.Context, sealings []*Sealing) (*keyFile, error) {
	kf := new(keyFile)
	if len(sealings) == 0 {
		return kf, nil
	}
	var err error
	kf.seal, err = sealings[0].newSeal(ctx)
	return kf, err
}

func (s *Service) store(kf *keyFile) (renamed bool, err error) {
	kf.revision++
	if renamed, err = store(s.path, kf, s.step); err != nil {
		return renamed, classify(err)
	}
	return renamed, nil
}

// Seal seals the file by something else than now, or for the first time: with
// a new key. Open takes the Sealing over; so does Seal. From then on other
// handles of the file are refused until they are opened with the new one.
//
// Copies that were made before stay as they are: an unsealed one is open to
// whoever has it.
func (s *Service) Seal(ctx context.Context, by *Sealing) error {
	if by == nil {
		return fmt.Errorf("%w: none is named", ErrSealingKey)
	}
	return s.reseal(ctx, by)
}

// Unseal writes the keys in the clear. Only the file's mode guards them then.
func (s *Service) Unseal(ctx context.Context) error {
	return s.reseal(ctx, &Sealing{kind: unsealed})
}

// reseal keeps the old Sealing beside the new one until it is clear which file
// stands.
func (s *Service) reseal(ctx context.Context, by *Sealing) error {
	s.sealing.Lock()
	defer s.sealing.Unlock()
	if err := s.owner(); err != nil {
		return errors.Join(err, by.Close())
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errors.Join(keyring.ErrClosed, by.Close())
	}
	old := s.seals
	if len(old) == 0 {
		old = []*Sealing{{kind: unsealed}}
	}
	s.seals = append(slices.Clone(old), by)
	s.mu.Unlock()

	renamed, err := s.replace(ctx, false, func(f *keyFile) (bool, error) {
		if by.kind == unsealed && f.seal.kind == unsealed {
			return false, nil
		}
		fresh, err := by.newSeal(ctx)
		if err != nil {
			return false, err
		}
		f.seal.key.Wipe()
		f.seal = fresh
		return true, nil
	})

	s.mu.Lock()
	defer s.mu.Unlock()
	gone, stays := old, []*Sealing{by}
	if !renamed {
		gone, stays = stays, old
	}
	for _, g := range gone {
		err = errors.Join(err, g.Close())
	}
	switch {
	case s.closed: // meanwhile: it has closed what it knew, which is all
	case len(stays) == 1 && stays[0].kind == unsealed:
		s.seals = nil
	default:
		s.seals = stays
	}
	return err
}
