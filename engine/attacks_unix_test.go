//go:build unix

package engine

import (
	"os"
	"path/filepath"
	"syscall"

	"github.com/stretchr/testify/require"
)

// kindAttacks put something else in the place of a file: a symbolic link to
// the very file, a FIFO, a directory. Nothing is followed and nothing hangs.
func kindAttacks() []attack {
	replace := map[string]func(v *victim, name string){
		"a symbolic link": func(v *victim, name string) {
			aside := filepath.Join(filepath.Dir(v.dir), "aside")
			require.NoError(v.t, os.Rename(v.path(name), aside))
			require.NoError(v.t, os.Symlink(aside, v.path(name)))
		},
		"a FIFO": func(v *victim, name string) {
			v.removeAll(name)
			require.NoError(v.t, syscall.Mkfifo(v.path(name), 0o600))
		},
		"a directory": func(v *victim, name string) {
			v.removeAll(name)
			require.NoError(v.t, os.MkdirAll(filepath.Join(v.path(name), "below"), 0o700))
		},
	}
	choose := map[string]func(v *victim) string{
		"sst":               func(v *victim) string { return v.pick("*.sst") },
		"blob":              func(v *victim) string { return v.pick("*.blob") },
		"log":               func(v *victim) string { return v.lastLog(v.anyTable()) },
		"MANIFEST":          func(v *victim) string { return v.manifest(v.anyTable()) },
		"OPTIONS":           func(v *victim) string { return v.options() },
		"marker":            func(v *victim) string { return v.pick("marker.*") },
		"keyring":           func(v *victim) string { return v.keyringFile() },
		"LOCK":              func(v *victim) string { v.mark(lockName); return lockName },
		"snapshot's sst":    func(v *victim) string { return v.pick(snapshotsDir + "/*/*.sst") },
		"keyring directory": func(v *victim) string { v.mark(keyringDir); return keyringDir },
		"table directory":   func(v *victim) string { v.mark(v.tableDir(v.anyTable())); return v.paths[0] },
		"tables directory":  func(v *victim) string { v.mark(tablesDir); v.table = rowsTable; return tablesDir },
		"snapshot directory": func(v *victim) string {
			return v.pick(snapshotsDir + "/*")
		},
		"JOURNAL": func(v *victim) string {
			names := v.glob(keyringDir + "/JOURNAL-*")
			require.Len(v.t, names, 1)
			v.mark(names[0])
			return names[0]
		},
	}
	var as []attack
	for what, put := range replace {
		for where, pick := range choose {
			if what == "a directory" && (where == "keyring directory" || where == "table directory" || where == "tables directory" || where == "snapshot directory") {
				continue // an emptied one: another row
			}
			r := requirement{verdict: failsOpen}
			switch where {
			case "sst", "blob":
				r = mustReadV
			case "snapshot's sst", "snapshot directory":
				r = requirement{verdict: failsSnapshot}
			}
			a := everywhere(where+" replaced by "+what, r, func(v *victim) { put(v, pick(v)) })
			if where == "JOURNAL" {
				a.clean = requirement{}
			}
			a.tries, a.disk = 3, true
			as = append(as, a)
		}
	}
	for _, base := range []string{"000999.sst", "000999.blob", "000001.log", "new-000099.log", "temporary.000099.dbtmp", "MANIFEST-000000", "OPTIONS-000000"} {
		as = append(as, attack{
			name: "a directory called " + base, tries: 3,
			clean: requirement{verdict: failsOpen}, crashed: requirement{verdict: failsOpen},
			tamper: func(v *victim) {
				name := v.tableDir(v.anyTable()) + "/" + base
				v.mark(name)
				require.NoError(v.t, v.base.MkdirAll(v.path(name+"/below"), 0o700))
			},
		})
	}
	for _, base := range []string{"dropped-x.tail", "dropped-000099.tail"} {
		name := "a directory called " + base
		put := func(v *victim) {
			dir := v.sibling(v.lastLog(rowsTable), base)
			v.mark(dir)
			require.NoError(v.t, v.base.MkdirAll(v.path(dir+"/below"), 0o700))
		}
		as = append(as,
			attack{name: name, tries: 3, clean: mustEither, crashed: mustEither, deep: mustEither, tamper: put},
			attack{name: name + ", and a torn log", tries: 6, crashed: mustPrefix, deep: mustPrefix, tamper: func(v *victim) {
				put(v)
				b := v.read(v.paths[0])
				v.cut(v.paths[0], len(b)-1)
			}})
	}
	temp := everywhere("a directory called KEYRING.tmp", mustEither, func(v *victim) {
		v.mark(keyringDir + "/KEYRING.tmp")
		require.NoError(v.t, v.base.MkdirAll(v.path(v.paths[0]+"/below"), 0o700))
	})
	temp.tries = 6
	onDisk := temp
	onDisk.name, onDisk.disk = temp.name+", on disk", true
	return append(as, temp, onDisk)
}
