package recovery

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/secret"
	"github.com/cofredb/cofre/internal/vectors"
	"github.com/cofredb/cofre/keyring"
)

// TestVectors unwraps testdata/vectors/recovery at the module's root, which an HPKE of
// another hand has made.
func TestVectors(t *testing.T) {
	t.Parallel()
	newTestIdentity(t) // skips where HPKE is refused
	classes := map[string]error{"ErrKeyNotFound": keyring.ErrKeyNotFound, "ErrWrongContext": keyring.ErrWrongContext}
	for _, v := range vectors.Load[vectors.RecoveryIn, vectors.WrapOut](t, "recovery") {
		seed, err := secret.New(v.In.Seed)
		require.NoError(t, err, v.Name)
		id, err := newIdentity(seed)
		require.NoError(t, err, v.Name)
		t.Cleanup(func() { id.Close() })
		require.Equal(t, []byte(v.In.Public), id.recipient.public.Bytes(), v.Name)
		got, err := id.Unwrap(t.Context(), v.In.Wrap, keyring.Context{
			Store: keyring.ID(v.In.Context.StoreID), Table: keyring.ID(v.In.Context.TableID), Purpose: v.In.Context.Purpose, Version: v.In.Context.Version,
		})
		v.Check(t, err, classes)
		if err == nil && v.Out != nil {
			require.Equal(t, []byte(v.Out.Key), got.Expose(), v.Name)
		}
	}
}

// TestSheetVectors reads testdata/vectors/recovery-sheet at the module's root.
func TestSheetVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors.Load[vectors.SheetIn, vectors.SheetOut](t, "recovery-sheet") {
		id, err := ParseSheet(v.In.Text)
		v.Check(t, err, map[string]error{"ErrSheet": ErrSheet})
		if err == nil && v.Out != nil {
			require.Equal(t, v.Out.URI, id.URI(), v.Name)
			require.Equal(t, []byte(v.Out.Seed), id.seed.Expose(), v.Name)
			require.NoError(t, id.Close())
		}
	}
}
