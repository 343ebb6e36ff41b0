package api

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"millrace/index"
	"millrace/ingest"
)

// newProtocolHouse has an archive policy for everything but what is called other.
func newProtocolHouse(t *testing.T, b build) *house {
	t.Helper()
	h := newHouse(t, b)
	h.policy(t, "low", `{"granularity": "1 hour"}`)
	for _, rule := range []string{`{"name": "m", "metric_pattern": "m*", "archive_policy_name": "low"}`,
		`{"name": "t", "metric_pattern": "[tugs]*", "archive_policy_name": "low"}`} {
		h.must(t, "POST", "/v1/archive_policy_rule", call{as: "admin", body: rule})
	}
	h.must(t, "POST", "/v1/influxdb/query?q=create+database+db", call{as: "admin"})
	return h
}

// stored returns the measures in the log as "resource/metric time value".
func (h *house) stored(t *testing.T) []string {
	t.Helper()
	names := map[ingest.MetricID]string{}
	for _, kind := range []string{"db", "prometheus", "generic"} {
		rt, err := h.index.ResourceType(t.Context(), kind)
		if err != nil {
			continue
		}
		err = h.index.Resources(t.Context(), index.Search{Type: rt}, index.Page{}, func(r *index.Resource) error {
			for _, m := range r.Metrics {
				names[m.ID] = r.Original + "/" + m.Name
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	for _, r := range h.log.records() {
		for _, e := range r.Entries {
			for _, m := range e.Measures {
				lines = append(lines, fmt.Sprint(names[e.Metric], " ", m.Time, " ", m.Value))
			}
		}
	}
	return lines
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text))
	w.Close()
	return b.String()
}

const linesPath = "/v1/influxdb/write?db=db"

func TestInfluxWrite(t *testing.T) {
	h := newProtocolHouse(t, build{})
	lines := func(body string, header ...string) call {
		return call{as: "admin", body: body, header: append([]string{"Content-Type: text/plain", acceptJSON}, header...)}
	}
	bad := func(name, body, want string) step {
		return step{name, "POST", linesPath, lines(body), 400, []string{want}, "", nil}
	}
	h.run(t, []step{
		{"a line", "POST", linesPath, lines("mymetric,host=foobar,mytag=myvalue field=123 1510581804179554816"), 204, nil,
			"", []string{"Content-Type:"}},
		{"another tag", "POST", linesPath,
			lines("mymetric,host=foobar,mytag=myvalue field=1 5\nmc,path=/foobar,mytag=myvalue field=43i 6",
				"X-Gnocchi-InfluxDB-Tag-Resource-ID: mytag"), 204, nil, "", nil},
		{"gzip", "POST", linesPath, lines(gzipped("mymetric,host=foobar,mytag=myvalue field=2 7"), "Content-Encoding: gzip"),
			204, nil, "", nil},
		{"kinds of values", "POST", linesPath, lines(`t,host=h b=true,i=100i,f=-100.000,s="four" 1678380824258983000`), 204,
			nil, "", nil},
		{"nothing", "POST", linesPath, lines("\n# no more\n"), 204, nil, "", nil},
		{"wait", "POST", linesPath, lines("", "Prefer: wait=1"), 200, []string{`"state": "applied"`}, "", nil},

		bad("quotes", `foo,host=h value="a "b" c"`,
			`"cause": "Value error", "reason": "Unable to parse line 1", "detail": "line", "error": "`),
		bad("the third line", "m,host=h v=1\n\nm,host=h v=x\n", `"reason": "Unable to parse line 3"`),
		bad("no resource", "m,host=h v=1\nm,hos=h v=1",
			"\"cause\": \"Value error\", \"reason\": \"Unable to find key `host' in tags\", \"detail\": \"key\", \"line\": 2"),
		bad("no rule", "m,host=h v=1\nother,host=h v=1", "no archive policy rule found matching the metric name other.v"),
		bad("slash in the resource", "m,host=a/b v=1", "Unable to parse line 1"),
		bad("long name", "m,host=h v=1\nm"+strings.Repeat("x", 255)+",host=h v=1",
			"Unable to take line 2: metric name is longer than 255 characters"),
		{"unknown database", "POST", "/v1/influxdb/write?db=none", lines("m,host=h v=1"), 404,
			[]string{"Resource type none does not exist"}, "", nil},
		{"no database", "POST", "/v1/influxdb/write", lines("m,host=h v=1"), 404,
			[]string{"Resource type influxdb does not exist"}, "", nil},
		{"no credentials", "POST", linesPath, call{as: "-", body: "m,host=h v=1"}, 401, nil, "", nil},
		{"a bad gzip", "POST", linesPath, lines("m,host=h v=1", "Content-Encoding: gzip"), 400, nil, "", nil},
		{"an unknown encoding", "POST", linesPath, lines("m,host=h v=1", "Content-Encoding: br"), 415, nil, "", nil},
	})
	want := []string{
		"foobar/mymetric.field@mytag=myvalue 1510581804179554816 123", "foobar/mymetric.field@mytag=myvalue 7 2",
		"h/t.b 1678380824258983000 1", "h/t.f 1678380824258983000 -100", "h/t.i 1678380824258983000 100",
		"myvalue/mc.field@path=_foobar 6 43", "myvalue/mymetric.field@host=foobar 5 1",
	}
	if diff := cmp.Diff(want, sorted(h.stored(t))); diff != "" {
		t.Errorf("stored (-want +got): %s", diff)
	}
	// What was refused has created nothing.
	if c, err := h.index.Counts(t.Context()); err != nil || c.Metrics != 6 {
		t.Errorf("%+v, %v", c, err)
	}
}

func sorted(list []string) []string {
	out := append([]string{}, list...)
	for i := range out {
		for j := i; j > 0 && out[j] < out[j-1]; j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return out
}

// Resources belong to those who wrote them first, and the types keep them apart.
func TestInfluxOwners(t *testing.T) {
	h := newProtocolHouse(t, build{})
	h.must(t, "POST", "/v1/resource/generic", call{as: "admin", body: `{"id": "conflict"}`})
	const id = "46c9418d-d63b-4cdd-be89-8f57ffc5952e"
	text := []string{"Content-Type: text/plain", acceptJSON}
	h.run(t, []step{
		{"conflict", "POST", linesPath, call{as: "admin", body: "m,host=conflict v=1", header: text}, 409,
			[]string{`"title": "Conflict"`, `"cause": "Resource already exists"`,
				`"detail": "da19a545-af76-5081-9a88-f370baab66c6"`}, "", nil},
		{"a UUID", "POST", linesPath, call{as: "jd", body: "m,host=" + id + " v=1 1", header: text}, 204, nil, "", nil},
		{"somebody else's", "POST", linesPath, call{as: "pasta", body: "m,host=" + id + " v=2 1", header: text}, 403, nil,
			"", nil},
		{"the same name is another resource", "POST", linesPath, call{as: "jd",
			body: "m,host=x v=1 1\nm,host=conflict v=1 1", header: text}, 204, nil, "", nil},
		{"and again", "POST", linesPath, call{as: "pasta", body: "m,host=x v=1 1", header: text}, 204, nil, "", nil},
	})
}

// A measure too far ahead is left out alone, and the token tells.
func TestInfluxFuture(t *testing.T) {
	h := newProtocolHouse(t, build{})
	ahead := fmt.Sprint("\nm,host=h v=2 ", time.Now().Add(time.Hour).UnixNano())
	text := []string{"Content-Type: text/plain", acceptJSON}
	w := h.do(t, "POST", linesPath, call{as: "admin", body: "m,host=h v=1 1" + ahead, header: text})
	if w.Code != 204 || w.Body.Len() != 0 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	h.run(t, []step{
		{"token", "GET", "/v1/ingest/" + w.Header().Get("Millrace-Position"), call{as: "admin"}, 200,
			[]string{`"accepted": 1, "refused": 1`}, "", nil},
		{"strict", "POST", linesPath, call{as: "admin", body: "m,host=h v=1 1" + ahead,
			header: append(text, "Prefer: handling=strict")}, 400, []string{"Unable to take line 2: timestamp "}, "", nil},
		{"nothing but that", "POST", linesPath, call{as: "admin", body: ahead, header: text}, 400,
			[]string{"Unable to take line 2"}, "", nil},
		{"lenient", "POST", linesPath, call{as: "admin", body: "m,host=h v=1 1\nother,host=h v=1 1" + ahead,
			header: append(text, "Prefer: handling=lenient")}, 202,
			[]string{`"accepted": 1, "refused": 2`, `{"metric": "h/other.v", "reason": "No archive policy`,
				`{"metric": "h/m.v", "measure": 0, "field": "timestamp"`}, "", nil},
	})
}

// Bodies come in chunks, as clients that don't know the length send them.
func TestInfluxChunked(t *testing.T) {
	h := newProtocolHouse(t, build{})
	server := httptest.NewServer(h)
	defer server.Close()
	r, _ := http.NewRequest("POST", server.URL+linesPath,
		struct{ *strings.Reader }{strings.NewReader("m,host=h v=1 1\nm,host=h v=2 2")})
	r.ContentLength = -1
	r.SetBasicAuth("admin", "")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 204 || len(h.stored(t)) != 2 {
		t.Errorf("%d, %q", answer.StatusCode, h.stored(t))
	}
}

func TestInfluxQuery(t *testing.T) {
	h := newHouse(t, build{})
	const path = "/v1/influxdb/query"
	form := call{as: "admin", body: "q=CREATE+DATABASE+%22te%5C%22le+graf%22%3B&db=x",
		header: []string{"Content-Type: application/x-www-form-urlencoded"}}
	h.run(t, []step{
		{"create", "POST", path + "?q=create+database+influxdbtest", call{as: "admin"}, 204, nil, "", nil},
		{"again", "POST", path + "?q=CREATE%20DATABASE%20influxdbtest%20WITH%20DURATION%201d", call{as: "admin"}, 204, nil,
			"", nil},
		{"form, quoted", "POST", path, form, 204, nil, "", nil},
		{"not by anybody", "POST", path + "?q=create+database+another", call{}, 403, nil, "", nil},
		{"what is there, by anybody", "POST", path + "?q=create+database+influxdbtest", call{}, 204, nil, "", nil},
		{"nothing", "POST", path, call{}, 204, nil, "", nil},
		{"select", "POST", path + "?q=select+metrics+plz", call{header: []string{acceptJSON}}, 501,
			nil, `{"code": 501, "title": "Not Implemented", "description": {"cause": "Not implemented error", "reason": ` +
				`"Query not implemented", "detail": "q"}}`, nil},
		{"no name", "POST", path + "?q=create+database+1x", call{as: "admin"}, 501, nil, "", nil},
		{"long name", "POST", path + "?q=create+database+" + strings.Repeat("x", 256), call{as: "admin"}, 400, nil, "", nil},
		{"type", "GET", "/v1/resource_type/influxdbtest", call{}, 200,
			[]string{`"name": "influxdbtest"`, `"attributes": {}`}, "", nil},
		{"type", "GET", "/v1/resource_type/te%22le%20graf", call{}, 200, nil, "", nil},
	})
}

// remoteWrite makes a request of series "label=value,…" with one sample each.
func remoteWrite(samples ...any) string {
	field := func(dst []byte, n protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(dst, n, protowire.BytesType), value)
	}
	var body []byte
	for i := 0; i < len(samples); i += 3 {
		var series []byte
		for pair := range strings.SplitSeq(samples[i].(string), ",") {
			name, value, _ := strings.Cut(pair, "=")
			series = field(series, 1, field(field(nil, 1, []byte(name)), 2, []byte(value)))
		}
		sample := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type),
			math.Float64bits(samples[i+2].(float64)))
		sample = protowire.AppendVarint(protowire.AppendTag(sample, 2, protowire.VarintType), uint64(samples[i+1].(int64)))
		body = field(body, 1, field(series, 2, sample))
	}
	return string(snappy.Encode(nil, body))
}

