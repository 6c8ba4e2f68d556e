package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/audit"
	"github.com/cofredb/cofre/keyring/local"
)

// A memArchive keeps archives in memory, and fails as told.
type memArchive struct {
	mu         sync.Mutex
	kept       map[string]map[string]string // reference to files
	lockboxes  map[string]string
	archiveErr error
	verifyErr  error
	verified   map[string]int
	during     func(what string) // called at each call's begin
}

func newMemArchive() *memArchive {
	return &memArchive{kept: make(map[string]map[string]string), lockboxes: make(map[string]string), verified: make(map[string]int)}
}

func (a *memArchive) begin(what string) {
	a.mu.Lock()
	during := a.during
	a.mu.Unlock()
	if during != nil {
		during(what)
	}
}

func (a *memArchive) Archive(ctx context.Context, h *Held) (string, error) {
	a.begin("archive")
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.archiveErr != nil {
		return "", a.archiveErr
	}
	files := make(map[string]string)
	for _, f := range h.Files {
		in, err := h.Open(f.Name)
		if err != nil {
			return "", err
		}
		b, err := io.ReadAll(io.NewSectionReader(in, 0, 1<<30))
		if err = errors.Join(err, in.Close()); err != nil {
			return "", err
		}
		files[f.Name] = string(b)
	}
	box, err := h.Table().Lockbox()
	if err != nil {
		return "", err
	}
	ref := fmt.Sprintf("mem:%s/%d", h.Table().ID(), len(a.kept)+1)
	a.kept[ref], a.lockboxes[ref] = files, string(box)
	return ref, ctx.Err()
}

func (a *memArchive) Verify(ctx context.Context, ref string) error {
	a.begin("verify")
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.verifyErr != nil {
		return a.verifyErr
	}
	if a.kept[ref] == nil {
		return fmt.Errorf("no archive %s", ref)
	}
	a.verified[ref]++
	return ctx.Err()
}

func (a *memArchive) fail(archive, verify error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.archiveErr, a.verifyErr = archive, verify
}

// files are what an archive has.
func (a *memArchive) files(ref string) (files map[string]string, lockbox string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.kept[ref], a.lockboxes[ref]
}

// counts tells how often each archive was verified.
func (a *memArchive) counts() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.verified)
}

// refs are the references to all archives.
func (a *memArchive) refs() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.kept))
}

// A lossWorld is a store with two tables, each with a root key of its own, in fake time.
type lossWorld struct {
	t       *testing.T
	fs      vfs.FS
	opts    Options
	own     *memRoot // of clinic.patients
	other   *memRoot // of clinic.visits
	archive *memArchive
	rows    map[string]string
	s       *Store
	begun   time.Time

	mu     sync.Mutex
	events []KeyLossEvent
	skew   time.Duration
	audit  []audit.Record
}

const lossTable = "clinic.patients"

func newLossWorld(t *testing.T, fs vfs.FS, change func(*Options)) *lossWorld {
	w := &lossWorld{t: t, fs: fs, own: newMemRoot("own"), other: newMemRoot("other"), archive: newMemArchive(), begun: time.Now()}
	w.opts = crashOptions(newMemRoot("store"), fs)
	w.opts.Roots = []keyring.RootKey{w.own, w.other}
	w.opts.tune.scheduleTick = 1e6 * time.Hour
	w.opts.clock = func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return time.Now().Round(0).Add(w.skew)
	}
	w.opts.Audit.FileSize = 16 << 10 // a sync of a file in memory copies it
	w.opts.Audit.Sink = func(r audit.Record) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.audit = append(w.audit, r)
	}
	w.opts.KeyLoss = &KeyLossPolicy{Archive: w.archive, Notify: func(e KeyLossEvent) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}}
	if change != nil {
		change(&w.opts)
	}
	w.open()
	t.Cleanup(func() { w.close() }) // goroutines must not outlive fake time
	for name, root := range map[string]keyring.RootKey{lossTable: w.own, "clinic.visits": w.other} {
		tab, err := w.s.CreateTable(t.Context(), name, TableOptions{RootKey: root})
		require.NoError(t, err)
		for i := range 50 {
			require.NoError(t, tab.Put(fmt.Appendf(nil, "%03d", i), []byte(name), &WriteOptions{NoSync: true}))
		}
		require.NoError(t, tab.Flush())
		require.NoError(t, tab.Put([]byte("in the log"), []byte("v"), nil))
		if name == lossTable {
			w.rows = tableRows(t, tab)
		}
		require.NoError(t, tab.Close())
	}
	return w
}

