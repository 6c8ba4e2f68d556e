package audit

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// split gives the lines of a file, each with its newline.
func split(b []byte) [][]byte {
	var ls [][]byte
	for l := range bytes.Lines(b) {
		ls = append(ls, l)
	}
	return ls
}

func edited(files map[string][]byte, name string, b []byte) map[string][]byte {
	c := maps.Clone(files)
	c[name] = b
	return c
}

// found requires that the log is found to be wrong, by a fault that names the
// file, and, where line is not below 0, at the line's offset.
func (s *testStore) found(what, name string, off int64, heads ...Head) []Finding {
	s.t.Helper()
	rep, found := s.verify(heads...)
	require.NotZero(s.t, rep.Faults, "%s: nothing is found", what)
	at := slices.IndexFunc(found, func(f Finding) bool {
		return !f.Warning && f.Path == "audit/"+name && (off < 0 || f.Offset == off)
	})
	require.GreaterOrEqual(s.t, at, 0, "%s: %s at %d is not named: %+v", what, name, off, found)
	return found
}

// victims is a store of several files, and what they hold.
func victims(t testing.TB) (*testStore, map[string][]byte, Head) {
	s := newTestStore(t)
	s.opts.FileSize = 4 << 10
	var head Head
	for range 4 {
		head = s.live(6)
	}
	files := s.files()
	require.Greater(t, len(files), 3)
	return s, files, head
}

// TestRecordChanged changes each record, in each of its members, and its MAC.
func TestRecordChanged(t *testing.T) {
	t.Parallel()
	s, files, _ := victims(t)
	rng := rand.New(rand.NewPCG(1, 2))
	tries := 0
	for name, b := range files {
		off := 0
		for i, l := range split(b) {
			for _, edit := range []func([]byte) []byte{
				func(l []byte) []byte { return bytes.Replace(l, []byte(`"success"`), []byte(`"denied"`), 1) },
				func(l []byte) []byte { return bytes.Replace(l, []byte(`"denied"`), []byte(`"success"`), 1) },
				func(l []byte) []byte { return bytes.Replace(l, []byte(`"KeyDenied"`), []byte(`"KeyNotFound"`), 1) },
				func(l []byte) []byte { return bytes.Replace(l, []byte(`"test:a"`), []byte(`"test:b"`), 1) },
				func(l []byte) []byte {
					return bytes.Replace(l, []byte(`{"eventVersion"`), []byte(`{ "eventVersion"`), 1)
				},
				func(l []byte) []byte { l[len(l)-10] ^= 1; return l },
				func(l []byte) []byte { l[rng.IntN(len(l))] ^= 1 << rng.IntN(8); return l },
				func(l []byte) []byte { l[rng.IntN(len(l))] ^= 1 << rng.IntN(8); return l },
			} {
				changed := edit(bytes.Clone(l))
				if bytes.Equal(changed, l) {
					continue
				}
				tries++
				c := s.with(edited(files, name, slices.Concat(b[:off], changed, b[off+len(l):])))
				if i == 0 && name == fileName(1) {
					// It may name another root key now, which is not to be had.
					if rep, _ := c.verify(); rep.Faults == 0 {
						require.Zero(t, rep.Verified)
						continue
					}
				}
				c.found(fmt.Sprintf("record %d of %s: %q", i, name, changed), name, int64(off))
			}
			off += len(l)
		}
	}
	require.Greater(t, tries, 150)
	s.sound()
}

// TestOneChange: of one change one record is told, and where it is.
func TestOneChange(t *testing.T) {
	t.Parallel()
	s, files, _ := victims(t)
	b := files[fileName(2)]
	ls := split(b)
	changed := bytes.Replace(b, ls[1], bytes.Replace(ls[1], []byte(`"Unwrap"`), []byte(`"Wrap"`), 1), 1)
	_, found := s.with(edited(files, fileName(2), changed)).verify()
	require.Len(t, found, 1, "%+v", found)
	require.Equal(t, int64(len(ls[0])), found[0].Offset)
	require.ErrorIs(t, found[0].Class, corrupt.ErrAuth)
}

