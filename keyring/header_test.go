package keyring_test

import (
	"encoding/hex"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

// headerOf builds a header in which every field has bytes of its own.
func headerOf(kind keyring.FileKind, unit uint32) (keyring.Identity, []byte) {
	fill := func(b []byte, from byte) {
		for i := range b {
			b[i] = from + byte(i)
		}
	}
	id := keyring.Identity{Kind: kind, UnitSize: unit, Number: 0x0102030405060708, CreatedAt: time.Unix(0, 0x1112131415161718).UTC()}
	fill(id.StoreID[:], 0x20)
	fill(id.TableID[:], 0x30)
	fill(id.FileID[:], 0x40)
	fill(id.Incarnation[:], 0x50)
	key := &keyring.DataKey{Version: 0x61626364}
	fill(key.Wrapped[:], 0x70)
	var f [floe.HeaderLen]byte
	fill(f[:], 0xB0)
	return id, keyring.EncodeHeader(&id, key, f)
}

// headerBytes is the header of headerOf(KindSSTable, 2048), field by field:
// what format version 1 is.
const headerBytes = "93434f4652450d0a" + "0001" + "01" + "01" + "00000800" +
	"202122232425262728292a2b2c2d2e2f" + "303132333435363738393a3b3c3d3e3f" + "404142434445464748494a4b4c4d4e4f" +
	"0102030405060708" + "505152535455565758595a5b5c5d5e5f" + "1112131415161718" +
	"61626364" + "707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaab" +
	"b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9"

func TestHeaderBytes(t *testing.T) {
	t.Parallel()
	id, b := headerOf(keyring.KindSSTable, 2048)
	require.Equal(t, headerBytes, hex.EncodeToString(b))
	require.Len(t, b, keyring.HeaderLen)
	require.Equal(t, 234, keyring.HeaderLen)
	require.Equal(t, b[:96], id.AAD())
}

func TestHeaderRoundTrip(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind keyring.FileKind
		unit uint32
		name string
	}{
		{keyring.KindSSTable, 2048, "sstable"}, {keyring.KindSSTable, 64, "sstable"}, {keyring.KindSSTable, 1 << 20, "sstable"},
		{keyring.KindBlob, 100, "blob"}, {keyring.KindWAL, 0, "wal"}, {keyring.KindManifest, 0, "manifest"},
		{keyring.KindOptions, 0, "options"}, {keyring.KindJournal, 0, "journal"},
	} {
		id, b := headerOf(tc.kind, tc.unit)
		h, err := keyring.ParseHeader(append(b, "what follows the header"...))
		require.NoError(t, err)
		require.Equal(t, id, h.Identity)
		require.EqualValues(t, 0x61626364, h.KeyVersion)
		require.Equal(t, b[100:160], h.WrappedKey[:])
		require.Equal(t, b[160:], h.Floe[:])
		require.Equal(t, tc.name, h.Identity.Kind.String())
		require.Equal(t, b, keyring.EncodeHeader(&h.Identity, &keyring.DataKey{Version: h.KeyVersion, Wrapped: h.WrappedKey}, h.Floe))
	}
	require.Equal(t, "kind(77)", keyring.FileKind(77).String())
}

func TestHeaderRefused(t *testing.T) {
	t.Parallel()
	_, good := headerOf(keyring.KindSSTable, 2048)
	_, log := headerOf(keyring.KindWAL, 0)
	for _, tc := range []struct {
		name   string
		from   []byte
		offset int
		bytes  []byte
		class  error
	}{
		{"magic", good, 0, []byte{0}, corrupt.ErrFormat},
		{"line end", good, 6, []byte("\n\n"), corrupt.ErrFormat},
		{"version 0", good, 8, []byte{0, 0}, corrupt.ErrVersion},
		{"version 2", good, 8, []byte{0, 2}, corrupt.ErrVersion},
		{"version 257", good, 8, []byte{1, 1}, corrupt.ErrVersion},
		{"kind 0", good, 10, []byte{0}, corrupt.ErrFormat},
		{"kind 7", good, 10, []byte{7}, corrupt.ErrFormat},
		{"suite 0", good, 11, []byte{0}, corrupt.ErrVersion},
		{"suite 2", good, 11, []byte{2}, corrupt.ErrVersion},
		{"unit size 63", good, 12, []byte{0, 0, 0, 63}, corrupt.ErrFormat},
		{"unit size 0", good, 12, []byte{0, 0, 0, 0}, corrupt.ErrFormat},
		{"unit size 2^20+1", good, 12, []byte{0, 0x10, 0, 1}, corrupt.ErrFormat},
		{"unit size 2^32-1", good, 12, []byte{255, 255, 255, 255}, corrupt.ErrFormat},
		{"unit size of a log", log, 12, []byte{0, 0, 8, 0}, corrupt.ErrFormat},
		{"sstable made a wal", good, 10, []byte{byte(keyring.KindWAL)}, corrupt.ErrFormat},
		{"wal made an sstable", log, 10, []byte{byte(keyring.KindSSTable)}, corrupt.ErrFormat},
	} {
		b := slices.Clone(tc.from)
		copy(b[tc.offset:], tc.bytes)
		_, err := keyring.ParseHeader(b)
		var e *corrupt.Error
		require.ErrorAs(t, err, &e, tc.name)
		require.Equal(t, tc.class, e.Class, tc.name)
		require.True(t, e.Offset >= 0 && e.Offset < 16, tc.name)
	}
	for n := range good {
		_, err := keyring.ParseHeader(good[:n])
		require.ErrorIs(t, err, corrupt.ErrFormat, "%d bytes", n)
	}
}

// TestHeaderTimes: any number may stand in the header, and is kept.
func TestHeaderTimes(t *testing.T) {
	t.Parallel()
	for _, b := range []byte{0x00, 0x7F, 0x80, 0xFF} {
		_, good := headerOf(keyring.KindWAL, 0)
		for i := range 8 {
			good[88+i] = b
		}
		h, err := keyring.ParseHeader(good)
		require.NoError(t, err)
		require.Equal(t, good[:96], h.Identity.AAD())
	}
}

func TestHeaderSeeds(t *testing.T) {
	t.Parallel()
	seeds, err := os.ReadDir("testdata/fuzz/FuzzHeader")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(seeds), 8)
}

// FuzzHeader: what parses is encoded to the same bytes, so nothing of a header
// is outside of what its tag covers.
func FuzzHeader(f *testing.F) {
	for _, kind := range []keyring.FileKind{keyring.KindSSTable, keyring.KindWAL} {
		unit := uint32(0)
		if kind.Random() {
			unit = 2048
		}
		_, b := headerOf(kind, unit)
		f.Add(b)
		f.Add(b[:100])
	}
	for _, v := range headerVectors(f) {
		f.Add([]byte(v.In.File))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := keyring.ParseHeader(b)
		if err != nil {
			var e *corrupt.Error
			require.ErrorAs(t, err, &e)
			return
		}
		again := keyring.EncodeHeader(&h.Identity, &keyring.DataKey{Version: h.KeyVersion, Wrapped: h.WrappedKey}, h.Floe)
		require.Equal(t, b[:keyring.HeaderLen], again)
		if h.Identity.Kind.Random() {
			require.True(t, h.Identity.UnitSize >= keyring.MinUnitSize && h.Identity.UnitSize <= keyring.MaxUnitSize)
		} else {
			require.Zero(t, h.Identity.UnitSize)
		}
	})
}
