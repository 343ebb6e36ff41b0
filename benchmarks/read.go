package benchmarks

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/ingest"
)

// Reads says what to ask a server for: series of metrics chosen at random, one at a
// time or several made one.
type Reads struct {
	URL         string
	User        string
	Metrics     []ingest.MetricID
	Aggregation string
	Granularity time.Duration
	Start, Stop time.Time // the range that each request asks for
	Clients     int
	Requests    int64
	Across      int    // how many metrics each request aggregates by /v1/aggregates; 0: one is read as it is
	Function    string // by which they are made one: mean, sum …
}

// request makes a request for metrics chosen at random.
func (r *Reads) request(ctx context.Context) (*http.Request, error) {
	query := url.Values{
		"granularity": {strconv.FormatFloat(r.Granularity.Seconds(), 'g', -1, 64)},
		"start":       {r.Start.UTC().Format(time.RFC3339)}, "stop": {r.Stop.UTC().Format(time.RFC3339)},
	}
	if r.Across == 0 {
		query.Set("aggregation", r.Aggregation)
		id := r.Metrics[rand.IntN(len(r.Metrics))]
		return http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/v1/metric/"+id.String()+"/measures?"+query.Encode(),
			nil)
	}
	body := []byte(`{"operations": "(aggregate ` + r.Function + ` (metric`)
	for _, i := range rand.Perm(len(r.Metrics))[:r.Across] {
		body = fmt.Appendf(body, " (%s %s)", r.Metrics[i], r.Aggregation)
	}
	body = append(body, `))"}`...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL+"/v1/aggregates?"+query.Encode(),
		bytes.NewReader(body))
	if err == nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, err
}

// A ReadResult is what reads took.
type ReadResult struct {
	Requests int64   `json:"requests"`
	Refused  int64   `json:"refused"` // of them, with 503: they are in nothing of what follows
	Rows     float64 `json:"rows_per_request"`
	Clients  int     `json:"clients"`
	Seconds  float64 `json:"seconds"`
	Rate     float64 `json:"requests_per_second"`
	P50      float64 `json:"p50_ms"`
	P90      float64 `json:"p90_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
}

// Read asks for series and returns when all requests have been answered.
func Read(ctx context.Context, r Reads) (ReadResult, error) {
	if len(r.Metrics) == 0 || r.Clients < 1 || r.Requests < 1 {
		return ReadResult{}, errors.New("metrics, clients and requests must be at least 1")
	}
	if r.Across < 0 || r.Across > len(r.Metrics) {
		return ReadResult{}, fmt.Errorf("there are %d metrics, not %d", len(r.Metrics), r.Across)
	}
	auth := "Basic " + base64.StdEncoding.EncodeToString([]byte(r.User+":"))
	client := newHTTPClient(r.Clients)
	client.Timeout = 10 * time.Minute // hundreds of long series may be under way at the same time
	defer client.CloseIdleConnections()
	var latency histogram
	var next, rows, refused atomic.Int64
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range r.Clients {
		group.Go(func() error {
			for next.Add(1) <= r.Requests {
				req, err := r.request(ctx)
				if err != nil {
					return err
				}
				started := time.Now()
				n, err := readSeries(client, req, auth)
				if errors.Is(err, errRefused) {
					refused.Add(1)
					continue
				}
				if err != nil {
					return err
				}
				latency.add(time.Since(started))
				rows.Add(int64(n))
			}
			return nil
		})
	}
	err := group.Wait()
	took := time.Since(began).Seconds()
	ms := func(q float64) float64 { return float64(latency.quantile(q).Microseconds()) / 1000 }
	return ReadResult{
		Requests: r.Requests, Refused: refused.Load(), Clients: r.Clients,
		Rows:    float64(rows.Load()) / max(1, float64(r.Requests-refused.Load())),
		Seconds: took, Rate: float64(r.Requests) / took, P50: ms(.5), P90: ms(.9), P99: ms(.99), Max: ms(1),
	}, err
}

// readSeries returns how many rows a series has. It counts brackets, so that the
// client's decoding is no part of what is measured.
func readSeries(client *http.Client, req *http.Request, auth string) (int, error) {
	req.Header.Set("Authorization", auth)
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		err := fmt.Errorf("the server answers %d: %s", resp.StatusCode, why)
		if resp.StatusCode == http.StatusServiceUnavailable {
			err = fmt.Errorf("%w: %w", errRefused, err)
		}
		return 0, err
	}
	rows, buf := -1, make([]byte, 64<<10) // -1: the list's own bracket
	for {
		n, err := resp.Body.Read(buf)
		rows += bytes.Count(buf[:n], []byte("["))
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// errRefused is a server's that has no room for a read at the moment.
var errRefused = errors.New("refused")

// A Freshness is how long it took from a measure's acknowledgement until it could
// be read.
type Freshness struct {
	Writes int     `json:"writes"`
	Nudged bool    `json:"nudged"` // by the reader's wait
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
}

// MeasureFreshness writes one measure after the other to metrics chosen at random,
// every interval, and waits for each: by asking the server to (which nudges the
// worker), or by looking every few milliseconds.
func MeasureFreshness(ctx context.Context, load Load, writes int, interval time.Duration, nudge bool) (Freshness,
	error) {
	client := newHTTPClient(64)
	defer client.CloseIdleConnections()
	auth := "Basic " + base64.StdEncoding.EncodeToString([]byte(load.User+":"))
	var latency histogram
	group, ctx := errgroup.WithContext(ctx)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for i := range writes {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		if ctx.Err() != nil {
			break
		}
		id := load.Metrics[rand.IntN(len(load.Metrics))]
		at := load.Start.Add(time.Duration(i) * time.Millisecond)
		group.Go(func() error {
			took, err := freshness(ctx, client, load.URL, auth, id, at, nudge)
			latency.add(took)
			return err
		})
	}
	err := group.Wait()
	ms := func(q float64) float64 { return float64(latency.quantile(q).Microseconds()) / 1000 }
	return Freshness{Writes: writes, Nudged: nudge, P50: ms(.5), P99: ms(.99), Max: ms(1)}, err
}

func freshness(ctx context.Context, client *http.Client, server, auth string, id ingest.MetricID, at time.Time,
	nudge bool) (time.Duration, error) {
	body := fmt.Sprintf(`[{"timestamp":%q,"value":1}]`, at.UTC().Format(time.RFC3339Nano))
	position, err := call(ctx, client, "POST", server+"/v1/metric/"+id.String()+"/measures", auth, "", body, nil)
	if err != nil {
		return 0, err
	}
	acknowledged := time.Now()
	for {
		prefer := ""
		if nudge {
			prefer = "wait=4"
		}
		var fate struct {
			State string `json:"state"`
		}
		if _, err := call(ctx, client, "GET", server+"/v1/ingest/"+position, auth, prefer, "", &fate); err != nil {
			return 0, err
		}
		if fate.State != "queued" {
			return time.Since(acknowledged), nil
		}
		if !nudge {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// call sends a request and returns the answer's position.
func call(ctx context.Context, client *http.Client, method, address, auth, prefer, body string, out any) (string,
	error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", auth)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	if prefer != "" {
		req.Header.Set("Prefer", prefer)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode >= 300 {
		return "", fmt.Errorf("the server answers %d: %s", resp.StatusCode, data[:min(len(data), 200)])
	}
	if out != nil {
		err = json.Unmarshal(data, out)
	}
	return resp.Header.Get("Millrace-Position"), err
}
