package wal

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// A golden is a log of testdata/golden, as golden.json tells of it. Program
// testdata/make wrote them.
type golden struct {
	Name       string
	Key        string
	Identity   keyring.Identity
	KeyVersion uint32
	Wrapped    string
	Past       Past
	Frames     []goldenFrame
	End        int64
	Dropped    int64

	b   []byte
	key *keyring.DataKey
}

type goldenFrame struct {
	Time    time.Time
	Durable uint64
	Note    string
	Data    string
}

func readGolden(t testing.TB) map[string]*golden {
	b, err := os.ReadFile("testdata/golden/golden.json")
	require.NoError(t, err)
	var index []*golden
	require.NoError(t, json.Unmarshal(b, &index))
	all := map[string]*golden{}
	for _, g := range index {
		g.b, err = os.ReadFile(filepath.Join("testdata/golden", g.Name+".log"))
		require.NoError(t, err)
		raw, err := hex.DecodeString(g.Key)
		require.NoError(t, err)
		key, err := keyring.NewSecret(raw)
		require.NoError(t, err)
		g.key = &keyring.DataKey{Key: key, Version: g.KeyVersion}
		all[g.Name] = g
	}
	files, err := filepath.Glob("testdata/golden/*.log")
	require.NoError(t, err)
	require.Len(t, all, len(files), "a golden log is not in golden.json")
	return all
}

// Files of every format version open, and hold what they held.
func TestGolden(t *testing.T) {
	t.Parallel()
	all := readGolden(t)
	require.Len(t, all, 5)
	for name, g := range all {
		h, err := keyring.ParseHeader(g.b)
		require.NoError(t, err, name)
		require.Equal(t, g.Identity, h.Identity, name)
		require.Equal(t, g.KeyVersion, h.KeyVersion, name)
		require.Equal(t, g.Wrapped, hex.EncodeToString(h.WrappedKey[:]), name)

		frames, r, err := readAll(g.b, g.key, ReaderOptions{Final: uint64(len(g.Frames)) + 1})
		require.Equal(t, io.EOF, err, name)
		require.Equal(t, g.Past, r.Past(), name)
		require.Len(t, frames, len(g.Frames), name)
		for i, want := range g.Frames {
			got := frames[i]
			require.EqualValues(t, i+1, got.Index, name)
			require.Equal(t, want.Time, got.Time, name)
			require.Equal(t, want.Durable, got.Durable, name)
			require.Equal(t, want.Note, string(got.Note), name)
			require.Equal(t, want.Data, string(got.Data), name)
		}
		end, dropped, reached := r.End()
		require.True(t, reached)
		require.Equal(t, g.End, end, name)
		require.Equal(t, g.Dropped, dropped, name)
	}
	require.Less(t, len(all["v1-compressed"].b), len(all["v1-wal"].b))
}
