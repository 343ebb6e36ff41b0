package benchmarks

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/s3store"
	"millrace/ingest"
	"millrace/testservers"
	"millrace/testservers/faultproxy"
)

// Prices of S3 Standard in us-east-1, dollars per request
// (https://aws.amazon.com/s3/pricing/, "Requests & data retrievals"): PUT, COPY, POST and LIST
// cost 0.005 per 1,000, GET and all others 0.0004, deletions nothing.
const (
	priceOfPut = 0.005 / 1000
	priceOfGet = 0.0004 / 1000
)

// The budget at a flush a minute, for a deployment of so many metrics: what a minute may take.
const (
	requestsPerMinute = 60   // 0.006 per update of 10,000 metrics
	dollarsPerMinute  = 3e-4 // 0.03 per million of those
)

// requestKind sorts the store's requests.
func requestKind(r *http.Request) string {
	what := "object"
	switch {
	case r.URL.Query().Has("list-type"):
		return "LIST"
	case r.URL.Query().Has("delete"):
		return "DELETE"
	case strings.HasSuffix(r.URL.Path, "manifest.json"):
		what = "manifest"
	case strings.HasSuffix(r.URL.Path, ".parquet"):
		what = "segment"
	}
	return r.Method + " " + what
}

func priceOf(kind string) float64 {
	switch {
	case kind == "DELETE":
		return 0
	case kind == "LIST", strings.HasPrefix(kind, "PUT"):
		return priceOfPut
	}
	return priceOfGet
}

