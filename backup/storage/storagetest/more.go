package storagetest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
)

func testList(t *testing.T, c Config) {
	s := c.New(t)
	require.Empty(t, Names(t, s, ""))
	names := []string{"a/b", "a/b2", "a-b/c", "a.b", "a0", "A/b", "a/c/d/e", "a/c-d", "a/c.d", "b", "_/x", "a/c/d-e"}
	for i, name := range names {
		MustPut(t, s, name, Random(1, i))
	}
	sorted := slices.Sorted(slices.Values(names))
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/c", "a/c/", "a/c/d", "a/c/d/", "a-", "A", "b", "b/", "z", "a/z/y", "_", "a/c/d/e"} {
		var want []string
		for _, name := range sorted {
			if strings.HasPrefix(name, prefix) {
				want = append(want, name)
			}
		}
		require.Equal(t, want, Names(t, c.Reopen(t, s), prefix), "prefix %q", prefix)
	}
	for info, err := range s.List(t.Context(), "") {
		require.NoError(t, err)
		require.EqualValues(t, slices.Index(names, info.Name), info.Size, info.Name)
		require.False(t, info.Modified.IsZero())
	}
	for _, prefix := range []string{"/", "a//", "../", "a/..", "a b", "ä", strings.Repeat("x", storage.MaxName+1)} {
		n := 0
		for _, err := range s.List(t.Context(), prefix) {
			mustBe(t, s, err, storage.ErrName, prefix)
			n++
		}
		require.Equal(t, 1, n)
	}
}

func testListPages(t *testing.T, c Config) {
	s := c.New(t)
	var want []string
	for i := range 57 {
		want = append(want, fmt.Sprintf("p/%03d/x", i*7%57))
	}
	for _, err := range atOnce(len(want), func(i int) error {
		return s.Put(t.Context(), want[i], storage.Bytes([]byte(want[i])))
	}) {
		require.NoError(t, err)
	}
	slices.Sort(want)
	require.Equal(t, want, Names(t, s, ""))
	require.Equal(t, want[10:20], Names(t, s, "p/01"))
}

func testListStop(t *testing.T, c Config) {
	s := c.New(t)
	for i := range 5 {
		MustPut(t, s, fmt.Sprintf("l/%d/%d", i/2, i), nil)
	}
	seq := s.List(t.Context(), "")
	for range 2 { // the sequence can be used again
		n := 0
		for info, err := range seq {
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("l/%d/%d", n/2, n), info.Name)
			if n++; n == 3 {
				break
			}
		}
	}
}

func testNames(t *testing.T, c Config) {
	s := c.New(t)
	good := []string{
		"abcdefghijklmnopqrstuvwxyz0123456789._-x",
		"upper/ABCDEFGHIJKLMNOPQRSTUVWXYZ",
		"x/" + strings.Repeat("e", storage.MaxElement),
		strings.Repeat(strings.Repeat("d", 99)+"/", 5) + "123456789012",
		"-", "_", "a/-/_", "a..b", "x/0.0",
	}
	for i, name := range good {
		require.NoError(t, storage.CheckName(name))
		MustPut(t, s, name, Random(uint64(i), i+1))
	}
	for i, name := range good {
		require.Equal(t, Random(uint64(i), i+1), MustGet(t, s, name))
	}
	require.Equal(t, slices.Sorted(slices.Values(good)), Names(t, s, ""))
	for _, name := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".a", "a.", "a/.b", "a b", "a\x00b", "a\\b",
		"a:b", "a%2fb", "a~", "ä", "a?b", "a#b", "a+b", strings.Repeat("a/", storage.MaxName/2) + "b",
		strings.Repeat("e", storage.MaxElement+1),
	} {
		mustBe(t, s, s.Put(t.Context(), name, storage.Bytes(nil)), storage.ErrName, name)
		mustBe(t, s, s.Replace(t.Context(), name, storage.Bytes(nil)), storage.ErrName, name)
		mustBe(t, s, s.Delete(t.Context(), name), storage.ErrName, name)
		_, err := s.Get(t.Context(), name, 0, -1)
		mustBe(t, s, err, storage.ErrName, name)
		_, err = s.Stat(t.Context(), name)
		mustBe(t, s, err, storage.ErrName, name)
		_, _, err = s.Load(t.Context(), name)
		mustBe(t, s, err, storage.ErrName, name)
		_, err = s.Swap(t.Context(), name, storage.NoVersion, nil)
		mustBe(t, s, err, storage.ErrName, name)
	}
}

// A bad source says that it has more bytes than it gives, or fails at one.
type bad struct {
	size, has int64
	err       error
}

func (b bad) Size() int64 { return b.size }

func (b bad) ReadAt(p []byte, off int64) (int, error) {
	if n := b.has - off; n < int64(len(p)) {
		return int(max(n, 0)), b.err
	}
	return len(p), nil
}

