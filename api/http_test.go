package api

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"millrace/ingest"
)

func TestRoot(t *testing.T) {
	h := newHouse(t, build{config: Config{Prefix: "/gnocchi/", TrustProxyHeaders: true}})
	root := func(base string) string {
		return `{"build": "4.7.0", "versions": [{"id": "v1.0", "links": [{"href": "` + base +
			`/v1/", "rel": "self"}], "status": "CURRENT", "updated": "2015-03-19"}]}`
	}
	get := func(path, base string, header ...string) step {
		return step{path, "GET", path, call{as: "-", header: header}, 200, nil, root(base), nil}
	}
	h.run(t, []step{
		get("/gnocchi", "http://example.com/gnocchi"),
		get("/gnocchi/", "http://example.com/gnocchi"),
		get("//gnocchi//", "http://example.com/gnocchi"),
		get("/gnocchi/", "http://foobar/gnocchi", "Forwarded: for=192.0.2.60;proto=http;host=foobar"),
		get("/gnocchi/", "https://foobar:8/gnocchi", `Forwarded: For="[::1]"; Proto=https ;HOST="foobar:8", host=other`),
		get("/gnocchi/", "https://a/x/gnocchi", "X-Forwarded-Proto: https", "X-Forwarded-Host: a, b",
			"X-Forwarded-Prefix: /x/"),
		get("/gnocchi/", "http://example.com/x/gnocchi", "Forwarded: for=1.2.3.4", "X-Forwarded-Host: ignored",
			"X-Forwarded-Prefix: x"),
		// what can't stand in a URL is as if it weren't there
		get("/gnocchi/", "http://example.com/gnocchi", "X-Forwarded-Proto: javascript", "X-Forwarded-Host: evil/x?",
			"X-Forwarded-Prefix: /../a"),
		get("/gnocchi/", "http://example.com/gnocchi", "X-Forwarded-Host: a@b", "X-Forwarded-Prefix: //evil.org//x"),
		get("/gnocchi/", "http://example.com/gnocchi", "X-Forwarded-Host: a>b", `X-Forwarded-Prefix: x"><script>`),
		get("/gnocchi/", "http://example.com/gnocchi", "X-Forwarded-Host: :80", "X-Forwarded-Prefix: /%zz"),
		get("/gnocchi/", "http://example.com/gnocchi", "Forwarded: proto=ftp;host=\"a b\""),
		get("/gnocchi/", "https://[::1]:8443/a/b.c/gnocchi", "X-Forwarded-Proto: HTTPS", "X-Forwarded-Host: [::1]:8443",
			"X-Forwarded-Prefix: /a/b.c/"),
		{"outside the prefix", "GET", "/", call{}, 404, nil, "", nil},
		{"outside the prefix", "GET", "/v1/metric", call{}, 404, nil, "", nil},
		{"v1", "GET", "/gnocchi/v1", call{as: "-"}, 200, []string{`"version": "1.0"`,
			`{"href": "http://example.com/gnocchi/v1", "rel": "self"}, {"href": "http://example.com/gnocchi/v1/aggregates", ` +
				`"rel": "aggregates"}`}, "", nil},
		{"v1/", "GET", "/gnocchi/v1/", call{as: "-"}, 200, []string{`"rel": "status"`}, "", nil},
	})
	var v1 struct{ Links []struct{ Rel string } }
	asJSON(t, h.do(t, "GET", "/gnocchi/v1/", call{}), &v1)
	if len(v1.Links) != 13 || v1.Links[9].Rel != "resource" {
		t.Errorf("links: %+v", v1.Links)
	}

	h = newHouse(t, build{})
	h.run(t, []step{
		// nobody said to trust it
		get("/", "http://example.com", "Forwarded: proto=https;host=foobar", "X-Forwarded-Prefix: /x"),
		{"resource types", "GET", "/v1/resource/", call{}, 200, nil, `{"generic": "http://example.com/v1/resource/generic"}`,
			nil},
	})
}

