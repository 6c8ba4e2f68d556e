package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cofredb/cofre/engine/internal/sealfs"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
)

// A RestoreSource is what a table is restored from: what a Held was, wherever it has
// been since.
type RestoreSource struct {
	// Stage has the files under their names.
	Stage *Stage
	// Keys are those of the table that was held, from its lockbox. They stay the
	// caller's.
	Keys *keyring.TableKeys
	// Seal is Held.Seal. Where it is nil, the table was held without its key: then what
	// belongs to it is taken from the sealed MANIFEST among the files.
	Seal []byte
	// Wraps are the data keys as they were in force, Held.Files' Keys. Where they are
	// nil, those of the files and of Overlay count.
	Wraps   []keyring.WrappedDataKey
	Overlay []byte // Held.Overlay
	// Compared: each file was compared with a digest that the table's key attests. Else
	// every byte is opened.
	Compared bool
	// Log gives batches of archived logs, in order, none missing from the newest log of
	// the files on. Those that the files have already may be among them, if what Log
	// gives does not end before they do. nil is none.
	Log iter.Seq2[ArchivedBatch, error]
	// From and To bound the keys that are restored, and all of them begin with Prefix;
	// nil is the table's end.
	From, To, Prefix []byte
}

// bounds are From and To with Prefix in them. The error says that no key lies between.
func (r *RestoreSource) bounds() (from, to []byte, err error) {
	from, to = r.From, r.To
	if len(r.Prefix) > 0 {
		if bytes.Compare(from, r.Prefix) < 0 {
			from = r.Prefix
		}
		if end := prefixEnd(r.Prefix); end != nil && (to == nil || bytes.Compare(end, to) < 0) {
			to = end
		}
	}
	if to != nil && bytes.Compare(from, to) >= 0 {
		return nil, nil, fmt.Errorf("engine: no key is from %q on and before %q", clip(string(from)), clip(string(to)))
	}
	return from, to, nil
}

// RestoreOptions say what a restored table is like.
type RestoreOptions struct {
	// RootKey wraps the new table's key; nil is the store's.
	RootKey keyring.RootKey
}

// RestoreTable makes a table out of files of another, of this store or of any. The new
// table has an id, an incarnation and a key of its own, under a root key of its own;
// schedule and options are those of the table that was held. Sorted files are taken
// over as they are, with their data keys, which the new table's key wraps: so a
// restore seals no data again, and what is restored is ciphertext that was attested.
// Who has a data key of the other table reads the same file in this one, until
// Table.Reencrypt.
//
// The table is there, whole and durable, when the call returns; if it fails, nothing
// is left of it. The stage is used up, but for failures that come before anything is
// moved.
//
// Errors: ErrInvalidName, ErrTableExists, ErrReadOnly, ErrKeyInaccessible,
// ErrCorruption, and what Log gives.
func (s *Store) RestoreTable(ctx context.Context, name string, opts RestoreOptions, src RestoreSource) (*Table, error) {
	if err := checkTableName(name); err != nil {
		return nil, err
	}
	if s.opts.Mode == ReadOnly {
		return nil, ErrReadOnly
	}
	if src.Stage == nil || src.Stage.store != s || src.Keys == nil {
		return nil, errors.New("engine: a table is restored from a stage of its store, with keys")
	}
	root, err := s.rootForTable(opts.RootKey)
	if err != nil {
		return nil, err
	}
	if src.From, src.To, err = src.bounds(); err != nil {
		return nil, err
	}
	r := &restore{store: s, src: src, name: name}
	if err := r.check(ctx); err != nil {
		return nil, err
	}
	return r.make(ctx, root)
}

type restore struct {
	store *Store
	src   RestoreSource
	name  string
	from  *sealfs.FS // of the files as they were
	meta  *metadata  // of the new table
}

// check authenticates what is staged, before anything is made.
func (r *restore) check(ctx context.Context) error {
	s, keys := r.store, r.src.Keys
	old, err := decodeMetadata(keys.Metadata())
	if err != nil {
		return err
	}
	if err := r.useWraps(old); err != nil {
		return err
	}
	r.from = sealfs.New(sealfs.Config{
		Base: s.fs, StoreID: keys.StoreID(), TableID: keys.ID(), Keys: keys, Origins: old.origins,
		MaxFormat: uint64(pebbleFormat), Suite: s.opts.suite, Logger: s.log, Rel: s.rel,
	})
	var seal *sealfs.Seal
	if r.src.Seal != nil {
		if seal, err = sealfs.DecodeSeal(r.src.Seal); err != nil {
			return corrupt.New(corrupt.ErrFormat, s.rel(r.src.Stage.dir), -1, "%v", err)
		}
	}
	if err := r.from.Preflight(r.src.Stage.dir, seal, true); err != nil {
		return err
	}
	if seal == nil {
		// Its MANIFEST may name files that went after its last frame. Pebble misses what
		// it needs when it opens the new table.
		r.from.Prune(r.src.Stage.dir)
	} else if err := r.from.Complete(r.src.Stage.dir); err != nil {
		return err
	}
	if !r.src.Compared {
		if err := r.from.VerifyAll(ctx, r.src.Stage.dir); err != nil {
			return err
		}
	}
	origin := sealfs.Origin{Store: keys.StoreID(), Table: keys.ID()}
	r.meta = &metadata{
		name: r.name, createdAt: time.Now().UTC(), schedule: old.schedule,
		separateFrom: old.separateFrom, noCompression: old.noCompression,
		origins: append(slices.DeleteFunc(slices.Clone(old.origins), func(o sealfs.Origin) bool { return o == origin }), origin),
	}
	if len(r.meta.origins) > maxOrigins {
		return fmt.Errorf("engine: the table was restored %d times, one from the other's backup: re-encrypt it, and restore a backup made behind that", maxOrigins)
	}
	return nil
}

