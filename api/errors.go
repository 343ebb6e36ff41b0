package api

import (
	"context"
	"errors"
	"fmt"
	"html"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"millrace/api/auth"
	"millrace/api/gnocchi"
	"millrace/index"
	"millrace/ingest"
)

// A failure is an answer that is not a success.
type failure struct {
	status      int
	description any           // a string, a cause, or nil
	retryAfter  time.Duration // 0: no Retry-After
	allow       string        // the Allow header of a 405
}

func (f *failure) Error() string {
	return fmt.Sprintf("%d %s: %v", f.status, http.StatusText(f.status), f.description)
}

// A cause is a description with parts; only those that are set are shown.
type cause struct {
	cause  string
	reason string
	detail any
	more   gnocchi.Object // ours
}

func (c cause) object() gnocchi.Object {
	o := gnocchi.Object{{Name: "cause", Value: c.cause}}
	if c.reason != "" {
		o = append(o, gnocchi.Member{Name: "reason", Value: c.reason})
	}
	if c.detail != nil {
		o = append(o, gnocchi.Member{Name: "detail", Value: c.detail})
	}
	return append(o, c.more...)
}

func badRequest(description any) *failure {
	return &failure{status: http.StatusBadRequest, description: description}
}

// badArgument blames a query parameter.
func badArgument(name, reason string) *failure {
	return badRequest(cause{cause: "Argument value error", detail: name, reason: reason})
}

// notFound is a 404; without a description the path leads nowhere.
func notFound(description any) *failure {
	return &failure{status: http.StatusNotFound, description: description}
}

func noMetric(id string) *failure { return notFound("Metric " + id + " does not exist") }

func forbidden() *failure { return &failure{status: http.StatusForbidden, description: ""} }

func unsupportedMediaType() *failure {
	return &failure{status: http.StatusUnsupportedMediaType, description: ""}
}

func tooLarge(limit int64) *failure {
	return &failure{status: http.StatusRequestEntityTooLarge, description: fmt.Sprintf("The body is larger than %d bytes",
		limit)}
}

func internalError() *failure {
	return &failure{status: http.StatusInternalServerError, description: "Internal error"}
}

// unavailable is a 503. When to come back is spread over 1 to 5 s, so that the
// refused don't come back all at once.
func unavailable(description string) *failure {
	return &failure{status: http.StatusServiceUnavailable, description: description,
		retryAfter: time.Duration(1+rand.IntN(5)) * time.Second}
}

// outcomeUnknown is what a client is told when the log did not answer as it should.
const outcomeUnknown = "The measures may or may not have been stored. It is safe to retry: sending the same " +
	"measures again changes nothing."

// failureOf is the one map from errors to answers. A nil says that the error is
// nobody's fault outside.
func failureOf(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if e, ok := errors.AsType[*invalidError](err); ok {
		return badRequest(cause{cause: "Invalid input", reason: e.Error(), detail: e.detail()})
	}
	if e, ok := errors.AsType[*gnocchi.DecodeError](err); ok {
		return badRequest(cause{cause: "Unable to decode body", reason: e.Reason, detail: []any{}})
	}
	if e, ok := errors.AsType[*ingest.RefusedError](err); ok {
		status := http.StatusServiceUnavailable
		if e.Quota {
			status = http.StatusTooManyRequests
		}
		return &failure{status: status, description: "Measures are refused: " + e.Reason,
			retryAfter: max(time.Second, e.RetryAfter)}
	}
	if e, ok := errors.AsType[*index.ObjectError](err); ok {
		switch e.Err {
		case index.ErrNotFound:
			return notFound(e.Error())
		case index.ErrExists:
			return &failure{status: http.StatusConflict, description: e.Error()}
		case index.ErrInUse:
			return badRequest(e.Error())
		case index.ErrChanged:
			return unavailable(e.Error() + ". Please try again.")
		}
	}
	if e, ok := errors.AsType[*index.InvalidError](err); ok {
		return badRequest(e.Text)
	}
	if _, ok := errors.AsType[*auth.UnavailableError](err); ok {
		return unavailable("Credentials can't be checked at this moment. Please try again.")
	}
	switch {
	case errors.Is(err, auth.ErrUnauthorized):
		return &failure{status: http.StatusUnauthorized, description: ""}
	case errors.Is(err, ingest.ErrTooLarge):
		return &failure{status: http.StatusRequestEntityTooLarge,
			description: "The request does not fit into a record of the log"}
	case errors.Is(err, ingest.ErrUnavailable):
		return unavailable(outcomeUnknown)
	case errors.Is(err, index.ErrClosed):
		return unavailable("The server is stopping. Please try again.")
	case errors.Is(err, index.ErrUnavailable):
		return unavailable("The index can't be asked now. Please try again.")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unavailable("There was no answer in time. Please try again.")
	}
	return nil
}

// fail answers with an error.
func (q *request) fail(err error) {
	f := failureOf(err)
	if f == nil {
		q.log.Error("cannot answer a request", "method", q.r.Method, "path", q.r.URL.Path, "err", err)
		f = internalError()
	}
	q.write(f)
}

