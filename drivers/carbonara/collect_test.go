package carbonara

import (
	"context"
	"testing"
	"time"

	"millrace/ingest"
)

// A meetingStore does something once, after a segment was put or an object deleted.
type meetingStore struct {
	*memoryStore
	afterPut func()
}

func (s *meetingStore) Put(ctx context.Context, name string, data []byte) error {
	err := s.memoryStore.Put(ctx, name, data)
	if do := s.afterPut; do != nil {
		s.afterPut = nil
		do()
	}
	return err
}

// Whatever the clocks say, a segment that a flush has written and not yet named is
// no orphan. What an earlier owner left behind is.
func TestCollectSparesTheFlush(t *testing.T) {
	var store *meetingStore
	s := newSackTest(t, func(m *memoryStore) Store { store = &meetingStore{memoryStore: m}; return store }, Config{Grace: time.Minute})
	id := ingest.NewMetricID()
	s.maintain()
	s.now = s.now.Add(24 * time.Hour) // and the store's clock stays behind
	if err := s.store.Put(t.Context(), "sack/0/orphan.parquet", nil); err != nil {
		t.Fatal(err)
	}
	s.measure(id, 1000, 1)
	store.afterPut = s.maintain
	s.flush()
	if rows := s.counts(id, time.Minute); len(rows) != 1 {
		t.Errorf("counts %v", rows)
	}
	if n := s.driver.Stats().OrphansDeleted; n != 1 {
		t.Errorf("%d orphans deleted, want 1", n)
	}
}
