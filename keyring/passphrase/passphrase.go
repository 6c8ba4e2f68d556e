package passphrase

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/derive"
	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
)

const (
	scheme = "cofre-passphrase:"

	labelCheck = "cofre/v1/passphrase-check"
	labelWrap  = "cofre/v1/passphrase-wrap"

	maxPhraseLen = 64 << 10
	maxLabelLen  = 64
	maxDerived   = 64 // keys kept in memory
)

// Options of a Key. The zero value is ready for use.
type Options struct {
	// Label is the name in the URI; "" is "default". Up to 64 letters, digits,
	// dots, hyphens and underscores.
	Label string
	// Cost is that of new wraps; zero is DefaultCost.
	Cost Cost
}

// A Key is a root key from a passphrase. It holds the passphrase, and keys
// derived from it, until Close.
type Key struct {
	uri   string
	cost  Cost       // of new wraps
	lim   bounds     // lowered by this package's tests only
	suite aead.Suite // nil outside tests

	// turn is held while deriving: one derivation has up to 2 GiB.
	turn chan struct{}

	mu   sync.Mutex // guards what follows
	held *held      // nil after Close
	own  *salted    // of new wraps
}

// held is what Close takes away. It lies behind a pointer, which is as far as
// package fmt goes in a field that it may not call methods on.
type held struct {
	phrase  []byte
	derived map[salted]*secret.Key
}

var _ keyring.RootKey = (*Key)(nil)

// New makes the root key of a passphrase: of its bytes as they are, which it
// copies. Errors are *CostError, *keyring.LimitError, and a plain one where
// the passphrase is empty or the label malformed.
func New(phrase []byte, opts Options) (*Key, error) {
	return newKey(phrase, opts, defaultBounds())
}

func newKey(phrase []byte, opts Options, lim bounds) (*Key, error) {
	switch {
	case len(phrase) == 0:
		return nil, errors.New("passphrase: it is empty")
	case len(phrase) > maxPhraseLen:
		return nil, &keyring.LimitError{What: "passphrase", Len: len(phrase), Max: maxPhraseLen}
	}
	if opts.Label == "" {
		opts.Label = "default"
	}
	if !validLabel(opts.Label) {
		return nil, fmt.Errorf("passphrase: malformed label %q", opts.Label)
	}
	if opts.Cost == (Cost{}) {
		opts.Cost = lim[DefaultCost().KDF].floor
	}
	if err := lim.check(opts.Cost); err != nil {
		return nil, err
	}
	return &Key{
		uri: scheme + opts.Label, cost: opts.Cost, lim: lim, turn: make(chan struct{}, 1),
		held: &held{bytes.Clone(phrase), make(map[salted]*secret.Key)},
	}, nil
}

func validLabel(s string) bool {
	return len(s) <= maxLabelLen && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	})
}

// URI is "cofre-passphrase:" and the label.
func (k *Key) URI() string { return k.uri }

// Wrap implements keyring.RootKey. The first call derives.
func (k *Key) Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b := &blob{salted: k.ownSalt()}
	pk, check, err := k.derive(ctx, b.salted, nil)
	if err != nil {
		return nil, err
	}
	defer pk.Wipe()
	copy(b.check[:], check)
	rand.Read(b.wrapSalt[:])
	s, err := derive.Sealer(k.suite, pk, labelWrap, b.wrapSalt[:])
	if err != nil {
		return nil, err
	}
	return s.Seal(b.head(), key.Expose(), b.aad(ec))
}

