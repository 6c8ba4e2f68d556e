package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// TestAttacksOnTheWhole are the rows that need another store, or another root.
func TestAttacksOnTheWhole(t *testing.T) {
	t.Parallel()
	clean, crashed, _ := newAttackWorlds(t, nil)
	t.Run("wrong root key", func(t *testing.T) {
		for _, w := range []*attackWorld{clean, crashed} {
			v := w.victim(t, vfs.NewMem(), "store", nil)
			v.root = newAttackRoot("default")
			_, err := Open(context.Background(), v.dir, w.options(v.base, MustExist, v.root))
			require.ErrorIs(t, err, keyring.ErrKeyNotFound)
			require.ErrorIs(t, err, ErrKeyInaccessible)
			require.NotErrorIs(t, err, ErrCorruption)
			v.root = newAttackRoot("elsewhere")
			_, err = Open(context.Background(), v.dir, w.options(v.base, MustExist, v.root))
			require.ErrorIs(t, err, keyring.ErrRootNotPinned)
		}
	})
	t.Run("whole directory rolled back", func(t *testing.T) {
		dir, base := "store", vfs.NewMem()
		writeTree(t, base, dir, clean.older["closed once"])
		_, err := Open(context.Background(), dir, clean.options(base, MustExist, clean.root.clone()))
		require.ErrorIs(t, err, keyring.ErrRollback, "the anchor knows better")
		// Without an anchor nobody can tell: this is documented.
		opts := clean.options(base, MustExist, nil)
		opts.RootKey = struct{ keyring.RootKey }{clean.root}
		s := openStore(t, dir, opts)
		tab, err := s.Table(rowsTable)
		require.NoError(t, err)
		require.NotEmpty(t, collect(t, tab.Scan(ScanOptions{})))
	})
	t.Run("fork", func(t *testing.T) { testForks(t, clean) })
}

// testForks exchanges files between two stores that went on from one copy,
// with writes of the same shape: same numbers, same sizes, other content.
func testForks(t *testing.T, base *attackWorld) {
	fork := func(seed uint64, closed bool) *attackWorld {
		dir := filepath.Join(t.TempDir(), "live")
		w := *base
		w.root = base.root.clone()
		w.tables = map[string]*attackHistory{}
		for name, h := range base.tables {
			n := *h
			n.now, n.all, n.states = cloneMap(h.now), cloneMap(h.all), cloneMap(h.states)
			w.tables[name] = &n
		}
		writeTree(t, vfs.Default, dir, base.files)
		opts := w.options(vfs.Default, MustExist, w.root)
		opts.tune.noCompactions = true
		s, err := Open(context.Background(), dir, opts)
		require.NoError(t, err)
		rng := rand.New(rand.NewPCG(seed, 0))
		for _, name := range []string{rowsTable, twinsTable} {
			tab, err := s.Table(name)
			require.NoError(t, err)
			p := &attackWriter{t, tab, w.tables[name], rng}
			for i := range 50 {
				p.put(fmt.Sprintf("fork/%05d", i), 200, true)
			}
			p.flush()
			for i := range 5 {
				p.put(fmt.Sprintf("fork/after/%05d", i), 200, true)
			}
		}
		if closed {
			require.NoError(t, s.Close())
		}
		c := w.at(t, dir, closed)
		require.NoError(t, s.Close())
		return c
	}
	for _, closed := range []bool{true, false} {
		one, two := fork(1, closed), fork(2, closed)
		same := 0
		for name, own := range one.files {
			b, ok := two.files[name]
			if !ok || slices.Equal(own, b) || strings.HasPrefix(name, keyringDir) || strings.HasPrefix(name, auditDir) || strings.Contains(name, snapshotsDir) {
				continue
			}
			v := one.victim(t, vfs.NewMem(), "store", rand.New(rand.NewPCG(1, 1)))
			v.mark(name)
			v.write(name, b)
			req := mustReadV
			switch ext := filepath.Ext(name); {
			case ext == ".sst" || ext == ".blob":
				if len(own) == len(b) {
					same++
				}
			case strings.Contains(name, "OPTIONS"):
				req = mustEither
			default:
				req = requirement{verdict: failsOpen, loose: true}
				if !closed && name != v.manifest(v.table) && name != slices.Max(v.logs(v.table)) {
					// Kept, and nobody needs it; what it says of others may tell.
					req = requirement{verdict: failsOrKeeps, loose: true}
				}
			}
			word, fault := v.judge(req, v.probe(MustExist))
			require.Empty(t, fault, "%s, closed %v", name, closed)
			t.Logf("closed %-5v %-60s %s", closed, name, word)
		}
		require.NotZero(t, same, "no file of the same number and size")
	}
}
