package s3store

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// statusOf is the HTTP status of an answer that the SDK took for an error, or 0.
func statusOf(err error) int {
	if answer, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		return answer.HTTPStatusCode()
	}
	return 0
}

// codeOf is the protocol's name for an error, or empty.
func codeOf(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// isMissing says whether there is no such object (and not: no such bucket, which looks
// alike to HEAD).
func isMissing(err error) bool {
	return statusOf(err) == http.StatusNotFound && codeOf(err) != "NoSuchBucket"
}

// refused is how a server declines a PUT on a condition.
type refused int

const (
	notRefused      refused = iota
	refusedChanged          // 412: the condition doesn't hold
	refusedConflict         // 409: somebody else is at the same object
	refusedMissing          // 404: If-Match, and there is no object
)

func refusal(err error) refused {
	switch statusOf(err) {
	case http.StatusPreconditionFailed:
		return refusedChanged
	case http.StatusConflict:
		return refusedConflict
	case http.StatusNotFound:
		if codeOf(err) != "NoSuchBucket" {
			return refusedMissing
		}
	}
	return notRefused
}

// throttled says whether the server asks for fewer requests.
func throttled(err error) bool {
	switch statusOf(err) {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return true
	}
	switch codeOf(err) {
	case "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests":
		return true
	}
	return false
}

// explain says in an operator's words what the protocol says in its own.
func (s *Store) explain(err error) error {
	switch codeOf(err) {
	case "RequestTimeTooSkewed":
		return fmt.Errorf("this machine's clock and the server's are too far apart: %w", err)
	case "NoSuchBucket":
		return fmt.Errorf("there is no bucket %s: %w", s.config.Bucket, err)
	case "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return fmt.Errorf("the server doesn't know the access key, or the secret key is wrong: %w", err)
	case "AccessDenied":
		return fmt.Errorf("the access key may not do this in %s: %w", s.config.Bucket, err)
	case "ExpiredToken", "InvalidToken":
		return fmt.Errorf("the credentials have expired, and there are no new ones: %w", err)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("the endpoint's certificate is not trusted (storage.s3.ca_file says what is): %w", err)
	}
	return err
}
