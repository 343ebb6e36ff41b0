package api

import (
	"bytes"
	"net/url"
	"slices"
	"time"

	"millrace/api/auth"
	"millrace/api/gnocchi"
	"millrace/ingest"
)

// A search asks for those rows of metrics whose value is like this.
type search struct {
	ids           []ingest.MetricID
	policies      []*ingest.ArchivePolicy
	like          predicate
	method        ingest.Method
	granularities []time.Duration // as asked for; none: all that a metric has
	start, stop   int64
}

// searchMetrics answers POST /v1/search/metric.
func (q *request) searchMetrics() error {
	values := q.r.URL.Query()
	found, err := q.searched(values)
	if err != nil {
		return err
	}
	if found.like, err = q.predicate(); err != nil {
		return err
	}
	if err := q.searchParameters(values, &found); err != nil {
		return err
	}
	if err := q.settle(false); err != nil {
		return err
	}
	s := q.share()
	defer s.end()
	out := q.stream()
	defer out.close()
	out.pause = s.leave
	out.text("{")
	for i, id := range found.ids {
		if i > 0 {
			out.text(", ")
		}
		out.value(id)
		out.text(": [")
		if err := found.writeRows(out, s, id, found.policies[i]); err != nil {
			return out.broken(err)
		}
		out.text("]")
	}
	out.text("}")
	return out.end()
}

// searched finds the metrics of a search, of which those that don't exist are left
// out, and asks whether the caller may search them.
func (q *request) searched(values url.Values) (found search, err error) {
	texts := values["metric_id"]
	if len(texts) == 0 {
		return found, badArgument("metric_id", "required key not provided @ data['metric_id']")
	}
	ids := make([]ingest.MetricID, len(texts))
	for i, text := range texts {
		if ids[i], err = ingest.ParseMetricID(text); err != nil {
			return found, badArgument("metric_id", err.Error())
		}
	}
	ids = distinct(ids)
	infos, missing, err := q.lookup(ids)
	if err != nil {
		return found, err
	}
	find := policies{index: q.index}
	for i, id := range ids {
		if slices.Contains(missing, i) {
			continue
		}
		if err := q.permitTarget(auth.SearchMetric, id, infos[i].Creator); err != nil {
			return found, err
		}
		policy, err := find.get(q.ctx, infos[i].Policy)
		if err != nil {
			return found, err
		}
		found.ids, found.policies = append(found.ids, id), append(found.policies, policy)
	}
	return found, nil
}

// predicate reads the body.
func (q *request) predicate() (like predicate, err error) {
	b, err := q.readBody(smallBody)
	if err != nil {
		return nil, err
	}
	defer b.release()
	if len(bytes.TrimSpace(b.data)) == 0 {
		return nil, badRequest("No query specified in body")
	}
	if err := q.needType(typeJSON); err != nil {
		return nil, err
	}
	v, err := parseJSON(b.data)
	if err != nil {
		return nil, err
	}
	return predicateOf(v)
}

func (q *request) searchParameters(values url.Values, found *search) (err error) {
	if found.start, err = q.instant(values, "start", ingest.MinTime); err != nil {
		return badRequest("Invalid value for start")
	}
	if found.stop, err = q.instant(values, "stop", ingest.MaxTime); err != nil {
		return badRequest("Invalid value for stop")
	}
	for _, text := range values["granularity"] {
		g, err := gnocchi.ParseTimespan(text)
		if err != nil {
			return badArgument("granularity", err.Error())
		}
		found.granularities = append(found.granularities, g)
	}
	slices.SortFunc(found.granularities, func(a, b time.Duration) int { return int(b - a) })
	found.granularities = slices.Compact(found.granularities)
	name, given, err := scalar(values, "aggregation")
	if err != nil {
		return err
	}
	if !given {
		name = "mean"
	}
	m, known := ingest.ParseMethod(name)
	found.method = m
	for _, policy := range found.policies {
		if !known || !policy.Methods.Has(m) {
			return noAggregation(policy.Definitions[0].Granularity, name)
		}
		for _, g := range found.granularities {
			if _, ok := policy.Find(g); !ok {
				return noAggregation(g, name)
			}
		}
	}
	return nil
}

func noAggregation(g time.Duration, method string) error {
	return badRequest(cause{
		cause:  "Aggregation does not exist",
		detail: map[string]any{"granularity": g.Seconds(), "aggregation_method": method},
	})
}

// writeRows writes the rows of one metric that are like the search, coarsest first.
func (found *search) writeRows(out *stream, s *share, id ingest.MetricID, policy *ingest.ArchivePolicy) error {
	granularities := found.granularities
	if len(granularities) == 0 {
		granularities = policy.Granularities()
	}
	for _, g := range granularities {
		query := ingest.Query{
			Metric: id, Policy: policy, Granularity: g, Method: found.method, From: found.start, To: found.stop,
		}
		err := s.pieces(query, func(rows []ingest.Measure) error {
			rows = slices.DeleteFunc(rows, func(r ingest.Measure) bool { return !found.like(r.Value) })
			out.rows(rows, ingest.FormatSeconds(g))
			return nil
		})
		if err != nil || out.gone {
			return err
		}
	}
	return nil
}
