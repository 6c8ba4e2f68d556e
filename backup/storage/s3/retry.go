package s3

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
)

// newRetryer decides by one rule which failures are tried again. Attempts are
// counted by request; there is no budget that requests share, since a backup
// that sends many at once would soon have spent it.
func newRetryer(o Options) aws.Retryer {
	return retry.NewStandard(func(so *retry.StandardOptions) {
		so.MaxAttempts = o.Attempts
		so.MaxBackoff = o.MaxBackoff
		so.Backoff = retry.NewExponentialJitterBackoff(o.MaxBackoff)
		so.RateLimiter = ratelimit.None
		so.Retryables = []retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			return aws.BoolTernary(retryable(err))
		})}
	})
}

// retryCodes are refusals that may turn out otherwise the next time: of bodies
// that were damaged on the way, of requests that came too slowly or too often,
// or beside others.
var retryCodes = map[string]bool{
	"BadDigest":                   true,
	"XAmzContentSHA256Mismatch":   true,
	"XAmzContentChecksumMismatch": true,
	"IncompleteBody":              true,
	"RequestTimeout":              true,
	"SlowDown":                    true,
	"Throttling":                  true,
	"ThrottlingException":         true,
	"RequestLimitExceeded":        true,
	"TooManyRequests":             true,
	"ConditionalRequestConflict":  true,
	"OperationAborted":            true,
	"InternalError":               true,
	"ServiceUnavailable":          true,
}

// retryable tells whether a failed request may be sent again. Every request is
// safe to repeat: objects are immutable, conditions tell who came first.
func retryable(err error) bool {
	var (
		source  *sourceError
		creds   *credentialsError
		damaged *answerError
		cancel  interface{ CanceledError() bool }
		skew    interface{ RetryableError() bool }
	)
	switch {
	case errors.As(err, &source), errors.As(err, &creds), errors.As(err, &damaged),
		errors.As(err, &cancel) && cancel.CanceledError():
		// A context that has ended is the last of these. Its own errors do not
		// tell: a dial that takes too long is context.DeadlineExceeded as well.
		return false
	case errors.As(err, &skew) && skew.RetryableError():
		return true // a clock that is off, which the client now corrects
	}
	var api smithy.APIError
	if errors.As(err, &api) && retryCodes[api.ErrorCode()] {
		return true
	}
	switch status := statusOf(err); {
	case status == 408, status == 429:
		return true
	case status == 501, status == 507:
		return false
	case status >= 500:
		return true
	case status >= 300:
		return false
	}
	// No answer, or none that can be understood.
	return true
}

// statusOf is the status of the answer that err tells of, or 0.
func statusOf(err error) int {
	var v interface{ HTTPStatusCode() int }
	if errors.As(err, &v) {
		return v.HTTPStatusCode()
	}
	return 0
}

// pause waits before the n-th try, from 0, of what is not one request.
func (s *Storage) pause(ctx context.Context, n int) error {
	d, err := retry.NewExponentialJitterBackoff(s.o.MaxBackoff).BackoffDelay(n, nil)
	if err != nil {
		return err
	}
	return wait(ctx, d)
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
