package api

import (
	"net/http"

	"millrace/api/auth"
	"millrace/index"
	"millrace/ingest"
)

// listMetrics answers GET /v1/metric.
func (q *request) listMetrics() error {
	values := q.r.URL.Query()
	page, err := q.page(values, "id:asc")
	if err != nil {
		return err
	}
	filter, none, err := q.metricFilter(func(name string) (string, bool, error) { return scalar(values, name) })
	if err != nil {
		return err
	}
	var metrics []index.Metric
	if !none {
		if metrics, err = q.index.Metrics(q.ctx, filter, page); err != nil {
			return err
		}
	}
	list, err := q.listOfMetrics(metrics)
	if err != nil {
		return err
	}
	if n := len(metrics); n > 0 {
		q.linkNext(values, page.Limit, page.Sorts, n, metrics[n-1].ID.String())
	}
	return q.json(http.StatusOK, list)
}

// metricFilter reads the filters of a listing. Deleted metrics are never listed,
// so asking for them gives none.
func (q *request) metricFilter(get func(name string) (string, bool, error)) (f index.Filter, none bool, err error) {
	text := func(name string) *string {
		value, given, e := get(name)
		if e != nil && err == nil {
			err = e
		}
		if !given {
			return nil
		}
		return &value
	}
	id, status := text("id"), text("status")
	user, project := text("user_id"), text("project_id")
	f = index.Filter{Name: text("name"), Unit: text("unit"), Policy: text("archive_policy_name"),
		Creator: text("creator")}
	if err != nil {
		return f, false, err
	}
	if id != nil {
		parsed, err := ingest.ParseMetricID(*id)
		if err != nil {
			return f, false, badArgument("id", err.Error())
		}
		f.ID = &parsed
	}
	if user != nil || project != nil {
		creator := ""
		if user != nil {
			creator = *user
		}
		creator += ":"
		if project != nil {
			creator += *project
		}
		f.Creator = &creator
	}
	scope, err := q.scope(auth.ListMetric)
	if err != nil {
		return f, false, err
	}
	if scope != nil { // a policy file has both of its parts or neither: see auth.ReadPolicies
		f.Project = &scope.Project
	}
	switch {
	case status == nil || *status == "active":
	case *status == "delete":
		none = true
	default:
		return f, false, badRequest("Invalid input: not a valid value for dictionary value @ data['status']")
	}
	return f, none, nil
}
