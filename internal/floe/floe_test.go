package floe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/cofredb/cofre/internal/secret"
	"github.com/stretchr/testify/require"
)

const unit, full = 64, 64 - SegmentOverhead

func begin(t testing.TB, p Params) (*Message, []byte, *secret.Key) {
	key := secret.Random()
	m, header, err := Start(p, key, []byte("identity"))
	require.NoError(t, err)
	return m, header[:], key
}

func TestHeader(t *testing.T) {
	t.Parallel()
	p := Params{SegmentLen: unit}
	_, header, key := begin(t, p)
	require.Equal(t, []byte{0, 0, 0, 0, 0, unit, 0, 0, 0, ivLen}, header[:paramsLen])
	_, err := Resume(p, key, []byte("identity"), header)
	require.NoError(t, err)

	_, err = Resume(p, secret.Random(), []byte("identity"), header)
	require.Equal(t, ErrHeader, err)
	_, err = Resume(p, key, []byte("another"), header)
	require.Equal(t, ErrHeader, err)
	_, err = Resume(p, key, nil, header)
	require.Equal(t, ErrHeader, err)
	_, err = Resume(Params{SegmentLen: unit + 1}, key, []byte("identity"), header)
	require.Equal(t, ErrHeader, err)
	for i := range header {
		for bit := range 8 {
			c := slices.Clone(header)
			c[i] ^= 1 << bit
			_, err = Resume(p, key, []byte("identity"), c)
			require.Equal(t, ErrHeader, err, "bit %d of byte %d", bit, i)
		}
		_, err = Resume(p, key, []byte("identity"), header[:i])
		require.Equal(t, ErrHeader, err)
	}
	_, err = Resume(p, key, []byte("identity"), append(header, 0))
	require.Equal(t, ErrHeader, err)
}

// TestMessagesDiffer: two messages of one key share no IV and open nothing of
// each other.
func TestMessagesDiffer(t *testing.T) {
	t.Parallel()
	p, key := Params{SegmentLen: unit}, secret.Random()
	a, ha, err := Start(p, key, nil)
	require.NoError(t, err)
	b, hb, err := Start(p, key, nil)
	require.NoError(t, err)
	require.NotEqual(t, ha[paramsLen:paramsLen+ivLen], hb[paramsLen:paramsLen+ivLen])
	var aad [AADLen]byte
	segment, err := a.SealSegment(nil, make([]byte, full), 0, false, &aad)
	require.NoError(t, err)
	_, err = b.OpenSegment(nil, segment, 0, false, &aad)
	require.Equal(t, ErrSegment, err)
}

func TestSegments(t *testing.T) {
	t.Parallel()
	m, header, key := begin(t, Params{SegmentLen: unit})
	r, err := Resume(Params{SegmentLen: unit}, key, []byte("identity"), header)
	require.NoError(t, err)
	var aad [AADLen]byte
	for _, tc := range []struct {
		n        int
		position uint64
		final    bool
	}{
		{full, 0, false}, {full, 1, false}, {full, 5, true}, {0, 0, true}, {1, 7, true},
		{full, 1<<20 - 1, false}, {full, 1 << 20, false}, {full, 1<<40 - 2, false}, {3, 1<<40 - 1, true},
	} {
		plain := bytes.Repeat([]byte{7}, tc.n)
		segment, err := m.SealSegment([]byte("x"), plain, tc.position, tc.final, &aad)
		require.NoError(t, err)
		segment = segment[1:]
		require.Len(t, segment, tc.n+SegmentOverhead)
		mark := uint32(0xFFFFFFFF)
		if tc.final {
			mark = uint32(len(segment))
		}
		require.Equal(t, mark, binary.BigEndian.Uint32(segment))
		got, err := r.OpenSegment([]byte("x"), segment, tc.position, tc.final, &aad)
		require.NoError(t, err)
		require.Equal(t, "x"+string(plain), string(got))

		refuse := func(segment []byte, position uint64, final bool) {
			t.Helper()
			got, err := r.OpenSegment([]byte("x"), segment, position, final, &aad)
			require.ErrorIs(t, err, ErrSegment)
			require.Equal(t, "x", string(got))
		}
		refuse(segment, tc.position^1, tc.final)
		refuse(segment, tc.position^1<<20, tc.final)
		refuse(segment, tc.position, !tc.final)
		// Also where the mark, which is clear, is made to fit.
		c := slices.Clone(segment)
		binary.BigEndian.PutUint32(c, 0xFFFFFFFF)
		if !tc.final {
			binary.BigEndian.PutUint32(c, uint32(len(c)))
		}
		refuse(c, tc.position, !tc.final)
		refuse(c, tc.position, tc.final)
		for i := range segment {
			c := slices.Clone(segment)
			c[i] ^= 0x10
			refuse(c, tc.position, tc.final)
			refuse(segment[:i], tc.position, tc.final)
		}
		refuse(append(slices.Clone(segment), 0), tc.position, tc.final)
	}
}

