// Package storagetest is the conformance suite of storage.Storage: what every
// implementation does, wherever it keeps its objects.
//
//	func TestConformance(t *testing.T) {
//		storagetest.Run(t, storagetest.Config{
//			New: func(t testing.TB) storage.Storage { … },
//		})
//	}
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
)

// A Config says how to make storages for the suite.
type Config struct {
	// New makes a storage that holds nothing. It is closed by the test.
	New func(t testing.TB) storage.Storage
	// Reopen makes another handle of the same storage, as another process
	// would.
	Reopen func(t testing.TB, s storage.Storage) storage.Storage
	// Large is the size of an object that is sent in several parts, in bytes;
	// 0 is 3 MiB and a few bytes.
	Large int
}

// Run runs the suite.
func Run(t *testing.T, c Config) {
	if c.Large == 0 {
		c.Large = 3<<20 + 17
	}
	for name, f := range map[string]func(*testing.T, Config){
		"RoundTrip":      testRoundTrip,
		"PutExists":      testPutExists,
		"PutNamed":       testPutNamed,
		"PutAtOnce":      testPutAtOnce,
		"LargeAtOnce":    testLargeAtOnce,
		"Replace":        testReplace,
		"ReplaceLarge":   testReplaceLarge,
		"Range":          testRange,
		"NotFound":       testNotFound,
		"Delete":         testDelete,
		"List":           testList,
		"ListPages":      testListPages,
		"ListStop":       testListStop,
		"Names":          testNames,
		"Source":         testSource,
		"Register":       testRegister,
		"SwapAtOnce":     testSwapAtOnce,
		"Count":          testCount,
		"RegisterBounds": testRegisterBounds,
		"Cancelled":      testCancelled,
		"Clean":          testClean,
		"Closed":         testClosed,
		"Location":       testLocation,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, c)
		})
	}
}

// Random is n bytes that do not compress, the same for the same seed.
func Random(seed uint64, n int) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = src.Read(b) // never fails
	return b
}

// MustGet reads an object whole.
func MustGet(t testing.TB, s storage.Storage, name string) []byte {
	t.Helper()
	r, err := s.Get(t.Context(), name, 0, -1)
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return b
}

// MustPut makes an object.
func MustPut(t testing.TB, s storage.Storage, name string, b []byte) {
	t.Helper()
	require.NoError(t, s.Put(t.Context(), name, storage.Bytes(b)))
}

// Names lists.
func Names(t testing.TB, s storage.Storage, prefix string) []string {
	t.Helper()
	var names []string
	for info, err := range s.List(t.Context(), prefix) {
		require.NoError(t, err)
		names = append(names, info.Name)
	}
	return names
}

// mustBe demands an error of a class, as *storage.Error, that names the object
// and the storage.
func mustBe(t testing.TB, s storage.Storage, err, class error, name string) {
	t.Helper()
	require.ErrorIs(t, err, class)
	var e *storage.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, s.Location(), e.Location)
	require.Equal(t, name, e.Name)
	require.NotEmpty(t, e.Op)
}

func testRoundTrip(t *testing.T, c Config) {
	s := c.New(t)
	for i, n := range []int{0, 1, 2, 4095, 4096, 65537, 1 << 20, 1<<20 + 1, c.Large} {
		name := fmt.Sprintf("data/%02d", i)
		want := Random(uint64(i), n)
		MustPut(t, s, name, want)
		require.True(t, bytes.Equal(want, MustGet(t, s, name)), "%d bytes", n)
		info, err := s.Stat(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, name, info.Name)
		require.EqualValues(t, n, info.Size)
		require.False(t, info.Modified.IsZero())
		equal, err := storage.Equal(t.Context(), c.Reopen(t, s), name, storage.Bytes(want))
		require.NoError(t, err)
		require.True(t, equal)
	}
	b, err := storage.ReadAll(t.Context(), s, "data/03", 4095)
	require.NoError(t, err)
	require.Equal(t, Random(3, 4095), b)
	_, err = storage.ReadAll(t.Context(), s, "data/03", 4094)
	mustBe(t, s, err, storage.ErrTooLarge, "data/03")
}

func testPutExists(t *testing.T, c Config) {
	s := c.New(t)
	MustPut(t, s, "a/b", []byte("first"))
	for _, content := range []string{"second", "first", ""} {
		mustBe(t, s, s.Put(t.Context(), "a/b", storage.Bytes([]byte(content))), storage.ErrExists, "a/b")
	}
	mustBe(t, s, s.Put(t.Context(), "a/b", storage.Bytes(Random(1, c.Large))), storage.ErrExists, "a/b")
	require.Equal(t, "first", string(MustGet(t, s, "a/b")))
}

