package s3_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/s3"
	"github.com/cofredb/cofre/backup/storage/s3test"
	"github.com/cofredb/cofre/backup/storage/storagetest"
)

const large = 11<<20 + 17 // three parts

func open(t testing.TB, o s3.Options) storage.Storage {
	t.Helper()
	if o.Credentials == nil {
		o.Credentials = credentials.NewStaticCredentialsProvider("some-key", "some-secret", "")
	}
	o.PathStyle = true
	if o.PartSize == 0 {
		o.PartSize = 5 << 20
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 20 * time.Millisecond
	}
	o.Region = "us-east-1"
	s, err := s3.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// again opens what a storage of the tests is, once more.
func again(t testing.TB, o s3.Options, s storage.Storage) storage.Storage {
	t.Helper()
	parsed, err := s3.ParseLocation(s.Location())
	require.NoError(t, err)
	parsed.Credentials, parsed.ListPage = o.Credentials, o.ListPage
	return open(t, parsed)
}

func TestConformanceFake(t *testing.T) {
	t.Parallel()
	o := s3.Options{ListPage: 10}
	storagetest.Run(t, storagetest.Config{
		New: func(t testing.TB) storage.Storage {
			o := o
			o.Endpoint, o.Bucket = s3test.NewFake(t).Endpoint, s3test.FakeBucket
			return open(t, o)
		},
		Reopen: func(t testing.TB, s storage.Storage) storage.Storage { return again(t, o, s) },
		Large:  large,
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	o := s3.Options{ListPage: 10, Endpoint: server.Endpoint, Credentials: server.Credentials()}
	storagetest.Run(t, storagetest.Config{
		New: func(t testing.TB) storage.Storage {
			o := o
			o.Bucket, o.Prefix = server.NewBucket(t), "some/prefix"
			return open(t, o)
		},
		Reopen: func(t testing.TB, s storage.Storage) storage.Storage { return again(t, o, s) },
		Large:  large,
	})
}
