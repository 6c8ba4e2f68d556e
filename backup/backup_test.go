package backup

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/dir"
	"github.com/cofredb/cofre/backup/storage/locate"
	"github.com/cofredb/cofre/backup/storage/s3"
	"github.com/cofredb/cofre/backup/storage/s3test"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// A world is a store, its key service and a repository.
type world struct {
	t       testing.TB
	service *local.Service
	root    keyring.RootKey
	dir     string // of the repository
	storage storage.Storage
	repo    *Repository
	store   *engine.Store
	now     time.Time // by the repository's clock
}

// newWorld has its repository in a directory.
func newWorld(t testing.TB) *world {
	t.Helper()
	path := filepath.Join(t.TempDir(), "repository")
	st, err := dir.Open(path, dir.Options{Create: true})
	require.NoError(t, err)
	w := newWorldIn(t, st)
	w.dir = path
	return w
}

// everywhere runs a test with a repository in a directory, and with one in a bucket of a
// real S3 server.
func everywhere(t *testing.T, f func(t *testing.T, w *world)) {
	t.Parallel()
	t.Run("dir", func(t *testing.T) {
		t.Parallel()
		f(t, newWorld(t))
	})
	t.Run("s3", func(t *testing.T) {
		t.Parallel()
		s := s3test.Start(t)
		f(t, newWorldIn(t, bucket(t, s, s.Endpoint)))
	})
}

// bucket opens a new bucket of a server at an endpoint, its own or a proxy's.
func bucket(t testing.TB, s *s3test.Server, endpoint string) storage.Storage {
	t.Helper()
	st, err := locate.Open(context.Background(), s3test.Location(endpoint, s.NewBucket(t), "clinic"), locate.Options{
		S3: func(o *s3.Options) { o.Credentials = s.Credentials() },
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

func newWorldIn(t testing.TB, st storage.Storage) *world {
	t.Helper()
	w := &world{t: t, storage: st, now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
	var err error
	w.service, err = local.Open(filepath.Join(t.TempDir(), "keys"), local.Options{})
	require.NoError(t, err)
	w.root = w.key("default")
	w.repo = w.open(Options{Create: true})
	w.store = w.newStore()
	return w
}

func (w *world) open(o Options) *Repository {
	w.t.Helper()
	o.Now = func() time.Time { return w.now }
	r, err := Open(context.Background(), w.storage, o)
	require.NoError(w.t, err)
	return r
}

func (w *world) key(name string) keyring.RootKey {
	w.t.Helper()
	k, _, err := w.service.Ensure(context.Background(), name)
	require.NoError(w.t, err)
	return k
}

func (w *world) newStore() *engine.Store {
	w.t.Helper()
	s, err := engine.Open(context.Background(), filepath.Join(w.t.TempDir(), "store"), engine.Options{RootKey: w.root, MemoryBudget: 4 << 20})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, s.Close()) })
	return s
}

func (w *world) table(name string) *engine.Table {
	w.t.Helper()
	tab, err := w.store.CreateTable(context.Background(), name, engine.TableOptions{})
	require.NoError(w.t, err)
	return tab
}

func (w *world) create(o CreateOptions) *CreateReport {
	w.t.Helper()
	w.now = w.now.Add(time.Hour)
	rep, err := w.repo.Create(context.Background(), w.store, o)
	require.NoError(w.t, err)
	return rep
}

func (w *world) verify() *VerifyReport {
	w.t.Helper()
	rep, err := w.repo.Verify(context.Background(), VerifyOptions{Roots: []keyring.RootKey{w.root}, ReadData: 1})
	require.NoError(w.t, err)
	for _, f := range rep.Faults {
		require.Fail(w.t, "fault", "%s: %s", f.Object, f.Message)
	}
	return rep
}

func put(t testing.TB, tab *engine.Table, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		require.NoError(t, tab.Put(fmt.Appendf(nil, "%06d", i), fmt.Appendf(nil, "%d of %d, %x", i, to, i*i), &engine.WriteOptions{NoSync: true}))
	}
}

func rows(t testing.TB, tab *engine.Table) map[string]string {
	t.Helper()
	m := make(map[string]string)
	for e, err := range tab.Scan(engine.ScanOptions{}) {
		require.NoError(t, err)
		m[string(e.Key)] = string(e.Value)
	}
	return m
}

// TestBackup backs up, changes, backs up, and restores both into another store.
func TestBackup(t *testing.T) { everywhere(t, testBackup) }

