package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/bench/report"
	"github.com/cofredb/cofre/bench/system"
	"github.com/cofredb/cofre/bench/workload"
)

// inProcess spawns agents that are goroutines of the test, so that systems of
// the test can take part.
func inProcess(kinds []system.Kind) spawner {
	return func() (*agent, error) {
		ours, theirs := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- Serve(theirs, kinds) }()
		return &agent{client: rpc.NewClient(ours), stop: func() error { return <-ended }}, nil
	}
}

// small is a plan that takes little time.
func small(t *testing.T, kinds []system.Kind, workloads ...string) Plan {
	p := standard()
	p.Rows, p.Rounds, p.Cache, p.Systems, p.Baseline = 2000, 2, MinCache, kinds, kinds[0].Name
	p.Dir = filepath.Join(t.TempDir(), "bench")
	require.NoError(t, p.SetWorkloads(workloads))
	return p
}

func find(t *testing.T, name string) system.Kind {
	k, err := system.Find(name)
	require.NoError(t, err)
	return k
}

// TestEveryWorkload runs each workload on Cofre and on Pebble.
func TestEveryWorkload(t *testing.T) {
	t.Parallel()
	kinds := []system.Kind{find(t, "pebble"), find(t, "cofre")}
	var names []string
	for i, w := range workload.All() {
		if !testing.Short() || i%5 == 0 || w.Events != 0 {
			names = append(names, w.Name)
		}
	}
	p := small(t, kinds, names...)
	p.Rounds = 1
	var told []Progress
	r, err := run(t.Context(), p, func(now Progress) { told = append(told, now) }, inProcess(kinds))
	require.NoError(t, err)
	turns := 0
	for _, res := range r.Results {
		require.Empty(t, res.Failed, "%s on %s", res.Workload, res.System)
		require.Len(t, res.Rounds, p.Rounds, "%s on %s", res.Workload, res.System)
		for _, round := range res.Rounds {
			turns++
			require.Positive(t, round.Ops, res.Workload)
			require.GreaterOrEqual(t, round.Seconds, round.Front, res.Workload)
			require.Positive(t, round.Checked, res.Workload)
			require.Positive(t, round.Space, res.Workload)
			require.False(t, round.Stopped, res.Workload)
		}
	}
	require.Equal(t, p.Turns(), turns)
	require.Equal(t, p.Turns()-1, told[len(told)-1].Done)
	var doc bytes.Buffer
	require.NoError(t, r.Write(&doc))
	again, err := report.Read(&doc)
	require.NoError(t, err)
	require.Equal(t, r, again)
	_, err = os.Stat(p.Dir)
	require.ErrorIs(t, err, os.ErrNotExist, "the run leaves its directory behind")
}

// TestSystems runs every system there is.
func TestSystems(t *testing.T) {
	t.Parallel()
	kinds := system.All()
	if testing.Short() {
		kinds = kinds[:3] // the race detector makes a transpiled SQLite crawl
	}
	p := small(t, kinds, "fillrandom", "fillsync8", "readcold", "scanreverse", "ycsb-d", "deleterange", "compact")
	p.Rounds = 1
	r, err := run(t.Context(), p, nil, inProcess(kinds))
	require.NoError(t, err)
	require.Len(t, r.Results, p.Turns())
	for _, res := range r.Results {
		require.Empty(t, res.Failed, "%s on %s", res.Workload, res.System)
	}
}

// A cheat is a system that does not do what it says.
type cheat struct {
	system.System
	puts atomic.Int64
	mu   sync.Mutex
	old  []byte // a value of row 0 that is not its newest

	put  func(c *cheat, key, value []byte) error
	get  func(c *cheat, dst, key []byte) ([]byte, bool, error)
	scan func(c *cheat, from []byte, reverse bool, visit func(k, v []byte) bool) error
}

func (c *cheat) Put(key, value []byte) error {
	if c.put != nil {
		return c.put(c, key, value)
	}
	return c.System.Put(key, value)
}

func (c *cheat) AppendGet(dst, key []byte) ([]byte, bool, error) {
	if c.get != nil {
		return c.get(c, dst, key)
	}
	return c.System.AppendGet(dst, key)
}

func (c *cheat) Scan(from []byte, reverse bool, visit func(k, v []byte) bool) error {
	if c.scan != nil {
		return c.scan(c, from, reverse, visit)
	}
	return c.System.Scan(from, reverse, visit)
}

