package keyring

import "github.com/cofredb/cofre/internal/secret"

// A Secret is 256 bits of key material that neither prints nor marshals. Its
// Expose method gives the bytes.
type Secret = secret.Key

// NewSecret copies 32 bytes of key material into a Secret.
func NewSecret(b []byte) (*Secret, error) { return secret.New(b) }

// RandomSecret returns a new key from crypto/rand.
func RandomSecret() *Secret { return secret.Random() }

// A DataKey is the key of one sealed file, with its wrap as the file's header
// carries it. It is used for that file alone (SP 800-57, part 1, 5.2: one key,
// one use).
type DataKey struct {
	Key     *Secret
	Version uint32 // of the table key that wraps it
	Wrapped [WrappedKeyLen]byte
}

// DataKeys makes and unwraps the data keys of one table (or of the store's
// own files). It is safe for concurrent use.
type DataKeys interface {
	// NewDataKey makes a key for a new file and wraps it under the table's
	// newest key version. The caller wipes it when the file's ciphers are made.
	NewDataKey(file ID) (*DataKey, error)
	// DataKey unwraps the key of an existing file. The error is a
	// *corrupt.Error of class ErrAuth where the wrap does not open under the
	// table key of that version, and wraps ErrVersionUnknown where the table
	// has no such version.
	DataKey(file ID, version uint32, wrapped []byte) (*Secret, error)
}
