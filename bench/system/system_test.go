package system

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// testCache is small, so that more than a cache full is soon written.
const testCache = 8 << 20

// each runs a test for every kind.
func each(t *testing.T, test func(t *testing.T, k Kind)) {
	t.Parallel()
	kinds := All()
	if testing.Short() {
		kinds = kinds[:len(kinds)-1] // the race detector makes a transpiled SQLite crawl
	}
	require.NotEmpty(t, kinds)
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			test(t, k)
		})
	}
}

func open(t *testing.T, k Kind, dir string, durable bool) System {
	t.Helper()
	s, err := k.Open(Config{Dir: dir, Durable: durable, Cache: testCache})
	require.NoError(t, err)
	return s
}

// random is n bytes that do not compress, the same for a seed.
func random(seed uint64, n int) []byte {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(s).Read(b)
	return b
}

func testKey(i int) []byte { return fmt.Appendf(nil, "row/%06d", i) }

// A model is what a system should hold.
type model map[string][]byte

func (m model) put(t *testing.T, s System, key, value []byte) {
	t.Helper()
	require.NoError(t, s.Put(key, value))
	m[string(key)] = bytes.Clone(value)
}

// load hands rows over in memory that is used again at once.
func (m model) load(t *testing.T, s System, rows model) {
	t.Helper()
	var k, v []byte
	require.NoError(t, s.Load(func(yield func(k, v []byte) bool) {
		for key, value := range rows {
			k, v = append(k[:0], key...), append(v[:0], value...)
			if !yield(k, v) {
				return
			}
			clear(k)
			clear(v)
		}
	}))
	maps.Copy(m, rows)
}

// check compares all that s holds: by both scans, and some of it by reads.
func (m model) check(t *testing.T, s System) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(m))
	for _, reverse := range []bool{false, true} {
		n := 0
		require.NoError(t, s.Scan(nil, reverse, func(k, v []byte) bool {
			if n < len(keys) && string(k) == keys[n] && bytes.Equal(v, m[keys[n]]) {
				n++
				return true
			}
			t.Errorf("row %d, reverse %v: %d bytes under key %.40q are not what was written", n, reverse, len(v), k)
			return false
		}))
		require.Equal(t, len(keys), n)
		slices.Reverse(keys)
	}
	for i := 0; i < len(keys); i += 1 + len(keys)/100 {
		m.get(t, s, keys[i])
	}
}

func (m model) get(t *testing.T, s System, key string) {
	t.Helper()
	got, found, err := s.AppendGet([]byte("before"), []byte(key))
	require.NoError(t, err)
	want, ok := m[key]
	require.Equal(t, ok, found, "key %.40q", key)
	require.True(t, bytes.Equal(append([]byte("before"), want...), got), "key %.40q", key)
}

