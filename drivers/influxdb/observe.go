package influxdb

import (
	"net/http"
	"path"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// A Meter makes the instruments that a Driver counts with.
type Meter = metric.Meter

// metrics are the instruments of a Driver: one measurement per request.
type metrics struct {
	requests metric.Float64Histogram
	written  metric.Int64Counter
	refused  metric.Int64Counter
}

func newMetrics(meter Meter) (*metrics, error) {
	requests, err := meter.Float64Histogram("millrace.influxdb.request", metric.WithUnit("s"),
		metric.WithDescription("requests to InfluxDB, by what they ask for and what was answered"))
	if err != nil {
		return nil, err
	}
	written, err := meter.Int64Counter("millrace.influxdb.points", metric.WithDescription("points written to InfluxDB"))
	if err != nil {
		return nil, err
	}
	refused, err := meter.Int64Counter("millrace.influxdb.refused",
		metric.WithDescription("points that InfluxDB refuses for good"))
	return &metrics{requests, written, refused}, err
}

// observe counts the requests that go through a transport.
func (m *metrics) observe(next http.RoundTripper) http.RoundTripper { return &observed{m, next} }

type observed struct {
	*metrics
	next http.RoundTripper
}

func (o *observed) RoundTrip(request *http.Request) (*http.Response, error) {
	began := time.Now()
	answer, err := o.next.RoundTrip(request)
	status := "none"
	if err == nil {
		status = strconv.Itoa(answer.StatusCode)
	}
	o.requests.Record(request.Context(), time.Since(began).Seconds(), metric.WithAttributes(
		attribute.String("request", path.Base(request.URL.Path)), attribute.String("status", status)))
	return answer, err
}
