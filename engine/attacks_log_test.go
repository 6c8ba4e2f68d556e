package engine

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// A frame of a log, by its place in the file.
type frame struct{ from, to int }

// frames finds the frames of a log by what they show in the clear: segment
// tag (8), index (8), length (4); then nonce, payload and tag.
func (v *victim) frames(name string) (fs []frame) {
	b := v.read(name)
	if len(b) < keyring.HeaderLen+20 {
		return nil
	}
	tag := b[keyring.HeaderLen:][:8]
	for at := keyring.HeaderLen; at+48 <= len(b) && bytes.Equal(b[at:at+8], tag); {
		n := int(b[at+16])<<24 | int(b[at+17])<<16 | int(b[at+18])<<8 | int(b[at+19])
		if at+48+n > len(b) {
			break
		}
		fs = append(fs, frame{at, at + 48 + n})
		at += 48 + n
	}
	require.NotEmpty(v.t, fs)
	return fs
}

// logs are a table's logs, oldest first.
func (v *victim) logs(table string) []string {
	names := v.glob(v.tableDir(table) + "/*.log")
	slices.Sort(names)
	require.NotEmpty(v.t, names)
	return names
}

func (v *victim) lastLog(table string) string {
	names := v.logs(table)
	v.mark(names[len(names)-1])
	return names[len(names)-1]
}

// innerLog is a log that another one follows.
func (v *victim) innerLog() string {
	names := v.logs(rowsTable)
	require.Greater(v.t, len(names), 1)
	name := names[v.rng.IntN(len(names)-1)]
	v.mark(name)
	return name
}

// synced are the frames of a log that a later frame attests.
func (v *victim) synced(name string) []frame {
	fs := v.frames(name)
	if name == v.w.unsynced {
		n := slices.IndexFunc(fs, func(f frame) bool { return int64(f.to) > v.w.unsyncedFrom })
		return fs[:n]
	}
	return fs[:len(fs)-1]
}

// splice replaces the bytes of a file from from to to.
func (v *victim) splice(name string, from, to int, with ...[]byte) {
	b := v.read(name)
	v.offset = int64(from)
	v.write(name, slices.Concat(b[:from], bytes.Join(with, nil), b[to:]))
}

// overwrite puts an attested frame over another of the same length, under the
// other's index, and that one in its place if they are exchanged.
func (v *victim) overwrite(name string, exchanged bool) {
	fs, b := v.synced(name), v.read(name)
	old := slices.Clone(b)
	v.rng.Shuffle(len(fs), func(i, j int) { fs[i], fs[j] = fs[j], fs[i] })
	for i, x := range fs {
		for _, y := range fs[i+1:] {
			if y.to-y.from != x.to-x.from {
				continue
			}
			copy(b[y.from+16:y.to], old[x.from+16:x.to])
			v.offset = int64(y.from)
			if exchanged {
				copy(b[x.from+16:x.to], old[y.from+16:y.to])
				v.offset = int64(min(x.from, y.from))
			}
			v.write(name, b)
			return
		}
	}
	v.t.Fatal("no two frames of a length")
}

