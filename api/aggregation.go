package api

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"millrace/api/auth"
	"millrace/drivers/aggregate"
	"millrace/ingest"
)

// getAggregation answers GET /v1/aggregation/metric?metric=ID&metric=ID…
func (q *request) getAggregation() error {
	values := q.r.URL.Query()
	var ids []ingest.MetricID
	for i, text := range values["metric"] {
		id, err := ingest.ParseMetricID(text)
		if err != nil {
			return badRequest("Invalid input: not a valid value @ data[" + strconv.Itoa(i) + "]")
		}
		ids = append(ids, id)
	}
	return q.aggregation(values, ids)
}

// postAggregation answers POST /v1/aggregation/metric with a list of ids.
func (q *request) postAggregation() error {
	var ids []ingest.MetricID
	err := q.decode(list(0, func(v any) error {
		text, _ := v.(string)
		id, err := ingest.ParseMetricID(text)
		if err != nil {
			return wrong("not a valid value")
		}
		ids = append(ids, id)
		return nil
	}))
	if err != nil {
		return err
	}
	return q.aggregation(q.r.URL.Query(), ids)
}

// aggregation combines metrics, of which one alone is read as it is.
func (q *request) aggregation(values url.Values, ids []ingest.MetricID) error {
	ids = distinct(ids)
	infos, missing, err := q.lookup(ids)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return noMetric(ids[missing[0]].String())
	}
	parameters, err := q.across(values, aggregate.Fill{}, 100)
	if err != nil {
		return err
	}
	if err := q.permitAll(auth.GetMetric, ids, infos); err != nil {
		return err
	}
	if len(ids) == 1 {
		q.target = target{id: ids[0], policy: infos[0].Policy, creator: infos[0].Creator}
		return q.measures()
	}
	asked := question{across: parameters}
	find := policies{index: q.index}
	for i, id := range ids {
		policy, err := find.get(q.ctx, infos[i].Policy)
		if err != nil {
			return err
		}
		ref := aggregate.Reference{Metric: id.String()}
		asked.columns = append(asked.columns, column{metric: id, policy: policy, ref: ref})
	}
	refresh, err := asked.legacy(values)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return q.json(http.StatusOK, []any{})
	}
	if err := q.settle(refresh, ids...); err != nil {
		return err
	}
	s := q.share()
	defer s.end()
	asked.emptyOverlaps = true
	tables, err := asked.compute(s)
	if err != nil {
		return err
	}
	out := q.stream()
	defer out.close()
	asked.writeList(out, tables)
	return out.end()
}

// legacy reads what the old endpoints have for operations: the stored method, by
// which rows may be resampled, and the function that then makes one series of all.
func (asked *question) legacy(values url.Values) (refresh bool, err error) {
	if asked.resample, err = parseResample(values); err != nil {
		return false, err
	}
	name, given, err := scalar(values, "aggregation")
	if err != nil {
		return false, err
	}
	if !given {
		name = "mean"
	}
	metrics, m, err := asked.legacySeries(name)
	if err != nil {
		return false, err
	}
	again, given, err := scalar(values, "reaggregation")
	if err != nil {
		return false, err
	}
	if !given {
		again = m.Base().String() // rates are not derived again
	}
	f, ok := aggregate.ParseFunction(again)
	if !ok && (given || len(asked.columns) > 1) { // one alone is not combined with anything
		return false, badArgument("reaggregation", "'"+again+
			"' can't combine metrics: one of mean, median, std, min, max, sum, var, count, or rate: and one of these")
	}
	asked.tree = metrics
	if r := asked.resample; r != (resample{}) {
		asked.tree = aggregate.Resampled{Method: m.Base(), Every: r.every, Calendar: r.calendar, Of: metrics}
	}
	if len(asked.columns) > 1 { // one alone is what it is
		asked.tree = aggregate.Across{Function: f, Of: []aggregate.Operation{asked.tree}}
	}
	return flag(values, "refresh", false)
}

