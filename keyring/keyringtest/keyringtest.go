// Package keyringtest is the conformance suite of keyring.RootKey: what every
// implementation does, whatever its service.
//
//	func TestConformance(t *testing.T) {
//		keyringtest.Run(t, keyringtest.Config{
//			New: func(t testing.TB) keyring.RootKey { … },
//		})
//	}
//
// A root key that is a keyring.Anchor or a keyring.Granter is held to that interface too.
package keyringtest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// A Config says how to make root keys for the suite.
type Config struct {
	// New makes a root key. Each call makes another, with key material of its
	// own; their URIs may be equal.
	New func(t testing.TB) keyring.RootKey
	// Reopen makes another handle of the same key, as another process would;
	// nil leaves out what needs one.
	Reopen func(t testing.TB, k keyring.RootKey) keyring.RootKey
	// Secrets returns what must never show: key material, a passphrase; nil
	// for a service that keeps its keys.
	Secrets func(t testing.TB, k keyring.RootKey) [][]byte
	// Stride flips every n-th bit of a wrap only, where a try is dear; 0 is
	// every bit.
	Stride int
}

// Run runs the suite.
func Run(t *testing.T, c Config) {
	for name, f := range map[string]func(*testing.T, Config){
		"URI":          testURI,
		"RoundTrip":    testRoundTrip,
		"WrongContext": testWrongContext,
		"Foreign":      testForeign,
		"Cut":          testCut,
		"Flip":         testFlip,
		"Concurrent":   testConcurrent,
		"Cancelled":    testCancelled,
		"Describe":     testDescribe,
		"NoSecrets":    testNoSecrets,
		"Anchor":       testAnchor,
		"Granter":      testGranter,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, c)
		})
	}
}

