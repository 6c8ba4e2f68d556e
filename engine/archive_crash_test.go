package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/cofredb/cofre/internal/torture/crashfs"
	"github.com/cofredb/cofre/keyring"
)

const archivedTable = "crash.archived"

// An archiveCrash is what a power cut may leave of an archived table, and what had
// been shipped of it.
type archiveCrash struct {
	at    *crashfs.Moment
	op    string
	style crashfs.Style
	seed  uint64
	world *world
	ship  *shipper
	aside *Store
}

// archiveMoments takes moments while a table is written to and shipped.
type archiveMoments struct {
	fs    *crashfs.FS
	world *world
	ship  *shipper
	every int // a moment after so many changes, and after each that has to do with the archive

	mu   sync.Mutex // guards all below
	rng  *mathrand.Rand
	on   bool
	list []archiveCrash
}

// after runs while no other change is made.
func (r *archiveMoments) after(n int, op crashfs.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	odd := op.Kind == crashfs.OpRename || op.Kind == crashfs.OpRemove || op.Kind == crashfs.OpSyncDir
	if !r.on || n%r.every != 0 && (!odd || r.rng.IntN(3) > 0) {
		return
	}
	styles := crashfs.Styles()
	if odd && r.rng.IntN(2) == 0 {
		styles = []crashfs.Style{crashfs.Names, crashfs.Random, crashfs.Reordered}
	}
	c := archiveCrash{op: op.String(), style: styles[r.rng.IntN(len(styles))], seed: r.rng.Uint64()}
	r.world.note(func() { c.world = r.world.clone() })
	c.ship = r.ship.clone()
	c.at = r.fs.Moment()
	r.list = append(r.list, c)
}

func (r *archiveMoments) set(on bool) []archiveCrash {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on = on
	return r.list
}

// check opens what a crash has left, ships what is there, and holds a table that is
// built from the shipped log alone against the one that has recovered.
func (c *archiveCrash) check(root keyring.RootKey) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("crash after change %d (%s), %s, seed %d: %w", c.at.Op(), c.op, c.style, c.seed, err)
		}
	}()
	ctx := context.Background()
	fs := c.at.Crash(mathrand.New(mathrand.NewPCG(c.seed, 3)), c.style)
	opts := crashOptions(root, fs)
	opts.Mode = MustExist
	s, err := Open(ctx, crashDir, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := c.world.match(s); err != nil {
		return err
	}
	tab, err := s.Table(archivedTable)
	if err != nil {
		return err
	}
	if err := c.same(ctx, tab, "after recovery"); err != nil {
		return err
	}
	if err := errors.Join(tab.Put([]byte("later"), []byte("x"), nil), tab.Close()); err != nil {
		return err
	}
	if err := c.same(ctx, tab, "after a clean close"); err != nil {
		return err
	}
	return verified(s)
}

func (c *archiveCrash) same(ctx context.Context, tab *Table, when string) error {
	if err := c.ship.ship(ctx, tab); err != nil {
		return fmt.Errorf("%s: %w", when, err)
	}
	list, err := c.ship.chain()
	if err != nil {
		return fmt.Errorf("%s: %w", when, err)
	}
	if first := list[0].Previous; !first.FileID.IsZero() {
		return fmt.Errorf("%s: the first segment follows %+v", when, first)
	}
	want, err := tab.contents()
	if err != nil {
		return err
	}
	got, err := c.ship.rebuild(ctx, tab, c.aside)
	if err != nil {
		return fmt.Errorf("%s: %w", when, err)
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("%s: the table has %d entries, the one from its archived log %d", when, len(want), len(got))
	}
	return nil
}

