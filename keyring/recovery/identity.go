package recovery

import (
	"context"
	"crypto/fips140"
	"crypto/hpke"
	"fmt"
	"io"
	"sync"

	"github.com/cofredb/cofre/internal/codec"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
)

// An Identity is a recovery key with its private half. It implements
// keyring.RootKey and unwraps. It counts as offline all the same: a table that has
// no other root key has lost its last one with the sheet. It is safe for concurrent
// use, and holds the private key until Close.
type Identity struct {
	recipient *Recipient

	mu   sync.RWMutex // guards seed
	seed *secret.Key  // wiped by Close
}

var (
	_ keyring.RootKey = (*Identity)(nil)
	_ keyring.Offline = (*Identity)(nil)
)

// Generate makes a recovery key from the operating system's generator. The error is
// ErrNotApproved, with keyring.ErrKeyDenied, where no such key could be used.
func Generate() (*Identity, error) {
	id, err := newIdentity(secret.Random())
	if err != nil {
		return nil, err
	}
	// Better no sheet than one that wraps nothing.
	if err := trial(id.recipient); err != nil {
		id.Close()
		return nil, refused(err)
	}
	return id, nil
}

// newIdentity takes over the seed: the private key as draft-ietf-hpke-pq serializes
// it.
func newIdentity(seed *secret.Key) (*Identity, error) {
	private, err := kem().NewPrivateKey(seed.Expose())
	if err != nil {
		seed.Wipe()
		return nil, refused(err)
	}
	defer forget(private)
	return &Identity{recipient: newRecipient(private.PublicKey()), seed: seed}, nil
}

// forget clears what can be reached of a private key: the seed that it holds.
func forget(private hpke.PrivateKey) {
	if b, err := private.Bytes(); err == nil {
		clear(b)
	}
}

// trial seals once.
func trial(r *Recipient) error {
	_, err := hpke.Seal(r.public, kdf(), aead(), nil, nil)
	return err
}

// Recipient is the public half.
func (i *Identity) Recipient() *Recipient { return i.recipient }

// Fingerprint is that of the public key.
func (i *Identity) Fingerprint() Fingerprint { return i.recipient.fingerprint }

// URI is that of the recipient.
func (i *Identity) URI() string { return i.recipient.URI() }

// Offline implements keyring.Offline. It is always true.
func (i *Identity) Offline() bool { return true }

// Format shows the URI, whatever the verb.
func (i *Identity) Format(f fmt.State, _ rune) { io.WriteString(f, i.URI()) }

// Close wipes the private key. It is idempotent. Wrap goes on; Unwrap fails with
// keyring.ErrClosed.
func (i *Identity) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.seed.Wipe()
	return nil
}

// Wrap implements keyring.RootKey.
func (i *Identity) Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	return i.recipient.Wrap(ctx, key, ec)
}

// Unwrap implements keyring.RootKey.
func (i *Identity) Unwrap(ctx context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(wrapped) != wrapLen {
		return nil, corrupt.New(corrupt.ErrFormat, "", -1, "wrapped key: %d bytes, not %d", len(wrapped), wrapLen)
	}
	r := codec.NewReader(wrapped)
	if f := r.U8(); f != wrapFormat {
		return nil, corrupt.New(corrupt.ErrVersion, "", -1, "wrapped key: format %d, this build knows %d", f, wrapFormat)
	}
	var to Fingerprint
	r.Fill(to[:])
	if to != i.recipient.fingerprint {
		return nil, fmt.Errorf("%w: wrapped for the recovery key %s, and this is %s", keyring.ErrKeyNotFound, to, i.recipient.fingerprint)
	}
	enc := r.Raw(encLen)
	return i.open(enc, wrapped[:headLen], r.Rest(), ec)
}

// open opens the sealed key of a wrap.
func (i *Identity) open(enc, head, sealed []byte, ec keyring.Context) (*keyring.Secret, error) {
	private, err := i.private()
	if err != nil {
		return nil, err
	}
	defer forget(private)
	var key []byte
	r, err := hpke.NewRecipient(enc, private, kdf(), aead(), ec.Canonical())
	if err == nil {
		key, err = r.Open(head, sealed)
	}
	if err != nil && fips140.Enforced() {
		if refusal := trial(i.recipient); refusal != nil {
			return nil, refused(refusal)
		}
	}
	if err != nil || len(key) != secret.Size {
		return nil, fmt.Errorf("%w: its seal does not open", keyring.ErrWrongContext)
	}
	return secret.Take(key)
}

// private makes the private key of the seed.
func (i *Identity) private() (hpke.PrivateKey, error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if i.seed.Wiped() {
		return nil, fmt.Errorf("%w: %w: the recovery key", keyring.ErrKeyDenied, keyring.ErrClosed)
	}
	private, err := kem().NewPrivateKey(i.seed.Expose())
	if err != nil {
		return nil, refused(err)
	}
	return private, nil
}

// Describe implements keyring.RootKey.
func (i *Identity) Describe(ctx context.Context) (keyring.Description, error) {
	return keyring.Description{URI: i.URI(), State: keyring.StateEnabled, Note: "recovery key, from its sheet"}, ctx.Err()
}
