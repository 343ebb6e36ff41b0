package drivertest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"millrace/ingest"
)

// check compares all that has been flushed: every metric, granularity and method,
// half of them over a random range, and the counts of late measures.
func (h *history) check() {
	h.t.Helper()
	h.checkSome(1)
}

// checkSome compares a random share of what check does.
func (h *history) checkSome(share float64) {
	h.t.Helper()
	var queries []ingest.Query
	for _, m := range h.metrics {
		p := h.policies.of(m.policy)
		if p == nil {
			continue
		}
		for _, d := range p.Definitions {
			for _, method := range p.Methods.List() {
				if share < 1 && h.rand.Float64() >= share {
					continue
				}
				q := ingest.Query{Metric: m.id, Policy: p, Granularity: d.Granularity, Method: method, From: ingest.MinTime,
					To: ingest.MaxTime}
				if h.rand.IntN(2) == 0 {
					q.From, q.To = h.bounds(m, d.Granularity)
				}
				queries = append(queries, q)
			}
		}
	}
	h.rand.Shuffle(len(queries), func(i, j int) { queries[i], queries[j] = queries[j], queries[i] })
	for chunk := range slices.Chunk(queries, 200) {
		h.compare(chunk)
	}
	h.compareLate()
	h.compareWatermark()
	h.did.note("check     %d series", len(queries))
}

// bounds chooses a range: open on a side, around what is there, or empty.
func (h *history) bounds(m *subject, g time.Duration) (from, to int64) {
	end := func(open int64) int64 {
		switch h.rand.IntN(4) {
		case 0:
			return open
		case 1: // on a bucket's edge; the newest measure's bucket is surely there
			return ingest.Floor([]int64{h.within(m), m.newest}[h.rand.IntN(2)], g)
		case 2:
			return ingest.Floor(h.within(m), g) + 1 - 2*h.rand.Int64N(2)
		}
		return h.within(m)
	}
	return end(ingest.MinTime), end(ingest.MaxTime)
}

func (h *history) within(m *subject) int64 {
	return m.first + h.rand.Int64N(max(1, m.newest-m.first)+1)
}

// compare asks both and wants the same rows.
func (h *history) compare(queries []ingest.Query) {
	h.t.Helper()
	got, at := h.ask(queries)
	want := h.truth(queries, at)
	for i := range queries {
		if !sameRows(queries[i].Method, got[i], want[i]) {
			h.fatalf("%s", h.difference(&queries[i], got[i], want[i]))
		}
	}
}

// ask reads from the driver under test, appending to slices that are not empty, and
// returns the position that it shows: everything applied where it reads live, else what
// was flushed.
func (h *history) ask(queries []ingest.Query) (answers [][]ingest.Measure, at ingest.Offset) {
	h.t.Helper()
	var shown ingest.Position
	h.patiently("read", func() (err error) {
		answers, shown, err = ask(h.t.Context(), h.driver, queries)
		return err
	})
	if _, live := h.driver.(ingest.LiveReader); !live && len(shown) <= int(h.sack) {
		return answers, h.flushed
	}
	if len(queries) == 0 {
		return answers, h.flushed
	}
	at = shown[h.sack]
	// A driver that can't find out whether it owns the sack still may show what is stored.
	if want := h.position(); at != want && (h.patience == 0 || at != h.flushed) {
		h.fatalf("a read shows position %d, want %d", at, want)
	}
	return answers, at
}

// position is what a read shows now.
func (h *history) position() ingest.Offset {
	if _, live := h.driver.(ingest.LiveReader); live && h.owner == h.driver {
		return max(h.flushed, h.end(h.next))
	}
	return h.flushed
}

var already = ingest.Measure{Time: 42, Value: 42}

func ask(ctx context.Context, driver ingest.Driver, queries []ingest.Query) ([][]ingest.Measure, ingest.Position,
	error) {
	dst := make([][]ingest.Measure, len(queries))
	for i := range dst {
		if i%2 == 1 {
			dst[i] = append(make([]ingest.Measure, 0, 8), already)
		}
	}
	shown, err := driver.Read(ctx, slices.Clone(queries), dst, nil)
	if err != nil {
		return nil, nil, err
	}
	for i := range dst {
		if i%2 == 1 {
			if len(dst[i]) == 0 || dst[i][0] != already {
				return nil, nil, fmt.Errorf("rows are not appended to what is there: %v", dst[i])
			}
			dst[i] = dst[i][1:]
		}
	}
	return dst, shown, nil
}

// truth reads from the oracle, as of a position.
func (h *history) truth(queries []ingest.Query, at ingest.Offset) [][]ingest.Measure {
	h.t.Helper()
	dst := make([][]ingest.Measure, len(queries))
	if _, err := h.oracleAt(at).Read(context.Background(), queries, dst, nil); err != nil {
		h.fatalf("the oracle: %v", err)
	}
	return dst
}

