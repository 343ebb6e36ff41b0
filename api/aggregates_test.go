package api

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"millrace/ingest"
)

// crowd is a house with metrics a, b and c of one policy, with measures, d with none
// and e of another policy.
func crowd(t testing.TB, b build) (h *house, a, bb, c, d, e string) {
	t.Helper()
	h = newHouse(t, b)
	h.work(t, ingest.WorkerConfig{FlushInterval: time.Hour}) // only a nudge flushes
	h.must(t, "POST", "/v1/archive_policy", call{as: "admin", body: `{"name": "cookies", "definition":
		[{"granularity": "1 minute", "points": 60}], "aggregation_methods": ["mean", "max", "last", "rate:mean"]}`})
	h.policy(t, "cake", `{"granularity": "5 second"}`)
	a, bb, c, d = h.metric(t, "cookies"), h.metric(t, "cookies"), h.metric(t, "cookies"), h.metric(t, "cookies")
	e = h.metric(t, "cake")
	post := func(id, measures string) {
		var list []string
		for pair := range strings.SplitSeq(measures, " ") {
			minute, value, _ := strings.Cut(pair, "=")
			list = append(list, fmt.Sprintf(`{"timestamp": "2015-03-06T00:0%s:00", "value": %s}`, minute, value))
		}
		h.must(t, "POST", "/v1/metric/"+id+"/measures", call{body: "[" + strings.Join(list, ",") + "]",
			header: []string{"Prefer: wait=4"}})
	}
	post(a, "0=10 1=20 2=30")
	post(bb, "1=100 2=110")
	post(c, "5=1")
	return h, a, bb, c, d, e
}

// rowsOf writes minutes and values as rows.
func rowsOf(minutesAndValues ...string) string {
	var rows []string
	for _, pair := range minutesAndValues {
		minute, value, _ := strings.Cut(pair, "=")
		rows = append(rows, `["2015-03-06T00:0`+minute+`:00+00:00", 60.0, `+value+`]`)
	}
	return "[" + strings.Join(rows, ", ") + "]"
}

