package backup

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/dir"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// archiving is a world whose clock is the machine's, with a table that keeps its logs.
func archiving(t *testing.T) (*world, *engine.Table, func()) {
	t.Helper()
	w := newWorld(t)
	w.repo.opts.Now = time.Now
	tab := w.table("clinic.patients")
	require.NoError(t, tab.SetArchiving(t.Context(), true))
	ar := w.repo.Archiver(ArchiveOptions{})
	return w, tab, func() {
		t.Helper()
		_, err := ar.Ship(t.Context(), w.store)
		require.NoError(t, err)
	}
}

func (w *world) restore(o RestoreOptions) (map[string]string, error) {
	w.t.Helper()
	s := w.newStore()
	if o.Roots == nil {
		o.Roots = []keyring.RootKey{w.root}
	}
	if _, err := w.repo.Restore(w.t.Context(), s, o); err != nil {
		return nil, err
	}
	tab, err := s.Table("clinic.patients")
	require.NoError(w.t, err)
	return rows(w.t, tab), nil
}

// TestArchiveBehind restores from an archive that ends before the backup does: what is
// older than the backup is not applied to it.
func TestArchiveBehind(t *testing.T) {
	t.Parallel()
	w, tab, ship := archiving(t)
	require.NoError(t, tab.Put([]byte("a"), []byte("1"), nil))
	require.NoError(t, tab.Put([]byte("b"), []byte("1"), nil))
	ship()
	require.NoError(t, tab.Put([]byte("a"), []byte("2"), nil))
	require.NoError(t, tab.Delete([]byte("b"), nil))
	b := w.create(CreateOptions{}).Backup
	want := rows(t, tab)
	got, err := w.restore(RestoreOptions{ToEnd: true})
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = w.restore(RestoreOptions{At: b.Tables[0].Until})
	require.NoError(t, err)
	require.Equal(t, want, got)

	require.NoError(t, tab.Put([]byte("a"), []byte("3"), nil))
	ship()
	got, err = w.restore(RestoreOptions{ToEnd: true})
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), got)
}

// TestArchiveHole takes a part of the last segment away: a restore to behind it fails, one
// to before it does not.
func TestArchiveHole(t *testing.T) {
	t.Parallel()
	w, tab, ship := archiving(t)
	w.create(CreateOptions{})
	require.NoError(t, tab.Put([]byte("x"), []byte("y"), nil))
	at, want := time.Now(), rows(t, tab)
	for i := range 4 {
		require.NoError(t, tab.Put([]byte("x"), []byte{byte(i)}, nil))
		ship()
	}
	var last []string
	for _, n := range w.objects(archivePrefix) {
		if _, ok := parsePartName(n); ok {
			last = append(last, n)
		}
	}
	require.GreaterOrEqual(t, len(last), 4)
	require.NoError(t, w.storage.Delete(t.Context(), last[1]))
	_, err := w.restore(RestoreOptions{ToEnd: true})
	require.ErrorIs(t, err, ErrCorruption)
	require.ErrorContains(t, err, "missing")
	got, err := w.restore(RestoreOptions{At: at})
	require.NoError(t, err)
	require.Equal(t, want, got)

	require.NoError(t, w.storage.Delete(t.Context(), last[0]))
	_, err = w.restore(RestoreOptions{ToEnd: true})
	require.ErrorIs(t, err, ErrCorruption)
}

// TestArchiveBegins takes the whole segment away with which the backup ends.
func TestArchiveBegins(t *testing.T) {
	t.Parallel()
	w, tab, ship := archiving(t)
	put(t, tab, 0, 10)
	w.create(CreateOptions{})
	ship()
	require.NoError(t, tab.Flush())
	put(t, tab, 10, 20)
	ship()
	var first uint64
	for _, n := range w.objects(archivePrefix) {
		if p, ok := parsePartName(n); ok {
			if first == 0 {
				first = p.number
			}
			if p.number == first {
				require.NoError(t, w.storage.Delete(t.Context(), n))
			}
		}
	}
	_, err := w.restore(RestoreOptions{ToEnd: true})
	require.ErrorIs(t, err, ErrCorruption)
}

