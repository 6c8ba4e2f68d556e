package local

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

func TestEncrypt(t *testing.T) {
	t.Parallel()
	s, k := newTestKey(t)
	ctx := t.Context()
	ec := EncryptionContext{"purpose": "test", "empty": ""}
	for _, n := range []int{1, 32, MaxTextLen} {
		text := bytes.Repeat([]byte{'x'}, n)
		for _, c := range []EncryptionContext{nil, {}, ec} {
			sealed, err := k.Encrypt(ctx, text, c)
			require.NoError(t, err)
			require.Len(t, sealed, headLen+28+n)
			again, err := k.Encrypt(ctx, text, c)
			require.NoError(t, err)
			require.NotEqual(t, sealed, again)
			got, err := k.Decrypt(ctx, sealed, maps.Clone(c))
			require.NoError(t, err)
			require.Equal(t, text, got)
		}
	}
	var limit *keyring.LimitError
	for _, n := range []int{0, MaxTextLen + 1} {
		_, err := k.Encrypt(ctx, make([]byte, n), nil)
		require.ErrorAs(t, err, &limit)
	}
	text := []byte("text")
	sealed, err := k.Encrypt(ctx, text, ec)
	require.NoError(t, err)
	for what, c := range map[string]EncryptionContext{
		"none": nil, "less": {"purpose": "test"}, "other": {"purpose": "tes", "empty": ""}, "more": {"purpose": "test", "empty": "", "a": ""},
		"moved": {"purpos": "etest", "empty": ""}, "exchanged": {"test": "purpose", "empty": ""},
	} {
		_, err := k.Decrypt(ctx, sealed, c)
		require.ErrorIs(t, err, keyring.ErrWrongContext, what)
	}
	for what, c := range map[string]EncryptionContext{
		"an empty key": {"": "x"}, "no UTF-8": {"\xff": "x"}, "no UTF-8 ": {"x": "\xff"}, "too long": {"x": strings.Repeat("x", MaxContextLen-8)},
	} {
		_, err := k.Encrypt(ctx, text, c)
		require.ErrorIs(t, err, ErrContext, what)
		_, err = k.Decrypt(ctx, sealed, c)
		require.ErrorIs(t, err, ErrContext, what)
	}
	require.NoError(t, second(k.Encrypt(ctx, text, EncryptionContext{"x": strings.Repeat("x", MaxContextLen-9)})))
	for i := range sealed {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		_, err := k.Decrypt(ctx, b, ec)
		require.Error(t, err, "byte %d", i)
	}
	for _, b := range [][]byte{nil, sealed[:len(sealed)-1], append(bytes.Clone(sealed), 0), make([]byte, 8192)} {
		_, err := k.Decrypt(ctx, b, ec)
		require.Error(t, err)
	}
	require.ErrorIs(t, second(k.Decrypt(ctx, make([]byte, 1<<20), ec)), corrupt.ErrFormat)

	// An older version opens; a disabled key does not.
	require.NoError(t, second(s.Rotate(ctx, "default")))
	require.NoError(t, second(k.Decrypt(ctx, sealed, ec)))
	require.NoError(t, s.Disable(ctx, "default"))
	require.ErrorIs(t, second(k.Decrypt(ctx, sealed, ec)), keyring.ErrKeyDenied)
	require.ErrorIs(t, second(k.Encrypt(ctx, text, ec)), keyring.ErrKeyDenied)
}

// TestForms: a wrap is no text, and a text is no wrap, with the very context
// of a wrap too.
func TestForms(t *testing.T) {
	t.Parallel()
	_, k := newTestKey(t)
	ctx, ec := t.Context(), testContext()
	canonical, err := EncryptionContext(ec.Map()).canonical(MaxContextLen)
	require.NoError(t, err)
	require.Equal(t, ec.Canonical(), canonical)
	secret := keyring.RandomSecret()
	wrap, err := k.Wrap(ctx, secret, ec)
	require.NoError(t, err)
	text, err := k.Encrypt(ctx, secret.Expose(), ec.Map())
	require.NoError(t, err)
	require.Len(t, text, len(wrap))
	require.ErrorIs(t, second(k.Decrypt(ctx, wrap, ec.Map())), corrupt.ErrVersion)
	require.ErrorIs(t, second(k.Unwrap(ctx, text, ec)), corrupt.ErrVersion)
	wrap[0], text[0] = text[0], wrap[0]
	require.ErrorIs(t, second(k.Decrypt(ctx, wrap, ec.Map())), keyring.ErrWrongContext)
	require.ErrorIs(t, second(k.Unwrap(ctx, text, ec)), keyring.ErrWrongContext)
}

func TestDataKeyAndReEncrypt(t *testing.T) {
	t.Parallel()
	s, k := newTestKey(t)
	ctx := t.Context()
	a, b := EncryptionContext{"a": "1"}, EncryptionContext{"b": "2"}
	sealed, err := k.GenerateDataKeyWithoutPlaintext(ctx, a)
	require.NoError(t, err)
	key, err := k.Decrypt(ctx, sealed, a)
	require.NoError(t, err)
	require.Len(t, key, 32)
	another, err := k.GenerateDataKeyWithoutPlaintext(ctx, a)
	require.NoError(t, err)
	other, err := k.Decrypt(ctx, another, a)
	require.NoError(t, err)
	require.NotEqual(t, key, other)

	to, err := s.CreateKey(ctx, "to")
	require.NoError(t, err)
	_, elsewhere := newTestKey(t)
	require.NoError(t, second(s.Rotate(ctx, "default")))
	for _, dest := range []*Key{k, to, elsewhere} {
		moved, err := k.ReEncrypt(ctx, sealed, a, dest, b)
		require.NoError(t, err)
		got, err := dest.Decrypt(ctx, moved, b)
		require.NoError(t, err)
		require.Equal(t, key, got)
		require.ErrorIs(t, second(dest.Decrypt(ctx, moved, a)), keyring.ErrWrongContext)
		if dest == k {
			require.EqualValues(t, 2, moved[20], "under the newest version")
		} else {
			require.ErrorIs(t, second(k.Decrypt(ctx, moved, b)), keyring.ErrKeyNotFound)
		}
	}
	require.ErrorIs(t, second(k.ReEncrypt(ctx, sealed, b, to, b)), keyring.ErrWrongContext)
	require.NoError(t, s.Disable(ctx, "to"))
	require.ErrorIs(t, second(k.ReEncrypt(ctx, sealed, a, to, b)), keyring.ErrKeyDenied)
}
