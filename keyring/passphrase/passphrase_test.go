package passphrase

import (
	"bytes"
	"context"
	"crypto/fips140"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/keyringtest"
)

func testContext() keyring.Context {
	return keyring.Context{Store: keyring.ID{1}, Table: keyring.ID{2}, Purpose: keyring.PurposeTableKey, Version: 3}
}

// kdfs are those that this mode of the process allows.
func kdfs() []KDF {
	if fips140.Enforced() {
		return []KDF{PBKDF2}
	}
	return []KDF{Argon2id, PBKDF2}
}

func cheapKey(t testing.TB, phrase string, cost Cost) *Key {
	t.Helper()
	k, err := newKey([]byte(phrase), Options{Cost: cost}, cheap())
	require.NoError(t, err)
	t.Cleanup(func() { k.Close() })
	return k
}

// TestFullCost pays once what a user pays: the default, by New alone.
func TestFullCost(t *testing.T) {
	t.Parallel()
	phrase := []byte("correct horse battery staple")
	k, err := New(phrase, Options{Label: "laptop"})
	require.NoError(t, err)
	clear(phrase)
	require.Equal(t, "cofre-passphrase:laptop", k.URI())
	key := keyring.RandomSecret()
	blob, err := k.Wrap(t.Context(), key, testContext())
	require.NoError(t, err)
	require.Len(t, blob, wrapLen)
	b, err := parseBlob(blob)
	require.NoError(t, err)
	want := Cost{Argon2id, 3, 64 << 10, 4}
	if fips140.Enabled() {
		want = Cost{PBKDF2, 600_000, 0, 0}
	}
	require.Equal(t, want, b.cost)
	require.Equal(t, want, DefaultCost())

	again, err := New([]byte("correct horse battery staple"), Options{Label: "laptop"})
	require.NoError(t, err)
	got, err := again.Unwrap(t.Context(), blob, testContext())
	require.NoError(t, err)
	require.True(t, got.Equal(key))
	d, err := again.Describe(t.Context())
	require.NoError(t, err)
	require.Contains(t, d.Note, want.KDF.String())
}

func TestNew(t *testing.T) {
	t.Parallel()
	var ce *CostError
	var le *keyring.LimitError
	for _, tc := range []struct {
		name   string
		phrase string
		opts   Options
		want   any
	}{
		{"empty", "", Options{}, nil},
		{"long", strings.Repeat("x", maxPhraseLen+1), Options{}, &le},
		{"label", "x", Options{Label: "a b"}, nil},
		{"label with a colon", "x", Options{Label: "a:b"}, nil},
		{"long label", "x", Options{Label: strings.Repeat("a", maxLabelLen+1)}, nil},
		{"unknown KDF", "x", Options{Cost: Cost{KDF: 3, Time: 3}}, &ce},
		{"Argon2id below t", "x", Options{Cost: Cost{Argon2id, 2, 64 << 10, 4}}, &ce},
		{"Argon2id below m", "x", Options{Cost: Cost{Argon2id, 3, 64<<10 - 1, 4}}, &ce},
		{"Argon2id below p", "x", Options{Cost: Cost{Argon2id, 3, 64 << 10, 3}}, &ce},
		{"Argon2id above t", "x", Options{Cost: Cost{Argon2id, 17, 64 << 10, 4}}, &ce},
		{"Argon2id above m", "x", Options{Cost: Cost{Argon2id, 3, 2<<20 + 1, 4}}, &ce},
		{"Argon2id above p", "x", Options{Cost: Cost{Argon2id, 3, 64 << 10, 17}}, &ce},
		{"PBKDF2 below", "x", Options{Cost: Cost{PBKDF2, 599_999, 0, 0}}, &ce},
		{"PBKDF2 above", "x", Options{Cost: Cost{PBKDF2, 10_000_001, 0, 0}}, &ce},
		{"PBKDF2 with memory", "x", Options{Cost: Cost{PBKDF2, 600_000, 1, 0}}, &ce},
	} {
		_, err := New([]byte(tc.phrase), tc.opts)
		require.Error(t, err, tc.name)
		if tc.want != nil {
			require.ErrorAs(t, err, tc.want, tc.name)
		}
	}
	for _, c := range []Cost{{Argon2id, 16, 2 << 20, 16}, {PBKDF2, 10_000_000, 0, 0}} {
		_, err := New([]byte("x"), Options{Cost: c})
		require.NoError(t, err, "the ceiling itself, which is not paid here")
	}
}

