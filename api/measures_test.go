package api

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/ingest"
)

// at returns a time of 2015-03-06 as Unix seconds.
func at(clock string) int64 {
	t, err := time.Parse(time.DateTime, "2015-03-06 "+clock)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return t.Unix()
}

func TestPostMeasures(t *testing.T) {
	h := newHouse(t, build{})
	h.policy(t, "cookies", `{"granularity": "1 second"}`)
	id := h.metric(t, "cookies")
	path := "/v1/metric/" + id + "/measures"
	post := func(body string, header ...string) call { return call{body: body, header: header} }
	invalid := func(name, body, description string) step {
		return step{name, "POST", path, post(body, acceptJSON), 400, nil,
			`{"code": 400, "title": "Bad Request", "description": ` + description + `}`, nil}
	}
	good := `[{"timestamp": "2015-03-06T14:33:57", "value": 43.1}]`
	h.run(t, []step{
		{"no credentials", "POST", path, call{as: "-", body: good}, 401, nil, "", nil},
		{"not acceptable", "POST", path, call{as: "-", body: good, header: []string{"Accept: text/html"}}, 406, nil, "",
			nil},
		{"somebody else, before content type and body", "POST", path,
			call{as: "foobaz", body: "x", header: []string{"Content-Type: text/plain"}}, 403, nil, "", nil},
		{"wrong content type", "POST", path, post(good, "Content-Type: plain/text"), 415, nil, "", nil},
		{"no content type", "POST", path, post(""), 415, nil, "", nil},
		{"method", "DELETE", path, post(""), 405, nil, "", []string{"Allow: GET, POST"}},
		invalid("no body", " ", `{"cause": "Unable to decode body", "reason": "Expected object or value", "detail": []}`),
		invalid("a number", "1", `{"cause": "Invalid input", "reason": "unexpected measures format", "detail": []}`),
		invalid("before the epoch", `[{"timestamp": 1, "value": 1}, {"timestamp": -1, "value": 43.1}]`,
			`{"cause": "Invalid input", "reason": "unexpected timestamp 'Timestamp must be after Epoch'", "detail": [], `+
				`"measure": 1, "field": "timestamp"}`),
		invalid("no date", `[{"timestamp": "1915-100-06T14:33:57", "value": 43.1}]`,
			`{"cause": "Invalid input", "reason": "unexpected timestamp 'Unable to convert timestamps'", "detail": [], `+
				`"measure": 0, "field": "timestamp"}`),
		invalid("mixed dates", `[{"timestamp": 1478012832, "value": 43.1}, {"timestamp": "-5 minutes", "value": 43.1}]`,
			`{"cause": "Invalid input", "reason": "unexpected timestamp 'Unable to convert timestamps'", "detail": [], `+
				`"measure": 1, "field": "timestamp"}`),
		invalid("lists for measures", `[["2015-03-06T14:33:57", 43.1], ["2015-03-06T14:34:12", 12]]`,
			`{"cause": "Invalid input", "reason": "unexpected measures format", "detail": [], "measure": 0}`),
		invalid("no number",
			`[{"timestamp": "2015-03-06T14:33:57", "value": 12}, {"timestamp": "2015-03-06T14:34:12", "value": "foobar"}]`,
			`{"cause": "Invalid input", "reason": "unexpected measures value", "detail": [], "measure": 1, "field": "value"}`),
		{"from the future", "POST", path,
			post(`[{"timestamp": "2015-01-01", "value": 1}, {"timestamp": "2200-01-01", "value": 1}]`, acceptJSON,
				"Prefer: handling=strict"), 400,
			[]string{`"cause": "Invalid input", "reason": "timestamp 2200-01-01T00:00:00Z `,
				`is more than 30m0s in the future", "detail": [], "measure": 1, "field": "timestamp"}`}, "", nil},
		{"no JSON", "POST", path, post(`[{`, acceptJSON), 400, []string{`"cause": "Unable to decode body"`}, "", nil},

		{"nothing", "POST", path, post("[]"), 202, nil, "", []string{"Content-Length: 0"}},
		{"some", "POST", path, post(good, "Accept: application/json"), 202, nil, "",
			[]string{"Content-Length: 0", "Content-Type:"}},
		{"relative", "POST", path, post(`[{"timestamp": "-5 minutes", "value": "43.1"}]`), 202, nil, "", nil},
		{"admin", "POST", path, call{as: "admin", body: good}, 202, nil, "", nil},
	})
	records := h.log.records()
	if len(records) != 3 {
		t.Fatalf("log has %+v", records)
	}
	r := records[0]
	if r.Project != "foobar" || len(r.Entries) != 1 || r.Entries[0].Policy != "cookies" ||
		r.Entries[0].Metric.String() != id ||
		len(r.Entries[0].Measures) != 1 || r.Entries[0].Measures[0] != (ingest.Measure{Time: at("14:33:57") * 1e9,
		Value: 43.1}) {
		t.Errorf("log has %+v", r)
	}
}