func (w *lossWorld) open() {
	s, err := Open(w.t.Context(), crashDir, w.opts)
	require.NoError(w.t, err)
	w.s = s
	s.journal.mu.Lock()
	s.journal.turn = 16 << 10
	s.journal.mu.Unlock()
	synctest.Wait()
}

func (w *lossWorld) close() { require.NoError(w.t, w.s.Close()) }

func (w *lossWorld) table() *Table {
	tab, err := w.s.Table(lossTable)
	require.NoError(w.t, err)
	return tab
}

// pass lets time pass, and what is to be done in it be done.
func (w *lossWorld) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *lossWorld) jump(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skew += d
}

// told are the steps that Notify has heard of.
func (w *lossWorld) told() (steps []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		steps = append(steps, string(e.Step))
	}
	return steps
}

// last is the last event of a step.
func (w *lossWorld) last(step KeyLossStep) KeyLossEvent {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range slices.Backward(w.events) {
		if e.Step == step {
			return e
		}
	}
	require.Fail(w.t, "no event", "%s in %v", step, w.events)
	return KeyLossEvent{}
}

func (w *lossWorld) names() (names []string) {
	for _, info := range w.s.Tables() {
		names = append(names, info.Name)
	}
	return names
}

func (w *lossWorld) loss() *KeyLoss { return w.table().lossStatus() }

// lose has the key denied, and noticed.
func (w *lossWorld) lose() {
	w.own.fail(keyring.ErrKeyDenied)
	_, err := w.table().Get([]byte("000"))
	require.ErrorIs(w.t, err, ErrKeyInaccessible)
	synctest.Wait()
	require.NotNil(w.t, w.loss())
}

// requireRows has the key back, and all rows there.
func (w *lossWorld) requireRows() {
	require.Equal(w.t, w.rows, tableRows(w.t, w.table()))
	require.Nil(w.t, w.loss())
}

// look has the table looked at now.
func (w *lossWorld) look() {
	w.s.loss.suspect(w.table())
	synctest.Wait()
}

// unwraps counts the questions to both key services.
func (w *lossWorld) unwraps() int {
	w.own.mu.Lock()
	defer w.own.mu.Unlock()
	w.other.mu.Lock()
	defer w.other.mu.Unlock()
	return w.own.unwrap + w.other.unwrap
}

const day = 24 * time.Hour

func lossTest(t *testing.T, f func(t *testing.T, w *lossWorld)) { lossTestAs(t, nil, f) }

func lossTestAs(t *testing.T, change func(*Options), f func(t *testing.T, w *lossWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, newLossWorld(t, vfs.NewCrashableMem(), change))
	})
}

