package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"millrace/api/auth"
	"millrace/drivers/naive"
	"millrace/index"
	"millrace/ingest"
	"millrace/testservers"
)

// A memoryLog is a log without durability.
type memoryLog struct {
	mu      sync.Mutex
	sacks   [][]ingest.Delivery
	changed chan struct{} // closed and replaced by every Append
	fail    error
	slow    time.Duration // that every Append takes
}

func newMemoryLog(sacks int) *memoryLog {
	return &memoryLog{sacks: make([][]ingest.Delivery, sacks), changed: make(chan struct{})}
}

func (l *memoryLog) Append(_ context.Context, out []ingest.Outgoing) error {
	time.Sleep(l.slow)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	for i := range out {
		s := out[i].Sack
		out[i].Offset = ingest.Offset(10 * (len(l.sacks[s]) + 1))
		r := *out[i].Record
		r.Entries = cloneEntries(r.Entries)
		l.sacks[s] = append(l.sacks[s], ingest.Delivery{Offset: out[i].Offset, Record: r})
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

func cloneEntries(entries []ingest.Entry) []ingest.Entry {
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].Measures = slices.Clone(entries[i].Measures)
	}
	return entries
}

func (l *memoryLog) End(context.Context) (ingest.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return nil, l.fail
	}
	end := make(ingest.Position, len(l.sacks))
	for s, list := range l.sacks {
		if n := len(list); n > 0 {
			end[s] = list[n-1].Offset + 1
		}
	}
	return end, nil
}

func (l *memoryLog) Fetch(ctx context.Context, sack ingest.Sack, from ingest.Offset, dst *ingest.Deliveries) error {
	dst.Reset()
	for {
		l.mu.Lock()
		for _, d := range l.sacks[sack] {
			if d.Offset >= from {
				d.Record.Entries = cloneEntries(d.Record.Entries)
				dst.List = append(dst.List, d)
			}
		}
		changed := l.changed
		l.mu.Unlock()
		if len(dst.List) > 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *memoryLog) Applied(ingest.Sack, ingest.Offset) {}

func (l *memoryLog) Backlog(_ context.Context, sack ingest.Sack, from ingest.Offset) (b ingest.Backlog, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.sacks[sack] {
		if d.Offset >= from {
			b.Records++
			b.Bytes += 10
		}
	}
	return b, nil
}

func (l *memoryLog) Check(context.Context, ingest.Sack, ingest.Watermark) error { return nil }

func (l *memoryLog) Log() ingest.LogID { return ingest.LogID{ID: "memory"} }

// records returns what is in the log, in the order of sacks and offsets.
func (l *memoryLog) records() []ingest.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []ingest.Record
	for _, list := range l.sacks {
		for _, d := range list {
			all = append(all, d.Record)
		}
	}
	return all
}

func (l *memoryLog) setFail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// memoryLetters are dead letters in memory.
type memoryLetters struct {
	mu      sync.Mutex
	letters map[string]ingest.DeadLetter
}

func (l *memoryLetters) Add(_ context.Context, letters []ingest.DeadLetter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.letters == nil {
		l.letters = map[string]ingest.DeadLetter{}
	}
	for _, letter := range letters {
		if _, there := l.letters[letter.ID]; !there {
			l.letters[letter.ID] = letter
		}
	}
	return nil
}

func (l *memoryLetters) List(_ context.Context, after string, limit int) ([]ingest.DeadLetter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var page []ingest.DeadLetter
	for _, id := range slices.Sorted(maps.Keys(l.letters)) {
		if id > after && len(page) < limit {
			page = append(page, l.letters[id])
		}
	}
	return page, nil
}

func (l *memoryLetters) Remove(_ context.Context, ids []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		delete(l.letters, id)
	}
	return nil
}

func (l *memoryLetters) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.letters)
}

// A house is an API with all that it stands on.
type house struct {
	*API
	log      *memoryLog
	letters  *memoryLetters
	index    *index.Index
	driver   *naive.Driver
	progress *ingest.Progress
}

const houseSacks = 4

// A build changes how a house is built.
type build struct {
	index  index.Config
	config Config
	url    string // of the index; SQLite in memory
	accept ingest.AcceptConfig
	auth   auth.Authenticator
	driver func(*naive.Driver) Reader
	tracer trace.Tracer
	meter  metric.Meter

	deployment Deployment
}

// onEach runs a test on every kind of index.
func onEach(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "") })
	t.Run("postgres", func(t *testing.T) {
		server := testservers.Postgres(t)
		test(t, server.URL(server.Database(t)))
	})
}

func openMemory(t testing.TB) (*index.Index, error) { return openTest(t, "") }

// openTest opens an index that ends with the test.
func openTest(t testing.TB, url string) (*index.Index, error) {
	return openWith(t, url, index.Config{})
}

func openWith(t testing.TB, url string, config index.Config) (*index.Index, error) {
	log, meter := slog.New(slog.NewTextHandler(t.Output(), nil)), metricnoop.NewMeterProvider().Meter("")
	return index.Open(t.Context(), cmp.Or(url, "sqlite::memory:"), config, log, meter)
}

