package keyring

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

func TestDataKey(t *testing.T) {
	t.Parallel()
	mem, root := newTestFS(t), newFakeRoot("a")
	k := mustCreate(t, mem, root)
	one, two := mustTable(t, k, "one", root, ""), mustTable(t, k, "two", root, "")
	r := mustOpen(t, mem, root)
	for _, keys := range []struct{ a, b DataKeys }{
		{one, must(r.OpenTable(t.Context(), one.ID()))},
		{k.StoreKeys(), r.StoreKeys()},
	} {
		file := NewID()
		dk, err := keys.a.NewDataKey(file)
		require.NoError(t, err)
		require.EqualValues(t, 1, dk.Version)
		again, err := keys.a.NewDataKey(file)
		require.NoError(t, err)
		require.False(t, again.Key.Equal(dk.Key))
		require.NotEqual(t, again.Wrapped, dk.Wrapped)
		got, err := keys.b.DataKey(file, dk.Version, dk.Wrapped[:])
		require.NoError(t, err)
		require.True(t, got.Equal(dk.Key))

		refuse := func(what string, keys DataKeys, file ID, version uint32, wrapped []byte, class error) {
			t.Helper()
			got, err := keys.DataKey(file, version, wrapped)
			require.ErrorIs(t, err, class, what)
			require.ErrorIs(t, err, corrupt.ErrCorrupt, what)
			require.Nil(t, got, what)
		}
		refuse("another file", keys.b, NewID(), 1, dk.Wrapped[:], corrupt.ErrAuth)
		refuse("another table", two, file, 1, dk.Wrapped[:], corrupt.ErrAuth)
		refuse("another version", keys.b, file, 2, dk.Wrapped[:], ErrVersionUnknown)
		refuse("no version", keys.b, file, 0, dk.Wrapped[:], ErrVersionUnknown)
		refuse("appended", keys.b, file, 1, append(dk.Wrapped[:], 0), corrupt.ErrAuth)
		refuse("zeros", keys.b, file, 1, make([]byte, WrappedKeyLen), corrupt.ErrAuth)
		for n := range dk.Wrapped {
			refuse("cut", keys.b, file, 1, dk.Wrapped[:n], corrupt.ErrAuth)
		}
		for bit := range 8 * len(dk.Wrapped) {
			b := bytes.Clone(dk.Wrapped[:])
			b[bit/8] ^= 1 << (bit % 8)
			refuse("flipped", keys.b, file, 1, b, corrupt.ErrAuth)
		}
	}
}

// TestSubstituted: a table key of the same name, id and version in another
// store, or in another life, does not open.
func TestSubstituted(t *testing.T) {
	t.Parallel()
	key, store, table, file := RandomSecret(), NewID(), NewID(), NewID()
	dk, err := wrapDataKey(nil, key, store, table, file, 3)
	require.NoError(t, err)
	open := func(key *Secret, store, table, file ID, version uint32) error {
		_, err := unwrapDataKey(nil, key, store, table, file, version, dk.Wrapped[:])
		return err
	}
	require.NoError(t, open(key, store, table, file, 3))
	for _, err := range []error{
		open(RandomSecret(), store, table, file, 3), open(key, NewID(), table, file, 3),
		open(key, store, NewID(), file, 3), open(key, store, table, NewID(), 3), open(key, store, table, file, 4),
	} {
		require.ErrorIs(t, err, corrupt.ErrAuth)
	}
}

// TestContext draws the canonical form once.
func TestContext(t *testing.T) {
	t.Parallel()
	ec := Context{Store: ID{0xab}, Table: ID{0xcd}, Purpose: PurposeTableKey, Version: 12}
	require.Equal(t, map[string]string{
		"cofre:store":   "ab000000000000000000000000000000",
		"cofre:table":   "cd000000000000000000000000000000",
		"cofre:purpose": "table-key",
		"cofre:version": "12",
	}, ec.Map())
	require.Equal(t, ""+
		"\x00\x00\x00\rcofre:purpose\x00\x00\x00\ttable-key"+
		"\x00\x00\x00\x0bcofre:store\x00\x00\x00 ab000000000000000000000000000000"+
		"\x00\x00\x00\x0bcofre:table\x00\x00\x00 cd000000000000000000000000000000"+
		"\x00\x00\x00\rcofre:version\x00\x00\x00\x0212", string(ec.Canonical()))
}

// TestDerivedApart: no two labels give the same bytes.
func TestDerivedApart(t *testing.T) {
	t.Parallel()
	labels := []string{
		labelDataKey, labelOlderKey, labelOverlay, labelMetadata, labelEntryMAC, labelList, labelKeyringMAC, labelCommitment,
	}
	key := RandomSecret()
	seen := make(map[string]string)
	for _, l := range labels {
		sum, err := mac(key, l)
		require.NoError(t, err)
		require.Empty(t, seen[string(sum)], l)
		seen[string(sum)] = l
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	for s, want := range map[State]string{StateEnabled: "enabled", StateDisabled: "disabled", StatePendingDeletion: "pending deletion", 9: "state(9)"} {
		require.Equal(t, want, s.String())
		b, err := s.MarshalText()
		require.NoError(t, err)
		require.Equal(t, want, string(b))
	}
	for s, want := range map[TableState]string{TableCreating: "creating", TableLive: "live", 9: "unknown"} {
		require.Equal(t, want, s.String())
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
