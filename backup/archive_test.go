package backup

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
)

var (
	load    = flag.Duration("load", 2*time.Second, "how long TestPointInTime writes")
	moments = flag.Int("moments", 12, "to how many moments it restores")
)

// An oracle knows what one writer has done below a prefix of his, and when.
type oracle struct {
	prefix string
	tab    *engine.Table
	rng    *rand.Rand

	mu  sync.Mutex
	ops []oracleOp
}

// An oracleOp is a write, with the times of its call and of its acknowledgement,
// between which it may fall on either side.
type oracleOp struct {
	call, ack time.Time
	set       map[string]string
	from, to  string // a range that is deleted first; "" is none
}

func (o *oracle) key() string { return fmt.Sprintf("%s%03d", o.prefix, o.rng.IntN(300)) }

// step writes something.
func (o *oracle) step() error {
	op := oracleOp{set: make(map[string]string)}
	b := o.tab.NewBatch()
	var err error
	switch n := o.rng.IntN(20); {
	case n == 0:
		op.from, op.to = o.key(), o.key()
		if op.from > op.to {
			op.from, op.to = op.to, op.from
		}
		err = b.DeleteRange([]byte(op.from), []byte(op.to))
	case n == 1: // several frames
		for range 40 {
			k, v := o.key(), strings.Repeat(fmt.Sprint(o.rng.Uint64()), 100)
			op.set[k] = v
			err = b.Put([]byte(k), []byte(v))
		}
	default:
		k, v := o.key(), fmt.Sprint(o.rng.Uint64())
		op.set[k] = v
		err = b.Put([]byte(k), []byte(v))
	}
	if err != nil {
		return err
	}
	op.call = time.Now()
	if err := b.Commit(nil); err != nil {
		return err
	}
	op.ack = time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ops = append(o.ops, op)
	return nil
}

// states are what a restore to a moment may show: with the write that was under way then,
// and without.
func (o *oracle) states(at time.Time) []map[string]string {
	m := make(map[string]string)
	for _, op := range o.ops {
		if op.call.After(at) {
			break
		}
		if op.ack.After(at) {
			with := maps.Clone(m)
			op.apply(with)
			return []map[string]string{m, with}
		}
		op.apply(m)
	}
	return []map[string]string{m}
}

func (op *oracleOp) apply(m map[string]string) {
	if op.from != "" {
		maps.DeleteFunc(m, func(k, _ string) bool { return k >= op.from && k < op.to })
	}
	maps.Copy(m, op.set)
}

// check compares a table with what the oracles know of a moment.
func check(t *testing.T, tab *engine.Table, oracles []*oracle, at time.Time) {
	t.Helper()
	got := rows(t, tab)
	for _, o := range oracles {
		have := make(map[string]string)
		for k, v := range got {
			if strings.HasPrefix(k, o.prefix) {
				have[k] = v
			}
		}
		ok := false
		states := o.states(at)
		for _, want := range states {
			ok = ok || maps.Equal(want, have)
		}
		if !ok {
			for k := range maps.Keys(states[0]) {
				if states[0][k] != have[k] {
					t.Logf("%s: should be %.20q, is %.20q", k, states[0][k], have[k])
				}
			}
			for k := range maps.Keys(have) {
				if _, is := states[0][k]; !is {
					t.Logf("%s: should not be there, is %.20q", k, have[k])
				}
			}
			require.Fail(t, "not what it was", "writer %s at %s", o.prefix, at)
		}
	}
}

