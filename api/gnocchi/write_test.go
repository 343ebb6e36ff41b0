package gnocchi

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"millrace/ingest"
)

func TestAppendTime(t *testing.T) {
	f := func(at, want string) {
		t.Helper()
		if got := string(AppendTime(nil, instantOf(t, at))); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
	f("1970-01-01T00:00:00Z", "1970-01-01T00:00:00+00:00")
	f("2015-03-06T14:33:57Z", "2015-03-06T14:33:57+00:00")
	f("2015-03-06T14:33:57.2Z", "2015-03-06T14:33:57.200000+00:00")
	f("2015-03-06T14:33:57.000001Z", "2015-03-06T14:33:57.000001+00:00")
	f("2015-03-06T14:33:57.123456789Z", "2015-03-06T14:33:57.123456789+00:00")
	f("2015-03-06T14:33:57.000000001Z", "2015-03-06T14:33:57.000000001+00:00")
	f("2000-02-29T23:59:59.999999999Z", "2000-02-29T23:59:59.999999999+00:00")
	f("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500000+00:00")
	f("1677-09-21T00:12:43.145224192Z", "1677-09-21T00:12:43.145224192+00:00") // the first int64
	f("2262-04-11T23:47:16.854775807Z", "2262-04-11T23:47:16.854775807+00:00") // and the last
}

// The years 0 to 9999, there and back; every day of those that a Measure can be in.
func TestDates(t *testing.T) {
	for day := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 10000; {
		days := day.Unix() / 86400
		if got := daysSinceEpoch(day.Year(), int(day.Month()), day.Day()); got != days {
			t.Fatalf("%v is day %d, want %d", day, got, days)
		}
		if got, want := string(appendDate(nil, days)), day.Format("2006-01-02T"); got != want {
			t.Fatalf("day %d is %s, want %s", days, got, want)
		}
		step := 1
		if day.Year() < 1677 || day.Year() > 2262 {
			step = 27
		}
		day = day.AddDate(0, 0, step)
	}
}

// testdata/floats.txt is what testdata/floats.py prints.
func TestAppendFloatAsPython(t *testing.T) {
	table, err := os.ReadFile("testdata/floats.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		var bits uint64
		var want string
		if _, err := fmt.Sscanf(line, "%x %s", &bits, &want); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if got := string(AppendFloat(nil, math.Float64frombits(bits))); got != want {
			t.Errorf("%016x: %s, want %s", bits, got, want)
		}
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if got := string(AppendFloat(nil, v)); got != "null" {
			t.Errorf("%v: %s, want null", v, got)
		}
	}
}

func FuzzAppendFloat(f *testing.F) {
	f.Add(uint64(0x40458ccccccccccd))
	f.Fuzz(func(t *testing.T, bits uint64) {
		v := math.Float64frombits(bits)
		// A second value with few decimals, where the shortcut is.
		for _, v := range []float64{v, math.Trunc(math.Mod(v, 1e15)) / 1000, math.Trunc(math.Mod(v, 1e9)) / 100} {
			got := string(AppendFloat(nil, v))
			if math.IsNaN(v) || math.IsInf(v, 0) {
				continue
			}
			digits := func(s string) string {
				s, _, _ = strings.Cut(s, "e")
				return strings.Trim(strings.NewReplacer(".", "", "-", "").Replace(s), "0")
			}
			if want := fmt.Sprint(v); digits(got) != digits(want) {
				t.Errorf("%s has other digits than %s", got, want)
			}
			var back float64
			if err := json.Unmarshal([]byte(got), &back); err != nil || math.Float64bits(back) != math.Float64bits(v) {
				t.Errorf("%s reads as %v, want %v (%v)", got, back, v, err)
			}
		}
	})
}

func TestAppendString(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		if got := string(AppendString(nil, s)); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
	f("", `""`)
	f("medium", `"medium"`)
	f("transformable resource id >289 <&>", `"transformable resource id >289 <&>"`)
	f("timespan ≠ granularity × points ☃ 𝄞", `"timespan ≠ granularity × points ☃ 𝄞"`)
	f("a\"b\\c/\b\f\n\r\t\x00\x1f\x7f", `"a\"b\\c/\b\f\n\r\t\u0000\u001f`+"\x7f\"")
	f("a\xffb\xed\xa0\x80c\xc3", `"a`+"\ufffd"+`b`+"\ufffd\ufffd\ufffd"+`c`+"\ufffd"+`"`)
	f("\ufffd\u2028", "\"\ufffd\u2028\"")
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\xff\u2028\"")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(AppendString(nil, s), &back); err != nil {
			t.Fatal(err)
		}
		if want := string([]rune(s)); back != want {
			t.Errorf("%q came back as %q", s, back)
		}
	})
}

