//go:build unix

package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// The benchmarks compare a table with plain Pebble: the same options, caches
// of the same size, the same data, in the same process, in turns.
//
//	go test -run '^$' -bench Ratio ./engine              all, two to three minutes
//	go test -run '^$' -bench RatioScan -count 3 ./engine one of them, three times
//
// Each prints medians of its rounds. A round is a turn of either side, and
// rounds alternate in which one begins, so that a machine that is busy with
// something else is busy for both. An operation is a row.
//
//	ratio                 throughput, Cofre's over plain's: above 1 Cofre is faster
//	work-ratio            the same until the last write and flush have returned,
//	                      where ratio counts the compactions behind them too
//	cpu-ratio             process time, user and system, Cofre's over plain's:
//	                      below 1 Cofre is cheaper
//	cofre-ns/op           time that passes in Cofre's turns, plain-ns/op in plain's
//	cofre-cpu-ns/op       process time of Cofre's turns, plain-cpu-ns/op of plain's
//
// On a machine that others use cpu-ratio is the steadier one. A profile holds
// both sides; cofreSide and plainSide in its stacks tell them apart.
//
// What is read is compared with what was written, what is written is read back.

const (
	benchRows  = 200_000
	benchValue = 400 // bytes
	benchKey   = 20  // bytes
)

// benchData is what both sides store. Values are slices of a pool that
// compresses to about half: phrases that come again, among random ones.
type benchData struct {
	rows  int
	keys  []byte
	pool  []byte
	order []int // a permutation of the rows
}

func newBenchData(rows int) *benchData {
	rng := rand.New(rand.NewPCG(1, 2))
	d := &benchData{rows: rows, order: rng.Perm(rows)}
	for i := range rows {
		d.keys = fmt.Appendf(d.keys, "row/%0*d", benchKey-4, i)
	}
	phrase := func() []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, rng.Uint64()), rng.Uint64())
	}
	var known [16][]byte
	for i := range known {
		known[i] = phrase()
	}
	for len(d.pool) < 4<<20 {
		if rng.IntN(3) == 0 {
			d.pool = append(d.pool, phrase()...)
		} else {
			d.pool = append(d.pool, known[rng.IntN(len(known))]...)
		}
	}
	return d
}

func (d *benchData) key(i int) []byte { return d.keys[i*benchKey : (i+1)*benchKey] }

func (d *benchData) value(i int) []byte {
	at := i * 1_000_003 % (len(d.pool) - benchValue)
	return d.pool[at : at+benchValue]
}

// A side is one of the two that are compared.
type side interface {
	put(key, value []byte, sync bool) error
	appendGet(dst, key []byte) ([]byte, error)
	scan(visit func(key, value []byte)) error
	scanReverse(visit func(key, value []byte)) error
	scanFrom(key []byte, visit func(key, value []byte) bool) error
	flush() error
	compact() error
	reopen(b *testing.B) // with cold caches
	close() error
	pebble() *pebble.DB // what is below
	files() string      // the directory of Pebble's files
}

// cofreSide is a table in a store of its own.
type cofreSide struct {
	opts  Options
	store *Store
	*Table
}

func newCofreSide(b *testing.B, dir string, t tuning) side {
	c := &cofreSide{opts: Options{RootKey: newRoot(b), IdleTimeout: -1, tune: t}}
	var err error
	c.store, err = Open(context.Background(), dir, c.opts)
	require.NoError(b, err)
	c.Table, err = c.store.CreateTable(context.Background(), "bench.rows", TableOptions{})
	require.NoError(b, err)
	return c
}

var (
	syncWrite   = &WriteOptions{}
	noSyncWrite = &WriteOptions{NoSync: true}
)

func (c *cofreSide) put(key, value []byte, sync bool) error {
	if sync {
		return c.Put(key, value, syncWrite)
	}
	return c.Put(key, value, noSyncWrite)
}

