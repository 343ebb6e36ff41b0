package benchmarks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"millrace/testservers"
)

// Of the load beside the outage: a fleet of 1,000 metrics, ten measures a second each.
const (
	outageMetrics = 1000
	outageRate    = 10_000.0 // measures a second
	outageMargin  = 10 * time.Second
)

// outageOfInflux kills InfluxDB under load, and starts it again after a time. All that was
// acknowledged must be there afterwards, without a hand, and the status must have told the
// lag all the while.
func outageOfInflux(t *testing.T) {
	outage := fromEnv(t, "MILLRACE_BENCH_OUTAGE", 5*time.Minute, time.ParseDuration)
	rate := fromEnv(t, "MILLRACE_BENCH_OUTAGE_RATE", outageRate, parseFloat)
	server := testservers.NewInfluxDB(t, testservers.Influx2)
	p, bucket := programOn(t, server)
	start := time.Now().Add(-2 * time.Hour).Truncate(time.Minute)
	load := Load{URL: p.url, User: "admin", Metrics: created(t, p, "medium", outageMetrics), Series: 100, Measures: 1,
		Clients: 4, Duration: outage + 2*outageMargin, Start: start, Step: time.Second / 10, Rate: rate}
	w := &watcher{t: t, program: p}
	watching, stop := context.WithCancel(t.Context())
	defer stop()
	var others sync.WaitGroup
	others.Go(func() { w.run(watching) })
	var result Result
	var loadErr error
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		result, loadErr = Run(t.Context(), load, nil)
	}()
	time.Sleep(outageMargin)
	server.Kill()
	down := time.Now()
	time.Sleep(outage)
	up := time.Now()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	<-loaded
	if loadErr != nil || result.Refused > 0 {
		t.Errorf("%v, %d requests refused (%s)\n%s", loadErr, result.Refused, result.Refusal, p.said())
	}
	caughtUp, err := w.caughtUp(up)
	stop()
	others.Wait()
	if err != nil {
		t.Fatalf("%v\n%s", err, p.said())
	}
	w.report(down, up)
	t.Logf("InfluxDB gone for %s at %.0f measures/s: %d acknowledged, p99 %.1f ms; caught up %.1f s after its start, "+
		"beside the load", outage, rate, result.Accepted, result.P99, caughtUp.Seconds())
	there, applied, err := countAll(t.Context(), p, server, bucket, load)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("afterwards %d are in InfluxDB, %d are read through Millrace", there, applied)
	if there != result.Accepted || applied != result.Accepted {
		t.Errorf("%d were acknowledged", result.Accepted)
	}
}

func parseFloat(text string) (float64, error) { return strconv.ParseFloat(text, 64) }

// A moment is what is seen of a program once a second.
type moment struct {
	at      time.Time
	mib     float64
	records int64
	age     float64 // of the oldest record that waits, in seconds
}

// A watcher looks at a program's memory and status.
type watcher struct {
	t       *testing.T
	program *program
	mu      sync.Mutex
	seen    []moment
	failed  error // of a look at the status
}

func (w *watcher) run(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		m, err := w.look(ctx)
		if ctx.Err() != nil {
			return
		}
		w.mu.Lock()
		if err == nil {
			w.seen = append(w.seen, m)
		} else if w.failed == nil {
			w.failed = err
		}
		w.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (w *watcher) look(ctx context.Context) (m moment, err error) {
	m.at = time.Now()
	if m.mib, err = residentMiB(w.program.pid); err != nil {
		return m, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.program.url+"/v1/status?details=false", nil)
	if err != nil {
		return m, err
	}
	request.Header.Set("Authorization", basicAdmin)
	status, text, err := answerOf(http.DefaultClient, request)
	if err != nil {
		return m, err
	}
	if status != http.StatusOK {
		return m, fmt.Errorf("the status is answered %d: %s", status, text)
	}
	var said struct {
		Ingest struct {
			Lag struct {
				Records int64   `json:"records"`
				Age     float64 `json:"age"`
			} `json:"lag"`
		} `json:"ingest"`
	}
	err = json.Unmarshal(text, &said)
	m.records, m.age = said.Ingest.Lag.Records, said.Ingest.Lag.Age
	return m, err
}

// caughtUp waits until nothing is older than two flushes, and says how long after a moment
// that was.
func (w *watcher) caughtUp(since time.Time) (time.Duration, error) {
	deadline := time.Now().Add(10 * time.Minute)
	for time.Now().Before(deadline) {
		w.mu.Lock()
		for _, m := range w.seen {
			if m.at.After(since) && m.age < 2.5 {
				w.mu.Unlock()
				return m.at.Sub(since), nil
			}
		}
		w.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
	}
	return 0, fmt.Errorf("it has not caught up %s after InfluxDB was there again", time.Since(since).Round(time.Second))
}

// report prints memory and lag over the outage, and fails where the lag was not told.
func (w *watcher) report(down, up time.Time) {
	w.t.Helper()
	if w.failed != nil {
		w.t.Errorf("the status was not told all the while: %v", w.failed)
	}
	const parts = 5
	peaks, last := make([]float64, parts), make([]moment, parts)
	before, after := 0.0, 0.0
	for _, m := range w.seen {
		switch {
		case m.at.Before(down):
			before = max(before, m.mib)
		case m.at.After(up):
			after = max(after, m.mib)
		default:
			part := min(parts-1, int(parts*m.at.Sub(down)/up.Sub(down)))
			peaks[part], last[part] = max(peaks[part], m.mib), m
			if m.at.Sub(down) > 3*time.Second && (m.records == 0 || m.age+4 < m.at.Sub(down).Seconds()) {
				w.t.Errorf("%s into the outage the status says that %d records wait, the oldest for %.0f s", m.at.Sub(down),
					m.records, m.age)
			}
		}
	}
	w.t.Logf("peaks of VmRSS: %.0f MiB before the outage, %.0f afterwards", before, after)
	for i, m := range last {
		w.t.Logf("part %d of %d of the outage: %.0f MiB; at its end %d records wait, the oldest for %.0f s", i+1, parts,
			peaks[i], m.records, m.age)
	}
}

// countAll counts the measures of a load: the points in InfluxDB, and what Millrace reads.
func countAll(ctx context.Context, p *program, server *testservers.InfluxServer, bucket string,
	load Load) (there, read int64, err error) {
	if err := AwaitApplied(ctx, p.url, load.User); err != nil {
		return 0, 0, err
	}
	flux := fmt.Sprintf(`from(bucket: %q) |> range(start: %s)
		|> filter(fn: (r) => r._measurement == "measures" and r._field == "value")
		|> count() |> group() |> sum()`, bucket, load.Start.UTC().Format(time.RFC3339))
	answer, err := fluxAnswer(ctx, http.DefaultClient, server, flux)
	if err != nil {
		return 0, 0, err
	}
	for _, text := range column(answer, "_value") {
		if there, err = strconv.ParseInt(text, 10, 64); err != nil {
			return 0, 0, err
		}
	}
	for _, id := range load.Metrics {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet,
			p.url+"/v1/metric/"+id.String()+"/measures?aggregation=count&granularity=60", nil)
		if err != nil {
			return there, read, err
		}
		request.Header.Set("Authorization", basicAdmin)
		status, text, err := answerOf(http.DefaultClient, request)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("the server answers %d: %s", status, text)
		}
		var rows [][3]any
		if err == nil {
			err = json.Unmarshal(text, &rows)
		}
		if err != nil {
			return there, read, err
		}
		for _, row := range rows {
			n, _ := row[2].(float64)
			read += int64(n)
		}
	}
	return there, read, nil
}
