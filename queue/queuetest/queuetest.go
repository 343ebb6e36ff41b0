// Package queuetest is what a queue promises, as tests to run on each.
//
//	func TestQueue(t *testing.T) { queuetest.Run(t, open) }
package queuetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millrace/ingest"
)

// A Queue is both ends of a log.
type Queue interface {
	ingest.Appender
	ingest.Source
	Close() error
	// Reopen opens what a closed queue has left behind.
	Reopen(t *testing.T) Queue
}

// Run runs the suite. open returns an empty queue of that many sacks, each time
// another one; the suite closes it.
func Run(t *testing.T, open func(t *testing.T, sacks int) Queue) {
	t.Run("order", func(t *testing.T) { testOrder(t, open) })
	t.Run("every kind of record, bit for bit", func(t *testing.T) { testRecords(t, open) })
	t.Run("offsets", func(t *testing.T) { testOffsets(t, open) })
	t.Run("fetch from the middle", func(t *testing.T) { testMiddle(t, open) })
	t.Run("fetch waits", func(t *testing.T) { testWaits(t, open) })
	t.Run("cancelled fetch", func(t *testing.T) { testCancelledFetch(t, open) })
	t.Run("cancelled append", func(t *testing.T) { testCancelledAppend(t, open) })
	t.Run("too large", func(t *testing.T) { testTooLarge(t, open) })
	t.Run("large", func(t *testing.T) { testLarge(t, open) })
	t.Run("reopen", func(t *testing.T) { testReopen(t, open) })
	t.Run("close while appending", func(t *testing.T) { testCloseWhileAppending(t, open) })
	t.Run("backlog", func(t *testing.T) { testBacklog(t, open) })
	t.Run("concurrent appenders", func(t *testing.T) { testConcurrent(t, open) })
	t.Run("slices are the caller's again", func(t *testing.T) { testReuse(t, open) })
	t.Run("applied", func(t *testing.T) { testApplied(t, open) })
}

// patience is how long a queue may take for what it should do at once.
const patience = 30 * time.Second

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func closing(t *testing.T, q Queue) Queue {
	t.Helper()
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return q
}

var accepted = time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)

// numbered makes a record that says its number in every part of it.
func numbered(n int) *ingest.Record {
	return &ingest.Record{
		Kind: ingest.RecordMeasures, AcceptedAt: accepted.Add(time.Duration(n)), Project: fmt.Sprint("project ", n%3),
		Entries: []ingest.Entry{
			{Metric: ingest.MetricID{1, 15: byte(n)}, Policy: "low",
				Measures: []ingest.Measure{{Time: int64(n), Value: float64(n)}}},
			{Metric: ingest.MetricID{2, 15: byte(n)}, Policy: "high", Measures: []ingest.Measure{{Time: -int64(n), Value: 1},
				{Time: 7, Value: 2}}},
		},
	}
}

func numberOf(d ingest.Delivery) int {
	if d.Err != nil || len(d.Record.Entries) == 0 {
		return -1
	}
	return int(d.Record.Entries[0].Measures[0].Value)
}

// add appends records, one call for all of them.
func add(t *testing.T, q Queue, sack ingest.Sack, records ...*ingest.Record) []ingest.Offset {
	t.Helper()
	out := make([]ingest.Outgoing, len(records))
	for i, r := range records {
		out[i] = ingest.Outgoing{Sack: sack, Record: r}
	}
	if err := q.Append(deadline(t), out); err != nil {
		t.Fatalf("Append: %v", err)
	}
	offsets := make([]ingest.Offset, len(out))
	for i := range out {
		offsets[i] = out[i].Offset
	}
	return offsets
}

// fetch reads n records, more if a Fetch brings more, and copies what it gets.
func fetch(t *testing.T, q Queue, sack ingest.Sack, from ingest.Offset, n int) []ingest.Delivery {
	t.Helper()
	var (
		got []ingest.Delivery
		buf ingest.Deliveries
	)
	for len(got) < n {
		if err := q.Fetch(deadline(t), sack, from, &buf); err != nil {
			t.Fatalf("Fetch(%d, %d): %v", sack, from, err)
		}
		if len(buf.List) == 0 {
			t.Fatalf("Fetch(%d, %d): no records and no error", sack, from)
		}
		for _, d := range buf.List {
			if d.Offset < from {
				t.Fatalf("Fetch(%d, %d): offset %d", sack, from, d.Offset)
			}
			from = d.Offset + 1
			got = append(got, clone(d))
		}
	}
	return got
}

func clone(d ingest.Delivery) ingest.Delivery {
	entries := d.Record.Entries
	d.Record.Entries = nil
	for _, e := range entries {
		e.Measures = append([]ingest.Measure(nil), e.Measures...)
		d.Record.Entries = append(d.Record.Entries, e)
	}
	d.Raw = append([]byte(nil), d.Raw...)
	return d
}

// nothing says that a Fetch from there finds no record.
func nothing(t *testing.T, q Queue, sack ingest.Sack, from ingest.Offset) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var buf ingest.Deliveries
	if err := q.Fetch(ctx, sack, from, &buf); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Fetch(%d, %d) = %v with %d records, want nothing until the deadline", sack, from, err, len(buf.List))
	}
}

// bits compares measures bit by bit, and leaves out what is the log's own to set.
var bits = cmp.Options{
	cmp.Comparer(func(a, b ingest.Measure) bool {
		return a.Time == b.Time && math.Float64bits(a.Value) == math.Float64bits(b.Value)
	}),
	cmpopts.IgnoreFields(ingest.Record{}, "Producer", "Sequence"),
}
