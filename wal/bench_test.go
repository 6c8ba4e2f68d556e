package wal

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// 428 bytes is what Pebble writes for a synced put of 400; 32 KiB a full block.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{428, 32 << 10} {
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) {
			w, _ := newTestWriter(b, nullFile{}, Options{})
			p := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Write(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReplay reads a log of 16 MiB as Pebble does: blocks of 32 KiB.
func BenchmarkReplay(b *testing.B) {
	for _, n := range []int{428, 32 << 10} {
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) {
			f := &memFile{}
			w, key := newTestWriter(b, f, Options{})
			p := make([]byte, n)
			for f.pos < 16<<20 {
				if _, err := w.Write(p); err != nil {
					b.Fatal(err)
				}
			}
			h, err := keyring.ParseHeader(f.b)
			require.NoError(b, err)
			block := make([]byte, 32<<10)
			b.SetBytes(w.Size())
			b.ReportAllocs()
			for b.Loop() {
				r, err := NewReader(f, int64(len(f.b)), h, key.Key, ReaderOptions{Final: w.Frames()})
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, err = r.Read(block)
				}
				if err != io.EOF {
					b.Fatal(err)
				}
			}
		})
	}
}
