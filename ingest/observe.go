package ingest

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// workerMetrics is what a Worker tells about itself: per batch, never per measure.
type workerMetrics struct {
	measures, records, letters, failures metric.Int64Counter
	deleted, repeats                     metric.Int64Counter
	flushBytes                           metric.Int64Counter
	flushTime, maintainTime              metric.Float64Histogram
}

// applyCounts is what one flush makes durable.
type applyCounts struct {
	measures, records, letters int64
	deleted                    int64 // measures of deleted metrics
	repeats                    int64 // records that the log has twice
}

func newWorkerMetrics(meter metric.Meter, p *Progress, letters DeadLetters) (*workerMetrics, error) {
	m := &workerMetrics{}
	var errs []error
	counter := func(into *metric.Int64Counter, name, unit, about string) {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(about))
		*into = c
		errs = append(errs, err)
	}
	histogram := func(into *metric.Float64Histogram, name, about string) {
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(about),
			metric.WithExplicitBucketBoundaries(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30))
		*into = h
		errs = append(errs, err)
	}
	counter(&m.measures, "millrace.applied.measures", "{measure}", "measures applied and flushed, late ones included")
	counter(&m.records, "millrace.applied.records", "{record}", "records applied and flushed")
	counter(&m.letters, "millrace.applied.dead_letters", "{letter}", "dead letters written")
	counter(&m.deleted, "millrace.applied.deleted", "{measure}",
		"measures refused because their metric was deleted before")
	counter(&m.repeats, "millrace.applied.repeats", "{record}", "records that the log had twice, and that counted once")
	counter(&m.failures, "millrace.apply.failures", "{failure}", "failures of the back-end, by kind; each is tried again")
	counter(&m.flushBytes, "millrace.flush.bytes", "By", "buffered bytes flushed")
	histogram(&m.flushTime, "millrace.flush.duration", "time that a flush of one sack takes")
	histogram(&m.maintainTime, "millrace.maintain.duration", "time that a round of housekeeping of one sack takes")

	lagRecords, err := meter.Int64ObservableGauge("millrace.lag.records", metric.WithUnit("{record}"),
		metric.WithDescription("records in the log and not yet applied, per sack"))
	errs = append(errs, err)
	lagSeconds, err := meter.Float64ObservableGauge("millrace.lag.age", metric.WithUnit("s"),
		metric.WithDescription("age of the oldest record not yet applied, per sack"))
	errs = append(errs, err)
	standing, err := meter.Float64ObservableGauge("millrace.sack.standing", metric.WithUnit("s"),
		metric.WithDescription("for how long a sack has stood still, per sack; 0: it doesn't"))
	errs = append(errs, err)
	held, err := meter.Int64ObservableGauge("millrace.dead_letters", metric.WithUnit("{letter}"),
		metric.WithDescription("dead letters waiting for an operator"))
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	_, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		for _, lag := range p.Lag(ctx) {
			sack := metric.WithAttributes(attribute.String("sack", strconv.Itoa(int(lag.Sack))))
			o.ObserveInt64(lagRecords, lag.Records, sack)
			o.ObserveFloat64(lagSeconds, lag.Age.Seconds(), sack)
			o.ObserveFloat64(standing, lag.Standing.Seconds(), sack)
		}
		o.ObserveInt64(held, int64(letters.Count()))
		return nil
	}, lagRecords, lagSeconds, standing, held)
	for _, kind := range failureKinds { // what is not there can't be seen to grow
		m.failures.Add(context.Background(), 0, metric.WithAttributes(attribute.String("kind", kind)))
	}
	return m, err
}

func (m *workerMetrics) flushed(ctx context.Context, c applyCounts, bytes int64, took time.Duration) {
	m.measures.Add(ctx, c.measures)
	m.records.Add(ctx, c.records)
	m.letters.Add(ctx, c.letters)
	m.deleted.Add(ctx, c.deleted)
	m.repeats.Add(ctx, c.repeats)
	m.flushBytes.Add(ctx, bytes)
	m.flushTime.Record(ctx, took.Seconds())
}

func (m *workerMetrics) maintained(ctx context.Context, took time.Duration) {
	m.maintainTime.Record(ctx, took.Seconds())
}

var failureKinds = [...]string{"transient", "fenced", "went_back", "log", "permanent"}

func (m *workerMetrics) failed(ctx context.Context, err error) {
	kind := "transient"
	switch {
	case errors.Is(err, ErrFenced):
		kind = "fenced"
	case errors.Is(err, ErrWentBack):
		kind = "went_back"
	case errors.Is(err, ErrForeign), errors.Is(err, ErrGone), errors.Is(err, ErrDamaged):
		kind = "log"
	case IsPermanent(err):
		kind = "permanent"
	}
	m.failures.Add(ctx, 1, metric.WithAttributes(attribute.String("kind", kind)))
}
