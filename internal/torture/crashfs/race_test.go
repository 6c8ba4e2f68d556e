package crashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// TestConcurrent has writers, readers, captures and crashes at once. Each
// writer notes how much of its file it has synced; every state has that.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	fs := New(Options{})
	const writers, rounds = 4, 120
	var synced [writers]atomic.Int64
	var files [writers]string
	pattern := func(w, n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(w + i*31 + i>>8)
		}
		return p
	}
	dir, err := fs.OpenDir("/")
	require.NoError(t, err)
	for w := range writers {
		files[w] = fmt.Sprintf("f%d", w)
		f, err := fs.Create(files[w], "")
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	require.NoError(t, dir.Sync())

	check := func(m *Moment, had *[writers]int64, seed uint64) error {
		rng := rand.New(rand.NewPCG(seed, 0))
		for _, style := range Styles() {
			after := m.Crash(rng, style)
			for w := range writers {
				f, err := after.Open(files[w])
				if err != nil {
					return err
				}
				got := make([]byte, had[w])
				if _, err := io.ReadFull(f, got); err != nil {
					return fmt.Errorf("%s: %s: %w", style, files[w], err)
				}
				if !bytes.Equal(got, pattern(w, len(got))) {
					return fmt.Errorf("%s: %s has not what was synced", style, files[w])
				}
			}
		}
		return nil
	}
	var g errgroup.Group
	done := make(chan struct{})
	var writing sync.WaitGroup
	for w := range writers {
		writing.Add(1)
		g.Go(func() error {
			defer writing.Done()
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			f, err := fs.OpenReadWrite(files[w], "")
			if err != nil {
				return err
			}
			p := pattern(w, rounds*1000)
			for n := 0; n < len(p); {
				k := min(1+rng.IntN(2000), len(p)-n)
				if _, err := f.Write(bytes.Clone(p[n : n+k])); err != nil {
					return err
				}
				n += k
				if rng.IntN(2) == 0 {
					if err := f.SyncData(); err != nil {
						return err
					}
					synced[w].Store(int64(n))
				}
				name := fmt.Sprintf("x%d", rng.IntN(6))
				switch err = nil; rng.IntN(5) {
				case 0:
					err = fs.Link(files[w], name)
				case 1:
					err = fs.Rename(name, name+"y")
				case 2:
					err = fs.Remove(name + "y")
				case 3:
					err = fs.RemoveAll(name)
				case 4:
					err = fs.MkdirAll(fmt.Sprintf("dir/%d/%d", w, n), 0o755)
				}
				if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrExist) {
					return err
				}
			}
			return f.Close()
		})
	}
	for c := range 2 {
		g.Go(func() error {
			for seed := uint64(c); ; seed += 2 {
				var had [writers]int64
				for w := range writers {
					had[w] = synced[w].Load()
				}
				m := fs.Moment()
				var both errgroup.Group
				both.Go(func() error { return check(m, &had, seed) })
				both.Go(func() error { return check(m, &had, seed+1) })
				if err := both.Wait(); err != nil {
					return err
				}
				if _, err := fs.List("/"); err != nil {
					return err
				}
				if _, err := fs.GetDiskUsage("/"); err != nil {
					return err
				}
				select {
				case <-done:
					return nil
				default:
				}
			}
		})
	}
	go func() { writing.Wait(); close(done) }()
	require.NoError(t, g.Wait())
	for w := range writers {
		require.Equal(t, string(pattern(w, rounds*1000)), contents(t, fs, files[w]))
	}
}