func (c *cofreSide) appendGet(dst, key []byte) ([]byte, error) { return c.AppendGet(dst, key) }

func (c *cofreSide) scan(visit func(key, value []byte)) error {
	for e, err := range c.Scan(ScanOptions{}) {
		if err != nil {
			return err
		}
		visit(e.Key, e.Value)
	}
	return nil
}

func (c *cofreSide) scanReverse(visit func(key, value []byte)) error {
	for e, err := range c.Scan(ScanOptions{Reverse: true}) {
		if err != nil {
			return err
		}
		visit(e.Key, e.Value)
	}
	return nil
}

func (c *cofreSide) scanFrom(key []byte, visit func(key, value []byte) bool) error {
	for e, err := range c.Scan(ScanOptions{From: key}) {
		if err != nil {
			return err
		}
		if !visit(e.Key, e.Value) {
			break
		}
	}
	return nil
}

func (c *cofreSide) flush() error       { return c.Flush() }
func (c *cofreSide) compact() error     { return c.Compact(context.Background(), nil, nil) }
func (c *cofreSide) close() error       { return c.store.Close() }
func (c *cofreSide) pebble() *pebble.DB { return c.inst.Load().db }
func (c *cofreSide) files() string      { return c.dir }

func (c *cofreSide) reopen(b *testing.B) {
	require.NoError(b, c.close())
	var err error
	c.store, err = Open(context.Background(), c.store.dir, c.opts)
	require.NoError(b, err)
	c.Table, err = c.store.Table("bench.rows")
	require.NoError(b, err)
	_, err = c.Has([]byte("none"))
	require.NoError(b, err)
}

// plainSide is Pebble with a table's options.
type plainSide struct {
	dir  string
	tune tuning
	db   *pebble.DB
}

func newPlainSide(b *testing.B, dir string, t tuning) side {
	p := &plainSide{dir: dir, tune: t}
	p.open(b)
	return p
}

func (p *plainSide) open(b *testing.B) {
	o, err := PebbleOptions(Options{tune: p.tune}, TableOptions{})
	require.NoError(b, err)
	defer o.Cache.Unref()
	defer o.FileCache.Unref()
	p.db, err = pebble.Open(p.dir, o)
	require.NoError(b, err)
}

func (p *plainSide) put(key, value []byte, sync bool) error {
	if sync {
		return p.db.Set(key, value, pebble.Sync)
	}
	return p.db.Set(key, value, pebble.NoSync)
}

func (p *plainSide) appendGet(dst, key []byte) ([]byte, error) {
	v, c, err := p.db.Get(key)
	if err != nil {
		return dst, err
	}
	dst = append(dst, v...)
	return dst, c.Close()
}

func (p *plainSide) scan(visit func(key, value []byte)) error {
	it, err := p.db.NewIter(nil)
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		visit(it.Key(), v)
	}
	return errors.Join(it.Error(), it.Close())
}

func (p *plainSide) scanReverse(visit func(key, value []byte)) error {
	it, err := p.db.NewIter(nil)
	if err != nil {
		return err
	}
	for ok := it.Last(); ok; ok = it.Prev() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		visit(it.Key(), v)
	}
	return errors.Join(it.Error(), it.Close())
}

func (p *plainSide) scanFrom(key []byte, visit func(key, value []byte) bool) error {
	it, err := p.db.NewIter(&pebble.IterOptions{LowerBound: key})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !visit(it.Key(), v) {
			break
		}
	}
	return errors.Join(it.Error(), it.Close())
}

func (p *plainSide) flush() error { return p.db.Flush() }

func (p *plainSide) compact() error {
	return p.db.Compact(context.Background(), []byte{}, endOfKeys(), true)
}

func (p *plainSide) close() error       { return p.db.Close() }
func (p *plainSide) pebble() *pebble.DB { return p.db }
func (p *plainSide) files() string      { return p.dir }