func testBackup(t *testing.T, w *world) {
	ctx := t.Context()
	a, b := w.table("clinic.patients"), w.table("clinic.visits")
	put(t, a, 0, 5000)
	require.NoError(t, a.Flush())
	put(t, b, 0, 100)
	wantA, wantB := rows(t, a), rows(t, b)
	first := w.create(CreateOptions{Label: "first"})
	require.Positive(t, first.Sent)
	require.Zero(t, first.Reused)

	put(t, a, 4000, 4100)
	second := w.create(CreateOptions{})
	require.Positive(t, second.Reused)
	require.Less(t, second.Sent, first.Sent)
	v := w.verify()
	require.Equal(t, 2, v.Backups)
	require.Equal(t, 4, v.Authenticated)
	require.Equal(t, v.Objects, v.Opened)

	list, err := w.repo.Backups(ctx)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "first", list[0].Label)
	require.Equal(t, second.Backup, list[1])

	other := w.newStore()
	o := RestoreOptions{Backup: first.Backup.Name, Roots: []keyring.RootKey{w.root}}
	o.DryRun = true
	rep, err := w.repo.Restore(ctx, other, o)
	require.NoError(t, err)
	require.Len(t, rep.Tables, 2)
	require.Empty(t, other.Tables())
	o.DryRun = false
	rep, err = w.repo.Restore(ctx, other, o)
	require.NoError(t, err)
	require.Equal(t, first.Backup.Bytes(), rep.Fetched)
	ra, err := other.Table("clinic.patients")
	require.NoError(t, err)
	require.Equal(t, wantA, rows(t, ra))
	rb, err := other.Table("clinic.visits")
	require.NoError(t, err)
	require.Equal(t, wantB, rows(t, rb))
	_, err = w.repo.Restore(ctx, other, o)
	require.ErrorIs(t, err, engine.ErrTableExists)

	rep, err = w.repo.Restore(ctx, w.store, RestoreOptions{
		Roots: []keyring.RootKey{w.root}, Tables: []string{"clinic.patients"}, As: map[string]string{"clinic.patients": "restored.patients"},
	})
	require.NoError(t, err)
	require.Equal(t, second.Backup.Name, rep.Backup)
	r, err := w.store.Table("restored.patients")
	require.NoError(t, err)
	require.Equal(t, rows(t, a), rows(t, r))
	_, err = w.repo.Create(ctx, other, CreateOptions{})
	require.ErrorIs(t, err, ErrOtherStore)
	rep3, err := w.repo.Create(ctx, other, CreateOptions{OtherStore: true})
	require.NoError(t, err)
	require.Zero(t, rep3.Reused) // another line
	w.verify()
}

// TestRotations makes backups before, between and behind rotations of root and table key,
// and restores all with the newest root key alone.
func TestRotations(t *testing.T) { everywhere(t, testRotations) }

func testRotations(t *testing.T, w *world) {
	ctx := t.Context()
	roots := []keyring.RootKey{w.root, w.key("k2"), w.key("k3"), w.key("k4")}
	storeDir := filepath.Join(t.TempDir(), "store")
	s, err := engine.Open(ctx, storeDir, engine.Options{RootKey: w.root, Roots: roots[1:]})
	require.NoError(t, err)
	w.store = s
	tab := w.table("clinic.patients")
	want := make(map[string]map[string]string)
	backupNow := func() {
		n := len(want)
		put(t, tab, n*100, n*100+150)
		want[w.create(CreateOptions{}).Backup.Name] = rows(t, tab)
	}
	backupNow()
	for i, root := range roots[1:] {
		require.NoError(t, tab.RotateRoot(ctx, root))
		backupNow()
		if i < 2 {
			require.NoError(t, tab.RotateKey(ctx))
			backupNow()
		}
	}
	// A version that backups need is not retired, but for those that none needs.
	var needed *engine.NeededError
	require.ErrorAs(t, tab.RetireKey(ctx, 1), &needed)
	_, err = w.repo.Rewrap(ctx, s, RewrapOptions{RemoveOld: true})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for _, name := range []string{"default", "k2", "k3"} {
		_, err := w.service.ScheduleDeletion(ctx, name, 7)
		require.NoError(t, err)
	}
	w.root = roots[3]
	fresh, err := engine.Open(ctx, filepath.Join(t.TempDir(), "fresh"), engine.Options{RootKey: w.root})
	require.NoError(t, err)
	defer func() { require.NoError(t, fresh.Close()) }()
	n := 0
	for name, rowsThen := range want {
		n++
		as := fmt.Sprintf("restored.n%d", n)
		_, err := w.repo.Restore(ctx, fresh, RestoreOptions{
			Backup: name, Roots: []keyring.RootKey{w.root}, As: map[string]string{"clinic.patients": as},
		})
		require.NoError(t, err, name)
		r, err := fresh.Table(as)
		require.NoError(t, err)
		require.Equal(t, rowsThen, rows(t, r), name)
	}
	require.Equal(t, 6, n)
	w.verify()
}
