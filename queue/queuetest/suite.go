package queuetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

type opener = func(t *testing.T, sacks int) Queue

func testOrder(t *testing.T, open opener) {
	const sacks, each = 3, 100
	q := closing(t, open(t, sacks))
	for n := 0; n < each; n += 4 {
		var out []ingest.Outgoing
		for i := range 4 {
			for s := range sacks {
				out = append(out, ingest.Outgoing{Sack: ingest.Sack(s), Record: numbered(n + i)})
			}
		}
		if err := q.Append(deadline(t), out); err != nil {
			t.Fatal(err)
		}
	}
	for s := range sacks {
		for n, d := range fetch(t, q, ingest.Sack(s), 0, each) {
			if numberOf(d) != n {
				t.Fatalf("sack %d: record %d is number %d", s, n, numberOf(d))
			}
		}
	}
}

func testRecords(t *testing.T, open opener) {
	records := []*ingest.Record{
		numbered(1),
		{Kind: ingest.RecordDelete, AcceptedAt: accepted, Metric: ingest.MetricID{1, 2, 3}},
		{Kind: ingest.RecordNudge, AcceptedAt: accepted},
		{Kind: ingest.RecordMeasures, AcceptedAt: accepted, Project: "p",
			Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
			Entries: []ingest.Entry{
				{Metric: ingest.MetricID{4}, Policy: "ü", Measures: []ingest.Measure{
					{Time: math.MinInt64, Value: math.Copysign(0, -1)}, {Time: math.MaxInt64, Value: math.Inf(-1)},
					{Time: 0, Value: math.Float64frombits(0x7ff0_0000_0000_0001)}, {Time: 0, Value: math.MaxFloat64},
				}},
				{Metric: ingest.MetricID{5}, Policy: "ü"},
			}},
		{Kind: ingest.RecordMeasures, AcceptedAt: accepted},
	}
	q := closing(t, open(t, 1))
	add(t, q, 0, records...)
	for i, d := range fetch(t, q, 0, 0, len(records)) {
		if diff := cmp.Diff(*records[i], d.Record, bits); diff != "" {
			t.Errorf("record %d differs (-want +got):\n%s", i, diff)
		}
	}
}

// testOffsets: the offsets of Append are those of Fetch, they grow, and End is
// behind the last.
func testOffsets(t *testing.T, open opener) {
	q := closing(t, open(t, 3))
	if end, err := q.End(deadline(t)); err != nil || len(end) != 3 || !end.Reached(make(ingest.Position, 3)) {
		t.Errorf("End of an empty queue is %v, %v", end, err)
	}
	first := add(t, q, 1, numbered(0), numbered(1))
	add(t, q, 2, numbered(9))
	second := add(t, q, 1, numbered(2))
	offsets := append(first, second...)
	for i, d := range fetch(t, q, 1, 0, 3) {
		if d.Offset != offsets[i] || i > 0 && offsets[i] <= offsets[i-1] {
			t.Errorf("record %d: appended at %d, fetched at %d", i, offsets[i], d.Offset)
		}
	}
	end, err := q.End(deadline(t))
	if err != nil || end[1] <= offsets[2] {
		t.Errorf("End is %v, %v; want it behind %d", end, err, offsets[2])
	}
	nothing(t, q, 1, end[1])
	if b, err := q.Backlog(deadline(t), 1, end[1]); err != nil || b.Records != 0 {
		t.Errorf("%d records behind the end, %v", b.Records, err)
	}
}

func testMiddle(t *testing.T, open opener) {
	q := closing(t, open(t, 2))
	var offsets []ingest.Offset
	for n := range 20 {
		offsets = append(offsets, add(t, q, 1, numbered(n))...)
	}
	for n, from := range offsets {
		if got := fetch(t, q, 1, from, 1)[0]; got.Offset != from || numberOf(got) != n {
			t.Errorf("Fetch from %d: number %d at %d, want number %d", from, numberOf(got), got.Offset, n)
		}
		if n < len(offsets)-1 {
			if got := fetch(t, q, 1, from+1, 1)[0]; numberOf(got) != n+1 {
				t.Errorf("Fetch behind number %d: number %d", n, numberOf(got))
			}
		}
	}
}

// testWaits: a Fetch that waits hears of its sack's next record, not of others'.
func testWaits(t *testing.T, open opener) {
	q := closing(t, open(t, 2))
	ctx := deadline(t)
	got := make(chan int)
	go func() {
		var buf ingest.Deliveries
		if err := q.Fetch(ctx, 1, 0, &buf); err != nil {
			t.Error(err)
			got <- -1
			return
		}
		got <- numberOf(buf.List[0])
	}()
	add(t, q, 0, numbered(1))
	add(t, q, 1, numbered(2))
	if n := <-got; n != 2 {
		t.Errorf("waited for sack 1 and got number %d", n)
	}
}