// TestLabel refuses a label that a manifest cannot have.
func TestLabel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.table("clinic.patients")
	_, err := w.repo.Create(t.Context(), w.store, CreateOptions{Label: "caf\xe9"})
	require.Error(t, err)
	w.create(CreateOptions{Label: "café �"})
	_, err = w.repo.Backups(t.Context())
	require.NoError(t, err)
}

// locked is a table whose root key was disabled, closed cleanly.
func (w *world) lock(tab *engine.Table, root string) {
	w.t.Helper()
	require.NoError(w.t, tab.Lock(w.t.Context()))
	require.NoError(w.t, w.service.Disable(w.t.Context(), root))
}

func (w *world) unlock(tab *engine.Table, root string) {
	w.t.Helper()
	require.NoError(w.t, w.service.Enable(w.t.Context(), root))
	require.NoError(w.t, tab.Unlock(w.t.Context()))
}

// twoRoots is a world with a table under a root key of its own.
func twoRoots(t *testing.T) (*world, *engine.Table) {
	t.Helper()
	w := newWorld(t)
	own := w.key("own")
	s, err := engine.Open(t.Context(), t.TempDir()+"/store", engine.Options{RootKey: w.root, Roots: []keyring.RootKey{own}, MemoryBudget: 4 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	w.store = s
	tab, err := s.CreateTable(t.Context(), "clinic.patients", engine.TableOptions{RootKey: own})
	require.NoError(t, err)
	return w, tab
}

// TestUnsealedRotated restores a backup of a locked table, whose headers name a version
// that was retired; and once more when the table has rotated its key since.
func TestUnsealedRotated(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w, tab := twoRoots(t)
	roots := []keyring.RootKey{w.root, w.key("own")}
	put(t, tab, 0, 500)
	require.NoError(t, tab.Flush())
	require.NoError(t, tab.RotateKey(ctx))
	require.NoError(t, tab.RetireKey(ctx, 1))
	put(t, tab, 400, 600)
	want := rows(t, tab)
	w.lock(tab, "own")
	rep := w.create(CreateOptions{})
	require.NotEmpty(t, rep.Unsealed)
	w.unlock(tab, "own")
	o := RestoreOptions{Backup: rep.Backup.Name, Unsealed: true, Roots: roots}
	got, err := w.restore(o)
	require.NoError(t, err)
	require.Equal(t, want, got)

	require.NoError(t, tab.RotateKey(ctx))
	_, err = w.repo.Rewrap(ctx, w.store, RewrapOptions{RemoveOld: true})
	require.NoError(t, err)
	got, err = w.restore(o)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// TestOtherTablesKey restores one table of a backup where another's key is destroyed.
func TestOtherTablesKey(t *testing.T) {
	t.Parallel()
	w, tab := twoRoots(t)
	put(t, tab, 0, 10)
	put(t, w.table("clinic.visits"), 0, 20)
	w.create(CreateOptions{})
	require.NoError(t, w.service.Disable(t.Context(), "own"))
	roots := []keyring.RootKey{w.root, w.key("own")}
	s := w.newStore()
	_, err := w.repo.Restore(t.Context(), s, RestoreOptions{Roots: roots, Tables: []string{"clinic.visits"}})
	require.NoError(t, err)
	for _, names := range [][]string{nil, {"clinic.patients"}} {
		_, err = w.repo.Restore(t.Context(), w.newStore(), RestoreOptions{Roots: roots, Tables: names})
		require.ErrorIs(t, err, ErrNoLockbox)
		require.ErrorIs(t, err, keyring.ErrKeyDenied)
	}
}

// TestRetiredMeanwhile retires a version of the key between the moment of a backup and its
// note: the backup is not reported complete, for no lockbox has the version.
func TestRetiredMeanwhile(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 100)
	require.NoError(t, tab.Flush())
	c := &creation{r: w.repo, store: w.store.ID(), o: CreateOptions{Concurrency: 1}, began: time.Now()}
	c.begin()
	h, err := tab.Hold(ctx)
	require.NoError(t, err)
	defer h.Close()
	c.copies = append(c.copies, &tableCopy{table: tab, held: h})
	require.NoError(t, tab.RotateKey(ctx))
	require.NoError(t, tab.RetireKey(ctx, 1))
	require.ErrorIs(t, c.run(ctx), keyring.ErrVersionUnknown)
	list, err := w.repo.Backups(ctx)
	require.NoError(t, err)
	require.Empty(t, list)
	w.create(CreateOptions{})
	w.verify()
	got, err := w.restore(RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), got)
}

// TestLostObject finds at the next Create that an object of the last backup is not there,
// or cut, and sends it again.
func TestLostObject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 1000)
	require.NoError(t, tab.Flush())
	w.create(CreateOptions{})
	data := w.objects(dataPrefix)
	require.GreaterOrEqual(t, len(data), 2)
	require.NoError(t, w.storage.Delete(t.Context(), data[0]))
	w.create(CreateOptions{})
	got, err := w.restore(RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), got)
	for _, n := range w.objects(dataPrefix) {
		flip(t, w.path(n), 0)
		require.NoError(t, os.Truncate(w.path(n), 5))
	}
	w.create(CreateOptions{})
	got, err = w.restore(RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), got)
}

