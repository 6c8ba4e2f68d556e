package backup

import (
	"context"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A Progress tells how far a call is. It is handed to a callback, by one goroutine at a
// time.
type Progress struct {
	Phase string `json:"phase"` // such as "copy"
	Files int    `json:"files"` // in all
	Done  int    `json:"done"`  // of them
	// Bytes are all that are to be moved, as far as is known; Moved those that were, and
	// Reused those that need not be.
	Bytes  int64 `json:"bytes"`
	Moved  int64 `json:"moved"`
	Reused int64 `json:"reused"`
}

// A meter adds up progress.
type meter struct {
	report func(Progress)
	limit  *rate.Limiter // nil: none
	// polite bounds what is moved while busy tells that others have work; nil: never.
	polite *rate.Limiter
	busy   func() bool

	mu     sync.Mutex
	p      Progress
	last   time.Time // of the last report
	looked time.Time // when busy was asked last
	slow   bool      // what it said
}

// lookEvery is how often busy is asked, at most.
const lookEvery = 200 * time.Millisecond

// giveWay has the meter move less while busy says so.
func (m *meter) giveWay(bytesPerSecond int64, busy func() bool) {
	m.polite, m.busy = rate.NewLimiter(rate.Limit(bytesPerSecond), chunk), busy
}

// limits are those that hold now.
func (m *meter) limits() (list []*rate.Limiter) {
	if m.limit != nil {
		list = append(list, m.limit)
	}
	if m.polite == nil {
		return list
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.looked) >= lookEvery {
		m.looked, m.slow = time.Now(), m.busy()
	}
	if m.slow {
		list = append(list, m.polite)
	}
	return list
}

// meterEvery is how often progress is told, at most.
const meterEvery = 50 * time.Millisecond

func newMeter(phase string, report func(Progress), bytesPerSecond int64) *meter {
	m := &meter{report: report, p: Progress{Phase: phase}}
	if bytesPerSecond > 0 {
		m.limit = rate.NewLimiter(rate.Limit(bytesPerSecond), chunk)
	}
	return m
}

func (m *meter) change(f func(p *Progress)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.p)
	if m.report != nil && time.Since(m.last) >= meterEvery {
		m.last = time.Now()
		m.report(m.p)
	}
}

// end tells the last of it.
func (m *meter) end() Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.report != nil {
		m.report(m.p)
	}
	return m.p
}

// moved waits until n bytes may be moved, and counts them.
func (m *meter) moved(ctx context.Context, n int) error {
	for _, l := range m.limits() {
		for left := n; left > 0; left -= chunk {
			if err := l.WaitN(ctx, min(left, chunk)); err != nil {
				return err
			}
		}
	}
	m.change(func(p *Progress) { p.Moved += int64(n) })
	return ctx.Err()
}

// chunk is how much of a file is in memory, in bytes.
const chunk = 256 << 10

// A paced source counts, and is slowed down at, the bytes that are read of it the first
// time: of a repetition nothing is to be told.
type paced struct {
	ctx  context.Context
	src  io.ReaderAt
	size int64
	m    *meter

	mu   sync.Mutex
	read int64 // up to here; guarded by mu
}

func (p *paced) Size() int64 { return p.size }

func (p *paced) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.src.ReadAt(b, off)
	p.mu.Lock()
	fresh := max(0, off+int64(n)-p.read)
	p.read += fresh
	p.mu.Unlock()
	if werr := p.m.moved(p.ctx, int(fresh)); werr != nil {
		return 0, werr
	}
	return n, err
}
