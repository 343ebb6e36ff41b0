package benchmarks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/ingest"
)

// A sink is a server that takes measures and remembers their times.
type sink struct {
	*httptest.Server
	mu       sync.Mutex
	times    map[string][]int64 // seconds, by metric
	requests int
	refuse   func(n int) (status int, retryAfter string) // of the n-th request; 0: taken
}

func newSink(t *testing.T) *sink {
	s := &sink{times: make(map[string][]int64)}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.refuse != nil {
		if status, retryAfter := s.refuse(s.requests); status != 0 {
			w.Header().Set("Retry-After", retryAfter)
			http.Error(w, "not now", status)
			return
		}
	}
	user, _, _ := r.BasicAuth()
	batch := make(map[string][]struct {
		Timestamp time.Time
		Value     float64
	})
	if err := errors.Join(err, json.Unmarshal(body, &batch)); err != nil || user != "loader" ||
		r.URL.Path != "/v1/batch/metrics/measures" {
		http.Error(w, fmt.Sprintf("%v %s %s", err, user, r.URL.Path), http.StatusBadRequest)
		return
	}
	for id, measures := range batch {
		for _, m := range measures {
			s.times[id] = append(s.times[id], m.Timestamp.Unix())
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

// load is a small one into the sink.
func (s *sink) load(metrics int) Load {
	ids := make([]ingest.MetricID, metrics)
	for i := range ids {
		ids[i] = ingest.NewMetricID()
	}
	return Load{
		URL: s.URL, User: "loader", Metrics: ids, Series: 2, Measures: 3, Clients: 2, Requests: 9,
		Start: time.Unix(1_700_000_000, 0), Step: time.Second,
	}
}

// Requests go through the metrics in turn, and each round brings each one's next measures.
func TestRun(t *testing.T) {
	s := newSink(t)
	load := s.load(5) // three requests a round, the last with one metric
	result, err := Run(t.Context(), load, nil)
	if err != nil {
		t.Fatal(err)
	}
	if result.Requests != 9 || result.Accepted != 45 || result.Refused != 0 || result.Metrics != 5 || result.P50 <= 0 ||
		result.Max < result.P99 || result.Rate <= 0 {
		t.Errorf("%+v", result)
	}
	want := []int64{0, 1, 2, 3, 4, 5, 6, 7, 8}
	for _, id := range load.Metrics {
		got := slices.Sorted(slices.Values(s.times[id.String()]))
		for i := range got {
			got[i] -= 1_700_000_000
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has got %v, want %v", id, got, want)
		}
	}
	if len(s.times) != 5 {
		t.Errorf("measures of %v", slices.Collect(maps.Keys(s.times)))
	}
}

// A refusal that says to come back is tried again; another ends the run.
func TestRunRefused(t *testing.T) {
	s := newSink(t)
	s.refuse = func(n int) (int, string) {
		switch n {
		case 2:
			return http.StatusServiceUnavailable, "0"
		case 4:
			return http.StatusTooManyRequests, "0"
		}
		return 0, ""
	}
	result, err := Run(t.Context(), s.load(4), func(Live) {})
	if err != nil || result.Requests != 9 || result.Accepted != 54 || result.Refused != 2 ||
		!strings.Contains(result.Refusal, "the server answers 503: not now") {
		t.Errorf("%+v, %v", result, err)
	}
	s.refuse = func(int) (int, string) { return http.StatusForbidden, "" }
	if _, err := Run(t.Context(), s.load(4), nil); err == nil ||
		!strings.Contains(err.Error(), "the server answers 403") {
		t.Errorf("%v", err)
	}
}

// A load that is bounded by time ends then, whatever it waits for.
func TestRunDuration(t *testing.T) {
	s := newSink(t)
	load := s.load(4)
	load.Requests, load.Duration = 0, 50*time.Millisecond
	if result, err := Run(t.Context(), load, nil); err != nil || result.Requests == 0 {
		t.Errorf("%+v, %v", result, err)
	}
	s.refuse = func(int) (int, string) { return http.StatusServiceUnavailable, "3600" }
	if result, err := Run(t.Context(), load, nil); err != nil || result.Requests != 0 || result.Refused == 0 {
		t.Errorf("%+v, %v", result, err)
	}
	load.Rate, s.refuse = 1e-6, nil // the first at once, the second in a year
	if result, err := Run(t.Context(), load, nil); err != nil || result.Requests > 1 {
		t.Errorf("%+v, %v", result, err)
	}
}

func TestRunInvalid(t *testing.T) {
	f := func(want string, change func(*Load)) {
		t.Helper()
		load := newSink(t).load(2)
		change(&load)
		if _, err := Run(t.Context(), load, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	f("must be at least 1", func(l *Load) { l.Metrics = nil })
	f("must be at least 1", func(l *Load) { l.Series = 0 })
	f("must be at least 1", func(l *Load) { l.Measures = 0 })
	f("must be at least 1", func(l *Load) { l.Clients = 0 })
	f("a request can't carry 3 of 2 metrics", func(l *Load) { l.Series = 3 })
	f("neither a number of requests nor a duration is given", func(l *Load) { l.Requests = 0 })
	f("the step between measures must be positive", func(l *Load) { l.Step = 0 })
}

func TestCreateMetrics(t *testing.T) {
	var mu sync.Mutex
	made := map[string]bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) != `{"archive_policy_name":"low"}` {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"description": "Archive policy does not exist"}`)
			return
		}
		id := ingest.NewMetricID().String()
		mu.Lock()
		made[id] = true
		mu.Unlock()
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"id": %q}`, id)
	}))
	defer s.Close()
	reported := 0
	ids, err := CreateMetrics(t.Context(), s.URL, "loader", "low", 1000, func(done int) { reported = done })
	if err != nil || len(ids) != 1000 || len(made) != 1000 || reported != 1000 {
		t.Errorf("%d of %d metrics, %d reported: %v", len(ids), len(made), reported, err)
	}
	for _, id := range ids {
		if !made[id.String()] {
			t.Fatalf("%s was not made", id)
		}
	}
	if _, err := CreateMetrics(t.Context(), s.URL, "loader", "none", 1, nil); err == nil ||
		!strings.Contains(err.Error(), "the server answers 400: Archive policy does not exist") {
		t.Errorf("%v", err)
	}
}

// What the load generator itself costs: it shares the machine with the server.
func BenchmarkBody(b *testing.B) {
	r := runner{Load: Load{Metrics: make([]ingest.MetricID, 100), Series: 100, Measures: 100, Step: time.Second,
		Start: time.Unix(1_700_000_000, 0)}, groups: 1}
	random := rand.New(rand.NewPCG(1, 2))
	var body []byte
	n := 0
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		body, n = r.body(body[:0], i, random)
	}
	b.SetBytes(int64(len(body)))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/measure")
}
