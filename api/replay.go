package api

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"millrace/index"
	"millrace/ingest"
)

// A replay is a new acceptance: each letter's metric is looked up, its measures are
// appended at the end of the log with the policy that the metric has now, and then
// the letter is removed. It goes on as long as an answer may take, and says how
// many letters it had no time for.

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
	r := replay{request: q, position: make(ingest.Position, q.sacks),
		until: time.Now().Add(q.config.Timeout - 2*timeToAnswer)}
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
	var failed error
	inTime := true
	err := r.eachLetter(r.ctx, "", math.MaxInt, func(l *ingest.DeadLetter) bool {
		if inTime = time.Now().Before(r.until); inTime {
			failed = r.one(l)
		}
		return inTime && failed == nil
	})
	if !inTime {
		r.doc.Remaining = max(1, r.letters.Count()-len(r.doc.Failed))
	}
	return errors.Join(err, failed)
}

// one replays one letter. An error ends the whole replay: the log does not take
// anything now, and what has been replayed is out of the dead letters.
func (r *replay) one(l *ingest.DeadLetter) error {
	if len(l.Measures) == 0 {
		r.fail(l, "there are no measures in it: its record can't be read")
		return nil
	}
	b := ingest.Batch{Project: l.Project, Trace: r.traceparent(),
		Entries: []ingest.Entry{{Metric: l.Metric, Measures: l.Measures}}}
	var infos [1]index.MetricInfo
	if _, err := r.index.Lookup(r.ctx, b.Entries, infos[:]); err != nil {
		return err
	}
	if !infos[0].Found {
		r.fail(l, "Metric "+l.Metric.String()+" does not exist")
		return nil
	}
	b.Entries[0].Policy = infos[0].Policy
	t, _, err := r.acceptor.Accept(r.ctx, &b, true)
	if bad, ok := errors.AsType[*ingest.BadMeasureError](err); ok {
		r.fail(l, bad.Error())
		return nil
	}
	if err != nil {
		return r.notAccepted(err)
	}
	r.metrics.accepted(r.ctx, t.Accepted, 0, 0)
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
