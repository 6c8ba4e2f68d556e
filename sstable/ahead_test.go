package sstable

import (
	"errors"
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/keyring"
	"github.com/stretchr/testify/require"
)

const (
	segmentsPerRun = runLen / DefaultUnitSize
	bytesPerRun    = segmentsPerRun * (DefaultUnitSize - floe.SegmentOverhead)
)

// An aheadTest is a file of several runs that is read forward. Its fields are
// changed only while no run is under way.
type aheadTest struct {
	*sealed
	t      *testing.T
	r      *Reader
	f      *memFile
	q      *Sequential
	opened *atomic.Int64
	loads  []int64       // the run of each read
	fail   func() error  // of reads, if not nil
	gate   chan struct{} // reads wait for it, if not nil
}

func newAheadTest(t *testing.T) *aheadTest {
	a := &aheadTest{t: t, opened: new(atomic.Int64)}
	a.sealed = seal(t, randomBytes(6*bytesPerRun-1), Options{Suite: countingSuite(a.opened)})
	a.r, a.f = a.mustOpen(t)
	a.f.readFn = func(p []byte, off int64) (int, error) {
		if a.gate != nil {
			<-a.gate
		}
		a.loads = append(a.loads, (off-keyring.HeaderLen)/runLen)
		if a.fail != nil {
			if err := a.fail(); err != nil {
				return 0, err
			}
		}
		return a.f.readAt(p, off)
	}
	a.q = a.r.NewSequential()
	return a
}

// read reads a run, which must be that of the file.
func (a *aheadTest) read(run int) {
	a.t.Helper()
	p := make([]byte, min(bytesPerRun, len(a.plain)-run*bytesPerRun))
	_, err := a.q.ReadAt(p, int64(run*bytesPerRun))
	require.NoError(a.t, err)
	requireSame(a.t, a.plain[run*bytesPerRun:][:len(p)], p)
}

// wait waits for the run that was begun.
func (a *aheadTest) wait() {
	a.t.Helper()
	select {
	case <-a.q.ahead.done:
		a.q.ahead.done <- struct{}{}
	case <-time.After(10 * time.Second):
		a.t.Fatal("nobody has opened the run")
	}
}

// TestAhead: from the second run on the next one is loaded and opened before
// anybody asks for it, once, and none behind the end.
func TestAhead(t *testing.T) {
	t.Parallel()
	a := newAheadTest(t)
	a.read(0)
	require.Nil(t, a.q.ahead, "one run is no sign that there will be more")
	for run := 1; run < 5; run++ {
		a.read(run)
		a.wait()
		require.Len(t, a.loads, run+2)
		require.EqualValues(t, (run+2)*segmentsPerRun, a.opened.Load())
	}
	a.read(5)
	require.Equal(t, []int64{0, 1, 2, 3, 4, 5}, a.loads)
	require.EqualValues(t, a.segments(), a.opened.Load())
	require.Zero(t, a.q.ahead.count)
	require.NoError(t, a.q.Close())
}

// TestAheadUnclaimed: a run that nobody has come to is read by the owner; a
// goroutine that comes late finds nothing, or a later run.
func TestAheadUnclaimed(t *testing.T) {
	t.Parallel()
	a := newAheadTest(t)
	q := aheads.New().(*ahead) // that nobody is late for
	work := q.work
	q.work = func() {}
	a.q.ahead = q
	for run := range 4 {
		a.read(run)
	}
	require.Equal(t, []int64{0, 1, 2, 3}, a.loads)
	q.take()
	q.coming.Store(false)
	work()
	require.Len(t, a.loads, 4)

	a.read(4) // begins 5, for which a goroutine comes that was late for another
	require.True(t, q.coming.Load())
	work()
	require.False(t, q.coming.Load())
	require.Len(t, a.loads, 6)
	opened := a.opened.Load()
	a.read(5)
	require.Equal(t, opened, a.opened.Load())
	q.work = work
	require.NoError(t, a.q.Close())
}

