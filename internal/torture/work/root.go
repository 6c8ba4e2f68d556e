package work

import (
	"context"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/keyring"
)

// A Root is a root key that all processes of the harness have. It is no
// Anchor: an anchor would take a crash state for a keyring that was put back.
type Root struct {
	name string
	seal aead.Sealer
}

var _ keyring.RootKey = (*Root)(nil)

// NewRoot makes the root key of a name.
func NewRoot(name string) *Root {
	key := make([]byte, secret.Size)
	copy(key, name)
	s, err := aead.Suite(nil).New(key)
	if err != nil {
		panic(err) // the key has the right length
	}
	return &Root{name, s}
}

func (r *Root) URI() string { return "torture:" + r.name }

func (r *Root) Wrap(_ context.Context, key *keyring.Secret, ec keyring.Context) ([]byte, error) {
	return r.seal.Seal(nil, key.Expose(), ec.Canonical())
}

func (r *Root) Unwrap(_ context.Context, wrapped []byte, ec keyring.Context) (*keyring.Secret, error) {
	b, err := r.seal.Open(nil, wrapped, ec.Canonical())
	if err != nil {
		return nil, keyring.ErrWrongContext
	}
	return secret.Take(b)
}

func (r *Root) Describe(context.Context) (keyring.Description, error) {
	return keyring.Description{URI: r.URI(), State: keyring.StateEnabled}, nil
}
