package api

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"millrace/ingest"
)

const (
	vm1 = "1ed9c196-4c9f-4ba8-a5be-c9a71a82aac4"
	vm2 = "2447cd7e-48a6-4c50-a991-6677cc0d00e6"
	vm3 = "33333d60-bc59-4fac-95cc-414e3a867753"
)

// fleet is a house with three resources, two of project p and one of project q, whose
// cpu.util and cpu.idle have measures, and the third one's disk none.
func fleet(t testing.TB) *house {
	t.Helper()
	h := newHouse(t, build{})
	h.work(t, ingest.WorkerConfig{FlushInterval: time.Hour}) // only a nudge flushes
	h.policy(t, "cookies", `{"granularity": "1 minute", "points": 60}`)
	post := func(id, project, user, metrics string) {
		h.must(t, "POST", "/v1/resource/generic",
			call{body: fmt.Sprintf(`{"id": %q, "project_id": %q, "user_id": %q, "metrics": {%s}}`, id, project, user, metrics)})
	}
	metric := func(name string) string { return fmt.Sprintf(`%q: {"archive_policy_name": "cookies"}`, name) }
	post(vm1, "p", "u", metric("cpu.util")+","+metric("cpu.idle"))
	post(vm2, "p", "v", metric("cpu.util"))
	post(vm3, "q", "u", metric("cpu.util")+","+metric("disk"))
	measure := func(id, name string, values ...int) {
		var list []string
		for minute, v := range values {
			list = append(list, fmt.Sprintf(`{"timestamp": "2015-03-06T00:0%d:00", "value": %d}`, minute, v))
		}
		h.must(t, "POST", "/v1/resource/generic/"+id+"/metric/"+name+"/measures",
			call{body: "[" + strings.Join(list, ",") + "]", header: []string{"Prefer: wait=4"}})
	}
	measure(vm1, "cpu.util", 1, 2, 3)
	measure(vm1, "cpu.idle", 9, 8)
	measure(vm2, "cpu.util", 10, 20)
	measure(vm3, "cpu.util", 100, 200)
	return h
}

