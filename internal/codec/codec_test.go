package codec

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWireForm fixes the bytes of every field: formats are made of them.
func TestWireForm(t *testing.T) {
	t.Parallel()
	var w Writer
	w.U8(0x01)
	w.U16(0x0203)
	w.U32(0x04050607)
	w.U64(0x08090a0b0c0d0e0f)
	w.Raw([]byte("raw"))
	w.Bytes([]byte{0xFF})
	w.Str("é")
	require.Equal(t, "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0fraw\x00\x00\x00\x01\xff\x00\x00\x00\x02é", string(w.B))

	r := NewReader(w.B)
	require.EqualValues(t, 0x01, r.U8())
	require.EqualValues(t, 0x0203, r.U16())
	require.EqualValues(t, 0x04050607, r.U32())
	require.EqualValues(t, 0x08090a0b0c0d0e0f, r.U64())
	var raw [3]byte
	r.Fill(raw[:])
	require.Equal(t, "raw", string(raw[:]))
	require.Equal(t, []byte{0xFF}, r.Bytes(1))
	require.Equal(t, "é", r.Str(2))
	require.Zero(t, r.Len())
	require.NoError(t, r.Done())
}

// TestShort cuts the input at every length: a field that is not whole gives
// zero and ErrShort, and nothing after it reads.
func TestShort(t *testing.T) {
	t.Parallel()
	var w Writer
	w.U16(0x0101)
	w.U32(0x01010101)
	w.Bytes([]byte("four"))
	w.U64(1)
	for n := range len(w.B) {
		r := NewReader(w.B[:n])
		r.U16()
		r.U32()
		r.Bytes(10)
		require.Zero(t, r.U64())
		require.ErrorIs(t, r.Err(), ErrShort, "%d bytes", n)
		require.ErrorIs(t, r.Done(), ErrShort)
		require.Zero(t, r.U8())
		require.Nil(t, r.Raw(0))
		require.ErrorIs(t, r.Err(), ErrShort)
	}
	r := NewReader([]byte{1})
	require.Nil(t, r.Raw(-1))
	require.ErrorIs(t, r.Err(), ErrShort)
}

func TestTrailing(t *testing.T) {
	t.Parallel()
	r := NewReader([]byte{1, 2})
	r.U8()
	require.NoError(t, r.Err())
	require.Equal(t, []byte{2}, r.Rest())
	require.ErrorIs(t, r.Done(), ErrTrailing)
	require.ErrorIs(t, r.Err(), ErrTrailing)
}

// TestBounds meets lengths that are too large. None makes a Reader allocate or
// read beyond its input.
func TestBounds(t *testing.T) {
	t.Parallel()
	field := func(length uint32, data string) *Reader {
		var w Writer
		w.U32(length)
		w.Raw([]byte(data))
		return NewReader(w.B)
	}
	for _, n := range []uint32{5, 1 << 31, math.MaxUint32} {
		r := field(n, "abcd")
		require.Nil(t, r.Bytes(4))
		require.ErrorIs(t, r.Err(), ErrBound, "%d", n)

		r = field(n, "abcd")
		require.Nil(t, r.Bytes(math.MaxInt))
		require.ErrorIs(t, r.Err(), ErrShort, "%d", n)

		r = field(n, "abcd")
		require.Zero(t, r.Count(4, 1))
		require.ErrorIs(t, r.Err(), ErrBound, "%d", n)

		r = field(n, "abcd")
		require.Zero(t, r.Count(math.MaxInt, 1))
		require.ErrorIs(t, r.Err(), ErrBound, "%d", n)
	}
	r := field(4, "abcd")
	require.Equal(t, []byte("abcd"), r.Bytes(4))
	r = field(2, "abcd")
	require.Equal(t, 2, r.Count(2, 2))
	require.NoError(t, r.Err())
	r = field(3, "abcd")
	require.Zero(t, r.Count(3, 2), "three elements of two bytes do not fit in four")
	require.ErrorIs(t, r.Err(), ErrBound)
}

// TestRawIsCut: an append to a field must not write over the next one.
func TestRawIsCut(t *testing.T) {
	t.Parallel()
	b := []byte{1, 2, 3}
	p := NewReader(b).Raw(1)
	_ = append(p, 9)
	require.Equal(t, []byte{1, 2, 3}, b)
}
