package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// A lossCrash is the disk after a crash, and which archives had been verified how often.
type lossCrash struct {
	fs       *vfs.MemFS
	what     string
	verified map[string]int
}

// TestKeyLossCrashes crashes after each change to the disk around each step. What is left
// goes on from there: the table is dropped once, and never without an archive that was
// verified when it was made and before the drop; or its key is back, and all is there.
func TestKeyLossCrashes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewCrashableMem()
		hook := &hookFS{FS: mem, gone: make(map[string]string)}
		var armed atomic.Bool
		var mu sync.Mutex
		var crashes []lossCrash
		var w *lossWorld
		hook.hook = func(op, path string) {
			if strings.Contains(path, snapshotsDir) && w.s != nil && w.s.loss != nil {
				armed.Store(true) // the table is held for its archive
			}
			if !armed.Load() {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, percent := range []int{0, 100} {
				crashes = append(crashes, lossCrash{
					fs: crashNow(hook, mem, percent), verified: w.archive.counts(),
					what: fmt.Sprintf("%d: %s %s, with %d %% of what was not synced", len(crashes), op, path, percent),
				})
			}
		}
		w = newLossWorld(t, hook, func(o *Options) { o.KeyLoss.Grace, o.KeyLoss.Keep = 2*day, 2*day })
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(crashes)
		}
		w.archive.mu.Lock()
		w.archive.during = func(string) { armed.Store(true) } // until the step is told
		w.archive.mu.Unlock()
		notify := w.opts.KeyLoss.Notify
		w.close()
		w.opts.KeyLoss.Notify = func(e KeyLossEvent) {
			notify(e)
			armed.Store(false)
		}
		w.open()
		armed.Store(true)
		w.lose()
		found := count()
		w.pass(3 * day)
		archived := count()
		require.Len(t, w.archive.refs(), 1)
		w.pass(2 * day)
		require.Equal(t, []string{"clinic.visits"}, w.names())
		require.NotZero(t, found)
		require.Greater(t, archived, found+10)
		require.Greater(t, count(), archived+10)
		armed.Store(false)
		w.archive.mu.Lock()
		w.archive.during = nil
		w.archive.mu.Unlock()
		w.close()
		t.Logf("%d crashes: %d when it is found, %d at the archive, %d at the drop",
			len(crashes), found, archived-found, len(crashes)-archived)
		step := 1
		if testing.Short() {
			step = 5
		}
		for i := 0; i < len(crashes); i += step {
			w.checkLossCrash(crashes[i])
		}
	})
}

// crashNow is the disk after a power cut, with some of what was not synced.
func crashNow(h *hookFS, mem *vfs.MemFS, percent int) *vfs.MemFS {
	h.links.Lock()
	defer h.links.Unlock()
	return mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 2))})
}

func (w *lossWorld) checkLossCrash(c lossCrash) {
	t := w.t
	again := c.fs.CrashClone(vfs.CrashCloneCfg{})
	opts := w.opts
	defer func() { w.opts = opts }()

	// The key is back.
	w.own.fail(nil)
	w.opts.FS, w.opts.KeyLoss = c.fs, nil
	w.open()
	requireVerified(t, w.s)
	if len(w.names()) == 2 {
		w.requireRows()
		dirs, err := w.table().snapshotDirs()
		require.NoError(t, err)
		require.Empty(t, dirs, "after %s: what was held goes", c.what)
	} else {
		w.requireDropped(c.verified, c.what)
	}
	w.close()

	// It is not.
	w.own.fail(keyring.ErrKeyDenied)
	w.opts.FS, w.opts.KeyLoss = again, opts.KeyLoss
	w.mu.Lock()
	w.events = nil
	w.mu.Unlock()
	before := w.archive.counts()
	w.open()
	if len(w.names()) == 1 {
		w.requireDropped(c.verified, c.what)
	} else {
		w.pass(6 * day)
		ref := w.last(KeyLossDropped).Loss.Archive
		if c.verified[ref] > 0 {
			before[ref] = c.verified[ref] // made before the crash
			require.Greater(t, w.archive.counts()[ref], 1, "after %s", c.what)
		} else {
			require.Equal(t, 2, w.archive.counts()[ref]-before[ref], "after %s", c.what)
		}
		require.Len(t, w.s.Dropped(), 1, "after %s", c.what)
	}
	require.Equal(t, []string{"clinic.visits"}, w.names(), "after %s", c.what)
	requireVerified(t, w.s)
	w.close()
}

// requireDropped has the table dropped once, by a process that had verified the archive
// twice.
func (w *lossWorld) requireDropped(verified map[string]int, what string) {
	require.Len(w.t, w.s.Dropped(), 1, "after %s", what)
	require.Len(w.t, verified, 1, "after %s", what)
	for ref, n := range verified {
		require.Equal(w.t, 2, n, "%s after %s", ref, what)
	}
	require.NotContains(w.t, w.told(), string(KeyLossArchived))
}

// TestKeyLossDiskFails fails the changes to the disk around each step: no step is taken
// that is not recorded, and it goes on when the disk works.
func TestKeyLossDiskFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewCrashableMem()
		hook := &hookFS{FS: mem, hook: func(string, string) {}, gone: make(map[string]string)}
		w := newLossWorld(t, hook, func(o *Options) { o.KeyLoss.Grace, o.KeyLoss.Keep = 2*day, 2*day })
		w.lose()
		w.archive.mu.Lock()
		w.archive.during = func(string) { hook.dead.Store(true) }
		w.archive.mu.Unlock()
		w.pass(4 * day)
		require.Empty(t, w.loss().Archive)
		require.NotContains(t, w.told(), string(KeyLossArchived))
		hook.dead.Store(false)
		_ = w.s.Close()
		w.archive.mu.Lock()
		w.archive.during = nil
		w.archive.mu.Unlock()
		w.open()
		w.pass(day)
		require.Len(t, w.names(), 2)
		require.NotEmpty(t, w.loss().Archive)
		w.archive.mu.Lock()
		w.archive.during = func(string) { hook.dead.Store(true) }
		w.archive.mu.Unlock()
		w.pass(5 * day)
		require.Len(t, w.names(), 2)
		hook.dead.Store(false)
		_ = w.s.Close()
		w.own.fail(nil)
		w.open()
		w.requireRows()
		_, err := w.s.DropTable(context.Background(), lossTable, DropOptions{})
		require.NoError(t, err)
	})
}