// TestKeyLoss lives through all of it: each step on its date, announced, recorded, and
// the other table in use meanwhile.
func TestKeyLoss(t *testing.T) {
	t.Parallel()
	lossTest(t, func(t *testing.T, w *lossWorld) {
		begun := time.Now()
		w.lose()
		within := func(at time.Time, d, slack time.Duration) {
			t.Helper()
			require.GreaterOrEqual(t, at.Sub(begun), d)
			require.Less(t, at.Sub(begun), d+slack)
		}
		require.Equal(t, []string{"key lost"}, w.told())
		e := w.last(KeyLost)
		require.Equal(t, lossTable, e.Table)
		require.True(t, e.Loss.Since.Equal(begun))
		require.True(t, e.Loss.ArchiveAt.Equal(begun.Add(7*day)))
		require.True(t, e.Loss.DropAt.Equal(begun.Add(42*day)))
		require.Equal(t, nextArchive, e.Loss.Next)

		w.pass(5*day + 22*time.Hour)
		require.Len(t, w.told(), 1)
		w.pass(4 * time.Hour)
		require.Equal(t, []string{"key lost", "next step soon"}, w.told())
		within(w.last(KeyLossNoticed).At, 6*day, 2*time.Hour)
		w.pass(20 * time.Hour)
		require.Empty(t, w.archive.refs())
		w.pass(5 * time.Hour)
		require.Equal(t, []string{"key lost", "next step soon", "archived"}, w.told())
		e = w.last(KeyLossArchived)
		within(e.At, 7*day, 2*time.Hour)
		require.Len(t, w.archive.refs(), 1)
		files, lockbox := w.archive.files(e.Loss.Archive)
		require.NotEmpty(t, files)
		require.NotEmpty(t, lockbox)
		require.Equal(t, 1, w.archive.counts()[e.Loss.Archive], "verified when it is made")
		require.Equal(t, nextDrop, e.Loss.Next)
		archived := e.At
		require.True(t, e.Loss.ArchivedAt.Equal(archived))
		require.Nil(t, e.Loss.ArchiveAt)

		other, err := w.s.Table("clinic.visits")
		require.NoError(t, err)
		require.NoError(t, other.Put([]byte("later"), nil, nil))
		require.NoError(t, other.Close())
		w.pass(33*day + 20*time.Hour)
		require.Len(t, w.told(), 3)
		w.pass(8 * time.Hour)
		require.Len(t, w.told(), 4)
		e = w.last(KeyLossNoticed)
		require.Equal(t, nextDrop, e.Loss.Next)
		require.WithinRange(t, e.At, archived.Add(34*day), archived.Add(34*day+3*time.Hour))
		require.Equal(t, []string{lossTable, "clinic.visits"}, w.names())
		w.pass(day)
		require.Equal(t, []string{"key lost", "next step soon", "archived", "next step soon", "dropped"}, w.told())
		e = w.last(KeyLossDropped)
		require.WithinRange(t, e.At, archived.Add(35*day), archived.Add(35*day+3*time.Hour))
		require.Equal(t, lossTable, e.Report.Table)
		require.NotEmpty(t, e.Loss.Archive)
		require.NoError(t, e.Err)
		require.Equal(t, []string{"clinic.visits"}, w.names())
		require.Len(t, w.archive.refs(), 1, "the archive stays")
		require.Equal(t, 2, w.archive.counts()[e.Loss.Archive], "and again before the drop")
		require.Equal(t, lossTable, w.s.Dropped()[0].Name)
		w.pass(2 * day)
		require.Len(t, w.told(), 5)

		// Others are as they were, and each step is in the audit log.
		require.Len(t, tableRows(t, other), len(w.rows)+1)
		requireVerified(t, w.s)
		var events []string
		w.mu.Lock()
		for _, r := range w.audit {
			if r.Outcome == audit.OutcomeSuccess && slices.Contains([]string{audit.EventKeyLost, audit.EventKeyLossNotice, audit.EventArchiveTable, audit.EventDropTable}, r.Event) {
				require.Equal(t, e.ID, r.TableID())
				events = append(events, r.Event+" "+r.Request.Archive)
				require.Equal(t, r.Event == audit.EventDropTable, r.Request.Due.IsZero(), r.Event)
			}
		}
		w.mu.Unlock()
		require.Equal(t, []string{"KeyLost ", "KeyLossNotice ", "ArchiveTable " + e.Loss.Archive, "KeyLossNotice " + e.Loss.Archive, "DropTable " + e.Loss.Archive}, events)
	})
}

// TestKeyLossRestored has the key back at each stage: the clock is cleared, all rows are
// there, and a later loss begins anew.
func TestKeyLossRestored(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{time.Hour, 6*day + 12*time.Hour, 8 * day, 41 * day} {
		lossTest(t, func(t *testing.T, w *lossWorld) {
			w.lose()
			w.pass(after)
			require.NotNil(t, w.loss())
			w.own.fail(nil)
			w.pass(2 * time.Hour)
			require.Nil(t, w.loss(), "a look finds it")
			require.Equal(t, "key is back", w.told()[len(w.told())-1])
			told := len(w.told())
			w.requireRows()
			require.NoError(t, w.table().Close())
			w.pass(50 * day)
			require.Len(t, w.told(), told)
			w.lose()
			require.True(t, w.loss().ArchiveAt.Equal(time.Now().Add(7*day)))
			// It is used before there is a look: that ends it too.
			w.pass(10 * day)
			w.own.fail(nil)
			w.requireRows()
			synctest.Wait()
			require.Equal(t, "key is back", w.told()[len(w.told())-1])
		})
	}
	// In the middle of an archiving, and of the verification before the drop.
	for step, what := range map[string]time.Duration{"archive": 8 * day, "verify": 44 * day} {
		lossTest(t, func(t *testing.T, w *lossWorld) {
			w.lose()
			if step == "verify" {
				w.pass(10 * day)
			}
			w.archive.mu.Lock()
			w.archive.during = func(at string) {
				if at == step {
					w.own.fail(nil)
				}
			}
			w.archive.mu.Unlock()
			w.pass(what)
			require.Nil(t, w.loss(), step)
			require.Equal(t, "key is back", w.told()[len(w.told())-1], step)
			require.NotContains(t, w.told(), "dropped")
			w.requireRows()
			requireVerified(t, w.s)
		})
	}
}

