package benchmarks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/ingest"
	"millrace/testservers"
)

// TestBesideGnocchi loads Gnocchi and Millrace with the same measures, asks both for the same
// mean across all metrics by /v1/aggregates, checks that they answer the same, and prints what
// it took. It is no test of speed, and runs when it is told how many metrics with how many
// minutes each; each of several is run on new servers:
//
//	scripts/servers gnocchi && make build
//	MILLRACE_BENCH_GNOCCHI=100x1440,1000x10080 go test ./benchmarks -run BesideGnocchi -v -timeout 1h
//
// Gnocchi has what makes it fast: one aggregate to compute, all measures of a metric in one
// batch, timestamps as numbers, a PostgreSQL that doesn't sync.
func TestBesideGnocchi(t *testing.T) {
	text := os.Getenv("MILLRACE_BENCH_GNOCCHI")
	if text == "" {
		t.Skip("MILLRACE_BENCH_GNOCCHI names no numbers of metrics and minutes")
	}
	for scale := range strings.SplitSeq(text, ",") {
		var metrics, minutes int
		if _, err := fmt.Sscanf(scale, "%dx%d", &metrics, &minutes); err != nil || metrics < 1 || minutes < 1 {
			t.Fatalf("MILLRACE_BENCH_GNOCCHI: %q is no METRICSxMINUTES", scale)
		}
		t.Run(scale, func(t *testing.T) { besideGnocchi(t, metrics, minutes) })
	}
}

