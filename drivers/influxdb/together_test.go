package influxdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/ingest"
	"millrace/testservers"
)

// A listener counts queries, and does something when one has been answered.
type listener struct {
	queries int
	then    func()
	lose    bool // answers to writes
}

func (l *listener) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := http.DefaultTransport.RoundTrip(r)
	if l.lose && err == nil && strings.HasSuffix(r.URL.Path, "/write") {
		_ = answer.Body.Close()
		return nil, errors.New("the answer is lost")
	}
	if strings.HasSuffix(r.URL.Path, "/query") {
		l.queries++
		if then := l.then; then != nil {
			l.then = nil
			then()
		}
	}
	return answer, err
}

// hours keeps minutes for an hour.
type hours struct{ minutes }

func (hours) Policy(context.Context, string) (*ingest.ArchivePolicy, error) {
	return &ingest.ArchivePolicy{Name: "p", Methods: ingest.DefaultMethods(),
		Definitions: []ingest.Definition{{Granularity: time.Minute, Points: 60, Timespan: time.Hour}}}, nil
}

// What this process writes it reads by one query, of one metric or of a hundred, whatever has
// expired of them; where it isn't sure of what it sees, by more.
func TestReadTogether(t *testing.T) {
	server := testservers.InfluxDB(t, testservers.Influx2)
	l := &listener{}
	config := Config{URL: server.URL(), Org: server.Org, Token: server.Token, Sacks: 2, CreateBucket: true,
		Bucket: fmt.Sprintf("together-%d", time.Now().UnixNano()), Transport: l}
	newDriver := func() *Driver {
		t.Helper()
		d, err := New(config, hours{}, hours{}, slog.New(slog.DiscardHandler), noop.NewMeterProvider().Meter(""))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		return d
	}
	d := newDriver()
	writers := make([]ingest.SackWriter, config.Sacks)
	for i := range writers {
		w, _, err := d.Open(t.Context(), ingest.Sack(i))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Close() }()
		writers[i] = w
	}
	var offset ingest.Offset
	write := func(ids []ingest.MetricID, list ...ingest.Measure) {
		t.Helper()
		var of [2]ingest.Record
		for _, id := range ids {
			r := &of[ingest.SackOf(id, len(of))]
			r.Entries = append(r.Entries, ingest.Entry{Metric: id, Policy: "p", Measures: list})
		}
		for i, w := range writers {
			if _, err := w.Apply(t.Context(), []ingest.Delivery{{Offset: offset, Record: of[i]}}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Flush(t.Context(), ingest.Watermark{Offset: offset + 1}); err != nil {
				t.Fatal(err)
			}
		}
		offset++
	}
	policy, _ := hours{}.Policy(t.Context(), "p")
	read := func(d *Driver, from int64, queries int, want []ingest.Measure, ids ...ingest.MetricID) {
		t.Helper()
		l.queries = 0
		dst, list := make([][]ingest.Measure, len(ids)), make([]ingest.Query, len(ids))
		for i, id := range ids {
			list[i] = ingest.Query{Metric: id, Policy: policy, Granularity: time.Minute, Method: ingest.Max, From: from,
				To: ingest.MaxTime}
		}
		if _, err := d.Read(t.Context(), list, dst, nil); err != nil {
			t.Fatal(err)
		}
		for i := range dst {
			if !slices.Equal(dst[i], want) {
				t.Fatalf("metric %d has the rows %v, want %v", i, dst[i], want)
			}
		}
		if l.queries != queries {
			t.Errorf("%d metrics were read by %d queries, want %d", len(ids), l.queries, queries)
		}
	}
	ids := make([]ingest.MetricID, 100)
	for i := range ids {
		ids[i] = ingest.MetricID{byte(i), 9, byte(i)}
	}
	now := time.Now().Truncate(time.Minute)
	row := func(ago int, value float64) ingest.Measure {
		return ingest.Measure{Time: now.Add(-time.Duration(ago) * time.Minute).UnixNano(), Value: value}
	}
	write(ids, row(70, 1), row(40, 2), row(3, 3))
	near, far := row(60, 0).Time, row(90, 0).Time
	kept := []ingest.Measure{row(40, 2), row(3, 3)}
	read(d, near, 1, kept, ids[0])
	read(d, near, 1, kept, ids...)
	read(d, far, 2, kept, ids[0]) // the newest one first: there could be very much that has expired
	other := newDriver()
	if err := other.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	read(other, near, 4, kept, ids[0]) // watermark, newest, rows, and what is special afterwards

	// A newest measure in the future makes more expire.
	write(ids[:1], row(-25, 4))
	read(d, near, 1, []ingest.Measure{row(3, 3), row(-25, 4)}, ids[0])
	// What has no number is read from raw measures.
	write(ids[1:2], row(2, math.Inf(1)))
	read(d, near, 2, append(slices.Clone(kept), row(2, math.Inf(1))), ids[1])
	// What has no number and comes meanwhile, too.
	l.then = func() { write(ids[2:3], row(2, math.Inf(-1))) }
	read(d, near, 5, append(slices.Clone(kept), row(2, math.Inf(-1))), ids[2])
	// So does a write whose outcome isn't known: it may happen at any time, until it is known.
	l.lose = true
	neighbour := ids[4+slices.IndexFunc(ids[4:], func(id ingest.MetricID) bool {
		return ingest.SackOf(id, len(writers)) == ingest.SackOf(ids[3], len(writers))
	})]
	w, lost := writers[ingest.SackOf(ids[3], len(writers))], ingest.Watermark{Offset: offset + 1}
	entry := ingest.Entry{Metric: ids[3], Policy: "p", Measures: []ingest.Measure{row(2, math.NaN())}}
	if _, err := w.Apply(t.Context(), []ingest.Delivery{{Offset: offset, Record: ingest.Record{
		Entries: []ingest.Entry{entry}}}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := w.Flush(t.Context(), lost); err == nil {
			t.Fatal("the answer wasn't lost")
		}
	}
	read(d, near, 3, kept, neighbour)
	l.lose = false
	if _, err := w.Flush(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	read(d, near, 1, kept, neighbour)
	// A metric that has never been seen has no rows.
	read(d, near, 1, nil, ingest.MetricID{77})
}
