package wal

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// A rekeyed log: frames of data with changes of the key between them.
type rekeyed struct {
	key     *keyring.DataKey // of the header
	next    map[keyring.ID]*keyring.DataKey
	b       []byte
	data    []string
	changes [][2]int64 // where the two frames of each change begin and end
	ends    []int64    // of the data's frames
}

// newRekeyed writes a log of groups of three frames, each group under a key of its
// own, all of them synced.
func newRekeyed(t testing.TB, suite aead.Suite, groups int) *rekeyed {
	l := &rekeyed{key: newKey(), next: make(map[keyring.ID]*keyring.DataKey)}
	f := new(memFile)
	w, err := NewWriter(f, testIdentity(), l.key, testPast, Options{Suite: suite, Now: testNow})
	require.NoError(t, err)
	for g := range groups {
		if g > 0 {
			id, key := keyring.NewID(), newKey()
			key.Version = uint32(g + 1)
			l.next[id] = key
			from := int64(len(f.b))
			require.NoError(t, w.Rekey(id, key))
			l.changes = append(l.changes, [2]int64{from, int64(len(f.b))})
		}
		for i := range 3 {
			text := fmt.Sprint("row ", g, " ", i)
			_, err := w.Write([]byte(text))
			require.NoError(t, err)
			require.NoError(t, w.Sync())
			l.data = append(l.data, text)
			l.ends = append(l.ends, int64(len(f.b)))
		}
	}
	frames, size := w.Committed()
	require.EqualValues(t, 1+3*groups+2*(groups-1), frames)
	require.EqualValues(t, len(f.b), size)
	require.EqualValues(t, 3*groups*len("row 0 0"), w.Size())
	require.NoError(t, w.Close())
	l.b = f.b
	return l
}

// keys unwraps nothing: it knows the keys.
func (l *rekeyed) keys(id keyring.ID, version uint32, _ []byte) (*keyring.Secret, error) {
	key := l.next[id]
	if key == nil || key.Version != version {
		return nil, corrupt.New(corrupt.ErrAuth, "", -1, "the data key does not open")
	}
	return key.Key.Clone(), nil
}

func (l *rekeyed) read(b []byte, opts ReaderOptions) ([]string, *Reader, error) {
	if opts.Key == nil {
		opts.Key = l.keys
	}
	frames, r, err := readAll(b, l.key, opts)
	var data []string
	for _, fr := range frames {
		data = append(data, string(fr.Data))
	}
	return data, r, err
}

func TestRekey(t *testing.T) {
	t.Parallel()
	l := newRekeyed(t, nil, 4)
	data, r, err := l.read(l.b, ReaderOptions{})
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, l.data, data)
	require.EqualValues(t, 1+12+6, r.Frames())
	require.Len(t, r.Rekeyed(), 3)
	for n, k := range r.Rekeyed() {
		require.Equal(t, l.next[k.ID].Version, k.Version)
		require.Equal(t, l.next[k.ID].Wrapped, k.Wrapped)
		require.EqualValues(t, n+2, k.Version)
	}
	data, _, err = l.read(l.b, ReaderOptions{Final: 19, Attested: 19, Limit: int64(len(l.b))})
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, l.data, data)
	h, err := keyring.ParseHeader(l.b)
	require.NoError(t, err)
	whole, err := NewReader(&memFile{b: l.b}, int64(len(l.b)), h, l.key.Key, ReaderOptions{Key: l.keys})
	require.NoError(t, err)
	b, err := io.ReadAll(whole)
	require.NoError(t, err)
	require.Len(t, b, 12*len("row 0 0"))
}

