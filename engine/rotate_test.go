package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/sstable"
	"github.com/cofredb/cofre/wal"
)

// rotating opens a store with two root keys, and a table under the first.
func rotating(t *testing.T, fs vfs.FS, a, b keyring.RootKey) (*Store, *Table) {
	opts := crashOptions(a, fs)
	opts.Roots = []keyring.RootKey{b}
	s, err := Open(t.Context(), crashDir, opts)
	require.NoError(t, err)
	tab, err := s.Table("clinic.patients")
	if err != nil {
		tab, err = s.CreateTable(t.Context(), "clinic.patients", TableOptions{})
	}
	require.NoError(t, err)
	return s, tab
}

// TestRotateTouchesNoData counts what a rotation does to the disk. A root rotation
// writes the keyring, and to the log and the MANIFEST of a table that is in use; it
// reads no file of the table. A rotation of the table's key reads headers besides.
// Neither writes a sorted file.
func TestRotateTouchesNoData(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var mu sync.Mutex
	var touched []errorfs.Op
	counting := errorfs.Wrap(vfs.NewCrashableMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		touched = append(touched, op)
		return nil
	}))
	a, b := newMemRoot("a"), newMemRoot("b")
	s, tab := rotating(t, counting, a, b)
	for i := range 2000 {
		require.NoError(t, tab.Put(fmt.Appendf(nil, "%06d", i), make([]byte, 100), &WriteOptions{NoSync: true}))
	}
	require.NoError(t, tab.Compact(ctx, nil, nil))
	_, err := tab.Snapshot(ctx, "before")
	require.NoError(t, err)
	for _, inUse := range []bool{true, false} {
		if !inUse {
			require.NoError(t, tab.Close())
		}
		for name, rotate := range map[string]func() error{
			"to another root": func() error { return tab.RotateRoot(ctx, b) },
			"and back":        func() error { return tab.RotateRoot(ctx, a) },
			"the same root":   func() error { return tab.RotateRoot(ctx, a) },
			"table key":       func() error { return tab.RotateKey(ctx) },
		} {
			if !inUse {
				require.NoError(t, tab.Close()) // the table key's has opened it
			}
			mu.Lock()
			touched = nil
			mu.Unlock()
			require.NoError(t, rotate(), name)
			mu.Lock()
			require.NotEmpty(t, touched)
			for _, op := range touched {
				if strings.HasPrefix(op.Path, crashDir+"/keyring") || strings.HasPrefix(op.Path, crashDir+"/audit") {
					continue
				}
				log := strings.HasSuffix(op.Path, ".log") || strings.Contains(op.Path, "MANIFEST-")
				writes := op.Kind.ReadOrWrite() == errorfs.OpIsWrite
				if name == "table key" {
					require.False(t, writes && strings.HasSuffix(op.Path, ".sst"), "%s does %d to %s", name, op.Kind, op.Path)
					continue
				}
				require.True(t, inUse && log && writes, "%s does %d to %s", name, op.Kind, op.Path)
			}
			mu.Unlock()
		}
	}
	require.NoError(t, s.Close())
}

