package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestThousandTables wants a store of many tables to open at once, and an open
// table to cost little.
func TestThousandTables(t *testing.T) {
	tables := 1000
	if testing.Short() {
		tables = 200
	}
	ctx := context.Background()
	// In memory: on a disk, the syncs of a thousand creations take a minute.
	opts := Options{RootKey: newMemRoot("many"), IdleTimeout: -1, FS: vfs.NewMem()}
	s, err := Open(ctx, "store", opts)
	require.NoError(t, err)
	for i := range tables {
		tab, err := s.CreateTable(ctx, fmt.Sprintf("many.t%04d", i), TableOptions{})
		require.NoError(t, err)
		require.NoError(t, tab.Close())
	}
	require.NoError(t, s.Close())

	began := time.Now()
	s, err = Open(ctx, "store", opts)
	took := time.Since(began)
	require.NoError(t, err)
	require.Len(t, s.Tables(), tables)
	require.Less(t, took, time.Second)

	before := resident(t)
	began = time.Now()
	for _, info := range s.Tables() {
		tab, err := s.Table(info.Name)
		require.NoError(t, err)
		require.NoError(t, tab.Put([]byte("k"), []byte("v"), &WriteOptions{NoSync: true}))
	}
	each := time.Since(began) / time.Duration(tables)
	perTable := (resident(t) - before) / int64(tables)
	t.Logf("the store opened in %v; an open table: %v to open, %d KiB", took, each, perTable>>10)
	if perTable > 0 { // where the system tells
		require.Less(t, perTable, int64(500_000))
	}
	for _, info := range s.Tables() {
		require.True(t, info.Open)
	}
	require.NoError(t, s.Close())
}

// resident is the process's resident memory after a collection, in bytes; 0
// where the system does not tell.
func resident(t *testing.T) int64 {
	runtime.GC()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	require.NoError(t, err)
	return pages * int64(os.Getpagesize())
}

// TestIdleTablesClose wants a table that nobody uses to close by itself, one
// with an open view to stay, and both to answer afterwards.
func TestIdleTablesClose(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openStore(t, filepath.Join(t.TempDir(), "store"), Options{RootKey: newMemRoot("idle"), IdleTimeout: 20 * time.Millisecond})
	used, err := s.CreateTable(ctx, "idle.used", TableOptions{})
	require.NoError(t, err)
	viewed, err := s.CreateTable(ctx, "idle.viewed", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, used.Put([]byte("k"), []byte("v"), nil))
	require.NoError(t, viewed.Put([]byte("k"), []byte("v"), nil))
	view, err := viewed.View()
	require.NoError(t, err)
	open := func(name string) bool {
		for _, info := range s.Tables() {
			if info.Name == name {
				return info.Open
			}
		}
		return false
	}
	require.Eventually(t, func() bool { return !open("idle.used") }, 10*time.Second, 5*time.Millisecond)
	require.True(t, open("idle.viewed"))
	v, err := used.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(v))
	v, err = view.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(v))
	require.NoError(t, view.Close())
	require.Eventually(t, func() bool { return !open("idle.viewed") }, 10*time.Second, 5*time.Millisecond)
}
