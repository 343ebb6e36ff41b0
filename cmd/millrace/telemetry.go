package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	noop "go.opentelemetry.io/otel/trace/noop"
)

// telemetry is what the parts tell about themselves, and where it goes.
type telemetry struct {
	meter   metric.Meter
	tracer  trace.Tracer
	metrics http.Handler // of /metrics; nil when it is off
	apart   bool         // /metrics is not with the API
	stop    func(context.Context) error
}

// newTelemetry starts the exporters that the settings ask for. Their troubles go to
// the log: the SDK has one handler of errors per process.
func newTelemetry(ctx context.Context, c telemetryConfig, log *slog.Logger) (*telemetry, error) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("trouble with telemetry", "err", err) }))
	about := resource.NewSchemaless(attribute.String("service.name", "millrace"),
		attribute.String("service.version", versionString()))
	t := &telemetry{tracer: noop.NewTracerProvider().Tracer("millrace")}
	var stops []func(context.Context) error
	options := []sdkmetric.Option{sdkmetric.WithResource(about)}
	if c.Prometheus {
		registry := prometheus.NewRegistry()
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
		if err != nil {
			return nil, fmt.Errorf("cannot export metrics for Prometheus: %w", err)
		}
		options = append(options, sdkmetric.WithReader(exporter))
		t.metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	}
	if c.OTLP != "" {
		reader, provider, err := newOTLP(ctx, c, about)
		if err != nil {
			return nil, fmt.Errorf("cannot export to telemetry.otlp_endpoint: %w", err)
		}
		options = append(options, sdkmetric.WithReader(reader))
		t.tracer = provider.Tracer("millrace")
		stops = append(stops, provider.Shutdown)
	}
	meters := sdkmetric.NewMeterProvider(options...)
	t.meter = meters.Meter("millrace")
	stops = append(stops, meters.Shutdown)
	t.stop = func(ctx context.Context) error {
		var errs []error
		for _, stop := range stops {
			errs = append(errs, stop(ctx))
		}
		return errors.Join(errs...)
	}
	return t, nil
}

func newOTLP(ctx context.Context, c telemetryConfig, about *resource.Resource) (sdkmetric.Reader,
	*sdktrace.TracerProvider, error) {
	at, err := url.Parse(c.OTLP)
	if err != nil || at.Host == "" {
		return nil, nil, fmt.Errorf("%q is not a URL such as http://127.0.0.1:4318", c.OTLP)
	}
	headers := make(map[string]string, len(c.Headers))
	for name, value := range c.Headers {
		headers[name] = string(value)
	}
	metrics, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(at.JoinPath("v1/metrics").String()),
		otlpmetrichttp.WithHeaders(headers))
	if err != nil {
		return nil, nil, err
	}
	spans, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(at.JoinPath("v1/traces").String()),
		otlptracehttp.WithHeaders(headers))
	if err != nil {
		return nil, nil, err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans), sdktrace.WithResource(about),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.TraceRatio))))
	return sdkmetric.NewPeriodicReader(metrics), provider, nil
}

// newLogger returns the logger that the settings ask for.
func newLogger(c logConfig, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return slog.New(slog.NewTextHandler(w, options)), nil
}
