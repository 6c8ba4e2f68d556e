package keyring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/secret"
)

// Options of a keyring. The zero value is ready for use.
type Options struct {
	// FS is where the keyring lies; nil is the operating system's.
	FS vfs.FS
	// Suite is the cipher; nil outside tests.
	Suite aead.Suite
	// Logger gets what is worth knowing and no error; nil discards it.
	Logger *slog.Logger
	// AcceptOlder opens a keyring that an Anchor knows to be older than the
	// newest, as after a restore. Unless the keyring is read-only it is issued
	// again at once, under a generation above the noted one.
	AcceptOlder bool
	// Audit, if not nil, gives the newest record of the store's audit log
	// whenever a generation of the keyring is made. That record and all before
	// it are durable when it returns. An error refuses the change, and nil says
	// that nothing is known yet: what the generation before says stays. It is
	// called with the keyring's lock held, and must not call the keyring.
	Audit func(context.Context) (*AuditState, error)
	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// A Keyring is the open keyring of a store. It is safe for concurrent use; one
// process at a time may have it open for writing, which the store's lock
// ensures.
//
// Changes are copy on write. Each writes a new generation and returns when it
// is durable; one that fails leaves the keyring in memory as it was. Readers
// never wait for a change or a key service.
type Keyring struct {
	opts     Options
	dir      directory
	storeID  ID
	pins     map[string]RootKey
	readOnly bool
	storeKey *TableKeys // rotations add to it; wiped by Close
	// unwraps holds the URIs of pins that unwrapped the last table key that they
	// were asked for.
	unwraps sync.Map

	cur atomic.Pointer[state]

	closed atomic.Bool

	mu     sync.Mutex // serializes changes and Close; guards what follows
	poison error      // sticky
}

// Exists tells whether dir holds a keyring. A directory that does not exist
// holds none.
func Exists(fsys vfs.FS, dir string) (bool, error) {
	d := directory{fs: Options{FS: fsys}.withDefaults().FS, path: dir}
	gens, err := d.generations()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return len(gens) > 0, err
}

// Create makes the directory dir and in it the keyring of a new store: a
// random store id, and a random store key that is wrapped by root. It fails
// with fs.ErrExist where there is a keyring. The parent of dir must exist.
func Create(ctx context.Context, dir string, root RootKey, opts Options) (*Keyring, error) {
	k, err := newKeyring(dir, []RootKey{root}, false, opts)
	if err != nil {
		return nil, err
	}
	if ok, err := Exists(k.opts.FS, dir); err != nil {
		return nil, err
	} else if ok {
		return nil, fmt.Errorf("keyring %s: %w", dir, fs.ErrExist)
	}
	k.storeID = NewID()
	ec := Context{Store: k.storeID, Purpose: PurposeStoreKey, Version: 1}
	entry, key, err := k.newEntry(ctx, []RootKey{root}, ec, "wrap store key", nil)
	if err != nil {
		return nil, err
	}
	k.setStoreKey(entry, map[uint32]*Secret{1: key})

	// If we crash before replace is done there is no keyring, and Create may
	// be called again.
	if err = k.opts.FS.MkdirAll(dir, 0o700); err == nil {
		err = k.dir.sync(k.opts.FS.PathDir(dir))
	}
	if err == nil {
		err = k.publish(ctx, &state{generation: 1, store: entry})
	}
	if err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

// Open opens the keyring in dir. roots are the pins: the root keys that this
// store may have. Any one of them that wraps the store key opens the keyring,
// any one that wraps a table's key the table. A root key that the keyring names
// and that is not among them, known by its URI, is never called, and nothing is
// wrapped to it; where no other root key is named, Open fails with
// ErrRootNotPinned, or OpenTable.
//
// Errors are *KeyError values about a root key, and *corrupt.Error values
// about the file: corrupt.ErrMissing where there is none, ErrRollback where
// an Anchor among the roots has noted a newer one, whether it wraps the store key in
// this one or not. Of several Anchors those that answer count; that none does of those
// that wrap the store key is an error, unless an older keyring is accepted.
//
// A read-only keyring changes nothing, in dir or in an Anchor.
func Open(ctx context.Context, dir string, roots []RootKey, readOnly bool, opts Options) (*Keyring, error) {
	k, err := newKeyring(dir, roots, readOnly, opts)
	if err != nil {
		return nil, err
	}
	gens, err := k.dir.generations()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(gens) == 0 {
		return nil, corrupt.New(corrupt.ErrMissing, k.dir.where(filePrefix+"*"), -1, "no keyring")
	}
	newest := slices.Max(gens)
	s, err := k.load(ctx, newest)
	if err != nil {
		k.Close()
		return nil, corrupt.At(k.dir.where(fileName(newest)), err)
	}
	if err := k.settle(ctx, s, gens); err != nil {
		k.Close()
		return nil, corrupt.At(k.dir.where(fileName(newest)), err)
	}
	return k, nil
}

func newKeyring(dir string, roots []RootKey, readOnly bool, opts Options) (*Keyring, error) {
	k := &Keyring{opts: opts.withDefaults(), readOnly: readOnly, pins: make(map[string]RootKey)}
	k.dir = directory{fs: k.opts.FS, path: dir, logger: k.opts.Logger}
	for _, r := range roots {
		if r == nil {
			return nil, errors.New("keyring: a root key is nil")
		}
		uri := r.URI()
		if !validURI(uri) {
			return nil, &KeyError{Op: "pin", URI: fmt.Sprintf("%q", uri), Err: errors.New("not a URI of a root key")}
		}
		if _, ok := k.pins[uri]; !ok {
			k.pins[uri] = r
		}
	}
	return k, nil
}

// load reads a generation and proves it authentic.
func (k *Keyring) load(ctx context.Context, generation uint64) (*state, error) {
	b, err := k.dir.read(generation)
	if err != nil {
		return nil, err
	}
	f, err := parseFile(b)
	if err != nil {
		return nil, err
	}
	k.storeID = f.storeID
	ec := Context{Store: f.storeID, Purpose: PurposeStoreKey, Version: f.store.newest().number}
	at := place{path: k.dir.where(fileName(generation)), offset: fileHeaderLen + 4}
	key, err := k.unwrap(ctx, f.store, ec, "unwrap store key", at)
	if err != nil {
		return nil, err
	}
	keys, _, err := f.store.unlock(k.opts.Suite, key, ec)
	if err != nil {
		return nil, at.of(err)
	}
	k.setStoreKey(f.store, keys)
	s, err := f.authenticate(k.opts.Suite, key)
	if err != nil {
		return nil, err
	}
	if s.generation != generation {
		return nil, corrupt.New(corrupt.ErrForeign, "", 28, "generation %d under the name of %d", s.generation, generation)
	}
	return s, nil
}

// settle compares an authentic generation with what the anchors have noted,
// and completes what a crash may have left undone.
func (k *Keyring) settle(ctx context.Context, s *state, all []uint64) error {
	highest, behind := s.generation, false
	own := k.anchors(s)
	anchors := append(slices.Clip(own), k.otherAnchors(own)...)
	notes := k.readNotes(ctx, anchors)
	var silent []error
	for i, a := range anchors {
		n, other := notes[i], i >= len(own)
		switch {
		case other && (n.err != nil || !n.ok || n.generation < s.generation):
			// It may never have had to do with the store key.
		case n.err != nil:
			silent = append(silent, &KeyError{Op: "read the noted generation", URI: a.URI(), Err: n.err})
		case !n.ok, n.generation < s.generation:
			// Made and not noted yet: a crash came between, or the note failed.
			behind = true
		case n.generation > s.generation || n.digest != s.digest:
			if !k.opts.AcceptOlder {
				what := "that one is newer"
				if n.generation == s.generation {
					what = "its content differs"
				}
				return corrupt.New(ErrRollback, "", 28, "generation %d, and %s has noted generation %d: %s", s.generation, a.URI(), n.generation, what)
			}
			highest = max(highest, n.generation+1)
		}
	}
	if len(silent) > 0 && len(silent) == len(own) && !k.opts.AcceptOlder {
		return joined(silent) // nobody tells whether this is the newest
	}
	for _, err := range silent {
		k.opts.Logger.Warn("keyring: a key service does not tell what generation it has noted", "store", k.storeID, "err", err)
	}
	if k.readOnly {
		k.cur.Store(s)
		return nil
	}
	// The rename that we saw may not be durable. If we noted it, or acted on it,
	// and a power cut took it back, what is left would look rolled back.
	if err := k.dir.sync(k.dir.path); err != nil {
		return err
	}
	if highest > s.generation {
		k.opts.Logger.Warn("keyring: an older generation is accepted and issued anew",
			"store", k.storeID, "generation", s.generation, "as", highest)
		again := s.clone()
		again.generation = highest
		if err := k.publish(ctx, again); err != nil {
			return err
		}
	} else {
		k.cur.Store(s)
		if behind {
			k.note(ctx, s, own)
		}
	}
	k.dir.tidy(highest, all)
	return nil
}

// publish makes s durable and current. On an error the current state stays.
func (k *Keyring) publish(ctx context.Context, s *state) error {
	key, _ := k.storeKey.newest()
	if key == nil {
		return ErrKeysWiped
	}
	defer key.Wipe()
	if s.storeKey != nil {
		rotated := s.storeKey.Clone()
		defer rotated.Wipe()
		key = rotated
	}
	encoded, err := k.audited(ctx, s)
	if err != nil {
		return err
	}
	b, err := s.encode(k.opts.Suite, k.storeID, key)
	if err != nil {
		return err
	}
	defer encoded()
	if err := k.dir.replace(s.generation, b); err != nil {
		var u *uncertain
		if errors.As(err, &u) {
			k.poison = fmt.Errorf("%w: %w", ErrPoisoned, u.err)
			return k.poison
		}
		return err
	}
	if s.storeKey != nil {
		k.storeKey.adopt(s.store.newest().number, s.storeKey, s.store.roots())
		s.storeKey = nil
	}
	old := k.cur.Swap(s)
	// If we crash here, the next Open notes s and removes the older file.
	if old != nil {
		// A root key that goes is told too: the keyring of before is an older one to it.
		k.note(ctx, s, k.anchors(s, old))
	} else {
		k.note(ctx, s, k.anchors(s))
	}
	if old != nil {
		k.dir.remove(fileName(old.generation))
	}
	return nil
}

func (k *Keyring) setStoreKey(e *keyEntry, keys map[uint32]*Secret) {
	k.storeKey = &TableKeys{
		suite: k.opts.Suite, store: k.storeID, version: e.newest().number, roots: e.roots(), open: &openKeys{keys: keys},
	}
}

// StoreID is the store's id.
func (k *Keyring) StoreID() ID { return k.storeID }

// Generation counts the changes of the keyring, from 1.
func (k *Keyring) Generation() uint64 { return k.cur.Load().generation }

// FileName is the name of the file in force, in the keyring's directory.
func (k *Keyring) FileName() string { return fileName(k.Generation()) }

// Roots are the URIs of the root keys that wrap the store key.
func (k *Keyring) Roots() []string { return k.cur.Load().store.roots() }

// StoreKeys are the keys of the store's own sealed files. They are wiped by
// Close.
func (k *Keyring) StoreKeys() DataKeys { return k.storeKey }

// Close wipes the store key. TableKeys live on until they are wiped. It is
// idempotent.
func (k *Keyring) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed.Store(true)
	if k.storeKey != nil {
		k.storeKey.Wipe()
	}
	return nil
}

// Format shows the store id, whatever the verb.
func (k *Keyring) Format(f fmt.State, _ rune) {
	io.WriteString(f, "Keyring("+k.storeID.String()+")")
}

// MarshalJSON refuses.
func (k *Keyring) MarshalJSON() ([]byte, error) { return nil, secret.ErrMarshal }
