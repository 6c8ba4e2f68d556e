package engine

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"
)

// headerAttacks lower, raise or exchange what says how a file is to be read.
func headerAttacks() []attack {
	set := func(what string, at int, values ...byte) []attack {
		var as []attack
		for _, pattern := range []string{"*.sst", "*.blob", "*.log", "MANIFEST-*", "OPTIONS-*"} {
			r := requirement{verdict: failsOpen, class: ErrVersion}
			if pattern == "*.sst" || pattern == "*.blob" {
				r.verdict = failsRead
			}
			a := everywhere(what+" of "+pattern, r, func(v *victim) {
				var name string
				switch pattern {
				case "MANIFEST-*":
					name = v.manifest(v.anyTable())
				case "*.log":
					name = v.lastLog(v.anyTable())
				case "OPTIONS-*":
					name = v.options()
				default:
					name = v.pick(pattern)
				}
				b := v.read(name)
				b[at] = values[v.rng.IntN(len(values))]
				v.offset = int64(at)
				v.write(name, b)
			})
			a.tries = 3
			as = append(as, a)
		}
		return as
	}
	return append(set("format version", 9, 0, 2, 255), set("suite", 11, 0, 2, 255)...)
}

// lengthAttacks set lengths to what no file can hold.
func lengthAttacks() []attack {
	lengths := []uint32{1 << 31, 1<<31 - 1, 1<<32 - 1, 1 << 30}
	return []attack{
		everywhere("unit size of 2^30 and more", mustReadV, func(v *victim) {
			name := v.pick([]string{"*.sst", "*.blob"}[v.rng.IntN(2)])
			b := v.read(name)
			binary.BigEndian.PutUint32(b[12:], lengths[v.rng.IntN(len(lengths))])
			v.offset = 12
			v.write(name, b)
		}),
		everywhere("unit size that is possible", mustReadV, func(v *victim) {
			name := v.pick([]string{"*.sst", "*.blob"}[v.rng.IntN(2)])
			b := v.read(name)
			binary.BigEndian.PutUint32(b[12:], []uint32{64, 1024, 1 << 20}[v.rng.IntN(3)])
			v.offset = 12
			v.write(name, b)
		}),
		everywhere("frame length of a log", mustOpenV, func(v *victim) {
			name := v.lastLog(rowsTable)
			fs := v.synced(name)
			v.setLength(name, fs[v.rng.IntN(len(fs))], lengths)
		}),
		everywhere("frame length of a MANIFEST", requirement{verdict: failsOpen, loose: true}, func(v *victim) {
			name := v.manifest(v.anyTable())
			v.setLength(name, v.frames(name)[0], lengths)
		}),
		{name: "a table of 2^40 bytes", disk: true, clean: mustReadV, crashed: mustReadV, deep: mustReadV, tries: 2, tamper: func(v *victim) {
			v.stretch(v.pick("*.sst"))
		}},
		{name: "a blob file of 2^40 bytes", disk: true, clean: mustReadV, crashed: mustReadV, deep: mustReadV, tries: 2, tamper: func(v *victim) {
			v.stretch(v.pick("*.blob"))
		}},
		{name: "a log of 2^40 bytes", disk: true, clean: mustOpenV, crashed: mustEither, deep: mustEither, tries: 2, tamper: func(v *victim) {
			v.mark(v.lastLog(rowsTable))
			v.stretch(v.paths[0])
		}},
		{name: "a MANIFEST of 2^40 bytes", disk: true, clean: mustOpenV, crashed: mustEither, deep: mustEither, tries: 2, tamper: func(v *victim) {
			v.mark(v.manifest(rowsTable))
			v.stretch(v.paths[0])
		}},
		{name: "a journal of 2^40 bytes", disk: true, crashed: mustOpenV, deep: mustOpenV, tries: 2, tamper: func(v *victim) {
			names := v.glob(keyringDir + "/" + journalPrefix + "*")
			require.Len(v.t, names, 1)
			v.mark(names[0])
			v.stretch(names[0])
		}},
		{name: "an OPTIONS of 2^40 bytes", disk: true, clean: mustOpen, crashed: mustOpen, deep: mustOpen, tries: 2, tamper: func(v *victim) {
			v.stretch(v.options())
		}},
		{name: "an orphan of 2^40 bytes", disk: true, clean: mustWarn, crashed: mustWarn, tries: 2, tamper: func(v *victim) {
			name := v.pick("*.sst")
			v.paths = []string{v.sibling(name, "000999.sst")}
			v.write(v.paths[0], v.read(name))
			v.stretch(v.paths[0])
		}},
		everywhere("a file number of 2^63 or 2^64-1", mustEither, func(v *victim) {
			name := v.pick([]string{"*.sst", "*.blob", "*.log", "OPTIONS-*", "MANIFEST-*"}[v.rng.IntN(5)])
			n := []string{"18446744073709551615", "18446744073709551614", "9223372036854775808", "9223372036854775807"}[v.rng.IntN(4)]
			base := filepath.Base(name)
			i := strings.IndexAny(base, "0123456789")
			v.paths = []string{v.sibling(name, base[:i]+n+base[i+6:])}
			v.write(v.paths[0], v.read(name))
		}),
	}
}

// stretch makes a file 2^40 bytes long, at no cost.
func (v *victim) stretch(name string) {
	require.NoError(v.t, os.Truncate(v.path(name), 1<<40))
}

func (v *victim) setLength(name string, f frame, lengths []uint32) {
	b := v.read(name)
	binary.BigEndian.PutUint32(b[f.from+16:], lengths[v.rng.IntN(len(lengths))])
	v.offset = int64(f.from)
	v.write(name, b)
}
