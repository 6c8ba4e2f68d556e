package keyring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
)

// A victim is a keyring of two tables to tamper with.
type victim struct {
	root *anchoredRoot
	k    *Keyring
	name string
	file []byte
}

func newVictim(t testing.TB) *victim {
	t.Helper()
	mem, root := newTestFS(t), newAnchoredRoot("a")
	k := mustCreate(t, mem, root)
	mustTable(t, k, "one", root, "metadata of one")
	mustTable(t, k, "two", root, "metadata of two")
	v := &victim{root: root, k: k}
	v.name, v.file = readFile(t, mem)
	// The attack is to be found by what the file says, not by the note.
	root.notes = make(map[ID]fakeNote)
	return v
}

// open opens an edited file, and every table of it.
func (v *victim) open(t testing.TB, b []byte, suite aead.Suite) (tables int, err error) {
	t.Helper()
	k, err := Open(t.Context(), testDir, []RootKey{v.root.fakeRoot}, true, Options{FS: withFile(t, v.name, b), Suite: suite})
	if err != nil {
		return 0, err
	}
	for _, r := range k.Tables() {
		if _, err := k.OpenTable(t.Context(), r.ID); err != nil {
			return 0, err
		}
		tables++
	}
	return tables, nil
}

// tampering demands an error about tampering: of a type, with file and
// offset, and never one that looks like an end of file.
func tampering(t testing.TB, err error, what string, args ...any) {
	t.Helper()
	var ce *corrupt.Error
	var ke *KeyError
	msg := append([]any{what}, args...)
	require.Error(t, err, msg...)
	require.True(t, errors.As(err, &ce) || errors.As(err, &ke), msg...)
	require.False(t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), msg...)
	require.ErrorContains(t, err, "keyring/KEYRING-0", msg...)
}

// stride is how many bits a flip goes on: a bit of each byte in short runs.
func stride() int {
	if testing.Short() {
		return 7
	}
	return 1
}

// TestFlip flips each bit of the file.
func TestFlip(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	n, err := v.open(t, v.file, nil)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	for bit := 0; bit < 8*len(v.file); bit += stride() {
		b := bytes.Clone(v.file)
		b[bit/8] ^= 1 << (bit % 8)
		_, err := Open(t.Context(), testDir, []RootKey{v.root}, true, Options{FS: withFile(t, v.name, b)})
		tampering(t, err, "bit %d of byte %d", bit%8, bit/8)
	}
	require.Empty(t, v.root.notes)
}

// TestFlipResealed is the control of TestFlip: with the file's MAC made again
// each flip in a table's entry gets past Open, or is refused for its form, and
// the table does not open, by the table key alone.
func TestFlipResealed(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	row := v.k.cur.Load().tables[0]
	past := 0
	for bit := 0; bit < 8*len(row.entry.raw); bit += stride() {
		raw := bytes.Clone(row.entry.raw)
		raw[bit/8] ^= 1 << (bit % 8)
		_, b := reseal(t, v.k, func(s *state) {
			s.generation, s.tables[0].entry = v.k.Generation(), &keyEntry{raw: raw}
		})
		k, err := Open(t.Context(), testDir, []RootKey{v.root}, true, Options{FS: withFile(t, v.name, b)})
		if err == nil {
			past++
			_, err = k.OpenTable(t.Context(), row.id)
			require.Error(t, err)
			_, other := k.OpenTable(t.Context(), v.k.cur.Load().tables[1].id)
			require.NoError(t, other, "the other table does not notice")
		}
		tampering(t, err, "bit %d of byte %d of an entry", bit%8, bit/8)
	}
	require.Greater(t, past, 100*8/stride(), "the file's MAC was not what caught the flips")
}

func TestCut(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	for n := range v.file {
		_, err := v.open(t, v.file[:n], nil)
		tampering(t, err, "cut to %d", n)
		require.ErrorIs(t, err, corrupt.ErrFormat)
	}
	for _, tail := range [][]byte{{0}, v.file[len(v.file)-macLen:], v.file} {
		_, err := v.open(t, append(bytes.Clone(v.file), tail...), nil)
		tampering(t, err, "%d bytes appended", len(tail))
	}
	calls := v.root.calls()
	_, err := v.open(t, make([]byte, len(v.file)), nil)
	tampering(t, err, "zeros")
	require.Equal(t, calls, v.root.calls())
}

func TestDowngrade(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	calls := v.root.calls()
	for _, off := range []int{8, 9, 10} {
		for value := range 256 {
			b := bytes.Clone(v.file)
			if b[off] == byte(value) {
				continue
			}
			b[off] = byte(value)
			_, err := v.open(t, b, nil)
			tampering(t, err, "byte %d is %d", off, value)
			require.ErrorIs(t, err, corrupt.ErrVersion)
		}
	}
	require.Equal(t, calls, v.root.calls())
}

