package derive

import (
	"crypto/hmac"
	"crypto/sha512"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/secret"
)

// TestBytes compares with RFC 5869's definition: T(1) = HMAC(key, info ‖ 1).
func TestBytes(t *testing.T) {
	t.Parallel()
	key := secret.Random()
	got, err := Bytes(key, "cofre/v1/x", []byte("ctx"), 48)
	require.NoError(t, err)
	h := hmac.New(sha512.New384, key.Expose())
	h.Write([]byte("\x00\x00\x00\x0acofre/v1/xctx\x01"))
	require.Equal(t, h.Sum(nil), got)
}

// TestDistinct moves the border between label and context.
func TestDistinct(t *testing.T) {
	t.Parallel()
	key := secret.Random()
	a, err := Bytes(key, "ab", []byte("c"), 32)
	require.NoError(t, err)
	b, err := Bytes(key, "a", []byte("bc"), 32)
	require.NoError(t, err)
	require.NotEqual(t, a, b)
}

func TestSealer(t *testing.T) {
	t.Parallel()
	key := secret.Random()
	s, err := Sealer(nil, key, "l", []byte{1})
	require.NoError(t, err)
	sealed, err := s.Seal(nil, []byte("text"), nil)
	require.NoError(t, err)
	for context, ok := range map[byte]bool{1: true, 2: false} {
		s, err := Sealer(nil, key, "l", []byte{context})
		require.NoError(t, err)
		_, err = s.Open(nil, sealed, nil)
		require.Equal(t, ok, err == nil, "context %d", context)
	}
}
