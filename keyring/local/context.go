package local

import (
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/cofredb/cofre/internal/codec"
)

const (
	// MaxContextLen bounds an encryption context in its canonical form, in
	// bytes; AWS KMS bounds its own by as much.
	MaxContextLen = 8192
	// MaxConstraintLen bounds that of a grant's constraint.
	MaxConstraintLen = 1024
)

// An EncryptionContext says what a text is for: pairs that are not secret, are
// not stored, and have to be the same when the text is opened. It is the
// additional data of the seal. Keys and values are UTF-8, keys are not empty.
// A nil context is one without pairs.
type EncryptionContext map[string]string

// canonical gives the one encoding of a context: that of keyring.Context. It
// fails with ErrContext.
func (c EncryptionContext) canonical(most int) ([]byte, error) {
	n := 0
	for k, v := range c {
		n += 8 + len(k) + len(v)
		switch {
		case k == "":
			return nil, fmt.Errorf("%w: an empty key", ErrContext)
		case !utf8.ValidString(k) || !utf8.ValidString(v):
			return nil, fmt.Errorf("%w: a pair that is no UTF-8", ErrContext)
		case n > most:
			return nil, fmt.Errorf("%w: more than %d bytes", ErrContext, most)
		}
	}
	w := codec.Writer{B: make([]byte, 0, n)}
	for _, k := range slices.Sorted(maps.Keys(c)) {
		w.Str(k)
		w.Str(c[k])
	}
	return w.B, nil
}

// has tells whether all pairs of o are in c.
func (c EncryptionContext) has(o EncryptionContext) bool {
	for k, v := range o {
		if got, ok := c[k]; !ok || got != v {
			return false
		}
	}
	return true
}
