package engine

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// newFaulty opens a store with one table on a disk whose changes can fail.
func newFaulty(t *testing.T, change func(*Options)) (*faultFS, *Store, *Table) {
	q := &faultFS{FS: vfs.NewCrashableMem()}
	o := crashOptions(newMemRoot("fault"), q)
	if change != nil {
		change(&o)
	}
	s, err := Open(context.Background(), crashDir, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	tab, err := s.CreateTable(context.Background(), faultTable, TableOptions{})
	require.NoError(t, err)
	return q, s, tab
}

// again closes a store, on a disk that is well, and opens it anew.
func again(t *testing.T, q *faultFS, s *Store, wantClose bool) *Store {
	q.heal()
	err := s.Close()
	if wantClose {
		require.NoError(t, err)
	}
	o := s.opts
	o.Mode = MustExist
	n, err := Open(context.Background(), crashDir, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

var key = []byte("k")

func TestDiskFull(t *testing.T) {
	t.Parallel()
	q, s, tab := newFaulty(t, func(o *Options) { o.DiskFullWait = 50 * time.Millisecond })
	require.NoError(t, tab.Put(key, []byte("before"), nil))
	q.arm(faultENOSPC, 1, true, "")
	start := time.Now()
	require.ErrorIs(t, tab.Put([]byte("refused"), nil, nil), ErrDiskFull)
	require.GreaterOrEqual(t, time.Since(start), 50*time.Millisecond)

	for range 2 {
		v, err := tab.Get(key)
		require.NoError(t, err)
		require.Equal(t, "before", string(v))
		require.ErrorIs(t, tab.Put(key, []byte("x"), nil), ErrDiskFull)
		require.ErrorIs(t, tab.Flush(), ErrDiskFull)
		_, err = tab.Snapshot(t.Context(), "s")
		require.ErrorIs(t, err, ErrDiskFull)
		b := tab.NewBatch()
		require.NoError(t, b.Put(key, []byte("x")))
		require.ErrorIs(t, b.Commit(nil), ErrDiskFull)
		require.Equal(t, 1, b.Len())
	}
	// A try for writing finds the disk still full.
	tab.mu.Lock()
	tab.tried = time.Time{}
	tab.mu.Unlock()
	require.ErrorIs(t, tab.Put(key, []byte("x"), nil), ErrDiskFull)
	// So does a table that is closed meanwhile.
	require.NoError(t, tab.Close())
	require.ErrorIs(t, tab.Put(key, []byte("x"), nil), ErrDiskFull)
	v, err := tab.Get(key)
	require.NoError(t, err)
	require.Equal(t, "before", string(v))

	q.heal()
	require.Eventually(t, func() bool { return tab.Put(key, []byte("after"), nil) == nil }, 10*time.Second, 10*time.Millisecond)
	s = again(t, q, s, true)
	tab, err = s.Table(faultTable)
	require.NoError(t, err)
	v, err = tab.Get(key)
	require.NoError(t, err)
	require.Equal(t, "after", string(v))
	requireVerified(t, s)
}

// TestDiskFullAtOpen opens a table that was closed cleanly on a full disk: it
// can be read.
func TestDiskFullAtOpen(t *testing.T) {
	t.Parallel()
	q, s, tab := newFaulty(t, func(o *Options) { o.DiskFullWait = -1 })
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	require.NoError(t, tab.Close())
	q.arm(faultENOSPC, 1, true, "")
	_, err := tab.Get(key)
	require.NoError(t, err)
	require.ErrorIs(t, tab.Put(key, nil, nil), ErrDiskFull)
	q.heal()
	require.NoError(t, tab.Reopen(t.Context()))
	require.NoError(t, tab.Put(key, nil, nil))
	requireVerified(t, s)
}

// TestSpaceInTime gives space back while a write waits for it.
func TestSpaceInTime(t *testing.T) {
	t.Parallel()
	q, s, tab := newFaulty(t, func(o *Options) { o.DiskFullWait = time.Minute })
	q.arm(faultENOSPC, 1, true, "")
	done := make(chan error, 1)
	go func() { done <- tab.Put(key, []byte("v"), nil) }()
	require.Eventually(t, func() bool { q.mu.Lock(); defer q.mu.Unlock(); return q.hits > 1 }, 10*time.Second, time.Millisecond)
	q.heal()
	require.NoError(t, <-done)
	requireVerified(t, s)
}

// TestPoisonStays wants a table that failed in the background to stay poisoned
// until it is reopened, whoever closes it meanwhile.
func TestPoisonStays(t *testing.T) {
	t.Parallel()
	for name, closeIt := range map[string]func(*Store, *Table) error{
		"nobody": func(_ *Store, t *Table) error { return t.Put(key, nil, nil) },
		"caller": func(_ *Store, t *Table) error { return t.Close() },
		"janitor": func(_ *Store, t *Table) error {
			t.closeIfIdle() // it was used
			t.closeIfIdle()
			if t.inst.Load() != nil {
				return nil
			}
			return ErrPoisoned
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q, s, tab := newFaulty(t, nil)
			require.NoError(t, tab.Put(key, []byte("v"), nil))
			q.arm(faultEIO, 1, false, "")
			// Nobody has been told of this failure.
			i := tab.inst.Load()
			_ = i.db.Set([]byte("lost"), []byte("v"), pebble.Sync)
			require.Error(t, i.hole.Err())
			require.ErrorIs(t, closeIt(s, tab), ErrPoisoned)
			require.NoError(t, stuck(tab))
			require.NoError(t, tab.Reopen(t.Context()))
			_, err := tab.Get(key)
			require.NoError(t, err)
			_, err = tab.Get([]byte("lost"))
			require.ErrorIs(t, err, ErrNotFound)
			requireVerified(t, s)
		})
	}
}

// keyringSync makes the sync behind the next rename of a keyring fail: the
// change is on the disk or not, and nobody knows.
func keyringSync(q *faultFS) {
	q.arm(fault{name: "keyring sync", err: syscall.EIO, ops: "sync"}, 2, false, crashDir+"/keyring")
}

// TestUncertainCreate fails a creation so late that the next open finds it.
func TestUncertainCreate(t *testing.T) {
	t.Parallel()
	q, s, _ := newFaulty(t, nil)
	// The second rename makes the table live. Syncs of the keyring's directory
	// and files: temporary file and directory, the journal, and again.
	q.arm(fault{name: "keyring sync", err: syscall.EIO, ops: "sync"}, 5, false, crashDir+"/keyring")
	_, err := s.CreateTable(t.Context(), "fault.new", TableOptions{})
	require.ErrorIs(t, err, keyring.ErrPoisoned)
	s = again(t, q, s, false)
	tab, err := s.Table("fault.new")
	require.NoError(t, err)
	require.NoError(t, tab.Put(key, nil, nil))
	requireVerified(t, s)
}

// TestUncertainCreateAgain tries again, in the same process, what failed so late:
// the table that the next open finds is whole.
func TestUncertainCreateAgain(t *testing.T) {
	t.Parallel()
	q, s, _ := newFaulty(t, nil)
	q.arm(fault{name: "keyring sync", err: syscall.EIO, ops: "sync"}, 5, false, crashDir+"/keyring")
	_, first := s.CreateTable(t.Context(), "fault.new", TableOptions{})
	require.ErrorIs(t, first, keyring.ErrPoisoned)
	dirs := tableDirs(t, q)
	for range 2 {
		_, err := s.CreateTable(t.Context(), "fault.new", TableOptions{})
		require.ErrorIs(t, err, keyring.ErrPoisoned)
		require.ErrorIs(t, err, syscall.EIO)
		require.ElementsMatch(t, dirs, tableDirs(t, q))
	}
	s = again(t, q, s, false)
	tab, err := s.Table("fault.new")
	require.NoError(t, err)
	_, err = tab.Get(key)
	require.ErrorIs(t, err, ErrNotFound)
	require.NoError(t, tab.Put(key, nil, nil))
	requireVerified(t, s)
}

// TestUncertainDrop fails a drop so late that the next open finds it done: no
// write may be acknowledged after it.
func TestUncertainDrop(t *testing.T) {
	t.Parallel()
	q, s, tab := newFaulty(t, nil)
	require.NoError(t, tab.Close())
	keyringSync(q)
	_, err := s.DropTable(t.Context(), faultTable, DropOptions{})
	require.ErrorIs(t, err, keyring.ErrPoisoned)
	require.NoError(t, stuck(tab))
	require.ErrorIs(t, tab.Reopen(t.Context()), ErrPoisoned)
	s = again(t, q, s, false)
	_, err = s.Table(faultTable)
	require.ErrorIs(t, err, ErrTableNotFound)
	requireVerified(t, s)
}

// TestUncertainSnapshot fails a snapshot so late that the next open finds it.
func TestUncertainSnapshot(t *testing.T) {
	t.Parallel()
	q, s, tab := newFaulty(t, nil)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	keyringSync(q)
	_, err := tab.Snapshot(t.Context(), "s")
	require.ErrorIs(t, err, keyring.ErrPoisoned)
	// The table opens again, and removes snapshots that it does not know.
	require.NoError(t, tab.Close())
	require.NoError(t, tab.Put(key, []byte("w"), nil))
	s = again(t, q, s, false)
	tab, err = s.Table(faultTable)
	require.NoError(t, err)
	requireSnapshot(t, tab, "s", state{"k": "v"})
	requireVerified(t, s)
}

// TestCreateAgain creates a table whose creation failed and could not be
// cleaned up.
func TestCreateAgain(t *testing.T) {
	t.Parallel()
	q, s, _ := newFaulty(t, nil)
	q.arm(faultEIO, 8, true, "")
	_, err := s.CreateTable(t.Context(), "fault.new", TableOptions{})
	require.ErrorIs(t, err, syscall.EIO)
	require.NotErrorIs(t, err, keyring.ErrPoisoned)
	require.Len(t, s.ring.Tables(), 2)
	q.heal()
	tab, err := s.CreateTable(t.Context(), "fault.new", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Put(key, nil, nil))
	requireVerified(t, s)
}

// tableDirs are the directories of tables that a disk has.
func tableDirs(t *testing.T, fs vfs.FS) []string {
	names, err := fs.List(fs.PathJoin(crashDir, tablesDir))
	require.NoError(t, err)
	return names
}

// TestFailedRemovalIsRemembered fails a creation, and the removal of what it
// left: the next open removes it.
func TestFailedRemovalIsRemembered(t *testing.T) {
	t.Parallel()
	q, s, _ := newFaulty(t, nil)
	q.arm(fault{name: "no change", err: syscall.EIO, ops: "create remove"}, 3, true, s.path(tablesDir))
	_, err := s.CreateTable(t.Context(), "fault.new", TableOptions{})
	require.ErrorIs(t, err, syscall.EIO)
	require.Len(t, tableDirs(t, q), 2)
	again(t, q, s, true)
	require.Len(t, tableDirs(t, q), 1)
}

// TestRemovalIsDurable fails a creation, and cuts the power once what it left
// is removed: the directory does not come back, for nobody would know of it.
func TestRemovalIsDurable(t *testing.T) {
	t.Parallel()
	q, s, _ := newFaulty(t, nil)
	q.arm(fault{name: "no creation", err: syscall.EIO, ops: "create"}, 3, true, s.path(tablesDir))
	_, err := s.CreateTable(t.Context(), "fault.new", TableOptions{})
	require.ErrorIs(t, err, syscall.EIO)
	q.heal()
	require.Len(t, tableDirs(t, q), 1)
	require.Len(t, tableDirs(t, q.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})), 1)
}