func TestRouting(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "low", `{"granularity": 60}`)
	status := func(method, path string, want int, headers ...string) step {
		return step{"", method, path, call{header: []string{acceptJSON}}, want, nil, "", headers}
	}
	h.run(t, []step{
		status("GET", "/v2", 404), status("GET", "/v1/resoue", 404), status("GET", "/v1/search/notexists", 404),
		status("GET", "/v1/metric/x/y/z", 404), status("GET", "/v1/batch", 404),
		status("GET", "/v1/archive_policy/a%2Fb", 404),
		{"the router's 404", "GET", "/v1/resoue", call{header: []string{acceptJSON}}, 404, nil,
			`{"code": 404, "title": "Not Found", "description": null}`, nil},
		{"406 has no description", "GET", "/v1/metric", call{header: []string{"Accept: application/problem+json"}}, 406, nil,
			`{"type": "about:blank", "title": "Not Acceptable", "status": 406}`, nil},
		{"405 has none either", "PUT", "/v1/metric", call{header: []string{acceptJSON}}, 405, nil,
			`{"code": 405, "title": "Method Not Allowed", "description": ""}`, []string{"Allow: GET, POST"}},
		status("GET", "/v1/metric/"+h.metric(t, "low")+"/foo", 405), status("GET", "/v1/metric/x/foo", 404),
		status("GET", "/v1/archive_policy/x/y", 404),
		status("HEAD", "/v1/metric", 405), status("POST", "/v1/capabilities", 405, "Allow: GET"),
		{"dots are names", "GET", "/v1/archive_policy/..", call{}, 404, []string{"Archive policy .. does not exist"}, "",
			nil},
		{"so is a dot", "GET", "/v1/archive_policy/./", call{}, 404, []string{"Archive policy . does not exist"}, "", nil},
		{"and an extension", "GET", "/v1/archive_policy/c.json", call{}, 404,
			[]string{"Archive policy c.json does not exist"}, "", nil},
		{"below /healthcheck", "GET", "/healthcheck/a/b", call{as: "-"}, 200, nil, "", nil},
		{"ping", "GET", "/v1/influxdb/ping", call{as: "-", header: []string{acceptJSON}}, 204, nil, "",
			[]string{"X-Influxdb-Version: Gnocchi 4.7.0"}},
		status("HEAD", "/v1/influxdb/ping", 405),
		status("PUT", "/v1/aggregates", 405), status("GET", "/v1/resource/nope/x/metric/y/measures", 404),
	})
}

func FuzzRouting(f *testing.F) {
	h := newHouse(f, build{})
	for _, path := range []string{"/", "//v1///metric/x/", "/healthcheck/..", "/v1/resource/a/b/metric/c/measures/d", "*",
		""} {
		f.Add("GET", path)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		q := &request{API: h.API, r: &http.Request{Method: method, URL: &url.URL{Path: path}}}
		rt, err := h.router.match(q)
		if (rt == nil) == (err == nil) {
			t.Fatalf("%s %q: %v, %v", method, path, rt, err)
		}
		if rt != nil && len(q.params) != strings.Count(rt.path, "{") {
			t.Errorf("%s %q is %s with %q", method, path, rt.path, q.params)
		}
	})
}

func TestErrorShapes(t *testing.T) {
	h := newHouse(t, build{})
	asText := "404 Not Found\n\nThe resource could not be found.\n\n Archive policy <x> does not exist  "
	asHTML := "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  The " +
		"resource could not be found.<br /><br />\nArchive policy &lt;x&gt; does not exist\n\n </body>\n</html>"
	asProblem := `{"type": "about:blank", "title": "Not Found", "status": 404, "detail": "Archive policy <x> does not ` +
		`exist"}`
	asJSON := `{"code": 404, "title": "Not Found", "description": "Archive policy <x> does not exist"}`
	f := func(accept, contentType, body string) {
		t.Helper()
		c := call{}
		if accept != "" {
			c.header = []string{"Accept: " + accept}
		}
		h.run(t, []step{{accept, "GET", "/v1/archive_policy/%3Cx%3E", c, 404, nil, body,
			[]string{"Content-Type: " + contentType}}})
	}
	f("", "text/plain; charset=UTF-8", asText)
	f("application/json", "application/json", asJSON)
	f("application/json, */*;q=0.1", "application/json", asJSON)
	f("application/*", "application/json", asJSON)
	f("*/*", "application/json", asJSON)
	f("application/json, text/plain, */*", "application/json", asJSON)
	f("text/plain, application/json;q=0.8", "application/json", asJSON)
	f("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=UTF-8", asHTML)
	f("application/json, application/problem+json", "application/problem+json", asProblem)
	f("application/json;q=0.5, Application/Problem+JSON", "application/problem+json", asProblem)
	f("application/json, application/problem+json;q=0", "application/json", asJSON)
	h.run(t, []step{
		{"object in text", "POST", "/v1/metric", call{body: `{"é>": 1}`}, 400,
			[]string{`{"cause": "Invalid input", "reason": "extra keys not allowed @ data['é>']", "detail": ["é>"]}`}, "", nil},
		{"object in a problem", "POST", "/v1/metric", call{body: `{"x": 1}`,
			header: []string{"Accept: application/json,application/problem+json"}}, 400, []string{
			`"detail": "Invalid input: extra keys not allowed @ data['x']", "description": {"cause": "Invalid input"`}, "",
			nil},
		{"object in HTML", "POST", "/v1/metric", call{body: `{"x": 1}`, header: []string{"Accept: text/html, */*; q=0.1"}},
			400, []string{`&#34;cause&#34;: &#34;Invalid input&#34;`}, "", nil},
	})
}

