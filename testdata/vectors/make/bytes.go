package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"slices"
)

// cat joins fields: integers big-endian in their own width, byte slices and
// strings as they are.
func cat(fields ...any) []byte {
	var b []byte
	for _, f := range fields {
		switch f := f.(type) {
		case uint8:
			b = append(b, f)
		case uint16:
			b = binary.BigEndian.AppendUint16(b, f)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, f)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, f)
		case []byte:
			b = append(b, f...)
		case string:
			b = append(b, f...)
		default:
			panic(fmt.Sprintf("a field of type %T", f))
		}
	}
	return b
}

// prefixed is a field with its length before it.
func prefixed[T ~[]byte | ~string](b T) []byte { return cat(uint32(len(b)), []byte(b)) }

// random gives n bytes that depend on the label alone.
func random(label string, n int) []byte {
	var b []byte
	for i := uint64(0); len(b) < n; i++ {
		sum := sha256.Sum256(cat("test vectors of cofre: ", label, uint8(0), i))
		b = append(b, sum[:]...)
	}
	return b[:n]
}

func id(label string) []byte { return random("id of "+label, 16) }

var zeros16 = make([]byte, 16)

// seal is nonce ‖ ciphertext ‖ tag. The nonce is random over all that is
// sealed, so that no two messages of a key have the same.
func seal(key, text, additional []byte) []byte {
	nonce := random(fmt.Sprintf("nonce %x", sha256.Sum256(cat(key, prefixed(text), additional))), 12)
	gcm := must(cipher.NewGCM(must(aes.NewCipher(key))))
	return gcm.Seal(nonce, nonce, text, additional)
}

func expand(key []byte, info []byte, n int) []byte {
	return must(hkdf.Expand(sha512.New384, key, string(info), n))
}

// derive is derive of the keyring's page.
func derive(key []byte, label string, context []byte, n int) []byte {
	return expand(key, cat(prefixed(label), context), n)
}

// sealSalted seals with a salt, which the name of the sealed thing makes
// random.
func sealSalted(key []byte, label string, text, additional []byte) []byte {
	salt := random(fmt.Sprintf("salt %s %x", label, sha256.Sum256(cat(key, prefixed(text), additional))), 16)
	return cat(salt, seal(derive(key, label, salt, 32), text, additional))
}

func mac(key []byte, label string, parts ...[]byte) []byte {
	h := hmac.New(sha512.New384, derive(key, label, nil, 48))
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// flip is b with the lowest bit of the byte at off flipped.
func flip(b []byte, off int) []byte {
	c := bytes.Clone(b)
	c[off] ^= 1
	return c
}

// put is b with the bytes from off on replaced.
func put(b []byte, off int, fields ...any) []byte {
	c := bytes.Clone(b)
	p := cat(fields...)
	if off+len(p) > len(c) {
		panic("put behind the end")
	}
	copy(c[off:], p)
	return c
}

// join is the concatenation of parts.
func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

const createdAt = 1767323045000000678 // 2026-01-02T03:04:05.000000678Z
