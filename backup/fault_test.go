package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

var errInjected = errors.New("injected")

// A failing storage fails one call, and all behind it if it is sticky, as a process
// that ends. It counts what is put.
type failing struct {
	storage.Storage
	left   atomic.Int64 // calls before the one that fails; below 0 none does any more
	sticky atomic.Bool
	sent   atomic.Int64 // bytes of data objects that were put whole
}

func (f *failing) fail() error {
	n := f.left.Add(-1)
	if n == -1 || n < -1 && f.sticky.Load() {
		return errInjected
	}
	return nil
}

// never lets all calls pass from now on.
func (f *failing) never() {
	f.sticky.Store(false)
	f.left.Store(1 << 40)
}

func (f *failing) at(n int) {
	f.sticky.Store(true)
	f.left.Store(int64(n))
}

func (f *failing) Put(ctx context.Context, name string, src storage.Source) error {
	if err := f.fail(); err != nil {
		return err
	}
	err := f.Storage.Put(ctx, name, src)
	if err == nil && strings.HasPrefix(name, dataPrefix) {
		f.sent.Add(src.Size())
	}
	return err
}

// A failingNamer is one whose storage names objects after their bytes.
type failingNamer struct {
	*failing
	namer storage.Namer
}

func (f failingNamer) PutNamed(ctx context.Context, src storage.Source, name func([sha256.Size]byte) string) (sum [sha256.Size]byte, err error) {
	if err := f.fail(); err != nil {
		return sum, err
	}
	sum, err = f.namer.PutNamed(ctx, src, name)
	if err == nil {
		f.sent.Add(src.Size())
	}
	return sum, err
}

func (f *failing) Replace(ctx context.Context, name string, src storage.Source) error {
	if err := f.fail(); err != nil {
		return err
	}
	return f.Storage.Replace(ctx, name, src)
}

func (f *failing) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	return f.Storage.Get(ctx, name, off, n)
}

func (f *failing) Stat(ctx context.Context, name string) (storage.Info, error) {
	if err := f.fail(); err != nil {
		return storage.Info{}, err
	}
	return f.Storage.Stat(ctx, name)
}

func (f *failing) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	if err := f.fail(); err != nil {
		return func(yield func(storage.Info, error) bool) { yield(storage.Info{}, err) }
	}
	return f.Storage.List(ctx, prefix)
}

func (f *failing) Delete(ctx context.Context, name string) error {
	if err := f.fail(); err != nil {
		return err
	}
	return f.Storage.Delete(ctx, name)
}

// faulty has the world's repository on a storage that fails.
func (w *world) faulty() *failing {
	f := &failing{Storage: w.storage}
	f.never()
	if n, ok := f.Storage.(storage.Namer); ok {
		w.storage = failingNamer{f, n}
	} else {
		w.storage = f
	}
	w.repo = w.open(Options{})
	return f
}

// whole demands that all that is listed is whole.
func (w *world) whole() {
	w.t.Helper()
	w.verify()
}

// TestCreateStopped stops Create at each call of the storage. What is listed is whole, and
// the next call sends what was missing.
func TestCreateStopped(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	for n := range 5 {
		put(t, tab, n*300, n*300+300)
		require.NoError(t, tab.Flush())
	}
	w.create(CreateOptions{})
	f := w.faulty()
	step := 1
	if testing.Short() {
		step = 5
	}
	for n := 0; ; n += step {
		put(t, tab, n, n+50)
		require.NoError(t, tab.Flush())
		w.now = w.now.Add(time.Hour) // or the last one is not the newest
		f.at(n)
		w.now = w.now.Add(time.Hour) // of two backups of one moment none is the newest
		_, err := w.repo.Create(ctx, w.store, CreateOptions{Concurrency: 1})
		f.never()
		if err == nil {
			break
		}
		require.ErrorIs(t, err, errInjected)
		w.whole()
		sent := f.sent.Load()
		rep := w.create(CreateOptions{})
		require.Equal(t, f.sent.Load()-sent, rep.Sent, n)
		w.whole()
		require.Less(t, n, 200)
	}
	before, err := w.repo.Backups(ctx)
	require.NoError(t, err)
	s := w.newStore()
	_, err = w.repo.Restore(ctx, s, RestoreOptions{Roots: []keyring.RootKey{w.root}})
	require.NoError(t, err)
	r, err := s.Table("clinic.patients")
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), rows(t, r))
	require.NotEmpty(t, before)
}