func TestQuality(t *testing.T) {
	f := func(header, mediaType string, want float64) {
		t.Helper()
		if got := quality(header, mediaType); got != want {
			t.Errorf("%q of %s: %g, want %g", header, mediaType, got, want)
		}
	}
	f("application/json", typeJSON, 1)
	f("APPLICATION/JSON ; Q=0.25", typeJSON, .25)
	f("*/*;q=0.3, application/*;q=0.2, application/json;q=0.1", typeJSON, .1) // the most specific counts
	f("application/json;q=0, */*", typeJSON, 0)
	f("application/json;charset=utf-8;q=0.5", typeJSON, .5)
	f("text/plain", typeJSON, 0)
	f("", typeJSON, 0)
	f(",;q=,", typeJSON, 0)
	f("application/json;q=x", typeJSON, 0)
	f("application/json;q=2", typeJSON, 0)
	f("application/json;q=NaN", typeJSON, 0)
}

func FuzzErrorType(f *testing.F) {
	f.Add("text/html, */*;q=0.1")
	f.Add("application/problem+json;q=")
	f.Fuzz(func(t *testing.T, accept string) {
		h := http.Header{"Accept": {accept}}
		switch got := errorType(h); got {
		case typeJSON:
			if !acceptsJSON(h) {
				t.Errorf("%q gets JSON and does not take it", accept)
			}
		case typeProblem, typeHTML, typeText:
		default:
			t.Errorf("%q: %q", accept, got)
		}
	})
}

func TestCORS(t *testing.T) {
	h := newHouse(t, build{config: Config{AllowedOrigins: []string{"http://foobar.com"}}})
	none := []string{"Access-Control-Allow-Origin:", "Access-Control-Allow-Methods:", "Access-Control-Allow-Headers:",
		"Vary:"}
	preflight := func(name string, headers []string, want []string) step {
		return step{name, "OPTIONS", "/v1/status", call{as: "-", header: headers}, 200, nil, "",
			append(want, "Content-Length: 0")}
	}
	const origin, method = "Origin: http://foobar.com", "Access-Control-Request-Method: GET"
	allowed := []string{"Access-Control-Allow-Origin: http://foobar.com", "Access-Control-Allow-Credentials: true",
		"Vary: Origin"}
	h.run(t, []step{
		preflight("not allowed", []string{"Origin: http://notallowed.com", method}, none),
		preflight("allowed", []string{origin, method}, append(allowed, "Access-Control-Allow-Methods: GET",
			"Access-Control-Max-Age: 3600", "Access-Control-Allow-Headers:")),
		preflight("headers", []string{origin, method, "Access-Control-Request-Headers: X-Auth-Token, prefer"},
			append(allowed, "Access-Control-Allow-Headers: X-Auth-Token, prefer")),
		preflight("unknown header", []string{origin, method, "Access-Control-Request-Headers: X-Auth-Token, x-foo"}, none),
		preflight("unknown method", []string{origin, "Access-Control-Request-Method: BREW"}, none),
		preflight("no method", []string{origin}, none),
		preflight("no origin", nil, none),
		{"any path", "OPTIONS", "/nothing", call{as: "-"}, 200, nil, "", nil},
		{"actual", "GET", "/v1/metric", call{header: []string{origin}}, 200, nil, "",
			append(allowed, "Access-Control-Expose-Headers: Location, Link, Retry-After, Preference-Applied, "+
				"Millrace-Position, Millrace-Late")},
		{"actual error", "GET", "/v1/metric/x", call{header: []string{origin}}, 404, nil, "", allowed},
		{"actual, not allowed", "GET", "/v1/metric", call{header: []string{"Origin: http://notallowed.com"}}, 200, nil, "",
			none},
	})
	h = newHouse(t, build{config: Config{AllowedOrigins: []string{"*"}}})
	h.run(t, []step{{"any origin", "GET", "/v1/metric", call{header: []string{"Origin: http://x"}}, 200, nil, "",
		[]string{"Access-Control-Allow-Origin: *", "Access-Control-Allow-Credentials:", "Vary:"}},
		preflight("any origin, without credentials", []string{"Origin: http://x", method},
			[]string{"Access-Control-Allow-Origin: *", "Access-Control-Allow-Credentials:",
				"Access-Control-Allow-Methods: GET"})})
	h = newHouse(t, build{config: Config{AllowedOrigins: []string{"*", "http://foobar.com"}}})
	h.run(t, []step{preflight("one that is named beside any", []string{origin, method}, allowed)})
	h = newHouse(t, build{})
	h.run(t, []step{preflight("not configured", []string{origin, method}, none)})
}

