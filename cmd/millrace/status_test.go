package main

import (
	"encoding/json"
	"regexp"
	"testing"
)

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
	if out := p.command(t, "status", "--json"); json.Unmarshal([]byte(out), &doc) != nil || doc.Index.Metrics != 2 || len(doc.Ingest.Sacks) != 3 {
		t.Errorf("%s", out)
	}
	if _, errOut, code := command(t, nil, "status", "--url", p.base.String(), "--user", ""); code != 1 || !regexp.MustCompile(`the server answers 40[13]`).MatchString(errOut) {
		t.Errorf("as nobody: status %d, %s", code, errOut)
	}
	if _, errOut, code := command(t, nil, "status", "--url", "http://127.0.0.1:1"); code != 1 || !regexp.MustCompile(`^millrace: cannot reach the server: `).MatchString(errOut) {
		t.Errorf("nobody there: status %d, %s", code, errOut)
	}
}
