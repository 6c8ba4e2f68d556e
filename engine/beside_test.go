package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// These tests put one thing exactly beside another: what a table does at a certain
// change of the disk, or listing, while its keys change.

// A pausedFS tells of what is about to happen.
type pausedFS struct {
	vfs.FS
	hook atomic.Pointer[func(op, path string)]
}

func (h *pausedFS) Unwrap() vfs.FS { return h.FS }

func (h *pausedFS) tell(op, path string) {
	if f := h.hook.Load(); f != nil {
		(*f)(op, path)
	}
}

// once has f run at the first op on a path that has part in it.
func (h *pausedFS) once(op, part string, f func()) {
	var first sync.Once
	hook := func(o, path string) {
		if o == op && strings.Contains(path, part) {
			first.Do(f)
		}
	}
	h.hook.Store(&hook)
}

func (h *pausedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	h.tell("create", name)
	f, err := h.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	return &pausedFile{f, h, name}, nil
}

func (h *pausedFS) List(name string) ([]string, error) {
	names, err := h.FS.List(name)
	h.tell("list", name)
	return names, err
}

func (h *pausedFS) Rename(oldname, newname string) error {
	h.tell("rename", newname)
	return h.FS.Rename(oldname, newname)
}

type pausedFile struct {
	vfs.File
	h    *pausedFS
	name string
}

func (f *pausedFile) Write(p []byte) (int, error) {
	f.h.tell("write", f.name)
	return f.File.Write(p)
}

func (f *pausedFile) Close() error {
	err := f.File.Close()
	f.h.tell("closed", f.name)
	return err
}

