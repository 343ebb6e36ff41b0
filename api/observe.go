package api

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// apiMetrics is what an API tells about itself: per request and per batch, never
// per measure.
type apiMetrics struct {
	duration           metric.Float64Histogram
	batches, measures  metric.Int64Counter
	refused, leftOut   metric.Int64Counter
	waits              metric.Int64Counter
	refusedReads       metric.Int64Counter
	reasons            [reasons]metric.MeasurementOption
	unmatched          route
	applied, abandoned metric.MeasurementOption
	future, bad        metric.MeasurementOption
}

// A reason says why a batch, or a part of it, was not taken.
type reason int

const (
	reasonInvalid reason = iota
	reasonUnknown
	reasonForbidden
	reasonQuota
	reasonOverload
	reasonUnavailable
	reasonTooLarge
	reasons
)

var reasonNames = [reasons]string{"invalid", "unknown_metric", "forbidden", "quota", "overload", "unavailable",
	"too_large"}

func newAPIMetrics(meter metric.Meter) (*apiMetrics, error) {
	m := &apiMetrics{unmatched: route{path: "none"}}
	var errs []error
	counter := func(into *metric.Int64Counter, name, unit, about string) {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(about))
		*into = c
		errs = append(errs, err)
	}
	counter(&m.batches, "millrace.accepted.batches", "{batch}", "batches of measures that are in the log")
	counter(&m.measures, "millrace.accepted.measures", "{measure}", "measures that are in the log")
	counter(&m.refused, "millrace.refused.batches", "{batch}", "batches that were refused, by reason")
	counter(&m.leftOut, "millrace.refused.measures", "{measure}",
		"measures left out of batches that were accepted, by reason")
	counter(&m.refusedReads, "millrace.refused.reads", "{read}", "reads that got no slot or no memory in time")
	counter(&m.waits, "millrace.waits", "{wait}", "waits for measures to be applied, by outcome")
	var err error
	m.duration, err = meter.Float64Histogram("http.server.request.duration", metric.WithUnit("s"),
		metric.WithDescription("time from a request's header to its answer"),
		metric.WithExplicitBucketBoundaries(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10))
	errs = append(errs, err)
	for i, name := range reasonNames {
		m.reasons[i] = metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", name)))
	}
	m.applied = metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", "applied")))
	m.abandoned = metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", "abandoned")))
	m.future = metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", "future")))
	m.bad = metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", "invalid")))
	m.prepare(&m.unmatched)
	return m, errors.Join(errs...)
}

// prepare makes the attributes with which a route's requests are counted.
func (m *apiMetrics) prepare(rt *route) {
	for class := range rt.measured {
		rt.measured[class] = metric.WithAttributeSet(attribute.NewSet(
			attribute.String("http.request.method", rt.method), attribute.String("http.route", rt.path),
			attribute.String("http.response.status_class", strconv.Itoa(class)+"xx")))
	}
}

func (m *apiMetrics) request(ctx context.Context, rt *route, status int, took time.Duration) {
	if rt == nil {
		rt = &m.unmatched
	}
	m.duration.Record(ctx, took.Seconds(), rt.measured[min(max(status/100, 0), 5)])
}

// accepted counts a batch: its measures, and those left out of it, of which so many
// were too far ahead of the clock.
func (m *apiMetrics) accepted(ctx context.Context, measures, leftOut uint64, future int) {
	m.batches.Add(ctx, 1)
	m.measures.Add(ctx, int64(measures))
	if future > 0 {
		m.leftOut.Add(ctx, int64(future), m.future)
	}
	if bad := int64(leftOut) - int64(future); bad > 0 {
		m.leftOut.Add(ctx, bad, m.bad)
	}
}

func (m *apiMetrics) refuse(ctx context.Context, why reason) { m.refused.Add(ctx, 1, m.reasons[why]) }

func (m *apiMetrics) waited(ctx context.Context, applied bool) {
	outcome := m.abandoned
	if applied {
		outcome = m.applied
	}
	m.waits.Add(ctx, 1, outcome)
}