// TestKeyLossByLease has a table in use lose its key: its lease notices.
func TestKeyLossByLease(t *testing.T) {
	t.Parallel()
	lossTest(t, func(t *testing.T, w *lossWorld) {
		require.Equal(t, w.rows, tableRows(t, w.table()))
		w.own.fail(fmt.Errorf("%w: by hand", keyring.ErrKeyDenied))
		w.look()
		require.Nil(t, w.loss(), "it is open, and has its key")
		w.pass(DefaultKeyLease)
		require.Equal(t, []string{"key lost"}, w.told())
		w.own.fail(nil)
		w.pass(time.Minute) // the lease's goroutine asks
		require.Equal(t, []string{"key lost", "key is back"}, w.told())
		w.requireRows()
	})
}

// TestKeyLossIsNot: what does not say that the key is gone starts no clock.
func TestKeyLossIsNot(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"unreachable": keyring.ErrKeyUnreachable, "throttled": keyring.ErrKeyThrottled, "other": errors.New("out of order"),
		"wrong": keyring.ErrWrongContext, "both": fmt.Errorf("%w: %w", keyring.ErrKeyDenied, keyring.ErrKeyUnreachable),
	} {
		lossTest(t, func(t *testing.T, w *lossWorld) {
			w.own.fail(err)
			_, gerr := w.table().Get([]byte("000"))
			require.Error(t, gerr, name)
			w.pass(15 * day)
			require.Nil(t, w.loss(), name)
			require.Empty(t, w.told(), name)
			w.own.fail(nil)
			w.requireRows()
		})
	}
	lossTest(t, func(t *testing.T, w *lossWorld) {
		// Nor does a lock by its user.
		require.NoError(t, w.table().Lock(t.Context()))
		w.pass(15 * day)
		require.Empty(t, w.told())
		require.NoError(t, w.table().Unlock(t.Context()))
		w.requireRows()
	})
	lossTest(t, func(t *testing.T, w *lossWorld) {
		// A root key that the store is opened without.
		w.close()
		w.opts.Roots = []keyring.RootKey{w.other}
		w.own.fail(keyring.ErrKeyNotFound)
		w.open()
		w.pass(10 * day)
		require.Empty(t, w.told())
	})
	lossTest(t, func(t *testing.T, w *lossWorld) {
		// One of two root keys; then both.
		require.NoError(t, w.table().AddRoot(t.Context(), w.other))
		require.NoError(t, w.table().Close())
		w.own.fail(keyring.ErrKeyDenied)
		w.pass(10 * day)
		w.other.fail(keyring.ErrKeyUnreachable)
		w.pass(10 * day)
		require.Empty(t, w.told())
		w.other.fail(keyring.ErrKeyNotFound)
		w.pass(2 * time.Hour)
		require.Equal(t, []string{"key lost", "key lost"}, w.told(), "of both tables")
		w.other.fail(nil)
		w.pass(2 * time.Hour)
		w.requireRows()
	})
	lossTest(t, func(t *testing.T, w *lossWorld) {
		// One of two, and the store is opened without the other, which may open it.
		require.NoError(t, w.table().AddRoot(t.Context(), w.other))
		w.close()
		w.opts.Roots = []keyring.RootKey{w.own}
		w.own.fail(keyring.ErrKeyDenied)
		w.open()
		w.pass(10 * day)
		require.Empty(t, w.told())
		w.close()
		w.opts.Roots = []keyring.RootKey{w.own, w.other}
		w.open()
		w.requireRows()
	})
}

// TestKeyLossStands: an unreachable service moves no clock, in either step.
func TestKeyLossStands(t *testing.T) {
	t.Parallel()
	lossTest(t, func(t *testing.T, w *lossWorld) {
		w.lose()
		w.pass(3 * day)
		w.own.fail(keyring.ErrKeyUnreachable)
		w.pass(30 * day)
		require.Len(t, w.told(), 1)
		left := w.table().loss().left
		require.Greater(t, left, 4*day-time.Hour)
		w.own.fail(keyring.ErrKeyDenied)
		w.pass(3*day + 20*time.Hour)
		require.Empty(t, w.archive.refs())
		w.pass(8 * time.Hour)
		require.Len(t, w.archive.refs(), 1)
		w.pass(34*day + 20*time.Hour)
		w.own.fail(keyring.ErrKeyUnreachable)
		w.pass(30 * day)
		require.Len(t, w.names(), 2)
		w.own.fail(keyring.ErrKeyDenied)
		w.pass(10 * time.Hour)
		require.Len(t, w.names(), 1)
	})
}

