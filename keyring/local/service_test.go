package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/keyringtest"
)

func testContext() keyring.Context {
	return keyring.Context{Store: keyring.ID{1}, Table: keyring.ID{2}, Purpose: keyring.PurposeTableKey, Version: 3}
}

func TestFirstUse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b", "keys.cofre")
	_, err := Open(path, Options{MustExist: true})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, err, keyring.ErrKeyNotFound)

	s, err := Open(path, Options{})
	require.NoError(t, err)
	require.Equal(t, path, s.Path())
	_, err = s.Key("default")
	require.ErrorIs(t, err, keyring.ErrKeyNotFound)
	infos, err := s.List()
	require.NoError(t, err)
	require.Empty(t, infos)
	_, err = os.Stat(filepath.Dir(path))
	require.ErrorIs(t, err, fs.ErrNotExist, "nothing is made before a key is")

	k, created, err := s.Ensure(t.Context(), "default")
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, "cofre-local:default", k.URI())
	require.Equal(t, "default", k.Name())
	again, created, err := s.Ensure(t.Context(), "default")
	require.NoError(t, err)
	require.False(t, created)
	key := keyring.RandomSecret()
	blob, err := k.Wrap(t.Context(), key, testContext())
	require.NoError(t, err)
	got, err := again.Unwrap(t.Context(), blob, testContext())
	require.NoError(t, err)
	require.True(t, got.Equal(key))

	_, err = s.CreateKey(t.Context(), "default")
	require.ErrorIs(t, err, ErrKeyExists)
	_, err = s.CreateKey(t.Context(), "other")
	require.NoError(t, err)
	infos, err = s.List()
	require.NoError(t, err)
	require.Len(t, infos, 2)
	require.Equal(t, "default", infos[0].Name)
	require.Equal(t, "cofre-local:other", infos[1].URI)
	require.Equal(t, keyring.StateEnabled, infos[1].State)
	require.Len(t, infos[1].Versions, 1)
	require.WithinDuration(t, time.Now(), infos[1].CreatedAt, time.Minute)

	// Another key of the file does not open it, nor the same name in another.
	other, err := s.Key("other")
	require.NoError(t, err)
	_, err = other.Unwrap(t.Context(), blob, testContext())
	require.ErrorIs(t, err, keyring.ErrKeyNotFound)
	_, stranger := newTestKey(t)
	require.Equal(t, k.URI(), stranger.URI())
	_, err = stranger.Unwrap(t.Context(), blob, testContext())
	require.ErrorIs(t, err, keyring.ErrKeyNotFound)

	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	for _, err := range []error{
		second(s.Key("default")), second(k.Wrap(t.Context(), key, testContext())), second(s.List()),
		s.Disable(t.Context(), "default"), k.NoteGeneration(t.Context(), keyring.ID{1}, 1, [32]byte{}),
	} {
		require.ErrorIs(t, err, keyring.ErrClosed)
	}
}

func second[T any](_ T, err error) error { return err }

func TestNames(t *testing.T) {
	t.Parallel()
	s, _ := newTestKey(t)
	for _, name := range []string{"", ".", ".a", "-a", "_a", "a b", "a/b", "a:b", "é", "a\n", strings.Repeat("a", 65)} {
		_, err := s.CreateKey(t.Context(), name)
		require.ErrorIs(t, err, ErrName, "%q", name)
		_, _, err = s.Ensure(t.Context(), name)
		require.ErrorIs(t, err, ErrName, "%q", name)
	}
	for _, name := range []string{"a", "0", "A.b-c_d", strings.Repeat("a", 64)} {
		_, err := s.CreateKey(t.Context(), name)
		require.NoError(t, err, "%q", name)
	}
	for _, f := range []func(string) error{
		func(n string) error { return s.Disable(t.Context(), n) }, func(n string) error { return s.Enable(t.Context(), n) },
		func(n string) error { return second(s.ScheduleDeletion(t.Context(), n, 0)) }, func(n string) error { return second(s.Rotate(t.Context(), n)) },
		func(n string) error { return second(s.Key(n)) },
	} {
		require.ErrorIs(t, f("absent"), keyring.ErrKeyNotFound)
	}
}

