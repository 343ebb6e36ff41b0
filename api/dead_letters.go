package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"millrace/ingest"
)

// Dead letters are the administrators':
//
//	GET    /v1/dead-letters?limit=&marker=   a page, in the order of sacks and offsets, with Link
//	GET    /v1/dead-letters/<id>             one, with its measures or its bytes
//	POST   /v1/dead-letters/replay           {"ids": [...]} or {"all": true}
//	DELETE /v1/dead-letters/<id>             forgets one
//	DELETE /v1/dead-letters?all=true         forgets them all
//
// replay.go has the replay.

// A letterDoc is a dead letter as a page shows it.
type letterDoc struct {
	ID         string        `json:"id"`
	Sack       ingest.Sack   `json:"sack"`
	Offset     ingest.Offset `json:"offset"`
	AcceptedAt time.Time     `json:"accepted_at"` // null: the record can't be read
	RejectedAt time.Time     `json:"rejected_at"`
	Project    string        `json:"project"`
	Metric     *string       `json:"metric"` // null: the record can't be read
	Policy     string        `json:"archive_policy_name"`
	Reason     string        `json:"reason"`
	Measures   int           `json:"measures"` // how many
	Bytes      int           `json:"bytes"`    // of a record that can't be read

	Lost []lostMeasure `json:"lost,omitempty"` // the measures; when one letter is shown
	Raw  string        `json:"raw,omitempty"`  // the bytes, in base64; when one letter is shown
}

// A lostMeasure is a measure of a dead letter, as a client would send it.
type lostMeasure struct {
	Timestamp time.Time `json:"timestamp"`
	Value     float64   `json:"value"`
}

func newLetterDoc(l *ingest.DeadLetter) letterDoc {
	doc := letterDoc{
		ID: l.ID, Sack: l.Sack, Offset: l.Offset, AcceptedAt: l.AcceptedAt, RejectedAt: l.RejectedAt,
		Project: l.Project, Policy: l.Policy, Reason: l.Reason, Measures: len(l.Measures), Bytes: len(l.Raw),
	}
	if l.Metric != (ingest.MetricID{}) {
		id := l.Metric.String()
		doc.Metric = &id
	}
	return doc
}

func (q *request) listLetters() error {
	values := q.r.URL.Query()
	limit, err := q.limit(values)
	if err != nil {
		return err
	}
	marker, _, err := scalar(values, "marker")
	if err != nil {
		return err
	}
	page := []letterDoc{}
	err = q.eachLetter(q.ctx, marker, limit, func(l *ingest.DeadLetter) bool {
		page = append(page, newLetterDoc(l))
		return true
	})
	if err != nil {
		return err
	}
	if n := len(page); n > 0 {
		q.linkNext(values, limit, nil, n, page[n-1].ID)
	}
	return q.json(http.StatusOK, page)
}

func (q *request) getLetter() error {
	l, err := q.letter(q.ctx, q.params[0])
	if err != nil {
		return err
	}
	doc := newLetterDoc(&l)
	for _, m := range l.Measures {
		doc.Lost = append(doc.Lost, lostMeasure{time.Unix(0, m.Time).UTC(), m.Value})
	}
	doc.Raw = base64.StdEncoding.EncodeToString(l.Raw)
	return q.json(http.StatusOK, doc)
}

func (q *request) deleteLetter() error {
	l, err := q.letter(q.ctx, q.params[0])
	if err != nil {
		return err
	}
	if err := q.letters.Remove(q.ctx, []string{l.ID}); err != nil {
		return fmt.Errorf("cannot remove dead letter %s: %w", l.ID, err)
	}
	return q.empty(http.StatusNoContent)
}

// purgeLetters forgets all letters, page by page.
func (q *request) purgeLetters() error {
	all, err := flag(q.r.URL.Query(), "all", false)
	if err != nil {
		return err
	}
	if !all {
		return badArgument("all", "must be true to purge every dead letter")
	}
	for {
		letters, err := q.letters.List(q.ctx, "", letterPage)
		if err != nil {
			return fmt.Errorf("cannot list dead letters: %w", err)
		}
		if len(letters) == 0 {
			return q.empty(http.StatusNoContent)
		}
		ids := make([]string, len(letters))
		for i := range letters {
			ids[i] = letters[i].ID
		}
		if err := q.letters.Remove(q.ctx, ids); err != nil {
			return fmt.Errorf("cannot remove %d dead letters: %w", len(ids), err)
		}
	}
}

// letter finds one letter: ids sort, so it is the first after the ids that are less.
func (a *API) letter(ctx context.Context, id string) (ingest.DeadLetter, error) {
	record, _, _ := cutLast(id, "-")
	var found *ingest.DeadLetter
	err := a.eachLetter(ctx, record, maxLettersOfRecord, func(l *ingest.DeadLetter) bool {
		if l.ID == id {
			found = l
		}
		return found == nil && strings.HasPrefix(l.ID, record)
	})
	if err != nil {
		return ingest.DeadLetter{}, err
	}
	if found == nil {
		return ingest.DeadLetter{}, notFound("Dead letter " + id + " does not exist")
	}
	return *found, nil
}

// maxLettersOfRecord is how many letters one record can leave: two per entry.
const maxLettersOfRecord = 2 * ingest.MaxRecord / ingest.EntryOverhead

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
