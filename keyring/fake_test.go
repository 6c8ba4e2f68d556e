package keyring

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/secret"
)

// A fakeRoot is a root key in memory that counts its calls.
type fakeRoot struct {
	uri string
	key *Secret

	mu      sync.Mutex
	wraps   int
	unwraps int
	err     error // of every call
	garble  bool  // Unwrap returns another key
}

func newFakeRoot(name string) *fakeRoot {
	return &fakeRoot{uri: "fake:" + name, key: RandomSecret()}
}

func (r *fakeRoot) URI() string { return r.uri }

func (r *fakeRoot) calls() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wraps + r.unwraps
}

func (r *fakeRoot) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *fakeRoot) Wrap(ctx context.Context, key *Secret, ec Context) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wraps++
	if r.err != nil {
		return nil, r.err
	}
	s, err := aead.Suite(nil).New(r.key.Expose())
	if err != nil {
		return nil, err
	}
	return s.Seal(nil, key.Expose(), ec.Canonical())
}

func (r *fakeRoot) Unwrap(ctx context.Context, wrapped []byte, ec Context) (*Secret, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unwraps++
	if r.err != nil {
		return nil, r.err
	}
	if r.garble {
		return RandomSecret(), nil
	}
	s, err := aead.Suite(nil).New(r.key.Expose())
	if err != nil {
		return nil, err
	}
	b, err := s.Open(nil, wrapped, ec.Canonical())
	if err != nil {
		return nil, ErrWrongContext
	}
	return secret.Take(b)
}

func (r *fakeRoot) Describe(ctx context.Context) (Description, error) {
	return Description{URI: r.uri, State: StateEnabled}, nil
}

// An anchoredRoot is a fakeRoot with an Anchor.
type anchoredRoot struct {
	*fakeRoot
	notes map[ID]fakeNote
	fault error // of the Anchor's calls
}

type fakeNote struct {
	gen    uint64
	digest [32]byte
}

func newAnchoredRoot(name string) *anchoredRoot {
	return &anchoredRoot{fakeRoot: newFakeRoot(name), notes: make(map[ID]fakeNote)}
}

func (r *anchoredRoot) NewestGeneration(ctx context.Context, store ID) (uint64, [32]byte, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.notes[store]
	return n.gen, n.digest, ok, r.fault
}

func (r *anchoredRoot) NoteGeneration(ctx context.Context, store ID, gen uint64, digest [32]byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault != nil {
		return r.fault
	}
	n, ok := r.notes[store]
	if ok && (gen < n.gen || gen == n.gen && digest != n.digest) {
		return fmt.Errorf("%w: %d noted", ErrRollback, n.gen)
	}
	r.notes[store] = fakeNote{gen, digest}
	return nil
}

const testDir = "store/keyring"

// newTestFS is a file system in memory with the store's directory.
func newTestFS(t testing.TB) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	require.NoError(t, fs.MkdirAll("store", 0o755))
	for _, dir := range []string{"", "store"} {
		f, err := fs.OpenDir(dir)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
	}
	return fs
}

func mustCreate(t testing.TB, fs vfs.FS, root RootKey) *Keyring {
	t.Helper()
	k, err := Create(t.Context(), testDir, root, Options{FS: fs})
	require.NoError(t, err)
	t.Cleanup(func() { k.Close() })
	return k
}

func tryOpen(t testing.TB, fs vfs.FS, roots ...RootKey) (*Keyring, error) {
	t.Helper()
	k, err := Open(t.Context(), testDir, roots, false, Options{FS: fs})
	if err == nil {
		t.Cleanup(func() { k.Close() })
	}
	return k, err
}

func mustOpen(t testing.TB, fs vfs.FS, roots ...RootKey) *Keyring {
	t.Helper()
	k, err := tryOpen(t, fs, roots...)
	require.NoError(t, err)
	return k
}

// mustTable makes a live table.
func mustTable(t testing.TB, k *Keyring, name string, root RootKey, metadata string) *TableKeys {
	t.Helper()
	tk, err := k.CreateTable(t.Context(), name, root, []byte(metadata))
	require.NoError(t, err)
	require.NoError(t, k.FinishCreate(t.Context(), tk.ID()))
	return tk
}

// readFile returns the content of the keyring's file and its name.
func readFile(t testing.TB, fs vfs.FS) (string, []byte) {
	t.Helper()
	names, err := fs.List(testDir)
	require.NoError(t, err)
	var found []string
	for _, n := range names {
		if strings.HasPrefix(n, filePrefix) {
			found = append(found, n)
		}
	}
	require.Len(t, found, 1, "keyring files")
	return found[0], readPath(t, fs, fs.PathJoin(testDir, found[0]))
}

func readPath(t testing.TB, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	require.NoError(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	return b
}

func writeFile(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(fs.PathJoin(testDir, name), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(append([]byte(nil), b...))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// withFile makes a file system that holds one keyring file.
func withFile(t testing.TB, name string, b []byte) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll(testDir, 0o755))
	writeFile(t, fs, name, b)
	return fs
}

// reseal makes the file of an edited state, as somebody could who holds the
// store key.
func reseal(t testing.TB, k *Keyring, edit func(*state)) (string, []byte) {
	t.Helper()
	s := k.cur.Load().clone()
	edit(s)
	b, err := s.encode(nil, k.storeID, k.storeKey.open.keys[k.storeKey.version])
	require.NoError(t, err)
	return fileName(s.generation), b
}
