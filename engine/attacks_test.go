package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// What someone may try who can write the disk and has no root key. Each row is
// made at many random places of a store that was closed cleanly and of two
// that crashed; the oracle demands for each what must come of it, and in every
// case: no panic, no hang, no huge allocation, no wrong value, no silent loss,
// and no effect on the other table.

// attackTries is how often a row is tried, on all stores together; the
// environment variable COFRE_ATTACK_TRIES raises it.
const attackTries = 25

var (
	mustOpen     = requirement{verdict: failsOpen}
	mustOpenV    = requirement{verdict: failsOpen, verify: true}
	mustReadV    = requirement{verdict: failsRead, verify: true}
	mustPrefix   = requirement{verdict: keepsPrefix}
	mustNothing  = requirement{verdict: losesNothing}
	mustWarn     = requirement{verdict: losesNothing, warns: true}
	mustEither   = requirement{verdict: failsOrKeeps}
	mustSnapshot = requirement{verdict: failsSnapshot, verify: true}
)

// An attack is a row of the matrix.
type attack struct {
	name string
	// What must come of it on each store; the zero requirement: not tried.
	clean, crashed, deep requirement
	tamper               func(*victim)
	tries                int  // 0: attackTries
	disk                 bool // on the operating system's file system alone
	// control: with a cipher that does not authenticate it must get through.
	control bool
}

// everywhere demands the same of all three stores.
func everywhere(name string, r requirement, tamper func(*victim)) attack {
	return attack{name: name, clean: r, crashed: r, deep: r, tamper: tamper}
}

// controlled marks rows that a cipher alone defends.
func controlled(as ...attack) []attack {
	for i := range as {
		as[i].control = true
	}
	return as
}

func attacks() []attack {
	return slices.Concat(fileAttacks("*.sst"), fileAttacks("*.blob"), tableAttacks(), logAttacks(),
		manifestAttacks(), directoryAttacks(), snapshotAttacks(), keyringAttacks(), journalAttacks(),
		headerAttacks(), lengthAttacks(), kindAttacks())
}

// perStore is how often a row is tried on each of its stores.
func (a *attack) perStore(t testing.TB) int {
	n := a.tries
	if n == 0 {
		n = attackTries
	}
	if s := os.Getenv("COFRE_ATTACK_TRIES"); s != "" {
		all, err := strconv.Atoi(s)
		require.NoError(t, err)
		n = n * all / attackTries
	} else if testing.Short() {
		n /= 5
	}
	stores := 0
	for _, r := range []requirement{a.clean, a.crashed, a.deep} {
		if r != (requirement{}) {
			stores++
		}
	}
	return max(1, (n+stores-1)/stores)
}

func TestAttacks(t *testing.T) {
	t.Parallel()
	clean, crashed, deep := newAttackWorlds(t, nil)
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			for _, on := range []struct {
				name string
				w    *attackWorld
				req  requirement
			}{{"clean", clean, a.clean}, {"crashed", crashed, a.crashed}, {"deep", deep, a.deep}} {
				if on.req == (requirement{}) {
					continue
				}
				words := map[string]int{}
				n := a.perStore(t)
				for try := range n {
					word, fault := a.try(t, on.w, on.name, on.req, try)
					words[word]++
					if fault != "" {
						t.Errorf("%s, try %d: %s", on.name, try, fault)
						if t.Failed() && words["broken"] > 0 {
							return
						}
					}
				}
				if on.req.verdict == failsRead {
					require.Less(t, words["unread"], max(n, 2), "no read has found any")
				}
				t.Logf("%-8s %3d tries, must be %-3s came out as %v", on.name, n, on.req.verdict, words)
			}
		})
	}
}

// try makes one attack. The place follows from row, store and number.
func (a *attack) try(t testing.TB, w *attackWorld, on string, req requirement, try int) (word, fault string) {
	h := fnv.New64a()
	fmt.Fprint(h, a.name, on)
	base, dir := vfs.FS(vfs.NewMem()), ""
	if a.disk || (h.Sum64()+uint64(try))%32 == 0 {
		var err error
		dir, err = os.MkdirTemp("", "attack")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		base = vfs.Default
	}
	v := w.victim(t, base, base.PathJoin(dir, "store"), rand.New(rand.NewPCG(h.Sum64(), uint64(try))))
	a.tamper(v)
	mode := MustExist
	if try%3 == 2 {
		mode = ReadOnly
	}
	v.thorough = try%4 == 1
	o := v.probe(mode)
	word, fault = v.judge(req, o)
	if !v.thorough {
		return word, v.at(fault)
	}
	if fault == "" && req.verdict == failsRead && o.store == nil && mode == MustExist {
		fault = v.compact()
	}
	if fault == "" && v.table != "" && o.store == nil && o.closing == nil && word != "snapshot" && req.verdict != failsRead && req.verdict != failsSnapshot && o.tables[v.table].open == nil {
		if fault = v.useOn(o); fault != "" {
			fault = "used on: " + fault
		}
	}
	return word, v.at(fault)
}