// TestStates changes the state in one handle and uses the key in another, as
// two processes do.
func TestStates(t *testing.T) {
	t.Parallel()
	admin, _ := newTestKey(t)
	s, err := Open(admin.path, Options{MustExist: true})
	require.NoError(t, err)
	k, err := s.Key("default")
	require.NoError(t, err)
	ctx, key, ec := t.Context(), keyring.RandomSecret(), testContext()
	blob, err := k.Wrap(ctx, key, ec)
	require.NoError(t, err)

	for range 20 { // a change within a tick of the file's clock is seen too
		for _, step := range []struct {
			state  keyring.State
			set    func(context.Context, string) error
			denied bool
		}{
			{keyring.StateDisabled, admin.Disable, true},
			{keyring.StateEnabled, admin.Enable, false},
			{keyring.StatePendingDeletion, func(ctx context.Context, name string) error {
				return second(admin.ScheduleDeletion(ctx, name, 7))
			}, true},
			{keyring.StateDisabled, admin.CancelDeletion, true},
			{keyring.StateEnabled, admin.Enable, false},
		} {
			require.NoError(t, step.set(ctx, "default"))
			d, err := k.Describe(ctx)
			require.NoError(t, err)
			require.Equal(t, step.state, d.State)
			_, werr := k.Wrap(ctx, key, ec)
			got, uerr := k.Unwrap(ctx, blob, ec)
			if step.denied {
				require.ErrorIs(t, werr, keyring.ErrKeyDenied)
				require.ErrorIs(t, uerr, keyring.ErrKeyDenied)
				require.ErrorContains(t, uerr, step.state.String())
			} else {
				require.NoError(t, werr)
				require.NoError(t, uerr)
				require.True(t, got.Equal(key))
			}
			// Notes are taken whatever the state.
			require.NoError(t, k.NoteGeneration(ctx, keyring.ID{9}, 1, [32]byte{1}))
		}
	}
	d, err := k.Describe(ctx)
	require.NoError(t, err)
	require.False(t, d.Sealed)
	require.Contains(t, d.Note, "unsealed")
	require.Equal(t, s.path, d.Location)

	// The file goes away, and comes back.
	require.NoError(t, os.Rename(s.path, s.path+".away"))
	_, err = k.Unwrap(ctx, blob, ec)
	require.ErrorIs(t, err, keyring.ErrKeyNotFound)
	require.NoError(t, os.Rename(s.path+".away", s.path))
	_, err = k.Unwrap(ctx, blob, ec)
	require.NoError(t, err)
}

func TestRotate(t *testing.T) {
	t.Parallel()
	s, k := newTestKey(t)
	old, err := os.ReadFile(s.path)
	require.NoError(t, err)
	ctx, ec := t.Context(), testContext()
	var keys []*keyring.Secret
	var blobs [][]byte
	for v := uint32(1); v <= 3; v++ {
		if v > 1 {
			n, err := s.Rotate(ctx, "default")
			require.NoError(t, err)
			require.Equal(t, v, n)
		}
		key := keyring.RandomSecret()
		blob, err := k.Wrap(ctx, key, ec)
		require.NoError(t, err)
		require.Equal(t, v, binary.BigEndian.Uint32(blob[17:]), "new wraps use the newest version")
		keys, blobs = append(keys, key), append(blobs, blob)
	}
	for i, blob := range blobs {
		got, err := k.Unwrap(ctx, blob, ec)
		require.NoError(t, err)
		require.True(t, got.Equal(keys[i]))
		// Under another version's number it is another wrap.
		b := bytes.Clone(blob)
		binary.BigEndian.PutUint32(b[17:], uint32((i+1)%3+1))
		_, err = k.Unwrap(ctx, b, ec)
		require.ErrorIs(t, err, keyring.ErrWrongContext)
		binary.BigEndian.PutUint32(b[17:], 4)
		_, err = k.Unwrap(ctx, b, ec)
		require.ErrorIs(t, err, keyring.ErrKeyNotFound)
	}
	d, err := k.Describe(ctx)
	require.NoError(t, err)
	require.Len(t, d.Versions, 3)

	// A backup of the file from before knows the older version only.
	require.NoError(t, os.WriteFile(s.path, old, 0o600))
	_, err = k.Unwrap(ctx, blobs[0], ec)
	require.NoError(t, err)
	_, err = k.Unwrap(ctx, blobs[2], ec)
	require.ErrorIs(t, err, keyring.ErrKeyNotFound)
}

