package crashfs

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// quiet panics where Pebble would end the process.
type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func pebbleOptions(fs vfs.FS, cache *pebble.Cache) *pebble.Options {
	o := &pebble.Options{
		FS: fs, Cache: cache, Logger: quiet{}, FormatMajorVersion: pebble.FormatNewest,
		MemTableSize: 32 << 10, L0CompactionThreshold: 2, LBaseMaxBytes: 32 << 10,
		TargetFileSizes: [7]int64{8 << 10},
	}
	o.EventListener = &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}
	return o
}

// A model is what was done to a store, an operation each: later states hold
// all that earlier ones do, in their order.
type model struct {
	mu     sync.Mutex
	ops    [][2]string // key and value
	synced int         // of ops, acknowledged
}

func (m *model) state(n int) map[string]string {
	s := make(map[string]string)
	for _, op := range m.ops[:n] {
		s[op[0]] = op[1]
	}
	return s
}

// A pebbleCrash is a moment in a run, and what was known then.
type pebbleCrash struct {
	m              *Moment
	op             Op
	synced, issued int
}

// TestPebble runs plain Pebble and crashes it at many mutations in every
// style, recoveries too: it opens, and holds what was synced and a prefix of
// the rest. Two hazards of Pebble's own are known, both of a disk that keeps
// changes of a directory in any order: it makes its marker before the
// MANIFEST's name is durable, and removes the old marker before the new one's
// is. The latter leaves a store that Pebble takes for an empty one.
func TestPebble(t *testing.T) {
	t.Parallel()
	for range 2 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := &pebbleRun{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0))}
			require.NoError(t, r.run(func(fs vfs.FS) vfs.FS { return fs }))
			t.Logf("%d states, %d of a crash in recovery; %d with a marker and no MANIFEST, %d with a MANIFEST and no marker",
				r.states, r.again, r.noManifest, r.noMarker)
		})
	}
}

// TestPebbleLosesWhatItDoesNotSync is the negative control.
func TestPebbleLosesWhatItDoesNotSync(t *testing.T) {
	t.Parallel()
	r := &pebbleRun{t: t, seed: 1, rng: rand.New(rand.NewPCG(1, 0))}
	require.ErrorIs(t, r.run(func(fs vfs.FS) vfs.FS { return lazyFS{fs} }), errLost)
}

type pebbleRun struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand

	states, again        int
	noManifest, noMarker int // hazards
}

// run works and crashes. What Pebble runs on is wrap of the FS.
func (r *pebbleRun) run(wrap func(vfs.FS) vfs.FS) error {
	cache := pebble.NewCache(1 << 20)
	defer cache.Unref()
	fs := New(Options{})
	// The parents are durable; Pebble does not see to that.
	require.NoError(r.t, fs.MkdirAll("a", 0o755))
	root, err := fs.OpenDir("/")
	require.NoError(r.t, err)
	require.NoError(r.t, root.Sync())

	var mod model
	var crashes []pebbleCrash
	rng := rand.New(rand.NewPCG(r.seed, 1)) // guarded by the hook's turn
	fs.OnOp(func(_ int, op Op) {
		if rng.IntN(6) > 0 {
			return
		}
		mod.mu.Lock()
		synced, issued := mod.synced, len(mod.ops)
		mod.mu.Unlock()
		crashes = append(crashes, pebbleCrash{fs.Moment(), op, synced, issued})
	})
	for range 2 {
		r.work(wrap(fs), cache, &mod)
	}
	fs.OnOp(nil)
	require.NotEmpty(r.t, crashes)
	for i, c := range crashes {
		// Each style in turn, so that all are seen.
		style := Style(i % len(styleNames))
		seed := r.rng.Uint64()
		crashed := c.m.Crash(rand.New(rand.NewPCG(seed, 0)), style)
		what := fmt.Sprintf("seed %d: crash at %d, %s, %s, seed %d", r.seed, c.m.Op(), c.op, style, seed)
		var more []pebbleCrash
		crashed.OnOp(func(_ int, op Op) {
			if rng.IntN(40) == 0 {
				more = append(more, pebbleCrash{crashed.Moment(), op, c.synced, c.issued})
			}
		})
		if err := r.check(crashed, cache, &mod, c); err != nil {
			return fmt.Errorf("%s: %w\n%s", what, err, crashed)
		}
		for _, c := range more {
			r.again++
			style := Style(r.rng.IntN(len(styleNames)))
			crashed := c.m.Crash(r.rng, style)
			if err := r.check(crashed, cache, &mod, c); err != nil {
				return fmt.Errorf("%s, then at %d, %s, %s: %w\n%s", what, c.m.Op(), c.op, style, err, crashed)
			}
		}
	}
	return nil
}