func TestAggregates(t *testing.T) {
	h, a, b, c, d, e := crowd(t, build{})
	names := strings.NewReplacer("$a", a, "$b", b, "$c", c, "$d", d, "$e", e, "$A",
		strings.ToUpper(strings.ReplaceAll(a, "-", "")))
	f := func(name, query, operations, want string) {
		t.Helper()
		if !strings.HasPrefix(operations, "[") {
			operations = `"` + operations + `"`
		}
		body := names.Replace(`{"operations": ` + operations + `}`)
		h.run(t, []step{{name, "POST", "/v1/aggregates" + query, call{body: body}, 200, nil,
			names.Replace(`{"measures": ` + want + `}`), nil}})
	}
	aggregated := func(rows ...string) string { return `{"aggregated": ` + rowsOf(rows...) + `}` }
	f("one", "", "(metric $a mean)", `{"$a": {"mean": `+rowsOf("0=10.0", "1=20.0", "2=30.0")+`}}`)
	f("one, written otherwise", "", "(metric $A mean)", `{"$a": {"mean": `+rowsOf("0=10.0", "1=20.0", "2=30.0")+`}}`)
	f("one without data", "", "(metric $d mean)", `{"$d": {"mean": []}}`)
	f("a range", "?start=2015-03-06T00:01:30&stop=2015-03-06T00:02:00", "(metric $a mean)", `{"$a": {"mean": `+
		rowsOf("1=20.0")+`}}`)
	f("filled", "?fill=0&granularity=60", `["aggregate", "sum", ["metric", ["$a", "mean"], ["$b", "mean"]]]`,
		aggregated("0=10.0", "1=120.0", "2=140.0"))
	f("overlap", "?needed_overlap=100", "(aggregate mean (metric ($a mean) ($b mean)))", aggregated("1=60.0", "2=70.0"))
	f("no overlap needed", "?needed_overlap=0", "(- (metric $a mean) (metric $c mean))",
		aggregated("0=null", "1=null", "2=null", "5=null"))
	f("several operands", "", `["aggregate", "max", ["metric", "$a", "mean"], ["metric", "$b", "mean"]]`,
		aggregated("0=10.0", "1=100.0", "2=110.0"))
	f("resampled", "", "(aggregate sum (resample max 120 (metric ($a mean) ($b mean))))",
		// the hole of b at 0:00 is a value
		`{"aggregated": [["2015-03-06T00:00:00+00:00", 120.0, 20.0], ["2015-03-06T00:02:00+00:00", 120.0, 140.0]]}`)
	f("rolling", "", "(rolling mean 2 (metric $a mean))", `{"$a": {"mean": `+rowsOf("1=15.0", "2=25.0")+`}}`)
	f("a rate in time", "", "(rateofchangesec (metric $a mean))", `{"$a": {"mean": `+
		rowsOf("1=0.16666666666666666", "2=0.16666666666666666")+`}}`)
	f("trailing text", "", "(aggregate mean (metric $b mean))) and more", aggregated("1=100.0", "2=110.0"))
	// Out of public reports on Gnocchi.
	f("a rate of what there is", "?fill=null", "(aggregate rate:mean (metric ($a mean) ($b mean)))",
		aggregated("1=50.0", "2=10.0"))
	f("division by zero is JSON", "?fill=null", "(/ (metric $a mean) 0)", `{"$a": {"mean": `+
		rowsOf("0=null", "1=null", "2=null")+`}}`)
	f("and dropped by default", "", "(/ (metric $a mean) 0)", `{"$a": {"mean": []}}`)
	f("arithmetic leaves a metric its name", "", "(* 2 (metric $a mean))", `{"$a": {"mean": `+
		rowsOf("0=20.0", "1=40.0", "2=60.0")+`}}`)
	f("nothing in the range", "?start=2016-01-01&fill=0", "(aggregate mean (metric ($a mean) ($b mean)))", aggregated())
	f("nothing in the range, unfilled", "?start=2016-01-01", "(aggregate mean (metric ($a mean) ($b mean)))",
		aggregated())
	plain := h.do(t, "GET", "/v1/metric/"+a+"/measures?aggregation=rate:mean", call{}).Body.String()
	f("the stored rate", "", "(aggregate sum (metric $a rate:mean))", `{"aggregated": `+plain+`}`)
	if plain != rowsOf("1=10.0", "2=10.0") {
		t.Errorf("stored rates: %s", plain)
	}

	both := h.must(t, "POST", "/v1/aggregates?details=1",
		call{body: names.Replace(`{"operations": "(metric ($b max) ($a mean) ($b mean))"}`)})
	if refs := both["references"].([]any); len(refs) != 2 || refs[0].(map[string]any)["id"] != b ||
		refs[1].(map[string]any)["archive_policy"] == nil {
		t.Errorf("references: %v", refs)
	}
	if of := both["measures"].(map[string]any); len(of) != 2 || len(of[b].(map[string]any)) != 2 {
		t.Errorf("measures: %v", of)
	}
}

