package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/keyring"
)

// A testRoot is a root key in memory.
type testRoot struct {
	uri string
	key *keyring.Secret
	err error // of every call
}

func newTestRoot(name string) *testRoot {
	return &testRoot{uri: "test:" + name, key: keyring.RandomSecret()}
}

func (r *testRoot) URI() string { return r.uri }

func (r *testRoot) Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	if err := errors.Join(r.err, ctx.Err()); err != nil {
		return nil, err
	}
	s, err := aead.Suite(nil).New(r.key.Expose())
	if err != nil {
		return nil, err
	}
	return s.Seal(nil, key.Expose(), ec.Canonical())
}

func (r *testRoot) Unwrap(ctx context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	if err := errors.Join(r.err, ctx.Err()); err != nil {
		return nil, err
	}
	s, err := aead.Suite(nil).New(r.key.Expose())
	if err != nil {
		return nil, err
	}
	b, err := s.Open(nil, wrapped, ec.Canonical())
	if err != nil {
		return nil, keyring.ErrWrongContext
	}
	return keyring.NewSecret(b)
}

func (r *testRoot) Describe(ctx context.Context) (keyring.Description, error) {
	return keyring.Description{URI: r.uri, State: keyring.StateEnabled}, errors.Join(r.err, ctx.Err())
}

// An anchoredRoot takes a note.
type anchoredRoot struct {
	*testRoot
	gen    uint64
	digest [32]byte
}

func (r *anchoredRoot) NewestGeneration(context.Context, keyring.ID) (uint64, [32]byte, bool, error) {
	return r.gen, r.digest, r.gen > 0, r.err
}

func (r *anchoredRoot) NoteGeneration(_ context.Context, _ keyring.ID, gen uint64, digest [32]byte) error {
	if r.err == nil {
		r.gen, r.digest = gen, digest
	}
	return r.err
}

// A testStore is what a log needs around it: a directory, a root key, and what the
// keyring says.
type testStore struct {
	t      testing.TB
	fs     vfs.FS
	id     keyring.ID
	root   *testRoot
	former []*testRoot // that verify earlier chains
	state  *keyring.AuditState
	opts   Options
	dir    string // "" is testDir
}

func newTestStore(t testing.TB) *testStore {
	return &testStore{t: t, fs: syncedDir(t, "store"), id: keyring.NewID(), root: newTestRoot("a")}
}

// syncedDir is a file system in memory with a directory that crashes keep.
func syncedDir(t testing.TB, dir string) *vfs.MemFS {
	mem := vfs.NewCrashableMem()
	require.NoError(t, mem.MkdirAll(dir, 0o700))
	require.NoError(t, directory{fs: mem}.sync(""))
	require.NoError(t, directory{fs: mem}.sync(dir))
	return mem
}

const testDir = "store/audit"

func (s *testStore) place() Place {
	return Place{FS: s.fs, Dir: cmp.Or(s.dir, testDir), Store: s.id}
}

func (s *testStore) wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]Wrap, error) {
	b, err := s.root.Wrap(ctx, key, ec)
	if err != nil {
		return nil, err
	}
	return []Wrap{{s.root.uri, b}}, nil
}

func (s *testStore) unwrap(ctx context.Context, w Wrap, ec keyring.Context) (*keyring.Secret, error) {
	for _, r := range append(s.former, s.root) {
		if w.Key == r.uri {
			return r.Unwrap(ctx, w.Blob, ec)
		}
	}
	return nil, keyring.ErrRootNotPinned
}

func (s *testStore) tryOpen(anew bool) (*Log, error) {
	l := New(s.opts)
	s.t.Cleanup(func() { l.Close() })
	o := OpenOptions{Wrap: s.wrap, Unwrap: s.unwrap, Roots: []string{s.root.uri}, BeginAnew: anew}
	if s.state != nil {
		st := *s.state
		st.Key = st.Key.Clone()
		o.State = &st
	}
	return l, l.Open(context.Background(), s.place(), o)
}

func (s *testStore) open() *Log {
	l, err := s.tryOpen(false)
	require.NoError(s.t, err)
	return l
}

// note has the keyring name the newest record.
func (s *testStore) note(l *Log) Head {
	st, err := l.State(context.Background())
	require.NoError(s.t, err)
	s.state = st
	return Head{st.Seq, st.MAC}
}

