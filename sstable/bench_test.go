package sstable

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

// The benchmarks show each operation beside the same without encryption
// (plain) and beside the cipher alone (cipher), which is the floor:
//
//	go test -run '^$' -bench . ./sstable

const benchSize = 8 << 20

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Sync() error                 { return nil }
func (discard) Close() error                { return nil }

// BenchmarkSeal writes a file in pieces of 4 KiB, as Pebble does.
func BenchmarkSeal(b *testing.B) {
	piece := randomBytes(4096)
	write := func(b *testing.B, w io.Writer) {
		for range benchSize / len(piece) {
			if _, err := w.Write(piece); err != nil {
				b.Fatal(err)
			}
		}
	}
	sealed := func(unit uint32, open func(b *testing.B) WriteFile) func(b *testing.B) {
		return func(b *testing.B) {
			b.SetBytes(benchSize)
			b.ReportAllocs()
			for b.Loop() {
				w, err := NewWriter(open(b), testIdentity(), testKey(), Options{UnitSize: unit})
				require.NoError(b, err)
				write(b, w)
				require.NoError(b, w.Close())
			}
		}
	}
	inMemory := func(*testing.B) WriteFile { return discard{} }
	path := filepath.Join(b.TempDir(), "f")
	onDisk := func(b *testing.B) WriteFile {
		f, err := os.Create(path)
		require.NoError(b, err)
		return f
	}
	for _, unit := range []uint32{64, 1024, 2048, 4096} {
		b.Run(fmt.Sprintf("sealed-%d", unit), sealed(unit, inMemory))
	}
	b.Run("cipher", func(b *testing.B) {
		s, err := aead.Suite(nil).New(make([]byte, 32))
		require.NoError(b, err)
		const full = DefaultUnitSize - floe.SegmentOverhead
		in, out, aad := randomBytes(full), make([]byte, DefaultUnitSize), make([]byte, floe.AADLen)
		b.SetBytes(benchSize)
		for b.Loop() {
			for range benchSize / full {
				s.Seal(out[:0], in, aad)
			}
		}
	})
	b.Run("file/sealed", sealed(0, onDisk))
	b.Run("file/plain", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			f := onDisk(b)
			write(b, f)
			require.NoError(b, f.Close())
		}
	})
}

// benchFiles returns a plain and a sealed file of the same contents.
func benchFiles(b *testing.B, unit uint32) (*os.File, *Reader) {
	dir, data, key := b.TempDir(), randomBytes(benchSize), testKey()
	require.NoError(b, os.WriteFile(filepath.Join(dir, "plain"), data, 0o600))
	plain, err := os.Open(filepath.Join(dir, "plain"))
	require.NoError(b, err)
	out, err := os.Create(filepath.Join(dir, "sealed"))
	require.NoError(b, err)
	w, err := NewWriter(out, testIdentity(), key, Options{UnitSize: unit})
	require.NoError(b, err)
	_, err = w.Write(data)
	require.NoError(b, err)
	require.NoError(b, w.Close())

	in, err := os.Open(filepath.Join(dir, "sealed"))
	require.NoError(b, err)
	head := make([]byte, keyring.HeaderLen)
	_, err = in.ReadAt(head, 0)
	require.NoError(b, err)
	h, err := keyring.ParseHeader(head)
	require.NoError(b, err)
	r, err := NewReader(in, w.PhysicalSize(), h, key.Key, Options{})
	require.NoError(b, err)
	b.Cleanup(func() {
		require.NoError(b, r.Close())
		require.NoError(b, plain.Close())
	})
	return plain, r
}

// BenchmarkReadAt reads pieces at offsets that fit no segment.
func BenchmarkReadAt(b *testing.B) {
	read := func(at io.ReaderAt, n int) func(b *testing.B) {
		return func(b *testing.B) {
			p := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			off := int64(0)
			for b.Loop() {
				off = (off + 1_000_003) % (benchSize - int64(n))
				if _, err := at.ReadAt(p, off); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	for _, unit := range []uint32{1024, 2048, 4096} {
		_, r := benchFiles(b, unit)
		b.Run(fmt.Sprintf("4096/sealed-%d", unit), read(r, 4096))
	}
	plain, r := benchFiles(b, DefaultUnitSize)
	b.Run("4096/plain", read(plain, 4096))
	b.Run("4096/cipher", func(b *testing.B) {
		const full = DefaultUnitSize - floe.SegmentOverhead
		s, err := aead.Suite(nil).New(make([]byte, 32))
		require.NoError(b, err)
		aad, out := make([]byte, floe.AADLen), make([]byte, full)
		sealed, err := s.Seal(nil, out, aad)
		require.NoError(b, err)
		b.SetBytes(4096)
		for i := 0; b.Loop(); i++ {
			// A piece of 4096 bytes lies in 3 segments, seldom in 4.
			segments := 3
			if i%(full/64) == 0 {
				segments = 4
			}
			for range segments {
				if _, err := s.Open(out[:0], sealed, aad); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	for _, n := range []int{512, 32 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%d/sealed-2048", n), read(r, n))
		b.Run(fmt.Sprintf("%d/plain", n), read(plain, n))
	}
}

// BenchmarkSequential reads a file from one end to the other, in pieces of
// about a block.
func BenchmarkSequential(b *testing.B) {
	read := func(b *testing.B, at io.ReaderAt, n int) {
		p := make([]byte, n)
		for off := int64(0); off+int64(n) <= benchSize; off += int64(n) {
			if _, err := at.ReadAt(p, off); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, n := range []int{4000, 32000} {
		plain, r := benchFiles(b, DefaultUnitSize)
		b.Run(fmt.Sprintf("%d/sequential", n), func(b *testing.B) {
			b.SetBytes(benchSize)
			b.ReportAllocs()
			for b.Loop() {
				q := r.NewSequential()
				read(b, q, n)
				q.Close()
			}
		})
		b.Run(fmt.Sprintf("%d/readat", n), func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				read(b, r, n)
			}
		})
		b.Run(fmt.Sprintf("%d/plain", n), func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				read(b, plain, n)
			}
		})
	}
	b.Run("cipher", func(b *testing.B) {
		const full = DefaultUnitSize - floe.SegmentOverhead
		s, err := aead.Suite(nil).New(make([]byte, 32))
		require.NoError(b, err)
		aad, out := make([]byte, floe.AADLen), make([]byte, full)
		sealed, err := s.Seal(nil, out, aad)
		require.NoError(b, err)
		b.SetBytes(benchSize)
		for b.Loop() {
			for range benchSize / full {
				if _, err := s.Open(out[:0], sealed, aad); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
