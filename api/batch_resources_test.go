package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"millrace/index"
	"millrace/ingest"
	"millrace/testservers"
)

const namedPath = "/v1/batch/resources/metrics/measures"

func TestPostNamedBatch(t *testing.T) { onEach(t, testPostNamedBatch) }

func testPostNamedBatch(t *testing.T, address string) {
	h := newHouse(t, build{url: address})
	h.policy(t, "low", `{"granularity": 1}`)
	h.must(t, "POST", "/v1/archive_policy_rule", call{as: "admin",
		body: `{"name": "auto", "metric_pattern": "auto.*", "archive_policy_name": "low"}`})
	r := h.must(t, "POST", "/v1/resource/generic",
		call{body: `{"id": "r", "metrics": {"cpu": {"archive_policy_name": "low"}}}`})
	id := r["id"].(string)
	h.must(t, "POST", "/v1/resource/generic",
		call{as: "jd", body: `{"id": "46c9418d-d63b-4cdd-be89-8f57ffc5952e", "metrics": {"cpu": {"archive_policy_name": ` +
			`"low"}}}`})
	const theirs = "46c9418d-d63b-4cdd-be89-8f57ffc5952e"
	one := `[{"timestamp": "2015-03-06T14:33:57", "value": 43.1}]`
	post := func(body string, header ...string) call {
		return call{body: body, header: append([]string{acceptJSON}, header...)}
	}
	const create = namedPath + "?create_metrics=True"
	h.run(t, []step{
		{"no credentials", "POST", namedPath, call{as: "-", body: "{}"}, 401, nil, "", nil},
		{"content type", "POST", namedPath, post("{}", "Content-Type: text/plain"), 415, nil, "", nil},
		{"bad boolean", "POST", namedPath + "?create_metrics=maybe", post("{}"), 400,
			[]string{"Unable to parse `create_metrics'"}, "", nil},
		{"nothing", "POST", namedPath, post("{}"), 202, nil, "", []string{"Content-Length: 0"}},
		{"almost nothing", "POST", create, post(`{"nope": {}}`), 202, nil, "", []string{"Content-Length: 0"}},
		{"no JSON", "POST", namedPath, post("{"), 400, []string{"Unable to decode body"}, "", nil},
		{"a list", "POST", namedPath, post("[]"), 400, []string{`"reason": "expected a dictionary", "detail": []`}, "", nil},
		{"lists for measures", "POST", create, post(`{"r": {"cpu": [["2015-03-06T14:33:57", 43.1]]}}`), 400,
			[]string{`"unexpected measures format @ data['r']['cpu'][0]", "detail": ["r", "cpu", "0"]`}, "", nil},
		{"no measures", "POST", create, post(`{"r": {"cpu": {"unit": "B"}}}`), 400,
			[]string{`"required key not provided @ data['r']['cpu']['measures']"`}, "", nil},
		{"long unit", "POST", create, post(`{"r": {"auto.x": {"measures": [], "unit": "` + strings.Repeat("é", 32) + `"}}}`),
			400, []string{`"length of value must be at most 31 for dictionary value @ data['r']['auto.x']['unit']"`}, "", nil},
		{"slash in a resource", "POST", create, post(`{"a/b": {"cpu": []}}`), 400,
			[]string{`'/' is not supported in resource id @ data['a/b']`}, "", nil},
		{"unknown metrics", "POST", namedPath, post(`{"` + strings.ToUpper(theirs) + `": {"x": ` + one +
			`, "x": []}, "r": {"cpu": ` + one + `, "a": ` + one + `}}`), 400,
			[]string{`"Unknown metrics: ` + minText(id+"/a, "+theirs+"/x", theirs+"/x, "+id+"/a") + `"`}, "", nil},
		// gnocchixyz/gnocchi#1012
		{"unknown resource", "POST", create, post(`{"foobar": {"auto.a": ` + one + `, "auto.b": ` + one +
			`, "no.rule": []}, "r": {"auto.x": ` + one + `}}`), 400, nil,
			`{"code": 400, "title": "Bad Request", "description": {"cause": "Unknown resources", "detail": [{"resource_id": ` +
				`"2fbfbb20-8d56-5e1e-afb9-b3007da11fdf", "original_resource_id": "foobar"}]}}`, nil},
		{"half of it isn't done", "GET", "/v1/resource/generic/r/metric/auto.x", call{}, 404, nil, "", nil},
		{"no rule", "POST", create, post(`{"r": {"auto.x": ` + one + `, "no.rule": ` + one + `}}`), 400,
			[]string{`"No archive policy name specified and no archive policy rule found matching the metric name no.rule"`},
			"", nil},
		{"no policy", "POST", create, post(`{"r": {"x": {"archive_policy_name": "nope", "measures": ` + one + `}}}`), 400,
			[]string{`"Archive policy nope does not exist"`}, "", nil},
		{"slash in a name", "POST", create, post(`{"r": {"auto.x/y": ` + one + `}}`), 400,
			[]string{`'/' is not supported in metric name`}, "", nil},
		{"somebody else's", "POST", create, post(`{"r": {"auto.x": ` + one + `}, "` + theirs + `": {"cpu": ` + one + `}}`),
			403, nil, "", nil},
		{"nothing of it is done", "GET", "/v1/resource/generic/r/metric/auto.x", call{}, 404, nil, "", nil},
		{"from the future, strictly", "POST", create, post(`{"r": {"auto.x": [{"timestamp": "+2 days", "value": 1}]}}`,
			"Prefer: handling=strict"), 400,
			[]string{`@ data['r']['auto.x'][0]['timestamp']", "detail": ["r", "auto.x", "0", "timestamp"]`}, "", nil},
		{"nothing of it is done either", "GET", "/v1/resource/generic/r/metric/auto.x", call{}, 404, nil, "", nil},

		{"known", "POST", namedPath, post(`{"r": {"cpu": ` + one + `}, "` + id + `": {"cpu": {"measures": ` + one +
			`, "archive_policy_name": "ignored"}}}`), 202, nil, "", []string{"Content-Length: 0"}},
		{"created", "POST", create, post(`{"r": {"auto.x": ` + one + `, "cpu": ` + one +
			`, "y": {"archive_policy_name": "low", "unit": "B", "measures": ` + one + `}, "auto.x": {"measures": ` + one +
			`}}}`), 202, nil, "", []string{"Content-Length: 0"}},
		{"what was created", "GET", "/v1/resource/generic/r/metric/y", call{}, 200,
			[]string{`"name": "y", "unit": "B", "creator": "foobar"`}, "", nil},
		{"in somebody else's resource", "POST", create, post(`{"` + theirs + `": {"auto.mine": ` + one + `}}`), 202, nil, "",
			nil},
		{"is the creator's", "GET", "/v1/resource/generic/" + theirs + "/metric/auto.mine", call{}, 200,
			[]string{`"creator": "foobar"`}, "", nil},
		{"leniently", "POST", create,
			post(`{"r": {"auto.x": [{"timestamp": "x", "value": 1}, {"timestamp": "2015-03-06", "value": 1}, {"timestamp": `+
				`"+2 days", "value": 1}], "no.rule": `+one+`, "z": 1}, "a/b": {"cpu": `+one+`}, "nope": {"auto.x": `+one+`}}`,
				"Prefer: handling=lenient"), 202,
			[]string{`"state": "queued", "accepted": 1, "refused": 6`,
				`{"metric": "r/auto.x", "measure": 0, "field": "timestamp"`,
				`{"metric": "r/auto.x", "measure": 2, "field": "timestamp"`, `{"metric": "r/z", "reason"`,
				`{"metric": "r/no.rule", "reason"`, `{"metric": "a/b", "reason"`, `{"metric": "nope/auto.x", "reason"`}, "",
			[]string{"Preference-Applied: handling=lenient"}},
		{"texts that no database holds", "POST", create, post(`{"r": {"auto.x": `+one+`, "auto.\u0000": `+one+`, "w": {"unit": `+
			`"\u0000", "archive_policy_name": "low", "measures": `+one+`}}}`, "Prefer: handling=lenient"), 202,
			[]string{`"state": "queued", "accepted": 1, "refused": 2`,
				`{"metric": "r/auto.\u0000", "reason": "metric name is not UTF-8 text"}`, `{"metric": "r/w", "reason": "unit of`},
			"", nil},
	})
	count := map[string]int{}
	for _, r := range h.log.records() {
		for _, e := range r.Entries {
			count[r.Project+" "+e.Policy] += len(e.Measures)
		}
	}
	if len(count) != 1 || count["foobar low"] != 2+4+1+1+1 {
		t.Errorf("the log has %v", count)
	}
}

