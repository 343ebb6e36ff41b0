package benchmarks

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/drivers/influxdb"
	"millrace/ingest"
	"millrace/testservers"
)

// TestInfluxDB measures Millrace on a real InfluxDB 2.7, beside what InfluxDB does by itself.
// It runs when asked to, with the program as it is built:
//
//	make build
//	MILLRACE_BENCH_INFLUXDB=1 go test ./benchmarks -run InfluxDB -v -timeout 1h
//
// -run InfluxDB/outage is one of its parts. layouts tells what a million points cost InfluxDB
// itself, by how many are in a write, in which order, and how many writes there are at a time. Less of each is said by MILLRACE_BENCH_POINTS
// (3000000 in each run of a load), MILLRACE_BENCH_PAIRS (10000 writes, each with its read),
// MILLRACE_BENCH_READS (300 of each kind) and MILLRACE_BENCH_OUTAGE (5m).
func TestInfluxDB(t *testing.T) {
	if os.Getenv("MILLRACE_BENCH_INFLUXDB") == "" {
		t.Skip("MILLRACE_BENCH_INFLUXDB does not ask for it")
	}
	t.Run("throughput", throughputOnInflux)
	t.Run("layouts", layoutsOnInflux)
	t.Run("pairs", pairsOnInflux)
	t.Run("reads", readsOnInflux)
	t.Run("outage", outageOfInflux)
}

// programOn starts Millrace on a new bucket of an InfluxDB.
func programOn(t *testing.T, server *testservers.InfluxServer) (*program, string) {
	t.Helper()
	bucket := server.Bucket(t, strings.ToLower(rand.Text()))
	settings := []string{"MILLRACE_STORAGE_DRIVER=influxdb", "MILLRACE_STORAGE_INFLUXDB_URL=" + server.URL(),
		"MILLRACE_STORAGE_INFLUXDB_ORG=" + server.Org, "MILLRACE_STORAGE_INFLUXDB_TOKEN=" + server.Token,
		"MILLRACE_STORAGE_INFLUXDB_BUCKET=" + bucket}
	if address := os.Getenv("MILLRACE_BENCH_PPROF"); address != "" {
		settings = append(settings, "MILLRACE_TELEMETRY_PPROF="+address)
	}
	return startProgram(t, settings...), bucket
}

