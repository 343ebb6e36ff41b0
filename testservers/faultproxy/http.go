package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Kind is what goes wrong with a request.
type Kind int

// The kinds. Those marked "done" are executed by the server all the same.
const (
	Refuse      Kind = iota // answered with Status, and not passed on
	RefuseDone              // done, and answered with Status
	Lose                    // done, and the connection is reset instead of an answer
	Reset                   // not passed on, and the connection is reset
	Slow                    // done; the answer comes after Delay, its body in small pieces
	Truncate                // done; the answer ends in the middle of its body; as Lose if it has none
	Flip                    // done; a bit in the middle of the answer's body is another; as Lose if it has none
	FlipRequest             // a bit in the middle of the request's body is another; as Reset if it has none
	Repeat                  // done twice, as proxies do that try again; answered with the second answer
	Hang                    // not passed on, never answered: until the client gives up
)

// A Fault is something that goes wrong with some requests.
type Fault struct {
	Kind   Kind
	Match  func(*http.Request) bool // which requests; nil: all
	Skip   int                      // so many that match pass unharmed
	Many   int                      // then so many are hit; 0: all
	Every  int                      // and of those only each such one; 0: each
	Status int                      // of Refuse and RefuseDone; 503
	Delay  time.Duration            // of Slow
	Header http.Header              // added to what Refuse answers: Retry-After
	Body   string                   // of what Refuse answers; as S3 answers, if empty

	met int
}

// Counts is what has passed, of one sort of request.
type Counts struct {
	Requests       int
	Sent, Received int64 // bytes of bodies, as the client sees it
}

// An HTTP is a proxy for requests of HTTP/1.1.
type HTTP struct {
	// Addr is where clients connect to.
	Addr string

	target    string
	transport *http.Transport
	server    *http.Server
	ended     chan error

	mu      sync.Mutex
	kind    func(*http.Request) string
	latency time.Duration
	down    bool
	decide  func(*http.Request) *Fault
	faults  []*Fault
	counts  map[string]Counts
	hits    int
}

// NewHTTP starts a proxy before the server at target (host:port). Kind names what is counted
// together; nil: by method.
func NewHTTP(target string, kind func(*http.Request) string) (*HTTP, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	if kind == nil {
		kind = func(r *http.Request) string { return r.Method }
	}
	p := &HTTP{
		Addr: listener.Addr().String(), target: target, kind: kind, counts: make(map[string]Counts),
		ended:     make(chan error, 1),
		transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
	p.server = &http.Server{Handler: p, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { p.ended <- p.server.Serve(listener) }()
	return p, nil
}

// URL is that of the proxy.
func (p *HTTP) URL() string { return "http://" + p.Addr }

// Close ends the proxy and all connections through it.
func (p *HTTP) Close() error {
	err := p.server.Close()
	p.transport.CloseIdleConnections()
	if ended := <-p.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// Inject adds a fault, behind those that are there: the first that matches decides.
func (p *HTTP) Inject(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, &f)
}

// Decide sets a function that is asked for each request before the faults of Inject, and
// gives the fault that hits it, or nil.
func (p *HTTP) Decide(decide func(*http.Request) *Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decide = decide
}

// Clear takes all faults of Inject away, and says how many requests they have hit.
func (p *HTTP) Clear() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	hits := p.hits
	p.faults, p.hits = nil, 0
	return hits
}

// SetLatency adds a time to each request.
func (p *HTTP) SetLatency(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency = d
}

// SetDown makes the proxy reset every connection, as a machine does whose server is gone.
func (p *HTTP) SetDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// Counts is what has passed since the start, by kind.
func (p *HTTP) Counts() map[string]Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := make(map[string]Counts, len(p.counts))
	for kind, c := range p.counts {
		counts[kind] = c
	}
	return counts
}

