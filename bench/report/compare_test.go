package report

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// slow makes a system slower in one workload.
func slow(r *Report, workload, system string, by float64) {
	for i := range r.Results {
		x := &r.Results[i]
		if (workload == "" || x.Workload == workload) && (system == "" || x.System == system) {
			for j := range x.Rounds {
				x.Rounds[j].Seconds *= 1 / by
			}
		}
	}
}

// TestPlantedSlowdown: a fifth of throughput that is lost is seen in every one
// of many pairs of noisy runs, and nothing else is.
func TestPlantedSlowdown(t *testing.T) {
	t.Parallel()
	for seed := range uint64(16) {
		old, new := synthetic(2*seed+1, 5, 0.05), synthetic(2*seed+2, 5, 0.05)
		slow(new, "ycsb-a", "cofre", 0.8)
		found := Compare(old, new).Regressions()
		require.Len(t, found, 1, "seed %d: %+v", seed, found)
		require.Equal(t, "ycsb-a", found[0].Workload, "seed %d", seed)
		require.Equal(t, "cofre", found[0].System, "seed %d", seed)
		require.InDelta(t, -0.2, found[0].Change, 0.09, "seed %d", seed)
		require.False(t, found[0].Absolute)
	}
}

// TestEqualRuns: noise alone is no regression, nor is a machine that is slower.
func TestEqualRuns(t *testing.T) {
	t.Parallel()
	for seed := range uint64(16) {
		old, new := synthetic(1000+2*seed, 5, 0.05), synthetic(1001+2*seed, 5, 0.05)
		require.Empty(t, Compare(old, new).Regressions(), "seed %d", seed)
		slow(new, "", "", 0.5)
		c := Compare(old, new)
		require.Empty(t, c.Regressions(), "seed %d", seed)
		require.True(t, slices.ContainsFunc(c.Warnings, func(s string) bool { return strings.Contains(s, "of its former speed") }), c.Warnings)
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	find := func(c Comparison, system string) Change {
		i := slices.IndexFunc(c.Changes, func(d Change) bool { return d.System == system })
		require.GreaterOrEqual(t, i, 0)
		return c.Changes[i]
	}
	steady := []float64{100, 100, 100}
	judge := func(old, new []float64) Change {
		return find(Compare(tiny(map[string][]float64{"pebble": steady, "cofre": old}), tiny(map[string][]float64{"pebble": steady, "cofre": new})), "cofre")
	}
	require.Equal(t, Slower, judge([]float64{90, 91, 92}, []float64{80, 81, 82}).Verdict)
	require.Equal(t, Faster, judge([]float64{90, 91, 92}, []float64{98, 99, 100}).Verdict)
	require.Equal(t, Same, judge([]float64{90, 91, 92}, []float64{87, 88, 89}).Verdict, "below the threshold")
	d := judge([]float64{80, 91, 92}, []float64{79, 81, 82})
	require.Equal(t, Same, d.Verdict, "within the spread")
	require.True(t, d.Noisy)
	require.Equal(t, Gone, judge(steady, []float64{0, 0}).Verdict, "it did nothing")
	require.Equal(t, New, judge(nil, steady).Verdict)
	require.Equal(t, Same, judge(nil, nil).Verdict)

	// Without a baseline in both runs, absolute figures decide, and it is said.
	old := tiny(map[string][]float64{"pebble": steady, "cofre": {90, 91, 92}})
	new := tiny(map[string][]float64{"cofre": {60, 61, 62}})
	c := Compare(old, new)
	d = find(c, "cofre")
	require.Equal(t, Slower, d.Verdict)
	require.True(t, d.Absolute)
	require.Len(t, c.Regressions(), 1)
	require.Equal(t, Gone, find(c, "pebble").Verdict)

	// Another baseline cannot be told from.
	new = tiny(map[string][]float64{"pebble": steady, "cofre": {90, 91, 92}})
	new.Baseline = "cofre"
	c = Compare(old, new)
	require.True(t, find(c, "cofre").Absolute)
	require.Contains(t, c.Warnings, "baseline: was pebble, is cofre")

	// The baseline is told, but it is no regression.
	new = tiny(map[string][]float64{"pebble": {50, 50, 50}, "cofre": {45, 45.5, 46}})
	c = Compare(old, new)
	require.Equal(t, Slower, find(c, "pebble").Verdict)
	require.Equal(t, Same, find(c, "cofre").Verdict)
	require.Empty(t, c.Regressions())
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	old := synthetic(1, 5, 0.01)
	require.Empty(t, Compare(old, old).Warnings)
	for want, change := range map[string]func(*Report){
		"rows: was 2000000, is 1":          func(r *Report) { r.Settings.Rows = 1 },
		"value size: was 400, is 1KiB":     func(r *Report) { r.Settings.Value = "1KiB" },
		"cache: was 256 MiB, is 1.00 KiB":  func(r *Report) { r.Settings.Cache = 1024 },
		"seed: was 1, is 9":                func(r *Report) { r.Settings.Seed = 9 },
		"durable writes":                   func(r *Report) { r.Settings.Durable = "no" },
		"time limit of a turn":             func(r *Report) { r.Settings.MaxSeconds = 1 },
		"processor":                        func(r *Report) { r.Machine.CPU = "other" },
		"cores: was 8, is 2":               func(r *Report) { r.Machine.Cores = 2 },
		"AES instructions":                 func(r *Report) { r.Machine.AES = false },
		"file system":                      func(r *Report) { r.Machine.FileSystem = "xfs" },
		"Go: was go1.26.0, is go1.27":      func(r *Report) { r.Machine.Go = "go1.27" },
		"options of Go: was , is GOGC=off": func(r *Report) { r.Machine.GoOptions = "GOGC=off" },
		"a synced write: was 212µs, is 1.": func(r *Report) { r.Machine.SyncMicros = 1000 },
		"opening 4 KiB":                    func(r *Report) { r.Machine.GCMMicros = 9 },
		"version of badger":                func(r *Report) { r.Systems[3].Version = "v5" },
		"options of pebble":                func(r *Report) { r.Systems[1].Options = "others" },
		"the new report is partial: broke": func(r *Report) { r.Partial = "broke" },
		"the new report has 1 round":       func(r *Report) { r.Settings.Rounds = 1 },
	} {
		changed := *old
		changed.Systems = slices.Clone(old.Systems)
		change(&changed)
		got := Compare(old, &changed).Warnings
		require.Len(t, got, 1, want)
		require.Contains(t, got[0], want)
	}
}

func TestCompareText(t *testing.T) {
	t.Parallel()
	old, new := small(), small()
	old.Partial, old.Machine.Cores = "", 2
	slow(new, "fillrandom", "cofre", 0.7)
	slow(new, "fillrandom", "sqlite-encrypted", 1.3)
	new.Results[2].Rounds[0].Seconds *= 1.3
	new.Results = append(new.Results[:5], Result{Workload: "scan", Value: "400", System: "cofre", Rounds: []Round{{Number: 1, Ops: 5, Seconds: 1}}})
	golden(t, "compare.txt", func(w io.Writer) error { return Compare(old, new).WriteText(w) })
}
