package sealfs

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/metamorphic"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// metaDir is where the suite has its database.
const metaDir = "data"

// sealed puts the sealing FS below a run of Pebble's metamorphic suite. The
// suite opens it at the start, and again after each crash that it makes.
type sealed struct {
	t     *testing.T
	table *table
	last  *FS

	opens    int
	recycled atomic.Int32
}

// recycling counts the logs that are recycled.
type recycling struct {
	*FS
	n *atomic.Int32
}

func (r recycling) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	r.n.Add(1)
	return r.FS.ReuseForWrite(oldname, newname, c)
}

func (s *sealed) Name() string                { return "sealed" }
func (s *sealed) Value() string               { return fmt.Sprint(s.table.cfg.UnitSize) }
func (s *sealed) Close(*pebble.Options) error { return nil }

func (s *sealed) Open(o *pebble.Options) error {
	base := vfs.Root(o.FS)
	fs := s.table.over(base)
	fs.parse = parseWide
	if s.last != nil {
		// No MANIFEST names the suite's own files: those go on being known.
		for path, d := range s.last.dirs {
			if p := filepath.Base(path); p == "tmp" || p == "external" {
				fs.dirs[path] = d
			}
		}
	}
	s.last = fs
	s.opens++
	o.FS = recycling{fs, &s.recycled}
	names, err := base.List(metaDir)
	if err != nil {
		return nil // not made yet
	}
	for _, n := range names {
		if strings.HasPrefix(n, "marker.manifest.") {
			return fs.Preflight(metaDir, nil, false)
		}
	}
	return nil
}

// parseWide knows the names that the suite gives to tables to be ingested.
func parseWide(base string) fileName {
	fn := parseName(base)
	if fn.class == classUnknown && strings.HasPrefix(base, "ext") && base != "external" {
		h := fnv.New64a()
		io.WriteString(h, base)
		return fileName{classTable, keyring.KindSSTable, h.Sum64()}
	}
	return fn
}

// TestMetamorphic runs Pebble's metamorphic suite over the sealing FS, with
// crashes, in units of several sizes, and over plain files: all must come to
// the same. Each seed is run in a process of its own, since the suite ends it
// where it finds a fault. COFRE_META_SEEDS is how many seeds are run,
// COFRE_META_SEED the first of them.
func TestMetamorphic(t *testing.T) {
	if seed := os.Getenv("COFRE_META_CHILD"); seed != "" {
		n, err := strconv.ParseUint(seed, 10, 64)
		require.NoError(t, err)
		metamorphicRound(t, n)
		return
	}
	t.Parallel()
	seeds, first := 2, uint64(time.Now().UnixNano())
	if testing.Short() {
		seeds = 1
	}
	if s := os.Getenv("COFRE_META_SEEDS"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		seeds = n
	}
	if s := os.Getenv("COFRE_META_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		first = n
	}
	for i := range seeds {
		seed := fmt.Sprint(first + uint64(i))
		cmd := exec.Command(os.Args[0], "-test.run=^TestMetamorphic$", "-test.v")
		cmd.Env = append(os.Environ(), "COFRE_META_CHILD="+seed)
		cmd.Dir = t.TempDir()
		out, err := cmd.CombinedOutput()
		if err != nil {
			if len(out) > 16<<10 {
				out = append(append(out[:8<<10:8<<10], "\n…\n"...), out[len(out)-8<<10:]...)
			}
			t.Fatalf("seed %s (COFRE_META_CHILD=%s): %v\n%s", seed, seed, err, out)
		}
		for _, line := range strings.Split(string(out), "\n") {
			if _, what, ok := strings.Cut(line, "round: "); ok {
				t.Log(what)
			}
		}
	}
}

// metamorphicOps is how many operations a round has.
const metamorphicOps = 3000

func metamorphicRound(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	ops := metamorphic.GenerateOps(rng, metamorphicOps, metamorphic.TestkeysKeyFormat, metamorphic.DefaultOpConfig())
	var histories []string
	opens, recycled := 0, int32(0)
	for run, unit := range []uint32{0, 64, 256, 2048} { // 0: plain files, the oracle
		to := metamorphic.RandomOptions(rng, metamorphic.TestkeysKeyFormat, metamorphic.RandomOptionsCfg{
			AlwaysStrictFS: true, NoRemoteStorage: true, NoWALFailover: true,
		})
		to.Opts.Cleaner = pebble.DeleteCleaner{} // else no log would be recycled
		to.Opts.WALDir = ""                      // a table's files are in one directory
		// A table that only a log names is in no MANIFEST, so the file map does
		// not know it after a crash. Cofre ingests nothing.
		to.Opts.Experimental.DisableIngestAsFlushable = func() bool { return true }
		opt := &sealed{t: t}
		if unit != 0 {
			opt.table = newTable(t, unit)
			to.CustomOpts = append(to.CustomOpts, opt)
		}
		path := filepath.Join(t.TempDir(), fmt.Sprintf("run%d", run))
		h, err := os.Create(path)
		require.NoError(t, err)
		m, err := metamorphic.New(ops, to, metaDir, h)
		require.NoError(t, err, "seed %d, unit %d", seed, unit)
		require.NoError(t, metamorphic.Execute(m), "seed %d, unit %d", seed, unit)
		require.NoError(t, h.Close())
		histories = append(histories, path)
		opens, recycled = opens+opt.opens, recycled+opt.recycled.Load()
		if unit != 0 {
			verifyAll(t, opt.last, metaDir)
		}
	}
	i, diff := metamorphic.CompareHistories(t, histories)
	require.Empty(t, diff, "seed %d: run %d", seed, i)
	t.Logf("round: seed %d, %d operations, %d opens, %d logs recycled", seed, metamorphicOps, opens, recycled)
}

// verifyAll opens every byte of a database that was closed.
func verifyAll(t *testing.T, fs *FS, dir string) {
	again := New(fs.cfg)
	require.NoError(t, again.Preflight(dir, nil, true))
	names, err := fs.cfg.Base.List(dir)
	require.NoError(t, err)
	for _, n := range names {
		again.VerifyFile(fs.PathJoin(dir, n), func(err error) { t.Errorf("%s: %v", n, err) })
	}
}