// at says where the tampering is.
func (v *victim) at(fault string) string {
	if fault == "" {
		return ""
	}
	return fmt.Sprintf("%v at %d: %s", v.paths, v.offset, fault)
}

// TestAttacksControl makes the rows that a cipher alone defends on stores
// whose cipher does not authenticate: the oracle must see that they get
// through. If it does not, TestAttacks proves nothing.
//
// It runs in a process of its own: without authentication reads panic, and
// leave stores behind that nobody can close.
func TestAttacksControl(t *testing.T) {
	t.Parallel()
	if os.Getenv(childJob) != controlJob {
		out, err := child(controlJob, "", "-test.run=^TestAttacksControl$", "-test.v").CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "tries get through")
		return
	}
	clean, crashed, deep := newAttackWorlds(t, weakSuite)
	for _, a := range attacks() {
		if !a.control {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			for _, on := range []struct {
				name string
				w    *attackWorld
				req  requirement
			}{{"clean", clean, a.clean}, {"crashed", crashed, a.crashed}, {"deep", deep, a.deep}} {
				if on.req == (requirement{}) || on.req.verdict != failsOpen && on.req.verdict != failsRead {
					continue
				}
				missed := 0
				const n = 6
				for try := range n {
					if _, fault := a.try(t, on.w, on.name, on.req, try); fault != "" {
						missed++
					}
				}
				require.NotZero(t, missed, "%s: the oracle is content without authentication", on.name)
				t.Logf("%-8s %d of %d tries get through", on.name, missed, n)
			}
		})
	}
}

// A rewrite of a blob that meets a block that does not open panics in Pebble
// v2.1.7, in a goroutine that nobody can catch.
func TestNoBlobIsRewritten(t *testing.T) {
	t.Parallel()
	o := new(Store).pebbleOptions(&metadata{separateFrom: 1})
	require.GreaterOrEqual(t, o.Experimental.ValueSeparationPolicy().TargetGarbageRatio, 1.0)
}

// TestDamageLetsCompactionsRest damages a file that Pebble wants to compact.
// Pebble would begin again at once, for ever, and never come to a compaction
// that is asked for.
func TestDamageLetsCompactionsRest(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	mem, root := vfs.NewMem(), newAttackRoot("rest")
	var failures atomic.Int32
	opts := Options{
		RootKey: root, FS: newAttackFS(mem), IdleTimeout: -1, tune: tuning{memTableSize: 256 << 10, noCompactions: true},
		Logger: slog.New(countFailures{n: &failures}),
	}
	s, err := Open(ctx, "store", opts)
	require.NoError(t, err)
	tab, err := s.CreateTable(ctx, "a.b", TableOptions{NoCompression: true})
	require.NoError(t, err)
	for round := range 4 { // four files, one over the other
		for i := range 100 {
			require.NoError(t, tab.Put(fmt.Appendf(nil, "%03d", i), bytes.Repeat([]byte{byte(round)}, 100), &WriteOptions{NoSync: true}))
		}
		require.NoError(t, tab.Flush())
	}
	require.NoError(t, s.Close())
	v := &victim{t: t, base: mem, dir: "store", rng: rand.New(rand.NewPCG(1, 1))}
	names := v.glob(tablesDir + "/*/*.sst")
	require.Len(t, names, 4)
	v.flip(names[1], keyring.HeaderLen+4000, keyring.HeaderLen+4001)

	opts.tune.noCompactions = false
	s, err = Open(ctx, "store", opts)
	require.NoError(t, err)
	tab, err = s.Table("a.b")
	require.NoError(t, err)
	for range 5 {
		var cerr error
		require.Empty(t, bounded(func() { cerr = tab.Compact(ctx, nil, nil) }))
		require.ErrorIs(t, cerr, ErrCorruption)
	}
	require.NoError(t, s.Close())
	require.NotZero(t, failures.Load())
	require.Less(t, failures.Load(), int32(100))
}

// countFailures counts what fails in the background.
type countFailures struct {
	slog.Handler
	n *atomic.Int32
}

func (c countFailures) Enabled(context.Context, slog.Level) bool { return true }
func (c countFailures) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c countFailures) WithGroup(string) slog.Handler            { return c }
func (c countFailures) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "background work failed") {
		c.n.Add(1)
	}
	return nil
}

// weakSuite is a stream cipher without authentication, of AES-GCM's shape:
// nonce ‖ text ‖ 16 bytes that nobody looks at.
func weakSuite(key []byte) (aead.Sealer, error) { return weakSealer(slices.Clone(key)), nil }

