package s3store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/drivers/carbonara"
)

// cutting answers each request with a status of its method and a body that ends before its
// end, as a server does that refuses early and closes the connection. What has no status is
// answered with whole.
func cutting(t *testing.T, status map[string]int, whole http.HandlerFunc) *Store {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code := status[r.Method]
		if code == 0 {
			whole(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // else the reset might overtake the status
		connection, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = connection.Close() }()
		_, _ = fmt.Fprintf(connection, "HTTP/1.1 %d X\r\nContent-Type: application/xml\r\nContent-Length: 300\r\n\r\n<Error><Code>No",
			code)
	}))
	t.Cleanup(server.Close)
	s, err := Open(t.Context(), Config{Endpoint: server.URL, Bucket: "b", AccessKey: "a", SecretKey: "hunter2hunter2"},
		slog.New(slog.DiscardHandler), noop.NewMeterProvider().Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// failing answers with an error of the protocol.
func failing(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>x</Message></Error>", code)
	}
}

func object(etag, data string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", etag)
		_, _ = w.Write([]byte(data))
	}
}

// An answer whose body can't be read is known by its status.
func TestUnreadErrors(t *testing.T) {
	f := func(status int, want string) {
		t.Helper()
		s := cutting(t, map[string]int{"PUT": status, "GET": status, "POST": status}, nil)
		_, read := s.Read(t.Context(), "x", "", nil)
		_, list := s.List(t.Context(), "x")
		for what, err := range map[string]error{
			"put": s.Put(t.Context(), "x", []byte("x")), "read": read, "list": list, "delete": s.Delete(t.Context(), []string{"x"}),
		} {
			if err == nil || statusOf(err) != status || !strings.Contains(err.Error(), want) ||
				errors.Is(err, carbonara.ErrNotFound) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s, %d: %v; want %q", what, status, err, want)
			}
			if (status == 503 || status == 429) != throttled(err) {
				t.Errorf("%s, %d: throttled is %v", what, status, throttled(err))
			}
		}
	}
	f(401, "secret key is wrong")
	f(403, "secret key is wrong")
	f(404, "or no bucket b")
	f(429, "429")
	f(500, "500")
	f(503, "503")
}

// A swap whose refusal can't be read is lost where a look says so, and only there.
func TestUnreadRefusals(t *testing.T) {
	f := func(status int, old carbonara.Version, look http.HandlerFunc, want error, part string) {
		t.Helper()
		s := cutting(t, map[string]int{"PUT": status}, look)
		version, err := s.Swap(t.Context(), "m", old, []byte("new"), nil)
		switch {
		case want == nil && part == "" && (err != nil || version != `"2"`):
			t.Errorf("%d from %q: %q, %v; want success", status, old, version, err)
		case want != nil && !errors.Is(err, want):
			t.Errorf("%d from %q: %v; want %v", status, old, err, want)
		case part != "" && (err == nil || errors.Is(err, carbonara.ErrChanged) || !strings.Contains(err.Error(), part)):
			t.Errorf("%d from %q: %v; want an error with %q", status, old, err, part)
		}
	}
	missing, bucket := failing(404, "NoSuchKey"), failing(404, "NoSuchBucket")
	for _, status := range []int{404, 409, 412} {
		f(status, `"1"`, object(`"3"`, "theirs"), carbonara.ErrChanged, "")
		f(status, `"1"`, missing, carbonara.ErrChanged, "")
		f(status, `"1"`, object(`"2"`, "new"), nil, "")
		f(status, `"1"`, object(`"1"`, "old"), nil, fmt.Sprint(status))
		f(status, `"1"`, bucket, nil, "NoSuchBucket")
		f(status, "", object(`"3"`, "theirs"), carbonara.ErrChanged, "")
		f(status, "", missing, nil, fmt.Sprint(status))
	}
	for _, status := range []int{401, 403, 429, 500, 503} { // nobody looks: it may have been done or not
		f(status, `"1"`, object(`"3"`, "theirs"), nil, fmt.Sprint(status))
	}
}

// A 404 that is read, and says nothing, is an object that isn't there; one of a gateway in
// its own language is not.
func TestMissing(t *testing.T) {
	f := func(body string, missing bool) {
		t.Helper()
		s := cutting(t, nil, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			_, _ = w.Write([]byte(body))
		})
		if _, err := s.Read(t.Context(), "x", "", nil); err == nil || errors.Is(err, carbonara.ErrNotFound) != missing {
			t.Errorf("404 with %q: %v", body, err)
		}
	}
	f("", true)
	f("<Error><Code>NoSuchKey</Code></Error>", true)
	f("<Error><Code>NoSuchBucket</Code></Error>", false)
	f("<html><body><p>no such page<br></html>", false)
}

// A closingBody is the SDK's: it is closed as soon as there is an answer, and has then ended,
// which its WriteTo says otherwise than its Read. What it says waits until then.
type closingBody struct {
	io.Reader
	closed chan struct{}
	once   sync.Once
}

func (b *closingBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		<-b.closed
	}
	return n, err
}

func (b *closingBody) WriteTo(io.Writer) (int64, error) {
	<-b.closed
	return 0, io.EOF
}

func (b *closingBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// An answer that comes while the end of the request's body is still looked for can be read.
func TestAnswerBeforeEndOfBody(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(server.Close)
	transport, err := newTransport(Config{}, slog.New(slog.DiscardHandler), noop.NewMeterProvider().Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.inner.CloseIdleConnections)
	wrote := make(chan error, 1)
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) { wrote <- info.Err },
	})
	body := &closingBody{Reader: strings.NewReader("all of it"), closed: make(chan struct{})}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, server.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = int64(len("all of it"))
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = body.Close()
	if err := <-wrote; err != nil {
		t.Errorf("writing the request failed: %v", err)
	}
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil || string(text) != "all of it" {
		t.Errorf("answered %q, %v", text, err)
	}
}
