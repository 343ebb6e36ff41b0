package api

import (
	"strings"
	"testing"
)

// FuzzBodies sends any body to every route that takes JSON and is no route of resources
// or aggregates: archive policies, rules, metrics, measures, dead letters. Whatever it is,
// it is the client's fault: no panic, and no 5xx.
func FuzzBodies(f *testing.F) {
	h := newHouse(f, build{})
	h.policy(f, "low", `{"granularity": 1}`)
	h.must(f, "POST", "/v1/archive_policy_rule", call{as: "admin",
		body: `{"name": "r", "metric_pattern": "x.*", "archive_policy_name": "low"}`})
	id := h.metric(f, "low")
	routes := []struct{ method, path string }{
		{"POST", "/v1/archive_policy"},
		{"PATCH", "/v1/archive_policy/low"},
		{"POST", "/v1/archive_policy_rule"},
		{"PATCH", "/v1/archive_policy_rule/r"},
		{"POST", "/v1/metric"},
		{"POST", measures(id)},
		{"POST", batchPath},
		{"POST", "/v1/dead-letters/replay"},
	}
	for _, body := range []string{
		``, `{}`, `[]`, `null`, `"x"`,
		`{"name": "p", "definition": [{"granularity": "1s", "points": 60, "timespan": "1min"}]}`,
		`{"name": "p", "back_window": 1e99, "aggregation_methods": ["mean", "-std", "rate:max", "99pct"], "definition": ` +
			`[{"granularity": 1e-9}]}`,
		`{"name": "\u0000", "definition": [{"timespan": "9999999999d", "points": 1}]}`,
		`{"definition": [{"granularity": 1, "points": 100}]}`,
		`{"name": "q", "metric_pattern": "[a-*?", "archive_policy_name": "low"}`, `{"name": "s"}`,
		`{"archive_policy_name": "low", "name": "a/b", "unit": "B", "resource_id": "x"}`,
		`{"name": "x.y", "resource_id": "` + id + `"}`,
		`[{"timestamp": "2015-03-06T14:33:57.5Z", "value": 1e400}, {"timestamp": -1, "value": "nan"}]`,
		`[{"timestamp": "now", "value": 1}, 3]`,
		`{"` + id + `": [{"timestamp": 1.5, "value": "0x10"}]}`, `{"x": [], "` + id + `": {}}`, "{\"\xff\": []}",
		`{"ids": ["a", null, 3]}`, `{"before": "x"}`, strings.Repeat("[", 100), strings.Repeat(`{"and": `, 100),
	} {
		for route := range routes {
			f.Add(uint8(route), body)
		}
	}
	f.Fuzz(func(t *testing.T, route uint8, body string) {
		r := routes[int(route)%len(routes)]
		w := h.do(t, r.method, r.path, call{as: "admin", body: body})
		if w.Code >= 500 {
			t.Errorf("%s %s with %q: %d %s", r.method, r.path, body, w.Code, w.Body)
		}
	})
}
