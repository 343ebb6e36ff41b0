package ingest

import (
	"context"
	"errors"
	"time"
)

// A Driver applies records to a back-end and reads aggregates from it. Drivers
// return errors and neither log nor retry: an error that is Permanent blames what
// was asked, any other blames the back-end's state and may be retried by the
// caller, after the time that RetryAfterOf tells if the back-end has said one. All
// methods may be called concurrently.
type Driver interface {
	// Open makes the caller the owner of a sack and fences every earlier owner: from
	// then on an earlier SackWriter's Flush fails with ErrFenced. (A driver whose
	// data is idempotent may not fence: its writers' Epoch is 0.) It returns the
	// watermark up to which the back-end holds the sack's records, as it was given to
	// Flush; the zero Watermark for a sack that nobody has flushed. The log is to be
	// delivered from there.
	Open(ctx context.Context, sack Sack) (SackWriter, Watermark, error)

	// Read answers every query with its rows, ascending in time, appending them to
	// dst[i] (len(dst) = len(queries)). It sees what has been flushed, by anybody, and
	// if the driver is a LiveReader also what has been applied in this process. A
	// metric that the back-end has never seen has no rows. It needs no open sack.
	//
	// What it shows of a sack is at one position, and at least at the one asked for
	// (nil: any): when the back-end isn't there yet, ErrBehind says so. It returns the
	// position that it shows of every sack that it has looked at, 0 for the others.
	Read(ctx context.Context, queries []Query, dst [][]Measure, at Position) (Position, error)

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
	// Limit is how many rows to append at most, the oldest; 0: all of them. To go on,
	// ask again with From moved to the last row's time plus Granularity.
	Limit int
}

// The ends of time, for queries without bounds.
const (
	MinTime int64 = -1 << 63
	MaxTime int64 = 1<<63 - 1
)

// A SackWriter is one ownership of one sack. Apply, Flush, Confirm and Close are
// called from one goroutine; Maintain may run beside them in another.
type SackWriter interface {
	// Apply takes records in the order of their offsets, and may keep them in memory
	// until Flush. The deliveries and what they point to are the caller's again
	// when it returns. A delivery below the watermark, or one seen before, changes
	// nothing, and neither does one with Err set, or a nudge. Entries refused for good
	// come back as rejects; their neighbours are applied. After an error that
	// IsUnharmed the same records may be given again; after any other the writer is
	// to be closed, and the sack opened again.
	Apply(ctx context.Context, records []Delivery) ([]Reject, error)

	// Flush makes everything applied so far durable and visible to Read, together
	// with a watermark: that of the last record applied. The driver stores it as it is,
	// in one step with the data (or after it, where the data is idempotent). When it
	// returns rejects, with Part set, the watermark has not moved: the caller puts them
	// aside and calls again. On ErrFenced somebody else owns the sack, on ErrWentBack
	// the back-end is not what it was when the sack was opened: the writer has
	// forgotten its buffer. On another error the outcome is unknown; Flush may be called
	// again with the same watermark and settles it.
	Flush(ctx context.Context, to Watermark) ([]Reject, error)

	// Confirm reads the watermark again that the back-end holds now, so that the log
	// may forget what is before it. ErrFenced and ErrWentBack as for Flush.
	Confirm(ctx context.Context) (Offset, error)

	// Buffered says how many bytes await the next Flush, roughly. Called from the
	// goroutine of Apply and Flush.
	Buffered() int64

	// Epoch numbers the sack's ownerships, higher for a later one; 0 when the driver
	// does not fence.
	Epoch() uint64

	// Maintain does one round of the back-end's housekeeping (merging, sealing,
	// expiry), if any is due, and returns when it is done or ctx ends.
	Maintain(ctx context.Context) error

	// Close gives the writer up without flushing; the watermark says what counts.
	// It waits for a running Maintain. A second Close does nothing.
	Close() error
}

// A Sealer is a SackWriter that aggregates what was flushed some time later.
type Sealer interface {
	// Sealed returns the offset below which all records have been gone through for
	// that: what of them could no longer change has been aggregated for good. It may be
	// called beside everything else.
	Sealed() Offset
}

// A LiveReader is a Driver whose Read sees, in the process that owns a sack, what
// Apply has taken, without a flush: whoever waits there for a position need not wait
// for one.
type LiveReader interface {
	Driver
	// ReadsLive does nothing but say so.
	ReadsLive()
}

// A LateReader is a Driver that drops measures which come too late, and counts them.
type LateReader interface {
	// Late returns, for every metric, how many of its measures have been dropped
	// as late, in what Read would show.
	Late(ctx context.Context, metrics []MetricID) ([]uint64, error)
}

// A Watermarker is a Driver that can say how far sacks have been applied without
// owning them: for processes that accept and read, and leave applying to others.
type Watermarker interface {
	// Watermarks sets dst[i] to how far the back-end holds the records of sacks[i],
	// whoever flushed them: what Open would return, but that it fences nobody. It is
	// one request or a few in parallel, and returns when ctx ends at the latest.
	Watermarks(ctx context.Context, sacks []Sack, dst []Offset) error
}

// A Prober is a Driver whose back-end can be gone, and asked whether it is.
type Prober interface {
	// Probe asks the back-end for a sign of life: one cheap request that changes nothing. Any
	// answer of one that works will do, nil; an error says that none has come. It returns
	// when ctx ends at the latest.
	Probe(ctx context.Context) error
}

// A DamageLister is a Driver that remembers what it could not read although the back-end
// has given it.
type DamageLister interface {
	// Damages lists what this process has found damaged since it started, and has neither
	// read since nor seen replaced, by name. It asks the back-end nothing.
	Damages() []Damage
}

// A Damage is an object that can't be read.
type Damage struct {
	Name  string // of the object
	Err   error
	First time.Time // when it was found
	Last  time.Time // and last met
}

// A Reject is an entry that a driver refuses for good.
type Reject struct {
	Offset Offset // of the record
	Entry  int    // index in the record's entries
	Reason string
	// Deleted says that the metric was deleted before the record in the log: counted,
	// and no dead letter.
	Deleted bool
	// Part is set by Flush, whose records are the log's again: what is refused.
	Part *RejectedPart
}

// A RejectedPart is a copy of what a reject is about.
type RejectedPart struct {
	AcceptedAt time.Time
	Project    string
	Metric     MetricID
	Policy     string
	Measures   []Measure
}

// Errors of a Driver.
var (
	// ErrFenced says that somebody else has opened the sack since.
	ErrFenced = errors.New("sack is owned by somebody else")
	// ErrWentBack says that the back-end has lost what it had acknowledged, as after a
	// fail-over or a restored backup. The sack is to be opened again; the log replays.
	ErrWentBack = errors.New("back-end has gone back to an earlier state")
	// ErrBehind says that a back-end does not yet show the position asked for.
	ErrBehind = errors.New("back-end does not show this position yet")
	// ErrCorrupted says that what a back-end holds is damaged: trying again can't help,
	// a repair may. It is Permanent.
	ErrCorrupted = errors.New("what is stored is damaged")
	// ErrNewer says that something was written by a newer version of this program:
	// whoever meets it waits for that version, and changes and drops nothing.
	ErrNewer = errors.New("written by a newer version of this program")
)

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
	return ok || errors.Is(err, ErrNoPolicy) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrCorrupted)
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Unharmed marks an error of Apply after which the writer is what it was before: the
// same records may be given again.
func Unharmed(err error) error {
	if err == nil {
		return nil
	}
	return &unharmedError{err}
}

// IsUnharmed says whether an error, or one that it wraps, was marked Unharmed.
func IsUnharmed(err error) bool {
	_, ok := errors.AsType[*unharmedError](err)
	return ok
}

type unharmedError struct{ err error }

func (e *unharmedError) Error() string { return e.err.Error() }
func (e *unharmedError) Unwrap() error { return e.err }

// RetryAfter marks an error with the time after which the back-end asks to be tried
// again.
func RetryAfter(err error, pause time.Duration) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{err, pause}
}

// RetryAfterOf returns the longest pause that an error, or one that it wraps, was
// marked with.
func RetryAfterOf(err error) (time.Duration, bool) {
	e, ok := errors.AsType[*retryAfterError](err)
	if !ok {
		return 0, false
	}
	inner, _ := RetryAfterOf(e.err)
	return max(e.pause, inner), true
}

type retryAfterError struct {
	err   error
	pause time.Duration
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }
