package carbonara

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"millrace/ingest"
)

func benchPolicies() policyMap {
	medium := &ingest.ArchivePolicy{Name: "medium", Methods: ingest.DefaultMethods(), Definitions: []ingest.Definition{
		{Granularity: time.Minute, Points: 10080, Timespan: 7 * 24 * time.Hour},
		{Granularity: time.Hour, Points: 8760, Timespan: 365 * 24 * time.Hour}}}
	return policyMap{"medium": medium}
}

// gauge is a noisy two-decimal gauge.
func gauge(random *rand.Rand) float64 { return math.Round(random.NormFloat64()*1000+5000) / 100 }

// benchRecord makes one record of a sack's metrics, each with n measures a minute
// apart, the first at from.
func benchRecord(ids []ingest.MetricID, from int64, n int, random *rand.Rand) ingest.Record {
	r := ingest.Record{Kind: ingest.RecordMeasures}
	measures := make([]ingest.Measure, n*len(ids))
	for i := range ids {
		own := measures[i*n : (i+1)*n : (i+1)*n]
		for j := range own {
			own[j] = ingest.Measure{Time: from + int64(j)*int64(time.Minute), Value: gauge(random)}
		}
		r.Entries = append(r.Entries, ingest.Entry{Metric: ids[i], Policy: "medium", Measures: own})
	}
	return r
}

// BenchmarkSteady is a sack of 625 metrics (10,000 in 16 sacks), each with a new
// measure every minute of data: apply, flush, and all the housekeeping.
func BenchmarkSteady(b *testing.B) { benchmarkSack(b, 625, 1) }

// BenchmarkBulk is the same with 60 measures of each metric at once.
func BenchmarkBulk(b *testing.B) { benchmarkSack(b, 625, 60) }

// BenchmarkLarge is a sack of 62,500 metrics (1,000,000 in 16 sacks).
func BenchmarkLarge(b *testing.B) { benchmarkSack(b, 62_500, 1) }

func benchmarkSack(b *testing.B, metrics, each int) {
	ctx := b.Context()
	store := newMemoryStore()
	store.largest = 64 << 20
	d, err := New(ctx, store, benchPolicies(), 1, Config{Grace: time.Nanosecond})
	if err != nil {
		b.Fatal(err)
	}
	w, _, err := d.Open(ctx, 0)
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	ids := make([]ingest.MetricID, metrics)
	for i := range ids {
		ids[i] = ingest.NewMetricID()
	}
	record := benchRecord(ids, 1_700_000_000_000_000_000, each, random)
	b.ReportAllocs()
	rounds := 0
	for b.Loop() {
		for i := range record.Entries {
			for j := range record.Entries[i].Measures {
				record.Entries[i].Measures[j].Time += int64(each) * int64(time.Minute)
			}
		}
		if _, err := w.Apply(ctx, []ingest.Delivery{{Offset: ingest.Offset(rounds), Record: record}}); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Flush(ctx, upTo(ingest.Offset(rounds)+1)); err != nil {
			b.Fatal(err)
		}
		if err := w.Maintain(ctx); err != nil {
			b.Fatal(err)
		}
		rounds++
	}
	n := float64(rounds * metrics * each)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/measure")
	s := d.Stats()
	b.ReportMetric(float64(s.Seals), "seals")
	b.ReportMetric(float64(s.Merges), "merges")
	b.ReportMetric(float64(s.Bytes)/float64(s.Rows), "B/row")
}
