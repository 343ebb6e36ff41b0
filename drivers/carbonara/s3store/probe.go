package s3store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"millrace/drivers/carbonara"
)

// ErrUnsafe says that a server does not do what a store relies on, so that data would be
// lost on it. All other errors of a probe may pass.
var ErrUnsafe = errors.New("this S3 server can't keep Millrace's data")

// What a probe costs: less than a cent's fiftieth, and a second or two.
const (
	probeWriters = 8
	probeRounds  = 8 // of new objects, and as many of old ones
	probeSize    = 16 << 10
	probePrefix  = "probe/"
	probeStale   = time.Hour // what an earlier one has left behind goes after that
)

// Probe finds out whether the server can be trusted: whether conditions hold, also when
// several writers come at once and their requests end at the same moment, whether ranges
// and listings are right. It writes below probe/ and removes what it wrote.
func (s *Store) Probe(ctx context.Context) error {
	p := &probe{Store: s, folder: probePrefix + rand.Text() + "/"}
	p.clients = s.slowTransport()
	defer p.clients.CloseIdleConnections()
	err := p.run(ctx)
	if cleaned := p.clean(context.WithoutCancel(ctx)); err == nil {
		err = cleaned
	}
	if err != nil {
		return fmt.Errorf("probe of %s: %w", s, err)
	}
	return nil
}

type probe struct {
	*Store
	folder  string
	clients *http.Transport
}

// slowTransport sends what it has of a request before the whole is there.
func (s *Store) slowTransport() *http.Transport {
	inner := s.transport.inner.Clone()
	inner.WriteBufferSize = 512
	return inner
}

func (p *probe) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{p.conditions, p.reads, p.races} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func unsafe(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsafe, fmt.Sprintf(format, args...))
}

// conditions are tried by one writer.
func (p *probe) conditions(ctx context.Context) error {
	name := p.folder + "conditions"
	first, err := p.Swap(ctx, name, "", p.body(0), nil)
	if err != nil {
		return err
	}
	if _, err := p.Swap(ctx, name, "", p.body(1), nil); err == nil {
		return unsafe("it ignores If-None-Match: an object that exists was created once more")
	} else if !errors.Is(err, carbonara.ErrChanged) {
		return err
	}
	second, err := p.Swap(ctx, name, first, p.body(2), nil)
	if errors.Is(err, carbonara.ErrChanged) {
		return unsafe("it refuses If-Match with the ETag that it gave itself")
	} else if err != nil {
		return err
	}
	if second == first {
		return unsafe("two contents of an object have the same ETag")
	}
	if _, err := p.Swap(ctx, name, first, p.body(3), nil); err == nil {
		return unsafe("it ignores If-Match: an object was replaced whose ETag is another")
	} else if !errors.Is(err, carbonara.ErrChanged) {
		return err
	}
	missing := p.folder + "missing"
	if _, err := p.Swap(ctx, missing, first, p.body(4), nil); err == nil {
		return unsafe("it ignores If-Match where there is no object")
	} else if !errors.Is(err, carbonara.ErrChanged) {
		return err
	}
	return nil
}

// reads are tried on what conditions has left.
func (p *probe) reads(ctx context.Context) error {
	name := p.folder + "conditions"
	whole, err := p.Read(ctx, name, "", nil)
	if err != nil {
		return err
	}
	if !bytes.Equal(whole.Data[0], p.body(2)) {
		return unsafe("an object that was just written reads as something else")
	}
	parts, err := p.Read(ctx, name, "", []carbonara.Range{{Off: 100, Len: 50}, {Off: -1, Len: 8}})
	if err != nil {
		return err
	}
	if parts.Size != probeSize || !bytes.Equal(parts.Data[0], p.body(2)[100:150]) ||
		!bytes.Equal(parts.Data[1], p.body(2)[probeSize-8:]) {
		return unsafe("ranges of an object are wrong")
	}
	switch _, err := p.Read(ctx, name, whole.Version, nil); {
	case err == nil:
		p.log.Warn("the S3 server ignores If-None-Match when reading: each look at a manifest costs its whole length")
	case !errors.Is(err, carbonara.ErrUnchanged):
		return err
	}
	list, err := p.List(ctx, p.folder)
	if err != nil {
		return err
	}
	if len(list) != 1 || list[0].Name != name || list[0].Size != probeSize {
		return unsafe("a listing doesn't show what was just written, and nothing else: %v", list)
	}
	return nil
}

