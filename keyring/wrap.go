package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cofredb/cofre/internal/corrupt"
)

// newEntry makes a key, version 1, wraps it by each of the roots and finishes its
// entry.
func (k *Keyring) newEntry(ctx context.Context, roots []RootKey, ec Context, op string, metadata []byte) (*keyEntry, *Secret, error) {
	if !slices.ContainsFunc(roots, func(r RootKey) bool { return !isOffline(r) }) {
		return nil, nil, &KeyError{Op: op, URI: roots[0].URI(), Err: ErrLastRoot}
	}
	key := RandomSecret()
	e, err := k.buildEntry(ctx, roots, key, ec, op, metadata)
	if err != nil {
		key.Wipe()
		return nil, nil, err
	}
	return e, key, nil
}

func (k *Keyring) buildEntry(ctx context.Context, roots []RootKey, key *Secret, ec Context, op string, metadata []byte) (*keyEntry, error) {
	var wraps []wrap
	for _, root := range roots {
		w, err := wrapBy(ctx, root, key, ec, op)
		if err != nil {
			return nil, err
		}
		wraps = append(wraps, w)
	}
	commitment, err := commit(key, ec)
	if err != nil {
		return nil, err
	}
	e := &keyEntry{id: ec.Table, versions: []keyVersion{{
		number: ec.Version, createdAt: k.now(), state: versionCurrent,
		commitment: commitment, wraps: wraps,
	}}}
	if metadata != nil {
		if e.metadata, err = sealSalted(k.opts.Suite, key, labelMetadata, metadata, metadataAAD(ec.Store, ec.Table)); err != nil {
			return nil, err
		}
	}
	return e, e.finish(ec.Store, key)
}

// wrapBy has a root key wrap a key.
func wrapBy(ctx context.Context, root RootKey, key *Secret, ec Context, op string) (wrap, error) {
	blob, err := root.Wrap(ctx, key, ec)
	if err == nil && (len(blob) == 0 || len(blob) > MaxWrapLen) {
		err = &LimitError{What: "wrapped key", Len: len(blob), Max: MaxWrapLen}
	}
	if err != nil {
		return wrap{}, &KeyError{Op: op, URI: root.URI(), Err: err}
	}
	return wrap{uri: root.URI(), blob: blob}, nil
}

// A place is where an entry lies.
type place struct {
	path   string
	offset int64
}

// of gives an error about the entry its place.
func (p place) of(err error) error {
	var e *corrupt.Error
	if errors.As(err, &e) {
		c := *e
		c.Path, c.Offset = p.path, p.offset
		return &c
	}
	return err
}

// fault makes the error of a root key that did not unwrap. Where the key was
// there, or the wrap does not parse, the wrap is what is wrong: then it is a
// *corrupt.Error as well.
func (p place) fault(op, uri string, err error) error {
	ke := &KeyError{Op: op, URI: uri, Err: err}
	var e *corrupt.Error
	if errors.Is(err, ErrWrongContext) || errors.As(err, &e) && e.Path == "" {
		return fmt.Errorf("%w: %w", corrupt.New(corrupt.ErrAuth, p.path, p.offset, "a wrapped key does not open"), ke)
	}
	return fmt.Errorf("%s at offset %d: %w", p.path, p.offset, ke)
}

// now tells the time as the file keeps it.
func (k *Keyring) now() time.Time { return k.opts.Now().UTC().Round(0) }
