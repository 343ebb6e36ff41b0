package api

import (
	"io"
	"net/http"
	"time"
)

// How much of a body is read that nobody wants any more, and for how long.
const (
	drainBytes = 256 << 20
	drainTime  = 10 * time.Second
)

// drain reads what is left of the body of a request that was refused. Most clients
// look at the answer when they have sent everything: if the connection were closed
// before, they would meet a reset instead of the reason. The answer goes out first,
// for those who look earlier. (HTTP/2 has a way to say so; net/http uses it.)
func (q *request) drain() {
	if q.status < http.StatusBadRequest || q.r.ProtoMajor != 1 || q.r.ContentLength == 0 || q.r.Body == nil {
		return
	}
	control := http.NewResponseController(q.w)
	if control.Flush() != nil || control.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, q.r.Body, drainBytes)
}
