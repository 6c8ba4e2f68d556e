package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRotationsAreTold wants the effect of rotations on latency, and systems that
// failed, in what is printed.
func TestRotationsAreTold(t *testing.T) {
	t.Parallel()
	r := &Report{Format: Format, Baseline: "pebble", Systems: []System{{Name: "cofre", Title: "Cofre"}, {Name: "pebble", Title: "Pebble"}}}
	x := Result{Workload: "rotateroot", Value: "1KiB", System: "cofre"}
	for n := range 3 {
		x.Rounds = append(x.Rounds, Round{
			Number: n, Ops: 100, Seconds: 1,
			Phases: []Latency{{P99: 10_000}, {P99: 10_000 + int64(n)*1000}, {P99: 9000}, {P99: 17_000}},
			Events: []Event{{At: 1, Seconds: 0.002, Name: "root key rotated"}},
		})
	}
	r.Results = append(r.Results, x, Result{Workload: "scan", Value: "1KiB", System: "pebble", Failed: "row 7 is not there"})
	var b bytes.Buffer
	r.Machine.FileSystem = "tmpfs"
	require.NoError(t, WriteText(&b, r))
	require.Contains(t, b.String(), "The files lay in memory")
	require.Contains(t, b.String(), "rotateroot on Cofre: 3 rotations")
	require.Contains(t, b.String(), "(1.10; target 1.10)")
	require.Contains(t, strings.Join(strings.Fields(b.String()), " "), "17.0µs while one runs")
	require.Contains(t, b.String(), "Pebble failed in scan: row 7 is not there")
	require.NotContains(t, b.String(), "come from 0")
	r.Results[0].Rounds[1].Phases[1].P99 = 11_001
	b.Reset()
	require.NoError(t, WriteText(&b, r))
	require.Contains(t, b.String(), "(1.10; target 1.10 missed)", "nothing is rounded in its favour")
	b.Reset()
	require.NoError(t, WriteHTML(&b, r))
	require.Contains(t, b.String(), "row 7 is not there")
}