func TestRows(t *testing.T) {
	each(t, func(t *testing.T, k Kind) {
		dir, m, rng := t.TempDir(), model{}, rand.New(rand.NewPCG(1, 2))
		s := open(t, k, dir, false)
		m.check(t, s)
		m.get(t, s, "missing")
		require.NoError(t, s.Settle(t.Context()))
		for _, i := range rng.Perm(500) {
			m.put(t, s, testKey(i), random(uint64(i), rng.IntN(300)))
		}
		for i, size := range []int{0, 1, 4095, 4096, 65_536, 1 << 20} {
			m.put(t, s, fmt.Appendf(nil, "size/%d", i), random(uint64(size), size))
		}
		m.put(t, s, []byte{0}, []byte("the shortest key"))
		m.put(t, s, bytes.Repeat([]byte{0xff}, 32<<10), []byte("the longest key"))
		m.check(t, s)
		for range 200 { // overwrite, and make longer and shorter
			i := rng.IntN(500)
			m.put(t, s, testKey(i), random(uint64(i)+1000, rng.IntN(300)))
		}
		m.check(t, s)
		m.get(t, s, "missing")
		m.get(t, s, "row/000000x")

		rows := model{}
		for i := range 25_000 { // more than a batch
			rows[string(testKey(i+400))] = random(uint64(i), 40)
		}
		m.load(t, s, rows)
		m.check(t, s)
		require.NoError(t, s.Load(func(yield func(k, v []byte) bool) {
			_ = yield([]byte("twice"), []byte("first")) && yield([]byte("a"), nil) && yield([]byte("twice"), []byte("second"))
		}))
		m["twice"], m["a"] = []byte("second"), nil
		m.check(t, s)
		require.NoError(t, s.Settle(t.Context()))
		m.check(t, s)
		require.NoError(t, s.DeleteRange(testKey(450), testKey(12_000)))
		maps.DeleteFunc(m, func(k string, _ []byte) bool { return k >= string(testKey(450)) && k < string(testKey(12_000)) })
		m.check(t, s)
		require.NoError(t, s.DeleteRange([]byte("x"), []byte("y"))) // nothing
		require.NoError(t, s.Compact(t.Context()))
		m.check(t, s)

		require.NoError(t, s.Close())
		s = open(t, k, dir, true)
		m.check(t, s)
		for i := range 20 {
			m.put(t, s, testKey(i), random(uint64(i)+2000, 100))
		}
		m.check(t, s)
		require.NoError(t, s.Close())
		s = open(t, k, dir, false)
		m.check(t, s)
		require.NoError(t, s.Close())
	})
}

func TestScan(t *testing.T) {
	each(t, func(t *testing.T, k Kind) {
		s := open(t, k, t.TempDir(), false)
		for i := 10; i < 100; i += 10 {
			require.NoError(t, s.Put(testKey(i), testKey(i)))
		}
		for _, tc := range []struct {
			from    int // -1 is nil
			reverse bool
			limit   int
			want    []int
		}{
			{-1, false, 2, []int{10, 20}},
			{-1, true, 2, []int{90, 80}},
			{50, false, 3, []int{50, 60, 70}},
			{50, true, 3, []int{50, 40, 30}},
			{55, false, 1, []int{60}},
			{55, true, 1, []int{50}},
			{5, false, 1, []int{10}},
			{5, true, 1, nil},
			{95, false, 1, nil},
			{95, true, 2, []int{90, 80}},
			{80, false, 9, []int{80, 90}},
			{20, true, 9, []int{20, 10}},
		} {
			var from []byte
			if tc.from >= 0 {
				from = testKey(tc.from)
			}
			var got, want []string
			for _, i := range tc.want {
				want = append(want, string(testKey(i)))
			}
			require.NoError(t, s.Scan(from, tc.reverse, func(k, v []byte) bool {
				require.Equal(t, k, v)
				got = append(got, string(k))
				return len(got) < tc.limit
			}))
			require.Equal(t, want, got, "%+v", tc)
		}
		require.NoError(t, s.Close())
	})
}

// TestConcurrent lets several goroutines write and read, rows of their own and
// one of all.
func TestConcurrent(t *testing.T) {
	each(t, func(t *testing.T, k Kind) {
		const goroutines, rows = 8, 25
		s := open(t, k, t.TempDir(), true)
		m := model{}
		shared := random(99, 1000)
		require.NoError(t, s.Put([]byte("shared"), shared))
		m["shared"] = shared
		for i := range goroutines * rows {
			m[string(testKey(i))] = random(uint64(i), 100)
		}
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				var buf []byte
				for r := range rows {
					key := testKey(g*rows + r)
					if err := s.Put(key, m[string(key)]); err != nil {
						t.Error(err)
						return
					}
					for _, key := range [][]byte{key, []byte("shared")} {
						got, found, err := s.AppendGet(buf[:0], key)
						if err != nil || !found || !bytes.Equal(got, m[string(key)]) {
							t.Errorf("%s: found %v, error %v, %d bytes", key, found, err, len(got))
							return
						}
						buf = got
					}
					n := 0
					if err := s.Scan(key, r%2 == 0, func(k, v []byte) bool {
						if !bytes.Equal(v, m[string(k)]) {
							t.Errorf("scan: %s is not what was written", k)
						}
						n++
						return n < 5
					}); err != nil || n == 0 {
						t.Errorf("scan from %s: %d rows, error %v", key, n, err)
					}
				}
			})
		}
		wg.Wait()
		m.check(t, s)
		require.NoError(t, s.Close())
	})
}

