package locate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/s3"
)

func TestDirectory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b%c", "repository")
	_, err := Open(t.Context(), path, Options{})
	require.ErrorIs(t, err, storage.ErrNotFound)
	for _, location := range []string{path, "file://" + strings.ReplaceAll(path, "%", "%25"), "file://localhost" + strings.ReplaceAll(path, "%", "%25")} {
		s, err := Open(t.Context(), location, Options{Create: true})
		require.NoError(t, err)
		require.Equal(t, path, s.Location())
		again, err := Open(t.Context(), s.Location(), Options{})
		require.NoError(t, err)
		require.NoError(t, again.Close())
		require.NoError(t, s.Close())
	}
	require.DirExists(t, path)
}

func TestBucket(t *testing.T) {
	t.Parallel()
	location := "s3://some-bucket/a/b?endpoint=https%3A%2F%2Fminio.example%3A9000&path-style=true&region=eu-west-1"
	called := false
	s, err := Open(t.Context(), location, Options{S3: func(o *s3.Options) {
		require.Equal(t, s3.Options{Bucket: "some-bucket", Prefix: "a/b", Endpoint: "https://minio.example:9000", PathStyle: true, Region: "eu-west-1"}, *o)
		called = true
	}})
	require.NoError(t, err)
	require.True(t, called)
	require.Equal(t, location, s.Location())
	require.NoError(t, s.Close())
}

// TestMalformed: no location that is refused shows its secret in the error, and
// nothing is made for it.
func TestMalformed(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, location := range []string{
		"",
		"http://hunter2@example.com/x",
		"ftp://example.com/hunter2",
		"S3://bucket-name/hunter2",
		"file://user:hunter2@localhost/x",
		"file://host/x",
		"file://x",
		"file:///x?y=hunter2",
		"file:///x%zz",
		"s3://user:hunter2@bucket-name/x",
		"s3://bucket-name/x?secret=hunter2",
		"s3://bucket-name/x?region=a&region=hunter2",
		"s3://bucket-name/x?path-style=hunter2",
		"s3://bucket-name/x?endpoint=https://user:hunter2@example.com",
		"s3://bucket-name/x?endpoint=https://example.com/%3Fkey%3Dhunter2",
		"s3://bucket-name/x?endpoint=ftp://hunter2",
		"s3://bucket-name/x?sse=none",
		"s3://bucket-name/x?kms-key-id=1",
		"s3://bucket-name/a//b",
		"s3://bucket-name/../b",
		"s3://bucket-name/a%20b",
		"s3://bucket-name/" + strings.Repeat("x/", 250) + "x",
		"s3://Bucket/x",
		"s3://b/x",
		"s3:///x",
		"s3://bucket-name/x#hunter2",
	} {
		_, err := Open(t.Context(), location, Options{Create: true})
		require.ErrorIs(t, err, storage.ErrLocation, location)
		require.NotContains(t, err.Error(), "hunter2")
	}
	made, err := os.ReadDir(".")
	require.NoError(t, err)
	require.Empty(t, made)
}
