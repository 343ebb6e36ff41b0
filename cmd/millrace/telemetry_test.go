package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"millrace/testservers"
)

// A collector takes what is exported by OTLP, path → bodies.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	bodies map[string][]byte
}

func newCollector(t *testing.T) *collector {
	c := &collector{bodies: make(map[string][]byte)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Authorization") != "Bearer hunter2" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bodies[r.URL.Path] = append(c.bodies[r.URL.Path], body...)
	}))
	t.Cleanup(c.Close)
	return c
}

// Metrics and traces go to a collector below the endpoint, with the headers that the
// settings name, and at the latest when the server stops.
func TestTelemetryOTLP(t *testing.T) {
	c := newCollector(t)
	p := startHere(t, t.TempDir(), "", "MILLRACE_TELEMETRY_OTLP_ENDPOINT="+c.URL+"/otlp",
		"MILLRACE_TELEMETRY_OTLP_HEADERS=authorization=Bearer hunter2", "MILLRACE_TELEMETRY_TRACE_RATIO=1",
		"MILLRACE_LOG_LEVEL=debug")
	id := p.newMetric(t, "m", "high")
	p.post(t, id, `[{"timestamp": "2024-05-05T05:05:05", "value": 5}]`)
	p.series(t, id, "")
	if code := p.terminate(); code != 0 {
		t.Errorf("status %d\n%s", code, p.log)
	}
	for path, want := range map[string][]string{
		"/otlp/v1/metrics": {"millrace.accepted.measures", "millrace.lag.age", "service.name"},
		"/otlp/v1/traces":  {"millrace.apply", "service.name"},
	} {
		for _, name := range want {
			if !bytes.Contains(c.bodies[path], []byte(name)) {
				t.Errorf("%d bytes at %s say nothing of %s", len(c.bodies[path]), path, name)
			}
		}
	}
	if strings.Contains(p.log.String(), "hunter2") {
		t.Errorf("a secret is in the log:\n%s", p.log)
	}
}

// A collector that isn't there, or refuses, is told and harms nothing.
func TestTelemetryCollectorIsAway(t *testing.T) {
	p := startHere(t, t.TempDir(), "", "MILLRACE_TELEMETRY_OTLP_ENDPOINT="+newCollector(t).URL)
	id := p.newMetric(t, "m", "high")
	p.post(t, id, `[{"timestamp": "2024-05-05T05:05:05", "value": 5}]`)
	if got := p.series(t, id, "granularity=1"); len(got) != 1 {
		t.Errorf("%q", got)
	}
	if code := p.terminate(); code != 0 {
		t.Errorf("status %d\n%s", code, p.log)
	}
	if !strings.Contains(p.log.String(), "telemetry") {
		t.Errorf("the log does not say that nothing could be exported:\n%s", p.log)
	}
}

// Profiles are there when they are asked for, on a listener of their own, and nowhere else.
func TestProfiles(t *testing.T) {
	at := fmt.Sprintf("127.0.0.1:%d", testservers.Port(t))
	api := fmt.Sprintf("127.0.0.1:%d", testservers.Port(t))
	p := startHere(t, t.TempDir(), "", "MILLRACE_API_LISTEN="+api, "MILLRACE_TELEMETRY_PPROF="+at)
	for url, want := range map[string]int{
		"http://" + at + "/debug/pprof/heap":              200,
		"http://" + at + "/debug/pprof/profile?seconds=1": 200,
		"http://" + api + "/debug/pprof/heap":             404,
		"http://" + at + "/v1/status":                     404,
	} {
		answer, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != want || err != nil || want == 200 && !bytes.HasPrefix(body, []byte("\x1f\x8b")) {
			t.Errorf("%s: %d with %d bytes, %v; want %d", url, answer.StatusCode, len(body), err, want)
		}
	}
	if code := p.terminate(); code != 0 {
		t.Errorf("status %d\n%s", code, p.log)
	}
}
