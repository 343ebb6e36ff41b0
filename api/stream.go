package api

import (
	"net/http"
	"runtime"
	"time"

	"millrace/api/gnocchi"
	"millrace/ingest"
)

// Sizes of the pieces in which answers are written: one that fits into a piece has a
// Content-Length, a longer one is streamed.
const (
	rowsPiece = 4096
	sendBytes = 256 << 10
)

// pieceTime is how long a client may take for one piece.
const pieceTime = time.Minute

// A stream is an answer of JSON that is written piece by piece.
type stream struct {
	q    *request
	slot *[]byte
	buf  []byte
	gone bool // nobody listens
	// pause is called before a piece is sent, which may take as long as the client likes.
	pause func()
}

// stream begins an answer, of which nothing is sent before a piece is full: until then
// it may be given up. The caller closes it.
func (q *request) stream() *stream {
	slot, _ := q.buffers.Get().(*[]byte)
	if slot == nil {
		slot = new([]byte)
	}
	return &stream{q: q, slot: slot, buf: (*slot)[:0], pause: func() {}}
}

// close gives the buffer back.
func (s *stream) close() {
	*s.slot = s.buf[:0]
	s.q.buffers.Put(s.slot)
	s.buf = nil
}

// text appends JSON as it is.
func (s *stream) text(json string) { s.buf = append(s.buf, json...) }

// value appends a value as JSON.
func (s *stream) value(v any) {
	s.buf = gnocchi.Append(s.buf, v)
	s.flush(sendBytes)
}

// rows appends rows to the list of rows in which the answer ends.
func (s *stream) rows(rows []ingest.Measure, granularity string) {
	for len(rows) > 0 && !s.gone {
		n := min(len(rows), rowsPiece)
		s.buf = gnocchi.AppendRows(s.buf, rows[:n], granularity)
		rows = rows[n:]
		s.flush(sendBytes)
	}
}

// flush sends what there is, if it is as much as least. The last byte stays, for
// AppendRows looks at it.
func (s *stream) flush(least int) {
	if len(s.buf) < least || s.gone {
		return
	}
	last := len(s.buf) - 1
	s.pause()
	s.send(s.buf[:last])
	s.buf[0] = s.buf[last]
	s.buf = s.buf[:1]
	runtime.Gosched() // in favour of those who want little
}

func (s *stream) send(piece []byte) {
	if s.q.status == 0 {
		s.q.w.Header()["Content-Type"] = []string{typeJSON}
		s.q.status = http.StatusOK
	}
	// Servers of tests have no deadlines; where there is none, none is in the way.
	_ = http.NewResponseController(s.q.w).SetWriteDeadline(time.Now().Add(pieceTime))
	if _, err := s.q.w.Write(piece); err != nil {
		s.gone = true
	}
	s.q.bound()
}

// end sends what is left.
func (s *stream) end() error {
	if s.q.status == 0 {
		return s.q.bytes(http.StatusOK, typeJSON, s.buf)
	}
	if !s.gone {
		s.send(s.buf)
	}
	return nil
}

// broken is what becomes of an error when the answer has begun: the client must not
// take half an answer for a whole one.
func (s *stream) broken(err error) error {
	if s.q.status == 0 || err == nil {
		return err
	}
	if s.gone || s.q.r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody listens
	}
	s.q.log.Error("an answer is broken off", "method", s.q.r.Method, "path", s.q.r.URL.Path, "err", err)
	panic(http.ErrAbortHandler)
}
