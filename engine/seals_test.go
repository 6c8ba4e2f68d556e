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
	"github.com/cofredb/cofre/keyring"
)

// A sealCount finds keys and nonces that are used twice.
type sealCount struct {
	keys    map[[keyring.WrappedKeyLen]byte]keyring.ID // of data keys, by wrap
	files   map[keyring.ID][keyring.WrappedKeyLen]byte
	sealed  map[string][]byte // by file id and position
	nonces  map[string]string // position, by file id and nonce
	faults  []string
	headers int
}

func newSealCount() *sealCount {
	return &sealCount{
		keys: map[[keyring.WrappedKeyLen]byte]keyring.ID{}, files: map[keyring.ID][keyring.WrappedKeyLen]byte{},
		sealed: map[string][]byte{}, nonces: map[string]string{},
	}
}

func (c *sealCount) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

// take counts every seal in a file.
func (c *sealCount) take(name string, b []byte) {
	h, err := keyring.ParseHeader(b)
	if err != nil {
		return
	}
	c.headers++
	id := h.Identity.FileID
	if old, ok := c.keys[h.WrappedKey]; ok && old != id {
		c.fault("%s: files %s and %s have one data key", name, old, id)
	}
	if old, ok := c.files[id]; ok && old != h.WrappedKey {
		c.fault("%s: file %s has two data keys", name, id)
	}
	c.keys[h.WrappedKey], c.files[id] = id, h.WrappedKey
	at, n := keyring.HeaderLen, int(h.Identity.UnitSize)
	if h.Identity.Kind.Random() {
		for i := 0; at+n <= len(b); i++ { // the last one may be longer in a later copy
			c.seal(name, id, fmt.Sprint("unit ", i), b[at+4:at+n])
			at += n
		}
		return
	}
	tag := b[at:min(len(b), at+8)]
	for at+48 <= len(b) && bytes.Equal(b[at:at+8], tag) {
		n := int(b[at+16])<<24 | int(b[at+17])<<16 | int(b[at+18])<<8 | int(b[at+19])
		if at+48+n > len(b) {
			return
		}
		c.seal(name, id, fmt.Sprintf("frame %x", b[at+8:at+16]), b[at+20:at+48+n])
		at += 48 + n
	}
}

// seal takes nonce ‖ text ‖ tag at a position of a file.
func (c *sealCount) seal(name string, id keyring.ID, position string, sealed []byte) {
	at := id.String() + " " + position
	if old, ok := c.sealed[at]; ok {
		if !bytes.Equal(old, sealed) {
			c.fault("%s: %s of file %s was sealed twice", name, position, id)
		}
		return
	}
	c.sealed[at] = bytes.Clone(sealed)
	nonce := id.String() + string(sealed[:aead.NonceLen])
	if old, ok := c.nonces[nonce]; ok {
		c.fault("%s: %s and %s of file %s have one nonce", name, old, position, id)
	}
	c.nonces[nonce] = position
}

// TestOneKeyOneUse counts the seals in copies of a store at many moments, and
// in those that recoveries of such copies and two uses of one copy make: each
// file has a data key of its own, each position of it is sealed once, with a
// nonce of its own. A cipher with a fixed nonce must be found.
func TestOneKeyOneUse(t *testing.T) {
	t.Parallel()
	c := countSeals(t, nil)
	require.Empty(t, c.faults)
	require.Greater(t, c.headers, 200)
	require.Greater(t, len(c.sealed), 500)
	require.NotEmpty(t, countSeals(t, fixedSuite).faults, "a fixed nonce is not found")
}

func countSeals(t *testing.T, suite aead.Suite) *sealCount {
	clean, crashed, deep := newAttackWorlds(t, suite)
	c := newSealCount()
	take := func(files map[string][]byte) {
		for name, b := range files {
			c.take(name, b)
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
