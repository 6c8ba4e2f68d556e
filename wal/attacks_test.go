package wal

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// What someone may do to a log who can write the disk and has no key. Each
// attack runs at many positions, on a log that was closed cleanly (its number
// of frames is known) and on one that crashed (nothing is).
//
// On the clean log each must be an error. On the crashed one it must be an
// error where a frame that is still there attests a damaged one, or stands in
// a wrong place; else the exact prefix. In no case may a frame be returned
// that was not written at that index.
//
// Each attack has its negative control: the same on a log whose cipher does
// not authenticate must get through, or the test would prove nothing.

// A tampered log is the file after the attack, and what must be found.
type tampered struct {
	b         []byte
	first     int    // the first frame that is not there as it was
	attest    uint64 // the highest durable mark among frames behind it that open
	misplaced bool   // a frame opens in a wrong place
	harmless  bool   // on a clean log: what was appended opens nowhere
}

// attestedBehind is the highest durable mark of the frames from index i on.
func (l *testLog) attestedBehind(i int) (d uint64) {
	for ; i < l.frames(); i++ {
		d = max(d, l.durable[i])
	}
	return d
}

// without cuts the frames [i, j) out and puts repl in their place.
func (l *testLog) without(i, j int, repl ...[]byte) []byte {
	b := bytes.Clone(l.b[:l.offset[i]])
	for _, r := range repl {
		b = append(b, r...)
	}
	return append(b, l.b[l.offset[j]:]...)
}

// forge makes a frame of the attacker's: right segment tag, right index,
// sealed with a key of his own.
func (l *testLog) forge(t testing.TB, index int, data []byte) []byte {
	sealer, err := l.suite.New(keyring.RandomSecret().Expose())
	require.NoError(t, err)
	payload := append(appendPayloadHeader(nil, testNow().UnixNano(), 0, 0, 0), data...)
	head := appendFrameHeader(nil, l.tag, uint64(index), len(payload))
	frame, err := sealer.Seal(bytes.Clone(head), payload, head)
	require.NoError(t, err)
	return frame
}

// renumber changes the index that a frame shows. For the control it clears the
// durable mark too, which may not exceed the index.
func (l *testLog) renumber(frame []byte, index int) []byte {
	frame = bytes.Clone(frame)
	binary.BigEndian.PutUint64(frame[segmentTagLen:], uint64(index))
	if l.suite != nil {
		clear(frame[frameHeaderLen+aead.NonceLen+8:][:8])
	}
	return frame
}

