package api

import (
	"net/http/httptest"
	"strings"
	"testing"

	"millrace/ingest"
)

// A trial is what somebody of another project tries. In its path and body R is a
// resource that they may not see, M its metric, S the metric's name and O a metric of
// their own; of an answer of status 0 all that matters is that it tells nothing.
type trial struct {
	path, body string
	status     int
	hidden     bool // the answer is that to what isn't there
}

// trials are by route. A route that isn't among them fails the test: a new one gets its row.
var trials = map[string][]trial{
	"GET /v1/metric": {
		{"/v1/metric", "", 200, false}, {"/v1/metric?name=S", "", 200, true}, {"/v1/metric?id=M", "", 200, true},
		{"/v1/metric?creator=v1:pv", "", 200, false}, {"/v1/metric?user_id=v1&project_id=pv", "", 200, false},
		{"/v1/metric?sort=name&marker=M", "", 400, true}, {"/v1/metric?sort=unit:desc&marker=M", "", 400, true},
	},
	"POST /v1/metric": {
		{"/v1/metric", `{"name": "x", "archive_policy_name": "nope", "resource_id": "R"}`, 400, true},
	},
	"GET /v1/metric/{id}":    {{"/v1/metric/M", "", 403, false}},
	"DELETE /v1/metric/{id}": {{"/v1/metric/M", "", 403, false}},
	"GET /v1/metric/{id}/measures": {
		{"/v1/metric/M/measures", "", 403, false}, {"/v1/metric/M/measures?refresh=true", "", 403, false}},
	"POST /v1/metric/{id}/measures": {{"/v1/metric/M/measures", `[{"timestamp": 1, "value": 1}]`, 403, false}},
	"POST /v1/batch/metrics/measures": {
		{"/v1/batch/metrics/measures", `{"M": [{"timestamp": 1, "value": 1}]}`, 403, false},
	},
	"POST /v1/search/metric": {{"/v1/search/metric?metric_id=M", `{">": 0}`, 403, false}},
	"POST /v1/aggregates": {
		{"/v1/aggregates?details=true", `{"operations": "(metric M mean)"}`, 403, false},
		{"/v1/aggregates", `{"operations": "(aggregate sum (metric (M mean) (O mean)))"}`, 403, false},
		{"/v1/aggregates?details=true", `{"operations": "(metric S mean)", "resource_type": "generic"}`, 404, true},
		{"/v1/aggregates?groupby=project_id&use_history=true", `{"operations": "(aggregate sum (metric S mean))",
			"resource_type": "generic", "search": {"or": [{"=": {"id": "R"}}, {"=": {"project_id": "pv"}}]}}`, 404, true},
		{"/v1/aggregates?groupby=creator", `{"operations": "(metric S mean)", "resource_type": "generic",
			"search": "project_id = 'pv' or not project_id = 'pu'"}`, 404, true},
	},
	"GET /v1/aggregation/metric": {
		{"/v1/aggregation/metric?metric=M", "", 403, false}, {"/v1/aggregation/metric?metric=O&metric=M", "", 403, false}},
	"POST /v1/aggregation/metric": {{"/v1/aggregation/metric", `["M"]`, 403, false}},
	"POST /v1/aggregation/resource/{type}/metric/{name}": {
		{"/v1/aggregation/resource/generic/metric/S", `{"or": [{"=": {"id": "R"}}, {"not": {"=": {"id": "R"}}}]}`, 200, true},
		{"/v1/aggregation/resource/generic/metric/S?groupby=project_id", `{"=": {"project_id": "pv"}}`, 200, true},
	},
	"GET /v1/ingest/{token}":       {{"/v1/ingest/TOKEN", "", 200, false}},
	"GET /v1/dead-letters":         {{"/v1/dead-letters", "", 403, false}},
	"DELETE /v1/dead-letters":      {{"/v1/dead-letters?all=true", "", 403, false}},
	"POST /v1/dead-letters/replay": {{"/v1/dead-letters/replay", `{"all": true}`, 403, false}},
	"GET /v1/dead-letters/{id}":    {{"/v1/dead-letters/LETTER", "", 403, true}},
	"DELETE /v1/dead-letters/{id}": {{"/v1/dead-letters/LETTER", "", 403, true}},
	"GET /v1/status":               {{"/v1/status?details=true", "", 403, false}},
	"GET /v1/resource":             {{"/v1/resource", "", 200, false}},
	"POST /v1/resource/{type}": {
		{"/v1/resource/generic", `{"id": "R"}`, 409, false},
		{"/v1/resource/generic", `{"id": "new", "metrics": {"x": "M"}}`, 400, true},
	},
	"GET /v1/resource/{type}": {
		{"/v1/resource/generic?details=true", "", 200, false}, {"/v1/resource/generic?history=true", "", 200, false},
		{"/v1/resource/generic?marker=R", "", 400, true}, {"/v1/resource/generic?sort=user_id&marker=R", "", 400, true},
		{"/v1/resource/generic?history=true&sort=user_id&marker=R@-1", "", 400, true},
		{"/v1/resource/generic?history=true&sort=user_id&marker=R@1", "", 400, false},
	},
	"DELETE /v1/resource/{type}": {
		{"/v1/resource/generic", `{"=": {"id": "R"}}`, 200, true},
		{"/v1/resource/generic", `{"or": [{"=": {"project_id": "pv"}}, {"=": {"id": "R"}}]}`, 200, true},
		{"/v1/resource/generic", `{"not": {"=": {"creator": "u1:pu"}}}`, 200, true},
	},
	"GET /v1/resource/{type}/{id}":         {{"/v1/resource/generic/R", "", 404, true}},
	"PATCH /v1/resource/{type}/{id}":       {{"/v1/resource/generic/R", `{"project_id": "pu"}`, 404, true}},
	"DELETE /v1/resource/{type}/{id}":      {{"/v1/resource/generic/R", "", 404, true}},
	"GET /v1/resource/{type}/{id}/history": {{"/v1/resource/generic/R/history?details=true", "", 404, true}},
	"GET /v1/resource/{type}/{id}/metric":  {{"/v1/resource/generic/R/metric", "", 404, true}},
	"POST /v1/resource/{type}/{id}/metric": {
		{"/v1/resource/generic/R/metric", `{"S": {"archive_policy_name": "low"}}`, 404, true}},
	"GET /v1/resource/{type}/{id}/metric/{name}":          {{"/v1/resource/generic/R/metric/S", "", 403, false}},
	"DELETE /v1/resource/{type}/{id}/metric/{name}":       {{"/v1/resource/generic/R/metric/S", "", 403, false}},
	"GET /v1/resource/{type}/{id}/metric/{name}/measures": {{"/v1/resource/generic/R/metric/S/measures", "", 403, false}},
	"POST /v1/resource/{type}/{id}/metric/{name}/measures": {
		{"/v1/resource/generic/R/metric/S/measures", `[]`, 403, false},
	},
	"POST /v1/batch/resources/metrics/measures": {{"/v1/batch/resources/metrics/measures",
		`{"R": {"S": [{"timestamp": 1, "value": 1}]}}`, 403, false}},
	"POST /v1/search/resource/{type}": {
		{"/v1/search/resource/generic", `{"=": {"project_id": "pv"}}`, 200, false},
		{"/v1/search/resource/generic", `{"or": [{"=": {"id": "R"}}, {"like": {"creator": "v%"}}]}`, 200, true},
		{"/v1/search/resource/generic?history=true", `{"not": {"and": [{"=": {"id": "R"}}, {"=": {"user_id": "z"}}]}}`,
			200, true},
		{"/v1/search/resource/generic?filter=id%20=%20'R'%20or%20not%20id%20=%20'R'", "", 200, true},
		{"/v1/search/resource/generic?sort=user_id&marker=R", "", 400, true},
	},
	"POST /v1/influxdb/write":   {{"/v1/influxdb/write?db=db", "cpu,host=R S=1 1", 409, false}},
	"POST /v1/influxdb/query":   {{"/v1/influxdb/query?q=create+database+other", "", 403, false}},
	"POST /v1/prometheus/write": {{"/v1/prometheus/write", remoteWrite(), 202, false}},
}

