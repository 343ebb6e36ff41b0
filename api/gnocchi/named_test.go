package gnocchi

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A namedScan is what a reader made of a body, in a form to compare.
type namedScan struct {
	Resources []string
	Metrics   []string // resource, name, policy, unit, times and values of the measures
	Bad       []MeasuresError
	Err       error
}

func namedScanned(b *NamedBatch, err error) namedScan {
	s := namedScan{Err: err, Bad: b.Bad}
	s.Resources = append(s.Resources, b.Resources...)
	for i, m := range b.Metrics {
		text := fmt.Sprintf("%d %s %q %q", m.Resource, m.Name, m.Policy, m.Unit)
		for _, measure := range b.Entries[i].Measures {
			text += fmt.Sprintf(" %d:%v", measure.Time/1e9, measure.Value)
		}
		s.Metrics = append(s.Metrics, text)
	}
	return s
}

const one = `[{"timestamp": 60, "value": 1}]`

func TestScanNamed(t *testing.T) {
	for _, c := range []struct {
		body      string
		resources string
		metrics   string // separated by ;
		err       string
	}{
		{`{}`, "", "", ""},
		{`{"r": {}}`, "r", "", ""},
		{`{"r": {"cpu": ` + one + `}}`, "r", `0 cpu "" "" 60:1`, ""},
		{`{"r": {"cpu": [], "mem": ` + one + `}, "s/é": {"cpu": [{"value": "2", "timestamp": "1970-01-01T00:02:00"}]}}`,
			"r s/é", `0 cpu "" "";0 mem "" "" 60:1;1 cpu "" "" 120:2`, ""},
		{`{"r": {"cpu": {"measures": ` + one + `}}}`, "r", `0 cpu "" "" 60:1`, ""},
		{` { "r" : { "cpu" : { "archive_policy_name" : "low" , "measures" : ` + one + ` , "unit" : "B" } } } `, "r",
			`0 cpu "low" "B" 60:1`, ""},
		{`{"r": {"cpu": {"measures": ` + one + `, "unit": null, "archive_policy_name": null}}}`, "r", `0 cpu "" "" 60:1`,
			""},
		{`{"r\u0041": {"c\"p": {"un\u0069t": "\u0042", "measures": ` + one + `}}}`, "rA", `0 c"p "" "B" 60:1`, ""},
		{`{"r": {"cpu": {"measures": [], "measures": ` + one + `}}}`, "r", `0 cpu "" "" 60:1`, ""},
		{`{"r": {"cpu": ` + one + `, "cpu": ` + one + `}, "r": {"cpu": ` + one + `}}`, "r r",
			`0 cpu "" "" 60:1;0 cpu "" "" 60:1;1 cpu "" "" 60:1`, ""},
		{``, "", "", "Expected object or value"},
		{`[]`, "", "", "expected a dictionary"},
		{`{"r": []}`, "", "", "expected a dictionary @ data['r']"},
		{`{"": 1}`, "", "", "expected a dictionary @ data['']"},
		{`{"r": {"cpu": 1}}`, "", "", "unexpected measures format @ data['r']['cpu']"},
		{`{"r": {"cpu": [["2015-03-06T14:33:57", 43.1]]}}`, "", "", "unexpected measures format @ data['r']['cpu'][0]"},
		{`{"r": {"cpu": {"measures": 1}}}`, "", "", "unexpected measures format @ data['r']['cpu']"},
		{`{"r": {"cpu": {"unit": "B"}}}`, "", "", "required key not provided @ data['r']['cpu']['measures']"},
		{`{"r": {"cpu": {"measures": [], "unit": 1}}}`, "", "", "expected str @ data['r']['cpu']['unit']"},
		{`{"r": {"cpu": {"measures": [], "policy": "low"}}}`, "", "", "extra keys not allowed @ data['r']['cpu']['policy']"},
		{`{"r": {"": {"measures": [{"timestamp": 1, "value": "x"}]}}}`, "", "",
			"unexpected measures value @ data['r'][''][0]['value']"},
		{`{"r": {"cpu": ` + one + `}`, "", "", "unexpected end of JSON input (byte 46 of 46)"},
	} {
		for name, read := range map[string]func([]byte, time.Time, *NamedBatch) error{"fast": ScanNamed, "slow": slowNamed} {
			var b NamedBatch
			got := namedScanned(&b, read([]byte(c.body), testNow, &b))
			text := ""
			if got.Err != nil {
				text = got.Err.Error()
			}
			if text != c.err {
				t.Errorf("%s, %s: error %q, want %q", name, c.body, text, c.err)
			}
			if r := strings.Join(got.Resources, " "); r != c.resources {
				t.Errorf("%s, %s: resources %q, want %q", name, c.body, r, c.resources)
			}
			if m := strings.Join(got.Metrics, ";"); m != c.metrics {
				t.Errorf("%s, %s: metrics\n got %q\nwant %q", name, c.body, m, c.metrics)
			}
		}
	}
}