// TestKeyLossUnsure has the service fall silent between two looks, which ends what
// counts, and in the last moment before the drop, which is none then.
func TestKeyLossUnsure(t *testing.T) {
	t.Parallel()
	lossTest(t, func(t *testing.T, w *lossWorld) {
		w.lose()
		left := w.table().loss().left
		for range 30 {
			w.own.fail(keyring.ErrKeyUnreachable)
			w.pass(10 * time.Minute)
			w.look()
			w.own.fail(keyring.ErrKeyDenied)
			w.pass(10 * time.Minute)
			w.look()
		}
		// A look of its own may fall between denial and the look here.
		require.Greater(t, w.table().loss().left, left-2*time.Hour, "of ten hours")
		w.pass(10 * day)
		w.archive.mu.Lock()
		w.archive.during = func(string) { w.own.fail(keyring.ErrKeyUnreachable) }
		w.archive.mu.Unlock()
		w.pass(60 * day)
		require.Equal(t, 2, w.archive.counts()[w.loss().Archive])
		require.Len(t, w.names(), 2)
		require.NotContains(t, w.told(), "step failed", "nothing has failed")
		w.own.fail(nil)
		w.requireRows()
	})
}

// TestKeyLossArchiveFails has the archive fail, its verification, and that before the
// drop: the clock stands there, says so once, and goes on.
func TestKeyLossArchiveFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("the repository is gone")
	for name, fail := range map[string]func(a *memArchive){
		"archive": func(a *memArchive) { a.fail(broken, nil) },
		"verify":  func(a *memArchive) { a.fail(nil, broken) },
	} {
		lossTest(t, func(t *testing.T, w *lossWorld) {
			fail(w.archive)
			w.lose()
			w.pass(20 * day)
			require.Equal(t, []string{"key lost", "next step soon", "step failed"}, w.told(), name)
			require.ErrorIs(t, w.last(KeyLossFailed).Err, broken)
			require.Contains(t, w.loss().Trouble, broken.Error())
			require.Empty(t, w.loss().Archive)
			st, err := w.s.KeyStatus(t.Context())
			require.NoError(t, err)
			require.Contains(t, st.Tables[0].Loss.Trouble, broken.Error())
			require.Less(t, len(w.archive.refs()), 60, "not an archive an hour")
			w.archive.fail(nil, nil)
			w.pass(26 * time.Hour)
			require.Empty(t, w.loss().Trouble)
			require.NotEmpty(t, w.loss().Archive)
			require.True(t, w.loss().DropAt.After(time.Now().Add(33*day)), "all of it is kept")
		})
	}
	lossTest(t, func(t *testing.T, w *lossWorld) {
		w.lose()
		w.pass(8 * day)
		require.NotEmpty(t, w.loss().Archive)
		w.archive.fail(nil, broken)
		w.pass(60 * day)
		require.Len(t, w.names(), 2)
		require.ErrorIs(t, w.last(KeyLossFailed).Err, broken)
		w.mu.Lock()
		require.True(t, slices.ContainsFunc(w.audit, func(r audit.Record) bool {
			return r.Event == audit.EventDropTable && r.Outcome == audit.OutcomeFailure && r.Request.Archive != ""
		}))
		w.mu.Unlock()
		w.archive.fail(nil, nil)
		w.pass(26 * time.Hour)
		require.Len(t, w.names(), 1)
	})
	// What is no reference is no archive.
	for _, ref := range []string{"", strings.Repeat("x", maxArchiveRef+1), "\xff"} {
		lossTestAs(t, func(o *Options) { o.KeyLoss.Archive = refArchive(ref) }, func(t *testing.T, w *lossWorld) {
			w.lose()
			w.pass(20 * day)
			require.ErrorContains(t, w.last(KeyLossFailed).Err, "reference")
			require.Len(t, w.names(), 2)
		})
	}
}

// A refArchive returns itself.
type refArchive string

func (a refArchive) Archive(context.Context, *Held) (string, error) { return string(a), nil }
func (a refArchive) Verify(context.Context, string) error           { return nil }

// TestKeyLossSnapshots: snapshots are in no archive.
func TestKeyLossSnapshots(t *testing.T) {
	t.Parallel()
	for _, with := range []bool{false, true} {
		lossTestAs(t, func(o *Options) { o.KeyLoss.WithSnapshots = with }, func(t *testing.T, w *lossWorld) {
			_, err := w.table().Snapshot(t.Context(), "s")
			require.NoError(t, err)
			require.NoError(t, w.table().Close())
			w.lose()
			w.pass(50 * day)
			require.Equal(t, !with, slices.Contains(w.names(), lossTable))
			if !with {
				require.ErrorIs(t, w.last(KeyLossFailed).Err, ErrSnapshotsExist)
			}
		})
	}
}

