package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/passphrase"
)

// keyringFile is the store's keyring.
func (v *victim) keyringFile() string {
	names := v.glob(keyringDir + "/KEYRING-*")
	require.Len(v.t, names, 1)
	v.mark(names[0])
	return names[0]
}

// A span is a field of the keyring file that has its length before it.
type span struct{ from, to int }

// spans are the entry of the store key, the sealed list, and the entries of
// the tables.
func spans(b []byte) (fs []span) {
	at := 36
	next := func() {
		n := int(binary.BigEndian.Uint32(b[at:]))
		fs = append(fs, span{at + 4, at + 4 + n})
		at += 4 + n
	}
	next()
	next()
	at += 4 + int(binary.BigEndian.Uint32(b[at:])) // the state of the audit log
	n := binary.BigEndian.Uint32(b[at:])
	at += 4
	for range n {
		next()
	}
	return fs
}

func keyringAttacks() []attack {
	row := func(name string, r requirement, tamper func(*victim)) attack {
		return everywhere("keyring: "+name, r, tamper)
	}
	once := func(a attack) attack { a.tries = 3; return a }
	onDisk := func(a attack) attack { a.tries, a.disk = 2, true; return a }
	loose := requirement{verdict: failsOpen, loose: true}
	return []attack{
		row("bit flipped", requirement{verdict: failsOpen, keys: true}, func(v *victim) {
			v.flip(v.keyringFile(), 0, -1)
		}),
		row("cut", mustOpenV, func(v *victim) {
			name := v.keyringFile()
			v.cut(name, v.rng.IntN(len(v.read(name))))
		}),
		row("bytes appended", mustOpenV, func(v *victim) {
			name := v.keyringFile()
			v.write(name, append(v.read(name), value(v.rng, 1+v.rng.IntN(100))...))
		}),
		once(row("file deleted", loose, func(v *victim) {
			v.remove(v.keyringFile())
		})),
		once(row("directory deleted", loose, func(v *victim) {
			v.removeAll(keyringDir)
		})),
		once(row("an older one put back alone", requirement{verdict: failsOpen, class: keyring.ErrRollback}, func(v *victim) {
			v.remove(v.keyringFile())
			v.restore([]string{"early", "closed once"}[v.rng.IntN(2)], keyringDir)
		})),
		once(row("an older one under a newer number", loose, func(v *victim) {
			v.remove(v.keyringFile())
			for n, b := range v.w.older["early"] {
				if ok, _ := filepath.Match(keyringDir+"/KEYRING-*", n); ok {
					v.write(keyringDir+fmt.Sprintf("/KEYRING-%06d", 20+v.rng.IntN(1000)), b)
				}
			}
		})),
		once(row("an older one beside it", mustNothing, func(v *victim) {
			v.table = rowsTable
			v.restore("early", keyringDir)
		})),
		once(row("entries of two tables exchanged", mustOpenV, func(v *victim) {
			name := v.keyringFile()
			b := v.read(name)
			fs := spans(b)
			require.Len(v.t, fs, 4)
			x, y := fs[2], fs[3]
			// The ids stay where they are, or the order would tell.
			entry := func(id, body span) []byte {
				e := binary.BigEndian.AppendUint32(nil, uint32(body.to-body.from))
				return append(append(e, b[id.from:][:16]...), b[body.from+16:body.to]...)
			}
			v.write(name, slices.Concat(b[:x.from-4], entry(x, y), entry(y, x), b[y.to:]))
		})),
		once(row("a version's state edited", mustOpenV, func(v *victim) {
			name := v.keyringFile()
			b := v.read(name)
			fs := spans(b)
			f := fs[[]int{0, 2, 3}[v.rng.IntN(3)]]
			b[f.from+16+4+4+8] = []byte{0, 2, 3}[v.rng.IntN(3)]
			v.write(name, b)
		})),
		row("a root of the attacker's", requirement{verdict: failsOpen, keys: true}, func(v *victim) {
			name := v.keyringFile()
			b := v.read(name)
			uri := []byte(v.root.URI())
			evil := newAttackRoot("evilevi")
			require.Len(v.t, evil.URI(), len(uri))
			which := v.rng.IntN(bytes.Count(b, uri))
			for at := 0; ; which-- {
				at += bytes.Index(b[at:], uri)
				if which == 0 {
					copy(b[at:], evil.URI())
					break
				}
				at += len(uri)
			}
			v.write(name, b)
		}),
		row("a length of 2^31 and more", mustOpenV, func(v *victim) {
			name := v.keyringFile()
			b := v.read(name)
			fs := spans(b)
			at := fs[v.rng.IntN(len(fs))].from - 4
			if v.rng.IntN(3) == 0 {
				at = fs[1].to // the length of the state of the audit log
			}
			binary.BigEndian.PutUint32(b[at:], []uint32{1 << 31, 1<<31 - 1, 1<<32 - 1, 1 << 27}[v.rng.IntN(4)])
			v.write(name, b)
		}),
		onDisk(row("2^40 bytes", mustOpenV, func(v *victim) {
			v.stretch(v.keyringFile())
		})),
		once(row("format version", requirement{verdict: failsOpen, class: ErrVersion}, func(v *victim) {
			name := v.keyringFile()
			b := v.read(name)
			b[9] = []byte{0, 3, 255}[v.rng.IntN(3)]
			v.write(name, b)
		})),
		once(row("suite", requirement{verdict: failsOpen, class: ErrVersion}, func(v *victim) {
			name := v.keyringFile()
			b := v.read(name)
			b[10] = []byte{0, 2, 255}[v.rng.IntN(3)]
			v.write(name, b)
		})),
	}
}

