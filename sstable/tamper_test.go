package sstable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"testing"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

// An attack is what somebody who can write to the disk, and has no key, does
// to a file.
type attack struct {
	name string
	// byCipher: only authentication finds it. Whoever does it knows the
	// format, and mends the clear marks and the length. With a cipher that
	// does not authenticate the file opens; that is the negative control.
	byCipher bool
	// keepsText: the control reads what was written, not something else.
	keepsText bool
	// class of the fault; nil for ErrAuth.
	class error
	// do changes s.b. other is a file of the same size under another key. It
	// returns the segment at which a read from the start fails; -1 where the
	// file does not open.
	do func(rng *mathrand.Rand, s, other *sealed) int
}

const (
	markLen   = 4
	nonceFrom = markLen
	textFrom  = markLen + aead.NonceLen
)

// inner picks a segment that is neither the first nor one of the last two.
func (s *sealed) inner(rng *mathrand.Rand) int { return 1 + rng.IntN(s.segments()-3) }

func (s *sealed) lastIndex() int { return s.segments() - 1 }

func flip(rng *mathrand.Rand, b []byte) { b[rng.IntN(len(b))] ^= 1 << rng.IntN(8) }

// mend writes the mark of segment i as a Writer would in a file of that
// length: it is not secret.
func (s *sealed) mend(i int) {
	mark := uint32(0xFFFFFFFF)
	if i == s.lastIndex() {
		mark = uint32(len(s.segment(i)))
	}
	binary.BigEndian.PutUint32(s.segment(i), mark)
}

func swap(a, b []byte) {
	c := slices.Clone(a)
	copy(a, b)
	copy(b, c)
}