// counted is a bucket of a real server, behind a proxy that counts.
func counted(t *testing.T) (carbonara.Store, *faultproxy.HTTP) {
	t.Helper()
	server := testservers.MinIO(t)
	proxy, err := faultproxy.NewHTTP(server.Addr, requestKind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	store, err := s3store.Open(t.Context(), s3store.Config{
		Endpoint: proxy.URL(), Bucket: server.Bucket(t), AccessKey: server.AccessKey, SecretKey: server.SecretKey,
	}, slog.New(slog.DiscardHandler), noop.Meter{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store, proxy
}

// A bill is what has passed through a proxy.
type bill struct {
	kinds    []string
	requests map[string]int
	total    int
	dollars  float64
	written  int64
}

func billOf(before, after map[string]faultproxy.Counts) bill {
	b := bill{kinds: slices.Sorted(maps.Keys(after)), requests: make(map[string]int)}
	for kind, c := range after {
		n := c.Requests - before[kind].Requests
		b.requests[kind] = n
		b.total += n
		b.dollars += float64(n) * priceOf(kind)
		b.written += c.Sent - before[kind].Sent
	}
	return b
}

func (b bill) String() string {
	var parts []string
	for _, kind := range b.kinds {
		if b.requests[kind] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", b.requests[kind], kind))
		}
	}
	return strings.Join(parts, ", ")
}

// TestCost plays hours of a deployment on S3 with a clock of its own, counts the requests at a
// proxy before MinIO, and holds them to the budget. By itself it plays 65 minutes of one
// case; MILLRACE_BENCH_COST is how long to play all of them:
//
//	MILLRACE_BENCH_COST=2h10m go test ./benchmarks -run TestCost -v -timeout 1h
func TestCost(t *testing.T) {
	long, whole := 65*time.Minute, false
	if text := os.Getenv("MILLRACE_BENCH_COST"); text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		whole = true
	}
	for _, metrics := range []int{10_000, 100_000} {
		for _, interval := range []time.Duration{time.Minute, 10 * time.Second} {
			for _, policy := range []string{"low", "medium", "high"} {
				if !whole && (metrics != 10_000 || interval != time.Minute || policy != "medium") {
					continue
				}
				t.Run(fmt.Sprintf("%d metrics/%s/%s", metrics, interval, policy), func(t *testing.T) {
					costOf(t, metrics, interval, policy, long)
				})
			}
		}
	}
}

func costOf(t *testing.T, metrics int, interval time.Duration, policy string, long time.Duration) {
	store, proxy := counted(t)
	p := play(t, store, policy, metrics)
	before := proxy.Counts()
	p.minutes(t, long, interval)
	b, s, updates := billOf(before, proxy.Counts()), p.driver.Stats(), float64(p.applied.Load())
	t.Logf("| %d | %s | %s | %.6f | $%.4f | %.1f | %.2f | %.2f |", metrics, interval, policy, float64(b.total)/updates,
		b.dollars/updates*1e6,
		float64(b.written)/updates, float64(s.MergedBytes)/float64(s.FlushedBytes),
		float64(s.SealedBytes)/float64(s.FlushedBytes))
	t.Logf("%s: %s; %d flushes, %d merges, %d seals, %d segments deleted, %d live", long, b, s.Flushes, s.Merges, s.Seals,
		s.GarbageDeleted, s.Segments)
	if s.Merges == 0 || s.Seals == 0 || s.GarbageDeleted == 0 {
		t.Error("something has not happened that is to be counted")
	}
	for _, kind := range b.kinds {
		if strings.HasPrefix(kind, "HEAD") {
			t.Errorf("%d requests are %s", b.requests[kind], kind)
		}
	}
	if listed, most := b.requests["LIST"], playedSacks*int(long/time.Hour+1); listed > most {
		t.Errorf("%d LIST in %s, of %d sacks hourly", listed, long, playedSacks)
	}
	if interval < time.Minute {
		return
	}
	minutes := long.Minutes()
	if got := float64(b.total) / minutes; got > requestsPerMinute {
		t.Errorf("%.1f requests a minute, the budget is %d", got, requestsPerMinute)
	}
	if got := b.dollars / minutes; got > dollarsPerMinute {
		t.Errorf("$%.6f a minute, the budget is $%.6f", got, dollarsPerMinute)
	}
}

// TestCostOfPolling counts what one client takes that asks for the newest measures of a metric
// once a second, beside 10,000 metrics: in the process that owns the sack, which shows what it
// has applied, and in another, for which the sack is flushed each time.
func TestCostOfPolling(t *testing.T) {
	const seconds = 120
	for _, elsewhere := range []bool{false, true} {
		t.Run(map[bool]string{false: "owner", true: "elsewhere"}[elsewhere], func(t *testing.T) {
			store, proxy := counted(t)
			p := play(t, store, "medium", 10_000)
			p.minutes(t, 10*time.Minute, time.Minute)
			reader := p.driver
			if elsewhere {
				var err error
				if reader, err = carbonara.New(t.Context(), store, usualPolicies(), playedSacks, p.config()); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = reader.Close() }()
			}
			query := ingest.Query{
				Metric: p.ids[0][0], Policy: usualPolicies()["medium"], Granularity: time.Minute, Method: ingest.Mean,
				From: p.start.UnixNano(), To: ingest.MaxTime,
			}
			before := proxy.Counts()
			for second := range seconds {
				at, n := p.now(), len(p.ids[0])
				p.elapsed.Add(int64(time.Second))
				first, last := n*(second%60)/60, n*(second%60+1)/60
				if err := p.apply(t.Context(), 0, first, last, at, 1, time.Minute); err != nil {
					t.Fatal(err)
				}
				if elsewhere {
					if err := p.flush(t.Context(), 0); err != nil {
						t.Fatal(err)
					}
				}
				position := make(ingest.Position, playedSacks)
				position[0] = p.offsets[0]
				rows := make([][]ingest.Measure, 1)
				if _, err := reader.Read(t.Context(), []ingest.Query{query}, rows, position); err != nil {
					t.Fatal(err)
				}
				if len(rows[0]) < 10 {
					t.Fatalf("%d rows", len(rows[0]))
				}
			}
			b := billOf(before, proxy.Counts())
			t.Logf("a poll a second, %s: %.2f requests and $%.7f a poll ($%.2f a month): %s",
				map[bool]string{false: "of the sack's owner", true: "of another process"}[elsewhere],
				float64(b.total)/seconds, b.dollars/seconds, b.dollars/seconds*86400*30, b)
		})
	}
}
