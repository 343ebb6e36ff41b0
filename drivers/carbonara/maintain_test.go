//go:build !race

package carbonara

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// What was flushed before the sack was opened is sealed, though no record has
// named its archive policy since.
func TestSealAfterOpen(t *testing.T) {
	s := newSackTest(t, nil, Config{SealRows: 10})
	id := ingest.NewMetricID()
	for i := range int64(30) {
		s.measure(id, 1000+20*i, 1)
	}
	s.flush()
	s.open()
	s.maintain()
	if len(s.manifest().of(segment.Sealed)) == 0 {
		t.Error("nothing is sealed")
	}
}

// A puttingStore remembers whether what was put could have waited.
type puttingStore struct {
	Store
	mu                     sync.Mutex
	background, foreground int
}

func (s *puttingStore) Put(ctx context.Context, name string, data []byte) error {
	s.mu.Lock()
	if IsBackground(ctx) {
		s.background++
	} else {
		s.foreground++
	}
	s.mu.Unlock()
	return s.Store.Put(ctx, name, data)
}

// Flushes can't wait for room on a full disk, and what is made of their segments can.
func TestHousekeepingIsInBackground(t *testing.T) {
	var store *puttingStore
	s := newSackTest(t, func(m *memoryStore) Store {
		store = &puttingStore{Store: m}
		return store
	}, Config{SealRows: 10, MergeWidth: 4})
	id := ingest.NewMetricID()
	store.foreground = 0 // the layout
	for i := range int64(8) {
		s.measure(id, 1000+20*i, 1)
		s.flush()
	}
	if store.foreground != 8 || store.background != 0 {
		t.Errorf("8 flushes put %d segments, and %d in background", store.foreground, store.background)
	}
	s.maintain()
	if store.foreground != 8 || store.background == 0 {
		t.Errorf("housekeeping put %d segments, and %d in background", store.foreground-8, store.background)
	}
}

// One segment that can't be read harms what is in it. The others are merged as ever,
// and the manifest stays short.
func TestDamagedSegment(t *testing.T) {
	s := newSackTest(t, nil, Config{SealRows: 10, MergeWidth: 4})
	id := ingest.NewMetricID()
	for i := range int64(5) {
		s.measure(id, 1000+20*i, 1)
		s.flush()
	}
	damaged := s.manifest().Segments[2].Name
	s.store.objects["sack/0/"+damaged].data[30] ^= 0xff
	s.driver.files.forget([]string{"sack/0/" + damaged}) // which its writer has kept
	failed := 0
	for i := range int64(200) {
		s.measure(id, 2000+20*i, 1)
		s.flush()
		if err := s.writer.Maintain(t.Context()); err != nil {
			failed++
			if !strings.Contains(err.Error(), damaged) {
				t.Fatal(err)
			}
		}
		s.now = s.now.Add(time.Second)
	}
	if failed == 0 {
		t.Error("nobody is told of the damaged segment")
	}
	if failed > 20 {
		t.Errorf("the damaged segment is read again and again: %d times", failed)
	}
	if n := len(s.manifest().Segments); n > 25 {
		t.Errorf("%d segments", n)
	}
}

// Rows that are due to expire by the sack's newest measure, but not by that of
// their own metric, aren't written anew for ever.
func TestStoppedMetricsRest(t *testing.T) {
	for _, end := range []int64{500_000, math.MaxInt64/1_000_000_000 - 10} {
		s := newSackTest(t, nil, Config{SealRows: 1})
		stopped, goesOn := ingest.NewMetricID(), ingest.NewMetricID()
		for i := range int64(100) {
			s.measure(stopped, 1000+10*i, 1)
		}
		s.flush()
		s.maintain()
		for i := range int64(400) {
			s.measure(goesOn, 2000+(end-2000)/400*(i+1), 1)
			s.flush()
			s.maintain()
		}
		// by tiers there are about 400/7 of raw segments and as many of sealed ones
		if n := s.driver.Stats().Merges; n > 150 {
			t.Errorf("%d merges", n)
		}
		if rows := s.counts(stopped, 10*time.Second); len(rows) != 100 {
			t.Errorf("%d rows, want 100", len(rows))
		}
	}
}

// Buckets at both ends of time, and far apart, are sealed one by one.
func TestSealEndsOfTime(t *testing.T) {
	const first, last = ingest.MinTime, ingest.MaxTime - 1
	for _, at := range [][]int64{
		{first, first + 7e9, last}, // the first bucket is a short one
		{first, 1_700_000_000e9, last - 100e9, last},
		{-1, 0, 9e9, last},
	} {
		s := newSackTest(t, nil, Config{SealRows: 1})
		id := ingest.NewMetricID()
		r := ingest.Record{Kind: ingest.RecordMeasures, Entries: []ingest.Entry{{Metric: id, Policy: "plain"}}}
		for _, t := range at {
			r.Entries[0].Measures = append(r.Entries[0].Measures, ingest.Measure{Time: t, Value: 1})
		}
		s.apply(r)
		s.flush()
		q := ingest.Query{Metric: id, Policy: somePolicies()["plain"], Granularity: 10 * time.Second, Method: ingest.Count,
			From: ingest.MinTime, To: ingest.MaxTime}
		before, after := s.read(q), []ingest.Measure(nil)
		s.maintain()
		if len(s.manifest().of(segment.Sealed)) == 0 {
			t.Fatal("nothing is sealed")
		}
		if after = s.read(q); !slices.Equal(before, after) {
			t.Errorf("%v: %v before the seal, %v after it", at, before, after)
		}
	}
}
