package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

func TestModes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	root := newMemRoot("modes")
	base := t.TempDir()
	file := filepath.Join(base, "file")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	foreign := filepath.Join(base, "foreign")
	require.NoError(t, os.MkdirAll(foreign, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(foreign, "thesis.txt"), nil, 0o600))
	store := filepath.Join(base, "store")
	for _, tc := range []struct {
		dir  string
		mode Mode
	}{
		{store, MustExist}, {store, ReadOnly},
		{file, CreateIfMissing}, {file, MustExist},
		{foreign, CreateIfMissing}, {foreign, ReadOnly},
	} {
		_, err := Open(ctx, tc.dir, Options{RootKey: root, Mode: tc.mode})
		require.ErrorIs(t, err, ErrStoreNotFound, "%+v", tc)
	}
	_, err := os.Stat(store)
	require.ErrorIs(t, err, os.ErrNotExist, "nothing is made")
	names, err := os.ReadDir(foreign)
	require.NoError(t, err)
	require.Len(t, names, 1, "nothing is added")
	_, err = Open(ctx, store, Options{})
	require.ErrorContains(t, err, "RootKey")

	s, err := Open(ctx, store, Options{RootKey: root})
	require.NoError(t, err)
	tab, err := s.CreateTable(ctx, "app.users", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Put([]byte("k"), []byte("v"), nil))
	require.NoError(t, s.Close())

	before := tree(t, store)
	s, err = Open(ctx, store, Options{RootKey: root, Mode: ReadOnly, FS: readOnlyFS{vfs.Default}})
	require.NoError(t, err)
	tab, err = s.Table("app.users")
	require.NoError(t, err)
	v, err := tab.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(v))
	for what, err := range map[string]error{
		"put":    tab.Put([]byte("k"), []byte("w"), nil),
		"delete": tab.Delete([]byte("k"), nil),
		"range":  tab.DeleteRange([]byte("a"), []byte("z"), nil),
		"flush":  tab.Flush(),
		"drop":   second(s.DropTable(ctx, "app.users", DropOptions{})),
		"create": second(s.CreateTable(ctx, "app.more", TableOptions{})),
		"snap":   second(tab.Snapshot(ctx, "s")),
	} {
		require.ErrorIs(t, err, ErrReadOnly, what)
	}
	rep, err := s.Verify(ctx, func(f Finding) { t.Errorf("%+v", f) })
	require.NoError(t, err)
	require.Zero(t, rep.Faults)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "Close is idempotent")
	require.Equal(t, before, tree(t, store), "reading changes nothing")
}

func second[T any](_ T, err error) error { return err }

// tree is the contents of a directory, by path.
func tree(t *testing.T, dir string) map[string]string {
	all := make(map[string]string)
	require.NoError(t, filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if err != nil || fi.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		all[p] = string(b)
		return err
	}))
	return all
}

// readOnlyFS is a disk that is mounted for reading.
type readOnlyFS struct{ vfs.FS }

func (f readOnlyFS) Unwrap() vfs.FS { return f.FS }

func (readOnlyFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, syscall.EROFS }
func (readOnlyFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, syscall.EROFS
}
func (readOnlyFS) Link(string, string) error          { return syscall.EROFS }
func (readOnlyFS) Remove(string) error                { return syscall.EROFS }
func (readOnlyFS) RemoveAll(string) error             { return syscall.EROFS }
func (readOnlyFS) Rename(string, string) error        { return syscall.EROFS }
func (readOnlyFS) MkdirAll(string, os.FileMode) error { return syscall.EROFS }

// TestLocked wants a store to be open once, however its path is spelled, and
// from whichever process.
func TestLocked(t *testing.T) {
	ctx := context.Background()
	if dir := os.Getenv("COFRE_TEST_LOCKED"); dir != "" {
		_, err := Open(ctx, dir, Options{RootKey: newMemRoot("locked")})
		fmt.Println("locked:", errors.Is(err, ErrStoreLocked))
		return
	}
	dir := t.TempDir()
	s, err := Open(ctx, filepath.Join(dir, "store"), Options{RootKey: newMemRoot("locked")})
	require.NoError(t, err)
	require.NoError(t, os.Symlink("store", filepath.Join(dir, "alias")))
	for _, name := range []string{"store", "./store/", "alias"} {
		for _, mode := range []Mode{CreateIfMissing, ReadOnly} {
			_, err = Open(ctx, dir+"/"+name, Options{RootKey: newMemRoot("locked"), Mode: mode})
			require.ErrorIs(t, err, ErrStoreLocked, name)
		}
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	c := exec.Command(exe, "-test.run=^TestLocked$")
	c.Env = append(os.Environ(), "COFRE_TEST_LOCKED="+filepath.Join(dir, "store"))
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "locked: true")
	require.NoError(t, s.Close())
}

