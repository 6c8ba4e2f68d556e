//go:build unix

package backup

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage/dir"
	"github.com/cofredb/cofre/engine"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// The benchmarks compare a backup and a restore, by way of a directory, with a copy of
// the same files, and writes beside which a backup or an archiver works with writes
// beside which nothing does.
//
//	go test -run '^$' -bench . -timeout 30m ./backup              all, about five minutes
//	go test -run '^$' -bench RatioCreate ./backup -bench.mib 2048 one, of 2 GiB
//
// Each prints medians of its rounds. A round is a turn of either side, and rounds
// alternate in which one begins, so that a machine that is busy with something else is
// busy for both. A copy is
//
//	cp -r FROM TO && sync -f TO
//
//	ratio                     throughput, the backup's over the copy's, or of writes, with
//	                          something beside them over without: above 1 is faster
//	backup-MB/s, copy-MB/s    of the files' ciphertext
//	written/new               bytes by which the repository grows over those of files that
//	                          the table did not have before
//
// They take three times -bench.mib in the directory for temporary files.
var benchMiB = flag.Int("bench.mib", 512, "size of the table that benchmarks back up, in MiB")

const (
	benchRounds = 5
	benchRow    = 1 << 10 // bytes
)

// median is the one in the middle, or the lower of the two.
func median(xs []float64) float64 {
	xs = slices.Clone(xs)
	slices.Sort(xs)
	return xs[(len(xs)-1)/2]
}

// compare runs rounds of two sides. It reports the median of how much longer the second
// side takes than the first, and returns the medians of both, in seconds.
func compare(b *testing.B, rounds int, sides [2]func() time.Duration) (first, second float64) {
	b.Helper()
	var ratios []float64
	var took [2][]float64
	for b.Loop() {
		for n := range rounds {
			var now [2]float64
			for i := range sides {
				s := (n + i) % 2
				now[s] = sides[s]().Seconds()
				took[s] = append(took[s], now[s])
			}
			ratios = append(ratios, now[1]/now[0])
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ratios), "ratio")
	return median(took[0]), median(took[1])
}

// A bench is a store with a table, in a directory of its own.
type bench struct {
	dir   string
	root  keyring.RootKey
	store *engine.Store
	table *engine.Table
}

// newBench makes a table of so many MiB.
func newBench(b *testing.B, mib int) *bench {
	b.Helper()
	w := &bench{dir: b.TempDir()}
	service, err := local.Open(filepath.Join(w.dir, "keys"), local.Options{})
	require.NoError(b, err)
	w.root, _, err = service.Ensure(b.Context(), "bench")
	require.NoError(b, err)
	w.store = w.open(b, "store")
	w.table, err = w.store.CreateTable(b.Context(), "bench.rows", engine.TableOptions{})
	require.NoError(b, err)
	w.fill(b, 1, 0, mib<<20/benchRow)
	require.NoError(b, w.table.Compact(b.Context(), nil, nil))
	return w
}

// open opens a store, or makes it.
func (w *bench) open(b *testing.B, name string) *engine.Store {
	b.Helper()
	s, err := engine.Open(b.Context(), filepath.Join(w.dir, name), engine.Options{RootKey: w.root, IdleTimeout: -1})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s
}

// fill puts rows, and flushes them.
func (w *bench) fill(b *testing.B, seed byte, from, to int) {
	b.Helper()
	values := newValues(seed)
	batch := w.table.NewBatch()
	for i := from; i < to; i++ {
		require.NoError(b, batch.Put(benchKey(i), values()))
		if batch.Size() > 1<<20 || i == to-1 {
			require.NoError(b, batch.Commit(&engine.WriteOptions{NoSync: true}))
		}
	}
	require.NoError(b, batch.Close())
	require.NoError(b, w.table.Flush())
}

func benchKey(i int) []byte { return fmt.Appendf(nil, "row/%012d", i) }

// newValues gives values that do not compress, each until the next.
func newValues(seed byte) func() []byte {
	src, value := rand.NewChaCha8([32]byte{seed}), make([]byte, benchRow)
	return func() []byte {
		_, _ = src.Read(value) // never fails
		return value
	}
}

// hold has the table's files stay as they are, and tells where.
func (w *bench) hold(b *testing.B) (path string, size int64) {
	b.Helper()
	h, err := w.table.Hold(b.Context())
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, h.Close()) })
	for _, f := range h.Files {
		size += f.Size
	}
	dirs, err := filepath.Glob(filepath.Join(w.dir, "store", "tables", "*", "snapshots", "*"))
	require.NoError(b, err)
	require.Len(b, dirs, 1)
	return dirs[0], size
}