// TestCostInWrap lowers and raises the cost that a wrap names. It is refused
// before anything is derived: a Key that cannot derive says so.
func TestCostInWrap(t *testing.T) {
	blob := &blob{salted: salted{cost: DefaultCost()}}
	raw := append(blob.head(), make([]byte, keyring.WrappedKeyLen)...)
	require.Len(t, raw, wrapLen)
	k, err := New([]byte("phrase"), Options{})
	require.NoError(t, err)
	k.turn <- struct{}{} // whoever derives now waits until the end
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	tries := 0
	refused := func(c Cost) {
		t.Helper()
		raw[1] = uint8(c.KDF)
		binary.BigEndian.PutUint32(raw[2:], c.Time)
		binary.BigEndian.PutUint32(raw[6:], c.Memory)
		raw[10] = c.Lanes
		_, err := k.Unwrap(ctx, raw, testContext())
		var ce *CostError
		require.ErrorAs(t, err, &ce, "%v", c)
		require.ErrorIs(t, err, ErrCost)
		require.ErrorIs(t, err, corrupt.ErrFormat, "which the keyring takes for tampering")
		tries++
	}
	for _, v := range []uint32{0, 1, 2, 17, 1 << 16, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		refused(Cost{Argon2id, v, 64 << 10, 4})
		refused(Cost{PBKDF2, v, 0, 0})
		if v != 1<<16 {
			refused(Cost{Argon2id, 3, v, 4})
		}
		refused(Cost{PBKDF2, 600_000, max(1, v), 0})
		refused(Cost{KDF(v + 3), 3, 64 << 10, 4})
	}
	for _, p := range []uint8{0, 1, 2, 3, 17, 255} {
		refused(Cost{Argon2id, 3, 64 << 10, p})
	}
	refused(Cost{})
	runtime.ReadMemStats(&after)
	require.Less(t, (after.TotalAlloc-before.TotalAlloc)/uint64(tries), uint64(64<<10), "bytes a try")
}

func TestWrongPassphrase(t *testing.T) {
	t.Parallel()
	for _, kdf := range kdfs() {
		cost := cheap()[kdf].floor
		right := cheapKey(t, "right", cost)
		blob, err := right.Wrap(t.Context(), keyring.RandomSecret(), testContext())
		require.NoError(t, err)
		for _, phrase := range []string{"wrong", "righ", "rightt", "Right", "right\n", "\x00right"} {
			wrong := cheapKey(t, phrase, cost)
			for range 2 {
				_, err := wrong.Unwrap(t.Context(), blob, testContext())
				require.ErrorIs(t, err, keyring.ErrKeyDenied, "%q", phrase)
				require.NotErrorIs(t, err, keyring.ErrWrongContext)
				require.ErrorContains(t, err, "wrong passphrase")
			}
			require.Empty(t, wrong.held.derived, "what was wrong is not kept")
			require.Nil(t, wrong.own)
		}
		other := testContext()
		other.Store = keyring.ID{7}
		_, err = right.Unwrap(t.Context(), blob, other)
		require.ErrorIs(t, err, keyring.ErrWrongContext)
		require.NotErrorIs(t, err, keyring.ErrKeyDenied)
	}
}

// TestClasses flips each bit: which error says what was hit.
func TestClasses(t *testing.T) {
	t.Parallel()
	for _, kdf := range kdfs() {
		k := cheapKey(t, "phrase", cheap()[kdf].floor)
		blob, err := k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
		require.NoError(t, err)
		for bit := range 8 * len(blob) {
			b := bytes.Clone(blob)
			b[bit/8] ^= 1 << (bit % 8)
			_, err := k.Unwrap(t.Context(), b, testContext())
			switch at := bit / 8; {
			case at == 0:
				require.ErrorIs(t, err, corrupt.ErrVersion)
			case at < 11:
				require.True(t, errors.Is(err, ErrCost) || errors.Is(err, keyring.ErrKeyDenied), "byte %d: %v", at, err)
			case at < 11+saltLen+checkLen:
				require.ErrorIs(t, err, keyring.ErrKeyDenied, "byte %d", at)
			default:
				require.ErrorIs(t, err, keyring.ErrWrongContext, "byte %d", at)
			}
		}
	}
}

