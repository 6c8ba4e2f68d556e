package engine

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// What someone may try who can write the disk and has no root key. Each row is
// made at many random places of a store that was closed cleanly and of two
// that crashed; the oracle demands for each what must come of it, and in every
// case: no panic, no hang, no huge allocation, no wrong value, no silent loss,
// and no effect on the other table.

// attackTries is how often a row is tried, on all stores together. The
// environment variable COFRE_ATTACK_TRIES says how often on each store instead,
// for rows that have places to choose from.
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
	tries                int  // 0: attackTries; else the row has no places
	disk                 bool // on the operating system's file system alone
	create               bool // opened with CreateIfMissing
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
	return slices.Concat(fileAttacks("*.sst"), fileAttacks("*.blob"), pairAttacks("*.sst"), pairAttacks("*.blob"),
		logAttacks(), manifestAttacks(), secondAttacks(), forkAttacks(), directoryAttacks(), snapshotAttacks(), keyringAttacks(), guttedAttacks(), journalAttacks(),
		headerAttacks(), lengthAttacks(), kindAttacks())
}

// perStore is how often a row is tried on each of its stores.
func (a *attack) perStore(t testing.TB) int {
	n := a.tries
	if n == 0 {
		n = attackTries
	}
	if s := os.Getenv("COFRE_ATTACK_TRIES"); s != "" {
		each, err := strconv.Atoi(s)
		require.NoError(t, err)
		if a.tries == 0 {
			return each
		}
	} else if testing.Short() {
		n /= 10 // under the race detector it would take minutes
	}
	stores := 0
	for _, r := range []requirement{a.clean, a.crashed, a.deep} {
		if r != (requirement{}) {
			stores++
		}
	}
	return max(1, (n+stores-1)/stores)
}

// TestAttacks runs in a process of its own: it measures what is allocated.
func TestAttacks(t *testing.T) {
	t.Parallel()
	if !inOwnProcess(t, attackJob) {
		return
	}
	clean, crashed, deep := newAttackWorlds(t, nil)
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			damaged, unread := 0, 0
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
					damaged, unread = damaged+n, unread+words["unread"]
				}
				t.Logf("row %q, %s: %d tries, must be %s, came out as %v", a.name, on.name, n, on.req.verdict, words)
			}
			// One place in three or four is no read's business: a bloom filter,
			// an index of nothing. A few tries may all have hit such places.
			if damaged >= 20 {
				require.Less(t, unread, damaged, "no read has found any")
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
	if a.create {
		mode = CreateIfMissing
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
	if !inOwnProcess(t, controlJob) {
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
