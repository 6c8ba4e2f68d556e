package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/cofredb/cofre/backup/storage"
)

// undoTimeout bounds the undoing of an upload whose context may have ended.
const undoTimeout = 20 * time.Second

// partSize is that of an object: the option's, or what makes no more parts than
// there can be.
func partSize(size, option int64) int64 {
	least := (size + maxParts - 1) / maxParts
	return max(option, (least+1<<20-1)&^(1<<20-1))
}

// inParts sends the object in parts, which become an object at once.
func (u *upload) inParts(ctx context.Context) error {
	if !u.replace {
		// So much is not sent in vain where the name is taken.
		switch _, err := u.s.head(ctx, u.name); {
		case err == nil:
			return storage.ErrExists
		case statusOf(err) != 404:
			return err
		}
	}
	for n := 0; ; n++ {
		err := u.tryParts(ctx)
		// Another completed, or deleted, an object of this name meanwhile. The
		// server wants the whole upload again.
		if !isCode(err, "ConditionalRequestConflict") || n == u.s.o.Attempts-1 {
			return err
		}
		if err := u.s.pause(ctx, n); err != nil {
			return err
		}
	}
}

func (u *upload) tryParts(ctx context.Context) error {
	created, err := u.s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket:               &u.s.o.Bucket,
		Key:                  u.s.key(u.name),
		ContentType:          aws.String("application/octet-stream"),
		ChecksumAlgorithm:    types.ChecksumAlgorithmSha256,
		Metadata:             map[string]string{idKey: u.id},
		ServerSideEncryption: u.s.sse(),
		SSEKMSKeyId:          u.s.kmsKey(),
	})
	if err != nil {
		return err
	}
	if aws.ToString(created.UploadId) == "" {
		return &answerError{"the server has begun an upload and gives it no id"}
	}
	parts, sums, err := u.sendParts(ctx, created.UploadId)
	if err == nil {
		all := sha256.Sum256(sums)
		u.sum = fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(all[:]), len(parts))
		_, err = u.s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket:          &u.s.o.Bucket,
			Key:             u.s.key(u.name),
			UploadId:        created.UploadId,
			IfNoneMatch:     u.condition(),
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		err = u.settle(ctx, err)
	}
	if err != nil {
		return errors.Join(err, u.s.undo(ctx, *u.s.key(u.name), created.UploadId))
	}
	return nil
}

// sendParts sends a few parts at a time and stops at the first error.
func (u *upload) sendParts(ctx context.Context, id *string) (parts []types.CompletedPart, sums []byte, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	size := u.src.Size()
	length := partSize(size, u.s.o.PartSize)
	count := int((size + length - 1) / length)
	parts = make([]types.CompletedPart, count)
	sums = make([]byte, count*sha256.Size)
	next := make(chan int)
	var senders sync.WaitGroup
	for range min(u.s.o.Parallel, count) {
		senders.Go(func() {
			for i := range next {
				off := int64(i) * length
				part, sum, err := u.sendPart(ctx, id, int32(i+1), off, min(length, size-off))
				if err != nil {
					cancel(err)
					continue
				}
				parts[i] = part
				copy(sums[i*sha256.Size:], sum[:])
			}
		})
	}
	for i := 0; i < count && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	senders.Wait()
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	return parts, sums, nil
}

func (u *upload) sendPart(ctx context.Context, id *string, number int32, off, n int64) (types.CompletedPart, [sha256.Size]byte, error) {
	b, err := newBody(ctx, u.src, off, n)
	if err != nil {
		return types.CompletedPart{}, [sha256.Size]byte{}, err
	}
	out, err := u.s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket:         &u.s.o.Bucket,
		Key:            u.s.key(u.name),
		UploadId:       id,
		PartNumber:     &number,
		Body:           b,
		ContentLength:  aws.Int64(n),
		ChecksumSHA256: b.base64(),
	}, b.signed)
	if err = b.fault(err); err != nil {
		return types.CompletedPart{}, b.sum, err
	}
	if sum := aws.ToString(out.ChecksumSHA256); sum != "" && sum != *b.base64() {
		return types.CompletedPart{}, b.sum, damaged("part %d has another checksum at the server", number)
	}
	return types.CompletedPart{ETag: out.ETag, PartNumber: &number, ChecksumSHA256: b.base64()}, b.sum, nil
}

// undo aborts an upload of ours, although ctx may have ended. A part that is
// still on its way may bring it back, so it is aborted until it is not there.
func (s *Storage) undo(ctx context.Context, key string, id *string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	for n := range 4 {
		there, err := s.abort(ctx, key, id)
		if !there || err != nil {
			return err
		}
		if err := wait(ctx, time.Duration(n+1)*50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil // what is left now is for Clean
}

// abort aborts an upload and tells whether it was there.
func (s *Storage) abort(ctx context.Context, key string, id *string) (bool, error) {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.o.Bucket, Key: &key, UploadId: id})
	if statusOf(err) == 404 {
		return false, nil
	}
	return true, err
}

// Clean aborts uploads in parts, below the prefix, that were begun longer ago
// than age.
func (s *Storage) Clean(ctx context.Context, age time.Duration) (storage.Cleaned, error) {
	var cleaned storage.Cleaned
	opened, cancel, err := s.watch(ctx)
	if err != nil {
		return cleaned, s.fail(ctx, "clean", "", err)
	}
	defer cancel()
	err = s.clean(opened, age, &cleaned)
	return cleaned, s.fail(opened, "clean", "", err)
}

func (s *Storage) clean(ctx context.Context, age time.Duration, cleaned *storage.Cleaned) error {
	in := &s3.ListMultipartUploadsInput{Bucket: &s.o.Bucket, Prefix: aws.String(s.before()), MaxUploads: aws.Int32(int32(s.o.ListPage))}
	for {
		page, err := s.client.ListMultipartUploads(ctx, in)
		if err != nil {
			return err
		}
		for _, up := range page.Uploads {
			if up.Initiated == nil || time.Since(*up.Initiated) < age {
				continue
			}
			there, err := s.abort(ctx, aws.ToString(up.Key), up.UploadId)
			if err != nil {
				return err
			}
			if there {
				cleaned.Files++
			}
			if err := storage.Ended(ctx); err != nil {
				return err
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		if aws.ToString(page.NextKeyMarker) == aws.ToString(in.KeyMarker) && aws.ToString(page.NextUploadIdMarker) == aws.ToString(in.UploadIdMarker) {
			return &answerError{"the list of uploads does not end"}
		}
		in.KeyMarker, in.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
	}
}
