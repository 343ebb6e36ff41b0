package carbonara

import (
	"context"
	"sync"
	"testing"
	"time"

	"millrace/ingest"
)

// A holdingStore holds one put back until it is told to go on.
type holdingStore struct {
	*memoryStore
	mu       sync.Mutex
	hold     bool
	held, on chan struct{}
}

func (s *holdingStore) Put(ctx context.Context, name string, data []byte) error {
	s.mu.Lock()
	mine := s.hold
	s.hold = false
	s.mu.Unlock()
	if mine {
		close(s.held)
		<-s.on
	}
	return s.memoryStore.Put(ctx, name, data)
}

// Small merges don't wait for a seal that takes long, and neither loses anything.
func TestSmallMergesBesideASeal(t *testing.T) {
	store := &holdingStore{held: make(chan struct{}), on: make(chan struct{})}
	s := newSackTest(t, func(m *memoryStore) Store { store.memoryStore = m; return store },
		Config{SealRows: 10, MergeWidth: 2})
	id := ingest.NewMetricID()
	measures := 0
	write := func(n int) {
		for range n {
			s.measure(id, 1000+10*int64(measures), 1)
			measures++
			s.flush()
		}
	}
	write(20)
	store.hold = true
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := s.writer.Maintain(context.Background()); err != nil {
			t.Error(err)
		}
	})
	<-store.held
	write(4)
	for deadline := time.Now().Add(time.Minute); s.driver.Stats().Merges == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("what was flushed during a seal is not merged")
			break
		}
	}
	if n := s.driver.Stats().Seals; n != 0 {
		t.Errorf("%d seals: the seal was to take long", n)
	}
	close(store.on)
	wait.Wait()
	s.maintain()
	if n := s.driver.Stats().Seals; n == 0 {
		t.Error("the seal was given up")
	}
	total := 0.0
	for _, row := range s.counts(id, time.Minute) {
		total += row.Value
	}
	if int(total) != measures {
		t.Errorf("%v measures, want %d", total, measures)
	}
	if got := problems(t, s.store); got != "" {
		t.Error(got)
	}
}
