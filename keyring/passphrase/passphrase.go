// Package passphrase is a root key that is derived from a passphrase.
package passphrase

import (
	"context"
	"errors"

	"github.com/cofredb/cofre/keyring"
)

// Options of a passphrase key.
type Options struct {
	Label string // the name in the URI; "" = "default"
}

// A Key is a root key from a passphrase. It implements keyring.RootKey.
type Key struct{}

// New makes the root key of a passphrase, which it copies.
func New(passphrase []byte, opts Options) (*Key, error) { return nil, errors.ErrUnsupported }

func (k *Key) URI() string { return "" }
func (k *Key) Wrap(ctx context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
func (k *Key) Unwrap(ctx context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	return nil, errors.ErrUnsupported
}
func (k *Key) Describe(ctx context.Context) (keyring.Description, error) {
	return keyring.Description{}, errors.ErrUnsupported
}

// Close wipes the passphrase and what was derived from it.
func (k *Key) Close() error { return nil }
