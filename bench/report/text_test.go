package report

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// small is a report of known figures with everything that a table must tell:
// a system that lacks a workload, a stopped turn, unknown figures, a partial run.
func small() *Report {
	r := tiny(map[string][]float64{
		"cofre":            {251_000, 248_000, 255_000},
		"pebble":           {240_000, 250_000, 250_000},
		"sqlite-encrypted": {12_000, 12_500, 11_900},
	})
	r.Partial = "interrupted in round 3"
	r.Command = []string{"quick", "--rounds", "3"}
	r.Seconds = 95
	r.Machine = Machine{CPU: "AMD EPYC 7763", Cores: 1, Memory: 16 << 30, OS: "linux 6.12.4", FileSystem: "ext4", AES: true, Go: "go1.26.0", GCMMicros: 0.91, SyncMicros: 1200}
	r.Settings = Settings{Rows: 250_000, Value: "400", Rounds: 3, Cache: 64 << 20, Seed: 1, Durable: "fdatasync", MaxSeconds: 20}
	for i := range r.Results {
		for j := range r.Results[i].Rounds {
			x := &r.Results[i].Rounds[j]
			x.Latency = &Latency{Mean: 4000, P50: 3456, P95: 12_000, P99: 40_100, P999: 1_250_000, Max: 17_000_000}
			x.CPU, x.Space, x.PeakMemory = float64(x.Ops)*4.54e-6, 631<<20, 389<<20
		}
	}
	last := &r.Results[2].Rounds[1]
	last.Stopped = true
	r.Results = append(r.Results,
		Result{Workload: "readcold", Value: "64KiB", Class: "read", System: "cofre", Rounds: []Round{
			{Number: 1, Ops: 7000, Seconds: 10, CPU: 9, UserBytes: 7000 << 16, DiskWritten: -1, Space: 12 << 30, PeakMemory: -1},
			{Number: 2, Ops: 7100, Seconds: 10, CPU: 9, UserBytes: 7000 << 16, DiskWritten: -1, Space: 12 << 30, PeakMemory: -1}}},
		Result{Workload: "readcold", Value: "64KiB", Class: "read", System: "pebble", Rounds: []Round{
			{Number: 1, Ops: 8300, Seconds: 10, CPU: 8, UserBytes: 8300 << 16, DiskWritten: -1, Space: 12 << 30, PeakMemory: -1}}},
		Result{Workload: "reopen", Value: "400", Class: "upkeep", System: "cofre", Rounds: []Round{{Number: 1, DiskWritten: -1, Space: -1, PeakMemory: -1}}},
	)
	return r
}

func TestText(t *testing.T) {
	t.Parallel()
	r := small()
	golden(t, "table.txt", func(w io.Writer) error { return WriteText(w, r) })
	golden(t, "price.txt", func(w io.Writer) error { return WritePrice(w, r) })
	golden(t, "table.md", func(w io.Writer) error { return WriteMarkdown(w, r) })
	golden(t, "chart.svg", func(w io.Writer) error { return WriteSVG(w, r) })
}

// TestWidth: no line of the terminal's forms is wider than 100 characters.
func TestWidth(t *testing.T) {
	t.Parallel()
	r := synthetic(5, 5, 0.02)
	r.Settings.Durable = strings.Repeat("a long explanation ", 20)
	for _, write := range []func(io.Writer, *Report) error{WriteText, WritePrice} {
		var b bytes.Buffer
		require.NoError(t, write(&b, r))
		for line := range strings.Lines(b.String()) {
			line = strings.TrimSuffix(line, "\n")
			require.LessOrEqual(t, utf8.RuneCountInString(line), width, line)
		}
	}
}

// TestEmpty: a report of nothing, and of one system, is told without a panic.
func TestEmpty(t *testing.T) {
	t.Parallel()
	unknown := tiny(map[string][]float64{"cofre": {1}, "pebble": {1}})
	unknown.Systems = unknown.Systems[:1] // the results name a system that is not listed
	for _, r := range []*Report{{Format: Format}, tiny(map[string][]float64{"pebble": {1}}), tiny(map[string][]float64{"cofre": {}}), unknown} {
		for _, write := range []func(io.Writer, *Report) error{WriteText, WritePrice, WriteMarkdown, WriteHTML, WriteSVG} {
			var b bytes.Buffer
			require.NoError(t, write(&b, r))
			shown, _, _ := strings.Cut(b.String(), "<script>") // the chart library knows the word
			require.False(t, strings.Contains(shown, "NaN") || strings.Contains(shown, "Inf"))
		}
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"0": rate(0), "0.0012": rate(0.0012), "0.50": rate(0.5), "987": rate(987), "1.00k": rate(999.9), "12.3k": rate(12_345), "1.23M": rate(1.23e6),
		"0ns": nanos(0), "999ns": nanos(999), "1.00µs": nanos(1000), "42.7µs": nanos(42_700), "1.25ms": nanos(1.25e6), "90.0s": nanos(9e10),
		"0 B": size(0), "1023 B": size(1023), "1.00 KiB": size(1024), "631 MiB": size(631 << 20), "2.50 TiB": size(2.5 * (1 << 40)),
		"0.967": ratio(0.9669), "20.3": ratio(20.34), "123": ratio(123.4),
		"5 s": seconds(5), "0.25 s": seconds(0.25), "95 s": seconds(95), "2 min": seconds(120), "88 min 41 s": seconds(5321), "3 h": seconds(10_800), "2 h 5 min": seconds(7501), "–": seconds(-1),
		"1,234,567": thousands(1_234_567), "-123": thousands(-123), "-1,234": thousands(-1234), "12": thousands(12),
	} {
		require.Equal(t, want, got)
	}
}
