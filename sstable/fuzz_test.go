package sstable

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

// TestFuzzSeeds: without its seeds the fuzz target would silently test little.
func TestFuzzSeeds(t *testing.T) {
	t.Parallel()
	seeds, err := os.ReadDir("testdata/fuzz/FuzzReader")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(seeds), 12)
}

// fileID is the file id of a header, or "".
func fileID(b []byte) string {
	if len(b) < 64 {
		return ""
	}
	return string(b[48:64])
}

// FuzzReader opens arbitrary files, or arbitrary bytes behind a good header,
// with the key of a golden file, or of the vector "base" where the header has
// its id. Nothing may be read that is not in that file at the same place: no
// vector has another segment under that key that opens anywhere. And
// every error is a fault, or the end of the file.
func FuzzReader(f *testing.F) {
	golden := readGolden(f)["v1-tiny-units"]
	bases := map[string]*sealed{fileID(golden.b): golden}
	for _, v := range loadVectors(f) {
		if s := sealedVector(f, v); v.Name == "base" {
			bases[fileID(s.b)] = s
		}
		if len(v.In.File) <= 2<<10 { // a long seed is minimized for as long as the target runs
			f.Add(false, []byte(v.In.File))
		}
	}
	require.Len(f, bases, 2)
	f.Fuzz(func(t *testing.T, withHeader bool, data []byte) {
		good := bases[fileID(data)]
		if withHeader || good == nil {
			good = golden
		}
		s := good.clone()
		s.b = data
		if withHeader {
			s.b = append(bytes.Clone(good.b[:keyring.HeaderLen]), data...)
		}
		r, _, err := s.open()
		if err != nil {
			requireCorrupt(t, err, corrupt.ErrCorrupt)
			return
		}
		whole := true
		checked, err := r.Verify(func(off int64, err error) bool {
			whole = false
			require.Less(t, off, int64(len(s.b)))
			requireCorrupt(t, err, corrupt.ErrAuth)
			return true
		})
		require.NoError(t, err)
		require.EqualValues(t, len(s.b), checked)
		same := bytes.Equal(s.b[keyring.HeaderLen:], good.b[keyring.HeaderLen:])
		require.Equal(t, same, whole)

		for off := int64(0); off < r.Size()+40; off += 61 {
			for _, n := range []int{1, 50} {
				p := make([]byte, n)
				r := s.reopen(t) // a handle that has not failed yet
				q := r.NewSequential()
				for _, at := range []io.ReaderAt{r, q, walkDown(r, off+int64(n))} {
					k, err := at.ReadAt(p, off)
					if k > 0 {
						require.LessOrEqual(t, off+int64(k), int64(len(good.plain)))
						requireSame(t, good.plain[off:off+int64(k)], p[:k])
					}
					switch {
					case err == nil:
						require.Equal(t, n, k)
					case errors.Is(err, io.EOF):
						require.Equal(t, good.size(), r.Size(), "an end that is not the file's")
					default:
						requireCorrupt(t, err, corrupt.ErrAuth)
						require.Zero(t, k)
					}
				}
				require.NoError(t, q.Close())
			}
		}
	})
}
