package local

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
)

const scheme = "cofre-local:"

func uri(name string) string { return scheme + name }

// A Key is a root key of a Service. It is a name: a key that is removed from
// the file, or comes back, is noticed by the next call. It implements
// keyring.RootKey, keyring.Anchor, keyring.Destroyer and keyring.Granter.
type Key struct {
	s    *Service
	name string
}

var (
	_ keyring.RootKey   = (*Key)(nil)
	_ keyring.Anchor    = (*Key)(nil)
	_ keyring.Destroyer = (*Key)(nil)
)

// ScheduleDeletion implements keyring.Destroyer, by Service.ScheduleDeletion.
func (k *Key) ScheduleDeletion(ctx context.Context, days int) (time.Time, error) {
	return k.s.ScheduleDeletion(ctx, k.name, days)
}

// URI is "cofre-local:" and the name.
func (k *Key) URI() string { return uri(k.name) }

// Name is the key's name in its service.
func (k *Key) Name() string { return k.name }

// Format shows the URI, whatever the verb.
func (k *Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.URI()) }

// use runs f on the key in its present state, if that allows its use, and a
// grant does where the owner does not ask.
func (k *Key) use(ctx context.Context, op Operations, ec EncryptionContext, f func(*rootKey) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return k.s.view(ctx, func(kf *keyFile) error {
		rk, err := k.s.living(kf, k.name)
		if err != nil {
			return err
		}
		if err := kf.permit(k.s.principal, rk, op, ec); err != nil {
			return err
		}
		if rk.state != keyring.StateEnabled {
			return &StateError{Key: k.name, State: rk.state}
		}
		return f(rk)
	})
}

// useNewest is use to seal: an automatic rotation that is due comes first.
// Where the file cannot be written the newest version that there is goes on:
// it is as good as it was a moment before the date.
func (k *Key) useNewest(ctx context.Context, op Operations, ec EncryptionContext, f func(*rootKey) error) error {
	due := false
	err := k.use(ctx, op, ec, func(rk *rootKey) error {
		if due = rk.due(k.s.wall()); due {
			return nil
		}
		return f(rk)
	})
	if err != nil || !due {
		return err
	}
	_ = k.s.change(ctx, func(*keyFile) (bool, error) { return false, nil }) // upkeep is all
	return k.use(ctx, op, ec, f)
}

// Wrap implements keyring.RootKey.
func (k *Key) Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) (blob []byte, err error) {
	err = k.useNewest(ctx, OpWrap, ec.Map(), func(rk *rootKey) error {
		blob, err = wrapForm.seal(k.s.suite, rk, key.Expose(), ec.Canonical())
		return err
	})
	if err != nil {
		return nil, err
	}
	return blob, nil
}

// Unwrap implements keyring.RootKey.
func (k *Key) Unwrap(ctx context.Context, wrapped []byte, ec keyring.Context) (key *keyring.Secret, err error) {
	err = k.use(ctx, OpUnwrap, ec.Map(), func(rk *rootKey) error {
		key, err = k.unwrap(rk, wrapped, ec)
		return err
	})
	return key, err
}

func (k *Key) unwrap(rk *rootKey, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	if len(wrapped) != wrapLen {
		return nil, bad(-1, "wrapped key: %d bytes, not %d", len(wrapped), wrapLen)
	}
	b, err := wrapForm.open(k.s.suite, rk, wrapped, ec.Canonical())
	if err != nil {
		return nil, err
	}
	if len(b) != secret.Size {
		clear(b)
		return nil, fmt.Errorf("%w: it holds no key", keyring.ErrWrongContext)
	}
	return secret.Take(b)
}

// Describe implements keyring.RootKey. Who is not the owner needs a grant of
// OpDescribeKey.
func (k *Key) Describe(ctx context.Context) (keyring.Description, error) {
	d := keyring.Description{URI: k.URI(), Location: k.s.path}
	err := k.describe(ctx, func(kf *keyFile, rk *rootKey) {
		d.State, d.DeletionDate, d.Versions = rk.state, rk.deleteAt, rk.infos()
		d.Sealed, d.Note = kf.seal.kind != unsealed, sealedBy(kf.seal.kind)
		if !d.Sealed {
			d.Note += ": the file's mode is what guards it"
		}
	})
	return d, err
}

// DescribeKey tells all about a key that is no secret. Who is not the owner
// needs a grant of OpDescribeKey.
func (k *Key) DescribeKey(ctx context.Context) (info KeyInfo, err error) {
	err = k.describe(ctx, func(kf *keyFile, rk *rootKey) { info = kf.info(rk) })
	return info, err
}

func (k *Key) describe(ctx context.Context, f func(*keyFile, *rootKey)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return k.s.view(ctx, func(kf *keyFile) error {
		rk, err := k.s.living(kf, k.name)
		if err == nil {
			err = kf.permit(k.s.principal, rk, OpDescribeKey, nil)
		}
		if err == nil {
			f(kf, rk)
		}
		return err
	})
}

// NewestGeneration implements keyring.Anchor. Who is not the owner needs a
// grant to wrap or unwrap with this key, for this store.
func (k *Key) NewestGeneration(ctx context.Context, store keyring.ID) (gen uint64, digest [32]byte, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return 0, digest, false, err
	}
	err = k.s.view(ctx, func(kf *keyFile) error {
		if err := k.mayNote(kf, store); err != nil {
			return err
		}
		var i int
		if i, ok = kf.findNote(store); ok {
			gen, digest = kf.notes[i].generation, kf.notes[i].digest
		}
		return nil
	})
	return gen, digest, ok, err
}

func (k *Key) mayNote(kf *keyFile, store keyring.ID) error {
	if k.s.principal == "" {
		return nil
	}
	rk, err := k.s.living(kf, k.name)
	if err != nil {
		return err
	}
	return kf.permitNote(k.s.principal, rk, store)
}

// NoteGeneration implements keyring.Anchor. A note that stands already costs
// no write. Who is not the owner needs what NewestGeneration needs.
func (k *Key) NoteGeneration(ctx context.Context, store keyring.ID, gen uint64, digest [32]byte) error {
	return k.s.change(ctx, func(kf *keyFile) (bool, error) {
		if err := k.mayNote(kf, store); err != nil {
			return false, err
		}
		i, ok := kf.findNote(store)
		if !ok {
			if len(kf.notes) >= maxNotes {
				return false, &keyring.LimitError{What: "notes of stores", Len: len(kf.notes) + 1, Max: maxNotes}
			}
			kf.notes = slices.Insert(kf.notes, i, note{store: store, generation: gen, digest: digest})
			return true, nil
		}
		n := &kf.notes[i]
		switch {
		case gen == n.generation && digest == n.digest:
			return false, nil
		case gen <= n.generation:
			return false, fmt.Errorf("%w: generation %d of store %s, and generation %d is noted", keyring.ErrRollback, gen, store, n.generation)
		}
		n.generation, n.digest = gen, digest
		return true, nil
	})
}