func TestAppendRows(t *testing.T) {
	row := func(at string, v float64) ingest.Measure { return ingest.Measure{Time: instantOf(t, at), Value: v} }
	dst := AppendRows([]byte("["), nil, "3600.0")
	dst = AppendRows(dst, []ingest.Measure{
		row("2014-01-01T12:00:00Z", 3.5), row("2014-01-01T23:59:59Z", math.NaN()), row("2014-01-02T00:00:00Z", -1),
		row("1969-12-31T23:59:59Z", 1), row("2014-01-01T12:00:00.2Z", 1e16),
	}, "60.0")
	dst = append(AppendRows(dst, []ingest.Measure{row("2015-01-01T00:00:00Z", 7)}, `"Y"`), ']')
	want := `[["2014-01-01T12:00:00+00:00", 60.0, 3.5], ["2014-01-01T23:59:59+00:00", 60.0, null], ` +
		`["2014-01-02T00:00:00+00:00", 60.0, -1.0], ["1969-12-31T23:59:59+00:00", 60.0, 1.0], ` +
		`["2014-01-01T12:00:00.200000+00:00", 60.0, 1e+16], ["2015-01-01T00:00:00+00:00", "Y", 7.0]]`
	if string(dst) != want {
		t.Errorf("got  %s\nwant %s", dst, want)
	}
}

func TestMarshal(t *testing.T) {
	type name string
	type inner struct {
		Name string `json:"name"`
	}
	type outer struct {
		Zulu    int       `json:"zulu"`
		Alpha   []inner   `json:"alpha"`
		Unit    *string   `json:"unit"`
		Started time.Time `json:"started_at"`
		Left    string    `json:"left,omitempty"`
		Secret  string    `json:"-"`
		Plain   bool
		hidden  int
	}
	at := time.Date(2015, 3, 6, 14, 33, 57, 123456000, time.FixedZone("", 3600))
	one := 1
	f := func(v any, want string) {
		t.Helper()
		if got := string(Marshal(v)); got != want {
			t.Errorf("%#v\ngot  %s\nwant %s", v, got, want)
		}
		if !json.Valid(Marshal(v)) {
			t.Errorf("%#v isn't valid JSON", v)
		}
	}
	f(nil, `null`)
	f(true, `true`)
	f(-7, `-7`)
	f(uint8(7), `7`)
	f(60.0, `60.0`)
	f(float32(0.5), `0.5`)
	f(math.NaN(), `null`)
	f(name("é>"), `"é>"`)
	f(json.Number("1.50"), `1.50`)
	f(json.RawMessage(`{"a":1}`), `{"a":1}`)
	f(json.RawMessage(nil), `null`)
	f(at, `"2015-03-06T13:33:57.123456+00:00"`)
	f(&at, `"2015-03-06T13:33:57.123456+00:00"`)
	f((*time.Time)(nil), `null`)
	f(time.Time{}, `null`)
	f(time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), `"0001-01-01T00:00:01+00:00"`)
	f(24*time.Hour, `"1 day, 0:00:00"`)
	f(testID, `"5c000000-0000-0000-0000-000000000001"`)
	f(map[string]any{"name": "medium", "back_window": 0, "list": []any{}},
		`{"back_window": 0, "list": [], "name": "medium"}`)
	f(map[name][]int{"b": {1, 2}, "a": nil}, `{"a": [], "b": [1, 2]}`)
	f(Object{{"z", 1}, {"a", Object{}}}, `{"z": 1, "a": {}}`)
	f([]ingest.MetricID{testID}, `["5c000000-0000-0000-0000-000000000001"]`)
	f([2]*int{&one, nil}, `[1, null]`)
	f(outer{Zulu: 1, Alpha: []inner{{"a"}, {"b"}}, Secret: "x", hidden: 1},
		`{"zulu": 1, "alpha": [{"name": "a"}, {"name": "b"}], "unit": null, "started_at": null, "Plain": false}`)
}