// TestKeyLossHeld: what is held, as by a backup, is not dropped below it.
func TestKeyLossHeld(t *testing.T) {
	t.Parallel()
	lossTestAs(t, func(o *Options) { o.KeyLoss.WithSnapshots = true }, func(t *testing.T, w *lossWorld) {
		w.lose()
		h, err := w.table().Hold(t.Context())
		require.NoError(t, err)
		w.pass(50 * day)
		require.Len(t, w.names(), 2)
		require.ErrorContains(t, w.last(KeyLossFailed).Err, "held")
		require.NoError(t, h.Close())
		w.pass(26 * time.Hour)
		require.Len(t, w.names(), 1)
	})
}

// TestKeepTable stops the clock by hand, in each step, over restarts.
func TestKeepTable(t *testing.T) {
	t.Parallel()
	lossTest(t, func(t *testing.T, w *lossWorld) {
		ctx := t.Context()
		require.ErrorIs(t, w.s.KeepTable(ctx, lossTable, true), ErrKeyNotLost)
		require.ErrorIs(t, w.s.KeepTable(ctx, "no.table", true), ErrTableNotFound)
		w.lose()
		w.pass(6*day + 20*time.Hour)
		require.NoError(t, w.s.KeepTable(ctx, lossTable, true))
		require.NoError(t, w.s.KeepTable(ctx, lossTable, true))
		left := w.table().loss().left
		w.pass(30 * day)
		w.close()
		w.open()
		w.pass(30 * day)
		require.Equal(t, left, w.table().loss().left)
		require.Equal(t, []string{"key lost", "next step soon", "kept"}, w.told())
		require.True(t, w.loss().Kept)
		require.Nil(t, w.loss().DropAt)
		require.NoError(t, w.s.KeepTable(ctx, lossTable, false))
		w.pass(22 * time.Hour)
		require.Empty(t, w.archive.refs(), "a day, and announced again")
		w.pass(4 * time.Hour)
		require.Len(t, w.archive.refs(), 1)
		w.pass(34*day + 12*time.Hour)
		require.NoError(t, w.s.KeepTable(ctx, lossTable, true))
		w.pass(30 * day)
		require.Len(t, w.names(), 2)
		w.own.fail(nil)
		w.requireRows()
		require.NoError(t, w.table().Close())
		w.lose()
		require.False(t, w.loss().Kept, "another loss")
	})
	// While the archive is being verified for the drop.
	lossTest(t, func(t *testing.T, w *lossWorld) {
		w.lose()
		w.pass(10 * day)
		var once sync.Once
		w.archive.mu.Lock()
		w.archive.during = func(string) { once.Do(func() { require.NoError(t, w.s.KeepTable(w.t.Context(), lossTable, true)) }) }
		w.archive.mu.Unlock()
		w.pass(60 * day)
		require.Len(t, w.names(), 2)
		require.True(t, w.loss().Kept)
		w.own.fail(nil)
		w.requireRows()
	})
}

// TestKeyLossClosed: a store that is closed for long spends nothing of the grace.
func TestKeyLossClosed(t *testing.T) {
	t.Parallel()
	lossTest(t, func(t *testing.T, w *lossWorld) {
		w.lose()
		for range 3 {
			w.close()
			w.pass(10 * day)
			w.open()
		}
		require.Greater(t, w.table().loss().left, 7*day-7*time.Hour)
		require.True(t, w.loss().ArchiveAt.After(time.Now().Add(6*day)))
		w.pass(6*day + 10*time.Hour)
		require.Empty(t, w.archive.refs())
		w.pass(14 * time.Hour)
		require.Len(t, w.archive.refs(), 1)
		// Opened a few times a day for a short while, it goes on slowly.
		left := w.table().loss().left
		for range 8 {
			w.close()
			w.pass(12 * time.Hour)
			w.open()
		}
		require.InDelta(t, float64(left-16*time.Hour), float64(w.table().loss().left), float64(2*time.Hour))
	})
}

