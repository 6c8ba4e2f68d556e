package engine

import (
	"bytes"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// newArchived makes a store with a table that is archived.
func newArchived(t *testing.T, fs vfs.FS, change func(*Options)) (*Store, *Table) {
	opts := crashOptions(newMemRoot("archive"), fs)
	if change != nil {
		change(&opts)
	}
	s, err := Open(t.Context(), crashDir, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	tab, err := s.CreateTable(t.Context(), "clinic.patients", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.SetArchiving(t.Context(), true))
	return s, tab
}

// TestArchive rebuilds a table from nothing but its archived log, again and again
// while all that a table may meet happens to it.
func TestArchive(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	seed := mathrand.Uint64()
	s, tab := newArchived(t, vfs.NewCrashableMem(), func(o *Options) {
		o.Roots = []keyring.RootKey{newMemRoot("archive-2")}
	})
	w := &world{}
	k := &worker{w: w, s: s, name: tab.name, rng: mathrand.New(mathrand.NewPCG(seed, 0))}
	k.h = &history{name: tab.name, id: tab.id, snaps: make(map[string]snapState)}
	ship := newShipper()
	aside := newAside(t)
	check := func(what string) {
		require.NoError(t, ship.ship(ctx, tab), "%s, seed %d", what, seed)
		want, err := tab.contents()
		require.NoError(t, err)
		got, err := ship.rebuild(ctx, tab, aside)
		require.NoError(t, err, "%s, seed %d", what, seed)
		require.Equal(t, want, got, "%s, seed %d", what, seed)
	}
	write := func(n int) {
		for range n {
			op := []effect{k.effect()}
			for range k.rng.IntN(4) {
				op = append(op, k.effect())
			}
			require.NoError(t, k.mutate(tab, op))
		}
	}
	large := func(n int) {
		b := tab.NewBatch()
		for i := 0; b.Size() < n; i++ {
			v := make([]byte, 900)
			for j := range v {
				v[j] = byte(k.rng.Uint32())
			}
			require.NoError(t, b.Put(fmt.Appendf(nil, "large/%d/%06d", n, i), v))
		}
		require.NoError(t, b.DeleteRange([]byte("large/0"), []byte("large/00")))
		require.NoError(t, b.Commit(nil))
	}
	check("nothing yet")
	for _, step := range []struct {
		name string
		run  func()
	}{
		{"writes", func() { write(60) }},
		{"flush", func() { write(20); require.NoError(t, tab.Flush()) }},
		{"a batch of 100 kB", func() { large(100_000) }},
		{"a batch of 5 MB", func() { large(5 << 20) }},
		{"compaction", func() { write(60); require.NoError(t, tab.Compact(ctx, nil, nil)) }},
		{"rotation of the table key", func() { write(5); require.NoError(t, tab.RotateKey(ctx)); write(20) }},
		{"rotation to another root", func() {
			write(5)
			require.NoError(t, tab.RotateRoot(ctx, s.roots[1]))
			write(20)
		}},
		{"clean close", func() { require.NoError(t, tab.Close()); write(20) }},
		{"a close that nobody shipped before", func() {
			write(60)
			require.NoError(t, tab.Close())
			write(60)
			require.NoError(t, tab.Close())
		}},
		{"re-encryption", func() {
			write(20)
			_, err := tab.Reencrypt(ctx, ReencryptOptions{})
			require.NoError(t, err)
			write(20)
		}},
		{"retirement", func() {
			// Whoever ships a segment keeps the versions that it needs.
			keys, _, err := tab.openMetadata(ctx)
			require.NoError(t, err)
			t.Cleanup(keys.Wipe)
			ship.former = keys
			require.NoError(t, tab.RetireKey(ctx, 1))
			write(20)
		}},
		{"reopening as after a crash", func() {
			write(20)
			require.NoError(t, tab.SyncLog(ctx)) // the last few may be lost otherwise
			tab.inst.Load().hole.Trip(os.ErrInvalid)
			require.NoError(t, tab.Reopen(ctx))
			write(20)
		}},
		{"lock", func() { write(20); require.NoError(t, tab.Lock(ctx)); require.NoError(t, tab.Unlock(ctx)); write(5) }},
		{"snapshot", func() { _, err := tab.Snapshot(ctx, "s"); require.NoError(t, err); write(20) }},
		{"many logs", func() { write(400) }},
	} {
		step.run()
		check(step.name)
	}
	list, err := ship.chain()
	require.NoError(t, err)
	require.Greater(t, len(list), 10)
	st, err := tab.ArchiveStats()
	require.NoError(t, err)
	require.Zero(t, st, "all is done")
	requireVerified(t, s)
}

// TestArchiveWaits leaves the segments where they are: they are complete, are
// counted anew by another opening, and Verify reads them.
func TestArchiveWaits(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, tab := newArchived(t, vfs.NewMem(), nil)
	value := make([]byte, 3000)
	for i := range 100 {
		value[0] = byte(i)
		require.NoError(t, tab.Put(fmt.Appendf(nil, "k%03d", i), bytes.Clone(value), nil))
	}
	require.NoError(t, tab.Flush())
	ship := newShipper()
	ship.keep = true
	require.NoError(t, ship.ship(ctx, tab))
	n := len(ship.have)
	require.Greater(t, n, 3)
	before, err := tab.ArchiveSegments(ctx)
	require.NoError(t, err)
	require.NoError(t, tab.Close())
	require.NoError(t, ship.ship(ctx, tab))
	require.GreaterOrEqual(t, len(ship.have), n)
	after, err := tab.ArchiveSegments(ctx)
	require.NoError(t, err)
	for i, b := range before {
		if b.Closed {
			require.Equal(t, b, after[i], "counted by the writer, and by who reads it")
		}
	}
	want, err := tab.contents()
	require.NoError(t, err)
	got, err := ship.rebuild(ctx, tab, newAside(t))
	require.NoError(t, err)
	require.Equal(t, want, got)

	st, err := tab.ArchiveStats()
	require.NoError(t, err)
	require.Greater(t, st.Waiting, 2)
	require.Positive(t, st.Bytes)
	files := 0
	walk(s.fs, tab.archiveDir(), func(string, int64) { files++ })
	require.Equal(t, files, st.Waiting)
	rep, err := s.Verify(ctx, func(f Finding) { t.Error(f) })
	require.NoError(t, err)
	require.Greater(t, rep.Files, files)

	// Each that is done is gone, once and for all.
	after, err = tab.ArchiveSegments(ctx)
	require.NoError(t, err)
	for _, seg := range after {
		if !seg.Closed {
			require.ErrorIs(t, tab.ArchiveDone(seg), ErrSegmentOpen)
			continue
		}
		require.NoError(t, tab.ArchiveDone(seg))
		require.NoError(t, tab.ArchiveDone(seg))
	}
	list, err := tab.ArchiveSegments(ctx)
	require.NoError(t, err)
	for _, seg := range list {
		require.False(t, seg.Closed)
	}
	_, err = tab.OpenSegment(before[0])
	require.ErrorIs(t, err, ErrSegmentGone)
}

// TestArchiveLimit has the oldest go where more waits than may, and the next show it.
func TestArchiveLimit(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	_, tab := newArchived(t, vfs.NewMem(), func(o *Options) { o.ArchiveLimit = 100 << 10 })
	for i := range 200 {
		require.NoError(t, tab.Put(fmt.Appendf(nil, "k%03d", i), make([]byte, 3000), nil))
	}
	require.NoError(t, tab.Flush())
	var st ArchiveStats
	require.Eventually(t, func() bool {
		var err error
		st, err = tab.ArchiveStats()
		require.NoError(t, err)
		return st.Dropped > 0
	}, 10*time.Second, time.Millisecond)
	require.Positive(t, st.DroppedBytes)
	require.LessOrEqual(t, st.Bytes, int64(100<<10))
	list, err := tab.ArchiveSegments(ctx)
	require.NoError(t, err)
	require.NotZero(t, list[0].Previous.Number, "the gap shows")
	for i := range list[1:] {
		require.Equal(t, list[i].Number, list[i+1].Previous.Number)
	}
}

// TestArchiveOff removes what waits, and so does dropping the table.
func TestArchiveOff(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, tab := newArchived(t, vfs.NewMem(), nil)
	on, err := tab.Archiving(ctx)
	require.NoError(t, err)
	require.True(t, on)
	fill := func() {
		for i := range 50 {
			require.NoError(t, tab.Put(fmt.Appendf(nil, "k%03d", i), make([]byte, 3000), nil))
		}
		require.NoError(t, tab.Flush())
	}
	waits := func() (n int) {
		walk(s.fs, tab.archiveDir(), func(string, int64) { n++ })
		return n
	}
	fill()
	require.Eventually(t, func() bool { return waits() > 0 }, 10*time.Second, time.Millisecond)
	require.NoError(t, tab.SetArchiving(ctx, false))
	require.Zero(t, waits())
	_, err = tab.ArchiveSegments(ctx)
	require.ErrorIs(t, err, ErrNotArchiving)
	fill()
	require.NoError(t, tab.Close())
	require.Zero(t, waits())
	require.NoError(t, tab.SetArchiving(ctx, true))
	fill()
	require.NoError(t, tab.Close())
	require.Positive(t, waits())
	rep, err := s.DropTable(ctx, tab.name, DropOptions{})
	require.NoError(t, err)
	require.Positive(t, rep.Files)
	_, err = s.fs.Stat(tab.archiveDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestArchiveLocked ships what waits of a table whose key is not to be had.
func TestArchiveLocked(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, tab := newArchived(t, vfs.NewMem(), nil)
	for i := range 50 {
		require.NoError(t, tab.Put(fmt.Appendf(nil, "k%03d", i), make([]byte, 3000), nil))
	}
	require.NoError(t, tab.Flush())
	require.NoError(t, tab.Close())
	sealed, err := tab.ArchiveSegments(ctx)
	require.NoError(t, err)
	require.NoError(t, tab.Lock(ctx))
	_, err = tab.ArchiveSegments(ctx)
	require.ErrorIs(t, err, ErrKeyInaccessible)
	require.NoError(t, tab.SyncLog(ctx))

	list, err := tab.WaitingSegments(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, list)
	ship := newShipper()
	require.NoError(t, ship.shipAll(tab, list))
	again, err := tab.WaitingSegments(ctx)
	require.NoError(t, err)
	require.Empty(t, again)
	require.NoError(t, tab.Unlock(ctx))
	keys, _, err := tab.openMetadata(ctx)
	require.NoError(t, err)
	defer keys.Wipe()
	for _, seg := range list {
		h := ship.have[seg.FileID]
		l, err := OpenArchived(bytes.NewReader(h.bytes), h.Length, ArchivedOptions{Keys: keys, StoreID: s.ID(), TableID: tab.id, Unsealed: true})
		require.NoError(t, err)
		for _, err := range l.Batches() {
			require.NoError(t, err)
		}
		for _, k := range sealed {
			if k.FileID == seg.FileID {
				require.Equal(t, k.Frames, l.Segment().Frames)
				require.Equal(t, k.Previous, l.Previous())
			}
		}
		require.NoError(t, l.Close())
	}
}

// TestArchiveReadOnly lists what waits in a store that only reads, and nothing else.
func TestArchiveReadOnly(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem, root := vfs.NewMem(), newMemRoot("archive")
	opts := crashOptions(root, mem)
	s, err := Open(ctx, crashDir, opts)
	require.NoError(t, err)
	tab, err := s.CreateTable(ctx, "clinic.patients", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.SetArchiving(ctx, true))
	for i := range 50 {
		require.NoError(t, tab.Put(fmt.Appendf(nil, "k%03d", i), make([]byte, 3000), nil))
	}
	require.NoError(t, s.Close())
	opts.Mode = ReadOnly
	s, err = Open(ctx, crashDir, opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	tab, err = s.Table("clinic.patients")
	require.NoError(t, err)
	list, err := tab.ArchiveSegments(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, list)
	require.ErrorIs(t, tab.ArchiveDone(list[0]), ErrReadOnly)
	require.ErrorIs(t, tab.SyncLog(ctx), ErrReadOnly)
	require.ErrorIs(t, tab.SetArchiving(ctx, false), ErrReadOnly)
	requireVerified(t, s)
}

// TestArchiveUnsynced ships nothing that a power cut may still take away, and all of
// it once the log is synced.
func TestArchiveUnsynced(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	_, tab := newArchived(t, vfs.NewCrashableMem(), func(o *Options) { o.tune.memTableSize = 4 << 20 })
	lengthOf := func() (n int64) {
		list, err := tab.ArchiveSegments(ctx)
		require.NoError(t, err)
		for _, s := range list {
			n += s.Length
		}
		return n
	}
	require.NoError(t, tab.Put(key, []byte("synced"), nil))
	before := lengthOf()
	require.Positive(t, before)
	for range 60 { // more than Pebble keeps to itself
		require.NoError(t, tab.Put(key, make([]byte, 3000), &WriteOptions{NoSync: true}))
	}
	require.Equal(t, before, lengthOf())
	require.NoError(t, tab.SyncLog(ctx))
	after := lengthOf()
	require.Greater(t, after, before+180_000)
	require.NoError(t, tab.SyncLog(ctx))
	require.Equal(t, after, lengthOf(), "nothing to sync, nothing written")
}

// TestArchiveReadersAreLeftAlone reads a log's ciphertext while archiving ends and the
// log's file would be used again.
func TestArchiveReadersAreLeftAlone(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	_, tab := newArchived(t, vfs.NewMem(), nil)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	list, err := tab.ArchiveSegments(ctx)
	require.NoError(t, err)
	last := list[len(list)-1]
	require.False(t, last.Closed)
	r, err := tab.OpenSegment(last)
	require.NoError(t, err)
	want := make([]byte, last.Length)
	_, err = r.ReadAt(want, 0)
	require.NoError(t, err)
	require.NoError(t, tab.SetArchiving(ctx, false))
	for i := range 300 {
		require.NoError(t, tab.Put(fmt.Appendf(nil, "k%03d", i), make([]byte, 3000), nil))
	}
	got := make([]byte, last.Length)
	_, err = r.ReadAt(got, 0)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
}

// TestArchiveBesideWriters ships while eight goroutines write.
func TestArchiveBesideWriters(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	_, tab := newArchived(t, vfs.NewMem(), nil)
	var stop atomic.Bool
	done := make(chan error, 9)
	for g := range 8 {
		go func() {
			var err error
			for i := 0; err == nil && !stop.Load(); i++ {
				err = tab.Put(fmt.Appendf(nil, "%d/%03d", g, i%200), make([]byte, 500+i%1000), &WriteOptions{NoSync: i%3 > 0})
			}
			done <- err
		}()
	}
	ship := newShipper()
	for range 30 {
		require.NoError(t, ship.ship(ctx, tab))
		time.Sleep(5 * time.Millisecond)
	}
	stop.Store(true)
	for range 8 {
		require.NoError(t, <-done)
	}
	require.NoError(t, ship.ship(ctx, tab))
	want, err := tab.contents()
	require.NoError(t, err)
	got, err := ship.rebuild(ctx, tab, newAside(t))
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// TestArchiveDamage changes what waits: it is told as damage, by Verify too, and can
// be given up.
func TestArchiveDamage(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	opts := crashOptions(newMemRoot("archive"), nil)
	s, err := Open(ctx, dir, opts)
	require.NoError(t, err)
	tab, err := s.CreateTable(ctx, "clinic.patients", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.SetArchiving(ctx, true))
	for i := range 50 {
		require.NoError(t, tab.Put(fmt.Appendf(nil, "k%03d", i), make([]byte, 3000), nil))
	}
	require.NoError(t, s.Close())
	names, err := filepath.Glob(filepath.Join(tab.archiveDir(), "*.log"))
	require.NoError(t, err)
	require.Greater(t, len(names), 2)
	b, err := os.ReadFile(names[0])
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(names[0], b, 0o600))
	b, err = os.ReadFile(names[1])
	require.NoError(t, err)
	b[40] ^= 1 // in the header
	require.NoError(t, os.WriteFile(names[1], b, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(tab.archiveDir(), "notes.txt"), nil, 0o600))

	s, err = Open(ctx, dir, opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	tab, err = s.Table("clinic.patients")
	require.NoError(t, err)
	faults, warnings := 0, 0
	_, err = s.Verify(ctx, func(f Finding) {
		if f.Warning {
			warnings++
			require.Contains(t, f.Path, "notes.txt")
			return
		}
		faults++
		require.True(t, strings.HasPrefix(f.Path, "archive/"), f.Path)
		require.ErrorIs(t, f.Err, corrupt.ErrCorrupt)
	})
	require.NoError(t, err)
	require.Equal(t, 2, faults)
	require.Equal(t, 1, warnings)
	list, err := tab.ArchiveSegments(ctx)
	require.NoError(t, err)
	damaged := 0
	for _, seg := range list {
		if seg.Damage != nil {
			damaged++
			require.ErrorIs(t, seg.Damage, ErrCorruption)
			require.NoError(t, tab.ArchiveDone(seg))
		}
	}
	require.Equal(t, 2, damaged)
	requireVerified(t, s)
}

// TestArchivedStrict changes what was shipped: each change is an error and no batch
// that was not written comes out.
func TestArchivedStrict(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, tab := newArchived(t, vfs.NewMem(), func(o *Options) { o.tune.memTableSize = 4 << 20 })
	for i := range 20 {
		require.NoError(t, tab.Put(fmt.Appendf(nil, "k%03d", i), make([]byte, 100), nil))
	}
	ship := newShipper()
	require.NoError(t, ship.ship(ctx, tab))
	list, err := ship.chain()
	require.NoError(t, err)
	h := list[len(list)-1]
	keys, _, err := tab.openMetadata(ctx)
	require.NoError(t, err)
	defer keys.Wipe()
	whole := ArchivedOptions{Keys: keys, StoreID: s.ID(), TableID: tab.id, FileID: h.FileID, Number: h.Number, Frames: h.Frames, Path: "shipped"}
	read := func(b []byte, o ArchivedOptions) (n int, err error) {
		l, err := OpenArchived(bytes.NewReader(b), int64(len(b)), o)
		if err != nil {
			return 0, err
		}
		defer l.Close()
		for _, err := range l.Batches() {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	all, err := read(h.bytes, whole)
	require.NoError(t, err)
	require.GreaterOrEqual(t, all, 20)
	rng := mathrand.New(mathrand.NewPCG(1, 1))
	for range 200 {
		b := bytes.Clone(h.bytes)
		at := rng.IntN(len(b))
		b[at] ^= 1 << rng.IntN(8)
		n, err := read(b, whole)
		require.ErrorIs(t, err, ErrCorruption, "byte %d", at)
		require.Less(t, n, all+1)
	}
	ends := 0
	for cut := keyring.HeaderLen; cut < len(h.bytes); cut++ {
		n, err := read(h.bytes[:cut], whole)
		require.ErrorIs(t, err, ErrCorruption, "cut at %d", cut)
		require.LessOrEqual(t, n, all)
		open := whole
		open.Frames = 0
		if n, err := read(h.bytes[:cut], open); err == nil {
			ends++ // a prefix that ends with a frame
			require.Less(t, n, all)
		} else {
			require.ErrorIs(t, err, ErrCorruption)
		}
	}
	require.InDelta(t, h.Frames-1, ends, 1)
	for name, change := range map[string]func(*ArchivedOptions){
		"store":  func(o *ArchivedOptions) { o.StoreID = keyring.NewID() },
		"table":  func(o *ArchivedOptions) { o.TableID = keyring.NewID() },
		"file":   func(o *ArchivedOptions) { o.FileID = keyring.NewID() },
		"number": func(o *ArchivedOptions) { o.Number++ },
		"frames": func(o *ArchivedOptions) { o.Frames++ },
		"fewer":  func(o *ArchivedOptions) { o.Frames-- },
	} {
		o := whole
		change(&o)
		_, err := read(h.bytes, o)
		require.ErrorIs(t, err, ErrCorruption, name)
	}
	_, err = read(append(bytes.Clone(h.bytes), 0), whole)
	require.ErrorIs(t, err, ErrCorruption)
}

// TestApplyArchivedRefuses holds that what Cofre does not write is not applied.
func TestApplyArchivedRefuses(t *testing.T) {
	t.Parallel()
	_, tab := newArchived(t, vfs.NewMem(), nil)
	for name, repr := range map[string][]byte{
		"short":    make([]byte, 11),
		"a count":  append(make([]byte, 8), 2, 0, 0, 0, 1, 1, 'k', 1, 'v'),
		"cut":      append(make([]byte, 8), 1, 0, 0, 0, 1, 9, 'k'),
		"kind 200": append(make([]byte, 8), 1, 0, 0, 0, 200, 1, 'k'),
	} {
		require.ErrorIs(t, tab.ApplyArchived(ArchivedBatch{Repr: repr, Count: 1}, nil), ErrCorruption, name)
	}
	merge := append(make([]byte, 8), 1, 0, 0, 0, 2, 1, 'k', 1, 'v')
	require.ErrorIs(t, tab.ApplyArchived(ArchivedBatch{Repr: merge, Count: 1}, nil), ErrUnknownOperation)
}

// TestArchiveRetire retires a version of the table's key that segments wait under:
// they can be read all the same, and say under what.
func TestArchiveRetire(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, tab := newArchived(t, vfs.NewMem(), nil)
	fill := func() {
		for i := range 50 {
			require.NoError(t, tab.Put(fmt.Appendf(nil, "k%03d", i), make([]byte, 3000), nil))
		}
		require.NoError(t, tab.Flush())
	}
	fill()
	require.NoError(t, tab.Close())
	require.NoError(t, tab.RotateKey(ctx))
	fill()
	st, err := s.KeyStatus(ctx)
	require.NoError(t, err)
	require.Empty(t, st.Tables[0].Versions[0].NeededBy, "all is wrapped anew")
	require.NoError(t, tab.RetireKey(ctx, 1))
	require.NoError(t, tab.Close())
	list, err := tab.ArchiveSegments(ctx)
	require.NoError(t, err)
	former := 0
	for _, seg := range list {
		require.NoError(t, seg.Damage)
		require.NotEmpty(t, seg.Keys)
		for _, k := range seg.Keys {
			if k.Version == 1 {
				former++
				require.Len(t, seg.Rewrapped, 1)
				require.Equal(t, k.File, seg.Rewrapped[0].File)
				require.EqualValues(t, 2, seg.Rewrapped[0].Version)
			}
		}
	}
	require.Positive(t, former)
	ship := newShipper()
	require.NoError(t, ship.ship(ctx, tab))
	want, err := tab.contents()
	require.NoError(t, err)
	got, err := ship.rebuild(ctx, tab, newAside(t))
	require.NoError(t, err)
	require.Equal(t, want, got)
	requireVerified(t, s)
}
