package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// memStore opens a store in memory.
func memStore(t testing.TB, change func(*Options)) *Store {
	o := crashOptions(newMemRoot("memory"), vfs.NewMem())
	if change != nil {
		change(&o)
	}
	return openStore(t, crashDir, o)
}

func memTable(t testing.TB, s *Store, name string) *Table {
	tab, err := s.CreateTable(context.Background(), name, TableOptions{})
	require.NoError(t, err)
	return tab
}

// A crowd is many who use a store at once. Each writer w has two keys, w/a and
// w/b, which it sets to the same number in one batch, counting up.
type crowd struct {
	s     *Store
	names []string
	stop  atomic.Bool
	acked [3][4]atomic.Int64 // by table and writer
}

// loop runs f until the crowd is told to stop, or the store is closed.
func (c *crowd) loop(f func() error) func() error {
	return func() error {
		for !c.stop.Load() {
			if err := f(); err != nil {
				if errors.Is(err, ErrClosed) && c.s.isClosed() {
					return nil
				}
				return err
			}
		}
		return nil
	}
}

func (c *crowd) table(n int) (*Table, error) { return c.s.Table(c.names[n]) }

// write counts a writer up.
func (c *crowd) write(table, writer int, rng *mathrand.Rand) error {
	t, err := c.table(table)
	if err != nil {
		return err
	}
	n := c.acked[table][writer].Load() + 1
	v := []byte(fmt.Sprintf("%d/%0*d", n, rng.IntN(800), 0))
	b := t.NewBatch()
	for _, k := range []string{"a", "b"} {
		if err := b.Put([]byte(fmt.Sprintf("%d/%s", writer, k)), v); err != nil {
			return err
		}
	}
	if err := b.Commit(&WriteOptions{NoSync: n%8 != 0}); err != nil {
		return err
	}
	c.acked[table][writer].Store(n)
	return nil
}

// paired wants what was read at one point in time to be of one: both keys of
// each writer are there and the same, and not older than what was known.
func paired(s state, since []int64) error {
	for w, least := range since {
		a, b := s[fmt.Sprintf("%d/a", w)], s[fmt.Sprintf("%d/b", w)]
		if a != b {
			return fmt.Errorf("writer %d: half of a batch: %.20q and %.20q", w, a, b)
		}
		text, _, _ := strings.Cut(a, "/")
		if n, _ := strconv.ParseInt(text, 10, 64); n < least {
			return fmt.Errorf("writer %d: %d, and %d was acknowledged", w, n, least)
		}
	}
	return nil
}

func (c *crowd) since(table int) (list []int64) {
	for w := range c.acked[table] {
		list = append(list, c.acked[table][w].Load())
	}
	return list
}

// read reads a table by a scan, by a view twice, or by key.
func (c *crowd) read(table int, rng *mathrand.Rand) error {
	t, err := c.table(table)
	if err != nil {
		return err
	}
	since := c.since(table)
	var got state
	switch rng.IntN(3) {
	case 0:
		got, err = t.contents()
	case 1:
		_, err := t.Get([]byte("0/a"))
		if errors.Is(err, ErrNotFound) && since[0] == 0 {
			err = nil
		}
		return err
	case 2:
		v, verr := t.View()
		if verr != nil {
			return interrupted(verr)
		}
		defer v.Close()
		if got, err = v.contents(); err == nil {
			var twice state
			if twice, err = v.contents(); err == nil && !maps.Equal(got, twice) {
				return errors.New("a view has changed")
			}
		}
	}
	if err != nil {
		return interrupted(err)
	}
	return paired(got, since)
}

