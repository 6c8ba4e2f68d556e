//go:build goexperiment.runtimesecret && linux && (amd64 || arm64)

package aead

import (
	"crypto/cipher"

	"github.com/cofredb/cofre/internal/secret"
)

// What the cipher reads of its key schedule passes through registers, and from
// there to the stack where a goroutine is interrupted.

func seal(gcm cipher.AEAD, dst, plaintext, additional []byte) (out []byte) {
	secret.Scope(func() { out = gcm.Seal(dst, nil, plaintext, additional) })
	return out
}

func open(gcm cipher.AEAD, dst, sealed, additional []byte) (out []byte, err error) {
	secret.Scope(func() { out, err = gcm.Open(dst, nil, sealed, additional) })
	return out, err
}