// TestPointInTime writes for seconds, with flushes, compactions, rotations, closes and
// batches of several frames in between, and restores to moments between.
func TestPointInTime(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	w.now = time.Time{} // not used: moments are those of the machine
	w.repo.opts.Now = time.Now
	s, err := engine.Open(ctx, filepath.Join(t.TempDir(), "store"), engine.Options{RootKey: w.root, Roots: []keyring.RootKey{w.key("k2")}, MemoryBudget: 2 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	w.store = s
	tab := w.table("clinic.patients")
	require.NoError(t, tab.SetArchiving(ctx, true))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var oracles []*oracle
	for i := range 3 {
		oracles = append(oracles, &oracle{prefix: fmt.Sprintf("w%d/", i), tab: tab, rng: rand.New(rand.NewPCG(seed, uint64(i)))})
	}
	work := func(d time.Duration) {
		var wg sync.WaitGroup
		for _, o := range oracles {
			wg.Go(func() {
				for end := time.Now().Add(d); time.Now().Before(end); {
					if err := o.step(); err != nil {
						t.Error(err)
						return
					}
					if *load > 10*time.Second {
						time.Sleep(3 * time.Millisecond) // or the restores take hours
					}
				}
			})
		}
		wg.Wait()
	}
	ar := w.repo.Archiver(ArchiveOptions{})
	ship := func() {
		list, err := ar.Ship(ctx, s)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Zero(t, list[0].Waiting)
	}
	work(200 * time.Millisecond)
	_, err = w.repo.Create(ctx, s, CreateOptions{})
	require.NoError(t, err)
	begin, end := time.Now(), time.Time{}
	for round := range 6 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			work(*load / 6)
		}()
		for range 3 {
			time.Sleep(*load / 24)
			ship()
		}
		switch round {
		case 0:
			require.NoError(t, tab.Flush())
		case 1:
			require.NoError(t, tab.RotateKey(ctx))
		case 2:
			require.NoError(t, tab.Compact(ctx, nil, nil))
			_, err = w.repo.Create(ctx, s, CreateOptions{})
			require.NoError(t, err)
		case 3:
			require.NoError(t, tab.RotateRoot(ctx, w.key("k2")))
		case 4:
			_, err := tab.Reencrypt(ctx, engine.ReencryptOptions{})
			require.NoError(t, err)
		}
		<-done
		if round%2 == 0 {
			require.NoError(t, tab.Close())
			ar = w.repo.Archiver(ArchiveOptions{}) // a process that begins anew
		}
		end = time.Now()
		work(10 * time.Millisecond) // what was sent says that it is so late
		ship()
	}
	rng := rand.New(rand.NewPCG(seed, 99))
	roots := []keyring.RootKey{w.root, w.key("k2")}
	_, err = w.repo.Rewrap(ctx, s, RewrapOptions{})
	require.NoError(t, err)
	for n := range *moments {
		at := begin.Add(time.Duration(rng.Int64N(int64(end.Sub(begin)))))
		as := fmt.Sprintf("restored.n%d", n)
		rep, err := w.repo.Restore(ctx, s, RestoreOptions{At: at, Roots: roots, As: map[string]string{"clinic.patients": as}})
		require.NoError(t, err)
		require.False(t, rep.Tables[0].At.After(at))
		r, err := s.Table(as)
		require.NoError(t, err)
		check(t, r, oracles, at)
		t.Logf("moment %d, %s behind the begin: equal", n, at.Sub(begin))
		_, err = s.DropTable(ctx, as, engine.DropOptions{})
		require.NoError(t, err)
	}
	_, err = w.repo.Restore(ctx, s, RestoreOptions{ToEnd: true, Roots: roots, As: map[string]string{"clinic.patients": "restored.end"}})
	require.NoError(t, err)
	r, err := s.Table("restored.end")
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), rows(t, r))

	for _, at := range []time.Time{begin.Add(-time.Hour), time.Now().Add(time.Hour)} {
		_, err = w.repo.Restore(ctx, s, RestoreOptions{At: at, Roots: roots, As: map[string]string{"clinic.patients": "restored.no"}})
		require.ErrorIs(t, err, ErrOutOfRange)
		var re *RangeError
		require.ErrorAs(t, err, &re)
		require.NotEmpty(t, re.Spans)
	}
	if *load <= 10*time.Second { // each attack restores all of the log once more
		attackArchive(t, w, s, roots, end)
	}
}

// attackArchive changes, cuts and takes away what the archive has: a restore that needs
// it fails, and leaves nothing.
func attackArchive(t *testing.T, w *world, s *engine.Store, roots []keyring.RootKey, at time.Time) {
	parts := w.objects(archivePrefix)
	first, err := w.repo.Find(t.Context(), w.firstBackup())
	require.NoError(t, err)
	refused := func(what, object string, tamper func(path string)) {
		path := w.path(object)
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		tamper(path)
		_, err = w.repo.Restore(t.Context(), s, RestoreOptions{
			Backup: first.Name, At: at, Roots: roots, As: map[string]string{"clinic.patients": "restored.no"},
		})
		if err == nil || !(strings.Contains(err.Error(), ErrCorruption.Error()) || strings.Contains(err.Error(), "missing") || strings.Contains(err.Error(), ErrOutOfRange.Error()) || strings.Contains(err.Error(), "authentication")) {
			require.Fail(t, "taken", "%s: %s: %v", what, object, err)
		}
		_, err = s.Table("restored.no")
		require.ErrorIs(t, err, engine.ErrTableNotFound)
		require.NoError(t, os.RemoveAll(path))
		require.NoError(t, os.WriteFile(path, before, 0o600))
	}
	x, err := w.repo.readIndex(t.Context(), first, &first.Tables[0])
	require.NoError(t, err)
	parts = slices.DeleteFunc(parts, func(n string) bool {
		p, ok := parsePartName(n)
		return !ok || p.number < x.newestLog() || !p.last.Before(at)
	})
	for i, n := range parts {
		if i%7 != 0 {
			continue
		}
		refused("flipped", n, func(path string) { flip(t, path, 500) })
		refused("cut", n, func(path string) {
			fi, err := os.Stat(path)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(path, fi.Size()-1))
		})
		if i < len(parts)/2 {
			refused("removed", n, func(path string) { require.NoError(t, os.Remove(path)) })
		}
	}
}

