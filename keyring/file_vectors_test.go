package keyring_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/floe"
	"github.com/cofredb/cofre/internal/vectors"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/keyring/local"
)

type fileVector = vectors.Vector[vectors.KeyringIn, vectors.KeyringOut]

// TestFileVectors opens testdata/vectors/keyring at the module's root, with
// the root keys of the key-service file that each has.
func TestFileVectors(t *testing.T) {
	t.Parallel()
	classes := map[string]error{
		"ErrRootNotPinned": keyring.ErrRootNotPinned, "ErrWrongContext": keyring.ErrWrongContext, "ErrKeyNotFound": keyring.ErrKeyNotFound,
	}
	for _, v := range vectors.Load[vectors.KeyringIn, vectors.KeyringOut](t, "keyring") {
		k, err := openVector(t, v)
		if err == nil && len(v.In.Table) > 0 {
			_, err = k.OpenTable(t.Context(), keyring.ID(v.In.Table))
		} else if len(v.In.Table) > 0 {
			t.Errorf("%s: opening the table is to fail, not the keyring: %v", v.Name, err)
		}
		v.Check(t, err, classes)
		if err != nil || v.Out == nil {
			continue
		}
		require.Equal(t, keyring.ID(v.Out.StoreID), k.StoreID(), v.Name)
		require.Equal(t, v.Out.Generation, k.Generation(), v.Name)
		require.Equal(t, keyring.ID(v.Out.Journal), k.Journal(), v.Name)
		requireTables(t, v, k)
		if a := k.Audit(); v.Out.Audit == nil {
			require.Nil(t, a, v.Name)
		} else {
			w := v.Out.Audit
			require.Equal(t, keyring.AuditHead{Chain: keyring.ID(w.Chain), Seq: w.Seq, MAC: [keyring.AuditMACLen]byte(w.MAC)}, a.AuditHead, v.Name)
			require.Equal(t, [2]uint64{w.File, w.End}, [2]uint64{a.File, uint64(a.End)}, v.Name)
			require.Equal(t, []byte(w.Key), a.Key.Expose(), v.Name)
		}
		require.Len(t, k.Tombstones(), len(v.Out.Tombstones), v.Name)
		for _, want := range v.Out.Opened {
			var keys keyring.DataKeys = k.StoreKeys()
			if id := keyring.ID(want.ID); !id.IsZero() {
				tk, err := k.OpenTable(t.Context(), id)
				require.NoError(t, err, v.Name)
				require.Equal(t, string(want.Metadata), string(tk.Metadata()), v.Name)
				keys = tk
			}
			require.NotEmpty(t, want.DataKeys, v.Name)
			for _, dk := range want.DataKeys {
				got, err := keys.DataKey(keyring.ID(dk.FileID), dk.Version, dk.Wrapped)
				require.NoError(t, err, v.Name)
				require.Equal(t, []byte(dk.Key), got.Expose(), v.Name)
			}
		}
	}
}

func requireTables(t *testing.T, v fileVector, k *keyring.Keyring) {
	require.Len(t, k.Tables(), len(v.Out.Tables), v.Name)
	for _, want := range v.Out.Tables {
		found := false
		for _, r := range k.Tables() {
			if r.ID != keyring.ID(want.ID) {
				continue
			}
			found = true
			require.Equal(t, string(want.Name), r.Name, v.Name)
			require.Equal(t, keyring.TableState(want.State), r.State, v.Name)
			require.Equal(t, time.Unix(0, want.CreatedAt).UTC(), r.CreatedAt, v.Name)
			require.Equal(t, keyring.ID(want.Incarnation), r.Incarnation, v.Name)
			require.Equal(t, string(want.Left), string(k.State(r.ID)), v.Name)
		}
		require.True(t, found, "%s: table %x", v.Name, want.ID)
	}
}

// openVector opens the keyring of a vector.
func openVector(t *testing.T, v fileVector) (*keyring.Keyring, error) {
	path := filepath.Join(t.TempDir(), "keys.cofre")
	require.NoError(t, os.WriteFile(path, v.In.KeyService, 0o600))
	svc, err := local.Open(path, local.Options{MustExist: true})
	require.NoError(t, err, v.Name)
	var roots []keyring.RootKey
	for _, uri := range v.In.Roots {
		root, err := svc.Key(uri[len("cofre-local:"):])
		require.NoError(t, err, v.Name)
		roots = append(roots, root)
	}
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll("keyring", 0o700))
	f, err := fs.Create("keyring/"+v.In.Name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(append([]byte(nil), v.In.File...))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	k, err := keyring.Open(t.Context(), "keyring", roots, true, keyring.Options{FS: fs})
	if err == nil {
		t.Cleanup(func() { k.Close() })
	}
	return k, err
}

func headerVectors(t testing.TB) []vectors.Vector[vectors.HeaderIn, vectors.HeaderOut] {
	return vectors.Load[vectors.HeaderIn, vectors.HeaderOut](t, "header")
}

// TestHeaderVectors parses testdata/vectors/header at the module's root, and
// checks the tags under the data keys that the valid ones must have. What a
// reader looks for, and how it gets the data key, is tested where files are
// opened by their names: in engine/internal/sealfs.
func TestHeaderVectors(t *testing.T) {
	t.Parallel()
	for _, v := range headerVectors(t) {
		h, err := keyring.ParseHeader(v.In.File)
		if v.Out == nil {
			switch v.Error.Class {
			case "ErrMissing":
				require.ErrorIs(t, err, corrupt.ErrFormat, v.Name)
			case "ErrFormat", "ErrVersion":
				v.Check(t, err, nil)
			default:
				require.NoError(t, err, v.Name)
			}
			continue
		}
		require.NoError(t, err, v.Name)
		require.Equal(t, keyring.Identity{
			Kind: keyring.FileKind(v.Out.Kind), UnitSize: v.Out.UnitSize, StoreID: keyring.ID(v.In.StoreID), TableID: keyring.ID(v.In.TableID),
			FileID: keyring.ID(v.Out.FileID), Number: v.Out.Number, Incarnation: keyring.ID(v.Out.Incarnation),
			CreatedAt: time.Unix(0, v.Out.CreatedAt).UTC(),
		}, h.Identity, v.Name)
		require.Equal(t, v.Out.KeyVersion, h.KeyVersion, v.Name)
		key, err := keyring.NewSecret(v.Out.DataKey)
		require.NoError(t, err, v.Name)
		_, err = floe.Resume(floe.Params{SegmentLen: h.Identity.UnitSize}, key, h.Identity.AAD(), h.Floe[:])
		require.NoError(t, err, v.Name)
	}
}
