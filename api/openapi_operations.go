package api

// What the parameters of several operations have in common.
var (
	pageQuery     = []string{"limit", "marker", "sort"}
	readQuery     = []string{"start", "stop", "granularity", "aggregation", "resample", "refresh"}
	acrossQuery   = append([]string{"reaggregation", "fill", "needed_overlap"}, readQuery...)
	writeHeaders  = []string{"Prefer"}
	readHeaders   = []string{"Millrace-Position"}
	acceptAnswers = map[int]string{200: "Ingest", 202: ""}
)

func answers(status int, schema string) map[int]string { return map[int]string{status: schema} }

// described has the routes of routes.go, by method and path.
var described = map[string]operation{
	"GET /":              {summary: "versions of the API", answers: answers(200, "Versions")},
	"GET /v1":            {summary: "what there is below", answers: answers(200, "Object")},
	"GET /healthcheck/*": {summary: "does the process answer", answers: answers(200, "Object")},
	"GET /readyz":        {summary: "does work get done", answers: map[int]string{200: "Object", 503: "Object"}},

	"GET /v1/openapi.json": {summary: "this description", answers: answers(200, "Object")},

	"GET /v1/archive_policy": {
		summary: "all archive policies", answers: answers(200, "Policies"), errors: []int{403},
	},
	"POST /v1/archive_policy": {
		summary: "create an archive policy", body: "NewPolicy", answers: answers(201, "Policy"),
		errors: []int{403, 409},
	},
	"GET /v1/archive_policy/{name}": {
		summary: "an archive policy", answers: answers(200, "Policy"), errors: []int{403, 404},
	},
	"PATCH /v1/archive_policy/{name}": {
		summary: "change how much an archive policy keeps", body: "PolicyChange", answers: answers(200, "Policy"),
		errors: []int{403, 404},
	},
	"DELETE /v1/archive_policy/{name}": {
		summary: "delete an archive policy that is not in use", answers: answers(204, ""),
		errors: []int{400, 403, 404},
	},

	"GET /v1/archive_policy_rule": {
		summary: "all archive policy rules, in the order in which they are tried", answers: answers(200, "Rules"),
		errors: []int{403},
	},
	"POST /v1/archive_policy_rule": {
		summary: "create an archive policy rule", body: "NewRule", answers: answers(201, "Rule"),
		errors: []int{403, 409},
	},
	"GET /v1/archive_policy_rule/{name}": {
		summary: "an archive policy rule", answers: answers(200, "Rule"), errors: []int{403, 404},
	},
	"PATCH /v1/archive_policy_rule/{name}": {
		summary: "rename an archive policy rule", body: "RuleChange", answers: answers(200, "Rule"),
		errors: []int{403, 404},
	},
	"DELETE /v1/archive_policy_rule/{name}": {
		summary: "delete an archive policy rule", answers: answers(204, ""), errors: []int{403, 404},
	},

	"GET /v1/metric": {
		summary: "list metrics",
		query:   append([]string{"name", "unit", "archive_policy_name", "creator", "status"}, pageQuery...),
		answers: answers(200, "Metrics"), errors: []int{400, 403},
	},
	"POST /v1/metric": {
		summary: "create a metric", body: "NewMetric", headers: []string{"Idempotency-Key"}, answers: answers(201, "Metric"),
		errors: []int{403, 409},
	},
	"GET /v1/metric/{id}": {summary: "a metric", answers: answers(200, "Metric"), errors: []int{403, 404}},
	"DELETE /v1/metric/{id}": {
		summary: "delete a metric and its measures", answers: answers(204, ""), errors: []int{403, 404},
	},
	"GET /v1/metric/{id}/measures": {
		summary: "aggregated measures: time, granularity, value", query: readQuery, headers: readHeaders,
		answers: answers(200, "Rows"), errors: []int{400, 403, 404},
	},
	"POST /v1/metric/{id}/measures": {
		summary: "store measures of a metric", body: "Measures", headers: writeHeaders, answers: acceptAnswers,
		errors: []int{403, 404, 429},
	},
	"POST /v1/batch/metrics/measures": {
		summary: "store measures of several metrics", body: "MeasuresByMetric", headers: writeHeaders,
		answers: acceptAnswers,
		errors:  []int{403, 429},
	},
	"POST /v1/batch/resources/metrics/measures": {
		summary: "store measures of metrics by resource and name", query: []string{"create_metrics"},
		body: "MeasuresByResource", headers: writeHeaders, answers: acceptAnswers, errors: []int{403, 429},
	},

	"POST /v1/search/metric": {
		summary: "buckets whose values satisfy a condition",
		query:   []string{"metric_id", "start", "stop", "granularity", "aggregation"}, body: "ValueSearch",
		answers: answers(200, "RowsByMetric"), errors: []int{403, 404},
	},
	"POST /v1/aggregates": {
		summary: "operations over the series of several metrics",
		query:   []string{"start", "stop", "granularity", "needed_overlap", "groupby", "fill", "details", "use_history"},
		headers: readHeaders, body: "Aggregates", answers: answers(200, "Anything"), errors: []int{403, 404},
	},
	"GET /v1/aggregation/metric": {
		summary: "several metrics as one series", query: append([]string{"metric"}, acrossQuery...),
		answers: answers(200, "Rows"), errors: []int{400, 403, 404},
	},
	"POST /v1/aggregation/metric": {
		summary: "several metrics as one series", query: acrossQuery, body: "Ids", answers: answers(200, "Rows"),
		errors: []int{403, 404},
	},
	"POST /v1/aggregation/resource/{type}/metric/{name}": {
		summary: "the metrics of a name of several resources as one series",
		query:   append([]string{"groupby", "filter"}, acrossQuery...), body: "Search",
		answers: answers(200, "Anything"), errors: []int{403, 404},
	},

	"GET /v1/ingest/{token}": {
		summary: "what became of the measures of a request", headers: writeHeaders, answers: answers(200, "Ingest"),
		errors: []int{404},
	},
	"GET /v1/dead-letters": {
		summary: "what could not be applied", query: []string{"limit", "marker"}, answers: answers(200, "Anything"),
		errors: []int{400, 403},
	},
	"DELETE /v1/dead-letters": {
		summary: "forget all that could not be applied", query: []string{"all"}, answers: answers(204, ""),
		errors: []int{400, 403},
	},
	"POST /v1/dead-letters/replay": {
		summary: "accept again what could not be applied", body: "Replay", answers: answers(200, "Object"),
		errors: []int{403, 404},
	},
	"GET /v1/dead-letters/{id}": {summary: "one of them", answers: answers(200, "Object"), errors: []int{403, 404}},
	"DELETE /v1/dead-letters/{id}": {
		summary: "forget one of them", answers: answers(204, ""), errors: []int{403, 404},
	},

	"GET /v1/status": {
		summary: "how far the server is", query: []string{"details"}, answers: answers(200, "Status"),
		errors: []int{400, 403},
	},
	"GET /v1/capabilities": {summary: "the aggregation methods", answers: answers(200, "Object")},

	"GET /v1/resource_type": {
		summary: "all resource types", answers: answers(200, "Types"), errors: []int{403},
	},
	"POST /v1/resource_type": {
		summary: "create a resource type", body: "NewType", answers: answers(201, "Type"), errors: []int{403, 409},
	},
	"GET /v1/resource_type/{name}": {
		summary: "a resource type", answers: answers(200, "Type"), errors: []int{403, 404},
	},
	"PATCH /v1/resource_type/{name}": {
		summary: "add and remove attributes (RFC 6902)", body: "Patch", media: typeJSONPatch,
		answers: answers(200, "Type"), errors: []int{403, 404},
	},
	"DELETE /v1/resource_type/{name}": {
		summary: "delete a resource type that has no resources", answers: answers(204, ""),
		errors: []int{400, 403, 404},
	},

	"GET /v1/resource": {
		summary: "where the resources of each type are", answers: answers(200, "Object"),
	},
	"GET /v1/resource/{type}": {
		summary: "list resources", query: append([]string{"attrs", "history", "details", "filter"}, pageQuery...),
		answers: answers(200, "Resources"), errors: []int{400, 403, 404},
	},
	"POST /v1/resource/{type}": {
		summary: "create a resource", body: "NewResource", answers: answers(201, "Resource"),
		errors: []int{403, 404, 409},
	},
	"DELETE /v1/resource/{type}": {
		summary: "delete the resources that a search finds", query: []string{"filter"},
		answers: answers(200, "Object"), errors: []int{400, 403, 404, 415},
	},
	"GET /v1/resource/{type}/{id}": {
		summary: "a resource", answers: answers(200, "Resource"), errors: []int{400, 403, 404, 412},
	},
	"PATCH /v1/resource/{type}/{id}": {
		summary: "change a resource", body: "ResourceChange", answers: answers(200, "Resource"),
		errors: []int{403, 404, 412},
	},
	"DELETE /v1/resource/{type}/{id}": {
		summary: "delete a resource and its metrics", answers: answers(204, ""), errors: []int{400, 403, 404, 412},
	},
	"GET /v1/resource/{type}/{id}/history": {
		summary: "the states of a resource", query: append([]string{"attrs", "details"}, pageQuery...),
		answers: answers(200, "Resources"), errors: []int{400, 403, 404},
	},
	"GET /v1/resource/{type}/{id}/metric": {
		summary: "the metrics of a resource", answers: answers(200, "Metrics"), errors: []int{400, 403, 404},
	},
	"POST /v1/resource/{type}/{id}/metric": {
		summary: "give metrics to a resource", body: "NewMetrics", answers: answers(200, "Metrics"),
		errors: []int{403, 404, 409},
	},
	"GET /v1/resource/{type}/{id}/metric/{name}": {
		summary: "a metric of a resource", answers: answers(200, "Metric"), errors: []int{400, 403, 404},
	},
	"DELETE /v1/resource/{type}/{id}/metric/{name}": {
		summary: "delete a metric of a resource", answers: answers(204, ""), errors: []int{400, 403, 404},
	},
	"GET /v1/resource/{type}/{id}/metric/{name}/measures": {
		summary: "aggregated measures of a metric of a resource", query: readQuery, headers: readHeaders,
		answers: answers(200, "Rows"), errors: []int{400, 403, 404},
	},
	"POST /v1/resource/{type}/{id}/metric/{name}/measures": {
		summary: "store measures of a metric of a resource", body: "Measures", headers: writeHeaders, answers: acceptAnswers,
		errors: []int{403, 404, 429},
	},
	"POST /v1/search/resource/{type}": {
		summary: "search resources", query: append([]string{"attrs", "history", "details", "filter"}, pageQuery...),
		body: "Search", answers: answers(200, "Resources"), errors: []int{403, 404},
	},

	"GET /v1/influxdb/ping": {summary: "says a version", answers: answers(204, "")},
	"POST /v1/influxdb/query": {
		summary: "CREATE DATABASE: a resource type", query: []string{"q"}, answers: answers(204, ""),
		errors: []int{400, 403, 408, 413, 415, 501},
	},
	"POST /v1/influxdb/write": {
		summary: "store measures in InfluxDB's line protocol", query: []string{"db"}, headers: writeHeaders,
		body: "Text", media: typeText, answers: map[int]string{200: "Ingest", 202: "Ingest", 204: ""},
		errors: []int{403, 404, 409, 429},
	},
	"POST /v1/prometheus/write": {
		summary: "store measures from Prometheus (remote write 1.0)", headers: writeHeaders, body: "Binary",
		media: "application/x-protobuf", answers: acceptAnswers, errors: []int{403, 409, 429},
	},
}