func (w *world) firstBackup() string {
	return strings.TrimPrefix(w.objects(backupsPrefix)[0], backupsPrefix)
}

// TestManyVersions archives a log that goes on through many rotations, and restores it.
func TestManyVersions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	w.repo.opts.Now = time.Now
	tab := w.table("clinic.patients")
	require.NoError(t, tab.SetArchiving(ctx, true))
	put(t, tab, 0, 10)
	_, err := w.repo.Create(ctx, w.store, CreateOptions{})
	require.NoError(t, err)
	ar := w.repo.Archiver(ArchiveOptions{})
	for n := range 30 {
		require.NoError(t, tab.RotateKey(ctx))
		put(t, tab, 10+n, 11+n)
		if n%7 == 0 {
			_, err := ar.Ship(ctx, w.store)
			require.NoError(t, err)
		}
	}
	_, err = ar.Ship(ctx, w.store)
	require.NoError(t, err)
	_, err = w.repo.Rewrap(ctx, w.store, RewrapOptions{})
	require.NoError(t, err)
	_, err = w.repo.Restore(ctx, w.store, RestoreOptions{ToEnd: true, Roots: []keyring.RootKey{w.root}, As: map[string]string{"clinic.patients": "restored.end"}})
	require.NoError(t, err)
	r, err := w.store.Table("restored.end")
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), rows(t, r))
}

// TestVersionSets spells sets of versions, and reads them.
func TestVersionSets(t *testing.T) {
	t.Parallel()
	for spelled, vs := range map[string][]uint32{"1": {1}, "1.2.3.9": {1, 2, 3, 9}, "7_11": {7, 8, 9, 10, 11}, "1_6": {1, 2, 3, 5, 6}} {
		s := newVersionSet(vs)
		require.Equal(t, spelled, s.String())
		again, ok := parseVersions(spelled)
		require.True(t, ok)
		require.Equal(t, s, again)
		have := make(map[uint32]bool)
		for v := range vs[len(vs)-1] {
			have[v+1] = true
		}
		for _, v := range vs {
			require.True(t, s.has(v))
			require.Zero(t, s.lacking(have))
			delete(have, v)
			require.Equal(t, v, s.lacking(have))
			have[v] = true
		}
		require.False(t, s.has(vs[0]-1))
		require.False(t, s.has(vs[len(vs)-1]+1))
	}
	for _, s := range []string{"", "_", "2_1", "1_", "1_4", "1_9999999", "1_2_9", "1..2", "0.1", "01", "2.1", "1.2.3.4.5", "1.9_12", "+1"} {
		_, ok := parseVersions(s)
		require.False(t, ok, s)
	}
}

// TestNameOfManyVersions: what a name stands for takes no more memory than the name.
func TestNameOfManyVersions(t *testing.T) {
	t.Parallel()
	p := part{number: 1, to: 1, versions: versionSet{[]uint32{1, keyring.MaxVersions}, true}, first: time.Unix(0, 0), last: time.Unix(0, 0)}
	again, ok := parsePartName(p.object())
	require.True(t, ok)
	require.LessOrEqual(t, cap(again.versions.list), fewVersions)
}

// TestPruneOpenLog prunes between the beginning of an archive and the first backup that
// ends in its log: what was sent stays, and is restored from.
func TestPruneOpenLog(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	w := newWorld(t)
	w.repo.opts.Now = time.Now
	put(t, w.table("clinic.visits"), 0, 10)
	tab := w.table("clinic.patients")
	require.NoError(t, tab.SetArchiving(ctx, true))
	put(t, tab, 0, 10)
	ar := w.repo.Archiver(ArchiveOptions{})
	_, err := ar.Ship(ctx, w.store)
	require.NoError(t, err)
	_, err = w.repo.Create(ctx, w.store, CreateOptions{Tables: []string{"clinic.visits"}})
	require.NoError(t, err)
	_, err = w.repo.Prune(ctx, PruneOptions{Keep: Retention{Last: 1}, Grace: -1})
	require.NoError(t, err)
	_, err = w.repo.Create(ctx, w.store, CreateOptions{Tables: []string{"clinic.patients"}})
	require.NoError(t, err)
	put(t, tab, 10, 20)
	_, err = ar.Ship(ctx, w.store)
	require.NoError(t, err)
	_, err = w.repo.Restore(ctx, w.store, RestoreOptions{ToEnd: true, Roots: []keyring.RootKey{w.root}, As: map[string]string{"clinic.patients": "restored.end"}})
	require.NoError(t, err)
	r, err := w.store.Table("restored.end")
	require.NoError(t, err)
	require.Equal(t, rows(t, tab), rows(t, r))
	// The newest backup has no table of visits; one before it has.
	_, err = w.repo.Restore(ctx, w.store, RestoreOptions{
		Tables: []string{"clinic.visits"}, Roots: []keyring.RootKey{w.root}, As: map[string]string{"clinic.visits": "restored.visits"},
	})
	require.NoError(t, err)
}
