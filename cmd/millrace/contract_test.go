package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// These are the promises of the asynchronous contract, held against the real
// program. The worker of most of them never flushes by itself: what is readable is
// so because it was applied.
const neverFlush = "MILLRACE_WORKER_FLUSH_INTERVAL=1h"

// An answer is what a server says to one request.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request below /v1 as admin, with headers "Name: value".
func (p *server) ask(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.base.String()+"/v1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("admin", "")
	req.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

// measuresFrom is a body with n measures, a second apart, from a second of 2023 on.
func measuresFrom(second, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"timestamp": %d, "value": %d.25}`, 1_700_000_000+second+i, second+i)
	}
	return "[" + b.String()[1:] + "]"
}

// count says how many measures of a metric can be read, having waited for all.
func (p *server) count(t *testing.T, id string) int {
	t.Helper()
	var rows []row
	a := p.ask(t, "GET", "/metric/"+id+"/measures?refresh=true&granularity=86400&aggregation=count", "")
	if a.status != 200 {
		t.Fatalf("%d %s\n%s", a.status, a.body, p.log)
	}
	if err := json.Unmarshal([]byte(a.body), &rows); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range rows {
		n += int(r.value)
	}
	return n
}

// dailyMetric creates a metric whose measures are counted by the day, none of them late.
func (p *server) dailyMetric(t *testing.T) string {
	t.Helper()
	if a := p.ask(t, "POST", "/archive_policy",
		`{"name": "daily", "back_window": 1000, "aggregation_methods": ["count", "sum"],
		"definition": [{"granularity": 86400}]}`); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return p.newMetric(t, "", "daily")
}

// postUntil posts measures until a status comes, and returns that answer and how
// many measures were acknowledged before.
func (p *server) postUntil(t *testing.T, id string, size, status int) (last answer, acknowledged int) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; {
		last = p.ask(t, "POST", "/metric/"+id+"/measures", measuresFrom(acknowledged, size))
		switch {
		case last.status == status:
			return last, acknowledged
		case last.status != 202:
			t.Fatalf("%d %s\n%s", last.status, last.body, p.log)
		case time.Now().After(deadline):
			t.Fatalf("after %d measures still no %d", acknowledged, status)
		}
		acknowledged += size
	}
}

// retryAfter checks that a refusal says when to come back.
func retryAfter(t *testing.T, a answer) {
	t.Helper()
	if s, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || s < 1 {
		t.Errorf("%d without a Retry-After: %q %s", a.status, a.header, a.body)
	}
}

// A worker that does not keep up makes the server refuse; what was acknowledged before
// is not lost, and when the worker has caught up, the server accepts again.
func TestContractOverload(t *testing.T) {
	dir := t.TempDir()
	idle := startHere(t, dir, "api", "MILLRACE_INGEST_MAX_AGE=300ms") // nobody applies
	id := idle.dailyMetric(t)
	refusal, acknowledged := idle.postUntil(t, id, 10, 503)
	retryAfter(t, refusal)
	if !strings.Contains(refusal.body, "that is not yet applied has been waiting for") {
		t.Errorf("%s", refusal.body)
	}
	if a := idle.ask(t, "POST", "/batch/metrics/measures", `{"`+id+`": [{"timestamp": 0, "value": 1}]}`,
		"Prefer: handling=lenient"); a.status != 503 {
		t.Errorf("a lenient batch: %d %s", a.status, a.body)
	}
	idle.terminate()
	p := start(t, dir, neverFlush)
	if n := p.count(t, id); n != acknowledged {
		t.Errorf("%d measures can be read, %d were acknowledged", n, acknowledged)
	}
	if a := p.ask(t, "POST", "/metric/"+id+"/measures", measuresFrom(acknowledged, 10)); a.status != 202 {
		t.Errorf("after the worker has caught up: %d %s", a.status, a.body)
	}
	if n := p.count(t, id); n != acknowledged+10 {
		t.Errorf("%d measures can be read, %d were acknowledged", n, acknowledged+10)
	}
}

// The same for a log that is full.
func TestContractLogRoom(t *testing.T) {
	p := start(t, t.TempDir(), "MILLRACE_WORKER_FLUSH_INTERVAL=5s", "MILLRACE_QUEUE_MAX_BYTES=1200KiB",
		"MILLRACE_INGEST_MIN_ROOM=1MiB", "MILLRACE_WORKER_FLUSH_BYTES=1MiB", "MILLRACE_API_WAIT_CAP=1m",
		"MILLRACE_API_TIMEOUT=1m")
	id := p.dailyMetric(t)
	refusal, acknowledged := p.postUntil(t, id, 5000, 503)
	retryAfter(t, refusal)
	if !strings.Contains(refusal.body, "the log has room for") {
		t.Errorf("%s", refusal.body)
	}
	if n := p.count(t, id); n != acknowledged {
		t.Errorf("%d measures can be read, %d were acknowledged", n, acknowledged)
	}
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		a := p.ask(t, "POST", "/metric/"+id+"/measures", measuresFrom(acknowledged, 5000))
		if a.status == 202 {
			break
		}
		if a.status != 503 || time.Now().After(deadline) {
			t.Fatalf("the log has been applied, and there is still no room: %d %s\n%s", a.status, a.body, p.log)
		}
	}
	if n := p.count(t, id); n != acknowledged+5000 {
		t.Errorf("%d measures can be read, %d were acknowledged", n, acknowledged+5000)
	}
}

// A project that sends too much is held to its quota, and others are not.
func TestContractQuota(t *testing.T) {
	p := start(t, t.TempDir(), neverFlush, "MILLRACE_INGEST_PROJECT_QUOTA=100") // and ten seconds' worth at once
	id := p.dailyMetric(t)
	refusal, acknowledged := p.postUntil(t, id, 1000, 429)
	retryAfter(t, refusal)
	if acknowledged != 1000 || !strings.Contains(refusal.body, "quota of 100 measures per second is used up") {
		t.Errorf("after %d measures: %s", acknowledged, refusal.body)
	}
	neighbour := *p.client
	neighbour.user = "neighbour"
	q := server{client: &neighbour, log: p.log}
	other := q.newMetric(t, "", "daily")
	q.post(t, other, measuresFrom(0, 1000))
	if n := p.count(t, id); n != 1000 {
		t.Errorf("%d measures can be read, want those that were acknowledged", n)
	}
}

// A body that is too large is refused whole.
func TestContractBodySize(t *testing.T) {
	p := start(t, t.TempDir(), neverFlush, "MILLRACE_API_MAX_BODY=10KiB")
	id := p.dailyMetric(t)
	for _, headers := range [][]string{nil, {"Prefer: handling=lenient"}} {
		if a := p.ask(t, "POST", "/metric/"+id+"/measures", measuresFrom(0, 1000), headers...); a.status != 413 {
			t.Errorf("%q: %d %s", headers, a.status, a.body)
		}
	}
	if a := p.ask(t, "POST", "/metric/"+id+"/measures", measuresFrom(0, 10)); a.status != 202 {
		t.Errorf("a small one: %d %s", a.status, a.body)
	}
	if n := p.count(t, id); n != 10 {
		t.Errorf("%d measures can be read, want 10", n)
	}
}

// Whoever writes can wait, and whoever reads can wait for what was written.
func TestContractReadYourWrites(t *testing.T) {
	p := start(t, t.TempDir(), neverFlush)
	id := p.dailyMetric(t)
	path := "/metric/" + id + "/measures"
	read := func(query string, headers ...string) string {
		t.Helper()
		a := p.ask(t, "GET", path+"?aggregation=count"+query, "", headers...)
		if a.status != 200 {
			t.Fatalf("%d %s\n%s", a.status, a.body, p.log)
		}
		return a.body
	}

	// A write alone is durable at once, and readable soon, without anybody waiting for it.
	first := p.ask(t, "POST", path, measuresFrom(0, 1))
	position := first.header.Get("Millrace-Position")
	if first.status != 202 || position == "" || first.header.Get("Location") != p.base.String()+"/v1/ingest/"+position {
		t.Fatalf("%d %q %s", first.status, first.header, first.body)
	}
	for deadline := time.Now().Add(startTimeout); !strings.Contains(read(""), ", 1.0]]"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not become readable by itself: %s", read(""))
		}
	}

	// A read with the position waits for it, and its write is readable from then on.
	if got := read("", "Millrace-Position: "+position); !strings.Contains(got, ", 1.0]]") {
		t.Errorf("with the position: %s", got)
	}
	if a := p.ask(t, "GET", "/ingest/"+position, ""); !strings.Contains(a.body, `"state": "applied"`) ||
		!strings.Contains(a.body, `"accepted": 1`) {
		t.Errorf("%d %s", a.status, a.body)
	}

	// A write that waits is answered when it can be read.
	waited := p.ask(t, "POST", path, measuresFrom(1, 2), "Prefer: wait=2")
	if waited.status != 200 || waited.header.Get("Preference-Applied") != "wait=2" ||
		!strings.Contains(waited.body, `"state": "applied"`) {
		t.Errorf("%d %q %s", waited.status, waited.header, waited.body)
	}
	if got := read(""); !strings.Contains(got, ", 3.0]]") {
		t.Errorf("after a write that waited: %s", got)
	}

	// A refresh waits for everything that was accepted before.
	p.ask(t, "POST", path, measuresFrom(3, 3))
	if got := read("&refresh=true"); !strings.Contains(got, ", 6.0]]") {
		t.Errorf("with refresh: %s", got)
	}
}

// What got its 202 is there after a kill -9, whether or not anything was applied.
func TestContractKillAfterAcknowledgement(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, neverFlush)
	id := p.dailyMetric(t)
	for round := range 5 {
		a := p.ask(t, "POST", "/metric/"+id+"/measures", measuresFrom(100*round, 100))
		p.kill()
		if a.status != 202 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		p = start(t, dir, neverFlush)
		position := a.header.Get("Millrace-Position")
		got := p.ask(t, "GET", "/metric/"+id+"/measures?aggregation=count", "", "Millrace-Position: "+position)
		if want := fmt.Sprintf(", %d.0]]", 100*(round+1)); got.status != 200 || !strings.Contains(got.body, want) {
			t.Errorf("round %d: %d %s\n%s", round, got.status, got.body, p.log)
		}
		if fate := p.ask(t, "GET", "/ingest/"+position, ""); !strings.Contains(fate.body, `"state": "applied"`) {
			t.Errorf("round %d: %d %s", round, fate.status, fate.body)
		}
	}
	t.Logf("suite: the asynchronous contract over the real program: killed between 202 and the first read, 5 times")
}