// shared are the routes of what all projects share.
var shared = []string{"/v1/archive_policy", "/v1/resource_type"}

// Nobody of another project is told anything by any route, and nothing is changed.
func TestForeign(t *testing.T) {
	h := newProtocolHouse(t, build{auth: projects{}})
	const (
		resource = "5b3f0c54-0d0f-4a0e-9d3c-000000000001"
		missing  = "5b3f0c54-0d0f-4a0e-9d3c-000000000002"
		secret   = "mem-secret"
	)
	h.must(t, "POST", "/v1/resource/generic", call{as: "v1", body: `{"id": "` + resource + `", "project_id": "pv",
		"user_id": "user-secret", "metrics": {"` + secret + `": {"archive_policy_name": "low"}}}`})
	metric := h.must(t, "GET", "/v1/resource/generic/"+resource+"/metric/"+secret, call{as: "v1"})["id"].(string)
	own := h.must(t, "POST", "/v1/metric", call{as: "u1",
		body: `{"name": "own", "archive_policy_name": "low"}`})["id"].(string)
	w := h.do(t, "POST", "/v1/metric/"+metric+"/measures", call{as: "v1", body: `[{"timestamp": 1, "value": 4242}]`})
	token := w.Header().Get(headerPosition)
	ticket, err := ingest.ParseTicket(token, houseSacks)
	if err != nil {
		t.Fatal(err)
	}
	sack := ingest.SackOf(mustMetric(t, metric), houseSacks)
	letter := ingest.DeadLetter{ID: ingest.DeadLetterID(sack, ticket.First[sack], 0), Sack: sack,
		Offset: ticket.First[sack], Metric: mustMetric(t, metric), Project: "pv", Reason: "reason-secret",
		Measures: []ingest.Measure{{Time: 1, Value: 4242}}}
	if err := h.letters.Add(t.Context(), []ingest.DeadLetter{letter}); err != nil {
		t.Fatal(err)
	}
	views := func() (all string) {
		for _, path := range []string{"/v1/metric", "/v1/resource/generic?history=true", "/v1/ingest/" + token} {
			all += h.do(t, "GET", path, call{as: "v1"}).Body.String()
		}
		return all
	}
	before, records := views(), len(h.log.records())
	if !strings.Contains(before, "reason-secret") || !strings.Contains(before, "user-secret") {
		t.Fatalf("the owner sees %s", before)
	}
	try := func(method string, c trial, names ...string) *httptest.ResponseRecorder {
		path := c.path
		for i := 0; i < len(names); i += 2 { // whole words
			path = replaceWord(path, names[i], names[i+1])
		}
		path = strings.NewReplacer("metric=O", "metric="+own, "TOKEN", token, "LETTER", letter.ID).Replace(path)
		body := c.body
		if !strings.Contains(c.path, "prometheus") {
			for i := 0; i < len(names); i += 2 {
				body = replaceWord(body, names[i], names[i+1])
			}
			body = replaceWord(body, "O", own)
		}
		return h.do(t, method, path, call{as: "u1", body: body, header: []string{acceptJSON}})
	}
	for _, rt := range h.routes() {
		route := rt.method + " " + rt.path
		rows := trials[route]
		common := rt.open || undescribed(&rt)
		for _, prefix := range shared {
			common = common || strings.HasPrefix(rt.path, prefix)
		}
		if common == (len(rows) > 0) {
			t.Errorf("%s: %d trials, but what it shows is for everybody: %t", route, len(rows), common)
		}
		for _, c := range rows {
			got := try(rt.method, c, "R", resource, "M", metric, "S", secret)
			body := got.Body.String()
			if got.Code != c.status {
				t.Errorf("%s %s %s: %d %s", rt.method, c.path, c.body, got.Code, body)
			}
			for _, told := range []string{"user-secret", "reason-secret", "4242", "v1:pv", `"pv"`} {
				if strings.Contains(body, told) {
					t.Errorf("%s %s tells %s: %s", rt.method, c.path, told, body)
				}
			}
			if !c.hidden {
				continue
			}
			none := try(rt.method, c, "R", missing, "M", missing, "S", "mem-missing")
			blank := strings.NewReplacer(resource, "", metric, "", missing, "", secret, "", "mem-missing", "")
			if a, b := blank.Replace(body), blank.Replace(none.Body.String()); got.Code != none.Code || a != b {
				t.Errorf("%s %s: what is there gets %d %s, what isn't %d %s", rt.method, c.path, got.Code, a, none.Code, b)
			}
		}
	}
	if after := views(); after != before || len(h.log.records()) != records {
		t.Errorf("was changed: %s\nto %s", before, after)
	}
}