// work opens the store and writes to it.
func (r *pebbleRun) work(fs vfs.FS, cache *pebble.Cache, mod *model) {
	db, err := pebble.Open("a/db", pebbleOptions(fs, cache))
	require.NoError(r.t, err)
	for range 400 {
		key := fmt.Sprintf("k%03d", r.rng.IntN(200))
		value := fmt.Sprint(len(mod.ops), strings.Repeat("v", r.rng.IntN(1000)))
		mod.mu.Lock()
		mod.ops = append(mod.ops, [2]string{key, value})
		mod.mu.Unlock()
		wo := pebble.NoSync
		if r.rng.IntN(3) == 0 {
			wo = pebble.Sync
		}
		require.NoError(r.t, db.Set([]byte(key), []byte(value), wo))
		if wo == pebble.Sync {
			mod.mu.Lock()
			mod.synced = len(mod.ops)
			mod.mu.Unlock()
		}
	}
	require.NoError(r.t, db.Close())
	mod.mu.Lock()
	mod.synced = len(mod.ops)
	mod.mu.Unlock()
}

var errLost = errors.New("what is there is no state from what was synced to what was issued")

// check opens what a crash has left.
func (r *pebbleRun) check(fs *FS, cache *pebble.Cache, mod *model, c pebbleCrash) error {
	r.states++
	// The hazards are there only while the marker moves.
	moving := !slices.Equal(markers(c.m.Crash(nil, SyncedOnly)), markers(c.m.Crash(nil, AllKept)))
	if moving && c.synced > 0 && len(markers(fs)) == 0 {
		r.noMarker++
		return nil
	}
	db, err := pebble.Open("a/db", pebbleOptions(fs, cache))
	if moving && errors.Is(err, os.ErrNotExist) && strings.Contains(err.Error(), "could not open manifest file") {
		r.noManifest++
		return nil
	}
	if err != nil {
		return err
	}
	found, err := pebbleContents(db)
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	for n := c.synced; n <= c.issued; n++ {
		if maps.Equal(found, mod.state(n)) {
			return nil
		}
	}
	return fmt.Errorf("%w: %d to %d", errLost, c.synced, c.issued)
}

func markers(fs *FS) []string {
	list, _ := fs.List("a/db")
	return slices.DeleteFunc(list, func(name string) bool { return !strings.HasPrefix(name, "marker.manifest.") })
}

func pebbleContents(db *pebble.DB) (map[string]string, error) {
	it, err := db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	found := make(map[string]string)
	for it.First(); it.Valid(); it.Next() {
		found[string(it.Key())] = string(it.Value())
	}
	return found, errors.Join(it.Error(), it.Close())
}

// lazyFS does not sync logs.
type lazyFS struct{ vfs.FS }

type lazyFile struct{ vfs.File }

func (lazyFile) SyncData() error { return nil }
func (lazyFile) Sync() error     { return nil }

func (fs lazyFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return lazy(fs.FS.Create(name, c))(name)
}

func (fs lazyFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return lazy(fs.FS.ReuseForWrite(oldname, newname, c))(newname)
}

func lazy(f vfs.File, err error) func(name string) (vfs.File, error) {
	return func(name string) (vfs.File, error) {
		if err == nil && strings.HasSuffix(name, ".log") {
			return lazyFile{f}, nil
		}
		return f, err
	}
}
