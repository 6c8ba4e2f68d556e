// Package aead is Cofre's one cipher: AES-256-GCM with a random 96-bit nonce.
//
// It is the only package of the project that imports crypto/cipher; a test of
// the architecture holds that. The construction is
// [cipher.NewGCMWithRandomNonce], the one GCM of the standard library that
// also seals under GODEBUG=fips140=only. A sealed message is
//
//	nonce (12) ‖ ciphertext (as long as the plaintext) ‖ tag (16)
//
// SP 800-38D, section 8.3, bounds a key with random nonces to 2^32 seals; a
// counter in every [Sealer] enforces it.
package aead

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"sync/atomic"

	"github.com/cofredb/cofre/internal/secret"
)

const (
	// NonceLen and TagLen are the lengths of nonce and tag, in bytes.
	NonceLen = 12
	TagLen   = 16
	// Overhead is what sealing adds to a message, in bytes.
	Overhead = NonceLen + TagLen
	// MaxSeals is how often one key may seal.
	MaxSeals = 1 << 32
)

var (
	// ErrOpen says that a message did not authenticate: it is not what was
	// sealed, or not under this key, or not with this additional data.
	ErrOpen = errors.New("aead: message does not authenticate")
	// ErrExhausted says that a key has sealed [MaxSeals] messages.
	ErrExhausted = errors.New("aead: key has sealed 2^32 messages and may seal no more")
)

// A Sealer seals and opens messages under one key. It is safe for concurrent
// use.
type Sealer interface {
	// Seal appends the sealed plaintext to dst. It fails with ErrExhausted
	// only. The room that dst has is used; what it lacks is allocated.
	Seal(dst, plaintext, additional []byte) ([]byte, error)
	// Open appends the opened message to dst, or fails with ErrOpen.
	Open(dst, sealed, additional []byte) ([]byte, error)
}

// A Suite makes the Sealer of a 256-bit key. The nil Suite is AES-256-GCM and
// the only one there is; the type exists so that a test can hand the formats
// a cipher that does not authenticate, and watch their own tests fail.
type Suite func(key []byte) (Sealer, error)

// New makes the Sealer of key, which it does not keep.
func (s Suite) New(key []byte) (Sealer, error) {
	if s != nil {
		return s(key)
	}
	if len(key) != secret.Size {
		return nil, errors.New("aead: the key is not 256 bits long")
	}
	var gcm cipher.AEAD
	var err error
	secret.Scope(func() { gcm, err = newGCM(key) }) // the key schedule lives as long as gcm
	if err != nil {
		return nil, err
	}
	return &sealer{gcm: gcm}, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

type sealer struct {
	gcm   cipher.AEAD
	seals atomic.Uint64
}

func (s *sealer) Seal(dst, plaintext, additional []byte) ([]byte, error) {
	if s.seals.Add(1) > MaxSeals {
		return dst, ErrExhausted
	}
	return seal(s.gcm, dst, plaintext, additional), nil
}

func (s *sealer) Open(dst, sealed, additional []byte) ([]byte, error) {
	out, err := open(s.gcm, dst, sealed, additional)
	if err != nil {
		return dst, ErrOpen
	}
	return out, nil
}
