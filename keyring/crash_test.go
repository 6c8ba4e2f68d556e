package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
)

// A change is a named mutation, tried at every fault. It gets a keyring of two
// live tables, "old" and "both", and one being created, "half". "both" and the store
// key have a second root key, fake:third; fake:second is pinned besides.
type change struct {
	name string
	do   func(t testing.TB, k *Keyring, root RootKey) error
}

func tableNamed(t testing.TB, k *Keyring, name string) ID {
	t.Helper()
	for _, r := range k.Tables() {
		if r.Name == name {
			return r.ID
		}
	}
	require.FailNow(t, "no table "+name)
	return ID{}
}

var changes = []change{
	{"CreateTable", func(t testing.TB, k *Keyring, root RootKey) error {
		_, err := k.CreateTable(t.Context(), "new", root, []byte("m"))
		return err
	}},
	{"FinishCreate", func(t testing.TB, k *Keyring, _ RootKey) error {
		return k.FinishCreate(t.Context(), tableNamed(t, k, "half"))
	}},
	{"Forget", func(t testing.TB, k *Keyring, _ RootKey) error {
		return k.Forget(t.Context(), tableNamed(t, k, "half"))
	}},
	{"DropTable", func(t testing.TB, k *Keyring, _ RootKey) error {
		_, err := k.DropTable(t.Context(), tableNamed(t, k, "old"))
		return err
	}},
	{"SetMetadata", func(t testing.TB, k *Keyring, _ RootKey) error {
		tk, err := k.OpenTable(t.Context(), tableNamed(t, k, "old"))
		require.NoError(t, err)
		return k.SetMetadata(t.Context(), tk, []byte("new metadata"))
	}},
	{"RotateTableKey", func(t testing.TB, k *Keyring, _ RootKey) error {
		return rotateKey(k, t.Context(), tableNamed(t, k, "old"), nil)
	}},
	{"RotateRoot", func(t testing.TB, k *Keyring, root RootKey) error {
		return rotateRoot(k, t.Context(), tableNamed(t, k, "old"), root, nil)
	}},
	{"AddRoot", func(t testing.TB, k *Keyring, _ RootKey) error {
		return addRoot(secondRoot(k)).do(t, k, tableNamed(t, k, "old"), nil)
	}},
	{"ReplaceRoot", func(t testing.TB, k *Keyring, root RootKey) error {
		return replaceRoot(root.URI(), secondRoot(k)).do(t, k, tableNamed(t, k, "old"), nil)
	}},
	{"RemoveRoot", func(t testing.TB, k *Keyring, _ RootKey) error {
		return removeRoot("fake:third").do(t, k, tableNamed(t, k, "both"), nil)
	}},
	{"AddStoreRoot", func(t testing.TB, k *Keyring, _ RootKey) error {
		return addRoot(secondRoot(k)).do(t, k, ID{}, nil)
	}},
	{"ReplaceStoreRoot", func(t testing.TB, k *Keyring, _ RootKey) error {
		return replaceRoot("fake:third", secondRoot(k)).do(t, k, ID{}, nil)
	}},
	{"RemoveStoreRoot", func(t testing.TB, k *Keyring, _ RootKey) error {
		return removeRoot("fake:third").do(t, k, ID{}, nil)
	}},
	{"RotateStoreKey", func(t testing.TB, k *Keyring, _ RootKey) error {
		return rotateKey(k, t.Context(), ID{}, nil)
	}},
	{"RotateStoreRoot", func(t testing.TB, k *Keyring, root RootKey) error {
		return rotateRoot(k, t.Context(), ID{}, root, nil)
	}},
	{"SetStates", func(t testing.TB, k *Keyring, _ RootKey) error {
		return k.SetStates(t.Context(), ID{7}, map[ID][]byte{tableNamed(t, k, "old"): []byte("new state")})
	}},
}

// summary is all that a keyring tells, as text.
func summary(t testing.TB, k *Keyring) string {
	t.Helper()
	s := fmt.Sprintf("%s %s", k.StoreID(), k.Journal())
	for _, r := range k.Tables() {
		tk, err := k.OpenTable(t.Context(), r.ID)
		require.NoError(t, err)
		i, ok := k.cur.Load().find(r.ID)
		require.True(t, ok)
		wraps := k.cur.Load().tables[i].entry.newest().wraps
		s += fmt.Sprintf("\n%+v metadata %q state %q wraps %x", r, tk.Metadata(), k.State(r.ID), wraps)
	}
	store := k.cur.Load().store
	s += fmt.Sprintf("\nstore key, version %d of %d, wraps %x", store.newest().number, len(store.versions), store.newest().wraps)
	for _, tomb := range k.Tombstones() {
		s += fmt.Sprintf("\n%+v", tomb)
	}
	return s
}

