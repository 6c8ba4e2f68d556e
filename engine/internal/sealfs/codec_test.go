package sealfs

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/wal"
)

func someNotes() []note {
	a, b := keyring.NewID(), keyring.NewID()
	return []note{
		{},
		{whole: true},
		{entries: []fileEntry{{fileKey{7, keyring.KindSSTable}, a, 4096}}},
		{
			whole:   true,
			entries: []fileEntry{{fileKey{7, keyring.KindSSTable}, a, 0}, {fileKey{8, keyring.KindBlob}, b, 1 << 40}},
			log:     wal.Segment{Number: 9, FileID: b, Frames: 3},
		},
		{gone: []fileKey{{7, keyring.KindSSTable}, {8, keyring.KindBlob}}},
		{entries: []fileEntry{{fileKey{9, keyring.KindSSTable}, a, 1}}, gone: []fileKey{{9, keyring.KindSSTable}}},
	}
}

func TestNoteRoundTrip(t *testing.T) {
	t.Parallel()
	for _, n := range someNotes() {
		b := n.encode()
		got, err := decodeNote(b)
		require.NoError(t, err)
		require.Equal(t, b, got.encode())
		require.Equal(t, n.whole, got.whole)
		require.ElementsMatch(t, n.entries, got.entries)
		require.ElementsMatch(t, n.gone, got.gone)
		require.Equal(t, n.log, got.log)
		for cut := range len(b) {
			_, err := decodeNote(b[:cut])
			require.Error(t, err, "cut at %d of %d", cut, len(b))
		}
		_, err = decodeNote(append(b, 0))
		require.Error(t, err, "a byte too many")
		b[0] |= 4
		_, err = decodeNote(b)
		require.Error(t, err, "an unknown flag")
	}
	// A count that no input can hold allocates nothing.
	b := binary.BigEndian.AppendUint32([]byte{0}, 1<<32-1)
	_, err := decodeNote(b)
	require.Error(t, err)
}

func someSeals() []*Seal {
	a, b := keyring.NewID(), keyring.NewID()
	return []*Seal{
		{Manifests: []End{{Segment: wal.Segment{Number: 1}}}},
		{
			Markers:   []string{"marker.format-version.000001.024", "marker.manifest.000001.MANIFEST-000001"},
			Manifests: []End{{wal.Segment{Number: 1, FileID: a, Frames: 5}, 900}, {wal.Segment{Number: 8, FileID: b, Frames: 1}, 0}},
			Logs:      []End{{wal.Segment{Number: 9, FileID: b, Frames: 2}, 1 << 40}},
		},
	}
}

func TestSealRoundTrip(t *testing.T) {
	t.Parallel()
	for _, s := range someSeals() {
		b := s.Encode()
		got, err := DecodeSeal(b)
		require.NoError(t, err)
		require.Equal(t, s, got)
		for cut := range len(b) {
			_, err := DecodeSeal(b[:cut])
			require.Error(t, err, "cut at %d of %d", cut, len(b))
		}
		_, err = DecodeSeal(append(b, 0))
		require.Error(t, err, "a byte too many")
	}
	_, err := DecodeSeal((&Seal{}).Encode())
	require.Error(t, err, "no MANIFEST")
	for _, at := range []int{0, 4, 8} {
		b := make([]byte, 12)
		binary.BigEndian.PutUint32(b[at:], 1<<32-1)
		_, err := DecodeSeal(b)
		require.Error(t, err, "a count that no input can hold")
	}
}

func FuzzNote(f *testing.F) {
	for _, n := range someNotes() {
		f.Add(n.encode())
	}
	for _, v := range noteVectors(f) {
		f.Add([]byte(v.In.Note))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeNote(b)
		if err != nil {
			return
		}
		got, err := decodeNote(n.encode())
		require.NoError(t, err)
		require.ElementsMatch(t, n.entries, got.entries)
		require.ElementsMatch(t, n.gone, got.gone)
		require.Equal(t, n.log, got.log)
		require.Equal(t, n.whole, got.whole)
	})
}

func FuzzSeal(f *testing.F) {
	for _, s := range someSeals() {
		f.Add(s.Encode())
	}
	for _, v := range sealVectors(f) {
		f.Add([]byte(v.In.Record))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSeal(b)
		if err != nil {
			return
		}
		require.Equal(t, b, s.Encode(), "a seal has one encoding")
	})
}

// uvarints encodes a version edit's first fields.
func uvarints(vs ...uint64) (b []byte) {
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func TestEditLogNumber(t *testing.T) {
	t.Parallel()
	comparer := append(uvarints(1, 7), "pebble!"...)
	for name, c := range map[string]struct {
		edit []byte
		log  uint64
		ok   bool
	}{
		"log first":                     {uvarints(2, 5, 3, 9), 5, true},
		"comparer, then log":            {append(comparer, uvarints(2, 1<<40, 3, 9)...), 1 << 40, true},
		"log is all":                    {uvarints(2, 0), 0, true},
		"no log: next file comes":       {uvarints(3, 9, 4, 100), 0, false},
		"no log: a new table comes":     {uvarints(103, 6), 0, false},
		"comparer alone":                {comparer, 0, false},
		"empty":                         {nil, 0, false},
		"a tag alone":                   {uvarints(2), 0, false},
		"comparer longer than the edit": {uvarints(1, 100), 0, false},
		"comparer of 2^64-1 bytes":      {uvarints(1, 1<<64-1), 0, false},
		"a varint without end":          {[]byte{0xff, 0xff, 0xff}, 0, false},
		"a varint of more than 64 bits": {append([]byte{2}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), 0, false},
	} {
		log, ok := editLogNumber(c.edit)
		require.Equal(t, c.ok, ok, name)
		require.Equal(t, c.log, log, name)
	}
}
