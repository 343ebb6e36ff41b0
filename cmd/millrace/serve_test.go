package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"millrace/testservers"
)

func TestVersion(t *testing.T) {
	out, errOut, code := command(t, nil, "version")
	if code != 0 || errOut != "" || !regexp.MustCompile(`^millrace \S+ \(go1\.\S+.*\)\n$`).MatchString(out) {
		t.Errorf("status %d: %q %q", code, out, errOut)
	}
	for _, args := range [][]string{{"help"}, {"--help"}, {}} {
		out, _, code := command(t, nil, args...)
		for _, name := range []string{"serve", "import", "bench", "status", "dead-letters", "index", "check", "version",
			"--config"} {
			if code != 0 || !strings.Contains(out, name) {
				t.Errorf("%q: status %d, no word of %s in:\n%s", args, code, name, out)
			}
		}
	}
	if _, errOut, code := command(t, nil, "sevre"); code != 1 ||
		!strings.Contains(errOut, `millrace: unknown command "sevre"`) {
		t.Errorf("status %d: %q", code, errOut)
	}
}

// newMetric creates a metric and returns its id.
func (p *server) newMetric(t *testing.T, name, policy string) string {
	t.Helper()
	var made struct{ ID string }
	if _, err := p.do(t.Context(), "POST", "/metric", nil, map[string]string{"name": name, "archive_policy_name": policy},
		&made); err != nil {
		t.Fatal(err)
	}
	return made.ID
}

// post sends the measures of one metric, written as a JSON list.
func (p *server) post(t *testing.T, id, measures string) http.Header {
	t.Helper()
	header, err := p.do(t.Context(), "POST", "/metric/"+id+"/measures", nil, []byte(measures), nil)
	if err != nil {
		t.Fatal(err)
	}
	return header
}