func TestAggregatesOfResources(t *testing.T) {
	h := fleet(t)
	ask := func(query, search, operations string, status int, want string) step {
		body := fmt.Sprintf(`{"resource_type": "generic", "search": %s, "operations": %q}`, search, operations)
		return step{search, "POST", "/v1/aggregates" + query, call{body: body, header: []string{acceptJSON}}, status, nil,
			want, nil}
	}
	aggregated := func(rows ...string) string { return `{"measures": {"aggregated": ` + rowsOf(rows...) + `}}` }
	named := func(id, name string, rows ...string) string {
		return fmt.Sprintf(`%q: {"mean": %s}`, name, rowsOf(rows...))
	}
	group := func(values string, rows ...string) string {
		return `{"group": ` + values + `, "measures": ` + aggregated(rows...) + `}`
	}
	refused := func(status int, title, description string) string {
		return fmt.Sprintf(`{"code": %d, "title": %q, "description": %s}`, status, title, description)
	}
	h.run(t, []step{
		ask("", `{}`, "(aggregate sum (metric cpu.util mean))", 200, aggregated("0=111.0", "1=222.0", "2=3.0")),
		ask("", `{"=": {"project_id": "p"}}`, "(aggregate sum (metric cpu.* mean))", 200,
			aggregated("0=20.0", "1=30.0", "2=3.0")),
		ask("", `"project_id = p and user_id = v"`, "(metric cpu.[a-u]* mean)", 200, `{"measures": {"`+vm2+`": {`+
			named(vm2, "cpu.util", "0=10.0", "1=20.0")+`}}}`),
		ask("", `{"=": {"id": "`+vm1+`"}}`, "(metric (cpu.* mean) (cpu.util mean))", 200,
			`{"measures": {"`+vm1+`": {`+named(vm1, "cpu.idle", "0=9.0", "1=8.0")+`, `+
				named(vm1, "cpu.util", "0=1.0", "1=2.0", "2=3.0")+`}}}`),
		ask("", `{"=": {"id": "`+vm1+`"}}`, "(/ (metric cpu.util mean) (+ (metric cpu.util mean) (metric cpu.idle mean)))",
			200, aggregated("0=0.1", "1=0.2")),

		// Out of public reports on Gnocchi.
		ask("?start=2016-01-01&fill=0", `{}`, "(aggregate sum (metric cpu.util mean))", 200, aggregated()),
		ask("?start=2016-01-01", `{}`, "(aggregate sum (metric cpu.util mean))", 200, aggregated()),
		ask("", `{}`, "(aggregate sum (metric disk mean))", 200, aggregated()),
		ask("?groupby=unit", `{}`, "(aggregate sum (metric cpu.util mean))", 400,
			refused(400, "Bad Request", `"Invalid pagination: `+"`"+`Sort key supplied is invalid: unit'"`)),

		ask("?groupby=project_id", `{}`, "(aggregate sum (metric cpu.util mean))", 200,
			"["+group(`{"project_id": "p"}`, "0=11.0", "1=22.0", "2=3.0")+", "+
				group(`{"project_id": "q"}`, "0=100.0", "1=200.0")+"]"),
		ask("?groupby=user_id&groupby=project_id&groupby=user_id", `{}`, "(aggregate sum (metric cpu.util mean))", 200,
			"["+group(`{"user_id": "u", "project_id": "p"}`, "0=1.0", "1=2.0", "2=3.0")+", "+
				group(`{"user_id": "u", "project_id": "q"}`, "0=100.0", "1=200.0")+", "+
				group(`{"user_id": "v", "project_id": "p"}`, "0=10.0", "1=20.0")+"]"),
		// who has none is left out
		ask("?groupby=user_id", `{}`, "(aggregate sum (metric cpu.idle mean))", 200, "["+
			group(`{"user_id": "u"}`, "0=9.0", "1=8.0")+"]"),
		ask("?groupby=id", `{}`, "(- (metric cpu.util mean) (metric cpu.idle mean))", 200, "["+
			group(`{"id": "`+vm1+`"}`, "0=-8.0", "1=-6.0")+"]"),

		ask("", `{}`, "(metric (notexists mean) (foobar mean))", 404,
			refused(404, "Not Found", `"Metric ['foobar', 'notexists'] does not exist"`)),
		ask("?groupby=project_id", `{}`, "(metric (notexists mean) (foobar mean))", 404,
			refused(404, "Not Found", `"Metric ['foobar', 'notexists'] does not exist"`)),
		ask("", `{"=": {"project_id": "nope"}}`, "(metric cpu.util mean)", 404,
			refused(404, "Not Found", `"Metric ['cpu.util'] does not exist"`)),
		ask("", `{}`, "(aggregate sum (metric cpu.util last))", 404, ""),
		ask("", `{"nope": 1}`, "(metric cpu.util mean)", 400, refused(400, "Bad Request",
			`{"cause": "Invalid input", "reason": "extra keys not allowed @ data['search']['nope']", "detail": ["search", `+
				`"nope"]}`)),
		ask("", `"id == x"`, "(metric cpu.util mean)", 400, ""),
		ask("", `{}`, "(+ (metric cpu.* mean) (metric cpu.* mean))", 400, ""), // four series, which can't be told apart
		{"unknown type", "POST", "/v1/aggregates",
			call{body: `{"resource_type": "nope", "search": {}, "operations": "(metric a mean)"}`,
				header: []string{acceptJSON}}, 400, nil,
			refused(400, "Bad Request", `{"cause": "Resource type does not exist", "detail": "nope"}`), nil},
		{"no search", "POST", "/v1/aggregates",
			call{body: `{"resource_type": "generic", "operations": "(aggregate max (metric cpu.util mean))"}`}, 200, nil,
			aggregated("0=100.0", "1=200.0", "2=3.0"), nil},
	})

	w := h.do(t, "POST", "/v1/aggregates?details=true&groupby=user_id",
		call{body: `{"resource_type": "generic", "search": {}, "operations": "(aggregate sum (metric cpu.* mean))"}`})
	var groups []struct {
		Measures struct{ References []map[string]any }
	}
	asJSON(t, w, &groups)
	if len(groups) != 2 || len(groups[0].Measures.References) != 2 || len(groups[0].Measures.References[0]) != 13 {
		t.Errorf("references: %s", w.Body)
	}
}

