package carbonara

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"millrace/ingest"
)

// BenchmarkRead reads one metric of a sack of 625 (10,000 in 16 sacks) with two days
// of minutes: its owner, and somebody else who has to look at the manifest each time.
func BenchmarkRead(b *testing.B) {
	store := newMemoryStore()
	store.largest = 64 << 20
	owner, err := New(b.Context(), store, benchPolicies(), 1, Config{ViewTTL: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	w, _, err := owner.Open(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	ids := make([]ingest.MetricID, 625)
	for i := range ids {
		ids[i] = ingest.NewMetricID()
	}
	const start, flushes, each = int64(1_700_000_000e9), 288, 10
	for n := range flushes {
		r := benchRecord(ids, start+int64(n*each)*int64(time.Minute), each, random)
		if _, err := w.Apply(b.Context(), []ingest.Delivery{{Offset: ingest.Offset(n), Record: r}}); err != nil {
			b.Fatal(err)
		}
		if n == flushes-1 {
			break // stays in the open table
		}
		if _, err := w.Flush(b.Context(), upTo(ingest.Offset(n)+1)); err != nil {
			b.Fatal(err)
		}
		if err := w.Maintain(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	reader, err := New(b.Context(), store, benchPolicies(), 1, Config{})
	if err != nil {
		b.Fatal(err)
	}
	end := start + flushes*each*int64(time.Minute)
	for name, d := range map[string]*Driver{"owner": owner, "other": reader} {
		for _, points := range []int{120, 1440} {
			for _, method := range []ingest.Method{ingest.Mean, ingest.Max} {
				b.Run(fmt.Sprintf("%s/%d/%s", name, points, method), func(b *testing.B) {
					b.ReportAllocs()
					var rows [][]ingest.Measure
					i := 0
					for b.Loop() {
						i++
						q := []ingest.Query{{Metric: ids[i*7%len(ids)], Policy: benchPolicies()["medium"], Granularity: time.Minute,
							Method: method,
							From:   end - int64(points)*int64(time.Minute), To: end}}
						rows = make([][]ingest.Measure, 1)
						if _, err := d.Read(b.Context(), q, rows, nil); err != nil {
							b.Fatal(err)
						}
					}
					if n := len(rows[0]); n < points-each || n > points {
						b.Fatalf("%d rows", n)
					}
				})
			}
		}
	}
}

// BenchmarkReadMany reads a day of minutes of each of a hundred metrics in 16 sacks, as an
// aggregate across them does: while the day is in the open tables, when it has been
// flushed, and when it has been sealed in several slots of time.
func BenchmarkReadMany(b *testing.B) {
	const metrics, minutes, sacks, start = 100, 1440, 16, int64(1_700_000_040e9)
	policy := &ingest.ArchivePolicy{Name: "minutes", Methods: ingest.MethodsOf(ingest.Mean),
		Definitions: []ingest.Definition{{Granularity: time.Minute, Points: minutes, Timespan: minutes * time.Minute}}}
	policies := policyMap{"minutes": policy}
	d, err := New(b.Context(), newMemoryStore(), policies, sacks, Config{SealRows: 1, slotRows: 1000})
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var queries []ingest.Query
	of := make([][]ingest.MetricID, sacks)
	for range metrics {
		id := ingest.NewMetricID()
		sack := ingest.SackOf(id, sacks)
		of[sack] = append(of[sack], id)
		queries = append(queries, ingest.Query{Metric: id, Policy: policy, Granularity: time.Minute, Method: ingest.Mean,
			From: start, To: start + minutes*int64(time.Minute)})
	}
	var writers []ingest.SackWriter
	each := func(do func(sack int, w ingest.SackWriter) error) {
		for sack, w := range writers {
			if err := do(sack, w); err != nil {
				b.Fatal(err)
			}
		}
	}
	for sack, ids := range of {
		w, _, err := d.Open(b.Context(), ingest.Sack(sack))
		if err != nil {
			b.Fatal(err)
		}
		writers = append(writers, w)
		r := benchRecord(ids, start, minutes, random)
		for i := range r.Entries {
			r.Entries[i].Policy = policy.Name
		}
		if _, err := w.Apply(b.Context(), []ingest.Delivery{{Offset: 0, Record: r}}); err != nil {
			b.Fatal(err)
		}
	}
	run := func(name string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rows := make([][]ingest.Measure, metrics)
				if _, err := d.Read(b.Context(), queries, rows, nil); err != nil {
					b.Fatal(err)
				}
				if n := len(rows[7]); n != minutes {
					b.Fatalf("%d rows", n)
				}
			}
		})
	}
	run("open")
	each(func(_ int, w ingest.SackWriter) error {
		_, err := w.Flush(b.Context(), upTo(1))
		return err
	})
	run("flushed")
	each(func(_ int, w ingest.SackWriter) error { return w.Maintain(b.Context()) })
	run("sealed")
}
