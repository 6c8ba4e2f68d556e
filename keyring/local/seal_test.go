package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/keyringtest"
	"github.com/cofredb/cofre/keyring/passphrase"
)

func byPhrase(t testing.TB, phrase string) *Sealing {
	t.Helper()
	by, err := ByPassphrase([]byte(phrase), passphrase.Cost{})
	require.NoError(t, err)
	return by
}

func byFile(t testing.TB, path string) *Sealing {
	t.Helper()
	by, err := ByKeyFile(path)
	require.NoError(t, err)
	return by
}

// opens tells whether the file opens by a Sealing, and closes it again.
func opens(t testing.TB, path string, by *Sealing) error {
	t.Helper()
	s, err := Open(path, Options{MustExist: true, Sealing: by})
	if err == nil {
		require.NoError(t, s.Close())
	}
	return err
}

// TestSealing opens each kind of file by each kind of Sealing, right and
// wrong.
func TestSealing(t *testing.T) {
	t.Parallel()
	key, other := newKeyFile(t), newKeyFile(t)
	for kind, sealing := range sealings(t) {
		s, k := newSealedKey(t, sealing(t))
		for what, by := range map[string]func() *Sealing{
			"unsealed": func() *Sealing { return nil }, "passphrase": func() *Sealing { return byPhrase(t, "correct horse") },
			"other passphrase": func() *Sealing { return byPhrase(t, "correct cow") },
			"other key file":   func() *Sealing { return byFile(t, other) }, "key file": func() *Sealing { return sealing(t) },
		} {
			if what == "key file" && kind != what {
				by = func() *Sealing { return byFile(t, key) }
			}
			err := opens(t, s.path, by())
			if what == kind {
				require.NoError(t, err)
				continue
			}
			require.ErrorIs(t, err, keyring.ErrKeyDenied, "%s by %s", kind, what)
			require.NotErrorIs(t, err, corrupt.ErrCorrupt)
			require.ErrorContains(t, err, s.path)
			sameKind := kind == "passphrase" && what == "other passphrase" || kind == "key file" && what == "other key file"
			require.Equal(t, kind == "unsealed", errors.Is(err, ErrNotSealed))
			require.Equal(t, kind != "unsealed" && !sameKind, errors.Is(err, ErrSealed))
		}
		d, err := k.Describe(t.Context())
		require.NoError(t, err)
		require.Equal(t, kind != "unsealed", d.Sealed)
		require.Contains(t, d.Note, map[string]string{"unsealed": "unsealed", "passphrase": "by a passphrase", "key file": "by a key file"}[kind])
		info, err := s.Info()
		require.NoError(t, err)
		require.Equal(t, Info{Path: s.path, Version: 2, Revision: 1, Sealed: d.Sealed, SealedBy: sealedBy(s.cached.seal.kind)}, info)
	}
}

// TestSealed looks for names, ids and keys in a sealed file.
func TestSealed(t *testing.T) {
	t.Parallel()
	for kind, sealing := range sealings(t) {
		s, k := newSealedKey(t, sealing(t))
		name := "distinctive-name"
		require.NoError(t, second(s.CreateKey(t.Context(), name)))
		require.NoError(t, s.CreateAlias(t.Context(), "alias-that-shows", name))
		require.NoError(t, second(s.CreateGrant(t.Context(), name, Grant{Grantee: "grantee-that-shows", Operations: OpWrap})))
		store := keyring.NewID()
		require.NoError(t, k.NoteGeneration(t.Context(), store, 7, [32]byte{1}))
		file, err := os.ReadFile(s.path)
		require.NoError(t, err)
		secrets := [][]byte{[]byte(name), []byte("alias-that-shows"), []byte("grantee-that-shows"), store[:]}
		require.NoError(t, s.view(t.Context(), func(f *keyFile) error {
			for _, k := range f.keys {
				secrets = append(secrets, bytes.Clone(k.id[:]), bytes.Clone(k.newest().key.Expose()))
			}
			return nil
		}))
		for i, secret := range secrets {
			require.Equal(t, kind == "unsealed", keyringtest.Find(file, secret) != "", "%s: secret %d", kind, i)
		}
	}
}