// TestCondemnedAgain has a backup name an object that was condemned before: when the backup
// goes, the object has its grace anew.
func TestCondemnedAgain(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, how := range []string{"prune", "remove", "remove, kept", "remove, damaged"} {
		w := newWorld(t)
		tab := w.table("clinic.patients")
		if how != "prune" && how != "remove" {
			put(t, tab, 200, 300)
			_, err := w.repo.Pin(ctx, w.create(CreateOptions{}).Backup.Name) // it needs the lockbox throughout
			require.NoError(t, err)
		}
		put(t, tab, 0, 100)
		require.NoError(t, tab.Flush())
		a := w.create(CreateOptions{}).Backup
		_, err := w.repo.Remove(ctx, a.Name)
		require.NoError(t, err)
		prune := func() *PruneReport {
			t.Helper()
			rep, err := w.repo.Prune(ctx, PruneOptions{Keep: Retention{Last: 1}})
			require.NoError(t, err)
			return rep
		}
		require.NotZero(t, prune().Condemned)
		b := w.create(CreateOptions{}).Backup
		x, err := w.repo.readIndex(ctx, b, &b.Tables[0])
		require.NoError(t, err)
		require.NoError(t, tab.DeleteRange([]byte("0"), []byte("9"), nil))
		require.NoError(t, tab.Compact(ctx, nil, nil))
		w.now = w.now.Add(23 * time.Hour)
		w.create(CreateOptions{})
		if how != "prune" {
			if how == "remove, damaged" { // it may name anything
				require.NoError(t, os.Truncate(w.path(indexName(b.Name, tab.ID())), 100))
			}
			_, err := w.repo.Remove(ctx, b.Name)
			require.NoError(t, err)
		}
		w.now = w.now.Add(time.Hour)
		prune()
		// A restore of b that began before goes on.
		have := w.objects(dataPrefix)
		for i := range x.files {
			if f := &x.files[i]; !f.empty() {
				require.Contains(t, have, f.key().object(), how)
			}
		}
		w.now = w.now.Add(25 * time.Hour)
		require.NotZero(t, prune().Deleted)
		w.verify()
	}
}