// TestRecordMoved removes, repeats and exchanges records.
func TestRecordMoved(t *testing.T) {
	t.Parallel()
	s, files, _ := victims(t)
	for name, b := range files {
		ls := split(b)
		for i := range ls {
			_, removed := s.with(edited(files, name, bytes.Join(slices.Delete(slices.Clone(ls), i, i+1), nil))).verify()
			require.NotEmpty(t, removed, "record %d of %s removed", i, name)
			again := slices.Insert(slices.Clone(ls), i, ls[i])
			s.with(edited(files, name, bytes.Join(again, nil))).found("repeated", name, -1)
			for j := range i {
				swapped := slices.Clone(ls)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				s.with(edited(files, name, bytes.Join(swapped, nil))).found("exchanged", name, -1)
			}
		}
	}
	// Into another file.
	one, two := split(files[fileName(1)]), split(files[fileName(2)])
	c := maps.Clone(files)
	c[fileName(1)] = bytes.Join(one[:len(one)-1], nil)
	c[fileName(2)] = bytes.Join(append([][]byte{one[len(one)-1]}, two...), nil)
	s.with(c).sound() // it is at its place in the order: no record is lost
	c[fileName(2)] = bytes.Join(append(slices.Clone(two), one[len(one)-1]), nil)
	s.with(c).found("moved", fileName(2), -1)
}

// TestCut cuts the log at each record and inside of it. Up to the record that the
// keyring names it is found; behind it, a head that is held elsewhere tells.
func TestCut(t *testing.T) {
	t.Parallel()
	s, files, head := victims(t)
	last := fileName(uint64(len(files)))
	b := files[last]
	off := 0
	for _, l := range split(b) {
		for _, at := range []int{off, off + 1, off + len(l)/2, off + len(l) - 1} {
			c := s.with(edited(files, last, b[:at]))
			_, found := c.verify()
			require.NotEmpty(t, found, "cut at %d", at)
			_, err := c.tryOpen(false)
			require.ErrorIs(t, err, ErrBroken)
			require.ErrorIs(t, err, corrupt.ErrCorrupt)
		}
		off += len(l)
	}

	named := s.state
	later := s.live(3)
	after := s.files()
	s.state = named
	c := s.with(edited(after, last, after[last][:len(b)]))
	c.sound(head)
	require.Contains(t, fmt.Sprint(c.found("cut behind the keyring's head", last, -1, later)), "it was cut, or an older one was put back")
	for i := range len(after) - 1 {
		cut := maps.Clone(after)
		delete(cut, fileName(uint64(i+1)))
		s.with(cut).found("a file removed", fileName(uint64(i+1)), -1)
	}
	gone := maps.Clone(files)
	delete(gone, last)
	x := s.with(gone)
	require.NotEmpty(t, x.found("the last file removed", fileName(uint64(len(files)-1)), -1))
	_, err := x.tryOpen(false)
	require.ErrorIs(t, err, corrupt.ErrMissing)
	empty := s.with(nil)
	rep, _ := empty.verify()
	require.NotZero(t, rep.Faults)
	_, err = empty.tryOpen(false)
	require.ErrorIs(t, err, ErrBroken)
}

// TestFilesMoved exchanges, repeats and renumbers files.
func TestFilesMoved(t *testing.T) {
	t.Parallel()
	s, files, _ := victims(t)
	n := uint64(len(files))
	for i := uint64(1); i <= n; i++ {
		for j := i + 1; j <= n; j++ {
			c := maps.Clone(files)
			c[fileName(i)], c[fileName(j)] = c[fileName(j)], c[fileName(i)]
			_, found := s.with(c).verify()
			require.NotEmpty(t, found, "files %d and %d exchanged", i, j)
			require.Contains(t, fmt.Sprint(found), "{audit/")
		}
		c := edited(files, fileName(n+1), files[fileName(i)])
		s.with(c).verify()
		_, err := s.with(c).tryOpen(false)
		require.ErrorIs(t, err, ErrBroken, "file %d again at the end", i)
		c = maps.Clone(files)
		c[fileName(n+7)] = c[fileName(n)]
		delete(c, fileName(n))
		s.with(c).found("renumbered", fileName(n), -1)
	}
}

// TestOlder puts the whole directory back from an older copy.
func TestOlder(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	first := s.live(3)
	older, olderState := s.files(), s.state
	newer := s.live(3)
	c := s.with(older)
	c.found("older, by the keyring's head", fileName(1), -1)
	_, err := c.tryOpen(false)
	require.ErrorIs(t, err, corrupt.ErrMissing)
	// With the keyring of then, only a head that is held elsewhere tells.
	c.state = olderState
	c.sound(first)
	c.found("older, by a head held elsewhere", fileName(1), -1, newer)
	// Gone on with from there: another line.
	fork := c.live(3)
	c.sound(first, fork)
	require.Equal(t, newer.Seq, fork.Seq)
	found := c.found("a fork", fileName(1), -1, newer)
	require.True(t, slices.ContainsFunc(found, func(f Finding) bool { return f.Class == corrupt.ErrRollback }))
}

