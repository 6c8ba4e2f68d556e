//go:build !race

package sstable

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

// The race detector makes sync.Pool forget at random, so this file is not
// part of a -race run.

// TestAllocations is not parallel: it counts what the whole process allocates.
func TestAllocations(t *testing.T) {
	plain := randomBytes(1 << 20)
	path := filepath.Join(t.TempDir(), "000042.sst")
	out, err := os.Create(path)
	require.NoError(t, err)
	key := testKey()
	w, err := NewWriter(out, testIdentity(), key, Options{})
	require.NoError(t, err)
	for _, n := range []int{1, 100, 4096, 32 << 10} {
		allocs := testing.AllocsPerRun(200, func() {
			if _, err := w.Write(plain[:n]); err != nil {
				t.Error(err)
			}
		})
		require.Zero(t, allocs, "Write of %d bytes", n)
	}
	require.NoError(t, w.Close())

	in, err := os.Open(path)
	require.NoError(t, err)
	head := make([]byte, keyring.HeaderLen)
	_, err = in.ReadAt(head, 0)
	require.NoError(t, err)
	h, err := keyring.ParseHeader(head)
	require.NoError(t, err)
	r, err := NewReader(in, w.PhysicalSize(), h, key.Key, Options{})
	require.NoError(t, err)
	defer r.Close()
	q := r.NewSequential()
	p := make([]byte, 600_000)
	for _, n := range []int{1, 4096, 32 << 10, len(p)} {
		off := int64(0)
		read := func(readAt func([]byte, int64) (int, error)) func() {
			return func() {
				if off += int64(n) + 777; off+int64(n) > r.Size() {
					off = 0
				}
				if _, err := readAt(p[:n], off); err != nil {
					t.Error(err)
				}
			}
		}
		require.Zero(t, testing.AllocsPerRun(200, read(r.ReadAt)), "ReadAt of %d bytes", n)
		require.Zero(t, testing.AllocsPerRun(200, read(q.ReadAt)), "Sequential.ReadAt of %d bytes", n)
	}
}

// TestAheadDoesNotPileUp: where nobody has time for a run, no more than one
// goroutine waits for it; and to begin one allocates nothing.
func TestAheadDoesNotPileUp(t *testing.T) {
	// Not parallel: it counts for the whole process.
	a := newAheadTest(t)
	a.f.readFn = nil
	p := make([]byte, 32<<10)
	pass := func() {
		for off := int64(0); off < int64(len(a.plain)); off += int64(len(p)) {
			if n, err := a.q.ReadAt(p, off); err != nil && off+int64(n) != int64(len(a.plain)) {
				t.Fatal(err)
			}
		}
		require.NoError(t, a.q.Close())
	}
	for _, procs := range []int{1, runtime.NumCPU()} {
		func() {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			pass()
			var before, after runtime.MemStats
			most, goroutines := 0, runtime.NumGoroutine()
			runtime.ReadMemStats(&before)
			const passes = 50 // of six runs
			for range passes {
				pass()
				most = max(most, runtime.NumGoroutine()-goroutines)
			}
			runtime.ReadMemStats(&after)
			require.Less(t, most, 20)
			require.Less(t, after.Mallocs-before.Mallocs, uint64(passes*3), "%d processors", procs)
		}()
	}
}
