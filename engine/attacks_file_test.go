package engine

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/keyring"
)

// flip changes one bit at a place from from to to.
func (v *victim) flip(name string, from, to int) {
	b := v.read(name)
	if to < 0 {
		to = len(b)
	}
	at := from + v.rng.IntN(to-from)
	b[at] ^= 1 << v.rng.IntN(8)
	v.offset = int64(at)
	v.write(name, b)
}

// The units of a table.
type units struct {
	b    []byte
	size int
	n    int
}

func (v *victim) units(name string) units {
	b := v.read(name)
	h, err := keyring.ParseHeader(b)
	require.NoError(v.t, err)
	u := int(h.Identity.UnitSize)
	return units{b, u, (len(b) - keyring.HeaderLen + u - 1) / u}
}

// at is unit i, the last maybe short.
func (u *units) at(i int) []byte {
	from := keyring.HeaderLen + i*u.size
	return u.b[from:min(from+u.size, len(u.b))]
}

// pickUnits chooses a table of at least n units.
func (v *victim) pickUnits(pattern string, n int) (string, units) {
	names := v.glob(tablesDir + "/*/" + pattern)
	v.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names {
		if u := v.units(name); u.n >= n {
			v.mark(name)
			return name, u
		}
	}
	v.t.Fatalf("no %s of %d units", pattern, n)
	return "", units{}
}

// fileAttacks are the rows of a file that is written once and read at random.
func fileAttacks(pattern string) []attack {
	row := func(name string, r requirement, tamper func(*victim)) attack {
		return everywhere(pattern[2:]+": "+name, r, tamper)
	}
	return append(controlled(
		row("bit flipped in a unit's body", mustReadV, func(v *victim) {
			name, u := v.pickUnits(pattern, 2)
			at := keyring.HeaderLen + u.size*v.rng.IntN(u.n-1)
			v.flip(name, at+4+aead.NonceLen, at+u.size-aead.TagLen)
		}),
		row("bit flipped in the last unit", mustReadV, func(v *victim) {
			name, u := v.pickUnits(pattern, 1)
			v.flip(name, keyring.HeaderLen+(u.n-1)*u.size, -1)
		}),
		row("bit flipped in a nonce", mustReadV, func(v *victim) {
			name, u := v.pickUnits(pattern, 2)
			at := keyring.HeaderLen + u.size*v.rng.IntN(u.n-1)
			v.flip(name, at+4, at+4+aead.NonceLen)
		}),
		row("bit flipped in a tag", mustReadV, func(v *victim) {
			name, u := v.pickUnits(pattern, 2)
			at := keyring.HeaderLen + u.size*(1+v.rng.IntN(u.n-1))
			v.flip(name, at-aead.TagLen, at)
		}),
		row("two units swapped", mustReadV, func(v *victim) {
			name, u := v.pickUnits(pattern, 3)
			i := v.rng.IntN(u.n - 2)
			j := i + 1 + v.rng.IntN(u.n-2-i)
			a := slices.Clone(u.at(i))
			copy(u.at(i), u.at(j))
			copy(u.at(j), a)
			v.offset = int64(keyring.HeaderLen + i*u.size)
			v.write(name, u.b)
		}),
		row("a unit duplicated over its neighbour", mustReadV, func(v *victim) {
			name, u := v.pickUnits(pattern, 3)
			i := v.rng.IntN(u.n - 2)
			copy(u.at(i+1), u.at(i))
			v.offset = int64(keyring.HeaderLen + (i+1)*u.size)
			v.write(name, u.b)
		}),
		row("a unit zeroed but for its length", mustReadV, func(v *victim) {
			name, u := v.pickUnits(pattern, 2)
			i := v.rng.IntN(u.n - 1)
			clear(u.at(i)[4:])
			v.offset = int64(keyring.HeaderLen + i*u.size)
			v.write(name, u.b)
		}),
		row("a unit from another file at the same index", mustReadV, func(v *victim) {
			name, u := v.pickUnits(pattern, 2)
			others := slices.DeleteFunc(v.glob(tablesDir+"/*/"+pattern), func(n string) bool { return n == name })
			v.rng.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
			for _, other := range others {
				if o := v.units(other); o.n >= 2 {
					i := v.rng.IntN(min(u.n, o.n) - 1)
					copy(u.at(i), o.at(i))
					v.offset = int64(keyring.HeaderLen + i*u.size)
					break
				}
			}
			require.NotEqual(v.t, int64(-1), v.offset)
			v.write(name, u.b)
		}),
	),
		row("a unit zeroed", mustReadV, func(v *victim) {
			name, u := v.pickUnits(pattern, 2)
			i := v.rng.IntN(u.n - 1)
			clear(u.at(i))
			v.offset = int64(keyring.HeaderLen + i*u.size)
			v.write(name, u.b)
		}),
		row("bit flipped in the header", mustReadV, func(v *victim) {
			v.flip(v.pick(pattern), 0, 100)
		}),
		row("bit flipped in wrapped key or header tag", mustReadV, func(v *victim) {
			v.flip(v.pick(pattern), 100, keyring.HeaderLen)
		}),
		row("two files swapped", mustReadV, func(v *victim) {
			name := v.anyTable()
			if pattern == "*.blob" {
				name = rowsTable
			}
			names := v.glob(v.tableDir(name) + "/" + pattern)
			v.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			v.swap(names[0], names[1])
		}),
		row("cut inside a unit", mustReadV, func(v *victim) {
			name, u := v.pickUnits(pattern, 1)
			v.cut(name, keyring.HeaderLen+1+v.rng.IntN(len(u.b)-keyring.HeaderLen-1))
		}),
		row("cut at the border of a unit", mustReadV, func(v *victim) {
			name, u := v.pickUnits(pattern, 2)
			v.cut(name, keyring.HeaderLen+u.size*(1+v.rng.IntN(u.n-1)))
		}),
		row("cut inside the header, or to zero", mustReadV, func(v *victim) {
			v.cut(v.pick(pattern), max(0, v.rng.IntN(2*keyring.HeaderLen)-keyring.HeaderLen))
		}),
		row("garbage appended", mustReadV, func(v *victim) {
			name := v.pick(pattern)
			v.write(name, append(v.read(name), value(v.rng, 1+v.rng.IntN(2000))...))
		}),
		row("a copy of a unit appended", mustReadV, func(v *victim) {
			name, u := v.pickUnits(pattern, 2)
			v.write(name, append(u.b, u.at(v.rng.IntN(u.n-1))...))
		}),
		row("deleted", requirement{verdict: failsOpen, verify: true}, func(v *victim) {
			v.remove(v.pick(pattern))
		}),
		row("one more, a copy", mustWarn, func(v *victim) {
			name := v.pick(pattern)
			v.paths = []string{v.sibling(name, fmt.Sprintf("%06d%s", 900+v.rng.IntN(1000), pattern[1:]))}
			v.write(v.paths[0], v.read(name))
		}),
		row("one more, of garbage", mustWarn, func(v *victim) {
			name := v.pick(pattern)
			v.paths = []string{v.sibling(name, fmt.Sprintf("%06d%s", 900+v.rng.IntN(1000), pattern[1:]))}
			v.write(v.paths[0], value(v.rng, v.rng.IntN(9000)))
		}),
		row("one more, which was removed before", mustNothing, func(v *victim) {
			old := v.w.older["early"]
			var names []string
			for n := range old {
				if ok, _ := filepath.Match(tablesDir+"/*/"+pattern, n); ok && len(v.glob(n)) == 0 {
					names = append(names, n)
				}
			}
			if len(names) == 0 { // none was: no blob of the table has died
				v.paths = []string{v.sibling(v.pick(pattern), "000003"+pattern[1:])}
				v.write(v.paths[0], nil)
				return
			}
			slices.Sort(names)
			v.mark(names[v.rng.IntN(len(names))])
			v.write(v.paths[0], old[v.paths[0]])
		}),
		row("of another store with the same root key", mustReadV, func(v *victim) {
			name := v.pick(pattern)
			b := v.read(name)
			id := keyring.NewID()
			copy(b[16:], id[:])
			v.write(name, b)
		}),
	)
}