func (p *plainSide) reopen(b *testing.B) {
	require.NoError(b, p.close())
	p.open(b)
}

// sides makes the sides, Cofre first.
var sides = [2]func(b *testing.B, dir string, t tuning) side{newCofreSide, newPlainSide}

func newSide(b *testing.B, s int, t tuning) side {
	return sides[s](b, filepath.Join(b.TempDir(), "db"), t)
}

// bothLoaded makes both sides and fills them: all rows in random order, then
// compacted, so that both have the same files.
func bothLoaded(b *testing.B, d *benchData) (both [2]side) {
	for s := range both {
		both[s] = newSide(b, s, tuning{})
		fill(b, both[s], d, d.order)
		require.NoError(b, both[s].compact())
		settle(both[s])
		b.Cleanup(func() { require.NoError(b, both[s].close()) })
	}
	return both
}

// fill writes rows unsynced and flushes.
func fill(b *testing.B, s side, d *benchData, rows []int) {
	for _, i := range rows {
		if err := s.put(d.key(i), d.value(i), false); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, s.flush())
}

// settle waits until no compaction runs. A granted one may take a moment to
// show: hence a few looks.
func settle(s side) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for quiet := 0; quiet < 5; quiet++ {
		<-tick.C
		if s.pebble().Metrics().Compact.NumInProgress > 0 {
			quiet = -1
		}
	}
}

// check compares everything that a side holds with what it should hold, by a
// scan.
func check(b *testing.B, s side, d *benchData) {
	n := 0
	require.NoError(b, s.scan(func(k, v []byte) {
		if n >= d.rows || !bytes.Equal(k, d.key(n)) || !bytes.Equal(v, d.value(n)) {
			b.Fatalf("%T: row %d is not what was written", s, n)
		}
		n++
	}))
	require.Equal(b, d.rows, n)
}

// A cost is what a turn took: time until its work had returned, and until what
// the work has left to the background was done too; process time of all.
type cost struct{ work, wall, cpu time.Duration }

func processTime(b *testing.B) time.Duration {
	var ru syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &ru))
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// measure runs work, and waits for the rest if there is any.
func measure(b *testing.B, work, rest func()) (c cost) {
	runtime.GC() // of what came before
	cpu, start := processTime(b), time.Now()
	work()
	c.work = time.Since(start)
	if c.wall = c.work; rest != nil {
		rest()
		c.wall = time.Since(start)
	}
	c.cpu = processTime(b) - cpu
	return c
}

// compare runs rounds of turns and reports their medians. A turn of side s
// does ops operations.
func compare(b *testing.B, rounds, ops int, turn func(s int) cost) {
	var costs [2][]cost
	for r := range rounds {
		for k := range 2 {
			s := (r + k) % 2
			costs[s] = append(costs[s], turn(s))
		}
	}
	for s, name := range []string{"cofre", "plain"} {
		report := func(unit string, of func(cost) time.Duration) {
			b.ReportMetric(median(rounds, func(r int) float64 { return float64(of(costs[s][r])) })/float64(ops), name+unit)
		}
		report("-ns/op", func(c cost) time.Duration { return c.wall })
		report("-cpu-ns/op", func(c cost) time.Duration { return c.cpu })
	}
	ratio := func(unit string, of func(c, p cost) float64) {
		b.ReportMetric(median(rounds, func(r int) float64 { return of(costs[0][r], costs[1][r]) }), unit)
	}
	ratio("ratio", func(c, p cost) float64 { return float64(p.wall) / float64(c.wall) })
	ratio("cpu-ratio", func(c, p cost) float64 { return float64(c.cpu) / float64(p.cpu) })
	if c := costs[0][0]; c.work != c.wall {
		ratio("work-ratio", func(c, p cost) float64 { return float64(p.work) / float64(c.work) })
	}
	b.ReportMetric(0, "ns/op")
}

