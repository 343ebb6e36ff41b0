package api

import (
	"net/url"
	"time"

	"millrace/api/auth"
	"millrace/api/gnocchi"
	"millrace/ingest"
)

// postMeasures answers POST /v1/metric/<id>/measures.
func (q *request) postMeasures() error { return q.refused(q.acceptMeasures()) }

func (q *request) acceptMeasures() error {
	if err := q.permit(auth.PostMeasures); err != nil {
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
	defer b.release()
	s := q.newScan(p.lenient)
	defer q.putScan(s)
	err = gnocchi.ScanMeasures(b.data, q.now(), &s.body, q.target.id)
	b.release() // soon: a scan keeps nothing of the body
	if err != nil {
		return invalidMeasures(err, false)
	}
	s.takeBad()
	for i := range s.body.Entries {
		s.body.Entries[i].Policy = q.target.policy
	}
	if q.target.ended {
		s.ended = append(s.ended, q.target.id)
	}
	return fromTheFuture(q.submit(s, p), false)
}

// A selection is what a GET of measures asks for.
type selection struct {
	method        ingest.Method
	granularities []time.Duration // coarsest first
	resample      resample
	start, stop   int64
	refresh       bool
}

// getMeasures answers GET /v1/metric/<id>/measures.
func (q *request) getMeasures() error {
	if err := q.permit(auth.GetMeasures); err != nil {
		return err
	}
	return q.measures()
}

// measures answers with the measures of the request's metric.
func (q *request) measures() error {
	policy, err := q.index.Policy(q.ctx, q.target.policy)
	if err != nil {
		return err
	}
	sel, err := q.selection(q.r.URL.Query(), policy)
	if err != nil {
		return err
	}
	if err := q.settle(sel.refresh, q.target.id); err != nil {
		return err
	}
	return q.send(sel, policy)
}

// selection reads the parameters, in the order in which the v1 API finds fault
// with them.
func (q *request) selection(values url.Values, policy *ingest.ArchivePolicy) (sel selection, err error) {
	if sel.resample, err = parseResample(values); err != nil {
		return sel, err
	}
	if sel.start, err = q.instant(values, "start", ingest.MinTime); err != nil {
		return sel, err
	}
	if sel.stop, err = q.instant(values, "stop", ingest.MaxTime); err != nil {
		return sel, err
	}
	granularity, given, err := scalar(values, "granularity")
	if err != nil {
		return sel, err
	}
	sel.granularities = policy.Granularities()
	if given {
		g, err := gnocchi.ParseTimespan(granularity)
		if err != nil {
			return sel, badArgument("granularity", err.Error())
		}
		sel.granularities = []time.Duration{g}
	}
	if sel.method, err = q.method(values, policy); err != nil {
		return sel, err
	}
	for _, g := range sel.granularities {
		if _, ok := policy.Find(g); !ok {
			return sel, notFound("Aggregation method '" + sel.method.String() + "' at granularity '" + ingest.FormatSeconds(g) +
				"' for metric " + q.target.id.String() + " does not exist")
		}
	}
	sel.refresh, err = flag(values, "refresh", false)
	return sel, err
}

// method reads the aggregation method, which the policy must have.
func (q *request) method(values url.Values, policy *ingest.ArchivePolicy) (ingest.Method, error) {
	name, given, err := scalar(values, "aggregation")
	if err != nil {
		return 0, err
	}
	if !given {
		name = "mean"
	}
	m, ok := ingest.ParseMethod(name)
	if !ok || !policy.Methods.Has(m) {
		return 0, unknownMethod(q.target.id, name)
	}
	return m, nil
}

// unknownMethod is the answer to a question for a method that a metric's policy doesn't have.
func unknownMethod(id ingest.MetricID, name string) error {
	return notFound(cause{
		cause:  "Aggregation method does not exist for this metric",
		detail: map[string]any{"metric": id, "aggregation_method": name},
	})
}

// send answers with the rows of a selection.
func (q *request) send(sel selection, policy *ingest.ArchivePolicy) error {
	s := q.share()
	defer s.end()
	out := q.stream()
	defer out.close()
	out.pause = s.leave
	out.text("[")
	if err := sel.each(s, policy, func(rows []ingest.Measure, column string) { out.rows(rows, column) }); err != nil {
		return out.broken(err)
	}
	out.text("]")
	return out.end()
}

// each gives use the rows of a selection, coarsest first: short series are read
// at once, long ones one after another and some rows at a time.
func (sel *selection) each(s *share, policy *ingest.ArchivePolicy,
	use func(rows []ingest.Measure, column string)) error {
	from, to := sel.resample.bounds(sel.start, sel.stop)
	queries := make([]ingest.Query, len(sel.granularities))
	expected := 0
	for i, g := range sel.granularities {
		queries[i] = ingest.Query{Metric: s.q.target.id, Policy: policy, Granularity: g, Method: sel.method, From: from,
			To: to}
		expected += expectedRows(policy, g, from, to)
	}
	if expected <= pieceRows {
		series := make([][]ingest.Measure, len(queries))
		if err := s.hold(expected); err != nil {
			return err
		}
		if err := s.fetch(queries, series); err != nil {
			return err
		}
		for i, rows := range series {
			use(sel.resample.apply(rows, sel.method, sel.start, sel.stop), sel.resample.column(sel.granularities[i]))
		}
		return nil
	}
	for i, query := range queries {
		column := sel.resample.column(sel.granularities[i])
		if err := s.resampled(query, sel, func(rows []ingest.Measure) { use(rows, column) }); err != nil {
			return err
		}
	}
	return nil
}

// resampled gives use the rows of a query, some at a time, resampled if that is
// selected. Rows of a bucket that may go on are kept for the next time.
func (s *share) resampled(query ingest.Query, sel *selection, use func(rows []ingest.Measure)) error {
	if sel.resample == (resample{}) {
		return s.pieces(query, func(rows []ingest.Measure) error {
			use(rows)
			return nil
		})
	}
	var open []ingest.Measure
	held := 0
	err := s.pieces(query, func(rows []ingest.Measure) error {
		if len(open) > 0 {
			open = append(open, rows...)
			rows = open
		}
		whole := sel.resample.whole(rows)
		use(sel.resample.apply(rows[:whole], sel.method, sel.start, sel.stop))
		open = append(open[:0], rows[whole:]...)
		if len(open) > s.q.config.MaxPoints {
			return s.q.tooManyPoints()
		}
		if n := len(open); n > held {
			more := n - held
			held = n
			return s.hold(more)
		}
		return nil
	})
	if err == nil {
		use(sel.resample.apply(open, sel.method, sel.start, sel.stop))
	}
	return err
}
