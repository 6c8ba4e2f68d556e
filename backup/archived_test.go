package backup

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

// allParts are the parts of archived logs that the repository has.
func (w *world) allParts() []part {
	w.t.Helper()
	parts, err := w.repo.parts(w.t.Context(), archivePrefix)
	require.NoError(w.t, err)
	return parts
}

// TestPruneKeepsLogs: the logs that lead on from the oldest backup that is kept stay, and
// none before.
func TestPruneKeepsLogs(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w, tab, ship := archiving(t)
	var made []*Backup
	for n := range 3 {
		put(t, tab, 10*n, 10*n+5)
		require.NoError(t, tab.Flush()) // the log turns
		rep, err := w.repo.Create(ctx, w.store, CreateOptions{})
		require.NoError(t, err)
		made = append(made, rep.Backup)
		put(t, tab, 10*n+5, 10*n+10)
		ship()
	}
	before := len(w.allParts())
	_, err := w.repo.Prune(ctx, PruneOptions{Keep: Retention{Last: 2}, Grace: -1})
	require.NoError(t, err)
	require.Less(t, len(w.allParts()), before)
	w.verify()
	for _, b := range made[1:] {
		got, err := w.restore(RestoreOptions{Backup: b.Name, ToEnd: true})
		require.NoError(t, err)
		require.Equal(t, rows(t, tab), got)
	}
}

// TestArchiverAgain: an Archiver that begins believes nothing of what the repository has of
// a log that is still there, and puts right what is missing, changed or forged.
func TestArchiverAgain(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for what, tamper := range map[string]func(t *testing.T, w *world, parts []part){
		"missing": func(t *testing.T, w *world, parts []part) {
			require.NoError(t, w.storage.Delete(ctx, parts[0].object()))
		},
		"changed": func(t *testing.T, w *world, parts []part) { flip(t, w.path(parts[0].object()), -1) },
		"forged": func(t *testing.T, w *world, parts []part) {
			forge(t, w, parts[len(parts)-1], func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		},
		"forged, longer than the log": func(t *testing.T, w *world, parts []part) {
			forge(t, w, parts[len(parts)-1], func(b []byte) []byte { return append(b, make([]byte, 10000)...) })
		},
	} {
		w, tab, ship := archiving(t)
		_, err := w.repo.Create(ctx, w.store, CreateOptions{})
		require.NoError(t, err)
		for n := range 2 {
			put(t, tab, n, n+1)
			ship()
		}
		parts := w.allParts()
		require.GreaterOrEqual(t, len(parts), 2, what)
		tamper(t, w, parts)
		put(t, tab, 2, 3)
		_, err = w.repo.Archiver(ArchiveOptions{}).Ship(ctx, w.store)
		require.NoError(t, err)
		got, err := w.restore(RestoreOptions{ToEnd: true})
		require.NoError(t, err, what)
		require.Equal(t, rows(t, tab), got, what)
	}
}

// forge puts another part in the place of one, whole by its name.
func forge(t *testing.T, w *world, p part, change func([]byte) []byte) {
	t.Helper()
	b, err := storage.ReadAll(t.Context(), w.storage, p.object(), maxPart)
	require.NoError(t, err)
	require.NoError(t, w.storage.Delete(t.Context(), p.object()))
	n := len(b)
	b = change(b)
	p.to += int64(len(b) - n)
	p.digest = sha256.Sum256(b)
	require.NoError(t, w.storage.Put(t.Context(), p.object(), storage.Bytes(b)))
}

// TestPartsRewrapped: a part that is sent behind a rotation has the log's data keys under
// the newest version, so that none before is needed for it.
func TestPartsRewrapped(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w, tab, ship := archiving(t)
	put(t, tab, 0, 10)
	require.NoError(t, tab.RotateKey(ctx))
	put(t, tab, 10, 20)
	ship()
	parts := w.allParts()
	require.NotEmpty(t, parts)
	for _, p := range parts {
		require.Equal(t, []uint32{2}, p.versions.list)
	}
	require.NoError(t, tab.RetireKey(ctx, 1))
	_, err := w.repo.Create(ctx, w.store, CreateOptions{})
	require.NoError(t, err)
	put(t, tab, 20, 30)
	ship()
	got, err := w.restore(RestoreOptions{ToEnd: true})
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), got)
}

