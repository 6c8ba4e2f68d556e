package engine

import (
	"errors"
	"math"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// A listFS fails one listing of a table's directory. From then on, who opens a
// sorted file waits until the table is open, or the store closed.
type listFS struct {
	vfs.FS
	tab    atomic.Pointer[Table]
	closed chan struct{}

	mu   sync.Mutex // guards all below
	at   int        // which listing fails, from 1
	seen int
}

func (l *listFS) Unwrap() vfs.FS { return l.FS }

func (l *listFS) arm(at int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = at
}

func (l *listFS) failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen >= l.at
}

func (l *listFS) List(dir string) ([]string, error) {
	if tab := l.tab.Load(); tab != nil && dir == tab.dir {
		l.mu.Lock()
		l.seen++
		hit := l.seen == l.at
		l.mu.Unlock()
		if hit {
			return nil, syscall.EIO
		}
	}
	return l.FS.List(dir)
}

func (l *listFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	for strings.HasSuffix(name, ".sst") && l.failed() && l.tab.Load().inst.Load() == nil {
		select {
		case <-l.closed:
			return l.FS.Open(name, opts...)
		case <-time.After(time.Millisecond):
		}
	}
	return l.FS.Open(name, opts...)
}

// TestFailedRecoveryLeavesNothing fails each listing of a table's directory
// while it recovers from a crash. Pebble lists it last when it has flushed what
// it replayed: what that flush begins in the background must not outlive an
// open that fails, for it panics once the store has closed its files.
func TestFailedRecoveryLeavesNothing(t *testing.T) {
	t.Parallel()
	mem, root := vfs.NewCrashableMem(), newMemRoot("replay")
	s, err := Open(t.Context(), crashDir, crashOptions(root, mem))
	require.NoError(t, err)
	tab, err := s.CreateTable(t.Context(), "clinic.patients", TableOptions{})
	require.NoError(t, err)
	for range 4 {
		require.NoError(t, tab.Put(key, make([]byte, 100), nil))
		require.NoError(t, tab.Flush())
	}
	require.NoError(t, tab.Put(key, make([]byte, 200), nil))
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, s.Close())

	at := 1
	for ; ; at++ {
		l := &listFS{FS: crashed.CrashClone(vfs.CrashCloneCfg{}), closed: make(chan struct{}), at: at}
		s, err := Open(t.Context(), crashDir, crashOptions(root, l))
		require.NoError(t, err)
		tab, err := s.Table("clinic.patients")
		require.NoError(t, err)
		l.tab.Store(tab)
		_, err = tab.Get(key)
		if !l.failed() {
			l.arm(math.MaxInt) // closing lists, too
			require.NoError(t, errors.Join(err, s.Close()))
			break
		}
		if err != nil {
			require.ErrorIs(t, err, syscall.EIO, "listing %d", at)
		}
		_ = within("close", s.Close) // of a table that failed
		close(l.closed)

		s, err = Open(t.Context(), crashDir, crashOptions(root, l))
		require.NoError(t, err)
		tab, err = s.Table("clinic.patients")
		require.NoError(t, err)
		v, err := tab.Get(key)
		require.NoError(t, errors.Join(err, s.Close()))
		require.Len(t, v, 200)
	}
	require.Greater(t, at, 4)
}

// TestReplayIsAnOpeningOfItsOwn counts Pebble's openings, each of which writes
// its options: after a crash there is one that replays and does nothing else.
func TestReplayIsAnOpeningOfItsOwn(t *testing.T) {
	t.Parallel()
	h, _, tab := newHooked(t)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	openings := 0
	h.hook = func(op, p string) {
		if op == "create" && strings.HasPrefix(path.Base(p), "temporary.") {
			openings++
		}
	}
	require.NoError(t, tab.Close())
	_, err := tab.Get(key)
	require.NoError(t, err)
	require.Equal(t, 1, openings, "after a clean close")
	tab.inst.Load().hole.Trip(syscall.EIO) // as good as a crash
	require.NoError(t, tab.Reopen(t.Context()))
	require.Equal(t, 3, openings)
}
