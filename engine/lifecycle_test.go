package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// A child is this test binary as another process: childJob names what it does,
// childDir where.
const (
	childJob = "COFRE_TEST_JOB"
	childDir = "COFRE_TEST_DIR"
)

// The jobs that are a test, in a process of its own. What stores leave in
// memory that break, by design, is no leak; elsewhere it is one.
const (
	attackJob  = "attack"
	controlJob = "control"
)

func TestMain(m *testing.M) {
	switch job := os.Getenv(childJob); job {
	case "", attackJob:
		goleak.VerifyTestMain(m)
	case controlJob:
		os.Exit(m.Run())
	default:
		fmt.Print(childJobs[job](os.Getenv(childDir)))
	}
}

// child is this binary as another process.
func child(job, dir string, args ...string) *exec.Cmd {
	exe, err := os.Executable()
	must(err)
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), childJob+"="+job, childDir+"="+dir)
	return cmd
}

// inOwnProcess has a test run in a process of its own, and tells whether this
// is that process. What it says there goes to the test's log.
func inOwnProcess(t *testing.T, job string) bool {
	if os.Getenv(childJob) == job {
		return true
	}
	args := []string{"-test.v", "-test.run=^" + t.Name() + "$"}
	for _, name := range []string{"test.short", "test.timeout"} {
		args = append(args, "-"+name+"="+flag.Lookup(name).Value.String())
	}
	out, err := child(job, "", args...).CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
	require.Contains(t, string(out), "--- PASS: "+t.Name()+"/")
	return false
}

var childJobs = map[string]func(dir string) string{
	"open":   openAsChild,
	"tables": measureTables,
}

// runChild runs a job in another process and returns what it says.
func runChild(t *testing.T, job, dir string) string {
	out, err := child(job, dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// openAsChild opens the store dir/store with the key file dir/keys.
func openAsChild(dir string) string {
	svc, err := local.Open(filepath.Join(dir, "keys"), local.Options{})
	if err != nil {
		return err.Error()
	}
	defer svc.Close()
	root, err := svc.Key("default")
	if err != nil {
		return err.Error()
	}
	s, err := Open(context.Background(), filepath.Join(dir, "store"), Options{RootKey: root, Mode: MustExist})
	switch {
	case errors.Is(err, ErrStoreLocked):
		return "locked"
	case err != nil:
		return err.Error()
	}
	return errors.Join(errors.New("opened"), s.Close()).Error()
}

// newKeys makes a key file dir/keys with a root key.
func newKeys(t *testing.T, dir string) keyring.RootKey {
	svc, err := local.Open(filepath.Join(dir, "keys"), local.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { svc.Close() })
	root, _, err := svc.Ensure(t.Context(), "default")
	require.NoError(t, err)
	return root
}

// fileTree lists the files below dir with sizes and times.
func fileTree(t *testing.T, dir string) (list []string) {
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if d.Name() != lockName { // locking touches it
			list = append(list, fmt.Sprint(p, fi.Size(), fi.ModTime()))
		}
		return err
	}))
	return list
}

func TestOpenModes(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	root := newMemRoot("modes")
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	foreign := filepath.Join(dir, "foreign")
	require.NoError(t, os.Mkdir(foreign, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(foreign, "thesis.tex"), []byte("x"), 0o600))
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.Mkdir(empty, 0o700))
	before := fileTree(t, dir)
	for _, tc := range []struct {
		path  string
		modes []Mode
	}{
		{filepath.Join(dir, "none"), []Mode{MustExist, ReadOnly}},
		{filepath.Join(dir, "none", "below"), []Mode{MustExist, ReadOnly}},
		{empty, []Mode{MustExist, ReadOnly}},
		{file, []Mode{CreateIfMissing, MustExist, ReadOnly}},
		{filepath.Join(file, "below"), []Mode{CreateIfMissing, MustExist, ReadOnly}},
		{foreign, []Mode{CreateIfMissing, MustExist, ReadOnly}},
	} {
		for _, mode := range tc.modes {
			_, err := Open(ctx, tc.path, Options{RootKey: root, Mode: mode})
			require.ErrorIs(t, err, ErrStoreNotFound, "%s in mode %d", tc.path, mode)
		}
	}
	require.Equal(t, before, fileTree(t, dir))

	for _, o := range []Options{
		{}, {RootKey: root, Mode: 9}, {RootKey: root, MemoryBudget: 1}, {RootKey: root, MaxOpenFiles: 1}, {RootKey: root, UnitSize: 1},
	} {
		_, err := Open(ctx, filepath.Join(dir, "none"), o)
		require.Error(t, err)
	}
	require.Equal(t, before, fileTree(t, dir))

	for _, path := range []string{empty, filepath.Join(dir, "deep", "er", "store")} {
		s, err := Open(ctx, path, Options{RootKey: root})
		require.NoError(t, err)
		require.Equal(t, path, s.Dir())
		require.Empty(t, s.Tables())
		requireVerified(t, s)
		require.NoError(t, s.Close())
		again := openStore(t, path, Options{RootKey: root, Mode: MustExist})
		require.Equal(t, s.ID(), again.ID())
	}
}