// An openFiles counts the open handles on journals.
type openFiles struct {
	vfs.FS
	n atomic.Int32
}

func (o *openFiles) Unwrap() vfs.FS { return o.FS }

func (o *openFiles) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := o.FS.Create(name, c)
	if err != nil || !strings.Contains(name, journalPrefix) {
		return f, err
	}
	o.n.Add(1)
	return &countedFile{File: f, o: o}, nil
}

type countedFile struct {
	vfs.File
	o *openFiles
}

func (f *countedFile) Close() error {
	f.o.n.Add(-1)
	return f.File.Close()
}

// TestFailedOpenClosesJournal fails an open after its journal was made.
func TestFailedOpenClosesJournal(t *testing.T) {
	t.Parallel()
	o := &openFiles{FS: vfs.NewMem()}
	opts := crashOptions(newMemRoot("journal"), o)
	s, err := Open(t.Context(), crashDir, opts)
	require.NoError(t, err)
	require.EqualValues(t, 1, o.n.Load())
	tables := s.path(tablesDir)
	require.NoError(t, s.Close())
	require.NoError(t, o.RemoveAll(tables))
	f, err := o.Create(tables, vfs.WriteCategoryUnspecified)
	require.NoError(t, errors.Join(err, f.Close()))
	_, err = Open(t.Context(), crashDir, opts)
	require.ErrorIs(t, err, ErrCorruption)
	require.Zero(t, o.n.Load())
}

