package local

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// as opens the file of a service for a principal, with one key.
func as(t testing.TB, s *Service, principal, key string) (*Service, *Key) {
	t.Helper()
	p, err := Open(s.path, Options{MustExist: true, Principal: principal})
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	k, err := p.Key(key)
	require.NoError(t, err)
	return p, k
}

// uses are all uses of a key, by operation. Each fails or works as a whole.
func uses(t testing.TB, owner *Key) map[Operations]func(k *Key, ec EncryptionContext) error {
	ctx := context.Background()
	sealed := func(ec EncryptionContext) []byte {
		b, err := owner.Encrypt(ctx, []byte("text"), ec)
		require.NoError(t, err)
		return b
	}
	return map[Operations]func(*Key, EncryptionContext) error{
		OpEncrypt:                         func(k *Key, ec EncryptionContext) error { return second(k.Encrypt(ctx, []byte("x"), ec)) },
		OpDecrypt:                         func(k *Key, ec EncryptionContext) error { return second(k.Decrypt(ctx, sealed(ec), ec)) },
		OpGenerateDataKeyWithoutPlaintext: func(k *Key, ec EncryptionContext) error { return second(k.GenerateDataKeyWithoutPlaintext(ctx, ec)) },
		OpReEncryptFrom: func(k *Key, ec EncryptionContext) error {
			return second(k.ReEncrypt(ctx, sealed(ec), ec, owner, nil))
		},
		OpReEncryptTo: func(k *Key, ec EncryptionContext) error {
			return second(owner.ReEncrypt(ctx, sealed(nil), nil, k, ec))
		},
	}
}

func TestGrants(t *testing.T) {
	t.Parallel()
	s, owner := newTestKey(t)
	ctx := t.Context()
	require.NoError(t, second(s.CreateKey(ctx, "other")))
	all := uses(t, owner)
	user, k := as(t, s, "user", "default")
	_, stranger := as(t, s, "stranger", "default")
	_, other := as(t, s, "user", "other")
	a, ab, b := EncryptionContext{"a": "1"}, EncryptionContext{"a": "1", "b": "2"}, EncryptionContext{"b": "2"}
	for op, use := range all {
		for _, ec := range []EncryptionContext{nil, a, ab, b} {
			require.NoError(t, use(owner, ec))
			require.ErrorIs(t, use(k, ec), keyring.ErrKeyDenied, "%s without a grant", op)
		}
		for what, tc := range map[string]struct {
			grant Grant
			works map[string]bool
		}{
			"any":    {Grant{}, map[string]bool{"": true, "a": true, "ab": true, "b": true}},
			"equals": {Grant{ContextEquals: a}, map[string]bool{"a": true}},
			"subset": {Grant{ContextSubset: a}, map[string]bool{"a": true, "ab": true}},
		} {
			g := tc.grant
			g.Grantee, g.Operations = "user", op
			made, err := s.CreateGrant(ctx, "default", g)
			require.NoError(t, err)
			for name, ec := range map[string]EncryptionContext{"": nil, "a": a, "ab": ab, "b": b} {
				for granted, use := range all {
					err := use(k, ec)
					require.Equal(t, granted == op && tc.works[name], err == nil, "%s by a grant of %s, %s, context %q: %v", granted, op, what, name, err)
					if err != nil {
						require.ErrorIs(t, err, keyring.ErrKeyDenied)
					}
				}
				require.ErrorIs(t, use(stranger, ec), keyring.ErrKeyDenied)
				require.ErrorIs(t, use(other, ec), keyring.ErrKeyDenied)
			}
			require.NoError(t, s.RevokeGrant(ctx, made.ID))
			require.ErrorIs(t, s.RevokeGrant(ctx, made.ID), ErrGrantNotFound)
			require.ErrorIs(t, use(k, a), keyring.ErrKeyDenied, "revoked")
		}
	}
	infos, err := user.List()
	require.NoError(t, err)
	require.Empty(t, infos)
}