func besideGnocchi(t *testing.T, metrics, minutes int) {
	// Until the end of last hour, so that no measure is older than what the policy keeps.
	start := time.Now().Truncate(time.Hour).Add(-time.Duration(minutes) * time.Minute)
	sides := []*side{
		{name: "Millrace", url: startMillrace(t), rest: func(ctx context.Context, url string) error {
			return AwaitApplied(ctx, url, "admin")
		}},
		{name: "Gnocchi", url: testservers.NewGnocchi(t).URL(), rest: awaitMetricd},
	}
	for _, s := range sides {
		began := time.Now()
		if err := s.load(t.Context(), metrics, minutes, start); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		took := time.Since(began).Seconds()
		t.Logf("%s: %d measures posted and processed in %.1f s: %.0f a second", s.name, metrics*minutes, took,
			float64(metrics*minutes)/took)
	}
	for _, s := range sides {
		if err := s.measure(t.Context(), start, minutes); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		t.Logf("%s: the mean of %d metrics, %d minutes: p50 %.1f ms, slowest of %d %.1f ms", s.name, metrics, minutes,
			milliseconds(s.took[len(s.took)/2]), len(s.took), milliseconds(s.took[len(s.took)-1]))
	}
	if err := equalSeries(sides[0].answer, sides[1].answer, minutes); err != nil {
		t.Errorf("the answers differ: %v", err)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// A side is one of two servers that are asked the same.
type side struct {
	name, url string
	rest      func(ctx context.Context, url string) error // waits until all that was posted can be read
	ids       []ingest.MetricID
	took      []time.Duration // ascending
	answer    []byte
}

// load creates the metrics and posts their measures.
func (s *side) load(ctx context.Context, metrics, minutes int, start time.Time) error {
	policy := fmt.Sprintf(`{"name": "minutes", "aggregation_methods": ["mean"],
		"definition": [{"granularity": 60, "points": %d}]}`, minutes+2*60)
	if _, err := call(ctx, http.DefaultClient, "POST", s.url+"/v1/archive_policy", adminAuth, "", policy,
		nil); err != nil {
		return err
	}
	var err error
	if s.ids, err = CreateMetrics(ctx, s.url, "admin", "minutes", metrics, nil); err != nil {
		return err
	}
	const together = 10 // metrics of one request
	group, posting := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for from := 0; from < metrics; from += together {
		group.Go(func() error {
			body := minutesOf(s.ids[from:min(from+together, metrics)], from, minutes, start)
			_, err := call(posting, http.DefaultClient, "POST", s.url+"/v1/batch/metrics/measures", adminAuth, "", body, nil)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return s.rest(ctx, s.url)
}

const adminAuth = "Basic YWRtaW46" // admin, without a password

// minutesOf is a request with a measure a minute of metrics; it is the same for both sides.
func minutesOf(ids []ingest.MetricID, first, minutes int, start time.Time) string {
	body := []byte{'{'}
	for i, id := range ids {
		random := rand.New(rand.NewPCG(uint64(first+i), 0))
		if i > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, "%q:[", id)
		for m := range minutes {
			if m > 0 {
				body = append(body, ',')
			}
			body = fmt.Appendf(body, `{"timestamp":%d,"value":%.2f}`, start.Unix()+int64(m)*60, 50+10*random.NormFloat64())
		}
		body = append(body, ']')
	}
	return string(append(body, '}'))
}

// measure asks one question again and again: for a quarter of a minute, three times at least
// and twenty at most.
func (s *side) measure(ctx context.Context, start time.Time, minutes int) error {
	body := []byte(`{"operations": "(aggregate mean (metric`)
	for _, id := range s.ids {
		body = fmt.Appendf(body, " (%s mean)", id)
	}
	body = append(body, `))"}`...)
	address := fmt.Sprintf("%s/v1/aggregates?granularity=60&start=%d&stop=%d", s.url, start.Unix(),
		start.Unix()+int64(minutes)*60)
	for began := time.Now(); len(s.took) < 3 || len(s.took) < 20 && time.Since(began) < 15*time.Second; {
		asked := time.Now()
		var err error
		if s.answer, err = ask(ctx, address, body); err != nil {
			return err
		}
		s.took = append(s.took, time.Since(asked))
	}
	slices.Sort(s.took)
	return nil
}

func ask(ctx context.Context, address string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", adminAuth)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the server answers %d: %s", resp.StatusCode, answer[:min(len(answer), 300)])
	}
	return answer, err
}

// equalSeries says how two answers differ. Sums of as many numbers depend on their order, so the
// last digits may.
func equalSeries(a, b []byte, minutes int) error {
	var rows [2][][3]any
	for i, answer := range [][]byte{a, b} {
		var doc struct {
			Measures struct{ Aggregated [][3]any }
		}
		if err := json.Unmarshal(answer, &doc); err != nil {
			return err
		}
		rows[i] = doc.Measures.Aggregated
	}
	if len(rows[0]) != minutes || len(rows[1]) != minutes {
		return fmt.Errorf("%d rows and %d, for %d minutes", len(rows[0]), len(rows[1]), minutes)
	}
	for i, x := range rows[0] {
		y := rows[1][i]
		v, isNumber := x[2].(float64)
		w, isNumberToo := y[2].(float64)
		if x[0] != y[0] || x[1] != y[1] || !isNumber || !isNumberToo || math.Abs(v-w) > 1e-12*math.Abs(v) {
			return fmt.Errorf("row %d: %v and %v", i, x, y)
		}
	}
	return nil
}

// awaitMetricd waits until Gnocchi has processed everything that was posted.
func awaitMetricd(ctx context.Context, url string) error {
	for {
		var status struct {
			Storage struct {
				Summary struct{ Metrics, Measures int }
			}
		}
		if _, err := call(ctx, http.DefaultClient, "GET", url+"/v1/status?details=false", adminAuth, "", "",
			&status); err != nil || status.Storage.Summary.Measures == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// startMillrace starts the program as it is built, with files on a real disk, and returns its URL.
func startMillrace(t *testing.T) string {
	t.Helper()
	binary, err := filepath.Abs("../bin/millrace")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("the program is measured as it is built, by make build: %v", err)
	}
	if err := os.MkdirAll("../.cache", 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("../.cache", "beside-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address := freeAddress(t)
	var log bytes.Buffer
	cmd := exec.Command(binary, "serve")
	cmd.Env = append(os.Environ(), "MILLRACE_DATA_DIR="+dir, "MILLRACE_API_LISTEN="+address,
		"MILLRACE_API_TIMEOUT=10m") // as Gnocchi's
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 1200 {
		if resp, err := http.Get("http://" + address + "/healthcheck"); err == nil {
			_ = resp.Body.Close()
			return "http://" + address
		}
		time.Sleep(50 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	t.Fatalf("the server does not answer:\n%s", &log)
	return ""
}
