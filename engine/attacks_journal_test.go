package engine

import (
	"bytes"
	"path/filepath"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// journalAttacks hit the journal that a crash leaves.
func journalAttacks() []attack {
	row := func(name string, r requirement, tamper func(*victim, string)) attack {
		return attack{name: "journal: " + name, crashed: r, deep: r, tamper: func(v *victim) {
			names := v.glob(keyringDir + "/JOURNAL-*")
			require.Len(v.t, names, 1)
			v.mark(names[0])
			tamper(v, names[0])
		}}
	}
	// Without its last record the journal says that a table is still as it was
	// closed; that it is not, shows in the table.
	loose := requirement{verdict: failsOpen, loose: true, both: true}
	return append(controlled(
		row("bit flipped in a frame's text", loose, func(v *victim, name string) {
			v.lastOpened()
			fs := v.frames(name)
			f := fs[v.rng.IntN(len(fs))]
			v.flip(name, f.from+32, f.to)
		}),
	),
		row("bit flipped", loose, func(v *victim, name string) { v.lastOpened(); v.flip(name, 0, -1) }),
		row("cut", loose, func(v *victim, name string) { v.lastOpened(); v.cut(name, v.rng.IntN(len(v.read(name)))) }),
		row("deleted", mustOpenV, func(v *victim, name string) { v.remove(name) }),
		row("frames replayed", mustOpenV, func(v *victim, name string) {
			fs, b := v.frames(name), v.read(name)
			f := fs[v.rng.IntN(len(fs))]
			v.write(name, append(b, b[f.from:f.to]...))
		}),
		row("an older copy of it", loose, func(v *victim, name string) {
			v.lastOpened()
			old := v.w.older["one table open"][name]
			require.NotEmpty(v.t, old)
			require.Less(v.t, len(old), len(v.read(name)))
			v.write(name, old)
		}),
		row("an older copy of it, before any table was open", loose, func(v *victim, name string) {
			v.lastOpened()
			old := v.w.older["no table open"][name]
			require.NotEmpty(v.t, old)
			v.write(name, old)
		}),
		row("an earlier opening's", mustOpenV, func(v *victim, name string) {
			v.write(name, earlierJournal(v, name))
		}),
		row("an earlier opening's, file id made to fit", mustOpenV, func(v *victim, name string) {
			b := earlierJournal(v, name)
			copy(b[48:64], v.read(name)[48:64])
			v.write(name, b)
		}),
		row("another store's", mustOpenV, func(v *victim, name string) {
			v.write(name, v.w.second.journal(v))
		}),
		row("another store's, store and file id made to fit", mustOpenV, func(v *victim, name string) {
			b, own := v.w.second.journal(v), v.read(name)
			copy(b[16:32], own[16:32])
			copy(b[48:64], own[48:64])
			v.write(name, b)
		}),
		row("another store's, all of its identity made to fit", mustOpenV, func(v *victim, name string) {
			b := v.w.second.journal(v)
			copy(b[:96], v.read(name))
			v.write(name, b)
		}),
		row("all zeros", mustOpenV, func(v *victim, name string) {
			v.write(name, make([]byte, len(v.read(name))))
		}),
		row("header changed", mustOpenV, func(v *victim, name string) { v.flip(name, 0, keyring.HeaderLen) }),
	)
}

// earlierJournal is the one that an earlier opening has left, whose id the
// keyring no longer names.
func earlierJournal(v *victim, name string) []byte {
	for n, b := range v.w.older["early"] {
		if ok, _ := filepath.Match(keyringDir+"/"+journalPrefix+"*", n); ok {
			require.NotEqual(v.t, name, n)
			return bytes.Clone(b)
		}
	}
	v.t.Fatal("no earlier journal")
	return nil
}

// lastOpened makes the table the victim whose state is the journal's last
// record: the one that writers open last.
func (v *victim) lastOpened() { v.table = twinsTable }
