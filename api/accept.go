package api

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"millrace/api/auth"
	"millrace/api/gnocchi"
	"millrace/index"
	"millrace/ingest"
)

// A scan is what one request says about measures, on its way from the body to the
// log. Scans are pooled.
type scan struct {
	body    gnocchi.Batch
	infos   []index.MetricInfo
	batch   ingest.Batch
	refused uint64            // measures left out here (handling=lenient)
	rejects []reject          // the first of them
	ended   []ingest.MetricID // metrics whose resource has ended
}

// Bounds of what is listed and what is kept.
const (
	maxRejects   = 1000
	keptMeasures = 1 << 18
)

func (q *request) newScan(lenient bool) *scan {
	s, _ := q.scans.Get().(*scan)
	if s == nil {
		s = &scan{}
	}
	s.body.Lenient = lenient
	return s
}

func (q *request) putScan(s *scan) {
	if s.body.Measures() > keptMeasures || len(s.infos) > keptMeasures {
		return
	}
	s.body.Reset()
	clear(s.infos)
	s.infos = s.infos[:0]
	s.batch = ingest.Batch{}
	s.refused, s.rejects, s.ended = 0, nil, s.ended[:0]
	q.scans.Put(s)
}

func (s *scan) reject(r reject, measures int) {
	s.refused += uint64(measures)
	if len(s.rejects) < maxRejects {
		s.rejects = append(s.rejects, r)
	}
}

// takeBad lists what a lenient scan of the body put aside.
func (s *scan) takeBad() {
	for i := range s.body.Bad {
		bad := &s.body.Bad[i]
		r := reject{Metric: bad.Key, Field: bad.Field, Reason: bad.Reason}
		if at := bad.Measure; at >= 0 {
			r.Measure = &at
		}
		s.reject(r, 1)
	}
}

// resolve finds the metrics of the entries: each must exist and be the caller's
// to write to. What is not, and what has no measures, is left out of the batch.
func (q *request) resolve(s *scan) error {
	entries := s.body.Entries
	s.infos = slices.Grow(s.infos[:0], len(entries))[:len(entries)]
	missing, err := q.index.Lookup(q.ctx, entries, s.infos)
	if err != nil {
		return err
	}
	lenient := s.body.Lenient
	if len(missing) > 0 && !lenient {
		return unknownMetrics(entries, missing)
	}
	permit := q.who.Permit(auth.PostMeasures)
	kept := 0
	for i := range entries {
		e, info := &entries[i], &s.infos[i]
		refusal := ""
		switch {
		case !info.Found:
			refusal = "Metric " + e.Metric.String() + " does not exist"
		case !permit.For(info.Creator, ""):
			if !lenient {
				return forbidden()
			}
			refusal = "Access was denied to this metric"
		}
		if refusal != "" {
			s.reject(reject{Metric: e.Metric.String(), Reason: refusal}, len(e.Measures))
			continue
		}
		if len(e.Measures) == 0 {
			continue
		}
		e.Policy = info.Policy
		if info.Ended {
			s.ended = append(s.ended, e.Metric)
		}
		if kept != i {
			entries[kept] = *e
		}
		kept++
	}
	s.body.Entries = entries[:kept]
	return nil
}

