package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/cofredb/cofre/bench"
)

// barWidth is how many columns the bar itself takes.
const barWidth = 20

// A progress is the line of a run on a terminal; elsewhere it is nothing.
type progress struct {
	bars  *mpb.Progress // nil: no bar
	bar   *mpb.Bar
	doing atomic.Value // string
	began time.Time
}

func newProgress(stderr io.Writer, quiet bool) *progress {
	p := &progress{began: time.Now()}
	p.doing.Store("")
	if f, ok := stderr.(*os.File); ok && !quiet && term.IsTerminal(int(f.Fd())) {
		p.draw(mpb.WithOutput(stderr))
	}
	return p
}

// draw shows turns, time left, and what is being done.
func (p *progress) draw(opts ...mpb.ContainerOption) {
	p.bars = mpb.New(append(opts, mpb.WithRefreshRate(200*time.Millisecond))...)
	p.bar = p.bars.AddBar(1, mpb.BarRemoveOnComplete(), mpb.BarWidth(barWidth),
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d turns ")),
		mpb.AppendDecorators(
			decor.Any(func(s decor.Statistics) string { return " " + p.left(s.Current, s.Total) }),
			decor.Any(func(decor.Statistics) string { return "  " + p.doing.Load().(string) }),
		))
}

// left is the time that the turns to come will take if they are like those that
// are done.
func (p *progress) left(done, turns int64) string {
	if done == 0 {
		return "? left"
	}
	return left(time.Since(p.began)*time.Duration(turns-done)/time.Duration(done)) + " left"
}

func (p *progress) tell(now bench.Progress) {
	p.doing.Store(now.Doing)
	if p.bars != nil {
		p.bar.SetTotal(int64(now.Turns), false)
		p.bar.SetCurrent(int64(now.Done))
	}
}

// done takes the bar away.
func (p *progress) done() {
	if p.bars != nil {
		p.bar.Abort(true)
		p.bars.Wait()
	}
}

// left rounds a time for reading.
func left(d time.Duration) string {
	if d < time.Minute {
		return d.Round(time.Second).String()
	}
	m := d.Round(time.Minute) / time.Minute
	return fmt.Sprintf("%dm", m)
}
