package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
)

// A grantingRoot is a root key whose service has grants.
type grantingRoot struct {
	*memRoot

	gmu    sync.Mutex // guards what follows
	grants map[string]keyring.Grant
	calls  int
	// before and behind hear of each change of grants. What they return it fails with:
	// then the call has done nothing, or everything.
	before, behind func(op string) error
}

func newGrantingRoot(name string) *grantingRoot {
	return &grantingRoot{memRoot: newMemRoot(name), grants: make(map[string]keyring.Grant)}
}

// do is a change of grants.
func (r *grantingRoot) do(ctx context.Context, op string, f func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.gmu.Lock()
	before, behind := r.before, r.behind
	r.calls++
	r.gmu.Unlock()
	if before != nil {
		if err := before(op); err != nil {
			return err
		}
	}
	r.gmu.Lock()
	f()
	r.gmu.Unlock()
	if behind != nil {
		return behind(op)
	}
	return nil
}

func (r *grantingRoot) CreateGrant(ctx context.Context, g keyring.Grant) (string, error) {
	g.ID = keyring.NewID().String()
	err := r.do(ctx, "create", func() { r.grants[g.ID] = g })
	return g.ID, err
}

func (r *grantingRoot) Grants(ctx context.Context, store keyring.ID) (list []keyring.Grant, err error) {
	err = r.do(ctx, "list", func() { list = slices.Collect(maps.Values(r.grants)) })
	return list, err
}

func (r *grantingRoot) RetireGrant(ctx context.Context, id string) error {
	return r.do(ctx, "retire", func() { delete(r.grants, id) })
}

// fails has the calls of an operation fail, before they do anything or behind.
func (r *grantingRoot) fails(op string, done bool, err error) {
	hook := func(o string) error {
		if o == op {
			return err
		}
		return nil
	}
	r.gmu.Lock()
	defer r.gmu.Unlock()
	r.before, r.behind = nil, nil
	if err == nil {
		return
	}
	if done {
		r.behind = hook
	} else {
		r.before = hook
	}
}

// copied is the service as it is now: with its grants, and the same key.
func (r *grantingRoot) copied() *grantingRoot {
	r.gmu.Lock()
	defer r.gmu.Unlock()
	return &grantingRoot{memRoot: r.memRoot, grants: maps.Clone(r.grants)}
}

// of are the operations that the grants of a table allow, in order.
func (r *grantingRoot) of(s *Store, table keyring.ID) (ops []string) {
	r.gmu.Lock()
	defer r.gmu.Unlock()
	for _, g := range r.grants {
		if id, ok := g.TableOf(s.ID()); ok && id == table {
			ops = append(ops, strings.Join(g.Operations.Names(), "+"))
		}
	}
	slices.Sort(ops)
	return ops
}

func (r *grantingRoot) len() int {
	r.gmu.Lock()
	defer r.gmu.Unlock()
	return len(r.grants)
}

var (
	bothGrants   = []string{"Unwrap+Describe", "Wrap+Unwrap+Describe"}
	archiveGrant = bothGrants[:1]
)

