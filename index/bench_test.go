package index

import (
	"fmt"
	"runtime"
	"testing"

	"millrace/ingest"
)

// BenchmarkLookup looks up 1,000 metrics that are cached, as an accepted request does.
func BenchmarkLookup(b *testing.B) {
	for _, metrics := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("metrics=%d", metrics), func(b *testing.B) {
			x := &Index{cache: newCache(2<<20, 0), config: Config{Refresh: -1}}
			created := make([]Metric, metrics)
			for i := range created {
				created[i] = Metric{ID: ingest.NewMetricID(), Policy: "low", Creator: "admin"}
			}
			before := heap()
			x.cache.committed(&effects{created: created}, 0)
			size := heap() - before
			entries, infos := make([]ingest.Entry, 1_000), make([]MetricInfo, 1_000)
			next := 0
			b.ReportAllocs()
			for b.Loop() {
				for i := range entries {
					entries[i].Metric = created[next].ID
					next = (next + 1) % metrics
				}
				if missing, err := x.Lookup(b.Context(), entries, infos); len(missing) > 0 || err != nil {
					b.Fatal(missing, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1_000, "ns/metric")
			b.ReportMetric(float64(size)/float64(metrics), "B/metric")
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkLookupCold looks up metrics that the cache doesn't hold.
func BenchmarkLookupCold(b *testing.B) {
	x := openBench(b, Config{CacheMetrics: 1})
	created := benchMetrics(100_000)
	if err := x.CreateMetrics(b.Context(), created); err != nil {
		b.Fatal(err)
	}
	entries, infos := make([]ingest.Entry, 1_000), make([]MetricInfo, 1_000)
	next := 0
	for b.Loop() {
		for i := range entries {
			entries[i].Metric = created[next%len(created)].ID
			next++
		}
		if missing, err := x.Lookup(b.Context(), entries, infos); len(missing) > 0 || err != nil {
			b.Fatal(missing, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1_000, "ns/metric")
}

// BenchmarkCreateMetrics creates metrics in batches, into a database that grows.
func BenchmarkCreateMetrics(b *testing.B) {
	for _, batch := range []int{1, 1_000, 10_000} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			x := openBench(b, Config{})
			for b.Loop() {
				if err := x.CreateMetrics(b.Context(), benchMetrics(batch)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "metrics/s")
		})
	}
}

// BenchmarkCreateMetricConcurrently has many requests create one metric each: they
// share transactions.
func BenchmarkCreateMetricConcurrently(b *testing.B) {
	x := openBench(b, Config{})
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := x.CreateMetrics(b.Context(), benchMetrics(1)); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "metrics/s")
}

// BenchmarkMetrics lists a page of 1,000 out of 100,000.
func BenchmarkMetrics(b *testing.B) {
	x := openBench(b, Config{})
	created := benchMetrics(100_000)
	if err := x.CreateMetrics(b.Context(), created); err != nil {
		b.Fatal(err)
	}
	marker := created[0].ID.String()
	for _, sort := range []string{"id", "name:desc", "unit"} {
		b.Run(sort, func(b *testing.B) {
			for b.Loop() {
				if _, err := x.Metrics(b.Context(), Filter{}, Page{Limit: 1_000, Marker: marker,
					Sorts: []string{sort}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func openBench(b *testing.B, config Config) *Index {
	x, err := openURL(b, "sqlite:"+b.TempDir()+"/index.db", config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { x.Close() })
	if _, err := x.CreateDefaults(b.Context()); err != nil {
		b.Fatal(err)
	}
	return x
}

func benchMetrics(n int) []Metric {
	metrics := make([]Metric, n)
	unit := "percent"
	for i := range metrics {
		id := ingest.NewMetricID()
		name := fmt.Sprintf("host-%x.cpu.util", id[:4])
		metrics[i] = Metric{ID: id, Name: &name, Unit: &unit, Creator: "admin", Policy: "low"}
	}
	return metrics
}
