package disklog

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// metrics is what a log tells about itself: per group, never per record.
type metrics struct {
	appends, bytes, failures metric.Int64Counter
	syncTime                 metric.Float64Histogram
}

func newMetrics(meter metric.Meter, l *Log) (*metrics, error) {
	m := &metrics{}
	var errs [6]error
	m.appends, errs[0] = meter.Int64Counter("millrace.log.appends", metric.WithUnit("{append}"),
		metric.WithDescription("requests made durable in the log; with the count of the sync duration, how many share a "+
			"sync"))
	m.bytes, errs[1] = meter.Int64Counter("millrace.log.append.bytes", metric.WithUnit("By"),
		metric.WithDescription("bytes made durable in the log"))
	m.failures, errs[2] = meter.Int64Counter("millrace.log.failures", metric.WithUnit("{failure}"),
		metric.WithDescription("failures to write, sync or reopen the log"))
	m.syncTime, errs[3] = meter.Float64Histogram("millrace.log.sync.duration", metric.WithUnit("s"),
		metric.WithDescription("time that one write and fdatasync of the log takes"),
		metric.WithExplicitBucketBoundaries(.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10))
	var used metric.Int64ObservableGauge
	used, errs[4] = meter.Int64ObservableGauge("millrace.log.size", metric.WithUnit("By"),
		metric.WithDescription("bytes that the log's segments take"))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		o.ObserveInt64(used, l.used)
		return nil
	}, used)
	return m, err
}

func (m *metrics) committed(ctx context.Context, appends, bytes int, took time.Duration) {
	m.appends.Add(ctx, int64(appends))
	m.bytes.Add(ctx, int64(bytes))
	m.syncTime.Record(ctx, took.Seconds())
}

func (m *metrics) failed(ctx context.Context) { m.failures.Add(ctx, 1) }