// legacySeries is question.series with one method for all columns, and the old endpoints' answer.
func (asked *question) legacySeries(name string) (metrics aggregate.Metrics, m ingest.Method, err error) {
	m, known := ingest.ParseMethod(name)
	for i := range asked.columns {
		c := &asked.columns[i]
		c.ref.Method, c.method = name, m
		metrics = append(metrics, c.ref)
	}
	if len(metrics) == 0 {
		return nil, m, nil
	}
	if err := asked.common(); err != nil {
		return nil, m, err
	}
	for i := range asked.columns {
		c := &asked.columns[i]
		if known = known && c.policy.Methods.Has(m); !known && len(metrics) == 1 {
			return nil, m, unknownMethod(c.metric, name)
		}
		if !known {
			return nil, m, noSeries(c, name, cmp.Or(asked.granularity, c.policy.Definitions[0].Granularity))
		}
		if _, ok := c.policy.Find(asked.granularity); asked.granularity != 0 && !ok {
			return nil, m, noSeries(c, name, asked.granularity)
		}
	}
	return metrics, m, asked.given()
}

// noSeries is the answer to a question for a series that a metric doesn't keep.
func noSeries(c *column, method string, g time.Duration) error {
	return notFound("Aggregation method '" + method + "' at granularity '" + ingest.FormatSeconds(g) + "' for metric " +
		c.metric.String() + " does not exist")
}

// postNamedAggregation answers POST /v1/aggregation/resource/<type>/metric/<name>.
func (q *request) postNamedAggregation() error {
	values := q.r.URL.Query()
	parameters, err := q.across(values, aggregate.Fill{}, 100)
	if err != nil {
		return err
	}
	asked := question{across: parameters}
	refresh, err := asked.legacy(values)
	if err != nil {
		return err
	}
	sel := resourceSelection{of: q.resourceType, groupBy: onlyOnce(values["groupby"])}
	sel.match = func(pattern, name string) bool { return pattern == name }
	sel.search.Type = q.resourceType
	if sel.search.Where, _, err = q.condition(values, false); err != nil {
		return err
	}
	for _, name := range sel.groupBy {
		if _, ok := sel.of.Field(name, false); !ok {
			return badRequest("Invalid groupby attribute")
		}
	}
	if sel.search.Scope, err = q.scope(auth.SearchResource); err != nil {
		return err
	}
	all, err := q.groups(sel, []aggregate.Reference{{Metric: q.params[1]}})
	if err != nil {
		return err
	}
	if err := q.settle(refresh, metricsOf(all)...); err != nil {
		return err
	}
	s := q.share()
	defer s.end()
	results, err := asked.legacyAnswers(s, values, all)
	if err != nil {
		return err
	}
	out := q.stream()
	defer out.close()
	if len(sel.groupBy) == 0 {
		writeUngrouped(out, results)
		return out.end()
	}
	out.text("[")
	for i, r := range results {
		if i > 0 {
			out.text(", ")
		}
		out.text(`{"group": `)
		out.value(r.group.values)
		out.text(`, "measures": `)
		r.asked.writeList(out, r.tables)
		out.text("}")
	}
	out.text("]")
	return out.end()
}

// legacyAnswers is question.answers for the old endpoint.
func (asked *question) legacyAnswers(s *share, values url.Values, all []group) ([]result, error) {
	var results []result
	for i := range all {
		own := *asked
		own.emptyOverlaps = true
		own.columns = all[i].columns()
		if len(own.columns) == 0 {
			continue
		}
		for k := range own.columns {
			own.columns[k].ref.Metric = own.columns[k].metric.String()
		}
		if _, err := own.legacy(values); err != nil {
			return nil, err
		}
		tables, err := own.compute(s)
		if err != nil {
			return nil, err
		}
		results = append(results, result{&all[i], &own, tables})
	}
	return results, nil
}

// writeUngrouped writes the only result, or that there is none.
func writeUngrouped(out *stream, results []result) {
	if len(results) == 0 {
		out.text("[]")
		return
	}
	results[0].asked.writeList(out, results[0].tables)
}