// TestResume stops a first backup behind each of its files: together the calls send each
// file once.
func TestResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	for n := range 8 {
		put(t, tab, n*300, n*300+300)
		require.NoError(t, tab.Flush())
	}
	require.NoError(t, tab.Close()) // nothing is compacted or flushed from here on
	f := w.faulty()
	stops := 0
	for n := 3; ; n += 4 {
		f.at(n)
		_, err := w.repo.Create(t.Context(), w.store, CreateOptions{Concurrency: 1})
		f.never()
		if err == nil {
			break
		}
		stops++
	}
	require.Greater(t, stops, 2)
	sent := make(map[string]int64)
	for o, err := range w.storage.List(t.Context(), dataPrefix) {
		require.NoError(t, err)
		k, ok := parseObject(o.Name)
		require.True(t, ok)
		sent[k.ID.String()] += o.Size
	}
	total := int64(0)
	for _, n := range sent {
		total += n
	}
	require.Equal(t, total, f.sent.Load())
	w.whole()
}

// TestPruneStopped stops Prune at each call of the storage.
func TestPruneStopped(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	f := w.faulty()
	step := 1
	if testing.Short() {
		step = 7
	}
	for n := 0; ; n += step {
		for i := range 3 {
			put(t, tab, n*10+i, n*10+i+30)
			w.create(CreateOptions{})
		}
		f.at(n)
		_, err := w.repo.Prune(ctx, PruneOptions{Keep: Retention{Last: 1}, Grace: -1})
		f.never()
		w.whole()
		if err == nil {
			break
		}
		require.ErrorIs(t, err, errInjected)
		_, err = w.repo.Prune(ctx, PruneOptions{Keep: Retention{Last: 1}, Grace: -1})
		require.NoError(t, err)
		w.whole()
		list, err := w.repo.Backups(ctx)
		require.NoError(t, err)
		require.Len(t, list, 1)
		st, err := w.repo.Stats(ctx)
		require.NoError(t, err)
		require.Zero(t, st.Unneeded)
		require.Less(t, n, 200)
	}
}

// TestRestoreStopped stops Restore at each call of the storage. The next call fetches what
// was missing, and nothing is there before.
func TestRestoreStopped(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	for n := range 5 {
		put(t, tab, n*300, n*300+300)
		require.NoError(t, tab.Flush())
	}
	b := w.create(CreateOptions{}).Backup
	want := rows(t, tab)
	f := w.faulty()
	s := w.newStore()
	o := RestoreOptions{Roots: []keyring.RootKey{w.root}, Concurrency: 1}
	fetched := int64(0)
	for n := 0; ; n++ {
		f.at(n)
		rep, err := w.repo.Restore(ctx, s, o)
		f.never()
		if rep != nil {
			fetched += rep.Fetched
		}
		if err == nil {
			break
		}
		require.ErrorIs(t, err, errInjected)
		require.Empty(t, s.Tables())
		require.Less(t, n, 200)
	}
	require.Equal(t, b.Bytes(), fetched)
	r, err := s.Table("clinic.patients")
	require.NoError(t, err)
	require.Equal(t, want, rows(t, r))
	ids, err := s.Stages()
	require.NoError(t, err)
	require.Empty(t, ids)
}

// TestStagedChanged changes what a restore that was stopped has fetched: it is fetched
// again.
func TestStagedChanged(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 1000)
	require.NoError(t, tab.Flush())
	w.create(CreateOptions{})
	f := w.faulty()
	s := w.newStore()
	o := RestoreOptions{Roots: []keyring.RootKey{w.root}, Concurrency: 1}
	for n := 0; ; n++ {
		f.at(n)
		_, err := w.repo.Restore(ctx, s, o)
		f.never()
		require.Error(t, err)
		if changeStaged(s.Dir()) == nil {
			break
		}
	}
	_, err := w.repo.Restore(ctx, s, o)
	require.NoError(t, err)
	r, err := s.Table("clinic.patients")
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), rows(t, r))
}