func TestGetMeasures(t *testing.T) {
	h := newHouse(t, build{})
	h.work(t, ingest.WorkerConfig{FlushInterval: time.Hour}) // only a nudge flushes
	h.policy(t, "cookies", `{"granularity": "1 second"}`)
	id := h.metric(t, "cookies")
	path := "/v1/metric/" + id + "/measures"
	at1, at2 := `["2015-03-06T14:33:57+00:00", 1.0, 43.1]`, `["2015-03-06T14:34:12+00:00", 1.0, 12.0]`
	get := func(name, query, want string) step {
		return step{name, "GET", path + query, call{}, 200, nil, want,
			[]string{"Content-Type: application/json", "Content-Length: " + strconv.Itoa(len(want))}}
	}
	bad := func(query string, status int, want string) step {
		return step{"bad", "GET", path + query, call{header: []string{acceptJSON}}, status, []string{want}, "", nil}
	}
	argument := func(query, name, reason string) step {
		return bad(query, 400, fmt.Sprintf(`{"cause": "Argument value error", "reason": "%s", "detail": "%s"}`, reason,
			name))
	}
	post := func(body string) step { return step{"post", "POST", path, call{body: body}, 202, nil, "", nil} }
	h.run(t, []step{
		get("nothing yet", "", "[]"),
		post(`[{"timestamp": 1425652437.0, "value": 43.1}]`),
		post(`[{"timestamp": "2015-03-06T14:34:12", "value": 12}]`),
		get("all", "?refresh=true", "["+at1+", "+at2+"]"),
		get("from a start", "?start=2015-03-06T14:34", "["+at2+"]"),
		get("from a start within a bucket", "?start=2015-03-06T14:34:12.9&refresh=False", "["+at2+"]"),
		get("from an epoch", "?start=1425652440", "["+at2+"]"),
		get("to a stop, which is exclusive", "?stop=2015-03-06T14:34:12", "["+at1+"]"),
		get("to a stop within a bucket", "?stop=2015-03-06T14:34:12.1", "["+at1+", "+at2+"]"),
		get("to now", "?stop=now&end=ignored", "["+at1+", "+at2+"]"),
		get("offset", "?start=2015-03-06T15:34%2B01:00", "["+at2+"]"),
		get("method", "?aggregation=max&start=1425652440", "["+at2+"]"),
		get("granularity", "?granularity=1&resample=", "["+at1+", "+at2+"]"),

		bad("?aggregation=wtf", 404,
			`{"cause": "Aggregation method does not exist for this metric", "detail": {"aggregation_method": "wtf", "metric": "`+
				id+`"}}`),
		bad("?aggregation=last", 404, "Aggregation method does not exist for this metric"),
		bad("?granularity=42", 404, `"description": "Aggregation method 'mean' at granularity '42.0' for metric `+id+
			` does not exist"`),
		argument("?granularity=foobar", "granularity", "Unable to parse timespan"),
		argument("?granularity=", "granularity", "Unable to parse timespan"),
		argument("?start=foobar", "start", "Must be a datetime or a timestamp"),
		argument("?stop=", "stop", "Must be a datetime or a timestamp"),
		argument("?start=1&start=2", "start", "given more than once"),
		bad("?resample=60", 400, `"description": "A granularity must be specified to resample"`),
		bad("?resample=abc&granularity=1", 400, `"description": "Unable to parse timespan"`),
		bad("?refresh=maybe", 400,
			"Unable to parse `refresh': Unrecognized value 'maybe', acceptable values are: '0', '1', 'f', 'false', 'n', "+
				"'no', 'off', 'on', 't', 'true', 'y', 'yes'"),
		// The order of the checks.
		{"permission", "GET", path + "?resample=abc", call{as: "foobaz"}, 403, nil, "", nil},
		bad("?resample=60&start=x", 400, "A granularity must be specified to resample"),
		bad("?resample=abc&granularity=x&start=x", 400, `"description": "Unable to parse timespan"`),
		bad("?start=x&stop=y&granularity=z", 400, `"detail": "start"`),
		bad("?stop=y&granularity=z&aggregation=wtf", 400, `"detail": "stop"`),
		bad("?granularity=z&aggregation=wtf", 400, `"detail": "granularity"`),
		bad("?granularity=42&aggregation=wtf", 404, "Aggregation method does not exist"),
		bad("?granularity=42&refresh=maybe", 404, "at granularity '42.0'"),

		post(`[{"timestamp": "2015-03-06T14:34:15", "value": 16}, {"timestamp": "2015-03-06T14:35:12", "value": 9}, ` +
			`{"timestamp": "2015-03-06T14:35:15", "value": 11}]`),
		get("resample", "?refresh=true&resample=60&granularity=1",
			`[["2015-03-06T14:33:00+00:00", 60.0, 43.1], ["2015-03-06T14:34:00+00:00", 60.0, 14.0], `+
				`["2015-03-06T14:35:00+00:00", 60.0, 10.0]]`),
		get("the bucket of start is whole", "?resample=60&granularity=1&start=2015-03-06T14:34:15",
			`[["2015-03-06T14:34:00+00:00", 60.0, 14.0], ["2015-03-06T14:35:00+00:00", 60.0, 10.0]]`),
		get("the last bucket before stop is whole", "?resample=60&granularity=1&stop=2015-03-06T14:34:13",
			`[["2015-03-06T14:33:00+00:00", 60.0, 43.1], ["2015-03-06T14:34:00+00:00", 60.0, 14.0]]`),
		get("stop at a bucket", "?resample=60&granularity=1&stop=2015-03-06T14:34",
			`[["2015-03-06T14:33:00+00:00", 60.0, 43.1]]`),
		get("by count", "?resample=60&granularity=1&aggregation=count&start=2015-03-06T14:34",
			`[["2015-03-06T14:34:00+00:00", 60.0, 2.0], ["2015-03-06T14:35:00+00:00", 60.0, 2.0]]`),
		get("by month", "?resample=M&granularity=1&aggregation=sum", `[["2015-03-01T00:00:00+00:00", "M", 91.1]]`),
		get("by week, from Sunday", "?resample=W&granularity=1&aggregation=max&start=2015-03-06T14:40&stop=2015-03-06T14:41",
			`[["2015-03-01T00:00:00+00:00", "W", 43.1]]`),
		get("odd resampling", "?resample=0.5&granularity=1&start=2015-03-06T14:35:15",
			`[["2015-03-06T14:35:15+00:00", 0.5, 11.0]]`),
	})
}

