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
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/api/gnocchi"
	"millrace/ingest"
)

// A Load says what to send to a server. A request carries Series metrics with
// Measures measures each.
type Load struct {
	URL      string            // of the server, with its prefix
	User     string            // for basic authentication
	Metrics  []ingest.MetricID // whose measures are sent, in turn
	Batch    *ResourceBatch    // in place of Metrics: they are posted by resource and name
	Series   int               // metrics per request
	Measures int               // measures per metric and request
	Clients  int               // requests at the same time
	Requests int64             // how many, 0: until Duration is over
	Duration time.Duration     // how long, 0: until Requests have been answered
	Start    time.Time         // of the first measures; each metric's next is a Step later
	Step     time.Duration
	Rate     float64 // measures per second to hold to; 0: as fast as answers come
}

func (l *Load) validate() error {
	switch {
	case l.metrics() < 1 || l.Series < 1 || l.Measures < 1 || l.Clients < 1:
		return errors.New("metrics, series, measures and clients must be at least 1")
	case l.Series > l.metrics():
		return fmt.Errorf("a request can't carry %d of %d metrics", l.Series, l.metrics())
	case l.Batch != nil && l.Batch.validate() != nil:
		return l.Batch.validate()
	case l.Requests == 0 && l.Duration == 0:
		return errors.New("neither a number of requests nor a duration is given")
	case l.Step <= 0:
		return errors.New("the step between measures must be positive")
	}
	return nil
}

// metrics is how many there are.
func (l *Load) metrics() int {
	if l.Batch != nil {
		return l.Batch.Metrics
	}
	return len(l.Metrics)
}

// Live is what has happened so far.
type Live struct {
	Elapsed  time.Duration
	Requests int64 // answered 202
	Measures int64
	Refused  int64 // answered otherwise, or not at all
	P50, P99 time.Duration
}

// A Result is what a load took.
type Result struct {
	Series   int     `json:"series"`
	Measures int     `json:"measures_per_series"`
	Clients  int     `json:"clients"`
	Metrics  int     `json:"metrics"`
	Requests int64   `json:"requests"`
	Accepted int64   `json:"accepted_measures"`
	Refused  int64   `json:"refused_requests"`
	Seconds  float64 `json:"seconds"`
	Rate     float64 `json:"measures_per_second"`
	P50      float64 `json:"p50_ms"`
	P90      float64 `json:"p90_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
	Refusal  string  `json:"first_refusal,omitempty"`

	// From the server's /metrics, where it has them.
	Applied    float64 `json:"seconds_to_applied,omitempty"`         // from the start until all could be read
	AcceptCPU  float64 `json:"cpu_seconds_until_accepted,omitempty"` // of the server process
	TotalCPU   float64 `json:"cpu_seconds_until_applied,omitempty"`
	AcceptPerM float64 `json:"cpu_seconds_per_million_until_accepted,omitempty"`
	TotalPerM  float64 `json:"cpu_seconds_per_million_until_applied,omitempty"`
	Resident   float64 `json:"server_resident_bytes,omitempty"`
}

// A runner is one run of a load.
type runner struct {
	Load
	http     *http.Client
	auth     string
	groups   int // requests that it takes to send a round of all metrics
	next     atomic.Int64
	began    time.Time
	requests atomic.Int64
	measures atomic.Int64
	refused  atomic.Int64
	latency  histogram
	stop     context.Context

	mu       sync.Mutex
	complain error // the first refusal; read when all clients are done
}

// Run sends a load and returns when it has been answered. It calls progress about
// twice a second, if it isn't nil. Requests that are refused with 429 or 503 are
// sent again when the server says so; other refusals end the run.
func Run(ctx context.Context, load Load, progress func(Live)) (Result, error) {
	if err := load.validate(); err != nil {
		return Result{}, err
	}
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	if load.Duration > 0 {
		stop, cancel = context.WithTimeout(ctx, load.Duration)
		defer cancel()
	}
	r := &runner{
		Load: load, stop: stop, began: time.Now(), groups: (load.metrics() + load.Series - 1) / load.Series,
		auth: "Basic " + base64.StdEncoding.EncodeToString([]byte(load.User+":")), http: newHTTPClient(load.Clients),
	}
	defer r.http.CloseIdleConnections()
	var watching sync.WaitGroup
	watched, done := context.WithCancel(ctx)
	if progress != nil {
		watching.Go(func() { r.watch(watched, progress) })
	}
	var clients errgroup.Group
	for range load.Clients {
		clients.Go(func() error { return r.client(ctx) })
	}
	err := clients.Wait()
	result := r.result()
	done()
	watching.Wait()
	return result, err
}

func newHTTPClient(clients int) *http.Client {
	return &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
			MaxIdleConns:        clients,
			MaxIdleConnsPerHost: clients,
			DisableCompression:  true,
			WriteBufferSize:     64 << 10,
		},
	}
}

// client sends one request after the other.
func (r *runner) client(ctx context.Context) error {
	var body []byte
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	for {
		n := r.next.Add(1) - 1
		if r.Requests > 0 && n >= r.Requests {
			return nil
		}
		if !r.pace(n) {
			return ctx.Err()
		}
		var count int
		body, count = r.body(body[:0], n, random)
		if err := r.post(ctx, body, count); err != nil {
			return err
		}
	}
}

// pace waits until it is time for the n-th request; false when the run is over.
func (r *runner) pace(n int64) bool {
	if r.Rate > 0 {
		due := time.Duration(float64(n) * float64(r.Series*r.Measures) / r.Rate * float64(time.Second))
		select {
		case <-r.stop.Done():
		case <-time.After(due - time.Since(r.began)):
		}
	}
	return r.stop.Err() == nil
}

// body appends the n-th request: the requests go through the metrics in turn, and
// every round brings each metric's next measures.
func (r *runner) body(dst []byte, n int64, random *rand.Rand) ([]byte, int) {
	round, group := n/int64(r.groups), int(n%int64(r.groups))
	from, to := group*r.Series, min((group+1)*r.Series, r.metrics())
	first := r.Start.UnixNano() + round*int64(r.Measures)*int64(r.Step)
	measures := func(dst []byte) []byte { return r.measuresFrom(dst, first, random) }
	if r.Batch != nil {
		return r.Batch.body(dst, from, to, measures), (to - from) * r.Measures
	}
	dst = append(dst, '{')
	for i, id := range r.Metrics[from:to] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = id.AppendText(dst)
		dst = measures(append(dst, `":`...))
	}
	return append(dst, '}'), (to - from) * r.Measures
}

