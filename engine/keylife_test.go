package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// rowsOf reads all of a table or view.
func rowsOf(t testing.TB, scan func(ScanOptions) func(func(Entry, error) bool)) map[string]string {
	t.Helper()
	rows := make(map[string]string)
	for e, err := range scan(ScanOptions{}) {
		require.NoError(t, err)
		rows[string(e.Key)] = string(e.Value)
	}
	return rows
}

func tableRows(t testing.TB, tab *Table) map[string]string {
	return rowsOf(t, func(o ScanOptions) func(func(Entry, error) bool) { return tab.Scan(o) })
}

func snapshotRows(t testing.TB, tab *Table, name string) map[string]string {
	t.Helper()
	v, err := tab.OpenSnapshot(t.Context(), name)
	require.NoError(t, err)
	defer v.Close()
	return rowsOf(t, func(o ScanOptions) func(func(Entry, error) bool) { return v.Scan(o) })
}

// TestKeysInAnyOrder rotates root keys and table keys, re-encrypts and retires, in
// changing order, and takes a snapshot between any two: each snapshot opens and is
// what it was, with the newest root key alone in the end.
func TestKeysInAnyOrder(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fs := vfs.NewCrashableMem()
	a, b := newMemRoot("a"), newMemRoot("b")
	s, tab := rotating(t, fs, a, b)
	snaps := make(map[string]map[string]string)
	step, version := 0, uint32(1)
	steps := map[string]func() error{
		"root":  func() error { version++; return tab.RotateRoot(ctx, []*memRoot{a, b}[version%2]) },
		"key":   func() error { version++; return tab.RotateKey(ctx) },
		"crypt": func() error { _, err := tab.Reencrypt(ctx, ReencryptOptions{}); return err },
		"retire": func() error {
			if version == 1 {
				return nil
			}
			err := tab.RetireKey(ctx, version-1)
			if errors.Is(err, keyring.ErrVersionUnknown) {
				return nil // done before
			}
			return err
		},
		"close": tab.Close,
	}
	order := []string{"root", "key", "crypt", "retire", "close"}
	for n := range 24 {
		for i := range 50 {
			require.NoError(t, tab.Put(fmt.Appendf(nil, "%03d", (n*7+i)%120), fmt.Appendf(nil, "%d/%d", n, i), nil))
		}
		if n%3 == 0 {
			require.NoError(t, tab.Flush())
		}
		what := order[(n*n+n/5)%len(order)]
		require.NoError(t, steps[what](), "step %d: %s", n, what)
		step++
		name := fmt.Sprint("s", step)
		_, err := tab.Snapshot(ctx, name)
		require.NoError(t, err)
		snaps[name] = tableRows(t, tab)
	}
	live := tableRows(t, tab)
	check := func(tab *Table) {
		require.Equal(t, live, tableRows(t, tab))
		for name, want := range snaps {
			require.Equal(t, want, snapshotRows(t, tab, name), name)
		}
	}
	check(tab)
	requireVerified(t, s)
	require.NoError(t, tab.RotateRoot(ctx, a))
	st, err := s.KeyStatus(ctx)
	require.NoError(t, err)
	for _, v := range st.Tables[0].Versions {
		if v.State == "older" {
			require.NoError(t, tab.RetireKey(ctx, v.Number))
		}
	}
	check(tab)
	require.NoError(t, s.Close())

	// The other root key is gone, and with it every wrap that it has made.
	b.fail(keyring.ErrKeyNotFound)
	s, tab = rotating(t, fs, a, b)
	check(tab)
	st, err = s.KeyStatus(ctx)
	require.NoError(t, err)
	for _, v := range st.Tables[0].Versions {
		require.Empty(t, v.NeededBy)
		require.Equal(t, v.State == "current", v.Number == st.Tables[0].Versions[len(st.Tables[0].Versions)-1].Number)
	}
	requireVerified(t, s)
	require.NoError(t, s.Close())
}

