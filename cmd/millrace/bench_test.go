package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bench runs it and returns the numbers that it prints.
func bench(t *testing.T, p *server, args ...string) map[string]any {
	t.Helper()
	var doc map[string]any
	if out := p.command(t, append([]string{"bench"}, args...)...); json.Unmarshal([]byte(out), &doc) != nil {
		t.Fatalf("%q prints no JSON: %s", args, out)
	}
	return doc
}

// hasNumbers checks that a document has these fields, and that they are positive.
func hasNumbers(t *testing.T, doc map[string]any, fields ...string) {
	t.Helper()
	for _, field := range fields {
		if n, ok := doc[field].(float64); !ok || n <= 0 {
			t.Errorf("%s is %v", field, doc[field])
		}
	}
}

func TestBench(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	ids := filepath.Join(t.TempDir(), "ids")
	doc := bench(t, &p.server, "--json", "--metrics", "5", "--ids", ids, "--series", "2", "--measures", "10", "--clients",
		"2", "--requests", "6", "--start", "2024-05-05T05:00:00Z")
	hasNumbers(t, doc, "seconds", "measures_per_second", "p50_ms", "p90_ms", "p99_ms", "max_ms", "seconds_to_applied",
		"server_resident_bytes")
	for field, want := range map[string]float64{"series": 2, "measures_per_series": 10, "clients": 2, "metrics": 5,
		"requests": 6, "accepted_measures": 100, "refused_requests": 0} {
		if doc[field] != want {
			t.Errorf("%s is %v, want %v", field, doc[field], want)
		}
	}
	if _, ok := doc["cpu_seconds_until_accepted"]; !ok && doc["cpu_seconds_until_applied"] == nil {
		t.Log("the run was too short for the CPU clock")
	}

	// The metrics are used again, and every one has got its measures.
	made := p.metricIDs(t)
	if len(made) != 5 {
		t.Errorf("%d metrics, want 5", len(made))
	}
	for _, id := range made {
		if got := p.series(t, id, "aggregation=count&granularity=300"); len(got) != 1 || got[0] != "2024-05-05T05:00:00 20" {
			t.Errorf("%q", got)
		}
	}
	saved, err := os.ReadFile(ids)
	if err != nil {
		t.Fatal(err)
	}
	kept := strings.Fields(string(saved))
	if slices.Sort(kept); !slices.Equal(kept, made) {
		t.Errorf("%q are kept of %q", kept, made)
	}
	out := p.command(t, "bench", "--metrics", "5", "--ids", ids, "--series", "5", "--measures", "1", "--requests", "2",
		"--clients", "1", "--start", "2024-05-05T06:00:00Z", "--accept-only")
	if !strings.Contains(out, "2 requests of 5 metrics × 1 measures, 1 clients: 10 measures accepted in ") ||
		strings.Contains(out, "applied") {
		t.Errorf("%s", out)
	}
	if got := p.metricIDs(t); len(got) != 5 {
		t.Errorf("%d metrics after a second run, want 5", len(got))
	}
	for _, id := range made {
		p.series(t, id, "") // waits
	}
	doc = bench(t, &p.server, "read", "--metrics", "5", "--ids", ids, "--granularity", "5m", "--start",
		"2024-05-05T05:00:00Z", "--points", "24", "--requests", "20", "--clients", "2")
	hasNumbers(t, doc, "requests", "rows_per_request", "clients", "seconds", "requests_per_second", "p50_ms", "p90_ms",
		"p99_ms", "max_ms")
	if doc["rows_per_request"] != 2.0 {
		t.Errorf("%v rows per request, want 2", doc["rows_per_request"])
	}
	doc = bench(t, &p.server, "freshness", "--metrics", "5", "--ids", ids, "--writes", "5", "--interval", "1ms",
		"--nudge")
	hasNumbers(t, doc, "writes", "p50_ms", "p99_ms", "max_ms")
	if doc["nudged"] != true {
		t.Errorf("nudged is %v", doc["nudged"])
	}
}

// metricIDs lists the metrics' ids, sorted.
func (p *server) metricIDs(t *testing.T) []string {
	t.Helper()
	var list []struct{ ID string }
	if _, err := p.do(t.Context(), "GET", "/metric", nil, nil, &list); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(list))
	for i, m := range list {
		ids[i] = m.ID
	}
	slices.Sort(ids)
	return ids
}

func TestBenchErrors(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	bad := filepath.Join(t.TempDir(), "ids")
	if err := os.WriteFile(bad, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(want string, args ...string) {
		t.Helper()
		if _, errOut, code := command(t, nil, append(append([]string{"bench"}, args...), "--url",
			p.base.String())...); code != 1 || !strings.Contains(errOut, want) {
			t.Errorf("%q: status %d, %q does not say %q", args, code, errOut, want)
		}
	}
	f("neither a number of requests nor a duration is given", "--metrics", "1", "--series", "1")
	f("a request can't carry 2 of 1 metrics", "--metrics", "1", "--series", "2", "--requests", "1")
	f("--start: ", "--start", "noon")
	f("ids: ", "--ids", bad)
	f("cannot create a metric: the server answers 400: Archive policy golden does not exist", "--policy", "golden")
	f("the server answers 400", "--metrics", "1", "--series", "1", "--measures", "1", "--requests", "1", "--start",
		"2114-05-05T05:05:05Z")
}
