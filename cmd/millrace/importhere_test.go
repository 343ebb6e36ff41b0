package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Rows of resources go into a server, which makes types' resources and metrics on the way; a
// bad row is refused alone and told by the exit status; and a later run goes on.
func TestImportResourcesIntoAServer(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	if a := p.ask(t, "POST", "/resource_type", `{"name": "host"}`); a.status != 201 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "rows.csv")
	run := func(rows string) (out, errOut string, code int) {
		t.Helper()
		f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = f.WriteString(rows)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		return command(t, nil, "import", "--url", p.base.String(), "--policy", "high", "--resource-type-column", "kind",
			"--resource-column", "host", "--metric-column", "metric", "--state", filepath.Join(dir, "state.json"), file)
	}
	out, errOut, code := run("timestamp,host,kind,metric,value\n" +
		"2024-05-05T05:05:05Z,h1,host,cpu,1\n2024-05-05T05:05:05Z,h2,host,cpu,2\n" +
		"2024-05-05T05:05:06Z,h1,host,mem,3\nnonsense,h1,host,mem,3\n")
	if code != 2 || !strings.Contains(errOut, `rows.csv:5: timestamp "nonsense" is no time`) {
		t.Errorf("status %d: %s%s", code, out, errOut)
	}
	if out, errOut, code := run("2024-05-05T05:05:07Z,h1,host,mem,4\n"); code != 0 ||
		!strings.Contains(out, "4 rows are known from an earlier run") {
		t.Errorf("the second run: status %d: %s%s", code, out, errOut)
	}
	for path, want := range map[string]string{
		"h1/metric/cpu": `[["2024-05-05T05:05:05+00:00", 1.0, 1.0]]`,
		"h2/metric/cpu": `[["2024-05-05T05:05:05+00:00", 1.0, 2.0]]`,
		"h1/metric/mem": `[["2024-05-05T05:05:06+00:00", 1.0, 3.0], ["2024-05-05T05:05:07+00:00", 1.0, 4.0]]`,
	} {
		a := p.ask(t, "GET", "/resource/host/"+path+"/measures?granularity=1&refresh=true", "")
		if a.status != 200 || a.body != want {
			t.Errorf("%s: %d %s, want %s", path, a.status, a.body, want)
		}
	}
}

// bench posts by resource, and all that it says was accepted is there.
func TestBenchResourcesOnAServer(t *testing.T) {
	p := startHere(t, t.TempDir(), "")
	out, errOut, code := command(t, nil, "bench", "--url", p.base.String(), "--json", "--resources", "b",
		"--per-resource", "10", "--metrics", "100", "--policy", "low", "--series", "50", "--measures", "2", "--requests", "4")
	var result struct {
		Accepted int64 `json:"accepted_measures"`
		Refused  int64 `json:"refused_requests"`
	}
	if err := json.Unmarshal([]byte(out), &result); code != 0 || err != nil || result.Accepted != 400 || result.Refused != 0 {
		t.Fatalf("status %d, %v: %s%s", code, err, out, errOut)
	}
	var resources []struct{ Metrics map[string]string }
	if a := p.ask(t, "GET", "/resource/generic", ""); json.Unmarshal([]byte(a.body), &resources) != nil || len(resources) != 10 {
		t.Fatalf("status %d, %d resources: %s", a.status, len(resources), a.body)
	}
	for _, r := range resources {
		if len(r.Metrics) != 10 {
			t.Errorf("a resource has the metrics %v, want 10", r.Metrics)
		}
	}
}