func TestPrometheusWrite(t *testing.T) {
	h := newProtocolHouse(t, build{})
	const path = "/v1/prometheus/write"
	post := func(body string, header ...string) call {
		return call{as: "admin", body: body, header: append([]string{"Content-Type: application/x-protobuf",
			"Content-Encoding: snappy", acceptJSON}, header...)}
	}
	ahead := time.Now().Add(365 * 24 * time.Hour).UnixMilli()
	good := remoteWrite("__name__=up,instance=h:1,job=j", int64(1), 1.0)
	h.run(t, []step{
		{"who may not create the type", "POST", path, call{body: good, header: []string{acceptJSON}}, 403, nil, "", nil},
		{"good", "POST", path, post(good), 202, nil, "", []string{"Content-Length: 0"}},
		{"anybody, once it is there", "POST", path, call{body: good}, 202, nil, "", nil},
		{"nothing", "POST", path, post(remoteWrite()), 202, nil, "", nil},
		{"slashes", "POST", path, post(remoteWrite("__name__=up,instance=http://h/x,job=a/b", int64(2), 2.0)), 202, nil, "",
			nil},
		{"a label twice", "POST", path, post(remoteWrite("__name__=up,zone=a,zone=b", int64(1), 1.0)), 400,
			[]string{`"cause": "Value error"`, `label \"zone\" is there twice`}, "", nil},
		{"no name", "POST", path, post(remoteWrite("job=a", int64(1), 1.0)), 400,
			[]string{"series 0: there is no label __name__"}, "", nil},
		{"no rule", "POST", path, post(remoteWrite("__name__=other", int64(1), 1.0)), 400,
			[]string{"no archive policy rule found matching the metric name other"}, "", nil},
		{"no Snappy", "POST", path, post("\xff\xff\xff\xff\xff\xff"), 400, []string{"Snappy"}, "", nil},
		{"no message", "POST", path, post(string(snappy.Encode(nil, []byte("\xff")))), 400, []string{"not a WriteRequest"},
			"", nil},
		{"version 2", "POST", path, post(good, "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request"),
			415, []string{"remote write 1.0"}, "", nil},
		{"version 1, by name", "POST", path,
			post(good, "Content-Type: application/x-protobuf;proto=prometheus.WriteRequest"), 202, nil, "", nil},
		{"one a year ahead", "POST", path, post(remoteWrite("__name__=up,instance=h:1,job=j", int64(5), 5.0,
			"__name__=t,instance=h:1,job=j", ahead, 5.0)), 202,
			[]string{`"accepted": 1, "refused": 1`,
				`{"metric": "j@h:1/t", "measure": 0, "field": "timestamp", "reason": "timestamp `}, "", nil},
		{"strictly", "POST", path, post(remoteWrite("__name__=up,instance=h:1,job=j", int64(5), 5.0,
			"__name__=t,instance=h:1,job=j", ahead, 5.0), "Prefer: handling=strict"), 400, []string{"j@h:1/t: timestamp "}, "",
			nil},
	})
	want := []string{
		"a_b@http:__h_x/up 2000000 2", "j@h:1/up 1000000 1", "j@h:1/up 1000000 1", "j@h:1/up 1000000 1",
		"j@h:1/up 5000000 5",
	}
	if diff := cmp.Diff(want, sorted(h.stored(t))); diff != "" {
		t.Errorf("stored (-want +got): %s", diff)
	}
	h.run(t, []step{{"resource", "GET", "/v1/resource/prometheus/j@h:1", call{as: "admin"}, 200,
		[]string{`"job": "j"`, `"instance": "h:1"`, `"type": "prometheus"`}, "", nil}})

	h = newProtocolHouse(t, build{config: Config{MaxBody: 1 << 20}})
	h.run(t, []step{{"a bomb", "POST", path, post(string(snappy.Encode(nil, make([]byte, 2<<20)))), 413, nil, "", nil}})
}

// A real Prometheus' request, from Gnocchi's functional tests.
func TestPrometheusFixture(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "shared", "conformance", "gabbits", "prometheus_fixtures",
		"031b586e-ebe1-4737-812e-cf0ddf26f5ad.dump"))
	if err != nil {
		t.Skip("there is no fixture: ", err)
	}
	h := newHouse(t, build{})
	h.policy(t, "space", `{"granularity": "1 second"}`)
	h.must(t, "POST", "/v1/archive_policy_rule", call{as: "admin",
		body: `{"name": "a", "metric_pattern": "*", "archive_policy_name": "space"}`})
	h.must(t, "POST", "/v1/prometheus/write", call{as: "admin", body: string(data),
		header: []string{"Content-Type: application/x-protobuf", "Content-Encoding: snappy"}})
	stored := h.stored(t)
	if len(stored) != 56 || !strings.Contains(strings.Join(stored, "\n"),
		"prometheus@localhost:9090/scrape_samples_scraped 1506146578") {
		t.Errorf("%d: %q", len(stored), stored)
	}
}
