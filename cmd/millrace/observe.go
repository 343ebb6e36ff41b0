package main

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"millrace/drivers/carbonara"
)

// observeCarbonara exports the counters of a Carbonara driver, which knows nothing
// of how they are read.
func observeCarbonara(meter metric.Meter, d *carbonara.Driver) error {
	var errs []error
	counter := func(name, unit, about string) metric.Int64ObservableCounter {
		c, err := meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(about))
		errs = append(errs, err)
		return c
	}
	gauge := func(name, unit, about string) metric.Int64ObservableGauge {
		g, err := meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(about))
		errs = append(errs, err)
		return g
	}
	done := counter("millrace.carbonara.changes", "{change}", "changes committed, by kind: flush, merge, seal")
	written := counter("millrace.carbonara.written", "By", "bytes of segments written, by kind")
	opened := counter("millrace.carbonara.segments.opened", "{segment}", "segments whose footer had to be read")
	collected := counter("millrace.carbonara.segments.deleted", "{segment}", "segments deleted after they were replaced")
	orphans := counter("millrace.carbonara.orphans.deleted", "{segment}", "segments deleted that nothing named")
	late := counter("millrace.carbonara.late.measures", "{measure}",
		"measures dropped because they came too late; those of a record that is applied again count again")
	segments := gauge("millrace.carbonara.segments", "{segment}", "live segments")
	size := gauge("millrace.carbonara.size", "By", "bytes of the live segments")
	rows := gauge("millrace.carbonara.rows", "{row}", "rows of the live segments")
	damaged := gauge("millrace.carbonara.damaged", "{object}",
		"objects that were found damaged, and have not been replaced since")
	cache := gauge("millrace.carbonara.cache", "By", "memory for what was read of segments, and for those just written")
	busy, err := meter.Float64ObservableCounter("millrace.carbonara.busy", metric.WithUnit("s"),
		metric.WithDescription("time spent, by kind"))
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	kind := func(k string) metric.MeasurementOption { return metric.WithAttributes(attribute.String("kind", k)) }
	flush, merge, seal := kind("flush"), kind("merge"), kind("seal")
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := d.Stats()
		o.ObserveInt64(done, int64(s.Flushes), flush)
		o.ObserveInt64(done, int64(s.Merges), merge)
		o.ObserveInt64(done, int64(s.Seals), seal)
		o.ObserveInt64(written, int64(s.FlushedBytes), flush)
		o.ObserveInt64(written, int64(s.MergedBytes), merge)
		o.ObserveInt64(written, int64(s.SealedBytes), seal)
		o.ObserveFloat64(busy, s.MergeSeconds, merge)
		o.ObserveFloat64(busy, s.SealSeconds, seal)
		o.ObserveInt64(opened, int64(s.SegmentsRead))
		o.ObserveInt64(collected, int64(s.GarbageDeleted))
		o.ObserveInt64(orphans, int64(s.OrphansDeleted))
		o.ObserveInt64(late, int64(s.Late))
		o.ObserveInt64(segments, s.Segments)
		o.ObserveInt64(size, s.Bytes)
		o.ObserveInt64(rows, s.Rows)
		o.ObserveInt64(damaged, int64(s.Damaged))
		o.ObserveInt64(cache, int64(s.CacheBytes))
		return nil
	}, done, written, opened, collected, orphans, late, segments, size, rows, damaged, cache, busy)
	return err
}
