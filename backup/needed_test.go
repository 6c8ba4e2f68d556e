package backup

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

// noted are the versions of a table's key that it knows to be needed.
func (w *world) noted(tab *engine.Table) (vs []uint32) {
	w.t.Helper()
	notes, err := tab.Backups(w.t.Context())
	require.NoError(w.t, err)
	for _, n := range notes {
		vs = append(vs, n.Versions...)
	}
	return vs
}

// A watched storage tells of each object before it is put.
type watched struct {
	storage.Storage
	put func(name string)
}

func (s watched) Put(ctx context.Context, name string, src storage.Source) error {
	s.put(name)
	return s.Storage.Put(ctx, name, src)
}

// TestNotedBefore: a table knows which versions of its key a backup needs before anything
// of it is in the repository, and until nothing of the repository needs them.
func TestNotedBefore(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 100)
	require.NoError(t, tab.Flush())
	seen := 0
	w.storage = watched{w.storage, func(name string) {
		if strings.HasPrefix(name, dataPrefix) {
			seen++
			require.Equal(t, []uint32{1}, w.noted(tab))
		}
	}}
	w.repo = w.open(Options{})
	first := w.create(CreateOptions{Concurrency: 1}).Backup
	require.NotZero(t, seen)

	// One that does not parse may need any: what was known stays.
	require.NoError(t, tab.RotateKey(ctx))
	require.NoError(t, tab.Compact(ctx, nil, nil))
	manifest, err := os.ReadFile(w.path(backupsPrefix + first.Name))
	require.NoError(t, err)
	require.NoError(t, os.Truncate(w.path(backupsPrefix+first.Name), 10))
	w.storage = w.storage.(watched).Storage
	w.repo = w.open(Options{})
	rep := w.create(CreateOptions{})
	require.Contains(t, w.noted(tab), uint32(1))
	require.NotEmpty(t, rep.Warnings)
	require.ErrorIs(t, tab.RetireKey(ctx, 1), engine.ErrVersionNeeded)
	require.NoError(t, os.WriteFile(w.path(backupsPrefix+first.Name), manifest, 0o600))
	_, err = w.restore(RestoreOptions{Backup: first.Name})
	require.NoError(t, err)
}

// TestNotedParts: a version that archived logs alone need is needed.
func TestNotedParts(t *testing.T) {
	t.Parallel()
	w, tab, ship := archiving(t)
	put(t, tab, 0, 10)
	ship()
	require.Equal(t, []uint32{1}, w.noted(tab))
	require.NoError(t, tab.RotateKey(t.Context()))
	require.NoError(t, tab.Flush())
	for range 2 {
		_, err := w.repo.Create(t.Context(), w.store, CreateOptions{})
		require.NoError(t, err)
		require.Contains(t, w.noted(tab), uint32(1))
	}
	w.verify()
}

// TestLockboxMended: a Create puts right what somebody has made of the table's lockbox.
func TestLockboxMended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 10)
	w.create(CreateOptions{})
	boxes := w.objects(lockboxPrefix)
	require.Len(t, boxes, 1)
	flip(t, w.path(boxes[0]), -1) // in the entry's MAC, so that it parses
	e := &BackupTable{Table: tab.ID(), KeyVersions: []uint32{1}}
	require.ErrorIs(t, w.repo.haveLockbox(t.Context(), e.Table, e.Needed()), ErrCorruption)
	_, err := w.repo.RootKeys(t.Context(), tab.ID())
	require.ErrorIs(t, err, ErrCorruption)
	rep, err := w.repo.Verify(t.Context(), VerifyOptions{}) // without a key
	require.NoError(t, err)
	require.NotEmpty(t, rep.Faults)
	w.create(CreateOptions{})
	require.Equal(t, boxes, w.objects(lockboxPrefix))
	w.verify()
	_, err = w.restore(RestoreOptions{})
	require.NoError(t, err)
}

// TestLockboxOfAnother: another table's lockbox, whole and under its digest, is none of this
// table's.
func TestLockboxOfAnother(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	a, b := w.table("clinic.a"), w.table("clinic.b")
	put(t, a, 0, 10)
	put(t, b, 0, 10)
	w.create(CreateOptions{})
	var other string
	for _, n := range w.objects(lockboxPrefix) {
		if strings.Contains(n, b.ID().String()) {
			other = n
			continue
		}
		require.NoError(t, w.storage.Delete(ctx, n))
	}
	require.NoError(t, w.repo.haveLockbox(ctx, b.ID(), []uint32{1}))
	moved := w.path(strings.Replace(other, b.ID().String(), a.ID().String(), 1))
	require.NoError(t, os.MkdirAll(filepath.Dir(moved), 0o700))
	data, err := os.ReadFile(w.path(other))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(moved, data, 0o600))
	require.ErrorIs(t, w.repo.haveLockbox(ctx, a.ID(), []uint32{1}), ErrCorruption)
	_, err = w.repo.Keys(ctx, a.ID(), []uint32{1}, []keyring.RootKey{w.root})
	require.ErrorIs(t, err, ErrNoLockbox)
	rep, err := w.repo.Verify(ctx, VerifyOptions{})
	require.NoError(t, err)
	require.NotEmpty(t, rep.Faults)
}