// plan is what happens to a request.
func (p *HTTP) plan(r *http.Request) (f *Fault, latency time.Duration, down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.decide != nil {
		if f := p.decide(r); f != nil {
			return f, p.latency, p.down
		}
	}
	for _, f := range p.faults {
		if f.Match != nil && !f.Match(r) {
			continue
		}
		f.met++
		n := f.met - f.Skip
		if n <= 0 || f.Many > 0 && n > f.Many || f.Every > 1 && n%f.Every != 0 {
			continue
		}
		p.hits++
		hit := *f
		return &hit, p.latency, p.down
	}
	return nil, p.latency, p.down
}

func (p *HTTP) count(kind string, more Counts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.counts[kind]
	c.Requests += more.Requests
	c.Sent += more.Sent
	c.Received += more.Received
	p.counts[kind] = c
}

// ServeHTTP is one request.
func (p *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, latency, down := p.plan(r)
	if down {
		reset(w)
		return
	}
	body, err := io.ReadAll(r.Body) // whole: what breaks here is to be no accident
	if err != nil {
		reset(w)
		return
	}
	if latency > 0 && !pause(r.Context(), latency) {
		return
	}
	kind := p.kind(r)
	p.count(kind, Counts{Requests: 1, Sent: int64(len(body))})
	if f == nil {
		p.pass(w, r, kind, body, nil)
		return
	}
	switch f.Kind {
	case Hang:
		<-r.Context().Done()
	case Reset:
		reset(w)
	case Refuse:
		refuse(w, f)
	case FlipRequest:
		if len(body) == 0 {
			reset(w)
			return
		}
		body[len(body)/2] ^= 0x10
		p.pass(w, r, kind, body, nil)
	default:
		p.pass(w, r, kind, body, f)
	}
}

// pass gives the request to the server, and its answer, or what is made of it, to the
// client.
func (p *HTTP) pass(w http.ResponseWriter, r *http.Request, kind string, body []byte, f *Fault) {
	answer, content, err := p.execute(r, body)
	if err == nil && f != nil && f.Kind == Repeat {
		answer, content, err = p.execute(r, body)
	}
	if err != nil {
		reset(w)
		return
	}
	if f != nil {
		switch f.Kind {
		case RefuseDone:
			refuse(w, f)
			return
		case Lose:
			reset(w)
			return
		case Slow:
			if !pause(r.Context(), f.Delay) {
				return
			}
		case Flip, Truncate:
			if len(content) == 0 {
				reset(w)
				return
			}
			if f.Kind == Flip {
				content[len(content)/2] ^= 0x10
			}
		}
	}
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	if answer.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(answer.ContentLength, 10))
	}
	w.WriteHeader(answer.StatusCode)
	cut := f != nil && f.Kind == Truncate
	if cut {
		content = content[:len(content)/2]
	}
	p.count(kind, Counts{Received: int64(len(content))})
	_, _ = w.Write(content)
	if cut {
		_ = http.NewResponseController(w).Flush()
		reset(w)
	}
}

// execute makes the request at the server. The host's name stays: it is signed.
func (p *HTTP) execute(r *http.Request, body []byte) (*http.Response, []byte, error) {
	to := *r.URL
	to.Scheme, to.Host = "http", p.target
	onward, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, to.String(),
		strings.NewReader(string(body)))
	if err != nil {
		return nil, nil, err
	}
	onward.URL.RawPath, onward.URL.RawQuery = r.URL.RawPath, r.URL.RawQuery
	onward.Header, onward.Host, onward.ContentLength = r.Header.Clone(), r.Host, int64(len(body))
	onward.Header.Del("Expect")
	onward.TransferEncoding = nil
	answer, err := p.transport.RoundTrip(onward)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(answer.Body)
	return answer, content, err
}

func refuse(w http.ResponseWriter, f *Fault) {
	for name, values := range f.Header {
		w.Header()[name] = values
	}
	status := f.Status
	if status == 0 {
		status = http.StatusServiceUnavailable
	}
	text := f.Body
	if text == "" {
		w.Header().Set("Content-Type", "application/xml")
		text = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce your request " +
			"rate.</Message></Error>"
	}
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, text)
}

// reset ends the connection without a word.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// pause says whether it was not cut short.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
