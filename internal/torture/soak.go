package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/cofredb/cofre/internal/torture/verdict"
)

// roundLimit is how long a round may take; no call in it may take as long.
const roundLimit = 40 * time.Minute

// A soak runs rounds for a time.
type soak struct {
	seed     uint64
	limit    time.Duration
	families []family
	parallel int
	only     int // the one round to do; negative is all
	json     bool

	mu    sync.Mutex // guards all below
	rows  []*row
	bad   []violation
	spent []time.Duration // by family, rounds under way counted at their average
	next  []int           // round, by family
	busy  []int           // rounds under way, by family
}

func (s *soak) run(ctx context.Context) *summary {
	start := time.Now()
	n := len(s.families)
	s.spent, s.next, s.busy = make([]time.Duration, n), make([]int, n), make([]int, n)
	for _, f := range s.families {
		s.rows = append(s.rows, &row{Family: f.name, Cases: f.cases})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for range max(1, s.parallel) {
		wg.Go(func() {
			for {
				i, round, ok := s.pick(time.Since(start))
				if !ok || ctx.Err() != nil {
					return
				}
				if s.round(ctx, i, round) {
					cancel()
				}
			}
		})
	}
	wg.Wait()
	return &summary{Seed: s.seed, Limit: s.limit.String(), For: time.Since(start).Round(time.Second).String(), Rows: s.rows, Violations: s.bad}
}

// pick chooses the family that has had the least of its share of the time.
func (s *soak) pick(passed time.Duration) (i, round int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	best := -1
	var least time.Duration
	for i := range s.families {
		if s.rows[i].NotRun != "" || s.only >= 0 && s.next[i] > 0 {
			continue
		}
		t := s.spent[i]
		if done := s.next[i] - s.busy[i]; done > 0 {
			average := s.spent[i] / time.Duration(done)
			if s.only < 0 && average > s.limit-passed {
				continue // it would not end in time
			}
			t += time.Duration(s.busy[i]) * average
		} else {
			t += time.Duration(s.busy[i]) * time.Minute
		}
		t /= time.Duration(max(1, s.families[i].share))
		if best < 0 || t < least {
			best, least = i, t
		}
	}
	if best < 0 || len(s.bad) > 0 || s.only < 0 && passed >= s.limit && s.next[best] > 0 {
		return 0, 0, false
	}
	round = s.next[best]
	s.next[best]++
	s.busy[best]++
	if s.only >= 0 {
		round = s.only
	}
	return best, round, true
}

// round runs one in a process of its own, and tells whether to stop.
func (s *soak) round(ctx context.Context, i, round int) (stop bool) {
	f := s.families[i]
	start := time.Now()
	o := s.process(ctx, f, round)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spent[i] += time.Since(start)
	s.busy[i]--
	r := s.rows[i]
	r.Add(o.Counts)
	r.Seconds = s.spent[i].Seconds()
	for _, n := range o.Notes {
		r.note(n)
	}
	r.did(o.Case)
	r.attempted(o.Attacks)
	if o.NotRun != "" {
		r.NotRun = o.NotRun
	}
	if o.Violation == nil || ctx.Err() != nil {
		return false
	}
	r.found(o.Violation.Kind)
	v := violation{Family: f.name, Seed: s.seed, Round: round, Long: s.limit >= longSoak, Violation: *o.Violation}
	s.bad = append(s.bad, v)
	fmt.Fprint(os.Stderr, v)
	return true
}

func (s *soak) process(ctx context.Context, f family, round int) (o outcome) {
	self, err := os.Executable()
	if err != nil {
		return outcome{Violation: verdict.Of(err)}
	}
	limited, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	cmd := exec.CommandContext(limited, self, "-child", "-for", s.limit.String(), "-only", f.name, "-seed", strconv.FormatUint(s.seed, 10), "-round", strconv.Itoa(round))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	if errors.Is(limited.Err(), context.DeadlineExceeded) {
		return outcome{Violation: verdict.New(verdict.Hang, "the round has not ended after %v", roundLimit)}
	}
	if jerr := json.Unmarshal(out.Bytes(), &o); err != nil || jerr != nil {
		return outcome{Violation: verdict.New(verdict.Exit, "the round's process: %v, %v\n%.8000s", err, jerr, errs.String())}
	}
	return o
}