func TestAggregatesRefusals(t *testing.T) {
	h, a, b, c, d, e := crowd(t, build{})
	unknown := "8c062a7e-9f9f-4b1c-9996-9d0328512ab7"
	names := strings.NewReplacer("$a", a, "$b", b, "$c", c, "$d", d, "$e", e, "$u", unknown)
	f := func(query, body string, status int, description string) {
		t.Helper()
		title := map[int]string{400: "Bad Request", 404: "Not Found"}[status]
		h.run(t, []step{{"", "POST", "/v1/aggregates" + query, call{body: names.Replace(body), header: []string{acceptJSON}},
			status, nil,
			names.Replace(fmt.Sprintf(`{"code": %d, "title": %q, "description": %s}`, status, title, description)), nil}})
	}
	argument := func(name, reason string) string {
		return fmt.Sprintf(`{"cause": "Argument value error", "reason": %q, "detail": %q}`, reason, name)
	}
	// Parameters before the body.
	f("?start=notadate", "", 400, argument("start", "Must be a datetime or a timestamp"))
	f("?stop=notadate", "{", 400, argument("stop", "Must be a datetime or a timestamp"))
	f("?needed_overlap=notnumber", "", 400, argument("needed_overlap", "Must be a number"))
	f("?needed_overlap=nan", "", 400, argument("needed_overlap", "Must be a number"))
	f("?granularity=foobar", "", 400, argument("granularity", "Unable to parse timespan"))
	f("?fill=foobar", "", 400, argument("fill", mustBeFill))
	f("?fill=1&fill=2", "", 400, argument("fill", "given more than once"))

	f("", `{}`, 400, `{"cause": "Invalid input", "reason": "required key not provided @ data['operations']", `+
		`"detail": ["operations"]}`)
	f("", `{"operations": []}`, 400,
		`{"cause": "Invalid input", "reason": "Operation must not be empty for dictionary value @ data['operations']", `+
			`"detail": ["operations"]}`)
	f("", `{"operations": {"a": 1}}`, 400,
		`{"cause": "Invalid input", "reason": "Expected a tuple/list, got a dict for dictionary value @ `+
			`data['operations']", "detail": ["operations"]}`)
	f("", `{"operations": ["metric", "x"]}`, 400,
		`{"cause": "Invalid input", "reason": "expected a list of a metric and an aggregation method @ `+
			`data['operations'][0]", "detail": ["operations", "0"]}`)
	f("", `{"operations": "(wtf (metric x mean))"}`, 400,
		`{"cause": "Invalid input", "reason": "'wtf' operation invalid for dictionary value @ data['operations']", `+
			`"detail": ["operations"]}`)
	f("", `{"operations": "(metric x"}`, 400,
		`{"cause": "Invalid operations", "reason": "Fail to parse the operations string", "detail": "Expected \")\" (at `+
			`char 9)"}`)
	f("", `{"operations": ["aggregate", "mean", 2]}`, 400,
		`{"cause": "Operations is invalid", "reason": "At least one 'metric' is required", "detail": ["aggregate", `+
			`"mean", 2]}`)
	f("", `{"operations": "(metric (x mean) ($a mean))"}`, 400,
		`{"cause": "Invalid metric references", "reason": "badly formed hexadecimal UUID string", "detail": [["x", "mean"], `+
			`["$a", "mean"]]}`)
	f("", `{"operations": "(metric ($u mean) ($a mean) ($u max))"}`, 404,
		`{"cause": "Unknown metrics", "reason": "Provided metrics don't exists", "detail": ["$u"]}`)
	f("", `{"operations": "(metric ($a wtf) ($b mean) ($b min))"}`, 404,
		`{"cause": "Metrics with unknown aggregation", "detail": [["$a", "wtf"], ["$b", "min"]]}`)
	f("", `{"operations": "(metric ($a mean) ($e mean))"}`, 400,
		`{"cause": "Metrics cannot be aggregated", "reason": "No granularity match", "detail": [["$a", "mean"], ["$e", `+
			`"mean"]]}`)
	f("", `{"operations": "(metric ($a wtf) ($e mean))"}`, 400, // as Gnocchi, which looks at methods later
		`{"cause": "Metrics cannot be aggregated", "reason": "No granularity match", "detail": [["$a", "wtf"], ["$e", `+
			`"mean"]]}`)
	f("?granularity=5", `{"operations": "(metric ($a mean) ($e mean))"}`, 400,
		`{"cause": "Metrics cannot be aggregated", "reason": "Granularities are missing", "detail": [["$a", "mean", 5.0]]}`)
	f("?needed_overlap=100", `{"operations": "(metric ($a mean) ($c mean))"}`, 400,
		`{"cause": "Metrics cannot be aggregated", "reason": "No overlap", "detail": [["$a", "mean"], ["$c", "mean"]]}`)
	f("?needed_overlap=100&start=2015-03-06", `{"operations": "(metric ($a mean) ($b mean))"}`, 400,
		`{"cause": "Metrics cannot be aggregated", "reason": "Less than 100.000000% of datapoints overlap in this `+
			`timespan (66.67%)", "detail": [["$a", "mean"], ["$b", "mean"]]}`)
	f("", `{"operations": "(rolling mean 10 (metric $a mean))"}`, 400,
		`{"cause": "Metrics cannot be aggregated", "reason": "Rolling window '10' is greater than serie length '3'", `+
			`"detail": [["$a", "mean"]]}`)
	f("", `{"operations": "(- (resample mean 120 (metric $a mean)) (metric $b mean))"}`, 400,
		`{"cause": "Metrics cannot be aggregated", "reason": "Can't compute timeseries with different granularity 120.0 `+
			`<> 60.0", "detail": [["$a", "mean"], ["$b", "mean"]]}`)
	h.run(t, []step{
		{"no content type", "POST", "/v1/aggregates", call{body: "{}", header: []string{"Content-Type: "}}, 415, nil, "",
			nil},
		{"somebody else's", "POST", "/v1/aggregates", call{as: "foobaz",
			body: names.Replace(`{"operations": "(metric $a mean)"}`)}, 403, nil, "", nil},
	})
}

