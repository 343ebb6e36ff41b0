package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace/testservers"
)

// What is changed through the API of a resource and of what its metrics are called is soon
// changed in InfluxDB, too; also after a start of the server, when a metric has no measures
// any more.
func TestInfluxNames(t *testing.T) {
	influx := testservers.NewInfluxDB(t, testservers.Influx2)
	bucket := influx.Bucket(t, "names")
	dir, settings := t.TempDir(), []string{
		"MILLRACE_STORAGE_DRIVER=influxdb", "MILLRACE_STORAGE_INFLUXDB_URL=" + influx.URL(), "MILLRACE_SACKS=1",
		"MILLRACE_STORAGE_INFLUXDB_ORG=" + influx.Org, "MILLRACE_STORAGE_INFLUXDB_TOKEN=" + influx.Token,
		"MILLRACE_STORAGE_INFLUXDB_BUCKET=" + bucket, "MILLRACE_STORAGE_INFLUXDB_DESCRIBE_EVERY=50ms",
		"MILLRACE_WORKER_FLUSH_INTERVAL=50ms",
	}
	p := start(t, dir, settings...)
	do := func(method, path, body string, want int, headers ...string) string {
		t.Helper()
		a := p.ask(t, method, path, body, headers...)
		if a.status != want {
			t.Fatalf("%s %s: status %d: %s", method, path, a.status, a.body)
		}
		return a.body
	}
	do("POST", "/archive_policy", `{"name": "p", "definition": [{"granularity": 60}]}`, http.StatusCreated)
	do("POST", "/resource_type", `{"name": "host", "attributes": {"rack": {"type": "string", "required": false}}}`,
		http.StatusCreated)
	const id = "3b2c1d00-0000-4000-8000-000000000001"
	var made struct{ Metrics map[string]string }
	text := do("POST", "/resource/host", `{"id": "`+id+`", "rack": "a 1", "project_id": "one",
		"metrics": {"cpu": {"archive_policy_name": "p"}}}`, http.StatusCreated)
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		t.Fatal(err)
	}
	metric := made.Metrics["cpu"]
	const measure = `[{"timestamp": "2026-01-02T03:04:05Z", "value": 7}]`
	do("POST", "/metric/"+metric+"/measures", measure, http.StatusAccepted)
	// The worker looks when it has flushed: another metric sees to that.
	other := p.newMetric(t, "other", "p")
	called := func(want ...string) {
		t.Helper()
		var got string
		for deadline := time.Now().Add(startTimeout); ; {
			do("POST", "/metric/"+other+"/measures", measure, http.StatusAccepted)
			got = calledInInflux(t, influx, bucket, metric)
			missing := false
			for _, w := range want {
				missing = missing || !strings.Contains(got, w)
			}
			if !missing {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("InfluxDB says\n%s\nwithout some of %q\n%s", got, want, tail(p.log.String()))
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	called("attribute_rack=a 1", "name=cpu", "resource="+id, "resource_type=host", "project=one")
	do("PATCH", "/resource/host/"+id, `{"rack": "b 2"}`, http.StatusOK)
	called("attribute_rack=b 2", "name=cpu")
	do("PATCH", "/resource/host/"+id, `{"metrics": {"load": "`+metric+`"}}`, http.StatusOK)
	called("name=load", "attribute_rack=b 2")

	if err := p.terminate(); err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
	p = start(t, dir, settings...)
	do("PATCH", "/resource/host/"+id, `{"rack": "c 3", "project_id": "two"}`, http.StatusOK)
	called("attribute_rack=c 3", "project=two", "name=load")
	do("PATCH", "/resource_type/host", `[{"op": "add", "path": "/attributes/room", "value": {"type": "string",
		"required": true, "options": {"fill": "cellar"}}}]`, http.StatusOK, "Content-Type: application/json-patch+json")
	called("attribute_rack=c 3", "attribute_room=cellar")
}

// calledInInflux is what the measurement metrics says of a metric last: field=text.
func calledInInflux(t *testing.T, influx *testservers.InfluxServer, bucket, metric string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": `from(bucket: "` + bucket + `") |> range(start: -3d)
		|> filter(fn: (r) => r._measurement == "metrics" and r.metric == "` + metric + `") |> last()
		|> keep(columns: ["_field", "_value"]) |> group()`})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), "POST", influx.URL()+"/api/v2/query?org="+influx.Org,
		bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Token "+influx.Token)
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s (%v)", answer.StatusCode, text, err)
	}
	var said strings.Builder
	field, value := -1, -1
	for line := range strings.Lines(string(text)) {
		columns := strings.Split(strings.TrimSpace(line), ",")
		for i, name := range columns {
			switch {
			case name == "_field":
				field = i
			case name == "_value":
				value = i
			}
		}
		if field >= 0 && len(columns) > max(field, value) {
			said.WriteString(columns[field] + "=" + columns[value] + "\n")
		}
	}
	return said.String()
}