// TestGrants follows the grants of a table from its creation to 42 days after its drop,
// in fake time, with a service that does not answer when it should give one back.
func TestGrants(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		a, b, plain := newGrantingRoot("a"), newGrantingRoot("b"), newMemRoot("plain")
		opts := crashOptions(a, vfs.NewCrashableMem())
		opts.Roots = []keyring.RootKey{b, plain}
		var events []string
		var mu sync.Mutex
		opts.Audit.Sink = func(r audit.Record) {
			mu.Lock()
			defer mu.Unlock()
			if r.Event == audit.EventCreateGrant || r.Event == audit.EventRetireGrant {
				events = append(events, r.Event+" "+r.Outcome)
				require.NotEmpty(t, r.Request.Grant)
			}
		}
		s, err := Open(ctx, crashDir, opts)
		require.NoError(t, err)
		tab, err := s.CreateTable(ctx, "clinic.patients", TableOptions{})
		require.NoError(t, err)
		require.Equal(t, bothGrants, a.of(s, tab.ID()))
		for _, g := range a.grants {
			if g.Grantee == ArchiveGrantee(s.ID()) {
				require.Equal(t, Grantee(s.ID()), g.Retiring)
			} else {
				require.Equal(t, Grantee(s.ID()), g.Grantee)
				require.Empty(t, g.Retiring)
			}
		}
		calls := a.calls
		for n := range 20 {
			require.NoError(t, tab.Put(fmt.Appendf(nil, "%d", n), nil, nil))
		}
		require.NoError(t, tab.RotateKey(ctx))
		require.NoError(t, tab.RotateRoot(ctx, a))
		require.NoError(t, tab.Close())
		require.NoError(t, tab.Put(key, nil, nil))
		require.Equal(t, calls, a.calls, "no grant costs a call while its table is used")

		require.NoError(t, tab.AddRoot(ctx, b))
		require.Equal(t, bothGrants, a.of(s, tab.ID()))
		require.Equal(t, bothGrants, b.of(s, tab.ID()))
		require.NoError(t, tab.ReplaceRoot(ctx, a.URI(), plain))
		require.Empty(t, a.of(s, tab.ID()))
		require.NoError(t, tab.RemoveRoot(ctx, plain.URI()))
		require.Equal(t, bothGrants, b.of(s, tab.ID()))

		// A root key that gives no grant is not the table's.
		a.fails("create", true, keyring.ErrKeyUnreachable)
		require.ErrorIs(t, tab.AddRoot(ctx, a), ErrKeyInaccessible)
		require.Empty(t, a.of(s, tab.ID()))
		a.fails("", false, nil)
		require.Equal(t, []string{b.URI()}, s.Tables()[0].RootKeys)

		// The service is silent when the table goes. It is asked again.
		b.fails("retire", false, keyring.ErrKeyUnreachable)
		dropped := time.Now()
		rep, err := s.DropTable(ctx, "clinic.patients", DropOptions{})
		require.NoError(t, err)
		require.WithinDuration(t, dropped.Add(42*24*time.Hour), rep.ArchiveGrantsUntil, time.Minute)
		require.Equal(t, bothGrants, b.of(s, tab.ID()))
		time.Sleep(3 * time.Hour)
		require.Equal(t, bothGrants, b.of(s, tab.ID()))
		b.fails("", false, nil)
		time.Sleep(2 * time.Hour)
		require.Equal(t, archiveGrant, b.of(s, tab.ID()))
		require.NoError(t, s.Close())

		s, err = Open(ctx, crashDir, opts)
		require.NoError(t, err)
		time.Sleep(time.Until(dropped.Add(archiveGrantLife)) - time.Minute)
		require.Equal(t, archiveGrant, b.of(s, tab.ID()), "a minute before 42 days are over")
		time.Sleep(2*grantTick + time.Minute)
		require.Empty(t, b.of(s, tab.ID()))
		require.NoError(t, s.Close())
		mu.Lock()
		defer mu.Unlock()
		count := make(map[string]int)
		for _, e := range events {
			count[e]++
		}
		require.Equal(t, 4, count["CreateGrant success"])
		require.Equal(t, 1, count["CreateGrant failure"])
		require.Equal(t, 5, count["RetireGrant success"])
		require.NotZero(t, count["RetireGrant failure"])
	})
}

// TestGrantsFail has each call for a grant fail in turn, with the grant made or not: the
// creation fails, and leaves nothing behind. Where the grants cannot be given back
// either, the next opening does that.
func TestGrantsFail(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for n := range 2 {
		for _, done := range []bool{false, true} {
			for _, silent := range []bool{false, true} {
				root := newGrantingRoot("a")
				opts := crashOptions(root, vfs.NewCrashableMem())
				s, err := Open(ctx, crashDir, opts)
				require.NoError(t, err)
				made := 0
				hook := func(op string) error {
					switch {
					case op == "create":
						if made++; made == n+1 {
							return keyring.ErrKeyUnreachable
						}
					case silent:
						return keyring.ErrKeyUnreachable
					}
					return nil
				}
				root.gmu.Lock()
				if done {
					root.behind = hook
				} else {
					root.before = hook
				}
				root.gmu.Unlock()
				_, err = s.CreateTable(ctx, "clinic.patients", TableOptions{})
				require.ErrorIs(t, err, ErrKeyInaccessible)
				require.Empty(t, s.Tables())
				require.Empty(t, s.ring.Tables())
				if !silent {
					require.Zero(t, root.len())
				}
				root.fails("", false, nil)
				require.NoError(t, s.Close())
				s, err = Open(ctx, crashDir, opts)
				require.NoError(t, err)
				require.Zero(t, root.len())
				_, err = s.CreateTable(ctx, "clinic.patients", TableOptions{})
				require.NoError(t, err)
				require.Equal(t, 2, root.len())
				require.NoError(t, s.Close())
			}
		}
	}
}

