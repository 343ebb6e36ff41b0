package api

import (
	"net/http"
	"slices"
	"strings"

	"millrace/api/auth"
	"millrace/api/gnocchi"
	"millrace/index"
	"millrace/ingest"
)

// associations checks an object of metrics that a resource is to have: by name, the
// id of one that there is, or what one is to be that isn't.
func (q *request) associations(into *[]index.Association) check {
	return func(v any) error {
		o, ok := v.(object)
		if !ok {
			return wrong("expected a dictionary")
		}
		*into = make([]index.Association, 0, len(o.keys))
		for _, name := range o.keys {
			if err := checkMetricName(name); err != nil {
				return err
			}
			a, ok := association(o.values[name])
			if !ok {
				return below(wrong("not a valid value"), name)
			}
			a.Name = name
			*into = append(*into, a)
		}
		return nil
	}
}

func checkMetricName(name string) error {
	if strings.Contains(name, "/") {
		return badRequest("'/' is not supported in metric name")
	}
	return text(new(string), maxName)(name)
}

func association(v any) (a index.Association, ok bool) {
	if s, ok := v.(string); ok {
		id, err := ingest.ParseMetricID(s)
		return index.Association{ID: id, Attach: true}, err == nil
	}
	a.ID = ingest.NewMetricID()
	anything := func(any) error { return nil }
	err := fields(optional("archive_policy_name", text(&a.Policy, maxName)),
		optional("unit", maybeText(&a.Unit, maxUnit)),
		optional("name", anything), optional("resource_id", anything))(v)
	return a, err == nil
}

// completeAssociations finds the archive policies of new metrics that name none.
func (q *request) completeAssociations(list []index.Association) error {
	for i := range list {
		if a := &list[i]; !a.Attach {
			if err := q.completePolicy(&a.Policy, &a.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// listOfMetrics is metrics as listings show them.
func (q *request) listOfMetrics(metrics []index.Metric) ([]any, error) {
	list := make([]any, len(metrics))
	policies := map[string]policyDoc{}
	for i := range metrics {
		m := &metrics[i]
		doc, ok := policies[m.Policy]
		if !ok {
			p, err := q.index.Policy(q.ctx, m.Policy)
			if err != nil {
				return nil, err
			}
			doc = newPolicyDoc(p)
			policies[m.Policy] = doc
		}
		list[i] = append(metricJSON(m), resourceOf(m), gnocchi.Member{Name: "archive_policy", Value: doc})
	}
	return list, nil
}

// listNamedMetrics answers GET /v1/resource/<type>/<id>/metric.
func (q *request) listNamedMetrics() error {
	r, err := q.pathResource(auth.GetResource)
	if err != nil {
		return err
	}
	return q.showMetrics(&r, nil)
}

// showMetrics answers with the metrics of a resource, those that were just added first.
func (q *request) showMetrics(r *index.Resource, added []index.Association) error {
	metrics, err := q.index.MetricsOf(q.ctx, r.ID)
	if err != nil {
		return err
	}
	isNew := func(m index.Metric) int {
		if slices.ContainsFunc(added, func(a index.Association) bool { return a.ID == m.ID }) {
			return 0
		}
		return 1
	}
	if len(added) > 0 {
		slices.SortStableFunc(metrics, func(a, b index.Metric) int { return isNew(a) - isNew(b) })
	}
	list, err := q.listOfMetrics(metrics)
	if err != nil {
		return err
	}
	return q.json(http.StatusOK, list)
}

// postNamedMetrics answers POST /v1/resource/<type>/<id>/metric.
func (q *request) postNamedMetrics() error {
	r, err := q.pathResource(auth.UpdateResource)
	if err != nil {
		return err
	}
	var list []index.Association
	if err := q.decode(q.associations(&list)); err != nil {
		return err
	}
	if err := q.completeAssociations(list); err != nil {
		return err
	}
	if r, err = q.index.AddMetrics(q.ctx, q.resourceType, r.ID, list); err != nil {
		return badAssociation(err)
	}
	return q.showMetrics(&r, list)
}

// named makes the metric that a path names by resource the request's target, and
// answers as if it had been named by its id.
func named(handle func(*request) error) func(*request) error {
	return func(q *request) error {
		id, err := q.resourceID()
		if err != nil {
			return err
		}
		m, err := q.index.MetricOf(q.ctx, q.resourceType, id, q.params[2])
		if err != nil {
			return err
		}
		q.target = target{id: m.ID, policy: m.Policy, creator: m.Creator, metric: m, text: q.params[2]}
		return handle(q)
	}
}

// namedTarget does it from memory where it can: for measures.
func namedTarget(handle func(*request) error) func(*request) error {
	return func(q *request) error {
		id, err := q.resourceID()
		if err != nil {
			return err
		}
		refs := [1]index.MetricRef{{Resource: id, Name: []byte(q.params[2])}}
		var entries [1]ingest.Entry
		var infos [1]index.MetricInfo
		missing, err := q.index.LookupNamed(q.ctx, refs[:], entries[:], infos[:])
		if err != nil {
			return err
		}
		if len(missing) > 0 || q.resourceType.Name != index.GenericType {
			// Find out what isn't there, or whether the resource is of that type.
			if _, err := q.index.MetricOf(q.ctx, q.resourceType, id, q.params[2]); err != nil {
				return err
			}
		}
		if len(missing) > 0 {
			return noMetric(q.params[2]) // created at this very moment
		}
		q.target = target{id: entries[0].Metric, policy: infos[0].Policy, creator: infos[0].Creator, ended: infos[0].Ended,
			text: q.params[2]}
		return handle(q)
	}
}