// An roDisk is a disk that is mounted for reading only.
type roDisk struct{ *faultFS }

func (roDisk) Lock(string) (io.Closer, error) { return nil, syscall.EROFS }

// TestReadOnly reads a store that was closed and one that crashed, on a disk
// that takes no change, and wants none to be tried.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem, root := vfs.NewCrashableMem(), newMemRoot("ro")
	opts := crashOptions(root, mem)
	s, err := Open(ctx, crashDir, opts)
	require.NoError(t, err)
	tab := memTable(t, s, "read.only")
	memTable(t, s, "read.other")
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	_, err = tab.Snapshot(ctx, "s")
	require.NoError(t, err)
	require.NoError(t, tab.Put([]byte("later"), []byte("w"), nil))
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, s.Close())
	want := state{"k": "v", "later": "w"}

	for name, disk := range map[string]vfs.FS{"closed": mem, "crashed": crashed} {
		q := &faultFS{FS: disk}
		q.arm(faultEROFS, 1, true, "")
		o := opts
		o.FS, o.Mode, o.IdleTimeout = roDisk{q}, ReadOnly, time.Millisecond
		s, err := Open(ctx, crashDir, o)
		require.NoError(t, err, name)
		tab, err := s.Table("read.only")
		require.NoError(t, err)
		got, err := tab.contents()
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
		v, err := tab.OpenSnapshot(ctx, "s")
		require.NoError(t, err)
		got, err = v.contents()
		require.NoError(t, errors.Join(err, v.Close()))
		require.Equal(t, state{"k": "v"}, got)

		_, create := s.CreateTable(ctx, "read.new", TableOptions{})
		_, drop := s.DropTable(ctx, "read.only", DropOptions{WithSnapshots: true})
		_, snapshot := tab.Snapshot(ctx, "t")
		b := tab.NewBatch()
		require.NoError(t, b.Put(key, nil))
		for i, err := range []error{
			create, drop, snapshot, tab.Put(key, nil, nil), tab.Delete(key, nil), tab.DeleteRange(key, []byte("z"), nil),
			b.Commit(nil), tab.Flush(), tab.Compact(ctx, nil, nil), tab.DropSnapshot(ctx, "s"),
		} {
			require.ErrorIs(t, err, ErrReadOnly, "write %d", i)
		}
		_, err = s.Stats(ctx)
		require.NoError(t, err)
		require.NoError(t, tab.Reopen(ctx))
		requireVerified(t, s)
		require.NoError(t, s.Close())
		seen, _ := q.heal()
		require.Zero(t, seen, "%s: changes were tried", name)
	}
}

func TestReadOnlyOnDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	root := newMemRoot("ro")
	s := openStore(t, dir, Options{RootKey: root})
	tab := memTable(t, s, "read.only")
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	require.NoError(t, s.Close())
	before := fileTree(t, dir)
	s = openStore(t, dir, Options{RootKey: root, Mode: ReadOnly})
	tab, err := s.Table("read.only")
	require.NoError(t, err)
	_, err = tab.Get(key)
	require.NoError(t, err)
	requireVerified(t, s)
	require.NoError(t, s.Close())
	require.Equal(t, before, fileTree(t, dir))
}

func TestLock(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	root := newKeys(t, dir)
	store := filepath.Join(dir, "store")
	s := openStore(t, store, Options{RootKey: root})
	alias := filepath.Join(dir, "alias")
	require.NoError(t, os.Symlink(store, alias))
	for _, path := range []string{store, store + "/.", alias} {
		for _, mode := range []Mode{CreateIfMissing, MustExist, ReadOnly} {
			_, err := Open(ctx, path, Options{RootKey: root, Mode: mode})
			require.ErrorIs(t, err, ErrStoreLocked, "%s in mode %d", path, mode)
		}
	}
	require.Equal(t, "locked", runChild(t, "open", dir))
	requireVerified(t, s)
	require.NoError(t, s.Close())
	require.Equal(t, "opened", runChild(t, "open", dir))
	openStore(t, store, Options{RootKey: root, Mode: MustExist})
}

