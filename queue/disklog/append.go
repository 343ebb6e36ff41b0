package disklog

import (
	"context"
	"fmt"
	"sync"

	"millrace/ingest"
	"millrace/queue"
)

const (
	maxAppend  = 256 << 20 // bytes of one Append
	maxWaiting = 64 << 20  // bytes of all that wait for the writer
	maxGroup   = 4 << 20   // bytes of one write; a single Append may be longer
	keepBuffer = 4 << 20   // buffers up to this stay for the next Append
)

// An appendRequest is one Append on its way to the writer: its frames, all but
// what depends on where they come to stand.
type appendRequest struct {
	buf    []byte
	frames []pendingFrame
	at     ingest.Offset // of buf[0] in the log; set by the writer
	done   chan error    // capacity 1
}

type pendingFrame struct {
	at int // in buf
	frameHeader
}

// release gives the request's memory to the next Append.
func (l *Log) release(r *appendRequest) {
	if cap(r.buf) <= keepBuffer {
		r.buf, r.frames = r.buf[:0], r.frames[:0]
		l.requests.Put(r)
	}
}

// Append makes records durable: all of them in one write and one fdatasync, which
// they share with those of whoever else appends at the time. See ingest.Appender
// for what errors mean. Here one more thing is certain: records whose Append
// failed because the disk did are not in the log, unless the process ended before
// it had reopened the log.
func (l *Log) Append(ctx context.Context, out []ingest.Outgoing) error {
	if len(out) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r := l.requests.Get().(*appendRequest)
	err := l.encode(r, out)
	if err == nil {
		err = l.admit(r)
	}
	if err != nil {
		l.release(r)
		return fmt.Errorf("cannot append %d records: %w", len(out), err)
	}
	select {
	case err = <-r.done:
	case <-ctx.Done(): // the request is the writer's now, and then the collector's
		return ctx.Err()
	}
	if err == nil {
		for i := range out {
			out[i].Offset = r.at + ingest.Offset(r.frames[i].at)
		}
	} else {
		err = fmt.Errorf("cannot append %d records: %w", len(out), err)
	}
	l.release(r)
	return err
}

// encode makes the frames, in the caller's goroutine.
func (l *Log) encode(r *appendRequest, out []ingest.Outgoing) error {
	for i := range out {
		if s := out[i].Sack; s < 0 || int(s) >= l.sacks {
			return fmt.Errorf("no sack %d among %d", s, l.sacks)
		}
		at := len(r.buf)
		buf, err := queue.AppendRecord(append(r.buf, make([]byte, frameHeaderLen)...), out[i].Record)
		if err != nil {
			return err
		}
		length := len(buf) - at - frameHeaderLen
		r.buf = append(buf, make([]byte, paddedLen(length)-length)...)
		r.frames = append(r.frames, pendingFrame{at, frameHeader{
			sum: payloadSum(r.buf[at+frameHeaderLen:]), length: uint32(length), sack: uint32(out[i].Sack)}})
		if len(r.buf) > maxAppend {
			return fmt.Errorf("they take more than %d bytes: %w", maxAppend, ingest.ErrTooLarge)
		}
	}
	return nil
}

// admit hands the request to the writer if there is room.
func (l *Log) admit(r *appendRequest) error {
	if most := l.config.MaxBytes; most > 0 {
		used := l.held()
		if used+l.intake.size()+int64(len(r.buf)) > most {
			return fmt.Errorf("%w: it holds %d bytes of the %d that it may", ingest.ErrUnavailable, used, most)
		}
	}
	return l.intake.put(r)
}

// An intake is where requests wait for the writer.
type intake struct {
	mu      sync.Mutex
	waiting []*appendRequest
	bytes   int64
	refusal error         // why nothing is taken at the moment
	closed  bool          // nothing is taken any more
	wake    chan struct{} // capacity 1
}

func (q *intake) init() { q.wake = make(chan struct{}, 1) }

func (q *intake) size() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

func (q *intake) put(r *appendRequest) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return errClosed
	case q.refusal != nil:
		return q.refusal
	case q.bytes > 0 && q.bytes+int64(len(r.buf)) > maxWaiting:
		return fmt.Errorf("%w: %d bytes are waiting for the disk", ingest.ErrUnavailable, q.bytes)
	}
	q.waiting = append(q.waiting, r)
	q.bytes += int64(len(r.buf))
	q.signal()
	return nil
}

func (q *intake) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for requests and returns those that make the next group, in group's
// memory; none when the intake is closed and empty. There is no lingering: what
// comes while the disk is busy is the next group.
func (q *intake) take(group []*appendRequest) []*appendRequest {
	for {
		q.mu.Lock()
		if len(q.waiting) > 0 {
			break
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return nil
		}
		<-q.wake
	}
	defer q.mu.Unlock()
	n, bytes := 0, 0
	for n < len(q.waiting) && (n == 0 || bytes+len(q.waiting[n].buf) <= maxGroup) {
		bytes += len(q.waiting[n].buf)
		n++
	}
	group = append(group[:0], q.waiting[:n]...)
	rest := copy(q.waiting, q.waiting[n:])
	clear(q.waiting[rest:])
	q.waiting = q.waiting[:rest]
	q.bytes -= int64(bytes)
	return group
}

// refuse turns everybody away, those who wait too, until accept.
func (q *intake) refuse(why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refusal = why
	for _, r := range q.waiting {
		r.done <- why
	}
	clear(q.waiting)
	q.waiting, q.bytes = q.waiting[:0], 0
}

func (q *intake) accept() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refusal = nil
}

func (q *intake) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

// putFrames writes the request's frames to dst, which begins at position. The
// group that they are part of began at groupAt.
func (r *appendRequest) putFrames(dst []byte, seed uint32, position, groupAt int64) {
	copy(dst, r.buf)
	r.at = ingest.Offset(position)
	for _, f := range r.frames {
		at := position + int64(f.at)
		f.back = uint32(at - groupAt)
		f.put(dst[f.at:], seed, at)
	}
}
