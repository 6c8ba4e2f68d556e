package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// A quickFS makes nothing durable: for tests of much on a disk that stays well.
type quickFS struct{ vfs.FS }

func (q quickFS) Unwrap() vfs.FS { return q.FS }

func (q quickFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return quick(q.FS.Create(name, c))
}

func (q quickFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return quick(q.FS.OpenReadWrite(name, c, opts...))
}

func (q quickFS) OpenDir(name string) (vfs.File, error) { return quick(q.FS.OpenDir(name)) }

func (quickFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{}, vfs.ErrUnsupported // no ballast
}

type quickFile struct{ vfs.File }

func quick(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return quickFile{f}, nil
}

func (quickFile) Sync() error                    { return nil }
func (quickFile) SyncData() error                { return nil }
func (quickFile) SyncTo(int64) (bool, error)     { return true, nil }
func (quickFile) Preallocate(int64, int64) error { return nil }

// raced tells whether this is a build with the race detector, under which
// memory measures nothing.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

// A tablesReport is what many tables cost, as another process measured it.
type tablesReport struct {
	Open        time.Duration // of the store
	All         time.Duration // to open all tables
	Tables      int
	Heap        int64 // bytes: in use, for all tables
	Sys         int64 // bytes: had from the operating system
	RSS         int64 // bytes
	Descriptors int
	Goroutines  int
	Err         string
}

// TestManyTables opens a store of 1,000 tables, and all of them at once.
func TestManyTables(t *testing.T) {
	t.Parallel()
	manyTables := 1000
	if raced() {
		manyTables = 50
	}
	dir := t.TempDir()
	mem := vfs.NewMem()
	// The anchor syncs at each change; only the end need be noted.
	opts := Options{RootKey: unanchored{newKeys(t, dir)}, FS: mem}
	start := time.Now()
	s, err := Open(t.Context(), "store", opts)
	require.NoError(t, err)
	for n := range manyTables {
		tab, err := s.CreateTable(t.Context(), fmt.Sprintf("many.t%04d", n), TableOptions{})
		require.NoError(t, err)
		require.NoError(t, tab.Put(key, fmt.Append(nil, n), &WriteOptions{NoSync: true}))
		require.NoError(t, tab.Close())
	}
	require.NoError(t, s.Close())
	ok, err := vfs.Clone(mem, vfs.Default, "store", filepath.Join(dir, "store"))
	require.NoError(t, err)
	require.True(t, ok)
	t.Logf("made in %v", time.Since(start))

	var r tablesReport
	out := runChild(t, "tables", dir)
	require.NoError(t, json.Unmarshal([]byte(out), &r), "%s", out)
	require.Empty(t, r.Err)
	n := int64(r.Tables)
	t.Logf("store open in %v; %d tables open in %v, each %.2f ms; each costs %d KiB of heap, %d KiB from the system, %d KiB resident, %.1f descriptors, %.1f goroutines",
		r.Open, n, r.All, float64(r.All.Microseconds())/1000/float64(n), r.Heap/n>>10, r.Sys/n>>10, r.RSS/n>>10, float64(r.Descriptors)/float64(n), float64(r.Goroutines)/float64(n))
	require.Less(t, r.Open, time.Second)
	most := int64(500_000)
	if raced() {
		most *= 20
	}
	require.Less(t, r.Heap/n, most)
	require.Less(t, r.Sys/n, most)
	require.Less(t, r.RSS/n, most)

	opts.FS = nil
	s = openStore(t, filepath.Join(dir, "store"), opts)
	for _, n := range []int{0, manyTables / 2, manyTables - 1} {
		tab, err := s.Table(fmt.Sprintf("many.t%04d", n))
		require.NoError(t, err)
		v, err := tab.Get(key)
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(n), string(v))
	}
}

// unanchored hides that a root key is an anchor.
type unanchored struct{ keyring.RootKey }

// measureTables measures the store dir/store, which has the key file dir/keys.
func measureTables(dir string) string {
	var r tablesReport
	if err := r.measure(dir); err != nil {
		r.Err = err.Error()
	}
	b, _ := json.Marshal(r)
	return string(b)
}

func (r *tablesReport) measure(dir string) error {
	ctx := context.Background()
	svc, err := local.Open(filepath.Join(dir, "keys"), local.Options{})
	if err != nil {
		return err
	}
	defer svc.Close()
	root, err := svc.Key("default")
	if err != nil {
		return err
	}
	start := time.Now()
	s, err := Open(ctx, filepath.Join(dir, "store"), Options{RootKey: root, Mode: MustExist})
	if err != nil {
		return err
	}
	r.Open = time.Since(start)
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = Open(ctx, filepath.Join(dir, "store"), Options{RootKey: root, FS: quickFS{vfs.Default}}); err != nil {
		return err
	}
	before := measureProcess()
	start = time.Now()
	for _, info := range s.Tables() {
		t, err := s.Table(info.Name)
		if err != nil {
			return err
		}
		if _, err := t.Get(key); err != nil {
			return err
		}
		r.Tables++
	}
	r.All = time.Since(start)
	for _, info := range s.Tables() {
		if !info.Open {
			return fmt.Errorf("table %s is closed", info.Name)
		}
	}
	after := measureProcess()
	r.Heap, r.Sys, r.RSS = after.heap-before.heap, after.sys-before.sys, after.rss-before.rss
	r.Descriptors, r.Goroutines = after.descriptors-before.descriptors, after.goroutines-before.goroutines
	return s.Close()
}

type processSize struct {
	heap, sys, rss          int64 // bytes
	descriptors, goroutines int
}

// measureProcess measures what the process holds; what only Linux tells is
// zero elsewhere.
func measureProcess() (p processSize) {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.heap, p.sys, p.goroutines = int64(m.HeapInuse), int64(m.Sys-m.HeapReleased), runtime.NumGoroutine()
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			p.rss = pages * int64(os.Getpagesize())
		}
	}
	if d, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.descriptors = len(d)
	}
	return p
}
