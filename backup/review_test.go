package backup

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
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
