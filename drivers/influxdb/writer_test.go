package influxdb_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"millrace/drivers/influxdb"
	"millrace/ingest"
)

// A swallower answers as an InfluxDB 2.7 that takes every write, within the process.
type swallower struct{}

func (swallower) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)),
			Request: r}, nil
	}
	switch r.URL.Path {
	case "/health":
		return answer(http.StatusOK, `{"name":"influxdb","version":"v2.7.12"}`)
	case "/api/v2/buckets":
		return answer(http.StatusOK, `{"buckets":[{"name":"b"}]}`)
	case "/api/v2/write":
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		return answer(http.StatusNoContent, "")
	}
	return answer(http.StatusOK, "")
}

// BenchmarkWriter applies and flushes 60,000 measures of 600 metrics, as one sack of a fleet
// has them: in records of which each has the next measure of every metric, or many of a few.
func BenchmarkWriter(b *testing.B) {
	const metrics, each = 600, 100
	for _, measures := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d measures of a metric in a record", measures), func(b *testing.B) {
			d := open(b, influxdb.Config{URL: "http://influxdb", Org: "o", Bucket: "b", Token: "t", Sacks: 1,
				Transport: swallower{}}, anyPolicy{}, allKnown{})
			w, _, err := d.Open(b.Context(), 0)
			if err != nil {
				b.Fatal(err)
			}
			list := fleet(metrics, each, measures)
			var offset ingest.Offset
			b.ReportAllocs()
			for b.Loop() {
				for i := range list {
					list[i].Offset = offset
					offset++
				}
				for first := 0; first < len(list); first += 10 { // as fetches bring them
					if _, err := w.Apply(b.Context(), list[first:first+10]); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := w.Flush(b.Context(), ingest.Watermark{Offset: offset}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(metrics*each), "ns/measure")
		})
	}
}

// fleet makes records of so many measures of each metric, some at a time. All have as many
// entries.
func fleet(metrics, each, at int) []ingest.Delivery {
	perRecord := metrics / at
	var list []ingest.Delivery
	for round := range each / at {
		for first := 0; first < metrics; first += perRecord {
			record := ingest.Record{}
			for m := range perRecord {
				e := ingest.Entry{Metric: ingest.MetricID{byte(first + m), byte((first + m) >> 8)}, Policy: "p"}
				for i := range at {
					e.Measures = append(e.Measures,
						ingest.Measure{Time: 1_700_000_000_000_000_000 + int64(round*at+i)*1e9, Value: float64(i+m) / 100})
				}
				record.Entries = append(record.Entries, e)
			}
			list = append(list, ingest.Delivery{Record: record})
		}
	}
	return list
}