// write answers with a failure, in the shape that the client prefers.
func (q *request) write(f *failure) {
	h := q.w.Header()
	if f.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((f.retryAfter+time.Second-1)/time.Second)))
	}
	if f.allow != "" {
		h.Set("Allow", f.allow)
	}
	h.Del("Preference-Applied")
	if f.status == http.StatusNotModified { // has no body
		q.status = f.status
		q.w.WriteHeader(f.status)
		return
	}
	mediaType := errorType(q.r.Header)
	body := f.append(nil, mediaType)
	if f.status == http.StatusUnauthorized {
		body = q.challenge(body, mediaType)
	}
	if strings.HasPrefix(mediaType, "text/") {
		mediaType += "; charset=UTF-8"
	}
	q.bytes(f.status, mediaType, body)
}

// challenge says with a 401 how to authenticate. Where tokens are asked for, clients
// expect the body that Keystone's own middleware gives.
func (q *request) challenge(body []byte, mediaType string) []byte {
	c, ok := q.auth.(auth.Challenger)
	if !ok {
		return body
	}
	challenge := c.Challenge()
	q.w.Header().Set("WWW-Authenticate", challenge)
	if mediaType != typeJSON || !strings.HasPrefix(challenge, "Keystone ") {
		return body
	}
	return gnocchi.Marshal(gnocchi.Object{{Name: "error", Value: gnocchi.Object{
		{Name: "code", Value: http.StatusUnauthorized}, {Name: "title", Value: http.StatusText(http.StatusUnauthorized)},
		{Name: "message", Value: "The request you have made requires authentication."},
	}}})
}

// An errorDoc is an error in JSON.
type errorDoc struct {
	Code        int    `json:"code"`
	Title       string `json:"title"`
	Description any    `json:"description"`
}

// A problemDoc is an error as RFC 9457 has it.
type problemDoc struct {
	Type        string         `json:"type"`
	Title       string         `json:"title"`
	Status      int            `json:"status"`
	Detail      string         `json:"detail,omitempty"`
	Description gnocchi.Object `json:"description,omitempty"` // what an errorDoc would have, where that is an object
}

// append writes the failure in one of its shapes: Gnocchi's three, or RFC 9457's.
func (f *failure) append(dst []byte, mediaType string) []byte {
	title := http.StatusText(f.status)
	description := f.description
	if c, ok := description.(cause); ok {
		description = c.object()
	}
	if f.status == http.StatusForbidden && description == "" && mediaType == typeJSON {
		description = explanations[f.status] // the other forms have it anyway
	}
	switch mediaType {
	case typeJSON:
		return append(dst, gnocchi.Marshal(errorDoc{f.status, title, description})...)
	case typeProblem:
		return append(dst, gnocchi.Marshal(f.problem(title))...)
	}
	text, _ := description.(string)
	if o, ok := description.(gnocchi.Object); ok {
		text = string(gnocchi.Marshal(o))
	}
	line := strconv.Itoa(f.status) + " " + title
	if mediaType == typeHTML {
		return fmt.Appendf(dst,
			"<html>\n <head>\n  <title>%s</title>\n </head>\n <body>\n  <h1>%s</h1>\n  %s<br /><br />\n%s\n\n </body>\n</html>",
			line, line, html.EscapeString(explanations[f.status]), html.EscapeString(text))
	}
	return fmt.Appendf(dst, "%s\n\n%s\n\n %s  ", line, explanations[f.status], text)
}

// problem gives the failure as RFC 9457 problem details.
func (f *failure) problem(title string) problemDoc {
	p := problemDoc{Type: "about:blank", Title: title, Status: f.status}
	switch f.status {
	case http.StatusTooManyRequests:
		p.Type = "https://iana.org/assignments/http-problem-types#quota-exceeded"
	case http.StatusServiceUnavailable:
		p.Type = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
	}
	switch d := f.description.(type) {
	case string:
		p.Detail = d
		if d == "" {
			p.Detail = explanations[f.status]
		}
	case cause:
		p.Detail = d.cause
		if d.reason != "" {
			p.Detail += ": " + d.reason
		}
		p.Description = d.object()
	}
	return p
}

// explanations are WebOb's, which Gnocchi's clients and tests know.
var explanations = map[int]string{
	http.StatusBadRequest: "The server could not comply with the request since it is either malformed or " +
		"otherwise incorrect.",
	http.StatusUnauthorized: "This server could not verify that you are authorized to access the document " +
		"you requested. Either you supplied the wrong credentials (e.g., bad password), or your browser does not " +
		"understand how to supply the credentials required.",
	http.StatusForbidden:        "Access was denied to this resource.",
	http.StatusNotFound:         "The resource could not be found.",
	http.StatusMethodNotAllowed: "The method is not allowed for this resource.",
	http.StatusNotAcceptable: "The resource could not be generated that was acceptable to your browser " +
		"(content of type application/json is available).",
	http.StatusRequestTimeout:        "The server has waited too long for the request to be sent by the client.",
	http.StatusPreconditionFailed:    "A precondition for this request failed.",
	http.StatusConflict:              "There was a conflict when trying to complete your request.",
	http.StatusRequestEntityTooLarge: "The body of your request was too large for this server.",
	http.StatusUnsupportedMediaType:  "The request media type is not supported by this server.",
	http.StatusTooManyRequests:       "The client has sent too many requests in a given amount of time.",
	http.StatusInternalServerError: "The server has either erred or is incapable of performing the requested " +
		"operation.",
	http.StatusNotImplemented:     "The server does not support the functionality required to fulfill the request.",
	http.StatusServiceUnavailable: "The server is currently unavailable. Please try again at a later time.",
}
