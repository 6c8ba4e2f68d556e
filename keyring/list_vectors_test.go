package keyring

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/vectors"
)

func listVectors(t testing.TB) []vectors.Vector[vectors.ListIn, vectors.List] {
	return vectors.Load[vectors.ListIn, vectors.List](t, "keyring-list")
}

// TestListVectors parses testdata/vectors/keyring-list at the module's root.
func TestListVectors(t *testing.T) {
	t.Parallel()
	for _, v := range listVectors(t) {
		s := new(state)
		err := s.parseList(v.In.List)
		v.Check(t, err, nil)
		if err != nil || v.Out == nil {
			continue
		}
		require.Equal(t, []byte(v.In.List), s.encodeList(), v.Name)
		require.Equal(t, ID(v.Out.Journal), s.journal, v.Name)
		require.Len(t, s.tables, len(v.Out.Tables), v.Name)
		for i, want := range v.Out.Tables {
			require.Equal(t, tableRow{
				id: ID(want.ID), name: string(want.Name), state: TableState(want.State), createdAt: time.Unix(0, want.CreatedAt).UTC(),
				incarnation: ID(want.Incarnation), closed: want.Left,
			}, s.tables[i], v.Name)
		}
		require.Len(t, s.tombstones, len(v.Out.Tombstones), v.Name)
		for i, want := range v.Out.Tombstones {
			require.Equal(t, Tombstone{
				ID: ID(want.ID), Name: string(want.Name), DroppedAt: time.Unix(0, want.DroppedAt).UTC(), Versions: want.Versions, Roots: want.Roots,
			}, s.tombstones[i], v.Name)
		}
	}
}

// TestDataKeyVectors unwraps the data keys of testdata/vectors/header at the
// module's root.
func TestDataKeyVectors(t *testing.T) {
	t.Parallel()
	opened := 0
	for _, v := range vectors.Load[vectors.HeaderIn, vectors.HeaderOut](t, "header") {
		h, err := ParseHeader(v.In.File)
		if err != nil {
			continue // TestHeaderVectors judges it
		}
		keys := make(map[uint32]*Secret)
		for n, b := range v.In.TableKeys {
			keys[n] = must(NewSecret(b))
		}
		tk := &TableKeys{store: ID(v.In.StoreID), id: ID(v.In.TableID), open: &openKeys{keys: keys}}
		key, err := tk.DataKey(h.Identity.FileID, h.KeyVersion, h.WrappedKey[:])
		switch {
		case v.Out != nil:
			require.NoError(t, err, v.Name)
			require.Equal(t, []byte(v.Out.DataKey), key.Expose(), v.Name)
			opened++
		case v.Error.Class == "ErrVersionUnknown" || v.Error.Offset != nil && *v.Error.Offset == headerWrapOffset:
			v.Check(t, err, map[string]error{"ErrVersionUnknown": ErrVersionUnknown})
		}
	}
	require.NotZero(t, opened)
}

// FuzzFileName: a name that parses is the one name of its generation.
func FuzzFileName(f *testing.F) {
	for _, s := range []string{"KEYRING-000001", "KEYRING-1", "KEYRING-12345678", "KEYRING-000000", "KEYRING.tmp", "KEYRING-18446744073709551615", ""} {
		f.Add(s)
	}
	for _, v := range vectors.Load[vectors.KeyringIn, vectors.KeyringOut](f, "keyring") {
		f.Add(v.In.Name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if n, ok := parseFileName(name); ok {
			require.NotZero(t, n)
			require.Equal(t, name, fileName(n))
		}
	})
}
