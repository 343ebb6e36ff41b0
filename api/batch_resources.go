package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"millrace/api/gnocchi"
	"millrace/index"
	"millrace/ingest"
	"millrace/intake"
)

// A namedScan is what one request says about measures by resource and name. They
// are pooled.
type namedScan struct {
	body   gnocchi.NamedBatch
	batch  intake.Batch
	places []int                    // per series: its entry in the body
	homes  map[index.ResourceID]int // index in batch.Resources
	of     []int                    // per resource of the body: index in batch.Resources, -1: refused
	scan   scan                     // what is left out
}

func (q *request) newNamedScan(lenient bool) *namedScan {
	s, _ := q.namedScans.Get().(*namedScan)
	if s == nil {
		s = &namedScan{homes: map[index.ResourceID]int{}}
	}
	s.body.Lenient = lenient
	return s
}

func (q *request) putNamedScan(s *namedScan) {
	if s.body.Measures() > keptMeasures || len(s.body.Metrics) > keptMeasures {
		return
	}
	s.body.Reset()
	clear(s.homes)
	clear(s.batch.Resources)
	clear(s.batch.Series)
	s.batch = intake.Batch{Resources: s.batch.Resources[:0], Series: s.batch.Series[:0]}
	s.places, s.of, s.scan = s.places[:0], s.of[:0], scan{}
	q.namedScans.Put(s)
}

// postNamedBatch answers POST /v1/batch/resources/metrics/measures: all of it, or
// nothing unless the client prefers lenient handling. With create_metrics=true metrics
// that don't exist are created; they stay when the measures are refused after that,
// and the answer says so.
func (q *request) postNamedBatch() error { return q.refused(q.acceptNamedBatch()) }

func (q *request) acceptNamedBatch() error {
	create, err := flag(q.r.URL.Query(), "create_metrics", false)
	if err != nil {
		return err
	}
	if err := q.needType(typeJSON); err != nil {
		return err
	}
	p := q.preferences()
	b, err := q.readBody(q.config.MaxBody)
	if err != nil {
		return err
	}
	defer b.release() // last: what was scanned looks into the body
	s := q.newNamedScan(p.lenient)
	defer q.putNamedScan(s)
	if err := gnocchi.ScanNamed(b.data, q.now(), &s.body); err != nil {
		return invalidMeasures(err, true)
	}
	if err := s.fill(q); err != nil {
		return err
	}
	s.batch.CreateMetrics = create
	result, err := q.takeIn(&s.batch, p)
	if err != nil {
		return s.badPart(err)
	}
	s.takeRejects(result)
	result.Ticket.Refused = s.scan.refused
	return q.accepted(http.StatusAccepted, result.Ticket, s.scan.rejects, result.Future, p)
}

// fill makes the intake's batch of what was scanned. Two ids that map to one resource
// are one resource.
func (s *namedScan) fill(q *request) error {
	s.takeBad()
	var measures []int // per resource of the body, where that is asked
	for _, text := range s.body.Resources {
		id, err := resourceID(text, q.who.Creator)
		if err != nil && !s.body.Lenient {
			return &invalidError{message: err.Error(), path: []any{strings.Clone(text)}}
		}
		if err != nil {
			s.of = append(s.of, -1)
			if measures == nil {
				measures = s.measuresOf()
			}
			s.scan.reject(reject{Metric: strings.Clone(text), Reason: err.Error()}, measures[len(s.of)-1])
			continue
		}
		at, again := s.homes[id]
		if !again {
			at = len(s.batch.Resources)
			s.homes[id] = at
			s.batch.Resources = append(s.batch.Resources, intake.Resource{ID: id, Original: text})
		}
		s.of = append(s.of, at)
	}
	for i := range s.body.Metrics {
		m := &s.body.Metrics[i]
		if s.of[m.Resource] < 0 {
			continue
		}
		if len(m.Unit) > maxUnit && utf8.RuneCountInString(m.Unit) > maxUnit {
			err := &invalidError{message: "length of value must be at most " + strconv.Itoa(maxUnit), value: true,
				path: []any{strings.Clone(s.body.Resources[m.Resource]), string(m.Name), "unit"}}
			if !s.body.Lenient {
				return err
			}
			s.scan.reject(reject{Metric: s.nameOf(i), Reason: err.Error()}, len(s.body.Entries[i].Measures))
			continue
		}
		s.places = append(s.places, i)
		s.batch.Series = append(s.batch.Series, intake.Series{
			Resource: s.of[m.Resource], Name: m.Name, Policy: m.Policy, Unit: m.Unit, Measures: s.body.Entries[i].Measures,
		})
	}
	return nil
}

// measuresOf counts the measures of each resource of the body.
func (s *namedScan) measuresOf() []int {
	n := make([]int, len(s.body.Resources))
	for i := range s.body.Metrics {
		n[s.body.Metrics[i].Resource] += len(s.body.Entries[i].Measures)
	}
	return n
}

// nameOf is the metric of an entry as a client knows it: resource/name, as sent.
func (s *namedScan) nameOf(entry int) string {
	m := &s.body.Metrics[entry]
	return s.body.Resources[m.Resource] + "/" + string(m.Name)
}

// takeBad lists what a lenient scan of the body put aside.
func (s *namedScan) takeBad() {
	for i := range s.body.Bad {
		bad := &s.body.Bad[i]
		r := reject{Metric: bad.Key, Field: bad.Field, Reason: bad.Reason}
		if bad.Named {
			r.Metric += "/" + bad.Name
		}
		if at := bad.Measure; at >= 0 {
			r.Measure = &at
		}
		s.scan.reject(r, 1)
	}
}

// takeRejects lists what the intake left out. It counts among the measures that it
// was given, the client as they stand in the body.
func (s *namedScan) takeRejects(result *intake.Result) {
	refused := s.scan.refused + result.Ticket.Refused
	for _, r := range result.Rejects {
		entry := s.places[r.Series]
		out := reject{Metric: s.nameOf(entry), Reason: r.Reason}
		if at := r.Measure; at >= 0 {
			out.Field = "timestamp"
			for i := range s.body.Bad {
				if bad := &s.body.Bad[i]; bad.Named && bad.Measure >= 0 && bad.Entry == entry && bad.Measure <= at {
					at++
				}
			}
			out.Measure = &at
		}
		s.scan.reject(out, 0)
	}
	s.scan.refused = refused
}

// badPart makes answers of errors that concern one series.
func (s *namedScan) badPart(err error) error {
	if e, ok := errors.AsType[*intake.NameError](err); ok {
		return badRequest(e.Reason)
	}
	e, ok := errors.AsType[*ingest.BadMeasureError](err)
	if !ok {
		return err
	}
	m, at := &s.body.Metrics[s.places[e.Entry]], strconv.Itoa(e.Measure)
	path := []any{strings.Clone(s.body.Resources[m.Resource]), string(m.Name), at, "timestamp"}
	return badRequest(cause{cause: "Invalid input", detail: path,
		reason: fmt.Sprintf("%s @ data['%s']['%s'][%s]['timestamp']", e.Reason, path[0], path[1], at)})
}
