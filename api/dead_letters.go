package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"millrace/index"
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
// A replay is a new acceptance: each letter's metric is looked up, its measures are
// appended at the end of the log with the policy that the metric has now, and then
// the letter is removed. It goes on as long as an answer may take, and says how
// many letters it had no time for.

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

// A replayDoc says what came of a replay.
type replayDoc struct {
	Replayed  int          `json:"replayed"`  // letters
	Measures  uint64       `json:"measures"`  // of them
	Failed    []letterFate `json:"failed"`    // letters that stay, and why
	Remaining int          `json:"remaining"` // letters that there was no time for
}

type letterFate struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

func (q *request) replayLetters() error {
	var ids []string
	all := false
	err := q.decode(fields(
		optional("ids", list(1, func(v any) error {
			var id string
			err := text(&id, maxName)(v)
			ids = append(ids, id)
			return err
		})),
		optional("all", func(v any) error {
			ok := false
			if all, ok = v.(bool); !ok {
				return wrong("expected bool")
			}
			return nil
		}),
	))
	if err != nil {
		return err
	}
	if all == (len(ids) > 0) {
		return badRequest(cause{cause: "Invalid input", reason: "either ids or all must be given", detail: []any{}})
	}
	r := replay{request: q, position: make(ingest.Position, q.sacks), until: time.Now().Add(q.config.Timeout - 2*timeToAnswer)}
	if all {
		err = r.all()
	} else {
		err = r.some(ids)
	}
	if err != nil {
		return err
	}
	if r.doc.Replayed > 0 {
		t := ingest.Ticket{Position: r.position, First: r.first, Accepted: r.doc.Measures}
		q.w.Header().Set(headerPosition, t.String())
	}
	return q.json(http.StatusOK, r.doc)
}

// A replay is one request to replay letters.
type replay struct {
	*request
	doc             replayDoc
	position, first ingest.Position
	until           time.Time
}

func (r *replay) some(ids []string) error {
	slices.Sort(ids) // so that the order of the log is kept
	for i, id := range slices.Compact(ids) {
		if time.Now().After(r.until) {
			r.doc.Remaining = len(ids) - i
			return nil
		}
		l, err := r.letter(r.ctx, id)
		if f, ok := errors.AsType[*failure](err); ok && f.status == http.StatusNotFound {
			r.doc.Failed = append(r.doc.Failed, letterFate{id, "does not exist"})
			continue
		}
		if err != nil {
			return err
		}
		if err := r.one(&l); err != nil {
			return err
		}
	}
	return nil
}

func (r *replay) all() error {
	total := r.letters.Count()
	var failed error
	err := r.eachLetter(r.ctx, "", total, func(l *ingest.DeadLetter) bool {
		if time.Now().After(r.until) {
			return false
		}
		failed = r.one(l)
		return failed == nil
	})
	r.doc.Remaining = max(0, total-r.doc.Replayed-len(r.doc.Failed))
	return errors.Join(err, failed)
}

// one replays one letter. An error ends the whole replay: the log does not take
// anything now, and what has been replayed is out of the dead letters.
func (r *replay) one(l *ingest.DeadLetter) error {
	if len(l.Measures) == 0 {
		r.fail(l, "there are no measures in it: its record can't be read")
		return nil
	}
	b := ingest.Batch{Project: l.Project, Trace: r.traceparent(), Entries: []ingest.Entry{{Metric: l.Metric, Measures: l.Measures}}}
	var infos [1]index.MetricInfo
	if _, err := r.index.Lookup(r.ctx, b.Entries, infos[:]); err != nil {
		return err
	}
	if !infos[0].Found {
		r.fail(l, "Metric "+l.Metric.String()+" does not exist")
		return nil
	}
	b.Entries[0].Policy = infos[0].Policy
	t, _, err := r.acceptor.Accept(r.ctx, &b, false)
	if bad, ok := errors.AsType[*ingest.BadMeasureError](err); ok {
		r.fail(l, bad.Error())
		return nil
	}
	if err != nil {
		return r.notAccepted(err)
	}
	r.metrics.accepted(r.ctx, t.Accepted)
	r.doc.Replayed++
	r.doc.Measures += t.Accepted
	r.cover(t)
	if err := r.letters.Remove(r.ctx, []string{l.ID}); err != nil {
		return fmt.Errorf("cannot remove dead letter %s, which has been replayed: %w", l.ID, err)
	}
	return nil
}

func (r *replay) fail(l *ingest.DeadLetter, why string) {
	r.doc.Failed = append(r.doc.Failed, letterFate{l.ID, why})
}

// cover widens the position to cover one more ticket.
func (r *replay) cover(t ingest.Ticket) {
	if r.first == nil {
		r.first = make(ingest.Position, r.sacks)
	}
	for s, end := range t.Position {
		if end == 0 {
			continue
		}
		if r.position[s] == 0 {
			r.first[s] = t.First[s]
		}
		r.position[s] = max(r.position[s], end)
	}
}
