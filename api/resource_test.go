package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
	"millrace/testservers"
)

// patch is the header of a PATCH of a resource type.
var patchType = []string{"Content-Type: application/json-patch+json", acceptJSON}

func TestResourceTypes(t *testing.T) { onEach(t, testResourceTypes) }

func testResourceTypes(t *testing.T, address string) {
	h := newHouse(t, build{url: address})
	const path = "/v1/resource_type"
	admin := func(body string) call { return call{as: "admin", body: body, header: []string{acceptJSON}} }
	change := func(body string) call { return call{as: "admin", body: body, header: patchType} }
	h.run(t, []step{
		{"one type", "GET", path, call{}, 200, nil, `[{"name": "generic", "attributes": {}, "state": "active"}]`, nil},
		{"not admin", "POST", path, call{body: `{"name": "x"}`}, 403, nil, "", nil},
		{"a bad body comes first", "POST", path, call{body: `{}`}, 400, []string{"required key not provided @ data['name']"},
			"", nil},
		{"content type", "POST", path, call{as: "admin", body: `{"name": "x"}`,
			header: []string{"Content-Type: text/plain"}}, 415, nil, "", nil},
		{"reserved name", "POST", path, admin(`{"name": "x", "attributes": {"project_id": {"type": "string"}}}`), 400,
			[]string{`"Invalid input: Resource attribute name project_id is invalid"`}, "", nil},
		{"bad first character", "POST", path, admin(`{"name": "x", "attributes": {"-a": {"type": "string"}}}`), 400,
			[]string{`Resource attribute name -a is invalid`}, "", nil},
		{"NUL", "POST", path, admin(`{"name": "x", "attributes": {"a\u0000": {"type": "string"}}}`), 400,
			[]string{`Resource attribute name a`, `is invalid`}, "", nil},
		{"long name", "POST", path, admin(`{"name": "x", "attributes": {"` + strings.Repeat("a", 64) +
			`": {"type": "string"}}}`), 400, []string{`is invalid`}, "", nil},
		{"unknown kind", "POST", path, admin(`{"name": "x", "attributes": {"a": {"type": "text"}}}`), 400,
			[]string{`"cause": "Invalid input", "reason": "not a valid value for dictionary value @ ` +
				`data['attributes']['a']['type']"`}, "", nil},
		{"unknown option", "POST", path, admin(`{"name": "x", "attributes": {"a": {"type": "string", "min": 1}}}`), 400,
			[]string{"extra keys not allowed @ data['attributes']['a']['min']"}, "", nil},
		{"options are for changes", "POST", path,
			admin(`{"name": "x", "attributes": {"a": {"type": "string", "options": {"fill": "a"}}}}`), 400,
			[]string{"extra keys not allowed"}, "", nil},
		{"min above max", "POST", path, admin(`{"name": "x", "attributes": {"a": {"type": "number", "min": 8, "max": 3}}}`),
			400,
			[]string{"Invalid input: Resource attribute value min (or min_length) 8 must be less  than or equal to max (or " +
				"max_length) 3!"}, "", nil},
		{"lengths", "POST", path, admin(`{"name": "x", "attributes": {"a": {"type": "string", "max_length": 257}}}`), 400,
			[]string{"value must be at most 256"}, "", nil},
		{"no type", "POST", path, admin(`{"name": "x", "attributes": {"a": {}}}`), 400,
			[]string{"required key not provided @ data['attributes']['a']['type']"}, "", nil},
		{"NUL", "POST", path, admin(`{"name": "x\u0000y"}`), 400, []string{"U+0000"}, "", nil},
		{"create", "POST", path,
			admin(`{"name": "my type", "attributes": {"name": {"type": "string", "max_length": 5}, "n": {"type": "number", ` +
				`"required": false, "min": -2, "max": 2.5}, "on": {"type": "bool", "required": false}}}`), 201, nil,
			`{"name": "my type", "attributes": {"name": {"type": "string", "required": true, "min_length": 0, "max_length": ` +
				`5}, "n": {"type": "number", "required": false, "min": -2, "max": 2.5}, "on": {"type": "bool", "required": ` +
				`false}}, "state": "active"}`,
			[]string{"Location: http://example.com/v1/resource_type/my%20type"}},
		{"again", "POST", path, admin(`{"name": "my type"}`), 409, []string{`"Resource type my type already exists"`}, "",
			nil},
		{"kinds", "GET", "/v1/resource", call{}, 200, nil,
			`{"generic": "http://example.com/v1/resource/generic", "my type": "http://example.com/v1/resource/my%20type"}`,
			nil},
		{"unknown", "GET", path + "/nope", call{header: []string{acceptJSON}}, 404,
			[]string{`"Resource type nope does not exist"`}, "", nil},
		{"unknown in every path", "DELETE", "/v1/resource/nope/x/metric/y", call{as: "-"}, 404,
			[]string{`Resource type nope does not exist`}, "", nil},
		{"patch, not admin", "PATCH", path + "/my%20type", call{body: `[]`, header: patchType}, 403, nil, "", nil},
		{"patch, content type", "PATCH", path + "/my%20type", admin(`[]`), 415, nil, "", nil},
		{"patch, no list", "PATCH", path + "/my%20type", change(`{}`), 400, []string{"expected a list"}, "", nil},
		{"patch, bad op", "PATCH", path + "/my%20type", change(`[{"op": "replace", "path": "/attributes/a"}]`), 400,
			[]string{"not a valid value for dictionary value @ data[0]['op']"}, "", nil},
		{"patch, bad path", "PATCH", path + "/my%20type", change(`[{"op": "remove", "path": "/name"}]`), 400,
			[]string{"not a valid value for dictionary value @ data[0]['path']"}, "", nil},
		{"patch, nothing there", "PATCH", path + "/my%20type", change(`[{"op": "remove", "path": "/attributes/what"}]`), 400,
			[]string{`"can't remove a non-existent object 'what'"`}, "", nil},
		{"patch, another kind", "PATCH", path + "/my%20type",
			change(`[{"op": "add", "path": "/attributes/name", "value": {"type": "number", "required": false}}]`), 400,
			[]string{"Type update is not available yet. Changing string to number for attribute name of resource my type"}, "",
			nil},
		{"patch, no fill", "PATCH", path + "/my%20type",
			change(`[{"op": "add", "path": "/attributes/x", "value": {"type": "bool", "options": {}}}]`), 400,
			[]string{"Invalid input: Option 'fill' of resource attribute x is invalid: must not be empty if required=True"}, "",
			nil},
		{"patch, bad fill", "PATCH", path + "/my%20type",
			change(`[{"op": "add", "path": "/attributes/x", "value": {"type": "number", "options": {"fill": "a"}}}]`), 400,
			[]string{"Invalid input: Option 'fill' of resource attribute x is invalid: expected Real"}, "", nil},
		{"patch, fill in the wrong place", "PATCH", path + "/my%20type",
			change(`[{"op": "add", "path": "/attributes/x", "value": {"required": true, "type": "string", "fill": "a"}}]`), 400,
			[]string{"extra keys not allowed"}, "", nil},
		{"patch, no difference", "PATCH", path + "/my%20type",
			change(`[{"op": "add", "path": "/attributes/x", "value": {"type": "number", "required": false}}, {"op": ` +
				`"remove", "path": "/attributes/x"}]`), 200, []string{`"on": {"type": "bool", "required": false}}`}, "", nil},
		{"patch, escapes and members", "PATCH", path + "/my%20type",
			change(`[{"op": "add", "path": "/attributes/a~1b~0c", "value": {"type": "uuid", "required": false}}, {"op": ` +
				`"remove", "path": "/attributes/n/min"}]`), 200,
			[]string{`"a/b~c": {"type": "uuid", "required": false}`, `"min": null, "max": 2.5`}, "", nil},
		{"delete, not admin", "DELETE", path + "/my%20type", call{}, 403, nil, "", nil},
		{"delete the generic one", "DELETE", path + "/generic", call{as: "admin"}, 400,
			[]string{"Resource type generic is still in use"}, "", nil},
		{"delete", "DELETE", path + "/my%20type", call{as: "admin"}, 204, nil, "", nil},
		{"deleted", "DELETE", path + "/my%20type", call{as: "admin"}, 404, nil, "", nil},
	})
}

