package local

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/derive"
	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
)

const (
	saltLen = 16
	headLen = 1 + 16 + 4 + saltLen
	wrapLen = headLen + keyring.WrappedKeyLen

	// MaxTextLen is the longest text that Encrypt takes, in bytes, as in AWS
	// KMS: what is longer is sealed under a data key.
	MaxTextLen = 4096
)

// A form is a kind of sealed text. What one form sealed does not open as
// another: who may encrypt and decrypt texts cannot make or open the wrap of
// a store's key.
type form struct {
	format uint8
	what   string
	label  string
}

var (
	wrapForm = form{1, "wrapped key", "cofre/v1/local-wrap"}
	textForm = form{2, "ciphertext", "cofre/v1/local-encrypt"}
)

// seal seals a text under the newest version of a key. The context is in its
// canonical form.
func (m form) seal(suite aead.Suite, rk *rootKey, text, context []byte) ([]byte, error) {
	v := rk.newest()
	w := codec.Writer{B: make([]byte, 0, headLen+aead.Overhead+len(text))}
	w.U8(m.format)
	w.Raw(rk.id[:])
	w.U32(v.number)
	var salt [saltLen]byte
	rand.Read(salt[:])
	w.Raw(salt[:])
	s, err := derive.Sealer(suite, v.key, m.label, salt[:])
	if err != nil {
		return nil, err
	}
	return s.Seal(w.B, text, slices.Concat(w.B, context))
}

// open opens what seal made. Errors are *corrupt.Error, keyring.ErrKeyNotFound
// of another key or an unknown version, and keyring.ErrWrongContext.
func (m form) open(suite aead.Suite, rk *rootKey, sealed, context []byte) ([]byte, error) {
	if len(sealed) < headLen+aead.Overhead {
		return nil, bad(-1, "%s: %d bytes are too short", m.what, len(sealed))
	}
	r := codec.NewReader(sealed)
	if f := r.U8(); f != m.format {
		return nil, corrupt.New(corrupt.ErrVersion, "", -1, "%s: format %d, not %d", m.what, f, m.format)
	}
	var id keyring.ID
	r.Fill(id[:])
	if id != rk.id {
		return nil, fmt.Errorf("%w: %s of key id %s, and %q has %s", keyring.ErrKeyNotFound, m.what, id, rk.name, rk.id)
	}
	number := r.U32()
	v, ok := rk.version(number)
	if !ok {
		return nil, fmt.Errorf("%w: %q has no version %d", keyring.ErrKeyNotFound, rk.name, number)
	}
	s, err := derive.Sealer(suite, v.key, m.label, r.Raw(saltLen))
	if err != nil {
		return nil, err
	}
	b, err := s.Open(make([]byte, 0, r.Len()), r.Rest(), slices.Concat(sealed[:headLen], context))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", keyring.ErrWrongContext, aead.ErrOpen)
	}
	return b, nil
}

// Encrypt seals a text of 1 to MaxTextLen bytes under the newest version of
// the key, bound to ec, which Decrypt has to get again. The result differs on
// each call. Errors are those of Wrap, *keyring.LimitError and ErrContext.
func (k *Key) Encrypt(ctx context.Context, text []byte, ec EncryptionContext) ([]byte, error) {
	return k.encrypt(ctx, OpEncrypt, text, ec)
}

func (k *Key) encrypt(ctx context.Context, op Operations, text []byte, ec EncryptionContext) (sealed []byte, err error) {
	if len(text) == 0 || len(text) > MaxTextLen {
		return nil, &keyring.LimitError{What: "bytes of a text, which is not empty", Len: len(text), Max: MaxTextLen}
	}
	canonical, err := ec.canonical(MaxContextLen)
	if err != nil {
		return nil, err
	}
	err = k.useNewest(ctx, op, ec, func(rk *rootKey) error {
		sealed, err = textForm.seal(k.s.suite, rk, text, canonical)
		return err
	})
	if err != nil {
		return nil, err
	}
	return sealed, nil
}

// Decrypt opens what Encrypt or GenerateDataKeyWithoutPlaintext made for the
// same ec, under whichever version of the key sealed it. The caller clears the
// result. Errors are those of Unwrap, and ErrContext.
func (k *Key) Decrypt(ctx context.Context, sealed []byte, ec EncryptionContext) ([]byte, error) {
	return k.decrypt(ctx, OpDecrypt, sealed, ec)
}

func (k *Key) decrypt(ctx context.Context, op Operations, sealed []byte, ec EncryptionContext) (text []byte, err error) {
	canonical, err := ec.canonical(MaxContextLen)
	if err != nil {
		return nil, err
	}
	err = k.use(ctx, op, ec, func(rk *rootKey) error {
		if len(sealed) > headLen+aead.Overhead+MaxTextLen {
			return bad(-1, "ciphertext: %d bytes are too long", len(sealed))
		}
		text, err = textForm.open(k.s.suite, rk, sealed, canonical)
		return err
	})
	if err != nil {
		return nil, err
	}
	return text, nil
}

// GenerateDataKeyWithoutPlaintext seals 32 random bytes: a data key, for who
// is to have it later by Decrypt. Errors are those of Encrypt.
func (k *Key) GenerateDataKeyWithoutPlaintext(ctx context.Context, ec EncryptionContext) ([]byte, error) {
	key := secret.Random()
	defer key.Wipe()
	return k.encrypt(ctx, OpGenerateDataKeyWithoutPlaintext, key.Expose(), ec)
}

// ReEncrypt opens a ciphertext of this key, bound to ec, and seals the text
// anew: under the newest version of another key, or of the same, bound to
// toContext. The caller never has the text. Who is not the owner needs
// OpReEncryptFrom on this key and OpReEncryptTo on the other. Errors are those
// of Decrypt and Encrypt.
func (k *Key) ReEncrypt(ctx context.Context, sealed []byte, ec EncryptionContext, to *Key, toContext EncryptionContext) ([]byte, error) {
	text, err := k.decrypt(ctx, OpReEncryptFrom, sealed, ec)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	return to.encrypt(ctx, OpReEncryptTo, text, toContext)
}
