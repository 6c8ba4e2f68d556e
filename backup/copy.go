package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// CopyOptions say what to copy.
type CopyOptions struct {
	Backups        []string // names that Find knows; nil is all
	Concurrency    int      // objects at once; 0 is 4
	BytesPerSecond int64    // 0 is unbounded
	// TempDir is where an object lies on its way, as ciphertext; "" is the system's.
	TempDir  string
	Progress func(Progress)
}

// A CopyReport says what was copied.
type CopyReport struct {
	Backups int   `json:"backups"` // that the other repository did not have
	Sent    int64 `json:"sent_bytes"`
	Reused  int64 `json:"reused_bytes"` // it had these already
}

// CopyTo copies backups to another repository, with the lockboxes of their tables, and
// without keys: each object is compared with its digest on the way. Archived logs stay
// behind. What the other repository names is not sent again. If the call is stopped, the
// next one sends what is missing. Errors: ErrNotFound, ErrCorruption, lease.ErrLocked, and
// those of the storages.
func (r *Repository) CopyTo(ctx context.Context, to *Repository, o CopyOptions) (*CopyReport, error) {
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	var list []*Backup
	if o.Backups == nil {
		var err error
		if list, err = r.Backups(ctx); err != nil {
			return nil, err
		}
	}
	for _, n := range o.Backups {
		b, err := r.Find(ctx, n)
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	c := &copying{from: r, to: to, o: o, m: newMeter("copy", o.Progress, o.BytesPerSecond)}
	err := to.write(ctx, "backup copy", func(ctx context.Context) error { return c.run(ctx, list) })
	done := c.m.end()
	c.rep.Sent, c.rep.Reused = done.Moved, done.Reused
	return &c.rep, err
}

type copying struct {
	from, to *Repository
	o        CopyOptions
	m        *meter
	rep      CopyReport
	known    map[string]bool // objects that the other repository names
}

func (c *copying) run(ctx context.Context, list []*Backup) error {
	there, err := c.to.Backups(ctx)
	if err != nil {
		return err
	}
	have := make(map[string]bool)
	for _, b := range there {
		have[b.Name] = true
	}
	if c.known, err = c.to.named(ctx, there); err != nil {
		return err
	}
	for _, b := range list {
		if have[b.Name] {
			continue
		}
		if err := c.backup(ctx, b); err != nil {
			return err
		}
		c.rep.Backups++
	}
	return nil
}

func (c *copying) backup(ctx context.Context, b *Backup) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.o.Concurrency)
	indexes := make([][]byte, len(b.Tables))
	for i := range b.Tables {
		e := &b.Tables[i]
		x, err := c.from.readIndex(ctx, b, e)
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		if indexes[i], err = storage.ReadAll(ctx, c.from.st, indexName(b.Name, e.Table), maxIndex); err != nil {
			return errors.Join(err, g.Wait())
		}
		if sum(indexes[i]) != e.Index {
			return errors.Join(corrupt.New(corrupt.ErrForeign, indexName(b.Name, e.Table), -1, "is not the index that the manifest names"), g.Wait())
		}
		for j := range x.files {
			f := &x.files[j]
			if f.empty() {
				continue
			}
			name := f.key().object()
			known := c.known[name]
			c.known[name] = true
			c.m.change(func(p *Progress) {
				p.Files++
				if known {
					p.Done++
					p.Reused += f.size
				} else {
					p.Bytes += f.size
				}
			})
			if !known {
				g.Go(func() error { return c.object(gctx, name, f.digest, f.size) })
			}
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range b.Tables {
		e := &b.Tables[i]
		if err := c.lockboxes(ctx, e.Table); err != nil {
			return err
		}
		if err := c.to.haveLockbox(ctx, e.Table, e.Needed()); err != nil {
			return err
		}
		if err := c.put(ctx, indexName(b.Name, b.Tables[i].Table), indexes[i]); err != nil {
			return err
		}
	}
	data, err := b.encode()
	if err != nil {
		return err
	}
	return c.put(ctx, backupsPrefix+b.Name, data)
}

// put makes a small object; one that a call that was stopped has left is put right.
func (c *copying) put(ctx context.Context, name string, b []byte) error {
	err := c.to.st.Put(ctx, name, storage.Bytes(b))
	if errors.Is(err, storage.ErrExists) {
		return c.to.mend(ctx, name, b)
	}
	return err
}

func (c *copying) lockboxes(ctx context.Context, table keyring.ID) error {
	names, err := c.from.lockboxes(ctx, table)
	if err != nil {
		return err
	}
	for _, n := range names {
		box, err := c.from.readLockbox(ctx, n)
		if err != nil {
			c.from.opts.Logger.Warn("a lockbox is not what its name says, and is left behind", "object", n, "error", err)
			continue
		}
		if err := c.put(ctx, n, box); err != nil {
			return err
		}
	}
	return nil
}

// object copies a file by way of a temporary one: nothing is put that is not what its
// name says.
func (c *copying) object(ctx context.Context, name string, want digest, size int64) (err error) {
	f, err := newScratch(c.o.TempDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	in, err := c.from.st.Get(ctx, name, 0, size)
	if errors.Is(err, storage.ErrNotFound) {
		return corrupt.New(corrupt.ErrMissing, name, -1, "an index names it")
	}
	if err != nil {
		return damaged(name, err)
	}
	h := sha256.New()
	if err := errors.Join(damaged(name, pour(ctx, f, io.TeeReader(in, h), c.m)), in.Close()); err != nil {
		return err
	}
	if got := digest(h.Sum(nil)); got != want {
		return corrupt.New(corrupt.ErrAuth, name, -1, "its SHA-256 is %s, the index says %s", got, want)
	}
	src := io.NewSectionReader(f, 0, size)
	err = c.to.st.Put(ctx, name, src)
	if errors.Is(err, storage.ErrExists) {
		err = c.to.verifyOrReplace(ctx, name, want, src)
	}
	c.m.change(func(p *Progress) { p.Done++ })
	return err
}
