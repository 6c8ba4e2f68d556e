package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// barWidth is how many columns the bar itself takes.
const barWidth = 24

// A progress is the bar of a long job on a terminal. Where there is none, or
// it is not wanted, it only passes notes on.
type progress struct {
	app     *app
	bars    *mpb.Progress // nil: no bar
	bar     *mpb.Bar
	entries atomic.Int64
	files   atomic.Int64 // of how many; 0 where that is not known
}

// progress draws on standard error if that is a terminal.
func (a *app) progress(name string, in *input) *progress {
	if a.json || a.quiet || !isTerminal(a.stderr) {
		return &progress{app: a}
	}
	return a.draw(name, in, mpb.WithOutput(a.stderr))
}

// draw shows entries, bytes, rate and, where the total is known, time left.
func (a *app) draw(name string, in *input, opts ...mpb.ContainerOption) *progress {
	p := &progress{app: a}
	p.files.Store(int64(in.files))
	p.bars = mpb.New(append(opts, mpb.WithRefreshRate(150*time.Millisecond))...)
	entries := decor.Any(func(decor.Statistics) string {
		n := thousands(p.entries.Load())
		if files := p.files.Load(); files > 0 {
			n += " of " + thousands(files)
		}
		return n
	}, decor.WCSyncSpaceR)
	before := []decor.Decorator{decor.Name(name, decor.WCSyncSpaceR), entries}
	rate := decor.AverageSpeed(decor.SizeB1024(0), "% .1f", decor.WCSyncSpace)
	if in.total >= 0 {
		p.bar = p.bars.AddBar(in.total, mpb.BarRemoveOnComplete(), mpb.BarWidth(barWidth), mpb.PrependDecorators(before...),
			mpb.AppendDecorators(decor.Counters(decor.SizeB1024(0), "% .1f of % .1f"), rate,
				decor.Any(left(decor.AverageETA(decor.ET_STYLE_GO)), decor.WCSyncSpace)))
	} else {
		p.bar = p.bars.AddSpinner(0, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(before...),
			mpb.AppendDecorators(decor.Current(decor.SizeB1024(0), "% .1f"), rate))
	}
	return p
}

// left says what an ETA is.
func left(eta decor.Decorator) func(decor.Statistics) string {
	return func(s decor.Statistics) string {
		text, _ := eta.Decor(s)
		return text + " left"
	}
}

// set says how much is committed: entries, and bytes of the input.
func (p *progress) set(entries, bytes int64) {
	p.entries.Store(entries)
	if p.bars != nil {
		p.bar.SetCurrent(bytes)
	}
}

// total says how much there is, where that is learned as it goes.
func (p *progress) total(files int, bytes int64) {
	p.files.Store(int64(files))
	if p.bars != nil {
		p.bar.SetTotal(bytes, false)
	}
}

// note prints a line above the bar.
func (p *progress) note(format string, args ...any) {
	if p.bars == nil {
		p.app.note(format, args...)
		return
	}
	fmt.Fprintf(p.bars, "cofre: %s\n", safeLine(fmt.Sprintf(format, args...)))
}

// done takes the bar away.
func (p *progress) done() {
	if p.bars != nil {
		p.bar.Abort(true)
		p.bars.Wait()
	}
}