// live opens the log, records n operations, has the keyring name the last, and
// closes it.
func (s *testStore) live(n int) Head {
	l := s.open()
	for i := range n {
		require.NoError(s.t, l.Record(EventUnwrap, Request{Key: "test:a", Version: uint32(i + 1)}, []error{nil, keyring.ErrKeyDenied}[i%2]))
	}
	h := s.note(l)
	require.NoError(s.t, l.Close())
	return h
}

// verify verifies the log and returns what it found.
func (s *testStore) verify(heads ...Head) (*Report, []Finding) {
	var found []Finding
	rep, err := Verify(context.Background(), s.place(), VerifyOptions{
		State: s.state, Heads: heads, Report: func(f Finding) { found = append(found, f) },
		Unwrap: s.unwrap,
	})
	require.NoError(s.t, err)
	faults := 0
	for _, f := range found {
		if !f.Warning {
			faults++
			require.NotNil(s.t, f.Class)
		}
	}
	require.Equal(s.t, faults, rep.Faults)
	require.Equal(s.t, len(found)-faults, rep.Warnings)
	return rep, found
}

// sound requires that all is in order.
func (s *testStore) sound(heads ...Head) *Report {
	s.t.Helper()
	rep, found := s.verify(heads...)
	require.Zero(s.t, rep.Faults, "%+v", found)
	require.Equal(s.t, rep.Records, rep.Verified)
	return rep
}

// records are all that Records gives.
func (s *testStore) records() (rs []Record) {
	for r, err := range Records(s.fs, s.place().Dir) {
		require.NoError(s.t, err)
		rs = append(rs, r)
	}
	return rs
}

// files reads the log's directory.
func (s *testStore) files() map[string][]byte {
	files := map[string][]byte{}
	names, err := s.fs.List(testDir)
	require.NoError(s.t, err)
	for _, n := range names {
		f, err := s.fs.Open(s.fs.PathJoin(testDir, n))
		require.NoError(s.t, err)
		b, err := io.ReadAll(f)
		require.NoError(s.t, errors.Join(err, f.Close()))
		files[n] = b
	}
	return files
}

// with is the store with other files.
func (s *testStore) with(files map[string][]byte) *testStore {
	c := *s
	mem := vfs.NewMem()
	require.NoError(s.t, mem.MkdirAll(testDir, 0o700))
	for n, b := range files {
		f, err := mem.Create(mem.PathJoin(testDir, n), vfs.WriteCategoryUnspecified)
		require.NoError(s.t, err)
		_, err = f.Write(slices.Clone(b))
		require.NoError(s.t, errors.Join(err, f.Close()))
	}
	c.fs = mem
	return &c
}

// A failFS fails changes whose operation is named.
type failFS struct {
	vfs.FS
	ops string
	err error
}

func (q *failFS) Unwrap() vfs.FS { return q.FS }

func (q *failFS) fails(op string) error {
	if strings.Contains(q.ops, op) {
		return &fs.PathError{Op: op, Path: "x", Err: q.err}
	}
	return nil
}

func (q *failFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := q.fails("create"); err != nil {
		return nil, err
	}
	f, err := q.FS.Create(name, c)
	return q.file(f, err)
}

func (q *failFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := q.FS.OpenReadWrite(name, c, opts...)
	return q.file(f, err)
}

func (q *failFS) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &failFile{f, q}, nil
}

func (q *failFS) Rename(from, to string) error {
	if err := q.fails("rename"); err != nil {
		return err
	}
	return q.FS.Rename(from, to)
}

func (q *failFS) Remove(name string) error {
	if err := q.fails("remove"); err != nil {
		return err
	}
	return q.FS.Remove(name)
}

type failFile struct {
	vfs.File
	q *failFS
}

func (f *failFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.q.fails("write"); err != nil {
		n, werr := f.File.WriteAt(p[:len(p)/2], off)
		return n, errors.Join(err, werr)
	}
	return f.File.WriteAt(p, off)
}

func (f *failFile) Write(p []byte) (int, error) {
	if err := f.q.fails("write"); err != nil {
		n, werr := f.File.Write(p[:len(p)/2])
		return n, errors.Join(err, werr)
	}
	return f.File.Write(p)
}

func (f *failFile) Sync() error {
	if err := f.q.fails("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprint(err))
	}
	return v
}