// archiveWork writes to an archived table, and ships now and then.
func archiveWork(ctx context.Context, k *worker, tab *Table, ship *shipper, steps int) error {
	for range steps {
		var err error
		switch n := k.rng.IntN(100); {
		case n < 60:
			err = k.mutate(tab, []effect{k.effect()})
		case n < 72:
			op := make([]effect, 2+k.rng.IntN(12))
			for i := range op {
				op[i] = k.effect()
			}
			err = k.mutate(tab, op)
		case n < 75:
			big := make([]effect, 30) // several frames, of which a crash may keep any
			for i := range big {
				big[i] = effect{'p', fmt.Sprintf("k%02d", i), fmt.Sprintf("%d/%04000d", k.rng.Uint64(), i)}
			}
			err = k.mutate(tab, big)
		case n < 80:
			if err = tab.Flush(); err == nil {
				k.durable()
			}
		case n < 82:
			err = tab.RotateKey(ctx)
		case n < 84:
			if err = tab.Close(); err == nil {
				k.durable()
			}
		case n < 86:
			ship.keep = !ship.keep // what is shipped again has not changed
		case n < 93:
			// Some writes are not synced, and must not be shipped then.
			err = ship.take(ctx, tab)
		default:
			before := 0
			k.w.note(func() { before = len(k.h.ops) })
			if err = ship.ship(ctx, tab); err == nil {
				k.w.note(func() { k.h.durable = max(k.h.durable, before) })
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestArchiveCrash cuts the power while a table is archived and its log is shipped:
// what was shipped, what waits and what recovery keeps are the whole log, without a
// gap, and what was shipped is never more.
func TestArchiveCrash(t *testing.T) {
	t.Parallel()
	steps, every := 90, 40
	if testing.Short() {
		steps, every = 40, 50
	}
	ctx := t.Context()
	seed := mathrand.Uint64()
	root, w := newMemRoot("archive"), &world{made: true}
	fs := crashfs.New(crashfs.Options{})
	r := &archiveMoments{fs: fs, world: w, ship: newShipper(), every: every, rng: mathrand.New(mathrand.NewPCG(seed, 5))}
	fs.OnOp(r.after)
	k := &worker{w: w, name: archivedTable, rng: mathrand.New(mathrand.NewPCG(seed, 6))}
	for life := range 3 {
		s, err := Open(ctx, crashDir, crashOptions(root, fs))
		require.NoError(t, err)
		k.s = s
		if life == 0 {
			require.NoError(t, k.create(ctx))
		}
		tab, err := s.Table(archivedTable)
		require.NoError(t, err)
		require.NoError(t, tab.SetArchiving(ctx, true)) // where it is on already, nothing
		r.set(true)
		require.NoError(t, archiveWork(ctx, k, tab, r.ship, steps), "seed %d", seed)
		require.NoError(t, s.Close())
		k.durable()
	}
	crashes, aside := r.set(false), newAside(t)
	var g errgroup.Group
	g.SetLimit(2)
	for i := range crashes {
		crashes[i].aside = aside
		g.Go(func() error { return crashes[i].check(root) })
	}
	require.NoError(t, g.Wait(), "seed %d", seed)
	require.Greater(t, len(crashes), 20)
	t.Logf("%d crashes", len(crashes))
}

// TestArchiveOrder holds that a log that moves into the archive is durable there before
// its old name may be durably gone: nothing syncs the table's directory in between.
// A file system with a journal would not lose it; others might.
func TestArchiveOrder(t *testing.T) {
	t.Parallel()
	fs := crashfs.New(crashfs.Options{})
	var mu sync.Mutex
	moving, moved := "", 0
	var wrong []string
	fs.OnOp(func(_ int, op crashfs.Op) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case op.Kind == crashfs.OpRename && strings.Contains(op.To, "/"+archiveDir+"/"):
			moving = path.Dir(op.Path)
			moved++
		case op.Kind == crashfs.OpSyncDir && strings.Contains(op.Path, "/"+archiveDir+"/"):
			moving = ""
		case op.Kind == crashfs.OpSyncDir && op.Path == moving:
			wrong = append(wrong, op.String())
		}
	})
	_, tab := newArchived(t, fs, nil)
	for i := range 300 {
		require.NoError(t, tab.Put(fmt.Appendf(nil, "k%03d", i), make([]byte, 1000), &WriteOptions{NoSync: i%4 > 0}))
	}
	require.NoError(t, tab.Close())
	mu.Lock()
	defer mu.Unlock()
	require.Greater(t, moved, 3)
	require.Empty(t, wrong)
	require.Empty(t, moving)
}

// TestArchiveFaults fails each change to the disk, in turn, by a disk that fails once
// or from then on: calls fail or tell the truth, and when the disk is well again
// nothing of the log is missing.
func TestArchiveFaults(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	seed := mathrand.Uint64()
	root := newMemRoot("archive")
	base := crashfs.New(crashfs.Options{})
	s, err := Open(ctx, crashDir, crashOptions(root, base))
	require.NoError(t, err)
	w := &world{made: true}
	k := &worker{w: w, s: s, name: archivedTable, rng: mathrand.New(mathrand.NewPCG(seed, 1))}
	require.NoError(t, k.create(ctx))
	tab, err := s.Table(archivedTable)
	require.NoError(t, err)
	require.NoError(t, tab.SetArchiving(ctx, true))
	ship := newShipper()
	ship.keep = true
	require.NoError(t, archiveWork(ctx, k, tab, ship, 20))
	require.NoError(t, s.Close())
	k.durable()
	moment, aside := base.Moment(), newAside(t)
	ship.keep = false

	run := func(n int, f crashfs.Fault, sticky bool) (changes int, err error) {
		fs := moment.Crash(nil, crashfs.AllKept)
		opts := crashOptions(root, fs)
		opts.Mode, opts.DiskFullWait = MustExist, -1
		s, err := Open(ctx, crashDir, opts)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, within("close", s.Close)) }()
		tab, err := s.Table(archivedTable)
		if err != nil {
			return 0, err
		}
		var shipped *shipper
		var mine *world
		w.note(func() { mine, shipped = w.clone(), ship.clone() })
		h := mine.tables[0]
		k := &worker{w: mine, s: s, name: archivedTable, h: h, n: 1000, rng: mathrand.New(mathrand.NewPCG(seed, 2))}
		before := fs.Ops()
		if n > 0 {
			fs.FailOp(before+n, f, sticky)
		}
		failed := within("the work", func() error {
			var errs []error
			for range 25 {
				err := k.mutateAs(tab, []effect{k.effect()}, &WriteOptions{})
				errs = append(errs, err, shipped.ship(ctx, tab))
				if err != nil {
					break
				}
			}
			return errors.Join(append(errs, tab.Flush(), shipped.ship(ctx, tab), tab.Close())...)
		})
		changes = fs.Ops() - before
		hit := fs.Faults() > 0
		fs.Heal()
		if failed != nil && !hit {
			return changes, fmt.Errorf("no change failed, and yet: %w", failed)
		}
		if err := within("reopen", func() error { return tab.Reopen(ctx) }); err != nil {
			return changes, err
		}
		if _, err := mine.match(s); err != nil {
			return changes, err
		}
		c := &archiveCrash{ship: shipped, aside: aside}
		if err := c.same(ctx, tab, "after the fault"); err != nil {
			return changes, err
		}
		return changes, verified(s)
	}
	total, err := run(0, crashfs.NoFault, false)
	require.NoError(t, err)
	require.Greater(t, total, 50)
	stride := 1 + total/120
	if testing.Short() {
		stride = 1 + total/30
	}
	var g errgroup.Group
	g.SetLimit(2)
	faults := []crashfs.Fault{crashfs.EIO, crashfs.ENOSPC, crashfs.EROFS, crashfs.ShortWrite, crashfs.FailedSyncPagesClean}
	for n := 1; n <= total; n += stride {
		for _, sticky := range []bool{false, true} {
			f := faults[(n/stride)%len(faults)]
			g.Go(func() error {
				if _, err := run(n, f, sticky); err != nil {
					return fmt.Errorf("%s at change %d of %d, from then on: %v, seed %d: %w", f, n, total, sticky, seed, err)
				}
				return nil
			})
		}
	}
	require.NoError(t, g.Wait())
}