// TestExchange exchanges the entries of two tables, as someone with the disk
// and as someone with the store key.
func TestExchange(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	s := v.k.cur.Load()
	one, two := s.tables[0], s.tables[1]
	require.Len(t, two.entry.raw, len(one.entry.raw))

	b := bytes.Clone(v.file)
	copy(b[one.offset:], two.entry.raw)
	copy(b[two.offset:], one.entry.raw)
	_, err := v.open(t, b, nil)
	tampering(t, err, "entries exchanged")
	require.ErrorIs(t, err, corrupt.ErrFormat, "out of order")

	// Each keeps its id.
	copy(b[one.offset:], one.id[:])
	copy(b[two.offset:], two.id[:])
	_, err = v.open(t, b, nil)
	tampering(t, err, "entries exchanged, but for the ids")
	require.ErrorIs(t, err, corrupt.ErrAuth)

	under := func(id ID, e *keyEntry) *keyEntry {
		raw := bytes.Clone(e.raw)
		copy(raw, id[:])
		return &keyEntry{raw: raw}
	}
	_, b = reseal(t, v.k, func(s *state) {
		s.generation = v.k.Generation()
		s.tables[0].entry, s.tables[1].entry = under(one.id, two.entry), under(two.id, one.entry)
	})
	_, err = v.open(t, b, nil)
	tampering(t, err, "entries exchanged under the store key")
	require.ErrorIs(t, err, ErrWrongContext)

	// The same with a list that names them the other way round.
	_, b = reseal(t, v.k, func(s *state) {
		s.generation = v.k.Generation()
		s.tables[0].id, s.tables[1].id = two.id, one.id
	})
	_, err = v.open(t, b, nil)
	tampering(t, err, "list exchanged under the store key")

	_, b = reseal(t, v.k, func(s *state) {
		s.generation = v.k.Generation()
		s.tables[0].id[15] ^= 1
	})
	_, err = v.open(t, b, nil)
	tampering(t, err, "a list of other tables under the store key")
	require.ErrorIs(t, err, corrupt.ErrForeign)
}

// TestState edits the state of a key version.
func TestState(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	row := v.k.cur.Load().tables[0]
	at := int(row.offset) + 16 + 4 + 4 + 8
	require.EqualValues(t, versionCurrent, v.file[at])
	for state := range 256 {
		if state == versionCurrent {
			continue
		}
		b := bytes.Clone(v.file)
		b[at] = byte(state)
		_, err := v.open(t, b, nil)
		tampering(t, err, "state %d", state)
	}
}

// TestAttackersRoot writes a root key of the attacker's into the keyring. He
// is never called, and nothing is wrapped to him.
func TestAttackersRoot(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	evil := newFakeRoot("evil")
	calls := v.root.calls()
	row := v.k.cur.Load().tables[0]

	// In the store key's entry: instead of ours, and beside ours.
	b := bytes.Clone(v.file)
	i := bytes.Index(b, []byte(v.root.uri))
	copy(b[i:], "fake:z")
	_, err := v.open(t, b, nil)
	tampering(t, err, "instead of the store key's root")
	require.ErrorIs(t, err, ErrRootNotPinned)

	store := v.k.cur.Load().store
	beside := addWrap(t, v.k, store, v.k.storeKey.open.keys[1], evil, PurposeStoreKey)
	beside.raw = append(beside.raw[:len(beside.raw)-macLen], store.raw[len(store.raw)-macLen:]...)
	b = replaceEntry(v.file, store.raw, beside.raw)
	_, err = v.open(t, b, nil)
	tampering(t, err, "beside the store key's root")
	require.ErrorIs(t, err, ErrRootNotPinned)
	require.Equal(t, calls, v.root.calls(), "not even ours is called then")

	// In a table's entry: the file's MAC finds it.
	tk, err := v.k.OpenTable(t.Context(), row.id)
	require.NoError(t, err)
	calls++
	table := addWrap(t, v.k, row.entry, tk.open.keys[1], evil, PurposeTableKey)
	table.raw = append(table.raw[:len(table.raw)-macLen], row.entry.raw[len(row.entry.raw)-macLen:]...)
	b = replaceEntry(v.file, row.entry.raw, table.raw)
	_, err = v.open(t, b, nil)
	tampering(t, err, "beside a table's root")
	require.ErrorIs(t, err, corrupt.ErrAuth)
	calls++ // for the store key

	// With the store key the file opens; the table does not.
	_, b = reseal(t, v.k, func(s *state) { s.generation, s.tables[0].entry = v.k.Generation(), table })
	k, err := Open(t.Context(), testDir, []RootKey{v.root.fakeRoot}, true, Options{FS: withFile(t, v.name, b)})
	require.NoError(t, err)
	calls++
	_, err = k.OpenTable(t.Context(), row.id)
	tampering(t, err, "beside a table's root, under the store key")
	require.ErrorIs(t, err, ErrRootNotPinned)
	require.Equal(t, calls, v.root.calls())
	require.Equal(t, 2, evil.wraps, "by this test")
	require.Zero(t, evil.unwraps)
}

// replaceEntry puts another entry into a file, with the length that goes with
// it.
func replaceEntry(file, old, entry []byte) []byte {
	i := bytes.Index(file, old)
	b := bytes.Clone(file[:i-4])
	b = binary.BigEndian.AppendUint32(b, uint32(len(entry)))
	b = append(b, entry...)
	return append(b, file[i+len(old):]...)
}

