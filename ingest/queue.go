package ingest

import (
	"context"
	"errors"
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

	// Backlog counts the records of the sack at or after from, and their bytes.
	Backlog(sack Sack, from Offset) (records, bytes int64)
}

// Errors that a log reports.
var (
	// ErrTooLarge: a record exceeds MaxRecord.
	ErrTooLarge = errors.New("record is too large")
	// ErrUnavailable: the log can't take records now; nothing is acknowledged.
	ErrUnavailable = errors.New("log is unavailable")
	// ErrGone: the log no longer holds, or never held, the place asked for.
	ErrGone = errors.New("log does not hold this offset")
)
