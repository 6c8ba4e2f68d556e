package local

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/derive"
	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
)

const (
	scheme = "cofre-local:"

	wrapFormat  = 1
	labelWrap   = "cofre/v1/local-wrap"
	saltLen     = 16
	wrapHeadLen = 1 + 16 + 4 + saltLen
	wrapLen     = wrapHeadLen + keyring.WrappedKeyLen
)

func uri(name string) string { return scheme + name }

// A Key is a root key of a Service. It is a name: a key that is removed from
// the file, or comes back, is noticed by the next call. It implements
// keyring.RootKey and keyring.Anchor.
type Key struct {
	s    *Service
	name string
}

var (
	_ keyring.RootKey = (*Key)(nil)
	_ keyring.Anchor  = (*Key)(nil)
)

// URI is "cofre-local:" and the name.
func (k *Key) URI() string { return uri(k.name) }

// Name is the key's name in its service.
func (k *Key) Name() string { return k.name }

// Format shows the URI, whatever the verb.
func (k *Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.URI()) }

// use runs f on the key in its present state, if that allows its use.
func (k *Key) use(ctx context.Context, f func(*rootKey) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return k.s.view(func(kf *keyFile) error {
		rk, err := kf.named(k.name)
		if err != nil {
			return err
		}
		if rk.state != keyring.StateEnabled {
			return fmt.Errorf("%w: %q is %s", keyring.ErrKeyDenied, k.name, rk.state)
		}
		return f(rk)
	})
}

// Wrap implements keyring.RootKey.
func (k *Key) Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) (blob []byte, err error) {
	err = k.use(ctx, func(rk *rootKey) error {
		v := rk.newest()
		w := codec.Writer{B: make([]byte, 0, wrapLen)}
		w.U8(wrapFormat)
		w.Raw(rk.id[:])
		w.U32(v.number)
		var salt [saltLen]byte
		rand.Read(salt[:])
		w.Raw(salt[:])
		s, err := derive.Sealer(k.s.suite, v.key, labelWrap, salt[:])
		if err != nil {
			return err
		}
		blob, err = s.Seal(w.B, key.Expose(), wrapAAD(w.B, ec))
		return err
	})
	if err != nil {
		return nil, err
	}
	return blob, nil
}

// Unwrap implements keyring.RootKey.
func (k *Key) Unwrap(ctx context.Context, wrapped []byte, ec keyring.Context) (key *keyring.Secret, err error) {
	err = k.use(ctx, func(rk *rootKey) error {
		key, err = k.unwrap(rk, wrapped, ec)
		return err
	})
	return key, err
}

func (k *Key) unwrap(rk *rootKey, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	if len(wrapped) != wrapLen {
		return nil, corrupt.New(corrupt.ErrFormat, "", -1, "wrapped key: %d bytes, not %d", len(wrapped), wrapLen)
	}
	r := codec.NewReader(wrapped)
	if f := r.U8(); f != wrapFormat {
		return nil, corrupt.New(corrupt.ErrVersion, "", -1, "wrapped key: format %d, this build knows %d", f, wrapFormat)
	}
	var id keyring.ID
	r.Fill(id[:])
	if id != rk.id {
		return nil, fmt.Errorf("%w: wrapped by key id %s, and %q has %s", keyring.ErrKeyNotFound, id, k.name, rk.id)
	}
	number := r.U32()
	v, ok := rk.version(number)
	if !ok {
		return nil, fmt.Errorf("%w: %q has no version %d", keyring.ErrKeyNotFound, k.name, number)
	}
	s, err := derive.Sealer(k.s.suite, v.key, labelWrap, r.Raw(saltLen))
	if err != nil {
		return nil, err
	}
	b, err := s.Open(make([]byte, 0, keyring.WrappedKeyLen), r.Rest(), wrapAAD(wrapped[:wrapHeadLen], ec))
	if err != nil || len(b) != secret.Size {
		return nil, fmt.Errorf("%w: %w", keyring.ErrWrongContext, aead.ErrOpen)
	}
	return secret.Take(b)
}

// wrapAAD binds the wrap's own header and the encryption context.
func wrapAAD(head []byte, ec keyring.Context) []byte { return slices.Concat(head, ec.Canonical()) }

// Describe implements keyring.RootKey.
func (k *Key) Describe(ctx context.Context) (keyring.Description, error) {
	d := keyring.Description{URI: k.URI(), Location: k.s.path, Note: "unsealed: the file's mode is what guards it"}
	if err := ctx.Err(); err != nil {
		return d, err
	}
	err := k.s.view(func(kf *keyFile) error {
		rk, err := kf.named(k.name)
		if err != nil {
			return err
		}
		d.State, d.Versions = rk.state, rk.infos()
		return nil
	})
	return d, err
}

// NewestGeneration implements keyring.Anchor.
func (k *Key) NewestGeneration(ctx context.Context, store keyring.ID) (gen uint64, digest [32]byte, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return 0, digest, false, err
	}
	err = k.s.view(func(kf *keyFile) error {
		var i int
		if i, ok = kf.findNote(store); ok {
			gen, digest = kf.notes[i].generation, kf.notes[i].digest
		}
		return nil
	})
	return gen, digest, ok, err
}

// NoteGeneration implements keyring.Anchor. A note that stands already costs
// no write.
func (k *Key) NoteGeneration(ctx context.Context, store keyring.ID, gen uint64, digest [32]byte) error {
	return k.s.change(ctx, func(kf *keyFile) (bool, error) {
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
