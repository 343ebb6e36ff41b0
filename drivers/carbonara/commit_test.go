package carbonara

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"millrace/ingest"
)

// A flush whose answer was lost, and that arrives after more has been applied,
// takes nothing of what was applied since with it.
func TestSwapArrivesAfterMoreWasApplied(t *testing.T) {
	for _, housekeeping := range []bool{false, true} {
		var slow *slowStore
		s := newSackTest(t, func(m *memoryStore) Store { slow = &slowStore{memoryStore: m}; return slow }, Config{})
		id := ingest.NewMetricID()
		s.measure(id, 1000, 1)
		slow.lose = true
		if err := s.tryFlush(); err == nil {
			t.Fatal("a flush without an answer succeeds")
		}
		s.measure(id, 1001, 1) // finds the old manifest
		slow.late()            // may come too late
		if housekeeping {
			if err := s.writer.Maintain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.tryFlush(); err != nil { // may have to be tried again
			s.flush()
		}
		if rows := s.counts(id, time.Minute); len(rows) != 1 || rows[0].Value != 2 {
			t.Errorf("counts %v, want one of 2", rows)
		}
	}
}

// A writer may learn from its housekeeping that it has been fenced, while it
// applies.
func TestFencedWhileApplying(t *testing.T) {
	for range 20 {
		s := newSackTest(t, nil, Config{SealRows: 1, MergeWidth: 2})
		ids := make([]ingest.MetricID, 50)
		for i := range ids {
			ids[i] = ingest.NewMetricID()
		}
		for i := range int64(4) {
			s.measure(ids[0], 1000+100*i, 1)
			s.flush()
		}
		old, offset := s.writer, s.offset
		s.open()
		var wait sync.WaitGroup
		wait.Go(func() {
			if err := old.Maintain(context.Background()); !errors.Is(err, ingest.ErrFenced) {
				t.Errorf("maintain: %v", err)
			}
		})
		for {
			r := ingest.Record{Kind: ingest.RecordMeasures}
			for _, id := range ids {
				r.Entries = append(r.Entries, ingest.Entry{Metric: id, Policy: "two",
					Measures: []ingest.Measure{{Time: 2000e9, Value: 1}}})
			}
			_, err := old.Apply(context.Background(), []ingest.Delivery{{Offset: offset, Record: r}})
			offset++
			if errors.Is(err, ingest.ErrFenced) {
				break
			}
			for range 1000 {
				old.Buffered()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		wait.Wait()
	}
}
