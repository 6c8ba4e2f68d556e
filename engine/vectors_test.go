package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/engine/internal/sealfs"
	"github.com/cofredb/cofre/internal/corrupt"
	"github.com/cofredb/cofre/internal/vectors"
	"github.com/cofredb/cofre/keyring"
	"github.com/cofredb/cofre/wal"
)

func stateVectors(t testing.TB) []vectors.Vector[vectors.TableStateIn, vectors.TableStateOut] {
	return vectors.Load[vectors.TableStateIn, vectors.TableStateOut](t, "table-state")
}

func metadataVectors(t testing.TB) []vectors.Vector[vectors.TableMetadataIn, vectors.TableMetadataOut] {
	return vectors.Load[vectors.TableMetadataIn, vectors.TableMetadataOut](t, "table-metadata")
}

// TestStateVectors decodes testdata/vectors/table-state at the module's root.
func TestStateVectors(t *testing.T) {
	t.Parallel()
	for _, v := range stateVectors(t) {
		s, err := decodeState(v.In.State)
		v.Check(t, err, nil)
		if err != nil || v.Out == nil {
			continue
		}
		require.Equal(t, []byte(v.In.State), s.encode(), v.Name)
		require.Equal(t, v.Out.Clean, s.clean, v.Name)
		require.Equal(t, string(v.Out.Record), string(s.seal), v.Name)
		var floor wal.Segment
		if m := v.Out.Manifest; m != nil {
			floor = wal.Segment{Number: m.Number, FileID: keyring.ID(m.FileID), Frames: m.Frames}
		}
		require.Equal(t, floor, s.floor, v.Name)
		require.Len(t, s.snapshots, len(v.Out.Snapshots), v.Name)
		for i, want := range v.Out.Snapshots {
			require.Equal(t, string(want.Name), s.snapshots[i].Name, v.Name)
			require.Equal(t, string(want.Record), string(s.snapshots[i].seal), v.Name)
		}
		require.Equal(t, lossOf(v.Out.Loss), s.loss, v.Name)
		if s.clean {
			_, err := sealfs.DecodeSeal(s.seal)
			require.NoError(t, err, v.Name)
		}
	}
}

func lossOf(l *vectors.KeyLoss) *keyLoss {
	if l == nil {
		return nil
	}
	at := func(n int64) time.Time { return time.Unix(0, n).UTC() }
	want := &keyLoss{
		step: lossGrace, told: l.Told, noticed: l.Noticed, kept: l.Kept, since: at(l.Since), seen: at(l.Seen),
		left: time.Duration(l.Left), id: keyring.ID(l.ID), keep: time.Duration(l.Keep), ref: string(l.Reference),
	}
	if want.ref != "" {
		want.step, want.archivedAt, want.verifiedAt = lossArchived, at(l.ArchivedAt), at(l.VerifiedAt)
	}
	return want
}

// TestMetadataVectors decodes testdata/vectors/table-metadata at the module's
// root.
func TestMetadataVectors(t *testing.T) {
	t.Parallel()
	for _, v := range metadataVectors(t) {
		m, err := decodeMetadata(v.In.Metadata)
		v.Check(t, err, nil)
		if err != nil || v.Out == nil {
			continue
		}
		if v.In.Metadata[0] == metadataVersion {
			require.Equal(t, []byte(v.In.Metadata), m.encode(), v.Name)
		}
		require.Equal(t, v.Out.Locked, m.locked, v.Name)
		require.Equal(t, v.Out.Archiving, m.archiving, v.Name)
		require.Equal(t, overlayRef{keyring.ID(v.Out.OverlayID), [32]byte(v.Out.OverlayDigest)}, m.overlay, v.Name)
		require.Equal(t, v.Out.Reencrypting == 0, m.reencrypting.IsZero(), v.Name)
		if v.Out.Reencrypting != 0 {
			require.Equal(t, v.Out.Reencrypting, m.reencrypting.UnixNano(), v.Name)
		}
		require.Equal(t, Schedule{time.Duration(v.Out.KeyAge), time.Duration(v.Out.DataAge)}, m.schedule, v.Name)
		require.Equal(t, v.Out.CreatedAt, m.createdAt.UnixNano(), v.Name)
		require.EqualValues(t, v.Out.SeparateFrom, m.separateFrom, v.Name)
		require.Equal(t, v.Out.NotCompressed, m.noCompression, v.Name)
		require.Equal(t, string(v.Out.Table), m.name, v.Name)
		require.Len(t, m.origins, len(v.Out.Origins), v.Name)
		for i, want := range v.Out.Origins {
			require.Equal(t, sealfs.Origin{Store: keyring.ID(want.StoreID), Table: keyring.ID(want.TableID)}, m.origins[i], v.Name)
		}
		require.Len(t, m.repositories, len(v.Out.Repositories), v.Name)
		for i, want := range v.Out.Repositories {
			got := m.repositories[i]
			require.Equal(t, keyring.ID(want.ID), got.Repository, v.Name)
			require.Equal(t, string(want.Location), got.Location, v.Name)
			require.Equal(t, want.At, got.At.UnixNano(), v.Name)
			require.Equal(t, want.Versions, got.Versions, v.Name)
		}
		require.Len(t, m.snapshots, len(v.Out.Snapshots), v.Name)
		for i, want := range v.Out.Snapshots {
			got := m.snapshots[i]
			require.Equal(t, keyring.ID(want.ID), got.ID, v.Name)
			require.Equal(t, string(want.Name), got.Name, v.Name)
			require.Equal(t, want.CreatedAt, got.CreatedAt.UnixNano(), v.Name)
			require.EqualValues(t, want.Files, got.Files, v.Name)
			require.Equal(t, want.Bytes, got.Bytes, v.Name)
			require.Equal(t, string(want.Record), string(got.seal), v.Name)
		}
	}
}

// FuzzState: what parses has one encoding, but for a MANIFEST without a file
// id, which names none.
func FuzzState(f *testing.F) {
	for _, v := range stateVectors(f) {
		f.Add([]byte(v.In.State))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			require.ErrorIs(t, err, corrupt.ErrFormat)
			return
		}
		if s.clean || len(b) == 1 || !s.floor.FileID.IsZero() {
			require.Equal(t, b, s.encode())
		}
	})
}

// FuzzMetadata: what parses has one encoding.
func FuzzMetadata(f *testing.F) {
	for _, v := range metadataVectors(f) {
		f.Add([]byte(v.In.Metadata))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMetadata(b)
		if err != nil {
			require.ErrorIs(t, err, corrupt.ErrCorrupt)
			return
		}
		if b[0] == metadataVersion {
			require.Equal(t, b, m.encode())
		}
	})
}
