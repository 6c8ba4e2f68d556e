package sealfs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/sstable"
)

// TestLargeSameAsPlain does with files of several MiB what TestSameAsPlain does
// with small ones: writes of one byte to some MiB, and reads that begin and end
// around the borders of units and of 4 KiB. The values of Pebble's own suite
// have 20 bytes and never get there.
func TestLargeSameAsPlain(t *testing.T) {
	t.Parallel()
	for _, unit := range []uint32{64, 333, 4096} {
		t.Run(fmt.Sprint("unit ", unit), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			w := &twin{t: t, rng: rand.New(rand.NewPCG(seed, uint64(unit))), plain: vfs.NewMem(), base: vfs.NewMem(), next: 1, ops: map[string]int{}}
			w.sealed = newTable(t, unit).over(w.base)
			require.NoError(t, w.plain.MkdirAll(twinDir, 0o755))
			require.NoError(t, w.sealed.MkdirAll(twinDir, 0o755))
			total := 3 << 20
			if testing.Short() {
				total = 1 << 20
			}
			borders := []int{4096, int(unit), plainUnit(unit)}
			for _, kind := range []string{"%06d.sst", "%06d.blob", "%06d.log", "MANIFEST-%06d"} {
				name := w.path(fmt.Sprintf(kind, w.number()))
				w.writeLarge(name, borders, total)
				if parseName(w.plain.PathBase(name)).class != classTable {
					w.readInTurn(name, readFile(t, w.plain, name), 1<<20)
					w.logs = append(w.logs, name)
					continue
				}
				w.readBorders(name, borders)
				w.readBorders(name, borders, vfs.SequentialReadsOption)
				w.readInTurn(name, readFile(t, w.plain, name), 2<<20)
			}
			// A short log over the long one, whose frames lie behind its end.
			w.recycle()
			require.NotZero(t, w.ops["recycle"])
			w.readLog(w.logs[len(w.logs)-1])
		})
	}
}

// plainUnit is how many bytes of plaintext a whole unit holds.
func plainUnit(unit uint32) int {
	n := 1
	for sstable.PhysicalSize(int64(n), unit) == sstable.PhysicalSize(1, unit)+int64(n-1) {
		n++ // as long as it is one unit
	}
	return n - 1
}

// around is a length near a multiple of a border, of at most most.
func (w *twin) around(borders []int, most int) int {
	b := borders[w.rng.IntN(len(borders))]
	return max(0, (1+w.rng.IntN(most/b))*b+w.rng.IntN(3)-1)
}

// writeLarge writes a file with Writes of all sizes, so many bytes at least.
func (w *twin) writeLarge(name string, borders []int, total int) {
	p, s := w.create(name)
	for n := 0; n < total; {
		b := make([]byte, w.around(borders, []int{8 << 10, 64 << 10, 3 * total / 2}[w.rng.IntN(3)]))
		for i := 0; i+8 <= len(b); i += 8 {
			b[i], b[i+3], b[i+6] = byte(w.rng.Uint32()), byte(n+i), byte((n+i)>>8)
		}
		n += len(b)
		_, perr := p.Write(slices.Clone(b))
		_, serr := s.Write(slices.Clone(b))
		require.NoError(w.t, errors.Join(perr, serr))
	}
	require.NoError(w.t, errors.Join(p.Sync(), s.Sync()))
	w.close(p, s)
}

// readBorders reads ranges that begin and end around borders.
func (w *twin) readBorders(name string, borders []int, opts ...vfs.OpenOption) {
	want := bytes.NewReader(readFile(w.t, w.plain, name))
	f, err := w.sealed.Open(name, opts...)
	require.NoError(w.t, err)
	size := int(want.Size())
	a, b := make([]byte, size), make([]byte, size)
	for i := range 60 {
		off := w.around(borders, size)
		n := min(size, w.around(borders, []int{8 << 10, 100 << 10, size}[i%3]))
		got, err := want.ReadAt(a[:n], int64(off))
		clear(b[:n])
		sgot, serr := f.ReadAt(b[:n], int64(off))
		require.Equal(w.t, got, sgot, "%d bytes at %d of %d", n, off, size)
		require.Equal(w.t, err, serr, "%d bytes at %d of %d", n, off, size)
		require.True(w.t, bytes.Equal(a[:got], b[:got]), "%d bytes at %d of %d", n, off, size)
	}
	require.NoError(w.t, f.Close())
}