// A fileLen tells files apart; one goes on under its id only if it grows.
type fileLen struct {
	id   keyring.ID
	size int64
}

// files are those that a hold has now.
func (w *bench) files(b *testing.B) map[fileLen]bool {
	b.Helper()
	h, err := w.table.Hold(b.Context())
	require.NoError(b, err)
	m := make(map[fileLen]bool)
	for _, f := range h.Files {
		m[fileLen{f.FileID, f.Size}] = true
	}
	require.NoError(b, h.Close())
	return m
}

// settle waits until no compaction has run for a while.
func (w *bench) settle(b *testing.B) {
	b.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for quiet := 0; quiet < 10; <-tick.C {
		m, err := w.table.Metrics()
		require.NoError(b, err)
		if quiet++; m.CompactionsRunning > 0 {
			quiet = 0
		}
	}
}

// repository makes a repository.
func (w *bench) repository(b *testing.B, name string) *Repository {
	b.Helper()
	st, err := dir.Open(filepath.Join(w.dir, name), dir.Options{Create: true})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	r, err := Open(b.Context(), st, Options{Create: true})
	require.NoError(b, err)
	return r
}

// space is how long the files below a directory are.
func (w *bench) space(b *testing.B, name string) (n int64) {
	b.Helper()
	require.NoError(b, filepath.WalkDir(filepath.Join(w.dir, name), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var fi fs.FileInfo
			if fi, err = d.Info(); err == nil {
				n += fi.Size()
			}
		}
		return err
	}))
	return n
}

// copy copies a directory: what a backup is compared with.
func (w *bench) copy(b *testing.B, from string) time.Duration {
	b.Helper()
	to := filepath.Join(w.dir, "copy")
	start := time.Now()
	run(b, "cp", "-r", from, to)
	run(b, "sync", "-f", to)
	took := time.Since(start)
	w.remove(b, "copy")
	return took
}

// remove takes a directory away, and waits until the disk is done with it: the next turn
// is not to pay for it.
func (w *bench) remove(b *testing.B, name string) {
	b.Helper()
	require.NoError(b, os.RemoveAll(filepath.Join(w.dir, name)))
	run(b, "sync", "-f", w.dir)
}

func run(b *testing.B, name string, args ...string) {
	b.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(b, err, "%s", out)
}

// reportRates reports what compare has returned of a backup and a copy.
func reportRates(b *testing.B, size int64, ours, copied float64) {
	b.ReportMetric(float64(size)/1e6/ours, "backup-MB/s")
	b.ReportMetric(float64(size)/1e6/copied, "copy-MB/s")
}

// BenchmarkRatioCreate makes the first backup of a table.
func BenchmarkRatioCreate(b *testing.B) {
	w := newBench(b, *benchMiB)
	from, size := w.hold(b)
	ours, copied := compare(b, benchRounds, [2]func() time.Duration{
		func() time.Duration {
			r := w.repository(b, "repository")
			start := time.Now()
			_, err := r.Create(b.Context(), w.store, CreateOptions{})
			took := time.Since(start)
			require.NoError(b, err)
			require.GreaterOrEqual(b, w.space(b, "repository"), size)
			w.remove(b, "repository")
			return took
		},
		func() time.Duration { return w.copy(b, from) },
	})
	reportRates(b, size, ours, copied)
}

// BenchmarkRatioRestore restores a table into a store that is empty.
func BenchmarkRatioRestore(b *testing.B) {
	w := newBench(b, *benchMiB)
	r := w.repository(b, "repository")
	_, err := r.Create(b.Context(), w.store, CreateOptions{})
	require.NoError(b, err)
	from, size := w.hold(b)
	ours, copied := compare(b, benchRounds, [2]func() time.Duration{
		func() time.Duration {
			s := w.open(b, "restored")
			start := time.Now()
			_, err := r.Restore(b.Context(), s, RestoreOptions{Roots: []keyring.RootKey{w.root}})
			took := time.Since(start)
			require.NoError(b, err)
			require.NoError(b, s.Close())
			w.remove(b, "restored")
			return took
		},
		func() time.Duration { return w.copy(b, from) },
	})
	reportRates(b, size, ours, copied)
}