// guttedAttacks take away what shows that there was a store, and open it as
// one that may be made: it must never be an empty one.
func guttedAttacks() []attack {
	row := func(name string, clean bool, tamper func(*victim)) attack {
		loose := requirement{verdict: failsOpen, loose: true, both: true}
		a := attack{name: "gutted: " + name, crashed: loose, deep: loose, tries: 3, create: true, tamper: func(v *victim) {
			v.mark(keyringDir)
			v.table = rowsTable
			tamper(v)
		}}
		if clean {
			a.clean = loose
		}
		return a
	}
	noKeyring := func(v *victim) {
		for _, n := range v.glob(keyringDir + "/KEYRING-*") {
			v.remove(n)
		}
	}
	return []attack{
		row("no keyring", true, noKeyring),
		row("no keyring directory", true, func(v *victim) { v.removeAll(keyringDir) }),
		row("an empty keyring directory", true, func(v *victim) {
			v.removeAll(keyringDir)
			require.NoError(v.t, v.base.MkdirAll(v.path(keyringDir), 0o700))
		}),
		row("no tables", true, func(v *victim) { v.removeAll(tablesDir) }),
		// Without the journal nothing tells it from a creation that did not end.
		row("no keyring and no tables", false, func(v *victim) {
			noKeyring(v)
			v.removeAll(tablesDir)
			v.write(ballastName, make([]byte, 100))
			require.NotEmpty(v.t, v.glob(keyringDir+"/"+journalPrefix+"*"))
		}),
		row("no keyring, and empty tables", true, func(v *victim) {
			noKeyring(v)
			for _, n := range v.glob(tablesDir + "/*") {
				v.removeAll(n)
			}
		}),
	}
}

// TestAttacksOnPassphraseCost lowers and raises the cost that a keyring says
// its passphrase has.
func TestAttacksOnPassphraseCost(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	phrase := []byte("correct horse battery staple")
	root, err := passphrase.New(phrase, passphrase.Options{Label: "attack"})
	require.NoError(t, err)
	defer root.Close()
	dir := filepath.Join(t.TempDir(), "store")
	s, err := Open(ctx, dir, Options{RootKey: root, FS: newAttackFS(vfs.Default)})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	names, err := filepath.Glob(filepath.Join(dir, keyringDir, "KEYRING-*"))
	require.NoError(t, err)
	require.Len(t, names, 1)
	good, err := os.ReadFile(names[0])
	require.NoError(t, err)
	// format (1), derivation (1), passes (4), memory in KiB (4), lanes (1)
	uri := []byte(root.URI())
	at := bytes.Index(good, uri) + len(uri) + 4
	require.Equal(t, byte(1), good[at])
	for name, edit := range map[string]func([]byte){
		"passes lowered":     func(b []byte) { binary.BigEndian.PutUint32(b[2:], 1) },
		"passes raised":      func(b []byte) { binary.BigEndian.PutUint32(b[2:], 1<<31) },
		"memory lowered":     func(b []byte) { binary.BigEndian.PutUint32(b[6:], 8) },
		"memory of 2 TiB":    func(b []byte) { binary.BigEndian.PutUint32(b[6:], 1<<31) },
		"no lanes":           func(b []byte) { b[10] = 0 },
		"another derivation": func(b []byte) { b[1] = 77 },
	} {
		b := bytes.Clone(good)
		edit(b[at:])
		require.NoError(t, os.WriteFile(names[0], b, 0o600))
		fresh, err := passphrase.New(phrase, passphrase.Options{Label: "attack"})
		require.NoError(t, err)
		var openErr error
		require.Empty(t, bounded(func() {
			_, openErr = Open(ctx, dir, Options{RootKey: fresh, FS: newAttackFS(vfs.Default)})
		}))
		var cost *passphrase.CostError
		require.ErrorAs(t, openErr, &cost, name)
		require.NoError(t, fresh.Close())
	}
}
