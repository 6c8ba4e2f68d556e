package report

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// work is a workload of synthetic reports: what plain Pebble does, and what
// Cofre is to it.
type work struct {
	name, class string
	rate        float64 // operations a second
	cofre       float64 // ratio
}

var works = []work{
	{"fillseq", "write", 812e3, 1.04}, {"fillrandom", "write", 241e3, 1.02}, {"overwrite", "write", 205e3, 0.985},
	{"fillsync1", "synced", 3900, 0.99}, {"fillsync8", "synced", 16200, 0.98},
	{"readrandom", "read", 612e3, 0.975}, {"readcold", "read", 83e3, 0.84}, {"readdropped", "read", 9100, 0.95},
	{"readmissing", "read", 1.9e6, 1}, {"seekrandom", "scan", 172e3, 0.96},
	{"scan", "scan", 4.1e6, 1.01}, {"scanreverse", "scan", 2.7e6, 1.005},
	{"readwhilewriting", "mixed", 301e3, 0.97}, {"deleterange", "write", 5200, 0.98}, {"compact", "upkeep", 530e3, 1.21},
	{"ycsb-a", "mixed", 199e3, 0.98}, {"ycsb-b", "mixed", 421e3, 0.975}, {"ycsb-c", "read", 560e3, 0.982},
	{"ycsb-d", "mixed", 610e3, 0.991}, {"ycsb-e", "scan", 41e3, 0.988}, {"ycsb-f", "mixed", 151e3, 0.972},
	{"reopen", "upkeep", 31, 0.79}, {"rotateroot", "keys", 180e3, 0.97}, {"rotatekey", "keys", 178e3, 0.96}, {"snapshot", "upkeep", 44, 0.92},
}

// stores are the systems of synthetic reports, with their speed to plain Pebble
// by class.
var stores = []struct {
	System
	speed map[string]float64
}{
	{System{"cofre", "Cofre", "v0.3.0", true, true, "UnitSize 2048, AES-256-GCM"}, nil},
	{System{"pebble", "Pebble", "v2.1.7", false, false, "the options that Cofre gives it: bloom filters of 10 bits, Snappy, 4 KiB blocks"}, nil},
	{System{"pebble-ctr", "Pebble over AES-CTR", "v2.1.7", true, false, "AES-256-CTR below the file system interface, no authentication"},
		map[string]float64{"write": 0.96, "synced": 0.98, "read": 0.93, "scan": 0.95, "mixed": 0.95, "keys": 0.95, "upkeep": 0.9}},
	{System{"badger", "Badger", "v4.9.6", false, false, "SyncWrites as asked, block cache"},
		map[string]float64{"write": 0.61, "synced": 0.72, "read": 0.55, "scan": 0.21, "mixed": 0.48, "upkeep": 0.4}},
	{System{"badger-encrypted", "Badger with its key", "v4.9.6", true, false, "AES-256-CTR, key registry"},
		map[string]float64{"write": 0.44, "synced": 0.61, "read": 0.38, "scan": 0.14, "mixed": 0.35, "upkeep": 0.3}},
	{System{"bbolt", "bbolt", "v1.5.0", false, false, "NoFreelistSync, map free list"},
		map[string]float64{"write": 0.06, "synced": 0.31, "read": 1.32, "scan": 1.6, "mixed": 0.09, "upkeep": 2.1}},
	{System{"sqlite-encrypted", "SQLite, Adiantum", "v0.35.6", true, false, "WAL, synchronous FULL where durable"},
		map[string]float64{"write": 0.05, "synced": 0.28, "read": 0.07, "scan": 0.11, "mixed": 0.05, "upkeep": 0.5}},
}