// newHouse builds a house. It has no worker: see work.
func newHouse(t testing.TB, b build) *house {
	t.Helper()
	x, err := openWith(t, b.url, b.index)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	h := &house{log: newMemoryLog(houseSacks), letters: &memoryLetters{}, index: x, driver: naive.New(x)}
	h.progress = ingest.NewProgress(houseSacks, h.log)
	deps := Deps{
		Index: x, Acceptor: ingest.NewAcceptor(h.log, h.progress, houseSacks, b.accept), Log: h.log,
		Progress: h.progress, Driver: h.driver, Letters: h.letters, Auth: b.auth,
		Deployment: b.deployment,
	}
	if b.driver != nil {
		deps.Driver = b.driver(h.driver)
	}
	if b.tracer == nil {
		b.tracer = tracenoop.NewTracerProvider().Tracer("")
	}
	if b.meter == nil {
		b.meter = metricnoop.NewMeterProvider().Meter("")
	}
	h.API, err = New(deps, b.config, slog.New(slog.NewTextHandler(t.Output(), nil)), b.meter, b.tracer)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// work applies the log until the test ends, or stop is called.
func (h *house) work(t testing.TB, config ingest.WorkerConfig) (stop func()) {
	t.Helper()
	return h.workFor(t, h.driver, config)
}

// sacks is how many the house has.
func (h *house) sacks() int { return len(h.progress.Watermarks()) }

func (h *house) workFor(t testing.TB, driver ingest.Driver, config ingest.WorkerConfig) (stop func()) {
	t.Helper()
	w, err := ingest.NewWorker(h.log, driver, h.letters, ingest.Everything(h.sacks()), h.progress, config,
		slog.New(slog.DiscardHandler),
		metricnoop.NewMeterProvider().Meter(""), tracenoop.NewTracerProvider().Tracer(""))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return stop
}

// A call is a request as a test makes it. Header lines are "Name: value".
type call struct {
	as     string // user of basic authentication; "-": no credentials
	header []string
	body   string
}

// do makes a request. A body is JSON unless a header says otherwise.
func (h *house) do(t testing.TB, method, path string, c call) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(c.body)).WithContext(t.Context())
	if c.as == "" {
		c.as = "foobar"
	}
	if c.as != "-" {
		r.SetBasicAuth(c.as, "")
	}
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range c.header {
		name, value, _ := strings.Cut(line, ": ")
		if value == "" {
			r.Header.Del(name)
			continue
		}
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// A step is a request and what its answer must be.
type step struct {
	name   string
	method string
	path   string
	call
	status   int
	contains []string // parts of the body
	exactly  string   // the whole body, when not empty
	headers  []string // "Name: value"; "Name:" alone: must not be there
}

// run makes the requests one after the other. Nothing that is refused may reach
// the log.
func (h *house) run(t *testing.T, steps []step) {
	t.Helper()
	for i, s := range steps {
		before := len(h.log.records())
		w := h.do(t, s.method, s.path, s.call)
		where := fmt.Sprintf("%d: %s %s %s", i, s.name, s.method, s.path)
		body := w.Body.String()
		if w.Code != s.status {
			t.Errorf("%s: status %d, want %d: %s", where, w.Code, s.status, body)
			continue
		}
		for _, part := range s.contains {
			if !strings.Contains(body, part) {
				t.Errorf("%s: no %q in %s", where, part, body)
			}
		}
		if s.exactly != "" && body != s.exactly {
			t.Errorf("%s: body\n got %q\nwant %q", where, body, s.exactly)
		}
		for _, line := range s.headers {
			name, want, some := strings.Cut(line, ": ")
			name = strings.TrimSuffix(name, ":")
			if got := w.Header().Get(name); some && got != want || !some && got != "" {
				t.Errorf("%s: header %s is %q, want %q", where, name, got, want)
			}
		}
		if w.Code >= 400 {
			if after := len(h.log.records()); after != before {
				t.Errorf("%s: was refused and put %d records into the log", where, after-before)
			}
			if w.Header().Get("Content-Type") == "" {
				t.Errorf("%s: an error without Content-Type", where)
			}
		}
	}
}

// must makes a request that has to succeed and returns its JSON.
func (h *house) must(t testing.TB, method, path string, c call) map[string]any {
	t.Helper()
	w := h.do(t, method, path, c)
	if w.Code >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	var v map[string]any
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
		}
	}
	return v
}

// policy creates an archive policy.
func (h *house) policy(t testing.TB, name, definition string) {
	t.Helper()
	h.must(t, "POST", "/v1/archive_policy", call{as: "admin", body: fmt.Sprintf(`{"name": %q, "definition": [%s]}`, name,
		definition)})
}

// metric creates a metric of a policy and returns its id.
func (h *house) metric(t testing.TB, policy string) string {
	t.Helper()
	return h.must(t, "POST", "/v1/metric", call{body: fmt.Sprintf(`{"archive_policy_name": %q}`, policy)})["id"].(string)
}

// asJSON reads a body.
func asJSON(t testing.TB, w *httptest.ResponseRecorder, into any) {
	t.Helper()
	if err := json.NewDecoder(bytes.NewReader(w.Body.Bytes())).Decode(into); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
}

var _ http.Handler = (*API)(nil)
