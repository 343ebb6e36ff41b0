package influxdb

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/ingest"
	"millrace/testservers"
)

// A tap counts the queries that have a word in them.
type tap struct{ windows, raw atomic.Int64 }

func (c *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/query") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		switch {
		case bytes.Contains(body, []byte("aggregateWindow")):
			c.windows.Add(1)
		case bytes.Contains(body, []byte(measures)) && !bytes.Contains(body, []byte("first()")):
			c.raw.Add(1)
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// InfluxDB aggregates where it can, and nowhere else; the answers are the same.
func TestReadWindows(t *testing.T) {
	server := testservers.InfluxDB(t, testservers.Influx2)
	counts := &tap{}
	d, err := New(Config{URL: server.URL(), Org: server.Org, Token: server.Token, Sacks: 1, CreateBucket: true,
		Bucket: "windows", Transport: counts}, minutes{}, minutes{}, slog.New(slog.DiscardHandler),
		noop.NewMeterProvider().Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	w, _, err := d.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	plain, odd := ingest.MetricID{1}, ingest.MetricID{2}
	list := []ingest.Measure{{Time: dayStart, Value: 1}, {Time: dayStart + 59e9, Value: 2},
		{Time: dayStart + 60e9, Value: 4}}
	special := append(slices.Clone(list), ingest.Measure{Time: dayStart + 61e9, Value: math.Inf(1)})
	r := ingest.Record{Entries: []ingest.Entry{{Metric: plain, Policy: "p", Measures: list},
		{Metric: odd, Policy: "p", Measures: special}}}
	if _, err := w.Apply(t.Context(), []ingest.Delivery{{Record: r}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Flush(t.Context(), ingest.Watermark{Offset: 1}); err != nil {
		t.Fatal(err)
	}
	policy, _ := minutes{}.Policy(t.Context(), "p")
	read := func(m ingest.Method, from int64, limit int, windows, raw int64, first, second float64,
		ids ...ingest.MetricID) {
		t.Helper()
		counts.windows.Store(0)
		counts.raw.Store(0)
		dst, queries := make([][]ingest.Measure, len(ids)), make([]ingest.Query, len(ids))
		for i, id := range ids {
			queries[i] = ingest.Query{Metric: id, Policy: policy, Granularity: time.Minute, Method: m, From: from,
				To: ingest.MaxTime, Limit: limit}
		}
		if _, err := d.Read(t.Context(), queries, dst, nil); err != nil {
			t.Fatal(err)
		}
		want := []ingest.Measure{{Time: dayStart, Value: first}, {Time: dayStart + 60e9, Value: second}}
		if last := dst[len(dst)-1]; !slices.Equal(last, want) {
			t.Errorf("%s from %d: %v, want %v", m, from, last, want)
		}
		if w, r := counts.windows.Load(), counts.raw.Load(); w != windows || r != raw {
			t.Errorf("%s from %d: %d queries of windows and %d of raw measures, want %d and %d", m, from, w, r, windows, raw)
		}
	}
	read(ingest.Mean, dayStart+1, 0, 1, 0, 1.5, 4, plain)
	read(ingest.Count, 0, 0, 1, 0, 2, 1, plain)
	read(ingest.Sum, dayStart, 0, 1, 1, 3, math.Inf(1), plain, odd)
	read(ingest.Min, dayStart, 0, 1, 1, 1, 4, odd)
	read(ingest.Median, dayStart, 0, 0, 1, 1.5, 4, plain)
	read(ingest.Max, dayStart, 2, 0, 1, 2, 4, plain)
	read(ingest.Max, ingest.MinTime, 0, 0, 1, 2, 4, plain)
}

// minutes knows a policy of minutes by any name, and every metric.
type minutes struct{}

func (minutes) Policy(context.Context, string) (*ingest.ArchivePolicy, error) {
	return &ingest.ArchivePolicy{Name: "p", Methods: ingest.DefaultMethods(),
		Definitions: []ingest.Definition{{Granularity: time.Minute}}}, nil
}

func (minutes) Labels(_ context.Context, metrics []ingest.MetricID) ([]ingest.Labels, error) {
	return slices.Repeat([]ingest.Labels{{Known: true}}, len(metrics)), nil
}

// BenchmarkRead compares reads from raw measures with having InfluxDB aggregate by
// aggregateWindow: a day of minutes, of one metric and of twenty.
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
					readDay(b, ids, m, raw, func(reads []*metricRead) error { return d.readRaw(b.Context(), reads) })
				}
			})
			b.Run(name+"/aggregateWindow", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					readDay(b, ids, m, pushed, func(reads []*metricRead) error {
						_, err := d.readWindows(b.Context(), reads)
						return err
					})
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

// readDay reads a day of minutes in one of two ways.
func readDay(b *testing.B, ids []ingest.MetricID, m ingest.Method, dst [][]ingest.Measure,
	read func([]*metricRead) error) {
	b.Helper()
	policy, _ := minutes{}.Policy(b.Context(), "p")
	queries := make([]ingest.Query, len(ids))
	for i, id := range ids {
		dst[i] = dst[i][:0]
		queries[i] = ingest.Query{Metric: id, Policy: policy, Granularity: time.Minute, Method: m, From: dayStart,
			To: dayStart + int64(day)}
	}
	reads := readsOf(queries, dst)
	for _, r := range reads {
		r.plan()
	}
	if err := read(reads); err != nil {
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
