package local

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

func TestAliases(t *testing.T) {
	t.Parallel()
	s, k := newTestKey(t)
	ctx := t.Context()
	other, err := s.CreateKey(ctx, "other")
	require.NoError(t, err)
	require.NoError(t, s.CreateAlias(ctx, "alias/prod", "default"))
	require.NoError(t, s.CreateAlias(ctx, "more", "alias/prod"))
	require.ErrorIs(t, s.CreateAlias(ctx, "prod", "other"), ErrAliasExists)
	require.ErrorIs(t, s.CreateAlias(ctx, "x", "absent"), keyring.ErrKeyNotFound)
	require.ErrorIs(t, s.UpdateAlias(ctx, "x", "other"), keyring.ErrKeyNotFound)
	require.ErrorIs(t, s.DeleteAlias(ctx, "x"), keyring.ErrKeyNotFound)
	for _, name := range []string{"", "alias/", "alias/alias/x", "a/b", ".a", "a b", strings.Repeat("a", 65)} {
		require.ErrorIs(t, s.CreateAlias(ctx, name, "default"), ErrName, "%q", name)
		require.ErrorIs(t, s.UpdateAlias(ctx, name, "default"), ErrName, "%q", name)
		require.ErrorIs(t, s.DeleteAlias(ctx, name), ErrName, "%q", name)
	}

	// It stands wherever a name does, and is the key itself.
	byAlias, err := s.Key("alias/prod")
	require.NoError(t, err)
	require.Equal(t, "cofre-local:default", byAlias.URI())
	require.Equal(t, "default", byAlias.Name())
	secret := keyring.RandomSecret()
	blob, err := byAlias.Wrap(ctx, secret, testContext())
	require.NoError(t, err)
	got, err := k.Unwrap(ctx, blob, testContext())
	require.NoError(t, err)
	require.True(t, got.Equal(secret))
	ensured, created, err := s.Ensure(ctx, "alias/prod")
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, "default", ensured.Name())
	_, _, err = s.Ensure(ctx, "alias/new")
	require.ErrorIs(t, err, keyring.ErrKeyNotFound)
	require.ErrorIs(t, second(s.CreateKey(ctx, "alias/new")), ErrName)
	require.ErrorIs(t, second(s.Key("prod")), keyring.ErrKeyNotFound, "without the prefix it is no name of a key")
	require.NoError(t, second(s.Rotate(ctx, "alias/prod")))
	require.NoError(t, s.Disable(ctx, "alias/more"))
	require.ErrorIs(t, second(k.Unwrap(ctx, blob, testContext())), keyring.ErrKeyDenied)
	require.NoError(t, s.Enable(ctx, "alias/more"))
	info, err := k.DescribeKey(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"alias/more", "alias/prod"}, info.Aliases)

	// What was got by it before it goes elsewhere is the key of before.
	require.NoError(t, s.UpdateAlias(ctx, "prod", "other"))
	all, err := s.Aliases()
	require.NoError(t, err)
	require.Equal(t, []Alias{{"alias/more", "default"}, {"alias/prod", "other"}}, all)
	require.NoError(t, second(byAlias.Unwrap(ctx, blob, testContext())))
	now, err := s.Key("alias/prod")
	require.NoError(t, err)
	require.Equal(t, other.URI(), now.URI())
	require.ErrorIs(t, second(now.Unwrap(ctx, blob, testContext())), keyring.ErrKeyNotFound)
	require.NoError(t, s.DeleteAlias(ctx, "alias/prod"))
	require.ErrorIs(t, second(s.Key("alias/prod")), keyring.ErrKeyNotFound)

	var limit *keyring.LimitError
	require.NoError(t, s.change(ctx, func(f *keyFile) (bool, error) {
		f.aliases = nil
		for i := range maxAliases {
			f.aliases = append(f.aliases, alias{fmt.Sprintf("a%04d", i), f.keys[0].id})
		}
		return true, nil
	}))
	require.ErrorAs(t, s.CreateAlias(ctx, "onemore", "default"), &limit)
}