func TestScanNamedLeniently(t *testing.T) {
	b := NamedBatch{Batch: Batch{Lenient: true}}
	body := `{"a": 1, "b": {"w": 1, "x": [{"timestamp": 60, "value": 1}, {"timestamp": 60}, {"timestamp": 61, ` +
		`"value": 2}], "y": {"unit": "B"}, "z": ` + one + `}}`
	got := namedScanned(&b, ScanNamed([]byte(body), testNow, &b))
	want := namedScan{
		Resources: []string{"a", "b"},
		Metrics:   []string{`1 x "" "" 60:1 61:2`, `1 z "" "" 60:1`},
		Bad: []MeasuresError{
			{Reason: ReasonNotObject, Key: "a", Keyed: true, Measure: -1},
			{Reason: ReasonFormat, Key: "b", Keyed: true, Name: "w", Named: true, Measure: -1},
			{Reason: ReasonValue, Key: "b", Keyed: true, Name: "x", Named: true, Measure: 1, Field: "value"},
			{Reason: ReasonRequired, Key: "b", Keyed: true, Name: "y", Named: true, Measure: -1, Entry: 1, Field: "measures"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzScanNamed lets the scanner agree with the slow path, which agrees with the
// slow path for batches on what both read.
func FuzzScanNamed(f *testing.F) {
	for _, c := range scanCases {
		f.Add([]byte(`{"r": {"cpu": ` + c.body + `}}`))
		f.Add([]byte(`{"r": {"cpu": {"unit": "B", "measures": ` + c.body + `}}}`))
	}
	f.Add([]byte(`{"r": {"cpu": {"measures": [], "unit": null, "archive_policy_name": "low"}}, "é\u0041": {}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, lenient := range []bool{false, true} {
			fast, slow := NamedBatch{Batch: Batch{Lenient: lenient}}, NamedBatch{Batch: Batch{Lenient: lenient}}
			a, b := namedScanned(&fast, ScanNamed(data, testNow, &fast)), namedScanned(&slow, slowNamed(data, testNow, &slow))
			if strings.Contains(string(data), "NaN") || !validUTF8(data) {
				continue // NaN is not equal to itself, and only the slow path mends texts
			}
			if diff := cmp.Diff(b, a); diff != "" {
				t.Errorf("%q, lenient %v: the scanner differs from the slow path\n%s", data, lenient, diff)
			}
		}
	})
}

func validUTF8(data []byte) bool { return strings.ToValidUTF8(string(data), "") == string(data) }

// FuzzFilter wants an answer and no panic, and filters that are refused to say so.
func FuzzFilter(f *testing.F) {
	for _, c := range filterCases {
		f.Add(c.filter)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		_, err := ParseFilter(filter)
		if err != nil && !strings.HasPrefix(err.Error(), "Invalid filter: Expected ") {
			t.Errorf("%q: %v", filter, err)
		}
	})
}

var filterCases = []struct{ filter, want string }{
	{`id = foobar`, `{"=": {"id": "foobar"}}`},
	{`a=1`, `{"=": {"a": 1}}`},
	{` a >= -1.5e3 `, `{">=": {"a": -1.5e3}}`},
	{`a ≥ 1`, `{"≥": {"a": 1}}`},
	{`a like "x%'"`, `{"like": {"a": "x%'"}}`},
	{`'odd name' ne 'it"s'`, `{"ne": {"odd name": "it\"s"}}`},
	{`a = None`, `{"=": {"a": null}}`},
	{`a = null`, `{"=": {"a": null}}`},
	{`a = True`, `{"=": {"a": true}}`},
	{`a = false`, `{"=": {"a": false}}`},
	{`nullable = truest`, `{"=": {"nullable": "truest"}}`},
	{`notx=1`, `{"=": {"notx": 1}}`},
	{`not x=1`, `{"not": {"=": {"x": 1}}}`},
	{`not not x=1`, `{"not": {"not": {"=": {"x": 1}}}}`},
	{`id in [a, 'b', 12, faef212f-0bf4-4030-a461-2186fef79be0]`,
		`{"in": {"id": ["a", "b", 12, "faef212f-0bf4-4030-a461-2186fef79be0"]}}`},
	{`not id in [faef212f0bf44030a4612186fef79be0]`, `{"not": {"in": {"id": ["faef212f0bf44030a4612186fef79be0"]}}}`},
	{`id in []`, `{"in": {"id": []}}`},
	{`a=1 or b=2 and c=3`, `{"or": [{"=": {"a": 1}}, {"and": [{"=": {"b": 2}}, {"=": {"c": 3}}]}]}`},
	{`(a=1 or b=2)and(c=3)`, `{"and": [{"or": [{"=": {"a": 1}}, {"=": {"b": 2}}]}, {"=": {"c": 3}}]}`},
	{`a=1 ∨ b=2 ∧ c=3`, `{"or": [{"=": {"a": 1}}, {"and": [{"=": {"b": 2}}, {"=": {"c": 3}}]}]}`},
	{`server_group = "prefix" and started_at > "2014-01-01"`,
		`{"and": [{"=": {"server_group": "prefix"}}, {">": {"started_at": "2014-01-01"}}]}`},
	{`host_1 = é`, ""},
	{`id == foobar`, ""},
	{``, ""},
	{`a`, ""},
	{`a =`, ""},
	{`= 1`, ""},
	{`a = 'x`, ""},
	{`a = 1 b`, ""},
	{`(a = 1`, ""},
	{`a in [1,`, ""},
	{`a in [1 2]`, ""},
	{`null = 1`, ""},
	{`[a] = 1`, ""},
	{`a = 1 and`, ""},
	{strings.Repeat("(", 100) + "a=1" + strings.Repeat(")", 100), ""},
	{strings.Repeat("not ", 100) + "a=1", ""},
	{"a in " + strings.Repeat("[", 100), ""},
}

func TestParseFilter(t *testing.T) {
	for _, c := range filterCases {
		tree, err := ParseFilter(c.filter)
		switch {
		case c.want == "" && (err == nil || !strings.HasPrefix(err.Error(), "Invalid filter: Expected ")):
			t.Errorf("%q: got %s, error %v", c.filter, Marshal(tree), err)
		case c.want != "" && (err != nil || string(Marshal(tree)) != c.want):
			t.Errorf("%q: got %s, want %s, error %v", c.filter, Marshal(tree), c.want, err)
		}
	}
	if _, err := ParseFilter("id == foobar"); !errors.Is(err,
		message("Invalid filter: Expected a value, found '= foobar'  (at char 4)")) {
		t.Error(err)
	}
}

func BenchmarkScanNamed(b *testing.B) {
	data := []byte(`{`)
	rng := rand.New(rand.NewPCG(1, 2))
	for r := range 100 {
		if r > 0 {
			data = append(data, ", "...)
		}
		data = fmt.Appendf(data, `"%08x-ebe1-4737-812e-cf0ddf26f5ad": {`, rng.Uint32())
		for m := range 10 {
			if m > 0 {
				data = append(data, ", "...)
			}
			data = fmt.Appendf(data,
				`"disk.device.%d.read.bytes": {"archive_policy_name": "low", "unit": "B", "measures": [{"timestamp": `+
					`"2015-03-06T14:33:57", "value": %d}]}`, m, rng.IntN(1e6))
		}
		data = append(data, '}')
	}
	data = append(data, '}')
	var batch NamedBatch
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := ScanNamed(data, time.Time{}, &batch); err != nil || len(batch.Metrics) != 1000 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/metric")
}
