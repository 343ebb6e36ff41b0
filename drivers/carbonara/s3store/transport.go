package s3store

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// A transport makes requests, counts them and their bytes by kind, and says when the
// server's clock is another.
type transport struct {
	inner    *http.Transport
	log      *slog.Logger
	requests metric.Int64Counter
	bytes    metric.Int64Counter
	skewed   atomic.Bool
}

func newTransport(c Config, log *slog.Logger, meter metric.Meter) (*transport, error) {
	requests, err := meter.Int64Counter("millrace.store.requests", metric.WithUnit("{request}"),
		metric.WithDescription("requests to the storage's server, by kind and status (0: no answer)"))
	if err != nil {
		return nil, err
	}
	bytes, err := meter.Int64Counter("millrace.store.request.bytes", metric.WithUnit("By"),
		metric.WithDescription("bytes sent to and received from the storage's server, by kind of request"))
	if err != nil {
		return nil, err
	}
	trusted, err := c.authorities()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}
	return &transport{log: log, requests: requests, bytes: bytes, inner: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		MaxIdleConns:          2 * c.MaxRequests,
		MaxIdleConnsPerHost:   2 * c.MaxRequests,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		TLSClientConfig:       &tls.Config{RootCAs: trusted},
		ResponseHeaderTimeout: c.Timeout,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // a length is what we check
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
	}}, nil
}

// kindOf is what a request costs: a PUT, a GET, a LIST, a DELETE, a HEAD.
func kindOf(r *http.Request) string {
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodGet && query.Has("list-type"):
		return "list"
	case r.Method == http.MethodPost && query.Has("delete"):
		return "delete"
	case r.Method == http.MethodPut:
		return "put"
	case r.Method == http.MethodGet:
		return "get"
	case r.Method == http.MethodHead:
		return "head"
	}
	return "other"
}

// withReadOnlyBody hides all of a request's body but Read and Close. The SDK closes the body
// as soon as there is an answer. net/http may just then be looking whether the body has ended,
// by its WriteTo if it has one; the SDK's (smithy-go's safeWriteToReadCloser) then says
// io.EOF, which of a WriteTo is an error, so that the connection is closed and the answer
// that is there can't be read. Its Read says io.EOF as well, which there is the end.
func withReadOnlyBody(r *http.Request) *http.Request {
	if r.Body == nil || r.Body == http.NoBody {
		return r
	}
	r = r.WithContext(r.Context())
	r.Body = struct{ io.ReadCloser }{r.Body}
	return r
}

// RoundTrip is one request.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	kind := attribute.String("kind", kindOf(r))
	answer, err := t.inner.RoundTrip(withReadOnlyBody(r))
	status := 0
	if err == nil {
		status = answer.StatusCode
		t.compareClocks(answer.Header.Get("Date"))
		answer.Body = &countedBody{ReadCloser: answer.Body, count: func(n int64) {
			t.bytes.Add(r.Context(), n, metric.WithAttributes(kind, attribute.String("direction", "received")))
		}}
	}
	t.requests.Add(r.Context(), 1, metric.WithAttributes(kind, attribute.String("status", strconv.Itoa(status))))
	if r.ContentLength > 0 {
		t.bytes.Add(r.Context(), r.ContentLength, metric.WithAttributes(kind, attribute.String("direction", "sent")))
	}
	return answer, err
}

// compareClocks warns, once for each time that it happens, of clocks that differ: servers
// refuse requests whose clock is 15 minutes off.
func (t *transport) compareClocks(date string) {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return
	}
	ahead := time.Since(theirs).Round(time.Second)
	off := ahead.Abs() > time.Minute
	if t.skewed.Swap(off) != off && off {
		t.log.Warn("this machine's clock is not the S3 server's: beyond 15 minutes it refuses requests", "ahead",
			ahead.String())
	}
}

// A countedBody tells how many bytes were read of it.
type countedBody struct {
	io.ReadCloser
	n     int64
	count func(int64)
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	return n, err
}

// Close may be called more than once.
func (b *countedBody) Close() error {
	if b.n > 0 {
		b.count(b.n)
		b.n = 0
	}
	return b.ReadCloser.Close()
}
