package drivertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"millrace/ingest"
)

// concurrent runs what may run at once; the race detector watches.
func (s *suite) concurrent(t *testing.T) {
	t.Run("sacks, housekeeping and readers", s.crowd)
	if s.tornFlushes {
		t.Run("a reader never sees less than was flushed", s.readers)
	} else {
		t.Run("a flush becomes visible at once", s.readers)
	}
}

// crowd lives a random history in each of several sacks of one driver, whose
// housekeeping never rests.
func (s *suite) crowd(t *testing.T) {
	p := profiles()[4]
	tr := s.start(t, p.policies...)
	t.Run("sacks", func(t *testing.T) {
		for _, sack := range []ingest.Sack{0, 1, 10, Sacks - 1} {
			t.Run(fmt.Sprint(sack), func(t *testing.T) {
				t.Parallel()
				mine := *tr
				mine.t = t
				h := mine.history(sack)
				h.populate(p)
				for range s.length(8) {
					h.busily(p)
					h.abandon()
					h.open(h.rand.IntN(5))
				}
				h.check()
			})
		}
	})
}

// busily applies and flushes beside a Maintain that never rests.
func (h *history) busily(p profile) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	var wait sync.WaitGroup
	writer := h.writer
	wait.Go(func() {
		for ctx.Err() == nil {
			if err := writer.Maintain(ctx); err != nil && ctx.Err() == nil {
				h.t.Errorf("sack %d: cannot maintain: %v", h.sack, err)
				return
			}
			time.Sleep(100 * time.Microsecond) // leave the processor to the others
		}
	})
	defer wait.Wait()
	defer cancel()
	for i := range 12 {
		h.writeRandom(p)
		h.deliverSome()
		if i%3 != 1 {
			h.flush()
		}
		h.checkSome(0.05)
	}
	h.flush()
}

// readers watch counts grow while a sack is written to: every metric's count is
// that of some flush, all metrics of one read agree, and nothing goes back.
func (s *suite) readers(t *testing.T) {
	const metrics, spacing = 40, int64(7 * time.Second)
	tr := s.start(t, policy("p", 0, ingest.MethodsOf(ingest.Count), keep(time.Minute, 0), keep(10*time.Second, 0)))
	h := tr.history(1)
	var queries []ingest.Query
	var entries []ingest.Entry
	for i := range metrics {
		m := h.metric("p")
		entries = append(entries, ingest.Entry{Metric: m.id, Policy: m.policy})
		g := []time.Duration{time.Minute, 10 * time.Second}[i%2]
		queries = append(queries, ingest.Query{Metric: m.id, Policy: tr.policies.of("p"), Granularity: g,
			Method: ingest.Count, From: ingest.MinTime, To: ingest.MaxTime})
	}
	var flushed flushCount
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			seen := 0
			for ctx.Err() == nil {
				n, err := s.look(ctx, tr.driver, queries, &flushed)
				if err == nil && n < seen {
					err = fmt.Errorf("a read shows %d measures, and the one before it showed %d", n, seen)
				}
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				seen = n
			}
		})
	}
	defer wait.Wait()
	defer cancel()
	for n := range int64(s.length(80)) {
		for i := range entries {
			entries[i].Measures = []ingest.Measure{{Time: n * spacing, Value: float64(n)}}
		}
		h.write(record(entries...))
		flushed.set(int(n), int(n)+1)
		h.apply()
		if _, live := tr.driver.(ingest.LiveReader); live {
			flushed.set(int(n)+1, int(n)+1)
		}
		h.flush()
		flushed.set(int(n)+1, int(n)+1)
		if n%5 == 4 {
			h.maintain(1)
		}
	}
	h.check()
}

// look reads all metrics once and returns the least of their counts.
func (s *suite) look(ctx context.Context, driver ingest.Driver, queries []ingest.Query, flushed *flushCount) (int,
	error) {
	low, _ := flushed.get()
	answers, _, err := ask(ctx, driver, queries)
	if err != nil {
		return 0, fmt.Errorf("cannot read: %w", err)
	}
	_, high := flushed.get()
	var counts []int
	for _, rows := range answers {
		n := 0
		for _, row := range rows {
			n += int(row.Value)
		}
		counts = append(counts, n)
	}
	least, most := slices.Min(counts), slices.Max(counts)
	switch {
	case least < low || most > high:
		return 0, fmt.Errorf("metrics have %d to %d measures; %d were flushed before the read, %d were begun after it",
			least, most, low, high)
	case least != most && !s.tornFlushes:
		return 0, fmt.Errorf("in one read metrics have %d to %d measures", least, most)
	}
	return least, nil
}

// A flushCount is how many records were flushed for certain, and at most.
type flushCount struct {
	mu        sync.Mutex
	low, high int
}

func (f *flushCount) set(low, high int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.low, f.high = low, high
}

func (f *flushCount) get() (low, high int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.low, f.high
}
