package engine

import (
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// A quietFS waits, where Pebble writes its options, whether anything opens a
// sorted file before. It does so only once what is replayed was flushed.
type quietFS struct {
	vfs.FS
	mu      sync.Mutex // guards all below
	flushed bool
	opened  chan struct{} // closed once a sorted file is opened after the flush
	noisy   bool
}

func (q *quietFS) Unwrap() vfs.FS { return q.FS }

func (q *quietFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	q.mu.Lock()
	flushed := q.flushed
	q.flushed = flushed || strings.HasSuffix(name, ".sst")
	q.mu.Unlock()
	if flushed && strings.HasPrefix(path.Base(name), "temporary.") {
		select {
		case <-q.opened:
			q.noisy = true
		case <-time.After(100 * time.Millisecond):
		}
	}
	return q.FS.Create(name, c)
}

func (q *quietFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	q.mu.Lock()
	if q.flushed && strings.HasSuffix(name, ".sst") && q.opened != nil {
		select {
		case <-q.opened:
		default:
			close(q.opened)
		}
	}
	q.mu.Unlock()
	return q.FS.Open(name, opts...)
}

// TestReplayIsQuiet recovers a table from a crash. Until Pebble's Open can no
// longer fail, nothing may run in the background: it would outlive an Open that
// fails, and panic when the store has closed its files.
func TestReplayIsQuiet(t *testing.T) {
	t.Parallel()
	mem, root := vfs.NewCrashableMem(), newMemRoot("replay")
	s, err := Open(t.Context(), crashDir, crashOptions(root, mem))
	require.NoError(t, err)
	tab, err := s.CreateTable(t.Context(), "clinic.patients", TableOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Put(key, make([]byte, 100), nil))
	require.NoError(t, tab.Flush())
	require.NoError(t, tab.Put(key, make([]byte, 200), nil))
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, s.Close())

	q := &quietFS{FS: crashed, opened: make(chan struct{})}
	s, err = Open(t.Context(), crashDir, crashOptions(root, q))
	require.NoError(t, err)
	tab, err = s.Table("clinic.patients")
	require.NoError(t, err)
	v, err := tab.Get(key)
	require.NoError(t, err)
	require.Len(t, v, 200)
	require.True(t, q.flushed, "nothing was replayed")
	require.False(t, q.noisy, "a sorted file was opened before Open was through")
	require.NoError(t, s.Close())
}