// isOpen tells whether a table is in memory.
func isOpen(s *Store, name string) bool {
	for _, info := range s.Tables() {
		if info.Name == name {
			return info.Open
		}
	}
	return false
}

func TestIdleClose(t *testing.T) {
	t.Parallel()
	s := memStore(t, func(o *Options) { o.IdleTimeout = 20 * time.Millisecond })
	tab := memTable(t, s, "idle.table")
	closed := func() bool { return !isOpen(s, "idle.table") }
	for range 2 {
		require.NoError(t, tab.Put(key, []byte("v"), &WriteOptions{NoSync: true}))
		require.Eventually(t, closed, 10*time.Second, time.Millisecond)
		v, err := tab.Get(key)
		require.NoError(t, err)
		require.Equal(t, "v", string(v))
		require.True(t, isOpen(s, "idle.table"))
	}
	// What is read keeps it open.
	v, err := tab.View()
	require.NoError(t, err)
	require.Never(t, closed, 100*time.Millisecond, 10*time.Millisecond)
	_, err = v.Get(key)
	require.NoError(t, err)
	require.NoError(t, v.Close())
	require.Eventually(t, closed, 10*time.Second, time.Millisecond)
	requireVerified(t, s)
}

func TestMemoryBudget(t *testing.T) {
	t.Parallel()
	const budget = 8 << 20
	s := memStore(t, func(o *Options) { o.MemoryBudget, o.tune = budget, tuning{} })
	for n := range 4 {
		tab := memTable(t, s, fmt.Sprintf("budget.t%d", n))
		v := make([]byte, 64<<10)
		for i := range 80 {
			require.NoError(t, tab.Put(fmt.Appendf(nil, "%d", i), v, &WriteOptions{NoSync: true}))
		}
		require.NoError(t, tab.Flush())
		_, err := tab.contents()
		require.NoError(t, err)
		m, err := tab.Metrics()
		require.NoError(t, err)
		require.LessOrEqual(t, m.BlockCacheBytes, int64(budget))
		require.LessOrEqual(t, m.MemTableBytes, uint64(budget/8*4))
		require.Positive(t, m.Flushes)
		require.EqualValues(t, 1, m.KeyVersion)
	}
	requireVerified(t, s)
}

// TestRoots has tables with roots of their own, and roots that fail.
func TestRoots(t *testing.T) {
	t.Parallel()
	ctx, mem := t.Context(), vfs.NewMem()
	own, other, strange := newMemRoot("own"), newMemRoot("other"), newMemRoot("strange")
	opts := crashOptions(own, mem)
	opts.Roots = []keyring.RootKey{other}
	s, err := Open(ctx, crashDir, opts)
	require.NoError(t, err)
	mine := memTable(t, s, "roots.mine")
	theirs, err := s.CreateTable(ctx, "roots.theirs", TableOptions{RootKey: other})
	require.NoError(t, err)
	_, err = s.CreateTable(ctx, "roots.strange", TableOptions{RootKey: strange})
	require.ErrorIs(t, err, keyring.ErrRootNotPinned)
	require.Zero(t, strange.wraps)
	for _, tab := range []*Table{mine, theirs} {
		require.NoError(t, tab.Put(key, nil, nil))
		require.NoError(t, tab.Close())
	}
	require.Equal(t, []string{"mem:own"}, s.Tables()[0].RootKeys)
	require.Equal(t, []string{"mem:other"}, s.Tables()[1].RootKeys)

	for _, class := range []error{keyring.ErrKeyDenied, keyring.ErrKeyNotFound, keyring.ErrKeyUnreachable, keyring.ErrKeyThrottled} {
		other.fail(class)
		_, err := theirs.Get(key)
		require.ErrorIs(t, err, class)
		require.ErrorIs(t, err, ErrKeyInaccessible)
		require.NotErrorIs(t, err, ErrCorruption)
		_, err = theirs.Snapshots(ctx)
		require.ErrorIs(t, err, ErrKeyInaccessible)
		_, err = s.CreateTable(ctx, "roots.more", TableOptions{RootKey: other})
		require.ErrorIs(t, err, ErrKeyInaccessible)
		require.Len(t, s.ring.Tables(), 2)
		_, err = mine.Get(key)
		require.NoError(t, err)
		st, err := s.Stats(ctx)
		require.NoError(t, err)
		require.Empty(t, st.Tables[0].Err)
		require.NotEmpty(t, st.Tables[1].Err)
		_, err = Open(ctx, "elsewhere", Options{RootKey: other, FS: vfs.NewMem()})
		require.ErrorIs(t, err, ErrKeyInaccessible)
	}
	other.fail(nil)
	require.NoError(t, theirs.Put(key, nil, nil))
	requireVerified(t, s)
	require.NoError(t, s.Close())

	// Without its pin a table does not open, and its root is not called.
	opts.Roots = nil
	calls := other.unwrap
	s, err = Open(ctx, crashDir, opts)
	require.NoError(t, err)
	theirs, err = s.Table("roots.theirs")
	require.NoError(t, err)
	_, err = theirs.Get(key)
	require.ErrorIs(t, err, keyring.ErrRootNotPinned)
	require.Equal(t, calls, other.unwrap)
	mine, err = s.Table("roots.mine")
	require.NoError(t, err)
	_, err = mine.Get(key)
	require.NoError(t, err)
	require.NoError(t, s.Close())

	// The store with another root; with another key of the same name.
	opts.RootKey = strange
	_, err = Open(ctx, crashDir, opts)
	require.ErrorIs(t, err, keyring.ErrRootNotPinned)
	require.Zero(t, strange.unwrap)
	opts.RootKey = newMemRoot("own")
	_, err = Open(ctx, crashDir, opts)
	require.ErrorIs(t, err, keyring.ErrWrongContext)
	require.NotErrorIs(t, err, ErrKeyInaccessible)

	// A table whose root is denied can be dropped.
	opts.RootKey, opts.Roots = own, []keyring.RootKey{other}
	other.fail(keyring.ErrKeyDenied)
	s = openStore(t, crashDir, opts)
	rep, err := s.DropTable(ctx, "roots.theirs", DropOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"mem:other"}, rep.RootKeys)
	requireVerified(t, s)
}