// TestGrantsOfRootKey is what a keyring needs.
func TestGrantsOfRootKey(t *testing.T) {
	t.Parallel()
	s, owner := newTestKey(t)
	ctx, ec := t.Context(), testContext()
	user, k := as(t, s, "user", "default")
	secret := keyring.RandomSecret()
	blob, err := owner.Wrap(ctx, secret, ec)
	require.NoError(t, err)
	elsewhere := ec
	elsewhere.Store = keyring.ID{9}
	far, err := owner.Wrap(ctx, secret, elsewhere)
	require.NoError(t, err)
	note := func(k *Key, store keyring.ID) error {
		if _, _, _, err := k.NewestGeneration(ctx, store); err != nil {
			return err
		}
		return k.NoteGeneration(ctx, store, 1, [32]byte{1})
	}
	for _, err := range []error{
		second(k.Wrap(ctx, secret, ec)), second(k.Unwrap(ctx, blob, ec)), second(k.Describe(ctx)), second(k.DescribeKey(ctx)), note(k, ec.Store),
	} {
		require.ErrorIs(t, err, keyring.ErrKeyDenied)
	}
	g, err := s.CreateGrant(ctx, "default", Grant{
		Grantee: "user", Operations: OpWrap | OpUnwrap | OpDescribeKey, ContextSubset: EncryptionContext{"cofre:store": ec.Store.String()},
	})
	require.NoError(t, err)
	got, err := k.Unwrap(ctx, blob, ec)
	require.NoError(t, err)
	require.True(t, got.Equal(secret))
	require.NoError(t, second(k.Wrap(ctx, secret, ec)))
	require.NoError(t, second(k.Describe(ctx)))
	require.NoError(t, second(k.DescribeKey(ctx)))
	require.NoError(t, note(k, ec.Store))
	infos, err := user.List()
	require.NoError(t, err)
	require.Len(t, infos, 1)
	require.ErrorIs(t, second(k.Unwrap(ctx, far, elsewhere)), keyring.ErrKeyDenied, "another store")
	require.ErrorIs(t, second(k.Wrap(ctx, secret, elsewhere)), keyring.ErrKeyDenied)
	require.ErrorIs(t, note(k, elsewhere.Store), keyring.ErrKeyDenied)
	require.ErrorIs(t, second(k.Encrypt(ctx, []byte("x"), ec.Map())), keyring.ErrKeyDenied)
	// The owner's states hold for who has a grant.
	require.NoError(t, s.Disable(ctx, "default"))
	require.ErrorIs(t, second(k.Unwrap(ctx, blob, ec)), keyring.ErrKeyDenied)
	require.NoError(t, s.Enable(ctx, "default"))
	// Back it goes.
	require.NoError(t, user.RetireGrant(ctx, g.ID))
	require.ErrorIs(t, second(k.Unwrap(ctx, blob, ec)), keyring.ErrKeyDenied)
}

// TestOwner: whoever is not the owner changes nothing but his grants.
func TestOwner(t *testing.T) {
	t.Parallel()
	s, _ := newTestKey(t)
	ctx := t.Context()
	require.NoError(t, second(s.CreateGrant(ctx, "default", Grant{Grantee: "user", Operations: allOperations})))
	user, _ := as(t, s, "user", "default")
	before := onDisk(t, s).revision
	for i, err := range []error{
		second(user.CreateKey(ctx, "new")), user.Disable(ctx, "default"), user.Enable(ctx, "default"),
		second(user.ScheduleDeletion(ctx, "default", 0)), user.CancelDeletion(ctx, "default"), second(user.Rotate(ctx, "default")),
		second(user.EnableRotation(ctx, "default", 0)), user.DisableRotation(ctx, "default"),
		user.CreateAlias(ctx, "a", "default"), user.UpdateAlias(ctx, "a", "default"), user.DeleteAlias(ctx, "a"), second(user.Aliases()),
		second(user.CreateGrant(ctx, "default", Grant{Grantee: "user", Operations: OpWrap})), user.RevokeGrant(ctx, keyring.ID{1}),
		user.Seal(ctx, byFile(t, newKeyFile(t))), user.Unseal(ctx), second(user.Notes()),
	} {
		require.ErrorIs(t, err, keyring.ErrKeyDenied, "%d", i)
		require.ErrorContains(t, err, "only the owner", "%d", i)
	}
	require.Equal(t, before, onDisk(t, s).revision)
	for _, name := range []string{"\n", "\xff", strings.Repeat("a", 257)} {
		_, err := Open(s.path, Options{Principal: name})
		require.ErrorIs(t, err, ErrName, "%q", name)
	}
}

