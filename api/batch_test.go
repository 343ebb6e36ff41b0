package api

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

const batchPath = "/v1/batch/metrics/measures"

func TestPostBatch(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "simple", `{"granularity": "1 second"}`)
	a, b := h.metric(t, "simple"), h.metric(t, "simple")
	theirs := h.must(t, "POST", "/v1/metric", call{as: "foobaz",
		body: `{"archive_policy_name": "simple"}`})["id"].(string)
	const no1, no2 = "37aec8b7-c0d9-445b-8ab9-d3c6312dcf5c", "37aec8b7-c0d9-445b-8ab9-d3c6312dcf5d"
	one := `[{"timestamp": "2015-03-06T14:33:57", "value": 43.1}]`
	post := func(body string, header ...string) call { return call{body: body, header: header} }
	invalid := func(name, body, reason, detail string) step {
		return step{name, "POST", batchPath, post(body, acceptJSON), 400, nil,
			`{"code": 400, "title": "Bad Request", "description": {"cause": "Invalid input", "reason": "` + reason +
				`", "detail": ` + detail + `}}`, nil}
	}
	h.run(t, []step{
		{"no credentials", "POST", batchPath, call{as: "-", body: "{}"}, 401, nil, "", nil},
		{"not acceptable", "POST", batchPath, post("{}", "Accept: text/plain"), 406, nil, "", nil},
		{"method", "GET", batchPath, call{}, 405, nil, "", []string{"Allow: POST"}},
		{"content type", "POST", batchPath, post("{}", "Content-Type: text/plain"), 415, nil, "", nil},
		{"nothing", "POST", batchPath, post("{}"), 202, nil, "", []string{"Content-Length: 0"}},
		{"no JSON", "POST", batchPath, post("{", acceptJSON), 400, []string{"Unable to decode body"}, "", nil},
		{"unknown", "POST", batchPath, post(`{"` + strings.ToUpper(no2) + `": ` + one + `, "` + a + `": ` + one + `, "` +
			no1 + `": ` + one + `, "` + no1 + `": []}`), 400, []string{"Unknown metrics: " + no1 + ", " + no2 + "  "}, "", nil},
		{"somebody else's", "POST", batchPath, post(`{"` + a + `": ` + one + `, "` + theirs + `": ` + one + `}`), 403, nil,
			"", nil},
		{"unknown comes before permission", "POST", batchPath, post(`{"` + theirs + `": [], "` + no1 + `": []}`), 400, nil,
			"", nil},
		invalid("a list", "[]", "expected a dictionary", "[]"),
		invalid("no UUID", `{"`+a+`": `+one+`, "foobar": []}`, "not a valid value @ data['foobar']", `["foobar"]`),
		invalid("bad value", `{"`+a+`": `+one+`, "`+b+`": [{"timestamp": 1, "value": 1}, {"timestamp": 2, "value": "x"}]}`,
			"unexpected measures value @ data['"+b+"'][1]['value']", `["`+b+`", "1", "value"]`),
		invalid("lists for measures", `{"`+a+`": [["2015-03-06T14:33:57", 43.1]]}`, "unexpected measures format @ data['"+a+
			"'][0]", `["`+a+`", "0"]`),
		{"from the future, strictly", "POST", batchPath, post(`{"`+a+`": `+one+`, "`+b+
			`": [{"timestamp": "+2 days", "value": 1}]}`, acceptJSON, "Prefer: handling=strict"), 400,
			[]string{"in the future @ data['" + b + "'][0]['timestamp']", `"detail": ["` + b + `", "0", "timestamp"]`}, "",
			nil},
		{"from the future alone", "POST", batchPath, post(`{"`+b+`": [{"timestamp": "+1 hour", "value": 1}]}`, acceptJSON),
			400,
			[]string{"in the future @ data['" + b + "'][0]['timestamp']"}, "", nil},
		{"from the future beside others", "POST", batchPath, post(`{"` + a +
			`": [{"timestamp": "-5 minutes", "value": 1}, {"timestamp": "+2 days", "value": 1}], "` + b +
			`": [{"timestamp": "+2 days", "value": 1}]}`), 202,
			[]string{`"accepted": 1, "refused": 2`, `{"metric": "` + a +
				`", "measure": 1, "field": "timestamp", "reason": "timestamp `, `{"metric": "` + b + `", "measure": 0, "field"`},
			"", nil},
		{"two", "POST", batchPath, post(`{"` + a + `": ` + one + `, "` + strings.ToUpper(b) + `": ` + one + `}`), 202, nil,
			"", []string{"Content-Length: 0"}},
		{"one without measures", "POST", batchPath, post(`{"` + a + `": [], "` + b + `": ` + one + `}`), 202, nil, "", nil},
		{"admin", "POST", batchPath, call{as: "admin", body: `{"` + theirs + `": ` + one + `}`}, 202, nil, "", nil},
	})
	count := map[string]int{}
	for _, r := range h.log.records() {
		for _, e := range r.Entries {
			if e.Policy != "simple" || len(e.Measures) != 1 {
				t.Errorf("the log has %+v", e)
			}
			count[r.Project+" "+e.Metric.String()]++
		}
	}
	if diff := cmp.Diff(map[string]int{"foobar " + a: 2, "foobar " + b: 2, "admin " + theirs: 1}, count); diff != "" {
		t.Errorf("the log (-want +got): %s", diff)
	}
}