func TestSegmentBounds(t *testing.T) {
	t.Parallel()
	m, _, _ := begin(t, Params{SegmentLen: unit})
	var aad [AADLen]byte
	for _, tc := range []struct {
		n     int
		final bool
	}{{full - 1, false}, {0, false}, {full + 1, false}, {full + 1, true}} {
		_, err := m.SealSegment(nil, make([]byte, tc.n), 0, tc.final, &aad)
		require.ErrorContains(t, err, "length")
	}
	for _, position := range []uint64{MaxSegments, MaxSegments + 1, 1 << 63, 1<<64 - 1} {
		_, err := m.SealSegment(nil, make([]byte, full), position, false, &aad)
		require.Equal(t, ErrPosition, err)
		_, err = m.OpenSegment(nil, make([]byte, unit), position, false, &aad)
		require.Equal(t, ErrPosition, err)
	}
}

// TestRotation: segments of two epochs have different keys. A message with
// another rotation opens the first epoch alone.
func TestRotation(t *testing.T) {
	t.Parallel()
	p := Params{SegmentLen: unit, RotationBits: 2}
	m, header, key := begin(t, p)
	p.RotationBits = 3
	r, err := Resume(p, key, []byte("identity"), header)
	require.NoError(t, err)
	var aad [AADLen]byte
	for position := range uint64(16) {
		segment, err := m.SealSegment(nil, make([]byte, full), position, false, &aad)
		require.NoError(t, err)
		_, err = r.OpenSegment(nil, segment, position, false, &aad)
		if position < 4 || position >= 8 && position < 12 {
			require.NoError(t, err, "segment %d", position)
		} else {
			require.Equal(t, ErrSegment, err, "segment %d", position)
		}
	}
}

func TestDerive(t *testing.T) {
	t.Parallel()
	m, header, key := begin(t, Params{})
	r, err := Resume(Params{}, key, []byte("identity"), header)
	require.NoError(t, err)
	a, err := m.Derive("FRAME:")
	require.NoError(t, err)
	sealed, err := a.Seal(nil, []byte("frame"), nil)
	require.NoError(t, err)
	for purpose, want := range map[string]bool{"FRAME:": true, "FRAME": false, "": false, "DEK:": false} {
		s, err := r.Derive(purpose)
		require.NoError(t, err)
		_, err = s.Open(nil, sealed, nil)
		require.Equal(t, want, err == nil, "%q", purpose)
	}
	b, err := m.DeriveBytes("NAME:", 20)
	require.NoError(t, err)
	c, err := r.DeriveBytes("NAME:", 20)
	require.NoError(t, err)
	require.Equal(t, b, c)
	c, err = r.DeriveBytes("OTHER:", 20)
	require.NoError(t, err)
	require.NotEqual(t, b, c)
}

// TestPrint shows a message in every way that fmt knows.
func TestPrint(t *testing.T) {
	t.Parallel()
	m, _, _ := begin(t, Params{SegmentLen: unit})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		require.Equal(t, "floe.Message", fmt.Sprintf(verb, m))
	}
}

// TestWipe: a wiped message neither seals nor opens, and derives nothing.
func TestWipe(t *testing.T) {
	t.Parallel()
	for _, used := range []bool{false, true} {
		m, _, _ := begin(t, Params{SegmentLen: unit})
		var aad [AADLen]byte
		segment := make([]byte, unit)
		binary.BigEndian.PutUint32(segment, internalMark)
		if used {
			var err error
			segment, err = m.SealSegment(nil, make([]byte, full), 0, false, &aad)
			require.NoError(t, err)
		}
		m.Wipe()
		m.Wipe()
		require.Zero(t, m.key)
		_, err := m.SealSegment(nil, make([]byte, full), 0, false, &aad)
		require.Equal(t, ErrWiped, err)
		_, err = m.OpenSegment(nil, segment, 0, false, &aad)
		require.Equal(t, ErrWiped, err)
		_, err = m.Derive("x")
		require.Equal(t, ErrWiped, err)
		_, err = m.DeriveBytes("x", 1)
		require.Equal(t, ErrWiped, err)
	}
}