// TestTampered flips each bit of the file and cuts it at each length. Whoever
// also makes the checksum again gets what its comment says he gets.
func TestTampered(t *testing.T) {
	t.Parallel()
	s, _ := newTestKey(t)
	require.NoError(t, s.change(t.Context(), func(f *keyFile) (bool, error) {
		f.notes = append(f.notes, note{store: keyring.ID{1}, generation: 2})
		return true, nil
	}))
	good, err := os.ReadFile(s.path)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "keys.cofre")
	refused := func(b []byte, what string, args ...any) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, b, 0o600))
		_, err := Open(path, Options{})
		var ce *corrupt.Error
		require.True(t, errors.As(err, &ce), append([]any{what}, args...)...)
		require.Equal(t, path, ce.Path)
		require.False(t, errors.Is(err, fs.ErrNotExist))
	}
	for i := range good {
		for bit := range 8 {
			if i >= prefixLen && bit != i%8 {
				continue
			}
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			refused(b, "bit %d of byte %d flipped", bit, i)
		}
	}
	for n := range good {
		refused(good[:n], "cut to %d", n)
	}
	refused(append(bytes.Clone(good), 0), "appended")
	refused(make([]byte, len(good)), "zeros")
	require.NoError(t, os.WriteFile(path, good, 0o600))
	_, err = Open(path, Options{})
	require.NoError(t, err)
}

// TestTamperedWhileOpen: a handle that has read the file notices too, and a
// change does not write over what it cannot read.
func TestTamperedWhileOpen(t *testing.T) {
	t.Parallel()
	s, k := newTestKey(t)
	_, err := k.Describe(t.Context())
	require.NoError(t, err)
	b, err := os.ReadFile(s.path)
	require.NoError(t, err)
	b = b[:len(b)-1]
	require.NoError(t, os.WriteFile(s.path, b, 0o600))
	_, err = k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
	require.ErrorIs(t, err, corrupt.ErrFormat)
	_, err = s.CreateKey(t.Context(), "another")
	require.ErrorIs(t, err, corrupt.ErrFormat)
	require.ErrorIs(t, s.Disable(t.Context(), "default"), corrupt.ErrFormat)
	now, err := os.ReadFile(s.path)
	require.NoError(t, err)
	require.Equal(t, b, now)
}