var attacks = []struct {
	name   string
	tamper func(t testing.TB, l *testLog, rng *rand.Rand) tampered
}{
	{"bit flipped in the middle", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		k := 1 + rng.IntN(l.frames()-2)
		return l.flip(k, rng)
	}},
	{"bit flipped in the last frame", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		return l.flip(l.frames()-1, rng)
	}},
	{"cut at a frame, forged frames in place", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		k := 1 + rng.IntN(l.frames()-1)
		b := bytes.Clone(l.b[:l.offset[k]])
		for i := k; i < l.frames(); i++ {
			b = append(b, l.forge(t, i, []byte("forged"))...)
		}
		return tampered{b: b, first: k}
	}},
	{"tail zeroed, a forged frame in place", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		k := 1 + rng.IntN(l.frames()-1)
		b := bytes.Clone(l.b)
		clear(b[l.offset[k]:])
		copy(b[l.offset[k]:], l.forge(t, k, nil))
		return tampered{b: b, first: k}
	}},
	{"frame zeroed, a forged one in place", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		k := 1 + rng.IntN(l.frames()-1)
		f := l.forge(t, k, make([]byte, len(l.data[k])))
		return tampered{b: l.without(k, k+1, f), first: k, attest: l.attestedBehind(k + 1)}
	}},
	{"frame removed", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		k := 1 + rng.IntN(l.frames()-2)
		var renumbered [][]byte
		if l.suite != nil {
			for i := k + 1; i < l.frames(); i++ {
				renumbered = append(renumbered, l.renumber(l.frame(i), i-1))
			}
			renumbered = append(renumbered, l.forge(t, l.frames()-1, nil))
			return tampered{b: l.without(k, l.frames(), renumbered...), first: k}
		}
		return tampered{b: l.without(k, k+1), first: k, misplaced: true}
	}},
	{"frame removed, the others renumbered", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		k := 1 + rng.IntN(l.frames()-2)
		var renumbered [][]byte
		for i := k + 1; i < l.frames(); i++ {
			renumbered = append(renumbered, l.renumber(l.frame(i), i-1))
		}
		renumbered = append(renumbered, l.forge(t, l.frames()-1, nil))
		return tampered{b: l.without(k, l.frames(), renumbered...), first: k}
	}},
	{"frame removed, a hole in its place", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		k := 1 + rng.IntN(l.frames()-2)
		hole := bytes.Clone(l.frame(k))
		if l.suite != nil {
			clear(hole[frameHeaderLen+aead.NonceLen+payloadHeaderLen:])
		} else {
			clear(hole)
		}
		return tampered{b: l.without(k, k+1, hole), first: k, attest: l.attestedBehind(k + 1)}
	}},
	{"frames reordered", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		i, j := l.pair(rng)
		a, b := l.frame(j), l.frame(i)
		if l.suite != nil {
			a, b = l.renumber(a, i), l.renumber(b, j)
		}
		return tampered{
			b:     append(append(append(l.without(i, l.frames(), a), l.b[l.offset[i+1]:l.offset[j]]...), b...), l.b[l.offset[j+1]:]...),
			first: i, misplaced: true,
		}
	}},
	{"frames reordered and renumbered", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		i, j := l.pair(rng)
		a, b := l.renumber(l.frame(j), i), l.renumber(l.frame(i), j)
		attest := max(l.attestedBehind(j+1), slices.Max(append([]uint64{0}, l.durable[i+1:j]...)))
		return tampered{
			b:     append(append(append(l.without(i, l.frames(), a), l.b[l.offset[i+1]:l.offset[j]]...), b...), l.b[l.offset[j+1]:]...),
			first: i, attest: attest,
		}
	}},
	{"frame doubled over its neighbour", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		k := 2 + rng.IntN(l.frames()-2)
		d := l.frame(k - 1)
		if l.suite != nil {
			d = l.renumber(d, k)
		}
		return tampered{b: l.without(k, k+1, d), first: k, misplaced: true}
	}},
	{"frame replayed at the end", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		k := 1 + rng.IntN(l.frames()-1)
		d := l.frame(k)
		if l.suite != nil {
			d = l.renumber(d, l.frames())
		}
		return tampered{b: append(bytes.Clone(l.b), d...), first: l.frames(), misplaced: true}
	}},
	{"frame replayed at the end, in disorder", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		k := 1 + rng.IntN(l.frames()-1)
		gap := make([]byte, 1+rng.IntN(1000))
		d := l.frame(k)
		if l.suite != nil {
			gap, d = nil, l.renumber(d, l.frames())
		}
		return tampered{b: append(append(bytes.Clone(l.b), gap...), d...), first: l.frames(), misplaced: true}
	}},
	{"frame replayed at the end, renumbered", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		k := 1 + rng.IntN(l.frames()-1)
		return tampered{b: append(bytes.Clone(l.b), l.renumber(l.frame(k), l.frames())...), first: l.frames(), harmless: true}
	}},
	{"forged frame at the end", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		return tampered{b: append(bytes.Clone(l.b), l.forge(t, l.frames(), []byte("forged"))...), first: l.frames(), harmless: true}
	}},
	{"frame of another log at its index", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		old := newLog(t, rng, l.suite, nil, 30, 300, 0.3)
		k := 1 + rng.IntN(29)
		d := bytes.Clone(old.frame(k))
		copy(d, l.tag[:])
		return tampered{b: l.without(k, k+1, d), first: k, attest: l.attestedBehind(k + 1)}
	}},
	{"length made smaller or larger", func(t testing.TB, l *testLog, rng *rand.Rand) tampered {
		k := 1 + rng.IntN(l.frames()-1)
		b := bytes.Clone(l.b)
		n := uint32(len(l.data[k]) + payloadHeaderLen)
		if l.suite != nil {
			n -= uint32(rng.IntN(len(l.data[k])) + 1) // so that the control's frame ends early
		} else {
			n = []uint32{0, 1, 20, 21, n - 1, n + 1, 2 * n, 1 << 20, MaxPayload, MaxPayload + 1, 1<<31 - 1, 1 << 31, 1<<32 - 1}[rng.IntN(13)]
			if int64(n) == int64(len(l.data[k])+payloadHeaderLen) {
				n++
			}
		}
		binary.BigEndian.PutUint32(b[l.offset[k]+16:], n)
		return tampered{b: b, first: k, attest: l.attestedBehind(k + 1)}
	}},
}

