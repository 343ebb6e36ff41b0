package queue

import (
	"testing"

	"millrace/ingest"
)

// manyEntries is what a POST of 10,000 metrics says to one sack of 16.
func manyEntries() *ingest.Record { return benchRecord(625, 1) }

func longEntry() *ingest.Record { return benchRecord(1, 10_000) }

func benchRecord(entries, measures int) *ingest.Record {
	r := &ingest.Record{Kind: ingest.RecordMeasures, AcceptedAt: accepted,
		Project: "0b6f6cf8-a6bd-4c5b-8d0e-d2cbd8a9a2c4"}
	for range entries {
		e := ingest.Entry{Metric: ingest.NewMetricID(), Policy: "medium", Measures: make([]ingest.Measure, measures)}
		for i := range e.Measures {
			e.Measures[i] = ingest.Measure{Time: accepted.UnixNano() + int64(i)*10e9 + int64(i%7)*1e6, Value: float64(i) * 1.01}
		}
		r.Entries = append(r.Entries, e)
	}
	return r
}

func BenchmarkAppendRecord(b *testing.B) {
	f := func(name string, r *ingest.Record, measures int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = AppendRecord(buf[:0], r); err != nil {
					b.Fatal(err)
				}
			}
			report(b, measures, len(buf))
		})
	}
	f("625x1", manyEntries(), 625)
	f("1x10000", longEntry(), 10_000)
}

func BenchmarkDecode(b *testing.B) {
	f := func(name string, r *ingest.Record, measures int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			data := encode(b, r)
			var (
				d    Decoder
				into ingest.Deliveries
			)
			for b.Loop() {
				into.Reset()
				if err := d.Decode(&into, 1, data); err != nil {
					b.Fatal(err)
				}
			}
			report(b, measures, len(data))
		})
	}
	f("625x1", manyEntries(), 625)
	f("1x10000", longEntry(), 10_000)
}

func report(b *testing.B, measures, bytes int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(measures), "ns/measure")
	b.ReportMetric(float64(bytes)/float64(measures), "B/measure")
}
