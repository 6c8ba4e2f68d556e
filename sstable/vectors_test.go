package sstable

import (
	"testing"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/vectors"
	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

type vector = vectors.Vector[vectors.SSTableIn, vectors.SSTableOut]

func loadVectors(t testing.TB) []vector {
	return vectors.Load[vectors.SSTableIn, vectors.SSTableOut](t, "sstable")
}

// sealedVector is the file of a vector.
func sealedVector(t testing.TB, v vector) *sealed {
	key, err := keyring.NewSecret(v.In.DataKey)
	require.NoError(t, err, v.Name)
	s := &sealed{b: v.In.File, key: key, opts: Options{Path: v.Name}}
	if v.Out != nil {
		s.plain = v.Out.Content
	}
	return s
}

// TestVectors reads testdata/vectors/sstable at the module's root: each valid
// file whole, each other with the fault that it must show, whichever way it is
// read.
func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range loadVectors(t) {
		s := sealedVector(t, v)
		if v.Error != nil {
			v.Check(t, requireFault(t, s, v.Rule), nil)
			continue
		}
		r, _, err := s.open()
		require.NoError(t, err, v.Name)
		got, err := readAll(r)
		require.NoError(t, err, v.Name)
		requireSame(t, s.plain, got)
		checked, err := r.Verify(func(_ int64, err error) bool {
			require.NoError(t, err, v.Name)
			return false
		})
		require.NoError(t, err, v.Name)
		require.EqualValues(t, len(s.b), checked, v.Name)
		require.EqualValues(t, len(s.b), PhysicalSize(int64(len(s.plain)), r.Identity().UnitSize), v.Name)
	}
}

// TestVectorsNeedTheCipher is the negative control: without authentication,
// what only the cipher finds is not found.
func TestVectorsNeedTheCipher(t *testing.T) {
	t.Parallel()
	passed := 0
	for _, v := range loadVectors(t) {
		s := sealedVector(t, v)
		s.opts.Suite = ctrSuite
		if r, _, err := s.open(); v.Error != nil && err == nil {
			found := false
			_, err := r.Verify(func(_ int64, err error) bool { found = true; requireCorrupt(t, err, corrupt.ErrAuth); return false })
			require.NoError(t, err)
			if !found {
				passed++
			}
		}
	}
	require.GreaterOrEqual(t, passed, 10)
}
