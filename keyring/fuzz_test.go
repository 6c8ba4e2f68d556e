package keyring

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

// seedFile is a keyring file of two tables, one of several key versions.
func seedFile(t testing.TB) []byte {
	t.Helper()
	v := newVictim(t)
	_, b := reseal(t, v.k, func(s *state) {
		key := RandomSecret()
		s.tables[0].entry = manyVersions(t, nil, key, Context{Store: v.k.storeID, Table: s.tables[0].id, Purpose: PurposeTableKey})
	})
	return b
}

// FuzzFile: whatever parses has one encoding; whatever does not is a
// *corrupt.Error.
func FuzzFile(f *testing.F) {
	f.Add(seedFile(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseFile(b)
		if err != nil {
			var ce *corrupt.Error
			require.True(t, errors.As(err, &ce), "%v", err)
			return
		}
		var n int
		for _, e := range append(p.entries, p.store) {
			require.Contains(t, string(b), string(e.raw))
			c := &keyEntry{id: e.id, versions: e.versions, metadata: e.metadata}
			require.NoError(t, c.finish(p.storeID, RandomSecret()))
			require.Equal(t, e.raw[:len(e.raw)-macLen], c.raw[:len(c.raw)-macLen])
			n += 4 + len(e.raw)
		}
		require.Equal(t, len(b), fileHeaderLen+n+4+len(p.list)+4+macLen)
		_, err = p.authenticate(nil, RandomSecret())
		require.ErrorIs(t, err, corrupt.ErrAuth)
	})
}

// FuzzList is what the store key's holder, or a flaw in the cipher, could
// hand in.
func FuzzList(f *testing.F) {
	s := &state{
		journal: NewID(),
		tables:  []tableRow{{id: ID{1}, name: "a", state: TableLive, closed: []byte("c")}, {id: ID{2}, name: "b", state: TableCreating}},
		tombstones: []Tombstone{
			{ID: ID{3}, Name: "c", Versions: []uint32{1, 2}, Roots: []string{"fake:a"}},
		},
	}
	f.Add(s.encodeList())
	f.Fuzz(func(t *testing.T, b []byte) {
		s := new(state)
		if err := s.parseList(b); err != nil {
			require.ErrorIs(t, err, corrupt.ErrFormat)
			return
		}
		require.Equal(t, b, s.encodeList())
	})
}