// TestCopyWithoutRoot opens a copy of a store where there is a key service,
// and a key of the same name in it, but not the root key.
func TestCopyWithoutRoot(t *testing.T) {
	t.Parallel()
	ctx, here, there := t.Context(), t.TempDir(), t.TempDir()
	s, err := Open(ctx, filepath.Join(here, "store"), Options{RootKey: newKeys(t, here)})
	require.NoError(t, err)
	require.NoError(t, memTable(t, s, "copy.table").Put(key, nil, nil))
	require.NoError(t, s.Close())
	copied := filepath.Join(there, "store")
	require.NoError(t, os.CopyFS(copied, os.DirFS(filepath.Join(here, "store"))))
	before := fileTree(t, copied)
	root := newKeys(t, there)
	for _, mode := range []Mode{CreateIfMissing, MustExist, ReadOnly} {
		_, err = Open(ctx, copied, Options{RootKey: root, Mode: mode})
		require.ErrorIs(t, err, keyring.ErrKeyNotFound)
		require.ErrorIs(t, err, ErrKeyInaccessible)
		require.NotErrorIs(t, err, ErrCorruption)
		require.NotErrorIs(t, err, keyring.ErrWrongContext)
	}
	// What the attempts leave is a record of each.
	require.NoError(t, os.Remove(filepath.Join(copied, auditDir, "provisional.jsonl")))
	sameAudit := func(s string) bool { return strings.HasPrefix(s, filepath.Join(copied, auditDir)) }
	require.Equal(t, slices.DeleteFunc(before, sameAudit), slices.DeleteFunc(fileTree(t, copied), sameAudit))
	require.Equal(t, readTree(t, filepath.Join(here, "store", auditDir)), readTree(t, filepath.Join(copied, auditDir)))
}

// TestOlderStore puts an older copy of the whole store back.
func TestOlderStore(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	opts := Options{RootKey: newKeys(t, dir)}
	path := filepath.Join(dir, "store")
	s := openStore(t, path, opts)
	require.NoError(t, memTable(t, s, "older.one").Put(key, nil, nil))
	require.NoError(t, s.Close())
	older := filepath.Join(dir, "older")
	require.NoError(t, os.CopyFS(older, os.DirFS(path)))
	s = openStore(t, path, opts)
	memTable(t, s, "older.two")
	require.NoError(t, s.Close())

	_, err := Open(ctx, older, opts)
	require.ErrorIs(t, err, keyring.ErrRollback)
	require.ErrorIs(t, err, ErrCorruption)
	opts.AcceptOlderKeyring = true
	s = openStore(t, older, opts)
	require.Len(t, s.Tables(), 1)
	requireVerified(t, s)
	require.NoError(t, s.Close())
	opts.AcceptOlderKeyring = false
	s = openStore(t, older, opts)
	requireVerified(t, s)
	_, err = Open(ctx, path, opts)
	require.ErrorIs(t, err, keyring.ErrRollback)
}

