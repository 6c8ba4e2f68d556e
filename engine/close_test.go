package engine

import (
	"context"
	"errors"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
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

// TestCloseWaitsForClose closes a store that another is closing: it is closed for
// both.
func TestCloseWaitsForClose(t *testing.T) {
	t.Parallel()
	h, s, _ := newHooked(t)
	var once sync.Once
	begun, goOn := make(chan struct{}), make(chan struct{})
	h.hook = func(string, string) { once.Do(func() { close(begun); <-goOn }) }
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- s.Close() }()
	<-begun
	go func() { second <- s.Close() }()
	select {
	case err := <-second:
		close(goOn)
		t.Fatal("the second Close has not waited", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	for _, c := range []chan error{first, second} {
		require.NoError(t, within("close", func() error { return <-c }))
	}
}

// TestCloseAgain closes a store a second time: a failure is not forgotten.
func TestCloseAgain(t *testing.T) {
	t.Parallel()
	q, s, tab := newFaulty(t, nil)
	require.NoError(t, tab.Put(key, []byte("v"), nil))
	q.arm(faultEIO, 1, true, "")
	err := s.Close()
	require.ErrorIs(t, err, syscall.EIO)
	q.heal()
	require.Equal(t, err, s.Close())
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

// TestCloseEndsCompaction closes a table while somebody waits for a compaction
// that does not come: neither the close nor what comes after waits for it.
func TestCloseEndsCompaction(t *testing.T) {
	t.Parallel()
	_, s, tab := newHooked(t)
	s.scheduler.mu.Lock()
	s.scheduler.limit = 0 // nobody gets a permission
	s.scheduler.mu.Unlock()
	for range 2 {
		require.NoError(t, tab.Put([]byte("k"), nil, nil))
		require.NoError(t, tab.Flush())
	}
	compacted := make(chan error, 1)
	go func() { compacted <- tab.Compact(context.Background(), nil, nil) }()
	require.Eventually(t, func() bool {
		c := &tab.inst.Load().compacting
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.waiting) == 1
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, within("close", tab.Close))
	require.ErrorIs(t, within("compaction", func() error { return <-compacted }), ErrClosed)
	require.NoError(t, within("write", func() error { return tab.Put([]byte("k"), nil, nil) }))
}

// TestVerifyReportUsesTable reads a table, and closes the store, from where
// Verify reports a fault of it.
func TestVerifyReportUsesTable(t *testing.T) {
	t.Parallel()
	_, s, tab := newHooked(t)
	require.NoError(t, tab.Put([]byte("k"), nil, nil))
	require.NoError(t, tab.Close())
	f, err := s.fs.Create(s.fs.PathJoin(tab.dir, "000999.sst"), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	reports := 0
	require.NoError(t, within("verify", func() error {
		_, err := s.Verify(context.Background(), func(Finding) {
			reports++
			_, err := tab.Get([]byte("k"))
			require.NoError(t, err)
		})
		return err
	}))
	require.NotZero(t, reports)
}

// TestVerifyKeyring counts the keyring and its journal, and warns of what else
// lies there.
func TestVerifyKeyring(t *testing.T) {
	t.Parallel()
	_, s, _ := newHooked(t)
	clean, err := s.Verify(t.Context(), func(f Finding) { t.Error(f) })
	require.NoError(t, err)
	for _, name := range []string{"KEYRING.tmp", "KEYRING-000001", journalPrefix + keyring.NewID().String()} {
		f, err := s.fs.Create(s.path(keyringDir, name), vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		var found []Finding
		rep, err := s.Verify(t.Context(), func(f Finding) { found = append(found, f) })
		require.NoError(t, err)
		require.Len(t, found, 1, name)
		require.True(t, found[0].Warning)
		require.Equal(t, "keyring/"+name, found[0].Path)
		require.Equal(t, clean.Files, rep.Files)
		require.NoError(t, s.fs.Remove(s.path(keyringDir, name)))
	}
}

// silentRoot is a root key whose service does not answer until its context ends.
type silentRoot struct {
	*memRoot
	asked chan struct{}
}

func (r *silentRoot) Wrap(ctx context.Context, _ *keyring.Secret, _ keyring.Context) ([]byte, error) {
	close(r.asked)
	<-ctx.Done()
	return nil, keyring.ErrKeyUnreachable
}

// TestCreateBesideHang makes tables, and snapshots, while a key service does not answer
// to the creation of another; its name is taken meanwhile, and Close does not wait.
func TestCreateBesideHang(t *testing.T) {
	t.Parallel()
	root := newMemRoot("one")
	slow := &silentRoot{memRoot: newMemRoot("slow"), asked: make(chan struct{})}
	opts := crashOptions(root, vfs.NewCrashableMem())
	opts.Roots = []keyring.RootKey{slow}
	s, err := Open(t.Context(), crashDir, opts)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := s.CreateTable(context.Background(), "clinic.slow", TableOptions{RootKey: slow})
		done <- err
	}()
	<-slow.asked
	require.NoError(t, within("the others", func() error {
		tab, err := s.CreateTable(t.Context(), "clinic.patients", TableOptions{})
		if err != nil {
			return err
		}
		_, err = tab.Snapshot(t.Context(), "now")
		return err
	}))
	_, err = s.CreateTable(t.Context(), "clinic.slow", TableOptions{})
	require.ErrorIs(t, err, ErrTableExists)
	require.NoError(t, within("close", s.Close))
	err = <-done
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, err, ErrKeyInaccessible)
}