func logAttacks() []attack {
	busy := func(v *victim) string { return v.lastLog(rowsTable) }
	remove := (*victim).remove
	row := func(name string, clean, crashed, deep requirement, tamper func(*victim)) attack {
		return attack{name: "log: " + name, clean: clean, crashed: crashed, deep: deep, tamper: tamper}
	}
	var no requirement
	flipFrame := func(v *victim, name string, f frame) { v.flip(name, f.from, f.to) }
	return append(controlled(
		row("bit flipped in the middle, valid frames behind", no, mustOpenV, mustOpenV, func(v *victim) {
			name := busy(v)
			fs := v.synced(name)
			f := fs[v.rng.IntN(len(fs))]
			v.flip(name, f.from+32, f.to) // payload and tag
			v.offset = int64(f.from)
		}),
		row("bit flipped in one that is not the last", no, no, mustOpenV, func(v *victim) {
			name := v.innerLog()
			fs := v.frames(name)
			f := fs[v.rng.IntN(len(fs))]
			v.flip(name, f.from+32, f.to)
			v.offset = int64(f.from)
		}),
		row("bit flipped in a frame, closed cleanly", mustOpenV, no, no, func(v *victim) {
			name := v.lastLog(v.anyTable())
			fs := v.frames(name)
			f := fs[v.rng.IntN(len(fs))]
			v.flip(name, f.from+32, f.to)
		}),
	),
		// Each frame says how many are durable: that tells too, and these are no
		// controls.
		row("two frames of a length exchanged, indexes made to fit", no, mustOpenV, mustOpenV, func(v *victim) {
			v.overwrite(busy(v), true)
		}),
		row("a frame put over another of its length, index made to fit", no, mustOpenV, mustOpenV, func(v *victim) {
			v.overwrite(busy(v), false)
		}),
		row("bit flipped in header or frame 0", mustOpenV, mustOpenV, mustOpenV, func(v *victim) {
			name := v.lastLog(v.anyTable())
			v.flip(name, 0, v.frames(name)[0].to)
		}),
		row("bit flipped in a frame's clear part", no, mustOpenV, mustOpenV, func(v *victim) {
			name := busy(v)
			fs := v.synced(name)
			f := fs[v.rng.IntN(len(fs))]
			v.flip(name, f.from, f.from+20)
			v.offset = int64(f.from)
		}),
		row("bit flipped in the last frame", mustOpenV, mustPrefix, mustPrefix, func(v *victim) {
			name := v.lastLog(v.anyTable())
			fs := v.frames(name)
			flipFrame(v, name, fs[len(fs)-1])
		}),
		row("cut at the border of a frame", mustOpenV, mustPrefix, mustPrefix, func(v *victim) {
			name := v.lastLog(v.anyTable())
			fs := v.frames(name)
			v.cut(name, fs[1+v.rng.IntN(len(fs)-1)].from)
		}),
		row("cut inside a frame", mustOpenV, mustPrefix, mustPrefix, func(v *victim) {
			name := v.lastLog(v.anyTable())
			fs := v.frames(name)
			f := fs[1+v.rng.IntN(len(fs)-1)]
			v.cut(name, f.from+1+v.rng.IntN(f.to-f.from-1))
		}),
		row("cut inside header or frame 0, emptied", mustOpenV, mustOpenV, mustOpenV, func(v *victim) {
			name := v.lastLog(v.anyTable())
			v.cut(name, max(0, v.rng.IntN(2*v.frames(name)[0].to)-v.frames(name)[0].to))
		}),
		row("tail zeroed", mustOpenV, mustPrefix, mustPrefix, func(v *victim) {
			name := v.lastLog(v.anyTable())
			fs := v.frames(name)
			b := v.read(name)
			f := fs[1+v.rng.IntN(len(fs)-1)]
			clear(b[f.from:])
			v.offset = int64(f.from)
			v.write(name, b)
		}),
		row("all zeros", mustOpenV, mustOpenV, mustOpenV, func(v *victim) {
			name := v.lastLog(v.anyTable())
			v.write(name, make([]byte, len(v.read(name))))
		}),
		row("deleted", mustOpenV, mustPrefix, mustPrefix, func(v *victim) { remove(v, v.lastLog(v.anyTable())) }),
		row("not the last: cut at the border of a frame", no, no, mustOpenV, func(v *victim) {
			name := v.innerLog()
			fs := v.frames(name)
			v.cut(name, fs[1+v.rng.IntN(len(fs)-1)].from)
		}),
		row("not the last: emptied", no, no, mustOpenV, func(v *victim) { v.cut(v.innerLog(), 0) }),
		row("not the last: tail zeroed", no, no, mustOpenV, func(v *victim) {
			name := v.innerLog()
			fs := v.frames(name)
			b := v.read(name)
			clear(b[fs[1+v.rng.IntN(len(fs)-1)].from:])
			v.write(name, b)
		}),
		row("not the last: deleted", no, no, mustOpenV, func(v *victim) { remove(v, v.innerLog()) }),
		row("all but the last deleted", no, no, requirement{verdict: failsOpen, loose: true}, func(v *victim) {
			names := v.logs(rowsTable)
			v.mark(names...)
			for _, n := range names[:len(names)-1] {
				remove(v, n)
			}
		}),
		row("frame removed from the middle", mustOpen, mustOpenV, mustOpenV, func(v *victim) {
			name := busy(v)
			fs := v.frames(name)
			f := fs[v.rng.IntN(len(fs)-1)]
			v.splice(name, f.from, f.to)
		}),
		row("frame removed from the middle, indexes behind made to fit", mustOpen, mustPrefix, mustPrefix, func(v *victim) {
			name := busy(v)
			b, fs := v.read(name), v.frames(name)
			i := 1 + v.rng.IntN(len(fs)-1)
			for k := len(fs) - 1; k > i; k-- {
				copy(b[fs[k].from+8:][:8], b[fs[k-1].from+8:][:8])
			}
			v.offset = int64(fs[i].from)
			v.write(name, slices.Concat(b[:fs[i].from], b[fs[i].to:]))
		}),
		row("two frames reordered", no, mustOpenV, mustOpenV, func(v *victim) {
			name := busy(v)
			fs, b := v.frames(name), v.read(name)
			i := v.rng.IntN(len(fs) - 2)
			j := i + 1 + v.rng.IntN(len(fs)-1-i)
			v.splice(name, fs[i].from, fs[j].to, b[fs[j].from:fs[j].to], b[fs[i].to:fs[j].from], b[fs[i].from:fs[i].to])
		}),
		row("frames replayed at the end", mustOpenV, mustOpenV, mustOpenV, func(v *victim) {
			name := busy(v)
			fs, b := v.frames(name), v.read(name)
			i := v.rng.IntN(len(fs))
			j := i + 1 + v.rng.IntN(len(fs)-i)
			v.splice(name, len(b), len(b), b[fs[i].from:fs[j-1].to])
		}),
		row("a frame put over another", no, mustOpenV, mustOpenV, func(v *victim) {
			name := busy(v)
			fs, b := v.synced(name), v.read(name)
			i := v.rng.IntN(len(fs) - 1)
			j := i + 1 + v.rng.IntN(len(fs)-1-i)
			v.splice(name, fs[j].from, fs[j].to, b[fs[i].from:fs[i].to])
		}),
		row("frames of another log appended", mustOpenV, mustNothing, mustNothing, func(v *victim) {
			name := busy(v)
			other := v.logs(twinsTable)[0]
			fs := v.frames(other)
			v.write(name, append(v.read(name), v.read(other)[fs[0].from:]...))
		}),
		row("an old one put back under its name", mustOpen, mustNothing, mustNothing, func(v *victim) {
			old := v.oldLogs(rowsTable)
			name := old[v.rng.IntN(len(old))]
			v.mark(name)
			v.write(name, v.oldest(name))
		}),
		row("an old one put back under the last one's name", mustOpenV, mustOpenV, mustOpenV, func(v *victim) {
			old := v.oldLogs(rowsTable)
			v.write(busy(v), v.oldest(old[v.rng.IntN(len(old))]))
		}),
		row("an old one put back as the next", mustOpen, mustOpen, mustOpen, func(v *victim) {
			old := v.oldLogs(rowsTable)
			name := v.sibling(busy(v), fmt.Sprintf("%06d.log", 60+v.rng.IntN(100)))
			v.paths = []string{name}
			v.write(name, v.oldest(old[v.rng.IntN(len(old))]))
		}),
		row("a second segment of the last, as of another disk", mustOpen, mustOpen, mustOpen, func(v *victim) {
			name := busy(v)
			v.paths = []string{strings.TrimSuffix(name, ".log") + fmt.Sprintf("-%03d.log", 1+v.rng.IntN(9))}
			v.write(v.paths[0], v.read(name))
		}),
		row("a second name of the last", mustOpen, mustOpen, mustOpen, func(v *victim) {
			name := busy(v)
			v.paths = []string{v.sibling(name, strings.TrimLeft(path.Base(name), "0"))}
			v.write(v.paths[0], v.read(name))
		}),
		row("an older state of the last put back", no, mustPrefix, mustPrefix, func(v *victim) {
			name := busy(v)
			if b := v.w.older["opened again"][name]; b != nil && !bytes.Equal(b, v.read(name)) {
				v.write(name, b)
				return
			}
			fs := v.frames(name)
			v.cut(name, fs[1+v.rng.IntN(len(fs)-1)].from)
		}),
		row("power cut: a later unsynced frame kept, an earlier one lost", no, no, mustNothing, func(v *victim) {
			name := busy(v)
			fs := v.frames(name)
			fs = fs[len(v.synced(name)):]
			require.Greater(v.t, len(fs), 2)
			f := fs[v.rng.IntN(len(fs)-1)]
			b := v.read(name)
			lost := f.from
			if torn := f.from + 512 - f.from%512; torn < f.to && v.rng.IntN(2) == 0 {
				lost = torn // what is in the next sectors
			}
			clear(b[lost:f.to])
			v.write(name, b)
		}),
		row("stuffed with segment tags", mustOpenV, mustNothing, mustNothing, func(v *victim) {
			name := busy(v)
			b := v.read(name)
			fs := v.frames(name)
			head := slices.Clone(b[fs[0].from:][:20])
			copy(head[8:], []byte{0, 0, 0, 0, 0, 0, 0, 200})
			for v.rng.IntN(1000) > 0 || len(b) < 1<<20 {
				n := 21 + v.rng.IntN(1<<10)
				head[18], head[19] = byte(n>>8), byte(n)
				b = append(b, head...)
			}
			v.write(name, append(b, make([]byte, 2<<10)...))
		}),
	)
}

// oldLogs are the names of logs that were removed since.
func (v *victim) oldLogs(table string) (names []string) {
	for _, moment := range v.w.older {
		for n := range moment {
			if ok, _ := path.Match(v.tableDir(table)+"/*.log", n); ok && len(v.glob(n)) == 0 && !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	require.NotEmpty(v.t, names)
	slices.Sort(names)
	return names
}

func (v *victim) oldest(name string) []byte {
	for _, moment := range []string{"early", "closed once", "no table open", "one table open", "opened again"} {
		if b := v.w.older[moment][name]; b != nil {
			return b
		}
	}
	v.t.Fatal("no older ", name)
	return nil
}