// measuresFrom appends the measures of one metric from a time on.
func (r *runner) measuresFrom(dst []byte, first int64, random *rand.Rand) []byte {
	dst = append(dst, '[')
	for j := range r.Measures {
		if j > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"timestamp":"`...)
		dst = gnocchi.AppendTime(dst, first+int64(j)*int64(r.Step))
		dst = append(dst, `","value":`...)
		cents := random.Int64N(10_000)
		dst = strconv.AppendInt(dst, cents/100, 10)
		dst = append(dst, '.', byte('0'+cents/10%10), byte('0'+cents%10), '}')
	}
	return append(dst, ']')
}

// post sends one request until it is taken.
func (r *runner) post(ctx context.Context, body []byte, measures int) error {
	for {
		began := time.Now()
		status, header, text, err := r.send(ctx, body)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && status == http.StatusAccepted:
			r.latency.add(time.Since(began))
			r.requests.Add(1)
			r.measures.Add(int64(measures))
			return nil
		}
		r.refused.Add(1)
		retry := err != nil || status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests
		if err == nil {
			err = fmt.Errorf("the server answers %d: %s", status, text)
		}
		r.mu.Lock()
		if r.complain == nil {
			r.complain = err
		}
		r.mu.Unlock()
		if !retry {
			return err
		}
		pause := time.Second
		if s, parseErr := strconv.Atoi(header.Get("Retry-After")); parseErr == nil {
			pause = time.Duration(s) * time.Second
		}
		select {
		case <-r.stop.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (r *runner) send(ctx context.Context, body []byte) (status int, header http.Header, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL+r.path(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	req.Header.Set("Authorization", r.auth)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := r.http.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, resp.Header, strings.TrimSpace(string(data)), err
}

// path is what measures are posted to.
func (l *Load) path() string {
	if l.Batch != nil {
		return "/v1/batch/resources/metrics/measures?create_metrics=true"
	}
	return "/v1/batch/metrics/measures"
}

func (r *runner) watch(ctx context.Context, progress func(Live)) {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			progress(Live{
				Elapsed: time.Since(r.began), Requests: r.requests.Load(), Measures: r.measures.Load(), Refused: r.refused.Load(),
				P50: r.latency.quantile(.5), P99: r.latency.quantile(.99),
			})
		}
	}
}

func (r *runner) result() Result {
	took := time.Since(r.began).Seconds()
	refusal := ""
	if r.complain != nil {
		refusal = r.complain.Error()
	}
	ms := func(q float64) float64 { return float64(r.latency.quantile(q).Microseconds()) / 1000 }
	return Result{
		Series: r.Series, Measures: r.Load.Measures, Clients: r.Clients, Metrics: r.metrics(),
		Requests: r.requests.Load(), Accepted: r.measures.Load(), Refused: r.refused.Load(),
		Seconds: took, Rate: float64(r.measures.Load()) / took,
		P50: ms(.5), P90: ms(.9), P99: ms(.99), Max: ms(1), Refusal: refusal,
	}
}

// CreateMetrics makes n metrics of an archive policy, many at a time.
func CreateMetrics(ctx context.Context, url, user, policy string, n int, progress func(done int)) ([]ingest.MetricID,
	error) {
	const clients = 32
	ids := make([]ingest.MetricID, n)
	client := newHTTPClient(clients)
	defer client.CloseIdleConnections()
	body, err := json.Marshal(map[string]string{"archive_policy_name": policy})
	if err != nil {
		return nil, err
	}
	var done atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for i := range ids {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			id, err := createMetric(ctx, client, url, user, body)
			ids[i] = id
			if made := done.Add(1); progress != nil && made%1000 == 0 {
				progress(int(made))
			}
			return err
		})
	}
	return ids, group.Wait()
}

func createMetric(ctx context.Context, client *http.Client, url, user string, body []byte) (ingest.MetricID, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/metric", bytes.NewReader(body))
	if err != nil {
		return ingest.MetricID{}, err
	}
	req.SetBasicAuth(user, "")
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return ingest.MetricID{}, err
	}
	defer resp.Body.Close()
	var made struct {
		ID          ingest.MetricID `json:"id"`
		Description any             `json:"description"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&made); err != nil {
		return made.ID, fmt.Errorf("cannot create a metric: %w", err)
	}
	if resp.StatusCode != http.StatusCreated {
		return made.ID, fmt.Errorf("cannot create a metric: the server answers %d: %v", resp.StatusCode, made.Description)
	}
	return made.ID, nil
}
