package api

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/drivers/naive"
	"millrace/ingest"
)

// A countingReader counts how often the driver is asked, and for how much at most.
type countingReader struct {
	Reader
	reads, most atomic.Int64
}

func (c *countingReader) Read(
	ctx context.Context, queries []ingest.Query, dst [][]ingest.Measure, at ingest.Position,
) (ingest.Position, error) {
	c.reads.Add(1)
	c.most.Store(max(c.most.Load(), int64(len(queries))))
	return c.Reader.Read(ctx, queries, dst, at)
}

// crowdOf is a house with so many resources of two metrics each, of which every third one
// lacks the second, with a policy of two granularities.
func crowdOf(t testing.TB, n int, config Config) (*house, *countingReader) {
	t.Helper()
	counting := &countingReader{}
	h := newHouse(t, build{config: config, driver: func(d *naive.Driver) Reader {
		counting.Reader = d
		return counting
	}})
	h.work(t, ingest.WorkerConfig{FlushInterval: time.Hour}) // only a nudge flushes
	h.policy(t, "two", `{"granularity": 60, "points": 100}, {"granularity": 300, "points": 100}`)
	var batch strings.Builder
	for i := range n {
		h.must(t, "POST", "/v1/resource/generic", call{body: fmt.Sprintf(`{"id": "r%d", "project_id": "p%d"}`, i, i)})
		measured := func(name string, value int) string {
			return fmt.Sprintf(`%q: {"archive_policy_name": "two", "measures": [{"timestamp": 60, "value": %d}, `+
				`{"timestamp": 400, "value": %d}]}`, name, value, i)
		}
		list := measured("in", i+1)
		if i%3 > 0 {
			list += ", " + measured("out", 2*i)
		}
		fmt.Fprintf(&batch, `, "r%d": {%s}`, i, list)
	}
	h.must(t, "POST", namedPath+"?create_metrics=true", call{body: "{" + batch.String()[2:] + "}",
		header: []string{"Prefer: wait=10"}})
	return h, counting
}

// Groups are read many at a time, and answered as if each was asked for alone.
func TestGroupsReadTogether(t *testing.T) {
	const n = 300
	for _, maxPoints := range []int{0, 4 * n * 8} {
		h, counting := crowdOf(t, n, Config{MaxPoints: maxPoints})
		for _, operations := range []string{"(aggregate sum (metric in mean))", "(metric in max)",
			"(+ (metric in mean) (metric out mean))"} {
			ask := func(search string) []any {
				body := fmt.Sprintf(`{"resource_type": "generic", "search": %s, "operations": %q}`, search, operations)
				w := h.do(t, "POST", "/v1/aggregates?groupby=project_id", call{body: body})
				var list []any
				if w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &list) != nil {
					t.Fatalf("%d %s", w.Code, w.Body)
				}
				return list
			}
			counting.reads.Store(0)
			together := ask(`{}`)
			if got := counting.reads.Load(); got > 4 || counting.most.Load() < n {
				t.Errorf("%s: %d groups took %d reads of the driver", operations, len(together), got)
			}
			var alone []any
			for i := range n {
				if i%3 > 0 || !strings.Contains(operations, "out") {
					alone = append(alone, ask(fmt.Sprintf(`"project_id = p%d"`, i))...)
				}
			}
			key := func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
			slices.SortFunc(together, key)
			slices.SortFunc(alone, key)
			if fmt.Sprint(together) != fmt.Sprint(alone) {
				t.Errorf("%s:\n%v\nalone:\n%v", operations, together, alone)
			}
			if held := h.reading.bytes.Load(); held != 0 {
				t.Errorf("%s: %d bytes are held after the answer", operations, held)
			}
		}
	}
}

// A bound on points holds for groups together, too.
func TestGroupsBounded(t *testing.T) {
	h, _ := crowdOf(t, 50, Config{MaxPoints: 70})
	w := h.do(t, "POST", "/v1/aggregates?groupby=project_id",
		call{body: `{"resource_type": "generic", "search": {}, "operations": "(metric in mean)"}`,
			header: []string{acceptJSON}})
	if w.Code != 400 && w.Code != 413 || h.reading.bytes.Load() != 0 {
		t.Errorf("%d %s; %d bytes held", w.Code, w.Body, h.reading.bytes.Load())
	}
}

// BenchmarkGroupBy makes one series of each of 2,000 groups.
func BenchmarkGroupBy(b *testing.B) {
	const n = 2000
	h, _ := crowdOf(b, n, Config{})
	b.ReportAllocs()
	for b.Loop() {
		w := h.do(b, "POST", "/v1/aggregates?groupby=project_id&granularity=60", call{
			body: `{"resource_type": "generic", "search": {}, "operations": "(aggregate mean (metric in mean))"}`})
		if w.Code != 200 {
			b.Fatal(w.Code, w.Body)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/group")
}
