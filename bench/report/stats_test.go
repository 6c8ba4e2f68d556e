package report

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// tiny is a report with one workload: rates of each system by round. A rate of
// zero is a round that did nothing, a negative one is a round that is missing.
func tiny(rates map[string][]float64) *Report {
	r := &Report{Format: Format, Baseline: "pebble", Settings: Settings{Value: "400", Rounds: 5}}
	for _, s := range stores {
		list, ok := rates[s.Name]
		if !ok {
			continue
		}
		r.Systems = append(r.Systems, s.System)
		x := Result{Workload: "fillrandom", Value: "400", Class: "write", System: s.Name}
		for i, v := range list {
			if v >= 0 {
				x.Rounds = append(x.Rounds, Round{Number: i + 1, Ops: int64(v * 10), Seconds: 10, CPU: 5, UserBytes: 1000, DiskWritten: 2500, Space: 100, PeakMemory: 50})
			}
		}
		r.Results = append(r.Results, x)
	}
	return r
}

// same compares figures that went through floating point.
func same(t *testing.T, want, got Stat) {
	t.Helper()
	require.Equal(t, want.N, got.N)
	for _, x := range [][2]float64{{want.Median, got.Median}, {want.Low, got.Low}, {want.High, got.High}, {want.Q1, got.Q1}, {want.Q3, got.Q3}} {
		require.InDelta(t, x[0], x[1], 1e-9, "want %+v, got %+v", want, got)
	}
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	same(t, Stat{}, Summarize(nil))
	same(t, Stat{}, Summarize([]float64{math.NaN(), math.Inf(1)}))
	same(t, Stat{7, 7, 7, 7, 7, 1}, Summarize([]float64{7}))
	same(t, Stat{1.5, 1, 2, 1.25, 1.75, 2}, Summarize([]float64{2, 1}))
	same(t, Stat{3, 1, 9, 2, 4, 5}, Summarize([]float64{9, 1, 3, 4, 2}))
}

// TestRatiosArePaired has a machine that is ten times as slow in two rounds of
// five. The medians of both systems come from different rounds; the ratio does
// not notice.
func TestRatiosArePaired(t *testing.T) {
	t.Parallel()
	r := tiny(map[string][]float64{
		"cofre":  {90, 9, 88, 9.2, 91},
		"pebble": {100, 10, 100, 10, 100},
		"badger": {-1, 5, -1, 0, 50}, // one round of its own, one that did nothing
	})
	same(t, Ratio{0.9, 0.88, 0.92, 0.9, 0.91, 5}, r.Compare("fillrandom", "400", "cofre", Throughput))
	same(t, Ratio{1, 1, 1, 1, 1, 5}, r.Compare("fillrandom", "400", "pebble", Throughput))
	same(t, Ratio{0.5, 0.5, 0.5, 0.5, 0.5, 2}, r.Compare("fillrandom", "400", "badger", Throughput))
	same(t, Ratio{1.81, 1.8, 1.82, 1.805, 1.815, 2}, r.CompareTo("fillrandom", "400", "cofre", "badger", Throughput))
	for _, x := range [][3]string{{"fillseq", "400", "cofre"}, {"fillrandom", "1KiB", "cofre"}, {"fillrandom", "400", "bbolt"}} {
		require.Zero(t, r.Compare(x[0], x[1], x[2], Throughput), x)
	}
	r.Baseline = "bbolt"
	require.Zero(t, r.Compare("fillrandom", "400", "cofre", Throughput))
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	full := Round{
		Ops: 200, Seconds: 4, CPU: 6, UserBytes: 1000, DiskWritten: 2500, Space: 70, PeakMemory: 80, Allocs: 400, AllocBytes: 800,
		Latency: &Latency{Mean: 1, P50: 2, P95: 3, P99: 4, P999: 5, Max: 6},
	}
	want := map[Metric]float64{
		Throughput: 50, CPU: 0.03, Written: 2.5, Space: 70, Memory: 80, Allocs: 2, AllocBytes: 4,
		Mean: 1, P50: 2, P95: 3, P99: 4, P999: 5, Max: 6,
	}
	for m, v := range want {
		got, ok := m.Of(full)
		require.True(t, ok, m)
		require.InDelta(t, v, got, 1e-12, m)
	}
	none := Round{Seconds: 4, DiskWritten: -1, Space: -1, PeakMemory: -1}
	for m := range want {
		_, ok := m.Of(none)
		require.False(t, ok, m)
	}
	_, ok := Throughput.Of(Round{Ops: 5})
	require.False(t, ok, "no time passed")
	_, ok = Written.Of(Round{DiskWritten: 5})
	require.False(t, ok, "nothing was written")
	_, ok = Metric("other").Of(full)
	require.False(t, ok)
}

// TestStoppedRounds: rates of a stopped turn count, its space does not.
func TestStoppedRounds(t *testing.T) {
	t.Parallel()
	r := tiny(map[string][]float64{"cofre": {80, 80}, "pebble": {100, 100}})
	r.Results[0].Rounds[0].Stopped, r.Results[0].Rounds[0].Space = true, 1
	require.Equal(t, 2, r.Compare("fillrandom", "400", "cofre", Throughput).N)
	same(t, Ratio{1, 1, 1, 1, 1, 1}, r.Compare("fillrandom", "400", "cofre", Space))
	require.Equal(t, 1, r.Compare("fillrandom", "400", "cofre", Memory).N)
}

