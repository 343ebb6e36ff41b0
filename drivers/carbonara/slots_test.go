//go:build !race

package carbonara

import (
	"context"
	"testing"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A putCounter counts what is written to it and read from it.
type putCounter struct {
	*memoryStore
	puts, reads int
}

func (s *putCounter) Put(ctx context.Context, name string, data []byte) error {
	s.puts++
	return s.memoryStore.Put(ctx, name, data)
}

func (s *putCounter) Read(ctx context.Context, name string, unless Version, ranges []Range) (Contents, error) {
	s.reads++
	return s.memoryStore.Read(ctx, name, unless, ranges)
}

// slotTest is a sack of metrics with a measure every 10 s, of which 1,000 s are kept,
// and minutes that are kept for ever.
type slotTest struct {
	*sackTest
	count *putCounter
	ids   []ingest.MetricID
	time  int64 // s, of the last measure
}

func newSlotTest(t *testing.T, metrics int, c Config) *slotTest {
	s := &slotTest{time: 100_000}
	c.serial = true
	s.sackTest = newSackTest(t, func(m *memoryStore) Store { s.count = &putCounter{memoryStore: m}; return s.count }, c)
	for range metrics {
		s.ids = append(s.ids, ingest.NewMetricID())
	}
	return s
}

// round gives each metric a measure, seconds after the last.
func (s *slotTest) round(seconds int64, ids []ingest.MetricID) {
	s.t.Helper()
	s.time += seconds
	r := ingest.Record{Kind: ingest.RecordMeasures}
	for _, id := range ids {
		r.Entries = append(r.Entries, ingest.Entry{Metric: id, Policy: "two",
			Measures: []ingest.Measure{{Time: s.time * 1e9, Value: 1}}})
	}
	s.apply(r)
	s.flush()
}

// slotted are the sealed segments that are cut by time.
func (s *slotTest) slotted() (list []entry) {
	for _, seg := range s.manifest().of(segment.Sealed) {
		if seg.Slot != 0 {
			list = append(list, seg)
		}
	}
	return list
}

// What has expired leaves as whole segments: nothing is written for it, nor read.
func TestExpiryWritesNothing(t *testing.T) {
	s := newSlotTest(t, 20, Config{SealRows: 200, MergeWidth: 4, slotRows: 8, Grace: time.Minute})
	for range 300 {
		s.round(10, s.ids)
		s.maintain()
	}
	if st := s.driver.Stats(); st.Expired < 10 {
		t.Errorf("%d segments have expired whole in 3,000 s", st.Expired)
	}
	old := s.slotted()
	if len(old) < 8 {
		t.Fatalf("1,000 s are in %d segments", len(old))
	}
	s.round(5000, s.ids)
	s.count.puts, s.count.reads = 0, 0
	if did, err := s.writer.(*writer).dropExpired(t.Context()); !did || err != nil {
		t.Fatal(did, err)
	}
	if s.count.puts > 0 || s.count.reads > 0 {
		t.Errorf("expiry has cost %d puts and %d reads", s.count.puts, s.count.reads)
	}
	if left := s.slotted(); len(left) > 0 {
		t.Errorf("%d of %d segments are left", len(left), len(old))
	}
	s.now = s.now.Add(time.Hour)
	s.maintain()
	for _, seg := range old {
		if _, there := s.store.objects["sack/0/"+seg.Name]; there {
			t.Errorf("%s is still there", seg.Name)
		}
	}
	for _, id := range s.ids {
		if rows := s.counts(id, time.Minute); len(rows) < 50 {
			t.Fatalf("%d minutes are left", len(rows))
		}
	}
}

// However long a sack lives, its short-lived rows are in a bounded number of segments,
// none of which reaches over a boundary of its slots.
func TestSlotsAreBounded(t *testing.T) {
	s := newSlotTest(t, 5, Config{SealRows: 50, MergeWidth: 4, slotRows: 8, Grace: time.Nanosecond})
	most := 0
	for range 1500 {
		s.round(10, s.ids)
		s.maintain()
		s.now = s.now.Add(10 * time.Second)
		list := s.slotted()
		most = max(most, len(list))
		for _, seg := range list {
			if place := seg.slot(); seg.Slot != 64*time.Second || place.start == loose {
				t.Fatalf("a segment of slots of %s goes from %d to %d", seg.Slot, seg.MinTime/1e9, seg.MaxTime/1e9)
			}
		}
	}
	if most > 50 { // 16 slots and what lags, of up to two segments each
		t.Errorf("there have been %d segments", most)
	}
	if n := len(s.store.objects); n > 100 {
		t.Errorf("the store has %d objects", n)
	}
	if rows := s.counts(s.ids[0], 10*time.Second); len(rows) != 100 {
		t.Errorf("%d rows are visible, want 100", len(rows))
	}
}

// Few rows aren't spread over many objects.
func TestFewRowsStayTogether(t *testing.T) {
	s := newSlotTest(t, 2, Config{SealRows: 50, MergeWidth: 4, Grace: time.Nanosecond})
	most := 0
	for range 1000 {
		s.round(10, s.ids)
		s.maintain()
		s.now = s.now.Add(10 * time.Second)
		most = max(most, len(s.slotted()))
	}
	if most > 16 {
		t.Errorf("200 rows have been in %d segments", most)
	}
}

// Metrics that stop keep their rows, and what is left over of slot after slot is
// gathered.
func TestStoppedMetricsKeepTheirRows(t *testing.T) {
	s := newSlotTest(t, 60, Config{SealRows: 300, MergeWidth: 4, slotRows: 8, Grace: time.Nanosecond})
	for i := range 1200 {
		s.round(10, s.ids[min(i/20, len(s.ids)-5):]) // one stops every 200 s
		s.maintain()
		s.now = s.now.Add(10 * time.Second)
	}
	for i, id := range s.ids[:len(s.ids)-5] {
		want := min(100, 20*(i+1))
		if rows := s.counts(id, 10*time.Second); len(rows) != want {
			t.Fatalf("metric %d has %d rows, want %d", i, len(rows), want)
		}
	}
	if n := len(s.manifest().of(segment.Sealed)); n > 70 {
		t.Errorf("%d segments", n)
	}
}

// What was left over of a series may lie between rows of another segment: merged they
// ascend all the same.
func TestMergeOfInterleavedRows(t *testing.T) {
	id := ingest.NewMetricID()
	rows := func(times ...int64) *runScan[segment.SealedRun] {
		run := segment.SealedRun{Metric: id, Granularity: 1, Times: times, Values: [][]float64{make([]float64, len(times))},
			Present: [][]bool{make([]bool, len(times))}}
		return &runScan[segment.SealedRun]{head: run, live: true}
	}
	m := &sealedMerge{runs: []*runScan[segment.SealedRun]{rows(1, 4, 5, 9), rows(2, 3, 7), rows(6, 8)}}
	var got []int64
	for i := m.least(); i >= 0; i = m.least() {
		run := m.take(i)
		got = append(got, run.Times...)
		m.passed(i, len(run.Times))
	}
	if len(got) != 9 {
		t.Fatal(got)
	}
	for i, at := range got {
		if at != int64(i+1) {
			t.Fatal(got)
		}
	}
}
