// Package derive makes keys from keys: HKDF-Expand-SHA-384 (RFC 5869, 2.3)
// with a label for each use.
//
//	info   length of the label (4, big-endian) ‖ label ‖ context
//
// The length before the label makes every pair of label and context distinct.
// Labels begin with "cofre/v1/"; each is used for one purpose in one format.
package derive

import (
	"crypto/hkdf"
	"crypto/sha512"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/secret"
)

// Bytes derives n bytes from key.
func Bytes(key *secret.Key, label string, context []byte, n int) (out []byte, err error) {
	var w codec.Writer
	w.Str(label)
	w.Raw(context)
	secret.Scope(func() { out, err = hkdf.Expand(sha512.New384, key.Expose(), string(w.B), n) })
	return out, err
}

// Sealer derives a key and makes its cipher.
func Sealer(suite aead.Suite, key *secret.Key, label string, context []byte) (aead.Sealer, error) {
	b, err := Bytes(key, label, context, secret.Size)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return suite.New(b)
}
