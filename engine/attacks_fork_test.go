package engine

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// newForks goes on from the store as it was when it closed first, with its
// keys and without its anchor. The longer it goes on, the higher are the
// numbers of its files: no number shows any more that it left the store
// earlier.
func newForks(t testing.TB, w *attackWorld, tune tuning) map[string]map[string][]byte {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "fork")
	writeTree(t, vfs.Default, dir, w.older["closed once"])
	opts := w.options(vfs.Default, MustExist, w.root.clone())
	opts.tune = tune
	rng := rand.New(rand.NewPCG(19, 23))
	forks := map[string]map[string][]byte{}
	for _, times := range []string{"once", "twice", "three times"} {
		s, err := Open(ctx, dir, opts)
		require.NoError(t, err)
		for _, name := range []string{rowsTable, twinsTable} {
			tab, err := s.Table(name)
			require.NoError(t, err)
			for i := range 12 {
				require.NoError(t, tab.Put(fmt.Appendf(nil, "fork/%05d", i), value(rng, 200), nil))
				require.NoError(t, tab.Flush())
			}
			for i := range 5 {
				require.NoError(t, tab.Put(fmt.Appendf(nil, "fork/after/%05d", i), value(rng, 200), nil))
			}
		}
		forks["opened "+times] = readTree(t, dir)
		require.NoError(t, s.Close())
		forks["closed "+times] = readTree(t, dir)
	}
	return forks
}

// forkAttacks put a whole table of a fork in the place of the store's own.
func forkAttacks() []attack {
	var as []attack
	for _, times := range []string{"once", "twice", "three times"} {
		for _, state := range []string{"opened", "closed"} {
			a := everywhere("table directory of a fork that was "+state+" "+times, requirement{verdict: failsOpen, loose: true}, func(v *victim) {
				dir := v.tableDir(v.anyTable())
				v.mark(dir)
				v.removeAll(dir)
				n := 0
				fork := v.w.forks[state+" "+times]
				for _, name := range slices.Sorted(maps.Keys(fork)) {
					if strings.HasPrefix(name, dir+"/") {
						v.write(name, fork[name])
						n++
					}
				}
				require.NotZero(v.t, n)
			})
			a.tries = 6
			if times == "three times" {
				// Its MANIFEST and the one before are both later than any that the
				// store has noted: in a store that crashed nothing tells.
				a.crashed, a.deep = requirement{}, requirement{}
			}
			as = append(as, a)
		}
	}
	return as
}