// TestRestoreRefuses: a name that is taken is refused before anything is fetched; and where
// what was asked for is damaged, nothing older takes its place.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	a, b := w.table("clinic.a"), w.table("clinic.b")
	put(t, a, 0, 10)
	put(t, b, 0, 10)
	w.create(CreateOptions{})
	newest := w.create(CreateOptions{}).Backup
	roots := []keyring.RootKey{w.root}
	for _, into := range []*engine.Store{w.store, w.newStore()} {
		o := RestoreOptions{Roots: roots}
		if into != w.store {
			o.As = map[string]string{"clinic.a": "clinic.b"}
		}
		_, err := w.repo.Restore(ctx, into, o)
		require.ErrorIs(t, err, engine.ErrTableExists)
		ids, err := into.Stages()
		require.NoError(t, err)
		require.Empty(t, ids)
	}
	flip(t, w.path(indexName(newest.Name, a.ID())), -1)
	s := w.newStore()
	_, err := w.repo.Restore(ctx, s, RestoreOptions{Roots: roots, Tables: []string{"clinic.a"}})
	require.ErrorIs(t, err, ErrCorruption)
	require.Empty(t, s.Tables())
}

// TestPartOfAnotherName: a part under a name that tells of another, with its own digest, is
// refused.
func TestPartOfAnotherName(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w, tab, ship := archiving(t)
	put(t, tab, 0, 10)
	ship()
	have := w.allParts()[0]
	b, err := storage.ReadAll(ctx, w.storage, have.object(), maxPart)
	require.NoError(t, err)
	for what, change := range map[string]func(p *part){
		"number":      func(p *part) { p.number++ },
		"file":        func(p *part) { p.file = keyring.NewID() },
		"incarnation": func(p *part) { p.incarnation = keyring.NewID() },
		"table":       func(p *part) { p.table = keyring.NewID() },
		"offset":      func(p *part) { p.from++; p.to++ },
		"frames":      func(p *part) { p.frames++ },
		"time":        func(p *part) { p.last = p.last.Add(1) },
		"versions":    func(p *part) { p.versions = newVersionSet([]uint32{2}) },
	} {
		p := have
		change(&p)
		require.NoError(t, w.storage.Put(ctx, p.object(), storage.Bytes(b)), what)
		p, ok := parsePartName(p.object())
		require.True(t, ok, what)
		_, _, err := w.repo.readPart(ctx, p)
		require.ErrorIs(t, err, ErrCorruption, what)
	}
	_, _, err = w.repo.readPart(ctx, have)
	require.NoError(t, err)
}

// TestRestoreBefore: a backup that is named leads to no moment before it.
func TestRestoreBefore(t *testing.T) {
	t.Parallel()
	w, tab, ship := archiving(t)
	put(t, tab, 0, 10)
	rep, err := w.repo.Create(t.Context(), w.store, CreateOptions{})
	require.NoError(t, err)
	put(t, tab, 10, 20)
	ship()
	for _, at := range []time.Time{rep.Backup.Time.Add(-time.Hour), rep.Backup.Tables[0].Until.Add(-1), time.Now().Add(time.Hour)} {
		_, err := w.restore(RestoreOptions{Backup: rep.Backup.Name, At: at})
		var reach *RangeError
		require.ErrorAs(t, err, &reach)
		require.NotEmpty(t, reach.Spans)
	}
	_, err = w.restore(RestoreOptions{Backup: rep.Backup.Name, At: rep.Backup.Tables[0].Until})
	require.NoError(t, err)
}