// cheating is Pebble, with something wrong.
func cheating(t *testing.T, config func(*system.Config), wrong *cheat) system.Kind {
	k := find(t, "pebble")
	open := k.Open
	k.Name = "cheat"
	k.Open = func(c system.Config) (system.System, error) {
		if config != nil {
			config(&c)
		}
		s, err := open(c)
		if err != nil {
			return nil, err
		}
		cheat := &cheat{System: s}
		if wrong != nil {
			cheat.put, cheat.get, cheat.scan = wrong.put, wrong.get, wrong.scan
		}
		return cheat, nil
	}
	return k
}

// TestCheats runs systems that cheat: each is reported as failed, has no
// figures, and does not keep the honest one from its own.
func TestCheats(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, workload string
		config         func(*system.Config)
		wrong          *cheat
		says           string
	}{
		{name: "drops a write", workload: "fillrandom", wrong: &cheat{put: func(c *cheat, k, v []byte) error {
			if c.puts.Add(1) == 1234 {
				return nil
			}
			return c.System.Put(k, v)
		}}, says: "1999 rows are there, 2000 were acknowledged"},
		{name: "drops an update", workload: "overwrite", wrong: &cheat{put: func(c *cheat, k, v []byte) error {
			if c.puts.Add(1) == 2000 {
				return nil
			}
			return c.System.Put(k, v)
		}}, says: "was acknowledged"},
		{name: "changes a byte on its way in", workload: "fillseq", wrong: &cheat{put: func(c *cheat, k, v []byte) error {
			if c.puts.Add(1) == 1234 {
				v = bytes.Clone(v)
				v[len(v)-1] ^= 1
			}
			return c.System.Put(k, v)
		}}, says: "differs from the one that was written"},
		{name: "answers with another row", workload: "readrandom", wrong: &cheat{get: func(c *cheat, dst, k []byte) ([]byte, bool, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			v, found, err := c.System.AppendGet(dst, k)
			if c.old == nil {
				c.old = bytes.Clone(v)
			}
			if c.puts.Add(1) == 500 {
				return append(dst, c.old...), found, err
			}
			return v, found, err
		}}, says: "value of another row"},
		{name: "answers with an old version", workload: "ycsb-a", wrong: &cheat{get: func(c *cheat, dst, k []byte) ([]byte, bool, error) {
			v, found, err := c.System.AppendGet(dst, k)
			c.mu.Lock()
			defer c.mu.Unlock()
			if bytes.HasSuffix(k, []byte("0000000000000000")) { // row 0, the most popular one
				if c.old == nil {
					c.old = bytes.Clone(v)
				}
				return append(dst, c.old...), found, err
			}
			return v, found, err
		}}, says: "was acknowledged before"},
		{name: "does not find a row", workload: "readcold", wrong: &cheat{get: func(c *cheat, dst, k []byte) ([]byte, bool, error) {
			v, found, err := c.System.AppendGet(dst, k)
			return v, found && c.puts.Add(1) != 50, err
		}}, says: "is not there"},
		{name: "finds a row that is not there", workload: "readmissing", wrong: &cheat{get: func(c *cheat, dst, k []byte) ([]byte, bool, error) {
			if c.puts.Add(1) == 50 {
				return append(dst, k...), true, nil
			}
			return c.System.AppendGet(dst, k)
		}}, says: "value of another row, or of none"},
		{name: "leaves out a row of a scan", workload: "scan", wrong: &cheat{scan: func(c *cheat, from []byte, reverse bool, visit func(k, v []byte) bool) error {
			n := 0
			return c.System.Scan(from, reverse, func(k, v []byte) bool {
				n++
				return n == 1000 || visit(k, v)
			})
		}}, says: "found 1999 rows, there are 2000"},
		{name: "leaves out a row of a short scan", workload: "seekrandom", wrong: &cheat{scan: func(c *cheat, from []byte, reverse bool, visit func(k, v []byte) bool) error {
			n := 0
			return c.System.Scan(from, reverse, func(k, v []byte) bool {
				n++
				return from != nil && n == 5 || visit(k, v)
			})
		}}, says: "left a row out"},
		{name: "ends a short scan early", workload: "ycsb-e", wrong: &cheat{scan: func(c *cheat, from []byte, reverse bool, visit func(k, v []byte) bool) error {
			n := 0
			return c.System.Scan(from, reverse, func(k, v []byte) bool {
				n++
				return visit(k, v) && (from == nil || n < 50)
			})
		}}, says: "ended after 50"},
		{name: "scans the wrong way", workload: "scanreverse", wrong: &cheat{scan: func(c *cheat, from []byte, _ bool, visit func(k, v []byte) bool) error {
			return c.System.Scan(from, false, visit)
		}}, says: "out of order"},
		{name: "does not sync", workload: "fillsync1", config: func(c *system.Config) { c.Durable = false }, says: "does not sync"},
		{name: "fails", workload: "fillrandom", wrong: &cheat{put: func(c *cheat, k, v []byte) error {
			return errors.New("no more of this")
		}}, says: "no more of this"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			kinds := []system.Kind{find(t, "pebble"), cheating(t, tc.config, tc.wrong)}
			r, err := run(t.Context(), small(t, kinds, tc.workload), nil, inProcess(kinds))
			require.NoError(t, err)
			honest, cheat := r.Results[0], r.Results[1]
			require.Contains(t, cheat.Failed, tc.says)
			require.Empty(t, cheat.Rounds)
			require.Empty(t, honest.Failed)
			require.Len(t, honest.Rounds, 2)
		})
	}
}

