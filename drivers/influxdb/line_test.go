package influxdb

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"millrace/ingest"
)

// A line as it is in InfluxDB's documentation, with what has to be escaped.
func TestLine(t *testing.T) {
	id := ingest.MetricID{0xab, 1}
	for want, l := range map[string]ingest.Labels{
		"":                    {},
		",name=cpu":           {Name: "cpu"},
		`,name=a\,b\=c\ d"e'`: {Name: `a,b=c d"e'`},
		`,name=C:/x/,resource=a\ b,resource_type=é`: {Name: `C:\x\`, Resource: "a\nb", ResourceType: "é"},
		",resource=\uFFFD":                          {Resource: "\xff"},
	} {
		got := string(AppendSeries(nil, id, &l))
		if want := "measures,metric=ab010000-0000-0000-0000-000000000000" + want + " value="; got != want {
			t.Errorf("%+v is %s, want %s", l, got, want)
		}
	}
	for want, v := range map[string]float64{
		"0": 0, "-0": math.Copysign(0, -1), "1": 1, "-12": -12, "0.1": 0.1, "9.007199254740991e+15": 1<<53 - 1,
		"1e+300":            1e300,
		"5e-324,special=1i": math.NaN(), "5e-324,special=2i": math.Inf(1), "5e-324,special=3i": math.Inf(-1),
		"5e-324,special=0i": 5e-324, "-5e-324": -5e-324,
	} {
		want = strings.Replace(want, "9.007199254740991e+15", "9007199254740991", 1)
		if got := string(AppendMeasure(nil, "m value=", ingest.Measure{Time: -7, Value: v})); got != "m value="+want+
			" -7\n" {
			t.Errorf("%v is %q, want %s", v, got, want)
		}
	}
}

// FuzzLine reads lines with a parser of the field's: what comes back is what was written.
func FuzzLine(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), "cpu", "host", "instance", 1.5, int64(1))
	f.Add([]byte{}, "a,b=c d\\\n\"\x00\xff", "\\", " ", math.NaN(), int64(math.MaxInt64-2))
	f.Add([]byte{1}, "", "#,", "é\\,", math.SmallestNonzeroFloat64, int64(math.MinInt64+2))
	f.Fuzz(func(t *testing.T, idBytes []byte, name, resource, resourceType string, value float64, at int64) {
		var id ingest.MetricID
		copy(id[:], idBytes)
		at = min(max(at, minTime), maxTime)
		series := AppendSeries(nil, id, &ingest.Labels{Name: name, Resource: resource, ResourceType: resourceType})
		line := AppendMeasure(nil, string(series), ingest.Measure{Time: at, Value: value})
		line = AppendMeasure(line, string(series), ingest.Measure{Time: at, Value: 1}) // a neighbour
		in := lineprotocol.NewDecoderWithBytes(line)
		for _, want := range []float64{value, 1} {
			if !in.Next() {
				t.Fatalf("no line in %q", line)
			}
			checkLine(t, in, []string{id.String(), stored(name), stored(resource), stored(resourceType)}, want, at)
		}
		if in.Next() {
			t.Fatalf("a third line in %q", line)
		}
	})
}

// stored is what a label is stored as.
func stored(label string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\\':
			return '/'
		case unicode.IsControl(r):
			return ' '
		}
		return r
	}, strings.ToValidUTF8(label, "\uFFFD"))
}

func checkLine(t *testing.T, in *lineprotocol.Decoder, labels []string, value float64, at int64) {
	t.Helper()
	if name, err := in.Measurement(); err != nil || string(name) != measures {
		t.Fatalf("measurement %q, %v", name, err)
	}
	found := make(map[string]string)
	for {
		key, tag, err := in.NextTag()
		if err != nil {
			t.Fatal(err)
		}
		if key == nil {
			break
		}
		found[string(key)] = string(tag)
	}
	for i, key := range []string{"metric", "name", "resource", "resource_type"} {
		if found[key] != labels[i] {
			t.Errorf("tag %s is %q, want %q", key, found[key], labels[i])
		}
	}
	got, special := math.NaN(), 0
	for {
		key, field, err := in.NextField()
		if err != nil {
			t.Fatal(err)
		}
		if key == nil {
			break
		}
		switch v := field.Interface().(type) {
		case float64:
			got = v
		case int64:
			special = int(v)
		}
	}
	if got = valueOf(got, special); math.Float64bits(got) != math.Float64bits(value) && !(got != got && value != value) {
		t.Errorf("value %v, want %v", got, value)
	}
	if when, err := in.TimeBytes(); err != nil || string(when) != string(appendTime(at)) {
		t.Errorf("time %s, %v; want %d", when, err, at)
	}
}

func BenchmarkAppendMeasure(b *testing.B) {
	series := string(AppendSeries(nil, ingest.MetricID{1, 2, 3},
		&ingest.Labels{Name: "cpu.util", Resource: "4f7b7f31-6b1c-4b5e-9e0a-000000000001", ResourceType: "instance"}))
	for name, value := range map[string]float64{"whole": 42, "two decimals": 37.25, "full mantissa": math.Pi * 1e3} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var line []byte
			m := ingest.Measure{Time: 1_700_000_000_000_000_000, Value: value}
			for b.Loop() {
				line = AppendMeasure(line[:0], series, m)
				m.Time += 1e9
			}
			b.SetBytes(int64(len(line)))
		})
	}
}

func appendTime(at int64) []byte { return strconv.AppendInt(nil, at, 10) }