func testSource(t *testing.T, c Config) {
	s := c.New(t)
	large := int64(c.Large)
	broken := errors.New("the source is broken")
	for i, src := range []bad{
		{10, 9, io.EOF}, {10, 0, io.EOF}, {10, 5, broken}, {large, large - 1, io.EOF}, {large, large / 2, broken}, {large, 0, broken},
	} {
		name := fmt.Sprintf("s/%d", i)
		for op, f := range map[string]func() error{
			"put":     func() error { return s.Put(t.Context(), name, src) },
			"replace": func() error { return s.Replace(t.Context(), name, src) },
		} {
			err := f()
			mustBe(t, s, err, storage.ErrSource, name)
			if src.err == broken {
				require.ErrorIs(t, err, broken, op)
			}
			_, err = s.Stat(t.Context(), name)
			require.ErrorIs(t, err, storage.ErrNotFound)
		}
	}
	mustBe(t, s, s.Put(t.Context(), "huge", bad{storage.MaxObject + 1, 0, io.EOF}), storage.ErrTooLarge, "huge")
	mustBe(t, s, s.Put(t.Context(), "less", bad{-1, 0, io.EOF}), storage.ErrTooLarge, "less")
	require.Empty(t, Names(t, s, ""))
}

func testRegister(t *testing.T, c Config) {
	s := c.New(t)
	other := c.Reopen(t, s)
	_, _, err := s.Load(t.Context(), "locks/w")
	mustBe(t, s, err, storage.ErrNotFound, "locks/w")
	_, err = s.Swap(t.Context(), "locks/w", "no such version", []byte("x"))
	mustBe(t, s, err, storage.ErrConflict, "locks/w")
	_, _, err = s.Load(t.Context(), "locks/w")
	mustBe(t, s, err, storage.ErrNotFound, "locks/w")

	v1, err := s.Swap(t.Context(), "locks/w", storage.NoVersion, []byte("one"))
	require.NoError(t, err)
	require.NotEmpty(t, v1)
	_, err = other.Swap(t.Context(), "locks/w", storage.NoVersion, []byte("two"))
	mustBe(t, s, err, storage.ErrConflict, "locks/w")
	b, v, err := other.Load(t.Context(), "locks/w")
	require.NoError(t, err)
	require.Equal(t, "one", string(b))
	require.Equal(t, v1, v)

	v2, err := other.Swap(t.Context(), "locks/w", v, []byte("two"))
	require.NoError(t, err)
	require.NotEqual(t, v1, v2)
	_, err = s.Swap(t.Context(), "locks/w", v1, []byte("three"))
	mustBe(t, s, err, storage.ErrConflict, "locks/w")
	v3, err := s.Swap(t.Context(), "locks/w", v2, nil)
	require.NoError(t, err)
	require.NotEqual(t, v2, v3)
	b, v, err = other.Load(t.Context(), "locks/w")
	require.NoError(t, err)
	require.Empty(t, b)
	require.Equal(t, v3, v)

	require.NoError(t, other.Delete(t.Context(), "locks/w"))
	_, err = s.Swap(t.Context(), "locks/w", v3, []byte("four"))
	mustBe(t, s, err, storage.ErrConflict, "locks/w")
}

func testSwapAtOnce(t *testing.T, c Config) {
	s := c.New(t)
	handles := []storage.Storage{s, c.Reopen(t, s)}
	v := storage.NoVersion
	for round := range 10 {
		won := winner(t, atOnce(6, func(i int) error {
			_, err := handles[i%2].Swap(t.Context(), "r", v, fmt.Appendf(nil, "%d %d", round, i))
			return err
		}), storage.ErrConflict)
		b, next, err := s.Load(t.Context(), "r")
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%d %d", round, won), string(b))
		v = next
	}
}

// testCount adds up in a register, from several handles: no addition is lost
// and none counts twice.
func testCount(t *testing.T, c Config) {
	s := c.New(t)
	const adders, each = 4, 5
	for _, err := range atOnce(adders, func(i int) error {
		h := c.Reopen(t, s)
		for n := 0; n < each; {
			b, v, err := h.Load(t.Context(), "count")
			if errors.Is(err, storage.ErrNotFound) {
				b, v, err = []byte("0"), storage.NoVersion, nil
			}
			if err != nil {
				return err
			}
			have, err := strconv.Atoi(string(b))
			if err != nil {
				return err
			}
			switch _, err = h.Swap(t.Context(), "count", v, []byte(strconv.Itoa(have+1))); {
			case err == nil:
				n++
			case !errors.Is(err, storage.ErrConflict):
				return err
			}
		}
		return nil
	}) {
		require.NoError(t, err)
	}
	b, _, err := s.Load(t.Context(), "count")
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(adders*each), string(b))
}

func testRegisterBounds(t *testing.T, c Config) {
	s := c.New(t)
	_, err := s.Swap(t.Context(), "r", storage.NoVersion, make([]byte, storage.MaxRegister+1))
	mustBe(t, s, err, storage.ErrTooLarge, "r")
	want := Random(1, storage.MaxRegister)
	_, err = s.Swap(t.Context(), "r", storage.NoVersion, want)
	require.NoError(t, err)
	b, _, err := s.Load(t.Context(), "r")
	require.NoError(t, err)
	require.Equal(t, want, b)
	MustPut(t, s, "o", make([]byte, storage.MaxRegister+1))
	_, _, err = s.Load(t.Context(), "o")
	mustBe(t, s, err, storage.ErrTooLarge, "o")
}

func testClean(t *testing.T, c Config) {
	s := c.New(t)
	MustPut(t, s, "a", []byte("1"))
	cleaned, err := s.Clean(t.Context(), 0)
	require.NoError(t, err)
	require.Zero(t, cleaned)
	require.Equal(t, "1", string(MustGet(t, s, "a")))
	_, err = s.Clean(t.Context(), time.Hour)
	require.NoError(t, err)
}