// slowed is a system whose reads take longer by a factor.
func slowed(k system.Kind, name string, factor int) system.Kind {
	open := k.Open
	k.Name = name
	k.Open = func(c system.Config) (system.System, error) {
		s, err := open(c)
		if err != nil {
			return nil, err
		}
		return &cheat{System: s, get: func(c *cheat, dst, key []byte) ([]byte, bool, error) {
			start := time.Now()
			v, found, err := c.System.AppendGet(dst, key)
			for end := start.Add(time.Since(start) * time.Duration(factor)); time.Now().Before(end); {
			}
			return v, found, err
		}}, nil
	}
	return k
}

// TestSlowdownShows makes one of two equal systems slow from one run to the next:
// the comparison of the runs finds it, and in that system. What it takes for a
// slowdown of 20 %, and for none, to be told from noise is package report's, and
// tested there on numbers; a busy machine cannot spoil this one.
func TestSlowdownShows(t *testing.T) {
	t.Parallel()
	measure := func(factor int) *report.Report {
		kinds := []system.Kind{find(t, "pebble"), slowed(find(t, "pebble"), "twin", factor)}
		p := small(t, kinds, "readcold")
		p.Rounds = 5
		r, err := run(t.Context(), p, nil, inProcess(kinds))
		require.NoError(t, err)
		return r
	}
	cmp := report.Compare(measure(1), measure(20))
	var text bytes.Buffer
	require.NoError(t, cmp.WriteText(&text))
	found := cmp.Regressions()
	require.Len(t, found, 1, "%s", &text)
	require.Equal(t, "twin", found[0].System)
}

// TestInterrupt stops a run in its midst: what is whole is reported, and nothing
// stays behind.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	kinds := []system.Kind{find(t, "pebble"), find(t, "cofre")}
	p := small(t, kinds, "fillrandom", "readrandom")
	ctx, cancel := context.WithCancel(t.Context())
	r, err := run(ctx, p, func(now Progress) {
		if now.Done == 3 {
			cancel()
		}
	}, inProcess(kinds))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "stopped after 3 of 8 turns", r.Partial)
	require.Len(t, r.Results, 2)
	require.NotEmpty(t, r.Results[0].Rounds)
	_, err = os.Stat(p.Dir)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestStops gives turns no time: they are stopped, and what they did is checked.
func TestStops(t *testing.T) {
	t.Parallel()
	kinds := []system.Kind{find(t, "pebble")}
	p := small(t, kinds, "fillrandom", "readrandom")
	p.MaxTurn = time.Nanosecond
	r, err := run(t.Context(), p, nil, inProcess(kinds))
	require.NoError(t, err)
	for _, res := range r.Results {
		require.Empty(t, res.Failed)
		for _, round := range res.Rounds {
			require.True(t, round.Stopped)
			require.Less(t, round.Ops, int64(p.Rows))
		}
	}
}

