package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/drivers/aggregate"
	"millrace/drivers/naive"
	"millrace/ingest"
)

// A ramp is a driver in which every series has so many rows, from 1970 on, each with
// its number for a value.
type ramp struct {
	rows   int64
	mu     sync.Mutex
	reads  int
	most   int                   // rows of one series in one read
	before func(reads int) error // called with every read
}

func (r *ramp) Read(_ context.Context, queries []ingest.Query, dst [][]ingest.Measure,
	_ ingest.Position) (ingest.Position, error) {
	r.mu.Lock()
	r.reads++
	reads := r.reads
	r.mu.Unlock()
	if r.before != nil {
		if err := r.before(reads); err != nil {
			return nil, err
		}
	}
	for i, q := range queries {
		g := int64(q.Granularity)
		first := max(0, ingest.Floor(q.From, q.Granularity)/g)
		n := 0
		for k := first; k < r.rows && k*g < q.To && (q.Limit == 0 || n < q.Limit); k++ {
			dst[i] = append(dst[i], ingest.Measure{Time: k * g, Value: float64(k)})
			n++
		}
		r.mu.Lock()
		r.most = max(r.most, n)
		r.mu.Unlock()
	}
	return nil, nil
}

// on builds a house on a ramp, and returns the path of a metric's measures.
func (r *ramp) on(t testing.TB, config Config) (h *house, path string) {
	t.Helper()
	h = newHouse(t, build{config: config, driver: func(*naive.Driver) Reader { return r }})
	h.policy(t, "p", `{"granularity": 60}`)
	return h, measures(h.metric(t, "p"))
}

