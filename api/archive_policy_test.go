package api

import (
	"testing"

	"millrace/ingest"
)

const acceptJSON = "Accept: application/json"

func TestArchivePolicies(t *testing.T) {
	h := newHouse(t, build{})
	admin := func(body string, header ...string) call { return call{as: "admin", body: body, header: header} }
	const path, location = "/v1/archive_policy", "Location: http://example.com/v1/archive_policy/"
	two := `{"granularity": "1 second", "points": 50}, {"granularity": "2 second"}`
	h.run(t, []step{
		{"empty list", "GET", path, call{}, 200, nil, "[]", []string{"Content-Type: application/json", "Content-Length: 2"}},
		{"list as text", "GET", path, call{header: []string{"Accept: text/plain"}}, 406, []string{"406 Not Acceptable"}, "",
			nil},
		{"list as HTML", "GET", path, call{header: []string{"Accept: text/html"}}, 406, nil, "", nil},
		{"several types", "GET", path, call{header: []string{"Accept: text/plain, application/json; q=0.8"}}, 200, nil, "[]",
			nil},
		{"wrong content type", "POST", path, admin("{}", "Content-Type: text/plain"), 415,
			[]string{"Unsupported Media Type"}, "", nil},
		{"no content type", "POST", path, admin(""), 415, nil, "", nil},
		{"wrong method", "PUT", path, admin(""), 405, nil, "", []string{"Allow: GET, POST"}},
		{"head", "HEAD", path, admin(""), 405, nil, "", nil},
		{"not allowed", "POST", path, call{body: `{"definition": []}`}, 403,
			[]string{"403 Forbidden", "Access was denied to this resource."}, "", nil},
		{"not allowed comes before the content type", "POST", path,
			call{body: "x", header: []string{"Content-Type: text/plain"}}, 403, nil, "", nil},
		{"no credentials", "POST", path, call{as: "-", body: "{}"}, 401, nil, "", nil},
		{"bad credentials", "GET", path, call{header: []string{"Authorization: basic hello:"}}, 401, nil, "", nil},

		{"no body", "POST", path, admin("", "Content-Type: application/json", acceptJSON), 400, nil,
			`{"code": 400, "title": "Bad Request", "description": {"cause": "Unable to decode body", "reason": "Expected ` +
				`object or value", "detail": []}}`, nil},
		{"no JSON", "POST", path, admin("{,}", acceptJSON), 400, []string{`"cause": "Unable to decode body"`}, "", nil},
		{"unknown key", "POST", path, admin(`{"cowsay": "moo"}`, acceptJSON), 400, nil,
			`{"code": 400, "title": "Bad Request", "description": {"cause": "Invalid input", "reason": "extra keys not ` +
				`allowed @ data['cowsay']", "detail": ["cowsay"]}}`, nil},
		{"missing key", "POST", path, admin(`{"name": "medium"}`, acceptJSON), 400,
			[]string{`"reason": "required key not provided @ data['definition']", "detail": ["definition"]`}, "", nil},
		{"no definition", "POST", path, admin(`{"name": "medium", "definition": []}`, acceptJSON), 400,
			[]string{`"reason": "length of value must be at least 1 for dictionary value @ data['definition']", "detail": ` +
				`["definition"]`}, "", nil},
		{"definition of another kind", "POST", path, admin(`{"name": "medium", "definition": "foobar"}`, acceptJSON), 400,
			[]string{`"reason": "expected a list for dictionary value @ data['definition']", "detail": ["definition"]`}, "",
			nil},
		{"unknown key in a definition", "POST", path, admin(`{"name": "medium", "definition": [{"cowsay": "moo"}]}`,
			acceptJSON), 400,
			[]string{`"reason": "extra keys not allowed @ data['definition'][0]['cowsay']", "detail": ["definition", "0", ` +
				`"cowsay"]`}, "", nil},
		{"a list for a definition", "POST", path, admin(`{"name": "medium", "definition": [[]]}`, acceptJSON), 400,
			[]string{`"reason": "expected a dictionary @ data['definition'][0]"`}, "", nil},
		{"zero granularity", "POST", path, admin(`{"name": "c", "definition": [{"granularity": 0, "points": 60}]}`,
			acceptJSON), 400,
			[]string{`"reason": "Timespan must be positive for dictionary value @ data['definition'][0]['granularity']", ` +
				`"detail": ["definition", "0", "granularity"]`}, "", nil},
		{"null granularity", "POST", path, admin(`{"name": "c", "definition": [{"granularity": null}]}`, acceptJSON), 400,
			[]string{"Invalid timespan"}, "", nil},
		{"zero points", "POST", path, admin(`{"name": "c", "definition": [{"granularity": 10, "points": 0}]}`, acceptJSON),
			400,
			[]string{`"reason": "value must be at least 1 for dictionary value @ data['definition'][0]['points']", ` +
				`"detail": ["definition", "0", "points"]`}, "", nil},
		{"points of another kind", "POST", path, admin(`{"name": "c", "definition": [{"granularity": 10, "points": "x"}]}`),
			400, []string{"expected int"}, "", nil},
		{"unit that isn't", "POST", path,
			admin(`{"name": "c", "definition": [{"granularity": "1 second", "timespan": "1 shenanigan"}]}`), 400,
			[]string{"Unable to parse timespan"}, "", nil},
		{"method that isn't", "POST", path,
			admin(`{"name": "c", "aggregation_methods": ["mean", "wtf"], "definition": [{"granularity": 1}]}`, acceptJSON), 400,
			[]string{`"reason": "not a valid value @ data['aggregation_methods'][1]", "detail": ["aggregation_methods", "1"]`},
			"", nil},
		{"negative back window", "POST", path, admin(`{"name": "c", "back_window": -1, "definition": [{"granularity": 1}]}`),
			400, []string{"value must be at least 0"}, "", nil},
		{"name of another kind", "POST", path, admin(`{"name": 7, "definition": [{"granularity": 1}]}`), 400,
			[]string{"expected str for dictionary value @ data['name']"}, "", nil},
		{"a list", "POST", path, admin(`[]`), 400, []string{"expected a dictionary"}, "", nil},
		{"all three disagree", "POST", path,
			admin(`{"name": "c", "definition": [{"granularity": "1 second", "points": 60, "timespan": "0:01:01"}]}`), 400,
			[]string{"timespan ≠ granularity × points"}, "", nil},
		{"granularity above timespan", "POST", path,
			admin(`{"name": "c", "definition": [{"granularity": "2 hour", "timespan": "1 hour"}]}`), 400,
			[]string{"Calculated number of points is < 0"}, "", nil},
		{"points alone", "POST", path, admin(`{"name": "c", "definition": [{"points": 5}]}`), 400,
			[]string{"At least two of granularity/points/timespan must be provided"}, "", nil},
		{"the same twice", "POST", path,
			admin(`{"name": "c", "definition": [{"granularity": 1, "points": 60}, {"granularity": 1, "points": 120}]}`), 400,
			[]string{"More than one archive policy uses granularity `1.0'"}, "", nil},

		{"create", "POST", path,
			admin(`{"name": "medium", "definition": [{"granularity": "1 second", "points": 20}, {"granularity": "2 second"}]}`),
			201, []string{
				`"name": "medium"`, `"back_window": 0`,
				`{"granularity": "0:00:01", "points": 20, "timespan": "0:00:20"}, {"granularity": "0:00:02", "points": null, ` +
					`"timespan": null}`,
				`"aggregation_methods": ["mean", "sum", "max", "min", "std", "count"]`}, "", []string{location + "medium"}},
		{"get", "GET", path + "/medium", call{}, 200, []string{`"name": "medium"`}, "", nil},
		{"get, with slashes", "GET", "//v1///archive_policy//medium/", call{}, 200, []string{`"name": "medium"`}, "", nil},
		{"get as text", "GET", path + "/nothing", call{header: []string{"Accept: text/plain"}}, 406, nil, "", nil},
		{"get what isn't", "GET", path + "/nothing", call{header: []string{acceptJSON}}, 404, nil,
			`{"code": 404, "title": "Not Found", "description": "Archive policy nothing does not exist"}`, nil},
		{"get below", "GET", path + "/medium/x", call{}, 404, nil, "", nil},
		{"post on one", "POST", path + "/medium", admin(""), 405, nil, "", []string{"Allow: DELETE, GET, PATCH"}},
		{"put on one", "PUT", path + "/medium", admin(""), 405, nil, "", nil},

		{"patch what isn't comes before permission", "PATCH", path + "/nothing", call{}, 404, nil, "", nil},
		{"patch, not allowed", "PATCH", path + "/medium", call{}, 403, nil, "", nil},
		{"patch, bad", "PATCH", path + "//medium",
			admin(`{"definition": [{"granularity": 1, "points": 50, "timespan": "1 hour"}, {"granularity": 2}]}`), 400,
			[]string{"timespan ≠ granularity × points"}, "", nil},
		{"patch, one missing", "PATCH", path + "/medium", admin(`{"definition": [{"granularity": 1, "points": 50}]}`), 400,
			[]string{"Archive policy medium does not support change: Cannot add or drop granularities"}, "", nil},
		{"patch, another", "PATCH", path + "/medium",
			admin(`{"definition": [{"granularity": 5, "points": 20}, {"granularity": 2}]}`), 400,
			[]string{"Archive policy medium does not support change: 1.0 granularity interval was changed"}, "", nil},
		{"patch, without", "PATCH", path + "/medium", admin(`{"back_window": 1}`), 400,
			[]string{"required key not provided"}, "", nil},
		{"patch, name", "PATCH", path + "/medium", admin(`{"name": "x", "definition": [` + two + `]}`), 400,
			[]string{"extra keys not allowed @ data['name']"}, "", nil},
		{"patch", "PATCH", path + "/medium", admin(`{"back_window": 3, "definition": [` + two + `]}`), 200,
			[]string{`"points": 50, "timespan": "0:00:50"`, `"back_window": 3`}, "", nil},
		{"patched", "GET", path + "/medium", call{}, 200, []string{`"points": 50`, `"back_window": 3`}, "", nil},

		{"unicode", "POST", path, admin(`{"name": "✔éñ☃", "definition": [{"granularity": "1 minute", "points": 20}]}`), 201,
			[]string{`"name": "✔éñ☃"`}, "", []string{location + "%E2%9C%94%C3%A9%C3%B1%E2%98%83"}},
		{"get unicode", "GET", path + "/%E2%9C%94%C3%A9%C3%B1%E2%98%83", call{}, 200, []string{"✔éñ☃"}, "", nil},
		{"exists", "POST", path, admin(`{"name": "medium", "definition": [{"granularity": 1}]}`), 409,
			[]string{"Archive policy medium already exists"}, "", nil},
		{"delete, not allowed", "DELETE", path + "/nothing", call{}, 403, nil, "", nil},
		{"delete unicode", "DELETE", path + "/%E2%9C%94%C3%A9%C3%B1%E2%98%83", admin(""), 204, nil, "",
			[]string{"Content-Length:"}},
		{"delete again", "DELETE", path + "/%E2%9C%94%C3%A9%C3%B1%E2%98%83", admin(""), 404,
			[]string{"The resource could not be found.", "Archive policy ✔éñ☃ does not exist"}, "", nil},

		{"float granularity", "POST", path, admin(`{"name": "f1", "definition": [{"timespan": "1 hour", "points": 1000}]}`),
			201, []string{`"granularity": "0:00:03.600000", "points": 1000, "timespan": "1:00:00"`}, "", nil},
		{"float timespan", "POST", path,
			admin(`{"name": "f2", "definition": [{"timespan": "1 hour", "granularity": "7s"}]}`), 201,
			[]string{`"points": 514, "timespan": "0:59:58"`}, "", nil},
		{"numeric strings", "POST", path,
			admin(`{"name": "f3", "back_window": "2", "definition": [{"granularity": "60", "points": "7"}]}`), 201,
			[]string{`"back_window": 2`, `"points": 7`}, "", nil},
		{"rates", "POST", path,
			admin(`{"name": "f4", "aggregation_methods": ["rate:mean", "rate:last"], "definition": [{"granularity": 1}]}`), 201,
			[]string{`["rate:mean", "rate:last"]`}, "", nil},
		{"signed", "POST", path,
			admin(`{"name": "f5", "aggregation_methods": ["-mean", "+last"], "definition": [{"granularity": 1}]}`), 201,
			[]string{`["sum", "last", "max", "min", "std", "count"]`}, "", nil},
		{"none", "POST", path, admin(`{"name": "f6", "aggregation_methods": [], "definition": [{"granularity": 1}]}`), 201,
			[]string{`["mean", "sum", "max", "min", "std", "count"]`}, "", nil},
	})
	h.metric(t, "f1")
	h.run(t, []step{
		{"delete in use", "DELETE", path + "/f1", admin(""), 400, []string{"Archive policy f1 is still in use"}, "", nil},
	})
}