// A type gets an attribute; resources and history that there were get its fill.
// (gnocchixyz/python-gnocchiclient#73)
func TestFills(t *testing.T) { onEach(t, testFills) }

func testFills(t *testing.T, address string) {
	h := newHouse(t, build{url: address})
	h.must(t, "POST", "/v1/resource_type", call{as: "admin", body: `{"name": "host"}`})
	h.must(t, "POST", "/v1/resource/host", call{body: `{"id": "old"}`})
	h.must(t, "PATCH", "/v1/resource/host/old", call{body: `{"user_id": "u"}`})
	change := func(value string) int {
		return h.do(t, "PATCH", "/v1/resource_type/host", call{as: "admin", header: patchType,
			body: `[{"op": "add", "path": "/attributes/x", "value": ` + value + `}]`}).Code
	}
	if code := change(`{"required": true, "type": "string", "fill": "a"}`); code != 400 {
		t.Errorf("a fill in the wrong place: %d", code)
	}
	if code := change(`{"required": true, "type": "string", "options": {"fill": "a"}}`); code != 200 {
		t.Errorf("a fill: %d", code)
	}
	for _, path := range []string{"/v1/resource/host", "/v1/resource/host?history=true",
		"/v1/resource/host/old/history"} {
		var list []map[string]any
		asJSON(t, h.do(t, "GET", path, call{}), &list)
		for _, r := range list {
			if r["x"] != "a" {
				t.Errorf("%s: x is %v", path, r["x"])
			}
		}
	}
	h.run(t, []step{{"now required", "POST", "/v1/resource/host", call{body: `{"id": "new"}`}, 400,
		[]string{"required key not provided @ data['x']"}, "", nil}})
}

func TestResources(t *testing.T) { onEach(t, testResources) }