// TestOneDerivation: the wraps of a store share a salt, and whoever opens one
// has the key of all.
func TestOneDerivation(t *testing.T) {
	t.Parallel()
	ctx, cost := t.Context(), DefaultCost().KDF
	floor := cheap()[cost].floor
	k := cheapKey(t, "phrase", floor)
	var blobs [][]byte
	for range 10 {
		b, err := k.Wrap(ctx, keyring.RandomSecret(), testContext())
		require.NoError(t, err)
		blobs = append(blobs, b)
	}
	require.Len(t, k.held.derived, 1)
	again := cheapKey(t, "phrase", floor)
	for _, b := range blobs {
		_, err := again.Unwrap(ctx, b, testContext())
		require.NoError(t, err)
	}
	b, err := again.Wrap(ctx, keyring.RandomSecret(), testContext())
	require.NoError(t, err)
	require.Len(t, again.held.derived, 1, "a new wrap goes on with the salt that is there")
	require.Equal(t, blobs[0][:11+saltLen+checkLen], b[:11+saltLen+checkLen])
	salts := make(map[string]bool)
	for _, b := range append(blobs, b) {
		salts[string(b[headLen-saltLen:headLen])] = true
	}
	require.Len(t, salts, 11, "a wrapping key of its own for each")

	// Another cost, another derivation; and the salt of a cheaper wrap is not
	// gone on with.
	dear := floor
	dear.Time++
	d := cheapKey(t, "phrase", dear)
	_, err = d.Unwrap(ctx, blobs[0], testContext())
	require.NoError(t, err)
	b, err = d.Wrap(ctx, keyring.RandomSecret(), testContext())
	require.NoError(t, err)
	require.Len(t, d.held.derived, 2)
	parsed, err := parseBlob(b)
	require.NoError(t, err)
	require.Equal(t, dear, parsed.cost)
	require.NotEqual(t, blobs[0][11:11+saltLen], b[11:11+saltLen])

	// Two Keys of one passphrase have two salts.
	fresh := cheapKey(t, "phrase", floor)
	b, err = fresh.Wrap(ctx, keyring.RandomSecret(), testContext())
	require.NoError(t, err)
	require.NotEqual(t, blobs[0][11:11+saltLen], b[11:11+saltLen])
}

// TestManySalts bounds what is kept in memory.
func TestManySalts(t *testing.T) {
	t.Parallel()
	floor := cheap()[DefaultCost().KDF].floor
	var blobs [][]byte
	for range maxDerived + 5 {
		b, err := cheapKey(t, "phrase", floor).Wrap(t.Context(), keyring.RandomSecret(), testContext())
		require.NoError(t, err)
		blobs = append(blobs, b)
	}
	k := cheapKey(t, "phrase", floor)
	for range 2 {
		for _, b := range blobs {
			_, err := k.Unwrap(t.Context(), b, testContext())
			require.NoError(t, err)
		}
	}
	require.Len(t, k.held.derived, maxDerived)
}

func TestClose(t *testing.T) {
	t.Parallel()
	k := cheapKey(t, "phrase", cheap()[PBKDF2].floor)
	blob, err := k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
	require.NoError(t, err)
	held := k.held
	require.NoError(t, k.Close())
	require.NoError(t, k.Close())
	require.Equal(t, make([]byte, len("phrase")), held.phrase)
	for _, d := range held.derived {
		require.True(t, d.Wiped())
	}
	_, err = k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
	require.ErrorIs(t, err, keyring.ErrClosed)
	_, err = k.Unwrap(t.Context(), blob, testContext())
	require.ErrorIs(t, err, keyring.ErrClosed)
	_, _, err = k.derive(t.Context(), salted{cost: Cost{PBKDF2, 1000, 0, 0}}, nil)
	require.ErrorIs(t, err, keyring.ErrClosed)
}

// TestWaiting: whoever waits for another's derivation goes when told to.
func TestWaiting(t *testing.T) {
	t.Parallel()
	k := cheapKey(t, "phrase", cheap()[PBKDF2].floor)
	k.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := k.Wrap(ctx, keyring.RandomSecret(), testContext()); !errors.Is(err, context.Canceled) {
			t.Errorf("Wrap: %v", err)
		}
	})
	cancel()
	wg.Wait()
	<-k.turn
	_, err := k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
	require.NoError(t, err)
}