func TestDropTable(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := memStore(t, nil)
	tab := memTable(t, s, "drop.table")
	_, err := s.CreateTable(ctx, "drop.table", TableOptions{})
	require.ErrorIs(t, err, ErrTableExists)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	_, err = tab.Snapshot(ctx, "b")
	require.NoError(t, err)
	_, err = tab.Snapshot(ctx, "a")
	require.NoError(t, err)
	_, err = s.DropTable(ctx, "drop.table", DropOptions{})
	require.ErrorIs(t, err, ErrSnapshotsExist)
	v, err := tab.Get(key)
	require.NoError(t, err)
	require.Equal(t, "v", string(v))
	view, err := tab.OpenSnapshot(ctx, "a")
	require.NoError(t, err)
	scan := tab.Scan(ScanOptions{})

	rep, err := s.DropTable(ctx, "drop.table", DropOptions{WithSnapshots: true})
	require.NoError(t, err)
	require.Equal(t, "drop.table", rep.Table)
	require.Equal(t, tab.ID(), rep.ID)
	require.Equal(t, []uint32{1}, rep.KeyVersions)
	require.Equal(t, []string{s.opts.RootKey.URI()}, rep.RootKeys)
	require.Equal(t, []string{"a", "b"}, rep.Snapshots)
	require.Greater(t, rep.Files, 10)
	require.Positive(t, rep.Bytes)
	require.Contains(t, rep.StillOpenable, s.opts.RootKey.URI())
	_, err = s.fs.Stat(tab.dir)
	require.ErrorIs(t, err, os.ErrNotExist)

	_, err = view.Get(key)
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, view.Close())
	for _, err := range scan {
		require.ErrorIs(t, err, ErrTableNotFound)
	}
	_, get := tab.Get(key)
	_, snapshot := tab.Snapshot(ctx, "c")
	_, snapshots := tab.Snapshots(ctx)
	_, open := tab.OpenSnapshot(ctx, "a")
	_, table := s.Table("drop.table")
	_, drop := s.DropTable(ctx, "drop.table", DropOptions{})
	for i, err := range []error{get, snapshot, snapshots, open, table, drop, tab.Put(key, nil, nil), tab.DropSnapshot(ctx, "a"), tab.Reopen(ctx)} {
		require.ErrorIs(t, err, ErrTableNotFound, "use %d", i)
	}
	require.NoError(t, tab.Close())

	again := memTable(t, s, "drop.table")
	require.NotEqual(t, tab.ID(), again.ID())
	_, err = again.Get(key)
	require.ErrorIs(t, err, ErrNotFound)
	requireVerified(t, s)
}

func TestNames(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := memStore(t, nil)
	long := strings.Repeat("a", 47)
	for _, name := range []string{
		"", ".", "a", "a.", ".a", "a.b.c", "A.b", "a.B", "1a.b", "a.1", "_a.b", "a b.c", "a.b\n", "a/b.c", "../a.b", "é.a", "a.b\x00",
		long + "a.b", "a." + long + "a", strings.Repeat("x", 1<<20),
	} {
		_, err := s.CreateTable(ctx, name, TableOptions{})
		require.ErrorIs(t, err, ErrInvalidName, "%.50q", name)
		require.Less(t, len(err.Error()), 1000)
		_, err = s.Table(name)
		require.ErrorIs(t, err, ErrInvalidName)
	}
	var want []string
	for _, name := range []string{"a.b", long + "." + long, "a1_.b_2"} {
		memTable(t, s, name)
		want = append(want, name)
	}
	var got []string
	for _, info := range s.Tables() {
		got = append(got, info.Name)
	}
	require.ElementsMatch(t, want, got)
	require.IsIncreasing(t, got)

	tab, err := s.Table("a.b")
	require.NoError(t, err)
	for _, name := range []string{"", ".", "..", "-a", "a/b", "a b", "a\n", strings.Repeat("a", 97)} {
		_, err := tab.Snapshot(ctx, name)
		require.ErrorIs(t, err, ErrInvalidName, "%q", name)
	}
	for _, name := range []string{"a", "2026-07-01T12:00:00+02:00", strings.Repeat("a", 96)} {
		_, err := tab.Snapshot(ctx, name)
		require.NoError(t, err)
	}
	_, err = s.CreateTable(ctx, "a.c", TableOptions{SeparateValuesFrom: -1})
	require.Error(t, err)
	requireVerified(t, s)
}
