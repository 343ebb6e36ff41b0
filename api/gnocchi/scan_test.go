package gnocchi

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

const (
	idA = "5c000000-0000-0000-0000-000000000001"
	idB = "5c000000-0000-0000-0000-00000000000b"
)

// instantOf is the nanoseconds of an RFC 3339 time.
func instantOf(t testing.TB, text string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixNano()
}

// scanCases are lists of measures and what becomes of them: the measures as
// "time value" or the error. The scanner knows the first part, the rest is odd.
var scanCases = []struct {
	body string
	want string
	odd  bool // left to the slow path
}{
	// The shapes that clients send.
	{body: `[]`},
	{body: ` [ ] `},
	{body: `[{"timestamp": "2015-03-06T14:33:57", "value": 43.1}]`, want: "2015-03-06T14:33:57Z 43.1"},
	{body: `[{"value":43.1,"timestamp":"2015-03-06T14:33:57"}]`, want: "2015-03-06T14:33:57Z 43.1"},
	{body: "\r\n[\t{ \"timestamp\" :\n\"2015-03-06 14:33:57\" , \"value\" : 1 } , " +
		"{\"timestamp\":\"2015-03-06\",\"value\":2}\n]\n",
		want: "2015-03-06T14:33:57Z 1, 2015-03-06T00:00:00Z 2"},
	{body: `[{"timestamp":1,"value":1}]`, want: "1970-01-01T00:00:01Z 1"},
	{body: `[{"timestamp":0,"value":0}]`, want: "1970-01-01T00:00:00Z 0"},
	{body: `[{"timestamp": "2015-03-06T14:33:57.5Z", "value": 1}, {"timestamp": ` +
		`"2015-03-06T14:33:57.123456789123+02:00", "value": 2}]`,
		want: "2015-03-06T14:33:57.5Z 1, 2015-03-06T12:33:57.123456789Z 2"},
	{body: `[{"timestamp": 1425652437, "value": 1}, {"timestamp": "1425652437.5", "value": 2}, {"timestamp": ` +
		`1478012832.123456789, "value": 3}]`,
		want: "2015-03-06T14:33:57Z 1, 2015-03-06T14:33:57.5Z 2, 2016-11-01T15:07:12.123456768Z 3"},
	{body: `[{"timestamp": 1.425652437e9, "value": 1e3}]`, want: "2015-03-06T14:33:57Z 1000"},
	{body: `[{"timestamp": 9223372036, "value": 1}]`, want: "2262-04-11T23:47:16Z 1"},
	{body: `[{"timestamp": 1, "value": NaN}, {"timestamp": 2, "value": Infinity}, {"timestamp": 3, "value": -Infinity}]`,
		want: "1970-01-01T00:00:01Z NaN, 1970-01-01T00:00:02Z +Inf, 1970-01-01T00:00:03Z -Inf"},
	{body: `[{"timestamp": 1, "value": "43.1"}, {"timestamp": 2, "value": true}, {"timestamp": 3, "value": false}]`,
		want: "1970-01-01T00:00:01Z 43.1, 1970-01-01T00:00:02Z 1, 1970-01-01T00:00:03Z 0"},
	{body: `[{"timestamp": 1, "value": -0.0}, {"timestamp": 2, "value": -12}, {"timestamp": 3, "value": ` +
		`0.1234567890123456789}]`,
		want: "1970-01-01T00:00:01Z -0, 1970-01-01T00:00:02Z -12, 1970-01-01T00:00:03Z 0.12345678901234568"},
	{body: `[{"timestamp": 1, "value": 12345678901234567890}, {"timestamp": 2, "value": 1e-400}, {"timestamp": 3, ` +
		`"value": 1e400}]`,
		want: "1970-01-01T00:00:01Z 1.2345678901234567e+19, 1970-01-01T00:00:02Z 0, 1970-01-01T00:00:03Z +Inf"},
	{body: `[{"timestamp": 1, "value": 1e22}, {"timestamp": 2, "value": 1e23}, {"timestamp": 3, "value": 3e-22}, ` +
		`{"timestamp": 4, "value": 3e-23}, {"timestamp": 5, "value": 1e-30}]`,
		want: "1970-01-01T00:00:01Z 1e+22, 1970-01-01T00:00:02Z 1e+23, 1970-01-01T00:00:03Z 3e-22, 1970-01-01T00:00:04Z " +
			"3e-23, 1970-01-01T00:00:05Z 1e-30"},
	{body: `[{"timestamp": 1, "value": 9007199254740993}, {"timestamp": 2, "value": 9007199254740993.0}]`,
		want: "1970-01-01T00:00:01Z 9.007199254740992e+15, 1970-01-01T00:00:02Z 9.007199254740992e+15"},
	{body: `[{"x": {"a": [1, "]}", null, {}], "b": [NaN, -Infinity, true]}, "timestamp": 1, "y": false, "value": 2}]`,
		want: "1970-01-01T00:00:01Z 2"},
	{body: `[{"timestamp": "1970-01-01T12:00:00", "timestamp": 1, "value": 1, "value": 2}]`,
		want: "1970-01-01T00:00:01Z 2"},

	// Legal and uncommon.
	{odd: true, body: `[{"timestamp": "2015-03-06T14:33:57\u002b00:00", "value": 1}]`, want: "2015-03-06T14:33:57Z 1"},
	{odd: true, body: `[{"\u0074imestamp": "2015-03-06T14:33:57", "value": 1}]`, want: "2015-03-06T14:33:57Z 1"},
	{odd: true, body: `[{"timestamp": 1, "value": 1, "\"}\\": "\\"}]`, want: "1970-01-01T00:00:01Z 1"},
	{odd: true, body: `[{"timestamp": "-5 minutes", "value": 1}, {"timestamp": "+1h", "value": 2}]`,
		want: "2016-11-01T15:02:12.0000005Z 1, 2016-11-01T16:07:12.0000005Z 2"},
	{odd: true, body: `[{"timestamp": "now", "value": 1}, {"timestamp": "Today", "value": 2}]`,
		want: "2016-11-01T15:07:12Z 1, 2016-11-01T00:00:00Z 2"},
	{odd: true, body: `[{"timestamp": " +1425652437 ", "value": " -inf "}]`, want: "2015-03-06T14:33:57Z -Inf"},
	{odd: true, body: `[{"timestamp": -0.0, "value": "NaN"}]`, want: "1970-01-01T00:00:00Z NaN"},
	{odd: true, body: `[{"timestamp": 1, "value": [], "value": 3}]`, want: "1970-01-01T00:00:01Z 3"},
	{odd: true, body: `[{"timestamp": "2262-04-11T23:47:16.854775807Z", "value": 1}]`,
		want: "2262-04-11T23:47:16.854775807Z 1"},
	{odd: true, body: `[{"deep": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) +
		`, "timestamp": 1, "value": 1}]`,
		want: "1970-01-01T00:00:01Z 1"},

	// Measures that can't be understood.
	{odd: true, body: `{}`, want: "unexpected measures format"},
	{odd: true, body: `"[]"`, want: "unexpected measures format"},
	{odd: true, body: `NaN`, want: "unexpected measures format"},
	{odd: true, body: `null`, want: "unexpected measures format"},
	{odd: true, body: `[5]`, want: "unexpected measures format @ data[0]"},
	{odd: true, body: `[{"timestamp": 1, "value": 1}, []]`, want: "unexpected measures format @ data[1]"},
	{odd: true, body: `[{}]`, want: "unexpected measures format @ data[0]['timestamp']"},
	{odd: true, body: `[{"value": 1}]`, want: "unexpected measures format @ data[0]['timestamp']"},
	{odd: true, body: `[{"Timestamp": 1, "value": 1}]`, want: "unexpected measures format @ data[0]['timestamp']"},
	{odd: true, body: `[{"timestamp": null, "value": 1}]`, want: "unexpected measures format @ data[0]['timestamp']"},
	{odd: true, body: `[{"timestamp": true, "value": 1}]`, want: "unexpected measures format @ data[0]['timestamp']"},
	{odd: true, body: `[{"timestamp": [1], "value": 1}]`, want: "unexpected measures format @ data[0]['timestamp']"},
	{odd: true, body: `[{"timestamp": 1}]`, want: "unexpected measures value @ data[0]['value']"},
	{odd: true, body: `[{"timestamp": 1, "value": null}]`, want: "unexpected measures value @ data[0]['value']"},
	{odd: true, body: `[{"timestamp": 1, "value": {}}]`, want: "unexpected measures value @ data[0]['value']"},
	{odd: true, body: `[{"timestamp": 1, "value": ""}]`, want: "unexpected measures value @ data[0]['value']"},
	{odd: true, body: `[{"timestamp": 1, "value": "0x10"}]`, want: "unexpected measures value @ data[0]['value']"},
	{odd: true, body: `[{"timestamp": 1, "value": "1_0"}]`, want: "unexpected measures value @ data[0]['value']"},
	{odd: true, body: `[{"timestamp": "", "value": 1}]`,
		want: "unexpected timestamp 'Unable to convert timestamps' @ data[0]['timestamp']"},
	{odd: true, body: `[{"timestamp": "2015-100-06T14:33:57", "value": 1}]`,
		want: "unexpected timestamp 'Unable to convert timestamps' @ data[0]['timestamp']"},
	{odd: true, body: `[{"timestamp": "1915-03-06T14:33:57", "value": 1}]`,
		want: "unexpected timestamp 'Timestamp must be after Epoch' @ data[0]['timestamp']"},
	{odd: true, body: `[{"timestamp": "2262-04-11T23:47:17", "value": 1}]`,
		want: "unexpected timestamp 'Timestamp must be after Epoch' @ data[0]['timestamp']"},
	{odd: true, body: `[{"timestamp": -1, "value": 1}]`,
		want: "unexpected timestamp 'Timestamp must be after Epoch' @ data[0]['timestamp']"},
	{odd: true, body: `[{"timestamp": 9223372037, "value": 1}]`,
		want: "unexpected timestamp 'Unable to convert timestamps' @ data[0]['timestamp']"},
	{odd: true, body: `[{"timestamp": 1e400, "value": 1}]`,
		want: "unexpected timestamp 'Unable to convert timestamps' @ data[0]['timestamp']"},
	{odd: true, body: `[{"timestamp": NaN, "value": 1}]`,
		want: "unexpected timestamp 'Unable to convert timestamps' @ data[0]['timestamp']"},
	{odd: true, body: `[{"timestamp": 1478012832, "value": 1}, {"timestamp": "-5 minutes", "value": 2}]`,
		want: "unexpected timestamp 'Unable to convert timestamps' @ data[1]['timestamp']"},
	{odd: true, body: `[{"timestamp": "2015-03-06T14:33:57", "value": 1}, {"timestamp": 1478012832, "value": 2}]`,
		want: "unexpected timestamp 'Unable to convert timestamps' @ data[1]['timestamp']"},

	// What isn't JSON.
	{odd: true, body: ``, want: "Expected object or value"},
	{odd: true, body: " \n", want: "Expected object or value"},
	{odd: true, body: `[{"timestamp": 1, "value": 01}]`,
		want: "invalid character '1' after object key:value pair (byte 29 of 31)"},
	{odd: true, body: `[{"timestamp": 1, "value": 1}`, want: "unexpected end of JSON input (byte 29 of 29)"},
	{odd: true, body: `[{"timestamp": NaN, "value": -NaN}]`,
		want: "invalid character '\"' in numeric literal (byte 31 of 35)"},
	{odd: true, body: `[] []`, want: "invalid character '[' after top-level value (byte 4 of 5)"},
	{odd: true, body: `[{NaN: 1}]`,
		want: "invalid character 'N' looking for beginning of object key string (byte 3 of 10)"},
	{odd: true, body: `[1,]`, want: "invalid character ']' looking for beginning of value (byte 4 of 4)"},
	{odd: true, body: "[\"\n\"]", want: "invalid character '\\n' in string literal (byte 3 of 5)"},
	{odd: true, body: "[{\"a\x1f\": 1, \"timestamp\": 1, \"value\": 1}]",
		want: "invalid character '\\x1f' in string literal (byte 5 of 39)"},
	{odd: true, body: `[{"timestamp": "x", "value": 1}, `, want: "unexpected end of JSON input (byte 33 of 33)"},
	{odd: true, body: strings.Repeat("[", 1<<20),
		want: "invalid character '[' exceeded max depth (byte 10001 of 1048576)"},
}

func TestScanMeasures(t *testing.T) {
	for _, c := range scanCases {
		var b Batch
		got := outcome(&b, ScanMeasures([]byte(c.body), testNow, &b, testID))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%.200s\n%s", c.body, diff)
		}
		if c.odd {
			continue
		}
		if len(b.Entries) != 1 || b.Entries[0].Metric != testID {
			t.Errorf("%s: entries %v", c.body, b.Entries)
		}
		s := scanner{data: []byte(c.body)}
		if i := s.list(blanks(s.data, 0)); !s.atEnd(i) {
			t.Errorf("%s is left to the slow path", c.body)
		}
	}
}

// outcome shows what a scan found in the manner of scanCases.
func outcome(b *Batch, err error) string {
	if err != nil {
		if len(b.Entries)+len(b.Bad)+b.Measures() > 0 {
			return "an error and a batch that isn't empty"
		}
		return err.Error()
	}
	var found []string
	for _, e := range b.Entries {
		for _, m := range e.Measures {
			v := fmt.Sprint(m.Value)
			if m.Value == 0 && math.Signbit(m.Value) {
				v = "-0"
			}
			found = append(found, time.Unix(0, m.Time).UTC().Format(time.RFC3339Nano)+" "+v)
		}
	}
	return strings.Join(found, ", ")
}

func TestScanBatch(t *testing.T) {
	second := []ingest.Measure{{Time: 1e9, Value: 1}}
	a, _ := ingest.ParseMetricID(idA)
	bID, _ := ingest.ParseMetricID(idB)
	f := func(body string, want ...ingest.Entry) {
		t.Helper()
		var b Batch
		if err := ScanBatch([]byte(body), testNow, &b); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if diff := cmp.Diff(want, b.Entries, equateEmpty); diff != "" {
			t.Errorf("%s\n%s", body, diff)
		}
	}
	f(`{}`)
	f(` { "`+idA+`" : [ {"timestamp": 1, "value": 1} ] , "`+idB+`":[]}`,
		ingest.Entry{Metric: a, Measures: second}, ingest.Entry{Metric: bID})
	// Each list has its own kind of stamps, and each key its own entry.
	f(`{"`+idA+`": [{"timestamp": 1, "value": 1}], "`+idA+`": [{"timestamp": "1970-01-01T00:00:01Z", "value": 1}]}`,
		ingest.Entry{Metric: a, Measures: second}, ingest.Entry{Metric: a, Measures: second})
	// The ids that Gnocchi takes.
	for _, id := range []string{strings.ToUpper(idA), "{" + idA + "}", "urn:uuid:" + idA,
		strings.ReplaceAll(idA, "-", ""), `\u0035` + idA[1:]} {
		f(`{"`+id+`": [{"timestamp": 1, "value": 1}]}`, ingest.Entry{Metric: a, Measures: second})
	}
}

var equateEmpty = cmp.Transformer("measures", func(m []ingest.Measure) string { return fmt.Sprint(m) })

func TestScanBatchRefusals(t *testing.T) {
	a, _ := ingest.ParseMetricID(idA)
	good := `"` + idB + `": [{"timestamp": 1, "value": 1}]`
	f := func(body string, want MeasuresError, path []string, text string) {
		t.Helper()
		var b Batch
		err := ScanBatch([]byte(body), testNow, &b)
		got, ok := errors.AsType[*MeasuresError](err)
		if !ok {
			t.Fatalf("%s: %v", body, err)
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("%s\n%s", body, diff)
		}
		if diff := cmp.Diff(path, got.Path()); diff != "" {
			t.Errorf("path of %s\n%s", body, diff)
		}
		if got.Error() != text {
			t.Errorf("%s: %s, want %s", body, got, text)
		}
	}
	f(`[]`, MeasuresError{Reason: ReasonNotObject, Entry: -1, Measure: -1}, []string{}, "expected a dictionary")
	f(`{`+good+`, "foo": []}`, MeasuresError{Reason: ReasonMetric, Key: "foo", Entry: 1, Measure: -1},
		[]string{"foo"}, "not a valid value @ data['foo']")
	f(`{"": [], `+good+`}`, MeasuresError{Reason: ReasonMetric, Entry: 0, Measure: -1},
		[]string{""}, "not a valid value @ data['']")
	f(`{`+good+`, "`+idA+`": {"a": []}}`, MeasuresError{Reason: ReasonFormat, Key: idA, Metric: a, Entry: 1, Measure: -1},
		[]string{idA}, "unexpected measures format @ data['"+idA+"']")
	f(`{"`+idA+`": [{"timestamp": 1, "value": "x"}], "foo": []}`,
		MeasuresError{Reason: ReasonValue, Key: idA, Metric: a, Entry: 0, Measure: 0, Field: "value"},
		[]string{idA, "0", "value"}, "unexpected measures value @ data['"+idA+"'][0]['value']")
}

func TestScanLenient(t *testing.T) {
	a, _ := ingest.ParseMetricID(idA)
	body := `{
		"foo": [{"timestamp": 1, "value": 1}],
		"` + idA + `": [{"timestamp": "soon", "value": 0}, {"timestamp": 1, "value": 1}, 7,
			{"timestamp": "2015-03-06T14:33:57", "value": 2}, {"timestamp": 2, "value": "x"}, {"timestamp": 3, "value": 3}],
		"` + idB + `": [{"value": 1}],
		"` + idA + `": null
	}`
	bID, _ := ingest.ParseMetricID(idB)
	b := Batch{Lenient: true}
	if err := ScanBatch([]byte(body), testNow, &b); err != nil {
		t.Fatal(err)
	}
	if got, want := outcome(&b, nil), "1970-01-01T00:00:01Z 1, 1970-01-01T00:00:03Z 3"; got != want {
		t.Errorf("measures %s, want %s", got, want)
	}
	if len(b.Entries) != 2 || b.Entries[0].Metric != a || b.Entries[1].Metric != bID || len(b.Entries[1].Measures) != 0 {
		t.Errorf("entries %v", b.Entries)
	}
	want := []MeasuresError{
		{Reason: ReasonMetric, Key: "foo", Entry: 0, Measure: -1},
		{Reason: ReasonTime, Key: idA, Metric: a, Entry: 1, Measure: 0, Field: "timestamp"},
		{Reason: ReasonFormat, Key: idA, Metric: a, Entry: 1, Measure: 2},
		{Reason: ReasonTime, Key: idA, Metric: a, Entry: 1, Measure: 3, Field: "timestamp"},
		{Reason: ReasonValue, Key: idA, Metric: a, Entry: 1, Measure: 4, Field: "value"},
		{Reason: ReasonFormat, Key: idB, Metric: bID, Entry: 2, Measure: 0, Field: "timestamp"},
		{Reason: ReasonFormat, Key: idA, Metric: a, Entry: 3, Measure: -1},
	}
	if diff := cmp.Diff(want, b.Bad); diff != "" {
		t.Error(diff)
	}

	// Nobody is lenient with what isn't JSON, or not a batch at all.
	for _, body := range []string{body + "}", "[]", ""} {
		if got := outcome(&b, ScanBatch([]byte(body), testNow, &b)); got == "" {
			t.Errorf("%.20s was accepted", body)
		}
	}
	if !b.Lenient {
		t.Error("a scan made the batch strict")
	}
}

func TestScanLenientIsBounded(t *testing.T) {
	b := Batch{Lenient: true}
	bad := strings.Repeat("1,", MaxBad)
	if err := ScanMeasures([]byte("["+bad[:len(bad)-1]+"]"), testNow, &b, testID); err != nil || len(b.Bad) != MaxBad {
		t.Errorf("%d put aside: %v", len(b.Bad), err)
	}
	want := "unexpected measures format @ data[0]"
	if got := outcome(&b, ScanMeasures([]byte("["+bad+"1]"), testNow, &b, testID)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Measures move while they are collected, and entries don't share capacity.
func TestScanBatchPointsAtItsMeasures(t *testing.T) {
	data := body(50, 7, stamps[0].write)
	var b Batch
	for range 2 {
		if err := ScanBatch(data, testNow, &b); err != nil {
			t.Fatal(err)
		}
		if b.Measures() != 350 || len(b.Entries) != 50 {
			t.Fatalf("%d measures of %d metrics", b.Measures(), len(b.Entries))
		}
		for i, e := range b.Entries {
			if &e.Measures[0] != &b.measures[7*i] || cap(e.Measures) != 7 {
				t.Errorf("entry %d is elsewhere", i)
			}
		}
	}
	b.Reset()
	if len(b.Entries) != 0 || b.Measures() != 0 {
		t.Error("Reset left something")
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	for _, stamp := range stamps {
		data := body(20, 20, stamp.write)
		var b Batch
		if allocs := testing.AllocsPerRun(10, func() {
			if err := ScanBatch(data, testNow, &b); err != nil {
				t.Fatal(err)
			}
		}); allocs != 0 {
			t.Errorf("%s: %v allocations", stamp.name, allocs)
		}
	}
}
