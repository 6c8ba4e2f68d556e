package backup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/dir"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

// objects are the names of the repository's objects that begin with prefix.
func (w *world) objects(prefix string) (names []string) {
	w.t.Helper()
	for o, err := range w.storage.List(w.t.Context(), prefix) {
		require.NoError(w.t, err)
		names = append(names, o.Name)
	}
	return names
}

func (w *world) path(object string) string { return filepath.Join(w.dir, filepath.FromSlash(object)) }

// attack changes a copy of the repository, and demands that restore and verify find it,
// and that nothing is left of what was restored.
func (w *world) attack(what string, tamper func(dir string), classes ...error) {
	w.t.Helper()
	copied := filepath.Join(w.t.TempDir(), "repository")
	require.NoError(w.t, os.CopyFS(copied, os.DirFS(w.dir)))
	tamper(copied)
	st, err := dir.Open(copied, dir.Options{})
	require.NoError(w.t, err)
	defer st.Close()
	is := func(err error) bool {
		for _, c := range classes {
			if errors.Is(err, c) {
				return true
			}
		}
		return false
	}
	roots := []keyring.RootKey{w.root}
	r, err := Open(w.t.Context(), st, Options{})
	if err != nil {
		require.True(w.t, is(err), "%s: open: %v", what, err)
		return
	}
	s := w.newStore()
	_, err = r.Restore(w.t.Context(), s, RestoreOptions{Roots: roots, Unsealed: true})
	require.True(w.t, is(err), "%s: restore: %v", what, err)
	require.Empty(w.t, s.Tables(), what)
	rep, err := r.Verify(w.t.Context(), VerifyOptions{Roots: roots, ReadData: 1})
	if err != nil {
		require.True(w.t, is(err), "%s: verify: %v", what, err)
		return
	}
	require.NotEmpty(w.t, append(rep.Warnings, faults(rep)...), what)
	for _, f := range rep.Faults {
		require.True(w.t, is(f.Err), "%s: fault: %v", what, f.Err)
	}
}

func faults(rep *VerifyReport) (list []string) {
	for _, f := range rep.Faults {
		list = append(list, f.Message)
	}
	return list
}

func flip(t testing.TB, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[(at%len(b)+len(b))%len(b)] ^= 0x20
	require.NoError(t, os.WriteFile(path, b, 0o600))
}

// TestAttacks changes, cuts, removes, exchanges and renames every object of a
// repository.
func TestAttacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 2000)
	require.NoError(t, tab.Flush())
	put(t, tab, 0, 50)
	w.create(CreateOptions{})
	w.verify() // what is not attacked is whole
	got, err := w.restore(RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), got)
	corruption := []error{ErrCorruption, ErrNoLockbox, ErrVersion}
	missing := append([]error{ErrNotFound, ErrNoRepository}, corruption...)
	for _, n := range w.objects("") {
		if n == lockName {
			continue
		}
		local := filepath.FromSlash(n)
		w.attack(n+" removed", func(dir string) { require.NoError(t, os.Remove(filepath.Join(dir, local))) }, missing...)
		w.attack(n+" emptied", func(dir string) { require.NoError(t, os.Truncate(filepath.Join(dir, local), 0)) }, corruption...)
		w.attack(n+" cut", func(dir string) {
			fi, err := os.Stat(filepath.Join(dir, local))
			require.NoError(t, err)
			require.NoError(t, os.Truncate(filepath.Join(dir, local), fi.Size()-1))
		}, corruption...)
		w.attack(n+" is a link", func(dir string) {
			path := filepath.Join(dir, local)
			require.NoError(t, os.Rename(path, path+".moved"))
			require.NoError(t, os.Symlink(path+".moved", path))
		}, append([]error{storage.ErrNotRegular}, missing...)...)
		if n == repositoryName {
			continue // who makes another of it has another repository
		}
		for _, at := range []int{0, 9, 20, 45, -1} {
			w.attack(n+" flipped", func(dir string) { flip(t, filepath.Join(dir, local), at) }, missing...)
		}
	}
	data := w.objects(dataPrefix)
	require.GreaterOrEqual(t, len(data), 4)
	w.attack("two files exchanged", func(dir string) {
		a, b := filepath.Join(dir, filepath.FromSlash(data[0])), filepath.Join(dir, filepath.FromSlash(data[1]))
		require.NoError(t, os.Rename(a, a+".x"))
		require.NoError(t, os.Rename(b, a))
		require.NoError(t, os.Rename(a+".x", b))
	}, ErrCorruption)
}

