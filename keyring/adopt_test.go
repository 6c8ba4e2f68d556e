package keyring

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

// TestRecord: a record opens for the keys of its table, under its version, beside what it
// was sealed with, and for nothing else.
func TestRecord(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem, root := newTestFS(t), newFakeRoot("a")
	k := mustCreate(t, mem, root)
	one, two := mustTable(t, k, "one", root, ""), mustTable(t, k, "two", root, "")
	sealed, version, err := one.SealRecord([]byte("the index"), []byte("of backup 1"))
	require.NoError(t, err)
	require.EqualValues(t, 1, version)
	require.NoError(t, rotateKey(k, ctx, one.ID(), one))
	newer, version, err := one.SealRecord([]byte("the index"), []byte("of backup 1"))
	require.NoError(t, err)
	require.EqualValues(t, 2, version, "by the newest version")
	text, err := one.OpenRecord(1, sealed, []byte("of backup 1"))
	require.NoError(t, err)
	require.Equal(t, "the index", string(text))

	refuse := func(what string, keys *TableKeys, version uint32, sealed []byte, additional string, class error) {
		t.Helper()
		text, err := keys.OpenRecord(version, sealed, []byte(additional))
		require.ErrorIs(t, err, class, what)
		require.Nil(t, text, what)
	}
	refuse("beside something else", one, 1, sealed, "of backup 2", corrupt.ErrAuth)
	refuse("beside nothing", one, 1, sealed, "", corrupt.ErrAuth)
	refuse("under another version", one, 2, sealed, "of backup 1", corrupt.ErrAuth)
	refuse("under the former version", one, 1, newer, "of backup 1", corrupt.ErrAuth)
	refuse("under none", one, 3, sealed, "of backup 1", ErrVersionUnknown)
	refuse("of another table", two, 1, sealed, "of backup 1", corrupt.ErrAuth)
	// Were a key two tables', or two versions, what it seals would still be told apart.
	for what, change := range map[string]func(*TableKeys){
		"of another store":            func(tk *TableKeys) { tk.store = NewID() },
		"of another table's same key": func(tk *TableKeys) { tk.id = NewID() },
		"of another version's":        func(tk *TableKeys) { tk.open.keys[2] = tk.open.keys[1].Clone() },
	} {
		c := one.Clone()
		change(c)
		version := uint32(1)
		if c.store == one.store && c.id == one.id {
			version = 2
		}
		refuse(what, c, version, sealed, "of backup 1", corrupt.ErrAuth)
		c.Wipe()
	}
	one.Wipe()
	refuse("when wiped", one, 1, sealed, "of backup 1", ErrKeysWiped)
	_, _, err = one.SealRecord(nil, nil)
	require.ErrorIs(t, err, ErrKeysWiped)
}

// TestHolds: keys have the versions that were made and not retired, all of those that are
// asked for or not.
func TestHolds(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem, root := newTestFS(t), newFakeRoot("a")
	k := mustCreate(t, mem, root)
	tk := mustTable(t, k, "one", root, "")
	require.True(t, tk.Holds(nil))
	require.True(t, tk.Holds([]uint32{1}))
	require.False(t, tk.Holds([]uint32{1, 2}))
	require.NoError(t, rotateKey(k, ctx, tk.ID(), tk))
	require.True(t, tk.Holds([]uint32{1, 2}))
	require.NoError(t, k.Retire(ctx, tk, 1))
	require.False(t, tk.Holds([]uint32{1, 2}))
	require.True(t, tk.Holds([]uint32{2}))
	tk.Wipe()
	require.False(t, tk.Holds([]uint32{2}))
}

// TestCollect makes an overlay of wraps of several versions: it has them under the newest,
// and Current tells which is in force. A wrap that does not open is in none.
func TestCollect(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem, root := newTestFS(t), newFakeRoot("a")
	k := mustCreate(t, mem, root)
	tk, other := mustTable(t, k, "one", root, ""), mustTable(t, k, "two", root, "")
	var keys []WrappedDataKey
	var plain []*Secret
	for n := range 3 {
		dk, err := tk.NewDataKey(ID{byte(n + 1)})
		require.NoError(t, err)
		keys = append(keys, WrappedDataKey{File: ID{byte(n + 1)}, Version: dk.Version, Wrapped: dk.Wrapped})
		plain = append(plain, dk.Key)
		require.NoError(t, rotateKey(k, ctx, tk.ID(), tk))
	}
	o, err := tk.Collect(keys[:2])
	require.NoError(t, err)
	require.Equal(t, keys[0], tk.Current(keys[0]), "none is in force")
	tk.SetOverlay(o)
	for n, w := range keys {
		now := tk.Current(w)
		require.Equal(t, w.File, now.File)
		if n < 2 {
			require.EqualValues(t, 4, now.Version)
			require.NotEqual(t, w.Wrapped, now.Wrapped)
		} else {
			require.Equal(t, w, now)
		}
		got, err := tk.DataKey(w.File, w.Version, w.Wrapped[:])
		require.NoError(t, err)
		require.True(t, got.Equal(plain[n]))
	}

	bad := keys[2]
	bad.Wrapped[20] ^= 1
	_, err = tk.Collect(append(keys[:2:2], bad))
	require.ErrorIs(t, err, corrupt.ErrAuth)
	bad = keys[2]
	bad.File = ID{1}
	_, err = tk.Collect([]WrappedDataKey{bad})
	require.ErrorIs(t, err, corrupt.ErrAuth, "another file's")
	bad = keys[2]
	bad.Version = 9
	_, err = tk.Collect([]WrappedDataKey{bad})
	require.ErrorIs(t, err, ErrVersionUnknown)
	var limit *LimitError
	_, err = tk.Collect(make([]WrappedDataKey, MaxOverlayKeys+1))
	require.ErrorAs(t, err, &limit)

	// The same file becomes another table's as well.
	w, err := other.Adopt(keys[0].File, plain[0])
	require.NoError(t, err)
	got, err := other.DataKey(w.File, w.Version, w.Wrapped[:])
	require.NoError(t, err)
	require.True(t, got.Equal(plain[0]))
	_, err = tk.DataKey(ID{7}, 1, w.Wrapped[:])
	require.ErrorIs(t, err, corrupt.ErrAuth)
	tk.Wipe()
	_, err = tk.Collect(keys)
	require.ErrorIs(t, err, ErrKeysWiped)
	_, err = tk.Adopt(ID{1}, plain[0])
	require.ErrorIs(t, err, ErrKeysWiped)
}
