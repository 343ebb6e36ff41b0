package influxdb_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/drivers/influxdb"
	"millrace/ingest"
)

// A faultyInflux is what a writer sees of an InfluxDB 2.7, which stores lines or answers
// as a test says.
type faultyInflux struct {
	// answer says what becomes of lines of measures: which are stored, and the answer.
	answer func(lines []string) (stored []string, status int, body string)
	header http.Header

	mu     sync.Mutex
	stored map[string]bool
}

func (f *faultyInflux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/health":
		fmt.Fprint(w, `{"name":"influxdb","version":"v2.7.12"}`)
	case "/api/v2/buckets":
		fmt.Fprint(w, `{"buckets":[{"name":"b"}]}`)
	case "/api/v2/write":
		f.write(w, r)
	case "/api/v2/delete":
		w.WriteHeader(http.StatusNoContent)
	}
}

func (f *faultyInflux) write(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil || !strings.HasPrefix(string(text), "measures,") {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	stored, status, body := f.answer(strings.Split(strings.TrimSpace(string(text)), "\n"))
	for _, line := range stored {
		f.stored[line[strings.LastIndexByte(line, ' ')+1:]] = true
	}
	for key, values := range f.header {
		w.Header()[key] = values
	}
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

// bad says whether a line is one of those that the server is to refuse.
func bad(line string) bool {
	return slices.Contains([]string{"3", "7", "8"}, line[strings.LastIndexByte(line, ' ')+1:])
}

// flushTen flushes ten measures at 1 to 10 and returns which were refused.
func flushTen(t *testing.T, f *faultyInflux) (refused []int64, err error) {
	t.Helper()
	f.stored = make(map[string]bool)
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	d := open(t, influxdb.Config{URL: server.URL, Org: "o", Bucket: "b", Token: "a-secret", Sacks: 1}, anyPolicy{},
		allKnown{})
	w, _, err := d.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []ingest.Measure
	for i := range int64(10) {
		list = append(list, ingest.Measure{Time: i + 1, Value: 1})
	}
	record := ingest.Record{Entries: []ingest.Entry{{Metric: ingest.MetricID{1}, Policy: "p", Measures: list}}}
	if _, err := w.Apply(t.Context(), []ingest.Delivery{{Offset: 5, Record: record}}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time the rejects have been put aside
		rejects, err := w.Flush(t.Context(), ingest.Watermark{Offset: 6})
		if err != nil {
			return nil, err
		}
		for _, r := range rejects {
			for _, m := range r.Part.Measures {
				refused = append(refused, m.Time)
			}
		}
	}
	return refused, nil
}

// Exactly the lines that the server refuses become dead letters, whichever way it says so.
func TestRefusedLines(t *testing.T) {
	split := func(lines []string) (good []string, first int) {
		for i, line := range lines {
			if !bad(line) {
				good = append(good, line)
			} else if first == 0 {
				first = i + 1
			}
		}
		return good, first
	}
	for name, answer := range map[string]func([]string) ([]string, int, string){
		"400 with the line": func(lines []string) ([]string, int, string) {
			if _, first := split(lines); first > 0 {
				return nil, 400, fmt.Sprintf(`{"code":"invalid","message":"unable to parse","line":%d}`, first)
			}
			return lines, 204, ""
		},
		"400 without": func(lines []string) ([]string, int, string) {
			if _, first := split(lines); first > 0 {
				return nil, 400, `{"code":"invalid","message":"unable to parse"}`
			}
			return lines, 204, ""
		},
		"422 in part": func(lines []string) ([]string, int, string) {
			good, first := split(lines)
			if first > 0 {
				return good, 422, fmt.Sprintf(`{"message":"partial write: points beyond retention policy dropped=%d"}`,
					len(lines)-len(good))
			}
			return lines, 204, ""
		},
		"413 above two lines": func(lines []string) ([]string, int, string) {
			good, first := split(lines)
			if len(lines) > 2 {
				return nil, 413, `{"message":"too large"}`
			}
			if first > 0 {
				return good, 400, `{"message":"unable to parse"}`
			}
			return lines, 204, ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &faultyInflux{answer: answer}
			refused, err := flushTen(t, f)
			if err != nil || !slices.Equal(refused, []int64{3, 7, 8}) {
				t.Errorf("refused are %v, %v; want those at 3, 7 and 8", refused, err)
			}
			if len(f.stored) != 7 || f.stored["3"] || f.stored["7"] || f.stored["8"] {
				t.Errorf("stored are %v; want the seven others", f.stored)
			}
		})
	}
}

// A server that answers its health is there, whatever it refuses; one that can't be reached,
// answers with an error, or not in time, isn't.
func TestProbe(t *testing.T) {
	var status atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch s := int(status.Load()); {
		case r.URL.Path != "/health":
			w.WriteHeader(http.StatusUnauthorized)
		case s == 0:
			<-r.Context().Done()
		default:
			w.WriteHeader(s)
			fmt.Fprint(w, `{"name":"influxdb","status":"pass","version":"v2.7.12"}`)
		}
	}))
	t.Cleanup(server.Close)
	d := open(t, influxdb.Config{URL: server.URL, Org: "o", Bucket: "b", Token: "a-secret", Sacks: 1}, anyPolicy{},
		allKnown{})
	for _, s := range []int{200, 503, 500, 0, 200} {
		status.Store(int64(s))
		patience := time.Minute
		if s == 0 { // there is no answer
			patience = 200 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := d.Probe(ctx); (err == nil) != (s == 200) {
			t.Errorf("where the health is answered %d, Probe says %v", s, err)
		}
		cancel()
	}
	server.Close()
	if err := d.Probe(t.Context()); err == nil {
		t.Error("Probe finds a server where there is none")
	}
}

// What says something of the server's state, and not of the lines, is an error that
// refuses no line, with the pause that the server asks for.
func TestHeld(t *testing.T) {
	for _, status := range []int{200, 401, 403, 404, 429, 500, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			f := &faultyInflux{header: http.Header{"Retry-After": {"7"}}, answer: func([]string) ([]string, int, string) {
				return nil, status, `{"message":"no"}`
			}}
			refused, err := flushTen(t, f)
			if err == nil || len(refused) > 0 || ingest.IsPermanent(err) {
				t.Fatalf("refused are %v, %v; want an error that passes", refused, err)
			}
			if pause, _ := ingest.RetryAfterOf(err); pause != 7*time.Second {
				t.Errorf("the pause is %v, want 7s: %v", pause, err)
			}
			if text := err.Error(); !strings.Contains(text, fmt.Sprint(status)) || strings.Contains(text, "a-secret") {
				t.Errorf("%q must name the status and not the token", text)
			}
		})
	}
}
