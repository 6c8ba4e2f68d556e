package workload

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		d := NewData(7, Size{100}, ordered)
		var last []byte
		for i := range uint64(10_000) {
			key := d.AppendKey(nil, i)
			require.Len(t, key, KeyLen)
			got, ok := d.Index(key)
			require.True(t, ok)
			require.Equal(t, i, got)
			if ordered {
				require.Negative(t, bytes.Compare(last, key))
			}
			last = key
		}
	}
	d := NewData(7, Size{100}, false)
	for _, bad := range []string{"", "user", "user000000000000000g", "name0000000000000000", "user00000000000000001"} {
		_, ok := d.Index([]byte(bad))
		require.False(t, ok, bad)
	}
	for _, z := range []uint64{0, 1, math.MaxUint64, 1 << 63, 0x9e3779b97f4a7c15} {
		require.Equal(t, z, unmix64(mix64(z)))
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	d := NewData(7, Size{400}, false)
	v := d.AppendValue(nil, 12, 3)
	require.Len(t, v, 400)
	require.NoError(t, d.check(12, 3, v))
	require.Equal(t, v, NewData(7, Size{400}, false).AppendValue(nil, 12, 3))
	require.ErrorContains(t, d.check(13, 3, v), "value of row 12")
	require.ErrorContains(t, d.check(12, 4, v), "version 3, 4 was acknowledged")
	require.ErrorContains(t, NewData(8, Size{400}, false).check(12, 3, v), "never written")
	for _, at := range []int{0, 9, 13, 20, 399} {
		bad := bytes.Clone(v)
		bad[at] ^= 1
		require.Error(t, d.check(12, 3, bad), at)
	}
	require.Error(t, d.check(12, 3, v[:399]))
	require.Error(t, d.check(12, 3, nil))
}