func testCancelledFetch(t *testing.T, open opener) {
	q := closing(t, open(t, 1))
	var buf ingest.Deliveries
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- q.Fetch(ctx, 0, 0, &buf) }()
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("Fetch returned %v, want context.Canceled as it is", err)
	}
	nothing(t, q, 0, 0)
	add(t, q, 0, numbered(1)) // and the queue is none the worse
	fetch(t, q, 0, 0, 1)
}

// testCancelledAppend: an Append that nobody waits for may or may not come about,
// but whole, and the next one is behind it.
func testCancelledAppend(t *testing.T, open opener) {
	q := closing(t, open(t, 1))
	for n := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		out := []ingest.Outgoing{{Record: numbered(n)}}
		done := make(chan error, 1)
		go func() { done <- q.Append(ctx, out) }()
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled Append returned %v", err)
		}
	}
	offset := add(t, q, 0, numbered(1000))[0]
	var last ingest.Offset = -1
	for {
		d := fetch(t, q, 0, last+1, 1)[0]
		if d.Err != nil {
			t.Fatal(d.Err)
		}
		last = d.Offset
		if last == offset {
			break
		}
		if last > offset {
			t.Fatalf("a record at %d, behind the last one at %d", last, offset)
		}
	}
}

func testTooLarge(t *testing.T, open opener) {
	q := closing(t, open(t, 1))
	huge := numbered(0)
	huge.Entries[0].Measures = make([]ingest.Measure, ingest.MaxRecord/8)
	err := q.Append(deadline(t), []ingest.Outgoing{{Record: numbered(1)}, {Record: huge}})
	if !errors.Is(err, ingest.ErrTooLarge) || !ingest.IsPermanent(err) {
		t.Errorf("Append returned %v, want ErrTooLarge, permanently", err)
	}
	add(t, q, 0, numbered(2))
	if got := fetch(t, q, 0, 0, 1)[0]; numberOf(got) != 2 {
		t.Errorf("number %d is in the queue, of an Append that was too large", numberOf(got))
	}
}

// testLarge: records as large as they may be, more than one Fetch brings.
func testLarge(t *testing.T, open opener) {
	q := closing(t, open(t, 1))
	for n := range 6 {
		r := numbered(n)
		most := (ingest.MaxRecord - r.Size()) / ingest.MeasureOverhead
		for i := range most {
			r.Entries[1].Measures = append(r.Entries[1].Measures, ingest.Measure{Time: int64(i*i) << 20, Value: float64(i)})
		}
		add(t, q, 0, r)
	}
	for n, d := range fetch(t, q, 0, 0, 6) {
		if numberOf(d) != n {
			t.Errorf("record %d is number %d", n, numberOf(d))
		}
	}
}

