package keyring

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
)

// manyVersions makes an entry of versions 2 (retired), 3 and 4 (older) and 5.
func manyVersions(t testing.TB, suite aead.Suite, newest *Secret, ec Context) *keyEntry {
	t.Helper()
	e := &keyEntry{id: ec.Table}
	for n := uint32(2); n <= 5; n++ {
		key := RandomSecret()
		if n == 5 {
			key = newest
		}
		ec.Version = n
		c, err := commit(key, ec)
		require.NoError(t, err)
		v := keyVersion{number: n, state: versionOlder, commitment: c, createdAt: unixNano(uint64(n))}
		switch n {
		case 2:
			v.state = versionRetired
		case 5:
			v.state, v.wraps = versionCurrent, []wrap{{"fake:a", []byte("blob")}}
		default:
			v.older, err = wrapOlder(suite, newest, key, ec)
			require.NoError(t, err)
		}
		e.versions = append(e.versions, v)
	}
	var err error
	e.metadata, err = sealSalted(suite, newest, labelMetadata, []byte("metadata"), metadataAAD(ec.Store, ec.Table))
	require.NoError(t, err)
	require.NoError(t, e.finish(ec.Store, newest))
	return e
}

// TestVersions opens an entry of several versions, and what was wrapped under
// each.
func TestVersions(t *testing.T) {
	t.Parallel()
	key, store, table := RandomSecret(), NewID(), NewID()
	ec := Context{Store: store, Table: table, Purpose: PurposeTableKey, Version: 5}
	e := manyVersions(t, nil, key, ec)
	parsed, err := parseEntry(e.raw, 0)
	require.NoError(t, err)
	require.Equal(t, []uint32{2, 3, 4, 5}, parsed.numbers())
	require.Equal(t, []string{"fake:a"}, parsed.roots())
	again := &keyEntry{id: parsed.id, versions: parsed.versions, metadata: parsed.metadata}
	require.NoError(t, again.finish(store, key))
	require.Equal(t, e.raw, again.raw)
	keys, metadata, err := parsed.unlock(nil, key, ec)
	require.NoError(t, err)
	require.Equal(t, "metadata", string(metadata))
	require.Len(t, keys, 3)
	tk := &TableKeys{store: store, id: table, version: 5, open: &openKeys{keys: keys}}
	for n := uint32(1); n <= 6; n++ {
		k := keys[n]
		if k == nil {
			_, err := tk.DataKey(ID{1}, n, make([]byte, WrappedKeyLen))
			require.ErrorIs(t, err, ErrVersionUnknown)
			require.ErrorIs(t, err, corrupt.ErrCorrupt)
			continue
		}
		dk, err := wrapDataKey(nil, k, store, table, ID{1}, n)
		require.NoError(t, err)
		got, err := tk.DataKey(ID{1}, n, dk.Wrapped[:])
		require.NoError(t, err)
		require.True(t, got.Equal(dk.Key))
		_, err = tk.DataKey(ID{1}, 8-n, dk.Wrapped[:])
		require.Equal(t, n == 4, err == nil)
	}

	// A wrap under the newest is bound to its version.
	swapped, err := parseEntry(bytes.Clone(e.raw), 0)
	require.NoError(t, err)
	vs := swapped.versions
	vs[1].older, vs[2].older = vs[2].older, vs[1].older
	vs[1].commitment, vs[2].commitment = vs[2].commitment, vs[1].commitment
	require.NoError(t, swapped.finish(store, key))
	_, _, err = swapped.unlock(nil, key.Clone(), ec)
	require.ErrorIs(t, err, corrupt.ErrAuth)
	// And committed to.
	other, err := parseEntry(bytes.Clone(e.raw), 0)
	require.NoError(t, err)
	ec4 := ec
	ec4.Version = 4
	other.versions[2].older, err = wrapOlder(nil, key, RandomSecret(), ec4)
	require.NoError(t, err)
	require.NoError(t, other.finish(store, key))
	_, _, err = other.unlock(nil, key.Clone(), ec)
	require.ErrorContains(t, err, "committed to")
}