// synthetic makes a report that looks like that of a real run. The speed of each
// round drifts by a few percent, alike for all systems, and each system has
// noise of its own.
func synthetic(seed uint64, rounds int, noise float64) *Report {
	rng := rand.New(rand.NewPCG(seed, 1))
	r := &Report{
		Format: Format, Started: time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC), Seconds: 5321,
		Command: []string{"full", "--rounds", "5", "--dir", "/data/bench"}, Baseline: "pebble",
		Machine: Machine{
			CPU: "AMD EPYC 7763", Cores: 8, AES: true, Memory: 32 << 30, OS: "linux 6.12.4", FileSystem: "ext4",
			Go: "go1.26.0", Revision: "35f1074", SyncMicros: 212, GCMMicros: 0.91,
		},
		Settings: Settings{Rows: 2_000_000, Value: "400", Data: 832_000_000, Rounds: rounds, Cache: 256 << 20, Seed: seed, Durable: "fdatasync before a Put returns", MaxSeconds: 60},
	}
	for _, s := range stores {
		r.Systems = append(r.Systems, s.System)
	}
	all := slices.Clone(works)
	values := make([]string, len(all))
	for _, value := range []string{"100", "1KiB", "64KiB", "mixed"} {
		all, values = append(all, works[1]), append(values, value)
		if value == "64KiB" {
			all, values = append(all, works[6]), append(values, value)
		}
	}
	for i, w := range all {
		value := values[i]
		if value == "" {
			value = r.Settings.Value
		}
		drift := make([]float64, rounds)
		for i := range drift {
			drift[i] = 1 + 0.06*(2*rng.Float64()-1)
		}
		for _, s := range stores {
			factor := 1.0
			if s.Name == "cofre" {
				factor = w.cofre
			} else if s.speed != nil {
				factor = s.speed[w.class]
			}
			if factor == 0 { // it cannot do this
				continue
			}
			x := Result{Workload: w.name, Value: value, Class: w.class, System: s.Name}
			for n := range rounds {
				f := factor * drift[n] * (1 + noise*(2*rng.Float64()-1))
				x.Rounds = append(x.Rounds, syntheticRound(rng, w, s.Name, n+1, w.rate*f))
			}
			r.Results = append(r.Results, x)
		}
	}
	return r
}

func syntheticRound(rng *rand.Rand, w work, system string, number int, rate float64) Round {
	ops := int64(w.rate * 12)
	noise := func(v float64) int64 { return int64(v * (1 + 0.03*rng.Float64())) }
	t := Round{
		Number: number, Ops: ops, Seconds: float64(ops) / rate, CPU: float64(ops) / rate * (1.1 + 0.2*rng.Float64()),
		UserBytes: ops * 416, DiskWritten: noise(float64(ops) * 416 * 2.1), Space: noise(631 << 20), PeakMemory: noise(389 << 20),
		Allocs: ops * 2, AllocBytes: ops * 96, Checked: 2_000_000,
	}
	t.Front = t.Seconds * 0.97
	if w.class == "read" || w.class == "scan" {
		t.DiskWritten = 0
	}
	if t.Seconds > 60 {
		t.Ops, t.Seconds, t.Front, t.Stopped = int64(rate*60), 60, 60, true
	}
	if w.class != "upkeep" {
		mean := 1e9 / rate
		at := func(q float64) float64 { return mean * 0.8 * math.Pow(1/(1-q), 0.55) }
		t.Latency = &Latency{Mean: int64(mean), P50: int64(at(0.5)), P95: int64(at(0.95)), P99: int64(at(0.99)), P999: int64(at(0.999)), Max: int64(at(0.999999))}
		for x := 0.0; x < 5.3; x += 0.05 {
			q := 1 - math.Pow(10, -x)
			t.Latency.Curve = append(t.Latency.Curve, [2]float64{q, math.Round(at(q) * (1 + 0.1*rng.Float64()))})
		}
	}
	if w.class == "keys" || w.name == "readwhilewriting" || w.name == "fillrandom" {
		for s := 0.1; s <= t.Seconds; s += 0.1 {
			t.Timeline = append(t.Timeline, Point{At: s, Ops: int64(rate * 0.1 * (0.9 + 0.2*rng.Float64())), P99: noise(1e9 / rate * 9)})
		}
	}
	if w.class == "keys" && system == "cofre" {
		for s := 2.0; s < t.Seconds; s += 3 {
			t.Events = append(t.Events, Event{At: s, Seconds: 0.012 + 0.2*rng.Float64(), Name: w.name[:6] + " " + w.name[6:]})
		}
	}
	return t
}