// paused opens a store over a pausedFS, with a table that has a row in a sorted file.
func paused(t *testing.T) (*pausedFS, *Store, *Table) {
	h := &pausedFS{FS: vfs.NewCrashableMem()}
	opts := crashOptions(newMemRoot("a"), h.FS.(*vfs.MemFS))
	opts.FS = h
	s, err := Open(t.Context(), crashDir, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	tab, err := s.CreateTable(t.Context(), "clinic.patients", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	require.NoError(t, tab.Flush())
	return h, s, tab
}

// requireOpensAgain closes the table and wants its row.
func requireOpensAgain(t *testing.T, s *Store, tab *Table) {
	t.Helper()
	require.NoError(t, tab.Close())
	_, err := tab.Get(key)
	require.NoError(t, err)
	requireVerified(t, s)
}

// TestCloseBesideOverlay closes and opens the table when an overlay is written and not
// named yet.
func TestCloseBesideOverlay(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Table) error{
		"rotate": func(tab *Table) error { return tab.RotateKey(t.Context()) },
		"retire": func(tab *Table) error { return tab.RetireKey(t.Context(), 1) },
	} {
		h, s, tab := paused(t)
		if name == "retire" {
			require.NoError(t, tab.RotateKey(t.Context()))
		}
		done := make(chan error, 1)
		h.once("closed", "/"+overlayDir+"/", func() {
			go func() {
				_, err := tab.Get(key)
				done <- errors.Join(tab.Close(), err)
			}()
			time.Sleep(20 * time.Millisecond)
		})
		require.NoError(t, change(tab), name)
		require.NoError(t, <-done, name)
		requireOpensAgain(t, s, tab)
	}
}

// TestRetireBesideFlush has a file begun under the version that is to go, whose header
// is not on the disk yet.
func TestRetireBesideFlush(t *testing.T) {
	t.Parallel()
	h, s, tab := paused(t)
	_, err := tab.Snapshot(t.Context(), "s")
	require.NoError(t, err)
	require.NoError(t, tab.Put([]byte("more"), nil, nil))
	begun, release, flushed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	h.once("write", ".sst", func() {
		close(begun)
		<-release
	})
	go func() { flushed <- tab.Flush() }()
	<-begun
	require.NoError(t, tab.RotateKey(t.Context()))
	h.once("list", "/"+snapshotsDir+"/", func() {
		close(release)
		require.NoError(t, <-flushed)
	})
	err = tab.RetireKey(t.Context(), 1)
	require.ErrorIs(t, err, ErrVersionNeeded)
	h.hook.Store(nil)
	select {
	case <-release:
	default:
		close(release)
		require.NoError(t, <-flushed)
	}
	require.NoError(t, tab.RetireKey(t.Context(), 1))
	_, err = tab.Get([]byte("more"))
	require.NoError(t, err)
	requireOpensAgain(t, s, tab)
}

// TestSnapshotBesideRetire has a snapshot that is not recorded yet hold the last link
// to files, whose keys an overlay alone has.
func TestSnapshotBesideRetire(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	h, s, tab := paused(t)
	require.NoError(t, tab.RotateKey(ctx))
	require.NoError(t, tab.RetireKey(ctx, 1))
	require.NoError(t, tab.RotateKey(ctx))
	done := make(chan error, 1)
	h.once("rename", "/KEYRING-", func() { // that which records the snapshot
		require.NoError(t, tab.Put(key, []byte("w"), nil))
		require.NoError(t, tab.Flush())
		require.NoError(t, tab.Compact(ctx, nil, nil))
		go func() { done <- tab.RetireKey(ctx, 2) }()
		time.Sleep(100 * time.Millisecond)
	})
	_, err := tab.Snapshot(ctx, "s")
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.Equal(t, map[string]string{string(key): "v"}, snapshotRows(t, tab, "s"))
	requireOpensAgain(t, s, tab)
}

// TestDropSnapshotBesideRotation drops a snapshot whose files are being looked at.
func TestDropSnapshotBesideRotation(t *testing.T) {
	t.Parallel()
	h, s, tab := paused(t)
	_, err := tab.Snapshot(t.Context(), "s")
	require.NoError(t, err)
	done := make(chan error, 1)
	h.once("list", "/"+snapshotsDir+"/", func() {
		go func() { done <- tab.DropSnapshot(t.Context(), "s") }()
		time.Sleep(50 * time.Millisecond)
	})
	require.NoError(t, tab.RotateKey(t.Context()))
	require.NoError(t, <-done)
	requireOpensAgain(t, s, tab)
}

// TestLogBesideRotation has a log that has its key, and no name yet: it goes on under
// the new version too.
func TestLogBesideRotation(t *testing.T) {
	t.Parallel()
	h, s, tab := paused(t)
	require.NoError(t, tab.Put([]byte("more"), nil, nil))
	begun, release, flushed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	h.once("rename", ".log", func() {
		close(begun)
		<-release
	})
	go func() { flushed <- tab.Flush() }()
	<-begun
	done := make(chan error, 1)
	go func() { done <- tab.RotateKey(t.Context()) }()
	select {
	case err := <-done:
		require.NoError(t, err)
		close(release)
	case <-time.After(300 * time.Millisecond):
		close(release) // it has waited for the log, which is as good
		require.NoError(t, <-done)
	}
	require.NoError(t, <-flushed)
	require.NoError(t, tab.Put([]byte("behind"), nil, nil))
	i, err := tab.use()
	require.NoError(t, err)
	files, err := tab.fileKeys(t.Context(), i, i.keys, new(metadata))
	i.leave()
	require.NoError(t, err)
	newest := make(map[string]uint32)
	for _, f := range files {
		newest[f.Name] = max(newest[f.Name], f.Version)
	}
	logs := 0
	for name, version := range newest {
		if strings.HasSuffix(name, ".log") && version == 2 {
			logs++
		}
	}
	require.NotZero(t, logs, "%v", newest)
	requireOpensAgain(t, s, tab)
}

// TestResealBesideClose has a file sealed anew between its writer's sync and close.
func TestResealBesideClose(t *testing.T) {
	t.Parallel()
	_, _, tab := paused(t)
	i, err := tab.use()
	require.NoError(t, err)
	defer i.leave()
	name := tab.store.fs.PathJoin(tab.dir, "900000.sst")
	f, err := i.fs.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte("rows"))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, i.fs.Reseal(tab.dir, "900000.sst", nil))
	require.NoError(t, f.Close())
	again, err := i.fs.Open(name)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.NoError(t, i.fs.Remove(name))
}

// TestReencryptBesidePlanted has a file of somebody else's, of the year 2262, in the
// table's directory: it changes nothing.
func TestReencryptBesidePlanted(t *testing.T) {
	t.Parallel()
	h, s, tab := paused(t)
	names, err := h.FS.List(tab.dir)
	require.NoError(t, err)
	at := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, ".sst") })
	b, err := vfsRead(h.FS, h.PathJoin(tab.dir, names[at]))
	require.NoError(t, err)
	binary.BigEndian.PutUint64(b[88:], 1<<63-1) // created at
	planted := h.PathJoin(tab.dir, "888888.sst")
	require.NoError(t, vfsWrite(h.FS, planted, b))
	rep, err := tab.Reencrypt(t.Context(), ReencryptOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, rep.Files)
	require.Less(t, time.Since(rep.Begun).Abs(), time.Hour)
	_, err = h.FS.Stat(planted)
	require.Error(t, err, "Pebble removes what its MANIFEST does not name")
	requireOpensAgain(t, s, tab)
}