// TestForeign takes records and files of another store, under the same root key.
func TestForeign(t *testing.T) {
	t.Parallel()
	s, files, _ := victims(t)
	o := newTestStore(t)
	o.root, o.opts = s.root, s.opts
	for range 4 {
		o.live(6)
	}
	others := o.files()
	for n := uint64(1); n <= uint64(len(files)); n++ {
		s.with(edited(files, fileName(n), others[fileName(n)])).found("a file of another store", fileName(n), -1)
		own, foreign := split(files[fileName(n)]), split(others[fileName(n)])
		for i := range min(len(own), len(foreign)) {
			c := slices.Clone(own)
			c[i] = foreign[i]
			s.with(edited(files, fileName(n), bytes.Join(c, nil))).found("a record of another store", fileName(n), -1)
		}
	}
	x := s.with(others)
	_, err := x.tryOpen(false)
	require.ErrorIs(t, err, ErrBroken)
	rep, _ := x.verify()
	require.NotZero(t, rep.Faults)
}

// TestForged: who has the disk and no key, and makes records of his own, with MACs
// of a key of his own.
func TestForged(t *testing.T) {
	t.Parallel()
	s, files, head := victims(t)
	evil := newTestStore(t)
	evil.id = s.id
	for range 4 {
		evil.live(6)
	}
	forged := evil.files()
	rep, found := s.with(forged).verify()
	require.NotZero(t, rep.Faults)
	require.Zero(t, rep.Verified, "%+v", found)
	// With the right root key's wraps, which he has seen.
	mine, his := split(files[fileName(1)]), split(forged[fileName(1)])
	forged[fileName(1)] = slices.Concat(mine[0], bytes.Join(his[1:], nil))
	rep, _ = s.with(forged).verify(head)
	require.Equal(t, uint64(1), rep.Verified)
	require.Greater(t, rep.Faults, 10)
}

// TestWithoutKey: without a root key the heads are compared, and what comes behind
// the keyring's head is authenticated.
func TestWithoutKey(t *testing.T) {
	t.Parallel()
	s, files, head := victims(t)
	named := s.state
	s.live(2)
	s.state = named
	rep, err := Verify(t.Context(), s.place(), VerifyOptions{State: named, Heads: []Head{head}})
	require.NoError(t, err)
	require.Zero(t, rep.Faults)
	require.Equal(t, uint64(2), rep.Verified)
	s.root.err = keyring.ErrKeyDenied
	rep, found := s.verify(head)
	require.Zero(t, rep.Faults)
	require.Equal(t, 1, rep.Warnings)
	require.Contains(t, found[0].Detail, "denied")
	s.root.err = nil
	last := fileName(uint64(len(files)))
	b := bytes.Replace(files[last], []byte(`"Unwrap"`), []byte(`"Wrap"`), 1)
	rep, err = Verify(t.Context(), s.with(edited(files, last, b)).place(), VerifyOptions{Heads: []Head{head}})
	require.NoError(t, err)
	require.Zero(t, rep.Faults, "it takes a key to see that")
	for what, edit := range map[string]func([][]byte) [][]byte{
		"repeated":  func(ls [][]byte) [][]byte { return slices.Insert(ls, 1, ls[0]) },
		"removed":   func(ls [][]byte) [][]byte { return slices.Delete(ls, 1, 2) },
		"exchanged": func(ls [][]byte) [][]byte { ls[1], ls[2] = ls[2], ls[1]; return ls },
	} {
		c := s.with(edited(files, fileName(2), bytes.Join(edit(split(files[fileName(2)])), nil)))
		rep, err := Verify(t.Context(), c.place(), VerifyOptions{})
		require.NoError(t, err)
		require.NotZero(t, rep.Faults, "%s: the numbers alone tell", what)
	}
}