func TestRefusals(t *testing.T) {
	h := newHouse(t, build{accept: ingest.AcceptConfig{ProjectQuota: 1}})
	h.policy(t, "p", `{"granularity": 1}`)
	body := `{"` + h.metric(t, "p") + `": [` + strings.TrimSuffix(strings.Repeat(`{"timestamp": 1, "value": 1},`, 10),
		",") + `]}`
	post := func(header ...string) call { return call{body: body, header: append(header, acceptJSON)} }
	h.log.setFail(errors.New("I/O error"))
	h.run(t, []step{
		{"log that fails", "POST", batchPath, post(), 503, []string{`"title": "Service Unavailable"`, "It is safe to retry"},
			"", nil},
	})
	if w := h.do(t, "POST", batchPath, post()); w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}

	h = newHouse(t, build{accept: ingest.AcceptConfig{ProjectQuota: 1}})
	h.policy(t, "p", `{"granularity": 1}`)
	body = `{"` + h.metric(t, "p") + `": [` + strings.TrimSuffix(strings.Repeat(`{"timestamp": 1, "value": 1},`, 10),
		",") + `]}`
	h.run(t, []step{
		{"within the quota", "POST", batchPath, post(), 202, nil, "", nil},
		{"beyond", "POST", batchPath, post(), 429,
			[]string{`"title": "Too Many Requests", "description": "Measures are refused: quota of 1 measures per second is ` +
				`used up"`}, "", []string{"Retry-After: 10"}},
		{"beyond, as a problem", "POST", batchPath, call{body: body,
			header: []string{"Accept: application/json, application/problem+json"}}, 429, nil,
			`{"type": "https://iana.org/assignments/http-problem-types#quota-exceeded", "title": "Too Many Requests", ` +
				`"status": 429, "detail": "Measures are refused: quota of 1 measures per second is used up"}`,
			[]string{"Content-Type: application/problem+json"}},
	})
}

func TestOverload(t *testing.T) {
	h := newHouse(t, build{accept: ingest.AcceptConfig{MaxAge: time.Nanosecond, RetryAfter: 1500 * time.Millisecond}})
	h.policy(t, "p", `{"granularity": 1}`)
	id := h.metric(t, "p")
	h.work(t, ingest.WorkerConfig{FlushInterval: time.Hour})
	body := call{body: `{"` + id + `": [{"timestamp": 1, "value": 1}]}`}
	h.must(t, "POST", batchPath, body)
	for h.progress.Age() < time.Millisecond { // until the worker has met the record
		time.Sleep(100 * time.Microsecond)
	}
	h.run(t, []step{{"too old", "POST", batchPath, body, 503, []string{"503 Service Unavailable",
		"Measures are refused: the oldest measure of sack"}, "", []string{"Retry-After: 2"}}})
}