var attacks = []attack{
	{name: "bit flipped in a segment's text", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := rng.IntN(s.lastIndex())
		flip(rng, s.segment(i)[textFrom:s.unit()-aead.TagLen])
		return i
	}},
	{name: "bit flipped in a nonce", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := rng.IntN(s.segments())
		flip(rng, s.segment(i)[nonceFrom:textFrom])
		return i
	}},
	{name: "bit flipped in a tag", byCipher: true, keepsText: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := rng.IntN(s.segments())
		b := s.segment(i)
		flip(rng, b[len(b)-aead.TagLen:])
		return i
	}},
	{name: "bit flipped in the last short segment", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		b := s.segment(s.lastIndex())
		flip(rng, b[textFrom:len(b)-aead.TagLen])
		return s.lastIndex()
	}},
	{name: "bit flipped in a mark", do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := rng.IntN(s.segments())
		flip(rng, s.segment(i)[:markLen])
		return i
	}},
	{name: "mark of 2^31, of 0", do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := rng.IntN(s.segments())
		binary.BigEndian.PutUint32(s.segment(i), uint32(rng.IntN(2))<<31)
		return i
	}},
	{name: "two segments swapped", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := s.inner(rng)
		j := (i + 1 + rng.IntN(s.lastIndex()-1)) % s.lastIndex()
		swap(s.segment(i), s.segment(j))
		return min(i, j)
	}},
	{name: "a segment doubled over its neighbour", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := s.inner(rng)
		copy(s.segment(i), s.segment(i-1+2*rng.IntN(2)))
		return i
	}},
	{name: "a segment zeroed", do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := rng.IntN(s.segments())
		clear(s.segment(i))
		return i
	}},
	{name: "a segment zeroed but for its mark", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := rng.IntN(s.segments())
		clear(s.segment(i)[markLen:])
		return i
	}},
	{name: "a segment of random bytes", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := rng.IntN(s.segments())
		copy(s.segment(i)[markLen:], randomBytes(s.unit()))
		return i
	}},
	{name: "a segment of another file, same index", byCipher: true, do: func(rng *mathrand.Rand, s, other *sealed) int {
		i := rng.IntN(s.segments())
		copy(s.segment(i), other.segment(i))
		return i
	}},
	{name: "all segments of another file", byCipher: true, do: func(_ *mathrand.Rand, s, other *sealed) int {
		copy(s.b[keyring.HeaderLen:], other.b[keyring.HeaderLen:])
		return 0
	}},
	{name: "header of another file", class: corrupt.ErrAuth, do: func(_ *mathrand.Rand, s, other *sealed) int {
		copy(s.b, other.b[:keyring.HeaderLen])
		return -1
	}},
	{name: "another file of the very same size", class: corrupt.ErrAuth, do: func(_ *mathrand.Rand, s, other *sealed) int {
		copy(s.b, other.b)
		return -1
	}},
	{name: "another file of another size", class: corrupt.ErrAuth, do: func(rng *mathrand.Rand, s, other *sealed) int {
		s.b = append(slices.Clone(other.b), randomBytes(33+rng.IntN(100))...)
		return -1
	}},
	{name: "a segment removed from the middle", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := s.inner(rng)
		s.b = slices.Delete(s.b, s.offset(i), s.offset(i+1))
		return i
	}},
	{name: "the first segments removed", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		s.b = slices.Delete(s.b, s.offset(0), s.offset(s.inner(rng)))
		return 0
	}},
	{name: "a segment copied into the middle", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := s.inner(rng)
		s.b = slices.Insert(s.b, s.offset(i), slices.Clone(s.segment(i))...)
		return i + 1
	}},
	{name: "cut between segments", do: func(rng *mathrand.Rand, s, _ *sealed) int {
		s.b = s.b[:s.offset(1+s.inner(rng))]
		return s.lastIndex()
	}},
	{name: "cut between segments, the mark mended", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		s.b = s.b[:s.offset(1+s.inner(rng))]
		s.mend(s.lastIndex())
		return s.lastIndex()
	}},
	{name: "cut to the first segment, the mark mended", byCipher: true, do: func(_ *mathrand.Rand, s, _ *sealed) int {
		s.b = s.b[:s.offset(1)]
		s.mend(0)
		return 0
	}},
	{name: "cut to an empty segment, the mark mended", byCipher: true, do: func(_ *mathrand.Rand, s, _ *sealed) int {
		s.b = s.b[:s.offset(0)+floe.SegmentOverhead]
		s.mend(0)
		return 0
	}},
	{name: "cut inside a segment, the mark mended", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		s.b = s.b[:s.offset(s.inner(rng))+floe.SegmentOverhead+1+rng.IntN(s.unit()-floe.SegmentOverhead-1)]
		s.mend(s.lastIndex())
		return s.lastIndex()
	}},
	{name: "cut inside a nonce or tag", class: corrupt.ErrFormat, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		s.b = s.b[:s.offset(s.inner(rng))+1+rng.IntN(floe.SegmentOverhead)]
		return -1
	}},
	{name: "cut inside the last segment, the mark mended", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		n := len(s.segment(s.lastIndex())) - floe.SegmentOverhead
		s.b = s.b[:len(s.b)-1-rng.IntN(n-1)]
		s.mend(s.lastIndex())
		return s.lastIndex()
	}},
	{name: "cut inside the header", class: corrupt.ErrFormat, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		s.b = s.b[:rng.IntN(keyring.HeaderLen+1)]
		return -1
	}},
	{name: "cut to nothing", class: corrupt.ErrFormat, do: func(_ *mathrand.Rand, s, _ *sealed) int {
		s.b = nil
		return -1
	}},
	{name: "garbage appended, the mark mended", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := s.lastIndex()
		s.b = append(s.b, randomBytes(1+rng.IntN(s.unit()-len(s.segment(i))))...)
		s.mend(i)
		return i
	}},
	{name: "a copied segment appended", do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := s.lastIndex()
		s.b = append(s.b, s.segment(s.inner(rng))...)
		return i
	}},
	{name: "the last segment filled up, a copied one appended, all marks mended", byCipher: true, do: func(rng *mathrand.Rand, s, _ *sealed) int {
		i := s.lastIndex()
		s.b = append(s.b, randomBytes(s.unit()-len(s.segment(i)))...)
		s.b = append(s.b, s.segment(s.inner(rng))...)
		s.mend(i)
		s.mend(i + 1)
		return i
	}},
	{name: "a zeroed page appended", do: func(_ *mathrand.Rand, s, _ *sealed) int {
		i := s.lastIndex()
		s.b = append(s.b, make([]byte, 4096)...)
		return i
	}},
}

