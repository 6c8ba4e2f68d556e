package local

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/keyring"
)

// A noSuite does not encrypt and does not authenticate.
type noSuite struct{}

func (noSuite) Seal(dst, text, _ []byte) ([]byte, error) {
	dst = append(dst, make([]byte, aead.NonceLen)...)
	return append(append(dst, text...), make([]byte, aead.TagLen)...), nil
}

func (noSuite) Open(dst, sealed, _ []byte) ([]byte, error) {
	return append(dst, sealed[aead.NonceLen:len(sealed)-aead.TagLen]...), nil
}

// TestNegativeControl: with a cipher that does not authenticate, the flips and
// contexts that the conformance suite demands errors for go unnoticed.
func TestNegativeControl(t *testing.T) {
	t.Parallel()
	for name, suite := range map[string]aead.Suite{"AES-256-GCM": nil, "none": func([]byte) (aead.Sealer, error) { return noSuite{}, nil }} {
		s, k := newTestKey(t)
		s.suite = suite
		blob, err := k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
		require.NoError(t, err)
		wrong := testContext()
		wrong.Version++
		_, err = k.Unwrap(t.Context(), blob, wrong)
		require.Equal(t, suite == nil, err != nil, "%s: wrong context", name)
		for i := 21; i < len(blob); i++ {
			b := bytes.Clone(blob)
			b[i] ^= 1
			_, err = k.Unwrap(t.Context(), b, testContext())
			require.Equal(t, suite == nil, err != nil, "%s: byte %d", name, i)
		}
	}
}
