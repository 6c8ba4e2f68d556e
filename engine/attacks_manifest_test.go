package engine

import (
	"path"
	"strings"

	"github.com/stretchr/testify/require"
)

// manifest is the MANIFEST in force.
func (v *victim) manifest(table string) string {
	names := v.glob(v.tableDir(table) + "/marker.manifest.*")
	require.Len(v.t, names, 1)
	name := v.tableDir(table) + "/" + names[0][strings.Index(names[0], "MANIFEST-"):]
	v.mark(name)
	return name
}

// earlierManifest is one that is no longer in force.
func (v *victim) earlierManifest(table string) string {
	names := v.glob(v.tableDir(table) + "/MANIFEST-*")
	require.Greater(v.t, len(names), 1)
	v.mark(names[len(names)-2])
	return names[len(names)-2]
}

// manifestAttacks are rows of MANIFEST and markers.
func manifestAttacks() []attack {
	remove := (*victim).remove
	loose := requirement{verdict: failsOpen, loose: true}
	doc := requirement{verdict: documented, loose: true}
	row := func(name string, clean, crashed requirement, tamper func(*victim)) attack {
		return attack{name: name, clean: clean, crashed: crashed, deep: crashed, tamper: tamper}
	}
	rename := func(pattern, from, to string) func(*victim) {
		return func(v *victim) {
			name := v.pick(pattern)
			require.Contains(v.t, name, from)
			v.rename(name, strings.Replace(name, from, to, 1))
		}
	}
	return append(controlled(
		row("MANIFEST: bit flipped", mustOpenV, doc, func(v *victim) {
			name := v.manifest(v.anyTable())
			fs := v.frames(name)
			f := fs[v.rng.IntN(len(fs))]
			v.flip(name, f.from+32, f.to)
		}),
	),
		row("MANIFEST: bit flipped in header or frame 0", mustOpenV, mustOpenV, func(v *victim) {
			name := v.manifest(v.anyTable())
			v.flip(name, 0, v.frames(name)[0].to)
		}),
		row("MANIFEST: last records cut, or an older copy put back", mustOpenV, doc, func(v *victim) {
			name := v.manifest(v.anyTable())
			fs := v.frames(name)
			v.cut(name, fs[1+v.rng.IntN(len(fs)-1)].from)
		}),
		row("MANIFEST: cut inside a record", mustOpenV, doc, func(v *victim) {
			name := v.manifest(v.anyTable())
			fs := v.frames(name)
			f := fs[1+v.rng.IntN(len(fs)-1)]
			v.cut(name, f.from+1+v.rng.IntN(f.to-f.from-1))
		}),
		row("MANIFEST: record removed from the middle", mustOpenV, mustOpenV, func(v *victim) {
			name := v.manifest(v.anyTable())
			fs := v.frames(name)
			f := fs[v.rng.IntN(len(fs)-1)]
			v.splice(name, f.from, f.to)
		}),
		row("MANIFEST: deleted", mustOpenV, mustOpenV, func(v *victim) { remove(v, v.manifest(v.anyTable())) }),
		row("MANIFEST: emptied", mustOpenV, mustOpenV, func(v *victim) { v.cut(v.manifest(v.anyTable()), 0) }),
		row("MANIFEST: of the other table", mustOpenV, mustOpenV, func(v *victim) {
			name := v.manifest(v.anyTable())
			b := v.read(v.glob(v.tableDir(theOther(v.table)) + "/MANIFEST-*")[0])
			v.write(name, b)
		}),
		row("MANIFEST: an earlier copy of it put back", mustOpenV, doc, func(v *victim) {
			name := v.manifest(twinsTable)
			old := v.w.older["opened again"][name]
			require.NotEmpty(v.t, old)
			require.Less(v.t, len(old), len(v.read(name)))
			v.write(name, old)
		}),
		row("MANIFEST: an earlier one under its name", mustOpenV, mustOpenV, func(v *victim) {
			table := v.anyTable()
			old := v.earlierManifest(table)
			v.paths = nil
			v.write(v.manifest(table), v.read(old))
		}),
		row("MANIFEST: an earlier one under its name, number made to fit", mustOpenV, mustOpenV, func(v *victim) {
			table := v.anyTable()
			b := v.read(v.earlierManifest(table))
			v.paths = nil
			name := v.manifest(table)
			copy(b[64:72], v.read(name)[64:72])
			v.write(name, b)
		}),
		row("MANIFEST: the one before it, bit flipped", requirement{verdict: losesNothing, verify: true}, mustNothing, func(v *victim) {
			v.flip(v.earlierManifest(v.anyTable()), 0, -1)
		}),
		row("marker: deleted", loose, loose, func(v *victim) { remove(v, v.pick("marker.*")) }),
		row("marker: all deleted", loose, loose, func(v *victim) {
			v.table = v.anyTable()
			for _, n := range v.glob(v.tableDir(v.table) + "/marker.*") {
				remove(v, n)
			}
		}),
		row("marker: renamed to an older MANIFEST", loose, loose, func(v *victim) {
			old := v.earlierManifest(v.anyTable())
			name := v.glob(v.tableDir(v.table) + "/marker.manifest.*")[0]
			v.mark(name)
			v.rename(name, name[:strings.Index(name, "MANIFEST-")]+path.Base(old))
		}),
		row("marker: a newer one that names an older MANIFEST", loose, loose, func(v *victim) {
			table := v.anyTable()
			old := path.Base(v.earlierManifest(table))
			n := []string{"000009", "18446744073709551615"}[v.rng.IntN(2)]
			name := v.tableDir(table) + "/marker.manifest." + n + "." + old
			v.mark(name)
			v.write(name, nil)
		}),
		row("marker: renamed to a MANIFEST that is not there", loose, loose, func(v *victim) {
			name := v.pick("marker.manifest.*")
			v.rename(name, name[:len(name)-3]+"999")
		}),
		row("marker: renamed to what is no MANIFEST", loose, loose, func(v *victim) {
			name := v.pick("marker.manifest.*")
			to := v.sibling(name, "marker.manifest.000009."+[]string{"x", "000001.log", "MANIFEST-", ""}[v.rng.IntN(4)])
			v.rename(name, to)
		}),
		row("marker: an older format version", loose, loose, rename("marker.format-version.*", ".024", ".013")),
		row("marker: a newer format version", loose, loose, rename("marker.format-version.*", ".024", ".099")),
		row("marker: no format version", loose, loose, rename("marker.format-version.*", ".024", ".xyz")),
		row("marker: not empty", loose, loose, func(v *victim) { v.write(v.pick("marker.*"), []byte("x")) }),
	)
}