func TestHealth(t *testing.T) {
	h := newHouse(t, build{})
	h.run(t, []step{
		{"text", "GET", "/healthcheck", call{as: "-"}, 200, nil, "", []string{"Content-Type: text/plain; charset=UTF-8",
			"Content-Length: 0"}},
		{"text", "GET", "/healthcheck", call{as: "-", header: []string{"Accept: text/plain"}}, 200, nil, "", nil},
		{"JSON", "POST", "/healthcheck", call{as: "-", header: []string{acceptJSON}}, 200, nil,
			`{"detailed": false, "reasons": []}`, nil},
		{"HTML", "GET", "/healthcheck", call{as: "-", header: []string{"Accept: text/html"}}, 200,
			[]string{"<body>OK</body>"}, "", nil},
		{"head", "HEAD", "/healthcheck", call{as: "-"}, 204, nil, "", nil},
	})
}

func TestStatus(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "p", `{"granularity": 1}`)
	h.must(t, "POST", measures(h.metric(t, "p")), someMeasures)
	h.run(t, []step{
		{"not allowed", "GET", "/v1/status", call{}, 403, []string{"Access was denied"}, "", nil},
		{"bad flag", "GET", "/v1/status?details=", call{as: "admin"}, 400,
			[]string{"Unable to parse `details': Unrecognized value ''"}, "", nil},
	})
	keys := func(path string) map[string]map[string]any {
		var doc struct {
			Storage, Metricd, Ingest, Index map[string]any
			DeadLetters                     int `json:"dead_letters"`
		}
		asJSON(t, h.do(t, "GET", path, call{as: "admin"}), &doc)
		return map[string]map[string]any{"storage": doc.Storage, "metricd": doc.Metricd, "ingest": doc.Ingest,
			"index": doc.Index}
	}
	f := func(path string, storage, progress int) {
		t.Helper()
		got := keys(path)
		if len(got["storage"]) != storage || len(got["metricd"]) != 2 || len(got["ingest"]) != progress ||
			got["index"]["metrics"] != 1.0 {
			t.Errorf("%s: %v", path, got)
		}
		summary := got["storage"]["summary"].(map[string]any)
		if summary["measures"] != 1.0 || summary["metrics"] != 1.0 {
			t.Errorf("summary: %v", summary)
		}
	}
	f("/v1/status", 2, 2)
	f("/v1/status?details=False", 1, 1)
	f("/v1/status?details=True", 2, 2)
}

func TestCapabilities(t *testing.T) {
	h := newHouse(t, build{})
	var doc map[string][]string
	asJSON(t, h.do(t, "GET", "/v1/capabilities/", call{as: "-"}), &doc)
	if len(doc) != 1 || len(doc["aggregation_methods"]) != ingest.Methods {
		t.Errorf("got %v", doc)
	}
}

