package api

import (
	"net/url"
	"strings"
	"testing"

	"millrace/testservers"
)

// FuzzResources sends any body, and any filter, to every route of resources that
// takes one. Whatever it is, it is the client's fault: no panic, and no 5xx.
func FuzzResources(f *testing.F) { fuzzResources(f, "") }

// FuzzResourcesPostgres does it where the database is stricter.
func FuzzResourcesPostgres(f *testing.F) {
	server := testservers.Postgres(f)
	fuzzResources(f, server.URL(server.Database(f)))
}

func fuzzResources(f *testing.F, address string) {
	routes := []struct{ method, path, contentType string }{
		{"POST", "/v1/resource_type", typeJSON},
		{"PATCH", "/v1/resource_type/host", typeJSONPatch},
		{"POST", "/v1/resource/host", typeJSON},
		{"POST", "/v1/resource/generic", typeJSON},
		{"PATCH", "/v1/resource/host/h", typeJSON},
		{"POST", "/v1/resource/generic/h/metric", typeJSON},
		{"POST", "/v1/resource/generic/h/metric/cpu/measures", typeJSON},
		{"POST", "/v1/search/resource/host?history=true", typeJSON},
		{"POST", "/v1/search/resource/generic", typeJSON},
		{"DELETE", "/v1/resource/never", typeJSON},
		{"POST", namedPath + "?create_metrics=true", typeJSON},
		{"POST", namedPath, typeJSON},
	}
	const search = 7 // the first that takes a filter
	for _, body := range []string{
		`{}`, `[]`, ``, `null`, `{"a": 1}`,
		`{"id": "x", "started_at": "now", "metrics": {"cpu": {"archive_policy_name": "low"}}}`,
		`{"id": "x", "s": "a\u0000b", "n": 1e400, "u": "{}", "on": null, "at": -1}`, `{"ended_at": 99999999999999999999}`,
		`{"name": "t", "attributes": {"a": {"type": "string", "min_length": 3}}}`, `{"name": "t\u0000"}`,
		`[{"op": "add", "path": "/attributes/x", "value": {"type": "number", "required": true, "options": {"fill": 1e99}}}]`,
		`[{"op": "remove", "path": "/attributes/s/type"}]`, `[{"op": "add", "path": "/attributes", "value": {}}]`,
		`{"like": {"s": "%"}}`, `{"in": {"n": [1, null, "2", true]}}`,
		`{"not": {"and": [{"=": {"id": "/"}}, {"<": {"lifespan": null}}]}}`,
		`{"=": {"revision": "1e300"}}`, `{">": {"revision_end": 0}}`, `{"like": {"created_by_user_id": "é\\"}}`,
		`{"h": {"cpu": [{"timestamp": 1, "value": 1}], "x": {"measures": [], "archive_policy_name": "low", "unit": "B"}}}`,
		`{"h": {"a\u0000": {"measures": [], "archive_policy_name": "low"}}}`, "{\"\xff\": {\"\xff\": []}}",
	} {
		for route := range routes {
			f.Add(uint8(route), body, "")
		}
	}
	for _, filter := range []string{`s = "x" and not n > 1`, `id in [a, "b/c"]`, `at < "-1 day"`, `lifespan > 0`,
		`s like "%"`, "s = '\x00'", "s = '\xff'"} {
		f.Add(uint8(search), "", filter)
	}
	h := newHouse(f, build{url: address})
	h.policy(f, "low", `{"granularity": 1}`)
	attributes := `"attributes": {"s": {"type": "string", "required": false}, "n": {"type": "number", "required": ` +
		`false}, "u": {"type": "uuid", "required": false}, ` +
		`"on": {"type": "bool", "required": false}, "at": {"type": "datetime", "required": false}}}`
	for _, name := range []string{"host", "never"} {
		h.must(f, "POST", "/v1/resource_type", call{as: "admin", body: `{"name": "` + name + `", ` + attributes})
	}
	h.must(f, "POST", "/v1/resource/host",
		call{as: "admin", body: `{"id": "h", "metrics": {"cpu": {"archive_policy_name": "low"}}}`})
	f.Fuzz(func(t *testing.T, route uint8, body, filter string) {
		r := routes[int(route)%len(routes)]
		path := r.path
		if int(route)%len(routes) >= search && filter != "" {
			separator := "?"
			if strings.Contains(path, "?") {
				separator = "&"
			}
			path += separator + "filter=" + url.QueryEscape(filter)
		}
		w := h.do(t, r.method, path, call{as: "admin", body: body, header: []string{"Content-Type: " + r.contentType}})
		if w.Code >= 500 {
			t.Errorf("%s %s with %q: %d %s", r.method, path, body, w.Code, w.Body)
		}
	})
}