func median(n int, of func(i int) float64) float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = of(i)
	}
	slices.Sort(v)
	return (v[n/2] + v[(n-1)/2]) / 2
}

// benchFill times the writing, the last flush, and the compactions that both
// set off, to their end: how much of them falls behind the flush is chance.
func benchFill(b *testing.B, d *benchData, rows []int) {
	compare(b, 7, d.rows, func(s int) cost {
		x := newSide(b, s, tuning{})
		c := measure(b, func() { fill(b, x, d, rows) }, func() { settle(x) })
		check(b, x, d)
		discardSide(b, x)
		return c
	})
}

// discardSide closes a side and frees its space.
func discardSide(b *testing.B, s side) {
	require.NoError(b, s.close())
	require.NoError(b, os.RemoveAll(s.files()))
}

func BenchmarkRatioFillRandom(b *testing.B) {
	d := newBenchData(benchRows)
	benchFill(b, d, d.order)
}

func BenchmarkRatioFillSequential(b *testing.B) {
	d := newBenchData(benchRows)
	rows := slices.Clone(d.order)
	slices.Sort(rows)
	benchFill(b, d, rows)
}

// BenchmarkRatioCompaction merges six sorted runs that overlap, all of level 0.
func BenchmarkRatioCompaction(b *testing.B) {
	d := newBenchData(benchRows)
	compare(b, 7, d.rows, func(s int) cost {
		x := newSide(b, s, tuning{noCompactions: true})
		for part := range slices.Chunk(d.order, d.rows/6+1) {
			fill(b, x, d, part)
		}
		c := measure(b, func() { require.NoError(b, x.compact()) }, nil)
		check(b, x, d)
		discardSide(b, x)
		return c
	})
}

// BenchmarkRatioScanCold reads all rows in order; only the operating system
// has the files in memory.
func BenchmarkRatioScanCold(b *testing.B) {
	d := newBenchData(benchRows)
	both := bothLoaded(b, d)
	compare(b, 15, d.rows, func(s int) cost {
		both[s].reopen(b)
		return measure(b, func() { check(b, both[s], d) }, nil)
	})
}

// BenchmarkRatioScanColdReverse reads all rows from the last to the first.
func BenchmarkRatioScanColdReverse(b *testing.B) {
	d := newBenchData(benchRows)
	both := bothLoaded(b, d)
	compare(b, 15, d.rows, func(s int) cost {
		both[s].reopen(b)
		return measure(b, func() {
			i := d.rows
			require.NoError(b, both[s].scanReverse(func(k, v []byte) {
				if i--; i < 0 || !bytes.Equal(k, d.key(i)) || !bytes.Equal(v, d.value(i)) {
					b.Fatalf("%T: row %d is not what was written", both[s], i)
				}
			}))
			require.Zero(b, i)
		}, nil)
	})
}

// reads reads rows and compares each with what was written.
func reads(b *testing.B, x side, d *benchData, rows []int) {
	buf := make([]byte, 0, benchValue)
	for _, i := range rows {
		v, err := x.appendGet(buf, d.key(i))
		if err != nil {
			b.Fatal(err)
		}
		if !bytes.Equal(v, d.value(i)) {
			b.Fatalf("%T: row %d is not what was written", x, i)
		}
	}
}

// BenchmarkRatioReadWarm reads rows whose blocks are in the block cache. Turns
// are short and many.
func BenchmarkRatioReadWarm(b *testing.B) {
	d := newBenchData(benchRows / 2)
	both := bothLoaded(b, d)
	for _, x := range both {
		check(b, x, d)
	}
	const each = 5000
	turns := 0
	compare(b, 101, each, func(s int) cost {
		at := turns / 2 * each % d.rows
		turns++
		return measure(b, func() { reads(b, both[s], d, d.order[at:at+each]) }, nil)
	})
}

