package carbonara

import (
	"testing"
	"time"

	"millrace/ingest"
)

func (s *sackTest) delete(ids ...ingest.MetricID) {
	s.t.Helper()
	for _, id := range ids {
		s.apply(ingest.Record{Kind: ingest.RecordDelete, Metric: id})
	}
}

func newIDs(n int) []ingest.MetricID {
	ids := make([]ingest.MetricID, n)
	for i := range ids {
		ids[i] = ingest.NewMetricID()
	}
	return ids
}

// Tombstones of very many metrics are small, and don't stand for a day: every flush
// writes them.
func TestManyTombstones(t *testing.T) {
	s := newSackTest(t, nil, Config{})
	s.delete(newIDs(maxTombstones)...)
	s.flush()
	if n := len(s.store.objects[manifestName(0)].data); n > 45*maxTombstones {
		t.Errorf("the manifest has %d bytes", n)
	}
	s.now = s.now.Add(2 * time.Hour)
	s.delete(newIDs(100)...)
	s.flush()
	s.maintain()
	if n := len(s.manifest().deleted()); n != 100 {
		t.Errorf("%d metrics have tombstones, want the younger 100", n)
	}
	s.now = s.now.Add(22 * time.Hour)
	s.maintain()
	if n := len(s.manifest().deleted()); n != 100 {
		t.Errorf("%d metrics have tombstones after 22 hours, want 100", n)
	}
	s.now = s.now.Add(2 * time.Hour)
	s.maintain()
	if n := len(s.manifest().deleted()); n != 0 {
		t.Errorf("%d metrics have tombstones after a day", n)
	}
}

// The deletion of metrics that the sack has never heard of rewrites nothing.
func TestPurgeOfStrangers(t *testing.T) {
	s := newSackTest(t, nil, Config{SealRows: 1})
	id := ingest.NewMetricID()
	for i := range int64(30) {
		s.measure(id, 1000+20*i, 1)
	}
	s.flush()
	s.delete(newIDs(10)...)
	s.flush()
	s.maintain()
	before := s.driver.Stats()
	s.now = s.now.Add(25 * time.Hour)
	s.maintain()
	if n := len(s.manifest().deleted()); n != 0 {
		t.Errorf("%d metrics have tombstones after a day", n)
	}
	if after := s.driver.Stats(); after.Seals != before.Seals || after.Merges != before.Merges {
		t.Errorf("seals %d → %d, merges %d → %d", before.Seals, after.Seals, before.Merges, after.Merges)
	}
}