// useWraps has the keys open the files by the wraps that were in force.
func (r *restore) useWraps(old *metadata) error {
	keys := r.src.Keys
	switch {
	case r.src.Wraps != nil:
		o, err := keys.Collect(r.src.Wraps)
		if err != nil {
			return err
		}
		keys.SetOverlay(o)
	case len(r.src.Overlay) > 0:
		// Not the one that the metadata names: a lockbox may be newer than the files, and
		// its metadata name the overlay of a later rotation. Whichever it is, it is the
		// table's, and a file opens by its own key or not at all.
		id, _, err := keyring.InspectOverlay(r.src.Overlay)
		if err != nil {
			return err
		}
		o, err := keys.OpenOverlay(r.src.Overlay, id)
		if err != nil {
			return err
		}
		if id == old.overlay.id && o.Digest() != old.overlay.digest {
			return corrupt.New(corrupt.ErrRollback, "", -1, "is not the overlay that the table's metadata names")
		}
		keys.SetOverlay(o)
	}
	return nil
}

// make makes the table of what was checked.
func (r *restore) make(ctx context.Context, root keyring.RootKey) (*Table, error) {
	t, err := r.store.makeTable(ctx, audit.EventRestoreTable, root, r.meta, func(ctx context.Context, t *Table, keys *keyring.TableKeys) error {
		defer keys.Wipe()
		return r.fill(ctx, t, keys)
	})
	if err != nil {
		return nil, err
	}
	if err := r.src.Stage.Discard(); err != nil {
		r.store.log.Warn("the stage of a restore cannot be removed", "dir", r.store.rel(r.src.Stage.dir), "error", err)
	}
	return t, nil
}

// fill makes the table's files, and closes it cleanly.
func (r *restore) fill(ctx context.Context, t *Table, keys *keyring.TableKeys) error {
	if err := t.store.mkdir(t.dir); err != nil {
		return err
	}
	_, to := t.newFS(keys, r.meta, nil)
	if err := to.Adopt(ctx, t.dir, r.from, r.src.Stage.dir, keys); err != nil {
		return err
	}
	if err := t.store.journal.record(ctx, t.id, tableState{}); err != nil {
		return err
	}
	i, err := t.useForWriting()
	if err != nil {
		return err
	}
	err = r.apply(ctx, t)
	if err == nil && (r.src.From != nil || r.src.To != nil) {
		err = r.cut(ctx, i)
	}
	i.leave()
	return errors.Join(err, t.Close())
}

// apply commits the batches of the log.
func (r *restore) apply(ctx context.Context, t *Table) error {
	if r.src.Log == nil {
		return nil
	}
	for b, err := range r.src.Log {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = t.ApplyArchived(b, &WriteOptions{NoSync: true})
		}
		if err != nil {
			return err
		}
	}
	return t.SyncLog(ctx)
}

// cut removes the keys outside the range that is restored, and what they take.
func (r *restore) cut(ctx context.Context, i *instance) error {
	i.dirty.Store(true)
	if bytes.Compare(startOfKeys(), r.src.From) < 0 {
		if err := i.result(i.db.DeleteRange(startOfKeys(), r.src.From, pebble.NoSync)); err != nil {
			return err
		}
	}
	if r.src.To != nil {
		if err := i.result(i.db.DeleteRange(r.src.To, endOfKeys(), pebble.NoSync)); err != nil {
			return err
		}
	}
	return i.compact(ctx, nil, nil)
}

// TableName is the name that a table had when its keys were taken out of the keyring,
// as in a lockbox; "" where a store of before metadata version 3 has none.
func TableName(keys *keyring.TableKeys) (string, error) {
	m, err := decodeMetadata(keys.Metadata())
	if err != nil {
		return "", err
	}
	return m.name, nil
}

// CheckTableName tells whether a table may have a name: keyspace.table. The error is
// ErrInvalidName.
func CheckTableName(name string) error { return checkTableName(name) }
