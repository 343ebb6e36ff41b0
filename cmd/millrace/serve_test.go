package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestVersion(t *testing.T) {
	out, errOut, code := command(t, nil, "version")
	if code != 0 || errOut != "" || !regexp.MustCompile(`^millrace \S+ \(go1\.\S+.*\)\n$`).MatchString(out) {
		t.Errorf("status %d: %q %q", code, out, errOut)
	}
	for _, args := range [][]string{{"help"}, {"--help"}, {}} {
		out, _, code := command(t, nil, args...)
		for _, name := range []string{"serve", "import", "bench", "status", "dead-letters", "check", "version", "--config"} {
			if code != 0 || !strings.Contains(out, name) {
				t.Errorf("%q: status %d, no word of %s in:\n%s", args, code, name, out)
			}
		}
	}
	if _, errOut, code := command(t, nil, "sevre"); code != 1 || !strings.Contains(errOut, `millrace: unknown command "sevre"`) {
		t.Errorf("status %d: %q", code, errOut)
	}
}

// newMetric creates a metric and returns its id.
func (p *server) newMetric(t *testing.T, name, policy string) string {
	t.Helper()
	var made struct{ ID string }
	if _, err := p.do(t.Context(), "POST", "/metric", nil, map[string]string{"name": name, "archive_policy_name": policy}, &made); err != nil {
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
	if out := p.command(t, "status"); !strings.Contains(out, "1 records (") || !strings.Contains(out, "waiting to be applied") {
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
	if _, err := p.do(t.Context(), "GET", "/metric/"+id+"/measures?granularity=1", nil, nil, &rows); err != nil || len(rows) != 1 || rows[0].value != 5 {
		t.Errorf("%v, %v", rows, err)
	}

	for want, roles := range map[string]string{`there is no role "reader"`: "reader", "--roles must name api, worker or both": ""} {
		if _, errOut, code := command(t, []string{"MILLRACE_DATA_DIR=" + t.TempDir()}, "serve", "--roles", roles); code != 1 || !strings.Contains(errOut, want) {
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

// SIGTERM under load: what was begun is answered, what was acknowledged has been
// applied when the process ends, and the next one has it.
func TestServeStopsGracefully(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "MILLRACE_WORKER_FLUSH_INTERVAL=1h", "MILLRACE_LOG_LEVEL=info")
	const writers = 4
	ids, acked := make([]string, writers), make([]int, writers)
	for w := range writers {
		ids[w] = p.newMetric(t, fmt.Sprint(w), "high")
	}
	begun := make(chan struct{}, 100*writers)
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for s := 0; ; s++ {
				body := fmt.Appendf(nil, `[{"timestamp": %d, "value": %d}]`, 1_700_000_000+s, s)
				if _, err := p.do(context.Background(), "POST", "/metric/"+ids[w]+"/measures", nil, body, nil); err != nil {
					if !isUnreachable(err) || !strings.Contains(err.Error(), "refused") && !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "reset") {
						t.Errorf("writer %d: %v", w, err)
					}
					return
				}
				acked[w]++
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 20 * writers {
		<-begun
	}

	slow := p.newMetric(t, "slow", "high")
	request := begin(t, p.base.Host, "/v1/metric/"+slow+"/measures", `[{"timestamp": 1700000000, "value": 7}]`)
	ended := make(chan error, 1)
	go func() { ended <- p.terminate() }()
	writing.Wait() // nobody is accepted any more
	if answer := request.finish(t); !strings.HasPrefix(answer, "HTTP/1.1 202 Accepted") {
		t.Errorf("a request that was being answered: %s", answer)
	}
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, p.log)
	}

	q := startHere(t, dir, "api") // nobody applies: it has been
	for w, id := range append(ids, slow) {
		want := 1
		if w < writers {
			want = acked[w]
		}
		var rows []row
		if _, err := q.do(t.Context(), "GET", "/metric/"+id+"/measures?granularity=1", nil, nil, &rows); err != nil || len(rows) != want {
			t.Errorf("metric %d: %d rows, want %d (%v)\n%s", w, len(rows), want, err, p.log)
		}
	}
}

// A begunRequest is a POST of which the server has read the header, and waits for the body.
type begunRequest struct {
	conn   net.Conn
	reader *bufio.Reader
	body   string
}

func begin(t *testing.T, host, path, body string) *begunRequest {
	t.Helper()
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic YWRtaW46\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", path, host, len(body))
	r := &begunRequest{conn, bufio.NewReader(conn), body}
	if line := r.line(t); !strings.HasPrefix(line, "HTTP/1.1 100 Continue") {
		t.Fatalf("the server does not want the body: %s", line)
	}
	r.line(t)
	return r
}

func (r *begunRequest) line(t *testing.T) string {
	t.Helper()
	line, err := r.reader.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// finish sends the body and returns the answer's first line.
func (r *begunRequest) finish(t *testing.T) string {
	t.Helper()
	if _, err := io.WriteString(r.conn, r.body); err != nil {
		t.Error(err)
	}
	return r.line(t)
}

// What makes a start impossible is said, with the name of what is to be changed.
func TestServeRefuses(t *testing.T) {
	dir := t.TempDir()
	p := startHere(t, dir, "")
	f := func(want string, dir string, settings ...string) {
		t.Helper()
		_, errOut, code := command(t, serverSettings(dir, fmt.Sprintf("127.0.0.1:%d", freePort(t)), settings), "serve")
		if code != 1 || !strings.Contains(errOut, want) {
			t.Errorf("status %d: %q does not say %q", code, errOut, want)
		}
	}
	f("the data directory "+dir+" is in use by another millrace process", dir)
	f("cannot listen on api.listen: listen tcp "+p.base.Host+": bind: address already in use", t.TempDir(), "MILLRACE_API_LISTEN="+p.base.Host)
	if code := p.terminate(); code != 0 {
		t.Errorf("status %d\n%s", code, p.log)
	}
	f("it has 3 sacks, and 4 are configured: the number can't change", dir, "MILLRACE_SACKS=4")

	if err := os.RemoveAll(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	f("was created with 3 sacks and the configuration says 4", dir, "MILLRACE_SACKS=4")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f("cannot make the data directory", file)
	f("cannot load api.tls_cert and api.tls_key: open "+file+".none", t.TempDir(), "MILLRACE_API_TLS_CERT="+file+".none", "MILLRACE_API_TLS_KEY="+file)
	f(`telemetry.otlp_endpoint: "collector" is not a URL`, t.TempDir(), "MILLRACE_TELEMETRY_OTLP_ENDPOINT=collector")
}

// /metrics has what operators watch, outside of the API's prefix.
func TestServeMetrics(t *testing.T) {
	p := startHere(t, t.TempDir(), "", "MILLRACE_API_PREFIX=/gnocchi/", "MILLRACE_SERVICE_HOST=10.0.0.1")
	if log := p.log.String(); !strings.Contains(log, "ignoring an environment variable that is no setting") || !strings.Contains(log, "MILLRACE_SERVICE_HOST") {
		t.Errorf("the log says nothing of a strange variable:\n%s", log)
	}
	root := *p.base
	p.base = p.base.JoinPath("gnocchi")
	id := p.newMetric(t, "m", "high")
	p.post(t, id, `[{"timestamp": "2024-05-05T05:05:05", "value": 5}, {"timestamp": "2024-05-05T05:05:06", "value": 5}]`)
	if got := p.series(t, id, "granularity=1"); len(got) != 2 {
		t.Errorf("%q", got)
	}
	p.post(t, id, `[{"timestamp": "2023-05-05T05:05:05", "value": 5}]`)
	if got := p.series(t, id, "granularity=1"); len(got) != 2 {
		t.Errorf("%q", got)
	}
	if _, err := p.do(t.Context(), "POST", "/metric/"+id+"/measures", nil, []byte(`[{"timestamp": "soon"}]`), nil); !isStatus(err, 400) {
		t.Errorf("%v", err)
	}
	status, body := get(t, http.DefaultClient, root.String()+"/metrics")
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	for _, line := range []string{
		`millrace_accepted_measures_total 3`, `millrace_accepted_batches_total 2`, `millrace_refused_batches_total{reason="invalid"} 1`,
		`millrace_applied_measures_total 3`, `millrace_applied_records_total 2`, `millrace_dead_letters 0`,
		`millrace_lag_records{sack="0"} 0`, `millrace_lag_age_seconds{sack="2"} 0`,
		`millrace_carbonara_changes_total{kind="flush"} 2`, `millrace_carbonara_changes_total{kind="merge"} 0`, `millrace_carbonara_changes_total{kind="seal"} 0`,
		`millrace_carbonara_busy_seconds_total{kind="merge"}`, `millrace_carbonara_written_bytes_total{kind="seal"}`, `millrace_carbonara_rows 2`, `millrace_carbonara_late_measures_total 1`,
		`millrace_flush_duration_seconds_count 2`, `millrace_flush_bytes_total`,
		`http_server_request_duration_seconds_count{http_request_method="POST",http_response_status_class="2xx",http_route="/v1/metric/{id}/measures"} 2`,
		`millrace_store_duration_seconds_count{outcome="done",verb="swap"}`, `millrace_store_bytes_total{verb="put"}`, `millrace_log_size_bytes`,
		`process_cpu_seconds_total`, `process_resident_memory_bytes`, `go_goroutines`, `target_info{service_name="millrace"`,
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("/metrics has no %s", line)
		}
	}
	if t.Failed() {
		t.Log(regexp.MustCompile(`(?m)^(#.*|(go|process)_.*)\n`).ReplaceAllString(body, ""))
	}
	if status, _ := get(t, http.DefaultClient, p.base.String()+"/metrics"); status != 404 {
		t.Errorf("/metrics below the prefix: %d", status)
	}
	q := startHere(t, t.TempDir(), "", "MILLRACE_TELEMETRY_PROMETHEUS=false")
	if status, _ := get(t, http.DefaultClient, q.base.String()+"/metrics"); status != 404 {
		t.Errorf("/metrics that is off: %d", status)
	}
}

// With a certificate HTTPS is served, and the commands that read the same settings
// find it and trust it.
func TestServeTLS(t *testing.T) {
	cert, key := certificate(t)
	settings := []string{"MILLRACE_API_TLS_CERT=" + cert, "MILLRACE_API_TLS_KEY=" + key, fmt.Sprintf("MILLRACE_API_LISTEN=127.0.0.1:%d", freePort(t)), "MILLRACE_DATA_DIR=" + t.TempDir()}
	ctx, stop := context.WithCancel(t.Context())
	log := new(output)
	exited := make(chan int, 1)
	go func() { exited <- run(ctx, []string{"serve"}, settings, io.Discard, log) }()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(5 * time.Millisecond) {
		out, errOut, code := command(t, settings, "status")
		if code == 0 {
			if !strings.Contains(out, "everything that was accepted has been applied") {
				t.Errorf("%s", out)
			}
			break
		}
		if !strings.Contains(errOut, "connection refused") || time.Now().After(deadline) {
			t.Fatalf("%s\n%s", errOut, log)
		}
	}
	if _, errOut, code := command(t, settings[2:], "status"); code != 1 || !strings.Contains(errOut, "Client sent an HTTP request to an HTTPS server") {
		t.Errorf("without TLS: status %d, %s", code, errOut)
	}
	stop()
	if code := <-exited; code != 0 {
		t.Errorf("status %d\n%s", code, log)
	}
}

// certificate makes a certificate that signs itself, and its key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		var b bytes.Buffer
		if err := pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}

// Where the commands look for a server whose settings they share.
func TestClientAddress(t *testing.T) {
	f := func(c apiConfig, want string) {
		t.Helper()
		if got := c.address(); got != want {
			t.Errorf("%+v: %s, want %s", c, got, want)
		}
	}
	f(apiConfig{Listen: "127.0.0.1:8041"}, "http://127.0.0.1:8041")
	f(apiConfig{Listen: "[::1]:8041", Prefix: "gnocchi"}, "http://[::1]:8041/gnocchi")
	f(apiConfig{Listen: "192.0.2.1:80", Prefix: "/a/b/"}, "http://192.0.2.1:80/a/b/")
	f(apiConfig{Listen: "example.org:443", TLSCert: "x"}, "https://example.org:443")
	for _, all := range []string{":8041", "0.0.0.0:8041", "[::]:8041"} {
		f(apiConfig{Listen: all}, "http://localhost:8041")
	}
}
