package passphrase

import (
	"crypto/fips140"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/vectors"
	"github.com/cofredb/cofre/keyring"
)

func loadVectors(t testing.TB) []vectors.Vector[vectors.PassphraseIn, vectors.WrapOut] {
	return vectors.Load[vectors.PassphraseIn, vectors.WrapOut](t, "passphrase")
}

// TestVectors unwraps testdata/vectors/passphrase at the module's root, at the
// costs that a user pays. A Key remembers what it has derived, so each cost and
// salt is paid once for a passphrase.
func TestVectors(t *testing.T) {
	t.Parallel()
	classes := map[string]error{
		"ErrKeyDenied": keyring.ErrKeyDenied, "ErrWrongContext": keyring.ErrWrongContext,
	}
	keys := make(map[string]*Key)
	for _, v := range loadVectors(t) {
		if b, err := parseBlob(v.In.Wrap); err == nil && b.cost.KDF == Argon2id && fips140.Enforced() {
			continue
		}
		if testing.Short() && v.Error != nil && v.Error.Class == "ErrKeyDenied" {
			continue // what is denied is not remembered, and pays again
		}
		k := keys[string(v.In.Passphrase)]
		if k == nil {
			var err error
			k, err = New(v.In.Passphrase, Options{})
			require.NoError(t, err, v.Name)
			t.Cleanup(func() { k.Close() })
			keys[string(v.In.Passphrase)] = k
		}
		got, err := k.Unwrap(t.Context(), v.In.Wrap, keyring.Context{
			Store: keyring.ID(v.In.Context.StoreID), Table: keyring.ID(v.In.Context.TableID), Purpose: v.In.Context.Purpose, Version: v.In.Context.Version,
		})
		v.Check(t, err, classes)
		if err == nil && v.Out != nil {
			require.Equal(t, []byte(v.Out.Key), got.Expose(), v.Name)
		}
	}
}
