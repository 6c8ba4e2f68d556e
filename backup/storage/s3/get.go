package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cofredb/cofre/backup/storage"
)

// Stat returns what is known of an object.
func (s *Storage) Stat(ctx context.Context, name string) (storage.Info, error) {
	opened, cancel, err := s.begin(ctx, name)
	if err != nil {
		return storage.Info{}, s.fail(ctx, "stat", name, err)
	}
	defer cancel()
	head, err := s.head(opened, name)
	if err == nil && head.ContentLength == nil {
		err = &answerError{"the server tells no size"}
	}
	if err != nil {
		return storage.Info{}, s.fail(opened, "stat", name, err)
	}
	return storage.Info{Name: name, Size: *head.ContentLength, Modified: aws.ToTime(head.LastModified)}, nil
}

// Delete removes an object, durably. In a bucket with versions it is hidden.
func (s *Storage) Delete(ctx context.Context, name string) error {
	opened, cancel, err := s.begin(ctx, name)
	if err != nil {
		return s.fail(ctx, "delete", name, err)
	}
	defer cancel()
	_, err = s.client.DeleteObject(opened, &s3.DeleteObjectInput{Bucket: &s.o.Bucket, Key: s.key(name)})
	if isCode(err, "NoSuchKey") {
		err = nil
	}
	return s.fail(opened, "delete", name, err)
}

// Get opens a range of an object.
func (s *Storage) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	opened, cancel, err := s.begin(ctx, name)
	if err != nil {
		return nil, s.fail(ctx, "get", name, err)
	}
	r, err := s.read(opened, name, offset, length)
	if err != nil {
		defer cancel()
		return nil, s.fail(opened, "get", name, err)
	}
	r.end = cancel
	return r, nil
}

// read opens a range. Its reader's errors are not of an operation yet where
// end is nil.
func (s *Storage) read(ctx context.Context, name string, offset, length int64) (*reader, error) {
	r := &reader{ctx: ctx, s: s, name: name, off: offset, left: length}
	if offset < 0 {
		return nil, storage.ErrRange
	}
	if length != 0 {
		if err := r.open(); !errors.Is(err, errEmpty) {
			return r, err
		}
	}
	// Nothing can be asked for that is of no bytes.
	head, err := s.head(ctx, name)
	if err != nil {
		return nil, err
	}
	if size := aws.ToInt64(head.ContentLength); offset > size || length < 0 && offset != size {
		return nil, storage.ErrRange
	}
	r.left, r.etag = 0, head.ETag
	return r, nil
}

// errEmpty: the range from offset to the end is empty, or begins after it.
var errEmpty = errors.New("empty range")

// A reader reads a range, and opens it again where it broke off. It is used by
// one goroutine.
type reader struct {
	ctx       context.Context
	s         *Storage
	name      string
	off, left int64 // left is negative before the first answer, where all is asked for
	etag      *string
	body      io.ReadCloser // nil while none is open
	failed    int           // times it broke off since bytes came
	err       error         // sticky
	end       context.CancelFunc
}

// open asks for what is left.
func (r *reader) open() error {
	in := &s3.GetObjectInput{Bucket: &r.s.o.Bucket, Key: r.s.key(r.name), IfMatch: r.etag}
	// A range is asked for even where all is wanted: the answer then tells the
	// size of the object beside its own.
	if r.left > 0 && r.left-1 <= math.MaxInt64-r.off {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", r.off, r.off+r.left-1))
	} else {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", r.off))
	}
	out, err := r.s.client.GetObject(r.ctx, in)
	switch {
	case statusOf(err) == 416 && r.left < 0:
		return errEmpty
	case statusOf(err) == 412:
		return storage.ErrConflict
	case err != nil:
		return err
	}
	if err := r.accept(out); err != nil {
		out.Body.Close()
		return err
	}
	r.etag, r.body = out.ETag, out.Body
	return nil
}

// accept checks that the answer is the range that was asked for.
func (r *reader) accept(out *s3.GetObjectOutput) error {
	if out.ContentLength == nil {
		return &answerError{"the server tells no length"}
	}
	n := *out.ContentLength
	if n == 0 && r.off == 0 && r.left < 0 && out.ContentRange == nil {
		r.left = 0 // some send an empty object, which has no range, as a whole
		return nil
	}
	var first, last, total int64
	if _, err := fmt.Sscanf(aws.ToString(out.ContentRange), "bytes %d-%d/%d", &first, &last, &total); err != nil {
		return &answerError{"the server ignores the range, or does not say which it sends"}
	}
	if r.left < 0 {
		r.left = max(total-r.off, 0)
	}
	switch {
	case total < r.off || total-r.off < r.left:
		return storage.ErrRange
	case first != r.off || last-first+1 != n || n != r.left:
		return &answerError{fmt.Sprintf("the server sends %d bytes, from %d to %d, and %d were asked for from %d on", n, first, last, r.left, r.off)}
	}
	return nil
}

func (r *reader) Read(b []byte) (int, error) {
	for {
		switch {
		case r.err != nil:
			return 0, r.err
		case r.left == 0:
			return 0, io.EOF
		case len(b) == 0:
			return 0, nil
		}
		// What has arrived already would be read on.
		if ended := storage.Ended(r.ctx); ended != nil {
			return 0, r.fail(ended)
		}
		if r.body == nil {
			if err := r.open(); err != nil {
				return 0, r.fail(err)
			}
		}
		n, err := r.body.Read(b[:min(int64(len(b)), r.left)])
		r.off += int64(n)
		r.left -= int64(n)
		if n > 0 {
			r.failed = 0
		}
		if r.left == 0 {
			err = nil
		}
		if err != nil {
			if err := r.again(err); err != nil {
				r.fail(err)
			}
		}
		if n > 0 {
			return n, nil
		}
	}
}

// again prepares for the next try after a body broke off.
func (r *reader) again(err error) error {
	_ = r.body.Close() // of what has failed
	r.body = nil
	if ended := storage.Ended(r.ctx); ended != nil {
		return ended
	}
	if r.etag == nil {
		return fmt.Errorf("%w; there is no ETag to go on by", err)
	}
	if r.failed++; r.failed >= r.s.o.Attempts {
		return fmt.Errorf("body broke off %d times: %s", r.failed, strings.ReplaceAll(err.Error(), "EOF", "end"))
	}
	return r.s.pause(r.ctx, r.failed-1)
}

func (r *reader) fail(err error) error {
	r.err = r.s.fail(r.ctx, "read", r.name, err)
	return r.err
}

func (r *reader) Close() error {
	if r.end != nil {
		r.end()
	}
	if r.body != nil {
		_ = r.body.Close() // it is cancelled, which is what it will say
		r.body = nil
	}
	if r.err == nil {
		r.err = r.s.fail(r.ctx, "read", r.name, storage.ErrClosed)
	}
	return nil
}
