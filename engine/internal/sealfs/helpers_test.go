package sealfs

import (
	"errors"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/aead"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// memKeys are data keys under one key in memory.
type memKeys struct{ sealer aead.Sealer }

var _ keyring.DataKeys = memKeys{}

func newKeys(t testing.TB) memKeys {
	s, err := aead.Suite(nil).New(keyring.RandomSecret().Expose())
	require.NoError(t, err)
	return memKeys{s}
}

func (k memKeys) NewDataKey(file keyring.ID) (*keyring.DataKey, error) {
	dk := &keyring.DataKey{Key: keyring.RandomSecret(), Version: 1}
	wrapped, err := k.sealer.Seal(nil, dk.Key.Expose(), file[:])
	copy(dk.Wrapped[:], wrapped)
	return dk, err
}

func (k memKeys) DataKey(file keyring.ID, version uint32, wrapped []byte) (*keyring.Secret, error) {
	if version != 1 {
		return nil, corrupt.New(keyring.ErrVersionUnknown, "", 96, "no key version %d", version)
	}
	b, err := k.sealer.Open(nil, wrapped, file[:])
	if err != nil {
		return nil, corrupt.New(corrupt.ErrAuth, "", 100, "the data key does not open")
	}
	return keyring.NewSecret(b)
}

// A table is what all FS of a table have in common.
type table struct {
	cfg Config
}

func newTable(t testing.TB, unit uint32) *table {
	return &table{Config{
		StoreID: keyring.NewID(), TableID: keyring.NewID(), Incarnation: keyring.NewID(),
		Keys: newKeys(t), UnitSize: unit,
	}}
}

// over is the table's FS over another one, as after a restart.
func (tab *table) over(base vfs.FS) *FS {
	cfg := tab.cfg
	cfg.Base = base
	return New(cfg)
}

func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	f, err := fs.Open(name)
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, errors.Join(err, f.Close()))
	return b
}

func writeFile(t testing.TB, fs vfs.FS, name string, b []byte) {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(append([]byte(nil), b...))
	require.NoError(t, errors.Join(err, f.Sync(), f.Close()))
}