// interrupted forgives that somebody closed the table.
func interrupted(err error) error {
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// snapshot makes a snapshot, reads it and drops it.
func (c *crowd) snapshot(ctx context.Context, table, n int) error {
	t, err := c.table(table)
	if err != nil {
		return err
	}
	since := c.since(table)
	name := fmt.Sprintf("s%d", n)
	if _, err := t.Snapshot(ctx, name); err != nil {
		return err
	}
	v, err := t.OpenSnapshot(ctx, name)
	if err != nil {
		return err
	}
	got, err := v.contents()
	if err == nil {
		err = paired(got, since)
	}
	if err := errors.Join(interrupted(err), v.Close()); err != nil {
		return err
	}
	return t.DropSnapshot(ctx, name)
}

func (c *crowd) start(ctx context.Context, seed uint64) *errgroup.Group {
	g := new(errgroup.Group)
	random := func(n int) *mathrand.Rand { return mathrand.New(mathrand.NewPCG(seed, uint64(n))) }
	for table := range c.names {
		for w := range c.acked[table] {
			rng := random(10*table + w)
			g.Go(c.loop(func() error { return c.write(table, w, rng) }))
		}
		rng := random(100 + table)
		g.Go(c.loop(func() error { return c.read(table, rng) }))
	}
	n := 0
	g.Go(c.loop(func() error { n++; return c.snapshot(ctx, n%len(c.names), n) }))
	rng := random(1000)
	g.Go(c.loop(func() error {
		t, err := c.table(rng.IntN(len(c.names)))
		if err != nil {
			return err
		}
		switch rng.IntN(4) {
		case 0:
			return t.Flush()
		case 1:
			if err := t.Compact(ctx, nil, nil); !errors.Is(err, ErrClosed) { // it was closed meanwhile
				return err
			}
			return nil
		case 2:
			_, err := t.Metrics()
			return err
		}
		return t.Close()
	}))
	g.Go(c.loop(func() error {
		t, err := c.s.CreateTable(ctx, "crowd.passing", TableOptions{})
		if err != nil {
			return err
		}
		if err := t.Put(key, nil, nil); err != nil {
			return err
		}
		_, err = c.s.DropTable(ctx, "crowd.passing", DropOptions{})
		return err
	}))
	g.Go(c.loop(func() error {
		if _, err := c.s.Stats(ctx); err != nil {
			return err
		}
		return verified(c.s)
	}))
	return g
}

// TestConcurrent uses a store in every way at once, while its tables close for
// idling and because they are told to, and then while it closes itself.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	opts := crashOptions(newMemRoot("crowd"), vfs.NewMem())
	opts.IdleTimeout = 3 * time.Millisecond
	c := &crowd{names: []string{"crowd.one", "crowd.two", "crowd.three"}}
	seed := mathrand.Uint64()
	for round := range 2 {
		s, err := Open(ctx, crashDir, opts)
		require.NoError(t, err)
		c.s = s
		c.stop.Store(false)
		if round == 0 {
			for _, name := range c.names {
				memTable(t, s, name)
			}
		}
		for table := range c.names {
			tab, err := c.table(table)
			require.NoError(t, err)
			got, err := tab.contents()
			require.NoError(t, err)
			require.NoError(t, paired(got, c.since(table)), "seed %d", seed)
		}
		g := c.start(ctx, seed)
		time.AfterFunc(time.Second, func() { c.stop.Store(round == 0) })
		if round == 1 {
			timer := time.NewTimer(500 * time.Millisecond)
			<-timer.C
			require.NoError(t, within("close", s.Close))
		}
		require.NoError(t, within("the crowd", g.Wait), "seed %d", seed)
		require.NoError(t, within("close", s.Close))
	}
	s := openStore(t, crashDir, opts)
	c.s = s
	for table := range c.names {
		tab, err := c.table(table)
		require.NoError(t, err)
		got, err := tab.contents()
		require.NoError(t, err)
		require.NoError(t, paired(got, c.since(table)), "seed %d", seed)
	}
	requireVerified(t, s)
}

