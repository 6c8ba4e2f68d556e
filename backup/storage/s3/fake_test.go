package s3_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/s3"
	"github.com/cofredb/cofre/backup/storage/s3test"
	"github.com/cofredb/cofre/backup/storage/storagetest"
)

func openFake(t testing.TB, f *s3test.Fake) storage.Storage {
	return open(t, s3.Options{Endpoint: f.Endpoint, Bucket: s3test.FakeBucket})
}

// TestConformancePoor: a server that keeps no checksums and no metadata will
// do; what it has is read back.
func TestConformancePoor(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, storagetest.Config{
		New: func(t testing.TB) storage.Storage {
			f := s3test.NewFake(t)
			f.NoChecksums, f.NoMetadata = true, true
			return openFake(t, f)
		},
		Reopen: func(t testing.TB, s storage.Storage) storage.Storage { return again(t, s3.Options{}, s) },
		Large:  large,
	})
}

// TestDamaged: a server that stores other bytes than it was sent is found out,
// and what it has stored does not stay.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(b []byte) []byte{
		"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"cut":     func(b []byte) []byte { return b[:len(b)-1] },
		// As of one that stores the framing of chunks.
		"framed": func(b []byte) []byte { return append([]byte("10000;chunk-signature=00\r\n"), b...) },
		"zeroed": func(b []byte) []byte { clear(b); return b },
	} {
		for _, metadata := range []bool{true, false} {
			for _, n := range []int{1000, large} {
				if testing.Short() && n == large && name != "flipped" {
					continue
				}
				f := s3test.NewFake(t)
				f.NoChecksums, f.NoMetadata, f.Damage = true, !metadata, damage
				s := openFake(t, f)
				for op, put := range map[string]func() error{
					"put":     func() error { return s.Put(t.Context(), "a", storage.Bytes(storagetest.Random(1, n))) },
					"replace": func() error { return s.Replace(t.Context(), "a", storage.Bytes(storagetest.Random(1, n))) },
				} {
					require.ErrorIs(t, put(), storage.ErrDamaged, "%s: %s", name, op)
					if metadata {
						require.Empty(t, storagetest.Names(t, s, ""))
					}
					require.NoError(t, s.Delete(t.Context(), "a"))
				}
			}
		}
	}
	// So is one that stores nothing.
	f := s3test.NewFake(t)
	f.Forget = true
	s := openFake(t, f)
	require.ErrorIs(t, s.Put(t.Context(), "a", storage.Bytes(nil)), storage.ErrDamaged)
	require.ErrorIs(t, s.Put(t.Context(), "a", storage.Bytes(storagetest.Random(1, large))), storage.ErrDamaged)
}

func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	f := s3test.NewFake(t)
	s := openFake(t, f)
	storagetest.MustPut(t, s, "a", []byte("12345"))
	storagetest.MustPut(t, s, "b", []byte("12345"))
	f.Descending, f.NoRanges = true, true
	var err error
	for _, err = range s.List(t.Context(), "") {
	}
	require.ErrorIs(t, err, storage.ErrAnswer)
	_, err = s.Get(t.Context(), "a", 1, 2)
	require.ErrorIs(t, err, storage.ErrAnswer)
	_, err = s.Get(t.Context(), "a", 0, 2)
	require.ErrorIs(t, err, storage.ErrAnswer)
}

// TestReplacedWhileRead: a reader that has to fetch on does not mix two
// objects.
func TestReplacedWhileRead(t *testing.T) {
	t.Parallel()
	f := s3test.NewFake(t)
	proxy := s3test.NewProxy(t, f.Endpoint)
	s := open(t, s3.Options{Endpoint: proxy.Endpoint, Bucket: s3test.FakeBucket})
	old := storagetest.Random(1, large)
	storagetest.MustPut(t, s, "a", old)
	proxy.Set(once(s3test.CutBody))
	r, err := s.Get(t.Context(), "a", 0, -1)
	require.NoError(t, err)
	proxy.Set(nil)
	require.NoError(t, s.Replace(t.Context(), "a", storage.Bytes(storagetest.Random(2, large))))
	got, err := io.ReadAll(r)
	require.ErrorIs(t, err, storage.ErrConflict)
	require.True(t, bytes.HasPrefix(old, got))
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, storage.ErrConflict, "an error of a reader stays")
	require.NoError(t, r.Close())
}