func TestLimitsAndNames(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openStore(t, filepath.Join(t.TempDir(), "store"), Options{RootKey: newMemRoot("limits")})
	for _, name := range []string{"", "users", ".users", "app.", "App.users", "app.users.more", "app.us-ers", "a b.c", "app.\x00", strings.Repeat("a", 60) + ".b", "../x.y"} {
		_, err := s.CreateTable(ctx, name, TableOptions{})
		require.ErrorIs(t, err, ErrInvalidName, "%q", name)
		_, err = s.Table(name)
		require.ErrorIs(t, err, ErrInvalidName, "%q", name)
	}
	tab, err := s.CreateTable(ctx, "app.users", TableOptions{SeparateValuesFrom: 1 << 20})
	require.NoError(t, err)
	_, err = s.CreateTable(ctx, "app.users", TableOptions{})
	require.ErrorIs(t, err, ErrTableExists)
	_, err = s.Table("app.none")
	require.ErrorIs(t, err, ErrTableNotFound)
	for _, key := range [][]byte{nil, {}, make([]byte, MaxKeyLen+1)} {
		require.ErrorIs(t, tab.Put(key, nil, nil), ErrKeyTooLarge)
		_, err := tab.Get(key)
		require.ErrorIs(t, err, ErrKeyTooLarge)
		require.ErrorIs(t, tab.NewBatch().Delete(key), ErrKeyTooLarge)
	}
	require.ErrorIs(t, tab.Put([]byte("k"), make([]byte, MaxValueLen+1), nil), ErrValueTooLarge)
	for _, name := range []string{"", ".", "a/b", "-a", strings.Repeat("a", 97)} {
		_, err := tab.Snapshot(ctx, name)
		require.ErrorIs(t, err, ErrInvalidName, "%q", name)
	}
	// The largest key, an empty value, and a value of many segments and frames.
	long, big := bytes.Repeat([]byte{0xff}, MaxKeyLen), bytes.Repeat([]byte("0123456789abcdef"), 40<<20/16)
	require.NoError(t, tab.Put(long, nil, nil))
	require.NoError(t, tab.Put([]byte("big"), big, nil))
	require.NoError(t, tab.Close())
	v, err := tab.Get(long)
	require.NoError(t, err)
	require.Empty(t, v)
	v, err = tab.Get([]byte("big"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(big, v))
	_, err = tab.Get([]byte("none"))
	require.ErrorIs(t, err, ErrNotFound)
	require.NoError(t, tab.Compact(ctx, nil, nil))
	n, err := tab.ApproximateSize(nil, nil)
	require.NoError(t, err)
	require.Positive(t, n)
	require.Equal(t, []string{string(long)}, collect(t, tab.Scan(ScanOptions{Prefix: []byte{0xff, 0xff}})))
	requireVerified(t, s)
}

func TestScans(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openStore(t, filepath.Join(t.TempDir(), "store"), Options{RootKey: newMemRoot("scans")})
	tab, err := s.CreateTable(ctx, "app.users", TableOptions{})
	require.NoError(t, err)
	var all []string
	for i := range 1000 {
		k := fmt.Sprintf("k%04d", i)
		all = append(all, k)
		require.NoError(t, tab.Put([]byte(k), []byte("v"+k), &WriteOptions{NoSync: true}))
	}
	reversed := func(s []string) (r []string) {
		for i := range s {
			r = append(r, s[len(s)-1-i])
		}
		return r
	}
	require.Equal(t, all, collect(t, tab.Scan(ScanOptions{})))
	require.Equal(t, reversed(all), collect(t, tab.Scan(ScanOptions{Reverse: true})))
	require.Equal(t, all[100:200], collect(t, tab.Scan(ScanOptions{Prefix: []byte("k01")})))
	require.Equal(t, all[10:20], collect(t, tab.Scan(ScanOptions{From: []byte("k0010"), To: []byte("k0020")})))
	require.Equal(t, all[150:200], collect(t, tab.Scan(ScanOptions{Prefix: []byte("k01"), From: []byte("k0150")})))
	require.Equal(t, reversed(all)[:7], collect(t, tab.Scan(ScanOptions{Reverse: true, Limit: 7})))
	require.Empty(t, collect(t, tab.Scan(ScanOptions{From: []byte("k0020"), To: []byte("k0010")})))
	require.Empty(t, collect(t, tab.Scan(ScanOptions{Prefix: []byte("x")})))
	for e, err := range tab.Scan(ScanOptions{KeysOnly: true, Limit: 3}) {
		require.NoError(t, err)
		require.Nil(t, e.Value)
	}
	view, err := tab.View()
	require.NoError(t, err)
	require.NoError(t, tab.DeleteRange([]byte("k0000"), []byte("k0990"), nil))
	require.Equal(t, all[990:], collect(t, tab.Scan(ScanOptions{})))
	require.Equal(t, all, collect(t, view.Scan(ScanOptions{})))
	ok, err := view.Has([]byte("k0001"))
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, view.Close())
	require.NoError(t, view.Close())
	_, err = view.Get([]byte("k0001"))
	require.ErrorIs(t, err, ErrClosed)
}