// TestProcessesLoseNothing has many handles change one file at once.
func TestProcessesLoseNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "keys.cofre")
	var wg sync.WaitGroup
	for p := range 4 {
		wg.Go(func() {
			s, err := Open(path, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			k, _, err := s.Ensure(t.Context(), "shared")
			if err != nil {
				t.Error(err)
				return
			}
			for i := range 5 {
				_, err := s.CreateKey(t.Context(), fmt.Sprintf("k%d.%d", p, i))
				if err == nil {
					_, err = s.Rotate(t.Context(), "shared")
				}
				if err == nil {
					err = k.NoteGeneration(t.Context(), keyring.ID{byte(p), byte(i)}, uint64(i), [32]byte{})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s, err := Open(path, Options{MustExist: true})
	require.NoError(t, err)
	infos, err := s.List()
	require.NoError(t, err)
	require.Len(t, infos, 4*5+1)
	require.Equal(t, "shared", infos[len(infos)-1].Name)
	require.Len(t, infos[len(infos)-1].Versions, 4*5+1)
	require.Len(t, s.cached.notes, 4*5)
	require.EqualValues(t, 1+3*4*5, s.cached.revision, "each change counted, and no other")
	require.ElementsMatch(t, []string{"keys.cofre", "keys.cofre.lock"}, names(t, filepath.Dir(path)))
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestLeftOver: what a crash leaves beside the file does no harm.
func TestLeftOver(t *testing.T) {
	t.Parallel()
	s, _ := newTestKey(t)
	require.NoError(t, os.WriteFile(s.path+".tmp", []byte("cut"), 0o600))
	require.NoError(t, s.Disable(t.Context(), "default"))
	require.ElementsMatch(t, []string{"keys.cofre", "keys.cofre.lock"}, names(t, filepath.Dir(s.path)))

	// A change that cannot be written leaves the file as it was.
	before, err := os.ReadFile(s.path)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(s.path+".tmp", "in the way"), 0o700))
	require.Error(t, s.Enable(t.Context(), "default"))
	after, err := os.ReadFile(s.path)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s, k := newTestKey(t)
	require.NoError(t, s.change(t.Context(), func(f *keyFile) (bool, error) {
		rk, _ := f.key("default")
		for len(rk.versions) < maxVersions {
			rk.versions = append(rk.versions, version{number: rk.newest().number + 1, key: keyring.RandomSecret(), createdAt: unixNano(1)})
		}
		for i := len(f.keys); i < maxKeys; i++ {
			f.add(&rootKey{name: fmt.Sprintf("k%d", i), id: keyring.NewID(), state: keyring.StateEnabled, createdAt: unixNano(1),
				versions: []version{{number: 1, key: keyring.RandomSecret(), createdAt: unixNano(1)}}})
		}
		for i := range maxNotes {
			f.notes = append(f.notes, note{store: keyring.ID{byte(i >> 16), byte(i >> 8), byte(i)}})
		}
		return true, nil
	}))
	var limit *keyring.LimitError
	_, err := s.CreateKey(t.Context(), "onemore")
	require.ErrorAs(t, err, &limit)
	_, err = s.Rotate(t.Context(), "default")
	require.ErrorAs(t, err, &limit)
	require.ErrorAs(t, k.NoteGeneration(t.Context(), keyring.ID{0xff}, 1, [32]byte{}), &limit)
	require.NoError(t, k.NoteGeneration(t.Context(), keyring.ID{1}, 1, [32]byte{}))
	fi, err := os.Stat(s.path)
	require.NoError(t, err)
	require.Less(t, fi.Size(), int64(maxFileLen), "the fullest file is within the bound")
}

// TestTooLarge: a file that could not be read again is not written.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	s, k := newTestKey(t)
	key := keyring.RandomSecret()
	var limit *keyring.LimitError
	require.ErrorAs(t, s.change(t.Context(), func(f *keyFile) (bool, error) {
		for i := range 100 {
			rk := &rootKey{name: fmt.Sprintf("k%d", i), id: keyring.NewID(), state: keyring.StateEnabled, createdAt: unixNano(1)}
			for n := range uint32(maxVersions) {
				rk.versions = append(rk.versions, version{number: n + 1, key: key, createdAt: unixNano(1)})
			}
			f.add(rk)
		}
		return true, nil
	}), &limit)
	require.Greater(t, limit.Len, maxFileLen)
	require.NoError(t, second(k.Wrap(t.Context(), key, testContext())))
}

// TestEncode has a file for each rule of parse, and its control.
func TestEncode(t *testing.T) {
	t.Parallel()
	fresh := func() *keyFile {
		return &keyFile{
			version: 2, revision: 7,
			keys: []*rootKey{
				{name: "a", id: keyring.ID{1}, state: keyring.StateEnabled, createdAt: unixNano(1), period: 90, rotateAt: unixNano(9), versions: []version{
					{number: 1, createdAt: unixNano(2), key: keyring.RandomSecret()}, {number: 3, createdAt: unixNano(3), key: keyring.RandomSecret()},
				}},
				{name: "b", id: keyring.ID{2}, state: keyring.StatePendingDeletion, createdAt: unixNano(1), deleteAt: unixNano(8), versions: []version{{number: 1, key: keyring.RandomSecret(), createdAt: unixNano(4)}}},
			},
			destroyed: []destroyed{{keyring.ID{9}, "b", unixNano(5)}, {keyring.ID{8}, "a", unixNano(6)}},
			aliases:   []alias{{"p", keyring.ID{2}}, {"q", keyring.ID{1}}},
			grants: []grant{
				{id: keyring.ID{1}, key: keyring.ID{1}, grantee: "g", operations: OpWrap | OpDescribeKey, createdAt: unixNano(7)},
				{id: keyring.ID{2}, key: keyring.ID{2}, grantee: "g h", retiring: "r", operations: OpEncrypt, createdAt: unixNano(7),
					constraint: contextSubset, pairs: EncryptionContext{"a": "", "b": "c"}},
			},
			notes: []note{{store: keyring.ID{1}, generation: 5, digest: [32]byte{6}}, {store: keyring.ID{2}, generation: 7}},
		}
	}
	f := fresh()
	b := encoded(t, f)
	require.Equal(t, len(b), cap(b), "keys are not copied by growing")
	got, err := parse(t.Context(), b, nil)
	require.NoError(t, err)
	require.Equal(t, f, got)
	for want, edit := range map[string]func(*keyFile){
		`key "a" out of order`:  func(f *keyFile) { f.keys[1].name = "a" },
		"malformed name":        func(f *keyFile) { f.keys[0].name = ".a" },
		"no id":                 func(f *keyFile) { f.keys[0].id = keyring.ID{} },
		"unknown state":         func(f *keyFile) { f.keys[0].state = 4 },
		"no version":            func(f *keyFile) { f.keys[0].versions = nil },
		"versions out of order": func(f *keyFile) { f.keys[0].versions[1].number = 1 },
		"versions out of orde":  func(f *keyFile) { f.keys[0].versions[0].number = 0 },
		"note of store 0100":    func(f *keyFile) { f.notes[1].store = keyring.ID{1} },
		"key 1 of 2: codec: a":  func(f *keyFile) { f.keys[0].name = strings.Repeat("a", maxNameLen+1) },
		"has the id of another": func(f *keyFile) { f.keys[1].id = keyring.ID{1} },
		"a date of deletion":    func(f *keyFile) { f.keys[0].deleteAt = unixNano(1) },
		"a period of rotation":  func(f *keyFile) { f.keys[0].period = 89 },
		"a period of rotatio":   func(f *keyFile) { f.keys[0].period = 2561 },
		"or a date without":     func(f *keyFile) { f.keys[0].period = 0 },
		"a period without":      func(f *keyFile) { f.keys[0].rotateAt = time.Time{} },
		"destroyed key 1":       func(f *keyFile) { f.destroyed[0].id = keyring.ID{1} },
		"destroyed key 2":       func(f *keyFile) { f.destroyed[1].name = "" },
		"destroyed key 2: mal":  func(f *keyFile) { f.destroyed[1].id = keyring.ID{} },
		"alias 2: out of order": func(f *keyFile) { f.aliases[1].name = "p" },
		"alias 1: out of order": func(f *keyFile) { f.aliases[0].name = ".p" },
		"alias 1: out of orde":  func(f *keyFile) { f.aliases[0].key = keyring.ID{9} },
		"of no key":             func(f *keyFile) { f.grants[1].key = keyring.ID{9} },
		"grant 0100":            func(f *keyFile) { f.grants[1].id = keyring.ID{1} },
		"grant 1: no id":        func(f *keyFile) { f.grants[0].id = keyring.ID{} },
		"of the grantee":        func(f *keyFile) { f.grants[0].grantee = "" },
		"of the grante":         func(f *keyFile) { f.grants[0].grantee = "a\n" },
		"retiring principal":    func(f *keyFile) { f.grants[0].retiring = "\xff" },
		"no operation":          func(f *keyFile) { f.grants[0].operations = 0 },
		"or unknown ones":       func(f *keyFile) { f.grants[0].operations = 1 << 8 },
		"unknown constraint":    func(f *keyFile) { f.grants[1].constraint = 3 },
		"without pairs":         func(f *keyFile) { f.grants[0].constraint = contextEquals },
		"pairs without":         func(f *keyFile) { f.grants[1].constraint = noConstraint },
		"pairs out of order":    func(f *keyFile) { f.grants[1].pairs = EncryptionContext{"": "x"} },
		"more than 1024 bytes":  func(f *keyFile) { f.grants[1].pairs["x"] = strings.Repeat("x", 1010) },
		"no UTF-8":              func(f *keyFile) { f.grants[1].pairs["x"] = "\xff" },
	} {
		f := fresh()
		edit(f)
		_, err := parse(t.Context(), encoded(t, f), nil)
		require.ErrorIs(t, err, corrupt.ErrFormat, want)
		require.ErrorContains(t, err, want)
	}
	for off, class := range map[int]error{8: corrupt.ErrVersion, 9: corrupt.ErrVersion, 10: corrupt.ErrVersion, 11: corrupt.ErrFormat, 0: corrupt.ErrFormat, 30: corrupt.ErrFormat} {
		c := bytes.Clone(b)
		c[off] ^= 0x40
		_, err := parse(t.Context(), c, nil)
		require.ErrorIs(t, err, class, "byte %d", off)
	}
}

// encoded is f as it is written.
func encoded(t testing.TB, f *keyFile) []byte {
	t.Helper()
	b, err := f.encode()
	require.NoError(t, err)
	return b
}

// TestNoSecrets formats what the package exports.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	s, k := newTestKey(t)
	infos, err := s.List()
	require.NoError(t, err)
	var raw []byte
	require.NoError(t, s.view(t.Context(), func(f *keyFile) error {
		raw = bytes.Clone(f.keys[0].versions[0].key.Expose())
		return nil
	}))
	file, err := os.ReadFile(s.path)
	require.NoError(t, err)
	require.Equal(t, "raw bytes", keyringtest.Find(file, raw), "the search finds what is there")
	for _, v := range []any{s, k, infos, Options{}, &PermissionError{s.path, 0o644}, struct{ s *Service }{s}, struct{ k *Key }{k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			require.Empty(t, keyringtest.Find(fmt.Appendf(nil, verb, v), raw), "%T %s", v, verb)
		}
	}
}

// TestWipe looks at a key after the file has been read again, and closed.
func TestWipe(t *testing.T) {
	t.Parallel()
	s, _ := newTestKey(t)
	_, err := s.Key("default")
	require.NoError(t, err)
	a := s.cached.keys[0].versions[0].key
	require.NoError(t, s.Disable(t.Context(), "default"))
	_, err = s.Key("default")
	require.NoError(t, err)
	require.True(t, a.Wiped())
	b := s.cached.keys[0].versions[0].key
	require.NoError(t, s.Close())
	require.True(t, b.Wiped())
}

// withChecksum returns b with the checksum that its bytes have.
func withChecksum(b []byte) []byte {
	b = bytes.Clone(b)
	sum := sha256.Sum256(b[:len(b)-checksumLen])
	copy(b[len(b)-checksumLen:], sum[:])
	return b
}

// TestLockHeldByAnother: whoever waits for the lock of the file is heard.
func TestLockHeldByAnother(t *testing.T) {
	t.Parallel()
	s, k := newSealedKey(t, nil)
	release, err := lockFile(s.path + ".lock")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	store := keyring.NewID()
	require.ErrorIs(t, k.NoteGeneration(ctx, store, 1, [32]byte{}), context.DeadlineExceeded)
	require.NoError(t, release())
	require.NoError(t, k.NoteGeneration(t.Context(), store, 1, [32]byte{}))
}
