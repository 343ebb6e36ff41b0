package main

import (
	"net/url"
	"strings"
)

func (r questioner) page(v url.Values) {
	if r.likely(4) {
		v["sort"] = one(r, []string{"id:asc"}, []string{"cpus:desc"}, []string{"flavor:asc-nullsfirst",
			"id:desc"}, []string{"on"},
			[]string{"seen:desc-nullslast"}, []string{"host:desc"}, []string{"nope"}, []string{"host:up"},
			[]string{"started_at:desc"},
			[]string{"ended_at:asc-nullsfirst"}, []string{"user_id", "project_id:desc"},
			[]string{"uid:asc-nullslast"}, []string{""})
	}
	if r.likely(4) {
		v.Set("limit", one(r, "1", "3", "5", "100000", "0", "-1", "x", ""))
	}
	if r.likely(1) {
		v["attrs"] = one(r, []string{"id"}, []string{"id", "host"}, []string{"foo"}, []string{""})
	}
	if r.likely(1) {
		v.Set("marker", one(r, "3f9a1c2e-0000-4000-8000-000000000012", "11111111-2222-3333-4444-555555555555"))
	}
	if r.likely(2) {
		v.Set("details", one(r, "true", "false", "x"))
	}
}

func (r questioner) searchResource() question {
	v := url.Values{}
	r.page(v)
	if r.IntN(12) == 0 {
		v.Set("history", "true")
		v["sort"] = []string{"id:asc", "revision_start:asc"}
		v.Del("marker")
	}
	q := question{kind: "search resource", method: "POST", body: encode(r.filter(2))}
	if r.likely(4) {
		v.Set("filter", r.condition())
		q.body = ""
	}
	q.path = "/search/resource/" + one(r, "vm", "vm", "vm", "generic", "none") + "?" + v.Encode()
	return q
}

func (r questioner) measures() question {
	v := url.Values{}
	r.span(v)
	r.granularity(v)
	if r.likely(5) {
		v.Set("aggregation", one(r, append(besideMethods, "wtf", "")...))
	}
	if r.likely(3) {
		v.Set("resample", one(r, "600", "7200", "120", "Y", "H", "Q", "M", "W", "forever", "", "0", "1 hour"))
	}
	path := "/metric/" + one(r, "{m0}", "{m1}", "{m2}", "{m3}", "{m5}", "{m6}", "{m7}", "{m8}", "{m9}",
		"11111111-2222-3333-4444-555555555555", "x")
	if r.likely(2) {
		path = "/resource/" + one(r, "vm", "generic") + "/" + one(r, "vm-3", "vm-4", "vm-0", "none",
			"%C3%A9%C3%B1%E2%98%83") + "/metric/" +
			one(r, "cpu", "mem", "disk.a", "none")
	}
	return question{kind: "measures", method: "GET", path: path + "/measures?" + v.Encode()}
}

