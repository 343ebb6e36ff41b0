package carbonara

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"millrace/drivers/carbonara/segment"
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
	s := newSackTest(t, func(m *memoryStore) Store { store = &meetingStore{memoryStore: m}; return store },
		Config{Grace: time.Minute})
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

// What a merge or a seal has put and not yet named is spared as well, whatever the
// clocks say.
func TestCollectSparesMerges(t *testing.T) {
	for _, verb := range []string{"merge", "seal"} {
		var store *meetingStore
		s := newSackTest(t, func(m *memoryStore) Store { store = &meetingStore{memoryStore: m}; return store },
			Config{Grace: time.Minute, MergeWidth: 3, SealRows: 1 << 20})
		id := ingest.NewMetricID()
		s.maintain()
		for i := range int64(3) {
			s.measure(id, 1000+100*i, 1)
			s.flush()
		}
		s.now = s.now.Add(24 * time.Hour)
		writer := s.writer.(*writer)
		store.afterPut = func() {
			if err := writer.collectOrphans(t.Context()); err != nil {
				t.Error(err)
			}
		}
		var err error
		if verb == "merge" {
			_, err = writer.mergeTier(segment.Raw, true)(t.Context())
		} else {
			err = writer.sealNow(t.Context(), writer.current())
		}
		if err != nil || store.afterPut != nil {
			t.Fatalf("%s: %v", verb, err)
		}
		if n := s.driver.Stats().OrphansDeleted; n != 0 {
			t.Errorf("%s: %d orphans deleted", verb, n)
		}
		if got := problems(t, s.store); got != "" {
			t.Errorf("%s: %s", verb, got)
		}
		if len(writer.unnamed) > 0 {
			t.Errorf("%s: %v are spared for ever", verb, writer.unnamed)
		}
	}
}

// What failed to be put, or was put for nothing, is an orphan, but not before the
// grace period has passed: another process's clock may be behind.
func TestCollectAge(t *testing.T) {
	s := newSackTest(t, nil, Config{Grace: time.Minute, CollectEach: time.Second})
	s.maintain() // opened
	s.now = s.now.Add(2 * time.Minute)
	put := func(name string, age time.Duration) {
		s.store.objects["sack/0/"+name] = memoryObject{modified: s.now.Add(-age)}
	}
	put("young.parquet", time.Minute-1)
	put("old.parquet", time.Minute)
	put("notes.txt", time.Hour) // not ours
	s.maintain()
	for name, want := range map[string]bool{"young.parquet": true, "old.parquet": false, "notes.txt": true} {
		if _, ok := s.store.objects["sack/0/"+name]; ok != want {
			t.Errorf("%s is there: %v", name, ok)
		}
	}
	s.now = s.now.Add(time.Second)
	s.maintain()
	if n := s.driver.Stats().OrphansDeleted; n != 2 {
		t.Errorf("%d orphans deleted, want 2", n)
	}
}

// Deletions come in batches that the store takes, and before each of them the
// manifest is looked at.
func TestCollectInBatches(t *testing.T) {
	var store *countingStore
	s := newSackTest(t, func(m *memoryStore) Store { store = &countingStore{memoryStore: m}; return store },
		Config{Grace: time.Minute, MergeWidth: 250})
	id := ingest.NewMetricID()
	for i := range int64(250) {
		s.measure(id, 1000+i, 1)
		s.flush()
	}
	s.maintain() // one merge
	s.now = s.now.Add(time.Minute)
	store.reset()
	s.maintain()
	if want := []int{100, 100, 50}; !slices.Equal(store.deletes, want) {
		t.Errorf("batches of %v, want %v", store.deletes, want)
	}
	if store.looks < 3 || store.reads > 0 {
		t.Errorf("%d conditional looks that found it unchanged, and %d other reads", store.looks, store.reads)
	}
}

// A countingStore counts what it is asked.
type countingStore struct {
	*memoryStore
	mu                  sync.Mutex // a seal puts several objects at once
	calls, looks, reads int
	deletes             []int
}

func (s *countingStore) reset() { s.calls, s.looks, s.reads, s.deletes = 0, 0, 0, nil }

func (s *countingStore) count() {
	s.mu.Lock()
	s.calls++
	s.mu.Unlock()
}

func (s *countingStore) Read(ctx context.Context, name string, unless Version, ranges []Range) (Contents, error) {
	c, err := s.memoryStore.Read(ctx, name, unless, ranges)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if errors.Is(err, ErrUnchanged) {
		s.looks++
	} else {
		s.reads++
	}
	return c, err
}

func (s *countingStore) Put(ctx context.Context, name string, data []byte) error {
	s.count()
	return s.memoryStore.Put(ctx, name, data)
}

func (s *countingStore) Swap(ctx context.Context, name string, old Version, data []byte, adds []Addition) (Version,
	error) {
	s.count()
	return s.memoryStore.Swap(ctx, name, old, data, adds)
}

func (s *countingStore) List(ctx context.Context, prefix string) ([]Object, error) {
	s.count()
	return s.memoryStore.List(ctx, prefix)
}

func (s *countingStore) Delete(ctx context.Context, names []string) error {
	s.count()
	s.deletes = append(s.deletes, len(names))
	return s.memoryStore.Delete(ctx, names)
}

// What there is nothing to do for costs no request: a flush of nothing, and one of
// records that were flushed before.
func TestNothingToFlush(t *testing.T) {
	var store *countingStore
	s := newSackTest(t, func(m *memoryStore) Store { store = &countingStore{memoryStore: m}; return store }, Config{})
	s.measure(ingest.NewMetricID(), 1000, 1)
	s.flush()
	store.reset()
	s.flush()
	s.offset--
	s.apply(ingest.Record{Kind: ingest.RecordNudge}) // below the watermark
	s.flush()
	if store.calls != 0 {
		t.Errorf("%d requests", store.calls)
	}
	s.apply(ingest.Record{Kind: ingest.RecordNudge}) // at the watermark
	s.flush()
	if store.calls != 1 {
		t.Errorf("%d requests for a watermark that moves, want one swap", store.calls)
	}
}

// Replaced segments go after the grace period, and soon where no other process can read.
func TestCollectReplaced(t *testing.T) {
	for exclusive, grace := range map[bool]time.Duration{false: 5 * time.Minute, true: exclusiveGrace} {
		s := newSackTest(t, func(m *memoryStore) Store { m.exclusive = exclusive; return m }, Config{MergeWidth: 2})
		for i := range int64(2) {
			s.measure(ingest.NewMetricID(), 1000+i, 1)
			s.flush()
		}
		s.maintain()
		replaced := s.manifest().Garbage
		if len(replaced) == 0 {
			t.Fatal("nothing was replaced")
		}
		there := func() (n int) {
			for _, g := range replaced {
				if _, ok := s.store.objects[sackPrefix(0)+g.Name]; ok {
					n++
				}
			}
			return n
		}
		s.now = s.now.Add(grace - 1)
		s.maintain()
		if n := there(); n != len(replaced) {
			t.Errorf("exclusive %v: %d of %d replaced segments are left before the grace period", exclusive, n, len(replaced))
		}
		s.now = s.now.Add(1)
		s.maintain()
		if n := there(); n != 0 {
			t.Errorf("exclusive %v: %d replaced segments are left after the grace period", exclusive, n)
		}
	}
}