// BenchmarkIncremental changes a hundredth of the rows, in one place, again and again,
// and makes a backup each time.
func BenchmarkIncremental(b *testing.B) {
	w := newBench(b, *benchMiB)
	r := w.repository(b, "repository")
	_, err := r.Create(b.Context(), w.store, CreateOptions{})
	require.NoError(b, err)
	total := *benchMiB << 20 / benchRow
	known := w.files(b)
	var ratios, seconds, sent []float64
	for b.Loop() {
		for n := range benchRounds {
			from := total * (2*n + 1) / (2*benchRounds + 1)
			w.fill(b, byte(2+n), from, from+total/100)
			w.settle(b)
			fresh, now := int64(0), w.files(b)
			for f := range now {
				if !known[f] {
					fresh += f.size
				}
			}
			known = now
			before, start := w.space(b, "repository"), time.Now()
			rep, err := r.Create(b.Context(), w.store, CreateOptions{})
			seconds = append(seconds, time.Since(start).Seconds())
			require.NoError(b, err)
			sent = append(sent, float64(rep.Sent)/1e6)
			ratios = append(ratios, float64(w.space(b, "repository")-before)/float64(fresh))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ratios), "written/new")
	b.ReportMetric(median(sent), "sent-MB")
	b.ReportMetric(median(seconds), "s/backup")
}

// benchBeside writes rows while a backup at default limits runs, and while none does. It
// measures behind the first half second, in which a backup notices that it is not alone.
func benchBeside(b *testing.B, rounds, writes int, o *engine.WriteOptions) {
	w := newBench(b, *benchMiB)
	values := newValues(2)
	write := func() time.Duration {
		put := func(i int) {
			require.NoError(b, w.table.Put(benchKey(i*7919%(*benchMiB<<20/benchRow)), values(), o))
		}
		start := time.Now()
		for i := 0; time.Since(start) < time.Second/2; i++ {
			put(i)
		}
		start = time.Now()
		for i := range writes {
			put(i)
		}
		return time.Since(start)
	}
	compare(b, rounds, [2]func() time.Duration{
		func() time.Duration {
			defer w.remove(b, "repository")
			r := w.repository(b, "repository")
			ctx, stop := context.WithCancel(b.Context())
			began, ended := make(chan struct{}), make(chan error, 1)
			var once sync.Once
			go func() {
				_, err := r.Create(ctx, w.store, CreateOptions{Progress: func(p Progress) {
					if p.Moved > 0 {
						once.Do(func() { close(began) })
					}
				}})
				ended <- err
			}()
			<-began
			took := write()
			select {
			case err := <-ended:
				require.NoError(b, err)
				require.Fail(b, "the backup has ended before the writes: they need a larger -bench.mib")
			default:
			}
			stop()
			require.ErrorIs(b, <-ended, context.Canceled)
			w.settle(b)
			return took
		},
		func() time.Duration {
			took := write()
			w.settle(b)
			return took
		},
	})
}

func BenchmarkRatioBesideBackupSynced(b *testing.B) {
	benchBeside(b, 11, 4000, &engine.WriteOptions{})
}

func BenchmarkRatioBesideBackup(b *testing.B) {
	benchBeside(b, 11, 100_000, &engine.WriteOptions{NoSync: true})
}

// BenchmarkRatioArchive writes rows durably to a table whose logs an archiver sends to a
// directory every second, and to one that is not archived.
func BenchmarkRatioArchive(b *testing.B) {
	const rounds, writes, warm = 81, 500, 9 * 32 // logs that Pebble uses again are faster to sync
	var both [2]*bench
	for s := range both {
		both[s] = newBench(b, warm)
	}
	require.NoError(b, both[0].table.SetArchiving(b.Context(), true))
	r := both[0].repository(b, "repository")
	_, err := r.Create(b.Context(), both[0].store, CreateOptions{})
	require.NoError(b, err)
	a := r.Archiver(ArchiveOptions{Every: time.Second})
	for i := range 4 { // what is archived is used again later
		for _, w := range both {
			w.fill(b, byte(2+i), 0, 64<<20/benchRow)
		}
		_, err := a.Ship(b.Context(), both[0].store)
		require.NoError(b, err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, both[0].store) }()
	values := newValues(9)
	turn := func(s int) func() time.Duration {
		return func() time.Duration {
			start := time.Now()
			for i := range writes {
				require.NoError(b, both[s].table.Put(benchKey(i), values(), &engine.WriteOptions{}))
			}
			return time.Since(start)
		}
	}
	compare(b, rounds, [2]func() time.Duration{turn(0), turn(1)})
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		require.NoError(b, err)
	}
}