// TestSealedTampered flips each bit of a sealed file, and cuts it, with the
// checksum made anew.
func TestSealedTampered(t *testing.T) {
	t.Parallel()
	for kind, sealing := range sealings(t) {
		if kind == "unsealed" {
			continue
		}
		s, _ := newSealedKey(t, sealing(t))
		good, err := os.ReadFile(s.path)
		require.NoError(t, err)
		candidates := []*Sealing{sealing(t)}
		f, err := parse(t.Context(), good, candidates)
		require.NoError(t, err)
		wrapEnd := prefixLen + 4 + len(f.seal.wrap)
		for i := range len(good) - checksumLen {
			if kind == "passphrase" && prefixLen+4+2 <= i && i < prefixLen+4+27 {
				continue // cost and salt: each flip is another derivation
			}
			for bit := range 8 {
				if i >= prefixLen && bit != i%8 {
					continue
				}
				b := bytes.Clone(good)
				b[i] ^= 1 << bit
				_, err := parse(t.Context(), withChecksum(b), candidates)
				switch {
				case i == 10 && bit < 2: // another sealing
					require.Error(t, err)
				case prefixLen+4 < i && i < wrapEnd-keyring.WrappedKeyLen && errors.Is(err, keyring.ErrKeyDenied):
					// The check value, which tells a wrong secret.
				case i >= wrapEnd || prefixLen <= i && i < prefixLen+4:
					require.ErrorIs(t, err, corrupt.ErrCorrupt, "%s: byte %d", kind, i)
					var ce *corrupt.Error
					require.ErrorAs(t, err, &ce)
				default:
					require.ErrorIs(t, err, corrupt.ErrCorrupt, "%s: byte %d", kind, i)
				}
			}
		}
		for n := minFileLen; n < len(good); n += 7 {
			_, err := parse(t.Context(), withChecksum(good[:n]), candidates)
			require.ErrorIs(t, err, corrupt.ErrCorrupt, "%s: cut to %d", kind, n)
		}
		_, err = parse(t.Context(), withChecksum(append(bytes.Clone(good), 0)), candidates)
		require.ErrorIs(t, err, corrupt.ErrCorrupt)

		// The header of one file, the sealed part of another.
		require.NoError(t, second(s.Rotate(t.Context(), "default")))
		later, err := os.ReadFile(s.path)
		require.NoError(t, err)
		_, err = parse(t.Context(), withChecksum(append(bytes.Clone(good[:wrapEnd]), later[wrapEnd:]...)), candidates)
		require.ErrorIs(t, err, corrupt.ErrAuth)
		require.NotEqual(t, good[wrapEnd:wrapEnd+saltLen], later[wrapEnd:wrapEnd+saltLen], "a fresh salt")
		require.Equal(t, good[prefixLen:wrapEnd], later[prefixLen:wrapEnd], "the same wrap")
	}
}

// TestSealedControl: with a cipher that does not authenticate, what the seal
// finds goes unnoticed.
func TestSealedControl(t *testing.T) {
	t.Parallel()
	for name, suite := range map[string]aead.Suite{"AES-256-GCM": nil, "none": func([]byte) (aead.Sealer, error) { return noSuite{}, nil }} {
		f := fuzzKeys(t)
		f.seal = seal{kind: byKeyFile, wrap: []byte{1}, key: keyring.RandomSecret(), suite: suite}
		b := encoded(t, f)
		header, sealed := b[:prefixLen+5], b[prefixLen+5:len(b)-checksumLen]
		text, err := f.seal.openBody(header, sealed)
		require.NoError(t, err)
		require.Len(t, text, f.bodyLen())
		flipped := bytes.Clone(header)
		flipped[19] ^= 1 // the revision
		_, err = f.seal.openBody(flipped, sealed)
		require.Equal(t, suite == nil, err != nil, name)
		for i := range sealed {
			c := bytes.Clone(sealed)
			c[i] ^= 1
			_, err := f.seal.openBody(header, c)
			require.Equal(t, suite == nil, err != nil, "%s: byte %d", name, i)
		}
	}
}

// TestDowngrade: an unsealed file in the place of a sealed one is refused,
// though its keys have the same names.
func TestDowngrade(t *testing.T) {
	t.Parallel()
	key := newKeyFile(t)
	s, k := newSealedKey(t, byFile(t, key))
	attacker, _ := newTestKey(t)
	theirs, err := os.ReadFile(attacker.path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.path, theirs, 0o600))
	_, err = k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
	require.ErrorIs(t, err, ErrNotSealed)
	require.ErrorIs(t, err, keyring.ErrKeyDenied)
	require.ErrorIs(t, s.Disable(t.Context(), "default"), ErrNotSealed)
	require.ErrorIs(t, second(s.CreateKey(t.Context(), "new")), ErrNotSealed)
	now, err := os.ReadFile(s.path)
	require.NoError(t, err)
	require.Equal(t, theirs, now, "it is not written over")
}