// testReopen: what was acknowledged is there after Close, in order, at its
// offsets, and what comes next is behind it.
func testReopen(t *testing.T, open opener) {
	q := open(t, 2)
	var offsets []ingest.Offset
	for run := range 4 {
		for n := range 5 {
			offsets = append(offsets, add(t, q, 1, numbered(5*run+n))...)
		}
		if err := q.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		q = q.Reopen(t)
		for n, d := range fetch(t, q, 1, 0, len(offsets)) {
			if numberOf(d) != n || d.Offset != offsets[n] {
				t.Fatalf("run %d: record %d is number %d, at %d instead of %d", run, n, numberOf(d), d.Offset, offsets[n])
			}
		}
		if end, err := q.End(deadline(t)); err != nil || end[1] <= offsets[len(offsets)-1] {
			t.Errorf("run %d: End is %v, %v, want it behind %d", run, end, err, offsets[len(offsets)-1])
		}
	}
	if err := q.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := q.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// testCloseWhileAppending: Close drops nothing that was acknowledged, and nobody
// hangs.
func testCloseWhileAppending(t *testing.T, open opener) {
	q := open(t, 1)
	ctx := deadline(t)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		acked = map[int]bool{}
		begun = make(chan struct{}, 1000)
	)
	for g := range 4 {
		wg.Go(func() {
			for n := range 1000 {
				if err := q.Append(ctx, []ingest.Outgoing{{Record: numbered(1000*g + n)}}); err != nil {
					return
				}
				mu.Lock()
				acked[1000*g+n] = true
				mu.Unlock()
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 20 {
		<-begun
	}
	if err := q.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	wg.Wait()
	if err := q.Append(ctx, []ingest.Outgoing{{Record: numbered(1)}}); err == nil {
		t.Error("a closed queue took a record")
	}
	q = closing(t, q.Reopen(t))
	mu.Lock()
	defer mu.Unlock()
	for from := ingest.Offset(0); len(acked) > 0; {
		for _, d := range fetch(t, q, 0, from, 1) {
			delete(acked, numberOf(d))
			from = d.Offset + 1
		}
	}
}

func testBacklog(t *testing.T, open opener) {
	q := open(t, 2)
	check := func(when string, sack ingest.Sack, from ingest.Offset, want int64) {
		t.Helper()
		b, err := q.Backlog(deadline(t), sack, from)
		if err != nil || b.Records != want || (b.Bytes > 0) != (want > 0) {
			t.Errorf("%s: backlog of sack %d from %d is %+v, %v; want %d records", when, sack, from, b, err, want)
		}
		if end, err := q.End(deadline(t)); err != nil || want > 0 && b.End != end[sack] || b.End < from {
			t.Errorf("%s: behind %d in sack %d the log ends at %d, want %v, %v", when, from, sack, b.End, end, err)
		}
	}
	check("empty", 1, 0, 0)
	var offsets []ingest.Offset
	for n := range 10 {
		offsets = append(offsets, add(t, q, 1, numbered(n))...)
	}
	checkAll := func(when string) {
		t.Helper()
		check(when, 0, 0, 0)
		check(when, 1, 0, 10)
		for i, from := range offsets {
			check(when, 1, from, int64(10-i))
			check(when, 1, from+1, int64(9-i))
		}
	}
	checkAll("appended")
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = closing(t, q.Reopen(t))
	checkAll("reopened")
}

// testConcurrent: appenders and readers of all sacks at once; every appender's
// records are in its order.
func testConcurrent(t *testing.T, open opener) {
	const sacks, appenders, each = 3, 8, 50
	q := closing(t, open(t, sacks))
	ctx := deadline(t)
	var wg sync.WaitGroup
	for a := range appenders {
		wg.Go(func() {
			var last [sacks]ingest.Offset
			for n := range each {
				out := make([]ingest.Outgoing, sacks)
				for s := range out {
					r := numbered(n)
					r.Project = fmt.Sprint(a)
					out[s] = ingest.Outgoing{Sack: ingest.Sack(s), Record: r}
				}
				if err := q.Append(ctx, out); err != nil {
					t.Error(err)
					return
				}
				for s := range out {
					if out[s].Offset <= last[s] && n > 0 {
						t.Errorf("offset %d after %d", out[s].Offset, last[s])
					}
					last[s] = out[s].Offset
				}
			}
		})
	}
	for s := range sacks {
		wg.Go(func() {
			var (
				next [appenders]int
				buf  ingest.Deliveries
				from ingest.Offset
			)
			for seen := 0; seen < appenders*each; {
				if err := q.Fetch(ctx, ingest.Sack(s), from, &buf); err != nil {
					t.Error(err)
					return
				}
				for _, d := range buf.List {
					var a int
					if _, err := fmt.Sscan(d.Record.Project, &a); err != nil || numberOf(d) != next[a] {
						t.Errorf("sack %d: number %d of appender %q, want %d", s, numberOf(d), d.Record.Project, next[a])
						return
					}
					next[a]++
					seen++
					from = d.Offset + 1
				}
				q.Applied(ingest.Sack(s), from)
				q.Backlog(t.Context(), ingest.Sack(s), from)
			}
		})
	}
	wg.Wait()
}

// testReuse: neither end keeps what it was given.
func testReuse(t *testing.T, open opener) {
	q := closing(t, open(t, 1))
	r := numbered(0)
	for n := range 10 {
		*r = *numbered(n)
		out := []ingest.Outgoing{{Record: r}}
		if err := q.Append(deadline(t), out); err != nil {
			t.Fatal(err)
		}
		for i := range r.Entries {
			clear(r.Entries[i].Measures)
		}
		clear(r.Entries)
	}
	var buf ingest.Deliveries
	for range 2 { // what the first reader does to its records is its own affair
		n := 0
		for from := ingest.Offset(0); n < 10; {
			if err := q.Fetch(deadline(t), 0, from, &buf); err != nil {
				t.Fatal(err)
			}
			for _, d := range buf.List {
				if diff := cmp.Diff(*numbered(n), d.Record, bits); diff != "" {
					t.Errorf("record %d differs (-want +got):\n%s", n, diff)
				}
				from = d.Offset + 1
				n++
			}
			clear(buf.Entries)
			clear(buf.Measures)
			clear(buf.Bytes)
		}
	}
}

// testApplied: what is not applied stays, whatever the other sacks say, and a
// watermark that goes back is no harm.
func testApplied(t *testing.T, open opener) {
	q := open(t, 3)
	for n := range 10 {
		add(t, q, 0, numbered(n))
		add(t, q, 1, numbered(n))
	}
	end, err := q.End(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	q.Applied(0, end[0])
	q.Applied(1, 0)
	for range 2 {
		if got := len(fetch(t, q, 1, 0, 10)); got != 10 {
			t.Errorf("%d records of a sack that was not applied, want 10", got)
		}
		nothing(t, q, 0, end[0])
		add(t, q, 2, numbered(1))
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		q = q.Reopen(t)
		if again, err := q.End(deadline(t)); err != nil || again[0] != end[0] || again[1] != end[1] {
			t.Errorf("End after reopening is %v, %v, want %v for the first two", again, err, end)
		}
	}
	closing(t, q)
}