// TestSnapshotAfterFailedOpen takes a snapshot where Pebble has opened without
// writing a MANIFEST.
func TestSnapshotAfterFailedOpen(t *testing.T) {
	t.Parallel()
	q, s, tab := newFaulty(t, nil)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	require.NoError(t, tab.Close())
	q.arm(fault{name: "removal", err: syscall.EIO, ops: "remove"}, 1, false, tab.dir)
	_, err := tab.Get(key)
	require.ErrorIs(t, err, ErrPoisoned)
	_, err = tab.Snapshot(t.Context(), "s")
	require.NoError(t, err)
	requireSnapshot(t, tab, "s", state{"k": "v"})
	requireVerified(t, s)
}

// TestPoisonEndsStall poisons a table while a write waits for its compactions.
func TestPoisonEndsStall(t *testing.T) {
	t.Parallel()
	q, _, tab := newFaulty(t, func(o *Options) {
		o.tune.stallSublevels, o.tune.stallWait, o.tune.noCompactions = 1, time.Hour, true
	})
	require.NoError(t, tab.Put(key, nil, nil))
	require.NoError(t, tab.Flush())
	done := make(chan error, 1)
	go func() { done <- tab.Put(key, nil, nil) }()
	q.arm(faultEIO, 1, false, "")
	i := tab.inst.Load()
	require.Eventually(t, func() bool { return i.refs.Load() > 0 }, 10*time.Second, time.Millisecond)
	require.NoError(t, within("flush", func() error {
		_ = i.db.Set([]byte("behind its back"), nil, nil)
		return nil
	}))
	require.ErrorIs(t, within("write", func() error { return <-done }), ErrPoisoned)
}