// TestOlderLockbox: where the newest lockbox has a version no more, an older one has it;
// the newest tells which root keys open.
func TestOlderLockbox(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 10)
	w.create(CreateOptions{})
	require.NoError(t, tab.RotateKey(ctx))
	require.NoError(t, tab.NoteBackups(ctx, engine.BackupNote{Repository: w.repo.ID(), At: time.Now().UTC()}))
	require.NoError(t, tab.RetireKey(ctx, 1))
	w.create(CreateOptions{})
	require.Len(t, w.objects(lockboxPrefix), 2)
	for _, need := range [][]uint32{{1}, {2}} {
		keys, err := w.repo.Keys(ctx, tab.ID(), need, []keyring.RootKey{w.root})
		require.NoError(t, err)
		require.True(t, keys.Holds(need))
		keys.Wipe()
	}
	_, err := w.repo.Keys(ctx, tab.ID(), []uint32{1, 2}, []keyring.RootKey{w.root})
	require.ErrorIs(t, err, keyring.ErrVersionUnknown)
	w.verify()
}

// TestRewrapParts: an archived log that needs a retired version keeps the lockboxes of
// before.
func TestRewrapParts(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w, tab, ship := archiving(t)
	put(t, tab, 0, 10)
	_, err := w.repo.Create(ctx, w.store, CreateOptions{})
	require.NoError(t, err)
	ship()
	parts, err := w.repo.parts(ctx, archivePrefix)
	require.NoError(t, err)
	require.NotEmpty(t, parts)
	require.NoError(t, tab.RotateRoot(ctx, w.root)) // another lockbox
	p := parts[0]
	p.versions = newVersionSet([]uint32{7})
	require.NoError(t, w.storage.Put(ctx, p.object(), storage.Bytes([]byte("x"))))
	before := w.objects(lockboxPrefix)
	_, err = w.repo.Rewrap(ctx, w.store, RewrapOptions{RemoveOld: true})
	require.ErrorIs(t, err, keyring.ErrVersionUnknown)
	require.Subset(t, w.objects(lockboxPrefix), before)
	require.NoError(t, w.storage.Delete(ctx, p.object()))
	list, err := w.repo.Rewrap(ctx, w.store, RewrapOptions{RemoveOld: true})
	require.NoError(t, err)
	require.Equal(t, []string{list[0].Lockbox}, w.objects(lockboxPrefix))
}

// TestIndexOfAnother: an index that says something else than the manifest is not the
// manifest's, although that has its digest: without a key nothing else tells.
func TestIndexOfAnother(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 10)
	made := w.create(CreateOptions{}).Backup
	data, err := os.ReadFile(w.path(indexName(made.Name, tab.ID())))
	require.NoError(t, err)
	for what, change := range map[string]func(x *index, e *BackupTable){
		"backup":      func(x *index, _ *BackupTable) { x.backup = newName(w.now) },
		"table":       func(x *index, _ *BackupTable) { x.table = keyring.NewID() },
		"store":       func(x *index, _ *BackupTable) { x.store = keyring.NewID() },
		"time":        func(x *index, _ *BackupTable) { x.time = x.time.Add(1) },
		"moment":      func(x *index, _ *BackupTable) { x.at = x.at.Add(1) },
		"seal":        func(_ *index, e *BackupTable) { e.Sealed = true },
		"key version": func(_ *index, e *BackupTable) { e.SealVersion = 1 },
		"files":       func(_ *index, e *BackupTable) { e.Files++ },
		"bytes":       func(_ *index, e *BackupTable) { e.Bytes++ },
		"digest":      func(_ *index, e *BackupTable) { e.Index[0] ^= 1 },
		"size":        func(_ *index, e *BackupTable) { e.IndexSize++ },
		"":            func(*index, *BackupTable) {},
	} {
		x, err := parseIndex(slices.Clone(data))
		require.NoError(t, err)
		b := *made
		b.Tables = slices.Clone(made.Tables)
		e := &b.Tables[0]
		x.incarnation = keyring.ID{}
		change(x, &BackupTable{})
		plain, err := x.encode(nil)
		require.NoError(t, err)
		e.Sealed, e.SealVersion, e.Index, e.IndexSize, e.Files, e.Bytes = false, 0, sum(plain), int64(len(plain)), len(x.files), x.bytes()
		change(&index{}, e)
		require.NoError(t, os.WriteFile(w.path(indexName(made.Name, tab.ID())), plain, 0o600))
		_, err = w.repo.readIndex(ctx, &b, e)
		if what == "" {
			require.NoError(t, err)
			continue
		}
		var foreign *CorruptionError
		require.ErrorAs(t, err, &foreign, what)
		require.ErrorIs(t, err, ErrCorruption, what)
	}
}

// TestRootKeysNow: the root keys of a table's backups are those of its newest lockbox.
func TestRootKeysNow(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w, tab := twoRoots(t)
	own := w.key("own")
	put(t, tab, 0, 10)
	w.create(CreateOptions{})
	uris, err := w.repo.RootKeys(ctx, tab.ID())
	require.NoError(t, err)
	require.Equal(t, []string{own.URI()}, uris)
	require.NoError(t, tab.ReplaceRoot(ctx, own.URI(), w.root))
	w.create(CreateOptions{})
	uris, err = w.repo.RootKeys(ctx, tab.ID())
	require.NoError(t, err)
	require.Equal(t, []string{w.root.URI()}, uris)
}
