package main

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"millrace/drivers/carbonara"
)

// An observedStore counts the requests to a store, and times them.
type observedStore struct {
	carbonara.Store
	duration metric.Float64Histogram
	bytes    metric.Int64Counter
	verbs    map[string]verbMetrics
}

// verbMetrics are the attributes of one verb.
type verbMetrics struct {
	verb                                      metric.MeasurementOption
	done, missing, unchanged, changed, failed metric.MeasurementOption
}

var storeVerbs = [...]string{"put", "read", "swap", "list", "delete"}

func observeStore(store carbonara.Store, meter metric.Meter) (*observedStore, error) {
	duration, err := meter.Float64Histogram("millrace.store.duration", metric.WithUnit("s"),
		metric.WithDescription("time that requests to the store take, by verb and outcome"),
		metric.WithExplicitBucketBoundaries(.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10))
	if err != nil {
		return nil, err
	}
	bytes, err := meter.Int64Counter("millrace.store.bytes", metric.WithUnit("By"),
		metric.WithDescription("bytes read from and written to the store, by verb"))
	if err != nil {
		return nil, err
	}
	o := &observedStore{Store: store, duration: duration, bytes: bytes, verbs: make(map[string]verbMetrics)}
	for _, verb := range storeVerbs {
		of := attribute.String("verb", verb)
		outcome := func(text string) metric.MeasurementOption {
			return metric.WithAttributeSet(attribute.NewSet(of, attribute.String("outcome", text)))
		}
		o.verbs[verb] = verbMetrics{
			verb: metric.WithAttributeSet(attribute.NewSet(of)),
			done: outcome("done"), missing: outcome("not_found"), unchanged: outcome("not_modified"),
			changed: outcome("changed"), failed: outcome("failed"),
		}
	}
	return o, nil
}

// observe records one request.
func (o *observedStore) observe(ctx context.Context, verb string, began time.Time, bytes int, err error) {
	v := o.verbs[verb]
	outcome := v.done
	switch {
	case errors.Is(err, carbonara.ErrNotFound):
		outcome = v.missing
	case errors.Is(err, carbonara.ErrUnchanged):
		outcome = v.unchanged
	case errors.Is(err, carbonara.ErrChanged):
		outcome = v.changed
	case err != nil:
		outcome = v.failed
	}
	o.duration.Record(ctx, time.Since(began).Seconds(), outcome)
	if bytes > 0 {
		o.bytes.Add(ctx, int64(bytes), v.verb)
	}
}

func (o *observedStore) Put(ctx context.Context, name string, data []byte) error {
	began := time.Now()
	err := o.Store.Put(ctx, name, data)
	o.observe(ctx, "put", began, len(data), err)
	return err
}

func (o *observedStore) Read(ctx context.Context, name string, unless carbonara.Version,
	ranges []carbonara.Range) (carbonara.Contents, error) {
	began := time.Now()
	got, err := o.Store.Read(ctx, name, unless, ranges)
	bytes := 0
	for _, data := range got.Data {
		bytes += len(data)
	}
	o.observe(ctx, "read", began, bytes, err)
	return got, err
}

func (o *observedStore) Swap(ctx context.Context, name string, old carbonara.Version, data []byte,
	adds []carbonara.Addition) (carbonara.Version, error) {
	began := time.Now()
	version, err := o.Store.Swap(ctx, name, old, data, adds)
	o.observe(ctx, "swap", began, len(data), err)
	return version, err
}

func (o *observedStore) List(ctx context.Context, prefix string) ([]carbonara.Object, error) {
	began := time.Now()
	list, err := o.Store.List(ctx, prefix)
	o.observe(ctx, "list", began, 0, err)
	return list, err
}

func (o *observedStore) Delete(ctx context.Context, names []string) error {
	began := time.Now()
	err := o.Store.Delete(ctx, names)
	o.observe(ctx, "delete", began, 0, err)
	return err
}
