package audit

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/torture/crashfs"
)

// crashDir is a file system with the log's parent, both durable.
func crashDir(t testing.TB) *crashfs.FS {
	fs := crashfs.New(crashfs.Options{})
	require.NoError(t, fs.MkdirAll("/store", 0o700))
	for _, dir := range []string{"/", "/store"} {
		require.NoError(t, directory{fs: fs}.sync(dir))
	}
	return fs
}

// A diary is what was acknowledged: the highest mark, and all that were issued.
type diary struct {
	issued, acked uint64
	found         uint64 // by the last check
}

// live uses a log until the disk fails, as a process would: each mark that Record
// takes is acknowledged; a State that is given is what the keyring names.
func (d *diary) live(s *testStore, rng *rand.Rand) {
	l, err := s.tryOpen(false)
	if err != nil {
		l.Close()
		return
	}
	defer l.Close()
	for range 1 + rng.IntN(5) {
		if s.state == nil || rng.IntN(4) == 0 {
			if st, err := l.State(s.t.Context()); err == nil {
				s.state = st
			}
		}
		d.issued++
		if l.Record(EventWrap, Request{Generation: d.issued}, nil) == nil {
			d.acked = d.issued
		}
		if rng.IntN(3) == 0 {
			l.Later(EventOpenTable, Request{}, nil)
		}
	}
}

// check requires that all acknowledged marks are there, each once and in order, with
// none that was not issued, and that the log verifies.
func (d *diary) check(s *testStore, what string) {
	s.t.Helper()
	if s.state == nil { // the keyring names no log: what there is, is nobody's
		*d = diary{}
		return
	}
	rep, found := s.verify()
	require.Zero(s.t, rep.Faults, "%s: %+v", what, found)
	require.Equal(s.t, rep.Records, rep.Verified, what)
	var last uint64
	for _, r := range s.records() {
		if r.Event == EventWrap {
			require.Greater(s.t, r.Request.Generation, last, what)
			last = r.Request.Generation
		}
	}
	require.GreaterOrEqual(s.t, last, d.acked, "%s: records are lost", what)
	require.LessOrEqual(s.t, last, d.issued, what)
	d.found = last
}

// TestPowerCut cuts the power after random lives, in every way that a disk may be
// left; and some of these lives had a disk that failed, once or from some operation
// on, and went on with it.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	rounds := uint64(400)
	if testing.Short() {
		rounds = 100
	}
	styles := []crashfs.Style{
		crashfs.SyncedOnly, crashfs.AllKept, crashfs.Ordered, crashfs.Reordered, crashfs.Sectors, crashfs.Torn,
		crashfs.Lengths, crashfs.Names, crashfs.Zeros, crashfs.Garbage, crashfs.Random, crashfs.Mixed,
	}
	faults := []crashfs.Fault{crashfs.EIO, crashfs.ENOSPC, crashfs.ShortWrite, crashfs.FailedSyncPagesClean}
	struck := 0
	for seed := range rounds {
		rng := rand.New(rand.NewPCG(seed, 7))
		s := newTestStore(t)
		s.opts.FileSize = int64(2+rng.IntN(4)) << 10
		fs := crashDir(t)
		s.fs, s.dir = fs, "/store/audit"
		d := &diary{}
		for life := range 6 {
			what := fmt.Sprintf("seed %d, life %d", seed, life)
			before := fs.Faults()
			if rng.IntN(2) == 0 {
				fs.FailOp(fs.Ops()+rng.IntN(12), faults[rng.IntN(len(faults))], rng.IntN(2) == 0)
			}
			d.live(s, rng)
			fs.Heal()
			struck += fs.Faults() - before
			d.check(s, what)
			if rng.IntN(3) == 0 {
				style := styles[rng.IntN(len(styles))]
				fs = fs.Crash(rng, style)
				s.fs = fs
				if rng.IntN(3) == 0 { // and the store has another root key by then
					s.former, s.root = append(s.former, s.root), newTestRoot(fmt.Sprint(life))
				}
				// A reader sees what the next process will.
				l, err := s.tryOpen(false)
				require.NoError(t, err, "%s, %s", what, style)
				require.NoError(t, l.Close())
				d.check(s, what+", "+style.String())
				d.acked = d.found // what an opening has found may not be lost later
			}
		}
	}
	require.Greater(t, struck, int(rounds))
}
