package engine

import (
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// TestJournalTurns has a journal followed by another when it is long: no state
// is lost, and it does not grow with the life of a store.
func TestJournalTurns(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	root := newMemRoot("journal")
	s := openStore(t, crashDir, crashOptions(root, mem))
	tab := memTable(t, s, "journal.turns")
	s.journal.mu.Lock()
	s.journal.turn = 4000
	s.journal.mu.Unlock()
	ids := make(map[keyring.ID]bool)
	for n := range 40 {
		require.NoError(t, tab.Put([]byte{byte(n + 1)}, nil, nil))
		require.NoError(t, tab.Close())
		s.journal.mu.Lock()
		ids[s.journal.id] = true
		_, length := s.journal.w.Committed()
		s.journal.mu.Unlock()
		require.Less(t, length, int64(6000))
	}
	require.Greater(t, len(ids), 3)
	names, err := mem.List(s.path(keyringDir))
	require.NoError(t, err)
	require.Equal(t, 1, len(slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, journalPrefix) })))

	again := openStore(t, crashDir, crashOptions(root, mem.CrashClone(vfs.CrashCloneCfg{})))
	tab, err = again.Table("journal.turns")
	require.NoError(t, err)
	require.Len(t, collect(t, tab.Scan(ScanOptions{})), 40)
}

// TestGuttedStore takes keyring and tables away: what is left of the store says
// that there was one, and no new one is made in its place.
func TestGuttedStore(t *testing.T) {
	t.Parallel()
	for _, left := range []string{journalPrefix, ballastName, auditDir, ""} {
		mem := vfs.NewCrashableMem()
		opts := crashOptions(newMemRoot("gutted"), mem)
		opts.Mode = CreateIfMissing
		s := openStore(t, crashDir, opts)
		memTable(t, s, "gutted.store")
		gutted := mem
		if left == journalPrefix {
			gutted = mem.CrashClone(vfs.CrashCloneCfg{})
		} else {
			require.NoError(t, s.Close())
		}
		require.NoError(t, gutted.RemoveAll(s.path(tablesDir)))
		names, err := gutted.List(s.path(keyringDir))
		require.NoError(t, err)
		for _, n := range names {
			if strings.HasPrefix(n, "KEYRING-") {
				require.NoError(t, gutted.Remove(s.path(keyringDir, n)))
			}
		}
		if left != auditDir {
			require.NoError(t, gutted.RemoveAll(s.path(auditDir)))
		}
		if left == ballastName {
			f, err := gutted.Create(s.path(ballastName), vfs.WriteCategoryUnspecified)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
		opts.FS = gutted
		made, err := Open(t.Context(), crashDir, opts)
		if left != "" {
			require.ErrorIs(t, err, ErrCorruption)
			continue
		}
		// Nothing is left: as after a creation that did not finish.
		require.NoError(t, err)
		require.NoError(t, made.Close())
	}
}

// TestLostAndFound makes a store in the topmost directory of a file system.
func TestLostAndFound(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll(mem.PathJoin(crashDir, lostAndFound), 0o700))
	s := openStore(t, crashDir, crashOptions(newMemRoot("mount"), mem))
	memTable(t, s, "lost.found")
	requireVerified(t, s)
}
