package kafka

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// metrics is what a Log tells about itself: per request, never per record.
type metrics struct {
	records, bytes, batches, retries, failures, fetched, alarms metric.Int64Counter
	produceTime                                                 metric.Float64Histogram
}

func newMetrics(meter metric.Meter, l *Log) (*metrics, error) {
	m := &metrics{}
	var errs []error
	counter := func(into *metric.Int64Counter, name, unit, about string) {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(about))
		*into = c
		errs = append(errs, err)
	}
	counter(&m.records, "millrace.kafka.produced.records", "{record}", "records acknowledged by all in-sync replicas")
	counter(&m.bytes, "millrace.kafka.produced.bytes", "By", "bytes of those records, not compressed")
	counter(&m.batches, "millrace.kafka.produced.batches", "{batch}", "batches of those records")
	counter(&m.retries, "millrace.kafka.produce.retries", "{try}", "batches tried again")
	counter(&m.failures, "millrace.kafka.produce.failures", "{batch}", "batches given up: their outcome is unknown")
	counter(&m.fetched, "millrace.kafka.fetched.records", "{record}", "records read")
	counter(&m.alarms, "millrace.kafka.alarms", "{alarm}", "signs that the log is not the one that it was, by kind")
	var err error
	m.produceTime, err = meter.Float64Histogram("millrace.kafka.produce.duration", metric.WithUnit("s"),
		metric.WithDescription("time that a batch takes to be acknowledged, its retries included"),
		metric.WithExplicitBucketBoundaries(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30))
	errs = append(errs, err)
	waiting, err := meter.Int64ObservableGauge("millrace.kafka.pending", metric.WithUnit("By"),
		metric.WithDescription("bytes on their way into the log"))
	errs = append(errs, err)
	retention, err := meter.Float64ObservableGauge("millrace.kafka.retention", metric.WithUnit("s"),
		metric.WithDescription("how long the topic keeps records, as it was at the start; none: for ever"))
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	// what is not there can't be seen to grow
	for _, kind := range []string{"gone", "gap", "fingerprint", "went_back", "clock"} {
		m.alarms.Add(context.Background(), 0, metric.WithAttributes(attribute.String("kind", kind)))
	}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		total := int64(0)
		for _, p := range l.partitions {
			p.mu.Lock()
			total += p.bytes
			p.mu.Unlock()
		}
		o.ObserveInt64(waiting, total)
		if ms, err := strconv.ParseInt(l.report.Settings[settingRetention], 10, 64); err == nil && ms >= 0 {
			o.ObserveFloat64(retention, float64(ms)/1000)
		}
		return nil
	}, waiting, retention)
	return m, err
}

func (m *metrics) produced(records, bytes int, took time.Duration, err error) {
	ctx := context.Background()
	m.produceTime.Record(ctx, took.Seconds())
	if err != nil {
		m.failures.Add(ctx, 1)
		return
	}
	m.records.Add(ctx, int64(records))
	m.bytes.Add(ctx, int64(bytes))
	m.batches.Add(ctx, 1)
}

func (m *metrics) retried() { m.retries.Add(context.Background(), 1) }

func (m *metrics) alarm(kind string) {
	m.alarms.Add(context.Background(), 1, metric.WithAttributes(attribute.String("kind", kind)))
}
