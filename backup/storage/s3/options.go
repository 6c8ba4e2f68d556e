package s3

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/cofredb/cofre/backup/storage"
)

// Options say which bucket is used, and how. Zero values are the defaults.
type Options struct {
	// Bucket is its name. It must be there.
	Bucket string
	// Prefix stands before each object's name, with a slash between; "" is none.
	Prefix string
	// Region is that of the bucket; "" is what the chain says, or us-east-1
	// where Endpoint is set and it says nothing.
	Region string
	// Endpoint is the server's URL, such as https://minio.example:9000; "" is
	// AWS.
	Endpoint string
	// PathStyle puts the bucket into the path of requests, not into the name
	// of the host.
	PathStyle bool
	// Profile of the shared configuration files; "" is what AWS_PROFILE says.
	Profile string
	// Credentials replace the usual chain; nil is the chain.
	Credentials aws.CredentialsProvider

	// SSE asks for encryption by the server: "AES256" or "aws:kms"; "" is what
	// the bucket does by default.
	SSE string
	// KMSKeyID is the key of aws:kms; "" is the account's.
	KMSKeyID string

	// PartSize is how many bytes larger objects are sent at a time; 0 is 16
	// MiB. At least 5 MiB; objects of more than 10,000 parts get larger ones.
	PartSize int64
	// Parallel is how many parts of one object are sent at once; 0 is 4.
	Parallel int
	// Attempts is how often a request is sent before the storage counts as
	// unreachable; 0 is 8.
	Attempts int
	// MaxBackoff bounds the wait between two attempts; 0 is 20 s.
	MaxBackoff time.Duration
	// Stall is how long a connection may show no progress; 0 is 60 s.
	Stall time.Duration
	// ListPage is how many names are asked for at once; 0 is 1000, the most.
	ListPage int
}

const (
	minPartSize = 5 << 20
	maxPartSize = 5 << 30
	maxParts    = 10_000
	maxPrefix   = 400 // bytes; with a name and a slash within the 1024 of a key
)

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// check fills in defaults and tells what is wrong.
func (o *Options) check() error {
	orDefault(&o.PartSize, 16<<20)
	orDefault(&o.Parallel, 4)
	orDefault(&o.Attempts, 8)
	orDefault(&o.MaxBackoff, 20*time.Second)
	orDefault(&o.Stall, time.Minute)
	orDefault(&o.ListPage, 1000)
	switch {
	case !bucketName(o.Bucket):
		return fmt.Errorf("%q is no name of a bucket", o.Bucket)
	case o.Prefix != "" && (storage.CheckName(o.Prefix) != nil || len(o.Prefix) > maxPrefix):
		return fmt.Errorf("prefix %q: it is made like an object's name, of up to %d bytes", o.Prefix, maxPrefix)
	case o.SSE != "" && o.SSE != "AES256" && o.SSE != "aws:kms":
		return fmt.Errorf("sse is AES256 or aws:kms, not %q", o.SSE)
	case o.KMSKeyID != "" && o.SSE != "aws:kms":
		return fmt.Errorf("kms-key-id is for sse=aws:kms")
	case o.PartSize < minPartSize || o.PartSize > maxPartSize:
		return fmt.Errorf("part size: %d bytes, not %d to %d", o.PartSize, minPartSize, int64(maxPartSize))
	case o.Parallel < 1 || o.Parallel > 64:
		return fmt.Errorf("parallel: %d, not 1 to 64", o.Parallel)
	case o.Attempts < 1 || o.Attempts > 100:
		return fmt.Errorf("attempts: %d, not 1 to 100", o.Attempts)
	case o.MaxBackoff < 0 || o.Stall < 0:
		return fmt.Errorf("a duration is negative")
	case o.ListPage < 1 || o.ListPage > 1000:
		return fmt.Errorf("list page: %d, not 1 to 1000", o.ListPage)
	}
	return checkEndpoint(o.Endpoint)
}

func bucketName(s string) bool {
	return len(s) >= 3 && len(s) <= 63 && s[0] != '.' && s[0] != '-' && !strings.Contains(s, "..") &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}

func checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return fmt.Errorf("endpoint is no URL") // the error would show it
	case u.User != nil:
		return errUserinfo
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("endpoint is not of the form https://HOST:PORT")
	}
	return nil
}

var errUserinfo = fmt.Errorf("a location holds no credentials: give them in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or in a profile")

// ParseLocation reads a location of the form
//
//	s3://BUCKET/PREFIX?endpoint=URL&region=NAME&path-style=true&profile=NAME&sse=KIND&kms-key-id=ID
//
// all but the bucket being optional. The error is [storage.ErrLocation], and
// does not repeat what may be a secret.
func ParseLocation(location string) (Options, error) {
	o, err := parseLocation(location)
	if err == nil {
		checked := o
		err = checked.check()
	}
	if err != nil {
		return Options{}, &storage.Error{Op: "parse", Location: "s3://…", Class: storage.ErrLocation, Err: err}
	}
	return o, nil
}

func parseLocation(location string) (o Options, err error) {
	u, err := url.Parse(location)
	switch {
	case err != nil:
		return o, fmt.Errorf("not a URL")
	case u.User != nil:
		return o, errUserinfo
	case u.Scheme != "s3" || u.Opaque != "" || u.Fragment != "":
		return o, fmt.Errorf("not of the form s3://BUCKET/PREFIX")
	}
	o.Bucket, o.Prefix = u.Host, strings.Trim(u.Path, "/")
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return o, fmt.Errorf("parameters cannot be parsed")
	}
	for key, values := range query {
		if len(values) != 1 {
			return o, fmt.Errorf("parameter %q stands there %d times", key, len(values))
		}
		v := values[0]
		switch key {
		case "endpoint":
			o.Endpoint = v
		case "region":
			o.Region = v
		case "profile":
			o.Profile = v
		case "sse":
			o.SSE = v
		case "kms-key-id":
			o.KMSKeyID = v
		case "path-style":
			if o.PathStyle, err = strconv.ParseBool(v); err != nil {
				return o, fmt.Errorf("path-style is true or false")
			}
		default:
			return o, fmt.Errorf("no parameter has the name %q", key)
		}
	}
	return o, nil
}

// location is what ParseLocation reads.
func (o *Options) location() string {
	u := url.URL{Scheme: "s3", Host: o.Bucket}
	if o.Prefix != "" {
		u.Path = "/" + o.Prefix
	}
	q := url.Values{}
	for key, v := range map[string]string{
		"endpoint": o.Endpoint, "region": o.Region, "profile": o.Profile, "sse": o.SSE, "kms-key-id": o.KMSKeyID,
	} {
		if v != "" {
			q.Set(key, v)
		}
	}
	if o.PathStyle {
		q.Set("path-style", "true")
	}
	u.RawQuery = q.Encode()
	return u.String()
}
