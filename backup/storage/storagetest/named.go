package storagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
)

// named is the name that these tests give an object.
func named(sum [sha256.Size]byte) string { return fmt.Sprintf("data/%x/%x", sum[:1], sum) }

// A onceSource fails where it is read twice, or out of order.
type onceSource struct {
	storage.Source
	at int64
}

func (o *onceSource) ReadAt(b []byte, off int64) (int, error) {
	if off != o.at {
		return 0, fmt.Errorf("byte %d is read behind byte %d", off, o.at)
	}
	n, err := o.Source.ReadAt(b, off)
	o.at += int64(n)
	return n, err
}

// testPutNamed is for a storage that is a storage.Namer.
func testPutNamed(t *testing.T, c Config) {
	s, ok := c.New(t).(storage.Namer)
	if !ok {
		return // it has no such promise to keep
	}
	for i, n := range []int{0, 1, 65537, 1<<20 + 1, c.Large} {
		want := Random(uint64(i), n)
		sum, err := s.PutNamed(t.Context(), &onceSource{Source: storage.Bytes(want)}, named)
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256(want), sum)
		require.True(t, bytes.Equal(want, MustGet(t, c.Reopen(t, s), named(sum))), "%d bytes", n)

		again, err := s.PutNamed(t.Context(), storage.Bytes(want), named)
		mustBe(t, s, err, storage.ErrExists, named(sum))
		require.Equal(t, sum, again)
	}
	names := Names(t, s, "")

	// The bytes that are there stay, whatever the name promises.
	fixed := func([sha256.Size]byte) string { return names[0] }
	old := MustGet(t, s, names[0])
	_, err := s.PutNamed(t.Context(), storage.Bytes([]byte("other")), fixed)
	mustBe(t, s, err, storage.ErrExists, names[0])
	require.Equal(t, old, MustGet(t, s, names[0]))

	_, err = s.PutNamed(t.Context(), storage.Bytes([]byte("other")), func([sha256.Size]byte) string { return "../x" })
	mustBe(t, s, err, storage.ErrName, "../x")
	_, err = s.PutNamed(t.Context(), io.NewSectionReader(bytes.NewReader([]byte("short")), 0, 6), named)
	mustBe(t, s, err, storage.ErrSource, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.PutNamed(ctx, storage.Bytes([]byte("late")), named)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, names, Names(t, s, ""), "an object is there that was not put")
	cleaned, err := s.Clean(t.Context(), 0)
	require.NoError(t, err)
	require.Zero(t, cleaned.Files, "something is left of what failed")

	var sums [8][sha256.Size]byte
	errs := atOnce(len(sums), func(i int) (err error) {
		sums[i], err = s.PutNamed(t.Context(), storage.Bytes(Random(99, c.Large)), named)
		return err
	})
	winner(t, errs, storage.ErrExists)
	for _, sum := range sums {
		require.Equal(t, sums[0], sum)
	}
	require.Equal(t, Random(99, c.Large), MustGet(t, s, named(sums[0])))

	require.NoError(t, s.Close())
	_, err = s.PutNamed(t.Context(), storage.Bytes([]byte("closed")), named)
	require.True(t, errors.Is(err, storage.ErrClosed), "%v", err)
}
