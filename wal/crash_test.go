package wal

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// A crashLog writes a log and remembers where its syncs were, so that the
// states which a power cut may leave can be made.
type crashLog struct {
	*testLog
	old      []byte // what the file held before: a recycled log, or nothing
	recycled bool
	syncs    []syncPoint
}

// After a sync, so much is durable for certain.
type syncPoint struct {
	frames uint64
	bytes  int
}

const sector = 512

// rounds is n, or with -short a fifth of it.
func rounds(n uint64) uint64 {
	if testing.Short() {
		return n / 5
	}
	return n
}

func newCrashLog(t testing.TB, rng *rand.Rand, suiteOld *testLog) *crashLog {
	c := &crashLog{recycled: rng.IntN(2) == 0}
	if c.recycled {
		c.old = suiteOld.b
	}
	f := &memFile{b: bytes.Clone(c.old)}
	l := &testLog{key: newKey(), id: testIdentity()}
	w, err := NewWriter(f, l.id, l.key, testPast, Options{Now: testNow})
	require.NoError(t, err)
	l.data, l.durable = [][]byte{testPast.encode()}, []uint64{0}
	l.offset = []int{keyring.HeaderLen, f.pos}
	syncs := []float64{0, 0.02, 0.2, 0.7}[rng.IntN(4)]
	maxLen := []int{30, 428, 3000}[rng.IntN(3)]
	sync := func() {
		require.NoError(t, w.SyncData())
		c.syncs = append(c.syncs, syncPoint{w.Frames(), f.pos})
	}
	sync() // before the file got its name
	for range 10 + rng.IntN(50) {
		p := make([]byte, 1+rng.IntN(maxLen))
		p[0], p[len(p)-1] = byte(rng.Uint32()), byte(rng.Uint32())
		l.durable = append(l.durable, w.Durable())
		_, err := w.Write(p)
		require.NoError(t, err)
		l.data, l.offset = append(l.data, p), append(l.offset, f.pos)
		if rng.Float64() < syncs {
			sync()
		}
	}
	l.tag, l.b = w.tag, f.b[:f.pos]
	c.testLog = l
	return c
}

// crash makes one state that a power cut may leave when the last sync was
// that of point p and the bytes up to written had been handed to the system:
// what was synced is there; each sector behind may hold the new bytes, the old
// ones, or be torn between; the file's length is anything between.
func (c *crashLog) crash(rng *rand.Rand, p syncPoint, written int) []byte {
	old := c.old
	if !c.recycled {
		old = make([]byte, written+rng.IntN(3*sector)) // lost sectors are zeros
	}
	b := bytes.Clone(old)
	if len(b) < written {
		b = append(b, make([]byte, written-len(b))...)
	}
	behind := bytes.Clone(b)
	copy(b, c.b[:p.bytes])
	keep := []float64{0, 0.1, 0.5, 0.9, 1}[rng.IntN(5)]
	for s := p.bytes / sector * sector; s < written; s += sector {
		from, to := max(s, p.bytes), min(s+sector, written)
		if from >= to {
			continue
		}
		switch x := rng.Float64(); {
		case x < keep:
			copy(b[from:to], c.b[from:to])
		case x < keep+0.1: // torn
			at := from + rng.IntN(to-from)
			copy(b[from:at], c.b[from:at])
		}
	}
	if !c.recycled && rng.IntN(2) == 0 { // the length lags behind
		b = b[:p.bytes+rng.IntN(len(b)-p.bytes+1)]
	}
	if rng.IntN(10) == 0 { // a whole range of lost sectors
		from := p.bytes + rng.IntN(len(b)-p.bytes+1)
		n := rng.IntN(len(b) - from + 1)
		copy(b[from:from+n], behind[from:])
	}
	return b
}

// at picks a moment: the sync point it follows and the bytes written by then.
func (c *crashLog) at(rng *rand.Rand) (syncPoint, int) {
	i := rng.IntN(len(c.syncs))
	end := len(c.b)
	if i+1 < len(c.syncs) {
		end = c.syncs[i+1].bytes
	}
	p := c.syncs[i]
	written := p.bytes + rng.IntN(end-p.bytes+1)
	return p, written
}