// sibling is another name in the same directory.
func (v *victim) sibling(name, base string) string {
	return name[:strings.LastIndexByte(name, '/')+1] + base
}

func (v *victim) swap(a, b string) {
	v.mark(a, b)
	x, y := v.read(a), v.read(b)
	v.write(a, y)
	v.write(b, x)
}

// cut shortens a file to n bytes.
func (v *victim) cut(name string, n int) { v.write(name, v.read(name)[:n]) }

// pairAttacks are rows of files that are written once and need two of them.
func pairAttacks(pattern string) []attack {
	row := func(name string, tamper func(*victim)) attack {
		return everywhere(pattern[2:]+": "+name, mustReadV, tamper)
	}
	// foreign is a file of the other table's.
	foreign := func(v *victim) []byte {
		names := v.glob(v.tableDir(theOther(v.table)) + "/" + pattern)
		return v.read(names[v.rng.IntN(len(names))])
	}
	under := map[string]string{"*.sst": "*.blob", "*.blob": "*.sst"}[pattern]
	return []attack{
		row("two of the very same size swapped", func(v *victim) {
			bySize := map[int][]string{}
			for _, name := range v.glob(v.tableDir(twinsTable) + "/" + pattern) {
				n := len(v.read(name))
				bySize[n] = append(bySize[n], name)
				if same := bySize[n]; len(same) > 1 {
					v.swap(same[0], same[1])
					return
				}
			}
			v.t.Fatal("no two files of a size")
		}),
		row("two of different sizes swapped", func(v *victim) {
			name := v.anyTable()
			if pattern == "*.blob" {
				name = rowsTable // the other's are of one size
			}
			names := v.glob(v.tableDir(name) + "/" + pattern)
			v.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			for _, name := range names[1:] {
				if len(v.read(name)) != len(v.read(names[0])) {
					v.swap(names[0], name)
					return
				}
			}
			v.t.Fatal("all files are of a size")
		}),
		row("of another table, under its number", func(v *victim) {
			v.write(v.pick(pattern), foreign(v))
		}),
		row("of another table, header made to fit", func(v *victim) {
			name := v.pick(pattern)
			b := foreign(v)
			copy(b[:96], v.read(name))
			v.write(name, b)
		}),
		row("under the name of a file of the other kind", func(v *victim) {
			name := v.pick(under)
			own := v.glob(v.tableDir(v.table) + "/" + pattern)
			v.write(name, v.read(own[v.rng.IntN(len(own))]))
		}),
	}
}
