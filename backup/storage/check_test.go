package storage_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/dir"
	"github.com/cofredb/cofre/backup/storage/s3"
	"github.com/cofredb/cofre/backup/storage/s3test"
	"github.com/cofredb/cofre/backup/storage/storagetest"
)

const large = 11 << 20

func openFake(t *testing.T, f *s3test.Fake) storage.Storage {
	s, err := s3.Open(t.Context(), s3.Options{
		Bucket: s3test.FakeBucket, Endpoint: f.Endpoint, PathStyle: true, Region: "us-east-1", PartSize: 5 << 20,
		Credentials: credentials.NewStaticCredentialsProvider("some-key", "some-secret", ""), MaxBackoff: time.Millisecond,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// broken runs a check and returns which promises are broken.
func broken(t *testing.T, s storage.Storage) []string {
	var promises []string
	n := 0
	err := storage.Check(t.Context(), s, storage.CheckOptions{Large: large, Report: func(f storage.Finding) {
		require.NotEmpty(t, f.Promise)
		require.NotEmpty(t, f.Matters)
		n++
		if f.Err != nil {
			promises = append(promises, f.Promise)
		}
	}})
	require.Equal(t, 15, n)
	if promises == nil {
		require.NoError(t, err)
	} else {
		require.ErrorIs(t, err, storage.ErrBroken)
	}
	return promises
}

func TestCheckGood(t *testing.T) {
	t.Parallel()
	d, err := dir.Open(t.TempDir(), dir.Options{})
	require.NoError(t, err)
	defer d.Close()
	for name, s := range map[string]storage.Storage{
		"dir": d, "fake": openFake(t, s3test.NewFake(t)),
	} {
		storagetest.MustPut(t, s, "mine/object", []byte("x"))
		require.Empty(t, broken(t, s), name)
		require.Equal(t, []string{"mine/object"}, storagetest.Names(t, s, ""), "what the check has put is left")
	}
}

func TestCheckServer(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	o, err := s3.ParseLocation(s3test.Location(server.Endpoint, server.NewBucket(t), "x"))
	require.NoError(t, err)
	o.Credentials, o.PartSize = server.Credentials(), 5<<20
	s, err := s3.Open(t.Context(), o)
	require.NoError(t, err)
	defer s.Close()
	require.Empty(t, broken(t, s))
	require.Empty(t, storagetest.Names(t, s, ""))
}

// TestCheckBad breaks promises, one at a time: the check names them.
func TestCheckBad(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ill  func(f *s3test.Fake)
		want []string
	}{
		"conditions": {func(f *s3test.Fake) { f.NoConditions = true }, []string{
			"a name that is taken is not put to",
			"of several puts of a name at once one succeeds",
			"a register is swapped only by who knows its version",
			"of several swaps of a register at once one succeeds",
		}},
		// Every read asks for a range.
		"ranges": {func(f *s3test.Fake) { f.NoRanges = true }, []string{
			"an object that was put is read back",
			"a name may have every character that is allowed",
			"a name that is taken is not put to",
			"of several puts of a name at once one succeeds",
			"what replaces an object is read back",
			"a range is what was asked for",
			"a large object is read back byte for byte",
			"a register is swapped only by who knows its version",
			"of several swaps of a register at once one succeeds",
		}},
		"order": {func(f *s3test.Fake) { f.Descending = true }, []string{"an object that was put is listed at once, in order", "what was put can be removed"}},
		"damage": {func(f *s3test.Fake) {
			f.Damage = func(b []byte) []byte {
				if len(b) > 1<<20 {
					b[1000] ^= 1
				}
				return b
			}
			f.NoChecksums = true
		}, []string{"a large object is read back byte for byte"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := s3test.NewFake(t)
			tc.ill(f)
			s := openFake(t, f)
			require.Equal(t, tc.want, broken(t, s))
		})
	}
}

// TestCheckCancelled: a check that is ended leaves nothing.
func TestCheckCancelled(t *testing.T) {
	t.Parallel()
	s, err := dir.Open(t.TempDir(), dir.Options{})
	require.NoError(t, err)
	defer s.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	err = storage.Check(ctx, s, storage.CheckOptions{Large: 1000, Report: func(f storage.Finding) {
		if f.Promise == "a range is what was asked for" {
			cancel(why)
		}
	}})
	require.ErrorIs(t, err, why)
	require.NotErrorIs(t, err, storage.ErrBroken)
	require.Empty(t, storagetest.Names(t, s, ""))
}

// TestCheckNothing: a storage of which nothing can be had is told of at once,
// by its error.
func TestCheckNothing(t *testing.T) {
	t.Parallel()
	s, err := dir.Open(t.TempDir(), dir.Options{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	n := 0
	err = storage.Check(t.Context(), s, storage.CheckOptions{Report: func(storage.Finding) { n++ }})
	require.ErrorIs(t, err, storage.ErrClosed)
	require.NotErrorIs(t, err, storage.ErrBroken)
	require.Equal(t, 1, n)
}
