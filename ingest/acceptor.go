package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultMaxFuture is how far ahead of the clock a measure may be: less than a wrong
// time zone.
const DefaultMaxFuture = 30 * time.Minute

// AcceptConfig bounds what an Acceptor takes. The zero value of a field means
// its default.
type AcceptConfig struct {
	MaxFuture    time.Duration // how far ahead of the clock a measure may be; DefaultMaxFuture; negative: any
	MaxInFlight  int64         // bytes of records on their way into the log; 256 MiB
	MinRoom      int64         // bytes that the log must have left; 64 MiB
	MaxAge       time.Duration // of the oldest record not yet applied, of a sack concerned; 1 h
	ProjectQuota float64       // measures per second and project; 0: no quota
	RetryAfter   time.Duration // what a refused client is told; 5 s
	Timeout      time.Duration // how long one Accept may wait for the log; 4 s
}

func (c AcceptConfig) withDefaults() AcceptConfig {
	setDefault(&c.MaxFuture, DefaultMaxFuture)
	setDefault(&c.MaxInFlight, 256<<20)
	setDefault(&c.MinRoom, 64<<20)
	setDefault(&c.MaxAge, time.Hour)
	setDefault(&c.RetryAfter, 5*time.Second)
	setDefault(&c.Timeout, 4*time.Second)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// A RefusedError says that a batch was not taken and when to come back. Nothing
// of it is in the log.
type RefusedError struct {
	Reason     string
	RetryAfter time.Duration
	Quota      bool // the caller's own quota, not the system's state
}

func (e *RefusedError) Error() string { return e.Reason }

// A Refusal is a measure of a batch that was left out.
type Refusal struct {
	Entry   int // index in the batch's entries
	Measure int // index in the entry's measures
	Metric  MetricID
	Reason  string
}

// A BadMeasureError names the first measure for which a whole batch was refused.
type BadMeasureError struct{ Refusal }

func (e *BadMeasureError) Error() string {
	return fmt.Sprintf("measure %d of metric %s: %s", e.Measure, e.Metric, e.Reason)
}

// An Acceptor takes batches in: what it has acknowledged is in the log, durable.
// Its methods may be called concurrently.
type Acceptor struct {
	log      Appender
	progress *Progress
	sacks    int
	config   AcceptConfig
	now      func() time.Time

	inFlight atomic.Int64
	room     roomGauge
	quotas   quotas
	scratch  sync.Pool // of *cutter
}

// NewAcceptor returns an Acceptor that appends to log. Progress tells it how old
// the oldest unapplied record is; nil when that can't be known here.
func NewAcceptor(log Appender, progress *Progress, sacks int, config AcceptConfig) *Acceptor {
	a := &Acceptor{log: log, progress: progress, sacks: sacks, config: config.withDefaults(), now: time.Now}
	a.room.of, _ = log.(Roomy)
	a.scratch.New = func() any { return newCutter(sacks) }
	return a
}

// Accept puts a batch into the log and returns when it is durable. Every entry names
// an existing metric and its policy; the caller has seen to that. Measures too far
// ahead of the clock are left out and listed; strict makes the first of them refuse
// the batch with a BadMeasureError, which is also the answer where nothing else would
// be left. RefusedError says that nothing was written and when to come back; an error
// wrapping ErrUnavailable that the outcome is unknown and sending again is safe. The
// batch is the caller's again when Accept returns; its entries may have become shorter.
func (a *Acceptor) Accept(ctx context.Context, b *Batch, strict bool) (Ticket, []Refusal, error) {
	admission, refusals, err := a.Admit(b, strict)
	if err != nil {
		return Ticket{}, nil, err
	}
	defer admission.Release()
	t, err := admission.Append(ctx)
	if err != nil {
		return Ticket{}, nil, err
	}
	return t, refusals, nil
}

// Delete puts the request to forget a metric into the log, and says where it is.
func (a *Acceptor) Delete(ctx context.Context, id MetricID) (Sack, Offset, error) {
	r := Record{Kind: RecordDelete, AcceptedAt: a.now().UTC(), Metric: id}
	out := []Outgoing{{Sack: SackOf(id, a.sacks), Record: &r}}
	err := a.append(ctx, out)
	return out[0].Sack, out[0].Offset, err
}

func (a *Acceptor) append(ctx context.Context, out []Outgoing) error {
	wait, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	err := a.log.Append(wait, out)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("%w: no answer within %s", ErrUnavailable, a.config.Timeout)
	}
	return err
}