// benchShortScan reads rows in order, so many from each of many places; their
// blocks are in the block cache. The loop ends a scan, no limit does. With copied,
// plain Pebble's side copies each row too, as a table's scan does: what is left is
// the price of the rest.
func benchShortScan(b *testing.B, n int, copied bool) {
	d := newBenchData(benchRows / 2)
	both := bothLoaded(b, d)
	for _, x := range both {
		check(b, x, d)
	}
	const each = 400
	turns := 0
	var row []byte
	compare(b, 101, each*n, func(s int) cost {
		at := turns / 2 * each % (d.rows - n)
		turns++
		return measure(b, func() {
			for _, i := range d.order[at : at+each] {
				i, left := min(i, d.rows-n), n
				err := both[s].scanFrom(d.key(i), func(k, v []byte) bool {
					if _, plain := both[s].(*plainSide); plain && copied {
						row = append(append(row[:0], k...), v...)
						k, v = row[:len(k)], row[len(k):]
					}
					if !bytes.Equal(k, d.key(i)) || !bytes.Equal(v, d.value(i)) {
						b.Fatalf("%T: row %d is not what was written", both[s], i)
					}
					i++
					left--
					return left > 0
				})
				if err != nil || left > 0 {
					b.Fatal(err, left)
				}
			}
		}, nil)
	})
}

func BenchmarkRatioScan10(b *testing.B)     { benchShortScan(b, 10, false) }
func BenchmarkRatioScan50(b *testing.B)     { benchShortScan(b, 50, false) }
func BenchmarkRatioScanCopy10(b *testing.B) { benchShortScan(b, 10, true) }
func BenchmarkRatioScanCopy50(b *testing.B) { benchShortScan(b, 50, true) }

// BenchmarkRatioReadCold reads rows of which hardly two share a block, from an
// empty block cache: nearly every read is one of a file. Blocks are of 4 KiB.
func BenchmarkRatioReadCold(b *testing.B) {
	d := newBenchData(benchRows)
	both := bothLoaded(b, d)
	var rows []int
	for _, i := range d.order {
		if i%11 == 0 {
			rows = append(rows, i)
		}
	}
	compare(b, 31, len(rows), func(s int) cost {
		x := both[s]
		x.reopen(b)
		c := measure(b, func() { reads(b, x, d, rows) }, nil)
		require.Greater(b, x.pebble().Metrics().BlockCache.Misses, int64(len(rows))*9/10, "%T: reads hit the cache", x)
		return c
	})
}

