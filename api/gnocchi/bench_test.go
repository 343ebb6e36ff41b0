package gnocchi

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"millrace/ingest"
)

// body is a batch of metrics × measures, with values of two decimals.
func body(metrics, measures int, stamp func(t time.Time) string) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	data := []byte("{")
	for m := range metrics {
		if m > 0 {
			data = append(data, ", "...)
		}
		data = fmt.Appendf(data, `"%08x-ebe1-4737-812e-cf0ddf26f5ad": `, rng.Uint32())
		data = appendMeasures(data, rng, measures, stamp)
	}
	return append(data, '}')
}

func appendMeasures(data []byte, rng *rand.Rand, measures int, stamp func(t time.Time) string) []byte {
	t := time.Date(2015, 3, 6, 14, 33, 57, 0, time.UTC)
	data = append(data, '[')
	for i := range measures {
		if i > 0 {
			data = append(data, ", "...)
		}
		data = fmt.Appendf(data, `{"timestamp": %s, "value": %.2f}`, stamp(t), rng.NormFloat64()*10+50)
		t = t.Add(10 * time.Second)
	}
	return append(data, ']')
}

var stamps = []struct {
	name  string
	write func(t time.Time) string
}{
	{"iso", func(t time.Time) string { return t.Format(`"2006-01-02T15:04:05"`) }},
	{"isoMicro", func(t time.Time) string { return t.Format(`"2006-01-02T15:04:05.123456+00:00"`) }},
	{"epoch", func(t time.Time) string { return fmt.Sprint(t.Unix()) }},
	{"epochMicro", func(t time.Time) string { return fmt.Sprintf("%d.123456", t.Unix()) }},
}

func BenchmarkScan(b *testing.B) {
	for _, stamp := range stamps {
		data := appendMeasures(nil, rand.New(rand.NewPCG(1, 2)), 10000, stamp.write)
		b.Run("1x10000/"+stamp.name, func(b *testing.B) {
			benchmarkScan(b, data, func(batch *Batch) error {
				return ScanMeasures(data, time.Time{}, batch, ingest.MetricID{})
			})
		})
		for _, shape := range [][2]int{{100, 100}, {1000, 1}} {
			data := body(shape[0], shape[1], stamp.write)
			b.Run(fmt.Sprintf("%dx%d/%s", shape[0], shape[1], stamp.name), func(b *testing.B) {
				benchmarkScan(b, data, func(batch *Batch) error { return ScanBatch(data, time.Time{}, batch) })
			})
		}
	}
}

// BenchmarkScanSlow is what a body costs that the scanner gives up on.
func BenchmarkScanSlow(b *testing.B) {
	data := body(100, 100, stamps[0].write)
	benchmarkScan(b, data, func(batch *Batch) error { return slowBatch(data, time.Time{}, batch) })
}

func benchmarkScan(b *testing.B, data []byte, scan func(*Batch) error) {
	var batch Batch
	if err := scan(&batch); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if err := scan(&batch); err != nil {
			b.Fatal(err)
		}
		n += batch.Measures()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/measure")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "M/s")
}

func BenchmarkAppendRows(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, values := range []struct {
		name string
		next func() float64
	}{
		{"decimals", func() float64 { return float64(int(rng.NormFloat64()*1000+5000)) / 100 }},
		{"counts", func() float64 { return float64(rng.IntN(100)) }},
		{"means", func() float64 { return rng.NormFloat64()*10 + 50 }},
	} {
		rows := make([]ingest.Measure, 1440)
		for i := range rows {
			rows[i] = ingest.Measure{Time: int64(1425652380+60*i) * 1e9, Value: values.next()}
		}
		b.Run(values.name, func(b *testing.B) {
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendRows(append(dst[:0], '['), rows, "60.0")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/row")
		})
	}
}
