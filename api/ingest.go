package api

import (
	"context"
	"fmt"
	"net/http"

	"millrace/ingest"
)

// The states of an ingestDoc.
const (
	stateQueued         = "queued"          // not all of it has been applied yet
	stateApplied        = "applied"         // all of it can be read
	statePartlyRejected = "partly_rejected" // what was not rejected can be read
	stateLost           = "lost"            // the log was left behind before all of it was applied
)

// An ingestDoc says what became of the measures of one request.
type ingestDoc struct {
	State    string   `json:"state"`
	Accepted uint64   `json:"accepted"` // measures that went into the log
	Refused  uint64   `json:"refused"`  // measures left out at once (handling=lenient)
	Rejected uint64   `json:"rejected"` // accepted measures that could not be applied
	Rejects  []reject `json:"rejects"`  // which and why: the first 1000
	Lag      lagDoc   `json:"lag"`      // of the sacks that the request touched
}

// A reject is a part of a request that was not taken or could not be applied.
type reject struct {
	Metric     string `json:"metric,omitempty"`   // as the client wrote it, where that is known
	Measure    *int   `json:"measure,omitempty"`  // index in the metric's list; absent: not a single one
	Field      string `json:"field,omitempty"`    // of the measure: timestamp or value
	Measures   int    `json:"measures,omitempty"` // how many could not be applied
	Reason     string `json:"reason"`
	DeadLetter string `json:"dead_letter,omitempty"` // id of what was put aside
}

// getIngest answers GET /v1/ingest/<token>, the Location of a 202. Prefer: wait=N
// waits for the measures to be applied.
func (q *request) getIngest() error {
	t, err := ingest.ParseTicket(q.params[0], q.sacks)
	if err != nil {
		return notFound("Ingest token " + q.params[0] + " does not exist")
	}
	if p := q.preferences(); p.wait > 0 && q.await(t.Position, p.wait) {
		q.waited(p)
	}
	doc, err := q.fate(t, nil)
	if err != nil {
		return err
	}
	return q.json(http.StatusOK, doc)
}

// queued describes a request that has just been accepted.
func (q *request) queued(t ingest.Ticket, rejects []reject) ingestDoc {
	return ingestDoc{State: stateQueued, Accepted: t.Accepted, Refused: t.Refused, Rejects: rejects,
		Lag: q.lagOf(t.Position)}
}

// fate says what became of a request's measures: those rejected at the door are
// given, those rejected later are dead letters.
func (q *request) fate(t ingest.Ticket, rejects []reject) (ingestDoc, error) {
	reached := q.progress.Reached(t.Position) // before the letters are read: they come first
	doc := q.queued(t, rejects)
	err := q.lettersOf(t, func(l *ingest.DeadLetter) {
		doc.Rejected += uint64(len(l.Measures))
		if len(doc.Rejects) < maxRejects {
			doc.Rejects = append(doc.Rejects, rejectOf(l))
		}
	})
	if err != nil {
		return doc, err
	}
	all, account := q.who.Has("admin"), q.who.Account()
	for _, l := range q.progress.Rejects(t) {
		if (all || l.Project == account) && len(doc.Rejects) < maxRejects {
			doc.Rejected += uint64(len(l.Measures))
			doc.Rejects = append(doc.Rejects, reject{Metric: l.Metric.String(), Measures: len(l.Measures), Reason: l.Reason})
		}
	}
	lost, err := q.isLost(t)
	if err != nil {
		return doc, err
	}
	switch {
	case lost:
		doc.State = stateLost
	case !reached:
	case doc.Refused > 0 || len(doc.Rejects) > 0:
		doc.State = statePartlyRejected
	default:
		doc.State = stateApplied
	}
	return doc, nil
}

func rejectOf(l *ingest.DeadLetter) reject {
	r := reject{Measures: len(l.Measures), Reason: l.Reason, DeadLetter: l.ID}
	if l.Metric != (ingest.MetricID{}) {
		r.Metric = l.Metric.String()
	}
	return r
}

// letterPage is how many dead letters are read at a time.
const letterPage = 100

// maxScanned bounds the dead letters that one request looks at in each sack.
const maxScanned = 10 * letterPage

// lettersOf visits the dead letters between the first and the last record of a
// ticket, as far as they are the caller's to see. Another request of theirs can
// have put records in between only where a request was cut into several.
func (q *request) lettersOf(t ingest.Ticket, visit func(*ingest.DeadLetter)) error {
	if any, err := q.letters.List(q.ctx, "", 1); err != nil || len(any) == 0 { // Fast path: not asked for each sack.
		return err
	}
	all, account := q.who.Has("admin"), q.who.Account()
	for s, end := range t.Position {
		if end == 0 {
			continue
		}
		sack := ingest.Sack(s)
		err := q.eachLetter(q.ctx, lettersBefore(sack, t.First[s]), maxScanned, func(l *ingest.DeadLetter) bool {
			if l.Sack != sack || l.Offset >= end {
				return false
			}
			if all || l.Project == account {
				visit(l)
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lettersBefore returns a text that sorts before the ids of the letters of a
// record and after those of earlier records.
func lettersBefore(sack ingest.Sack, offset ingest.Offset) string {
	id := ingest.DeadLetterID(sack, offset, 0)
	return id[:len(id)-len("-0000")]
}

// eachLetter visits up to limit dead letters after an id, page by page, until
// visit returns false.
func (a *API) eachLetter(ctx context.Context, after string, limit int, visit func(*ingest.DeadLetter) bool) error {
	for limit > 0 {
		want := min(limit, letterPage)
		letters, err := a.letters.List(ctx, after, want)
		if err != nil {
			return fmt.Errorf("cannot list dead letters: %w", err)
		}
		for i := range letters {
			if !visit(&letters[i]) {
				return nil
			}
		}
		if len(letters) == 0 {
			return nil
		}
		after = letters[len(letters)-1].ID
		limit -= len(letters)
	}
	return nil
}
