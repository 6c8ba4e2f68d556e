package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/keyring"
)

// A faultRun is a scenario under a fault: a store with two tables.
type faultRun struct {
	q    *faultFS
	root *memRoot
	w    *world
	s    *Store
	k    *worker          // of the table that the scenario is about
	kept *worker          // of the other
	torn map[*worker]bool // nobody has looked yet what a crash has left
	unit uint32           // Options.UnitSize, if not 0
}

const (
	faultTable = "fault.table"
	otherTable = "fault.other"
)

// A faultBase is the disk that scenarios begin with.
type faultBase struct {
	dir     string // of the table that the scenarios are about
	root    *memRoot
	mem     *vfs.MemFS
	w       *world
	crashed *vfs.MemFS // before the store was closed
	torn    *world     // of crashed
}

func newFaultBase(t *testing.T) *faultBase {
	ctx := context.Background()
	b := &faultBase{mem: vfs.NewCrashableMem(), root: newMemRoot("fault"), w: &world{made: true}}
	s, err := Open(ctx, crashDir, crashOptions(b.root, b.mem))
	require.NoError(t, err)
	for i, name := range []string{faultTable, otherTable} {
		k := &worker{w: b.w, s: s, name: name, rng: mathrand.New(mathrand.NewPCG(1, uint64(i)))}
		require.NoError(t, k.create(ctx))
		tab, err := s.Table(name)
		require.NoError(t, err)
		for range 30 {
			require.NoError(t, k.mutate(tab, []effect{k.effect()}))
		}
		require.NoError(t, k.snapshot(ctx, tab))
	}
	for _, h := range b.w.tables {
		k := &worker{w: b.w, s: s, name: h.name, h: h, n: 500, rng: mathrand.New(mathrand.NewPCG(2, 2))}
		tab, err := s.Table(h.name)
		require.NoError(t, err)
		for range 20 {
			require.NoError(t, k.mutate(tab, []effect{k.effect()}))
		}
	}
	b.crashed, b.torn = b.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: mathrand.New(mathrand.NewPCG(3, 3))}), b.w.clone()
	b.dir = s.path(tablesDir, b.w.tables[0].id.String())
	require.NoError(t, s.Close())
	return b
}

func (b *faultBase) run(sc scenario, seed uint64) *faultRun {
	r := &faultRun{root: b.root, w: b.w.clone(), torn: make(map[*worker]bool)}
	r.q = &faultFS{FS: b.mem.CrashClone(vfs.CrashCloneCfg{})}
	if sc.crashed {
		r.w = b.torn.clone()
		r.q.FS = b.crashed.CrashClone(vfs.CrashCloneCfg{})
	}
	for _, h := range r.w.tables {
		if !sc.crashed {
			h.durable = len(h.ops)
		}
		k := &worker{w: r.w, name: h.name, h: h, n: 1000, rng: mathrand.New(mathrand.NewPCG(seed, 0))}
		r.torn[k] = sc.crashed
		if h.name == faultTable {
			r.k = k
		} else {
			r.kept = k
		}
	}
	return r
}

func (r *faultRun) options() Options {
	o := crashOptions(r.root, r.q)
	o.Mode, o.DiskFullWait = MustExist, -1
	if r.unit != 0 {
		o.UnitSize = r.unit
	}
	return o
}

func (r *faultRun) open() error {
	return within("open", func() error {
		s, err := Open(context.Background(), crashDir, r.options())
		if err != nil {
			return err
		}
		r.s, r.k.s, r.kept.s = s, s, s
		return nil
	})
}

func (r *faultRun) close() error {
	if r.s == nil {
		return nil
	}
	err := within("close", r.s.Close)
	r.s = nil
	return err
}

func (r *faultRun) table(k *worker) *Table {
	t, err := r.s.Table(k.name)
	must(err)
	return t
}

// write makes n random writes, and tells the first error.
func (r *faultRun) write(k *worker, n int) (first error) {
	t := r.table(k)
	if r.torn[k] {
		// What a crash has left of it counts from here on.
		if _, err := t.contents(); err != nil {
			return err
		}
		if err := r.settle(k); err != nil {
			return err
		}
		r.torn[k] = false
	}
	for range n {
		op := []effect{k.effect()}
		if k.rng.IntN(4) == 0 {
			op = append(op, k.effect(), k.effect())
		}
		err := within("write", func() error { return k.mutate(t, op) })
		if err == nil {
			continue
		}
		if first == nil {
			first = err
		}
		if err := r.settle(k); err != nil {
			return fmt.Errorf("after a refused write: %w", err)
		}
	}
	return first
}

// settle looks whether a write that was refused is there, if the table can be
// read. What then stays out of the table is taken out of its history.
func (r *faultRun) settle(k *worker) error {
	got, err := r.table(k).contents()
	if err != nil {
		return nil // nothing is written until it is opened again
	}
	n, err := k.h.find(got)
	if err == nil {
		k.w.note(func() { k.h.ops = slices.Clip(k.h.ops[:n]) })
	}
	return err
}

