package api

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"millrace/api/auth"
	"millrace/ingest"
	"net/http"
)

func TestMetrics(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "cookies", `{"granularity": "1 second"}`)
	h.policy(t, "cream", `{"granularity": "5 second"}`)
	for _, r := range [][3]string{{"test_rule", "disk.io.*", "cookies"}, {"test_ignore_rule", "disk.*", "cream"}} {
		h.must(t, "POST", "/v1/archive_policy_rule", call{as: "admin",
			body: fmt.Sprintf(`{"name": %q, "metric_pattern": %q, "archive_policy_name": %q}`, r[0], r[1], r[2])})
	}
	post := func(body string, header ...string) call { return call{body: body, header: header} }
	const path = "/v1/metric"
	h.run(t, []step{
		{"no UUID", "GET", path + "/foobar", call{header: []string{acceptJSON}}, 404, nil,
			`{"code": 404, "title": "Not Found", "description": "Metric foobar does not exist"}`, nil},
		{"unknown, upper case", "GET", path + "/CEE6EF1F-52CC-4A16-BBB5-648AEDFD1C37", call{}, 404,
			[]string{"Metric CEE6EF1F-52CC-4A16-BBB5-648AEDFD1C37 does not exist"}, "", nil},
		{"unknown comes before everything", "POST", path + "/fake/measures",
			call{as: "-", header: []string{"Accept: text/plain"}}, 404, []string{"Metric fake does not exist"}, "", nil},
		{"unknown comes after the method", "PUT", path + "/fake", call{}, 405, nil, "", []string{"Allow: DELETE, GET"}},
		{"empty list", "GET", path, call{}, 200, nil, "[]", []string{"Link:"}},
		{"create by rule", "POST", path, post(`{"name": "disk.io.rate", "unit": "B/s"}`), 201,
			[]string{`"archive_policy_name": "cookies"`, `"name": "disk.io.rate"`, `"unit": "B/s"`,
				`"creator": "foobar", "created_by_user_id": "foobar", "created_by_project_id": "", "resource_id": null`}, "", nil},
		{"slash in a name", "POST", path, post(`{"name": "disk/io/rate"}`), 400,
			[]string{"'/' is not supported in metric name"}, "", nil},
		{"long unit", "POST", path, post(`{"name": "disk.io.rate", "unit": "over_length_unit_over_length_unit"}`,
			acceptJSON), 400,
			[]string{`"cause": "Invalid input", "reason": "length of value must be at most 31 for dictionary value @ ` +
				`data['unit']", "detail": ["unit"]`}, "", nil},
		{"null name", "POST", path, post(`{"name": null}`), 400,
			[]string{"expected str for dictionary value @ data['name']"}, "", nil},
		{"id", "POST", path, post(`{"id": "x"}`), 400, []string{"extra keys not allowed @ data['id']"}, "", nil},
		{"no rule", "POST", path, post(`{"name": "volume.io.rate"}`), 400,
			[]string{"No archive policy name specified and no archive policy rule found matching the metric name " +
				"volume.io.rate"}, "", nil},
		{"no rule, no name", "POST", path, post(`{}`), 400,
			[]string{"no archive policy rule found matching the metric name None"}, "", nil},
		{"unknown policy", "POST", path, post(`{"archive_policy_name": "bad-cookie"}`, acceptJSON), 400,
			[]string{`"description": "Archive policy bad-cookie does not exist"`}, "", nil},
		{"wrong content type", "POST", path, post(`{"archive_policy_name": "cookies"}`, "Content-Type: plain/text"), 415,
			nil, "", nil},
		{"content type with a parameter", "POST", path, post(`{"archive_policy_name": "cookies"}`,
			"Content-Type: Application/JSON; charset=utf-8"), 201, nil, "", nil},
		{"no credentials", "POST", path, call{as: "-", body: "x", header: []string{"Content-Type: text/plain"}}, 401, nil,
			"", nil},
		{"unknown resource", "POST", path,
			post(`{"name": "cpu", "archive_policy_name": "cookies", "resource_id": "foobar"}`), 400,
			[]string{"Resource 2fbfbb20-8d56-5e1e-afb9-b3007da11fdf does not exist"}, "", nil},
		{"resource without name", "POST", path, post(`{"archive_policy_name": "cookies", "resource_id": "foobar"}`,
			acceptJSON), 400,
			[]string{`{"cause": "Attribute value error", "reason": "Name cannot be null if resource_id is not null", ` +
				`"detail": "name"}`}, "", nil},
		{"resource, unknown policy first", "POST", path,
			post(`{"name": "cpu", "archive_policy_name": "x", "resource_id": "foobar"}`), 400,
			[]string{"Archive policy x does not exist"}, "", nil},
		{"slash in a resource", "POST", path, post(`{"name": "cpu", "archive_policy_name": "x", "resource_id": "a/b"}`), 400,
			[]string{"'/' is not supported in resource id for dictionary value @ data['resource_id']"}, "", nil},
		{"long resource", "POST", path, post(`{"name": "cpu", "resource_id": "` + strings.Repeat("x", 290) + `"}`), 400,
			[]string{"transformable resource id >289 max allowed characters"}, "", nil},
	})

	id := h.metric(t, "cookies")
	want := `{"id": "` + id +
		`", "name": null, "unit": null, "creator": "foobar", "created_by_user_id": "foobar", "created_by_project_id": "", ` +
		`"archive_policy": {"name": "cookies", "back_window": 0, "definition": [{"granularity": "0:00:01", "points": ` +
		`null, "timespan": null}], "aggregation_methods": ["mean", "sum", "max", "min", "std", "count"]}, "resource": null}`
	h.run(t, []step{
		{"get", "GET", path + "/" + id, call{}, 200, nil, want, []string{"Millrace-Late: 0"}},
		{"get, odd id", "GET", path + "/" + strings.ToUpper(strings.ReplaceAll(id, "-", "")), call{}, 200, nil, want, nil},
		{"get, somebody else", "GET", path + "/" + id, call{as: "foobaz"}, 403, nil, "", nil},
		{"get, somebody else, JSON", "GET", path + "/" + id, call{as: "foobaz", header: []string{acceptJSON}}, 403, nil,
			`{"code": 403, "title": "Forbidden", "description": "Access was denied to this resource."}`, nil},
		{"get, admin", "GET", path + "/" + id, call{as: "admin"}, 200, nil, want, nil},
		{"list", "GET", path + "?id=" + id, call{as: "foobaz"}, 200,
			[]string{`"resource_id": null, "archive_policy": {"name": "cookies"`}, "", nil},
		{"delete, somebody else", "DELETE", path + "/" + id, call{as: "foobaz"}, 403, nil, "", nil},
		{"delete", "DELETE", path + "/" + id, call{header: []string{"Accept: application/json, */*"}}, 204, nil, "", nil},
		{"delete again", "DELETE", path + "/" + id, call{}, 404, []string{"Metric " + id + " does not exist"}, "", nil},
		{"gone", "GET", path + "/" + id, call{}, 404, nil, "", nil},
		{"gone for measures", "POST", path + "/" + id + "/measures", call{body: "[]"}, 404, nil, "", nil},
		{"gone from the list", "GET", path + "?id=" + id, call{}, 200, nil, "[]", nil},
		{"gone from batches", "POST", "/v1/batch/metrics/measures", call{body: `{"` + id + `": []}`}, 400,
			[]string{"Unknown metrics: " + id}, "", nil},
	})
	records := h.log.records()
	if len(records) != 1 || records[0].Kind != ingest.RecordDelete || records[0].Metric.String() != id {
		t.Errorf("the log has %+v, want the metric's deletion", records)
	}
	if marked, err := h.index.Deleted(t.Context()); err != nil || len(marked) != 0 {
		t.Errorf("still marked: %v, %v", marked, err)
	}
}

