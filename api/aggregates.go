package api

import (
	"errors"

	"millrace/api/auth"
	"millrace/api/gnocchi"
	"millrace/api/operations"
	"millrace/drivers/aggregate"
	"millrace/index"
	"millrace/ingest"
)

// postAggregates answers POST /v1/aggregates.
func (q *request) postAggregates() error {
	values := q.r.URL.Query()
	parameters, err := q.across(values, aggregate.Fill{Kind: aggregate.FillDrop}, -1)
	if err != nil {
		return err
	}
	details, err := flag(values, "details", false)
	if err != nil {
		return err
	}
	refresh, err := flag(values, "refresh", false)
	if err != nil {
		return err
	}
	asked := question{across: parameters}
	var typeName *string
	var condition any
	err = q.decode(fields(
		required("operations", operationTree(&asked.tree)),
		optional("resource_type", maybeText(&typeName, maxName)),
		optional("search", func(v any) error { condition = v; return nil }),
	))
	if err != nil {
		return err
	}
	if typeName != nil {
		sel := resourceSelection{details: details}
		if sel.of, err = q.index.ResourceType(q.ctx, *typeName); errors.Is(err, index.ErrNotFound) {
			return badRequest(cause{cause: "Resource type does not exist", detail: *typeName})
		} else if err != nil {
			return err
		}
		if sel.search, err = q.searchOf(values, sel.of, condition); err != nil {
			return err
		}
		sel.groupBy = onlyOnce(values["groupby"])
		return q.aggregateResources(asked, sel, refresh)
	}
	ids, err := q.byID(&asked)
	if err != nil {
		return err
	}
	if err := q.settle(refresh, ids...); err != nil {
		return err
	}
	s := q.share()
	defer s.end()
	tables, err := asked.compute(s)
	if err != nil {
		return err
	}
	out := q.stream()
	defer out.close()
	out.text(`{"measures": `)
	asked.writeMeasures(out, tables)
	if details {
		if err := q.writeMetrics(out, ids); err != nil {
			return out.broken(err)
		}
	}
	out.text("}")
	return out.end()
}

// operationTree checks operations.
func operationTree(into *aggregate.Operation) check {
	return func(v any) (err error) {
		*into, err = operations.Parse(v, gnocchi.TimespanOf)
		if bad, ok := errors.AsType[*operations.InvalidError](err); ok {
			invalid := &invalidError{message: bad.Message, value: true}
			for _, i := range bad.Path {
				invalid.path = append(invalid.path, i)
			}
			return invalid
		}
		if bad, ok := errors.AsType[*operations.SyntaxError](err); ok {
			return badRequest(cause{
				cause: "Invalid operations", reason: "Fail to parse the operations string", detail: bad.Error(),
			})
		}
		if bad, ok := errors.AsType[*operations.NoMetricError](err); ok {
			return badRequest(cause{cause: "Operations is invalid", reason: bad.Error(), detail: bad.Operations})
		}
		return err
	}
}

// byID takes the references of a question for ids of metrics, and makes its columns.
// It returns the metrics, each once.
func (q *request) byID(asked *question) ([]ingest.MetricID, error) {
	refs := aggregate.References(asked.tree)
	ids, all, bad := make([]ingest.MetricID, len(refs)), make([]any, len(refs)), false
	for i, r := range refs {
		var err error
		ids[i], err = ingest.ParseMetricID(r.Metric)
		all[i], bad = []any{r.Metric, r.Method}, bad || err != nil
	}
	if bad { // Gnocchi lists all, too
		return nil, badRequest(cause{cause: "Invalid metric references", reason: ingest.ErrMetricID.Error(), detail: all})
	}
	infos, missing, err := q.lookup(ids)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		unknown, seen := []any{}, map[ingest.MetricID]bool{}
		for _, i := range missing {
			if !seen[ids[i]] {
				seen[ids[i]] = true
				unknown = append(unknown, ids[i])
			}
		}
		return nil, notFound(cause{cause: "Unknown metrics", reason: "Provided metrics don't exists", detail: unknown})
	}
	if err := q.permitAll(auth.GetMetric, ids, infos); err != nil {
		return nil, err
	}
	find := policies{index: q.index}
	for i, r := range refs {
		c := column{ref: r, metric: ids[i], path: []string{ids[i].String(), r.Method}}
		if c.policy, err = find.get(q.ctx, infos[i].Policy); err != nil {
			return nil, err
		}
		asked.columns = append(asked.columns, c)
	}
	return distinct(ids), asked.series()
}

// methods finds the columns' aggregation methods, which their policies must have.
func (asked *question) methods() error {
	unknown := []any{}
	for i := range asked.columns {
		c := &asked.columns[i]
		var ok bool
		if c.method, ok = ingest.ParseMethod(c.ref.Method); !ok || !c.policy.Methods.Has(c.method) {
			unknown = append(unknown, []any{c.metric, c.ref.Method})
		}
	}
	if len(unknown) > 0 {
		return notFound(cause{cause: "Metrics with unknown aggregation", detail: unknown})
	}
	return nil
}

// distinct returns ids in their order, each once.
func distinct(ids []ingest.MetricID) []ingest.MetricID {
	seen := make(map[ingest.MetricID]bool, len(ids))
	var once []ingest.MetricID
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			once = append(once, id)
		}
	}
	return once
}

// settle waits for what a read is to see: the positions that it names and, if it
// asks for that, everything accepted for its metrics.
func (q *request) settle(refresh bool, ids ...ingest.MetricID) error {
	if err := q.awaitPosition(); err != nil || !refresh {
		return err
	}
	return q.refresh(ids...)
}

// writeMetrics writes the metrics of an answer as its references.
func (q *request) writeMetrics(out *stream, ids []ingest.MetricID) error {
	out.text(`, "references": [`)
	find := policies{index: q.index}
	for i, id := range ids {
		m, err := q.index.Metric(q.ctx, id)
		if err != nil {
			return err
		}
		policy, err := find.get(q.ctx, m.Policy)
		if err != nil {
			return err
		}
		if i > 0 {
			out.text(", ")
		}
		resource, err := q.resourceOfMetric(&m)
		if err != nil {
			return err
		}
		out.value(append(metricJSON(&m), gnocchi.Member{Name: "archive_policy", Value: newPolicyDoc(policy)},
			gnocchi.Member{Name: "resource", Value: resource}))
	}
	out.text("]")
	return nil
}