// TestRetire refuses what must not go, and what is gone is not needed.
func TestRetire(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fs := vfs.NewCrashableMem()
	a, b := newMemRoot("a"), newMemRoot("b")
	s, tab := rotating(t, fs, a, b)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	require.ErrorIs(t, tab.RetireKey(ctx, 1), keyring.ErrVersionCurrent)
	require.ErrorIs(t, tab.RetireKey(ctx, 7), keyring.ErrVersionUnknown)
	_, err := tab.Snapshot(ctx, "s")
	require.NoError(t, err)
	require.NoError(t, tab.RotateRoot(ctx, b)) // which wraps no data key again
	st, err := s.KeyStatus(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, st.Tables[0].Versions[0].NeededBy)
	require.Contains(t, strings.Join(st.Tables[0].Versions[0].NeededBy, "\n"), "snapshot s")

	// A file that is being made under the version keeps it.
	i, err := tab.use()
	require.NoError(t, err)
	require.NoError(t, tab.RotateKey(ctx))
	require.NoError(t, tab.RotateKey(ctx))
	f, err := i.fs.Create(fs.PathJoin(tab.dir, "900000.sst"), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.NoError(t, tab.RotateKey(ctx))
	err = tab.RetireKey(ctx, 4)
	require.ErrorIs(t, err, ErrVersionNeeded)
	var needed *NeededError
	require.ErrorAs(t, err, &needed)
	require.Equal(t, []string{"a file that is being written"}, needed.By)
	require.NoError(t, f.Close())
	require.NoError(t, fs.Remove(fs.PathJoin(tab.dir, "900000.sst")))
	i.leave()
	for _, v := range []uint32{4, 1, 3, 2} {
		require.NoError(t, tab.RetireKey(ctx, v))
		require.ErrorIs(t, tab.RetireKey(ctx, v), keyring.ErrVersionUnknown)
	}
	require.Equal(t, map[string]string{string(key): "v"}, tableRows(t, tab))
	require.Equal(t, map[string]string{string(key): "v"}, snapshotRows(t, tab, "s"))
	require.NoError(t, tab.Close())
	require.Equal(t, map[string]string{string(key): "v"}, tableRows(t, tab))
	requireVerified(t, s)
	require.NoError(t, s.Close())

	// Without its overlay, or with an older one, the table does not open.
	names, err := fs.List(fs.PathJoin(tab.dir, overlayDir))
	require.NoError(t, err)
	require.Len(t, names, 1)
	path := fs.PathJoin(tab.dir, overlayDir, names[0])
	whole, err := vfsRead(fs, path)
	require.NoError(t, err)
	for at := 0; at < len(whole); at += 7 {
		bad := slices.Clone(whole)
		bad[at] ^= 1
		require.NoError(t, vfsWrite(fs, path, bad))
		s, tab := rotating(t, fs, a, b)
		_, err := tab.Get(key)
		require.ErrorIs(t, err, ErrCorruption, "byte %d", at)
		require.NoError(t, s.Close())
	}
	require.NoError(t, fs.Remove(path))
	s, tab = rotating(t, fs, a, b)
	_, err = tab.Get(key)
	require.ErrorIs(t, err, ErrCorruption)
	require.NoError(t, vfsWrite(fs, path, whole))
	_, err = tab.Get(key)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func vfsRead(fs vfs.FS, path string) ([]byte, error) {
	fi, err := fs.Stat(path)
	if err != nil {
		return nil, err
	}
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, fi.Size())
	_, err = f.ReadAt(b, 0)
	return b, err
}

func vfsWrite(fs vfs.FS, path string, b []byte) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// TestReencrypt seals a table anew while it is written to and read, with a pace, and
// with interruptions: no live file is older than its beginning, nothing is lost, and
// the keys of before open none of the live files.
func TestReencrypt(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fs := vfs.NewCrashableMem()
	a, b := newMemRoot("a"), newMemRoot("b")
	s, tab := rotating(t, fs, a, b)
	value := make([]byte, 400)
	for i := range 3000 {
		require.NoError(t, tab.Put(fmt.Appendf(nil, "before/%05d", i), value, &WriteOptions{NoSync: true}))
	}
	_, err := tab.Snapshot(ctx, "s")
	require.NoError(t, err)
	require.NoError(t, tab.Flush())
	old := fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, tab.RotateRoot(ctx, b))

	// One that is interrupted can be taken up again, and one at a time works.
	some, cancel := context.WithCancel(ctx)
	calls := 0
	_, err = tab.Reencrypt(some, ReencryptOptions{BytesPerSecond: 1 << 20, Progress: func(p ReencryptProgress) {
		calls++
		_, err := tab.Reencrypt(ctx, ReencryptOptions{})
		require.ErrorIs(t, err, ErrInUse)
		cancel()
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.NotZero(t, calls)
	began, err := tab.Reencrypting(ctx)
	require.NoError(t, err)
	require.False(t, began.IsZero())
	require.NoError(t, tab.Close())

	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := tab.Put(fmt.Appendf(nil, "during/%05d", n%500), value, nil); err != nil {
				t.Error(err)
			}
			if n%200 == 0 {
				if err := tab.Compact(ctx, nil, nil); err != nil {
					t.Error(err)
				}
			}
			if _, err := tab.Get(fmt.Appendf(nil, "before/%05d", n%3000)); err != nil {
				t.Error(err)
			}
		}
	})
	// A scan keeps the last step waiting, and does not fail.
	waited := make(chan struct{})
	scanned := make(chan int)
	first := make(chan struct{})
	go func() {
		n := 0
		for _, err := range tab.Scan(ScanOptions{Prefix: []byte("before/")}) {
			if err != nil {
				t.Error(err)
			}
			if n++; n == 1 {
				close(first)
				<-waited
			}
		}
		scanned <- n
	}()
	<-first
	var once sync.Once
	rep, err := tab.Reencrypt(ctx, ReencryptOptions{Progress: func(p ReencryptProgress) {
		if p.Waiting {
			once.Do(func() { close(waited) })
		}
	}})
	require.NoError(t, err)
	require.Equal(t, 3000, <-scanned)
	close(stop)
	wg.Wait()
	require.True(t, rep.Resumed)
	require.True(t, rep.Begun.Equal(began))
	require.Equal(t, []uint32{1}, rep.Free)
	require.EqualValues(t, 2, rep.KeyVersion)
	st, err := s.KeyStatus(ctx)
	require.NoError(t, err)
	require.Zero(t, st.Tables[0].Versions[0].Files)
	require.False(t, st.Tables[0].Versions[1].Oldest.Before(began))
	require.Nil(t, st.Tables[0].Reencrypting)
	require.Empty(t, readable(t, old, fs, tab, a), "a file that the former keys open")
	require.Len(t, snapshotRows(t, tab, "s"), 3000)
	requireVerified(t, s)
	require.NoError(t, s.Close())
	s, tab = rotating(t, fs, a, b)
	require.GreaterOrEqual(t, len(tableRows(t, tab)), 3000)
	requireVerified(t, s)
	require.NoError(t, s.Close())
}