// TestAheadElsewhere: a reader that goes elsewhere leaves the run, which it
// neither reads nor trips over later.
func TestAheadElsewhere(t *testing.T) {
	t.Parallel()
	a := newAheadTest(t)
	a.read(0)
	a.read(1)
	a.wait()
	p := make([]byte, 100)
	_, err := a.q.ReadAt(p, 5*bytesPerRun)
	require.NoError(t, err)
	requireSame(t, a.plain[5*bytesPerRun:][:100], p)
	a.read(2)
	a.wait()
	_, err = a.q.ReadAt(p, 3*bytesPerRun+50) // within what was opened ahead
	require.NoError(t, err)
	requireSame(t, a.plain[3*bytesPerRun+50:][:100], p)
	a.wait() // it has gone on from run 2
	require.Equal(t, []int64{0, 1, 2, 5, 3, 4}, a.loads)
	require.NoError(t, a.q.Close())
}

// TestAheadFaults: a fault ahead is none until its bytes are asked for, and then
// names them; another failure that has passed by then has never been.
func TestAheadFaults(t *testing.T) {
	t.Parallel()
	a := newAheadTest(t)
	broken := 3*segmentsPerRun + 7
	a.b[a.offset(broken)+100] ^= 1
	for run := range 3 {
		a.read(run)
	}
	a.wait()
	require.Nil(t, a.r.failed.Load())
	require.Error(t, a.q.ahead.err)
	p := make([]byte, 7*(DefaultUnitSize-floe.SegmentOverhead))
	_, err := a.q.ReadAt(p, 3*bytesPerRun)
	require.NoError(t, err, "what lies before the fault is whole")
	_, err = a.q.ReadAt(p, 3*bytesPerRun+int64(len(p)))
	e := requireCorrupt(t, err, corrupt.ErrAuth)
	require.EqualValues(t, a.offset(broken), e.Offset)
	_, err = a.q.ReadAt(p, 0)
	require.Same(t, e, requireCorrupt(t, err, corrupt.ErrAuth), "a fault is final")
	require.NoError(t, a.q.Close())

	a = newAheadTest(t)
	a.read(0)
	failures := 0
	a.fail = func() error {
		if len(a.loads) == 3 {
			failures++
			return errInjected
		}
		return nil
	}
	a.read(1)
	a.wait()
	require.Equal(t, 1, failures)
	a.read(2)
	a.wait()
	require.Equal(t, []int64{0, 1, 2, 2, 3}, a.loads)
	require.NoError(t, a.q.Close())
}

// TestAheadCloses: a close waits for the run that is under way, and leaves
// nothing of it in the pool; the next read begins anew.
func TestAheadCloses(t *testing.T) {
	// Not parallel: it looks at what it has given back.
	a := newAheadTest(t)
	a.read(0)
	a.read(1)
	a.wait()
	ahead := a.q.ahead
	a.q.mu.Lock()
	ahead.take()
	a.gate = make(chan struct{})
	ahead.begin(a.r, 3*segmentsPerRun, segmentsPerRun)
	a.q.mu.Unlock()
	require.Eventually(t, func() bool { return ahead.state.Load() == claimed }, 10*time.Second, time.Millisecond)
	closed := make(chan error, 1)
	go func() { closed <- a.q.Close() }()
	select {
	case <-closed:
		t.Fatal("it closed, and a run is under way")
	case <-time.After(20 * time.Millisecond):
	}
	close(a.gate)
	require.NoError(t, <-closed)
	for _, p := range ahead.plain {
		require.NotEmpty(t, p)
		require.Equal(t, make([]byte, len(p)), p)
	}
	a.read(4)
	require.NoError(t, a.q.Close())

	// Without a close of its own it ends with the Reader.
	a.read(0)
	a.read(1)
	require.NoError(t, a.r.Close())
	_, err := a.q.ReadAt(make([]byte, 10), 2*bytesPerRun)
	require.True(t, errors.Is(err, fs.ErrClosed), err)
	require.NoError(t, a.q.Close())
}