// A scenario is what happens while a fault lies in wait. It returns the errors
// that its calls gave.
type scenario struct {
	name    string
	closed  bool // it opens the store itself
	crashed bool // the store was not closed before
	run     func(ctx context.Context, r *faultRun) []error
}

var scenarios = []scenario{
	{"fill", false, false, func(ctx context.Context, r *faultRun) []error {
		t := r.table(r.k)
		return []error{
			r.write(r.k, 25),
			within("flush", t.Flush),
			r.write(r.k, 15),
			within("compact", func() error { return t.Compact(ctx, nil, nil) }),
			r.write(r.k, 3),
		}
	}},
	{"create", false, false, func(ctx context.Context, r *faultRun) []error {
		k := &worker{w: r.w, s: r.s, name: "fault.new", rng: r.k.rng}
		err := within("create", func() error { return k.create(ctx) })
		if err != nil {
			return []error{err}
		}
		return []error{r.write(k, 3)}
	}},
	{"drop", false, false, func(ctx context.Context, r *faultRun) []error {
		err := r.write(r.k, 2)
		return []error{err, within("drop", func() error { return r.k.drop(ctx) })}
	}},
	{"snapshot", false, false, func(ctx context.Context, r *faultRun) []error {
		t := r.table(r.k)
		return []error{
			r.write(r.k, 3),
			within("snapshot", func() error { return r.k.snapshot(ctx, t) }),
			r.write(r.k, 2),
			within("drop snapshot", func() error { return r.k.dropSnapshot(ctx, t) }),
		}
	}},
	{"open", true, false, openAndWrite},
	{"recover", true, true, openAndWrite},
	{"close", false, false, func(ctx context.Context, r *faultRun) []error {
		return []error{r.write(r.k, 4), r.close()}
	}},
}

func openAndWrite(_ context.Context, r *faultRun) []error {
	if err := r.open(); err != nil {
		return []error{err}
	}
	return []error{r.write(r.k, 2)}
}

// TestFaults fails single changes to the disk, and all from one on. Calls fail
// or tell the truth, nothing hangs, other tables go on, and what was
// acknowledged is there when the disk is well again: in this process and after
// a power cut.
func TestFaults(t *testing.T) {
	t.Parallel()
	base := newFaultBase(t)
	seed := mathrand.Uint64()
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			rng := mathrand.New(mathrand.NewPCG(seed, 3))
			var g errgroup.Group
			g.SetLimit(2)
			for _, f := range allFaults {
				dry := base.run(sc, seed)
				require.NoError(t, dry.do(sc, f, 0, false, ""))
				total, _ := dry.q.heal()
				require.NoError(t, dry.close())
				points := 3 // at which each fault strikes
				if testing.Short() {
					points = 1
				}
				stride := max(1, total/points)
				for n := 1 + rng.IntN(stride); n <= total; n += stride {
					below := []string{"", base.dir}[rng.IntN(2)]
					for _, always := range []bool{false, true} {
						g.Go(func() error {
							if err := base.run(sc, seed).strike(sc, f, n, always, below); err != nil {
								return fmt.Errorf("%s at change %d of %d, from then on: %v, below %q, seed %d: %w", f.name, n, total, always, below, seed, err)
							}
							return nil
						})
					}
				}
			}
			require.NoError(t, g.Wait())
		})
	}
}

// do runs a scenario under a fault and returns what it says.
func (r *faultRun) do(sc scenario, f fault, n int, always bool, below string) error {
	if !sc.closed {
		if err := r.open(); err != nil {
			return err
		}
	}
	r.q.arm(f, n, always, below)
	return errors.Join(sc.run(context.Background(), r)...)
}

// strike runs a scenario under a fault and holds what comes of it against the
// world.
func (r *faultRun) strike(sc scenario, f fault, n int, always bool, below string) error {
	said := r.do(sc, f, n, always, below)
	if r.s != nil {
		if err := r.during(f, always, below, said); err != nil {
			return fmt.Errorf("under the fault: %w", errors.Join(err, r.close()))
		}
	}
	if _, hits := r.q.heal(); hits == 0 && said != nil {
		return fmt.Errorf("no change failed, and yet: %w", said)
	}
	if said != nil && !truthful(said, f) {
		return fmt.Errorf("not an error of this fault: %w", said)
	}
	// A change of the keyring may have reached the disk: then only opening the
	// store again tells.
	ringDown := errors.Is(said, keyring.ErrPoisoned)
	if r.s != nil {
		if err := r.inProcess(ringDown); err != nil {
			return fmt.Errorf("in the process: %w", errors.Join(err, r.close()))
		}
	}
	if err := r.close(); err != nil && !ringDown {
		return fmt.Errorf("close: %w", err)
	}
	cut := &crash{what: "the end", world: r.w.clone(), fs: r.q.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: 50, RNG: mathrand.New(mathrand.NewPCG(uint64(n), 0)),
	})}
	if _, err := cut.check(r.root, 0, 0); err != nil {
		return err
	}
	if err := r.open(); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	_, err := r.w.match(r.s)
	clear(r.torn)
	if err == nil {
		err = r.write(r.kept, 2)
	}
	if err == nil {
		err = verified(r.s)
	}
	return errors.Join(err, r.close())
}

