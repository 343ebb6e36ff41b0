package benchmarks

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"net/url"
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

// A layout is how the points of 10,000 series are laid out in writes.
type layout struct {
	series, each int // in a write: series, and points of each
	together     bool
	clients      int
}

func (l layout) String() string {
	text := strconv.Itoa(l.series) + " series × " + strconv.Itoa(l.each)
	if l.each > 1 && l.together {
		text += ", those of a series together"
	}
	return text + ", " + strconv.Itoa(l.clients) + " writes at a time"
}

// layoutsOnInflux tells what InfluxDB itself spends on a million points, by how they come:
// MILLRACE_BENCH_POINTS of them each (3000000), over and over one set of series.
func layoutsOnInflux(t *testing.T) {
	points := fromEnv(t, "MILLRACE_BENCH_POINTS", 3_000_000, strconv.Atoi)
	server := testservers.NewInfluxDB(t, testservers.Influx2)
	layoutOn(t, server, layout{5000, 1, false, 4}, points/10) // to get warm
	for _, l := range []layout{{5000, 1, false, 4}, {625, 8, false, 4}, {625, 8, true, 4}, {125, 40, true, 4},
		{625, 32, true, 4}, {625, 8, true, 2}, {625, 8, true, 16}, {100, 8, true, 4}} {
		cpu, rate := layoutOn(t, server, l, points)
		t.Logf("%s: InfluxDB %.2f CPU-s per million, %.0f k/s", l, cpu, rate/1e3)
	}
}

func layoutOn(t *testing.T, server *testservers.InfluxServer, l layout, points int) (cpu, rate float64) {
	t.Helper()
	const metrics = 10_000
	series := make([]string, metrics)
	for i := range series {
		series[i] = string(influxdb.AppendSeries(nil, ingest.NewMetricID(), &ingest.Labels{}))
	}
	address := server.URL() + "/api/v2/write?" + url.Values{"org": {server.Org}, "precision": {"ns"},
		"bucket": {server.Bucket(t, strings.ToLower(rand.Text()))}}.Encode()
	client := newHTTPClient(l.clients)
	defer client.CloseIdleConnections()
	groups, start := metrics/l.series, time.Now().Add(-24*time.Hour).Truncate(time.Hour)
	awaitIdle(t, server.PID())
	before, began := cpuSeconds(t, server.PID()), time.Now()
	var next atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	writes := int64(points / (l.series * l.each))
	for range l.clients {
		group.Go(func() error {
			var lines []byte
			for {
				n := next.Add(1) - 1
				if n >= writes {
					return nil
				}
				lines = lines[:0]
				first, from := int(n)%groups*l.series, int(n)/groups*l.each
				for i := range l.series * l.each {
					which, at := i%l.series, i/l.series
					if l.together {
						which, at = i/l.each, i%l.each
					}
					lines = influxdb.AppendMeasure(lines, series[first+which], ingest.Measure{
						Time: start.Add(time.Duration(from+at) * time.Second).UnixNano(), Value: float64(mathrand.Int64N(10_000)) / 100})
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
	done := float64(writes) * float64(l.series*l.each)
	rate = done / time.Since(began).Seconds()
	awaitIdle(t, server.PID())
	return (cpuSeconds(t, server.PID()) - before) / (done / 1e6), rate
}