// TestFormerKeyReadsNoFurther: who has the keys of before a change reads what was
// there then, and is told so.
func TestFormerKeyReadsNoFurther(t *testing.T) {
	t.Parallel()
	l := newRekeyed(t, nil, 3)
	for _, version := range []uint32{2, 3} {
		data, _, err := l.read(l.b, ReaderOptions{Key: func(id keyring.ID, v uint32, w []byte) (*keyring.Secret, error) {
			if v >= version {
				return nil, corrupt.New(corrupt.ErrAuth, "", -1, "no such key")
			}
			return l.keys(id, v, w)
		}})
		requireCorrupt(t, err, "")
		require.Equal(t, l.data[:3*(version-1)], data)
	}
	_, _, err := readAll(l.b, l.key, ReaderOptions{})
	require.ErrorIs(t, err, corrupt.ErrFormat) // a file whose key does not change
	down := errors.New("down")
	_, _, err = l.read(l.b, ReaderOptions{Key: func(keyring.ID, uint32, []byte) (*keyring.Secret, error) { return nil, down }})
	require.ErrorIs(t, err, down)
	other := newKey()
	_, _, err = l.read(l.b, ReaderOptions{Key: func(keyring.ID, uint32, []byte) (*keyring.Secret, error) { return other.Key.Clone(), nil }})
	require.ErrorIs(t, err, corrupt.ErrAuth)
}

// TestRekeyTampered: one changed byte in either frame of a change is found by what
// is behind it. The control is a cipher that does not authenticate.
func TestRekeyTampered(t *testing.T) {
	t.Parallel()
	for name, suite := range map[string]aead.Suite{"AES-256-GCM": nil, "none": blindSuite} {
		l := newRekeyed(t, suite, 3)
		missed := 0
		for _, c := range l.changes {
			for at := c[0]; at < c[1]; at++ {
				b := slices.Clone(l.b)
				b[at] ^= 0x40
				data, _, err := l.read(b, ReaderOptions{Options: Options{Suite: suite}})
				if err == io.EOF && slices.Equal(data, l.data) || err == io.EOF && suite != nil {
					missed++
					continue
				}
				requireCorrupt(t, err, "", "byte %d", at)
			}
		}
		require.Equal(t, suite != nil, missed > 0, "%s: %d", name, missed)
	}
}

// TestRekeyCut: at whatever byte a crash cuts the log, it ends there, with all that
// is whole before; unless somebody attests more.
func TestRekeyCut(t *testing.T) {
	t.Parallel()
	l := newRekeyed(t, nil, 3)
	first := l.ends[0]
	for n := first; n <= int64(len(l.b)); n++ {
		whole := 0
		for whole < len(l.ends) && l.ends[whole] <= n {
			whole++
		}
		data, r, err := l.read(l.b[:n], ReaderOptions{})
		require.ErrorIs(t, err, io.EOF, "cut at %d", n)
		require.Equal(t, l.data[:whole], data, "cut at %d", n)
		_, _, err = l.read(l.b[:n], ReaderOptions{Attested: r.Frames() + 1})
		requireCorrupt(t, err, "")
	}
}

// TestRekeyFails at each write and each sync: the error is final, and what was
// acknowledged before is there.
func TestRekeyFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is broken")
	for _, op := range []string{"write", "syncdata"} {
		for n := range 2 {
			f, key := new(memFile), newKey()
			w, err := NewWriter(f, testIdentity(), key, testPast, Options{Now: testNow})
			require.NoError(t, err)
			_, err = w.Write([]byte("before"))
			require.NoError(t, err)
			require.NoError(t, w.Sync())
			left := n
			f.failing = func(o string) error {
				if o != op {
					return nil
				}
				if left--; left < 0 {
					return broken
				}
				return nil
			}
			id, next := keyring.NewID(), newKey()
			require.ErrorIs(t, w.Rekey(id, next), broken)
			f.failing = nil
			_, err = w.Write([]byte("after"))
			require.ErrorIs(t, err, broken)
			require.ErrorIs(t, w.Rekey(id, next), broken)
			l := &rekeyed{key: key, next: map[keyring.ID]*keyring.DataKey{id: next}}
			data, _, err := l.read(f.b, ReaderOptions{})
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, []string{"before"}, data)
		}
	}
	f := new(memFile)
	w, err := NewWriter(f, testIdentity(), newKey(), testPast, Options{})
	require.NoError(t, err)
	wiped := newKey()
	wiped.Key.Wipe()
	require.ErrorContains(t, w.Rekey(keyring.NewID(), wiped), "wiped")
	require.NoError(t, w.Close())
	require.Error(t, w.Rekey(keyring.NewID(), newKey()))
}