// TestCopyLockbox does not report a copy complete that no key opens.
func TestCopyLockbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put(t, w.table("clinic.patients"), 0, 10)
	w.create(CreateOptions{})
	flip(t, w.path(w.objects(lockboxPrefix)[0]), 40)
	st, err := dir.Open(t.TempDir()+"/copy", dir.Options{Create: true})
	require.NoError(t, err)
	to, err := Open(t.Context(), st, Options{Create: true})
	require.NoError(t, err)
	_, err = w.repo.CopyTo(t.Context(), to, CopyOptions{})
	require.ErrorIs(t, err, ErrCorruption)
	list, err := to.Backups(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
}

// TestRewrapBehind says of backups that what Rewrap puts there does not open them: of a table
// that was dropped, and where a version was retired that a copied backup needs.
func TestRewrapBehind(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	gone, tab := w.table("clinic.gone"), w.table("clinic.patients")
	put(t, gone, 0, 10)
	put(t, tab, 0, 10)
	w.create(CreateOptions{})
	_, err := w.store.DropTable(ctx, "clinic.gone", engine.DropOptions{})
	require.NoError(t, err)
	list, err := w.repo.Rewrap(ctx, w.store, RewrapOptions{})
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, Rewrapped{ID: gone.ID(), Gone: true}, list[1])

	st, err := dir.Open(t.TempDir()+"/copy", dir.Options{Create: true})
	require.NoError(t, err)
	to, err := Open(ctx, st, Options{Create: true})
	require.NoError(t, err)
	_, err = w.repo.CopyTo(ctx, to, CopyOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.RotateKey(ctx))
	require.NoError(t, tab.NoteBackups(ctx, engine.BackupNote{Repository: w.repo.ID()})) // its backups went
	require.NoError(t, tab.RetireKey(ctx, 1))
	for _, old := range []bool{false, true} {
		_, err = to.Rewrap(ctx, w.store, RewrapOptions{RemoveOld: old, Tables: []string{"clinic.patients"}})
		require.ErrorIs(t, err, keyring.ErrVersionUnknown)
	}
}

// TestForgedVersions has manifests and parts name versions of a table's key by the thousand:
// the table notes those that it has.
func TestForgedVersions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	forged := *w.create(CreateOptions{}).Backup
	forged.Name = newName(w.now.Add(time.Minute))
	forged.Tables = slices.Clone(forged.Tables)
	forged.Tables[0].KeyVersions = nil
	for v := range uint32(keyring.MaxVersions) {
		forged.Tables[0].KeyVersions = append(forged.Tables[0].KeyVersions, v+1)
	}
	data, err := forged.encode()
	require.NoError(t, err)
	require.NoError(t, w.storage.Put(ctx, backupsPrefix+forged.Name, storage.Bytes(data)))
	require.NoError(t, tab.RotateKey(ctx))
	require.Empty(t, w.create(CreateOptions{}).Warnings)
	notes, err := tab.Backups(ctx)
	require.NoError(t, err)
	require.Equal(t, []uint32{1, 2}, notes[0].Versions)
}

// TestVerifyArchive finds parts of archived logs that are changed or missing.
func TestVerifyArchive(t *testing.T) {
	t.Parallel()
	w, tab, ship := archiving(t)
	w.create(CreateOptions{})
	for i := range 3 {
		put(t, tab, i, i+1)
		ship()
	}
	require.GreaterOrEqual(t, w.verify().Parts, 3)
	var names []string
	for _, n := range w.objects(archivePrefix) {
		if _, ok := parsePartName(n); ok {
			names = append(names, n)
		}
	}
	flip(t, w.path(names[1]), -1)
	faulty := func(object string) {
		t.Helper()
		rep, err := w.repo.Verify(t.Context(), VerifyOptions{ReadData: 1})
		require.NoError(t, err)
		require.Len(t, rep.Faults, 1)
		require.ErrorIs(t, rep.Faults[0].Err, ErrCorruption)
		require.Contains(t, object, rep.Faults[0].Object)
	}
	faulty(names[1])
	require.NoError(t, w.storage.Delete(t.Context(), names[1]))
	faulty(names[1])
	// A restore from the first backup needs it still, whatever was backed up since.
	require.NoError(t, tab.Flush())
	put(t, tab, 10, 20)
	ship()
	w.create(CreateOptions{})
	faulty(names[1])
}