// A process with the role api accepts, and what it accepts waits in the log; one with
// the role worker applies it, and accepts nothing.
func TestServeRoles(t *testing.T) {
	dir := t.TempDir()
	p := startHere(t, dir, "api", "MILLRACE_API_WAIT_CAP=50ms")
	if log := p.log.String(); !strings.Contains(log, "no worker in this process") {
		t.Errorf("the log does not say that there is no worker:\n%s", log)
	}
	id := p.newMetric(t, "m", "high")
	p.post(t, id, `[{"timestamp": "2024-05-05T05:05:05", "value": 5}]`)
	_, err := p.do(t.Context(), "GET", "/metric/"+id+"/measures?refresh=true", nil, nil, nil)
	if !isStatus(err, 503) {
		t.Errorf("a read that waits for a worker that isn't there: %v", err)
	}
	if out := p.command(t, "status"); !strings.Contains(out, "1 records (") ||
		!strings.Contains(out, "waiting to be applied") {
		t.Errorf("status:\n%s", out)
	}
	if code := p.terminate(); code != 0 {
		t.Errorf("status %d\n%s", code, p.log)
	}

	w := startHere(t, dir, "worker")
	if _, err := w.do(t.Context(), "GET", "/metric", nil, nil, nil); !isStatus(err, 404) {
		t.Errorf("a worker answers as an API: %v", err)
	}
	for _, path := range []string{"/healthcheck", "/readyz", "/metrics"} {
		if status, body := get(t, http.DefaultClient, w.base.String()+path); status != 200 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if code := w.terminate(); code != 0 { // having caught up
		t.Errorf("status %d\n%s", code, w.log)
	}

	p = startHere(t, dir, "api")
	var rows []row
	// It asks the storage how far the worker has come: this waits, and not in vain.
	if _, err := p.do(t.Context(), "GET", "/metric/"+id+"/measures?granularity=1&refresh=true", nil, nil,
		&rows); err != nil || len(rows) != 1 || rows[0].value != 5 {
		t.Errorf("%v, %v", rows, err)
	}

	for want, roles := range map[string]string{`there is no role "reader"`: "reader",
		"--roles must name api, worker or both": ""} {
		if _, errOut, code := command(t, []string{"MILLRACE_DATA_DIR=" + t.TempDir()}, "serve", "--roles",
			roles); code != 1 || !strings.Contains(errOut, want) {
			t.Errorf("--roles %q: status %d, %q", roles, code, errOut)
		}
	}
}

func get(t *testing.T, c *http.Client, address string) (status int, body string) {
	t.Helper()
	resp, err := c.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// What makes a start impossible is said, with the name of what is to be changed.
func TestServeRefuses(t *testing.T) {
	dir := t.TempDir()
	p := startHere(t, dir, "")
	f := func(want string, dir string, settings ...string) {
		t.Helper()
		_, errOut, code := command(t, serverSettings(dir, fmt.Sprintf("127.0.0.1:%d", testservers.Port(t)), settings), "serve")
		if code != 1 || !strings.Contains(errOut, want) {
			t.Errorf("status %d: %q does not say %q", code, errOut, want)
		}
	}
	f("the data directory "+dir+" is in use by another millrace process", dir)
	f("cannot listen on api.listen: listen tcp "+p.base.Host+": bind: address already in use", t.TempDir(),
		"MILLRACE_API_LISTEN="+p.base.Host)
	if code := p.terminate(); code != 0 {
		t.Errorf("status %d\n%s", code, p.log)
	}
	f("the storage was created with 3 sacks and the configuration says 4", dir, "MILLRACE_SACKS=4")

	if err := os.RemoveAll(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	f("was created with 3 sacks and the configuration says 4", dir, "MILLRACE_SACKS=4")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f("cannot make the data directory", file)
	f("cannot load api.tls_cert and api.tls_key: open "+file+".none", t.TempDir(), "MILLRACE_API_TLS_CERT="+file+".none",
		"MILLRACE_API_TLS_KEY="+file)
	f(`telemetry.otlp_endpoint: "collector" is not a URL`, t.TempDir(), "MILLRACE_TELEMETRY_OTLP_ENDPOINT=collector")
}

// awaitFlushes waits until so many flushes are counted.
func awaitFlushes(t *testing.T, root string, n int) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(5 * time.Millisecond) {
		_, body := get(t, http.DefaultClient, root+"/metrics")
		if strings.Contains(body, fmt.Sprintf("\nmillrace_flush_duration_seconds_count %d\n", n)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d flushes are not counted", n)
		}
	}
}

// /metrics has what operators watch, outside of the API's prefix.
func TestServeMetrics(t *testing.T) {
	p := startHere(t, t.TempDir(), "", "MILLRACE_API_PREFIX=/gnocchi/", "MILLRACE_SERVICE_HOST=10.0.0.1",
		"MILLRACE_WORKER_FLUSH_INTERVAL=20ms")
	if log := p.log.String(); !strings.Contains(log, "ignoring an environment variable that is no setting") ||
		!strings.Contains(log, "MILLRACE_SERVICE_HOST") {
		t.Errorf("the log says nothing of a strange variable:\n%s", log)
	}
	root := *p.base
	p.base = p.base.JoinPath("gnocchi")
	id := p.newMetric(t, "m", "high")
	p.post(t, id, `[{"timestamp": "2024-05-05T05:05:05", "value": 5}, {"timestamp": "2024-05-05T05:05:06", "value": 5}]`)
	if got := p.series(t, id, "granularity=1"); len(got) != 2 {
		t.Errorf("%q", got)
	}
	awaitFlushes(t, root.String(), 1)
	p.post(t, id, `[{"timestamp": "2023-05-05T05:05:05", "value": 5}]`)
	if got := p.series(t, id, "granularity=1"); len(got) != 2 {
		t.Errorf("%q", got)
	}
	awaitFlushes(t, root.String(), 2)
	if _, err := p.do(t.Context(), "POST", "/metric/"+id+"/measures", nil, []byte(`[{"timestamp": "soon"}]`),
		nil); !isStatus(err, 400) {
		t.Errorf("%v", err)
	}
	status, body := get(t, http.DefaultClient, root.String()+"/metrics")
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	for _, line := range []string{
		`millrace_accepted_measures_total 3`, `millrace_accepted_batches_total 2`,
		`millrace_refused_batches_total{reason="invalid"} 1`,
		`millrace_applied_measures_total 3`, `millrace_applied_records_total 2`, `millrace_dead_letters 0`,
		`millrace_lag_records{sack="0"} 0`, `millrace_lag_age_seconds{sack="2"} 0`,
		`millrace_carbonara_changes_total{kind="flush"} 2`, `millrace_carbonara_changes_total{kind="merge"} `,
		`millrace_carbonara_changes_total{kind="seal"} `,
		`millrace_carbonara_busy_seconds_total{kind="merge"}`, `millrace_carbonara_written_bytes_total{kind="seal"}`,
		`millrace_carbonara_rows `, `millrace_carbonara_late_measures_total 1`,
		`millrace_flush_duration_seconds_count 2`, `millrace_flush_bytes_total`,
		`http_server_request_duration_seconds_count{http_request_method="POST",http_response_status_class="2xx",` +
			`http_route="/v1/metric/{id}/measures"} 2`,
		`millrace_store_duration_seconds_count{outcome="done",verb="swap"}`, `millrace_store_bytes_total{verb="put"}`,
		`millrace_log_size_bytes`,
		`process_cpu_seconds_total`, `process_resident_memory_bytes`, `go_goroutines`, `target_info{service_name="millrace"`,
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("/metrics has no %s", line)
		}
	}
	if t.Failed() {
		t.Log(regexp.MustCompile(`(?m)^(#.*|(go|process)_.*|.*_bucket.*)\n`).ReplaceAllString(body, ""))
	}
	if status, _ := get(t, http.DefaultClient, p.base.String()+"/metrics"); status != 404 {
		t.Errorf("/metrics below the prefix: %d", status)
	}
	q := startHere(t, t.TempDir(), "", "MILLRACE_TELEMETRY_PROMETHEUS=false")
	if status, _ := get(t, http.DefaultClient, q.base.String()+"/metrics"); status != 404 {
		t.Errorf("/metrics that is off: %d", status)
	}
}
