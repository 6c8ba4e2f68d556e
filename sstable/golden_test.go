package sstable

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

// A golden is what testdata/golden/golden.json tells of a file. Package
// testdata/make wrote them.
type golden struct {
	Name        string
	Key         string
	Kind        keyring.FileKind
	UnitSize    uint32
	StoreID     keyring.ID
	TableID     keyring.ID
	FileID      keyring.ID
	Number      uint64
	Incarnation keyring.ID
	CreatedAt   time.Time
	KeyVersion  uint32
	Wrapped     string
}

func readGolden(t testing.TB) map[string]*sealed {
	b, err := os.ReadFile("testdata/golden/golden.json")
	require.NoError(t, err)
	var index []golden
	require.NoError(t, json.Unmarshal(b, &index))
	files := map[string]*sealed{}
	for _, g := range index {
		key, err := hex.DecodeString(g.Key)
		require.NoError(t, err)
		s := &sealed{opts: Options{UnitSize: g.UnitSize, Path: g.Name}}
		s.key, err = keyring.NewSecret(key)
		require.NoError(t, err)
		s.b, err = os.ReadFile(filepath.Join("testdata/golden", g.Name+".sst"))
		require.NoError(t, err)
		s.plain, err = os.ReadFile(filepath.Join("testdata/golden", g.Name+".bin"))
		require.NoError(t, err)

		h, err := keyring.ParseHeader(s.b)
		require.NoError(t, err)
		require.Equal(t, keyring.Identity{
			Kind: g.Kind, UnitSize: g.UnitSize, StoreID: g.StoreID, TableID: g.TableID, FileID: g.FileID,
			Number: g.Number, Incarnation: g.Incarnation, CreatedAt: g.CreatedAt,
		}, h.Identity)
		require.Equal(t, g.KeyVersion, h.KeyVersion)
		require.Equal(t, g.Wrapped, hex.EncodeToString(h.WrappedKey[:]))
		files[g.Name] = s
	}
	return files
}

// TestGolden reads the files that every version has left.
func TestGolden(t *testing.T) {
	t.Parallel()
	files := readGolden(t)
	paths, err := filepath.Glob("testdata/golden/*.sst")
	require.NoError(t, err)
	require.Len(t, paths, len(files), "a golden file that golden.json does not name, or the other way round")
	require.GreaterOrEqual(t, len(files), 6)
	for name, s := range files {
		got, err := readAll(s.reopen(t))
		require.NoError(t, err, name)
		requireSame(t, s.plain, got)
		require.EqualValues(t, len(s.b), PhysicalSize(int64(len(s.plain)), s.opts.UnitSize), name)
	}
}
