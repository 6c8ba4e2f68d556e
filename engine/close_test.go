package engine

import (
	"context"
	"errors"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// newHooked opens a store with one table on a disk that tells of its changes.
func newHooked(t *testing.T) (*hookFS, *Store, *Table) {
	h := &hookFS{FS: vfs.NewCrashableMem(), gone: make(map[string]string), hook: func(string, string) {}}
	s, err := Open(t.Context(), crashDir, crashOptions(newMemRoot("hook"), h))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	tab, err := s.CreateTable(t.Context(), "clinic.patients", TableOptions{})
	require.NoError(t, err)
	return h, s, tab
}

// TestCloseWaitsForCreate closes a store while a table is being made: the table
// does not stay open.
func TestCloseWaitsForCreate(t *testing.T) {
	t.Parallel()
	h, s, _ := newHooked(t)
	making, goOn := make(chan struct{}), make(chan struct{})
	h.hook = func(op, p string) {
		if op == "create" && strings.HasPrefix(path.Base(p), "temporary.") {
			close(making)
			<-goOn
		}
	}
	type made struct {
		tab *Table
		err error
	}
	done, closed := make(chan made, 1), make(chan error, 1)
	go func() {
		tab, err := s.CreateTable(context.Background(), "clinic.wards", TableOptions{})
		done <- made{tab, err}
	}()
	<-making
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		close(goOn)
		t.Fatal("Close has not waited", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	m := <-done
	require.NoError(t, errors.Join(m.err, within("close", func() error { return <-closed })))
	require.Nil(t, m.tab.inst.Load(), "the table is still open")
}

// TestNoUselessLogs closes a table that Pebble keeps old logs of, to use them
// again: a table that is closed has none that nothing needs.
func TestNoUselessLogs(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, dir, Options{RootKey: newRoot(t), tune: small})
	tab, err := s.CreateTable(t.Context(), "clinic.patients", TableOptions{})
	require.NoError(t, err)
	for range 4 {
		require.NoError(t, tab.Put(key, make([]byte, 1000), nil))
		require.NoError(t, tab.Flush())
	}
	logs := func() []string {
		names, err := filepath.Glob(filepath.Join(tab.dir, "*.log"))
		require.NoError(t, err)
		return names
	}
	require.Greater(t, len(logs()), 1)
	require.NoError(t, tab.Close())
	require.Len(t, logs(), 1)
	requireVerified(t, s)
}

// TestCloseEndsVerify closes a store while it is verified: that is no proof that
// it is well.
func TestCloseEndsVerify(t *testing.T) {
	t.Parallel()
	h, s, tab := newHooked(t)
	require.NoError(t, tab.Close())
	f, err := h.FS.Create(s.path(tablesDir, keyring.NewID().String()), vfs.WriteCategoryUnspecified)
	require.NoError(t, errors.Join(err, f.Close()))
	found := 0
	_, err = s.Verify(t.Context(), func(Finding) {
		found++
		require.NoError(t, s.Close())
	})
	require.Equal(t, 1, found)
	require.ErrorIs(t, err, ErrClosed)
}

// TestJanitorWaitsForNobody lets a table be busy opening or closing while idle
// tables are looked for.
func TestJanitorWaitsForNobody(t *testing.T) {
	t.Parallel()
	_, _, tab := newHooked(t)
	tab.mu.Lock()
	defer tab.mu.Unlock()
	require.NoError(t, within("closeIfIdle", func() error { tab.closeIfIdle(); return nil }))
}