func TestGetMeasuresOfEveryGranularity(t *testing.T) {
	h := newHouse(t, build{})
	h.work(t, ingest.WorkerConfig{})
	h.policy(t, "p", `{"granularity": "1 minute"}, {"granularity": "1 hour"}, {"granularity": 30, "points": 1}`)
	id := h.metric(t, "p")
	path := "/v1/metric/" + id + "/measures"
	h.run(t, []step{
		{"post", "POST", path,
			call{body: `[{"timestamp": "2015-03-06T14:33:57", "value": 1}, {"timestamp": "2015-03-06T14:34:12", "value": 3}]`},
			202, nil, "", nil},
		{"coarsest first", "GET", path + "?refresh=1", call{}, 200, nil,
			`[["2015-03-06T14:00:00+00:00", 3600.0, 2.0], ["2015-03-06T14:33:00+00:00", 60.0, 1.0], ` +
				`["2015-03-06T14:34:00+00:00", 60.0, 3.0], ["2015-03-06T14:34:00+00:00", 30.0, 3.0]]`, nil},
		{"start rounds down for each", "GET", path + "?start=2015-03-06T14:34:01", call{}, 200, nil,
			`[["2015-03-06T14:00:00+00:00", 3600.0, 2.0], ["2015-03-06T14:34:00+00:00", 60.0, 3.0], ` +
				`["2015-03-06T14:34:00+00:00", 30.0, 3.0]]`, nil},
	})
}

