package sealfs

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// countReads is a file system in memory that counts the reads of its files.
func countReads(n *atomic.Int64) vfs.FS {
	return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt {
			n.Add(1)
		}
		return nil
	}))
}

// TestWalksReadAhead reads a table block by block, down and up, as a scan does:
// few reads of the file below serve many.
func TestWalksReadAhead(t *testing.T) {
	t.Parallel()
	var reads atomic.Int64
	fs := newTable(t, 0).over(countReads(&reads))
	text := make([]byte, 400_000)
	for i := range text {
		text[i] = byte(rand.Uint32())
	}
	writeFile(t, fs, "000001.sst", text)
	f, err := fs.Open("000001.sst")
	require.NoError(t, err)
	const block = 2500
	for _, down := range []bool{true, false} {
		reads.Store(0)
		for k := range len(text) / block {
			off := k * block
			if down {
				off = len(text) - off - block
			}
			p := make([]byte, block)
			_, err := f.ReadAt(p, int64(off))
			require.NoError(t, err)
			require.Equal(t, text[off:off+block], p)
		}
		require.Less(t, reads.Load(), int64(len(text)/block/5))
	}
	require.NoError(t, f.Close())
	for i := range fs.walks.slots {
		require.Nil(t, fs.walks.slots[i].of.Load(), "a closed file is walked")
	}
}

// TestWalksTakeTurns reads more files by turns than there are walks, as the merge
// of a scan does: those that have a walk keep it.
func TestWalksTakeTurns(t *testing.T) {
	t.Parallel()
	var reads atomic.Int64
	fs := newTable(t, 0).over(countReads(&reads))
	const files, block, blocks = maxWalks + 2, 2500, 100
	var open []vfs.File
	for n := range files {
		name := fmt.Sprintf("%06d.sst", n+1)
		writeFile(t, fs, name, make([]byte, block*blocks))
		f, err := fs.Open(name)
		require.NoError(t, err)
		open = append(open, f)
	}
	reads.Store(0)
	for k := range blocks {
		for _, f := range open {
			_, err := f.ReadAt(make([]byte, block), int64(block*(blocks-1-k)))
			require.NoError(t, err)
		}
	}
	require.Less(t, reads.Load(), int64(blocks*(files-maxWalks)+maxWalks*blocks/5))
	for _, f := range open {
		require.NoError(t, f.Close())
	}

	// One that has a place and is not read any more leaves it to another.
	for _, name := range []string{"000001.sst", "000002.sst", "000003.sst", "000004.sst", "000005.sst"} {
		f, err := fs.Open(name)
		require.NoError(t, err)
		reads.Store(0)
		for k := range blocks {
			_, err := f.ReadAt(make([]byte, block), int64(block*(blocks-1-k)))
			require.NoError(t, err)
		}
		require.Less(t, reads.Load(), int64(restsAfter+blocks/5), name)
		t.Cleanup(func() { require.NoError(t, f.Close()) })
	}
}

// TestWalksBeside walks more files than there are walks, up, down and back and
// forth, by several readers of each at once, while files open and close.
func TestWalksBeside(t *testing.T) {
	t.Parallel()
	base := vfs.NewMem()
	fs := newTable(t, 64).over(base)
	const files, size = maxWalks + 3, 30_000
	texts := make([][]byte, files)
	for n := range texts {
		texts[n] = make([]byte, size)
		for i := range texts[n] {
			texts[n][i] = byte(rand.Uint32())
		}
		writeFile(t, fs, fmt.Sprintf("%06d.sst", n+1), texts[n])
	}
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 4))
			for range 12 {
				n := rng.IntN(files)
				f, err := fs.Open(fmt.Sprintf("%06d.sst", n+1))
				if err != nil {
					t.Error(err)
					return
				}
				var readers sync.WaitGroup
				for r := range 3 {
					step := []int{-1, 1, 0}[r]
					at := rng.IntN(size - 500)
					length := 1 + rng.IntN(400)
					readers.Go(func() {
						for range 60 {
							p := make([]byte, length)
							if _, err := f.ReadAt(p, int64(at)); err != nil {
								t.Error(err)
								return
							}
							if string(p) != string(texts[n][at:at+length]) {
								t.Error("other bytes than were written")
								return
							}
							if at += step * length; at < 0 || at+length > size {
								return
							}
						}
					})
				}
				readers.Wait()
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i := range fs.walks.slots {
		require.Nil(t, fs.walks.slots[i].of.Load())
	}
}