// created makes metrics.
func created(t *testing.T, p *program, policy string, n int) []ingest.MetricID {
	t.Helper()
	ids, err := CreateMetrics(t.Context(), p.url, "admin", policy, n, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// A shape is how a load is laid out in requests.
type shape struct{ metrics, series, measures int }

func (s shape) String() string { return fmt.Sprintf("%dx%d", s.series, s.measures) }

func (s shape) load(ids []ingest.MetricID, points int) Load {
	return Load{
		User: "admin", Metrics: ids, Series: s.series, Measures: s.measures, Clients: 4,
		Requests: int64(max(1, points/(s.series*s.measures))),
		Start:    time.Now().Add(-24 * time.Hour).Truncate(time.Hour), Step: time.Second,
	}
}

// took is what a million points took.
type took struct {
	rate             float64 // points per second
	accepted         float64 // by Millrace's log per second
	influx, millrace float64 // CPU seconds of each process
}

// throughputOnInflux sends loads through Millrace, until all is in InfluxDB, and the same
// points, encoded by the driver's own encoder, straight to InfluxDB; turn by turn, each into
// a new bucket of one server. CPU of InfluxDB is counted until it has nothing left to do. All
// share the processors; or, apart, InfluxDB has one and everything else another, in both
// kinds of runs, as if it were on a machine of its own.
func throughputOnInflux(t *testing.T) {
	points := fromEnv(t, "MILLRACE_BENCH_POINTS", 3_000_000, strconv.Atoi)
	shapes := []shape{{10_000, 100, 100}, {10_000, 1000, 1}}
	t.Run("shared", func(t *testing.T) {
		compareOnInflux(t, testservers.NewInfluxDB(t, testservers.Influx2), shapes, points)
	})
	t.Run("apart", func(t *testing.T) {
		first, second := twoProcessors(t)
		heldTo(t, first)
		server := testservers.NewInfluxDB(t, testservers.Influx2)
		heldTo(t, second)
		compareOnInflux(t, server, shapes, points)
	})
}

// compareOnInflux compares Millrace with writing straight to a server.
func compareOnInflux(t *testing.T, server *testservers.InfluxServer, shapes []shape, points int) {
	for _, s := range shapes {
		t.Run(s.String(), func(t *testing.T) {
			var through, straight []took
			straightTo(t, server, s, points/10) // to get warm
			for turn := range 2 {
				var one, other took
				if turn%2 == 0 {
					one, other = throughMillrace(t, server, s, points), straightTo(t, server, s, points)
				} else {
					other, one = straightTo(t, server, s, points), throughMillrace(t, server, s, points)
				}
				t.Logf("turn %d: through Millrace %s; straight %s; ratio %.2f", turn, one, other, one.rate/other.rate)
				through, straight = append(through, one), append(straight, other)
			}
			a, b := mean(through), mean(straight)
			t.Logf("%s, %d points: through Millrace %s; straight %s; ratio of throughputs %.2f", s, points, a, b,
				a.rate/b.rate)
		})
	}
}

func (k took) String() string {
	text := fmt.Sprintf("%.0f k/s, InfluxDB %.2f CPU-s per million", k.rate/1e3, k.influx)
	if k.millrace > 0 {
		text += fmt.Sprintf(", Millrace %.2f (accepted at %.0f k/s)", k.millrace, k.accepted/1e3)
	}
	return text
}

// mean is of what was done, not of rates.
func mean(of []took) (m took) {
	for _, k := range of {
		n := float64(len(of))
		m.rate, m.accepted = m.rate+1/k.rate/n, m.accepted+1/k.accepted/n
		m.influx, m.millrace = m.influx+k.influx/n, m.millrace+k.millrace/n
	}
	m.rate, m.accepted = 1/m.rate, 1/m.accepted
	return m
}

func throughMillrace(t *testing.T, server *testservers.InfluxServer, s shape, points int) took {
	t.Helper()
	var k took
	t.Run("through", func(t *testing.T) { // so that the program ends with it
		p, _ := programOn(t, server)
		load := s.load(created(t, p, "medium", s.metrics), points)
		load.URL = p.url
		awaitIdle(t, server.PID())
		influx, millrace, began := cpuSeconds(t, server.PID()), cpuSeconds(t, p.pid), time.Now()
		result, err := Run(t.Context(), load, nil)
		for err == nil { // looked at seldom: the server's CPU is measured
			var left int64
			if left, err = waiting(t.Context(), p.url, "admin"); left == 0 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if err != nil || result.Refused > 0 {
			t.Fatalf("%v, %d refused (%s)\n%s", err, result.Refused, result.Refusal, p.said())
		}
		k.accepted = result.Rate
		millions := float64(result.Accepted) / 1e6
		k.rate = float64(result.Accepted) / time.Since(began).Seconds()
		k.millrace = (cpuSeconds(t, p.pid) - millrace) / millions
		awaitIdle(t, server.PID())
		k.influx = (cpuSeconds(t, server.PID()) - influx) / millions
	})
	if t.Failed() {
		t.FailNow()
	}
	return k
}

const (
	straightLines   = 5000 // in a write, as InfluxDB's client libraries have it
	straightClients = 4    // that write at the same time
)

// straightTo writes the points of a load to InfluxDB, in the load's order.
func straightTo(t *testing.T, server *testservers.InfluxServer, s shape, points int) took {
	t.Helper()
	bucket := server.Bucket(t, strings.ToLower(rand.Text()))
	ids := make([]ingest.MetricID, s.metrics)
	series := make([]string, s.metrics)
	for i := range ids {
		ids[i] = ingest.NewMetricID()
		series[i] = string(influxdb.AppendSeries(nil, ids[i], &ingest.Labels{}))
	}
	load := s.load(ids, points)
	per := s.series * s.measures // points of a request
	total := int(load.Requests) * per
	address := server.URL() + "/api/v2/write?" +
		url.Values{"org": {server.Org}, "bucket": {bucket}, "precision": {"ns"}}.Encode()
	client := newHTTPClient(straightClients)
	defer client.CloseIdleConnections()
	awaitIdle(t, server.PID())
	influx, began := cpuSeconds(t, server.PID()), time.Now()
	var next atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	for range straightClients {
		group.Go(func() error {
			var lines []byte
			for {
				from := int(next.Add(straightLines)) - straightLines
				if from >= total {
					return nil
				}
				lines = lines[:0]
				for n := from; n < min(from+straightLines, total); n++ {
					metric, at := s.point(n)
					m := ingest.Measure{Time: load.Start.UnixNano() + int64(at)*int64(load.Step),
						Value: float64(mathrand.Int64N(10_000)) / 100}
					lines = influxdb.AppendMeasure(lines, series[metric], m)
				}
				if err := writeStraight(ctx, client, address, server.Token, lines); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	millions := float64(total) / 1e6
	k := took{rate: float64(total) / time.Since(began).Seconds()}
	awaitIdle(t, server.PID())
	k.influx = (cpuSeconds(t, server.PID()) - influx) / millions
	return k
}

// point says which metric's and which measure of it the n-th of a load is.
func (s shape) point(n int) (metric, measure int) {
	request, within := n/(s.series*s.measures), n%(s.series*s.measures)
	groups := s.metrics / s.series
	return request%groups*s.series + within/s.measures, request/groups*s.measures + within%s.measures
}

func writeStraight(ctx context.Context, client *http.Client, address, token string, lines []byte) error {
	_, err := influxCall(ctx, client, address, token, "text/plain; charset=utf-8", http.StatusNoContent, lines)
	return err
}

// influxCall posts something to InfluxDB and returns the answer.
func influxCall(ctx context.Context, client *http.Client, address, token, contentType string, want int,
	body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Token "+token)
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Accept", "application/csv")
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != want {
		err = fmt.Errorf("InfluxDB answers %d: %s", answer.StatusCode, text[:min(len(text), 200)])
	}
	return text, err
}

// The points that are written straight are those of the load.
func TestShape(t *testing.T) {
	s := shape{metrics: 4, series: 2, measures: 3}
	seen := make(map[[2]int]bool)
	for n := range 24 {
		metric, measure := s.point(n)
		seen[[2]int{metric, measure}] = true
	}
	var got [][2]int
	for n := range 8 {
		metric, measure := s.point(n * 3)
		got = append(got, [2]int{metric, measure})
	}
	want := [][2]int{{0, 0}, {1, 0}, {2, 0}, {3, 0}, {0, 3}, {1, 3}, {2, 3}, {3, 3}}
	if len(seen) != 24 || !slices.Equal(got, want) {
		t.Errorf("%d points, requests begin with %v, want %v", len(seen), got, want)
	}
}

// near says whether two means are the same but for the order in which they were summed.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a)) }
