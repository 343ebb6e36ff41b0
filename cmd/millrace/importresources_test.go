package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A resourceServer stands for a server that takes batches by resource: what it has is
// in memory, and what a client does wrong is refused as the API refuses it.
type resourceServer struct {
	mu        sync.Mutex
	types     []string                     // of the resources, beside generic
	resources map[string]string            // id → type
	metrics   map[string]map[string]string // resource → name → id
	measures  map[string][]string          // resource/name → "policy time value"
	late      map[string]int               // metric id → measures that came too late so far
	batches   int
}

func newResourceServer(types ...string) *resourceServer {
	return &resourceServer{
		types: append(types, "generic"), resources: make(map[string]string), metrics: make(map[string]map[string]string),
		measures: make(map[string][]string), late: make(map[string]int),
	}
}

func (s *resourceServer) handler() http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, doc any) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(doc)
	}
	refuse := func(w http.ResponseWriter, status int, reason string) {
		answer(w, status, map[string]any{"code": status, "title": http.StatusText(status), "description": reason})
	}
	mux.HandleFunc("GET /v1", func(w http.ResponseWriter, r *http.Request) { answer(w, 200, map[string]any{}) })
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter,
		r *http.Request) {
		answer(w, 200, map[string]any{"dead_letters": 0})
	})
	mux.HandleFunc("GET /v1/archive_policy/low", func(w http.ResponseWriter,
		r *http.Request) {
		answer(w, 200, map[string]any{})
	})
	mux.HandleFunc("GET /v1/ingest/{token}", func(w http.ResponseWriter,
		r *http.Request) {
		answer(w, 200, map[string]any{"state": "applied"})
	})
	mux.HandleFunc("GET /v1/metric/{id}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Millrace-Late", fmt.Sprint(s.late[r.PathValue("id")]))
		answer(w, 200, map[string]any{})
	})
	mux.HandleFunc("GET /v1/resource/{type}/{id}", func(w http.ResponseWriter, r *http.Request) {
		kind, id := r.PathValue("type"), r.PathValue("id")
		if of, ok := s.resources[id]; !ok || kind != of && kind != "generic" {
			refuse(w, 404, "Resource "+id+" does not exist")
			return
		}
		answer(w, 200, map[string]any{"id": id, "metrics": s.metrics[id]})
	})
	mux.HandleFunc("POST /v1/resource/{type}", func(w http.ResponseWriter, r *http.Request) {
		var doc struct{ ID string }
		if err := json.NewDecoder(r.Body).Decode(&doc); err != nil {
			refuse(w, 400, err.Error())
			return
		}
		kind := r.PathValue("type")
		switch {
		case !strings.Contains(strings.Join(s.types, " "), kind):
			refuse(w, 404, "Resource type "+kind+" does not exist")
		case s.resources[doc.ID] != "":
			refuse(w, 409, "Resource "+doc.ID+" already exists")
		default:
			s.resources[doc.ID], s.metrics[doc.ID] = kind, make(map[string]string)
			answer(w, 201, map[string]any{"id": doc.ID})
		}
	})
	mux.HandleFunc("POST /v1/batch/resources/metrics/measures", func(w http.ResponseWriter, r *http.Request) {
		var doc map[string]map[string]struct {
			Measures []struct {
				Timestamp string
				Value     float64
			}
			Policy string `json:"archive_policy_name"`
		}
		err := json.NewDecoder(r.Body).Decode(&doc)
		if s.batches++; err != nil || r.URL.Query().Get("create_metrics") != "true" {
			refuse(w, 400, fmt.Sprint(err))
			return
		}
		accepted := 0
		for resource, names := range doc {
			if s.resources[resource] == "" {
				refuse(w, 400, "Unknown resources")
				return
			}
			for name, m := range names {
				id := s.metrics[resource][name]
				if id == "" {
					id = "id-of-" + resource + "-" + name
					s.metrics[resource][name] = id
				}
				for _, one := range m.Measures {
					key := resource + "/" + name
					s.measures[key] = append(s.measures[key], fmt.Sprintf("%s %s %v", m.Policy, one.Timestamp, one.Value))
					if one.Value < 0 { // by agreement with the test
						s.late[id]++
					}
					accepted++
				}
			}
		}
		w.Header().Set("Millrace-Position", fmt.Sprint("p", s.batches))
		answer(w, 202, map[string]any{"state": "queued", "accepted": accepted})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		mux.ServeHTTP(w, r)
	})
}

// Rows of metrics of resources: what there isn't is created, what can't be is refused
// by itself, and what comes too late is counted.
func TestImportResources(t *testing.T) {
	s := newResourceServer("instance")
	s.resources["old"], s.metrics["old"] = "instance", map[string]string{"cpu": "id-of-old-cpu"}
	s.late["id-of-old-cpu"] = 5 // before
	front := httptest.NewServer(s.handler())
	defer front.Close()
	dir := folder(t, map[string]string{"all.csv": `timestamp,kind,host,name,value
1393632001,instance,a b,cpu,1
1393632001,instance,a b,mem,2
1393632001,instance,old,cpu,3
1393632000,instance,old,cpu,-3
1393632001,toaster,t,heat,4
1393632002,instance,a b,cpu,5
1393632003,instance,a/b,cpu,6
1393632004,generic,g,x,-7
1393632005,generic,old,cpu,8
1393632005,instance,g,x,8
`})
	state := filepath.Join(t.TempDir(), "state.json")
	args := []string{"import", dir, "--resource-type-column", "kind", "--resource-column", "host", "--metric-column",
		"name",
		"--policy", "low", "--batch", "3", "--state", state, "--url", front.URL}
	out, errOut, code := command(t, nil, args...)
	if code != 2 || !strings.Contains(out, "1 files, 4 metrics: 7 measures accepted") ||
		!strings.Contains(out, "3 rows refused") ||
		!strings.Contains(out, "2 measures came too late") {
		t.Errorf("status %d: %s%s", code, out, errOut)
	}
	for _, want := range []string{
		"metric heat of resource t: 1 rows refused: the server answers 404 Not Found: Resource type toaster does not exist",
		`all.csv:8: resource "a/b" has a /`,
	} {
		if !strings.Contains(errOut, want) {
			t.Errorf("%q does not say %q", errOut, want)
		}
	}
	at := func(s int, value string) string { return fmt.Sprintf("low 2014-03-01T00:00:0%d+00:00 %s", s, value) }
	want := map[string][]string{
		"a b/cpu": {at(1, "1"), at(2, "5")}, "a b/mem": {at(1, "2")}, "old/cpu": {at(1, "3"), at(0, "-3"), at(5, "8")},
		"g/x": {at(4, "-7")},
	}
	if diff := cmp.Diff(want, s.measures); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"a b": "instance", "old": "instance", "g": "generic"},
		s.resources); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if out, errOut, code := command(t, nil, args...); code != 0 || !strings.Contains(out, " 0 measures accepted") {
		t.Errorf("again: status %d: %s%s", code, out, errOut)
	}
}
