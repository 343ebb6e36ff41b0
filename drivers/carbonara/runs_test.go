//go:build !race

package carbonara

import (
	"context"
	"fmt"
	"testing"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A strictStore refuses objects that are too large.
type strictStore struct{ *memoryStore }

func (s strictStore) Put(ctx context.Context, name string, data []byte) error {
	if int64(len(data)) > s.largest {
		return fmt.Errorf("%d bytes are too many", len(data))
	}
	return s.memoryStore.Put(ctx, name, data)
}

// Whatever the number of methods, no segment exceeds what the store takes, and its
// pieces are one run for the merges.
func TestSegmentsFitTheStore(t *testing.T) {
	policy := &ingest.ArchivePolicy{Name: "all", Methods: ingest.AllMethods(),
		Definitions: []ingest.Definition{{Granularity: time.Second}, {Granularity: time.Minute}}}
	store := newMemoryStore()
	store.largest = 512 << 10
	d, err := New(t.Context(), strictStore{store}, policyMap{"all": policy}, 1, Config{SealRows: 1, MergeWidth: 2})
	if err != nil {
		t.Fatal(err)
	}
	w, _, err := d.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	id := ingest.NewMetricID()
	const rows, rounds = 3000, 4
	var most int
	for round := range rounds {
		r := ingest.Record{Kind: ingest.RecordMeasures, Entries: []ingest.Entry{{Metric: id, Policy: "all"}}}
		for i := range rows {
			r.Entries[0].Measures = append(r.Entries[0].Measures, ingest.Measure{Time: int64(round*rows+i) * 1e9,
				Value: 1 / float64(i+1)})
		}
		if _, err := w.Apply(t.Context(), []ingest.Delivery{{Offset: ingest.Offset(round), Record: r}}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Flush(t.Context(), upTo(ingest.Offset(round)+1)); err != nil {
			t.Fatal(err)
		}
		if err := w.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		m, _, err := readManifest(t.Context(), store, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, run := range runsOf(m.of(segment.Sealed)) {
			most = max(most, len(run))
		}
	}
	if most < 3 {
		t.Errorf("the longest run has %d segments: the test shows nothing", most)
	}
	got := make([][]ingest.Measure, 1)
	q := ingest.Query{Metric: id, Policy: policy, Granularity: time.Second, Method: ingest.Count, From: ingest.MinTime,
		To: ingest.MaxTime}
	if _, err := d.Read(t.Context(), []ingest.Query{q}, got, nil); err != nil {
		t.Fatal(err)
	}
	if len(got[0]) != rows*rounds {
		t.Errorf("%d rows, want %d", len(got[0]), rows*rounds)
	}
	err = Check(t.Context(), store, func(r Report) {
		if len(r.Problems) > 0 {
			t.Error(r.Problems)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRunsOf(t *testing.T) {
	f := func(runs string, want ...int) {
		t.Helper()
		var segments []entry
		for _, r := range runs {
			s := entry{Name: fmt.Sprint(len(segments)), From: 1, To: 9} // offsets don't tell runs apart
			if r != '-' {
				s.Run = string(r)
			}
			segments = append(segments, s)
		}
		var got []int
		for _, run := range runsOf(segments) {
			got = append(got, len(run))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("runs of %q have %v segments, want %v", runs, got, want)
		}
	}
	f("")
	f("-", 1)
	f("--", 1, 1)
	f("aa-bbb", 2, 1, 3)
	f("aabb", 2, 2)
	f("a-a", 1, 1, 1)
}