// TestNotApproved: where FIPS 140-3 mode is enforced Argon2id is refused.
func TestNotApproved(t *testing.T) {
	t.Parallel()
	k := cheapKey(t, "phrase", cheap()[Argon2id].floor)
	_, err := k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
	if fips140.Enforced() {
		require.ErrorIs(t, err, ErrNotApproved)
		require.ErrorIs(t, err, keyring.ErrKeyDenied)
	} else {
		require.NoError(t, err)
	}
}

// TestNoSecrets formats what the package exports.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	const phrase = "correct horse battery staple"
	k := cheapKey(t, phrase, cheap()[PBKDF2].floor)
	_, err := k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
	require.NoError(t, err)
	_, shortErr := New(nil, Options{})
	for _, v := range []any{k, Options{}, DefaultCost(), &CostError{"x", 1, 2, 3}, shortErr, struct{ k *Key }{k}, map[string]*Key{"k": k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Appendf(nil, verb, v)
			require.Empty(t, keyringtest.Find(text, []byte(phrase)), "%T %s", v, verb)
			for _, d := range k.held.derived {
				require.Empty(t, keyringtest.Find(text, d.Expose()), "%T %s", v, verb)
			}
		}
	}
}

// A noSuite does not encrypt and does not authenticate.
type noSuite struct{}

func (noSuite) Seal(dst, text, _ []byte) ([]byte, error) {
	dst = append(dst, make([]byte, aead.NonceLen)...)
	return append(append(dst, text...), make([]byte, aead.TagLen)...), nil
}

func (noSuite) Open(dst, sealed, _ []byte) ([]byte, error) {
	return append(dst, sealed[aead.NonceLen:len(sealed)-aead.TagLen]...), nil
}

// TestNegativeControl: with a cipher that does not authenticate, flips and a
// wrong context go unnoticed.
func TestNegativeControl(t *testing.T) {
	t.Parallel()
	for name, suite := range map[string]aead.Suite{"AES-256-GCM": nil, "none": func([]byte) (aead.Sealer, error) { return noSuite{}, nil }} {
		k := cheapKey(t, "phrase", cheap()[PBKDF2].floor)
		k.suite = suite
		blob, err := k.Wrap(t.Context(), keyring.RandomSecret(), testContext())
		require.NoError(t, err)
		wrong := testContext()
		wrong.Version++
		_, err = k.Unwrap(t.Context(), blob, wrong)
		require.Equal(t, suite == nil, err != nil, "%s: wrong context", name)
		for i := headLen - saltLen; i < len(blob); i++ {
			b := bytes.Clone(blob)
			b[i] ^= 1
			_, err = k.Unwrap(t.Context(), b, testContext())
			require.Equal(t, suite == nil, err != nil, "%s: byte %d", name, i)
		}
	}
}

// TestSeeds: a corpus that is not found is no corpus.
func TestSeeds(t *testing.T) {
	t.Parallel()
	seeds, err := os.ReadDir("testdata/fuzz/FuzzUnwrap")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(seeds), 7)
}

// fuzzWrap is what "phrase" has wrapped, cheaply, for testContext.
const fuzzWrap = "0102000003e8000000000095c9a912fbfe46bcad98d7dbd6ce315bd0ff1e16c74a0297a24c070a4fe92db04f6dcccb2a8468925cab3ac8b5264f27c4716e543fb0ad93ff5bd8ae3e12981ef56f296194161eef206a7c3cdb9917664162bd7c76ac5bd00722bf2ef0fa34e3842e8e7bbc2a748bff7bcb41"

// FuzzUnwrap: a wrap opens for the context it was made for, and no other does,
// whatever its parameters say.
func FuzzUnwrap(f *testing.F) {
	k := cheapKey(f, "phrase", cheap()[PBKDF2].floor)
	wrap, err := hex.DecodeString(fuzzWrap)
	require.NoError(f, err)
	_, err = k.Unwrap(f.Context(), wrap, testContext())
	require.NoError(f, err)
	f.Add(wrap)
	for _, v := range loadVectors(f) {
		f.Add([]byte(v.In.Wrap))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseBlob(b)
		if err == nil {
			require.Equal(t, b, append(p.head(), p.sealed...))
		}
		_, err = k.Unwrap(t.Context(), b, testContext())
		if err == nil {
			require.Equal(t, p.cost.KDF == PBKDF2, bytes.Equal(wrap, b), "the seed of Argon2id opens too")
		} else {
			require.True(t, keyringtest.Classified(err), "%v", err)
		}
	})
}
