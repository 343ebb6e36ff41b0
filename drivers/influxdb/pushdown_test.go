package influxdb

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/ingest"
	"millrace/testservers"
)

// minutes knows a policy of minutes by any name, and every metric.
type minutes struct{}

func (minutes) Policy(context.Context, string) (*ingest.ArchivePolicy, error) {
	return &ingest.ArchivePolicy{Name: "p", Methods: ingest.DefaultMethods(),
		Definitions: []ingest.Definition{{Granularity: time.Minute}}}, nil
}

func (minutes) Labels(_ context.Context, metrics []ingest.MetricID) ([]ingest.Labels, error) {
	return slices.Repeat([]ingest.Labels{{Known: true}}, len(metrics)), nil
}

// BenchmarkRead compares reads from raw measures, as the driver does them, with having
// InfluxDB aggregate by aggregateWindow: a day of minutes, of one metric and of twenty.
// It says, too, how many rows are not the same to the bit.
func BenchmarkRead(b *testing.B) {
	server := testservers.InfluxDB(b, testservers.Influx2)
	for _, size := range []struct{ metrics, perMinute int }{{1, 1}, {1, 60}, {20, 1}, {20, 6}} {
		d, err := New(Config{URL: server.URL(), Org: server.Org, Token: server.Token, Sacks: 1, CreateBucket: true,
			Bucket: fmt.Sprintf("read-%d-%d", size.metrics, size.perMinute)}, minutes{}, minutes{},
			slog.New(slog.DiscardHandler), noop.NewMeterProvider().Meter(""))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = d.Close() }()
		ids := writeDay(b, d, size.metrics, size.perMinute)
		for _, m := range []ingest.Method{ingest.Max, ingest.Mean} {
			name := fmt.Sprintf("metrics=%d/measures=%d/%s", size.metrics, 1440*size.perMinute, m)
			raw, pushed := make([][]ingest.Measure, len(ids)), make([][]ingest.Measure, len(ids))
			b.Run(name+"/raw", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					readDay(b, d, ids, m, raw)
				}
			})
			b.Run(name+"/aggregateWindow", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					pushDay(b, d, ids, m, pushed)
				}
				b.ReportMetric(float64(unequal(raw, pushed)), "unequal")
			})
		}
	}
}

const dayStart int64 = 1_700_006_400e9

// writeDay writes a day of random measures of some metrics.
func writeDay(b *testing.B, d *Driver, metrics, perMinute int) (ids []ingest.MetricID) {
	b.Helper()
	w, _, err := d.Open(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var offset ingest.Offset
	for i := range metrics {
		id := ingest.MetricID{1, byte(i)}
		ids = append(ids, id)
		var list []ingest.Measure
		for j := range 1440 * perMinute {
			list = append(list, ingest.Measure{Time: dayStart + int64(j)*60e9/int64(perMinute), Value: random.Float64() * 100})
		}
		r := ingest.Record{Entries: []ingest.Entry{{Metric: id, Policy: "p", Measures: list}}}
		if _, err := w.Apply(b.Context(), []ingest.Delivery{{Offset: offset, Record: r}}); err != nil {
			b.Fatal(err)
		}
		offset++
	}
	if _, err := w.Flush(b.Context(), ingest.Watermark{Offset: offset}); err != nil {
		b.Fatal(err)
	}
	return ids
}

func readDay(b *testing.B, d *Driver, ids []ingest.MetricID, m ingest.Method, dst [][]ingest.Measure) {
	b.Helper()
	policy, _ := minutes{}.Policy(b.Context(), "p")
	queries := make([]ingest.Query, len(ids))
	for i, id := range ids {
		dst[i] = dst[i][:0]
		queries[i] = ingest.Query{Metric: id, Policy: policy, Granularity: time.Minute, Method: m, From: dayStart,
			To: dayStart + int64(day)}
	}
	if _, err := d.Read(b.Context(), queries, dst, nil); err != nil {
		b.Fatal(err)
	}
}

// pushDay has InfluxDB aggregate: of the field value alone, as if no measure were special.
func pushDay(b *testing.B, d *Driver, ids []ingest.MetricID, m ingest.Method, dst [][]ingest.Measure) {
	b.Helper()
	var reads []*metricRead
	at := make(map[string]int)
	for i, id := range ids {
		dst[i] = dst[i][:0]
		reads = append(reads, &metricRead{metric: id})
		at[id.String()] = i
	}
	flux := d.pointsFlux(reads, "", []string{"value"}, dayStart, dayStart+int64(day))
	cut := strings.LastIndex(flux, " |> keep(")
	flux = flux[:cut] + fmt.Sprintf(` |> aggregateWindow(every: 1m, fn: %s, createEmpty: false, timeSrc: "_start")`, m) +
		flux[cut:]
	if err := d.query(b.Context(), flux, func(r *row) error {
		p, err := pointOf(r)
		i := at[string(r.field("metric"))]
		dst[i] = append(dst[i], ingest.Measure{Time: p.time, Value: p.value})
		return err
	}); err != nil {
		b.Fatal(err)
	}
}

// unequal counts the rows that differ.
func unequal(a, b [][]ingest.Measure) (n int) {
	for i := range a {
		if len(a[i]) != len(b[i]) {
			return max(len(a[i]), len(b[i]))
		}
		for j := range a[i] {
			if a[i][j] != b[i][j] {
				n++
			}
		}
	}
	return n
}