func (l *testLog) pair(rng *rand.Rand) (i, j int) {
	i = 1 + rng.IntN(l.frames()-2)
	return i, i + 1 + rng.IntN(l.frames()-1-i)
}

// flip flips a bit of frame k: anywhere, or for the control in its data.
func (l *testLog) flip(k int, rng *rand.Rand) tampered {
	b := bytes.Clone(l.b)
	at := l.offset[k] + rng.IntN(l.offset[k+1]-l.offset[k])
	if l.suite != nil {
		at = l.offset[k+1] - aead.TagLen - 1 - rng.IntN(len(l.data[k]))
	}
	b[at] ^= 1 << rng.IntN(8)
	return tampered{b: b, first: k, attest: l.attestedBehind(k + 1)}
}

const attackRounds = 150

func TestAttacks(t *testing.T) {
	t.Parallel()
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			errors, prefixes := 0, 0
			for seed := range uint64(attackRounds) {
				rng := rngFor(seed)
				l := newLog(t, rng, nil, nil, 30, 300, 0.3)
				x := a.tamper(t, l, rng)

				// Closed cleanly, or followed by a segment: the count is known.
				opts := ReaderOptions{Options: Options{Path: "000007.log"}, Final: 30}
				frames, r, err := readAll(x.b, l.key, opts)
				l.requirePrefix(t, frames, "seed %d", seed)
				if x.harmless {
					require.Equal(t, io.EOF, err, "seed %d", seed)
					require.Len(t, frames, 29, "seed %d", seed)
				} else {
					requireCorrupt(t, err, "000007.log", "seed %d", seed)
					requireBounded(t, r, x.b)
				}

				// Crashed: what is left decides.
				opts.Final = 0
				frames, r, err = readAll(x.b, l.key, opts)
				l.requirePrefix(t, frames, "seed %d", seed)
				if x.misplaced || uint64(x.first) < x.attest {
					errors++
					e := requireCorrupt(t, err, "000007.log", "seed %d", seed)
					require.ErrorIs(t, e, corrupt.ErrCorrupt)
				} else {
					prefixes++
					require.Equal(t, io.EOF, err, "seed %d", seed)
					require.Len(t, frames, x.first-1, "seed %d", seed)
				}
				requireBounded(t, r, x.b)

				// Crashed, but another file attests the damaged frame.
				if x.first < 30 {
					opts.Attested = uint64(x.first) + 1
					_, _, err = readAll(x.b, l.key, opts)
					requireCorrupt(t, err, "000007.log", "seed %d", seed)
				}
			}
			t.Logf("crashed: %d errors, %d exact prefixes", errors, prefixes)
		})
		t.Run(a.name+"/control", func(t *testing.T) {
			t.Parallel()
			// The attack gets through where data comes out that was never
			// written there, or the log goes on behind its end.
			through := 0
			for seed := range uint64(attackRounds) {
				rng := rngFor(seed)
				l := newLog(t, rng, blindSuite, nil, 30, 300, 0.3)
				x := a.tamper(t, l, rng)
				frames, _, _ := readAll(x.b, l.key, ReaderOptions{Options: Options{Suite: blindSuite}})
				for i := range frames {
					if i+1 >= l.frames() || !bytes.Equal(frames[i].Data, l.data[i+1]) {
						through++
						break
					}
				}
			}
			require.Greater(t, through, attackRounds*3/4, "a cipher that does not authenticate does not show: the test is blind")
		})
	}
}

