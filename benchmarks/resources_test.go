package benchmarks

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A load by resource creates its resources once, and each round brings every metric's
// next measures.
func TestLoadByResource(t *testing.T) {
	var mu sync.Mutex
	var resources []string
	times := make(map[string][]int64)
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		switch r.URL.String() {
		case "/v1/resource/generic":
			var doc struct{ ID string }
			if err := json.Unmarshal(body, &doc); err != nil {
				t.Error(err)
			}
			if slices.Contains(resources, doc.ID) {
				w.WriteHeader(http.StatusConflict)
				return
			}
			resources = append(resources, doc.ID)
			w.WriteHeader(http.StatusCreated)
		case "/v1/batch/resources/metrics/measures?create_metrics=true":
			var doc map[string]map[string]struct {
				Measures []struct{ Timestamp time.Time }
				Policy   string `json:"archive_policy_name"`
			}
			if err := json.Unmarshal(body, &doc); err != nil {
				t.Errorf("%v: %s", err, body)
			}
			for resource, metrics := range doc {
				for name, m := range metrics {
					if m.Policy != "low" {
						t.Errorf("policy %q", m.Policy)
					}
					for _, one := range m.Measures {
						times[resource+"/"+name] = append(times[resource+"/"+name], one.Timestamp.Unix())
					}
				}
			}
			w.WriteHeader(http.StatusAccepted)
		default:
			t.Errorf("%s %s", r.Method, r.URL)
		}
	}))
	defer sink.Close()
	batch := &ResourceBatch{Prefix: "b", Metrics: 5, PerResource: 2, Policy: "low"}
	for range 2 {
		if err := batch.CreateResources(t.Context(), sink.URL, "loader"); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(resources)
	if diff := cmp.Diff([]string{"b-0", "b-1", "b-2"}, resources); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	result, err := Run(t.Context(), Load{
		URL: sink.URL, User: "loader", Batch: batch, Series: 3, Measures: 2, Clients: 1, Requests: 4,
		Start: time.Unix(1000, 0), Step: time.Second,
	}, nil)
	if err != nil || result.Accepted != 20 || result.Metrics != 5 {
		t.Errorf("%+v, %v", result, err)
	}
	want := make(map[string][]int64)
	for _, key := range []string{"b-0/m0", "b-0/m1", "b-1/m0", "b-1/m1", "b-2/m0"} {
		want[key] = []int64{1000, 1001, 1002, 1003}
	}
	if diff := cmp.Diff(want, times); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := Run(t.Context(), Load{Batch: &ResourceBatch{Metrics: 5}, Series: 1, Measures: 1, Clients: 1, Requests: 1,
		Step: 1}, nil); err == nil {
		t.Error("no metrics per resource")
	}
}