// atOnce runs n functions at the same time and returns their errors.
func atOnce(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			errs[i] = f(i)
		})
	}
	done.Wait()
	return errs
}

// winner demands that exactly one has no error, and all others this class.
func winner(t *testing.T, errs []error, class error) int {
	t.Helper()
	won := -1
	for i, err := range errs {
		if err == nil {
			require.Equal(t, -1, won, "%d and %d have both won", won, i)
			won = i
			continue
		}
		require.ErrorIs(t, err, class)
	}
	require.NotEqual(t, -1, won, "nobody has won")
	return won
}

func testPutAtOnce(t *testing.T, c Config) { putAtOnce(t, c, 20, 8, 100) }

func testLargeAtOnce(t *testing.T, c Config) { putAtOnce(t, c, 2, 3, c.Large) }

func putAtOnce(t *testing.T, c Config, rounds, contenders, size int) {
	s := c.New(t)
	handles := []storage.Storage{s, c.Reopen(t, s)}
	for round := range rounds {
		name := fmt.Sprintf("new/%d/object", round)
		won := winner(t, atOnce(contenders, func(i int) error {
			return handles[i%2].Put(t.Context(), name, storage.Bytes(Random(uint64(i), size)))
		}), storage.ErrExists)
		require.True(t, bytes.Equal(Random(uint64(won), size), MustGet(t, s, name)))
	}
}

func testReplace(t *testing.T, c Config) {
	s := c.New(t)
	require.NoError(t, s.Replace(t.Context(), "a/b", storage.Bytes([]byte("new"))))
	require.Equal(t, "new", string(MustGet(t, s, "a/b")))
	MustPut(t, s, "a/c", Random(1, 70_000))
	// A reader that is open sees one or the other, and no mixture.
	r, err := s.Get(t.Context(), "a/c", 0, -1)
	require.NoError(t, err)
	require.NoError(t, s.Replace(t.Context(), "a/c", storage.Bytes(Random(2, 70_000))))
	got, err := io.ReadAll(r)
	require.NoError(t, r.Close())
	if err == nil {
		require.True(t, bytes.Equal(got, Random(1, 70_000)) || bytes.Equal(got, Random(2, 70_000)))
	}
	require.Equal(t, Random(2, 70_000), MustGet(t, c.Reopen(t, s), "a/c"))
	require.Equal(t, []string{"a/b", "a/c"}, Names(t, s, ""))
}

func testReplaceLarge(t *testing.T, c Config) {
	s := c.New(t)
	MustPut(t, s, "a", Random(1, c.Large))
	require.NoError(t, s.Replace(t.Context(), "a", storage.Bytes(Random(2, c.Large+1))))
	require.True(t, bytes.Equal(Random(2, c.Large+1), MustGet(t, s, "a")))
}

func testRange(t *testing.T, c Config) {
	s := c.New(t)
	want := Random(1, c.Large)
	MustPut(t, s, "a", want)
	MustPut(t, s, "empty", nil)
	n := int64(len(want))
	for _, r := range [][2]int64{{0, 0}, {0, 1}, {0, n}, {1, 2}, {n - 1, 1}, {n, 0}, {n, -1}, {n - 3, -1}, {0, -1}, {n / 2, n / 3}} {
		body, err := s.Get(t.Context(), "a", r[0], r[1])
		require.NoError(t, err, "%v", r)
		got, err := io.ReadAll(body)
		require.NoError(t, err, "%v", r)
		require.NoError(t, body.Close())
		end := r[0] + r[1]
		if r[1] < 0 {
			end = n
		}
		require.True(t, bytes.Equal(want[r[0]:end], got), "%v", r)
	}
	require.Empty(t, MustGet(t, s, "empty"))
	for _, bad := range []struct {
		name        string
		off, length int64
	}{{"a", 0, n + 1}, {"a", n, 1}, {"a", n + 1, 0}, {"a", n + 1, -1}, {"a", -1, 1}, {"a", 1, 1<<63 - 1}, {"empty", 0, 1}, {"empty", 1, -1}} {
		body, err := s.Get(t.Context(), bad.name, bad.off, bad.length)
		if err == nil {
			_, err = io.Copy(io.Discard, body)
			require.NoError(t, body.Close())
		}
		mustBe(t, s, err, storage.ErrRange, bad.name)
	}
}