func TestDefaultMethods(t *testing.T) {
	methods := ingest.MethodsOf(ingest.Last)
	h := newHouse(t, build{config: Config{DefaultMethods: &methods}})
	h.run(t, []step{{"create", "POST", "/v1/archive_policy", call{as: "admin",
		body: `{"name": "x", "definition": [{"granularity": 1}]}`}, 201, []string{`"aggregation_methods": ["last"]`}, "",
		nil}})
}

func TestArchivePolicyRules(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "low", `{"granularity": "1 hour"}`)
	const path = "/v1/archive_policy_rule"
	admin := func(body string, header ...string) call { return call{as: "admin", body: body, header: header} }
	rule := func(name, pattern string) string {
		return `{"name": "` + name + `", "metric_pattern": "` + pattern + `", "archive_policy_name": "low"}`
	}
	h.run(t, []step{
		{"create 1", "POST", path, admin(rule("test_rule1", "*")), 201, nil, rule("test_rule1", "*"),
			[]string{"Location: http://example.com/v1/archive_policy_rule/test_rule1"}},
		{"create 2", "POST", path, admin(rule("test_rule2", "disk.foo.*")), 201, nil, "", nil},
		{"create 3", "POST", path, admin(rule("test_rule3", "disk.*")), 201, nil, "", nil},
		{"exists", "POST", path, admin(rule("test_rule3", "x")), 409,
			[]string{"Archive policy rule test_rule3 already exists"}, "", nil},
		{"missing key", "POST", path, admin(`{"name": "r", "metric_pattern": "x"}`), 400,
			[]string{"required key not provided @ data['archive_policy_name']"}, "", nil},
		{"unknown key", "POST", path, admin(`{"whaa": "foobar"}`, acceptJSON), 400,
			[]string{`"reason": "extra keys not allowed @ data['whaa']", "detail": ["whaa"]`}, "", nil},
		{"unknown policy", "POST", path, admin(`{"name": "r", "metric_pattern": "x", "archive_policy_name": "not-exists"}`,
			acceptJSON), 400, nil,
			`{"code": 400, "title": "Bad Request", "description": {"cause": "Archive policy does not exist", "detail": ` +
				`"not-exists"}}`, nil},
		{"not allowed", "POST", path, call{body: rule("r", "x")}, 403, nil, "", nil},
		{"wrong content type", "POST", path, admin("x", "Content-Type: text/plain"), 415, []string{"Unsupported Media Type"},
			"", nil},
		{"list", "GET", path, call{}, 200, nil, "[" + rule("test_rule2", "disk.foo.*") + ", " +
			rule("test_rule3", "disk.*") + ", " + rule("test_rule1", "*") + "]", nil},
		{"get", "GET", path + "/test_rule1", call{}, 200, nil, rule("test_rule1", "*"), nil},
		{"what isn't comes before negotiation and authentication", "GET", path + "/foo",
			call{as: "-", header: []string{"Accept: text/plain"}}, 404, []string{"Archive policy rule foo does not exist"}, "",
			nil},
		{"then negotiation", "GET", path + "/test_rule1", call{as: "-", header: []string{"Accept: text/plain"}}, 406, nil,
			"", nil},
		{"then authentication", "GET", path + "/test_rule1", call{as: "-"}, 401, nil, "", nil},
		{"used policy", "DELETE", "/v1/archive_policy/low", admin(""), 400, []string{"Archive policy low is still in use"},
			"", nil},
		{"rename without a body", "PATCH", path + "/test_rule3", admin("", "Content-Type: application/json"), 400, nil, "",
			nil},
		{"rename, body before permission", "PATCH", path + "/test_rule3", call{body: "{}"}, 400, nil, "", nil},
		{"rename, not allowed", "PATCH", path + "/test_rule3", call{body: `{"name": "x"}`}, 403, nil, "", nil},
		{"rename", "PATCH", path + "//test_rule3", admin(`{"name": "renamed"}`), 200, nil, rule("renamed", "disk.*"), nil},
		{"the old name", "GET", path + "/test_rule3", call{}, 404, nil, "", nil},
		{"rename to one that is", "PATCH", path + "/test_rule2", admin(`{"name": "renamed"}`), 400,
			[]string{"Archive policy rule test_rule2 does not support change: Archive policy rule renamed already exists."}, "",
			nil},
		{"delete, not allowed", "DELETE", path + "/test_rule1", call{}, 403, nil, "", nil},
		{"delete", "DELETE", path + "/test_rule1", admin(""), 204, nil, "", nil},
		{"delete again", "DELETE", path + "/test_rule1", admin(""), 404, nil, "", nil},
		{"delete unicode", "DELETE", path + "/%E2%9C%94%C3%A9%C3%B1%E2%98%83", admin(""), 404,
			[]string{"Archive policy rule ✔éñ☃ does not exist"}, "", nil},
	})
}