// TestRootKeys tells the errors of root keys apart.
func TestRootKeys(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	open := func(path string) *local.Service {
		svc, err := local.Open(path, local.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, svc.Close()) })
		return svc
	}
	key := func(svc *local.Service, name string) *local.Key {
		k, _, err := svc.Ensure(ctx, name)
		require.NoError(t, err)
		return k
	}
	mine := open(filepath.Join(dir, "mine"))
	root, second := key(mine, "default"), key(mine, "second")
	store := filepath.Join(dir, "store")
	s, err := Open(ctx, store, Options{RootKey: root, Roots: []keyring.RootKey{second}})
	require.NoError(t, err)
	_, err = s.CreateTable(ctx, "app.own", TableOptions{RootKey: second})
	require.NoError(t, err)
	_, err = s.CreateTable(ctx, "app.unpinned", TableOptions{RootKey: newMemRoot("unpinned")})
	require.ErrorIs(t, err, keyring.ErrRootNotPinned)
	require.NoError(t, mine.Disable(ctx, "second"))
	_, err = s.CreateTable(ctx, "app.denied", TableOptions{RootKey: second})
	require.ErrorIs(t, err, keyring.ErrKeyDenied)
	require.ErrorIs(t, err, ErrKeyInaccessible)
	require.Len(t, s.Tables(), 1, "a table that fails leaves nothing")
	require.NoError(t, s.Close())

	// A table whose key is denied does not keep the others from serving.
	s, err = Open(ctx, store, Options{RootKey: root, Roots: []keyring.RootKey{second}})
	require.NoError(t, err)
	tab, err := s.Table("app.own")
	require.NoError(t, err)
	_, err = tab.Get([]byte("k"))
	require.ErrorIs(t, err, ErrKeyInaccessible)
	other, err := s.CreateTable(ctx, "app.other", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, other.Put([]byte("k"), []byte("v"), nil))
	require.NoError(t, mine.Enable(ctx, "second"))
	_, err = tab.Get([]byte("k"))
	require.ErrorIs(t, err, ErrNotFound)
	require.NoError(t, s.Close())

	// Elsewhere, without the key: not found, whatever else the service holds.
	_, err = Open(ctx, store, Options{RootKey: key(open(filepath.Join(dir, "other")), "default")})
	require.ErrorIs(t, err, keyring.ErrKeyNotFound)
	require.ErrorIs(t, err, ErrKeyInaccessible)
	require.NotErrorIs(t, err, ErrCorruption)
	// Another name than the store's: never called.
	_, err = Open(ctx, store, Options{RootKey: second})
	require.ErrorIs(t, err, keyring.ErrRootNotPinned)
}

func TestSnapshotsAndDrop(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "store")
	opts := Options{RootKey: newMemRoot("snapshots"), tune: small}
	s, err := Open(ctx, dir, opts)
	require.NoError(t, err)
	tab, err := s.CreateTable(ctx, "app.users", TableOptions{SeparateValuesFrom: 200})
	require.NoError(t, err)
	want := map[string][]string{}
	for round := range 4 {
		for i := range 200 {
			require.NoError(t, tab.Put(fmt.Appendf(nil, "k%d-%03d", round, i), bytes.Repeat([]byte("x"), i*3), &WriteOptions{NoSync: true}))
		}
		name := fmt.Sprintf("s%d", round)
		info, err := tab.Snapshot(ctx, name)
		require.NoError(t, err)
		require.Positive(t, info.Files)
		want[name] = collect(t, tab.Scan(ScanOptions{}))
		require.NoError(t, tab.DeleteRange([]byte("k"), fmt.Appendf(nil, "k%d-100", round), nil))
		require.NoError(t, tab.Compact(ctx, nil, nil))
	}
	_, err = tab.Snapshot(ctx, "s0")
	require.ErrorIs(t, err, ErrSnapshotExists)
	require.NoError(t, s.Close())
	s, err = Open(ctx, dir, opts)
	require.NoError(t, err)
	tab, err = s.Table("app.users")
	require.NoError(t, err)
	list, err := tab.Snapshots(ctx)
	require.NoError(t, err)
	require.Len(t, list, 4)
	for name, keys := range want {
		v, err := tab.OpenSnapshot(ctx, name)
		require.NoError(t, err)
		require.Equal(t, keys, collect(t, v.Scan(ScanOptions{})), name)
		require.ErrorIs(t, tab.DropSnapshot(ctx, name), ErrInUse)
		require.NoError(t, v.Close())
	}
	requireVerified(t, s)
	require.NoError(t, tab.DropSnapshot(ctx, "s1"))
	_, err = tab.OpenSnapshot(ctx, "s1")
	require.ErrorIs(t, err, ErrSnapshotNotFound)
	_, err = s.DropTable(ctx, "app.users", DropOptions{})
	require.ErrorIs(t, err, ErrSnapshotsExist)
	rep, err := s.DropTable(ctx, "app.users", DropOptions{WithSnapshots: true})
	require.NoError(t, err)
	require.Equal(t, []string{"s0", "s2", "s3"}, rep.Snapshots)
	require.NotEmpty(t, rep.StillOpenable)
	require.Positive(t, rep.Files)
	_, err = os.Stat(filepath.Join(dir, "tables", rep.ID.String()))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = tab.Get([]byte("k"))
	require.ErrorIs(t, err, ErrTableNotFound)
	require.NoError(t, s.Close())
}