// compareLate wants the same number of late measures for every metric.
func (h *history) compareLate() {
	h.t.Helper()
	reader, ok := h.driver.(ingest.LateReader)
	if !ok {
		return
	}
	var ids []ingest.MetricID
	for _, m := range h.metrics {
		if !m.deleted {
			ids = append(ids, m.id)
		}
	}
	var got []uint64
	h.patiently("count late measures", func() (err error) {
		got, err = reader.Late(h.t.Context(), ids)
		return err
	})
	want, err := h.oracleAt(h.position()).Late(context.Background(), ids)
	if err != nil {
		h.fatalf("the oracle: %v", err)
	}
	if stored, _ := h.oracle.Late(context.Background(), ids); h.patience > 0 && slices.Equal(got, stored) {
		return
	}
	if len(got) != len(want) {
		h.fatalf("%d counts of late measures for %d metrics", len(got), len(ids))
	}
	for i := range ids {
		if got[i] != want[i] {
			h.fatalf("metric %s: %d measures were late, want %d", ids[i], got[i], want[i])
		}
	}
}

// compareWatermark wants the back-end to be as far as the last Flush said.
func (h *history) compareWatermark() {
	h.t.Helper()
	driver, ok := h.driver.(ingest.Watermarker)
	if !ok {
		return
	}
	h.patiently("ask for the watermark", func() error {
		at := []ingest.Offset{-1}
		err := driver.Watermarks(h.t.Context(), []ingest.Sack{h.sack}, at)
		if err == nil && at[0] != h.flushed {
			h.fatalf("the watermark is %d, want %d", at[0], h.flushed)
		}
		return err
	})
}

// sameRows compares bit by bit, except that any NaN is NaN and that percentiles
// may differ in their last bits.
func sameRows(method ingest.Method, got, want []ingest.Measure) bool {
	return len(got) == len(want) && firstDifference(method, got, want) < 0
}

func firstDifference(method ingest.Method, got, want []ingest.Measure) int {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i].Time != want[i].Time ||
			!sameValue(method, got[i].Value, want[i].Value) {
			return i
		}
	}
	return -1
}

func sameValue(method ingest.Method, got, want float64) bool {
	if math.Float64bits(got) == math.Float64bits(want) || math.IsNaN(got) && math.IsNaN(want) {
		return true
	}
	_, percentile := method.Quantile()
	return percentile && !math.IsInf(want, 0) && math.Abs(got-want) <= 1e-12*max(1, math.Abs(want))
}

// difference tells a failed comparison: whose, where, and what the log says there.
func (h *history) difference(q *ingest.Query, got, want []ingest.Measure) string {
	var b strings.Builder
	fmt.Fprintf(&b, "metric %s, policy %s, granularity %s, method %s, from %s to %s, flushed up to %d:\n",
		q.Metric, q.Policy.Name, q.Granularity, q.Method, clock(q.From), clock(q.To), h.flushed)
	at := firstDifference(q.Method, got, want)
	fmt.Fprintf(&b, "%d rows, want %d; the first to differ is row %d\n", len(got), len(want), at)
	for i := max(0, at-2); i < at+3; i++ {
		fmt.Fprintf(&b, "  row %d: %s, want %s\n", i, rowAt(got, i), rowAt(want, i))
	}
	bucket := ingest.MaxTime
	if at < len(want) {
		bucket = want[at].Time
	}
	if at < len(got) {
		bucket = min(bucket, got[at].Time)
	}
	h.evidence(&b, q, bucket)
	return b.String()
}

func rowAt(rows []ingest.Measure, i int) string {
	if i >= len(rows) {
		return "none"
	}
	return fmt.Sprintf("%s %v (%#x)", clock(rows[i].Time), rows[i].Value, math.Float64bits(rows[i].Value))
}

// evidence lists what the log says about a bucket.
func (h *history) evidence(b *strings.Builder, q *ingest.Query, bucket int64) {
	fmt.Fprintf(b, "in the log for the bucket at %s:\n", clock(bucket))
	lines := 0
	for i := range h.log {
		for _, e := range h.log[i].Record.Entries {
			for _, m := range e.Measures {
				if e.Metric != q.Metric || ingest.Floor(m.Time, q.Granularity) != bucket {
					continue
				}
				if lines++; lines > 20 {
					b.WriteString("  and more\n")
					return
				}
				fmt.Fprintf(b, "  record %d: %s %v\n", h.log[i].Offset, clock(m.Time), m.Value)
			}
		}
	}
}