// TestCleanAge: Clean lets uploads be that are not old, and those of others.
func TestCleanAge(t *testing.T) {
	t.Parallel()
	f := s3test.NewFake(t)
	proxy := s3test.NewProxy(t, f.Endpoint)
	o := s3.Options{Endpoint: proxy.Endpoint, Bucket: s3test.FakeBucket, Attempts: 2, MaxBackoff: time.Millisecond}
	s := open(t, o)
	broken := errors.New("broken")
	src := &failing{storage.Bytes(storagetest.Random(1, large)), broken}
	require.ErrorIs(t, s.Put(t.Context(), "a", src), broken)
	require.Zero(t, f.Uploads(), "the upload was not undone")

	proxy.Set(func(r *http.Request) s3test.Fault {
		if r.Method == http.MethodDelete {
			return s3test.Error500
		}
		return s3test.Pass
	})
	require.ErrorIs(t, s.Put(t.Context(), "a", src), broken)
	o.Prefix = "another"
	other := open(t, o)
	require.ErrorIs(t, other.Put(t.Context(), "a", src), broken)
	proxy.Set(nil)
	require.Equal(t, 2, f.Uploads())
	for _, tc := range []struct {
		s    storage.Storage
		age  time.Duration
		want int
	}{{s, 2 * time.Hour, 0}, {other, time.Minute, 1}, {other, 0, 0}} {
		cleaned, err := tc.s.Clean(t.Context(), tc.age)
		require.NoError(t, err)
		require.Equal(t, tc.want, cleaned.Files)
		f.Age(time.Hour)
	}
	require.Equal(t, 1, f.Uploads())
}

type failing struct {
	storage.Source
	err error
}

func (f *failing) ReadAt(b []byte, off int64) (int, error) {
	if off > 6<<20 {
		return 0, f.err
	}
	return f.Source.ReadAt(b, off)
}

// TestNoServer: nobody listens.
func TestNoServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	endpoint := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	s := open(t, s3.Options{Endpoint: endpoint, Bucket: s3test.FakeBucket, Attempts: 3, MaxBackoff: time.Millisecond})
	_, err = s.Stat(t.Context(), "a")
	require.ErrorIs(t, err, storage.ErrUnreachable)
}

// TestDialTimeout: a server whose host does not answer at all. The system's
// error of such a dial is that of a context as well.
func TestDialTimeout(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	s := open(t, s3.Options{Endpoint: "http://" + l.Addr().String(), Bucket: s3test.FakeBucket, Attempts: 3, MaxBackoff: time.Millisecond, Stall: time.Nanosecond})
	_, err = s.Stat(t.Context(), "a")
	require.ErrorIs(t, err, storage.ErrUnreachable)
	require.ErrorContains(t, err, "attempts, 3")
}

func TestOptions(t *testing.T) {
	t.Parallel()
	good := s3.Options{Bucket: "some-bucket", Region: "x"}
	for i, change := range []func(*s3.Options){
		func(o *s3.Options) { o.Bucket = "" },
		func(o *s3.Options) { o.Bucket = "a/b" },
		func(o *s3.Options) { o.Prefix = "/a" },
		func(o *s3.Options) { o.Prefix = "a/" },
		func(o *s3.Options) { o.Endpoint = "example.com:9000" },
		func(o *s3.Options) { o.Endpoint = "https://user:hunter2@example.com" },
		func(o *s3.Options) { o.SSE = "aws:kms:dsse" },
		func(o *s3.Options) { o.KMSKeyID = "x" },
		func(o *s3.Options) { o.PartSize = 5<<20 - 1 },
		func(o *s3.Options) { o.PartSize = 6 << 30 },
		func(o *s3.Options) { o.Parallel = -1 },
		func(o *s3.Options) { o.Parallel = 65 },
		func(o *s3.Options) { o.Attempts = -1 },
		func(o *s3.Options) { o.MaxBackoff = -1 },
		func(o *s3.Options) { o.Stall = -1 },
		func(o *s3.Options) { o.ListPage = 1001 },
	} {
		o := good
		change(&o)
		_, err := s3.Open(t.Context(), o)
		require.ErrorIs(t, err, storage.ErrLocation, "%d", i)
		require.NotContains(t, err.Error(), "hunter2")
	}
	s, err := s3.Open(t.Context(), good)
	require.NoError(t, err)
	require.Equal(t, "s3://some-bucket?region=x", s.Location())
	require.NoError(t, s.Close())
}

// TestNoCredentials: the chain finds nothing.
func TestNoCredentials(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	_, err := s3.Open(t.Context(), s3.Options{Bucket: "some-bucket"})
	require.ErrorIs(t, err, storage.ErrLocation)
	require.ErrorContains(t, err, "AWS_REGION")
	f := s3test.NewFake(t)
	s, err := s3.Open(t.Context(), s3.Options{Bucket: s3test.FakeBucket, Endpoint: f.Endpoint, PathStyle: true})
	require.NoError(t, err)
	defer s.Close()
	_, err = s.Stat(t.Context(), "a")
	require.ErrorIs(t, err, storage.ErrDenied)
}
