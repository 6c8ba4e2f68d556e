package s3

import (
	"context"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cofredb/cofre/backup/storage"
)

// List yields the objects whose names begin with prefix. Keys that can be no
// object's name are passed over.
func (s *Storage) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		opened, cancel, err := s.watch(ctx)
		if err != nil {
			yield(storage.Info{}, s.fail(ctx, "list", prefix, err))
			return
		}
		defer cancel()
		if err := storage.CheckPrefix(prefix); err != nil {
			yield(storage.Info{}, s.fail(ctx, "list", prefix, err))
			return
		}
		if err := s.list(opened, prefix, func(i storage.Info) bool { return yield(i, nil) }); err != nil {
			yield(storage.Info{}, s.fail(opened, "list", prefix, err))
		}
	}
}

func (s *Storage) list(ctx context.Context, prefix string, yield func(storage.Info) bool) error {
	before, last := s.before(), ""
	in := &s3.ListObjectsV2Input{Bucket: &s.o.Bucket, Prefix: aws.String(before + prefix), MaxKeys: aws.Int32(int32(s.o.ListPage))}
	for {
		page, err := s.client.ListObjectsV2(ctx, in)
		if err != nil {
			return err
		}
		for _, object := range page.Contents {
			name, ok := strings.CutPrefix(aws.ToString(object.Key), before)
			switch {
			case !ok || !strings.HasPrefix(name, prefix):
				return &answerError{"the server lists a key that does not have the prefix"}
			case last != "" && name <= last:
				return &answerError{"the server does not list in ascending order"}
			}
			last = name
			if storage.CheckName(name) != nil {
				continue
			}
			if object.Size == nil {
				return &answerError{"the server lists an object without its size"}
			}
			if err := storage.Ended(ctx); err != nil {
				return err
			}
			if !yield(storage.Info{Name: name, Size: *object.Size, Modified: aws.ToTime(object.LastModified)}) {
				return nil
			}
		}
		token := page.NextContinuationToken
		switch {
		case !aws.ToBool(page.IsTruncated):
			return nil
		case aws.ToString(token) == "" || aws.ToString(token) == aws.ToString(in.ContinuationToken):
			return &answerError{"the list does not end"}
		}
		in.ContinuationToken = token
	}
}