// TestCloseTellsOfAFullDisk loses a write to a disk that is full: the close does
// not call the table poisoned.
func TestCloseTellsOfAFullDisk(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, ErrDiskFull} {
		i := new(instance)
		i.unsynced.Store(true)
		tab := new(Table)
		tab.lose(i, cause)
		require.ErrorIs(t, tab.missing, ErrDiskFull)
		require.NotErrorIs(t, tab.missing, ErrPoisoned)
		tab.lose(i, syscall.EIO)
		require.ErrorIs(t, tab.missing, cause, "the first failure counts")
	}
}

// TestCloseTellsOfLostWrites fails the disk after a write that was not synced.
// Its close says once that it is lost, whoever has seen the failure before, and
// says nothing where every write was synced.
func TestCloseTellsOfLostWrites(t *testing.T) {
	t.Parallel()
	for _, noSync := range []bool{true, false} {
		for _, reopened := range []bool{true, false} {
			h, s, tab := newHooked(t)
			require.NoError(t, tab.Put([]byte("a"), nil, &WriteOptions{NoSync: noSync}))
			h.dead.Store(true)
			require.ErrorIs(t, tab.Put([]byte("b"), nil, nil), ErrPoisoned)
			require.ErrorIs(t, tab.Put([]byte("c"), nil, nil), ErrPoisoned)
			h.dead.Store(false)
			if reopened {
				require.NoError(t, tab.Reopen(t.Context()))
			}
			err := tab.Close()
			if noSync && !reopened {
				require.ErrorIs(t, err, ErrPoisoned)
				require.ErrorContains(t, err, "writes without a sync are lost")
			} else {
				require.NoError(t, err)
			}
			require.NoError(t, tab.Close())
			require.NoError(t, s.Close())
		}
	}
}
