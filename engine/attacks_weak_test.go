package engine

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/keyring"
)

// weakSuite is a stream cipher without authentication, of AES-GCM's shape:
// nonce ‖ text ‖ 16 bytes that nobody looks at.
func weakSuite(key []byte) (aead.Sealer, error) { return weakSealer(slices.Clone(key)), nil }

type weakSealer []byte

func (k weakSealer) stream(dst, src, nonce []byte) []byte {
	seed := [32]byte(k)
	for i, b := range nonce {
		seed[i] ^= b
	}
	c := rand.NewChaCha8(seed)
	var pad [8]byte
	for i, b := range src {
		if i%8 == 0 {
			binary.LittleEndian.PutUint64(pad[:], c.Uint64())
		}
		dst = append(dst, b^pad[i%8])
	}
	return dst
}

func (k weakSealer) Seal(dst, plaintext, _ []byte) ([]byte, error) {
	nonce := keyring.NewID()
	dst = append(dst, nonce[:aead.NonceLen]...)
	dst = k.stream(dst, slices.Clone(plaintext), nonce[:aead.NonceLen])
	return append(dst, make([]byte, aead.TagLen)...), nil
}

func (k weakSealer) Open(dst, sealed, _ []byte) ([]byte, error) {
	if len(sealed) < aead.Overhead {
		return dst, aead.ErrOpen
	}
	return k.stream(dst, sealed[aead.NonceLen:len(sealed)-aead.TagLen], sealed[:aead.NonceLen]), nil
}