// TestKeyLossOff: without the policy there is no question, no clock goes on, and one that
// was begun stays until the key is back.
func TestKeyLossOff(t *testing.T) {
	t.Parallel()
	lossTest(t, func(t *testing.T, w *lossWorld) {
		w.lose()
		w.pass(3 * day)
		policy := w.opts.KeyLoss
		w.close()
		w.opts.KeyLoss = nil
		w.open()
		before := w.unwraps()
		w.pass(90 * day)
		require.Equal(t, before, w.unwraps(), "it costs no call")
		require.Len(t, w.told(), 1)
		require.NotNil(t, w.loss())
		require.NoError(t, w.s.KeepTable(t.Context(), lossTable, true))
		require.NoError(t, w.s.KeepTable(t.Context(), lossTable, false))
		w.close()
		w.opts.KeyLoss = policy
		w.open()
		require.Greater(t, w.table().loss().left, 4*day-4*time.Hour)
		w.close()
		w.opts.KeyLoss = nil
		w.open()
		w.own.fail(nil)
		w.requireRows()
	})
	// Nor does one that was never begun begin.
	lossTestAs(t, func(o *Options) { o.KeyLoss = nil }, func(t *testing.T, w *lossWorld) {
		w.own.fail(keyring.ErrKeyDenied)
		_, err := w.table().Get([]byte("000"))
		require.ErrorIs(t, err, ErrKeyInaccessible)
		w.pass(60 * day)
		require.Nil(t, w.loss())
		w.own.fail(nil)
		w.requireRows()
	})
}

// TestKeyLossReadOnly: who only reads sees it, takes no step and asks nothing.
func TestKeyLossReadOnly(t *testing.T) {
	t.Parallel()
	lossTest(t, func(t *testing.T, w *lossWorld) {
		w.lose()
		w.pass(8 * day)
		w.close()
		w.opts.Mode = ReadOnly
		w.open()
		before := w.unwraps()
		w.pass(60 * day)
		require.Equal(t, before, w.unwraps())
		require.Len(t, w.names(), 2)
		require.NotEmpty(t, w.loss().Archive)
		require.ErrorIs(t, w.s.KeepTable(t.Context(), lossTable, true), ErrReadOnly)
		st, err := w.s.KeyStatus(t.Context())
		require.NoError(t, err)
		require.Equal(t, nextDrop, st.Tables[0].Loss.Next)
		require.Nil(t, st.Tables[1].Loss)
		w.own.fail(nil)
		st, err = w.s.KeyStatus(t.Context())
		require.NoError(t, err)
		require.Nil(t, st.Tables[0].Loss, "the key is back")
	})
}

// TestKeyLossClock sets the wall clock: forward it skips nothing, back it breaks nothing.
func TestKeyLossClock(t *testing.T) {
	t.Parallel()
	lossTest(t, func(t *testing.T, w *lossWorld) {
		w.lose()
		for range 24 {
			w.jump(365 * day)
			w.pass(time.Hour)
		}
		require.Greater(t, w.table().loss().left, 6*day-2*time.Hour)
		for range 24 {
			w.jump(-2 * 365 * day)
			w.pass(time.Hour)
		}
		left := w.table().loss().left
		require.Greater(t, left, 5*day)
		require.LessOrEqual(t, left, 7*day)
		// Over a restart only the wall clock tells; two hours are the most.
		for range 5 {
			w.close()
			w.jump(365 * day)
			w.open()
		}
		require.GreaterOrEqual(t, w.table().loss().left, left-5*maxCounted)
		left = w.table().loss().left
		w.close()
		w.jump(-100 * 365 * day)
		w.open()
		require.Equal(t, left, w.table().loss().left)
		w.pass(9 * day)
		require.Len(t, w.archive.refs(), 1)
	})
}

// TestKeyLossCalls counts what the policy asks: one question an hour and set of root
// keys, however many tables, and none where a table of it is in use; it opens none.
func TestKeyLossCalls(t *testing.T) {
	t.Parallel()
	lossTest(t, func(t *testing.T, w *lossWorld) {
		for i := range 10 {
			tab, err := w.s.CreateTable(t.Context(), fmt.Sprintf("more.t%d", i), TableOptions{RootKey: w.own})
			require.NoError(t, err)
			require.NoError(t, tab.Close())
		}
		w.pass(2 * time.Hour)
		before := w.unwraps()
		w.pass(10 * day)
		asked := w.unwraps() - before
		require.LessOrEqual(t, asked, 2*10*24)
		require.GreaterOrEqual(t, asked, 2*10*19)
		for _, info := range w.s.Tables() {
			require.False(t, info.Open, info.Name)
		}
		// All tables of a root key that is lost are found, though nobody uses them.
		w.own.fail(keyring.ErrKeyNotFound)
		w.pass(2 * time.Hour)
		require.Len(t, w.told(), 11)
		w.own.fail(nil)
		w.pass(2 * time.Hour)
		require.Len(t, w.told(), 22)
		require.Equal(t, 11, strings.Count(strings.Join(w.told(), ","), "key is back"))
	})
}