// TestLockedTable keeps a table locked over a restart, and loses nothing.
func TestLockedTable(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fs := vfs.NewCrashableMem()
	a, b := newMemRoot("a"), newMemRoot("b")
	s, tab := rotating(t, fs, a, b)
	require.NoError(t, tab.Put(key, []byte("v"), &WriteOptions{NoSync: true}))
	v, err := tab.View()
	require.NoError(t, err)
	require.NoError(t, tab.Lock(ctx))
	require.NoError(t, tab.Lock(ctx))
	_, err = v.Get(key)
	require.Error(t, err)
	require.NoError(t, v.Close())
	refused := func() {
		_, err := tab.Get(key)
		require.ErrorIs(t, err, ErrKeyInaccessible)
		var l *LockedError
		require.ErrorAs(t, err, &l)
		require.ErrorIs(t, tab.Put(key, nil, nil), ErrKeyInaccessible)
		for _, err := range tab.Scan(ScanOptions{}) {
			require.ErrorIs(t, err, ErrKeyInaccessible)
		}
		require.ErrorIs(t, tab.Reopen(ctx), ErrKeyInaccessible)
	}
	refused()
	other, err := s.CreateTable(ctx, "clinic.visits", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, other.Put(key, nil, nil))
	require.NoError(t, s.Close())
	s, tab = rotating(t, fs, a, b)
	refused()
	require.NoError(t, tab.Unlock(ctx))
	require.NoError(t, tab.Unlock(ctx))
	require.Equal(t, map[string]string{string(key): "v"}, tableRows(t, tab))
	requireVerified(t, s)
	require.NoError(t, s.Close())
}

