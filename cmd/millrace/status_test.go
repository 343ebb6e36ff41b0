package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// Sacks that stand still are told before the table, whose columns stay columns.
func TestStatusOfHeldSacks(t *testing.T) {
	var doc statusDoc
	err := json.Unmarshal([]byte(`{"index": {"metrics": 7, "archive_policies": 4, "archive_policy_rules": 1}, "ingest": {
		"lag": {"records": 1234, "bytes": 5242880, "age": 213.3, "error": "cannot open"}, "sacks": [
		{"sack": 0, "applied": 1700000000000000000, "lag": {"records": 1230, "bytes": 1, "age": 213.3, "error": "cannot open segment 1:\n permission denied"}},
		{"sack": 1, "applied": 3, "lag": {"records": 0, "bytes": 0, "age": 0}},
		{"sack": 2, "applied": 4, "lag": {"records": 4, "bytes": 0, "age": 100000, "error": "cannot open segment 1:\n permission denied"}},
		{"sack": 3, "applied": 4, "lag": {"records": 0, "bytes": 0, "age": 7500, "error": "no room"}}]}, "dead_letters": 2}`), &doc)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := new(cobra.Command)
	cmd.SetOut(&out)
	if err := printStatus(cmd, &doc); err != nil {
		t.Fatal(err)
	}
	want := `7 metrics, 4 archive policies, 1 rules; 0 deleted metrics not yet purged; 2 dead letters
1234 records (5.0MiB) are waiting to be applied, the oldest for 3m33s
sacks 0, 2 stand still, the oldest record waits for 1d3h: cannot open segment 1: permission denied
sack 3 stands still, the oldest record waits for 2h5m: no room
  sack              applied  waiting  oldest
     0  1700000000000000000     1230   3m33s
     1                    3        0    0.0s
     2                    4        4    1d3h
     3                    4        0    2h5m
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	doc.Ingest.Lag.Records = 0 // what a sack that stands still has lost can't be counted
	out.Reset()
	if err := printStatus(cmd, &doc); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\neverything that was accepted has been applied") {
		t.Errorf("all is said to be applied, and sacks stand still:\n%s", &out)
	}
}

// What is applied and can't be flushed is neither waiting nor done.
func TestStatusOfUnflushed(t *testing.T) {
	var doc statusDoc
	if err := json.Unmarshal([]byte(`{"ingest": {"lag": {"age": 3, "error": "no bucket"}, "sacks": [
		{"sack": 0, "applied": 3, "lag": {"age": 3, "error": "no bucket"}}]}}`), &doc); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := new(cobra.Command)
	cmd.SetOut(&out)
	if err := printStatus(cmd, &doc); err != nil {
		t.Fatal(err)
	}
	want := "has been applied, and not all of that is in the storage yet\nsack 0 stands still, "
	if !strings.Contains(out.String(), want) {
		t.Errorf("%s doesn't contain %q", out.String(), want)
	}
}

func TestStatus(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	p.post(t, p.newMetric(t, "m", "high"), `[{"timestamp": "2024-05-05T05:05:05", "value": 5}]`)
	p.series(t, p.newMetric(t, "n", "high"), "")
	want := regexp.MustCompile(`^2 metrics, 4 archive policies, 1 rules; 0 deleted metrics not yet purged; 0 dead letters
(everything that was accepted has been applied|1 records \(\d+B\) are waiting to be applied, the oldest for \S+)
 +sack +applied +waiting +oldest *
 +0 +\d+ +\d +\d\.\ds *
 +1 +\d+ +\d +\d\.\ds *
 +2 +\d+ +\d +\d\.\ds *
$`)
	if out := p.command(t, "status"); !want.MatchString(out) {
		t.Errorf("%s", out)
	}
	var doc statusDoc
	if out := p.command(t, "status", "--json"); json.Unmarshal([]byte(out), &doc) != nil || doc.Index.Metrics != 2 ||
		len(doc.Ingest.Sacks) != 3 {
		t.Errorf("%s", out)
	}
	if _, errOut, code := command(t, nil, "status", "--url", p.base.String(), "--user", ""); code != 1 ||
		!regexp.MustCompile(`the server answers 40[13]`).MatchString(errOut) {
		t.Errorf("as nobody: status %d, %s", code, errOut)
	}
	if _, errOut, code := command(t, nil, "status", "--url", "http://127.0.0.1:1"); code != 1 ||
		!regexp.MustCompile(`^millrace: cannot reach the server: `).MatchString(errOut) {
		t.Errorf("nobody there: status %d, %s", code, errOut)
	}
}
