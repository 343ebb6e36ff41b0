package influxdb_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"millrace/drivers/drivertest"
	"millrace/ingest"
	"millrace/testservers"
)

// The example dashboard is one that InfluxDB takes, and its queries find what the driver
// writes.
func TestDashboard(t *testing.T) {
	server := testservers.NewInfluxDB(t, testservers.Influx2)
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "influxdb", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	c := configOf(server)
	c.Bucket, c.ShardDuration = "measures", 0
	c.DescribeEvery = time.Hour
	id := ingest.MetricID{0, 1}
	d := open(t, c, anyPolicy{}, &called{now: map[ingest.MetricID]ingest.Description{id: {Name: "cpu", Known: true}}})
	write(t, d, id, ingest.Measure{Time: time.Now().Add(-time.Minute).UnixNano(), Value: 3})

	var objects []json.RawMessage
	if err := json.Unmarshal(text, &objects); err != nil {
		t.Fatal(err)
	}
	var org struct{ Orgs []struct{ ID string } }
	ask(t, server, "GET", "/api/v2/orgs?org="+server.Org, nil, &org)
	var made struct {
		Summary struct {
			Dashboards []struct{ Charts []any }
			Variables  []any
		}
		Errors []any
	}
	body := map[string]any{"orgID": org.Orgs[0].ID, "templates": []any{map[string]any{"contentType": "json",
		"contents": objects}}}
	ask(t, server, "POST", "/api/v2/templates/apply", body, &made)
	if len(made.Errors) > 0 || len(made.Summary.Dashboards) != 1 || len(made.Summary.Variables) != 2 {
		t.Fatalf("InfluxDB makes of the dashboard: %+v", made)
	}

	labels, _ := allKnown{}.Labels(t.Context(), []ingest.MetricID{id})
	stored := strings.NewReplacer("\n", " ", "\\", "/", "\xff", "\uFFFD")
	variables := strings.NewReplacer("v.timeRangeStart", "-1h", "v.timeRangeStop", "now()", "v.windowPeriod", "10s",
		"v.millrace_name", quoted(stored.Replace(labels[0].Name)), "v.millrace_resource",
		quoted(stored.Replace(labels[0].Resource)))
	queries := regexp.MustCompile(`"query": ("(?:[^"\\]|\\.)*")`).FindAllSubmatch(text, -1)
	if len(queries) != 6 {
		t.Fatalf("%d queries, want 6", len(queries))
	}
	for _, q := range queries {
		var flux string
		if err := json.Unmarshal(q[1], &flux); err != nil {
			t.Fatal(err)
		}
		answer := ask(t, server, "POST", "/api/v2/query?org="+server.Org, map[string]any{"query": variables.Replace(flux)},
			nil)
		if lines := strings.Count(answer, "\r\n,"); lines < 1 { // a row after the header
			t.Errorf("%s\nanswers %q", variables.Replace(flux), answer)
		}
	}
}

// quoted is a text in Flux.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// ask sends a request to a server.
func ask(t *testing.T, server *testservers.InfluxServer, method, path string, body, into any) string {
	t.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL()+path, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Token "+server.Token)
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s, %v: %s", method, path, answer.Status, err, text)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	return string(text)
}

// write has the driver write measures of one metric.
func write(t *testing.T, d ingest.Driver, id ingest.MetricID, list ...ingest.Measure) {
	t.Helper()
	w, at, err := d.Open(t.Context(), ingest.SackOf(id, drivertest.Sacks))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	r := ingest.Record{Kind: ingest.RecordMeasures, Entries: []ingest.Entry{{Metric: id, Policy: "p", Measures: list}}}
	if rejects, err := w.Apply(t.Context(), []ingest.Delivery{{Offset: at.Offset, Record: r}}); err != nil ||
		len(rejects) > 0 {
		t.Fatal(rejects, err)
	}
	if rejects, err := w.Flush(t.Context(), ingest.Watermark{Offset: at.Offset + 1}); err != nil || len(rejects) > 0 {
		t.Fatal(rejects, err)
	}
	if err := w.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
}