// A state that a power cut may leave is never an error. What it reads is a
// prefix of what was written, with all that was synced.
func TestLegalCrashes(t *testing.T) {
	t.Parallel()
	old := newLog(t, rngFor(99), nil, nil, 400, 1000, 0.5)
	states, gaps, torn := 0, 0, 0
	for seed := range rounds(400) {
		rng := rngFor(seed)
		c := newCrashLog(t, rng, old)
		for range 20 {
			p, written := c.at(rng)
			b := c.crash(rng, p, written)
			opts := ReaderOptions{Attested: p.frames}
			if rng.IntN(2) == 0 {
				opts.Attested = 0
			}
			frames, r, err := readAll(b, c.key, opts)
			require.Equal(t, io.EOF, err, "seed %d", seed)
			require.True(t, c.isPrefix(frames), "seed %d", seed)
			require.GreaterOrEqual(t, r.Frames(), p.frames, "seed %d: a synced frame is lost", seed)
			offset, dropped, reached := r.End()
			require.True(t, reached)
			require.EqualValues(t, c.offset[r.Frames()], offset)
			if !c.recycled && dropped > 0 {
				torn++
			}
			for k := int(r.Frames()) + 1; k < c.frames(); k++ {
				if c.offset[k+1] <= len(b) && bytes.Equal(b[c.offset[k]:c.offset[k+1]], c.frame(k)) {
					gaps++ // a later frame was kept, an earlier one lost
					break
				}
			}
			states++
		}
	}
	t.Logf("%d states, %d with a dropped tail, %d with a frame kept behind a lost one", states, torn, gaps)
	require.Greater(t, gaps, states/20, "the states are too tame")
	require.Greater(t, torn, states/20, "the states are too tame")
}

// A synced frame that is damaged, with a frame behind it that was sealed after
// that sync and is whole, is always an error, in any crash state.
func TestIllegalStates(t *testing.T) {
	t.Parallel()
	old := newLog(t, rngFor(99), nil, nil, 400, 1000, 0.5)
	states := 0
	for seed := range rounds(600) {
		rng := rngFor(seed)
		c := newCrashLog(t, rng, old)
		for range 10 {
			p, written := c.at(rng)
			// The witness: a synced frame that says what was durable.
			witness := rng.IntN(int(p.frames))
			if c.durable[witness] < 2 {
				continue
			}
			k := 1 + rng.IntN(int(c.durable[witness])-1)
			b := c.crash(rng, p, written)
			from := c.offset[k] + rng.IntN(c.offset[k+1]-c.offset[k])
			to := from + 1 + rng.IntN(c.offset[k+1]-from)
			switch before := bytes.Clone(b[from:to]); rng.IntN(3) {
			case 0:
				b[from] ^= 1 << rng.IntN(8)
			case 1:
				clear(b[from:to])
				if bytes.Equal(before, b[from:to]) {
					continue
				}
			case 2:
				copy(b[from:to], old.b[rng.IntN(len(old.b)/2):])
				if bytes.Equal(before, b[from:to]) {
					continue
				}
			}
			frames, _, err := readAll(b, c.key, ReaderOptions{Options: Options{Path: "p"}})
			e := requireCorrupt(t, err, "p", "seed %d", seed)
			require.EqualValues(t, c.offset[k], e.Offset, "seed %d", seed)
			require.Len(t, frames, k-1, "seed %d", seed)
			require.True(t, c.isPrefix(frames), "seed %d", seed)
			states++
		}
	}
	t.Logf("%d states", states)
	require.Greater(t, states, int(rounds(1000)))
}

// The worst legal tail for the search: a recycled file, half of all sectors
// lost, so that torn headers show lengths out of the old file. It stays far
// below the bound.
func TestSearchBoundOfLegalTails(t *testing.T) {
	t.Parallel()
	size := int(rounds(8 << 20))
	rng := rngFor(30)
	old := make([]byte, size)
	for i := range old {
		old[i] = byte(rng.Uint32())
	}
	var worst float64
	for range 4 {
		f := &memFile{b: bytes.Clone(old)}
		w, key := newTestWriter(t, f, Options{})
		p := make([]byte, 428)
		for f.pos < size-1000 {
			_, err := w.Write(p)
			require.NoError(t, err)
		}
		b := bytes.Clone(old)
		copy(b, f.b[:sector*2])
		for s := sector * 2; s < f.pos; s += sector {
			if rng.IntN(2) == 0 {
				copy(b[s:], f.b[s:s+sector])
			}
		}
		_, r, err := readAll(b, key, ReaderOptions{})
		require.Equal(t, io.EOF, err)
		worst = max(worst, float64(r.opened)/float64(size))
	}
	t.Logf("%.2f times the tail opened", worst)
	require.Less(t, worst, 4.0)
}