// TestGrantsCrash crashes at each operation on the disk and at each call for a grant, of
// a creation, of changes of root keys and of a drop. The next opening leaves no grant
// that nothing needs, and each table has its own.
func TestGrantsCrash(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	mem := vfs.NewCrashableMem()
	a, b := newGrantingRoot("a"), newGrantingRoot("b")
	type crashed struct {
		fs   *vfs.MemFS
		a, b *grantingRoot
	}
	var mu sync.Mutex
	var left []crashed
	watching := false
	crash := func() {
		mu.Lock()
		defer mu.Unlock()
		if watching {
			left = append(left, crashed{mem.CrashClone(vfs.CrashCloneCfg{}), a.copied(), b.copied()})
		}
	}
	hook := func(string) error { crash(); return nil }
	a.before, a.behind, b.before, b.behind = hook, hook, hook, hook
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if k := op.Kind; k == errorfs.OpRename || k == errorfs.OpRemove || k == errorfs.OpRemoveAll || k == errorfs.OpFileSync {
			crash()
		}
		return nil
	}))
	s, tab := rotating(t, fs, a, b)
	for _, step := range []func() error{
		func() error { _, err := s.CreateTable(ctx, "a.second", TableOptions{RootKey: b}); return err },
		func() error { return tab.AddRoot(ctx, b) },
		func() error { return tab.RemoveRoot(ctx, a.URI()) },
		func() error { return tab.RotateRoot(ctx, a) },
		func() error { _, err := s.DropTable(ctx, "a.second", DropOptions{}); return err },
	} {
		watching = true
		require.NoError(t, step())
		watching = false
	}
	require.NoError(t, s.Close())
	require.Greater(t, len(left), 30)
	for n, c := range left {
		opts := crashOptions(c.a, c.fs)
		opts.Roots = []keyring.RootKey{c.b}
		s, err := Open(ctx, crashDir, opts)
		require.NoError(t, err)
		want := 0
		for _, info := range s.Tables() {
			for _, root := range []*grantingRoot{c.a, c.b} {
				if slices.Contains(info.RootKeys, root.URI()) {
					require.Equal(t, bothGrants, root.of(s, info.ID), "crash %d: %s, %s", n, info.Name, root.URI())
					want += 2
				}
			}
		}
		for _, tomb := range s.Dropped() {
			require.Equal(t, archiveGrant, c.b.of(s, tomb.ID), "crash %d", n)
			want++
		}
		require.Equal(t, want, c.a.len()+c.b.len(), "crash %d", n)
		require.NoError(t, s.Close())
	}
}

// TestGrantsOfOthers leaves alone what is not the store's own, and a service that has no
// grants, or gives none to who asks, keeps nobody from making a table.
func TestGrantsOfOthers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	root := newGrantingRoot("a")
	opts := crashOptions(root, vfs.NewCrashableMem())
	s, err := Open(ctx, crashDir, opts)
	require.NoError(t, err)
	gone := keyring.TablePairs(s.ID(), keyring.NewID())
	other := keyring.NewID()
	for _, g := range []keyring.Grant{
		{Grantee: "reports", Context: gone},
		{Grantee: Grantee(other), Context: keyring.TablePairs(other, keyring.NewID())},
		{Grantee: Grantee(s.ID()), Context: map[string]string{"cofre:store": s.ID().String()}},
	} {
		g.Operations = keyring.GrantUnwrap
		_, err := root.CreateGrant(ctx, g)
		require.NoError(t, err)
	}
	_, err = root.CreateGrant(ctx, keyring.Grant{Grantee: Grantee(s.ID()), Context: gone})
	require.NoError(t, err)
	require.NoError(t, s.sweepGrants(ctx))
	require.Equal(t, 3, root.len(), "of a table that there is not")
	root.fails("create", false, keyring.ErrNoGrants)
	_, err = s.CreateTable(ctx, "clinic.patients", TableOptions{})
	require.NoError(t, err)
	require.Equal(t, 3, root.len())
	root.fails("list", false, errors.New("out of order"))
	require.Error(t, s.sweepGrants(ctx))
	require.NoError(t, s.Close())
}

// TestGrantsOfRestored: a table that is restored has grants of its own, or is not there.
func TestGrantsOfRestored(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	root := newGrantingRoot("a")
	s, err := Open(ctx, crashDir, crashOptions(root, vfs.NewCrashableMem()))
	require.NoError(t, err)
	tab, err := s.CreateTable(ctx, "clinic.patients", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	h := hold(t, tab)
	root.fails("create", true, keyring.ErrKeyUnreachable)
	_, err = s.RestoreTable(ctx, "clinic.again", RestoreOptions{}, source(t, stage(t, s, h), h, root))
	require.ErrorIs(t, err, ErrKeyInaccessible)
	require.Len(t, s.Tables(), 1)
	require.Equal(t, 2, root.len())
	root.fails("", false, nil)
	again, err := s.RestoreTable(ctx, "clinic.again", RestoreOptions{}, source(t, stage(t, s, h), h, root))
	require.NoError(t, err)
	require.Equal(t, bothGrants, root.of(s, again.ID()))
	require.Equal(t, 4, root.len())
	require.NoError(t, s.Close())
}
