package carbonara

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A sackTest is one sack on a store in memory, with a clock of its own.
type sackTest struct {
	t      *testing.T
	store  *memoryStore
	driver *Driver
	writer ingest.SackWriter
	now    time.Time
	offset ingest.Offset
}

func newSackTest(t *testing.T, wrap func(*memoryStore) Store, c Config) *sackTest {
	t.Helper()
	s := &sackTest{t: t, store: newMemoryStore(), now: time.Now()}
	var store Store = s.store
	if wrap != nil {
		store = wrap(s.store)
	}
	c.Now = func() time.Time { return s.now }
	var err error
	if s.driver, err = New(t.Context(), store, somePolicies(), 1, c); err != nil {
		t.Fatal(err)
	}
	s.open()
	return s
}

func (s *sackTest) open() {
	s.t.Helper()
	writer, at, err := s.driver.Open(s.t.Context(), 0)
	if err != nil {
		s.t.Fatal(err)
	}
	s.writer, s.offset = writer, at.Offset
}

// upTo is the watermark of everything before an offset.
func upTo(offset ingest.Offset) ingest.Watermark { return ingest.Watermark{Offset: offset} }

// tryFlush flushes everything applied.
func (s *sackTest) tryFlush() error {
	_, err := s.writer.Flush(s.t.Context(), upTo(s.offset))
	return err
}

func (s *sackTest) apply(r ingest.Record) {
	s.t.Helper()
	if _, err := s.writer.Apply(s.t.Context(), []ingest.Delivery{{Offset: s.offset, Record: r}}); err != nil {
		s.t.Fatal(err)
	}
	s.offset++
}

// measure applies one measure, at so many seconds.
func (s *sackTest) measure(id ingest.MetricID, second int64, value float64) {
	s.t.Helper()
	s.apply(ingest.Record{Kind: ingest.RecordMeasures, Entries: []ingest.Entry{
		{Metric: id, Policy: "two", Measures: []ingest.Measure{{Time: second * 1e9, Value: value}}}}})
}

func (s *sackTest) flush() {
	s.t.Helper()
	if err := s.tryFlush(); err != nil {
		s.t.Fatalf("cannot flush: %v", err)
	}
}

