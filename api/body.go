package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
)

const (
	smallBody  = 1 << 20   // bound of bodies that aren't measures
	firstBytes = 128 << 10 // room to start with: a slow client holds no more than it has sent, twice
	keptBytes  = 4 << 20   // larger buffers are not kept
)

// needType checks the Content-Type header, which must be there.
func (q *request) needType(want string) error {
	header := q.r.Header.Get("Content-Type")
	if header == want { // Fast path.
		return nil
	}
	if got, _, err := mime.ParseMediaType(header); err != nil || got != want {
		return unsupportedMediaType()
	}
	return nil
}

// A body is a request's body in a pooled buffer.
type body struct {
	data []byte
	api  *API
	slot *[]byte
	held int64 // bytes counted in API.bodies
}

// release gives the buffer back; nothing may point into it any more. A second
// release does nothing.
func (b *body) release() {
	if b.slot == nil {
		return
	}
	b.api.bodies.Add(-b.held)
	if cap(b.data) <= keptBytes {
		*b.slot = b.data[:0]
		b.api.buffers.Put(b.slot)
	}
	*b = body{}
}

// readBody reads the request's body, decompressed, of at most limit bytes. The
// caller releases it. The request's time to an answer starts anew.
func (q *request) readBody(limit int64) (body, error) {
	return q.readEncoded(limit, q.r.Header.Get("Content-Encoding"))
}

// readRaw reads the body as it is, whatever its header says of it.
func (q *request) readRaw(limit int64) (body, error) { return q.readEncoded(limit, "") }

// newBody returns an empty body.
func (q *request) newBody() body {
	slot, _ := q.buffers.Get().(*[]byte)
	if slot == nil {
		slot = new([]byte)
	}
	return body{api: q.API, slot: slot, data: (*slot)[:0]}
}

func (q *request) readEncoded(limit int64, encoding string) (body, error) {
	if q.r.ContentLength > limit {
		return body{}, tooLarge(limit)
	}
	b := q.newBody()
	err := b.read(q, limit, encoding)
	if err != nil {
		b.release()
		return body{}, err
	}
	q.bound()
	return b, nil
}

func (b *body) read(q *request, limit int64, encoding string) error {
	var from io.Reader = http.MaxBytesReader(q.w, q.r.Body, limit)
	switch {
	case encoding == "" || strings.EqualFold(encoding, "identity"):
	case strings.EqualFold(encoding, "gzip"):
		z, err := gzip.NewReader(from)
		if err != nil {
			return badBody(err, limit)
		}
		defer z.Close()
		from = z
	default:
		return unsupportedMediaType()
	}
	if err := b.hold(int64(cap(b.data)), q.config.MaxBodies); err != nil {
		return err
	}
	for {
		if len(b.data) == cap(b.data) {
			if err := b.grow(q, limit); err != nil {
				return err
			}
		}
		n, err := from.Read(b.data[len(b.data):cap(b.data)])
		b.data = b.data[:len(b.data)+n]
		switch {
		case int64(len(b.data)) > limit:
			return tooLarge(limit)
		case err == io.EOF:
			return nil
		case err != nil:
			return badBody(err, limit)
		}
	}
}

// grow doubles the buffer, up to what is announced.
func (b *body) grow(q *request, limit int64) error {
	size := max(2*int64(cap(b.data)), firstBytes)
	if length := q.r.ContentLength; length >= int64(len(b.data)) && length < size {
		size = length + 1 // and one, to see the end
	}
	size = min(size, limit+1)
	if err := b.hold(size-int64(cap(b.data)), q.config.MaxBodies); err != nil {
		return err
	}
	data := make([]byte, len(b.data), size)
	copy(data, b.data)
	b.data = data
	return nil
}

// hold counts bytes as held, unless too many are held already; one body alone may
// always grow.
func (b *body) hold(n, limit int64) error {
	total := b.api.bodies.Add(n)
	b.held += n
	if total > limit && total != b.held {
		return unavailable("Too much is being received at this moment")
	}
	return nil
}

// badBody explains why a body could not be read.
func badBody(err error, limit int64) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &failure{status: http.StatusRequestTimeout, description: "The body did not arrive in time"}
	}
	return badRequest("Unable to read the body: " + err.Error())
}