// TestLengths writes huge numbers over every four bytes. It does not run in
// parallel: it counts what is allocated.
func TestLengths(t *testing.T) {
	v := newVictim(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	tries := 0
	for _, n := range []uint32{1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 20} {
		for i := fileHeaderLen; i+4 <= len(v.file); i++ {
			b := bytes.Clone(v.file)
			binary.BigEndian.PutUint32(b[i:], n)
			if f, err := parseFile(b); err == nil {
				require.Len(t, f.raw, len(v.file))
			} else {
				require.ErrorIs(t, err, corrupt.ErrCorrupt)
			}
			tries++
		}
	}
	runtime.ReadMemStats(&after)
	require.Less(t, (after.TotalAlloc-before.TotalAlloc)/uint64(tries), uint64(64<<10), "bytes a try")
}

// TestNotARegularFile: what stands in a file's place in memory.
func TestNotARegularFile(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	mem := newTestFS(t)
	require.NoError(t, mem.MkdirAll(mem.PathJoin(testDir, v.name), 0o755))
	_, err := tryOpen(t, mem, v.root)
	tampering(t, err, "a directory in place of the file")
	require.ErrorIs(t, err, corrupt.ErrFormat)

	mem = newTestFS(t)
	f, err := mem.Create(testDir, "")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = tryOpen(t, mem, v.root)
	require.ErrorIs(t, err, corrupt.ErrFormat)
	_, err = Exists(mem, testDir)
	require.ErrorIs(t, err, corrupt.ErrFormat)
}

// TestDeleted: the file is gone, or the directory.
func TestDeleted(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	mem := withFile(t, v.name, v.file)
	require.NoError(t, mem.Remove(mem.PathJoin(testDir, v.name)))
	_, err := tryOpen(t, mem, v.root)
	require.ErrorIs(t, err, corrupt.ErrMissing)
	require.ErrorContains(t, err, "keyring/KEYRING-*")
	require.NoError(t, mem.Remove(testDir))
	_, err = tryOpen(t, mem, v.root)
	require.ErrorIs(t, err, corrupt.ErrMissing)
}

// A noSuite does not encrypt and does not authenticate.
type noSuite struct{}

func newNoSuite([]byte) (aead.Sealer, error) { return noSuite{}, nil }

func (noSuite) Seal(dst, text, _ []byte) ([]byte, error) {
	dst = append(dst, make([]byte, aead.NonceLen)...)
	dst = append(dst, text...)
	return append(dst, make([]byte, aead.TagLen)...), nil
}

func (noSuite) Open(dst, sealed, _ []byte) ([]byte, error) {
	if len(sealed) < aead.Overhead {
		return dst, aead.ErrOpen
	}
	return append(dst, sealed[aead.NonceLen:len(sealed)-aead.TagLen]...), nil
}

// TestNegativeControl: what the cipher alone defends is lost with a cipher
// that does not. The rows are those of TestDataKeyTamper, and sealed metadata
// and older keys under a MAC made again.
func TestNegativeControl(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		suite aead.Suite
		found bool
	}{{"AES-256-GCM", nil, true}, {"none", newNoSuite, false}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			key, store, table, file := RandomSecret(), NewID(), NewID(), NewID()
			dk, err := wrapDataKey(tc.suite, key, store, table, file, 1)
			require.NoError(t, err)
			for bit := range 8 * len(dk.Wrapped) {
				b := dk.Wrapped
				b[bit/8] ^= 1 << (bit % 8)
				_, err := unwrapDataKey(tc.suite, key, store, table, file, 1, b[:])
				require.Equal(t, tc.found, err != nil)
			}
			_, err = unwrapDataKey(tc.suite, key, store, table, NewID(), 1, dk.Wrapped[:])
			require.Equal(t, tc.found, err != nil, "another file")

			ec := Context{Store: store, Table: table, Purpose: PurposeTableKey, Version: 1}
			e := manyVersions(t, tc.suite, key, ec)
			i := bytes.Index(e.raw, e.metadata)
			for _, at := range []int{i + saltLen + aead.NonceLen, i + len(e.metadata) - 1} {
				c, err := parseEntry(bytes.Clone(e.raw), 0)
				require.NoError(t, err)
				c.raw[at] ^= 1
				sum, err := mac(key, labelEntryMAC, store[:], c.raw[:len(c.raw)-macLen])
				require.NoError(t, err)
				copy(c.raw[len(c.raw)-macLen:], sum)
				_, _, err = c.unlock(tc.suite, key.Clone(), Context{Store: store, Table: table, Purpose: PurposeTableKey, Version: 5})
				require.Equal(t, tc.found, err != nil, "metadata")
			}
		})
	}
}

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
	w.U32(1)
	w.Bytes(s.tables[0].entry.raw)
	sum, err := mac(v.k.storeKey.open.keys[1], labelKeyringMAC, w.B)
	require.NoError(t, err)
	w.Raw(sum)
	_, err = v.open(t, w.B, nil)
	tampering(t, err, "one entry of two")
	require.ErrorContains(t, err, "2 tables listed, 1 entries")
}
