package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"millrace/api/auth"
	"millrace/api/gnocchi"
	"millrace/index"
	"millrace/ingest"
)

// A request is one request on its way through the API.
type request struct {
	*API
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context // of the request, and bounded in time: see bound
	cancel context.CancelFunc
	began  time.Time
	route  *route
	params []string // what the route's {…} matched, in order
	who    auth.Identity
	status int // what was answered; 0: nothing yet

	at    ingest.Position // what the request has waited for; nil: nothing
	shown ingest.Position // what its reads have shown; nil: none yet

	target target     // set by findMetric and findTarget
	rule   index.Rule // set by findRule

	resourceType *index.ResourceType // set by findType
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{API: a, w: w, r: r, began: time.Now()}
	q.bound()
	span := q.trace()
	defer func() {
		if p := recover(); p != nil {
			q.panicked(p)
		}
		q.cancel()
		took := time.Since(q.began)
		a.metrics.request(r.Context(), q.route, q.status, took)
		if span.IsRecording() {
			span.SetAttributes(attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path),
				attribute.Int("http.response.status_code", q.status))
			if q.route != nil {
				span.SetName(r.Method + " " + q.route.path)
			}
			if q.status >= 500 {
				span.SetStatus(codes.Error, "")
			}
		}
		span.End()
	}()
	if a.cors(w, r) {
		q.empty(http.StatusOK)
		return
	}
	if err := q.serve(); err != nil {
		q.fail(err)
		q.drain()
	}
}

func (q *request) serve() error {
	rt, err := q.router.match(q)
	if err != nil {
		return err
	}
	q.route = rt
	if err := q.checkQuery(); err != nil {
		return err
	}
	if rt.find != nil {
		if err := rt.find(q); err != nil {
			return err
		}
	}
	if !rt.any && !acceptsJSON(q.r.Header) {
		return &failure{status: http.StatusNotAcceptable}
	}
	if !rt.open {
		if err := q.authenticate(rt.rule); err != nil {
			return err
		}
	}
	return rt.handle(q)
}

// bound gives the request Config.Timeout from now on: at its start, and again
// when its body, which comes as fast as the client can, has been read.
func (q *request) bound() {
	if q.cancel != nil {
		q.cancel()
	}
	parent := q.r.Context()
	if q.ctx != nil { // keeps the span
		parent = trace.ContextWithSpan(parent, trace.SpanFromContext(q.ctx))
	}
	q.ctx, q.cancel = context.WithTimeout(parent, q.config.Timeout)
}

// trace begins the request's span, below the client's if it has one.
func (q *request) trace() trace.Span {
	parent := q.ctx
	if q.r.Header["Traceparent"] != nil {
		parent = propagation.TraceContext{}.Extract(parent, propagation.HeaderCarrier(q.r.Header))
	}
	ctx, span := q.tracer.Start(parent, "millrace.request", trace.WithSpanKind(trace.SpanKindServer))
	q.ctx = ctx
	return span
}

// traceparent returns the W3C form of the request's span when it is sampled, "" otherwise.
func (q *request) traceparent() string {
	span := trace.SpanContextFromContext(q.ctx)
	if !span.IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(q.ctx, carrier)
	return carrier["traceparent"]
}

// panicked turns a handler's panic into a 500, unless the answer has begun.
func (q *request) panicked(p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	q.log.Error("a request handler panicked", "method", q.r.Method, "path", q.r.URL.Path, "panic", fmt.Sprint(p), "stack",
		string(debug.Stack()))
	if q.status != 0 {
		panic(http.ErrAbortHandler) // the client must not take half an answer for a whole one
	}
	q.write(internalError())
}

// empty answers without a body.
func (q *request) empty(status int) error {
	if status != http.StatusNoContent {
		q.w.Header().Set("Content-Length", "0")
	}
	q.status = status
	q.w.WriteHeader(status)
	return nil
}

// json answers with what gnocchi.Marshal makes of v.
func (q *request) json(status int, v any) error {
	return q.bytes(status, "application/json", gnocchi.Marshal(v))
}

// bytes answers with a body.
func (q *request) bytes(status int, contentType string, body []byte) error {
	h := q.w.Header()
	h["Content-Type"] = []string{contentType}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	q.status = status
	q.w.WriteHeader(status)
	q.w.Write(body) // an error means that nobody listens
	return nil
}