func TestAggregationOfResources(t *testing.T) {
	h := fleet(t)
	h.must(t, "POST", "/v1/archive_policy", call{as: "admin", body: `{"name": "ends", "definition":
		[{"granularity": "1 minute", "points": 60}], "aggregation_methods": ["last"]}`})
	for _, vm := range []string{vm1, vm3} {
		h.must(t, "POST", "/v1/metric", call{body: `{"name": "end", "archive_policy_name": "ends", "resource_id": "` + vm + `"}`})
	}
	h.must(t, "POST", "/v1/resource/generic/"+vm1+"/metric/end/measures",
		call{body: `[{"timestamp": "2015-03-06T00:00:00", "value": 5}]`, header: []string{"Prefer: wait=4"}})
	ask := func(path, body string, status int, want string) step {
		return step{"", "POST", "/v1/aggregation/resource/" + path, call{body: body, header: []string{acceptJSON}}, status,
			nil, want, nil}
	}
	p, q := `{"group": {"project_id": "p"}, "measures": `, `{"group": {"project_id": "q"}, "measures": `
	h.run(t, []step{
		ask("generic/metric/cpu.util", "", 200, rowsOf("0=37.0", "1=74.0")),
		ask("generic/metric/cpu.util?fill=null&reaggregation=sum", `{"=": {"project_id": "p"}}`, 200,
			rowsOf("0=11.0", "1=22.0", "2=3.0")),
		ask("generic/metric/cpu.util?filter=project_id+%3D+q", "", 200, rowsOf("0=100.0", "1=200.0")),
		ask("generic/metric/cpu.*", "", 200, "[]"), // no pattern here
		ask("generic/metric/disk?refresh=true", "", 200, "[]"),
		ask("generic/metric/notexists", "", 200, "[]"),
		ask("generic/metric/cpu.util?groupby=project_id", "", 200, "["+p+rowsOf("0=5.5", "1=11.0")+"}, "+
			q+rowsOf("0=100.0", "1=200.0")+"}]"),
		ask("generic/metric/cpu.util?groupby=project_id&granularity=60&resample=120&reaggregation=max", "", 200,
			"["+p+`[["2015-03-06T00:00:00+00:00", 120.0, 15.0]]`+"}, "+q+`[["2015-03-06T00:00:00+00:00", 120.0, 150.0]]`+"}]"),
		ask("generic/metric/notexists?groupby=project_id", "", 200, "[]"),
		ask("generic/metric/cpu.util?groupby=unit", "", 400,
			`{"code": 400, "title": "Bad Request", "description": "Invalid groupby attribute"}`),
		ask("generic/metric/notexists?resample=60", "", 400,
			`{"code": 400, "title": "Bad Request", "description": "A granularity must be specified to resample"}`),
		ask("generic/metric/cpu.util?granularity=42", "", 404, ""),
		// One metric is read as it is, by methods that can't combine several, too.
		ask("generic/metric/end?aggregation=last", `{"=": {"project_id": "p"}}`, 200, rowsOf("0=5.0")),
		ask("generic/metric/end?aggregation=last&granularity=60&resample=120", `{"=": {"project_id": "p"}}`, 200,
			`[["2015-03-06T00:00:00+00:00", 120.0, 5.0]]`),
		{"unknown method of one", "POST", "/v1/aggregation/resource/generic/metric/end?aggregation=wtf",
			call{body: `{"=": {"project_id": "p"}}`, header: []string{acceptJSON}}, 404,
			[]string{`"cause": "Aggregation method does not exist for this metric"`}, "", nil},
		ask("generic/metric/end?aggregation=last", "", 400, ""),
		ask("generic/metric/nope?aggregation=last", "", 200, "[]"),
		ask("generic/metric/end?aggregation=last&reaggregation=last", `{"=": {"project_id": "p"}}`, 400, ""),
		ask("nope/metric/cpu.util", "", 404,
			`{"code": 404, "title": "Not Found", "description": "Resource type nope does not exist"}`),
		ask("generic/metric", "", 405, ""),
		{"GET", "GET", "/v1/aggregation/resource/generic/metric/cpu.util", call{}, 405, nil, "", []string{"Allow: POST"}},
	})
}

// An aggregatedGroup is an element of a grouped answer.
type aggregatedGroup struct {
	Group    map[string]string
	Measures struct {
		Measures struct{ Aggregated [][]any }
	}
}