// checkTimes takes the measures that are too far ahead of the clock out of the batch.
func (a *Acceptor) checkTimes(b *Batch, now time.Time, strict bool) ([]Refusal, error) {
	if a.config.MaxFuture < 0 {
		return nil, nil
	}
	limit := now.UnixNano() + int64(a.config.MaxFuture)
	var refusals []Refusal
	left := 0
	for i := range b.Entries {
		e := &b.Entries[i]
		left += len(e.Measures)
		if !anyAfter(e.Measures, limit) { // Fast path.
			continue
		}
		kept := e.Measures[:0]
		for j, m := range e.Measures {
			if m.Time <= limit {
				kept = append(kept, m)
				continue
			}
			r := Refusal{Entry: i, Measure: j, Metric: e.Metric, Reason: fmt.Sprintf(
				"timestamp %s is more than %s in the future", time.Unix(0, m.Time).UTC().Format(time.RFC3339Nano),
				a.config.MaxFuture)}
			if strict {
				return nil, &BadMeasureError{r}
			}
			refusals = append(refusals, r)
		}
		left -= len(e.Measures) - len(kept)
		e.Measures = kept
	}
	if left == 0 && len(refusals) > 0 {
		return nil, &BadMeasureError{refusals[0]}
	}
	return refusals, nil
}

func anyAfter(measures []Measure, limit int64) bool {
	for i := range measures {
		if measures[i].Time > limit {
			return true
		}
	}
	return false
}

// admit lets size bytes in, or says why not. A sack that stands still stops what is
// for it, and nothing else.
func (a *Acceptor) admit(b *Batch, size int64, now time.Time) error {
	c := &a.config
	refuse := func(format string, args ...any) error {
		return &RefusedError{Reason: fmt.Sprintf(format, args...), RetryAfter: c.RetryAfter}
	}
	if a.progress != nil && a.progress.Age() > c.MaxAge {
		for i := range b.Entries {
			sack := SackOf(b.Entries[i].Metric, a.sacks)
			if age := a.progress.AgeOf(sack); age > c.MaxAge {
				return refuse("the oldest measure of sack %d that is not yet applied has been waiting for %s, and the limit is %s",
					sack, age.Round(time.Second), c.MaxAge)
			}
		}
	}
	if free, known := a.room.free(now); known && free < c.MinRoom+size {
		return refuse("the log has room for %d more bytes, and keeps %d in reserve", free, c.MinRoom)
	}
	// One batch may exceed the bound when it is alone: else it could never be taken.
	if total := a.inFlight.Add(size); total > c.MaxInFlight && total != size {
		a.inFlight.Add(-size)
		return refuse("%d bytes are on their way into the log, and the limit is %d", total-size, c.MaxInFlight)
	}
	return nil
}

// A roomGauge asks the log for its room at most ten times a second: it may be a
// system call.
type roomGauge struct {
	of    Roomy
	asked atomic.Int64 // ns
	last  atomic.Int64
}

func (g *roomGauge) free(now time.Time) (bytes int64, known bool) {
	if g.of == nil {
		return 0, false
	}
	t := now.UnixNano()
	if asked := g.asked.Load(); asked == 0 || t-asked > int64(100*time.Millisecond) {
		_, free := g.of.Room()
		g.last.Store(free)
		g.asked.Store(t)
	}
	return g.last.Load(), true
}