func TestRetire(t *testing.T) {
	t.Parallel()
	s, _ := newTestKey(t)
	ctx := t.Context()
	for who, allowed := range map[string]bool{"grantee": true, "retirer": true, "": true, "stranger": false} {
		g, err := s.CreateGrant(ctx, "default", Grant{Grantee: "grantee", Retiring: "retirer", Operations: OpWrap})
		require.NoError(t, err)
		p, k := as(t, s, who, "default")
		seen, err := p.ListGrants("default")
		require.NoError(t, err)
		require.Equal(t, allowed, len(seen) == 1)
		if who == "retirer" {
			require.ErrorIs(t, second(k.Wrap(ctx, keyring.RandomSecret(), testContext())), keyring.ErrKeyDenied, "retiring is no use")
		}
		err = p.RetireGrant(ctx, g.ID)
		if allowed {
			require.NoError(t, err)
			require.ErrorIs(t, p.RetireGrant(ctx, g.ID), ErrGrantNotFound)
			continue
		}
		require.ErrorIs(t, err, keyring.ErrKeyDenied)
		require.NoError(t, s.RevokeGrant(ctx, g.ID))
	}
}

func TestListGrants(t *testing.T) {
	t.Parallel()
	clock, s, _ := newClockedKey(t)
	ctx := t.Context()
	require.NoError(t, second(s.CreateKey(ctx, "other")))
	ec := EncryptionContext{"a": "1"}
	first, err := s.CreateGrant(ctx, "default", Grant{Grantee: "g", Retiring: "r", Operations: OpWrap | OpUnwrap, ContextEquals: ec})
	require.NoError(t, err)
	ec["a"] = "2" // the caller's own
	require.Equal(t, Grant{
		ID: first.ID, Key: "default", Grantee: "g", Retiring: "r", Operations: OpWrap | OpUnwrap,
		ContextEquals: EncryptionContext{"a": "1"}, CreatedAt: clock.now().UTC(),
	}, first)
	require.Equal(t, "Wrap, Unwrap", first.Operations.String())
	later, err := s.CreateGrant(ctx, "other", Grant{Grantee: "g", Operations: OpWrap, ContextSubset: ec})
	require.NoError(t, err)
	grants, err := s.ListGrants("default")
	require.NoError(t, err)
	require.Equal(t, []Grant{first}, grants)
	grants, err = s.ListGrants("")
	require.NoError(t, err)
	require.ElementsMatch(t, []Grant{first, later}, grants)
	_, err = s.ListGrants("absent")
	require.ErrorIs(t, err, keyring.ErrKeyNotFound)

	for what, g := range map[string]Grant{
		"no grantee": {Operations: OpWrap}, "no operation": {Grantee: "g"}, "unknown": {Grantee: "g", Operations: 1 << 20},
		"control": {Grantee: "g\n", Operations: OpWrap}, "retiring": {Grantee: "g", Retiring: "\t", Operations: OpWrap},
		"two constraints": {Grantee: "g", Operations: OpWrap, ContextEquals: ec, ContextSubset: ec},
	} {
		_, err := s.CreateGrant(ctx, "default", g)
		require.ErrorIs(t, err, ErrGrant, what)
	}
	_, err = s.CreateGrant(ctx, "default", Grant{Grantee: "g", Operations: OpWrap, ContextSubset: EncryptionContext{"": ""}})
	require.ErrorIs(t, err, ErrContext)
	_, err = s.CreateGrant(ctx, "default", Grant{Grantee: "g", Operations: OpWrap, ContextSubset: EncryptionContext{"a": strings.Repeat("x", MaxConstraintLen)}})
	require.ErrorIs(t, err, ErrContext)

	ops, err := ParseOperations(allOperations.Names())
	require.NoError(t, err)
	require.Equal(t, allOperations, ops)
	_, err = ParseOperations([]string{"wrap"})
	require.ErrorIs(t, err, ErrGrant)

	require.NoError(t, s.change(ctx, func(f *keyFile) (bool, error) {
		f.grants = nil
		for i := range maxGrants {
			f.grants = append(f.grants, grant{id: keyring.ID{1, byte(i >> 8), byte(i)}, key: f.keys[0].id, grantee: "g", operations: OpWrap, createdAt: unixNano(1)})
		}
		return true, nil
	}))
	var limit *keyring.LimitError
	require.ErrorAs(t, second(s.CreateGrant(ctx, "default", Grant{Grantee: "g", Operations: OpWrap})), &limit)
}