func minText(a, b string) string { return min(a, b) }

// Two batches create the same new metric at once: both are taken, there is one metric,
// and nothing is lost. (gnocchixyz/gnocchi PR 555)
func TestOneMetricOfTwoBatches(t *testing.T) { onEach(t, testOneMetricOfTwoBatches) }

func testOneMetricOfTwoBatches(t *testing.T, address string) {
	h := newHouse(t, build{url: address})
	h.policy(t, "low", `{"granularity": 1}`)
	h.must(t, "POST", "/v1/resource/generic", call{body: `{"id": "r"}`})
	const rivals, names = 8, 50
	var all sync.WaitGroup
	for i := range rivals {
		all.Go(func() {
			body := `{"r": {`
			for n := range names {
				body += fmt.Sprintf(`"m%d": {"archive_policy_name": "low", "measures": [{"timestamp": %d, "value": 1}]},`, n,
					1000+i)
			}
			w := h.do(t, "POST", namedPath+"?create_metrics=true", call{body: strings.TrimSuffix(body, ",") + "}}"})
			if w.Code != 202 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	all.Wait()
	var list []map[string]any
	asJSON(t, h.do(t, "GET", "/v1/resource/generic/r/metric", call{}), &list)
	if len(list) != names {
		t.Errorf("there are %d metrics", len(list))
	}
	stamps := map[string]map[int64]bool{}
	for _, r := range h.log.records() {
		for _, e := range r.Entries {
			for _, m := range e.Measures {
				id := e.Metric.String()
				if stamps[id] == nil {
					stamps[id] = map[int64]bool{}
				}
				stamps[id][m.Time/1e9] = true
			}
		}
	}
	for _, m := range list {
		if n := len(stamps[m["id"].(string)]); n != rivals {
			t.Errorf("%s has measures of %d batches", m["name"], n)
		}
	}
}

// The processes of one deployment are sent the first measures of the same metrics at once, each
// request with its own order of them: all are taken, each metric exists once and is the same to
// both processes, and every measure is the existing metric's.
func TestOneMetricOfTwoProcesses(t *testing.T) {
	server := testservers.Postgres(t)
	url := server.URL(server.Database(t))
	houses := []*house{newHouse(t, build{url: url}), newHouse(t, build{url: url})}
	houses[0].policy(t, "low", `{"granularity": 1}`)
	const resources, names, clients, rounds = 4, 20, 32, 4
	for r := range resources {
		houses[0].must(t, "POST", "/v1/resource/generic", call{body: fmt.Sprintf(`{"id": "r%d"}`, r)})
	}
	var all sync.WaitGroup
	begin := make(chan struct{})
	for client := range clients {
		all.Go(func() {
			<-begin
			for round := range rounds { // of which each has its own metrics
				body := shuffledBatch(resources, names, round, client)
				w := houses[client%2].do(t, "POST", namedPath+"?create_metrics=true", call{body: body})
				if w.Code != 202 {
					t.Errorf("client %d, round %d: %d %s", client, round, w.Code, w.Body)
				}
			}
		})
	}
	close(begin)
	all.Wait()

	measures := map[string]int{} // by metric; no two measures of one have the same timestamp
	for _, h := range houses {
		for _, r := range h.log.records() {
			for _, e := range r.Entries {
				measures[e.Metric.String()] += len(e.Measures)
			}
		}
	}
	for r := range resources {
		path := fmt.Sprintf("/v1/resource/generic/r%d/metric", r)
		var list, other []map[string]any
		asJSON(t, houses[0].do(t, "GET", path, call{}), &list)
		asJSON(t, houses[1].do(t, "GET", path, call{}), &other)
		if diff := cmp.Diff(list, other); diff != "" || len(list) != names*rounds {
			t.Errorf("r%d has %d metrics; the processes differ by %s", r, len(list), diff)
		}
		for _, m := range list {
			id := m["id"].(string)
			if measures[id] != clients {
				t.Errorf("r%d/%s has %d measures, want %d", r, m["name"], measures[id], clients)
			}
			delete(measures, id)
		}
	}
	if len(measures) > 0 {
		t.Errorf("measures of metrics that there are not: %v", measures)
	}
}

// shuffledBatch has one measure of each metric, which only one client sends.
func shuffledBatch(resources, names, round, client int) string {
	random := rand.New(rand.NewPCG(uint64(client), uint64(round)))
	var parts []string
	for _, r := range random.Perm(resources) {
		var metrics []string
		for _, n := range random.Perm(names) {
			metrics = append(metrics, fmt.Sprintf(`"m%d.%d": {"archive_policy_name": "low", "measures": `+
				`[{"timestamp": %d, "value": 1}]}`, round, n, 1000+client))
		}
		parts = append(parts, fmt.Sprintf(`"r%d": {%s}`, r, strings.Join(metrics, ", ")))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// A log that fails after metrics were created: the answer says what was done.
func TestCreatedAndNotStored(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "low", `{"granularity": 1}`)
	h.must(t, "POST", "/v1/resource/generic", call{body: `{"id": "r"}`})
	h.log.setFail(errors.New("I/O error"))
	body := `{"r": {"a": {"archive_policy_name": "low", "measures": [{"timestamp": 1, "value": 1}]}, "b": ` +
		`{"archive_policy_name": "low", "measures": []}}}`
	h.run(t, []step{
		{"fails", "POST", namedPath + "?create_metrics=true", call{body: body, header: []string{acceptJSON}}, 503,
			[]string{"It is safe to retry", "and 2 metrics were created, and stay."}, "", nil},
		{"there", "GET", "/v1/resource/generic/r/metric/b", call{}, 200, nil, "", nil},
	})
	h.log.setFail(nil)
	h.run(t, []step{{"again", "POST", namedPath, call{body: body}, 202, nil, "", nil}})
}

// The accept half of a batch by resource whose metrics exist: 100 resources of 10.
func BenchmarkPostNamedBatch(b *testing.B) {
	x, err := openMemory(b)
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	progress := ingest.NewProgress(16, nil)
	a, err := New(Deps{
		Index: x, Acceptor: ingest.NewAcceptor(discardLog{}, progress, 16, ingest.AcceptConfig{}), Log: discardLog{},
		Progress: progress, Driver: fixedRows(nil), Letters: &memoryLetters{},
	}, Config{}, slog.New(slog.DiscardHandler), metricnoop.NewMeterProvider().Meter(""),
		tracenoop.NewTracerProvider().Tracer(""))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := x.CreateDefaults(b.Context()); err != nil {
		b.Fatal(err)
	}
	generic, err := x.ResourceType(b.Context(), index.GenericType)
	if err != nil {
		b.Fatal(err)
	}
	var body bytes.Buffer
	body.WriteByte('{')
	const resources, metrics = 100, 10
	for i := range resources {
		r := index.Resource{ID: ingest.NewMetricID(), Creator: "foobar"}
		var list []index.Association
		if i > 0 {
			body.WriteString(", ")
		}
		fmt.Fprintf(&body, `"%s": {`, r.ID)
		for j := range metrics {
			if j > 0 {
				body.WriteString(", ")
			}
			name := fmt.Sprintf("disk.device.%d.read.bytes", j)
			list = append(list, index.Association{Name: name, ID: ingest.NewMetricID(), Policy: "low"})
			fmt.Fprintf(&body, `"%s": {"measures": [{"timestamp": "2015-03-06T14:%02d:%02d", "value": %d.25}], `+
				`"archive_policy_name": "low", "unit": "B"}`, name, i%60, j, i+j)
		}
		body.WriteByte('}')
		if _, err := x.CreateResource(b.Context(), generic, r, list); err != nil {
			b.Fatal(err)
		}
	}
	body.WriteByte('}')
	w := &blank{header: http.Header{}}
	r := httptest.NewRequest("POST", namedPath+"?create_metrics=true", nil)
	r.SetBasicAuth("foobar", "")
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = int64(body.Len())
	from := bytes.NewReader(nil)
	b.SetBytes(int64(body.Len()))
	b.ReportAllocs()
	for b.Loop() {
		from.Reset(body.Bytes())
		r.Body = io.NopCloser(from)
		w.reset()
		a.ServeHTTP(w, r)
		if w.status != 202 {
			b.Fatal(w.status)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*resources*metrics), "ns/measure")
}
