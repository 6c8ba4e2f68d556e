// Package locate opens the storage that a location names. A program that links
// it links the client of S3; one that only uses directories takes package dir.
//
//	/mnt/backup/clinic, file:///mnt/backup/clinic    a directory
//	s3://bucket/prefix?region=eu-west-1              a bucket of AWS
//	s3://bucket/prefix?endpoint=https://minio.example:9000&path-style=true
//
// Package s3 says what else a location of its kind has. None has credentials.
package locate

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/cofredb/cofre/backup/storage"
	"github.com/cofredb/cofre/backup/storage/dir"
	"github.com/cofredb/cofre/backup/storage/s3"
)

// Options say how a location is opened.
type Options struct {
	// Create makes a directory that is not there. Buckets are never made.
	Create bool
	// S3 may change what the location says of a bucket, and say what it does
	// not; nil changes nothing.
	S3 func(*s3.Options)
}

// Open opens a storage. It fails with [storage.ErrLocation] where the location
// cannot be understood, and with what [dir.Open] and [s3.Open] fail with.
func Open(ctx context.Context, location string, o Options) (storage.Storage, error) {
	scheme, _, isURL := strings.Cut(location, "://")
	switch {
	case location == "":
		return nil, malformed("", "it is empty")
	case !isURL:
		return opened(dir.Open(location, dir.Options{Create: o.Create}))
	case scheme == "file":
		path, err := filePath(location)
		if err != nil {
			return nil, err
		}
		return opened(dir.Open(path, dir.Options{Create: o.Create}))
	case scheme == "s3":
		so, err := s3.ParseLocation(location)
		if err != nil {
			return nil, err
		}
		if o.S3 != nil {
			o.S3(&so)
		}
		return opened(s3.Open(ctx, so))
	}
	return nil, malformed("", "it is a path, or begins with file:// or s3://")
}

// opened keeps a nil of a type from becoming a Storage that is not nil.
func opened[S storage.Storage](s S, err error) (storage.Storage, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// filePath is the path that a file URL names.
func filePath(location string) (string, error) {
	u, err := url.Parse(location)
	switch {
	case err != nil:
		return "", malformed("file://…", "not a URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", malformed("file://…", "a file URL has a path and nothing else; '?', '#' and '%' are written %3F, %23 and %25")
	case u.Host != "" && u.Host != "localhost" || !strings.HasPrefix(u.Path, "/"):
		return "", malformed("file://…", "the path is absolute: file:///PATH")
	}
	path := u.Path
	if filepath.VolumeName(path[1:]) != "" { // file:///C:/backup
		path = path[1:]
	}
	return filepath.FromSlash(path), nil
}

// malformed does not repeat a location that may hold a secret.
func malformed(location, why string) error {
	return &storage.Error{Op: "open", Location: location, Class: storage.ErrLocation, Err: errors.New(why)}
}