func TestAggregatesLimit(t *testing.T) {
	h, a, b, c, _, _ := crowd(t, build{config: Config{MaxPoints: 5}})
	ask := func(operations string) call {
		return call{body: `{"operations": "` + operations + `"}`, header: []string{acceptJSON}}
	}
	h.run(t, []step{
		{"3 + 2 points", "POST", "/v1/aggregates", ask("(metric (" + a + " mean) (" + a + " max))"), 400,
			[]string{`"reason": "This takes more than 5 points in memory: ask for a shorter range`, `"detail": {"limit": 5}`},
			"", nil},
		{"a shorter range", "POST", "/v1/aggregates?start=2015-03-06T00:01",
			ask("(metric (" + a + " mean) (" + b + " mean))"), 200, nil, "", nil},
		{"3 + 1 points, but 4 × 2 cells", "POST", "/v1/aggregates", ask("(metric (" + a + " mean) (" + c + " mean))"), 400,
			[]string{"more than 5 points"}, "", nil},
	})
	if held := h.reading.bytes.Load(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

func TestAggregation(t *testing.T) {
	h, a, b, c, d, e := crowd(t, build{})
	metrics := func(ids ...string) string { return "/v1/aggregation/metric?metric=" + strings.Join(ids, "&metric=") }
	get := func(path, want string) step { return step{"", "GET", path, call{}, 200, nil, want, nil} }
	bad := func(path string, status int, part string) step {
		return step{"", "GET", path, call{header: []string{acceptJSON}}, status, []string{part}, "", nil}
	}
	h.run(t, []step{
		get("/v1/aggregation/metric", "[]"),
		get(metrics(a, b), rowsOf("1=60.0", "2=70.0")),
		get(metrics(a, b, a), rowsOf("1=60.0", "2=70.0")), // duplicates collapse
		get(metrics(a, b)+"&reaggregation=max&fill=null", rowsOf("0=10.0", "1=100.0", "2=110.0")),
		get(metrics(a, b)+"&fill=0", rowsOf("0=5.0", "1=60.0", "2=70.0")),
		get(metrics(a, b)+"&reaggregation=rate:mean", rowsOf("2=10.0")), // accepted, the first stamp is missing
		get(metrics(a, b)+"&aggregation=rate:mean", rowsOf("2=10.0")),   // rates are not derived again
		get(metrics(a), rowsOf("0=10.0", "1=20.0", "2=30.0")),
		get(metrics(a, b)+"&granularity=60&resample=120",
			`[["2015-03-06T00:00:00+00:00", 120.0, 60.0], ["2015-03-06T00:02:00+00:00", 120.0, 70.0]]`),
		get(metrics(a, b)+"&granularity=60&resample=M", `[["2015-03-01T00:00:00+00:00", "M", 65.0]]`),
		get(metrics(a, b)+"&granularity=60&resample=M&start=2015-03-06&fill=null",
			`[["2015-03-01T00:00:00+00:00", "M", 20.0]]`),
		get(metrics(d, d), "[]"), get(metrics(d, c)+"&start=2016-01-01", "[]"), // no data at all
		{"", "POST", "/v1/aggregation/metric?refresh=true", call{body: fmt.Sprintf("[%q, %q]", a, b)}, 200, nil,
			rowsOf("1=60.0", "2=70.0"), nil},
		{"", "POST", "/v1/aggregation/metric", call{body: "[]"}, 200, nil, "[]", nil},
		{"", "POST", "/v1/aggregation/metric", call{body: fmt.Sprintf("[%q, 1]", a), header: []string{acceptJSON}}, 400, nil,
			`{"code": 400, "title": "Bad Request", "description": {"cause": "Invalid input", "reason": "not a valid value @ ` +
				`data[1]", "detail": ["1"]}}`, nil},
		{"", "GET", metrics(a, b), call{as: "foobaz"}, 403, nil, "", nil},
		bad(metrics("foobar"), 400, `"Invalid input: not a valid value @ data[0]"`),
		bad(metrics(a, "8c062a7e-9f9f-4b1c-9996-9d0328512ab7"), 404,
			`"Metric 8c062a7e-9f9f-4b1c-9996-9d0328512ab7 does not exist"`),
		bad(metrics(a, b)+"&aggregation=wtf", 404, `"Aggregation method 'wtf' at granularity '60.0' for metric `+a+
			` does not exist"`),
		bad(metrics(a, b)+"&granularity=42", 404, `"Aggregation method 'mean' at granularity '42.0' for metric `+a+
			` does not exist"`),
		bad(metrics(a)+"&granularity=42", 404, `"Aggregation method 'mean' at granularity '42.0' for metric `+a+
			` does not exist"`),
		bad(metrics(a)+"&aggregation=wtf", 404, `"Aggregation method does not exist for this metric"`),
		bad(metrics(a, e), 400, `"reason": "No granularity match"`),
		bad(metrics(a, e)+"&aggregation=wtf", 400, `"reason": "No granularity match", "detail": [["`+a+`", "wtf"]`),
		bad(metrics(e, a)+"&aggregation=wtf&granularity=60", 404,
			`"Aggregation method 'wtf' at granularity '60.0' for metric `+e+` does not exist"`),
		bad(metrics(a, c), 400, `"reason": "No overlap", "detail": [["`+a+`", "mean"], ["`+c+`", "mean"]]`),
		bad(metrics(a, b)+"&resample=60", 400, `"A granularity must be specified to resample"`),
		bad(metrics(a, b)+"&granularity=60&resample=abc", 400, `"Unable to parse timespan"`),
		bad(metrics(a, b)+"&fill=asdf", 400, mustBeFill),
		bad(metrics(a, b)+"&reaggregation=95pct", 400, `"detail": "reaggregation"`),
		bad(metrics(a, b)+"&aggregation=last", 400, `"'last' can't combine metrics`),
	})
}

func TestSearchMetric(t *testing.T) {
	h, a, b, _, d, _ := crowd(t, build{})
	search := func(query, body string, status int, want string) step {
		return step{body, "POST", "/v1/search/metric?metric_id=" + a + query, call{body: body, header: []string{acceptJSON}},
			status, nil, want, nil}
	}
	found := func(rows ...string) string { return fmt.Sprintf(`{%q: %s}`, a, rowsOf(rows...)) }
	refused := func(description string) string {
		return `{"code": 400, "title": "Bad Request", "description": ` + description + `}`
	}
	h.run(t, []step{
		search("", `{">=": 20}`, 200, found("1=20.0", "2=30.0")),
		search("", `{"≠": 20}`, 200, found("0=10.0", "2=30.0")),
		search("", `{"and": [{"∧": [{"≥": 20}]}, {"lt": 30}]}`, 200, found("1=20.0")),
		search("", `{"∨": [{"eq": 10}, {"=": [{"+": 2}, 32]}]}`, 200, found("0=10.0", "2=30.0")),
		search("", `{"<": [{"%": 20}, {"*": [0.5, {"-": [20, 19]}]}]}`, 200, found("1=20.0")),
		search("&aggregation=rate:mean&granularity=60&granularity=1min", `{">": 0}`, 200, found("1=10.0", "2=10.0")),
		search("&start=2015-03-06T00:01:10&stop=2015-03-06T00:02:00", `{">": 0}`, 200, found("1=20.0")),
		search("&metric_id="+a+"&metric_id=8c062a7e-9f9f-4b1c-9996-9d0328512ab7&metric_id="+d, `{">": 25}`, 200,
			fmt.Sprintf(`{%q: %s, %q: []}`, a, rowsOf("2=30.0"), d)),
		search("", ``, 400, refused(`"No query specified in body"`)),
		search("", `{"not": {"=": 1}}`, 400, refused(`"Unknown operator not"`)),
		search("", `{"+": 1}`, 400,
			refused(`{"cause": "Invalid input", "reason": "extra keys not allowed @ data['+']", "detail": ["+"]}`)),
		search("", `{"=": [{"<": 1}, 1]}`, 400,
			refused(`{"cause": "Invalid input", "reason": "extra keys not allowed @ data['='][0]['<']", "detail": ["=", `+
				`"0", "<"]}`)),
		search("", `{"=": 1, "<": 2}`, 400,
			refused(`{"cause": "Invalid input", "reason": "length of value must be at most 1", "detail": []}`)),
		search("", `{"=": [1]}`, 400,
			refused(`{"cause": "Invalid input", "reason": "Binary operator = needs 2 arguments, 1 given for dictionary `+
				`value @ data['=']", "detail": ["="]}`)),
		search("", `{"and": []}`, 400,
			refused(`{"cause": "Invalid input", "reason": "length of value must be at least 1 for dictionary value @ `+
				`data['and']", "detail": ["and"]}`)),
		search("", `{"=": "a"}`, 400,
			refused(`{"cause": "Invalid input", "reason": "expected a number or a list of two for dictionary value @ `+
				`data['=']", "detail": ["="]}`)),
		search("&start=x", `{"=": 1}`, 400, refused(`"Invalid value for start"`)),
		search("&stop=x", `{"=": 1}`, 400, refused(`"Invalid value for stop"`)),
		search("&granularity=300", `{"=": 1}`, 400,
			refused(`{"cause": "Aggregation does not exist", "detail": {"aggregation_method": "mean", "granularity": 300.0}}`)),
		search("&aggregation=min", `{"=": 1}`, 400,
			refused(`{"cause": "Aggregation does not exist", "detail": {"aggregation_method": "min", "granularity": 60.0}}`)),
		{"unknown", "POST", "/v1/search/metric?metric_id=8c062a7e-9f9f-4b1c-9996-9d0328512ab7", call{body: `{"=": 1}`}, 200,
			nil, "{}", nil},
		{"none", "POST", "/v1/search/metric", call{body: `{"=": 1}`}, 400, nil, "", nil},
		{"no id", "POST", "/v1/search/metric?metric_id=x", call{body: `{"=": 1}`}, 400, nil, "", nil},
		{"no JSON", "POST", "/v1/search/metric?metric_id=" + a, call{body: `{"=": 1}`,
			header: []string{"Content-Type: text/plain"}}, 415, nil, "", nil},
		{"somebody else's", "POST", "/v1/search/metric?metric_id=" + b, call{as: "foobaz", body: `{"=": 1}`}, 403, nil, "",
			nil},
	})
}

// Whatever the body, a search is refused or says yes or no of every value.
func FuzzPredicate(f *testing.F) {
	for _, seed := range []string{`{">=": 20}`, `{"and": [{"∧": [{"≥": 20}]}, {"lt": 30}]}`,
		`{"=": [{"+": 2}, {"%": [7, {"**": 2}]}]}`, `{"or": []}`, `{"not": 1}`, `[`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := parseJSON(body)
		if err != nil {
			return
		}
		like, err := predicateOf(v)
		if err != nil {
			if f := failureOf(err); f == nil || f.status != 400 {
				t.Fatalf("%s: %v", body, err)
			}
			return
		}
		for _, value := range []float64{0, -1, 1e300, math.NaN(), math.Inf(1)} {
			like(value)
		}
	})
}
