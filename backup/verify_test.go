package backup

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

// TestVerifyPresent: that an object is missing or cut is found without a key, and without
// that any is read; the backups that need it are named.
func TestVerifyPresent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 100)
	require.NoError(t, tab.Flush())
	b := w.create(CreateOptions{}).Backup
	verify := func() []*Fault {
		t.Helper()
		rep, err := w.repo.Verify(t.Context(), VerifyOptions{})
		require.NoError(t, err)
		return rep.Faults
	}
	require.Empty(t, verify())
	for _, n := range w.objects(dataPrefix) {
		fi, err := os.Stat(w.path(n))
		require.NoError(t, err)
		whole, err := os.ReadFile(w.path(n))
		require.NoError(t, err)
		for _, damage := range []func() error{
			func() error { return os.Truncate(w.path(n), fi.Size()-1) },
			func() error { return os.Truncate(w.path(n), fi.Size()+1) },
			func() error { return os.Remove(w.path(n)) },
		} {
			require.NoError(t, damage())
			faults := verify()
			require.Len(t, faults, 1)
			require.Equal(t, n, faults[0].Object)
			require.ErrorIs(t, faults[0].Err, ErrCorruption)
			require.Equal(t, []string{b.Name}, faults[0].Backups)
			require.NoError(t, os.WriteFile(w.path(n), whole, 0o600))
		}
	}
}

// TestVerifyOpens: a file that was damaged in the store before it was backed up is what its
// digest says, and is found all the same by who has the key.
func TestVerifyOpens(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for what, damage := range map[string]func(path string){
		"body": func(path string) { flip(t, path, -1) },
		"tag":  func(path string) { flip(t, path, keyring.HeaderLen-1) },
	} {
		w := newWorld(t)
		path := filepath.Join(t.TempDir(), "store")
		s, err := engine.Open(ctx, path, engine.Options{RootKey: w.root, MemoryBudget: 4 << 20})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		w.store = s
		tab := w.table("clinic.patients")
		put(t, tab, 0, 1000)
		require.NoError(t, tab.Flush())
		require.NoError(t, tab.Close())
		damaged := 0
		require.NoError(t, filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(p, ".sst") && strings.Contains(p, tab.ID().String()) {
				damage(p)
				damaged++
			}
			return err
		}))
		require.NotZero(t, damaged)
		if _, err := w.repo.Create(ctx, s, CreateOptions{}); err != nil {
			require.ErrorIs(t, err, ErrCorruption, what)
			continue
		}
		rep, err := w.repo.Verify(ctx, VerifyOptions{ReadData: 1})
		require.NoError(t, err)
		require.Empty(t, rep.Faults, "%s: without a key", what)
		rep, err = w.repo.Verify(ctx, VerifyOptions{ReadData: 1, Roots: []keyring.RootKey{w.root}})
		require.NoError(t, err)
		require.Len(t, rep.Faults, damaged, what)
		require.ErrorIs(t, rep.Faults[0].Err, ErrCorruption, what)
	}
}

// TestNewest: the newest backup is that of the latest time, also where names do not tell,
// and where its manifest is damaged none takes its place unasked.
func TestNewest(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	var made []string
	for n := range 6 {
		put(t, tab, n, n+1)
		w.now = w.now.Add(100 * time.Millisecond)
		rep, err := w.repo.Create(ctx, w.store, CreateOptions{})
		require.NoError(t, err)
		made = append(made, rep.Backup.Name)
	}
	list, err := w.repo.Backups(ctx)
	require.NoError(t, err)
	for n, b := range list {
		require.Equal(t, made[n], b.Name)
	}
	newest := w.create(CreateOptions{}).Backup.Name // an hour later
	b, err := w.repo.Find(ctx, Latest)
	require.NoError(t, err)
	require.Equal(t, newest, b.Name)
	require.NoError(t, os.Truncate(w.path(backupsPrefix+newest), 10))
	_, err = w.repo.Find(ctx, Latest)
	require.ErrorIs(t, err, ErrCorruption)
	_, err = w.restore(RestoreOptions{})
	require.ErrorIs(t, err, ErrCorruption)
	_, err = w.restore(RestoreOptions{Backup: made[5]})
	require.NoError(t, err)
}