// TestRotateBesideWork rotates while rows are written, read and compacted, and
// snapshots are taken: all rows and all snapshots are there afterwards, and in
// another open.
func TestRotateBesideWork(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fs := vfs.NewCrashableMem()
	a, b := newMemRoot("a"), newMemRoot("b")
	s, tab := rotating(t, fs, a, b)
	const rows, rounds = 400, 12
	row := func(r, i int) []byte { return fmt.Appendf(nil, "%03d/%04d", r, i) }
	for r := range rounds {
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range rows {
				if err := tab.Put(row(r, i), row(r, i), &WriteOptions{NoSync: true}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for i := range rows {
				if r == 0 {
					break
				}
				if v, err := tab.Get(row(r-1, i)); err != nil || string(v) != string(row(r-1, i)) {
					t.Error(err, string(v))
				}
			}
		})
		wg.Go(func() {
			if err := tab.Flush(); err != nil {
				t.Error(err)
			}
			if err := tab.Compact(ctx, nil, nil); err != nil {
				t.Error(err)
			}
		})
		root := []*memRoot{b, a}[r%2]
		require.NoError(t, tab.RotateRoot(ctx, root))
		require.NoError(t, tab.RotateKey(ctx))
		_, err := tab.Snapshot(ctx, fmt.Sprint("s", r))
		require.NoError(t, err)
		wg.Wait()
		if r%4 == 3 {
			require.NoError(t, tab.Close())
		}
	}
	requireVerified(t, s)
	require.NoError(t, s.Close())

	s, tab = rotating(t, fs, a, b)
	for r := range rounds {
		for i := range rows {
			v, err := tab.Get(row(r, i))
			require.NoError(t, err)
			require.Equal(t, row(r, i), v)
		}
		v, err := tab.OpenSnapshot(ctx, fmt.Sprint("s", r))
		require.NoError(t, err)
		for i := range rows {
			for old := range r {
				_, err := v.Get(row(old, i))
				require.NoError(t, err)
			}
		}
		require.NoError(t, v.Close())
	}
	m, err := tab.Metrics()
	require.NoError(t, err)
	require.EqualValues(t, 1+2*rounds, m.KeyVersion)
	requireVerified(t, s)
	require.NoError(t, s.Close())
}

// A cloner takes what a crash would leave before each change of a disk.
type cloner struct {
	mem  *vfs.MemFS
	most int // of one call of during

	mu       sync.Mutex // guards what follows
	rng      *rand.Rand
	watching bool
	clones   []*vfs.MemFS
	removed  []string
}

func newCloner(mem *vfs.MemFS) *cloner {
	c := &cloner{mem: mem, most: 150, rng: rand.New(rand.NewPCG(1, 3))}
	if testing.Short() {
		c.most = 25
	}
	return c
}

func (c *cloner) fs() vfs.FS {
	return errorfs.Wrap(c.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.watching && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && len(c.clones) < c.most {
			c.clones = append(c.clones, c.clone())
		}
		if op.Kind == errorfs.OpRemove || op.Kind == errorfs.OpRemoveAll {
			c.removed = append(c.removed, op.Path)
		}
		return nil
	}))
}

// clone is what a crash leaves: with what was removed or, as long as that is not
// synced, without it.
func (c *cloner) clone() *vfs.MemFS {
	clone := c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: c.rng})
	if c.rng.IntN(2) == 0 {
		for _, path := range c.removed {
			if _, err := c.mem.Stat(path); err != nil {
				_ = clone.RemoveAll(path)
			}
		}
	}
	return clone
}

// during runs f and returns what crashes within it would leave.
func (c *cloner) during(f func() error) ([]*vfs.MemFS, error) {
	c.watch(true)
	err := f()
	c.watch(false)
	clones := c.clones
	c.clones = nil
	return clones, err
}

func (c *cloner) watch(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watching = on
}

// TestRotateCrashes crashes before each operation on the disk of a rotation: the
// table opens, with all that was acknowledged.
func TestRotateCrashes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem := vfs.NewCrashableMem()
	a, b := newMemRoot("a"), newMemRoot("b")
	w := newCloner(mem)
	s, tab := rotating(t, w.fs(), a, b)
	want := make(map[string]string)
	put := func(tab *Table, k string) {
		require.NoError(t, tab.Put([]byte(k), []byte(k), nil))
		want[k] = k
	}
	put(tab, "before")
	for n, rotate := range []func() error{
		func() error { return tab.RotateRoot(ctx, b) },
		func() error { return tab.RotateKey(ctx) },
		func() error { return tab.RotateRoot(ctx, b) },
		func() error { return tab.RotateKey(ctx) },
		func() error { _, err := tab.Snapshot(ctx, "s"); return err },
		func() error { return tab.RetireKey(ctx, 2) },
		func() error { return tab.RetireKey(ctx, 1) },
		func() error { _, err := tab.Reencrypt(ctx, ReencryptOptions{}); return err },
		func() error { return errors.Join(tab.Lock(ctx), tab.Unlock(ctx)) },
	} {
		clones, err := w.during(rotate)
		require.NoError(t, err)
		require.NotEmpty(t, clones)
		for _, clone := range clones {
			again, tab := rotating(t, clone, a, b)
			if _, err := tab.Has([]byte("before")); errors.Is(err, ErrKeyInaccessible) {
				require.NoError(t, tab.Unlock(ctx))
			}
			for k, v := range want {
				got, err := tab.Get([]byte(k))
				require.NoError(t, err)
				require.Equal(t, v, string(got))
			}
			require.NoError(t, tab.Put([]byte("more"), nil, nil))
			_, err := tab.Reencrypt(ctx, ReencryptOptions{})
			require.NoError(t, err)
			requireVerified(t, again)
			require.NoError(t, again.Close())
		}
		for i := range 3 { // several files
			put(tab, fmt.Sprint("after", n, i))
			require.NoError(t, tab.Flush())
		}
	}
	require.NoError(t, s.Close())
}