func testResources(t *testing.T, address string) {
	h := newHouse(t, build{url: address})
	h.policy(t, "low", `{"granularity": 1}`)
	h.must(t, "POST", "/v1/resource_type",
		call{as: "admin", body: `{"name": "host", "attributes": {"rack": {"type": "string", "required": false, "min_length": 1, "max_length": 4},
		"u": {"type": "uuid", "required": false}, "n": {"type": "number", "required": false, "max": 3}, "on": {"type": "bool", "required": false}, "at": {"type": "datetime", "required": false}}}`})
	const path = "/v1/resource/generic"
	post := func(body string) call { return call{body: body, header: []string{acceptJSON}} }
	const mapped = "2fbfbb20-8d56-5e1e-afb9-b3007da11fdf" // foobar of foobar
	h.run(t, []step{
		{"empty", "GET", path, call{}, 200, nil, "[]", []string{"Link:"}},
		{"no id", "POST", path, post(`{}`), 400, []string{`"required key not provided @ data['id']"`}, "", nil},
		{"no body", "POST", path, call{header: []string{"Content-Type: application/json"}}, 400,
			[]string{"Expected object or value"}, "", nil},
		{"extra key", "POST", path, post(`{"id": "x", "foo": 1}`), 400, []string{"extra keys not allowed @ data['foo']"}, "",
			nil},
		{"id is no text", "POST", path, post(`{"id": 5}`), 400, []string{"expected str"}, "", nil},
		{"slash", "POST", path, post(`{"id": "a/b"}`), 400, []string{"'/' is not supported in resource id"}, "", nil},
		{"long", "POST", path, post(`{"id": "` + strings.Repeat("x", 290) + `"}`), 400,
			[]string{"transformable resource id >289 max allowed characters"}, "", nil},
		{"NUL", "POST", path, post(`{"id": "a\u0000"}`), 400, []string{"U+0000"}, "", nil},
		{"user", "POST", path, post(`{"id": "x", "user_id": 5}`), 400,
			[]string{"not a valid value for dictionary value @ data['user_id']"}, "", nil},
		{"started", "POST", path, post(`{"id": "x", "started_at": null}`), 400,
			[]string{"not a valid value for dictionary value @ data['started_at']"}, "", nil},
		{"order of times", "POST", path, post(`{"id": "x", "started_at": "2015-01-02", "ended_at": "2015-01-01"}`), 400,
			[]string{`"Start timestamp cannot be after end timestamp"`}, "", nil},
		{"only an end, past", "POST", path, post(`{"id": "x", "ended_at": "2015-01-01"}`), 400,
			[]string{"Start timestamp cannot be after end timestamp"}, "", nil},
		{"attribute of another type", "POST", path, post(`{"id": "x", "rack": "a"}`), 400,
			[]string{"extra keys not allowed @ data['rack']"}, "", nil},
		{"short", "POST", "/v1/resource/host", post(`{"id": "x", "rack": ""}`), 400,
			[]string{"length of value must be at least 1 for dictionary value @ data['rack']"}, "", nil},
		{"no null", "POST", "/v1/resource/host", post(`{"id": "x", "rack": null}`), 400,
			[]string{"expected str for dictionary value @ data['rack']"}, "", nil},
		{"no uuid", "POST", "/v1/resource/host", post(`{"id": "x", "u": "really!"}`), 400,
			[]string{"badly formed hexadecimal UUID string for dictionary value @ data['u']"}, "", nil},
		{"above", "POST", "/v1/resource/host", post(`{"id": "x", "n": 4}`), 400,
			[]string{"value must be at most 3 for dictionary value @ data['n']"}, "", nil},
		{"no number", "POST", "/v1/resource/host", post(`{"id": "x", "n": "3"}`), 400, []string{"expected Real"}, "", nil},
		{"huge", "POST", "/v1/resource/host", post(`{"id": "x", "n": -1e999}`), 400, []string{"expected Real"}, "", nil},
		{"no bool", "POST", "/v1/resource/host", post(`{"id": "x", "on": 1}`), 400, []string{"expected bool"}, "", nil},

		{"create", "POST", "/v1/resource/host",
			post(`{"id": "foobar", "user_id": null, "project_id": "p", "started_at": 1388714522.5, "rack": "é", "u": ` +
				`"{0123456789ABCDEF0123456789abcdef}", "n": 1e0, "on": false, "at": "2015-01-01T01:00:00+01:00", "metrics": ` +
				`{"cpu": {"archive_policy_name": "low"}}}`), 201,
			[]string{`"id": "` + mapped +
				`", "original_resource_id": "foobar", "type": "host", "creator": "foobar", "created_by_user_id": "foobar", ` +
				`"created_by_project_id": "", "user_id": null, "project_id": "p", ` +
				`"started_at": "2014-01-03T02:02:02.500000+00:00", "ended_at": null, "revision_start": "`,
				`"revision_end": null, "metrics": {"cpu": "`,
				`"rack": "é", "u": "01234567-89ab-cdef-0123-456789abcdef", "n": 1e0, "on": false, "at": ` +
					`"2015-01-01T00:00:00+00:00"}`},
			"", []string{"Location: http://example.com/v1/resource/host/" + mapped}},
		{"the same, of another type", "POST", path, post(`{"id": "foobar"}`), 409,
			[]string{`"Resource ` + mapped + ` already exists"`}, "", nil},
		{"somebody else's foobar is another", "GET", path + "/foobar", call{as: "jd"}, 404,
			[]string{"Resource ", " does not exist"}, "", nil},
		{"by its UUID everybody may", "GET", path + "/" + strings.ToUpper(mapped), call{as: "jd"}, 200,
			[]string{`"type": "host"`}, "", nil},
		{"as its type", "GET", "/v1/resource/host/foobar", call{}, 200, []string{`"rack": "é"`}, "", nil},
		{"no slash in a path", "GET", path + "/a%2Fb", call{}, 404, nil, "", nil},
		{"patch of somebody else's", "PATCH", path + "/" + mapped, call{as: "jd", body: `{}`}, 403, nil, "", nil},
		{"delete of somebody else's", "DELETE", path + "/" + mapped, call{as: "jd"}, 403, nil, "", nil},
		// gnocchixyz/gnocchi#1004
		{"null end", "PATCH", path + "/foobar", post(`{"ended_at": null}`), 400,
			[]string{`"cause": "Invalid input", "reason": "not a valid value for dictionary value @ data['ended_at']"`}, "",
			nil},
		{"end before start", "PATCH", path + "/foobar", post(`{"ended_at": "2000-01-01"}`), 400,
			[]string{`"Value 2000-01-01 00:00:00+00:00 for attribute ended_at on resource type generic is invalid"`}, "", nil},
		{"id", "PATCH", path + "/foobar", post(`{"id": "x"}`), 400,
			[]string{`"extra keys not allowed @ data['id']", "detail": ["id"]`}, "", nil},
		{"list", "PATCH", path + "/foobar", post(`["x"]`), 400, []string{`"reason": "expected a dictionary", "detail": []`},
			"", nil},
		{"nothing", "PATCH", path + "/foobar", post(`{}`), 200, []string{`"metrics": {"cpu": "`}, "", nil},
		{"all or nothing", "PATCH", path + "/foobar",
			post(`{"user_id": "changed", "metrics": {"x": "00000000-0000-0000-0000-000000000001"}}`), 400,
			[]string{`"Metric 00000000-0000-0000-0000-000000000001 does not exist"`}, "", nil},
		{"unchanged", "GET", path + "/foobar", call{}, 200, []string{`"user_id": null`, `"metrics": {"cpu": "`}, "", nil},
		{"history has no POST", "POST", path + "/foobar/history", post(`{}`), 405, nil, "", nil},
	})
	one := h.must(t, "GET", path+"/foobar", call{})
	if len(one) != 13 {
		t.Errorf("a resource seen as a generic one has %d keys", len(one))
	}
	w := h.do(t, "GET", path+"/foobar", call{})
	tag, modified := w.Header().Get("ETag"), w.Header().Get("Last-Modified")
	earlier := mustTime(t, modified).Add(-time.Second).Format(http.TimeFormat)
	for _, c := range []struct {
		method string
		header string
		status int
	}{
		{"GET", "If-Match: " + tag, 200}, {"GET", "If-Match: *", 200}, {"GET", `If-Match: "x", ` + tag, 200},
		{"GET", `If-Match: "x"`, 412}, {"GET", "If-Match: W/" + tag, 412},
		{"GET", "If-None-Match: " + tag, 304}, {"GET", "If-None-Match: *", 304}, {"GET", `If-None-Match: "x"`, 200},
		{"GET", "If-Modified-Since: " + modified, 304}, {"GET", "If-Modified-Since: " + earlier, 200},
		{"GET", "If-Modified-Since: never", 200},
		{"GET", "If-Unmodified-Since: " + modified, 200}, {"GET", "If-Unmodified-Since: " + earlier, 412},
		{"PATCH", `If-Match: "x"`, 412}, {"PATCH", "If-None-Match: *", 412}, {"PATCH", "If-Match: " + tag, 200},
		{"DELETE", `If-Match: "x"`, 412}, {"DELETE", "If-None-Match: " + tag, 412},
	} {
		body := ""
		if c.method == "PATCH" {
			body = "{}"
		}
		if got := h.do(t, c.method, path+"/foobar", call{body: body, header: []string{c.header}}); got.Code != c.status ||
			c.status == 304 && got.Body.Len() > 0 {
			t.Errorf("%s with %s: %d, want %d", c.method, c.header, got.Code, c.status)
		}
	}
	h.run(t, []step{
		{"delete", "DELETE", path + "/foobar", call{header: []string{"If-Match: " + tag}}, 204, nil, "", nil},
		{"deleted", "GET", path + "/foobar/metric/cpu", call{}, 404, []string{"Resource " + mapped + " does not exist"}, "",
			nil},
	})
}

