package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"millrace/index"
	"millrace/ingest"
)

// discardLog takes everything and keeps nothing.
type discardLog struct{}

func (discardLog) Append(_ context.Context, out []ingest.Outgoing) error {
	for i := range out {
		out[i].Offset = 1
	}
	return nil
}

func (discardLog) End(context.Context) (ingest.Position, error) {
	return make(ingest.Position, 16), nil
}

func (discardLog) Log() ingest.LogID { return ingest.LogID{} }

// blank is an http.ResponseWriter that forgets what it is told.
type blank struct {
	header http.Header
	status int
	bytes  int
}

func (w *blank) Header() http.Header         { return w.header }
func (w *blank) WriteHeader(status int)      { w.status = status }
func (w *blank) Write(p []byte) (int, error) { w.bytes += len(p); return len(p), nil }
func (w *blank) reset() {
	clear(w.header)
	w.status, w.bytes = 0, 0
}

// The accept half of the API without the connection and the log: body, scan,
// look-up, permission, Acceptor, answer.
func BenchmarkPostBatch(b *testing.B) {
	run := func(metrics, measures int) {
		b.Run(fmt.Sprintf("%dx%d", metrics, measures), func(b *testing.B) {
			x, err := openMemory(b)
			if err != nil {
				b.Fatal(err)
			}
			defer x.Close()
			progress := ingest.NewProgress(16, nil)
			a, err := New(Deps{
				Index: x, Acceptor: ingest.NewAcceptor(discardLog{}, progress, 16, ingest.AcceptConfig{}), Log: discardLog{},
				Progress: progress, Driver: fixedRows(nil), Letters: &memoryLetters{},
			}, Config{}, slog.New(slog.DiscardHandler), metricnoop.NewMeterProvider().Meter(""),
				tracenoop.NewTracerProvider().Tracer(""))
			if err != nil {
				b.Fatal(err)
			}
			policy := &ingest.ArchivePolicy{Name: "p", Definitions: []ingest.Definition{{Granularity: time.Minute}},
				Methods: ingest.DefaultMethods()}
			if err := x.CreatePolicy(b.Context(), policy); err != nil {
				b.Fatal(err)
			}
			var body bytes.Buffer
			body.WriteByte('{')
			for i := range metrics {
				m := index.Metric{ID: ingest.NewMetricID(), Policy: "p", Creator: "foobar"}
				if err := x.CreateMetric(b.Context(), m); err != nil {
					b.Fatal(err)
				}
				if i > 0 {
					body.WriteString(", ")
				}
				fmt.Fprintf(&body, `"%s": [`, m.ID)
				for j := range measures {
					if j > 0 {
						body.WriteString(", ")
					}
					fmt.Fprintf(&body, `{"timestamp": "2015-03-06T14:%02d:%02d", "value": %d.25}`, j/60%60, j%60, i+j)
				}
				body.WriteByte(']')
			}
			body.WriteByte('}')
			w := &blank{header: http.Header{}}
			r := httptest.NewRequest("POST", batchPath, nil)
			r.SetBasicAuth("foobar", "")
			r.Header.Set("Content-Type", "application/json")
			r.ContentLength = int64(body.Len())
			from := bytes.NewReader(nil)
			b.SetBytes(int64(body.Len()))
			b.ReportAllocs()
			for b.Loop() {
				from.Reset(body.Bytes())
				r.Body = io.NopCloser(from)
				w.reset()
				a.ServeHTTP(w, r)
				if w.status != 202 {
					b.Fatal(w.status)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*metrics*measures), "ns/measure")
		})
	}
	run(1, 1)
	run(1000, 1)
	run(100, 100)
	run(1, 10000)
}

// fixedRows is a driver that answers every query with the same rows.
type fixedRows []ingest.Measure

func (f fixedRows) Read(_ context.Context, _ []ingest.Query, dst [][]ingest.Measure,
	_ ingest.Position) (ingest.Position, error) {
	for i := range dst {
		dst[i] = append(dst[i], f...)
	}
	return nil, nil
}

// A read of a day of minutes without the connection and the driver.
func BenchmarkGetMeasures(b *testing.B) {
	const n = 1440
	rows := make(fixedRows, n)
	for i := range rows {
		rows[i] = ingest.Measure{Time: int64(i) * int64(time.Minute), Value: float64(i) + .25}
	}
	for _, query := range []string{"", "?granularity=60&resample=3600"} {
		b.Run("rows"+query, func(b *testing.B) {
			h := newHouse(b, build{})
			h.API.driver = rows
			h.policy(b, "p", `{"granularity": 60}`)
			r := httptest.NewRequest("GET", measures(h.metric(b, "p"))+query, nil)
			r.SetBasicAuth("foobar", "")
			w := &blank{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				w.reset()
				h.ServeHTTP(w, r)
				if w.status != 200 {
					b.Fatal(w.status)
				}
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// A day of minutes of a hundred metrics made one series, without the connection
// and the driver.
func BenchmarkAggregates(b *testing.B) {
	const metrics, n = 100, 1440
	rows := make(fixedRows, n)
	for i := range rows {
		rows[i] = ingest.Measure{Time: int64(i) * int64(time.Minute), Value: float64(i) + .25}
	}
	h := newHouse(b, build{})
	h.API.driver = rows
	h.policy(b, "p", `{"granularity": 60, "points": 1440}`)
	var refs strings.Builder
	for range metrics {
		fmt.Fprintf(&refs, " (%s mean)", h.metric(b, "p"))
	}
	body := `{"operations": "(aggregate mean (metric` + refs.String() + `))"}`
	r := httptest.NewRequest("POST", "/v1/aggregates", nil)
	r.SetBasicAuth("foobar", "")
	r.Header.Set("Content-Type", "application/json")
	w := &blank{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		r.Body = io.NopCloser(strings.NewReader(body))
		w.reset()
		h.ServeHTTP(w, r)
		if w.status != 200 {
			b.Fatal(w.status)
		}
	}
	b.ReportMetric(float64(b.N)*metrics*n/b.Elapsed().Seconds(), "points/s")
}