// benchSynced writes rows durably, one by one, by several writers. Rounds are
// short and many: a disk has moods.
func benchSynced(b *testing.B, writers int) {
	const rounds, each = 81, 30
	d := newBenchData(writers * each)
	var both [2]side
	for s := range both {
		both[s] = newSide(b, s, tuning{})
		b.Cleanup(func() { require.NoError(b, both[s].close()) })
	}
	compare(b, rounds, d.rows, func(s int) cost {
		return measure(b, func() {
			var wg sync.WaitGroup
			for part := range slices.Chunk(d.order, each) {
				wg.Go(func() {
					for _, i := range part {
						if err := both[s].put(d.key(i), d.value(i), true); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
		}, nil)
	})
	for _, x := range both {
		x.reopen(b)
		check(b, x, d)
	}
}

func BenchmarkRatioSynced1(b *testing.B) { benchSynced(b, 1) }
func BenchmarkRatioSynced8(b *testing.B) { benchSynced(b, 8) }

// benchSyncedArchiving writes rows durably to a table that is archived, whose
// segments somebody takes every second, and to one that is not: what it costs to
// archive. Here the archived table is the side that is called cofre, the other the
// one that is called plain. Before, both have turned over more logs than Pebble
// keeps to use again, which are faster to sync than new ones.
func benchSyncedArchiving(b *testing.B, writers int) {
	const rounds, each, warm = 81, 60, 9 * 32 << 20
	d := newBenchData(writers * each)
	var both [2]*cofreSide
	for s := range both {
		both[s] = newCofreSide(b, filepath.Join(b.TempDir(), "db"), tuning{}).(*cofreSide)
		b.Cleanup(func() { require.NoError(b, both[s].close()) })
	}
	require.NoError(b, both[0].SetArchiving(b.Context(), true))
	buf, at := make([]byte, 1<<20), make(map[keyring.ID]int64)
	for i := 0; i*benchValue < warm; i++ {
		if i%10_000 == 0 {
			require.NoError(b, takeArchive(both[0].Table, buf, at))
		}
		for _, x := range both {
			require.NoError(b, x.put(fmt.Appendf(nil, "warm/%08d", i), d.value(i), false))
		}
	}
	for _, x := range both {
		settle(x)
	}
	shipped := make(chan struct{})
	ctx, stop := context.WithCancel(b.Context())
	go func() {
		defer close(shipped)
		for wait(ctx, time.Second) {
			if err := takeArchive(both[0].Table, buf, at); err != nil {
				b.Error(err)
			}
		}
	}()
	compare(b, rounds, d.rows, func(s int) cost {
		return measure(b, func() {
			var wg sync.WaitGroup
			for part := range slices.Chunk(d.order, each) {
				wg.Go(func() {
					for _, i := range part {
						if err := both[s].put(d.key(i), d.value(i), true); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
		}, nil)
	})
	stop()
	<-shipped
}

// takeArchive reads what is new of a table's segments, and says that it is safe.
func takeArchive(t *Table, buf []byte, at map[keyring.ID]int64) error {
	if err := t.SyncLog(context.Background()); err != nil {
		return err
	}
	list, err := t.ArchiveSegments(context.Background())
	if err != nil {
		return err
	}
	for _, s := range list {
		r, err := t.OpenSegment(s)
		if err != nil {
			return err
		}
		for at[s.FileID] < s.Length {
			n, err := r.ReadAt(buf, at[s.FileID])
			if at[s.FileID] += int64(n); n == 0 {
				return errors.Join(err, r.Close())
			}
		}
		if err := r.Close(); err != nil {
			return err
		}
		if s.Closed {
			if err := t.ArchiveDone(s); err != nil {
				return err
			}
		}
	}
	return nil
}

func BenchmarkRatioSyncedArchiving1(b *testing.B) { benchSyncedArchiving(b, 1) }
func BenchmarkRatioSyncedArchiving8(b *testing.B) { benchSyncedArchiving(b, 8) }

// BenchmarkRatioSpace compares the bytes of Pebble's files after a compaction;
// ratio is Cofre's over plain's here, table-ratio that of sorted tables alone.
// Logs are left out, as plain Pebble keeps old ones to recycle; and so are a
// store's keyring and ballast, which are a constant.
func BenchmarkRatioSpace(b *testing.B) {
	d := newBenchData(benchRows)
	var all, tables [2]float64
	for s := range all {
		x := newSide(b, s, tuning{})
		fill(b, x, d, d.order)
		require.NoError(b, x.compact())
		settle(x)
		check(b, x, d)
		require.NoError(b, x.close()) // and wait until obsolete files are gone
		require.NoError(b, filepath.WalkDir(x.files(), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || filepath.Ext(path) == ".log" {
				return err
			}
			fi, err := e.Info()
			if err != nil {
				return err
			}
			all[s] += float64(fi.Size())
			if filepath.Ext(path) == ".sst" {
				tables[s] += float64(fi.Size())
			}
			return nil
		}))
	}
	b.ReportMetric(all[0]/float64(d.rows), "cofre-B/op")
	b.ReportMetric(all[1]/float64(d.rows), "plain-B/op")
	b.ReportMetric(all[0]/all[1], "ratio")
	b.ReportMetric(tables[0]/tables[1], "table-ratio")
	b.ReportMetric(0, "ns/op")
}