// TestValuesCompress wants values to be as compressible as records of a program
// are: to about half.
func TestValuesCompress(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1 << 10, 4 << 10, 64 << 10} {
		d := NewData(3, Size{size}, false)
		var block []byte
		var plain, packed int
		for i := range uint64(2000) {
			if block = d.AppendValue(block, i, 1); len(block) >= 4<<10 { // as a block of an LSM tree
				plain += len(block)
				packed += len(s2.EncodeSnappy(nil, block))
				block = block[:0]
			}
		}
		ratio := float64(packed) / float64(plain)
		require.InDelta(t, 0.53, ratio, 0.08, "values of %d bytes", size)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int{"100": 100, "1KiB": 1024, "64KiB": 65536, "1MiB": 1 << 20, "16B": 16} {
		got, err := ParseSize(s)
		require.NoError(t, err)
		require.Equal(t, want, got.Mean())
		again, err := ParseSize(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	for _, bad := range []string{"", "15", "-1", "2MiB", "1GiB", "KiB", "1kib", "1.5KiB", "99999999999999999999", "mix"} {
		_, err := ParseSize(bad)
		require.Error(t, err, bad)
	}
	mixed, err := ParseSize("mixed")
	require.NoError(t, err)
	require.Equal(t, "mixed", mixed.String())
	sum, n, d := 0, uint64(50_000), NewData(1, mixed, false)
	for i := range n {
		sum += len(d.AppendValue(nil, i, 1))
	}
	require.InEpsilon(t, mixed.Mean(), float64(sum)/float64(n), 0.1)
}

// TestZipf compares a million draws with the distribution, by the chi-squared
// statistic, for several numbers of rows.
func TestZipf(t *testing.T) {
	t.Parallel()
	const draws = 1_000_000
	for _, n := range []uint64{1, 2, 3, 10, 1000} {
		rng := rand.New(rand.NewPCG(n, 5))
		z := newZipf(zipfConstant)
		seen := make([]float64, n)
		for range draws {
			seen[z.rank(rng, n)]++
		}
		sum := 0.0
		for k := range n {
			sum += math.Pow(float64(k+1), -zipfConstant)
		}
		chi := 0.0
		for k, got := range seen {
			want := draws * math.Pow(float64(k+1), -zipfConstant) / sum
			chi += (got - want) * (got - want) / want
		}
		// Mean n-1, standard deviation sqrt(2(n-1)): six of those is never.
		freedom := float64(n - 1)
		require.LessOrEqual(t, chi, freedom+6*math.Sqrt(2*freedom), "%d rows", n)
	}
}

// TestZipfLarge looks at what YCSB's constant means for many rows: the most
// popular one in a hundred gets a known share of the draws.
func TestZipfLarge(t *testing.T) {
	t.Parallel()
	const n, draws = 1_000_000, 200_000
	zeta := func(n int) (sum float64) {
		for k := range n {
			sum += math.Pow(float64(k+1), -zipfConstant)
		}
		return sum
	}
	want := zeta(n/100) / zeta(n)
	rng, z := rand.New(rand.NewPCG(1, 5)), newZipf(zipfConstant)
	popular := 0
	for range draws {
		r := z.rank(rng, n)
		require.Less(t, r, uint64(n))
		if r < n/100 {
			popular++
		}
	}
	require.InDelta(t, want, float64(popular)/draws, 0.01)
}

func turnOf(t *testing.T, name string, rows, round int) *Turn {
	w, err := Find(name)
	require.NoError(t, err)
	turn := NewTurn(w, Options{Rows: rows, Seed: 9, Round: round, Size: Size{1000}, Cache: 1 << 30})
	turn.Draw(0)
	return turn
}

// TestDraws wants the operations of a turn to be the same for every system, and
// others in another round.
func TestDraws(t *testing.T) {
	t.Parallel()
	for _, w := range All() {
		if w.Mix == nil {
			continue
		}
		a, b, c := turnOf(t, w.Name, 20_000, 0), turnOf(t, w.Name, 20_000, 0), turnOf(t, w.Name, 20_000, 1)
		for i := range a.clients {
			require.Equal(t, a.clients[i].list, b.clients[i].list, w.Name)
			if w.Mix.Insert < 1 {
				require.NotEqual(t, a.clients[i].list, c.clients[i].list, w.Name)
			}
		}
	}
}

// TestClientsWriteApart wants no row to be written by two clients, and all rows
// that are read to be there.
func TestClientsWriteApart(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"ycsb-a", "ycsb-d", "ycsb-f", "fillsync8", "readwhilewriting"} {
		turn := turnOf(t, name, 5001, 0)
		writer := make(map[uint64]int)
		kinds := make(map[opKind]int)
		for n, c := range turn.clients {
			inserted := make(map[uint64]bool)
			for _, o := range c.list {
				kinds[o.kind]++
				if o.kind == opRead {
					require.True(t, o.row < turn.rows || inserted[o.row], "%s reads row %d", name, o.row)
					continue
				}
				if w, ok := writer[o.row]; ok {
					require.Equal(t, w, n, "%s: row %d has two writers", name, o.row)
				}
				writer[o.row] = n
				require.Less(t, o.row, uint64(len(turn.model.versions)))
				if o.kind == opInsert {
					inserted[o.row] = true
				} else {
					require.Less(t, o.row, turn.rows)
				}
			}
		}
		total := turn.ops / turn.Slices()
		switch m := turn.w.Mix; {
		case m.Split:
			require.Equal(t, kinds[opRead], kinds[opUpdate])
		default:
			require.InDelta(t, m.Read*float64(total), kinds[opRead], 5*math.Sqrt(float64(total)))
		}
	}
}

// TestLatest wants the newest rows to be the popular ones.
func TestLatest(t *testing.T) {
	t.Parallel()
	turn := turnOf(t, "ycsb-d", 20_000, 0)
	c := turn.clients[0]
	newest, reads := 0, 0
	for _, o := range c.list[len(c.list)/2:] {
		if o.kind == opRead {
			reads++
			if o.row >= turn.rows {
				newest++
			}
		}
	}
	// Between 250 and 500 of some 20,500 rows are inserted by then; Zipfian ranks
	// below that are more than half of all.
	require.Greater(t, float64(newest)/float64(reads), 0.5)
}

// TestApart wants cold reads to touch each place of the table once.
func TestApart(t *testing.T) {
	t.Parallel()
	turn := turnOf(t, "readcold", 20_000, 0)
	var places []uint64
	width := ^uint64(0)/uint64(turn.ops) + 1
	for range 10 {
		for _, o := range turn.clients[0].list {
			places = append(places, turn.data.hash(o.row)/width)
		}
		if len(places) < turn.ops {
			turn.Draw(turn.clients[0].drawn + 1)
		}
	}
	require.Len(t, places, turn.ops)
	slices.Sort(places)
	require.Greater(t, len(slices.Compact(places)), turn.ops*98/100)
	require.Greater(t, turn.ops, 20_000*1000/4096/5)
}

func TestNames(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, w := range All() {
		require.False(t, seen[w.Name], w.Name)
		seen[w.Name] = true
		require.NotEmpty(t, w.Does)
		forms := 0
		for _, is := range []bool{w.Mix != nil, w.Sweep != 0, w.Call != 0} {
			if is {
				forms++
			}
		}
		require.Equal(t, 1, forms, w.Name)
		if m := w.Mix; m != nil {
			require.InDelta(t, 1, m.Read+m.Missing+m.Seek+m.Scan+m.Update+m.Insert+m.Modify, 1e-9, w.Name)
		}
		if w.Slices > 1 && w.Class != Synced && w.Call == 0 {
			require.False(t, w.Writes(), "%s leaves work to the background, which another's slice would pay for", w.Name)
		}
	}
	_, err := Find("fillfast")
	require.ErrorContains(t, err, "fillrandom")
	require.Equal(t, "zipfian", fmt.Sprint(Zipfian))
}

// TestPhases: an operation counts in its third, and once more if an event ran during
// any of it.
func TestPhases(t *testing.T) {
	t.Parallel()
	turn := &Turn{w: Workload{Events: RotateRoot}}
	c := &client{turn: turn, list: make([]op, 9)}
	turn.clients = []*client{c}
	for n, at := range [][2]uint64{{0, 0}, {0, 1}, {1, 1}, {2, 2}, {2, 3}, {1, 2}, {0, 0}, {1, 1}, {2, 2}} {
		c.phase(n, time.Duration(n+1)*time.Millisecond, at[0], at[1])
		require.EqualValues(t, n/3, turn.phase.Load())
	}
	var counts []int64
	for _, h := range turn.Phases() {
		counts = append(counts, h.TotalCount())
	}
	require.Equal(t, []int64{3, 3, 3, 2}, counts)
}