// TestForgedManifests has whoever can write, and has no key, edit manifests and mix
// backups.
func TestForgedManifests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.table("clinic.a"), w.table("clinic.b")
	put(t, a, 0, 100)
	put(t, b, 0, 100)
	first := w.create(CreateOptions{}).Backup
	put(t, a, 50, 150)
	second := w.create(CreateOptions{}).Backup

	forge := func(what string, f func(forged *Backup, dir string), classes ...error) {
		t.Helper()
		w.attack(what, func(dir string) {
			forged := *second
			forged.Tables = append([]BackupTable{}, second.Tables...)
			f(&forged, dir)
			data, err := forged.encode()
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "backups", second.Name), data, 0o600))
		}, classes...)
	}
	index := func(dir, backup string, e BackupTable) string {
		return filepath.Join(dir, "index", backup, e.Table.String())
	}
	forge("a table left out", func(m *Backup, _ string) { m.Tables = m.Tables[:1] }, ErrCorruption)
	forge("an older index", func(m *Backup, dir string) {
		old, err := os.ReadFile(index(dir, first.Name, first.Tables[0]))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(index(dir, second.Name, second.Tables[0]), old, 0o600))
		m.Tables[0] = first.Tables[0]
	}, ErrCorruption)
	forge("another table's index", func(m *Backup, dir string) {
		other, err := os.ReadFile(index(dir, second.Name, second.Tables[1]))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(index(dir, second.Name, second.Tables[0]), other, 0o600))
		m.Tables[0].Index, m.Tables[0].IndexSize = m.Tables[1].Index, m.Tables[1].IndexSize
	}, ErrCorruption)
	forge("another time", func(m *Backup, _ string) { m.Time = m.Time.Add(1) }, ErrCorruption)
	forge("another store", func(m *Backup, _ string) { m.Store = keyring.NewID() }, ErrCorruption, ErrOtherStore)
	forge("unsealed on paper", func(m *Backup, _ string) { m.Tables[0].Sealed, m.Tables[0].SealVersion = false, 0 }, ErrCorruption)
	forge("unsealed", func(m *Backup, dir string) {
		// The index without its body, as one that was made without a key.
		path := index(dir, second.Name, second.Tables[0])
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		x, err := parseIndex(data)
		require.NoError(t, err)
		x.files = x.files[:len(x.files)-1]
		for i := range x.files {
			if strings.HasSuffix(x.files[i].name, ".sst") {
				x.files = append(x.files[:i:i], x.files[i+1:]...)
				break
			}
		}
		x.incarnation = keyring.ID{}
		plain, err := x.encode(nil)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, plain, 0o600))
		e := &m.Tables[0]
		e.Sealed, e.SealVersion, e.Index, e.IndexSize, e.Files, e.Bytes = false, 0, sum(plain), int64(len(plain)), len(x.files), x.bytes()
	}, ErrCorruption)
	w.attack("a manifest that does not parse", func(dir string) {
		flip(t, filepath.Join(dir, "backups", second.Name), 20)
	}, ErrCorruption)
	// Renamed.
	w.attack("renamed", func(dir string) {
		require.NoError(t, os.Rename(filepath.Join(dir, "backups", second.Name), filepath.Join(dir, "backups", "20261122T120000Z-00000000")))
		require.NoError(t, os.Remove(filepath.Join(dir, "backups", first.Name)))
	}, ErrCorruption, ErrNotFound)
}

// TestWrongKeys finds that a key is missing, wrong or disabled before anything is
// written.
func TestWrongKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put(t, w.table("clinic.patients"), 0, 100)
	w.create(CreateOptions{})
	s := w.newStore()
	_, err := w.repo.Restore(t.Context(), s, RestoreOptions{Roots: []keyring.RootKey{w.key("other")}})
	require.ErrorIs(t, err, keyring.ErrRootNotPinned)
	require.ErrorIs(t, err, ErrNoLockbox)
	require.NoError(t, w.service.Disable(t.Context(), "default"))
	_, err = w.repo.Restore(t.Context(), s, RestoreOptions{Roots: []keyring.RootKey{w.root}})
	require.ErrorIs(t, err, keyring.ErrKeyDenied)
	require.NoError(t, w.service.Enable(t.Context(), "default"))
	ids, err := s.Stages()
	require.NoError(t, err)
	require.Empty(t, ids)
	_, err = w.repo.Restore(t.Context(), s, RestoreOptions{Roots: []keyring.RootKey{w.root}, Tables: []string{"clinic.none"}})
	require.ErrorIs(t, err, ErrNotFound)
	_, err = w.repo.Restore(t.Context(), s, RestoreOptions{Roots: []keyring.RootKey{w.root}, As: map[string]string{"clinic.patients": "Bad"}})
	require.ErrorIs(t, err, engine.ErrInvalidName)
	_, err = w.repo.Restore(t.Context(), s, RestoreOptions{Backup: "2025", Roots: []keyring.RootKey{w.root}})
	require.ErrorIs(t, err, ErrNotFound)
	require.Empty(t, s.Tables())
}

// TestCanaries searches every byte and name of a repository for what was written.
func TestCanaries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tab := w.table("canaryspace.canarytable")
	for _, c := range []string{"canary-key-7f3a", "canary-key-91bc"} {
		require.NoError(t, tab.Put([]byte(c), []byte("canary-value-"+c), nil))
	}
	require.NoError(t, tab.Flush())
	require.NoError(t, tab.Put([]byte("canary-key-last"), []byte("canary-value-last"), nil))
	w.create(CreateOptions{Label: "a label in the clear"})
	found := false
	require.NoError(t, filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		require.NotContains(t, e.Name(), "canary")
		if !e.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotContains(t, string(b), "canary", path)
		found = found || strings.Contains(string(b), "a label in the clear") // the search finds what is there
		return nil
	}))
	require.True(t, found)
}
