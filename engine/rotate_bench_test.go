//go:build unix

package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

// BenchmarkBesideRotation tells what two clients that read and write all the time
// notice of a rotation. An operation is a rotation, and a pause of 150 ms; the clients
// keep two cores busy.
//
//	go test ./engine -run '^$' -bench BesideRotation -benchtime 50x
//
//	beside-ratio   the 99th percentile of operations that a rotation ran beside, over
//	               that of those between
//	event-ms       how long one takes
//
// For comparison "nothing" waits in place of a rotation, and "syncs" writes ten files
// of 1 KiB and syncs each, as any program may.
func BenchmarkBesideRotation(b *testing.B) {
	ctx := b.Context()
	dir := b.TempDir()
	service, err := local.Open(filepath.Join(dir, "keys.cofre"), local.Options{})
	require.NoError(b, err)
	var roots []keyring.RootKey
	for _, name := range []string{"one", "other"} {
		k, _, err := service.Ensure(ctx, name)
		require.NoError(b, err)
		roots = append(roots, k)
	}
	s, err := Open(ctx, filepath.Join(dir, "store"), Options{RootKey: roots[0], Roots: roots[1:]})
	require.NoError(b, err)
	defer func() { require.NoError(b, s.Close()) }()
	tab, err := s.CreateTable(ctx, "bench.rows", TableOptions{})
	require.NoError(b, err)
	d := newBenchData(benchRows)
	for i := range d.rows {
		require.NoError(b, tab.Put(d.key(i), d.value(i), &WriteOptions{NoSync: true}))
	}
	require.NoError(b, tab.Compact(ctx, nil, nil))

	turn := 0
	for _, e := range []struct {
		name string
		do   func() error
	}{
		{"nothing", func() error { time.Sleep(30 * time.Millisecond); return nil }},
		{"syncs", func() error {
			for i := range 10 {
				if err := writeSynced(filepath.Join(dir, fmt.Sprint(i)), make([]byte, 1<<10)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"root", func() error { turn++; return tab.RotateRoot(ctx, roots[turn%2]) }},
		{"table", func() error { return tab.RotateKey(ctx) }},
	} {
		b.Run(e.name, func(b *testing.B) { benchBeside(b, tab, d, e.do) })
	}
}

func writeSynced(name string, data []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

func benchBeside(b *testing.B, tab *Table, d *benchData, event func() error) {
	ctx, stop := context.WithCancel(b.Context())
	var moment atomic.Uint64 // odd while an event runs
	var took [2][2][]time.Duration
	var clients sync.WaitGroup
	for c := range took {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(c), 1))
			keys := rand.NewZipf(rng, 1.05, 10, uint64(d.rows-1))
			var buf []byte
			last, from := time.Now(), moment.Load()
			for n := 0; ctx.Err() == nil; n++ {
				i := int(keys.Uint64())
				var err error
				if n%2 == 0 {
					buf, err = tab.AppendGet(buf[:0], d.key(i))
				} else {
					err = tab.Put(d.key(i), d.value(i), &WriteOptions{NoSync: true})
				}
				if err != nil {
					b.Error(err)
					return
				}
				now, to := time.Now(), moment.Load()
				beside := 0
				if from != to || to%2 == 1 {
					beside = 1
				}
				took[c][beside] = append(took[c][beside], now.Sub(last))
				last, from = time.Now(), to
			}
		})
	}
	var sum time.Duration
	for b.Loop() {
		time.Sleep(150 * time.Millisecond)
		began := time.Now()
		moment.Add(1)
		err := event()
		moment.Add(1)
		sum += time.Since(began)
		require.NoError(b, err)
	}
	stop()
	clients.Wait()
	p99 := func(beside int) float64 {
		all := slices.Concat(took[0][beside], took[1][beside])
		slices.Sort(all)
		return float64(all[len(all)*99/100])
	}
	b.ReportMetric(p99(1)/p99(0), "beside-ratio")
	b.ReportMetric(p99(0)/1e3, "between-p99-µs")
	b.ReportMetric(float64(sum.Milliseconds())/float64(b.N), "event-ms")
	b.ReportMetric(0, "ns/op")
}
