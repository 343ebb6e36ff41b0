package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"millrace/ingest"
)

// Damage that is found while reading is an error that doesn't ask for a retry, and a line of
// the status, and a metric.
func TestDamageFoundWhileReading(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "MILLRACE_SACKS=2")
	harmed := p.newMetric(t, "harmed", "high")
	p.post(t, harmed, `[{"timestamp": "2024-05-05T05:05:05", "value": 1}]`)
	if err := p.terminate(); err != nil {
		t.Fatal(err)
	}
	files := liveSegments(t, dir)
	if len(files) != 2 {
		t.Fatalf("want a manifest and a segment, there are %q", files)
	}
	segment := files[1]
	flip(t, segment)
	p = start(t, dir, "MILLRACE_SACKS=2")
	for range 2 {
		if a := p.ask(t, "GET", "/metric/"+harmed+"/measures", ""); a.status != 500 || a.header.Get("Retry-After") != "" {
			t.Errorf("a read of what is damaged: %d %q %s", a.status, a.header, a.body)
		}
	}
	name := filepath.Base(segment)
	a := p.ask(t, "GET", "/metric/"+harmed+"/measures?refresh=true", "")
	if a.status != 500 || a.header.Get("Retry-After") != "" || strings.Contains(a.body, "try again") {
		t.Errorf("a read that waits for what is damaged: %d %q %s", a.status, a.header, a.body)
	}
	for i := range 16 {
		neighbour := p.newMetric(t, fmt.Sprint("neighbour", i), "high")
		if sackOf(t, neighbour) == sackOf(t, harmed) {
			continue
		}
		p.post(t, neighbour, `[{"timestamp": "2024-05-05T05:05:05", "value": 1}]`)
		if a := p.ask(t, "GET", "/metric/"+neighbour+"/measures?refresh=true", ""); a.status != 200 {
			t.Errorf("a metric of another sack: %d %s", a.status, a.body)
		}
		break
	}
	if out := p.command(t, "status"); !strings.Contains(out, "damaged since ") || !strings.Contains(out, name) {
		t.Errorf("the status doesn't say that %s is damaged:\n%s", name, out)
	}
	p.awaitMetric(t, "millrace_carbonara_damaged")
	if a := p.ask(t, "GET", "/status?details=false", ""); strings.Contains(a.body, "damages") {
		t.Errorf("without details: %s", a.body)
	}
}

// sackOf returns which of two sacks a metric is in.
func sackOf(t *testing.T, metric string) ingest.Sack {
	t.Helper()
	id, err := ingest.ParseMetricID(metric)
	if err != nil {
		t.Fatal(err)
	}
	return ingest.SackOf(id, 2)
}
