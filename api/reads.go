package api

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"millrace/ingest"
)

// Reads are admitted twice: by slots, of which one is held while rows are fetched and
// computed, and by the bytes that rows take in memory. A slot is given back while
// a piece of an answer is on its way to a client, so that a slow client holds memory
// and nothing else. Who gets no slot in time, or no memory, is told to come back; an
// answer that has begun waits longer, since it can only be broken off.

// bytesPerRow is what a row takes while it is held.
const bytesPerRow = 16

// patience is how long an answer that has begun waits for its next slot.
const patience = 30 * time.Second

// A reading is what all reads of an API hold.
type reading struct {
	slots *semaphore.Weighted
	bytes atomic.Int64
}

func newReading(slots int) *reading { return &reading{slots: semaphore.NewWeighted(int64(slots))} }

// defaultReads is one for each processor: where storage answers at once, more of them
// make each slower and leave nothing to those who write.
func defaultReads() int { return runtime.GOMAXPROCS(0) }

// lessWork says how a read asks for less.
const lessWork = "ask for a shorter range (start, stop), a coarser granularity, or fewer metrics at a time"

// A share is what one request holds of a reading. It is for one goroutine.
type share struct {
	q     *request
	bytes int64
	slot  bool

	ahead         int // rows among these bytes that no table has taken yet
	queries, rows int // that were fetched
}

// left is how many more points the request may hold.
func (s *share) left() int { return s.q.config.MaxPoints - int(s.bytes/bytesPerRow) + s.ahead }

// expected is how many rows a series of at most so many probably has: as many as those
// before it, and more.
func (s *share) expected(most int) int {
	if s.queries == 0 {
		return most
	}
	return min(most, 2*s.rows/s.queries+1)
}

// share begins a read. The caller ends it.
func (q *request) share() *share { return &share{q: q} }

// enter takes a slot, waiting for one if need be.
func (s *share) enter() error {
	slots := s.q.reading.slots
	if !s.slot && !slots.TryAcquire(1) {
		ctx, cancel := s.bounded()
		defer cancel()
		if err := slots.Acquire(ctx, 1); err != nil {
			s.q.metrics.refusedReads.Add(s.q.ctx, 1)
			return unavailable("Too many reads are going on at this moment. Please try again, or " + lessWork + ".")
		}
	}
	s.slot = true
	return nil
}

func (s *share) bounded() (context.Context, context.CancelFunc) {
	if s.q.status != 0 {
		return context.WithTimeout(s.q.r.Context(), patience)
	}
	deadline, _ := s.q.ctx.Deadline()
	return context.WithDeadline(s.q.ctx, deadline.Add(-2*timeToAnswer))
}

// leave gives the slot back.
func (s *share) leave() {
	if s.slot {
		s.q.reading.slots.Release(1)
		s.slot = false
	}
}

// hold counts the memory of so many more rows, or fewer. What one read alone
// holds is not refused here: see Config.MaxPoints.
func (s *share) hold(rows int) error {
	n := int64(rows) * bytesPerRow
	s.bytes += n
	total := s.q.reading.bytes.Add(n)
	if n > 0 && total > s.q.config.MaxReadBytes && total != s.bytes {
		s.q.metrics.refusedReads.Add(s.q.ctx, 1)
		return unavailable("Too much is being read at this moment. Please try again, or " + lessWork + ".")
	}
	return nil
}

// free counts the memory of so many rows as free.
func (s *share) free(rows int) { _ = s.hold(-rows) } // only more can be too much

// end gives back all that is held.
func (s *share) end() {
	s.q.reading.bytes.Add(-s.bytes)
	s.bytes = 0
	s.leave()
}

// fetch asks the driver. It takes a slot.
func (s *share) fetch(queries []ingest.Query, dst [][]ingest.Measure) error {
	s.q.catchUp(queries)
	if err := s.enter(); err != nil {
		return err
	}
	err := s.q.readSeries(queries, dst)
	s.queries += len(queries)
	for i := range dst {
		s.rows += len(dst[i])
	}
	if err == nil || ingest.IsPermanent(err) || failureOf(err) != nil {
		return err
	}
	s.q.log.Error("cannot read measures", "metric", queries[0].Metric.String(), "err", err)
	return unavailable("Measures can't be read at this moment. Please try again.")
}

// pieceRows is how many rows of a long series are in memory at one time.
const pieceRows = 1 << 15

// pieces gives use the rows of a query, in order, some at a time: the rows are use's
// until it returns. However long the series, it holds no more than a piece. While use
// runs the slot is held, unless it gives it back.
func (s *share) pieces(query ingest.Query, use func(rows []ingest.Measure) error) error {
	held := expectedRows(query.Policy, query.Granularity, query.From, query.To)
	if held > pieceRows {
		query.Limit, held = pieceRows, pieceRows
	}
	if err := s.hold(held); err != nil {
		return err
	}
	defer s.hold(-held)
	var dst [1][]ingest.Measure
	for {
		dst[0] = dst[0][:0]
		if err := s.fetch([]ingest.Query{query}, dst[:]); err != nil {
			return err
		}
		n := len(dst[0])
		if n == 0 {
			return nil
		}
		last := dst[0][n-1].Time
		if err := use(dst[0]); err != nil {
			return err
		}
		if query.Limit == 0 || n < query.Limit || last > ingest.MaxTime-int64(query.Granularity) {
			return nil
		}
		query.From = last + int64(query.Granularity)
	}
}

// tooManyPoints is the answer to a question that takes more values than one may.
func (q *request) tooManyPoints() error {
	return badRequest(cause{
		cause:  "Metrics cannot be aggregated",
		reason: fmt.Sprintf("This takes more than %d points in memory: %s", q.config.MaxPoints, lessWork),
		detail: map[string]any{"limit": q.config.MaxPoints},
	})
}