// TestAtOnce backs up, prunes and verifies at once.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	w.repo = w.open(Options{LockWait: time.Minute})
	w.repo.opts.Now = time.Now
	tab := w.table("clinic.patients")
	put(t, tab, 0, 500)
	_, err := w.repo.Create(ctx, w.store, CreateOptions{})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for n := range 4 {
				put(t, tab, n*100+i, n*100+i+100)
				if _, err := w.repo.Create(ctx, w.store, CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 6 {
			if _, err := w.repo.Prune(ctx, PruneOptions{Keep: Retention{Last: 2}, Grace: -1}); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	w.whole()
	list, err := w.repo.Backups(ctx)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(list), 2)
}

// TestLocked backs up a table whose key is denied, and restores it on request when the key
// is back.
func TestLocked(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	key := w.key("of-the-table")
	s, err := engine.Open(ctx, w.t.TempDir()+"/store", engine.Options{RootKey: w.root, Roots: []keyring.RootKey{key}})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	w.store = s
	tab, err := s.CreateTable(ctx, "clinic.patients", engine.TableOptions{RootKey: key})
	require.NoError(t, err)
	put(t, tab, 0, 500)
	require.NoError(t, tab.RotateKey(ctx))
	put(t, w.table("clinic.visits"), 0, 10)
	for n := range 4 { // as often as a command writes
		put(t, tab, n*100, n*100+50)
		require.NoError(t, tab.Close())
	}
	require.NoError(t, tab.Compact(ctx, nil, nil))
	want := rows(t, tab)
	require.NoError(t, tab.Close())
	require.NoError(t, w.service.Disable(ctx, "of-the-table"))
	rep := w.create(CreateOptions{})
	require.Equal(t, []string{"clinic.patients"}, rep.Unsealed)
	require.Len(t, rep.Warnings, 1)
	again := w.create(CreateOptions{})
	require.Positive(t, again.Reused) // read back, and not sent
	v := w.verify()
	require.Equal(t, 2, v.Unsealed)
	require.NotEmpty(t, v.Warnings)

	fresh := w.newStore()
	o := RestoreOptions{Roots: []keyring.RootKey{w.root, key}, Tables: []string{"clinic.patients"}}
	_, err = w.repo.Restore(ctx, fresh, o)
	require.ErrorIs(t, err, keyring.ErrKeyDenied)
	require.NoError(t, w.service.Enable(ctx, "of-the-table"))
	_, err = w.repo.Restore(ctx, fresh, o)
	require.ErrorIs(t, err, ErrUnsealed)
	o.Unsealed = true
	_, err = w.repo.Restore(ctx, fresh, o)
	require.NoError(t, err)
	r, err := fresh.Table("clinic.patients")
	require.NoError(t, err)
	require.Equal(t, want, rows(t, r))
}

// TestRetention keeps what the rules say.
func TestRetention(t *testing.T) {
	t.Parallel()
	a, b := keyring.ID{1}, keyring.ID{2}
	at := func(day, hour int, tables ...keyring.ID) *Backup {
		x := &Backup{Name: fmt.Sprintf("%02d-%02d", day, hour), Time: time.Date(2026, 11, day, hour, 0, 0, 0, time.UTC)}
		for _, t := range tables {
			x.Tables = append(x.Tables, BackupTable{Table: t})
		}
		return x
	}
	list := []*Backup{
		at(1, 0, a, b), at(2, 0, a, b), at(2, 12, a), at(3, 1, a), at(3, 2, a), at(9, 0, a), at(16, 5, b),
	}
	list[1].Pinned = true
	for _, c := range []struct {
		keep Retention
		want string
	}{
		{Retention{Last: 1}, "02-00 09-00 16-05"},
		{Retention{Last: 2}, "02-00 03-02 09-00 16-05"},
		{Retention{Daily: 2}, "02-00 03-02 09-00 16-05"},
		{Retention{Hourly: 2}, "02-00 03-02 09-00 16-05"},
		{Retention{Weekly: 1}, "02-00 09-00 16-05"},
		{Retention{Weekly: 3}, "01-00 02-00 03-02 09-00 16-05"},
		{Retention{Monthly: 5}, "02-00 09-00 16-05"},
		{Retention{Within: 6 * 24 * time.Hour}, "02-00 03-01 03-02 09-00 16-05"},
		{Retention{Last: 100}, "01-00 02-00 02-12 03-01 03-02 09-00 16-05"},
	} {
		kept, removed := c.keep.choose(list)
		var names []string
		for _, k := range kept {
			names = append(names, k.Backup.Name)
			require.NotEmpty(t, k.Reasons)
		}
		require.Equal(t, c.want, strings.Join(names, " "), "%+v", c.keep)
		require.Len(t, removed, len(list)-len(kept))
	}
	require.Error(t, Retention{}.check())
	require.Error(t, Retention{Last: -1}.check())

	names := func(keep Retention, list ...*Backup) string {
		var names []string
		kept, _ := keep.choose(list)
		for _, k := range kept {
			names = append(names, k.Backup.Name)
		}
		return strings.Join(names, " ")
	}
	// Both ends of a stretch of time belong to it.
	require.Equal(t, "01-00 03-00", names(Retention{Within: 48 * time.Hour}, at(1, 0, a), at(3, 0, a)))
	// A backup of two tables is the newest of the second.
	require.Equal(t, "01-00 02-00", names(Retention{Last: 1}, at(1, 0, a, b), at(2, 0, a)))
	// The week that has both the last of December and the first of January is one.
	year := func(name string, year int, month time.Month, day int) *Backup {
		return &Backup{Name: name, Time: time.Date(year, month, day, 12, 0, 0, 0, time.UTC), Tables: []BackupTable{{Table: a}}}
	}
	require.Equal(t, "before january", names(Retention{Weekly: 2},
		year("before", 2026, 12, 24), year("december", 2026, 12, 31), year("january", 2027, 1, 2)))
}

// TestGrace condemns what no backup names, and removes it when the grace is over, unless
// a backup names it again.
func TestGrace(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 100)
	w.create(CreateOptions{})
	put(t, tab, 50, 150)
	pinned := w.create(CreateOptions{}).Backup
	put(t, tab, 100, 200)
	w.create(CreateOptions{})
	_, err := w.repo.Pin(ctx, pinned.Name)
	require.NoError(t, err)
	_, err = w.repo.Remove(ctx, pinned.Name)
	require.ErrorIs(t, err, ErrPinned)
	prune := func(o PruneOptions) *PruneReport {
		t.Helper()
		o.Keep.Last = 1
		rep, err := w.repo.Prune(ctx, o)
		require.NoError(t, err)
		w.whole()
		return rep
	}
	dry := prune(PruneOptions{DryRun: true})
	require.Len(t, dry.Removed, 1)
	require.Positive(t, dry.Condemned)
	rep := prune(PruneOptions{})
	require.Equal(t, dry.Condemned+1, rep.Condemned+1)
	require.Zero(t, rep.Deleted)
	w.now = w.now.Add(DefaultGrace / 2)
	rep = prune(PruneOptions{})
	require.Zero(t, rep.Deleted)
	require.Equal(t, dry.Condemned, rep.Condemned)
	w.now = w.now.Add(DefaultGrace)
	rep = prune(PruneOptions{})
	require.Equal(t, dry.Condemned, rep.Deleted)
	require.Zero(t, rep.Condemned)
	require.Empty(t, w.objects(condemnedPrefix))
	_, err = w.repo.Unpin(ctx, pinned.Name)
	require.NoError(t, err)
	_, err = w.repo.Remove(ctx, pinned.Name)
	require.NoError(t, err)
	w.whole()
}

