package api

import "net/http"

func link(rel, href string) any { return map[string]any{"rel": rel, "href": href} }

// getVersions answers GET /. The build is the release of Gnocchi whose API we
// speak: clients compare it.
func (q *request) getVersions() error {
	return q.json(http.StatusOK, map[string]any{
		"build": q.config.Version,
		"versions": []any{map[string]any{
			"status": "CURRENT", "id": "v1.0", "updated": "2015-03-19",
			"links": []any{link("self", q.base()+"/v1/")},
		}},
	})
}

// relations are what GET /v1/ points to.
var relations = [...]string{
	"aggregates", "aggregation", "archive_policy", "archive_policy_rule", "batch", "capabilities",
	"influxdb", "metric", "resource", "resource_type", "search", "status",
}

func (q *request) getV1() error {
	base := q.base() + "/v1"
	links := []any{link("self", base)}
	for _, rel := range relations {
		links = append(links, link(rel, base+"/"+rel))
	}
	return q.json(http.StatusOK, map[string]any{"version": "1.0", "links": links})
}