// TestCloseDuringScan closes table and store below scans whose loops take
// their time: closing does not wait for them, and they end with ErrClosed.
func TestCloseDuringScan(t *testing.T) {
	t.Parallel()
	for name, closeIt := range map[string]func(*Store, *Table) error{
		"table": func(_ *Store, t *Table) error { return t.Close() },
		"store": func(s *Store, _ *Table) error { return s.Close() },
		"drop": func(s *Store, t *Table) error {
			_, err := s.DropTable(context.Background(), t.Name(), DropOptions{})
			return err
		},
		"reopen": func(_ *Store, t *Table) error { return t.Reopen(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := memStore(t, nil)
			tab := memTable(t, s, "scan.closed")
			for i := range 2000 {
				require.NoError(t, tab.Put(fmt.Appendf(nil, "%06d", i), make([]byte, 100), &WriteOptions{NoSync: true}))
			}
			v, err := tab.View()
			require.NoError(t, err)
			next, stop := iter.Pull2(v.Scan(ScanOptions{}))
			defer stop()
			_, err, _ = next()
			require.NoError(t, err)
			n := 0
			var last error
			for e, err := range tab.Scan(ScanOptions{Reverse: true}) {
				if last = err; err != nil {
					break
				}
				n++
				if n == 3 {
					before := string(e.Key)
					require.NoError(t, within("close", func() error { return closeIt(s, tab) }))
					require.Equal(t, before, string(e.Key))
					require.Len(t, e.Value, 100)
				}
			}
			require.ErrorIs(t, last, ErrClosed)
			require.Less(t, n, 2000)
			for err = nil; err == nil; _, err, _ = next() {
			}
			require.ErrorIs(t, err, ErrClosed)
			_, err = v.Get([]byte("000000"))
			require.ErrorIs(t, err, ErrClosed)
			_, err = v.contents()
			require.ErrorIs(t, err, ErrClosed)
			require.NoError(t, v.Close())
			require.NoError(t, v.Close())
			if name != "store" {
				requireVerified(t, s)
			}
		})
	}
}

// TestAfterClose wants ErrClosed from everything that is left of a store.
func TestAfterClose(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := memStore(t, nil)
	tab := memTable(t, s, "after.close")
	require.NoError(t, tab.Put(key, nil, nil))
	_, err := tab.Snapshot(ctx, "s")
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	for what, f := range map[string]func() error{
		"get":    func() error { _, err := tab.Get(key); return err },
		"has":    func() error { _, err := tab.Has(key); return err },
		"put":    func() error { return tab.Put(key, nil, nil) },
		"scan":   func() error { _, err := tab.contents(); return err },
		"view":   func() error { _, err := tab.View(); return err },
		"flush":  tab.Flush,
		"reopen": func() error { return tab.Reopen(ctx) },
		"snapshot": func() error {
			_, err := tab.Snapshot(ctx, "t")
			return err
		},
		"snapshots":     func() error { _, err := tab.Snapshots(ctx); return err },
		"open snapshot": func() error { _, err := tab.OpenSnapshot(ctx, "s"); return err },
		"drop snapshot": func() error { return tab.DropSnapshot(ctx, "s") },
		"table":         func() error { _, err := s.Table("after.close"); return err },
		"create":        func() error { _, err := s.CreateTable(ctx, "after.new", TableOptions{}); return err },
		"drop":          func() error { _, err := s.DropTable(ctx, "after.close", DropOptions{}); return err },
		"stats":         func() error { _, err := s.Stats(ctx); return err },
		"verify":        func() error { return verified(s) },
	} {
		require.ErrorIs(t, f(), ErrClosed, what)
	}
	require.NoError(t, tab.Close())
	require.Len(t, s.Tables(), 1)
}

// TestViewCloseDuringReads closes views while others read by them.
func TestViewCloseDuringReads(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := memStore(t, nil)
	tab := memTable(t, s, "view.reads")
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	_, err := tab.Snapshot(ctx, "s")
	require.NoError(t, err)
	for n := range 400 {
		v, err := tab.View()
		if n%2 == 1 {
			v, err = tab.OpenSnapshot(ctx, "s")
		}
		require.NoError(t, err)
		var g errgroup.Group
		for k := range 3 {
			g.Go(func() error {
				for {
					var err error
					if k == 0 {
						_, err = v.contents()
					} else {
						_, err = v.Get(key)
					}
					if err != nil {
						return interrupted(err)
					}
				}
			})
		}
		if _, err := v.Has(key); err != nil {
			t.Fatal(err)
		}
		require.NoError(t, v.Close())
		require.NoError(t, within("readers", g.Wait))
	}
	// Whatever was read when its last view closed, the snapshot is not in use.
	require.NoError(t, tab.DropSnapshot(ctx, "s"))
	requireVerified(t, s)
}