// A long series is read and written in pieces, none is missing and none twice.
func TestLongSeries(t *testing.T) {
	const n = 3*pieceRows + 100
	r := &ramp{rows: n}
	h, path := r.on(t, Config{})
	get := func(query string) [][3]any {
		t.Helper()
		w := h.do(t, "GET", path+query, call{})
		var rows [][3]any
		if w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &rows) != nil {
			t.Fatalf("%d %.200s", w.Code, w.Body)
		}
		return rows
	}
	same := func(query string, rows [][3]any, want []ingest.Measure) {
		t.Helper()
		if len(rows) != len(want) {
			t.Fatalf("%s: %d rows, want %d", query, len(rows), len(want))
		}
		for i, row := range rows {
			if at := time.Unix(0, want[i].Time).UTC().Format("2006-01-02T15:04:05+00:00"); row[0] != at ||
				row[2] != want[i].Value {
				t.Fatalf("%s: row %d is %v, want %s %v", query, i, row, at, want[i].Value)
			}
		}
	}
	var all []ingest.Measure
	for i := range int64(n) {
		all = append(all, ingest.Measure{Time: i * int64(time.Minute), Value: float64(i)})
	}
	same("", get(""), all)
	if r.reads != 4 || r.most != pieceRows {
		t.Errorf("%d reads of at most %d rows", r.reads, r.most)
	}
	same("resampled", get("?granularity=60&resample=7000"), aggregate.Resample(nil, all, 7000*time.Second, ingest.Mean))
	same("resampled from", get("?granularity=60&resample=7000&start=8000&aggregation=max"),
		aggregate.Range(aggregate.Resample(nil, all, 7000*time.Second, ingest.Max), 7000*time.Second, 8000e9,
			ingest.MaxTime))
	same("by month", get("?granularity=60&resample=M&aggregation=sum"),
		aggregate.ResampleCalendar(nil, all, aggregate.Month, ingest.Sum))

	// As many rows as a piece has are not the end.
	r.rows = pieceRows
	same("one piece", get(""), all[:pieceRows])

	w := h.do(t, "POST", "/v1/search/metric?metric_id="+strings.Split(path, "/")[3], call{body: `{">=": 32000}`})
	if n := strings.Count(w.Body.String(), ", 60.0, "); n != pieceRows-32000 {
		t.Errorf("%d rows are found", n)
	}
	if held := h.reading.bytes.Load(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

// A resample that takes more than may be held is refused, however it is cut.
func TestLongResample(t *testing.T) {
	r := &ramp{rows: 3 * pieceRows}
	h, path := r.on(t, Config{MaxPoints: pieceRows})
	id := strings.Split(path, "/")[3]
	h.run(t, []step{{"across", "POST", "/v1/aggregates", call{body: `{"operations": "(metric ` + id + ` mean)"}`,
		header: []string{acceptJSON}}, 400,
		[]string{fmt.Sprintf("more than %d points in memory", pieceRows)}, "", nil}})
	if r.most != pieceRows+1 {
		t.Errorf("%d rows were read", r.most)
	}
	h.run(t, []step{{"a year of minutes in one bucket", "GET", path + "?granularity=60&resample=Y",
		call{header: []string{acceptJSON}}, 400,
		[]string{fmt.Sprintf("more than %d points in memory: ask for a shorter range", pieceRows)}, "", nil}})
}

// An answer that has begun and can't be ended is broken off: half of it must not look
// whole.
func TestAnswerBrokenOff(t *testing.T) {
	r := &ramp{rows: 10 * pieceRows, before: func(reads int) error {
		if reads == 3 {
			return errors.New("the disk is gone")
		}
		return nil
	}}
	h, path := r.on(t, Config{})
	server := httptest.NewServer(h)
	defer server.Close()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", server.URL+path, nil)
	req.SetBasicAuth("foobar", "")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var rows []any
	if err := json.NewDecoder(resp.Body).Decode(&rows); err == nil || resp.StatusCode != 200 {
		t.Errorf("status %d, %d rows: %v", resp.StatusCode, len(rows), err)
	}
	all := int64(h.config.MaxReads)
	if err := h.reading.slots.Acquire(t.Context(), all); err != nil { // which the server gives back a moment later
		t.Errorf("a slot is still held: %v", err)
	}
	h.reading.slots.Release(all)
	if held := h.reading.bytes.Load(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
	r.reads = 2 // the next is the third
	h.run(t, []step{{"before it has begun", "GET", path, call{}, 503, []string{"Measures can't be read at this moment"},
		"", nil}})
}

// Reads wait for a slot, and for memory, but not for ever; what they are told says
// how to ask for less.
func TestReadsAreAdmitted(t *testing.T) {
	inside, leave := make(chan bool), make(chan bool)
	r := &ramp{rows: 10, before: func(reads int) error {
		if reads == 1 {
			inside <- true
			<-leave
		}
		return nil
	}}
	h, path := r.on(t, Config{MaxReads: 1, MaxReadBytes: 40 * bytesPerRow, Timeout: 2*timeToAnswer +
		200*time.Millisecond})
	var first sync.WaitGroup
	first.Go(func() {
		if w := h.do(t, "GET", path+"?start=0&stop=1800", call{}); w.Code != 200 {
			t.Errorf("the first: %d %s", w.Code, w.Body)
		}
	})
	<-inside
	refused := func(name, query, part string) step {
		return step{name, "GET", path + query, call{}, 503, []string{part,
			"ask for a shorter range (start, stop), a coarser granularity, or fewer metrics at a time"}, "", nil}
	}
	h.run(t, []step{
		refused("no slot", "?start=0&stop=60", "Too many reads are going on"),
		refused("no memory", "", "Too much is being read"),
		{"a write needs neither", "POST", path, call{body: `[{"timestamp": 1, "value": 1}]`}, 202, nil, "", nil},
	})
	leave <- true
	first.Wait()
	h.run(t, []step{
		{"now there are both", "GET", path, call{}, 200, nil, "", nil}, // more than there may be, but alone
	})
}

// A client that doesn't take its answer holds no slot.
func TestSlowReader(t *testing.T) {
	r := &ramp{rows: 10 * pieceRows}
	h, path := r.on(t, Config{MaxReads: 1, Timeout: 2*timeToAnswer + time.Second})
	stuck := &stuckWriter{header: http.Header{}, stuck: make(chan bool), free: make(chan bool)}
	var slow sync.WaitGroup
	slow.Go(func() {
		req := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
		req.SetBasicAuth("foobar", "")
		h.ServeHTTP(stuck, req)
	})
	<-stuck.stuck
	h.run(t, []step{{"somebody else", "GET", path + "?stop=600", call{}, 200, nil, "", nil}})
	close(stuck.free)
	slow.Wait()
	if stuck.bytes < 10*pieceRows*40 {
		t.Errorf("the slow reader got %d bytes", stuck.bytes)
	}
}

// A stuckWriter lets nothing through before free is closed.
type stuckWriter struct {
	header http.Header
	stuck  chan bool // told once
	free   chan bool
	once   sync.Once
	bytes  int
}

func (w *stuckWriter) Header() http.Header { return w.header }
func (w *stuckWriter) WriteHeader(int)     {}
func (w *stuckWriter) Write(p []byte) (int, error) {
	w.once.Do(func() { w.stuck <- true })
	<-w.free
	w.bytes += len(p)
	return len(p), nil
}
