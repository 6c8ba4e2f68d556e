package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cofredb/cofre/backup/storage"
)

// Load reads a register. Its version is its ETag.
func (s *Storage) Load(ctx context.Context, name string) ([]byte, storage.Version, error) {
	opened, cancel, err := s.begin(ctx, name)
	if err != nil {
		return nil, "", s.fail(ctx, "load", name, err)
	}
	defer cancel()
	b, v, err := s.load(opened, name)
	// Swapped while it was read, which is no fault and soon over.
	for n := 0; errors.Is(err, storage.ErrConflict) && n < s.o.Attempts; n++ {
		b, v, err = s.load(opened, name)
	}
	if err != nil {
		return nil, "", s.fail(opened, "load", name, err)
	}
	return b, v, nil
}

func (s *Storage) load(ctx context.Context, name string) ([]byte, storage.Version, error) {
	r, err := s.read(ctx, name, 0, -1)
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	switch {
	case aws.ToString(r.etag) == "":
		return nil, "", errNoETag
	case r.left > storage.MaxRegister:
		return nil, "", storage.ErrTooLarge
	}
	v := storage.Version(*r.etag)
	b, err := io.ReadAll(r)
	return b, v, err
}

var errNoETag = &answerError{"the server tells no ETag"}

// Swap changes a register by a conditional put.
func (s *Storage) Swap(ctx context.Context, name string, old storage.Version, content []byte) (storage.Version, error) {
	opened, cancel, err := s.begin(ctx, name)
	if err != nil {
		return "", s.fail(ctx, "swap", name, err)
	}
	defer cancel()
	v, err := s.swap(opened, name, old, bytes.Clone(content))
	if err != nil {
		return "", s.fail(opened, "swap", name, err)
	}
	return v, nil
}

func (s *Storage) swap(ctx context.Context, name string, old storage.Version, content []byte) (storage.Version, error) {
	if len(content) > storage.MaxRegister {
		return "", storage.ErrTooLarge
	}
	b, err := newBody(ctx, storage.Bytes(content), 0, int64(len(content)))
	if err != nil {
		return "", err
	}
	id := rand.Text()
	in := &s3.PutObjectInput{
		Bucket:               &s.o.Bucket,
		Key:                  s.key(name),
		Body:                 b,
		ContentLength:        aws.Int64(b.Size()),
		ContentType:          aws.String("application/octet-stream"),
		ChecksumSHA256:       b.base64(),
		Metadata:             map[string]string{idKey: id},
		ServerSideEncryption: s.sse(),
		SSEKMSKeyId:          s.kmsKey(),
	}
	if old == storage.NoVersion {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = aws.String(string(old))
	}
	out, err := s.client.PutObject(ctx, in, b.signed)
	if err == nil {
		if aws.ToString(out.ETag) == "" {
			return "", errNoETag
		}
		return storage.Version(*out.ETag), nil
	}
	if status := statusOf(err); status != 412 && (status != 404 || isCode(err, "NoSuchBucket")) {
		return "", err
	}
	// An attempt of ours may have come through and its answer got lost.
	head, herr := s.head(ctx, name)
	switch {
	case herr == nil && head.Metadata[idKey] == id && aws.ToString(head.ETag) != "":
		return storage.Version(*head.ETag), nil
	case herr != nil && statusOf(herr) != 404:
		return "", herr
	}
	return "", storage.ErrConflict
}