// leased opens a store whose leases are short, over a root key of the store's own
// and one of the table's.
func leased(t *testing.T, length time.Duration) (s *Store, tab *Table, root *memRoot, fs *vfs.MemFS) {
	root, fs = newMemRoot("table"), vfs.NewCrashableMem()
	opts := crashOptions(newMemRoot("store"), fs)
	opts.Roots = []keyring.RootKey{root}
	opts.KeyLease = length
	s, err := Open(t.Context(), crashDir, opts)
	require.NoError(t, err)
	tab, err = s.CreateTable(t.Context(), "clinic.patients", TableOptions{RootKey: root})
	require.NoError(t, err)
	return s, tab, root, fs
}

// TestDeniedLocks has a key denied: within the lease the table locks, for reads and
// writes, its keys are wiped, other tables do not notice, and when the key is back
// all that was acknowledged is there.
func TestDeniedLocks(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"denied": keyring.ErrKeyDenied, "unreachable": keyring.ErrKeyUnreachable} {
		const length = 2 * time.Second
		s, tab, root, _ := leased(t, length)
		other, oerr := s.CreateTable(t.Context(), "clinic.visits", TableOptions{})
		require.NoError(t, oerr)
		require.NoError(t, tab.Put(key, []byte("v"), &WriteOptions{NoSync: true}))
		require.NoError(t, other.Put(key, []byte("v"), nil))
		i := tab.inst.Load()
		root.fail(err)
		begun := time.Now()
		acknowledged := 0
		for {
			if perr := tab.Put(fmt.Appendf(nil, "%06d", acknowledged), nil, &WriteOptions{NoSync: true}); perr != nil {
				require.ErrorIs(t, perr, ErrKeyInaccessible, name)
				require.ErrorIs(t, perr, err, name)
				break
			}
			acknowledged++
			require.Less(t, time.Since(begun), 5*length, name)
		}
		_, gerr := tab.Get(key)
		require.ErrorIs(t, gerr, ErrKeyInaccessible, name)
		require.Eventually(t, func() bool {
			_, err := i.keys.NewDataKey(keyring.NewID())
			return errors.Is(err, keyring.ErrKeysWiped)
		}, length, time.Millisecond, name)
		require.NoError(t, other.Put(key, []byte("w"), nil), name)
		st, serr := s.KeyStatus(t.Context())
		require.NoError(t, serr)
		require.NotEmpty(t, st.Tables[0].Locked, name)
		require.False(t, st.Tables[0].Open, name)

		root.fail(nil)
		require.Eventually(t, func() bool { _, err := tab.Get(key); return err == nil }, 20*time.Second, time.Millisecond, name)
		require.Len(t, tableRows(t, tab), acknowledged+1, name)
		requireVerified(t, s)
		require.NoError(t, s.Close())
	}
}

// TestLeaseIsRenewed asks the key service once in a while, and once at a time,
// however much the table is used; a table that is closed asks no more.
func TestLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	s, tab, root, _ := leased(t, 2*time.Second)
	asked := func() int {
		root.mu.Lock()
		defer root.mu.Unlock()
		return root.unwrap
	}
	before, begun := asked(), time.Now()
	for time.Since(begun) < 6*time.Second {
		require.NoError(t, tab.Put(key, nil, &WriteOptions{NoSync: true}))
	}
	renewals := asked() - before
	require.GreaterOrEqual(t, renewals, 3)
	require.Less(t, renewals, 10)
	require.NoError(t, tab.Close())
	before = asked()
	time.Sleep(2 * time.Second)
	require.Equal(t, before, asked())
	require.NoError(t, s.Close())
}

// TestOneAsksForAll opens a table from many goroutines at once while its key service
// denies: it is asked a few times, not once for each.
func TestOneAsksForAll(t *testing.T) {
	t.Parallel()
	s, tab, root, _ := leased(t, time.Hour)
	require.NoError(t, tab.Close())
	root.fail(keyring.ErrKeyDenied)
	tab.mu.Lock()
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			_, err := tab.Get(key)
			if !errors.Is(err, ErrKeyInaccessible) {
				t.Error(err)
			}
		})
	}
	time.Sleep(200 * time.Millisecond) // nothing tells that all of them wait
	root.mu.Lock()
	before := root.unwrap
	root.mu.Unlock()
	tab.mu.Unlock()
	wg.Wait()
	root.mu.Lock()
	require.Less(t, root.unwrap-before, 20)
	root.mu.Unlock()
	root.fail(nil)
	_, err := tab.Get(key)
	require.ErrorIs(t, err, ErrNotFound)
	require.NoError(t, s.Close())
}
