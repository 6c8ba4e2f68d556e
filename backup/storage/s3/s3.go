package s3

import (
	"context"
	"crypto/tls"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"

	"github.com/cofredb/cofre/backup/storage"
)

// A Storage is a bucket, or what lies under a prefix in one. It implements
// [storage.Storage].
type Storage struct {
	o        Options
	location string
	client   *s3.Client
	idle     func() // closes connections that are not in use

	open  context.Context // until Close
	close context.CancelCauseFunc
}

var _ storage.Storage = (*Storage)(nil)

// Open makes a client. Nothing is sent but what the chain of credentials needs
// to find a region. The error is [storage.ErrLocation], or [storage.ErrDenied]
// where the configuration of AWS's programs cannot be read.
func Open(ctx context.Context, o Options) (*Storage, error) {
	s := &Storage{location: o.location()}
	s.open, s.close = context.WithCancelCause(context.Background())
	if err := o.check(); err != nil {
		if checkEndpoint(o.Endpoint) != nil {
			s.location = "s3://" + o.Bucket // the endpoint may hold a secret
		}
		return nil, &storage.Error{Op: "open", Location: s.location, Class: storage.ErrLocation, Err: err}
	}
	s.o = o
	client := awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) {
		tr.DialContext = dialer(o.Stall)
		// Progress is watched by connection, so each serves one request at a time.
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		tr.ForceAttemptHTTP2 = false
		tr.MaxIdleConnsPerHost = 64
		tr.DisableCompression = true
	})
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(client),
		config.WithLogger(logging.Nop{}), // it would write to stderr
		config.WithRetryer(func() aws.Retryer { return newRetryer(o) }),
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(o.Profile))
	}
	if o.Credentials != nil {
		load = append(load, config.WithCredentialsProvider(o.Credentials))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, &storage.Error{Op: "open", Location: s.location, Class: storage.ErrDenied, Err: err}
	}
	if cfg.Region == "" {
		if o.Endpoint == "" {
			return nil, &storage.Error{Op: "open", Location: s.location, Class: storage.ErrLocation, Err: errRegion}
		}
		cfg.Region = "us-east-1"
	}
	if cfg.Credentials != nil {
		cfg.Credentials = aws.NewCredentialsCache(&provider{cfg.Credentials})
	}
	s.client = s3.NewFromConfig(cfg, func(so *s3.Options) {
		so.UsePathStyle = o.PathStyle
		if o.Endpoint != "" {
			so.BaseEndpoint = aws.String(o.Endpoint)
		}
	})
	s.idle = func() {
		// The configuration may have changed the client, for a bundle of
		// certificates.
		if c, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
			c.GetTransport().CloseIdleConnections()
		}
	}
	return s, nil
}

// A provider marks what getting credentials has failed with.
type provider struct{ aws.CredentialsProvider }

func (p *provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := p.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return c, &credentialsError{err}
	}
	return c, nil
}

// Location is a URL that ParseLocation reads. It holds no secret.
func (s *Storage) Location() string { return s.location }

// Close ends what runs and closes connections.
func (s *Storage) Close() error {
	s.close(storage.ErrClosed)
	s.idle()
	return nil
}

// begin checks a name, and gives a context that ends when the storage is
// closed too.
func (s *Storage) begin(ctx context.Context, name string) (context.Context, context.CancelFunc, error) {
	if err := storage.CheckName(name); err != nil {
		return nil, nil, err
	}
	return s.watch(ctx)
}

func (s *Storage) watch(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if s.open.Err() != nil {
		return nil, nil, storage.ErrClosed
	}
	if err := storage.Ended(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.open, func() { cancel(storage.ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }, nil
}

// key is an object's key in the bucket.
func (s *Storage) key(name string) *string { return aws.String(s.before() + name) }

// before is what stands before each name.
func (s *Storage) before() string {
	if s.o.Prefix == "" {
		return ""
	}
	return s.o.Prefix + "/"
}

func (s *Storage) sse() types.ServerSideEncryption { return types.ServerSideEncryption(s.o.SSE) }

func (s *Storage) kmsKey() *string {
	if s.o.KMSKeyID == "" {
		return nil
	}
	return aws.String(s.o.KMSKeyID)
}
