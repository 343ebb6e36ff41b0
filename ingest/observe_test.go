package ingest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// A worker counts what it has made durable, and ends the traces of the requests.
func TestObservations(t *testing.T) {
	onBench(t, WorkerConfig{FlushInterval: time.Second}, func(t *testing.T, b *bench) {
		reader := metric.NewManualReader()
		meters := metric.NewMeterProvider(metric.WithReader(reader))
		spans := tracetest.NewSpanRecorder()
		tracers := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
		failures := 2
		b.driver.onFlush = func(context.Context, Sack) error {
			if failures--; failures >= 0 {
				return errBackEnd
			}
			return nil
		}
		w, err := NewWorker(b.log, b.driver, b.letters, Everything(2), b.progress, b.config, slog.New(slog.DiscardHandler),
			meters.Meter("test"), tracers.Tracer("test"))
		if err != nil {
			t.Fatal(err)
		}
		b.runWorker(w)
		const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		accepted := time.Now()
		b.log.put(0, Delivery{Record: Record{Kind: RecordMeasures, AcceptedAt: accepted, Trace: parent, Entries: []Entry{
			{Policy: "low", Measures: []Measure{{1, 1}, {2, 2}}}, {Policy: unknown, Measures: []Measure{{1, 3}}}}}})
		b.wait(5 * time.Second)
		b.write(1, 4)

		got := make(map[string]float64)
		var data metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &data); err != nil {
			t.Fatal(err)
		}
		for _, m := range data.ScopeMetrics[0].Metrics {
			add(got, m.Name, m.Data)
		}
		for name, want := range map[string]float64{
			"millrace.applied.measures": 3, "millrace.applied.records": 1, "millrace.applied.dead_letters": 1,
			"millrace.dead_letters":                  1,
			"millrace.apply.failures kind=transient": 2, "millrace.flush.bytes": 200, "millrace.flush.duration": 1,
			"millrace.maintain.duration":  1,
			"millrace.lag.records sack=0": 0, "millrace.lag.records sack=1": 1, "millrace.lag.age sack=0": 0,
			"millrace.lag.age sack=1": 0,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
			}
		}

		if n := len(spans.Ended()); n != 1 {
			t.Errorf("%d spans before the seal, want 1", n)
		}
		b.driver.mu.Lock()
		b.driver.sack(0).sealed = 1 << 40
		b.driver.mu.Unlock()
		time.Sleep(2 * time.Minute) // for the housekeeping

		ended := spans.Ended()
		if len(ended) != 2 {
			t.Fatalf("%d spans, want 2", len(ended))
		}
		apply, seal := ended[0], ended[1]
		for _, span := range ended {
			if span.Parent().TraceID().String() != parent[3:35] || span.Parent().SpanID().String() != parent[36:52] {
				t.Errorf("span %s is below %v", span.Name(), span.Parent())
			}
		}
		if apply.Name() != "millrace.apply" || !apply.StartTime().Equal(accepted) {
			t.Errorf("span %s from %s", apply.Name(), apply.StartTime())
		}
		if seal.Name() != "millrace.seal" || !seal.StartTime().Equal(apply.EndTime()) || !seal.EndTime().After(seal.StartTime()) {
			t.Errorf("span %s from %s to %s", seal.Name(), seal.StartTime(), seal.EndTime())
		}
	})
}

// add notes the values of a metric under its name and attributes; a histogram's is
// how many there were.
func add(into map[string]float64, name string, data metricdata.Aggregation) {
	key := func(attributes attribute.Set) string {
		key := name
		for _, a := range attributes.ToSlice() {
			key += " " + string(a.Key) + "=" + a.Value.AsString()
		}
		return key
	}
	switch data := data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			into[key(p.Attributes)] = float64(p.Value)
		}
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			into[key(p.Attributes)] = float64(p.Value)
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			into[key(p.Attributes)] = p.Value
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			into[key(p.Attributes)] = float64(p.Count)
		}
	}
}