// prepared makes the keyring that the changes are tried on, and tells its pins, of
// which root is the first.
func prepared(t testing.TB, root RootKey) (mem *vfs.MemFS, pins []RootKey) {
	t.Helper()
	mem = newTestFS(t)
	pins = []RootKey{root, newFakeRoot("second"), newFakeRoot("third")}
	require.NoError(t, mustCreate(t, mem, root).Close())
	k := mustOpen(t, mem, pins...)
	mustTable(t, k, "old", root, "old metadata")
	both := mustTable(t, k, "both", root, "metadata").ID()
	for _, id := range []ID{{}, both} {
		require.NoError(t, addRoot(pins[2]).do(t, k, id, nil))
	}
	_, err := k.CreateTable(t.Context(), "half", root, nil)
	require.NoError(t, err)
	require.NoError(t, k.Close())
	return mem, pins
}

// secondRoot is the root key that is pinned and wraps nothing yet.
func secondRoot(k *Keyring) RootKey { return k.pins["fake:second"] }

// TestCrash crashes before every operation of every change, and after the
// last: what opens is the old generation or the new, and the new one once the
// change has returned. Open itself is crashed too.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			root := newAnchoredRoot("a")
			mem, pins := prepared(t, root)
			rng := rand.New(rand.NewPCG(1, 2))

			type crash struct {
				at    string
				fs    *vfs.MemFS
				notes map[ID]fakeNote
				done  bool
			}
			var crashes []crash
			keep := func(at string, done bool) {
				for _, percent := range []int{0, 30, 50, 70, 100} {
					notes := make(map[ID]fakeNote)
					root.mu.Lock()
					for id, n := range root.notes {
						notes[id] = n
					}
					root.mu.Unlock()
					clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
					crashes = append(crashes, crash{fmt.Sprintf("%s, %d %%", at, percent), clone, notes, done})
				}
			}
			ops := 0
			faulty := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				ops++
				keep(fmt.Sprintf("before operation %d, %d of %s", ops, op.Kind, op.Path), false)
				return nil
			}))
			k := mustOpen(t, faulty, pins...)
			before := summary(t, k)
			require.NoError(t, c.do(t, k, root))
			after := summary(t, k)
			require.NotEqual(t, before, after)
			keep("at the end", true)
			require.Greater(t, ops, 8)

			old, next := 0, 0
			for _, cr := range crashes {
				// As the anchor was when it crashed.
				r := &anchoredRoot{fakeRoot: root.fakeRoot, notes: cr.notes}
				k, err := tryOpen(t, cr.fs, append([]RootKey{r}, pins[1:]...)...)
				require.NoError(t, err, cr.at)
				switch got := summary(t, k); {
				case got == after:
					next++
				case got == before && !cr.done:
					old++
				default:
					require.FailNow(t, "neither the old generation nor the new", "crash %s: %s", cr.at, got)
				}
				// It takes another change.
				require.NoError(t, k.SetStates(t.Context(), ID{8}, nil), cr.at)
			}
			require.NotZero(t, old)
			require.Greater(t, next, 5, "no crash showed the new generation before the change returned")
		})
	}
}

// TestCrashCreate: there is a keyring of generation 1, or none and Create
// works.
func TestCrashCreate(t *testing.T) {
	t.Parallel()
	root := newAnchoredRoot("a")
	mem := newTestFS(t)
	rng := rand.New(rand.NewPCG(1, 2))
	var crashes []*vfs.MemFS
	keep := func() {
		for _, percent := range []int{0, 50, 100} {
			crashes = append(crashes, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
		}
	}
	faulty := errorfs.Wrap(mem, errorfs.InjectorFunc(func(errorfs.Op) error { keep(); return nil }))
	k := mustCreate(t, faulty, root)
	keep()
	there := 0
	for _, crashed := range crashes {
		ok, err := Exists(crashed, testDir)
		require.NoError(t, err)
		if !ok {
			mustCreate(t, crashed, root)
			continue
		}
		there++
		require.Equal(t, k.StoreID(), mustOpen(t, crashed, root).StoreID())
	}
	require.Greater(t, there, 3)
	ok, err := Exists(crashes[len(crashes)-3], testDir)
	require.NoError(t, err)
	require.True(t, ok, "what Create has returned is durable")
}

// TestFault fails every operation of every change in turn. The change fails
// and nothing has changed in memory, or it succeeds and is durable; a new
// open finds the one or the other, and the new one if it was acknowledged.
func TestFault(t *testing.T) {
	t.Parallel()
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			poisoned, clean, survived, shown := 0, 0, 0, 0
			for n := 0; ; n++ {
				root := newAnchoredRoot("a")
				mem, pins := prepared(t, root)
				ops, armed := 0, false
				var kind errorfs.OpKind
				faulty := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
					if !armed {
						return nil
					}
					ops++
					if ops == n+1 {
						kind = op.Kind
						return errorfs.ErrInjected
					}
					return nil
				}))
				k := mustOpen(t, faulty, pins...)
				before, gen := summary(t, k), k.Generation()
				armed = true
				err := c.do(t, k, root)
				if ops <= n {
					require.NoError(t, err)
					require.Greater(t, n, 5, "operations of a change")
					break
				}
				where := fmt.Sprintf("operation %d (kind %d) failed: %v", n+1, kind, err)
				if err == nil {
					survived++
					require.Equal(t, errorfs.OpRemove, kind, "%s: only tidying up may fail silently", where)
					r := mustOpen(t, mem.CrashClone(vfs.CrashCloneCfg{}), pins...)
					require.Equal(t, summary(t, k), summary(t, r), where)
					continue
				}
				require.ErrorIs(t, err, errorfs.ErrInjected, where)
				require.False(t, errors.Is(err, corrupt.ErrCorrupt), where)
				require.Equal(t, before, summary(t, k), where)
				require.Equal(t, gen, k.Generation(), where)
				late := errors.Is(err, ErrPoisoned)
				for _, percent := range []int{0, 100} {
					crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 2))})
					r := mustOpen(t, crashed, pins...)
					if r.Generation() == gen {
						require.Equal(t, before, summary(t, r), where)
					} else {
						require.True(t, late, "%s: yet it shows", where)
						require.Equal(t, gen+1, r.Generation(), where)
						require.NotEqual(t, before, summary(t, r), where)
						shown++
					}
					delete(root.notes, k.StoreID())
				}
				_, statErr := mem.Stat(mem.PathJoin(testDir, tempName))
				again := k.SetStates(t.Context(), ID{8}, nil)
				if late {
					poisoned++
					require.ErrorIs(t, again, ErrPoisoned, where)
					require.ErrorIs(t, again, errorfs.ErrInjected, where)
					_, err = k.StoreKeys().NewDataKey(NewID())
					require.NoError(t, err, where)
				} else {
					clean++
					require.ErrorIs(t, statErr, fs.ErrNotExist, where)
					require.NoError(t, again, where)
				}
				mustOpen(t, mem, pins...)
			}
			require.Positive(t, poisoned)
			require.Positive(t, clean)
			require.Positive(t, survived)
			require.Positive(t, shown, "a failed change that shows after a crash, which is why it poisons")
		})
	}
}