// copyDir copies a directory with the modes of its files.
func copyDir(t *testing.T, to, from string) {
	t.Helper()
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	require.NoError(t, filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		rel, err := filepath.Rel(from, path)
		require.NoError(t, err)
		fi, err := e.Info()
		require.NoError(t, err)
		return os.Chmod(filepath.Join(to, rel), fi.Mode().Perm())
	}))
}

// TestCopy opens the copy of a closed system's directory, and then the original.
func TestCopy(t *testing.T) {
	each(t, func(t *testing.T, k Kind) {
		dir, m := t.TempDir(), model{}
		s := open(t, k, dir, false)
		for i := range 2000 {
			m.put(t, s, testKey(i), random(uint64(i), 200))
		}
		require.NoError(t, s.Close())
		there := filepath.Join(t.TempDir(), "elsewhere")
		copyDir(t, there, dir)
		hidden := filepath.Join(t.TempDir(), "gone")
		require.NoError(t, os.Rename(dir, hidden)) // no path leads back

		c := open(t, k, there, false)
		m.check(t, c)
		was := maps.Clone(m)
		m.put(t, c, testKey(0), []byte("changed"))
		require.NoError(t, c.Close())
		c = open(t, k, there, false)
		m.check(t, c)

		s = open(t, k, hidden, false) // while the copy is open
		was.check(t, s)
		require.NoError(t, s.Close())
		require.NoError(t, c.Close())
	})
}

func TestWrongUse(t *testing.T) {
	each(t, func(t *testing.T, k Kind) {
		_, err := k.Open(Config{Dir: filepath.Join(t.TempDir(), "missing"), Cache: testCache})
		require.ErrorIs(t, err, os.ErrNotExist)

		foreign := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(foreign, "letter.txt"), nil, 0o600))
		_, err = k.Open(Config{Dir: foreign, Cache: testCache})
		require.ErrorContains(t, err, "holds other files (letter.txt)")

		dir := t.TempDir()
		s := open(t, k, dir, false)
		_, err = k.Open(Config{Dir: dir, Cache: testCache})
		if k.Name != "sqlite-encrypted" { // which several may open
			require.Error(t, err, "opened twice")
		}
		require.NoError(t, s.Close())
		for _, other := range All() {
			if other.Name == k.Name {
				continue
			}
			_, err = other.Open(Config{Dir: dir, Cache: testCache})
			require.ErrorContains(t, err, fmt.Sprintf("holds %q", k.Name))
		}
		if _, err := os.Stat(filepath.Join(dir, keyName)); err == nil {
			require.NoError(t, os.Remove(filepath.Join(dir, keyName)))
			_, err = k.Open(Config{Dir: dir, Cache: testCache})
			require.ErrorContains(t, err, "the key of the store is gone")
		}
	})
}

func TestFind(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, k := range All() {
		found, err := Find(k.Name)
		require.NoError(t, err)
		require.Equal(t, k.Title, found.Title)
		require.False(t, seen[k.Name] || seen[k.Title])
		seen[k.Name], seen[k.Title] = true, true
		require.NotEmpty(t, k.Module)
		require.NotEmpty(t, k.Options)
		require.NotContains(t, k.Options, "\n")
	}
	_, err := Find("leveldb")
	require.ErrorContains(t, err, `unknown system "leveldb": there are cofre, pebble,`)
}

// TestSettleEnds shows that a context ends the wait for a quiet store.
func TestSettleEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	err := untilQuiet(ctx, func() (bool, error) {
		if looks++; looks == 10 {
			cancel()
		}
		return true, nil
	})
	require.ErrorIs(t, err, context.Canceled)
}
