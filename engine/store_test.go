package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// faultImmutable is a file that nobody may remove.
var faultImmutable = fault{name: "immutable", err: syscall.EPERM, ops: "remove"}

// TestStuckLeftovers has directories that nothing needs and that cannot be
// removed: the store opens, says so, and removes them when it can.
func TestStuckLeftovers(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*testing.T, *faultFS, *Store) error{
		"dropped table": func(t *testing.T, q *faultFS, s *Store) error {
			tab := memTable(t, s, "fault.left")
			require.NoError(t, tab.Close())
			q.arm(faultImmutable, 1, true, tab.dir)
			_, err := s.DropTable(t.Context(), "fault.left", DropOptions{})
			return err
		},
		"table never made": func(t *testing.T, q *faultFS, s *Store) error {
			q.arm(fault{name: "no change", err: syscall.EPERM, ops: "create remove"}, 3, true, s.path(tablesDir))
			_, err := s.CreateTable(t.Context(), "fault.left", TableOptions{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log syncBuffer
			q, s, tab := newFaulty(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			require.NoError(t, tab.Put(key, []byte("v"), nil))
			require.ErrorIs(t, leave(t, q, s), syscall.EPERM)
			q.heal()
			dirs := slices.DeleteFunc(tableDirs(t, q), func(n string) bool { return n == tab.ID().String() })
			require.Len(t, dirs, 1)
			left := s.path(tablesDir, dirs[0])
			require.NoError(t, s.Close())

			q.arm(faultImmutable, 1, true, left)
			s, err := Open(t.Context(), crashDir, s.opts)
			require.NoError(t, err)
			require.Contains(t, string(log.bytes()), left)
			require.Len(t, s.Tables(), 1)
			tab, err = s.Table(faultTable)
			require.NoError(t, err)
			_, err = tab.Get(key)
			require.NoError(t, err)
			requireVerified(t, s)
			require.Contains(t, tableDirs(t, q), dirs[0])

			s = again(t, q, s, true)
			require.NotContains(t, tableDirs(t, q), dirs[0])
			memTable(t, s, "fault.left")
			requireVerified(t, s)
		})
	}
}

// TestDropUnusable drops tables that cannot be opened, for reasons of any kind.
// Nobody knows the names of their snapshots; that there are some still counts.
func TestDropUnusable(t *testing.T) {
	t.Parallel()
	spoil := func(b ...byte) func(*testing.T, *Store, *Table) {
		return func(t *testing.T, s *Store, tab *Table) {
			keys, err := s.ring.OpenTable(t.Context(), tab.id)
			require.NoError(t, err)
			defer keys.Wipe()
			require.NoError(t, s.ring.SetMetadata(t.Context(), keys, b))
		}
	}
	fails := errors.New("a failure of another kind")
	for name, tc := range map[string]struct {
		spoil  func(*testing.T, *Store, *Table)
		unpin  bool
		root   error
		wanted error
	}{
		"root denied":        {root: keyring.ErrKeyDenied, wanted: ErrKeyInaccessible},
		"root fails":         {root: fails, wanted: fails},
		"other root":         {root: keyring.ErrWrongContext, wanted: keyring.ErrWrongContext},
		"root not pinned":    {unpin: true, wanted: keyring.ErrRootNotPinned},
		"malformed metadata": {spoil: spoil(metadataVersion, 1), wanted: ErrCorruption},
		"newer metadata":     {spoil: spoil(metadataVersion + 1), wanted: ErrVersion},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own, other := newMemRoot("own"), newMemRoot("other")
			opts := crashOptions(own, vfs.NewMem())
			opts.Roots = []keyring.RootKey{other}
			s, err := Open(t.Context(), crashDir, opts)
			require.NoError(t, err)
			for _, name := range []string{"drop.plain", "drop.kept"} {
				tab, err := s.CreateTable(t.Context(), name, TableOptions{RootKey: other})
				require.NoError(t, err)
				require.NoError(t, tab.Put(key, []byte("v"), nil))
				if name == "drop.kept" {
					_, err = tab.Snapshot(t.Context(), "s")
					require.NoError(t, err)
				}
				if tc.spoil != nil {
					tc.spoil(t, s, tab)
				}
			}
			require.NoError(t, s.Close())

			if tc.unpin {
				opts.Roots = nil
			}
			other.fail(tc.root)
			s = openStore(t, crashDir, opts)
			for _, name := range []string{"drop.plain", "drop.kept"} {
				tab, err := s.Table(name)
				require.NoError(t, err)
				_, err = tab.Get(key)
				require.ErrorIs(t, err, tc.wanted)
			}
			rep, err := s.DropTable(t.Context(), "drop.plain", DropOptions{})
			require.NoError(t, err)
			require.Empty(t, rep.Snapshots)
			require.Equal(t, []string{"mem:other"}, rep.RootKeys)
			_, err = s.DropTable(t.Context(), "drop.kept", DropOptions{})
			require.ErrorIs(t, err, ErrSnapshotsExist)
			rep, err = s.DropTable(t.Context(), "drop.kept", DropOptions{WithSnapshots: true})
			require.NoError(t, err)
			require.Len(t, rep.Snapshots, 1)
			require.Empty(t, s.Tables())
			require.Empty(t, tableDirs(t, s.fs))
			requireVerified(t, s)
		})
	}
}

// A wrapRoot remembers the key that it wrapped last, to see it wiped.
type wrapRoot struct {
	*memRoot
	key *keyring.Secret
}

func (r *wrapRoot) Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	r.key = key
	return r.memRoot.Wrap(ctx, key, ec)
}

// TestFailedCreateWipesKey fails each change that a creation makes: the new
// table's key does not stay in memory.
func TestFailedCreateWipesKey(t *testing.T) {
	t.Parallel()
	failed := 0
	for n := 1; ; n++ {
		root := &wrapRoot{memRoot: newMemRoot("wrap")}
		q, s, _ := newFaulty(t, func(o *Options) { o.RootKey = root })
		q.arm(faultEIO, n, false, "")
		_, err := s.CreateTable(t.Context(), "fault.new", TableOptions{})
		if err != nil {
			failed++
			require.True(t, root.key.Wiped(), "change %d: %v", n, err)
		}
		if seen, _ := q.heal(); seen < n {
			require.NoError(t, err)
			break
		}
	}
	require.Greater(t, failed, 10)
}