// An answer larger than a piece is streamed, and says the same.
func TestGetManyMeasures(t *testing.T) {
	h := newHouse(t, build{})
	h.work(t, ingest.WorkerConfig{})
	h.policy(t, "p", `{"granularity": 1}, {"granularity": 60}`)
	id := h.metric(t, "p")
	const n = 20_000
	var body, want strings.Builder
	row := func(into *strings.Builder, sec int, granularity, value string) {
		if into.Len() > 1 {
			into.WriteString(", ")
		}
		fmt.Fprintf(into, `["%s+00:00", %s, %s]`, time.Unix(int64(sec), 0).UTC().Format("2006-01-02T15:04:05"), granularity,
			value)
	}
	body.WriteString("[")
	want.WriteString("[")
	for i := range n {
		if i > 0 {
			body.WriteString(",")
		}
		fmt.Fprintf(&body, `{"timestamp": %d, "value": %d}`, i, i)
		if i%60 == 0 {
			row(&want, i, "60.0", strconv.Itoa(min(i+59, n-1))+".0")
		}
	}
	for i := range n {
		row(&want, i, "1.0", strconv.Itoa(i)+".0")
	}
	body.WriteString("]")
	want.WriteString("]")
	h.must(t, "POST", "/v1/metric/"+id+"/measures", call{body: body.String()})
	w := h.do(t, "GET", "/v1/metric/"+id+"/measures?refresh=true&aggregation=max", call{})
	if w.Code != 200 || w.Header().Get("Content-Length") != "" || w.Header().Get("Content-Type") != typeJSON {
		t.Errorf("%d, %v", w.Code, w.Header())
	}
	if got := w.Body.String(); got != want.String() {
		t.Errorf("got %d bytes, want %d: %.300s", len(got), want.Len(), got)
	}
}

func TestResampleBounds(t *testing.T) {
	day := int64(24 * time.Hour)
	f := func(r resample, start, stop, wantFrom, wantTo int64) {
		t.Helper()
		if from, to := r.bounds(start, stop); from != wantFrom || to != wantTo {
			t.Errorf("%+v [%d, %d): got [%d, %d), want [%d, %d)", r, start, stop, from, to, wantFrom, wantTo)
		}
	}
	open, end := ingest.MinTime, ingest.MaxTime
	date := func(text string) int64 {
		d, err := time.Parse(time.DateOnly, text)
		if err != nil {
			t.Fatal(err)
		}
		return d.UnixNano()
	}
	f(resample{}, 5, 7, 5, 7)
	f(resample{}, open, end, open, end)
	minute := resample{every: time.Minute}
	f(minute, open, end, open, end)
	f(minute, 61e9, 119e9, 60e9, 120e9)
	f(minute, 60e9, 120e9, 60e9, 120e9)
	f(minute, 60e9, 120e9+1, 60e9, 180e9)
	f(minute, end-1, end-1, ingest.Floor(end-1, time.Minute), end)
	for letter, next := range map[string]string{"Y": "2025-01-01", "H": "2024-07-01", "Q": "2024-04-01",
		"M": "2024-03-01", "W": "2024-02-11"} {
		r, err := parseResample(map[string][]string{"resample": {letter}, "granularity": {"1"}})
		if err != nil {
			t.Fatal(err)
		}
		first := r.calendar.Floor(date("2024-02-10"))
		f(r, date("2024-02-10"), date("2024-02-10")+day, first, date(next))
		f(r, first, date(next), first, date(next))
		f(r, open, end-1, open, end)
	}
}
