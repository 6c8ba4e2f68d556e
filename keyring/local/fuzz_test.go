package local

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/keyring"
)

// FuzzFile: whatever parses has one encoding; whatever does not is a
// *corrupt.Error. The checksum is made to fit, or nothing would get past it.
func FuzzFile(f *testing.F) {
	kf := &keyFile{revision: 3, notes: []note{{store: keyring.ID{1}, generation: 2}}}
	for _, name := range []string{"a", "b"} {
		kf.add(&rootKey{name: name, id: keyring.ID{1}, state: keyring.StateEnabled, createdAt: unixNano(1), versions: []version{
			{number: 1, key: keyring.RandomSecret(), createdAt: unixNano(1)}, {number: 2, key: keyring.RandomSecret(), createdAt: unixNano(1)},
		}})
	}
	f.Add(kf.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parse(b)
		if err != nil {
			require.ErrorIs(t, err, corrupt.ErrCorrupt)
			if len(b) < minFileLen {
				return
			}
			b = withChecksum(b)
			if got, err = parse(b); err != nil {
				require.ErrorIs(t, err, corrupt.ErrCorrupt)
				return
			}
		}
		require.Equal(t, b, got.encode())
	})
}

// FuzzUnwrap: a wrap opens for the context it was made for, and for no other.
func FuzzUnwrap(f *testing.F) {
	_, k := newTestKey(f)
	blob, err := k.Wrap(f.Context(), keyring.RandomSecret(), testContext())
	require.NoError(f, err)
	f.Add(blob)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := k.Unwrap(t.Context(), b, testContext())
		if err == nil {
			require.Equal(t, blob, b)
		}
	})
}
