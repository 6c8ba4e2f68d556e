package backup

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// FuzzIndex: whatever parses has one encoding, whatever does not is a *corrupt.Error; once
// as an index, and once as a body that the table's key has sealed.
func FuzzIndex(f *testing.F) {
	all := indexVectors(f)
	keys := vectorKeys(f, all[0].In.LockboxIn)
	for _, v := range all {
		f.Add([]byte(v.In.Index))
		if x, err := parseIndex(v.In.Index); err == nil && x.sealed {
			if plain, err := keys.OpenRecord(x.version, x.body, x.head); err == nil {
				f.Add(plain)
			}
			if x.open(keys) == nil {
				f.Add(x.encodeBody())
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := parseIndex(b)
		if err != nil {
			require.ErrorIs(t, err, corrupt.ErrCorrupt)
		} else {
			w := codec.Writer{B: x.encodeHead()}
			require.Equal(t, x.head, w.B)
			w.U32(x.version)
			w.Bytes(x.body)
			require.Equal(t, b, w.B)
			if x.sealed {
				if err := x.open(keys); err != nil {
					require.ErrorIs(t, err, corrupt.ErrCorrupt)
				}
			}
		}
		if plain, err := decompress(b, 1<<20); err == nil {
			require.LessOrEqual(t, len(plain), 1<<20)
		}
		body := &index{files: []indexFile{{name: "a", size: 1, id: keyring.ID{1}}, {name: "b"}}}
		if body.parseBody(codec.NewReader(b)) == nil {
			require.Equal(t, b, body.encodeBody())
		}
	})
}

// FuzzManifest: whatever parses has one encoding.
func FuzzManifest(f *testing.F) {
	for _, v := range manifestVectors(f) {
		f.Add(v.In.Name, []byte(v.In.Manifest))
	}
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		m, err := parseManifest(name, b)
		if err != nil {
			require.ErrorIs(t, err, corrupt.ErrCorrupt)
			return
		}
		require.Equal(t, name, m.Name)
		again, err := m.encode()
		require.NoError(t, err)
		require.Equal(t, b, again)
		_, err = m.core()
		require.NoError(t, err)
	})
}

// FuzzPart: whatever parses has one encoding, and a name that is read as one.
func FuzzPart(f *testing.F) {
	for _, v := range partVectors(f) {
		f.Add([]byte(v.In.Object))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, n, err := parsePart(b)
		if err != nil {
			require.ErrorIs(t, err, corrupt.ErrCorrupt)
			return
		}
		require.Equal(t, b[:n], p.header())
		p.digest = sum(b)
		named, ok := parsePartName(p.object())
		require.True(t, ok)
		stretch, _, err := openPart(p.object(), named, b)
		require.NoError(t, err)
		require.Equal(t, b[n:], stretch)
	})
}

// FuzzName: a name that is read is the name of what it says.
func FuzzName(f *testing.F) {
	for _, v := range nameVectors(f) {
		f.Add(v.In.Name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if k, ok := parseObject(name); ok {
			require.Equal(t, name, k.object())
		}
		if p, ok := parsePartName(name); ok {
			require.Equal(t, name, p.object())
		}
		lockboxDigest(name)
	})
}

// FuzzSmall reads the object that makes a repository, and sentences.
func FuzzSmall(f *testing.F) {
	c, err := config{FormatVersion, keyring.ID{1}, time.Unix(1, 0).UTC(), about}.encode()
	require.NoError(f, err)
	f.Add(c)
	f.Add([]byte(`{"format":1,"since":"2026-01-02T03:04:05Z","objects":["data/a"]}`))
	f.Add([]byte(`{"up_to":"2026-01-02T03:04:05Z"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseConfig(b); err == nil {
			again, err := c.encode()
			require.NoError(t, err)
			require.Equal(t, b, again)
		} else {
			require.ErrorIs(t, err, corrupt.ErrCorrupt)
		}
		if s, err := parseSentence(b); err == nil {
			require.NotEmpty(t, s.Objects)
		} else {
			require.ErrorIs(t, err, corrupt.ErrCorrupt)
		}
	})
}

// TestDecompressBound: a frame that says less than it has, and one that says more than may
// be, take no more memory than they may. It is not parallel: it looks at what is allocated.
func TestDecompressBound(t *testing.T) {
	const limit = 1 << 20
	bomb, err := compress(make([]byte, 64<<20))
	require.NoError(t, err)
	require.Less(t, len(bomb), limit)
	small, err := compress(make([]byte, 1000))
	require.NoError(t, err)
	full, err := compress(make([]byte, limit))
	require.NoError(t, err)
	b, err := decompress(full, limit)
	require.NoError(t, err)
	require.Len(t, b, limit)
	for name, b := range map[string][]byte{
		"says so":        bomb,
		"another behind": append(bytes.Clone(small), bomb...),
		"many":           bytes.Repeat(small, 2000),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = decompress(b, limit)
		runtime.ReadMemStats(&after)
		require.Error(t, err, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), name)
	}
}
