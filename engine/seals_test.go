package engine

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/torture/seals"
)

// TestOneKeyOneUse counts the seals in copies of a store at many moments, and
// in those that recoveries of such copies and two uses of one copy make: each
// file has a data key of its own, each position of it is sealed once, with a
// nonce of its own. A cipher with a fixed nonce must be found.
func TestOneKeyOneUse(t *testing.T) {
	t.Parallel()
	c := countSeals(t, nil)
	require.Empty(t, c.Faults())
	require.Greater(t, c.Files(), 200)
	require.Greater(t, c.Seals(), 500)
	require.NotEmpty(t, countSeals(t, fixedSuite).Faults(), "a fixed nonce is not found")
}

func countSeals(t *testing.T, suite aead.Suite) *seals.Ledger {
	clean, crashed, deep := newAttackWorlds(t, suite)
	c := new(seals.Ledger)
	take := func(files map[string][]byte) {
		for name, b := range files {
			c.Take(name, b)
		}
	}
	for _, w := range []*attackWorld{clean, crashed, deep} {
		for _, files := range w.older {
			take(files)
		}
		take(w.files)
		for range 2 { // a fork each
			mem := vfs.NewMem()
			v := w.victim(t, mem, "store", nil)
			s, err := Open(context.Background(), v.dir, w.options(mem, MustExist, v.root))
			require.NoError(t, err)
			for name := range w.tables {
				tab, err := s.Table(name)
				require.NoError(t, err)
				for i := range 20 {
					require.NoError(t, tab.Put(fmt.Appendf(nil, "fork/%d", i), make([]byte, 300), nil))
				}
				require.NoError(t, tab.Flush())
				_, err = tab.Snapshot(context.Background(), "fork")
				require.NoError(t, err)
				require.NoError(t, tab.Compact(context.Background(), nil, nil))
			}
			take(memTree(t, mem, "store"))
			require.NoError(t, s.Close())
			take(memTree(t, mem, "store"))
		}
	}
	return c
}

// memTree reads all files below dir.
func memTree(t *testing.T, base vfs.FS, dir string) map[string][]byte {
	v := &victim{t: t, base: base, dir: dir}
	files := map[string][]byte{}
	walk(base, dir, func(path string, _ int64) {
		rel := strings.TrimPrefix(path, dir+"/")
		files[rel] = v.read(rel)
	})
	return files
}

// fixedSuite is weakSuite with one nonce for all.
func fixedSuite(key []byte) (aead.Sealer, error) {
	s, err := weakSuite(key)
	return fixedSealer{s}, err
}

type fixedSealer struct{ aead.Sealer }

func (f fixedSealer) Seal(dst, plaintext, _ []byte) ([]byte, error) {
	nonce := make([]byte, aead.NonceLen)
	text := bytes.Clone(plaintext)
	dst = append(dst, nonce...)
	dst = f.Sealer.(weakSealer).stream(dst, text, nonce)
	return append(dst, make([]byte, aead.TagLen)...), nil
}