func TestLenient(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "p", `{"granularity": 1}`)
	a := h.metric(t, "p")
	theirs := h.must(t, "POST", "/v1/metric", call{as: "foobaz", body: `{"archive_policy_name": "p"}`})["id"].(string)
	const no = "37aec8b7-c0d9-445b-8ab9-d3c6312dcf5c"
	body := `{"` + a + `": [{"timestamp": 1, "value": 1}, {"timestamp": 2, "value": "x"}, {"timestamp": 9000000000, "value": 2}, {"timestamp": 3, "value": 3}],
		"foobar": [{"timestamp": 1, "value": 1}], "` + no + `": [{"timestamp": 1, "value": 1}, {"timestamp": 2, "value": 1}], "` + theirs + `": [{"timestamp": 1, "value": 1}]}`
	w := h.do(t, "POST", batchPath, call{body: body, header: []string{"Prefer: handling=lenient"}})
	if w.Code != 202 || w.Header().Get("Preference-Applied") != "handling=lenient" || w.Header().Get("Location") == "" {
		t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	var doc ingestDoc
	asJSON(t, w, &doc)
	n := func(i int) *int { return &i }
	want := ingestDoc{
		State: "queued", Accepted: 2, Refused: 6,
		Rejects: []reject{
			{Metric: a, Measure: n(1), Field: "value", Reason: "unexpected measures value"},
			{Metric: "foobar", Reason: "not a valid value"},
			{Metric: no, Reason: "Metric " + no + " does not exist"},
			{Metric: theirs, Reason: "Access was denied to this metric"},
			{Metric: a, Measure: n(2), Field: "timestamp",
				Reason: "timestamp 2255-03-14T16:00:00Z is more than 30m0s in the future"},
		},
		Lag: lagDoc{Records: 1, Bytes: 10},
	}
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
	if r := h.log.records(); len(r) != 1 || len(r[0].Entries) != 1 || len(r[0].Entries[0].Measures) != 2 {
		t.Errorf("the log has %+v", r)
	}
	h.run(t, []step{
		{"one metric", "POST", "/v1/metric/" + a + "/measures", call{body: `[{"timestamp": 1, "value": 1}, []]`,
			header: []string{"Prefer: handling=lenient"}}, 202,
			[]string{`"accepted": 1, "refused": 1, "rejected": 0, "rejects": [{"measure": 1, "reason": "unexpected measures ` +
				`format"}]`}, "", nil},
		{"nothing wrong", "POST", "/v1/metric/" + a + "/measures",
			call{body: `[{"timestamp": 1, "value": 1}]`, header: []string{"Prefer: handling=lenient"}}, 202,
			[]string{`"rejects": []`}, "", nil},
		{"no JSON is no JSON", "POST", batchPath, call{body: "{", header: []string{"Prefer: handling=lenient"}}, 400, nil,
			"", []string{"Preference-Applied:"}},
		{"a list is not a batch", "POST", batchPath, call{body: "[]", header: []string{"Prefer: handling=lenient"}}, 400,
			nil, "", nil},
		{"strict", "POST", batchPath, call{body: body, header: []string{"Prefer: handling=strict"}}, 400, nil, "", nil},
	})
}

// gophercloud, which decodes what a 202 says, finds something to decode; all others who
// ask for nothing get nothing.
func TestBodyOfGophercloud(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "p", `{"granularity": 1}`)
	id := h.metric(t, "p")
	const list = `[{"timestamp": 1, "value": 1}]`
	for path, body := range map[string]string{measures(id): list, batchPath: `{"` + id + `": ` + list + `}`} {
		for accept, want := range map[string]string{"application/json, */*": `"state": "queued"`, "application/json": "",
			"*/*": "", "application/json, text/plain, */*": ""} {
			w := h.do(t, "POST", path, call{body: body, header: []string{"Accept: " + accept}})
			if got := w.Body.String(); w.Code != 202 || !strings.Contains(got, want) || (want == "") != (got == "") {
				t.Errorf("%s, for %s: %d %q", path, accept, w.Code, got)
			}
		}
	}
}

// Measures are numbered as they stand in the body, whoever finds fault with them.
func TestLenientNumbers(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "p", `{"granularity": 1}`)
	const bad, late, good = `[]`, `{"timestamp": 9000000000, "value": 1}`, `{"timestamp": 1, "value": 1}`
	body := "[" + strings.Join([]string{late, bad, bad, good, late, bad, late, late, bad}, ",") + "]"
	var doc ingestDoc
	asJSON(t, h.do(t, "POST", measures(h.metric(t, "p")), call{body: body, header: []string{"Prefer: handling=lenient"}}),
		&doc)
	var unread, early []int
	for _, r := range doc.Rejects {
		if r.Field == "timestamp" {
			early = append(early, *r.Measure)
		} else {
			unread = append(unread, *r.Measure)
		}
	}
	if diff := cmp.Diff([][]int{{1, 2, 5, 8}, {0, 4, 6, 7}}, [][]int{unread, early}); diff != "" || doc.Accepted != 1 ||
		doc.Refused != 8 {
		t.Errorf("%+v: %s", doc, diff)
	}
}

