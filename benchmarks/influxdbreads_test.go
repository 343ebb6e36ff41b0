package benchmarks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/ingest"
	"millrace/testservers"
)

// pairClients write and read at the same time, each a pair after the other.
const pairClients = 8

// pairsOnInflux writes and reads through one process.
func pairsOnInflux(t *testing.T) {
	pairs := fromEnv(t, "MILLRACE_BENCH_PAIRS", 10_000, strconv.Atoi)
	p, _ := programOn(t, testservers.NewInfluxDB(t, testservers.Influx2))
	pairsOf(t, p, p, pairs, pairClients)
}

// pairsOf writes one measure, and at once reads it back, from another process or the same,
// with the position that the write was answered with, many times. A read that is answered 200
// without it is stale; one that is answered 503 (not applied within api.wait_cap) is asked
// again, and counted.
func pairsOf(t *testing.T, writer, reader *program, pairs, clients int) {
	t.Helper()
	ids := created(t, writer, "high", 100) // of a granularity of one second: each measure in a bucket of its own
	start := time.Now().Add(-50 * time.Minute).Truncate(time.Second)
	client := newHTTPClient(2 * clients)
	defer client.CloseIdleConnections()
	var writes, reads, whole histogram
	var next, stale, later atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	for range clients {
		group.Go(func() error {
			for {
				n := int(next.Add(1)) - 1
				if n >= pairs {
					return nil
				}
				at := start.Add(time.Duration(n/len(ids)) * time.Second)
				metric := "/v1/metric/" + ids[n%len(ids)].String() + "/measures"
				began := time.Now()
				body := fmt.Sprintf(`[{"timestamp":%q,"value":%d}]`, at.UTC().Format(time.RFC3339), n)
				position, err := call(ctx, client, "POST", writer.url+metric, basicAdmin, "", body, nil)
				if err != nil {
					return err
				}
				written := time.Now()
				got, again, err := readAt(ctx, client, reader.url+metric, position, at)
				if err != nil {
					return err
				}
				later.Add(again)
				writes.add(written.Sub(began))
				reads.add(time.Since(written))
				whole.add(time.Since(began))
				if got != float64(n) {
					stale.Add(1)
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, reader.said())
	}
	t.Logf("%d pairs of %d clients: %d stale, %d reads answered 503 first; write %s, read %s, both %s", pairs,
		clients, stale.Load(), later.Load(), quantiles(&writes), quantiles(&reads), quantiles(&whole))
	if stale.Load() > 0 {
		t.Errorf("%d of %d reads are stale", stale.Load(), pairs)
	}
}

// basicAdmin is the user admin with an empty password.
const basicAdmin = "Basic YWRtaW46"

func quantiles(h *histogram) string {
	ms := func(q float64) float64 { return float64(h.quantile(q).Microseconds()) / 1000 }
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", ms(.5), ms(.99))
}

// readAt reads the second of a metric that begins at a time, at a position: -1 where there is
// nothing. It also says how often it was answered 503.
func readAt(ctx context.Context, client *http.Client, metric, position string,
	at time.Time) (value float64, again int64, err error) {
	query := url.Values{"granularity": {"1"}, "aggregation": {"mean"}, "start": {at.UTC().Format(time.RFC3339)},
		"stop": {at.Add(time.Second).UTC().Format(time.RFC3339)}}
	for ; ; again++ {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, metric+"?"+query.Encode(), nil)
		if err != nil {
			return 0, again, err
		}
		request.Header.Set("Authorization", basicAdmin)
		request.Header.Set("Millrace-Position", position)
		status, text, err := answerOf(client, request)
		switch {
		case err != nil:
			return 0, again, err
		case status == http.StatusServiceUnavailable:
			continue
		case status != http.StatusOK:
			return 0, again, fmt.Errorf("the server answers %d: %s", status, text[:min(len(text), 200)])
		}
		var rows [][3]any
		if err := json.Unmarshal(text, &rows); err != nil {
			return 0, again, err
		}
		if len(rows) != 1 {
			return -1, again, nil
		}
		value, isNumber := rows[0][2].(float64)
		if !isNumber {
			return 0, again, fmt.Errorf("the value of a row is %v", rows[0][2])
		}
		return value, again, nil
	}
}

func answerOf(client *http.Client, request *http.Request) (int, []byte, error) {
	answer, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, text, err
}

// readsOnInflux reads a day of minutes through Millrace and, for the same, from InfluxDB by
// queries as one writes them by hand: of one metric, of a hundred each by itself, and the mean
// across a hundred. Metrics are measured once a minute, or six times.
func readsOnInflux(t *testing.T) {
	reads := fromEnv(t, "MILLRACE_BENCH_READS", 300, strconv.Atoi)
	server := testservers.NewInfluxDB(t, testservers.Influx2)
	p, bucket := programOn(t, server)
	start := time.Now().Add(-30 * time.Hour).Truncate(time.Hour).UTC()
	for _, perMinute := range []int{1, 6} {
		q := &dayReads{program: p, server: server, bucket: bucket, ids: created(t, p, "medium", 100), start: start}
		q.client = newHTTPClient(1)
		defer q.client.CloseIdleConnections()
		load := Load{URL: p.url, User: "admin", Metrics: q.ids, Series: 10, Measures: 144, Clients: 2,
			Requests: int64(10 * 10 * perMinute), Start: start, Step: time.Minute / time.Duration(perMinute)}
		result, err := Run(t.Context(), load, nil)
		if err == nil {
			err = AwaitApplied(t.Context(), p.url, "admin")
		}
		if err != nil || result.Refused > 0 {
			t.Fatalf("%v, %d refused (%s)\n%s", err, result.Refused, result.Refusal, p.said())
		}
		awaitIdle(t, server.PID())
		for _, kind := range []string{"one", "each of 100", "mean of 100"} {
			n := reads
			if kind != "one" {
				n = max(1, reads/10)
			}
			if err := q.compare(t.Context(), kind); err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			var ours, theirs histogram
			for range n {
				for histogram, read := range map[*histogram]func(context.Context, string) ([]byte, error){
					&ours: q.throughMillrace, &theirs: q.byHand} {
					began := time.Now()
					if _, err := read(t.Context(), kind); err != nil {
						t.Fatalf("%s: %v", kind, err)
					}
					histogram.add(time.Since(began))
				}
			}
			t.Logf("%s, 1440 minutes, %d measures a minute, %d reads: through Millrace %s; Flux by hand %s", kind, perMinute,
				n, quantiles(&ours), quantiles(&theirs))
		}
	}
}

// dayReads reads 1,440 minutes of metrics.
type dayReads struct {
	program *program
	server  *testservers.InfluxServer
	bucket  string
	client  *http.Client
	ids     []ingest.MetricID
	start   time.Time
	chosen  ingest.MetricID // of "one", when both must read the same; none: at random
}

func (q *dayReads) one() ingest.MetricID {
	if q.chosen != (ingest.MetricID{}) {
		return q.chosen
	}
	return q.ids[rand.IntN(len(q.ids))]
}

func (q *dayReads) stop() time.Time { return q.start.Add(24 * time.Hour) }

func (q *dayReads) throughMillrace(ctx context.Context, kind string) ([]byte, error) {
	query := url.Values{"granularity": {"60"}, "start": {q.start.Format(time.RFC3339)},
		"stop": {q.stop().Format(time.RFC3339)}}
	method, path, body := http.MethodPost, "/v1/aggregates", ""
	if kind == "one" {
		query.Set("aggregation", "mean")
		method, path = http.MethodGet, "/v1/metric/"+q.one().String()+"/measures"
	} else {
		var metrics strings.Builder
		for _, id := range q.ids {
			fmt.Fprintf(&metrics, " (%s mean)", id)
		}
		body = "(metric" + metrics.String() + ")"
		if kind == "mean of 100" {
			body = "(aggregate mean " + body + ")"
		}
		body = fmt.Sprintf(`{"operations":%q}`, body)
	}
	address := q.program.url + path + "?" + query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", basicAdmin)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	status, text, err := answerOf(q.client, request)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the server answers %d: %s", status, text[:min(len(text), 200)])
	}
	return text, err
}