// TestFaultOpen fails every operation of Open in turn, reads as well.
func TestFaultOpen(t *testing.T) {
	t.Parallel()
	for _, readOnly := range []bool{false, true} {
		for n := 0; ; n++ {
			root := newAnchoredRoot("a")
			mem, _ := prepared(t, root)
			writeFile(t, mem, tempName, []byte("left over"))
			writeFile(t, mem, fileName(1), []byte("left over"))
			ops := 0
			var kind errorfs.OpKind
			faulty := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				ops++
				if ops == n+1 {
					kind = op.Kind
					return errorfs.ErrInjected
				}
				return nil
			}))
			k, err := Open(t.Context(), testDir, []RootKey{root}, readOnly, Options{FS: faulty})
			if ops <= n {
				require.NoError(t, err)
				require.Greater(t, n, 3)
				break
			}
			if kind == errorfs.OpRemove {
				require.NoError(t, err)
				require.NoError(t, k.Close())
			} else {
				require.ErrorIs(t, err, errorfs.ErrInjected)
				require.NotErrorIs(t, err, corrupt.ErrCorrupt)
			}
			mustOpen(t, mem, root)
		}
	}
}

// TestOpenSyncs: a keyring whose rename is not durable yet is opened, and
// noted. The power cut that follows must not take it back.
func TestOpenSyncs(t *testing.T) {
	t.Parallel()
	root := newAnchoredRoot("a")
	mem, _ := prepared(t, root)
	gen := must(tryOpen(t, mem, root)).Generation()
	k := mustOpen(t, errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpRename {
			require.NoError(t, mem.Rename(op.Path, mem.PathJoin(testDir, fileName(gen+1))))
			return errorfs.ErrInjected // made, and reported as failed
		}
		return nil
	})), root)
	require.ErrorIs(t, k.SetStates(t.Context(), ID{7}, nil), ErrPoisoned)
	require.True(t, k.Journal().IsZero())
	require.Equal(t, gen, root.notes[k.StoreID()].gen)

	r := mustOpen(t, mem, root)
	require.Equal(t, ID{7}, r.Journal())
	require.Equal(t, gen+1, root.notes[k.StoreID()].gen)
	again := mustOpen(t, mem.CrashClone(vfs.CrashCloneCfg{}), root)
	require.Equal(t, ID{7}, again.Journal())
}

// TestTempIsDirectory finds a directory where the next generation is to be
// written: an error that names it, and not one of the file system's.
func TestTempIsDirectory(t *testing.T) {
	t.Parallel()
	root := newAnchoredRoot("a")
	mem, _ := prepared(t, root)
	k, err := Open(t.Context(), testDir, []RootKey{root}, false, Options{FS: mem})
	require.NoError(t, err)
	require.NoError(t, mem.MkdirAll(mem.PathJoin(testDir, tempName, "below"), 0o700))
	_, err = k.CreateTable(t.Context(), "a.new", root, nil)
	var c *corrupt.Error
	require.ErrorAs(t, err, &c)
	require.Contains(t, c.Path, tempName)
	require.NoError(t, k.Close())
}