// TestStrange puts what is no file of a log in the place of one.
func TestStrange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newTestStore(t)
	s.live(2)
	name := filepath.Join(dir, "audit", fileName(1))
	good := s.files()[fileName(1)]
	elsewhere := filepath.Join(dir, "elsewhere")
	require.NoError(t, os.WriteFile(elsewhere, good, 0o600))
	for what, put := range map[string]func() error{
		"a link":      func() error { return os.Symlink(elsewhere, name) },
		"a directory": func() error { return os.Mkdir(name, 0o700) },
		"nothing":     func() error { return nil },
		"an empty file": func() error {
			return os.WriteFile(name, nil, 0o600)
		},
		"2^40 zeros": func() error {
			return os.WriteFile(name, nil, 0o600)
		},
		"a long line": func() error { return os.WriteFile(name, bytes.Repeat([]byte("x"), 3<<20), 0o600) },
	} {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "audit")))
		require.NoError(t, os.Mkdir(filepath.Join(dir, "audit"), 0o700))
		require.NoError(t, put())
		if what == "2^40 zeros" {
			require.NoError(t, os.Truncate(name, 1<<40))
		}
		c := *s
		c.fs = vfs.Default
		p := Place{FS: vfs.Default, Dir: filepath.Join(dir, "audit"), Store: s.id}
		began := time.Now()
		rep, err := Verify(t.Context(), p, VerifyOptions{State: s.state})
		require.NoError(t, err, what)
		require.NotZero(t, rep.Faults, what)
		l := New(Options{})
		st := *s.state
		require.ErrorIs(t, l.Open(t.Context(), p, OpenOptions{State: &st, Wrap: s.wrap}), ErrBroken, what)
		require.NoError(t, l.Close())
		require.Less(t, time.Since(began), 20*time.Second, what)
		for _, err := range Records(vfs.Default, p.Dir) {
			_ = err
		}
	}
	// In the place of the directory.
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "audit")))
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "audit")))
	p := Place{FS: vfs.Default, Dir: filepath.Join(dir, "audit"), Store: s.id}
	rep, err := Verify(t.Context(), p, VerifyOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, rep.Faults)
	l := New(Options{})
	require.ErrorIs(t, l.Open(t.Context(), p, OpenOptions{Wrap: s.wrap}), corrupt.ErrForeign)
	require.NoError(t, l.Close())
	_, err = os.Lstat(filepath.Join(dir, fileName(1)))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestVerifyStops with its context.
func TestVerifyStops(t *testing.T) {
	t.Parallel()
	s, _, _ := victims(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Verify(ctx, s.place(), VerifyOptions{})
	require.ErrorIs(t, err, context.Canceled)
}

// TestManyGaps: however many gaps somebody makes, the key is moved over a bounded number of
// missing records, which take seconds.
func TestManyGaps(t *testing.T) {
	t.Parallel()
	v := &verifier{key: keyring.RandomSecret()}
	before := v.key.Clone()
	v.skip(10)
	require.NotNil(t, v.key)
	require.False(t, v.key.Equal(before))
	v.skip(maxGap - 9)
	require.Nil(t, v.key)
	v.skip(1)
	require.Nil(t, v.key)
}

// FuzzLine: a line that parses is one that a log could have written, up to what
// JSON leaves free; whatever else is an error.
func FuzzLine(f *testing.F) {
	s := newTestStore(f)
	s.live(2)
	for _, l := range split(s.files()[fileName(1)]) {
		f.Add(bytes.TrimSuffix(l, []byte("\n")))
	}
	f.Add([]byte(`{"sequence":1,"mac":"` + strings.Repeat("0", macChars) + `"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseLine(b)
		if err != nil {
			return
		}
		require.Equal(t, string(b)+"\n", string(line(p.text, p.mac)))
		_, err = p.rec.JSON()
		require.NoError(t, err)
	})
}

// TestBehind changes what lies behind the record that the keyring names, as after a
// crash: what is well-formed and does not verify was changed.
func TestBehind(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	s.opts.FileSize = 4 << 10
	s.live(3)
	named := s.state
	for range 6 {
		s.live(4)
	}
	s.state = named
	files := s.files()
	require.Greater(t, len(files), 3)
	require.NoError(t, s.with(files).open().Close())
	s.with(files).sound()
	broken := func(what string, c map[string][]byte) {
		t.Helper()
		x := s.with(c)
		rep, _ := x.verify()
		require.NotZero(t, rep.Faults, what)
		_, err := x.tryOpen(false)
		require.ErrorIs(t, err, ErrBroken, what)
	}
	for name, b := range files {
		off := 0
		for i, l := range split(b) {
			from := off
			off += len(l)
			if name == fileName(1) && int64(off) <= named.End {
				continue
			}
			what := fmt.Sprintf("record %d of %s", i, name)
			changed := bytes.Replace(l, []byte(`"Unwrap"`), []byte(`"Wrap"`), 1)
			broken(what+" changed", edited(files, name, slices.Concat(b[:from], changed, b[off:])))
			last := name == fileName(uint64(len(files))) && off == len(b)
			if !last {
				broken(what+" removed", edited(files, name, slices.Concat(b[:from], b[off:])))
			}
			again := edited(files, name, slices.Concat(b[:off], l, b[off:]))
			if off < len(b) || last {
				broken(what+" repeated", again)
			} else { // behind the end of a file, of which the next one says where that is
				s.with(again).found(what+" repeated", name, int64(off))
			}
		}
	}
	gone := maps.Clone(files)
	delete(gone, fileName(2))
	broken("a file removed", gone)
	broken("a file that does not begin with a record", edited(files, fileName(2), append([]byte("x"), files[fileName(2)]...)))
	broken("an empty file", edited(files, fileName(uint64(len(files)+1)), nil))
}