// TestCreateDuringClose creates tables while the store closes: each is there
// afterwards, or was refused.
func TestCreateDuringClose(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	opts := crashOptions(newMemRoot("create"), vfs.NewMem())
	var mu sync.Mutex
	var made []string
	for round := range 15 {
		s, err := Open(ctx, crashDir, opts)
		require.NoError(t, err)
		var g errgroup.Group
		var first sync.WaitGroup
		first.Add(2)
		for k := range 2 {
			g.Go(func() error {
				for n := 0; ; n++ {
					name := fmt.Sprintf("create.t%d_%d_%d", round, k, n)
					t, err := s.CreateTable(ctx, name, TableOptions{})
					if n == 0 {
						first.Done()
					}
					if err != nil {
						return interrupted(err)
					}
					mu.Lock()
					made = append(made, name)
					mu.Unlock()
					if err := t.Put(key, nil, nil); err != nil {
						return interrupted(err)
					}
				}
			})
		}
		first.Wait()
		require.NoError(t, within("close", s.Close))
		require.NoError(t, within("creators", g.Wait))
		for _, tab := range s.tables {
			require.Nil(t, tab.inst.Load(), "table %s is open in a closed store", tab.name)
		}
	}
	s := openStore(t, crashDir, opts)
	var there []string
	for _, info := range s.Tables() {
		there = append(there, info.Name)
	}
	slices.Sort(made)
	require.Equal(t, made, there)
	requireVerified(t, s)
}

// TestSnapshotDuringClose snapshots a table that closes and opens all the
// time; opening removes what is not recorded as a snapshot.
func TestSnapshotDuringClose(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := memStore(t, nil)
	tab := memTable(t, s, "snapshot.close")
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	var stop atomic.Bool
	var g errgroup.Group
	g.Go(func() error {
		for !stop.Load() {
			if err := tab.Close(); err != nil {
				return err
			}
			if _, err := tab.Get(key); err != nil {
				return err
			}
		}
		return nil
	})
	for n := range 40 {
		name := fmt.Sprint(n)
		_, err := tab.Snapshot(ctx, name)
		require.NoError(t, err)
		v, err := tab.OpenSnapshot(ctx, name)
		require.NoError(t, err)
		got, err := v.contents()
		require.NoError(t, interrupted(err))
		if err == nil {
			require.Equal(t, state{"k": "v"}, got)
		}
		require.NoError(t, v.Close())
	}
	stop.Store(true)
	require.NoError(t, within("closer", g.Wait))
	requireVerified(t, s)
}

// TestBatches commits batches from many goroutines, and wants each whole.
func TestBatches(t *testing.T) {
	t.Parallel()
	s := memStore(t, nil)
	tab := memTable(t, s, "batch.many")
	var g errgroup.Group
	for w := range 8 {
		g.Go(func() error {
			b := tab.NewBatch()
			for n := range 50 {
				for k := range 10 {
					if err := b.Put(fmt.Appendf(nil, "shared%d", k), fmt.Appendf(nil, "%d/%d", w, n)); err != nil {
						return err
					}
				}
				if err := b.Commit(&WriteOptions{NoSync: n%10 > 0}); err != nil {
					return err
				}
				if b.Len() != 0 {
					return errors.New("a committed batch is not empty")
				}
				got, err := tab.contents()
				if err != nil {
					return err
				}
				for _, v := range got {
					if v != got["shared0"] {
						return fmt.Errorf("half of a batch: %v", got)
					}
				}
			}
			return b.Close()
		})
	}
	require.NoError(t, within("batches", g.Wait))
	requireVerified(t, s)
}