// requireBounded requires that no length in the file made the Reader allocate
// more than the file is long.
func requireBounded(t testing.TB, r *Reader, b []byte) {
	t.Helper()
	if r != nil {
		require.LessOrEqual(t, cap(r.plain), 2*len(b))
		require.LessOrEqual(t, cap(r.win.buf), 2*len(b))
		require.Zero(t, cap(r.unpacked))
	}
}

// Cuts, without anything in place: at each frame, inside each, to zero. There
// is no cipher in this, so the control is a Reader that does not know the
// count.
func TestCuts(t *testing.T) {
	t.Parallel()
	rng := rngFor(20)
	l := newLog(t, rng, nil, nil, 60, 300, 0.3)
	for n := range len(l.b) {
		if rng.IntN(20) > 0 && !slices.Contains(l.offset, n) {
			continue
		}
		for _, zeroed := range []bool{false, true} {
			b := bytes.Clone(l.b[:n])
			if zeroed {
				b = append(b, make([]byte, len(l.b)-n)...)
			}
			k := 0 // the first frame that is gone
			for k < 60 && bytes.Equal(b[min(l.offset[k], len(b)):min(l.offset[k+1], len(b))], l.frame(k)) {
				k++
			}
			opts := ReaderOptions{Options: Options{Path: "p"}}
			if k == 60 { // the last byte was zero already
				continue
			}
			if k > 0 {
				frames, _, err := readAll(b, l.key, opts)
				require.Equal(t, io.EOF, err, "cut at %d", n)
				require.Len(t, frames, k-1)
				l.requirePrefix(t, frames)
			}
			for _, o := range []ReaderOptions{{Final: 60}, {Attested: 60}, {Attested: uint64(k) + 1}} {
				o.Path = "p"
				_, _, err := readAll(b, l.key, o)
				if n < keyring.HeaderLen {
					require.ErrorIs(t, err, corrupt.ErrCorrupt)
					continue
				}
				e := requireCorrupt(t, err, "p", "cut at %d", n)
				if !zeroed {
					require.ErrorIs(t, e, corrupt.ErrMissing)
				}
				if n > l.offset[1] {
					require.EqualValues(t, l.offset[k], e.Offset)
				}
			}
		}
	}
}

// Frame 0 was synced before the file got its name.
func TestFrame0(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(21), nil, nil, 5, 300, 0)
	for at := keyring.HeaderLen; at < l.offset[1]; at++ {
		for bit := range 8 {
			b := bytes.Clone(l.b)
			b[at] ^= 1 << bit
			_, _, err := readAll(b, l.key, ReaderOptions{Options: Options{Path: "p"}})
			e := requireCorrupt(t, err, "p")
			require.EqualValues(t, keyring.HeaderLen, e.Offset)
		}
	}
	for _, tail := range [][]byte{nil, make([]byte, 1000), l.b[l.offset[1]:]} {
		_, _, err := readAll(append(bytes.Clone(l.b[:l.offset[0]]), tail...), l.key, ReaderOptions{Options: Options{Path: "p"}})
		requireCorrupt(t, err, "p")
	}

	// Its control: a past of the attacker's.
	l = newLog(t, rngFor(21), blindSuite, nil, 5, 300, 0)
	other := testPast
	other.Previous.Frames--
	b := l.without(0, 1, l.forge(t, 0, other.encode()))
	h, err := keyring.ParseHeader(b)
	require.NoError(t, err)
	r, err := NewReader(&memFile{b: b}, int64(len(b)), h, l.key.Key, ReaderOptions{Options: Options{Suite: blindSuite}})
	require.NoError(t, err)
	require.Equal(t, other, r.Past())
}