// However much is wrong, an answer has an end.
func TestAnswersAreBounded(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "p", `{"granularity": 1}`)
	var body strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&body, `%c"%s": []`, "{,"[min(i, 1)], ingest.NewMetricID())
	}
	body.WriteString("}")
	h.run(t, []step{{"unknown", "POST", batchPath, call{body: body.String()}, 400, []string{" and 2000 more"}, "", nil}})
	var doc ingestDoc
	asJSON(t, h.do(t, "POST", measures(h.metric(t, "p")), call{body: "[" + strings.Repeat("0,", 3000) +
		`{"timestamp": 1, "value": 1}]`, header: []string{"Prefer: handling=lenient"}}), &doc)
	if len(doc.Rejects) != maxRejects || doc.Refused != 3000 || doc.Accepted != 1 {
		t.Errorf("%d rejects listed of %d", len(doc.Rejects), doc.Refused)
	}
}

// An index that does not answer is no reason to throw measures away.
func TestIndexThatIsClosed(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "p", `{"granularity": 1}`)
	h.index.Close()
	h.run(t, []step{{"closed", "POST", batchPath, call{body: `{"37aec8b7-c0d9-445b-8ab9-d3c6312dcf5c": []}`}, 503, nil,
		"", nil}})
}

func TestBodies(t *testing.T) {
	h := newHouse(t, build{config: Config{MaxBody: 2000}})
	h.policy(t, "p", `{"granularity": 1}`)
	id := h.metric(t, "p")
	zip := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(text))
		z.Close()
		return b.String()
	}
	good := `{"` + id + `": [{"timestamp": 1, "value": 1}]}`
	post := func(body string, header ...string) call { return call{body: body, header: append(header, acceptJSON)} }
	h.run(t, []step{
		{"gzip", "POST", batchPath, post(zip(good), "Content-Encoding: gzip"), 202, nil, "", nil},
		{"identity", "POST", batchPath, post(good, "Content-Encoding: identity"), 202, nil, "", nil},
		{"unknown encoding", "POST", batchPath, post(good, "Content-Encoding: br"), 415, nil, "", nil},
		{"no gzip", "POST", batchPath, post(good, "Content-Encoding: gzip"), 400, []string{"Unable to read the body"}, "",
			nil},
		{"cut gzip", "POST", batchPath, post(zip(good)[:40], "Content-Encoding: gzip"), 400,
			[]string{"Unable to read the body"}, "", nil},
		{"large", "POST", batchPath, post(good + strings.Repeat(" ", 2000)), 413,
			[]string{`"title": "Request Entity Too Large", "description": "The body is larger than 2000 bytes"`}, "", nil},
		{"as large as may be", "POST", batchPath, post(good + strings.Repeat(" ", 2000-len(good))), 202, nil, "", nil},
		{"small and large", "POST", batchPath, post(zip(good+strings.Repeat(" ", 100_000)), "Content-Encoding: gzip"), 413,
			nil, "", nil},
	})
	if held := h.bodies.Load(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

// Bodies of unknown length and of several sizes arrive whole.
func TestBodyGrows(t *testing.T) {
	h := newHouse(t, build{config: Config{MaxBody: 1 << 20}})
	for _, n := range []int{0, 1, 511, firstBytes - 1, firstBytes, firstBytes + 1, 300_000, 1 << 20} {
		for _, length := range []int64{int64(n), -1} {
			text := strings.Repeat("x", n)
			r, _ := http.NewRequest("POST", "/", strings.NewReader(text))
			r.ContentLength = length
			q := &request{API: h.API, r: r, ctx: t.Context()}
			b, err := q.readBody(h.config.MaxBody)
			if err != nil || string(b.data) != text {
				t.Fatalf("%d bytes, announced %d: got %d, %v", n, length, len(b.data), err)
			}
			if h.bodies.Load() < int64(n) {
				t.Errorf("%d bytes are held of %d", h.bodies.Load(), n)
			}
			b.release()
			q.cancel()
		}
	}
}

func TestTooManyBodies(t *testing.T) {
	h := newHouse(t, build{config: Config{MaxBody: 1000, MaxBodies: 1000}})
	h.policy(t, "p", `{"granularity": 1}`)
	id := h.metric(t, "p")
	body := call{body: `{"` + id + `": []}`}
	h.bodies.Add(1000) // somebody else's
	h.run(t, []step{{"too many", "POST", batchPath, body, 503, []string{"Too much is being received"}, "", nil}})
	if w := h.do(t, "POST", batchPath, body); w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	h.bodies.Add(-1000)
	h.run(t, []step{{"alone", "POST", batchPath, body, 202, nil, "", nil}})
}