// TestRotateFails wants a rotation that cannot be to change nothing, and to say
// why.
func TestRotateFails(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fs := vfs.NewCrashableMem()
	a, b := newMemRoot("a"), newMemRoot("b")
	s, tab := rotating(t, fs, a, b)
	require.ErrorIs(t, tab.RotateRoot(ctx, newMemRoot("c")), keyring.ErrRootNotPinned)
	require.Error(t, tab.RotateRoot(ctx, nil))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, tab.RotateKey(cancelled), context.Canceled)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	m, err := tab.Metrics()
	require.NoError(t, err)
	require.EqualValues(t, 1, m.KeyVersion)
	_, err = s.DropTable(ctx, tab.Name(), DropOptions{})
	require.NoError(t, err)
	require.ErrorIs(t, tab.RotateKey(ctx), ErrTableNotFound)
	require.NoError(t, s.Close())
	require.ErrorIs(t, tab.RotateKey(ctx), ErrClosed)

	s, err = Open(ctx, crashDir, Options{Mode: ReadOnly, RootKey: a, Roots: []keyring.RootKey{b}, FS: fs})
	require.NoError(t, err)
	require.ErrorIs(t, s.newTable("x.y", tab.ID()).RotateKey(ctx), ErrReadOnly)
	require.NoError(t, s.Close())
}

// TestFormerRootAfterRotation keeps the keyring of before a rotation and the
// former root key, and reads with them whatever opens of every file that is there
// later: rows of before the rotation, and not one of those that were written since,
// though the table was in use all the time.
func TestFormerRootAfterRotation(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, rotate := range map[string]func(tab *Table, a, b keyring.RootKey) error{
		"root": func(tab *Table, _, b keyring.RootKey) error { return tab.RotateRoot(ctx, b) },
		"key":  func(tab *Table, _, b keyring.RootKey) error { return tab.RotateKey(ctx) },
	} {
		mem := vfs.NewCrashableMem()
		a, b := newMemRoot("a"), newMemRoot("b")
		s, tab := rotating(t, mem, a, b)
		require.NoError(t, tab.Put([]byte("before-1"), []byte("v"), nil))
		require.NoError(t, tab.Flush())
		require.NoError(t, tab.Put([]byte("before-2"), []byte("v"), nil))
		old := mem.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, rotate(tab, a, b))
		require.NoError(t, tab.Put([]byte("behind-1"), []byte("v"), nil))
		inLog := readable(t, old, mem.CrashClone(vfs.CrashCloneCfg{}), tab, a)
		require.NoError(t, tab.Flush())
		require.NoError(t, tab.Put([]byte("behind-2"), []byte("v"), nil))
		now := readable(t, old, mem.CrashClone(vfs.CrashCloneCfg{}), tab, a)
		for _, found := range []string{inLog, now} {
			require.Contains(t, found, "before-1", name)
			require.NotContains(t, found, "behind", name)
		}
		require.Contains(t, inLog, "before-2", name)
		all := readable(t, mem, mem, tab, b, a)
		require.Contains(t, all, "behind-1", name) // the control
		require.Contains(t, all, "behind-2", name)
		requireVerified(t, s)
		require.NoError(t, s.Close())
	}
}