// TestUnsealedBetween restores to a moment behind an unsealed backup, from the one before.
func TestUnsealedBetween(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w, tab := twoRoots(t)
	w.repo.opts.Now = time.Now
	require.NoError(t, tab.SetArchiving(ctx, true))
	put(t, tab, 0, 10)
	w.create(CreateOptions{})
	put(t, tab, 10, 20)
	w.lock(tab, "own")
	require.NotEmpty(t, w.create(CreateOptions{}).Unsealed)
	w.unlock(tab, "own")
	put(t, tab, 20, 30)
	require.NoError(t, tab.SyncLog(ctx))
	want, at := rows(t, tab), time.Now()
	require.NoError(t, tab.Put([]byte("x"), []byte("y"), nil))
	_, err := w.repo.Archiver(ArchiveOptions{}).Ship(ctx, w.store)
	require.NoError(t, err)
	got, err := w.restore(RestoreOptions{At: at, Roots: []keyring.RootKey{w.root, w.key("own")}})
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// TestRestoreTwice has the same restored twice at once: one of them makes the table, whole.
func TestRestoreTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	for i := range 5 {
		put(t, tab, i*300, i*300+400)
		require.NoError(t, tab.Flush())
	}
	w.create(CreateOptions{})
	s := w.newStore()
	var wg sync.WaitGroup
	var made atomic.Int32
	for range 4 {
		wg.Go(func() {
			_, err := w.repo.Restore(t.Context(), s, RestoreOptions{Roots: []keyring.RootKey{w.root}})
			switch {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, engine.ErrStageBusy) && !errors.Is(err, engine.ErrTableExists):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, made.Load())
	r, err := s.Table("clinic.patients")
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), rows(t, r))
}

// TestClockBack warns of a backup whose time is yet to come.
func TestClockBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.table("clinic.patients")
	require.Empty(t, w.create(CreateOptions{}).Warnings)
	w.now = w.now.Add(-48 * time.Hour)
	require.Len(t, w.create(CreateOptions{}).Warnings, 1)
}

// A told is a log's writer that calls once.
type told struct {
	once sync.Once
	f    func()
}

func (w *told) Write(b []byte) (int, error) {
	w.once.Do(w.f)
	return len(b), nil
}

// TestPinnedMeanwhile pins a backup while its removal waits for the lock.
func TestPinnedMeanwhile(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	w.table("clinic.patients")
	b := w.create(CreateOptions{}).Backup
	other, err := w.repo.acquire(ctx, "a test")
	require.NoError(t, err)
	waiting := &told{f: func() {
		require.NoError(t, w.storage.Put(ctx, pinsPrefix+b.Name, storage.Bytes([]byte("pinned\n"))))
		require.NoError(t, other.Release(ctx))
	}}
	r := w.open(Options{LockWait: time.Minute, Logger: slog.New(slog.NewTextHandler(waiting, nil))})
	_, err = r.Remove(ctx, b.Name)
	require.ErrorIs(t, err, ErrPinned)
	_, err = w.repo.Find(ctx, b.Name)
	require.NoError(t, err)
}

// TestArchiveRetiredMeanwhile retires a version of the table's key between the moment when
// its logs are listed and that when the archive notes what it needs.
func TestArchiveRetiredMeanwhile(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w, tab, ship := archiving(t)
	put(t, tab, 0, 10)
	require.NoError(t, tab.SyncLog(ctx))
	segments, err := tab.ArchiveSegments(ctx)
	require.NoError(t, err)
	require.NoError(t, tab.RotateKey(ctx))
	require.NoError(t, tab.RetireKey(ctx, 1))
	l := &line{sent: make(map[keyring.ID]int64)}
	require.ErrorIs(t, w.repo.Archiver(ArchiveOptions{}).need(ctx, tab, l, segments), keyring.ErrVersionUnknown)
	ship()
	w.create(CreateOptions{})
	put(t, tab, 5, 20)
	ship()
	got, err := w.restore(RestoreOptions{ToEnd: true})
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), got)
	_, err = w.repo.Rewrap(ctx, w.store, RewrapOptions{})
	require.NoError(t, err)
}

