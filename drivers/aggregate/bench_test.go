package aggregate

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"millrace/ingest"
)

// hours makes a noisy gauge with two decimals, one measure per second.
func hours(n int) []ingest.Measure {
	random := rand.New(rand.NewPCG(11, 12))
	raw := make([]ingest.Measure, n*3600)
	for i := range raw {
		raw[i] = ingest.Measure{Time: noon + int64(i)*int64(time.Second), Value: math.Round(random.NormFloat64()*1000) / 100}
	}
	return raw
}

func perMeasure(b *testing.B, measures int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(measures), "ns/measure")
}

func BenchmarkPlan(b *testing.B) {
	defaults, all := ingest.DefaultMethods(), ingest.AllMethods()
	raw := hours(24)
	for _, c := range []struct {
		name    string
		methods []ingest.Method
	}{
		{"default", defaults.List()},
		{"mean", []ingest.Method{ingest.Mean}},
		{"last", []ingest.Method{ingest.Last}},
		{"std", []ingest.Method{ingest.Std}},
		{"95pct", []ingest.Method{ingest.Percentile(95)}},
		{"rate-mean", []ingest.Method{ingest.Mean.OfRate()}},
		{"all", all.List()},
	} {
		plan := NewPlan(c.methods)
		values, present := make([]float64, len(c.methods)), make([]bool, len(c.methods))
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for i := 0; i < len(raw); {
					j := BucketEnd(raw, i, time.Minute)
					plan.Bucket(raw, i, j, values, present)
					i = j
				}
			}
			perMeasure(b, len(raw))
		})
	}
}

func BenchmarkSeries(b *testing.B) {
	raw := hours(24)
	var dst []ingest.Measure
	for _, m := range []ingest.Method{ingest.Mean, ingest.Max, ingest.Median, ingest.Mean.OfRate()} {
		b.Run(m.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				dst = Series(dst[:0], raw, time.Minute, m, ingest.MinTime, ingest.MaxTime)
			}
			perMeasure(b, len(raw))
		})
	}
}

// BenchmarkSeriesOfMinutes has one measure in each bucket, as a metric that is polled.
func BenchmarkSeriesOfMinutes(b *testing.B) {
	raw := Resample(nil, hours(24), time.Minute, ingest.Mean)
	for _, m := range []ingest.Method{ingest.Mean, ingest.Max} {
		b.Run(m.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Series(nil, raw, time.Minute, m, ingest.MinTime, ingest.MaxTime)
			}
			perMeasure(b, len(raw))
		})
	}
}

func BenchmarkResampleCalendar(b *testing.B) {
	rows := Resample(nil, hours(24*7), time.Minute, ingest.Mean)
	var dst []ingest.Measure
	b.ReportAllocs()
	for b.Loop() {
		dst = ResampleCalendar(dst[:0], rows, Month, ingest.Mean)
	}
	perMeasure(b, len(rows))
}

// TestNoAllocation holds what the benchmarks show: nothing is allocated once the
// scratch memory has grown.
func TestNoAllocation(t *testing.T) {
	all := ingest.AllMethods()
	methods := all.List()
	raw := hours(1)
	plan := NewPlan(methods)
	values, present := make([]float64, len(methods)), make([]bool, len(methods))
	var dst []ingest.Measure
	f := func(name string, run func()) {
		t.Helper()
		run()
		if n := testing.AllocsPerRun(10, run); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	f("Plan.Bucket", func() { plan.Bucket(raw, 60, 120, values, present) })
	f("Series", func() {
		dst = Series(dst[:0], raw, time.Minute, ingest.Std.OfRate(), ingest.MinTime, ingest.MaxTime)
	})
	f("Series with a sort", func() {
		dst = Series(dst[:0], raw, time.Minute, ingest.Median, ingest.MinTime, ingest.MaxTime)
	})
}