// Classified tells whether err is of a class that a RootKey may return.
func Classified(err error) bool {
	for _, class := range []error{
		keyring.ErrKeyDenied, keyring.ErrKeyNotFound, keyring.ErrWrongContext, keyring.ErrKeyUnreachable,
		keyring.ErrKeyThrottled, corrupt.ErrCorrupt, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

func newContext() keyring.Context {
	return keyring.Context{Store: keyring.NewID(), Table: keyring.NewID(), Purpose: keyring.PurposeTableKey, Version: 7}
}

func mustWrap(t testing.TB, k keyring.RootKey, key *keyring.Secret, ec keyring.Context) []byte {
	t.Helper()
	blob, err := k.Wrap(t.Context(), key, ec)
	if err != nil {
		t.Fatalf("Wrap: %v", err)
	}
	if len(blob) == 0 || len(blob) > keyring.MaxWrapLen {
		t.Fatalf("a wrap is %d bytes long", len(blob))
	}
	return blob
}

func mustUnwrap(t testing.TB, k keyring.RootKey, blob []byte, ec keyring.Context, want *keyring.Secret) {
	t.Helper()
	got, err := k.Unwrap(t.Context(), blob, ec)
	if err != nil {
		t.Fatalf("Unwrap: %v", err)
	}
	if !got.Equal(want) {
		t.Fatal("Unwrap returned another key")
	}
	got.Wipe()
}

// mustFail demands an error of a class, no key, and returns the error.
func mustFail(t testing.TB, what string, key *keyring.Secret, err error) error {
	t.Helper()
	switch {
	case err == nil:
		t.Fatalf("%s: no error", what)
	case key != nil:
		t.Fatalf("%s: a key beside the error", what)
	case !Classified(err):
		t.Fatalf("%s: an error of no class: %v", what, err)
	}
	return err
}

func testURI(t *testing.T, c Config) {
	k := c.New(t)
	uri := k.URI()
	scheme, name, _ := strings.Cut(uri, ":")
	if scheme == "" || name == "" || len(uri) > keyring.MaxURILen {
		t.Fatalf("%q is no URI", uri)
	}
	mustWrap(t, k, keyring.RandomSecret(), newContext())
	if k.URI() != uri {
		t.Fatalf("the URI has changed from %q to %q", uri, k.URI())
	}
	if c.Reopen != nil && c.Reopen(t, k).URI() != uri {
		t.Fatal("another handle has another URI")
	}
}

func testRoundTrip(t *testing.T, c Config) {
	k, ec := c.New(t), newContext()
	key := keyring.RandomSecret()
	before := key.Clone()
	a, b := mustWrap(t, k, key, ec), mustWrap(t, k, key, ec)
	if bytes.Equal(a, b) {
		t.Fatal("two wraps are equal")
	}
	if !key.Equal(before) || key.Wiped() {
		t.Fatal("Wrap has changed the key")
	}
	kept := bytes.Clone(a)
	mustUnwrap(t, k, a, ec, key)
	mustUnwrap(t, k, a, ec, key)
	mustUnwrap(t, k, b, ec, key)
	if !bytes.Equal(a, kept) {
		t.Fatal("Unwrap has changed the wrap")
	}
	if c.Reopen != nil {
		mustUnwrap(t, c.Reopen(t, k), a, ec, key)
	}
	// The store key's context has no table.
	ec = keyring.Context{Store: ec.Store, Purpose: keyring.PurposeStoreKey, Version: 1}
	mustUnwrap(t, k, mustWrap(t, k, key, ec), ec, key)
}

func testWrongContext(t *testing.T, c Config) {
	k, ec := c.New(t), newContext()
	key := keyring.RandomSecret()
	blob := mustWrap(t, k, key, ec)
	for what, edit := range map[string]func(*keyring.Context){
		"another store":   func(c *keyring.Context) { c.Store = keyring.NewID() },
		"another table":   func(c *keyring.Context) { c.Table = keyring.NewID() },
		"another purpose": func(c *keyring.Context) { c.Purpose = keyring.PurposeStoreKey },
		"no purpose":      func(c *keyring.Context) { c.Purpose = "" },
		"another version": func(c *keyring.Context) { c.Version++ },
		"store and table exchanged": func(c *keyring.Context) {
			c.Store, c.Table = c.Table, c.Store
		},
	} {
		wrong := ec
		edit(&wrong)
		got, err := k.Unwrap(t.Context(), blob, wrong)
		if err := mustFail(t, what, got, err); !errors.Is(err, keyring.ErrWrongContext) {
			t.Fatalf("%s: %v is not ErrWrongContext", what, err)
		}
	}
	mustUnwrap(t, k, blob, ec, key)
}

func testForeign(t *testing.T, c Config) {
	k, other, ec := c.New(t), c.New(t), newContext()
	blob := mustWrap(t, other, keyring.RandomSecret(), ec)
	got, err := k.Unwrap(t.Context(), blob, ec)
	err = mustFail(t, "another key's wrap", got, err)
	if !errors.Is(err, keyring.ErrKeyNotFound) && !errors.Is(err, keyring.ErrKeyDenied) && !errors.Is(err, keyring.ErrWrongContext) {
		t.Fatalf("another key's wrap: %v", err)
	}
}

func testCut(t *testing.T, c Config) {
	k, ec := c.New(t), newContext()
	blob := mustWrap(t, k, keyring.RandomSecret(), ec)
	for n := range blob {
		got, err := k.Unwrap(t.Context(), blob[:n:n], ec)
		mustFail(t, fmt.Sprintf("cut to %d bytes", n), got, err)
	}
	got, err := k.Unwrap(t.Context(), append(bytes.Clone(blob), 0), ec)
	mustFail(t, "a byte appended", got, err)
	got, err = k.Unwrap(t.Context(), append(bytes.Clone(blob), blob...), ec)
	mustFail(t, "doubled", got, err)
	got, err = k.Unwrap(t.Context(), make([]byte, keyring.MaxWrapLen), ec)
	mustFail(t, "zeros", got, err)
}

func testFlip(t *testing.T, c Config) {
	k, ec := c.New(t), newContext()
	key := keyring.RandomSecret()
	blob := mustWrap(t, k, key, ec)
	for bit := 0; bit < 8*len(blob); bit += max(1, c.Stride) {
		bad := bytes.Clone(blob)
		bad[bit/8] ^= 1 << (bit % 8)
		got, err := k.Unwrap(t.Context(), bad, ec)
		mustFail(t, fmt.Sprintf("bit %d of byte %d flipped", bit%8, bit/8), got, err)
	}
	mustUnwrap(t, k, blob, ec, key)
}

func testConcurrent(t *testing.T, c Config) {
	k := c.New(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 4 {
				ec, key := newContext(), keyring.RandomSecret()
				blob, err := k.Wrap(t.Context(), key, ec)
				if err != nil {
					t.Errorf("Wrap: %v", err)
					return
				}
				got, err := k.Unwrap(t.Context(), blob, ec)
				if err != nil || !got.Equal(key) {
					t.Errorf("Unwrap: %v", err)
				}
				if _, err := k.Describe(t.Context()); err != nil {
					t.Errorf("Describe: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func testCancelled(t *testing.T, c Config) {
	k, ec := c.New(t), newContext()
	blob := mustWrap(t, k, keyring.RandomSecret(), ec)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Wrap(ctx, keyring.RandomSecret(), ec); !errors.Is(err, context.Canceled) {
		t.Fatalf("Wrap: %v", err)
	}
	if _, err := k.Unwrap(ctx, blob, ec); !errors.Is(err, context.Canceled) {
		t.Fatalf("Unwrap: %v", err)
	}
	if _, err := k.Describe(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Describe: %v", err)
	}
}

func testDescribe(t *testing.T, c Config) {
	k := c.New(t)
	d, err := k.Describe(t.Context())
	if err != nil {
		t.Fatalf("Describe: %v", err)
	}
	if d.URI != k.URI() || d.State != keyring.StateEnabled {
		t.Fatalf("Describe of a new key: %+v", d)
	}
	for i := 1; i < len(d.Versions); i++ {
		if d.Versions[i-1].Number >= d.Versions[i].Number {
			t.Fatalf("versions out of order: %+v", d.Versions)
		}
	}
}

// testNoSecrets looks for the wrapped key, and for what Secrets names, in
// whatever the implementation shows.
func testNoSecrets(t *testing.T, c Config) {
	k, ec := c.New(t), newContext()
	key := keyring.RandomSecret()
	blob := mustWrap(t, k, key, ec)
	mustUnwrap(t, k, blob, ec, key)
	secrets := [][]byte{bytes.Clone(key.Expose())}
	if c.Secrets != nil {
		secrets = append(secrets, c.Secrets(t, k)...)
	}
	shown := map[string][]byte{"URI": []byte(k.URI()), "wrap": blob}
	d, err := k.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range []any{k, d} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			shown[fmt.Sprintf("%s of value %d", verb, i)] = fmt.Appendf(nil, verb, v)
		}
		if b, err := json.Marshal(v); err == nil {
			shown[fmt.Sprintf("JSON of value %d", i)] = b
		}
	}
	wrong := ec
	wrong.Version++
	for what, try := range map[string]func() error{
		"error of a wrong context": func() error { _, err := k.Unwrap(t.Context(), blob, wrong); return err },
		"error of a flipped wrap": func() error {
			bad := bytes.Clone(blob)
			bad[len(bad)-1] ^= 1
			_, err := k.Unwrap(t.Context(), bad, ec)
			return err
		},
		"error of a cut wrap": func() error { _, err := k.Unwrap(t.Context(), blob[:len(blob)/2], ec); return err },
		"error of an empty wrap": func() error {
			_, err := k.Unwrap(t.Context(), nil, ec)
			return err
		},
	} {
		err := try()
		if err == nil {
			t.Fatalf("%s: none", what)
		}
		shown[what] = fmt.Appendf(nil, "%v %+v %#v", err, err, err)
	}
	for what, text := range shown {
		for i, secret := range secrets {
			if form := Find(text, secret); form != "" {
				t.Errorf("%s shows secret %d as %s", what, i, form)
			}
		}
	}
}

// Find tells in which form text holds secret: "" where in none. A part of 8
// bytes counts, or the whole where it is shorter.
func Find(text, secret []byte) string {
	n := min(8, len(secret))
	for i := 0; n > 0 && i+n <= len(secret); i++ {
		part := secret[i : i+n]
		for form, enc := range map[string]string{
			"raw bytes":         string(part),
			"hexadecimal":       hex.EncodeToString(part),
			"HEXADECIMAL":       strings.ToUpper(hex.EncodeToString(part)),
			"base64":            base64.RawStdEncoding.EncodeToString(part[:n/3*3]),
			"URL-safe base64":   base64.RawURLEncoding.EncodeToString(part[:n/3*3]),
			"a list of numbers": strings.Trim(fmt.Sprint(part), "[]"),
			"a list in Go":      strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", part), "[]byte{"), "}"),
		} {
			if enc != "" && bytes.Contains(text, []byte(enc)) {
				return form
			}
		}
	}
	return ""
}

func testAnchor(t *testing.T, c Config) {
	k := c.New(t)
	a, ok := k.(keyring.Anchor)
	if !ok {
		return
	}
	ctx, store, other := t.Context(), keyring.NewID(), keyring.NewID()
	want := func(a keyring.Anchor, store keyring.ID, gen uint64, digest byte) {
		t.Helper()
		g, d, ok, err := a.NewestGeneration(ctx, store)
		if err != nil || !ok || g != gen || d[0] != digest {
			t.Fatalf("noted: generation %d, digest %x…, %v, %v; want generation %d, digest %x…", g, d[0], ok, err, gen, digest)
		}
	}
	if _, _, ok, err := a.NewestGeneration(ctx, store); ok || err != nil {
		t.Fatalf("a note of a store never noted: %v, %v", ok, err)
	}
	for _, step := range []struct {
		store  keyring.ID
		gen    uint64
		digest byte
		refuse bool
	}{
		{store, 1, 1, false},
		{store, 1, 1, false},
		{store, 1, 2, true},
		{store, 5, 5, false},
		{store, 4, 4, true},
		{store, 1, 1, true},
		{store, 5, 5, false},
		{other, 1, 9, false},
		{store, 6, 6, false},
	} {
		err := a.NoteGeneration(ctx, step.store, step.gen, [32]byte{step.digest})
		if step.refuse != errors.Is(err, keyring.ErrRollback) || !step.refuse && err != nil {
			t.Fatalf("NoteGeneration(%d, %x…): %v", step.gen, step.digest, err)
		}
	}
	want(a, store, 6, 6)
	want(a, other, 1, 9)
	if c.Reopen != nil {
		b, ok := c.Reopen(t, k).(keyring.Anchor)
		if !ok {
			t.Fatal("another handle is no Anchor")
		}
		want(b, store, 6, 6)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, _, err := a.NewestGeneration(cancelled, store); !errors.Is(err, context.Canceled) {
		t.Fatalf("NewestGeneration: %v", err)
	}
	if err := a.NoteGeneration(cancelled, store, 7, [32]byte{7}); !errors.Is(err, context.Canceled) {
		t.Fatalf("NoteGeneration: %v", err)
	}
}

func testGranter(t *testing.T, c Config) {
	k := c.New(t)
	g, ok := k.(keyring.Granter)
	if !ok {
		return
	}
	ctx, store, other := t.Context(), keyring.NewID(), keyring.NewID()
	table := keyring.NewID()
	ask := keyring.Grant{
		Grantee: "grantee", Retiring: "other", Operations: keyring.GrantUnwrap | keyring.GrantDescribe,
		Context: keyring.TablePairs(store, table),
	}
	first, err := g.CreateGrant(ctx, ask)
	if errors.Is(err, keyring.ErrNoGrants) {
		return
	}
	second, err2 := g.CreateGrant(ctx, ask)
	if err != nil || err2 != nil || first == "" || first == second {
		t.Fatalf("CreateGrant: %q, %v; %q, %v", first, err, second, err2)
	}
	want := func(store keyring.ID, ids ...string) {
		t.Helper()
		list, err := g.Grants(ctx, store)
		if err != nil || len(list) != len(ids) {
			t.Fatalf("%d grants, %v; want %d", len(list), err, len(ids))
		}
		for _, got := range list {
			of, ok := got.TableOf(store)
			if !slices.Contains(ids, got.ID) || !ok || of != table || got.Grantee != ask.Grantee || got.Retiring != ask.Retiring || got.Operations != ask.Operations {
				t.Fatalf("a grant comes back as %+v", got)
			}
		}
	}
	want(store, first, second)
	want(other)
	for range 2 { // that it is gone is no error
		if err := g.RetireGrant(ctx, first); err != nil {
			t.Fatalf("RetireGrant: %v", err)
		}
		want(store, second)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := g.CreateGrant(cancelled, ask); !errors.Is(err, context.Canceled) {
		t.Fatalf("CreateGrant: %v", err)
	}
	if _, err := g.Grants(cancelled, store); !errors.Is(err, context.Canceled) {
		t.Fatalf("Grants: %v", err)
	}
	if err := g.RetireGrant(cancelled, second); !errors.Is(err, context.Canceled) {
		t.Fatalf("RetireGrant: %v", err)
	}
	want(store, second)
}
