package wal

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/keyring"
)

// TestSynced tells how far a log is durable, and a reader of just that tells the same.
func TestSynced(t *testing.T) {
	t.Parallel()
	now := testNow()
	clock := func() time.Time { now = now.Add(time.Second); return now }
	f, key := &memFile{}, newKey()
	id := testIdentity()
	w, err := NewWriter(f, id, key, Past{}, Options{Now: clock})
	require.NoError(t, err)
	require.Zero(t, w.Synced())
	require.NoError(t, w.Sync())
	_, err = w.Write([]byte("synced"))
	require.NoError(t, err)
	require.NoError(t, w.SyncData())
	e := w.Synced()
	frames, physical := w.Committed()
	own := KeyUse{ID: id.FileID, Version: key.Version, Wrapped: key.Wrapped}
	require.Equal(t, Extent{
		Frames: frames, Bytes: physical, Keys: []KeyUse{own},
		First: testNow().Add(time.Second).UTC(), Last: testNow().Add(2 * time.Second).UTC(),
	}, e)
	_, err = w.Write([]byte("not synced"))
	require.NoError(t, err)
	require.Equal(t, e, w.Synced())

	next := &keyring.DataKey{Key: keyring.RandomSecret(), Version: 2}
	nextID := keyring.NewID()
	require.NoError(t, w.Rekey(nextID, next))
	_, err = w.Write([]byte("under another key"))
	require.NoError(t, err)
	require.NoError(t, w.Sync())
	e = w.Synced()
	require.Equal(t, []KeyUse{own, {ID: nextID, Version: 2, Wrapped: next.Wrapped}}, e.Keys)
	require.EqualValues(t, 6, e.Frames)
	require.Equal(t, testNow().Add(6*time.Second).UTC(), e.Last)

	_, err = w.Write([]byte("more"))
	require.NoError(t, err)
	h, err := keyring.ParseHeader(f.b[:keyring.HeaderLen])
	require.NoError(t, err)
	r, err := NewReader(&memFile{b: bytes.Clone(f.b)}, int64(len(f.b)), h, key.Key, ReaderOptions{Limit: e.Bytes, Key: func(keyring.ID, uint32, []byte) (*keyring.Secret, error) {
		return next.Key.Clone(), nil
	}})
	require.NoError(t, err)
	for err == nil {
		_, err = r.Next()
	}
	require.Equal(t, io.EOF, err)
	require.Equal(t, e, r.Extent())
}