func TestMetricList(t *testing.T) {
	h := newHouse(t, build{config: Config{MaxLimit: 7, Prefix: "gnocchi"}})
	do := func(method, path string, c call) map[string]any { return h.must(t, method, "/gnocchi"+path, c) }
	do("POST", "/v1/archive_policy", call{as: "admin", body: `{"name": "x", "definition": [{"granularity": 1}]}`})
	var ids []string
	for i := range 8 {
		ids = append(ids, do("POST", "/v1/metric",
			call{body: fmt.Sprintf(`{"name": "dummy%d", "unit": "u", "archive_policy_name": "x"}`, i)})["id"].(string))
	}
	get := func(query string) []string {
		t.Helper()
		w := h.do(t, "GET", "/gnocchi/v1/metric"+query, call{})
		if w.Code != 200 {
			t.Fatalf("%s: %d %s", query, w.Code, w.Body)
		}
		var list []struct{ ID, Name string }
		asJSON(t, w, &list)
		var names []string
		for _, m := range list {
			names = append(names, m.Name)
		}
		return append(names, w.Header().Get("Link"))
	}
	f := func(query, want string) {
		t.Helper()
		if got := strings.Join(get(query), " "); got != want {
			t.Errorf("%s:\n got %s\nwant %s", query, got, want)
		}
	}
	link := func(query string) string {
		return "<http://example.com/gnocchi/v1/metric?" + query + `>; rel="next"`
	}
	f("?sort=name&limit=2", "dummy0 dummy1 "+link("limit=2&marker="+ids[1]+"&sort=name"))
	f("?sort=name:desc&limit=2&marker="+ids[7], "dummy6 dummy5 "+link("limit=2&marker="+ids[5]+"&sort=name%3Adesc"))
	f("?sort=name&marker="+ids[4], "dummy5 dummy6 dummy7 ")
	// even if nothing follows
	f("?sort=name&limit=3&marker="+ids[4], "dummy5 dummy6 dummy7 "+link("limit=3&marker="+ids[7]+"&sort=name"))
	f("?sort=name&sort=id:desc&limit=99&name=dummy3", "dummy3 ")
	f("?sort=name&limit=99&foo=a+b", "dummy0 dummy1 dummy2 dummy3 dummy4 dummy5 dummy6 "+
		link("foo=a+b&limit=7&marker="+ids[6]+"&sort=name"))
	f("?name=dummy3&unit=u&archive_policy_name=x&creator=foobar&status=active", "dummy3 ")
	f("?name=dummy3&unit=v", "")
	f("?status=delete", "")
	f("?user_id=foobar", "") // means creator "foobar:"
	f("?creator=foobar&user_id=a&project_id=b", "")
	f("?id="+strings.ToUpper(ids[2]), "dummy2 ")
	if got := get(""); len(got) != 8 || !strings.Contains(got[7], "limit=7&marker=") ||
		!strings.Contains(got[7], "sort=id%3Aasc") {
		t.Errorf("default page: %v", got)
	}

	bad := func(query, want string) step {
		return step{query, "GET", "/gnocchi/v1/metric" + query, call{header: []string{acceptJSON}}, 400, []string{want}, "",
			nil}
	}
	h.run(t, []step{
		bad("?sort=nonexistent_key:asc", "Invalid pagination: `Sort key supplied is invalid: nonexistent_key'"),
		bad("?sort=id:invalid",
			"Invalid pagination: `Unknown sort direction, must be one of: asc-nullsfirst, asc-nullslast, desc-nullsfirst, "+
				"desc-nullslast'"),
		bad("?marker=d44b3f4c-27bc-4ace-b81c-2a8e60026874",
			"Invalid pagination: `Invalid marker: `d44b3f4c-27bc-4ace-b81c-2a8e60026874''"),
		bad("?marker=foo", "Invalid pagination: `Invalid marker: `foo''"),
		bad("?limit=-2", `"cause": "Argument value error", "reason": "value must be at least 1`),
		bad("?limit=-9223372036854775809", "value must be at least 1"),
		{"a limit beyond all numbers", "GET", "/gnocchi/v1/metric" + "?limit=9223372036854775808", call{}, 200, nil, "",
			nil},
		bad("?limit=0", "value must be at least 1"),
		bad("?limit=invalid", `"cause": "Argument value error", "reason": "expected int`),
		bad("?limit=1&limit=2", "given more than once"),
		bad("?status=foo", `"Invalid input: not a valid value for dictionary value @ data['status']"`),
		bad("?id=foo", "badly formed hexadecimal UUID string"),
	})
}

