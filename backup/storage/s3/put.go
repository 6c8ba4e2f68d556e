package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/cofredb/cofre/backup/storage"
)

// idKey is where an object's metadata has the id of its upload.
const idKey = "cofre-upload"

// An upload is one Put or Replace.
type upload struct {
	s       *Storage
	name    string
	src     storage.Source
	replace bool
	id      string // random
	sum     string // checksum that the object should have, once it was sent
}

// Put makes an object, durably.
func (s *Storage) Put(ctx context.Context, name string, src storage.Source) error {
	return s.upload(ctx, "put", &upload{s: s, name: name, src: src})
}

// Replace makes an object, durably, in the place of one that may be there.
func (s *Storage) Replace(ctx context.Context, name string, src storage.Source) error {
	return s.upload(ctx, "replace", &upload{s: s, name: name, src: src, replace: true})
}

func (s *Storage) upload(ctx context.Context, op string, u *upload) error {
	opened, cancel, err := s.begin(ctx, u.name)
	if err != nil {
		return s.fail(ctx, op, u.name, err)
	}
	defer cancel()
	u.id = rand.Text()
	switch size := u.src.Size(); {
	case size < 0 || size > storage.MaxObject:
		err = storage.ErrTooLarge
	case size <= s.o.PartSize:
		err = u.whole(opened)
	default:
		err = u.inParts(opened)
	}
	if err == nil {
		err = u.confirm(opened)
	}
	return s.fail(opened, op, u.name, err)
}

// whole sends the object in one request.
func (u *upload) whole(ctx context.Context) error {
	b, err := newBody(ctx, u.src, 0, u.src.Size())
	if err != nil {
		return err
	}
	u.sum = *b.base64()
	_, err = u.s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:               &u.s.o.Bucket,
		Key:                  u.s.key(u.name),
		Body:                 b,
		ContentLength:        aws.Int64(b.Size()),
		ContentType:          aws.String("application/octet-stream"),
		IfNoneMatch:          u.condition(),
		ChecksumSHA256:       b.base64(),
		Metadata:             map[string]string{idKey: u.id},
		ServerSideEncryption: u.s.sse(),
		SSEKMSKeyId:          u.s.kmsKey(),
	}, b.signed)
	return u.settle(ctx, b.fault(err))
}

// condition is that of a request that makes an object.
func (u *upload) condition() *string {
	if u.replace {
		return nil
	}
	return aws.String("*")
}

// settle judges the failure of a request that may have made the object: an
// attempt whose answer got lost makes the next find the name taken, by us.
func (u *upload) settle(ctx context.Context, err error) error {
	if statusOf(err) != 412 && !isCode(err, "NoSuchUpload") {
		return err
	}
	head, herr := u.s.head(ctx, u.name)
	switch {
	case herr == nil && head.Metadata[idKey] == u.id:
		return nil
	case herr == nil && !u.replace:
		return storage.ErrExists
	case herr != nil && statusOf(herr) != 404:
		return herr
	}
	// Who had the name has left it since, or a server has lost the upload.
	return errors.Join(storage.ErrUnreachable, err)
}

func (s *Storage) head(ctx context.Context, name string) (*s3.HeadObjectOutput, error) {
	return s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.o.Bucket, Key: s.key(name), ChecksumMode: types.ChecksumModeEnabled})
}

// confirm compares what the server says it has stored with what was sent.
func (u *upload) confirm(ctx context.Context) error {
	head, err := u.s.head(ctx, u.name)
	if statusOf(err) == 404 {
		return damaged("the server has taken the object, and has none")
	}
	if err != nil {
		return err
	}
	mine := head.Metadata[idKey] == u.id
	size := aws.ToInt64(head.ContentLength)
	if mine && size == u.src.Size() && aws.ToString(head.ChecksumSHA256) == u.sum {
		return nil
	}
	// Another replaced it at once, or the server keeps no metadata or
	// checksums, or others: the bytes decide.
	equal, err := u.equal(ctx, size)
	if err != nil || equal {
		return err
	}
	if mine {
		if _, err := u.s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &u.s.o.Bucket, Key: u.s.key(u.name)}); err != nil {
			return errors.Join(damaged("of %d bytes that were put the server has %d, and they stay there", u.src.Size(), size), err)
		}
	}
	return damaged("of %d bytes that were put the server has %d, or others", u.src.Size(), size)
}

// equal compares the object with its source, byte for byte.
func (u *upload) equal(ctx context.Context, size int64) (bool, error) {
	if size != u.src.Size() {
		return false, nil
	}
	r, err := u.s.read(ctx, u.name, 0, size)
	if err != nil {
		return false, err
	}
	defer r.Close()
	have, want := buffers.Get().(*[bufferLen]byte), buffers.Get().(*[bufferLen]byte)
	defer buffers.Put(have)
	defer buffers.Put(want)
	for off := int64(0); off < size; {
		n := min(bufferLen, size-off)
		if _, err := io.ReadFull(r, have[:n]); err != nil {
			return false, err
		}
		if err := storage.ReadFullAt(u.src, want[:n], off); err != nil {
			return false, &sourceError{err}
		}
		if string(have[:n]) != string(want[:n]) {
			return false, nil
		}
		off += n
	}
	return true, nil
}
