package influxdb

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"millrace/ingest"
)

// FuzzParseTime compares with the standard library.
func FuzzParseTime(f *testing.F) {
	for _, at := range []int64{0, 1, -1, minTime, endTime, 951782400e9, 1715947200000000001, -86400e9} {
		f.Add(stamp(at))
	}
	f.Add("2024-02-30T00:00:00Z")
	f.Fuzz(func(t *testing.T, text string) {
		want, wantErr := time.Parse(time.RFC3339Nano, text)
		got, err := parseTime([]byte(text))
		if wantErr != nil || want.Year() < 1678 || want.Year() > 2261 || !strings.HasSuffix(text, "Z") || len(text) > 30 ||
			strings.Contains(text, ",") || want.UTC().Format(time.RFC3339Nano) != text {
			return // not what InfluxDB writes
		}
		if err != nil || got != want.UnixNano() {
			t.Errorf("%s is %d, %v; want %d", text, got, err, want.UnixNano())
		}
	})
}

func TestParseTimeEnds(t *testing.T) {
	for _, at := range []int64{minTime, minTime + 1, -1, 0, maxTime, endTime, -1e9, -1e9 - 1} {
		if got, err := parseTime([]byte(stamp(at))); err != nil || got != at {
			t.Errorf("%s is %d, %v; want %d", stamp(at), got, err, at)
		}
	}
	for _, text := range []string{"", "2024", "2024-05-17 12:00:00Z", "2024-05-17T12:00:0xZ", "2024-05-17T12:00:00+01:00",
		"2024-05-17T12:00:00.1234567890Z"} {
		if _, err := parseTime([]byte(text)); err == nil {
			t.Errorf("%q is a time", text)
		}
	}
}

func rowsOf(t *testing.T, from io.Reader) (rows []string, err error) {
	t.Helper()
	err = readRows(from, func(r *row) error {
		rows = append(rows, r.text("a")+"|"+r.text("b"))
		return nil
	})
	return rows, err
}

// Answers as both versions write them.
func TestReadRows(t *testing.T) {
	for text, want := range map[string][]string{
		"\r\n":                                  nil,
		",result,table,a\r\n,,0,1\r\n,,1,2\r\n": {"1|", "2|"},
		"#datatype,string,long\r\n#group,false,false\r\n#default,_result,\r\n,result,b,a\r\n,,x,\r\n\r\n,result,a\r\n,," +
			"y\r\n": {"|x", "y|"},
		",a,b\n,\"{\"\"k\"\":1,\"\"l\"\":2}\",2\n": {`{"k":1,"l":2}|2`},
	} {
		if got, err := rowsOf(t, strings.NewReader(text)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
}

// What goes wrong in the middle of an answer is an error, not an end.
func TestReadRowsFails(t *testing.T) {
	rows, err := rowsOf(t, strings.NewReader(",a\n,1\n\n,error,reference\n,\"out of memory, and more\",897\n"))
	if err == nil || !strings.Contains(err.Error(), "out of memory, and more") || len(rows) != 1 {
		t.Errorf("%q, %v; want the server's error after a row", rows, err)
	}
	cut := errors.New("connection reset")
	_, err = rowsOf(t, io.MultiReader(strings.NewReader(",a\n,1\n"), iotest.ErrReader(cut)))
	if !errors.Is(err, cut) {
		t.Errorf("%v, want an answer that is cut", err)
	}
}

func FuzzReadRows(f *testing.F) {
	f.Add(",a,b\r\n,1,2\r\n\r\n,error\r\n,x\r\n")
	f.Add(",a\n,\"x\n")
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		if err := readRows(strings.NewReader(text), func(r *row) error { n++; r.text("a"); return nil }); err == nil &&
			n > strings.Count(text, "\n")+1 {
			t.Errorf("%d rows of %q", n, text)
		}
	})
}

func BenchmarkReadRows(b *testing.B) {
	var text strings.Builder
	text.WriteString(",result,table,_time,_value,_field,metric\r\n")
	for i := range 1440 {
		text.WriteString(",_result,0," + stamp(int64(i)*60e9) + ",37.25,value,4f7b7f31-6b1c-4b5e-9e0a-000000000001\r\n")
	}
	b.ReportAllocs()
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		err := readRows(strings.NewReader(text.String()), func(r *row) error { _, err := pointOf(r); return err })
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWindowRows reads the rows of a window, as a read does.
func BenchmarkWindowRows(b *testing.B) {
	const n = 1440
	reads := []*metricRead{{metric: ingest.MetricID{1}}}
	var text strings.Builder
	text.WriteString("#default,w0,,,,,\r\n,result,table,_time,_value,_field,metric\r\n")
	for i := range n {
		fmt.Fprintf(&text, ",,0,%s,%g,value,%s\r\n", stamp(int64(i)*60e9), float64(i)/7, reads[0].metric)
	}
	window := window{ingest.Mean, time.Minute}
	b.ReportAllocs()
	for b.Loop() {
		rows := make(map[*metricRead][]ingest.Measure)
		find := finder(reads)
		err := readRows(strings.NewReader(text.String()), func(row *row) error {
			r, err := find(row)
			if err != nil {
				return err
			}
			p, err := pointOf(row)
			if err != nil {
				return err
			}
			return window.add(rows, r, &p)
		})
		if err != nil || len(rows[reads[0]]) != n {
			b.Fatalf("%d rows, %v", len(rows[reads[0]]), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
}
