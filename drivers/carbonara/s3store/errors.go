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

// codeOf is the protocol's name for an error, or empty: where there is no answer, and where
// an answer's body could not be read. A server that refuses a PUT early may close the
// connection while the body is still being sent; the status is known then, and all there is.
func codeOf(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// isMissing says whether there is no such object (and not: no such bucket, which looks
// alike to HEAD). A 404 that can't be read doesn't say so: it may be the bucket, or somebody
// between us and the server.
func isMissing(err error) bool {
	code := codeOf(err)
	return statusOf(err) == http.StatusNotFound && code != "" && code != "NoSuchBucket"
}

// refused is how a server declines a PUT on a condition.
type refused int

const (
	notRefused      refused = iota
	refusedChanged          // 412: the condition doesn't hold
	refusedConflict         // 409: somebody else is at the same object
	refusedMissing          // 404: If-Match, and there is no object
	refusedUnread           // 404, and why is not known
)

func refusal(err error) refused {
	switch statusOf(err) {
	case http.StatusPreconditionFailed:
		return refusedChanged
	case http.StatusConflict:
		return refusedConflict
	case http.StatusNotFound:
		switch codeOf(err) {
		case "NoSuchBucket":
			return notRefused
		case "":
			return refusedUnread
		}
		return refusedMissing
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

// explain says in an operator's words what the protocol says in its own, or by its status
// alone.
func (s *Store) explain(err error) error {
	code := codeOf(err)
	switch code {
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
	switch status := statusOf(err); {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("the server doesn't know the access key, or the secret key is wrong, or the key may not do "+
			"this, or the clocks are too far apart: %w", err)
	case status == http.StatusNotFound && code == "":
		return fmt.Errorf("there is no such object, or no bucket %s; the server's reason could not be read: %w",
			s.config.Bucket, err)
	}
	return err
}