func TestTargets(t *testing.T) {
	t.Parallel()
	r := tiny(map[string][]float64{"cofre": {99.99}, "pebble": {100}, "badger": {10}})
	r.Results[0].Rounds[0].Ops, r.Results[1].Rounds[0].Ops = 9999, 10000
	require.Equal(t, Score{0, 1, []string{"fillrandom"}}, r.Score(Throughput), "nothing is rounded in its favour")
	r.Results[0].Rounds[0].Ops = 10000
	require.Equal(t, Score{1, 1, nil}, r.Score(Throughput))
	r.Results[0].Rounds[0].Space = 103
	require.Equal(t, Score{0, 1, []string{"fillrandom"}}, r.Score(Space))
	r.Results[0].Rounds[0].Space = 102
	require.Equal(t, Score{1, 1, nil}, r.Score(Space))
	r.Results[0].Rounds[0].PeakMemory = -1
	require.Equal(t, Score{}, r.Score(Memory), "what is not known is not judged")
	_, ok := r.Target("fillrandom", "badger", Throughput)
	require.False(t, ok)
	_, ok = r.Target("readmissing", "cofre", Throughput)
	require.False(t, ok)
	r.Baseline = "badger"
	require.Equal(t, Score{}, r.Score(Throughput), "targets are to plain Pebble")

	r = tiny(map[string][]float64{"cofre": {50}, "pebble": {100}})
	for i := range r.Results {
		r.Results[i].Workload = "reopen"
	}
	r.Settings.Data = 10e9 - 1
	require.Equal(t, Score{}, r.Score(Throughput), "a small table is not judged")
	r.Settings.Data++
	require.Equal(t, Score{0, 1, []string{"reopen"}}, r.Score(Throughput))

	Targets()[0].Workloads[0] = "changed"
	require.Equal(t, "fillseq", Targets()[0].Workloads[0])
}

func TestDuel(t *testing.T) {
	t.Parallel()
	r := tiny(map[string][]float64{"cofre": {80}, "pebble": {100}, rival: {40}})
	d, ok := r.Duel()
	require.True(t, ok)
	require.Equal(t, Duel{Title: r.Title(rival), Ahead: 1, Twice: 1, Judged: 1}, d)
	r = tiny(map[string][]float64{"cofre": {80}, "pebble": {100}, rival: {41}})
	d, _ = r.Duel()
	require.Equal(t, Duel{Title: r.Title(rival), Ahead: 1, Judged: 1}, d)
	r = tiny(map[string][]float64{"cofre": {80}, "pebble": {100}, rival: {80}})
	d, _ = r.Duel()
	require.Equal(t, Duel{Title: r.Title(rival), Behind: []string{"fillrandom"}, Judged: 1}, d, "as fast is not ahead")
	require.Contains(t, d.String(), "ahead of Badger with its key in 0 of 1 workload, and at twice its throughput or more in 0; not in fillrandom")
	_, ok = tiny(map[string][]float64{"cofre": {80}, "pebble": {100}}).Duel()
	require.False(t, ok)
	_, ok = tiny(map[string][]float64{"cofre": {0}, rival: {100}}).Duel()
	require.False(t, ok)
}

func TestHeadline(t *testing.T) {
	t.Parallel()
	claim := func(cofre float64, change func(*Report)) string {
		r := tiny(map[string][]float64{"cofre": {cofre, cofre, cofre}, "pebble": {100, 100, 100}, "badger": {50, 50, 50}})
		if change != nil {
			change(r)
		}
		return r.Headline().Claim
	}
	require.Equal(t, "Encryption costs 12 % of throughput in fillrandom.", claim(88, nil))
	require.Equal(t, "Encryption costs 1 % of throughput in fillrandom.", claim(99.4, nil))
	require.Equal(t, "Encryption costs nothing in fillrandom.", claim(99.6, nil))
	require.Equal(t, "Encryption costs nothing in fillrandom: Cofre is 7 % faster than Pebble.", claim(107, nil))
	require.Equal(t, "In fillrandom, Cofre is 80 % faster than Badger.", claim(90, func(r *Report) { r.Baseline = "badger" }))
	require.Equal(t, "In fillrandom, Pebble is 25 % faster than Cofre.", claim(80, func(r *Report) { r.Baseline = "cofre" }))
	require.Equal(t, "This run has no workload that could be compared with Pebble.", claim(0, nil))
	require.Equal(t, "Encryption costs 12 % of throughput in fillrandom.", claim(88, func(r *Report) { r.Results[0].Rounds[0].Seconds *= 1.49 }))
	require.Equal(t, "Too noisy for a claim: rounds of the same work lie apart by a factor of 1.6.", claim(88, func(r *Report) { r.Results[0].Rounds[0].Seconds *= 1.6 }))
	require.Equal(t, "This run measured Pebble alone.", tiny(map[string][]float64{"pebble": {1}}).Headline().Claim)

	r := tiny(map[string][]float64{"cofre": {98, 97}, "pebble": {100, 100}})
	r.Partial, r.Machine.CPU, r.Settings.MaxSeconds = "interrupted", "some", 30
	r.Results[0].Rounds[1].Stopped = true
	h := r.Headline()
	require.Len(t, h.Doubts, 4, fmt.Sprint(h.Doubts))
	require.Contains(t, h.Detail, "0 of 1 target of throughput met; missed: fillrandom.")
}

func TestColours(t *testing.T) {
	t.Parallel()
	r := &Report{Systems: []System{{Name: "new"}, {Name: "pebble"}, {Name: "newer"}, {Name: "cofre"}}}
	got := r.colours()
	require.Equal(t, []int{1, 0}, []int{got[1], got[3]})
	seen := make(map[int]bool)
	for _, c := range got {
		require.False(t, seen[c], got)
		require.Less(t, c, slots)
		seen[c] = true
	}
	for range 20 { // more than there are colours
		r.Systems = append(r.Systems, System{Name: fmt.Sprint(len(r.Systems))})
	}
	require.Len(t, r.colours(), 24)
}