// TestCopy copies to another repository, which restores by itself; what was copied is not
// sent again.
func TestCopy(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	put(t, tab, 0, 1000)
	first := w.create(CreateOptions{}).Backup
	put(t, tab, 500, 600)
	w.create(CreateOptions{})
	other := newWorld(t)
	to := &failing{Storage: other.storage}
	for n := 0; ; n++ { // stopped at each call
		to.at(n)
		r, err := Open(ctx, to, Options{})
		if err == nil {
			_, err = w.repo.CopyTo(ctx, r, CopyOptions{Concurrency: 1})
		}
		to.never()
		if err == nil {
			break
		}
		require.ErrorIs(t, err, errInjected)
		require.Less(t, n, 300)
	}
	rep, err := w.repo.CopyTo(ctx, other.repo, CopyOptions{})
	require.NoError(t, err)
	require.Zero(t, rep.Backups)
	other.root = w.root
	v := other.verify()
	require.Equal(t, 2, v.Backups)
	require.Equal(t, v.Objects, v.Opened)
	s := other.newStore()
	_, err = other.repo.Restore(ctx, s, RestoreOptions{Backup: first.Name, Roots: []keyring.RootKey{w.root}})
	require.NoError(t, err)
	d, err := w.repo.Diff(ctx, first.Name, Latest)
	require.NoError(t, err)
	require.NotEmpty(t, d)
	d, err = w.repo.Diff(ctx, Latest, Latest)
	require.NoError(t, err)
	require.Empty(t, d)
}

