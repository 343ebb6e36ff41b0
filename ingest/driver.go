package ingest

import (
	"context"
	"errors"
	"time"
)

// A Driver applies records to a back-end and reads aggregates from it. Drivers
// return errors and neither log nor retry: an error that is Permanent blames what
// was asked, any other blames the back-end's state and may be retried by the
// caller. All methods may be called concurrently.
type Driver interface {
	// Open makes the caller the owner of a sack and fences every earlier owner: from
	// then on an earlier SackWriter's Flush fails with ErrFenced. It returns the
	// watermark up to which the back-end holds the sack's records; the log is to be
	// delivered from there.
	Open(ctx context.Context, sack Sack) (SackWriter, Offset, error)

	// Read answers every query with its rows, ascending in time, appending them to
	// dst[i] (len(dst) = len(queries)). It sees what has been flushed, by anybody. A
	// metric that the back-end has never seen has no rows. It needs no open sack.
	Read(ctx context.Context, queries []Query, dst [][]Measure) error

	// Close releases what the driver holds. Open writers are closed first, by
	// their owners. A second Close does nothing.
	Close() error
}

// A Query asks for one aggregated series of one metric: the buckets with
// floor(From, Granularity) ≤ start < To which the policy's timespan keeps, counted
// back from the metric's newest bucket at that granularity.
type Query struct {
	Metric      MetricID
	Policy      *ArchivePolicy // has Granularity and Method
	Granularity time.Duration
	Method      Method
	From, To    int64 // nanoseconds; MinTime and MaxTime when open
}

// The ends of time, for queries without bounds.
const (
	MinTime int64 = -1 << 63
	MaxTime int64 = 1<<63 - 1
)

// A SackWriter is one ownership of one sack. Apply, Flush and Close are called
// from one goroutine; Maintain may run beside them in another.
type SackWriter interface {
	// Apply takes records in the order of their offsets, and may keep them in memory
	// until Flush. The deliveries and what they point to are the caller's again
	// when it returns. A delivery below the watermark, or one seen before, changes
	// nothing. A delivery with Err set, or a nudge, only moves the watermark. Entries
	// refused for good come back as rejects; their neighbours are applied. When it
	// returns an error the writer is to be closed, and the sack opened again.
	Apply(ctx context.Context, records []Delivery) ([]Reject, error)

	// Flush makes everything applied so far durable and visible to Read, together
	// with the watermark, which it returns. On ErrFenced somebody else owns the sack:
	// the writer has forgotten its buffer. On another error the outcome is unknown;
	// Flush may be called again and settles it.
	Flush(ctx context.Context) (Offset, error)

	// Buffered says how many bytes await the next Flush, roughly. Called from the
	// goroutine of Apply and Flush.
	Buffered() int64

	// Maintain does one round of the back-end's housekeeping (merging, sealing,
	// expiry), if any is due, and returns when it is done or ctx ends.
	Maintain(ctx context.Context) error

	// Close gives the writer up without flushing; the watermark says what counts.
	// It waits for a running Maintain. A second Close does nothing.
	Close() error
}

// A LateReader is a Driver that drops measures which come too late, and counts them.
type LateReader interface {
	// Late returns, for every metric, how many of its measures have been dropped
	// as late in what has been flushed.
	Late(ctx context.Context, metrics []MetricID) ([]uint64, error)
}

// A Watermarker is a Driver that can say how far a sack has been applied without
// owning it: for processes that accept and read, and leave applying to others.
type Watermarker interface {
	// Watermark returns how far the back-end holds the records of a sack, whoever
	// flushed them: what Open would return, but that it fences nobody.
	Watermark(ctx context.Context, sack Sack) (Offset, error)
}

// A Reject is an entry that a driver refuses for good.
type Reject struct {
	Offset Offset // of the record
	Entry  int    // index in the record's entries
	Reason string
}

// ErrFenced says that somebody else has opened the sack since.
var ErrFenced = errors.New("sack is owned by somebody else")

// Permanent marks an error that trying again can't help.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// IsPermanent says whether an error, or one that it wraps, was marked Permanent.
func IsPermanent(err error) bool {
	_, ok := errors.AsType[*permanentError](err)
	return ok || errors.Is(err, ErrNoPolicy) || errors.Is(err, ErrTooLarge)
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }
