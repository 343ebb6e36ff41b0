package ingest

import (
	"context"
	"errors"
	"time"
)

// An Outgoing is a record on its way into the log.
type Outgoing struct {
	Sack   Sack
	Record *Record
	Offset Offset // out: where the record is, once Append has returned nil
}

// An Appender is the writing end of the log. Its methods may be called from many
// goroutines at once.
type Appender interface {
	// Append returns nil when every record is durable (an fdatasync, or acks=all),
	// having set each Offset. Records of one call keep their order inside a sack. On
	// any error none, some or all of them may still turn up in the log: the outcome
	// is unknown and it is safe to append again; errors.Is(err, ErrTooLarge) alone
	// is certain that nothing was written. The records are the caller's again when
	// it returns. Cancelling ctx stops the waiting, not the writing.
	Append(ctx context.Context, out []Outgoing) error

	// End returns, for every sack, the watermark which says that all records
	// acknowledged before the call have been applied.
	End(ctx context.Context) (Position, error)

	// Log says which log this is.
	Log() LogID
}

// Roomy is an Appender that knows how much room it has.
type Roomy interface {
	// Room returns how many bytes the log holds and how many more it may take.
	Room() (used, free int64)
}

// A Source is the reading end of the log.
type Source interface {
	// Fetch waits until the sack has at least one record at or after from and
	// reads some of them, in order, into dst (which it resets first). What dst holds
	// is valid until the next Fetch into it. It returns ctx's error as it is when ctx
	// ends first. A record that can't be decoded is delivered with Err set. Calls for
	// different sacks may run at once.
	Fetch(ctx context.Context, sack Sack, from Offset, dst *Deliveries) error

	// Applied says that every record of the sack before watermark has been
	// applied durably, so that the log may forget it.
	Applied(sack Sack, watermark Offset)

	// Backlog says what the sack holds at or after from. It may be approximate, and
	// an error means that it can't be told now.
	Backlog(ctx context.Context, sack Sack, from Offset) (Backlog, error)

	// Check returns nil when the log goes on where a watermark ends: the last record
	// applied still stands there, or the log begins exactly behind it. ErrGone says
	// that records at the watermark or after it have been lost, ErrForeign that this is
	// not the log, or not the part of it, that the watermark was made of. Another
	// error says that it can't be told now. The error names places and offsets.
	Check(ctx context.Context, sack Sack, at Watermark) error

	// End returns, for every sack, the watermark of all its records.
	End(ctx context.Context) (Position, error)

	// Log says which log this is.
	Log() LogID
}

// A Backlog is what waits in a sack behind a watermark.
type Backlog struct {
	Records, Bytes int64
	// Oldest is when the first of them was accepted; zero when that isn't known.
	Oldest time.Time
	// From is where the log begins to hold them, if that is behind the watermark: a log of
	// another base, or one of which nothing has been applied. 0: at the watermark.
	From Offset
	// End is behind the last of them, or of all records where none waits: what the
	// watermark is when everything has been applied.
	End Offset
}

// Errors that a log reports.
var (
	// ErrTooLarge: a record exceeds MaxRecord.
	ErrTooLarge = errors.New("record is too large")
	// ErrUnavailable: the log can't take records now; nothing is acknowledged.
	ErrUnavailable = errors.New("log is unavailable")
	// ErrGone: the log no longer holds, or never held, the place asked for.
	ErrGone = errors.New("log does not hold this offset")
	// ErrDamaged: what the log holds is not what was written.
	ErrDamaged = errors.New("log is damaged")
	// ErrForeign: the log is not the one that a watermark is of.
	ErrForeign = errors.New("log is another one than what was applied came from")
)
