package backup

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/dir"
	"github.com/cofredb/cofre/backup/storage/lease"
	"github.com/cofredb/cofre/keyring"
)

// TestPruneDamaged: where a manifest, or the index of what is kept, is not what it was,
// nobody knows what is needed, and nothing goes.
func TestPruneDamaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	var backups []*Backup
	for n := range 3 {
		put(t, tab, 100*n, 100*n+100)
		require.NoError(t, tab.Flush())
		backups = append(backups, w.create(CreateOptions{}).Backup)
		require.NoError(t, tab.DeleteRange([]byte("0"), []byte("9"), nil))
		require.NoError(t, tab.Compact(t.Context(), nil, nil))
	}
	kept := backups[1]
	for what, damage := range map[string]func(t *testing.T, dir string){
		"manifest cut": func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, "backups", kept.Name), 10))
		},
		"index cut": func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, "index", kept.Name, tab.ID().String()), 100))
		},
		"index flipped": func(t *testing.T, dir string) { // in its body, so that it parses
			flip(t, filepath.Join(dir, "index", kept.Name, tab.ID().String()), -1)
		},
		"index missing": func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "index", kept.Name, tab.ID().String())))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			copied := filepath.Join(t.TempDir(), "repository")
			require.NoError(t, os.CopyFS(copied, os.DirFS(w.dir)))
			damage(t, copied)
			st, err := dir.Open(copied, dir.Options{})
			require.NoError(t, err)
			defer st.Close()
			r, err := Open(t.Context(), st, Options{})
			require.NoError(t, err)
			there := &world{t: t, storage: st}
			before := there.objects("")
			_, err = r.Prune(t.Context(), PruneOptions{Keep: Retention{Last: 2}, Grace: -1})
			require.ErrorIs(t, err, ErrCorruption)
			require.Equal(t, before, there.objects(""))
		})
	}
}

// A beside does something before a register is swapped, once.
type beside struct {
	storage.Storage
	once sync.Once
	do   func()
}

func (b *beside) Swap(ctx context.Context, name string, old storage.Version, content []byte) (storage.Version, error) {
	b.once.Do(b.do)
	return b.Storage.Swap(ctx, name, old, content)
}

// TestPinBesideRemove: a backup that goes while Pin waits for its turn is not pinned.
func TestPinBesideRemove(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put(t, w.table("clinic.patients"), 0, 10)
	b := w.create(CreateOptions{}).Backup
	other := w.repo
	w.storage = &beside{Storage: w.storage, do: func() {
		_, err := other.Remove(t.Context(), b.Name)
		require.NoError(t, err)
	}}
	_, err := w.open(Options{}).Pin(t.Context(), b.Name)
	require.ErrorIs(t, err, ErrNotFound)
	require.Empty(t, w.objects(pinsPrefix))
}

// TestOneWrites: what changes a repository, or removes from it, waits for others that do;
// what reads does not.
func TestOneWrites(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 100)
	b := w.create(CreateOptions{}).Backup
	other := newWorld(t)
	put(t, other.table("clinic.patients"), 0, 10)
	other.create(CreateOptions{})
	l, err := lease.Acquire(ctx, w.storage, lockName, lease.Options{})
	require.NoError(t, err)
	before := w.objects("")
	keep := Retention{Last: 1}
	for what, f := range map[string]func() error{
		"create": func() error { _, err := w.repo.Create(ctx, w.store, CreateOptions{}); return err },
		"prune":  func() error { _, err := w.repo.Prune(ctx, PruneOptions{Keep: keep}); return err },
		"remove": func() error { _, err := w.repo.Remove(ctx, b.Name); return err },
		"pin":    func() error { _, err := w.repo.Pin(ctx, b.Name); return err },
		"unpin":  func() error { _, err := w.repo.Unpin(ctx, b.Name); return err },
		"rewrap": func() error { _, err := w.repo.Rewrap(ctx, w.store, RewrapOptions{RemoveOld: true}); return err },
		"copy":   func() error { _, err := other.repo.CopyTo(ctx, w.repo, CopyOptions{}); return err },
		"key loss": func() error {
			h, err := tab.Hold(ctx)
			require.NoError(t, err)
			defer h.Close()
			_, err = w.repo.KeyLossArchive().Archive(ctx, h)
			return err
		},
	} {
		require.ErrorIs(t, f(), lease.ErrLocked, what)
		require.Equal(t, before, w.objects(""), what)
	}
	_, err = w.repo.Prune(ctx, PruneOptions{Keep: keep, DryRun: true})
	require.NoError(t, err)
	w.verify()
	_, err = w.restore(RestoreOptions{})
	require.NoError(t, err)
	require.NoError(t, l.Release(ctx))
	_, err = w.repo.Prune(ctx, PruneOptions{Keep: keep})
	require.NoError(t, err)
}

// TestPruneCleans removes what a Put left that was stopped long ago, and nothing that may be
// under way on another machine.
func TestPruneCleans(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put(t, w.table("clinic.patients"), 0, 10)
	w.create(CreateOptions{})
	temp := func(name string, age time.Duration) string {
		path := filepath.Join(w.dir, "tmp~", name)
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
		at := time.Now().Add(-age)
		require.NoError(t, os.Chtimes(path, at, at))
		return path
	}
	old, young := temp("old", 2*DefaultGrace), temp("young", 30*time.Minute)
	for _, grace := range []time.Duration{0, -1} {
		_, err := w.repo.Prune(t.Context(), PruneOptions{Keep: Retention{Last: 1}, Grace: grace})
		require.NoError(t, err)
		require.NoFileExists(t, old)
		require.FileExists(t, young)
	}
}

// A lying storage keeps other bytes of data objects than it was given.
type lying struct{ storage.Storage }

func (l lying) Put(ctx context.Context, name string, src storage.Source) error {
	if len(name) > len(dataPrefix) && name[:len(dataPrefix)] == dataPrefix {
		b := make([]byte, src.Size())
		if err := storage.ReadFullAt(src, b, 0); err != nil {
			return err
		}
		b[len(b)-1] ^= 1
		src = storage.Bytes(b)
	}
	return l.Storage.Put(ctx, name, src)
}

// TestKeyLossVerified: an archive of a table whose key is lost is none unless its bytes are
// what was held; and a reference is good in the repository that it is of, and no other.
func TestKeyLossVerified(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 200)
	require.NoError(t, tab.Lock(ctx))
	h, err := tab.Hold(ctx)
	require.NoError(t, err)
	defer h.Close()
	a := w.repo.KeyLossArchive()
	ref, err := a.Archive(ctx, h)
	require.NoError(t, err)
	require.NoError(t, a.Verify(ctx, ref))
	another := keyring.NewID().String() + ref[len(keyring.ID{}.String()):]
	require.ErrorIs(t, a.Verify(ctx, another), ErrNotFound)

	other := newWorld(t)
	other.storage = lying{other.storage}
	_, err = other.open(Options{}).KeyLossArchive().Archive(ctx, h)
	require.ErrorIs(t, err, ErrCorruption)
}