// TestArchiveOfFork archives the logs of a store and of a copy of it, which have the same
// numbers: a restore takes those that the backup goes on in, also where they were removed.
func TestArchiveOfFork(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	base, fork := t.TempDir(), filepath.Join(t.TempDir(), "fork")
	open := func(at string) *engine.Store {
		keys, err := local.Open(filepath.Join(at, "keys"), local.Options{})
		require.NoError(t, err)
		root, _, err := keys.Ensure(ctx, "default")
		require.NoError(t, err)
		w.root = root
		s, err := engine.Open(ctx, filepath.Join(at, "store"), engine.Options{RootKey: root, MemoryBudget: 4 << 20})
		require.NoError(t, err)
		return s
	}
	s := open(base)
	tab, err := s.CreateTable(ctx, "clinic.patients", engine.TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.SetArchiving(ctx, true))
	put(t, tab, 0, 10)
	require.NoError(t, s.Close())
	require.NoError(t, os.CopyFS(fork, os.DirFS(base)))
	require.NoError(t, os.Chmod(filepath.Join(fork, "keys"), 0o600))

	write := func(at, what string) *engine.Store {
		s := open(at)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		tab, err = s.Table("clinic.patients")
		require.NoError(t, err)
		require.NoError(t, tab.Put([]byte("x"), []byte(what), nil))
		return s
	}
	ship := func(s *engine.Store) {
		_, err := w.repo.Archiver(ArchiveOptions{}).Ship(ctx, s)
		require.NoError(t, err)
	}
	other := write(fork, "fork")
	require.NoError(t, tab.Put([]byte("y"), []byte("fork"), nil))
	ship(other)
	of := w.objects(archivePrefix)
	w.store = write(base, "own")
	w.repo.opts.Now = time.Now
	_, err = w.repo.Create(ctx, w.store, CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Put([]byte("x"), []byte("own, later"), nil))
	ship(w.store)
	want := rows(t, tab)
	got, err := w.restore(RestoreOptions{ToEnd: true})
	require.NoError(t, err)
	require.Equal(t, want, got)

	for _, n := range w.objects(archivePrefix) {
		if _, ok := parsePartName(n); ok && !slices.Contains(of, n) {
			require.NoError(t, w.storage.Delete(ctx, n))
		}
	}
	_, err = w.restore(RestoreOptions{ToEnd: true})
	require.ErrorIs(t, err, ErrCorruption)
	require.ErrorContains(t, err, "a copy of the store")
}

// TestFormerKeyPoisons has whoever held an older version of the table's key forge a backup
// that lists other bytes for a file. The next backup does not believe it.
func TestFormerKeyPoisons(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 500)
	require.NoError(t, tab.Flush())
	b := w.create(CreateOptions{}).Backup
	var stolen *keyring.TableKeys
	require.NoError(t, tab.WithKeys(ctx, func(k *keyring.TableKeys) error { stolen = k.Clone(); return nil }))
	defer stolen.Wipe()
	require.NoError(t, tab.RotateKey(ctx))

	x, err := w.repo.openIndex(ctx, b, &b.Tables[0], stolen)
	require.NoError(t, err)
	at := slices.IndexFunc(x.files, func(f indexFile) bool { return strings.HasSuffix(f.name, ".sst") })
	f := &x.files[at]
	other := make([]byte, f.size)
	f.digest = sum(other)
	require.NoError(t, w.storage.Put(ctx, f.key().object(), storage.Bytes(other)))
	forged := *b
	forged.Tables = slices.Clone(b.Tables)
	w.now = w.now.Add(time.Hour)
	forged.Name, forged.Time = newName(w.now), w.now
	x.backup, x.time = forged.Name, forged.Time
	x.core, err = forged.core()
	require.NoError(t, err)
	data, err := x.encode(stolen)
	require.NoError(t, err)
	e := &forged.Tables[0]
	e.SealVersion, e.IndexSize, e.Index = x.version, int64(len(data)), sum(data)
	require.NoError(t, w.storage.Put(ctx, indexName(forged.Name, e.Table), storage.Bytes(data)))
	manifest, err := forged.encode()
	require.NoError(t, err)
	require.NoError(t, w.storage.Put(ctx, backupsPrefix+forged.Name, storage.Bytes(manifest)))

	// It passes for a backup: the version is not retired.
	_, err = w.repo.openIndex(ctx, &forged, e, stolen)
	require.NoError(t, err)
	rep := w.create(CreateOptions{})
	got, err := w.restore(RestoreOptions{Backup: rep.Backup.Name})
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), got)
	require.NotZero(t, rep.Reused, "what the repository has is not sent again")
}