// projects is an authentication with projects, as keystone will be.
type projects struct{}

func (projects) Authenticate(r *http.Request) (auth.Identity, error) {
	user, _, ok := r.BasicAuth()
	if !ok {
		return auth.Identity{}, auth.ErrUnauthorized
	}
	id := auth.Identity{User: user, Project: "p" + user[:1], Creator: user + ":p" + user[:1], Scoped: true}
	if user == "admin" {
		id.Roles = []string{"admin"}
	}
	return id, nil
}

func TestMetricListIsScoped(t *testing.T) {
	h := newHouse(t, build{auth: projects{}})
	h.policy(t, "x", `{"granularity": 1}`)
	for _, user := range []string{"u1", "u2", "v1"} {
		h.must(t, "POST", "/v1/metric", call{as: user, body: `{"archive_policy_name": "x"}`})
	}
	f := func(user string, want int) {
		t.Helper()
		var list []any
		asJSON(t, h.do(t, "GET", "/v1/metric", call{as: user}), &list)
		if len(list) != want {
			t.Errorf("%s sees %d metrics, want %d", user, len(list), want)
		}
	}
	f("u1", 2)
	f("v1", 1)
	f("w1", 0)
	f("admin", 3)
}

// A deletion that the log did not take is marked, and sent again.
func TestResendDeletes(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "x", `{"granularity": 1}`)
	id := h.metric(t, "x")
	h.log.setFail(errors.New("no disk"))
	h.run(t, []step{
		{"delete", "DELETE", "/v1/metric/" + id, call{}, 204, nil, "", nil},
		{"gone", "GET", "/v1/metric/" + id, call{}, 404, nil, "", nil},
		{"pins its policy", "DELETE", "/v1/archive_policy/x", call{as: "admin"}, 400,
			[]string{"Archive policy x is still in use"}, "", nil},
	})
	if err := h.ResendDeletes(t.Context()); err == nil {
		t.Error("resent to a log that does not work")
	}
	h.log.setFail(nil)
	if err := h.ResendDeletes(t.Context()); err != nil {
		t.Error(err)
	}
	if err := h.ResendDeletes(t.Context()); err != nil {
		t.Error(err)
	}
	if records := h.log.records(); len(records) != 1 || records[0].Metric.String() != id {
		t.Errorf("log has %+v", records)
	}
	h.run(t, []step{{"policy is free", "DELETE", "/v1/archive_policy/x", call{as: "admin"}, 204, nil, "", nil}})
}

func TestResourceID(t *testing.T) {
	f := func(text, creator, want string) {
		t.Helper()
		if id, err := resourceID(text, creator); err != nil || id.String() != want {
			t.Errorf("%q of %q: %s, %v", text, creator, id, err)
		}
	}
	f("1.2.3.4", "foobar", "a9c729cc-d1b0-5e6b-b5ba-8b5a7f45f1fc")
	f("foobar", "foobar", "2fbfbb20-8d56-5e1e-afb9-b3007da11fdf")
	f("foobar", "admin", "b4d568e4-7af1-5aec-ac3f-9c09fa3685a9")
	f("conflict", "admin", "da19a545-af76-5081-9a88-f370baab66c6")
	f("é", "u1:p1", "fcb86e18-1c1a-5003-936d-182b033f4df0")
	f("46C9418D-d63b-4cdd-be89-8f57ffc5952e", "x", "46c9418d-d63b-4cdd-be89-8f57ffc5952e")
}