// replaceWord replaces a capital letter that stands alone.
func replaceWord(text, word, by string) string {
	letter := func(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' || b == '_' }
	var out strings.Builder
	for i := range len(text) {
		if text[i:i+1] == word && (i == 0 || !letter(text[i-1])) && (i+1 == len(text) || !letter(text[i+1])) {
			out.WriteString(by)
		} else {
			out.WriteByte(text[i])
		}
	}
	return out.String()
}

func mustMetric(t *testing.T, text string) ingest.MetricID {
	t.Helper()
	id, err := ingest.ParseMetricID(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Whoever has a metric in a resource that is no longer theirs to see sees the metric alone.
func TestForeignResourceOfOwnMetric(t *testing.T) {
	h := newProtocolHouse(t, build{auth: projects{}})
	const resource = "5b3f0c54-0d0f-4a0e-9d3c-000000000001"
	h.must(t, "POST", "/v1/resource/generic", call{as: "v1",
		body: `{"id": "` + resource + `", "user_id": "user-secret"}`})
	id := h.must(t, "POST", "/v1/metric", call{as: "u1",
		body: `{"name": "x", "archive_policy_name": "low", "resource_id": "` + resource + `"}`})["id"].(string)
	for path, body := range map[string]string{"/v1/metric/" + id: "",
		"/v1/aggregates?details=true": `{"operations": "(metric ` + id + ` mean)"}`} {
		method := "GET"
		if body != "" {
			method = "POST"
		}
		w := h.do(t, method, path, call{as: "u1", body: body})
		if w.Code != 200 || strings.Contains(w.Body.String(), "user-secret") ||
			!strings.Contains(w.Body.String(), `"resource": null`) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := h.do(t, "GET", "/v1/metric/"+id, call{as: "admin"}); !strings.Contains(w.Body.String(), "user-secret") {
		t.Errorf("an administrator sees %s", w.Body)
	}
}

// Where there are no projects everybody may look at resources, and only who has created
// something may read its measures or change it.
func TestForeignWithoutProjects(t *testing.T) {
	h := newProtocolHouse(t, build{})
	const r = "/v1/resource/generic/5b3f0c54-0d0f-4a0e-9d3c-000000000001"
	h.must(t, "POST", "/v1/resource/generic", call{as: "v", body: `{"id": "5b3f0c54-0d0f-4a0e-9d3c-000000000001",
		"metrics": {"m": {"archive_policy_name": "low"}}}`})
	m := h.must(t, "GET", r+"/metric/m", call{as: "v"})["id"].(string)
	refused := func(method, path, body string) step {
		return step{"", method, path, call{as: "u", body: body, header: []string{acceptJSON}}, 403, nil, "", nil}
	}
	const measures = `[{"timestamp": 1, "value": 1}]`
	h.run(t, []step{
		refused("GET", "/v1/metric/"+m, ""), refused("DELETE", "/v1/metric/"+m, ""),
		refused("GET", "/v1/metric/"+m+"/measures", ""), refused("POST", "/v1/metric/"+m+"/measures", measures),
		refused("POST", "/v1/batch/metrics/measures", `{"`+m+`": `+measures+`}`),
		refused("POST", "/v1/batch/resources/metrics/measures",
			`{"5b3f0c54-0d0f-4a0e-9d3c-000000000001": {"m": `+measures+`}}`),
		refused("POST", "/v1/search/metric?metric_id="+m, `{">": 0}`),
		refused("POST", "/v1/aggregates", `{"operations": "(metric `+m+` mean)"}`),
		refused("GET", "/v1/aggregation/metric?metric="+m, ""),
		refused("PATCH", r, `{"user_id": "u"}`), refused("DELETE", r, ""), refused("POST", r+"/metric", `{}`),
		refused("GET", r+"/metric/m/measures", ""), refused("POST", r+"/metric/m/measures", measures),
		refused("DELETE", r+"/metric/m", ""), refused("GET", "/v1/status", ""), refused("GET", "/v1/dead-letters", ""),
		{"a resource", "GET", r, call{as: "u"}, 200, nil, "", nil},
	})
}
