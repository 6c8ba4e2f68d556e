package wal

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/vectors"
	"github.com/cofredb/cofre/keyring"
)

type vector = vectors.Vector[vectors.WALIn, vectors.WALOut]

func loadVectors(t testing.TB) []vector {
	return vectors.Load[vectors.WALIn, vectors.WALOut](t, "wal")
}

func vectorKey(t testing.TB, v vector) *keyring.DataKey {
	key, err := keyring.NewSecret(v.In.DataKey)
	require.NoError(t, err, v.Name)
	return &keyring.DataKey{Key: key}
}

func vectorSegment(s vectors.Segment) Segment {
	return Segment{Number: s.Number, FileID: keyring.ID(s.FileID), Frames: s.Frames}
}

// nextKeys unwraps what frames name.
func nextKeys(v vector) func(keyring.ID, uint32, []byte) (*keyring.Secret, error) {
	return func(id keyring.ID, version uint32, _ []byte) (*keyring.Secret, error) {
		for _, k := range v.In.NextKeys {
			if keyring.ID(k.ID) == id && k.Version == version {
				return keyring.NewSecret(k.DataKey)
			}
		}
		return nil, corrupt.New(corrupt.ErrAuth, "", -1, "the data key does not open")
	}
}

// TestVectors reads testdata/vectors/wal at the module's root: the frames that
// each log must give, and then its end or its fault.
func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range loadVectors(t) {
		frames, r, err := readAll(v.In.File, vectorKey(t, v), ReaderOptions{
			Options: Options{Path: v.Name}, Attested: v.In.Attested, Final: v.In.Final, Key: nextKeys(v),
		})
		if v.Error == nil {
			require.Equal(t, io.EOF, err, "%s: %s", v.Name, v.Rule)
		} else {
			v.Check(t, requireCorrupt(t, err, v.Name), nil)
		}
		if v.Out == nil {
			require.Nil(t, r, v.Name)
			continue
		}
		p := v.Out.Past
		require.Equal(t, Past{p.FormatVersion, p.PebbleFormat, vectorSegment(p.Previous), vectorSegment(p.Manifest)}, r.Past(), v.Name)
		require.Len(t, frames, len(v.Out.Frames), "%s: %s", v.Name, v.Rule)
		for i, want := range v.Out.Frames {
			got := frames[i]
			if want.Index == 0 {
				want.Index = uint64(i + 1)
			}
			require.Equal(t, want.Index, got.Index, v.Name)
			require.Equal(t, want.Time, got.Time.UnixNano(), v.Name)
			require.Equal(t, want.Durable, got.Durable, v.Name)
			require.Equal(t, string(want.Note), string(got.Note), v.Name)
			require.Equal(t, string(want.Data), string(got.Data), v.Name)
		}
		if v.Error == nil {
			end, dropped, reached := r.End()
			require.True(t, reached, v.Name)
			require.Equal(t, v.Out.End, end, "%s: %s", v.Name, v.Rule)
			require.Equal(t, v.Out.Dropped, dropped, "%s: %s", v.Name, v.Rule)
			require.Equal(t, v.Out.Torn, r.Torn(), "%s: %s", v.Name, v.Rule)
		}
	}
}