// TestGiveWay sends less while a table is written to.
func TestGiveWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tab := w.table("clinic.patients")
	for n := range 3000 {
		require.NoError(t, tab.Put(fmt.Appendf(nil, "%06d", n), fmt.Appendf(nil, "%x", sum(fmt.Append(nil, n))), &engine.WriteOptions{NoSync: true}))
	}
	require.NoError(t, tab.Flush())
	took := func(o CreateOptions) time.Duration {
		w2 := newWorld(t)
		o.OtherStore, o.Concurrency = true, 1
		began := time.Now()
		_, err := w2.repo.Create(t.Context(), w.store, o)
		require.NoError(t, err)
		return time.Since(began)
	}
	// A meter by itself, for a clock of its own.
	m := newMeter("test", nil, 0)
	busy := false
	m.giveWay(10<<20, func() bool { return busy })
	move := func() time.Duration {
		m.looked = time.Time{}
		began := time.Now()
		for range 4 {
			require.NoError(t, m.moved(t.Context(), 1<<20))
		}
		return time.Since(began)
	}
	require.Less(t, move(), 200*time.Millisecond)
	busy = true
	require.Greater(t, move(), 250*time.Millisecond) // one chunk passes at once
	took(CreateOptions{})
	took(CreateOptions{BusyBytesPerSecond: -1})

	c := &creation{copies: []*tableCopy{{table: tab, held: &engine.Held{Sealed: true}}}}
	writing := c.writing()
	require.False(t, writing())
	require.False(t, writing())
	put(t, tab, 0, 1)
	require.True(t, writing())
	require.False(t, writing())
}

// TestKeyLossArchive keeps a table whose key is lost as a pinned backup, and finds damage
// in it later.
func TestKeyLossArchive(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	w.repo.opts.Now = time.Now
	tab := w.table("clinic.patients")
	put(t, tab, 0, 200)
	want := rows(t, tab)
	require.NoError(t, tab.Lock(ctx))
	require.NoError(t, w.service.Disable(ctx, "default"))
	h, err := tab.Hold(ctx)
	require.NoError(t, err)
	require.False(t, h.Sealed)
	a := w.repo.KeyLossArchive()
	ref, err := a.Archive(ctx, h)
	require.NoError(t, err)
	require.NoError(t, h.Close())
	require.NoError(t, a.Verify(ctx, ref))
	require.ErrorIs(t, a.Verify(ctx, "nonsense"), ErrNotFound)
	b, err := w.repo.Find(ctx, Latest)
	require.NoError(t, err)
	require.True(t, b.Pinned)

	require.NoError(t, w.service.Enable(ctx, "default"))
	s := w.newStore()
	_, err = w.repo.Restore(ctx, s, RestoreOptions{Roots: []keyring.RootKey{w.root}, Unsealed: true})
	require.NoError(t, err)
	r, err := s.Table("clinic.patients")
	require.NoError(t, err)
	require.Equal(t, want, rows(t, r))

	// Another manifest or lockbox, which are whole, are none of the archive.
	other := *b
	other.Label = "another"
	replace := func(name string, b []byte) { require.NoError(t, w.storage.Replace(ctx, name, storage.Bytes(b))) }
	swapped, err := other.encode()
	require.NoError(t, err)
	replace(backupsPrefix+b.Name, swapped)
	require.ErrorIs(t, a.Verify(ctx, ref), ErrCorruption)
	own, err := b.encode()
	require.NoError(t, err)
	replace(backupsPrefix+b.Name, own)
	require.NoError(t, a.Verify(ctx, ref))
	name := w.objects(lockboxPrefix)[0]
	box, err := tab.Lockbox()
	require.NoError(t, err)
	forged := append([]byte(nil), box...)
	forged[len(forged)-1] ^= 1 // of the MAC, which nobody can check
	require.NoError(t, w.storage.Delete(ctx, name))
	replace(lockboxName(tab.ID(), time.Now(), forged), forged)
	require.ErrorIs(t, a.Verify(ctx, ref), ErrCorruption)
	replace(name, box)
	require.NoError(t, a.Verify(ctx, ref))

	flip(t, w.path(w.objects(dataPrefix)[0]), 300)
	require.ErrorIs(t, a.Verify(ctx, ref), ErrCorruption)
}
