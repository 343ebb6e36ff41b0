package benchmarks

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/ingest"
)

func TestRead(t *testing.T) {
	id := ingest.NewMetricID()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := "/v1/metric/" + id.String() +
			"/measures?aggregation=max&granularity=60&start=2024-05-05T05%3A00%3A00Z&stop=2024-05-05T06%3A00%3A00Z"
		if r.URL.String() != want {
			http.Error(w, r.URL.String(), http.StatusNotFound)
			return
		}
		io.WriteString(w, `[["2024-05-05T05:00:00+00:00", 60.0, 1.0], ["2024-05-05T05:01:00+00:00", 60.0, 2.0]]`)
	}))
	defer s.Close()
	reads := Reads{
		URL: s.URL, User: "reader", Metrics: []ingest.MetricID{id}, Aggregation: "max", Granularity: time.Minute,
		Start: time.Date(2024, 5, 5, 5, 0, 0, 0, time.UTC), Stop: time.Date(2024, 5, 5, 6, 0, 0, 0, time.UTC), Clients: 2,
		Requests: 10,
	}
	result, err := Read(t.Context(), reads)
	if err != nil || result.Requests != 10 || result.Rows != 2 || result.P50 <= 0 || result.Max < result.P99 {
		t.Errorf("%+v, %v", result, err)
	}
	reads.Aggregation = "min"
	if _, err := Read(t.Context(), reads); err == nil || !strings.Contains(err.Error(), "the server answers 404") {
		t.Errorf("%v", err)
	}
	reads.Metrics = nil
	if _, err := Read(t.Context(), reads); err == nil {
		t.Error("no metrics are no error")
	}
}

func TestReadAcross(t *testing.T) {
	ids := []ingest.MetricID{ingest.NewMetricID(), ingest.NewMetricID(), ingest.NewMetricID()}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/v1/aggregates" || r.Method != http.MethodPost ||
			!strings.HasPrefix(string(body), `{"operations": "(aggregate sum (metric (`) ||
			strings.Count(string(body), " max)") != 2 {
			http.Error(w, string(body), http.StatusBadRequest)
			return
		}
		io.WriteString(w, `{"measures": {"aggregated": [["2024-05-05T05:00:00+00:00", 60.0, 1.0], `+
			`["2024-05-05T05:01:00+00:00", 60.0, 2.0]]}}`)
	}))
	defer s.Close()
	reads := Reads{URL: s.URL, User: "reader", Metrics: ids, Aggregation: "max", Granularity: time.Minute, Clients: 1,
		Requests: 3, Across: 2, Function: "sum"}
	result, err := Read(t.Context(), reads)
	if err != nil || result.Rows != 2 {
		t.Errorf("%+v, %v", result, err)
	}
	reads.Across = 4
	if _, err := Read(t.Context(), reads); err == nil {
		t.Error("more metrics than there are is no error")
	}
}

func TestMeasureFreshness(t *testing.T) {
	var posts, asked, nudged atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Millrace-Position", fmt.Sprint(posts.Add(1)))
			w.WriteHeader(http.StatusAccepted)
			return
		}
		if r.Header.Get("Prefer") == "wait=4" {
			nudged.Add(1)
		}
		state := "applied"
		if asked.Add(1)%2 == 1 {
			state = "queued"
		}
		fmt.Fprintf(w, `{"state": %q}`, state)
	}))
	defer s.Close()
	load := Load{URL: s.URL, User: "loader", Metrics: []ingest.MetricID{ingest.NewMetricID()}, Start: time.Now()}
	for _, nudge := range []bool{false, true} {
		result, err := MeasureFreshness(t.Context(), load, 5, time.Millisecond, nudge)
		if err != nil || result.Writes != 5 || result.Nudged != nudge || result.Max <= 0 {
			t.Errorf("%+v, %v", result, err)
		}
	}
	if posts.Load() != 10 || asked.Load() != 20 || nudged.Load() != 10 {
		t.Errorf("%d posts, %d questions, %d of them with a nudge", posts.Load(), asked.Load(), nudged.Load())
	}
}