// Each bit of the identity and of FLOE's header is under the header's tag.
// The wrap between them is under the table key's. No cipher is in this: the
// control is a flip there, which this package does not see.
func TestHeaderBits(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(22), nil, nil, 5, 300, 0)
	for at := range keyring.HeaderLen {
		b := bytes.Clone(l.b)
		b[at] ^= 1 << (at % 8)
		_, _, err := readAll(b, l.key, ReaderOptions{})
		if at >= 96 && at < 160 {
			require.Equal(t, io.EOF, err)
		} else {
			require.ErrorIs(t, err, corrupt.ErrCorrupt, "byte %d", at)
		}
	}
}

// An old segment, or one of a fork with the same number, put in the place of
// this one: the header says so, under whichever key it is tried.
func TestForeignFile(t *testing.T) {
	t.Parallel()
	rng := rngFor(23)
	a, b := newLog(t, rng, nil, nil, 5, 300, 0), newLog(t, rng, nil, nil, 5, 300, 0)
	_, _, err := readAll(b.b, a.key, ReaderOptions{Options: Options{Path: "p"}})
	require.ErrorIs(t, requireCorrupt(t, err, "p"), corrupt.ErrAuth)
	// Its header over this one's frames, its key: the frames are not its own.
	mixed := append(bytes.Clone(b.b[:keyring.HeaderLen]), a.b[keyring.HeaderLen:]...)
	_, _, err = readAll(mixed, b.key, ReaderOptions{Options: Options{Path: "p"}})
	require.ErrorIs(t, requireCorrupt(t, err, "p"), corrupt.ErrAuth)
}

// A tail stuffed with segment tags costs bounded work, and does not hide the
// frame that attests what is missing.
func TestStuffedTags(t *testing.T) {
	t.Parallel()
	rng := rngFor(24)
	l := newLog(t, rng, nil, nil, 30, 300, 0)
	const size = 1 << 20
	head := func(n int) []byte { return appendFrameHeader(nil, l.tag, 31, n) }
	for name, stuffing := range map[string]func(left int) []byte{
		"bare tags":        func(int) []byte { return l.tag[:] },
		"shortest frames":  func(int) []byte { return head(payloadHeaderLen) },
		"long frames":      func(int) []byte { return head(64 << 10) },
		"up to the end":    func(left int) []byte { return head(max(payloadHeaderLen, left-frameOverhead)) },
		"beyond the end":   func(left int) []byte { return head(left) },
		"impossible":       func(int) []byte { return head(-1) /* 2^32-1 */ },
		"overlapping tags": func(int) []byte { return append(head(1000), l.tag[:4]...) },
	} {
		stuffed := bytes.Clone(l.b)
		for len(stuffed) < len(l.b)+size {
			stuffed = append(stuffed, stuffing(len(l.b)+size-len(stuffed))...)
		}
		left := int64(len(stuffed) - len(l.b))
		bound := searchBase + searchFactor*left
		frames, r, err := readAll(stuffed, l.key, ReaderOptions{Options: Options{Path: "p"}})
		l.requirePrefix(t, frames, name)
		require.Len(t, frames, 29, name)
		require.LessOrEqual(t, r.opened, bound, name)
		if name == "up to the end" || name == "long frames" {
			e := requireCorrupt(t, err, "p", name)
			require.Greater(t, e.Offset, int64(len(l.b)-1))
			require.Greater(t, r.opened, bound-left, "the bound is used before it refuses")
		} else {
			require.Equal(t, io.EOF, err, name)
		}
		require.LessOrEqual(t, cap(r.win.buf), 2*len(stuffed), name)

		// With the attesting frame at the very end.
		m := l.message(t)
		_, sealer, err := derive(m)
		require.NoError(t, err)
		payload := appendPayloadHeader(nil, 1<<62, 31, 0, 0)
		h := appendFrameHeader(nil, l.tag, 50, len(payload))
		frame, err := sealer.Seal(bytes.Clone(h), payload, h)
		require.NoError(t, err)
		_, _, err = readAll(append(stuffed, frame...), l.key, ReaderOptions{Options: Options{Path: "p"}})
		requireCorrupt(t, err, "p", name)
	}
}

