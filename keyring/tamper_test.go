package keyring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
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
			if off == 9 && value == 1 {
				require.ErrorIs(t, err, corrupt.ErrFormat) // version 1 has other fields
				continue
			}
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
	require.ErrorIs(t, err, corrupt.ErrAuth)
	calls++ // ours is, and the entry's MAC finds it
	require.Equal(t, calls, v.root.calls())

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
	require.ErrorIs(t, err, corrupt.ErrAuth)
	calls++
	require.Equal(t, calls, v.root.calls())

	// Whoever has held the table's key too can write it in. The table opens, and no
	// rotation wraps anything for him: each fails and names him.
	for _, id := range []ID{{}, row.id} {
		mine, err := v.k.cur.Load().entry(id)
		require.NoError(t, err)
		key := v.k.storeKey.open.keys[1]
		if !id.IsZero() {
			key = tk.open.keys[1]
		}
		_, b = reseal(t, v.k, func(s *state) {
			s.generation = v.k.Generation()
			at, err := s.entry(id)
			require.NoError(t, err)
			*at = addWrap(t, v.k, *mine, key, evil, purposeOf(id))
		})
		k := mustOpen(t, withFile(t, v.name, b), v.root.fakeRoot)
		wraps := evil.wraps
		for _, op := range []rootsOp{newVersion, toRoot(v.root), replaceRoot(v.root.uri, v.root)} {
			err := op.do(t, k, id, nil)
			require.ErrorIs(t, err, ErrRootNotPinned)
			require.ErrorContains(t, err, evil.uri)
		}
		require.Equal(t, wraps, evil.wraps)
		require.NoError(t, removeRoot(evil.uri).do(t, k, id, nil))
		require.Equal(t, []string{v.root.uri}, rootsOf(t, k, id))
	}
	require.Equal(t, 4, evil.wraps, "by this test")
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