func testNotFound(t *testing.T, c Config) {
	s := c.New(t)
	MustPut(t, s, "a/b", []byte("x"))
	for _, name := range []string{"a", "a/c", "a/b/c", "z", "a/bb"} {
		_, err := s.Stat(t.Context(), name)
		if name == "a" { // a folder of another, which a directory tells apart
			require.Error(t, err)
			continue
		}
		mustBe(t, s, err, storage.ErrNotFound, name)
		_, err = s.Get(t.Context(), name, 0, -1)
		mustBe(t, s, err, storage.ErrNotFound, name)
		_, err = s.Get(t.Context(), name, 0, 0)
		mustBe(t, s, err, storage.ErrNotFound, name)
		_, err = s.Get(t.Context(), name, 3, 2)
		mustBe(t, s, err, storage.ErrNotFound, name)
		_, _, err = s.Load(t.Context(), name)
		mustBe(t, s, err, storage.ErrNotFound, name)
		require.NoError(t, s.Delete(t.Context(), name))
		require.Empty(t, Names(t, s, name+"/"))
	}
	require.Equal(t, []string{"a/b"}, Names(t, s, ""))
}

func testDelete(t *testing.T, c Config) {
	s := c.New(t)
	MustPut(t, s, "a/b", []byte("1"))
	MustPut(t, s, "a/c", Random(1, c.Large))
	for range 2 {
		require.NoError(t, s.Delete(t.Context(), "a/b"))
		_, err := s.Stat(t.Context(), "a/b")
		mustBe(t, s, err, storage.ErrNotFound, "a/b")
		require.Equal(t, []string{"a/c"}, Names(t, s, ""))
	}
	require.NoError(t, s.Delete(t.Context(), "a/c"))
	require.Empty(t, Names(t, s, ""))
	MustPut(t, s, "a/b", []byte("again"))
	require.Equal(t, "again", string(MustGet(t, s, "a/b")))
}

func testLocation(t *testing.T, c Config) {
	s := c.New(t)
	require.NotEmpty(t, s.Location())
	require.Equal(t, s.Location(), c.Reopen(t, s).Location())
}

func testCancelled(t *testing.T, c Config) {
	s := c.New(t)
	MustPut(t, s, "a", []byte("1"))
	_, v, err := s.Load(t.Context(), "a")
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the reason")
	cancel(why)
	for op, f := range map[string]func() error{
		"put":     func() error { return s.Put(ctx, "b", storage.Bytes([]byte("2"))) },
		"replace": func() error { return s.Replace(ctx, "a", storage.Bytes([]byte("2"))) },
		"get":     func() error { _, err := s.Get(ctx, "a", 0, -1); return err },
		"stat":    func() error { _, err := s.Stat(ctx, "a"); return err },
		"delete":  func() error { return s.Delete(ctx, "a") },
		"load":    func() error { _, _, err := s.Load(ctx, "a"); return err },
		"swap":    func() error { _, err := s.Swap(ctx, "a", v, []byte("2")); return err },
		"list": func() error {
			for _, err := range s.List(ctx, "") {
				return err
			}
			return nil
		},
		"clean": func() error { _, err := s.Clean(ctx, 0); return err },
	} {
		err := f()
		require.ErrorIs(t, err, context.Canceled, op)
		require.ErrorIs(t, err, why, op)
		require.NotErrorIs(t, err, storage.ErrUnreachable, op)
	}
	require.Equal(t, []string{"a"}, Names(t, s, ""))
	require.Equal(t, "1", string(MustGet(t, s, "a")))

	// A context that ends while a body is read ends the reading.
	MustPut(t, s, "large", Random(1, c.Large))
	ctx, cancel = context.WithCancelCause(t.Context())
	r, err := s.Get(ctx, "large", 0, -1)
	require.NoError(t, err)
	_, err = io.ReadFull(r, make([]byte, 10))
	require.NoError(t, err)
	cancel(why)
	_, err = io.Copy(io.Discard, r)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, r.Close())

	// And while a source is.
	ctx, cancel = context.WithCancelCause(t.Context())
	err = s.Put(ctx, "interrupted", &watched{storage.Bytes(Random(1, c.Large)), func() { cancel(why) }})
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Stat(t.Context(), "interrupted")
	require.ErrorIs(t, err, storage.ErrNotFound)
}

// A watched source tells when it is read.
type watched struct {
	storage.Source
	read func()
}

func (w *watched) ReadAt(b []byte, off int64) (int, error) {
	w.read()
	return w.Source.ReadAt(b, off)
}

func testClosed(t *testing.T, c Config) {
	s := c.New(t)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	mustBe(t, s, s.Put(t.Context(), "a", storage.Bytes(nil)), storage.ErrClosed, "a")
	_, err := s.Stat(t.Context(), "a")
	mustBe(t, s, err, storage.ErrClosed, "a")
}