// A resource moves from one project to another in the midst of a minute: each has its
// part of that minute.
func TestAggregatesInTime(t *testing.T) {
	h := newHouse(t, build{})
	h.work(t, ingest.WorkerConfig{FlushInterval: time.Hour})
	h.policy(t, "cookies", `{"granularity": "1 hour", "points": 60}`)
	h.must(t, "POST", "/v1/resource/generic",
		call{body: fmt.Sprintf(`{"id": %q, "project_id": "p", "metrics": {"cpu": {"archive_policy_name": "cookies"}}}`,
			vm1)})
	measures := "/v1/resource/generic/" + vm1 + "/metric/cpu/measures"
	hour := time.Now().UTC().Truncate(time.Hour)
	post := func(at time.Time, value float64) {
		h.must(t, "POST", measures, call{body: fmt.Sprintf(`[{"timestamp": %q, "value": %g}]`, at.Format(time.RFC3339),
			value), header: []string{"Prefer: wait=4"}})
	}
	post(hour.Add(-2*time.Hour), 10)
	post(hour, 20)
	h.must(t, "PATCH", "/v1/resource/generic/"+vm1, call{body: `{"project_id": "q"}`})
	moved := h.must(t, "GET", "/v1/resource/generic/"+vm1, call{})["revision_start"].(string)
	at, err := time.Parse(time.RFC3339Nano, moved)
	if err != nil {
		t.Fatal(err)
	}
	if !at.Truncate(time.Hour).Equal(hour) {
		t.Skip("an hour has passed while this ran")
	}
	before := float64(at.Sub(hour)) / float64(time.Hour)

	ask := func(query string) []aggregatedGroup {
		var groups []aggregatedGroup
		w := h.do(t, "POST", "/v1/aggregates?groupby=project_id"+query,
			call{body: `{"resource_type": "generic", "search": {}, "operations": "(aggregate sum (metric cpu mean))"}`})
		if w.Code != 200 {
			t.Fatal(w.Body)
		}
		asJSON(t, w, &groups)
		return groups
	}
	if now := ask(""); len(now) != 1 || now[0].Group["project_id"] != "q" {
		t.Errorf("without history: %v", now)
	}
	check := func(groups []aggregatedGroup) {
		t.Helper()
		if len(groups) != 2 || groups[0].Group["project_id"] != "p" {
			t.Fatalf("with history: %v", groups)
		}
		p, q := groups[0].Measures.Measures.Aggregated, groups[1].Measures.Measures.Aggregated
		if len(p) != 2 || p[0][2] != 10.0 || p[1][2] != 20*before {
			t.Errorf("p has %v, want 10 and %v", p, 20*before)
		}
		if len(q) != 1 || q[0][2].(float64)+p[1][2].(float64)-20 > 1e-9 || q[0][2] == 0.0 {
			t.Errorf("q has %v, want %v", q, 20*(1-before))
		}
	}
	check(ask("&use_history=true"))
	check(ask("&use_history=true&start=" + fmt.Sprint(hour.Add(-2*time.Hour).Unix()) + "&stop=" +
		fmt.Sprint(hour.Add(time.Hour).Unix())))

	h.run(t, []step{{"of no one series", "POST", "/v1/aggregates?groupby=project_id&use_history=true",
		call{body: `{"resource_type": "generic", "search": {}, "operations": "(metric cpu mean)"}`,
			header: []string{acceptJSON}}, 400, []string{"use_history needs operations"}, "", nil}})
}

// Whatever the body and the parameters, there is an answer, and no 5xx.
func FuzzAggregates(f *testing.F) {
	h := fleet(f)
	id := h.metric(f, "cookies")
	for _, seed := range [][2]string{
		{"", `{"operations": "(aggregate mean (metric ` + id + ` mean))"}`},
		{"fill=ffill&granularity=60", `{"operations": ["rolling", "mean", 2, ["metric", "` + id + `", "max"]]}`},
		{"groupby=project_id&use_history=true&start=1425600000&stop=now",
			`{"resource_type": "generic", "search": "project_id = p", "operations": "(aggregate sum (metric cpu.* mean))"}`},
		{"groupby=id&details=1&needed_overlap=50",
			`{"resource_type": "generic", "search": {"and": [{"=": {"id": "x"}}]}, "operations": "(/ (metric cpu.util mean) ` +
				`0)"}`},
		{"groupby=started_at:x", `{"resource_type": "generic", "operations": "(metric * mean)"}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, query, body string) {
		for _, path := range []string{"/v1/aggregates", "/v1/aggregation/metric",
			"/v1/aggregation/resource/generic/metric/cpu.util", "/v1/search/metric"} {
			r := httptest.NewRequest("POST", path, strings.NewReader(body))
			r.URL.RawQuery = query
			if path == "/v1/search/metric" {
				r.URL.RawQuery += "&metric_id=" + id
			}
			r.SetBasicAuth("foobar", "")
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code >= 500 {
				t.Errorf("%s?%s: %d %s", path, query, w.Code, w.Body)
			}
			if w.Code == 200 && !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s?%s: %s", path, query, w.Body)
			}
		}
	})
}
