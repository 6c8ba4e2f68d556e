package recovery

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/hpke"
	"encoding/pem"
	"errors"
	"fmt"
	"io"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/keyring"
)

// Scheme begins the URI of every recovery key; the fingerprint follows.
const Scheme = "cofre-recovery:"

const (
	wrapFormat = 1
	headLen    = 1 + fingerprintLen
	encLen     = 1088 + 65 // ML-KEM-768 ciphertext, point of P-256
	sealedLen  = 32 + 16
	wrapLen    = headLen + encLen + sealedLen

	pemType        = "COFRE RECOVERY RECIPIENT"
	pemFingerprint = "Fingerprint"

	// MaxRecipients and maxTextLen bound the text of ParseRecipients.
	MaxRecipients = keyring.MaxWraps
	maxTextLen    = 64 << 10
)

// Errors of this package; those of keys and wraps are keyring's.
var (
	// ErrNotApproved: this build's FIPS 140-3 module cannot seal for a recovery key,
	// and approval is enforced. It comes with keyring.ErrKeyDenied.
	ErrNotApproved = errors.New("this FIPS 140-3 module has no approved HPKE")
	// ErrRecipient: a text that is not that of a recipient, or one whose key is not
	// of the fingerprint that it gives.
	ErrRecipient = errors.New("malformed recovery recipient")
)

func kem() hpke.KEM   { return hpke.MLKEM768P256() }
func kdf() hpke.KDF   { return hpke.HKDFSHA256() }
func aead() hpke.AEAD { return hpke.AES256GCM() }

// A Recipient is the public half of a recovery key. It implements keyring.RootKey,
// wraps, and cannot unwrap. It is immutable and safe for concurrent use.
type Recipient struct {
	public      hpke.PublicKey
	fingerprint Fingerprint
}

var (
	_ keyring.RootKey = (*Recipient)(nil)
	_ keyring.Offline = (*Recipient)(nil)
)

// NewRecipient reads a public key: the 1249 bytes of RFC 9180's SerializePublicKey.
// The error is ErrRecipient.
func NewRecipient(public []byte) (*Recipient, error) {
	key, err := kem().NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecipient, err)
	}
	return newRecipient(key), nil
}

func newRecipient(key hpke.PublicKey) *Recipient {
	return &Recipient{public: key, fingerprint: fingerprintOf(key.Bytes())}
}

// ParseRecipient reads one recipient, as MarshalText writes it. The error is
// ErrRecipient.
func ParseRecipient(text []byte) (*Recipient, error) {
	rs, err := ParseRecipients(text)
	if err == nil && len(rs) != 1 {
		err = fmt.Errorf("%w: %d recipients, not one", ErrRecipient, len(rs))
	}
	if err != nil {
		return nil, err
	}
	return rs[0], nil
}

// ParseRecipients reads any number of recipients up to MaxRecipients, one after the
// other, with white space between. The error is ErrRecipient.
func ParseRecipients(text []byte) ([]*Recipient, error) {
	if len(text) > maxTextLen {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrRecipient, maxTextLen)
	}
	var rs []*Recipient
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		if !bytes.HasPrefix(rest, []byte("-----BEGIN "+pemType+"-----")) {
			return nil, fmt.Errorf("%w: text that is none", ErrRecipient)
		}
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != pemType {
			return nil, fmt.Errorf("%w: it ends early, or its base64 is wrong", ErrRecipient)
		}
		r, err := NewRecipient(block.Bytes)
		if err != nil {
			return nil, err
		}
		if said, err := ParseFingerprint(block.Headers[pemFingerprint]); err != nil || said != r.fingerprint {
			return nil, fmt.Errorf("%w: its key has the fingerprint %s, which is not what it says", ErrRecipient, r.fingerprint)
		}
		if len(rs) >= MaxRecipients {
			return nil, fmt.Errorf("%w: more than %d of them", ErrRecipient, MaxRecipients)
		}
		rs = append(rs, r)
	}
	if n := bytes.Count(text, []byte("-----BEGIN")); n != len(rs) { // package pem passes over what it cannot read
		return nil, fmt.Errorf("%w: %d of %d do not read", ErrRecipient, n-len(rs), n)
	}
	return rs, nil
}

// MarshalText gives the public key with its fingerprint, as PEM (RFC 1421).
func (r *Recipient) MarshalText() ([]byte, error) {
	return pem.EncodeToMemory(&pem.Block{
		Type: pemType, Headers: map[string]string{pemFingerprint: r.fingerprint.String()}, Bytes: r.public.Bytes(),
	}), nil
}

// Fingerprint is that of the public key.
func (r *Recipient) Fingerprint() Fingerprint { return r.fingerprint }

// URI is "cofre-recovery:" and the fingerprint.
func (r *Recipient) URI() string { return Scheme + r.fingerprint.String() }

// Offline implements keyring.Offline. It is always true.
func (r *Recipient) Offline() bool { return true }

// Format shows the URI, whatever the verb.
func (r *Recipient) Format(f fmt.State, _ rune) { io.WriteString(f, r.URI()) }

// Wrap implements keyring.RootKey. It takes no service.
func (r *Recipient) Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	enc, s, err := hpke.NewSender(r.public, kdf(), aead(), ec.Canonical())
	if err != nil {
		return nil, refused(err)
	}
	w := codec.Writer{B: make([]byte, 0, wrapLen)}
	w.U8(wrapFormat)
	w.Raw(r.fingerprint[:])
	sealed, err := s.Seal(w.B, key.Expose())
	if err != nil {
		return nil, refused(err)
	}
	w.Raw(enc)
	w.Raw(sealed)
	return w.B, nil
}

// Unwrap implements keyring.RootKey. It fails with keyring.ErrKeyOffline and
// ErrKeyUnreachable: what unwraps is on the sheet.
func (r *Recipient) Unwrap(ctx context.Context, _ []byte, _ keyring.Context) (*keyring.Secret, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: %w: its sheet opens it", keyring.ErrKeyUnreachable, keyring.ErrKeyOffline)
}

// Describe implements keyring.RootKey.
func (r *Recipient) Describe(ctx context.Context) (keyring.Description, error) {
	return keyring.Description{URI: r.URI(), State: keyring.StateEnabled, Note: "recovery key: its private half is on a sheet, offline"}, ctx.Err()
}

// refused makes the error of an HPKE that cannot seal at all.
func refused(err error) error {
	if fips140.Enforced() {
		return fmt.Errorf("%w: %w: %w", keyring.ErrKeyDenied, ErrNotApproved, err)
	}
	return fmt.Errorf("%w: %w", keyring.ErrKeyDenied, err)
}