// TestEntryRules has one entry for each rule of parseEntry.
func TestEntryRules(t *testing.T) {
	t.Parallel()
	key, ec := RandomSecret(), Context{Store: NewID(), Table: NewID(), Purpose: PurposeTableKey}
	for want, edit := range map[string]func(*keyEntry){
		"no key version": func(e *keyEntry) { e.versions = nil },
		"a length exceeds its bound": func(e *keyEntry) {
			e.versions[3].wraps[0].blob = make([]byte, MaxWrapLen+1)
		},
		"version 0 out of order":                    func(e *keyEntry) { e.versions[0].number = 0 },
		"version 2 out of order":                    func(e *keyEntry) { e.versions[1].number = 2 },
		"unknown state":                             func(e *keyEntry) { e.versions[1].state = 9 },
		"the newest version, and no other, is curr": func(e *keyEntry) { e.versions = e.versions[:3] },
		"version 4: wraps that its state does not":  func(e *keyEntry) { e.versions[2].older = nil },
		"version 5: wraps that its state does not":  func(e *keyEntry) { e.versions[3].wraps = nil },
		"version 2: wraps that its state does not": func(e *keyEntry) {
			e.versions[0].wraps = []wrap{{"fake:a", []byte{1}}}
		},
		"malformed wrap": func(e *keyEntry) { e.versions[3].wraps[0].uri = "fake" },
		"two wraps of one": func(e *keyEntry) {
			e.versions[3].wraps = append(e.versions[3].wraps, e.versions[3].wraps[0])
		},
	} {
		e := manyVersions(t, nil, key, ec)
		edit(e)
		require.NoError(t, e.finish(ec.Store, key))
		_, err := parseEntry(e.raw, 77)
		require.ErrorIs(t, err, corrupt.ErrFormat, want)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "offset 77")
	}
	for uri, ok := range map[string]bool{
		"a:b": true, "aws-kms:arn:aws:kms:eu:1:key/x": true, "": false, "a": false, ":b": false, "a:": false,
		"a: b": false, "a:\x00": false, "a:é": false, "a:" + strings.Repeat("x", MaxURILen): false,
	} {
		require.Equal(t, ok, validURI(uri), uri)
	}
}

// TestListRules has one list for each rule of parseList.
func TestListRules(t *testing.T) {
	t.Parallel()
	row := func(id byte, name string) tableRow {
		return tableRow{id: ID{id}, name: name, state: TableLive, createdAt: unixNano(1)}
	}
	for want, s := range map[string]*state{
		"no name, or another's":                        {tables: []tableRow{row(1, "a"), row(2, "a")}},
		"02000000000000000000000000000000 has no name": {tables: []tableRow{row(1, "a"), row(2, "")}},
		"out of order":                                 {tables: []tableRow{row(2, "a"), row(1, "b")}},
		"00 out of order":                              {tables: []tableRow{row(0, "a")}},
		"unknown state 3":                              {tables: []tableRow{{id: ID{1}, name: "a", state: 3}}},
		"exceeds its bound":                            {tables: []tableRow{row(1, strings.Repeat("x", MaxNameLen+1))}},
		"list of tables: co":                           {tombstones: []Tombstone{{Name: strings.Repeat("x", MaxNameLen+1)}}},
	} {
		err := new(state).parseList(s.encodeList())
		require.ErrorIs(t, err, corrupt.ErrFormat, want)
		require.ErrorContains(t, err, want)
	}
	good := &state{tables: []tableRow{row(1, "a"), row(2, "b")}}
	b := good.encodeList()
	require.NoError(t, new(state).parseList(b))
	for n := range b {
		require.ErrorIs(t, new(state).parseList(b[:n]), corrupt.ErrFormat)
	}
	require.ErrorIs(t, new(state).parseList(append(b, 0)), corrupt.ErrFormat)
}

// TestFileRules has what parseFile refuses though each entry is well-formed.
func TestFileRules(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	s := v.k.cur.Load()
	for want, edit := range map[string]func(*state){
		"not the store key's": func(s *state) { s.store = s.tables[0].entry },
		"out of order":        func(s *state) { s.tables[0], s.tables[1] = s.tables[1], s.tables[0] },
		"table 00000000000000000000000000000000 out of order": func(s *state) { s.tables[0].entry = s.store },
	} {
		_, b := reseal(t, v.k, func(s *state) { s.generation--; edit(s) })
		_, err := v.open(t, b, nil)
		tampering(t, err, want)
		require.ErrorIs(t, err, corrupt.ErrFormat)
		require.ErrorContains(t, err, want)
	}
	b := bytes.Clone(v.file)
	b[11] = 1
	_, err := parseFile(b)
	require.ErrorContains(t, err, "reserved byte is 1")

	// A count that the list does not share.
	short := s.clone()
	w := codec.Writer{B: fileHeader(v.k.storeID, s.generation)}
	w.Bytes(s.store.raw)
	sealed, err := sealSalted(nil, v.k.storeKey.open.keys[1], labelList, short.encodeList(), w.B[:fileHeaderLen])
	require.NoError(t, err)
	w.Bytes(sealed)
	sealed, err = sealAudit(nil, v.k.storeKey.open.keys[1], nil, w.B[:fileHeaderLen])
	require.NoError(t, err)
	w.Bytes(sealed)
	w.U32(1)
	w.Bytes(s.tables[0].entry.raw)
	sum, err := mac(v.k.storeKey.open.keys[1], labelKeyringMAC, w.B)
	require.NoError(t, err)
	w.Raw(sum)
	_, err = v.open(t, w.B, nil)
	tampering(t, err, "one entry of two")
	require.ErrorContains(t, err, "2 tables listed, 1 entries")
}
