package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"sync"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/cofredb/cofre/backup/storage"
)

// A body is a part of a source as a request sends it, again and again if it
// must. The client may read it still after the request has failed, so it notes
// for itself that its source is bad.
type body struct {
	*io.SectionReader
	sum [sha256.Size]byte

	mu  sync.Mutex
	err error // of the source; guarded by mu
}

// newBody reads the part once, for its hash.
func newBody(ctx context.Context, src storage.Source, off, n int64) (*body, error) {
	b := &body{SectionReader: io.NewSectionReader(src, off, n)}
	h := sha256.New()
	buf := buffers.Get().(*[bufferLen]byte)
	defer buffers.Put(buf)
	for at := int64(0); at < n; {
		if err := storage.Ended(ctx); err != nil {
			return nil, err
		}
		m := min(bufferLen, n-at)
		if err := storage.ReadFullAt(src, buf[:m], off+at); err != nil {
			return nil, &sourceError{err}
		}
		h.Write(buf[:m])
		at += m
	}
	h.Sum(b.sum[:0])
	return b, nil
}

const bufferLen = 256 << 10

var buffers = sync.Pool{New: func() any { return new([bufferLen]byte) }}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.SectionReader.Read(p)
	if err != nil && err != io.EOF {
		err = &sourceError{err}
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
	}
	return n, err
}

// WriteTo is not to be had: it would pass by Read.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{b})
}

// fault is the source's error, if it has one, or else err.
func (b *body) fault(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil && b.err != nil {
		return b.err
	}
	return err
}

// base64 is the hash as checksums are written.
func (b *body) base64() *string {
	s := base64.StdEncoding.EncodeToString(b.sum[:])
	return &s
}

// signed has the request signed with the hash of its body, which is known. It
// is signed so over TLS too, and the body is sent as it is and not in chunks,
// which not every server understands.
func (b *body) signed(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("CofrePayloadHash", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(v4.SetPayloadHash(ctx, hex.EncodeToString(b.sum[:])), in)
		}), middleware.Before)
	})
}
