package ingest

import (
	"context"
	"fmt"
	"time"
)

// A DeadLetter is a record, or the part of it that one metric owns, which could
// not be applied: it waits for an operator.
type DeadLetter struct {
	ID         string    // see DeadLetterID
	Sack       Sack      //
	Offset     Offset    // of the record in the log
	AcceptedAt time.Time // when the client was told 202; zero when the record can't be read
	RejectedAt time.Time
	Project    string
	Metric     MetricID  // zero when the record can't be read
	Policy     string    //
	Reason     string    //
	Measures   []Measure // what was lost, when it could be read
	Raw        []byte    // else the record's bytes
}

// DeadLetterID names the letter of one entry of one record, so that a record
// delivered again makes the same letter again. Ids sort by sack and offset.
func DeadLetterID(sack Sack, offset Offset, entry int) string {
	return fmt.Sprintf("%04x-%016x-%04x", int(sack), int64(offset), entry)
}

// DeadLetters keeps dead letters. The methods may be called concurrently.
type DeadLetters interface {
	// Add returns when the letters are durable. A letter whose ID is there already
	// is left as it is.
	Add(ctx context.Context, letters []DeadLetter) error
	// List returns up to limit letters in the order of their ids, after the id
	// given (none: from the start). It may return fewer so as not to take too much
	// memory, but none only when there is none.
	List(ctx context.Context, after string, limit int) ([]DeadLetter, error)
	// Remove forgets letters; ids that are not there are no error.
	Remove(ctx context.Context, ids []string) error
	// Count says how many letters there are, or were a moment ago.
	Count() int
}