// TestAttacks does each attack at many random positions.
func TestAttacks(t *testing.T) {
	t.Parallel()
	for _, unit := range []uint32{64, 2048} {
		for _, a := range attacks {
			t.Run(fmt.Sprintf("%d/%s", unit, a.name), func(t *testing.T) {
				t.Parallel()
				rng := newRand(t)
				n := 30*(int(unit)-floe.SegmentOverhead) + 17
				s := seal(t, randomBytes(n), Options{UnitSize: unit})
				other := seal(t, randomBytes(n), Options{UnitSize: unit})
				for range 100 {
					c := s.clone()
					segment := a.do(rng, c, other)
					if bytes.Equal(c.b, s.b) {
						continue // random bytes that were there before
					}
					e := requireFault(t, c, a.name)
					if a.class == nil {
						a.class = corrupt.ErrAuth
					}
					require.ErrorIs(t, e, a.class)
					if segment < 0 {
						continue
					}
					require.EqualValues(t, c.offset(segment), e.Offset)
					requireRestReads(t, rng, c, segment)
				}
			})
		}
	}
}

// requireRestReads reads segments with a handle each. Nothing reads that was
// not written there.
func requireRestReads(t *testing.T, rng *mathrand.Rand, s *sealed, bad int) {
	full := s.unit() - floe.SegmentOverhead
	for _, i := range []int{bad, max(0, bad-1), min(bad+1, s.lastIndex()), rng.IntN(s.segments()), s.lastIndex()} {
		r, _ := s.mustOpen(t)
		p := make([]byte, full)
		n, err := r.ReadAt(p, int64(i*full))
		if i == bad {
			requireCorrupt(t, err, corrupt.ErrAuth)
		}
		if err == nil || err == io.EOF {
			requireSame(t, s.plain[i*full:][:n], p[:n])
		} else {
			require.Zero(t, n)
			require.Equal(t, make([]byte, full), p)
		}
	}
}

// TestAttacksControl does the same to files under a cipher that does not
// authenticate. What only the cipher can find must go through now, or the
// attack was none, and TestAttacks would show nothing.
func TestAttacksControl(t *testing.T) {
	t.Parallel()
	for _, unit := range []uint32{64, 2048} {
		rng := newRand(t)
		n := 30*(int(unit)-floe.SegmentOverhead) + 17
		s := seal(t, randomBytes(n), Options{UnitSize: unit, Suite: ctrSuite})
		other := seal(t, randomBytes(n), Options{UnitSize: unit, Suite: ctrSuite})
		got, err := readAll(s.reopen(t))
		require.NoError(t, err)
		requireSame(t, s.plain, got)
		for _, a := range attacks {
			for range 10 {
				c := s.clone()
				a.do(rng, c, other)
				if !a.byCipher {
					requireFault(t, c, a.name)
					continue
				}
				r, _, err := c.open()
				require.NoError(t, err, a.name)
				_, err = r.Verify(func(_ int64, err error) bool { require.NoError(t, err, a.name); return true })
				require.NoError(t, err)
				got, err := readAll(r)
				require.NoError(t, err, a.name)
				require.Equal(t, a.keepsText, bytes.Equal(got, s.plain), a.name)
			}
		}
	}
}

// TestEveryBit flips each bit of a file, one at a time.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	s := seal(t, randomBytes(3*32+5), Options{UnitSize: 64})
	for i := range s.b {
		for bit := range 8 {
			c := s.clone()
			c.b[i] ^= 1 << bit
			if overlaid(i) {
				got, err := readAll(c.reopen(t))
				require.NoError(t, err)
				requireSame(t, s.plain, got)
				continue
			}
			e := requireFault(t, c, fmt.Sprintf("bit %d of byte %d", bit, i))
			if i >= keyring.HeaderLen {
				require.EqualValues(t, c.offset((i-keyring.HeaderLen)/64), e.Offset)
			}
		}
	}
}

// overlaid tells whether a byte belongs to the key version or the wrapped key.
// An overlay may replace them, so they are not the header tag's to protect:
// whoever unwraps the key does that.
func overlaid(i int) bool { return i >= 96 && i < 160 }