// TestReseal goes through all kinds, with another handle beside.
func TestReseal(t *testing.T) {
	t.Parallel()
	ctx, key := t.Context(), newKeyFile(t)
	s, k := newTestKey(t)
	secret := keyring.RandomSecret()
	blob, err := k.Wrap(ctx, secret, testContext())
	require.NoError(t, err)
	var before func() *Sealing = func() *Sealing { return nil }
	for i, by := range []func() *Sealing{
		func() *Sealing { return byPhrase(t, "one") }, func() *Sealing { return byPhrase(t, "two") },
		func() *Sealing { return byFile(t, key) }, func() *Sealing { return byFile(t, key) }, nil,
		func() *Sealing { return byFile(t, key) },
	} {
		beside, err := Open(s.path, Options{MustExist: true, Sealing: before()})
		require.NoError(t, err)
		if by == nil {
			require.NoError(t, s.Unseal(ctx))
			by = func() *Sealing { return nil }
		} else {
			require.NoError(t, s.Seal(ctx, by()))
		}
		got, err := k.Unwrap(ctx, blob, testContext())
		require.NoError(t, err, "step %d", i)
		require.True(t, got.Equal(secret))
		require.NoError(t, second(s.Rotate(ctx, "default")), "step %d", i)
		require.NoError(t, opens(t, s.path, by()))
		_, err = beside.Key("default")
		if i == 3 { // the same key file
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, keyring.ErrKeyDenied, "step %d", i)
		}
		require.NoError(t, beside.Close())
		before = by
	}
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Seal(ctx, byFile(t, key)), keyring.ErrClosed)
	require.ErrorIs(t, s.Unseal(ctx), keyring.ErrClosed)
}

// TestResealFails: a change that cannot be written leaves the old seal, in the
// file and in the Service, and closes the new one.
func TestResealFails(t *testing.T) {
	t.Parallel()
	key := newKeyFile(t)
	s, k := newSealedKey(t, byFile(t, key))
	in := filepath.Join(s.path+".tmp", "in the way")
	require.NoError(t, os.MkdirAll(in, 0o700))
	other := byFile(t, newKeyFile(t))
	require.Error(t, s.Seal(t.Context(), other))
	require.ErrorIs(t, second(other.newSeal(t.Context())), keyring.ErrClosed)
	require.Error(t, s.Unseal(t.Context()))
	require.ErrorIs(t, s.Seal(t.Context(), nil), ErrSealingKey)
	require.NoError(t, os.RemoveAll(s.path+".tmp"))
	// Nor is an unsealed file accepted because one was to be written.
	good, err := os.ReadFile(s.path)
	require.NoError(t, err)
	attacker, _ := newTestKey(t)
	theirs, err := os.ReadFile(attacker.path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.path, theirs, 0o600))
	require.ErrorIs(t, second(s.Key("default")), ErrNotSealed)
	require.NoError(t, os.WriteFile(s.path, good, 0o600))
	require.NoError(t, second(k.Wrap(t.Context(), keyring.RandomSecret(), testContext())))
	require.NoError(t, s.Disable(t.Context(), "default"))
	require.NoError(t, opens(t, s.path, byFile(t, key)))
}

