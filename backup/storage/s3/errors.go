package s3

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/smithy-go"

	"github.com/cofredb/cofre/backup/storage"
)

var errRegion = errors.New("no region is known: give region=NAME in the location, or set AWS_REGION")

// sourceError is what reading of a source has failed with.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// credentialsError is what getting credentials has failed with.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return "no credentials: " + e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// answerError says that an answer is not one to the request.
type answerError struct{ what string }

func (e *answerError) Error() string { return e.what }

// Unwrap gives storage.ErrAnswer.
func (e *answerError) Unwrap() error { return storage.ErrAnswer }

// fail makes an error of an operation, nil of nil. ctx is that of the
// operation, which may have ended for a reason of its own.
func (s *Storage) fail(ctx context.Context, op, name string, err error) error {
	var done *storage.Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	class := classOf(err)
	if ended := storage.Ended(ctx); ended != nil && class != storage.ErrSource {
		// What the client says of it is the same in more words.
		err, class = ended, nil
		if errors.Is(ended, storage.ErrClosed) {
			class = storage.ErrClosed
		}
	}
	if err == class {
		err = nil
	}
	return &storage.Error{Op: op, Location: s.location, Name: name, Class: class, Err: err}
}

// classOf is the class of an error while no context has ended.
func classOf(err error) error {
	var (
		source *sourceError
		creds  *credentialsError
		api    smithy.APIError
	)
	if errors.As(err, &source) {
		return storage.ErrSource
	}
	for _, class := range []error{
		storage.ErrClosed, storage.ErrName, storage.ErrTooLarge, storage.ErrRange, storage.ErrDamaged, storage.ErrAnswer,
		storage.ErrConflict, storage.ErrExists, storage.ErrNotFound, storage.ErrUnsupported, storage.ErrLocation,
	} {
		if errors.Is(err, class) {
			return class
		}
	}
	if errors.As(err, &creds) {
		return storage.ErrDenied
	}
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded":
			return storage.ErrFull
		case "EntityTooLarge":
			return storage.ErrTooLarge
		case "NotImplemented":
			return storage.ErrUnsupported
		case "AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "InvalidBucketName":
			return storage.ErrLocation
		}
	}
	switch status := statusOf(err); status {
	case 301, 307, 308:
		return storage.ErrLocation
	case 401, 403:
		return storage.ErrDenied
	case 404:
		return storage.ErrNotFound
	case 405, 501:
		return storage.ErrUnsupported
	case 412:
		return storage.ErrExists
	case 413:
		return storage.ErrTooLarge
	case 416:
		return storage.ErrRange
	case 507:
		return storage.ErrFull
	}
	return storage.ErrUnreachable
}

// isCode tells whether err is the server's refusal with this code.
func isCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", storage.ErrDamaged, fmt.Sprintf(format, args...))
}