// truthful tells whether an error is what a fault may lead to.
func truthful(err error, f fault) bool {
	switch {
	case errors.Is(err, ErrCorruption):
		return false
	case f.err == syscall.ENOSPC:
		return errors.Is(err, ErrDiskFull)
	case f.err == nil:
		return errors.Is(err, io.ErrShortWrite)
	}
	return errors.Is(err, f.err)
}

// during looks at the store while the fault lasts.
func (r *faultRun) during(f fault, always bool, below string, said error) error {
	if below != "" {
		if err := r.write(r.kept, 2); err != nil {
			return fmt.Errorf("the other table: %w", err)
		}
	}
	if r.k.h == nil || r.k.h.dropping || f.err != syscall.ENOSPC || !always || !errors.Is(said, ErrDiskFull) {
		return nil
	}
	t := r.table(r.k)
	got, err := t.contents()
	if err != nil {
		return fmt.Errorf("a table on a full disk: %w", err)
	}
	if _, err := r.k.h.find(got); err != nil {
		return err
	}
	err = r.k.mutateAs(t, []effect{r.k.effect()}, &WriteOptions{})
	if !errors.Is(err, ErrDiskFull) {
		return fmt.Errorf("a write on a full disk: %w", err)
	}
	return r.settle(r.k)
}

// inProcess looks at the store after the fault has passed.
func (r *faultRun) inProcess(ringDown bool) error {
	ctx := context.Background()
	for _, info := range r.s.Tables() {
		t, err := r.s.Table(info.Name)
		if err != nil {
			return err
		}
		if _, err := t.Get([]byte("k00")); errors.Is(err, ErrPoisoned) {
			if err := stuck(t); err != nil {
				return err
			}
		}
		err = within("reopen", func() error { return t.Reopen(ctx) })
		if err != nil && !(ringDown && errors.Is(err, keyring.ErrPoisoned)) {
			return fmt.Errorf("reopen: %w", err)
		}
	}
	if _, err := r.s.Table(faultTable); errors.Is(err, ErrTableNotFound) && r.k.h != nil && r.k.h.dropping {
		r.k.h = nil // its keys are gone, though not all of its files
	}
	if ringDown {
		return nil
	}
	if _, err := r.w.match(r.s); err != nil {
		return err
	}
	clear(r.torn)
	if r.k.h != nil {
		if err := r.write(r.k, 3); err != nil {
			return err
		}
	}
	return r.write(r.kept, 1)
}

// stuck wants a poisoned table to refuse all use.
func stuck(t *Table) error {
	_, get := t.Get([]byte("k00"))
	_, has := t.Has([]byte("k00"))
	_, view := t.View()
	_, scan := t.contents()
	put := t.Put([]byte("k00"), nil, nil)
	for i, err := range []error{get, has, view, scan, put, t.Flush()} {
		if !errors.Is(err, ErrPoisoned) {
			return fmt.Errorf("use %d of a poisoned table: %w", i, err)
		}
	}
	return nil
}

// TestReadFaults fails reads of a table, one or all from one on: calls fail
// with the disk's error, which is none about stored bytes, and nothing of it
// lasts.
func TestReadFaults(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	base := newFaultBase(t)
	for _, sc := range []scenario{{name: "closed"}, {name: "crashed", crashed: true}} {
		total := 1
		for n := 1; n <= total; n += 1 + total/12 {
			for _, always := range []bool{false, true} {
				r := base.run(sc, 0)
				r.unit = 512 // files of before have their own
				require.NoError(t, r.open())
				tab := r.table(r.k)
				r.q.arm(faultRead, n, always, base.dir)
				_, scan := tab.contents()
				_, get := tab.Get([]byte("k07"))
				if errors.Is(get, ErrNotFound) {
					get = nil
				}
				compact := within("compact", func() error { return tab.Compact(ctx, nil, nil) })
				var snapshot error
				if !sc.crashed { // else nobody knows yet what it holds
					snapshot = within("snapshot", func() error { return r.k.snapshot(ctx, tab) })
				}
				seen, hits := r.q.heal()
				total = max(total, seen)
				for _, err := range []error{scan, get, compact, snapshot} {
					if err != nil {
						require.ErrorIs(t, err, syscall.EIO, "read %d", n)
						require.NotErrorIs(t, err, ErrCorruption)
						require.Positive(t, hits)
					}
				}
				// A reader may have joined one whose read failed.
				require.Eventually(t, func() bool { _, err := tab.contents(); return err == nil }, 10*time.Second, time.Millisecond)
				_, err := r.w.match(r.s)
				if errors.Is(err, syscall.EIO) {
					// A file that Pebble began to open while reads failed fails those
					// who wait for it, too; whoever comes next opens it anew.
					_, err = r.w.match(r.s)
				}
				require.NoError(t, err, "read %d", n)
				require.NoError(t, verified(r.s))
				require.NoError(t, r.close())
			}
		}
		t.Logf("%s: %d reads", sc.name, total)
	}
}