// readable is all that opens of the table's files in now with the keyring of old and
// the root keys given.
func readable(t *testing.T, old, now vfs.FS, tab *Table, roots ...keyring.RootKey) string {
	ring, err := keyring.Open(t.Context(), crashDir+"/"+keyringDir, roots, true, keyring.Options{FS: old})
	require.NoError(t, err)
	keys, err := ring.OpenTable(t.Context(), tab.ID())
	require.NoError(t, err)
	defer keys.Wipe()
	names, err := now.List(tab.dir)
	require.NoError(t, err)
	var text []byte
	for _, name := range names {
		f, err := now.Open(now.PathJoin(tab.dir, name))
		if err != nil {
			continue
		}
		b, err := io.ReadAll(f)
		if err != nil {
			continue // a directory
		}
		h, err := keyring.ParseHeader(b[:min(len(b), keyring.HeaderLen)])
		if err != nil {
			continue
		}
		key, err := keys.DataKey(h.Identity.FileID, h.KeyVersion, h.WrappedKey[:])
		if err != nil {
			require.ErrorIs(t, err, keyring.ErrVersionUnknown, name)
			continue
		}
		if h.Identity.Kind.Random() {
			r, err := sstable.NewReader(f, int64(len(b)), h, key, sstable.Options{UnitSize: h.Identity.UnitSize})
			require.NoError(t, err)
			plain := make([]byte, r.Size())
			_, err = r.ReadAt(plain, 0)
			require.NoError(t, err)
			text = append(text, plain...)
			continue
		}
		r, err := wal.NewReader(f, int64(len(b)), h, key, wal.ReaderOptions{Key: keys.DataKey})
		require.NoError(t, err, name)
		for {
			fr, err := r.Next()
			if err != nil {
				break
			}
			text = append(text, fr.Data...)
		}
	}
	require.NoError(t, ring.Close())
	return string(text)
}

// A slowRoot does not wrap until it may.
type slowRoot struct {
	*memRoot
	began, may chan struct{}
}

func (r *slowRoot) Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	close(r.began)
	select {
	case <-r.may:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return r.memRoot.Wrap(ctx, key, ec)
}

// TestRotateHoldsNobodyUp has a key service take its time: reads, writes, opens,
// snapshots, other tables, a close and a drop do not wait for it, and the rotation
// is made of what is there when it answers.
func TestRotateHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a := newMemRoot("a")
	begin := func(slow *slowRoot) (*Store, *Table, chan error) {
		s, tab := rotating(t, vfs.NewCrashableMem(), a, slow)
		done := make(chan error, 1)
		go func() { done <- tab.RotateRoot(ctx, slow) }()
		<-slow.began
		return s, tab, done
	}
	newSlow := func() *slowRoot {
		return &slowRoot{newMemRoot("b"), make(chan struct{}), make(chan struct{})}
	}

	slow := newSlow()
	s, tab, done := begin(slow)
	require.NoError(t, tab.Put([]byte("a"), []byte("1"), nil))
	require.NoError(t, tab.Close())
	_, err := tab.Get([]byte("a"))
	require.NoError(t, err)
	_, err = tab.Snapshot(ctx, "meanwhile")
	require.NoError(t, err)
	_, err = s.CreateTable(ctx, "clinic.visits", TableOptions{})
	require.NoError(t, err)
	close(slow.may)
	require.NoError(t, <-done)
	m, err := tab.Metrics()
	require.NoError(t, err)
	require.EqualValues(t, 2, m.KeyVersion, "it opened while the rotation was under way, and has heard of it")
	v, err := tab.OpenSnapshot(ctx, "meanwhile")
	require.NoError(t, err)
	require.NoError(t, v.Close())
	require.NoError(t, s.Close())

	slow = newSlow()
	s, tab, done = begin(slow)
	_, err = s.DropTable(ctx, tab.Name(), DropOptions{})
	require.NoError(t, err)
	close(slow.may)
	require.ErrorIs(t, <-done, ErrTableNotFound)
	require.NoError(t, s.Close())

	slow = newSlow()
	s, _, done = begin(slow)
	require.NoError(t, s.Close())
	close(slow.may)
	require.ErrorIs(t, <-done, ErrClosed)
}