// byHand is the same by Flux.
func (q *dayReads) byHand(ctx context.Context, kind string) ([]byte, error) {
	which := fmt.Sprintf("r.metric == %q", q.one())
	if kind != "one" {
		parts := make([]string, len(q.ids))
		for i, id := range q.ids {
			parts[i] = fmt.Sprintf("r.metric == %q", id)
		}
		which = "(" + strings.Join(parts, " or ") + ")"
	}
	flux := fmt.Sprintf(`from(bucket: %q) |> range(start: %s, stop: %s)
		|> filter(fn: (r) => r._measurement == "measures" and r._field == "value" and %s)
		|> aggregateWindow(every: 1m, fn: mean, createEmpty: false, timeSrc: "_start")`,
		q.bucket, q.start.Format(time.RFC3339), q.stop().Format(time.RFC3339), which)
	if kind == "mean of 100" { // of the means: the windows hold one of each series
		flux += ` |> group() |> aggregateWindow(every: 1m, fn: mean, createEmpty: false, timeSrc: "_start")`
	}
	return fluxAnswer(ctx, q.client, q.server, flux+` |> keep(columns: ["metric", "_time", "_value"])`)
}

// fluxAnswer is the CSV that a query is answered with.
func fluxAnswer(ctx context.Context, client *http.Client, server *testservers.InfluxServer,
	flux string) ([]byte, error) {
	address := server.URL() + "/api/v2/query?" + url.Values{"org": {server.Org}}.Encode()
	return influxCall(ctx, client, address, server.Token, "application/vnd.flux", http.StatusOK, []byte(flux))
}

// column is what a query's answer has in a column, row by row.
func column(answer []byte, name string) []string {
	var values []string
	at := -1
	for line := range strings.Lines(string(answer)) {
		fields := strings.Split(strings.TrimRight(line, "\r\n"), ",")
		if len(fields) == 1 { // between tables, each of which has a header
			at = -1
			continue
		}
		if at >= 0 {
			values = append(values, fields[at])
			continue
		}
		for i, field := range fields {
			if field == name {
				at = i
			}
		}
	}
	return values
}

// compare says how the two answers differ.
func (q *dayReads) compare(ctx context.Context, kind string) error {
	q.chosen = q.ids[rand.IntN(len(q.ids))]
	defer func() { q.chosen = ingest.MetricID{} }()
	ours, err := q.throughMillrace(ctx, kind)
	if err != nil {
		return err
	}
	theirs, err := q.byHand(ctx, kind)
	if err != nil {
		return err
	}
	want, got := column(theirs, "_value"), bytes.Count(ours, []byte(`"20`)) // a time in each row
	rows := 1440
	if kind == "each of 100" {
		rows *= len(q.ids)
	}
	if got != rows || len(want) != rows {
		return fmt.Errorf("Millrace answers %d rows, InfluxDB %d, there are %d", got, len(want), rows)
	}
	if kind != "one" {
		return nil
	}
	var values [][3]any
	if err := json.Unmarshal(ours, &values); err != nil {
		return err
	}
	for i, text := range want {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return err
		}
		if got, isNumber := values[i][2].(float64); !isNumber || !near(got, v) {
			return fmt.Errorf("row %d is %v, InfluxDB has %v", i, values[i], v)
		}
	}
	return nil
}