// TestResealBusy seals while others use and change the file by the same
// Service.
func TestResealBusy(t *testing.T) {
	t.Parallel()
	s, k := newTestKey(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for n := uint64(1); ctx.Err() == nil; n++ {
				blob, err := k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
				if err == nil {
					_, err = k.Unwrap(t.Context(), blob, testContext())
				}
				if err == nil {
					err = k.NoteGeneration(t.Context(), keyring.ID{byte(i)}, n, [32]byte{})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	key := newKeyFile(t)
	for i := range 10 {
		require.NoError(t, s.Seal(t.Context(), byFile(t, key)), "%d", i)
		if i%3 == 2 {
			require.NoError(t, s.Unseal(t.Context()))
		}
	}
	cancel()
	wg.Wait()
}

// TestUnchanged: a file that has not changed is not opened again, a changed
// one is.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	for kind, sealing := range sealings(t) {
		s, k := newSealedKey(t, sealing(t))
		require.NoError(t, second(k.Describe(t.Context())))
		first := s.cached
		require.NoError(t, second(k.Wrap(t.Context(), keyring.RandomSecret(), testContext())))
		require.Same(t, first, s.cached, kind)
		other, err := Open(s.path, Options{MustExist: true, Sealing: sealing(t)})
		require.NoError(t, err)
		require.NoError(t, other.Disable(t.Context(), "default"))
		require.NoError(t, other.Close())
		require.ErrorIs(t, second(k.Wrap(t.Context(), keyring.RandomSecret(), testContext())), keyring.ErrKeyDenied, kind)
		require.NotSame(t, first, s.cached, kind)
	}
}

// TestPassphraseCost: a file that is sealed keeps its cost, whatever the
// Sealing that opens it would take.
func TestPassphraseCost(t *testing.T) {
	t.Parallel()
	cost := passphrase.Cost{KDF: passphrase.PBKDF2, Time: 600_001}
	by, err := ByPassphrase([]byte("phrase"), cost)
	require.NoError(t, err)
	s, _ := newSealedKey(t, by)
	wrap := bytes.Clone(s.wrapOnDisk(t))
	again, err := Open(s.path, Options{Sealing: byPhrase(t, "phrase")})
	require.NoError(t, err)
	defer again.Close()
	require.NoError(t, again.Disable(t.Context(), "default"))
	require.Equal(t, wrap, s.wrapOnDisk(t))

	// A cost that was lowered or raised to something huge is no derivation.
	for _, edit := range [][]byte{{0, 0, 0, 1}, {0xff, 0xff, 0xff, 0xff}} {
		b, err := os.ReadFile(s.path)
		require.NoError(t, err)
		copy(b[prefixLen+4+2:], edit)
		_, err = parse(t.Context(), withChecksum(b), []*Sealing{byPhrase(t, "phrase")})
		require.ErrorIs(t, err, corrupt.ErrFormat)
		require.ErrorContains(t, err, "cost")
	}
}

func (s *Service) wrapOnDisk(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(s.path)
	require.NoError(t, err)
	n := int(b[prefixLen+3])
	return b[prefixLen+4 : prefixLen+4+n]
}

// TestKeyFiles: which files seal, and which do not.
func TestKeyFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	random := bytes.Repeat(keyring.RandomSecret().Expose(), maxKeyFileLen/32+1)
	for name, tc := range map[string]struct {
		b    []byte
		want string
	}{
		"least": {random[:32], ""}, "most": {random[:maxKeyFileLen], ""}, "odd": {random[:33], ""},
		"text":  {[]byte("c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0Cg==\n"), ""},
		"short": {random[:31], "31 bytes long"}, "empty": {nil, "0 bytes long"}, "long": {random[:maxKeyFileLen+1], "bytes long"},
		"zeros": {make([]byte, 64), "all of its bytes are the same"},
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, tc.b, 0o600))
		by, err := ByKeyFile(path)
		if tc.want == "" {
			require.NoError(t, err, name)
			require.NoError(t, by.Close())
			require.NoError(t, by.Close())
			continue
		}
		require.ErrorIs(t, err, ErrSealingKey, name)
		require.ErrorIs(t, err, keyring.ErrKeyDenied, name)
		require.ErrorContains(t, err, tc.want, name)
		require.ErrorContains(t, err, path)
	}
	for _, path := range []string{filepath.Join(dir, "absent"), dir} {
		_, err := ByKeyFile(path)
		require.ErrorIs(t, err, ErrSealingKey)
		require.ErrorIs(t, err, keyring.ErrKeyDenied)
		require.NotErrorIs(t, err, keyring.ErrKeyNotFound)
		require.NotErrorIs(t, err, corrupt.ErrCorrupt)
	}
	_, err := ByPassphrase(nil, passphrase.Cost{})
	require.Error(t, err)
	_, err = ByPassphrase([]byte("x"), passphrase.Cost{KDF: passphrase.PBKDF2, Time: 1})
	require.ErrorIs(t, err, passphrase.ErrCost)
	var none *Sealing
	require.NoError(t, none.Close())
	require.Equal(t, "unsealed", none.String())
}

// TestCredential is not parallel: it sets the environment.
func TestCredential(t *testing.T) {
	t.Setenv(credentialsDirectory, "")
	_, err := ByCredential("cofre")
	require.ErrorIs(t, err, ErrSealingKey)
	require.ErrorContains(t, err, "systemd")
	dir := t.TempDir()
	t.Setenv(credentialsDirectory, dir)
	for _, name := range []string{"", ".", "..", "a/b", "/a", "a\x00"} {
		_, err := ByCredential(name)
		require.ErrorIs(t, err, ErrSealingKey, "%q", name)
	}
	_, err = ByCredential("absent")
	require.ErrorIs(t, err, ErrSealingKey)
	path := filepath.Join(dir, "cofre")
	require.NoError(t, os.WriteFile(path, keyring.RandomSecret().Expose(), 0o600))
	by, err := ByCredential("cofre")
	require.NoError(t, err)
	s, _ := newSealedKey(t, by)
	require.NoError(t, opens(t, s.path, byFile(t, path)), "a credential is a key file")
}

// TestSealingSecrets formats what holds secrets.
func TestSealingSecrets(t *testing.T) {
	t.Parallel()
	phrase := byPhrase(t, "correct horse battery staple")
	path := newKeyFile(t)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	file := byFile(t, path)
	for _, v := range []any{
		phrase, file, Options{Sealing: phrase}, &Options{Sealing: file}, struct{ s *Sealing }{file}, &SealedError{Path: "p"}, file.by,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Appendf(nil, verb, v)
			require.Empty(t, keyringtest.Find(text, []byte("correct horse battery staple")), "%T %s", v, verb)
			require.Empty(t, keyringtest.Find(text, content), "%T %s", v, verb)
		}
	}
	held := file.by.(*keyFileKey).content
	require.NoError(t, file.Close())
	require.Equal(t, make([]byte, 32), held)
}
