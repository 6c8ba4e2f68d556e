package recovery

import (
	"bytes"
	"context"
	"crypto/fips140"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/keyringtest"
)

func newTestIdentity(t testing.TB) *Identity {
	t.Helper()
	id, err := Generate()
	if errors.Is(err, ErrNotApproved) {
		require.True(t, fips140.Enforced())
		require.ErrorIs(t, err, keyring.ErrKeyDenied)
		t.Skip("this FIPS 140-3 module has no approved HPKE, and says so")
	}
	require.NoError(t, err)
	t.Cleanup(func() { id.Close() })
	return id
}

func TestConformance(t *testing.T) {
	t.Parallel()
	keyringtest.Run(t, keyringtest.Config{
		New: func(t testing.TB) keyring.RootKey { return newTestIdentity(t) },
		Reopen: func(t testing.TB, k keyring.RootKey) keyring.RootKey {
			text, err := k.(*Identity).Sheet(About{})
			require.NoError(t, err)
			again, err := ParseSheet(text)
			require.NoError(t, err)
			t.Cleanup(func() { again.Close() })
			return again
		},
		Secrets: func(t testing.TB, k keyring.RootKey) [][]byte {
			return [][]byte{bytes.Clone(k.(*Identity).seed.Expose())}
		},
		Stride: 7,
	})
}

// TestRecipient: the public half wraps what the whole key unwraps, and unwraps
// nothing itself.
func TestRecipient(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	id := newTestIdentity(t)
	text, err := id.Recipient().MarshalText()
	require.NoError(t, err)
	r, err := ParseRecipient(text)
	require.NoError(t, err)
	require.Equal(t, id.URI(), r.URI())
	require.True(t, r.Offline())
	require.True(t, id.Offline())
	ec := keyring.Context{Store: keyring.NewID(), Purpose: keyring.PurposeStoreKey, Version: 1}
	key := keyring.RandomSecret()
	blob, err := r.Wrap(ctx, key, ec)
	require.NoError(t, err)
	got, err := id.Unwrap(ctx, blob, ec)
	require.NoError(t, err)
	require.True(t, got.Equal(key))

	_, err = r.Unwrap(ctx, blob, ec)
	require.ErrorIs(t, err, keyring.ErrKeyOffline)
	require.ErrorIs(t, err, keyring.ErrKeyUnreachable)
	require.NotErrorIs(t, err, keyring.ErrKeyDenied, "a table is not locked for that")
	d, err := r.Describe(ctx)
	require.NoError(t, err)
	require.Equal(t, keyring.Description{URI: r.URI(), State: keyring.StateEnabled, Note: d.Note}, d)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = r.Wrap(cancelled, key, ec)
	require.ErrorIs(t, err, context.Canceled)
	_, err = r.Unwrap(cancelled, blob, ec)
	require.ErrorIs(t, err, context.Canceled)

	require.NoError(t, id.Close())
	require.NoError(t, id.Close())
	_, err = id.Unwrap(ctx, blob, ec)
	require.ErrorIs(t, err, keyring.ErrClosed)
	_, err = id.Sheet(About{})
	require.ErrorIs(t, err, keyring.ErrClosed)
	_, err = id.Wrap(ctx, key, ec)
	require.NoError(t, err, "that takes the public key alone")
}