// TestTooManyVersions refuses a manifest that names more versions of a key than one can
// have: each would be looked for, and be named in an error.
func TestTooManyVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.table("clinic.patients")
	b := w.create(CreateOptions{}).Backup
	b.Tables[0].KeyVersions = nil
	for v := range uint32(keyring.MaxVersions + 1) {
		b.Tables[0].KeyVersions = append(b.Tables[0].KeyVersions, v+1)
	}
	data, err := b.encode()
	require.NoError(t, err)
	_, err = parseManifest(b.Name, data)
	require.ErrorIs(t, err, ErrCorruption)
}

// TestStrayLockbox puts the table's lockbox under a name that is none, last in order.
// Readers pass over it, and so does a rewrap that removes the others.
func TestStrayLockbox(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	b := w.create(CreateOptions{}).Backup
	names := w.objects(lockboxPrefix)
	require.Len(t, names, 1)
	box, err := tab.Lockbox()
	require.NoError(t, err)
	stray := lockboxFolder(tab.ID()) + "zz-" + sum(box).String()
	require.NoError(t, w.storage.Put(ctx, stray, storage.Bytes(box)))
	_, err = w.repo.Rewrap(ctx, w.store, RewrapOptions{RemoveOld: true})
	require.NoError(t, err)
	left := w.objects(lockboxPrefix)
	require.Len(t, left, 1)
	require.NotEqual(t, stray, left[0])
	_, err = w.restore(RestoreOptions{Backup: b.Name})
	require.NoError(t, err)
}

// TestManyFaults: as many faults as somebody makes up objects take no time that is not
// theirs.
func TestManyFaults(t *testing.T) {
	t.Parallel()
	v := newVerification(nil, VerifyOptions{})
	began := time.Now()
	for i := range 200_000 {
		v.fault(strconv.Itoa(i), ErrNotFound, "a")
		v.warn("%d", i)
	}
	v.fault("0", ErrNotFound, "b")
	require.Less(t, time.Since(began), 20*time.Second)
	require.Len(t, v.rep.Faults, 200_000)
	require.Equal(t, []string{"a", "b"}, v.rep.Faults[0].Backups)
	require.Len(t, v.rep.Warnings, 200_000)
}

// A contended storage says of each register that another has changed it.
type contended struct{ storage.Storage }

func (contended) Swap(context.Context, string, storage.Version, []byte) (storage.Version, error) {
	return storage.Version(""), &storage.Error{Op: "swap", Class: storage.ErrConflict}
}

// TestRegisterContended: the archive does not try for ever, and holds nobody up.
func TestRegisterContended(t *testing.T) {
	t.Parallel()
	w, tab, _ := archiving(t)
	put(t, tab, 0, 10)
	w.repo.st = contended{w.storage}
	_, err := w.repo.Archiver(ArchiveOptions{}).Ship(t.Context(), w.store)
	require.ErrorIs(t, err, storage.ErrConflict)
}