// TestHeaderFields changes one field of the header after the other to another
// good value. The file does not open.
func TestHeaderFields(t *testing.T) {
	t.Parallel()
	id, key := testIdentity(), testKey()
	s := sealAs(t, randomBytes(1000), id, key, Options{UnitSize: 64})
	other := seal(t, randomBytes(1000), Options{UnitSize: 64})
	for _, f := range []struct {
		name     string
		from, to int
		value    []byte
		class    error
	}{
		{"magic", 0, 8, []byte("\x93COFRE\n\n"), corrupt.ErrFormat},
		{"version 0", 8, 10, []byte{0, 0}, corrupt.ErrVersion},
		{"version 2", 8, 10, []byte{0, 2}, corrupt.ErrVersion},
		{"kind blob", 10, 11, []byte{byte(keyring.KindBlob)}, corrupt.ErrAuth},
		{"kind wal", 10, 11, []byte{byte(keyring.KindWAL)}, corrupt.ErrFormat},
		{"kind unknown", 10, 11, []byte{0xEE}, corrupt.ErrFormat},
		{"suite 0", 11, 12, []byte{0}, corrupt.ErrVersion},
		{"suite 2", 11, 12, []byte{2}, corrupt.ErrVersion},
		{"unit size 128", 12, 16, []byte{0, 0, 0, 128}, corrupt.ErrAuth},
		{"unit size 0", 12, 16, []byte{0, 0, 0, 0}, corrupt.ErrFormat},
		{"unit size 2^31", 12, 16, []byte{0x80, 0, 0, 0}, corrupt.ErrFormat},
		{"store id", 16, 32, nil, corrupt.ErrAuth},
		{"table id", 32, 48, nil, corrupt.ErrAuth},
		{"file id", 48, 64, nil, corrupt.ErrAuth},
		{"file number", 64, 72, []byte{0, 0, 0, 0, 0, 0, 0, 43}, corrupt.ErrAuth},
		{"file number 2^63", 64, 72, []byte{0x80, 0, 0, 0, 0, 0, 0, 42}, corrupt.ErrAuth},
		{"incarnation", 72, 88, nil, corrupt.ErrAuth},
		{"created at", 88, 96, nil, corrupt.ErrAuth},
		{"cipher of FLOE", 160, 161, []byte{1}, corrupt.ErrAuth},
		{"KDF of FLOE", 161, 162, []byte{1}, corrupt.ErrAuth},
		{"segment length of FLOE", 162, 166, []byte{0, 0, 0, 128}, corrupt.ErrAuth},
		{"IV length of FLOE", 166, 170, []byte{0, 0, 0, 16}, corrupt.ErrAuth},
		{"IV", 170, 202, nil, corrupt.ErrAuth},
		{"header tag", 202, 234, nil, corrupt.ErrAuth},
		{"IV and header tag", 170, 234, nil, corrupt.ErrAuth},
		{"FLOE header", 160, 234, nil, corrupt.ErrAuth},
		{"identity", 0, 96, nil, corrupt.ErrAuth},
	} {
		c := s.clone()
		if f.value == nil {
			f.value = other.b[f.from:f.to]
		}
		require.NotEqual(t, s.b[f.from:f.to], f.value, f.name)
		copy(c.b[f.from:f.to], f.value)
		_, _, err := c.open()
		require.NotNil(t, err, f.name)
		e := requireCorrupt(t, err, f.class)
		require.Equal(t, s.opts.Path, e.Path, f.name)
	}
}

// TestLengthsAreBounded gives a Reader sizes that the file does not have.
func TestLengthsAreBounded(t *testing.T) {
	t.Parallel()
	s := seal(t, randomBytes(1000), Options{UnitSize: 64})
	h, err := keyring.ParseHeader(s.b)
	require.NoError(t, err)
	for _, size := range []int64{-1 << 63, -1, 0, 1, 234, 265, 1<<63 - 1, 1<<63 - 30} {
		_, err := NewReader(newMemFile(s.b), size, h, s.key, s.opts)
		requireCorrupt(t, err, corrupt.ErrFormat)
	}
	for _, size := range []int64{1<<31 + 234, 1<<46 + 234} {
		f := newMemFile(s.b)
		r, err := NewReader(f, size, h, s.key, s.opts)
		require.NoError(t, err, "there may be such a file")
		_, err = r.ReadAt(make([]byte, 100), r.Size()-50)
		requireCorrupt(t, err, corrupt.ErrMissing)
		var faults int
		r, err = NewReader(f, size, h, s.key, s.opts)
		require.NoError(t, err)
		checked, err := r.Verify(func(int64, error) bool { faults++; return true })
		require.NoError(t, err)
		require.Equal(t, 1, faults, "what is missing is one fault")
		require.EqualValues(t, len(s.b), checked)
	}
}