func (r questioner) listing() question {
	v := url.Values{}
	q := question{kind: "listing", method: "GET"}
	switch r.IntN(9) {
	case 0, 1:
		r.page(v)
		q.path = "/resource/" + one(r, "vm", "generic", "none") + "?" + v.Encode()
	case 2:
		r.page(v)
		v.Del("marker")
		v["sort"] = []string{"revision_start:asc"}
		q.path = "/resource/" + one(r, "vm/vm-1", "generic/vm-1", "vm/vm-2", "generic/vm-4", "vm/none",
			"generic/vm-5") + "/history?" + v.Encode()
	case 3:
		q.path = "/resource/" + one(r, "vm/vm-1", "generic/vm-1", "vm/vm-13",
			"generic/3F9A1C2E-0000-4000-8000-000000000013", "generic/%C3%A9%C3%B1%E2%98%83",
			"vm/3f9a1c2e-0000-4000-8000-000000000013", "none/vm-1", "vm//vm-2/", "vm/vm%2F1",
			"vm/vm-1/metric/cpu", "vm/vm-4/metric/none", "vm/none/metric/cpu")
	case 4:
		if r.likely(7) {
			v.Set(one(r, "name", "unit", "archive_policy_name", "creator", "status", "user_id", "id"), one(r,
				"cpu", "u1", "three", "admin", "active", "delete", "x"))
		}
		v["sort"] = one(r, []string{"name:asc"}, []string{"name:desc"}, []string{"nope"})
		v.Set("attrs", "x")
		q.path = "/metric?" + v.Encode()
	case 5:
		q.path = one(r, "/archive_policy", "/archive_policy/three", "/archive_policy/none", "/archive_policy/x/y",
			"/archive_policy_rule",
			"/archive_policy_rule/none", "/resource_type/vm", "/resource_type/none", "/resource_type",
			"/capabilities", "/resource", "/resource/",
			"/metric/x", "/metric/{m0}", "/metric/{m0}/foo", "/nothing", "/search/resource/vm",
			"/status?details=maybe")
		q.method = one(r, "GET", "GET", "GET", "PUT")
	case 6:
		q.method, q.path = "POST", one(r, "/metric/{m0}/measures", "/batch/metrics/measures", "/aggregates",
			"/search/resource/vm", "/archive_policy",
			"/resource/vm", "/resource_type", "/metric", "/archive_policy_rule", "/aggregation/metric",
			"/batch/resources/metrics/measures")
		q.body = one(r, "", "[", "[]", "{", "null", "1", `"x"`, `{"a": }`, "[1, 2",
			`[{"timestamp": "x", "value": 1}]`, `[{"timestamp": 1}]`,
			`[{"value": 1}]`, `[{"timestamp": 1704067200, "value": "x"}]`, `{"name": 1}`,
			`{"name": "x", "nope": 1}`, `{"cowsay": "moo"}`)
	case 7:
		q.method, q.path = "POST", "/resource/vm"
		q.body = one(r, `{"id": "n", "host": 5}`, `{"id": "n"}`, `{"host": "a"}`, `{"id": "a/b", "host": "a"}`,
			`{"id": "vm-1", "host": "a"}`,
			`{"id": "n", "host": null}`, `{"id": "n", "host": "a", "cpus": "2"}`, `{"id": "n", "host": "a", "on": 1}`,
			`{"id": "n", "host": "a", "uid": "rubbish"}`, `{"id": "n", "host": "a", "seen": "rubbish"}`,
			`{"id": "n", "host": "a", "metrics": []}`,
			`{"id": "n", "host": "a", "metrics": {"x/y": {}}}`,
			`{"id": "n", "host": "a", "metrics": {"x": {"archive_policy_name": "none"}}}`,
			`{"id": "n", "host": "a", "metrics": {"x": "11111111-2222-3333-4444-555555555555"}}`,
			`{"id": "n", "host": "a", "metrics": {"x": 1}}`,
			`{"id": "n", "host": "a", "started_at": "2024-01-02", "ended_at": "2024-01-01"}`,
			`{"id": "n", "host": "a", "project_id": 1}`,
			`{"id": "n", "host": "a", "nope": 1}`,
			`{"id": "n", "host": "`+strings.Repeat("x", 300)+`"}`)
	default:
		q.method, q.path = "PATCH", "/resource/"+one(r, "vm/vm-3", "generic/vm-3", "vm/none", "none/vm-3")
		q.body = one(r, `{}`, `[]`, ``, `{"id": "x"}`, `{"host": null}`, `{"host": 1}`, `{"ended_at": null}`,
			`{"ended_at": "2000-01-01"}`,
			`{"started_at": "rubbish"}`, `{"nope": 1}`, `{"metrics": {"cpu": {"archive_policy_name": "none"}}}`,
			`{"metrics": 1}`,
			`{"project_id": 5}`, `{"cpus": "x"}`, `{"type": "generic"}`)
	}
	return q
}
