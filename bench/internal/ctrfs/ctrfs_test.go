package ctrfs

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func newFS(t *testing.T) (*FS, *vfs.MemFS) {
	t.Helper()
	mem := vfs.NewMem()
	s, err := New(mem, bytes.Repeat([]byte{3}, KeyLen))
	require.NoError(t, err)
	return s, mem
}

func content(seed uint64, n int) []byte {
	b, rng := make([]byte, n), rand.New(rand.NewPCG(seed, 0))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// write writes b in pieces; Write may change what it gets.
func write(t *testing.T, f vfs.File, b []byte) {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 6))
	for rest := bytes.Clone(b); len(rest) > 0; {
		n := 1 + rng.IntN(min(len(rest), 5000))
		_, err := f.Write(rest[:n])
		require.NoError(t, err)
		rest = rest[n:]
	}
}

func create(t *testing.T, s *FS, name string, b []byte) {
	t.Helper()
	f, err := s.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	write(t, f, b)
	require.NoError(t, errors.Join(f.Sync(), f.Close()))
}

func raw(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return b
}

func TestReadsWhatWasWritten(t *testing.T) {
	t.Parallel()
	s, mem := newFS(t)
	b := content(1, 100_003)
	create(t, s, "a", b)
	require.Equal(t, b, raw(t, s, "a"))
	disk := raw(t, mem, "a")
	require.Len(t, disk, len(b)+nonceLen)
	for i := 0; i+8 <= len(b); i++ {
		require.False(t, bytes.Contains(disk, b[i:i+8]), "byte %d of the plaintext is on disk", i)
		i += 99
	}

	f, err := s.Open("a", vfs.RandomReadsOption)
	require.NoError(t, err)
	fi, err := f.Stat()
	require.NoError(t, err)
	require.EqualValues(t, len(b), fi.Size())
	named, err := s.Stat("a")
	require.NoError(t, err)
	require.EqualValues(t, len(b), named.Size())
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(g, 1))
			for range 500 {
				at := rng.IntN(len(b))
				got := make([]byte, rng.IntN(min(5000, len(b)-at)))
				if n, err := f.ReadAt(got, int64(at)); n != len(got) || err != nil || !bytes.Equal(got, b[at:at+n]) {
					t.Errorf("read of %d at %d: %d, %v", len(got), at, n, err)
				}
			}
		})
	}
	wg.Wait()
	got := make([]byte, 100)
	n, err := f.ReadAt(got, int64(len(b))-60)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, b[len(b)-60:], got[:n])
	_, err = f.ReadAt(got, -1)
	require.Error(t, err)
	require.NoError(t, f.Close())
}

// TestCounterCarries begins with a nonce whose lower half is full.
func TestCounterCarries(t *testing.T) {
	t.Parallel()
	s, mem := newFS(t)
	b := content(2, 1000)
	f := &file{block: s.block, begun: true}
	for i := range f.nonce {
		f.nonce[i] = 0xff
	}
	base, err := mem.Create("a", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	nonce := f.nonce
	_, err = base.Write(nonce[:])
	require.NoError(t, err)
	f.File = base
	write(t, f, b)
	require.NoError(t, f.Close())
	g, err := s.Open("a")
	require.NoError(t, err)
	for at := range len(b) {
		got := make([]byte, len(b)-at)
		_, err := g.ReadAt(got, int64(at))
		require.NoError(t, err)
		require.Equal(t, b[at:], got)
	}
	require.NoError(t, g.Close())
}

func TestNonces(t *testing.T) {
	t.Parallel()
	s, mem := newFS(t)
	b := content(3, 500)
	create(t, s, "a", b)
	create(t, s, "b", b)
	first := raw(t, mem, "a")
	require.NotEqual(t, first, raw(t, mem, "b"))

	f, err := s.ReuseForWrite("a", "c", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	write(t, f, b[:100])
	require.NoError(t, f.Close())
	disk := raw(t, mem, "c")
	require.NotEqual(t, first[:nonceLen], disk[:nonceLen], "the nonce was used before")
	got := raw(t, s, "c")
	require.Equal(t, b[:100], got[:100])
	require.NotContains(t, string(got[100:]), string(b[100:108]), "what was there before opens")
	_, err = s.Stat("a")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestEmptyFiles(t *testing.T) {
	t.Parallel()
	s, mem := newFS(t)
	create(t, s, "marker", nil)
	require.Empty(t, raw(t, mem, "marker"))
	require.Empty(t, raw(t, s, "marker"))
	fi, err := s.Stat("marker")
	require.NoError(t, err)
	require.Zero(t, fi.Size())

	f, err := s.OpenReadWrite("marker", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	write(t, f, []byte("content"))
	require.NoError(t, f.Close())
	require.NoError(t, s.Link("marker", "link"))
	require.NoError(t, s.Rename("marker", "name"))
	require.Equal(t, "content", string(raw(t, s, "link")))
	require.Equal(t, "content", string(raw(t, s, "name")))
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	_, err := New(vfs.NewMem(), make([]byte, 16))
	require.ErrorContains(t, err, "the key has 16 bytes")
	s, mem := newFS(t)
	create(t, s, "a", []byte("content"))
	f, err := s.OpenReadWrite("a", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte("again"))
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = f.WriteAt([]byte("again"), 0)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.NoError(t, f.Close())

	cut, err := mem.Create("cut", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = cut.Write(make([]byte, 5))
	require.NoError(t, err)
	require.NoError(t, cut.Close())
	_, err = s.Open("cut")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func BenchmarkReadAt(b *testing.B) {
	mem := vfs.NewMem()
	s, err := New(mem, make([]byte, KeyLen))
	require.NoError(b, err)
	f, err := s.Create("a", vfs.WriteCategoryUnspecified)
	require.NoError(b, err)
	_, err = f.Write(make([]byte, 1<<20))
	require.NoError(b, err)
	buf := make([]byte, 4096)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for i := range b.N {
		if _, err := f.ReadAt(buf, int64(i*4096%(1<<20-4096))); err != nil {
			b.Fatal(err)
		}
	}
}
