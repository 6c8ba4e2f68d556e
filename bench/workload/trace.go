package workload

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Interval is the resolution of throughput over time.
const Interval = 250 * time.Millisecond

// A trace counts operations by the interval in which they ended.
type trace struct {
	bins []*hdrhistogram.Histogram // nil: no operation
}

func (t *trace) add(at, took time.Duration) {
	n := int(at / Interval)
	for len(t.bins) <= n {
		t.bins = append(t.bins, nil)
	}
	if t.bins[n] == nil {
		t.bins[n] = hdrhistogram.New(1, int64(10*time.Second), 2)
	}
	record(t.bins[n], took)
}

// A Bin is what happened in one interval.
type Bin struct {
	End time.Duration // since the turn's first operation
	Ops int64
	P99 time.Duration
}

// Trace is the throughput over time; nil unless the workload keeps it.
func (t *Turn) Trace() (bins []Bin) {
	var sum trace
	for _, c := range t.clients {
		if c.trace == nil {
			return nil
		}
		for n, b := range c.trace.bins {
			for len(sum.bins) <= n {
				sum.bins = append(sum.bins, newHistogram())
			}
			if b != nil {
				sum.bins[n].Merge(b)
			}
		}
	}
	for n, b := range sum.bins {
		bins = append(bins, Bin{End: time.Duration(n+1) * Interval, Ops: b.TotalCount(), P99: time.Duration(b.ValueAtQuantile(99))})
	}
	return bins
}