// A length of any size allocates no more than the file is long.
func TestHugeLengths(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(25), nil, nil, 10, 300, 0.5)
	for k := range 10 {
		for _, n := range []uint32{1 << 20, 1 << 27, MaxPayload, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
			b := bytes.Clone(l.b)
			binary.BigEndian.PutUint32(b[l.offset[k]+16:], n)
			frames, r, err := readAll(b, l.key, ReaderOptions{Options: Options{Path: "p"}, Final: 10})
			requireCorrupt(t, err, "p")
			l.requirePrefix(t, frames)
			requireBounded(t, r, b)
		}
	}
}

// Final is exact, at every count.
func TestFinal(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(26), nil, nil, 20, 300, 0.5)
	for final := uint64(1); final < 30; final++ {
		frames, _, err := readAll(l.b, l.key, ReaderOptions{Options: Options{Path: "p"}, Final: final})
		l.requirePrefix(t, frames)
		if final == 20 {
			require.Equal(t, io.EOF, err)
			continue
		}
		e := requireCorrupt(t, err, "p")
		if final < 20 {
			require.ErrorIs(t, e, corrupt.ErrRollback)
			require.Len(t, frames, int(final)-1)
			require.EqualValues(t, l.offset[final], e.Offset)
		} else {
			require.ErrorIs(t, e, corrupt.ErrMissing)
		}
	}
	// Nor may frames stand behind a gap.
	b := append(bytes.Clone(l.b[:l.offset[15]]), make([]byte, 77)...)
	b = append(b, l.b[l.offset[15]:]...)
	_, _, err := readAll(b, l.key, ReaderOptions{Options: Options{Path: "p"}, Final: 15})
	require.ErrorIs(t, requireCorrupt(t, err, "p"), corrupt.ErrRollback)
	// Final and Attested that contradict each other find too few frames.
	_, _, err = readAll(l.b, l.key, ReaderOptions{Options: Options{Path: "p"}, Final: 20, Attested: 21})
	require.ErrorIs(t, requireCorrupt(t, err, "p"), corrupt.ErrMissing)
}

// Later frames behind a lost one are where they were, or it is tampering, even
// where nothing attests anything.
func TestLaterFramesInDisorder(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(27), nil, nil, 12, 300, 0)
	hole := make([]byte, len(l.frame(5)))
	opts := ReaderOptions{Options: Options{Path: "p"}}
	for name, tail := range map[string][][]byte{
		"in order":              {hole, l.frame(6), l.frame(7), l.frame(9)},
		"swapped":               {hole, l.frame(7), l.frame(6)},
		"doubled":               {hole, l.frame(7), l.frame(7)},
		"an earlier one":        {hole, l.frame(7), l.frame(4)},
		"the lost one, shifted": {hole, l.frame(5)},
	} {
		frames, _, err := readAll(l.without(5, 12, tail...), l.key, opts)
		require.Len(t, frames, 4, name)
		l.requirePrefix(t, frames, name)
		if name == "in order" {
			require.Equal(t, io.EOF, err)
			continue
		}
		require.ErrorIs(t, requireCorrupt(t, err, "p", name), corrupt.ErrAuth)
	}
}

// The frame that attests is found wherever the reads of the search end.
func TestSearchAcrossReads(t *testing.T) {
	t.Parallel()
	l := newLog(t, rngFor(28), nil, nil, 4, 300, 1)
	for shift := -100; shift < 100; shift++ {
		gap := bytes.Repeat([]byte{0xaa}, readAhead+shift)
		_, _, err := readAll(l.without(2, 3, gap), l.key, ReaderOptions{Options: Options{Path: "p"}})
		e := requireCorrupt(t, err, "p", "shift %d", shift)
		require.EqualValues(t, l.offset[2], e.Offset)
	}
}
