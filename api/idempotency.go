package api

import (
	"crypto/sha256"
	"errors"
	"net/http"

	"millrace/index"
	"millrace/ingest"
)

// headerIdempotencyKey names a creation, so that one whose answer was lost can be asked for
// again (draft-ietf-httpapi-idempotency-key-header).
const headerIdempotencyKey = "Idempotency-Key"

// maxIdempotencyKey bounds a key, in bytes.
const maxIdempotencyKey = 255

// newMetricID is the id of a metric to be created: random, or, with a key, always the same for
// a caller and a key (a version 8 UUID, RFC 9562). The index takes each id once, whichever
// process is asked, and whatever becomes of the one that was asked first.
func (q *request) newMetricID() (id ingest.MetricID, keyed bool, err error) {
	keys := q.r.Header.Values(headerIdempotencyKey)
	switch {
	case len(keys) == 0:
		return ingest.NewMetricID(), false, nil
	case len(keys) > 1, len(keys[0]) == 0, len(keys[0]) > maxIdempotencyKey:
		return id, false, badRequest(headerIdempotencyKey + " must be one of 1 to 255 characters")
	}
	sum := sha256.Sum256([]byte(headerIdempotencyKey + "\x00" + keys[0] + "\x00" + q.who.Creator)) // no header has a NUL
	id = ingest.MetricID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id, true, nil
}

// createdBefore makes m the metric that was created with its key before, if it is what is asked
// for again. The policy is when the request names it; the rules may have changed.
func (q *request) createdBefore(m *index.Metric, policyNamed bool) error {
	there, err := q.index.Metric(q.ctx, m.ID)
	if errors.Is(err, index.ErrNotFound) {
		return keyConflict("a metric that has been deleted")
	}
	if err != nil {
		return err
	}
	if !sameText(there.Name, m.Name) || !sameText(there.Unit, m.Unit) || !sameID(there.Resource, m.Resource) ||
		policyNamed && there.Policy != m.Policy {
		return keyConflict("another metric")
	}
	*m = there
	return nil
}

func keyConflict(of string) error {
	return &failure{status: http.StatusConflict, description: headerIdempotencyKey + " has been used for " + of}
}

func sameText(a, b *string) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

func sameID(a, b *[16]byte) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }
