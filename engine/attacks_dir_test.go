package engine

import (
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
)

// options is the OPTIONS file in force. Older ones may be there still: Pebble
// removes them in the background.
func (v *victim) options() string {
	name := slices.Max(v.glob(v.tableDir(v.anyTable()) + "/OPTIONS-*"))
	v.mark(name)
	return name
}

// directoryAttacks are rows of OPTIONS, markers' peers and whole directories.
func directoryAttacks() []attack {
	once := func(a attack) attack { a.tries = 3; return a }
	return append(controlled(
		everywhere("OPTIONS: bit flipped", mustOpenV, func(v *victim) {
			v.flip(v.options(), 0, -1)
		}),
	),
		once(everywhere("OPTIONS: deleted", mustNothing, func(v *victim) {
			v.remove(v.options())
		})),
		everywhere("OPTIONS: cut", mustOpenV, func(v *victim) {
			name := v.options()
			v.cut(name, v.rng.IntN(len(v.read(name))))
		}),
		once(everywhere("OPTIONS: of another table", mustOpenV, func(v *victim) {
			name := v.options()
			v.write(name, v.read(v.glob(v.tableDir(theOther(v.table)) + "/OPTIONS-*")[0]))
		})),
		once(everywhere("OPTIONS: an older one put back", mustEither, func(v *victim) {
			name := v.options()
			v.remove(name)
			for n, b := range v.w.older["closed once"] {
				if strings.HasPrefix(n, v.tableDir(v.table)+"/OPTIONS-") {
					v.mark(n)
					v.write(n, b)
				}
			}
		})),
		once(everywhere("table directory deleted", requirement{verdict: failsOpen, verify: true}, func(v *victim) {
			v.mark(v.tableDir(v.anyTable()))
			v.removeAll(v.paths[0])
		})),
		once(everywhere("table directory emptied", requirement{verdict: failsOpen, loose: true}, func(v *victim) {
			v.mark(v.tableDir(v.anyTable()))
			v.removeAll(v.paths[0])
			require.NoError(v.t, v.base.MkdirAll(v.path(v.paths[0]), 0o700))
		})),
		once(everywhere("table directory replaced by another table's", requirement{verdict: failsOpen, loose: true}, func(v *victim) {
			name := v.anyTable()
			v.mark(v.tableDir(name))
			v.removeAll(v.paths[0])
			for n, b := range v.w.files {
				if rest, ok := strings.CutPrefix(n, v.tableDir(theOther(name))); ok {
					v.write(v.paths[0]+rest, b)
				}
			}
		})),
		once(everywhere("table directory of an earlier opening", requirement{verdict: failsOpen, loose: true}, func(v *victim) {
			name := v.anyTable()
			v.mark(v.tableDir(name))
			v.removeAll(v.paths[0])
			v.restore("closed once", v.paths[0])
		})),
		once(attack{
			name:  "table directory of an earlier moment of the same opening",
			clean: requirement{verdict: failsOpen, loose: true}, crashed: requirement{verdict: documented}, deep: requirement{verdict: documented},
			tamper: func(v *victim) {
				name := v.anyTable()
				v.mark(v.tableDir(name))
				v.removeAll(v.paths[0])
				v.restore("opened again", v.paths[0])
			},
		}),
		once(everywhere("all tables deleted", requirement{verdict: failsOpen, loose: true}, func(v *victim) {
			v.mark(v.tableDir(rowsTable))
			v.w = v.w.without(twinsTable)
			v.removeAll(tablesDir)
		})),
	)
}

// without is the world as if one table were not looked at.
func (w *attackWorld) without(name string) *attackWorld {
	c := *w
	c.tables = cloneMap(w.tables)
	delete(c.tables, name)
	return &c
}

// restore puts back what was below a path at an earlier moment.
func (v *victim) restore(moment, below string) {
	n := 0
	for name, b := range v.w.older[moment] {
		if name == below || strings.HasPrefix(name, below+"/") {
			v.write(name, b)
			n++
		}
	}
	require.NotZero(v.t, n)
}

// snapshotAttacks hit the files of a snapshot, not the table's.
func snapshotAttacks() []attack {
	row := func(name, pattern string, r requirement, tamper func(*victim, string)) attack {
		return everywhere("snapshot: "+name, r, func(v *victim) {
			tamper(v, v.pick(snapshotsDir+"/*/"+pattern))
		})
	}
	remove := (*victim).remove
	return []attack{
		row("bit flipped in a MANIFEST", "MANIFEST-*", mustSnapshot, func(v *victim, name string) { v.flip(name, 0, -1) }),
		row("bit flipped in a log", "*.log", mustSnapshot, func(v *victim, name string) { v.flip(name, 0, -1) }),
		row("sorted file cut", "*.sst", mustSnapshot, func(v *victim, name string) { v.cut(name, v.rng.IntN(len(v.read(name)))) }),
		row("sorted file deleted", "*.sst", mustSnapshot, remove),
		row("blob deleted", "*.blob", mustSnapshot, remove),
		row("log cut", "*.log", mustSnapshot, func(v *victim, name string) { v.cut(name, v.rng.IntN(len(v.read(name)))) }),
		row("log deleted", "*.log", mustSnapshot, remove),
		row("MANIFEST deleted", "MANIFEST-*", mustSnapshot, remove),
		row("marker deleted", "marker.manifest.*", requirement{verdict: failsSnapshot, loose: true}, remove),
	}
}
