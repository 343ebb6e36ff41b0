package api

import (
	"errors"
	"time"

	"millrace/ingest"
)

// catchUpWait is how long a plain read waits for the sacks that this process has just
// opened to come to where the log ended then: a restart makes nothing unreadable.
const catchUpWait = 2 * time.Second

// headerLag says on an answer with measures how many seconds what it shows is behind
// the log, where it is.
const headerLag = "Millrace-Lag"

// readSeries answers queries from the driver, all at one position: at least the one
// that the request has waited for. The answer's Millrace-Position says which: where it
// takes several reads, the earliest of each sack.
func (q *request) readSeries(queries []ingest.Query, series [][]ingest.Measure) error {
	shown, err := q.driver.Read(q.ctx, queries, series, q.at)
	switch {
	case errors.Is(err, ingest.ErrBehind):
		return q.lagging("The position asked for can't be read yet.", q.at)
	case err != nil:
		return err
	}
	if q.status != 0 { // the header has been sent
		return nil
	}
	if q.shown == nil {
		q.shown = shown
	} else {
		for s, at := range shown {
			if at > 0 && (q.shown[s] == 0 || at < q.shown[s]) {
				q.shown[s] = at
			}
		}
	}
	if t, ok := showing(q.shown); ok {
		q.w.Header().Set(headerPosition, t.String())
	}
	return nil
}

// catchUp waits for the sacks that are being opened, but not for long: then what has
// been flushed is shown, and how far that is behind.
func (q *request) catchUp(queries []ingest.Query) {
	touched := make(ingest.Position, q.sacks)
	for i := range queries {
		touched[ingest.SackOf(queries[i].Metric, q.sacks)] = 1
	}
	target := q.progress.CatchingUp(touched)
	if target == nil { // Fast path.
		return
	}
	at := q.at // a plain read asks for no position
	if !q.await(target, catchUpWait) {
		q.w.Header().Set(headerLag, ingest.FormatSeconds(q.ageOf(target)))
	}
	q.at = at
}

// ageOf is how long the oldest record not yet applied has been waiting in the sacks of
// a position.
func (q *request) ageOf(position ingest.Position) (age time.Duration) {
	for s, at := range position {
		if at > 0 {
			age = max(age, q.progress.AgeOf(ingest.Sack(s)))
		}
	}
	return age.Round(time.Millisecond)
}

// showing makes a ticket of what a read shows, if it has looked at a sack that holds
// anything: a later read that carries it never shows less.
func showing(shown ingest.Position) (ingest.Ticket, bool) {
	t := ingest.Ticket{Position: shown, First: make(ingest.Position, len(shown))}
	any := false
	for s, at := range shown {
		if at > 0 {
			t.First[s] = at - 1
			any = true
		}
	}
	return t, any
}