// TestSitsOut: a system that has been stopped twice has no more rounds, but for
// the first and the baseline.
func TestSitsOut(t *testing.T) {
	t.Parallel()
	kinds := []system.Kind{find(t, "pebble"), find(t, "pebble-ctr"), find(t, "bbolt")}
	p := small(t, kinds, "fillrandom", "readrandom")
	p.Rounds, p.Baseline, p.MaxTurn = 4, "pebble-ctr", time.Nanosecond
	r, err := run(t.Context(), p, nil, inProcess(kinds))
	require.NoError(t, err)
	require.Len(t, r.Results, 6)
	for _, res := range r.Results {
		require.Empty(t, res.Failed)
		if res.System == "bbolt" {
			require.Len(t, res.Rounds, 2, res.Workload)
		} else {
			require.Len(t, res.Rounds, 4, res.Workload)
		}
	}
	require.Empty(t, r.Partial)
	var b strings.Builder
	require.NoError(t, report.WriteText(&b, r))
	require.Contains(t, b.String(), "Of these, 2 figures had no more rounds after two such turns.")
	require.NotContains(t, b.String(), "come from 2 rounds")
}

func TestUnfit(t *testing.T) {
	t.Parallel()
	kinds := []system.Kind{find(t, "pebble")}
	spawn := func() (*agent, error) { return nil, errors.New("a process was started") }
	p := small(t, kinds, "fillrandom")
	require.NoError(t, os.MkdirAll(filepath.Join(p.Dir, "mine"), 0o700))
	_, err := run(t.Context(), p, nil, spawn)
	require.ErrorIs(t, err, ErrUnfit)
	require.ErrorContains(t, err, "not empty")
	_, err = os.Stat(filepath.Join(p.Dir, "mine"))
	require.NoError(t, err)

	p = small(t, kinds, "fillrandom")
	p.Rows = MaxRows
	_, err = run(t.Context(), p, nil, spawn)
	require.ErrorIs(t, err, ErrUnfit)
	require.ErrorContains(t, err, "MiB free")
	_, err = os.Stat(p.Dir)
	require.ErrorIs(t, err, os.ErrNotExist, "a directory was made")

	p.Dir = filepath.Join(p.Dir, "a", "b")
	p.Rows = 2000
	_, err = run(t.Context(), p, nil, spawn)
	require.ErrorIs(t, err, ErrUnfit)
}

func TestImpossiblePlans(t *testing.T) {
	t.Parallel()
	kinds := []system.Kind{find(t, "pebble")}
	for name, change := range map[string]func(*Plan){
		"no system":   func(p *Plan) { p.Systems = nil },
		"no workload": func(p *Plan) { p.Workloads = nil },
		"baseline":    func(p *Plan) { p.Baseline = "cofre" },
		"rows":        func(p *Plan) { p.Rows = MinRows - 1 },
		"rounds":      func(p *Plan) { p.Rounds = 0 },
		"cache":       func(p *Plan) { p.Cache = MinCache - 1 },
		"time":        func(p *Plan) { p.MaxTurn = 0 },
	} {
		p := small(t, kinds, "fillrandom")
		change(&p)
		require.ErrorContains(t, p.Check(), name)
	}
	p := standard()
	require.ErrorContains(t, p.SetSystems([]string{"cofre", "rocks"}), `unknown system "rocks": there are cofre, pebble`)
	require.ErrorContains(t, p.SetSystems([]string{"cofre", "cofre"}), "twice")
	require.ErrorContains(t, p.SetWorkloads([]string{"fill"}), `unknown workload "fill": there are fillseq`)
	require.ErrorContains(t, p.SetWorkloads([]string{"scan", "scan"}), "twice")
}

// TestPresets wants both plans to be sound, and the main size to be changeable.
func TestPresets(t *testing.T) {
	t.Parallel()
	quick, full := Quick(), Full()
	require.NoError(t, quick.Check())
	require.NoError(t, full.Check())
	require.Len(t, full.sizes(), 4)
	size, err := workload.ParseSize("64KiB")
	require.NoError(t, err)
	full.SetValue(size)
	require.NoError(t, full.Check())
	seen := make(map[string]bool)
	for _, m := range full.Workloads {
		name := fmt.Sprint(m.Name, m.Value)
		require.False(t, seen[name], name)
		seen[name] = true
	}
	require.True(t, slices.ContainsFunc(full.Workloads, func(m Measured) bool { return m.Name == "compact" && m.Value == size }))
}
