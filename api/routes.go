package api

import (
	"net/http"

	"millrace/api/auth"
)

// routes returns every route of the API.
func (a *API) routes() []route {
	return []route{
		{method: "GET", path: "/", handle: (*request).getVersions, open: true},
		{method: "GET", path: "/v1", handle: (*request).getV1, open: true},
		{method: "GET", path: "/healthcheck/*", handle: (*request).getHealth, open: true, any: true},
		{method: "POST", path: "/healthcheck/*", handle: (*request).getHealth, open: true, any: true},
		{method: "HEAD", path: "/healthcheck/*", handle: (*request).headHealth, open: true, any: true},
		{method: "GET", path: "/readyz", handle: (*request).getReady, open: true, any: true},

		{method: "GET", path: "/v1/archive_policy", handle: (*request).listPolicies, rule: auth.ListArchivePolicy},
		{method: "POST", path: "/v1/archive_policy", handle: (*request).postPolicy, rule: auth.CreateArchivePolicy},
		{method: "GET", path: "/v1/archive_policy/{name}", handle: (*request).getPolicy, rule: auth.GetArchivePolicy},
		{method: "PATCH", path: "/v1/archive_policy/{name}", handle: (*request).patchPolicy},
		{method: "DELETE", path: "/v1/archive_policy/{name}", handle: (*request).deletePolicy,
			rule: auth.DeleteArchivePolicy},

		{method: "GET", path: "/v1/archive_policy_rule", handle: (*request).listRules, rule: auth.ListArchivePolicyRule},
		{method: "POST", path: "/v1/archive_policy_rule", handle: (*request).postRule, rule: auth.CreateArchivePolicyRule},
		{method: "GET", path: "/v1/archive_policy_rule/{name}", find: (*request).findRule, handle: (*request).getRule,
			rule: auth.GetArchivePolicyRule},
		{method: "PATCH", path: "/v1/archive_policy_rule/{name}", find: (*request).findRule, handle: (*request).patchRule},
		{method: "DELETE", path: "/v1/archive_policy_rule/{name}", find: (*request).findRule, handle: (*request).deleteRule,
			rule: auth.DeleteArchivePolicyRule},

		{method: "GET", path: "/v1/metric", handle: (*request).listMetrics},
		{method: "POST", path: "/v1/metric", handle: (*request).postMetric},
		{method: "GET", path: "/v1/metric/{id}", find: (*request).findMetric, handle: (*request).getMetric},
		{method: "DELETE", path: "/v1/metric/{id}", find: (*request).findMetric, handle: (*request).deleteMetric},
		{method: "GET", path: "/v1/metric/{id}/measures", find: (*request).findTarget, handle: (*request).getMeasures},
		{method: "POST", path: "/v1/metric/{id}/measures", find: (*request).findTarget, handle: (*request).postMeasures},
		{method: "GET", path: "/v1/metric/{id}/{surplus}", find: (*request).findMetric, handle: noMethod}, // as Gnocchi
		{method: "POST", path: "/v1/batch/metrics/measures", handle: (*request).postBatch},

		{method: "POST", path: "/v1/search/metric", handle: (*request).searchMetrics},
		{method: "POST", path: "/v1/aggregates", handle: (*request).postAggregates},
		{method: "GET", path: "/v1/aggregation/metric", handle: (*request).getAggregation},
		{method: "POST", path: "/v1/aggregation/metric", handle: (*request).postAggregation},
		{method: "POST", path: "/v1/aggregation/resource/{type}/metric", find: (*request).findType, handle: noMethod},
		{method: "POST", path: "/v1/aggregation/resource/{type}/metric/{name}", find: (*request).findType,
			handle: (*request).postNamedAggregation},

		{method: "GET", path: "/v1/ingest/{token}", handle: (*request).getIngest},
		{method: "GET", path: "/v1/dead-letters", handle: (*request).listLetters, rule: auth.ManageDeadLetters},
		{method: "DELETE", path: "/v1/dead-letters", handle: (*request).purgeLetters, rule: auth.ManageDeadLetters},
		{method: "POST", path: "/v1/dead-letters/replay", handle: (*request).replayLetters, rule: auth.ManageDeadLetters},
		{method: "GET", path: "/v1/dead-letters/{id}", handle: (*request).getLetter, rule: auth.ManageDeadLetters},
		{method: "DELETE", path: "/v1/dead-letters/{id}", handle: (*request).deleteLetter, rule: auth.ManageDeadLetters},

		{method: "GET", path: "/v1/status", handle: (*request).getStatus, rule: auth.GetStatus},
		{method: "GET", path: "/v1/capabilities", handle: (*request).getCapabilities, open: true},
		{method: "GET", path: "/v1/openapi.json", handle: (*request).getOpenAPI, open: true},

		{method: "GET", path: "/v1/resource_type", handle: (*request).listResourceTypes, rule: auth.ListResourceType},
		{method: "POST", path: "/v1/resource_type", handle: (*request).postResourceType},
		{method: "GET", path: "/v1/resource_type/{name}", find: (*request).findType, handle: (*request).getResourceType,
			rule: auth.GetResourceType},
		{method: "PATCH", path: "/v1/resource_type/{name}", find: (*request).findType, handle: (*request).patchResourceType,
			rule: auth.UpdateResourceType},
		{method: "DELETE", path: "/v1/resource_type/{name}", find: (*request).findType,
			handle: (*request).deleteResourceType, rule: auth.DeleteResourceType},

		{method: "GET", path: "/v1/resource", handle: (*request).listResourceKinds},
		{method: "GET", path: "/v1/resource/{type}", find: (*request).findType, handle: (*request).listResources},
		{method: "POST", path: "/v1/resource/{type}", find: (*request).findType, handle: (*request).postResource},
		{method: "DELETE", path: "/v1/resource/{type}", find: (*request).findType, handle: (*request).deleteResources},
		{method: "GET", path: "/v1/resource/{type}/{id}", find: (*request).findType, handle: (*request).getResource},
		{method: "PATCH", path: "/v1/resource/{type}/{id}", find: (*request).findType, handle: (*request).patchResource},
		{method: "DELETE", path: "/v1/resource/{type}/{id}", find: (*request).findType, handle: (*request).deleteResource},
		{method: "GET", path: "/v1/resource/{type}/{id}/history", find: (*request).findType, handle: (*request).listHistory},
		{method: "GET", path: "/v1/resource/{type}/{id}/metric", find: (*request).findType,
			handle: (*request).listNamedMetrics},
		{method: "POST", path: "/v1/resource/{type}/{id}/metric", find: (*request).findType,
			handle: (*request).postNamedMetrics},
		{method: "GET", path: "/v1/resource/{type}/{id}/metric/{name}", find: (*request).findType,
			handle: named((*request).getMetric)},
		{method: "DELETE", path: "/v1/resource/{type}/{id}/metric/{name}", find: (*request).findType,
			handle: named((*request).deleteMetric)},
		{method: "GET", path: "/v1/resource/{type}/{id}/metric/{name}/measures", find: (*request).findType,
			handle: namedTarget((*request).getMeasures)},
		{method: "POST", path: "/v1/resource/{type}/{id}/metric/{name}/measures", find: (*request).findType,
			handle: namedTarget((*request).postMeasures)},
		{method: "POST", path: "/v1/search/resource/{type}", find: (*request).findType, handle: (*request).searchResources},
		{method: "GET", path: "/v1/search/resource/{type}", find: (*request).findType, handle: onlyPOST},

		{method: "POST", path: "/v1/batch/resources/metrics/measures", handle: (*request).postNamedBatch},

		{method: "GET", path: "/v1/influxdb/ping", handle: (*request).getInfluxPing, open: true, any: true},
		{method: "POST", path: "/v1/influxdb/query", handle: (*request).postInfluxQuery, any: true},
		{method: "POST", path: "/v1/influxdb/write", handle: (*request).postInfluxWrite, any: true},
		{method: "POST", path: "/v1/prometheus/write", handle: (*request).postPrometheusWrite, any: true},
	}
}

// onlyPOST is the answer on a path where there is only POST, for those who must learn
// first whether what the path names is there.
func onlyPOST(*request) error {
	return &failure{status: http.StatusMethodNotAllowed, description: "", allow: "POST"}
}

// noMethod is the answer on a path that is only the beginning of others, or goes on after one.
func noMethod(*request) error {
	return &failure{status: http.StatusMethodNotAllowed, description: ""}
}