func (s *sackTest) maintain() {
	s.t.Helper()
	if err := s.writer.Maintain(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sackTest) manifest() *manifest {
	s.t.Helper()
	m, _, err := readManifest(s.t.Context(), s.store, 0, "")
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

func (s *sackTest) counts(id ingest.MetricID, g time.Duration) []ingest.Measure {
	s.t.Helper()
	return s.read(ingest.Query{Metric: id, Policy: somePolicies()["two"], Granularity: g, Method: ingest.Count,
		From: ingest.MinTime, To: ingest.MaxTime})
}

func (s *sackTest) read(q ingest.Query) []ingest.Measure {
	s.t.Helper()
	rows := make([][]ingest.Measure, 1)
	if _, err := s.driver.Read(s.t.Context(), []ingest.Query{q}, rows, nil); err != nil {
		s.t.Fatal(err)
	}
	return rows[0]
}

// A slowStore loses the answer of one swap, which arrives at the store only when
// the test says so.
type slowStore struct {
	*memoryStore
	lose bool
	late func() error
}

func (s *slowStore) Swap(ctx context.Context, name string, old Version, data []byte, adds []Addition) (Version,
	error) {
	if s.lose {
		s.lose = false
		s.late = func() error { _, err := s.memoryStore.Swap(ctx, name, old, data, adds); return err }
		return "", errors.New("no answer")
	}
	return s.memoryStore.Swap(ctx, name, old, data, adds)
}

// A swap that arrives after its writer has given it up is recognised, whenever it
// arrives, and its measures count once.
func TestSwapArrivesLate(t *testing.T) {
	id := ingest.NewMetricID()
	for _, moment := range []string{"before the next attempt", "during the next attempt", "never"} {
		t.Run(moment, func(t *testing.T) {
			var slow *slowStore
			s := newSackTest(t, func(m *memoryStore) Store { slow = &slowStore{memoryStore: m}; return slow }, Config{})
			s.measure(id, 1000, 1)
			slow.lose = true
			if err := s.tryFlush(); err == nil {
				t.Fatal("a flush without an answer succeeds")
			}
			switch moment {
			case "before the next attempt":
				if err := slow.late(); err != nil {
					t.Fatal(err)
				}
			case "during the next attempt":
				late := slow.late
				slow.lose = true // the second attempt is lost too; then the first arrives
				if err := s.tryFlush(); err == nil {
					t.Fatal("a flush without an answer succeeds")
				}
				if err := late(); err != nil {
					t.Fatal(err)
				}
			}
			s.flush()
			s.measure(id, 1001, 1)
			s.flush()
			if rows := s.counts(id, time.Minute); len(rows) != 1 || rows[0].Value != 2 {
				t.Errorf("counts %v", rows)
			}
			if m := s.manifest(); m.rawRows() != 2 || len(m.Segments) != 2 {
				t.Errorf("segments %+v", m.Segments)
			}
		})
	}
}

// Nothing stays of a deleted metric once its tombstone is gone, and its neighbours
// are untouched.
func TestPurge(t *testing.T) {
	s := newSackTest(t, nil, Config{SealRows: 10, Tombstone: 24 * time.Hour, Grace: time.Minute})
	gone, stays := ingest.NewMetricID(), ingest.NewMetricID()
	for i := range int64(60) {
		s.measure(gone, 1000+10*i, 1)
		s.measure(stays, 1000+10*i, 1)
		s.flush()
		s.maintain()
	}
	want := s.counts(stays, time.Minute)
	s.apply(ingest.Record{Kind: ingest.RecordDelete, Metric: gone})
	s.measure(gone, 5000, 1) // accepted before everybody knew
	s.flush()
	if rows := s.counts(gone, time.Minute); len(rows) != 0 {
		t.Errorf("a deleted metric has %v", rows)
	}
	s.open() // the next owner knows it too
	s.measure(gone, 6000, 1)
	s.flush()
	if m := s.manifest(); len(m.Tombstones) != 1 {
		t.Fatalf("tombstones %v", m.Tombstones)
	}
	s.now = s.now.Add(25 * time.Hour)
	s.maintain()
	m := s.manifest()
	if len(m.Tombstones) != 0 {
		t.Errorf("tombstones %v", m.Tombstones)
	}
	for _, seg := range m.Segments {
		f, err := s.driver.files.open(t.Context(), 0, &seg)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range metricsOf(t, f, seg) {
			if id == gone {
				t.Errorf("%s segment %s still has the deleted metric", seg.Kind, seg.Name)
			}
		}
	}
	if got := s.counts(stays, time.Minute); len(got) != len(want) {
		t.Errorf("the neighbour has %v, want %v", got, want)
	}
}

// metricsOf lists the metrics of a segment.
func metricsOf(t *testing.T, f *segment.Reader, seg entry) (ids []ingest.MetricID) {
	t.Helper()
	ctx := t.Context()
	var err error
	switch seg.Kind {
	case segment.Raw:
		scan := f.ScanRaw(ctx)
		for scan.Next() {
			ids = append(ids, scan.Run().Metric)
		}
		err = scan.Err()
	case segment.State:
		scan := f.ScanState(ctx)
		for scan.Next() {
			ids = append(ids, scan.Row().Metric)
		}
		err = scan.Err()
	case segment.Sealed:
		scan := f.ScanSealed(ctx)
		for scan.Next() {
			ids = append(ids, scan.Run().Metric)
		}
		err = scan.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// A seal says how far it has gone: up to what had been flushed when it began.
func TestSealed(t *testing.T) {
	s := newSackTest(t, nil, Config{SealRows: 20})
	id := ingest.NewMetricID()
	for i := range int64(30) {
		s.measure(id, 1000+10*i, 1)
	}
	s.flush()
	if at := s.writer.(ingest.Sealer).Sealed(); at != 0 {
		t.Errorf("sealed to %d before the first seal", at)
	}
	flushed := s.offset
	s.measure(id, 2000, 1)
	s.maintain()
	if at := s.writer.(ingest.Sealer).Sealed(); at != flushed {
		t.Errorf("sealed to %d, want %d", at, flushed)
	}
}

// What is replaced goes after its grace, and what nothing names too.
func TestCollect(t *testing.T) {
	s := newSackTest(t, nil, Config{SealRows: 20, MergeWidth: 3, Grace: time.Minute, CollectEach: time.Hour})
	id := ingest.NewMetricID()
	if err := s.store.Put(t.Context(), "sack/0/orphan.parquet", []byte("left by a crash")); err != nil {
		t.Fatal(err)
	}
	for i := range int64(100) {
		s.measure(id, 1000+10*i, 1)
		s.flush()
		s.maintain()
		if i%20 == 10 {
			if len(s.manifest().Garbage) == 0 {
				t.Fatal("nothing is garbage: the test shows nothing")
			}
		}
		s.now = s.now.Add(time.Second)
	}
	s.now = s.now.Add(2 * time.Hour)
	s.maintain() // seals once more
	s.now = s.now.Add(2 * time.Minute)
	s.maintain()
	s.measure(id, 5000, 1)
	s.flush() // forgets the names
	m := s.manifest()
	if len(m.Garbage) != 0 {
		t.Errorf("garbage %v", m.Garbage)
	}
	named := map[string]bool{"sack/0/manifest.json": true}
	for _, seg := range m.Segments {
		named["sack/0/"+seg.Name] = true
	}
	objects, err := s.store.List(t.Context(), "sack/0/")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if !named[o.Name] {
			t.Errorf("%s is still there", o.Name)
		}
	}
	if len(objects) != len(named) {
		t.Errorf("%d objects, want %d", len(objects), len(named))
	}
}

// Check names what is wrong.
func TestCheck(t *testing.T) {
	s := newSackTest(t, nil, Config{SealRows: 20, MergeWidth: 3})
	id := ingest.NewMetricID()
	for i := range int64(100) {
		s.measure(id, 1000+10*i, 1)
		s.flush()
		s.maintain()
	}
	if got := problems(t, s.store); got != "" {
		t.Fatalf("a sound sack has problems: %s", got)
	}
	segments := s.manifest().Segments
	damaged, missing := "sack/0/"+segments[0].Name, "sack/0/"+segments[1].Name
	s.store.objects[damaged].data[40] ^= 1
	delete(s.store.objects, missing)
	got := problems(t, s.store)
	if !strings.Contains(got, damaged) || !strings.Contains(got, missing+" is missing") || strings.Count(got, "\n") != 2 {
		t.Errorf("problems: %s", got)
	}
	if _, err := openLayout(t.Context(), s.store, 2, Config{}); err == nil || !strings.Contains(err.Error(), "1 sacks") {
		t.Errorf("another number of sacks: %v", err)
	}
}