// Unwrap implements keyring.RootKey. A cost or salt that is new derives.
func (k *Key) Unwrap(ctx context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := parseBlob(wrapped)
	if err != nil {
		return nil, err
	}
	if err := k.lim.check(b.cost); err != nil {
		return nil, fmt.Errorf("%w: %w", corrupt.New(corrupt.ErrFormat, "", -1, "wrapped key: cost out of bounds"), err)
	}
	pk, _, err := k.derive(ctx, b.salted, b.check[:])
	if err != nil {
		return nil, err
	}
	defer pk.Wipe()
	s, err := derive.Sealer(k.suite, pk, labelWrap, b.wrapSalt[:])
	if err != nil {
		return nil, err
	}
	p, err := s.Open(make([]byte, 0, keyring.WrappedKeyLen), b.sealed, b.aad(ec))
	if err != nil || len(p) != secret.Size {
		return nil, fmt.Errorf("%w: %w", keyring.ErrWrongContext, aead.ErrOpen)
	}
	k.adopt(b.salted)
	return secret.Take(p)
}

// ownSalt is the salt of new wraps, made on first use.
func (k *Key) ownSalt() salted {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own == nil {
		k.own = &salted{cost: k.cost}
		rand.Read(k.own.salt[:])
	}
	return *k.own
}

// adopt takes the salt of an authentic wrap for new wraps, unless there is
// one already or the cost is not ours.
func (k *Key) adopt(s salted) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own == nil && s.cost == k.cost {
		k.own = &s
	}
}

// derive returns a copy of the passphrase's key for a cost and salt, from
// memory where it can, and its check value. want is the check value that must
// result, else the error is keyring.ErrKeyDenied; nil accepts any.
func (k *Key) derive(ctx context.Context, s salted, want []byte) (*secret.Key, []byte, error) {
	key, err := k.remembered(s)
	if key == nil && err == nil {
		select {
		case k.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		defer func() { <-k.turn }()
		// Another may have derived it while this one waited.
		if key, err = k.remembered(s); key == nil && err == nil {
			key, err = k.compute(s)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	check, err := derive.Bytes(key, labelCheck, nil, checkLen)
	if err == nil && want != nil && subtle.ConstantTimeCompare(check, want) != 1 {
		err = fmt.Errorf("%w: wrong passphrase", keyring.ErrKeyDenied)
	}
	if err != nil {
		key.Wipe()
		return nil, nil, err
	}
	k.remember(s, key)
	return key, check, nil
}

// compute pays for a derivation.
func (k *Key) compute(s salted) (*secret.Key, error) {
	phrase, err := k.passphrase()
	if err != nil {
		return nil, err
	}
	defer clear(phrase)
	return s.cost.derive(phrase, s.salt[:])
}

// passphrase returns a copy, or keyring.ErrClosed.
func (k *Key) passphrase() ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		return nil, keyring.ErrClosed
	}
	return bytes.Clone(k.held.phrase), nil
}

// remembered returns a copy of a key in memory, nil if there is none, or
// keyring.ErrClosed.
func (k *Key) remembered(s salted) (*secret.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		return nil, keyring.ErrClosed
	}
	if key, ok := k.held.derived[s]; ok {
		return key.Clone(), nil
	}
	return nil, nil
}

// remember keeps a copy of a key, in place of any other where there are too
// many.
func (k *Key) remember(s salted, key *secret.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil || k.held.derived[s] != nil {
		return
	}
	for other, old := range k.held.derived {
		if len(k.held.derived) < maxDerived {
			break
		}
		old.Wipe()
		delete(k.held.derived, other)
	}
	k.held.derived[s] = key.Clone()
}

// Describe implements keyring.RootKey.
func (k *Key) Describe(ctx context.Context) (keyring.Description, error) {
	if err := ctx.Err(); err != nil {
		return keyring.Description{}, err
	}
	return keyring.Description{
		URI: k.uri, State: keyring.StateEnabled, Sealed: true, Note: "derived from a passphrase by " + k.cost.String(),
	}, nil
}

// Close wipes the passphrase and what was derived from it. What is asked
// afterwards fails with keyring.ErrClosed. It is idempotent.
func (k *Key) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		return nil
	}
	clear(k.held.phrase)
	for _, key := range k.held.derived {
		key.Wipe()
	}
	k.held = nil
	return nil
}

// Format shows the URI, whatever the verb.
func (k *Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.uri) }