func TestPanic(t *testing.T) {
	var lines bytes.Buffer
	h := newHouse(t, build{})
	h.API.log = slog.New(slog.NewTextHandler(&lines, nil))
	h.router = newRouter("", []route{
		{method: "GET", path: "/early", handle: func(*request) error { panic("BUG: early") }, any: true, open: true},
		{method: "GET", path: "/late", handle: func(q *request) error { q.empty(200); panic("BUG: late") }, any: true,
			open: true},
	}, h.metrics)
	h.run(t, []step{{"early", "GET", "/early", call{header: []string{acceptJSON}}, 500, nil,
		`{"code": 500, "title": "Internal Server Error", "description": "Internal error"}`, nil}})
	if n := strings.Count(lines.String(), "panic=\"BUG: early\""); n != 1 {
		t.Errorf("logged %d times: %s", n, &lines)
	}
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("an answer that had begun was not cut off")
		}
	}()
	h.do(t, "GET", "/late", call{})
}

func TestTracing(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	h := newHouse(t, build{tracer: provider.Tracer("")})
	h.policy(t, "p", `{"granularity": 1}`)
	id := h.metric(t, "p")
	h.must(t, "POST", measures(id), someMeasures) // not sampled
	const trace = "0af7651916cd43dd8448eb211c80319c"
	h.must(t, "POST", measures(id), someMeasures.with("Traceparent: 00-"+trace+"-b7ad6b7169203331-01"))
	records := h.log.records()
	ended := spans.Ended()
	if len(ended) != 1 || ended[0].Name() != "POST /v1/metric/{id}/measures" {
		t.Fatalf("spans: %v", ended)
	}
	if want := "00-" + trace + "-" + ended[0].SpanContext().SpanID().String() + "-01"; records[0].Trace != "" ||
		records[1].Trace != want {
		t.Errorf("records carry %q and %q, want nothing and %q", records[0].Trace, records[1].Trace, want)
	}
}

func TestRequestMetrics(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	h := newHouse(t, build{meter: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("")})
	h.policy(t, "p", `{"granularity": 1}`)
	id := h.metric(t, "p")
	h.must(t, "POST", measures(id), someMeasures)
	h.do(t, "POST", batchPath, call{body: `{"` + id + `": 1}`})
	h.do(t, "POST", batchPath, call{body: `{"37aec8b7-c0d9-445b-8ab9-d3c6312dcf5c": []}`})
	h.do(t, "POST", measures(id), someMeasures.with("Authorization: basic Zm9vYmF6Og=="))
	h.do(t, "GET", "/nothing", call{})

	var got metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &got); err != nil {
		t.Fatal(err)
	}
	sums := map[string]int64{}
	requests := map[string]uint64{}
	for _, m := range got.ScopeMetrics[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				reason, _ := p.Attributes.Value("reason")
				sums[m.Name+" "+reason.AsString()] = p.Value
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				path, _ := p.Attributes.Value("http.route")
				class, _ := p.Attributes.Value("http.response.status_class")
				requests[path.AsString()+" "+class.AsString()] += p.Count
			}
		}
	}
	for name, want := range map[string]int64{
		"millrace.accepted.batches ": 1, "millrace.accepted.measures ": 2,
		"millrace.refused.batches invalid": 1, "millrace.refused.batches unknown_metric": 1,
		"millrace.refused.batches forbidden": 1,
	} {
		if sums[name] != want {
			t.Errorf("%s is %d, want %d", name, sums[name], want)
		}
	}
	for name, want := range map[string]uint64{"/v1/metric/{id}/measures 2xx": 1, "/v1/metric/{id}/measures 4xx": 1,
		batchPath + " 4xx": 2, "none 4xx": 1} {
		if requests[name] != want {
			t.Errorf("%d requests of %s, want %d", requests[name], name, want)
		}
	}
}

// The whole over a real connection: what net/http adds or refuses.
func TestOverHTTP(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "p", `{"granularity": 1}`)
	id := h.metric(t, "p")
	server := httptest.NewServer(h)
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/v1//metric/"+id+"//measures/",
		strings.NewReader(someMeasures.body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("foobar", "")
	r.Header.Set("Content-Type", "application/json")
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != 202 || answer.ContentLength != 0 || !strings.HasPrefix(answer.Header.Get("Location"),
		server.URL+"/v1/ingest/") {
		t.Errorf("%d, %d bytes, %v", answer.StatusCode, answer.ContentLength, answer.Header)
	}
}