// TestKeyLossCrashed: of a table that was not closed cleanly nothing says what belongs to
// it, so it is not archived and stays.
func TestKeyLossCrashed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewCrashableMem()
		w := newLossWorld(t, mem, nil)
		require.NoError(t, w.table().Put([]byte("more"), nil, nil))
		w.rows["more"] = ""
		crashed := mem.CrashClone(vfs.CrashCloneCfg{})
		w.close()
		w.opts.FS = crashed
		w.own.fail(keyring.ErrKeyDenied)
		w.open()
		w.pass(60 * day)
		require.ErrorContains(t, w.last(KeyLossFailed).Err, "closed cleanly")
		require.Empty(t, w.archive.refs())
		w.own.fail(nil)
		w.requireRows()
		requireVerified(t, w.s)
	})
}

// TestKeyLossPolicy refuses what no policy may be.
func TestKeyLossPolicy(t *testing.T) {
	t.Parallel()
	for _, p := range []KeyLossPolicy{
		{}, {Archive: newMemArchive(), Grace: 47 * time.Hour}, {Archive: newMemArchive(), Keep: -day}, {Archive: newMemArchive(), Keep: 11 * 365 * day},
	} {
		o := Options{RootKey: newMemRoot("r"), KeyLoss: &p}
		require.Error(t, o.setDefaults())
	}
	p := KeyLossPolicy{Archive: newMemArchive()}
	o := Options{RootKey: newMemRoot("r"), KeyLoss: &p}
	require.NoError(t, o.setDefaults())
	require.Equal(t, 7*day, o.KeyLoss.Grace)
	require.Equal(t, 35*day, o.KeyLoss.Keep)
	require.Zero(t, p.Keep, "the caller's stays as it is")
}

// TestRefused tells loss from what is none, in the shapes that package keyring returns.
func TestRefused(t *testing.T) {
	t.Parallel()
	ke := func(err error) error {
		return fmt.Errorf("keyring at offset 7: %w", &keyring.KeyError{Op: "unwrap", URI: "mem:a", Err: err})
	}
	denied, missing, down := ke(keyring.ErrKeyDenied), ke(fmt.Errorf("%w: %w", keyring.ErrKeyNotFound, errors.New("gone"))), ke(keyring.ErrKeyUnreachable)
	for _, err := range []error{denied, missing, inaccessible{denied}, errors.Join(denied, missing)} {
		require.True(t, refused(err), "%v", err)
	}
	for _, err := range []error{
		nil, down, errors.Join(denied, down), errors.Join(down, missing), keyring.ErrKeyDenied, ke(context.DeadlineExceeded),
		ke(fmt.Errorf("%w: %w", keyring.ErrKeyDenied, context.Canceled)), errors.Join(denied, errors.New("other")), &LockedError{Table: "a.b"},
	} {
		require.False(t, refused(err), "%v", err)
	}
}

// TestAwayIsNotLost: a key-service file that is not there says nothing of its keys.
func TestAwayIsNotLost(t *testing.T) {
	t.Parallel()
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "keys.cofre")
	s, err := local.Open(path, local.Options{})
	require.NoError(t, err)
	defer s.Close()
	k, _, err := s.Ensure(ctx, "default")
	require.NoError(t, err)
	ec := keyring.Context{Purpose: keyring.PurposeTableKey, Version: 1}
	blob, err := k.Wrap(ctx, keyring.RandomSecret(), ec)
	require.NoError(t, err)
	isRefused := func() bool {
		_, err := k.Unwrap(ctx, blob, ec)
		return refused(&keyring.KeyError{Op: "unwrap", URI: k.URI(), Err: err})
	}
	require.NoError(t, os.Rename(path, path+".away"))
	require.False(t, isRefused())
	require.NoError(t, os.Rename(path+".away", path))
	require.NoError(t, s.Disable(ctx, "default"))
	require.True(t, isRefused())
}

// TestKeyLossBackMeanwhile: a key that is back when its archive is complete is not lost, and
// nothing is noted of the archive.
func TestKeyLossBackMeanwhile(t *testing.T) {
	t.Parallel()
	lossTest(t, func(t *testing.T, w *lossWorld) {
		w.lose()
		w.archive.during = func(what string) {
			if what == "verify" {
				w.own.fail(nil)
			}
		}
		w.pass(8 * day)
		require.NotEmpty(t, w.archive.refs())
		require.NotContains(t, w.told(), string(KeyLossArchived))
		require.Contains(t, w.told(), string(KeyRestored))
		w.requireRows()
	})
}