type weakSealer []byte

func (k weakSealer) stream(dst, src, nonce []byte) []byte {
	seed := [32]byte(k)
	for i, b := range nonce {
		seed[i] ^= b
	}
	c := rand.NewChaCha8(seed)
	var pad [8]byte
	for i, b := range src {
		if i%8 == 0 {
			binary.LittleEndian.PutUint64(pad[:], c.Uint64())
		}
		dst = append(dst, b^pad[i%8])
	}
	return dst
}

func (k weakSealer) Seal(dst, plaintext, _ []byte) ([]byte, error) {
	nonce := keyring.NewID()
	dst = append(dst, nonce[:aead.NonceLen]...)
	dst = k.stream(dst, slices.Clone(plaintext), nonce[:aead.NonceLen])
	return append(dst, make([]byte, aead.TagLen)...), nil
}

func (k weakSealer) Open(dst, sealed, _ []byte) ([]byte, error) {
	if len(sealed) < aead.Overhead {
		return dst, aead.ErrOpen
	}
	return k.stream(dst, sealed[aead.NonceLen:len(sealed)-aead.TagLen], sealed[:aead.NonceLen]), nil
}

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
	),
		row("a unit zeroed", mustReadV, func(v *victim) {
			name, u := v.pickUnits(pattern, 2)
			i := v.rng.IntN(u.n - 1)
			clear(u.at(i))
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

// tableAttacks are rows of sorted files that need two of them.
func tableAttacks() []attack {
	return []attack{
		everywhere("sst: two of the very same size swapped", mustReadV, func(v *victim) {
			bySize := map[int]string{}
			for _, name := range v.glob(v.tableDir(twinsTable) + "/*.sst") {
				n := len(v.read(name))
				if other := bySize[n]; other != "" {
					v.swap(other, name)
					return
				}
				bySize[n] = name
			}
			v.t.Fatal("no two files of a size")
		}),
		everywhere("sst: of another table, under its number", mustReadV, func(v *victim) {
			name := v.pick("*.sst")
			foreign := v.glob(v.tableDir(theOther(v.table)) + "/*.sst")
			v.write(name, v.read(foreign[v.rng.IntN(len(foreign))]))
		}),
		everywhere("sst: of another table, header made to fit", mustReadV, func(v *victim) {
			name := v.pick("*.sst")
			foreign := v.glob(v.tableDir(theOther(v.table)) + "/*.sst")
			b, own := v.read(foreign[v.rng.IntN(len(foreign))]), v.read(name)
			copy(b[:96], own[:96])
			v.write(name, b)
		}),
		everywhere("blob: under the name of a sorted file", mustReadV, func(v *victim) {
			v.mark(v.glob(v.tableDir(rowsTable) + "/*.sst")[0])
			v.write(v.paths[0], v.read(v.glob(v.tableDir(rowsTable) + "/*.blob")[0]))
		}),
	}
}

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
	return []attack{
		once(everywhere("OPTIONS: deleted", mustNothing, func(v *victim) {
			v.remove(v.options())
		})),
		everywhere("OPTIONS: bit flipped", mustOpenV, func(v *victim) {
			v.flip(v.options(), 0, -1)
		}),
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
	}
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
			name := v.pick("*.sst")
			b := v.read(name)
			binary.BigEndian.PutUint32(b[12:], lengths[v.rng.IntN(len(lengths))])
			v.offset = 12
			v.write(name, b)
		}),
		everywhere("unit size that is possible", mustReadV, func(v *victim) {
			name := v.pick("*.sst")
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
		{name: "a log of 2^40 bytes", disk: true, clean: mustOpenV, crashed: mustEither, deep: mustEither, tries: 2, tamper: func(v *victim) {
			v.mark(v.lastLog(rowsTable))
			v.stretch(v.paths[0])
		}},
		{name: "a MANIFEST of 2^40 bytes", disk: true, clean: mustOpenV, crashed: mustEither, deep: mustEither, tries: 2, tamper: func(v *victim) {
			v.mark(v.manifest(rowsTable))
			v.stretch(v.paths[0])
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
			if !ok || slices.Equal(own, b) || strings.HasPrefix(name, keyringDir) || strings.Contains(name, snapshotsDir) {
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
					req = mustNothing // kept, and nobody reads it
				}
			}
			word, fault := v.judge(req, v.probe(MustExist))
			require.Empty(t, fault, "%s, closed %v", name, closed)
			t.Logf("closed %-5v %-60s %s", closed, name, word)
		}
		require.NotZero(t, same, "no file of the same number and size")
	}
}

var _ = corrupt.ErrCorrupt
