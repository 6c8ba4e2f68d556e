package keyring

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/vectors"
)

func overlayVectors(t testing.TB) []vectors.Vector[vectors.OverlayIn, vectors.OverlayOut] {
	return vectors.Load[vectors.OverlayIn, vectors.OverlayOut](t, "overlay")
}

// overlayKeys are the keys that a vector opens an overlay by.
func overlayKeys(in vectors.OverlayIn) *TableKeys {
	open := &openKeys{keys: make(map[uint32]*Secret), retired: make(map[uint32]bool)}
	tk := &TableKeys{store: ID(in.StoreID), id: ID(in.TableID), open: open}
	for n, b := range in.TableKeys {
		open.keys[n] = must(NewSecret(b))
		tk.version = max(tk.version, n)
	}
	for _, n := range in.Retired {
		open.retired[n] = true
	}
	return tk
}

// TestOverlayVectors opens the overlays of testdata/vectors/overlay at the module's
// root, and has their data keys used.
func TestOverlayVectors(t *testing.T) {
	t.Parallel()
	more := map[string]error{"ErrVersionUnknown": ErrVersionUnknown}
	for _, v := range overlayVectors(t) {
		tk := overlayKeys(v.In)
		o, err := tk.OpenOverlay(bytes.Clone(v.In.File), ID(v.In.OverlayID))
		var key *Secret
		if err == nil {
			tk.SetOverlay(o)
			if u := v.In.Use; u != nil {
				key, err = tk.DataKey(ID(u.FileID), u.Version, u.Wrapped)
			}
		}
		v.Check(t, err, more)
		if err != nil || v.Out == nil {
			continue
		}
		require.Equal(t, v.Out.KeyVersion, o.Version(), v.Name)
		require.Equal(t, len(v.Out.DataKeys), o.Len(), v.Name)
		for _, want := range v.Out.DataKeys {
			require.True(t, o.Has(ID(want.FileID)), v.Name)
			wrapped := o.wraps[ID(want.FileID)]
			require.Equal(t, []byte(want.Wrapped), wrapped[:], v.Name)
			got, err := unwrapDataKey(nil, tk.open.keys[o.version], tk.store, tk.id, ID(want.FileID), o.version, wrapped[:])
			require.NoError(t, err, v.Name)
			require.Equal(t, []byte(want.Key), got.Expose(), v.Name)
		}
		if v.In.Use != nil {
			require.Equal(t, []byte(v.Out.Key), key.Expose(), v.Name)
		}
	}
}
