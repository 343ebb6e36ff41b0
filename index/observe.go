package index

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelmetric "go.opentelemetry.io/otel/metric"
)

// metrics is what an index tells about itself: per query and per transaction, never
// per metric.
type metrics struct {
	asked   otelmetric.Int64Counter // metrics
	changes otelmetric.Int64Counter
	writes  otelmetric.Float64Histogram

	ok, failed otelmetric.MeasurementOption
}

func newMetrics(meter otelmetric.Meter, x *Index) (*metrics, error) {
	m := &metrics{
		ok:     otelmetric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", "ok"))),
		failed: otelmetric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", "failed"))),
	}
	var errs [4]error
	m.asked, errs[0] = meter.Int64Counter("millrace.index.asked", otelmetric.WithUnit("{metric}"),
		otelmetric.WithDescription("metrics that measures were sent to and that the database had to be asked about"))
	m.changes, errs[1] = meter.Int64Counter("millrace.index.changes", otelmetric.WithUnit("{change}"),
		otelmetric.WithDescription("changes of the index, by outcome of their transaction"))
	m.writes, errs[2] = meter.Float64Histogram("millrace.index.write.duration", otelmetric.WithUnit("s"),
		otelmetric.WithDescription("time that a transaction of one or more changes takes, by outcome"),
		otelmetric.WithExplicitBucketBoundaries(.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10))
	age, err := meter.Float64ObservableGauge("millrace.index.feed.age", otelmetric.WithUnit("s"),
		otelmetric.WithDescription("how long ago what others change in the index was last seen"))
	if errs[3] = err; err == nil {
		_, errs[3] = meter.RegisterCallback(func(_ context.Context, o otelmetric.Observer) error {
			if x.config.Refresh > 0 && !x.closed.Load() {
				o.ObserveFloat64(age, x.follower.age().Seconds())
			}
			return nil
		}, age)
	}
	return m, errors.Join(errs[:]...)
}

func (m *metrics) written(changes int, took time.Duration, err error) {
	outcome := m.ok
	if err != nil {
		outcome = m.failed
	}
	m.changes.Add(context.Background(), int64(changes), outcome)
	m.writes.Record(context.Background(), took.Seconds(), outcome)
}

func (m *metrics) askedAbout(ctx context.Context, n int) { m.asked.Add(ctx, int64(n)) }