// races lets writers of one object come at once: of each round, one may win.
func (p *probe) races(ctx context.Context) error {
	for round := range probeRounds {
		name := fmt.Sprintf("%srace-%d", p.folder, round)
		version, err := p.race(ctx, name, "", 0, "If-None-Match")
		if err != nil {
			return err
		}
		if version == "" { // nobody has won, all were told so
			continue
		}
		if _, err := p.race(ctx, name, version, probeWriters, "If-Match"); err != nil {
			return err
		}
	}
	return nil
}

// race is one round. It returns the winner's version. The bodies are those from the first
// on: nobody writes what is there already, whose ETag would not change.
func (p *probe) race(ctx context.Context, name string, old carbonara.Version, first int,
	condition string) (carbonara.Version, error) {
	var all sync.WaitGroup
	line := newLine(probeWriters)
	versions, errs := make([]carbonara.Version, probeWriters), make([]error, probeWriters)
	for i := range probeWriters {
		all.Go(func() {
			held := &heldClient{inner: p.clients, line: line}
			defer held.arrive() // also of a request that never came so far
			object := p.object(name, p.body(first+i))
			if old == "" {
				object.IfNoneMatch = aws.String("*")
			} else {
				object.IfMatch = aws.String(string(old))
			}
			answer, err := p.client.PutObject(ctx, object, func(o *s3.Options) { o.HTTPClient = held })
			if errs[i] = err; err == nil {
				versions[i] = carbonara.Version(aws.ToString(answer.ETag))
			}
		})
	}
	all.Wait()
	winner, winners := -1, 0
	for i, err := range errs {
		switch {
		case err == nil:
			winner, winners = i, winners+1
		case refusal(err) == notRefused:
			return "", p.explain(err)
		}
	}
	if winners > 1 {
		return "", unsafe("%s is not atomic: of %d writers at once, %d were told that they had won", condition, probeWriters,
			winners)
	}
	if winners == 0 {
		return "", nil
	}
	now, err := p.Read(ctx, name, "", nil)
	if err != nil {
		return "", err
	}
	if !bytes.Equal(now.Data[0], p.body(first+winner)) {
		return "", unsafe("%s is not atomic: a writer who was told that it had lost has overwritten the winner", condition)
	}
	return versions[winner], nil
}

// body is what writer i writes: no two are equal.
func (p *probe) body(i int) []byte {
	body := bytes.Repeat([]byte{byte('a' + i)}, probeSize)
	copy(body, p.folder)
	return body
}

// clean removes what this probe, and earlier ones that didn't come so far, have written.
func (p *probe) clean(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	list, err := p.List(ctx, probePrefix)
	if err != nil {
		return err
	}
	var names []string
	for _, object := range list {
		if len(names) < deleteBatch && (strings.HasPrefix(object.Name, p.folder) ||
			time.Since(object.Modified) > probeStale) {
			names = append(names, object.Name)
		}
	}
	if err := p.Delete(ctx, names); err != nil {
		return err
	}
	left, err := p.List(ctx, p.folder)
	if err == nil && len(left) > 0 {
		err = unsafe("%d objects that were deleted are still listed", len(left))
	}
	return err
}

// A line is where writers wait for each other.
type line struct {
	mu      sync.Mutex
	missing int
	all     chan struct{}
}

func newLine(writers int) *line { return &line{missing: writers, all: make(chan struct{})} }

// arrive says that one more has come, or will not.
func (l *line) arrive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.missing--; l.missing == 0 {
		close(l.all)
	}
}

// A heldClient sends all of a request but the last byte, and that when everybody has come
// so far: a server that checks a condition before it writes has checked them all by then.
type heldClient struct {
	inner *http.Transport
	line  *line
	once  sync.Once
}

func (c *heldClient) arrive() { c.once.Do(c.line.arrive) }

// Do is one request.
func (c *heldClient) Do(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Body, r.GetBody = &heldBody{inner: r.Body, left: r.ContentLength, client: c}, nil
	return c.inner.RoundTrip(r)
}

type heldBody struct {
	inner  io.ReadCloser
	left   int64
	client *heldClient
}

// Read gives all but the last byte, then waits.
func (b *heldBody) Read(p []byte) (int, error) {
	if b.left > 1 {
		p = p[:min(int64(len(p)), b.left-1)]
	} else if b.left == 1 {
		b.client.arrive()
		select {
		case <-b.client.line.all:
		case <-time.After(2 * time.Second): // somebody will not come
		}
	}
	n, err := b.inner.Read(p)
	b.left -= int64(n)
	return n, err
}

// Close ends it.
func (b *heldBody) Close() error { return b.inner.Close() }