// A hangingRoot does not answer while it is told not to.
type hangingRoot struct {
	*memRoot
	hangs atomic.Bool
}

func (r *hangingRoot) Unwrap(ctx context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	if r.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return r.memRoot.Unwrap(ctx, wrapped, ec)
}

// hanging opens a store with a table whose key service can hang.
func hanging(t *testing.T, lease time.Duration, ahead *atomic.Int64) (*hangingRoot, *Store, *Table) {
	root := &hangingRoot{memRoot: newMemRoot("table")}
	opts := crashOptions(newMemRoot("store"), vfs.NewCrashableMem())
	opts.Roots = []keyring.RootKey{root}
	opts.KeyLease = lease
	opts.clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	opts.tune.scheduleTick = time.Millisecond
	s, err := Open(t.Context(), crashDir, opts)
	require.NoError(t, err)
	tab, err := s.CreateTable(t.Context(), "clinic.patients", TableOptions{RootKey: root})
	require.NoError(t, err)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	return root, s, tab
}

// TestLeaseBesideHang ends a lease while a call waits for the key service and has the
// table's lock: nobody is served any more.
func TestLeaseBesideHang(t *testing.T) {
	t.Parallel()
	root, s, tab := hanging(t, 2*time.Second, new(atomic.Int64))
	_, err := tab.Snapshot(t.Context(), "s")
	require.NoError(t, err)
	root.hangs.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := tab.OpenSnapshot(ctx, "s")
		done <- err
	}()
	require.Eventually(t, func() bool { _, err := tab.Get(key); return errors.Is(err, ErrKeyInaccessible) }, 8*time.Second, 10*time.Millisecond)
	cancel()
	require.Error(t, <-done)
	root.hangs.Store(false)
	require.Eventually(t, func() bool { _, err := tab.Get(key); return err == nil }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, s.Close())
}

// TestCloseBesideHang closes a store whose scheduler waits for a key service.
func TestCloseBesideHang(t *testing.T) {
	t.Parallel()
	ahead := new(atomic.Int64)
	root, s, tab := hanging(t, time.Hour, ahead)
	require.NoError(t, tab.SetSchedule(t.Context(), Schedule{DataAge: 10 * time.Hour}))
	require.NoError(t, tab.Close())
	root.hangs.Store(true)
	ahead.Store(int64(9*time.Hour + time.Minute))
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, within("close", s.Close))
}

// TestSchedulesBesideEachOther has a table whose re-encryption waits for a view: it
// says so, and another table's turn comes.
func TestSchedulesBesideEachOther(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	ahead := new(atomic.Int64)
	_, s, tab := hanging(t, time.Hour, ahead)
	other, err := s.CreateTable(ctx, "clinic.visits", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.SetSchedule(ctx, Schedule{DataAge: 10 * time.Hour}))
	v, err := tab.View()
	require.NoError(t, err)
	ahead.Store(int64(9*time.Hour + time.Minute))
	require.Eventually(t, func() bool { return tab.overdue.Load() != nil }, 10*time.Second, time.Millisecond)
	require.NoError(t, other.SetSchedule(ctx, Schedule{KeyAge: 2 * time.Hour}))
	require.Eventually(t, func() bool {
		e, err := s.ring.Entry(other.ID())
		return err == nil && len(e.Versions) == 2
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, v.Close())
	require.Eventually(t, func() bool { return tab.overdue.Load() == nil }, 20*time.Second, time.Millisecond)
	require.NoError(t, s.Close())
}

// TestSnapshotBesideHang makes snapshots and holds of a closed table whose key service does
// not answer: nobody else waits for it.
func TestSnapshotBesideHang(t *testing.T) {
	t.Parallel()
	root, s, tab := hanging(t, 3*time.Second, new(atomic.Int64))
	other, err := s.CreateTable(t.Context(), "clinic.visits", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Close())
	root.hangs.Store(true)
	done := make(chan error, 2)
	go func() {
		_, err := tab.Snapshot(t.Context(), "s")
		done <- err
	}()
	go func() {
		h, err := tab.Hold(t.Context())
		if err == nil {
			err = h.Close()
		}
		done <- err
	}()
	for n := 0; len(done) < 2; n++ { // until both are given up
		began := time.Now()
		_, err := other.Snapshot(t.Context(), fmt.Sprint("s", n))
		require.NoError(t, err)
		require.Less(t, time.Since(began), 2*time.Second)
		time.Sleep(20 * time.Millisecond)
	}
	root.hangs.Store(false)
	<-done
	<-done
	require.NoError(t, s.Close())
}