// TestRotateWaitsAlone has a table that is busy, as while it opens with a key
// service that does not answer: a rotation of it waits, as long as its context
// says, and other tables do not.
func TestRotateWaitsAlone(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a, b := newMemRoot("a"), newMemRoot("b")
	s, tab := rotating(t, vfs.NewCrashableMem(), a, b)
	tab.mu.Lock()
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- tab.RotateRoot(ctx, b) }()
	_, err := s.CreateTable(ctx, "clinic.visits", TableOptions{})
	require.NoError(t, err)
	for len(tab.rotating) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancelled, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	go func() { second <- tab.RotateKey(cancelled) }()
	require.ErrorIs(t, <-second, context.DeadlineExceeded, "behind another rotation")
	_, err = s.DropTable(ctx, "clinic.visits", DropOptions{})
	require.NoError(t, err)
	tab.mu.Unlock()
	require.NoError(t, <-first)

	tab.mu.Lock()
	cancelled, cancel = context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, tab.RotateKey(cancelled), context.DeadlineExceeded, "behind the table")
	tab.mu.Unlock()
	require.NoError(t, s.Close())
}

// TestRotateCalls counts what a rotation asks of the key services: of an open table one
// wrap and one unwrap, whichever root key it was and will be, and whatever each has shown
// before.
func TestRotateCalls(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a, b := newMemRoot("a"), newMemRoot("b")
	s, tab := rotating(t, vfs.NewCrashableMem(), a, b)
	calls := func(f func() error) (wraps, unwraps int, err error) {
		count := func() (wraps, unwraps int) {
			for _, r := range []*memRoot{a, b} {
				r.mu.Lock()
				wraps, unwraps = wraps+r.wraps, unwraps+r.unwrap
				r.mu.Unlock()
			}
			return wraps, unwraps
		}
		w, u := count()
		err = f()
		wraps, unwraps = count()
		return wraps - w, unwraps - u, err
	}
	once := func(what string, f func() error) {
		t.Helper()
		wraps, unwraps, err := calls(f)
		require.NoError(t, err, what)
		require.Equal(t, []int{1, 1}, []int{wraps, unwraps}, "%s: wraps, unwraps", what)
	}
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	for n := range 2 {
		once("to another root", func() error { return tab.RotateRoot(ctx, b) })
		once("the same root", func() error { return tab.RotateRoot(ctx, b) })
		once("table key", func() error { return tab.RotateKey(ctx) })
		once("and back", func() error { return tab.RotateRoot(ctx, a) })
		require.NoError(t, tab.RetireKey(ctx, tab.inst.Load().keys.Version()-1), n)
	}
	require.NoError(t, tab.Close())
	once("of a closed table", func() error { return tab.RotateRoot(ctx, b) })

	// The present root key is asked where no keys are in use; where they are, it has
	// confirmed them within their lease. The next one is asked in any case.
	b.fail(keyring.ErrKeyDenied)
	_, _, err := calls(func() error { return tab.RotateRoot(ctx, a) })
	require.ErrorIs(t, err, ErrKeyInaccessible)
	b.fail(nil)
	require.NoError(t, tab.Put(key, []byte("w"), nil))
	a.fail(keyring.ErrKeyDenied)
	_, _, err = calls(func() error { return tab.RotateRoot(ctx, a) })
	require.ErrorIs(t, err, ErrKeyInaccessible)
	a.fail(nil)
	b.fail(keyring.ErrKeyUnreachable)
	once("from a root that is lost, within the lease", func() error { return tab.RotateRoot(ctx, a) })
	require.NoError(t, tab.Close())
	require.Equal(t, map[string]string{string(key): "w"}, tableRows(t, tab))
	requireVerified(t, s)
	require.NoError(t, s.Close())
}
