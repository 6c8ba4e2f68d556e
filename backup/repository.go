package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/lease"
	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// Options of a repository. The zero value is ready for use.
type Options struct {
	// Create makes the repository where there is none and no other object.
	Create bool
	// LockWait is how long a call that writes waits for another that does; 0 is not at
	// all.
	LockWait time.Duration
	// Logger gets what is worth knowing and no error; nil discards it.
	Logger *slog.Logger
	// Now tells the time; nil is time.Now.
	Now func() time.Time

	suite aead.Suite // a test's cipher; nil outside tests
}

// A Repository is an open repository. It is safe for concurrent use.
type Repository struct {
	st   storage.Storage
	opts Options
	id   keyring.ID
	made bool // by Open

	// noting is held while what the repository needs is looked up and noted, and by who
	// adds to it without the lease.
	noting sync.Mutex
}

// config is the object that makes a repository.
type config struct {
	Format  int        `json:"format"`
	ID      keyring.ID `json:"id"`
	Created time.Time  `json:"created"`
	About   string     `json:"about"`
}

const (
	maxConfig = 64 << 10
	about     = "Backups of Cofre stores. All of it is ciphertext; a root key opens it. See cofre restore --help."
)

// Open opens the repository in a storage, which stays the caller's. Errors:
// ErrNoRepository, ErrNotEmpty, ErrVersion, ErrCorruption, and those of the storage.
func Open(ctx context.Context, st storage.Storage, opts Options) (*Repository, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	r := &Repository{st: st, opts: opts}
	b, err := storage.ReadAll(ctx, st, repositoryName, maxConfig)
	if errors.Is(err, storage.ErrNotFound) {
		if err := r.absent(ctx); !opts.Create || errors.Is(err, ErrCorruption) {
			return nil, err
		}
		if err := r.create(ctx); err != nil {
			return nil, err
		}
		r.made = true
		b, err = storage.ReadAll(ctx, st, repositoryName, maxConfig)
	}
	if err != nil {
		return nil, damaged(repositoryName, err)
	}
	c, err := parseConfig(b)
	if err != nil {
		return nil, err
	}
	r.id = c.ID
	return r, nil
}

// absent is ErrNoRepository, or ErrCorruption where there are backups, without the
// object that makes a repository of them.
func (r *Repository) absent(ctx context.Context) error {
	for _, err := range r.st.List(ctx, backupsPrefix) {
		if err == nil {
			return corrupt.New(corrupt.ErrMissing, repositoryName, -1, "backups lie here without it: %s", r.st.Location())
		}
		break
	}
	return fmt.Errorf("%w: %s", ErrNoRepository, r.st.Location())
}

// create makes a repository in an empty storage. Of two that do so at once, one makes
// it and both use it.
func (r *Repository) create(ctx context.Context) error {
	for o, err := range r.st.List(ctx, "") {
		if errors.Is(err, storage.ErrNotFound) {
			break // the directory is made with the first object
		}
		if err != nil {
			return err
		}
		return fmt.Errorf("%w: %s has %s", ErrNotEmpty, r.st.Location(), clip(o.Name))
	}
	b, err := config{FormatVersion, keyring.NewID(), r.opts.Now().UTC(), about}.encode()
	if err != nil {
		return err
	}
	if err := r.st.Put(ctx, repositoryName, storage.Bytes(b)); !errors.Is(err, storage.ErrExists) {
		return err
	}
	return nil
}

func parseConfig(b []byte) (c config, err error) {
	bad := func(class error, format string, args ...any) (config, error) {
		return c, corrupt.New(class, repositoryName, -1, format, args...)
	}
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return bad(corrupt.ErrFormat, "%v", err)
	}
	if version.Format != FormatVersion {
		return bad(corrupt.ErrVersion, "format version %d, this build knows %d", version.Format, FormatVersion)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return bad(corrupt.ErrFormat, "%v", err)
	}
	if _, err := dec.Token(); err != io.EOF || c.ID.IsZero() || !utc(c.Created) {
		return bad(corrupt.ErrFormat, "it is not what makes a repository")
	}
	if again, err := c.encode(); err != nil || !bytes.Equal(again, b) {
		return bad(corrupt.ErrFormat, "it is not written as what makes a repository is")
	}
	return c, nil
}

// encode gives its bytes. There is one encoding of each.
func (c config) encode() ([]byte, error) { return json.MarshalIndent(c, "", "  ") }

// ID is the repository's random id.
func (r *Repository) ID() keyring.ID { return r.id }

// Created tells whether Open has made it.
func (r *Repository) Created() bool { return r.made }

// Location is where it lies.
func (r *Repository) Location() string { return r.st.Location() }

// write runs f as the one who writes. f's context ends before the lease does.
func (r *Repository) write(ctx context.Context, operation string, f func(ctx context.Context) error) error {
	l, err := r.acquire(ctx, operation)
	if err != nil {
		return err
	}
	bound, cancel := l.Bind(ctx)
	defer cancel()
	err = f(bound)
	if lost := l.Err(); lost != nil && err != nil {
		return errors.Join(lost, err)
	}
	// Also where ctx has ended: nobody else is to wait for it.
	return errors.Join(err, l.Release(context.WithoutCancel(ctx)))
}

// acquire takes the lease, and waits for it as long as the options say.
func (r *Repository) acquire(ctx context.Context, operation string) (*lease.Lease, error) {
	o := lease.Options{Operation: operation, Wait: r.opts.LockWait > 0}
	if o.Wait {
		o.Waiting = func(h lease.Holder) {
			r.opts.Logger.Warn("waits for another that writes to the repository", "holder", h, "at_most", r.opts.LockWait)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.opts.LockWait)
		defer cancel()
	}
	return lease.Acquire(ctx, r.st, lockName, o)
}