func mustTime(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := http.ParseTime(text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// admin creates test8; somebody else asks for test8: that is another resource, and
// the answer says which. (gnocchixyz/gnocchi#651)
func TestMappedIDs(t *testing.T) {
	h := newHouse(t, build{})
	if got := h.must(t, "POST", "/v1/resource/generic", call{as: "admin",
		body: `{"id": "test8"}`})["id"]; got != "0f1fb140-dc2b-54b9-865d-2a7cedb33970" {
		t.Errorf("test8 is %v", got)
	}
	own, err := resourceID("test8", "jd")
	if err != nil {
		t.Fatal(err)
	}
	h.run(t, []step{{"jd's", "GET", "/v1/resource/generic/test8", call{as: "jd", header: []string{acceptJSON}}, 404,
		[]string{`"Resource ` + own.String() + ` does not exist"`}, "", nil}})
}

func TestMetricsOfResources(t *testing.T) { onEach(t, testMetricsOfResources) }

func testMetricsOfResources(t *testing.T, address string) {
	h := newHouse(t, build{url: address})
	h.work(t, ingest.WorkerConfig{})
	h.policy(t, "low", `{"granularity": 1}`)
	const path = "/v1/resource/generic/r"
	theirs := h.must(t, "POST", "/v1/metric",
		call{as: "jd", body: `{"archive_policy_name": "low", "name": "theirs"}`})["id"]
	mine := h.must(t, "POST", "/v1/metric",
		call{body: `{"archive_policy_name": "low", "name": "mine", "unit": "B"}`})["id"]
	h.must(t, "POST", "/v1/resource/generic", call{body: `{"id": "r"}`})
	post := func(body string) call { return call{body: body, header: []string{acceptJSON}} }
	h.run(t, []step{
		{"no policy", "POST", path + "/metric", post(`{"cpu": {}}`), 400,
			[]string{`"No archive policy name specified and no archive policy rule found matching the metric name cpu"`}, "",
			nil},
		{"bad policy", "POST", path + "/metric", post(`{"cpu": {"archive_policy_name": "nope"}}`), 400,
			[]string{`"Archive policy nope does not exist"`}, "", nil},
		{"bad name", "POST", path + "/metric", post(`{"c/u": {"archive_policy_name": "low"}}`), 400,
			[]string{`"'/' is not supported in metric name"`}, "", nil},
		{"bad value", "POST", path + "/metric", post(`{"cpu": 10}`), 400,
			[]string{`not a valid value for dictionary value @ data['cpu']`}, "", nil},
		{"bad value", "PATCH", path, post(`{"metrics": {"cpu": {"unit": "` + strings.Repeat("u", 32) + `"}}}`), 400,
			[]string{`not a valid value for dictionary value @ data['metrics']['cpu']`}, "", nil},
		{"no dictionary", "PATCH", path, post(`{"metrics": []}`), 400,
			[]string{`expected a dictionary for dictionary value @ data['metrics']`}, "", nil},
		{"somebody else's", "POST", path + "/metric", post(fmt.Sprintf(`{"x": %q}`, theirs)), 400,
			[]string{fmt.Sprintf(`"Metric %s does not exist"`, theirs)}, "", nil},
		{"not mine to change", "POST", "/v1/resource/generic/2fbfbb20-8d56-5e1e-afb9-b3007da11fdf/metric", post(`{}`), 404,
			nil, "", nil},
		{"add", "POST", path + "/metric",
			post(`{"cpu": {"name": "ignored", "archive_policy_name": "low", "unit": "%", "resource_id": 5}}`), 200,
			[]string{`"name": "cpu", "unit": "%"`, `"archive_policy": {"name": "low"`}, "", nil},
		{"again", "POST", path + "/metric", post(`{"cpu": {"archive_policy_name": "low"}}`), 409,
			[]string{`"Named metric cpu already exists"`}, "", nil},
		{"attach", "POST", path + "/metric", post(fmt.Sprintf(`{"disk": %q}`, mine)), 200,
			[]string{fmt.Sprintf(`[{"id": %q, "name": "disk", "unit": "B"`, mine)}, "", nil},
		{"the same by /v1/metric", "POST", "/v1/metric",
			post(`{"name": "cpu", "resource_id": "r", "archive_policy_name": "low"}`), 400,
			[]string{`{"cause": "Named metric already exists", "detail": "cpu"}`}, "", nil},
		{"one", "GET", path + "/metric/disk", call{}, 200, []string{fmt.Sprintf(`"id": %q, "name": "disk"`, mine),
			`"resource": {"id": "`, `"original_resource_id": "r", "type": "generic"`}, "", nil},
		{"one, by its id", "GET", fmt.Sprintf("/v1/metric/%v", mine), call{}, 200,
			[]string{`"name": "disk"`, `"resource": {"id": "`}, "", nil},
		{"none", "GET", path + "/metric/none", call{header: []string{acceptJSON}}, 404,
			[]string{`"Metric none does not exist"`}, "", nil},
		{"no POST", "POST", path + "/metric/disk", post(`{}`), 405, nil, "", []string{"Allow: DELETE, GET"}},
		{"measures", "POST", path + "/metric/disk/measures", post(`[{"timestamp": "2015-03-06T14:33:57", "value": 43.1}]`),
			202, nil, "", []string{"Content-Length: 0"}},
		{"read", "GET", path + "/metric/disk/measures?refresh=true", call{}, 200, nil,
			`[["2015-03-06T14:33:57+00:00", 1.0, 43.1]]`, nil},
		{"as another type", "GET", "/v1/resource/nope/r/metric/disk/measures", call{}, 404,
			[]string{"Resource type nope does not exist"}, "", nil},
		{"measures of none", "POST", path + "/metric/none/measures", post(`[]`), 404, []string{"Metric none does not exist"},
			"", nil},
		{"measures of somebody else's", "POST", fmt.Sprintf("/v1/metric/%v/measures", mine), call{as: "jd", body: `[]`}, 403,
			nil, "", nil},
		{"detach", "PATCH", path, post(`{"metrics": {}}`), 200, []string{`"metrics": {}`}, "", nil},
		{"detached", "GET", fmt.Sprintf("/v1/metric/%v", mine), call{}, 200, []string{`"name": "disk"`, `"resource": null`},
			"", nil},
		{"gone", "GET", path + "/metric/disk/measures", call{}, 404, []string{"Metric disk does not exist"}, "", nil},
		{"empty", "GET", path + "/metric", call{}, 200, nil, `[]`, nil},
		{"added by /v1/metric", "POST", "/v1/metric",
			post(`{"name": "cpu", "resource_id": "r", "archive_policy_name": "low"}`), 201, nil, "", nil},
		{"delete", "DELETE", path + "/metric/cpu", call{}, 204, nil, "", nil},
		{"deleted", "DELETE", path + "/metric/cpu", call{}, 404, []string{"Metric cpu does not exist"}, "", nil},
	})
}

// ended_at 22:24:00, then a measure stamped 22:23:56: it stays; one at 22:24:00 takes
// it away. (gnocchixyz/gnocchi PR 1466)
func TestRevival(t *testing.T) { onEach(t, testRevival) }

func testRevival(t *testing.T, address string) {
	h := newHouse(t, build{url: address})
	h.policy(t, "low", `{"granularity": 1}`)
	r := h.must(t, "POST", "/v1/resource/generic",
		call{body: `{"id": "r", "started_at": "2026-01-01", "ended_at": "2026-01-02T22:24:00", "metrics": {"cpu": ` +
			`{"archive_policy_name": "low"}}}`})
	id := r["metrics"].(map[string]any)["cpu"].(string)
	for _, c := range []struct{ path, body, stamp, ended string }{
		{"/v1/metric/" + id + "/measures", `[{"timestamp": %q, "value": 1}]`, "2026-01-02T22:23:56",
			"2026-01-02T22:24:00+00:00"},
		{"/v1/resource/generic/r/metric/cpu/measures", `[{"timestamp": %q, "value": 1}]`, "2026-01-02T22:23:56",
			"2026-01-02T22:24:00+00:00"},
		{"/v1/batch/metrics/measures", `{"` + id + `": [{"timestamp": %q, "value": 1}]}`, "2026-01-02T22:23:56",
			"2026-01-02T22:24:00+00:00"},
		{"/v1/batch/metrics/measures", `{"` + id + `": [{"timestamp": %q, "value": 1}]}`, "2026-01-02T22:24:00", ""},
		{"/v1/metric/" + id + "/measures", `[{"timestamp": %q, "value": 1}]`, "2026-01-02T22:24:00", ""},
		{"/v1/resource/generic/r/metric/cpu/measures", `[{"timestamp": %q, "value": 1}]`, "2026-01-02T22:24:01", ""},
	} {
		h.must(t, "PATCH", "/v1/resource/generic/r", call{body: `{"ended_at": "2026-01-02T22:24:00"}`})
		if w := h.do(t, "POST", c.path, call{body: fmt.Sprintf(c.body, c.stamp)}); w.Code != 202 {
			t.Fatalf("%s: %d %s", c.path, w.Code, w.Body)
		}
		got, _ := h.must(t, "GET", "/v1/resource/generic/r", call{})["ended_at"].(string)
		if got != c.ended {
			t.Errorf("%s, measure at %s: ended at %q, want %q", c.path, c.stamp, got, c.ended)
		}
	}
}

func TestSearchResources(t *testing.T) { onEach(t, testSearchResources) }

func testSearchResources(t *testing.T, address string) {
	h := newHouse(t, build{url: address, config: Config{MaxLimit: 3}})
	h.must(t, "POST", "/v1/resource_type",
		call{as: "admin", body: `{"name": "host", "attributes": {"rack": {"type": "string", "required": false}, "n": {"type": "number", "required": false},
		"u": {"type": "uuid", "required": false}, "on": {"type": "bool", "required": false}, "at": {"type": "datetime", "required": false}}}`})
	for _, r := range []string{
		`{"id": "a", "rack": "r1", "n": 1, "on": true, "at": "2015-01-01", "started_at": "2014-01-01", "ended_at": ` +
			`"2014-01-03"}`,
		`{"id": "b", "rack": "r2", "n": 2.5, "u": "00000000-0000-0000-0000-000000000001", "started_at": "2014-01-02", ` +
			`"project_id": "p"}`,
		`{"id": "5", "rack": "r2", "started_at": "2014-01-03", "user_id": "5"}`,
	} {
		h.must(t, "POST", "/v1/resource/host", call{body: r})
	}
	search := func(path string, c call) (ids string, w string) {
		t.Helper()
		rec := h.do(t, "POST", path, c)
		if rec.Code != 200 {
			return "", fmt.Sprintf("%d %s", rec.Code, rec.Body)
		}
		var list []map[string]any
		asJSON(t, rec, &list)
		for _, r := range list {
			ids += r["original_resource_id"].(string)
		}
		return ids, ""
	}
	for _, c := range []struct{ query, filter, want string }{
		{`{}`, ``, "ab5"},
		{`{"=": {"rack": "r2"}}`, `rack = r2`, "b5"},
		{`{"==": {"rack": "r2"}}`, ``, "b5"},
		{`{"≠": {"rack": "r2"}}`, `rack != r2`, "a"},
		{`{"=": {"id": "a"}}`, `id = a`, "a"},
		{`{"=": {"id": "nope"}}`, `id = nope`, ""},
		{`{"!=": {"id": "a"}}`, `id != a`, "b5"},
		{`{"in": {"id": ["a", "5", "x"]}}`, `id in [a, "5", x]`, "a5"},
		{`{"not": {"in": {"id": ["a", "5"]}}}`, `not (id in ["a", '5'])`, "b"},
		{`{"in": {"user_id": [5, null]}}`, `user_id in [5, null]`, "5"},
		{`{"in": {"user_id": [null]}}`, `user_id in [null]`, ""},
		{`{"not": {"in": {"rack": [null]}}}`, `not (rack in [null])`, ""}, // neither true nor false
		{`{"=": {"user_id": 5}}`, `user_id = 5`, "5"},
		{`{"=": {"user_id": null}}`, `user_id = null`, "ab"},
		{`{"ne": {"project_id": "q"}}`, `project_id != q`, "ab5"},
		{`{">=": {"n": "1"}}`, `n >= 1`, "ab"},
		{`{"=": {"n": true}}`, `n = true`, "a"},
		{`{"=": {"on": true}}`, `on = true`, "a"},
		{`{"≤": {"at": "2015-01-01T00:00:00"}}`, `at ≤ "2015-01-01"`, "a"},
		{`{"=": {"u": "{00000000000000000000000000000001}"}}`, `u = "00000000000000000000000000000001"`, "b"},
		{`{"like": {"rack": "r%"}}`, `rack like "r%"`, "ab5"},
		{`{"like": {"rack": "R_"}}`, `rack like "R_"`, ""},
		{`{"gt": {"lifespan": "1 day"}}`, `lifespan > "1 day"`, "a"},
		{`{"gt": {"lifespan": 172800}}`, `lifespan > 172800`, ""},
		{`{"and": [{"=": {"rack": "r2"}}, {"or": [{"=": {"n": 2.5}}, {"=": {"n": 7}}]}]}`,
			`rack = r2 and (n = 2.5 or n = 7)`, "b"},
		{`{"∨": [{"=": {"type": "host"}}, {"∧": [{"=": {"type": "x"}}]}]}`, `type = host ∨ type = x`, "ab5"},
		{`{"eq": {"creator": "foobar"}}`, `creator eq foobar`, "ab5"},
		{`{"eq": {"created_by_project_id": "foobar"}}`, `created_by_project_id = foobar`, ""},
		{`{"=": {"original_resource_id": "a"}}`, `original_resource_id = a`, "a"},
	} {
		if got, failed := search("/v1/search/resource/host?sort=started_at", call{body: c.query}); got != c.want ||
			failed != "" {
			t.Errorf("%s: got %q %s, want %q", c.query, got, failed, c.want)
		}
		if c.filter == "" {
			continue
		}
		path := "/v1/search/resource/host?sort=started_at&filter=" + url.QueryEscape(c.filter)
		if got, failed := search(path, call{header: []string{"Content-Type: application/json"}}); got != c.want ||
			failed != "" {
			t.Errorf("%s: got %q %s, want %q", c.filter, got, failed, c.want)
		}
		if got, failed := search(path, call{body: `{"=": {"id": "a"}}`}); got != "a" || failed != "" {
			t.Errorf("a body beside %s: got %q %s", c.filter, got, failed)
		}
	}
	const path = "/v1/search/resource/generic"
	query := func(body string) call { return call{body: body, header: []string{acceptJSON}} }
	h.run(t, []step{
		{"unknown operator", "POST", path, query(`{"foo": {"id": "a"}}`), 400,
			[]string{`"reason": "extra keys not allowed @ data['foo']", "detail": ["foo"]`}, "", nil},
		{"two operators", "POST", path, query(`{"=": {"id": "a"}, "!=": {"id": "b"}}`), 400,
			[]string{`"reason": "length of value must be at most 1"`}, "", nil},
		{"two attributes", "POST", path, query(`{"=": {"id": "a", "type": "b"}}`), 400,
			[]string{`length of value must be at most 1 for dictionary value @ data['=']`}, "", nil},
		{"list for a scalar", "POST", path, query(`{"ne": {"project_id": ["foobar"]}}`), 400,
			[]string{`expected str for dictionary value @ data['ne']['project_id']", "detail": ["ne", "project_id"]`}, "", nil},
		{"object for a list", "POST", path, query(`{"and": {"id": "a"}}`), 400,
			[]string{`expected a list for dictionary value @ data['and']", "detail": ["and"]`}, "", nil},
		{"list for a node", "POST", path, query(`{"not": [{"id": "a"}]}`), 400,
			[]string{`expected a dictionary for dictionary value @ data['not']`}, "", nil},
		{"like id, deep", "POST", path, query(`{"and": [{"like": {"id": "fa%"}}]}`), 400,
			[]string{`value must not be one of ['id'] @ data['and'][0]['like']['id']"`}, "", nil},
		{"nothing in", "POST", path, query(`{"in": {"id": []}}`), 400, []string{`length of value must be at least 1`}, "",
			nil},
		{"nested nothing", "POST", path, query(`{"not": {}}`), 400, []string{`"Unable to parse this query"`}, "", nil},
		{"unknown attribute", "POST", path, query(`{"=": {"nope": 1}}`), 400,
			[]string{`"Resource type generic has no nope attribute"`}, "", nil},
		{"attribute of another type", "POST", path, query(`{"=": {"rack": "r1"}}`), 400,
			[]string{`"Resource type generic has no rack attribute"`}, "", nil},
		{"metrics", "POST", path, query(`{"=": {"metrics": 1}}`), 400, []string{`has no metrics attribute`}, "", nil},
		{"revision without history", "POST", path, query(`{"=": {"revision": 1}}`), 400,
			[]string{`has no revision attribute`}, "", nil},
		{"revision with history", "POST", path + "?history=true", query(`{"=": {"revision": 1}}`), 200, nil, "[]", nil},
		{"revision_end with history", "POST", path + "?history=true&sort=revision_end",
			query(`{"!=": {"revision_end": null}}`), 200, nil, "[]", nil},
		{"bad time", "POST", path, query(`{"=": {"started_at": "foo"}}`), 400,
			[]string{"\"Invalid value: `foo' for field `started_at'\""}, "", nil},
		{"bad time in a list", "POST", path, query(`{"in": {"started_at": ["foo"]}}`), 400,
			[]string{"\"Invalid value: `['foo']' for field `started_at'\""}, "", nil},
		{"bad operator", "POST", path, query(`{">": {"created_by_user_id": "x"}}`), 400,
			[]string{"Invalid value: `x' for field `created_by_user_id'"}, "", nil},
		{"like of no text", "POST", path, query(`{"like": {"started_at": "2%"}}`), 400,
			[]string{"Invalid value: `2%' for field `started_at'"}, "", nil},
		{"content type", "POST", path, call{body: `{}`, header: []string{"Content-Type: text/plain"}}, 415, nil, "", nil},
		{"filter", "POST", path + "?filter=id+%3D%3D+foobar", call{header: []string{acceptJSON}}, 400,
			[]string{`"Invalid filter: Expected`}, "", nil},
		{"filter, no such attribute", "POST", path + "?filter=nope+%3D+1", call{}, 400,
			[]string{`Resource type generic has no nope attribute`}, "", nil},
		{"no GET", "GET", path, call{}, 405, nil, "", []string{"Allow: POST"}},
		{"deep", "POST", path, query(strings.Repeat(`{"not": `, 100) + `{}` + strings.Repeat(`}`, 100)), 400,
			[]string{"nested too deep"}, "", nil},
		{"details", "GET", "/v1/resource/generic?details=yes&sort=started_at&limit=1", call{}, 200, []string{`"rack": "r1"`},
			"", nil},
		{"no details", "GET", "/v1/resource/generic?details=f&attrs=id&attrs=rack&sort=started_at&limit=1", call{}, 200,
			[]string{`[{"id": "`, `"}]`}, "", nil},
		{"bad details", "GET", "/v1/resource/generic?details=foo", call{}, 400, []string{"Unable to parse `details'"}, "",
			nil},
		{"bad sort", "GET", "/v1/resource/generic?sort=rack", call{}, 400,
			[]string{"Invalid pagination: `Sort key supplied is invalid: rack'"}, "", nil},
		{"sort by an attribute", "GET", "/v1/resource/host?sort=rack:desc&sort=n&attrs=rack&attrs=n&limit=7", call{}, 200,
			nil, `[{"rack": "r2", "n": 2.5}, {"rack": "r2", "n": null}, {"rack": "r1", "n": 1}]`, nil},
		{"a number of many digits", "POST", "/v1/resource/host", call{body: `{"id": "digits", "n": 1.` +
			strings.Repeat("1", 50_000) + `}`}, 201, []string{`"n": 1.1111111111111112`}, "", nil},
		{"is found", "POST", "/v1/search/resource/host?attrs=n", query(`{">": {"n": 1.1}}`), 200, nil,
			`[{"n": 2.5}, {"n": 1.1111111111111112}]`, nil},
		{"is gone", "DELETE", "/v1/resource/host/digits", call{}, 204, nil, "", nil},
		{"empty sort", "GET", "/v1/resource/host?sort=&sort=rack:desc&attrs=rack&limit=1", call{}, 200, nil,
			`[{"rack": "r2"}]`, nil},
		{"group-by's error", "GET", "/v1/resource/host?sort=unit", call{}, 400,
			[]string{"Sort key supplied is invalid: unit"}, "", nil},
	})
	deletions := []struct {
		body, filter string
		status       int
		want         string
	}{
		{``, ``, 400, "the query can not be empty"},
		{`{}`, ``, 400, "the query can not be empty"},
		{`""`, ``, 400, "expected a dictionary"},
		{`{"in": {}}`, ``, 400, "length of value must be at least 1"},
		{`{"=": {"nope": 1}}`, ``, 400, "Resource type host has no nope attribute"},
		{``, `rack = nope`, 200, `{"deleted": 0}`},
		{`{"in": {"id": ["b", "x-y"]}}`, ``, 200, `{"deleted": 1}`},
		{``, `rack = r2`, 200, `{"deleted": 1}`},
	}
	for _, d := range deletions {
		w := h.do(t, "DELETE", "/v1/resource/host?filter="+url.QueryEscape(d.filter), call{body: d.body})
		if w.Code != d.status || !strings.Contains(w.Body.String(), d.want) {
			t.Errorf("DELETE %s %s: %d %s, want %d %s", d.body, d.filter, w.Code, w.Body, d.status, d.want)
		}
	}
	if got, failed := search("/v1/search/resource/generic", call{}); got != "a" || failed != "" {
		t.Errorf("left: %q %s", got, failed)
	}
}

func TestPagesOfResources(t *testing.T) { onEach(t, testPagesOfResources) }

func testPagesOfResources(t *testing.T, address string) {
	h := newHouse(t, build{url: address, config: Config{MaxLimit: 4}})
	for i := range 11 {
		h.must(t, "POST", "/v1/resource/generic", call{body: fmt.Sprintf(`{"id": "r%02d"}`, i)})
	}
	next, names := "/v1/resource/generic", []string{}
	for pages := 0; next != ""; pages++ {
		w := h.do(t, "GET", next, call{})
		var list []map[string]any
		asJSON(t, w, &list)
		for _, r := range list {
			names = append(names, r["original_resource_id"].(string))
		}
		link := w.Header().Get("Link")
		next, _, _ = strings.Cut(strings.TrimPrefix(link, "<http://example.com"), ">")
		if pages > 5 {
			t.Fatal("pages without end")
		}
	}
	want := []string{}
	for i := range 11 {
		want = append(want, fmt.Sprintf("r%02d", i))
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

// What somebody of another project has is not there for members. (gnocchixyz/gnocchi
// PR 1494, #519)
func TestScopedResources(t *testing.T) { onEach(t, testScopedResources) }

func testScopedResources(t *testing.T, address string) {
	h := newHouse(t, build{url: address, auth: projects{}})
	h.policy(t, "low", `{"granularity": 1}`)
	create := func(as, id, project string) string {
		body, _ := json.Marshal(map[string]any{"id": id, "project_id": project,
			"metrics": map[string]any{"cpu": map[string]any{"archive_policy_name": "low"}}})
		return h.must(t, "POST", "/v1/resource/generic", call{as: as, body: string(body)})["id"].(string)
	}
	own := create("u1", "a", "x")
	theirs := create("v1", "b", "x")
	ours := create("v1", "c", "pu")
	h.run(t, []step{
		{"own", "GET", "/v1/resource/generic/" + own, call{as: "u1"}, 200, nil, "", nil},
		{"of the project", "GET", "/v1/resource/generic/" + own, call{as: "u2"}, 200, nil, "", nil},
		{"belongs to the project", "GET", "/v1/resource/generic/" + ours, call{as: "u2"}, 200, nil, "", nil},
		{"of another", "GET", "/v1/resource/generic/" + theirs, call{as: "u1"}, 404,
			[]string{"Resource " + theirs + " does not exist"}, "", nil},
		{"its history", "GET", "/v1/resource/generic/" + theirs + "/history", call{as: "u1"}, 404, nil, "", nil},
		{"its metrics", "GET", "/v1/resource/generic/" + theirs + "/metric", call{as: "u1"}, 404, nil, "", nil},
		{"admin sees it", "GET", "/v1/resource/generic/" + theirs, call{as: "admin"}, 200, nil, "", nil},
		{"seen, not to change", "PATCH", "/v1/resource/generic/" + ours, call{as: "u1", body: `{}`}, 403, nil, "", nil},
		{"not seen, not to change", "PATCH", "/v1/resource/generic/" + theirs, call{as: "u1", body: `{}`}, 404, nil, "",
			nil},
		{"metric of the project's resource", "GET", "/v1/resource/generic/" + ours + "/metric/cpu", call{as: "u1"}, 200, nil,
			"", nil},
		{"its measures", "GET", "/v1/resource/generic/" + ours + "/metric/cpu/measures", call{as: "u1"}, 200, nil, "[]",
			nil},
		{"not to write", "POST", "/v1/resource/generic/" + ours + "/metric/cpu/measures", call{as: "u1", body: "[]"}, 403,
			nil, "", nil},
		{"metric of another", "GET", "/v1/resource/generic/" + theirs + "/metric/cpu/measures", call{as: "u1"}, 403, nil, "",
			nil},
	})
	count := func(method, path, as string, want int) {
		t.Helper()
		var list []any
		asJSON(t, h.do(t, method, path, call{as: as}), &list)
		if len(list) != want {
			t.Errorf("%s: %s sees %d, want %d", path, as, len(list), want)
		}
	}
	count("GET", "/v1/resource/generic", "u2", 2)
	count("POST", "/v1/search/resource/generic", "u2", 2)
	count("GET", "/v1/resource/generic", "v1", 2)
	count("GET", "/v1/resource/generic", "admin", 3)
	count("GET", "/v1/resource/generic", "w1", 0)
	count("GET", "/v1/metric?name=cpu", "u2", 2)
	count("GET", "/v1/metric?name=cpu&limit=1", "u2", 1)
	count("GET", "/v1/metric", "w1", 0)
	if w := h.do(t, "DELETE", "/v1/resource/generic", call{as: "u1",
		body: `{"!=": {"id": "nobody"}}`}); w.Body.String() != `{"deleted": 1}` {
		t.Errorf("u1 deletes %s", w.Body)
	}
	count("GET", "/v1/resource/generic", "admin", 2)
}

// Another process changes a resource type: this one sees it when it writes, before it has
// been told, and goes by what the type is now.
func TestTypeChangedElsewhere(t *testing.T) {
	server := testservers.Postgres(t)
	url := server.URL(server.Database(t))
	h, other := newHouse(t, build{url: url}), newHouse(t, build{url: url})
	patch := func(h *house, name string) {
		t.Helper()
		h.must(t, "PATCH", "/v1/resource_type/vm", call{as: "admin", header: []string{"Content-Type: " + typeJSONPatch},
			body: `[{"op": "add", "path": "/attributes/` + name + `", "value": {"type": "string", "required": false}}]`})
	}
	h.must(t, "POST", "/v1/resource_type", call{as: "admin", body: `{"name": "vm"}`})
	other.must(t, "GET", "/v1/resource_type/vm", call{})
	for i := range 3 {
		first, second, third := fmt.Sprint("a", i), fmt.Sprint("b", i), fmt.Sprint("c", i)
		patch(h, first)
		r := other.must(t, "POST", "/v1/resource/vm", call{body: `{"id": "` + first + `"}`})
		if _, there := r[first]; !there {
			t.Errorf("%d: the resource is %v", i, r)
		}
		patch(h, second)
		if r := other.must(t, "PATCH", "/v1/resource/vm/"+first, call{body: `{"user_id": "u"}`}); r["user_id"] != "u" {
			t.Errorf("%d: the resource is %v", i, r)
		}
		patch(h, third)
		patch(other, "d"+first)
	}
}