// unknownMetrics names the entries whose metric does not exist, sorted: the first
// thousand of them.
func unknownMetrics(entries []ingest.Entry, missing []int) error {
	ids := make([]ingest.MetricID, len(missing))
	for i, at := range missing {
		ids[i] = entries[at].Metric
	}
	slices.SortFunc(ids, func(a, b ingest.MetricID) int { return bytes.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	var text strings.Builder
	text.WriteString("Unknown metrics: ")
	for i, id := range ids[:min(len(ids), maxRejects)] {
		if i > 0 {
			text.WriteString(", ")
		}
		text.WriteString(id.String())
	}
	if more := len(ids) - maxRejects; more > 0 {
		fmt.Fprintf(&text, " and %d more", more)
	}
	return &unknownError{badRequest(text.String())}
}

// An unknownError is a 400 because metrics do not exist.
type unknownError struct{ failure *failure }

func (e *unknownError) Error() string { return e.failure.Error() }
func (e *unknownError) Unwrap() error { return e.failure }

// submit puts what was scanned into the log and answers.
func (q *request) submit(s *scan, p preferences) error {
	s.batch = ingest.Batch{Project: q.who.Account(), Trace: q.traceparent(), Entries: s.body.Entries}
	ticket, refusals, err := q.acceptor.Accept(q.ctx, &s.batch, p.strict)
	if err != nil {
		return q.notAccepted(err)
	}
	s.takeRefusals(refusals)
	q.revive(s)
	ticket.Refused = s.refused
	return q.accepted(http.StatusAccepted, ticket, s.rejects, len(refusals), p)
}

// revive takes the end away from resources for whose metrics there are measures that
// are not older. What was accepted is accepted, whether that can be done or not.
func (q *request) revive(s *scan) {
	if len(s.ended) == 0 { // Fast path.
		return
	}
	newest := make(map[ingest.MetricID]int64, len(s.ended))
	for _, id := range s.ended {
		newest[id] = ingest.MinTime
	}
	for i := range s.batch.Entries {
		e := &s.batch.Entries[i]
		t, ended := newest[e.Metric]
		if !ended {
			continue
		}
		for _, m := range e.Measures {
			t = max(t, m.Time)
		}
		newest[e.Metric] = t
	}
	if err := q.index.Revive(q.ctx, newest); err != nil {
		q.log.Warn("cannot revive resources that have ended", "err", err)
	}
}

// accepted answers a request whose measures are in the log: with nothing, unless the
// client has asked for more or parts of it were left out. (Whoever expects a 204 may
// take anything else for a failure, and so gets one: the token tells the rest.) Of
// those that were left out, so many were too far ahead of the clock.
func (q *request) accepted(status int, ticket ingest.Ticket, rejects []reject, future int, p preferences) error {
	q.metrics.accepted(q.ctx, ticket.Accepted, ticket.Refused, future)
	token := ticket.String()
	h := q.w.Header()
	h[headerPosition] = []string{token}
	h["Location"] = []string{q.base() + "/v1/ingest/" + token}
	switch {
	case p.lenient:
		q.applied("handling=lenient")
	case p.strict:
		q.applied("handling=strict")
	}
	if p.wait > 0 && q.await(ticket.Position, p.wait) {
		q.waited(p)
		doc, err := q.fate(ticket, rejects)
		if err != nil {
			return err
		}
		return q.json(http.StatusOK, doc)
	}
	if p.lenient || status == http.StatusAccepted && (ticket.Refused > 0 || q.wantsBody()) {
		return q.json(http.StatusAccepted, q.queued(ticket, rejects))
	}
	return q.empty(status)
}

// wantsBody says whether the client fails where a 202 has no body: gophercloud decodes
// one. What it accepts is what tells it from others.
func (q *request) wantsBody() bool { return q.r.Header.Get("Accept") == "application/json, */*" }

// notAccepted sorts the errors of Accept: what is not certain is unknown, and
// unknown is safe to repeat.
func (q *request) notAccepted(err error) error {
	if _, ok := errors.AsType[*ingest.RefusedError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*ingest.BadMeasureError](err); ok {
		return err
	}
	if errors.Is(err, ingest.ErrTooLarge) {
		return err
	}
	if q.r.Context().Err() == nil {
		q.log.Error("cannot append to the log", "err", err)
	}
	return unavailable(outcomeUnknown)
}

// takeRefusals lists what Accept left out. Accept counts among the measures that it
// was given; the client counts them as they stand in the body, with those that the
// scan put aside before.
func (s *scan) takeRefusals(refusals []ingest.Refusal) {
	if len(refusals) == 0 {
		return
	}
	aside := map[ingest.MetricID][]int{}
	for i := range s.body.Bad {
		if bad := &s.body.Bad[i]; bad.Measure >= 0 {
			aside[bad.Metric] = append(aside[bad.Metric], bad.Measure)
		}
	}
	var metric ingest.MetricID
	var before []int // put aside of the metric, and not yet counted
	shift := 0
	for i := range refusals {
		r := &refusals[i]
		if r.Metric != metric {
			metric, before, shift = r.Metric, aside[r.Metric], 0
		}
		for len(before) > 0 && before[0] <= r.Measure+shift {
			before = before[1:]
			shift++
		}
		at := r.Measure + shift
		s.reject(reject{Metric: r.Metric.String(), Measure: &at, Field: "timestamp", Reason: r.Reason}, 1)
	}
}

// refused counts why measures were not taken, and makes an answer of the error: one
// that blames nobody is the index's, and worth trying again.
func (q *request) refused(err error) error {
	if err == nil {
		return nil
	}
	f := failureOf(err)
	if f == nil {
		q.log.Error("cannot accept measures", "path", q.r.URL.Path, "err", err)
		f = unavailable("Measures can't be accepted at this moment, and none were stored. Please try again.")
	}
	q.metrics.refuse(q.ctx, reasonOf(err, f))
	return f
}

func reasonOf(err error, f *failure) reason {
	switch f.status {
	case http.StatusForbidden:
		return reasonForbidden
	case http.StatusTooManyRequests:
		return reasonQuota
	case http.StatusRequestEntityTooLarge:
		return reasonTooLarge
	case http.StatusServiceUnavailable:
		if _, ok := errors.AsType[*ingest.RefusedError](err); ok {
			return reasonOverload
		}
		return reasonUnavailable
	}
	if _, ok := errors.AsType[*unknownError](err); ok {
		return reasonUnknown
	}
	return reasonInvalid
}

// invalidMeasures is the 400 for a body of measures that can't be understood.
// Gnocchi says of a single metric's measures what is wrong but not where; measure
// and field are ours.
func invalidMeasures(err error, batch bool) error {
	e, ok := errors.AsType[*gnocchi.MeasuresError](err)
	if !ok {
		return err
	}
	c := cause{cause: "Invalid input", reason: e.Reason, detail: []any{}}
	if batch {
		c.reason, c.detail = e.Error(), e.Path()
		return badRequest(c)
	}
	if e.Measure >= 0 {
		c.more = append(c.more, gnocchi.Member{Name: "measure", Value: e.Measure})
	}
	if e.Field != "" {
		c.more = append(c.more, gnocchi.Member{Name: "field", Value: e.Field})
	}
	return badRequest(c)
}

// fromTheFuture is the 400 for a measure that Accept does not take.
func fromTheFuture(err error, batch bool) error {
	e, ok := errors.AsType[*ingest.BadMeasureError](err)
	if !ok {
		return err
	}
	c := cause{cause: "Invalid input", reason: e.Reason, detail: []any{}}
	at := strconv.Itoa(e.Measure)
	if batch {
		c.reason += " @ data['" + e.Metric.String() + "'][" + at + "]['timestamp']"
		c.detail = []any{e.Metric.String(), at, "timestamp"}
		return badRequest(c)
	}
	c.more = gnocchi.Object{{Name: "measure", Value: e.Measure}, {Name: "field", Value: "timestamp"}}
	return badRequest(c)
}
